"""CIFAR-10 and CIFAR-100 in their binary version: one file, a folder of them, or the ``.tar.gz``.

An image is a record: its label, then 3,072 bytes, the 32 x 32 red values in row-major order,
then green, then blue; here it becomes a row in order H, W, C, v/127.5 - 1. The label is one
byte (0..9) in CIFAR-10, and two in CIFAR-100, the coarse class (0..19) and the fine one
(0..99), of which the fine one is kept.

A folder or archive stands for the training images: data_batch_1.bin to data_batch_5.bin of
CIFAR-10, train.bin of CIFAR-100. The archive is read as a stream and nothing is written to
disk. The Python version is a pickle, which can run any program, and is refused.

Format: Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from .. import _check
from .._progress import bar
from ._base import (
    BLOCK,
    MEMBER_LIMIT,
    Contents,
    Stream,
    parsing,
    refuse,
    scale,
    take,
    unzipped,
)

__all__ = ["is_cifar", "is_pickled", "read_bin", "read_folder", "read_tar", "refuse_pickled"]

_PIXELS = 3 * 32 * 32

_ROWS = 256
"""Images decoded at a time."""

_LARGEST = {1: (9,), 2: (19, 99)}
"""Largest value of each label byte, by how many label bytes there are."""

_TRAIN = {1: tuple(f"data_batch_{k}.bin" for k in range(1, 6)), 2: ("train.bin",)}
_TEST = {1: "test_batch.bin", 2: "test.bin"}
_BARE = {"train", "test", "meta"}
"""Files of CIFAR-100's Python version."""

_KNOWN = {name: kind for kind in _TRAIN for name in (*_TRAIN[kind], _TEST[kind])}


class _Member(NamedTuple):
    """An entry of a tar archive: its name without folders, and whether it is a plain file."""

    name: str
    regular: bool


def is_cifar(path: Path) -> bool:
    """Whether a folder is one of CIFAR's, of either version."""
    names = _files_in(path)
    return any(name in _KNOWN for name in names) or is_pickled(names)


def is_pickled(names: Collection[str]) -> bool:
    """Whether files of these names are of the Python version."""
    alone = any(re.fullmatch(r"data_batch_\d|test_batch|batches\.meta", name) for name in names)
    return alone or set(names) >= _BARE


def refuse_pickled(path: Path, progress: bool = False) -> NoReturn:
    """The reader of the Python version."""
    refuse(
        path,
        "is the Python version of CIFAR, a pickle, which can run any program",
        "the binary version",
        "take cifar-10-binary.tar.gz or cifar-100-binary.tar.gz from the same page",
    )


def read_bin(path: Path, progress: bool = False) -> Contents:
    """The records of one ``.bin`` file; its name or its size tells CIFAR-10 from CIFAR-100."""
    data = _read_file(path, path)
    kind = _KNOWN.get(path.name.lower())
    if kind is None:
        kinds = [k for k in _LARGEST if len(data) % (k + _PIXELS) == 0]
        if len(kinds) != 1:
            refuse(
                path,
                f"has {len(data)} bytes, which "
                + ("fit both CIFAR-10 and CIFAR-100" if kinds else "is no number of records"),
                "CIFAR's records of 3073 bytes, or of 3074 for CIFAR-100",
                "give it the name it was published under, e.g. data_batch_1.bin or train.bin",
            )
        kind = kinds[0]
    return _decode({path.name: data}, kind, path, progress)


def read_folder(path: Path, progress: bool = False) -> Contents:
    """The training images of a folder as it comes out of the archive."""
    kind = _kind(_files_in(path), path)
    batches = {name: _read_file(path / name, path) for name in _TRAIN[kind]}
    return _decode(batches, kind, path, progress)


def read_tar(path: Path, progress: bool = False) -> Contents:
    """The training images of the archive as it is published, in whatever folder inside."""
    wanted = {name for names in _TRAIN.values() for name in names}
    seen: set[str] = set()
    batches: dict[str, bytes] = {}
    with path.open("rb") as packed, parsing(path, "its archive"):
        stream = _Limited(unzipped(packed))
        for member, body in _members(stream):
            if member.name in _KNOWN or is_pickled({member.name}) or member.name in _BARE:
                seen.add(member.name)
            if member.name not in wanted:
                continue
            if not member.regular or member.name in batches:
                raise ValueError(f"{member.name!r} is there twice, or as a link or device")
            batches[member.name] = b"".join(body)
        while stream.read(BLOCK):  # to the end, where gzip compares its checksum
            pass
    kind = _kind(seen, path)
    return _decode({name: batches[name] for name in _TRAIN[kind]}, kind, path, progress)


