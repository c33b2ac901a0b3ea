"""The checks: what a run did, beside what the sampler promises.

States and levels are matched by *offset*. Beside an exact state X(σ), where dX/dσ = X', a
state x is ahead or behind by

    δ = Σ_b ⟨x_b - X_b, X'_b⟩ / Σ_b |X'_b|²

in σ. On a stretch of σ so short that global errors, O(h²), are small beside a step, |X'| h, an
honest sampler has |δ| « h at every state it evaluates or returns; one that takes σ, or the
state, from a neighbouring step has |δ| = h.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._outcome import Status
from ..noise import noise
from ._order import ABOVE, SHORT, Curve, Estimate, judge
from ._problems import Problem
from ._subjects import Call, Grid, Run, Subject

__all__ = ["Finding", "convergence", "evaluations", "forms", "jump", "local", "orders", "own_grid"]

Floats = NDArray[np.float64]

STEPS = 12
NARROW = (2.0, 1.9)
"""Ends of the short stretch."""
FAR = 0.25
"""Offset in steps that counts as another level's."""
SAME_LEVEL = 1e-5
"""Relative difference of levels that counts as rounding, to single precision."""
SAME_STATE = 1e-12
COUNTED = (6, 11, 24)
"""Numbers of steps at which evaluations are counted."""
TO_ZERO = (0.3, 0.25, 0.2, 0.15, 0.1, 0.0)
JUMP = 1.5
"""Error at σ = 0 in those of the exact jump that the last step may have."""
_STALE = "ends in the denoising output of an earlier state"
OWN = 128
"""Steps at which a sampler with a grid of its own is looked at."""


@dataclass(frozen=True)
class Finding:
    """One outcome of an audit."""

    id: str
    verdict: Status
    measured: float
    promised: float
    """NaN where nothing was promised, or no number was."""
    detail: str

    @classmethod
    def of(
        cls, name: str, fine: bool, measured: float, promised: float, good: str, bad: str
    ) -> Finding:
        """HOLDS or FAILS, with the words for either."""
        verdict = Status.HOLDS if fine else Status.FAILS
        return cls(name, verdict, float(measured), float(promised), good if fine else bad)


def _untested(name: str, why: str, measured: float = np.nan) -> Finding:
    return Finding(name, Status.NOT_TESTED, float(measured), np.nan, why)


# Order


def orders(
    curves: Iterable[Curve], found: Iterable[Estimate], promised: int | None
) -> list[Finding]:
    """One finding per problem."""
    return [
        Finding(
            f"order/{curve.problem}",
            judge(each, promised),
            each.order,
            np.nan if promised is None else float(promised),
            f"in [{each.low:.2f}, {each.high:.2f}]: {each.why}"
            if each.low == each.low
            else each.why,
        )
        for curve, each in zip(curves, found, strict=True)
    ]


def convergence(curves: Iterable[Curve], found: Iterable[Estimate]) -> Finding:
    """Whether the error tends to zero on every problem."""
    worst, fine, words = np.inf, True, ""
    for curve, each in zip(curves, found, strict=True):
        ratio = curve.rms[-2] / max(curve.rms[-1], np.finfo(float).tiny)
        at_floor = curve.rms[-1] <= max(ABOVE * curve.floor, curve.coarse)
        gain = np.inf if at_floor else float(ratio)
        if gain < worst:
            worst, words = (
                gain,
                f"{curve.rms[-1]:.2e} after {curve.steps[-1]:g} steps on {curve.problem}",
            )
        stays = np.isfinite(each.high) and each.settled and each.high < 1 - SHORT
        fine &= at_floor or not (stays or gain < 1.05)
    return Finding.of(
        "limit",
        fine,
        worst,
        np.nan,
        f"the error tends to zero: {words}" if words else "the error is round-off",
        f"the error does not tend to zero with the steps: {words}",
    )


# Calls


