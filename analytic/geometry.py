"""Geometry of trajectories: pure functions of arrays.

States have the shape (T, B, D): T noise levels, B trajectories. The definitions
are those of Chen et al. (2023), https://arxiv.org/abs/2305.19947, section 3:

    deviation(x_n) = distance of x_n to the line through x_first and x_last,
    distance(x_n)  = |x_n - x_last|,   magnitude(x_n) = |x_n|,
    cosine(a, b)   = a·b / |a||b|.

A path with derivatives x', x'', x''' by any parameter bends with curvature and torsion

    κ = |P x''|/|x'|²,   τ = |P₂ x'''|/(|P x''| |x'|),

P and P₂ the parts orthogonal to x', and to x' and x'' (Frenet; in three dimensions τ is
the absolute value of the torsion, in more the second of D - 1 curvatures).

Sampling trajectories look alike once each is seen in its own frame (Chen et al. 2024,
*On the Trajectory Regularity of ODE-based Diffusion Sampling*,
https://arxiv.org/abs/2405.11326): along its chord, and across it along the principal
directions of what is orthogonal to the chord. `boomerang` does that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _check

__all__ = [
    "Boomerang",
    "Frame",
    "Frenet",
    "Spectrum",
    "align",
    "boomerang",
    "chord",
    "chord_frame",
    "cosines",
    "curvature_torsion",
    "deviation",
    "distances",
    "frenet",
    "magnitudes",
    "pca",
    "pca_spectrum",
    "principal",
]

Floats = NDArray[np.float64]

BLOCK = 1 << 20
"""Numbers worked on at a time."""
DENSE = 512
"""Dimension up to which a covariance is written out."""


class Spectrum(NamedTuple):
    """Principal components of each trajectory."""

    explained: Floats
    """(B, K) share of the variance along each component, largest first; NaN for a point."""
    components: Floats
    """(B, K, D) orthonormal directions."""
    centre: Floats
    """(B, D) mean state."""


class Frenet(NamedTuple):
    """How paths bend."""

    curvature: Floats
    """κ ≥ 0, in inverse units of the states; NaN where the path stands still."""
    torsion: Floats
    """τ ≥ 0, in the same units; NaN where the path is straight. 0 in the plane."""


class Frame(NamedTuple):
    """Each trajectory seen from its end, along its chord and across it."""

    coordinates: Floats
    """(T, B, 1 + K) how far from the end along the chord, then along each direction across."""
    basis: Floats
    """(B, 1 + K, D) orthonormal directions, zero for those that the path does not have."""
    residual: Floats
    """(B,) largest distance of a state from the space that they span."""


class Boomerang(NamedTuple):
    """Trajectories in their own frames, turned onto one another."""

    coordinates: Floats
    """(T, B, 3) along the chord as a share of it, then two across it, scaled by each
    trajectory's largest deviation."""
    shape: Floats
    """(T, 3) mean over the trajectories."""
    agreement: Floats
    """(B,) 1 - |path - shape|²/|path|², across the chord: 1 where all are the same, NaN for
    a straight path."""
    residual: Floats
    """(B,) largest distance from the three-dimensional space, over the largest deviation; 0
    for a straight path."""


def chord(states: Any) -> Floats:
    """(B,) distance from the first to the last state."""
    x = _states(states)
    return _norm(x[-1] - x[0])


def deviation(states: Any) -> Floats:
    """(T, B) perpendicular distance of every state to the line through the first and last state.

    Where both ends coincide it is the distance to that point.
    """
    x = _states(states)
    along = x[-1] - x[0]
    length = _norm(along)
    unit = along / np.where(length > 0, length, 1.0)[:, None]
    offset = x - x[0]
    offset = offset - (offset * unit).sum(axis=-1, keepdims=True) * unit
    # a second projection removes what rounding left along the chord
    result = _norm(offset - (offset * unit).sum(axis=-1, keepdims=True) * unit)
    result[[0, -1]] = 0.0
    return result


