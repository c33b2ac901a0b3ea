"""Solvers as data.

A solver is one declaration: how to step from level s down to t, its order, its denoiser
evaluations per step, and where it comes from. The one loop is in `analytic.sampling`. It
hands a step what is known at the last levels, newest first, as `Node`s (σ, x, D), of which
ε = (x - D)/σ is the slope of the probability-flow ODE dx/dσ = ε. Everything here is linear
in D and ε, with weights that depend on the levels alone:

    on ε:  x_t = x + Σ_j c_j ε_j,          Σ_j c_j = t - s,
    on D:  x_t = (t/s) x + Σ_j b_j D_j,    Σ_j b_j = 1 - t/s,

the first from x_t = x + ∫_s^t ε dσ, the second from x_t = (t/s) x + t ∫_{1/s}^{1/t} D dw,
w = 1/σ, the flow solved exactly for constant D. Adams methods put the Lagrange polynomials
L_j of a clock v(σ) through the nodes there, and integrate them:

    c_j = ∫_s^t L_j(v(σ)) dσ,    b_j = t ∫_t^s L_j(v(σ)) dσ/σ².

The clock is all that distinguishes linear multistep (v = σ), DEIS (v the time of the VP
process) and the multistep DPM-Solvers (v = log σ). A multistep solver starts with the order
that the nodes allow. Where a formula has no value at t = 0 the step is Euler's, which ends
there at D exactly.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _check
from .noise import linear_time

__all__ = ["Churn", "Node", "Solver", "euler_step", "get", "names"]

Floats = NDArray[np.float64]
Evaluate = Callable[[Floats, float], Floats]


class Node(NamedTuple):
    """What is known at one level."""

    sigma: float
    x: Floats
    """(B, D) states."""
    denoised: Floats
    """(B, D) what the denoiser made of them, or of the prediction that x corrects."""

    @property
    def slope(self) -> Floats:
        """(B, D) ε = dx/dσ."""
        return (self.x - self.denoised) / self.sigma


Path = tuple[Node, ...]
Step = Callable[[Evaluate, Path, float], Floats]
Correct = Callable[[Path, Node], Floats]
Levels = tuple[float, ...]
Weights = Callable[[Levels, float], Floats]
"""Levels of the nodes, newest first, and t to a weight for each node."""


@dataclass(frozen=True)
class Solver:
    """A sampling method."""

    name: str
    order: int
    """Global order of the error in x, on levels that lie ever denser on a smooth curve."""
    nfe_per_step: int
    step: Step
    """step(evaluate, path, t): states (B, D) at level t. `path` has 1 to `memory` nodes, the
    newest, where the step starts, first; `evaluate(x, sigma)` is the (counted) denoiser."""
    source: str
    memory: int = 1
    """Nodes that a step uses; more than 1 for multistep solvers."""
    correct: Correct | None = None
    """correct(path, node): better states at the node's level, from the nodes that the step to
    there used and the one that it led to. The node's output is kept, not evaluated again."""
    reaches_zero: bool = False
    """Whether the step has a value at t = 0; Euler's is taken there if not."""
    lower_order_final: bool = False
    """Whether a step uses no more nodes than there are steps left, itself included."""
    eta: float | None = None
    """Share of the noise that an ancestral step renews, 0 none, 1 all; None for other solvers."""
    afs: bool = False
    """Analytical first step: ε = x/√(1 + σ²) at the first level, without an evaluation
    (Dockhorn et al. 2022, https://arxiv.org/abs/2210.05475). The order is 1 with it."""
    jump: bool = False
    """Whether the last level is followed by a jump to its denoised output, at σ = 0
    (Chen et al. 2023, https://arxiv.org/abs/2305.19947)."""
    options: tuple[tuple[str, Any], ...] = ()
    """What `get` was given besides the name."""

    @property
    def label(self) -> str:
        """Name and options: `unipc(order=3)`."""
        given = ", ".join(f"{key}={value!r}" for key, value in self.options)
        return f"{self.name}({given})" if given else self.name

    def nfe(self, steps: int, *, to_zero: bool = False) -> int:
        """Evaluations for that many steps, the last one to σ = 0 or not; a jump is not counted
        among the steps.
        """
        count = _check.integer(steps, "steps")
        single = _check.flag(to_zero, "to_zero") and count > 0 and not self.reaches_zero
        return count * self.nfe_per_step - (self.nfe_per_step - 1) * single - self.afs + self.jump


