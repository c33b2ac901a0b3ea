"""The benchmark harness: who is timed, in which order, and what the tables say."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analytic as an
from benchmarks import contenders, harness, report, run, works
from benchmarks.contenders._chunks import Chunked
from benchmarks.harness import Contender, Result, Status, Work, compare, reference


class Clock:
    """Time that passes only when somebody says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def make_work(computes: str = "mean", count: int = 40, dtype: str = "float64") -> Work:
    rng = np.random.default_rng(0)
    points, x = (rng.standard_normal((n, 2)).astype(dtype) for n in (30, count))
    return Work("toy", points, x, 0.5, 1e-9, "toy", computes)


def fake(
    name: str,
    clock: Clock,
    seconds: float = 1.0,
    off: float = 0.0,
    log: list[str] | None = None,
    per_query: float = 0.0,
    **options: Any,
) -> Contender:
    """A contender that takes as long as it is told to, and is off by as much."""

    def prepare(points: Any, sigma: float, computes: str) -> Callable[[Any], Any]:
        right = an.OptimalDenoiser(points)
        clock.now += 5.0

        def answer(x: Any) -> Any:
            clock.now += seconds + per_query * len(x)
            if log is not None:
                log.append(name)
            return right(x, sigma) + off

        return answer

    return Contender(name, prepare, **options)


def failing(name: str, error: Exception) -> Contender:
    def prepare(points: Any, sigma: float, computes: str) -> Any:
        raise error

    return Contender(name, prepare)


def duel(*entrants: Contender, clock: Clock, **options: Any) -> dict[str, Result]:
    found = compare(make_work(), entrants, clock=clock, pause=0, **{"limit": 100.0, **options})
    return {each.contender: each for each in found}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_reference_is_the_denoiser(dtype: str) -> None:
    work = make_work(dtype=dtype)
    D, x = an.OptimalDenoiser(an.PointSet(work.points)), work.queries.astype(float)
    np.testing.assert_allclose(reference(work, 5), D(x[:5], 0.5), atol=1e-13)
    work = make_work("log_prob", dtype=dtype)
    np.testing.assert_allclose(reference(work, 5), D.log_prob(x[:5], 0.5), atol=1e-13)


def test_reference_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reference(make_work())
    monkeypatch.setattr(harness, "BLOCK", 8)
    np.testing.assert_allclose(reference(make_work()), whole, atol=1e-14)


def test_contenders_take_turns_and_warm_up_is_not_timed() -> None:
    clock, log = Clock(), []
    found = duel(fake("a", clock, 1.0, log=log), fake("b", clock, 3.0, log=log), clock=clock)
    assert log[-10:] == ["a", "b"] * 5
    assert found["a"].times == [1.0] * 5 and found["b"].times == [3.0] * 5
    assert (found["b"].best, found["b"].median) == (3.0, 3.0)
    assert found["a"].setup == pytest.approx(5.0)
    assert found["a"].queries == 40 and found["a"].scale == 1


def test_quick_answers_are_repeated_after_one_that_does_not_count() -> None:
    clock, log = Clock(), []

    def prepare(points: Any, sigma: float, computes: str) -> Any:
        inner = fake("q", clock, 0.03, log=log).prepare(points, sigma, computes)
        clock.now -= 5.0
        return inner

    found = duel(Contender("q", prepare), clock=clock, repeats=2)["q"]
    assert len(found.times) == 2 * 4  # until 0.1 s have passed
    assert log.count("q") >= 2 * 5


def test_disagreement_is_refused_and_not_timed() -> None:
    clock = Clock()
    found = duel(fake("right", clock), fake("wrong", clock, off=1e-6), clock=clock)
    assert found["right"].status == Status.OK
    assert found["wrong"].status == Status.DISAGREES
    assert found["wrong"].times == [] and found["wrong"].best is None
    assert found["wrong"].error == pytest.approx(1e-6, rel=0.3)


@pytest.mark.parametrize("off", [np.nan, np.zeros(3)])
def test_nonsense_is_refused(off: Any) -> None:
    clock = Clock()

    def prepare(points: Any, sigma: float, computes: str) -> Any:
        return lambda x: np.full(x.shape, np.nan) if np.isscalar(off) else off

    assert duel(Contender("odd", prepare), clock=clock)["odd"].status == Status.DISAGREES


def test_agreement_is_asked_of_the_timed_answer_too() -> None:
    def prepare(points: Any, sigma: float, computes: str) -> Any:
        D = an.OptimalDenoiser(points)
        return lambda x: D(x, sigma) + (len(x) > harness.PROBE)

    found = duel(Contender("late", prepare), clock=Clock())["late"]
    assert found.status == Status.DISAGREES


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ImportError("No module named 'nowhere'"), Status.NOT_INSTALLED),
        (NotImplementedError("no"), Status.NOT_OFFERED),
        (MemoryError(), Status.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 PB"), Status.OUT_OF_MEMORY),
        (RuntimeError("no compiler"), Status.FAILED),
    ],
)
def test_failures_are_results(error: Exception, status: Status) -> None:
    clock = Clock()
    found = duel(failing("broken", error), fake("right", clock), clock=clock)
    assert found["broken"].status == status and not found["broken"].times
    assert found["right"].best == 1.0


def test_failing_in_mid_race_is_a_result() -> None:
    clock, calls = Clock(), []

    def prepare(points: Any, sigma: float, computes: str) -> Any:
        inner = fake("tired", clock).prepare(points, sigma, computes)

        def answer(x: Any) -> Any:
            calls.append(1)
            if len(calls) > 7:
                raise MemoryError
            return inner(x)

        return answer

    found = duel(Contender("tired", prepare), fake("right", clock), clock=clock)
    assert found["tired"].status == Status.OUT_OF_MEMORY and found["tired"].best is None
    assert len(found["right"].times) == 5


