"""Observations on the geometry of trajectories, each with its exact part.

Statistics are reported and never judged: counterexamples to all three exist in
low dimension. What is judged is the exact statement behind each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import geometry
from ..denoisers import OptimalDenoiser
from ..report import Evidence, Verdict
from . import _faults
from ._base import Case, Claim, lost, outcome
from .section_a import GEOMETRIC
from .section_c import straightness

__all__ = ["CLAIMS"]

Floats = NDArray[np.float64]


def _straight(case: Case, claim: Claim) -> Verdict:
    if (failed := lost(claim, case)) is not None:
        return failed
    path = case.trajectory
    ratio, _ = straightness(case, path.sigmas, path.states)
    bends = {
        "x": geometry.deviation(path.states) / geometry.chord(path.states),
        "D": geometry.deviation(path.denoised) / _positive(geometry.chord(path.denoised)),
    }
    first = {
        "x": geometry.pca_spectrum(path.states)[:, 0],
        "D": geometry.pca_spectrum(path.denoised)[:, 0],
    }
    statistics = {
        f"mean of the largest deviation/chord of {name}": _mean(bend.max(axis=0))
        for name, bend in bends.items()
    } | {
        f"mean share of the first principal component of {name}": _mean(share)
        for name, share in first.items()
    }
    return outcome(
        claim,
        case,
        sigma=path.sigmas[1:, None],
        measured=ratio[1:],
        bound=1.0,
        meaning="deviation from the chord / ((1 − σ/σ_max) diam), the exact bound C6",
        worst=lambda k: {"row": k % case.starts, "start": case.start[k % case.starts]},
        statistics=statistics,
        evidence=Evidence(
            "noise level σ",
            "mean deviation / chord",
            path.sigmas[:-1],
            {
                "sampling trajectory x": bends["x"].mean(axis=1)[:-1],
                "denoising trajectory D": bends["D"].mean(axis=1)[:-1],
            },
            xscale="log",
            yscale="log",
        ),
        note="Statistics are observations; judged is the exact bound.",
    )


def _approach(case: Case) -> dict[str, Floats]:
    """Distances to x_0, the last denoising output: at σ_min the state is still σ_min √D away."""
    path = case.trajectory
    return {
        "x": geometry.distances(path.states, path.denoised[-1]),
        "D": geometry.distances(path.denoised, path.denoised[-1]),
    }


def _monotone(case: Case, claim: Claim) -> Verdict:
    if (failed := lost(claim, case)) is not None:
        return failed
    path = case.trajectory
    away = _approach(case)
    gap = away["x"]
    slack = 1e-8 * gap[0]
    outside = gap[1:] >= case.diameter
    steps = ((gap[1:] - gap[:-1] - slack) / case.diameter)[outside]
    levels = np.broadcast_to(path.sigmas[1:, None], outside.shape)[outside]
    rows = np.broadcast_to(np.arange(case.starts), outside.shape)[outside]
    # compared at the resolution of the trajectories themselves
    fine = {name: 1e-7 * d[0] for name, d in away.items()}
    statistics = {
        f"share of trajectories along which |{name} − x_0| falls throughout": float(
            (np.diff(d, axis=0) <= fine[name]).all(axis=0).mean()
        )
        for name, d in away.items()
    }
    return outcome(
        claim,
        case,
        sigma=levels,
        measured=steps,
        bound=0.0,
        meaning="growth of |x − c| over a step to smaller σ, in diameters, while |x − c| ≥ diam",
        worst=lambda k: {"row": int(rows[k]), "start": case.start[rows[k]]},
        statistics=statistics,
        evidence=_distance_evidence(case, away),
        note="Statistics are observations; judged is the exact statement. "
        "Room for the integrator: 1e-8 of the first distance.",
    )


def _closer(case: Case, claim: Claim) -> Verdict:
    if (failed := lost(claim, case)) is not None:
        return failed
    path = case.trajectory
    away = _approach(case)
    outside = away["x"] >= case.diameter
    excess = ((away["D"] - away["x"]) / case.diameter)[outside]
    levels = np.broadcast_to(path.sigmas[:, None], outside.shape)[outside]
    rows = np.broadcast_to(np.arange(case.starts), outside.shape)[outside]
    halves = {
        f"median σ at which |{name} − x_0| has halved": float(np.median(_half_life(path.sigmas, d)))
        for name, d in away.items()
    }
    inner = slice(0, -1)
    return outcome(
        claim,
        case,
        sigma=levels,
        measured=excess,
        bound=1e-12,
        meaning="(|D − c| − |x − c|)/diam where |x − c| ≥ diam, c the last denoising output",
        worst=lambda k: {"row": int(rows[k]), "start": case.start[rows[k]]},
        statistics={
            "share of (trajectory, σ) with |D − x_0| ≤ |x − x_0|": float(
                (away["D"][inner] <= away["x"][inner]).mean()
            ),
            **halves,
        },
        evidence=_distance_evidence(case, away),
        note="Statistics are observations; judged is the exact statement.",
    )


def _half_life(sigmas: Floats, distance: Floats) -> Floats:
    """(B,) first saved level at which a distance is at most half of what it was."""
    below = distance <= 0.5 * distance[0]
    return sigmas[below.argmax(axis=0)]


def _distance_evidence(case: Case, away: dict[str, Floats]) -> Evidence:
    return Evidence(
        "noise level σ",
        "mean distance to the end, in diameters",
        case.trajectory.sigmas[:-1],
        {
            "sampling trajectory x": away["x"].mean(axis=1)[:-1] / case.diameter,
            "denoising trajectory D": away["D"].mean(axis=1)[:-1] / case.diameter,
        },
        xscale="log",
        yscale="log",
    )


def _mean(values: Floats) -> float:
    """Mean of the finite values; NaN if there are none (a denoising trajectory that is a point)."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _positive(values: Floats) -> Floats:
    return np.where(values > 0, values, np.nan)


