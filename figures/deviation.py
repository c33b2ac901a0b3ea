"""How far trajectories leave their chord, and how far they are from their end, against σ.

Top: distance of the states x and of the denoising outputs D to the line through the first and
the last of them. Bottom: distance to the end of x. All in data units, σ from 80 to 0.002 on a
reversed logarithmic axis; lines are means over trajectories, bands run from the 10 % to the 90 %
quantile. The titles tell how long the chords are: x hardly leaves its own, D bends, and is closer
to the end all along. Right: a learned denoiser from the same starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytic import gallery, geometry, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOOR = 1e-3
"""Lower end of the distance axis over its upper: D reaches the end long before σ = 0.002."""


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Deviations, distances and chords, by whose they are."""
    return {
        who: {
            "sigmas": path.sigmas,
            "deviation": {
                "sampling x": geometry.deviation(path.states),
                "denoising D": geometry.deviation(path.denoised),
            },
            "distance": {
                "sampling x": geometry.distances(path.states),
                "denoising D": geometry.distances(path.denoised, path.final),
            },
            "chords": [geometry.chord(each).mean() for each in (path.states, path.denoised)],
        }
        for who, path in lab.paths().items()
    }


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """A column for each denoiser."""
    wide = plotting.PAGE if len(found) > 1 else plotting.COLUMN
    with plotting.theme():
        figure = plotting.figure(wide, 4.2)
        grid = figure.subplots(2, len(found), sharex=True, sharey="row", squeeze=False)
        for (top, bottom), (who, each) in zip(grid.T, found.items(), strict=True):
            for axes, what, logy in ((top, "deviation", False), (bottom, "distance", True)):
                ylabel = f"{what} from the chord" if what == "deviation" else "distance to the end"
                plotting.geometry_curves(
                    each["sigmas"],
                    each[what],
                    ax=axes,
                    ylabel=f"{ylabel}\n(data units)",
                    logy=logy,
                    legend=False,
                )
                axes.label_outer()
            x, d = (f"{v:.3g}" if v < 1000 else f"{v:,.0f}" for v in each["chords"])
            top.set_title(f"{lab.titles[who]}\nchord of x {x}, of D {d}")
            top.set_ylim(bottom=0)
        most = max(each["distance"]["sampling x"].max() for each in found.values())
        least = max(each["distance"]["denoising D"].max() for each in found.values())
        grid[1, 0].set_ylim(FLOOR * least, 2 * most)
        handles = grid[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=2)
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
