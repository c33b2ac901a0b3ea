"""Claims about learned denoisers r beside the optimal one, D.

The learned one is the user's model, or else `RandomFeatureDenoiser`, which is trained in closed
form, so that nothing here depends on how well an optimiser did. G4 is about the latter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import grids
from ..denoisers import apply
from ..learned import RandomFeatureDenoiser
from ..points import PointSet
from ..report import Evidence, Verdict
from ..sampling import sample
from . import _faults, _oracle, measures
from ._base import TOLERANCE, Case, Claim, Subject, outcome, untested
from ._models import told
from ._statistics import Interval, estimated, mean_limits

__all__ = ["CLAIMS"]

Floats = NDArray[np.float64]

PAIRS = 24
"""Entries of the normal equations that are tested."""


def _split(case: Case, claim: Claim) -> Verdict:
    """Pointwise, where it is exact: Σ u_i |r - x_i|² = |r - D|² + tr C."""
    x, sigma = case.queries(case.rng(claim.id))
    output, learned = case.denoise(x, sigma), apply(case.learned, x, sigma)
    whole = _oracle.squared_distance(case.points, x, sigma, learned)
    best = _oracle.squared_distance(case.points, x, sigma, output)
    deviation = ((learned - output) ** 2).sum(axis=1)
    # D is known to a relative ε(1 + |log p|), which |r - D| multiplies
    size = case.diameter + np.abs(case.points.mean).max()
    blur = size * (np.sqrt(deviation) + size) * (1 + np.abs(case.log_prob(x, sigma)))
    kept = _along(case, x, sigma)
    verdict = outcome(
        claim,
        case,
        sigma=sigma,
        measured=np.abs(whole - best - deviation) / (whole + blur),
        bound=TOLERANCE,
        meaning="|Σu|r−x_i|² − Σu|D−x_i|² − |r−D|²| / (size² (1 + |log p|))",
        worst=lambda k: {"x": x[k]},
        statistics={
            "largest share of the loss that is deviation": float(
                np.max(deviation[kept] / np.maximum(whole[kept], 1e-300), initial=0.0)
            )
        },
        note="The split of the loss is its mean over x; this is the identity it is the mean of.",
    )
    return told(case, verdict)


def _along(case: Case, x: Floats, sigma: Floats) -> NDArray[np.bool_]:
    """Queries that a forward sample might be: not far outside of the data."""
    gaps = np.linalg.norm(x - case.points.mean, axis=1)
    return gaps < case.points.mean_radius + 3 * sigma * np.sqrt(case.points.dim)


def _deviation(case: Case, claim: Claim) -> Verdict:
    """|r - D| along forward samples and along the learned sampler's own path."""
    rng, grid = case.rng(claim.id), grids.polynomial(24, case.sigma_max, case.sigma_min)
    count = 4 * case.starts
    forward = np.empty(len(grid))
    for k, s in enumerate(grid.tolist()):
        x = case.points.sample(count, rng)
        x = x + s * rng.standard_normal(x.shape)
        level = np.full(count, s)
        gap = apply(case.learned, x, level) - case.denoise(x, level)
        forward[k] = np.sqrt((gap**2).sum(axis=1).mean())
    path = sample(case.learned, case.start, grid)
    # a model that diverges generates nothing to measure distances of
    kept = np.isfinite(path.states).all(axis=(0, 2)) & np.isfinite(path.denoised).all(axis=(0, 2))
    if not kept.any():
        return told(case, untested(claim, case, "no path of the model stays finite"))
    path, starts = path.select(kept), case.start[kept]
    own = np.empty((len(grid), len(starts)))
    for k, s in enumerate(grid.tolist()):
        output = case.denoise(path.states[k], np.full(len(starts), s))
        own[k] = np.linalg.norm(path.denoised[k] - output, axis=1)
    low = np.full(len(starts), case.sigma_min)
    end, output = path.denoised[-1], case.denoise(path.states[-1], low)
    found = [_oracle.small_noise_bound(case.points, x, case.sigma_min) for x in path.states[-1]]
    nearest, room = (np.array(part) for part in zip(*found, strict=True))
    distance = np.linalg.norm(end - case.points.points[nearest], axis=1)
    size = case.points.radius + np.linalg.norm(path.states[-1], axis=1)
    excess = np.abs(own[-1] - distance) - room * (1 + 1e-9)
    verdict = outcome(
        claim,
        case,
        sigma=low,
        measured=excess / size,
        bound=TOLERANCE,
        meaning="by how much |r − D| and the distance of the end from the data differ too much",
        worst=lambda k: {"row": k, "start": starts[k], "end": end[k], "D": output[k]},
        statistics={
            "largest deviation on forward samples / data scale": float(forward.max() / _unit(case)),
            "at σ": float(grid[int(forward.argmax())]),
            "deviation at σ_min on forward samples / data scale": float(forward[-1] / _unit(case)),
            "mean deviation at σ_min on own paths / data scale": float(
                own[-1].mean() / _unit(case)
            ),
            "mean distance of the ends from the data / data scale": float(
                distance.mean() / _unit(case)
            ),
        },
        evidence=Evidence(
            "noise level σ",
            "|r − D|",
            grid,
            {
                "forward samples (rms)": np.maximum(forward, 1e-16),
                "learned paths (mean)": np.maximum(own.mean(axis=1), 1e-16),
            },
            xscale="log",
            yscale="log",
        ),
        note="Judged: at σ_min on its own path the deviation is the distance of what was generated "
        "from the nearest data point, but for |D − x_i|, bounded by A9. The rest is observed.",
    )
    return told(case, verdict)


