"""How a model sees a VE state x̂ at level σ: its input x_t = α x̂, its time, and D of its output.

Clocks, from the time t of a schedule (without one t is σ itself) to what a module is told:

    t               t                       log_sigma    log σ
    a number c      c t                     index        t rounded to a whole number
    sigma           σ                       a callable   f(t)

An `index`, and a callable that rounds, tell the module a time that is not quite that of σ; its
input and what is made of its output stay those of σ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, targets
from ..noise import NoiseSchedule

__all__ = ["CLOCKS", "NAMES", "Frame", "frame"]

Floats = NDArray[np.float64]
CLOCKS = ("t", "sigma", "log_sigma", "index")
NAMES = (*targets.NAMES, "edm")


@dataclass(frozen=True, eq=False)
class Frame:
    """The coordinates of a model; `frame` checks what they are made of."""

    parameterization: str
    schedule: NoiseSchedule | None
    clock: str | float | Callable[[Any], Any]
    clip: bool = False
    """Whether levels beyond the schedule, which then preserves variance, are told the time of its
    nearest end. Input and output stay those of σ."""

    @property
    def _target(self) -> NoiseSchedule | None:
        # of a schedule that preserves variance v is the one without a schedule, at any σ
        return None if self.clip else self.schedule

    def scale(self, sigma: Floats) -> Floats:
        """(B,) α of σ."""
        if self.clip:
            return np.asarray(1 / np.hypot(1.0, sigma))
        s = self.schedule
        return np.ones_like(sigma) if s is None else np.asarray(s.scale(s.levels(sigma)))

    def time(self, sigma: Floats) -> Any:
        """(B,) what the module is told."""
        if self.clock == "sigma" or self.clock == "log_sigma":
            return sigma if self.clock == "sigma" else np.log(sigma)
        t: Any = sigma
        if self.schedule is not None:
            s = self.schedule
            low, high = (s.level(s.t_min), s.level(s.t_max)) if self.clip else (None, None)
            t = s.time(np.clip(sigma, low, high) if self.clip else s.levels(sigma))
        if callable(self.clock):
            return self.clock(t)
        if isinstance(self.clock, str):
            return np.rint(t).astype(np.int64) if self.clock == "index" else t
        return self.clock * t

    def level(self, time: Floats) -> Floats:
        """(B,) σ of what the module is told."""
        if callable(self.clock):
            _check.fail(
                "time",
                "a callable",
                f"one of {', '.join(CLOCKS)} or a number",
                "levels cannot be found from the times of a callable",
            )
        if self.clock == "sigma" or self.clock == "log_sigma":
            return time if self.clock == "sigma" else np.asarray(np.exp(time))
        t = time if isinstance(self.clock, str) else time / self.clock
        return t if self.schedule is None else self.schedule.level(t)

    def denoised(self, x: Floats, y: Floats, sigma: Floats) -> Floats:
        """(B, D) D of the module's output y at VE states x, σ (B,)."""
        if self.parameterization == "edm":
            return y
        found = targets.denoised(self.parameterization, x, y, sigma[:, None], self._target)
        return np.asarray(found)

    def output(self, x: Floats, denoised: Floats, sigma: Floats) -> Floats:
        """The inverse of `denoised`."""
        if self.parameterization == "edm":
            return denoised
        return targets.output(self.parameterization, x, denoised, sigma[:, None], self._target)


def frame(parameterization: Any, schedule: Any, time: Any) -> Frame:
    """The coordinates that arguments of `from_torch` and `to_torch` name.

    Raises
    ------
    ValueError, TypeError
        for names that do not exist, and for "edm" with a schedule or a clock: its σ is its time.
    """
    name = _check.choice(parameterization, "parameterization", NAMES)
    if schedule is not None and not isinstance(schedule, NoiseSchedule):
        _check.fail(
            "schedule",
            _check.show(schedule),
            "a NoiseSchedule or None",
            "see analytic.NoiseSchedule.vp and its neighbours",
            TypeError,
        )
    if name == "edm" and (schedule is not None or time is not None):
        key, came = ("time", time) if schedule is None else ("schedule", schedule)
        _check.fail(
            key,
            _check.show(came),
            "None for parameterization='edm', which takes the VE state and σ",
            "drop it, or name what the module returns: x0, eps, v or flow",
        )
    if time is None:
        return Frame(name, schedule, "sigma" if schedule is None else "t")
    return Frame(name, schedule, _clock(time, schedule))


def _clock(time: Any, schedule: NoiseSchedule | None) -> str | float | Callable[[Any], Any]:
    if isinstance(time, str):
        if _check.choice(time, "time", CLOCKS) == "index" and schedule is None:
            _check.fail(
                "time", "'index'", "a schedule with it", "pass schedule=NoiseSchedule.discrete(...)"
            )
        return time
    if callable(time):
        return time
    if isinstance(time, (bool, np.bool_)) or not np.isscalar(time):
        expected = f"one of {', '.join(CLOCKS)}, a number or a callable"
        _check.fail("time", _check.show(time), expected, "say what the module is told", TypeError)
    return _check.number(time, "time", low=0.0, open_low=True)
