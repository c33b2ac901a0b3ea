"""Strategies for noise levels and queries at the data's own scales."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from ... import _check
from ...denoisers import OptimalDenoiser
from ...points import PointSet, as_points
from ._bounds import Bound, Range, pick
from ._points import Points, coordinates, point_sets, size, unit

__all__ = ["QUERIES", "Case", "cases", "queries", "sigmas"]

Floats = NDArray[np.float64]
Number = float | st.SearchStrategy[float]
Count = int | st.SearchStrategy[int]

QUERIES = ("on_point", "near", "midpoint", "noisy", "mode", "far")
"""Where a query lies: at a data point, within 2/1000 diameters of one, half way between two,
σz from one, at a mode of p_σ, or `far` diameters away."""

OUTERMOST = (1e-150, 1e150, 1e-100, 1e100, 1e-30, 1e30)
"""Levels down to where squares underflow and up to the largest whose square is finite."""

_level = partial(_check.number, low=0.0, high=_check.SIGMA_LIMIT, open_low=True)
_far = partial(_check.number, low=0.0, high=_check.SIGMA_LIMIT)
_count = partial(_check.integer, low=0)


class Case(NamedTuple):
    """A point set with queries at one level."""

    points: PointSet
    x: Floats
    """(B, D) queries."""
    sigma: float


def sigmas(
    *,
    low: Number = 1e-3,
    high: Number = 1e3,
    points: Points | None = None,
    extreme: bool | st.SearchStrategy[bool] = False,
) -> st.SearchStrategy[float]:
    """Noise levels, log-uniform between two bounds.

    Parameters
    ----------
    low, high : bounds, 0 < low ≤ high ≤ 1e150; with `points` in units of their diameter (1 for
        a single point).
    points : data at whose own scales levels are drawn too, as far as the bounds allow: the
        diameter, the radius about the mean, and the distance from a point to its nearest
        neighbour, each once, halved and doubled.
    extreme : whether to draw from 1e-150 to 1e150 too, in no unit and outside the bounds.

    Raises
    ------
    ValueError, TypeError
        at the call if a plain bound is bad or two clash, else when an example is drawn.

    They shrink to 1 (with `points`, to their diameter) if it is within the bounds, otherwise
    to a power of two where there is one.

    >>> sigmas(low=0.1, high=10.0)  # doctest: +SKIP
    1.0
    """
    bounds = Range.of(low, high, ("low", "high"), _level)
    return _sigmas(bounds, _data(points), Bound(extreme, "extreme", _check.flag))


def _data(points: Any) -> Bound[PointSet | None]:
    """Data given as a `PointSet`, an array, a strategy of either, or not at all."""
    return Bound(
        points, "points", lambda value, name: None if value is None else as_points(value, name)
    )


@st.composite
def _sigmas(
    draw: st.DrawFn, bounds: Range[float], data: Bound[PointSet | None], extreme: Bound[bool]
) -> float:
    (low, high), points = bounds.draw(draw), data.draw(draw)
    scale = 1.0 if points is None else size(points)
    low, high = (min(each * scale, _check.SIGMA_LIMIT) for each in (low, high))
    exponents = st.floats(math.log2(low / scale), math.log2(high / scale))
    choices = [exponents.map(lambda t: min(max(scale * 2.0**t, low), high))]
    own = [] if points is None else [s for s in _scales(points) if low <= s <= high]
    if own:
        choices.append(st.sampled_from(own))
    if extreme.draw(draw):
        choices.append(st.sampled_from(OUTERMOST))
    return float(draw(st.one_of(choices)))


def _scales(points: PointSet) -> list[float]:
    """The data's own scales, and half and twice each."""
    if len(points) == 1:
        return []
    rows = points.points
    gaps = np.linalg.norm(rows - rows[0], axis=1)[1:]
    nearest = float(gaps.min())
    found = (size(points), points.mean_radius, nearest)
    return [share * each for each in found for share in (1.0, 0.5, 2.0)]


