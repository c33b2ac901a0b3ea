"""Images of one size, in a ``.zip`` or in a folder, with their classes where they have some.

A pixel value v in 0..255 becomes v/127.5 - 1, the image a row in order H, W, C. Classes come
from EDM's ``dataset.json`` (https://github.com/NVlabs/edm#preparing-datasets); in a folder
without one they are the names of its own folders.
"""

from __future__ import annotations

import io
import json
import math
import os
import warnings
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._progress import bar
from ._base import MEMBER_LIMIT, Contents, extra, parsing, refuse, scale
from ._zip import archive_of, members_of

__all__ = ["read_folder", "read_zip"]

_CHANNELS = {"1": 1, "L": 1, "P": 3, "RGB": 3}
"""Channels each accepted Pillow mode is read with: grey is one, a palette is its colours."""

_FORMATS = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "PPM": (".ppm", ".pgm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""Pillow formats worth trusting with a stranger's bytes (EPS, for one, runs a program)."""

_SUFFIXES = tuple(suffix for suffixes in _FORMATS.values() for suffix in suffixes)


class _Store(NamedTuple):
    """Files by name, wherever they are: every name, and the bytes of one (with words for it)."""

    names: Collection[str]
    read: Callable[[str, str], bytes]


def read_zip(path: Path, progress: bool = False) -> Contents:
    """The images of an EDM-style archive in order of their names, with their classes."""
    with archive_of(path) as archive:
        members = members_of(archive)

        def read(name: str, part: str) -> bytes:
            return _unpack(archive, members[name], path, part)

        store = _Store(members, read)
        files = _images_in(store, path, "zip the images themselves")
        labels = _classes(store, files, path)
        return Contents(_pixels(store, files, path, progress), None, labels)


def read_folder(path: Path, progress: bool = False) -> Contents:
    """The images of a folder in order of their names, with their classes.

    Hidden files and folders are ignored. Links to files are followed; one to a folder is
    refused, since it could lead in a circle, or to the same images twice.
    """

    def read(name: str, part: str) -> bytes:
        return _read_file(path / name, path, part)

    store = _Store(_listing(path), read)
    files = _images_in(store, path, "put the images themselves there")
    labels = _classes(store, files, path) if _tables(store) else _folders(files, path)
    return Contents(_pixels(store, files, path, progress), None, labels)


def _images_in(store: _Store, path: Path, remedy: str) -> list[str]:
    """The names of the images, sorted; at least one."""
    files = sorted(name for name in store.names if _is_image(name))
    if not files:
        refuse(
            path,
            f"has no images among its {len(store.names)} files",
            f"images ({' '.join(_SUFFIXES)}) in any folder",
            remedy,
        )
    return files


def _pixels(store: _Store, files: list[str], path: Path, progress: bool) -> NDArray[np.float64]:
    """(N, H·W·C) images of one size."""
    image_module = extra("PIL.Image")
    points = np.empty((0, 0))
    wanted: tuple[int, int, int] | None = None
    with warnings.catch_warnings(), bar(len(files), path.name, progress) as advance:
        # Half-absurd images only warn in Pillow, and would be decoded all the same.
        warnings.simplefilter("error", image_module.DecompressionBombWarning)
        for row, name in enumerate(files):
            part = f"its image {name!r}"
            data = store.read(name, part)
            with parsing(path, part):
                image = image_module.open(io.BytesIO(data), formats=tuple(_FORMATS))
            shape = _image_shape(image, path, part)
            if wanted is None:
                wanted = shape
                _check.size(len(files), math.prod(shape), f"path {str(path)!r}")
                points = np.empty((len(files), math.prod(shape)))
            if shape != wanted:
                refuse(
                    path,
                    f"mixes image shapes: {name!r} is {shape}, {files[0]!r} is {wanted}",
                    "one shape (height, width, channels)",
                    "resize or convert them first",
                )
            with parsing(path, part):
                pixels = np.asarray(image.convert("L" if shape[2] == 1 else "RGB"))
            scale(pixels.reshape(-1), points[row])
            advance(1)
    return points


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, part: str) -> bytes:
    _check_claim(info.file_size, path, part)
    with parsing(path, part):
        return archive.read(info)


def _read_file(file: Path, path: Path, part: str) -> bytes:
    if not file.is_file():  # a pipe would be waited for forever
        refuse(
            path, f"has no regular file for {part}", "images that are files", "copy the image there"
        )
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        _check_claim(size, path, part)
        with parsing(path, part):
            return stream.read(size)


