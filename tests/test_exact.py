"""Closed-form flows against high-precision inversion and their own definitions."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import EPS

from analytic import GaussianDenoiser, OptimalDenoiser, PointSet
from analytic.exact import gaussian_flow, quantile_flow, quantile_gain


def line(seed: int, most: int = 12) -> PointSet:
    rng = np.random.default_rng([7, seed])
    count = int(rng.integers(1, most + 1))
    rows = rng.standard_normal((count, 1)) * 10 ** rng.uniform(-2, 2) + rng.choice([0.0, 30.0])
    return PointSet(rows, np.exp(rng.choice([0.0, 2.0]) * rng.standard_normal(count)))


def tail(points: PointSet, x: mp.mpf, sigma: float, lower: bool) -> mp.mpf:
    """F_σ(x), or 1 - F_σ(x)."""
    sign = 1 if lower else -1
    return mp.fsum(
        mp.mpf(float(w)) * mp.ncdf(sign * (x - mp.mpf(float(p))) / mp.mpf(sigma))
        for w, p in zip(points.weights, points.points[:, 0], strict=True)
    )


def density(points: PointSet, x: mp.mpf, sigma: float) -> mp.mpf:
    return mp.fsum(
        mp.mpf(float(w)) * mp.npdf((x - mp.mpf(float(p))) / mp.mpf(sigma)) / mp.mpf(sigma)
        for w, p in zip(points.weights, points.points[:, 0], strict=True)
    )


@pytest.mark.parametrize("seed", range(24))
def test_quantile_map_against_high_precision(seed: int) -> None:
    """Newton's iteration in 60 digits from the answer; tails down to log F of -1e5.

    Both log-tails are rounded to a few ε(1 + |log F|), which F/p turns into a distance.
    """
    points, rng = line(seed), np.random.default_rng([8, seed])
    start, end = (10 ** rng.uniform(-1, 2, 2)).tolist()
    far = np.array([0.0, 0.3, -2.0, 8.0, -40.0, 450.0])
    x = (points.points[0, 0] + start * far)[:, None]
    found = quantile_flow(points, x, start, end)[:, 0]
    with mp.workdps(60):
        for a, b in zip(x[:, 0].tolist(), found.tolist(), strict=True):
            lower = tail(points, mp.mpf(a), start, True) < 0.5
            target = mp.log(tail(points, mp.mpf(a), start, lower))
            y = mp.mpf(b)
            for _ in range(12):
                mass, slope = tail(points, y, end, lower), density(points, y, end)
                y -= (mp.log(mass) - target) * mass / slope * (1 if lower else -1)
            mass, slope = tail(points, y, end, lower), density(points, y, end)
            assert abs(mp.log(mass) - target) <= 1e-20 * (1 + abs(target))
            size = abs(b) + float(np.abs(points.points).max())
            slack = 16 * EPS * (1 + float(-target)) * float(mass / slope) + 8 * EPS * size
            assert abs(float(y - mp.mpf(b))) <= slack


@given(st.integers(0, 10_000), st.floats(-1, 1.5), st.floats(-1, 1.5), st.floats(-6, 6))
def test_round_trip(seed: int, a: float, b: float, z: float) -> None:
    points, start, end = line(seed), 10.0**a, 10.0**b
    x = points.points[:1] + start * z
    there = quantile_flow(points, x, start, end)
    back = quantile_flow(points, there, end, start)
    gain = max(float(quantile_gain(points, there, end, x, start)[0]), 1.0)
    size = np.abs(points.points).max() + abs(x[0, 0]) + abs(there[0, 0])
    # log F is off by ε(1 + |log F|), F/p is at most σ√(2π)/2 e^{spread} near the bulk
    pile = np.exp(-OptimalDenoiser(points).log_prob(x, start))[0]
    slack = 1e-14 * (1 + z * z + size**2 / min(start, end) ** 2) * min(pile, size * 1e3)
    assert abs(back - x)[0, 0] <= slack + 8 * EPS * gain * size


def test_one_point_scales() -> None:
    x = np.array([[5.0], [-3.0], [2.0]])
    found = quantile_flow([[2.0]], x, 4.0, 0.5)
    np.testing.assert_allclose(found, 2 + (x - 2) / 8, rtol=1e-14)
    np.testing.assert_array_equal(quantile_flow([[2.0]], x, 4.0, 0.0), np.full((3, 1), 2.0))


def test_limits_are_the_points_that_own_the_quantiles() -> None:
    points = PointSet([[3.0], [-1.0], [0.0]], [0.5, 0.2, 0.3])
    from scipy.special import ndtri

    # at enormous σ the data is a point at μ = 1.3, and F a normal distribution function
    sigma, mean = 1e9, 1.3
    for q, expected in (
        (1e-9, -1.0),
        (0.199, -1.0),
        (0.201, 0.0),
        (0.499, 0.0),
        (0.501, 3.0),
        (1 - 1e-9, 3.0),
    ):
        x = np.array([[mean + sigma * ndtri(q)]])
        np.testing.assert_array_equal(quantile_flow(points, x, sigma, 0.0), [[expected]])


def test_limits_in_the_far_tails() -> None:
    """1 - F rounds to 0 and F to 1 there; the other tail decides."""
    points = PointSet([[-1.0], [1.0], [2.0]], [1e-3, 1.0, 1e-12])
    for x, expected in ((60.0, 2.0), (-60.0, -1.0), (1e5, 2.0), (-1e5, -1.0)):
        np.testing.assert_array_equal(quantile_flow(points, [[x]], 1.0, 0.0), [[expected]])


@given(st.integers(0, 10_000), st.floats(-3, 3))
def test_limit_agrees_with_a_tiny_level(seed: int, z: float) -> None:
    points = line(seed)
    x = points.mean[None] + 5.0 * z
    limit = quantile_flow(points, x, 5.0, 0.0)
    rows = np.sort(points.points[:, 0])
    tiny = 1e-6 * (np.diff(rows).min() if len(rows) > 1 else 1.0)
    near = quantile_flow(points, x, 5.0, tiny)
    cut = np.cumsum(points.weights[np.argsort(points.points[:, 0])])
    from scipy.special import ndtr

    level = float(points.weights @ ndtr((x[0, 0] - points.points[:, 0]) / 5.0))
    if np.abs(cut - level).min() > 1e-9:
        assert abs(near - limit)[0, 0] <= 10 * tiny + 4 * EPS * abs(limit)[0, 0]


@given(st.integers(0, 10_000), st.floats(-0.5, 1.5), st.floats(-0.5, 1.5), st.floats(-4, 4))
def test_the_map_is_increasing(seed: int, a: float, b: float, z: float) -> None:
    points, start, end = line(seed), 10.0**a, 10.0**b
    x = points.points[0] + start * (z + np.linspace(-1, 1, 21))[:, None]
    found = quantile_flow(points, x, start, end)[:, 0]
    assert (np.diff(found) >= -1e-12 * (1 + np.abs(found).max())).all()


@pytest.mark.parametrize("seed", range(12))
def test_gain_is_the_derivative(seed: int) -> None:
    points = line(seed)
    unit = points.scale or 1.0
    start, end = 3.0 * unit, 0.7 * unit
    x = points.mean + start * np.array([[-1.2], [0.1], [2.0]])
    y = quantile_flow(points, x, start, end)
    h = 1e-3 * start

    def flow(move: float) -> np.ndarray:
        return quantile_flow(points, x + move, start, end)[:, 0]

    found = (8 * (flow(h) - flow(-h)) - (flow(2 * h) - flow(-2 * h))) / (12 * h)
    gain = quantile_gain(points, x, start, y, end)
    np.testing.assert_allclose(gain, found, rtol=1e-7)
    with mp.workdps(30):
        for k in range(3):
            a, b = mp.mpf(float(x[k, 0])), mp.mpf(float(y[k, 0]))
            true = density(points, a, start) / density(points, b, end)
            assert abs(gain[k] / float(true) - 1) <= 1e-12


def test_two_points_are_symmetric() -> None:
    x = np.array([[0.0], [0.4], [-0.4], [3.0], [-3.0], [1e-8], [-1e-8]])
    for end in (10.0, 0.9, 0.2, 0.0):
        found = quantile_flow([[-1.0], [1.0]], x, 2.0, end)[:, 0]
        # rounding of F over the density between the points
        slack = 8e-16 * (1 + end) * np.exp(0.5 / end**2) if end else 0.0
        assert abs(found[0]) <= slack or end == 0
        np.testing.assert_allclose(found[1::2], -found[2::2], rtol=1e-12, atol=2 * slack)
        assert (found[1::2] > 0).all()


def test_separatrix_of_unequal_weights() -> None:
    """The quantile of the weight of the left point splits the line."""
    points = PointSet([[-1.0], [1.0]], [0.2, 0.8])
    from scipy.optimize import brentq
    from scipy.special import ndtr

    split = brentq(lambda x: points.weights @ ndtr((x - points.points[:, 0]) / 3.0) - 0.2, -30, 30)
    found = quantile_flow(points, [[split - 1e-9], [split + 1e-9]], 3.0, 0.0)
    np.testing.assert_array_equal(found, [[-1.0], [1.0]])


@given(st.integers(0, 2**32), st.floats(-2, 2), st.floats(-2, 2))
def test_gaussian_flow(seed: int, a: float, b: float) -> None:
    """Per eigendirection √((l + σ²)/(l + σ0²)), here through matrix square roots."""
    rng = np.random.default_rng(seed)
    root, mean, x = rng.standard_normal((3, 3)), rng.standard_normal(3), rng.standard_normal((4, 3))
    cov, start, end = root @ root.T, 10.0**a, 10.0**b
    found = gaussian_flow(GaussianDenoiser(mean, cov), x, start, end)
    with mp.workdps(30):
        values, vectors = mp.eigsy(mp.matrix(cov.tolist()))
        factor = mp.diag(
            [mp.sqrt((v + mp.mpf(end) ** 2) / (v + mp.mpf(start) ** 2)) for v in values]
        )
        matrix = np.array((vectors * factor * vectors.T).tolist(), dtype=float)
    np.testing.assert_allclose(
        found, mean + (x - mean) @ matrix.T, rtol=1e-9, atol=1e-11 * (1 + end / start)
    )
    back = gaussian_flow(GaussianDenoiser(mean, cov), found, end, start)
    np.testing.assert_allclose(back, x, rtol=1e-9, atol=1e-10 * (1 + start / end))


def test_gaussian_flow_limits() -> None:
    data = GaussianDenoiser([1.0, 2.0], np.diag([4.0, 0.0]))
    x = np.array([[3.0, 5.0]])
    expected = [[1 + 2 * 2 / np.sqrt(4 + 9), 2.0]]
    np.testing.assert_allclose(gaussian_flow(data, x, 3.0, 0.0), expected, rtol=1e-15)
    np.testing.assert_array_equal(gaussian_flow(data, x, 3.0, 3.0), x)
    huge = gaussian_flow(data, x, 1e150, 1e149)
    np.testing.assert_allclose(huge, [[1.2, 2.3]], rtol=1e-14)
    np.testing.assert_allclose(gaussian_flow(data, x[0], 3.0, 0.0), expected[0], rtol=1e-15)


def test_gaussian_flow_solves_the_ode() -> None:
    data = GaussianDenoiser([1.0, 2.0], [[2.0, 0.5], [0.5, 1.0]])
    x, s, h = np.array([[3.0, -1.0]]), 1.5, 1e-3
    slope = (gaussian_flow(data, x, s, s + h) - gaussian_flow(data, x, s, s - h)) / (2 * h)
    np.testing.assert_allclose(slope, (x - data(x, s)) / s, rtol=1e-6)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (([[0.0, 1.0]], [[0.0]], 1.0, 0.5), "points: got D = 2"),
        (([[0.0]], [[0.0, 1.0]], 1.0, 0.5), "x: got shape"),
        (([[0.0]], [[np.nan]], 1.0, 0.5), "x: got nan"),
        (([[0.0]], [[0.0]], 0.0, 0.5), "sigma: got 0"),
        (([[0.0]], [[0.0]], 1.0, -0.5), "sigma_to: got -0.5"),
        (([[0.0]], [[0.0]], np.inf, 0.5), "sigma: got inf"),
    ],
)
def test_bad_input(args: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        quantile_flow(*args)
