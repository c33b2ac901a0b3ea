"""Audits: does a sampler keep its promises?

A sampler takes x at σ_0 along levels σ_0 > … > σ_n towards the exact flow's X(σ_n). What it
promises is measured:

| finding | says |
|---|---|
| `order/…` | the global error falls like n^-order, per problem (`_order`: how it is read) |
| `limit` | the error tends to zero as steps grow: the limit is the exact flow |
| `nfe` | evaluations per start, by counting the rows that the denoiser sees |
| `levels` | the first evaluation is at σ_0, none is outside [σ_n, σ_0] or back up by over a step |
| `repeats` | no evaluation is made twice, none of the state that is returned |
| `state` | every state is evaluated at its own σ, not at a neighbour's |
| `endpoint` | the final state is the one at σ_n |
| `zero` | a last step to σ = 0 is as good as D of the state before it, and not of an older one |
| `grid` | levels that a sampler makes for itself decrease |
| `parametrization/…` | a model in another parametrization gives the same states |

Orders are measured where the flow is smooth: on Gaussian data and a mixture on a line, σ from 80
to 0.1, on two points, 80 to 0.5, all in closed form, and on the exact flow of two moons and digits,
80 down to a sixth of the diameter. Below that discrete data decide between points, and errors are
of the size of their distances or vanish. A promised order is kept if no problem is clearly below
it; more is no fault. The table `work` compares errors at equal NFE with Euler's, from 80 to 0.002.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, grids
from .._outcome import Status, plain, write_atomic
from .._progress import bar
from ..denoisers import Denoiser, apply
from ..points import PointSet, as_points
from ..solvers import euler_step
from . import _checks, _order
from ._checks import Finding
from ._order import Curve, Estimate
from ._problems import EPS, Problem, closed, defaults, of_points
from ._subjects import Grid, Run, Subject, subject

__all__ = ["Audit", "Finding", "Orders", "Status", "Table", "audit", "follow", "orders"]

Floats = NDArray[np.float64]

SIZES = (8, 16, 32, 64, 128, 256, 512)
WORK = (4, 8, 16, 32)
"""Numbers of steps for the order, and for the table of errors against evaluations."""
NUDGE = 1e-7
KEPT = 48
"""Levels at which a whole path is compared."""


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def __str__(self) -> str:
        cells = [self.columns, *(tuple(map(_show, row)) for row in self.rows)]
        widths = [max(len(row[k]) for row in cells) for k in range(len(self.columns))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        )


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found."""

    sampler: str
    findings: tuple[Finding, ...]
    tables: Mapping[str, Table]
    """`order`: problem, steps, NFE, error, slope. `work`: problem, steps, NFE, RMS error, ratio
    to that of Euler at the same NFE."""
    order: float
    """The least order measured on any problem whose slopes have settled; NaN if none has."""
    seed: int
    settings: Mapping[str, Any]

    @property
    def holds(self) -> bool:
        """Whether something was tested and no promise was found broken."""
        verdicts = {finding.verdict for finding in self.findings}
        return Status.FAILS not in verdicts and bool(verdicts - {Status.NOT_TESTED})

    def __getitem__(self, name: str) -> Finding:
        """The finding with that id."""
        known = {finding.id: finding for finding in self.findings}
        return known[_check.choice(name, "finding", known)]

    def explain(self) -> str:
        """One line per finding, and the tables."""
        rows = [
            (f.id, f.verdict.value, _show(f.measured), _show(f.promised), f.detail)
            for f in self.findings
        ]
        parts = [str(Table(("finding", "verdict", "measured", "promised", "detail"), tuple(rows)))]
        parts += [f"{name}\n{table}" for name, table in self.tables.items()]
        verdict = "HOLDS" if self.holds else "FAILS"
        return "\n\n".join([f"{self.sampler}: {verdict}", *parts])

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write everything as JSON; the file appears whole or not at all."""
        content = {
            "sampler": self.sampler,
            "holds": self.holds,
            "order": self.order,
            "seed": self.seed,
            "settings": self.settings,
            "remark": "Measured on a few problems: that supports a promise, it does not prove it.",
            "findings": [asdict(finding) for finding in self.findings],
            "tables": {
                name: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
                for name, table in self.tables.items()
            },
        }
        write_atomic(path, json.dumps(plain(content), indent=1, allow_nan=False).encode())

    def __repr__(self) -> str:
        broken = [f.id for f in self.findings if f.verdict is Status.FAILS]
        words = f"FAILS {', '.join(broken)}" if broken else "HOLDS" if self.holds else "NOT_TESTED"
        return f"Audit({self.sampler!r}: {words})"


@dataclass(frozen=True, eq=False)
class Orders:
    """Orders alone: part of an audit."""

    sampler: str
    findings: tuple[Finding, ...]
    """`limit`, and one per problem."""
    estimates: Mapping[str, Estimate]
    """By the name of the problem."""
    table: Table
    """As `Audit.tables["order"]`."""


def orders(
    sampler: Any,
    points: PointSet | Any = None,
    *,
    order: int | None = None,
    grid: Grid = grids.polynomial,
    starts: int = 8,
    sizes: Sequence[int] = SIZES,
    seed: int = 0,
) -> Orders:
    """The part of an audit that measures orders, on the flows in closed form alone.

    Takes and raises what `audit` does; with `points` their exact flow is one more problem.
    `sizes` are the numbers of steps, five or more, for samplers that have none of their own.
    """
    count = _check.integer(starts, "starts", low=2, high=10_000)
    _check.seed(seed)
    who = subject(sampler, order, None, "x0")
    who = replace(who, sizes=who.sizes or tuple(sizes))
    problems = (*closed(), *(() if points is None else (of_points(as_points(points)),)))
    curves = [_curve(who, problem, grid, count, seed, lambda _: None) for problem in problems]
    found = [_order.estimate(curve, seed) for curve in curves]
    findings = (_checks.convergence(curves, found), *_checks.orders(curves, found, who.order))
    names = [problem.name for problem in problems]
    return Orders(who.name, findings, dict(zip(names, found, strict=True)), _order_table(curves))


def follow(sampler: Any, denoiser: Denoiser, x: Floats, sigmas: Floats) -> Run:
    """One run of what `audit` takes for a sampler, on x (B, D) at σ_0, checked as there."""
    return subject(sampler, None, None, "x0").run(denoiser, x, sigmas)


def audit(
    sampler: Any,
    points: PointSet | Any = None,
    *,
    order: int | None = None,
    nfe: int | Callable[[int], int] | None = None,
    grid: Grid = grids.polynomial,
    parametrization: str | Mapping[str, Callable[..., Any]] = "x0",
    starts: int = 16,
    seed: int = 0,
    progress: bool = False,
) -> Audit:
    """Measure a sampler against the exact flow.

    Parameters
    ----------
    sampler : a name of `analytic.solvers.names()`, a `Solver`, or any callable
        (denoiser, x (B, D), sigmas (n + 1,)) → states (n + 1, B, D) or the final ones (B, D),
        in VE coordinates, deterministic, of a state per start. One with a method
        `levels(n)` → (n + 1,) makes its own grid of n steps and is handed that; one with
        attributes `name`, `order`, `nfe` promises these, and with `eps` declares the relative
        rounding it works with; `sizes` are numbers of steps to measure the order at.
    points : `PointSet` or (N, D) array to measure on instead of two moons and digits.
    order : promised order, at least; default: what the sampler says, or none.
    nfe : promised evaluations per start: an integer per step, or a callable of the number of
        steps; default: what the sampler says, or none.
    grid : (number of levels, σ_0, σ_n) → levels, as those of `analytic.grids`.
    parametrization : what the sampler's model returns at (x, σ), x the VE state: "x0" D,
        "eps" ε = (x - D)/σ, "v" (ε - σD)/√(1 + σ²), "flow" ε - D. Or a dict from these names
        to samplers, the same one made for such models: each must end where `sampler` does.
    starts : number of starts.
    seed : of the starts; the same seed gives the same audit.
    progress : show a progress bar on a terminal.

    Returns
    -------
    `Audit`: `holds`, `findings`, `tables`, `explain()`, `to_json(path)`.

    Raises
    ------
    ValueError, TypeError
        for bad input, a sampler that returns the wrong shape, NaN, or never calls its model.
    """
    count = _check.integer(starts, "starts", low=2, high=10_000)
    _check.seed(seed)
    shown = _check.flag(progress, "progress")
    if not callable(grid):
        _check.fail(
            "grid", _check.show(grid), "a callable (n, σ_0, σ_n)", "see analytic.grids", TypeError
        )
    who = subject(sampler, order, nfe, parametrization)
    simple = closed()
    data, missing = defaults() if points is None else ([of_points(as_points(points))], [])
    gaussian = simple[0]
    problems = (*simple, *data)

    findings = [_checks.own_grid(who)] if who.levels else []
    first = _checks.standard(count, gaussian.dim, seed)
    findings += _checks.evaluations(who, gaussian, grid, first)
    findings += _checks.local(who, gaussian, grid, first)
    findings.append(_checks.jump(who, gaussian, first))
    curves, work = [], []
    with bar(
        len(problems) * len(who.sizes or SIZES) + len(data) * len(WORK), "auditing", shown
    ) as advance:
        for problem in problems:
            curves.append(_curve(who, problem, grid, count, seed, advance))
        for problem in data:
            work += _work(who, problem, grid, count, seed, advance)
    found = [_order.estimate(curve, seed) for curve in curves]
    findings.append(_checks.convergence(curves, found))
    findings += _checks.orders(curves, found, who.order)
    findings += [
        Finding(f"order/{each.split(':')[0]}", Status.NOT_TESTED, np.nan, np.nan, each)
        for each in missing
    ]
    findings += _checks.forms(who, gaussian, grid, first, curves[0].floor)
    tables = {
        "order": _order_table(curves),
        "work": Table(("problem", "steps", "nfe", "error", "of euler's"), tuple(work)),
    }
    settings = {
        "problems": {p.name: [p.high, p.low] for p in problems},
        "starts": count,
        "grid": "its own" if who.levels else getattr(grid, "__name__", repr(grid)),
        "parametrization": who.form,
    }
    measured = min((each.order for each in found if each.settled), default=np.nan)
    return Audit(who.name, tuple(findings), tables, measured, seed, settings)


def _curve(
    who: Subject,
    problem: Problem,
    grid: Grid,
    count: int,
    seed: int,
    advance: Callable[[int], object],
) -> Curve:
    """Global errors for every number of steps.

    Of the final state where the grid is ours. Along a sampler's own grid, which ends where it
    likes, the largest of up to 48 levels above the problem's lower end, x/√(1 + σ²) compared.
    """
    z = _checks.standard(count, problem.dim, seed)
    errors, steps, nfe = [], [], []
    reference: tuple[Floats, float] | None = None
    for size in who.sizes or SIZES:
        sigmas = who.grid(grid, size, problem.high, problem.low)
        x = sigmas[0] * z
        run = who.run(problem.denoiser, x, sigmas)
        if who.levels is None and not who.jump:
            # the same two ends every time
            if reference is None:
                reference = problem.flow(x, sigmas[[0, -1]])
            errors.append(np.linalg.norm(run.final - reference[0][-1], axis=1))
        else:
            kept = _kept(run.sigmas, problem.low)
            if run.states is None or kept.size < 2:
                _check.fail(
                    "sampler",
                    "final states only" if run.states is None else f"σ from {sigmas[0]:.3g}",
                    f"states at levels above {problem.low:.3g}, since its grid is its own",
                    "return all states (n + 1, B, D)",
                )
            exact, own = problem.flow(x, run.sigmas[kept])
            scale = np.sqrt(1 + (run.sigmas[kept] / problem.unit) ** 2)[:, None]
            errors.append((np.linalg.norm(run.states[kept] - exact, axis=2) / scale).max(axis=0))
            reference = (exact[-1:], own)
        steps.append(len(sigmas) - 1)
        nfe.append(run.nfe)
        advance(1)
    assert reference is not None
    size_ = float(np.sqrt(np.mean(np.sum(reference[0][-1] ** 2, axis=1))))
    floor = max(
        reference[1],
        4 * EPS * size_,
        who.eps * size_,
        _rounding(who, problem, x, sigmas),
    )
    return Curve(
        problem.name,
        np.array(steps, dtype=float),
        np.array(nfe),
        np.stack(errors),
        floor,
        _order.CANCELLED * who.eps * size_,
    )


def _kept(sigmas: Floats, low: float) -> NDArray[np.intp]:
    """Up to `KEPT` levels above a lower end, both ends among them."""
    above = np.flatnonzero(sigmas >= low * (1 - 1e-9))
    if above.size <= KEPT:
        return above
    return above[np.unique(np.linspace(0, above.size - 1, KEPT).round().astype(int))]


def _rounding(who: Subject, problem: Problem, x: Floats, sigmas: Floats) -> float:
    """Rounding of the finest run: what is not linear in a tiny displacement of the start."""
    ends = []
    for side in (-1, 0, 1):
        run = who.run(problem.denoiser, x * (1 + side * NUDGE), sigmas)
        last = run.last
        ends.append(run.final if last is None else last[1])
    bend = ends[0] - 2 * ends[1] + ends[2]
    return float(np.sqrt(np.mean(np.sum(bend**2, axis=1)) / 6))


def _order_table(curves: list[Curve]) -> Table:
    rows = [
        (curve.problem, int(n), float(m), float(e), float(p))
        for curve in curves
        for n, m, e, p in zip(
            curve.steps, curve.nfe, curve.rms, np.append(np.nan, curve.slopes), strict=True
        )
    ]
    return Table(("problem", "steps", "nfe", "error", "slope"), tuple(rows))


def _work(
    who: Subject,
    problem: Problem,
    grid: Grid,
    count: int,
    seed: int,
    advance: Callable[[int], object],
) -> list[tuple[Any, ...]]:
    """Errors at the end of sampling, and Euler's with as many evaluations."""
    z = _checks.standard(count, problem.dim, seed)
    rows = []
    for size in WORK:
        assert problem.end is not None
        sigmas = who.grid(grid, size, problem.high, problem.end)
        run = who.run(problem.denoiser, sigmas[0] * z, sigmas)
        levels = who.grid(grid, max(round(run.nfe), 1), problem.high, problem.end)
        levels = np.append(levels[:-1][np.diff(levels) < 0], levels[-1])
        mine = _end_error(problem, run.final, sigmas[0] * z, run.sigmas)
        other = _end_error(problem, _euler(problem, levels[0] * z, levels), levels[0] * z, levels)
        rows.append(
            (problem.name, len(sigmas) - 1, run.nfe, mine, mine / other if other else np.nan)
        )
        advance(1)
    return rows


def _end_error(problem: Problem, final: Floats, x: Floats, sigmas: Floats) -> float:
    exact, _ = problem.flow(x, sigmas[[0, -1]])
    return float(np.sqrt(np.mean(np.sum((final - exact[-1]) ** 2, axis=1))))


def _euler(problem: Problem, x: Floats, sigmas: Floats) -> Floats:
    for s, t in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        x = euler_step(x, apply(problem.denoiser, x, s), s, t)
    return x


def _show(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3g}"
    return str(value)
