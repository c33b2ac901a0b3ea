"""How claims that hold in expectation, or in distribution, are judged by samples.

One place states the level. A report as a whole may refute a true claim with
probability `LEVEL`; the level is shared equally (Bonferroni) by up to `LIMITS`
confidence limits, so each is off with probability 1e-10. Ten reports in a row are
wrong with probability 1e-5. Sample sizes are fixed before anything is drawn.

A claim says that a mean (a share, a distance between distributions) lies in
[least, most]. With a confidence interval [low, high] it

    FAILS         if the interval misses [least, most],
    HOLDS         if the interval lies in [least - margin, most + margin],
    INCONCLUSIVE  otherwise: more samples would tell.

Margins are needed where least = most: no interval lies inside a single number.

Intervals: Student's for means; the exact ones of Clopper & Pearson (1934,
https://doi.org/10.1093/biomet/26.4.404) for shares; and for distribution functions the
inequality of Dvoretzky, Kiefer and Wolfowitz with the constant of Massart (1990,
https://doi.org/10.1214/aop/1176990746). The last two hold for every sample size.
Student's is exact for normal samples; with n samples of skewness γ its level on the
worse side grows by about exp(|γ|q³/6√n), q = 6.4 the quantile: 7 for the square of a
normal variable at n = 4,096.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..report import Evidence, Status, Verdict
from ._base import Case, Claim, outcome

__all__ = [
    "LEVEL",
    "LIMITS",
    "Interval",
    "decided",
    "distance_limits",
    "draws",
    "estimated",
    "mean_limits",
    "share_limits",
]

Floats = NDArray[np.float64]

LEVEL = 1e-6
"""Probability that a report refutes a true claim, at most."""

LIMITS = 10_000
"""Confidence limits that a report has room for: a few hundred a data set, some tens of sets."""


WORK = 10_000_000
"""Numbers of data times draws, for each level, that are cheap."""


class Interval(NamedTuple):
    """Confidence limits."""

    low: Floats
    high: Floats

    @property
    def middle(self) -> Floats:
        """The means found."""
        return 0.5 * (self.low + self.high)

    @property
    def refuted(self) -> bool:
        """Whether some number claimed to be at most 0 is above, or not a number."""
        return bool((~(self.low <= 0)).any())


def mean_limits(samples: Floats) -> Interval:
    """Limits of the mean of samples (n, ...), n ≥ 2, by Student's t; shape (...)."""
    from scipy.special import stdtrit

    count = len(samples)
    # samples that are not finite have limits that are not
    with np.errstate(invalid="ignore", over="ignore"):
        mean = samples.mean(axis=0)
        half = -stdtrit(count - 1, LEVEL / LIMITS) * samples.std(axis=0, ddof=1) / np.sqrt(count)
        return Interval(np.asarray(mean - half), np.asarray(mean + half))


def share_limits(hits: Any, count: int) -> Interval:
    """Limits of a probability, from the number of hits among `count` trials."""
    from scipy.special import betaincinv

    n = np.asarray(hits, dtype=float)
    low = betaincinv(np.maximum(n, 1.0), count - n + 1, LEVEL / LIMITS)
    high = betaincinv(n + 1, np.maximum(count - n, 1.0), 1 - LEVEL / LIMITS)
    return Interval(np.where(n > 0, low, 0.0), np.where(n < count, high, 1.0))


def distance_limits(values: Floats) -> Interval:
    """Limits of the distance of a law from the one samples should follow.

    The distance is the largest between distribution functions; `values` (n,) are those of the
    samples under the law they should follow, in any order. An interval that starts below 0
    says that the two may be equal.
    """
    law = np.sort(values)
    steps = np.arange(law.size + 1) / law.size
    apart = max((law - steps[:-1]).max(), (steps[1:] - law).max())
    room = np.sqrt(np.log(2 * LIMITS / LEVEL) / (2 * law.size))
    return Interval(np.asarray(apart - room), np.asarray(apart + room))


def estimated(
    claim: Claim,
    case: Case,
    found: Interval,
    *,
    sigma: Floats,
    least: Any = -np.inf,
    most: Any = np.inf,
    margin: Any = 0.0,
    meaning: str,
    worst: Callable[[int], Mapping[str, Any]] | None = None,
    statistics: Mapping[str, float] | None = None,
    evidence: Evidence | None = None,
    note: str = "",
) -> Verdict:
    """The verdict on intervals (n,) of numbers that are claimed to lie in [least, most].

    `measured` is how far the worst interval is from there, negative where it
    reaches in. An exact number is an interval of length 0.
    """
    low, high = (np.asarray(limit, dtype=float) for limit in found)
    level = f"Confidence limits at {LEVEL / LIMITS:g} each, {LEVEL:g} for a report."
    verdict = outcome(
        claim,
        case,
        sigma=sigma,
        measured=np.maximum(low - most, least - high),
        bound=0.0,
        meaning=f"distance of the confidence interval from what is claimed: {meaning}",
        worst=worst,
        statistics=statistics,
        evidence=evidence,
        note=f"{note} {level}".strip(),
    )
    inside = (low >= least - margin) & (high <= most + margin)
    if verdict.status != Status.HOLDS or inside.all():
        return verdict
    return replace(verdict, status=Status.INCONCLUSIVE)


def draws(case: Case, least: int) -> int:
    """How many forward samples a mean takes: more where the data are few."""
    most = 1000 if case.quick else 4000
    return max(least, min(most, WORK // (len(case.points) * case.points.dim)))


def decided(verdict: Verdict, means: Interval, exact: Floats) -> Verdict:
    """The verdict, undecided where only intervals are too wide: no mean is refuted, and what
    was measured exactly, over its bound, is within it.
    """
    if verdict.status == Status.FAILS and not means.refuted and (exact <= 1).all():
        return replace(verdict, status=Status.INCONCLUSIVE)
    return verdict
