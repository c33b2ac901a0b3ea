"""The trap certificate: never wrong, its tail bound holds, and it is what the formula says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from oracle import EPS
from scipy.special import ndtr

from analytic import OptimalDenoiser, PointSet, certificate, integrate
from analytic.exact import quantile_flow
from analytic.testing.strategies import Case, cases, point_sets


def small_set(rng: np.random.Generator, dim: int) -> PointSet:
    count = int(rng.integers(2, 9))
    rows = rng.standard_normal((count, dim))
    if rng.random() < 0.3:
        rows[1] = rows[0] + 0.05 * rng.standard_normal(dim)
    return PointSet(rows, np.exp(rng.choice([0.0, 1.5]) * rng.standard_normal(count)))


def states(rng: np.random.Generator, points: PointSet, count: int, sigma: float) -> np.ndarray:
    """States around the data, half of them at the edge of a cell, where certificates go wrong."""
    a, b = points.points[rng.integers(len(points), size=(2, count))]
    share = rng.uniform(0, 0.6, (count, 1))
    edge = a + share * (b - a)
    noisy = a + sigma * rng.uniform(0, 1.5, (count, 1)) * rng.standard_normal(a.shape)
    return np.where(rng.random((count, 1)) < 0.5, edge, noisy)


def nearest_gap(points: PointSet) -> float:
    rows = points.points
    gaps = np.linalg.norm(rows[:, None] - rows, axis=2)
    return float(gaps[gaps > 0].min())


@pytest.mark.parametrize("seed", range(40))
def test_never_false_on_a_line(seed: int) -> None:
    """4,000 states against the exact limit, and the tail bound against the exact states."""
    rng = np.random.default_rng([1, seed])
    points = small_set(rng, 1)
    sigma = nearest_gap(points) * 10 ** rng.uniform(-1, 0.7)
    x = states(rng, points, 100, sigma)
    denoiser = OptimalDenoiser(points)
    found = certificate(denoiser, x, sigma)
    # a quantile says which point owns it only while it can be told from its neighbours
    order = points.points[:, 0].argsort()
    cuts = np.concatenate([[0.0], np.cumsum(points.weights[order])])
    quantile = ndtr((x - points.points[:, 0]) / sigma) @ points.weights
    clear = np.abs(quantile[:, None] - cuts[1:-1]).min(axis=1) > 1e-12
    sure = found.certified & clear
    ends = quantile_flow(points, x[sure], sigma, 0.0)
    np.testing.assert_array_equal(ends, points.points[found.index[sure]])
    for share in (0.999, 0.9, 0.5, 0.2, 0.05):
        there = quantile_flow(points, x[sure], sigma, share * sigma)
        line = ends + share * (x[sure] - ends)
        allowed = found.tail(share * sigma)
        # the quantile map's own error: the rounding of F over the density
        blur = 16 * EPS * np.exp(-denoiser.log_prob(there, share * sigma))
        assert (np.abs(there - line)[:, 0] <= allowed[sure] + blur + 1e-13).all()
        assert np.isinf(allowed[~found.certified]).all()


def test_fires_often_enough_to_matter() -> None:
    """The tests above are not about an empty set."""
    fired = 0
    for seed in range(40):
        rng = np.random.default_rng([1, seed])
        points = small_set(rng, 1)
        sigma = nearest_gap(points) * 10 ** rng.uniform(-1, 0.7)
        x = states(rng, points, 100, sigma)
        fired += int(certificate(OptimalDenoiser(points), x, sigma).certified.sum())
    assert 500 <= fired <= 3900


@pytest.mark.parametrize("seed", range(12))
def test_never_false_in_space(seed: int) -> None:
    """States followed down by an integration that knows no certificate."""
    rng = np.random.default_rng([2, seed])
    points = small_set(rng, int(rng.integers(1, 5)))
    denoiser = OptimalDenoiser(points)
    for scale in (0.25, 0.6, 1.2):
        sigma = nearest_gap(points) * scale
        x = states(rng, points, 60, sigma)
        found = certificate(denoiser, x, sigma)
        rows = np.flatnonzero(found.certified)
        if not rows.size:
            continue
        levels = sigma * np.array([1.0, 0.9, 0.5, 0.2, 0.02])
        path = integrate(
            lambda q, s: denoiser(q, s),
            x[rows],
            levels[0],
            levels[-1],
            save_at=levels,
            rtol=1e-9,
            estimate_error=False,
        )
        assert path.ok
        end = points.points[found.index[rows]]
        gaps = np.linalg.norm(path.final[:, None] - points.points, axis=2)
        np.testing.assert_array_equal(gaps.argmin(axis=1), found.index[rows])
        for level, state in zip(levels, path.states, strict=True):
            off = np.linalg.norm(state - end - level / sigma * (x[rows] - end), axis=1)
            assert (off <= found.tail(level)[rows] + 1e-8).all()


def test_the_certified_set_is_invariant() -> None:
    """Once certified, certified from there on, with the same point and smaller sums."""
    rng = np.random.default_rng(3)
    points = PointSet(rng.standard_normal((6, 2)))
    denoiser = OptimalDenoiser(points)
    path = integrate(
        lambda q, s: denoiser(q, s),
        3 * rng.standard_normal((30, 2)),
        3.0,
        0.02,
        rtol=1e-9,
        estimate_error=False,
    )
    sure = np.zeros(30, dtype=bool)
    index, reach = np.full(30, -1), np.full(30, np.inf)
    for sigma, x in zip(path.sigmas, path.states, strict=True):
        now = certificate(denoiser, x, sigma)
        assert now.certified[sure].all()
        assert (now.index[sure] == index[sure]).all()
        assert (now.reach[sure] <= reach[sure] + 1e-9).all()
        sure = now.certified
        index, reach = np.where(sure, now.index, -1), now.reach
    assert sure.all()


@given(cases(points=point_sets(min_points=2), low=0.02, high=3.0, far=5.0))
def test_sums_match_the_formula(case: Case) -> None:
    rows, pi, s = case.points.points, case.points.weights, case.sigma
    if len(rows) == 1:
        return
    found = certificate(OptimalDenoiser(case.points), case.x, s)
    for k, x in enumerate(case.x):
        i = int(found.index[k])
        other = np.arange(len(rows)) != i
        g = ((rows[i] - rows) * ((x - rows) + (x - rows[i]))).sum(axis=1)[other]
        d = np.linalg.norm(rows - rows[i], axis=1)[other]
        # the heaviest point has r_j ≤ 1, but weights of 1e-12 leave room for a tie
        r = pi[other] / pi[i] * np.exp(np.clip(-g / (2 * s**2), -745.0, 700.0))
        pull, odds = (r * d).sum(), r.sum()
        reach = min(pull, d.max() * odds / (1 + odds))
        np.testing.assert_allclose(found.pull[k], pull, rtol=2e-8, atol=1e-290)
        np.testing.assert_allclose(found.reach[k], reach, rtol=2e-8, atol=1e-290)
        scale = max(1.0, np.abs((rows[i] - rows) * (np.abs(x - rows) + np.abs(x - rows[i]))).sum())
        np.testing.assert_allclose(
            found.gap[k], g.min() / (2 * s**2), rtol=1e-12, atol=1e-13 * scale / s**2
        )
        margin = 1e-7 * d.min()
        if found.certified[k]:
            assert g.min() >= 0
            assert reach <= 0.5 * d.min() + margin
        else:
            assert g.min() <= 1e-12 * scale or reach >= 0.5 * d.min() - margin


@given(cases(low=0.02, high=1.0, far=3.0, kinds=("on_point", "near", "noisy")))
def test_tail_is_the_smaller_of_the_two_bounds(case: Case) -> None:
    found = certificate(OptimalDenoiser(case.points), case.x, case.sigma)
    for v in (1.0, 1.3, 4.0, 1e3):
        level = case.sigma / v
        tail = found.tail(level)
        assert np.isinf(tail[~found.certified]).all()
        for k in np.flatnonzero(found.certified):
            first = found.reach[k] * (1 - level / case.sigma)
            G, u = found.gap[k], case.sigma / level
            with np.errstate(over="ignore", invalid="ignore"):
                second = found.pull[k] * -np.expm1(-G * (u - 1)) / (u * G)
            expected = min(first, second) if np.isfinite(second) else first
            np.testing.assert_allclose(tail[k], expected, rtol=1e-9, atol=1e-300)
    assert (found.tail(0.0)[found.certified] == 0).all()


def test_the_late_bound_decays() -> None:
    """B/(vG) for large v: the tail is much better than `reach`."""
    found = certificate(OptimalDenoiser([[0.0], [1.0]]), [[0.2]], 0.3)
    g, d = 0.8**2 - 0.2**2, 1.0
    r = np.exp(-g / 0.18)
    np.testing.assert_allclose(found.pull, r * d, rtol=1e-8)
    np.testing.assert_allclose(found.gap, g / 0.18, rtol=1e-14)
    np.testing.assert_allclose(found.tail(0.3 / 50), r / (50 * g / 0.18), rtol=1e-8)


def test_two_points_of_equal_weight_fire_off_the_middle() -> None:
    """Half the line belongs to each, at any level."""
    denoiser = OptimalDenoiser([[-1.0], [1.0]])
    for sigma in (0.1, 1.0, 30.0):
        g = 1e-6 * sigma**2
        found = certificate(denoiser, [[-g / 4], [g / 4], [0.0]], sigma)
        np.testing.assert_array_equal(found.certified, [True, True, False])
        np.testing.assert_array_equal(found.index[:2], [0, 1])


@pytest.mark.parametrize("ratio", [3.0, 50.0])
def test_threshold_of_two_weighted_points(ratio: float) -> None:
    """The lighter point needs g ≥ 2σ² log(π_j/π_i): r ≤ 1."""
    denoiser, sigma = OptimalDenoiser(PointSet([[-1.0], [1.0]], [1.0, ratio])), 0.3
    edge = -2 * sigma**2 * np.log(ratio) / 4
    found = certificate(denoiser, [[edge * 1.00001], [edge * 0.99999]], sigma, [0, 0])
    np.testing.assert_array_equal(found.certified, [True, False])


def test_does_not_fire_where_it_must_not() -> None:
    corners = OptimalDenoiser([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    for sigma in (1e-3, 0.5, 5.0):
        assert not certificate(corners, [[0.0, 0.0], [1.0, 0.0]], sigma).certified.any()
    assert certificate(corners, [[0.9, 0.9]], 0.5).certified.all()
    # nearest but too light: g > 0, and r far above one
    light = OptimalDenoiser(PointSet([[0.0], [1.0]], [1e-9, 1.0]))
    assert not certificate(light, [[0.1]], 1.0, [0]).certified.any()
    # heaviest but not nearest
    assert not certificate(light, [[0.1]], 1.0).certified.any()
    # a close neighbour elsewhere: the union would be trapped, not the point
    pair = OptimalDenoiser([[0.0, 0.0], [0.1, 0.0], [9.0, 0.0]])
    assert not certificate(pair, [[0.0, 0.0]], 0.5).certified.any()


def test_one_point_is_certain() -> None:
    found = certificate(OptimalDenoiser([[1.0, 2.0]]), [[50.0, 3.0]], 4.0)
    assert found.certified.all()
    for level in (4.0, 2.0, 0.0):
        np.testing.assert_array_equal(found.tail(level), [0.0])


@pytest.mark.parametrize(
    "power",
    [
        -500,
        -3,
        300,
        -600,
    ],
)
def test_scale_does_not_matter(power: int) -> None:
    rng = np.random.default_rng(5)
    rows, x = rng.standard_normal((6, 2)), rng.standard_normal((20, 2))
    here = certificate(OptimalDenoiser(rows), x, 0.3)
    c = 2.0**power
    there = certificate(OptimalDenoiser(c * rows), c * x, 0.3 * c)
    np.testing.assert_array_equal(here.certified, there.certified)
    np.testing.assert_array_equal(c * here.reach, there.reach)
    np.testing.assert_array_equal(here.index, there.index)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda D: certificate(lambda x, s: x, [[0.0]], 1.0), TypeError, "denoiser: got function"),
        (lambda D: certificate(D, [[0.0]], 0.0), ValueError, "sigma: got 0.0"),
        (lambda D: certificate(D, [[np.nan]], 1.0), ValueError, "x: got nan"),
        (lambda D: certificate(D, [[0.0]], 1.0, [2]), ValueError, "index: got an index outside"),
        (lambda D: certificate(D, [[0.0]], 1.0, [-1]), ValueError, "index: got an index outside"),
        (lambda D: certificate(D, [[0.0]], 1.0, [0, 1]), ValueError, "index: got"),
        (lambda D: certificate(D, [[0.0]], 1.0, [0.0]), ValueError, "index: got"),
        (lambda D: certificate(D, [[0.0]], 1.0).tail(1.1), ValueError, "sigma: got a level above"),
        (lambda D: certificate(D, [[0.0]], 1.0).tail(-1.0), ValueError, "sigma: got -1.0"),
    ],
)
def test_bad_input(call: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        call(OptimalDenoiser([[-1.0], [1.0]]))
