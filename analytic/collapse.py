"""Collapse: when trajectories decide where to end, and a certificate that they have.

The trap certificate tells that a trajectory can only end at one data point (theory D1).
At (x, s_c) with candidate i let g_j = |x - x_j|² - |x - x_i|², d_ij = |x_i - x_j|,
r_j = (π_j/π_i) exp(-g_j/2s_c²), B = Σ r_j d_ij, ε = Σ r_j, R_i = max d_ij. If

    every g_j > 0   and   min(B, R_i ε/(1 + ε)) ≤ ½ min_j d_ij,

the exact trajectory from (x, s_c) converges to x_i, and with v = s_c/s, G = min_j g_j/2s_c²,

    |x(s) - x_i - (s/s_c)(x - x_i)|
        ≤ min{ min(B, R_i ε/(1 + ε))(1 - 1/v), B(1 - e^{-G(v-1)})/(vG) }.

The set is invariant: along the flow every r_j, B and ε only decrease. The
denoiser's error there is |D - x_i| ≤ min(B, R_i ε/(1 + ε)).

Two levels describe a data set (Biroli et al. 2024, *Dynamical regimes of diffusion
models*, https://arxiv.org/abs/2402.18491): that of speciation, below which p_σ has more
than one mode (theory D2), and that of collapse, below which a sample's posterior holds
few data points, told by its perplexity e^{E H(u)} (theory D3). `scales` finds both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _check
from .denoisers import OptimalDenoiser
from .points import PointSet, as_points

__all__ = [
    "Certificate",
    "Perplexity",
    "Scales",
    "certificate",
    "entropy_bound",
    "perplexity",
    "scales",
    "speciation",
]

Floats = NDArray[np.float64]

_SLACK = 1e-9
"""Relative inflation of B and ε: covers rounding, which is below 1e-9 where they count."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """The certificate at B states."""

    index: NDArray[np.int64]
    """(B,) candidate data point i."""
    certified: NDArray[np.bool_]
    """(B,) whether the trajectory provably converges to it."""
    sigma: Floats
    """(B,) level s_c of the state."""
    pull: Floats
    """(B,) B, in data units."""
    reach: Floats
    """(B,) min(B, R_i ε/(1 + ε)): bounds |D - x_i|, and the tail, from here on."""
    gap: Floats
    """(B,) G = min_j g_j/2s_c²."""

    def tail(self, sigma: Any) -> Floats:
        """(B,) bound on the distance of x(s) from x_i + (s/s_c)(x - x_i), for s ≤ s_c.

        Infinite where nothing is certified.
        """
        level = _check.sigma(sigma, len(self.index), zero=True)
        if (level > self.sigma).any():
            _check.fail("sigma", "a level above the certified one", "s ≤ s_c", "go down only")
        share = level / self.sigma
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            span = self.gap * (1 / share - 1)
            late = self.pull * -np.expm1(-span) * share / self.gap
        late = np.where(level == 0, 0.0, np.where(np.isfinite(late), late, np.inf))
        return np.asarray(
            np.where(self.certified, np.minimum(self.reach * (1 - share), late), np.inf)
        )


def certificate(denoiser: OptimalDenoiser, x: Any, sigma: Any, index: Any = None) -> Certificate:
    """Check the trap certificate at states x (B, D) or (D,) and levels σ > 0.

    Parameters
    ----------
    denoiser : the optimal denoiser whose flow is meant.
    x, sigma : states and their levels (scalar or (B,)).
    index : (B,) candidate points; by default the heaviest point of each state.

    Raises
    ------
    TypeError
        for any other denoiser: the certificate needs the data.
    """
    _optimal(denoiser)
    states, _, _ = _check.queries(x, denoiser.dim)
    levels = _check.sigma(sigma, len(states))
    if index is None:
        index = denoiser.evaluate(states, levels).nearest
    candidate = _check.raw(index, "index")
    if candidate.shape != (len(states),) or candidate.dtype.kind not in "iu":
        _check.fail("index", _check.show(candidate), "(B,) whole numbers", "one point per state")
    if candidate.size and not (candidate.min() >= 0 and candidate.max() < len(denoiser.points)):
        _check.fail("index", "an index outside the data", "0 ≤ index < N", "check the candidates")
    candidate = candidate.astype(np.int64)
    pull, odds, far, near, gap = denoiser.trap_sums(states, levels, candidate).T
    pull, odds = pull * (1 + _SLACK), odds * (1 + _SLACK)
    with np.errstate(invalid="ignore", over="ignore"):
        reach = np.minimum(pull, np.where(np.isinf(odds), far, far * odds / (1 + odds)))
        certified = (gap > 0) & (reach <= 0.5 * near)
        return Certificate(candidate, certified, levels, pull, reach, gap)


class Perplexity(NamedTuple):
    """How many data points a forward sample could have come from, level by level."""

    sigmas: Floats
    """(T,) levels."""
    entropy: Floats
    """(T,) mean of the posterior's entropy H(u) in nats, for x ~ p_σ."""
    error: Floats
    """(T,) standard error of that mean; levels share their samples."""

    @property
    def effective(self) -> Floats:
        """(T,) e^{E H}: N far up, 1 once every sample belongs to its point."""
        return np.asarray(np.exp(self.entropy))