def _check_claim(size: int, path: Path, part: str) -> None:
    if size > MEMBER_LIMIT:
        refuse(
            path,
            f"claims {size / 2**30:.3g} GiB for {part}",
            "at most 1 GiB for one file inside it",
            "make sure it can be trusted",
        )


def _listing(path: Path) -> list[str]:
    """Names of all files below a folder, relative to it with slashes, without hidden ones."""
    names, folders = [], [""]
    while folders:
        folder = folders.pop()
        with os.scandir(path / folder) as entries:
            for entry in entries:
                name = folder + entry.name
                if entry.name.startswith("."):
                    continue
                if not os.path.isdir(entry.path):
                    names.append(name)
                elif entry.is_symlink():
                    refuse(
                        path,
                        f"holds a link to a folder, {name!r}",
                        "folders and files",
                        "copy the folder there, or name the one it points to",
                    )
                else:
                    folders.append(name + "/")
    return names


def _folders(files: list[str], path: Path) -> NDArray[Any] | None:
    """(N,) name of the outermost folder of each file, None if no file is in one."""
    inside = [len(PurePosixPath(name).parts) > 1 for name in files]
    if not any(inside):
        return None
    if not all(inside):
        worst = files[inside.index(False)]
        warnings.warn(
            f"path: {str(path)!r} is loaded without labels, because not every image is in a "
            f"folder of its class (first {worst!r}).",
            stacklevel=4,
        )
        return None
    return np.array([PurePosixPath(name).parts[0] for name in files])


def _tables(store: _Store) -> list[str]:
    return [name for name in store.names if PurePosixPath(name).name == "dataset.json"]


def _is_image(name: str) -> bool:
    """Whether an entry counts as an image: by suffix, without macOS's hidden twins."""
    base = PurePosixPath(name).name
    return base.lower().endswith(_SUFFIXES) and not base.startswith(".")


def _image_shape(image: Any, path: Path, part: str) -> tuple[int, int, int]:
    """(height, width, channels) of an image that has been opened, not yet decoded."""
    transparent = "transparency" in image.info
    if image.mode not in _CHANNELS or transparent:
        refuse(
            path,
            f"has {'transparency' if transparent else f'the mode {image.mode!r}'} in {part}",
            "8-bit grey, RGB or palette images without alpha",
            'flatten each onto a background of your choice and convert it to "RGB" or "L"',
        )
    width, height = image.size
    return height, width, _CHANNELS[image.mode]


def _classes(store: _Store, files: list[str], path: Path) -> NDArray[np.int64] | None:
    """(N,) class of each file by ``dataset.json``, None without one or with ``null`` labels."""
    tables = _tables(store)
    if not tables:
        return None
    if len(tables) > 1:
        refuse(
            path,
            f"has {len(tables)} files dataset.json",
            "at most one",
            "keep one dataset at a time",
        )
    part = repr(tables[0])
    data = store.read(tables[0], part)
    with parsing(path, part):
        table = json.loads(data)
    # Names are relative to the table, so that a zipped parent folder still works.
    labels = _label_table(table, tables[0].removesuffix("dataset.json"), path, part)
    if labels is None:
        return None
    if missing := sorted(labels.keys() - set(store.names)):
        refuse(
            path,
            f"lists {len(missing)} files in {part} that it does not hold, first {missing[0]!r}",
            "labels of files that are there",
            "add the files or drop their labels",
        )
    classes = [labels.get(name) for name in files]
    usable = [type(c) is int and -(2**63) <= c < 2**63 for c in classes]
    if not all(usable):
        worst = files[usable.index(False)]
        warnings.warn(
            f"path: {str(path)!r} is loaded without labels, because not every image has a whole "
            f"number as its class (first {worst!r}: {_check.show(labels.get(worst))}).",
            stacklevel=4,
        )
        return None
    return np.array(classes, dtype=np.int64)


def _label_table(table: Any, folder: str, path: Path, part: str) -> dict[str, Any] | None:
    """{full name: class} of a parsed ``dataset.json``."""

    def malformed(came: str) -> NoReturn:
        refuse(
            path,
            f"has {came} in {part}",
            '{"labels": [[file, class], ...]} or {"labels": null}, each file once',
            "correct it, or leave it out for no labels",
        )

    if not isinstance(table, dict) or "labels" not in table:
        malformed('no "labels"')
    rows = table["labels"]
    if rows is None:
        return None
    if not isinstance(rows, list):
        malformed(f"labels {_check.show(rows)}")
    labels: dict[str, Any] = {}
    for entry in rows:
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
            malformed(f"the entry {_check.show(entry)}")
        name = folder + entry[0]
        if name in labels:
            malformed(f"two entries for {name!r}")
        labels[name] = entry[1]
    return labels
