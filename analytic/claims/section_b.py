"""Claims about the norms of noise, and of data with noise.

|z| for z ~ N(0, I_D) follows the chi law with D degrees of freedom: what is exact about
it is evaluated with incomplete gamma functions, and the noise that is drawn is compared.

The mean norm m(x) = E|x + sz| is found in two ways that share nothing. With y = |x|²/2s²,
Kummer's transformation turns the closed form into a Poisson average,

    m = s√2 Γ((D+1)/2)/Γ(D/2) ₁F₁(−½; D/2; −y) = s√2 Σ_k e^{−y} y^k/k! Γ(k+(D+1)/2)/Γ(k+D/2);

and from √a = (1/2√π) ∫_0^∞ (1 − e^{−au}) u^{−3/2} du with L(u) = E e^{−u|x+sz|²},

    m − |x| = (1/2√π) ∫_0^∞ (e^{−u|x|²} − L(u)) u^{−3/2} du,
    L(u) = (1 + 2us²)^{−D/2} exp(−u|x|²/(1 + 2us²)),

which the trapezoid rule in log u, step ¼, integrates to e^{−4π²}.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..report import Evidence, Verdict
from . import _faults
from ._base import Case, Claim
from ._statistics import Interval, distance_limits, estimated, mean_limits, share_limits

__all__ = ["CLAIMS", "mean_chi", "norm_gain", "poisson_mean_norm"]

Floats = NDArray[np.float64]

DIMENSIONS = (1, 2, 8, 64, 512, 3072)
"""Where exact statements are evaluated, beside the data's own dimension."""


def _half_step(n: Floats) -> Floats:
    """Γ(n + ½)/Γ(n) to 1e-13: beyond n = 100 by its asymptotic series."""
    from scipy.special import gammaln

    small = np.minimum(n, 100.0)
    t = 1 / np.maximum(n, 100.0)
    series = 1 + t * (-1 / 8 + t * (1 / 128 + t * (5 / 1024 - t * 21 / 32768)))
    near = np.exp(gammaln(small + 0.5) - gammaln(small))
    return np.asarray(np.where(n <= 100, near, np.sqrt(n) * series))


def mean_chi(dim: int) -> float:
    """E|z| = √2 Γ((D+1)/2)/Γ(D/2)."""
    return float(np.sqrt(2) * _half_step(np.array(dim / 2)))


def poisson_mean_norm(dim: int, size: float) -> float:
    """E|x + z| for |x| = size ≤ 1000, by the Poisson average."""
    from scipy.special import gammaln

    y = 0.5 * size**2
    reach = 12 * np.sqrt(y) + 60
    k = np.arange(max(0.0, np.floor(y - reach)), y + reach)
    logs = k * np.log(y) - gammaln(k + 1) if y > 0 else np.where(k == 0, 0.0, -np.inf)
    weights = np.exp(logs - logs.max())
    return float(np.sqrt(2) * (weights @ _half_step(k + dim / 2)) / weights.sum())


def norm_gain(dim: int, size: float) -> float:
    """E|x + z| − |x| for |x| = size, by quadrature."""
    square = size**2
    v = np.arange(-80 - np.log(1 + square + dim), 80, 0.25)
    u = np.exp(v)
    own, other = -u * square, -0.5 * dim * np.log1p(2 * u) - u * square / (1 + 2 * u)
    rise = 2 * u * u * square / (1 + 2 * u) - 0.5 * dim * np.log1p(2 * u)
    # e^own − e^other, from the larger of the two
    gap = np.sign(rise) * np.exp(np.maximum(own, other)) * np.expm1(-np.abs(rise))
    return float(0.25 * np.sum(np.exp(-0.5 * v) * gap) / (2 * np.sqrt(np.pi)))


def _joined(parts: list[tuple[str, Interval, float, float, float]]) -> dict[str, Floats]:
    """Named parts (interval, least, most, margin) as arrays for `estimated`."""
    columns = zip(*((found.low, found.high, *rest) for _, found, *rest in parts), strict=True)
    return dict(
        zip(("low", "high", "least", "most", "margin"), map(np.array, columns), strict=True)
    )


def _mean_square(case: Case, claim: Claim) -> Verdict:
    rng, dim = case.rng(claim.id), case.points.dim
    levels = np.geomspace(case.sigma_min, case.sigma_max, 6)
    second = case.points.total_variance + float(case.points.mean @ case.points.mean)
    intervals, means = [], []
    for sigma in levels.tolist():
        n = case.noise(rng, dim, sigma)
        x = case.points.sample(len(n), rng)
        # |x + n|² − |x|², without subtracting squares
        found = (((2 * x + n) * n).sum(axis=1) - dim * sigma**2) / (second + dim * sigma**2)
        intervals.append(mean_limits(found))
        means.append(float(found.mean()))
    low, high = (np.array(limits) for limits in zip(*intervals, strict=True))
    return estimated(
        claim,
        case,
        Interval(low, high),
        sigma=levels,
        least=0.0,
        most=0.0,
        margin=0.06,
        meaning="E|x_σ|² / (E|x_0|² + Dσ²) − 1 = 0",
        statistics={"largest mean": float(np.abs(means).max())},
        evidence=Evidence(
            "noise level σ",
            "E|x_σ|² / (E|x_0|² + Dσ²) − 1",
            levels,
            {"mean": np.array(means), "lower limit": low, "upper limit": high},
            xscale="log",
        ),
        note="The data's share E|x_0|² is exact: only the noise is sampled. Margin 0.06.",
    )


