"""Independent jobs on several processes, with one progress bar over all of them.

A job is `function(item, advance)`; it calls `advance(1)` for every unit it
finishes. Workers are spawned, share nothing, and use one thread each. On Ctrl-C
they are stopped at once, and they leave by themselves when their parent is gone, killed
say: what a job writes it must write atomically.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any, TypeVar

from ._progress import Advance, bar
from .kernels import threads

__all__ = ["run"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_POLL = 0.1
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class _Channel:
    """The queue on which a worker tells of finished units."""

    queue: Any = None


def run(
    function: Callable[[Item, Advance], Result],
    items: Sequence[Item],
    processes: int,
    *,
    units: int,
    title: str,
) -> list[Result]:
    """Results in the order of the items; `units` is how many moves the bar will make."""
    count = min(processes, len(items))
    with bar(units, title, True) as advance:
        if count <= 1:
            return [function(item, advance) for item in items]
        context = multiprocessing.get_context("spawn")
        queue = context.SimpleQueue()
        with _one_thread_each(), _uninterrupted():
            pool = context.Pool(count, _start, (queue, context.Lock()))
        with pool:
            workers = multiprocessing.active_children()
            waiting = pool.starmap_async(_job, [(function, item) for item in items], 1)
            while True:
                waiting.wait(_POLL)
                ready = waiting.ready()
                while not queue.empty():
                    advance(queue.get())
                if ready:
                    return waiting.get()
                if not all(worker.is_alive() for worker in workers):
                    raise ChildProcessError(
                        "a worker process died, perhaps for want of memory; use fewer processes"
                    )


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start here give matrix products one thread, unless the user says otherwise:
    the pools of several processes keep each other's threads waiting.
    """
    ours = [name for name in _POOLS if name not in os.environ]
    os.environ.update(dict.fromkeys(ours, "1"))
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that start here do not hear of Ctrl-C, even before they know what they are for.

    A Ctrl-C meanwhile waits until the end.
    """
    if not hasattr(signal, "pthread_sigmask"):  # pragma: no cover - not on this platform
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(queue: Any, speaker: Any) -> None:
    # the parent answers Ctrl-C for all of them
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_leave_with_parent, daemon=True).start()
    _Channel.queue = queue
    threads.set_num_threads(1)
    if not speaker.acquire(block=False):
        # that one worker says for all of them
        warnings.filterwarnings("ignore", "compiled kernels cannot be kept")


def _leave_with_parent() -> None:
    """End this process, whatever it does, when the one that started it is no more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _job(function: Callable[[Item, Advance], Result], item: Item) -> Result:
    return function(item, _Channel.queue.put)
