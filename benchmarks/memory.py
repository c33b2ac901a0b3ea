"""Peak memory of the optimal denoiser at N = 200,000, D = 192, B = 256.

Prints how much resident memory a call takes beyond its inputs (Linux).
"""

import time
from pathlib import Path

import numpy as np

import analytic as an


def resident(field: str) -> float:
    """A field of this process's status, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"no {field} on this system")


def main() -> None:
    rng = np.random.default_rng(0)
    an.OptimalDenoiser(rng.standard_normal((3, 192)))(rng.standard_normal((2, 192)), 1.0)
    points = an.PointSet(rng.standard_normal((200_000, 192)))
    x = points.points[:256] + rng.standard_normal((256, 192))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    start = time.perf_counter()
    an.OptimalDenoiser(points)(x, 1.0)
    seconds = time.perf_counter() - start
    print(f"inputs {before:.0f} MB, call +{resident('VmHWM') - before:.0f} MB, {seconds:.1f} s")


if __name__ == "__main__":
    main()
