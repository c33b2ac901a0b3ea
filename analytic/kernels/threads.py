"""Sharing the work of a kernel among threads.

Kernels are compiled without the interpreter lock and take a range of
independent tasks, first to last. The calling thread runs one share itself and a
pool of Python threads the others. Tasks write to places of their own, so
results do not depend on the number of threads.

Numba's own parallel loops are not used: the threads of its usual backend wait
by spinning, and where another process wants the cores that made small calls ten
times slower. Threads here sleep while they wait, may be called from several
Python threads at once, and start afresh after a fork.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from .. import _check

__all__ = ["get_num_threads", "held", "set_num_threads", "share"]


class _Pool:
    """The pool, made on first use, and how many threads share a kernel's work."""

    executor: ThreadPoolExecutor | None = None
    size: int = 0
    threads: int | None = None


class _Own(threading.local):
    """How many threads share the work of calls from this thread, if that is its own affair."""

    threads: int | None = None


_own = _Own()


def get_num_threads() -> int:
    """Threads that share the work of a call: by default the cores this process may use."""
    if _own.threads is not None:
        return _own.threads
    if _Pool.threads is None:
        given = os.environ.get("ANALYTIC_NUM_THREADS", "")
        _Pool.threads = max(1, int(given)) if given.isdigit() else _cores()
    return _Pool.threads


def set_num_threads(threads: int) -> None:
    """Set how many threads share the work of a call; it changes no result."""
    _Pool.threads = _check.integer(threads, "threads", low=1, high=1024)
    _forget()


@contextmanager
def held(threads: int) -> Iterator[None]:
    """Share the work of calls from this thread alone among so many."""
    before, _own.threads = _own.threads, threads
    try:
        yield
    finally:
        _own.threads = before


def share(kernel: Callable[..., None], tasks: int, work: int, *arrays: Any) -> None:
    """Run kernel(first, last, *arrays) over all tasks; `work` is in numbers read."""
    # waking a thread costs as much as reading some hundred thousand numbers
    shares = max(1, min(get_num_threads(), tasks, work // _WORTH_A_THREAD))
    cuts = [tasks * k // shares for k in range(shares + 1)]
    others = [_executor().submit(kernel, a, b, *arrays) for a, b in pairwise(cuts[1:])]
    kernel(cuts[0], cuts[1], *arrays)
    for each in others:
        each.result()


_WORTH_A_THREAD = 250_000


def _executor() -> ThreadPoolExecutor:
    executor, size = _Pool.executor, max(1, get_num_threads() - 1)
    if executor is None or _Pool.size < size:
        executor = ThreadPoolExecutor(size, "analytic")
        _Pool.executor, _Pool.size = executor, size
    return executor


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # pragma: no cover - not on this platform
        return os.cpu_count() or 1


def _forget() -> None:
    _Pool.executor = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
