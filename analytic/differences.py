"""Second-order solvers as finite differences of the denoising trajectory (theory E1).

With p > s > t the last, the present and the next level, h = t - s < 0, d = (x - D_s)/s,

    x_t = x + h d - (h²/2) (γ/s) Q:

a step follows the curvature x'' = -D'/s of the flow (C2), with a difference quotient Q of
the denoising outputs for D', times a factor γ that depends on the levels and tends to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import solvers
from .solvers import Node, Solver

__all__ = ["DIFFERENCES", "Difference"]

Floats = NDArray[np.float64]
Denoise = Callable[[Floats, float], Floats]
Gamma = Callable[[float, float, float], float]
Quotient = Callable[[Denoise, Sequence[Node], float], Floats]


@dataclass(frozen=True)
class Difference:
    """A row of the table: what a solver's step is."""

    solver: Solver
    before: int
    """Levels before the one that the step starts at,"""
    after: int
    """and after the one that it leads to."""
    gamma: Gamma
    """(p, s, t) to γ; p is not used where `before` is 0."""
    quotient: Quotient
    """(denoise, nodes with the newest first, t) to Q, (B, D)."""

    def bend(self, denoise: Denoise, nodes: Sequence[Node], t: float) -> Floats:
        """γ Q, (B, D), of the step to t from the newest of `before` + 1 nodes or more."""
        last = nodes[1].sigma if self.before else math.nan
        return self.gamma(last, nodes[0].sigma, t) * self.quotient(denoise, nodes, t)


def _mean(a: float, b: float) -> float:
    """Logarithmic mean."""
    return (a - b) / math.log(a / b)


def _difference(a: Node, b: Node) -> Floats:
    return (a.denoised - b.denoised) / (a.sigma - b.sigma)


def _ahead(denoise: Denoise, now: Node, level: float) -> Node:
    """The Euler point at a level."""
    x = now.x + (level - now.sigma) * now.slope
    return Node(level, x, denoise(x, level))


def _inner(r: float) -> Quotient:
    """The difference to the Euler point at m = s^{1-r} t^r."""

    def quotient(denoise: Denoise, nodes: Sequence[Node], t: float) -> Floats:
        now = nodes[0]
        return _difference(_ahead(denoise, now, now.sigma ** (1 - r) * t**r), now)

    return quotient


def _backward(denoise: Denoise, nodes: Sequence[Node], t: float) -> Floats:
    """The difference to the last node."""
    return _difference(nodes[0], nodes[1])


def _forward(denoise: Denoise, nodes: Sequence[Node], t: float) -> Floats:
    """The difference to the prediction at t."""
    return _difference(_ahead(denoise, nodes[0], t), nodes[0])


def _remembering(denoise: Denoise, nodes: Sequence[Node], t: float) -> Floats:
    """iPNDM-2: the last step's own correction e enters the difference."""
    now, last = nodes[:2]
    gap = now.sigma - last.sigma
    own = now.x - last.x - gap * last.slope
    return (now.denoised - last.denoised - own) / gap


def _two_weights(p: float, s: float, t: float) -> tuple[float, float]:
    """UniC-2: the weights of the backward difference and of the one to the prediction."""
    h, eta = t - s, math.log(t / s)
    ratio = math.log(s / p) / math.log(s / t)
    one = math.expm1(eta) / eta - 1
    two = one / eta - 0.5
    rho = (one - 2 * two) / (1 - ratio)
    return -2 * s * rho * (s - p) / (ratio * h * h), 2 * s * (one - rho) / h


def _two_differences(denoise: Denoise, nodes: Sequence[Node], t: float) -> Floats:
    """UniC-2: both differences, in the mean by their weights, whose sum is γ."""
    now, last = nodes[:2]
    back, there = _two_weights(last.sigma, now.sigma, t)
    x = solvers.get("unipc", order=2).step(denoise, (now, last), t)
    ahead = Node(t, x, denoise(x, t))
    both = back * _difference(now, last) + there * _difference(ahead, now)
    return np.asarray(both / (back + there))


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


def _log_mean_ratio(p: float, s: float, t: float) -> float:
    return _mean(p, s) / _mean(s, t)


def _midpoint_on_outputs(r: float) -> Gamma:
    return lambda p, s, t: (s ** (1 - r) * t**r - s) / (r * (t - s))


def _midpoint_on_slopes(r: float) -> Gamma:
    outputs = _midpoint_on_outputs(r)
    return lambda p, s, t: (s / t) ** r * outputs(p, s, t)


def _row(
    name: str, before: int, after: int, gamma: Gamma, quotient: Quotient, **options: Any
) -> Difference:
    return Difference(solvers.get(name, **options), before, after, gamma, quotient)


DIFFERENCES = (
    _row("heun", 0, 0, lambda p, s, t: s / t, _forward),
    *(_row("dpm_2", 0, 0, _midpoint_on_slopes(r), _inner(r), r=r) for r in (0.5, 0.8)),
    *(_row("dpmpp_2s", 0, 0, _midpoint_on_outputs(r), _inner(r), r=r) for r in (0.5, 0.3)),
    _row("dpmpp_2m", 1, 0, _log_mean_ratio, _backward),
    _row("dpm_2m", 1, 0, _log_mean_ratio, _backward),
    _row("ipndm", 2, 0, lambda p, s, t: (s - p) / (t - s), _remembering, order=2),
    _row("lms", 1, 0, lambda p, s, t: 1.0, _backward, order=2),
    _row("deis", 1, 0, _vp_clock_gamma, _backward, order=2),
    _row("unipc", 0, 1, lambda p, s, t: s / _mean(s, t), _forward, order=1, variant="bh1"),
    _row("unipc", 0, 1, lambda p, s, t: 1.0, _forward, order=1, variant="bh2"),
    _row(
        "unipc", 1, 0, lambda p, s, t: s * _mean(p, s) / _mean(s, t) ** 2, _backward,
        order=2, variant="bh1",
    ),
    _row("unipc", 1, 0, _log_mean_ratio, _backward, order=2, variant="bh2"),
    _row("unipc", 1, 1, lambda p, s, t: sum(_two_weights(p, s, t)), _two_differences, order=2),
)  # fmt: skip
"""Every second-order solver, with the difference that it takes for D'.

UniPC has rows for its predictor (`after` is 0) and for what its corrector makes of it."""
