"""The claim about the denoiser's derivatives.

With u the posterior weights of the data at (x; s), y_i = x_i − D, C = Σ u_i y_i y_iᵀ and
κ3 = Σ u_i y_i |y_i|²,

    ∂D/∂x = C/s²,   ∂D/∂s = (κ3 − 2C(x − D))/s³,   D' = (κ3 − C(x − D))/s³ along the flow,

and in the mean over x ~ p_s, with mmse = E tr C and H the entropy of u,

    dmmse/ds = 2E|C|²_F/s³,   dE H/ds = mmse/s³.

The pointwise formulas are tested on the outputs of the denoiser alone, in integrated form.
Along a segment v the logits change at the rates v·x_i/s², whose range is at most
|v| diam/s²; in log s at the rates |x − x_i|²/s². A softmax whose logits' rates have range
ω has no poles within π/ω of the real axis: no sum of terms all within a half-plane
vanishes. Where a segment is 1/ω long, seven Gauss nodes are then exact to 12.6⁻¹⁴.

The means are integrals over the plane (the line, for data on a line), where the trapezoid
rule with step h errs by exp(−2πd/h), d the distance of the nearest pole (Trefethen & Weideman
2014, *The exponentially convergent trapezoidal rule*, https://doi.org/10.1137/130932132).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import field
from ..denoisers import Denoiser, OptimalDenoiser, apply
from ..points import PointSet
from ..report import Evidence, Verdict
from . import _faults, _oracle
from ._base import Case, Claim, outcome

__all__ = ["CLAIMS"]

Floats = NDArray[np.float64]
Pull = Callable[[Floats], Floats]

BOUND = 1e-13
"""Of changes of D over one segment, in diameters, relative to 1 + |log p| + the rounding of x."""

DIFFERENCES = 100.0
"""What a difference quotient loses against a derivative: steps are a fiftieth of a segment."""

IDENTITIES = 1e-10
"""Of the derivatives of the two means: a difference over 0.1 % of s loses four digits."""

MATRIX = 64
"""Dimensions up to which whole Jacobians are compared."""


class Queries(NamedTuple):
    """Where the derivatives are tested, and what their errors are relative to."""

    x: Floats
    sigma: Floats
    v: Floats
    """(B, D) unit directions."""
    length: Floats
    """(B,) of a segment over which the softmax turns by one unit, at most σ."""
    span: Floats
    """(B,) the same for log σ."""
    unit: Floats
    """(B,) the diameter, times 1 + the sensitivity to rounding."""


def _queries(case: Case, rng: np.random.Generator) -> Queries:
    x, sigma = case.queries(rng, 24 if case.quick else 48)
    # a second way to look along: towards the mean, where far queries move
    v = rng.standard_normal(x.shape)
    v[::2] = (case.points.mean - x)[::2]
    norm = np.linalg.norm(v, axis=1, keepdims=True)
    v = np.where(norm > 0, v / np.where(norm > 0, norm, 1.0), np.eye(x.shape[1])[0])
    diam = case.diameter
    reach = np.linalg.norm(x - case.points.mean, axis=1) + diam
    length = np.minimum(sigma, sigma / diam * sigma)
    span = np.minimum(0.1, sigma / diam * sigma / (2 * reach))
    size = np.abs(x).max(axis=1) * np.sqrt(x.shape[1]) + case.points.radius
    # x and D are rounded to ε of their size; x counts for as much as the softmax turns
    touchy = np.finfo(float).eps * size * (1 / length + 4 / diam) / BOUND
    unit = diam * (1 + np.abs(case.log_prob(x, sigma)) + touchy)
    return Queries(x, sigma, v, length, span, unit)


def _derivatives(case: Case, claim: Claim) -> Verdict:
    at = _queries(case, case.rng(claim.id))
    parts = {
        "∂D/∂x": (at.sigma, _along_segments(case, at)),
        "∂D/∂σ": (at.sigma, _along_levels(case, at)),
        "methods": (at.sigma, _methods(case, at)),
    }
    pull = _pull(case.subject.denoiser, at.x, at.sigma, at.length)
    parts["symmetry and range of C"], ratio = _spectrum(case, at, pull)
    means = _means(case)
    if means is not None:
        parts["identities of the means"] = means
    names = np.repeat(list(parts), [errors.size for _, errors in parts.values()])
    return outcome(
        claim,
        case,
        sigma=np.concatenate([levels for levels, _ in parts.values()]),
        measured=np.concatenate([errors for _, errors in parts.values()]),
        bound=BOUND,
        meaning="error of D's change over a segment, in diameters, relative to 1 + |log p|",
        worst=lambda k: {
            "part": str(names[k]),
            **({"x": at.x[k % len(at.x)]} if k < 4 * len(at.x) else {}),
        },
        statistics={
            **{f"worst, {name}": float(errors.max()) for name, (_, errors) in parts.items()},
            "largest v·Cv over its bound (range of v·x_i)²/4": float(ratio.max()),
        },
        evidence=Evidence(
            "noise level σ",
            "largest variance found / bound (range/2)²",
            at.sigma,
            {"measured": ratio, "bound": np.ones_like(ratio)},
            bound="bound",
            points=True,
            xscale="log",
            yscale="log",
        ),
        note="The means are tested on up to 24 of the data, projected on a random plane."
        if means is not None
        else "The identities of the means need a denoiser that can be rebuilt on a projection.",
    )


def _nodes() -> tuple[list[float], list[float]]:
    nodes, weights = np.polynomial.legendre.leggauss(7)
    return (0.5 + 0.5 * nodes).tolist(), (0.5 * weights).tolist()


def _along_segments(case: Case, at: Queries) -> Floats:
    """D's change along segments, less the integral of C v/s²."""
    move = (at.x + at.length[:, None] * at.v) - at.x
    change = case.denoise(at.x + move, at.sigma) - case.denoise(at.x, at.sigma)
    for node, weight in zip(*_nodes(), strict=True):
        here, _ = _oracle.motions(case.points, at.x + node * move, at.sigma, move)
        change -= weight * here
    return np.asarray(np.linalg.norm(change, axis=1) / at.unit)