def evaluations(subject: Subject, problem: Problem, grid: Grid, start: Floats) -> list[Finding]:
    """Counts, and the levels of the calls. `start`: (B, D) standard normal."""
    counted, wrong = [], None
    for steps in COUNTED:
        sigmas = subject.grid(grid, steps, problem.high, problem.low)
        nfe = subject.run(problem.denoiser, sigmas[0] * start, sigmas).nfe
        promised = subject.nfe(steps) if subject.nfe else nfe
        counted.append((steps, nfe, promised))
        wrong = counted[-1] if nfe != promised and wrong is None else wrong
    words = ", ".join(f"{nfe:g} in {steps} steps" for steps, nfe, _ in counted)
    steps, nfe, promised = wrong or counted[-1]
    bad = f"{words}; {promised:g} promised in {steps}"
    count = Finding.of("nfe", wrong is None, nfe, promised, words, bad)
    if subject.nfe is None:
        count = _untested("nfe", f"{words}; nothing promised", nfe / steps)
    sigmas = subject.grid(grid, OWN if subject.levels else STEPS, problem.high, problem.low)
    run = subject.run(problem.denoiser, sigmas[0] * start, sigmas, trace=True)
    return [count, _levels(run, sigmas, subject), _repeats(run)]


def _levels(run: Run, sigmas: Floats, subject: Subject) -> Finding:
    """First call at σ_0, none outside the grid, none back up by more than a step."""
    called = np.array([call.sigma for call in run.calls])
    slack = SAME_LEVEL * sigmas[0], SAME_LEVEL * sigmas[-1]
    faults = []
    first = sigmas[subject.late]
    if abs(called[0] - first) > SAME_LEVEL * first:
        k = int(np.abs(sigmas - called[0]).argmin())
        faults.append(f"the first evaluation is at σ = {called[0]:.6g}, level {k} of the grid")
    outside = (called > sigmas[0] + slack[0]) | (called < sigmas[-1] - slack[1])
    if outside.any():
        faults.append(f"evaluates at σ = {called[outside][0]:.6g}, outside the grid")
    place = _place(called, sigmas)
    back = np.maximum.accumulate(place) - place
    if back.max() > 1 + 1e-3:
        k = int(back.argmax())
        faults.append(
            f"goes back up by {back[k]:.2g} steps to σ = {called[k]:.6g} in evaluation {k + 1}"
        )
    return Finding.of(
        "levels",
        not faults,
        float(called.min()),
        float(sigmas[-1]),
        f"{len(called)} evaluations from σ = {called[0]:.4g} down to {called.min():.4g}, in order",
        "; ".join(faults),
    )


def _place(levels: Floats, sigmas: Floats) -> Floats:
    """Where levels lie in a grid, in steps."""
    return np.interp(-levels, -sigmas, np.arange(len(sigmas), dtype=float))


def _repeats(run: Run) -> Finding:
    """No evaluation twice, and none of the state that is returned."""
    seen: dict[float, list[tuple[int, Floats]]] = {}
    faults = []
    for k, call in enumerate(run.calls):
        for before, x in seen.setdefault(call.sigma, []):
            if _same(call.x, x):
                faults.append(
                    f"evaluations {before + 1} and {k + 1} are the same (σ = {call.sigma:.6g})"
                )
        seen[call.sigma].append((k, call.x))
    if run.sigmas[-1] > 0:
        faults += [
            f"evaluation {k + 1} is of the final state at the last level, and moves nothing: "
            "a last σ twice"
            for k, x in seen.get(float(run.sigmas[-1]), [])
            if _same(x, run.final)
        ]
    return Finding.of(
        "repeats",
        not faults,
        len(faults),
        0,
        f"{len(run.calls)} different evaluations",
        "; ".join(faults[:2]) + (f" and {len(faults) - 2} more" if len(faults) > 2 else ""),
    )


def _same(a: Floats, b: Floats) -> bool:
    return a.shape == b.shape and bool(np.abs(a - b).max() <= SAME_STATE * np.abs(b).max())


# States and levels


def _offset(x: Floats, exact: Floats, rate: Floats) -> float:
    """δ of the module's docstring."""
    return float(np.vdot(x - exact, rate) / np.vdot(rate, rate))


