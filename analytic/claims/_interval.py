"""Confidence intervals for claims about means.

A claim "E e ≤ 0" holds as far as it was tested if the whole interval of every mean lies
below a stated margin, is refuted if one lies above 0, and is undecided otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..report import Status, Verdict
from ._base import Case
from ._statistics import mean_limits

__all__ = ["Interval", "decided", "draws", "interval"]

Floats = NDArray[np.float64]

WORK = 10_000_000
"""Numbers of data times draws, for each level, that are cheap."""


class Interval(NamedTuple):
    """Limits of k means."""

    low: Floats
    high: Floats

    @property
    def middle(self) -> Floats:
        """The means found."""
        return 0.5 * (self.low + self.high)

    @property
    def refuted(self) -> bool:
        """Whether some mean is above 0, or not a number."""
        return bool((~(self.low <= 0)).any())


def draws(case: Case, least: int) -> int:
    """How many forward samples a mean takes: more where the data are few."""
    most = 1000 if case.quick else 4000
    return max(least, min(most, WORK // (len(case.points) * case.points.dim)))


def interval(samples: Floats) -> Interval:
    """Intervals for the means of samples (n, k), at the level of all claims (`_statistics`)."""
    return Interval(*mean_limits(samples))


def decided(verdict: Verdict, means: Interval, exact: Floats) -> Verdict:
    """The verdict, undecided where only intervals are too wide: no mean is refuted, and what
    was measured exactly, over its bound, is within it.
    """
    if verdict.status == Status.FAILS and not means.refuted and (exact <= 1).all():
        return replace(verdict, status=Status.INCONCLUSIVE)
    return verdict
