"""What fills a plane: paths beside one another, where a density rises, and basins.

A plane is that of two-dimensional data, the data's two leading principal components, or a slice
with coordinates of its own. Functions take arrays on regular grids: what takes time to compute
is computed elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ..geometry import principal
from ..points import as_points
from ._style import (
    BOUND,
    COLUMN,
    DENOISING,
    LEARNED,
    OTHERS,
    SAMPLING,
    Look,
    canvas,
    looks_by,
    plain,
    scatter_data,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["basin_map", "likelihood_ball", "plane_paths"]

Floats = NDArray[np.float64]
Extent = tuple[float, float, float, float]

TINTS = (
    "#a6cee3",
    "#0173b2",
    "#f5d6a0",
    "#de8f05",
    "#d9f0d3",
    "#029e73",
    "#ecd0e8",
    "#8c4a7f",
    "#e0e0e0",
    "#6b6b6b",
    "#fff3b0",
    "#8c510a",
)
"""Of basins: light and dark in turn, so that neighbours differ in grey print too."""
_CIRCLE = 361
_FURTHEST = 1e150
"""Places beyond have distances and margins that overflow where they are drawn."""


def plane_paths(
    paths: Mapping[str, Any],
    points: Any,
    *,
    ax: Axes | None = None,
    looks: Mapping[str, Look] | None = None,
    steps: Collection[str] = (),
    limit: float = 1.2,
    legend: bool = True,
) -> Axes:
    """Paths of several kinds over the data: in the plane, else on the two leading components.

    Parameters
    ----------
    paths : label -> (T, B, D) states in data units; rows of NaN are left out.
    points : `PointSet` or (N, D) array, D ≥ 2.
    looks : label -> how it is drawn; by default one of the palette each.
    steps : labels of iterations, drawn with a mark at every iterate.
    limit : half-width of the view in radii of the data, as they lie in the plane.
    legend : whether to say below the axes what is what.
    """
    data = as_points(points)
    if data.dim < 2:
        _check.fail("points", f"dimension {data.dim}", "at least 2", "plot against σ instead")
    reach = _check.number(limit, "limit", low=0.0, open_low=True)
    given = _check.mapping(paths, "paths")
    tables = {label: _paths_of(each, label, data.dim) for label, each in given.items()}
    chosen = looks_by(tables, looks)
    marked = _check.words(steps, "steps")
    names, seen = ("$x_1$", "$x_2$"), data.points
    if data.dim > 2:
        basis, share = principal(data.points, 2, data.weights)
        tables = {label: (each - data.mean) @ basis.T for label, each in tables.items()}
        seen = (seen - data.mean) @ basis.T
        names = (f"PC 1, {share[0]:.0%}", f"PC 2, {share[1]:.0%}")
    low, high = seen.min(axis=0), seen.max(axis=0)
    centre, half = (low + high) / 2, reach * float((high - low).max() / 2 or 1.0)
    with canvas(ax, height=COLUMN) as axes:
        scatter_data(axes, seen)
        for level, (label, each) in enumerate(tables.items(), start=2):
            look = chosen[label]
            for k, path in enumerate(np.moveaxis(each, 1, 0)):
                axes.plot(
                    path[:, 0],
                    path[:, 1],
                    color=look.color,
                    linestyle=look.linestyle,
                    linewidth=0.9,
                    marker=look.marker if label in marked else None,
                    markersize=2,
                    markeredgewidth=0,
                    zorder=level,
                    label=plain(label) if k == 0 else None,
                )
        axes.set_aspect("equal")
        axes.set_xlim(centre[0] - half, centre[0] + half)
        axes.set_ylim(centre[1] - half, centre[1] + half)
        axes.set_xlabel(f"{names[0]} (data units)")
        axes.set_ylabel(f"{names[1]} (data units)")
        if _check.flag(legend, "legend"):
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
        return axes


def likelihood_ball(
    x: Any,
    denoised: Any,
    rise: Any,
    extent: Extent,
    *,
    ax: Axes | None = None,
    step: Any = None,
    learned: Any = None,
    name: str = "learned r",
    points: Any = None,
    legend: bool = True,
) -> Axes:
    """The ball |y − D| ≤ |x − D| inside the region where p_σ(y) ≥ p_σ(x) (theory A3).

    Parameters
    ----------
    x, denoised : (2,) the state and D(x; σ), in coordinates of the plane that is shown. Both
        must lie in it; then it cuts the ball in a disc of the same radius.
    rise : (H, W) log p_σ(y) − log p_σ(x) on a regular grid, rows from the lower end up.
    extent : (left, right, lower, upper) places of the grid's outer points.
    step : (2,) where the next step towards D ends.
    learned : (2,) another denoiser's output; within the ball, no step towards it lowers p_σ.
    name : what it is called.
    points : (N, 2) data, if they lie in the plane.
    legend : whether to say below the axes what is what.
    """
    state, centre = _place(x, "x"), _place(denoised, "denoised")
    field = _check.array(rise, "rise")
    if field.ndim != 2 or min(field.shape) < 2:
        _check.fail("rise", f"shape {field.shape}", "(H, W), two or more each", "use a grid")
    left, right, lower, upper = _extent(extent)
    across = np.linspace(left, right, field.shape[1])
    up = np.linspace(lower, upper, field.shape[0])
    data = None if points is None else _check.shaped(points, "points", (None, 2))
    target = None if step is None else _place(step, "step")
    other = None if learned is None else _place(learned, "learned")
    title = plain(_check.text(name, "name"))
    radius = math.dist(state, centre)
    angle = np.linspace(0.0, 2 * np.pi, _CIRCLE)
    with canvas(ax, height=COLUMN) as axes:
        axes.contourf(
            across, up, field, levels=[0.0, np.inf], colors=[OTHERS[0].color], alpha=0.3, zorder=1
        )
        axes.contour(
            across, up, field, levels=[0.0], colors=[OTHERS[0].color], linewidths=0.9, zorder=2
        )
        if data is not None:
            scatter_data(axes, data, zorder=0.5)
        axes.plot(
            centre[0] + radius * np.cos(angle),
            centre[1] + radius * np.sin(angle),
            color=BOUND.color,
            linestyle=BOUND.linestyle,
            linewidth=1.1,
            label="|y − D| = |x − D|",
        )
        way = np.stack([state, centre])
        axes.plot(*way.T, color=DENOISING.color, linestyle=DENOISING.linestyle, linewidth=0.9)
        if target is not None:
            end = np.stack([state, target])
            axes.plot(
                *end.T, color=SAMPLING.color, linewidth=2.2, solid_capstyle="butt", label="step"
            )
        marks: list[tuple[Floats, Look, str, float]] = [
            (state, SAMPLING, "x", 4.5),
            (centre, DENOISING, "denoising D", 6.0),
        ]
        if other is not None:
            # small enough to leave D visible where the two agree
            marks.append((other, LEARNED, title, 3.5))
        for place, look, label, size in marks:
            axes.plot(
                *place[:, None],
                color=look.color,
                linestyle="none",
                marker=look.marker,
                markersize=size,
                markeredgewidth=0,
                label=label,
                zorder=4,
            )
        axes.fill([], [], color=OTHERS[0].color, alpha=0.3, label="$p_σ(y) ≥ p_σ(x)$")
        axes.set_aspect("equal")
        axes.set_xlim(left, right)
        axes.set_ylim(lower, upper)
        if _check.flag(legend, "legend"):
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
        return axes


def basin_map(index: Any, extent: Extent, *, ax: Axes | None = None, points: Any = None) -> Axes:
    """Which data point each start of a plane reaches; basins that touch differ in colour.

    Parameters
    ----------
    index : (H, W) data point that each cell's start ends on, rows from the lower end up.
    extent : (left, right, lower, upper) starts of the grid's outer cells.
    points : (N, 2) data, if they lie in the plane of the starts.
    """
    found = _check.raw(index, "index")
    if found.ndim != 2 or found.dtype.kind not in "iu" or min(found.shape) < 2 or found.min() < 0:
        _check.fail("index", _check.show(index), "(H, W) whole numbers ≥ 0", "see analytic.basins")
    left, right, lower, upper = _extent(extent)
    spread = None if points is None else _check.shaped(points, "points", (None, 2))
    tint, highest = _tints(found), int(found.max())
    _check.size(highest + 1, 1, "index")
    with canvas(ax, height=COLUMN) as axes:
        from matplotlib.colors import ListedColormap

        colors = [TINTS[0]] * (highest + 1)
        for point, number in tint.items():
            colors[point] = TINTS[number % len(TINTS)]
        axes.pcolormesh(
            np.linspace(left, right, found.shape[1]),
            np.linspace(lower, upper, found.shape[0]),
            found,
            cmap=ListedColormap(colors),
            vmin=-0.5,
            vmax=len(colors) - 0.5,
            shading="nearest",
            rasterized=True,
        )
        if spread is not None:
            axes.scatter(spread[:, 0], spread[:, 1], s=2, color="black", linewidths=0, label="data")
        axes.set_aspect("equal")
        axes.set_xlim(left, right)
        axes.set_ylim(lower, upper)
        return axes


def _tints(index: NDArray[Any]) -> dict[int, int]:
    """A small number for each basin, different for basins that touch, be it at a corner.

    Greedily, those with most neighbours first.
    """
    pairs = np.concatenate(
        [
            np.stack([one.ravel(), two.ravel()])
            for one, two in (
                (index[:, 1:], index[:, :-1]),
                (index[1:], index[:-1]),
                (index[1:, 1:], index[:-1, :-1]),
                (index[1:, :-1], index[:-1, 1:]),
            )
        ],
        axis=1,
    )
    pairs = np.unique(np.sort(pairs[:, pairs[0] != pairs[1]], axis=0), axis=1)
    near: dict[int, set[int]] = {int(point): set() for point in np.unique(index)}
    for one, two in pairs.T.tolist():
        near[one].add(two)
        near[two].add(one)
    result: dict[int, int] = {}
    for point in sorted(near, key=lambda each: (-len(near[each]), each)):
        used = {result[each] for each in near[point] if each in result}
        result[point] = next(k for k in range(len(used) + 1) if k not in used)
    return result


def _paths_of(values: Any, label: str, dim: int) -> Floats:
    table = _check.array(values, f"paths[{label!r}]", finite=False).astype(np.float64)
    if table.ndim != 3 or table.shape[2] != dim:
        _check.fail(
            f"paths[{label!r}]",
            f"shape {table.shape}",
            f"(T, B, {dim}), as wide as the data",
            "pass a trajectory's states",
        )
    return table


def _place(value: Any, argument: str) -> Floats:
    found = _check.array(value, argument).astype(np.float64)
    if found.shape != (2,):
        _check.fail(argument, f"shape {found.shape}", "(2,)", "give coordinates in the plane")
    if np.abs(found).max() > _FURTHEST:
        _check.fail(argument, _check.show(value), f"coordinates up to {_FURTHEST:g}", "rescale")
    return found


def _extent(value: Extent) -> Extent:
    found = _check.array(value, "extent").astype(np.float64)
    if found.shape != (4,) or not (found[0] < found[1] and found[2] < found[3]):
        _check.fail(
            "extent", _check.show(value), "(left, right, lower, upper), ascending", "swap ends"
        )
    left, right, lower, upper = found.tolist()
    return left, right, lower, upper
