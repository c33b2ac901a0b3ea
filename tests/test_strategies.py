"""The public strategies: what they can find, what they shrink to, and what they refuse."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as hs

import analytic as an
from analytic.testing import strategies as st

ANY = settings(
    max_examples=3000,
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
RICH = st.point_sets(geometries=(*st.GEOMETRIES, *st.EXTREMES), labelled=hs.booleans())


def minimal(strategy: Any, condition: Callable[[Any], bool] = lambda _: True) -> Any:
    """The simplest example for which the condition holds."""
    return find(strategy, condition, settings=ANY)


def find_any(strategy: Any, condition: Callable[[Any], bool]) -> Any:
    """Some example for which the condition holds, not shrunk.

    Conditions hold for one in a thousand or more, and the search ends at the first.
    """
    many = settings(ANY, max_examples=20_000, phases=[Phase.generate])
    return find(strategy, condition, settings=many)


def rank(points: an.PointSet) -> int:
    rows = points.points - points.points[0]
    scale = np.abs(rows).max()
    return 0 if scale == 0 else int(np.linalg.matrix_rank(rows / scale))


# What they shrink to


def test_point_sets_shrink_to_one_point_at_zero() -> None:
    found = minimal(st.point_sets())
    assert found.points.tolist() == [[0.0]]
    assert found.weights.tolist() == [1.0]
    assert found.labels is None
    two = minimal(st.point_sets(), lambda points: len(points) > 1)
    assert two.points.tolist() == [[0.0], [1.0]]
    assert two.weights.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["cloud", "duplicates"])
def test_points_go_with_their_weights_copies_and_labels(kind: str, seed: int) -> None:
    """From many points of several dimensions, not all of one weight and one label, to two."""
    sets = st.point_sets(max_points=20, geometries=kind, labelled=True)

    def mixed(points: an.PointSet) -> bool:
        return len(set(points.weights.tolist())) > 1 and len(set(points.labels.tolist())) > 1

    options = settings(ANY, derandomize=False)
    found = find(sets, mixed, settings=options, random=random.Random(seed))
    assert len(found) == 2
    assert sorted(set(found.points.ravel().tolist())) == [0.0, 1.0]
    assert sorted(set(found.labels.tolist())) == [0, 1]


@pytest.mark.parametrize("kind", [*st.GEOMETRIES, *st.EXTREMES])
def test_every_geometry_shrinks(kind: str) -> None:
    found = minimal(st.point_sets(geometries=kind), lambda points: points.points.size > 0)
    assert found.name == kind
    assert len(found) == (2 if kind == "near_duplicates" else 1)
    assert found.dim == 1
    first = 2.0**20 if kind == "large_offset" else 0.0
    assert found.points[0] == first


def test_sigmas_shrink_to_one() -> None:
    assert minimal(st.sigmas()) == 1.0
    assert minimal(st.sigmas(points=[[3.0]])) == 1.0
    assert minimal(st.sigmas(points=[[3.0], [5.0]])) == pytest.approx(2.0, rel=1e-14)
    assert minimal(st.sigmas(), lambda s: s > 1) == pytest.approx(2.0)
    assert minimal(st.sigmas(low=3.0, high=9.0)) == 4.0


def test_weights_shrink_to_equal_ones() -> None:
    assert minimal(st.weights(count=3)).tolist() == [1.0, 1.0, 1.0]
    assert minimal(st.weights(count=2), lambda w: w[1] < 1).tolist()[0] == 1.0


def test_queries_and_cases_shrink_to_one() -> None:
    found = minimal(st.queries(points=[[0.5, 2.0], [1.0, 1.0]], sigma=1.0))
    assert found.tolist() == [[0.5, 2.0]]
    case = minimal(st.cases())
    assert (case.points.points.tolist(), case.x.tolist(), case.sigma) == ([[0.0]], [[0.0]], 1.0)


def test_grids_schedules_and_denoisers_shrink() -> None:
    assert minimal(st.grids(zero=False)).tolist() == [2.0, 1.0]
    assert minimal(st.grids(zero=True)).tolist() == [1.0, 0.0]
    assert minimal(st.schedules()).name == "ve"
    denoiser = minimal(st.denoisers())
    assert isinstance(denoiser, an.OptimalDenoiser)
    assert denoiser.points.points.tolist() == [[0.0]]
    faulty = minimal(st.faulty_denoisers(kinds="drift"), drifts)
    # a shift of both coordinates at once is more than the shrinker always finds
    assert faulty.points.points.shape == (2, 1)
    assert faulty.name == "drift"


def drifts(faulty: st.Faulty) -> bool:
    x = faulty.points.points[:1] + 0.25
    return bool(np.abs(faulty.denoiser(x, 1.0) - an.OptimalDenoiser(faulty.points)(x, 1.0)).max())


# What they find


@pytest.mark.parametrize(
    "condition",
    [
        lambda p: len(p) == 12,
        lambda p: p.dim == 4,
        lambda p: p.labels is not None and len(p.classes) == 3,
        lambda p: p.weights.max() > 1e6 * p.weights.min(),
        lambda p: len(p) > 3 and (p.weights == p.weights[0]).all(),
        lambda p: p.name == "duplicates" and len(np.unique(p.weights)) == 3,
        lambda p: p.name == "collinear" and p.dim == 3 and len(p) > 4 and rank(p) == 1,
        lambda p: p.name == "low_rank" and p.dim == 4 and len(p) > 4 and rank(p) == 2,
        lambda p: p.name == "cloud" and p.dim == 4 and len(p) > 5 and rank(p) == 4,
        lambda p: p.name == "simplex" and len(p) == p.dim + 1 > 3 and rank(p) == p.dim,
        lambda p: p.name == "near_duplicates" and 0 < an_nearest(p) < 1e-7,
        lambda p: p.name == "far_cluster" and st.size(p) > 1000,
        lambda p: p.name == "large_offset" and p.mean[0] > 1e6 and p.mean_radius < 10,
        lambda p: p.name == "tiny" and 0 < st.size(p) < 1e-89,
        lambda p: p.name == "huge" and st.size(p) > 1e89,
        lambda p: p.name == "grid" and len(p) > 6 and p.dim == 2,
    ],
)
def test_point_sets_can_be(condition: Callable[[an.PointSet], bool]) -> None:
    assert condition(find_any(RICH, condition))


def an_nearest(points: an.PointSet) -> float:
    """Least distance of two points."""
    gaps = np.linalg.norm(points.points[:, None] - points.points, axis=2)
    return float(gaps[~np.eye(len(points), dtype=bool)].min(initial=np.inf))


def test_low_rank_in_many_dimensions() -> None:
    wide = st.point_sets(geometries="low_rank", min_dim=32, max_dim=64, min_points=8)
    found = find_any(wide, lambda p: rank(p) > 2)
    assert found.span.rank <= found.dim // 2
    assert find_any(wide, lambda p: p.dim == 64).dim == 64


def test_levels_at_the_datas_own_scales() -> None:
    points = an.PointSet([[0.0], [1.0], [9.0]])
    own = st.sigmas(points=points)
    for scale in (9.0 * (1 + 1e-15), 1.0, points.mean_radius, 2.0, 4.5):
        assert find_any(own, lambda s, scale=scale: abs(s / scale - 1) < 1e-13)
    assert find_any(own, lambda s: s < 0.02) >= 9e-3
    assert find_any(own, lambda s: s > 4e3) <= 9000 * (1 + 1e-12)
    extreme = st.sigmas(extreme=True)
    for level in (1e-150, 1e150):
        assert find_any(extreme, lambda s, level=level: s == level) == level


@pytest.mark.parametrize("kind", st.QUERIES)
def test_queries_of_each_kind(kind: str) -> None:
    points, sigma = an.PointSet([[0.0, 0.0], [4.0, 0.0]]), 1.25
    told: dict[str, Callable[[np.ndarray], bool]] = {
        "on_point": lambda x: x.tolist() == [4.0, 0.0],
        "near": lambda x: 0 < np.linalg.norm(x) < 0.02,
        "midpoint": lambda x: x.tolist() == [2.0, 0.0],
        "noisy": lambda x: 0.1 < np.linalg.norm(x) <= 2 * sigma * math.sqrt(2),
        # two Gaussians: where 2 + 2 tanh(2(x - 2)/σ²) is x
        "mode": lambda x: (
            3.9 < x[0] < 3.99 and abs(2 + 2 * math.tanh(2 * (x[0] - 2) / sigma**2) - x[0]) < 1e-7
        ),
        "far": lambda x: np.linalg.norm(x) > 1000,
    }
    assert (
        find_any(
            st.queries(points=points, sigma=sigma, kinds=kind), lambda x: told[kind](x[0])
        ).shape[1]
        == 2
    )


def test_modes_are_fixed_points() -> None:
    points = st.point_sets(min_points=2, geometries=("cloud", "grid"))

    @settings(ANY, max_examples=30)
    @given(st.cases(points=points, low=0.5, high=4.0, kinds="mode", step=0.0))
    def still(case: st.Case) -> None:
        moved = an.OptimalDenoiser(case.points)(case.x, case.sigma) - case.x
        # mean shift is slow where modes merge: a hundred steps come close
        assert np.abs(moved).max() <= 0.01 * case.sigma

    still()


@pytest.mark.parametrize("kind", st.GRIDS)
def test_grids_of_each_kind(kind: str) -> None:
    drawn = st.grids(kinds=kind)
    assert find_any(drawn, lambda g: len(g) == 12 and g[-1] == 0)[-1] == 0
    found = find_any(drawn, lambda g: len(g) > 4 and g[-1] > 0)
    steps = np.diff(np.log(found))
    if kind == "log_snr":
        np.testing.assert_allclose(steps, steps[0], rtol=1e-9)
    assert find_any(drawn, lambda g: g[0] > 30).max() > 30


def test_arbitrary_grids_are_uneven() -> None:
    def uneven(g: np.ndarray) -> bool:
        steps = np.diff(np.log(g))
        return len(g) > 3 and steps.min() < 5 * steps.max() and np.diff(steps).std() > 0.1

    assert uneven(find_any(st.grids(kinds="arbitrary", zero=False), uneven))


@pytest.mark.parametrize("kind", st.SCHEDULES)
def test_schedules_of_each_kind(kind: str) -> None:
    drawn = st.schedules(kinds=kind)
    assert find_any(drawn, lambda s: s.name == kind).name == kind
    middle = 3.0 if kind == "discrete" else 0.5
    if kind not in ("ve", "rectified_flow"):
        long = drawn.filter(lambda s: s.t_max >= middle)
        first = find_any(long, lambda _: True).level(middle)
        assert find_any(long, lambda s: s.level(middle) != first)


@pytest.mark.parametrize(
    ("kind", "of"),
    list(
        zip(
            st.DENOISERS,
            (
                an.OptimalDenoiser,
                an.GaussianDenoiser,
                an.LowRankGaussianDenoiser,
                an.GaussianMixtureDenoiser,
                an.SmoothedDenoiser,
            ),
            strict=True,
        )
    ),
)
def test_denoisers_of_each_kind(kind: str, of: type) -> None:
    assert type(find_any(st.denoisers(kinds=kind), lambda d: d.dim == 3)) is of


PROBES: dict[str, Callable[[Any, Any, np.ndarray, float], np.ndarray]] = {
    "sample_covariance": lambda D, true, x, s: D.jvp(x, s, x) - true.jvp(x, s, x),
}


@pytest.mark.parametrize("name", st.FAULTS)
def test_faults_are_faults(name: str) -> None:
    """Each is far from the optimal denoiser of its points somewhere."""
    level = {"floored": 1e-3}.get(name, 1.0)
    points = st.point_sets(min_points=2, geometries=("far_cluster", "large_offset"))

    def wrong(faulty: st.Faulty) -> bool:
        true, rows = an.OptimalDenoiser(faulty.points), faulty.points.points
        sigma = level * st.size(faulty.points)
        x = np.concatenate([0.75 * rows[:1] + 0.25 * rows[1:2], rows[:1] + 1e3 * sigma])
        probe = PROBES.get(name, lambda D, true, x, s: np.asarray(D(x, s)) - true(x, s))
        with np.errstate(all="ignore"):
            off = probe(faulty.denoiser, true, x, sigma)
        return bool(not np.isfinite(off).all() or np.abs(off).max() > 1e-5 * st.size(faulty.points))

    found = find_any(st.faulty_denoisers(points=points, kinds=name), wrong)
    assert found.name == name


# Bounds


@given(hs.data(), hs.integers(1, 9), hs.integers(0, 6), hs.integers(1, 5), hs.integers(0, 60))
def test_point_sets_keep_their_bounds(
    data: hs.DataObject, low: int, more: int, narrow: int, wider: int
) -> None:
    bounds = {
        "min_points": low,
        "max_points": low + more,
        "min_dim": narrow,
        "max_dim": narrow + wider,
    }
    kinds = (*st.GEOMETRIES, *st.EXTREMES)
    points = data.draw(
        st.point_sets(**bounds, geometries=kinds, weighted=hs.booleans(), labelled=True)
    )
    assert low <= len(points) <= low + more
    assert narrow <= points.dim <= narrow + wider
    assert points.name in kinds
    assert points.labels is not None
    assert points.weights.max() <= 3.001e12 * points.weights.min()
    # dyadic: whole shifts come back exactly
    rows = points.points * 2.0 ** {"tiny": 300, "huge": -300}.get(points.name, 0)
    assert (np.round(rows * 2.0**26) == rows * 2.0**26).all()
    assert ((rows + 2.0**20) - 2.0**20 == rows).all()


@given(hs.floats(-60, 60), hs.floats(0, 30), hs.data())
def test_sigmas_keep_their_bounds(low: float, more: float, data: hs.DataObject) -> None:
    bounds = {"low": 2.0**low, "high": 2.0 ** (low + more)}
    assert bounds["low"] <= data.draw(st.sigmas(**bounds)) <= bounds["high"]
    points = data.draw(RICH)
    scaled = data.draw(st.sigmas(**bounds, points=points)) / st.size(points)
    assert bounds["low"] * (1 - 1e-14) <= scaled <= bounds["high"] * (1 + 1e-14)


@given(hs.data(), hs.integers(2, 9), hs.integers(0, 30), hs.floats(-90, 90), hs.floats(1, 20))
def test_grids_keep_their_bounds(
    data: hs.DataObject, least: int, more: int, start: float, octaves: float
) -> None:
    low, high = 2.0**start, 2.0 ** (start + octaves)
    high = max(high, 2 * low)
    grid = data.draw(st.grids(min_levels=least, max_levels=least + more, low=low, high=high))
    assert least <= len(grid) <= least + more
    assert (np.diff(grid) < 0).all()
    positive = grid[grid > 0]
    assert len(positive) >= len(grid) - 1
    assert low * (1 - 1e-14) <= positive.min() <= positive.max() <= high * (1 + 1e-14)
    np.testing.assert_array_equal(an.grids.validate(grid), grid)


@given(hs.data(), hs.integers(0, 4), hs.integers(0, 4))
def test_queries_keep_their_bounds(data: hs.DataObject, low: int, more: int) -> None:
    points = data.draw(RICH)
    x = data.draw(
        st.queries(points=points, sigma=st.size(points), min_queries=low, max_queries=low + more)
    )
    assert low <= len(x) <= low + more
    assert x.shape[1] == points.dim
    assert np.isfinite(x).all()


@given(st.cases(points=RICH))
def test_cases_belong_together(case: st.Case) -> None:
    assert case.x.shape[1] == case.points.dim
    assert 1e-3 * (1 - 1e-14) <= case.sigma / st.size(case.points) <= 1e3 * (1 + 1e-14)
    assert np.isfinite(an.OptimalDenoiser(case.points)(case.x, case.sigma)).all()


@given(st.cases(points=st.point_sets(geometries=st.GEOMETRIES), far=100.0))
def test_queries_are_dyadic(case: st.Case) -> None:
    assert (np.round(case.x * 2.0**30) == case.x * 2.0**30).all()


@given(st.schedules(), hs.floats(0.01, 0.99))
def test_schedules_invert(schedule: an.NoiseSchedule, share: float) -> None:
    t = schedule.t_min + share * (min(schedule.t_max, 1e3) - schedule.t_min)
    assert schedule.time(schedule.level(t)) == pytest.approx(t, rel=1e-6)


@given(st.denoisers(), hs.data())
def test_denoisers_denoise(denoiser: Any, data: hs.DataObject) -> None:
    x = data.draw(st.coordinates((3, denoiser.dim)))
    found = denoiser(x, 1.5)
    assert found.shape == x.shape
    assert np.isfinite(found).all()
    assert np.isfinite(denoiser.jvp(x, 1.5, x)).all()


# Strategies in the place of values


def test_bounds_may_be_strategies() -> None:
    found = find_any(
        st.point_sets(
            min_points=hs.integers(2, 3),
            max_points=hs.integers(3, 40),
            min_dim=hs.just(2),
            max_dim=hs.sampled_from([5, 17]),
            geometries=hs.sampled_from(["cloud", ("grid", "low_rank")]),
            weighted=hs.just(True),
            labelled=hs.booleans(),
        ),
        lambda p: len(p) > 12 and p.dim > 5 and p.labels is not None,
    )
    assert found.name in ("cloud", "grid", "low_rank")
    assert len(find_any(st.weights(count=hs.integers(1, 5), ratio=hs.floats(1, 9)), any)) <= 5
    level = st.sigmas(low=hs.just(0.5), high=hs.floats(1, 2), points=st.point_sets())
    x = find_any(
        st.queries(points=hs.just([[1.0], [2.0]]), sigma=level, far=hs.just(5.0), kinds="far"),
        lambda x: x[0, 0] > 5,
    )
    assert x.max() <= 12
    grid = find_any(st.grids(low=hs.just(1.0), high=hs.floats(2, 4), zero=hs.just(False)), len)
    assert 1 <= grid.min() < grid.max() <= 4
    case = find_any(st.cases(points=hs.just([[0.0], [8.0]]), low=hs.just(1.0), high=2.0), len)
    assert 8 * (1 - 1e-14) <= case.sigma <= 16 * (1 + 1e-14)


# Errors, at the call


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: st.point_sets(min_points=0), ValueError, r"min_points: got 0, .* \[1, "),
        (lambda: st.point_sets(min_points=2.0), TypeError, r"min_points: got 2\.0"),
        (
            lambda: st.point_sets(min_points=5, max_points=4),
            ValueError,
            "min_points: got 5, expected at most max_points = 4; swap",
        ),
        (
            lambda: st.point_sets(min_dim=9),
            ValueError,
            "min_dim: got 9, expected at most max_dim = 4; swap",
        ),
        (
            lambda: st.point_sets(geometries="clowd"),
            ValueError,
            "geometries: got 'clowd', expected one of single, .*did you mean 'cloud'",
        ),
        (lambda: st.point_sets(geometries=()), TypeError, "geometries: got \\(\\)"),
        (lambda: st.point_sets(geometries=3), TypeError, "geometries: got 3"),
        (
            lambda: st.point_sets(geometries=("single", "simplex"), min_points=6),
            ValueError,
            "geometries: got single, simplex, expected one that has 6 to 12 points in at most 4",
        ),
        (
            lambda: st.point_sets(geometries="near_duplicates", max_points=1),
            ValueError,
            "geometries: got near_duplicates, expected one that has 1 to 1",
        ),
        (lambda: st.point_sets(weighted=1), TypeError, "weighted: got 1"),
        (lambda: st.point_sets(labelled="yes"), TypeError, "labelled: got 'yes'"),
        (lambda: st.weights(count=0), ValueError, "count: got 0"),
        (lambda: st.weights(count=2, ratio=0.5), ValueError, "ratio: got 0.5"),
        (lambda: st.sigmas(low=0.0), ValueError, "low: got 0.0"),
        (lambda: st.sigmas(high=np.nan), ValueError, "high: got nan"),
        (lambda: st.sigmas(high=1e151), ValueError, "high: got 1e\\+151"),
        (lambda: st.sigmas(low=9.0, high=1.0), ValueError, "low: got 9.0, expected at most high"),
        (lambda: st.sigmas(points="digits"), TypeError, "points: got 'digits'"),
        (lambda: st.sigmas(extreme=None), TypeError, "extreme: got None"),
        (lambda: st.queries(points=[[0.0]], sigma=0.0), ValueError, "sigma: got 0.0"),
        (lambda: st.queries(points=[0.0], sigma=1.0), ValueError, "points: got shape"),
        (lambda: st.queries(points=None, sigma=1.0), TypeError, "points: got None"),
        (
            lambda: st.queries(points=[[0.0]], sigma=1.0, kinds="nere"),
            ValueError,
            "kinds: .*did you mean 'near'",
        ),
        (
            lambda: st.queries(points=[[0.0]], sigma=1.0, min_queries=7),
            ValueError,
            "min_queries: got 7, expected at most max_queries = 4",
        ),
        (lambda: st.queries(points=[[0.0]], sigma=1.0, far=-1.0), ValueError, "far: got -1"),
        (lambda: st.queries(points=[[0.0]], sigma=1.0, step=2.0), ValueError, "step: got 2"),
        (lambda: st.cases(low=2.0, high=1.0), ValueError, "low: got 2.0"),
        (lambda: st.cases(kinds="fare"), ValueError, "kinds: got 'fare'"),
        (lambda: st.cases(points=7), ValueError, "points: got shape"),
        (lambda: st.grids(min_levels=1), ValueError, "min_levels: got 1"),
        (lambda: st.grids(low=1.0, high=1.5), ValueError, "high: got 1.5, expected at least twice"),
        (lambda: st.grids(kinds="karras"), ValueError, "kinds: got 'karras'"),
        (lambda: st.grids(zero=0), TypeError, "zero: got 0"),
        (lambda: st.schedules(kinds="edm"), ValueError, "kinds: got 'edm'"),
        (lambda: st.denoisers(kinds="unet"), ValueError, "kinds: got 'unet'"),
        (lambda: st.denoisers(points=[1.0]), ValueError, "points: got shape"),
        (lambda: st.faulty_denoisers(kinds=("drift", "slow")), ValueError, "kinds: got 'slow'"),
    ],
)
def test_errors_name_the_argument_at_the_call(
    call: Callable[[], Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        call()


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (st.point_sets(min_points=hs.just(0)), "min_points: got 0"),
        (st.point_sets(min_points=hs.just(13)), "min_points: got 13, expected at most max_points"),
        (st.point_sets(max_dim=hs.just(1), geometries="simplex", min_points=4), "geometries: got"),
        (st.sigmas(low=hs.just(2000.0)), "low: got 2000.0, expected at most high"),
        (st.grids(high=hs.just(1e-3)), "high: got 0.001, expected at least twice"),
        (st.schedules(kinds=hs.just("edm")), "kinds: got 'edm'"),
    ],
)
def test_errors_of_drawn_bounds_name_the_argument(strategy: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        find_any(strategy, lambda _: True)


def test_typos_are_refused() -> None:
    with pytest.raises(TypeError, match="max_point"):
        st.point_sets(max_point=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        st.point_sets(3)  # type: ignore[misc]


def test_without_hypothesis_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import analytic.testing\n"
        "try: from analytic.testing import strategies\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="."
    )
    assert "Hypothesis" in done.stdout
    assert 'pip install "analytic-diffusion[testing]"' in done.stdout


def test_exported() -> None:
    assert sorted(st.__all__) == sorted(set(st.__all__))
    for name in st.__all__:
        assert getattr(st, name) is not None