def _along_levels(case: Case, at: Queries) -> Floats:
    """D's change from σ to e^span σ, less the integral of σ ∂D/∂σ over log σ."""
    change = case.denoise(at.x, at.sigma * np.exp(at.span)) - case.denoise(at.x, at.sigma)
    for node, weight in zip(*_nodes(), strict=True):
        level = at.sigma * np.exp(node * at.span)
        _, here = _oracle.motions(case.points, at.x, level, at.v)
        change -= (weight * at.span)[:, None] * here
    return np.asarray(np.linalg.norm(change, axis=1) / at.unit)


def _methods(case: Case, at: Queries) -> Floats:
    """What the denoiser itself says of its derivatives, where it does, against the oracle."""
    known: Any = case.subject.denoiser
    along, turn = _oracle.motions(case.points, at.x, at.sigma, at.v)
    gaps = [np.zeros_like(at.x)]
    if hasattr(known, "jvp"):
        gaps.append(at.length[:, None] * (known.jvp(at.x, at.sigma, at.v) - along))
    if hasattr(known, "jacobian") and case.points.dim <= MATRIX:
        some = slice(0, 8)
        whole = np.asarray(known.jacobian(at.x[some], at.sigma[some]))
        gap = np.zeros_like(at.x)
        gap[some] = np.einsum("bij,bj->bi", whole, at.v[some]) - along[some]
        gaps.append(at.length[:, None] * gap)
    if hasattr(known, "sigma_derivative"):
        slope = known.sigma_derivative(at.x, at.sigma)
        gaps.append(at.span[:, None] * (at.sigma[:, None] * slope - turn))
    if isinstance(known, OptimalDenoiser):
        output = _oracle.kernel_mean(case.points, at.x, at.sigma)
        drag, _ = _oracle.motions(case.points, at.x, at.sigma, at.x - output)
        slope = field.denoised_derivative(known, at.x, at.sigma)
        gaps.append(at.span[:, None] * (at.sigma[:, None] * slope - turn - drag))
    return np.max([np.linalg.norm(gap, axis=1) for gap in gaps], axis=0) / at.unit


