"""Readers of users' files: raw numbers, image archives, and every way they can be broken.

Each reader takes a path and returns its `Contents`: points (N, D), and weights (N,)
and labels (N,) where the file has them. What a reader does not understand it refuses
with one `ValueError` that names the path; nothing is unpickled, and nothing is
allocated on the word of a header before the size has been checked against the memory
here and, for arrays, against the bytes the file really holds.

- ``.npy``: one array (N, ...), flattened to (N, D), the numbers as they are.
- ``.npz``: the same array under a name, with optional weights and labels.
- ``.zip``: images of one size in any folders, and optionally EDM's ``dataset.json``;
  a pixel value v in 0..255 becomes v/127.5 - 1, the image a row in order H, W, C.

Formats: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html and
https://github.com/NVlabs/edm#preparing-datasets.
"""

from __future__ import annotations

import importlib
import io
import json
import math
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from . import _check
from ._progress import bar

__all__ = ["READERS", "Contents", "extra"]

Floats = NDArray[np.float64]

POINT_KEYS = ("points", "X", "data", "arr_0")
WEIGHT_KEYS = ("weights",)
LABEL_KEYS = ("labels", "y")

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

_MEMBER_LIMIT = 1 << 30
"""Most bytes one image or ``dataset.json`` may unpack to: far beyond any honest one."""


class Contents(NamedTuple):
    """What a file holds: points (N, D) real numbers, weights (N,) and labels (N,) or None."""

    points: NDArray[Any]
    weights: Any = None
    labels: NDArray[Any] | None = None


def extra(module: str) -> Any:
    """An optional dependency, imported when first needed; `ImportError` names the remedy."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module.partition('.')[0]} is needed here and cannot be imported ({error}); "
            'pip install "analytic-diffusion[data]".'
        ) from error


def read_npy(path: Path, progress: bool = False) -> Contents:
    """One ``.npy`` array (N, ...) of real numbers."""
    with path.open("rb") as stream:
        length = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        return Contents(_flat(_npy(stream, length, path, "its array"), path, "its array"))


def read_npz(path: Path, progress: bool = False) -> Contents:
    """The points, weights and labels of a ``.npz`` archive; other arrays are not read."""
    with _archive(path) as archive:
        members = {
            name.removesuffix(".npy"): info
            for name, info in _members(archive).items()
            if name.endswith(".npy")
        }
        key = _points_key(path, tuple(members))

        def read(name: str) -> NDArray[Any]:
            part = f"its array {name!r}"
            with _parsing(path, part):
                stream = archive.open(members[name])
            with stream:
                return _npy(stream, members[name].file_size, path, part)

        def read_first(names: Iterable[str]) -> NDArray[Any] | None:
            found = next((name for name in names if name in members), None)
            return None if found is None else read(found)

        return Contents(
            _flat(read(key), path, f"its array {key!r}"),
            read_first(WEIGHT_KEYS),
            read_first(LABEL_KEYS),
        )


def read_zip(path: Path, progress: bool = False) -> Contents:
    """The images of an EDM-style archive in order of their names, with their classes."""
    image_module = extra("PIL.Image")
    with _archive(path) as archive, warnings.catch_warnings():
        # Half-absurd images only warn in Pillow, and would be decoded all the same.
        warnings.simplefilter("error", image_module.DecompressionBombWarning)
        members = _members(archive)
        files = sorted(name for name in members if _is_image(name))
        if not files:
            _refuse(
                path,
                f"has no images among its {len(members)} files",
                f"images ({' '.join(_SUFFIXES)}) in any folder",
                "zip the images themselves",
            )
        labels = _classes(archive, members, files, path)
        points = np.empty((0, 0))
        wanted: tuple[int, int, int] | None = None
        with bar(len(files), path.name, progress) as advance:
            for row, name in enumerate(files):
                part = f"its image {name!r}"
                data = _unpack(archive, members[name], path, part)
                with _parsing(path, part):
                    image = image_module.open(io.BytesIO(data), formats=tuple(_FORMATS))
                shape = _image_shape(image, path, part)
                if wanted is None:
                    wanted = shape
                    _check.size(len(files), math.prod(shape), f"path {str(path)!r}")
                    points = np.empty((len(files), math.prod(shape)))
                if shape != wanted:
                    _refuse(
                        path,
                        f"mixes image shapes: {name!r} is {shape}, {files[0]!r} is {wanted}",
                        "one shape (height, width, channels)",
                        "resize or convert them first",
                    )
                with _parsing(path, part):
                    pixels = np.asarray(image.convert("L" if shape[2] == 1 else "RGB"))
                np.divide(pixels.reshape(-1), 127.5, out=points[row])
                points[row] -= 1
                advance(1)
    return Contents(points, None, labels)


READERS: dict[str, Callable[[Path, bool], Contents]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".zip": read_zip,
}
"""Reader of each extension. A new format is one function and one entry."""


def _refuse(path: Path, problem: str, expected: str, remedy: str) -> NoReturn:
    _check.fail("path", f"{str(path)!r}, which {problem}", expected, remedy)


@contextmanager
def _parsing(path: Path, part: str) -> Iterator[None]:
    """Turn whatever a parser throws at damaged bytes into one `ValueError`.

    Parsers raise zlib.error, struct.error, SyntaxError, NotImplementedError and more, so
    everything is caught; therefore only calls into a parser belong inside.
    """
    try:
        yield
    except Exception as error:
        _refuse(
            path,
            f"cannot be read: {part} fails with {type(error).__name__} ({error})",
            "a whole, unencrypted file of the kind its extension names",
            "write, copy or download it again",
        )


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    with path.open("rb") as stream:
        with _parsing(path, "its table of contents"):
            archive = zipfile.ZipFile(stream)
        with archive:
            yield archive


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {info.filename: info for info in archive.infolist() if not info.is_dir()}


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, part: str) -> bytes:
    if info.file_size > _MEMBER_LIMIT:
        _refuse(
            path,
            f"claims {info.file_size / 2**30:.3g} GiB for {part}",
            "at most 1 GiB for one file inside it",
            "make sure the archive can be trusted",
        )
    with _parsing(path, part):
        return archive.read(info)


def _npy(stream: IO[bytes], length: int, path: Path, part: str) -> NDArray[Any]:
    """The array of an open ``.npy`` stream of `length` bytes, its header checked first."""
    with _parsing(path, part):
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
        held = length - stream.tell()
    if dtype.hasobject:
        _refuse(
            path,
            f"holds pickled Python objects in {part}",
            "plain numbers (unpickling can run any program)",
            "save array.astype(float) instead",
        )
    if min(shape, default=0) < 0:
        _refuse(path, f"claims the shape {shape} for {part}", "lengths ≥ 0", "write it again")
    count = math.prod(shape)
    # Capped, since a header can claim more than a float, and so the message, can express.
    _check.size(min(count, 2**62), 1, f"path {str(path)!r}", max(8, dtype.itemsize))
    if count * dtype.itemsize > held:
        _refuse(
            path,
            f"is cut short: {part} has {held} of {count * dtype.itemsize} bytes",
            "a whole file",
            "write, copy or download it again",
        )
    with _parsing(path, part):
        stream.seek(0)
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _flat(array: NDArray[Any], path: Path, part: str) -> NDArray[Any]:
    """(N, ...) as (N, D)."""
    if array.ndim < 2:
        _refuse(
            path,
            f"has the shape {array.shape} in {part}",
            "(N, D), one row per point",
            "for N points on a line save array[:, None], for a single point array[None, :]",
        )
    # Not reshape(N, -1): NumPy cannot infer -1 when N = 0.
    return array.reshape(array.shape[0], math.prod(array.shape[1:]))


def _points_key(path: Path, keys: tuple[str, ...]) -> str:
    named = [key for key in POINT_KEYS if key in keys]
    others = [key for key in keys if key not in (*WEIGHT_KEYS, *LABEL_KEYS)]
    if not named and len(others) != 1:
        _refuse(
            path,
            f"has the arrays {', '.join(map(repr, keys)) or '(none)'}",
            f"the points as {', '.join(map(repr, POINT_KEYS))} or as the only array",
            "save them with np.savez(path, points=...)",
        )
    return named[0] if named else others[0]


def _is_image(name: str) -> bool:
    """Whether an entry counts as an image: by suffix, without macOS's hidden twins."""
    base = PurePosixPath(name).name
    return base.lower().endswith(_SUFFIXES) and not base.startswith(".")


