"""Claims about samplers: second-order ones are finite differences of the denoising trajectory.

`analytic.differences` has the table, which these compare with the steps that solvers take.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import grids, solvers
from ..differences import DIFFERENCES
from ..points import PointSet
from ..report import Evidence, Verdict
from ..solvers import Node
from ..trajectory import Trajectory
from . import _faults
from ._base import Case, Claim, Subject, outcome, untested

__all__ = ["CLAIMS"]

Floats = NDArray[np.float64]
AMPLIFIED = 64.0
"""By how much a step may enlarge the rounding of a denoiser's outputs, at ratios of levels to 4."""


def _nodes(path: Trajectory, k: int) -> list[Node]:
    """Nodes up to the k-th level, newest first."""
    return [Node(float(path.sigmas[j]), path.states[j], path.denoised[j]) for j in range(k, -1, -1)]


def _descents(case: Case, rng: np.random.Generator, count: int, levels: int) -> list[Floats]:
    """Levels whose neighbours differ by a factor of 1.1 to 4, anywhere in the range."""
    found = []
    for _ in range(count):
        falls = np.cumsum(rng.uniform(math.log(1.1), math.log(4.0), levels - 1))
        room = max(math.log(case.sigma_max / case.sigma_min) - falls[-1], 0.0)
        top = case.sigma_max * math.exp(-rng.uniform(0.0, room))
        found.append(top * np.exp(-np.concatenate([[0.0], falls])))
    return found


def _begin(case: Case, rng: np.random.Generator, rows: int, sigma: float) -> Floats:
    return case.points.sample(rows, rng) + sigma * rng.standard_normal((rows, case.points.dim))


def _sizes(case: Case, path: Trajectory, k: int) -> Floats:
    """(B,) what round-off is relative to."""
    return np.asarray(np.linalg.norm(path.states[k], axis=1) + case.points.radius + case.diameter)


