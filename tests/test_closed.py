"""The closed-form neighbours of the optimal denoiser: Gaussians, mixtures, the smoothed score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from oracle import EPS, gap

import analytic as an
from analytic import (
    GaussianDenoiser,
    GaussianMixtureDenoiser,
    LowRankGaussianDenoiser,
    OptimalDenoiser,
    PointSet,
    SmoothedDenoiser,
)
from analytic.denoisers import mixture as mixture_module
from analytic.exact import gaussian_flow
from analytic.testing.strategies import Case, cases, point_sets

KINDS = ("isotropic", "diagonal", "full")
NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)


class Mix(NamedTuple):
    """Ingredients of a mixture."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @property
    def denoiser(self) -> GaussianMixtureDenoiser:
        return GaussianMixtureDenoiser(*self)

    @property
    def dense(self) -> np.ndarray:
        """(K, D, D) whatever the form."""
        cov, eye = self.covariances, np.eye(self.means.shape[1])
        if cov.ndim == 1:
            return cov[:, None, None] * eye
        return cov[:, :, None] * eye if cov.ndim == 2 else cov


def mix(seed: int, kind: str | None = None, low_rank: bool = True) -> Mix:
    """A random mixture of 1 to 5 components in 1 to 4 dimensions, some of them flat."""
    rng = np.random.default_rng([31, seed])
    kind = kind or KINDS[seed % 3]
    count, dim = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    means = 10 ** rng.uniform(-1, 1) * rng.standard_normal((count, dim))
    size = 10 ** rng.uniform(-2, 0.5, count)
    if kind == "isotropic":
        cov = size**2
    elif kind == "diagonal":
        cov = (size[:, None] * rng.uniform(0.1, 1, (count, dim))) ** 2
    else:
        rank = max(1, dim - int(low_rank and rng.integers(0, 2)))
        root = size[:, None, None] * rng.standard_normal((count, dim, rank))
        cov = root @ root.transpose(0, 2, 1)
    return Mix(np.exp(rng.choice([0.0, 2.0]) * rng.standard_normal(count)), means, cov)


def queries(rng: np.random.Generator, means: np.ndarray, sigma: float) -> np.ndarray:
    """Noisy, on a mean, halfway between two, and far away."""
    z = rng.standard_normal((3, means.shape[1]))
    return np.stack(
        [means[0] + sigma * z[0], means[-1], 0.5 * (means[0] + means[-1]), means[0] + 1e3 * z[1]]
    )


