"""KeOps: `sumsoftmaxweight` of symbolic log-weights, compiled C++ that stores no matrix.

https://www.kernel-operations.io. It compiles when a dimension is first met, which is
not timed, and needs a C++ compiler.
"""

from __future__ import annotations

from ..harness import Answer, Array, Contender

__all__ = ["CONTENDER"]


def prepare(points: Array, sigma: float, computes: str) -> Answer:
    import pykeops

    pykeops.set_verbose(False)
    from pykeops.numpy import LazyTensor

    factor = points.dtype.type(-0.5 / sigma**2)

    def answer(x: Array) -> Array:
        queries, sites = LazyTensor(x[:, None, :]), LazyTensor(points[None])
        logits = ((queries - sites) ** 2).sum(-1) * factor
        return logits.sumsoftmaxweight(sites, axis=1)

    return answer


CONTENDER = Contender("keops", prepare)
