"""Outcomes of checks, and files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from . import _check

__all__ = ["Status", "plain", "where", "write_atomic"]


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
    """Write a file through a temporary one beside it, so that it is never seen half-written."""
    target = _check.path(path)
    kind: type[OSError] = FileNotFoundError
    if target.is_dir():
        kind = IsADirectoryError
    elif target.parent.exists():
        kind = NotADirectoryError
    where(target, kind=kind)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


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
