"""Claims about the denoiser: Tweedie, mean shift, likelihood, hull, equivariance.

Symbols: D = D(x; s) the denoising output, p_s the data convolved with N(0, s²I),
diam, R and R_μ the data's diameter and radii.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import field
from ..denoisers import OptimalDenoiser
from ..points import PointSet
from ..report import Evidence, Verdict
from . import _faults, _oracle, measures
from ._base import TOLERANCE, Case, Claim, outcome, untested
from ._statistics import Interval, estimated, mean_limits

__all__ = ["CLAIMS"]

Floats = NDArray[np.float64]

GEOMETRIC = "Chen et al. 2023, A Geometric Perspective on Diffusion Models, arXiv:2305.19947"


def _at(x: Floats) -> Callable[[int], Mapping[str, Any]]:
    return lambda k: {"x": x[k]}


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.einsum("bd,bd->b", a, b))


def _directions(rng: np.random.Generator, like: Floats) -> Floats:
    v = rng.standard_normal(like.shape)
    return np.asarray(v / np.linalg.norm(v, axis=1, keepdims=True))


def _rounding(x: Floats, sigma: Floats) -> Floats:
    """ε|x|/σ: what rounding x itself does to a log-density whose score is of order 1/σ."""
    size = np.abs(x).max(axis=1) * np.sqrt(x.shape[1])
    return np.asarray(np.finfo(float).eps * size / sigma)


def _tweedie(case: Case, claim: Claim) -> Verdict:
    rng = case.rng(claim.id)
    x, sigma = case.queries(rng)
    # on this length the softmax turns by a few units: twelve nodes are exact to rounding
    length = np.minimum(sigma, 2 * sigma**2 / case.diameter)
    end = x + length[:, None] * _directions(rng, x)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    total = np.zeros(len(x))
    for node, weight in zip(nodes, weights, strict=True):
        at = x + (0.5 + 0.5 * node) * (end - x)
        score = (case.denoise(at, sigma) - at) / sigma[:, None] / sigma[:, None]
        total += 0.5 * weight * _dot(score, end - x)
    before, after = case.log_prob(x, sigma), case.log_prob(end, sigma)
    error = np.abs(after - before - total) / (1 + np.abs(before) + _rounding(x, sigma) / TOLERANCE)
    return outcome(
        claim,
        case,
        sigma=sigma,
        measured=error,
        bound=TOLERANCE,
        meaning="|Δ log p − ∫ (D−x)·dx/σ²| / (1 + |log p|)",
        worst=lambda k: {"x": x[k], "end": end[k]},
    )


def _mean_shift(case: Case, claim: Claim) -> Verdict:
    x, sigma = case.queries(case.rng(claim.id))
    before = case.log_prob(x, sigma)
    output = case.denoise(x, sigma)
    worst = measures.off_kernel_mean(case.points, x, sigma, output)
    for _ in range(4):
        after = case.log_prob(output, sigma)
        gain = after - before - ((output - x) ** 2).sum(axis=1) / (2 * sigma**2)
        worst = np.maximum(worst, -gain / (1 + np.abs(before)))
        x, before, output = output, after, case.denoise(output, sigma)
    start, _ = case.queries(case.rng(claim.id))
    return outcome(
        claim,
        case,
        sigma=sigma,
        measured=worst,
        bound=TOLERANCE,
        meaning="distance to the kernel mean, or shortfall of the ascent, relative to 1 + |log p|",
        worst=_at(start),
    )


def _master_lemma(case: Case, claim: Claim) -> Verdict:
    rng = case.rng(claim.id)
    x, sigma = case.queries(rng)
    output = case.denoise(x, sigma)
    base = case.log_prob(x, sigma)
    toward = output - x
    size = np.linalg.norm(toward, axis=1, keepdims=True)
    v = _directions(rng, x)
    scale = 10.0 ** rng.uniform(-4, 0.5, (len(x), 1))
    shift = sigma[:, None] * scale * v
    moves = {
        "any direction": shift,
        "inside the ball": toward + rng.uniform(0, 1, (len(x), 1)) * size * v,
        "over-relaxation": rng.uniform(0, 2, (len(x), 1)) * toward,
        "small steps": 1e-3 * shift,
    }
    low = np.full(len(x), -np.inf)
    high = np.full(len(x), -np.inf)
    ascent = np.full(len(x), -np.inf)
    for name, move in moves.items():
        y = x + move
        move = y - x
        gain = case.log_prob(y, sigma) - base
        # |x−D|² − |y−D|² as a product of differences, which keeps its small values exact
        core = _dot(move, (output - x) + (output - y)) / sigma / sigma / 2
        least, most = _oracle.ranges(case.points, move)
        room = ((most - least) / sigma / sigma) ** 2 / 8
        # D is known to ε|x|, which counts for as much as the step is long
        rounding = _rounding(x, sigma) * np.linalg.norm(move, axis=1) / sigma
        allowed = 1 + np.abs(base) + np.abs(core) + rounding / TOLERANCE
        low = np.maximum(low, (core - gain) / allowed)
        high = np.maximum(high, (gain - core - room) / allowed)
        if name in ("inside the ball", "over-relaxation"):
            ascent = np.maximum(ascent, -gain / allowed)
    return outcome(
        claim,
        case,
        sigma=sigma,
        measured=np.maximum(np.maximum(low, high), ascent),
        bound=TOLERANCE,
        meaning="violation of either inequality, relative to 1 + |log p|",
        worst=_at(x),
        statistics={
            "largest violation of the lower bound": float(low.max()),
            "largest violation of the upper bound": float(high.max()),
            "largest descent inside the ball": float(ascent.max()),
        },
    )


def _likelihood(case: Case, claim: Claim) -> Verdict:
    """The folklore's counterexample, then the statement in the mean that is true."""
    pair = PointSet(np.array([[1.0], [-1.0]]), name="two points")
    exact = OptimalDenoiser(pair)
    at, level = np.array([[0.01]]), 0.5
    slope = -(1 - field.trace_covariance(exact, at, level)[0] / level**2) / level
    rng = case.rng(claim.id)
    levels = np.geomspace(case.sigma_min, case.sigma_max, 9)
    # in many dimensions the rate per dimension is an average already
    count = 256 if case.points.dim > 16 else 512 if case.quick else 1024
    rates = np.empty((count, len(levels)))
    for k, sigma in enumerate(levels):
        x = case.points.sample(count, rng)
        x = x + sigma * rng.standard_normal(x.shape)
        rates[:, k] = _rate_of_log_prob(case, x, np.full(count, sigma)) * sigma / case.points.dim
    low, high = mean_limits(rates)
    return estimated(
        claim,
        case,
        # the folklore's counterexample is one more number that must not be positive
        Interval(np.append(low, -slope), np.append(high, -slope)),
        sigma=np.append(levels, level),
        most=0.0,
        meaning="mean of σ d log p_σ/dσ per dimension, x ~ p_σ, at most 0",
        statistics={
            "slope of log p at the counterexample (data ±1, x = 0.01, σ = 0.5)": float(slope),
            "largest share of samples whose log p falls as σ falls": float(
                (rates > 0).mean(axis=0).max()
            ),
        },
        evidence=Evidence(
            "noise level σ",
            "σ d log p/dσ per dimension",
            levels,
            {
                "mean": rates.mean(axis=0),
                "upper confidence limit": high,
                "bound": np.zeros(len(levels)),
            },
            bound="bound",
            xscale="log",
        ),
        note="The unconditional statement is refuted by its stored counterexample; its mean holds.",
    )


