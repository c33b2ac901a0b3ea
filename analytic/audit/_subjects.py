"""What is audited, and how it is run: every evaluation counted, and kept where asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check, grids, solvers, targets
from ..denoisers import Denoiser, apply
from ..sampling import sample

__all__ = ["Call", "Run", "Subject", "counts", "subject"]

Floats = NDArray[np.float64]
Grid = Callable[[int, float, float], Any]
"""(number of levels, σ_0, σ_n) to a decreasing grid."""


class Call(NamedTuple):
    """Evaluations at one level."""

    sigma: float
    x: Floats
    """(R, D)"""
    denoised: Floats
    """(R, D)"""


class Recorder:
    """A model that counts what is asked of it."""

    def __init__(self, denoiser: Denoiser, form: str, trace: bool) -> None:
        self.denoiser, self.form, self.trace = denoiser, form, trace
        self.levels: list[float] = []
        self.calls: list[Call] = []
        self.rows = 0

    def __call__(self, x: Any, sigma: Any) -> Any:
        given = _check.array(x, "x handed to the denoiser", finite=False)
        if given.ndim not in (1, 2):
            _check.fail(
                "x handed to the denoiser", f"shape {given.shape}", "(B, D)", "flatten the state"
            )
        batch = np.atleast_2d(given).astype(np.float64)
        level = _check.sigma(sigma, len(batch), zero=True, argument="sigma handed to the denoiser")
        same = bool((level == level[0]).all()) if len(level) else True
        out = apply(self.denoiser, batch, float(level[0]) if same else level)
        self.rows += len(batch)
        for s in level[:1] if same else np.unique(level)[::-1]:
            self.levels.append(float(s))
            if self.trace:
                rows = level == s
                self.calls.append(Call(float(s), batch[rows], out[rows]))
        answer = targets.output(self.form, batch, out, level[:, None])
        return answer.reshape(given.shape).astype(given.dtype, copy=False)

    def forget_last(self) -> None:
        """Leave out an evaluation that is not the sampler's."""
        self.rows -= len(self.calls.pop().x) if self.trace else self.rows // len(self.levels)
        self.levels.pop()


@dataclass(frozen=True, eq=False)
class Run:
    """One run of a sampler."""

    sigmas: Floats
    """(n + 1,) levels of the states."""
    states: Floats | None
    """(n + 1, B, D), if the sampler returns them."""
    final: Floats
    """(B, D)"""
    calls: tuple[Call, ...]
    """Evaluations in order; empty unless traced."""
    nfe: float
    """Evaluations per start, by counting rows."""

    @property
    def last(self) -> tuple[float, Floats] | None:
        """The last positive level and the state there, where that is known."""
        if self.sigmas[-1] > 0:
            return float(self.sigmas[-1]), self.final
        return None if self.states is None else (float(self.sigmas[-2]), self.states[-2])


Invoke = Callable[[Recorder, Floats, Floats], tuple[Floats, Floats | None, Floats]]
"""(model, x, grid) to levels, states or None, and the final state."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A sampler and what it promises."""

    name: str
    invoke: Invoke
    order: int | None
    nfe: Callable[[int], int] | None
    levels: Callable[[int], Floats] | None = None
    """Number of steps to its own grid, where it does not take ours."""
    sizes: tuple[int, ...] | None = None
    """Numbers of steps to measure the order at, if not the usual ones."""
    eps: float = 0.0
    """Relative rounding that it declares."""
    jump: bool = False
    """Whether it goes on to σ = 0 by itself."""
    late: int = 0
    """Index of the level of its first evaluation."""
    forms: Mapping[str, Invoke] = field(default_factory=dict)
    """The same sampler for models in other parametrizations."""
    form: str = "x0"

    def grid(self, make: Grid, steps: int, high: float, low: float) -> Floats:
        """The levels of a run: the sampler's own, else the user's between two ends."""
        if self.levels is not None:
            return np.asarray(self.levels(steps), dtype=np.float64)
        return grids.validate(make(steps + 1, high, low), "grid")

    def run(
        self,
        denoiser: Denoiser,
        x: Floats,
        sigmas: Floats,
        *,
        trace: bool = False,
        form: str | None = None,
    ) -> Run:
        """Run it on x (B, D) at σ_0; NaN and wrong shapes are errors."""
        model = Recorder(denoiser, form or self.form, trace)
        invoke = self.invoke if form is None else self.forms[form]
        with np.errstate(all="ignore"):
            levels, states, final = invoke(model, x, sigmas)
        if not model.levels:
            _check.fail(
                "sampler", "no call of the denoiser", "at least one", "call the model it is handed"
            )
        if not (np.isfinite(final).all() and (states is None or np.isfinite(states).all())):
            _check.fail(
                "sampler",
                f"NaN or infinity ({len(sigmas) - 1} steps from σ {sigmas[0]:.3g} to "
                f"{sigmas[-1]:.3g})",
                "finite states",
                "look for a division by zero, at equal levels or at σ = 0",
            )
        return Run(levels, states, final, tuple(model.calls), model.rows / len(x))


