"""Trajectories: what a flow or a sampler returns.

A trajectory holds the states x(σ) and the denoising outputs D(x(σ); σ) on one
monotone grid of noise levels, for a batch of starts, and says how each of
them ended. `enter` and `leave` are the one place where states change between the
coordinates of a `NoiseSchedule`, x_t = α_t x̂, and those of the flow, x̂ at level s = σ_t/α_t.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check
from .noise import NoiseSchedule
from .posterior import Posterior

__all__ = ["Collapse", "Result", "Trajectory", "enter", "leave"]

Floats = NDArray[Any]


class Result(IntEnum):
    """How one trajectory ended; `.remedy` says what to do about it."""

    DONE = 0
    MAX_STEPS = 1
    NON_FINITE = 2
    UNDECIDED = 3
    STALLED = 4

    @property
    def remedy(self) -> str:
        """What happened and what helps."""
        return _REMEDIES[self]


_REMEDIES = {
    Result.DONE: "reached the last noise level",
    Result.MAX_STEPS: "used up max_steps; later states are NaN: raise max_steps or the tolerances",
    Result.NON_FINITE: "the denoiser gave NaN or infinity; later states are NaN: check it there",
    Result.UNDECIDED: (
        "stays between data points down to the smallest noise level that can be told from zero "
        "(a separatrix): the state there is kept as the end, without a certificate"
    ),
    Result.STALLED: (
        "the error could not be brought below the tolerance by smaller steps; later states are "
        "NaN: raise rtol above the denoiser's own rounding (a float32 denoiser supports about 1e-5)"
    ),
}


@dataclass(frozen=True, eq=False)
class Collapse:
    """Where B trajectories of an optimal denoiser end, by the trap certificate (theory D1)."""

    index: NDArray[np.int64]
    """(B,) data point the trajectory converges to; the nearest one where not certified."""
    certified: NDArray[np.bool_]
    """(B,) whether a certificate was found."""
    sigma: Floats
    """(B,) first certified noise level among those the integrator stopped at; NaN if none."""
    bound: Floats
    """(B,) from there on, |x(s) - x_i - (s/σ)(x(σ) - x_i)| is at most this; infinite if none."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """States and denoising outputs of B starts at T noise levels."""

    sigmas: Floats
    """(T,) noise levels, strictly decreasing; strictly increasing where made by `encode`."""
    states: Floats
    """(T, B, D) states x(σ); α x(σ) where made with a schedule, see `times`."""
    denoised: Floats
    """(T, B, D) D(x(σ); σ); at σ = 0 the state itself."""
    nfe: NDArray[np.int64]
    """(B,) denoiser evaluations the integration took, as counted (a row in a call is one).
    Evaluations that only fill `denoised` or other saved states, or estimate the error or
    the noise, are not counted."""
    error: Floats
    """(B,) estimated global error of the final state, in data units; NaN where not estimated."""
    result: NDArray[np.int64]
    """(B,) codes of `Result`."""
    collapse: Collapse | None = None
    """Limits, for the exact flow of an `OptimalDenoiser`."""
    noise: Floats | None = None
    """(B,) rounding noise of the denoiser, in data units, where a trajectory stalled, else NaN;
    None where none did."""
    log_prob: Floats | None = None
    """(T, B) log p_σ(x(σ)) in nats, in closed form; NaN at σ = 0. This and what follows is
    None unless asked for, and NaN where the state is."""
    log_prob_flow: Floats | None = None
    """(T, B) the same by the change of variables along the path (theory C3), from the closed
    form at the start; NaN at σ = 0."""
    jacobian: Floats | None = None
    """(T, B, D, D) derivative of x(σ) by the start; 0 at σ = 0, where the map is constant
    but for jumps. NaN from where an entry passes 1e250 σ/σ_0, as on a separatrix."""
    tangent: Floats | None = None
    """(T, B, D) the Jacobian's action on the `tangent` given, in its units; 0 at σ = 0."""
    arc_length: Floats | None = None
    """(T, B) length of the path x from the start on, in data units; at σ = 0 that of the
    whole path."""
    curvature: Floats | None = None
    """(T, B) Frenet curvature κ of the path x, in inverse data units (theory C2); 0 at σ = 0,
    as paths end straight."""
    posterior: Posterior | None = None
    """Statistics with axes (T, B) before those of one query; at σ = 0 tr C and entropy are 0
    and log p and `top` have no value (NaN, index -1)."""
    times: Floats | None = None
    """(T,) times of the levels in the schedule that was given; None without one. With it,
    `states` and `error` are in its coordinates, α times those of the flow; all else, `collapse`
    too, stays as it is without."""

    @property
    def final(self) -> Floats:
        """(B, D) the last states."""
        return self.states[-1]

    @property
    def ok(self) -> bool:
        """Whether every trajectory reached the last noise level."""
        return bool((self.result == Result.DONE).all())

    def explain(self) -> str:
        """One line per way of ending: how many, which, where, and what to do."""
        lines = []
        for code in np.unique(self.result):
            rows = np.flatnonzero(self.result == code)
            shown = ", ".join(map(str, rows[:8])) + (", ..." if rows.size > 8 else "")
            kind = Result(int(code))
            where = "" if kind in (Result.DONE, Result.UNDECIDED) else self._where(rows)
            lines.append(f"{rows.size} x {kind.name} (rows {shown}{where}): {kind.remedy}")
            if kind is Result.STALLED and self.noise is not None:
                size = np.nanmax(np.abs(self.denoised[:, rows]))
                lines[-1] += (
                    f"; the denoiser's own rounding noise there is up to "
                    f"{np.nanmax(self.noise[rows]):.1e} (outputs are of size {size:.1e})"
                )
        return "\n".join(lines)

    def _where(self, rows: NDArray[np.intp]) -> str:
        """Last levels with a state."""
        count = np.isfinite(self.states[:, rows]).all(axis=2).sum(axis=0)
        last = np.unique(self.sigmas[np.maximum(count, 1) - 1])
        shown = f"{last[0]:g}" if last.size == 1 else f"{last[0]:g} to {last[-1]:g}"
        return f"; last state at sigma {shown}"

    def __repr__(self) -> str:
        t, b, d = self.states.shape
        return f"Trajectory(T={t}, B={b}, D={d}, sigma {self.sigmas[0]:g} -> {self.sigmas[-1]:g})"

    def select(self, rows: Any) -> Trajectory:
        """The same trajectory for some of the starts only: their indices, a mask or a slice."""
        rows = (
            np.atleast_1d(_check.indices(rows, self.states.shape[1], "rows"))
            if not isinstance(rows, slice)
            else rows
        )
        found, post = self.collapse, self.posterior
        parts: dict[str, Any] = {
            "collapse": found
            and Collapse(
                found.index[rows], found.certified[rows], found.sigma[rows], found.bound[rows]
            ),
            "posterior": post and post.select((slice(None), rows)),
        }
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in _BY_ROW:
                parts[each.name] = value if value is None else value[rows]
            elif each.name not in ("sigmas", "times") and each.name not in parts:
                parts[each.name] = value if value is None else value[:, rows]
        return replace(self, **parts)


def enter(schedule: NoiseSchedule | None, x: Floats, sigmas: Floats, argument: str) -> Floats:
    """Starts (B, D) of a schedule at the first of the levels (T,), as starts x/α of the flow.

    Raises
    ------
    ValueError, TypeError
        naming the argument, if a level is not one of the schedule's.
    """
    if schedule is None:
        return x
    if not isinstance(schedule, NoiseSchedule):
        _check.fail(
            "schedule",
            _check.show(schedule),
            "a NoiseSchedule or None",
            "NoiseSchedule.vp(), for instance",
            TypeError,
        )
    schedule.levels(sigmas, argument)
    return _check.queries(x / schedule.scale(sigmas[0]), x.shape[1])[0]


def leave(schedule: NoiseSchedule | None, found: Trajectory) -> Trajectory:
    """A trajectory of the flow in the coordinates of the schedule."""
    if schedule is None:
        return found
    scale = schedule.scale(found.sigmas)
    return replace(
        found,
        states=scale[:, None, None] * found.states,
        error=scale[-1] * found.error,
        times=schedule.time(found.sigmas),
    )


_BY_ROW = ("nfe", "error", "result", "noise")
"""Fields (B,); the other arrays have T in front."""
