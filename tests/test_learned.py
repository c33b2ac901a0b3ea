"""Random features: the closed forms against sampling and quadrature, and what a model must keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic.learned import RandomFeatureDenoiser
from analytic.learned.features import moments

fit = RandomFeatureDenoiser.fit
POINTS = an.PointSet(
    np.random.default_rng(0).standard_normal((30, 3)) @ np.diag([1.0, 0.5, 0.1]) + [1.0, -2.0, 0.3],
    np.random.default_rng(1).uniform(0.1, 1.0, 30),
)


def forward(points: an.PointSet, sigma: float, count: int, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    clean = points.sample(count, rng)
    return clean, clean + sigma * rng.standard_normal(clean.shape)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_moments_are_those_of_a_sample(sigma: float) -> None:
    """Every entry of G and H within five standard errors, of 200,000 draws."""
    rng = np.random.default_rng(3)
    w, b = (
        np.vstack([np.zeros(3), rng.standard_normal((6, 3))]),
        np.append(0.0, rng.uniform(-3, 3, 6)),
    )
    gram, target, power = moments(POINTS, sigma, w, b)
    clean, noisy = (part - POINTS.mean for part in forward(POINTS, sigma, 200_000, 5))
    features = np.hstack([np.cos(noisy @ w.T + b), noisy])
    for exact, left in ((gram, features), (target, clean)):
        products = left[:, :, None] * features[:, None, :]
        error = products.std(axis=0) / np.sqrt(len(noisy))
        assert (np.abs(products.mean(axis=0) - exact) <= 5 * error + 1e-12).all()
    assert power == pytest.approx(POINTS.total_variance, rel=1e-12)


def test_moments_are_those_of_quadrature() -> None:
    """One dimension, to twelve digits: the noise integrated by Gauss and Hermite."""
    points = an.PointSet([[-1.0], [0.4], [2.0]], [0.2, 0.5, 0.3])
    z, weights = np.polynomial.hermite_e.hermegauss(80)
    w, b = np.array([[0.0], [1.3], [-2.1]]), np.array([0.0, 0.4, -1.1])
    for sigma in (0.1, 0.7, 1.5):
        gram, target, _ = moments(points, sigma, w, b)
        clean = points.points - points.mean
        x = (clean + sigma * z)[..., None]
        features = np.concatenate([np.cos(x * w[:, 0] + b), x], axis=2)
        mass = points.weights[:, None] * weights / weights.sum()
        expected = np.einsum("iz,izk,izl->kl", mass, features, features)
        np.testing.assert_allclose(gram, expected, rtol=0, atol=1e-12)
        expected = np.einsum("iz,id,izk->dk", mass, clean, features)
        np.testing.assert_allclose(target, expected, rtol=0, atol=1e-12)


def test_the_loss_is_that_of_a_sample_and_above_the_optimal() -> None:
    """Five standard errors; and G1: less the optimal denoiser's it is the squared deviation."""
    D, model = an.OptimalDenoiser(POINTS), fit(POINTS, [2.0, 0.5, 0.1], 64)
    for sigma, loss in zip(model.sigmas, model.losses, strict=True):
        clean, noisy = forward(POINTS, sigma, 100_000, 7)
        found, best = model(noisy, sigma), D(noisy, sigma)
        errors = ((found - clean) ** 2).sum(axis=1)
        assert abs(errors.mean() - loss) <= 5 * errors.std() / np.sqrt(len(errors))
        split = ((found - best) ** 2).sum(axis=1) - errors + ((best - clean) ** 2).sum(axis=1)
        assert abs(split.mean()) <= 5 * split.std() / np.sqrt(len(split))
        assert loss > ((best - clean) ** 2).sum(axis=1).mean() * 0.97


def test_more_features_are_better() -> None:
    """Models of one seed are nested; with a small ridge their losses fall."""
    losses = np.array([fit(POINTS, [1.0, 0.3, 0.1], k, 1e-10).losses for k in (4, 16, 64, 256)])
    assert (np.diff(losses, axis=0) < 0).all()
    few, many = fit(POINTS, [1.0], 4), fit(POINTS, [1.0], 64)
    np.testing.assert_array_equal(few.levels[0].frequencies, many.levels[0].frequencies[:5])
    np.testing.assert_array_equal(few.levels[0].phases, many.levels[0].phases[:5])


