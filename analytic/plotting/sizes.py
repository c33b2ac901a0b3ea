"""What grows with size: losses with the width of a model, speed with the number of points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ._style import BOUND, OTHERS, SAMPLING, Look, canvas, drawable, level_text, plain, thin_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["throughput", "width_curves"]

Floats = NDArray[np.float64]
_MARKERS = "os^Dv<P"
_DEEP = 2.0
"""How far below the least curve an axis ends: floors may be 1e-40."""


def width_curves(
    widths: Any,
    sigmas: Any,
    values: Any,
    *,
    floors: Any = None,
    ylabel: str,
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """What a model reaches against its width, a curve for every noise level.

    Parameters
    ----------
    widths : (K,) numbers of features, increasing.
    sigmas : (S,) noise levels, in data units.
    values : (S, K) losses or deviations.
    floors : (S,) mmse, which no model goes below: dashed in the curve's colour, but for those
        below half of the least value.
    ylabel : what the values are, with their unit.
    """
    import matplotlib
    from matplotlib.ticker import NullLocator

    counts = _check.shaped(widths, "widths", (None,))
    levels = _check.shaped(sigmas, "sigmas", (None,))
    least = None if floors is None else _check.shaped(floors, "floors", (len(levels),))
    table = _check.array(values, "values", finite=False)
    if not table.size or not (counts > 0).all():
        _check.fail("widths and values", "none, or widths of 0", "positive widths", "fit a model")
    if table.shape != (len(levels), len(counts)):
        wanted = f"({len(levels)}, {len(counts)})"
        _check.fail("values", f"shape {table.shape}", wanted, "give a row for each of sigmas")
    # levels have an order, and so have these colours, in grey print, too
    colors = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.82, len(levels)))
    with canvas(ax) as axes:
        axes.set(xscale="log", yscale="log")
        bottom = float(np.nanmin(drawable(table, "log"))) / _DEEP
        for k, level in enumerate(levels):
            axes.plot(
                counts,
                drawable(table[k], "log"),
                label=f"σ = {level_text(level)}",
                color=colors[k],
                marker=_MARKERS[k % len(_MARKERS)],
            )
            if least is not None and least[k] > bottom:
                axes.plot(
                    counts[[0, -1]],
                    [least[k]] * 2,
                    label=f"mmse, σ = {level_text(level)}",
                    color=colors[k],
                    linestyle=BOUND.linestyle,
                    linewidth=0.9,
                )
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [f"{count:g}" for count in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("features K")
        axes.set_ylabel(_check.text(ylabel, "ylabel"))
        thin_ticks(axes)
        if _check.flag(legend, "legend"):
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return axes


def throughput(
    sizes: Mapping[str, Any],
    rates: Mapping[str, Any],
    *,
    ours: str = "analytic",
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """Queries per second of several methods against the number of data points.

    Parameters
    ----------
    sizes, rates : name of a method to (K,) numbers of points, increasing, and to (K,) queries
        per second; methods stop where they were too slow.
    ours : names that begin so are drawn as solid lines, all others thin and broken.
    """
    looks = _methods(list(_check.mapping(rates, "rates")), _check.text(ours, "ours"))
    known = _check.mapping(sizes, "sizes")
    counts = {
        name: _check.shaped(known[_check.choice(name, "sizes", known)], f"sizes[{name!r}]", (None,))
        for name in rates
    }
    for name, each in rates.items():
        _check.shaped(each, f"rates[{name!r}]", counts[name].shape, finite=False)
    with canvas(ax) as axes:
        axes.set(xscale="log", yscale="log")
        for name, values in rates.items():
            look = looks[name]
            own = name.startswith(ours)
            axes.plot(
                counts[name],
                drawable(values, "log"),
                label=plain(name),
                color=look.color,
                linestyle=look.linestyle,
                marker=look.marker,
                linewidth=1.6 if own else 0.9,
                zorder=3 if own else 2,
            )
        axes.set_xlabel("data points N")
        axes.set_ylabel("queries per second")
        thin_ticks(axes)
        if _check.flag(legend, "legend"):
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return axes


def _methods(names: list[str], ours: str) -> dict[str, Look]:
    colors = [SAMPLING.color, *(each.color for each in OTHERS), "#56b4e9"]
    styles: Any = ((0, (4, 1.5)), (0, (1, 1)), (0, (5, 1.2, 1.2, 1.2)))
    result = {}
    for k, name in enumerate(sorted(names, key=lambda each: not each.startswith(ours))):
        style = "-" if name.startswith(ours) else styles[k % len(styles)]
        result[name] = Look(colors[k % len(colors)], style, "os^DvXP<>*"[k % 10])
    return result
