"""Samplers as their papers print them: an independent judge of `analytic.solvers`.

Every function is the published algorithm as a plain loop, in the paper's own variables,

    name(denoise, x, sigmas, **options) -> (n + 1, B, D) states x_0, …, x_n in float64

with denoise(x, σ) = D(x; σ), x (B, D) at σ_0 and a grid σ_0 > … > σ_n ≥ 0. The frame is the
variance-exploding one, so α_t = 1 and σ_t = t, and

    λ = -log σ,   h = λ_t - λ_s,   ε(x, s) = (x - D(x; s))/s,
    φ_k(z) = ∫_0^1 e^{(1-δ) z} δ^{k-1}/(k-1)! dδ.

s, t are the levels at the two ends of a step, p, o earlier ones. Formulas in λ have no value at
σ = 0: there a step is Euler's, x = D(x; s). All functions take

    afs : replace the first ε by x/√(1 + σ_0²), the "analytical first step" of Dockhorn et al.
          2022 (GENIE), https://arxiv.org/abs/2210.05475, section 4; no evaluation at σ_0.

Nothing here imports from `analytic`, and nothing is written to be fast or accurate beyond
what the formulas give: steps in λ cancel by about 1e-16 relative to the state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PAPERS", "STOCHASTIC", "adams_weights", "phi", "vp_time"]

Floats = NDArray[np.float64]
Denoise = Callable[[Floats, float], Floats]
Clock = Callable[[Any], Any]


def _lam(sigma: float) -> float:
    """λ = log(α/σ)."""
    return -float(np.log(sigma))


def _eps(x: Floats, denoised: Floats, sigma: float) -> Floats:
    """Noise prediction from data prediction: x = D + σ ε."""
    return (x - denoised) / sigma


def _begin(
    denoise: Denoise, x: Any, sigmas: Any, afs: bool = False
) -> tuple[Denoise, Floats, list[float]]:
    grid = [float(sigma) for sigma in sigmas]

    def first_analytic(y: Floats, sigma: float) -> Floats:
        if sigma == grid[0]:
            return y - sigma * (y / np.sqrt(1 + sigma**2))
        return denoise(y, sigma)

    return (first_analytic if afs else denoise), np.array(x, dtype=np.float64), grid


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(30)


def phi(k: int, z: float) -> float:
    """φ_k(z) = ∫_0^1 e^{(1-δ) z} δ^{k-1}/(k-1)! dδ, k ≥ 1.

    Lu et al. 2022 (DPM-Solver), appendix B.1; Hochbruck and Ostermann 2005. The integral
    itself: the recursion φ_{k+1} = (φ_k - 1/k!)/z cancels at small z.
    """
    pieces = max(1, int(np.ceil(abs(z) / 4)))
    total = 0.0
    for j in range(pieces):
        delta = (j + (_NODES + 1) / 2) / pieces
        value = np.exp((1 - delta) * z) * delta ** (k - 1) / factorial(k - 1)
        total += float(_WEIGHTS @ value) / (2 * pieces)
    return total


# First order, and Runge-Kutta in σ


def euler(denoise: Denoise, x: Any, sigmas: Any, *, afs: bool = False) -> Floats:
    """DDIM: x_t/α_t = x_s/α_s + (σ_t/α_t - σ_s/α_s) ε.

    Song, Meng and Ermon 2021, https://arxiv.org/abs/2010.02502, eq. 13.
    """
    denoise, x, grid = _begin(denoise, x, sigmas, afs)
    states = [x]
    for s, t in pairwise(grid):
        x = x + (t - s) * _eps(x, denoise(x, s), s)
        states.append(x)
    return np.stack(states)


def heun(denoise: Denoise, x: Any, sigmas: Any, *, afs: bool = False) -> Floats:
    """Karras et al. 2022 (EDM), https://arxiv.org/abs/2206.00364, algorithm 1 with σ(t) = t."""
    denoise, x, grid = _begin(denoise, x, sigmas, afs)
    states = [x]
    for t_i, t_next in pairwise(grid):
        d_i = (x - denoise(x, t_i)) / t_i
        x_next = x + (t_next - t_i) * d_i
        if t_next != 0:
            d_prime = (x_next - denoise(x_next, t_next)) / t_next
            x_next = x + (t_next - t_i) * (d_i / 2 + d_prime / 2)
        x = x_next
        states.append(x)
    return np.stack(states)


