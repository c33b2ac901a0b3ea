"""Closed-form flows against high-precision inversion and their own definitions."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import EPS

from analytic import (
    GaussianDenoiser,
    GaussianMixtureDenoiser,
    OptimalDenoiser,
    PointSet,
    integrate,
)
from analytic.exact import (
    gaussian_flow,
    mixture_flow,
    one_point_flow,
    product_flow,
    quantile_flow,
    quantile_gain,
    two_point_flow,
)


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


# Mixtures, and separatrices between points that are far apart


def cloud(seed: int, atoms: bool = False) -> GaussianMixtureDenoiser:
    """A random mixture on a line, with or without points among its components."""
    rng = np.random.default_rng([9, seed])
    count = int(rng.integers(1, 7))
    means = rng.standard_normal((count, 1)) * 10 ** rng.uniform(-1, 1) + rng.choice([0.0, 30.0])
    widths = 10 ** rng.uniform(-2, 0.5, count)
    if atoms:
        widths[rng.random(count) < 0.5] = 0.0
    return GaussianMixtureDenoiser(np.exp(rng.standard_normal(count)), means, widths**2)


def wide(mixture: GaussianMixtureDenoiser, sigma: mp.mpf) -> list[tuple[mp.mpf, mp.mpf, mp.mpf]]:
    """(π, m, h) of every component at level σ."""
    rows = zip(mixture.weights, mixture.means[:, 0], mixture.covariances, strict=True)
    return [
        (mp.mpf(float(w)), mp.mpf(float(m)), mp.sqrt(mp.mpf(float(v)) + mp.mpf(sigma) ** 2))
        for w, m, v in rows
    ]


def excess(mixture: GaussianMixtureDenoiser, a: float, y: mp.mpf, sigma: float) -> mp.mpf:
    """F_σ(y) less the weight of the components left of a, as a difference of tails."""
    return mp.fsum(
        -w * mp.ncdf((m - y) / h) if m < a else w * mp.ncdf((y - m) / h)
        for w, m, h in wide(mixture, sigma)
    )


def check_the_map(mixture: GaussianMixtureDenoiser, a: float, b: float, start, end) -> None:
    """b is where the flow takes a, up to what a few ε in the tails and in a - m_i do.

    Both tails are sums of terms off by ε(1 + |log|), which p turns into a distance.
    """
    target = excess(mixture, a, mp.mpf(a), start)
    y = mp.mpf(b)
    for _ in range(40):
        slope = mp.fsum(w * mp.npdf((y - m) / h) / h for w, m, h in wide(mixture, end))
        # a Newton step from afar may leave the basin: no farther than one width
        step = (excess(mixture, a, y, end) - target) / slope
        y -= max(-mp.mpf(end), min(mp.mpf(end), step)) if end else step

    def blur(x: mp.mpf, sigma: float) -> mp.mpf:
        terms = [w * mp.ncdf(-abs(x - m) / h) for w, m, h in wide(mixture, sigma)]
        return mp.fsum(t * (1 - mp.log(t)) for t in terms)

    rest = abs(excess(mixture, a, y, end) - target)
    assert rest <= mp.mpf(10) ** -25 * (abs(target) + blur(y, end))
    slope = mp.fsum(w * mp.npdf((y - m) / h) / h for w, m, h in wide(mixture, end))
    size = abs(b) + float(np.abs(mixture.means).max())
    slack = 16 * EPS * float((blur(mp.mpf(a), start) + blur(y, end)) / slope) + 8 * EPS * size
    assert abs(float(y - mp.mpf(b))) <= slack, (a, b, float(y), slack)


@pytest.mark.parametrize("seed", range(16))
def test_mixture_flow_against_high_precision(seed: int) -> None:
    mixture, rng = cloud(seed, atoms=seed % 2 == 1), np.random.default_rng([10, seed])
    start, end = (10 ** rng.uniform(-1, 1.5, 2)).tolist()
    if seed % 4 == 0:
        end = 0.0
    far = np.array([0.0, 0.3, -2.0, 8.0, -40.0, 300.0])
    x = (mixture.means[0, 0] + start * far)[:, None]
    found = mixture_flow(mixture, x, start, end)[:, 0]
    with mp.workdps(60):
        for a, b in zip(x[:, 0].tolist(), found.tolist(), strict=True):
            check_the_map(mixture, a, b, start, end)


@pytest.mark.parametrize("end", [0.25, 0.7, 3.0])
def test_between_points_that_are_far_apart(end: float) -> None:
    """Around a separatrix 40σ from both points F is flat to 1e-350, and still tells the sides."""
    points = PointSet([[-40.0], [40.0], [55.0]], [0.3, 0.5, 0.2])
    mixture = GaussianMixtureDenoiser(points.weights, points.points, np.zeros(3))
    split = -np.log(0.5 / 0.3) / 80
    x = split + np.array([[-1e-2], [-1e-9], [1e-9], [1e-2], [0.3]])
    found = quantile_flow(points, x, 1.0, end)[:, 0]
    with mp.workdps(60):
        for a, b in zip(x[:, 0].tolist(), found.tolist(), strict=True):
            check_the_map(mixture, a, b, 1.0, end)
    # log R = log L at the split, but for the last terms of the asymptotic series
    ends = quantile_flow(points, x, 1.0, 0.0)[:, 0]
    np.testing.assert_array_equal(ends[[0, 3, 4]], [-40.0, 40.0, 40.0])
    run = integrate(OptimalDenoiser(points), x, 1.0, 0.0)
    np.testing.assert_array_equal(run.final[[0, 3, 4], 0], ends[[0, 3, 4]])


def test_the_middle_stays_in_the_middle() -> None:
    for half in (1.0, 30.0, 1e3, 1e6):
        points = PointSet([[-half], [half]])
        for end in (2.0, 0.7, 0.1):
            assert abs(quantile_flow(points, [[0.0]], 1.0, end)[0, 0]) <= EPS * half
        np.testing.assert_array_equal(
            quantile_flow(points, [[1e-7], [-1e-7]], 1.0, 0.0), [[half], [-half]]
        )


@pytest.mark.parametrize("seed", range(6))
def test_mixture_flow_against_the_integrator(seed: int) -> None:
    mixture = cloud(seed)
    x = mixture.means[0] + 20.0 * np.array([[-1.7], [-0.2], [0.4], [2.5]])
    run = integrate(mixture, x, 20.0, 0.05, rtol=1e-10)
    found = mixture_flow(mixture, x, 20.0, 0.05)
    gain = quantile_gain(mixture, x, 20.0, found, 0.05)
    slack = 1e-9 * (1 + np.abs(found).max()) + 1e-11 * gain[:, None]
    assert (np.abs(run.final - found) <= slack + 10 * run.error[:, None]).all()
    back = mixture_flow(mixture, found, 0.05, 20.0)
    np.testing.assert_allclose(back, x, rtol=1e-10, atol=1e-9)


def test_a_mixture_of_one_flows_as_a_gaussian() -> None:
    one = GaussianMixtureDenoiser(None, [[3.0]], [0.25])
    x = np.array([[-1e6], [2.0], [3.0], [3.5], [700.0]])
    for end in (0.0, 0.1, 5.0, 1e3):
        gauss = gaussian_flow(GaussianDenoiser([3.0], [[0.25]]), x, 2.0, end)
        np.testing.assert_allclose(mixture_flow(one, x, 2.0, end), gauss, rtol=1e-13, atol=1e-13)


def test_points_are_a_mixture_without_widths() -> None:
    points = line(5)
    mixture = GaussianMixtureDenoiser(points.weights, points.points, np.zeros(len(points)))
    x = points.mean + np.linspace(-9, 9, 7)[:, None]
    for end in (0.0, 0.3, 7.0):
        np.testing.assert_array_equal(
            mixture_flow(mixture, x, 2.0, end), quantile_flow(points, x, 2.0, end)
        )


def test_a_point_in_a_cloud_keeps_its_interval_of_quantiles() -> None:
    """½ δ(0) + ½ N(0, 1) at level 0: quantiles ¼ to ¾ are the point, the others the cloud's."""
    from scipy.special import ndtr, ndtri

    mixture = GaussianMixtureDenoiser([1.0, 1.0], [[0.0], [0.0]], [0.0, 1.0])
    x = np.array([[-3.0], [-1.2], [-0.5], [0.0], [0.5], [1.2], [3.0], [25.0]])
    q = 0.5 * (ndtr(x / 1.0) + ndtr(x / np.sqrt(2.0)))
    found = mixture_flow(mixture, x, 1.0, 0.0)
    expected = np.where(q < 0.25, ndtri(np.minimum(2 * q, 1)), ndtri(np.maximum(2 * q - 1, 0)))
    inside = (q >= 0.25) & (q <= 0.75)
    np.testing.assert_array_equal(found[inside], 0.0)
    outside = ~inside[:, 0] & (x[:, 0] < 20)
    np.testing.assert_allclose(found[outside], expected[outside], rtol=1e-12)
    np.testing.assert_allclose(found[-1], 25 / np.sqrt(2), rtol=2e-3)


