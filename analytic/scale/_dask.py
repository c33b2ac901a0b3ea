"""Points in the memory of a Dask cluster's workers.

A shard stays where it was loaded, and is asked there as long as that worker lives. Queries are
sent to the scheduler once, and fetched by each worker that is asked; partial results merge on the
workers, in the tree that `folded` makes, and only the last one comes back. Everything is a task
that can be done again: a worker that dies takes no result with it that the others could not make
anew, as long as the array that the points came from can be.

Results have the same bits for any number of workers, and with `method="dense"` in more than 64
dimensions those of `stored(array, block=chunk)`, which sums the same way; in fewer, workers sum in
registers, and other methods keep trees of their shards, where a block that is read anew each time
is summed as it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ..kernels.threads import limited
from ._points import AwayPoints, Shard, logs_of, normalised, relative_weights
from ._tree import folded

__all__ = ["ShardedPoints", "connect", "connected", "sharded"]

Floats = NDArray[np.float64]
Part = TypeVar("Part")

MOST = 1 << 20
"""Numbers in a batch of queries: 8 MB, which a scheduler takes without complaint."""
PIECE = 1 << 20
"""Bytes of an array from which on it is sent by itself."""
FAN = 8
"""Partial results that one task merges: three levels of the tree."""
PATIENCE = 30.0
"""Seconds to wait for a worker where there is none."""
LOOK = 0.5
"""Seconds between looks at the cluster while a result is awaited."""
ANSWER = 5.0
"""Seconds that a scheduler may take to say which workers there are."""
GONE = "the connection to the scheduler is gone"


class _Known:
    """The client that arrays of Dask are computed with."""

    client: Any = None


def connect(client: Any) -> Any:
    """Use a cluster: from now on the points of Dask arrays stay with its workers.

    Parameters
    ----------
    client : a `distributed.Client`, a cluster such as `LocalCluster`, or a scheduler's address;
        None to forget the one in use.

    Returns
    -------
    The client.

    Raises
    ------
    ImportError
        without Dask (extra `dask`).
    TypeError, OSError
        for anything else, and where nobody answers at the address.
    """
    if client is None:
        _Known.client = None
        return None
    distributed = _library()
    if isinstance(client, distributed.Client):
        _blocking(client)
        _Known.client = client
    elif isinstance(client, str) or hasattr(client, "scheduler_address"):
        _Known.client = distributed.Client(client, set_as_default=False)
    else:
        _check.fail(
            "client",
            _check.show(client),
            "a distributed.Client, a cluster, or a scheduler's address",
            "start one with distributed.LocalCluster()",
            TypeError,
        )
    return _Known.client


def connected() -> Any:
    """The client in use: that of `connect`, else Dask's own current one, else None."""
    if _Known.client is not None and _Known.client.status == "running":
        return _Known.client
    import sys

    # a client that the caller made has loaded the library
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.default_client()
    except ValueError:
        return None