def families(seed: int) -> dict[str, Any]:
    """One denoiser of every kind, in the same dimension."""
    rng, made = np.random.default_rng([32, seed]), mix(seed, "full")
    dim = made.means.shape[1]
    basis = rng.standard_normal((dim, 1 + dim // 2))
    return {
        "gaussian": GaussianDenoiser(made.means[0], made.dense[0]),
        "low rank": LowRankGaussianDenoiser(
            made.means[0], basis, rng.random(basis.shape[1]), rng.choice([0.0, 0.3])
        ),
        "isotropic": Mix(made.weights, made.means, rng.random(len(made.means))).denoiser,
        "diagonal": Mix(made.weights, made.means, rng.random(made.means.shape)).denoiser,
        "full": made.denoiser,
        "smoothed": SmoothedDenoiser(PointSet(made.means, made.weights), 0.2, 0.1, 7, seed=seed),
    }


# Against high precision


class Truth(NamedTuple):
    """A mixture at one query, in 50 digits."""

    u: list
    log_prob: mp.mpf
    mean: list
    score: list


def truth(made: Mix, x: np.ndarray, sigma: float) -> Truth:
    """By the defining formulas, the inputs taken as exact. Call it with 50 digits."""
    dim, s2 = len(x), mp.mpf(float(sigma)) ** 2
    total = mp.fsum(mp.mpf(float(w)) for w in made.weights)
    logits, pulls = [], []
    for weight, mean, cov in zip(made.weights, made.means, made.dense, strict=True):
        wide = mp.matrix(cov.tolist()) + s2 * mp.eye(dim)
        away = mp.matrix(
            [mp.mpf(float(a)) - mp.mpf(float(b)) for a, b in zip(x, mean, strict=True)]
        )
        pull = mp.lu_solve(wide, away)
        square = mp.fsum(away[i] * pull[i] for i in range(dim))
        logits.append(
            mp.log(mp.mpf(float(weight)) / total)
            - (square + mp.log(mp.det(wide)) + dim * mp.log(2 * mp.pi)) / 2
        )
        pulls.append(pull)
    top = max(logits)
    log_prob = top + mp.log(mp.fsum(mp.exp(t - top) for t in logits))
    u = [mp.exp(t - log_prob) for t in logits]
    score = [-mp.fsum(w * p[i] for w, p in zip(u, pulls, strict=True)) for i in range(dim)]
    mean = [mp.mpf(float(x[i])) + s2 * score[i] for i in range(dim)]
    return Truth(u, log_prob, mean, score)


def spread(made: Mix, x: np.ndarray, sigma: float) -> float:
    """How much log-weights may feel the rounding of the inputs, in units of ε.

    Half of the sum of d·P g over the components, of which differences are made, and
    of the eigenvalues' rounding, ε‖Σ‖, over the least width.
    """
    away = x - made.means
    sizes = np.linalg.eigvalsh(made.dense)
    wide = np.maximum(sizes, 0.0) + sigma**2
    apart = np.linalg.norm(made.means[:, None] - made.means, axis=2).max()
    far = float(np.linalg.norm(away, axis=1).max())
    blur = float(((sizes.max(axis=1) - sizes.min(axis=1)) / wide.min(axis=1)).max())
    unequal = float(np.ptp(wide)) / float(wide.min())
    return float((far * (apart + (blur + unequal) * far)) / wide.min()) + blur


@pytest.mark.parametrize("seed", range(36))
def test_mixture_against_high_precision(seed: int) -> None:
    made, rng = mix(seed), np.random.default_rng([33, seed])
    dim = made.means.shape[1]
    denoiser, sigma = made.denoiser, float(10 ** rng.uniform(-2, 2))
    for x in queries(rng, made.means, sigma):
        with mp.workdps(50):
            true = truth(made, x, sigma)
        slack = 40 * EPS * (dim + spread(made, x, sigma))
        u = np.array([float(w) for w in true.u])
        np.testing.assert_allclose(denoiser.responsibilities(x, sigma), u, rtol=slack, atol=1e-300)
        own = -float(true.log_prob) + dim * abs(np.log(sigma)) + 10
        assert gap([denoiser.log_prob(x, sigma)], [true.log_prob]) <= slack + 40 * EPS * abs(own)
        reach = float(np.abs(x - made.means).max() + np.abs(x).max())
        assert gap(denoiser(x, sigma), true.mean) <= (slack + 40 * EPS) * reach
        pull = float(np.linalg.norm([float(c) for c in true.score]))
        wide = max(sigma**2, np.linalg.eigvalsh(made.dense).min())
        assert gap(denoiser.score(x, sigma), true.score) <= (40 * EPS * pull + slack * reach / wide)


def test_far_queries_keep_the_precision_of_their_differences() -> None:
    """10⁶ away, logits of 10¹² differ by order one, and the weights are still good to 1e-9."""
    made = Mix(np.ones(3), np.array([[0.0, 0.0], [1.0, 0.5], [-0.5, 1.0]]), np.full(3, 0.25))
    x, sigma = np.array([1e6, 2e6]), 1e3
    with mp.workdps(50):
        true = truth(made, x, sigma)
    u = np.array([float(w) for w in true.u])
    for cov in (made.covariances, np.full((3, 2), 0.25), made.dense):
        found = GaussianMixtureDenoiser(made.weights, made.means, cov)
        np.testing.assert_allclose(found.responsibilities(x, sigma), u, rtol=1e-14)
        # formed from squares, the same weights are off by some ε 10¹²/10⁶
    logits = -0.5 * ((x - made.means) ** 2).sum(axis=1) / (0.25 + sigma**2)
    naive = np.exp(logits - logits.max())
    assert np.abs(naive / naive.sum() / u - 1).max() > 1e-11


@pytest.mark.parametrize("seed", range(12))
def test_gaussians_against_high_precision(seed: int) -> None:
    rng, made = np.random.default_rng([34, seed]), mix(seed, "full")
    one = Mix(np.ones(1), made.means[:1], made.dense[:1])
    sigma = float(10 ** rng.uniform(-2, 2))
    root = np.linalg.cholesky(one.dense[0] + 1e-3 * np.eye(one.means.shape[1]))
    low = LowRankGaussianDenoiser(one.means[0], root, np.ones(len(root)), 0.2)
    wide = Mix(one.weights, one.means, (root @ root.T + 0.2 * np.eye(len(root)))[None])
    for x in queries(rng, made.means, sigma):
        for denoiser, case in ((GaussianDenoiser(one.means[0], one.dense[0]), one), (low, wide)):
            with mp.workdps(50):
                true = truth(case, x, sigma)
            slack = 100 * EPS * (1 + spread(case, x, sigma))
            size = float(np.abs(x).max() + np.abs(case.means).max())
            scale = np.linalg.norm(x - case.means[0]) + EPS * size
            assert gap(denoiser(x, sigma), true.mean) <= slack * (size + 1)
            assert gap([denoiser.log_prob(x, sigma)], [true.log_prob]) <= slack * (
                10 + abs(float(true.log_prob))
            )
            assert gap(denoiser.score(x, sigma), true.score) <= slack * (
                scale / max(sigma**2, np.linalg.eigvalsh(case.dense).min())
            )


# Identities that every one of them must satisfy


@given(st.integers(0, 10_000), st.floats(-1, 2), st.floats(0, 6.28))
def test_tweedie(seed: int, power: float, turn: float) -> None:
    """A1: D = x + σ²∇log p, and the score's line integral is the difference of log p."""
    sigma = 10.0**power
    for name, denoiser in families(seed).items():
        x = np.array([denoiser(np.zeros(denoiser.dim), sigma)]) + 0.3 * sigma
        size = 1 + np.abs(x).max()
        mean = x + sigma**2 * denoiser.score(x, sigma)
        np.testing.assert_allclose(denoiser(x, sigma), mean, atol=1e-12 * size, err_msg=name)
        if name == "smoothed":
            continue
        step = np.cos(turn + np.arange(denoiser.dim)) * 0.3 * sigma
        path = x + 0.5 * (1 + NODES)[:, None] * step
        found = 0.5 * WEIGHTS @ (denoiser.score(path, sigma) @ step)
        ends = denoiser.log_prob(np.concatenate([x, x + step]), sigma)
        rough = EPS * size / sigma * np.abs(denoiser.score(path, sigma)).max() * sigma
        assert abs(found - np.diff(ends)[0]) <= 1e-10 * (1 + np.abs(ends).max()) + rough, name


def differences(function: Callable[[float], np.ndarray], h: float) -> np.ndarray:
    """Six-point central differences."""
    return sum(
        weight * (function(k * h) - function(-k * h))
        for k, weight in ((1, 45.0), (2, -9.0), (3, 1.0))
    ) / (60 * h)


@given(st.integers(0, 10_000), st.floats(-0.5, 1.5))
def test_derivatives(seed: int, power: float) -> None:
    """∂D/∂x is symmetric, PSD and what differences give; so are its action, trace and ∂D/∂σ."""
    sigma = 10.0**power
    apart = np.linalg.norm(np.ptp(mix(seed, "full").means, axis=0))
    # D turns within σ²/apart
    h = 0.02 * sigma * min(1.0, sigma / (apart + 1e-300))
    for name, denoiser in families(seed).items():
        dim = denoiser.dim
        x = denoiser(np.full((2, dim), 0.3), sigma) + 0.5 * sigma * np.array([[1.0], [-0.7]])
        size = 1 + np.abs(x).max()
        jacobian = denoiser.jacobian(x, sigma)
        np.testing.assert_array_equal(jacobian, jacobian.transpose(0, 2, 1))
        scale = 1 + np.abs(jacobian).max()
        assert np.linalg.eigvalsh(jacobian).min() >= -1e-13 * scale, name
        found = [
            differences(lambda t, f=denoiser, y=x, e=e: f(y + t * e, sigma), h) for e in np.eye(dim)
        ]
        tolerance = 1e-7 * scale + 8 * EPS * size / h
        np.testing.assert_allclose(jacobian, np.stack(found, axis=2), atol=tolerance, err_msg=name)
        v = np.sin(1 + np.arange(2 * dim)).reshape(2, dim)
        moved = np.einsum("bij,bj->bi", jacobian, v)
        np.testing.assert_allclose(
            denoiser.jvp(x, sigma, v), moved, atol=1e-13 * dim * scale, err_msg=name
        )
        trace = sigma**2 * np.trace(jacobian, axis1=1, axis2=2)
        np.testing.assert_allclose(
            denoiser.trace_cov(x, sigma), trace, rtol=1e-12, atol=1e-300, err_msg=name
        )
        slope = denoiser.sigma_derivative(x, sigma)
        again = differences(lambda t, f=denoiser, x=x: f(x, sigma + t), h)
        atol = tolerance + 1e-6 * np.abs(slope).max()
        np.testing.assert_allclose(slope, again, rtol=0, atol=atol, err_msg=name)


@given(st.integers(0, 10_000), st.floats(-1, 2), st.integers(-3, 3), st.integers(-40, 40))
def test_equivariance(seed: int, power: float, shift: int, scale: int) -> None:
    """A7: translation and scale for all, rotation and permutation for mixtures."""
    made, sigma, c = mix(seed, low_rank=False), 10.0**power, 2.0**scale
    rng = np.random.default_rng(seed)
    x = queries(rng, made.means, sigma)[:3]
    turn = np.linalg.qr(rng.standard_normal(2 * (made.means.shape[1],)))[0]
    order = rng.permutation(len(made.means))
    found, size = made.denoiser(x, sigma), np.abs(made.means).max() + np.abs(x).max()

    def close(other: np.ndarray, bound: float) -> None:
        np.testing.assert_allclose(other, found, atol=bound * size * (1 + blur), rtol=0)

    blur = max(spread(made, row, sigma) for row in x)
    grown = Mix(made.weights, c * made.means, c**2 * made.covariances)
    close(grown.denoiser(c * x, c * sigma) / c, 0.0)
    moved = Mix(made.weights, made.means + shift, made.covariances)
    close(moved.denoiser(x + shift, sigma) - shift, 40 * EPS * (1 + abs(shift)))
    close(
        made._replace(**{k: getattr(made, k)[order] for k in made._fields}).denoiser(x, sigma),
        40 * EPS,
    )
    turned = Mix(made.weights, made.means @ turn.T, turn @ made.dense @ turn.T)
    close(turned.denoiser(x @ turn.T, sigma) @ turn, 400 * EPS)
    smooth = SmoothedDenoiser(made.means, 0.3)
    other = SmoothedDenoiser(c * made.means, c * 0.3)(c * x, c * sigma) / c
    np.testing.assert_allclose(other, smooth(x, sigma), rtol=1e-9, atol=1e-9 * size)


# Special cases


@given(cases(points=point_sets(max_dim=3, max_points=8)), st.sampled_from(KINDS))
def test_points_are_a_mixture_without_widths(case: Case, kind: str) -> None:
    """Zero covariances: the optimal denoiser of the means, with all that it knows."""
    points, x, sigma = case.points, case.x, case.sigma
    count, dim = points.points.shape
    shape = {"isotropic": (count,), "diagonal": (count, dim), "full": (count, dim, dim)}[kind]
    mixture = GaussianMixtureDenoiser(points.weights, points.points, np.zeros(shape))
    optimal = OptimalDenoiser(points, "dense")
    reach = np.abs(x[:, None] - points.points).max() + 1e-300
    apart = max(points.diameter_bounds[1], 1e-300)
    # ε times the spread of the logits, on both sides
    delta = 100 * EPS * (1 + reach * apart / sigma**2)
    assume(delta < 0.1)
    u = np.zeros((len(x), count))
    top = optimal.posterior(x, sigma).top(count)
    np.put_along_axis(u, top.index, top.weight, axis=1)
    np.testing.assert_allclose(mixture.responsibilities(x, sigma), u, rtol=delta, atol=1e-290)
    size = np.abs(points.points).max()
    np.testing.assert_allclose(
        mixture(x, sigma), optimal(x, sigma), rtol=0, atol=delta * apart + 8 * EPS * size
    )
    logs = optimal.log_prob(x, sigma)
    np.testing.assert_allclose(
        mixture.log_prob(x, sigma), logs, rtol=1e-13, atol=delta + 1e-13 * (1 + np.abs(logs).max())
    )
    for name, unit in (("score", sigma**-2), ("sigma_derivative", reach / sigma**3 * apart)):
        a, b = getattr(mixture, name)(x, sigma), getattr(optimal, name)(x, sigma)
        np.testing.assert_allclose(a, b, rtol=0, atol=4 * delta * (apart + reach) * unit)
    trace = optimal.posterior(x, sigma).trace_cov
    np.testing.assert_allclose(
        mixture.trace_cov(x, sigma), trace, rtol=0, atol=4 * delta * apart**2
    )
    np.testing.assert_allclose(
        mixture.jacobian(x, sigma),
        optimal.jacobian(x, sigma),
        rtol=0,
        atol=4 * delta * (apart / sigma) ** 2,
    )
    nearest = [np.linalg.norm(x - denoiser(x, 0.0), axis=1) for denoiser in (mixture, optimal)]
    np.testing.assert_allclose(*nearest, rtol=1e-13, atol=8 * EPS * (size + np.abs(x).max()))


def test_limits_of_points_and_ties() -> None:
    mixture = GaussianMixtureDenoiser([1.0, 3.0], [[-1.0], [1.0]], [0.0, 0.0])
    found = mixture([[0.0], [1e-9], [-0.5], [1.0], [1e6]], 0.0)
    np.testing.assert_allclose(found, [[0.5], [1.0], [-1.0], [1.0], [1.0]], rtol=1e-15)
    one = GaussianMixtureDenoiser(None, [[2.0, 3.0]], [0.0])
    np.testing.assert_array_equal(one([[2.0, 3.0], [0.0, 0.0]], 0.0), [[2.0, 3.0]] * 2)
    np.testing.assert_array_equal(one.responsibilities([2.0, 3.0], 0.0), [1.0])


@given(st.integers(0, 10_000), st.floats(-2, 2))
def test_a_mixture_of_one_is_a_gaussian(seed: int, power: float) -> None:
    made, sigma = mix(seed, "full"), 10.0**power
    mean, cov = made.means[0], made.dense[0]
    gauss = GaussianDenoiser(mean, cov)
    x = queries(np.random.default_rng(seed), made.means, sigma)
    v = np.cos(x)
    for mixture in (
        GaussianMixtureDenoiser([2.0], mean[None], cov[None]),
        # the same component twice, and one that weighs nothing
        GaussianMixtureDenoiser([1, 2, 0], [mean, mean, mean + 1], [cov, cov, 2 * cov]),
    ):
        for name in ("__call__", "log_prob", "score", "jacobian", "sigma_derivative", "trace_cov"):
            a, b = getattr(mixture, name)(x, sigma), getattr(gauss, name)(x, sigma)
            atol = 1e-12 * (1 + np.abs(b).max())
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=atol, err_msg=name)
        np.testing.assert_allclose(mixture.jvp(x, sigma, v), gauss.jvp(x, sigma, v), atol=1e-13)


@given(st.integers(0, 10_000), st.floats(-2, 2), st.booleans())
def test_low_rank_is_the_gaussian_of_its_dense_covariance(
    seed: int, power: float, orthonormal: bool
) -> None:
    rng, sigma = np.random.default_rng(seed), 10.0**power
    dim = int(rng.integers(1, 6))
    rank = int(rng.integers(1, dim + 1 if orthonormal else dim + 3))
    basis = rng.standard_normal((dim, rank))
    basis = np.linalg.qr(basis)[0] if orthonormal else basis
    variances = rng.random(rank) * (rng.random(rank) < 0.8)
    residual = float(rng.choice([0.0, 0.4]))
    mean, x = rng.standard_normal(dim), rng.standard_normal((3, dim)) * (1 + sigma)
    low = LowRankGaussianDenoiser(mean, basis, variances, residual)
    dense = GaussianDenoiser(mean, (basis * variances) @ basis.T + residual * np.eye(dim))
    for name in ("__call__", "log_prob", "score", "jacobian", "sigma_derivative", "trace_cov"):
        a, b = getattr(low, name)(x, sigma), getattr(dense, name)(x, sigma)
        atol = 1e-12 * (1 + 1 / sigma) * (1 + np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=atol, err_msg=name)
    np.testing.assert_allclose(
        low.jvp(x, sigma, -x), dense.jvp(x, sigma, -x), atol=1e-11 * (1 + sigma)
    )
    flow = gaussian_flow(low, x, sigma, 0.3)
    np.testing.assert_allclose(
        flow, gaussian_flow(dense, x, sigma, 0.3), atol=1e-10 * (1 + 1 / sigma)
    )


def test_low_rank_in_a_hundred_thousand_dimensions() -> None:
    """Against sums written out: variances 9 and 1/4 along two axes, 1/100 in all others."""
    dim, sigma = 100_000, 2.0
    basis = np.zeros((dim, 2))
    basis[7, 0] = basis[99_999, 1] = 1.0
    mean = np.linspace(-1, 1, dim)
    low = LowRankGaussianDenoiser(mean, basis, [9.0, 0.25], 0.01)
    x = mean + np.sin(np.arange(3 * dim).reshape(3, dim))
    var = np.full(dim, 0.01)
    var[7], var[99_999] = 9.01, 0.26
    away = x - mean
    np.testing.assert_allclose(low(x, sigma), mean + away * var / (var + 4), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(low.score(x, sigma), -away / (var + 4), rtol=1e-12, atol=1e-13)
    logs = -0.5 * (away**2 / (var + 4) + np.log(2 * np.pi * (var + 4))).sum(axis=1)
    np.testing.assert_allclose(low.log_prob(x, sigma), logs, rtol=1e-13)
    np.testing.assert_allclose(low.trace_cov(x, sigma), (4 * var / (var + 4)).sum(), rtol=1e-13)
    flow = gaussian_flow(low, x, sigma, 0.0)
    np.testing.assert_allclose(flow, mean + away * np.sqrt(var / (var + 4)), rtol=1e-12, atol=1e-13)


def test_variances_of_very_different_size_survive() -> None:
    basis = np.eye(4)[:, :3]
    low = LowRankGaussianDenoiser(np.zeros(4), basis, [1e100, 1.0, 1e-100])
    graded = GaussianDenoiser(np.zeros(4), np.diag([1e100, 1.0, 1e-100, 0.0]))
    for denoiser in (low, graded):
        found = denoiser(np.ones(4), 1e-50)
        np.testing.assert_allclose(found, [1.0, 1.0, 0.5, 0.0], rtol=1e-15)


def test_a_mixture_of_far_clusters_is_each_of_them() -> None:
    rng = np.random.default_rng(5)
    root = rng.standard_normal((2, 3, 3))
    cov, means = root @ root.transpose(0, 2, 1), np.array([[0.0, 0, 0], [1e8, -1e8, 1e8]])
    mixture = GaussianMixtureDenoiser([0.5, 0.5], means, cov)
    for k in range(2):
        x = means[k] + rng.standard_normal((4, 3))
        one = GaussianDenoiser(means[k], cov[k])
        np.testing.assert_allclose(mixture.score(x, 0.7), one.score(x, 0.7), rtol=1e-12)
        np.testing.assert_allclose(mixture(x, 0.7), one(x, 0.7), rtol=1e-15, atol=1e-15)
        np.testing.assert_allclose(
            mixture.log_prob(x, 0.7), one.log_prob(x, 0.7) - np.log(2), rtol=1e-13
        )


# Extremes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", [1e-150, 1e-80, 1e-8, 1e8, 1e80, 1e150])
def test_extreme_levels(kind: str, sigma: float) -> None:
    """No warning (the suite turns them into errors), finite, and the known limits."""
    made = mix(4, kind, low_rank=False)
    w = made.weights / made.weights.sum()
    x = queries(np.random.default_rng(0), made.means, 1.0)
    denoiser = made.denoiser
    if sigma > 1:
        np.testing.assert_allclose(denoiser.responsibilities(x, sigma), [w] * 4, rtol=1e-4)
        far = denoiser(x / x.max() * sigma, sigma)
        np.testing.assert_allclose(far, denoiser(x[:1] / x.max(), 1e150) + 0 * far, rtol=2, atol=9)
        assert np.abs(denoiser(x, sigma) - w @ made.means).max() <= 1e5 / sigma + 1e-12
    else:
        np.testing.assert_allclose(denoiser(x, sigma), x, rtol=1e-10)
        u = GaussianMixtureDenoiser(*made).responsibilities(x, 0.0)
        np.testing.assert_allclose(denoiser.responsibilities(x, sigma), u, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(denoiser.score(x, sigma), denoiser.score(x, 0.0), rtol=1e-4)
        np.testing.assert_allclose(
            denoiser.log_prob(x, sigma), denoiser.log_prob(x, 0.0), rtol=1e-6
        )
        np.testing.assert_allclose(denoiser.jacobian(x, sigma), [np.eye(len(x[0]))] * 4, atol=1e-8)
    for name in ("log_prob", "score", "jacobian", "sigma_derivative", "trace_cov"):
        assert np.isfinite(getattr(denoiser, name)(x, sigma)).all(), name
    one = GaussianDenoiser(made.means[0], made.dense[0])
    low = LowRankGaussianDenoiser(made.means[0], np.eye(len(x[0])), np.ones(len(x[0])))
    for other in (one, low):
        for name in ("__call__", "log_prob", "score", "jacobian", "sigma_derivative", "trace_cov"):
            assert np.isfinite(getattr(other, name)(x, sigma)).all(), name


def test_points_and_clouds_may_meet_at_any_level() -> None:
    """A point, a cloud, tiny σ: on the point it has all the weight, off it none."""
    mixture = GaussianMixtureDenoiser([0.5, 0.5], [[0.0], [0.0]], [0.0, 1.0])
    for sigma in (1e-12, 1e-60, 1e-140):
        u = mixture.responsibilities([[0.0], [2 * sigma], [1e-5]], sigma)
        np.testing.assert_allclose(u[0], [1 / (1 + sigma), sigma / (1 + sigma)], rtol=1e-12)
        np.testing.assert_allclose(u[1, 1], sigma * np.exp(2), rtol=1e-10)
        np.testing.assert_array_equal(u[2], [0.0, 1.0])
        np.testing.assert_allclose(mixture([[1e-5]], sigma), [[1e-5]], rtol=1e-12)
        assert np.isfinite(mixture.sigma_derivative([[0.0], [1e-5]], sigma)).all()


def test_where_sigma_may_be_zero() -> None:
    x = np.array([[1.0, 2.0], [0.5, 0.1]])
    flat = GaussianDenoiser([0.0, 1.0], [[1.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(flat(x, 0.0), [[1.0, 1.0], [0.5, 1.0]])
    slanted = GaussianDenoiser([0.0, 0.0], [[1.0, 2.0], [2.0, 4.0]])
    along = np.array([1.0, 2.0]) / np.sqrt(5)
    np.testing.assert_allclose(slanted(x, 0.0), (x @ along)[:, None] * along, rtol=1e-14)
    low = LowRankGaussianDenoiser([0.0, 0.0], along[:, None], [5.0])
    np.testing.assert_allclose(low(x, 0.0), slanted(x, 0.0), rtol=1e-14)
    round_ = GaussianDenoiser([0.0, 1.0], np.eye(2))
    np.testing.assert_allclose(round_(x, 0.0), x, rtol=1e-15)
    np.testing.assert_allclose(round_.score(x, 0.0), [0.0, 1.0] - x, rtol=1e-15)
    for bad in (flat, slanted, low):
        for name in ("log_prob", "score"):
            with pytest.raises(ValueError, match=r"^sigma: got 0.0.*singular"):
                getattr(bad, name)(x, [0.0, 1.0])
    mixed = GaussianMixtureDenoiser(None, [[0.0, 0.0], [1.0, 1.0]], [0.0, 1.0])
    points = GaussianMixtureDenoiser(None, [[0.0, 0.0], [1.0, 1.0]], [0.0, 0.0])
    for call in (mixed, mixed.log_prob, mixed.responsibilities, points.score, points.log_prob):
        with pytest.raises(ValueError, match=r"^sigma: got 0.0.*singular"):
            call(x, 0.0)
    full = mix(2, "full", low_rank=False).denoiser
    np.testing.assert_array_equal(full(np.ones(full.dim), 0.0), np.ones(full.dim))


@pytest.mark.parametrize("seed", range(8))
def test_what_rounding_cannot_tell_from_flat_is_flat(seed: int) -> None:
    """A covariance of rank 2 in 5 dimensions has eigenvalues ±1e-17: D(x; 0) is the projection."""
    root = np.random.default_rng(seed).standard_normal((5, 2))
    x, basis = np.ones((1, 5)), np.linalg.qr(root)[0]
    for sigma in (0.0, 1e-20):
        found = GaussianDenoiser(np.zeros(5), root @ root.T)(x, sigma)
        np.testing.assert_allclose(found, x @ basis @ basis.T, rtol=0, atol=1e-13)


def test_a_score_whose_square_width_underflows() -> None:
    flat = GaussianDenoiser([0.0, 0.0], np.diag([1.0, 0.0]))
    low = LowRankGaussianDenoiser([0.0, 0.0], [[1.0], [0.0]], [1.0])
    for denoiser in (flat, low):
        found = denoiser.score([1.0, 1e-165], 1e-170)
        np.testing.assert_allclose(found, [-1.0, -1e175], rtol=1e-12)


# The smoothed score


@given(
    cases(points=point_sets(max_dim=3, max_points=8), low=0.05, kinds=("noisy", "midpoint")),
    st.floats(0, 2),
)
def test_smoothing_is_a_mean_over_shifts(case: Case, width: float) -> None:
    points, x, s = case.points, case.x, case.sigma
    smooth = SmoothedDenoiser(points, width, 0.5, directions=5, seed=3)
    rng, total = np.random.default_rng(3), np.zeros_like(x)
    for u in rng.standard_normal((5, points.dim)):
        total += OptimalDenoiser(points)(x + (width + 0.5 * s) * u, s)
    np.testing.assert_allclose(smooth(x, s), total / 5, rtol=1e-13, atol=1e-300)
    low, high = points.points.min(axis=0), points.points.max(axis=0)
    slack = 64 * EPS * np.abs(points.points).max()
    assert ((smooth(x, s) >= low - slack) & (smooth(x, s) <= high + slack)).all()


def test_no_width_is_no_smoothing() -> None:
    points = an.datasets.two_moons(50, seed=1)
    x = points.points[:6] + 0.1
    smooth, optimal = SmoothedDenoiser(points, 0.0, directions=4), OptimalDenoiser(points)
    for name in ("__call__", "score", "jacobian", "sigma_derivative"):
        a, b = getattr(smooth, name)(x, 0.2), getattr(optimal, name)(x, 0.2)
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-14, err_msg=name)
    np.testing.assert_array_equal(smooth(x, 0.0), optimal(x, 0.0))


def test_the_mean_over_shifts_tends_to_its_expectation() -> None:
    """Two points ±1: E tanh((x + δu)/σ²), by quadrature, within four standard errors."""
    x, sigma, width, count = 0.3, 0.6, 0.8, 40_000
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    values = np.tanh((x + width * nodes) / sigma**2)
    mean = weights @ values / weights.sum()
    error = np.sqrt((weights @ values**2 / weights.sum() - mean**2) / count)
    found = SmoothedDenoiser([[-1.0], [1.0]], width, directions=count, seed=11)([x], sigma)
    assert abs(found[0] - mean) <= 4 * error
    # what a wrong width would give is far outside
    assert abs(found[0] - np.tanh(x / sigma**2)) > 40 * error


def test_seeds_make_the_shifts() -> None:
    x, points = np.ones((2, 2)), [[0.0, 1.0], [2.0, 3.0]]
    one, same = (SmoothedDenoiser(points, 0.5, seed=1)(x, 0.7) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert (one != SmoothedDenoiser(points, 0.5, seed=2)(x, 0.7)).all()


def test_smoothed_flow_ends_between_the_points() -> None:
    """Barycentres: where two shifts in three see one point, 2/3 of the way."""
    smooth = SmoothedDenoiser([[-1.0], [1.0]], 1.0, directions=24, seed=0)
    end = an.integrate(smooth, [[0.1]], 4.0, 0.01, rtol=1e-4).final
    share = (end[0] + smooth.shifts > 0).mean()
    np.testing.assert_allclose(end[0], 2 * share - 1, atol=0.02)
    assert abs(end[0, 0]) < 0.9


# Forms and refusals


@pytest.mark.parametrize("name", list(families(0)))
def test_forms_of_input(name: str) -> None:
    denoiser = families(7)[name]
    dim = denoiser.dim
    x = np.random.default_rng(1).standard_normal((5, dim))
    frozen = x.copy()
    frozen.flags.writeable = False
    sigma = np.linspace(0.2, 2, 5)
    methods = ["__call__", "score", "jacobian", "sigma_derivative", "trace_cov", "log_prob"]
    for method in methods[: 5 if name == "smoothed" else 6]:
        call = getattr(denoiser, method)
        expected = call(x, sigma)
        assert expected.dtype == np.float64
        for form in (x.tolist(), frozen, np.asfortranarray(x)):
            np.testing.assert_array_equal(call(form, sigma), expected)
        single = call(x[2], float(sigma[2]))
        assert single.shape == expected.shape[1:]
        np.testing.assert_allclose(single, expected[2], rtol=1e-12, atol=1e-12)
        small = call(x.astype(np.float32), 0.5)
        assert small.dtype == np.float32
        np.testing.assert_allclose(
            small, call(x.astype(np.float32).astype(float), 0.5), rtol=1e-6, atol=1e-6
        )
        assert call(x[:0], 1.0).shape == (0, *expected.shape[1:])
    jvp = denoiser.jvp(x.astype(np.float32), 0.5, x)
    assert jvp.dtype == np.float32 and jvp.shape == x.shape
    for bad, words in (
        (x[:, :-1] if dim > 1 else np.zeros((2, 3)), "x: got shape"),
        (x * np.nan, "x"),
    ):
        with pytest.raises(ValueError, match=f"^{words}"):
            denoiser(bad, 1.0)
    with pytest.raises(ValueError, match=r"^sigma: got -1.0"):
        denoiser(x, -1.0)
    with pytest.raises(ValueError, match=r"^sigma: got 0.0"):
        denoiser.jacobian(x, 0.0)
    with pytest.raises(ValueError, match=r"^v: got shape"):
        denoiser.jvp(x, 1.0, x[0])


@pytest.mark.parametrize("kind", KINDS)
def test_large_batches_are_cut(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = mix(1, kind)
    x = np.random.default_rng(0).standard_normal((101, made.means.shape[1]))
    sigma, v = np.linspace(0.1, 3, 101), np.cos(x)
    whole = made.denoiser(x, sigma), made.denoiser.jvp(x, sigma, v)
    monkeypatch.setattr(mixture_module, "SLAB", 100)
    np.testing.assert_allclose(made.denoiser(x, sigma), whole[0], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(made.denoiser.jvp(x, sigma, v), whole[1], rtol=1e-12, atol=1e-13)


MEANS = [[0.0, 0.0], [1.0, 1.0]]
REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: GaussianMixtureDenoiser([1], MEANS, [1, 1]), ValueError, "weights: got shape"),
    (lambda: GaussianMixtureDenoiser([1, -1], MEANS, [1, 1]), ValueError, "weights: .*least -1"),
    (lambda: GaussianMixtureDenoiser([0, 0], MEANS, [1, 1]), ValueError, "weights: .*not all zero"),
    (lambda: GaussianMixtureDenoiser(None, [1.0], [1]), ValueError, "means: got shape"),
    (lambda: GaussianMixtureDenoiser(None, MEANS, [1]), ValueError, "covariances: got shape"),
    (
        lambda: GaussianMixtureDenoiser(None, MEANS, [1, -1]),
        ValueError,
        "covariances: .*variance -1",
    ),
    (
        lambda: GaussianMixtureDenoiser(None, MEANS, [np.eye(2), [[1, 2], [0, 1]]]),
        ValueError,
        "covariances: .*asymmetric",
    ),
    (
        lambda: GaussianMixtureDenoiser(None, MEANS, [np.eye(2), [[1, 2], [2, 1]]]),
        ValueError,
        "covariances: .*eigenvalue",
    ),
    (lambda: GaussianMixtureDenoiser(None, "ab", [1]), TypeError, "means: got"),
    (lambda: LowRankGaussianDenoiser([0.0, 0.0], [[1.0]], [1.0]), ValueError, "basis: got shape"),
    (lambda: LowRankGaussianDenoiser([0.0], [[1.0]], [1.0, 2.0]), ValueError, "variances: got"),
    (lambda: LowRankGaussianDenoiser([0.0], [[1.0]], [-1.0]), ValueError, "variances: .*least -1"),
    (lambda: LowRankGaussianDenoiser([0.0], [[1.0]], [1.0], -1), ValueError, "residual: got -1"),
    (lambda: SmoothedDenoiser(MEANS, -0.1), ValueError, "width: got -0.1"),
    (lambda: SmoothedDenoiser(MEANS, 0.1, -1), ValueError, "growth: got -1"),
    (lambda: SmoothedDenoiser(MEANS, 0.1, directions=0), ValueError, "directions: got 0"),
    (lambda: SmoothedDenoiser(MEANS, 0.1, seed=-1), ValueError, "seed: got -1"),
    (lambda: SmoothedDenoiser("file", 0.1), TypeError, "points: got"),
    (lambda: SmoothedDenoiser(MEANS, "wide"), TypeError, "width: got"),
]


@pytest.mark.parametrize(("make", "kind", "words"), REFUSED)
def test_refusals(make: Callable[[], Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        make()
