"""Sampling and denoising trajectories over two moons and eight Gaussians.

Exact probability-flow trajectories of the optimal denoiser from σ = 80 to σ = 0, all
units those of the data. Each sampling trajectory x (solid blue) comes in from far outside
on a nearly straight line; its denoising trajectory D(x; σ) (dash-dotted orange) starts at
the data mean, stays within the convex hull of the data and bends. Both end in the same
data point (black).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import _harness

import analytic as an
from analytic import plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(n: int = 1000, count: int = 12, seed: int = 1) -> Figure:
    """`count` trajectories over each of two sets of `n` points."""
    sets = {
        "two moons": an.datasets.two_moons(n),
        "eight Gaussians": an.datasets.eight_gaussians(n),
    }
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 3.7)
        panels = figure.subplots(1, 2)
        for axes, (title, points) in zip(panels, sets.items(), strict=True):
            exact = _harness.exact(points, count, seed=seed)
            plotting.trajectories_2d(exact, points, ax=axes, limit=2.0, legend=False)
            axes.set_title(title)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def main(argv: Sequence[str] | None = None, *, n: int = 1000, count: int = 12) -> list[Path]:
    return _harness.run(lambda: draw(n, count), __file__, __doc__, argv)


if __name__ == "__main__":
    main()
