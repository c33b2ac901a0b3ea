"""Collapse: which data point a start reaches, when that is certain, and at what noise level.

Left: starts x = 80 z in a plane (that of the data, else one through two random directions),
coloured by the data point that the exact flow takes them to; colours only tell neighbours
apart. Middle: the first level at which the trap certificate proves where a trajectory ends,
against the distance from that data point to its nearest neighbour. Right: number of data points
that a noisy sample may have come from, e to the mean entropy of its posterior, with a 95 %
interval and the bound by a Gaussian of the data's covariance. Right of speciation the density has
more than one mode; √λ₁ is the level of speciation of data at equal distances from their mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import analytic as an
from analytic import gallery, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Basins of a slice, certificates of random starts, and perplexities."""
    data, denoiser = lab.data, lab.denoiser
    flat = data.dim == 2
    cells, half = (120, 0.35) if flat else (40, 1.5)
    line = np.linspace(-half, half, cells)
    places = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    z = np.eye(2) if flat else np.linalg.qr(lab.start(2, seed=5, sigma=1.0).T)[0].T
    z *= np.sqrt(data.dim / 2)
    slice_ = an.basins(denoiser, lab.high * places @ z, lab.high, rtol=1e-5, atol=1e-7 * lab.unit)
    ends = an.basins(denoiser, lab.start(300, seed=6), lab.high, rtol=1e-5, atol=1e-7 * lab.unit)
    sigmas = an.grids.log_snr(28, 10 * float(np.sqrt(data.spectrum[0])), 1e-3 * lab.unit)
    return {
        "index": slice_.index.reshape(cells, cells),
        "half": half,
        "nearest": _nearest(data.points, ends.index),
        "sigma": ends.sigma,
        "perplexity": an.collapse.perplexity(denoiser, sigmas, 96)._asdict(),
        "bound": an.collapse.entropy_bound(data, sigmas),
        "principal": float(np.sqrt(data.spectrum[0])),
        "speciation": an.collapse.speciation(data, starts=32, rtol=0.02),
    }


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """Three panels."""
    half = found["half"]
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 2.8)
        left, middle, right = figure.subplots(1, 3)
        plotting.basin_map(found["index"], (-half, half, -half, half), ax=left)
        left.set_xlabel("start: $z_1$")
        left.set_ylabel("start: $z_2$")
        left.set_title(f"{np.unique(found['index']).size} of {len(lab.data)} basins")
        plotting.certificate_scatter(found["nearest"], found["sigma"], ax=middle, legend=False)
        plotting.perplexity_curve(
            an.collapse.Perplexity(**found["perplexity"]),
            ax=right,
            bound=found["bound"],
            marks={"speciation": found["speciation"], "√λ₁": found["principal"]},
            legend=False,
        )
        plotting.shared_legend(figure, plotting.PAGE)
    return figure


def _nearest(points: Any, index: Any) -> Any:
    """(B,) distance from the points of that index to the nearest other one."""
    apart = [np.linalg.norm(points - points[k], axis=1) for k in index]
    return np.array([np.partition(each, 1)[1] for each in apart])


if __name__ == "__main__":
    gallery.main(__file__)
