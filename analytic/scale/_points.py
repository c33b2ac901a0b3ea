"""Points that are not in memory, and what is known of every block of them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._lazy import cached_property
from .._progress import bar
from ..points import Elsewhere
from ._sources import Source, ahead
from ._tree import folded, merged

__all__ = [
    "AwayPoints",
    "Shard",
    "StoredPoints",
    "Summary",
    "logs_of",
    "normalised",
    "relative_weights",
]

Floats = NDArray[np.float64]
Part = TypeVar("Part")

NUMBERS = 1 << 22
"""Numbers in a block unless told otherwise: 32 MB."""

WIDEST = 1e50
"""Data of a wider or narrower range than this, or its inverse, are to be rescaled by hand."""


class Shard(NamedTuple):
    """A block of points in memory, without those of weight zero unless it has no others."""

    points: Floats
    """(n, D), read-only."""
    logs: Floats
    """(n,) log-weights, read-only."""
    first: int
    """Index of the first of the block."""
    kept: dict[str, Any]
    """What is kept beside the block for as long as it is held; empty where it is read anew."""
    rest: NDArray[np.int64] | None = None
    """(n,) which of the block's points these are, ascending; None for all of them."""

    @classmethod
    def of(cls, points: Floats, logs: Floats, first: int, kept: dict[str, Any]) -> Shard:
        """The shard of a block's points and log-weights, which become read-only."""
        some = np.flatnonzero(logs > -np.inf)
        rest = some if 0 < len(some) < len(logs) else None
        if rest is not None:
            points, logs = points[rest], logs[rest]
        points.flags.writeable = logs.flags.writeable = False
        return cls(points, logs, first, kept, rest)

    def indices(self, ref: NDArray[np.int64]) -> NDArray[np.int64]:
        """Indices of its points among all."""
        return self.first + (ref if self.rest is None else self.rest[ref])