def _pull(denoiser: Denoiser, x: Floats, sigma: Floats, length: Floats) -> Pull:
    """v ↦ (∂D/∂x) v: the denoiser's own, else by six-point differences, which err by 1e-12."""
    known: Any = denoiser
    if hasattr(known, "jvp"):
        return lambda v: np.asarray(known.jvp(x, sigma, v))
    step = (length / 50)[:, None]

    def differences(v: Floats) -> Floats:
        total = np.zeros_like(v)
        for k, weight in ((1, 45.0), (2, -9.0), (3, 1.0)):
            ahead = apply(denoiser, x + k * step * v, sigma)
            total += weight * (ahead - apply(denoiser, x - k * step * v, sigma))
        return np.asarray(total / (60 * step))

    return differences


def _spectrum(case: Case, at: Queries, pull: Pull) -> tuple[tuple[Floats, Floats], Floats]:
    """Symmetry, 0 ≤ v·Cv and v·Cv ≤ (range of v·x_i)²/4, for v on its way to the top eigenvector.

    The last is Popoviciu's inequality, of which λ_max ≤ (diam/2)²/s² is a consequence.
    """
    v, w = at.v, np.roll(at.v, 1, axis=1) if case.points.dim > 1 else at.v
    gap = np.abs(np.einsum("bd,bd->b", w, pull(v)) - np.einsum("bd,bd->b", v, pull(w)))
    worst, top = gap, np.zeros(len(v))
    for _ in range(3 if case.quick else 6):
        moved = pull(v)
        found = np.einsum("bd,bd->b", v, moved)
        low, high = _oracle.ranges(case.points, v)
        limit = ((high - low) / at.sigma / 2) ** 2
        worst = np.maximum(worst, np.maximum(found - limit, -found))
        top = np.maximum(top, found / np.where(limit > 0, limit, 1.0))
        norm = np.linalg.norm(moved, axis=1, keepdims=True)
        v = np.where(norm > 0, moved / np.where(norm > 0, norm, 1.0), v)
    loss = 1.0 if hasattr(case.subject.denoiser, "jvp") else DIFFERENCES
    return (at.sigma, at.length * worst / at.unit / loss), top


def _means(case: Case) -> tuple[Floats, Floats] | None:
    """Errors of the two identities over p_σ, by the trapezoid rule; None if D cannot be rebuilt."""
    build = case.subject.build
    if build is None:
        return None
    rng = case.rng("A6 means")
    data = case.subset(rng, 24)
    width = min(data.dim, 2)
    axes = np.linalg.qr(rng.standard_normal((data.dim, width)))[0]
    flat = PointSet((data.points - data.mean) @ axes, data.weights)
    diam = flat.diameter_bounds[1]
    if not diam:
        return None
    denoiser = build(flat)
    levels = diam * np.array([0.3, 1.0] if case.quick else [0.25, 0.5, 1.0])
    errors = []
    for sigma in levels.tolist():
        mesh = _mesh(flat, diam, sigma)
        step = 1e-3
        slopes = np.zeros(2)
        for k, weight in ((1, 45.0), (2, -9.0), (3, 1.0)):
            for side in (1, -1):
                level = sigma * (1 + side * k * step)
                slopes += side * weight * _mmse_and_entropy(flat, denoiser, mesh, level)
        slopes /= 60 * step
        total = _mean_square_slope(flat, denoiser, mesh, sigma, min(sigma, sigma**2 / diam))
        mmse, _ = _mmse_and_entropy(flat, denoiser, mesh, sigma)
        # σ times either identity, in units of the diameter
        gaps = (slopes[0] - 2 * total * sigma**2) / diam**2, slopes[1] - mmse / sigma**2
        errors.append(np.max(np.abs(gaps)))
    return levels, np.array(errors) / IDENTITIES * BOUND


