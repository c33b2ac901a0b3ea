"""What samplers promise: an order, and the exact flow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, grids, solvers
from ..audit import Status, follow, orders
from ..denoisers import OptimalDenoiser, width_of
from ..flow import integrate
from ..noise import noise
from ..points import PointSet
from ._judge import changed, model, refuse, shown, states_of, tolerance

__all__ = ["assert_matches_exact_flow", "assert_order"]

Floats = NDArray[np.float64]

SIZES = (8, 16, 32, 64, 128, 256)
MORE = 0.25
"""How far above a promise a whole interval must lie to be more than it."""


def assert_order(
    sampler: Any,
    p: int,
    *,
    exactly: bool = False,
    points: Any = None,
    grid: Callable[[int, float, float], Any] = grids.polynomial,
    sizes: Sequence[int] = SIZES,
    starts: int = 4,
    seed: int = 0,
) -> None:
    """Assert that a sampler's global error falls like n^-p, n the number of steps.

    Measured as `an.audit` does, on flows in closed form: Gaussian data, a mixture on a line, two
    points. An order is missed where the interval of the measured one ends below it; a sampler whose
    errors do not tend to zero, or whose order cannot be told on any problem, fails as well.

    Parameters
    ----------
    sampler : a name of `an.solvers.names()`, a `Solver`, or any callable
        (denoiser, x (B, D), sigmas (n + 1,)) → states (n + 1, B, D), the final ones (B, D), or a
        `Trajectory`, deterministic; as for `an.audit`.
    p : the promised order.
    exactly : whether more than that fails, too.
    points : `PointSet` or (N, D) array whose exact flow is one more problem.
    grid : (number of levels, σ_0, σ_n) → levels.
    sizes : numbers of steps, each twice the one before, five or more.
    starts, seed : starts of each run.

    Raises
    ------
    AssertionError
        with the problem that is worst and the table of errors.
    ValueError, TypeError
        for bad arguments, and samplers that return the wrong shape, or NaN.
    """
    __tracebackhide__ = True
    promised = _check.integer(p, "p", low=1, high=20)
    no_more = _check.flag(exactly, "exactly")
    steps = tuple(_check.integer(n, "sizes", low=1) for n in sizes)
    if len(steps) < 5 or any(b <= a for a, b in itertools.pairwise(steps)):
        _check.fail("sizes", _check.show(sizes), "five or more, increasing", "8, 16, …, 256")
    found = orders(
        _plain(sampler), points, order=promised, grid=grid, starts=starts, sizes=steps, seed=seed
    )
    wrong: tuple[float, str, str] | None = None
    for finding in found.findings:
        if finding.verdict is Status.FAILS:
            short = promised - finding.measured if finding.id != "limit" else np.inf
            if wrong is None or short > wrong[0]:
                wrong = short, finding.id, finding.detail
    judged = [f for f in found.findings if f.id != "limit" and f.verdict is Status.HOLDS]
    if wrong is None and no_more:
        for name, each in found.estimates.items():
            if each.settled and each.low > promised + MORE:
                wrong = each.order - promised, f"order/{name}", "more than promised"
    if wrong is None and judged:
        return
    if wrong is None:
        wrong = np.nan, "all problems", "no order could be told: " + found.findings[1].detail
    _, problem, detail = wrong
    name = problem.split("/")[-1]
    measured = found.estimates[name].order if name in found.estimates else np.nan
    table = "\n".join(f"    {line}" for line in str(found.table).splitlines())
    refuse(
        "assert_order",
        f"the global error of {found.sampler} falls like n^-{promised}"
        f"{', and no faster' if no_more else ''}",
        {"worst": f"{problem}: {detail}", "errors": f"\n{table}"},
        float(measured),
        float(promised),
        "order",
        [
            "import analytic as an",
            f"an.testing.assert_order(sampler, {promised}"
            + changed(exactly=(no_more, False), sizes=(steps, SIZES), starts=(starts, 4))
            + changed(seed=(seed, 0))
            + ("" if points is None else ", points=points")
            + ("" if grid is grids.polynomial else ", grid=grid")
            + ")",
        ],
    )


def assert_matches_exact_flow(
    sampler: Any,
    denoiser: Any,
    x: Any = None,
    sigmas: Any = None,
    *,
    rtol: float = 1e-2,
    atol: float | None = None,
    all_states: bool = False,
    count: int = 8,
    seed: int = 0,
) -> None:
    """Assert that a sampler ends where the exact flow does, trajectory by trajectory.

    The flow is `an.integrate`'s at rtol = 1e-11; its own estimated error is added to the bound.
    Near a separatrix, where the flow decides between points, no sampler with a finite number of
    steps is sure to agree: stay above it with the last of the `sigmas`, or pass starts x elsewhere.

    Parameters
    ----------
    sampler : as for `assert_order`.
    denoiser : a denoiser, or data for the optimal one: `PointSet` or (N, D) array.
    x : (B, D) states at σ_0; by default `count` draws of σ_0 z from `seed`.
    sigmas : (n + 1,) decreasing levels; by default 65 of `an.grids.polynomial`, from 80 times the
        data's power of ten down to a sixth of the diameter, where discrete data still flow
        smoothly (to 0.1 for a denoiser without points).
    rtol, atol : |difference| ≤ atol + rtol |exact state|, atol in data units; by default 1e-2
        times the diameter. With the default levels Heun needs a tenth of that; Euler may need
        five times as much.
    all_states : whether to compare all states, not the final ones alone.

    Raises
    ------
    AssertionError
        with the trajectory that is farthest off.
    ValueError, TypeError
        for bad arguments, and for last levels of 0 where there are no data to end at.
    """
    __tracebackhide__ = True
    exact = denoiser
    if isinstance(denoiser, PointSet) or not callable(denoiser):
        exact = OptimalDenoiser(denoiser)
    exact = model(exact)
    data = getattr(exact, "points", None)
    data = data if isinstance(data, PointSet) else None
    share = tolerance(rtol, "rtol")
    whole = _check.flag(all_states, "all_states")
    high, low = (80.0, 0.1) if data is None else grids.noise_range(data)
    if data is not None:
        low = max(low, data.diameter_bounds[1] / 6)
        # data may spread much less by weight than they reach
        high = max(high, 100 * low)
    levels = grids.polynomial(65, high, low) if sigmas is None else grids.validate(sigmas)
    many, start = _check.integer(count, "count", low=1), _check.seed(seed)
    if x is None:
        dim = width_of(exact)
        if dim is None:
            _check.fail("x", "None", "starts (B, D)", "this denoiser does not tell its D")
        begin = noise(many, dim, float(levels[0]), start)
    else:
        begin = np.atleast_2d(_check.array(x, "x")).astype(np.float64)
    unit = 1.0 if data is None else data.diameter_bounds[1] or 1.0
    room = 1e-2 * unit if atol is None else _check.number(atol, "atol", low=0.0)
    truth = integrate(
        exact, begin, float(levels[0]), float(levels[-1]),
        rtol=1e-11, atol=1e-13 * unit, save_at=levels,
    )  # fmt: skip
    run = follow(_plain(sampler), exact, begin, levels)
    if whole and (run.states is None or len(run.states) != len(levels)):
        _check.fail("sampler", "final states only", "all states", "or drop all_states")
    mine = np.asarray(run.states) if whole else run.final[None]
    theirs = truth.states if whole else truth.states[-1:]
    away = np.linalg.norm(mine - theirs, axis=2)
    limit = room + share * np.linalg.norm(theirs, axis=2) + np.nan_to_num(truth.error)
    failed = ~(away <= limit)
    if not failed.any():
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.where(failed, away / limit, -np.inf)
    t, b = np.unravel_index(int(np.where(np.isnan(away), np.inf, excess).argmax()), away.shape)
    level = float(levels[t] if whole else levels[-1])
    given = "" if x is None else ", x=x"
    given += "" if sigmas is None else ", sigmas=sigmas"
    kept = changed(
        rtol=(share, 1e-2), atol=(atol, None), all_states=(whole, False), count=(many, 8),
        seed=(start, 0),
    )  # fmt: skip
    first = "denoiser" if exact is denoiser else "points"
    lines = ["import analytic as an"]
    if begin.shape[1] <= 24:
        lines.append(f"x = [{[float(value) for value in begin[b]]!r}]")
        given = ", x=x" + ("" if sigmas is None else ", sigmas=sigmas")
        kept = changed(rtol=(share, 1e-2), atol=(atol, None), all_states=(whole, False))
    lines.append(f"an.testing.assert_matches_exact_flow(sampler, {first}{given}{kept})")
    refuse(
        "assert_matches_exact_flow",
        f"{'every state' if whole else 'the end'} is the exact flow's",
        {
            "worst": f"trajectory {b} of {len(begin)}, σ = {level!r}, start {shown(begin[b])}",
            "which is": f"{shown(mine[t, b])} instead of {shown(theirs[t, b])}",
            "failing rows": f"{int(failed.any(axis=0).sum())} of {len(begin)} trajectories",
        },
        float(away[t, b]),
        float(limit[t, b]),
        "distance from the exact state, in data units",
        lines,
    )


def _plain(sampler: Any) -> Any:
    """The sampler, its answer as an array where it is a `Trajectory`."""
    if not callable(sampler) or isinstance(sampler, solvers.Solver):
        return sampler
    return _Unwrapped(sampler)


class _Unwrapped:
    """A callable that passes on what a sampler says of itself."""

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler
        self.name = getattr(sampler, "name", getattr(sampler, "__name__", type(sampler).__name__))

    def __getattr__(self, name: str) -> Any:
        # not `order` and `nfe`: the promise is the caller's
        if name in ("levels", "sizes", "eps"):
            return getattr(self._sampler, name)
        raise AttributeError(name)

    def __call__(self, *args: Any) -> Any:
        return states_of(self._sampler(*args))
