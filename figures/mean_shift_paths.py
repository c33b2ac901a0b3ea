"""Mean shift, annealed mean shift and the exact flow, from the same starts.

Starts are noisy points around the data's mean, in the plane of the data or of its two leading
components. Left: mean shift x ← D(x; h) at one bandwidth h, half of the level below which the
density has more than one mode, stops at modes of p_h. Middle: annealed mean shift x ← D(x; σ), σ
falling over 48 iterations, goes on to data points, but forgets its start while p_σ has one mode.
Right: the probability flow goes only a little of the way to D at a time, and remembers; dotted,
the flow of a learned denoiser. Marks are iterates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import analytic as an
from analytic import gallery, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COUNT, ITERATES = 10, 48


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Paths of all kinds from the same starts."""
    data = lab.data
    scale = float(np.sqrt(data.spectrum.sum()))
    high = 1.5 * float(np.sqrt(data.spectrum[0]))
    low = 1e-3 * scale
    start = data.mean + lab.start(COUNT, seed=3, sigma=high)
    width = 0.5 * an.collapse.speciation(data, starts=32, rtol=0.05)
    levels = an.grids.log_snr(ITERATES, high, low)
    saved = an.grids.log_snr(100, high, low)

    def path(denoiser: an.Denoiser, rtol: float) -> an.Trajectory:
        options = {"rtol": rtol, "atol": 1e-3 * rtol * lab.unit, "estimate_error": False}
        return an.integrate(denoiser, start, high, low, save_at=saved, **options)

    flow, learned = path(lab.denoiser, 1e-6), path(lab.model, 1e-4)
    return {
        "bandwidth": width,
        "fixed": _iterate(lab.denoiser, start, np.full(ITERATES, width)),
        "annealed": _iterate(lab.denoiser, start, levels),
        "flow": flow.states,
        "learned": learned.states,
    }


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """A panel for each kind."""
    shift = {"mean shift": plotting.OTHERS[0], "annealed mean shift": plotting.OTHERS[4]}
    shift = {name: each._replace(linestyle="-") for name, each in shift.items()}
    looks = shift | {lab.learned: plotting.LEARNED}
    width = plotting.level_text(found["bandwidth"])
    panels = (
        (f"mean shift, h = {width}", {"mean shift": found["fixed"]}),
        ("annealed mean shift", {"annealed mean shift": found["annealed"]}),
        ("probability flow", {"sampling x": found["flow"], lab.learned: found["learned"]}),
    )
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 3.3)
        grid = figure.subplots(1, 3, sharex=True, sharey=True)
        for axes, (title, paths) in zip(grid, panels, strict=True):
            plotting.plane_paths(
                paths,
                lab.data,
                ax=axes,
                steps=tuple(shift),
                looks={name: look for name, look in looks.items() if name in paths},
                limit=1.5,
                legend=False,
            )
            axes.set_title(title)
            axes.label_outer()
        plotting.shared_legend(figure, plotting.PAGE)
    return figure


def _iterate(denoiser: an.Denoiser, start: Any, widths: Any) -> Any:
    """(T, B, D) the start, and x ← D(x; h) for each bandwidth."""
    path = [start]
    for width in widths:
        path.append(denoiser(path[-1], float(width)))
    return np.stack(path)


if __name__ == "__main__":
    gallery.main(__file__)