def _rate_of_log_prob(case: Case, x: Floats, sigma: Floats) -> Floats:
    """d log p_σ(x(σ))/dσ along the flow of the denoiser under test.

    ∂_σ log p + ∇log p·(x − r)/σ with the exact ∂_σ log p = −D/σ + E_u|x−x_i|²/σ³.
    """
    exact = OptimalDenoiser(case.points)
    post = exact.posterior(x, sigma)
    toward = np.asarray(post.mean) - x
    spread = np.asarray(post.trace_cov) + (toward**2).sum(axis=1)
    moved = x - case.denoise(x, sigma)
    return -case.points.dim / sigma + (spread + _dot(toward, moved)) / sigma**3


def _hull(case: Case, claim: Claim) -> Verdict:
    rng = case.rng(claim.id)
    x, sigma = case.queries(rng)
    output = case.denoise(x, sigma)
    worst = np.linalg.norm(output, axis=1) - case.points.radius
    scale = case.points.radius or 1.0
    directions = (_directions(rng, x), _directions(rng, x), output - x, output - case.points.mean)
    worst = np.maximum(worst, measures.outside(case.points, output, directions))
    return outcome(
        claim,
        case,
        sigma=sigma,
        measured=worst / scale,
        bound=1e-13 * np.sqrt(case.points.dim),
        meaning="distance outside the hull's half-spaces, relative to R",
        worst=_at(x),
        evidence=Evidence(
            "noise level σ",
            "distance outside the hull / R",
            sigma,
            {"measured": worst / scale, "bound": np.zeros_like(sigma)},
            bound="bound",
            points=True,
            xscale="log",
        ),
    )


def _equivariance(case: Case, claim: Claim) -> Verdict:
    build = case.subject.build
    if build is None:
        return untested(claim, case, "this denoiser cannot be rebuilt on transformed data")
    rng = case.rng(claim.id)
    data = case.subset(rng, 2000)
    x, sigma = case.queries(rng, 96 if case.quick else 192)
    apart, touchy = measures.equivariance(build, data, x, sigma, rng)
    measured = np.max(list(apart.values()), axis=0) / touchy
    return outcome(
        claim,
        case,
        sigma=sigma,
        measured=measured,
        bound=1e-14 * np.sqrt(case.points.dim) * 8,
        meaning="|D(Tx; TX) − T D(x; X)| / diam, relative to 1 + the logits' sensitivity",
        worst=lambda k: {"x": x[k], "transform": max(apart, key=lambda name: apart[name][k])},
        statistics={f"worst, {name}, in diameters": float(v.max()) for name, v in apart.items()},
    )


