"""Trajectories share one shape: a boomerang in three dimensions.

Top left: shares of each trajectory's variance along its principal components. In space,
trajectories from eight times the σ on where D is half way to its end, each along its chord and
along the two principal directions across it: raw, as its own frame has it, in data units;
and aligned, scaled by its largest deviation and turned about the chord onto the others, with
their mean in black. Bottom: curvature and torsion in inverse data spreads √tr Σ, by
polynomials through seven neighbouring states. Lines are medians over trajectories, bands run
from the 10 % to the 90 % quantile. Dotted and bottom right: a learned denoiser from the same
starts; without one, denoising trajectories D.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytic import gallery, geometry, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATA = ("digits",)
COUNT = 24
SPAN = 8.0
"""Noise level of the first state in space, in units of `lab.halfway`, where paths bend."""
BENDS = (0.15, 8.0)
"""Between which noise levels, in the same units, curvature is shown: beyond, paths are straight."""


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Spectra, frames, curvatures, by whose they are."""
    if lab.data.dim < 3:
        raise gallery.Unfit(f"it shows space, and {lab.data.name} has D = {lab.data.dim}")
    found: dict[str, Any] = {}
    spread = np.sqrt(lab.data.total_variance)
    for who, whole in lab.paths().items():
        path = whole.select(slice(COUNT))
        ratio = path.sigmas / lab.halfway
        late = ratio <= SPAN
        live = path.sigmas > 0
        bends = geometry.curvature_torsion(path.states[live], np.log(path.sigmas[live]))
        shown = (ratio[live] >= BENDS[0]) & (ratio[live] <= BENDS[1])
        seen = geometry.boomerang(path.states[late])
        beside = geometry.boomerang(path.denoised[late])
        found[who] = {
            "shares of x": geometry.pca_spectrum(path.states),
            "shares of D": geometry.pca_spectrum(path.denoised),
            "raw": geometry.chord_frame(path.states[late]).coordinates,
            "aligned": seen.coordinates,
            "mean": seen.shape,
            "sigmas": path.sigmas[live][shown],
            "curvature": bends.curvature[shown] * spread,
            "torsion": bends.torsion[shown] * spread,
            "agreement": float(np.nanmean(seen.agreement)),
            "aligned D": beside.coordinates,
            "mean D": beside.shape,
            "agreement D": float(np.nanmean(beside.agreement)),
        }
    return found


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """Six panels, five without a learned model."""
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 5.0)
        grid = figure.add_gridspec(2, 3, width_ratios=[1, 1, 1.15])
        best, learned = found["optimal"], found.get("learned")
        shares = {"sampling x": best["shares of x"], "denoising D": best["shares of D"]}
        name = f"x, {lab.learned}"
        if learned is not None:
            shares[name] = learned["shares of x"]
        axes = figure.add_subplot(grid[0, 0])
        looks = {name: plotting.LEARNED} if learned is not None else {}
        plotting.variance_spectrum(shares, ax=axes, looks=looks, legend=False)
        axes.legend(loc="lower left")
        for k, what in enumerate(("curvature", "torsion")):
            axes = figure.add_subplot(grid[1, k])
            for who, each in found.items():
                name = lab.titles[who]
                look = plotting.SAMPLING if who == "optimal" else plotting.LEARNED
                plotting.geometry_curves(
                    each["sigmas"],
                    {name: each[what]},
                    ax=axes,
                    ylabel=f"{what} × √tr Σ",
                    logy=True,
                    looks={name: look},
                    middle="median",
                    legend=False,
                )
            # where paths are straight, what is left are rounding and the window
            high = np.median(best[what], axis=1).max()
            axes.set_ylim(1e-4 * high, 10 * high)
            axes.legend(loc="lower left" if what == "curvature" else "upper left")
        last = ("learned", "") if learned is not None else ("optimal", " D")
        for k, (who, of, what) in enumerate(
            (("optimal", "", "raw"), ("optimal", "", "aligned"), (*last, "aligned"))
        ):
            axes = figure.add_subplot(grid[divmod((1, 2, 5)[k], 3)], projection="3d")
            each = found[who]
            look = plotting.SAMPLING if who == "optimal" else plotting.LEARNED
            look = plotting.DENOISING if of else look
            mean = each[f"mean{of}"] if what == "aligned" else None
            plotting.boomerang(each[f"{what}{of}"], ax=axes, shape=mean, look=look)
            agreement = f", agreement {each[f'agreement{of}']:.2f}" if what == "aligned" else ""
            axes.set_title(f"{lab.titles[who]}\n{of or 'x'} {what}{agreement}")
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
