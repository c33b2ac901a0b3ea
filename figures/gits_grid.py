"""Noise levels found on the exact flow (GITS) beside the fixed ones of EDM.

Left: for several numbers of steps, the levels between which Euler's leaps from exact states cost
least in all, found on 48 exact trajectories, and those of Karras et al. with ρ = 7; σ from 80 to
0.002, in data units. Right: mean distance from the exact end for 64 other starts. Levels are
found for Euler, where they gain the most; a solver that looks back, iPNDM, takes the same levels.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

import analytic as an
from analytic import gallery, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEEDS = "data"
STEPS = (4, 5, 6, 8, 10, 14, 20, 30)
SHOWN = (4, 6, 8, 10, 14)
SOLVERS = ("euler", "ipndm")
KARRAS, FOUND = "EDM (Karras)", "GITS"


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Both grids for each number of steps, and the ends' mean errors."""
    path = lab.exact(48, levels=120)
    above = path.sigmas > 0
    fine = SimpleNamespace(
        sigmas=path.sigmas[above], states=path.states[above], denoised=path.denoised[above]
    )
    start = lab.start(16 if lab.large else 64, seed=2)
    exact = an.integrate(lab.denoiser, start, lab.high, lab.low, rtol=1e-6, atol=1e-9 * lab.unit)
    grids = {
        FOUND: {str(n): an.grids.gits(fine, n + 1) for n in STEPS},
        KARRAS: {str(n): an.grids.polynomial(n + 1, lab.high, lab.low) for n in STEPS},
    }

    def error(solver: str, grid: Any) -> float:
        end = an.sample(lab.denoiser, start, grid, solver).states[-1]
        return float(np.linalg.norm(end - exact.states[-1], axis=1).mean())

    errors = {
        name: {
            solver: np.array([error(solver, grid) for grid in each.values()]) for solver in SOLVERS
        }
        for name, each in grids.items()
    }
    return {"steps": np.array(STEPS), "grids": grids, "errors": errors}


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """Levels, and what they are worth."""
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 3.2)
        left, right = figure.subplots(1, 2)
        shown = {name: [each[str(n)] for n in SHOWN] for name, each in found["grids"].items()}
        plotting.grid_levels(shown, ax=left)
        plotting.grid_error(found["steps"], found["errors"], ax=right)
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
