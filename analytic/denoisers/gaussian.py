"""The optimal denoiser of Gaussian data.

For data N(μ, Σ) it is D(x; σ) = μ + Σ(Σ + σ²I)⁻¹(x - μ).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .. import _check
from ._base import Floats, Reals

__all__ = ["GaussianDenoiser"]


@dataclass(frozen=True, eq=False)
class GaussianDenoiser:
    """The optimal denoiser of Gaussian data N(μ, Σ).

    Parameters
    ----------
    mean : (D,) μ.
    covariance : (D, D) Σ, symmetric positive semi-definite.

    Raises
    ------
    ValueError
        if the shapes disagree, or Σ is not symmetric or has a negative eigenvalue.

    Matrix products are the BLAS library's, so a result may differ in its last
    bits, by ε D times the largest term, with the size of the batch.
    """

    mean: Floats
    covariance: Floats

    def __post_init__(self) -> None:
        mean = np.array(_check.array(self.mean, "mean"), dtype=np.float64)
        cov = np.array(_check.array(self.covariance, "covariance"), dtype=np.float64)
        if mean.ndim != 1 or cov.shape != 2 * mean.shape:
            _check.fail(
                "covariance",
                f"shape {cov.shape} with mean of shape {mean.shape}",
                "(D, D) with mean (D,)",
                "pass a vector and a square matrix",
            )
        slack = 1e-10 * max(float(np.abs(cov).max(initial=0.0)), np.finfo(float).tiny)
        if np.abs(cov - cov.T).max(initial=0.0) > slack:
            _check.fail("covariance", "an asymmetric matrix", "a symmetric one", "symmetrise it")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", (cov + cov.T) / 2)
        values = self.eigen[0]
        if values.min() < -slack * len(values):
            _check.fail(
                "covariance", f"eigenvalue {values.min():g}", "eigenvalues ≥ 0", "check its sign"
            )

    @property
    def dim(self) -> int:
        """Dimension D."""
        return int(self.mean.shape[0])

    @cached_property
    def eigen(self) -> tuple[Floats, Floats]:
        """Eigenvalues (D,), ascending, and orthonormal eigenvectors as columns (D, D)."""
        values, vectors = np.linalg.eigh(self.covariance)
        return values, vectors

    def __call__(self, x: Any, sigma: Any) -> Reals:
        """D(x; σ) = μ + Σ(Σ + σ²I)⁻¹(x - μ), shaped like x."""
        batch, shape, dtype = _check.queries(x, self.dim)
        level = _check.sigma(sigma, len(batch))[:, None]
        widths = np.sqrt(np.maximum(self.eigen[0], 0.0))
        inner = (batch - self.mean) @ self.eigen[1]
        # hypot keeps the ratio finite where the squares would not be
        share = (widths / np.hypot(widths, level)) ** 2
        result = self.mean + (inner * share) @ self.eigen[1].T
        return np.asarray(result.astype(dtype, copy=False).reshape(shape))

    def log_prob(self, x: Any, sigma: Any) -> Reals:
        """Log N(x; μ, Σ + σ²I) in nats: (B,), scalar for one query."""
        batch, shape, dtype = _check.queries(x, self.dim)
        level = _check.sigma(sigma, len(batch))[:, None]
        width = np.hypot(np.sqrt(np.maximum(self.eigen[0], 0.0)), level)
        inner = (batch - self.mean) @ self.eigen[1]
        terms = (inner / width) ** 2 + 2 * np.log(width) + np.log(2 * np.pi)
        return np.asarray((-0.5 * terms.sum(axis=1)).astype(dtype).reshape(shape[:-1]))
