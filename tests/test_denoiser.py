"""The optimal denoiser: its identities, its symmetries, its limits and its manners."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from oracle import EPS, allowance

from analytic import GaussianDenoiser, OptimalDenoiser, PointSet
from analytic.kernels import dense, fused, moments, threads
from analytic.testing.strategies import GEOMETRIES, Case, cases, point_sets, size

NEAR = tuple(g for g in GEOMETRIES if g != "large_offset")
GAUSS_NODES, GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(48)

METHODS: dict[str, Callable[..., np.ndarray]] = {
    "mean": lambda D, x, s: D(x, s),
    "log_prob": lambda D, x, s: D.log_prob(x, s),
    "score": lambda D, x, s: D.score(x, s),
    "jacobian": lambda D, x, s: D.jacobian(x, s),
    "jvp": lambda D, x, s: D.jvp(x, s, np.cos(np.arange(x.size)).reshape(x.shape)),
    "sigma_derivative": lambda D, x, s: D.sigma_derivative(x, s),
    "trace_cov": lambda D, x, s: D.posterior(x, s).trace_cov,
    "entropy": lambda D, x, s: D.posterior(x, s).entropy,
    "posterior_mean": lambda D, x, s: D.posterior(x, s).mean,
    "top_index": lambda D, x, s: D.posterior(x, s).top(3).index,
    "top_weight": lambda D, x, s: D.posterior(x, s).top(3).weight,
    "trap": lambda D, x, s: D.trap_sums(
        np.atleast_2d(x), np.broadcast_to(s, len(np.atleast_2d(x))), np.arange(len(x)) % 3
    ),
}


def bounds(case: Case) -> list[Any]:
    return [allowance(case.points, row, case.sigma) for row in case.x]


def same(a: Any, b: Any) -> None:
    """Equal bit for bit, up to the sign of zero."""
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b), strict=True)


# Identities


@given(cases(low=0.2, high=1e2, far=10.0), st.data())
def test_tweedie_line_integral_of_the_score(case: Case, data: st.DataObject) -> None:
    """A1: ∫ score · dx between two points is the difference of log p."""
    denoiser, s = OptimalDenoiser(case.points), case.sigma
    turn = data.draw(st.floats(0, 6.28))
    step = np.cos(turn + np.arange(case.points.dim))
    step *= s / np.linalg.norm(step)
    for x in case.x:
        y = x + step
        t = 0.5 * (1 + GAUSS_NODES)[:, None]
        slope = denoiser.score(x + t * (y - x), s) @ (y - x)
        found = 0.5 * GAUSS_WEIGHTS @ slope
        ends = denoiser.log_prob(np.array([x, y]), s)
        # rounding of x + step moves the ends by ε|x|, in a slope of |score|
        slack = (
            1e-11 * (1 + np.abs(ends).max()) + 8 * EPS * np.abs(y).max() * np.abs(slope).max() / s
        )
        assert abs(found - (ends[1] - ends[0])) <= slack


@given(cases())
def test_the_mean_is_x_plus_sigma_squared_score(case: Case) -> None:
    denoiser, s = OptimalDenoiser(case.points), case.sigma
    found = case.x + s**2 * denoiser.score(case.x, s)
    slack = [
        b.mean + 8 * EPS * (np.abs(x).sum() + np.abs(m).sum())
        for b, x, m in zip(bounds(case), case.x, found, strict=True)
    ]
    assert (np.abs(found - denoiser(case.x, s)).max(axis=1) <= slack).all()


@given(cases())
def test_mean_shift_climbs(case: Case) -> None:
    """A2: log p(D) - log p(x) ≥ |D - x|²/2σ²."""
    denoiser, s = OptimalDenoiser(case.points), case.sigma
    mean = denoiser(case.x, s)
    before, after = denoiser.log_prob(case.x, s), denoiser.log_prob(mean, s)
    gain = ((mean - case.x) ** 2).sum(axis=1) / (2 * s**2)
    # D is rounded to ε|D|, which log p at D feels with slope |score| ≤ diam/σ²
    blur = 8 * EPS * np.abs(mean).max() * size(case.points) / s**2
    assert (after - before - gain >= -1e-11 * (1 + np.abs(before) + np.abs(after)) - blur).all()


@given(cases(), st.integers(0, 2**32 - 1))
def test_the_mean_stays_in_the_hull(case: Case, seed: int) -> None:
    """A5: v · D ≤ max v · x_i."""
    denoiser, rows = OptimalDenoiser(case.points), case.points.points
    v = np.random.default_rng(seed).standard_normal((16, case.points.dim))
    v = np.concatenate([v, np.eye(case.points.dim), -np.eye(case.points.dim)])
    slack = 64 * EPS * np.abs(rows).max() * np.abs(v).sum(axis=1)
    for sigma in (0.0, case.sigma):
        assert ((denoiser(case.x, sigma) @ v.T) <= (rows @ v.T).max(axis=0) + slack).all()
    assert (
        np.linalg.norm(denoiser(case.x, case.sigma), axis=1) <= case.points.radius * (1 + 1e-13)
    ).all()


@given(cases())
def test_jacobian_is_symmetric_and_between_zero_and_popoviciu(case: Case) -> None:
    """A6: 0 ≤ C/σ² ≤ (diam/2)²/σ²; its columns are jvp, its trace is tr C/σ²."""
    denoiser, s, x = OptimalDenoiser(case.points), case.sigma, case.x
    jacobian, dim = denoiser.jacobian(x, s), case.points.dim
    same(jacobian, np.swapaxes(jacobian, 1, 2))
    values = np.linalg.eigvalsh(jacobian)
    trace = np.trace(jacobian, axis1=1, axis2=2)
    # a weight is off by the relative ρ of the stated bound, at worst on all of diam²
    rough = max(float(b.u.max()) for b in bounds(case)) if len(case.points) > 1 else EPS
    rough = min(rough, 1.0)
    top = (size(case.points) / 2 / s) ** 2
    assert (values.min(axis=1) >= -1e-13 * np.abs(trace)).all()
    assert (values.max(axis=1) <= top * (1 + 1e-12 + 4 * rough)).all()
    slack = 1e-13 * np.maximum(trace, 1e-300)[:, None]
    for k in range(dim):
        column = denoiser.jvp(x, s, np.broadcast_to(np.eye(dim)[k], x.shape))
        assert (np.abs(column - jacobian[:, :, k]) <= slack).all()
    found = denoiser.posterior(x, s).trace_cov / s**2
    assert (np.abs(found - trace) <= 1e-13 * trace + 1e-300).all()


def central(f: Callable[[float], np.ndarray], step: float) -> np.ndarray:
    """Six-point central difference, error of order seven."""
    weights = ((1, 45.0), (2, -9.0), (3, 1.0))
    return sum(w * (f(k * step) - f(-k * step)) for k, w in weights) / (60 * step)


@given(cases(points=point_sets(geometries=NEAR), low=0.3, high=30.0, far=3.0))
def test_derivatives_match_finite_differences(case: Case) -> None:
    """A6: ∂D/∂x and ∂D/∂σ from evaluations of D alone."""
    denoiser, s, x = OptimalDenoiser(case.points), case.sigma, case.x
    step, unit = 4e-3 * s, size(case.points)
    reach = 1 + np.linalg.norm(x - case.points.mean, axis=1).max() / s
    # truncation: |D| varies by diam on the scale σ²/(diam + |x|) ≥ 0.3σ/reach; rounding: ε|D|/h
    slack = 1e-9 * reach**6 * unit / s + 40 * EPS * np.abs(case.points.points).max() / step
    jacobian = denoiser.jacobian(x, s)
    for k, axis in enumerate(np.eye(case.points.dim)):
        found = central(lambda h, axis=axis: denoiser(x + h * axis, s), step)
        assert np.abs(found - jacobian[:, :, k]).max() <= slack
    found = central(lambda h: denoiser(x, s + h), step)
    assert np.abs(found - denoiser.sigma_derivative(x, s)).max() <= slack * reach**2


def test_sigma_derivative_has_the_third_moment() -> None:
    """Skewed data at x = D, where the covariance term vanishes and κ3/σ³ is all there is."""
    denoiser = OptimalDenoiser(PointSet([[0.0], [1.0]], [0.9, 0.1]))
    x = np.array([0.0])
    for _ in range(200):
        x = denoiser(x, 2.0)
    found = central(lambda h: denoiser(x, 2.0 + h), 0.01)
    assert abs(found[0]) > 5e-3
    np.testing.assert_allclose(denoiser.sigma_derivative(x, 2.0), found, rtol=1e-9)


# Symmetries (A7)


@given(cases(), st.lists(st.integers(-(2**20), 2**20), min_size=4, max_size=4))
def test_exact_translation_changes_nothing_but_the_mean(case: Case, shift: list[int]) -> None:
    move = np.array(shift[: case.points.dim], dtype=float)
    here = OptimalDenoiser(case.points)
    rows = case.points.points + move
    assert ((rows - move) == case.points.points).all()
    there = OptimalDenoiser(PointSet(rows, case.points.weights))
    # normalising weights that are normalised already may move them by a rounding
    if (there.points.weights != case.points.weights).any():
        here = OptimalDenoiser(PointSet(case.points.points, case.points.weights))
    x, s = case.x, case.sigma
    for method in ("log_prob", "score", "jacobian", "sigma_derivative", "trace_cov", "entropy"):
        same(METHODS[method](here, x, s), METHODS[method](there, x + move, s))
    mean = here(x, s) + move
    slack = 4 * EPS * (np.abs(mean) + np.abs(here(x, s)) + np.abs(move))
    assert (np.abs(there(x + move, s) - mean) <= slack).all()


@given(cases(), st.integers(-900, 400))
@example(Case(PointSet([[0.0], [1.0], [3.0]]), np.array([[1.25]]), 0.5), -1000)
def test_power_of_two_scaling_is_exact(case: Case, power: int) -> None:
    """D(cx; cσ, cX) = c D(x; σ, X) without a rounding, from 1e-301 to 1e120."""
    c = 2.0**power
    here = OptimalDenoiser(PointSet(case.points.points, case.points.weights))
    there = OptimalDenoiser(PointSet(c * case.points.points, case.points.weights))
    same(here.points.weights, there.points.weights)
    x, s = case.x, case.sigma

    unit = size(case.points)

    def exact(found: np.ndarray, true: np.ndarray, natural: float) -> None:
        # equal but for numbers so far below their natural size that a factor underflowed
        np.testing.assert_allclose(found, true, rtol=0, atol=1e-30 * natural)

    exact(there(c * x, c * s), c * here(x, s), c * unit)
    exact(there.score(c * x, c * s), here.score(x, s) / c, unit / s / s / c)
    exact(there.jacobian(c * x, c * s), here.jacobian(x, s), (unit / s) ** 2)
    exact(there.jvp(c * x, c * s, x), here.jvp(x, s, x), (unit / s) ** 2 * np.abs(x).max())
    exact(there.sigma_derivative(c * x, c * s), here.sigma_derivative(x, s), (unit / s) ** 3)
    count = len(case.points)
    a, b = here.posterior(x, s), there.posterior(c * x, c * s)
    same(a.top(count).index, b.top(count).index)
    same(a.top(count).weight, b.top(count).weight)
    same(a.entropy, b.entropy)
    volume = case.points.dim * power * np.log(2)
    gap = there.log_prob(c * x, c * s) + volume - here.log_prob(x, s)
    assert (
        np.abs(gap) <= 8 * EPS * (abs(volume) + 30 * case.points.dim + np.abs(a.log_prob))
    ).all()


@given(cases(), st.randoms(use_true_random=False))
def test_order_of_the_points_does_not_matter(case: Case, random: Any) -> None:
    order = list(range(len(case.points)))
    random.shuffle(order)
    here = OptimalDenoiser(case.points)
    there = OptimalDenoiser(PointSet(case.points.points[order], case.points.weights[order]))
    x, s, stated = case.x, case.sigma, bounds(case)
    means, logs = np.abs(here(x, s) - there(x, s)), here.log_prob(x, s) - there.log_prob(x, s)
    assert (np.linalg.norm(means, axis=1) <= [2 * b.mean for b in stated]).all()
    # 4ε: the weights were normalised twice
    assert (np.abs(logs) <= [2 * b.log_prob + 4 * EPS for b in stated]).all()


@given(
    cases(points=point_sets(geometries=NEAR, min_dim=2), low=0.05, far=10.0),
    st.integers(0, 2**32 - 1),
)
def test_rotation(case: Case, seed: int) -> None:
    dim = case.points.dim
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0]
    here = OptimalDenoiser(case.points)
    there = OptimalDenoiser(PointSet(case.points.points @ turn.T, case.points.weights))
    x, s = case.x, case.sigma
    reach = np.abs(case.points.points).max() + np.abs(x).max()
    # inputs are rounded to Dε of their size: logits move by that times diam/σ² and reach/σ²
    odds = 32 * dim * EPS * reach * (size(case.points) + np.abs(x).max()) / s**2 + 1e-13
    moved = there(x @ turn.T, s) @ turn
    assert np.abs(moved - here(x, s)).max() <= 4 * odds * size(case.points) + 32 * dim * EPS * reach
    logs = there.log_prob(x @ turn.T, s) - here.log_prob(x, s)
    assert (np.abs(logs) <= odds * (1 + reach / s) + 1e-12 * np.abs(here.log_prob(x, s))).all()
    found, true = there.jacobian(x @ turn.T, s), turn @ here.jacobian(x, s) @ turn.T
    assert np.abs(found - true).max() <= (8 * odds + 64 * dim * EPS * reach / size(case.points)) * (
        (size(case.points) / s) ** 2
    )


@given(point_sets(weighted=False, max_points=6), st.data())
def test_duplicates_are_weights(points: PointSet, data: st.DataObject) -> None:
    """Bit for bit, for numbers of copies that are powers of two."""
    copies = np.array(
        data.draw(st.lists(st.sampled_from([1, 2, 4]), min_size=len(points), max_size=len(points)))
    )
    repeated = OptimalDenoiser(np.repeat(points.points, copies, axis=0))
    weighted = OptimalDenoiser(PointSet(points.points, copies))
    assert len(repeated.points) == len(points)
    x = points.points + 0.375
    for sigma in (1e-3, 0.5, 100.0):
        for method in ("mean", "log_prob", "score", "jacobian", "entropy"):
            same(METHODS[method](repeated, x, sigma), METHODS[method](weighted, x, sigma))


def test_weights_shift_the_posterior() -> None:
    """Two points, x half way: the weights are the posterior, at every level."""
    denoiser = OptimalDenoiser(PointSet([[-1.0], [1.0]], [0.2, 0.8]))
    for sigma in (1e-8, 1e-3, 1.0, 1e6):
        np.testing.assert_allclose(denoiser([0.0], sigma), [0.6], rtol=1e-14)
        np.testing.assert_allclose(
            denoiser.posterior([0.0], sigma).entropy,
            -0.2 * np.log(0.2) - 0.8 * np.log(0.8),
            rtol=1e-14,
        )


# Limits


@given(
    point_sets(geometries=("cloud", "duplicates", "low_rank", "large_offset")),
    st.integers(0, 2**32),
)
def test_large_noise_expansion(points: PointSet, seed: int) -> None:
    """A8: D = μ + Σw/s + (M3[w,w] - m3)/2s² + O(s⁻³), with w = (x - μ)/s fixed."""
    unit = points.mean_radius or 1.0
    w = np.random.default_rng(seed).uniform(-1, 1, points.dim)
    # the next term is of the order unit·(unit/s)³, a thousandth of the one that is tested
    s = 1e3 * unit
    x = points.mean + s * w
    w = (x - points.mean) / s
    y, weights = points.points - points.mean, points.weights
    cubic = ((y @ w) ** 2 - (y**2).sum(axis=1)) @ (weights[:, None] * y)
    expected = points.mean + points.covariance @ w / s + cubic / (2 * s**2)
    slack = 20 * unit * (unit / s) ** 3 + 300 * EPS * unit + 8 * EPS * np.abs(points.points).max()
    assert np.linalg.norm(OptimalDenoiser(points)(x, s) - expected) <= slack


def test_large_noise_expansion_needs_the_third_moment() -> None:
    """A8, at fixed x: the term -m3/2 has the size of the leading one."""
    points = PointSet([[0.0], [0.0], [3.0]])
    s, x = 1e4, np.array([2.0])
    pull = (OptimalDenoiser(points)(x, s) - points.mean) * s**2
    y = points.points - points.mean
    m3 = points.weights @ y**3
    np.testing.assert_allclose(pull, points.covariance @ (x - points.mean) - m3 / 2, rtol=1e-5)
    assert abs(m3[0] / 2) >= 0.45 * abs(points.covariance @ (x - points.mean))[0]


@given(cases(low=1e-3, high=1.0, kinds=("on_point", "near", "midpoint", "noisy")))
def test_small_noise_bound(case: Case) -> None:
    """A9: |D - x_i| ≤ Σ_j (π_j/π_i) d_ij exp(-g_j/2σ²) around the nearest point."""
    rows, weights = case.points.points, case.points.weights
    for x, mean in zip(case.x, OptimalDenoiser(case.points)(case.x, case.sigma), strict=True):
        i = int(((x - rows) ** 2).sum(axis=1).argmin())
        g = ((rows[i] - rows) * ((x - rows) + (x - rows[i]))).sum(axis=1)
        d = np.linalg.norm(rows - rows[i], axis=1)
        pull = weights / weights[i] * d * np.exp(np.maximum(-g / (2 * case.sigma**2), -745.0))
        slack = 1e-9 * pull.sum() + 8 * EPS * np.abs(rows).max()
        assert np.linalg.norm(mean - rows[i]) <= pull.sum() + slack


@given(cases(kinds=("on_point", "near", "noisy", "far")))
def test_zero_noise_is_the_nearest_point(case: Case) -> None:
    rows = case.points.points
    # queries are multiples of 2⁻³⁰ but their squares are not exact: ask only where it is clear
    for x, found in zip(case.x, OptimalDenoiser(case.points)(case.x, 0.0), strict=True):
        distance = np.linalg.norm(x - rows, axis=1)
        order = np.argsort(distance)
        if len(rows) == 1 or distance[order[1]] - distance[order[0]] > 1e-9 * (
            1 + distance[order[1]]
        ):
            same(found, rows[order[0]])
        else:
            assert np.linalg.norm(found - x) <= distance.min() * (1 + 1e-7) + 1e-7


@pytest.mark.parametrize("sigma", [0.0, 1e-310, 1e-200])
def test_zero_noise_on_many_points(sigma: float) -> None:
    """The nearest point may be in any block, and all others at no finite logit."""
    rows = np.random.default_rng(0).standard_normal((700, 2))
    same(OptimalDenoiser(rows)(rows + 1e-9, sigma), rows)


@pytest.mark.parametrize("sigma", [0.0, 5e-324, 1e-310, 1e-200, 1e-30])
def test_ties_are_averaged_by_weight(sigma: float) -> None:
    denoiser = OptimalDenoiser(PointSet([[1.0, 0.0], [-1.0, 0.0], [0.0, 9.0]], [3.0, 1.0, 4.0]))
    np.testing.assert_allclose(denoiser([0.0, -2.0], sigma), [0.5, 0.0], atol=1e-15)
    same(denoiser([1e-7, -2.0], sigma), np.array([1.0, 0.0]))
    same(denoiser([0.0, 9.0], sigma), np.array([0.0, 9.0]))


def test_subnormal_noise() -> None:
    denoiser = OptimalDenoiser([[0.0, 1.0], [2.0, 1.0]])
    for sigma in (5e-324, 1e-310):
        same(denoiser([0.5, 1.0], sigma), np.array([0.0, 1.0]))
        expected = -np.log(2) - 2 * (np.log(sigma) + 0.5 * np.log(2 * np.pi))
        np.testing.assert_allclose(denoiser.log_prob([2.0, 1.0], sigma), expected, rtol=1e-14)
        assert denoiser.log_prob([0.5, 1.0], sigma) == -np.inf
        same(denoiser.posterior([0.5, 1.0], sigma).top(2).weight, np.array([1.0, 0.0]))
        same(denoiser.jacobian([0.0, 1.0], sigma), np.zeros((2, 2)))


def test_enormous_noise() -> None:
    points = PointSet([[0.0, 1.0], [2.0, -1.0], [5.0, 0.0]], [1, 2, 5])
    denoiser = OptimalDenoiser(points)
    for sigma in (1e20, 1e150):
        np.testing.assert_allclose(denoiser([3.0, 7.0], sigma), points.mean, rtol=1e-15)
        expected = -2 * (np.log(sigma) + 0.5 * np.log(2 * np.pi))
        np.testing.assert_allclose(denoiser.log_prob([3.0, 7.0], sigma), expected, rtol=1e-15)
        np.testing.assert_allclose(
            denoiser.posterior([3.0, 7.0], sigma).trace_cov, points.total_variance, rtol=1e-14
        )
        x = sigma * np.array([0.3, -0.4])
        np.testing.assert_allclose(denoiser(x, sigma), points.mean, rtol=1e-14)
        np.testing.assert_allclose(denoiser.score(x, sigma), -x / sigma / sigma, rtol=1e-14)


def test_tiny_data() -> None:
    """Data of scale 1e-200, whose squares underflow, behaves as data of scale one does."""
    rows = np.array([[0.0, 1.0], [2.0, -1.0], [5.0, 0.0]])
    x, c = np.array([[1.0, 0.3], [3.0, 0.5]]), 1e-200
    big, tiny = OptimalDenoiser(rows), OptimalDenoiser(c * rows)
    np.testing.assert_allclose(tiny(c * x, 0.7 * c), c * big(x, 0.7), rtol=1e-13)
    np.testing.assert_allclose(tiny.jacobian(c * x, 0.7 * c), big.jacobian(x, 0.7), rtol=1e-12)
    a, b = tiny.posterior(c * x, 0.7 * c), big.posterior(x, 0.7)
    np.testing.assert_allclose(a.entropy, b.entropy, rtol=1e-13)
    np.testing.assert_allclose(a.log_prob, b.log_prob - 2 * np.log(c), rtol=1e-13)
    np.testing.assert_allclose(tiny.score(c * x, 0.7 * c), big.score(x, 0.7) / c, rtol=1e-12)
    np.testing.assert_allclose(tiny(x, 1.0), [tiny.points.mean] * 2, rtol=1e-12, atol=1e-212)


def test_one_point() -> None:
    denoiser, x = OptimalDenoiser([[1.0, -2.0]]), np.array([[4.0, 2.0]])
    same(denoiser(x, 3.0), np.array([[1.0, -2.0]]))
    np.testing.assert_allclose(
        denoiser.log_prob(x, 3.0), [-25 / 18 - 2 * np.log(3) - np.log(2 * np.pi)], rtol=1e-15
    )
    np.testing.assert_allclose(denoiser.score(x, 3.0), [[-3 / 9, -4 / 9]], rtol=1e-15)
    post = denoiser.posterior(x, 3.0)
    same(post.entropy, np.array([0.0]))
    same(post.trace_cov, np.array([0.0]))
    same(post.effective_points, np.array([1.0]))
    same(denoiser.sigma_derivative(x, 3.0), np.zeros((1, 2)))


def test_score_does_not_cancel() -> None:
    """(D - x)/σ² from a rounded D would keep four digits here: |D| is 1e6, D - x is 1e-6."""
    denoiser, h = OptimalDenoiser([[1e6, 0.0], [1e6 + 1, 0.0]]), 2.0**-20
    x = np.array([1e6 + 0.5 + h, 0.0])
    expected = 0.5 * np.tanh(0.5 * h) - h
    np.testing.assert_allclose(denoiser.score(x, 1.0), [expected, 0.0], rtol=1e-9)
    x = np.array([1e6 + 2.0**-30, 0.0])
    np.testing.assert_allclose(denoiser.score(x, 1e-3), [-(2.0**-30) / 1e-6, 0.0], rtol=1e-14)


# Dtypes and inputs


def test_float32_in_float32_out_with_float64_weights() -> None:
    """3,072 dimensions, small σ: float32 log-weights would be off by more than one."""
    rng = np.random.default_rng(0)
    denoiser = OptimalDenoiser(rng.uniform(-1, 1, (40, 3072)) * 0.01 + rng.uniform(-1, 1, 3072))
    x = (denoiser.points.points[:6] + 0.02 * rng.standard_normal((6, 3072))).astype(np.float32)
    wide = x.astype(np.float64)
    sigma = np.float32(0.05)
    for name, method in METHODS.items():
        if name in ("trap", "top_index", "jacobian"):
            continue
        found = method(denoiser, x, sigma)
        assert found.dtype == np.float32, name
        same(found, method(denoiser, wide, float(sigma)).astype(np.float32))
    small = OptimalDenoiser(denoiser.points.points[:, :5])
    assert small.jacobian(x[:, :5], 0.05).dtype == np.float32
    assert small(x[:, :5].astype(np.float64), sigma).dtype == np.float64
    assert small([[1, 2, 3, 4, 5]], 1).dtype == np.float64
    gauss = GaussianDenoiser(np.zeros(5), np.eye(5))
    assert gauss(x[:, :5], 0.05).dtype == np.float32


class Foreign:
    """Something that only has `__array__`."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.value if dtype is None else self.value.astype(dtype)


