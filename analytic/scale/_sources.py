"""Where rows of numbers are read from: files and arrays that are not in memory.

A file is read, not mapped: reading tells when bytes are missing, where a mapped file that
was cut short ends the process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _check

__all__ = ["ArraySource", "FileSource", "Source", "ahead", "of", "sliced", "source"]

Floats = NDArray[np.float64]

ELSEWHERE = ("zarr", "dask", "h5py", "tensorstore")
"""Libraries whose arrays are read slice by slice."""

PIECE = 1 << 20
"""Bytes that are read from a file at a time."""


class Source(Protocol):
    """Rows of numbers that can be read in pieces, by several threads at once."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""

    @property
    def label(self) -> str:
        """What to call it in messages."""

    @property
    def chunk(self) -> int:
        """Rows that are read together, whichever of them are asked for."""

    @property
    def ends(self) -> tuple[int, ...] | None:
        """Row after the last of each block, where the array says what its blocks are."""

    def read(self, first: int, last: int) -> Floats:
        """Rows first to last - 1, as float64 (last - first, D) of the caller's own."""


@dataclass(frozen=True)
class FileSource:
    """Rows of one type that lie in a file one after another."""

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    offset: int

    @property
    def label(self) -> str:
        """The path."""
        return repr(str(self.path))

    @property
    def chunk(self) -> int:
        """One: a file has no chunks."""
        return 1

    @property
    def ends(self) -> None:
        """None: so many rows as fit."""

    def read(self, first: int, last: int) -> Floats:
        """Rows, converted piece by piece while they are in the processor's cache."""
        found = np.empty((last - first, self.shape[1]))
        numbers, size = found.reshape(-1), self.dtype.itemsize
        start = self.offset + first * self.shape[1] * size
        buffer = np.empty(max(1, PIECE // size), dtype=self.dtype)
        bytes_of = memoryview(buffer.view(np.uint8).data)
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(start)
            for done in range(0, numbers.size, buffer.size):
                piece = numbers[done : done + buffer.size]
                self._fill(stream, bytes_of[: piece.size * size])
                piece[:] = buffer[: piece.size]
        return found

    def _fill(self, stream: Any, view: memoryview) -> None:
        got = 0
        while got < len(view):
            size = stream.readinto(view[got:])
            if not size:
                _check.fail(
                    "points",
                    f"{self.label} cut short: {stream.tell()} bytes",
                    f"{self.offset + self.shape[0] * self.shape[1] * self.dtype.itemsize}",
                    "restore the file",
                )
            got += size


@dataclass(frozen=True, eq=False)
class ArraySource:
    """An array that is read by slices: in memory, mapped, or of zarr, h5py or Dask."""

    array: Any
    label: str

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D), of more axes the first and all others."""
        first, *rest = self.array.shape
        return int(first), prod(int(n) for n in rest)

    @property
    def chunk(self) -> int:
        """Rows of a chunk, of unequal ones the most; 1 where there are none."""
        first, *_ = getattr(self.array, "chunks", None) or (1,)
        return int(max(first) if isinstance(first, tuple) else first)

    @property
    def ends(self) -> tuple[int, ...] | None:
        """Row after the last of each chunk of a Dask array, but for empty ones."""
        if not of(self.array, "dask"):
            return None
        ends = np.cumsum([n for n in self.array.chunks[0] if n])
        return tuple(int(end) for end in ends)

    def read(self, first: int, last: int) -> Floats:
        """Rows, by one slice."""
        try:
            found = np.asarray(self.array[first:last])
        except (OSError, RuntimeError, KeyError) as error:
            raise ValueError(
                f"points: got {self.label}, of which rows {first} to {last - 1} cannot be read "
                f"({error}), expected a whole array; restore it."
            ) from error
        if len(found) != last - first:
            _check.fail(
                "points", f"{self.label} cut short at row {first + len(found)}",
                f"{self.shape[0]} rows", "restore it",
            )  # fmt: skip
        return np.array(found.reshape(last - first, self.shape[1]), dtype=np.float64, order="C")


def of(value: Any, *libraries: str) -> bool:
    """Whether a value's type is of one of these libraries."""
    return type(value).__module__.split(".")[0] in libraries


def source(value: Any) -> Source | None:
    """How a value's rows are read piece by piece; None for what belongs in memory.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        for a file that is missing, damaged, or not of real numbers.
    """
    if isinstance(value, (str, os.PathLike)):
        return _npy(Path(value))
    if isinstance(value, np.memmap):
        return _mapped(value)
    if of(value, *ELSEWHERE):
        return _checked(ArraySource(value, f"an array of {type(value).__module__.split('.')[0]}"))
    return None


def sliced(value: Any) -> Source:
    """Any array by slices, one in memory too."""
    return source(value) or _checked(ArraySource(_check.array(value, "points"), "an array"))


def ahead(rows: Source, cuts: list[tuple[int, int]]) -> Iterator[Floats]:
    """The pieces of a source in order, the next one being read while one is worked on."""
    if not cuts:
        return
    with ThreadPoolExecutor(1, "analytic-read") as reader:
        coming = reader.submit(rows.read, *cuts[0])
        for cut in cuts[1:]:
            piece = coming.result()
            coming = reader.submit(rows.read, *cut)
            yield piece
            del piece
        yield coming.result()


def _npy(path: Path) -> Source:
    if path.suffix.lower() != ".npy":
        _check.fail(
            "points",
            repr(str(path)),
            "a PointSet, an (N, D) array, or the path of a .npy file",
            "load other files with analytic.datasets.load",
            TypeError,
        )
    shown = repr(str(path))
    if not path.exists():
        _check.fail("points", shown, "an existing file", "check the spelling", FileNotFoundError)
    if not path.is_file():
        _check.fail("points", f"{shown}, which is no regular file", "a .npy file", "name a file")
    try:
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = header(stream)
            offset = stream.tell()
    except (ValueError, KeyError, EOFError) as error:
        raise ValueError(
            f"points: got {shown}, which is no .npy file ({error}), expected an array saved by "
            "np.save; save it again."
        ) from error
    if any(n < 0 for n in shape):
        _check.fail("points", f"{shown} of shape {shape}", "no negative sizes", "save it again")
    needed = offset + prod(shape) * dtype.itemsize
    if path.stat().st_size < needed:
        _check.fail(
            "points",
            f"{shown} cut short: {path.stat().st_size} bytes",
            f"the {needed} that its header promises",
            "restore the file",
        )
    if fortran and len(shape) > 1:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        return _checked(ArraySource(mapped, shown))
    return _of_rows(path, shape, dtype, offset)


def _mapped(value: np.memmap[Any, Any]) -> Source:
    import mmap

    # only a map itself, no view of one, says where its rows lie; and where changes stay in
    # memory (mode "c"), or the file has no name any more, it alone has the rows
    whole = isinstance(value.base, mmap.mmap) and value.flags.c_contiguous
    if whole and value.mode != "c" and value.filename and Path(value.filename).is_file():
        if value.ndim < 2:
            _refuse(value.shape)
        return _of_rows(Path(value.filename), value.shape, value.dtype, int(value.offset))
    return _checked(ArraySource(value, f"a map of {str(value.filename)!r}"))


def _of_rows(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int) -> Source:
    if len(shape) < 2:
        _refuse(shape)
    found = FileSource(path, (shape[0], prod(shape[1:])), dtype, offset)
    return _typed(found, dtype)


def _checked(found: ArraySource) -> Source:
    shape = getattr(found.array, "shape", None)
    if not isinstance(shape, tuple):
        _check.fail("points", found.label, "an array with a shape", "convert it", TypeError)
    if any(n != n for n in shape):
        _check.fail("points", "chunks of unknown size", "known sizes", "call compute_chunk_sizes()")
    if len(shape) < 2:
        _refuse(shape)
    return _typed(found, np.dtype(found.array.dtype))


def _typed(found: Source, dtype: np.dtype[Any]) -> Source:
    if dtype.kind not in "fiu":
        _check.fail(
            "points", f"{found.label} of dtype {dtype}", "real numbers", "convert it", TypeError
        )
    if 0 in found.shape:
        _check.fail("points", f"{found.label} of shape {found.shape}", "some points", "add some")
    return found


def _refuse(shape: tuple[int, ...]) -> None:
    _check.fail("points", f"shape {shape}", "(N, D) or more axes", "give one row per point")
