"""Geometry of trajectories: closed forms and invariances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytic import GaussianDenoiser, OptimalDenoiser, PointSet, field, geometry, integrate


def paths(seed: int, steps: int = 9, count: int = 3, dim: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((steps, count, dim)).cumsum(axis=0)


def arc(angle: float, radius: float, steps: int = 101) -> np.ndarray:
    t = np.linspace(-angle / 2, angle / 2, steps)
    return radius * np.stack([np.sin(t), np.cos(t), np.zeros_like(t)], axis=1)


@given(st.integers(0, 2**32), st.floats(-3, 3), st.integers(1, 6))
def test_a_straight_line_does_not_deviate(seed: int, exponent: float, dim: int) -> None:
    rng = np.random.default_rng(seed)
    start, direction = rng.standard_normal((2, dim))
    line = start + 10.0**exponent * np.sort(rng.uniform(0, 1, 20))[:, None] * direction
    size = np.abs(line).max()
    assert geometry.deviation(line).max() <= 8e-16 * np.sqrt(dim) * size * 4
    np.testing.assert_allclose(geometry.chord(line), np.linalg.norm(line[-1] - line[0]), rtol=1e-15)


def test_a_line_explains_all_its_variance() -> None:
    line = np.array([1.0, -2.0, 0.5]) * np.linspace(0, 1, 7)[:, None]
    found = geometry.pca(line)
    np.testing.assert_allclose(found.explained, [[1.0, 0.0, 0.0]], atol=1e-15)
    np.testing.assert_allclose(found.centre, [[0.5, -1.0, 0.25]], rtol=1e-15)
    unit = np.array([1.0, -2.0, 0.5]) / np.sqrt(5.25)
    np.testing.assert_allclose(np.abs(found.components[0, 0] @ unit), 1.0, rtol=1e-14)


@pytest.mark.parametrize("angle", [0.2, 1.0, np.pi])
def test_the_deviation_of_an_arc_is_its_sagitta(angle: float) -> None:
    found = geometry.deviation(arc(angle, 3.0))[:, 0]
    np.testing.assert_allclose(found.max(), 3 * (1 - np.cos(angle / 2)), rtol=1e-13)
    t = np.linspace(-angle / 2, angle / 2, 101)
    np.testing.assert_allclose(found, 3 * (np.cos(t) - np.cos(angle / 2)), atol=1e-14)
    np.testing.assert_allclose(geometry.chord(arc(angle, 3.0)), 6 * np.sin(angle / 2), rtol=1e-14)


def test_deviation_is_from_the_line_not_from_the_segment() -> None:
    path = np.array([[0.0, 0.0], [5.0, 1.0], [-3.0, -2.0], [1.0, 0.0]])
    np.testing.assert_allclose(geometry.deviation(path)[:, 0], [0, 1, 2, 0], rtol=1e-15)


def test_a_closed_path_deviates_from_its_point() -> None:
    path = np.array([[1.0, 1.0], [4.0, 5.0], [1.0, 1.0]])
    np.testing.assert_allclose(geometry.deviation(path)[:, 0], [0.0, 5.0, 0.0], rtol=1e-15)
    np.testing.assert_array_equal(geometry.chord(path), [0.0])


def test_pca_of_an_ellipse() -> None:
    t = np.arange(40) * 2 * np.pi / 40
    path = np.stack([3 * np.cos(t), np.sin(t)], axis=1)
    np.testing.assert_allclose(geometry.pca_spectrum(path), [[0.9, 0.1]], rtol=1e-13)


def test_pca_of_a_point_is_nan() -> None:
    assert np.isnan(geometry.pca_spectrum(np.ones((4, 1, 2)))).all()


@given(st.integers(0, 2**32))
def test_pca_is_the_spectrum_of_the_covariance(seed: int) -> None:
    x = paths(seed)
    found = geometry.pca(x, 4)
    for b in range(x.shape[1]):
        values = np.sort(np.linalg.eigvalsh(np.cov(x[:, b].T)))[::-1]
        np.testing.assert_allclose(found.explained[b], values / values.sum(), atol=1e-13)
        basis = found.components[b]
        np.testing.assert_allclose(basis @ basis.T, np.eye(4), atol=1e-13)
        rest = (x[:, b] - found.centre[b]) @ basis.T
        np.testing.assert_allclose(
            rest.var(axis=0) / rest.var(axis=0).sum(), found.explained[b], atol=1e-13
        )
    np.testing.assert_array_equal(geometry.pca(x, 2).explained, found.explained[:, :2])
    np.testing.assert_array_equal(geometry.pca_spectrum(x), found.explained)


@given(st.integers(0, 2**32), st.integers(-8, 8))
def test_rotation_scale_and_shift(seed: int, power: int) -> None:
    rng = np.random.default_rng(seed)
    x, c = paths(seed), 2.0**power
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    moved = c * x @ turn.T + c * rng.standard_normal(4)
    tolerance = 1e-13 * np.abs(x).max() * c
    for measure in (geometry.deviation, geometry.distances, geometry.chord):
        np.testing.assert_allclose(measure(moved), c * measure(x), rtol=0, atol=10 * tolerance)
    np.testing.assert_allclose(geometry.pca_spectrum(moved), geometry.pca_spectrum(x), atol=1e-12)
    np.testing.assert_allclose(
        geometry.cosines(x[:-1] @ turn.T, c * x[1:] @ turn.T),
        geometry.cosines(x[:-1], x[1:]),
        atol=1e-12,
    )


def test_distances_and_magnitudes() -> None:
    path = np.array([[[3.0, 4.0]], [[0.0, 0.0]], [[6.0, 8.0]]])
    np.testing.assert_array_equal(geometry.magnitudes(path), [[5.0], [0.0], [10.0]])
    np.testing.assert_array_equal(geometry.distances(path), [[5.0], [10.0], [0.0]])
    np.testing.assert_array_equal(geometry.distances(path, [[3.0, 4.0]]), [[0.0], [5.0], [5.0]])


def test_cosines() -> None:
    found = geometry.cosines([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [-2.0, 0.0]], [1.0, 0.0])
    np.testing.assert_allclose(found, [1.0, np.sqrt(0.5), np.nan, -1.0], rtol=1e-15)
    v = np.full(3, 0.1)
    assert geometry.cosines(v, v) <= 1.0


@given(st.integers(0, 2**32))
def test_paths_do_not_mix(seed: int) -> None:
    x = paths(seed)
    for measure in (geometry.deviation, geometry.distances, geometry.magnitudes):
        for b in range(x.shape[1]):
            np.testing.assert_array_equal(measure(x[:, b])[:, 0], measure(x)[:, b])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: geometry.deviation(np.zeros(3)), "states: got shape"),
        (lambda: geometry.deviation(np.zeros((1, 2, 3))), "states: got shape"),
        (lambda: geometry.magnitudes([[np.nan], [0.0]]), "states: got nan"),
        (lambda: geometry.distances(np.zeros((3, 2, 2)), np.zeros(2)), "target: got shape"),
        (lambda: geometry.cosines(np.zeros((3, 2)), np.zeros((4, 2))), "b: got shape"),
        (lambda: geometry.pca(np.zeros((3, 2, 2)), 3), "components: got 3"),
        (lambda: geometry.pca(np.zeros((3, 2, 2)), 0), "components: got 0"),
    ],
)
def test_bad_input(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        call()


# Bends


def helix(radius: float, pitch: float, t: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(t), radius * np.sin(t), pitch * t], axis=-1)


@given(st.integers(0, 2**32), st.floats(0.1, 5), st.floats(-3, 3), st.integers(3, 6))
def test_frenet_of_a_helix(seed: int, radius: float, pitch: float, dim: int) -> None:
    """κ = r/(r² + c²), τ = |c|/(r² + c²), in any space, at any speed."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0][:3]
    t = rng.uniform(-3, 3, 5)
    c, s, o, i = np.cos(t), np.sin(t), np.zeros(5), np.ones(5)
    by_t = [
        np.stack(rows, axis=1) @ turn
        for rows in (
            (-radius * s, radius * c, pitch * i),
            (-radius * c, -radius * s, o),
            (radius * s, -radius * c, o),
        )
    ]
    # by the parameter u with t = u + u²/2 at u = 0: t' = 1, t'' = 1, t''' = 0
    one, two, three = by_t
    found = geometry.frenet(one, two + one, three + 3 * two)
    size = radius**2 + pitch**2
    np.testing.assert_allclose(found.curvature, radius / size, rtol=1e-11)
    np.testing.assert_allclose(found.torsion, abs(pitch) / size, rtol=1e-9, atol=1e-11)


