"""How kernels are compiled: one place for the options of Numba.

`strict` leaves every operation as it is written; `sums` may reassociate, so that
reductions become vectors, and `products` may fuse multiplications with additions
as well. `entry` is what Python calls: it runs without the interpreter lock.
`fastmath` is always given, since a function without it takes on that of its first
caller.

The `lean` ones neither allocate nor keep arrays. Numba then leaves out the counting
of references, which costs more than a small function does, and far more where two
threads count the same ones; it is an option without a promise, so that versions
that do not know it do without.

What is compiled is kept in Numba's cache, in a folder that Numba chooses (NUMBA_CACHE_DIR,
else beside the source, else the user's), unless ANALYTIC_CACHE is `off`. A kept function
is found again only while its own source and that of every module here that it uses, and
the choice of plain loops, are the same: Numba itself looks at the function's file alone.
Processes may compile and keep kernels at once.
A cache that cannot be written, or read, costs compilation and one warning, never a result.

With NUMBA_DISABLE_JIT=1 all of it is ordinary Python, for debuggers and coverage: the
same numbers up to rounding, thousands of times slower. Division by zero and overflow
are silent then too, as in compiled code.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np

REASSOCIATE = {"reassoc", "nsz"}
FUSE = REASSOCIATE | {"contract"}

PYTHON = bool(getattr(nb.config, "DISABLE_JIT", False))
"""Whether nothing is compiled."""

PLAIN = PYTHON or bool(os.environ.get("ANALYTIC_PLAIN_KERNELS"))
"""Whether vector code is not wanted, see `intrinsics`."""

try:
    from numba.core.compiler_lock import global_compiler_lock as _compiling
except ImportError:  # pragma: no cover - this is Numba's own part, and may move
    _compiling = None  # type: ignore[assignment]
try:
    from numba.core.caching import FunctionCache, IndexDataCacheFile
except ImportError:  # pragma: no cover - these are Numba's own parts, and may move
    FunctionCache = IndexDataCacheFile = None  # type: ignore[assignment, misc]


KERNELS: list[Any] = []
"""Every compiled function here, as its module is imported."""


class _Warned:
    """Whether the user knows."""

    already = False


def caching() -> bool:
    """Whether compiled kernels are to be kept at all."""
    off = os.environ.get("ANALYTIC_CACHE", "").strip().lower() in ("0", "off", "no", "false")
    return not (off or PYTHON)


def folder() -> str | None:
    """Where compiled kernels are kept; None if there is no such place."""
    if FunctionCache is None or not caching():
        return None
    try:
        return str(FunctionCache(folder).cache_path)
    except (OSError, RuntimeError):
        return None


def _warn(reason: object) -> None:
    """Say, once, that compiled kernels are not kept, and what would help."""
    if not _Warned.already:
        _Warned.already = True
        warnings.warn(
            f"compiled kernels cannot be kept ({reason}), so every process compiles them anew; "
            "set NUMBA_CACHE_DIR to a writable folder, or ANALYTIC_CACHE=off if that is meant.",
            RuntimeWarning,
            stacklevel=2,
        )


def _sources(path: Path) -> list[Path]:
    """A module of this folder and all modules here that it uses, in the order of their names."""
    found, left = {path}, [path]
    while left:
        names = _IMPORTS.findall(left.pop().read_text(encoding="utf-8"))
        near = {path.with_name(f"{name}.py") for name in names} - found
        left += [each for each in near if each.is_file()]
        found |= near
    return sorted(each for each in found if each.is_file())


_IMPORTS = re.compile(r"^from \.(?: import )?(\w+)", re.MULTILINE)


@functools.cache
def _stamp(path: Path) -> str:
    """A digest of these."""
    found = hashlib.sha256()
    for each in _sources(path):
        found.update(each.read_bytes())
    return found.hexdigest()


if FunctionCache is not None:

    class _Files(IndexDataCacheFile):
        """Files of compiled code that are named after what they hold.

        Numba numbers them: two processes that compile one function for different types at
        once may both write number 1, and a third then calls the code of the wrong types.
        """

        def save(self, key: Any, data: Any) -> None:
            """Keep code; whoever saves at the same time may only cause that it is lost."""
            base = self._index_name.removesuffix(".nbi")
            digest = hashlib.sha256(repr((self._source_stamp, key)).encode()).hexdigest()
            name = f"{base}.{digest[:24]}.nbc"
            kept = self._load_index()
            if not kept:  # of other sources
                for path in Path(self._cache_path).glob(f"{base}.*.nbc"):
                    path.unlink(missing_ok=True)
            self._save_data(name, (key, data))
            self._save_index({**kept, key: name})

        def load(self, key: Any) -> Any:
            """Code that was kept for these types, None without."""
            found, data = super().load(key) or (None, None)
            return data if found == key else None

    class _Cache(FunctionCache):
        """Numba's cache, which knows what a kernel is made of and never fails a call."""

        def __init__(self, function: Any) -> None:
            super().__init__(function)
            old = self._cache_file
            stamp = (old._source_stamp, _stamp(Path(inspect.getfile(function))))
            self._cache_file = _Files(self._cache_path, self._impl.filename_base, stamp)

        def _index_key(self, signature: Any, codegen: Any) -> Any:
            return (*super()._index_key(signature, codegen), PLAIN)

        def load_overload(self, signature: Any, target: Any) -> Any:
            try:
                return super().load_overload(signature, target)
            except Exception:
                # half a file, as a full disk or a crash leaves it: as good as none
                return None

        def save_overload(self, signature: Any, result: Any) -> None:
            try:
                super().save_overload(signature, result)
            except Exception:
                self._again(signature, result)

        def _again(self, signature: Any, result: Any) -> None:
            """Without what was there, which may be what stands in the way."""
            try:
                self.flush()
                super().save_overload(signature, result)
            except Exception as error:
                self.disable()
                _warn(error)


