"""Probability flows in closed form (theory C4).

* Data on a line, p_0 = Σ π_i δ(x_i): the flow keeps quantiles, F_σ(x(σ)) is
  constant, F_σ(x) = Σ π_i Φ((x - x_i)/σ). So x(σ) = F_σ⁻¹(F_{σ0}(x_0)) and
  ∂x(σ)/∂x_0 = p_{σ0}(x_0)/p_σ(x(σ)).
* Gaussian data N(μ, Σ): each eigendirection of Σ, eigenvalue l, shrinks by
  √((l + σ²)/(l + σ0²)).

Tails: where F is above ½ its complement is used, and everything is done with
logarithms, so that quantiles far out keep full relative precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check
from .denoisers import GaussianDenoiser
from .points import PointSet, as_points

__all__ = ["gaussian_flow", "quantile_flow", "quantile_gain"]

Floats = NDArray[np.float64]


def gaussian_flow(data: GaussianDenoiser, x: Any, sigma: float, sigma_to: float) -> Floats:
    """The exact flow of Gaussian data from level σ > 0 to any level, for x (B, D) or (D,)."""
    batch, shape, _ = _check.queries(x, data.dim)
    start = _check.number(sigma, "sigma", low=0.0, high=_check.SIGMA_LIMIT, open_low=True)
    end = _check.number(sigma_to, "sigma_to", low=0.0, high=_check.SIGMA_LIMIT)
    values, vectors = data.eigen
    values = np.maximum(values, 0.0)
    # hypot keeps the ratio finite where the squares would not be
    factor = np.hypot(np.sqrt(values), end) / np.hypot(np.sqrt(values), start)
    inner = ((batch - data.mean) @ vectors) * factor
    return np.asarray(data.mean + inner @ vectors.T).reshape(shape)


def quantile_flow(points: PointSet | Any, x: Any, sigma: float, sigma_to: float) -> Floats:
    """The exact flow of data on a line, by the quantile map.

    Parameters
    ----------
    points : `PointSet` with D = 1, or an (N, 1) array.
    x : (B, 1) or (1,) states at level `sigma`.
    sigma, sigma_to : levels σ > 0; σ_to ≥ 0, where 0 gives the data point
        whose interval of quantiles holds F_σ(x).

    Returns
    -------
    states at `sigma_to`, shaped like x. Found by bisection to the last bit of
    the log-quantile: the error is about ε|log F|/p times the local slope, so it
    grows only where p_{σ_to} is small (near a separatrix). Where F_σ(x) is within
    rounding of a sum of weights, as between points that are many σ apart, the
    quantile no longer tells on which side of the separatrix x lies.
    """
    data, batch, start, end, shape = _line(points, x, sigma, sigma_to)
    order = np.argsort(data.points[:, 0])
    nodes, weights = data.points[order, 0], data.log_weights[order]
    state = batch[:, 0]
    lower, upper = _log_tails(nodes, weights, state, start)
    if end == 0.0:
        return nodes[_generalised_inverse(weights, lower, upper)].reshape(shape)
    use_lower = lower <= upper
    target = np.where(use_lower, lower, upper)
    # the flow is monotone, and a step of the quantile map moves no farther than this
    reach = np.abs(state[:, None] - nodes[[0, -1]]).max(axis=1) * max(1.0, end / start) + end
    low, high = nodes[0] - reach, nodes[-1] + reach
    for _ in range(1100):
        middle = 0.5 * (low + high)
        if not ((low < middle) & (middle < high)).any():
            break
        below, above = _log_tails(nodes, weights, middle, end)
        left = np.where(use_lower, below < target, above > target)
        low, high = np.where(left, middle, low), np.where(left, high, middle)
    return np.asarray(0.5 * (low + high)).reshape(shape)


def quantile_gain(points: PointSet | Any, x: Any, sigma: float, y: Any, sigma_to: float) -> Floats:
    """(B,) ∂x(σ_to)/∂x(σ) = p_σ(x)/p_{σ_to}(y), for y the state that x flows to."""
    data, batch, start, end, shape = _line(points, x, sigma, sigma_to)
    target, _, _ = _check.queries(y, 1, "y")
    nodes, weights = data.points[:, 0], data.log_weights
    gain = _log_density(nodes, weights, batch[:, 0], start) - _log_density(
        nodes, weights, target[:, 0], end
    )
    return np.asarray(np.exp(gain)).reshape(shape[:-1])


def _line(
    points: Any, x: Any, sigma: float, sigma_to: float
) -> tuple[PointSet, Floats, float, float, tuple[int, ...]]:
    data = as_points(points)
    if data.dim != 1:
        _check.fail("points", f"D = {data.dim}", "data on a line, D = 1", "project it first")
    batch, shape, _ = _check.queries(x, 1)
    start = _check.number(sigma, "sigma", low=0.0, high=_check.SIGMA_LIMIT, open_low=True)
    end = _check.number(sigma_to, "sigma_to", low=0.0, high=_check.SIGMA_LIMIT)
    return data, batch, start, end, shape


def _log_tails(nodes: Floats, weights: Floats, x: Floats, sigma: float) -> tuple[Floats, Floats]:
    """Log F_σ(x) and log(1 - F_σ(x)), each with full relative precision."""
    from scipy.special import log_ndtr, logsumexp

    gaps = (x[:, None] - nodes) / sigma
    return (
        logsumexp(weights + log_ndtr(gaps), axis=1),
        logsumexp(weights + log_ndtr(-gaps), axis=1),
    )


def _log_density(nodes: Floats, weights: Floats, x: Floats, sigma: float) -> Floats:
    from scipy.special import logsumexp

    gaps = (x[:, None] - nodes) / sigma
    return np.asarray(logsumexp(weights - 0.5 * gaps**2, axis=1) - np.log(sigma))


def _generalised_inverse(weights: Floats, lower: Floats, upper: Floats) -> NDArray[np.intp]:
    """Node whose interval of cumulative weight holds the quantile, from either tail."""
    up = np.cumsum(np.exp(weights))
    down = np.cumsum(np.exp(weights[::-1]))
    last = len(weights) - 1
    from_left = np.minimum(np.searchsorted(up, np.exp(lower)), last)
    from_right = last - np.minimum(np.searchsorted(down, np.exp(upper)), last)
    return np.where(lower <= upper, from_left, from_right)
