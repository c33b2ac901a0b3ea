"""Zip archives, opened for readers of what is inside."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ._base import DEFLATE_LIMIT, parsing

__all__ = ["archive_of", "members_of", "room_of"]


@contextmanager
def archive_of(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive, open until the end of the block."""
    with path.open("rb") as stream:
        with parsing(path, "its table of contents"):
            archive = zipfile.ZipFile(stream)
        with archive:
            yield archive


def members_of(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Every file inside, by name; of two with one name the later."""
    # Not info.is_dir(), which fails on an empty name.
    return {info.filename: info for info in archive.infolist() if not info.filename.endswith("/")}


def room_of(path: Path, info: zipfile.ZipInfo) -> int:
    """Most bytes a file inside the archive can unpack to, whatever the table of contents claims."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return info.file_size
    packed = min(info.compress_size, path.stat().st_size)
    return min(info.file_size, DEFLATE_LIMIT * packed)