class Capsule:
    """Something that only speaks DLPack."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    def __dlpack__(self, **options: Any) -> Any:
        return self.value.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.value.__dlpack_device__()


def test_accepted_inputs() -> None:
    rng = np.random.default_rng(1)
    rows, x = rng.standard_normal((7, 3)), rng.standard_normal((5, 3))
    expected = OptimalDenoiser(rows)(x, 0.6)
    wide = np.zeros((10, 6))
    wide[::2, ::2] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    backwards = x[::-1, ::-1].copy()[::-1, ::-1]
    swapped = x.astype(x.dtype.newbyteorder())
    forms = [
        x.tolist(),
        [*x],
        np.asfortranarray(x),
        frozen,
        wide[::2, ::2],
        backwards,
        swapped,
        Foreign(x),
        Capsule(x),
        np.ma.masked_array(x),
    ]
    for form in forms:
        same(OptimalDenoiser(rows)(form, 0.6), expected)
    for form in (
        rows.tolist(),
        np.asfortranarray(rows),
        rows[::-1][::-1],
        Foreign(rows),
        PointSet(rows),
    ):
        same(OptimalDenoiser(form)(x, 0.6), expected)
    for sigma in (np.float64(0.6), np.array(0.6), [0.6], np.full(5, 0.6), [0.6] * 5):
        same(OptimalDenoiser(rows)(x, sigma), expected)
    same(OptimalDenoiser(rows)(x.copy(), 0.6), expected)
    before = x.copy()
    OptimalDenoiser(rows).posterior(x, 0.6).top(2)
    same(x, before)


def test_single_query_drops_the_batch_axis() -> None:
    rng = np.random.default_rng(2)
    denoiser, x = OptimalDenoiser(rng.standard_normal((6, 3))), rng.standard_normal((4, 3))
    for name, method in METHODS.items():
        if name in ("trap", "jvp"):
            continue
        same(method(denoiser, x[2], 0.4), method(denoiser, x, 0.4)[2])
    same(denoiser.jvp(x[2], 0.4, x[0]), denoiser.jvp(x[2:3], 0.4, x[:1])[0])
    assert denoiser.log_prob(x[2], 0.4).shape == ()


def test_each_query_has_its_own_level() -> None:
    rng = np.random.default_rng(3)
    denoiser = OptimalDenoiser(rng.standard_normal((20, 2)))
    x, sigma = rng.standard_normal((6, 2)), np.array([1e-3, 0.1, 0.5, 1.0, 10.0, 1e3])
    for name, method in METHODS.items():
        if name in ("jvp", "trap"):
            continue
        alone = [method(denoiser, row, s) for row, s in zip(x, sigma, strict=True)]
        same(method(denoiser, x, sigma), np.array(alone))


@pytest.fixture(scope="module")
def wide() -> tuple[OptimalDenoiser, np.ndarray, np.ndarray]:
    """Three chunks of points, three tiles of queries with wildly different levels."""
    rng = np.random.default_rng(4)
    denoiser = OptimalDenoiser(PointSet(rng.standard_normal((9000, 3)), rng.uniform(0.1, 1, 9000)))
    x = rng.standard_normal((40, 3)) * 10 ** rng.uniform(-2, 4, (40, 1))
    return denoiser, x, 10 ** rng.uniform(-4, 4, 40)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("jvp", "trap")])
def test_batch_mates_do_not_matter(name: str, wide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser, x, sigma = wide
    method = METHODS[name]
    whole = method(denoiser, x, sigma)
    assert np.isfinite(whole).all()
    for k in range(len(x)):
        same(method(denoiser, x[k : k + 1], sigma[k : k + 1]), whole[k : k + 1])
    same(method(denoiser, x[::-1], sigma[::-1]), whole[::-1])
    # slabs of the batch, too
    monkeypatch.setattr(dense, "SLAB", 7 * 3 * (2 * 3 + 4))
    monkeypatch.setattr(fused, "SLAB", 7 * 3 * 16)
    monkeypatch.setattr(moments, "SLAB", 7 * 4 * 72)
    same(method(denoiser, x, sigma), whole)


def test_batch_mates_do_not_matter_for_directions_and_traps(wide: Any) -> None:
    denoiser, x, sigma = wide
    v = np.cos(x)
    whole, index = denoiser.jvp(x, sigma, v), np.arange(40) * 200
    trap = denoiser.trap_sums(x, sigma, index)
    for k in range(len(x)):
        part = slice(k, k + 1)
        same(denoiser.jvp(x[part], sigma[part], v[part]), whole[part])
        same(denoiser.trap_sums(x[part], sigma[part], index[part]), trap[part])


@pytest.mark.parametrize("name", METHODS)
def test_threads_do_not_matter(name: str, wide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser, x, sigma = wide
    before, found = threads.get_num_threads(), []
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)
    try:
        for count in (1, 2, 4):
            threads.set_num_threads(count)
            found.append(METHODS[name](denoiser, x, sigma))
    finally:
        threads.set_num_threads(before)
    same(found[0], found[1])
    same(found[0], found[2])


def test_many_chunks_agree_with_the_direct_sum(wide: Any) -> None:
    """Merged partial results, not averaged ones."""
    denoiser, x, sigma = wide
    rows, logs = denoiser.points.points, denoiser.points.log_weights
    keep = sigma > 0.02
    for q, s in zip(x[keep], sigma[keep], strict=True):
        near = rows[((q - rows) ** 2).sum(axis=1).argmin()]
        t = logs - ((near - rows) * ((q - rows) + (q - near))).sum(axis=1) / (2 * s**2)
        u = np.exp(t - t.max())
        u /= u.sum()
        mean = near + u @ (rows - near)
        y = rows - mean
        # logits up to 1e4/s² long, rounded to a few ε
        rough = 1e-12 * (1 + np.linalg.norm(q - near) / s) ** 2 * (1 + 1 / s**2)
        np.testing.assert_allclose(denoiser(q, s), mean, rtol=0, atol=10 * rough)
        np.testing.assert_allclose(
            denoiser.jacobian(q, s), (y.T * u) @ y / s**2, rtol=0, atol=30 * rough / s**2
        )
        post = denoiser.posterior(q, s)
        np.testing.assert_allclose(post.trace_cov, u @ (y**2).sum(axis=1), rtol=0, atol=30 * rough)
        np.testing.assert_allclose(
            post.entropy, -(u[u > 0] * np.log(u[u > 0])).sum(), rtol=0, atol=100 * rough
        )


def test_empty_batch() -> None:
    denoiser, x = OptimalDenoiser([[0.0, 1.0], [2.0, 3.0], [5.0, 5.0]]), np.empty((0, 2))
    shapes = {
        "mean": (0, 2),
        "log_prob": (0,),
        "score": (0, 2),
        "jacobian": (0, 2, 2),
        "jvp": (0, 2),
        "sigma_derivative": (0, 2),
        "entropy": (0,),
        "top_index": (0, 3),
        "top_weight": (0, 3),
    }
    for name, shape in shapes.items():
        for sigma in (1.0, np.empty(0)):
            assert METHODS[name](denoiser, x, sigma).shape == shape, name


# The posterior


@given(cases(points=point_sets(min_points=2)))
def test_top_is_ordered_and_complete(case: Case) -> None:
    points, count = case.points, len(case.points)
    post = OptimalDenoiser(points).posterior(case.x, case.sigma)
    whole = post.top(count)
    assert (np.diff(whole.weight, axis=1) <= 0).all()
    same(np.sort(whole.index, axis=1), np.broadcast_to(np.arange(count), whole.index.shape))
    # equal weights come by index
    ties = np.diff(whole.weight, axis=1) == 0
    positive = whole.weight[:, 1:] > 0
    assert (np.diff(whole.index, axis=1)[ties & positive] > 0).all()
    stated = [
        2 * float(b.u[w.argsort()[-1:]].max()) + 1e-13
        for b, w in zip(bounds(case), whole.weight, strict=True)
    ]
    assert np.isfinite(stated).all()
    for k in range(1, count):
        same(post.top(k).index, whole.index[:, :k])
        same(post.top(k).weight, whole.weight[:, :k])
    total = whole.weight.sum(axis=1)
    slack = np.array([2 * b.u.max() for b in bounds(case)])
    assert (np.abs(total - 1) <= slack).all()
    assert (post.effective_points >= 1).all()
    assert (post.effective_points <= count * (1 + np.minimum(slack, 1))).all()
    mean = (whole.weight[:, :, None] * points.points[whole.index]).sum(axis=1)
    assert (np.abs(mean - post.mean).max(axis=1) <= 4 * slack * np.abs(points.points).max()).all()
    same(post.mean, OptimalDenoiser(points)(case.x, case.sigma))
    same(post.log_prob, OptimalDenoiser(points).log_prob(case.x, case.sigma))


def test_top_breaks_ties_by_index() -> None:
    denoiser = OptimalDenoiser([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    top = denoiser.posterior([0.0, 0.0], 0.7).top(4)
    same(top.index, np.arange(4))
    np.testing.assert_allclose(top.weight, 0.25, rtol=1e-15)


def test_gaussian_denoiser_closed_form() -> None:
    cov = np.array([[2.0, 0.6], [0.6, 1.0]])
    gauss, x, s = GaussianDenoiser([1.0, -2.0], cov), np.array([[3.0, 0.5]]), 0.8
    total = cov + s**2 * np.eye(2)
    gap = x[0] - gauss.mean
    np.testing.assert_allclose(
        gauss(x, s)[0], gauss.mean + cov @ np.linalg.solve(total, gap), rtol=1e-13
    )
    expected = -0.5 * (gap @ np.linalg.solve(total, gap) + np.log(np.linalg.det(2 * np.pi * total)))
    np.testing.assert_allclose(gauss.log_prob(x, s), [expected], rtol=1e-13)
    flat = GaussianDenoiser([0.0, 0.0], np.diag([4.0, 0.0]))
    np.testing.assert_allclose(flat([[2.0, 3.0]], 2.0), [[1.0, 0.0]], rtol=1e-15)


# Refusals

NAN, INF = float("nan"), float("inf")
BAD_X = [
    ([[NAN, 0.0]], ValueError),
    ([[0.0, INF]], ValueError),
    ([[1.0, 2.0, 3.0]], ValueError),
    ([1.0], ValueError),
    (1.0, ValueError),
    (np.zeros((2, 2, 2)), ValueError),
    ([[1e200, 0.0]], ValueError),
    ("text", TypeError),
    (None, TypeError),
    ([[1 + 1j, 0]], TypeError),
    (np.array([[1.0, 2.0]], dtype=object), TypeError),
    ([[1.0, 2.0], [3.0]], TypeError),
    ([["1", "2"]], TypeError),
    ([[True, False]], TypeError),
    (np.ma.masked_array([[1.0, 2.0]], mask=[[True, False]]), ValueError),
]
BAD_SIGMA = [
    (-1.0, ValueError),
    (NAN, ValueError),
    (INF, ValueError),
    (1e151, ValueError),
    ([1.0, 2.0, 3.0], ValueError),
    ([[1.0], [1.0]], ValueError),
    ([1.0, -1.0], ValueError),
    ("1", TypeError),
    (None, TypeError),
    (1j, TypeError),
    (True, TypeError),
    (np.array([1.0, 1.0], dtype=object), TypeError),
]
CALLS = ["mean", "log_prob", "score", "jacobian", "sigma_derivative", "entropy"]


@pytest.mark.parametrize(("bad", "kind"), BAD_X)
@pytest.mark.parametrize("name", CALLS)
def test_bad_queries_are_named(name: str, bad: Any, kind: type[Exception]) -> None:
    denoiser = OptimalDenoiser([[0.0, 1.0], [2.0, 3.0]])
    with pytest.raises(kind, match=r"^x\b.*(got|beyond).*expected"):
        METHODS[name](denoiser, bad, 1.0)


@pytest.mark.parametrize(("bad", "kind"), BAD_SIGMA)
@pytest.mark.parametrize("name", CALLS)
def test_bad_levels_are_named(name: str, bad: Any, kind: type[Exception]) -> None:
    denoiser = OptimalDenoiser([[0.0, 1.0], [2.0, 3.0]])
    with pytest.raises(kind, match=r"^sigma: got .*, expected .*; "):
        METHODS[name](denoiser, np.zeros((2, 2)), bad)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "mean"])
def test_zero_noise_is_refused_where_it_has_no_value(name: str) -> None:
    denoiser = OptimalDenoiser([[0.0, 1.0], [2.0, 3.0]])
    with pytest.raises(ValueError, match=r"^sigma: got 0\.0, .*limit"):
        METHODS[name](denoiser, np.zeros((2, 2)), 0.0)


def test_bad_directions_and_counts_are_named() -> None:
    denoiser, x = OptimalDenoiser([[0.0, 1.0], [2.0, 3.0]]), np.zeros((2, 2))
    for bad, kind in (
        (np.zeros((3, 2)), ValueError),
        (np.zeros(2), ValueError),
        ([[NAN] * 2] * 2, ValueError),
        ("v", TypeError),
        (None, TypeError),
    ):
        with pytest.raises(kind, match=r"^v: got"):
            denoiser.jvp(x, 1.0, bad)
    post = denoiser.posterior(x, 1.0)
    for bad, kind in (
        (0, ValueError),
        (3, ValueError),
        (-1, ValueError),
        (1.0, TypeError),
        (True, TypeError),
    ):
        with pytest.raises(kind, match=r"^k: got"):
            post.top(bad)


def test_data_and_query_that_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"^x or sigma: .*data scale"):
        OptimalDenoiser([[0.0], [1e-200]])([1e120], 1.0)


@pytest.mark.parametrize("bad", ["two_moons", None, b"bytes"])
def test_denoiser_without_points(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"^points: got"):
        OptimalDenoiser(bad)


@pytest.mark.parametrize(
    ("mean", "cov", "words"),
    [
        ([0.0, 0.0], np.eye(3), "covariance: .*shape"),
        ([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]], "covariance: .*asymmetric"),
        ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], "covariance: .*eigenvalue"),
        ([0.0, NAN], np.eye(2), "mean: .*nan"),
    ],
)
def test_bad_gaussians(mean: Any, cov: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        GaussianDenoiser(mean, cov)


def test_repr_names_the_data() -> None:
    text = repr(OptimalDenoiser(PointSet([[0.0, 1.0], [2.0, 3.0]], name="pair")))
    assert re.fullmatch(r"OptimalDenoiser\(PointSet\('pair', N=2, D=2\)\)", text)


# Memory

MEMORY = """
import numpy as np, analytic as an

def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) / 1024

warm = an.OptimalDenoiser(np.eye(3))
warm(np.zeros((2, 3)), 1.0)
rng = np.random.default_rng(0)
points = an.PointSet(rng.standard_normal((200_000, 192)))
x = rng.standard_normal((256, 192))
denoiser = an.OptimalDenoiser(points)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
result = denoiser(x, 1.0)
print(status("VmHWM") - before, np.isfinite(result).all())
"""


def test_memory_does_not_grow_with_the_product_of_points_and_queries() -> None:
    """An N x B matrix would take 410 MB here, a copy of the points 307 MB."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the peak can be reset only under Linux")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=False
    )
    if "clear_refs" in done.stderr:
        pytest.skip("the kernel does not let the peak be reset")
    assert done.returncode == 0, done.stderr
    grown, finite = done.stdout.split()
    assert finite == "True"
    assert float(grown) <= 200.0
