"""Claims about maps between flows: other noising processes, and the map to the end."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import distill, grids
from ..denoisers import OptimalDenoiser
from ..flow import integrate
from ..noise import NoiseSchedule
from ..report import Evidence, Verdict
from . import _faults
from ._base import Case, Claim, Subject, lost, outcome, untested

__all__ = ["CLAIMS"]

Floats = NDArray[np.float64]

LEVELS = (1e-6, 100.0)
"""Levels that every schedule reaches with room: VP and sub-VP end at about 150."""

DIFFERENT = 1e-4
"""By how much of the noise Euler's states on the VP-ODE must differ from those on VE."""


def _schedules() -> tuple[NoiseSchedule, ...]:
    return (
        NoiseSchedule.vp(),
        NoiseSchedule.sub_vp(),
        NoiseSchedule.cosine(),
        NoiseSchedule.rectified_flow(),
    )


def _coordinates(case: Case, claim: Claim) -> Verdict:
    if (failed := lost(claim, case)) is not None:
        return failed
    low, high = max(LEVELS[0], case.sigma_min), min(LEVELS[1], case.sigma_max)
    if not high > 10 * low:
        return untested(claim, case, f"levels from {LEVELS[0]:g} to {LEVELS[1]:g} are not in range")
    field = _field_errors(case, low, high)
    flow = {each.name: _flow_error(case, each, high) for each in _schedules()}
    straight = NoiseSchedule.rectified_flow()
    grid = grids.polynomial(10, high, low)
    own = _euler(case, straight, grid)
    there = case.subject.sampler(
        case.subject.denoiser, own[0], grid, solver="euler", schedule=straight
    )
    euler = _apart(case, straight, grid, there.states, own)
    curved = NoiseSchedule.vp()
    there = case.subject.sampler(
        case.subject.denoiser, curved.scale(high) * own[0] / straight.scale(high), grid,
        solver="euler", schedule=curved,
    )  # fmt: skip
    # in units of the noise a step starts with, which any difference of steps is of the order of
    away = np.linalg.norm(there.states - _euler(case, curved, grid), axis=2)[1:]
    noise = curved.scale(grid[1:]) * grid[:-1] * np.sqrt(case.points.dim)
    gaps = np.nan_to_num(away / noise[:, None]).max(axis=1)
    gap = float(gaps.max())
    measured = [*field.values(), *flow.values(), float(euler.max()), 0.0 if gap > DIFFERENT else 1]
    names = [*(f"field, {n}" for n in field), *(f"flow, {n}" for n in flow)]
    names += ["Euler on rectified flow", "Euler on VP equals that on VE"]
    return outcome(
        claim,
        case,
        sigma=np.full(len(names), high),
        measured=np.array(measured),
        bound=1e-9,
        meaning="difference from the VE flow, in the other's coordinates, relative to size",
        worst=lambda k: {"problem": names[k]},
        statistics={
            "field over σ → 0.95 σ, worst of four": max(field.values()),
            "flow down to half the diameter, worst of four": max(flow.values()),
            "Euler on rectified flow against VE-Euler": float(euler.max()),
            "Euler on VP against VE-Euler": gap,
        },
        evidence=Evidence(
            "noise level σ",
            "difference of Euler's states / size (VP: / noise)",
            grid[1:],
            {
                "rectified flow": np.maximum(euler.max(axis=1)[1:], 1e-18),
                "VP": np.maximum(gaps, 1e-18),
            },
            xscale="log",
            yscale="log",
        ),
        note="Refuted: that Euler on the VP-ODE is the same sampler; the flows are, steps are not.",
    )


def _field_errors(case: Case, low: float, high: float) -> dict[str, float]:
    """α x̂ over σ → 0.95 σ against the integral over t of the ODE in each schedule's coordinates.

    Ten Gauss nodes in the schedule's own time, at states of the VE flow.
    """
    path = case.trajectory
    inside = np.flatnonzero((0.95 * path.sigmas >= low) & (path.sigmas <= high))
    picks = inside[np.linspace(0, inside.size - 1, 3 if case.quick else 5).astype(int)]
    rows = np.arange(min(case.starts, 4 if case.quick else 6))
    nodes, weights = np.polynomial.legendre.leggauss(10)
    errors: dict[str, float] = {}
    for k in np.unique(picks):
        a = float(path.sigmas[k])
        ends = {each: each.time(np.array([a, 0.95 * a])) for each in _schedules()}
        times = {each: t[0] + (0.5 + 0.5 * nodes) * (t[1] - t[0]) for each, t in ends.items()}
        piece = case.subject.flow(
            case.subject.denoiser, path.states[k, rows], a, 0.95 * a, rtol=1e-11,
            atol=1e-13 * case.diameter, estimate_error=False,
            save_at=np.concatenate([each.level(t) for each, t in times.items()]),
        )  # fmt: skip
        for each, at in times.items():
            saved = np.abs(piece.sigmas - each.level(at)[:, None]).argmin(axis=1)
            scale = each.scale(piece.sigmas)[:, None, None]
            states = scale * piece.states
            slopes = [
                each.velocity(states[j], piece.denoised[j], t)
                for j, t in zip(saved, at, strict=True)
            ]
            moved = 0.5 * (ends[each][1] - ends[each][0]) * np.einsum("t,tbd->bd", weights, slopes)
            gone = np.linalg.norm(states[-1] - states[0] - moved, axis=1)
            size = np.linalg.norm(states[0], axis=1) + scale[0, 0, 0] * case.diameter
            errors[each.name] = _worst(errors.get(each.name, 0.0), gone / size)
    return errors


