"""Points on a cluster: bytes, round trips and throughput, beside what the model of cost says.

`python -m benchmarks.scale` measures on worker processes of this machine; `benchmarks/scale.md`
states the model and what came out. `predict` is the model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import analytic as an
from analytic import scale
from analytic.scale._dask import FAN

from .environment import busy

__all__ = ["Cost", "measure", "predict"]


class Cost(NamedTuple):
    """What a batch of queries costs, every shard asked."""

    operations: float
    """Additions and multiplications on all workers."""
    to_scheduler: float
    """Bytes from the client: queries and the description of the tasks."""
    to_workers: float
    """Bytes of queries that workers fetch, in all."""
    merged: float
    """Bytes of partial results that a worker fetches from another."""
    to_client: float
    """Bytes of the result."""
    tasks: float
    """Tasks that the scheduler handles."""


TASK = 1400.0
"""Bytes that describe a task to the scheduler."""


def predict(points: float, dim: int, queries: int, workers: int, shards: int) -> Cost:
    """The model: one softmax over N points of R^D for B queries, on W workers with K shards."""
    given = 8.0 * queries * (dim + 1)
    # base and shift (D each), five numbers, and which query it is
    part = 8.0 * queries * (2 * dim + 6)
    return Cost(
        operations=points * queries * (3 * dim + 10),
        to_scheduler=given + TASK * shards * 8 / 7,
        to_workers=given * workers,
        merged=part * _crossing(shards, workers),
        to_client=part,
        tasks=shards * 8 / 7 + 1,
    )


def _crossing(shards: int, workers: int) -> int:
    """Partial results merged elsewhere than made; workers hold as many neighbours each."""
    owner, moved = [k * workers // shards for k in range(shards)], 0
    while len(owner) > 1:
        groups = [owner[k : k + FAN] for k in range(0, len(owner), FAN)]
        moved += sum(each != group[0] for group in groups for each in group)
        owner = [group[0] for group in groups]
    return moved


def measure() -> list[dict[str, float]]:
    """Rows of bytes, round trips and throughput; some minutes."""
    return [*_traffic(), *_trips(), *_throughput()]


def _made(count: int, dim: int, chunk: int) -> Any:
    import dask.array as da

    return da.random.default_rng(0).standard_normal((count, dim), chunks=(chunk, dim))


@contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=":0", memory_limit=0
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


class _Counted:
    """Bytes written to TCP by this process."""

    sent = 0
    installed = False


def _count() -> None:
    from distributed.comm.tcp import TCP

    if _Counted.installed:
        return
    _Counted.installed = True
    write = TCP.write

    async def counted(self: Any, *arguments: Any, **options: Any) -> int:
        size = await write(self, *arguments, **options)
        _Counted.sent += size
        return size

    TCP.write = counted


def _sent() -> int:
    return _Counted.sent


def _traffic() -> Iterator[dict[str, float]]:
    """Bytes of one call, of the workers and of client and scheduler, which are one process."""
    import dask

    _count()
    # tasks that are stolen by idle workers take shards and results along
    quiet = dask.config.set({"distributed.scheduler.work-stealing": False})
    with quiet, _cluster(2) as client:
        client.run(_count)
        for shards, dim, queries in ((4, 256, 400), (16, 256, 400), (64, 256, 400), (16, 16, 40)):
            points = scale.sharded(_made(shards * 100, dim, 100), client=client)
            far = an.OptimalDenoiser(points, "dense")
            x = np.random.default_rng(1).standard_normal((queries, dim))
            far(x, 10.0)
            time.sleep(1.0)
            before = _sent(), sum(client.run(_sent).values())
            for _ in range(5):
                far(x, 10.0)
            after = _sent(), sum(client.run(_sent).values())
            said = predict(shards * 100, dim, queries, 2, shards)
            given, part = said.to_workers / 2, said.to_client
            yield {
                "K": shards, "D": dim, "B": queries,
                "client and scheduler MB": (after[0] - before[0]) / 5e6,
                "predicted": (2 * said.to_scheduler + part) / 1e6,
                "workers MB": (after[1] - before[1]) / 5e6,
                "predicted ": (given + said.merged + part) / 1e6,
            }  # fmt: skip


def _trips() -> Iterator[dict[str, float]]:
    """Time of a call that hardly computes."""
    with _cluster(2) as client:
        for shards in (2, 16, 64, 256):
            points = scale.sharded(_made(shards * 4, 4, 4), client=client)
            far = an.OptimalDenoiser(points, "dense")
            far(np.zeros((1, 4)), 10.0)
            took = []
            for _ in range(15):
                start = time.perf_counter()
                far(np.zeros((1, 4)), 10.0)
                took.append(time.perf_counter() - start)
            yield {"K": shards, "median ms": 1e3 * float(np.median(took)), "least": 1e3 * min(took)}


def _throughput(
    count: int = 1_000_000, dim: int = 64, queries: int = 32, repeats: int = 8
) -> Iterator[dict[str, float]]:
    """Seconds of a call on one and on two processes of one thread each, by turns.

    Of processor time the busiest worker's is counted: what a call would take on cores of its own.
    """
    x = np.random.default_rng(1).standard_normal((queries, dim))
    work = predict(count, dim, queries, 1, 16).operations
    with _cluster(1) as one, _cluster(2) as two:
        runs: list[tuple[Any, ...]] = []
        for client in (one, two):
            far = an.OptimalDenoiser(
                scale.sharded(_made(count, dim, count // 16), client=client), "dense"
            )
            far(x, 10.0)
            runs.append((client, far, [], [], []))
        for _ in range(repeats):
            for client, far, wall, cpu, total in runs:
                before = client.run(time.process_time)
                start = time.perf_counter()
                far(x, 10.0)
                wall.append(time.perf_counter() - start)
                after = client.run(time.process_time)
                spent = [after[name] - before[name] for name in after]
                cpu.append(max(spent))
                total.append(sum(spent))
        for k, (_, _, wall, cpu, total) in enumerate(runs):
            yield {
                "workers": k + 1, "best s": min(wall), "median s": float(np.median(wall)),
                "busiest processor s": float(np.median(cpu)),
                "all processors s": float(np.median(total)),
                "Gop/s": work / float(np.median(cpu)) / 1e9,
                "busy": float(busy() or 0.0),
            }  # fmt: skip


if __name__ == "__main__":
    for name in (_traffic, _trips, _throughput):
        for row in name():
            print({key: round(value, 4) for key, value in row.items()}, flush=True)
