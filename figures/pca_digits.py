"""Digits being made: trajectories in the plane of the data's two leading components.

Exact trajectories of the optimal denoiser of 1,797 handwritten digits (8 x 8 pixels in
[-1, 1], which are the data units) from σ = 80 to σ = 0. Above: sampling trajectories x come
in from outside, denoising trajectories D turn out from the data mean, and both end in the
same digit. Below: one trajectory as pictures at decreasing σ. Each picture of x is stretched
to its own range, since at σ = 80 noise is 80 times larger than the pixels; those of D are
shown on the data's own range [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import _harness
import numpy as np

import analytic as an
from analytic import plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = (80.0, 20.0, 8.0, 4.0, 2.5, 1.6, 1.0, 0.6, 0.3, 0.0)
"""Noise levels of the pictures: dense where D changes."""


def draw(n: int | None = None, count: int = 16, seed: int = 1) -> Figure:
    """`count` trajectories over `n` digits (all by default), the first one as pictures."""
    points = an.datasets.digits(n)
    exact = _harness.exact(points, count, seed=seed, also=SHOWN)
    at = np.searchsorted(-exact.sigmas, -np.array(SHOWN))
    rows = {
        "x, each stretched": exact.states[at, 0].reshape(-1, 8, 8),
        "D, in [−1, 1]": exact.denoised[at, 0].reshape(-1, 8, 8),
    }
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 5.3)
        plane, pictures = figure.subplots(
            2, 1, height_ratios=[3.6, 1.6], gridspec_kw={"hspace": 0.08}
        )
        plotting.pca_view(exact, points, ax=plane, legend=False)
        plane.legend(loc="center left", bbox_to_anchor=(1.04, 0.5))
        plane.set_anchor("N")
        plotting.image_rows(rows, SHOWN, ax=pictures, limits={"D, in [−1, 1]": (-1.0, 1.0)})
    return figure


def main(argv: Sequence[str] | None = None, *, n: int | None = None, count: int = 16) -> list[Path]:
    return _harness.run(lambda: draw(n, count), __file__, __doc__, argv)


if __name__ == "__main__":
    main()
