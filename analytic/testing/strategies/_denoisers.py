"""Strategies for denoisers in closed form, and for ones with a known mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from ...claims import _faults
from ...denoisers import (
    Denoiser,
    GaussianDenoiser,
    GaussianMixtureDenoiser,
    LowRankGaussianDenoiser,
    OptimalDenoiser,
    SmoothedDenoiser,
)
from ...points import PointSet, as_points
from ._bounds import Bound, pick
from ._mistakes import Expanded, SharedMaximum
from ._points import Points, coordinates, point_sets, size

__all__ = ["DENOISERS", "FAULTS", "Faulty", "denoisers", "faulty_denoisers"]


class Faulty(NamedTuple):
    """A denoiser with a known mistake."""

    name: str
    """Of the mistake, one of `FAULTS`."""
    denoiser: Denoiser
    points: PointSet
    """The data it is meant to be the optimal denoiser of."""


def _gaussian(draw: st.DrawFn, points: PointSet) -> Denoiser:
    return GaussianDenoiser(points.mean, points.covariance)


def _low_rank(draw: st.DrawFn, points: PointSet) -> Denoiser:
    basis = draw(coordinates((points.dim, draw(st.integers(1, max(1, points.dim // 2))))))
    variances = np.full(basis.shape[1], size(points) ** 2)
    return LowRankGaussianDenoiser(
        points.mean, basis, variances, draw(st.integers(0, 4)) / 4 * size(points) ** 2
    )


def _mixture(draw: st.DrawFn, points: PointSet) -> Denoiser:
    shares = draw(st.lists(st.integers(1, 8), min_size=len(points), max_size=len(points)))
    widths = np.array(shares) / 8 * size(points)
    return GaussianMixtureDenoiser(points.weights, points.points, widths**2)


def _smoothed(draw: st.DrawFn, points: PointSet) -> Denoiser:
    width = draw(st.integers(0, 8)) / 8 * size(points)
    return SmoothedDenoiser(points, width, directions=8, seed=draw(st.integers(0, 3)))


_MAKE: Mapping[str, Callable[[st.DrawFn, PointSet], Denoiser]] = MappingProxyType(
    {
        "optimal": lambda draw, points: OptimalDenoiser(points),
        "gaussian": _gaussian,
        "low_rank": _low_rank,
        "mixture": _mixture,
        "smoothed": _smoothed,
    }
)

DENOISERS = tuple(_MAKE)
"""The optimal denoiser of the points; of a Gaussian with their mean and covariance, or with
their mean and a few directions of its own; of a mixture of isotropic Gaussians around them;
and the optimal one averaged over shifts of the query."""

_SPOIL: Mapping[str, Callable[[PointSet], Denoiser]] = MappingProxyType(
    {
        "bandwidth": _faults.Bandwidth,
        "minibatch": _faults.Minibatch,
        "overrelaxed": lambda points: _faults.Overrelaxed(OptimalDenoiser(points)),
        "drift": _faults.Drift,
        "floored": lambda points: _faults.Floored(points, 1e-3 * size(points)),
        "leaking": _faults.Leaking,
        "leaning": _faults.Leaning,
        "thinned": _faults.thinned,
        "sample_covariance": _faults.SampleCovariance,
        "shared_maximum": SharedMaximum,
        "expanded": Expanded,
    }
)

FAULTS = tuple(_SPOIL)
"""σ off by 1/1000; the means of two halves of the data averaged; steps of 1.01; a pull to the
mean; a floor under σ; a millionth of x let through; half of σ left in the first coordinate;
every other point left out; covariances over N - 1 (in `jvp` alone); one maximum for a whole
batch; squared distances by expansion in float32."""


def denoisers(
    *,
    points: Points | None = None,
    kinds: str | tuple[str, ...] | st.SearchStrategy[Any] = DENOISERS,
) -> st.SearchStrategy[Denoiser]:
    """Denoisers in closed form; all know `dim`.

    Parameters
    ----------
    points : the data, a `PointSet`, an array or a strategy of them; default `point_sets()`.
    kinds : one or more of `DENOISERS`.

    Raises
    ------
    ValueError, TypeError
        at the call for bad points or unknown kinds, else when an example is drawn.

    They shrink to the first of the kinds, of one point at 0.

    >>> denoisers(kinds=("optimal", "gaussian"))  # doctest: +SKIP
    OptimalDenoiser(PointSet('single', N=1, D=1))
    """
    given = point_sets() if points is None else points
    return _denoisers(Bound(given, "points", as_points), Bound(kinds, "kinds", pick(DENOISERS)))


@st.composite
def _denoisers(draw: st.DrawFn, data: Bound[PointSet], kinds: Bound[tuple[str, ...]]) -> Denoiser:
    kind = draw(st.sampled_from(kinds.draw(draw)))
    return _MAKE[kind](draw, data.draw(draw))


def faulty_denoisers(
    *,
    points: Points | None = None,
    kinds: str | tuple[str, ...] | st.SearchStrategy[Any] = FAULTS,
) -> st.SearchStrategy[Faulty]:
    """Denoisers that claim to be optimal and are not: an assertion should catch them.

    Not every mistake shows everywhere: some need a small σ, a distant query or a derivative.

    Parameters
    ----------
    points : the data, a `PointSet`, an array or a strategy of them; default: two points or
        more, since of one point most mistakes are none.
    kinds : one or more of `FAULTS`.

    Raises
    ------
    ValueError, TypeError
        at the call for bad points or unknown kinds, else when an example is drawn.

    >>> faulty_denoisers(kinds="drift")  # doctest: +SKIP
    Faulty(name='drift', denoiser=Drift(...), points=PointSet('cloud', N=2, D=1))
    """
    given = point_sets(min_points=2) if points is None else points
    return _faulty(Bound(given, "points", as_points), Bound(kinds, "kinds", pick(FAULTS)))


@st.composite
def _faulty(draw: st.DrawFn, data: Bound[PointSet], kinds: Bound[tuple[str, ...]]) -> Faulty:
    name = draw(st.sampled_from(kinds.draw(draw)))
    found = data.draw(draw)
    return Faulty(name, _SPOIL[name](found), found)
