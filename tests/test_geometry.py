"""Geometry of trajectories: closed forms and invariances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytic import geometry


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
