"""What is measured of a model r beside the optimal denoiser D: on samples, and on paths.

Nothing here holds more than B·D numbers for a level, nor N·B·D ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check, geometry
from .._progress import Advance
from ..denoisers import Denoiser, OptimalDenoiser, Spliced, apply
from ..flow import integrate
from ..sampling import sample
from ..solvers import Solver
from ..trajectory import Trajectory
from ._comparison import Loss, Setting

__all__ = ["How", "along", "blocks", "ends", "follow", "forward", "shape"]

Floats = NDArray[np.float64]

BLOCK = 1 << 22
"""Numbers of one batch."""


class How(NamedTuple):
    """How trajectories are followed."""

    solver: Solver | None
    """None: integrated."""
    rtol: float
    atol: float


def blocks(count: int, dim: int) -> list[slice]:
    """Rows that make a batch each."""
    step = max(1, BLOCK // dim)
    return [slice(k, min(k + step, count)) for k in range(0, count, step)]


def forward(
    model: Denoiser,
    optimal: OptimalDenoiser,
    judge: OptimalDenoiser,
    sigmas: Floats,
    count: int,
    seed: int,
    advance: Advance,
) -> tuple[Setting, Loss]:
    """Deviation and loss on samples x_0 + σz of the judge's points; levels share (x_0, z).

    Given x, the mean over x_0 is known: Σ u_i |r - x_i|² = |r - D'|² + tr C', with D' and C' of
    the judge, who is `optimal` itself unless the points are held out.
    """
    source = judge.held
    apart, pull, model_loss, least, sampled = np.empty((5, len(sigmas), count))
    climbs = np.empty((len(sigmas), count), dtype=bool)
    shares = steps(sigmas)
    for number, rows in enumerate(blocks(count, source.dim)):
        rng = np.random.default_rng([seed, number])
        clean = source.sample(rows.stop - rows.start, rng)
        z = rng.standard_normal(clean.shape)
        for k, sigma in enumerate(sigmas.tolist()):
            x = clean + sigma * z
            r = _finite(apply(model, x, sigma), sigma)
            post = judge.posterior(x, sigma)
            mean = np.asarray(post.mean, dtype=np.float64)
            floor = np.asarray(post.trace_cov, dtype=np.float64)
            output: Floats = mean if judge is optimal else apply(optimal, x, sigma)
            apart[k, rows], pull[k, rows], climbs[k, rows] = _beside(x, r, output, shares[k])
            model_loss[k, rows] = ((r - mean) ** 2).sum(axis=1) + floor
            least[k, rows] = ((output - mean) ** 2).sum(axis=1) + floor
            sampled[k, rows] = ((r - clean) ** 2).sum(axis=1)
            advance(1)
    return Setting(apart, pull, climbs), Loss(model_loss, least, sampled)


def along(
    model: Denoiser,
    optimal: OptimalDenoiser,
    learned: Trajectory,
    best: Trajectory,
    advance: Advance,
) -> tuple[Setting, Setting, Floats, Floats]:
    """On the learned path, on the optimal one, |r(x) - D(x*)| and |x - x*|, (T, B) each."""
    levels, rows = learned.sigmas, learned.states.shape[1]
    on_learned, on_best = (_unfilled(len(levels), rows) for _ in range(2))
    own, gaps = np.empty((2, len(levels), rows))
    shares = steps(levels)
    for k, sigma in enumerate(levels.tolist()):
        places = ((on_learned, learned.states[k]), (on_best, best.states[k]))
        outputs = []
        for setting, x in places:
            r, d = apply(model, x, sigma), apply(optimal, x, sigma)
            found = _beside(x, r, d, shares[k])
            setting.deviation[k], setting.pull[k], setting.climbs[k] = found
            outputs.append((r, d))
        own[k] = np.linalg.norm(outputs[0][0] - outputs[1][1], axis=1)
        gaps[k] = np.linalg.norm(places[0][1] - places[1][1], axis=1)
        advance(1)
    return on_learned, on_best, own, gaps


def steps(sigmas: Floats) -> Floats:
    """(T,) γ = 1 - σ_{k+1}/σ_k of the grid's Euler steps; from the last level to 0 it is 1."""
    return 1 - np.append(sigmas[1:], 0.0) / sigmas


