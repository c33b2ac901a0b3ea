"""The flow in the coordinates of the data's affine span (theory C5).

Let μ be the mean of the data and the rows of V an orthonormal basis of the
directions in which they spread. Then D(x; σ) - μ lies in that span, and with
z = V(x - μ) and x⊥ = x - μ - Vᵀz,

    D(x; σ) = μ + Vᵀ D_z(z; σ),   dx⊥/dσ = x⊥/σ,

where D_z is the optimal denoiser of the points V(x_i - μ): the factor
exp(-|x⊥|²/2σ²) is common to all weights, and the part of a trajectory outside
the span scales as σ/σ_max, exactly. So R^D reduces to R^rank without an
approximation; what is left is rounding, ε times the size of the data, in the
coordinates of the points.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from .denoisers import OptimalDenoiser
from .points import AffineSpan, PointSet

__all__ = ["Reduced", "in_span"]

Floats = NDArray[np.float64]

FEW = 16
"""Dimensions that are not worth reducing."""


_KNOWN: WeakKeyDictionary[OptimalDenoiser, Reduced | None] = WeakKeyDictionary()
"""What was found for a denoiser: its span and its trees are made once, not once per flow."""


class Reduced(NamedTuple):
    """An optimal denoiser in the coordinates of its data's span."""

    denoiser: OptimalDenoiser
    """The denoiser of the points' coordinates, in the same order and with the same weights."""
    span: AffineSpan

    def project(self, x: Floats) -> tuple[Floats, Floats]:
        """Coordinates z (B, rank) of x (B, D), and what of x - μ lies outside the span (B, D)."""
        gap = x - self.span.origin
        z = gap @ self.span.basis.T
        rest = gap - z @ self.span.basis
        # once more for what rounding left inside the span
        more = rest @ self.span.basis.T
        return z + more, rest - more @ self.span.basis

    def lift(self, z: Floats) -> Floats:
        """The points μ + Vᵀz (..., D) of coordinates z (..., rank)."""
        return self.span.origin + z @ self.span.basis


def in_span(denoiser: OptimalDenoiser) -> Reduced | None:
    """The denoiser in its span, or None where that would not save much.

    Reduced are data of more than 16 dimensions with at most as many points as
    dimensions, or of a rank below half of the dimension.
    """
    if denoiser not in _KNOWN:
        _KNOWN[denoiser] = _reduced(denoiser)
    return _KNOWN[denoiser]


def _reduced(denoiser: OptimalDenoiser) -> Reduced | None:
    points = denoiser.points
    count, dim = points.points.shape
    if dim <= FEW or count == 1 or (count > dim and not _flat(points)):
        return None
    span = points.span
    coordinates = (points.points - span.origin) @ span.basis.T
    inner = PointSet(coordinates, points.weights, name=points.name)
    if len(inner) != count or span.rank == 0:  # rounding made two points one
        return None
    return Reduced(replace(denoiser, points=inner), span)


def _flat(points: PointSet) -> bool:
    """Whether the points may span less than half of the dimensions, judged on some of them."""
    count, dim = points.points.shape
    some = points.points[np.linspace(0, count - 1, dim // 2 + 2).astype(np.int64)]
    edges = some[1:] - some[0]
    size = np.linalg.norm(edges, axis=1)
    diagonal = np.abs(np.diagonal(np.linalg.qr(edges.T, mode="r")))
    small = dim * np.finfo(float).eps * max(float(size.max()), float(np.abs(some).max()))
    return bool((diagonal <= small).any()) and points.span.rank < dim / 2
