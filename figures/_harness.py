"""What every figure script shares: exact trajectories, one option, two files, paths printed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import analytic as an
from analytic import plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["exact", "run"]

OUT = Path(__file__).parent / "out"


def exact(
    points: an.PointSet, count: int, *, seed: int, also: Sequence[float] = ()
) -> an.Trajectory:
    """`count` trajectories from σ = 80 to 0, saved at 200 levels down to 0.002 and at `also`."""
    denoiser = an.OptimalDenoiser(points)
    start = an.noise(count, like=denoiser, sigma=80.0, seed=seed)
    levels: Any = np.concatenate([an.grids.polynomial(200, 80.0, 0.002), also])
    # a millionth is far below the width of a line, and its error estimate would not be shown
    return an.integrate(
        denoiser, start, 80.0, 0.0, rtol=1e-6, atol=1e-9, save_at=levels, estimate_error=False
    )


def run(
    draw: Callable[[], Figure], script: str, caption: str | None, argv: Sequence[str] | None
) -> list[Path]:
    """Parse the command line, draw, save `script`'s name as PDF and PNG; returns the paths."""
    parser = argparse.ArgumentParser(
        description=caption, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the files (%(default)s)")
    folder = parser.parse_args(argv).out
    folder.mkdir(parents=True, exist_ok=True)
    paths = plotting.save(draw(), folder / Path(script).stem)
    for path in paths:
        print(path)
    return paths
