"""Sharing the work of a kernel among threads.

Kernels are compiled without the interpreter lock and take a range of
independent tasks, first to last. The calling thread runs one share itself and a
pool of Python threads the others. Tasks write to places of their own, so
results do not depend on the number of threads.

Numba's own parallel loops are not used: the threads of its usual backend wait
by spinning, and where another process wants the cores that made small calls ten
times slower. Threads here sleep while they wait, may be called from several
Python threads at once, and start afresh after a fork. Matrix products are done by
the BLAS library, from the calling thread and while the pool sleeps: each of the two
pools is as large as its owner was told, and they do not add up.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

from .. import _check

__all__ = ["checked", "get_num_threads", "limited", "set_num_threads", "share"]

VARIABLE = "ANALYTIC_NUM_THREADS"
"""Environment variable with the number of threads to begin with."""

MOST = 1024


class _Pool:
    """The pool, made on first use, and how many threads share a kernel's work."""

    executor: ThreadPoolExecutor | None = None
    size: int = 0
    threads: int | None = None


_LIMIT: ContextVar[int | None] = ContextVar("analytic_threads", default=None)


def get_num_threads() -> int:
    """Threads that share the work of a call.

    By default ANALYTIC_NUM_THREADS, or else the cores that this process may use.
    """
    if _Pool.threads is None:
        _Pool.threads = _first()
    return _Pool.threads


def set_num_threads(threads: int) -> None:
    """Set how many threads, from 1 to 1024, share the work of a call, in the whole process.

    It changes the speed and no result. `threads=` of `OptimalDenoiser` and `integrate`
    goes before it. The threads of the BLAS library's matrix products are its own: set
    them with OPENBLAS_NUM_THREADS or threadpoolctl.
    """
    _Pool.threads = _check.integer(threads, "threads", low=1, high=MOST)
    _forget()


def checked(threads: Any) -> int | None:
    """A number of threads as an argument, None for that of the process."""
    return None if threads is None else _check.integer(threads, "threads", low=1, high=MOST)


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """So many threads within; None changes nothing. Of limits one inside another the least counts.

    For the calling thread alone: other Python threads have limits of their own.
    """
    if threads is None:
        yield
        return
    outer = _LIMIT.get()
    token = _LIMIT.set(threads if outer is None else min(threads, outer))
    try:
        yield
    finally:
        _LIMIT.reset(token)


def share(kernel: Callable[..., None], tasks: int, work: int, *arrays: Any) -> None:
    """Run kernel(first, last, *arrays) over all tasks; `work` is in numbers read."""
    # waking a thread costs as much as reading some hundred thousand numbers
    shares = max(1, min(_LIMIT.get() or get_num_threads(), tasks, work // _WORTH_A_THREAD))
    cuts = [tasks * k // shares for k in range(shares + 1)]
    others: list[Future[None]] = []
    try:
        for a, b in pairwise(cuts[1:]):
            others.append(_executor(shares - 1).submit(kernel, a, b, *arrays))
    except RuntimeError as error:
        # functions that Python calls at its very end find the pool closed: all is done here then
        if others or "shutdown" not in str(error):
            raise
        cuts = [0, tasks]
    kernel(cuts[0], cuts[1], *arrays)
    for each in others:
        each.result()


_WORTH_A_THREAD = 250_000


def _executor(size: int) -> ThreadPoolExecutor:
    found = _Pool.executor
    if found is None or _Pool.size < size:
        _Pool.size = max(size, get_num_threads() - 1)
        found = _Pool.executor = ThreadPoolExecutor(_Pool.size, "analytic")
    return found


def _first() -> int:
    given = os.environ.get(VARIABLE, "").strip()
    if given.isascii() and given.isdigit():
        return min(max(1, int(given)), MOST)
    if given:
        warnings.warn(
            f"{VARIABLE}: got {given!r}, expected a whole number from 1 to {MOST}; "
            "all cores are used, correct or unset it.",
            RuntimeWarning,
            stacklevel=3,
        )
    return _cores()


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # pragma: no cover - not on this platform
        return os.cpu_count() or 1


def _forget() -> None:
    _Pool.executor = None
    _Pool.size = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
