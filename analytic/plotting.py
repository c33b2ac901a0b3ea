"""Figures: axes-level functions in seaborn's manner, f(data, *, ax=None) -> Axes.

Every function draws on the axes it is given, or makes a figure of its own and
returns its axes (`ax.figure` is the figure). No global state is touched: no
pyplot, and the house style lives in the context manager `theme`.

The same thing looks the same everywhere, in colour and in grey print: the
sampling trajectory x is blue and solid, the denoising trajectory D orange and
dash-dotted, a bound dark grey and dashed, data points light grey. Colours are
those of seaborn's colour-blind palette. σ and all distances are in data units.

Seaborn and Matplotlib are imported here only, and only when something is drawn.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import textwrap
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _check
from .compare import FORWARD, LEARNED, Comparison, Loss
from .points import PointSet, as_points
from .report import Evidence, Verdict, write_atomic
from .trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BOUND",
    "DATA",
    "DENOISING",
    "SAMPLING",
    "claim_figure",
    "comparison_figure",
    "encode",
    "evidence",
    "figure",
    "geometry_curves",
    "image_rows",
    "loss_split",
    "memorisation",
    "pca_view",
    "save",
    "score_deviation",
    "theme",
    "theorem_fraction",
    "trajectories_2d",
]

Floats = NDArray[np.float64]
Reals = NDArray[np.floating]

COLUMN, PAGE = 3.4, 7.0
"""Widths of a figure in inches: one column of a two-column page, and the page."""

_DPI = 200
_NORMAL = 1.96
"""Half-width of a 95 % interval, in standard errors."""
_DEEP = 1e10
"""Longest logarithmic axis of a comparison: float64's rounding is of no interest there."""
_PANELS = 3
_SPAN = 1e18
"""Longest logarithmic axis: a bound of order one and rounding errors fit on it."""


class Look(NamedTuple):
    """How one thing is drawn wherever it appears."""

    color: str
    linestyle: Any
    marker: str


SAMPLING = Look("#0173b2", "-", "o")
DENOISING = Look("#de8f05", (0, (5, 1.2, 1.2, 1.2)), "s")
BOUND = Look("#4d4d4d", (0, (4, 2)), "_")
DATA = Look("#c4c4c4", "none", ".")

_OTHERS = (
    Look("#029e73", "-", "^"),
    Look("#cc78bc", (0, (1, 1)), "D"),
    Look("#ca9161", (0, (10, 1.5)), "v"),
    Look("#949494", (0, (3, 1, 1, 1, 1, 1)), "P"),
    Look("#d55e00", (0, (1, 2)), "X"),
)
"""What a curve gets that is neither x nor D: seaborn's colour-blind palette again."""

_ROLES = ((re.compile(r"(x|sampling)\b"), SAMPLING), (re.compile(r"(D|denoising)\b"), DENOISING))


@contextmanager
def theme() -> Iterator[None]:
    """The house style while the block runs; global settings are as before afterwards."""
    import matplotlib
    import seaborn

    style = {
        **seaborn.axes_style("ticks"),
        **seaborn.plotting_context("paper"),
        # ships with Matplotlib and has the Greek letters, so figures agree between machines
        "font.family": "DejaVu Sans",
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "figure.titlesize": 9,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "legend.frameon": False,
        "legend.handlelength": 2.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "lines.linewidth": 1.3,
        "lines.markersize": 3,
        "xtick.major.size": 3.5,
        "ytick.major.size": 3.5,
        "xtick.minor.size": 2,
        "ytick.minor.size": 2,
        "xtick.major.width": 0.8,
        "ytick.major.width": 0.8,
        # otherwise a PDF would hold one blurred picture in place of sharp small ones
        "image.composite_image": False,
    }
    with matplotlib.rc_context(style):
        yield


