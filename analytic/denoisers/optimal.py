"""The optimal denoiser of a finite point set.

For data p_0 = Σ π_i δ(x_i) and x = x_0 + σ z the denoiser with least mean squared
error is

    D(x; σ) = E[x_0 | x] = Σ u_i x_i,   u = softmax_i(log π_i - |x - x_i|²/2σ²),

the Gaussian-kernel average of the data around x, one step of mean shift with
bandwidth σ (Karras et al. 2022, https://arxiv.org/abs/2206.00364, eq. 57; Chen
et al. 2023, *A Geometric Perspective on Diffusion Models*,
https://arxiv.org/abs/2305.19947). With y_i = x_i - D, C = Σ u_i y_i y_iᵀ and
κ3 = Σ u_i y_i |y_i|²,

    σ² ∇log p_σ = D - x,   ∂D/∂x = C/σ²,   ∂D/∂σ = (κ3 - 2C(x - D))/σ³.

Of points with labels p_σ is the mixture Σ π(y) p_σ(·|y), and with D_y the optimal denoiser of
class y and p(y|x; σ) = π(y) p_σ(x|y)/p_σ(x)

    D = Σ_y p(y|x; σ) D_y,   ∇log p(y|x; σ) = (D_y - D)/σ².
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, methods
from .._lazy import cached_property
from ..kernels import threads
from ..methods import Apart, Found, Held, Sums, inverse
from ..points import PointSet, as_points
from ..posterior import Posterior, Top
from ..scale import AwayPoints, elsewhere
from ._base import Evaluation, Floats, Motion, Reals

__all__ = ["OptimalDenoiser"]

COMPILED = 20_000
"""Points up to which flows run in one kernel; beyond that `methods.Tree` costs less."""


@dataclass(frozen=True, eq=False)
class OptimalDenoiser:
    """The optimal denoiser of a finite point set.

    Parameters
    ----------
    points : `PointSet` or (N, D) array; or what is not in memory and is read block by block
        (`analytic.scale`): `scale.stored(...)`, the path of a .npy file, a memory map, or an
        array of zarr, h5py or Dask.
    method : how the sum over the points is done.
        "dense" takes every point into account. "tree" leaves out what a bound shows to
        weigh too little and interpolates what is smooth; beyond 16 dimensions it is
        "blas", which bounds distances in few principal components and, for float32
        queries, sums by matrix products where many points matter. "auto", the
        default, takes what costs least at each query's σ; the choice depends on the
        points and σ alone.
    tolerance : for the methods that leave something out: how much, relative to the
        whole; `truncation` tells what it was. float32 queries allow 1e-9 at least, and
        matrix products leave out weights below 2⁻⁴⁰ of the largest.
    threads : how many threads share the work of a call; None for as many as
        `analytic.get_num_threads()` says then.

    Every method takes x of shape (B, D) or (D,), in the units of the data, and
    σ a scalar or of shape (B,), and returns x's float dtype (float32 or
    float64). Bad input raises `ValueError` or `TypeError` before any work. Calls
    hold temporaries of some 100 MB at most, whatever N and B, beside what a method
    keeps of the points: a tree and its moments (100 MB at most, N (3D + 10) numbers
    beside), or images in few dimensions and one float32 copy. `posterior`, `jacobian`,
    `jvp` and `sigma_derivative` take a second pass about the mean, which no method
    shortens: it sums all points, but for those of weight zero. Results do not depend
    on the number of threads, nor on which other queries share the batch, but for
    "blas": matrix products round as the BLAS library does, and where they estimate
    what to sum, the choice may change float64 results by `tolerance`.

    Accuracy. With ε = 2⁻⁵³ and q̄_i = Σ_d |x_r - x_i|_d(|x - x_i|_d + |x - x_r|_d),
    where x_r is the heaviest point, the log-odds against x_r are off by at most
    δ_i = ε((D + 12) q̄_i/2σ² + 4|log π_i/π_r|): a few units in the last place of
    the spread of the logits. A weight u_i is then off by a relative
    δ_i + max_j δ_j + ε(n + 8), where n ≤ 128 + N/128 is the length of a
    sum; D by ε|D| + Σ u_i |x_i - x_r| (the same); log p by
    max_j δ_j + ε((D + 8)|x - x_r|²/2σ² + |log π_r| + D|log σ| + D + n + 8).
    To these, what was left out is added: at most `truncation` to log p, and that
    times the diameter of the data to D. With float32 queries log-weights that
    matter are within 4e-4 nats, mostly far less, and sums have float32's precision.
    """

    points: PointSet | AwayPoints
    method: str = "auto"
    tolerance: float = 1e-13
    threads: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", elsewhere(self.points) or as_points(self.points))
        _check.choice(self.method, "method", methods.names())
        _check.number(self.tolerance, "tolerance", low=1e-15, high=0.1)
        object.__setattr__(self, "threads", threads.checked(self.threads))

    def __repr__(self) -> str:
        return f"OptimalDenoiser({self.points!r})"

    @property
    def dim(self) -> int:
        """Dimension D of the data."""
        return self.points.dim

    @property
    def held(self) -> PointSet:
        """The points, if they are in memory.

        Raises
        ------
        TypeError
            if they are not.
        """
        return as_points(self.points)

    def given(self, label: Any) -> OptimalDenoiser:
        """The optimal denoiser D_y of the points with that label, E[x_0 | x, y].

        With the same method, tolerance and threads; made once for each label. Its points are
        `points.given(label)`, of which index k is `points.members(label)[k]` here.

        Raises
        ------
        ValueError
            for points without labels, and for a label that is none of `points.classes`.
        """
        return self._class(self.held.known_label(label))[0]

    def _class(self, label: Any) -> tuple[OptimalDenoiser, NDArray[np.intp]]:
        """The denoiser of a class, and which points are its."""
        if label not in self._classes:
            given = replace(self, points=self.held.given(label))
            self._classes[label] = given, self.held.members(label)
        return self._classes[label]

    @cached_property
    def _classes(self) -> dict[Any, tuple[OptimalDenoiser, NDArray[np.intp]]]:
        return {}

    def __call__(self, x: Any, sigma: Any) -> Reals:
        """Posterior mean D(x; σ), shaped like x.

        σ = 0 means the limit: the nearest data point; exact ties are averaged
        with weights π.
        """
        batch, shape, dtype = _check.queries(x, self.dim)
        levels = _check.sigma(sigma, len(batch), zero=True)
        found = self._softmax(*self._sums.scaled(batch, levels), dtype)
        return self._mean(found).astype(dtype, copy=False).reshape(shape)

    def truncation(self, x: Any, sigma: Any) -> Floats:
        """Certified bound on what the method leaves out for each query: (B,), scalar for one.

        log p is off by at most that, and D by at most that times the diameter of
        the data, beside rounding. Zero where every point was summed.
        """
        batch, shape, dtype = _check.queries(x, self.dim)
        levels = _check.sigma(sigma, len(batch), zero=True)
        found = self._softmax(*self._sums.scaled(batch, levels), dtype)
        return found.truncation.reshape(shape[:-1])

    def log_prob(self, x: Any, sigma: Any) -> Reals:
        """Log p_σ(x) of the data convolved with N(0, σ²I), in nats: (B,), scalar for one query."""
        batch, shape, dtype = _check.queries(x, self.dim)
        levels = _check.sigma(sigma, len(batch))
        q, s = self._sums.scaled(batch, levels)
        result = self._log_prob(q, s, self._softmax(q, s, dtype), levels)
        return result.astype(dtype, copy=False).reshape(shape[:-1])

    def score(self, x: Any, sigma: Any) -> Reals:
        """∇log p_σ(x) = (D - x)/σ², shaped like x, without cancellation near a data point."""
        batch, shape, dtype = _check.queries(x, self.dim)
        levels = _check.sigma(sigma, len(batch))
        q, s = self._sums.scaled(batch, levels)
        toward = self._toward_mean(q, self._softmax(q, s, dtype))
        result = toward / s[:, None] / levels[:, None]
        return result.astype(dtype, copy=False).reshape(shape)

    def class_prob(self, x: Any, sigma: Any, *, log: bool = False) -> Reals:
        """Posterior class probabilities p(y|x; σ): (B, C), (C,) for one query.

        In the order of `points.classes`. `log` gives their logarithms, which do not
        underflow. As accurate as log-odds between single points: each class is summed
        about its own heaviest point, and those points are compared with one another.

        Raises
        ------
        ValueError
            for points without labels.
        """
        batch, shape, dtype = _check.queries(x, self.dim)
        levels = _check.sigma(sigma, len(batch))
        logs = _check.flag(log, "log")
        labels = self.held.classes.tolist()
        _check.size(len(batch), len(labels), "x")
        q, s = self._sums.scaled(batch, levels)
        heaviest = np.empty((len(labels), len(batch)), dtype=np.int64)
        sums = np.empty((len(labels), len(batch)))
        for k, label in enumerate(labels):
            part, members = self._class(label)
            found = part.evaluate(batch, levels)
            heaviest[k] = members[found.nearest]
            # of the class's part π_i(y) of that point's weight
            share = part.held.log_weights[found.nearest]
            sums[k] = found.log_odds + share + np.log(self.held.class_weights[k])
        odds = self._class_odds(q, s, heaviest, sums)
        odds -= np.log(np.exp(odds).sum(axis=0))
        result = (odds if logs else np.exp(odds)).T
        return result.astype(dtype, copy=False).reshape(*shape[:-1], len(labels))

    def _class_odds(
        self, q: Floats, s: Floats, heaviest: NDArray[np.int64], sums: Floats
    ) -> Floats:
        """(C, B) logits of the classes less the largest, from a point of each and the sum about it.

        Differences of squared distances are formed from differences of points, as they nearly
        cancel far from the data.
        """
        inv = inverse(s)
        odds, best = sums, np.zeros(len(q), dtype=np.int64)
        # the second time about the best class, so that no two large numbers are subtracted
        for _ in range(2):
            base = self._sums.at(heaviest[best, np.arange(len(q))])[0]
            gaps = np.empty_like(sums)
            for k, index in enumerate(heaviest):
                here = self._sums.at(index)[0]
                gaps[k] = np.einsum("ij,ij->i", base - here, (q - here) + (q - base))
            with np.errstate(over="ignore"):
                odds = sums - sums[best, np.arange(len(q))] - 0.5 * inv * (inv * gaps)
            best = odds.argmax(axis=0)
        return np.asarray(odds - odds.max(axis=0))

    def posterior(self, x: Any, sigma: Any) -> Posterior:
        """Posterior statistics: mean, log-density, tr C, entropy, effective points, top-k."""
        batch, shape, dtype = _check.queries(x, self.dim)
        levels = _check.sigma(sigma, len(batch))
        q, s = self._sums.scaled(batch, levels)
        found = self._softmax(q, s)
        trace, entropy, _ = self._sums.spread(q, s, found)
        flat = (
            self._log_prob(q, s, found, levels),
            trace * self._sums.unit**2,
            np.maximum(entropy, 0.0),
        )

        def top(k: int) -> Top:
            index, logs = self._sums.top(q, s, found, k)
            weight = np.exp(logs)
            tail = (*shape[:-1], k)
            return Top(index.reshape(tail), weight.astype(dtype, copy=False).reshape(tail))

        log_prob, trace_cov, entropy = (
            row.astype(dtype, copy=False).reshape(shape[:-1]) for row in flat
        )
        means = self._mean(found).astype(dtype, copy=False).reshape(shape)
        return Posterior(means, log_prob, trace_cov, entropy, top, self._sums.count)

    def jacobian(self, x: Any, sigma: Any) -> Reals:
        """∂D/∂x = C/σ², symmetric positive semi-definite: (B, D, D), (D, D) for one query."""
        batch, shape, dtype = _check.queries(x, self.dim)
        levels = _check.sigma(sigma, len(batch))
        _check.size(len(batch) * self.dim, self.dim, "x")
        q, s = self._sums.scaled(batch, levels)
        result = self._sums.covariance(q, s, self._softmax(q, s))
        for _ in range(2):  # 1/σ² by itself may overflow
            result *= inverse(s)[:, None, None]
        return result.astype(dtype, copy=False).reshape(*shape, self.dim)

    def jvp(self, x: Any, sigma: Any, v: Any) -> Reals:
        """Action of the Jacobian, (∂D/∂x) v = C v/σ², for v shaped like x."""
        batch, shape, dtype = _check.queries(x, self.dim)
        levels = _check.sigma(sigma, len(batch))
        direction, v_shape, _ = _check.queries(v, self.dim, "v")
        if v_shape != shape:
            _check.fail("v", f"shape {v_shape}", f"x's shape {shape}", "one direction per query")
        q, s = self._sums.scaled(batch, levels)
        inv = inverse(s)[:, None]
        result = self._sums.spread(q, s, self._softmax(q, s), direction).pull * inv * inv
        return result.astype(dtype, copy=False).reshape(shape)

    def sigma_derivative(self, x: Any, sigma: Any) -> Reals:
        """∂D/∂σ at fixed x = (κ3 - 2C(x - D))/σ³, shaped like x (theory A6)."""
        batch, shape, dtype = _check.queries(x, self.dim)
        levels = _check.sigma(sigma, len(batch))
        q, s = self._sums.scaled(batch, levels)
        found = self._softmax(q, s)
        pull = self._sums.spread(q, s, found, 2 * self._toward_mean(q, found), 1.0).pull
        inv = inverse(s)[:, None]
        result = pull * inv * inv * inv
        return result.astype(dtype, copy=False).reshape(shape)

    def evaluate(self, x: Floats, sigma: Floats) -> Evaluation:
        """The mean and its heaviest point for checked float64 x (B, D), σ (B,) ≥ 0."""
        found = self._softmax(*self._sums.scaled(x, sigma))
        return Evaluation(self._mean(found), found.ref, found.log_sum)

    def motion(self, x: Floats, sigma: Floats) -> Motion:
        """The evaluation, tr C and D' along the flow for checked float64 x (B, D), σ (B,) > 0."""
        q, s = self._sums.scaled(x, sigma)
        found = self._softmax(q, s)
        trace, _, pull = self._sums.spread(q, s, found, self._toward_mean(q, found), 1.0)
        inv = inverse(s)[:, None]
        here = Evaluation(self._mean(found), found.ref, found.log_sum)
        return Motion(here, trace * self._sums.unit**2, pull * inv * inv * inv)

    def trap_sums(self, x: Floats, sigma: Floats, index: NDArray[np.int64]) -> Floats:
        """(B, 5) sums of the trap certificate for candidate points, x and σ checked float64.

        With g_j = |x - x_j|² - |x - x_i|², d_ij = |x_i - x_j| and
        r_j = (π_j/π_i) exp(-g_j/2σ²), over all j ≠ i: Σ r_j d_ij, Σ r_j,
        max d_ij, min d_ij, min g_j/2σ².
        """
        result = self._sums.trap(*self._sums.scaled(x, sigma), index)
        unit = self._sums.unit
        return result * np.array([unit, 1.0, unit, unit, 1.0]) if unit != 1.0 else result

    @cached_property
    def _sums(self) -> Sums:
        kind = Apart if isinstance(self.points, AwayPoints) else Held
        return kind(self.points, self.method, self.tolerance, self.threads)  # type: ignore[arg-type]

    @cached_property
    def columns(self) -> tuple[tuple[Any, ...], NDArray[np.int64]] | None:
        """The points as kernels of the flow read them, and which is where.

        None where a flow takes other ways: many points, many dimensions, units that are
        extreme, or a method that is asked for by name.
        """
        sums = self._sums
        if self.method != "auto" or not isinstance(sums, Held) or sums.unit != 1.0:
            return None
        if len(self.points) > COMPILED or self.dim > methods.REGISTERS:
            return None
        with threads.limited(self.threads):
            leaves, index = methods.Tree(sums.sites).leaves()
        return (*leaves, np.full(index.size, np.nan)), index

    def _softmax(self, q: Floats, s: Floats, dtype: Any = np.float64) -> Found:
        return self._sums.softmax(q, s, single=dtype == np.float32)

    def _mean(self, found: Found) -> Floats:
        mean: Floats = found.base + found.shift
        return mean if self._sums.unit == 1.0 else mean * self._sums.unit

    def _toward_mean(self, q: Floats, found: Found) -> Floats:
        """D - x, in internal units."""
        return (found.base - q) + found.shift

    def _log_prob(self, q: Floats, s: Floats, found: Found, levels: Floats) -> Floats:
        with np.errstate(over="ignore"):
            gaps = (q - found.base) * inverse(s)[:, None]
            nearest = found.base_log - 0.5 * np.einsum("ij,ij->i", gaps, gaps)
        volume = self.dim * (np.log(levels) + 0.5 * np.log(2 * np.pi))
        return np.asarray(nearest + found.log_sum - volume)
