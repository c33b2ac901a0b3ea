"""Strategies for point sets of a named geometry and for their weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ... import _check
from ...points import PointSet
from ._bounds import Bound, Range, pick

__all__ = ["EXTREMES", "GEOMETRIES", "coordinates", "point_sets", "size", "unit", "weights"]

Floats = NDArray[np.float64]
Points = Any  # a PointSet, an array, or a strategy of either

GEOMETRIES = (
    "single",
    "cloud",
    "duplicates",
    "collinear",
    "simplex",
    "grid",
    "near_duplicates",
    "far_cluster",
    "low_rank",
    "large_offset",
)
"""Geometries of order one, which a strategy draws from unless told otherwise."""

EXTREMES = ("tiny", "huge")
"""Clouds of the size 2⁻³⁰⁰ (5e-91) and 2³⁰⁰ (2e90), to be asked for by name."""

_POWER = 300
_FINE = 2.0**-16

_whole = partial(_check.integer, low=1)


def size(points: PointSet) -> float:
    """Diameter of the data, one for a single point: the unit of levels and queries."""
    return points.diameter_bounds[1] or 1.0


def unit(points: PointSet) -> float:
    """The power of two that makes extreme coordinates of order one; 1 for ordinary ones."""
    largest = float(np.abs(points.points).max())
    ordinary = largest == 0 or 2.0**-64 < largest < 2.0**64
    return 1.0 if ordinary else float(np.ldexp(1.0, np.frexp(largest)[1]))


def coordinates(shape: tuple[int, ...]) -> st.SearchStrategy[Floats]:
    """Arrays of multiples of 2⁻¹⁶ in [-2, 2], which shrink to zeros."""
    return _integers(shape, 2**17).map(lambda k: np.asarray(k * _FINE))


def _integers(shape: tuple[int, ...], most: int) -> st.SearchStrategy[NDArray[np.int64]]:
    """Arrays of whole numbers in [-most, most]."""
    some = partial(hnp.arrays, np.int64, elements=st.integers(-most, most), fill=_fill(shape))
    if len(shape) == 1 or _fill(shape) is None:
        return some(shape)
    # row by row, so that one can go while others stay
    return st.tuples(*[some(shape[1:])] * shape[0]).map(np.array)


def _fill(shape: tuple[int, ...]) -> st.SearchStrategy[Any] | None:
    """None lets Hypothesis give most entries one value, which only large arrays need."""
    return st.nothing() if np.prod(shape) <= 256 else None


def weights(
    *, count: int | st.SearchStrategy[int], ratio: float | st.SearchStrategy[float] = 1e12
) -> st.SearchStrategy[Floats]:
    """Positive weights (count,) up to 1, not normalised; they shrink to equal ones.

    Parameters
    ----------
    count : how many, ≥ 1.
    ratio : bound ≥ 1 on the largest over the smallest.

    >>> weights(count=3, ratio=10.0)  # doctest: +SKIP
    array([1. , 0.25, 1. ])
    """
    number = Bound(count, "count", _whole)
    bound = Bound(ratio, "ratio", partial(_check.number, low=1.0, high=1e300))
    return _weights(number, bound)


@st.composite
def _weights(draw: st.DrawFn, count: Bound[int], ratio: Bound[float]) -> Floats:
    heights, shape = _heights(1 / ratio.draw(draw)), (count.draw(draw),)
    return draw(hnp.arrays(np.float64, shape, elements=heights, fill=_fill(shape)))


def _heights(least: float) -> st.SearchStrategy[float]:
    """Weights from `least` to 1, log-uniform, which shrink to 1."""
    exponents = st.floats(float(np.log2(least)), 0.0)
    return exponents.map(lambda e: float(np.clip(np.exp2(e), least, 1.0)))


def point_sets(
    *,
    min_points: int | st.SearchStrategy[int] = 1,
    max_points: int | st.SearchStrategy[int] = 12,
    min_dim: int | st.SearchStrategy[int] = 1,
    max_dim: int | st.SearchStrategy[int] = 4,
    geometries: str | tuple[str, ...] | st.SearchStrategy[Any] = GEOMETRIES,
    weighted: bool | st.SearchStrategy[bool] = st.booleans(),  # noqa: B008 - strategies are lazy
    labelled: bool | st.SearchStrategy[bool] = False,
) -> st.SearchStrategy[PointSet]:
    """Point sets of a named geometry, which is their `name`.

    Parameters
    ----------
    min_points, max_points : how many different points.
    min_dim, max_dim : the dimension D.
    geometries : one or more of `GEOMETRIES` and `EXTREMES`. Those for which the bounds leave
        no room are passed over, as long as one is left.
    weighted : whether points have weights of their own, up to 10¹² apart. Duplicates have
        unequal weights in any case: their numbers of copies.
    labelled : whether points have labels, of three classes at most.

    Raises
    ------
    ValueError, TypeError
        at the call if a plain bound is bad or two clash, else when an example is drawn.

    They shrink to one point at 0 in one dimension, without weights of its own.

    >>> point_sets(geometries=("cloud", "simplex"), max_dim=3)  # doctest: +SKIP
    PointSet('cloud', N=1, D=1)
    """
    count = Range.of(min_points, max_points, ("min_points", "max_points"), _whole)
    dim = Range.of(min_dim, max_dim, ("min_dim", "max_dim"), _whole)
    kinds = Bound(geometries, "geometries", pick((*GEOMETRIES, *EXTREMES)))
    flags = (Bound(weighted, "weighted", _check.flag), Bound(labelled, "labelled", _check.flag))
    if not any(each.open for each in (count.low, count.high, dim.high, kinds)):
        _fitting(kinds.value, count.low.value, count.high.value, dim.high.value)
    return _point_sets(count, dim, kinds, *flags)


def _fitting(kinds: tuple[str, ...], low: int, high: int, widest: int) -> tuple[str, ...]:
    """The geometries that some number of points in [low, high] has in `widest` dimensions."""
    # the smallest and the largest number of points that a geometry has
    room = {"single": (1, 1), "simplex": (1, widest + 1), "near_duplicates": (2, high)}
    found = tuple(
        kind
        for kind in kinds
        if max(low, room.get(kind, (1, high))[0]) <= min(high, room.get(kind, (1, high))[1])
    )
    if not found:
        _check.fail(
            "geometries",
            ", ".join(kinds),
            f"one that has {low} to {high} points in at most {widest} dimensions",
            "change min_points, max_points or max_dim, or allow another geometry",
        )
    return found


@st.composite
def _point_sets(
    draw: st.DrawFn,
    counts: Range[int],
    dims: Range[int],
    kinds: Bound[tuple[str, ...]],
    weighted: Bound[bool],
    labelled: Bound[bool],
) -> PointSet:
    (low, high), (narrow, wide) = counts.draw(draw), dims.draw(draw)
    kind = draw(st.sampled_from(_fitting(kinds.draw(draw), low, high, wide)))
    if kind == "single":
        high = 1
    elif kind == "simplex":
        narrow, high = max(narrow, low - 1), min(high, wide + 1)
    elif kind == "near_duplicates":
        low = max(low, 2)
    count = draw(st.integers(low, high))
    dim = draw(st.integers(max(narrow, count - 1) if kind == "simplex" else narrow, wide))
    rows = _rows(draw, kind, count, dim)
    copies, heavy, names = np.ones(count, dtype=np.int64), np.ones(count), None
    if kind == "duplicates":
        _scatter(draw, copies, st.integers(1, 3))
    if weighted.draw(draw):
        _scatter(draw, heavy, _heights(1e-12))
    if labelled.draw(draw):
        names = np.zeros(count, dtype=np.int64)
        _scatter(draw, names, st.integers(0, 2))
        names = np.repeat(names, copies)
    plain = (heavy == 1).all()
    return PointSet(
        np.repeat(rows, copies, axis=0),
        None if plain else np.repeat(heavy, copies),
        names,
        name=kind,
    )


def _scatter(draw: st.DrawFn, values: NDArray[Any], others: st.SearchStrategy[Any]) -> None:
    """Give some of the values others.

    Those are named, where one for each point would have to go together with its point: examples
    shrink to fewer points only if what was drawn later stays what it was.
    """
    count = len(values)
    for k, other in draw(
        st.dictionaries(st.integers(0, count - 1), others, max_size=count)
    ).items():
        values[k] = other


def _rows(draw: st.DrawFn, kind: str, count: int, dim: int) -> Floats:
    """Different rows (count, dim) of a geometry."""
    if kind == "simplex":
        # the origin, then unit vectors; moved
        return np.eye(dim + 1, dim, k=-1)[:count] + draw(coordinates((dim,)))
    if kind == "grid":
        spacing = 2.0 ** draw(st.integers(0, 2))
        return spacing * _lattice(count, dim) + draw(coordinates((dim,)))
    if kind == "collinear":
        return _combined(draw, count, dim, 1) + draw(coordinates((dim,)))
    if kind == "low_rank":
        return _combined(draw, count, dim, draw(st.integers(1, max(1, dim // 2))))
    if kind == "near_duplicates":
        pairs = _different(draw(coordinates(((count + 1) // 2, dim))))
        return np.repeat(pairs, 2, axis=0)[:count] + 2.0**-26 * (np.arange(count) % 2)[:, None]
    rows = _different(draw(coordinates((count, dim))))
    if kind == "far_cluster":
        return _different(rows + 2.0**10 * (np.arange(count) % 2)[:, None])
    if kind == "large_offset":
        return rows + 2.0**20
    if kind in EXTREMES:
        return rows * 2.0 ** (_POWER if kind == "huge" else -_POWER)
    return rows


def _combined(draw: st.DrawFn, count: int, dim: int, rank: int) -> Floats:
    """Different combinations of `rank` directions, the first of them not 0."""
    along, directions = draw(_integers((count, rank), 2**8)), draw(_integers((rank, dim), 2**8))
    if not directions[0].any():
        directions[0, 0] = 2**8
    return _different(along / 2.0**8 @ (directions / 2.0**8), directions[0] / 2.0**8)


def _different(rows: Floats, step: Floats | None = None) -> Floats:
    """The rows, each that equals an earlier one moved by whole steps; default: along an axis."""
    found, taken = rows + 0.0, set()  # which makes -0.0 and 0.0 the same
    move = np.eye(1, rows.shape[1])[0] if step is None else step
    for row in found:
        while (key := row.tobytes()) in taken:
            row += move
        taken.add(key)
    return found


def _lattice(count: int, dim: int) -> Floats:
    """The first points of the smallest cubic lattice that has so many, as whole numbers."""
    side, axes = 1, min(dim, 16)
    while side**axes < count:
        side += 1
    places = np.unravel_index(np.arange(count), (side,) * axes)
    rows = np.zeros((count, dim))
    rows[:, : len(places)] = np.stack(places, axis=1)
    return rows
