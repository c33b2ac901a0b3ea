"""Learned denoisers, to be compared with the optimal one.

`RandomFeatureDenoiser` is trained in closed form, on the population itself; `train_mlp` and
`train_conv` train networks (PyTorch, extra "torch"), and `load` restores either from its file.
"""

from .features import RandomFeatureDenoiser
from .levels import LogNormal, LogUniform
from .trained import TrainedDenoiser, load
from .training import train_conv, train_mlp

__all__ = [
    "LogNormal",
    "LogUniform",
    "RandomFeatureDenoiser",
    "TrainedDenoiser",
    "load",
    "train_conv",
    "train_mlp",
]
