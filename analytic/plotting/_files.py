"""Figures as files, whole or not at all, and what they show as numbers."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _check
from ..report import write_atomic
from ._style import of_figure, theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "encode",
    "save",
]


_DPI = 200


def encode(figure: Figure, format: str = "png", *, truetype: bool = True) -> bytes:
    """The figure as a file's contents; the same figure gives the same bytes.

    Text in a PDF stays text, in TrueType as publishers want it, or else in Type 3, which
    takes half of the time; a PNG has 200 dots per inch.
    """
    import matplotlib

    _check.choice(format, "format", ("pdf", "png"))
    of_figure(figure)
    _check.flag(truetype, "truetype")
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
    words = _check.words(formats, "formats")
    names = [_check.choice(each, "formats", ("pdf", "png")) for each in words]
    base = _check.path(stem, "stem")
    of_figure(figure)
    _check.flag(truetype, "truetype")
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