def _image_shape(image: Any, path: Path, part: str) -> tuple[int, int, int]:
    """(height, width, channels) of an image that has been opened, not yet decoded."""
    transparent = "transparency" in image.info
    if image.mode not in _CHANNELS or transparent:
        _refuse(
            path,
            f"has {'transparency' if transparent else f'the mode {image.mode!r}'} in {part}",
            "8-bit grey, RGB or palette images without alpha",
            'flatten each onto a background of your choice and convert it to "RGB" or "L"',
        )
    width, height = image.size
    return height, width, _CHANNELS[image.mode]


def _classes(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], files: list[str], path: Path
) -> NDArray[np.int64] | None:
    """(N,) class of each file by ``dataset.json``, None without one or with ``null`` labels."""
    tables = [name for name in members if PurePosixPath(name).name == "dataset.json"]
    if not tables:
        return None
    if len(tables) > 1:
        _refuse(
            path,
            f"has {len(tables)} files dataset.json",
            "at most one",
            "zip one dataset at a time",
        )
    part = repr(tables[0])
    data = _unpack(archive, members[tables[0]], path, part)
    with _parsing(path, part):
        table = json.loads(data)
    # Names are relative to the table, so that a zipped parent folder still works.
    labels = _label_table(table, tables[0].removesuffix("dataset.json"), path, part)
    if labels is None:
        return None
    if missing := sorted(labels.keys() - members.keys()):
        _refuse(
            path,
            f"lists {len(missing)} files in {part} that it does not hold, first {missing[0]!r}",
            "labels of files in the archive",
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
        _refuse(
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