def subject(
    sampler: Any, order: Any, nfe: Any, parametrization: Any, probe: Floats | None = None
) -> Subject:
    """A sampler as an auditable subject, its promises checked."""
    form, others = _forms(parametrization)
    if isinstance(sampler, (str, solvers.Solver)):
        return _ours(solvers.get(sampler), order, nfe, form, others)
    if not callable(sampler):
        _check.fail(
            "sampler",
            _check.show(sampler),
            "the name of a solver, a Solver, or a callable (denoiser, x, sigmas)",
            f"our solvers are {', '.join(solvers.names())}",
            TypeError,
        )
    promised = getattr(sampler, "order", None) if order is None else order
    own = getattr(sampler, "levels", None)
    return Subject(
        name=str(getattr(sampler, "name", getattr(sampler, "__name__", type(sampler).__name__))),
        invoke=_invoke(sampler, own is not None),
        order=None if promised is None else _check.integer(promised, "order", low=1, high=20),
        nfe=counts(getattr(sampler, "nfe", None) if nfe is None else nfe),
        levels=own,
        sizes=getattr(sampler, "sizes", None),
        eps=float(getattr(sampler, "eps", 0.0)),
        forms={name: _invoke(other, own is not None) for name, other in others.items()},
        form=form,
    )


def counts(nfe: Any) -> Callable[[int], int] | None:
    """A promised number of evaluations: per step, or as a function of the number of steps."""
    if nfe is None or callable(nfe):
        return nfe
    each = _check.integer(
        nfe, "nfe", low=1, remedy="give evaluations per step, or a callable of the number of steps"
    )
    return lambda steps: each * steps


def _ours(
    solver: solvers.Solver, order: Any, nfe: Any, form: str, others: Mapping[str, Any]
) -> Subject:
    if solver.eta:
        _check.fail(
            "sampler",
            f"{solver.label}, which draws noise",
            "a deterministic sampler",
            "what it promises is a distribution, not the flow's states",
        )
    if form != "x0" or others:
        _check.fail(
            "parametrization",
            _check.show(form if not others else dict(others)),
            "'x0' for our own solvers",
            "pass a callable (model, x, sigmas)",
        )

    def invoke(model: Recorder, x: Floats, grid: Floats) -> tuple[Floats, Floats | None, Floats]:
        found = sample(model, x, grid, solver)
        if found.sigmas[-1] > 0:  # the evaluation that fills `denoised`
            model.forget_last()
        return found.sigmas, found.states, found.final

    return Subject(
        solver.label,
        invoke,
        solver.order if order is None else _check.integer(order, "order", low=1, high=20),
        solver.nfe if nfe is None else counts(nfe),
        jump=solver.jump,
        late=int(solver.afs),
    )


def _forms(parametrization: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(parametrization, str):
        return _check.choice(parametrization, "parametrization", targets.NAMES), {}
    if not isinstance(parametrization, Mapping):
        _check.fail(
            "parametrization",
            _check.show(parametrization),
            f"one of {', '.join(targets.NAMES)}, or a dict from these to samplers",
            "name what the sampler takes its model to be",
            TypeError,
        )
    for name, other in parametrization.items():
        _check.choice(name, "parametrization", targets.NAMES)
        if not callable(other):
            _check.fail(
                f"parametrization[{name!r}]",
                _check.show(other),
                "a callable (model, x, sigmas)",
                "give the sampler for such a model",
                TypeError,
            )
    return "x0", dict(parametrization)


def _invoke(sampler: Callable[..., Any], free: bool) -> Invoke:
    """A foreign sampler, its answer checked."""

    def invoke(model: Recorder, x: Floats, grid: Floats) -> tuple[Floats, Floats | None, Floats]:
        answer = _check.array(sampler(model, x.copy(), grid.copy()), "sampler", finite=False)
        found = answer.astype(np.float64)
        if found.shape == x.shape:
            return grid, None, found
        if found.shape == (len(grid), *x.shape):
            return grid, found, found[-1]
        return _check.fail(
            "sampler",
            f"an array of shape {found.shape}",
            f"{(len(grid), *x.shape)} for all states or {x.shape} for the last ones",
            "return one row per start",
        )

    return invoke
