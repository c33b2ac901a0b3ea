"""Claims about collapse: the trap certificate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import grids
from ..collapse import Certificate
from ..denoisers import OptimalDenoiser
from ..points import PointSet
from ..report import Evidence, Verdict
from ..solvers import euler_step
from . import _faults
from ._base import Case, Claim, Subject, outcome, untested

__all__ = ["CLAIMS"]

Floats = NDArray[np.float64]


def _nearest_distances(points: PointSet) -> Floats:
    """(min(N, 2000),) distance of data points to their nearest other point."""
    from scipy.spatial import cKDTree

    some = points.points[:2000]
    return np.asarray(cKDTree(points.points).query(some, k=2)[0][:, 1])


def _trap(case: Case, claim: Claim) -> Verdict:
    denoiser = case.subject.denoiser
    if not isinstance(denoiser, OptimalDenoiser) or len(case.points) < 2:
        return untested(claim, case, "the certificate needs an optimal denoiser of several points")
    near = _nearest_distances(case.points)
    # in many dimensions the states' own noise, σ√D, must fall below the distances, too
    low = min(0.02, 0.1 / np.sqrt(case.points.dim)) * float(np.median(near))
    high = min(case.sigma_max, case.diameter)
    low = min(low, 0.02 * high)
    grid = grids.polynomial(40, high, low)
    rng = case.rng(claim.id)
    count = 8 if case.quick else 24
    start = case.points.sample(count, rng) + high * rng.standard_normal((count, case.points.dim))
    # a plain callable, so that the integrator cannot close the tail by the certificate on trial
    path = case.subject.flow(
        lambda x, s: denoiser(x, s), start, high, low, rtol=1e-10, atol=1e-12 * case.diameter,
        save_at=grid, estimate_error=False,
    )  # fmt: skip
    end = path.states[-1]
    winner = denoiser.evaluate(end, np.full(count, low)).nearest
    reached = np.linalg.norm(end - case.points.points[winner], axis=1)
    settled = reached < 0.25 * _gap_to_others(case.points, winner)
    excess, levels, rows = [], [], []
    fired = np.full(count, np.nan)
    for k, level in enumerate(grid):
        found = case.subject.certify(denoiser, path.states[k], np.full(count, level))
        here = np.flatnonzero(found.certified & settled)
        fired[here[np.isnan(fired[here])]] = level
        false = np.where(found.index[here] == winner[here], 0.0, np.inf)
        away = [_tail_excess(case, path.states[k:, r], grid[k:], _row(found, r)) for r in here]
        steps = _euler_excess(case, path.states[k, here], _row(found, here), rng)
        excess.append(np.maximum(false, np.maximum(away, steps) / case.diameter))
        levels.append(np.full(here.size, level))
        rows.append(here)
    row = np.concatenate(rows)
    ratio = fired / np.median(near)
    seen = np.isfinite(fired)
    return outcome(
        claim,
        case,
        sigma=np.concatenate(levels),
        measured=np.concatenate(excess),
        # the integrator's tolerance is relative to |x|, not to the diameter
        bound=1e-9 * max(1.0, case.points.radius / case.diameter),
        meaning="excess over the tail bound in diameters; infinite if a certificate was false",
        worst=lambda k: {"row": int(row[k]), "start": start[row[k]]},
        statistics={
            "certified states": float(row.size),
            "median σ of certification / nearest-neighbour distance": float(
                np.median(ratio[seen]) if seen.any() else np.nan
            ),
            "starts certified in the end": float(seen.mean()),
            "starts left out, undecided at the smallest σ": float((~settled).sum()),
        },
        evidence=Evidence(
            "σ / nearest-neighbour distance",
            "certified share of starts",
            grid / np.median(near),
            {"certified": np.array([np.mean(fired >= s) for s in grid])},
            xscale="log",
        ),
        note="Each certificate is followed down the flow and down Euler steps at random levels.",
    )


def _gap_to_others(points: PointSet, index: NDArray[np.int64]) -> Floats:
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(points.points).query(points.points[index], k=2)[0][:, 1])


def _row(found: Certificate, rows: Any) -> Certificate:
    """The certificate at some of the states."""
    return Certificate(*(part[rows] for part in vars(found).values()))


def _tail_excess(case: Case, states: Floats, levels: Floats, found: Certificate) -> float:
    """How far the flow below one certified state leaves its tail."""
    share = levels[1:] / levels[0]
    if not share.size:
        return 0.0
    target = case.points.points[found.index]
    straight = target + share[:, None] * (states[0] - target)
    away = np.linalg.norm(states[1:] - straight, axis=1)
    with np.errstate(over="ignore"):
        late = found.pull * -np.expm1(-found.gap * (1 / share - 1)) * share / found.gap
    return float(np.max(away - np.minimum(found.reach * (1 - share), late)))


def _euler_excess(
    case: Case, states: Floats, found: Certificate, rng: np.random.Generator
) -> Floats:
    """The same for Euler steps at five random levels, by the first term of the bound."""
    target = case.points.points[found.index]
    x, level = states, found.sigma
    worst = np.full(len(states), -np.inf)
    for share in np.sort(rng.uniform(0.02, 1.0, 5))[::-1]:
        if not len(states):
            break
        step = share * found.sigma
        x = euler_step(x, case.denoise(x, level), level[:, None], step[:, None])
        level = step
        straight = target + share * (states - target)
        over = np.linalg.norm(x - straight, axis=1) - found.reach * (1 - share)
        worst = np.maximum(worst, over)
    return worst


CLAIMS = (
    Claim(
        "D1",
        "Trap certificate: collapse onto one data point",
        "theorem",
        "If every g_j > 0 and min(B, R_i ε/(1+ε)) ≤ ½ min_j d_ij at (x, σ), the exact trajectory "
        "converges to x_i, and stays within a stated bound of the straight line to it; so do Euler "
        "steps of any size.",
        r"\min(B,\,R_i\tfrac{\varepsilon}{1+\varepsilon}) \le \tfrac12\min_j d_{ij}"
        r"\;\Rightarrow\; x(s)\to x_i",
        "asymptotic mode collapse: arXiv:2305.19947, section 5; certificate derived here",
        "optimal denoiser of at least two points; states where the certificate fires",
        "Every log-odds G_j grows along the flow while |D − x_i| ≤ ½ min d, so the set is "
        "invariant.",
        _trap,
        lambda points: Subject(
            OptimalDenoiser(points), points, OptimalDenoiser, certify=_faults.hasty_certificate
        ),
    ),
)
