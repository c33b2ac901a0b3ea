"""Trajectories: what a flow or a sampler returns.

A trajectory holds the states x(σ) and the denoising outputs D(x(σ); σ) on one
decreasing grid of noise levels, for a batch of starts, and says how each of
them ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Collapse", "Result", "Trajectory"]

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
        "NaN: raise rtol (a float32 denoiser supports about 1e-5)"
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
    """(T,) noise levels, strictly decreasing."""
    states: Floats
    """(T, B, D) states x(σ)."""
    denoised: Floats
    """(T, B, D) D(x(σ); σ); at σ = 0 the state itself."""
    nfe: NDArray[np.int64]
    """(B,) denoiser evaluations the integration took, as counted (a row in a call is one).
    Evaluations that only fill `denoised` or estimate the error are not counted."""
    error: Floats
    """(B,) estimated global error of the final state, in data units; NaN where not estimated."""
    result: NDArray[np.int64]
    """(B,) codes of `Result`."""
    collapse: Collapse | None = None
    """Limits, for the exact flow of an `OptimalDenoiser`."""

    @property
    def final(self) -> Floats:
        """(B, D) the last states."""
        return self.states[-1]

    @property
    def ok(self) -> bool:
        """Whether every trajectory reached the last noise level."""
        return bool((self.result == Result.DONE).all())

    def explain(self) -> str:
        """One line per way of ending: how many, which, and what to do."""
        lines = []
        for code in np.unique(self.result):
            rows = np.flatnonzero(self.result == code)
            shown = ", ".join(map(str, rows[:8])) + (", ..." if rows.size > 8 else "")
            kind = Result(int(code))
            lines.append(f"{rows.size} x {kind.name} (rows {shown}): {kind.remedy}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        t, b, d = self.states.shape
        return f"Trajectory(T={t}, B={b}, D={d}, sigma {self.sigmas[0]:g} -> {self.sigmas[-1]:g})"

    def select(self, rows: Any) -> Trajectory:
        """The same trajectory for some of the starts only."""
        found = self.collapse
        part = found and Collapse(
            found.index[rows], found.certified[rows], found.sigma[rows], found.bound[rows]
        )
        return Trajectory(
            self.sigmas,
            self.states[:, rows],
            self.denoised[:, rows],
            self.nfe[rows],
            self.error[rows],
            self.result[rows],
            part,
        )
