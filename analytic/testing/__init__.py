"""Assertions for tests of one's own: denoisers, samplers, trajectories.

In the spirit of `numpy.testing`: a function per property, which returns nothing where it holds and
raises `AssertionError` where it does not, with the claim, the worst case, what was measured beside
its bound, and the lines of code that fail in the same way.

| assertion | of | says |
|---|---|---|
| `assert_denoiser_consistent` | any denoiser | is a function of its rows, as its methods say |
| `assert_mean_shift_equivalent` | the optimal one | is one step of Gaussian mean shift (A2) |
| `assert_likelihood_ascends` | any | its steps climb where theory says so (A3, G3) |
| `assert_in_hull` | outputs | lie in the convex hull of the data (A5) |
| `assert_equivariant` | what makes denoisers | moves with the data; duplicates are weights (A7) |
| `assert_order` | samplers | the error falls like n^-p |
| `assert_matches_exact_flow` | samplers | end where the exact flow does |
| `assert_quasi_linear` | trajectories | stay near their chords (C6, F1) |
| `assert_collapses` | trajectories | end on data points, certified where that can be (D1) |

They need neither pytest nor Hypothesis. Queries are drawn from a seed, or given: with the
strategies of `analytic.testing.strategies` (extra "testing") properties are searched for
counterexamples, which Hypothesis then shrinks:

    from hypothesis import given
    import analytic as an
    from analytic.testing import strategies as st

    @given(st.point_sets(), st.sigmas())
    def test_my_denoiser(points, sigma):
        an.testing.assert_mean_shift_equivalent(MyDenoiser(points), points, sigma=sigma)

Tolerances are those of float64; a network in float32 states its own. A property that holds at the
queries that were tried is supported by them, not proven.
"""

from ._denoisers import (
    assert_equivariant,
    assert_in_hull,
    assert_likelihood_ascends,
    assert_mean_shift_equivalent,
)
from ._function import assert_denoiser_consistent
from ._paths import assert_collapses, assert_quasi_linear
from ._samplers import assert_matches_exact_flow, assert_order

__all__ = [
    "assert_collapses",
    "assert_denoiser_consistent",
    "assert_equivariant",
    "assert_in_hull",
    "assert_likelihood_ascends",
    "assert_matches_exact_flow",
    "assert_mean_shift_equivalent",
    "assert_order",
    "assert_quasi_linear",
]
