"""Sums over points that are not all in memory: by shards, left out where a bound allows it.

`analytic.scale` states how partial results merge. A shard of points weighs at most
m e^{-d²/2σ²} for a query at distance d or more from all of them, m the sum of their weights, and
at least that for d the largest distance; boxes and balls bound both. Left out are shards that
together weigh less than `tolerance` of what is summed, query by query, so that no query's result
depends on the others. Where bounds alone do not tell, the nearest shard is asked first.

Moments about the mean are sums, Σ u y yᵀ over each shard with the weights u of the whole: each
finds its own nearest point x_k, and its logits are relative to that, log Σ less t_k.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ..scale import AwayPoints, Shard
from ._base import Floats, Found, Sites, Spread, inverse, shared
from .auto import make
from .dense import Dense

__all__ = ["Apart"]

Rows = NDArray[np.int64]

SLAB = 5_000_000
"""Log-weights held at a time where the heaviest points are asked for (40 MB)."""
FURTHEST = 1e150
"""Distances over σ up to here have finite squares."""
NEAREST = 1e140
"""Least distance over σ at most in comparisons, of which some distance is below `FURTHEST`."""
ROUNDING = 1e-9
"""Of squared distances over σ², relative, as of bounds on distances."""


@dataclass(frozen=True, eq=False)
class Apart:
    """What `OptimalDenoiser` asks of points that live elsewhere."""

    points: AwayPoints
    method: str = "auto"
    tolerance: float = 1e-13
    threads: int | None = None
    unit: float = 1.0

    @property
    def count(self) -> int:
        """Number of points that have any weight."""
        return self.points.support

    def scaled(self, x: Floats, sigma: Floats) -> tuple[Floats, Floats]:
        """Queries and bandwidths in units of the sums: those of the data."""
        return x, sigma

    def at(self, index: Rows) -> tuple[Floats, Floats]:
        """Points (B, D) and log-weights (B,) of some indices."""
        return self.points.at(index)

    @shared
    def softmax(self, q: Floats, s: Floats, single: bool = False) -> Found:
        """The softmax over all points."""
        return _stacked(Found, [self._softmax(q, s, single) for q, s in self._groups(q, s)])

    def _softmax(self, q: Floats, s: Floats, single: bool) -> Found:
        everyone = np.arange(len(q))
        common = q, s, self.method, self.tolerance, single
        upper, least, level = self._bounds(q, s)
        allowed = np.log(self.tolerance) - np.log(upper.shape[1])
        best = upper.argmax(axis=1)
        # what would be left to ask if the best shard were as heavy as it can be
        hoped = (upper >= upper.max(axis=1, keepdims=True) + allowed).sum(axis=1)
        unsure = hoped < (upper >= least[:, None] + allowed).sum(axis=1)
        ready: dict[int, _Part] = {}
        if unsure.any():
            asked = {int(k): everyone[unsure & (best == k)] for k in np.unique(best[unsure])}
            ready = self.points.parts(_softmax, common, asked)
            for found in ready.values():
                rows = found.rows
                least[rows] = np.maximum(least[rows], found.height(q, level))
        needed = upper >= least[:, None] + allowed
        needed[everyone, best] = True
        due = needed.copy()
        due[everyone[unsure], best[unsure]] = False
        whole = self.points.reduced(_softmax, _merge, common, _by_shard(due), ready)
        gone = np.where(needed, -np.inf, upper - whole.height(q, level)[:, None])
        lost = whole.truncation + np.exp(gone).sum(axis=1)
        return Found(
            whole.ref, whole.log_sum, whole.shift, lost, whole.base, whole.base_log, needed
        )

    @shared
    def spread(
        self, q: Floats, s: Floats, found: Found, v: Floats | None = None, third: float = 0.0
    ) -> Spread:
        """tr C, entropy and, for directions v (B, D), third κ3 + C v."""
        way = np.zeros_like(q) if v is None else v
        parts = [
            self._moments(_spread, *g) for g in self._groups(q, s, found.base, found.base_log,
                                                             found.log_sum, found.shift,
                                                             found.asked, way)
        ]  # fmt: skip
        total = _stacked(_Moments, parts)
        return Spread(total.trace, total.entropy, third * total.cubic + total.image)

    @shared
    def covariance(self, q: Floats, s: Floats, found: Found) -> Floats:
        """(B, D, D) C = Σ u y yᵀ, exactly symmetric."""
        given = (q, s, found.base, found.base_log, found.log_sum, found.shift, found.asked)
        groups = self._groups(*given, width=q.shape[1] ** 2)
        return np.concatenate([self._moments(_covariance, *each).matrix for each in groups])

    def _moments(self, part: Callable[..., Any], *given: Any) -> Any:
        q, s, base, base_log, log_sum, shift, asked, *way = given
        common = q, s, base, base_log, log_sum, shift, *way
        return self.points.reduced(part, _added, common, _by_shard(asked))

    @shared
    def trap(self, q: Floats, s: Floats, index: Rows) -> Floats:
        """(B, 5) sums of the trap certificate for candidate points."""
        parts = [
            self.points.reduced(_trap, _trapped, (*g, *self.at(which)), self._everyone(*g))
            for *g, which in self._groups(q, s, index)
        ]
        return np.concatenate([part.sums for part in parts])

    @shared
    def top(self, q: Floats, s: Floats, found: Found, k: int) -> tuple[Rows, Floats]:
        """Indices (B, k) of the heaviest points and their log-weights, heaviest first."""
        # a shard that weighs next to nothing may still hold one of the k heaviest
        parts = [
            self.points.reduced(_top, _best, (*g, k), self._everyone(*g))
            for g in self._groups(q, s, found.base, found.base_log, found.log_sum, width=k)
        ]
        best = _stacked(_Best, parts)
        return best.points, best.logs

    def _everyone(self, q: Floats, *_: Any) -> dict[int, Rows]:
        """All queries, of every shard that has any weight."""
        which = np.flatnonzero(self.points.summary.mass).tolist()
        return dict.fromkeys(which, np.arange(len(q)))

    def _groups(self, *given: Any, width: int = 1) -> list[tuple[Any, ...]]:
        """Queries in so many pieces that bounds (B, K) and results (B, width) stay small."""
        step = max(1, self.points.most // max(self.points.dim, len(self.points.cuts), width))
        count = len(given[0])
        return [tuple(each[k : k + step] for each in given) for k in range(0, max(count, 1), step)]

    def _bounds(self, q: Floats, s: Floats) -> tuple[Floats, Floats, Floats]:
        """(B, K) largest log-weight each shard may have, (B,) the least the whole has, (B,) at σ.

        At a larger σ than asked for where squares of distances over σ overflow: what differs
        there by more than rounding differs by 1e250 nats, and the more the smaller σ is.
        """
        known = self.points.summary
        near, far = known.reach(q)
        far[:, known.mass == 0] = np.inf
        level = np.maximum(s, far.min(axis=1) / NEAREST)
        inv = inverse(level)[:, None]
        with np.errstate(divide="ignore", over="ignore"):
            mass = np.log(known.mass)
            upper = mass - 0.5 * np.square(np.minimum(near * inv, FURTHEST)) * (1 - ROUNDING)
            lower = mass - 0.5 * np.square(far * inv) * (1 + ROUNDING)
        return upper, lower.max(axis=1), level


class _Part(NamedTuple):
    """The softmax over some points, for some queries."""

    rows: Rows
    ref: Rows
    base: Floats
    base_log: Floats
    log_sum: Floats
    shift: Floats
    truncation: Floats

    def height(self, q: Floats, s: Floats) -> Floats:
        """(R,) log Σ π_i e^{-|x - x_i|²/2σ²}, rounded down."""
        gaps = np.square(q[self.rows] - self.base).sum(axis=1)
        inv = inverse(s[self.rows])
        with np.errstate(over="ignore"):
            return np.asarray(
                self.base_log + self.log_sum - 0.5 * (gaps * inv) * inv * (1 + ROUNDING)
            )


class _Moments(NamedTuple):
    rows: Rows
    trace: Floats
    entropy: Floats
    cubic: Floats
    image: Floats


class _Matrix(NamedTuple):
    rows: Rows
    matrix: Floats


class _Sums(NamedTuple):
    rows: Rows
    sums: Floats


class _Best(NamedTuple):
    rows: Rows
    points: Rows
    logs: Floats


def _softmax(shard: Shard, common: Any, rows: Rows) -> _Part:
    q, s, name, tolerance, single = common
    found = _method(shard, name, tolerance).softmax(q[rows], s[rows], single)
    base, logs = shard.points[found.ref], shard.logs[found.ref]
    index = shard.indices(found.ref)
    return _Part(rows, index, base, logs, found.log_sum, found.shift, found.truncation)


def _method(shard: Shard, name: str, tolerance: float) -> Any:
    """How a shard is summed: what is read anew each time is not worth a tree."""
    if not shard.kept:
        return Dense(Sites(shard.points, shard.logs))
    key = f"{name} {tolerance}"
    if key not in shard.kept:
        shard.kept[key] = make(name, Sites(shard.points, shard.logs), tolerance)
    return shard.kept[key]


def _merge(a: _Part, b: _Part, common: Any) -> _Part:
    q, s = common[:2]
    return _union(a, b, lambda one, two: _combined(one, two, q[one.rows], s[one.rows]))


def _combined(a: _Part, b: _Part, q: Floats, s: Floats) -> _Part:
    """Two softmaxes of the same queries as one, relative to the heavier of their points."""
    t = _logit(q, s, b.base, b.base_log, a.base, a.base_log)
    swap = t > 0
    heavy, light = _chosen(swap, b, a), _chosen(swap, a, b)
    other = light.log_sum - np.abs(t)
    log_sum = np.logaddexp(heavy.log_sum, other)
    share = np.exp(other - log_sum)[:, None]
    step = light.shift + (light.base - heavy.base)
    return heavy._replace(
        log_sum=log_sum,
        shift=(1 - share) * heavy.shift + share * step,
        # what both left out, as a share of the whole
        truncation=np.maximum(a.truncation, b.truncation),
    )


def _logit(
    q: Floats, s: Floats, point: Floats, log: Floats, base: Floats, base_log: Floats
) -> Floats:
    """(R,) logit of a point relative to another, from differences alone."""
    inv = inverse(s)
    gap = ((base - point) * ((q - point) + (q - base))).sum(axis=1)
    with np.errstate(over="ignore"):
        return np.asarray((log - base_log) - (gap * inv) * (0.5 * inv))


def _local(
    shard: Shard, q: Floats, s: Floats, base: Floats, base_log: Floats, log_sum: Floats
) -> tuple[Rows, Floats, Floats]:
    """A shard's nearest points, log Σ of the whole relative to them, and x_r less them."""
    from ..kernels import dense

    ref = dense.reference(shard.points, shard.logs, q, np.minimum(s, _check.SIGMA_LIMIT))
    own = shard.points[ref]
    held = log_sum - _logit(q, s, own, shard.logs[ref], base, base_log)
    return ref, held, base - own


