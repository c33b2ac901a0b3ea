"""Paths of latents with what they decode to, against ends and places that are known exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

import analytic as an
from analytic import latents

LINE = an.OptimalDenoiser(an.PointSet([[-1.0], [0.0], [2.0]], [0.2, 0.5, 0.3]))
MOONS = an.OptimalDenoiser(an.datasets.two_moons(100, seed=1))


def boundaries(sigma: float) -> np.ndarray:
    """Where the flow on a line divides: the distribution function is constant along it (C4)."""
    points, weights = LINE.points.points[:, 0], LINE.points.weights
    found = []
    for share in np.cumsum(weights)[:-1]:
        low, high = -100 * sigma, 100 * sigma
        for _ in range(200):
            middle = 0.5 * (low + high)
            below = weights @ ndtr((middle - points) / sigma) < share
            low, high = (middle, high) if below else (low, middle)
        found.append(middle)
    return np.array(found)


@pytest.mark.parametrize("shares", [2, 3, 17])
@pytest.mark.parametrize("sigma", [3.0, 80.0])
def test_switches_on_a_line_are_where_the_distribution_function_says(
    shares: int, sigma: float
) -> None:
    """From far left to far right and back: with two shares one bracket hides both changes."""
    ends = np.array([[-3.0 * sigma], [2.5 * sigma]])
    found = an.decode(LINE, ends, ends[::-1], shares, how="linear", sigma_max=sigma, tol=1e-9)
    assert found.switches is not None and found.index is not None
    np.testing.assert_array_equal(found.index[[0, -1]], [[0, 2], [2, 0]])
    up = (boundaries(sigma) + 3 * sigma) / (5.5 * sigma)
    np.testing.assert_array_equal(found.switches.row, [0, 0, 1, 1])
    np.testing.assert_allclose(found.switches.share, [*up, *(1 - up)[::-1]], atol=1e-8)
    np.testing.assert_array_equal(found.switches.before, [0, 1, 2, 1])
    np.testing.assert_array_equal(found.switches.after, [1, 2, 1, 0])
    assert (found.switches.high - found.switches.low <= 1e-9).all()
    assert len(found.switches) == 4


@pytest.mark.parametrize("how", ["linear", "spherical", "variance_preserving"])
def test_decoded_paths(how: str) -> None:
    a, b = (an.noise(3, like=MOONS, sigma=80.0, seed=s) for s in (1, 2))
    shares = np.array([0.0, 0.2, 0.21, 0.9])
    found = an.decode(MOONS, a, b, shares, how=how, tol=1e-3, estimate_error=True)
    path = getattr(latents, how)(a, b, shares)
    np.testing.assert_array_equal(found.latents, path)
    np.testing.assert_allclose(found.norms, np.linalg.norm(path, axis=2) / (80 * np.sqrt(2)))
    assert found.index is not None and found.certified is not None and found.certified.all()
    assert (found.result == 0).all() and (found.error < 1e-8).all()
    for k in range(4):
        whole = an.integrate(MOONS, path[k], estimate_error=False)
        np.testing.assert_array_equal(found.ends[k], whole.final)
        assert whole.collapse is not None
        np.testing.assert_array_equal(found.index[k], whole.collapse.index)
    # walking over the switches of a path one meets every saved end, and each bracket is true
    switches = found.switches
    assert switches is not None and (switches.before != switches.after).all()
    low = latents.rowwise(how, a[switches.row], b[switches.row], switches.low)
    np.testing.assert_array_equal(an.basins(MOONS, low, 80.0).index, switches.before)
    high = latents.rowwise(how, a[switches.row], b[switches.row], switches.high)
    np.testing.assert_array_equal(an.basins(MOONS, high, 80.0).index, switches.after)
    for row in range(3):
        own = switches.row == row
        assert (np.diff(switches.low[own]) > 0).all()
        for k, share in enumerate(shares):
            passed = switches.high[own] <= share
            last = switches.after[own][passed][-1] if passed.any() else found.index[0, row]
            assert last == found.index[k, row]


def test_one_pair_and_a_stop_before_the_data() -> None:
    a, b = (an.noise(1, like=MOONS, sigma=10.0, seed=s)[0] for s in (3, 4))
    found = an.decode(MOONS, a, b, 5, sigma_max=10.0, sigma_min=0.1, tol=1.0)
    assert found.latents.shape == found.ends.shape == (5, 1, 2)
    truth = an.integrate(MOONS, found.latents[:, 0], 10.0, 0.1)
    np.testing.assert_allclose(found.ends[:, 0], truth.final, atol=1e-9)
    assert found.index is not None and found.switches is not None
    # with this tolerance brackets stay as the shares gave them
    changes = np.flatnonzero(np.diff(found.index[:, 0]))
    np.testing.assert_array_equal(found.switches.low, found.shares[changes])
    np.testing.assert_array_equal(found.switches.high, found.shares[changes + 1])
    coarse = an.decode(MOONS, a.astype(np.float32), b, 5, sigma_max=10.0, tol=1.0)
    assert coarse.ends.dtype == coarse.latents.dtype == np.float32


def test_other_denoisers_and_samplers_have_ends_only() -> None:
    a, b = (an.noise(4, like=2, sigma=80.0, seed=s) for s in (1, 2))
    gauss = an.GaussianDenoiser([1.0, 0.0], np.eye(2))
    found = an.decode(gauss, a, b, 3, sigma_min=0.01)
    factor = np.sqrt((1 + 1e-4) / (1 + 6400))
    np.testing.assert_allclose(
        found.ends, gauss.mean + factor * (found.latents - gauss.mean), atol=1e-9
    )
    assert found.index is None and found.certified is None and found.switches is None
    grid = an.grids.polynomial(12)
    fast = an.decode(MOONS, a, b, 3, sigmas=grid, solver="dpmpp_2m")
    one = an.sample(MOONS, fast.latents[1], grid, "dpmpp_2m")
    np.testing.assert_allclose(fast.ends[1], one.final, rtol=0, atol=1e-12)
    assert fast.index is None and fast.switches is None and np.isnan(fast.error).all()


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"shares": 1}, ValueError, "shares"),
        ({"shares": [0.5, 0.2]}, ValueError, "shares: .*ascending"),
        ({"shares": [0.5, 1.2]}, ValueError, "shares"),
        ({"shares": [[0.5]]}, ValueError, "shares"),
        ({"shares": []}, ValueError, "shares"),
        ({"how": "cubic"}, ValueError, "how: got 'cubic'"),
        ({"how": 3}, TypeError, "how"),
        ({"tol": 0.0}, ValueError, "tol"),
        ({"sigma_max": 0.0}, ValueError, "sigma_max"),
        ({"sigma_min": 90.0}, ValueError, "sigma_max: got 80.0"),
        ({"sigmas": [40.0, 1.0]}, ValueError, "sigmas: got a first level of 40.0"),
        ({"b": np.ones((2, 2))}, ValueError, "b: got shape"),
        ({"b": np.ones((3, 3))}, ValueError, "b: got shape"),
        ({"estimate_error": 1}, TypeError, "estimate_error"),
    ],
)
def test_bad_input(options: dict[str, Any], kind: type[Exception], words: str) -> None:
    a, b = (an.noise(3, like=MOONS, sigma=80.0, seed=s) for s in (1, 2))
    with pytest.raises(kind, match=f"^{words}"):
        an.decode(MOONS, **({"a": a, "b": b} | options))


def test_rowwise() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 4, 3))
    shares = np.array([0.0, 0.3, 0.7, 1.0])
    for how in latents.PATHS:
        found = latents.rowwise(how, a, b, shares)
        for k, share in enumerate(shares):
            np.testing.assert_array_equal(found[k], getattr(latents, how)(a, b, share)[k])
    for bad in (0.5, [0.5]):
        with pytest.raises(ValueError, match="share"):
            latents.rowwise("linear", a, b, bad)