@dataclass(frozen=True)
class Churn:
    """Noise renewed before each step (Karras et al. 2022, EDM, algorithm 2).

    Where low ≤ σ ≤ high, σ is raised to σ̂ = σ (1 + min(amount/n, √2 - 1)), n the number of
    steps, by noise of standard deviation `inflation` √(σ̂² - σ²).
    """

    amount: float
    """S_churn ≥ 0."""
    low: float = 0.0
    """S_tmin"""
    high: float = math.inf
    """S_tmax"""
    inflation: float = 1.0
    """S_noise > 0"""

    def __post_init__(self) -> None:
        _check.number(self.amount, "amount", low=0.0)
        _check.number(self.low, "low", low=0.0)
        if not (isinstance(self.high, float) and self.high == math.inf):
            _check.number(self.high, "high", low=self.low)
        _check.number(self.inflation, "inflation", low=0.0, open_low=True)

    def level(self, sigma: float, steps: int) -> float:
        """σ̂"""
        inside = self.low <= sigma <= self.high
        return sigma * (1 + min(self.amount / steps, math.sqrt(2) - 1)) if inside else sigma


def euler_step(x: Floats, denoised: Floats, s: Any, t: Any) -> Floats:
    """(t/s) x + (1 - t/s) D: the Euler step as a convex combination (theory C1)."""
    share = t / s
    return share * x + (1 - share) * denoised


def split(s: float, t: float, eta: float | None) -> tuple[float, float]:
    """(σ_down, σ_up), σ_down² + σ_up² = t²: where an ancestral step from s to t goes without
    noise, and the noise that takes it to t; η = 1 is the posterior of DDPM.
    """
    if not eta:
        return t, 0.0
    up = min(t, eta * t * math.sqrt((s - t) * (s + t)) / s)
    return math.sqrt((t - up) * (t + up)), up


# Steps from weights


def _on_slopes(weights: Weights) -> Step:
    def step(evaluate: Evaluate, path: Path, t: float) -> Floats:
        x = path[0].x
        for weight, node in zip(weights(_levels(path), t), path, strict=True):
            x = x + weight * node.slope
        return x

    return step


def _on_outputs(weights: Weights) -> Step:
    def step(evaluate: Evaluate, path: Path, t: float) -> Floats:
        return _blend(path[0], path, weights(_levels(path), t), t)

    return step


def _blend(start: Node, nodes: Path, weights: Floats, t: float) -> Floats:
    """(t/s) x + Σ b_j D_j"""
    x = t / start.sigma * start.x
    for weight, node in zip(weights, nodes, strict=True):
        x = x + weight * node.denoised
    return x


def _levels(path: Path) -> Levels:
    return tuple(node.sigma for node in path)


# Weights


class Clock(NamedTuple):
    """A variable v(σ) to interpolate in, and one, u, in which integrands are smooth."""

    value: Callable[[Any], Any]
    """v(σ)"""
    smooth: Callable[[Any], Any]
    """u(σ)"""
    sigma: Callable[[Any], Any]
    """σ(u)"""
    rate: Callable[[Any], Any]
    """dσ/du"""


def _same(sigma: Any) -> Any:
    return sigma


BETA_MIN, BETA_MAX = 0.1, 20.0
"""β at the ends of the VP process, whose time is the clock of DEIS."""

_BEND = math.sqrt(-math.expm1(-(BETA_MIN**2) / (2 * (BETA_MAX - BETA_MIN))))
"""The VP time has branch points at σ = ± i _BEND and ± i: u = asinh(σ/_BEND) keeps both away."""


