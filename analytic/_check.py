"""Argument validation: one voice for errors.

Every public function hands its arguments to this module before it does any
work. A bad value raises `TypeError` (wrong kind of thing) or `ValueError`
(right kind, wrong value) with one sentence that names the argument, what came,
what was expected and what to do about it.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "array",
    "choice",
    "fail",
    "flag",
    "having",
    "indices",
    "instance",
    "integer",
    "mapping",
    "number",
    "path",
    "queries",
    "raw",
    "seed",
    "shaped",
    "show",
    "sigma",
    "size",
    "text",
    "words",
]

Floats = NDArray[np.float64]
T = TypeVar("T")

SIGMA_LIMIT = 1e150
"""Largest σ (and coordinate magnitude) whose square is still a finite float64."""


def show(value: object) -> str:
    """A value as it appears in an error message: short, on one line."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    try:
        words = " ".join(repr(value).split())
    except Exception:  # some objects cannot say what they are, nor very long integers
        words = f"a {type(value).__name__}"
    return words if len(words) <= 80 else words[:77] + "..."


def fail(
    argument: str, came: str, expected: str, remedy: str, kind: type[Exception] = ValueError
) -> NoReturn:
    """Raise `kind` in the project's one format."""
    raise kind(f"{argument}: got {came}, expected {expected}; {remedy}.")


def number(
    value: Any,
    argument: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    remedy: str = "pass a number in that range",
) -> float:
    """A finite real scalar in [low, high] ((low, high] with `open_low`) as a Python float."""
    try:
        scalar = np.asarray(value)
    except Exception:  # whatever a stranger's `__array__` raises
        scalar = np.empty(0)
    if scalar.ndim != 0 or scalar.dtype.kind not in "fiu" or np.ma.is_masked(value):
        fail(argument, show(value), "one real number", remedy, TypeError)
    result = float(scalar)
    within = (low < result if open_low else low <= result) and result <= high
    if not (math.isfinite(result) and within):
        bracket = "(" if open_low else "["
        fail(argument, show(value), f"a finite number in {bracket}{low:g}, {high:g}]", remedy)
    return result


def integer(
    value: Any,
    argument: str,
    *,
    low: int = 0,
    high: int = 2**62,
    remedy: str = "pass a whole number in that range",
) -> int:
    """An integer in [low, high]; booleans and floats are refused."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        fail(argument, show(value), "a whole number", remedy, TypeError)
    result = int(value)
    if not low <= result <= high:
        fail(argument, show(value), f"a whole number in [{low}, {high}]", remedy)
    return result


def flag(value: Any, argument: str) -> bool:
    """A true boolean."""
    if not isinstance(value, (bool, np.bool_)):
        fail(argument, show(value), "True or False", "pass a boolean", TypeError)
    return bool(value)


def seed(value: Any, argument: str = "seed") -> int:
    """A non-negative integer seed: every random choice is explicit."""
    return integer(value, argument, low=0, remedy="pass a non-negative whole number")


def text(value: Any, argument: str) -> str:
    """A string."""
    if not isinstance(value, str):
        fail(argument, show(value), "a string", "pass a name", TypeError)
    return value


def choice(value: Any, argument: str, options: Iterable[str]) -> str:
    """One of the named options; the error lists them and suggests the nearest."""
    names = list(options)
    word = text(value, argument)
    if word not in names:
        near = difflib.get_close_matches(word, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "pick one of these"
        fail(argument, show(word), f"one of {', '.join(names)}", hint)
    return word


def words(value: Any, argument: str) -> list[str]:
    """Some strings; one string alone is not taken for its letters."""
    try:
        # what says that it can be gone through need not keep its word
        items = None if isinstance(value, (str, bytes, Mapping)) else list(value)
    except TypeError:
        items = None
    if items is None:
        fail(argument, show(value), "a list of names", "put them into a list", TypeError)
    return [text(each, argument) for each in items]


def mapping(value: Any, argument: str) -> dict[str, Any]:
    """Anything by names."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        fail(argument, show(value), "a dict from names", "name what each is", TypeError)
    return dict(value)


def instance(value: Any, argument: str, kind: type[T], remedy: str) -> T:
    """An object of a class of ours, or of a library's."""
    if not isinstance(value, kind):
        fail(
            argument,
            show(value),
            f"{'an' if kind.__name__[0] in 'AEIO' else 'a'} {kind.__name__}",
            remedy,
            TypeError,
        )
    return value


def having(value: Any, argument: str, names: tuple[str, ...], what: str) -> Any:
    """Anything that has what is read of it."""
    if lacks := [name for name in names if getattr(value, name, None) is None]:
        fail(argument, show(value), what, f"it has no {', '.join(lacks)}", TypeError)
    return value


def path(value: Any, argument: str = "path") -> Path:
    """A path that a file system can be asked for."""
    if not isinstance(value, (str, os.PathLike)):
        fail(argument, show(value), "a path", "pass a string or a pathlib.Path", TypeError)
    name = os.fspath(value)
    try:
        fine = isinstance(name, str) and "\0" not in name and bool(os.fsencode(name))
    except UnicodeEncodeError:
        fine = False
    if not fine:
        fail(argument, ascii(name), "a path of characters that files can have", "name another one")
    return Path(name)


