"""Results kept in a folder, by key."""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._outcome import write_atomic

__all__ = ["Kept", "flat", "nested"]

DAYS = 30
"""What nothing asked for in so many days is forgotten."""


@dataclass(frozen=True)
class Kept:
    """Results by key, each a file that is whole or not there."""

    folder: Path

    def once(self, key: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """What is kept under a key, made first if need be, by one process at a time."""
        found = self.get(key)
        if found is None:
            with self.alone(key):
                found = self.get(key)
                if found is None:
                    result = make()
                    self.put(key, result)
                    found = nested(flat(result))
        return found

    def get(self, key: str) -> dict[str, Any] | None:
        """What was put under a key; None if nothing that can be read."""
        try:
            with np.load(self.used(key), allow_pickle=False) as archive:
                return nested({name: archive[name] for name in archive.files})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, key: str, found: Mapping[str, Any]) -> None:
        """Keep a result."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        arrays: dict[str, Any] = flat(found)
        np.savez(buffer, **arrays)
        write_atomic(self.folder / f"{key}.npz", buffer.getvalue())

    def used(self, key: str) -> Path:
        """Path of a result, whose file's time is when it was last asked for.

        Raises `FileNotFoundError` if there is none.
        """
        path = self.folder / f"{key}.npz"
        os.utime(path)
        return path

    def forget(self, days: float = DAYS) -> None:
        """Remove what nothing asked for in so many days: results of data and code long gone."""
        oldest = time.time() - days * 86_400
        for path in self.folder.glob("*.npz"):
            # another process may remove it first, or have just asked for it
            with suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Alone with a key among processes; without a wait where the system has no such locks."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            import fcntl
        except ImportError:  # pragma: no cover
            yield
            return
        path = self.folder / f".{key}.lock"
        # the system gives the lock back when a process ends, however it ends
        with path.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)


def flat(found: Mapping[str, Any], before: str = "") -> dict[str, NDArray[Any]]:
    """Nested mappings as arrays by names joined with slashes."""
    result: dict[str, NDArray[Any]] = {}
    for name, value in found.items():
        if "/" in _check.text(name, "a name in what compute returns"):
            _check.fail(f"{before}{name}", "a slash", "a name without", "it would be a folder")
        if isinstance(value, Mapping):
            result |= flat(value, f"{before}{name}/")
        else:
            array = np.asarray(value)
            if array.dtype.hasobject:
                what = f"{before}{name}"
                _check.fail(what, _check.show(value), "numbers or text", "keep arrays", TypeError)
            result[f"{before}{name}"] = array
    return result


def nested(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The inverse; what had no axes becomes a Python number or text."""
    result: dict[str, Any] = {}
    for name, array in arrays.items():
        *folders, last = name.split("/")
        place = result
        for each in folders:
            place = place.setdefault(each, {})
        place[last] = array if array.ndim else array.item()
    return result