def figure(width: float = COLUMN, height: float = 2.6) -> Figure:
    """An empty figure of the house style, laid out so that labels do not collide (inches).

    Fill it inside `with theme():`, where its axes take their fonts from.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


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
    with _canvas(ax) as axes:
        _curves(axes, evidence, _looks(evidence.curves, {evidence.bound}))
        if legend and len(evidence.curves) > 1:
            axes.legend()
        return axes


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
    if data.dim != 2 or trajectory.states.shape[2] != 2:
        _check.fail(
            "points",
            f"dimension {data.dim}, and states of dimension {trajectory.states.shape[2]}",
            "2 and 2",
            "use pca_view for other sets",
        )
    radii = 2.5 if limit is None else _check.number(limit, "limit", low=0.0, open_low=True)
    with _canvas(ax, height=COLUMN) as axes:
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
    legend: bool = True,
) -> Axes:
    """Trajectories and data projected on the two leading principal components of the data.

    Both axes have one scale, so angles and lengths in that plane are true. The
    view is centred on the data and `limit` radii of the projected data wide on
    each side; the trajectories (T, B, D) come in from outside.
    """
    data = as_points(points)
    if data.dim < 2 or trajectory.states.shape[2] != data.dim:
        _check.fail(
            "points",
            f"dimension {data.dim}, and states of dimension {trajectory.states.shape[2]}",
            "the same dimension, at least 2",
            "pass the points that the trajectory was computed from",
        )
    radii = _check.number(limit, "limit", low=0.0, open_low=True)
    basis, share = _components(data)
    states, denoised, projected = (
        (each - data.mean) @ basis.T
        for each in (trajectory.states, trajectory.denoised, data.points)
    )
    with _canvas(ax, height=COLUMN) as axes:
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
    legend: bool = True,
) -> Axes:
    """Mean over trajectories, with a band from the 10 % to the 90 % quantile, against σ.

    Parameters
    ----------
    sigmas : (T,) noise levels in data units; σ = 0 has no place on the axis
        and is dropped. Large σ is on the left: sampling runs to the right.
    values : label -> (T, B) or (T,) values. Trajectories with a value that is
        not finite are left out.
    ylabel : what the values are, with their unit.
    logy : whether the vertical axis is logarithmic.
    """
    levels = np.asarray(sigmas, dtype=np.float64)
    keep = levels > 0
    table = {label: _columns(each, label, levels.size)[keep] for label, each in values.items()}
    levels = levels[keep]
    yscale = "log" if logy else "linear"
    with _canvas(ax) as axes:
        axes.set_xscale("log")
        axes.set_yscale(yscale)
        looks = _looks(table)
        for label, each in table.items():
            look = looks[label]
            low, high = np.quantile(each, [0.1, 0.9], axis=1)
            mean = _shown(each.mean(axis=1), yscale)
            if not logy or (high > 0).any():
                axes.fill_between(levels, low, high, color=look.color, alpha=0.22, linewidth=0)
            axes.plot(levels, mean, label=_plain(label), color=look.color, linestyle=look.linestyle)
        if levels.size > 1:
            axes.set_xlim(levels.max(), levels.min())
        axes.set_xlabel("σ (data units)")
        axes.set_ylabel(ylabel)
        if legend and len(table) > 1:
            axes.legend()
        return axes


def image_rows(
    rows: Mapping[str, Any],
    sigmas: Any,
    *,
    ax: Axes | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> Axes:
    """Rows of grey images, one column per noise level, σ on top and the row's name at the left.

    Parameters
    ----------
    rows : label -> (K, H, W) images, drawn from top to bottom.
    sigmas : (K,) noise levels in data units.
    limits : label -> (black, white) for rows whose values are to be clipped to
        a range. In the other rows every image is stretched to its own range.
    """
    stacks = {label: _check.array(each, f"rows[{label!r}]") for label, each in rows.items()}
    levels = _check.array(sigmas, "sigmas")
    ranges = dict(limits or {})
    for label in ranges:
        _check.choice(label, "limits", stacks)
    for label, stack in stacks.items():
        if stack.ndim != 3 or len(stack) != levels.size:
            _check.fail(
                f"rows[{label!r}]",
                f"shape {stack.shape}",
                f"(K, H, W) with K = {levels.size}, the number of noise levels",
                "reshape the states to images",
            )
    with _canvas(ax, height=0.6 + 0.4 * len(stacks)) as axes:
        for row, (label, stack) in enumerate(stacks.items()):
            for column, image in enumerate(stack):
                black, white = ranges.get(label, (float(image.min()), float(image.max())))
                axes.imshow(
                    image,
                    cmap="gray",
                    vmin=black,
                    vmax=white,
                    interpolation="nearest",
                    extent=(column + 0.04, column + 0.96, row + 0.96, row + 0.04),
                )
        axes.set(xlim=(0, levels.size), ylim=(len(stacks), 0), aspect="equal")
        axes.set_xticks(np.arange(levels.size) + 0.5, [_level(s) for s in levels])
        axes.set_yticks(np.arange(len(stacks)) + 0.5, [_plain(label) for label in stacks])
        axes.xaxis.set_label_position("top")
        axes.set_xlabel("σ (data units)")
        axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        return axes


def claim_figure(verdicts: Sequence[Verdict]) -> Figure | None:
    """One claim's evidence: a panel per data set that has some, three to a row; None if none has.

    The panels share one legend, in which the same label is the same thing.
    """
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
        looks = _looks(
            dict.fromkeys(label for _, each in shown for label in each.curves),
            {each.bound for _, each in shown},
        )
        for (verdict, each), axes in zip(shown, grid, strict=False):
            _curves(axes, each, looks)
            axes.set_title(verdict.data.replace("$", r"\$"))
            axes.set_xlabel(_wrap(each.xlabel, int(16 * width / columns)))
            axes.set_ylabel(_wrap(each.ylabel, 30))
        for axes in grid[len(shown) :]:
            axes.remove()
        first = shown[0][0]
        result.suptitle(_wrap(_plain(f"{first.claim} · {first.title}"), int(13 * width)))
        _shared_legend(result, width)
    return result


def score_deviation(
    comparison: Comparison,
    *,
    ax: Axes | None = None,
    unit: str = "scale",
    legend: bool = True,
) -> Axes:
    """|r - D| against σ in its three settings, as means with bands from 10 % to 90 %.

    Parameters
    ----------
    unit : what it is divided by: "scale", √tr Σ of the data; "sigma"; or "score", σ², which
        makes it the error of the score, in inverse data units.
    """
    levels = comparison.sigmas[:, None]
    units: dict[str, tuple[Any, str]] = {
        "scale": (comparison.scale, "|r − D| / data scale"),
        "sigma": (levels, "|r − D| / σ"),
        "score": (levels * levels, "|r − D| / σ² (1 / data unit)"),
    }
    divisor, ylabel = units[_check.choice(unit, "unit", units)]
    values = {name: each.deviation / divisor for name, each in comparison.settings.items()}
    with _canvas(ax) as axes:
        geometry_curves(comparison.sigmas, values, ax=axes, ylabel=ylabel, logy=True, legend=legend)
        _short(axes)
        return axes


def theorem_fraction(
    comparison: Comparison, *, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """Share of states where Theorem 1 applies, |r - D| ≤ |D - x|, against σ, in each setting.

    Thin lines of the same kind are the weaker condition for one Euler step of the grid.
    """
    looks = _looks(comparison.settings)
    with _canvas(ax) as axes:
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
        if legend:
            axes.legend()
        return axes


def loss_split(comparison: Comparison, *, ax: Axes | None = None, legend: bool = True) -> Axes:
    """The denoising loss and its two parts against σ, with 95 % intervals of the means.

    E|r - x_0|² = E|r - D|² + mmse; and the losses on held-out points, where there are some.
    """
    loss = comparison.loss
    curves = {
        "loss of r": loss.model,
        "deviation |r − D|²": comparison.settings[FORWARD].deviation ** 2,
        "mmse, loss of D": loss.optimal,
    }
    unseen: Loss | None = comparison.held_out
    if unseen is not None:
        curves |= {"loss of r, held out": unseen.model, "loss of D, held out": unseen.optimal}
    looks = dict(
        zip(curves, (SAMPLING, _OTHERS[1], DENOISING, _OTHERS[3], _OTHERS[4]), strict=False)
    )
    with _canvas(ax) as axes:
        axes.set_xscale("log")
        axes.set_yscale("log")
        for name, values in curves.items():
            mean = values.mean(axis=1)
            half = _NORMAL * values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
            look = looks[name]
            axes.fill_between(
                comparison.sigmas,
                _shown(mean - half, "log"),
                _shown(mean + half, "log"),
                color=look.color,
                alpha=0.22,
                linewidth=0,
            )
            axes.plot(
                comparison.sigmas,
                _shown(mean, "log"),
                label=name,
                color=look.color,
                linestyle=look.linestyle,
            )
        axes.set_ylabel("mean squared error (data units²)")
        _towards_data(axes, comparison)
        _short(axes)
        if legend:
            axes.legend()
        return axes


def memorisation(comparison: Comparison, *, ax: Axes | None = None, legend: bool = True) -> Axes:
    """How near to one data point ends are: shares of ends below a ratio of distances.

    The ratio is that to the nearest over that to the second nearest data point, which calls an
    end memorised where it is below 1/3; beside it that of data points among themselves.
    """
    ends, between = comparison.ends, comparison.between
    with np.errstate(invalid="ignore"):
        curves = {
            "ends of the model": ends["model"].ratio,
            "ends of the optimum": ends["optimal"].ratio,
            "data among themselves": between[:, 0] / between[:, 1],
        }
    looks = (SAMPLING, DENOISING, _OTHERS[3])
    with _canvas(ax) as axes:
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
        if legend:
            # curves may pass anywhere: the box is see-through, and where least is behind it
            axes.legend(frameon=True, framealpha=0.8, edgecolor="none")
        return axes


def comparison_figure(comparison: Comparison) -> Figure:
    """A model beside the optimal denoiser on a page: what `analytic.compare` found, in panels."""
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
        result.suptitle(_wrap(_plain(title), int(13 * PAGE)))
    return result


def encode(figure: Figure, format: str = "png", *, truetype: bool = True) -> bytes:
    """The figure as a file's contents; the same figure gives the same bytes.

    Text in a PDF stays text, in TrueType as publishers want it, or else in Type 3, which
    takes half of the time; a PNG has 200 dots per inch.
    """
    import matplotlib

    _check.choice(format, "format", ("pdf", "png"))
    # a date or a version in the file would make equal figures differ
    metadata = {"CreationDate": None} if format == "pdf" else {"Software": None}
    stream = io.BytesIO()
    with theme(), matplotlib.rc_context({"pdf.fonttype": 42 if truetype else 3}):
        figure.savefig(stream, format=format, dpi=_DPI, metadata=metadata)
    return stream.getvalue()


def save(
    figure: Figure,
    stem: str | os.PathLike[str],
    formats: Sequence[str] = ("pdf", "png"),
    *,
    truetype: bool = True,
) -> list[Path]:
    """Write `stem`.pdf and `stem`.png, each whole or not at all; the paths written."""
    names = [_check.choice(each, "formats", ("pdf", "png")) for each in formats]
    base = Path(stem)
    engine = figure.get_layout_engine()
    if engine is not None:
        # laid out once for all formats; equal axes settle in a second pass only
        with theme():
            for _ in range(2 if any(ax.get_aspect() != "auto" for ax in figure.axes) else 1):
                figure.draw_without_rendering()
            # "none" would leave a stand-in, for which Matplotlib draws everything twice
            figure.set_layout_engine(None)
    paths = [base.with_name(f"{base.name}.{each}") for each in names]
    for path, each in zip(paths, names, strict=True):
        write_atomic(path, encode(figure, each, truetype=truetype))
    if engine is not None:
        figure.set_layout_engine(engine)
    return paths


@contextmanager
def _canvas(ax: Axes | None, width: float = COLUMN, height: float = 2.6) -> Iterator[Axes]:
    """The caller's axes as they are, or new ones in the house style."""
    with ExitStack() as stack:
        if ax is None:
            stack.enter_context(theme())
            ax = figure(width, height).subplots()
        yield ax


