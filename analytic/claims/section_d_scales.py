"""Claims about the scales of collapse: one mode above half the diameter, and the entropy below."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..collapse import entropy_bound, speciation
from ..denoisers import GaussianMixtureDenoiser, OptimalDenoiser
from ..meanshift import mean_shift
from ..points import PointSet
from ..report import Evidence, Verdict
from . import _faults, _oracle
from ._base import Case, Claim, outcome
from ._statistics import decided, draws, mean_limits

__all__ = ["CLAIMS"]

Floats = NDArray[np.float64]

MARGIN = 0.15
"""How far the interval of a mean may reach beyond its bound, in nats or shares of tr Σ."""

BESIDE = 0.02
"""How far on either side of the threshold the equal-norm sets are tried."""

_DYNAMICAL = "Biroli et al. 2024, https://arxiv.org/abs/2402.18491"


def _one_mode(case: Case, claim: Claim) -> Verdict:
    rng = case.rng(claim.id)
    x, sigma = case.queries(rng)
    other = x + sigma[:, None] * 10.0 ** rng.uniform(-3, 1, (len(x), 1)) * rng.standard_normal(
        x.shape
    )
    gap = np.linalg.norm(other - x, axis=1)
    with np.errstate(invalid="ignore"):
        moved = np.linalg.norm(case.denoise(other, sigma) - case.denoise(x, sigma), axis=1)
    half = 0.5 * case.diameter
    # D is known to rounding of the data's size, and no two outputs are farther than diam
    blur = 1e-13 * (case.diameter + np.abs(case.points.mean).max() + np.abs(x).max(axis=1))
    contraction = moved / (np.minimum((half / sigma) ** 2 * gap, 2 * half) + blur)
    spread = np.array([_spread_of_ends(case, rng, factor * half) for factor in (1.1, 1.5, 3.0)])
    peaks = np.array(_equal_norms(case, rng))
    pairs = np.array(_two_clusters())
    ratio = _ratio(np.array([[-3.0], [0.0], [3.0]]))
    low, high = _search(rng, 4 if case.quick else 10)
    # refuted by the three points, whose ratio is known; what a search finds is reported
    folklore = np.array([abs(ratio - 0.593) / 0.01])
    parts = {
        "contraction of D": contraction,
        "one end of mean shift": spread / 1e-4,
        "threshold of equal norms": peaks,
        "two Gaussian clusters": pairs,
        "folklore": folklore,
    }
    measured = np.concatenate(list(parts.values()))
    owner = np.repeat(np.arange(len(parts)), [part.size for part in parts.values()])
    names = list(parts)
    levels = np.concatenate(
        [sigma, half * np.array([1.1, 1.5, 3.0]), np.full(measured.size - sigma.size - 3, half)]
    )
    order = np.argsort(sigma)
    return outcome(
        claim,
        case,
        sigma=levels,
        measured=measured,
        bound=1.0 + 1e-9,
        meaning="|ΔD| over min((diam/2σ)²|Δx|, diam); spread of the ends over 1e-4 σ; growth "
        "where it must shrink",
        worst=lambda k: {
            "problem": names[owner[k]],
            **({"x": x[k], "other": other[k]} if k < len(x) else {}),
        },
        statistics={
            "largest |ΔD| over its bound": float(contraction.max()),
            "threshold/√λ_1 for data −3, 0, 3": ratio,
            "smallest threshold/√λ_1 of random sets on a line": low,
            "largest threshold/√λ_1 of random sets on a line": high,
        },
        evidence=Evidence(
            "noise level σ",
            "|ΔD|/|Δx|",
            sigma[order],
            {
                "measured": np.maximum((moved / np.where(gap > 0, gap, np.inf))[order], 1e-18),
                "bound": ((half / sigma) ** 2)[order],
            },
            bound="bound",
            points=True,
            xscale="log",
            yscale="log",
        ),
        note="Refuted: speciation at √λ_1 of any data, by −3, 0, 3; random sets are a statistic.",
    )


def _spread_of_ends(case: Case, rng: np.random.Generator, sigma: float) -> float:
    """Largest distance between mean shift's ends above half the diameter, in units of σ."""
    count = 8 if case.quick else 16
    starts = case.points.sample(count, rng)
    starts = starts + sigma * rng.standard_normal(starts.shape)
    # D contracts by (1/1.1)² at least: a move of 1e-6 σ is 6e-6 σ from the end
    ends = mean_shift(case.subject.denoiser, starts, sigma, tol=1e-6, max_steps=400).points
    return float(np.linalg.norm(ends - ends[0], axis=1).max() / sigma)


