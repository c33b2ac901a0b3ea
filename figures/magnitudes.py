"""Magnitudes of the states x, the denoising outputs D and the predicted noise ε, against σ.

ε = (x − D)/σ. σ from 80 to 0.002 on a reversed logarithmic axis; lines are means over trajectories,
bands run from the 10 % to the 90 % quantile. |x| falls from σ√dim to the size of a data point, |D|
grows from that of the data mean, |ε| is about √dim all along. Dashed: root mean square of |x|
over p_σ, √(σ²D + E|x_0|²); the largest |x_0|, which no |D| exceeds; √dim. Dotted: a learned
denoiser from the same starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytic import gallery, geometry, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Magnitudes by what and whose they are, and what to compare them with."""
    data, found = lab.data, {}
    for who, path in lab.paths().items():
        live = path.sigmas > 0
        sigmas, x, d = path.sigmas[live], path.states[live], path.denoised[live]
        found[who] = {
            "sigmas": sigmas,
            "x": geometry.magnitudes(x),
            "D": geometry.magnitudes(d),
            "ε": geometry.magnitudes((x - d) / sigmas[:, None, None]),
        }
    sigmas = found["optimal"]["sigmas"]
    square = data.total_variance + float(data.mean @ data.mean)
    found["beside"] = {
        "x": np.sqrt(sigmas**2 * data.dim + square),
        "D": np.full(len(sigmas), data.radius),
        "ε": np.full(len(sigmas), np.sqrt(data.dim)),
    }
    return found


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """A panel for each of the three."""
    beside = {"x": "rms over $p_σ$", "D": "largest $|x_0|$", "ε": "√dim"}
    looks = {"x": plotting.SAMPLING, "D": plotting.DENOISING, "ε": plotting.NOISE}
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 3.1)
        for axes, (what, look) in zip(figure.subplots(1, 3), looks.items(), strict=True):
            unit = "" if what == "ε" else " (data units)"
            for who, name in lab.titles.items():
                if who in found:
                    plotting.geometry_curves(
                        found[who]["sigmas"],
                        {name: found[who][what]},
                        ax=axes,
                        ylabel=f"|{what}|{unit}",
                        logy=what == "x",
                        looks={name: look if who == "optimal" else plotting.LEARNED},
                        legend=False,
                    )
            axes.plot(
                found["optimal"]["sigmas"],
                found["beside"][what],
                color=plotting.BOUND.color,
                linestyle=plotting.BOUND.linestyle,
                label=beside[what],
                zorder=1.5,
            )
            if what != "x":
                axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
            # the curves fill the panels
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24))
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
