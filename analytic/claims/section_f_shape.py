"""Observations on norms, directions and the common shape of trajectories, with exact parts.

Statistics are reported and never judged; what is judged is the exact statement behind each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import field, geometry
from ..denoisers import OptimalDenoiser
from ..flow import integrate
from ..points import PointSet
from ..report import Evidence, Verdict
from . import _faults
from ._base import Case, Claim, lost, outcome, untested
from .section_a import GEOMETRIC
from .section_c_likelihood import shrinking

__all__ = ["CLAIMS"]

Floats = NDArray[np.float64]

REGULAR = "Chen et al. 2024, On the Trajectory Regularity of ODE-based Diffusion Sampling, "
REGULAR += "arXiv:2405.11326"

BENT = 1e-4
"""Of curvatures by seven states beside the closed form: the flow's rtol of 1e-12 over the
square of a window of 1e-3 σ is 1e-6, and differences multiply it by some ten."""


def _norms(case: Case, claim: Claim) -> Verdict:
    if (failed := lost(claim, case)) is not None:
        return failed
    path = case.trajectory
    growth, levels, rows = shrinking(case)
    sizes = {"x": geometry.magnitudes(path.states), "D": geometry.magnitudes(path.denoised)}
    room = 1e-9 * (case.points.radius + case.diameter)
    outside = (sizes["D"] - case.points.radius) / room
    start, most, end = _three_points()
    refuted = start < 0.1 and most > 0.8 and end < 1e-6
    count, flat = growth.size, outside.size
    fine = {name: 1e-7 * (size[0] + case.diameter) for name, size in sizes.items()}
    falls = (np.diff(sizes["x"], axis=0) <= fine["x"]).all(axis=0)
    rises = (np.diff(sizes["D"], axis=0) >= -fine["D"]).all(axis=0)
    return outcome(
        claim,
        case,
        sigma=np.concatenate([levels, np.repeat(path.sigmas, case.starts), [case.sigma_max]]),
        measured=np.concatenate([growth, outside.ravel(), [0.0 if refuted else np.inf]]),
        bound=1.0,
        meaning="growth of |x − c| over 1e-8 of its start; |D| beyond R over 1e-9 of the size",
        worst=lambda k: {
            "row": int(rows[k]) if k < count else (k - count) % case.starts,
            "problem": "−3, 0, 3" if k == count + flat else "norms",
        },
        statistics={
            "share of trajectories along which |x| falls throughout": float(falls.mean()),
            "share of trajectories along which |D| rises throughout": float(rises.mean()),
            "mean |D| at σ_max": float(sizes["D"][0].mean()),
            "mean |D| at σ_min": float(sizes["D"][-1].mean()),
            "|D| of −3, 0, 3 at the 60 % quantile: first": start,
            "|D| of −3, 0, 3 at the 60 % quantile: largest": most,
            "|D| of −3, 0, 3 at the 60 % quantile: last": end,
        },
        evidence=Evidence(
            "noise level σ",
            "norm",
            path.sigmas,
            {
                "mean |x|": sizes["x"].mean(axis=1),
                "mean |D|": sizes["D"].mean(axis=1),
                "R": np.full(len(path.sigmas), case.points.radius),
            },
            bound="R",
            xscale="log",
            yscale="log",
        ),
        note="Statistics are observations; judged are |x| while above R, |D| ≤ R, and the "
        "counterexample to |D| growing.",
    )


def _three_points() -> tuple[float, float, float]:
    """|D| along the trajectory of −3, 0, 3 at the 60 % quantile: first, largest, last."""
    data = OptimalDenoiser(PointSet(np.array([[-3.0], [0.0], [3.0]])))
    # Φ⁻¹(0.6)
    start = np.array([[80.0 * 0.2533471031357997]])
    path = integrate(data, start, 80.0, 0.002, rtol=1e-8, estimate_error=False)
    size = np.abs(path.denoised[:, 0, 0])
    return float(size[0]), float(size.max()), float(size[-1])


def _directions(case: Case, claim: Claim) -> Verdict:
    if (failed := lost(claim, case)) is not None:
        return failed
    path = case.trajectory
    end = path.denoised[-1]
    toward, away = path.states - path.denoised, path.states - end
    length = np.linalg.norm(toward, axis=2)
    unit = toward / np.where(length > 0, length, 1.0)[..., None]
    off = away - (away * unit).sum(axis=2, keepdims=True) * unit
    # the last denoising output stands for x_0; |x| is known to rounding
    room = case.diameter + 1e-12 * np.linalg.norm(path.states, axis=2)
    measured = np.linalg.norm(off, axis=2) / room
    cosine = geometry.cosines(toward, away)
    mean = np.nanmean(cosine, axis=1)
    dip = int(mean.argmin())
    return outcome(
        claim,
        case,
        sigma=np.broadcast_to(path.sigmas[:, None], measured.shape),
        measured=measured,
        bound=1.0 + 1e-9,
        meaning="distance of x_0 from the tangent of the trajectory, in diameters",
        worst=lambda k: {"row": k % case.starts, "start": case.start[k % case.starts]},
        statistics={
            "mean cosine at σ_max": float(mean[0]),
            "smallest mean cosine": float(mean[dip]),
            "at σ": float(path.sigmas[dip]),
            "smallest cosine": float(np.nanmin(cosine)),
            "mean cosine at the last level but one": float(mean[-2]),
        },
        evidence=Evidence(
            "noise level σ",
            "cosine of x − D and x − x_0",
            path.sigmas,
            {"mean": mean, "smallest": np.nanmin(cosine, axis=1)},
            xscale="log",
        ),
        note="Statistics are observations; judged is the distance of x_0 from the tangent.",
    )


def _shape(case: Case, claim: Claim) -> Verdict:
    if (failed := lost(claim, case)) is not None:
        return failed
    path = case.trajectory
    seen = geometry.boomerang(path.states)
    sigmas = path.sigmas
    inside = np.flatnonzero((sigmas >= 0.15 * case.diameter) & (sigmas <= 2 * case.diameter))
    if not inside.size:
        return untested(claim, case, "no saved level lies between 0.15 and 2 diameters")
    picks = np.unique(inside[np.linspace(0, inside.size - 1, 3 if case.quick else 5).astype(int)])
    rows = np.arange(min(case.starts, 4 if case.quick else 6))
    errors, twists = zip(*(_bend(case, k, rows) for k in picks), strict=True)
    some = slice(4, -4, 6 if case.quick else 4)
    frenets = [
        geometry.frenet(*field.path_derivatives(case.subject.denoiser, path.states[k, rows], s))
        for k, s in zip(range(len(sigmas))[some], sigmas[some], strict=True)
    ]
    curvature = _medians(frenets, 0) * case.diameter
    frame = geometry.chord_frame(path.states, 2).coordinates[:, rows]
    projected = geometry.curvature_torsion(frame, np.log(sigmas))
    bent = np.array([_median(line) for line in projected.curvature[some]]) * case.diameter
    peak = int(np.nan_to_num(curvature).argmax())
    deviation = geometry.deviation(path.states).max(axis=0) / geometry.chord(path.states)
    return outcome(
        claim,
        case,
        sigma=np.repeat(sigmas[picks], len(rows)),
        measured=np.concatenate(errors),
        bound=BENT,
        meaning="|κ by seven neighbouring states − κ in closed form| / (κ + 0.01/|x − D|)",
        worst=lambda k: {
            "row": int(rows[k % len(rows)]),
            "x": path.states[picks[k // len(rows)], rows[k % len(rows)]],
        },
        statistics={
            "mean agreement with the common shape": _mean(seen.agreement),
            "mean distance from three dimensions / deviation": float(seen.residual.mean()),
            "mean of the largest deviation/chord": float(deviation.mean()),
            "largest median curvature × diam": float(curvature[peak]),
            "median torsion × diam there": float(_medians(frenets, 1)[peak] * case.diameter),
            "at σ": float(sigmas[some][peak]),
            "the same curvature, projected, by windows": float(bent[peak]),
            "worst gap of torsions by states and in closed form": _largest(np.concatenate(twists)),
        },
        evidence=Evidence(
            "share of the chord that is left",
            "offset / largest deviation",
            seen.shape[:, 0],
            {"first direction": seen.shape[:, 1], "second direction": seen.shape[:, 2]},
        ),
        note="Statistics are observations on chord and two directions across, turned onto one "
        "another; judged is the closed form of the curvature.",
    )


def _bend(case: Case, k: int, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Gaps of curvature and torsion, by neighbouring states and in closed form."""
    s = float(case.trajectory.sigmas[k])
    ratio = case.diameter / s
    # the odds of two points turn at rates up to diam/σ + (diam/σ)²/4 per unit of log σ
    at = s * (1 - 0.02 / (1 + ratio + ratio**2 / 4) * np.arange(7))
    path = case.subject.flow(
        case.subject.denoiser, case.trajectory.states[k, rows], s, at[-1], rtol=1e-12,
        atol=1e-14 * case.diameter, save_at=at, estimate_error=False,
    )  # fmt: skip
    if not np.isfinite(path.states).all():
        return np.full(len(rows), np.inf), np.full(len(rows), np.nan)
    found = geometry.curvature_torsion(path.states, path.sigmas, window=7, degree=6)
    slopes = field.path_derivatives(case.subject.denoiser, path.states[3], path.sigmas[3])
    exact = geometry.frenet(*slopes)
    inverse = 0.01 / (path.sigmas[3] * np.linalg.norm(slopes[0], axis=1))
    bend = np.abs(found.curvature[3] - exact.curvature) / (exact.curvature + inverse)
    twist = np.abs(found.torsion[3] - exact.torsion) / (exact.torsion + inverse)
    return bend, twist


