"""Outcomes of checks, and files that appear whole or not at all."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from . import _check

try:
    import fcntl
except ImportError:  # pragma: no cover - not on this platform
    fcntl = None  # type: ignore[assignment]

__all__ = ["Status", "plain", "where", "write_atomic"]


PART = ".part"
"""How the names of temporary files end."""


class Status(StrEnum):
    """Outcome of a check."""

    HOLDS = "HOLDS"
    FAILS = "FAILS"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_TESTED = "NOT_TESTED"


def where(path: Any, argument: str = "path", kind: type[Exception] = ValueError) -> Path:
    """A path to a file in a folder that is there."""
    target = _check.path(path, argument)
    if not target.parent.is_dir() or target.is_dir():
        _check.fail(
            argument, repr(str(path)), "a file in an existing folder", "make the folder", kind
        )
    return target


def write_atomic(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file through a temporary one beside it, so that it is never seen half-written.

    What a process that was killed has left of earlier attempts at the same file is removed.
    """
    target = _check.path(path)
    kind: type[OSError] = FileNotFoundError
    if target.is_dir():
        kind = IsADirectoryError
    elif target.parent.exists():
        kind = NotADirectoryError
    where(target, kind=kind)
    _sweep(target)
    while not _written(target, content):
        pass


def _written(target: Path, content: bytes) -> bool:
    """One attempt; it fails only if another process took the temporary file for a left one."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=PART)
    try:
        with os.fdopen(handle, "wb") as stream:
            # the lock says that somebody still writes; the system takes it from the dead
            if fcntl is not None:
                with suppress(OSError):  # not every file system has locks
                    fcntl.flock(handle, fcntl.LOCK_EX)
                if not os.path.exists(name):
                    return False
            stream.write(content)
            stream.flush()
            os.chmod(name, 0o644)
            if fcntl is not None:
                os.replace(name, target)
        if fcntl is None:  # pragma: no cover - where open files cannot be renamed
            os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return True


def _sweep(target: Path) -> None:
    """Remove temporary files of a target that nobody writes any more."""
    if fcntl is None:  # pragma: no cover - without locks nobody can tell
        return
    for left in target.parent.glob(f".{glob.escape(target.name)}.????????{PART}"):
        with suppress(OSError), left.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def plain(value: Any) -> Any:
    """JSON values: arrays become lists, numbers that JSON lacks become strings."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value
