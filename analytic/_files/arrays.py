"""Raw numbers: NumPy's ``.npy`` and ``.npz``, read without unpickling anything.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ._base import Contents, flat, length, parsing, refuse
from ._zip import archive_of, members_of, room_of

__all__ = ["read_npy", "read_npz"]

POINT_KEYS = ("points", "X", "data", "arr_0")
WEIGHT_KEYS = ("weights",)
LABEL_KEYS = ("labels", "y")


def read_npy(path: Path, progress: bool = False) -> Contents:
    """One ``.npy`` array (N, ...) of real numbers."""
    with path.open("rb") as stream:
        array = _npy(stream, length(stream), path, "its array")
    return Contents(flat(array, path, "its array"))


def read_npz(path: Path, progress: bool = False) -> Contents:
    """The points, weights and labels of a ``.npz`` archive; other arrays are not read."""
    with archive_of(path) as archive:
        members = {
            name.removesuffix(".npy"): info
            for name, info in members_of(archive).items()
            if name.endswith(".npy")
        }
        key = _points_key(path, tuple(members))

        def read(name: str) -> NDArray[Any]:
            part = f"its array {name!r}"
            with parsing(path, part):
                stream = archive.open(members[name])
            with stream:
                return _npy(stream, room_of(path, members[name]), path, part)

        def read_first(names: Iterable[str]) -> NDArray[Any] | None:
            found = next((name for name in names if name in members), None)
            return None if found is None else read(found)

        return Contents(
            flat(read(key), path, f"its array {key!r}"),
            read_first(WEIGHT_KEYS),
            read_first(LABEL_KEYS),
        )


def _npy(stream: IO[bytes], room: int, path: Path, part: str) -> NDArray[Any]:
    """The array of an open ``.npy`` stream of at most `room` bytes, its header checked first."""
    with parsing(path, part):
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
        held = room - stream.tell()
    if dtype.hasobject:
        refuse(
            path,
            f"holds pickled Python objects in {part}",
            "plain numbers (unpickling can run any program)",
            "save array.astype(float) instead",
        )
    if min(shape, default=0) < 0:
        refuse(path, f"claims the shape {shape} for {part}", "lengths ≥ 0", "write it again")
    count = math.prod(shape)
    # Capped, since a header can claim more than a float, and so the message, can express.
    _check.size(min(count, 2**62), 1, f"path {str(path)!r}", max(8, dtype.itemsize))
    if count * dtype.itemsize > held:
        refuse(
            path,
            f"is cut short: {part} has {held} of {count * dtype.itemsize} bytes",
            "a whole file",
            "write, copy or download it again",
        )
    with parsing(path, part):
        stream.seek(0)
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _points_key(path: Path, keys: tuple[str, ...]) -> str:
    named = [key for key in POINT_KEYS if key in keys]
    others = [key for key in keys if key not in (*WEIGHT_KEYS, *LABEL_KEYS)]
    if not named and len(others) != 1:
        refuse(
            path,
            f"has the arrays {', '.join(map(repr, keys)) or '(none)'}",
            f"the points as {', '.join(map(repr, POINT_KEYS))} or as the only array",
            "save them with np.savez(path, points=...)",
        )
    return named[0] if named else others[0]