@pytest.mark.parametrize("seed", range(8))
def test_gain_of_a_mixture_is_the_derivative(seed: int) -> None:
    mixture, start, end = cloud(seed, atoms=True), 2.0, 0.6
    x = mixture.means[0] + start * np.array([[-1.2], [0.1], [2.0]])
    y, h = mixture_flow(mixture, x, start, end), 2e-3
    moved = [mixture_flow(mixture, x + k * h, start, end)[:, 0] for k in (1, -1, 2, -2)]
    found = (8 * (moved[0] - moved[1]) - (moved[2] - moved[3])) / (12 * h)
    gain = quantile_gain(mixture, x, start, y, end)
    np.testing.assert_allclose(gain, found, rtol=1e-5, atol=1e-9)
    logs = mixture.log_prob(x, start) - mixture.log_prob(y, end)
    np.testing.assert_allclose(gain, np.exp(logs), rtol=1e-11)


# One point, two points, products


def test_one_point_flow() -> None:
    x = np.array([[5.0, 1.0], [-3.0, 4.0]])
    found = one_point_flow([2.0, 4.0], x, 4.0, 0.5)
    np.testing.assert_array_equal(found, [2.0, 4.0] + (x - [2.0, 4.0]) / 8)
    np.testing.assert_array_equal(one_point_flow([2.0, 4.0], x, 4.0, 0.0), [[2.0, 4.0]] * 2)
    np.testing.assert_array_equal(one_point_flow([2.0, 4.0], x[0], 4.0, 8.0), [8.0, -2.0])
    run = integrate(OptimalDenoiser([[2.0, 4.0]]), x, 4.0, 0.5)
    np.testing.assert_allclose(run.final, found, rtol=1e-13)


