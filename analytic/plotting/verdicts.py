"""The evidence behind verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .. import _check
from ..report import Evidence, Verdict
from ._style import (
    BOUND,
    COLUMN,
    PAGE,
    Look,
    canvas,
    drawable,
    figure,
    looks_of,
    plain,
    shared_legend,
    theme,
    thin_ticks,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "claim_figure",
    "evidence",
]


_PANELS = 3


_SPAN = 1e18
"""Longest logarithmic axis: a bound of order one and rounding errors fit on it."""


def evidence(
    evidence: Evidence,
    *,
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """The numbers behind a verdict: what was measured, and the bound in dashed grey.

    Values that an axis cannot show (not finite, or not positive on a
    logarithmic one) leave a gap; a logarithmic vertical axis spans 18 decades at
    most and says how many measured values are below it. A legend appears where
    there is more than one curve, unless `legend` is false.
    """
    _check.instance(evidence, "evidence", Evidence, "see Verdict.evidence")
    with canvas(ax) as axes:
        _curves(axes, evidence, looks_of(evidence.curves, {evidence.bound}))
        if _check.flag(legend, "legend") and len(evidence.curves) > 1:
            axes.legend()
        return axes


def claim_figure(verdicts: Sequence[Verdict]) -> Figure | None:
    """One claim's evidence: a panel per data set that has some, three to a row; None if none has.

    The panels share one legend, in which the same label is the same thing.
    """
    if not isinstance(verdicts, Sequence):
        what = "a list of verdicts"
        _check.fail("verdicts", _check.show(verdicts), what, "see Report.verdicts", TypeError)
    for verdict in verdicts:
        _check.instance(verdict, "verdicts", Verdict, "see Report.verdicts")
    shown = [(v, v.evidence) for v in verdicts if v.evidence is not None]
    if not shown:
        return None
    others = sorted({v.claim for v, _ in shown})
    if len(others) > 1:
        _check.fail("verdicts", f"claims {', '.join(others)}", "one claim", "call once per claim")
    columns = min(len(shown), _PANELS)
    rows = -(-len(shown) // _PANELS)
    width = COLUMN if columns == 1 else PAGE
    with theme():
        result = figure(width, 0.75 + 2.0 * rows)
        grid = list(result.subplots(rows, columns, squeeze=False).flat)
        looks = looks_of(
            dict.fromkeys(label for _, each in shown for label in each.curves),
            {each.bound for _, each in shown},
        )
        for (verdict, each), axes in zip(shown, grid, strict=False):
            _curves(axes, each, looks)
            axes.set_title(verdict.data.replace("$", r"\$"))
            axes.set_xlabel(wrap(each.xlabel, int(16 * width / columns)))
            axes.set_ylabel(wrap(each.ylabel, 30))
        for axes in grid[len(shown) :]:
            axes.remove()
        first = shown[0][0]
        result.suptitle(wrap(plain(f"{first.claim} · {first.title}"), int(13 * width)))
        shared_legend(result, width)
    return result


def _curves(axes: Axes, evidence: Evidence, looks: Mapping[str, Look]) -> None:
    """Curves, labels and scales of one verdict's evidence."""
    axes.set_xscale(evidence.xscale)
    axes.set_yscale(evidence.yscale)
    x = drawable(evidence.x, evidence.xscale)
    # separate cases come in any order, but a bound drawn through them must not run back and forth
    order = np.argsort(x, kind="stable") if evidence.points else np.arange(x.size)
    for label, values in evidence.curves.items():
        y = drawable(values, evidence.yscale)
        if y.shape != x.shape:
            _check.fail(
                "evidence",
                f"curve {label!r} of shape {y.shape}",
                f"the shape of x, {x.shape}",
                "give one value per abscissa",
            )
        look, is_bound = looks[label], label == evidence.bound
        separate = evidence.points and not is_bound
        # a line through one value would be invisible
        lone = np.count_nonzero(np.isfinite(x) & np.isfinite(y)) < 2
        axes.plot(
            x[order],
            y[order],
            label=plain(label),
            color=look.color,
            linestyle="none" if separate else look.linestyle,
            marker=look.marker if separate or lone else "none",
            zorder=3 if is_bound else 2,
        )
    if evidence.yscale == "log":
        _floor(axes, evidence)
    thin_ticks(axes)
    axes.set_xlabel(evidence.xlabel)
    axes.set_ylabel(evidence.ylabel)


def _floor(axes: Axes, evidence: Evidence) -> None:
    """End a logarithmic axis where numbers stop to matter, and say how many are below it.

    Differences may cancel to 1e-150 or to zero: the first would squeeze
    everything else into a line, and the second would vanish without a word.
    """
    curves = {label: np.asarray(each, dtype=np.float64) for label, each in evidence.curves.items()}
    shown = np.concatenate([drawable(each, "log") for each in curves.values()] or [np.empty(0)])
    shown = shown[np.isfinite(shown)]
    bottom = float(shown.max()) / _SPAN if shown.size else 0.0
    if shown.size and shown.min() < bottom:
        axes.set_ylim(bottom, 3 * float(shown.max()))
    measured = [each for label, each in curves.items() if label != evidence.bound]
    hidden = sum(int(((each <= 0) | (each < bottom)).sum()) for each in measured)
    if hidden:
        total = sum(each.size for each in measured)
        axes.text(
            0.02,
            0.02,
            f"{hidden} of {total} lie below",
            transform=axes.transAxes,
            fontsize=7,
            color=BOUND.color,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
            zorder=5,
        )
