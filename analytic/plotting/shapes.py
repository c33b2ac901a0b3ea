"""The form of trajectories in space, of their variances, and of densities in the plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from ._style import COLUMN, SAMPLING, Look, canvas, figure, looks_by, on_axes, plain, theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["boomerang", "density_contours", "variance_spectrum"]

CONTOURS = "#8a8a8a"
"""Of densities: darker than the data, which they lie over, and lighter than a bound."""


def density_contours(
    x: Any,
    y: Any,
    log_density: Any,
    *,
    ax: Axes | None = None,
    below: Sequence[float] = (0.5, 2.0, 4.5),
    label: str = "density",
) -> Axes:
    """Contours of a density in the plane, at log densities so far below its largest.

    Parameters
    ----------
    x, y : (W,) and (H,) coordinates of the grid, in data units.
    log_density : (H, W) in nats.
    below : nats. Of a Gaussian, 0.5, 2 and 4.5 are one, two and three standard deviations.
    """
    across, up = _check.shaped(x, "x", (None,)), _check.shaped(y, "y", (None,))
    _check.text(label, "label")
    values = _check.array(log_density, "log_density")
    if values.shape != (up.size, across.size):
        _check.fail(
            "log_density",
            f"shape {values.shape}",
            f"({up.size}, {across.size})",
            "give one row per y and one column per x",
        )
    drops = np.unique(_check.shaped(below, "below", (None,)))[::-1].tolist()
    with canvas(ax, height=COLUMN) as axes:
        axes.contour(
            across,
            up,
            values - values.max(),
            levels=[-each for each in drops],
            colors=CONTOURS,
            linestyles="solid",
            linewidths=0.7,
            zorder=1.5,
        )
        # legends know no contours
        axes.plot([], [], color=CONTOURS, linewidth=0.7, label=label)
        return axes


def variance_spectrum(
    shares: Mapping[str, Any],
    *,
    ax: Axes | None = None,
    count: int = 8,
    looks: Mapping[str, Look] | None = None,
    legend: bool = True,
) -> Axes:
    """Shares of each trajectory's variance along its principal components, largest first.

    Parameters
    ----------
    shares : label -> (B, K) of `geometry.pca_spectrum`; lines are medians over trajectories,
        bands go from the 10 % to the 90 % quantile.
    count : components shown, at most.
    looks : label -> look, for labels that do not say by themselves what they are.
    """
    most = _check.integer(count, "count", low=1)
    tables = {
        label: np.atleast_2d(_check.array(each, f"shares[{label!r}]").astype(np.float64))
        for label, each in _check.mapping(shares, "shares").items()
    }
    for label, table in tables.items():
        if table.ndim != 2 or not table.size:
            _check.fail(f"shares[{label!r}]", f"shape {table.shape}", "(K,) or (B, K)", "see pca")
    drawn = looks_by(tables, looks)
    with canvas(ax) as axes:
        longest = 1
        for label, whole in tables.items():
            table = whole[:, :most]
            place = np.arange(1, table.shape[1] + 1)
            longest = max(longest, table.shape[1])
            # what is below the rounding of squares says nothing
            low, middle, high = np.quantile(np.maximum(table, 1e-32), [0.1, 0.5, 0.9], axis=0)
            look = drawn[label]
            axes.fill_between(place, low, high, color=look.color, alpha=0.22, linewidth=0)
            axes.plot(
                place,
                middle,
                label=plain(label),
                color=look.color,
                linestyle=look.linestyle,
                marker=look.marker,
            )
        axes.set_yscale("log")
        axes.set_xticks(range(1, longest + 1))
        axes.set_xlabel("principal component")
        axes.set_ylabel("share of the variance")
        if _check.flag(legend, "legend") and len(shares) > 1:
            axes.legend()
        return axes


def boomerang(
    coordinates: Any,
    *,
    ax: Any = None,
    look: Look = SAMPLING,
    shape: Any = None,
    labels: tuple[str, str, str] = ("along the chord", "across", "across, 2nd"),
) -> Any:
    """Trajectories in space, each seen in a frame of its own, their common end marked.

    Parameters
    ----------
    coordinates : (T, B, 3), of `geometry.chord_frame` or `geometry.boomerang`.
    ax : axes with projection "3d".
    shape : (T, 3) a path to draw over them in black, their mean say.
    labels : of the three axes.
    """
    paths = _check.array(coordinates, "coordinates")
    if paths.ndim != 3 or paths.shape[2] != 3:
        _check.fail(
            "coordinates", f"shape {paths.shape}", "(T, B, 3)", "project them to three dimensions"
        )
    _check.instance(look, "look", Look, "see analytic.plotting.Look")
    names = _check.words(labels, "labels")
    if len(names) != 3:
        _check.fail("labels", f"{len(names)} of them", "three", "name each axis")
    mean = None if shape is None else _check.shaped(shape, "shape", (None, 3))
    if ax is not None and not hasattr(on_axes(ax), "get_zlim"):
        _check.fail("ax", "axes in the plane", 'those of projection="3d"', "make them so")
    if ax is None:
        with theme():
            ax = figure(COLUMN, COLUMN).add_subplot(projection="3d")
    for k, path in enumerate(np.moveaxis(paths, 1, 0)):
        ax.plot(
            *path.T,
            color=look.color,
            linestyle=look.linestyle,
            linewidth=0.6,
            alpha=0.5,
            label="trajectories" if k == 0 else None,
        )
    if mean is not None:
        ax.plot(*mean.T, color="black", linewidth=1.4, label="mean", zorder=5)
    ax.plot(*([v] for v in paths[-1, 0]), color="black", marker="o", linestyle="none", label="end")
    for axis, label in zip((ax.xaxis, ax.yaxis, ax.zaxis), names, strict=True):
        axis.set_label_text(label)
        axis.set_rotate_label(True)
        axis.labelpad = -6.0
        axis.set_pane_color((1.0, 1.0, 1.0, 0.0))
    ax.tick_params(pad=-2)
    ax.locator_params(nbins=4)
    # labels in space are not known to the layout
    ax.set_box_aspect(None, zoom=0.8)
    return ax
