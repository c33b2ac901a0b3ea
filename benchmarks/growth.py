"""Cost of the exact flow against the number of points: two moons, σ from 80 to 0.002.

64 starts, rtol = 1e-10, ends only, without the error estimate. Least of two runs,
compilation excluded. `exponent` is the slope of log seconds per trajectory against log N
from the row before, and in the last row `fitted` the slope over all of them.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import analytic as an

__all__ = ["measure"]

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
STARTS, ROUNDS = 64, 2


def measure(counts: tuple[int, ...] = COUNTS) -> list[dict[str, Any]]:
    """Seconds and evaluations per trajectory, and exponents."""
    rows: list[dict[str, Any]] = []
    for count in counts:
        D = an.OptimalDenoiser(an.datasets.two_moons(count, seed=0))
        x = an.noise(STARTS, D, 80.0, 1)
        least = float("inf")
        options: dict[str, Any] = {"save_at": [], "estimate_error": False}
        an.integrate(D, x[:1], 80.0, 0.002, **options)
        for _ in range(ROUNDS):
            start = time.perf_counter()
            flow = an.integrate(D, x, 80.0, 0.002, **options)
            least = min(least, time.perf_counter() - start)
        row = {"N": count, "seconds": least / STARTS, "mean nfe": float(flow.nfe.mean())}
        rows.append({**row, "exponent": _slope([*rows[-1:], row]), "fitted": None})
        print(f"  {rows[-1]}", flush=True)
    rows[-1]["fitted"] = _slope(rows)
    return rows


def _slope(rows: list[dict[str, Any]]) -> float | None:
    if len(rows) < 2:
        return None
    x, y = np.log([[row["N"], row["seconds"]] for row in rows]).T
    return float(np.polyfit(x, y, 1)[0])


if __name__ == "__main__":
    print(f"fitted exponent {measure()[-1]['fitted']:.2f}")
