"""Modes, basins and the scales of collapse, against closed forms and loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import OptimalDenoiser, PointSet, collapse, exact

PAIR = OptimalDenoiser([[-1.0], [1.0]])


def test_modes_of_two_points() -> None:
    """Below 1 the modes are ±m with m = tanh(m/h²), and 0 is a minimum; above there is one."""
    h = 0.8
    found = an.modes(PAIR, h, [[0.3], [-2.0], [0.0], [5.0]])
    m = found.points[0, 0]
    assert m == pytest.approx(np.tanh(m / h**2), abs=1e-9)
    np.testing.assert_allclose(found.points[:, 0], [m, -m, 0.0], atol=1e-8)
    np.testing.assert_array_equal(found.maximum, [True, True, False])
    np.testing.assert_array_equal(found.counts, [2, 1, 1])
    np.testing.assert_allclose(found.weights, [0.5, 0.25, 0.25])
    np.testing.assert_array_equal(found.label, [0, 1, 2, 0])
    above = an.modes(PAIR, 1.1)
    np.testing.assert_allclose(above.points, [[0.0]], atol=1e-8)
    assert above.maximum.all()


def test_modes_carry_the_weights_of_the_data() -> None:
    data = PointSet([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [5.0, 0.1]], [1.0, 2.0, 3.0, 6.0])
    found = an.modes(OptimalDenoiser(data), 0.5)
    np.testing.assert_allclose(found.weights, [0.75, 0.25], rtol=1e-14)
    # so near to one another, each pair's mode is its mean up to (0.1/0.5)³
    np.testing.assert_allclose(found.points, [[5.0, 0.2 / 3], [0.2 / 3, 0.0]], atol=2e-4)
    np.testing.assert_array_equal(found.label, [1, 1, 0, 0])


def test_modes_by_differences_and_of_what_does_not_converge() -> None:
    plain = an.modes(lambda x, s: PAIR(x, s), 0.8, [[0.3], [0.0]])
    np.testing.assert_array_equal(plain.maximum, [True, False])
    short = an.modes(PAIR, 0.8, [[0.3], [0.0]], max_steps=1)
    np.testing.assert_array_equal(short.label, [-1, 0])
    np.testing.assert_allclose(short.weights, [0.5])


def test_merging_has_a_length() -> None:
    near = OptimalDenoiser([[0.0], [1.0]])
    assert len(an.modes(near, 0.1).points) == 2
    assert len(an.modes(near, 0.1, merge=11.0).points) == 1


def test_basins_of_two_points_follow_the_quantile() -> None:
    data = PointSet([[-1.0], [1.0]], [0.3, 0.7])
    x = np.linspace(-60, 60, 41)[:, None]
    found = an.basins(OptimalDenoiser(data), x, 20.0)
    ends = exact.quantile_flow(data, x, 20.0, 0.0)
    np.testing.assert_array_equal(data.points[found.index], ends)
    assert found.fraction == 1.0
    assert (found.sigma <= 20).all()


def test_shares_of_basins_are_the_weights() -> None:
    """The flow carries p_σ to the data; five standard errors of 4,000 draws."""
    data = PointSet([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]], [0.5, 0.3, 0.2])
    rng = np.random.default_rng(0)
    x = data.sample(4000, rng) + 3.0 * rng.standard_normal((4000, 2))
    shares = an.basins(OptimalDenoiser(data), x, 3.0).shares(3)
    error = np.sqrt(data.weights * (1 - data.weights) / 4000)
    assert (np.abs(shares - data.weights) < 5 * error).all()
    assert shares.sum() == pytest.approx(1.0)


def test_perplexity_against_a_loop() -> None:
    data = PointSet(np.random.default_rng(1).standard_normal((7, 2)), np.arange(1.0, 8.0))
    found = collapse.perplexity(OptimalDenoiser(data), [0.1, 0.7, 30.0], count=5, seed=3)
    rng = np.random.default_rng(3)
    clean = data.sample(5, rng)
    z = rng.standard_normal(clean.shape)
    for k, s in enumerate((0.1, 0.7, 30.0)):
        values = []
        for x in clean + s * z:
            u = data.weights * np.exp(-((x - data.points) ** 2).sum(axis=1) / (2 * s * s))
            u = u / u.sum()
            values.append(-sum(w * np.log(w) for w in u if w > 0))
        assert found.entropy[k] == pytest.approx(np.mean(values), abs=1e-12)
        assert found.error[k] == pytest.approx(np.std(values, ddof=1) / np.sqrt(5), abs=1e-12)
    np.testing.assert_allclose(found.effective, np.exp(found.entropy))


def test_entropy_bound() -> None:
    """By hand for ±1; never above the entropy, and tight far up, where u is π."""
    bound = collapse.entropy_bound([[-1.0], [1.0]], [0.5, 2.0])
    np.testing.assert_allclose(bound, np.log(2) - 0.5 * np.log([5.0, 1.25]), rtol=1e-14)
    data = PointSet(np.random.default_rng(2).standard_normal((30, 3)), np.arange(1.0, 31.0))
    far = collapse.entropy_bound(data, 1e6)[0]
    assert far == pytest.approx(-(data.weights @ np.log(data.weights)), abs=1e-9)
    levels = np.geomspace(0.05, 10, 12)
    found = collapse.perplexity(OptimalDenoiser(data), levels, count=400)
    assert (found.entropy + 5 * found.error >= collapse.entropy_bound(data, levels)).all()


@pytest.mark.parametrize(
    ("points", "level", "rtol"),
    [
        ([[-1.0], [1.0]], 1.0, 0.01),  # the second derivative at 0 changes sign
        ([[-3.0], [0.0], [3.0]], 1.4527, 0.005),  # a fold beside the middle mode; √λ_1 = 2.449
        ([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]], 1.0, 0.01),
    ],
)
def test_speciation(points: Any, level: float, rtol: float) -> None:
    assert collapse.speciation(points, rtol=1e-3) == pytest.approx(level, rel=rtol)
    scaled = PointSet(1e-4 * np.array(points) + 7e-4)
    assert collapse.speciation(scaled, rtol=1e-3) == pytest.approx(1e-4 * level, rel=rtol)


def test_the_fold_of_three_points() -> None:
    """The value above, by counting sign changes of p' on a fine grid."""
    points = np.array([-3.0, 0.0, 3.0])
    x = np.linspace(-4, 4, 200_001)[:, None]

    def count(s: float) -> int:
        slope = ((points - x) * np.exp(-((x - points) ** 2) / (2 * s * s))).sum(axis=1)
        signs = np.sign(slope[slope != 0])
        return int((np.diff(signs) < 0).sum())

    assert count(1.4527 * 0.998) > 1
    assert count(1.4527 * 1.002) == 1