def rk4(denoise: Denoise, x: Any, sigmas: Any, *, afs: bool = False) -> Floats:
    """The classical Runge-Kutta method for dx/dσ = (x - D)/σ; Euler where a stage is at σ = 0.

    Kutta 1901; the ODE is eq. 1 of Karras et al. 2022 with σ(t) = t.
    """
    denoise, x, grid = _begin(denoise, x, sigmas, afs)

    def slope(y: Floats, sigma: float) -> Floats:
        return (y - denoise(y, sigma)) / sigma

    states = [x]
    for s, t in pairwise(grid):
        h = t - s
        k1 = slope(x, s)
        if t == 0:
            x = x + h * k1
        else:
            k2 = slope(x + h / 2 * k1, s + h / 2)
            k3 = slope(x + h / 2 * k2, s + h / 2)
            k4 = slope(x + h * k3, t)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        states.append(x)
    return np.stack(states)


# Single steps in λ


def dpm_2(denoise: Denoise, x: Any, sigmas: Any, *, r: float = 0.5, afs: bool = False) -> Floats:
    """DPM-Solver-2 with any r: u at λ_s + r h, then

        x_t = x - σ_t (e^h - 1) ε_s - σ_t/(2r) (e^h - 1) (ε_u - ε_s).

    Lu et al. 2022, https://arxiv.org/abs/2206.00927, algorithm 4 (algorithm 1 is r = 1/2). The
    authors' code has it as solver_type "dpmsolver"; its "taylor" has φ_2 in the last term.
    """
    denoise, x, grid = _begin(denoise, x, sigmas, afs)
    states = [x]
    for s, t in pairwise(grid):
        denoised = denoise(x, s)
        if t == 0:
            x = denoised
        else:
            h = _lam(t) - _lam(s)
            middle = float(np.exp(-(_lam(s) + r * h)))
            eps = _eps(x, denoised, s)
            u = x - middle * np.expm1(r * h) * eps
            eps_u = _eps(u, denoise(u, middle), middle)
            x = x - t * np.expm1(h) * eps - t / (2 * r) * np.expm1(h) * (eps_u - eps)
        states.append(x)
    return np.stack(states)


def dpmpp_2s(denoise: Denoise, x: Any, sigmas: Any, *, r: float = 0.5, afs: bool = False) -> Floats:
    """DPM-Solver++(2S): u at λ_s + r h, then

        D = (1 - 1/2r) D_s + 1/2r D_u,   x_t = σ_t/σ_s x - (e^{-h} - 1) D.

    Lu et al. 2022, https://arxiv.org/abs/2211.01095, algorithm 1.
    """
    denoise, x, grid = _begin(denoise, x, sigmas, afs)
    states = [x]
    for s, t in pairwise(grid):
        denoised = denoise(x, s)
        if t == 0:
            x = denoised
        else:
            h = _lam(t) - _lam(s)
            middle = float(np.exp(-(_lam(s) + r * h)))
            u = middle / s * x - np.expm1(-r * h) * denoised
            mixed = (1 - 1 / (2 * r)) * denoised + 1 / (2 * r) * denoise(u, middle)
            x = t / s * x - np.expm1(-h) * mixed
        states.append(x)
    return np.stack(states)


# Multistep in λ


def _order(order: int, k: int, n: int, lower_order_final: bool) -> int:
    """Order of step k of n: 1, 2, … at the start; at most the steps left, if asked."""
    order = min(order, k + 1)
    return min(order, n - k) if lower_order_final else order