def _flow_error(case: Case, schedule: NoiseSchedule, high: float) -> float:
    """The flow of starts in the schedule's coordinates, where differences cannot grow.

    Above half the diameter p_σ is log-concave (claim D2), so that the flow down contracts.
    """
    end = 0.5 * case.diameter
    if not end < 0.9 * high:
        return 0.0
    x = case.start[: 4 if case.quick else 8] * (high / case.sigma_max)
    options: dict[str, Any] = {
        "rtol": 1e-10, "atol": 1e-12 * case.diameter, "save_at": (), "estimate_error": False,
    }  # fmt: skip
    plain = case.subject.flow(case.subject.denoiser, x, high, end, **options)
    inner = schedule.scale(high) * x
    there = case.subject.flow(case.subject.denoiser, inner, high, end, schedule=schedule, **options)
    scale = schedule.scale(end)
    size = scale * (np.linalg.norm(plain.final, axis=1) + case.diameter)
    return _worst(0.0, np.linalg.norm(there.final - scale * plain.final, axis=1) / size)


def _euler(case: Case, schedule: NoiseSchedule, grid: Floats) -> Floats:
    """(T, B, D) Euler steps of dx/dt in the schedule's own time, written out."""
    x = schedule.scale(grid[0]) * case.start * (grid[0] / case.sigma_max)
    states = [x]
    for s, after in pairwise(grid):
        t, then = schedule.time(s), schedule.time(after)
        denoised = case.denoise(x / schedule.alpha(t), np.full(len(x), schedule.level(t)))
        x = x + (then - t) * schedule.velocity(x, denoised, t)
        states.append(x)
    return np.stack(states)


def _apart(case: Case, schedule: NoiseSchedule, grid: Floats, a: Floats, b: Floats) -> Floats:
    """(T, B) distances relative to the states' size in the schedule's coordinates."""
    room = schedule.scale(grid)[:, None] * (case.points.radius + case.diameter)
    found = np.linalg.norm(a - b, axis=2) / (np.linalg.norm(b, axis=2) + room)
    return np.where(np.isnan(found), np.inf, found)


def _worst(so_far: float, found: Floats) -> float:
    return max(so_far, float(np.where(np.isnan(found), np.inf, found).max(initial=0.0)))


def _consistency(case: Case, claim: Claim) -> Verdict:
    if (failed := lost(claim, case)) is not None:
        return failed
    end = max(case.sigma_min, min(0.05 * (case.points.scale or 1.0), 0.1 * case.sigma_max))
    stops = np.geomspace(case.sigma_max, end, 4)[1:-1]
    rows = np.arange(min(case.starts, 4))

    def run(x: Floats, high: float, save: Any = ()) -> Any:
        return case.subject.flow(
            case.subject.denoiser, x, high, end, rtol=1e-12, atol=1e-14 * case.diameter,
            save_at=save, estimate_error=True,
        )  # fmt: skip

    first = run(case.start[rows], case.sigma_max, stops)
    size = np.linalg.norm(first.final, axis=1) + case.diameter
    errors, levels, kept = [], [], []
    # rows that did not arrive have nothing to restart from
    there = np.isfinite(first.states).all(axis=(0, 2))
    for k, sigma in enumerate(stops, start=1):
        again = run(first.states[k, there], float(sigma))
        found, steady = np.full(len(rows), np.inf), ~there
        found[there] = np.linalg.norm(again.final - first.final[there], axis=1) / size[there]
        steady[there] = np.maximum(first.error[there], again.error) <= STEADY * size[there]
        # a flow that does not tell its error is judged on all rows
        steady |= ~np.isfinite(first.error)
        errors.append(found[steady])
        levels.append(np.full(steady.sum(), sigma))
        kept.append(steady)
    jumps = _same_end(case, rows, stops)
    errors.append(jumps)
    levels.append(np.full(jumps.size, end))
    teacher, share = _teacher(case)
    errors.append(teacher)
    levels.append(np.full(teacher.size, case.sigma_min))
    sizes = [part.size for part in errors]
    names = [f"restart at σ = {s:.3g}" for s in stops] + ["data point at σ = 0", "Euler teacher"]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return outcome(
        claim,
        case,
        sigma=np.concatenate(levels),
        measured=np.concatenate(errors),
        bound=10 * STEADY,
        meaning="|f(x(σ), σ) − f(x_T, σ_T)| / (|x| + diam)",
        worst=lambda k: {"problem": names[owner[k]]},
        statistics={
            "median gap of the restarts": float(
                np.median(gaps) if (gaps := np.concatenate(errors[: len(stops)])).size else np.nan
            ),
            "restarts left out near a separatrix": float((~np.array(kept)).sum()),
            "Euler teacher, sum of the weights − 1": share,
        },
        note=f"Restarts whose own estimate of the error passes {STEADY:g} are near a separatrix. "
        "At σ = 0, where both certificates fired early, the data point is the same.",
    )


