"""Denoising converges first: pictures along one trajectory, and distances to where it ends.

Top: states x and denoising outputs D of one exact trajectory at falling σ, and of a learned
denoiser from the same start. Each picture of x is stretched to its own range, since at σ = 80 noise
is 80 times larger than the pixels; those of D are shown on the data's own range [−1, 1]. Bottom:
distance to the end of the trajectory, as root mean square over pixels; lines are means over
trajectories, bands run from the 10 % to the 90 % quantile, dashed is what the eye
hardly sees, 1/20 of the range. D is there long before x. The learned one stops at σ = 0.002.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytic import gallery, geometry, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEEDS = "images"
DATA = ("digits",)
SHOWN = (8.0, 4.0, 2.6, 1.8, 1.3, 0.9, 0.5, 0.25, 0.1)
"""Noise levels of the pictures but for the first and last, in units of `lab.halfway`, where D
turns from the mean to a picture."""
VISIBLE = 0.1


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Pictures and distances, by whose they are."""
    shape = gallery.image_shape(lab.data)
    assert shape is not None
    size = shape[:2] if shape[2] == 1 else shape
    found: dict[str, Any] = {}
    shown = [lab.high, *(ratio * lab.halfway for ratio in SHOWN), 0.0]
    for who, path in lab.paths().items():
        at = [np.abs(path.sigmas - each).argmin() for each in shown]
        found[who] = {
            "shown": path.sigmas[at],
            "x": path.states[at, 0].reshape(-1, *size),
            "D": path.denoised[at, 0].reshape(-1, *size),
            "sigmas": path.sigmas,
            "distance": {
                "sampling x": geometry.distances(path.states) / np.sqrt(lab.data.dim),
                "denoising D": geometry.distances(path.denoised, path.final)
                / np.sqrt(lab.data.dim),
            },
        }
    return found


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """Pictures above, curves below."""
    rows: dict[str, Any] = {}
    for who, each in found.items():
        of = "" if len(found) == 1 else f" {lab.titles[who].replace(' denoiser', '')}"
        rows |= {f"x{of}": each["x"], f"D{of}": each["D"]}
    limits = {name: (-1.0, 1.0) for name in rows if name[0] == "D"}
    high = 0.52 * len(rows) + 0.4
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, high + 2.6)
        above, below = figure.subfigures(2, 1, height_ratios=[high, 2.6])
        shown = found["optimal"]["shown"]
        plotting.image_rows(rows, shown, ax=above.subplots(), limits=limits)
        panels = below.subplots(1, len(found), sharey=True, squeeze=False)[0]
        for axes, (who, each) in zip(panels, found.items(), strict=True):
            plotting.geometry_curves(
                each["sigmas"],
                each["distance"],
                ax=axes,
                ylabel="rms distance to the end",
                logy=True,
                legend=False,
            )
            axes.axhline(
                VISIBLE,
                color=plotting.BOUND.color,
                linestyle=plotting.BOUND.linestyle,
                label="1/20 of the range",
            )
            axes.set_title(lab.titles[who])
            axes.label_outer()
        panels[0].set_ylim(1e-3, 200)
        panels[0].legend()
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
