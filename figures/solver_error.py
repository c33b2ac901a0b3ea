"""Error of every deterministic solver against its evaluations of the denoiser.

Root mean square, over 8 starts, of the distance to the exact probability-flow trajectory, on EDM's
grids from σ = 80 down to a sixth of the data's diameter, in data units. Above that level the flow
is smooth; below it trajectories choose among data points. Panels are by the order that a solver
promises, Euler in grey in each; the legend tells the order observed, the slope over the two finest
runs. Dashed: the slopes promised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import analytic as an
from analytic import gallery, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEEDS = "data"
BUDGETS = (8, 16, 32, 64, 128, 256)
PANELS = {"order 1": (1,), "order 2": (2,), "orders 3 and 4": (3, 4)}


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Counted evaluations and errors of each solver, and the slope of its two finest runs."""
    low = lab.data.diameter_bounds[1] / 6 or 0.1 * lab.unit
    start = lab.start(8)
    exact = an.integrate(
        lab.denoiser, start, lab.high, low, rtol=1e-10, atol=1e-12 * lab.unit, estimate_error=False
    )
    found: dict[str, Any] = {}
    for name in an.solvers.names():
        solver = an.solvers.get(name)
        if solver.eta is not None:
            continue  # its ends are random
        # a jump adds a step of its own, from the exact end to the denoised output there
        target = exact.denoised[-1] if solver.jump else exact.states[-1]
        nfe, errors = [], []
        for steps in (budget // solver.nfe_per_step for budget in BUDGETS):
            if steps >= max(solver.memory, 2):
                grid = an.grids.polynomial(steps + 1, lab.high, low)
                run = an.sample(lab.denoiser, start, grid, solver)
                gone = np.linalg.norm(run.states[-1] - target, axis=1)
                nfe.append((int(run.nfe[0]), steps))
                errors.append(float(np.sqrt(np.mean(gone**2))))
        slope = np.diff(np.log(errors[-2:])) / np.diff(np.log([steps for _, steps in nfe[-2:]]))
        found[name] = {
            "promised": solver.order,
            "observed": float(-slope[0]),
            "nfe": np.array([count for count, _ in nfe]),
            "errors": np.array(errors),
        }
    return found


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """A panel for the solvers of each order."""
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 3.7)
        grid = figure.subplots(1, len(PANELS), sharey=True)
        for axes, (title, orders) in zip(grid, PANELS.items(), strict=True):
            names = [name for name, each in found.items() if each["promised"] in orders]
            shown = {name: found[name] for name in dict.fromkeys(["euler", *names])}
            plotting.solver_error(
                {name: each["nfe"] for name, each in shown.items()},
                {name: each["errors"] for name, each in shown.items()},
                orders={name: each["observed"] for name, each in shown.items()},
                guides=orders,
                ax=axes,
            )
            axes.set_title(title)
            axes.set_xlabel("NFE")
        for axes in grid[1:]:
            axes.set_ylabel("")
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