def _multistep(
    denoise: Denoise,
    x: Any,
    sigmas: Any,
    *,
    order: int,
    data: bool,
    lower_order_final: bool,
    afs: bool,
    second: float,
) -> Floats:
    denoise, x, grid = _begin(denoise, x, sigmas, afs)
    n = len(grid) - 1
    states, models = [x], []
    for k, (s, t) in enumerate(pairwise(grid)):
        denoised = denoise(x, s)
        models.append(denoised if data else _eps(x, denoised, s))
        if t == 0:
            states.append(denoised)
            break
        h = _lam(t) - _lam(s)
        now = _order(order, k, n, lower_order_final)
        m_0 = models[-1]
        if now >= 2:
            m_1, h_0 = models[-2], _lam(s) - _lam(grid[k - 1])
            r_0 = h_0 / h
            d1_0 = (m_0 - m_1) / r_0
        if now == 3:
            m_2, h_1 = models[-3], _lam(grid[k - 1]) - _lam(grid[k - 2])
            r_1 = h_1 / h
            d1_1 = (m_1 - m_2) / r_1
            d1 = d1_0 + r_0 / (r_0 + r_1) * (d1_0 - d1_1)
            d2 = second / (r_0 + r_1) * (d1_0 - d1_1)
        if data:
            x = t / s * x - np.expm1(-h) * m_0
            if now == 2:
                x = x - 0.5 * np.expm1(-h) * d1_0
            if now == 3:
                x = x + h * phi(2, -h) * d1 + h * phi(3, -h) * d2
        else:
            x = x - t * np.expm1(h) * m_0
            if now == 2:
                x = x - 0.5 * t * np.expm1(h) * d1_0
            if now == 3:
                x = x - t * h * phi(2, h) * d1 - t * h * phi(3, h) * d2
        states.append(x)
    return np.stack(states)


def dpmpp_2m(
    denoise: Denoise, x: Any, sigmas: Any, *, lower_order_final: bool = True, afs: bool = False
) -> Floats:
    """DPM-Solver++(2M), with r_0 = h_prev/h and D_0 = D_s:

        x_t = σ_t/σ_s x - (e^{-h} - 1) [(1 + 1/2r_0) D_s - 1/2r_0 D_p].

    Lu et al. 2022, https://arxiv.org/abs/2211.01095, algorithm 2.
    """
    return _multistep(
        denoise,
        x,
        sigmas,
        order=2,
        data=True,
        lower_order_final=lower_order_final,
        afs=afs,
        second=1.0,
    )


def dpmpp_3m(
    denoise: Denoise,
    x: Any,
    sigmas: Any,
    *,
    lower_order_final: bool = True,
    afs: bool = False,
    second: float = 1.0,
) -> Floats:
    """DPM-Solver++(3M) as released, with r_0 = (λ_s - λ_p)/h, r_1 = (λ_p - λ_o)/h:

        D1_0 = (D_s - D_p)/r_0,   D1_1 = (D_p - D_o)/r_1,
        D1 = D1_0 + r_0/(r_0 + r_1) (D1_0 - D1_1),   D2 = (D1_0 - D1_1)/(r_0 + r_1),
        x_t = σ_t/σ_s x - (e^{-h} - 1) D_s + h φ_2(-h) D1 + h φ_3(-h) D2.

    The first steps are Euler's and 2M's. Lu et al. 2022, https://arxiv.org/abs/2211.01095, in
    the authors' code (https://github.com/LuChengTHU/dpm-solver, third-order multistep update:
    φ_1 = e^{-h} - 1, φ_2 = φ_1/h + 1, φ_3 = φ_2/h - 1/2 there) and in its many descendants.

    This D2 tends to h² D''/2, while the expansion (eq. 10 there with k = 3) needs h² D'': the
    released update is of second order. `second` = 2 puts the missing factor in.
    """
    return _multistep(
        denoise,
        x,
        sigmas,
        order=3,
        data=True,
        lower_order_final=lower_order_final,
        afs=afs,
        second=second,
    )


def dpm_2m(
    denoise: Denoise, x: Any, sigmas: Any, *, lower_order_final: bool = True, afs: bool = False
) -> Floats:
    """Multistep DPM-Solver-2 in noise prediction, r_0 = h_prev/h:

        x_t = x - σ_t (e^h - 1) ε_s - σ_t/(2 r_0) (e^h - 1) (ε_s - ε_p).

    Lu et al. 2022, https://arxiv.org/abs/2206.00927, in the authors' code
    (https://github.com/LuChengTHU/dpm-solver, second-order multistep update, "dpmsolver").
    """
    return _multistep(
        denoise,
        x,
        sigmas,
        order=2,
        data=False,
        lower_order_final=lower_order_final,
        afs=afs,
        second=1.0,
    )


