"""Time of the exact flow from σ = 80 to 0, 64 starts, without the error estimate.

Least of two runs, compilation excluded.
"""

import time
from typing import Any

import analytic as an

__all__ = ["measure"]

SETS = ("two_moons", "digits")


def measure() -> list[dict[str, Any]]:
    """Seconds and evaluations per trajectory, for each data set."""
    rows = []
    for name in SETS:
        points = an.datasets.get(name)
        D = an.OptimalDenoiser(points)
        x = an.noise(64, D, 80.0, 1)
        an.integrate(D, x[:1], estimate_error=False)
        least = float("inf")
        for _ in range(2):
            start = time.perf_counter()
            flow = an.integrate(D, x, estimate_error=False)
            least = min(least, time.perf_counter() - start)
        rows.append({"data": name, "seconds": least, "mean nfe": float(flow.nfe.mean())})
    return rows


if __name__ == "__main__":
    print(*measure(), sep="\n")
