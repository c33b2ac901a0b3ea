"""IDX, the format of MNIST and its kin, plain or gzipped, with the labels found beside it.

Big-endian: two zero bytes, the type of the numbers, the number of axes, the length of each
axis (32 bits each), the numbers. Unsigned bytes are pixels: v becomes v/127.5 - 1. Numbers of
the other types stay as they are.

Format: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import math
import os
import re
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._progress import bar
from ._base import (
    BLOCK,
    DEFLATE_LIMIT,
    Contents,
    Stream,
    length,
    parsing,
    refuse,
    scale,
    take,
    unzipped,
)

__all__ = ["NAME", "read_idx"]

NAME = r"(?:(?:^|.*[-._])idx\d(?:-[a-z]+)?|.*\.idx)(?:\.gz)?$"
"""File names that mean IDX: train-images-idx3-ubyte, t10k-images.idx3-ubyte.gz, mine.idx."""

_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}


class _Header(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def read_idx(path: Path, progress: bool = False) -> Contents:
    """One array (N, ...) with the labels of the file beside it, if there is one.

    Beside ``train-images-idx3-ubyte`` that is ``train-labels-idx1-ubyte``, with or without
    ``.gz``; a name without "images" has none.
    """
    header, numbers = _read(path, path, "its array", progress, pixels=True)
    if len(header.shape) < 2:
        refuse(
            path,
            f"has the shape {header.shape} in its array",
            "(N, ...), one entry per point",
            "name the file of the images, and its labels are found beside it",
        )
    if not numbers.size:  # lengths beside a zero can exceed what NumPy can shape
        refuse(
            path,
            f"has the shape {header.shape} in its array",
            "at least one point and one coordinate",
            "write it again",
        )
    points = numbers.reshape(header.shape[0], math.prod(header.shape[1:]))
    beside = _labels_beside(path)
    if beside is None:
        return Contents(points)
    part = f"the labels beside it, {beside.name!r},"
    header, labels = _read(beside, path, part, False, pixels=False)
    if header.shape != points.shape[:1] or header.dtype.kind == "f":
        refuse(
            path,
            f"has {points.shape[0]} images, while {part} have the shape {header.shape} "
            f"and the type {header.dtype.name}",
            "one whole number per image",
            "keep the files of one dataset together, or move the labels away",
        )
    return Contents(points, None, labels.astype(np.int64))


def _labels_beside(path: Path) -> Path | None:
    """The file of labels by the usual name, gzipped like the images if both kinds are there."""
    name = path.name.removesuffix(".gz")
    if "images" not in name:
        return None
    name = re.sub(r"idx\d", "idx1", name.replace("images", "labels"))
    names = sorted((name, f"{name}.gz"), key=lambda each: each.endswith(".gz") != _gz(path))
    beside = [path.with_name(each) for each in names]
    found = next((each for each in beside if os.path.lexists(each)), None)
    if found is not None and not found.is_file():  # a pipe would be waited for forever
        refuse(
            path,
            f"has no regular file for the labels beside it, {found.name!r}",
            "labels in a file",
            "copy the labels there, or move them away",
        )
    return found


def _gz(path: Path) -> bool:
    return path.name.endswith(".gz")


def _read(
    file: Path, path: Path, part: str, progress: bool, *, pixels: bool
) -> tuple[_Header, NDArray[Any]]:
    """The header and the numbers, in one row, of a file; errors name `path` and the `part`."""
    with file.open("rb") as packed:
        room = length(packed)
        with parsing(path, part):
            stream = unzipped(packed)
            header, begin = _header(stream)
        count, size = math.prod(header.shape), header.dtype.itemsize
        # Capped, since a header can claim more than a message can express.
        _check.size(min(count, 2**62), 1, f"path {str(path)!r}")
        room = room - begin if stream is packed else DEFLATE_LIMIT * room
        if count * size > room:
            refuse(
                path,
                f"is cut short: {part} has at most {room} of {count * size} bytes",
                "a whole file",
                "write, copy or download it again",
            )
        scaled = pixels and header.dtype == np.uint8
        numbers = np.empty(count, np.float64 if scaled else header.dtype)
        done = 0
        with bar(count, path.name, progress) as advance:
            while done < count:
                end = min(count, done + BLOCK)
                with parsing(path, part):
                    data = b"".join(take(stream, (end - done) * size))
                values = np.frombuffer(data, header.dtype)
                if scaled:
                    scale(values, numbers[done:end])
                else:
                    numbers[done:end] = values
                advance(end - done)
                done = end
        with parsing(path, part):  # asking for more makes gzip compare its checksum
            more = stream.read(1)
        if more:
            refuse(
                path,
                f"goes on after the {count} numbers that {part} claims",
                "one array and nothing else",
                "write, copy or download it again",
            )
        return header, numbers


def _header(stream: Stream) -> tuple[_Header, int]:
    """The header of an IDX stream and its length in bytes."""
    magic = b"".join(take(stream, 4))
    if magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise ValueError(f"it begins with the bytes {magic.hex(' ')}, which is no IDX file")
    axes = magic[3]
    shape = struct.unpack(f">{axes}I", b"".join(take(stream, 4 * axes)))
    return _Header(_TYPES[magic[2]], shape), 4 + 4 * axes