def _tails(case: Case, claim: Claim) -> Verdict:
    from scipy.special import gammainc, gammaincc

    parts: list[tuple[str, Interval, float, float, float]] = []

    def exactly(name: str, value: float, most: float, least: float = -np.inf) -> None:
        parts.append((name, Interval(np.array(value), np.array(value)), least, most, 0.0))

    own = case.points.dim
    far = np.linspace(0.25, 6, 24)
    for dim in dict.fromkeys((*DIMENSIONS, own)):
        half, root = dim / 2, np.sqrt(dim)
        above = gammaincc(half, (root + far) ** 2 / 2) * np.exp(far**2 / 2)
        below = gammainc(half, np.maximum(root - far, 0) ** 2 / 2) * np.exp(far**2)
        more = gammaincc(half, half + np.sqrt(dim * far) + far) * np.exp(far)
        less = gammainc(half, np.maximum(half - np.sqrt(dim * far), 0)) * np.exp(far)
        for name, ratios in (("above", above), ("below", below), ("more", more), ("less", less)):
            exactly(f"{name}, D = {dim}", float(ratios.max()), 1.0)
        mean = mean_chi(dim)
        exactly(f"mean, D = {dim}", mean / root, 1.0, np.sqrt(1 - 0.5 / dim))
        exactly(f"variance, D = {dim}", dim - mean**2, 0.5 + 1e-12 * dim)
    rng = case.rng(claim.id)
    r = np.sort(np.linalg.norm(case.noise(rng, own), axis=1))
    count, middle, sphere = len(r), mean_chi(own), float(np.sqrt(own))
    law = distance_limits(gammainc(own / 2, r**2 / 2))
    room = float(law.high - law.low) / 2
    parts.append(("law of |z|", law, -np.inf, 0.0, 2 * room))
    parts.append(("drawn mean", mean_limits(r / sphere), float(np.sqrt(1 - 0.5 / own)), 1.0, 0.03))
    parts.append(("drawn variance", mean_limits((r - middle) ** 2), -np.inf, 0.5, 0.25))
    shares = {}
    for t in (0.5, 1.0, 1.5):
        hits = {
            f"P(|z| ≥ √D + {t})": (r >= sphere + t, np.exp(-(t**2) / 2)),
            f"P(|z| ≤ √D − {t})": (r <= sphere - t, np.exp(-(t**2))),
            f"P(|z|² ≥ D + 2√({t}D) + {2 * t})": (
                r**2 >= own + 2 * np.sqrt(own * t) + 2 * t,
                np.exp(-t),
            ),
        }
        for name, (hit, most) in hits.items():
            shares[name] = float(hit.mean())
            parts.append((name, share_limits(hit.sum(), count), -np.inf, float(most), 0.0))
    table = _joined(parts)
    heights = np.linspace(0, 3, 25)
    return estimated(
        claim,
        case,
        Interval(table.pop("low"), table.pop("high")),
        sigma=np.ones(len(parts)),
        **table,
        meaning="probabilities over their bounds ≤ 1, moments, distance of the drawn law ≤ 0",
        worst=lambda k: {"part": parts[k][0]},
        statistics={
            "drawn vectors": float(count),
            "distance of the drawn |z| from the chi law": float(law.high) - room,
            "distance that chance explains": room,
            **shares,
        },
        evidence=Evidence(
            "t",
            "P(|z| ≥ √D + t)",
            heights,
            {
                "drawn": np.asarray(1 - np.searchsorted(r, sphere + heights) / count),
                "chi law": gammaincc(own / 2, (sphere + heights) ** 2 / 2),
                "bound": np.exp(-(heights**2) / 2),
            },
            bound="bound",
            yscale="log",
        ),
        note="The bounds for the exact chi law in seven dimensions; the drawn noise against that "
        "law, and against the bounds, in the data's.",
    )


