"""Trajectories in the plane of the data's two leading principal components.

Exact trajectories from σ = 80, projected; both axes in data units and of one scale, with their
shares of the data's variance. Sampling trajectories x (solid blue) come in from outside, denoising
trajectories D (dash-dotted orange) turn out from the data mean, and both end in the same data point
(black). Right: a learned denoiser from the same starts; it ends beside the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytic import gallery, geometry, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATA = ("digits",)
COUNT = 16


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """The plane."""
    basis, share = geometry.principal(lab.data.points, 2, lab.data.weights)
    return {"basis": basis, "share": share}


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """A panel for each denoiser."""
    paths = lab.paths()
    wide = plotting.PAGE if len(paths) > 1 else plotting.COLUMN
    with plotting.theme():
        figure = plotting.figure(wide, 3.9)
        panels = figure.subplots(1, len(paths), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (who, path) in zip(panels, paths.items(), strict=True):
            plane = (found["basis"], found["share"])
            seen = path.select(slice(COUNT))
            plotting.pca_view(seen, lab.data, ax=axes, plane=plane, legend=False)
            axes.set_title(lab.titles[who])
            axes.label_outer()
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=4 if len(paths) > 1 else 2)
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