def _mesh(flat: PointSet, diam: float, sigma: float) -> tuple[Floats, float]:
    """Nodes of the trapezoid rule (B, D) and the area of each.

    The softmax has poles π σ²/diam off the axis: there the rule errs by e⁻⁴³, times the growth
    of p_σ up to them, at most e⁵ here; the normal density itself adds e⁻⁴⁴. Beyond 7.5σ p_σ is
    below e⁻²⁸.
    """
    step = min(0.45 * sigma**2 / diam, sigma / 1.5)
    low, high = flat.points.min(axis=0) - 7.5 * sigma, flat.points.max(axis=0) + 7.5 * sigma
    sides = [np.arange(a, b + step, step) for a, b in zip(low, high, strict=True)]
    nodes = np.stack([side.ravel() for side in np.meshgrid(*sides, indexing="ij")], axis=1)
    return np.ascontiguousarray(nodes), float(step ** len(sides))


def _mmse_and_entropy(
    flat: PointSet, denoiser: Denoiser, mesh: tuple[Floats, float], sigma: float
) -> Floats:
    """(2,) E|D − x_0|² for this denoiser, and E H for the posterior, at σ."""
    x, area = mesh
    logits = flat.log_weights - ((x[:, None, :] - flat.points) ** 2).sum(axis=2) / 2 / sigma**2
    top = logits.max(axis=1, keepdims=True)
    weights = np.exp(logits - top)
    total = weights.sum(axis=1)
    density = area * total * np.exp(top[:, 0]) / (2 * np.pi * sigma**2) ** (x.shape[1] / 2)
    weights /= total[:, None]
    entropy = np.log(total) - ((logits - top) * weights).sum(axis=1)
    mean = weights @ flat.points
    trace = weights @ (flat.points**2).sum(axis=1) - (mean**2).sum(axis=1)
    off = ((apply(denoiser, x, np.full(len(x), sigma)) - mean) ** 2).sum(axis=1)
    return np.array([density @ (off + trace), density @ entropy])


def _mean_square_slope(
    flat: PointSet, denoiser: Denoiser, mesh: tuple[Floats, float], sigma: float, length: float
) -> float:
    """E|∂D/∂x|²_F = E|C|²_F/σ⁴ for this denoiser."""
    x, area = mesh
    level = np.full(len(x), sigma)
    pull = _pull(denoiser, x, level, np.full(len(x), length))
    axes = [np.broadcast_to(axis, x.shape) for axis in np.eye(x.shape[1])]
    density = area * np.exp(_oracle.log_prob(flat, x, level))
    return float(density @ sum((pull(axis) ** 2).sum(axis=1) for axis in axes))


CLAIMS = (
    Claim(
        "A6",
        "Derivatives: covariances of the posterior",
        "theorem",
        "∂D/∂x = C/σ² is symmetric positive semi-definite with λ_max ≤ (diam/2)²/σ²; "
        "∂D/∂σ = (κ3 − 2C(x − D))/σ³, and D' = (κ3 − C(x − D))/σ³ along the flow. In the mean "
        "over x ~ p_σ, dmmse/dσ = 2E|C|²/σ³ and dE H/dσ = mmse/σ³.",
        r"\partial_x D = C/\sigma^2,\quad D' = (\kappa_3 - C(x-D))/\sigma^3,\quad"
        r" \tfrac{d}{d\sigma}\mathrm{mmse} = 2\,\mathrm E|C|_F^2/\sigma^3,\quad"
        r" \tfrac{d}{d\sigma}\mathrm E H = \mathrm{mmse}/\sigma^3",
        "Guo, Shamai & Verdú 2005, https://doi.org/10.1109/TIT.2005.844072; Payaró & Palomar 2009, "
        "https://doi.org/10.1109/TIT.2009.2023737; Popoviciu 1935",
        "every finite weighted data set, every x, σ > 0",
        "A derivative of a softmax average is a covariance under it. Tested in integrated form on "
        "D alone, directly where the denoiser gives derivatives; the means by quadrature.",
        _derivatives,
        lambda points: _faults.subject(points, _faults.SampleCovariance),
    ),
)
