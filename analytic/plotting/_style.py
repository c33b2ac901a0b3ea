"""How figures look: one style, one look for each thing, and axes that can be read."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BOUND",
    "COLUMN",
    "DATA",
    "DENOISING",
    "HEIGHT",
    "LEARNED",
    "NOISE",
    "NORMAL",
    "OTHERS",
    "PAGE",
    "PALETTE",
    "SAMPLING",
    "Look",
    "canvas",
    "decade",
    "drawable",
    "figure",
    "level_text",
    "looks_of",
    "plain",
    "scatter_data",
    "shared_legend",
    "theme",
    "thin_ticks",
    "wrap",
]

Floats = NDArray[np.float64]

COLUMN, PAGE = 3.4, 7.0
"""Widths of a figure in inches: one column of a two-column page, and the page."""
NORMAL = 1.96
"""Half-width of a 95 % interval, in standard errors."""
HEIGHT = 2.6
"""Height of a figure that names none, in inches."""

CONTEXTS = {"paper": 1.0, "talk": 1.5, "poster": 2.0}
WIDTHS = {"single": COLUMN, "double": PAGE}
_SIZES = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.titlesize": 9,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.3,
    "lines.markersize": 3,
    "xtick.major.size": 3.5,
    "ytick.major.size": 3.5,
    "xtick.minor.size": 2,
    "ytick.minor.size": 2,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
}
"""In points, on paper."""


class Look(NamedTuple):
    """How one thing is drawn wherever it appears."""

    color: str
    linestyle: Any
    marker: str


SAMPLING = Look("#0173b2", "-", "o")


DENOISING = Look("#de8f05", (0, (5, 1.2, 1.2, 1.2)), "s")


BOUND = Look("#4d4d4d", (0, (4, 2)), "_")


DATA = Look("#c4c4c4", "none", ".")


OTHERS = (
    Look("#029e73", "-", "^"),
    Look("#cc78bc", (0, (1, 1)), "D"),
    Look("#ca9161", (0, (10, 1.5)), "v"),
    Look("#949494", (0, (3, 1, 1, 1, 1, 1)), "P"),
    Look("#d55e00", (0, (1, 2)), "X"),
)
"""What a curve gets that is neither x nor D: seaborn's colour-blind palette again."""
PALETTE = (SAMPLING, DENOISING, *OTHERS)
LEARNED = OTHERS[1]
"""What a learned model does, beside the same of the optimal denoiser."""
NOISE = Look("#029e73", (0, (10, 1.5)), "^")
"""The predicted noise ε = (x - D)/σ."""


_ROLES = ((re.compile(r"(x|sampling)\b"), SAMPLING), (re.compile(r"(D|denoising)\b"), DENOISING))


@contextmanager
def theme(context: str = "paper", column: str = "single") -> Iterator[None]:
    """The house style while the block runs; global settings are as before afterwards.

    Parameters
    ----------
    context : "paper" (8 pt, to be printed as it is), "talk" or "poster" (12 and 16 pt).
    column : width of figures that name none: "single", 3.4 inches, one column of a page of two;
        or "double", 7 inches, the page.

    It serves figures of pyplot and of seaborn as well as those made here.
    """
    import matplotlib
    import seaborn
    from matplotlib.rcsetup import cycler

    scale = CONTEXTS[_check.choice(context, "context", CONTEXTS)]
    width = WIDTHS[_check.choice(column, "column", WIDTHS)]
    style = {
        **seaborn.axes_style("ticks"),
        **seaborn.plotting_context("paper"),
        "figure.figsize": (scale * width, scale * HEIGHT),
        "axes.prop_cycle": cycler(color=[each.color for each in PALETTE]),
        # ships with Matplotlib and has the Greek letters, so figures agree between machines
        "font.family": "DejaVu Sans",
        "mathtext.fontset": "dejavusans",
        "legend.frameon": False,
        "legend.handlelength": 2.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        # otherwise a PDF would hold one blurred picture in place of sharp small ones
        "image.composite_image": False,
    }
    with matplotlib.rc_context(style | {name: scale * size for name, size in _SIZES.items()}):
        yield


def figure(width: float | None = None, height: float | None = None) -> Figure:
    """An empty figure, laid out so that labels do not collide; sizes in inches, else the theme's.

    Fill it inside `with theme():`, where its axes take their fonts from.
    """
    import matplotlib
    from matplotlib.figure import Figure

    wide, high = matplotlib.rcParams["figure.figsize"]
    wide = wide if width is None else _check.number(width, "width", low=0.1, high=1e3)
    high = high if height is None else _check.number(height, "height", low=0.1, high=1e3)
    return Figure(figsize=(wide, high), layout="constrained")