def _unit(case: Case) -> float:
    return float(case.points.scale * np.sqrt(case.points.dim)) or 1.0


def _ball(case: Case, claim: Claim) -> Verdict:
    """Where r is no farther from D than x is, a step towards r never lowers p_σ."""
    rng = case.rng(claim.id)
    x, sigma = case.queries(rng)
    output, learned = case.denoise(x, sigma), apply(case.learned, x, sigma)
    toward = output - x
    length = np.linalg.norm(toward, axis=1, keepdims=True)
    v = rng.standard_normal(x.shape)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    # what a model may be that just meets the hypothesis
    edge = output + length * v
    levels, worst, cases = [], [], []
    met = np.linalg.norm(learned - output, axis=1) <= length[:, 0]
    for r, rows in ((learned, met), (edge, np.ones(len(x), bool))):
        for share in (0.1, 0.5, 1.0):
            worst.append(measures.fall(case.log_prob, x[rows], sigma[rows], r[rows], share))
            levels.append(sigma[rows])
            cases.append(x[rows])
    kept = _along(case, x, sigma)
    places = np.concatenate(cases)
    verdict = outcome(
        claim,
        case,
        sigma=np.concatenate(levels),
        measured=np.concatenate(worst),
        bound=TOLERANCE,
        meaning="fall of log p_σ on the way to r, relative to 1 + |log p|",
        worst=lambda k: {"x": places[k]},
        statistics={
            "share of queries where |r − D| ≤ |D − x|": float(met.mean()),
            "the same on queries near the data": float(met[kept].mean()) if kept.any() else 0.0,
        },
    )
    return told(case, verdict)


def _training(case: Case, claim: Claim) -> Verdict:
    """Loss and normal equations of the trained model, by samples."""
    rng, model = case.rng(claim.id), case.trained
    count = 512 if case.quick or case.points.dim > 16 else 2048
    lows, highs, wanted, levels, margins = [], [], [], [], []
    variance = case.points.total_variance
    # farther down losses come from rare samples, whose means no few samples tell
    clear = np.flatnonzero(model.losses >= 1e-2 * variance)
    for k in np.unique(clear[np.linspace(0, len(clear) - 1, 3).astype(int)]):
        sigma, level = float(model.sigmas[k]), model.levels[k]
        x = case.points.sample(count, rng)
        x = x + sigma * rng.standard_normal(x.shape)
        many = np.full(count, sigma)
        found = apply(model, x, many)
        # given x, the mean over x_0 is known: less noise, the same mean
        losses = _oracle.squared_distance(case.points, x, many, found)
        gaps = found - _oracle.kernel_mean(case.points, x, many)
        centred = x - model.mean
        features = np.hstack([np.cos(centred @ level.frequencies.T + level.phases), centred])
        rows = rng.integers(features.shape[1], size=PAIRS)
        columns = rng.integers(case.points.dim, size=PAIRS)
        unit = features[:, rows].std(axis=0) + np.abs(features[:, rows].mean(axis=0)) + 1e-300
        # a single point leaves no loss to speak of
        unit_loss = model.losses[k] or 1.0
        size = np.sqrt(unit_loss)
        products = gaps[:, columns] * features[:, rows] / unit / size
        numbers = np.hstack([losses[:, None] / unit_loss, products])
        low, high = mean_limits(numbers)
        lows.append(low)
        highs.append(high)
        wanted.append(np.append(model.losses[k] / unit_loss, np.zeros(PAIRS)))
        levels.append(np.full(PAIRS + 1, sigma))
        margins.append(high - low)
    target = np.concatenate(wanted)
    return estimated(
        claim,
        case,
        Interval(np.concatenate(lows), np.concatenate(highs)),
        sigma=np.concatenate(levels),
        least=target - 1e-5,
        most=target + 1e-5,
        margin=np.concatenate(margins),
        meaning="loss / its closed form, and E(r − D)φ / size",
        statistics={
            f"loss at σ = {sigma:.3g} / data variance": float(loss / max(variance, 1e-300))
            for sigma, loss in zip(model.sigmas[::3], model.losses[::3], strict=True)
        },
        evidence=Evidence(
            "noise level σ",
            "loss / variance of the data",
            model.sigmas,
            {
                "learned, in closed form": np.maximum(model.losses / (variance or 1.0), 1e-16),
                "the data's mean for all x": np.ones(len(model.sigmas)),
            },
            bound="the data's mean for all x",
            xscale="log",
            yscale="log",
        ),
        note="The ridge leaves E(r − D)φ = −ρA, below 1e-5 of the size here.",
    )


