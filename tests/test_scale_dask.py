"""Points in the memory of a cluster: the numbers of one machine, whatever befalls the workers."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import scale
from analytic.methods import apart
from analytic.scale import _dask

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

LEVELS = (80.0, 1.0, 0.3, 0.05)
HERE = {"threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0}
SETS = {
    "digits": lambda: an.datasets.digits(900),
    "patches": lambda: an.datasets.patches(2500, 8, channels=3),
}
SETTLE = apart._softmax


def slowly(shard: Any, common: Any, rows: Any) -> Any:
    """So that there is a middle of the run for a worker to die in."""
    time.sleep(0.25)
    return SETTLE(shard, common, rows)


def close(found: Any, expected: Any, tolerance: float = 1e-13) -> None:
    assert (np.abs(found - expected) <= tolerance * (1 + np.abs(expected))).all()


def queries(rows: Any, sigma: float, count: int = 8) -> Any:
    rng = np.random.default_rng(5)
    x = rows[rng.integers(len(rows), size=count)]
    return x + sigma * rng.standard_normal(x.shape)


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    # so that where things are is known: idle workers would take shards of a few kilobytes along
    still = dask.config.set({"distributed.scheduler.work-stealing": False})
    with still, distributed.LocalCluster(n_workers=3, **HERE) as found:
        yield found


@pytest.fixture(scope="module")
def client(cluster: Any) -> Iterator[Any]:
    with distributed.Client(cluster, set_as_default=False) as found:
        found.wait_for_workers(3)
        yield found


@pytest.fixture
def connected(client: Any) -> Iterator[Any]:
    yield scale.connect(client)
    scale.connect(None)


def answers(far: Any, x: Any, sigma: float) -> dict[str, Any]:
    """All that a denoiser says."""
    post = far.posterior(x, sigma)
    best = post.top(5)
    v = np.ones_like(x[:2])
    return {
        "mean": far(x, sigma),
        "score": sigma**2 * far.score(x, sigma),
        "log_prob": post.log_prob,
        "trace": post.trace_cov,
        "entropy": post.entropy,
        "top": best.index,
        "weight": best.weight,
        "jvp": sigma**2 * far.jvp(x[:2], sigma, v),
        "turn": sigma**3 * far.sigma_derivative(x[:2], sigma),
    }


# --- equality ------------------------------------------------------------------------------------


def test_any_number_of_workers_gives_the_bits_of_one_disk(client: Any, cluster: Any) -> None:
    sets = {name: np.array(make().points) for name, make in SETS.items()}
    weights = {
        name: np.random.default_rng(3).uniform(0.1, 1.0, len(rows)) for name, rows in sets.items()
    }
    seen: dict[tuple[str, float], list[dict[str, Any]]] = {
        (name, sigma): [] for name in sets for sigma in LEVELS
    }
    for count in (3, 2, 1):
        cluster.scale(count)
        eventually(lambda count=count: len(client.nthreads()) == count)
        for name, rows in sets.items():
            array = da.from_array(rows, chunks=(280, 40))
            points = scale.sharded(array, weights[name], client=client)
            far = an.OptimalDenoiser(points, "dense")
            for sigma in LEVELS:
                seen[name, sigma].append(answers(far, queries(rows, sigma), sigma))
            held = [len(keys) for keys in client.who_has(points.shards).values()]
            assert held == [1] * len(points.cuts)  # none was copied
            owners = {owner for (owner,) in client.who_has(points.shards).values()}
            assert len(owners) == count
    cluster.scale(2)
    for (name, sigma), found in seen.items():
        rows, x = sets[name], queries(sets[name], sigma)
        near = an.OptimalDenoiser(an.PointSet(rows, weights[name]), "dense")
        for key, expected in answers(near, x, sigma).items():
            close(found[0][key], expected, 1e-13 if key not in ("jvp", "turn") else 1e-12)
            for other in found[1:]:
                np.testing.assert_array_equal(other[key], found[0][key])
        # in up to 64 dimensions workers sum in registers, which rounds otherwise
        if rows.shape[1] > 64:
            stored = an.OptimalDenoiser(scale.stored(rows, weights[name], block=280), "dense")
            for key, expected in answers(stored, x, sigma).items():
                np.testing.assert_array_equal(found[0][key], expected)
    client.wait_for_workers(2)


def test_the_best_method_is_chosen_shard_by_shard(connected: Any) -> None:
    rows = np.array(an.datasets.two_moons(6000).points)
    far, near = an.OptimalDenoiser(da.from_array(rows, chunks=2500)), an.OptimalDenoiser(rows)
    for sigma in LEVELS:
        x = queries(rows, sigma, 50)
        close(far(x, sigma), near(x, sigma), 1e-12)
        close(far.log_prob(x, sigma), near.log_prob(x, sigma), 1e-12)


@pytest.mark.parametrize(
    "chunks",
    [((1, 0, 299, 100), (3,), (2, 2)), ((400,), (1, 2), (4,)), ((0, 400), (3,), (4,))],
)
def test_images_of_float32_in_any_chunks(chunks: Any, connected: Any) -> None:
    rows = np.random.default_rng(0).standard_normal((400, 3, 4)).astype("f4")
    far = an.OptimalDenoiser(da.from_array(rows, chunks=chunks))
    near = an.OptimalDenoiser(rows.reshape(400, -1), "dense")
    assert isinstance(far.points, scale.ShardedPoints)
    assert [last - first for first, last in far.points.cuts] == [n for n in chunks[0] if n]
    x = queries(rows.reshape(400, -1).astype(float), 0.4)
    close(far(x, 0.4), near(x, 0.4))
    single = far(x.astype("f4"), 0.4)
    assert single.dtype == np.float32
    assert np.abs(single - near(x, 0.4)).max() < 1e-5


def test_without_a_cluster_chunks_are_read_once_a_pass() -> None:
    assert scale._dask.connected() is None
    rows = np.random.default_rng(0).standard_normal((500, 70))
    made: list[int] = []

    def counted(block: Any) -> Any:
        made.append(len(block))
        return block

    array = da.from_array(rows, chunks=((100, 0, 250, 150), 35)).map_blocks(
        counted, meta=np.empty((0, 0)), name="counted"
    )
    far = an.OptimalDenoiser(array)
    assert isinstance(far.points, scale.StoredPoints)
    assert far.points.cuts == [(0, 100), (100, 350), (350, 500)]
    far.points.summary  # noqa: B018 - the first pass
    made.clear()
    x = queries(rows, 0.5)
    with dask.config.set(scheduler="synchronous"):
        found = far(x, 0.5)
    assert sum(made) == 2 * 500  # in two chunks of columns
    close(found, an.OptimalDenoiser(rows, "dense")(x, 0.5))


def test_what_workers_hold_stays_where_it_is(connected: Any, client: Any) -> None:
    rows = np.random.default_rng(0).standard_normal((60, 3))
    points = scale.sharded(da.from_array(rows, chunks=(10, 3)))
    far, near = an.OptimalDenoiser(points), an.OptimalDenoiser(rows)
    close(far(rows[:5], 0.7), near(rows[:5], 0.7))
    with client.as_current():
        distributed.wait(points.shards)
    before = client.who_has(points.shards)
    assert all(before[shard.key] for shard in points.shards)
    for _ in range(5):
        close(far(rows[:5], 0.7), near(rows[:5], 0.7))
    after = client.who_has(points.shards)
    for shard in points.shards:
        # the scheduler may copy one beside it, but takes none away
        assert set(before[shard.key]) <= set(after[shard.key])


def test_zarr_goes_to_the_workers(tmp_path: Path, connected: Any) -> None:
    zarr = pytest.importorskip("zarr")
    rows = np.random.default_rng(0).standard_normal((300, 20))
    path = str(tmp_path / "rows.zarr")
    array = zarr.create_array(path, shape=rows.shape, chunks=(80, 20), dtype="f8")
    array[:] = rows
    far = an.OptimalDenoiser(da.from_zarr(path))
    close(far(rows[:5], 0.7), an.OptimalDenoiser(rows, "dense")(rows[:5], 0.7))


def test_statistics_and_draws(connected: Any) -> None:
    rows = np.array(an.datasets.digits(400).points)
    weights = np.linspace(1, 2, 400)
    far = scale.sharded(da.from_array(rows, chunks=(130, 64)), weights)
    near, stored = an.PointSet(rows, weights), scale.stored(rows, weights, block=130)
    close(far.mean, near.mean)
    assert far.total_variance == pytest.approx(near.total_variance, rel=1e-12)
    for key in ("mean", "mean_radius", "radius", "diameter_bounds"):
        np.testing.assert_array_equal(getattr(far, key), getattr(stored, key))
    index = np.array([399, 3, 131, 3])
    np.testing.assert_array_equal(far.at(index)[0], rows[index])
    close(far.at(index)[1], np.log(weights / weights.sum())[index])
    assert far.renamed("mine").name == "mine"


# --- what is built on the denoiser ---------------------------------------------------------------


def test_flows_samplers_and_certificates(connected: Any) -> None:
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
    near = an.OptimalDenoiser(rows, "dense")
    far = an.OptimalDenoiser(da.from_array(rows, chunks=2), "dense")
    x = np.array([[0.3, 0.2], [0.7, 0.9]])
    a, b = (an.integrate(each, x, 0.3, rtol=1e-2, atol=1e-2) for each in (near, far))
    assert b.collapse.certified.all()
    np.testing.assert_array_equal(a.collapse.index, b.collapse.index)
    np.testing.assert_array_equal(a.nfe, b.nfe)
    np.testing.assert_allclose(b.final, a.final, rtol=1e-12, atol=1e-12)
    grid = an.grids.polynomial(5, 4.0, 0.1)
    a, b = (an.sample(each, x, grid, solver="heun") for each in (near, far))
    np.testing.assert_allclose(b.final, a.final, rtol=1e-12, atol=1e-12)
    states = rows + 1e-3
    one, two = (an.certificate(each, states, 0.01) for each in (near, far))
    np.testing.assert_array_equal(one.certified, two.certified)
    close(two.reach, one.reach)


# --- what is asked and sent ----------------------------------------------------------------------


def test_only_the_shards_that_matter_are_asked(
    connected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    centres = rng.uniform(-50, 50, (12, 3))
    rows = np.concatenate([c + rng.standard_normal((40, 3)) for c in centres])
    far = an.OptimalDenoiser(da.from_array(rows, chunks=40))
    near = an.OptimalDenoiser(rows, "dense")
    far.points.summary  # noqa: B018 - the one pass over all
    asked: list[int] = []
    leaves = scale.ShardedPoints._leaves

    def counted(self: Any, part: Any, sent: Any, rows: Any, owners: Any) -> Any:
        asked.append(len(rows))
        return leaves(self, part, sent, rows, owners)

    monkeypatch.setattr(scale.ShardedPoints, "_leaves", counted)
    for sigma, most in ((80.0, 12), (0.5, 2)):
        asked.clear()
        x = rows[:1] + 0.1
        close(far(x, sigma), near(x, sigma))
        assert sum(asked) == most if sigma == 80.0 else sum(asked) <= most


def test_shards_that_are_left_out_change_no_order(connected: Any) -> None:
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((19 * 20, 70))
    rows[:, 0] += np.repeat(rng.permutation(19) * 8.0, 20)  # near ones are no neighbours
    far = an.OptimalDenoiser(da.from_array(rows, chunks=(20, 70)), "dense")
    stored = an.OptimalDenoiser(scale.stored(rows, block=20), "dense")
    x = rows[::30].mean(axis=0) + rows[::30] / 3
    for sigma in (6.0, 9.0, 12.0, 20.0):
        found = far._sums.softmax(x, np.full(len(x), sigma))
        np.testing.assert_array_equal(far(x, sigma), stored(x, sigma))
        np.testing.assert_array_equal(
            far.posterior(x, sigma).trace_cov, stored.posterior(x, sigma).trace_cov
        )
        if sigma == 9.0:
            asked = found.asked.sum(axis=1)
            assert asked.min() > 2
            assert asked.max() < 19


def test_batches_are_cut_and_large_ones_sent_in_pieces(
    connected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(0).standard_normal((300, 16))
    points = scale.sharded(da.from_array(rows, chunks=(60, 16)))
    far = an.OptimalDenoiser(points, "dense")
    x, sigma = queries(rows, 0.3, 60), np.geomspace(0.01, 5, 60)
    whole = far(x, sigma), far.posterior(x, sigma).trace_cov
    object.__setattr__(points, "most", 7 * 16)
    monkeypatch.setattr(_dask, "PIECE", 100)
    monkeypatch.setattr(_dask, "FAN", 2)
    small = far(x, sigma), far.posterior(x, sigma).trace_cov
    for a, b in zip(whole, small, strict=True):
        np.testing.assert_array_equal(a, b)


def test_messages_stay_below_the_limit_of_dask(connected: Any) -> None:
    # dask warns of more than 10 MB, and warnings are errors here
    rows = np.random.default_rng(0).standard_normal((40, 600))
    far = an.OptimalDenoiser(da.from_array(rows, chunks=(10, 600)), "dense")
    x = rows[np.arange(2500) % 40] + 0.1 * np.sin(np.arange(2500))[:, None]
    near = an.OptimalDenoiser(rows, "dense")
    close(far(x, 0.4), near(x, 0.4))
    a, b = (each.posterior(x, 0.4) for each in (far, near))
    close(a.entropy, b.entropy)
    best = a.top(1).index[:, 0]
    np.testing.assert_array_equal(best, b.top(1).index[:, 0])
    sums = [each.trap_sums(x, np.full(len(x), 0.4), best) for each in (far, near)]
    close(*sums)


def test_weights_of_large_shards_are_sent_in_pieces(connected: Any) -> None:
    weights = np.arange(1.0, 1_400_001.0)  # 11 MB
    array = da.arange(1_400_000, chunks=1_400_000, dtype="f8")[:, None]
    points = scale.sharded(array, weights)
    close(points.mean, (weights - 1) @ weights / weights.sum())


def test_points_of_weight_zero_are_as_if_they_were_not(connected: Any) -> None:
    rng = np.random.default_rng(0)
    rows, weights = rng.standard_normal((3000, 2)), rng.uniform(0.1, 1.0, 3000)
    weights[:1200] = weights[2500:] = weights[1900] = 0
    near = an.OptimalDenoiser(an.PointSet(rows, weights), "dense")
    there = np.flatnonzero(weights)
    x = rows[::300] + 1e-3
    for method in ("dense", "tree"):
        points = scale.sharded(da.from_array(rows, chunks=(1000, 2)), weights)
        far = an.OptimalDenoiser(points, method)
        for sigma in (0.0, 1e-3, 0.5):
            close(far(x, sigma), near(x, sigma))
        a, b = (each.posterior(x, 0.5).top(3) for each in (far, near))
        np.testing.assert_array_equal(a.index, there[b.index])
        np.testing.assert_array_equal(points.at(a.index[:, 0])[0], rows[a.index[:, 0]])
        found, logs = points.at(np.array([1900, 1100, 1901]))
        np.testing.assert_array_equal(found, [[np.nan] * 2] * 2 + [rows[1901]])
        np.testing.assert_array_equal(logs[:2], -np.inf)


def made(block_info: Any = None) -> Any:
    first, last = block_info[None]["array-location"][0]
    return np.random.default_rng(first).standard_normal((last - first, 64))


def test_points_never_come_to_the_client(connected: Any) -> None:
    array = da.map_blocks(made, chunks=((8000,) * 12, 64), dtype="f8", meta=np.empty((0, 0)))
    an.OptimalDenoiser(da.ones((30, 64), chunks=(10, 64)))(np.ones((4, 64)), 1.0)
    tracemalloc.start()
    far = an.OptimalDenoiser(array)
    found = far.posterior(np.zeros((4, 64)), 1.0).top(2).index
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (4, 2)
    assert peak < 6e6  # of 49 MB; the scheduler lives here too


def test_nothing_is_left_behind(connected: Any, client: Any) -> None:
    def tasks() -> int:
        return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))

    gc.collect()
    eventually(lambda: tasks() == 0)  # of the tests before
    rows = np.random.default_rng(0).standard_normal((40, 2))
    far = an.OptimalDenoiser(da.from_array(rows, chunks=(20, 2)))
    far(rows[:2], 1.0)
    eventually(lambda: tasks() <= 6)  # two shards and what they are made of
    for _ in range(200):
        far(rows[:2], 1.0)
    eventually(lambda: tasks() <= 6)
    del far
    gc.collect()
    eventually(lambda: tasks() == 0)


def test_threads_are_those_asked_for() -> None:
    from analytic.kernels import threads

    seen: list[int] = []

    def part(shard: Any, common: Any, asked: Any) -> int:
        shares: list[tuple[int, int]] = []
        threads.share(lambda a, b: shares.append((a, b)), 100, 10**9)
        seen.append(len(shares))
        return 0

    before = threads.get_num_threads()
    resident = _dask._Resident(np.ones((2, 2)), np.zeros(2), 0)
    _dask._answer(part, resident, (), None, before + 3)
    assert seen == [before + 3]
    assert threads.get_num_threads() == before


@pytest.mark.parametrize(
    "rows", [[0, 1, 2], [5], [2, 3, 7, 40], [3, 3, 1], [], list(range(0, 100, 9))]
)
def test_numbers_of_queries_are_packed(rows: list[int]) -> None:
    given = np.array(rows, dtype=np.int64)
    packed = _dask._packed(given)
    np.testing.assert_array_equal(_dask._unpacked(packed), given)
    if rows == sorted(set(rows)) and rows:
        assert len(packed.bits or b"") <= 13


# --- what may go wrong ---------------------------------------------------------------------------


def test_a_worker_that_is_killed_is_replaced(
    cluster: Any, connected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(0).standard_normal((400, 70))
    far = an.OptimalDenoiser(da.from_array(rows, chunks=(50, 70)), "dense")
    expected = an.OptimalDenoiser(scale.stored(rows, block=50), "dense")(rows[:5], 0.9)
    far.points.summary  # noqa: B018 - shards are in their places
    monkeypatch.setattr(apart, "_softmax", slowly)
    victim = next(iter(cluster.workers.values())).process.pid
    timer = threading.Timer(0.4, os.kill, (victim, signal.SIGKILL))
    timer.start()
    np.testing.assert_array_equal(far(rows[:5], 0.9), expected)
    timer.join()
    with pytest.raises(OSError, match="No such process"):
        eventually(lambda: os.kill(victim, 0) is not None, 5.0)
    np.testing.assert_array_equal(far(rows[:5], 0.9), expected)


def test_an_interruption_leaves_no_work(
    connected: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(0).standard_normal((800, 3))
    far = an.OptimalDenoiser(da.from_array(rows, chunks=(10, 3)), "dense")
    far.points.summary  # noqa: B018
    monkeypatch.setattr(apart, "_softmax", slowly)
    threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        far(rows[:5], 30.0)
    # 80 shards of a quarter of a second on three workers are seven seconds
    eventually(lambda: not any(client.processing().values()), 3.0)
    assert time.monotonic() - started < 5.0
    monkeypatch.undo()
    close(far(rows[:5], 0.9), an.OptimalDenoiser(rows, "dense")(rows[:5], 0.9))


def broken(block_info: Any = None) -> Any:
    raise FileNotFoundError("rows-3.npy")


def test_errors_of_tasks_are_the_callers(connected: Any) -> None:
    rows = np.ones((100, 3))
    rows[57, 1] = np.nan
    far = an.OptimalDenoiser(da.from_array(rows, chunks=(20, 3)))
    with pytest.raises(ValueError, match=r"points: got a number .*row 57"):
        far(rows[:1], 1.0)
    lost = da.map_blocks(broken, chunks=((5, 5), 3), dtype="f8", meta=np.empty((0, 0)))
    with pytest.raises(FileNotFoundError, match=r"rows-3\.npy"):
        an.OptimalDenoiser(lost)(rows[:1], 1.0)


@pytest.mark.parametrize("shape", [(7, 3), (10, 2)])
def test_chunks_of_other_shapes_than_promised_are_refused(
    connected: Any, shape: tuple[int, int]
) -> None:
    array = da.from_delayed(dask.delayed(np.ones)(shape), (10, 3), "f8")
    with pytest.raises(ValueError, match=rf"points: got a chunk of {shape[0]} points of"):
        an.OptimalDenoiser(array)(np.ones(3), 1.0)


def started(*words: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_what_remains_when_one_after_another_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = tmp_path / "scheduler.json"
    running = [
        started(
            "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--host",
            "127.0.0.1", "--scheduler-file", str(where),
        )
    ]  # fmt: skip

    def worker() -> subprocess.Popen[bytes]:
        running.append(
            started(
                "distributed.cli.dask_worker", "--scheduler-file", str(where), "--no-nanny",
                "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path),
            )
        )  # fmt: skip
        return running[-1]

    try:
        eventually(where.exists)
        first, second = worker(), worker()
        with distributed.Client(scheduler_file=str(where), set_as_default=False) as known:
            address = known.scheduler.address
        client = scale.connect(address)  # any scheduler's
        client.wait_for_workers(2)
        rows = np.random.default_rng(0).standard_normal((400, 70))
        np.save(tmp_path / "rows.npy", rows)
        pieces = [
            da.from_delayed(dask.delayed(np.load)(tmp_path / "rows.npy"), rows.shape, "f8")
            for _ in range(2)
        ]
        both = np.concatenate([rows, rows])
        array = da.concatenate(pieces).rechunk((100, 70))
        points = scale.sharded(array, client=client, patience=1.5)
        far = an.OptimalDenoiser(points, "dense")
        expected = an.OptimalDenoiser(scale.stored(both, block=100), "dense")(rows[:5], 0.9)
        points.summary  # noqa: B018
        monkeypatch.setattr(apart, "_softmax", slowly)

        threading.Timer(0.4, first.kill).start()
        np.testing.assert_array_equal(far(rows[:5], 0.9), expected)

        threading.Timer(0.4, second.kill).start()
        begun = time.monotonic()
        with pytest.raises(ConnectionError, match=r"points: got no .*no worker was there for 1\.5"):
            far(rows[:5], 0.9)
        assert time.monotonic() - begun < 12.0

        third = worker()
        client.wait_for_workers(1)
        np.testing.assert_array_equal(far(rows[:5], 0.9), expected)

        fetched = distributed.Client._gather_remote

        async def late(self: Any, *given: Any) -> Any:
            third.kill()  # with the result that is about to be fetched
            third.wait()
            return await fetched(self, *given)

        monkeypatch.setattr(distributed.Client, "_gather_remote", late)
        with pytest.raises(ConnectionError, match=r"no worker was there for 1\.5"):
            far(rows[:5], 0.9)
        monkeypatch.setattr(distributed.Client, "_gather_remote", fetched)

        worker()
        client.wait_for_workers(1)
        np.testing.assert_array_equal(far(rows[:5], 0.9), expected)

        monkeypatch.setattr(_dask, "ANSWER", 0.5)
        os.kill(running[0].pid, signal.SIGSTOP)
        with pytest.raises(ConnectionError, match=r"no worker was there for 1\.5"):
            far(rows[:5], 0.9)
        os.kill(running[0].pid, signal.SIGCONT)
        np.testing.assert_array_equal(far(rows[:5], 0.9), expected)

        threading.Timer(0.4, running[0].kill).start()
        begun = time.monotonic()
        with pytest.raises(ConnectionError, match=r"points: got no answer from the cluster"):
            far(rows[:5], 0.9)
        assert time.monotonic() - begun < 12.0
        with pytest.raises(ConnectionError, match=r"start workers, connect again"):
            far(rows[:5], 0.9)
        client.close(timeout=1)
    finally:
        scale.connect(None)
        for each in running:
            each.kill()
            each.wait()


def test_clients_and_arrays_are_checked(client: Any) -> None:
    array = da.ones((10, 3), chunks=5)
    for value, options, kind, words in (
        (np.ones((10, 3)), {}, TypeError, "points: got .*a Dask array"),
        (da.ones(10), {}, ValueError, r"points: got shape \(10,\)"),
        (da.ones((0, 3)), {}, ValueError, r"points: got shape \(0, 3\)"),
        (array[array[:, 0] > 0], {}, ValueError, "points: got chunks of unknown size"),
        (array.astype(complex), {}, TypeError, "points: got dtype complex128"),
        (array, {"threads": 0}, ValueError, "threads: got 0"),
        (array, {"patience": -1}, ValueError, "patience: got -1"),
        (array, {"weights": [1.0]}, ValueError, "weights: got shape"),
        (array, {"weights": -np.ones(10)}, ValueError, "weights: got a negative"),
        (array, {"name": 3}, TypeError, "name: got 3"),
    ):
        with pytest.raises(kind, match=words):
            scale.sharded(value, client=client, **options)
    with pytest.raises(ValueError, match=r"client: got none.*connect"):
        scale.sharded(array)
    with pytest.raises(ValueError, match="client: got an asynchronous one"):
        scale.sharded(array, client=SimpleNamespace(asynchronous=True))
    with pytest.raises(TypeError, match="client: got 3"):
        scale.connect(3)
    with pytest.raises(ValueError, match="points: got chunks of unknown size"):
        an.OptimalDenoiser(array[array[:, 0] > 0])


def test_a_current_client_is_used_and_a_closed_one_is_not(cluster: Any) -> None:
    array = da.ones((10, 3), chunks=5)
    with distributed.Client(cluster) as current:
        points = an.OptimalDenoiser(array).points
        assert points.client is current
        mine = scale.connect(cluster)
        assert an.OptimalDenoiser(array).points.client is mine
        mine.close()
        assert an.OptimalDenoiser(array).points.client is current
    with pytest.raises(ConnectionError, match="connection to the scheduler is gone"):
        an.OptimalDenoiser(points)(np.ones((1, 3)), 1.0)
    scale.connect(None)
    assert isinstance(an.OptimalDenoiser(array).points, scale.StoredPoints)
