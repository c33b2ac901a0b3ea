"""One harness for every contender: the same bytes, agreement first, then the clock.

A `Work` is a computation: data, queries and noise level of

    D(x; σ) = Σ u_i x_i,   u = softmax_i(-|x - x_i|²/2σ²),
    log p_σ(x) = log (1/N) Σ N(x; x_i, σ²I),

and a `Contender` a way to do it. `compare` lets all contenders do one work:

1. Every contender is given the same read-only arrays and answers a few queries.
   An answer that is off by more than the work's tolerance ends its part, and so
   does a missing module, a lack of memory or time: each is a result, with a status.
2. All queries are tried where that takes less than `limit` seconds, else as many as
   fit, and the time is scaled in proportion. The first answer is checked, too;
   compilation and the choice of a chunk size happen in it, so it is not timed.
3. A fresh instance answers: what that takes longer than later answers is its set-up
   (a tree, norms, copies).
4. Contenders answer in turn, round by round, so that a busy moment of the machine
   meets all of them. Before a turn there is a pause, in which the threads of the one
   before stop spinning, and an answer that does not count, if it is a quick one; quick
   answers are repeated within a turn. Least and median seconds are kept; the least is
   the one to compare, for noise only ever adds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Contender", "Result", "Status", "Work", "compare", "reference"]

Array = NDArray[Any]
Floats = NDArray[np.float64]
Answer = Callable[[Array], Array]
"""Queries (B, D) to means (B, D) or log-densities (B,)."""

PROBE = 16
"""Queries that are answered first: enough to check, and to guess what all of them take."""
CHECKED = 500_000_000
"""Numbers that the reference reads at most, to take seconds and not minutes."""
BLOCK = 1 << 20
"""Numbers that the reference holds at a time."""
PAUSE = 0.05
"""Seconds before a turn: idle threads of BLAS and OpenMP spin for a while."""
QUICK = 0.1
"""Seconds that quick answers are repeated for in a turn."""


class Status(StrEnum):
    """How a contender fared."""

    OK = "ok"
    NOT_INSTALLED = "not installed"
    NOT_OFFERED = "not offered"
    DISAGREES = "does not agree"
    TOO_SLOW = "too slow"
    OUT_OF_MEMORY = "out of memory"
    FAILED = "failed"


@dataclass(frozen=True, eq=False)
class Work:
    """What is to be computed. Points and queries are of one float type and read-only."""

    name: str
    points: Array
    """(N, D)"""
    queries: Array
    """(B, D)"""
    sigma: float
    tolerance: float
    """largest error of an answer that still agrees: of a mean in units of the data's largest
    standard deviation, of a log-density in nats."""
    reason: str
    """why that much."""
    computes: str = "mean"
    """or "log_prob"."""

    def __post_init__(self) -> None:
        if self.points.dtype != self.queries.dtype:
            raise ValueError(f"{self.name}: points and queries of different types")
        for each in (self.points, self.queries):
            each.flags.writeable = False

    def about(self) -> dict[str, Any]:
        """What a reader of the results needs to know."""
        return {
            "name": self.name,
            "N": len(self.points),
            "D": self.points.shape[1],
            "B": len(self.queries),
            "sigma": self.sigma,
            "dtype": self.points.dtype.name,
            "computes": self.computes,
            "tolerance": self.tolerance,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Contender:
    """A way to do a work.

    `prepare(points, sigma, computes)` imports what it needs and returns a function of
    the queries, which may tune itself when it first meets a number of queries, and
    say how in an attribute `note`. It raises `ImportError` for what is not installed
    and `NotImplementedError` for what it does not offer.
    """

    name: str
    prepare: Callable[[Array, float, str], Answer]
    computes: Collection[str] = ("mean",)
    queries: int | None = None
    """queries it is timed on at most, for those that take them one by one."""
    note: str = ""


@dataclass
class Result:
    """One contender's part in one work."""

    contender: str
    status: Status = Status.OK
    detail: str = ""
    note: str = ""
    error: float | None = None
    """error against the reference, in the work's units."""
    queries: int = 0
    """queries it was timed on."""
    scale: float = 1.0
    """all queries / those; times are multiplied by it."""
    setup: float | None = None
    """seconds that a fresh instance's first answer takes beyond later ones."""
    times: list[float] = field(default_factory=list)
    """seconds of every repetition, for all queries."""

    @property
    def best(self) -> float | None:
        """Least seconds, for all queries."""
        return min(self.times, default=None)

    @property
    def median(self) -> float | None:
        """Median seconds, for all queries."""
        return statistics.median(self.times) if self.times else None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready contents."""
        return {**vars(self), "status": str(self.status), "best": self.best, "median": self.median}


def reference(work: Work, count: int = PROBE) -> Array:
    """Answers to the first `count` queries: float64, from differences, in plain NumPy."""
    dim = work.points.shape[1]
    step = max(1, BLOCK // dim)
    blocks = [slice(k, k + step) for k in range(0, len(work.points), step)]
    answers = []
    for x in work.queries[:count].astype(np.float64):
        gaps = (work.points[block] - x for block in blocks)
        logits = np.concatenate([np.einsum("ij,ij->i", gap, gap) for gap in gaps])
        logits *= -0.5 / work.sigma**2
        top = logits.max()
        u = np.exp(logits - top)
        if work.computes == "log_prob":
            volume = dim * np.log(work.sigma * np.sqrt(2 * np.pi))
            answers.append(top + np.log(u.mean()) - volume)
        else:
            sums = (u[block] @ work.points[block].astype(np.float64) for block in blocks)
            answers.append(sum(sums) / u.sum())
    return np.array(answers)


def compare(
    work: Work,
    contenders: Sequence[Contender],
    *,
    repeats: int = 5,
    limit: float = 20.0,
    say: Callable[[str], None] = lambda line: None,
    clock: Callable[[], float] = time.perf_counter,
    pause: float = PAUSE,
) -> list[Result]:
    """Let every contender do the work, and tell how it went.

    `limit` is the seconds that an answer may take, and the repeats of a contender stop
    when they have taken that long together. `say` gets a line per contender.
    """
    truth = _truth(work)
    entries = [_Entry(each, work, truth, limit, clock) for each in contenders]
    for entry in entries:
        entry.begin()
        about = "agrees" if entry.running else f"{entry.result.status}: {entry.result.detail}"
        say(f"  {entry.result.contender:20} {about}")
    for _ in range(repeats):
        for entry in entries:
            if entry.running:
                time.sleep(pause)
                entry.turn()
    for result in (entry.result for entry in entries):
        if result.best is not None:
            say(f"  {result.contender:20} {1e3 * result.best:10.3f} ms {result.note}")
    return [entry.result for entry in entries]


class _Disagreement(Exception):
    """An answer is off by more than the tolerance."""


class _TooSlow(Exception):
    """A few queries already take longer than all of them may."""


@dataclass(frozen=True, eq=False)
class _Truth:
    """The right answers to the first queries, and the unit of an error."""

    answers: Array
    unit: float


def _truth(work: Work) -> _Truth:
    count = min(PROBE, len(work.queries), max(2, CHECKED // work.points.size))
    unit = 1.0
    if work.computes == "mean":
        unit = float(work.points[:10_000].std(axis=0, dtype=np.float64).max()) or 1.0
    return _Truth(reference(work, count), unit)


class _Entry:
    """One contender in one work."""

    def __init__(
        self,
        contender: Contender,
        work: Work,
        truth: _Truth,
        limit: float,
        clock: Callable[[], float],
    ) -> None:
        self.contender, self.work, self.truth = contender, work, truth
        self.limit, self.clock = limit, clock
        self.result = Result(contender.name)
        self.first = 0.0
        self.spent = 0.0
        self.queries = work.queries
        self.answer: Answer | None = None

    @property
    def running(self) -> bool:
        return self.answer is not None

    def begin(self) -> None:
        self._guarded(self._begin)

    def turn(self) -> None:
        """A timed answer or, if it is quick, some, if there is time for them."""
        if not self.result.times or self.spent < self.limit:
            self._guarded(self._turn)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Take a step; whatever goes wrong is a result."""
        try:
            step()
        except Exception as error:
            self.answer = None
            self.result.times.clear()
            self.result.status = _status(error)
            self.result.detail = " ".join(str(error).split())[:200]

    def _begin(self) -> None:
        work, result = self.work, self.result
        if work.computes not in self.contender.computes:
            raise NotImplementedError(f"no {work.computes}")
        answer = self._prepare()
        self._check(answer(work.queries[:PROBE]))
        rows = self._affordable(answer)
        self.queries = work.queries[:rows]
        result.queries, result.scale = rows, len(work.queries) / rows
        self._check(answer(self.queries))
        del answer  # a fresh one beside it would take twice the memory
        start = self.clock()
        answer = self._prepare()
        answer(self.queries)
        self.first = self.clock() - start
        result.note = ", ".join(filter(None, (self.contender.note, getattr(answer, "note", ""))))
        self.answer = answer

    def _turn(self) -> None:
        assert self.answer is not None
        result, rows = self.result, len(self.queries)
        if min([self.first, *result.times]) < QUICK:
            self._seconds(self.answer, rows)
        turn = 0.0
        while not turn or turn < QUICK:
            seconds = self._seconds(self.answer, rows)
            turn += seconds
            result.times.append(seconds * result.scale)
        self.spent += turn
        result.setup = max(0.0, self.first - min(result.times) / result.scale)

    def _prepare(self) -> Answer:
        return self.contender.prepare(self.work.points, self.work.sigma, self.work.computes)

    def _check(self, found: Any) -> None:
        answers = self.truth.answers
        got = np.asarray(found)[: len(answers)].astype(np.float64)
        if got.shape != answers[: len(got)].shape:
            raise _Disagreement(f"shape {got.shape}, expected {answers.shape}")
        error = float(np.abs(got - answers[: len(got)]).max()) / self.truth.unit
        self.result.error = max(error, self.result.error or 0.0)
        if not error <= self.work.tolerance:
            raise _Disagreement(f"error {error:.1e}, tolerance {self.work.tolerance:.0e}")

    def _affordable(self, answer: Answer) -> int:
        """Queries that can be answered within the limit, guessed from more and more of them."""
        total = min(len(self.work.queries), self.contender.queries or len(self.work.queries))
        rows = min(PROBE, total)
        while True:
            seconds = self._seconds(answer, rows)
            if rows > PROBE and seconds * total / rows > self.limit:
                # the first answer to so many queries may have compiled
                seconds = min(seconds, self._seconds(answer, rows))
            if seconds > self.limit:
                raise _TooSlow(f"{rows} queries take {seconds:.1f} s")
            if seconds * total / rows <= self.limit:
                return total
            if 4 * seconds > self.limit or 4 * rows >= total:
                return min(total, int(rows * self.limit / seconds))
            rows *= 4

    def _seconds(self, answer: Answer, rows: int) -> float:
        start = self.clock()
        answer(self.work.queries[:rows])
        return self.clock() - start


def _status(error: Exception) -> Status:
    kinds: dict[type[Exception], Status] = {
        ImportError: Status.NOT_INSTALLED,
        NotImplementedError: Status.NOT_OFFERED,
        _Disagreement: Status.DISAGREES,
        _TooSlow: Status.TOO_SLOW,
        MemoryError: Status.OUT_OF_MEMORY,
    }
    for kind, status in kinds.items():
        if isinstance(error, kind):
            return status
    # torch and JAX have exceptions of their own for it
    words = ("out of memory", "allocate memory", "RESOURCE_EXHAUSTED")
    if any(word.lower() in str(error).lower() for word in words):
        return Status.OUT_OF_MEMORY
    return Status.FAILED
