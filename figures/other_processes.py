"""Other diffusion processes are the same flow in other coordinates.

Probability-flow ODEs of the variance-preserving process, of sub-VP, of the cosine schedule and
of rectified flow, each integrated in its own time and coordinates x_t with the optimal denoiser,
from the same noise. Above: paths over the data, and the distance to the end against t, differ (VP
and cosine keep the variance and differ in time alone).
Below: divided by α_t and set against σ = σ_t/α_t, they are those of the variance-exploding flow
(theory C8): markers of all lie on one curve. Data units throughout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import analytic as an
from analytic import gallery, geometry, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"vp": "VP", "sub_vp": "sub-VP", "cosine": "cosine", "rectified_flow": "rectified flow"}
COUNT, HIGH, LOW, LEVELS = 3, 80.0, 0.002, 120


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Each process by its own ODE, and the flow itself."""
    if lab.unit != 1:
        raise gallery.Unfit(
            "VP and cosine have no level of such noise: scale the data to order one"
        )
    sigmas = an.grids.polynomial(LEVELS, HIGH, LOW)
    start = lab.start(COUNT)
    flow = an.integrate(
        lab.denoiser, start, HIGH, 0.0, save_at=sigmas, rtol=1e-9, atol=1e-11, estimate_error=False
    )
    found: dict[str, Any] = {"sigmas": sigmas, "flow": flow.states[:-1], "end": flow.final}
    for name in NAMES:
        schedule = getattr(an.NoiseSchedule, name)()
        times, states = _own(schedule, lab.denoiser, start, sigmas)
        mapped = states / schedule.alpha(times)[:, None, None]
        found[name] = {"times": times, "states": states, "mapped": mapped}
    return found


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """Own coordinates above, those of the flow below."""
    looks = dict(zip(NAMES.values(), (plotting.OTHERS[k] for k in (0, 2, 4, 3)), strict=True))
    looks["VE, sampling x"] = plotting.SAMPLING
    each = {label: found[name] for name, label in NAMES.items()}
    flow = {"VE, sampling x": found["flow"]}
    levels, end = found["sigmas"], found["end"]
    away = "distance to the end (data units)"

    def distances(paths: dict[str, Any]) -> dict[str, Any]:
        return {label: geometry.distances(path, end)[:, 0] for label, path in paths.items()}

    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 5.4)
        grid = figure.subplots(2, 2, width_ratios=[3, 4])
        own = {label: path["states"] for label, path in each.items()}
        mapped = flow | {label: path["mapped"] for label, path in each.items()}
        for axes, paths, limit in zip(grid[:, 0], (own, mapped), (1.3, 2.0), strict=True):
            plotting.plane_paths(
                paths,
                lab.data,
                ax=axes,
                looks={k: looks[k] for k in paths},
                limit=limit,
                legend=False,
            )
        plotting.curves_by(
            {label: path["times"] for label, path in each.items()},
            distances(own),
            ax=grid[0, 1],
            xlabel="t of the process",
            ylabel=away,
            looks={label: looks[label] for label in own},
            legend=False,
        )
        grid[0, 1].set_xlim(1.0, 0.0)
        plotting.curves_by(
            levels,
            distances(mapped),
            ax=grid[1, 1],
            xlabel="$σ_t/α_t$ (data units)",
            ylabel=away,
            looks=looks,
            marks=8,
            legend=False,
        )
        grid[1, 1].set(xscale="log", yscale="log", xlim=(HIGH, LOW))
        plotting.thin_ticks(grid[1, 1])
        for axes, title in zip(grid[:, 0], ("own coordinates $x_t$", "$x_t/α_t$"), strict=True):
            axes.set_title(title)
        plotting.shared_legend(figure, plotting.PAGE)
    return figure


def _own(schedule: an.NoiseSchedule, denoiser: an.Denoiser, start: Any, sigmas: Any) -> Any:
    """(T,) times of the levels and (T, B, D) states, by the ODE of the process in its own time."""
    from scipy.integrate import solve_ivp

    first, _ = schedule.from_ve(start, np.full(len(start), sigmas[0]))
    times = schedule.time(sigmas)

    def slope(t: float, flat: Any) -> Any:
        x = flat.reshape(first.shape)
        x_hat, level = schedule.to_ve(x, t)
        return schedule.velocity(x, denoiser(x_hat, float(level)), t).ravel()

    solved = solve_ivp(
        slope,
        (times[0], times[-1]),
        first.ravel(),
        method="DOP853",
        t_eval=times,
        rtol=1e-9,
        atol=1e-11,
    )
    return times, solved.y.T.reshape(-1, *first.shape)


if __name__ == "__main__":
    gallery.main(__file__)