def _vp_time(sigma: Any) -> Any:
    return linear_time(np.log1p(np.square(sigma)), BETA_MIN, BETA_MAX)


LINEAR = Clock(_same, _same, _same, np.ones_like)
LOG = Clock(np.log, np.log, np.exp, np.exp)
VP = Clock(
    _vp_time,
    lambda sigma: np.arcsinh(sigma / _BEND),
    lambda u: _BEND * np.sinh(u),
    lambda u: _BEND * np.cosh(u),
)

_NODES, _GAUSS = np.polynomial.legendre.leggauss(64)
_NODES, _GAUSS = 0.5 * (_NODES + 1.0), 0.5 * _GAUSS


def _measure(clock: Clock, s: float, t: float, outputs: bool) -> tuple[Floats, Floats]:
    """Levels between s and t and the weights of an integral there, over dσ or -t dσ/σ²."""
    a, b = clock.smooth(s), clock.smooth(t)
    u = a + (b - a) * _NODES
    sigma = clock.sigma(u)
    weight = (b - a) * _GAUSS * clock.rate(u)
    return sigma, -t / sigma**2 * weight if outputs else weight


def _lagrange(nodes: Floats, v: Floats) -> Floats:
    """(n, m) the polynomials of n nodes at m values."""
    rows, gaps = np.ones((len(nodes), len(v))), v - nodes[:, None]
    for j, own in enumerate(nodes):
        scale = 1.0
        for k, other in enumerate(nodes):
            if k != j:
                rows[j] *= gaps[k]
                scale *= own - other
        rows[j] /= scale
    return rows


@lru_cache(maxsize=4096)
def _adams(clock: Clock, nodes: Levels, s: float, t: float, outputs: bool) -> Floats:
    """Weights that are exact for polynomials of the clock; of levels alone, so kept."""
    sigma, weight = _measure(clock, s, t, outputs)
    origin = clock.value(s)
    places = clock.value(np.array(nodes)) - origin
    weights = _lagrange(places, clock.value(sigma) - origin) @ weight
    weights.flags.writeable = False
    return weights


def _slope_adams(clock: Clock) -> Weights:
    return lambda levels, t: _adams(clock, levels, levels[0], t, outputs=False)


def _uniform_adams(levels: Levels, t: float) -> Floats:
    """The weights of equal steps, whatever the levels."""
    return (t - levels[0]) * _ADAMS_BASHFORTH[len(levels)]


_ADAMS_BASHFORTH = {
    1: np.array([1.0]),
    2: np.array([3.0, -1.0]) / 2,
    3: np.array([23.0, -16.0, 5.0]) / 12,
    4: np.array([55.0, -59.0, 37.0, -9.0]) / 24,
}


def _ratios(levels: Levels, t: float) -> Floats:
    """r_k = ln(p_k/s)/ln(s/t) of the levels p_k before s: -r_k is their place when s is at 0
    and t at 1.
    """
    return np.log(np.array(levels[1:]) / levels[0]) / math.log(levels[0] / t)


def _halved(total: float, levels: Levels, t: float) -> Floats:
    """total (D_s + (D_s - D_p)/2r): a midpoint rule whose slope comes from the last step."""
    if len(levels) == 1:
        return np.array([total])
    half = 0.5 / _ratios(levels, t)[0]
    return total * np.array([1 + half, -half])


def _third(outputs: bool, released: bool) -> Weights:
    """Adams in log σ with three nodes, after a step with two. The authors' program takes half of
    the second difference, and so is of order 2.
    """

    def weights(levels: Levels, t: float) -> Floats:
        s = levels[0]
        if len(levels) < 3:
            return _halved(1 - t / s if outputs else t - s, levels, t)
        exact = _adams(LOG, levels, s, t, outputs)
        if not released:
            return exact
        sigma, weight = _measure(LOG, s, t, outputs)
        square = (np.log(sigma / s) / math.log(t / s)) ** 2 @ weight
        near, far = _ratios(levels, t)
        gap = far - near
        second = np.array([1 / near, -1 / near - 1 / gap, 1 / gap]) / far
        return exact - 0.5 * square * second

    return weights


