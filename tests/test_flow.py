"""The exact flow against closed forms, foreign integrators and its own promises."""

from __future__ import annotations

import itertools
import re
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from scipy.special import log_ndtr, logsumexp

import analytic as an
from analytic import GaussianDenoiser, OptimalDenoiser, PointSet, integrate
from analytic._dop853 import DENSE, E5, A, C
from analytic.exact import gaussian_flow, quantile_flow, quantile_gain
from analytic.trajectory import Result

AMPLIFICATION = 100.0
"""Rows whose perturbations grow by more between some saved level and the end are left out."""


def mixture(seed: int) -> tuple[PointSet, np.ndarray, float]:
    """Random data on a line, four starts at σ = 80, and a last level."""
    rng = np.random.default_rng([11, seed])
    count = int(rng.integers(1, 20))
    points = PointSet(rng.standard_normal((count, 1)), rng.dirichlet(np.ones(count)) + 1e-12)
    return points, 80.0 * rng.standard_normal((4, 1)), float(10 ** rng.uniform(-2.5, 0))


def log_tails(points: PointSet, x: np.ndarray, sigma: float) -> np.ndarray:
    """(2, B) log F_σ and log(1 - F_σ)."""
    gaps = (x - points.points[:, 0]) / sigma
    return np.array(
        [logsumexp(log_ndtr(sign * gaps), b=points.weights, axis=1) for sign in (1, -1)]
    )


def quantile_miss(
    points: PointSet, x: np.ndarray, high: float, y: np.ndarray, low: float
) -> np.ndarray:
    """100 mixtures x 4 starts: errors at 24 levels, amplifications, some of the estimates."""
    target, found = log_tails(points, x, high), log_tails(points, y, low)
    smaller = target.argmin(axis=0)[None]
    log_mass = np.take_along_axis(found, smaller, axis=0)[0]
    difference = log_mass - np.take_along_axis(target, smaller, axis=0)[0]
    log_density = OptimalDenoiser(points).log_prob(y, low)
    return np.abs(difference) * np.exp(log_mass - log_density)


@pytest.fixture(scope="module")
def line_runs() -> dict[str, np.ndarray]:
    """100 mixtures x 4 starts: errors at 24 levels, amplifications, and some of the estimates."""
    rows: dict[str, list[np.ndarray]] = {"path": [], "last": [], "estimate": [], "gain": []}
    for seed in range(100):
        points, x, low = mixture(seed)
        levels = an.grids.polynomial(24, 80.0, low)
        run = integrate(
            OptimalDenoiser(points),
            x,
            80.0,
            low,
            rtol=1e-10,
            atol=1e-12,
            save_at=levels,
            estimate_error=seed % 2 == 0,
        )
        assert run.ok, seed
        final = quantile_flow(points, x, 80.0, low)
        pairs = list(zip(run.states, run.sigmas, strict=True))
        gains = [quantile_gain(points, y, s, final, low) for y, s in pairs]
        off = [quantile_miss(points, x, 80.0, y, s) for y, s in pairs]
        rows["last"].append(np.abs(run.final - final)[:, 0])
        rows["path"].append(np.max([*off, rows["last"][-1]], axis=0))
        rows["estimate"].append(run.error)
        rows["gain"].append(np.max(gains, axis=0))
    return {key: np.concatenate(value) for key, value in rows.items()}


def test_flow_is_the_quantile_map(line_runs: dict[str, np.ndarray]) -> None:
    """Within 1e-9 at all 24 levels, most of them interpolated.

    Of the 400 trajectories those near a separatrix, amplification above 100, are left out.
    """
    out = line_runs["gain"] > AMPLIFICATION
    assert out.mean() < 0.05, f"{out.sum()} of {out.size} excluded"
    assert line_runs["path"][~out].max() <= 1e-9


