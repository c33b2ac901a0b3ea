"""Point sets: merging, weights, statistics against their definitions, refusals."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytic import PointSet, noise
from analytic import points as module
from analytic.testing.strategies import point_sets

NAN, INF = float("nan"), float("inf")


# Merging


def test_equal_points_merge_in_order_of_first_appearance() -> None:
    found = PointSet([[2.0], [1.0], [2.0], [3.0], [1.0], [2.0]], labels=[5, 6, 5, 7, 6, 5])
    np.testing.assert_array_equal(found.points, [[2.0], [1.0], [3.0]])
    np.testing.assert_allclose(found.weights, [3 / 6, 2 / 6, 1 / 6], rtol=1e-15)
    np.testing.assert_array_equal(found.labels, [5, 6, 7])


def test_weights_of_equal_points_add_up() -> None:
    found = PointSet([[0.0, 1.0], [5.0, 5.0], [0.0, 1.0]], [1.0, 2.0, 5.0])
    np.testing.assert_allclose(found.weights, [6 / 8, 2 / 8], rtol=1e-15)
    np.testing.assert_allclose(found.log_weights, np.log([6 / 8, 2 / 8]), rtol=1e-15)


def test_negative_zero_is_zero() -> None:
    found = PointSet([[0.0, 1.0], [-0.0, 1.0], [-0.0, -1.0]])
    np.testing.assert_array_equal(found.points, [[0.0, 1.0], [0.0, -1.0]])


def test_neighbouring_floats_do_not_merge() -> None:
    assert len(PointSet([[1.0], [np.nextafter(1.0, 2.0)]])) == 2
    assert len(PointSet([[0.0], [5e-324]])) == 2
    assert len(PointSet([[1.0, 2.0], [2.0, 1.0]])) == 2


@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32))
def test_merging_is_that_of_a_dictionary(count: int, dim: int, values: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, weights = rng.integers(0, values, (count, dim)) - 1.0, rng.uniform(0.1, 1, count)
    found, table = PointSet(rows, weights), {}
    for row, weight in zip(rows.tolist(), weights, strict=True):
        table[tuple(row)] = table.get(tuple(row), 0.0) + weight
    np.testing.assert_array_equal(found.points, list(table))
    np.testing.assert_allclose(
        found.weights, np.array([*table.values()]) / weights.sum(), rtol=1e-13
    )


def test_colliding_keys_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are compared in full: a hash that is always zero merges no more than equal rows."""

    class Blind:
        def integers(self, *args: Any, size: int, **options: Any) -> Any:
            return np.full(size, 2**64 - 1, dtype=np.uint64)

    rows = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [3.0, 0.0]])
    expected = PointSet(rows).points
    monkeypatch.setattr(module.np.random, "default_rng", lambda seed: Blind())
    np.testing.assert_array_equal(PointSet(rows).points, expected)


def test_labels_that_clash_follow_the_weight_and_warn() -> None:
    with pytest.warns(UserWarning, match=r"^1 merged points carried different labels") as caught:
        found = PointSet(
            [[0.0], [0.0], [0.0], [1.0], [1.0]], [3.0, 2.0, 2.0, 1.0, 1.0], [7, 8, 8, 9, 9]
        )
    np.testing.assert_array_equal(found.labels, [8, 9])
    assert caught[0].filename == __file__


def test_labels_of_dropped_points_do_not_clash() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = PointSet([[0.0], [0.0], [1.0]], [1.0, 0.0, 1.0], ["a", "b", "c"])
    np.testing.assert_array_equal(found.labels, ["a", "c"])


def test_points_of_weight_zero_are_dropped() -> None:
    found = PointSet([[0.0], [9.0], [1.0]], [1.0, 0.0, 3.0], [4, 5, 6])
    np.testing.assert_array_equal(found.points, [[0.0], [1.0]])
    np.testing.assert_array_equal(found.weights, [0.25, 0.75])
    np.testing.assert_array_equal(found.labels, [4, 6])
    assert found.diameter_bounds[1] < 1.001


@pytest.mark.parametrize("common", [1e-300, 1e300, 5e-324])
def test_extreme_weights_are_normalised(common: float) -> None:
    found = PointSet([[0.0], [1.0]], [common, common])
    np.testing.assert_array_equal(found.weights, [0.5, 0.5])
    lopsided = PointSet([[0.0], [1.0]], [1e-150, 1e150])
    np.testing.assert_allclose(lopsided.log_weights, [np.log(1e-300), 0.0], rtol=1e-14)


# Statistics


