"""Data that are pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from ._style import canvas, level_text, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "image_rows",
]


def image_rows(
    rows: Mapping[str, Any],
    sigmas: Any,
    *,
    ax: Axes | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> Axes:
    """Rows of images, one column per noise level, σ on top and the row's name at the left.

    Parameters
    ----------
    rows : label -> (K, H, W) grey or (K, H, W, 3) colour images, drawn from top to bottom.
    sigmas : (K,) noise levels in data units.
    limits : label -> (black, white) for rows whose values are to be clipped to
        a range. In the other rows every image is stretched to its own range. Colours are
        drawn, and listed by `numbers`, as shares of that range.
    """
    _check.mapping(rows, "rows")
    stacks = {label: _check.array(each, f"rows[{label!r}]") for label, each in rows.items()}
    if not stacks:
        _check.fail("rows", "none", "at least one", "name a stack of images")
    levels = _check.shaped(sigmas, "sigmas", (None,))
    ranges = {} if limits is None else _check.mapping(limits, "limits")
    for label, ends in ranges.items():
        _check.choice(label, "limits", stacks)
        ranges[label] = tuple(_check.shaped(ends, f"limits[{label!r}]", (2,)).tolist())
    for label, stack in stacks.items():
        good = stack.ndim == 3 or (stack.ndim == 4 and stack.shape[3] == 3)
        if not good or len(stack) != levels.size or not stack.size:
            _check.fail(
                f"rows[{label!r}]",
                f"shape {stack.shape}",
                f"(K, H, W) or (K, H, W, 3) with K = {levels.size}, the number of noise levels",
                "reshape the states to images",
            )
    with canvas(ax, height=0.6 + 0.4 * len(stacks)) as axes:
        for row, (label, stack) in enumerate(stacks.items()):
            for column, image in enumerate(stack):
                black, white = ranges.get(label, (float(image.min()), float(image.max())))
                if image.ndim == 3:
                    image = np.clip((image - black) / ((white - black) or 1.0), 0.0, 1.0)
                axes.imshow(
                    image,
                    cmap="gray",
                    vmin=black,
                    vmax=white,
                    interpolation="nearest",
                    extent=(column + 0.04, column + 0.96, row + 0.96, row + 0.04),
                )
        axes.set(xlim=(0, levels.size), ylim=(len(stacks), 0), aspect="equal")
        axes.set_xticks(np.arange(levels.size) + 0.5, [level_text(s) for s in levels])
        axes.set_yticks(np.arange(len(stacks)) + 0.5, [plain(label) for label in stacks])
        axes.xaxis.set_label_position("top")
        axes.set_xlabel("σ (data units)")
        axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        return axes