def dpm_3m(
    denoise: Denoise,
    x: Any,
    sigmas: Any,
    *,
    lower_order_final: bool = True,
    afs: bool = False,
    second: float = 1.0,
) -> Floats:
    """Multistep DPM-Solver-3 in noise prediction as released: D1 and D2 as in `dpmpp_3m`, of ε,

        x_t = x - σ_t [(e^h - 1) ε_s + h φ_2(h) D1 + h φ_3(h) D2].

    Source and the missing factor `second` as there.
    """
    return _multistep(
        denoise,
        x,
        sigmas,
        order=3,
        data=False,
        lower_order_final=lower_order_final,
        afs=afs,
        second=second,
    )


def unipc(
    denoise: Denoise,
    x: Any,
    sigmas: Any,
    *,
    order: int = 3,
    variant: str = "bh2",
    lower_order_final: bool = True,
    afs: bool = False,
) -> Floats:
    """UniPC-p in data prediction. With r_m = (λ_{s-m} - λ_s)/h for m < p, r_p = 1 (level t),
    D_m = D(level m) - D_s, and B(h) = h (bh1) or 1 - e^{-h} (bh2):

        x̂ = σ_t/σ_s x + (1 - e^{-h}) D_s + B(h) Σ_{m<p} a_m D_m/r_m         (UniP-p),
        x = the same with Σ_{m≤p} c_m D_m/r_m, D_p = D(x̂; t) - D_s          (UniC-p),
        Σ_m a_m r_m^{k-1} = k! h φ_{k+1}(-h)/B(h),   k = 1, 2, …, as many as unknowns,

    but a_1 = 1/2 in UniP-2 and c_1 = 1/2 in UniC-1. The orders of the first steps are 1, 2, …;
    D(x̂; t) is kept for the next steps; the last step is not corrected.

    Zhao et al. 2023, https://arxiv.org/abs/2302.04867, algorithms 5 to 8, theorem 3.1 and
    proposition A.1; B(h) for data prediction is that of the authors' code
    (https://github.com/wl-zhao/UniPC), where h stands for -h.
    """
    denoise, x, grid = _begin(denoise, x, sigmas, afs)
    n = len(grid) - 1
    states, models = [x], [denoise(x, grid[0])]
    for k, (s, t) in enumerate(pairwise(grid)):
        model_s = models[-1]
        if t == 0:
            states.append(model_s)
            break
        h = _lam(t) - _lam(s)
        p = _order(order, k, n, lower_order_final)
        scale = {"bh1": h, "bh2": -float(np.expm1(-h))}[variant]
        ratios = [(_lam(grid[k - m]) - _lam(s)) / h for m in range(1, p)] + [1.0]
        terms = [(models[-1 - m] - model_s) / ratios[m - 1] for m in range(1, p)]
        target = [factorial(j) * h * phi(j + 1, -h) / scale for j in range(1, p + 1)]

        def solve(size: int, r: list[float] = ratios, b: list[float] = target) -> Floats:
            matrix = np.array([[r_m**j for r_m in r[:size]] for j in range(size)])
            return np.linalg.solve(matrix.reshape(size, size), np.array(b[:size]))

        base = t / s * x - np.expm1(-h) * model_s
        a = [0.5] if p == 2 else solve(p - 1)
        x = base + scale * sum(a_m * term for a_m, term in zip(a, terms, strict=True))
        if k < n - 1:
            models.append(denoise(x, t))
            terms.append(models[-1] - model_s)
            c = [0.5] if p == 1 else solve(p)
            x = base + scale * sum(c_m * term for c_m, term in zip(c, terms, strict=True))
        states.append(x)
    return np.stack(states)


# Adams-Bashforth in ε


def ipndm(denoise: Denoise, x: Any, sigmas: Any, *, order: int = 4, afs: bool = False) -> Floats:
    """iPNDM: Adams-Bashforth with the weights of equal steps, whatever the grid.

    Zhang and Chen 2023 (DEIS), https://arxiv.org/abs/2204.13902, section 3 and appendix H, after
    Liu et al. 2022 (PNDM), https://arxiv.org/abs/2202.09778, eq. 12, here in σ as x + (t - s) ε̂.
    Of order k on equal steps in σ, 2 on a smooth grid, 1 on others.
    """
    weights = {
        1: [1.0],
        2: [3 / 2, -1 / 2],
        3: [23 / 12, -16 / 12, 5 / 12],
        4: [55 / 24, -59 / 24, 37 / 24, -9 / 24],
    }
    denoise, x, grid = _begin(denoise, x, sigmas, afs)
    states, history = [x], []
    for k, (s, t) in enumerate(pairwise(grid)):
        history.insert(0, _eps(x, denoise(x, s), s))
        mixed = sum(w * e for w, e in zip(weights[min(order, k + 1)], history, strict=False))
        x = x + (t - s) * mixed
        states.append(x)
    return np.stack(states)


