"""Paths between latents, against their formulas and their laws."""

from __future__ import annotations

import numpy as np
import pytest

import analytic as an
from analytic.claims.section_b import mean_chi
from analytic.claims.section_h import spherical_factor

A = np.array([[3.0, 0.0, 0.0], [1.0, 2.0, -1.0]])
B = np.array([[0.0, 4.0, 0.0], [0.5, -1.0, 3.0]])
PATHS = (an.latents.linear, an.latents.variance_preserving, an.latents.spherical)


def test_values() -> None:
    np.testing.assert_allclose(an.latents.linear(A, B, 0.25)[0], [2.25, 1.0, 0.0], rtol=1e-15)
    np.testing.assert_allclose(
        an.latents.variance_preserving(A, B, 0.25)[0], [3 * np.sqrt(0.75), 2.0, 0.0], rtol=1e-15
    )
    # at right angles, a third of the way: sin 60° and sin 30°
    np.testing.assert_allclose(
        an.latents.spherical(A, B, 1 / 3)[0], [3 * np.sqrt(0.75), 2.0, 0.0], rtol=1e-14
    )


@pytest.mark.parametrize("path", PATHS)
def test_ends_shapes_and_shares(path: object) -> None:
    np.testing.assert_allclose(path(A, B, 0.0), A, rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(path(A, B, 1.0), B, rtol=1e-15, atol=1e-15)
    shares = np.linspace(0, 1, 5)
    several = path(A, B, shares)
    assert several.shape == (5, 2, 3)
    for share, row in zip(shares, several, strict=True):
        np.testing.assert_array_equal(row, path(A, B, share))
    np.testing.assert_array_equal(path(A[1], B[1], shares), several[:, 1])
    # exchanging the ends reverses the path
    np.testing.assert_allclose(path(B, A, 1 - shares), several, rtol=1e-13, atol=1e-15)


def test_great_circles_keep_the_norm_and_turn_evenly() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 20, 5))
    b *= np.linalg.norm(a, axis=1, keepdims=True) / np.linalg.norm(b, axis=1, keepdims=True)
    path = an.latents.spherical(a, b, np.linspace(0, 1, 9))
    length = np.linalg.norm(path, axis=2)
    np.testing.assert_allclose(length, np.broadcast_to(length[0], length.shape), rtol=1e-13)
    cosines = (path[1:] * path[:-1]).sum(axis=2) / length[0] ** 2
    np.testing.assert_allclose(cosines, np.broadcast_to(cosines[0], cosines.shape), rtol=1e-12)
    # almost the same direction: between the two, not 0/0
    near = an.latents.spherical(a, a * (1 + 1e-12), 0.5)
    np.testing.assert_allclose(near, a, rtol=1e-11)
    tilt = a + 1e-7 * b
    between = an.latents.spherical(a, tilt, 0.5) - a
    np.testing.assert_allclose(between, (tilt - a) / 2, rtol=1e-3, atol=1e-13)


def test_spherical_factor_in_closed_form_in_the_middle() -> None:
    for dim in (8, 9, 16, 64, 511, 3072):
        closed = 1 + (1 - mean_chi(dim) ** 2 / dim) / (dim - 3)
        assert spherical_factor(dim, 0.5) == pytest.approx(closed, rel=1e-11)
        assert spherical_factor(dim, 0.0) == pytest.approx(1.0, rel=1e-12)
    assert spherical_factor(8, 0.5) == pytest.approx(1.0121, abs=5e-5)
    # and by drawing
    a, b = (an.noise(400_000, like=8, sigma=1.0, seed=s) for s in (1, 2))
    for share in (0.2, 0.5):
        drawn = (an.latents.spherical(a, b, share) ** 2).sum(axis=1).mean() / 8
        assert drawn == pytest.approx(spherical_factor(8, share), abs=5e-3)


@pytest.mark.parametrize("path", PATHS)
def test_errors_name_the_argument(path: object) -> None:
    with pytest.raises(ValueError, match=r"b: got shape \(1, 3\)"):
        path(A, B[:1], 0.5)
    with pytest.raises(ValueError, match="share"):
        path(A, B, 1.5)
    with pytest.raises(ValueError, match="share"):
        path(A, B, [[0.5]])
    with pytest.raises(ValueError, match="a: got shape"):
        path(A[None], B[None], 0.5)


def test_no_great_circle_is_an_error() -> None:
    with pytest.raises(ValueError, match="opposite"):
        an.latents.spherical(A, -A, 0.5)
    with pytest.raises(ValueError, match="a: got a zero latent"):
        an.latents.spherical(0 * A, B, 0.5)
