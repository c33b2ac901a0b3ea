"""The denoiser against 50-digit arithmetic, to the bound that its docstring states."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from oracle import EPS, allowance, exact, gap

from analytic import OptimalDenoiser, PointSet

QUERIES = ("noisy", "midpoint", "far", "on_point")


class Case(NamedTuple):
    points: PointSet
    x: np.ndarray
    sigma: float
    query: str


def random_case(seed: int, low: float = -6.0, high: float = 6.0) -> Case:
    """Random data, offset, duplicates and near-duplicates, weights, level and query."""
    rng = np.random.default_rng([20, seed])
    count, dim = int(rng.integers(1, 51)), int(rng.integers(1, 9))
    scale = 10 ** rng.uniform(-3, 3)
    offset = 10 ** rng.uniform(-3, 6) if rng.random() < 0.7 else 0.0
    rows = scale * rng.standard_normal((count, dim))
    rows += offset * rng.standard_normal(dim)
    for k in range(1, count):
        if rng.random() < 0.15:
            rows[k] = rows[rng.integers(k)]
            if rng.random() < 0.5:
                rows[k] += 10 ** rng.uniform(-12, -3) * scale * rng.standard_normal(dim)
    weights = np.exp(rng.choice([0.0, 1.0, 8.0]) * rng.standard_normal(count))
    points = PointSet(rows, weights)
    sigma = scale * 10 ** rng.uniform(low, high)
    query = QUERIES[seed % 4]
    a, b = rows[rng.integers(count, size=2)]
    if query == "noisy":
        x = a + sigma * rng.standard_normal(dim)
    elif query == "midpoint":
        x = 0.5 * (a + b)
    elif query == "far":
        x = a + scale * 10 ** rng.uniform(1, 6) * rng.standard_normal(dim)
    else:
        x = a.copy()
    return Case(points, x, sigma, query)


def test_weights_mean_and_density_are_within_the_stated_bound() -> None:
    worst = {"u": 0.0, "mean": 0.0, "log_prob": 0.0}
    cases, weights = {query: 0 for query in QUERIES}, 0
    for seed in range(240):
        points, x, sigma, query = random_case(seed)
        denoiser = OptimalDenoiser(points)
        true, bound = exact(points, x, sigma), allowance(points, x, sigma)
        top = denoiser.posterior(x, sigma).top(len(points))
        for i, found in zip(top.index, top.weight, strict=True):
            if true.u[i] > 1e-290:
                error = gap([found], [true.u[i]]) / float(true.u[i])
                worst["u"] = max(worst["u"], error / bound.u[i])
                weights += 1
        mean = gap(denoiser(x, sigma), true.mean)
        density = gap([denoiser.log_prob(x, sigma)], [true.log_prob])
        worst["mean"] = max(worst["mean"], mean / bound.mean)
        worst["log_prob"] = max(worst["log_prob"], density / bound.log_prob)
        assert max(worst.values()) <= 1.0, (seed, query, worst)
        cases[query] += 1
    assert sum(cases.values()) >= 200
    assert min(cases.values()) >= 50
    assert weights >= 1000


def test_the_bound_has_teeth() -> None:
    """Naive float64 log-weights, |x|² - 2x·x_i + |x_i|², break the bound on the same cases."""
    broken = 0
    for seed in range(0, 240, 8):
        points, x, sigma, _ = random_case(seed)
        logits = points.points @ x - 0.5 * (points.points**2).sum(axis=1)
        logits = points.log_weights + logits / sigma / sigma
        u = np.exp(np.maximum(logits - logits.max(), -745.0))
        true, bound = exact(points, x, sigma), allowance(points, x, sigma)
        broken += gap((u / u.sum()) @ points.points, true.mean) > bound.mean
    assert broken >= 5


@pytest.mark.parametrize("first", [0, 20])
def test_moments_and_derivatives(first: int) -> None:
    """Score, tr C, H, C/σ², C v/σ² and ∂D/∂σ to first-order error bounds of their sums.

    With ρ_i the stated relative error of u_i, d_i = |x_i - x_r| and n the length of a
    sum, the centre D - x_r is off by c = Σ u_i d_i ρ_i, each y_i = (x_i - x_r) - (D - x_r)
    by e_i = c + ε(d_i + |y_i|), and each product u_i |y_i|^k by the relative
    ρ_i + ε(D + n) and by k |y_i|^(k-1) e_i. A factor 2 covers second order; a few ε
    the final scaling by 1/σ.
    """
    for seed in range(first, first + 20):
        points, x, sigma, _ = random_case(1000 + seed, low=-2.0, high=2.0)
        denoiser = OptimalDenoiser(points)
        true, bound = exact(points, x, sigma, moments=True), allowance(points, x, sigma)
        count, dim = points.points.shape
        u = np.array([float(w) for w in true.u])
        log_u = np.array([float(t) for t in true.log_u])
        rows, r = points.points, bound.heaviest
        d = np.linalg.norm(rows - rows[r], axis=1)
        centre = np.array([float(c) for c in true.mean]) - rows[r]
        y = np.linalg.norm((rows - rows[r]) - centre, axis=1)
        rho = bound.u + EPS * (dim + 128 + count / 128)
        c = float(u @ (d * bound.u))
        e = c + EPS * (d + y)
        away = float(np.linalg.norm([float(t) for t in true.score])) * sigma**2
        square = 2 * float(u @ (y**2 * rho + 2 * y * e + e**2))
        cube = 2 * float(u @ (y**3 * rho + 3 * y**2 * e + 3 * y * e**2 + e**3))
        trace = float(true.trace_cov)

        post = denoiser.posterior(x, sigma)
        assert gap([post.trace_cov], [true.trace_cov]) <= square + 2 * EPS * trace, seed
        # d(-u log u) = -(1 + log u) du, and log u itself is a rounded number
        entropy = 2 * float(u @ ((1 + np.abs(log_u)) * rho))
        assert gap([post.entropy], [true.entropy]) <= entropy, seed
        assert gap([post.effective_points], [np.exp(float(true.entropy))]) <= (
            (entropy + 4 * EPS) * np.exp(float(true.entropy))
        ), seed

        # the score is (x_r - x) + (D - x_r), without the rounding of D itself
        reach = float(np.linalg.norm(x - rows[r]))
        slack = c + EPS * (2 * reach + 2 * np.linalg.norm(centre) + 4 * away)
        assert gap(denoiser.score(x, sigma), true.score) <= slack / sigma**2, seed

        jacobian = denoiser.jacobian(x, sigma)
        allowed = (square + 6 * EPS * trace) / sigma**2
        assert gap(jacobian, list(true.jacobian)) <= allowed, seed
        v = np.random.default_rng(seed).standard_normal(dim)
        size = float(np.linalg.norm(v))
        assert gap(denoiser.jvp(x, sigma, v), true.jvp(v)) <= 2 * size * allowed, seed

        third = float(u @ y**3)
        motion = denoiser.motion(x[None], np.array([sigma]))
        assert gap(motion.trace_cov, [true.trace_cov]) <= square + 2 * EPS * trace, seed
        slack = cube + 2 * (square * away + trace * slack) + 8 * EPS * (third + 2 * trace * away)
        assert gap(denoiser.sigma_derivative(x, sigma), true.sigma_derivative) <= (
            slack / sigma**3
        ), seed
        assert gap(motion.slope, true.slope(sigma)) <= slack / sigma**3, seed