def test_error_estimate_covers_the_error(line_runs: dict[str, np.ndarray]) -> None:
    """On 99 % of 200 rows, separatrices included, and it is no blank cheque."""
    asked = np.isfinite(line_runs["estimate"])
    assert asked.sum() == 200
    # the quantile map itself is good to a few units of rounding times the amplification
    judge = 2e-16 * (10 + line_runs["gain"])
    covered = (line_runs["last"] <= line_runs["estimate"] + judge)[asked]
    assert covered.mean() >= 0.99, f"{(~covered).sum()} of {covered.size} not covered"
    assert np.median(line_runs["estimate"][asked]) <= 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_flow_of_gaussian_data(seed: int) -> None:
    rng = np.random.default_rng([12, seed])
    root = rng.standard_normal((5, 5)) * [3.0, 1.0, 0.3, 0.05, 0.0]
    data = GaussianDenoiser(rng.standard_normal(5), root @ root.T)
    x = 80 * rng.standard_normal((6, 5))
    run = integrate(data, x, 80.0, 0.002)
    assert run.ok
    assert run.collapse is None
    for state, sigma in zip(run.states, run.sigmas, strict=True):
        exact = gaussian_flow(data, x, 80.0, float(sigma))
        assert np.abs(state - exact).max() <= 1e-9 * (1 + np.abs(exact).max())
    off = np.linalg.norm(run.final - gaussian_flow(data, x, 80.0, 0.002), axis=1)
    assert (off <= run.error).all()


def test_flow_to_zero_ends_on_data_points() -> None:
    points = an.datasets.two_moons(60, seed=3)
    x = an.noise(40, points, 80.0, 5)
    run = integrate(OptimalDenoiser(points), x)
    assert run.ok
    assert run.sigmas[-1] == 0
    assert run.collapse.certified.all()
    np.testing.assert_array_equal(run.final, points.points[run.collapse.index])
    np.testing.assert_array_equal(run.denoised[-1], run.final)
    assert len(np.unique(run.collapse.index)) > 5
    # the certified level is one of the integrator's, and its straight line holds from there on
    assert ((run.collapse.sigma > 0) & (run.collapse.sigma < 80)).all()
    short = integrate(
        lambda q, s: OptimalDenoiser(points)(q, s), x, 80.0, 1e-3, estimate_error=False
    )
    assert np.linalg.norm(short.final - run.final, axis=1).max() < 5e-3


@pytest.mark.parametrize("seed", range(4))
def test_limits_are_those_of_the_quantile_map(seed: int) -> None:
    points, x, _ = mixture(seed)
    run = integrate(OptimalDenoiser(points), x, 80.0, 0.0)
    np.testing.assert_array_equal(run.final, quantile_flow(points, x, 80.0, 0.0))


def test_the_collapse_bound_holds_along_the_flow() -> None:
    points = PointSet(np.random.default_rng(6).standard_normal((7, 1)))
    x = an.noise(20, points, 80.0, 6)
    found = integrate(OptimalDenoiser(points), x).collapse
    for k in range(20):
        s = float(found.sigma[k])
        end = points.points[found.index[k], 0]
        here = quantile_flow(points, x[k], 80.0, s)[0]
        for share in (0.9, 0.5, 0.1):
            there = quantile_flow(points, x[k], 80.0, share * s)[0]
            assert abs(there - end - share * (here - end)) <= found.bound[k] + 1e-12


def test_saved_states_agree_with_runs_that_stop_there() -> None:
    """Dense output against steps that end exactly at the level."""
    points = PointSet(np.random.default_rng(7).standard_normal((12, 3)))
    denoiser, x = OptimalDenoiser(points), an.noise(6, points, 80.0, 7)
    levels = np.array([80.0, 33.3, 7.1, 2.02, 0.91, 0.5, 0.33, 0.2])
    run = integrate(denoiser, x, 80.0, 0.2, save_at=levels, estimate_error=False)
    np.testing.assert_array_equal(run.sigmas, levels)
    for state, level in zip(run.states[1:], levels[1:], strict=True):
        stop = integrate(denoiser, x, 80.0, float(level), save_at=[], estimate_error=False)
        assert stop.sigmas.tolist() == [80.0, level]
        assert np.abs(stop.final - state).max() <= 1e-9
    for denoised, state, level in zip(run.denoised, run.states, levels, strict=True):
        np.testing.assert_array_equal(denoised, denoiser(state, level))