@given(point_sets())
def test_statistics_match_their_definitions(points: PointSet) -> None:
    rows, pi = points.points.astype(np.longdouble), points.weights.astype(np.longdouble)
    origin = rows[0]
    mean = origin + pi @ (rows - origin) / pi.sum()
    y = rows - mean
    cov = (y.T * pi) @ y / pi.sum()
    radii = np.sqrt((y**2).sum(axis=1))
    size, unit = float(np.abs(rows).max()), float(radii.max())
    # the mean is rounded to ε of the coordinates, which moves every other statistic
    off = 4e-16 * size + 4e-15 * unit
    np.testing.assert_allclose(points.mean, mean.astype(float), rtol=0, atol=off)
    assert abs(pi.sum() - 1) < 1e-14
    slack = 8 * off * unit + off**2 + 1e-13 * unit**2
    np.testing.assert_allclose(points.covariance, cov.astype(float), rtol=0, atol=slack)
    assert abs(points.total_variance - float(np.trace(cov))) <= points.dim * slack
    values = np.linalg.eigvalsh(cov.astype(float))[::-1]
    count = min(len(points), points.dim)
    assert points.spectrum.shape == (count,)
    np.testing.assert_allclose(
        points.spectrum, np.maximum(values[:count], 0), rtol=0, atol=4 * points.dim * slack
    )
    assert (np.diff(points.spectrum) <= 0).all()
    assert abs(points.scale - np.sqrt(points.total_variance / points.dim)) <= 1e-15 * points.scale
    # radii and diameters are upper bounds, and sharp
    assert unit - off <= points.mean_radius <= unit * (1 + 1e-13) + off
    far = float(np.sqrt((rows**2).sum(axis=1)).max())
    assert far <= points.radius <= far * (1 + 1e-13)
    true = max(
        (float(np.sqrt(((a - b) ** 2).sum())) for a, b in itertools.combinations(rows, 2)),
        default=0.0,
    )
    low, high = points.diameter_bounds
    assert low <= true <= high <= true * (1 + 1e-13)


def test_mean_keeps_a_large_offset() -> None:
    found = PointSet(1e15 + np.array([[0.0], [2.0], [4.0]]))
    np.testing.assert_array_equal(found.mean, [1e15 + 2])
    np.testing.assert_allclose(found.total_variance, 8 / 3, rtol=1e-15)