@given(st.integers(0, 10_000), st.floats(-1, 1), st.floats(-1, 1))
def test_two_point_flow_is_the_quantile_map_along_the_segment(
    seed: int, a: float, b: float
) -> None:
    rng, start, end = np.random.default_rng(seed), 10.0**a, 10.0**b
    dim, offset = int(rng.integers(1, 6)), rng.choice([0.0, 100.0])
    rows = rng.standard_normal((2, dim)) + offset
    points = PointSet(rows, [1.0, rng.choice([1.0, 20.0])])
    x = rows.mean(axis=0) + start * rng.standard_normal((5, dim))
    found = two_point_flow(points, x, start, end)
    unit = (rows[1] - rows[0]) / np.linalg.norm(rows[1] - rows[0])
    nodes = PointSet([[0.0], [float((rows[1] - rows[0]) @ unit)]], points.weights)
    along = ((x - rows[0]) @ unit)[:, None]
    moved = quantile_flow(nodes, along, start, end)
    across = (x - rows[0]) - along * unit
    gain = quantile_gain(nodes, along, start, moved, end).max()
    slack = 1e-13 * (1 + offset) * (1 + gain) * (1 + end / start)
    expected = rows[0] + moved * unit + across * (end / start)
    np.testing.assert_allclose(found, expected, rtol=0, atol=slack)
    ends = two_point_flow(points, x, start, 0.0)
    near = quantile_flow(nodes, along, start, 0.0)[:, 0] > 0
    np.testing.assert_array_equal(ends, rows[near.astype(int)])


