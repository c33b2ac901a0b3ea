"""Claims about the flow: convex combination, curvature, closed forms, span, straightness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import exact, field, grids
from ..denoisers import GaussianDenoiser, OptimalDenoiser
from ..geometry import deviation
from ..points import PointSet
from ..report import Evidence, Verdict
from . import _faults, _oracle
from ._base import Case, Claim, Subject, lost, outcome, untested
from .section_a import GEOMETRIC

__all__ = ["CLAIMS", "straightness"]

Floats = NDArray[np.float64]

SEPARATRIX_GAIN = 100.0
"""Rows whose flow magnifies a difference more than this lie too near a separatrix to compare."""


def _grid(case: Case, n: int = 18, last_zero: bool = True) -> Floats:
    grid = grids.polynomial(n, case.sigma_max, case.sigma_min)
    return np.append(grid, 0.0) if last_zero else grid


def _convex(case: Case, claim: Claim) -> Verdict:
    if (failed := lost(claim, case)) is not None:
        return failed
    s, error, jump, total = _telescoped(case)
    flow = case.trajectory
    outside = _outside_hull(case, flow.sigmas[1:], flow.states).max(axis=0)
    # the flow may leave the hull by its own error, a hundred steps of its tolerance; the
    # outputs of a denoiser that is not the data's own need not lie in the hull at all
    own = case.subject.build is not None
    measured = np.concatenate([error.ravel(), jump, 1e-7 * outside if own else 0 * outside])
    return outcome(
        claim,
        case,
        sigma=np.concatenate([np.repeat(s[1:], case.starts), np.full(2 * case.starts, s[-1])]),
        measured=measured,
        bound=1e-14,
        meaning="|x − convex combination of start and denoising outputs| / size",
        worst=lambda k: {"row": k % case.starts, "start": case.start[k % case.starts]},
        statistics={
            "Euler, telescoped": float(error.max()),
            "Euler, jump to σ = 0": float(jump.max()),
            "exact flow, part outside the hull": float(outside.max()),
            "sum of the weights − 1": total - 1,
        },
        evidence=_errors_of_euler(s, error),
        note="Euler to round-off; for the flow, D̄ outside the hull by 1e-7 counts as 1e-14.",
    )


def _convex_euler(case: Case, claim: Claim) -> Verdict:
    """The part that holds for any denoiser, without a flow."""
    s, error, jump, total = _telescoped(case)
    return outcome(
        claim,
        case,
        sigma=np.concatenate([np.repeat(s[1:], case.starts), np.full(case.starts, s[-1])]),
        measured=np.concatenate([error.ravel(), jump]),
        bound=1e-14,
        meaning="|x − convex combination of start and denoising outputs| / size",
        worst=lambda k: {"row": k % case.starts, "start": case.start[k % case.starts]},
        statistics={
            "Euler, telescoped": float(error.max()),
            "Euler, jump to σ = 0": float(jump.max()),
            "sum of the weights − 1": total - 1,
        },
        evidence=_errors_of_euler(s, error),
        note="Euler's steps, to round-off.",
    )


def _telescoped(case: Case) -> tuple[Floats, Floats, Floats, float]:
    """Levels (T,), Euler's errors (T - 1, B) and (B,) at the jump, and the sum of the weights."""
    path = case.subject.sampler(case.subject.denoiser, case.start, _grid(case), solver="euler")
    s, x, outputs = path.sigmas[:-1], path.states[:-1], path.denoised[:-1]
    size = np.linalg.norm(x, axis=2) + case.points.radius
    # telescoped: x_k = (s_k/s_0) x_0 + s_k Σ_{j<k} (1/s_{j+1} − 1/s_j) D_j
    weights = np.diff(1 / s)[:, None, None]
    sums = np.concatenate([np.zeros_like(x[:1]), np.cumsum(weights * outputs[:-1], axis=0)])
    combined = s[:, None, None] * (x[0] / s[0] + sums)
    error = (np.linalg.norm(x - combined, axis=2) / size)[1:]
    jump = np.linalg.norm(path.states[-1] - outputs[-1], axis=1) / size[-1]
    return s, error, jump, float(s[-1] / s[0] + s[-1] * weights.sum())