@dataclass(frozen=True, eq=False, repr=False)
class ShardedPoints(AwayPoints):
    """Weighted points of R^D whose blocks lie in the memory of a cluster's workers."""

    client: Any
    shards: list[Any]
    """A future for each `Shard`."""
    cuts: list[tuple[int, int]]
    width: int
    relative: Floats | None = None
    threads: int = 1
    name: str = "points"
    most: int = MOST
    patience: float = PATIENCE

    def __repr__(self) -> str:
        return f"ShardedPoints({self.name!r}, N={len(self)}, D={self.dim}, shards={len(self.cuts)})"

    @property
    def dim(self) -> int:
        """Dimension D of the space."""
        return self.width

    def at(self, index: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Points (B, D) and log-weights (B,) of some indices.

        Of points of weight zero NaN: workers keep none, but in shards that have no others.
        """
        firsts = np.array([first for first, _ in self.cuts])
        owner = np.searchsorted(firsts, index, side="right") - 1
        asked = {int(k): index[owner == k] for k in np.unique(owner)}
        found, logs = np.empty((len(index), self.dim)), np.empty(len(index))
        for k, (rows, heights) in self.parts(_rows, (), asked).items():
            found[owner == k], logs[owner == k] = rows, heights
        return found, logs

    def parts(
        self, part: Callable[..., Part], common: tuple[Any, ...], asked: Mapping[int, Any]
    ) -> dict[int, Part]:
        """What part(shard, common, asked[k]) is for some blocks, all at once."""
        with self._asking():
            leaves = self._leaves(part, self._sent(common), asked, self._owners(asked))
            done = self._computed([each.task for each in leaves.values()])
            return dict(zip(leaves, done, strict=True))

    def reduced(
        self,
        part: Callable[..., Part],
        merge: Callable[..., Part],
        common: tuple[Any, ...],
        asked: Mapping[int, Any],
        ready: Mapping[int, Part] | None = None,
    ) -> Part:
        """Parts of some blocks merged, merge(left, right, common), in the tree of all blocks."""
        known, count = ready or {}, len(self.cuts)
        if not asked:
            found = _group(merge, [known.get(k) for k in range(count)], common)
            assert found is not None
            return found
        with self._asking():
            sent = self._sent(common)
            owners = self._owners(asked)
            leaves = self._leaves(part, sent, asked, owners)
            held = {k: _Slot(self._sent(each), {}) for k, each in known.items()}
            slots = [_grouped(merge, [held.get(k), leaves.get(k)], sent) for k in range(count)]
            while len(slots) > 1:
                slots = [
                    _grouped(merge, slots[k : k + FAN], sent) for k in range(0, len(slots), FAN)
                ]
            assert slots[0] is not None
            return self._computed([slots[0].task])[0]

    def _sent(self, values: Any) -> Any:
        """A tuple of arrays and other things, somewhere on the cluster.

        As a task and not by `scatter`, so that a worker that is new can have it too; large
        arrays each by themselves, as messages are to stay below 10 MB.
        """
        large = [k for k, each in enumerate(values) if getattr(each, "nbytes", 0) > PIECE]
        pieces = [self.client.submit(_same, values[k], pure=False) for k in large]
        rest = [None if k in large else each for k, each in enumerate(values)]
        return self.client.submit(_whole, type(values), rest, large, pieces, pure=False)

    def _owners(self, asked: Mapping[int, Any]) -> dict[int, dict[str, Any]]:
        """Where to ask shards: the worker that holds it, or any other once that is gone."""
        try:
            held = self._soon(self.client.who_has, [self.shards[k] for k in asked])
            found = held.result(ANSWER)
        except TimeoutError:
            return {}
        names = {k: list(found.get(self.shards[k].key, ())) for k in asked}
        return {k: {"workers": v, "allow_other_workers": True} for k, v in names.items() if v}

    def _leaves(
        self,
        part: Callable[..., Any],
        sent: Any,
        asked: Mapping[int, Any],
        owners: Mapping[int, dict[str, Any]],
    ) -> dict[int, _Slot]:
        import dask

        task, found = dask.delayed(_answer, pure=False), {}
        for k in sorted(asked):
            where = owners.get(k, {})
            with dask.annotate(**where):
                rows = _packed(asked[k])
                found[k] = _Slot(task(part, self.shards[k], sent, rows, self.threads), where)
        return found

    def _soon(self, call: Callable[..., Any], *given: Any) -> Future[Any]:
        """What a method of the client comes to, asked for where its thread runs."""

        async def done() -> Any:
            return await call(*given)

        return asyncio.run_coroutine_threadsafe(done(), self.client.loop.asyncio_loop)

    def _computed(self, tasks: list[Any]) -> list[Any]:
        """Results of all, as long as there is a worker that could make them."""
        futures = self.client.compute(tasks)
        alone: float | None = None
        try:
            # not first awaited and then fetched: a worker may die with its result in between
            coming = self._soon(self.client.gather, futures)
            while not wait([coming], LOOK).done:
                if self.client.status != "running":
                    self._lost(GONE)
                if _workers(self.client):
                    alone = None
                    continue
                alone = alone or time.monotonic()
                if time.monotonic() - alone > self.patience:
                    self._lost(f"no worker was there for {self.patience:g} s")
            return list(coming.result())
        except BaseException:
            # what is of no use any more, as after Ctrl-C
            with suppress(Exception):
                self.client.cancel(futures)
            raise

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Errors of the cluster as ours; those of tasks as they are."""
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        if self.client.status != "running":
            self._lost(GONE)
        try:
            yield
        except ConnectionError:
            raise
        except (CancelledError, KilledWorker, CommClosedError) as error:
            self._lost(f"{type(error).__name__}: {error}", error)
        except Exception as error:
            if self.client.status != "running":
                self._lost(GONE, error)
            raise

    def _lost(self, why: str, cause: BaseException | None = None) -> NoReturn:
        raise ConnectionError(
            f"points: got no answer from the cluster ({why}), expected one from the workers that "
            f"hold {self!r}; start workers, connect again and make the denoiser anew."
        ) from cause


def sharded(
    points: Any,
    weights: Any = None,
    *,
    client: Any = None,
    threads: int = 1,
    patience: float = PATIENCE,
    name: str = "points",
) -> ShardedPoints:
    """Points of a Dask array that stay with a cluster's workers, as `OptimalDenoiser` takes them.

    Parameters
    ----------
    points : (N, ...) Dask array of real numbers; its chunks along the first axis are the shards.
        Of more axes than two, each point is flattened.
    weights : (N,) non-negative, not all zero; optional (default: equal).
    client : a `distributed.Client`; by default that of `connect`, or Dask's current one.
    threads : that share the work of one task. A worker runs as many tasks at once as it has
        threads of its own, so one each keeps it busy; give more to workers of one thread.
    patience : seconds to wait for a worker where there is none, before giving up.
    name : what the set is called in reports.

    Raises
    ------
    ImportError
        without Dask (extra `dask`).
    ValueError, TypeError
        for no client, no Dask array, chunks of unknown size, and anything but real numbers.
    """
    distributed = _library()
    import dask

    if not hasattr(points, "to_delayed") or not hasattr(points, "chunks"):
        _check.fail(
            "points", _check.show(points), "a Dask array", "see dask.array.from_array", TypeError
        )
    if points.ndim < 2:
        _check.fail("points", f"shape {points.shape}", "(N, D)", "give one row per point")
    if any(np.isnan(n) for n in points.shape) or np.isnan(points.chunks[0]).any():
        _check.fail("points", "chunks of unknown size", "known sizes", "call compute_chunk_sizes()")
    if points.dtype.kind not in "fiu":
        _check.fail("points", f"dtype {points.dtype}", "real numbers", "convert it", TypeError)
    if 0 in points.shape:
        _check.fail("points", f"shape {points.shape}", "some points", "add some")
    known = connected() if client is None else client
    if known is None:
        _check.fail("client", "none", "a distributed.Client", "call analytic.scale.connect first")
    _blocking(known)
    given = relative_weights(weights, points.shape[0])
    many = _check.integer(threads, "threads", low=1, high=1024)
    wait_for = _check.number(patience, "patience", low=0.0)
    whole = points.rechunk({k: -1 for k in range(1, points.ndim)})
    sizes = [int(n) for n in whole.chunks[0]]
    ends = np.cumsum(sizes).tolist()
    cuts = list(zip([0, *ends[:-1]], ends, strict=True))
    relative, most = normalised(given), max(1, PIECE // 8)
    blocks = zip(whole.to_delayed().ravel(), cuts, strict=True)
    full = [(block, cut) for block, cut in blocks if cut[0] < cut[1]]

    def share(first: int, last: int) -> Any:
        # piece by piece: the weights of even one shard may be too much for a message
        if relative is None:
            return None
        given = relative[first:last]
        return [known.submit(_same, given[k : k + most]) for k in range(0, len(given), most)]

    task, dim = dask.delayed(_shard, pure=False), int(np.prod(points.shape[1:]))
    # block and shard in one graph, so that the one is let go as soon as the other is made
    held = distributed.futures_of(points)
    shards = [task(block, share(*cut), ends[-1], cut, dim) for block, cut in full]
    return ShardedPoints(
        known,
        _placed(known, shards, [b - a for _, (a, b) in full], bool(held)),
        [cut for _, cut in full],
        dim,
        given,
        many,
        _check.text(name, "name"),
        MOST,
        wait_for,
    )


def _placed(client: Any, tasks: list[Any], sizes: list[int], held: bool) -> list[Any]:
    """Futures of shards, about as many points for every thread of the cluster.

    Neighbours are kept together, so that most partial results merge where they are made.
    What workers hold already is left to Dask, which makes them there.
    """
    workers: dict[str, int] = {}
    with suppress(Exception):
        workers = client.nthreads(callback_timeout=ANSWER)
    if not workers or held:
        return list(client.compute(tasks))
    names = sorted(workers)
    threads_up_to = np.cumsum([workers[name] for name in names])
    middle = np.cumsum(sizes) - 0.5 * np.array(sizes)
    limits = threads_up_to / threads_up_to[-1] * sum(sizes)
    owner = np.minimum(np.searchsorted(limits, middle, side="right"), len(names) - 1)
    load = [np.flatnonzero(owner == k).tolist() for k in range(len(names))]
    found: dict[int, Any] = {}
    for name, mine in zip(names, load, strict=True):
        # with all that they are made of
        where = {"workers": [name], "allow_other_workers": True}
        found.update(zip(mine, client.compute([tasks[k] for k in mine], **where), strict=True))
    shards = [found[k] for k in range(len(tasks))]
    _unpinned(client, [each.key for each in shards])
    return shards


def _unpinned(client: Any, keys: list[Any]) -> None:
    """Let tasks that have been handed out be made anew by any worker.

    Dask keeps one that became ready while no worker was there for the one it was meant for,
    even where others are allowed, and that may never come back.
    """
    end = time.monotonic() + ANSWER
    with suppress(Exception):
        while not client.run_on_scheduler(_lifted, keys) and time.monotonic() < end:
            time.sleep(0.01)


def _lifted(keys: list[Any], dask_scheduler: Any) -> bool:
    """On the scheduler: lift the restrictions of what needs nothing else; False if too early.

    What does need something becomes ready only where there is a worker that holds it.
    """
    due = [dask_scheduler.tasks.get(key) for key in keys]
    if any(each is None for each in due):
        return False
    seen = set()
    while due:
        task = due.pop()
        if task not in seen:
            seen.add(task)
            if not task.dependencies:
                task.worker_restrictions = None
            due.extend(task.dependencies)
    return True


@dataclass(frozen=True)
class _Rows:
    """Numbers of queries from first to end - 1: all, or those whose bit is set."""

    first: int
    end: int
    bits: bytes | None


class _Resident:
    """A shard in a worker's memory, with what methods keep of it; that is not sent on."""

    def __init__(self, points: Floats, logs: Floats, first: int) -> None:
        self.shard = Shard.of(points, logs, first, {"resident": True})

    def __getstate__(self) -> Any:
        return *self.shard[:3], self.shard.rest

    def __setstate__(self, state: Any) -> None:
        points, logs, first, rest = state
        found = Shard.of(np.array(points), np.array(logs), first, {"resident": True})
        self.shard = found._replace(rest=rest)

    def __sizeof__(self) -> int:
        return int(2 * self.shard.points.nbytes)


def _shard(
    block: Any, weights: list[Floats] | None, count: int, cut: tuple[int, int], dim: int
) -> _Resident:
    first, last = cut
    rows = np.array(block, dtype=np.float64, order="C")
    rows = rows.reshape(len(rows), -1)
    if rows.shape != (last - first, dim):
        # what makes a chunk may say what it likes of its shape
        _check.fail(
            "points",
            f"a chunk of {rows.shape[0]} points of {rows.shape[1]} numbers for row {first} on",
            f"the {last - first} of {dim} that the array promises",
            "see how it is made",
        )
    given = None if weights is None else np.concatenate(weights)
    return _Resident(rows, np.array(logs_of(given, count, 0, len(rows))), first)


def _answer(
    part: Callable[..., Part], resident: _Resident, common: Any, asked: Any, shared: int
) -> Part:
    with limited(shared):
        return part(resident.shard, common, _unpacked(asked))


class _Slot(NamedTuple):
    """A task of the tree, and where it is to be done."""

    task: Any
    where: dict[str, Any]


def _grouped(merge: Callable[..., Any], slots: Sequence[_Slot | None], sent: Any) -> _Slot | None:
    """A task that merges neighbours, where most likely they are; none if there is nothing to do."""
    import dask

    there = [each for each in slots if each is not None]
    if len(there) < 2:
        return there[0] if there else None
    where = next((each.where for each in there if each.where), {})
    # with the places of those that are missing, on which the order depends
    parts = [None if each is None else each.task for each in slots]
    with dask.annotate(**where):
        return _Slot(dask.delayed(_group, pure=False)(merge, parts, sent), where)


def _group(merge: Callable[..., Part], slots: list[Part | None], common: Any) -> Part | None:
    return folded(slots, lambda a, b: merge(a, b, common))


def _same(value: Any) -> Any:
    return value


def _whole(kind: Any, values: list[Any], large: list[int], pieces: list[Any]) -> Any:
    for k, piece in zip(large, pieces, strict=True):
        values[k] = piece
    return kind(*values) if hasattr(kind, "_fields") else kind(values)


def _packed(asked: Any) -> Any:
    """Ascending numbers of queries in few bytes; anything else as it is."""
    if not isinstance(asked, np.ndarray) or not asked.size or (np.diff(asked) <= 0).any():
        return asked
    first, last = int(asked[0]), int(asked[-1])
    if last - first + 1 == asked.size:
        return _Rows(first, last + 1, None)
    which = np.zeros(last + 1 - first, dtype=bool)
    which[asked - first] = True
    return _Rows(first, last + 1, np.packbits(which).tobytes())


def _unpacked(asked: Any) -> Any:
    if not isinstance(asked, _Rows):
        return asked
    rows = np.arange(asked.first, asked.end)
    if asked.bits is None:
        return rows
    which = np.unpackbits(np.frombuffer(asked.bits, dtype=np.uint8), count=len(rows))
    return rows[which.astype(bool)]


def _rows(shard: Shard, _: Any, index: NDArray[np.int64]) -> tuple[Floats, Floats]:
    ref = index - shard.first
    if shard.rest is None:
        return shard.points[ref], shard.logs[ref]
    there = np.searchsorted(shard.rest, ref).clip(max=len(shard.rest) - 1)
    gone = shard.rest[there] != ref
    points, logs = shard.points[there], shard.logs[there]
    points[gone], logs[gone] = np.nan, -np.inf
    return points, logs


def _workers(client: Any) -> int:
    """How many workers there are; none where the scheduler does not say."""
    try:
        return len(client.nthreads(callback_timeout=ANSWER))
    except Exception:
        return 0


def _blocking(client: Any) -> None:
    if client.asynchronous:
        _check.fail("client", "an asynchronous one", "one that waits", "leave out asynchronous=")


def _library() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            'points on a cluster need Dask: pip install "analytic-diffusion[dask]"'
        ) from error
    return distributed