def vp_time(sigma: Any, beta_min: float = 0.1, beta_max: float = 20.0) -> Any:
    """Time τ of the variance-preserving SDE with σ²(τ) + 1 = exp(β_d τ²/2 + β_min τ).

    β_d = β_max - β_min. Song et al. 2021, https://arxiv.org/abs/2011.13456, eq. 33. The root of
    the quadratic is taken in the form that does not cancel.
    """
    level = np.log1p(np.square(sigma))
    beta_d = beta_max - beta_min
    return 2 * level / (beta_min + np.sqrt(beta_min**2 + 2 * beta_d * level))


def adams_weights(nodes: Sequence[float], s: float, t: float, clock: Clock) -> list[float]:
    """∫_s^t L_j(clock(σ)) dσ, L_j the Lagrange polynomials of clock(nodes); s > t ≥ 0.

    Gauss-Legendre with 30 nodes on panels short against the distance to the branch points of
    τ (at ±i β_min/√(2 β_d) = ±0.0158 i): exact to round-off.
    """
    unit, weight = _NODES, _WEIGHTS
    ends = [s]
    while ends[-1] > t:
        # 0.7 keeps the panel's Bernstein ellipse wide; below 0.005 all is smooth
        ends.append(t if ends[-1] * 0.7 <= t or ends[-1] < 0.005 else ends[-1] * 0.7)
    where = np.concatenate([(b + a) / 2 + (b - a) / 2 * unit for a, b in pairwise(ends)])
    weights = np.concatenate([(b - a) / 2 * weight for a, b in pairwise(ends)])
    at, now = [float(clock(node)) for node in nodes], clock(where)
    integrals = []
    for j, mine in enumerate(at):
        lagrange = np.ones_like(where)
        for m, other in enumerate(at):
            if m != j:
                lagrange = lagrange * (now - other) / (mine - other)
        integrals.append(float(weights @ lagrange))
    return integrals


def _adams(denoise: Denoise, x: Any, sigmas: Any, *, order: int, afs: bool, clock: Clock) -> Floats:
    denoise, x, grid = _begin(denoise, x, sigmas, afs)
    states, history = [x], []
    for k, (s, t) in enumerate(pairwise(grid)):
        history.insert(0, _eps(x, denoise(x, s), s))
        nodes = grid[max(0, k + 1 - order) : k + 1][::-1]
        weights = adams_weights(nodes, s, t, clock)
        x = x + sum(c * e for c, e in zip(weights, history, strict=False))
        states.append(x)
    return np.stack(states)


def lms(denoise: Denoise, x: Any, sigmas: Any, *, order: int = 4, afs: bool = False) -> Floats:
    """Variable-step Adams-Bashforth: x_t = x + Σ_j ε_j ∫_s^t L_j(σ) dσ.

    L_j are the Lagrange polynomials through the last `order` levels: DEIS's ρAB-(order-1),
    Zhang and Chen 2023, https://arxiv.org/abs/2204.13902, section 3; Katherine Crowson's LMS.
    """
    return _adams(denoise, x, sigmas, order=order, afs=afs, clock=lambda sigma: sigma)


def deis(denoise: Denoise, x: Any, sigmas: Any, *, order: int = 4, afs: bool = False) -> Floats:
    """tAB-DEIS: x_t = x + Σ_j ε_j ∫_s^t L_j(τ(σ)) dσ, L_j polynomials in the time τ of VP.

    L_j go through the last `order` levels: the paper's tAB-(order-1). Zhang and Chen 2023,
    https://arxiv.org/abs/2204.13902, eq. 14 and 15, with ρ = σ/α of VP as σ: x/α is our x, and
    the integral's weight ½ Ψ G G^T L^{-T} dτ is dσ.
    """
    return _adams(denoise, x, sigmas, order=order, afs=afs, clock=vp_time)


# Stochastic samplers, with the normals given


