"""When and where paths decide: jumps to the denoised output, collapse, latents, processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ..collapse import Perplexity
from ._style import (
    BOUND,
    DENOISING,
    NORMAL,
    OTHERS,
    SAMPLING,
    Look,
    canvas,
    drawable,
    level_text,
    looks_by,
    plain,
    thin_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["certificate_scatter", "curves_by", "jump_curves", "perplexity_curve"]

Floats = NDArray[np.float64]


def jump_curves(
    positions: Any,
    distances: Mapping[str, Any],
    *,
    ax: Axes | None = None,
    xlabel: str = "evaluations of the denoiser",
    ylabel: str = "distance to the end (data units)",
    looks: Mapping[str, Look] | None = None,
    marked: bool = True,
    bands: bool = True,
    legend: bool = True,
) -> Axes:
    """Mean distances to the ends, by evaluations or levels.

    Parameters
    ----------
    positions : label -> (K,) evaluations of the denoiser, or noise levels, or (K,) for all.
    distances : label -> (K, B) distances in data units.
    looks : label -> how it is drawn; by default one of the palette each.
    marked : whether every position has a mark.
    bands : whether bands run from the 10 % to the 90 % quantile.
    """
    _check.mapping(distances, "distances")
    shared = _by_label(positions, distances)
    chosen = looks_by(distances, looks)
    for given, name in ((marked, "marked"), (bands, "bands")):
        _check.flag(given, name)
    with canvas(ax) as axes:
        axes.set_xscale("log")
        axes.set_yscale("log")
        for label, values in distances.items():
            table = _check.array(values, f"distances[{label!r}]")
            place = _check.array(shared[label], f"positions[{label!r}]")
            if table.ndim != 2 or place.shape != (len(table),):
                _check.fail(
                    f"distances[{label!r}]",
                    f"shape {table.shape}",
                    f"(K, B) with K = {place.size}, the number of positions",
                    "give a row per position",
                )
            look, known = chosen[label], place > 0
            if bands:
                low, high = np.quantile(table[known], [0.1, 0.9], axis=1)
                axes.fill_between(
                    place[known], low, high, color=look.color, alpha=0.15, linewidth=0
                )
            axes.plot(
                place[known],
                drawable(table[known].mean(axis=1), "log"),
                label=plain(label),
                color=look.color,
                linestyle=look.linestyle,
                marker=look.marker if marked else None,
            )
        axes.set_xlabel(_check.text(xlabel, "xlabel"))
        axes.set_ylabel(_check.text(ylabel, "ylabel"))
        thin_ticks(axes)
        if _check.flag(legend, "legend"):
            axes.legend()
        return axes


def certificate_scatter(
    nearest: Any, sigma: Any, *, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """First certified level of trajectories against how far apart their data point is.

    Parameters
    ----------
    nearest : (B,) distance from the data point reached to its nearest neighbour, data units.
    sigma : (B,) level at which the trap certificate fired (theory D1); NaN is left out.
    """
    apart = _check.shaped(nearest, "nearest", (None,), finite=False)
    level = _check.array(sigma, "sigma", finite=False)
    if level.shape != apart.shape:
        _check.fail("sigma", f"shape {level.shape}", f"{apart.shape}", "one level per trajectory")
    known = np.isfinite(level) & (level > 0) & (apart > 0)
    with canvas(ax) as axes:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.scatter(
            apart[known],
            level[known],
            s=7,
            color=SAMPLING.color,
            linewidths=0,
            alpha=0.6,
            label="trajectories",
        )
        if known.any():
            ratio = float(np.median(level[known] / apart[known]))
            ends = np.array([apart[known].min(), apart[known].max()])
            axes.plot(
                ends,
                ratio * ends,
                color=BOUND.color,
                linestyle=BOUND.linestyle,
                label=f"median: {level_text(ratio)} of the distance",
            )
        axes.set_xlabel("to the nearest neighbour (data units)")
        axes.set_ylabel("certified σ (data units)")
        thin_ticks(axes)
        if _check.flag(legend, "legend"):
            axes.legend(loc="upper left")
        return axes


def perplexity_curve(
    found: Perplexity,
    *,
    ax: Axes | None = None,
    bound: Any = None,
    marks: Mapping[str, float] | None = None,
    legend: bool = True,
) -> Axes:
    """Effective number of data points behind a forward sample, against σ (theory D3).

    Parameters
    ----------
    found : of `analytic.collapse.perplexity`.
    bound : (T,) lower bound of the mean entropy in nats, `analytic.collapse.entropy_bound`.
    marks : label -> level at which a vertical line stands, that of speciation say.
    """
    looks = (OTHERS[0], OTHERS[4], OTHERS[3])
    _check.having(found, "found", ("sigmas", "entropy", "error", "effective"), "a Perplexity")
    count = len(found.sigmas)
    least = None if bound is None else _check.shaped(bound, "bound", (count,))
    lines = {} if marks is None else _check.mapping(marks, "marks")
    for label, level in lines.items():
        _check.number(level, f"marks[{label!r}]", low=0.0)
    with canvas(ax) as axes:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.fill_between(
            found.sigmas,
            np.exp(np.maximum(found.entropy - NORMAL * found.error, 0.0)),
            np.exp(found.entropy + NORMAL * found.error),
            color=DENOISING.color,
            alpha=0.22,
            linewidth=0,
        )
        axes.plot(
            found.sigmas,
            found.effective,
            color=DENOISING.color,
            linestyle="-",
            label="perplexity",
        )
        if least is not None:
            axes.plot(
                found.sigmas,
                np.exp(np.maximum(least, 0.0)),
                color=BOUND.color,
                linestyle=BOUND.linestyle,
                label="Gaussian bound",
            )
        for look, (label, level) in zip(looks, lines.items(), strict=False):
            axes.axvline(
                level, color=look.color, linestyle=look.linestyle, linewidth=1.0, label=plain(label)
            )
        axes.set_xlim(float(found.sigmas.max()), float(found.sigmas.min()))
        axes.set_xlabel("σ (data units)")
        axes.set_ylabel("data points")
        thin_ticks(axes)
        if _check.flag(legend, "legend"):
            axes.legend(loc="upper right")
        return axes


def curves_by(
    positions: Any,
    values: Mapping[str, Any],
    *,
    ax: Axes | None = None,
    xlabel: str,
    ylabel: str,
    looks: Mapping[str, Look] | None = None,
    jumps: bool = False,
    marks: int = 0,
    legend: bool = True,
) -> Axes:
    """Named curves against shares, times or levels of their own.

    Parameters
    ----------
    positions : label -> (K,) places, or (K,) for all.
    values : label -> (K,) values; NaN leaves a gap.
    xlabel, ylabel : what is shown, with its unit.
    looks : label -> how it is drawn; by default one of the palette each.
    jumps : whether values are constant in pieces, and jump half-way between places.
    marks : markers per curve, staggered so that curves that coincide are all seen.
    """
    _check.mapping(values, "values")
    shared = _by_label(positions, values)
    chosen = looks_by(values, looks)
    _check.flag(jumps, "jumps")
    many = _check.integer(marks, "marks", low=0)
    with canvas(ax) as axes:
        for k, (label, each) in enumerate(values.items()):
            place = _check.array(shared[label], f"positions[{label!r}]")
            height = _check.array(each, f"values[{label!r}]", finite=False)
            if height.ndim != 1 or height.shape != place.shape:
                _check.fail(
                    f"values[{label!r}]",
                    f"shape {height.shape}",
                    f"{place.shape}, as its positions",
                    "give one value per place",
                )
            look = chosen[label]
            spacing = max(1, len(place) // many) if many else 1
            axes.plot(
                place,
                height,
                label=plain(label),
                color=look.color,
                linestyle=look.linestyle,
                drawstyle="steps-mid" if jumps else "default",
                marker=look.marker if many else None,
                markevery=(k * spacing // len(values), spacing) if many else None,
            )
        axes.set_xlabel(_check.text(xlabel, "xlabel"))
        axes.set_ylabel(_check.text(ylabel, "ylabel"))
        if _check.flag(legend, "legend") and len(values) > 1:
            axes.legend()
        return axes


def _by_label(positions: Any, labels: Mapping[str, Any]) -> Mapping[str, Any]:
    """Places of each label, which may share them."""
    if not isinstance(positions, Mapping):
        return dict.fromkeys(labels, positions)
    for label in labels:
        _check.choice(label, "positions", _check.mapping(positions, "positions"))
    return positions
