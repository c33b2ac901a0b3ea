"""Start-up: importing, and the first call, in fresh processes.

`import analytic` beside `import numpy`, least of seven interleaved; the first call of
the optimal denoiser when its kernels must be compiled, and when they are cached.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import analytic

__all__ = ["measure"]

REPEATS = 7
IMPORT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
FIRST = """
import time, numpy as np, analytic as an
points = np.random.default_rng(0).standard_normal((1000, 2))
start = time.perf_counter()
an.OptimalDenoiser(points)(points[:100], 1.0)
print(time.perf_counter() - start)
"""


def fresh(code: str, **environment: str) -> float:
    """What the code prints, run in a process of its own."""
    root = str(Path(analytic.__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def measure(repeats: int = REPEATS) -> list[dict[str, Any]]:
    """Seconds of each, in fresh processes."""
    modules = ("numpy", "analytic")
    least = dict.fromkeys(modules, float("inf"))
    for _ in range(repeats):
        for module in modules:
            least[module] = min(least[module], fresh(IMPORT.format(module)))
    rows = [{"what": f"import {module}", "seconds": each} for module, each in least.items()]
    with tempfile.TemporaryDirectory() as folder:
        for state in ("compiling", "cached"):
            seconds = fresh(FIRST, NUMBA_CACHE_DIR=folder)
            rows.append({"what": f"first call, {state}", "seconds": seconds})
    return rows


if __name__ == "__main__":
    print(*measure(), sep="\n")
