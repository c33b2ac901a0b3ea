"""Sharing work among threads: every task once, errors arrive, concurrent callers and forks work."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import analytic as an
from analytic.kernels import threads


@pytest.fixture
def four() -> object:
    """Four threads, whatever the machine has, and the old number afterwards."""
    before = threads.get_num_threads()
    threads.set_num_threads(4)
    yield
    threads.set_num_threads(before)


@pytest.mark.parametrize(
    ("tasks", "work"), [(1, 10**9), (3, 10**9), (103, 10**9), (103, 5), (0, 0)]
)
def test_every_task_runs_once(four: object, tasks: int, work: int) -> None:
    seen = np.zeros(tasks, dtype=int)

    def kernel(first: int, last: int, out: np.ndarray) -> None:
        out[first:last] += 1

    threads.share(kernel, tasks, work, seen)
    assert (seen == 1).all()


def test_small_work_stays_on_the_caller_and_large_work_does_not(four: object) -> None:
    calls: list[tuple[int, int]] = []
    threads.share(lambda a, b: calls.append((a, b)), 8, 1000)
    assert calls == [(0, 8)]
    calls.clear()
    threads.share(lambda a, b: calls.append((a, b)), 8, 10**9)
    assert sorted(calls) == [(0, 2), (2, 4), (4, 6), (6, 8)]


def test_an_error_in_another_thread_reaches_the_caller(four: object) -> None:
    def kernel(first: int, last: int) -> None:
        if first > 0:
            raise ZeroDivisionError("in a task")

    with pytest.raises(ZeroDivisionError, match="in a task"):
        threads.share(kernel, 8, 10**9)


def test_callers_on_several_threads_get_their_own_results(four: object) -> None:
    D = an.OptimalDenoiser(an.datasets.two_moons(5000))
    queries = [np.random.default_rng(k).standard_normal((200, 2)) for k in range(8)]
    alone = [D(x, 0.3) for x in queries]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda x: D(x, 0.3), queries))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_pool_may_be_dropped_while_it_is_made(
    four: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by another thread that sets the number of threads just then."""

    class Forgetful:
        executor = property(lambda self: None, lambda self, pool: None)
        size, threads = 0, 4

    monkeypatch.setattr(threads, "_Pool", Forgetful())
    seen = np.zeros(8, dtype=int)

    def kernel(first: int, last: int) -> None:
        seen[first:last] += 1

    threads.share(kernel, 8, 10**9)
    assert (seen == 1).all()


def _in_child(queue: "multiprocessing.Queue[np.ndarray]") -> None:
    D = an.OptimalDenoiser(an.datasets.two_moons(5000))
    queue.put(D(np.ones((300, 2)), 0.3))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_makes_its_own_threads(four: object) -> None:
    D = an.OptimalDenoiser(an.datasets.two_moons(5000))
    here = D(np.ones((300, 2)), 0.3)  # the pool exists before the fork
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    there = queue.get(timeout=60)
    child.join(timeout=60)
    np.testing.assert_array_equal(here, there)


def test_environment_variable_sets_the_number() -> None:
    code = "from analytic.kernels import threads; print(threads.get_num_threads())"
    for given, expected in (("3", "3"), ("0", "1")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "ANALYTIC_NUM_THREADS": given, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected


def test_bad_numbers() -> None:
    with pytest.raises(ValueError, match="threads"):
        threads.set_num_threads(0)
    with pytest.raises(TypeError, match="threads"):
        threads.set_num_threads(1.5)  # type: ignore[arg-type]