def test_frenet_at_the_edges() -> None:
    line = geometry.frenet([[1.0, 0.0, 0.0]], [[2.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(line.curvature, [0.0])
    assert np.isnan(line.torsion).all()
    plane = geometry.frenet([[1.0, 0.0]], [[0.3, 1.0]], [[0.7, 0.1]])
    np.testing.assert_array_equal(plane.torsion, [0.0])
    still = geometry.frenet([[0.0, 0.0]], [[0.3, 1.0]], [[0.7, 0.1]])
    assert np.isnan(still.curvature).all()


@pytest.mark.parametrize("parameter", [False, True])
def test_curvature_and_torsion_of_states(parameter: bool) -> None:
    t = np.linspace(0, 3, 61) ** 1.2
    found = geometry.curvature_torsion(
        helix(2.0, 0.5, t)[:, None] * np.array([[1.0], [3.0]]), t if parameter else None
    )
    np.testing.assert_allclose(found.curvature[8:-8], [[2 / 4.25, 2 / 12.75]] * 45, rtol=1e-3)
    np.testing.assert_allclose(found.torsion[8:-8], [[0.5 / 4.25, 0.5 / 12.75]] * 45, rtol=0.02)
    fine = geometry.curvature_torsion(helix(2.0, 0.5, t), t, window=7, degree=6)
    np.testing.assert_allclose(fine.curvature[8:-8], 2 / 4.25, rtol=1e-7)


def test_repeated_states_have_no_curvature_by_length() -> None:
    assert np.isnan(geometry.curvature_torsion(np.ones((8, 1, 3))).curvature).all()


@pytest.mark.parametrize("dim", [2, 5])
def test_path_derivatives_in_closed_form(dim: int) -> None:
    """Of an optimal denoiser: against differences, and against the states of the flow."""
    rng = np.random.default_rng(dim)
    data = PointSet(rng.standard_normal((9, dim)), rng.uniform(0.2, 1, 9))
    denoiser = OptimalDenoiser(data)
    x, sigma = rng.standard_normal((5, dim)), rng.uniform(0.6, 2.0, 5)
    closed = field.path_derivatives(denoiser, x, sigma)
    plain = field.path_derivatives(lambda x, s: denoiser(x, s), x, sigma)
    for a, b, rtol in zip(closed, plain, (1e-13, 1e-8, 1e-7), strict=True):
        np.testing.assert_allclose(a, b, atol=rtol * np.abs(b).max())
    at = 0.9 * (1 - 4e-3 * np.arange(7))
    path = integrate(denoiser, x, 0.9, at[-1], rtol=1e-13, save_at=at, estimate_error=False)
    seen = geometry.curvature_torsion(path.states, path.sigmas, degree=6)
    known = geometry.frenet(*field.path_derivatives(denoiser, path.states[3], path.sigmas[3]))
    np.testing.assert_allclose(seen.curvature[3], known.curvature, rtol=1e-6)
    np.testing.assert_allclose(seen.torsion[3], known.torsion, rtol=1e-4)


def test_path_derivatives_of_a_gaussian() -> None:
    """x = c (l + s²)^½ along each axis."""
    wide, s = np.array([0.3, 1.0, 4.0]), 0.8
    gauss = GaussianDenoiser(np.zeros(3), np.diag(wide))
    x = np.array([[1.0, -2.0, 0.5]])
    root = np.sqrt(wide + s * s)
    expected = [s / root, wide / root**3, -3 * s * wide / root**5]
    for found, factor in zip(field.path_derivatives(gauss, x, s), expected, strict=True):
        np.testing.assert_allclose(found, x / root * factor, rtol=1e-7)


# The common shape


def test_chord_frame_of_an_arc() -> None:
    path = arc(1.0, 3.0)
    found = geometry.chord_frame(path)
    along, across, none = found.coordinates[:, 0].T
    np.testing.assert_allclose(along[0], geometry.chord(path)[0], rtol=1e-14)
    assert along[-1] == 0.0
    np.testing.assert_allclose(across, geometry.deviation(path)[:, 0], atol=1e-13)
    np.testing.assert_array_equal(none, np.zeros(101))
    np.testing.assert_array_equal(found.basis[0, 2], np.zeros(3))
    assert found.residual[0] < 1e-13


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_chord_frame_is_an_isometry_up_to_its_residual(seed: int, dim: int) -> None:
    x = paths(seed, dim=dim)
    found = geometry.chord_frame(x, 2)
    offset = x - x[-1]
    back = np.einsum("tbk,bkd->tbd", found.coordinates, found.basis)
    left = np.linalg.norm(offset - back, axis=2).max(axis=0)
    np.testing.assert_allclose(left, found.residual, atol=1e-12 * np.abs(x).max())
    if dim <= 3:
        assert found.residual.max() < 1e-12 * np.abs(x).max()
    peak = np.abs(found.coordinates).argmax(axis=0)
    assert (np.take_along_axis(found.coordinates, peak[None], axis=0) >= 0).all()


@given(st.integers(0, 2**32), st.integers(2, 4))
def test_align_undoes_rotations_but_not_reflections(seed: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    path = rng.standard_normal((12, dim))
    turns = np.linalg.qr(rng.standard_normal((5, dim, dim)))[0]
    turns[:, :, 0] *= np.sign(np.linalg.det(turns))[:, None]
    found = geometry.align(np.einsum("tk,bkl->tbl", path, turns), path)
    np.testing.assert_allclose(found, np.repeat(path[:, None], 5, axis=1), atol=1e-12)
    mirrored = path * np.array([-1.0] + [1.0] * (dim - 1))
    assert np.abs(geometry.align(mirrored, path)[:, 0] - path).max() > 0.01


def test_boomerang_of_one_shape_turned_and_scaled() -> None:
    rng = np.random.default_rng(4)
    t = np.linspace(1, 0, 40)
    shape = np.stack([t, t * (1 - t), 0.3 * t * (1 - t) * (t - 0.4)], axis=1)
    turns = np.linalg.qr(rng.standard_normal((6, 7, 7)))[0][:, :3]
    size = rng.uniform(1, 50, 6)
    x = np.einsum("tk,bkd->tbd", shape, turns) * size[:, None] + rng.standard_normal((6, 7))
    found = geometry.boomerang(x)
    assert found.residual.max() < 1e-10
    np.testing.assert_allclose(found.shape[[0, -1], 0], [1.0, 0.0], atol=1e-12)
    across = np.linalg.norm(found.coordinates[:, :, 1:], axis=2)
    np.testing.assert_allclose(across.max(axis=0), 1.0, rtol=1e-12)
    # waves whose higher side differs: each points its own way, until they are turned
    waves = np.stack([np.sin(2 * np.pi * t) * (1 + d * (t - 0.5)) for d in (0.2, -0.2)], axis=1)
    both = np.stack([np.repeat(t[:, None], 2, axis=1), waves, 0 * waves], axis=2)
    assert geometry.chord_frame(both).coordinates[:, :, 1].prod(axis=1).sum() < -10
    assert geometry.boomerang(both).agreement.min() > 0.98
    mirror = geometry.boomerang(x[:, [0, 0]])
    np.testing.assert_allclose(mirror.agreement, 1.0, atol=1e-12)
    straight = geometry.boomerang(t[:, None, None] * np.ones((1, 2, 3)))
    assert np.isnan(straight.agreement).all()
    np.testing.assert_array_equal(straight.residual, [0.0, 0.0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: geometry.curvature_torsion(np.zeros((6, 1, 2))), "window: got 7"),
        (lambda: geometry.curvature_torsion(np.zeros((9, 1, 2)), degree=2), "degree: got 2"),
        (lambda: geometry.curvature_torsion(np.zeros((9, 1, 2)), np.ones(9)), "parameter: got"),
        (lambda: geometry.curvature_torsion(np.zeros((9, 1, 2)), np.ones(8)), "parameter: got"),
        (lambda: geometry.frenet([1.0, 2.0], [1.0], [1.0, 2.0]), "acceleration: got shape"),
        (lambda: geometry.frenet([1.0, 2.0], [1.0, 0.0], [1.0]), "jerk: got shape"),
        (lambda: geometry.align(np.zeros((3, 2, 2)), np.zeros((3, 3))), "reference: got shape"),
        (lambda: geometry.chord_frame(np.zeros((3, 2, 2)), -1), "components: got -1"),
    ],
)
def test_bad_bends(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        call()
