"""Empirical order: how fast the global error falls with the number of steps.

With e(n) the root mean square over starts of the global error after n steps, and n doubling,
the slopes p_j = log₂ e(n_j)/e(n_{j+1}) tend to the order like p + c/n. Read as follows:

* Round-off. Levels from the first e(n) below ten times the floor on are left out. The floor is
  the largest of the reference's own error, 4 ε |x|, the rounding that the sampler declares, and
  what is measured: the second difference of the final state in a tiny displacement of the
  start, which is rounding alone.
  A sampler that declares ε may also get its coefficients by cancellation, and worse so the finer
  the steps: where errors below 4,096 ε |x| end with a slope under 3/4, less than any order, levels
  from the first slope on that falls by over 1/4 are left out, too.
* Coarse levels. Only the two finest slopes that are left, b and then c, and their
  extrapolation 2c - b are used; all coarser ones are before them on the way to p.
* Interval. The hull of b, c and 2c - b, widened by half of the 95 % bootstrap interval of c
  over the starts. It holds what is systematic, the drift, and what is not; the residuals of a
  straight line would show neither.
* Settled. |c - b| must be at most 1/4 and no more than 1/10 above the change before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._outcome import Status

__all__ = ["SHORT", "Curve", "Estimate", "estimate", "judge"]

Floats = NDArray[np.float64]

ABOVE = 10.0
"""Errors count from that many times the floor."""
MOVED, MORE = 0.25, 0.10
CANCELLED = 4096
"""Errors below that many times a declared rounding may be those of coefficients."""
SHORT, NEXT = 0.25, 0.50
"""An interval that ends this far below a promise breaks it; one that begins this far below it
might be that of half an order less."""
DRAWS = 200


@dataclass(frozen=True, eq=False)
class Curve:
    """Errors of one sampler on one problem."""

    problem: str
    steps: Floats
    """(K,) numbers of steps, increasing."""
    nfe: Floats
    """(K,) evaluations per start."""
    errors: Floats
    """(K, B) global error of each start."""
    floor: float
    """Round-off in such an error."""
    coarse: float = 0.0
    """What a declared rounding may make of it through coefficients."""

    @property
    def rms(self) -> Floats:
        """(K,) e(n)"""
        return np.sqrt(np.mean(self.errors**2, axis=1))

    @property
    def slopes(self) -> Floats:
        """(K - 1,)"""
        with np.errstate(divide="ignore", invalid="ignore"):
            return -np.diff(np.log(self.rms)) / np.diff(np.log(self.steps))


@dataclass(frozen=True)
class Estimate:
    """A measured order; NaN if fewer than three slopes lie above round-off."""

    order: float
    low: float
    high: float
    first: float
    """The window: its number of steps from here"""
    last: float
    """to here."""
    settled: bool
    why: str


def estimate(curve: Curve, seed: int) -> Estimate:
    """The order from the finest slopes above round-off."""
    rms = curve.rms
    under = np.flatnonzero(rms <= ABOVE * curve.floor)
    kept = int(under[0]) if under.size else len(rms)
    broken = 2 + np.flatnonzero((np.diff(curve.slopes) < -MOVED) & (rms[2:] < curve.coarse))
    cut = bool(broken.size) and broken[0] < kept and curve.slopes[kept - 2] < 1 - SHORT
    kept = int(broken[0]) if cut else kept
    if kept < 4:
        level = rms[kept:].max() if cut else curve.floor
        why = f"only {max(kept - 1, 0)} slopes above rounding, of {level:.1e}"
        return Estimate(*(5 * (np.nan,)), False, why)
    a, b, c = curve.slopes[kept - 4 : kept - 1].tolist()
    spread = _bootstrap(curve, kept, seed)
    hull = (b, c, 2 * c - b)
    settled = abs(c - b) <= min(MOVED, abs(b - a) + MORE)
    window = float(curve.steps[kept - 3]), float(curve.steps[kept - 1])
    why = (
        f"slopes {a:.2f}, {b:.2f}, {c:.2f} up to {window[1]:g} steps, where the error is "
        f"{rms[kept - 1]:.1e}"
    )
    if cut:
        why += f"; finer steps meet the rounding of coefficients, {rms[kept:].min():.1e}"
    elif kept < len(rms):
        why += f"; finer steps meet the round-off of {curve.floor:.1e}"
    if not settled:
        why += "; the slope still moves"
    return Estimate(c, min(hull) - spread, max(hull) + spread, *window, settled, why)


def judge(found: Estimate, promised: int | None) -> Status:
    """Whether a promised order (at least that) is kept."""
    if promised is None:
        return Status.NOT_TESTED
    if not found.settled:
        return Status.INCONCLUSIVE
    if found.high < promised - SHORT:
        return Status.FAILS
    return Status.HOLDS if found.low > promised - NEXT else Status.INCONCLUSIVE


def _bootstrap(curve: Curve, kept: int, seed: int) -> float:
    """Half of the 95 % interval of the finest slope over resampled starts."""
    square = curve.errors[kept - 2 : kept] ** 2
    count = square.shape[1]
    draws = np.random.default_rng((seed, 1)).integers(count, size=(DRAWS, count))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.log(square[:, draws].mean(axis=2))
    ratio = np.log(curve.steps[kept - 1] / curve.steps[kept - 2])
    slopes = -0.5 * np.diff(mean, axis=0)[0] / ratio
    slopes = slopes[np.isfinite(slopes)]
    if not slopes.size:
        return 0.0
    low, high = np.quantile(slopes, [0.025, 0.975])
    return float(high - low) / 2