def _hasty(points: PointSet) -> Subject:
    """Training that forgets half of the noise in the features' means."""

    def learn(data: PointSet, sigmas: Any, *args: Any, **options: Any) -> RandomFeatureDenoiser:
        wrong = RandomFeatureDenoiser.fit(data, np.asarray(sigmas) / np.sqrt(2), *args, **options)
        return replace(wrong, sigmas=np.asarray(sigmas))

    return replace(_faults.subject(points), learn=learn)


_PAPER = "Chen et al. 2023, https://arxiv.org/abs/2305.19947"

CLAIMS = (
    Claim(
        "G1",
        "The denoising loss is deviation plus what nobody can know",
        "theorem",
        "On forward samples the loss of any denoiser r is its mean squared deviation from the "
        "optimal one plus the least loss there is, mmse(σ).",
        r"\mathbb{E}|r-x_0|^2 = \mathbb{E}|r-D|^2 + \mathrm{mmse}(\sigma)",
        _PAPER + ", section 5",
        "any r, any σ > 0",
        "given x, D is the mean of x_0, so the cross term vanishes.",
        _split,
        lambda points: _faults.subject(points, _faults.Bandwidth),
    ),
    Claim(
        "G2",
        "Where learned and optimal denoisers part",
        "observation",
        "On forward samples |r − D| peaks at middle noise levels and is small at small ones; on "
        "the learned sampler's own path it tends to the distance of what was generated from the "
        "data.",
        r"|r-D| \to \min_i |x_{\mathrm{end}} - x_i| \quad (\sigma \to 0)",
        _PAPER + ", section 5",
        "learned models of the data",
        "as σ → 0 the optimal denoiser is the nearest data point (A9).",
        _deviation,
        lambda points: _faults.subject(points, _faults.Drift),
    ),
    Claim(
        "G3",
        "A learned step climbs wherever the model is near enough",
        "theorem",
        "Where |r − D| ≤ |D − x|, no step from x towards r lowers p_σ. Reported is where learned "
        "models meet the condition.",
        r"|r-D| \le |D-x| \;\Rightarrow\; p_\sigma(x + \gamma (r-x)) \ge p_\sigma(x),\ "
        r"\gamma \in [0,1]",
        _PAPER + ", theorem 1",
        "any denoiser r, any σ > 0",
        "the ball of A3, which is convex and has x on its surface.",
        _ball,
        lambda points: _faults.subject(points, lambda p: _faults.Bandwidth(p, 1.5)),
    ),
    Claim(
        "G4",
        "Random features are trained exactly",
        "theorem+expectation",
        "The loss of a linear model on random cosine features over noisy data is a quadratic form "
        "with moments in closed form: its minimum and its minimiser are known.",
        r"A = H (G + \rho I)^{-1}, \quad \mathbb{E}|r-x_0|^2 = \mathbb{E}|x_0|^2 - "
        r"2\,\mathrm{tr}\,AH^\top + \mathrm{tr}\,AGA^\top",
        "Rahimi & Recht 2007 for the features; the moments are Gaussian integrals",
        "weighted data, any σ > 0",
        "the mean of cos(w·(x + σz) + b) over z is exp(−σ²|w|²/2) cos(w·x + b).",
        _training,
        _hasty,
    ),
)