@pytest.mark.parametrize("weight", [1.0, 0.05])
def test_two_point_flow_against_the_integrator(weight: float) -> None:
    rng = np.random.default_rng(3)
    points = PointSet(rng.standard_normal((2, 4)), [1.0, weight])
    denoiser, x = OptimalDenoiser(points), 5.0 * rng.standard_normal((12, 4))
    run = integrate(denoiser, x, 5.0, 0.0, rtol=1e-10)
    np.testing.assert_array_equal(run.final, two_point_flow(points, x, 5.0, 0.0))
    for end in (1.0, 0.2):
        run = integrate(denoiser, x, 5.0, end, rtol=1e-10)
        found = two_point_flow(points, x, 5.0, end)
        assert (np.linalg.norm(run.final - found, axis=1) <= 1e-9 + 2 * run.error).all()
        np.testing.assert_allclose(two_point_flow(points, found, end, 5.0), x, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(
        two_point_flow(points, x[0], 5.0, 1.0), two_point_flow(points, x, 5.0, 1.0)[0]
    )


def test_product_flow_against_the_integrator() -> None:
    """A product set of 3 × 2 × 4 points whose weights are products."""
    rng = np.random.default_rng(4)
    lines = [
        PointSet(rng.standard_normal((count, 1)), rng.uniform(0.2, 1, count)) for count in (3, 2, 4)
    ]
    grid = np.stack(np.meshgrid(*(line.points[:, 0] for line in lines), indexing="ij"), axis=-1)
    weights = np.einsum("i,j,k->ijk", *(line.weights for line in lines))
    points = PointSet(grid.reshape(-1, 3), weights.ravel())
    denoiser, x = OptimalDenoiser(points), 4.0 * rng.standard_normal((10, 3))
    run = integrate(denoiser, x, 4.0, 0.3, rtol=1e-10)
    found = product_flow(lines, x, 4.0, 0.3)
    assert (np.linalg.norm(run.final - found, axis=1) <= 1e-9 + 2 * run.error).all()
    gains = [
        quantile_gain(line, x[:, [d]], 4.0, found[:, [d]], 0.3) for d, line in enumerate(lines)
    ]
    logs = denoiser.log_prob(x, 4.0) - denoiser.log_prob(found, 0.3)
    np.testing.assert_allclose(np.log(np.prod(gains, axis=0)), logs, rtol=1e-10, atol=1e-11)
    run = integrate(denoiser, x, 4.0, 0.0)
    np.testing.assert_array_equal(run.final, product_flow(lines, x, 4.0, 0.0))


def test_product_of_points_and_clouds() -> None:
    """Coordinates of any kind, against a mixture with those marginals and the integrator."""
    cloud_ = GaussianMixtureDenoiser([0.4, 0.6], [[-1.0], [1.5]], [0.3, 0.1])
    found = product_flow(
        [cloud_, [[0.0], [2.0]]], x := np.array([[1.0, 3.0], [-4.0, 0.7]]), 3.0, 0.4
    )
    means = np.array([[-1.0, 0.0], [1.5, 0.0], [-1.0, 2.0], [1.5, 2.0]])
    widths = np.array([[0.3, 0.0], [0.1, 0.0], [0.3, 0.0], [0.1, 0.0]])
    both = GaussianMixtureDenoiser([0.2, 0.3, 0.2, 0.3], means, widths)
    run = integrate(both, x, 3.0, 0.4, rtol=1e-11)
    np.testing.assert_allclose(found, run.final, rtol=1e-9, atol=1e-9)
    single = product_flow([cloud_, [[0.0], [2.0]]], x[0], 3.0, 0.4)
    np.testing.assert_array_equal(single, found[0])


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


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: one_point_flow([[0.0]], [[0.0]], 1.0, 0.5), ValueError, "point: got shape"),
        (lambda: one_point_flow([0.0], [[0.0]], 0.0, 0.5), ValueError, "sigma: got 0"),
        (lambda: two_point_flow([[0.0]], [[0.0]], 1.0, 0.5), ValueError, "points: got 1 points"),
        (
            lambda: two_point_flow([[0.0], [1.0]], [[0.0, 1.0]], 1.0, 0.5),
            ValueError,
            "x: got shape",
        ),
        (lambda: product_flow([], [[0.0]], 1.0, 0.5), TypeError, "lines: got"),
        (lambda: product_flow([[[0.0]]], [[0.0, 1.0]], 1.0, 0.5), ValueError, "x: got shape"),
        (
            lambda: product_flow([[[0.0]], [[0.0, 1.0]]], [[0.0, 1.0]], 1.0, 0.5),
            ValueError,
            r"lines\[1\]: got D = 2",
        ),
        (lambda: mixture_flow([[0.0]], [[0.0]], 1.0, 0.5), TypeError, "mixture: got"),
        (
            lambda: mixture_flow(
                GaussianMixtureDenoiser(None, [[0.0, 1.0]], [1.0]), [[0.0, 1.0]], 1.0, 0.5
            ),
            ValueError,
            "mixture: got D = 2",
        ),
    ],
)
def test_refusals(call, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        call()
