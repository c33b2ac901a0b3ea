"""Time of the posterior's moments and derivatives per point and query, beside the mean's.

N = B = 4,000 standard normal points and queries a point + σz, float64, every point summed.
Least of several runs, compilation excluded.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import analytic as an

__all__ = ["measure"]

COUNT, SIGMA, RUNS = 4_000, 0.5, 3
KINDS: dict[str, Callable[[an.OptimalDenoiser, Any], Any]] = {
    "mean": lambda D, x: D(x, SIGMA),
    "posterior": lambda D, x: D.posterior(x, SIGMA),
    "jacobian": lambda D, x: D.jacobian(x, SIGMA),
    "jvp": lambda D, x: D.jvp(x, SIGMA, x),
    "sigma_derivative": lambda D, x: D.sigma_derivative(x, SIGMA),
}


def measure(count: int = COUNT) -> list[dict[str, Any]]:
    """Nanoseconds per point and query in 2, 8 and 64 dimensions."""
    rows = []
    for dim in (2, 8, 64):
        rng = np.random.default_rng(0)
        points = rng.standard_normal((count, dim))
        x = points + SIGMA * rng.standard_normal(points.shape)
        D = an.OptimalDenoiser(an.PointSet(points), method="dense")
        row: dict[str, Any] = {"dimension": dim}
        for kind, call in KINDS.items():
            call(D, x[:8])
            least = float("inf")
            for _ in range(RUNS):
                start = time.perf_counter()
                call(D, x)
                least = min(least, time.perf_counter() - start)
            row[kind] = round(1e9 * least / count**2, 2)
        rows.append(row)
    return rows


if __name__ == "__main__":
    print(*measure(), sep="\n")