def _errors_of_euler(s: Floats, error: Floats) -> Evidence:
    return Evidence(
        "noise level σ",
        "error relative to size",
        s[1:],
        {
            "Euler, telescoped": np.maximum(error.max(axis=1), 1e-18),
            "bound": np.full(len(s) - 1, 1e-14),
        },
        bound="bound",
        xscale="log",
        yscale="log",
    )


def _outside_hull(case: Case, sigmas: Floats, states: Floats) -> Floats:
    """How far D̄ = (x(s) − (s/s_T) x_T)/(1 − s/s_T) leaves the hull, relative to size."""
    share = (sigmas / case.sigma_max)[:, None, None]
    mean = (states[1:] - share * states[0]) / (1 - share)
    direction = mean - case.points.mean
    length = np.linalg.norm(direction, axis=2, keepdims=True)
    unit = direction / np.where(length > 0, length, 1.0)
    flat = unit.reshape(-1, unit.shape[2])
    _, high = _oracle.ranges(case.points, flat)
    over = np.einsum("tbd,tbd->tb", unit, mean) - high.reshape(mean.shape[:2])
    # errors of x grow by 1/(1 − s/s_T) when D̄ is read off
    return np.asarray(over * (1 - share[..., 0]) / (case.diameter + np.abs(states[1:]).max(axis=2)))