def _looks(labels: Collection[str], bounds: Container[str | None] = ()) -> dict[str, Look]:
    """One look per label: by its role if it has one, else the next free one."""
    roles = {label: look for label in labels for pattern, look in _ROLES if pattern.match(label)}
    # two solid lines could not be told apart in grey print
    solid = SAMPLING in roles.values()
    others = itertools.cycle(each for each in _OTHERS if not (solid and each.linestyle == "-"))
    result: dict[str, Look] = {}
    for label in labels:
        role = roles.get(label)
        if label in bounds:
            result[label] = BOUND
        elif role is None or role in result.values():
            result[label] = next(others)
        else:
            result[label] = role
    return result


def _curves(axes: Axes, evidence: Evidence, looks: Mapping[str, Look]) -> None:
    """Curves, labels and scales of one verdict's evidence."""
    axes.set_xscale(evidence.xscale)
    axes.set_yscale(evidence.yscale)
    x = _shown(evidence.x, evidence.xscale)
    # separate cases come in any order, but a bound drawn through them must not run back and forth
    order = np.argsort(x, kind="stable") if evidence.points else np.arange(x.size)
    for label, values in evidence.curves.items():
        y = _shown(values, evidence.yscale)
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
            label=_plain(label),
            color=look.color,
            linestyle="none" if separate else look.linestyle,
            marker=look.marker if separate or lone else "none",
            zorder=3 if is_bound else 2,
        )
    if evidence.yscale == "log":
        _floor(axes, evidence)
    _thin_ticks(axes)
    axes.set_xlabel(evidence.xlabel)
    axes.set_ylabel(evidence.ylabel)


