"""Hypothesis strategies for point sets, noise levels and queries.

Coordinates are dyadic, multiples of 2⁻¹⁶ of order one, so that a shift by whole
numbers and a scaling by powers of two are exact in float64. Bounds are keyword-only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analytic import PointSet

GRID = 2.0**16
GEOMETRIES = (
    "cloud",
    "single",
    "duplicates",
    "collinear",
    "near_duplicates",
    "simplex",
    "far_cluster",
    "low_rank",
    "large_offset",
)
QUERIES = ("on_point", "near", "midpoint", "noisy", "far")


class Case(NamedTuple):
    """A point set with queries (B, D) at one level."""

    points: PointSet
    x: np.ndarray
    sigma: float


def size(points: PointSet) -> float:
    """Diameter of the data, one for a single point: the unit of levels and queries."""
    return points.diameter_bounds[1] or 1.0


def _coordinates(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    whole = st.integers(-(2**17), 2**17)
    return hnp.arrays(np.int64, shape, elements=whole).map(lambda k: k / GRID)


@st.composite
def point_sets(
    draw: st.DrawFn,
    *,
    min_points: int = 1,
    max_points: int = 12,
    min_dim: int = 1,
    max_dim: int = 4,
    geometries: tuple[str, ...] = GEOMETRIES,
    weighted: bool = True,
) -> PointSet:
    """Point sets of a named geometry; duplicates merge, so N may come out below `min_points`."""
    unknown = set(geometries) - set(GEOMETRIES)
    if unknown or not 1 <= min_points <= max_points or not 1 <= min_dim <= max_dim:
        raise ValueError(f"no such point sets: {unknown or 'empty range'}")
    geometry = draw(st.sampled_from(geometries))
    count = 1 if geometry == "single" else draw(st.integers(min_points, max_points))
    dim = draw(st.integers(min_dim, max_dim))
    if geometry == "simplex":
        rows = np.eye(max(dim, count))[:count, :dim]
    elif geometry == "collinear":
        along, direction = draw(_coordinates((count, 1))), draw(_coordinates((1, dim)))
        rows = np.round(along * 2.0**8) * np.round(direction * 2.0**8) / GRID
    else:
        rows = draw(_coordinates((count, dim)))
    if geometry == "duplicates":
        rows = rows[draw(hnp.arrays(np.int64, count, elements=st.integers(0, count - 1)))]
    elif geometry == "near_duplicates":
        rows = rows[np.arange(count) // 2] + 2.0**-26 * np.arange(count)[:, None]
    elif geometry == "far_cluster":
        rows = rows + 2.0**10 * (np.arange(count) % 2)[:, None]
    elif geometry == "low_rank":
        rows = rows * (np.arange(dim) < (dim + 1) // 2)
    elif geometry == "large_offset":
        rows = rows + 2.0**20
    weights = draw(weight_vectors(count=count)) if weighted and draw(st.booleans()) else None
    return PointSet(rows, weights, name=geometry)


def weight_vectors(*, count: int, ratio: float = 1e12) -> st.SearchStrategy[np.ndarray]:
    """Positive weights (count,), largest to smallest at most `ratio`."""
    exponent = st.floats(-float(np.log(ratio)), 0.0)
    return hnp.arrays(np.float64, count, elements=exponent).map(np.exp)


def levels(*, low: float = 1e-3, high: float = 1e3, scale: float = 1.0) -> st.SearchStrategy[float]:
    """Noise levels, log-uniform between `low` and `high` times `scale`."""
    if not 0 < low <= high:
        raise ValueError(f"levels need 0 < low <= high, got {low} and {high}")
    return st.floats(float(np.log(low)), float(np.log(high))).map(
        lambda t: scale * float(np.exp(t))
    )


@st.composite
def queries(
    draw: st.DrawFn,
    *,
    points: PointSet,
    sigma: float,
    min_count: int = 1,
    max_count: int = 4,
    kinds: tuple[str, ...] = QUERIES,
    far: float = 1e3,
) -> np.ndarray:
    """Queries (B, D): on, near and between data points, noisy at level σ, and `far` away.

    Rounded to multiples of 2⁻³⁰, which keeps those near the data dyadic.
    """
    count = draw(st.integers(min_count, max_count))
    unit, rows = size(points), []
    for _ in range(count):
        kind = draw(st.sampled_from(kinds))
        a, b = (points.points[draw(st.integers(0, len(points) - 1))] for _ in range(2))
        z = draw(_coordinates((points.dim,)))
        reach = {"on_point": 0.0, "near": 1e-3 * unit, "noisy": sigma, "far": far * unit}
        rows.append(0.5 * (a + b) if kind == "midpoint" else a + reach[kind] * z)
    return np.round(np.array(rows) * 2.0**30) / 2.0**30


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    low: float = 1e-3,
    high: float = 1e3,
    kinds: tuple[str, ...] = QUERIES,
    far: float = 1e3,
    max_count: int = 4,
    **options,
) -> Case:
    """A point set, a level between `low` and `high` diameters, and queries."""
    points = draw(point_sets(**options))
    sigma = draw(levels(low=low, high=high, scale=size(points)))
    x = draw(queries(points=points, sigma=sigma, kinds=kinds, far=far, max_count=max_count))
    return Case(points, x, sigma)
