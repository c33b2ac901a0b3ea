"""The method for high dimension: its bounds hold, and its sums agree with the judge."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import EPS

from analytic import PointSet
from analytic.kernels import candidates, products
from analytic.methods import Blas, Dense, Sites, images
from analytic.testing.strategies import Case, cases, point_sets


def sites(points: PointSet) -> Sites:
    return Sites.of(points.points, points.log_weights)


def frozen(rows: np.ndarray, logs: np.ndarray | None = None) -> Sites:
    rows = np.ascontiguousarray(rows, dtype=np.float64)
    logs = np.full(len(rows), -np.log(len(rows))) if logs is None else logs
    rows.flags.writeable = logs.flags.writeable = False
    return Sites.of(rows, logs)


def rounding(given: Sites, q: np.ndarray, s: np.ndarray, ref: np.ndarray) -> np.ndarray:
    """max δ over points that could matter: twice what float64 differences may be off by."""
    rows, logs, dim = given.points, given.logs, given.points.shape[1]
    worst = []
    for x, sigma, r in zip(q, s, ref, strict=True):
        near = np.abs(x - rows[r])
        inv = 1 / max(sigma, 1e-300)
        with np.errstate(over="ignore", invalid="ignore"):
            sizes = (np.abs(rows[r] - rows) * (np.abs(x - rows) + near)).sum(axis=1)
            gaps = ((rows[r] - rows) * ((x - rows) + (x - rows[r]))).sum(axis=1)
            delta = EPS * ((dim + 8) * (sizes * inv) * inv + 4 * np.abs(logs - logs[r]))
            t = logs - logs[r] - 0.5 * (gaps * inv) * inv
            matter = t + delta > -80
        worst.append(delta[matter].max(initial=0.0))
    return np.array(worst)


def agree(given: Sites, q: np.ndarray, s: np.ndarray, single: bool = False) -> None:
    """Both methods within the rounding of differences, the certified rest, and float32 sums."""
    rows = given.points
    ours = Blas(given).softmax(q, s, single)
    # logits of -1e280 instead of -inf: no different in the sums, finite in the judge's maxima
    judge = Dense(given).softmax(q, np.maximum(s, 1e-140 * float(np.abs(rows).max())))
    assert (ours.truncation >= 0).all()
    assert (ours.truncation <= (1e-3 if single else 1.1e-13)).all()
    # relative to one and the same reference
    apart = rows[ours.ref] - rows[judge.ref]
    inv = (1 / np.maximum(s, 1e-300))[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        gap = (apart * ((q - rows[ours.ref]) + (q - rows[judge.ref]))).sum(axis=1, keepdims=True)
        move = (given.logs[ours.ref] - given.logs[judge.ref]) + 0.5 * ((gap * inv) * inv)[:, 0]
    move = np.where(ours.ref == judge.ref, 0.0, move)
    diameter = float(np.linalg.norm(rows.max(axis=0) - rows.min(axis=0)))
    coarse = 1e-4 if single else 1e-14
    slack = 2 * (rounding(given, q, s, judge.ref) + rounding(given, q, s, ours.ref)) + coarse
    assert (np.abs(move) <= 30.5 + slack).all()
    if not single:
        assert (np.abs(move) <= slack).all()
    off = np.abs(ours.log_sum + move - judge.log_sum)
    assert (off <= ours.truncation + slack * (1 + np.abs(judge.log_sum))).all()
    means = np.linalg.norm((ours.shift - judge.shift) + apart, axis=1)
    room = (ours.truncation + np.minimum(slack, 1.0)) * diameter
    assert (means <= room + 8 * EPS * np.abs(rows).max()).all()


@given(cases(points=point_sets(max_points=40, max_dim=12)), st.booleans())
def test_agrees_with_the_judge(case: Case, single: bool) -> None:
    agree(sites(case.points), case.x, np.full(len(case.x), case.sigma), single)


def clustered(rng: np.random.Generator) -> np.ndarray:
    return np.repeat(3 * rng.standard_normal((9, 40)), 100, 0) + 0.1 * rng.standard_normal(
        (900, 40)
    )


SETS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "cloud": lambda rng: rng.standard_normal((1000, 30)),
    "clusters": clustered,
    "low rank": lambda rng: rng.standard_normal((700, 3)) @ rng.standard_normal((3, 50)),
    "offset": lambda rng: rng.standard_normal((600, 20)) + 1e6,
    "ties": lambda rng: rng.integers(-1, 2, (500, 24)).astype(float),
    "wide": lambda rng: rng.standard_normal((140, 1030)) * np.geomspace(1, 1e-2, 1030),
    "tiny": lambda rng: 1e-90 * rng.standard_normal((300, 8)),
    "huge": lambda rng: 1e90 * rng.standard_normal((300, 8)),
    "one": lambda rng: rng.standard_normal((1, 5)),
    "two scales": lambda rng: rng.standard_normal((400, 10)) * 10.0 ** -np.arange(0, 30, 3),
}


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", SETS)
def test_agrees_on(name: str, weighted: bool, single: bool) -> None:
    rng = np.random.default_rng(len(name))
    rows = np.unique(SETS[name](rng), axis=0)
    logs = np.log(rng.dirichlet(np.full(len(rows), 0.05)) + 1e-300) if weighted else None
    given, scale = frozen(rows, logs), float(np.ptp(rows, axis=0).max()) or 1.0
    for level in (0.0, 1e-9, 1e-3, 0.03, 0.3, 3.0, 1e3):
        x = rows[rng.integers(0, len(rows), 12)]
        x = x + level * scale * rng.standard_normal(x.shape)
        x[-1] += 1e4 * scale
        agree(given, x, np.full(12, level * scale), single)


@pytest.mark.parametrize("sigma", [0.0, 1e-300, 1e-150, 1.0, 1e100, 1e150])
def test_extremes(sigma: float) -> None:
    rng = np.random.default_rng(5)
    given = frozen(rng.standard_normal((100, 6)))
    x = rng.standard_normal((6, 6)) * np.array([0, 1, 1e8, 1e14, 1e100, 1e150])[:, None]
    x[0] = given.points[7]
    agree(given, x, np.full(6, sigma))
    agree(given, x, np.full(6, sigma), single=True)


def test_exact_ties_are_averaged() -> None:
    given = frozen(np.concatenate([np.eye(40), -np.eye(40)]))
    found = Blas(given).softmax(np.zeros((1, 40)), np.zeros(1))
    assert found.ref[0] == 0
    np.testing.assert_allclose(found.shift[0] + given.points[0], 0, atol=1e-15)
    np.testing.assert_allclose(found.log_sum, np.log(80), rtol=1e-15)


@pytest.mark.parametrize("name", ["cloud", "clusters", "low rank", "offset", "wide", "tiny"])
def test_bounds_hold_for_every_pair(name: str) -> None:
    """Squares of image distances, less their errors, are at most true squares in longdouble."""
    rng = np.random.default_rng(1)
    given = frozen(SETS[name](rng))
    rows = given.points
    frame, state, worst = images.build(given, candidates.BLOCK)
    scale = float(np.ptp(rows, axis=0).max())
    x = rows[rng.integers(0, len(rows), 40)]
    x = x + scale * 10.0 ** rng.uniform(-8, 4, (40, 1)) * rng.standard_normal(x.shape)
    x[0], x[1] = rows[0], rows[-1]
    y, rests, error = frame.image(x)
    ordered = rows[state.order].astype(np.longdouble)
    for k in range(40):
        true = np.sqrt(((ordered - x[k].astype(np.longdouble)) ** 2).sum(axis=1)) / state.unit
        short = int(state.ends[0])
        head = state.head.transpose(0, 2, 1).reshape(-1, short + 1)[: len(rows)]
        whole = np.concatenate([head[:, :short], state.tail], axis=1).astype(np.longdouble)
        for e, end in enumerate(state.ends):
            inner = ((whole[:, :end] - y[k, :end]) ** 2).sum(axis=1)
            outer = (rests[k, e] - state.rests[:, e].astype(np.longdouble)) ** 2
            assert (np.sqrt(inner + outer) - (error[k] + worst) <= true).all()


def test_a_crowded_block_is_bounded_through_its_waist() -> None:
    """With no limit every point passes the head, and the second stage bounds all of them."""
    rng = np.random.default_rng(2)
    given = frozen(SETS["wide"](rng))
    frame, state, _ = images.build(given, candidates.BLOCK)
    x = given.points[:5] + 0.3 * rng.standard_normal((5, given.points.shape[1]))
    y, rests, _ = frame.image(x)
    base, lows, likes = np.empty((3, candidates.BLOCK), np.float32)
    end = int(state.ends[1])
    coordinates = frame.image(given.points[state.order])[0].astype(float)
    for q in range(5):
        gaps = (y[q] - coordinates).astype(float)
        rest = rests[q, 1] - state.rests[:, 1].astype(float)
        squares = (gaps[:, :end] ** 2).sum(axis=1) + rest**2
        for b in range(len(state.head)):
            limit = np.float32(np.inf)
            stage = candidates._bounds(state, y, rests, b, q, limit, base, lows, likes)
            here = squares[b * candidates.BLOCK : (b + 1) * candidates.BLOCK]
            if len(here) <= candidates.CROWD:
                continue
            assert stage == 2
            np.testing.assert_allclose(lows[: len(here)], here, rtol=state.gamma)


@pytest.mark.parametrize("name", ["cloud", "clusters", "wide"])
def test_what_is_left_out_is_certified(name: str) -> None:
    """With a loose tolerance much is left out; its measured mass is below what is stated."""
    rng = np.random.default_rng(2)
    given = frozen(SETS[name](rng))
    for tolerance in (1e-2, 1e-13):
        method = Blas(given, tolerance)
        for level in (0.05, 0.2, 1.0):
            x = given.points[:20] + level * rng.standard_normal((20, given.points.shape[1]))
            s = np.full(20, level)
            ours, judge = method.softmax(x, s), Dense(given).softmax(x, s)
            assert (ours.ref == judge.ref).all()
            off = np.abs(ours.log_sum - judge.log_sum)
            assert (off <= ours.truncation + 1e-12).all()
            assert (ours.truncation <= 1.2 * tolerance).all()


def test_batch_mates_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    given = frozen(clustered(rng), np.log(rng.dirichlet(np.ones(900))))
    method = Blas(given)
    x = given.points[rng.integers(0, 900, 60)] + 0.2 * rng.standard_normal((60, 40))
    s = 10 ** rng.uniform(-3, 1, 60)
    whole = method.softmax(x, s)
    for k in range(0, 60, 7):
        for one, all_ in zip(method.softmax(x[k : k + 1], s[k : k + 1]), whole, strict=True):
            np.testing.assert_array_equal(one[0], all_[k])


def test_empty_batch() -> None:
    given = frozen(np.eye(4))
    found = Blas(given).softmax(np.empty((0, 4)), np.empty(0))
    assert [len(part) for part in found] == [0, 0, 0, 0]


@pytest.mark.parametrize("sigma", [0.1, 3.0])
@pytest.mark.parametrize("single", [False, True])
def test_no_matrix_of_all_pairs(sigma: float, single: bool) -> None:
    """A float32 N x B matrix would take 200 MB."""
    rng = np.random.default_rng(6)
    given = frozen(rng.standard_normal((20_000, 12)))
    x = given.points[:2500] + sigma * rng.standard_normal((2500, 12))
    method = Blas(given)
    method.softmax(x[:2], np.full(2, sigma), single)
    tracemalloc.start()
    try:
        method.softmax(x, np.full(2500, sigma), single)
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("count", [1, 5, 63, 64, 65, 200])
def test_weights_of_rows_of_any_length(count: int) -> None:
    rng = np.random.default_rng(count)
    row = (10 * rng.standard_normal((3, 256))).astype(np.float32)[:, :count].copy()
    row[0, -1] = 50
    lanes = np.empty(products.LANES, np.float32)
    for p in range(3):
        assert products._largest(row, p, lanes) == row[p].max()
    exact = np.exp(np.minimum(row[1].astype(float) - 40, 0))
    exact[row[1] - 40 <= -28] = 0
    total = products._weigh_row(row, 1, np.float32(-40), np.float32(-28))
    np.testing.assert_allclose(row[1], exact, rtol=1e-5)
    np.testing.assert_allclose(total, exact.sum(), rtol=1e-5)
