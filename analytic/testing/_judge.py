"""Queries to judge at, the worst of them, and the message that says so and how to see it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ..claims import Case, Subject
from ..denoisers import OptimalDenoiser
from ..grids import noise_range
from ..learned import as_denoiser
from ..points import PointSet
from ..trajectory import Trajectory

__all__ = [
    "Part",
    "Queries",
    "Words",
    "changed",
    "judge",
    "model",
    "queries",
    "refuse",
    "shown",
    "states_of",
    "tolerance",
]

Floats = NDArray[np.float64]

LITERAL = 24
"""Numbers up to which a query is written out in the code that reproduces a failure."""


class Queries(NamedTuple):
    """Where to judge."""

    x: Floats
    """(B, D)"""
    sigma: Floats
    """(B,)"""
    again: str
    """The arguments that make the same queries."""

    def row(self, k: int) -> Queries:
        """One of them alone."""
        return Queries(self.x[[k]], self.sigma[[k]], self.again)


@dataclass(frozen=True)
class Part:
    """Something that must hold at every query."""

    claim: str
    measured: Floats
    """(B,) numbers; NaN counts as a failure."""
    bound: Floats | float
    meaning: str
    detail: Callable[[int], str] = lambda k: ""


class Words(NamedTuple):
    """What a message needs to say how to see a failure again."""

    name: str
    """of the assertion,"""
    subject: str
    """its leading arguments, as code, and"""
    options: str
    """those that are not its defaults."""


def model(denoiser: Any, dim: int | None = None) -> Any:
    """The denoiser, or the error that says why it is none."""
    return as_denoiser(denoiser, dim=dim, argument="denoiser")


def tolerance(value: Any, argument: str, *, high: float = 10.0) -> float:
    """A tolerance ≥ 0."""
    return _check.number(
        value, argument, low=0.0, high=high, remedy="pass a small number, 1e-6 say"
    )


def queries(
    points: PointSet | None, dim: int, x: Any, sigma: Any, count: Any, seed: Any, name: str
) -> Queries:
    """The user's queries, else drawn ones: forward samples, midpoints, near and far ones."""
    many = _check.integer(count, "count", low=1, high=10**6)
    start = _check.seed(seed)
    if x is not None:
        if sigma is None:
            _check.fail("sigma", "None", "the noise level of x", "give both, or neither")
        batch, _, _ = _check.queries(x, dim)
        if not len(batch):
            _check.fail("x", "no rows", "one query or more", "an empty test shows nothing")
        return Queries(batch, _check.sigma(sigma, len(batch)), "x=x, sigma=sigma")
    again = f"count={many}, seed={start}"
    level = None
    if sigma is not None:
        level = _check.sigma(sigma, many)
        again = ("sigma=sigma, " if np.ndim(sigma) else f"sigma={float(level[0])!r}, ") + again
    if points is None:
        rng = np.random.default_rng([start, 1])
        level = np.exp(rng.uniform(np.log(2e-3), np.log(80.0), many)) if level is None else level
        z = rng.standard_normal((2, many, dim))
        return Queries(z[0] + level[:, None] * z[1], level, again)
    high, low = noise_range(points)
    case = Case(Subject(OptimalDenoiser(points), points), start, True, high, low)
    drawn, levels = case.queries(case.rng(name), many, level)
    return Queries(drawn, levels, again)


def states_of(run: Any) -> Any:
    """A sampler's answer without what comes beside the states."""
    return run.states if isinstance(run, Trajectory) else run


def changed(**options: tuple[Any, Any]) -> str:
    """Arguments as code, those that are not their defaults."""
    parts = [f", {name}={value!r}" for name, (value, usual) in options.items() if value != usual]
    return "".join(parts)


def judge(
    words: Words, asked: Queries, measure: Callable[[Floats, Floats], Iterator[Part]]
) -> None:
    """Raise for the first part that fails at some query, naming the worst.

    `measure` is asked once more, at that query alone, so that the code that reproduces the failure
    can be as short as it may.
    """
    __tracebackhide__ = True
    for part in measure(asked.x, asked.sigma):
        bound = np.broadcast_to(np.asarray(part.bound, dtype=float), part.measured.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            excess = np.where(bound > 0, part.measured / bound, part.measured)
        excess = np.where(np.isnan(part.measured), np.inf, excess)
        failed = ~(part.measured <= bound)
        if not failed.any():
            continue
        k = int(np.where(failed, excess, -np.inf).argmax())
        count = len(asked.x)
        where = f"row {k} of {count}, σ = {float(asked.sigma[k])!r}, x = {shown(asked.x[k])}"
        facts = {"worst": where, "which is": part.detail(k)}
        if failed.sum() > 1:
            facts["failing rows"] = f"{int(failed.sum())} of {count}"
        alone = count == 1 or any(
            not (each.measured <= each.bound).all() for each in measure(*asked.row(k)[:2])
        )
        if not alone:
            facts["note"] = "that row passes alone: it depends on the rest of the batch"
        refuse(
            words.name,
            part.claim,
            facts,
            float(part.measured[k]),
            float(bound[k]),
            part.meaning,
            _code(words, asked, k if alone else None),
        )


def refuse(
    name: str,
    claim: str,
    facts: Mapping[str, str],
    measured: float,
    bound: float,
    meaning: str,
    code: Iterable[str],
) -> NoReturn:
    """Raise the one `AssertionError` of this package."""
    __tracebackhide__ = True
    rows = {
        "claim": claim,
        **facts,
        "measured": f"{measured:.4g}, {meaning}",
        "bound": f"{bound:.4g}",
    }
    lines = [f"  {key + ':':13} {value}" for key, value in rows.items() if value]
    text = "\n".join([f"analytic.testing.{name} fails", *lines, "  to reproduce:"])
    raise AssertionError("\n".join([text, *(f"    {line}" for line in code)]))


def shown(row: Floats) -> str:
    """A row, shortened."""
    numbers = [f"{value:.6g}" for value in np.asarray(row, dtype=float)[:4]]
    more = f", … {len(row)} numbers" if len(row) > 4 else ""
    return f"[{', '.join(numbers)}{more}]"


def _code(words: Words, asked: Queries, k: int | None) -> list[str]:
    """Lines that fail in the same way."""
    head = f"an.testing.{words.name}({words.subject}, "
    if k is None:
        return ["import analytic as an", f"{head}{asked.again}{words.options})"]
    x, level = asked.x[k], float(asked.sigma[k])
    if x.size <= LITERAL:
        return [
            "import analytic as an",
            f"x = [{[float(value) for value in x]!r}]",
            f"{head}x=x, sigma={level!r}{words.options})",
        ]
    if asked.again.startswith("x=x"):
        return [
            "import analytic as an",
            f"{head}x=x[[{k}]], sigma={level!r}{words.options})  # your x",
        ]
    return ["import analytic as an", f"{head}{asked.again}{words.options})"]