def test_slow_contenders() -> None:
    clock = Clock()
    found = duel(
        fake("hopeless", clock, 11.0),
        fake("slow", clock, 0.0, per_query=0.5),
        fake("single", clock, 0.0, per_query=0.1, queries=10),
        fake("right", clock),
        clock=clock,
        limit=10.0,
    )
    assert found["hopeless"].status == Status.TOO_SLOW and found["hopeless"].best is None
    assert found["slow"].status == Status.OK
    assert found["slow"].queries == 20 and found["slow"].best == pytest.approx(20.0)
    assert len(found["slow"].times) == 1  # its time is spent
    assert found["single"].queries == 10 and found["single"].best == pytest.approx(4.0)
    assert len(found["right"].times) == 5


def test_everyone_gets_the_same_bytes() -> None:
    work = make_work()
    with pytest.raises(ValueError, match="read-only"):
        work.points[0] = 1
    with pytest.raises(ValueError, match="different types"):
        Work("odd", work.points, work.queries.astype("f4"), 1.0, 1.0, "")


def test_chunks_of_any_size_give_the_same() -> None:
    x = np.arange(100.0)[:, None]
    double = Chunked(lambda chunk: 2 * chunk, np.concatenate, ("test", x.shape), 10)
    np.testing.assert_array_equal(double(x), 2 * x)
    assert double.note.startswith("chunks of ")


@pytest.mark.parametrize("computes", ["mean", "log_prob"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_contenders_that_need_nothing_agree(computes: str, dtype: str) -> None:
    work = make_work(computes, dtype=dtype)
    for name in ("analytic auto", "numpy differences", "numpy product"):
        answer = contenders.ALL[name].prepare(work.points, work.sigma, computes)
        np.testing.assert_allclose(
            answer(work.queries),
            reference(work, 40),
            atol=1e-12 if dtype == "float64" else 1e-5,
        )


def test_works_have_names_axes_and_contenders() -> None:
    for entry in works.WORKS.values():
        axis, value = entry.axis
        assert axis in report.LABELS and value > 0
        assert set(entry.contenders) <= set(contenders.ALL)
    assert contenders.OURS in contenders.ALL
    short = works.select("short")
    assert 0 < len(short) < len(works.select("full"))
    assert [each.name for each in works.select("full", "noise-level/*=1")] == [
        "noise-level/sigma=1"
    ]


def test_cifar_is_skipped_when_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(works.CIFAR10, raising=False)
    works.cifar10.cache_clear()
    assert works.CIFAR10 in str(run.measure("cifar10/sigma=1", 1, 1.0))


def results() -> dict[str, Any]:
    """Three works of one family, as a run would have them."""
    rows = []
    for count in (10, 100, 1000):
        ours = Result("analytic auto", times=[0.001 * count, 0.002 * count], error=0.0, setup=0.1)
        theirs = Result("peer", times=[0.004 * count], error=float("inf"), scale=2.0, queries=5)
        absent = Result("absent", Status.NOT_INSTALLED, "No module | named so")
        where = {"family": "growth", "axis": "N", "value": float(count), "busy": 0.5}
        entries = [each.as_dict() for each in (ours, theirs, absent)]
        rows.append({**make_work().about(), **where, "N": count, "results": entries})
    sides = {"flow": {"title": "Time.", "rows": [{"data": "x", "seconds": 0.5}]}}
    return {
        "environment": {"cpu": "one", "packages": {"numpy": "2"}},
        "works": rows,
        "sides": sides,
    }


def test_tables_and_json(tmp_path: Path) -> None:
    report.write(results(), tmp_path)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "| 10 | 10 ms | 40 ms* (0.25) |" in text
    assert "grows: time as N^1.00, set-up as N^" in text
    assert "scaled from 5 queries" in text and "not installed; No module \\| named so" in text
    assert "Others kept 50% of the cores busy" in text
    assert "| x | 0.5 |" in text and "- packages: numpy 2" in text
    back = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert back["works"][0]["results"][1]["error"] is None  # JSON has no infinity
    assert back["works"][0]["results"][0]["median"] == pytest.approx(0.015)
    assert report.exponent(results()["works"], "peer") == pytest.approx(1.0)
    assert report.exponent(results()["works"][:2], "peer") is None


def test_figures_show_who_is_missing(tmp_path: Path) -> None:
    paths = report.figures(results(), tmp_path)
    assert sorted(path.name for path in paths) == ["growth.pdf", "growth.png"]


def test_a_run_writes_after_every_work_and_survives_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []

    def here(call: Callable[..., Any], name: str, *arguments: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(name)
        return "no data" if len(done) == 1 else {**make_work().about(), "results": []}

    monkeypatch.setattr(run, "isolated", here)
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    monkeypatch.setattr(run.environment, "limit_threads", lambda: None)
    monkeypatch.setattr(run.environment, "busy", lambda: None)
    assert run.main(["--only", "noise-level/*", "--group", "full", "--out", str(tmp_path)]) == 130
    back = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [work.get("skipped") for work in back["works"]] == ["no data", None]
    assert {"cpu", "cores", "commit", "date", "packages"} <= set(back["environment"])
    assert "interrupted" in capsys.readouterr().err


def test_a_process_of_its_own() -> None:
    assert run.isolated(int, "7") == 7
    assert run.isolated(int, "seven").startswith("ValueError: ")
    assert "killed" in run.isolated(os._exit, 9)


def test_busy_is_a_share() -> None:
    share = run.environment.busy(0.05)
    assert share is None or 0 <= share <= 1


def test_an_unknown_name_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--only", "nothing"]) == 2
    assert "noise-level/sigma=1" in capsys.readouterr().out
