"""Strategies for grids of noise levels and for noise schedules."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from ... import _check
from ... import grids as _grids
from ...noise import NoiseSchedule
from ._bounds import Bound, Range, pick

__all__ = ["GRIDS", "SCHEDULES", "grids", "schedules"]

Floats = NDArray[np.float64]
Number = float | st.SearchStrategy[float]
Count = int | st.SearchStrategy[int]

GRIDS = ("log_snr", "polynomial", "exponential", "arbitrary")
"""Those of `analytic.grids` by name, and decreasing levels as they come."""

SCHEDULES = ("ve", "rectified_flow", "vp", "sub_vp", "cosine", "discrete")
"""Those of `analytic.NoiseSchedule`, by name."""

_level = partial(_check.number, low=0.0, high=_check.SIGMA_LIMIT, open_low=True)


def grids(
    *,
    min_levels: Count = 2,
    max_levels: Count = 12,
    low: Number = 1e-3,
    high: Number = 1e2,
    kinds: str | tuple[str, ...] | st.SearchStrategy[Any] = GRIDS,
    zero: bool | st.SearchStrategy[bool] = st.booleans(),  # noqa: B008 - strategies are lazy
) -> st.SearchStrategy[Floats]:
    """Strictly decreasing grids of noise levels, as samplers take them.

    Parameters
    ----------
    min_levels, max_levels : bounds ≥ 2 on the number of levels, a last 0 included; so n - 1
        steps.
    low, high : bounds of the positive levels, high ≥ 2 low. Levels are at least a factor of
        2^{1/64} apart in "arbitrary" grids, less only where the bounds leave no room.
    kinds : one or more of `GRIDS`.
    zero : whether the grid ends in 0.

    Raises
    ------
    ValueError, TypeError
        at the call if a plain bound is bad or two clash, else when an example is drawn.

    They shrink to [2, 1] if both are within the bounds.

    >>> grids(max_levels=4, zero=True)  # doctest: +SKIP
    array([1., 0.])
    """
    counts = Range.of(
        min_levels, max_levels, ("min_levels", "max_levels"), partial(_check.integer, low=2)
    )
    ends = Range.of(low, high, ("low", "high"), _level)
    if None not in ends.ends:
        _octave(*ends.ends)
    return _drawn_grids(
        counts, ends, Bound(kinds, "kinds", pick(GRIDS)), Bound(zero, "zero", _check.flag)
    )


def _octave(low: Any, high: Any) -> None:
    if high < 2 * low:
        _check.fail("high", repr(high), f"at least twice low = {low!r}", "widen the range")


@st.composite
def _drawn_grids(
    draw: st.DrawFn,
    counts: Range[int],
    ends: Range[float],
    kinds: Bound[tuple[str, ...]],
    zero: Bound[bool],
) -> Floats:
    low, high = ends.draw(draw)
    _octave(low, high)
    kind, last = draw(st.sampled_from(kinds.draw(draw))), zero.draw(draw)
    count = draw(st.integers(*counts.draw(draw))) - last
    if count == 1:
        found = np.array([_between(draw, low, high)])
    elif kind == "arbitrary":
        found = _arbitrary(draw, count, low, high)
    else:
        bottom = _between(draw, low, high / 2)
        top = _between(draw, 2 * bottom, high)
        if kind == "log_snr":
            found = _grids.log_snr(count, top, bottom)
        elif kind == "polynomial":
            found = _grids.polynomial(count, top, bottom, rho=draw(st.sampled_from((7, 1, 3))))
        else:
            power = draw(st.sampled_from((1.0, 0.5, 2.0)))
            found = _grids.exponential(count, top, bottom, rho=power)
    return np.append(found, [0.0] * last)


def _between(draw: st.DrawFn, low: float, high: float) -> float:
    """A level, log-uniform."""
    t = draw(st.floats(math.log2(low), math.log2(high)))
    return float(min(max(2.0**t, low), high))


def _arbitrary(draw: st.DrawFn, count: int, low: float, high: float) -> Floats:
    first, last = math.ceil(64 * math.log2(low)), math.floor(64 * math.log2(high))
    mesh = max(1, math.ceil(2 * count / (last - first + 1)))
    places = st.integers(first * mesh, last * mesh)
    found = draw(st.lists(places, unique=True, min_size=count, max_size=count))
    return np.asarray(np.clip(np.exp2(np.sort(found)[::-1] / (64 * mesh)), low, high))


def schedules(
    *, kinds: str | tuple[str, ...] | st.SearchStrategy[Any] = SCHEDULES
) -> st.SearchStrategy[NoiseSchedule]:
    """Noise schedules x_t = α_t x_0 + σ_t z of all kinds, with all their parameters.

    Parameters
    ----------
    kinds : one or more of `SCHEDULES`. β_min is up to 1 and β_max up to 30, the cosine's offset
        up to 1/16, and a discrete process has 2 to 64 steps, each with its own β up to 1/4.

    Raises
    ------
    ValueError, TypeError
        at the call for unknown kinds.

    They shrink to the first of the kinds.

    >>> schedules(kinds=("vp", "cosine"))  # doctest: +SKIP
    NoiseSchedule('vp', t in [0, 1])
    """
    return _schedules(Bound(kinds, "kinds", pick(SCHEDULES)))


@st.composite
def _schedules(draw: st.DrawFn, kinds: Bound[tuple[str, ...]]) -> NoiseSchedule:
    kind = draw(st.sampled_from(kinds.draw(draw)))
    if kind in ("vp", "sub_vp"):
        first = draw(st.integers(1, 64)) / 64
        return getattr(NoiseSchedule, kind)(first, first + draw(st.integers(0, 29)))
    if kind == "cosine":
        return NoiseSchedule.cosine(draw(st.integers(0, 16)) / 256)
    if kind == "discrete":
        betas = draw(st.lists(st.integers(1, 256), min_size=2, max_size=64))
        return NoiseSchedule.discrete(np.cumprod(1 - np.array(betas) / 1024))
    made: NoiseSchedule = getattr(NoiseSchedule, kind)()
    return made
