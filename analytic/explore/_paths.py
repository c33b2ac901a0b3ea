"""The exact paths that an interactive page shows: starts on a grid in a plane through the mean.

A plane of the data space is x = μ + a e_1 + b e_2, with μ the mean and e_1, e_2 orthonormal: the
coordinate axes where D = 2, the two leading principal directions where D > 2. A start is
x_T = μ + σ_max (z_1 e_1 + z_2 e_2), so z is standard normal where the start is noise, and its
path is that of the flow in all D dimensions; only what is drawn of it is projected back.

The certificate of a path is the first of the page's levels at which the trap certificate
(theory D1) tells the data point it ends at; below it the certificate stays true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check, grids
from .._progress import bar
from ..collapse import certificate
from ..denoisers import OptimalDenoiser
from ..flow import integrate
from ..points import PointSet
from ..trajectory import Result, Trajectory

__all__ = ["Ends", "Found", "Layout", "Paths", "Plane", "find", "plane_of"]

Floats = NDArray[np.float64]

CHUNK = 256
"""Starts between two moves of the progress bar."""


class Plane(NamedTuple):
    """A plane through the mean."""

    origin: Floats
    """(D,) the mean μ."""
    axes: Floats
    """(2, D) e_1 and e_2."""
    share: Floats
    """(2,) share of the variance along each."""

    def lift(self, coordinates: Floats) -> Floats:
        """(..., D) points of the plane with these coordinates (..., 2)."""
        return np.asarray(self.origin + coordinates @ self.axes)

    def project(self, x: Floats) -> Floats:
        """(..., 2) coordinates of the points of the plane nearest to x (..., D)."""
        return np.asarray((x - self.origin) @ self.axes.T)


class Layout(NamedTuple):
    """Where starts are and at which levels paths are kept."""

    knots: Floats
    """(G,) values of z_1 and of z_2: starts are their G² pairs, z_1 running fastest."""
    stride: int
    """Whole paths are kept for every `stride`-th knot; of the others only the end."""
    sigmas: Floats
    """(T,) levels, decreasing to 0."""

    @property
    def inner(self) -> Floats:
        """(g,) knots of whole paths."""
        return self.knots[:: self.stride]

    def starts(self, knots: Floats) -> Floats:
        """(g², 2) z of the pairs of these knots."""
        second, first = np.meshgrid(knots, knots, indexing="ij")
        return np.stack([first.ravel(), second.ravel()], axis=1)


class Ends(NamedTuple):
    """Where K starts go."""

    point: NDArray[np.int64]
    """(K,) data point; the nearest one at the end where not certified."""
    certified: NDArray[np.bool_]
    """(K,) whether a certificate proves it."""


@dataclass(frozen=True, eq=False)
class Paths:
    """K whole paths at T levels, as the page shows them."""

    states: Floats
    """(T, K, 2) x, projected, from the mean."""
    denoised: Floats
    """(T, K, 2) D, projected, from the mean."""
    ends: Ends
    sealed: Floats
    """(K,) level from which on the end is certified, one of the page's where one will do;
    0 where none is."""
    error: float
    """Largest estimated global error, in data units; NaN where none was estimated."""
    distance: Floats
    """(T, K) |x - x_0| in D dimensions."""
    denoised_distance: Floats
    """(T, K) |D - x_0|."""
    log_prob: Floats
    """(T, K) log p_σ(x) in nats; NaN at σ = 0."""
    effective: Floats
    """(T, K) effective number of points e^H(u)."""
    nearest: NDArray[np.int64]
    """(T, K) data point nearest to x."""


@dataclass(frozen=True, eq=False)
class Found:
    """All that the page is made from."""

    data: PointSet
    plane: Plane
    layout: Layout
    ends: Ends
    """Of all G² starts."""
    paths: Paths
    """Of the starts on every `stride`-th knot."""


def plane_of(data: PointSet) -> Plane:
    """The plane itself where D = 2, else that of the two leading principal directions.

    The sign of a direction is that which makes its largest coordinate positive.
    """
    if data.dim == 2:
        return Plane(data.mean, np.eye(2), _share(np.diag(data.covariance), data.total_variance))
    gaps = data.points - data.mean
    rows = gaps * np.sqrt(data.weights)[:, None]
    if len(data) < data.dim:
        # right singular vectors from the smaller Gram matrix would lose half the digits
        _, values, basis = np.linalg.svd(rows, full_matrices=len(data) < 2)
        spread = np.append(values**2, 0.0)[:2]
    else:
        spread, basis = np.linalg.eigh(data.covariance)
        spread, basis = spread[::-1][:2], basis[:, ::-1].T
    axes = basis[:2]
    large = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[[0, 1], large])[:, None]
    return Plane(data.mean, np.ascontiguousarray(axes), _share(spread, data.total_variance))


def find(
    data: PointSet,
    sigma_max: float,
    sigma_min: float,
    *,
    levels: int,
    grid: int,
    stride: int,
    span: float,
    progress: bool,
) -> Found:
    """Integrate the paths of all starts; arguments are checked already."""
    denoiser, plane = OptimalDenoiser(data), plane_of(data)
    sigmas = np.append(grids.log_snr(levels - 1, sigma_max, sigma_min), 0.0)
    layout = Layout(np.linspace(-span, span, grid), stride, sigmas)
    whole = layout.starts(layout.inner)
    rest = layout.starts(layout.knots) if stride > 1 else whole[:0]
    with bar(len(whole) + len(rest), "exact paths", progress) as advance:
        parts = []
        for k in range(0, len(whole), CHUNK):
            parts.append(_paths(denoiser, plane, sigmas, whole[k : k + CHUNK]))
            advance(len(whole[k : k + CHUNK]))
        paths = _joined(parts)
        found = [paths.ends] if stride == 1 else []
        for k in range(0, len(rest), CHUNK):
            start = plane.lift(sigma_max * rest[k : k + CHUNK])
            path = integrate(denoiser, start, sigma_max, save_at=(), estimate_error=False)
            found.append(_ends(path))
            advance(len(start))
    ends = Ends(*(np.concatenate(each) for each in zip(*found, strict=True)))
    return Found(data, plane, layout, ends, paths)


def _paths(denoiser: OptimalDenoiser, plane: Plane, sigmas: Floats, z: Floats) -> Paths:
    """The whole paths of some starts z (K, 2)."""
    start = plane.lift(sigmas[0] * z)
    path = integrate(denoiser, start, sigmas[0], save_at=sigmas, estimate_error=denoiser.dim == 2)
    ends, goal = _ends(path), path.final
    shape = path.states.shape[:2]
    log_prob, effective = np.full(shape, np.nan), np.ones(shape)
    nearest = np.empty(shape, dtype=np.int64)
    for k, sigma in enumerate(sigmas):
        x = path.states[k]
        nearest[k] = denoiser.evaluate(x, np.zeros(len(x))).nearest
        if sigma > 0:
            here = denoiser.posterior(x, sigma)
            log_prob[k], effective[k] = here.log_prob, here.effective_points
    return Paths(
        plane.project(path.states),
        plane.project(path.denoised),
        ends,
        _sealed(denoiser, path, ends),
        float(np.max(path.error)),
        np.linalg.norm(path.states - goal, axis=2),
        np.linalg.norm(path.denoised - goal, axis=2),
        log_prob,
        effective,
        nearest,
    )


def _joined(parts: list[Paths]) -> Paths:
    """Paths of several batches as one."""

    def along(name: str) -> Floats:
        return np.concatenate([getattr(part, name) for part in parts], axis=1)

    return Paths(
        along("states"),
        along("denoised"),
        Ends(*(np.concatenate(each) for each in zip(*(p.ends for p in parts), strict=True))),
        np.concatenate([part.sealed for part in parts]),
        max(part.error for part in parts),
        along("distance"),
        along("denoised_distance"),
        along("log_prob"),
        along("effective"),
        np.concatenate([part.nearest for part in parts], axis=1),
    )


def _ends(path: Trajectory) -> Ends:
    """The ends of paths down to σ = 0, which must all have got there."""
    assert path.collapse is not None
    if not np.isin(path.result, (Result.DONE, Result.UNDECIDED)).all():
        _check.fail(
            "points",
            f"data whose flow breaks off ({path.explain()})",
            "paths that reach σ = 0",
            "lower sigma_max, or rescale the data",
        )
    return Ends(path.collapse.index, path.collapse.certified)


def _sealed(denoiser: OptimalDenoiser, path: Trajectory, ends: Ends) -> Floats:
    """(K,) the first level of the path at which its end is certified; 0 where it never is."""
    assert path.collapse is not None
    # between the last positive level and 0, what the integrator found
    sealed = np.where(ends.certified, path.collapse.sigma, 0.0)
    sealed = np.minimum(sealed, path.sigmas[-2])
    rows = np.flatnonzero(ends.certified)
    for k, sigma in enumerate(path.sigmas[:-1]):
        if not rows.size:
            break
        found = certificate(denoiser, path.states[k, rows], sigma, ends.point[rows]).certified
        sealed[rows[found]] = sigma
        rows = rows[~found]
    return sealed


def _share(spread: Floats, total: float) -> Floats:
    return np.asarray(spread / total if total > 0 else np.zeros(2))
