"""What distillation learns: the consistency map, and the targets of teachers with many steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import distill

DATA = an.datasets.two_moons(60, seed=0)
OPTIMAL = an.OptimalDenoiser(DATA)
GAUSS = an.GaussianDenoiser([0.5, -1.0], [[1.0, 0.3], [0.3, 0.5]])
START = an.noise(5, like=2, sigma=20.0, seed=4)


def plain(x: np.ndarray, sigma: Any) -> np.ndarray:
    """A denoiser of nothing in particular."""
    return np.sin(x) * np.exp(-np.square(np.reshape(sigma, (-1, 1))) / 50)


# Euler's weights


def test_weights_of_euler_steps() -> None:
    np.testing.assert_allclose(distill.euler_weights([5.0, 2.0]), [1.0], rtol=1e-15)
    # 4 → 2 → 1: 1·(1/2 − 1/4)/(3/4) and 1·(1 − 1/2)/(3/4)
    np.testing.assert_allclose(distill.euler_weights([4.0, 2.0, 1.0]), [1 / 3, 2 / 3], rtol=1e-15)
    np.testing.assert_array_equal(distill.euler_weights([4.0, 2.0, 0.0]), [0.0, 1.0])
    for grid in (an.grids.polynomial(40), np.append(an.grids.log_snr(30), 0.0)):
        weights = distill.euler_weights(grid)
        assert (weights >= 0).all()
        assert weights.sum() == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("denoiser", [OPTIMAL, GAUSS, plain])
@pytest.mark.parametrize("last", [0.0, 0.05])
def test_euler_teacher_is_the_combination_of_its_outputs(denoiser: Any, last: float) -> None:
    grid = np.append(an.grids.polynomial(12, 20.0, 0.1), last)
    found = distill.teacher(denoiser, START, grid)
    path = an.sample(denoiser, START, grid, "euler")
    np.testing.assert_array_equal(found.weights, distill.euler_weights(grid))
    np.testing.assert_allclose(found.end, path.final, rtol=0, atol=1e-14)
    # the step that is implied, up to the cancellation in reading it off
    implied = distill.implied(START, path.final, 20.0, last)
    np.testing.assert_allclose(found.target, implied, rtol=0, atol=2e-14)
    # one Euler step of a student that predicts it
    student = an.sample(lambda x, s: found.target, START, [20.0, last], "euler")
    np.testing.assert_allclose(student.final, path.final, rtol=0, atol=1e-14)


def test_the_target_lies_in_the_hull_of_the_data() -> None:
    target = distill.teacher(OPTIMAL, 0.1 * START, an.grids.polynomial(9, 2.0, 0.1)).target
    turns = np.linspace(0, 2 * np.pi, 60)
    directions = np.stack([np.cos(turns), np.sin(turns)])
    assert (target @ directions <= (DATA.points @ directions).max(axis=0) + 1e-14).all()


@pytest.mark.parametrize("solver", ["heun", "dpmpp_2m", an.solvers.get("ipndm", order=3)])
def test_teachers_with_other_solvers(solver: Any) -> None:
    grid = an.grids.polynomial(10, 20.0, 0.1)
    found = distill.teacher(OPTIMAL, START, grid, solver)
    end = an.sample(OPTIMAL, START, grid, solver).final
    assert found.weights is None
    np.testing.assert_array_equal(found.end, end)
    share = 0.1 / 20.0
    np.testing.assert_allclose(share * START + (1 - share) * found.target, end, atol=1e-14)


def test_a_jump_counts_as_a_step_to_zero() -> None:
    grid = an.grids.polynomial(6, 20.0, 0.5)
    found = distill.teacher(OPTIMAL, START, grid, "euler_jump")
    np.testing.assert_array_equal(found.weights, [0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(found.end, found.trajectory.final)
    np.testing.assert_array_equal(found.target, found.trajectory.denoised[-2])


def test_teachers_tend_to_the_consistency_target() -> None:
    """With more steps the target of Euler's teacher nears that of the flow, at order 1."""
    end = distill.consistency(OPTIMAL, START, 20.0, 0.2).points
    truth = distill.implied(START, end, 20.0, 0.2)
    errors = [
        np.abs(distill.teacher(OPTIMAL, START, an.grids.log_snr(n, 20.0, 0.2)).target - truth).max()
        for n in (401, 801)
    ]
    assert 1.8 < errors[0] / errors[1] < 2.2
    heun = distill.teacher(OPTIMAL, START, an.grids.log_snr(801, 20.0, 0.2), "heun").target
    assert np.abs(heun - truth).max() < 0.05 * errors[1]