def distances(states: Any, target: Any = None) -> Floats:
    """(T, B) distance of every state to `target` (B, D), by default the last state."""
    x = _states(states)
    goal = x[-1] if target is None else _check.array(target, "target")
    if goal.shape != x.shape[1:]:
        _check.fail(
            "target", f"shape {goal.shape}", f"{x.shape[1:]}", "give one target per trajectory"
        )
    return _norm(x - goal)


def magnitudes(states: Any) -> Floats:
    """(T, B) |x|."""
    return _norm(_states(states))


def cosines(a: Any, b: Any) -> Floats:
    """Cosine of the angle between vectors along the last axis; NaN where one of them is zero."""
    left, right = _check.array(a, "a"), _check.array(b, "b")
    try:
        left, right = np.broadcast_arrays(left, right)
    except ValueError:
        _check.fail("b", f"shape {right.shape}", f"one that fits {left.shape}", "match the shapes")
    lengths = _norm(left) * _norm(right)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.clip((left * right).sum(axis=-1) / lengths, -1.0, 1.0))


def pca(states: Any, components: int = 3) -> Spectrum:
    """Principal component analysis of each trajectory's T states by itself.

    `components` K is at most min(T, D); variances are shares of the total.
    """
    x = _states(states)
    steps, _, dim = x.shape
    count = _check.integer(
        components, "components", low=1, high=min(steps, dim), remedy="ask for at most min(T, D)"
    )
    centre = x.mean(axis=0)
    _, values, basis = np.linalg.svd(np.moveaxis(x - centre, 0, 1), full_matrices=False)
    total = (values**2).sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        share = values**2 / total
    return Spectrum(share[:, :count], basis[:, :count], centre)


def pca_spectrum(states: Any) -> Floats:
    """(B, min(T, D)) share of each trajectory's variance along its principal components."""
    x = _states(states)
    return pca(x, min(x.shape[0], x.shape[2])).explained