def _spread(shard: Shard, common: Any, rows: Rows) -> _Moments:
    from ..kernels import dense

    q, s, base, base_log, log_sum, shift, way = (each[rows] for each in common)
    ref, held, off = _local(shard, q, s, base, base_log, log_sum)
    given = shard.points, shard.logs, q, inverse(s), ref, held, shift + off
    return _Moments(rows, *dense.spread(*given, np.ascontiguousarray(way)))


def _covariance(shard: Shard, common: Any, rows: Rows) -> _Matrix:
    from ..kernels import dense

    q, s, base, base_log, log_sum, shift = (each[rows] for each in common)
    ref, held, off = _local(shard, q, s, base, base_log, log_sum)
    out = np.empty((*q.shape, q.shape[1]))
    dense.covariance(shard.points, shard.logs, q, inverse(s), ref, held, shift + off, out)
    return _Matrix(rows, out)


def _added(a: Any, b: Any, common: Any) -> Any:
    return _union(a, b, lambda one, two: type(a)(one.rows, *map(np.add, one[1:], two[1:])))


def _trap(shard: Shard, common: Any, rows: Rows) -> _Sums:
    from ..kernels import dense

    q, s, base, base_log = (each[rows] for each in common)
    out = np.empty((len(rows), 5))
    dense.trap_beside(shard.points, shard.logs, q, inverse(s), base, base_log, out)
    return _Sums(rows, out)


