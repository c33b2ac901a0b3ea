"""What every method is given and what it returns.

For points x_i with log-weights l_i, a query x, a bandwidth σ and a reference
point x_r of the set, the logits relative to the reference are

    t_i = (l_i - l_r) - (|x - x_i|² - |x - x_r|²)/2σ²,

and a method returns r, log Σ e^{t_i} and Σ u_i x_i - x_r with u = softmax(t).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ..kernels import threads

Floats = NDArray[np.float64]

TINY = 1e-300
"""Smallest bandwidth told apart from the limit σ → 0, in data units of order one."""


class Sites(NamedTuple):
    """Points and log-weights as the methods see them."""

    points: Floats
    """(N, D) distinct points in units of order one, C-contiguous, read-only."""
    logs: Floats
    """(N,) log-weights, read-only."""
    unit: float = 1.0
    """The power of two that the data were divided by, exactly, where their scale was extreme."""

    @classmethod
    def of(cls, points: Floats, logs: Floats) -> Sites:
        """Sites of read-only points, rescaled where their range is outside 1e-50 … 1e50.

        So that cubes of distances, times small weights, are normal numbers.
        """
        spread = float((points.max(axis=0) - points.min(axis=0)).max())
        size = spread or float(max(points.max(), -points.min()))
        if size == 0 or 1e-50 < size < 1e50:
            return cls(points, logs)
        unit = float(2.0 ** np.frexp(size)[1])
        scaled = points / unit
        # read-only as the others are: to the compiler that is another type of array
        scaled.flags.writeable = False
        return cls(scaled, logs, unit)

    def scaled(self, x: Floats, sigma: Floats) -> tuple[Floats, Floats]:
        """Queries and bandwidths in these units."""
        if self.unit == 1.0:
            return x, sigma
        with np.errstate(over="ignore"):
            q, s = x / self.unit, sigma / self.unit
        if not (np.isfinite(q).all() and np.isfinite(s).all()):
            _check.fail(
                "x or sigma",
                f"values beyond 1e308 times the data scale {self.unit:.3g}",
                "values that float64 can compare with the data",
                "rescale the data",
            )
        return q, s


class Softmax(NamedTuple):
    """The softmax of each query's logits, relative to a reference point."""

    ref: NDArray[np.int64]
    """(B,) index of a point whose logit is within 30 nats of the largest (usually the largest)."""
    log_sum: Floats
    """(B,) log Σ e^{t_i}."""
    shift: Floats
    """(B, D) Σ u_i x_i - x_r."""
    truncation: Floats
    """(B,) τ, a certified bound on what was left out, 0 where nothing was: log Σ e^{t_i} is
    off by at most τ and Σ u_i x_i by at most τ times the diameter of the data, beside rounding."""

    def at(self, rows: NDArray[np.int64]) -> Softmax:
        """The results of some queries."""
        return Softmax(self.ref[rows], self.log_sum[rows], self.shift[rows], self.truncation[rows])

    def put(self, rows: NDArray[np.int64], part: Softmax) -> None:
        """Replace the results of some queries."""
        for into, values in zip(self, part, strict=True):
            into[rows] = values


class Found(NamedTuple):
    """A softmax with its reference points themselves, wherever they live."""

    ref: NDArray[np.int64]
    log_sum: Floats
    shift: Floats
    truncation: Floats
    base: Floats
    """(B, D) x_r."""
    base_log: Floats
    """(B,) log π_r."""
    asked: Any = None
    """(B, K) which shards were summed, where points are in shards."""


class Spread(NamedTuple):
    """How the posterior spreads about its mean D, with y_i = x_i - D."""

    trace: Floats
    """(B,) tr C = Σ u|y|²."""
    entropy: Floats
    """(B,) -Σ u log u, which rounding may make negative."""
    pull: Floats
    """(B, D) s κ3 + C v = Σ u (s|y|² + y·v) y for given s and v; zero where none was given."""

    def put(self, rows: NDArray[np.int64], part: Spread) -> None:
        """Replace the results of some queries."""
        for into, values in zip(self, part, strict=True):
            into[rows] = values


class Sums(Protocol):
    """What a denoiser asks of its points, wherever they live; lengths in their unit."""

    @property
    def unit(self) -> float:
        """What lengths are divided by, a power of two; 1 but for data of extreme scale."""

    @property
    def count(self) -> int:
        """Number of points that have any weight."""

    def scaled(self, x: Floats, sigma: Floats) -> tuple[Floats, Floats]:
        """Queries and bandwidths in that unit."""

    def at(self, index: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Points (B, D) and log-weights (B,) of some indices."""

    def softmax(self, q: Floats, s: Floats, single: bool = False) -> Found:
        """The softmax over all points, for q (B, D) and s (B,) ≥ 0; see `Method`."""

    def spread(
        self, q: Floats, s: Floats, found: Found, v: Floats | None = None, third: float = 0.0
    ) -> Spread:
        """tr C, entropy and, for directions v (B, D), third κ3 + C v."""

    def covariance(self, q: Floats, s: Floats, found: Found) -> Floats:
        """(B, D, D) C = Σ u y yᵀ, exactly symmetric."""

    def trap(self, q: Floats, s: Floats, index: NDArray[np.int64]) -> Floats:
        """(B, 5) sums of the trap certificate for candidate points."""

    def top(self, q: Floats, s: Floats, found: Found, k: int) -> tuple[NDArray[np.int64], Floats]:
        """Indices (B, k) of the heaviest points and their log-weights, heaviest first."""


class Method(Protocol):
    """One way to compute the softmax."""

    def softmax(self, q: Floats, s: Floats, single: bool = False) -> Softmax:
        """Softmax for queries q (B, D) and bandwidths s (B,) ≥ 0, both finite.

        `single` says that the caller keeps the result in float32: sums may be as
        coarse as that, and log-weights that matter off by 4e-4 nats. Temporaries stay
        below some 100 MB whatever N and B.
        """


class Exhaustive(Method, Protocol):
    """A method that sums every point, and so has the moments about the mean as well.

    `found` is the softmax of the same queries, by whichever method. Bandwidths are positive.
    """

    def spread(
        self, q: Floats, s: Floats, found: Softmax, v: Floats | None = None, third: float = 0.0
    ) -> Spread:
        """tr C, entropy and, for directions v (B, D), third κ3 + C v."""

    def covariance(self, q: Floats, s: Floats, found: Softmax) -> Floats:
        """(B, D, D) C = Σ u y yᵀ, exactly symmetric."""


def inverse(s: Floats) -> Floats:
    """1/σ, with σ → 0 told apart from no smaller bandwidth than `TINY`."""
    return np.asarray(1.0 / np.maximum(s, TINY))


class _Shared(Protocol):
    @property
    def threads(self) -> int | None: ...


Owner = TypeVar("Owner", bound=_Shared)
Given = ParamSpec("Given")
Result = TypeVar("Result")


def shared(
    method: Callable[Concatenate[Owner, Given], Result],
) -> Callable[Concatenate[Owner, Given], Result]:
    """A method whose work at most as many threads share as its object says in `threads`."""

    @wraps(method)
    def limited(self: Owner, *args: Given.args, **options: Given.kwargs) -> Result:
        with threads.limited(self.threads):
            return method(self, *args, **options)

    return limited
