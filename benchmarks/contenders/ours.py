"""Our own denoiser, by each of its methods."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from ..harness import Answer, Array, Contender

__all__ = ["CONTENDERS", "METHODS"]

METHODS = ("auto", "dense", "blas", "tree")


def prepare(method: str, points: Array, sigma: float, computes: str) -> Answer:
    import analytic as an

    make: Any = an.OptimalDenoiser
    if "method" in inspect.signature(make).parameters:
        D = make(points, method=method)
    elif method == "auto":
        D = make(points)
    else:
        raise NotImplementedError(f"no method {method!r} in this version")
    call = D.log_prob if computes == "log_prob" else D
    return lambda x: call(x, sigma)


CONTENDERS = tuple(
    Contender(f"analytic {method}", partial(prepare, method), ("mean", "log_prob"))
    for method in METHODS
)