def test_scales_of_sets() -> None:
    """Moons of 500 points: perplexity passes 10, 2 and 1.1 at .044, .013 and .004."""
    found = collapse.scales(an.datasets.two_moons(500, seed=0), rtol=0.02)
    np.testing.assert_allclose(found.collapse, [0.044, 0.013, 0.004], rtol=0.06)
    assert found.speciation / found.principal == pytest.approx(0.54, abs=0.02)
    pair = collapse.scales([[-1.0], [1.0]])
    assert pair.principal == pytest.approx(1.0)
    assert pair.collapse[0] == pair.collapse[1] == 0.0
    assert 0.3 < pair.collapse[2] < 0.6
    assert collapse.scales([[1.0, 2.0]]) == (0.0, 0.0, (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: an.modes(lambda x, s: x, 1.0), ValueError, "starts: got None"),
        (lambda: an.modes(PAIR, -1.0), ValueError, "bandwidth: got -1.0"),
        (lambda: an.modes(PAIR, 1.0, merge=-1.0), ValueError, "merge: got -1.0"),
        (lambda: an.modes(PAIR, 1.0, [[1.0, 2.0]]), ValueError, "starts: got shape"),
        (lambda: an.basins(lambda x, s: x, [[1.0]], 1.0), TypeError, "denoiser: got <function"),
        (lambda: collapse.perplexity(lambda x, s: x, 1.0), TypeError, "denoiser: got function"),
        (lambda: collapse.perplexity(PAIR, 0.0), ValueError, "sigmas: got 0.0"),
        (lambda: collapse.perplexity(PAIR, 1.0, count=1), ValueError, "count: got 1"),
        (lambda: collapse.entropy_bound(PAIR.points, -1.0), ValueError, "sigmas: got -1.0"),
        (lambda: collapse.scales(PAIR.points, rtol=0.9), ValueError, "rtol: got 0.9"),
        (lambda: collapse.speciation(PAIR.points, starts=1), ValueError, "starts: got 1"),
    ],
)
def test_bad_input(call: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        call()