def _keep(dispatcher: Any) -> Any:
    """The same compiled function, kept between processes where that is possible."""
    KERNELS.append(dispatcher)
    if not caching():
        return dispatcher
    try:
        if FunctionCache is None:  # pragma: no cover - another version of Numba
            dispatcher.enable_caching()
        else:
            dispatcher._cache = _Cache(dispatcher.py_func)
    except (OSError, RuntimeError) as error:
        # no locator: neither the package's folder nor the user's can be written
        _warn(str(error).partition(":")[2].strip() or error)
    return dispatcher


def _jit(**options: Any) -> Any:
    """The decorator for options, without those that this Numba does not know."""
    if PYTHON:
        return _silent if options.get("nogil") else _same
    decorate = nb.njit(error_model="numpy", **options)
    try:
        decorate(lambda: None)
    except (KeyError, TypeError, ValueError):  # pragma: no cover - another version of Numba
        options.pop("_nrt")
        return _jit(**options)
    return lambda function: _keep(decorate(function))


def _same(function: Any) -> Any:
    return function


def _silent(function: Any) -> Any:
    """What Python calls where nothing is compiled: zero divides and overflows as in kernels."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return call


if _compiling is not None and hasattr(os, "register_at_fork"):
    # a child that is forked while another thread compiles would wait for that for ever
    os.register_at_fork(
        before=_compiling.acquire,
        after_in_parent=_compiling.release,
        after_in_child=_compiling.release,
    )

strict = _jit(fastmath=False)
sums = _jit(fastmath=REASSOCIATE)
products = _jit(fastmath=FUSE)
entry = _jit(fastmath=False, nogil=True)
lean = _jit(fastmath=False, _nrt=False)
lean_fused = _jit(fastmath={"contract"}, _nrt=False)
lean_products = _jit(fastmath=FUSE, _nrt=False)
