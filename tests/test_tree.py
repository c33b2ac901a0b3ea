"""Certified pruning and expansion: agreement with the dense method, and bounds that contain."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given

from analytic.kernels import threads, tree
from analytic.methods import Dense, Sites, Tree
from analytic.methods import tree as method
from analytic.testing.strategies import Case, cases, point_sets

EPS = 2.0**-53


def sites(X: np.ndarray, weights: np.ndarray | None = None) -> Sites:
    weights = np.ones(len(X)) if weights is None else weights
    X, logs = np.ascontiguousarray(X), np.log(weights / weights.sum())
    X.flags.writeable = logs.flags.writeable = False
    return Sites.of(X, logs)


def sets() -> dict[str, Sites]:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 3000)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    centres = 4 * rng.standard_normal((12, 2))
    clusters = centres[rng.integers(12, size=4000)] + 0.05 * rng.standard_normal((4000, 2))
    line = np.linspace(-1, 1, 2500)[:, None]
    return {
        "line": sites(line),
        "weighted line": sites(line**3, rng.random(2500) ** 6),
        "normal": sites(rng.standard_normal((6000, 2))),
        "weighted": sites(rng.standard_normal((6000, 2)), rng.random(6000) ** 8),
        "ring": sites(ring),
        "clusters": sites(clusters),
        "segment": sites(line * np.array([[1.0, 2.0]])),
        "flat": sites(line * np.array([[1.0, 0.0]])),
        "offset": sites(2.0**20 + rng.standard_normal((3000, 2))),
        "cube": sites(rng.random((15_000, 3))),
        "four": sites(rng.standard_normal((2000, 4))),
        "outlier": sites(np.concatenate([rng.random((3000, 2)), [[1e8, 0.0]]])),
    }


SETS = sets()


@pytest.fixture(scope="module", autouse=True)
def small_boxes() -> object:
    """Boxes of a hundred points are interpolated, so that these sets have many."""
    before = dict(method.WORTH)
    method.WORTH.update({1: 65, 2: 100, 3: 1000})
    yield
    method.WORTH.update(before)


def extent(data: Sites) -> float:
    return float(np.linalg.norm(data.points.max(axis=0) - data.points.min(axis=0)))


def spread(data: Sites, q: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The largest q̄/2σ² among points that matter: what a rounding of the logits is measured by."""
    out = np.empty(len(q))
    for k, (x, sigma) in enumerate(zip(q, s, strict=True)):
        squares = ((x - data.points) ** 2).sum(axis=1)
        near = squares.min()
        reach = np.sqrt(near + 100 * sigma**2)
        out[k] = min(4 * reach * (reach + np.sqrt(near)), 4 * squares.max()) / (2 * sigma**2)
    return out


def compare(data: Sites, found, truth, q: np.ndarray, s: np.ndarray) -> None:
    """The results agree within what was left out and within rounding."""
    dim = data.points.shape[1]
    gap = (
        ((q - data.points[found.ref]) ** 2).sum(axis=1)
        - ((q - data.points[truth.ref]) ** 2).sum(axis=1)
    ) / (2 * s**2)
    logs = data.logs[found.ref] - data.logs[truth.ref]
    rounding = 8 * EPS * ((dim + 8) * spread(data, q, s) + 40 + np.abs(data.logs).max())
    base = 8 * EPS * (dim + 8) * ((q - data.points[truth.ref]) ** 2).sum(axis=1) / (2 * s**2)
    error = np.abs((found.log_sum + logs - gap) - truth.log_sum)
    assert (error <= found.truncation + rounding + base).all()
    mean = data.points[found.ref] + found.shift - data.points[truth.ref] - truth.shift
    size = EPS * np.abs(data.points).max() * 8
    allowed = (found.truncation + rounding) * extent(data) + size
    assert (np.linalg.norm(mean, axis=1) <= allowed).all()