def _equal_norms(case: Case, rng: np.random.Generator) -> list[float]:
    """Growth of a small step off μ, below and above √λ_1, for points ±v of equal length."""
    build = case.subject.build
    if build is None:
        return []
    found = []
    for _ in range(2 if case.quick else 4):
        v = rng.standard_normal((int(rng.integers(2, 6)), case.points.dim))
        v *= (case.points.scale or 1.0) / np.linalg.norm(v, axis=1, keepdims=True)
        weights = np.tile(rng.uniform(0.2, 1.0, len(v)), 2)
        data = PointSet(np.concatenate([v, -v]), weights)
        values, vectors = np.linalg.eigh(data.covariance)
        denoiser, top = build(data), vectors[:, -1]
        for side in (-1, 1):
            sigma = float(np.sqrt(values[-1])) * (1 + side * BESIDE)
            step = 1e-3 * sigma
            along = float(np.asarray(denoiser((step * top)[None], np.array([sigma])))[0] @ top)
            # above the threshold the step shrinks, below it grows
            growth = along / step
            found.append(growth if side > 0 else 1 / max(growth, 1e-9))
    return found


def _two_clusters() -> list[float]:
    """The same for Gaussian clusters ±a of width w, whose threshold is √(a² - w²)."""
    found = []
    for width, side in product((0.1, 0.5, 0.9), (-1, 1)):
        pair = GaussianMixtureDenoiser(None, np.array([[-1.0], [1.0]]), np.full(2, width**2))
        sigma = np.sqrt(1 - width**2) * (1 + side * BESIDE)
        slope = float(np.asarray(pair.jacobian(np.zeros((1, 1)), sigma))[0, 0, 0])
        found.append(slope if side > 0 else 1 / slope)
    return found


def _ratio(points: Floats) -> float:
    """Level at which the second mode goes, over √λ_1."""
    data = PointSet(points)
    return speciation(data, rtol=1e-3) / float(np.sqrt(data.spectrum[0]))


def _search(rng: np.random.Generator, count: int) -> tuple[float, float]:
    """Range of that ratio over random points on a line."""
    found = [_ratio(rng.uniform(-1, 1, (int(rng.integers(3, 7)), 1))) for _ in range(count)]
    return min(found), max(found)


def _entropy(case: Case, claim: Claim) -> Verdict:
    """The bound on the entropy, and its derivative: mmse is at most that of linear estimates."""
    rng = case.rng(claim.id)
    points = case.points
    reach = points.diameter_bounds[1] or case.diameter
    levels = np.geomspace(
        max(case.sigma_min, 3e-4 * reach), max(min(case.sigma_max, reach), case.sigma_min), 12
    )
    count = draws(case, 200 if case.quick else 300)
    clean = points.sample(count, rng)
    z = rng.standard_normal(clean.shape)
    values, axes = np.linalg.eigh(points.covariance)
    values = np.maximum(values, 0.0)
    energy = float(values.sum()) or case.diameter**2
    bounds = entropy_bound(points, levels)
    plain, steady, losses = [], [], []
    for s in levels:
        x = clean + s * z
        output = case.denoise(x, np.full(count, s))
        linear = points.mean + ((x - points.mean) @ axes) * (values / (values + s**2)) @ axes.T
        # |x_0 - D|² - |x_0 - linear|², as a product of differences
        losses.append(((linear - output) * (2 * clean - output - linear)).sum(axis=1) / energy)
        entropy, companion = _posterior_entropy(case, x, s, values, axes)
        plain.append(entropy.mean())
        steady.append(entropy - _regression(entropy, companion) * companion)
    means = mean_limits(np.array([*(bounds[:, None] - np.array(steady)), *losses]).T)
    entropy = np.array(plain)
    verdict = outcome(
        claim,
        case,
        sigma=np.concatenate([levels, levels]),
        measured=means.high,
        bound=MARGIN,
        meaning="upper limit of: bound − E H(u), in nats; mmse − linear mmse, in shares of tr Σ",
        statistics={
            "smallest slack of the entropy bound": float(-means.middle[: len(levels)].max()),
            "largest mmse − linear mmse, in shares of tr Σ": float(
                means.middle[len(levels) :].max()
            ),
            **_perplexities(levels, entropy),
        },
        evidence=Evidence(
            "noise level σ",
            "entropy of the posterior, nats",
            levels,
            {"E H(u)": entropy, "bound": np.maximum(bounds, 0.0)},
            bound="bound",
            xscale="log",
        ),
        note=f"Simultaneous intervals, and a margin of {MARGIN:g}.",
    )
    return decided(verdict, means, np.zeros(0))


