"""Hypothesis strategies for everything that a test of diffusion on finite data needs.

    from analytic.testing import strategies as st

    @given(st.cases(points=st.point_sets(max_dim=3), low=0.1))
    def test_mine(case):
        mine(case.points, case.x, case.sigma)

Functions return strategies. Arguments are keyword-only, and each is a value or a strategy of
values: `point_sets(max_dim=st.integers(1, 64))`. Plain bounds are checked at the call. What
is drawn shrinks to one point at 0 in one dimension, σ = 1, one query there.

Coordinates are dyadic, multiples of 2⁻¹⁶ (2⁻²⁶ for near duplicates) of order one, so that a
shift by whole numbers and a scaling by powers of two are exact in float64: symmetries can
be asserted bit for bit. Points are all different, so that bounds on their number hold.

Every geometry is there for the mistake that it brings to light.

| geometry | points | breaks |
|---|---|---|
| `single` | one | division by a diameter, a variance or N - 1 that is 0; `max` of no others |
| `cloud` | independent coordinates | the general case: a wrong formula |
| `duplicates` | some given two or three times, merged into weights | weights taken for equal |
| `collinear` | on a line that misses the origin | rank-deficient covariances inverted; a centre
  at the origin taken for granted |
| `simplex` | the origin and unit vectors, N ≤ D + 1 | ties: `argmin` where neighbours are equal |
| `grid` | corners of a cubic lattice | ties again, on saddles half way between |
| `near_duplicates` | pairs 2⁻²⁶ apart | squared distances by expansion; points merged that differ |
| `far_cluster` | two clusters 2¹⁰ apart | one maximum shared by a batch; underflow to 0/0 |
| `low_rank` | in half the dimensions or fewer, also in many: `max_dim=64` | work in the span of
  the data; noise that leaks into it |
| `large_offset` | a cloud around 2²⁰ | the mean taken for 0; variances as E x² - (E x)² |
| `tiny`, `huge` | a cloud of size 2⁻³⁰⁰ or 2³⁰⁰, on request | constants of no unit (1e-8 under a
  root); σ⁴; float32 |
"""

try:
    import hypothesis  # noqa: F401
except ImportError as error:  # pragma: no cover - tested in a process of its own
    raise ImportError(
        "analytic.testing.strategies needs Hypothesis, which is not installed: "
        'pip install "analytic-diffusion[testing]".'
    ) from error

from ._denoisers import DENOISERS, FAULTS, Faulty, denoisers, faulty_denoisers
from ._levels import QUERIES, Case, cases, queries, sigmas
from ._points import EXTREMES, GEOMETRIES, coordinates, point_sets, size, weights
from ._processes import GRIDS, SCHEDULES, grids, schedules

__all__ = [
    "DENOISERS",
    "EXTREMES",
    "FAULTS",
    "GEOMETRIES",
    "GRIDS",
    "QUERIES",
    "SCHEDULES",
    "Case",
    "Faulty",
    "cases",
    "coordinates",
    "denoisers",
    "faulty_denoisers",
    "grids",
    "point_sets",
    "queries",
    "schedules",
    "sigmas",
    "size",
    "weights",
]