def queries(data: Sites, sigma: float, count: int, seed: int) -> np.ndarray:
    """Noisy points, points, places between two points, and some far away."""
    rng = np.random.default_rng(seed)
    X, dim = data.points, data.points.shape[1]
    a, b = X[rng.integers(len(X), size=(2, count))]
    z = rng.standard_normal((count, dim))
    kind = rng.integers(5, size=(count, 1))
    places = [a + sigma * z, a, 0.5 * (a + b), a + 3 * extent(data) * z, a + 8 * sigma * z]
    return np.ascontiguousarray(np.choose(kind, places))


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("tolerance", [1e-13, 1e-8, 1e-3])
def test_what_is_left_out_is_bounded(name: str, tolerance: float) -> None:
    data = SETS[name]
    way, judge = Tree(data, tolerance), Dense(data)
    for k, sigma in enumerate(extent(data) * 10.0 ** np.arange(-4.0, 2.1, 0.5)):
        q = queries(data, sigma, 60, k)
        s = np.full(len(q), sigma)
        found, truth = way.softmax(q, s), judge.softmax(q, s)
        # τ/(1 - τ/2) of a sum that is itself off by τ/2
        assert (found.truncation <= (1 + tolerance) * tolerance).all()
        compare(data, found, truth, q, s)


@pytest.mark.parametrize(
    ("name", "sigma"), [("normal", 0.3), ("clusters", 0.3), ("line", 0.02), ("cube", 0.2)]
)
def test_the_bounds_are_not_vacuous(name: str, sigma: float) -> None:
    """At a coarse tolerance something is left out, and the error is seen below the bound."""
    data = SETS[name]
    q = queries(data, sigma, 400, 9)
    s = np.full(len(q), sigma)
    found, truth = Tree(data, 1e-3).softmax(q, s), Dense(data).softmax(q, s)
    same = found.ref == truth.ref
    error = np.abs(found.log_sum - truth.log_sum)[same]
    assert error.max() > 1e-9  # a hundred thousand times rounding
    assert (error <= found.truncation[same] + 1e-12).all()


def test_single_precision_leaves_out_more_and_says_so() -> None:
    data = SETS["normal"]
    q = queries(data, 0.2, 300, 4)
    s = np.full(len(q), 0.2)
    found = Tree(data).softmax(q, s, single=True)
    assert 1e-13 < found.truncation.max() <= 1.01 * method.SINGLE
    compare(data, found, Dense(data).softmax(q, s), q, s)