# Progressive distillation


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("last", [0.0, 0.05])
def test_progressive_targets_give_the_teachers_states(steps: int, last: float) -> None:
    grid = np.append(an.grids.polynomial(12, 20.0, 0.1), last)
    found = distill.progressive(OPTIMAL, START, grid, steps)
    np.testing.assert_array_equal(found.sigmas, grid[::steps])
    path = an.sample(OPTIMAL, START, grid, "euler")
    np.testing.assert_array_equal(found.states, path.states[::steps])
    x = START
    for target, s, t in zip(found.targets, found.sigmas[:-1], found.sigmas[1:], strict=True):
        x = (t / s) * x + (1 - t / s) * target
    np.testing.assert_allclose(x, path.final, rtol=0, atol=1e-13)
    assert [w.shape for w in found.weights] == [(steps,)] * (12 // steps)


def test_two_steps_as_the_paper_has_them() -> None:
    """(z'' - (σ''/σ) z)/(α'' - (σ''/σ) α), here with α = 1."""
    s, m, t = 3.0, 1.5, 0.6
    found = distill.progressive(OPTIMAL, START[:2], [s, m, t])
    one = OPTIMAL(START[:2], s)
    middle = START[:2] + (m - s) / s * (START[:2] - one)
    end = middle + (t - m) / m * (middle - OPTIMAL(middle, m))
    np.testing.assert_allclose(
        found.targets[0], (end - t / s * START[:2]) / (1 - t / s), rtol=1e-13
    )


def test_halving_down_to_one_step_is_the_one_step_teacher() -> None:
    grid = an.grids.polynomial(9, 20.0, 0.1)
    first = distill.progressive(OPTIMAL, START, grid)
    levels, targets = first.sigmas, first.targets
    while len(targets) > 1:
        merged = [
            np.einsum("k,kbd->bd", distill.euler_weights(levels[j : j + 3]), targets[j : j + 2])
            for j in range(0, len(targets), 2)
        ]
        levels, targets = levels[::2], np.stack(merged)
    np.testing.assert_allclose(
        targets[0], distill.teacher(OPTIMAL, START, grid).target, rtol=0, atol=1e-14
    )


# The consistency map


def test_ends_are_constant_along_trajectories() -> None:
    path = an.integrate(OPTIMAL, START, 20.0, 0.0, save_at=[5.0, 1.0, 0.3])
    assert path.collapse is not None
    for state, sigma in zip(path.states[:-1], path.sigmas[:-1], strict=True):
        found = distill.consistency(OPTIMAL, state, sigma)
        assert found.ok and found.collapse is not None and found.collapse.certified.all()
        np.testing.assert_array_equal(found.collapse.index, path.collapse.index)
        np.testing.assert_array_equal(found.points, DATA.points[path.collapse.index])
        part = distill.consistency(OPTIMAL, state, sigma, 0.2)
        whole = distill.consistency(OPTIMAL, START, 20.0, 0.2)
        np.testing.assert_allclose(part.points, whole.points, atol=1e-8)


def test_a_level_for_every_state() -> None:
    """Each as if it were alone; what is at σ_min stays."""
    sigma = np.array([20.0, 0.1, 3.0, 20.0, 0.5])
    x = START * (sigma / 20.0)[:, None]
    found = distill.consistency(GAUSS, x, sigma, 0.1)
    values, vectors = np.linalg.eigh(GAUSS.covariance)
    factor = np.sqrt((values + 0.01) / (values + sigma[:, None] ** 2))
    truth = GAUSS.mean + (((x - GAUSS.mean) @ vectors) * factor) @ vectors.T
    np.testing.assert_allclose(found.points, truth, atol=1e-9)
    np.testing.assert_array_equal(found.points[1], x[1])
    assert found.collapse is None and found.error[1] == 0 and (found.error < 1e-8).all()
    levels = np.array([2.0, 0.0, 0.4, 2.0, 1.0])
    batch = distill.consistency(OPTIMAL, x, levels)
    assert batch.collapse is not None
    for k in range(5):
        alone = distill.consistency(OPTIMAL, x[k], levels[k])
        assert alone.collapse is not None
        np.testing.assert_array_equal(batch.points[k], alone.points[0])
        for name in ("index", "certified", "sigma", "bound"):
            np.testing.assert_array_equal(
                getattr(batch.collapse, name)[k], getattr(alone.collapse, name)[0]
            )
    nearest = np.linalg.norm(DATA.points - x[1], axis=1).argmin()
    assert batch.collapse.index[1] == nearest and not batch.collapse.certified[1]
    np.testing.assert_array_equal(batch.points[1], x[1])


def test_dtypes() -> None:
    x = START.astype(np.float32)
    assert distill.consistency(OPTIMAL, x, 20.0).points.dtype == np.float32
    grid = [20.0, 4.0, 1.0]
    coarse, fine = (distill.teacher(OPTIMAL, each, grid) for each in (x, x.astype(float)))
    assert coarse.target.dtype == coarse.end.dtype == np.float32
    np.testing.assert_array_equal(coarse.target, fine.target.astype(np.float32))
    assert distill.progressive(OPTIMAL, x, grid).targets.dtype == np.float32


def test_failures_are_told_row_by_row() -> None:
    found = distill.consistency(OPTIMAL, START, [20.0, 2.0, 1e-9, 20.0, 1.0], max_steps=1)
    assert not found.ok
    assert np.isnan(found.points[found.result == 1]).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: distill.consistency(OPTIMAL, START, 0.1, 0.2), "sigma: got 0.1"),
        (lambda: distill.consistency(OPTIMAL, START, [1.0, 2.0]), "sigma"),
        (lambda: distill.consistency(OPTIMAL, START, 1.0, -0.1), "sigma_min"),
        (lambda: distill.consistency(GAUSS, START, 1.0), "sigma_min: got 0"),
        (lambda: distill.consistency(OPTIMAL, START, 1.0, rtol=0.0), "rtol"),
        (lambda: distill.consistency(OPTIMAL, START[:, :1], 1.0), "x: got shape"),
        (lambda: distill.implied(START, START[:1], 2.0, 1.0), "end: got shape"),
        (lambda: distill.implied(START, START, 1.0, 1.0), "sigma_end: got 1.0"),
        (lambda: distill.implied(START, START, 0.0, 0.0), "sigma: got 0.0"),
        (lambda: distill.euler_weights([1.0]), "sigmas"),
        (lambda: distill.euler_weights([1.0, 2.0]), "sigmas"),
        (lambda: distill.teacher(OPTIMAL, START, [2.0, 1.0], "eulr"), "name|solver"),
        (lambda: distill.teacher(OPTIMAL, START, [2.0, 1.0], "ancestral"), "solver: got"),
        (lambda: distill.progressive(OPTIMAL, START, [3.0, 2.0, 1.0, 0.5]), "sigmas: got 3 steps"),
        (lambda: distill.progressive(OPTIMAL, START, [3.0, 2.0, 1.0], 0), "steps"),
    ],
)
def test_bad_input(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^({words})"):
        call()
