"""Change the problem in a known way, and the answer changes with it: theory A7, C5 and C8.

The denoiser itself, in its last bits, is in test_denoiser.py. Here are the flow, the samplers
and mean shift, on all geometries. Levels stay above half the diameter, where p_σ is
log-concave (D2) and λ_max(∂D/∂x) ≤ 1 (A6), so that no step makes rounding errors grow; below
that, trajectories are compared by the data points that they end at.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs
from oracle import EPS

import analytic as an
from analytic.testing import strategies as st

SOLVERS = ("euler", "heun", "dpmpp_2m")
NEAR = tuple(g for g in st.GEOMETRIES if g != "large_offset")


class Problem(NamedTuple):
    """Data, starts (B, D) at the first of some levels, and a grid from there."""

    points: an.PointSet
    x: np.ndarray
    grid: np.ndarray

    @property
    def reach(self) -> float:
        """Largest coordinate of all."""
        return float(max(np.abs(self.points.points).max(), np.abs(self.x).max()))


@hs.composite
def problems(
    draw: hs.DrawFn, geometries: tuple[str, ...] = NEAR, zero: Any = None, **bounds: Any
) -> Problem:
    """Problems on levels between half the diameter and 32 diameters, and 0."""
    points = draw(st.point_sets(geometries=geometries, **bounds))
    drawn = st.grids(low=0.5, high=32.0, zero=hs.booleans() if zero is None else zero)
    grid = st.size(points) * draw(drawn)
    x = draw(st.queries(points=points, sigma=float(grid[0]), far=5.0))
    return Problem(points, x, grid)


class Symmetry(NamedTuple):
    """The same points, given otherwise, after x ↦ c Q x + b."""

    points: an.PointSet
    scale: float
    turn: np.ndarray
    shift: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.scale * x @ self.turn.T + self.shift

    def problem(self, given: Problem) -> Problem:
        return Problem(self.points, self(given.x), self.scale * given.grid)


def symmetry(name: str, points: an.PointSet, seed: int) -> Symmetry:
    """One of the symmetries of A7, chosen by a seed."""
    rng, dim = np.random.default_rng(seed), points.dim
    rows, weights = points.points, points.weights
    scale, turn, shift = 1.0, np.eye(dim), np.zeros(dim)
    if name == "translation":
        shift = st.size(points) * rng.integers(-8, 9, dim)
    elif name == "rotation":
        turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    elif name == "scale":
        scale = float(10.0 ** rng.uniform(-30, 30))
    moved = scale * rows @ turn.T + shift
    if name == "permutation":
        order = rng.permutation(len(points))
        moved, weights = moved[order], weights[order]
    elif name == "duplicates":
        copies = rng.integers(1, 4, len(points))
        moved, weights = np.repeat(moved, copies, axis=0), np.repeat(weights / copies, copies)
    return Symmetry(an.PointSet(moved, weights), scale, turn, shift)


SYMMETRIES = ("translation", "rotation", "scale", "permutation", "duplicates")
SEEDS = hs.integers(0, 2**32 - 1)


def slack(here: Problem, there: Symmetry) -> float:
    """Rounding: logits of order reach²/σ² with ε each, and inputs moved by ε of their size."""
    reach = here.reach + np.abs(there.shift).max() / there.scale
    return float(1e3 * here.points.dim * EPS * reach * (1 + reach / st.size(here.points)))


def close(found: np.ndarray, true: np.ndarray, here: Problem, there: Symmetry) -> None:
    np.testing.assert_allclose(found, true, rtol=0, atol=there.scale * slack(here, there))


# A7


@pytest.mark.parametrize("name", SYMMETRIES)
@given(problems(), SEEDS, hs.sampled_from(SOLVERS))
def test_samplers_commute_with(name: str, problem: Problem, seed: int, solver: str) -> None:
    there = symmetry(name, problem.points, seed)
    moved = there.problem(problem)
    solver = "euler" if len(problem.grid) < 3 else solver
    one, other = (
        an.sample(an.OptimalDenoiser(each.points), each.x, each.grid, solver)
        for each in (problem, moved)
    )
    close(other.states, there(one.states), problem, there)
    close(other.denoised, there(one.denoised), problem, there)


@given(problems(geometries=st.GEOMETRIES), hs.integers(-200, 200), hs.sampled_from(SOLVERS))
def test_samplers_commute_with_powers_of_two_bit_for_bit(
    problem: Problem, power: int, solver: str
) -> None:
    c = 2.0**power
    solver = "euler" if len(problem.grid) < 3 else solver
    points = an.PointSet(problem.points.points, problem.points.weights)
    grown = an.PointSet(c * problem.points.points, problem.points.weights)
    one = an.sample(an.OptimalDenoiser(points), problem.x, problem.grid, solver)
    other = an.sample(an.OptimalDenoiser(grown), c * problem.x, c * problem.grid, solver)
    np.testing.assert_array_equal(other.states, c * one.states)


@pytest.mark.parametrize("name", SYMMETRIES)
@given(problems(zero=False), SEEDS)
def test_the_flow_commutes_with(name: str, problem: Problem, seed: int) -> None:
    there = symmetry(name, problem.points, seed)
    moved, grid = there.problem(problem), problem.grid
    one, other = (
        an.integrate(
            an.OptimalDenoiser(each.points),
            each.x,
            float(each.grid[0]),
            float(each.grid[-1]),
            save_at=each.grid,
            atol=1e-12 * scale,
        )
        for each, scale in ((problem, 1.0), (moved, there.scale))
    )
    assert one.ok
    assert other.ok
    off = np.abs(other.states - there(one.states)).max(axis=(0, 2)) / there.scale
    room = slack(problem, there) + 1e-8 * (grid[0] + problem.reach)
    assert (off <= room + one.error + other.error / there.scale).all()


@pytest.mark.parametrize("name", SYMMETRIES)
@given(st.cases(points=st.point_sets(geometries=NEAR), low=1.0, high=20.0, far=3.0), SEEDS)
def test_trajectories_end_at_the_same_points(name: str, case: st.Case, seed: int) -> None:
    """Those that are certified early, far from any separatrix."""
    there, s = symmetry(name, case.points, seed), case.sigma
    one = an.integrate(an.OptimalDenoiser(case.points), case.x, s, estimate_error=False)
    other = an.integrate(
        an.OptimalDenoiser(there.points),
        there(case.x),
        there.scale * s,
        atol=1e-12 * there.scale,
        estimate_error=False,
    )
    early = one.collapse.certified & (one.collapse.sigma >= 0.2 * st.size(case.points))
    reach = np.abs(case.points.points).max() + np.abs(there.shift).max()
    np.testing.assert_allclose(
        other.final[early] / there.scale,
        there(one.final[early]) / there.scale,
        rtol=0,
        atol=16 * case.points.dim * EPS * reach,
    )


@pytest.mark.parametrize("name", SYMMETRIES)
@given(problems(), SEEDS)
def test_mean_shift_commutes_with(name: str, problem: Problem, seed: int) -> None:
    there, h = symmetry(name, problem.points, seed), float(problem.grid[0])
    options: dict[str, Any] = {"tol": 0.0, "max_steps": 4}
    one = an.mean_shift(an.OptimalDenoiser(problem.points), problem.x, h, **options)
    other = an.mean_shift(
        an.OptimalDenoiser(there.points), there(problem.x), there.scale * h, **options
    )
    close(other.points, there(one.points), problem, there)


@pytest.mark.parametrize("name", ["translation", "scale"])
@given(problems(max_dim=3, max_points=8), SEEDS, hs.data())
def test_smoothed_denoisers_commute_with(
    name: str, problem: Problem, seed: int, data: hs.DataObject
) -> None:
    """Their shifts are fixed: so they have no rotations."""
    there, s = symmetry(name, problem.points, seed), float(problem.grid[0])
    width = data.draw(st.sigmas(low=0.1, high=1.0, points=problem.points))
    one = an.SmoothedDenoiser(problem.points, width, 0.5, directions=6)
    other = an.SmoothedDenoiser(there.points, there.scale * width, 0.5, directions=6)
    close(other(there(problem.x), there.scale * s), there(one(problem.x, s)), problem, there)


# C5

FLAT = ("single", "collinear", "simplex", "low_rank")


@given(problems(geometries=FLAT, min_dim=2, max_dim=6, max_points=5), SEEDS)
def test_the_part_off_the_span_does_not_matter_and_scales(problem: Problem, seed: int) -> None:
    """It scales as σ/σ_0 in every Euler step, and the denoiser does not see it."""
    points, x, grid = problem.points, problem.x, problem.grid
    origin, basis = points.points[0], points.span.basis
    denoiser = an.OptimalDenoiser(points)

    def off(y: np.ndarray) -> np.ndarray:
        gap = y - origin
        return np.asarray(gap - gap @ basis.T @ basis)

    room = slack(problem, symmetry("none", points, 0))
    kick = off(origin + grid[0] * np.random.default_rng(seed).standard_normal(x.shape))
    np.testing.assert_allclose(
        denoiser(x + kick, grid[0]), denoiser(x, grid[0]), rtol=0, atol=100 * room
    )
    np.testing.assert_allclose(off(denoiser(x, grid[0])), 0.0, atol=room)
    path = an.sample(denoiser, x, grid, "euler")
    expected = (path.sigmas / grid[0])[:, None, None] * off(x)
    np.testing.assert_allclose(off(path.states), expected, rtol=0, atol=room)


@given(problems(max_dim=2, max_points=6, zero=False), SEEDS)
def test_the_flow_in_many_dimensions_is_that_in_few(problem: Problem, seed: int) -> None:
    """Turned into 14 dimensions the flow is the same within the span, and exactly σ/σ_0 off it."""
    points, grid = problem.points, problem.grid
    rng, dim = np.random.default_rng(seed), points.dim
    frame = np.linalg.qr(rng.standard_normal((14, 14)))[0]
    inside, outside = frame[:, :dim], frame[:, dim:]
    far = grid[0] * rng.standard_normal((len(problem.x), 14 - dim))
    wide = an.PointSet(points.points @ inside.T, points.weights)
    levels = {"sigma_max": float(grid[0]), "sigma_min": float(grid[-1]), "save_at": grid}
    few = an.integrate(an.OptimalDenoiser(points), problem.x, **levels)
    starts = problem.x @ inside.T + far @ outside.T
    many = an.integrate(an.OptimalDenoiser(wide), starts, **levels)
    room = 1e-8 * (problem.reach + grid[0]) + few.error + many.error
    gap = np.abs(many.states @ inside - few.states).max(axis=(0, 2))
    assert (gap <= room).all()
    expected = (many.sigmas / grid[0])[:, None, None] * far
    np.testing.assert_allclose(many.states @ outside, expected, rtol=0, atol=float(room.max()))


# C8


def within(schedule: an.NoiseSchedule, low: float, high: float) -> tuple[float, float]:
    """Levels that the schedule reaches."""
    top = 1e3 if schedule.name in ("ve", "cosine", "rectified_flow") else schedule.t_max
    last = 1e3 if top == 1e3 else float(schedule.level(schedule.t_max))
    first = float(schedule.level(schedule.t_min))
    low = min(max(low, first * (1 + 1e-9)), last / 4)
    return low, max(2 * low, min(high, last * (1 - 1e-9)))


@hs.composite
def processes(draw: hs.DrawFn) -> tuple[an.NoiseSchedule, Problem]:
    """A schedule, data of order one, and a grid of levels that the schedule reaches."""
    schedule = draw(st.schedules())
    points = draw(st.point_sets(geometries=("cloud", "duplicates", "simplex", "low_rank")))
    low, high = within(schedule, 0.05, 50.0)
    # a table may have little room: then a grid of two levels
    if low < float(schedule.level(schedule.t_min)) or high > 1e3:
        low, high = 0.0, 0.0
    grid = (
        draw(st.grids(low=low, high=high, zero=False))
        if high >= 2 * low > 0
        else schedule.level(np.array([schedule.t_max, schedule.t_min]))
    )
    return schedule, Problem(points, draw(st.queries(points=points, sigma=float(grid[0]))), grid)


@given(processes())
def test_the_velocity_is_that_of_the_flow_in_other_coordinates(
    drawn: tuple[an.NoiseSchedule, Problem],
) -> None:
    """dx_t/dt = α' x̂ + α (ds/dt) (x̂ - D)/s, with s = σ/α."""
    schedule, (points, x, grid) = drawn
    denoiser = an.OptimalDenoiser(points)
    for s in grid:
        state, t = schedule.from_ve(x, s)
        again, level = schedule.to_ve(state, t)
        denoised = denoiser(again, level)
        a, b = schedule.alpha(t), schedule.sigma(t)
        da, db = schedule.alpha_derivative(t), schedule.sigma_derivative(t)
        slope = (db * a - b * da) / a**2
        terms = (da * again, a * slope * (again - denoised) / level)
        size = np.abs(terms[0]).max() + np.abs(terms[1]).max()
        size += abs(da) * np.abs(denoised).max() + abs(a * slope / level) * np.abs(x).max()
        found = schedule.velocity(state, denoised, t)
        np.testing.assert_allclose(found, sum(terms), rtol=0, atol=1e-11 * size)


