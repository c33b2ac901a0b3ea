"""The exact flow at every tolerance: closed forms, 30 digits, itself, and its own estimates.

Closed forms are taken at intermediate levels, too. A state is a neighbour of a
separatrix where perturbations of its past grow: where an error at some saved level s has
become more than `NEAR` times as large. On a line that gain is p_s(x_s)/p_σ(x_σ), on grids
the largest of the axes; Gaussian data have no separatrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
import pytest

import analytic as an
from analytic import GaussianDenoiser, OptimalDenoiser, PointSet, integrate
from analytic.exact import gaussian_flow, product_flow, quantile_flow, two_point_flow
from analytic.kernels.threads import get_num_threads, set_num_threads
from analytic.trajectory import Result, Trajectory
from benchmarks.certificates import check

Floats = np.ndarray
HIGH = 80.0
NEAR = 100.0
TOLERANCES = (1e-4, 1e-6, 1e-8, 1e-10, 1e-12)


class Case(NamedTuple):
    """A denoiser whose flow is known."""

    denoiser: Any
    x: Floats
    low: float
    flow: Callable[[float], Floats]
    lines: list[tuple[PointSet, Floats]]
    """Data and an axis or direction per coordinate that flows on its own."""


def line(rng: np.random.Generator, count: int, dim: int = 1) -> PointSet:
    return PointSet(rng.standard_normal((count, dim)), rng.dirichlet(np.ones(count)) + 1e-3)


def on_a_line(rng: np.random.Generator, low: float) -> Case:
    points, x = line(rng, int(rng.integers(1, 20))), HIGH * rng.standard_normal((16, 1))
    flow = lambda s: quantile_flow(points, x, HIGH, s)  # noqa: E731
    return Case(OptimalDenoiser(points), x, low, flow, [(points, np.array([1.0]))])


def two_points(rng: np.random.Generator, low: float) -> Case:
    points, x = line(rng, 2, 3), HIGH * rng.standard_normal((16, 3))
    first, second = points.points
    unit = (second - first) / np.linalg.norm(second - first)
    along = PointSet((points.points @ unit)[:, None], points.weights)
    flow = lambda s: two_point_flow(points, x, HIGH, s)  # noqa: E731
    return Case(OptimalDenoiser(points), x, low, flow, [(along, unit)])


def gaussian(rng: np.random.Generator, low: float) -> Case:
    root = rng.standard_normal((4, 4)) * 10.0 ** rng.uniform(-2, 0.5, 4)
    data, x = GaussianDenoiser(rng.standard_normal(4), root @ root.T), 80 * rng.standard_normal(4)
    return Case(data, x[None], low, lambda s: gaussian_flow(data, x[None], HIGH, s), [])


def grid(rng: np.random.Generator, low: float) -> Case:
    axes = [line(rng, int(rng.integers(2, 6))) for _ in range(2)]
    x = HIGH * rng.standard_normal((16, 2))
    sites = np.array([[a, b] for a in axes[0].points[:, 0] for b in axes[1].points[:, 0]])
    points = PointSet(sites, np.outer(axes[0].weights, axes[1].weights).ravel())
    flow = lambda s: product_flow(axes, x, HIGH, s)  # noqa: E731
    return Case(OptimalDenoiser(points), x, low, flow, list(zip(axes, np.eye(2), strict=True)))


KINDS: dict[str, tuple[Callable[[np.random.Generator, float], Case], int]] = {
    "line": (on_a_line, 24),
    "two points": (two_points, 12),
    "gaussian": (gaussian, 3),
    "grid": (grid, 12),
}


def cases(kind: str) -> Iterator[Case]:
    make, count = KINDS[kind]
    for seed in range(count):
        rng = np.random.default_rng([31, seed])
        yield make(rng, float(10 ** rng.uniform(-2.5, 0)))


def gains(case: Case, levels: Floats, path: Floats) -> Floats:
    """(T, B) the most that an error at some level before has grown."""
    worst = np.ones(path.shape[:2])
    for points, axis in case.lines:
        D = OptimalDenoiser(points)
        logs = [D.log_prob(x @ axis[:, None], float(s)) for x, s in zip(path, levels, strict=True)]
        before = np.maximum.accumulate(logs, axis=0)
        worst = np.maximum(worst, np.exp(before - logs))
    return worst


class Measured(NamedTuple):
    """Of all cases of a kind at one tolerance."""

    off: Floats
    """(T, B) errors over rtol (1 + |x|),"""
    gain: Floats
    true: Floats
    """(B,) and of the ends as they are,"""
    estimate: Floats
    size: Floats


@pytest.fixture(scope="module")
def measured() -> dict[tuple[str, float], Measured]:
    found: dict[tuple[str, float], list[Measured]] = {}
    for kind in KINDS:
        for case in cases(kind):
            levels = an.grids.polynomial(8, HIGH, case.low)
            path = np.array([case.x, *(case.flow(float(s)) for s in levels[1:])])
            gain = gains(case, levels, path)
            for rtol in TOLERANCES:
                options = {"rtol": rtol, "atol": rtol / 100, "save_at": levels}
                run = integrate(case.denoiser, case.x, HIGH, case.low, **options)
                assert run.ok
                away = np.linalg.norm(run.states - path, axis=2)
                size = 1 + np.linalg.norm(path, axis=2)
                each = Measured(away / size / rtol, gain, away[-1], run.error, size[-1])
                found.setdefault((kind, rtol), []).append(each)
    return {
        key: Measured(*(np.concatenate(part, axis=-1) for part in zip(*rows, strict=True)))
        for key, rows in found.items()
    }


@pytest.mark.parametrize("rtol", TOLERANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_states_are_within_tolerance(
    kind: str, rtol: float, measured: dict[tuple[str, float], Measured]
) -> None:
    """At all levels, within 20 rtol (1 + |x|), and few neighbours of separatrices left out."""
    found = measured[kind, rtol]
    out = found.gain > NEAR
    assert out.mean() <= 0.02
    assert found.off[~out].max() <= 20


@pytest.mark.parametrize("rtol", TOLERANCES)
def test_estimates_are_calibrated(rtol: float, measured: dict[tuple[str, float], Measured]) -> None:
    """Above 99 % of true errors, and not far above: separatrices are not left out."""
    rows = [measured[kind, rtol] for kind in KINDS]
    true, estimate, size = (
        np.concatenate([getattr(row, name) for row in rows])
        for name in ("true", "estimate", "size")
    )
    judge = 4e-15 * size  # what the closed forms are good for
    assert np.mean(true <= estimate + judge) >= 0.99
    seen = true > judge
    if seen.mean() > 0.1:
        assert np.median(estimate[seen] / true[seen]) <= 30


def test_estimate_near_a_separatrix_is_large() -> None:
    """Between -1 and 1: starts so near the middle that errors grow by 10⁴ and more."""
    points, options = PointSet([[-1.0], [1.0]]), {"rtol": 1e-8, "atol": 1e-10}
    D, x, low = OptimalDenoiser(points), 1e-6 * np.arange(1.0, 9.0)[:, None], 0.2
    run = integrate(D, x, HIGH, low, **options)
    true = np.abs(run.final - quantile_flow(points, x, HIGH, low))[:, 0]
    case = Case(D, x, low, lambda s: quantile_flow(points, x, HIGH, s), [(points, np.ones(1))])
    gain = gains(case, run.sigmas, run.states)[-1]
    assert gain.min() >= 1e4
    # what the quantile map itself is good for
    assert (true <= run.error + 1e-15 * gain).all()
    far = integrate(D, x + 40.0, HIGH, low, **options)
    assert run.error.min() >= 10 * far.error.max()


# C9


@pytest.mark.parametrize("name", ["moons", "digits"])
def test_flows_from_saved_states_end_where_the_whole_one_does(name: str) -> None:
    points = an.datasets.two_moons(200, seed=3) if name == "moons" else an.datasets.digits(200)
    D = OptimalDenoiser(points)
    x = an.noise(24, points, HIGH, 5)
    options: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-14, "estimate_error": False}
    levels = [30.0, 5.0, 1.0, 0.3, 0.1, 0.03]
    run = integrate(D, x, HIGH, 0.002, save_at=levels, **options)
    ends = integrate(D, x, HIGH, 0.0, save_at=levels, **options)
    for state, level in zip(run.states[1:-1], levels, strict=True):
        again = integrate(D, state, level, 0.002, save_at=[], **options)
        assert np.abs(again.final - run.final).max() <= 1e-11
        limit = integrate(D, state, level, 0.0, save_at=[], **options)
        np.testing.assert_array_equal(limit.final, ends.final)


# 30 digits


def taylor(points: PointSet, x: Floats, high: float, low: float, order: int = 30) -> Floats:
    """The flow by Taylor series of y(w), y = x/σ, w = 1/σ, in 30 digits and more.

    With t = w - w_0 a log-weight is q = w y·p - w² |p|²/2, exp(q) follows from
    k e_k = Σ_j j q_j e_{k-j}, and D, the derivative of y, is a quotient of series.
    """
    rows = [[mp.mpf(float(c)) for c in row] for row in points.points]
    squares = [mp.fdot(row, row) / 2 for row in rows]
    axes, last = range(points.dim), 1 / mp.mpf(low)
    w = 1 / mp.mpf(high)
    y = [mp.mpf(float(c)) * w for c in x]
    step = w
    while w < last:
        series, outs = [y], []
        q: list[list[mp.mpf]] = [[] for _ in rows]
        e: list[list[mp.mpf]] = [[] for _ in rows]
        total: list[mp.mpf] = []
        for k in range(order):
            for i, row in enumerate(rows):
                value = w * mp.fdot(series[k], row)
                if k:
                    value += mp.fdot(series[k - 1], row)
                if k < 3:
                    value -= squares[i] * (w * w, 2 * w, 1)[k]
                q[i].append(value)
            if k == 0:
                logs = [
                    a[0] + mp.log(mp.mpf(float(p))) for a, p in zip(q, points.weights, strict=True)
                ]
                for each, log in zip(e, logs, strict=True):
                    each.append(mp.exp(log - max(logs)))
            else:
                for a, each in zip(q, e, strict=True):
                    terms = ((j * a[j], each[k - j]) for j in range(1, k + 1))
                    each.append(mp.fdot(terms) / k)
            total.append(mp.fsum(each[k] for each in e))
            mean = [
                mp.fdot((each[k], row[d]) for each, row in zip(e, rows, strict=True)) for d in axes
            ]
            rest = [mp.fdot((total[j], outs[k - j][d]) for j in range(1, k + 1)) for d in axes]
            outs.append([(m - r) / total[0] for m, r in zip(mean, rest, strict=True)])
            series.append([each / (k + 1) for each in outs[k]])
        scale = w + max(map(abs, y))
        roots = [
            (scale * mp.mpf("1e-27") / max(map(abs, series[k]))) ** (mp.mpf(1) / k)
            for k in (order - 1, order)
            if any(series[k])
        ]
        step = min([*roots, last - w])
        y = [mp.fsum(each[d] * step**k for k, each in enumerate(series)) for d in axes]
        w += step
    return np.array([float(c / w) for c in y])


@pytest.mark.parametrize("seed", range(5))
def test_against_taylor_series_in_30_digits(seed: int) -> None:
    """Four trajectories each, of three or four weighted points in one to three dimensions."""
    rng = np.random.default_rng([33, seed])
    points = line(rng, 3 + seed % 2, 1 + seed % 3)
    x = HIGH * rng.standard_normal((4, points.dim))
    run = integrate(OptimalDenoiser(points), x, HIGH, 0.2, rtol=1e-12, atol=1e-14)
    with mp.workdps(34):
        true = np.array([taylor(points, start, HIGH, 0.2) for start in x])
    off = np.linalg.norm(run.final - true, axis=1)
    assert off.max() <= 1e-12
    assert (off <= run.error).all()


# The certificate


def test_no_certificate_is_false() -> None:
    """Three thousand trajectories; `benchmarks.certificates` has 10⁵."""
    found = [check(seed) for seed in range(15)]
    assert sum(count for count, _ in found) >= 2900
    assert sum(wrong for _, wrong in found) == 0


# One kernel, and steps of the batch: two methods, each within its tolerance

MOONS = an.datasets.two_moons(120, seed=1)
WEIGHTS = np.random.default_rng(35).dirichlet(np.full(120, 0.2)) + 1e-8


def both(points: PointSet, x: Floats, high: float, low: float, **options: Any) -> list[Trajectory]:
    denoisers = [OptimalDenoiser(points, method=name) for name in ("auto", "dense")]
    return [integrate(D, x, high, low, estimate_error=False, **options) for D in denoisers]


@pytest.mark.parametrize("low", [0.0, 0.002])
@pytest.mark.parametrize("case", ["moons", "weights", "copies", "far", "tiny", "digits"])
def test_the_kernel_agrees_with_the_batch(case: str, low: float) -> None:
    scale, shift = (1e-12, 0.0) if case == "tiny" else (1.0, 1e6 if case == "far" else 0.0)
    points = {
        "weights": lambda: PointSet(MOONS.points, WEIGHTS),
        "copies": lambda: PointSet(np.concatenate([MOONS.points, MOONS.points[:50]])),
        "digits": lambda: an.datasets.digits(200),
    }.get(case, lambda: PointSet(scale * MOONS.points + shift))()
    x = scale * an.noise(12, points.dim, HIGH, 36) + shift
    one, other = both(points, x, scale * HIGH, scale * low, atol=1e-12 * scale)
    assert one.ok and other.ok
    gap = np.linalg.norm(one.states - other.states, axis=2)
    assert (gap <= 20 * (1e-10 * np.linalg.norm(other.states, axis=2) + 1e-12 * scale)).all()
    if low == 0:
        np.testing.assert_array_equal(one.collapse.index, other.collapse.index)
        np.testing.assert_array_equal(one.collapse.certified, other.collapse.certified)
        np.testing.assert_array_equal(one.final, points.points[one.collapse.index])


def same(one: Trajectory, other: Trajectory) -> None:
    for name in ("states", "denoised", "nfe", "error", "result"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("index", "certified", "sigma", "bound"):
        np.testing.assert_array_equal(getattr(one.collapse, name), getattr(other.collapse, name))


@pytest.mark.parametrize("low", [0.0, 0.01])
def test_threads_and_companions_do_not_matter(low: float) -> None:
    D, x = OptimalDenoiser(MOONS), an.noise(600, 2, HIGH, 37)
    before = get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 4):
            set_num_threads(threads)
            runs.append(integrate(D, x, HIGH, low, rtol=1e-6))
    finally:
        set_num_threads(before)
    for run in runs[1:]:
        same(run, runs[0])
    for cut in (1, 255, 257, 599):
        parts = slice(0, cut), slice(cut, None)
        for part in parts:
            same(integrate(D, x[part], HIGH, low, rtol=1e-6), runs[0].select(part))


def test_rows_that_the_kernel_cannot_follow() -> None:
    """Squares of their states overflow; the other rows feel nothing of it."""
    D, x = OptimalDenoiser(MOONS), MOONS.points[:6] + an.noise(6, 2, 1e-5, 38)
    alone = integrate(D, x, 1e-5, 1e-6)
    run = integrate(D, np.insert(x, 3, [1e150, -1e150], axis=0), 1e-5, 1e-6)
    same(run.select(np.delete(np.arange(7), 3)), alone)
    assert run.result[3] >= 0
    if run.result[3] == Result.DONE:
        np.testing.assert_allclose(run.final[3], [1e149, -1e149], rtol=1e-9)


def test_a_rejected_step_does_not_close_a_trajectory() -> None:
    """The trap has it already, and odds at the end of a step say that the tail is small."""
    points = PointSet([[-1.0, 0.0], [1.0, 0.0], [0.0, 5.0]])
    x = np.array([[0.2, 0.0], [0.25, 0.1], [0.3, 0.0], [0.4, 0.2]])
    for low in (0.0, 0.002, 0.05):
        one, other = both(points, x, 0.3, low, rtol=1e-12)
        assert np.abs(one.states - other.states).max() <= 2e-11


@pytest.mark.parametrize("most", [1, 20, 130])
@pytest.mark.parametrize("which", [0, 1])
def test_max_steps_of_both(which: int, most: int) -> None:
    x = an.noise(40, 2, HIGH, 39)
    run = both(MOONS, x, HIGH, 0.0, max_steps=most)[which]
    whole = both(MOONS, x, HIGH, 0.0)[which]
    stopped = run.result == Result.MAX_STEPS
    assert stopped.all() if most <= 20 else not stopped.all()
    # every step is an evaluation of the one method, and twelve of the other, and the start is one
    assert (run.nfe[stopped] >= 1 + most * (12 if which else 1)).all()
    reached = np.isfinite(run.states).all(axis=2)
    np.testing.assert_array_equal(run.states[reached], whole.states[reached])
    assert reached[:, ~stopped].all() and not reached[-1, stopped].any()
    assert (np.diff(reached.astype(int), axis=0) <= 0).all()
    assert not run.collapse.certified[stopped & (run.collapse.index < 0)].any()
