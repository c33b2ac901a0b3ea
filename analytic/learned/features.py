"""Random features, trained in closed form: a learned denoiser without sampling noise (theory G4).

At level s the model is linear in features of the noisy x = x_0 + s z,

    r(x) = A Φ(x),   Φ = (1, cos(w_1·x + b_1), …, cos(w_K·x + b_K), x - μ),

and its loss E|r(x) - x_0|², over weighted data and Gaussian noise, is quadratic in A:

    E|x_0|² - 2 tr(A Hᵀ) + tr(A G Aᵀ),   G = E ΦΦᵀ,   H = E x_0Φᵀ.

With e_k = exp(-s²|w_k|²/2), c_k = cos(w_k·x_i + b_k), s_k = sin(…) and means over the data only,

    E φ_k φ_l = ½ exp(-s²|w_k - w_l|²/2) E(c_k c_l + s_k s_l)
              + ½ exp(-s²|w_k + w_l|²/2) E(c_k c_l - s_k s_l),
    E φ_k = e_k E c_k,   E x_0 φ_k = e_k E x_i c_k,   E x φ_k = e_k E(x_i c_k - s² w_k s_k),
    E x xᵀ = Σ + μμᵀ + s²I,   E x_0 xᵀ = Σ + μμᵀ,

so that the ridge solution A = H (G + ρ I)^{-1} is the best there is, exactly. The constant
is a feature with w = 0, b = 0. Everything is centred, x_0 and x alike.

Frequencies follow the size of x: w_k = ω_k/√(ς² + s²), ς² the mean variance of a coordinate, with
|ω_k| log-uniform over `frequencies`. Between fitted levels s_k only what the neighbours r_k add to
the best linear denoiser is blended, in log σ and smoothly, at the place of the same relative size:

    r(x) = W_σ x + Σ_k β_k (r_k(ρ_k x) - W_{s_k} ρ_k x),   W_σ = Σ (Σ + σ²I)^{-1},
    ρ_k² = (ς² + s_k²)/(ς² + σ²),   β_k ≥ 0 of sum 1.

Beyond the first and the last level that level alone has β = 1.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, grids
from .._lazy import cached_property
from .._outcome import where, write_atomic
from .._progress import bar
from ..points import PointSet, as_points

__all__ = ["RandomFeatureDenoiser"]

Floats = NDArray[np.float64]


_KIND = "analytic-diffusion random features 1"
_ARRAYS = ("sigmas", "losses", "mean", "covariance", "frequencies", "phases", "readout")


@dataclass(frozen=True, eq=False)
class _Level:
    """The model of one level, for centred x."""

    frequencies: Floats
    """(K + 1, D) w, the first 0."""
    phases: Floats
    """(K + 1,) b, the first 0."""
    readout: Floats
    """(D, K + 1 + D) A."""
    loss: float
    """E|r - x_0|²"""

    def __call__(self, x: Floats) -> Floats:
        features = np.cos(x @ self.frequencies.T + self.phases)
        count = len(self.phases)
        return np.asarray(features @ self.readout[:, :count].T + x @ self.readout[:, count:].T)


@dataclass(frozen=True, eq=False)
class RandomFeatureDenoiser:
    """A denoiser r(x; σ) of random cosine features, best for its data at the fitted levels.

    Made by `fit`. It is called like any denoiser: x (B, D) or (D,), σ a scalar or (B,), both
    kept in shape; float32 in, float32 out.
    """

    sigmas: Floats
    """(T,) fitted levels, decreasing."""
    losses: Floats
    """(T,) E|r - x_0|² at these levels, exactly, in squared data units. Less `mmse` it is the mean
    squared deviation from the optimal denoiser (theory G1)."""
    mean: Floats
    """(D,) of the data."""
    covariance: Floats
    """(D, D) of the data."""
    levels: tuple[_Level, ...]

    @property
    def dim(self) -> int:
        """D"""
        return len(self.mean)

    @cached_property
    def _principal(self) -> tuple[Floats, Floats]:
        """(D,) variances, and (D, D) columns in which they lie."""
        variances, axes = np.linalg.eigh(self.covariance)
        return np.maximum(variances, 0.0), axes

    @staticmethod
    def fit(
        points: PointSet | Any,
        sigmas: Any = None,
        n_features: int = 512,
        ridge: float = 1e-8,
        seed: int = 0,
        *,
        frequencies: tuple[float, float] = (0.3, 10.0),
        progress: bool = False,
    ) -> RandomFeatureDenoiser:
        """The model of least ridge loss at every level.

        Parameters
        ----------
        points : `PointSet` or (N, D) array.
        sigmas : (T,) decreasing levels > 0; by default 24 of EDM's grid over
            `grids.noise_range` of the data: 80 to 0.002 for data of order one.
        n_features : K ≥ 1 cosines. Models with the same seed are nested: more features add.
        ridge : ρ > 0, beside features of mean square ½. Below about 1e-12 rounding shows.
        seed : non-negative integer.
        frequencies : least and largest |ω|, in inverse units of √(ς² + s²).

        Raises
        ------
        ValueError, TypeError
            for bad levels, counts, ridges, seeds and frequencies.
        """
        data = as_points(points)
        if sigmas is None:
            grid = grids.polynomial(24, *grids.noise_range(data))
        else:
            grid = grids.validate(np.append(_check.array(sigmas, "sigmas"), 0.0))[:-1]
        count = _check.integer(n_features, "n_features", low=1)
        small = _check.number(ridge, "ridge", low=0.0, open_low=True)
        low, high = _ends(frequencies)
        _check.size(count + 1 + data.dim, count + 1 + data.dim, "n_features")
        omega, phases = _draw(count, data.dim, low, high, _check.seed(seed))
        levels = []
        with bar(len(grid), "fitting random features", _check.flag(progress, "progress")) as moved:
            for sigma in grid.tolist():
                levels.append(_fit(data, sigma, omega, phases, small))
                moved(1)
        losses = np.array([level.loss for level in levels])
        return RandomFeatureDenoiser(grid, losses, data.mean, data.covariance, tuple(levels))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to an ``.npz`` of plain numbers, whole or not at all; see `load`."""
        target = where(path)
        buffer = io.BytesIO()
        np.savez(
            buffer,
            kind=np.array(_KIND),
            sigmas=self.sigmas,
            losses=self.losses,
            mean=self.mean,
            covariance=self.covariance,
            frequencies=np.stack([level.frequencies for level in self.levels]),
            phases=np.stack([level.phases for level in self.levels]),
            readout=np.stack([level.readout for level in self.levels]),
        )
        write_atomic(target, buffer.getvalue())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> RandomFeatureDenoiser:
        """The model of a file that `save` wrote, the same to the last bit.

        Raises
        ------
        ValueError
            for other files, damaged or truncated ones, and pickles.
        """
        target = where(path)
        try:
            with np.load(target, allow_pickle=False) as archive:
                return _restore({name: archive[name] for name in ("kind", *_ARRAYS)})
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            AttributeError,
            zipfile.BadZipFile,
        ) as error:
            _check.fail(
                "path",
                f"{str(path)!r}, which cannot be read ({error})",
                "a file of RandomFeatureDenoiser.save",
                "save it again, or point to another file",
            )

    def __call__(self, x: Any, sigma: Any) -> NDArray[Any]:
        """r(x; σ), of x's shape and dtype."""
        batch, shape, dtype = _check.queries(x, self.dim)
        levels = _check.sigma(sigma, len(batch))
        centred = batch - self.mean
        left, share = self._place(levels)
        variances, axes = self._principal
        unit = variances.mean()
        linear = variances / (variances + levels[:, None] ** 2)
        result = np.zeros_like(centred)
        for k in range(len(self.levels)):
            # the share of level k: what is left of rows above it, and taken by rows below
            blend = np.where(left == k, 1 - share, np.where(left == k - 1, share, 0.0))
            rows = np.flatnonzero(blend)
            if len(rows):
                here = float(self.sigmas[k])
                size = np.sqrt((unit + here**2) / (unit + levels[rows, None] ** 2))
                part = blend[rows, None]
                result[rows] += part * self.levels[k](size * centred[rows])
                linear[rows] -= part * size * (variances / (variances + here**2))
        result += ((centred @ axes) * linear) @ axes.T
        return (result + self.mean).reshape(shape).astype(dtype, copy=False)

    def _place(self, sigma: Floats) -> tuple[NDArray[np.int64], Floats]:
        """(B,) the fitted level at or above each σ, and the share of the next one below."""
        logs = -np.log(self.sigmas)
        here = np.clip(-np.log(sigma), logs[0], logs[-1])
        left = np.clip(np.searchsorted(logs, here, side="right") - 1, 0, max(len(logs) - 2, 0))
        if len(logs) == 1:
            return left, np.zeros(len(sigma))
        u = (here - logs[left]) / (logs[left + 1] - logs[left])
        return left, u * u * (3 - 2 * u)