def indices(value: Any, count: int, argument: str) -> Any:
    """What picks some of `count` things: whole numbers, a mask (count,), a slice, or one."""
    if isinstance(value, slice):
        return value
    found = raw(value, argument)
    if found.shape == (0,) and found.dtype == np.float64:
        found = found.astype(np.intp)  # an empty list
    mask = found.dtype.kind == "b"
    if not (mask and found.shape == (count,)) and (mask or found.dtype.kind not in "iu"):
        fail(
            argument,
            show(value),
            f"whole numbers, or a mask of shape ({count},)",
            "index what there is",
            TypeError,
        )
    if not mask and found.size and not (-count <= found.min() and found.max() < count):
        worst = found.max() if found.max() >= count else found.min()
        fail(argument, str(worst), f"indices below {count}", "index what there is")
    return found if found.ndim else int(found)


def size(rows: int, columns: int, argument: str, itemsize: int = 8) -> None:
    """Refuse a (rows, columns) array that this machine cannot hold, before it is allocated."""
    needed = rows * columns * itemsize
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # pragma: no cover - not on this platform
        memory = 2**40
    if needed > memory:
        fail(
            argument,
            f"{rows} x {columns} numbers of {itemsize} bytes",
            f"at most the {memory / 2**30:.3g} GiB of memory here",
            "ask for fewer points or dimensions",
        )


def raw(value: Any, argument: str) -> NDArray[Any]:
    """Any array-like as an array, of whatever it holds."""
    try:
        if not hasattr(value, "__array__") and hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except Exception as error:  # whatever a stranger's `__array__` raises
        raise TypeError(
            f"{argument}: got {type(value).__name__} that NumPy cannot read ({error}), "
            "expected an array; pass a rectangular one on the CPU."
        ) from error


def array(value: Any, argument: str, *, finite: bool = True) -> NDArray[Any]:
    """Any array-like of real numbers as a float32 or float64 NumPy array (a view if it can be).

    Lists, views, read-only and Fortran arrays, torch CPU tensors and anything
    with `__array__` or DLPack are accepted; integers become float64. Objects,
    strings, booleans, complex numbers and masked entries are refused.
    """
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            fail(argument, "a masked array", "no masked entries", "fill or drop them first")
        value = value.data
    result = raw(value, argument)
    if result.dtype.kind not in "fiu":
        fail(
            argument,
            show(result),
            "an array of real numbers",
            "convert it to float64 first",
            TypeError,
        )
    if result.dtype not in (np.float32, np.float64) or not result.dtype.isnative:
        result = result.astype(np.float32 if result.dtype == np.dtype(">f4") else np.float64)
    if finite and not np.isfinite(result).all():
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(result))[0])
        fail(
            argument,
            f"{result[where]} at index {where if len(where) != 1 else where[0]}",
            "finite numbers only",
            "remove or replace NaN and infinite entries",
        )
    return result


def shaped(
    value: Any, argument: str, shape: tuple[int | None, ...], *, finite: bool = True
) -> Floats:
    """Real numbers of that shape, None for any size, as float64."""
    found = array(value, argument, finite=finite).astype(np.float64, copy=False)
    if len(found.shape) != len(shape) or any(
        size is not None and size != own for size, own in zip(shape, found.shape, strict=True)
    ):
        names = iter("KLMN")
        sizes = [next(names) if size is None else str(size) for size in shape]
        wanted = f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
        fail(argument, f"shape {found.shape}", wanted, "reshape it, or pass what belongs to it")
    return found


def queries(
    value: Any, dim: int, argument: str = "x"
) -> tuple[Floats, tuple[int, ...], np.dtype[Any]]:
    """Query points as a contiguous float64 (B, D) array, with the caller's shape and dtype.

    A single (D,) query counts as a batch of one.
    """
    given = array(value, argument)
    if given.ndim not in (1, 2) or given.shape[-1] != dim:
        fail(
            argument,
            f"shape {given.shape}",
            f"(B, {dim}) or ({dim},)",
            "give one row per query, as wide as the data points",
        )
    batch = np.require(given.reshape(-1, dim), np.float64, ["C", "W"])
    if batch.size and max(float(batch.max()), -float(batch.min())) > SIGMA_LIMIT:
        fail(argument, f"|{argument}| up to {np.abs(batch).max():g}", "at most 1e150", "rescale")
    return batch, given.shape, given.dtype


def sigma(value: Any, count: int, *, zero: bool = False, argument: str = "sigma") -> Floats:
    """Noise levels, a scalar or one per query, as a float64 (count,) array.

    `zero` says whether σ = 0, the limit, has a meaning for the caller.
    """
    given = array(value, argument, finite=False).astype(np.float64)
    if given.shape not in ((), (1,), (count,)):
        fail(
            argument,
            f"shape {given.shape}",
            f"a number or shape ({count},)",
            "give one noise level for all queries or one per query",
        )
    bad = ~((given >= 0 if zero else given > 0) & (given <= SIGMA_LIMIT))
    if bad.any():
        worst = float(np.atleast_1d(given)[np.atleast_1d(bad)][0])
        bound = "≥ 0" if zero else "> 0"
        hint = (
            "σ = 0 has no value here, only as a limit of the denoiser itself"
            if worst == 0
            else "pass the noise level σ itself, not its logarithm or square"
        )
        fail(argument, repr(worst), f"a finite number {bound}, at most 1e150", hint)
    return np.array(np.broadcast_to(given.reshape(-1), (count,)))