class Summary(NamedTuple):
    """What is known of K blocks of points."""

    low: Floats
    """(K, D) least coordinates."""
    high: Floats
    """(K, D) largest ones."""
    centre: Floats
    """(K, D) weighted means."""
    radius: Floats
    """(K,) largest distance from the mean, rounded up."""
    mass: Floats
    """(K,) sums of weights."""
    variance: Floats
    """(K,) weighted mean squared distances from the mean."""

    @classmethod
    def joined(cls, parts: Sequence[Summary]) -> Summary:
        """Blocks of several summaries, in their order."""
        return cls(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def reach(self, x: Floats) -> tuple[Floats, Floats]:
        """(B, K) bounds from below and above on the distances of x (B, D) from the points."""
        from ..kernels import reach

        queries = np.ascontiguousarray(x)
        near, far = reach.bounds(queries, self.low, self.high, self.centre, self.radius, SLACK)
        return near, far


SLACK = 1e-9
"""Of bounds on distances, relative: rounding is far below."""


def summarise(shard: Shard, *_: Any) -> Summary:
    """The summary of one block.

    Raises
    ------
    ValueError
        for numbers that are not finite, naming the row.
    """
    points, logs = shard.points, shard.logs
    low, high = points.min(axis=0), points.max(axis=0)
    # NaN is its own least and largest
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        row = shard.indices(np.flatnonzero(~np.isfinite(points).all(axis=1)))[0]
        _check.fail(
            "points",
            f"a number that is not finite in row {row}",
            "finite numbers only",
            "remove or replace NaN and infinite entries",
        )
    weights = np.exp(logs)
    mass = float(weights.sum())
    share = weights / mass if mass else np.full(len(weights), 1 / len(weights))
    centre, squares = np.empty_like(low), np.zeros(len(points))
    # too large a range is told of all blocks
    with np.errstate(over="ignore", invalid="ignore"):
        for column in range(0, points.shape[1], 64):
            part = slice(column, column + 64)
            centre[part] = low[part] + share @ (points[:, part] - low[part])
            squares += np.square(points[:, part] - centre[part]).sum(axis=1)
        radius = np.sqrt(squares.max()) * (1 + SLACK)
        variance = share @ squares
    return Summary(
        low[None], high[None], centre[None], np.array([radius]), np.array([mass]),
        np.array([variance]),
    )  # fmt: skip


class AwayPoints(Elsewhere, ABC):
    """Weighted points of R^D in blocks that are not in this process's memory.

    What a `PointSet` says of all points is here taken from the summaries of the blocks, found by
    one pass over them at the first need; bounds are a little wider. Equal points stay apart.
    """

    name: str
    cuts: list[tuple[int, int]]
    """First row of each block, and the row after its last."""
    most: int
    """Numbers in a batch of queries: larger batches are cut."""
    relative: Floats | None
    """(N,) relative weights; None where all are equal."""

    def __len__(self) -> int:
        return self.cuts[-1][1]

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension D of the space."""

    @abstractmethod
    def at(self, index: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Points (B, D) and log-weights (B,) of some indices."""

    @abstractmethod
    def parts(
        self, part: Callable[..., Part], common: tuple[Any, ...], asked: Mapping[int, Any]
    ) -> dict[int, Part]:
        """What part(shard, common, asked[k]) is for some blocks."""

    @abstractmethod
    def reduced(
        self,
        part: Callable[..., Part],
        merge: Callable[..., Part],
        common: tuple[Any, ...],
        asked: Mapping[int, Any],
        ready: Mapping[int, Part] | None = None,
    ) -> Part:
        """Parts of some blocks merged, merge(left, right, common), in the tree of all blocks.

        `ready` are parts that are known already, perhaps of the same blocks.
        """

    @cached_property
    def summary(self) -> Summary:
        """What is known of every block, by one pass over all points."""
        found = self.parts(summarise, (), dict.fromkeys(range(len(self.cuts))))
        return _sound(Summary.joined([found[k] for k in range(len(self.cuts))]))

    def sample(self, count: int, rng: np.random.Generator) -> Floats:
        """(count, D) points drawn with probability π_i."""
        return self.at(rng.choice(len(self), size=count, p=self.weights))[0]

    @cached_property
    def weights(self) -> Floats | None:
        """(N,) weights π_i, which sum to one; None where all are equal."""
        return normalised(self.relative)

    @cached_property
    def support(self) -> int:
        """How many points have a weight above zero."""
        weights = self.weights
        return len(self) if weights is None else int(np.count_nonzero(weights))

    def log_weights(self, first: int, last: int) -> Floats:
        """Log-weights of some rows, which sum to one over all points."""
        return logs_of(self.weights, len(self), first, last)

    def renamed(self, name: str) -> Self:
        """The same points under another name."""
        found = copy.copy(self)
        object.__setattr__(found, "name", _check.text(name, "name"))
        return found

    @cached_property
    def mean(self) -> Floats:
        """(D,) weighted mean μ."""
        known = self.summary
        return np.asarray(known.centre[0] + known.mass @ (known.centre - known.centre[0]))

    @cached_property
    def total_variance(self) -> float:
        """Tr Σ = E|x_0 - μ|²."""
        known = self.summary
        apart = np.square(known.centre - self.mean).sum(axis=1)
        return float(known.mass @ (known.variance + apart))

    @property
    def scale(self) -> float:
        """Root-mean-square coordinate √(tr Σ / D)."""
        return float(np.sqrt(self.total_variance / self.dim))

    @cached_property
    def mean_radius(self) -> float:
        """A bound on R_μ = max |x_i - μ|, from balls and boxes of the blocks."""
        return float(self.summary.reach(self.mean[None])[1].max())

    @cached_property
    def radius(self) -> float:
        """A bound on R = max |x_i|."""
        return float(self.summary.reach(np.zeros((1, self.dim)))[1].max())

    @cached_property
    def diameter_bounds(self) -> tuple[float, float]:
        """Bounds (low, high) on max |x_i - x_j|: the box's longest side, 2 R_μ or its diagonal."""
        sides = self.summary.high.max(axis=0) - self.summary.low.min(axis=0)
        return float(sides.max()), min(2 * self.mean_radius, float(np.linalg.norm(sides)))


def relative_weights(weights: Any, count: int) -> Floats | None:
    """Weights as they are given, checked; None where none are."""
    if weights is None:
        return None
    given = _check.array(weights, "weights").astype(np.float64)
    if given.shape != (count,):
        _check.fail("weights", f"shape {given.shape}", f"({count},)", "give one weight per point")
    if given.min() < 0 or not given.max() > 0:
        _check.fail(
            "weights", "a negative weight, or only zeros", "weights ≥ 0", "check the weights"
        )
    return given


def normalised(weights: Floats | None) -> Floats | None:
    """Weights that sum to one, read-only."""
    if weights is None:
        return None
    found = weights / weights.max()  # whose sum is finite
    found /= found.sum()
    found.flags.writeable = False
    return np.asarray(found)


def logs_of(weights: Floats | None, count: int, first: int, last: int) -> Floats:
    """Log-weights of some rows of `count`, read-only."""
    if weights is None:
        logs = np.full(last - first, -np.log(count))
    else:
        with np.errstate(divide="ignore"):
            logs = np.log(weights[first:last])
    logs.flags.writeable = False
    return logs


@dataclass(frozen=True, eq=False, repr=False)
class StoredPoints(AwayPoints):
    """Weighted points of R^D that are read block by block, whenever they are needed.

    Made by `analytic.scale.stored`, or from a file or array that `OptimalDenoiser` is given.
    """

    rows: Source
    block: int
    relative: Floats | None = None
    """(N,) relative weights; None where all are equal."""
    name: str = "points"
    progress: bool = False
    most: int = NUMBERS
    ends: tuple[int, ...] | None = None
    """Row after the last of each block, where blocks are not of one size."""

    def __repr__(self) -> str:
        return f"StoredPoints({self.name!r}, N={len(self)}, D={self.dim}, block={self.block})"

    @property
    def dim(self) -> int:
        """Dimension D of the space."""
        return self.rows.shape[1]

    @cached_property
    def cuts(self) -> list[tuple[int, int]]:  # type: ignore[override]
        """First row of each block, and the row after its last."""
        if self.ends is not None:
            return list(pairwise((0, *self.ends)))
        size = self.rows.shape[0]
        return [(k, min(k + self.block, size)) for k in range(0, size, self.block)]

    def at(self, index: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Points (B, D) and log-weights (B,) of some indices."""
        rows, where = np.unique(index, return_inverse=True)
        found, logs = np.empty((len(rows), self.dim)), np.empty(len(rows))
        # one read for all points of a chunk, which comes whole anyway
        chunk = rows // min(self.rows.chunk, self.block)
        starts = np.flatnonzero(np.diff(chunk, prepend=-1)).tolist()
        for a, b in pairwise([*starts, len(rows)]):
            first, last = int(rows[a]), int(rows[b - 1]) + 1
            at = rows[a:b] - first
            found[a:b] = self.rows.read(first, last)[at]
            logs[a:b] = self.log_weights(first, last)[at]
        return found[where], logs[where]

    def shards(self, which: Sequence[int]) -> Iterator[Shard]:
        """Blocks of ascending numbers, the next one read ahead."""
        cuts = [self.cuts[k] for k in which]
        with bar(len(cuts), "blocks", self.progress and len(cuts) > 1) as advance:
            for (first, last), piece in zip(cuts, ahead(self.rows, cuts), strict=True):
                yield Shard.of(piece, self.log_weights(first, last), first, {})
                advance(1)

    def parts(
        self, part: Callable[..., Part], common: tuple[Any, ...], asked: Mapping[int, Any]
    ) -> dict[int, Part]:
        """What part(shard, common, asked[k]) is for some blocks."""
        which = sorted(asked)
        shards = self.shards(which)
        return {k: part(shard, common, asked[k]) for k, shard in zip(which, shards, strict=True)}

    def reduced(
        self,
        part: Callable[..., Part],
        merge: Callable[..., Part],
        common: tuple[Any, ...],
        asked: Mapping[int, Any],
        ready: Mapping[int, Part] | None = None,
    ) -> Part:
        """Parts of some blocks merged, merge(left, right, common), in the tree of all blocks."""
        shards, known = self.shards(sorted(asked)), ready or {}

        def both(a: Part, b: Part) -> Part:
            return merge(a, b, common)

        def parts() -> Iterator[Part | None]:
            for k in range(len(self.cuts)):
                found = part(next(shards), common, asked[k]) if k in asked else None
                yield merged(known.get(k), found, both)
            next(shards, None)  # past the last one: the bar is full, the reader done

        result = folded(parts(), both)
        assert result is not None
        return result


def _sound(known: Summary) -> Summary:
    low, high = known.low.min(axis=0), known.high.max(axis=0)
    with np.errstate(over="ignore"):
        spread = float((high - low).max())
    size = float(np.maximum(np.abs(low), np.abs(high)).max())
    if (spread and not 1 / WIDEST < spread < WIDEST) or size >= WIDEST:
        _check.fail(
            "points", f"coordinates of a range of {spread:.3g} up to {size:.3g}",
            "a range between 1e-50 and 1e50", "rescale the data",
        )  # fmt: skip
    return known