def _kind(names: Collection[str], path: Path) -> int:
    """Label bytes of the training set among these names: 1 for CIFAR-10, 2 for CIFAR-100."""
    kinds = [kind for kind, each in _TRAIN.items() if any(name in names for name in each)]
    if not kinds and is_pickled(names):
        refuse_pickled(path)
    if len(kinds) != 1:
        refuse(
            path,
            "has the training images of both CIFARs" if kinds else "has no training images",
            "data_batch_1.bin to data_batch_5.bin of CIFAR-10, or train.bin of CIFAR-100",
            "name one .bin file to read that alone",
        )
    if missing := [name for name in _TRAIN[kinds[0]] if name not in names]:
        refuse(
            path,
            f"lacks {', '.join(missing)}",
            "all training images",
            "download it again, or name one .bin file to read that alone",
        )
    return kinds[0]


def _files_in(path: Path) -> set[str]:
    """Names of the files right in a folder."""
    with os.scandir(path) as entries:
        return {entry.name for entry in entries if os.path.isfile(entry.path)}


def _read_file(file: Path, path: Path) -> bytes:
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        # Each byte will be a number of 8 bytes.
        _check.size(size, 1, f"path {str(path)!r}")
        with parsing(path, f"its file {file.name!r}"):
            return b"".join(take(stream, size))


def _decode(batches: Mapping[str, bytes], kind: int, path: Path, progress: bool) -> Contents:
    """The images of files with `kind` label bytes, in order, and their (fine) labels."""
    record = kind + _PIXELS
    for name, data in batches.items():
        if not data or len(data) % record:
            refuse(
                path,
                f"has {len(data)} bytes in {name!r}",
                f"one or more whole records of {record} bytes",
                "copy or download it again",
            )
    count = sum(map(len, batches.values())) // record
    _check.size(count, _PIXELS, f"path {str(path)!r}")
    points, labels = np.empty((count, _PIXELS)), np.empty(count, np.int64)
    row = 0
    with bar(count, path.name, progress) as advance:
        for name, data in batches.items():
            whole = np.frombuffer(data, np.uint8).reshape(-1, record)
            for rows in np.split(whole, range(_ROWS, len(whole), _ROWS)):
                classes, end = rows[:, :kind], row + len(rows)
                if (classes > _LARGEST[kind]).any():
                    refuse(
                        path,
                        f"has the label bytes {classes.max(axis=0).tolist()} in {name!r}",
                        f"at most {list(_LARGEST[kind])}",
                        "make sure it is a file of CIFAR's binary version",
                    )
                planes = rows[:, kind:].reshape(-1, 3, 32, 32)
                scale(planes.transpose(0, 2, 3, 1), points[row:end].reshape(-1, 32, 32, 3))
                labels[row:end] = classes[:, -1]
                advance(len(rows))
                row = end
    return Contents(points, None, labels)


class _Limited:
    """A stream that refuses to unpack to more than `MEMBER_LIMIT` bytes."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._left = stream, MEMBER_LIMIT

    def read(self, count: int) -> bytes:
        data = self._stream.read(count)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {MEMBER_LIMIT / 2**30:.3g} GiB")
        return data


def _members(stream: Stream) -> Iterator[tuple[_Member, Iterator[bytes]]]:
    """What a tar stream holds, one after the other, each with its bytes, to be read at once.

    Not `tarfile`, which reads headers of any length that a header claims, and keeps them all.
    A header is 512 bytes: name 0:100, size in octal 124:136, the sum of its own bytes (with
    spaces in place of itself) 148:156, type 156. Contents are padded to whole 512 bytes; a
    header of zeros is the end. Names beyond 100 bytes come cut short, which CIFAR's are not.

    Format: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html (ustar).
    """
    while any(header := b"".join(take(stream, 512))):
        if _octal(header[148:156]) != sum(header[:148] + b" " * 8 + header[156:]):
            raise ValueError("the checksum of a header is wrong")
        size = _octal(header[124:136])
        name = header[:100].split(b"\0")[0].decode("utf-8", "replace")
        body = take(stream, size)
        yield _Member(name.rpartition("/")[2], header[156:157] in (b"0", b"\0")), body
        for _ in body:
            pass
        for _ in take(stream, -size % 512):
            pass


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not re.fullmatch(b"[0-7]+", digits):
        raise ValueError(f"a header has {field!r} in place of a number")
    return int(digits, 8)
