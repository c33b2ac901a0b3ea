"""Learned denoisers, to be compared with the optimal one.

`RandomFeatureDenoiser` is trained in closed form, on the population itself.
"""

from .features import RandomFeatureDenoiser

__all__ = ["RandomFeatureDenoiser"]