def local(subject: Subject, problem: Problem, grid: Grid, start: Floats) -> list[Finding]:
    """Every evaluated state, and the final one, on a short stretch of the exact flow."""
    if subject.levels is not None:
        return _own_path(subject, problem, grid, start)
    sigmas = subject.grid(grid, STEPS, *NARROW)
    x = sigmas[0] * start
    run = subject.run(problem.denoiser, x, sigmas, trace=True)
    step = float(-np.diff(sigmas).mean())

    def offset(state: Floats, sigma: float) -> float:
        exact = problem.flow(x, np.array([sigmas[0], sigma]))[0][-1] if sigma < sigmas[0] else x
        rate = (exact - np.asarray(problem.denoiser(exact, sigma))) / sigma
        return _offset(state, exact, rate) / step

    low, high = sigmas[-1] - step, sigmas[0]
    calls = [call for call in run.calls if call.x.shape == x.shape and low <= call.sigma <= high]
    paired = _pairs(calls, [offset(call.x, call.sigma) for call in calls])
    last = run.last
    if last is None:
        return [paired, _untested("endpoint", "the sampler goes to σ = 0 and returns no states")]
    ahead = offset(last[1], last[0])
    stale = _output_of(run.final, run.calls) if run.sigmas[-1] > 0 else None
    about = last[0] + ahead * step
    bad = f"the final state is {abs(ahead):.2g} steps from σ_n, at about σ = {about:.4g}"
    if stale is not None:
        early = stale.sigma > sigmas[-1] * (1 + SAME_LEVEL)
        bad = (
            "the final state is no state at σ_n but the denoising output of "
            f"{'an earlier' if early else 'the last'} state, at σ = {stale.sigma:.6g}"
        )
    moved = run.states is not None and not _same(run.states[0], x)
    if moved:
        bad = "the first state returned is not the start"
    fine = abs(ahead) <= FAR and stale is None and not moved
    good = f"the final state is that at σ_n, within {abs(ahead):.1e} steps"
    return [paired, Finding.of("endpoint", fine, abs(ahead), 0, good, bad)]


def _pairs(calls: Sequence[Call], offsets: Sequence[float]) -> Finding:
    if not offsets:
        return _untested("state", "no evaluation of the whole batch")
    k = int(np.abs(offsets).argmax())
    return Finding.of(
        "state",
        abs(offsets[k]) <= FAR,
        abs(offsets[k]),
        0,
        f"every state is evaluated at its own σ, within {abs(offsets[k]):.1e} steps",
        f"the state evaluated at σ = {calls[k].sigma:.6g} is {abs(offsets[k]):.2g} steps "
        f"{'behind' if offsets[k] > 0 else 'ahead'}",
    )


def _own_path(subject: Subject, problem: Problem, grid: Grid, start: Floats) -> list[Finding]:
    """The same beside the states returned, for a sampler whose grid cannot be chosen."""
    sigmas = subject.grid(grid, OWN, problem.high, problem.low)
    run = subject.run(problem.denoiser, sigmas[0] * start, sigmas, trace=True)
    if run.states is None:
        why = "a sampler with a grid of its own that returns no states"
        return [_untested("state", why), _untested("endpoint", why)]
    calls, offsets = [], []
    for call in run.calls:
        if call.sigma < problem.low or call.x.shape != start.shape:
            continue
        place = float(_place(np.array([call.sigma]), sigmas)[0])
        k = min(int(place), len(sigmas) - 2)
        h = sigmas[k] - sigmas[k + 1]
        chord = (run.states[k] - run.states[k + 1]) / h
        calls.append(call)
        offsets.append(_offset(call.x, run.states[k] + (call.sigma - sigmas[k]) * chord, chord) / h)
    return [_pairs(calls, offsets), _last_step(run, sigmas)]


def _last_step(run: Run, sigmas: Floats) -> Finding:
    """What the last step of a sampler with a grid of its own does."""
    if sigmas[-1] > 0:
        return _untested("endpoint", f"its own grid ends at σ = {sigmas[-1]:.4g}: see limit")
    found = _output_of(run.final, run.calls)
    if found is None:
        return _untested("endpoint", "the last step, to σ = 0, is no jump to a denoising output")
    level = float(sigmas[-2])
    return Finding.of(
        "endpoint",
        abs(found.sigma - level) <= SAME_LEVEL * level,
        found.sigma,
        level,
        f"ends in the denoising output of the state at the last positive σ = {level:.4g}",
        f"{_STALE}, at σ = {found.sigma:.6g}, not {level:.6g}",
    )


