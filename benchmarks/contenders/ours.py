"""Our own denoiser, by each of its methods."""

from __future__ import annotations

from functools import partial

from ..harness import Answer, Array, Contender

__all__ = ["CONTENDERS", "METHODS"]

METHODS = ("auto", "dense", "blas", "tree")


def prepare(method: str, points: Array, sigma: float, computes: str) -> Answer:
    import analytic as an

    D = an.OptimalDenoiser(an.PointSet(points), method=method)
    call = D.log_prob if computes == "log_prob" else D
    return lambda x: call(x, sigma)


CONTENDERS = tuple(
    Contender(f"analytic {method}", partial(prepare, method), ("mean", "log_prob"))
    for method in METHODS
)
