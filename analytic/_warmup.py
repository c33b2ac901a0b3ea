"""Compiling every kernel beforehand, so that nothing waits for it later.

Kernels are compiled when they are first called, for the number of dimensions up to
`methods.REGISTERS`, once and for all beyond, and apart for points with weights of their
own. Numba keeps them in its cache. So a small problem is solved here in every way and
for each of some dimensions; others cost their seconds at first use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from . import _check, methods
from ._progress import bar
from .collapse import certificate
from .denoisers import OptimalDenoiser
from .flow import integrate
from .points import PointSet

__all__ = ["DIMS", "Warm", "warmup"]

DIMS = (1, 2, 3, 64, methods.REGISTERS + 1)
"""Dimensions of the toys, of digits, and one for all that have no kernels of their own."""

_COUNT = 40
_MANY = 20_000
"""Points from which putting them in order is shared by threads, by a kernel of its own."""


@dataclass(frozen=True)
class Warm:
    """What a warm-up did."""

    seconds: float
    compiled: int
    """Kernels that were compiled, for types of each."""
    found: int
    """Kernels that the cache held."""
    cache: dict[str, Any]
    """Where they are kept, and how many bytes that takes."""

    def explain(self) -> str:
        """In words."""
        size, folder = self.cache["bytes"] / 1e6, self.cache["folder"]
        return (
            f"{self.compiled} kernels compiled, {self.found} were there, in {self.seconds:.1f} s\n"
            f"cache: {folder} ({self.cache['files']} files, {size:.1f} MB)"
        )


def warmup(dims: Sequence[int] = DIMS, *, progress: bool = False) -> Warm:
    """Compile every kernel for points of these dimensions, and keep them.

    Parameters
    ----------
    dims : dimensions D ≥ 1 of the data that is to come. From `DIMS[-1]` on all are one.
    progress : show a progress bar on a terminal.

    Raises
    ------
    ValueError
        for bad dimensions, and where nothing can be kept, before anything is compiled.
    """
    from .kernels import host

    chosen = [_check.integer(dim, "dims", low=1, high=100_000) for dim in dims]
    if not chosen:
        _check.fail("dims", "none", "dimensions of the data to come", "leave it out for the usual")
    place = host.cache()
    if place["folder"] is None:
        _check.fail("cache", place["reason"], "a cache to keep kernels in", "see analytic info")
    start, before = time.perf_counter(), host.compiled()
    steps = [step for dim in dict.fromkeys(chosen) for step in _steps(dim)]
    with bar(len(steps), "compiling kernels", progress) as advance:
        for step in steps:
            step()
            advance(1)
    compiled, found = (after - then for after, then in zip(host.compiled(), before, strict=True))
    return Warm(time.perf_counter() - start, compiled, found, host.cache())


def _steps(dim: int) -> Iterator[Callable[[], object]]:
    """Calls that between them compile every kernel for points of a dimension."""
    rng = np.random.default_rng(dim)
    rows = rng.standard_normal((_COUNT, dim))
    x = rows[:4] + 0.3 * rng.standard_normal((4, dim))
    for weights in (None, rng.uniform(0.5, 1.0, _COUNT)):
        points = PointSet(rows, weights)
        for name in methods.names():
            D = OptimalDenoiser(points, method=name)
            for level in (0.0, 0.05, 0.5, 50.0):
                yield partial(D, x, level)
                yield partial(D, x.astype(np.float32), level)
            yield partial(D.jvp, x, 0.5, x)
            yield partial(D.jacobian, x, 0.5)
            yield partial(_posterior, D, x)
            yield partial(certificate, D, x, 0.05)
        yield partial(integrate, OptimalDenoiser(points), 20 * x, 20.0, rtol=1e-6)
    if dim <= methods.REGISTERS:
        many = OptimalDenoiser(PointSet(rng.standard_normal((_MANY, dim))), method="dense")
        yield partial(many, x, 0.5)


def _posterior(denoiser: OptimalDenoiser, x: Any) -> None:
    denoiser.posterior(x, 0.5).top(1)
