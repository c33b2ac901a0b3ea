"""Learned denoisers, to be compared with the optimal one.

`RandomFeatureDenoiser` is trained in closed form, on the population itself; `train_mlp` and
`train_conv` train networks (PyTorch, extra "torch"), and `load` restores either from its file.
`adapters` makes denoisers of torch modules and the other way round.
"""

from .adapters import TorchDenoiser, as_denoiser, as_edm, from_diffusers, from_torch, to_torch
from .features import RandomFeatureDenoiser
from .levels import LogNormal, LogUniform
from .trained import TrainedDenoiser, load
from .training import train_conv, train_mlp

__all__ = [
    "LogNormal",
    "LogUniform",
    "RandomFeatureDenoiser",
    "TorchDenoiser",
    "TrainedDenoiser",
    "as_denoiser",
    "as_edm",
    "from_diffusers",
    "from_torch",
    "load",
    "to_torch",
    "train_conv",
    "train_mlp",
]
