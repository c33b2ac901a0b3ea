"""Claims about densities and norms along the flow: change of variables, |x| and |D|, the start."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..denoisers import OptimalDenoiser
from ..flow import integrate
from ..points import PointSet
from ..report import Evidence, Verdict
from . import _faults, _oracle
from ._base import Case, Claim, Subject, lost, outcome
from ._statistics import Interval, decided, draws, mean_limits
from .section_a import GEOMETRIC

__all__ = ["CLAIMS", "shrinking"]

Floats = NDArray[np.float64]

CHANGE = 1e-8
"""Of the change of variables, relative to 1 + |log p|: the flow's local errors, 1e-10 |x|
a step, turn into nats by the score √D/σ, and a hundred steps add up."""

MARGIN = 0.15
"""How far above 0 a mean's interval may reach, relative to E|x_0|²."""


def _change_of_variables(case: Case, claim: Claim) -> Verdict:
    if (failed := lost(claim, case)) is not None:
        return failed
    path = case.trajectory
    picks = np.linspace(2, len(path.sigmas) - 4, 4 if case.quick else 6).astype(int)
    rows = np.arange(min(case.starts, 4))
    short = np.array([_piece(case, k, rows) for k in picks])
    levels = [np.repeat(path.sigmas[picks], len(rows))]
    errors = [short.ravel()]
    statistics = {"worst, over σ → 0.95 σ": float(short.max())}
    if case.subject.flow is integrate and isinstance(case.subject.denoiser, OptimalDenoiser):
        whole = _whole(case, rows)
        statistics["worst, from σ_max on"] = float(whole[1].max())
        levels.append(np.repeat(whole[0], len(rows)))
        errors.append(whole[1].ravel())
    return outcome(
        claim,
        case,
        sigma=np.concatenate(levels),
        measured=np.concatenate(errors),
        bound=CHANGE,
        meaning="|Δ log p_σ(x(σ)) − ∫ (D − tr C/σ²) dσ/σ| / (1 + |log p|)",
        worst=lambda k: {"row": int(rows[k % len(rows)]), "start": case.start[k % len(rows)]},
        statistics=statistics,
        note="tr C and log p by the independent judge at the states of the flow, ten Gauss "
        "nodes over σ → 0.95 σ; where the flow carries the density along, from σ_max on.",
    )


def _piece(case: Case, k: int, rows: NDArray[np.intp]) -> Floats:
    """Error of the change of variables from the k-th saved level to 0.95 of it."""
    nodes, weights = np.polynomial.legendre.leggauss(10)
    a = float(case.trajectory.sigmas[k])
    x = case.trajectory.states[k, rows]
    at = a * np.exp(np.log(0.95) * (0.5 + 0.5 * nodes))
    path = case.subject.flow(
        case.subject.denoiser, x, a, 0.95 * a, rtol=1e-10, atol=1e-12 * case.diameter,
        save_at=at, estimate_error=False,
    )  # fmt: skip
    level = np.repeat(path.sigmas[1:-1], len(rows))
    trace = _oracle.trace(case.points, path.states[1:-1].reshape(len(level), -1), level)
    rates = (case.points.dim - trace / level**2).reshape(-1, len(rows))
    gain = -0.5 * np.log(0.95) * weights @ rates
    ends = [
        case.log_prob(state, np.full(len(rows), s))
        for state, s in ((x, a), (path.states[-1], 0.95 * a))
    ]
    return np.asarray(np.abs(ends[1] - ends[0] - gain) / (1 + np.abs(ends[1]) + _blur(x, a)))


