"""Claims about samplers: second-order ones are finite differences of the denoising trajectory.

With p > s > t the last, the present and the next level, h = t - s < 0, d = (x - D_s)/s,

    x_t = x + h d - (h²/2) (γ/s) Q:

a step follows the curvature x'' = -D'/s of the flow (C2), with a difference quotient Q of
the denoising outputs for D', times a factor γ that depends on the levels and tends to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import grids, solvers
from ..points import PointSet
from ..report import Evidence, Verdict
from ..solvers import Node, Solver
from ..trajectory import Trajectory
from . import _faults
from ._base import Case, Claim, Subject, outcome, untested

__all__ = ["CLAIMS", "DIFFERENCES", "Difference"]

Floats = NDArray[np.float64]
AMPLIFIED = 64.0
"""By how much a step may enlarge the rounding of a denoiser's outputs, at ratios of levels to 4."""

Denoise = Callable[[Floats, float], Floats]
Bend = Callable[[Denoise, Sequence[Node], float], Floats]


@dataclass(frozen=True)
class Difference:
    """A row of the table: what a solver's step is."""

    solver: Solver
    before: int
    """Levels before the one that the step starts at,"""
    after: int
    """and after the one that it leads to."""
    bend: Bend
    """(denoise, nodes with the newest first, t) to γ Q."""


def _mean(a: float, b: float) -> float:
    """Logarithmic mean."""
    return (a - b) / math.log(a / b)


def _quotient(a: Node, b: Node) -> Floats:
    return (a.denoised - b.denoised) / (a.sigma - b.sigma)


def _ahead(denoise: Denoise, now: Node, level: float) -> Node:
    """The Euler point at a level."""
    x = now.x + (level - now.sigma) * now.slope
    return Node(level, x, denoise(x, level))


def _inner(gamma: Callable[[float, float, float, float], float], r: float) -> Bend:
    """γ(s, m, t, r) times the difference to the Euler point at m = s^{1-r} t^r."""

    def bend(denoise: Denoise, nodes: Sequence[Node], t: float) -> Floats:
        now = nodes[0]
        middle = _ahead(denoise, now, now.sigma ** (1 - r) * t**r)
        return gamma(now.sigma, middle.sigma, t, r) * _quotient(middle, now)

    return bend


def _backward(gamma: Callable[[float, float, float], float]) -> Bend:
    """γ(p, s, t) times the difference to the last node."""

    def bend(denoise: Denoise, nodes: Sequence[Node], t: float) -> Floats:
        now, last = nodes[:2]
        return gamma(last.sigma, now.sigma, t) * _quotient(now, last)

    return bend


def _forward(gamma: Callable[[float, float], float]) -> Bend:
    """γ(s, t) times the difference to the prediction at t."""

    def bend(denoise: Denoise, nodes: Sequence[Node], t: float) -> Floats:
        now = nodes[0]
        return gamma(now.sigma, t) * _quotient(_ahead(denoise, now, t), now)

    return bend


def _remembering(denoise: Denoise, nodes: Sequence[Node], t: float) -> Floats:
    """iPNDM-2: the last step's own correction e enters the difference."""
    now, last = nodes[:2]
    gap = now.sigma - last.sigma
    own = now.x - last.x - gap * last.slope
    return (now.denoised - last.denoised - own) / (t - now.sigma)


def _vp_clock_gamma(p: float, s: float, t: float) -> float:
    """DEIS-tAB1: -2K(s-p)/h², K = ∫_s^t (τ(σ) - τ(s))/(τ(p) - τ(s)) dσ, by Gauss in log σ."""
    nodes, weights = np.polynomial.legendre.leggauss(80)
    sigma = np.exp(math.log(s) + 0.5 * (nodes + 1) * math.log(t / s))
    beta = solvers.BETA_MIN
    span = solvers.BETA_MAX - beta

    def clock(level: Any) -> Any:
        grown = np.log1p(np.square(level))
        return 2 * grown / (beta + np.sqrt(beta * beta + 2 * span * grown))

    share = (clock(sigma) - clock(s)) / (clock(p) - clock(s))
    k = 0.5 * math.log(t / s) * float(weights @ (sigma * share))
    return -2 * k * (s - p) / (t - s) ** 2


def _two_differences(denoise: Denoise, nodes: Sequence[Node], t: float) -> Floats:
    """UniC-2: the backward difference and the one to the prediction."""
    now, last = nodes[:2]
    s, p = now.sigma, last.sigma
    h, eta = t - s, math.log(t / s)
    ratio = math.log(s / p) / math.log(s / t)
    one = math.expm1(eta) / eta - 1
    two = one / eta - 0.5
    rho = (one - 2 * two) / (1 - ratio)
    back = -2 * s * rho * (s - p) / (ratio * h * h)
    there = 2 * s * (one - rho) / h
    x = solvers.get("unipc", order=2).step(denoise, (now, last), t)
    ahead = Node(t, x, denoise(x, t))
    return back * _quotient(now, last) + there * _quotient(ahead, now)


def _row(name: str, before: int, after: int, bend: Bend, **options: Any) -> Difference:
    return Difference(solvers.get(name, **options), before, after, bend)


def _log_mean_ratio(p: float, s: float, t: float) -> float:
    return _mean(p, s) / _mean(s, t)


def _midpoint_on_slopes(s: float, m: float, t: float, r: float) -> float:
    return s * (m - s) / (r * m * (t - s))


def _midpoint_on_outputs(s: float, m: float, t: float, r: float) -> float:
    return (m - s) / (r * (t - s))


DIFFERENCES = (
    _row("heun", 0, 0, _forward(lambda s, t: s / t)),
    *(_row("dpm_2", 0, 0, _inner(_midpoint_on_slopes, r), r=r) for r in (0.5, 0.8)),
    *(_row("dpmpp_2s", 0, 0, _inner(_midpoint_on_outputs, r), r=r) for r in (0.5, 0.3)),
    _row("dpmpp_2m", 1, 0, _backward(_log_mean_ratio)),
    _row("dpm_2m", 1, 0, _backward(_log_mean_ratio)),
    _row("ipndm", 2, 0, _remembering, order=2),
    _row("lms", 1, 0, _backward(lambda p, s, t: 1.0), order=2),
    _row("deis", 1, 0, _backward(_vp_clock_gamma), order=2),
    _row("unipc", 0, 1, _forward(lambda s, t: s / _mean(s, t)), order=1, variant="bh1"),
    _row("unipc", 0, 1, _forward(lambda s, t: 1.0), order=1, variant="bh2"),
    _row(
        "unipc", 1, 0, _backward(lambda p, s, t: s * _mean(p, s) / _mean(s, t) ** 2),
        order=2, variant="bh1",
    ),
    _row("unipc", 1, 0, _backward(_log_mean_ratio), order=2, variant="bh2"),
    _row("unipc", 1, 1, _two_differences, order=2),
)  # fmt: skip
"""Every second-order solver, with the difference that it takes for D'."""


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
        unit = -0.5 * h * h / s * _quotient(there, now)
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