@pytest.mark.parametrize("low", [0.0, 0.05])
def test_rows_do_not_feel_their_batch_mates(low: float) -> None:
    points = an.datasets.two_moons(24, seed=1)
    denoiser = OptimalDenoiser(points)
    x = an.noise(8, points, 80.0, 2) * 10 ** np.linspace(-2, 1, 8)[:, None]
    whole = integrate(denoiser, x, 80.0, low)
    for k in range(8):
        alone, part = integrate(denoiser, x[k : k + 1], 80.0, low), whole.select([k])
        for name in ("states", "denoised", "nfe", "error", "result"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(part, name))
        for name in ("index", "certified", "sigma", "bound"):
            np.testing.assert_array_equal(
                getattr(alone.collapse, name), getattr(part.collapse, name)
            )


def test_part_of_the_space_off_the_span_scales() -> None:
    """C5: orthogonal to the data x(σ) is exactly proportional to σ."""
    rng = np.random.default_rng(8)
    rows = np.c_[rng.standard_normal((9, 2)), np.zeros(9)]
    x = an.noise(8, 3, 80.0, 8)
    run = integrate(OptimalDenoiser(rows), x, 80.0, 0.01)
    np.testing.assert_allclose(run.states[:, :, 2], run.sigmas[:, None] / 80 * x[:, 2], rtol=1e-12)


def test_one_point_is_a_straight_line() -> None:
    x = np.array([[3.0, -40.0], [100.0, 2.0]])
    run = integrate(OptimalDenoiser([[1.0, -2.0]]), x, 80.0, 0.0)
    share = run.sigmas[:, None, None] / 80
    np.testing.assert_allclose(
        run.states, share * x + (1 - share) * [1.0, -2.0], rtol=1e-14, atol=1e-14
    )
    np.testing.assert_array_equal(run.final, [[1.0, -2.0]] * 2)
    assert run.collapse.certified.all()
    assert (run.nfe == 1).all()
    below = integrate(lambda q, s: OptimalDenoiser([[1.0, -2.0]])(q, s), x, 80.0, 0.5)
    np.testing.assert_allclose(
        below.final, 0.5 / 80 * x + (1 - 0.5 / 80) * np.array([1.0, -2.0]), rtol=1e-13
    )


def test_a_separatrix_is_left_undecided() -> None:
    run = integrate(OptimalDenoiser([[-1.0], [1.0]]), [[0.0], [30.0], [-1e-3]], 80.0, 0.0)
    assert run.result.tolist() == [Result.UNDECIDED, Result.DONE, Result.DONE]
    np.testing.assert_array_equal(run.final, [[0.0], [1.0], [-1.0]])
    np.testing.assert_array_equal(run.collapse.certified, [False, True, True])
    assert np.isinf(run.collapse.bound[0])
    assert np.isnan(run.collapse.sigma[0])
    assert not run.ok
    assert re.search(r"1 x UNDECIDED \(rows 0\): .*separatrix", run.explain())


