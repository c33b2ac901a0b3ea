"""Peak memory of the optimal denoiser at N = 200,000, D = 192, B = 256.

How much resident memory a call takes beyond its inputs (Linux).
"""

import time
from pathlib import Path

import numpy as np

import analytic as an

__all__ = ["measure"]


def resident(field: str) -> float:
    """A field of this process's status, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"no {field} on this system")


def measure() -> list[dict[str, float]]:
    """Megabytes and seconds of one call; true in a fresh process only."""
    rng = np.random.default_rng(0)
    compiled = an.OptimalDenoiser(an.PointSet(rng.standard_normal((3, 192))))
    compiled(rng.standard_normal((2, 192)), 1.0)
    points = an.PointSet(rng.standard_normal((200_000, 192)))
    x = points.points[:256] + rng.standard_normal((256, 192))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    start = time.perf_counter()
    an.OptimalDenoiser(points)(x, 1.0)
    seconds = time.perf_counter() - start
    return [{"inputs MB": before, "call MB": resident("VmHWM") - before, "seconds": seconds}]


if __name__ == "__main__":
    print(*measure(), sep="\n")