# The declarations


def euler() -> Solver:
    """DDIM: the flow solved exactly for constant D."""

    def step(evaluate: Evaluate, path: Path, t: float) -> Floats:
        return euler_step(path[0].x, path[0].denoised, path[0].sigma, t)

    source = "Song et al. 2021 (DDIM), https://arxiv.org/abs/2010.02502"
    return Solver("euler", 1, 1, step, source, reaches_zero=True)


def euler_jump() -> Solver:
    """Euler, then a jump from the last level to the denoised output."""
    source = "Chen et al. 2023 (ODE-jump), https://arxiv.org/abs/2305.19947"
    return replace(euler(), name="euler_jump", jump=True, source=source)


def heun() -> Solver:
    """The trapezoidal rule at the Euler point: x + (t - s)/2 (ε_s + ε_t)."""

    def step(evaluate: Evaluate, path: Path, t: float) -> Floats:
        s, x, denoised = now = path[0]
        ahead = euler_step(x, denoised, s, t)
        there = Node(t, ahead, evaluate(ahead, t))
        return x + (t - s) * 0.5 * (now.slope + there.slope)

    source = "Karras et al. 2022 (EDM, algorithm 1), https://arxiv.org/abs/2206.00364"
    return Solver("heun", 2, 2, step, source)


def _between(evaluate: Evaluate, now: Node, t: float, r: float) -> Node:
    """The Euler point at s^{1-r} t^r."""
    middle = now.sigma ** (1 - r) * t**r
    x = euler_step(now.x, now.denoised, now.sigma, middle)
    return Node(middle, x, evaluate(x, middle))


def dpm_2(*, r: float = 0.5) -> Solver:
    """x + (t - s)((1 - 1/2r) ε_s + ε_m/2r), m = s^{1-r} t^r."""
    share = _check.number(r, "r", low=0.0, high=1.0, open_low=True)

    def step(evaluate: Evaluate, path: Path, t: float) -> Floats:
        now = path[0]
        middle = _between(evaluate, now, t, share)
        weight = 0.5 / share
        slope = (1 - weight) * now.slope + weight * middle.slope
        return now.x + (t - now.sigma) * slope

    source = "Lu et al. 2022 (DPM-Solver-2), https://arxiv.org/abs/2206.00927"
    return Solver("dpm_2", 2, 2, step, source)


def dpmpp_2s(*, r: float = 0.5) -> Solver:
    """(t/s) x + (1 - t/s)((1 - 1/2r) D_s + D_m/2r), m = s^{1-r} t^r."""
    share = _check.number(r, "r", low=0.0, high=1.0, open_low=True)

    def step(evaluate: Evaluate, path: Path, t: float) -> Floats:
        now = path[0]
        middle = _between(evaluate, now, t, share)
        weight = 0.5 / share
        denoised = (1 - weight) * now.denoised + weight * middle.denoised
        return euler_step(now.x, denoised, now.sigma, t)

    return Solver("dpmpp_2s", 2, 2, step, _DPM_SOLVER_PP)


_DPM_SOLVER_PP = "Lu et al. 2022 (DPM-Solver++), https://arxiv.org/abs/2211.01095"


def rk4() -> Solver:
    """The classical Runge-Kutta method of dx/dσ = ε."""

    def step(evaluate: Evaluate, path: Path, t: float) -> Floats:
        now = path[0]
        h, first = t - now.sigma, now.slope
        middle = now.sigma + 0.5 * h

        def slope(x: Floats, sigma: float) -> Floats:
            return Node(sigma, x, evaluate(x, sigma)).slope

        second = slope(now.x + 0.5 * h * first, middle)
        third = slope(now.x + 0.5 * h * second, middle)
        fourth = slope(now.x + h * third, t)
        return now.x + h / 6 * (first + 2 * (second + third) + fourth)

    return Solver(
        "rk4", 4, 4, step, "Kutta 1901; https://en.wikipedia.org/wiki/Runge-Kutta_methods"
    )


