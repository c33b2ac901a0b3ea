"""What a figure shows, as numbers."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import _check
from ._style import of_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Row", "numbers", "to_csv"]


class Row(NamedTuple):
    """One number or point of a figure."""

    panel: str
    series: str
    kind: str
    x: float
    y: float
    value: float = float("nan")


def numbers(figure: Figure) -> Iterator[Row]:
    """What a figure shows, point by point.

    Kinds are "line", "point" (its value is what its colour says), "band" (the outline of an
    area), "level" (a contour, its level the value) and "pixel" (x the column, y the row). A
    panel is named by its place and its title or vertical label; a path without a label belongs
    to the series before it. In space the value of a line's point is its third coordinate. Values
    are NaN where a kind has none.
    """
    for place, axes in enumerate(of_figure(figure).axes):
        title = axes.get_title() or axes.get_title("left")
        panel = f"{place + 1} {title}".strip() if title else f"{place + 1} {axes.get_ylabel()}"
        yield from _numbers_of(axes, " ".join(panel.split()))


def to_csv(rows: Iterable[Row]) -> bytes:
    """The rows as a CSV file: nine digits, nothing for NaN."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(Row._fields)
    if not isinstance(rows, Iterable):
        _check.fail("rows", _check.show(rows), "rows", "see analytic.plotting.numbers", TypeError)
    for row in rows:
        *words, x, y, value = _check.instance(row, "rows", Row, "see analytic.plotting.numbers")
        cells = ["" if math.isnan(each) else f"{each:.9g}" for each in (x, y, value)]
        writer.writerow((*words, *cells))
    return stream.getvalue().encode()


def _numbers_of(axes: Any, panel: str) -> Iterator[Row]:
    from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
    from matplotlib.contour import ContourSet

    series = ""
    for line in axes.lines:
        series = _label(line) or series
        # in space the other coordinates are those of the page
        space = hasattr(line, "get_data_3d")
        ends: Any = np.transpose(line.get_data_3d()) if space else line.get_xydata()
        for end in ends:
            yield Row(panel, series, "line", *map(float, end))
    for each in axes.collections:
        label = _label(each)
        if isinstance(each, ContourSet):
            for level, path in zip(each.levels, each.get_paths(), strict=False):
                vertices: Any = path.vertices
                for x, y in vertices:
                    yield Row(panel, label, "level", float(x), float(y), float(level))
        elif isinstance(each, QuadMesh):
            yield from _pixels(panel, label, each.get_array())
        elif isinstance(each, PathCollection):
            values = each.get_array()
            for k, (x, y) in enumerate(np.asarray(each.get_offsets())):
                value = math.nan if values is None else float(values[k])
                yield Row(panel, label, "point", float(x), float(y), value)
        elif isinstance(each, PolyCollection):
            for path in each.get_paths():
                vertices = path.vertices
                for x, y in vertices:
                    yield Row(panel, label, "band", float(x), float(y))
    for k, image in enumerate(axes.images):
        yield from _pixels(panel, f"picture {k + 1}", image.get_array())


def _label(artist: Any) -> str:
    """What a legend calls it; nothing for the names that Matplotlib makes up."""
    found = str(artist.get_label())
    return "" if found.startswith("_") else found


def _pixels(panel: str, label: str, picture: Any) -> Iterator[Row]:
    grid: Any = np.atleast_2d(np.ma.filled(np.ma.asarray(picture, dtype=float), np.nan))
    planes = {label: grid}
    if grid.ndim == 3:
        colors = ("red", "green", "blue", "alpha")[: grid.shape[2]]
        planes = {f"{label} {color}": grid[..., k] for k, color in enumerate(colors)}
    for name, plane in planes.items():
        for (row, column), value in np.ndenumerate(plane):
            yield Row(panel, name, "pixel", float(column), float(row), float(value))
