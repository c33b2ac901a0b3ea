"""Where a learned denoiser parts from the optimal one, in three settings.

A learned denoiser r, by default of 512 random features trained in closed form, beside the optimal
denoiser D of the same data; σ from 80 to 0.002, in data units. Left: deviation |r − D| in
units of the data scale √tr Σ, on forward samples x₀ + σz, on the states of the learned
trajectory and on those of the optimal one; lines are means, bands run from the 10 % to the
90 % quantile. On the learned path it does not vanish: it tends to the distance of what is
generated from the data. Right: share of states where |r − D| ≤ |D − x|, so that no step
towards r lowers the density (Theorem 1); thin, the condition for one Euler step of the grid.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import analytic as an
from analytic import gallery, plotting
from analytic.compare import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEEDS = "data"


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """What `analytic.compare` measures in each of its settings."""
    n, starts = (32, 8) if lab.large else (512, 64)
    found = an.compare(
        lab.model, lab.denoiser, n=n, starts=starts, seed=1, keep=False, name=lab.learned
    )
    return {
        "sigmas": found.sigmas,
        "scale": found.scale,
        "settings": {name: vars(each) for name, each in found.settings.items()},
    }


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """Deviation, and where Theorem 1 applies."""
    settings = {name: Setting(**each) for name, each in found["settings"].items()}
    seen = SimpleNamespace(sigmas=found["sigmas"], scale=found["scale"], settings=settings)
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 2.8)
        left, right = figure.subplots(1, 2)
        plotting.score_deviation(seen, ax=left, legend=False)
        plotting.theorem_fraction(seen, ax=right, legend=False)
        figure.suptitle(f"r: {lab.learned}, {lab.data.name}")
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
