"""Sampling and denoising trajectories in the plane, over the density at several noise levels.

Exact probability-flow trajectories of the optimal denoiser from σ = 80 to σ = 0, in data
units. Each sampling trajectory x (solid blue) comes in from far outside on a nearly straight
line; its denoising trajectory D(x; σ) (dash-dotted orange) starts at the data mean, stays within
the convex hull of the data and bends. Both end in the same data point (black).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytic import gallery, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEEDS = "plane"
DATA = ("two_moons", "eight_gaussians")


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Nothing but the paths, which other figures share."""
    return {}


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """The paths over the data."""
    with plotting.theme():
        figure = plotting.figure(plotting.COLUMN, 3.7)
        axes = figure.subplots()
        plotting.trajectories_2d(lab.exact(12), lab.data, ax=axes, limit=2.0)
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