CLAIMS = (
    Claim(
        "F1",
        "Sampling trajectories are nearly straight, denoising trajectories bend",
        "observation",
        "The sampling trajectory stays within a small share of its chord and its first principal "
        "component explains nearly all of it; the denoising trajectory bends. Exactly: claim C6.",
        r"\max_\sigma \mathrm{dev}(x(\sigma))/|x_T-x_0| \ll 1",
        f"{GEOMETRIC}, observation 1",
        "exact trajectories from σ_max z",
        "The chord grows as σ_max√D, the deviation is bounded by the diameter.",
        _straight,
        _faults.with_flow(_faults.jittery_flow),
    ),
    Claim(
        "F2",
        "Distances to the end fall along sampling",
        "observation",
        "|x − x_0| and |D − x_0| tend to fall as σ falls; single trajectories in low dimension "
        "break it. Exactly: |x − c| falls while it is at least diam, for any c in the hull.",
        r"|x(\sigma)-c| \ge \mathrm{diam} \Rightarrow \tfrac{d}{d\sigma}|x-c| \ge 0",
        f"{GEOMETRIC}, section 3",
        "exact trajectories from σ_max z; the exact part where |x − c| ≥ diam",
        "d|x−c|²/dσ = 2(x−c)·(x−D)/σ and |D−c| ≤ diam ≤ |x−c|.",
        _monotone,
        _faults.with_flow(_faults.jittery_flow),
    ),
    Claim(
        "F3",
        "The denoising trajectory is closer to the end",
        "observation",
        "|D − x_0| ≤ |x − x_0| for nearly all of a trajectory, so D converges first. Exactly: "
        "always where |x − c| ≥ diam, for any c in the hull.",
        r"|x-c| \ge \mathrm{diam} \Rightarrow |D-c| \le |x-c|",
        f"{GEOMETRIC}, observation 2",
        "exact trajectories from σ_max z; the exact part where |x − c| ≥ diam",
        "Both D and c lie in the hull, so they are at most diam apart.",
        _closer,
        lambda points: _faults.subject(
            points, lambda p: _faults.Overrelaxed(OptimalDenoiser(p), factor=2.5)
        ),
    ),
)