class Scales(NamedTuple):
    """Levels at which the flow of a data set decides, in data units."""

    principal: float
    """√λ_1(Σ): the speciation level of data of which all |x_i - μ| are equal."""
    speciation: float
    """Largest level at which p_σ has more than one mode; 0 for one point."""
    collapse: tuple[float, float, float]
    """Levels at which e^{E H} is 10, 2 and 1.1; 0 where the data have too few points for it."""


def perplexity(
    denoiser: OptimalDenoiser, sigmas: Any, count: int = 256, seed: int = 0
) -> Perplexity:
    """Mean posterior entropy of forward samples x_0 + σz (theory D3).

    Parameters
    ----------
    denoiser : the optimal denoiser of the data.
    sigmas : (T,) levels σ > 0.
    count, seed : samples (x_0, z), the same at every level.
    """
    _optimal(denoiser)
    levels = np.atleast_1d(_check.array(sigmas, "sigmas")).astype(np.float64)
    levels = _check.sigma(levels, len(levels), argument="sigmas")
    many = _check.integer(count, "count", low=2)
    rng = np.random.default_rng(_check.seed(seed))
    clean = denoiser.points.sample(many, rng)
    z = rng.standard_normal(clean.shape)
    values = np.stack([denoiser.posterior(clean + s * z, s).entropy for s in levels])
    return Perplexity(levels, values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(many))


def entropy_bound(points: PointSet | Any, sigmas: Any) -> Floats:
    """(T,) H(π) - ½Σ_k log(1 + λ_k/σ²) ≤ E H(u), λ_k the eigenvalues of Σ.

    H(π) - E H(u) is the information that x carries about x_0, at most what a Gaussian of
    the same covariance would give. H(π) is log N for equal weights.
    """
    data = as_points(points)
    levels = np.atleast_1d(_check.array(sigmas, "sigmas")).astype(np.float64)
    levels = _check.sigma(levels, len(levels), argument="sigmas")
    prior = -float(data.weights @ data.log_weights)
    with np.errstate(over="ignore"):
        gains = np.log1p((np.sqrt(data.spectrum) / levels[:, None]) ** 2)
    return np.asarray(prior - 0.5 * gains.sum(axis=1))


def speciation(points: PointSet | Any, *, starts: int = 64, rtol: float = 0.005) -> float:
    """Largest level σ at which p_σ has more than one mode, in data units; 0 for one point.

    By bisection below diam/2, where there is one mode (theory D2), of whether mean shift from
    `starts` data points ends in more than one place. The points are spread out, each the
    farthest from those before. Bisection takes it that modes only merge as σ rises; in more
    than one dimension they may, rarely, also appear.

    Parameters
    ----------
    points : `PointSet` or (N, D) array.
    starts : data points from which modes are looked for.
    rtol : relative width at which bisection stops.
    """
    data = as_points(points)
    close = _check.number(rtol, "rtol", low=1e-6, high=0.5)
    many = _check.integer(starts, "starts", low=2)
    if len(data) == 1:
        return 0.0
    denoiser, begin = OptimalDenoiser(data), _spread(data, min(many, len(data)))

    def split(sigma: float) -> bool:
        ends = _settle(denoiser, begin, sigma)
        return bool(np.linalg.norm(ends - ends[0], axis=1).max() > 0.03 * sigma)

    return _last(split, 0.5 * data.diameter_bounds[1], close)