def _mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _median(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def _medians(frenets: list[geometry.Frenet], part: int) -> Floats:
    return np.array([_median(each[part]) for each in frenets])


def _largest(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else float("nan")


CLAIMS = (
    Claim(
        "F4",
        "States shrink, denoising outputs grow",
        "observation",
        "|x| falls and |D| rises as σ falls, in mean a theorem (C7); single trajectories break "
        "it: of the data −3, 0, 3 one at the 60 % quantile takes |D| up to 0.84 and back to 0. "
        "Exactly: |x| falls while it exceeds R, and |D| ≤ R.",
        r"|x|\ge R \Rightarrow \tfrac{d}{d\sigma}|x| \ge 0,\quad |D| \le R",
        f"{GEOMETRIC}, section 3",
        "exact trajectories from σ_max z",
        "d|x|²/dσ = 2x·(x − D)/σ, and D is an average of the data.",
        _norms,
        _faults.with_flow(_faults.jittery_flow),
    ),
    Claim(
        "F5",
        "The direction points to the end, with a dip between",
        "observation",
        "The cosine of x − D and x − x_0 tends to 1 at both ends of the trajectory and dips in "
        "mid-range. Exactly: the tangent passes x_0 at most a diameter away, so that the sine is "
        "at most diam/|x − x_0|.",
        r"\sin\angle(x-D,\,x-x_0) \le \mathrm{diam}/|x-x_0|",
        f"{GEOMETRIC}, section 3",
        "exact trajectories from σ_max z",
        "D is on the tangent, and no two points of the hull are farther apart than diam.",
        _directions,
        lambda points: _faults.subject(points, _faults.Leaning),
    ),
    Claim(
        "F6",
        "Trajectories share one shape",
        "observation",
        "Seen along its chord and two directions across, a trajectory looks like a boomerang, "
        "and all look alike. Exactly: its curvature is σ|P⊥D'|/|x − D|², with D' in closed form.",
        r"\kappa = \sigma|P_\perp D'|/|x-D|^2",
        REGULAR,
        "exact trajectories from σ_max z; curvature from 0.15 to 2 diameters",
        "Differentiate x' = (x − D)/σ; windows of seven states see the same curve.",
        _shape,
        _faults.with_flow(_faults.overshooting_flow),
    ),
)