@given(processes(), hs.sampled_from(SOLVERS))
def test_samplers_of_other_processes_are_those_of_the_flow(
    drawn: tuple[an.NoiseSchedule, Problem], solver: str
) -> None:
    schedule, (points, x, grid) = drawn
    denoiser = an.OptimalDenoiser(points)
    solver = "euler" if len(grid) < 3 else solver
    state, _ = schedule.from_ve(x, float(grid[0]))
    found = an.sample(denoiser, state, grid, solver, schedule=schedule)
    plain = an.sample(denoiser, state / schedule.scale(float(grid[0])), grid, solver)
    expected = schedule.scale(grid)[:, None, None] * plain.states
    np.testing.assert_allclose(found.states, expected, rtol=1e-13, atol=1e-300)
    np.testing.assert_allclose(schedule.level(found.times), grid, rtol=1e-9)


@given(processes())
def test_the_flow_of_other_processes_is_the_flow(
    drawn: tuple[an.NoiseSchedule, Problem],
) -> None:
    schedule, (points, x, grid) = drawn
    denoiser = an.OptimalDenoiser(points)
    ends = {"sigma_max": float(grid[0]), "sigma_min": float(grid[-1]), "estimate_error": False}
    state, _ = schedule.from_ve(x, float(grid[0]))
    found = an.integrate(denoiser, state, **ends, schedule=schedule)
    plain = an.integrate(denoiser, state / schedule.scale(float(grid[0])), **ends)
    expected = schedule.scale(plain.sigmas)[:, None, None] * plain.states
    np.testing.assert_allclose(found.states, expected, rtol=1e-13, atol=1e-300)
