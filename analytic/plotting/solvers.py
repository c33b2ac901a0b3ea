"""Solvers and grids: errors, observed orders, factors of second order, noise levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from ._style import BOUND, OTHERS, Look, canvas, drawable, plain, thin_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["gamma_factors", "grid_error", "grid_levels", "solver_error"]

_MORE = Look("#56b4e9", (0, (7, 1.5, 1, 1.5)), "<")
_BASE = Look(BOUND.color, "-", "o")
_LOOKS = {
    "euler": _BASE,
    "euler_jump": OTHERS[0],
    **dict(zip(("heun", "dpm_2", "dpmpp_2s", "dpmpp_2m", "dpm_2m"), OTHERS, strict=True)),
    "ipndm": _MORE,
    **dict(zip(("lms", "deis", "unipc", "dpmpp_3m", "dpm_3m"), OTHERS, strict=True)),
    "rk4": _MORE,
}
"""Solvers that are shown together, with Euler as what all are measured by, look different."""
_GRIDS = (OTHERS[0], BOUND._replace(marker="s"))
_STYLES = ("-", (0, (1, 1)), (0, (5, 1.2, 1.2, 1.2)))
_LEAST = 8
"""Octaves above the finest error that a guide covers."""


def solver_error(
    nfe: Mapping[str, Any],
    errors: Mapping[str, Any],
    *,
    orders: Mapping[str, float] | None = None,
    guides: Sequence[int] = (),
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """Error of solvers against the evaluations of the denoiser that they take.

    Parameters
    ----------
    nfe, errors : name of a solver to (K,) numbers of evaluations, increasing, and to (K,) errors
        in data units. What is not finite and positive leaves a gap.
    orders : observed orders, told in the legend.
    guides : orders p of which a dashed line ∝ NFE⁻ᵖ is drawn.
    legend : whether one lies below the axes.
    """
    known = {} if orders is None else _check.mapping(orders, "orders")
    for name, order in known.items():
        _check.number(order, f"orders[{name!r}]")
    for mapped, title in ((nfe, "nfe"), (errors, "errors")):
        _check.mapping(mapped, title)
    powers = _check.shaped(guides, "guides", (None,))
    with canvas(ax) as axes:
        axes.set(xscale="log", yscale="log")
        axes.set_xlabel("evaluations of the denoiser (NFE)")
        axes.set_ylabel("root mean square error (data units)")
        curves = {name: _curve(nfe, errors, name) for name in errors}
        for name, (x, y) in curves.items():
            look = _look(name, list(curves))
            axes.plot(
                x,
                y,
                label=plain(f"{name}, {known[name]:.2f}" if name in known else name),
                color=look.color,
                linestyle=look.linestyle,
                marker=look.marker,
            )
        if curves and powers.size:
            _guides(axes, curves, guides)
        ticks = np.unique(np.concatenate([x for x, _ in curves.values()] or [np.ones(1)]))
        _powers(axes, ticks, "nfe")
        thin_ticks(axes)
        if _check.flag(legend, "legend"):
            _below(axes, 2)
        return axes


def gamma_factors(
    sigmas: Any,
    factors: Mapping[str, Any],
    *,
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """Factors γ of second-order steps against the level at which the step starts.

    Parameters
    ----------
    sigmas : (n,) levels s that steps start at, decreasing, in data units.
    factors : label, of which the first word is a solver's name, to (n,) factors; NaN where a
        solver has none, as in the first steps of multistep ones.
    legend : whether one lies below the axes.

    The dashed line is γ = 1, to which all tend with finer levels.
    """
    levels = _check.shaped(sigmas, "sigmas", (None,))
    names = [(label.split() or [""])[0] for label in _check.mapping(factors, "factors")]
    for label, values in factors.items():
        _check.shaped(values, f"factors[{label!r}]", levels.shape, finite=False)
    if not (levels.size and (levels > 0).all()):
        _check.fail("sigmas", _check.show(sigmas), "levels > 0", "leave out σ = 0")
    with canvas(ax) as axes:
        axes.set(xscale="log", yscale="log")
        for k, (label, values) in enumerate(factors.items()):
            look, count = _look(names[k], names), names[:k].count(names[k])
            axes.plot(
                levels,
                drawable(values, "log"),
                label=plain(label),
                color=look.color,
                linestyle=look.linestyle,
                # other options of the same solver: the same line, thinner, with empty markers
                linewidth=(1.3, 0.8, 0.5)[min(count, 2)],
                marker=look.marker if count < 2 else "1",
                markerfacecolor=look.color if not count else "white",
            )
        ends = 1.25 * float(levels.max()), float(levels.min()) / 1.25
        axes.plot(
            ends, (1, 1), color=BOUND.color, linestyle=BOUND.linestyle, label="γ = 1", zorder=1
        )
        axes.set_xlim(*ends)
        axes.set_xlabel("level s of the step's start (data units)")
        axes.set_ylabel("factor γ")
        thin_ticks(axes)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(lambda y, _: f"{y:g}" if f"{y:e}"[0] in "25" else "")
        if _check.flag(legend, "legend"):
            _below(axes, 2)
        return axes


def grid_levels(
    grids: Mapping[str, Sequence[Any]], *, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """Noise levels of grids with different numbers of steps, one row for each number.

    Parameters
    ----------
    grids : name to grids (n + 1,), of decreasing levels > 0 in data units. Grids of different
        names and the same n share a row, the first above.
    """
    for name, each in _check.mapping(grids, "grids").items():
        if not isinstance(each, Sequence):
            what = "a list of grids"
            _check.fail(f"grids[{name!r}]", _check.show(each), what, "put it into one", TypeError)
        for levels in each:
            _check.shaped(levels, f"grids[{name!r}]", (None,))
    with canvas(ax) as axes:
        axes.set_xscale("log")
        sizes = sorted({len(levels) - 1 for each in grids.values() for levels in each})
        for k, (name, each) in enumerate(grids.items()):
            look = _GRIDS[k % len(_GRIDS)]
            shift = 0.17 * (1 - 2 * (k / max(len(grids) - 1, 1)))
            for j, levels in enumerate(each):
                axes.plot(
                    np.asarray(levels, dtype=np.float64),
                    np.full(len(levels), sizes.index(len(levels) - 1) + shift),
                    color=look.color,
                    marker="|",
                    markersize=7,
                    markeredgewidth=1.2,
                    linewidth=0.5,
                    label=plain(name) if j == 0 else None,
                )
        axes.invert_xaxis()
        axes.set_yticks(range(len(sizes)), [str(size) for size in sizes])
        axes.set_ylim(-0.6, len(sizes) - 0.4)
        axes.set_xlabel("level σ (data units)")
        axes.set_ylabel("steps")
        thin_ticks(axes)
        if _check.flag(legend, "legend"):
            _below(axes, len(grids))
        return axes


def grid_error(
    steps: Any,
    errors: Mapping[str, Mapping[str, Any]],
    *,
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """Error of solvers on grids against the number of steps.

    Parameters
    ----------
    steps : (K,) numbers of steps, increasing.
    errors : name of a grid to name of a solver to (K,) errors, in data units. A grid has its
        colour, a solver the kind of its line.
    """
    counts = _check.shaped(steps, "steps", (None,))
    for grid, each in _check.mapping(errors, "errors").items():
        _check.mapping(each, f"errors[{grid!r}]")
    solvers = list(dict.fromkeys(name for each in errors.values() for name in each))
    with canvas(ax) as axes:
        axes.set(xscale="log", yscale="log")
        for k, (grid, each) in enumerate(errors.items()):
            look = _GRIDS[k % len(_GRIDS)]
            for name, values in each.items():
                if np.shape(values) != counts.shape:
                    what = f"{len(np.ravel(values))} of {name!r} on {grid!r}"
                    _check.fail("errors", what, f"{len(counts)}", "give one for each of steps")
                style = _STYLES[solvers.index(name) % len(_STYLES)]
                axes.plot(
                    counts,
                    drawable(values, "log"),
                    label=plain(f"{grid}, {name}"),
                    color=look.color,
                    linestyle=style,
                    marker=look.marker,
                )
        _powers(axes, counts, "steps")
        axes.set_xlabel("steps")
        axes.set_ylabel("mean error at the end (data units)")
        thin_ticks(axes)
        if _check.flag(legend, "legend"):
            _below(axes, len(solvers))
        return axes


def _look(name: str, among: Sequence[str]) -> Look:
    """A solver's own look; of one that is not known, by its place."""
    others = (*OTHERS, _MORE)
    return _LOOKS[name] if name in _LOOKS else others[among.index(name) % len(others)]


