"""scikit-learn's `KernelDensity`, for log p: its own choice of tree, rtol = 1e-8.

With the default rtol = 0 the tree would be of no use: nothing could be left out. It
computes in float64 and on one thread.
"""

from __future__ import annotations

from ..harness import Answer, Array, Contender

__all__ = ["CONTENDER"]

RTOL = 1e-8


def prepare(points: Array, sigma: float, computes: str) -> Answer:
    from sklearn.neighbors import KernelDensity

    return KernelDensity(bandwidth=sigma, kernel="gaussian", rtol=RTOL).fit(points).score_samples


CONTENDER = Contender("sklearn kde", prepare, ("log_prob",), note=f"rtol {RTOL:g}, one thread")
