"""Errors of log-weights, for data that are exactly float32: images, say.

Natural image patches, N = 20,000, D = 192, queries a patch + σz, both rounded to float32
first. The largest error of log u_i over all points with u_i > 1e-6, against differences
in float64:

* ours, with float32 queries: the weights come back as float32, good to 6e-8 of themselves;
* ours, the same numbers passed as float64: what was computed inside;
* torch, the product form -|x_i|²/2σ² + x·x_i/σ² in float32.
"""

from typing import Any

import numpy as np

import analytic as an

__all__ = ["measure"]

LEAST = 1e-6
"""Weights that count."""


def measure(n: int = 20_000, queries: int = 64) -> list[dict[str, Any]]:
    """Errors in nats at each σ, and how much larger torch's is than ours."""
    points = an.PointSet(an.datasets.patches(n).points.astype(np.float32))
    D = an.OptimalDenoiser(points)
    rows = []
    for sigma in (0.1, 0.03):
        rng = np.random.default_rng(1)
        x = points.points[rng.integers(len(points), size=queries)]
        x = (x + sigma * rng.standard_normal(x.shape)).astype(np.float32)
        truth = np.array([exact(points, each, sigma) for each in x.astype(np.float64)])
        heavy = truth > np.log(LEAST)
        single = _worst(ours(D, x, sigma, heavy), truth)
        double = _worst(ours(D, x.astype(np.float64), sigma, heavy), truth)
        row: dict[str, Any] = {
            "sigma": sigma,
            "weights": int(heavy.sum()),
            "ours": single,
            "ours float64": double,
        }
        try:
            theirs = float(np.abs(product(points, x, sigma) - truth)[heavy].max())
            rows.append({**row, "torch addmm float32": theirs, "torch / ours": theirs / single})
        except ImportError:
            rows.append({**row, "torch addmm float32": "not installed", "torch / ours": ""})
    return rows


def exact(points: an.PointSet, x: np.ndarray, sigma: float) -> np.ndarray:
    """(N,) log-weights of one query, from differences in float64."""
    gaps = points.points - x
    return _normalised(points.log_weights - np.einsum("ij,ij->i", gaps, gaps) / (2 * sigma**2))


def ours(D: an.OptimalDenoiser, x: np.ndarray, sigma: float, heavy: np.ndarray) -> np.ndarray:
    """(B, N) log-weights where they are wanted, NaN elsewhere."""
    top = D.posterior(x, sigma).top(int(heavy.sum(axis=1).max()))
    result = np.full(heavy.shape, -np.inf)  # a heavy point that is missed is an infinite error
    with np.errstate(divide="ignore"):
        logs = np.log(top.weight.astype(np.float64))
    np.put_along_axis(result, top.index, logs, axis=1)
    result[~heavy] = np.nan
    return result


def product(points: an.PointSet, x: np.ndarray, sigma: float) -> np.ndarray:
    """(B, N) log-weights by torch's `addmm` in float32."""
    import torch

    y, q = (torch.tensor(each, dtype=torch.float32) for each in (points.points, x))
    bias = torch.tensor(points.log_weights, dtype=torch.float32) - (y * y).sum(1) / (2 * sigma**2)
    logits = torch.addmm(bias, q, y.T, alpha=1 / sigma**2)
    return torch.log_softmax(logits, 1).numpy().astype(np.float64)


def _normalised(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max()
    return logits - np.log(np.exp(logits).sum())


def _worst(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.nanmax(np.abs(found - truth)))


if __name__ == "__main__":
    print(*measure(), sep="\n")
