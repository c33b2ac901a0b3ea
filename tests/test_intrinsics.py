"""The vector loops: 2^t to the last places, block sums, and the plain loops in their place."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import mpmath as mp
import numba as nb
import numpy as np
import pytest

import analytic
from analytic.kernels import intrinsics
from analytic.kernels.intrinsics import (
    CEILING,
    CEILING_SINGLE,
    FLOOR,
    FLOOR_SINGLE,
    LANES,
    centred,
    contract,
    gram,
    least,
    scatter,
    turn,
    weigh,
    weigh_single,
)

RNG = np.random.default_rng(11)


@nb.njit(error_model="numpy")
def powers(t):
    out = np.empty_like(t)
    for i in range(t.size):
        out[i] = intrinsics.exp2(t[i])
    return out


@nb.njit(error_model="numpy", fastmath={"reassoc", "nsz", "contract"})
def loose_powers(t):
    out = np.empty_like(t)
    for i in range(t.size):
        out[i] = intrinsics.exp2(t[i])
    return out


@nb.njit(error_model="numpy")
def weighed(zeros, X, L, first, last, near, twice, half, inv, base, out):
    weigh(zeros, X, L, first, last, near, twice, 0, half, inv, base, out)


@nb.njit(error_model="numpy")
def weighed_single(zeros, Y, block, slope, kappa, base, weighted, out):
    weigh_single(zeros, Y, block, 0, slope, kappa, base, weighted, out)


@nb.njit(error_model="numpy")
def turned(zeros, X, L, first, last, near, twice, half, inv, base, out):
    turn(zeros, X, L, first, last, near, twice, 0, half, inv, base, out)


@nb.njit(error_model="numpy")
def contracted(A, j, f, g, d, out, jo, ko):
    contract(A, j, f, g, d, out, jo, ko)


@nb.njit(error_model="numpy")
def scattered(zeros, X, L, first, last, near, twice, half, inv, base, centre, v, third, out):
    scatter(zeros, X, L, first, last, near, twice, 0, half, inv, base, centre, v, third, out)


@nb.njit(error_model="numpy")
def squared(zeros, X, L, first, last, near, twice, half, inv, base, centre, rows, out):
    centred(zeros, X, L, first, last, near, twice, 0, half, inv, base, centre, rows, out)
    gram(rows, len(zeros), last - first, 0, out)


@nb.njit(error_model="numpy")
def leasts(zeros, X, L, first, last, Q, lift, best, index):
    least(zeros, X, L, first, last, Q, 0, lift, best, index)


def arguments(low: float, high: float, dtype: type) -> np.ndarray:
    """Every binade of |t|, every boundary of rounding, both ends, and thousands at random."""
    binades = (
        np.exp2(np.arange(-1074.0, 11)) if dtype is np.float64 else np.exp2(np.arange(-140.0, 8))
    )
    halves = np.arange(low, high + 0.5, 0.5)
    ends = [low, np.nextafter(dtype(low), dtype(0)), high, np.nextafter(dtype(high), dtype(0)), 0.0]
    dense = RNG.uniform(-2, 2, 2000)
    t = np.concatenate(
        [
            binades,
            -binades,
            halves,
            halves + 1e-9,
            halves - 1e-9,
            ends,
            dense,
            RNG.uniform(low, high, 4000),
        ]
    ).astype(dtype)
    t = np.concatenate([t, np.nextafter(t, dtype(np.inf)), np.nextafter(t, dtype(-np.inf))])
    return t[(t > low) & (t <= high)]


@pytest.mark.parametrize(
    ("dtype", "low", "high", "bits", "units"),
    [(np.float64, FLOOR, CEILING, 53, 5.0), (np.float32, FLOOR_SINGLE, CEILING_SINGLE, 24, 3.0)],
)
def test_powers_are_right_to_a_few_units_in_the_last_place(
    dtype: type, low: float, high: float, bits: int, units: float
) -> None:
    if intrinsics.PLAIN and dtype is np.float32:
        pytest.skip("the plain loops have no float32")
    t = arguments(low, high, dtype)
    worst = 0.0
    with mp.workdps(30):
        for a, found in zip(t, powers(t), strict=True):
            true = mp.power(2, mp.mpf(float(a)))
            unit = mp.mpf(2) ** (mp.floor(mp.log(true, 2)) + 1 - bits)
            worst = max(worst, float(abs(mp.mpf(float(found)) - true) / unit))
    assert len(t) > 10_000
    assert worst <= units
    whole = np.arange(np.ceil(low) + 1, high, dtype=dtype)
    if dtype is np.float64:
        np.testing.assert_array_equal(powers(whole), np.exp2(whole))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_flags_of_the_caller_do_not_cancel_the_rounding(dtype: type) -> None:
    """(t + M) - M is not t, even in a function that may reassociate."""
    if intrinsics.PLAIN and dtype is np.float32:
        pytest.skip("the plain loops have no float32")
    t = RNG.uniform(-60, 50, 1000).astype(dtype)
    np.testing.assert_allclose(loose_powers(t), powers(t), rtol=4 * float(np.finfo(dtype).eps))


def test_float32_powers_all_over_the_range() -> None:
    """Every 97th float32 between the floor and 2⁻³⁰ below zero, against float64."""
    if intrinsics.PLAIN:
        pytest.skip("the plain loops have no float32")
    bits = np.arange(
        np.float32(2.0**-30).view(np.int32), np.float32(-FLOOR_SINGLE).view(np.int32), 97
    )
    t = bits.astype(np.int32).view(np.float32)
    for sign in (-1, 1):
        part = sign * t[t < CEILING_SINGLE] if sign > 0 else -t
        true = np.exp2(part.astype(float))
        error = np.abs(powers(part) - true) / np.exp2(np.floor(np.log2(true)) - 23)
        assert error.max() <= 3.0


def test_ends_of_the_range() -> None:
    t = np.array(
        [-np.inf, -1e300, -1e6, FLOOR, FLOOR + 1e-9, CEILING, CEILING + 1, 1e300, np.inf, np.nan]
    )
    found = powers(t)
    np.testing.assert_array_equal(found[:4], 0.0)
    assert 0 < found[4] <= 2.0**-899.9
    np.testing.assert_array_equal(found[5:], 2.0**CEILING)


def block(dim: int, count: int) -> tuple[np.ndarray, ...]:
    X, L = np.full((dim, 600 + LANES), 1e3), np.full(600 + LANES, 1e3)
    X[:, :count], L[:count] = RNG.standard_normal((dim, count)), RNG.standard_normal(count)
    return X, L


@pytest.mark.parametrize("dim", [1, 6, 7, 8, 16])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 511, 512])
def test_block_sums(dim: int, count: int) -> None:
    """Against NumPy, with and without log-weights, added to what was there; spare lanes unseen."""
    X, L = block(dim, count + 3)
    zeros, near, toward = (0.0,) * dim, RNG.standard_normal((1, dim)), RNG.standard_normal((1, dim))
    for logs in (None, L):
        out = np.full((1, 32), 0.5)
        weighed(zeros, X, logs, 3, 3 + count, near, toward, 0.7, 1.1, 0.25, out)
        e = X[:, 3 : 3 + count].T - near
        t = -(e * (e - toward)).sum(axis=1) * 0.7 * 1.1
        w = np.exp2(t if logs is None else t + L[3 : 3 + count] - 0.25)
        np.testing.assert_allclose(out[0, 0] - 0.5, w.sum(), rtol=1e-13, atol=1e-15)
        size = w @ np.abs(e)
        assert (np.abs(out[0, 1 : dim + 1] - 0.5 - w @ e) <= 1e-13 * (1 + size)).all()


@pytest.mark.parametrize("dim", [1, 5, 6, 7, 9, 16])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 511, 512])
def test_block_moments(dim: int, count: int) -> None:
    """Against NumPy; nothing is written beyond the sums and the vector to spare."""
    X, L = block(dim, count + 3)
    zeros, pitch = (0.0,) * dim, -(-dim // LANES) * LANES
    near, toward, centre, v = RNG.standard_normal((4, 1, dim))
    e = X[:, 3 : 3 + count].T - near
    y = e - centre
    for logs in (None, L):
        t = -(e * (e - toward)).sum(axis=1) * 0.7 * 1.1
        t = t if logs is None else t + L[3 : 3 + count] - 0.25
        w, square = np.exp2(t), (y**2).sum(axis=1)
        given = zeros, X, logs, 3, 3 + count, near, toward, 0.7, 1.1, 0.25, centre
        pull = (w * (0.3 * square + y @ v[0])) @ y
        scalars = w.sum(), w @ square, w @ t
        for way, sums in ((None, [*scalars]), (v, [*scalars, *pull])):
            out = np.full((2, len(sums) + LANES), 0.5)
            scattered(*given, way, 0.3, out)
            size = 1 + w @ (1 + square) ** 1.5 * (1 + np.abs(v).sum()) + w @ np.abs(t)
            assert (np.abs(out[0, : len(sums)] - 0.5 - sums) <= 1e-13 * size).all()
            np.testing.assert_array_equal(out[0, len(sums) :], 0.5)
            np.testing.assert_array_equal(out[1], 0.5)
        out, rows = np.full((2, LANES + pitch**2), 0.5), np.zeros((1 + pitch, 520))
        squared(*given, rows, out)
        found = out[0, LANES:].reshape(pitch, pitch)[:dim, :dim] - 0.5
        true = (w[:, None] * y).T @ y
        np.testing.assert_allclose(out[0, 0] - 0.5, w.sum(), rtol=1e-13, atol=1e-15)
        assert (np.abs(np.triu(found - true)) <= 1e-13 * (1 + w @ square)).all()
        np.testing.assert_array_equal(out[1], 0.5)


@pytest.mark.parametrize("dim", [1, 3, 5, 12, 13, 16])
def test_single_block_sums(dim: int) -> None:
    Y = np.zeros((3, dim + 2, 48), dtype=np.float32)
    Y[:, 1 : dim + 1] = RNG.standard_normal((3, dim, 48))
    Y[:, dim + 1] = -RNG.random((3, 48))
    Y[:, 0] = (Y[:, 1 : dim + 1] ** 2).sum(axis=1)
    Y[:, 0, 40:] = np.inf
    slope = RNG.standard_normal((1, dim)).astype(np.float32)
    for weighted in (None, Y):
        out = np.zeros((1, 32), dtype=np.float32)
        given = np.float32(0.3), np.float32(-0.2), weighted, out
        weighed_single((0.0,) * dim, Y, 1, slope, *given)
        y = Y[1, :, :40].astype(float)
        t = -0.3 * y[0] + slope[0].astype(float) @ y[1 : dim + 1] - 0.2
        w = np.exp2(t if weighted is None else t + y[dim + 1])
        expected = np.concatenate([[w.sum()], y[1 : dim + 1] @ w])
        scale = np.concatenate([[w.sum()], np.abs(y[1 : dim + 1]) @ w])
        assert (np.abs(out[0, : dim + 1] - expected) <= 3e-6 * scale).all()


@pytest.mark.parametrize("dim", [1, 3, 9, 16])
def test_the_least_key_and_the_first_of_equals(dim: int) -> None:
    zeros = (0.0,) * dim
    for count in (1, 5, 8, 13, 200):
        X, L = block(dim, count)
        X[:, :count] = np.round(X[:, :count])
        L[:count] = 0.0
        x = np.round(RNG.standard_normal((1, dim)))
        best, index = np.array([math.inf]), np.array([-1])
        leasts(zeros, X, L, 0, count, x, 1.0, best, index)
        key = ((X[:, :count].T - x) ** 2).sum(axis=1)
        assert (best[0], index[0]) == (key.min(), key.argmin())
        # nothing but less replaces it
        leasts(zeros, X, L, 0, count, x, 1.0, best, np.array([-5]))
        assert index[0] == key.argmin()


PLAIN = """
import sys
import numpy as np
from analytic import PointSet
from analytic.kernels import intrinsics
from analytic.methods import Fused, Sites
assert intrinsics.PLAIN, "native"
given = np.load(sys.argv[1])
points = PointSet(given["rows"], given["weights"])
method = Fused(Sites.of(points.points, points.log_weights))
wide = method.softmax(given["x"], given["s"])
single = method.softmax(given["x"], given["s"], single=True)
spread = method.spread(given["x"], given["s"], wide, given["x"], 0.5)
alone = method.spread(given["x"], given["s"], wide)
rows = points.points
np.savez(sys.argv[2], log_sum=wide.log_sum, mean=rows[wide.ref] + wide.shift,
         single=rows[single.ref] + single.shift, covariance=method.covariance(
             given["x"], given["s"], wide), alone=alone.trace, **spread._asdict())