STEADY = 1e-12
"""Estimated error, relative to size, up to which a row counts as away from separatrices."""


def _same_end(case: Case, rows: NDArray[np.intp], stops: Floats) -> Floats:
    """Whether restarts from saved states end on the same data point: 0 or infinity each."""
    if case.subject.flow is not integrate or not isinstance(case.subject.denoiser, OptimalDenoiser):
        return np.empty(0)
    tight: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-14 * case.diameter, "estimate_error": False}
    begin = case.start[rows]
    first = integrate(case.subject.denoiser, begin, case.sigma_max, 0.0, save_at=stops, **tight)
    assert first.collapse is not None
    found = []
    # a path close to a separatrix stays undecided until far below the distances in the data
    far = 1e-3 * case.diameter
    for k, sigma in enumerate(stops, start=1):
        again = distill.consistency(case.subject.denoiser, first.states[k], sigma, **tight).collapse
        assert again is not None
        clear = first.collapse.certified & again.certified
        late = np.fmin(first.collapse.sigma, again.sigma) < far * 1e-3
        same = first.collapse.index == again.index
        found.append(np.where(same, 0.0, np.inf)[clear & ~late])
    return np.concatenate(found)


def _teacher(case: Case) -> tuple[Floats, float]:
    """What one step must predict to do what k Euler steps do, against its weights."""
    grid = grids.polynomial(9, case.sigma_max, case.sigma_min)
    path = case.subject.sampler(case.subject.denoiser, case.start, grid, solver="euler")
    target = distill.implied(path.states[0], path.states[-1], grid[0], grid[-1])
    weights = distill.euler_weights(grid)
    combined = np.einsum("t,tbd->bd", weights, path.denoised[:-1])
    size = np.linalg.norm(path.states[-1], axis=1) + case.points.radius + case.diameter
    return np.linalg.norm(target - combined, axis=1) / size, float(weights.sum() - 1)


CLAIMS = (
    Claim(
        "C8",
        "Other noising processes are the same flow",
        "theorem+folklore",
        "VP, sub-VP, cosine, rectified flow: with x_t = α_t x̂ and s = σ_t/α_t their ODEs are the "
        "VE flow in other coordinates. Euler on rectified flow is VE-Euler exactly. "
        "False: that Euler on the VP-ODE is the same too.",
        r"\tfrac{d}{dt}\big(\alpha_t\hat x(s(t))\big) = \alpha'_t D + \sigma'_t"
        r"\,\frac{x_t - \alpha_t D}{\sigma_t}, \qquad s = \sigma_t/\alpha_t",
        "Karras et al. 2022, https://arxiv.org/abs/2206.00364, section 2; "
        "Liu et al. 2023, https://arxiv.org/abs/2209.03003",
        "any denoiser, levels from 1e-6 to 100",
        "Product rule; in rectified flow x_t is linear in t for a fixed D, as x̂ is in s.",
        _coordinates,
        lambda points: Subject(
            OptimalDenoiser(points), points, OptimalDenoiser, sampler=_faults.unscaled_sampler
        ),
    ),
    Claim(
        "C9",
        "The map to the end is constant along a trajectory",
        "theorem",
        "A trajectory restarted from any of its states ends where it would have. What one step "
        "must predict to replace k Euler steps is the convex combination of their outputs (C1).",
        r"f(x_\sigma,\sigma) = x_0; \quad \bar D = \frac{s_k}{1 - s_k/s_0}"
        r"\sum_j (1/s_{j+1} - 1/s_j)\,D_j",
        "consistency models, Song et al. 2023, https://arxiv.org/abs/2303.01469",
        "exact flow of any denoiser, away from separatrices; Euler sampler",
        "Solutions of an ODE are unique.",
        _consistency,
        lambda points: Subject(
            OptimalDenoiser(points), points, OptimalDenoiser, flow=_faults.stepping_flow
        ),
    ),
)