def dpmpp_2m(*, lower_order_final: bool = False) -> Solver:
    """On D: (1 - t/s)(D_s + (D_s - D_p)/2r), r = ln(p/s)/ln(s/t)."""
    step = _on_outputs(lambda levels, t: _halved(1 - t / levels[0], levels, t))
    solver = Solver("dpmpp_2m", 2, 1, step, _DPM_SOLVER_PP, memory=2)
    return _final(solver, lower_order_final)


def dpm_2m(*, lower_order_final: bool = False) -> Solver:
    """On ε: (t - s)(ε_s + (ε_s - ε_p)/2r), r = ln(p/s)/ln(s/t)."""
    step = _on_slopes(lambda levels, t: _halved(t - levels[0], levels, t))
    return _final(Solver("dpm_2m", 2, 1, step, _DPM_SOLVER_PP, memory=2), lower_order_final)


def dpmpp_3m(*, variant: str = "exact", lower_order_final: bool = False) -> Solver:
    """Adams on D in log σ with three nodes; variant "released" as the authors' program."""
    solver = _third_order("dpmpp_3m", variant, outputs=True)
    return _final(solver, lower_order_final)


def dpm_3m(*, variant: str = "exact", lower_order_final: bool = False) -> Solver:
    """Adams on ε in log σ with three nodes; variant "released" as the authors' program."""
    solver = _third_order("dpm_3m", variant, outputs=False)
    return _final(solver, lower_order_final)


def _third_order(name: str, variant: str, outputs: bool) -> Solver:
    released = _check.choice(variant, "variant", ("exact", "released")) == "released"
    weights = _third(outputs, released)
    step = _on_outputs(weights) if outputs else _on_slopes(weights)
    return Solver(name, 2 if released else 3, 1, step, _DPM_SOLVER_PP, memory=3)


def _final(solver: Solver, lower: bool) -> Solver:
    """With the option set: a single last step of order 1 leaves an error of order 2."""
    flag = _check.flag(lower, "lower_order_final")
    order = min(solver.order, 2) if flag else solver.order
    return replace(solver, lower_order_final=flag, order=order)


def ipndm(*, order: int = 4) -> Solver:
    """Adams-Bashforth on ε with the weights of equal steps, taken on any levels.

    Of the order of its name on equal steps, of order 2 at most on others.
    """
    many = _check.integer(order, "order", low=1, high=4)
    source = "Zhang & Chen 2023 (iPNDM), https://arxiv.org/abs/2204.13902"
    step = _on_slopes(_uniform_adams)
    return Solver("ipndm", min(many, 2), 1, step, source, memory=many, reaches_zero=True)


def lms(*, order: int = 4) -> Solver:
    """Adams-Bashforth on ε in σ, exact for unequal steps; the same as DEIS-ρAB."""
    many = _check.integer(order, "order", low=1, high=4)
    source = "Zhang & Chen 2023 (DEIS, ρAB), https://arxiv.org/abs/2204.13902"
    step = _on_slopes(_slope_adams(LINEAR))
    return Solver("lms", many, 1, step, source, memory=many, reaches_zero=True)


def deis(*, order: int = 4) -> Solver:
    """Adams-Bashforth on ε in the time of the VP process, β from 0.1 to 20; DEIS-tAB of order
    k has k + 1 nodes there, k here.
    """
    many = _check.integer(order, "order", low=1, high=4)
    source = "Zhang & Chen 2023 (DEIS, tAB), https://arxiv.org/abs/2204.13902"
    step = _on_slopes(_slope_adams(VP))
    return Solver("deis", many, 1, step, source, memory=many, reaches_zero=True)