def _curvature(case: Case, claim: Claim) -> Verdict:
    if (failed := lost(claim, case)) is not None:
        return failed
    picks = np.unique(
        np.linspace(4, len(case.trajectory.sigmas) - 6, 4 if case.quick else 8).astype(int)
    )
    rows = np.arange(min(case.starts, 6 if case.quick else 10))
    nodes, weights = np.polynomial.legendre.leggauss(16)
    levels, errors, bends = [], [], []
    for k in picks:
        a = float(case.trajectory.sigmas[k])
        b = 0.95 * a
        at = a + (0.5 + 0.5 * nodes) * (b - a)
        x = case.trajectory.states[k, rows]
        path = case.subject.flow(
            case.subject.denoiser, x, a, b, rtol=1e-11, atol=1e-13 * case.diameter,
            save_at=at, estimate_error=False,
        )  # fmt: skip
        slope = field.velocity(case.subject.denoiser, x, a)
        total = np.zeros_like(x)
        # saved levels run from a down to b, the nodes with them; the two ends are not nodes
        for j, (level, weight) in enumerate(zip(at, weights, strict=True)):
            state = path.states[j + 1]
            bend = field.denoised_derivative(case.subject.denoiser, state, level)
            total -= 0.5 * (b - a) * weight * (b - level) * bend / level
        moved = path.states[-1] - x - slope * (b - a)
        size = np.linalg.norm(x, axis=1) + case.diameter
        errors.append(np.linalg.norm(moved - total, axis=1) / size)
        bends.append(field.curvature(case.subject.denoiser, x, a) * case.diameter)
        levels.append(np.full(len(rows), a))
    bent = np.array([np.median(bend) for bend in bends])
    return outcome(
        claim,
        case,
        sigma=np.concatenate(levels),
        measured=np.concatenate(errors),
        bound=1e-11,
        meaning="|x(b) − x(a) − x'(a)(b−a) + ∫(b−σ)D'/σ dσ| / (|x| + diam)",
        worst=lambda k: {
            "row": int(rows[k % len(rows)]),
            "x": case.trajectory.states[picks[k // len(rows)], rows[k % len(rows)]],
        },
        statistics={
            "largest median curvature × diam": float(bent.max()),
            "at σ": float(case.trajectory.sigmas[picks[int(bent.argmax())]]),
        },
        note="x'' is tested twice integrated, over σ → 0.95 σ with sixteen Gauss nodes.",
    )


def _closed_forms(case: Case, claim: Claim) -> Verdict:
    build = case.subject.build
    end = max(case.sigma_min, min(0.05 * (case.points.scale or 1.0), 0.1 * case.sigma_max))
    if build is None:
        return untested(claim, case, "this denoiser cannot be rebuilt on the problems' data")
    rng = case.rng(claim.id)
    data = case.subset(rng, 128)
    axis = rng.standard_normal(data.dim)
    line = PointSet((data.points @ (axis / np.linalg.norm(axis)))[:, None], data.weights)
    scale = line.scale or 1.0
    levels = np.geomspace(case.sigma_max, end, 8)
    count = 16 if case.quick else 48
    start = case.sigma_max * rng.standard_normal((count, 1))
    options = {"rtol": 1e-10, "atol": 1e-12 * scale, "save_at": levels, "estimate_error": False}
    path = case.subject.flow(build(line), start, case.sigma_max, end, **options)
    expected = np.stack(
        [start]
        + [exact.quantile_flow(line, start, case.sigma_max, s) for s in path.sigmas[1:].tolist()]
    )
    # how much a difference at any saved level grows until the end
    logs = np.stack(
        [
            _oracle.log_prob(line, y, np.full(count, s))
            for y, s in zip(expected, path.sigmas, strict=True)
        ]
    )
    kept = np.exp(logs - logs[-1]).max(axis=0) < SEPARATRIX_GAIN
    one = np.abs(path.states - expected)[:, kept, 0] / (scale + np.abs(expected[:, kept, 0]))

    gauss = GaussianDenoiser(data.mean, data.covariance)
    begin = case.sigma_max * rng.standard_normal((count, data.dim))
    smooth = case.subject.flow(gauss, begin, case.sigma_max, end, **options)
    truth = np.stack(
        [exact.gaussian_flow(gauss, begin, case.sigma_max, s) for s in smooth.sigmas.tolist()]
    )
    size = data.scale * np.sqrt(data.dim) + np.linalg.norm(truth, axis=2)
    many = np.linalg.norm(smooth.states - truth, axis=2) / size
    return outcome(
        claim,
        case,
        sigma=np.concatenate([np.repeat(path.sigmas, kept.sum()), np.repeat(smooth.sigmas, count)]),
        measured=np.concatenate([one.reshape(-1), many.reshape(-1)]),
        bound=2e-9,
        meaning="|x − closed form| / (scale + |x|)",
        worst=lambda k: {"problem": "data on a line" if k < one.size else "Gaussian data"},
        statistics={
            "worst, data on a line": float(one.max(initial=0.0)),
            "worst, Gaussian data": float(many.max()),
            "left out near a separatrix": float((~kept).sum()),
        },
        evidence=Evidence(
            "noise level σ",
            "relative error",
            path.sigmas[1:],
            {
                "data on a line (quantile map)": one.max(axis=1, initial=0.0)[1:],
                "Gaussian data": many.max(axis=1)[1:],
                "bound": np.full(len(path.sigmas) - 1, 2e-9),
            },
            bound="bound",
            xscale="log",
            yscale="log",
        ),
        note="Data on a line: projection of up to 128 points on a random axis. Flow at rtol 1e-10; "
        "bound 20 rtol. Rows left out: a difference on the way grows more than 100-fold.",
    )


def _span(case: Case, claim: Claim) -> Verdict:
    build = case.subject.build
    if build is None:
        return untested(claim, case, "this denoiser cannot be rebuilt on embedded data")
    rng = case.rng(claim.id)
    data = case.subset(rng, 1000)
    extra = 3
    dim = data.dim + extra
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0][: data.dim]
    offset = data.scale * rng.standard_normal(dim)
    lifted = PointSet(data.points @ basis + offset, data.weights, name=data.name)
    denoiser = build(lifted)
    count = 8 if case.quick else 24
    start = case.sigma_max * rng.standard_normal((count, dim))
    grid = _grid(case, 12, last_zero=False)
    flow = case.subject.flow(
        denoiser, start, grid[0], grid[-1], rtol=1e-9, atol=1e-11 * case.diameter,
        save_at=grid, estimate_error=False,
    )  # fmt: skip
    euler = case.subject.sampler(denoiser, start, grid, solver="euler")
    errors = {}
    for name, path in (("exact flow", flow), ("Euler", euler)):
        across = path.states - offset
        across = across - (across @ basis.T) @ basis
        share = (path.sigmas / path.sigmas[0])[:, None, None]
        size = np.linalg.norm(start, axis=1) * share[..., 0] + data.radius + np.linalg.norm(offset)
        errors[name] = np.linalg.norm(across - share * across[0], axis=2) / size
    flat = case.subject.sampler(build(data), (start - offset) @ basis.T, grid, solver="euler")
    inner = (euler.states - offset) @ basis.T - flat.states
    size = np.linalg.norm(flat.states, axis=2) + case.diameter
    inside = np.linalg.norm(inner, axis=2) / size
    return outcome(
        claim,
        case,
        sigma=np.tile(np.repeat(grid, count), 2),
        measured=np.concatenate([errors["exact flow"].ravel(), errors["Euler"].ravel()]),
        bound=1e-11,
        meaning="|x⊥(s) − (s/s_T) x⊥(s_T)| / size",
        worst=lambda k: {"problem": "exact flow" if k < grid.size * count else "Euler"},
        statistics={
            "data rank": float(data.span.rank),
            "worst, exact flow": float(errors["exact flow"].max()),
            "worst, Euler": float(errors["Euler"].max()),
            "median gap of the reduced Euler run": float(np.median(inside)),
        },
        evidence=Evidence(
            "noise level σ",
            "relative error",
            grid,
            {
                "exact flow": errors["exact flow"].max(axis=1),
                "Euler": errors["Euler"].max(axis=1),
                "bound": np.full(grid.size, 1e-11),
            },
            bound="bound",
            xscale="log",
            yscale="log",
        ),
        note=f"The data are embedded in {extra} more dimensions, rotated and shifted.",
    )


def straightness(case: Case, sigmas: Floats, states: Floats) -> tuple[Floats, Floats]:
    """Deviation from the chord, and distance from the line to μ, each over its bound (T, B)."""
    share = 1 - sigmas / sigmas[0]
    room = np.where(share > 0, share, 1.0)[:, None]
    slack = 1e-8 * np.linalg.norm(states[0], axis=1)
    bent = deviation(states) / (room * case.diameter + slack)
    mean = case.points.mean
    centre = mean + (sigmas / sigmas[0])[:, None, None] * (states[0] - mean)
    off = np.linalg.norm(states - centre, axis=2)
    radius = case.points.mean_radius or case.diameter
    return bent, off / (room * radius + slack)


def _quasi_linear(case: Case, claim: Claim) -> Verdict:
    if (failed := lost(claim, case)) is not None:
        return failed
    flow = case.trajectory
    euler = case.subject.sampler(
        case.subject.denoiser, case.start, _grid(case, last_zero=False), solver="euler"
    )
    ratios = {
        name: np.maximum(*straightness(case, path.sigmas, path.states))[1:]
        for name, path in (("exact flow", flow), ("Euler", euler))
    }
    both = np.concatenate([ratios["exact flow"].ravel(), ratios["Euler"].ravel()])
    levels = np.concatenate(
        [np.repeat(flow.sigmas[1:], case.starts), np.repeat(euler.sigmas[1:], case.starts)]
    )
    return outcome(
        claim,
        case,
        sigma=levels,
        measured=both,
        bound=1.0,
        meaning="deviation / its bound (chord: diam; centre line: R_μ), times 1 − σ/σ_max",
        worst=lambda k: {"row": k % case.starts, "start": case.start[k % case.starts]},
        statistics={name: float(r.max()) for name, r in ratios.items()},
        evidence=Evidence(
            "noise level σ",
            "deviation / bound",
            flow.sigmas[1:],
            {
                "largest": ratios["exact flow"].max(axis=1),
                "median": np.median(ratios["exact flow"], axis=1),
                "bound": np.ones(len(flow.sigmas) - 1),
            },
            bound="bound",
            xscale="log",
            yscale="log",
        ),
        note="Room for the integrator: 1e-8 of the start's norm.",
    )


def _within_outputs(case: Case, claim: Claim) -> Verdict:
    """For any denoiser, Δ in place of the data's diameter: that of the outputs along the path."""
    path = case.subject.sampler(
        case.subject.denoiser, case.start, _grid(case, last_zero=False), solver="euler"
    )
    s, outputs = path.sigmas, np.moveaxis(path.denoised[:-1], 1, 0)
    # the last output moves no state; Gram matrices would cancel, so row by row
    spread = np.array(
        [max(np.linalg.norm(each - one, axis=1).max() for one in each) for each in outputs]
    )
    room = (1 - s / s[0])[1:, None] * spread
    slack = 1e-13 * np.linalg.norm(path.states[0], axis=1)
    ratio = deviation(path.states)[1:] / (room + slack)
    return outcome(
        claim,
        case,
        sigma=np.repeat(s[1:], case.starts),
        measured=ratio.ravel(),
        bound=1.0,
        meaning="deviation from the chord / (1 − σ/σ_max)Δ, Δ the diameter of the outputs",
        worst=lambda k: {"row": k % case.starts, "start": case.start[k % case.starts]},
        statistics={"largest Δ / diameter of the data": float(spread.max() / case.diameter)},
        evidence=Evidence(
            "noise level σ",
            "deviation / bound",
            s[1:],
            {
                "largest": ratio.max(axis=1),
                "median": np.median(ratio, axis=1),
                "bound": np.ones(len(s) - 1),
            },
            bound="bound",
            xscale="log",
            yscale="log",
        ),
        note="Euler's steps. Room for rounding: 1e-13 of the start's norm.",
    )


CLAIMS = (
    Claim(
        "C1",
        "States are convex combinations",
        "theorem",
        "An Euler step is (s/s') x + (1 − s/s') D. Telescoped, a state is (s/s_T) x_T + "
        "(1 − s/s_T) D̄ with D̄ a convex combination of the denoising outputs; so for the flow.",
        r"x(s) = \tfrac{s}{s_T}x_T + (1-\tfrac{s}{s_T})\bar D",
        f"{GEOMETRIC}, section 3; DDIM, arXiv:2010.02502",
        "any denoiser; D̄ in the data's hull for an optimal one",
        "Integrate d(x/s) = D d(1/s).",
        _convex,
        lambda points: Subject(
            OptimalDenoiser(points), points, OptimalDenoiser, sampler=_faults.stale_sampler
        ),
        _convex_euler,
    ),
    Claim(
        "C2",
        "The denoising trajectory bends the sampling trajectory",
        "theorem",
        "Along the flow x'' = −D'/σ with D' = (κ3 − C(x − D))/σ³: a sampling trajectory is curved "
        "only as its denoising output moves.",
        r"x'' = -D'/\sigma,\quad \kappa = \sigma|P_\perp D'|/|x-D|^2",
        GEOMETRIC,
        "exact flow of a smooth denoiser, σ > 0",
        "Differentiate x' = (x − D)/σ.",
        _curvature,
        lambda points: Subject(
            OptimalDenoiser(points), points, OptimalDenoiser, flow=_faults.overshooting_flow
        ),
    ),
    Claim(
        "C4",
        "Closed-form flows: data on a line, Gaussian data",
        "theorem",
        "On a line the flow keeps quantiles, F_σ(x(σ)) is constant. For Gaussian data an "
        "eigendirection of Σ with eigenvalue l shrinks by √((l + σ²)/(l + σ0²)).",
        r"x(\sigma) = F_\sigma^{-1}(F_{\sigma_0}(x_0));\quad \sqrt{(l+\sigma^2)/(l+\sigma_0^2)}",
        "continuity equation in one dimension; linear ODE for Gaussian data",
        "projections of the data on a line; the Gaussian with the data's mean and covariance",
        "In one dimension trajectories cannot cross, so they carry mass.",
        _closed_forms,
        lambda points: Subject(
            OptimalDenoiser(points), points, OptimalDenoiser, flow=_faults.overshooting_flow
        ),
    ),
    Claim(
        "C5",
        "Only the data's affine span matters",
        "theorem",
        "The part of x orthogonal to the affine span of the data scales exactly as σ/σ_max, for "
        "the flow and for Euler: the problem reduces to rank(X − μ) dimensions.",
        r"x_\perp(s) = \tfrac{s}{s_T}\,x_\perp(s_T)",
        "immediate from the closed form",
        "data embedded in a larger space",
        "D lies in the span, so x⊥' = x⊥/σ.",
        _span,
        lambda points: _faults.subject(points, _faults.Leaking),
    ),
    Claim(
        "C6",
        "Quasi-linear trajectories: the bound",
        "theorem",
        "The deviation of a sampling trajectory from its chord is at most (1 − σ/σ_max) diam, and "
        "|x(σ) − μ − (σ/σ_max)(x_T − μ)| ≤ R_μ(1 − σ/σ_max), while the chord has length about "
        "σ_max√D.",
        r"\mathrm{dev}(x(\sigma)) \le (1-\sigma/\sigma_{\max})\,\mathrm{diam}",
        f"sharpens {GEOMETRIC}, observation 1",
        "flow and Euler sampler of a denoiser whose outputs lie in the data's hull",
        "Claim C1: both D̄ are averages of outputs.",
        _quasi_linear,
        lambda points: _faults.subject(
            points, lambda p: _faults.Overrelaxed(OptimalDenoiser(p), factor=1.1)
        ),
        _within_outputs,
    ),
)
