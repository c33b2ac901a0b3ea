"""Learned denoisers, to be compared with the optimal one.

`RandomFeatureDenoiser` is trained in closed form, on the population itself. `adapters` makes
denoisers of torch modules and the other way round.
"""

from .adapters import TorchDenoiser, as_denoiser, as_edm, from_diffusers, from_torch, to_torch
from .features import RandomFeatureDenoiser

__all__ = [
    "RandomFeatureDenoiser",
    "TorchDenoiser",
    "as_denoiser",
    "as_edm",
    "from_diffusers",
    "from_torch",
    "to_torch",
]