def _floor(axes: Axes, evidence: Evidence) -> None:
    """End a logarithmic axis where numbers stop to matter, and say how many are below it.

    Differences may cancel to 1e-150 or to zero: the first would squeeze
    everything else into a line, and the second would vanish without a word.
    """
    curves = {label: np.asarray(each, dtype=np.float64) for label, each in evidence.curves.items()}
    shown = np.concatenate([_shown(each, "log") for each in curves.values()] or [np.empty(0)])
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


def _towards_data(axes: Axes, comparison: Comparison) -> None:
    """Large σ on the left: sampling runs to the right."""
    axes.set_xlim(float(comparison.sigmas[0]), float(comparison.sigmas[-1]))
    axes.set_xlabel("σ (data units)")
    _thin_ticks(axes)


def _short(axes: Axes) -> None:
    """End a logarithmic vertical axis ten decades below the largest mean on it."""
    shown = [np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.lines]
    values = np.concatenate([each[np.isfinite(each) & (each > 0)] for each in shown])
    if values.size:
        top = float(values.max())
        axes.set_ylim(max(float(values.min()) / 2, top / _DEEP), 4 * top)
    _thin_ticks(axes)


def _thin_ticks(axes: Axes) -> None:
    """No minor ticks where a logarithmic axis spans decades, and decades in plain text.

    Minor ticks and mathematical typesetting are most of a drawing's time. On a
    shorter axis minor ticks stay, since only they carry numbers there.
    """
    from matplotlib.ticker import FuncFormatter, NullLocator

    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        if axis.get_scale() == "log" and max(limits) >= 100 * min(limits):
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(_decade))


