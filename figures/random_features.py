"""How near random features come to the optimal denoiser as they become more.

Denoisers that are linear in K random cosines and in x, trained in closed form, each level on its
own. Left: their exact loss E|r − x₀|² against K, over the data variance tr Σ; no denoiser has less
than the optimal one, the mmse (dashed, where the axis reaches it). Right: root mean square
deviation |r − D| over 1,024 forward samples x₀ + σz, over the data scale √tr Σ; the square of it
is the loss less the mmse. Models are nested: the features of each are among those of the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import analytic as an
from analytic import gallery, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEEDS = "data"
WIDTHS = (8, 16, 32, 64, 128, 256, 512)
SIGMAS = (2.0, 1.0, 0.5, 0.2, 0.1)
"""Noise levels for data of order one, in units of `lab.unit`."""
SAMPLES = 1024


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Losses (S, K), squared deviations (S, K) and mmse (S,), in squared data units."""
    points, count = lab.data, 64 if lab.large else SAMPLES
    levels = lab.unit * np.array(SIGMAS)
    models = [
        an.learned.RandomFeatureDenoiser.fit(points, levels, n_features=width) for width in WIDTHS
    ]
    losses = np.array([model.losses for model in models]).T
    gone, least = np.empty(losses.shape), np.empty(len(levels))
    rng = np.random.default_rng(1)
    for k, sigma in enumerate(levels):
        x = points.sample(count, rng) + sigma * rng.standard_normal((count, points.dim))
        posterior = lab.denoiser.posterior(x, sigma)
        squares = np.array(
            [np.sum((model(x, sigma) - posterior.mean) ** 2, axis=1) for model in models]
        )
        gone[k] = squares.mean(axis=1)
        least[k] = _mmse(posterior.trace_cov, losses[k, -1] - squares[-1])
    return {
        "sigmas": levels,
        "losses": losses,
        "deviations": gone,
        "mmse": least,
        "variance": points.total_variance,
    }


def _mmse(spread: Any, below: Any) -> float:
    """Of two unbiased means that with the smaller spread.

    tr C(x) scatters with x; the exact loss less |r - D|², which is the same in the mean, hardly
    does where r is near D.
    """
    return float((spread if spread.std() < below.std() else below).mean())


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """Losses with their floors, and deviations."""
    unit = found["variance"]
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 2.7)
        left, right = figure.subplots(1, 2)
        plotting.width_curves(
            WIDTHS,
            found["sigmas"],
            found["losses"] / unit,
            floors=found["mmse"] / unit,
            ylabel="loss / data variance",
            ax=left,
            legend=False,
        )
        plotting.width_curves(
            WIDTHS,
            found["sigmas"],
            np.sqrt(found["deviations"] / unit),
            ylabel="rms |r − D| / data scale",
            ax=right,
            legend=False,
        )
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
