"""JAX: the product form under `jit`, mapped over chunks so that memory stays bounded."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..harness import Answer, Array, Contender

__all__ = ["CONTENDER"]

HELD = 1 << 22
"""Log-weights held at a time: 32 MB of float64."""


@cache
def compiled(rows: int) -> Any:
    """The mean at x, `rows` queries at a time, for sites y, h = |y|²/2 and p = 1/σ²."""
    import jax
    import jax.numpy as jnp

    def step(x: jax.Array, y: jax.Array, h: jax.Array, p: jax.Array) -> jax.Array:
        return jax.nn.softmax((x * p) @ y.T - h * p, axis=1) @ y

    @jax.jit
    def answer(x: jax.Array, *sites: jax.Array) -> jax.Array:
        size = min(rows, len(x))
        whole = len(x) - len(x) % size
        chunks = x[:whole].reshape(-1, size, x.shape[1])
        head = jax.lax.map(lambda chunk: step(chunk, *sites), chunks).reshape(whole, x.shape[1])
        return head if whole == len(x) else jnp.concatenate([head, step(x[whole:], *sites)])

    return answer


def prepare(points: Array, sigma: float, computes: str) -> Answer:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    y = jnp.asarray(points)
    sites = y, (y * y).sum(1) / 2, jnp.asarray(1 / sigma**2, y.dtype)
    answer = compiled(max(1, HELD // len(points)))
    return lambda x: np.asarray(answer(x, *sites))


CONTENDER = Contender("jax", prepare)