def _decade(value: float, position: int | None = None) -> str:
    """A power of ten as text, 10⁻³."""
    exponent = round(np.log10(value)) if value > 0 else 0
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _shown(values: Any, scale: str) -> Floats:
    """Values with NaN where an axis of that scale cannot show them."""
    result = np.array(values, dtype=np.float64)
    hidden = ~np.isfinite(result)
    if scale == "log":
        hidden |= result <= 0
    result[hidden] = np.nan
    return result


def _paths(
    axes: Axes, states: Reals, denoised: Reals, points: Floats, radii: float, legend: bool
) -> None:
    """Trajectories (T, B, 2) over points (N, 2), seen from the centre of the points."""
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    reach = radii * float((high - low).max() / 2 or 1.0)
    axes.scatter(
        points[:, 0],
        points[:, 1],
        s=4,
        color=DATA.color,
        linewidths=0,
        label="data",
        zorder=1,
        rasterized=True,
    )
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
    if legend:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _components(points: PointSet) -> tuple[Floats, Floats]:
    """Two leading principal directions (2, D) with a fixed sign, and their variance shares (2,)."""
    values, vectors = np.linalg.eigh(points.covariance)
    basis = vectors[:, ::-1][:, :2].T
    largest = np.abs(basis).argmax(axis=1)
    basis = basis * np.sign(basis[[0, 1], largest])[:, None]
    total = float(values.sum())
    share = values[::-1][:2] / total if total > 0 else np.zeros(2)
    return basis, np.maximum(share, 0.0)


def _columns(values: Any, label: str, count: int) -> Floats:
    """Values (T, B) of the trajectories that are finite throughout."""
    table = np.asarray(values, dtype=np.float64)
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


def _shared_legend(result: Figure, width: float) -> None:
    """One legend below all panels, if some panel has more than one curve."""
    entries: dict[str, Any] = {}
    several = False
    for axes in result.axes:
        handles, labels = axes.get_legend_handles_labels()
        several |= len(labels) > 1
        for handle, label in zip(handles, labels, strict=True):
            entries.setdefault(label, handle)
    if several:
        longest = max(map(len, entries))
        # about 14 characters of 7 pt to the inch, beside half an inch of line and gap
        columns = max(1, int(width / (0.5 + longest / 14)))
        result.legend(
            entries.values(),
            entries.keys(),
            loc="outside lower center",
            ncols=min(columns, len(entries)),
        )


def _level(sigma: float) -> str:
    """A noise level with two digits: 80, 4.2, 0.013."""
    return f"{sigma:.2g}"


def _plain(label: str) -> str:
    """A name as it is: a single dollar sign in it is no mathematics."""
    return label if label.count("$") % 2 == 0 else label.replace("$", r"\$")


def _wrap(text: str, width: int) -> str:
    """Text broken into lines, unless it holds formulas that must stay whole."""
    return text if "$" in text else "\n".join(textwrap.wrap(text, max(width, 12)))
