"""Flows to measure against: in closed form, and the exact flow of point sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .. import datasets, exact
from ..denoisers import Denoiser, GaussianDenoiser, GaussianMixtureDenoiser, OptimalDenoiser
from ..flow import integrate
from ..points import PointSet

__all__ = ["Problem", "closed", "defaults", "of_points"]

Floats = NDArray[np.float64]
Flow = Callable[[Floats, Floats], tuple[Floats, float]]
"""States (B, D) at the first of the levels (K,), decreasing, to the states (K, B, D) there and
the reference's own error."""

EPS = float(np.finfo(float).eps)


@dataclass(frozen=True, eq=False)
class Problem:
    """A denoiser with its exact flow, and where that is smooth."""

    name: str
    denoiser: Denoiser
    dim: int
    high: float
    low: float
    """Between these levels the order is measured."""
    flow: Flow
    unit: float = 1.0
    """Size of the data, a power of ten."""
    end: float | None = None
    """Where sampling would end; None for problems in closed form."""


def _stepless(
    map_: Callable[[Floats, float, float], Floats], x: Floats, levels: Floats
) -> tuple[Floats, float]:
    """A closed form from the first level to each."""
    states = np.stack([x, *(map_(x, float(levels[0]), float(s)) for s in levels[1:])])
    return states, 8 * EPS * float(np.abs(states[-1]).max())


def _integrated(denoiser: OptimalDenoiser, x: Floats, levels: Floats) -> tuple[Floats, float]:
    """The exact flow through decreasing levels, which may repeat."""
    found = integrate(
        denoiser, x, float(levels[0]), float(levels[-1]), rtol=1e-13, atol=1e-15, save_at=levels
    )
    place = len(found.sigmas) - 1 - np.searchsorted(found.sigmas[::-1], levels)
    return found.states[place], float(found.error.max())


def closed() -> tuple[Problem, ...]:
    """Gaussian data, a mixture on a line, two points."""
    turn = np.linalg.qr(np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 3.0]]))[0]
    normal = GaussianDenoiser(
        np.array([0.3, -0.2, 0.1]), turn @ np.diag([1.0, 0.25, 0.04]) @ turn.T
    )
    mixture = GaussianMixtureDenoiser(
        [0.3, 0.3, 0.4], np.array([[-1.0], [0.3], [1.1]]), np.array([0.10, 0.05, 0.08])
    )
    pair = PointSet(np.array([[-0.8, -0.6], [0.8, 0.6]]), np.array([0.3, 0.7]), name="two_points")
    return (
        Problem(
            "gaussian",
            normal,
            3,
            80.0,
            0.1,
            partial(_stepless, partial(exact.gaussian_flow, normal)),
        ),
        Problem(
            "line", mixture, 1, 80.0, 0.1, partial(_stepless, partial(exact.mixture_flow, mixture))
        ),
        Problem(
            "two_points",
            OptimalDenoiser(pair),
            2,
            80.0,
            0.5,
            partial(_stepless, partial(exact.two_point_flow, pair)),
        ),
    )


def of_points(points: PointSet) -> Problem:
    """The exact flow of a point set, smooth down to about a sixth of its diameter.

    Lower down trajectories choose among points, on scales that differ by orders of magnitude.
    """
    scale = points.scale or 1.0
    unit = 1.0 if 0.1 <= scale <= 10 else float(10.0 ** np.round(np.log10(scale)))
    low = points.diameter_bounds[1] / 6 or 0.1 * unit
    denoiser = OptimalDenoiser(points)
    return Problem(
        points.name or "points",
        denoiser,
        points.dim,
        80.0 * unit,
        low,
        partial(_integrated, denoiser),
        unit,
        0.002 * unit,
    )


def defaults() -> tuple[list[Problem], list[str]]:
    """Two moons and digits, and what could not be made here."""
    found, missing = [], []
    for name, size in (("two_moons", 30), ("digits", 100)):
        try:
            found.append(of_points(datasets.get(name, n=size, seed=0)))
        except ImportError as error:
            missing.append(f"{name}: {error}")
    return found, missing