def _beside(x: Floats, r: Floats, d: Floats, share: float) -> tuple[Floats, Floats, Floats]:
    """|r - D|, |D - x|, and whether (r - x)·(D - x) ≥ (γ/2)|r - x|²."""
    toward, there = r - x, d - x
    inner = np.einsum("bd,bd->b", toward, there)
    square = np.einsum("bd,bd->b", toward, toward)
    return (
        np.linalg.norm(r - d, axis=1),
        np.linalg.norm(there, axis=1),
        inner >= 0.5 * share * square,
    )


def _unfilled(levels: int, rows: int) -> Setting:
    deviation, pull = np.empty((2, levels, rows))
    return Setting(deviation, pull, np.empty((levels, rows), dtype=bool))


def _finite(output: Floats, sigma: float) -> Floats:
    if not np.isfinite(output).all():
        _check.fail(
            "model",
            f"NaN or infinity on forward samples at σ = {sigma:g}",
            "finite outputs",
            "compare on levels that the model was trained on, with sigmas=",
        )
    return output


def follow(denoiser: Denoiser, x: Floats, sigmas: Floats, how: How) -> Trajectory:
    """The trajectory from x on the grid."""
    if how.solver is not None:
        return sample(denoiser, x, sigmas, how.solver)
    return integrate(
        denoiser, x, float(sigmas[0]), float(sigmas[-1]), rtol=how.rtol, atol=how.atol,
        save_at=sigmas, estimate_error=False,
    )  # fmt: skip


def ends(denoiser: Spliced, x: Floats, sigmas: Floats, how: How) -> Floats:
    """(B, D) what a spliced denoiser generates: its output at the end; NaN where it fails."""
    cut = denoiser.sigma
    if how.solver is not None:
        return follow(denoiser, x, sigmas, how).denoised[-1]
    if not sigmas[-1] < cut < sigmas[0]:
        whole = denoiser.high if cut <= sigmas[-1] else denoiser.low
        return follow(whole, x, sigmas, how).denoised[-1]
    # no integrator's step should straddle the jump from one denoiser to the other
    upper = np.append(sigmas[sigmas > cut], cut)
    middle = follow(denoiser.high, x, upper, how).final
    result, good = np.full_like(x, np.nan), np.isfinite(middle).all(axis=1)
    if good.any():
        lower = np.concatenate([[cut], sigmas[sigmas < cut]])
        result[good] = follow(denoiser.low, middle[good], lower, how).denoised[-1]
    return result


def shape(path: Trajectory, scale: float) -> dict[str, Floats]:
    """Geometry of each path, (B,) each: what `analytic.geometry` defines, in few numbers."""
    parts = [_shape(path.select(rows), scale) for rows in _few(path)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _few(path: Trajectory) -> Iterator[slice]:
    count, rows, dim = path.states.shape
    step = max(1, BLOCK // (8 * count * dim))
    return (slice(k, k + step) for k in range(0, rows, step))


def _shape(path: Trajectory, scale: float) -> dict[str, Floats]:
    x, output = path.states, path.denoised
    length = geometry.chord(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        angles = geometry.cosines((x - output)[:-1], (x - x[-1])[:-1])
        found = {
            "deviation of x / chord": geometry.deviation(x).max(axis=0) / length,
            "deviation of D / its chord": geometry.deviation(output).max(axis=0)
            / geometry.chord(output),
        }
    found["variance of x off its first component"] = 1 - geometry.pca_spectrum(x)[:, 0]
    found["variance of D off its first component"] = 1 - geometry.pca_spectrum(output)[:, 0]
    found["least cosine of x - D and x - x_end"] = np.where(np.isnan(angles), np.inf, angles).min(
        axis=0
    )
    if len(x) >= 7:
        bend = geometry.curvature_torsion(x, np.log(path.sigmas)).curvature
        found["largest curvature x data scale"] = bend.max(axis=0) * scale
    return found
