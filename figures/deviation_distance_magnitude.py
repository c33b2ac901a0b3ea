"""How straight the sampling trajectory is, and how much sooner the denoiser arrives (digits).

Exact trajectories of the optimal denoiser of 1,797 handwritten digits, σ from 80 to 0.002
against a reversed logarithmic axis, all units those of the data; lines are means over
trajectories, bands run from the 10 % to the 90 % quantile. Left: distance to the chord
between first and last state, in chord lengths: x hardly leaves its chord, D bends. Middle:
distance to the end x(0): D is closer all along. Right: magnitude: |x| shrinks from
σ√dim to that of a digit, |D| grows from that of the data mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import _harness

import analytic as an
from analytic import geometry, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOOR = 1e-3
"""Lower end of the distance axis: D reaches x(0) to within rounding long before σ = 0.002."""


def draw(data: str = "digits", n: int | None = None, count: int = 48, seed: int = 1) -> Figure:
    """Three panels for `count` trajectories over a data set by name, of `n` points."""
    exact = _harness.exact(an.datasets.get(data, n=n), count, seed=seed)
    paths = {"sampling x": exact.states, "denoising D": exact.denoised}
    panels = {
        "deviation / chord length": {
            k: geometry.deviation(v) / geometry.chord(v) for k, v in paths.items()
        },
        "distance to x(0) (data units)": {
            k: geometry.distances(v, exact.final) for k, v in paths.items()
        },
        "magnitude (data units)": {k: geometry.magnitudes(v) for k, v in paths.items()},
    }
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 2.5)
        grid = figure.subplots(1, 3)
        for axes, (ylabel, values) in zip(grid, panels.items(), strict=True):
            plotting.geometry_curves(
                exact.sigmas, values, ax=axes, ylabel=ylabel, logy=axes is not grid[0], legend=False
            )
        grid[0].set_ylim(bottom=0)
        grid[1].set_ylim(FLOOR, 2 * geometry.distances(exact.states).max())
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def main(argv: Sequence[str] | None = None, *, n: int | None = None, count: int = 48) -> list[Path]:
    return _harness.run(lambda: draw(n=n, count=count), __file__, __doc__, argv)


if __name__ == "__main__":
    main()