def _curve(nfe: Mapping[str, Any], errors: Mapping[str, Any], name: str) -> tuple[Any, Any]:
    x = _check.array(nfe[_check.choice(name, "errors", nfe)], f"nfe[{name!r}]").astype(np.float64)
    y = drawable(errors[name], "log", f"errors[{name!r}]")
    if x.ndim != 1 or y.shape != x.shape:
        what = f"shapes {x.shape} and {y.shape} of {name!r}"
        _check.fail("nfe and errors", what, "one (K,)", "give an error for each number")
    return x, y


def _guides(axes: Axes, curves: Mapping[str, Any], guides: Sequence[int]) -> None:
    """Lines ∝ NFE⁻ᵖ that meet below the finest errors."""
    last = max(x[-1] for x, _ in curves.values())
    least = min(float(np.nanmin(y)) for _, y in curves.values())
    for p in guides:
        x = np.array([last / 4, last])
        axes.plot(
            x,
            0.4 * least * (x / last) ** -float(p),
            color=BOUND.color,
            linestyle=BOUND.linestyle,
            linewidth=0.8,
            label=f"order {p}" if len(guides) == 1 else f"orders {', '.join(map(str, guides))}",
        )


def _powers(axes: Axes, ticks: Any, argument: str) -> None:
    """Ticks at the numbers themselves, as many as have room."""
    from matplotlib.ticker import NullLocator

    places = np.sort(np.asarray(ticks, dtype=np.float64))
    if not (places.size and places[0] > 0):
        _check.fail(
            argument, "none, or a number ≤ 0", "positive numbers", "their axis is logarithmic"
        )
    kept: list[float] = []
    for tick in places:
        if not kept or tick >= 1.5 * kept[-1]:
            kept.append(float(tick))
    axes.set_xticks(kept, [f"{tick:g}" for tick in kept])
    axes.xaxis.set_minor_locator(NullLocator())


def _below(axes: Axes, columns: int) -> None:
    """A legend under the axes' label: curves may pass anywhere inside."""
    entries = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(
        list(entries.values()),
        list(entries),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.22),
        ncols=columns,
        columnspacing=1.0,
        handlelength=2.2,
    )