def test_max_steps_stops_only_the_slow_ones() -> None:
    points = PointSet(np.random.default_rng(9).standard_normal((12, 2)))
    denoiser, x = OptimalDenoiser(points), an.noise(30, points, 80.0, 9)
    full = integrate(denoiser, x, 80.0, 0.0, estimate_error=False)
    low, high = 1, 400
    while low < high:  # steps that let about half of the rows finish
        middle = (low + high) // 2
        done = integrate(denoiser, x, max_steps=middle, estimate_error=False).result == Result.DONE
        low, high = (low, middle) if done.mean() >= 0.5 else (middle + 1, high)
    run = integrate(denoiser, x, max_steps=low, estimate_error=False)
    done = run.result == Result.DONE
    assert 0 < done.sum() < 30
    assert (run.result[~done] == Result.MAX_STEPS).all()
    np.testing.assert_array_equal(run.states[:, done], full.states[:, done])
    slow = run.states[:, ~done]
    kept = np.isfinite(slow)
    np.testing.assert_array_equal(slow[kept], full.states[:, ~done][kept])
    assert kept[0].all()
    assert not kept[-1].any()
    assert "raise max_steps" in run.explain()


def test_a_denoiser_that_breaks_stops_only_its_rows() -> None:
    denoiser = OptimalDenoiser([[-1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])

    def broken(x: np.ndarray, sigma: Any) -> np.ndarray:
        result = denoiser(np.nan_to_num(x), sigma)
        result[(x[:, 0] > 0) & (np.asarray(sigma) < 1.0) | np.isnan(x).any(axis=1)] = np.nan
        return result

    x = np.array([[40.0, 3.0], [-40.0, 3.0], [60.0, -50.0]])
    run = integrate(broken, x, 80.0, 0.1)
    assert run.result.tolist() == [Result.NON_FINITE, Result.DONE, Result.NON_FINITE]
    good = integrate(lambda q, s: denoiser(q, s), x, 80.0, 0.1)
    np.testing.assert_array_equal(run.final[1], good.final[1])
    above = run.sigmas > 2.0
    np.testing.assert_array_equal(run.states[above], good.states[above])
    assert np.isnan(run.final[[0, 2]]).all()
    assert np.isnan(run.denoised[-1, [0, 2]]).all()
    assert np.isnan(run.error[[0, 2]]).all()
    dead = integrate(lambda q, s: np.full_like(q, np.nan), x, 80.0, 0.1)
    assert (dead.result == Result.NON_FINITE).all()
    assert (dead.nfe == 1).all()


def test_a_denoiser_is_only_asked_about_finite_states() -> None:
    def broken(x: np.ndarray, sigma: Any) -> np.ndarray:
        assert np.isfinite(x).all()
        return np.where(np.asarray(sigma)[:, None] < 1.0, np.nan, 0.5 * x)

    run = integrate(broken, [[40.0, 3.0]], 80.0, 0.1)
    assert run.result.tolist() == [Result.NON_FINITE]


def test_a_float32_denoiser_ends() -> None:
    """Too coarse for rtol 1e-10: it may stall, or finish as well as it can, but it ends."""
    denoiser = OptimalDenoiser(np.random.default_rng(10).standard_normal((8, 2)))
    x = an.noise(4, 2, 80.0, 10)

    def coarse(q: np.ndarray, s: Any) -> np.ndarray:
        return denoiser(q.astype(np.float32), s)

    run = integrate(coarse, x, 80.0, 0.05, rtol=1e-10, estimate_error=False)
    exact = integrate(denoiser, x, 80.0, 0.05, estimate_error=False)
    assert set(run.result.tolist()) <= {Result.DONE, Result.STALLED}
    done = run.result == Result.DONE
    assert np.abs(run.final - exact.final)[done].max(initial=0.0) <= 1e-3
    assert np.isnan(run.final[~done]).all()
    easy = integrate(coarse, x, 80.0, 0.05, rtol=1e-4, atol=1e-5)
    assert easy.ok
    assert np.abs(easy.final - exact.final).max() <= 1e-2


def test_float32_states_come_back_as_float32() -> None:
    denoiser = OptimalDenoiser([[-1.0, 0.0], [1.0, 0.5]])
    x = an.noise(3, 2, 80.0, 1).astype(np.float32)
    run, wide = (integrate(denoiser, q, 80.0, 0.1) for q in (x, x.astype(np.float64)))
    assert run.states.dtype == run.denoised.dtype == np.float32
    np.testing.assert_array_equal(run.states, wide.states.astype(np.float32))


def test_single_start() -> None:
    denoiser = OptimalDenoiser([[-1.0, 0.0], [1.0, 0.5]])
    run = integrate(denoiser, [30.0, -7.0], 80.0, 0.1)
    np.testing.assert_array_equal(run.states, integrate(denoiser, [[30.0, -7.0]], 80.0, 0.1).states)
    assert run.final.shape == (1, 2)


@pytest.mark.parametrize("low", [0.0, 0.3])
def test_no_starts(low: float) -> None:
    run = integrate(OptimalDenoiser([[-1.0, 0.0], [1.0, 0.5]]), np.empty((0, 2)), 80.0, low)
    assert run.states.shape == (64, 0, 2)
    assert run.nfe.shape == run.error.shape == run.collapse.index.shape == (0,)
    assert run.ok


@pytest.mark.parametrize("low", [0.02, 0.7])
def test_nfe_counts_the_rows_the_denoiser_saw(low: float) -> None:
    denoiser, rows = OptimalDenoiser(np.random.default_rng(11).standard_normal((9, 2))), []

    def counted(q: np.ndarray, s: Any) -> np.ndarray:
        rows.append(len(q))
        return denoiser(q, s)

    run = integrate(
        counted, an.noise(7, 2, 80.0, 11), 80.0, low, save_at=[10.0, 1.0], estimate_error=False
    )
    assert run.ok
    path = len(run.sigmas) * 7
    assert run.nfe.sum() == sum(rows) - path
    assert (run.nfe >= 13).all()


def test_tolerance_is_obeyed_and_paid_for() -> None:
    points = PointSet(np.random.default_rng(12).standard_normal((6, 1)))
    x = 80 * np.random.default_rng(13).standard_normal((30, 1))
    exact = quantile_flow(points, x, 80.0, 0.3)
    work, errors = [], []
    for rtol in (1e-4, 1e-7, 1e-10, 1e-13):
        run = integrate(
            OptimalDenoiser(points), x, 80.0, 0.3, rtol=rtol, atol=rtol / 100, estimate_error=False
        )
        work.append(run.nfe.mean())
        errors.append(np.abs(run.final - exact).max())
        # steps are few and perturbations grow by less than 20 for these starts
        assert errors[-1] <= 20 * rtol + 1e-13
    assert (np.diff(work) > 0).all()
    assert (np.diff(errors) < 0).all()


def test_scaling_the_problem_scales_the_answer() -> None:
    rows = np.random.default_rng(14).standard_normal((6, 2))
    x = an.noise(4, 2, 80.0, 14)
    here = integrate(OptimalDenoiser(rows), x, 80.0, 0.1, atol=0.0)
    for c in (2.0**-100, 2.0**40):
        there = integrate(
            OptimalDenoiser(c * rows), c * x, 80.0 * c, 0.1 * c, atol=0.0, save_at=c * here.sigmas
        )
        np.testing.assert_allclose(there.states, c * here.states, rtol=1e-9)


# Foreign integrators


def test_against_scipy() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is optional")
    from scipy.integrate import solve_ivp

    points = an.datasets.digits(200)
    denoiser, x = OptimalDenoiser(points), an.noise(3, points, 80.0, 15)
    run = integrate(denoiser, x, 80.0, 0.05)
    for k in range(3):
        other = solve_ivp(
            lambda s, y: (y - denoiser(y, s)) / s,
            (80.0, 0.05),
            x[k],
            method="DOP853",
            rtol=1e-12,
            atol=1e-12,
            t_eval=run.sigmas[::9],
        )
        assert np.abs(other.y.T - run.states[::9, k]).max() <= 1e-8


def reference_flow(
    points: PointSet, x: np.ndarray, high: float, levels: list[float]
) -> list[np.ndarray]:
    """dx/dλ = D - x, σ = e^{-λ}, by Gragg's extrapolation in 30 digits."""
    axes = range(points.dim)
    rows = [[mp.mpf(float(c)) for c in row] for row in points.points]
    logs = [mp.log(mp.mpf(float(w))) for w in points.weights]

    def slope(lam: mp.mpf, y: list) -> list:
        inverse = mp.exp(2 * lam) / 2
        logits = [
            w - inverse * mp.fsum((y[d] - row[d]) ** 2 for d in axes)
            for w, row in zip(logs, rows, strict=True)
        ]
        top = max(logits)
        u = [mp.exp(t - top) for t in logits]
        total = mp.fsum(u)
        return [
            mp.fsum(w * row[d] for w, row in zip(u, rows, strict=True)) / total - y[d] for d in axes
        ]

    def midpoint(lam: mp.mpf, y: list, width: mp.mpf, count: int) -> list:
        h = width / count
        before, now = y, [a + h * b for a, b in zip(y, slope(lam, y), strict=True)]
        for k in range(1, count):
            ahead = [a + 2 * h * b for a, b in zip(before, slope(lam + k * h, now), strict=True)]
            before, now = now, ahead
        last = slope(lam + width, now)
        return [(a + b + h * c) / 2 for a, b, c in zip(now, before, last, strict=True)]

    counts = [2, 4, 6, 8, 10, 12, 14, 16]
    out, lam, y = [], -mp.log(mp.mpf(high)), [mp.mpf(float(c)) for c in x]
    for level in levels:
        end = -mp.log(mp.mpf(level))
        steps = int(mp.ceil((end - lam) / mp.mpf("0.125")))
        width = (end - lam) / steps
        for k in range(steps):
            table = [midpoint(lam + k * width, y, width, n) for n in counts]
            for j in range(1, len(counts)):
                for i in range(len(counts) - 1, j - 1, -1):
                    ratio = mp.mpf(counts[i]) ** 2 / mp.mpf(counts[i - j]) ** 2 - 1
                    table[i] = [
                        a + (a - b) / ratio for a, b in zip(table[i], table[i - 1], strict=True)
                    ]
            y = table[-1]
        lam = end
        out.append(np.array([float(c) for c in y]))
    return out


@pytest.mark.parametrize("seed", range(3))
def test_against_high_precision(seed: int) -> None:
    rng = np.random.default_rng([16, seed])
    points = PointSet(rng.standard_normal((3, 2)), [0.2, 0.5, 0.3])
    x, levels = 2 * rng.standard_normal(2), [1.0, 0.6, 0.4]
    with mp.workdps(30):
        true = reference_flow(points, x, 2.0, levels)
    run = integrate(OptimalDenoiser(points), x, 2.0, 0.4, rtol=1e-12, save_at=levels)
    np.testing.assert_allclose(run.states[1:, 0], true, rtol=0, atol=1e-11)
    assert np.linalg.norm(run.final[0] - true[-1]) <= run.error[0] + 1e-15


# The tableau


def test_rows_match_the_nodes() -> None:
    for k, row in enumerate(A):
        if k != 12:
            assert abs(sum(row.values()) - C[k]) <= 1e-15 * (1 + sum(map(abs, row.values())))
        assert all(j < k for j in row)
    assert abs(sum(E5.values())) <= 1e-15
    for row in DENSE:
        assert abs(sum(row.values())) <= 1e-12


@pytest.mark.parametrize("k", range(8))
def test_quadrature_conditions(k: int) -> None:
    """Order 8: Σ b c^k = 1/(k+1) for k ≤ 7; the embedded rule differs from order 6 on."""
    assert abs(sum(b * C[j] ** k for j, b in A[12].items()) - 1 / (k + 1)) <= 1e-14
    embedded = abs(sum(e * C[j] ** k for j, e in E5.items()))
    assert embedded <= 1e-14 if k < 5 else embedded >= 1e-6


def step(f: Any, t: float, y: np.ndarray, h: float) -> tuple[np.ndarray, list[np.ndarray]]:
    slopes: list[np.ndarray] = []
    for row, c in zip(A[:12], C[:12], strict=True):
        slopes.append(
            f(t + c * h, y + h * sum((a * slopes[j] for j, a in row.items()), np.zeros_like(y)))
        )
    return y + h * sum(b * slopes[j] for j, b in A[12].items()), slopes


def rotation(t: float, y: np.ndarray) -> np.ndarray:
    """y' with the solution (cos t², sin t²)."""
    return 2 * t * np.array([-y[1], y[0]])


def slope_of(errors: list[float]) -> float:
    return float(np.polyfit(np.arange(len(errors)), -np.log2(errors), 1)[0])


def test_measured_order_of_the_step() -> None:
    errors = []
    for count in (4, 8, 16):
        y, h = np.array([1.0, 0.0]), 1.6 / count
        for k in range(count):
            y, _ = step(rotation, k * h, y, h)
        errors.append(float(np.linalg.norm(y - [np.cos(2.56), np.sin(2.56)])))
    assert abs(slope_of(errors) - 8) <= 0.3, errors


def test_measured_order_of_the_error_estimate() -> None:
    errors = []
    for h in (0.4, 0.2, 0.1):
        _, slopes = step(rotation, 0.5, np.array([np.cos(0.25), np.sin(0.25)]), h)
        errors.append(float(np.linalg.norm(h * sum(e * slopes[j] for j, e in E5.items()))))
    assert abs(slope_of(errors) - 6) <= 0.5, errors


def test_measured_order_of_the_dense_output() -> None:
    """Order 7: the local error inside a step falls as h⁸; through the integrator's own code."""
    from analytic import stepwise

    errors = []
    for h in (0.6, 0.3, 0.15):
        t, y = 0.5, np.array([np.cos(0.25), np.sin(0.25)])
        ahead, slopes = step(rotation, t, y, h)
        slopes.append(rotation(t + h, ahead))
        for k in (13, 14, 15):
            inner = y + h * sum(a * slopes[j] for j, a in A[k].items())
            slopes.append(rotation(t + C[k] * h, inner))
        one = np.ones(1)
        made = stepwise._Step(
            np.array([0]),
            t * one,
            h * one,
            (t + h) * one,
            y[None],
            ahead[None],
            [s[None] for s in slopes],
            None,
        )
        parts, worst = stepwise._interpolant(made), 0.0
        for theta in (0.15, 0.35, 0.6, 0.85):
            value = np.zeros((1, 2))
            for k, part in enumerate(reversed(parts)):
                value = (value + part) * (theta if k % 2 == 0 else 1 - theta)
            at = (t + theta * h) ** 2
            worst = max(worst, float(np.linalg.norm(y + value[0] - [np.cos(at), np.sin(at)])))
        errors.append(worst)
    # (the ninth power still shows at these steps)
    assert 7.5 <= slope_of(errors) <= 9.3, errors
    assert errors[-1] <= 1e-9


# Refusals

GENERIC = GaussianDenoiser([0.0, 0.0], np.eye(2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sigma_max": 0.1, "sigma_min": 0.1}, "sigma_max: got 0.1, expected more than sigma_min"),
        ({"sigma_max": 0.1, "sigma_min": 0.2}, "sigma_max: got 0.1, expected more than sigma_min"),
        ({"sigma_max": 0.0}, "sigma_max: got 0.0"),
        ({"sigma_max": np.nan}, "sigma_max: got nan"),
        ({"sigma_max": np.inf}, "sigma_max: got inf"),
        ({"sigma_min": -0.1}, "sigma_min: got -0.1"),
        ({"rtol": 0.0}, "rtol: got 0.0.*1e-13 is what float64 can give"),
        ({"rtol": 0.9e-13}, "rtol: got 9e-14"),
        ({"rtol": -1.0}, "rtol: got -1.0"),
        ({"rtol": np.nan}, "rtol: got nan"),
        ({"atol": -1e-9}, "atol: got -1e-09"),
        ({"atol": np.inf}, "atol: got inf"),
        ({"max_steps": 0}, "max_steps: got 0"),
        ({"save_at": [81.0]}, "save_at: got levels 81.0"),
        ({"save_at": [0.001], "sigma_min": 0.01}, "save_at: got levels 0.001"),
        ({"save_at": [np.nan]}, "save_at: got nan"),
        ({"save_at": [[1.0]]}, "save_at: got an array of shape"),
        ({"x": [[np.nan, 0.0]]}, "x: got nan"),
        ({"x": [[1.0, 2.0, 3.0]]}, "x: got shape"),
    ],
)
def test_bad_values(options: dict[str, Any], words: str) -> None:
    x = options.pop("x", [[1.0, 2.0]])
    with pytest.raises(ValueError, match=f"^{words}"):
        integrate(OptimalDenoiser([[0.0, 1.0], [2.0, 3.0]]), x, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"denoiser": None}, "denoiser: got None"),
        ({"denoiser": np.zeros((3, 2))}, "denoiser: got an array"),
        ({"x": "x"}, "x: got"),
        ({"x": None}, "x: got"),
        ({"max_steps": 1.5}, "max_steps: got 1.5"),
        ({"max_steps": True}, "max_steps: got True"),
        ({"rtol": "1e-9"}, "rtol: got '1e-9'"),
        ({"estimate_error": 1}, "estimate_error: got 1"),
        ({"save_at": "all"}, "save_at: got"),
    ],
)
def test_bad_kinds(options: dict[str, Any], words: str) -> None:
    denoiser = options.pop("denoiser", OptimalDenoiser([[0.0, 1.0], [2.0, 3.0]]))
    with pytest.raises(TypeError, match=f"^{words}"):
        integrate(denoiser, options.pop("x", [[1.0, 2.0]]), **options)