@pytest.mark.parametrize(("dim", "weighted"), [(1, True), (2, False), (3, True)])
def test_interpolation_against_the_sum_in_fifty_digits(
    dim: int, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes of boxes: the interpolated sum and mean against mpmath, within the stated bound."""
    monkeypatch.setitem(method.WORTH, dim, 65)
    rng = np.random.default_rng(5)
    X = rng.uniform(-1, 1, (150, dim))
    data = sites(X, rng.uniform(0.5, 1.0, 150) if weighted else None)
    boxes = 0
    for sigma in (0.7, 1.5, 5.0):
        q = rng.uniform(-1, 1, (3, dim)) * np.array([[0.2], [2.0], [3.0]]) * max(sigma, 1.0)
        s = np.full(3, sigma)
        found = Tree(data).softmax(q, s)
        boxes += int(Tree(data).effort(q, s)[:, 2].sum())
        for x, r, value, shift in zip(q, found.ref, found.log_sum, found.shift, strict=True):
            with mp.workdps(50):
                exact, mean = in_fifty_digits(data, x, r, sigma)
                assert abs(mp.mpf(float(value)) - exact) < 4e-14
                assert all(
                    abs(mp.mpf(float(X[r, d])) + mp.mpf(float(shift[d])) - mean[d]) < 1e-13
                    for d in range(dim)
                )
    assert boxes > 0


def in_fifty_digits(data: Sites, x: np.ndarray, r: int, sigma: float) -> tuple[mp.mpf, list]:
    """log Σ (π_i/π_r) e^{t_i - t_r} and Σ u_i x_i."""
    rows = [[mp.mpf(float(c)) for c in row] for row in data.points]
    at = [mp.mpf(float(c)) for c in x]
    squares = [sum((a - c) ** 2 for a, c in zip(at, row, strict=True)) for row in rows]
    terms = [
        mp.exp(mp.mpf(float(log)) - mp.mpf(float(data.logs[r])))
        * mp.exp((squares[r] - d) / (2 * mp.mpf(sigma) ** 2))
        for d, log in zip(squares, data.logs, strict=True)
    ]
    total, axes = sum(terms), zip(*rows, strict=True)
    mean = [sum(w * c for w, c in zip(terms, axis, strict=True)) / total for axis in axes]
    return mp.log(total), mean


@given(case=cases(points=point_sets(max_points=40), low=1e-6, high=1e6))
def test_agrees_with_dense_on_any_geometry(case: Case) -> None:
    data = Sites.of(case.points.points, case.points.log_weights)
    q, s = data.scaled(case.x, np.full(len(case.x), case.sigma))
    compare(data, Tree(data).softmax(q, s), Dense(data).softmax(q, s), q, s)


@pytest.mark.parametrize("sigma", [0.0, 1e-300, 1e-160, 1e150])
def test_extreme_levels(sigma: float) -> None:
    data = SETS["normal"]
    q = np.concatenate([data.points[:20], 0.5 * (data.points[:5] + data.points[5:10])])
    q = np.concatenate([q, 1e150 * q[:3]])
    s = np.full(len(q), sigma)
    found, truth = Tree(data).softmax(q, s), Dense(data).softmax(q, s)
    np.testing.assert_allclose(
        data.points[found.ref] + found.shift, data.points[truth.ref] + truth.shift, atol=1e-13
    )


def test_ties_at_level_zero_are_averaged() -> None:
    data = sites(np.array([[-1.0, 0.0], [1.0, 0.0], [5.0, 0.0]]), np.array([1.0, 3.0, 1.0]))
    found = Tree(data).softmax(np.zeros((1, 2)), np.zeros(1))
    np.testing.assert_allclose(data.points[found.ref] + found.shift, [[0.5, 0.0]], atol=1e-15)


def test_weights_that_no_power_of_two_can_compare() -> None:
    weights = np.ones(300)
    weights[:150] = 1e-305
    data = sites(np.random.default_rng(6).standard_normal((300, 2)), weights)
    q, s = data.points[:40] + 0.01, np.full(40, 0.01)
    compare(data, Tree(data).softmax(q, s), Dense(data).softmax(q, s), q, s)


def test_batch_mates_and_threads_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)
    data = SETS["normal"]
    q = queries(data, 0.3, 50, 7)
    s = 10.0 ** np.random.default_rng(8).uniform(-3, 3, 50)
    before, way = threads.get_num_threads(), Tree(data)
    try:
        threads.set_num_threads(1)
        whole = way.softmax(q, s)
        for many in (2, 4):
            threads.set_num_threads(many)
            again = Tree(data).softmax(q, s)
            assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))
    finally:
        threads.set_num_threads(before)
    for k in range(len(q)):
        alone = way.softmax(q[k : k + 1], s[k : k + 1])
        assert all(np.array_equal(a, b[k : k + 1]) for a, b in zip(alone, whole, strict=True))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_charges_integrate_polynomials_exactly(dim: int) -> None:
    """Σ_k m_k p(y_k) = Σ_i π_i p(x_i) for every box and polynomials p of degree below n."""
    rng = np.random.default_rng(dim)
    data = sites(rng.standard_normal((3000, dim)), rng.random(3000))
    way = Tree(data)
    built, boxes = way._tree, way._charged
    n = len(boxes.z)
    assert boxes.charge.shape[0] > 1
    for k in np.flatnonzero(boxes.slot >= 0):
        j = boxes.slot[k]
        rows = slice(built.cells.start[k], built.cells.stop[k])
        inner = (built.cells.rows[rows] - boxes.centre[j]) / boxes.half[j]
        assert np.abs(inner).max() <= 1.0
        charge = boxes.charge[j].reshape((n,) * dim)
        for degrees in rng.integers(0, n, (4, dim)):
            # Chebyshev polynomials are the hardest of their size
            expected = built.prior[rows] @ np.prod(
                [np.cos(p * np.arccos(inner[:, d])) for d, p in enumerate(degrees)], axis=0
            )
            value = charge
            for p in degrees:
                value = np.tensordot(np.cos(p * np.arccos(boxes.z)), value, axes=(0, 0))
            assert value == pytest.approx(expected, abs=1e-13 * built.prior[rows].sum())


def test_memory_of_the_charges_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method, "CHARGES", 48 * 48 * 7)
    data = SETS["normal"]
    way = Tree(data)
    assert 1 <= way._charged.charge.shape[0] <= 7
    q = queries(data, 0.3, 50, 11)
    s = np.full(50, 0.3)
    compare(data, way.softmax(q, s), Dense(data).softmax(q, s), q, s)


def test_chebyshev_points_and_weights() -> None:
    z, b = tree.chebyshev(5)
    expected = np.polynomial.chebyshev.chebpts1(5)[::-1]
    np.testing.assert_allclose(z, expected, atol=1e-15)
    inverse = 1 / np.array([np.prod(np.delete(z[k] - z, k)) for k in range(5)])
    np.testing.assert_allclose(b / b[0], inverse / inverse[0], rtol=1e-13)
