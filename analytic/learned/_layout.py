"""How a row of numbers is an image: the one place that knows.

A module sees images (C, H, W). A row holds the same numbers in one of two orders:

    hwc    pixel by pixel, the C values of a pixel side by side; every image in `analytic.datasets`
    chw    channel by channel, as a flattened tensor has them

With C = 1 they are the same. Shapes with other than three sides are no images: their rows are
reshaped as they are, whatever the layout.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check

__all__ = ["LAYOUTS", "images", "order", "rows"]

LAYOUTS = ("hwc", "chw")


def order(layout: Any) -> str:
    """A layout, checked."""
    return _check.choice(layout, "layout", LAYOUTS)


def images(values: NDArray[Any], shape: tuple[int, ...], layout: str) -> NDArray[Any]:
    """(B, *shape) of rows (B, D)."""
    if layout == "chw" or len(shape) != 3:
        return values.reshape(-1, *shape)
    channels, height, width = shape
    return np.moveaxis(values.reshape(-1, height, width, channels), 3, 1)


def rows(values: NDArray[Any], layout: str) -> NDArray[Any]:
    """(B, D) rows of (B, *shape); the inverse of `images`."""
    if layout == "hwc" and values.ndim == 4:
        values = np.moveaxis(values, 1, 3)
    return values.reshape(-1, math.prod(values.shape[1:]))
