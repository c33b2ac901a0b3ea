"""High dimension: certified bounds, exact sums over what passes them, products for the rest.

Images of the points (`images`) bound every distance from below. A point is left
out if its bound puts it more than C below a reference of the set.

Candidates. Where few points pass, they are summed from float64 differences, as
`Dense` does, and every logit keeps that method's error. C = log(N/tolerance), so what
is left out weighs at most `tolerance` of what is kept. A point counts if and only if
its float64 logit is at least -C; so results are bit for bit the same whatever shares
the batch and however the BLAS library rounds, unless two points tie for the largest
weight to within rounding. float64 queries go this way, or to `Dense` where an
estimate says that most points pass; the two differ by the tolerance.

Products. Where many pass and the caller keeps float32 (`single`), points in groups
centred at c_g go through two float32 products, z·Z_i and Σ w_i Z_i with z = x - c_g
and Z_i = x_i - c_g; groups are merged exactly by their maxima. Weights below 2⁻⁴⁰ are
exactly zero, and groups that lie below that for a query are skipped for it. With
u = 2⁻²⁴ a logit is then off by at most

    |δt_i| ≤ u (D + 4) |z||Z_i|/σ² + u|t_i|,

the worst case over all orders of summation, here held to `WRONG`; roundings being of
either sign, it is a few u|z||Z_i|/σ² in fact. Where that exceeds `COARSE`, all points
within `HEAVY` nats of the largest are computed anew from float64 differences, so that
the rest of the error is e^-`HEAVY` of this. Products depend, within these bounds, on
the size of the batch.

In either case `truncation` bounds what was left out, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._lazy import cached_property
from . import images
from ._base import Floats, Sites, Softmax, inverse
from .dense import Dense

SLAB = 2_000_000
"""Bounds of blocks, or numbers of the queries, held at a time."""

FAR = 1e15
"""Queries and bandwidths beyond so many data units are left to `Dense`."""

CUT = 40 * float(np.log(2.0))
"""Weights below e^-CUT = 2^-40 are zero in products."""

PAIR = 20.0
"""Cost of a candidate in units of a point in the products, both per dimension."""

SINGLE = 2.0**-24
"""Unit roundoff of float32."""

LIMIT = 1e-100
"""Bandwidths below that, in data units, count as the limit."""

MOST = 1 / 3
"""Share of the points from which on float64 sums are left to `Dense`."""

COARSE = 4e-5
"""Largest u|z||Z|/σ² at which heavy points keep the logits of the products."""

FAR_REFERENCE = 20.0
"""A logit so far above the reference asks for a better one."""

HEAVY = 14.0
"""Nats below the largest down to which points are computed anew."""

WRONG = 1.0
"""Largest worst-case error of a logit with which products are used at all."""


class _View(NamedTuple):
    """Queries with their images, references and blockwise bounds."""

    q: Floats
    s: Floats
    inv: Floats
    ref: NDArray[np.int64]
    square: Floats
    y: images.Singles
    rests: images.Singles
    error: Floats
    low: images.Singles
    likely: images.Singles

    def at(self, rows: NDArray[np.int64]) -> _View:
        """Some of the queries."""
        if len(rows) == len(self.q):
            return self
        columns = ("low", "likely")
        parts: dict[str, Any] = {
            name: np.ascontiguousarray(part[:, rows]) if name in columns else part[rows]
            for name, part in self._asdict().items()
        }
        return _View(**parts)


@dataclass(frozen=True, eq=False)
class Blas:
    """Bounds in few dimensions first, then only the points or groups that matter.

    Parameters
    ----------
    sites : `Sites`.
    tolerance : mass that candidates may leave out, relative; `Softmax.truncation` reports it.

    Set-up is at the first call: images take 4(min(D, 512) + 6)N bytes where D ≥ 1024 and
    4·17 N otherwise; the float32 copy of the points, 4DN bytes, is made when products
    are first wanted.
    """

    sites: Sites
    tolerance: float = 1e-13

    def softmax(self, q: Floats, s: Floats, single: bool = False) -> Softmax:
        """Softmax for queries q (B, D) and bandwidths s (B,) ≥ 0."""
        frame, state, _ = self._images
        count, dim = q.shape
        found = Softmax(
            np.zeros(count, np.int64), np.empty(count), np.empty((count, dim)), np.zeros(count)
        )
        with np.errstate(over="ignore"):
            reach = np.abs(q - frame.centre).max(axis=1, initial=0.0) + s
        far = ~(reach < FAR * frame.unit)
        found.put(np.flatnonzero(far), Dense(self.sites).softmax(q[far], s[far], single))
        near = np.flatnonzero(~far)
        step = max(1, min(SLAB // len(state.head), SLAB // dim))
        for a in range(0, len(near), step):
            rows = near[a : a + step]
            found.put(rows, self._near(q[rows], s[rows], single))
        return found

    @cached_property
    def _images(self) -> tuple[images.Frame, images.Images, float]:
        from ..kernels import candidates

        return images.build(self.sites, candidates.BLOCK)

    def share(self, q: Floats, s: Floats) -> Floats:
        """(B,) part of the points that the bounds let pass, as estimated."""
        return self._passed(self._view(q, s))[:, 1] / len(self.sites.points)

    def _view(self, q: Floats, s: Floats) -> _View:
        from ..kernels import candidates

        frame, state, worst = self._images
        y, rests, error = frame.image(q)
        error += worst
        low, likely = candidates.survey(state.head, y, rests)
        ref, square = candidates.probe(
            *self.sites[:2], q, s, state.order, state.head, y, rests, likely
        )
        return _View(q, s, inverse(s), ref, square, y, rests, error, low, likely)

    def _near(self, q: Floats, s: Floats, single: bool) -> Softmax:
        count, frame = len(self.sites.points), self._images[0]
        view = self._view(q, s)
        found = Softmax(view.ref, np.empty(len(q)), np.empty(q.shape), np.zeros(len(q)))
        passed = self._passed(view)
        many = self._many(view, passed) if single else np.zeros(len(q), bool)
        # in the limit σ → 0 the candidates are the nearest points, however far the bounds are
        most = ~many & (passed[:, 1] > MOST * count) & (s > LIMIT * frame.unit)
        if most.any():
            rows = np.flatnonzero(most)
            found.put(rows, Dense(self.sites).softmax(q[rows], s[rows], single))
        few = np.flatnonzero(~(many | most))
        if few.size:
            found.put(few, self._sparse(view.at(few), single))
        if many.any():
            rows = np.flatnonzero(many)
            found.put(rows, self._products(view.at(rows)))
        return found

    def _passed(self, view: _View) -> Floats:
        """(B, 2) blocks and points, as estimated, that may weigh more than e^-CUT."""
        from ..kernels import candidates

        dim, state = self.sites.points.shape[1], self._images[1]
        limits = (view.s, view.square, self.sites.logs[view.ref], CUT, view.error, dim)
        return candidates.census(state, view.y, view.rests, view.low, *limits)

    def _many(self, view: _View, passed: Floats) -> NDArray[np.bool_]:
        """Queries for which products cost less than candidates, and are precise enough."""
        from ..kernels import candidates

        dim = self.sites.points.shape[1]
        product = passed[:, 0] * candidates.BLOCK * (dim + 60)
        return (product < passed[:, 1] * dim * PAIR) & self._precise(view)

    def _precise(self, view: _View) -> NDArray[np.bool_]:
        dim = self.sites.points.shape[1]
        radius = float(self._groups.radii.max()) * self._images[1].unit
        with np.errstate(over="ignore"):
            reach = (np.sqrt(view.square) + 2 * radius) * view.inv
            return np.asarray(dim * SINGLE * reach * (radius * view.inv) <= WRONG)

    @cached_property
    def _groups(self) -> images.Groups:
        from ..kernels import candidates

        return images.groups(self.sites, self._images[1], self._blocks * candidates.BLOCK)

    @property
    def _blocks(self) -> int:
        """Blocks per group: small where sparsity pays, large where products are long."""
        return int(np.clip(self.sites.points.shape[1] // 48, 4, 32))

    def _products(self, view: _View) -> Softmax:
        from ..kernels import candidates, products

        dim, state, groups = self.sites.points.shape[1], self._images[1], self._groups
        dlog = self.sites.logs[view.ref]
        limits = (view.s, view.square, dlog, CUT, view.error, dim)
        live = candidates.live(state, view.low, *limits, self._blocks)
        scale = view.inv * state.unit
        top, s0 = np.zeros(len(view.q)), np.zeros(len(view.q))
        lost, total = np.zeros(len(view.q)), np.zeros(view.q.shape)
        sites = (self.sites.points, self.sites.logs, state.order)
        queries = (view.q, view.inv, view.ref)
        for g in range(len(live)):
            rows = np.flatnonzero(live[g])
            lost[~live[g]] += groups.size * np.exp(-CUT - top[~live[g]])
            if not rows.size:
                continue
            part = slice(g * groups.size, (g + 1) * groups.size)
            z = groups.rows[part]
            centre = groups.centres[g]
            aimed, row, apart = products.aim(view.q, view.inv, view.square, rows, centre)
            radius = groups.radii[g] * state.unit
            rough = SINGLE * apart * radius * view.inv[rows] ** 2 > COARSE
            t = aimed @ z.T
            terms = (row, groups.halves[part], groups.logs[part], rough, scale)
            mass, shrink = products.weigh(
                t, rows, terms, sites, queries, part.start, CUT, HEAVY, top, s0, lost
            )
            away = centre - self._images[0].centre
            products.merge(total, rows, t @ z, mass, shrink, state.unit, away)
        shift = total / s0[:, None] + (self._images[0].centre - self.sites.points[view.ref])
        found = Softmax(view.ref, top + np.log(s0), shift, 1.01 * lost / s0)
        poor = np.flatnonzero(top > FAR_REFERENCE)
        if poor.size:
            found.put(poor, self._sparse(view.at(poor), single=True))
        return found

    def _sparse(self, view: _View, single: bool) -> Softmax:
        from ..kernels import candidates

        points, logs = self.sites.points, self.sites.logs
        state, cut = self._images[1], float(np.log(len(points) / self.tolerance))
        q, ref, square = view.q, view.ref, view.square
        rows = np.argsort(view.likely.argmin(axis=0), kind="stable")
        top, log_sum = np.empty(len(q)), np.empty(len(q))
        shift, kept = np.empty(q.shape), np.empty(len(q), np.int64)
        for _ in range(8):
            given = (q, view.s, view.inv, ref, square, state, view.y, view.rests, view.low)
            part = candidates.softmax(points, logs, *given, rows, cut, view.error)
            top[rows], log_sum[rows] = part[0][rows], part[2][rows]
            shift[rows], kept[rows] = part[3][rows], part[4][rows]
            index = part[1]
            worse = (top > (FAR_REFERENCE if single else 0.0)) | ((top == 0.0) & (index < ref))
            rows = rows[worse[rows]]
            if not rows.size:
                break
            ref[rows] = index[rows]
            gap = q[rows] - points[ref[rows]]
            square[rows] = np.einsum("ij,ij->i", gap, gap)
        return Softmax(ref, log_sum, shift, 1.01 * (len(points) - kept) * np.exp(-cut))
