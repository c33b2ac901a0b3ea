"""The flow in the data's span: the same trajectories, at the cost of the span."""

from __future__ import annotations

import numpy as np
import pytest

import analytic as an
from analytic import flow
from analytic.span import in_span


def embedded(count: int, rank: int, dim: int, offset: float = 0.0, seed: int = 0) -> np.ndarray:
    """Points in a subspace of `rank` dimensions, turned and moved."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((dim, rank)))[0].T
    return rng.standard_normal((count, rank)) @ turn + offset * rng.standard_normal(dim)


SETS = {
    "fewer points than dimensions": embedded(12, 12, 40),
    "low rank": embedded(300, 5, 40),
    "offset": embedded(30, 30, 60, offset=1e3),
    "two points": embedded(2, 2, 20),
}


@pytest.mark.parametrize("name", SETS)
def test_projection_and_lift_are_inverse(name: str) -> None:
    D = an.OptimalDenoiser(SETS[name])
    reduced = in_span(D)
    assert reduced is not None
    basis = reduced.span.basis
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-13)
    x = D.points.points[:5] + np.random.default_rng(1).standard_normal(
        (min(5, len(D.points)), D.dim)
    )
    z, rest = reduced.project(x)
    np.testing.assert_allclose(reduced.lift(z) + rest, x, atol=1e-12)
    np.testing.assert_allclose(rest @ basis.T, 0, atol=1e-14)
    inside, outside = reduced.project(D.points.points)
    np.testing.assert_allclose(outside, 0, atol=1e-12)
    np.testing.assert_allclose(inside, reduced.denoiser.points.points, atol=1e-12)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("sigma", [0.1, 1.0, 30.0])
def test_denoising_commutes_with_projection(name: str, sigma: float) -> None:
    D = an.OptimalDenoiser(SETS[name])
    reduced = in_span(D)
    assert reduced is not None
    x = an.noise(6, D, sigma, 2) + D.points.points[0]
    z, _ = reduced.project(x)
    size = np.abs(D.points.points).max()
    np.testing.assert_allclose(
        reduced.lift(reduced.denoiser(z, sigma)), D(x, sigma), atol=1e-12 * size / min(sigma, 1.0)
    )


@pytest.mark.parametrize("name", SETS)
def test_the_flow_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    D = an.OptimalDenoiser(SETS[name])
    x = an.noise(8, D, 80.0, 3) + D.points.mean
    levels = [40.0, 5.0, 1.0, 0.2]
    short = an.integrate(D, x, save_at=levels)
    monkeypatch.setattr(flow, "in_span", lambda _: None)
    long = an.integrate(D, x, save_at=levels)
    assert short.ok
    assert long.ok
    assert np.array_equal(short.collapse.index, long.collapse.index)
    size = np.abs(D.points.points).max() + 80
    away = np.abs(short.states - long.states).max(axis=(0, 2))
    assert (away <= 1e-9 * size + short.error + long.error).all()
    np.testing.assert_allclose(short.denoised, long.denoised, atol=1e-7 * size)
    # the end is a data point, bit for bit
    assert np.array_equal(short.final, D.points.points[short.collapse.index])


def test_what_lies_outside_scales_with_the_level() -> None:
    D = an.OptimalDenoiser(SETS["low rank"])
    reduced = in_span(D)
    assert reduced is not None
    x = an.noise(4, D, 80.0, 5)
    path = an.integrate(D, x, 80.0, 0.5)
    first = reduced.project(x)[1]
    for sigma, states in zip(path.sigmas, path.states, strict=True):
        np.testing.assert_allclose(reduced.project(states)[1], sigma / 80 * first, atol=1e-12)


def test_the_span_is_found_once() -> None:
    D = an.OptimalDenoiser(SETS["low rank"])
    assert in_span(D) is in_span(D)


def test_float32_states_stay_float32() -> None:
    D = an.OptimalDenoiser(SETS["low rank"])
    path = an.integrate(D, an.noise(3, D, 80.0, 6).astype(np.float32), rtol=1e-6)
    assert path.states.dtype == path.denoised.dtype == np.float32


@pytest.mark.parametrize(
    "rows",
    [
        np.random.default_rng(7).standard_normal((300, 40)),  # full rank
        embedded(300, 25, 40),  # more than half
        embedded(10, 3, 12),  # few dimensions
        np.zeros((1, 30)),
    ],
)
def test_no_reduction_where_little_is_saved(rows: np.ndarray) -> None:
    assert in_span(an.OptimalDenoiser(rows)) is None


def test_points_that_rounding_would_merge_are_left_alone() -> None:
    rows = embedded(10, 10, 40)
    rows[1] = rows[0]
    rows[1, 0] = np.nextafter(rows[0, 0], 10)
    reduced = in_span(an.OptimalDenoiser(rows))
    assert reduced is None or len(reduced.denoiser.points) == 10