def queries(
    *,
    points: Points,
    sigma: Number,
    min_queries: Count = 1,
    max_queries: Count = 4,
    kinds: str | tuple[str, ...] | st.SearchStrategy[Any] = QUERIES,
    far: Number = 1e3,
    step: Number = 2.0**-30,
) -> st.SearchStrategy[Floats]:
    """Queries (B, D) where denoisers are asked, and where they break.

    Parameters
    ----------
    points : a `PointSet` or array, or a strategy of them.
    sigma : the level of "noisy" queries and of the p_σ that has the modes.
    min_queries, max_queries : bounds on B.
    kinds : one or more of `QUERIES`; each query has its own.
    far : how many diameters away the far ones are; in every coordinate, at most twice that.
    step : coordinates are rounded to its multiples, in a power of two near the data's size
        where that is extreme; 0 for no rounding. What is multiples of 2⁻³⁰ below 2²² stays
        exact if moved by whole numbers or scaled by powers of two. "noisy" queries at σ below
        the step lie on points.

    Raises
    ------
    ValueError, TypeError
        at the call if a plain bound is bad or two clash, else when an example is drawn.

    They shrink to one query, at the first data point.

    >>> queries(points=[[0.0], [1.0]], sigma=0.5, kinds="midpoint")  # doctest: +SKIP
    array([[0.5]])
    """
    return _queries(
        Bound(points, "points", as_points),
        Bound(sigma, "sigma", _level),
        Range.of(min_queries, max_queries, ("min_queries", "max_queries"), _count),
        Bound(kinds, "kinds", pick(QUERIES)),
        Bound(far, "far", _far),
        Bound(step, "step", partial(_check.number, low=0.0, high=1.0)),
    )


@st.composite
def _queries(
    draw: st.DrawFn,
    data: Bound[PointSet],
    level: Bound[float],
    counts: Range[int],
    kinds: Bound[tuple[str, ...]],
    far: Bound[float],
    step: Bound[float],
) -> Floats:
    points, sigma, allowed = data.draw(draw), level.draw(draw), kinds.draw(draw)
    whole, away = size(points), far.draw(draw)
    rows = np.empty((draw(st.integers(*counts.draw(draw))), points.dim))
    pick_point = st.integers(0, len(points) - 1).map(points.points.__getitem__)
    for k in range(len(rows)):
        kind, start = draw(st.sampled_from(allowed)), draw(pick_point)
        if kind == "on_point":
            rows[k] = start
        elif kind == "midpoint":
            rows[k] = 0.5 * (start + draw(pick_point))
        elif kind == "mode":
            rows[k] = _climbed(points, start, sigma)
        else:
            reach = {"near": 1e-3 * whole, "noisy": sigma, "far": away * whole}[kind]
            rows[k] = start + reach * draw(coordinates((points.dim,)))
    mesh = step.draw(draw) * unit(points)
    return rows if mesh == 0 else np.round(rows / mesh) * mesh


def _climbed(points: PointSet, x: Floats, sigma: float) -> Floats:
    """Where mean shift from x comes to rest, or is after a hundred steps: a mode of p_σ."""
    denoiser = OptimalDenoiser(points, "dense")
    for _ in range(100):
        x, before = np.asarray(denoiser(x, sigma)), x
        if np.array_equal(x, before):
            break
    return x


def cases(
    *,
    points: Points | None = None,
    low: Number = 1e-3,
    high: Number = 1e3,
    min_queries: Count = 1,
    max_queries: Count = 4,
    kinds: str | tuple[str, ...] | st.SearchStrategy[Any] = QUERIES,
    far: Number = 1e3,
    step: Number = 2.0**-30,
) -> st.SearchStrategy[Case]:
    """A point set, a level and queries that belong together.

    Parameters
    ----------
    points : a `PointSet`, an array, or a strategy of them; default `point_sets()`.
    low, high : bounds of the level, in diameters, as for `sigmas(points=...)`.
    min_queries, max_queries, kinds, far, step : as for `queries`.

    Raises
    ------
    ValueError, TypeError
        at the call if a plain bound is bad or two clash, else when an example is drawn.

    They shrink to one point at 0 in one dimension, σ = 1 and one query there.

    >>> cases(points=point_sets(max_dim=2), low=0.1)  # doctest: +SKIP
    Case(points=PointSet('single', N=1, D=1), x=array([[0.]]), sigma=1.0)
    """
    given = point_sets() if points is None else points
    data = Bound(given, "points", as_points)
    bounds = Range.of(low, high, ("low", "high"), _level)
    ask = partial(
        queries,
        min_queries=min_queries,
        max_queries=max_queries,
        kinds=kinds,
        far=far,
        step=step,
    )
    ask(points=[[0.0]], sigma=1.0)  # so that bad bounds are refused at the call
    return _cases(data, bounds, ask)


@st.composite
def _cases(draw: st.DrawFn, data: Bound[PointSet], bounds: Range[float], ask: Any) -> Case:
    points = data.draw(draw)
    low, high = bounds.draw(draw)
    sigma = draw(sigmas(low=low, high=high, points=points))
    return Case(points, draw(ask(points=points, sigma=sigma)), sigma)
