"""Probability flows in closed form (theory C4).

* Data on a line, p_0 = Σ π_i N(m_i, w_i²), points where w_i = 0: the flow keeps
  quantiles, F_σ(x(σ)) is constant, with F_σ(x) = Σ π_i Φ((x - m_i)/h_i) and
  h_i² = w_i² + σ². So x(σ) = F_σ⁻¹(F_{σ0}(x_0)) and ∂x(σ)/∂x_0 = p_{σ0}(x_0)/p_σ(x(σ)).
* Product sets, whose weights factor: each coordinate flows on its own.
* Two points: on a line along the segment between them; across it, as for one point.
* One point μ: x(σ) = μ + (x_0 - μ) σ/σ0.
* Gaussian data N(μ, Σ): each eigendirection of Σ, eigenvalue l, shrinks by
  √((l + σ²)/(l + σ0²)).

Tails. For any set A of components F_σ - Σ_A π_i = R - L, with

    R = Σ_{i ∉ A} π_i Φ((x - m_i)/h_i),   L = Σ_{i ∈ A} π_i Φ((m_i - x)/h_i),

and that difference is constant too. With A the components left of x_0, no term of
R or L exceeds π_i/2: they are tails, which logarithms hold to full relative
precision, in the far tails of F and also where it is flat, near a separatrix
between points that are many σ apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _check
from .denoisers import GaussianDenoiser, GaussianMixtureDenoiser, LowRankGaussianDenoiser
from .points import PointSet, as_points

__all__ = [
    "gaussian_flow",
    "mixture_flow",
    "one_point_flow",
    "product_flow",
    "quantile_flow",
    "quantile_gain",
    "two_point_flow",
]

Floats = NDArray[np.float64]
Line = PointSet | GaussianMixtureDenoiser | Any
"""Data on a line: a `PointSet` or an (N, 1) array, or a mixture of Gaussians, with D = 1."""

GRAIN = 2.0**-56
"""How finely the quantile map is inverted, in the smallest width."""


def one_point_flow(point: Any, x: Any, sigma: float, sigma_to: float) -> Floats:
    """The exact flow of one data point (D,), for x (B, D) or (D,); σ > 0, σ_to ≥ 0.

    Its volume changes by (σ_to/σ)^D.
    """
    centre = _check.array(point, "point").astype(np.float64)
    if centre.ndim != 1 or not centre.size:
        _check.fail("point", f"shape {centre.shape}", "(D,)", "give one point, not a set")
    batch, shape, _ = _check.queries(x, len(centre))
    start, end = _levels(sigma, sigma_to)
    return np.asarray(centre + (batch - centre) * (end / start)).reshape(shape)


def two_point_flow(points: PointSet | Any, x: Any, sigma: float, sigma_to: float) -> Floats:
    """The exact flow of two weighted points in any dimension.

    Parameters
    ----------
    points : `PointSet` of two points, or a (2, D) array.
    x : (B, D) or (D,) states at level `sigma`.
    sigma, sigma_to : levels σ > 0; σ_to ≥ 0, where 0 gives one of the points.

    Returns
    -------
    states at `sigma_to`, shaped like x: the quantile map in the coordinate along the
    segment, measured from its middle, and the factor σ_to/σ across it.
    """
    data = as_points(points)
    if len(data) != 2:
        _check.fail("points", f"{len(data)} points", "two different ones", "see quantile_flow")
    batch, shape, _ = _check.queries(x, data.dim)
    start, end = _levels(sigma, sigma_to)
    first, second = data.points
    half = 0.5 * (second - first)
    reach = float(np.linalg.norm(half))
    unit = half / reach
    gap = 0.5 * ((batch - first) + (batch - second))
    along = gap @ unit
    line = _Line(np.array([-reach, reach]), data.log_weights, np.zeros(2))
    moved = _transport(line, along, start, end)
    if end == 0.0:
        return data.points[(moved > 0).astype(np.intp)].reshape(shape)
    across = gap - along[:, None] * unit
    found = (first + half) + moved[:, None] * unit + across * (end / start)
    return np.asarray(found).reshape(shape)


def product_flow(lines: Sequence[Line], x: Any, sigma: float, sigma_to: float) -> Floats:
    """The exact flow of independent coordinates: a product set whose weights factor.

    Parameters
    ----------
    lines : D sets of data on a line, one per coordinate: each a `PointSet` with D = 1,
        an (N, 1) array or a `GaussianMixtureDenoiser` with D = 1.
    x : (B, D) or (D,) states at level `sigma`.
    sigma, sigma_to : levels σ > 0; σ_to ≥ 0.

    Returns
    -------
    states at `sigma_to`, shaped like x. The Jacobian of the map is diagonal, with the
    gains of the coordinates (`quantile_gain`).
    """
    if isinstance(lines, (str, bytes, PointSet)) or not isinstance(lines, Sequence) or not lines:
        _check.fail(
            "lines", _check.show(lines), "a list of D sets on a line", "one per axis", TypeError
        )
    batch, shape, _ = _check.queries(x, len(lines))
    start, end = _levels(sigma, sigma_to)
    moved = [
        _transport(_Line.of(line, f"lines[{d}]"), batch[:, d], start, end)
        for d, line in enumerate(lines)
    ]
    return np.stack(moved, axis=1).reshape(shape)


def gaussian_flow(
    data: GaussianDenoiser | LowRankGaussianDenoiser, x: Any, sigma: float, sigma_to: float
) -> Floats:
    """The exact flow of Gaussian data from level σ > 0 to any level, for x (B, D) or (D,)."""
    if not isinstance(data, GaussianDenoiser | LowRankGaussianDenoiser):
        _check.fail(
            "data", _check.show(data), "a Gaussian denoiser", "see GaussianDenoiser", TypeError
        )
    batch, shape, _ = _check.queries(x, data.dim)
    start, end = _levels(sigma, sigma_to)
    # hypot keeps the ratio finite where the squares would not be
    moved = data.spectrum.act(
        batch - data.mean, lambda c, w: np.asarray(c * (np.hypot(w, end) / np.hypot(w, start)))
    )
    return np.asarray(data.mean + moved).reshape(shape)


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
    states at `sigma_to`, shaped like x. With q = R + L of the module's docstring, those
    tails are off by ε q(1 + |log q|) at both levels, and x(σ_to) by that over p_{σ_to}:
    what a change of x in its last bit may do, or a few ε of it.
    """
    return _along(_Line.of(as_points(points), "points"), x, sigma, sigma_to)