def scales(
    points: PointSet | Any,
    *,
    count: int = 256,
    seed: int = 0,
    starts: int = 64,
    rtol: float = 0.005,
) -> Scales:
    """Speciation and collapse levels of a data set.

    Parameters
    ----------
    points : `PointSet` or (N, D) array.
    count, seed : forward samples for the perplexity, bisected to its three values.
    starts, rtol : as for `speciation`; rtol for collapse too.
    """
    data = as_points(points)
    parted = speciation(data, starts=starts, rtol=rtol)
    denoiser, reach = OptimalDenoiser(data), data.diameter_bounds[1] or 1.0

    def below(target: float) -> Callable[[float], bool]:
        return lambda sigma: perplexity(denoiser, sigma, count, seed).effective[0] < target

    ten, two, one = (
        _last(below(target), 1e3 * reach, rtol) if target < len(data) else 0.0
        for target in (10.0, 2.0, 1.1)
    )
    return Scales(float(np.sqrt(data.spectrum[0])), parted, (ten, two, one))


def _last(holds: Callable[[float], bool], high: float, rtol: float) -> float:
    """The level up to which a statement holds, at most `high`; 0 where below 1e-15 of it."""
    low, least = high, 1e-15 * high
    while not holds(low):
        high, low = low, 0.5 * low
        if low < least:
            return 0.0
    while high > low * (1 + rtol):
        middle = float(np.sqrt(low) * np.sqrt(high))
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _settle(denoiser: OptimalDenoiser, x: Floats, sigma: float) -> Floats:
    """(B, D) the modes that mean shift leads to, near-critical ones included.

    Mean shift with the step lengths of Barzilai and Borwein (1988,
    https://doi.org/10.1093/imanum/8.1.141): near a bifurcation, where plain steps shrink by
    the factor λ_max(C)/σ² → 1, these stay fast. Longer steps than the plain one must climb,
    and keep to a tenth of σ, so that none leaves the mode's own hill.
    """
    x = x.copy()
    pull = denoiser(x, sigma) - x
    height = denoiser.log_prob(x, sigma)
    factor = np.ones(len(x))
    for _ in range(2000):
        size = np.linalg.norm(pull, axis=1)
        rows = np.flatnonzero(size > 1e-8 * sigma)
        if not rows.size:
            break
        move = factor[rows, None] * pull[rows]
        there = x[rows] + move
        up = denoiser.log_prob(there, sigma)
        poor = np.flatnonzero((up < height[rows]) & (factor[rows] > 1))
        if poor.size:
            there[poor] = x[rows[poor]] + pull[rows[poor]]
            up[poor] = denoiser.log_prob(there[poor], sigma)
        move = there - x[rows]
        after = denoiser(there, sigma) - there
        turn = ((pull[rows] - after) * move).sum(axis=1)
        long = (move * move).sum(axis=1) / np.where(turn > 0, turn, np.inf)
        length = np.linalg.norm(after, axis=1)
        most = 0.1 * sigma / np.where(length > 0, length, np.inf)
        factor[rows] = np.clip(np.where(turn > 0, long, most), 1.0, np.maximum(1.0, most))
        x[rows], pull[rows], height[rows] = there, after, up
    return x


def _spread(data: PointSet, count: int) -> Floats:
    """(count, D) data points, each the farthest from those before, the first from μ."""
    rows = data.points
    gaps = np.linalg.norm(rows - data.mean, axis=1)
    chosen = [int(gaps.argmax())]
    gaps = np.full(len(rows), np.inf)
    while len(chosen) < count:
        gaps = np.minimum(gaps, np.linalg.norm(rows - rows[chosen[-1]], axis=1))
        chosen.append(int(gaps.argmax()))
    return np.asarray(rows[chosen])


def _optimal(denoiser: Any) -> None:
    if not isinstance(denoiser, OptimalDenoiser):
        _check.fail(
            "denoiser",
            type(denoiser).__name__,
            "an OptimalDenoiser",
            "wrap the points in analytic.OptimalDenoiser",
            TypeError,
        )
