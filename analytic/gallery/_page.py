"""A page that shows every figure: small pictures, captions, and how to draw each."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

from .._outcome import write_atomic
from ._script import Script

__all__ = ["page"]

WIDE = 400
"""Width of a small picture in pixels."""
COLORS = 64
HEAVY = 40_000
"""Bytes that a small picture may have."""
FOLDER = "thumbnails"

HEAD = """# Figures

Written by `analytic figures --gallery`; edit the scripts, not this page.

Each script draws one figure; its docstring is the caption. All of them, for the data sets they have
by default:

    analytic figures --out DIR

One of them, for a set of yours, with a model of yours beside the optimal denoiser:

    analytic figures deviation --data FILE.npy --model MODULE:OBJECT --format pdf
    python figures/deviation.py --data two_moons

Every figure comes as PDF and PNG in print size, with its numbers as CSV. What has been computed is
kept in the folder: change how a figure is drawn, and only that is done again. A new figure is a
new script with `compute(lab)` and `draw(found, lab)`: `analytic/gallery/__init__.py` says what
they get. Noise levels in the captions are those for data of order one; sets that are much larger or
smaller are drawn at levels of their size.
"""


def page(pictures: Iterable[tuple[Script, Path]], folder: str | os.PathLike[str]) -> list[Path]:
    """Write README.md and thumbnails/NAME.png into a folder; the paths written.

    Parameters
    ----------
    pictures : scripts with a PNG of each, in the order of the page.
    """
    place = Path(folder)
    (place / FOLDER).mkdir(parents=True, exist_ok=True)
    parts, paths = [HEAD], []
    for script, picture in pictures:
        small = place / FOLDER / f"{script.name}.png"
        write_atomic(small, thumbnail(picture))
        paths.append(small)
        title, _, rest = script.caption.partition("\n")
        parts.append(
            f"## {title.rstrip('.')}\n\n"
            f"[`{script.path.name}`]({script.path.name}), here for `{picture.stem}`\n\n"
            f"![{title}]({FOLDER}/{small.name})\n\n{rest.strip()}".rstrip()
            + "\n"
        )
    readme = place / "README.md"
    write_atomic(readme, "\n".join(parts).encode())
    return [readme, *paths]


def thumbnail(picture: Path, wide: int = WIDE, heavy: int = HEAVY) -> bytes:
    """A small copy of a PNG: at most `wide` pixels across, of few colours, below `heavy` bytes."""
    from PIL import Image  # comes with Matplotlib

    with Image.open(picture) as opened:
        whole = opened.convert("RGB")
    colors = COLORS
    while True:
        size = (wide, max(1, round(whole.height * wide / whole.width)))
        small = whole.resize(size, Image.Resampling.LANCZOS).quantize(colors)
        stream = io.BytesIO()
        small.save(stream, "png", optimize=True)
        if stream.tell() < heavy or wide <= 50:
            return stream.getvalue()
        # coarser pictures before smaller ones
        colors, wide = (colors // 2, wide) if colors > 16 else (colors, wide * 3 // 4)
