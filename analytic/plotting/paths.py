"""Sampling and denoising trajectories, in a plane or against the noise level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ..geometry import principal
from ..points import as_points
from ..trajectory import Trajectory
from ._style import (
    COLUMN,
    DENOISING,
    SAMPLING,
    Look,
    canvas,
    drawable,
    level_text,
    looks_by,
    plain,
    scatter_data,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "geometry_curves",
    "pca_view",
    "trajectories_2d",
]

Floats = NDArray[np.float64]
Reals = NDArray[np.floating]


def trajectories_2d(
    trajectory: Trajectory,
    points: Any,
    *,
    ax: Axes | None = None,
    limit: float | None = None,
    legend: bool = True,
) -> Axes:
    """Sampling and denoising trajectories of a two-dimensional set, over its points.

    Parameters
    ----------
    trajectory : states and denoising outputs (T, B, 2), in data units.
    points : `PointSet` or (N, 2) array.
    ax : axes to draw on.
    limit : half-width of the view in radii of the data (largest coordinate
        distance from the centre of its box). Default 2.5: starts at large σ
        are far outside.
    legend : whether to say below the axes what is what.
    """
    data = as_points(points)
    _check.instance(trajectory, "trajectory", Trajectory, "see analytic.integrate")
    if data.dim != 2 or trajectory.states.shape[2] != 2:
        _check.fail(
            "points",
            f"dimension {data.dim}, and states of dimension {trajectory.states.shape[2]}",
            "2 and 2",
            "use pca_view for other sets",
        )
    radii = 2.5 if limit is None else _check.number(limit, "limit", low=0.0, open_low=True)
    with canvas(ax, height=COLUMN) as axes:
        _paths(axes, trajectory.states, trajectory.denoised, data.points, radii, legend)
        axes.set_xlabel("$x_1$ (data units)")
        axes.set_ylabel("$x_2$ (data units)")
        return axes


def pca_view(
    trajectory: Trajectory,
    points: Any,
    *,
    ax: Axes | None = None,
    limit: float = 1.6,
    plane: tuple[Any, Any] | None = None,
    legend: bool = True,
) -> Axes:
    """Trajectories and data projected on the two leading principal components of the data.

    Both axes have one scale, so angles and lengths in that plane are true. The
    view is centred on the data and `limit` radii of the projected data wide on
    each side; the trajectories (T, B, D) come in from outside.

    Parameters
    ----------
    plane : directions (2, D) and their shares of the variance (2,), by default those of
        `geometry.principal`, which takes a while for large sets.
    """
    data = as_points(points)
    _check.instance(trajectory, "trajectory", Trajectory, "see analytic.integrate")
    if data.dim < 2 or trajectory.states.shape[2] != data.dim:
        _check.fail(
            "points",
            f"dimension {data.dim}, and states of dimension {trajectory.states.shape[2]}",
            "the same dimension, at least 2",
            "pass the points that the trajectory was computed from",
        )
    radii = _check.number(limit, "limit", low=0.0, open_low=True)
    basis, share = (
        principal(data.points, 2, data.weights) if plane is None else _plane(plane, data.dim)
    )
    states, denoised, projected = (
        (each - data.mean) @ basis.T
        for each in (trajectory.states, trajectory.denoised, data.points)
    )
    with canvas(ax, height=COLUMN) as axes:
        _paths(axes, states, denoised, projected, radii, legend)
        axes.set_xlabel(f"PC 1, {share[0]:.0%} of the variance (data units)")
        axes.set_ylabel(f"PC 2, {share[1]:.0%} of the variance (data units)")
        return axes


def geometry_curves(
    sigmas: Any,
    values: Mapping[str, Any],
    *,
    ax: Axes | None = None,
    ylabel: str,
    logy: bool = False,
    looks: Mapping[str, Look] | None = None,
    middle: str = "mean",
    legend: bool = True,
) -> Axes:
    """Mean or median over trajectories, with a band from the 10 % to the 90 % quantile, against σ.

    Parameters
    ----------
    sigmas : (T,) noise levels in data units; σ = 0 has no place on the axis
        and is dropped. Large σ is on the left: sampling runs to the right.
    values : label -> (T, B) or (T,) values. Trajectories with a value that is
        not finite are left out.
    ylabel : what the values are, with their unit.
    logy : whether the vertical axis is logarithmic.
    looks : label -> look, for labels that do not say by themselves what they are.
    middle : "mean" or "median".
    """
    _check.mapping(values, "values")
    _check.flag(logy, "logy")
    drawn = looks_by(values, looks)
    _check.choice(middle, "middle", ("mean", "median"))
    levels = _check.shaped(sigmas, "sigmas", (None,))
    keep = levels > 0
    table = {label: _columns(each, label, levels.size)[keep] for label, each in values.items()}
    levels = levels[keep]
    if not levels.size:
        _check.fail("sigmas", "no level above 0", "one at least", "their axis is logarithmic")
    yscale = "log" if logy else "linear"
    with canvas(ax) as axes:
        axes.set_xscale("log")
        axes.set_yscale(yscale)
        for label, each in table.items():
            look = drawn[label]
            low, high = np.quantile(each, [0.1, 0.9], axis=1)
            among = each.mean(axis=1) if middle == "mean" else np.median(each, axis=1)
            if not logy or (high > 0).any():
                axes.fill_between(levels, low, high, color=look.color, alpha=0.22, linewidth=0)
            axes.plot(
                levels,
                drawable(among, yscale),
                label=plain(label),
                color=look.color,
                linestyle=look.linestyle,
            )
        if levels.size > 1:
            axes.set_xlim(levels.max(), levels.min())
        if levels.max() < 100 * levels.min():
            _few_decades(axes)
        axes.set_xlabel("σ (data units)")
        axes.set_ylabel(_check.text(ylabel, "ylabel"))
        if _check.flag(legend, "legend") and len(table) > 1:
            axes.legend()
        return axes


def _few_decades(axes: Axes) -> None:
    """Ticks at 1, 2 and 5 of a short logarithmic axis, of which Matplotlib labels too many."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: level_text(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _paths(
    axes: Axes, states: Reals, denoised: Reals, points: Floats, radii: float, legend: bool
) -> None:
    """Trajectories (T, B, 2) over points (N, 2), seen from the centre of the points."""
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    reach = radii * float((high - low).max() / 2 or 1.0)
    scatter_data(axes, points)
    for paths, look, label, level in (
        (states, SAMPLING, "sampling x", 3),
        (denoised, DENOISING, "denoising D", 2),
    ):
        for k, path in enumerate(np.moveaxis(paths, 1, 0)):
            axes.plot(
                path[:, 0],
                path[:, 1],
                color=look.color,
                linestyle=look.linestyle,
                linewidth=0.9,
                alpha=0.85,
                zorder=level,
                label=label if k == 0 else None,
            )
    axes.scatter(
        states[-1, :, 0],
        states[-1, :, 1],
        s=9,
        color="black",
        linewidths=0,
        label="end of x",
        zorder=4,
    )
    axes.set_aspect("equal")
    axes.set_xlim(centre[0] - reach, centre[0] + reach)
    axes.set_ylim(centre[1] - reach, centre[1] + reach)
    if _check.flag(legend, "legend"):
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _plane(value: Any, dim: int) -> tuple[Floats, Floats]:
    """Two directions and their shares."""
    if not isinstance(value, Sequence) or len(value) != 2:
        _check.fail("plane", _check.show(value), "(directions, shares)", "see geometry.principal")
    directions, shares = value
    return _check.shaped(directions, "plane", (2, dim)), _check.shaped(shares, "plane", (2,))


def _columns(values: Any, label: str, count: int) -> Floats:
    """Values (T, B) of the trajectories that are finite throughout."""
    table = _check.array(values, f"values[{label!r}]", finite=False).astype(np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or len(table) != count:
        _check.fail(
            f"values[{label!r}]",
            f"shape {np.shape(values)}",
            f"(T, B) or (T,) with T = {count}, the number of noise levels",
            "pass what analytic.geometry returns for the same trajectory",
        )
    finite = table[:, np.isfinite(table).all(axis=0)]
    if finite.shape[1] == 0:
        _check.fail(
            f"values[{label!r}]",
            "no trajectory without NaN",
            "at least one",
            "see Trajectory.explain for why they failed",
        )
    return finite
