"""Ways to sum over the points: all of them answer the same question, at different cost.

A method is made from `Sites` and answers `softmax`; everything else that a
denoiser reports follows from that answer.
"""

from __future__ import annotations

from ._base import TINY, Method, Sites, Softmax, inverse
from .auto import Auto
from .dense import Dense
from .fused import Fused
from .tree import Tree

__all__ = ["TINY", "Auto", "Dense", "Fused", "Method", "Sites", "Softmax", "Tree", "inverse"]
