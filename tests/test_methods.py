"""Methods by name, and the choice among them: the same answers, in the order asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import methods
from analytic.methods import Auto, Blas, Dense, Fused, Sites, Tree

METHODS = methods.names()


def normal(count: int, dim: int) -> np.ndarray:
    return np.random.default_rng(dim).standard_normal((count, dim))


SETS = {"plane": normal(3000, 2), "many dimensions": normal(4500, 70) * np.geomspace(1, 1e-2, 70)}


def queries(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Queries at levels that ask for different methods, in no order."""
    rng = np.random.default_rng(3)
    sigma = 10.0 ** rng.permutation(np.linspace(-3, 2, 40))
    return rows[:40] + sigma[:, None] * rng.standard_normal((40, rows.shape[1])), sigma


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_the_dense_answer(name: str, method: str) -> None:
    rows = SETS[name]
    x, sigma = queries(rows)
    D = an.OptimalDenoiser(rows, method=method)
    sites = Sites.of(D.points.points, D.points.log_weights)
    truth = Dense(sites).softmax(x, sigma)
    np.testing.assert_allclose(D(x, sigma), rows[truth.ref] + truth.shift, atol=1e-11)
    left = D.truncation(x, sigma)
    assert left.shape == (40,)
    assert (left <= 1.02e-13).all()
    assert D.truncation(x[0], 0.1).shape == ()
    if method == "dense":
        assert (left == 0).all()


@pytest.mark.parametrize(
    ("count", "dim", "single", "skips"),
    [
        (500, 3072, True, True),  # products, also where every point counts
        (500, 3072, False, False),  # in float64 plain sums are as fast, and exact
        (100, 3072, True, False),
        (900, 64, True, False),
        (4000, 24, True, False),
        (3000, 64, True, True),
    ],
)
def test_auto_where_every_point_counts(count: int, dim: int, single: bool, skips: bool) -> None:
    points = an.PointSet(np.random.default_rng(0).standard_normal((count, dim)))
    way = an.OptimalDenoiser(points)._sums._method
    assert isinstance(way, Auto)
    assert way._skips(np.array([50.0]), single)[0] == skips


@pytest.mark.parametrize("name", SETS)
def test_auto_uses_both_and_keeps_the_order(name: str) -> None:
    rows = SETS[name]
    x, sigma = queries(rows)
    way = Auto(Sites.of(rows, np.full(len(rows), -np.log(len(rows)))))
    skips = way._skips(sigma, False)
    assert skips.any()
    assert not skips.all()
    whole = way.softmax(x, sigma)
    for part, other in ((skips, way._skipping), (~skips, way._dense)):
        alone = other.softmax(x[part], sigma[part])
        for a, b in zip(whole, alone, strict=True):
            assert np.array_equal(a[part], b)


def test_the_choice_depends_on_points_and_level_alone() -> None:
    rows = SETS["plane"]
    _, sigma = queries(rows)
    logs = np.full(len(rows), -np.log(len(rows)))
    one, other = Auto(Sites.of(rows, logs)), Auto(Sites.of(rows, logs))
    other._skips(sigma[::-1], False)
    assert np.array_equal(one._skips(sigma, False), other._skips(sigma, False))
    single = np.concatenate([other._skips(s[None], False) for s in sigma])
    assert np.array_equal(single, one._skips(sigma, False))


@pytest.mark.parametrize(
    ("name", "dim", "kind"),
    [
        ("dense", 2, Fused),
        ("dense", 65, Dense),
        ("tree", 16, Tree),
        ("tree", 17, Blas),
        ("blas", 2, Blas),
        ("auto", 2, Auto),
    ],
)
def test_names(name: str, dim: int, kind: type) -> None:
    sites = Sites.of(normal(10, dim), np.full(10, -np.log(10)))
    assert isinstance(methods.make(name, sites, 1e-13), kind)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "tee"}, "did you mean 'tree'"),
        ({"method": 3}, "method"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"tolerance": float("nan")}, "tolerance"),
        ({"tolerance": "small"}, "tolerance"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        an.OptimalDenoiser(SETS["plane"], **options)


def test_a_coarser_tolerance_leaves_out_more() -> None:
    x, sigma = SETS["plane"][:50], np.full(50, 0.05)
    fine = an.OptimalDenoiser(SETS["plane"], method="tree").truncation(x, sigma)
    coarse = an.OptimalDenoiser(SETS["plane"], method="tree", tolerance=1e-4)
    assert 1e-9 < coarse.truncation(x, sigma).max() <= 1.02e-4
    assert fine.max() <= 1.02e-13