def _restore(arrays: dict[str, NDArray[Any]]) -> RandomFeatureDenoiser:
    """A model from what `save` wrote, every shape and number checked."""
    if arrays["kind"].shape != () or str(arrays["kind"]) != _KIND:
        raise ValueError(f"it is no {_KIND!r}")
    for name in _ARRAYS:
        if arrays[name].dtype != np.float64 or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} is not finite, or no float64")
    sigmas, losses, mean, covariance, frequencies, phases, readout = (
        arrays[name] for name in _ARRAYS
    )
    (count,), (dim,) = sigmas.shape, mean.shape
    width = phases.shape[-1]
    shapes = tuple(arrays[name].shape for name in _ARRAYS[1:])
    if shapes != (
        (count,),
        (dim,),
        (dim, dim),
        (count, width, dim),
        (count, width),
        (count, dim, width + dim),
    ):
        raise ValueError(f"its arrays have the shapes {shapes}")
    grids.validate(np.append(sigmas, 0.0))
    levels = zip(frequencies, phases, readout, losses.tolist(), strict=True)
    made = tuple(_Level(*each) for each in levels)
    return RandomFeatureDenoiser(sigmas, losses, mean, covariance, made)


def _ends(frequencies: Any) -> tuple[float, float]:
    try:
        low, high = frequencies
    except (TypeError, ValueError):
        _check.fail(
            "frequencies", _check.show(frequencies), "two numbers", "(0.3, 10.0) say", TypeError
        )
    low = _check.number(low, "frequencies", low=0.0, open_low=True)
    return low, _check.number(high, "frequencies", low=low)