CLAIMS = (
    Claim(
        "A1",
        "Tweedie's formula",
        "theorem",
        "The denoiser is the score: D(x; σ) = x + σ² ∇log p_σ(x), for any weights and σ > 0.",
        r"D(x;\sigma) = x + \sigma^2 \nabla \log p_\sigma(x)",
        f"Robbins 1956; Efron 2011; {GEOMETRIC}, eq. 4",
        "every finite weighted data set, every x, σ > 0",
        "Differentiate log Σ π_i N(x; x_i, σ²I). Tested in integrated form: along a segment the "
        "score must add up to the difference of log-densities.",
        _tweedie,
        lambda points: _faults.subject(points, _faults.Bandwidth),
    ),
    Claim(
        "A2",
        "The denoiser is one step of Gaussian mean shift",
        "theorem",
        "D(x; σ) − x is the Gaussian mean-shift vector of bandwidth σ, and a step raises log p_σ "
        "by at least |D − x|²/2σ².",
        r"\log p_\sigma(D) - \log p_\sigma(x) \ge |D-x|^2 / 2\sigma^2",
        f"Fukunaga & Hostetler 1975; Cheng 1995; {GEOMETRIC}, section 5",
        "every finite weighted data set, every x, σ > 0",
        "Jensen's inequality for the log of the kernel sum at D.",
        _mean_shift,
        lambda points: _faults.subject(points, _faults.Minibatch),
    ),
    Claim(
        "A3",
        "Likelihood ball (master lemma)",
        "theorem",
        "For all x, y at one σ: (|x−D|²−|y−D|²)/2σ² ≤ log p_σ(y) − log p_σ(x) ≤ the same + ρ²/8σ⁴, "
        "ρ the range of (y−x)·x_i. So p_σ does not fall inside the ball |y−D| ≤ |x−D|, nor for "
        "x+γ(D−x) with γ in [0, 2].",
        r"\tfrac{|x-D|^2-|y-D|^2}{2\sigma^2} \le \log\tfrac{p_\sigma(y)}{p_\sigma(x)}"
        r" \le \tfrac{|x-D|^2-|y-D|^2}{2\sigma^2} + \tfrac{\rho^2}{8\sigma^4}",
        f"contains {GEOMETRIC}, theorem 1",
        "every finite weighted data set, every x, y, σ > 0",
        "log p(y)/p(x) is the log-moment of exp((y−x)·x_i/σ²) under u: Jensen below, Hoeffding's "
        "lemma above.",
        _master_lemma,
        lambda points: _faults.subject(points, _faults.Drift),
    ),
    Claim(
        "A4",
        "Likelihood rises along the flow: not always, but in the mean",
        "folklore+expectation",
        "“log p rises along every trajectory as σ falls” is false (data ±1, x = 0.01, σ = 0.5). "
        "In the mean over x ~ p_σ it is true: dE log p_σ/dσ = −(D − mmse/σ²)/σ < 0.",
        r"\tfrac{d}{d\sigma}\log p_\sigma(x(\sigma)) = -(D - \mathrm{tr}\,C/\sigma^2)/\sigma",
        f"against a reading of {GEOMETRIC}, section 4",
        "samples of p_σ; the counterexample is stored",
        "mmse ≤ D σ² because x itself is an estimate of x_0. Nine levels, 1,024 samples each; "
        "512 if quick, 256 beyond 16 dimensions.",
        _likelihood,
        lambda points: _faults.subject(
            points, lambda p: _faults.Overrelaxed(OptimalDenoiser(p), factor=-1.0)
        ),
    ),
    Claim(
        "A5",
        "Denoising outputs stay in the convex hull",
        "theorem",
        "v·D(x; σ) ≤ max_i v·x_i for every direction v, and |D| ≤ R.",
        r"D(x;\sigma) \in \mathrm{conv}\{x_i\}",
        GEOMETRIC,
        "every finite weighted data set, every x, σ > 0",
        "D is a weighted average of the data.",
        _hull,
        lambda points: _faults.subject(
            points, lambda p: _faults.Overrelaxed(OptimalDenoiser(p), factor=0.99)
        ),
    ),
    Claim(
        "A7",
        "Equivariance",
        "theorem",
        "The denoiser commutes with translations, rotations, permutations and changes of scale of "
        "the data, and duplicates count as weights.",
        r"D(cQx+b;\,c\sigma,\,cQX+b) = c\,Q\,D(x;\sigma,X)+b",
        "immediate from the closed form",
        "denoisers that can be rebuilt on transformed data",
        "The weights depend on |x − x_i|/σ alone.",
        _equivariance,
        lambda points: _faults.subject(points, _faults.Floored),
    ),
)