def test_zero_needs_the_data() -> None:
    for denoiser in (GENERIC, lambda q, s: q):
        with pytest.raises(ValueError, match=r"^sigma_min: got 0 .*OptimalDenoiser"):
            integrate(denoiser, [[1.0, 2.0]])


def test_misspelt_options_are_not_swallowed() -> None:
    with pytest.raises(TypeError, match="rtoll"):
        integrate(GENERIC, [[1.0, 2.0]], 80.0, 0.1, rtoll=1e-3)


@pytest.mark.parametrize(
    "wrong", [lambda q, s: q[:, :1], lambda q, s: q[0], lambda q, s: 1.0, lambda q, s: q.T]
)
def test_wrong_output_shape(wrong: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^denoiser: got output of shape .* for x of shape \(3, 2\)"
    ):
        integrate(wrong, np.ones((3, 2)), 80.0, 0.1)


def test_nothing_is_evaluated_before_the_arguments_are_checked() -> None:
    calls = itertools.count()

    def watched(q: np.ndarray, s: Any) -> np.ndarray:
        next(calls)
        return q

    with pytest.raises(ValueError, match=r"^max_steps"):
        integrate(watched, [[1.0, 2.0]], 80.0, 0.1, max_steps=0)
    assert next(calls) == 0


def test_flags_are_checked_before_anything_is_evaluated() -> None:
    def watched(q: np.ndarray, s: Any) -> np.ndarray:
        raise AssertionError("evaluated")

    with pytest.raises(TypeError, match=r"^estimate_error"):
        integrate(watched, [[1.0, 2.0]], 80.0, 0.1, estimate_error="no")