def _draw(count: int, dim: int, low: float, high: float, seed: int) -> tuple[Floats, Floats]:
    """(K + 1, D) ω and (K + 1,) b, row by row, so that more features only add to them."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, dim + 2))
    direction = rows[:, :dim] / np.linalg.norm(rows[:, :dim], axis=1, keepdims=True)
    # uniform numbers from the two last normals, by their angle and radius
    angle = np.arctan2(rows[:, -1], rows[:, -2])
    share = -np.expm1(-0.5 * (rows[:, -1] ** 2 + rows[:, -2] ** 2))
    omega = np.exp(math.log(low) + share * math.log(high / low))[:, None] * direction
    return np.vstack([np.zeros((1, dim)), omega]), np.concatenate([[0.0], angle])


def moments(
    data: PointSet, sigma: float, frequencies: Floats, phases: Floats
) -> tuple[Floats, Floats, float]:
    """G (F, F), H (D, F) and E|x_0|² of centred data, F = K + 1 + D features."""
    x, weights = data.points - data.mean, data.weights[:, None]
    count, dim = len(phases), data.dim
    angles = x @ frequencies.T + phases
    cos, sin = np.cos(angles), np.sin(angles)
    squares = np.einsum("kd,kd->k", frequencies, frequencies)
    decay = np.exp(-0.5 * sigma * sigma * squares)
    cc, ss = cos.T @ (weights * cos), sin.T @ (weights * sin)
    inner = frequencies @ frequencies.T
    both = np.add.outer(squares, squares)
    near = np.exp(-0.5 * sigma * sigma * np.maximum(both - 2 * inner, 0.0))
    far = np.exp(-0.5 * sigma * sigma * np.maximum(both + 2 * inner, 0.0))
    covariance = data.covariance
    signal = decay * (x.T @ (weights * cos))
    mixed = signal - sigma * sigma * frequencies.T * (decay * (weights.T @ sin)[0])
    gram = np.empty((count + dim, count + dim))
    gram[:count, :count] = 0.5 * (near * (cc + ss) + far * (cc - ss))
    gram[count:, :count] = mixed
    gram[:count, count:] = mixed.T
    gram[count:, count:] = covariance + sigma * sigma * np.eye(dim)
    return gram, np.hstack([signal, covariance]), float(np.trace(covariance))


def _fit(data: PointSet, sigma: float, omega: Floats, phases: Floats, ridge: float) -> _Level:
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    scale = math.hypot(data.scale, sigma)
    frequencies = omega / scale
    gram, target, power = moments(data, sigma, frequencies, phases)
    # the linear features are taken in units of their size, beside cosines of size one
    unit = np.ones(len(gram))
    unit[len(phases) :] = 1 / scale
    gram, target = unit[:, None] * gram * unit, target * unit
    try:
        factor = cho_factor(gram + ridge * np.eye(len(gram)))
    except LinAlgError:
        _check.fail(
            "ridge",
            repr(ridge),
            f"more, as {len(phases) - 1} features are dependent to rounding at σ = {sigma:g}",
            "1e-10 is safe for some thousands of features",
        )
    readout = cho_solve(factor, target.T).T
    loss = power - 2 * float(np.sum(readout * target)) + float(np.sum((readout @ gram) * readout))
    return _Level(frequencies, phases, readout * unit, max(loss, 0.0))