def _whole(case: Case, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """The same from σ_max down, for densities that the flow carries along."""
    levels = np.geomspace(case.sigma_max, case.sigma_min, 12)
    path = integrate(
        case.subject.denoiser, case.start[rows], case.sigma_max, case.sigma_min, rtol=1e-10,
        atol=1e-12 * case.diameter, save_at=levels[1:-1], estimate_error=False,
        quantities=("log_prob",),
    )  # fmt: skip
    assert path.log_prob_flow is not None
    found = []
    for k, s in enumerate(path.sigmas):
        truth = case.log_prob(path.states[k], np.full(len(rows), s))
        off = np.abs(path.log_prob_flow[k] - truth)
        found.append(off / (1 + np.abs(truth) + _blur(path.states[k], float(s))))
    return path.sigmas, np.array(found)


def _blur(x: Floats, sigma: float) -> Floats:
    """Size of log p's own rounding, and of the flow's atol in nats, in units of `CHANGE`."""
    return np.asarray(np.linalg.norm(x, axis=1) / sigma * (np.finfo(float).eps / CHANGE))


def shrinking(case: Case) -> tuple[Floats, Floats, Floats]:
    """Growth of |x - c| over a step down, over what the integrator is allowed; σ and rows.

    While |x - c| is at least the data's radius about c, for c = 0 and c = μ.
    """
    path = case.trajectory
    growth, levels, rows = [], [], []
    for centre, radius in ((0.0, case.points.radius), (case.points.mean, case.points.mean_radius)):
        gap = np.linalg.norm(path.states - centre, axis=2)
        outside = (gap[1:] >= radius) & (gap[:-1] >= radius)
        slack = 1e-8 * gap[0] + 1e-12 * (case.diameter + np.abs(centre).max())
        growth.append(((gap[1:] - gap[:-1]) / slack)[outside])
        levels.append(np.broadcast_to(path.sigmas[1:, None], outside.shape)[outside])
        rows.append(np.broadcast_to(np.arange(case.starts), outside.shape)[outside])
    return np.concatenate(growth), np.concatenate(levels), np.concatenate(rows)


def _norms(case: Case, claim: Claim) -> Verdict:
    if (failed := lost(claim, case)) is not None:
        return failed
    growth, where, rows = shrinking(case)
    levels = np.geomspace(case.sigma_min, case.sigma_max, 9)
    means, curve = _mean_norms(case, levels, claim)
    over = means.high / MARGIN
    starts, distance, bound = _start_mismatch(case, claim)
    share = distance / (bound * (1 + 1e-9) + 1e-12)
    count = growth.size
    verdict = outcome(
        claim,
        case,
        sigma=np.concatenate([where, np.resize(levels, over.size), starts]),
        measured=np.concatenate([growth, over, share]),
        bound=1.0,
        meaning="growth of |x| over 1e-8 of its start; upper limit of a mean over its margin; "
        "KL over its bound",
        worst=lambda k: {"row": int(rows[k]), "start": case.start[rows[k]]} if k < count else {},
        statistics={
            "largest upper limit of a mean, relative to E|x_0|²": float(means.high.max()),
            "largest KL of the start / its bound": float(share.max()),
            "KL of the start at σ_max": float(distance[-1]),
        },
        evidence=Evidence(
            "noise level σ", "mean of |D|² / E|x_0|²", levels, {"E|D|²": curve}, xscale="log"
        ),
        note=f"Means: simultaneous intervals within {MARGIN:g} of E|x_0|². "
        "KL: by quadrature, data projected on a line.",
    )
    return decided(verdict, means, np.concatenate([growth, share]))


def _mean_norms(case: Case, levels: Floats, claim: Claim) -> tuple[Interval, Floats]:
    """Means that must not be positive, relative to E|x_0|²; and E|D|² itself.

    The same x_0 and pairs z, -z at every level. E|D|² = E|x_0|² - mmse is tested from both
    sides, as D·(D - x_0), whose mean is 0.
    """
    rng = case.rng(claim.id)
    count = draws(case, 300 if case.quick else 500)
    clean = case.points.sample(count, rng)
    z = rng.standard_normal(clean.shape)
    size = float(case.points.weights @ np.square(case.points.points).sum(axis=1)) or 1.0
    squares, noisy, right = np.zeros((3, len(levels), count))
    for sign in (1.0, -1.0):
        for k, s in enumerate(levels):
            x = clean + sign * s * z
            output = case.denoise(x, np.full(count, s))
            squares[k] += 0.5 * np.square(output).sum(axis=1)
            noisy[k] += 0.5 * np.square(x).sum(axis=1)
            right[k] += 0.5 * (output * (output - clean)).sum(axis=1) / size
    room = size + case.points.dim * levels[1:] ** 2
    columns = [
        (squares[1:] - squares[:-1]) / size,
        (noisy[:-1] - noisy[1:]) / room[:, None],
        right,
        -right,
    ]
    return mean_limits(np.concatenate(columns).T), squares.mean(axis=1) / size


def _start_mismatch(case: Case, claim: Claim) -> tuple[Floats, Floats, Floats]:
    """KL(p_T‖N(0, s_T²)) by quadrature for the data projected on a line, and its bound."""
    rng = case.rng(claim.id + " start")
    data = case.subset(rng, 128)
    axis = rng.standard_normal(data.dim)
    line = PointSet((data.points @ (axis / np.linalg.norm(axis)))[:, None], data.weights)
    spread = line.diameter_bounds[1] or case.diameter
    levels = np.array([0.5 * spread, spread, 4 * spread, max(case.sigma_max, 0.5 * spread)])
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    weights = weights / weights.sum()
    found = []
    for s in levels:
        x = line.points + s * nodes
        logs = _oracle.log_prob(line, x.reshape(-1, 1), np.full(x.size, s)).reshape(x.shape)
        normal = -0.5 * (x / s) ** 2 - np.log(s) - 0.5 * np.log(2 * np.pi)
        found.append(line.weights @ (logs - normal) @ weights)
    energy = float(line.weights @ line.points[:, 0] ** 2)
    return levels, np.array(found), energy / (2 * levels**2)


def _broken_flow(points: PointSet) -> Subject:
    return Subject(OptimalDenoiser(points), points, OptimalDenoiser, flow=_faults.overshooting_flow)


def _too_far(points: PointSet) -> Subject:
    def wrap(data: PointSet) -> Any:
        return _faults.Overrelaxed(OptimalDenoiser(data), factor=1.05)

    return _faults.subject(points, wrap)


CLAIMS = (
    Claim(
        "C3",
        "Likelihood by change of variables",
        "theorem",
        "Along the flow log p falls at the divergence of its field: between any two levels the "
        "closed-form log-densities differ by the integral of (D − tr C/σ²)/σ.",
        r"\log p_{s_0}(x_{s_0}) = \log p_s(x_s) + \int_{s_0}^{s}"
        r"\Big(D - \frac{\mathrm{tr}\,C}{\sigma^2}\Big)\frac{d\sigma}{\sigma}",
        "Song et al. 2021, https://arxiv.org/abs/2011.13456, section 4.3",
        "exact flow of an optimal denoiser, σ > 0",
        "div (x − D)/σ = (D − tr C/σ²)/σ, as ∂D/∂x = C/σ².",
        _change_of_variables,
        _broken_flow,
    ),
    Claim(
        "C7",
        "Norms along the flow, and what the start neglects",
        "theorem+expectation",
        "|x − c| falls with σ while it exceeds max|x_i − c|. For x ~ p_σ, E|x|² rises with σ and "
        "E|D|² = E|x_0|² − mmse does not. Starting from σ_T z instead of p_T costs at most "
        "E|x_0|²/2σ_T² nats.",
        r"\mathbb{E}|D|^2 = \mathbb{E}|x_0|^2 - \mathrm{mmse};\quad "
        r"\mathrm{KL}(p_T\,\|\,N(0,\sigma_T^2 I)) \le \mathbb{E}|x_0|^2/2\sigma_T^2",
        f"{GEOMETRIC}, section 3; derived here",
        "optimal denoiser and its exact flow; no centring needed",
        "d|x|²/dσ = 2x·(x − D)/σ and |D| ≤ R; D is a projection of x_0, of ever less "
        "information; KL is convex.",
        _norms,
        _too_far,
    ),
)
