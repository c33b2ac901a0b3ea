"""Ways to sum over the points: all of them answer the same question, at different cost.

A method is made from `Sites` and answers `softmax`. Moments about the mean take a
second pass over every point: those that sum every point answer `spread` and
`covariance` as well, and `exhaustive` finds one beside any method.

name    method
dense   every point: `Fused` up to 64 dimensions, `Dense` beyond
tree    `Tree` up to 16 dimensions: what cannot matter is left out, what is smooth is
        interpolated; `Blas` beyond
blas    `Blas`: candidates by certified bounds in few dimensions, products for the rest
auto    `Auto`: the cheapest at each query's bandwidth

What a denoiser asks is `Sums`: `Held` answers for points in memory, by a method, and `Apart` for
points that are not, by a method for each shard of them.
"""

from __future__ import annotations

from ._base import TINY, Exhaustive, Found, Method, Sites, Softmax, Spread, Sums, inverse
from .apart import Apart
from .auto import REGISTERS, Auto, exhaustive, make, names
from .blas import Blas
from .dense import Dense
from .fused import Fused
from .held import Held
from .tree import Tree

__all__ = [
    "REGISTERS",
    "TINY",
    "Apart",
    "Auto",
    "Blas",
    "Dense",
    "Exhaustive",
    "Found",
    "Fused",
    "Held",
    "Method",
    "Sites",
    "Softmax",
    "Spread",
    "Sums",
    "Tree",
    "exhaustive",
    "inverse",
    "make",
    "names",
]
