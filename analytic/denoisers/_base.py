"""What a denoiser is, and how any one is called.

A denoiser is any callable (x: (B, D), σ: scalar or (B,)) → (B, D).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _check

__all__ = [
    "Denoiser",
    "Evaluation",
    "Floats",
    "NotFinite",
    "Query",
    "Reals",
    "apply",
    "called",
    "dimension_of",
    "width_of",
]

Floats = NDArray[np.float64]
Reals = NDArray[np.floating]


class Denoiser(Protocol):
    """Anything that maps noisy queries (B, D) and noise levels to denoised points (B, D)."""

    def __call__(self, x: Any, sigma: Any, /) -> NDArray[Any]:
        """Denoise."""


class NotFinite(ValueError):
    """No row of a call has a finite answer; `apply` makes NaN of it, as of a function's."""


class Evaluation(NamedTuple):
    """A denoiser evaluation with what the flow needs beside the mean."""

    mean: Floats
    """(B, D) posterior mean."""
    nearest: NDArray[np.int64]
    """(B,) index of a data point of largest weight, up to rounding."""
    log_odds: Floats
    """(B,) -log of that point's posterior weight."""


class Motion(NamedTuple):
    """A denoiser evaluation, and how its output moves along the flow dx/dσ = (x - D)/σ."""

    here: Evaluation
    """What `evaluate` returns."""
    trace_cov: Floats
    """(B,) tr C = σ² div D."""
    slope: Floats
    """(B, D) D' = dD(x(σ); σ)/dσ = (κ3 - C(x - D))/σ³."""


class Query(NamedTuple):
    """Checked arguments of a call, and the form in which the caller wants the answer."""

    x: Floats
    """(B, D) float64."""
    sigma: Floats
    """(B,) float64."""
    shape: tuple[int, ...]
    """The caller's, (B, D) or (D,)."""
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, x: Any, sigma: Any, dim: int, *, zero: bool = False) -> Query:
        """Check x and σ; `zero` says whether σ = 0 has a meaning."""
        batch, shape, dtype = _check.queries(x, dim)
        return cls(batch, _check.sigma(sigma, len(batch), zero=zero), shape, dtype)

    def direction(self, v: Any) -> Floats:
        """A direction per query, shaped as x is, as float64 (B, D)."""
        batch, shape, _ = _check.queries(v, self.x.shape[1], "v")
        if shape != self.shape:
            _check.fail("v", f"shape {shape}", f"x's shape {self.shape}", "one direction per query")
        return batch

    def answer(self, result: Floats) -> Reals:
        """A result (B, ...) in x's dtype, without the leading axis for a single query."""
        cast = result.astype(self.dtype, copy=False)
        return np.asarray(cast.reshape(self.shape[:-1] + result.shape[1:]))


def dimension_of(denoiser: Denoiser, x: Any) -> int:
    """Width D that states x must have: the denoiser's own where it says, else x's."""
    if not callable(denoiser):
        _check.fail(
            "denoiser", _check.show(denoiser), "a callable", "see OptimalDenoiser", TypeError
        )
    if (found := width_of(denoiser)) is not None:
        return found
    states = _check.array(x, "x")
    if states.ndim not in (1, 2):
        _check.fail("x", f"shape {states.shape}", "(B, D) or (D,)", "give one row per state")
    return int(states.shape[-1])


def width_of(denoiser: Any) -> int | None:
    """D, where a denoiser tells its own."""
    found = getattr(denoiser, "dim", None)
    return int(found) if isinstance(found, (int, np.integer)) else None


def called(denoiser: Denoiser) -> str:
    """What to call a denoiser in tables: its `name`, or that of the function or class."""
    for owner, key in ((denoiser, "name"), (denoiser, "__name__"), (type(denoiser), "__name__")):
        if isinstance(found := getattr(owner, key, None), str):
            return found
    return "model"  # pragma: no cover


def apply(denoiser: Denoiser, x: Floats, sigma: Any) -> Floats:
    """Any denoiser's output as float64 (B, D), its shape checked.

    Rows of x that are not finite, or past all bounds, are kept from the denoiser and give NaN;
    so do all rows where it raises `NotFinite`, as the last of many paths to diverge may.
    """
    level = np.asarray(sigma, dtype=np.float64)
    finite = np.abs(x) <= _check.SIGMA_LIMIT
    if not (len(x) and finite.all()):
        good, result = finite.all(axis=1), np.full_like(x, np.nan)
        if good.any():
            result[good] = apply(denoiser, x[good], level[good] if level.ndim else level)
        return result
    # a copy each way: a denoiser may work in place, or hand out one buffer again and again
    try:
        output = denoiser(x.copy(), level if level.ndim else float(level))
    except NotFinite:
        return np.full(x.shape, np.nan)
    found = _check.array(output, "denoiser's output", finite=False)
    if found.shape != x.shape:
        _check.fail(
            "denoiser",
            f"output of shape {found.shape} for x of shape {x.shape}",
            "an output shaped like x",
            "return one denoised row per query",
        )
    return found.astype(np.float64)
