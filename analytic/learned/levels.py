"""Where training takes its noise levels from: any function (rng, n) -> (n,) levels > 0.

    LogNormal    ln(σ/2σ_d) ~ N(mean, std²): EDM's, whose data has σ_d = ½, for data of scale σ_d
    LogUniform   ln σ uniform between two levels

Karras et al. (2022), https://arxiv.org/abs/2206.00364, table 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check

__all__ = ["Levels", "LogNormal", "LogUniform", "draw"]

Floats = NDArray[np.float64]
Levels = Callable[[np.random.Generator, int], Any]
"""(rng, n) -> (n,) noise levels."""


@dataclass(frozen=True)
class LogNormal:
    """EDM's noise levels, scaled to the data: ln(σ/2σ_d) ~ N(mean, std²), as its data has σ_d = ½.

    Training fills in the σ_d of its points where none is given.
    """

    mean: float = -1.2
    std: float = 1.2
    sigma_data: float | None = None

    def __post_init__(self) -> None:
        _check.number(self.mean, "mean", low=-100, high=100)
        _check.number(self.std, "std", low=0.0, high=30)
        if self.sigma_data is not None:
            _check.number(self.sigma_data, "sigma_data", low=0.0, open_low=True)

    def __call__(self, rng: np.random.Generator, count: int) -> Floats:
        """(count,) levels."""
        unit = 1.0 if self.sigma_data is None else 2 * self.sigma_data
        source, many = _drawn(rng, count)
        return unit * np.exp(self.mean + self.std * source.standard_normal(many))


@dataclass(frozen=True)
class LogUniform:
    """Noise levels with ln σ uniform between those of `low` and `high`."""

    low: float = 0.001
    high: float = 160.0

    def __post_init__(self) -> None:
        limit = _check.SIGMA_LIMIT
        low = _check.number(self.low, "low", low=0.0, high=limit, open_low=True)
        _check.number(self.high, "high", low=low, high=limit)

    def __call__(self, rng: np.random.Generator, count: int) -> Floats:
        """(count,) levels."""
        source, many = _drawn(rng, count)
        return self.low * (self.high / self.low) ** source.random(many)


def _drawn(rng: Any, count: Any) -> tuple[np.random.Generator, int]:
    many = _check.integer(count, "count")
    _check.size(many, 1, "count")
    remedy = "pass np.random.default_rng(seed)"
    return _check.instance(rng, "rng", np.random.Generator, remedy), many


def draw(levels: Levels, rng: np.random.Generator, count: int) -> Floats:
    """(count,) levels of any distribution, checked."""
    return _check.sigma(levels(rng, count), count, argument="levels")