def test_a_gaussian_needs_no_cosines() -> None:
    """At σ far above the data the optimal denoiser is linear, which the skip features are."""
    model = fit(POINTS, [100.0], 8, 1e-12)
    _, noisy = forward(POINTS, 100.0, 50, 1)
    gauss = an.GaussianDenoiser(POINTS.mean, POINTS.covariance)
    np.testing.assert_allclose(model(noisy, 100.0), gauss(noisy, 100.0), rtol=0, atol=1e-3)


def linear(x: Any, sigma: float) -> Any:
    covariance = POINTS.covariance
    return x @ np.linalg.inv(covariance + sigma**2 * np.eye(3)) @ covariance


def test_between_levels_the_neighbours_are_blended_smoothly() -> None:
    """What each adds to the best linear denoiser, at the place of the same relative size."""
    fitted = (2.0, 0.5, 0.1)
    model, mean = fit(POINTS, fitted, 32), POINTS.mean
    x = POINTS.points[:4]
    alone = {s: fit(POINTS, [s], 32) for s in fitted}
    for s in fitted:
        np.testing.assert_allclose(model(x, s), alone[s](x, s), rtol=0, atol=1e-13)

    def blended(sigma: float, shares: dict[float, float]) -> Any:
        result = mean + linear(x - mean, sigma)
        for s, share in shares.items():
            y = (x - mean) * np.hypot(POINTS.scale, s) / np.hypot(POINTS.scale, sigma)
            result = result + share * (alone[s](mean + y, s) - mean - linear(y, s))
        return result

    np.testing.assert_allclose(model(x, 1.0), blended(1.0, {2.0: 0.5, 0.5: 0.5}), atol=1e-13)
    np.testing.assert_allclose(model(x, 50.0), blended(50.0, {2.0: 1.0}), atol=1e-13)
    np.testing.assert_allclose(model(x, 0.01), blended(0.01, {0.1: 1.0}), atol=1e-13)
    each = np.array([3.0, 1.0, 0.3, 0.05])
    rows = np.vstack([model(x[k], each[k]) for k in range(4)])
    np.testing.assert_allclose(model(x, each), rows, rtol=0, atol=1e-13)


def test_between_levels_a_model_is_nearly_as_good_as_one_fitted_there() -> None:
    """Outputs that are blended as they are would be off by shares of D, not of its curved part."""
    model, gaps = fit(POINTS, [8.0, 4.0, 2.0, 1.0], 64), []
    for sigma in (5.7, 2.8, 1.4):
        _, noisy = forward(POINTS, sigma, 200, 3)
        there = fit(POINTS, [sigma], 64)(noisy, sigma)
        above, below = (s for s in model.sigmas if abs(np.log2(s / sigma)) < 1)
        plain = 0.5 * (model(noisy, above) + model(noisy, below))
        gap, rough = (np.linalg.norm(each - there) for each in (model(noisy, sigma), plain))
        assert gap < 0.4 * rough
        gaps.append(gap / np.sqrt(200 * POINTS.total_variance))
    assert gaps[0] < 2e-3


def test_a_model_is_a_denoiser() -> None:
    model = fit(an.datasets.two_moons(200, seed=0), n_features=128)
    x = an.noise(5, model, 80.0, 1)
    flow = an.integrate(model, x, 80.0, 0.01, rtol=1e-6)
    assert flow.ok
    assert np.abs(flow.final).max() < 3
    single = model(x.astype(np.float32)[0], 80.0)
    assert single.shape == (2,)
    assert single.dtype == np.float32


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"sigmas": [1.0, 2.0]}, ValueError, "sigmas: got 1.0 followed by 2.0"),
        ({"sigmas": [1.0, 0.0]}, ValueError, "sigmas: got 0.0 followed by 0.0"),
        ({"n_features": 0}, ValueError, "n_features: got 0"),
        ({"n_features": 10**7}, ValueError, "n_features: got"),
        ({"ridge": 0.0}, ValueError, "ridge: got 0.0"),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"frequencies": 3.0}, TypeError, "frequencies: got 3.0"),
        ({"frequencies": (2.0, 1.0)}, ValueError, "frequencies: got 1.0"),
    ],
)
def test_bad_fits(options: dict, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        fit(POINTS, **{"sigmas": [1.0], **options})


def test_dependent_features_need_a_ridge() -> None:
    """200 cosines on a line span far fewer dimensions to rounding."""
    with pytest.raises(ValueError, match=r"^ridge: got 1e-30, expected more.*200 features"):
        fit([[0.0], [1.0]], [1.0], 200, 1e-30)
    assert fit([[0.0], [1.0]], [1.0], 200).losses[0] < 0.25