def mixture_flow(mixture: GaussianMixtureDenoiser, x: Any, sigma: float, sigma_to: float) -> Floats:
    """The exact flow of a Gaussian mixture on a line, by the quantile map.

    Parameters
    ----------
    mixture : `GaussianMixtureDenoiser` with D = 1; components may be points.
    x : (B, 1) or (1,) states at level `sigma`.
    sigma, sigma_to : levels σ > 0; σ_to ≥ 0, where 0 gives the quantile of the data.

    Returns
    -------
    states at `sigma_to`, shaped like x, as precise as those of `quantile_flow`.
    """
    if not isinstance(mixture, GaussianMixtureDenoiser):
        _check.fail(
            "mixture",
            _check.show(mixture),
            "a GaussianMixtureDenoiser",
            "see quantile_flow for points",
            TypeError,
        )
    return _along(_Line.of(mixture, "mixture"), x, sigma, sigma_to)


def quantile_gain(points: Line, x: Any, sigma: float, y: Any, sigma_to: float) -> Floats:
    """(B,) ∂x(σ_to)/∂x(σ) = p_σ(x)/p_{σ_to}(y), for y the state that x flows to.

    So p_{σ_to}(y) = p_σ(x)/gain: the density along the flow. `points` may be a mixture.
    """
    line = _Line.of(points, "points")
    batch, shape, _ = _check.queries(x, 1)
    target, y_shape, _ = _check.queries(y, 1, "y")
    start, end = _levels(sigma, sigma_to)
    if y_shape != shape:
        _check.fail("y", f"shape {y_shape}", f"x's shape {shape}", "pass where each x flows to")
    if end == 0:
        _check.fail("sigma_to", "0", "a level > 0", "there is no density at σ = 0")
    gain = _log_density(line, batch[:, 0], start) - _log_density(line, target[:, 0], end)
    return np.asarray(np.exp(gain)).reshape(shape[:-1])


class _Line(NamedTuple):
    """A mixture of points and Gaussians on a line, by increasing mean."""

    nodes: Floats
    logs: Floats
    """log π_i."""
    widths: Floats

    @classmethod
    def of(cls, data: Line, argument: str) -> _Line:
        if not isinstance(data, GaussianMixtureDenoiser):
            data = as_points(data, argument)
        if data.dim != 1:
            _check.fail(argument, f"D = {data.dim}", "data on a line, D = 1", "project it first")
        if isinstance(data, PointSet):
            nodes, logs = data.points[:, 0], data.log_weights
            widths = np.zeros_like(nodes)
        else:
            kept = data.weights > 0
            nodes, logs = data.means[kept, 0], np.log(data.weights[kept])
            widths = np.sqrt(data.covariances.reshape(-1)[kept])
        order = np.argsort(nodes, kind="stable")
        return cls(nodes[order], logs[order], widths[order])


