"""Ways to sum over the points: all of them answer the same question, at different cost.

A method is made from `Sites` and answers `softmax`; everything else that a
denoiser reports follows from that answer.
"""

from __future__ import annotations

from ._base import TINY, Method, Sites, Softmax, inverse
from .blas import Blas
from .dense import Dense

__all__ = ["TINY", "Blas", "Dense", "Method", "Sites", "Softmax", "inverse"]
