"""A learned denoiser beside the optimal one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ..compare import FORWARD, LEARNED, Comparison, Loss, Setting
from ..compare._comparison import ratio
from ._style import (
    BOUND,
    DENOISING,
    NORMAL,
    OTHERS,
    PAGE,
    SAMPLING,
    canvas,
    drawable,
    figure,
    looks_of,
    plain,
    theme,
    thin_ticks,
    wrap,
)
from .paths import geometry_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "comparison_figure",
    "loss_split",
    "memorisation",
    "score_deviation",
    "theorem_fraction",
]


_DEEP = 1e10
"""Longest logarithmic axis of a comparison: float64's rounding is of no interest there."""


class Deviations(Protocol):
    """What of a `Comparison` the curves of its settings are drawn from."""

    @property
    def sigmas(self) -> NDArray[np.float64]:
        """(T,) decreasing levels > 0, in data units."""

    @property
    def scale(self) -> float:
        """√tr Σ of the data."""

    @property
    def settings(self) -> Mapping[str, Setting]:
        """Name to what was measured there, (T, m) each."""


def score_deviation(
    comparison: Deviations,
    *,
    ax: Axes | None = None,
    unit: str = "scale",
    legend: bool = True,
) -> Axes:
    """|r - D| against σ in its three settings, as means with bands from 10 % to 90 %.

    Parameters
    ----------
    comparison : a `Comparison`, or what has its `sigmas`, `scale` and `settings`.
    unit : what it is divided by: "scale", √tr Σ of the data; "sigma"; or "score", σ², which
        makes it the error of the score, in inverse data units.
    """
    _check.having(comparison, "comparison", ("sigmas", "scale", "settings"), "a Comparison")
    levels = comparison.sigmas[:, None]
    units: dict[str, tuple[Any, str]] = {
        "scale": (comparison.scale, "|r − D| / data scale"),
        "sigma": (levels, "|r − D| / σ"),
        "score": (levels * levels, "|r − D| / σ² (1 / data unit)"),
    }
    divisor, ylabel = units[_check.choice(unit, "unit", units)]
    values = {name: each.deviation / divisor for name, each in comparison.settings.items()}
    with canvas(ax) as axes:
        geometry_curves(comparison.sigmas, values, ax=axes, ylabel=ylabel, logy=True, legend=legend)
        _short(axes)
        return axes


