"""The k-d order, its boxes, and the nearest point by branch and bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytic.kernels import fused, leaves, threads

RNG = np.random.default_rng(5)
CLOUDS = {
    "cloud": RNG.standard_normal((40_000, 3)),
    "sorted": np.sort(RNG.standard_normal((33_000, 1)), axis=0),
    "reversed": np.sort(RNG.standard_normal((20_001, 1)), axis=0)[::-1].copy(),
    "lattice": RNG.integers(0, 4, (30_000, 2)).astype(float),
    "equal": np.ones((5_000, 2)),
    "copies": np.repeat(RNG.standard_normal((50, 2)), 300, axis=0),
    "clusters": RNG.standard_normal((20_000, 2)) * 1e-9 + RNG.integers(0, 5, (20_000, 1)) * 1e6,
    "wide": RNG.standard_normal((700, 12)),
    "few": RNG.standard_normal((3, 2)),
    "one": np.array([[1.0, 2.0]]),
}


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> np.ndarray:
    return CLOUDS[request.param]


@pytest.mark.parametrize("size", [2, 16, 300])
def test_every_node_is_cut_at_its_median_row_along_its_widest_axis(
    cloud: np.ndarray, size: int
) -> None:
    order, levels = leaves.build(cloud, size)
    rows, count = cloud[order], len(cloud)
    np.testing.assert_array_equal(np.sort(order), np.arange(count))
    assert -(-count // (1 << levels)) <= size
    assert levels == 0 or -(-count // (1 << (levels - 1))) > size
    low, high = leaves.boxes(rows, levels)
    assert len(low) == len(high) == 2 ** (levels + 1) - 1
    for h in range(levels + 1):
        for m in range(1 << h) if h < 9 else (0, 1, (1 << h) // 3, (1 << h) - 1):
            a, b = count * m >> h, count * (m + 1) >> h
            k = (1 << h) - 1 + m
            np.testing.assert_array_equal(low[k], rows[a:b].min(axis=0))
            np.testing.assert_array_equal(high[k], rows[a:b].max(axis=0))
            if h < levels:
                cut, axis = count * (2 * m + 1) >> (h + 1), (high[k] - low[k]).argmax()
                assert rows[a:cut, axis].max() <= rows[cut:b, axis].min()


def test_the_heaviest_log_weight_of_every_node() -> None:
    logs = np.random.default_rng(0).standard_normal(77)
    top = leaves.top_logs(logs, 3)
    for h in range(4):
        for m in range(1 << h):
            assert top[(1 << h) - 1 + m] == logs[77 * m >> h : 77 * (m + 1) >> h].max()


def search(rows, logs, x, sigma, size=16, vectors=False, nats=0.0):
    order, levels = leaves.build(rows, size)
    ordered, heights = rows[order], logs[order]
    boxes = *leaves.boxes(ordered, levels), leaves.top_logs(heights, levels), levels
    if vectors:
        sides = fused.columns(ordered), fused.columns(heights[:, None])[0]
        zeros = (0.0,) * rows.shape[1]
        return order[leaves.nearest(*sides, *boxes, x, sigma, zeros, nats)]
    return order[leaves.nearest(ordered, heights, *boxes, x, sigma, None, nats)]


@pytest.mark.parametrize("vectors", [False, True])
@given(st.sampled_from(sorted(CLOUDS)), st.floats(-9, 3), st.integers(0, 2**32 - 1), st.booleans())
def test_the_nearest_is_the_nearest(
    vectors: bool, name: str, exponent: float, seed: int, far: bool
) -> None:
    rng = np.random.default_rng(seed)
    rows = CLOUDS[name][:3000]
    sigma = np.full(9, 10**exponent)
    x = rows[rng.integers(len(rows), size=9)]
    x = x + sigma[:, None] * rng.standard_normal(x.shape) * (1e6 if far else 1.0)
    logs = rng.standard_normal(len(rows)) * rng.choice([0.0, 1.0, 10.0])
    found = search(rows, logs, x, sigma, size=int(rng.integers(2, 200)), vectors=vectors)
    for q, i, s in zip(x, found, sigma, strict=True):
        square = ((q - rows) ** 2).sum(axis=1)
        lift = 2 * s * s * logs
        key = square - lift
        rough = 2e-15 * (rows.shape[1] + 4)
        slack = rough * (square[i] + abs(lift[i]) + square[key.argmin()] + abs(lift[key.argmin()]))
        assert key[i] <= key.min() + slack


def test_a_point_within_some_nats_is_enough() -> None:
    rng = np.random.default_rng(1)
    rows, x = rng.standard_normal((5000, 2)), rng.standard_normal((200, 2))
    zero, sigma = np.zeros(5000), np.full(200, 0.3)
    exact = search(rows, zero, x, sigma, vectors=True)
    near = search(rows, zero, x, sigma, vectors=True, nats=2.0)

    def logit(i: np.ndarray) -> np.ndarray:
        return -((x - rows[i]) ** 2).sum(axis=1) / (2 * 0.3**2)

    assert (exact != near).any()
    assert (logit(exact) - logit(near) <= 2.0 + 1e-9).all()


def test_threads_and_batch_mates_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    rows, logs = np.round(rng.standard_normal((40_000, 2)), 2), np.round(rng.random(40_000), 1)
    x, sigma = np.round(rng.standard_normal((50, 2)), 2), 10 ** rng.uniform(-3, 1, 50)
    before, orders, found = threads.get_num_threads(), [], []
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)
    try:
        for count in (1, 2, 5):
            threads.set_num_threads(count)
            orders.append(leaves.build(rows, 8)[0])
            for vectors in (False, True):
                found.append(search(rows, logs, x, sigma, vectors=vectors))
    finally:
        threads.set_num_threads(before)
    for order in orders[1:]:
        np.testing.assert_array_equal(order, orders[0])
    for k in (2, 3, 4, 5):
        np.testing.assert_array_equal(found[k], found[k % 2])
    for k in range(0, 50, 7):
        alone = search(rows, logs, x[k : k + 1], sigma[k : k + 1], vectors=True)
        assert alone[0] == found[1][k]
