"""Points on a cluster: bytes, round trips and throughput, beside what the model of cost says.

`python -m benchmarks.scale` measures on worker processes of this machine, and with the path of a
file streams that, making one of 20 GB where it is missing; `benchmarks/scale.md` states the model
and what came out. `predict` is the model.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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


def measure() -> Iterator[dict[str, float]]:
    """Rows of bytes, round trips and throughput; some minutes."""
    for part in (_traffic, _trips, _throughput, _ceiling):
        yield from part()


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
    count: int = 1_000_000, dim: int = 64, shards: int = 16
) -> Iterator[dict[str, float]]:
    """Seconds of a call on one and on two processes of one thread each, by turns.

    Of processor time the busiest worker's is counted: what a call would take on cores of its own.
    """
    with _cluster(1) as one, _cluster(2) as two:
        made = [
            (client, scale.sharded(_made(count, dim, count // shards), client=client))
            for client in (one, two)
        ]
        for queries, repeats in ((32, 30), (128, 12), (512, 6)):
            x = np.random.default_rng(1).standard_normal((queries, dim))
            work = predict(count, dim, queries, 1, shards).operations
            runs: list[tuple[Any, ...]] = [
                (client, an.OptimalDenoiser(p, "dense"), [], [], []) for client, p in made
            ]
            for _, far, *_ in runs:
                far(x, 10.0)
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
                    "B": queries, "workers": k + 1,
                    "best s": min(wall), "median s": float(np.median(wall)),
                    "busiest processor s": float(np.median(cpu)),
                    "all processors s": float(np.median(total)),
                    "Gop/s": work / float(np.median(cpu)) / 1e9,
                    "busy": float(busy() or 0.0),
                }  # fmt: skip


def _ceiling(
    count: int = 500_000, dim: int = 64, queries: int = 128, repeats: int = 8
) -> Iterator[dict[str, float]]:
    """Seconds of the same sum in one process and in two at once, which say nothing to each other.

    Twice the work in so much more time is what two processes of this machine can do at best.
    """
    with _cluster(2) as client:
        first = next(iter(client.nthreads()))
        client.run(_alone, count, dim, queries)
        took: list[list[float]] = [[], []]
        for _ in range(repeats):
            for found, asked in zip(took, ([first], None), strict=True):
                start = time.perf_counter()
                client.run(_alone, count, dim, queries, workers=asked)
                found.append(time.perf_counter() - start)
        one, two = map(np.array, took)
        yield {
            "B": queries, "one alone, median s": float(np.median(one)),
            "both, median s": float(np.median(two)),
            "throughput of two": 2 * float(np.median(one) / np.median(two)),
            "at best": 2 * float(one.min() / two.min()),
        }  # fmt: skip


_KEPT: dict[tuple[int, int], Any] = {}


def _alone(count: int, dim: int, queries: int) -> None:
    if (count, dim) not in _KEPT:
        points = an.PointSet(np.random.default_rng(0).standard_normal((count, dim)))
        _KEPT[count, dim] = an.OptimalDenoiser(points, "dense", threads=1)
    _KEPT[count, dim](np.random.default_rng(1).standard_normal((queries, dim)), 10.0)


def _streamed(
    path: Path, count: int = 400_000, dim: int = 12_288, queries: int = 8
) -> Iterator[dict[str, float | str]]:
    """Passes over a file of float32, which is made where it is missing, beside the disk's speed."""
    if not path.exists():
        _fill(path, count, dim)
    size = path.stat().st_size
    points = scale.stored(path)
    far = an.OptimalDenoiser(points)
    x = np.random.default_rng(1).standard_normal((queries, dim))
    warm = an.OptimalDenoiser(scale.stored(np.zeros((300, dim)) + np.arange(300)[:, None]))
    warm.posterior(x, 1.0)
    passes: dict[str, Callable[[], Any]] = {
        "summary": lambda: points.summary,
        "denoiser, sigma 20": lambda: far(20 * x, 20.0),
        "denoiser, sigma 1": lambda: far(x, 1.0),
        "log p, sigma 20": lambda: far.log_prob(20 * x, 20.0),
    }
    for name, one in passes.items():
        disk = _read(path)
        _forget(path)
        start = time.perf_counter()
        one()
        took = time.perf_counter() - start
        yield {
            "pass": name, "s": took, "MB/s": size / took / 1e6, "disk alone MB/s": disk,
            "peak RSS MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }  # fmt: skip


def _fill(path: Path, count: int, dim: int) -> None:
    """Images of a kind: one block of random numbers, rolled and dimmed again and again."""
    base = np.random.default_rng(0).random((4000, dim), dtype=np.float32) * 2 - 1
    partial = path.with_suffix(".part")
    with partial.open("wb") as stream:
        described = {"descr": "<f4", "fortran_order": False, "shape": (count, dim)}
        np.lib.format.write_array_header_1_0(stream, described)
        for k in range(0, count, len(base)):
            rolled = np.roll(base, 37 * k, axis=1) * np.float32(1 - 0.5 * k / count)
            stream.write(rolled[: count - k].tobytes())
        stream.flush()
        os.fsync(stream.fileno())
    partial.rename(path)


def _read(path: Path) -> float:
    """MB a second of the file read from its disk and thrown away."""
    _forget(path)
    buffer, start = bytearray(1 << 20), time.perf_counter()
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
    return path.stat().st_size / (time.perf_counter() - start) / 1e6


def _forget(path: Path) -> None:
    """Let the system drop what it has cached of a file."""
    with path.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    rows = _streamed(Path(sys.argv[1])) if sys.argv[1:] else measure()
    for row in rows:
        shown = {k: v if isinstance(v, str) else round(v, 4) for k, v in row.items()}
        print(shown, flush=True)
