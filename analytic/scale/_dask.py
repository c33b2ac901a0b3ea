"""Points in the memory of a Dask cluster's workers.

A shard stays where it was loaded. Queries are sent to the scheduler once, and fetched by each
worker that is asked; partial results merge on the workers, in the tree that `folded` makes, and
only the last one comes back. Everything is a task that can be done again: a worker that dies
takes no result with it that the others could not make anew, as long as the array that the points
came from can be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._lazy import cached_property
from ..kernels.threads import limited
from ._points import AwayPoints, Shard, logs_of, normalised, relative_weights
from ._tree import folded, merged

__all__ = ["ShardedPoints", "connect", "connected", "sharded"]

Floats = NDArray[np.float64]
Part = TypeVar("Part")

MOST = 1 << 20
"""Numbers in a batch of queries: 8 MB, which a scheduler takes without complaint."""
PATIENCE = 30.0
"""Seconds to wait for a worker where there is none."""
LOOK = 0.5
"""Seconds between looks at the cluster while a result is awaited."""


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

    @cached_property
    def weights(self) -> Floats | None:
        """(N,) weights π_i, which sum to one; None where all are equal."""
        return normalised(self.relative)

    def log_weights(self, first: int, last: int) -> Floats:
        """Log-weights of some rows, which sum to one over all points."""
        return logs_of(self.weights, len(self), first, last)

    def at(self, index: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Points (B, D) and log-weights (B,) of some indices."""
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
        futures = self._submitted(part, self._sent(common), asked)
        done = self._gathered(list(futures.values()))
        return dict(zip(futures, done, strict=True))

    def reduced(
        self,
        part: Callable[..., Part],
        merge: Callable[..., Part],
        common: tuple[Any, ...],
        asked: Mapping[int, Any],
        ready: Mapping[int, Part] | None = None,
    ) -> Part:
        """Parts of some blocks merged, merge(left, right, common), in the tree of all blocks."""
        sent, known = self._sent(common), ready or {}
        futures = self._submitted(part, sent, asked)

        def both(a: Any, b: Any) -> Any:
            return self.client.submit(_merge, merge, a, b, sent, pure=False)

        def parts() -> Iterator[Any]:
            for k in range(len(self.cuts)):
                yield merged(known.get(k), futures.get(k), both)

        result = folded(parts(), both)
        assert result is not None
        if not hasattr(result, "key"):
            return result
        return self._gathered([result])[0]

    def _sent(self, common: tuple[Any, ...]) -> Any:
        # as a task and not by `scatter`, so that a worker that is new can have it too
        return self.client.submit(_same, common, pure=False)

    def _submitted(
        self, part: Callable[..., Any], sent: Any, asked: Mapping[int, Any]
    ) -> dict[int, Any]:
        return {
            k: self.client.submit(
                _answer, part, self.shards[k], sent, asked[k], self.threads, pure=False
            )
            for k in sorted(asked)
        }

    def _gathered(self, futures: list[Any]) -> list[Any]:
        """Results of all, as long as there is a worker that could make them."""
        from distributed import wait

        alone: float | None = None
        while True:
            try:
                with self.client.as_current():
                    wait(futures, timeout=LOOK)
                break
            except TimeoutError:
                pass
            if self.client.status != "running":
                self._lost("the connection to the scheduler is gone")
            if _workers(self.client):
                alone = None
                continue
            alone = alone or time.monotonic()
            if time.monotonic() - alone > self.patience:
                self._lost(f"no worker was there for {self.patience:g} s")
        try:
            return list(self.client.gather(futures))
        except (ValueError, TypeError):
            raise
        except Exception as error:
            self._lost(f"{type(error).__name__}: {error}", error)

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
    _library()
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
    given = relative_weights(weights, points.shape[0])
    many = _check.integer(threads, "threads", low=1, high=1024)
    wait_for = _check.number(patience, "patience", low=0.0)
    whole = points.rechunk({k: -1 for k in range(1, points.ndim)})
    sizes = [int(n) for n in whole.chunks[0] if n]
    ends = np.cumsum(sizes).tolist()
    cuts = list(zip([0, *ends[:-1]], ends, strict=True))
    relative = normalised(given)
    count = ends[-1]
    blocks = [block for block in whole.to_delayed().ravel() if block is not None]
    blocks = [b for b, n in zip(blocks, whole.chunks[0], strict=True) if n]
    loaded = known.compute(blocks)
    shards = [
        known.submit(
            _shard,
            block,
            None if relative is None else relative[first:last],
            count,
            first,
            pure=False,
        )
        for block, (first, last) in zip(loaded, cuts, strict=True)
    ]
    width = int(np.prod(points.shape[1:]))
    return ShardedPoints(
        known, shards, cuts, width, given, many, _check.text(name, "name"), MOST, wait_for
    )


class _Resident:
    """A shard in a worker's memory, with what methods keep of it; that is not sent on."""

    def __init__(self, points: Floats, logs: Floats, first: int) -> None:
        points.flags.writeable = logs.flags.writeable = False
        self.shard = Shard(points, logs, first, {"resident": True})

    def __getstate__(self) -> Any:
        return self.shard[:3]

    def __setstate__(self, state: Any) -> None:
        self.__init__(*(np.array(each) for each in state[:2]), state[2])  # type: ignore[misc]

    def __sizeof__(self) -> int:
        return int(2 * self.shard.points.nbytes)


def _shard(block: Any, weights: Floats | None, count: int, first: int) -> _Resident:
    rows = np.array(block, dtype=np.float64, order="C").reshape(len(block), -1)
    return _Resident(rows, np.array(logs_of(weights, count, 0, len(rows))), first)


def _answer(
    part: Callable[..., Part], resident: _Resident, common: Any, asked: Any, shared: int
) -> Part:
    with limited(shared):
        return part(resident.shard, common, asked)


def _merge(merge: Callable[..., Part], a: Part, b: Part, common: Any) -> Part:
    return merge(a, b, common)


def _same(common: Any) -> Any:
    return common


def _rows(shard: Shard, _: Any, index: NDArray[np.int64]) -> tuple[Floats, Floats]:
    return shard.points[index - shard.first], shard.logs[index - shard.first]


def _workers(client: Any) -> int:
    """How many workers there are; none where the scheduler does not say."""
    try:
        return len(client.run_on_scheduler(_count))
    except Exception:
        return 0


def _count(dask_scheduler: Any) -> list[str]:
    return list(dask_scheduler.workers)


def _library() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            "points of Dask arrays need Dask: pip install 'analytic-diffusion[dask]'"
        ) from error
    return distributed
