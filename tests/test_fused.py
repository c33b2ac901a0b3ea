"""The fused softmax against the dense one and 50 digits, and what must not matter to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import EPS, allowance, exact, gap
from test_denoiser_mpmath import random_case

from analytic import PointSet
from analytic.kernels import fused, threads
from analytic.methods import Dense, Fused, Sites, Softmax
from analytic.testing.strategies import Case, cases, point_sets

LN2 = float(np.log(2))


def sites(points: PointSet) -> Sites:
    return Sites.of(points.points, points.log_weights)


def ask(method: type, points: PointSet, x: np.ndarray, sigma, single: bool = False) -> Softmax:
    given = sites(points)
    q, s = given.scaled(x, np.broadcast_to(np.asarray(sigma, float), len(x)).copy())
    return method(given).softmax(q, s, single=single)


def mean(points: PointSet, found: Softmax) -> np.ndarray:
    given = sites(points)
    return (given.points[found.ref] + found.shift) * given.unit


def density(points: PointSet, x: np.ndarray, sigma: float, found: Softmax) -> np.ndarray:
    """log p without its volume, in scaled units."""
    given = sites(points)
    q, s = given.scaled(x, np.full(len(x), sigma))
    square = (((q - given.points[found.ref]) / s[:, None]) ** 2).sum(axis=1)
    return given.logs[found.ref] - 0.5 * square + found.log_sum


def same(a: Softmax, b: Softmax, part: slice = slice(None)) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other[part], strict=True)


def agree(case: Case) -> None:
    found, true = (ask(m, case.points, case.x, case.sigma) for m in (Fused, Dense))
    np.testing.assert_array_equal(found.truncation, 0.0)
    for k, x in enumerate(case.x):
        bound = allowance(case.points, x, case.sigma)
        # twice the stated bound, for two methods, and 5ε for 2^t
        error = np.linalg.norm(mean(case.points, found)[k] - mean(case.points, true)[k])
        spread = np.linalg.norm(case.points.points - case.points.points[bound.heaviest], axis=1)
        assert error <= 2.5 * bound.mean + 10 * EPS * (bound.u.size and spread.max())
        one, other = (
            density(case.points, x[None], case.sigma, Softmax(*(r[k : k + 1] for r in m)))
            for m in (found, true)
        )
        assert abs(one - other) <= 3 * bound.log_prob


@given(cases(points=point_sets(max_dim=3)))
def test_agrees_with_dense(case: Case) -> None:
    agree(case)


@given(cases(points=point_sets(max_dim=3), low=1e-12, high=1e12, far=1e9))
def test_agrees_with_dense_at_the_extremes(case: Case) -> None:
    agree(case)


@settings(max_examples=15)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from(["clusters", "offset", "lattice", "line", "scales"])
)
def test_agrees_with_dense_on_many_points(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    dim, count = int(rng.choice([1, 2, 3, 8])), int(rng.integers(600, 3000))
    rows = rng.standard_normal((count, dim))
    if kind == "clusters":
        rows = 1e-3 * rows + rng.integers(-3, 4, (count, 1))
    elif kind == "offset":
        rows += 1e6
    elif kind == "lattice":
        rows = np.round(3 * rows)
    elif kind == "line":
        rows = rows[:, :1] * rng.standard_normal(dim)
    else:
        rows *= 10.0 ** rng.integers(-8, 8, dim)
    weights = np.exp(rng.choice([0.0, 1.0, 8.0]) * rng.standard_normal(count))
    points = PointSet(rows, weights)
    sigma = float(np.ptp(rows) * 10 ** rng.uniform(-4, 1))
    x = rows[rng.integers(count, size=4)] + sigma * rng.standard_normal((4, dim))
    agree(Case(points, x, sigma))


def test_within_the_stated_bound_of_50_digits() -> None:
    worst = {"mean": 0.0, "log_prob": 0.0}
    for seed in range(80):
        points, x, sigma, _ = random_case(seed)
        true, bound = exact(points, x, sigma), allowance(points, x, sigma)
        given = sites(points)
        found = ask(Fused, points, x[None], sigma)
        volume = points.dim * (np.log(sigma) + 0.5 * np.log(2 * np.pi))
        log_prob = density(points, x[None], sigma, found)[0] - volume
        assert given.unit == 1.0
        worst["mean"] = max(worst["mean"], gap(mean(points, found)[0], true.mean) / bound.mean)
        worst["log_prob"] = max(
            worst["log_prob"], gap([log_prob], [true.log_prob]) / bound.log_prob
        )
        assert max(worst.values()) <= 1.0, (seed, worst)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dim", [1, 8, 16])
def test_float32_keeps_its_log_weights(dim: int, weighted: bool) -> None:
    """Mean and density at every level, also where float32 coordinates alone would fail."""
    rng = np.random.default_rng(dim)
    rows = rng.standard_normal((3000, dim)) + 50.0
    points = PointSet(rows, rng.uniform(0.01, 1, 3000) if weighted else None)
    tolerance = fused.TOLERANCE * LN2
    for sigma in (1e-3, 0.03, 0.1, 0.3, 1.0, 10.0, 1e4):
        x = rows[rng.integers(3000, size=20)] + sigma * rng.standard_normal((20, dim))
        single, true = ask(Fused, points, x, sigma, single=True), ask(Dense, points, x, sigma)
        one, other = density(points, x, sigma, single), density(points, x, sigma, true)
        rounding = 1e-6 + 1e-12 * np.abs(other)
        assert (np.abs(one - other) <= tolerance + rounding).all()
        reach = np.linalg.norm(true.shift, axis=1) + np.sqrt(dim) * min(10 * sigma, 10)
        error = np.linalg.norm(mean(points, single) - mean(points, true), axis=1)
        assert (error <= 2 * tolerance * reach + 1e-6 * min(20 * sigma, 20)).all()


def test_float32_is_used_and_left() -> None:
    """Float32 where it is good enough, exactly float64 where it is not."""
    rng = np.random.default_rng(0)
    points = PointSet(rng.standard_normal((2000, 2)))
    x = points.points[:30] + 1e-3
    given = sites(points)

    def error(sigma: float) -> float:
        single = Fused(given).softmax(x, np.full(30, sigma), single=True)
        true = Fused(given).softmax(x, np.full(30, sigma))
        return float(np.abs(mean(points, single) - mean(points, true)).max())

    assert 1e-12 < error(0.5) < 1e-5
    assert error(3e-4) < 1e-15


def test_ties_zero_noise_and_far_points() -> None:
    points = PointSet([[1.0, 0.0], [-1.0, 0.0], [0.0, 9.0]], [3.0, 1.0, 4.0])
    for single in (False, True):
        for sigma in (0.0, 5e-324, 1e-310, 1e-200, 1e-30):
            x = np.array([[0.0, -2.0], [1e-7, -2.0], [0.0, 9.0]])
            found = mean(points, ask(Fused, points, x, sigma, single=single))
            np.testing.assert_allclose(found[0], [0.5, 0.0], atol=1e-7 if single else 1e-15)
            np.testing.assert_array_equal(found[1:], [[1.0, 0.0], [0.0, 9.0]])
        for sigma in (1e20, 1e150):
            x = np.array([[3.0, 7.0], [0.3 * sigma, -0.4 * sigma]])
            found = mean(points, ask(Fused, points, x, sigma, single=single))
            np.testing.assert_allclose(found, [points.mean] * 2, rtol=1e-5 if single else 1e-14)
        # a weight far too small is none at all
        found = ask(Fused, PointSet([[0.0], [1.0]]), np.array([[0.0]]), 1e-3, single=single)
        assert found.shift[0, 0] == 0.0 and found.log_sum[0] == 0.0


@pytest.mark.parametrize("distance", [1e6, 1e12, 1e17, 1e150])
def test_far_queries_are_dense(distance: float) -> None:
    rng = np.random.default_rng(0)
    points = PointSet(rng.standard_normal((500, 2)))
    x = distance * rng.standard_normal((6, 2))
    for sigma in (0.0, 1e-3, 1.0, distance):
        true = ask(Dense, points, x, sigma)
        for single in (False, True):
            found = ask(Fused, points, x, sigma, single=single)
            assert np.isfinite(found.log_sum).all()
            if sigma <= 1.0 and distance <= 1e12:
                np.testing.assert_array_equal(found.ref, true.ref)
            if sigma == distance:
                tolerance = 1e-3 if single else 1e-13
                np.testing.assert_allclose(mean(points, found), mean(points, true), atol=tolerance)


def test_extreme_scales() -> None:
    rows, x = np.array([[0.0, 1.0], [2.0, -1.0], [5.0, 0.0]]), np.array([[1.0, 0.3], [3.0, 0.5]])
    big = mean(PointSet(rows), ask(Fused, PointSet(rows), x, 0.7))
    for c in (1e-250, 1e-90, 1e90, 1e140):
        for single in (False, True):
            tiny = PointSet(c * rows)
            found = mean(tiny, ask(Fused, tiny, c * x, 0.7 * c, single=single))
            np.testing.assert_allclose(found, c * big, rtol=1e-5 if single else 1e-13)


def test_one_point() -> None:
    for single in (False, True):
        found = ask(Fused, PointSet([[1.0, -2.0]]), np.array([[4.0, 2.0]]), 3.0, single=single)
        assert found.ref[0] == 0 and found.log_sum[0] == 0.0
        np.testing.assert_array_equal(found.shift, 0.0)


def test_empty_batch() -> None:
    for single in (False, True):
        found = ask(Fused, PointSet([[1.0], [2.0]]), np.empty((0, 1)), 1.0, single=single)
        assert found.shift.shape == (0, 1) and found.ref.shape == (0,)


@pytest.fixture(scope="module")
def wide() -> tuple[Sites, np.ndarray, np.ndarray]:
    """Several chunks of points, three tiles of queries with wildly different levels."""
    rng = np.random.default_rng(4)
    points = PointSet(rng.standard_normal((9000, 3)), rng.uniform(0.1, 1, 9000))
    x = rng.standard_normal((40, 3)) * 10 ** rng.uniform(-2, 4, (40, 1))
    return sites(points), x, 10 ** rng.uniform(-4, 4, 40)


@pytest.mark.parametrize("single", [False, True])
def test_batch_mates_do_not_matter(
    wide: tuple, single: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, x, s = wide
    method = Fused(given)
    whole = method.softmax(x, s, single)
    for k in range(len(x)):
        same(method.softmax(x[k : k + 1], s[k : k + 1], single), whole, slice(k, k + 1))
    same(method.softmax(x[::-1].copy(), s[::-1].copy(), single), whole, slice(None, None, -1))
    monkeypatch.setattr(fused, "SLAB", 7 * 3 * 16)
    same(method.softmax(x, s, single), whole)


@pytest.mark.parametrize("single", [False, True])
def test_threads_do_not_matter(wide: tuple, single: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    given, x, s = wide
    before, found = threads.get_num_threads(), []
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)
    try:
        for count in (1, 2, 4):
            threads.set_num_threads(count)
            found.append(Fused(given).softmax(x, s, single))
            found.append(Fused(given).softmax(x[:1], s[:1], single))
    finally:
        threads.set_num_threads(before)
    for k in (2, 4):
        same(found[k], found[0])
        same(found[k + 1], found[0], slice(0, 1))


def test_many_chunks_agree_with_dense(wide: tuple) -> None:
    given, x, s = wide
    true = Dense(given).softmax(x, s)
    for single in (False, True):
        found = Fused(given).softmax(x, s, single)
        one, other = (given.points[m.ref] + m.shift for m in (found, true))
        tolerance = 1e-3 if single else 1e-9
        keep = np.linalg.norm(x, axis=1) < 1e6 * s**2
        assert keep.sum() > 20
        np.testing.assert_allclose(one[keep], other[keep], rtol=0, atol=tolerance)


def test_float32_has_the_reference_at_no_distance_from_itself() -> None:
    points = PointSet([[0.1], [0.7], [1.3]])
    found = ask(Fused, points, points.points, 0.04, single=True)
    np.testing.assert_array_equal(found.shift, 0.0)
    plain = ask(Fused, points, points.points, 0.3, single=True).shift
    assert (plain != ask(Fused, points, points.points, 0.3).shift).any()


def test_references_are_numbered_as_given() -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((400, 2))
    points = PointSet(rows)
    found = ask(Fused, points, points.points, 1e-3)
    np.testing.assert_array_equal(found.ref, np.arange(400))
