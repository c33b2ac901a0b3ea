"""Where a learned denoiser parts from the optimal one (two moons and digits).

A denoiser of 512 random features, trained in closed form, beside the optimal denoiser of the
same data; σ from 80 to 0.002 against a reversed logarithmic axis. Top: deviation |r − D| in
units of the data scale √tr Σ, on forward samples x_0 + σz, on the states of the learned
trajectory and on those of the optimal one; lines are means, bands run from the 10 % to the
90 % quantile. On the learned path it does not vanish: it tends to the distance of what is
generated from the data. Bottom: share of states where |r − D| ≤ |D − x|, so that no step
towards r lowers the density (Theorem 1); thin, the condition for one Euler step of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import _harness

import analytic as an
from analytic import plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SETS = ("two_moons", "digits")


def draw(
    n: int | None = None, count: int = 64, samples: int = 512, features: int = 512, seed: int = 1
) -> Figure:
    """Panels for `count` starts and `samples` forward samples on both sets, of `n` points."""
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 4.6)
        grid = figure.subplots(2, 2, sharex=True)
        for (top, bottom), name in zip(grid.T, SETS, strict=True):
            points = an.datasets.get(name, n=n)
            model = an.learned.RandomFeatureDenoiser.fit(points, n_features=features)
            found = an.compare(
                model, points, n=samples, starts=count, seed=seed, keep=False, name="features"
            )
            plotting.score_deviation(found, ax=top, legend=False)
            plotting.theorem_fraction(found, ax=bottom, legend=False)
            top.set_title(f"{name}, {len(points)} points")
            top.set_xlabel("")
        figure.legend(*grid[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def main(
    argv: Sequence[str] | None = None,
    *,
    n: int | None = None,
    count: int = 64,
    samples: int = 512,
    features: int = 512,
) -> list[Path]:
    return _harness.run(lambda: draw(n, count, samples, features), __file__, __doc__, argv)


if __name__ == "__main__":
    main()