def churn(
    denoise: Denoise,
    x: Any,
    sigmas: Any,
    normals: Any,
    *,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = np.inf,
    s_noise: float = 1.0,
    second: bool = True,
) -> Floats:
    """Karras et al. 2022 (EDM), https://arxiv.org/abs/2206.00364, algorithm 2.

    N is the number of steps; `normals` (N, B, D) are the draws z_i of unit variance, that of
    step i unused where γ_i = 0. `second` = False leaves the correction out (Euler).
    """
    denoise, x, grid = _begin(denoise, x, sigmas)
    steps = len(grid) - 1
    states = [x]
    for i, (t_i, t_next) in enumerate(pairwise(grid)):
        inside = s_tmin <= t_i <= s_tmax
        gamma = min(s_churn / steps, np.sqrt(2) - 1) if inside else 0.0
        t_hat = t_i + gamma * t_i
        x_hat = x
        if gamma > 0:
            x_hat = x + np.sqrt(t_hat**2 - t_i**2) * s_noise * np.asarray(normals[i])
        d_i = (x_hat - denoise(x_hat, t_hat)) / t_hat
        x_next = x_hat + (t_next - t_hat) * d_i
        if second and t_next != 0:
            d_prime = (x_next - denoise(x_next, t_next)) / t_next
            x_next = x_hat + (t_next - t_hat) * (d_i / 2 + d_prime / 2)
        x = x_next
        states.append(x)
    return np.stack(states)


def ancestral(denoise: Denoise, x: Any, sigmas: Any, normals: Any, *, eta: float = 1.0) -> Floats:
    """DDIM with noise, η = 1 being ancestral sampling (DDPM):

        σ_up = min(t, η √(t² (s² - t²)/s²)),   σ_down = √(t² - σ_up²),
        x_t = x + (σ_down - s) ε + σ_up z.

    Song, Meng and Ermon 2021, https://arxiv.org/abs/2010.02502, eq. 12 and 16 with α = 1;
    `normals` (n, B, D) are the draws z.
    """
    denoise, x, grid = _begin(denoise, x, sigmas)
    states = [x]
    for i, (s, t) in enumerate(pairwise(grid)):
        up = min(t, eta * np.sqrt(t**2 * (s**2 - t**2) / s**2))
        down = np.sqrt(t**2 - up**2)
        x = x + (down - s) * _eps(x, denoise(x, s), s)
        if up > 0:
            x = x + up * np.asarray(normals[i])
        states.append(x)
    return np.stack(states)


PAPERS: dict[str, tuple[Callable[..., Floats], tuple[dict[str, Any], ...]]] = {
    "euler": (euler, ({},)),
    "heun": (heun, ({},)),
    "rk4": (rk4, ({},)),
    "dpm_2": (dpm_2, ({}, {"r": 0.3}, {"r": 0.5}, {"r": 1.0})),
    "dpmpp_2s": (dpmpp_2s, ({}, {"r": 0.3}, {"r": 0.5}, {"r": 1.0})),
    **{
        name: (function, ({}, {"lower_order_final": True}, {"lower_order_final": False}))
        for name, function in (
            ("dpmpp_2m", dpmpp_2m),
            ("dpmpp_3m", dpmpp_3m),
            ("dpm_2m", dpm_2m),
            ("dpm_3m", dpm_3m),
        )
    },
    **{
        name: (function, tuple({"order": order} for order in (1, 2, 3, 4)))
        for name, function in (("ipndm", ipndm), ("lms", lms), ("deis", deis))
    },
    "unipc": (
        unipc,
        tuple(
            {"order": order, "variant": variant, "lower_order_final": lower}
            for order in (1, 2, 3)
            for variant in ("bh1", "bh2")
            for lower in (True, False)
        ),
    ),
}
"""Name in `analytic.solvers` -> the transcription and the options to compare; each also takes
`afs`."""

STOCHASTIC: dict[str, tuple[Callable[..., Floats], tuple[dict[str, Any], ...]]] = {
    "churn": (churn, ({"s_churn": 40.0, "s_tmin": 0.05, "s_tmax": 50.0, "s_noise": 1.003},)),
    "ancestral": (ancestral, ({"eta": 0.0}, {"eta": 0.5}, {"eta": 1.0})),
}
"""The same for samplers that also take an array of normals."""
