"""PyTorch, the product form in one `addmm`: the fastest that it offers without kernels.

Log-weights are -|x_i|²/2σ² + x·x_i/σ² (the softmax does not see |x|²), in chunks of
the size that is best here.
"""

from __future__ import annotations

import math

from ..harness import Answer, Array, Contender
from ._chunks import Chunked
from ._torch import data_of, tensor

__all__ = ["CONTENDER"]


def prepare(points: Array, sigma: float, computes: str) -> Answer:
    import torch

    y = tensor(points)
    count, dim = points.shape
    transposed = y.T.contiguous()
    half = (y * y).sum(1) * (-0.5 / sigma**2)
    volume = dim * math.log(sigma * math.sqrt(2 * math.pi)) + math.log(count)

    def step(x: torch.Tensor) -> torch.Tensor:
        logits = torch.addmm(half, x, transposed, alpha=1 / sigma**2)
        if computes == "log_prob":
            return torch.logsumexp(logits, 1) - (x * x).sum(1) * (0.5 / sigma**2) - volume
        return torch.softmax(logits, 1) @ y

    key = ("addmm", points.shape, points.dtype, sigma)
    return data_of(Chunked(step, torch.cat, key, count))


CONTENDER = Contender("torch addmm", prepare, ("mean", "log_prob"))
