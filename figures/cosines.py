"""The direction of a trajectory points to its end, with a dip between.

Angle between ε = (x − D)/σ, the direction of the flow, and x − x_0, that from the end x_0 of the
trajectory; σ from 80 down on a reversed logarithmic axis, lines are means over trajectories, bands
run from the 10 % to the 90 % quantile. Left: its cosine. Right: its sine, and the
bound diam/|x − x_0| (dashed): D and x_0 both lie in the convex hull of the data. Dotted: a
learned denoiser from the same starts, which the bound does not bind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytic import gallery, geometry, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Cosines and sines by whose they are, and the bound of the sine."""
    found: dict[str, Any] = {}
    for who, path in lab.paths().items():
        # at the end itself there is no direction
        toward, away = (path.states - path.denoised)[:-1], (path.states - path.final)[:-1]
        length = np.linalg.norm(away, axis=2)
        unit = toward / np.linalg.norm(toward, axis=2)[..., None]
        off = away - (away * unit).sum(axis=2, keepdims=True) * unit
        found[who] = {
            "sigmas": path.sigmas[:-1],
            "cosine": geometry.cosines(toward, away),
            # a sine by way of the cosine would be lost in rounding
            "sine": np.linalg.norm(off, axis=2) / length,
        }
        if who == "optimal":
            bound = np.minimum(1.0, lab.data.diameter_bounds[1] / length)
            found["bound"] = bound.mean(axis=1)
    return found


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """Cosine and sine side by side."""
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 2.7)
        left, right = figure.subplots(1, 2)
        for axes, what in ((left, "cosine"), (right, "sine")):
            for who, name in lab.titles.items():
                if who in found:
                    plotting.geometry_curves(
                        found[who]["sigmas"],
                        {name: found[who][what]},
                        ax=axes,
                        ylabel=f"{what} of ε and x − $x_0$",
                        logy=what == "sine",
                        looks={name: plotting.SAMPLING if who == "optimal" else plotting.LEARNED},
                        legend=False,
                    )
        right.plot(
            found["optimal"]["sigmas"],
            found["bound"],
            color=plotting.BOUND.color,
            linestyle=plotting.BOUND.linestyle,
            label="diam / |x − $x_0$|",
        )
        least = left.get_ylim()[0]
        left.set_ylim(least, 1 + 0.03 * (1 - least))
        right.set_ylim(1e-4, 2)
        handles = right.get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=3)
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