class _Balance(NamedTuple):
    """R - L of a state, and its set A of components."""

    left: NDArray[np.bool_]
    """(B, N) whether a component is in A."""
    gain: Floats
    """(B,) log of R - L where that is positive, else -inf."""
    loss: Floats
    """(B,) log of L - R where that is positive, else -inf."""

    @classmethod
    def of(cls, line: _Line, x: Floats, sigma: float) -> _Balance:
        left = line.nodes < x[:, None]
        rise, fall = _log_sides(line, left, x, sigma)
        return cls(left, _log_excess(rise, fall), _log_excess(fall, rise))

    def beyond(self, line: _Line, y: Floats, sigma: float) -> NDArray[np.bool_]:
        """Whether y lies left of where the flow takes the state at this level."""
        rise, fall = _log_sides(line, self.left, y, sigma)
        # R(y) - L(y) < R - L, without a difference
        return np.asarray(np.logaddexp(rise, self.loss) < np.logaddexp(fall, self.gain))


def _levels(sigma: Any, sigma_to: Any) -> tuple[float, float]:
    start = _check.number(sigma, "sigma", low=0.0, high=_check.SIGMA_LIMIT, open_low=True)
    end = _check.number(sigma_to, "sigma_to", low=0.0, high=_check.SIGMA_LIMIT)
    if start < 1e-300:
        _check.fail("sigma", repr(start), "at least 1e-300", "1/σ is no number; start later")
    return start, end


def _along(line: _Line, x: Any, sigma: Any, sigma_to: Any) -> Floats:
    batch, shape, _ = _check.queries(x, 1)
    start, end = _levels(sigma, sigma_to)
    return _transport(line, batch[:, 0], start, end).reshape(shape)


def _transport(line: _Line, x: Floats, start: float, end: float) -> Floats:
    """States (B,) at `end` of states (B,) at `start`."""
    balance = _Balance.of(line, x, start)
    if end == 0.0 and not line.widths.any():
        return line.nodes[_first(lambda k: balance.beyond(line, line.nodes[k], end), line, x)]
    # the flow is monotone and moves no farther than this from the components
    reach = np.abs(x[:, None] - line.nodes[[0, -1]]).max(axis=1) * max(1.0, end / start) + end
    low, high = line.nodes[0] - reach, line.nodes[-1] + reach
    grain = GRAIN * float(np.hypot(line.widths, end).min())
    for _ in range(1100):
        middle = 0.5 * low + 0.5 * high
        if not ((low < middle) & (middle < high) & (high - low > grain)).any():
            break
        below = balance.beyond(line, middle, end)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    # where F jumps, at a point, that point is what `high` tends to
    return np.asarray(0.5 * low + 0.5 * high if grain > 0 else high)


def _first(below: Callable[[Any], Any], line: _Line, x: Floats) -> NDArray[np.intp]:
    """The first node that is not below the target of each state (B,), by bisection."""
    low, high = np.full(len(x), -1), np.full(len(x), len(line.nodes) - 1)
    while (open_ := high - low > 1).any():
        middle = np.where(open_, (low + high) // 2, high)
        left = below(middle)
        low, high = np.where(open_ & left, middle, low), np.where(left, high, middle)
    return high


def _log_sides(
    line: _Line, left: NDArray[np.bool_], x: Floats, sigma: float
) -> tuple[Floats, Floats]:
    """Log R and log L, each with full relative precision."""
    from scipy.special import log_ndtr

    gap, width = x[:, None] - line.nodes, np.hypot(line.widths, sigma)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # at level 0 a point is a step, which counts as done at the point itself
        gap = np.where(width > 0, gap / width, np.where(gap >= 0, np.inf, -np.inf))
    terms = line.logs + log_ndtr(np.where(left, -gap, gap))
    return _log_sum(np.where(left, -np.inf, terms)), _log_sum(np.where(left, terms, -np.inf))


def _log_excess(more: Floats, less: Floats) -> Floats:
    """Log of the difference of two numbers given by logarithms, -inf where it is not positive."""
    above = more > less
    drop = np.where(above, less, 0.0) - np.where(above, more, 1.0)
    return np.where(above, more + np.log(-np.expm1(drop)), -np.inf)


def _log_sum(terms: Floats) -> Floats:
    top = terms.max(axis=1)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(terms - top[:, None]).sum(axis=1)) + top)


def _log_density(line: _Line, x: Floats, sigma: float) -> Floats:
    width = np.hypot(line.widths, sigma)
    gap = (x[:, None] - line.nodes) / width
    return _log_sum(line.logs - 0.5 * gap**2 - np.log(width))
