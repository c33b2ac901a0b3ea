"""Jobs on several processes: order, progress, errors, and a worker that dies."""

import os
import time
from collections.abc import Callable

import pytest

from analytic import _workers

Advance = Callable[[int], object]


def square(item: int, advance: Advance) -> tuple[int, int]:
    """A job that takes longer for small items, so that they finish out of order."""
    time.sleep(0.3 / (1 + item))
    advance(1)
    return item**2, os.getpid()


def fail(item: int, advance: Advance) -> None:
    """A job with an error of its own."""
    raise ValueError(f"item {item} is bad")


def die(item: int, advance: Advance) -> None:
    """A job that takes its process with it, as the system does when memory runs out."""
    os._exit(1)


def moves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the progress bar is told."""
    told: list[int] = []
    real = _workers.bar
    monkeypatch.setattr(
        _workers, "bar", lambda total, title, wanted: real(total, title, told.append)
    )
    return told


@pytest.mark.parametrize("processes", [1, 2])
def test_results_in_order_and_every_unit_told(
    processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = moves(monkeypatch)
    found = _workers.run(square, [0, 1, 2, 3], processes, units=4, title="squares")
    assert [value for value, _ in found] == [0, 1, 4, 9]
    assert sum(told) == 4
    assert (os.getpid() in {pid for _, pid in found}) == (processes == 1)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_comes_through(processes: int) -> None:
    with pytest.raises(ValueError, match="is bad"):
        _workers.run(fail, [1, 2], processes, units=2, title="")


def test_a_dead_worker_is_an_error_not_a_hang() -> None:
    with pytest.raises(ChildProcessError, match="fewer processes"):
        _workers.run(die, [1, 2], 2, units=2, title="")