def principal(points: Any, components: int, weights: Any = None) -> tuple[Floats, Floats]:
    """Leading principal directions (K, D) of points (N, D), and their shares (K,) of the variance.

    A direction's largest entry is positive. Weights (N,) sum to 1, by default all the same. Of
    large sets the directions are found by iteration (ARPACK), without a matrix of D by D.
    """
    x = _check.array(points, "points")
    if x.ndim != 2:
        _check.fail("points", f"shape {x.shape}", "(N, D)", "pass one point per row")
    rows, dim = x.shape
    mass = np.full(rows, 1 / rows) if weights is None else _check.array(weights, "weights")
    if mass.shape != (rows,):
        _check.fail("weights", f"shape {mass.shape}", f"({rows},)", "give one per point")
    count = _check.integer(components, "components", low=1, high=dim, remedy="at most D")
    mean = mass @ x
    blocks = range(0, rows, max(1, BLOCK // dim))
    total = float(
        sum(
            mass[k : k + blocks.step] @ np.square(x[k : k + blocks.step] - mean).sum(axis=1)
            for k in blocks
        )
    )
    if dim > DENSE and count < dim:
        from scipy.sparse.linalg import LinearOperator, eigsh

        def covariance(v: Any) -> Any:
            seen = x @ v.ravel() - mean @ v.ravel()
            return (mass * seen) @ x

        operator = LinearOperator((dim, dim), matvec=covariance, dtype=np.float64)
        values, vectors = eigsh(operator, k=count, v0=np.ones(dim), tol=1e-8)
    else:
        centred = (x - mean) * np.sqrt(mass)[:, None]
        values, vectors = np.linalg.eigh(centred.T @ centred)
        total = float(values.sum())
    order = np.argsort(values)[::-1][:count]
    basis = vectors[:, order].T
    largest = np.abs(basis).argmax(axis=1)
    basis = basis * np.sign(basis[np.arange(count), largest])[:, None]
    return basis, np.maximum(values[order] / total if total > 0 else np.zeros(count), 0.0)


def frenet(velocity: Any, acceleration: Any, jerk: Any) -> Frenet:
    """Curvature and torsion from x', x'', x''', each (..., D), by one and the same parameter."""
    v, a, j = (
        _check.array(value, name).astype(np.float64, copy=False)
        for value, name in ((velocity, "velocity"), (acceleration, "acceleration"), (jerk, "jerk"))
    )
    for name, value in (("acceleration", a), ("jerk", j)):
        if value.shape != v.shape:
            _check.fail(
                name, f"shape {value.shape}", f"velocity's {v.shape}", "give all three alike"
            )
    speed = _norm(v)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        along = v / speed[..., None]
        across = _without(a, along)
        bend = _norm(across)
        twist = _norm(_without(_without(j, along), across / bend[..., None]))
        # in the plane nothing is left to twist; rounding is not a torsion
        twist = twist if v.shape[-1] > 2 else np.where(bend > 0, 0.0, np.nan)
        return Frenet(np.asarray(bend / speed / speed), np.asarray(twist / bend / speed))


def curvature_torsion(
    states: Any, parameter: Any = None, *, window: int = 7, degree: int = 4
) -> Frenet:
    """(T, B) curvature and torsion of sampled paths, by local polynomials.

    Each state's derivatives are those of the polynomial of the given degree that fits the
    `window` states nearest to it (in order, fewer on one side at the ends) in the sense of
    least squares. Paths that turn within a window are smoothed; `frenet` with exact
    derivatives (`analytic.field.path_derivatives`) is what to compare with.

    Parameters
    ----------
    states : (T, B, D) or (T, D), T ≥ window.
    parameter : (T,) strictly monotone, log σ say; by default the length along each path,
        which needs neighbours to differ.
    window : number of states, more than `degree`.
    degree : 3 at least; window - 1 interpolates.
    """
    x = _states(states)
    order = _check.integer(degree, "degree", low=3, high=10)
    width = _check.integer(
        window, "window", low=order + 1, high=len(x), remedy="at least degree + 1, at most T"
    )
    place = _parameter(x, parameter)
    first = np.clip(np.arange(len(x)) - width // 2, 0, len(x) - width)
    rows = first[:, None] + np.arange(width)
    # (T, B, window): the parameter about each state, in units of the window
    near = np.moveaxis(place[rows] - place[:, None], 1, 2)
    unit = np.abs(near).max(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        powers = (near / unit[..., None])[..., None] ** np.arange(order + 1)
    good = np.isfinite(powers).all(axis=(2, 3))
    fit = np.zeros((*good.shape, order + 1, width))
    fit[good] = np.linalg.pinv(powers[good])
    values = np.moveaxis(x[rows] - x[:, None], 1, 2)
    # by the parameter in units of the window: curvature and torsion do not depend on it
    slopes = fit[:, :, 1:4] @ values * np.array([1.0, 2.0, 6.0])[:, None]
    return frenet(slopes[:, :, 0], slopes[:, :, 1], slopes[:, :, 2])


def chord_frame(states: Any, components: int = 2) -> Frame:
    """Each trajectory along its chord and its top K principal directions orthogonal to it.

    Directions point to where the path goes farthest; those beyond the D - 1 that there are,
    or that the path does not use, are zero.
    """
    x = _states(states)
    steps, count, dim = x.shape
    extra = _check.integer(components, "components", low=0)
    offset = np.moveaxis(x - x[-1], 0, 1)
    length = _norm(offset[:, 0])
    unit = offset[:, 0] / np.where(length > 0, length, 1.0)[:, None]
    across = _without(_without(offset, unit[:, None]), unit[:, None])
    basis = np.zeros((count, 1 + extra, dim))
    basis[:, 0] = unit
    some = min(extra, dim - 1, steps)
    if some:
        _, values, directions = np.linalg.svd(across, full_matrices=False)
        # what rounding left of the chord is no direction of the path
        used = values[:, :some] > 1e-14 * np.maximum(length, _norm(x).max(axis=0))[:, None]
        basis[:, 1 : 1 + some] = np.where(used[..., None], directions[:, :some], 0.0)
    seen = offset @ np.swapaxes(basis, 1, 2)
    rest = across - (across @ np.swapaxes(basis[:, 1:], 1, 2)) @ basis[:, 1:]
    peak = np.take_along_axis(seen, np.abs(seen).argmax(axis=1)[:, None], axis=1)
    sign = np.where(peak < 0, -1.0, 1.0)
    return Frame(
        np.moveaxis(seen * sign, 0, 1), basis * np.swapaxes(sign, 1, 2), _norm(rest).max(axis=1)
    )


def align(paths: Any, reference: Any = None) -> Floats:
    """(T, B, K) paths, each rotated about the origin to fit a reference as well as it can.

    The rotation is a proper one, without reflection: the orthogonal Procrustes problem
    (Kabsch 1976, https://doi.org/10.1107/S0567739476001873).

    Parameters
    ----------
    paths : (T, B, K) or (T, K).
    reference : (T, K), by default the first path.
    """
    x = _states(paths, "paths")
    goal = x[:, 0] if reference is None else _check.array(reference, "reference")
    if goal.shape != (x.shape[0], x.shape[2]):
        _check.fail(
            "reference",
            f"shape {goal.shape}",
            f"({x.shape[0]}, {x.shape[2]})",
            "give one path of the same length",
        )
    left, _, right = np.linalg.svd(np.einsum("tbk,tl->bkl", x, goal))
    flip = np.linalg.det(left) * np.linalg.det(right) < 0
    left[flip, :, -1] *= -1
    return np.asarray(np.einsum("tbk,bkl->tbl", x, left @ right))


def boomerang(states: Any) -> Boomerang:
    """What trajectories have in common: each in its own frame, scaled, turned onto the rest.

    The frame is `chord_frame` with two directions across; the turn is about the chord.
    """
    frame = chord_frame(states, 2)
    length = np.abs(frame.coordinates[0, :, 0])
    across = frame.coordinates[:, :, 1:]
    largest = _norm(across).max(axis=0)
    # what rounding leaves of a straight path has no shape
    bent = largest > 1e-13 * np.abs(frame.coordinates).max(axis=(0, 2))
    across = np.where(bent[:, None], across / np.where(bent, largest, 1.0)[:, None], 0.0)
    # twice: onto the first, then onto the mean of the result
    turned = align(across)
    turned = align(turned, turned.mean(axis=1))
    along = frame.coordinates[:, :, 0] / np.where(length > 0, length, 1.0)
    whole = np.concatenate([along[..., None], turned], axis=2)
    shape = whole.mean(axis=1)
    off = ((turned - shape[:, None, 1:]) ** 2).sum(axis=(0, 2))
    size = (turned**2).sum(axis=(0, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        agreement = np.where(bent, 1 - off / size, np.nan)
        residual = np.where(bent, frame.residual / largest, 0.0)
    return Boomerang(whole, shape, agreement, residual)


def _parameter(x: Floats, parameter: Any) -> Floats:
    """(T, B) where each state is along its path."""
    if parameter is None:
        steps = _norm(np.diff(x, axis=0))
        return np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(steps, axis=0)])
    given = _check.array(parameter, "parameter").astype(np.float64)
    if given.shape != (len(x),) or not ((np.diff(given) > 0).all() or (np.diff(given) < 0).all()):
        _check.fail(
            "parameter",
            f"shape {given.shape}" if given.shape != (len(x),) else "values out of order",
            f"({len(x)},) strictly monotone",
            "pass Trajectory.sigmas or their logarithm",
        )
    return np.repeat(given[:, None], x.shape[1], axis=1)


def _without(vectors: Floats, unit: Floats) -> Floats:
    """The part of vectors (..., D) orthogonal to unit vectors."""
    return np.asarray(vectors - (vectors * unit).sum(axis=-1, keepdims=True) * unit)


def _states(value: Any, argument: str = "states") -> Floats:
    x = _check.array(value, argument).astype(np.float64, copy=False)
    if x.ndim == 2:
        x = x[:, None, :]
    if x.ndim != 3 or x.shape[0] < 2:
        _check.fail(
            argument,
            f"shape {x.shape}",
            "(T, B, D) or (T, D) with T ≥ 2",
            "pass Trajectory.states or Trajectory.denoised",
        )
    return x


def _norm(x: Floats) -> Floats:
    return np.asarray(np.sqrt(np.einsum("...d,...d->...", x, x)))
