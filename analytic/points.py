"""Finite datasets as weighted point sets.

A `PointSet` is the empirical distribution p_0 = Σ π_i δ(x_i) with x_i ∈ R^D,
π_i > 0 and Σ π_i = 1. Equal points are one point whose weight is the sum, so
the x_i are distinct: distances between different points are positive, as the
collapse certificate needs. Statistics are weighted and computed once, when
first asked for:

    μ = Σ π_i x_i,   Σ = Σ π_i (x_i - μ)(x_i - μ)ᵀ,   R_μ = max |x_i - μ|,
    diam = max |x_i - x_j|,   affine span = μ + span{x_i - μ}.

With labels p_0 is a mixture of classes, p_0 = Σ_y π(y) p_0(·|y). Where equal points had
different labels, each keeps its own part π_i(y) of the weight π_i: p_0(x_i|y) = π_i(y)/π(y).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _check
from ._lazy import cached_property

__all__ = ["AffineSpan", "Elsewhere", "PointSet", "Shared", "as_points"]

Floats = NDArray[np.float64]

_BLOCK = 1 << 20
"""Numbers handled at a time where a full-size temporary would double the memory."""


class Elsewhere:
    """Points that are not in memory; see `analytic.scale`."""


class AffineSpan(NamedTuple):
    """The affine span of a point set: an origin (D,) and an orthonormal basis (rank, D)."""

    origin: Floats
    basis: Floats

    @property
    def rank(self) -> int:
        """Dimension of the span."""
        return int(self.basis.shape[0])


class Shared(NamedTuple):
    """Points of several classes: one entry for each pair of such a point and one of its labels."""

    point: NDArray[np.intp]
    """(M,) index of the point."""
    labels: NDArray[Any]
    """(M,) the label."""
    weights: Floats
    """(M,) that class's part π_i(y) of the point's weight; over a point they sum to π_i."""


@dataclass(frozen=True, eq=False, repr=False)
class PointSet:
    """A frozen set of N distinct weighted points in R^D.

    Parameters
    ----------
    points : (N, D) array of real numbers; float64 inside. A (N,) array is not
        taken for N points on a line: give it the shape (N, 1).
    weights : (N,) non-negative, not all zero, optional (default: equal). They
        are normalised; points of weight zero are dropped.
    labels : (N,) optional class labels. Where equal points disagree, `labels` has
        that of the larger weight, with a warning; `shared` keeps all of them, and so
        `given`, `classes` and `class_weights` are exact.
    name : what the set is called in reports and figures.

    Raises
    ------
    TypeError, ValueError
        for empty, non-finite, wrongly shaped or too large input.

    The arrays are copies and read-only. Merging keeps the order of first
    appearance.
    """

    points: Floats
    weights: Any = None
    labels: NDArray[Any] | None = None
    name: str = field(default="points", kw_only=True)
    shared: Shared | None = field(default=None, init=False)
    """The points that carry more than one label, None if there are none."""

    def __post_init__(self) -> None:
        points = _check.array(self.points, "points")
        if points.ndim != 2:
            _check.fail(
                "points",
                f"shape {points.shape}",
                "a 2-D array (N, D)",
                "flatten each point into one row; for data on a line use points[:, None]",
            )
        if 0 in points.shape:
            _check.fail(
                "points",
                f"shape {points.shape}",
                "at least one point and one coordinate",
                "add some",
            )
        count = points.shape[0]
        if max(float(points.max()), -float(points.min())) > _check.SIGMA_LIMIT:
            _check.fail("points", "coordinates beyond 1e150", "at most 1e150", "rescale the data")
        raw = _weights(self.weights, count)
        labels = None if self.labels is None else _labels(self.labels, count)

        points = points[raw > 0] if not raw.all() else points
        if labels is not None:
            labels = labels[raw > 0]
        raw = raw[raw > 0]
        groups, shared = _groups(points), None
        if groups is None:
            points = np.array(points, dtype=np.float64, order="C")
            labels = None if labels is None else labels.copy()
        else:
            first, member = groups
            if labels is not None:
                labels, shared = _merge_labels(labels, raw, first, member)
            raw = np.bincount(member, weights=raw, minlength=first.size).astype(np.float64)
            points = np.ascontiguousarray(points[first], dtype=np.float64)
        weights = raw / raw.sum()
        if shared is not None:
            shared = shared._replace(weights=shared.weights / raw.sum())
        for each in (points, labels, weights, *(shared or ())):
            if each is not None:
                each.flags.writeable = False
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "shared", shared)
        object.__setattr__(self, "name", _check.text(self.name, "name"))

    def __len__(self) -> int:
        return int(self.points.shape[0])

    def __repr__(self) -> str:
        return f"PointSet({self.name!r}, N={len(self)}, D={self.dim})"

    @property
    def dim(self) -> int:
        """Dimension D of the space."""
        return int(self.points.shape[1])

    @cached_property
    def log_weights(self) -> Floats:
        """(N,) log π_i."""
        return _frozen(np.log(self.weights))

    @cached_property
    def mean(self) -> Floats:
        """(D,) weighted mean μ, computed around the first point (exact offsets stay exact)."""
        origin = self.points[0]
        total = np.zeros(self.dim)
        for block in self._blocks():
            total += self.weights[block] @ (self.points[block] - origin)
        return _frozen(origin + total)

    @cached_property
    def covariance(self) -> Floats:
        """(D, D) weighted covariance Σ, by products: off by some ε√(Σ_jj Σ_kk)."""
        total = np.zeros((self.dim, self.dim))
        for block in self._blocks():
            rows = (self.points[block] - self.mean) * np.sqrt(self.weights[block])[:, None]
            total += rows.T @ rows
        return _frozen(total)

    @cached_property
    def spectrum(self) -> Floats:
        """(min(N, D),) eigenvalues of Σ, largest first, from singular values (no squaring)."""
        return _frozen(
            np.asarray(np.linalg.svd(self._factor(weighted=True), compute_uv=False)) ** 2
        )

    @cached_property
    def total_variance(self) -> float:
        """Tr Σ = E|x_0 - μ|²."""
        return float(sum(self.weights[b] @ self._squared_radii(b) for b in self._blocks()))

    @property
    def scale(self) -> float:
        """Root-mean-square coordinate √(tr Σ / D): the σ_data of the EDM literature."""
        return float(np.sqrt(self.total_variance / self.dim))

    @cached_property
    def radius(self) -> float:
        """R = max |x_i|, rounded up by a few units in the last place."""
        worst = max(np.einsum("ij,ij->i", p, p).max() for p in map(self._rows, self._blocks()))
        return float(np.sqrt(worst) * (1 + self._slack))

    @cached_property
    def mean_radius(self) -> float:
        """R_μ = max |x_i - μ|, rounded up by a few units in the last place."""
        worst = max(self._squared_radii(block).max() for block in self._blocks())
        return float(np.sqrt(worst) * (1 + self._slack))

    @cached_property
    def diameter_bounds(self) -> tuple[float, float]:
        """Bounds (low, high) on diam = max |x_i - x_j|.

        All pairs where N²D ≤ 10⁹, otherwise the better of two sweeps from the
        farthest point below and 2 R_μ above.
        """
        if len(self) == 1:
            return 0.0, 0.0
        if len(self) ** 2 * self.dim <= 10**9:
            from scipy.spatial.distance import pdist

            low = float(pdist(self.points).max())
            return low * (1 - self._slack), low * (1 + self._slack)
        start, low = self.mean, 0.0
        for _ in range(3):
            gaps = np.concatenate(
                [np.linalg.norm(self._rows(block) - start, axis=1) for block in self._blocks()]
            )
            far = int(gaps.argmax())
            low = low if start is self.mean else max(low, float(gaps[far]))
            start = self.points[far]
        return low * (1 - self._slack), 2 * self.mean_radius

    @cached_property
    def span(self) -> AffineSpan:
        """Affine span of the points: origin μ and an orthonormal basis of directions.

        With at most as many points as dimensions, by a twice repeated Cholesky
        factorisation where the differences are far from dependent; otherwise
        by singular values, of which those below
        max(N, D)·ε·max(σ_1, √N·max|x_i|) count as zero.
        """
        if 1 < len(self) <= self.dim:
            basis = _orthonormal(self.points[1:] - self.points[0])
            if basis is not None:
                return AffineSpan(self.mean, _frozen(basis))
        factor = self._factor(weighted=False)
        _, values, basis = np.linalg.svd(factor, full_matrices=False)
        largest = max(values[0], np.sqrt(len(self)) * np.abs(self.points).max())
        rank = int((values > max(len(self), self.dim) * np.finfo(float).eps * largest).sum())
        return AffineSpan(self.mean, _frozen(basis[:rank].copy()))

    @cached_property
    def classes(self) -> NDArray[Any]:
        """(C,) the labels there are, sorted.

        Raises
        ------
        ValueError
            for points without labels; so do `class_weights`, `members` and `given`.
        """
        found = np.unique(_labelled(self))
        # a label that is the lighter one wherever it occurs
        found = found if self.shared is None else np.union1d(found, self.shared.labels)
        found.flags.writeable = False
        return found

    @cached_property
    def class_weights(self) -> Floats:
        """(C,) π(y) of the `classes`, summing to 1."""
        totals = np.array([self._part(label).sum() for label in self.classes])
        return _frozen(totals / totals.sum())

    def members(self, label: Any) -> NDArray[np.intp]:
        """(n,) ascending indices of the points of a class: `points[members]` are `given`'s."""
        return np.flatnonzero(self._part(self.known_label(label)))

    def given(self, label: Any) -> PointSet:
        """The points of a class, p_0(·|y), with weights π_i(y)/π(y).

        Raises
        ------
        ValueError, TypeError
            for points without labels, and for a label that is none of `classes`.
        """
        known = self.known_label(label)
        part = self._part(known)
        rows = np.flatnonzero(part)
        labels = np.full(rows.size, known, dtype=_labelled(self).dtype)
        return PointSet(self.points[rows], part[rows], labels, name=f"{self.name}, class {known}")

    def subset(self, rows: Any) -> PointSet:
        """Some of the points, by their indices, each once; weights are normalised anew."""
        keep = _check.raw(rows, "rows")
        if keep.ndim != 1 or keep.dtype.kind not in "iu" or np.unique(keep).size != keep.size:
            _check.fail(
                "rows", _check.show(rows), "(n,) different whole numbers", "name each point once"
            )
        if keep.size and not (keep.min() >= 0 and keep.max() < len(self)):
            _check.fail("rows", "an index outside the set", "0 ≤ index < N", "check the indices")
        labels = None if self.labels is None else self.labels[keep]
        found = PointSet(self.points[keep], self.weights[keep], labels, name=self.name)
        if self.shared is not None and (inside := np.isin(self.shared.point, keep)).any():
            place = np.empty(len(self), dtype=np.intp)
            place[keep] = np.arange(keep.size)
            index, names, parts = (each[inside] for each in self.shared)
            parts = parts * (found.weights[place[index]] / self.weights[index])
            shared = Shared(place[index], names, parts)
            for each in shared:
                each.flags.writeable = False
            object.__setattr__(found, "shared", shared)
        return found

    def renamed(self, name: str) -> PointSet:
        """The same points under another name."""
        found = copy.copy(self)
        object.__setattr__(found, "name", _check.text(name, "name"))
        return found

    def known_label(self, label: Any) -> Any:
        """A label as `classes` has it."""
        return known_label(label, self.classes.tolist(), "see PointSet.classes")

    def _part(self, label: Any) -> Floats:
        """(N,) π_i(y), 0 for points of other classes."""
        part = np.where(self.labels == label, self.weights, 0.0)
        if self.shared is not None:
            own = self.shared.labels == label
            part[self.shared.point[own]] = self.shared.weights[own]
        return part

    def at(self, index: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Points (B, D) and log-weights (B,) of some indices."""
        return self.points[index], self.log_weights[index]

    def sample(self, count: int, rng: np.random.Generator) -> Floats:
        """(count, D) points drawn with probability π_i, as float64 rows."""
        many = _check.integer(count, "count")
        _check.size(many, self.dim, "count")
        remedy = "pass np.random.default_rng(seed)"
        source = _check.instance(rng, "rng", np.random.Generator, remedy)
        return self.points[source.choice(len(self), size=many, p=self.weights)]

    @property
    def _slack(self) -> float:
        return (self.dim + 8) * float(np.finfo(float).eps)

    def _blocks(self) -> list[slice]:
        step = max(1, _BLOCK // self.dim)
        return [slice(k, k + step) for k in range(0, len(self), step)]

    def _rows(self, block: slice) -> Floats:
        return self.points[block]

    def _squared_radii(self, block: slice) -> Floats:
        gaps = self.points[block] - self.mean
        return np.asarray(np.einsum("ij,ij->i", gaps, gaps))

    def _factor(self, weighted: bool) -> Floats:
        """A matrix F with FᵀF = Σ (or the unweighted scatter), at most max(N', D) rows.

        Rows are folded block by block through a QR factorisation, so memory
        stays bounded and nothing is squared. A fold costs D³ even for one more row, so at
        least D of them are folded at a time.
        """
        fold, waiting = np.empty((0, self.dim)), 0
        parts = [fold]
        for block in self._blocks():
            rows = self.points[block] - self.mean
            if weighted:
                rows *= np.sqrt(self.weights[block])[:, None]
            parts.append(rows)
            waiting += len(rows)
            if waiting >= self.dim:
                fold, waiting = _folded(parts), 0
                parts = [fold]
        return _folded(parts) if waiting else fold


def _folded(parts: list[Floats]) -> Floats:
    """The parts below each other, as a triangle if they have more rows than columns."""
    rows = np.concatenate(parts)
    return np.asarray(np.linalg.qr(rows, mode="r")) if len(rows) > rows.shape[1] else rows


def _orthonormal(rows: Floats) -> Floats | None:
    """Orthonormal rows that span given ones, None where these are close to dependent.

    Twice Q = L⁻¹ A with L Lᵀ = A Aᵀ ("CholeskyQR2": Yamamoto et al. 2015,
    https://doi.org/10.1553/etna_vol44s306): orthonormal to rounding as long as the
    condition number stays well below 1/√ε; here below some 1e6.
    """
    # one library for all: two pools of BLAS threads would wait for each other's cores
    from scipy.linalg.blas import dsyrk, dtrsm
    from scipy.linalg.lapack import dpotrf

    # columns in Fortran's order: the same numbers, which the products then need not copy
    columns = rows.T
    for limit in (1e-6, 0.1):
        factor, failed = dpotrf(dsyrk(1.0, columns, trans=1, lower=1), lower=1, overwrite_a=1)
        if failed or not (
            np.diagonal(factor).min() > limit * np.sqrt(np.square(factor).sum(axis=1).max())
        ):
            return None
        columns = dtrsm(1.0, factor, columns, side=1, lower=1, trans_a=1, overwrite_b=1)
    return np.ascontiguousarray(columns.T)


def known_label(label: Any, names: Sequence[Any], remedy: str) -> Any:
    """A label as it is among the names, of one kind all: True is no 1, and an array no label."""
    own, scalar = np.asarray(names).dtype.kind, _check.raw(label, "label")
    alike = scalar.dtype.kind in "iu" if own in "iu" else scalar.dtype.kind == own
    if scalar.ndim or not alike or scalar.item() not in names:
        shown = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
        _check.fail("label", _check.show(label), f"one of the labels {shown}", remedy)
    return scalar.item()


def as_points(value: Any, argument: str = "points") -> PointSet:
    """A `PointSet` as it is, or one made from an (N, D) array."""
    if isinstance(value, PointSet):
        return value
    if isinstance(value, Elsewhere):
        _check.fail(
            argument,
            f"{value!r}, which is not in memory",
            "a PointSet",
            "take a part of the points, an.PointSet(array[rows])",
            TypeError,
        )
    if isinstance(value, (str, bytes)) or value is None:
        _check.fail(
            argument,
            _check.show(value),
            "a PointSet or an (N, D) array",
            "load files with analytic.datasets.load",
            TypeError,
        )
    return PointSet(value)


def _frozen(array: Floats) -> Floats:
    array.flags.writeable = False
    return array


def _weights(value: Any, count: int) -> Floats:
    if value is None:
        return np.ones(count)
    weights = _check.array(value, "weights").astype(np.float64)
    if weights.shape != (count,):
        _check.fail("weights", f"shape {weights.shape}", f"({count},)", "give one weight per point")
    if (weights < 0).any():
        k = int((weights < 0).argmax())
        _check.fail(
            "weights",
            f"{weights[k]} at index {k}",
            "numbers ≥ 0",
            "weights are probabilities up to a common factor",
        )
    largest = weights.max()
    if largest == 0:
        _check.fail("weights", "all zeros", "a positive sum", "give some point a positive weight")
    relative = weights / largest
    # what vanishes against the sum is no point of the set
    return np.asarray(np.where(relative / relative.sum() > 0, relative, 0.0))


def _labels(value: Any, count: int) -> NDArray[Any]:
    labels = _check.raw(value, "labels")
    if labels.shape != (count,) or labels.dtype.kind not in "iubUS":
        _check.fail(
            "labels",
            _check.show(labels),
            f"({count},) whole numbers or strings",
            "give one class label per point",
        )
    return labels


def _groups(points: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Which rows are equal: (first row of each group, group of each row), None if all differ.

    Rows are bucketed by a 64-bit sum of their scrambled bit patterns, then
    compared in full, so that memory stays at a few numbers per row.
    """
    count, dim = points.shape
    rng = np.random.default_rng(0x5EED)
    odd = np.uint64(1)
    factors = np.asarray(rng.integers(1, 2**63, size=dim, dtype=np.uint64) | odd)
    keys = np.empty(count, dtype=np.uint64)
    step = max(1, _BLOCK // dim)
    for k in range(0, count, step):
        # + 0.0 makes -0.0 and 0.0 the same point
        bits = (points[k : k + step].astype(np.float64) + 0.0).view(np.uint64)
        mixed = (bits ^ (bits >> np.uint64(29))) * factors
        mixed ^= mixed >> np.uint64(32)
        keys[k : k + step] = np.sum(mixed * factors[::-1], axis=1, dtype=np.uint64)
    order = np.argsort(keys, kind="stable")
    same = np.diff(keys[order]) == 0
    if not same.any():
        return None
    member = np.arange(count)
    starts = np.flatnonzero(np.concatenate([[True], ~same]))
    ends = np.append(starts[1:], count)
    for a, b in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        bucket = order[a:b]
        _, inverse = np.unique(points[bucket] + 0.0, axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)
        heads = np.full(inverse.max() + 1, count)
        np.minimum.at(heads, inverse, bucket)
        member[bucket] = heads[inverse]
    first, group = np.unique(member, return_inverse=True)
    return None if first.size == count else (first, group.reshape(-1))


def _labelled(points: PointSet) -> NDArray[Any]:
    """The labels of points that have some."""
    if points.labels is None:
        _check.fail(
            "points",
            f"{points!r} without labels",
            "points with class labels",
            "make them with PointSet(points, labels=...)",
        )
    return points.labels


def _merge_labels(
    labels: NDArray[Any], weights: Floats, first: NDArray[np.intp], member: NDArray[np.intp]
) -> tuple[NDArray[Any], Shared | None]:
    """The heaviest label of each group of equal points, and all those of groups with several."""
    merged = labels[first].copy()
    clash = np.flatnonzero(labels != merged[member])
    groups = np.unique(member[clash])
    if not groups.size:
        return merged, None
    inside = np.flatnonzero(np.isin(member, groups))
    inside = inside[np.argsort(member[inside], kind="stable")]
    cuts = np.flatnonzero(np.diff(member[inside])) + 1
    index, every, parts = [], [], []
    for group, rows in zip(groups, np.split(inside, cuts), strict=True):
        names, inverse = np.unique(labels[rows], return_inverse=True)
        sums = np.bincount(inverse.reshape(-1), weights=weights[rows])
        merged[group] = names[sums.argmax()]
        index.append(np.full(names.size, group))
        every.append(names)
        parts.append(sums)
    warnings.warn(
        f"{groups.size} merged points carried different labels; `labels` has that of the larger "
        "weight, `given` knows all. Drop the duplicates beforehand to choose otherwise.",
        stacklevel=4,
    )
    return merged, Shared(np.concatenate(index), np.concatenate(every), np.concatenate(parts))
