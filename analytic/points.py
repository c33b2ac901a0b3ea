"""Finite datasets as weighted point sets.

A `PointSet` is the empirical distribution p_0 = Σ π_i δ(x_i) with x_i ∈ R^D,
π_i > 0 and Σ π_i = 1. Equal points are one point whose weight is the sum, so
the x_i are distinct: distances between different points are positive, as the
collapse certificate needs. Statistics are weighted and computed once, when
first asked for:

    μ = Σ π_i x_i,   Σ = Σ π_i (x_i - μ)(x_i - μ)ᵀ,   R_μ = max |x_i - μ|,
    diam = max |x_i - x_j|,   affine span = μ + span{x_i - μ}.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _check

__all__ = ["AffineSpan", "PointSet", "as_points"]

Floats = NDArray[np.float64]

_BLOCK = 1 << 20
"""Numbers handled at a time where a full-size temporary would double the memory."""


class AffineSpan(NamedTuple):
    """The affine span of a point set: an origin (D,) and an orthonormal basis (rank, D)."""

    origin: Floats
    basis: Floats

    @property
    def rank(self) -> int:
        """Dimension of the span."""
        return int(self.basis.shape[0])


@dataclass(frozen=True, eq=False, repr=False)
class PointSet:
    """A frozen set of N distinct weighted points in R^D.

    Parameters
    ----------
    points : (N, D) array of real numbers; float64 inside. A (N,) array is not
        taken for N points on a line: give it the shape (N, 1).
    weights : (N,) non-negative, not all zero, optional (default: equal). They
        are normalised; points of weight zero are dropped.
    labels : (N,) optional class labels. Equal points that disagree keep the
        label of the larger weight, with a warning.
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
        groups = _groups(points)
        if groups is None:
            points = np.array(points, dtype=np.float64, order="C")
            labels = None if labels is None else labels.copy()
        else:
            first, member = groups
            if labels is not None:
                labels = _merge_labels(labels, raw, first, member)
            raw = np.bincount(member, weights=raw, minlength=first.size).astype(np.float64)
            points = np.ascontiguousarray(points[first], dtype=np.float64)
        weights = raw / raw.sum()
        for each in (points, labels, weights):
            if each is not None:
                each.flags.writeable = False
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "labels", labels)
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
        """(D, D) weighted covariance Σ."""
        factor = self._factor(weighted=True)
        return _frozen(np.asarray(factor.T @ factor))

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

    def sample(self, count: int, rng: np.random.Generator) -> Floats:
        """(count, D) points drawn with probability π_i, as float64 rows."""
        return self.points[rng.choice(len(self), size=count, p=self.weights)]

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
        stays bounded and nothing is squared.
        """
        fold = np.empty((0, self.dim))
        for block in self._blocks():
            rows = self.points[block] - self.mean
            if weighted:
                rows *= np.sqrt(self.weights[block])[:, None]
            fold = np.concatenate([fold, rows])
            if fold.shape[0] > self.dim:
                fold = np.asarray(np.linalg.qr(fold, mode="r"))
        return fold


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


def as_points(value: Any, argument: str = "points") -> PointSet:
    """A `PointSet` as it is, or one made from an (N, D) array."""
    if isinstance(value, PointSet):
        return value
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
    labels = np.asarray(value)
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


def _merge_labels(
    labels: NDArray[Any], weights: Floats, first: NDArray[np.intp], member: NDArray[np.intp]
) -> NDArray[Any]:
    merged = labels[first].copy()
    clash = np.flatnonzero(labels != merged[member])
    groups = np.unique(member[clash])
    if not groups.size:
        return merged
    inside = np.flatnonzero(np.isin(member, groups))
    inside = inside[np.argsort(member[inside], kind="stable")]
    cuts = np.flatnonzero(np.diff(member[inside])) + 1
    for group, rows in zip(groups, np.split(inside, cuts), strict=True):
        names, inverse = np.unique(labels[rows], return_inverse=True)
        merged[group] = names[np.bincount(inverse, weights=weights[rows]).argmax()]
    warnings.warn(
        f"{groups.size} merged points carried different labels; each keeps the label of the "
        "larger weight. Drop the duplicates beforehand to choose otherwise.",
        stacklevel=4,
    )
    return merged