@contextmanager
def canvas(ax: Axes | None, width: float = COLUMN, height: float = HEIGHT) -> Iterator[Axes]:
    """The caller's axes as they are, or new ones in the house style."""
    with ExitStack() as stack:
        if ax is None:
            stack.enter_context(theme())
            ax = figure(width, height).subplots()
        yield on_axes(ax)


def on_axes(ax: Any, argument: str = "ax") -> Axes:
    """Axes that can be drawn on."""
    from matplotlib.axes import Axes

    return _check.instance(ax, argument, Axes, "pass those of a figure, or None for new ones")


def of_figure(value: Any, argument: str = "figure") -> Figure:
    """A figure, or one of its parts."""
    from matplotlib.figure import Figure, FigureBase

    remedy = "see analytic.plotting.figure, or ax.figure"
    if not isinstance(value, FigureBase):
        _check.instance(value, argument, Figure, remedy)
    return value


def scatter_data(axes: Axes, points: Any, zorder: float = 1) -> None:
    """Data points (N, 2) as they look in every plane."""
    axes.scatter(
        points[:, 0],
        points[:, 1],
        s=4,
        color=DATA.color,
        linewidths=0,
        label="data",
        zorder=zorder,
        rasterized=True,
    )


def looks_by(labels: Collection[str], looks: Any) -> dict[str, Look]:
    """`looks_of` the labels, but for those that the caller gave a look of their own."""
    given = {} if looks is None else _check.mapping(looks, "looks")
    for label, look in given.items():
        _check.choice(label, "looks", labels)
        _check.instance(look, f"looks[{label!r}]", Look, "see analytic.plotting.Look")
    return looks_of(labels) | given


def looks_of(labels: Collection[str], bounds: Collection[str | None] = ()) -> dict[str, Look]:
    """One look per label: by its role if it has one, else the next free one."""
    labels = _check.words(labels if not isinstance(labels, Mapping) else list(labels), "labels")
    if not isinstance(bounds, Collection) or isinstance(bounds, (str, bytes)):
        _check.fail("bounds", _check.show(bounds), "a list of labels", "put it into one", TypeError)
    among = _check.words([each for each in bounds if each is not None], "bounds")
    roles = {label: look for label in labels for pattern, look in _ROLES if pattern.match(label)}
    # two solid lines could not be told apart in grey print
    solid = SAMPLING in roles.values()
    others = itertools.cycle(each for each in OTHERS if not (solid and each.linestyle == "-"))
    result: dict[str, Look] = {}
    for label in labels:
        role = roles.get(label)
        if label in among:
            result[label] = BOUND
        elif role is None or role in result.values():
            result[label] = next(others)
        else:
            result[label] = role
    return result


def shared_legend(result: Figure, width: float) -> None:
    """One legend below all panels, if some panel has more than one curve."""
    entries: dict[str, Any] = {}
    several = False
    _check.number(width, "width", low=0.1, high=1e3)
    for axes in of_figure(result, "result").axes:
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


def thin_ticks(axes: Axes) -> None:
    """No minor ticks where a logarithmic axis spans decades, and decades in plain text.

    Minor ticks and mathematical typesetting are most of a drawing's time. On a
    shorter axis minor ticks stay, since only they carry numbers there.
    """
    from matplotlib.ticker import FuncFormatter, NullLocator

    on_axes(axes, "axes")
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        if axis.get_scale() == "log" and max(limits) >= 100 * min(limits):
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(decade))


def decade(value: float, position: int | None = None) -> str:
    """A power of ten as text, 10⁻³."""
    exponent = round(np.log10(value)) if value > 0 else 0
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def drawable(values: Any, scale: str, argument: str = "values") -> Floats:
    """Values with NaN where an axis of that scale cannot show them."""
    result = np.array(_check.array(values, argument, finite=False), dtype=np.float64)
    hidden = ~np.isfinite(result)
    if scale == "log":
        hidden |= result <= 0
    result[hidden] = np.nan
    return result


def level_text(sigma: float) -> str:
    """A noise level with two digits, or all before the point up to 99,999: 80, 4.2, 0.013, 120."""
    level = _check.number(sigma, "sigma")
    return f"{level:.0f}" if 99.5 <= level < 99_999.5 else f"{level:.2g}"


def plain(label: str) -> str:
    """A name as it is: a single dollar sign in it is no mathematics."""
    return label if label.count("$") % 2 == 0 else label.replace("$", r"\$")


def wrap(text: str, width: int) -> str:
    """Text broken into lines, unless it holds formulas that must stay whole."""
    return text if "$" in text else "\n".join(textwrap.wrap(text, max(width, 12)))
