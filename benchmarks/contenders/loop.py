"""The loop over queries that research code tends to have, in PyTorch.

For each query the differences to all points, their norms, a softmax, a weighted sum.
Time is proportional to the queries, so it is measured on a few of them.
"""

from __future__ import annotations

from ..harness import Answer, Array, Contender
from ._torch import data_of, tensor

__all__ = ["CONTENDER"]


def prepare(points: Array, sigma: float, computes: str) -> Answer:
    import torch

    y = tensor(points)

    def one(x: torch.Tensor) -> torch.Tensor:
        weights = torch.softmax(-((y - x) ** 2).sum(1) / (2 * sigma**2), 0)
        return (weights[:, None] * y).sum(0)

    return data_of(lambda queries: torch.stack([one(x) for x in queries]))


CONTENDER = Contender("per_query_loop", prepare, queries=32)
