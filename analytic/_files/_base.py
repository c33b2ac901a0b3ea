"""What every reader needs: its result, its one error, bytes in bounded pieces, pixels as numbers.

A pixel value v in 0..255 becomes v/127.5 - 1.
"""

from __future__ import annotations

import gzip
import importlib
import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _check

__all__ = [
    "BLOCK",
    "DEFLATE_LIMIT",
    "MEMBER_LIMIT",
    "Contents",
    "Reader",
    "Stream",
    "extra",
    "flat",
    "length",
    "parsing",
    "refuse",
    "scale",
    "take",
    "unzipped",
]

MEMBER_LIMIT = 1 << 30
"""Most bytes one image, ``dataset.json`` or CIFAR archive may unpack to: beyond any honest one."""

DEFLATE_LIMIT = 1032
"""Most bytes that one byte of deflate can unpack to: 258, the longest match, in two bits."""

BLOCK = 1 << 20
"""Bytes or numbers handled at a time, so that temporaries stay small next to the result."""


class Contents(NamedTuple):
    """What a file holds: points (N, D) real numbers, weights (N,) and labels (N,) or None."""

    points: NDArray[Any]
    weights: Any = None
    labels: NDArray[Any] | None = None


class Stream(Protocol):
    """Bytes to be read one after the other."""

    def read(self, count: int, /) -> bytes: ...


Reader = Callable[[Path, bool], Contents]
"""A path, and whether to draw a progress bar, to what is there."""


def extra(module: str) -> Any:
    """An optional dependency, imported when first needed; `ImportError` names the remedy."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module.partition('.')[0]} is needed here and cannot be imported ({error}); "
            'pip install "analytic-diffusion[data]".'
        ) from error


def refuse(path: Path, problem: str, expected: str, remedy: str) -> NoReturn:
    """The one error of a file that cannot be read."""
    _check.fail("path", f"{str(path)!r}, which {problem}", expected, remedy)


@contextmanager
def parsing(path: Path, part: str) -> Iterator[None]:
    """Turn whatever a parser throws at damaged bytes into one `ValueError`.

    Parsers raise zlib.error, struct.error, SyntaxError, NotImplementedError and more, so
    everything is caught; therefore only calls into a parser belong inside.
    """
    try:
        yield
    except Exception as error:
        refuse(
            path,
            f"cannot be read: {part} fails with {type(error).__name__} ({error})",
            "a whole, unencrypted file of the kind its name says",
            "write, copy or download it again",
        )


def length(stream: IO[bytes]) -> int:
    """Bytes from the start to the end of a file, which is left at its start."""
    end = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return end


def unzipped(stream: IO[bytes]) -> Stream:
    """The stream as it is, or what it unpacks to if it starts like gzip, whatever its name."""
    magic = stream.read(2)
    stream.seek(0)
    return gzip.GzipFile(fileobj=stream) if magic == b"\x1f\x8b" else stream


def take(stream: Stream, count: int) -> Iterator[bytes]:
    """`count` bytes in pieces of at most `BLOCK`; `EOFError` where the stream ends too early."""
    while count:
        piece = stream.read(min(count, BLOCK))
        if not piece:
            raise EOFError(f"{count} bytes are missing")
        count -= len(piece)
        yield piece


def scale(pixels: NDArray[Any], out: NDArray[np.float64]) -> None:
    """v/127.5 - 1 of each pixel value v, into `out` of the same shape."""
    np.divide(pixels, 127.5, out=out)
    out -= 1


def flat(array: NDArray[Any], path: Path, part: str) -> NDArray[Any]:
    """(N, ...) as (N, D)."""
    if array.ndim < 2:
        refuse(
            path,
            f"has the shape {array.shape} in {part}",
            "(N, D), one row per point",
            "for N points on a line save array[:, None], for a single point array[None, :]",
        )
    # Not reshape(N, -1): NumPy cannot infer -1 when N = 0.
    return array.reshape(array.shape[0], math.prod(array.shape[1:]))