def _posterior_entropy(
    case: Case, x: Floats, sigma: float, values: Floats, axes: Floats
) -> tuple[Floats, Floats]:
    """H(u), by the subject where it tells, and a companion whose mean is 0.

    The companion is the information density of a Gaussian channel with the eigenvalues and
    axes of Σ, averaged over the posterior: it varies as H(u) does at large σ.
    """
    subject: Any = case.subject.denoiser
    points = case.points
    if hasattr(subject, "posterior"):
        found = subject.posterior(x, sigma)
        entropy, mean, trace = found.entropy, found.mean, found.trace_cov
    else:
        level = np.full(len(x), sigma)
        entropy = _oracle.entropy(points, x, level)
        mean, trace = _oracle.kernel_mean(points, x, level), _oracle.trace(points, x, level)
    white = (x - points.mean) @ axes / np.sqrt(values + sigma**2)
    inner = (np.square(x - mean).sum(axis=1) + trace) / sigma**2
    return entropy, 0.5 * (np.square(white).sum(axis=1) - inner)


def _regression(values: Floats, companion: Floats) -> float:
    """The multiple of a companion that takes most variance from values."""
    about = companion - companion.mean()
    size = float(about @ about)
    return float(about @ values) / size if size > 0 else 0.0


def _perplexities(levels: Floats, entropy: Floats) -> dict[str, float]:
    """Levels at which e^H passes 10, 2 and 1.1, by interpolation; NaN outside the range."""
    rising = np.maximum.accumulate(entropy)
    found = {}
    for target in (10.0, 2.0, 1.1):
        wanted = np.log(target)
        inside = rising[0] < wanted < rising[-1]
        level = np.exp(np.interp(wanted, rising, np.log(levels))) if inside else np.nan
        found[f"σ at which e^(E H) is {target:g}"] = float(level)
    return found


CLAIMS = (
    Claim(
        "D2",
        "Speciation: one mode above half the diameter",
        "theorem+folklore",
        "|D(x) − D(y)| ≤ (diam/2σ)²|x − y|: for σ ≥ diam/2 p_σ is log-concave and has one mode. "
        "For data ±v of equal length 0 is a maximum iff σ > √λ_1; two Gaussian clusters ±a of "
        "width w part at √(a² − w²). False: speciation at √λ_1 of any data.",
        r"\sigma \ge \mathrm{diam}/2 \Rightarrow \nabla^2\log p_\sigma \preceq 0;\quad "
        r"\sigma_*^2 = a^2 - w^2",
        _DYNAMICAL + "; bound derived here",
        "optimal denoiser; equal norms: data of the problem's own",
        "∂D/∂x = C/σ², and no variance on an interval of length diam exceeds diam²/4.",
        _one_mode,
        lambda points: _faults.subject(
            points, lambda p: _faults.Overrelaxed(OptimalDenoiser(p), factor=1.05)
        ),
    ),
    Claim(
        "D3",
        "How many data points a noisy sample may come from",
        "theorem+expectation",
        "E H(u) ≥ H(π) − ½Σ log(1 + λ_k/σ²) for x ~ p_σ, log N for H(π) with equal weights; and, "
        "its derivative, mmse ≤ Σ λ_kσ²/(λ_k + σ²).",
        r"\mathbb{E}H(u) \ge H(\pi) - \tfrac12\sum_k\log(1+\lambda_k/\sigma^2)",
        "capacity of the Gaussian channel, Cover & Thomas, chapter 9; " + _DYNAMICAL,
        "optimal denoiser, forward samples, σ up to the diameter",
        "H(π) − E H(u) is the information of x about x_0, at most that of a Gaussian of the same "
        "covariance.",
        _entropy,
        lambda points: _faults.subject(points, _faults.thinned),
    ),
)