def _mean_norm(case: Case, claim: Claim) -> Verdict:
    rng, own = case.rng(claim.id), case.points.dim
    sizes = np.concatenate([[0.0], np.logspace(-2, 2, 17)])
    parts: list[tuple[str, Interval, float, float, float]] = []
    gains = {}
    for dim in dict.fromkeys((*DIMENSIONS, own)):
        gain = gains[dim] = np.array([norm_gain(dim, size) for size in sizes.tolist()])
        closed = np.array([poisson_mean_norm(dim, size) for size in sizes.tolist()])
        error = np.abs((sizes + gain) / closed - 1)
        ceiling = dim / (np.sqrt(sizes**2 + dim) + sizes)
        for name, value, most in (
            ("closed form", error.max(), 1e-11),
            # in one dimension the gain falls below rounding
            ("gain above 0", (-gain / (1 + sizes)).max(), 1e-13),
            ("gain below its bound", (gain / ceiling).max(), 1 + 1e-13),
        ):
            exact = np.array(float(value))
            parts.append((f"{name}, D = {dim}", Interval(exact, exact), -np.inf, most, 0.0))
    levels = np.ones(len(parts))
    for share in (0.0, 0.5, 1.0, 4.0):
        sigma = float(case.levels(rng, 1)[0])
        n = case.noise(rng, own, sigma)
        size = share * np.sqrt(own)
        x = np.zeros(own)
        x[:] = rng.standard_normal(own)
        x *= size * sigma / np.linalg.norm(x)
        ratio = np.linalg.norm(x + n, axis=1) / sigma / poisson_mean_norm(own, size) - 1
        parts.append((f"drawn, |x| = {share}σ√D", mean_limits(ratio), 0.0, 0.0, 0.03))
        levels = np.append(levels, sigma)
    table = _joined(parts)
    shown = slice(1, None)
    return estimated(
        claim,
        case,
        Interval(table.pop("low"), table.pop("high")),
        sigma=levels,
        **table,
        meaning="closed form / quadrature − 1, the gain over its bound − 1, drawn means",
        worst=lambda k: {"part": parts[k][0]},
        statistics={
            f"{name}: {side}": float(getattr(found, side))
            for name, found, *_ in parts
            if name.startswith("drawn")
            for side in ("low", "high")
        },
        evidence=Evidence(
            "|x| / σ",
            "(E|x + σz| − |x|) / σ",
            sizes[shown],
            {
                "exact": gains[own][shown],
                "bound": own / (np.sqrt(sizes[shown] ** 2 + own) + sizes[shown]),
            },
            bound="bound",
            xscale="log",
            yscale="log",
        ),
        note="Drawn means within 3 %. The sign of the gain is tested on the exact values.",
    )


CLAIMS = (
    Claim(
        "B1",
        "Mean squared norm of noisy data",
        "expectation",
        "E|x_σ|² = E|x_0|² + Dσ², with no need to centre the data.",
        r"\mathrm E|x_\sigma|^2 = \mathrm E|x_0|^2 + D\sigma^2",
        "immediate: noise and data are uncorrelated",
        "the noise as it is drawn, on the data; six levels",
        "Expand the square. Some 130,000 normal numbers a level (65,000 if quick), at least "
        "1,024 vectors.",
        _mean_square,
        _faults.with_noise(_faults.loud_noise),
    ),
    Claim(
        "B2",
        "Noise lives near a sphere: tails and moments of |z|",
        "theorem+expectation",
        "P(|z| ≥ √D + t) ≤ e^{−t²/2}, P(|z| ≤ √D − t) ≤ e^{−t²}; P(|z|² ≥ D + 2√(Dt) + 2t) and "
        "P(|z|² ≤ D − 2√(Dt)) ≤ e^{−t}; √(D − ½) ≤ E|z| ≤ √D; Var|z| ≤ ½. The noise drawn here "
        "follows the chi law.",
        r"P(|z|\ge\sqrt D+t)\le e^{-t^2/2},\quad P(|z|\le\sqrt D-t)\le e^{-t^2},\quad"
        r" \sqrt{D-\tfrac12}\le\mathrm E|z|\le\sqrt D,\quad \mathrm{Var}|z|\le\tfrac12",
        "Laurent & Massart 2000, https://doi.org/10.1214/aos/1015957395, lemma 1",
        "z ~ N(0, I_D): the exact law, and the noise as it is drawn",
        "|z| is 1-Lipschitz; its density is log-concave, twice as strongly below √D.",
        _tails,
        _faults.with_noise(_faults.round_noise),
    ),
    Claim(
        "B3",
        "Mean norm of a point with noise",
        "theorem+expectation",
        "E|x + σz| = σ√2 Γ((D+1)/2)/Γ(D/2) ₁F₁(−½; D/2; −|x|²/2σ²), and 0 < E|x + σz| − |x| ≤ "
        "√(|x|² + Dσ²) − |x|: noise makes norms grow.",
        r"0 < \mathrm E|x+\sigma z| - |x| \le \sqrt{|x|^2+D\sigma^2}-|x|",
        "noncentral chi law; Jensen",
        "every x, σ > 0; |x|/σ from 0 to 100",
        "The norm is convex, its square root concave. Two independent evaluations, and the noise "
        "as it is drawn.",
        _mean_norm,
        _faults.with_noise(_faults.loud_noise),
    ),
)
