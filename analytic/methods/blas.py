"""High dimension."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from . import images
from ._base import Floats, Sites, Softmax, inverse
from .dense import Dense

SLAB = 4_000_000
FAR = 1e15


@dataclass(frozen=True, eq=False)
class Blas:
    """Bounds first."""

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
        self._put(found, np.flatnonzero(far), Dense(self.sites).softmax(q[far], s[far], single))
        near = np.flatnonzero(~far)
        step = max(1, min(SLAB // len(state.head), SLAB // dim))
        for a in range(0, len(near), step):
            rows = near[a : a + step]
            self._put(found, rows, self._near(q[rows], s[rows], single))
        return found

    @staticmethod
    def _put(whole: Softmax, rows: NDArray[np.int64], part: Softmax) -> None:
        for into, values in zip(whole, part, strict=True):
            into[rows] = values

    @cached_property
    def _images(self) -> tuple[images.Frame, images.Images, float]:
        from ..kernels import candidates

        return images.build(self.sites, candidates.BLOCK)

    def _near(self, q: Floats, s: Floats, single: bool) -> Softmax:
        from ..kernels import candidates

        points, logs = self.sites.points, self.sites.logs
        frame, state, worst = self._images
        y, rests, error = frame.image(q)
        low, likely = candidates.survey(state.head, y, rests)
        ref, square = candidates.probe(
            points, logs, q, s, state.order, state.head, y, rests, likely
        )
        cut = float(np.log(len(points) / self.tolerance))
        rows = np.argsort(likely.argmin(axis=0), kind="stable")
        inv = inverse(s)
        top, log_sum = np.empty(len(q)), np.empty(len(q))
        shift, kept = np.empty(q.shape), np.empty(len(q), np.int64)
        for _ in range(8):
            part = candidates.softmax(
                points, logs, q, s, inv, ref, square, state, y, rests, low, rows, cut, error + worst
            )
            top[rows], log_sum[rows] = part[0][rows], part[2][rows]
            shift[rows], kept[rows] = part[3][rows], part[4][rows]
            index = part[1]
            worse = (top > (20.0 if single else 0.0)) | ((top == 0.0) & (index < ref))
            rows = rows[worse[rows]]
            if not rows.size:
                break
            ref[rows] = index[rows]
            gap = q[rows] - points[ref[rows]]
            square[rows] = np.einsum("ij,ij->i", gap, gap)
        return Softmax(ref, log_sum, shift, 1.01 * (len(points) - kept) * np.exp(-cut))