def _trapped(a: _Sums, b: _Sums, common: Any) -> _Sums:
    left, right = a.sums, b.sums
    out = np.empty_like(left)
    out[:, :2] = left[:, :2] + right[:, :2]
    out[:, 2] = np.maximum(left[:, 2], right[:, 2])
    out[:, 3:] = np.minimum(left[:, 3:], right[:, 3:])
    return _Sums(a.rows, out)


def _top(shard: Shard, common: Any, rows: Rows) -> _Best:
    from ..kernels import dense

    *given, k = common
    q, s, base, base_log, log_sum = (each[rows] for each in given)
    ref, held, _ = _local(shard, q, s, base, base_log, log_sum)
    count = len(shard.logs)
    most = min(k, count)
    index, best = np.empty((len(rows), most), dtype=np.int64), np.empty((len(rows), most))
    step = max(1, SLAB // count)
    for k0 in range(0, len(rows), step):
        part = slice(k0, k0 + step)
        logs = np.empty((len(q[part]), count))
        dense.log_posterior(
            shard.points, shard.logs, q[part], inverse(s[part]), ref[part], held[part], logs
        )
        index[part] = np.argsort(-logs, axis=1, kind="stable")[:, :most]
        best[part] = np.take_along_axis(logs, index[part], axis=1)
    return _Best(rows, shard.indices(index), best)


def _best(a: _Best, b: _Best, common: Any) -> _Best:
    # of equals the left one comes first, whose indices are smaller
    index = np.concatenate([a.points, b.points], axis=1)
    logs = np.concatenate([a.logs, b.logs], axis=1)
    order = np.argsort(-logs, axis=1, kind="stable")[:, : common[-1]]
    return _Best(
        a.rows, np.take_along_axis(index, order, axis=1), np.take_along_axis(logs, order, axis=1)
    )


def _by_shard(due: NDArray[np.bool_]) -> dict[int, Rows]:
    """Which queries each shard is asked; the first one, if there are no queries."""
    if not len(due):
        return {0: np.arange(0)}
    return {int(k): np.flatnonzero(due[:, k]) for k in np.flatnonzero(due.any(axis=0))}


def _chosen(first: NDArray[np.bool_], a: _Part, b: _Part) -> _Part:
    """Row by row of a where `first`, else of b."""
    return _Part(
        *(
            np.where(first.reshape(-1, *(1,) * (x.ndim - 1)), x, y)
            for x, y in zip(a, b, strict=True)
        )
    )


def _union(a: Any, b: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """Results of two sets of queries; those of both are combined."""
    rows = np.union1d(a.rows, b.rows)
    both, at_a, at_b = np.intersect1d(a.rows, b.rows, assume_unique=True, return_indices=True)
    kind, values = type(a), []
    shared = combine(_taken(a, at_a), _taken(b, at_b))
    for one, two, mixed in zip(a, b, shared, strict=True):
        out = np.empty((len(rows), *one.shape[1:]), dtype=one.dtype)
        out[np.searchsorted(rows, a.rows)] = one
        out[np.searchsorted(rows, b.rows)] = two
        out[np.searchsorted(rows, both)] = mixed
        values.append(out)
    return kind(*values)


def _taken(part: Any, at: Rows) -> Any:
    return type(part)(*(each[at] for each in part))


def _stacked(kind: Any, parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else kind(*map(np.concatenate, zip(*parts, strict=True)))