"""


def test_plain_loops_agree(tmp_path: Path) -> None:
    """In another process and another cache, which know no vectors."""
    from analytic import PointSet
    from analytic.methods import Fused, Sites

    rows, weights = RNG.standard_normal((700, 3)), RNG.uniform(0.1, 1, 700)
    x, s = RNG.standard_normal((20, 3)), 10 ** RNG.uniform(-2, 1, 20)
    np.savez(tmp_path / "given.npz", rows=rows, weights=weights, x=x, s=s)
    env = os.environ | {
        "ANALYTIC_PLAIN_KERNELS": "1",
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": str(Path(analytic.__file__).parents[1]),
    }
    files = [str(tmp_path / name) for name in ("given.npz", "found.npz")]
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, *files], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = np.load(files[1])
    points = PointSet(rows, weights)
    method = Fused(Sites.of(points.points, points.log_weights))
    native = method.softmax(x, s)
    spread = method.spread(x, s, native, x, 0.5)
    np.testing.assert_allclose(found["log_sum"], native.log_sum, rtol=1e-11, atol=1e-11)
    mean = points.points[native.ref] + native.shift
    np.testing.assert_allclose(found["mean"], mean, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found["single"], mean, rtol=0, atol=1e-4)
    for name, true in spread._asdict().items():
        np.testing.assert_allclose(found[name], true, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(found["alone"], spread.trace, rtol=1e-11, atol=1e-11)
    covariance = method.covariance(x, s, native)
    np.testing.assert_allclose(found["covariance"], covariance, rtol=0, atol=1e-11)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 8, 13, 512])
def test_sums_for_the_turn_of_the_flow(dim: int, count: int) -> None:
    X, L = block(dim, count + 2)
    near, toward = RNG.standard_normal((1, dim)), RNG.standard_normal((1, dim))
    for logs in (None, L):
        out = np.full((1, 40), 0.25)
        turned((0.0,) * dim, X, logs, 2, 2 + count, near, toward, 0.3, 1.2, 0.5, out)
        e = X[:, 2 : 2 + count].T - near
        t = -(e * (e - toward)).sum(axis=1) * 0.3 * 1.2
        w = np.exp2(t if logs is None else t + L[2 : 2 + count] - 0.5)
        upper = [w @ (e[:, a] * e[:, d]) for a in range(dim) for d in range(a, dim)]
        expected = [w.sum(), *(w @ e), *upper, *((w * (e**2).sum(axis=1)) @ e)]
        size = w @ (1 + np.abs(e).sum(axis=1)) ** 3
        found = out[0, : len(expected)] - 0.25
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * (1 + size))


@pytest.mark.parametrize("shape", [(4, 8), (16, 16), (24, 48)])
def test_contraction_of_both_factors(shape: tuple[int, int]) -> None:
    rows, n = shape
    A, f, g = (RNG.standard_normal(each) for each in ((3, rows, n), (2, n), (2, n)))
    out = np.full((4, rows), np.nan)
    contracted(A, 1, f, g, 1, out, 0, 2)
    np.testing.assert_allclose(out[0], A[1] @ f[1], rtol=0, atol=1e-13 * n)
    np.testing.assert_allclose(out[2], A[1] @ g[1], rtol=0, atol=1e-13 * n)