def _output_of(final: Floats, calls: Sequence[Call]) -> Call | None:
    """The evaluation whose output the final state is, if any."""
    size = np.abs(final).max()
    for call in reversed(calls):
        if (
            call.denoised.shape == final.shape
            and np.abs(call.denoised - final).max() <= 1e-6 * size
        ):
            return call
    return None


def jump(subject: Subject, problem: Problem, start: Floats) -> Finding:
    """A last step to σ = 0: as good as the denoising output of the state before it."""
    if subject.levels is not None:
        return _untested("zero", "on its own grid: see endpoint")
    sigmas = np.array(TO_ZERO[:-1] if subject.jump else TO_ZERO)
    x = sigmas[0] * start
    try:
        run = subject.run(problem.denoiser, x, sigmas, trace=True)
    except (ValueError, ArithmeticError) as error:
        return _untested("zero", f"takes no grid that ends in σ = 0 ({error})")
    exact = problem.flow(x, np.array(TO_ZERO))[0]
    honest = _rms(np.asarray(problem.denoiser(exact[-2], TO_ZERO[-2])) - exact[-1])
    share = _rms(run.final - exact[-1]) / honest
    used = _output_of(run.final, run.calls)
    if used is not None and used.sigma > TO_ZERO[-2] * (1 + SAME_LEVEL):
        words = f"{_STALE}, at σ = {used.sigma:g}, not {TO_ZERO[-2]:g}"
        return Finding("zero", Status.FAILS, share, 1.0, words)
    words = f"error at σ = 0 in that of the denoising output of the state before: {share:.3g}"
    verdict = Status.HOLDS if share <= JUMP else Status.INCONCLUSIVE
    return Finding("zero", verdict, share, 1.0, words)


def own_grid(subject: Subject) -> Finding:
    """Whether a grid that a sampler makes for itself decreases."""
    faults = []
    for steps in (*COUNTED, OWN):
        sigmas = subject.grid(lambda *_: (), steps, 0.0, 0.0)
        bad = np.flatnonzero(np.diff(sigmas) >= 0)
        if bad.size:
            k = int(bad[-1])
            faults.append(
                f"{steps} steps: σ_{k} = {sigmas[k]:.6g} is followed by {sigmas[k + 1]:.6g}"
                + (
                    " (the last σ twice)"
                    if k == len(sigmas) - 2 and sigmas[k] == sigmas[k + 1]
                    else ""
                )
            )
    return Finding.of(
        "grid", not faults, len(faults), 0, "its levels decrease", "; ".join(faults[:2])
    )


# Parametrizations


def forms(
    subject: Subject, problem: Problem, grid: Grid, start: Floats, floor: float
) -> list[Finding]:
    """The same states from a model in another parametrization."""
    if not subject.forms:
        return []
    sigmas = subject.grid(grid, STEPS, problem.high, problem.low)
    x = sigmas[0] * start
    mine = subject.run(problem.denoiser, x, sigmas).final
    bound = 100 * max(floor, float(np.finfo(float).eps) * float(np.abs(x).max()))
    found = []
    for name in subject.forms:
        apart = float(
            np.abs(subject.run(problem.denoiser, x, sigmas, form=name).final - mine).max()
        )
        found.append(
            Finding.of(
                f"parametrization/{name}",
                apart <= bound,
                apart,
                bound,
                f"the same final states to {apart:.1e}",
                f"final states differ by {apart:.1e} from those with the x0 model",
            )
        )
    return found


def _rms(gap: Any) -> float:
    return float(np.sqrt(np.mean(np.sum(np.square(gap), axis=-1))))


def standard(count: int, dim: int, seed: int) -> Floats:
    """(B, D) standard normal starts."""
    return noise(count, dim, 1.0, seed)