def _second_order(case: Case, claim: Claim) -> Verdict:
    rng, rows = case.rng(claim.id), 4 if case.quick else 8
    errors, levels, shape = [], [], 3 if case.quick else 8

    def denoise(x: Floats, sigma: float) -> Floats:
        return case.denoise(x, np.full(len(x), sigma))

    for each in DIFFERENCES:
        for grid in _descents(case, rng, shape, each.before + 2 + each.after):
            x = _begin(case, rng, rows, float(grid[0]))
            path = case.subject.sampler(case.subject.denoiser, x, grid, solver=each.solver)
            nodes, t = _nodes(path, each.before), float(grid[each.before + 1])
            s = nodes[0].sigma
            h = t - s
            bend = each.bend(denoise, nodes, t)
            expected = nodes[0].x + h * nodes[0].slope - 0.5 * h * h / s * bend
            gone = np.linalg.norm(path.states[each.before + 1] - expected, axis=1)
            errors.append(gone / _sizes(case, path, each.before))
            levels.append(np.full(rows, s))
    measured = np.array(errors).reshape(len(DIFFERENCES), -1)
    return outcome(
        claim,
        case,
        sigma=np.concatenate(levels),
        measured=measured.ravel(),
        bound=1e-12 + AMPLIFIED * case.rounding,
        meaning="|x_t − x − hd + h²γQ/2s| / size",
        worst=lambda k: {"solver": DIFFERENCES[k // measured.shape[1]].solver.label},
        statistics={
            each.solver.label: float(error.max())
            for each, error in zip(DIFFERENCES, measured, strict=True)
        },
    )


def _exactly_once(case: Case, claim: Claim) -> Verdict:
    """Read γ off Heun's steps on EDM's grid of 12 steps."""
    rng = case.rng(claim.id)
    grid = grids.polynomial(13, case.sigma_max, case.sigma_min)
    x = _begin(case, rng, case.starts, case.sigma_max)
    path = case.subject.sampler(case.subject.denoiser, x, grid, solver="heun")
    read, errors, levels, some = [], [], [], False
    for k, (s, t) in enumerate(pairwise(grid.tolist())):
        now, h = _nodes(path, k)[0], t - s
        ahead = now.x + h * now.slope
        there = Node(t, ahead, case.denoise(ahead, np.full(len(ahead), t)))
        unit = -0.5 * h * h / s * (there.denoised - now.denoised) / (t - s)
        found = path.states[k + 1] - ahead
        total = float(np.sum(unit * unit))
        gamma = float(np.sum(found * unit)) / total if total > 0 else math.nan
        # γ can be read off where the correction is above the rounding of the states
        least = max(1e-6, 1e7 * case.rounding)
        clear = math.sqrt(total) > least * float(np.linalg.norm(_sizes(case, path, k)))
        some |= clear
        read.append(gamma if clear else s / t)
        errors.append(abs(gamma / (s / t) - 1) if clear else 0.0)
        levels.append(s)
    if case.rounding and not some:
        return untested(claim, case, "the denoiser's rounding hides the correction of every step")
    ratios = grid[:-1] / grid[1:]
    return outcome(
        claim,
        case,
        sigma=np.array(levels),
        measured=np.array(errors),
        bound=1e-6,
        meaning="|γ read off Heun's step / (s/t) − 1|",
        worst=lambda k: {"s": float(grid[k]), "t": float(grid[k + 1]), "gamma": read[k]},
        statistics={"largest γ": float(np.max(read)), "smallest γ": float(np.min(read))},
        evidence=Evidence(
            "noise level σ",
            "γ",
            grid[:-1],
            {
                "Heun, read off its steps": np.array(read),
                "s/t": ratios,
                "folklore": np.ones(len(ratios)),
            },
            bound="folklore",
            xscale="log",
            yscale="log",
        ),
        note="Refuted: the factor is s/t, not 1, and large where levels fall steeply.",
    )


def _adams_weights(nodes: Sequence[float], t: float) -> list[float]:
    """∫_s^t of the Lagrange polynomials of the nodes, in rational arithmetic: exact."""
    at, end = [Fraction(node) for node in nodes], Fraction(t)
    found = []
    for j, own in enumerate(at):
        coefficients = [Fraction(1)]
        for other in at[:j] + at[j + 1 :]:
            shifted = [Fraction(0), *coefficients]
            for k, c in enumerate(coefficients):
                shifted[k] -= other * c
            coefficients = [c / (own - other) for c in shifted]
        found.append(
            float(
                sum(
                    c * (end ** (k + 1) - at[0] ** (k + 1)) / (k + 1)
                    for k, c in enumerate(coefficients)
                )
            )
        )
    return found


def _adams(case: Case, claim: Claim) -> Verdict:
    rng, rows = case.rng(claim.id), 4 if case.quick else 8
    errors, levels, worst = [], [], []
    for order in (1, 2, 3, 4):
        solver = solvers.get("lms", order=order)
        for grid in _descents(case, rng, 4 if case.quick else 16, order + 1):
            x = _begin(case, rng, rows, float(grid[0]))
            path = case.subject.sampler(case.subject.denoiser, x, grid, solver=solver)
            nodes, t = _nodes(path, order - 1), float(grid[-1])
            weights = _adams_weights([node.sigma for node in nodes], t)
            expected = nodes[0].x
            for weight, node in zip(weights, nodes, strict=True):
                expected = expected + weight * node.slope
            gone = np.linalg.norm(path.states[-1] - expected, axis=1)
            # the weights of a steep descent are large and cancel: the rounding is theirs
            scale = max(1.0, float(np.abs(weights).max()) / (nodes[0].sigma - t))
            errors.append(gone / _sizes(case, path, order - 1) / scale)
            levels.append(np.full(rows, nodes[0].sigma))
            worst.append((order, grid))
    return outcome(
        claim,
        case,
        sigma=np.concatenate(levels),
        measured=np.concatenate(errors),
        bound=1e-12 + AMPLIFIED * case.rounding,
        meaning="|x_t − x − Σ c_j ε_j| / size, c_j in rational arithmetic",
        worst=lambda k: {"order": worst[k // rows][0], "levels": worst[k // rows][1]},
    )


def _other_level(points: PointSet) -> Subject:
    """Heun, with the predictor's level where the corrector's belongs."""

    def step(evaluate: Any, path: Any, t: float) -> Floats:
        now = path[0]
        ahead = now.x + (t - now.sigma) * now.slope
        there = (ahead - evaluate(ahead, now.sigma)) / t
        return now.x + 0.5 * (t - now.sigma) * (now.slope + there)

    return _faults.with_solver(points, "heun", step)


def _factor_one(points: PointSet) -> Subject:
    """What Heun would be if the folklore were true."""

    def step(evaluate: Any, path: Any, t: float) -> Floats:
        now, h = path[0], t - path[0].sigma
        ahead = now.x + h * now.slope
        gap = evaluate(ahead, t) - now.denoised
        return ahead - 0.5 * h / now.sigma * gap

    return _faults.with_solver(points, "heun", step)


def _equal_steps(points: PointSet) -> Subject:
    """Adams-Bashforth with the weights of equal steps."""

    def step(evaluate: Any, path: Any, t: float) -> Floats:
        return solvers.get("ipndm").step(evaluate, path, t)

    return _faults.with_solver(points, "lms", step)


_PAPER = "Chen et al. 2023, https://arxiv.org/abs/2305.19947, section 4"

CLAIMS = (
    Claim(
        "E1",
        "Second-order samplers are finite differences of the denoising trajectory",
        "theorem",
        "A step of every second-order solver is Euler's plus −(h²/2)(γ/s)Q, Q a difference "
        "quotient of denoising outputs and γ a factor that depends on the levels alone "
        "(iPNDM's Q also holds its last step's own correction).",
        r"x_t = x + h\,d - \frac{h^2}{2}\frac{\gamma}{s}\,Q, \qquad d = (x - D_s)/s,\; h = t - s",
        _PAPER,
        "any denoiser, any decreasing levels",
        "each solver is linear in the denoising outputs; collect the terms beside Euler's.",
        _second_order,
        _other_level,
        _second_order,
    ),
    Claim(
        "E2",
        "The factor is not one",
        "folklore",
        "False: that every second-order sampler uses exactly −Q/s for the curvature. On EDM's "
        "grid of 12 steps Heun's factor γ = s/t is far from 1.",
        r"\gamma_{\mathrm{Heun}} = s/t \ne 1",
        _PAPER,
        "EDM's polynomial grid of 12 steps",
        "read γ off the steps that Heun takes.",
        _exactly_once,
        _factor_one,
        _exactly_once,
    ),
    Claim(
        "E3",
        "Adams-Bashforth weights for unequal steps",
        "theorem",
        "Linear multistep of order k integrates the polynomial through the last k slopes "
        "exactly: its weights are integrals of Lagrange polynomials, whatever the levels.",
        r"c_j = \int_s^t \prod_{i \ne j} \frac{\sigma - \sigma_i}{\sigma_j - \sigma_i}\,d\sigma",
        "Zhang & Chen 2023, https://arxiv.org/abs/2204.13902",
        "orders 1 to 4, any decreasing levels",
        "the weights are computed in rational arithmetic and compared step by step.",
        _adams,
        _equal_steps,
        _adams,
    ),
)
