"""The judge: the posterior in 50-digit arithmetic, and the error that float64 may make.

`exact` evaluates the defining sums with mpmath, from the float64 numbers that
the library was given, taken as exact. `allowance` is the error bound stated by
`OptimalDenoiser`, computed in NumPy from those same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import mpmath as mp
import numpy as np

from analytic import PointSet

DIGITS = 50
EPS = 2.0**-53


@dataclass(frozen=True)
class Exact:
    """Posterior quantities of one query as mpmath numbers."""

    log_u: list
    u: list
    mean: list
    log_prob: mp.mpf
    score: list
    trace_cov: mp.mpf
    entropy: mp.mpf
    jacobian: mp.matrix
    sigma_derivative: list

    def jvp(self, v: np.ndarray) -> list:
        direction = [mp.mpf(float(c)) for c in v]
        size = len(direction)
        return [
            mp.fsum(self.jacobian[a, b] * direction[b] for b in range(size)) for a in range(size)
        ]

    def slope(self, sigma: float) -> list:
        """dD/dσ along the flow: ∂D/∂σ + (C/σ²)(x - D)/σ, with x - D = -σ² score."""
        with mp.workdps(DIGITS):
            size, s = len(self.score), mp.mpf(float(sigma))
            return [
                self.sigma_derivative[a]
                - s * mp.fsum(self.jacobian[a, b] * self.score[b] for b in range(size))
                for a in range(size)
            ]


def exact(points: PointSet, x: np.ndarray, sigma: float, moments: bool = False) -> Exact:
    """The posterior at one query x (D,), with its moments beyond the mean if asked for."""
    with mp.workdps(DIGITS):
        s = mp.mpf(float(sigma))
        q = [mp.mpf(float(c)) for c in x]
        rows = [[mp.mpf(float(c)) for c in row] for row in points.points]
        axes = range(len(q))
        logits = [
            mp.log(mp.mpf(float(weight)))
            - mp.fsum((q[d] - row[d]) ** 2 for d in axes) / (2 * s * s)
            for weight, row in zip(points.weights, rows, strict=True)
        ]
        top = max(logits)
        r = logits.index(top)
        log_sum = mp.log(mp.fsum(mp.exp(t - top) for t in logits))
        log_u = [t - top - log_sum for t in logits]
        u = [mp.exp(t) for t in log_u]
        gaps = [[row[d] - rows[r][d] for d in axes] for row in rows]
        shift = [mp.fsum(w * gap[d] for w, gap in zip(u, gaps, strict=True)) for d in axes]
        mean = [rows[r][d] + shift[d] for d in axes]
        toward = [(rows[r][d] - q[d]) + shift[d] for d in axes]
        score = [toward[d] / s**2 for d in axes]
        log_prob = top + log_sum - len(q) * (mp.log(s) + mp.log(2 * mp.pi) / 2)
        entropy = -mp.fsum(w * t for w, t in zip(u, log_u, strict=True))
        if not moments:
            return Exact(log_u, u, mean, log_prob, score, None, entropy, None, None)
        y = [[gap[d] - shift[d] for d in axes] for gap in gaps]
        square = [mp.fsum(c * c for c in row) for row in y]
        trace = mp.fsum(w * c for w, c in zip(u, square, strict=True))
        cov = mp.matrix(len(q), len(q))
        for a in axes:
            for b in axes:
                cov[a, b] = mp.fsum(w * row[a] * row[b] for w, row in zip(u, y, strict=True))
        third = [mp.fsum(u[i] * square[i] * y[i][d] for i in range(len(u))) for d in axes]
        pulled = [mp.fsum(cov[a, b] * -toward[b] for b in axes) for a in axes]
        slope = [(third[d] - 2 * pulled[d]) / s**3 for d in axes]
        return Exact(log_u, u, mean, log_prob, score, trace, entropy, cov / s**2, slope)


def gap(found, true) -> float:
    """|found - true| of two vectors, formed before it is rounded."""
    with mp.workdps(DIGITS):
        pairs = zip(np.ravel(found), true, strict=True)
        return float(mp.sqrt(mp.fsum((mp.mpf(float(a)) - b) ** 2 for a, b in pairs)))


class Allowance(NamedTuple):
    """Largest errors that the docstring of `OptimalDenoiser` admits at one query."""

    heaviest: int
    u: np.ndarray
    """(N,) relative error of the weights."""
    mean: float
    log_prob: float


def allowance(points: PointSet, x: np.ndarray, sigma: float) -> Allowance:
    """The stated bound, term by term."""
    rows, logs = points.points, points.log_weights
    count, dim = rows.shape
    inverse = 1 / sigma

    def log_odds(r: int) -> np.ndarray:
        gaps = ((rows[r] - rows) * ((x - rows) + (x - rows[r]))).sum(axis=1)
        return (logs - logs[r]) - 0.5 * inverse * (inverse * gaps)

    r = int(np.argmin(0.5 * (inverse * (x - rows) ** 2).sum(axis=1) * inverse - logs))
    r = int(np.argmax(log_odds(r)))
    near = np.abs(x - rows[r])
    q_bar = (np.abs(rows[r] - rows) * (np.abs(x - rows) + near)).sum(axis=1)
    delta = EPS * ((dim + 8) * (0.5 * inverse * (inverse * q_bar)) + 2 * np.abs(logs - logs[r]))
    n = 128 + count / 128
    relative = delta + delta.max() + EPS * (n + 8)
    odds = log_odds(r)
    u = np.exp(np.maximum(odds - odds.max(), -745.0)) * (odds - odds.max() > -745.0)
    u /= u.sum()
    mean = u @ rows
    apart = np.linalg.norm(rows - rows[r], axis=1)
    spread = u * apart
    return Allowance(
        r,
        relative,
        float(EPS * np.linalg.norm(mean) + (spread[spread > 0] * relative[spread > 0]).sum()),
        float(
            delta.max()
            + EPS
            * (
                (dim + 8) * 0.5 * ((inverse * near) ** 2).sum()
                + abs(logs[r])
                + dim * abs(np.log(sigma))
                + dim
                + n
                + 8
            )
        ),
    )