def unipc(*, order: int = 3, variant: str = "bh2", lower_order_final: bool = False) -> Solver:
    """Adams on D in log σ: predicted with `order` nodes, corrected with the new one, too.

    Where the paper fixes a coefficient instead (the second order of the predictor and the
    first of the corrector), half of a difference is taken times B(h): h = ln(s/t) for "bh1",
    1 - t/s for "bh2". The corrector adds one to the order.
    """
    many = _check.integer(order, "order", low=1, high=3)
    small = _check.choice(variant, "variant", ("bh1", "bh2")) == "bh1"

    def size(s: float, t: float) -> float:
        return math.log(s / t) if small else 1 - t / s

    def predict(levels: Levels, t: float) -> Floats:
        s = levels[0]
        if len(levels) != 2:
            return _adams(LOG, levels, s, t, outputs=True)
        extra = 0.5 * size(s, t) / _ratios(levels, t)[0]
        return np.array([1 - t / s + extra, -extra])

    def correct(path: Path, node: Node) -> Floats:
        s, t = path[0].sigma, node.sigma
        if len(path) == 1:
            extra = 0.5 * size(s, t)
            weights = np.array([extra, 1 - t / s - extra])
        else:
            weights = _adams(LOG, _levels((node, *path)), s, t, outputs=True)
        return _blend(path[0], (node, *path), weights, t)

    source = "Zhao et al. 2023 (UniPC), https://arxiv.org/abs/2302.04867"
    solver = Solver(
        "unipc", many + 1, 1, _on_outputs(predict), source, memory=many, correct=correct
    )
    return _final(solver, lower_order_final)


def ancestral(*, eta: float = 1.0) -> Solver:
    """Euler down to √(t² - σ_up²), then noise up to t: DDPM for η = 1, DDIM for η = 0."""
    share = _check.number(eta, "eta", low=0.0, high=1.0)
    source = "Ho et al. 2020 (DDPM), https://arxiv.org/abs/2006.11239"
    return replace(euler(), name="ancestral", eta=share, source=source)


_FACTORIES: dict[str, Callable[..., Solver]] = {
    factory.__name__: factory
    for factory in (
        euler, heun, dpm_2, dpmpp_2s, dpmpp_2m, dpmpp_3m, dpm_2m, dpm_3m, ipndm, lms, deis, unipc,
        rk4, euler_jump, ancestral,
    )
}  # fmt: skip

_COMMON = ("afs", "jump")


def names() -> tuple[str, ...]:
    """Names that `get` knows."""
    return tuple(_FACTORIES)


def get(name: Any, **options: Any) -> Solver:
    """The solver of that name; a `Solver` is returned as it is, if without options.

    Parameters
    ----------
    name : one of `names()`, or a `Solver`.
    options : those that the solver has, by name. All have `afs` and `jump`; then there are
        `r` (dpm_2, dpmpp_2s; in (0, 1]), `order` (ipndm, lms, deis: 1 to 4; unipc: 1 to 3),
        `variant` (unipc: "bh1", "bh2"; dpmpp_3m, dpm_3m: "exact", "released"),
        `lower_order_final` (dpmpp_2m, dpmpp_3m, dpm_2m, dpm_3m, unipc), `eta` (ancestral).

    Raises
    ------
    ValueError, TypeError
        for a name or an option that does not exist, with those that do.
    """
    if isinstance(name, Solver):
        if options:
            _check.fail(
                next(iter(options)),
                f"an option beside a Solver ({name.label})",
                "options with a name only",
                f"ask for get({name.name!r}, ...) with all its options",
                TypeError,
            )
        return name
    factory = _FACTORIES[_check.choice(name, "solver", _FACTORIES)]
    known = (*inspect.signature(factory).parameters, *_COMMON)
    for key in options:
        if key not in known:
            _check.fail(
                key,
                f"an option that {name!r} does not have",
                f"one of {', '.join(known)}",
                "drop it, or choose another solver",
                TypeError,
            )
    own = {key: value for key, value in options.items() if key not in _COMMON}
    afs, jump = (_check.flag(options.get(key, False), key) for key in _COMMON)
    solver = factory(**own)
    # a first step without the denoiser is off by its length, whatever the method
    order = 1 if afs else solver.order
    return replace(
        solver, order=order, afs=afs, jump=jump or solver.jump, options=tuple(options.items())
    )
