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
"""

from __future__ import annotations

from ._base import TINY, Exhaustive, Method, Sites, Softmax, Spread, inverse
from .auto import REGISTERS, Auto, dense, exhaustive, skipping
from .blas import Blas
from .dense import Dense
from .fused import Fused
from .tree import Tree

__all__ = [
    "REGISTERS",
    "TINY",
    "Auto",
    "Blas",
    "Dense",
    "Exhaustive",
    "Fused",
    "Method",
    "Sites",
    "Softmax",
    "Spread",
    "Tree",
    "exhaustive",
    "inverse",
    "make",
    "names",
]


def names() -> tuple[str, ...]:
    """Names that `make` knows."""
    return ("auto", "dense", "tree", "blas")


def make(name: str, sites: Sites, tolerance: float) -> Method:
    """The method of a name for these points."""
    if name == "dense":
        return dense(sites)
    if name == "tree":
        return skipping(sites, tolerance)
    return Blas(sites, tolerance) if name == "blas" else Auto(sites, tolerance)
