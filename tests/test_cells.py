"""The k-d tree: every point once, boxes that contain, a depth that no data defeats, the nearest."""

from __future__ import annotations

import math

import numba as nb
import numpy as np
import pytest

from analytic.kernels import cells, threads


def geometric(count: int, dim: int) -> np.ndarray:
    """Points that close in on the origin, half the distance each time."""
    return np.ldexp(1.0, -np.arange(count))[:, None] * np.ones(dim)


def sets() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    lattice = np.stack(np.meshgrid(*[np.arange(16.0)] * 3), axis=-1).reshape(-1, 3)
    return {
        "normal": rng.standard_normal((5000, 2)),
        "line": np.sort(rng.random(3000))[:, None],
        "lattice": lattice,
        "one coordinate": rng.random((2000, 1)) * np.array([[0.0, 1.0, 0.0]]),
        "geometric": geometric(1000, 2),
        "outliers": np.concatenate([rng.random((900, 2)), 10.0 ** rng.uniform(0, 90, (100, 2))]),
        "two clusters": np.concatenate([rng.random((70, 4)), 1e6 + rng.random((3000, 4))]),
        "one": np.zeros((1, 5)),
        "a leaf": rng.random((64, 2)),
        "a leaf and one": rng.random((65, 2)),
        "wide": rng.random((300, 17)),
    }


SETS = sets()


@pytest.mark.parametrize("name", SETS)
def test_every_point_stands_in_one_column_of_one_leaf(name: str) -> None:
    X = SETS[name]
    tree = cells.build(X)
    assert np.array_equal(np.sort(tree.order), np.arange(len(X)))
    assert np.array_equal(X[tree.order], tree.rows)
    kept = tree.row >= 0
    assert np.array_equal(np.sort(tree.row[kept]), np.arange(len(X)))
    assert np.array_equal(tree.columns[:, kept].T, tree.rows[tree.row[kept]])
    assert (tree.columns[:, ~kept] == cells.OUTSIDE).all()
    child, first, last = tree.links.T
    leaves = child == 0
    assert (tree.stop - tree.start)[leaves].max() <= cells.LEAF
    for k in np.flatnonzero(~leaves):
        a, b = child[k], child[k] + 1
        assert tree.start[k] == tree.start[a]
        assert tree.stop[a] == tree.start[b]
        assert tree.stop[b] == tree.stop[k]
        assert first[k] == first[a] < last[a] == first[b] < last[b] == last[k]


@pytest.mark.parametrize("name", SETS)
def test_boxes_are_the_points_own(name: str) -> None:
    tree = cells.build(SETS[name])
    for k in range(len(tree.start)):
        rows = tree.rows[tree.start[k] : tree.stop[k]]
        assert np.array_equal(tree.boxes[k], np.concatenate([rows.min(axis=0), rows.max(axis=0)]))
        a, b = tree.links[k, 1:]
        inside = tree.row[a:b]
        inside = np.sort(inside[inside >= 0])
        assert np.array_equal(inside, np.arange(tree.start[k], tree.stop[k]))


@pytest.mark.parametrize("name", ["geometric", "outliers", "two clusters"])
def test_no_data_makes_the_tree_deep(name: str) -> None:
    X = SETS[name]
    tree = cells.build(X)
    # a 64th goes to either side while nodes are large, a third afterwards
    assert len(tree.levels) - 1 <= 5 + math.log(max(len(X) / cells.EVEN, 1)) * 64 + 1


def test_leaves_are_full_where_points_are_even() -> None:
    tree = cells.build(np.random.default_rng(1).random((100_000, 2)))
    assert tree.columns.shape[1] < 1.15 * 100_000


def test_gathered_values_are_those_of_a_node_s_points() -> None:
    tree = cells.build(SETS["normal"])
    values = np.random.default_rng(2).random(5000)
    total = cells.gathered(values, tree, np.add)
    top = cells.gathered(values, tree, np.maximum)
    for k in range(len(tree.start)):
        rows = slice(tree.start[k], tree.stop[k])
        assert total[k] == pytest.approx(values[rows].sum(), rel=1e-13)
        assert top[k] == values[rows].max()


@nb.njit(error_model="numpy")
def _all_nearest(X, L, boxes, links, top, Q, twice, depth, out, count, kept):
    work = cells.work_for(depth)
    for q in range(Q.shape[0]):
        x = (Q[q, 0], Q[q, 1])
        out[q], count[q] = cells.nearest(X, L, boxes, links, top, Q, q, x, twice, work)
        kept[q] = work.kept


@pytest.mark.parametrize("name", ["normal", "geometric", "outliers"])
@pytest.mark.parametrize("weighted", [False, True])
def test_nearest_is_nearest(name: str, weighted: bool) -> None:
    X, rng = SETS[name], np.random.default_rng(3)
    tree = cells.build(X)
    logs = np.log(rng.random(len(X)) ** 3)[tree.order] if weighted else np.zeros(len(X))
    filled = cells.filled(logs, tree.row, -1e300)
    top = cells.gathered(logs, tree, np.maximum)
    scale = np.abs(X).max() if name == "normal" else 1.0
    Q = np.concatenate([X[rng.integers(len(X), size=300)], scale * rng.standard_normal((300, 2))])
    for sigma in (0.0, 0.1, 3.0):
        twice, (out, count) = 2 * sigma**2, np.empty((2, len(Q)), dtype=np.int64)
        kept = np.empty((len(Q), cells.KEPT), dtype=np.int64)
        given = (tree.columns, filled if weighted else None, tree.boxes, tree.links, top)
        _all_nearest(*given, Q, twice, len(tree.levels), out, count, kept)
        assert (count < 0).sum() < len(Q) / 4
        for x, column, many, nodes in zip(Q, out, count, kept, strict=True):
            # the nodes that it kept are all points, each of them once
            nodes = nodes[: max(many, 0)][np.argsort(tree.start[nodes[: max(many, 0)]])]
            assert many < 0 or (tree.start[nodes[0]] == 0 and tree.stop[nodes[-1]] == len(X))
            np.testing.assert_array_equal(tree.stop[nodes[:-1]], tree.start[nodes[1:]])
            keys = ((tree.rows - x) ** 2).sum(axis=1) - twice * logs
            size = ((tree.rows - x) ** 2).sum(axis=1)[tree.row[column]] + abs(keys.min())
            assert keys[tree.row[column]] <= keys.min() + 1e-14 * size


def test_threads_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)
    before, found = threads.get_num_threads(), []
    try:
        for many in (1, 2, 4):
            threads.set_num_threads(many)
            found.append(cells.build(SETS["normal"]))
    finally:
        threads.set_num_threads(before)
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))