@pytest.mark.parametrize("block", [37, 3])
@pytest.mark.parametrize("shift", [0.0, 1e5])
def test_statistics_of_many_blocks(
    shift: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folding rows block by block, or several blocks at once, gives what one block gives."""
    rng = np.random.default_rng(3)
    rows = shift + rng.standard_normal((500, 4)) * [1, 1e-3, 5, 0.2]
    weights = rng.uniform(0.1, 1, 500)
    monkeypatch.setattr(module, "_BLOCK", 4 * block)
    found = PointSet(rows, weights)
    pi = weights / weights.sum()
    y = rows - pi @ rows
    tolerance = 1e-9 if shift else 1e-13
    np.testing.assert_allclose(found.covariance, (y.T * pi) @ y, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found.total_variance, np.trace((y.T * pi) @ y), rtol=tolerance)
    np.testing.assert_allclose(found.mean_radius, np.linalg.norm(y, axis=1).max(), rtol=1e-9)
    assert found.span.rank == 4


def test_diameter_bounds_of_a_big_set() -> None:
    """Too many pairs to visit: the bounds hold the diameter, within a factor 2."""
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((24_000, 2)) @ [[3.0, 1.0], [0.0, 0.5]]
    rows[17], rows[18] = [20.0, 5.0], [-19.0, -7.0]
    low, high = PointSet(rows).diameter_bounds
    true = np.hypot(39.0, 12.0)
    assert len(rows) ** 2 * 2 > 10**9
    assert low <= true <= high
    assert true * (1 - 1e-12) <= low
    assert high <= 2 * true


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e4, 1e8])
@pytest.mark.parametrize(
    ("count", "dim", "rank"), [(30, 6, 2), (30, 6, 6), (4, 9, 3), (1, 5, 0), (2, 3, 1)]
)
def test_span(count: int, dim: int, rank: int, offset: float) -> None:
    rng = np.random.default_rng([count, dim])
    plane = np.linalg.qr(rng.standard_normal((dim, dim)))[0][: min(rank, count - 1)]
    rows = rng.standard_normal((count, len(plane))) @ plane + offset * rng.standard_normal(dim)
    points = PointSet(rows)
    span = points.span
    assert span.rank == len(plane)
    np.testing.assert_allclose(span.basis @ span.basis.T, np.eye(span.rank), atol=1e-13)
    np.testing.assert_allclose(span.origin, points.mean, rtol=0, atol=0)
    gaps = rows - span.origin
    rest = gaps - gaps @ span.basis.T @ span.basis
    assert np.abs(rest).max() <= 1e-13 * (1 + offset)


def test_span_of_a_big_low_rank_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 64 * 5)
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((2000, 2)) @ rng.standard_normal((2, 5)) + 100.0
    assert PointSet(rows).span.rank == 2


def test_weights_do_not_enter_the_span() -> None:
    points = PointSet([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [1.0, 1.0, 1e-40])
    assert points.span.rank == 2


def test_sample_draws_by_weight() -> None:
    points = PointSet([[0.0], [1.0]], [0.25, 0.75])
    drawn = points.sample(40_000, np.random.default_rng(0))
    assert drawn.shape == (40_000, 1)
    # five standard deviations of the mean of Bernoulli(3/4)
    assert abs(drawn.mean() - 0.75) < 5 * np.sqrt(0.1875 / 40_000)


# Ownership


def test_arrays_are_copies_and_read_only() -> None:
    rows, weights, labels = np.array([[0.0], [1.0]]), np.array([1.0, 3.0]), np.array([1, 2])
    points = PointSet(rows, weights, labels)
    rows[:], weights[:], labels[:] = 7.0, 7.0, 7
    np.testing.assert_array_equal(points.points, [[0.0], [1.0]])
    np.testing.assert_array_equal(points.weights, [0.25, 0.75])
    np.testing.assert_array_equal(points.labels, [1, 2])
    frozen = (
        points.points,
        points.weights,
        points.labels,
        points.log_weights,
        points.mean,
        points.covariance,
        points.spectrum,
        points.span.basis,
    )
    for array in frozen:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        points.points = rows


def test_read_only_and_odd_layouts_are_accepted() -> None:
    rows = np.arange(12.0).reshape(4, 3)
    frozen = rows.copy()
    frozen.flags.writeable = False
    wide = np.zeros((8, 6), dtype=np.float32)
    wide[::2, ::2] = rows
    for form in (rows.tolist(), frozen, np.asfortranarray(rows), wide[::2, ::2], rows.astype(int)):
        found = PointSet(form).points
        np.testing.assert_array_equal(found, rows)
        assert found.dtype == np.float64
        assert found.flags.c_contiguous


def test_repr_and_length() -> None:
    points = PointSet([[0.0, 1.0], [0.0, 1.0], [2.0, 3.0]], name="pair")
    assert repr(points) == "PointSet('pair', N=2, D=2)"
    assert (len(points), points.dim) == (2, 2)


# Refusals

RAGGED: Any = [[1.0], [1.0, 2.0]]


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        ([[NAN]], ValueError, r"nan at index \(0, 0\)"),
        ([[0.0], [-INF]], ValueError, r"-inf at index \(1, 0\)"),
        ([], ValueError, "2-D|shape"),
        (np.empty((0, 3)), ValueError, "at least one point"),
        (np.empty((3, 0)), ValueError, "at least one point"),
        ([1.0, 2.0], ValueError, r"points\[:, None\]"),
        (np.zeros((2, 2, 2)), ValueError, "2-D"),
        ([[1e151]], ValueError, "1e150"),
        ("data.npy", TypeError, "array of real numbers"),
        ([["a"]], TypeError, "array of real numbers"),
        (None, TypeError, "array of real numbers"),
        (np.array([[1.0]], dtype=object), TypeError, "array of real numbers"),
        ([[1j]], TypeError, "array of real numbers"),
        (RAGGED, TypeError, "rectangular"),
        (np.ma.masked_array([[1.0], [2.0]], mask=[[True], [False]]), ValueError, "masked"),
    ],
)
def test_bad_points(bad: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=rf"^points: got .*({words})"):
        PointSet(bad)


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        ([1.0, -1.0], ValueError, "-1.0 at index 1"),
        ([0.0, 0.0], ValueError, "all zeros"),
        ([NAN, 1.0], ValueError, "nan"),
        ([INF, 1.0], ValueError, "inf"),
        ([1.0], ValueError, "shape"),
        ([[1.0, 1.0]], ValueError, "shape"),
        (1.0, ValueError, "shape"),
        ("ab", TypeError, "real numbers"),
        ([None, 1.0], TypeError, "real numbers"),
        ([True, False], TypeError, "real numbers"),
    ],
)
def test_bad_weights(bad: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=rf"^weights: got .*{words}"):
        PointSet([[0.0], [1.0]], bad)


@pytest.mark.parametrize("bad", [[1], [[1, 2]], [1.5, 2.5], [None, 1], 3])
def test_bad_labels(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^labels: got .*class label"):
        PointSet([[0.0], [1.0]], labels=bad)


def test_bad_name() -> None:
    with pytest.raises(TypeError, match=r"^name: got 3"):
        PointSet([[0.0]], name=3)
    with pytest.raises(TypeError):
        PointSet([[0.0]], None, None, "positional")


def test_absurd_sizes_are_refused_before_they_are_allocated() -> None:
    with pytest.raises(ValueError, match=r"^n: .*GiB"):
        noise(10**15, 3, 1.0, 0)
