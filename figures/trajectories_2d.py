"""Sampling and denoising trajectories in the plane, over the density at falling noise levels.

Exact probability-flow trajectories from σ = 80, in data units, up to the noise level of each panel
(dots: x there). Grey lines: density p_σ at 0.5, 2 and 4.5 nats below its largest value, as one, two
and three standard deviations of a Gaussian. Each sampling trajectory x (solid blue) comes in from
far outside on a nearly straight line; its denoising trajectory D(x; σ) (dash-dotted orange)
starts at the data mean, stays within the convex hull of the data and bends. At σ = 0 both are
in the same data point. Below, a learned denoiser from the same starts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analytic import gallery, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEEDS = "plane"
DATA = ("two_moons", "eight_gaussians")
RATIOS = (1.2, 0.5, 0.2)
"""Noise levels of the panels, in units of the data scale."""
REACH = 1.7
"""Half-width of the view, in that of the data."""


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Log densities on a grid."""
    levels = lab.exact().sigmas
    shown = [levels[np.abs(levels - ratio * lab.data.scale).argmin()] for ratio in RATIOS]
    low, high = lab.data.points.min(axis=0), lab.data.points.max(axis=0)
    half = REACH * float((high - low).max()) / 2 or 1.0
    x, y = (np.linspace(centre - half, centre + half, 81) for centre in (low + high) / 2)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    densities = [lab.denoiser.log_prob(grid, s).reshape(len(y), len(x)) for s in shown]
    return {"x": x, "y": y, "sigmas": np.array(shown), "log_density": np.stack(densities)}


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """A row for each denoiser, a panel for each level."""
    paths = lab.paths()
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 0.7 + 1.75 * len(paths))
        grid = figure.subplots(len(paths), 4, sharex=True, sharey=True, squeeze=False)
        for row, (who, path) in zip(grid, paths.items(), strict=True):
            for k, axes in enumerate(row):
                sigma = found["sigmas"][k] if k < 3 else 0.0
                seen = path.sigmas >= 0.999 * sigma
                cut = replace(
                    path.select(slice(12)),
                    sigmas=path.sigmas[seen],
                    states=path.states[seen, :12],
                    denoised=path.denoised[seen, :12],
                )
                plotting.trajectories_2d(cut, lab.data, ax=axes, legend=False)
                if k < 3:
                    density = found["log_density"][k]
                    plotting.density_contours(found["x"], found["y"], density, ax=axes)
                if who == "optimal":
                    axes.set_title(f"σ = {plotting.level_text(sigma)}")
                axes.set(xlim=found["x"][[0, -1]], ylim=found["y"][[0, -1]])
                axes.label_outer()
            row[0].set_ylabel(f"{lab.titles[who]}\n$x_2$ (data units)")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        labels = ["state x at σ" if each == "end of x" else each for each in labels]
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
