"""Denoisers in closed form.

A denoiser is any callable (x: (B, D), σ: scalar or (B,)) → (B, D). For data with
density p_0 and x = x_0 + σ z, z ~ N(0, I), the one with least mean squared error is
(Tweedie's formula; Robbins 1956, Efron 2011, https://doi.org/10.1198/jasa.2011.tm11181)

    D(x; σ) = E[x_0 | x] = x + σ² ∇log p_σ(x),   p_σ = p_0 * N(0, σ²I).

| module | data |
|---|---|
| `optimal` | a finite point set |
| `gaussian` | a Gaussian, with any covariance or one of low rank in high dimension |
| `mixture` | a mixture of Gaussians |
| `guided` | none: classifier-free guidance, two denoisers extrapolated |
| `spliced` | any two denoisers, one above a level and one below |
| `smoothed` | none: the score of a finite set, averaged over shifts of the query |
"""

from ._base import Denoiser, Evaluation, Motion, NotFinite, apply, called, dimension_of, width_of
from .gaussian import GaussianDenoiser, LowRankGaussianDenoiser
from .guided import GuidedDenoiser
from .mixture import GaussianMixtureDenoiser
from .optimal import OptimalDenoiser
from .smoothed import SmoothedDenoiser
from .spliced import Spliced

__all__ = [
    "Denoiser",
    "Evaluation",
    "GaussianDenoiser",
    "GaussianMixtureDenoiser",
    "GuidedDenoiser",
    "LowRankGaussianDenoiser",
    "Motion",
    "NotFinite",
    "OptimalDenoiser",
    "SmoothedDenoiser",
    "Spliced",
    "apply",
    "called",
    "dimension_of",
    "width_of",
]
