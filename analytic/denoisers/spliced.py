"""Two denoisers in one: one above a noise level, the other below it.

    S(x; σ) = high(x; σ) where σ ≥ σ_s,   low(x; σ) where σ < σ_s.

With a learned denoiser on one side and the optimal one on the other, sampling tells at
which noise levels the model decides what it generates (Chen et al. 2023, *A Geometric
Perspective on Diffusion Models*, https://arxiv.org/abs/2305.19947, section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ._base import Denoiser, apply, dimension_of, width_of

__all__ = ["Spliced"]


@dataclass(frozen=True)
class Spliced:
    """The denoiser `high` at levels from `sigma` up, `low` below.

    Called like any denoiser: x (B, D) or (D,), σ a scalar or (B,), told apart row by row.

    Raises
    ------
    ValueError, TypeError
        for two that are not denoisers of one dimension, and for σ_s that is no level > 0.
    """

    high: Denoiser
    low: Denoiser
    sigma: float
    """σ_s, in data units."""

    def __post_init__(self) -> None:
        for name, each in (("high", self.high), ("low", self.low)):
            if not callable(each):
                _check.fail(
                    name, _check.show(each), "a denoiser", "pass a callable (x, σ)", TypeError
                )
        level = _check.number(self.sigma, "sigma", low=0.0, high=_check.SIGMA_LIMIT, open_low=True)
        object.__setattr__(self, "sigma", level)
        above, below = width_of(self.high), width_of(self.low)
        if above is not None and below is not None and above != below:
            _check.fail("low", f"D = {below}", f"the D = {above} of high", "splice two of one D")

    @property
    def dim(self) -> int:
        """D, where one of the two tells its own."""
        for each in (self.high, self.low):
            if (found := width_of(each)) is not None:
                return found
        raise AttributeError("neither denoiser has a dim")

    def __call__(self, x: Any, sigma: Any) -> NDArray[Any]:
        """S(x; σ), of x's shape and dtype."""
        batch, shape, dtype = _check.queries(x, dimension_of(self, x))
        levels = _check.sigma(sigma, len(batch), zero=True)
        result = np.empty_like(batch)
        above = levels >= self.sigma
        for denoiser, rows in ((self.high, above), (self.low, ~above)):
            if rows.any():
                result[rows] = apply(denoiser, batch[rows], levels[rows])
        return result.reshape(shape).astype(dtype, copy=False)