def theorem_fraction(
    comparison: Deviations, *, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """Share of states where Theorem 1 applies, |r - D| ≤ |D - x|, against σ, in each setting.

    Thin lines of the same kind are the weaker condition for one Euler step of the grid.
    """
    _check.having(comparison, "comparison", ("sigmas", "settings"), "a Comparison")
    looks = looks_of(comparison.settings)
    with canvas(ax) as axes:
        for name, each in comparison.settings.items():
            look = looks[name]
            for share, width, label in ((each.near, 1.5, name), (each.climbs, 0.6, None)):
                axes.plot(
                    comparison.sigmas,
                    share.mean(axis=1),
                    label=label,
                    color=look.color,
                    linestyle=look.linestyle,
                    linewidth=width,
                )
        axes.plot([], [], color=BOUND.color, linewidth=0.6, label="thin: one Euler step")
        axes.set_xscale("log")
        axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel("share with |r − D| ≤ |D − x|")
        _towards_data(axes, comparison)
        if _check.flag(legend, "legend"):
            axes.legend()
        return axes


def loss_split(comparison: Comparison, *, ax: Axes | None = None, legend: bool = True) -> Axes:
    """The denoising loss and its two parts against σ, with 95 % intervals of the means.

    E|r - x_0|² = E|r - D|² + mmse; and the losses on held-out points, where there are some.
    """
    _check.having(comparison, "comparison", ("sigmas", "loss"), "a Comparison")
    loss = comparison.loss
    curves = {
        "loss of r": loss.model,
        "deviation |r − D|²": comparison.settings[FORWARD].deviation ** 2,
        "mmse, loss of D": loss.optimal,
    }
    unseen: Loss | None = comparison.held_out
    if unseen is not None:
        curves |= {"loss of r, held out": unseen.model, "loss of D, held out": unseen.optimal}
    looks = dict(zip(curves, (SAMPLING, OTHERS[1], DENOISING, OTHERS[3], OTHERS[4]), strict=False))
    with canvas(ax) as axes:
        axes.set_xscale("log")
        axes.set_yscale("log")
        for name, values in curves.items():
            mean = values.mean(axis=1)
            half = NORMAL * values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
            look = looks[name]
            axes.fill_between(
                comparison.sigmas,
                drawable(mean - half, "log"),
                drawable(mean + half, "log"),
                color=look.color,
                alpha=0.22,
                linewidth=0,
            )
            axes.plot(
                comparison.sigmas,
                drawable(mean, "log"),
                label=name,
                color=look.color,
                linestyle=look.linestyle,
            )
        axes.set_ylabel("mean squared error (data units²)")
        _towards_data(axes, comparison)
        _short(axes)
        if _check.flag(legend, "legend"):
            axes.legend()
        return axes


def memorisation(comparison: Comparison, *, ax: Axes | None = None, legend: bool = True) -> Axes:
    """How near to one data point ends are: shares of ends below a ratio of distances.

    The ratio is that to the nearest over that to the second nearest data point, which calls an
    end memorised where it is below 1/3; beside it that of data points among themselves.
    """
    _check.having(comparison, "comparison", ("sigmas", "ends"), "a Comparison")
    ends, between = comparison.ends, comparison.between
    curves = {
        "ends of the model": ends["model"].ratio,
        "ends of the optimum": ends["optimal"].ratio,
        "data among themselves": ratio(*between.T),
    }
    looks = (SAMPLING, DENOISING, OTHERS[3])
    with canvas(ax) as axes:
        for (name, values), look in zip(curves.items(), looks, strict=True):
            known = np.sort(values[np.isfinite(values)])
            if known.size:
                axes.step(
                    np.concatenate([[0.0], known, [1.0]]),
                    np.concatenate([[0.0], np.arange(1, known.size + 1) / known.size, [1.0]]),
                    where="post",
                    label=name,
                    color=look.color,
                    linestyle=look.linestyle,
                )
        axes.axvline(1 / 3, color=BOUND.color, linestyle=BOUND.linestyle, label="memorised: 1/3")
        axes.set(xlim=(0, 1), ylim=(-0.03, 1.03))
        axes.set_xlabel("distance to the nearest / second nearest data point")
        axes.set_ylabel("share of ends below")
        if _check.flag(legend, "legend"):
            # curves may pass anywhere: the box is see-through, and where least is behind it
            axes.legend(frameon=True, framealpha=0.8, edgecolor="none")
        return axes


def comparison_figure(comparison: Comparison) -> Figure:
    """A model beside the optimal denoiser on a page: what `analytic.compare` found, in panels."""
    _check.having(comparison, "comparison", ("sigmas", "settings", "loss", "ends"), "a Comparison")
    with theme():
        result = figure(PAGE, 7.0)
        grid = list(result.subplots(3, 2).flat)
        score_deviation(comparison, ax=grid[0])
        paths = {
            "|r(x) − D(x*)|, own paths": comparison.own,
            "separation |x − x*|": comparison.apart,
        }
        geometry_curves(
            comparison.sigmas,
            {name: each / comparison.scale for name, each in paths.items()},
            ax=grid[1],
            ylabel="distance / data scale",
            logy=True,
        )
        _short(grid[1])
        theorem_fraction(comparison, ax=grid[2])
        loss_split(comparison, ax=grid[3])
        memorisation(comparison, ax=grid[4])
        learned = comparison.settings[LEARNED]
        geometry_curves(
            comparison.sigmas,
            {"|r − D|": learned.deviation, "|D − x|": learned.pull},
            ax=grid[5],
            ylabel="on the learned path (data units)",
            logy=True,
        )
        _short(grid[5])
        title = f"{comparison.model} beside the optimal denoiser of {comparison.data}"
        result.suptitle(wrap(plain(title), int(13 * PAGE)))
    return result


def _towards_data(axes: Axes, comparison: Deviations) -> None:
    """Large σ on the left: sampling runs to the right."""
    axes.set_xlim(float(comparison.sigmas[0]), float(comparison.sigmas[-1]))
    axes.set_xlabel("σ (data units)")
    thin_ticks(axes)


def _short(axes: Axes) -> None:
    """End a logarithmic vertical axis ten decades below the largest mean on it."""
    shown = [np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.lines]
    values = np.concatenate([each[np.isfinite(each) & (each > 0)] for each in shown])
    if values.size:
        top = float(values.max())
        axes.set_ylim(max(float(values.min()) / 2, top / _DEEP), 4 * top)
    thin_ticks(axes)
