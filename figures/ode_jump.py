"""Jumping to the denoised output: how early one evaluation tells where sampling ends.

Means over trajectories from σ = 80, in data units. Left: distance to the end of the state x(σ)
of exact trajectories and of a jump to the denoised output there, D(x; σ) of the optimal denoiser
and r(x; σ) of a learned one on its own path to its own end; bands run from the 10 % to the 90 %
quantile. D is close long before x. Right: against evaluations. Full sampling (circles) takes that
many Euler steps down to σ = 0; a jump (squares) stops a run of 40 steps early and takes the
denoised output there. For images, below: states of that run and jumps from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import analytic as an
from analytic import gallery, geometry, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = 40
BUDGETS = (1, 2, 3, 5, 8, 12, 20, 40)
SHOWN = (0, 4, 8, 12, 15, 18, 21, 25, 30, 39)
"""Steps of the run after which it is shown as pictures."""
TICKS = (1, 2, 5, 10, 20, 40)
FLOOR = 1e-3
"""Lower end of the axis of distances: D reaches the end to rounding before the
last level. In units of `lab.unit`."""


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Euler runs of several lengths of both denoisers, and jumps from one of them."""
    shape = gallery.image_shape(lab.data)
    found: dict[str, Any] = {}
    for name, denoiser, path in (
        ("optimal", lab.denoiser, lab.exact()),
        ("learned", lab.model, lab.followed()),
    ):
        start, end = path.states[0], path.final
        full = [
            np.linalg.norm(an.sample(denoiser, start, _grid(lab, k)).final - end, axis=1)
            for k in BUDGETS
        ]
        run = an.sample(denoiser, start, _grid(lab, STEPS))
        found[name] = {"full": full, "jump": geometry.distances(run.denoised[:STEPS], end)}
        if shape is not None:
            found[name] |= {"x": run.states[SHOWN, 0], "D": run.denoised[SHOWN, 0]}
    return found


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """Distances against σ and against evaluations; pictures if the data are some."""
    exact, followed = lab.exact(), lab.followed()
    pink, jump = plotting.LEARNED, f"jump, {lab.learned}"
    shape = gallery.image_shape(lab.data)
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 2.9 if shape is None else 5.0)
        top, below = (figure, None) if shape is None else figure.subfigures(2, height_ratios=[3, 2])
        left, right = top.subplots(1, 2)
        along = {
            "sampling x": (exact.states, exact, plotting.SAMPLING),
            "jump": (exact.denoised, exact, plotting.DENOISING),
            jump: (followed.denoised, followed, pink),
        }
        plotting.jump_curves(
            {name: path.sigmas for name, (_, path, _) in along.items()},
            {name: geometry.distances(each, path.final) for name, (each, path, _) in along.items()},
            looks={name: look for name, (_, _, look) in along.items()},
            xlabel="σ (data units)",
            marked=False,
            ax=left,
        )
        left.set_xlim(lab.high, lab.low)
        left.set_ylim(bottom=FLOOR * lab.unit)
        counts = np.arange(1, STEPS + 1)
        curves = {
            "full sampling": (BUDGETS, found["optimal"]["full"], plotting.SAMPLING),
            "jump": (counts, found["optimal"]["jump"], plotting.DENOISING),
            f"full, {lab.learned}": (BUDGETS, found["learned"]["full"], pink._replace(marker="o")),
            jump: (counts, found["learned"]["jump"], pink._replace(marker="s")),
        }
        plotting.jump_curves(
            {name: each[0] for name, each in curves.items()},
            {name: each[1] for name, each in curves.items()},
            looks={name: each[2] for name, each in curves.items()},
            bands=False,
            ax=right,
        )
        right.set_xticks(TICKS, map(str, TICKS))
        right.minorticks_off()
        right.set_ylim(bottom=FLOOR * lab.unit)
        if below is not None:
            _draw_pictures(below.subplots(), found, shape, lab)
    return figure


def _draw_pictures(
    axes: Any, found: dict[str, Any], shape: tuple[int, ...], lab: gallery.Lab
) -> None:
    shape = shape if shape[2] > 1 else shape[:2]
    rows = {
        "x, each stretched": found["optimal"]["x"],
        "jump D": found["optimal"]["D"],
        f"jump, {lab.learned}": found["learned"]["D"],
    }
    clipped = dict.fromkeys(list(rows)[1:], (-1.0, 1.0))
    levels = _grid(lab, STEPS)[list(SHOWN)]
    pictures = {name: each.reshape(-1, *shape) for name, each in rows.items()}
    plotting.image_rows(pictures, levels, ax=axes, limits=clipped)
    texts = [f"{plotting.level_text(s)}\n{k + 1}" for s, k in zip(levels, SHOWN, strict=True)]
    axes.set_xticks(axes.get_xticks(), texts)
    axes.set_xlabel("σ (data units), evaluations")


def _grid(lab: gallery.Lab, steps: int) -> Any:
    """Levels of `steps` Euler steps, the last one to 0."""
    if steps == 1:
        return np.array([lab.high, 0.0])
    return np.append(an.grids.polynomial(steps, lab.high, lab.low), 0.0)


if __name__ == "__main__":
    gallery.main(__file__)
