"""Other people's samplers in the form that `analytic.audit` takes.

A scheduler of Hugging Face diffusers (https://github.com/huggingface/diffusers) is driven as
its pipelines do it, by `set_timesteps`, `scale_model_input` and `step` of the real class. Its
model predicts ε. With ᾱ_t of the DDPM process, σ_t = √((1 - ᾱ_t)/ᾱ_t), and a scheduler keeps
either the VE state x or the VP state x/√(1 + σ²); the model sees the latter. Here the model is

    ε(x/√(1 + σ²); t) = (x - D(x; σ))/σ,

at the scheduler's own σ of the step, also where the timestep t that it hands to the model is
rounded (`Scheduler.mismatch`). States are returned in VE coordinates, at the levels where a
step is complete: predictions between evaluations of one step are not.

Their σ and parts of their arithmetic are in float32, which the audit is told. With `double`
they are given the same σ as float64 numbers, and so compute their coefficients in float64:
what is then different is rounding.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check
from .noise import NoiseSchedule, ddpm_level

__all__ = ["Scheduler", "names", "scheduler"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Kind:
    """What has to be known of a class, and what it promises."""

    order: Callable[[Mapping[str, Any]], int]
    """Of its options."""
    per_step: Callable[[Mapping[str, Any]], int] = lambda options: 1
    variance_preserving: bool = True
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Options that are set here unless given."""
    sizes: Callable[[Mapping[str, Any]], tuple[int, ...] | None] = lambda options: None
    """Numbers of steps to measure at, where its training steps or its time allow fewer."""


def _solver_order(options: Mapping[str, Any]) -> int:
    return int(options["solver_order"])


def _one(options: Mapping[str, Any]) -> int:
    return 1


FEWER = (8, 16, 32, 64, 128, 256)
DIVISORS = (8, 20, 40, 100, 200, 500)
_DDPM = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
_KINDS = {
    "EulerDiscreteScheduler": _Kind(_one, variance_preserving=False),
    "HeunDiscreteScheduler": _Kind(
        lambda options: 2, lambda options: 2, variance_preserving=False, fixed=_DDPM
    ),
    "DPMSolverMultistepScheduler": _Kind(_solver_order),
    "DPMSolverSinglestepScheduler": _Kind(
        _solver_order,
        _solver_order,
        # what it sets itself, with a warning, for a grid that ends in 0
        fixed={"lower_order_final": True},
        sizes=lambda options: FEWER,
    ),
    "UniPCMultistepScheduler": _Kind(lambda options: _solver_order(options) + 1),
    "DEISMultistepScheduler": _Kind(_solver_order),
    "DDIMScheduler": _Kind(
        _one,
        fixed={"clip_sample": False},
        # its default grid starts at (n - 1) [1000/n]: near 1000 only where n divides that
        sizes=lambda options: DIVISORS if options["timestep_spacing"] == "leading" else None,
    ),
    "LMSDiscreteScheduler": _Kind(
        lambda options: 4,
        variance_preserving=False,
        # each step integrates its polynomials numerically, which takes its time
        sizes=lambda options: FEWER,
    ),
}


def names() -> tuple[str, ...]:
    """Schedulers that are known here."""
    return tuple(_KINDS)


def scheduler(name: str, *, double: bool = False, **options: Any) -> Scheduler:
    """A scheduler of diffusers that can be audited.

    Parameters
    ----------
    name : one of `names()`.
    double : whether to make float64 numbers of its σ.
    options : arguments of its constructor, such as `use_karras_sigmas` or `solver_order`.
        The default is the class's own, on the linear DDPM process with 1,000 steps.

    Raises
    ------
    ValueError, TypeError
        for a name or an option that does not exist.
    ImportError
        without diffusers and torch.
    """
    kind = _KINDS[_check.choice(name, "scheduler", _KINDS)]
    try:
        make = getattr(importlib.import_module("diffusers"), name)
    except ImportError as error:
        raise ImportError(
            f"diffusers and torch are needed here and cannot be imported ({error}); "
            'pip install "analytic-diffusion[peers]".'
        ) from error
    parameters = inspect.signature(make).parameters
    for key in options:
        if key not in parameters:
            _check.fail(
                key,
                f"an option that {name} does not have",
                f"one of {', '.join(parameters)}",
                "drop it",
                TypeError,
            )
    known = {key: value.default for key, value in parameters.items()}
    given = {**kind.fixed, **options}
    return Scheduler(
        _label(name, options),
        kind.order(known | given),
        kind,
        make,
        given,
        kind.per_step(known | given),
        _check.flag(double, "double"),
        kind.sizes(known | given),
    )


def _label(name: str, options: Mapping[str, Any]) -> str:
    words = ", ".join(f"{key}={value!r}" for key, value in options.items())
    return f"diffusers.{name}({words})"


@dataclass(frozen=True, eq=False)
class Scheduler:
    """A scheduler as an auditable sampler with a grid of its own."""

    name: str
    order: int
    kind: _Kind
    make: Callable[..., Any]
    options: Mapping[str, Any]
    per_step: int
    """Evaluations of a full step."""
    double: bool = False
    """Whether its σ are made float64 numbers."""
    sizes: tuple[int, ...] | None = None
    """Numbers of steps to measure the order at, if not the usual ones."""

    @property
    def eps(self) -> float:
        """Relative rounding: a few units in the last place of float32."""
        return 0.0 if self.double else 2.0**-21

    def nfe(self, steps: int) -> int:
        """Evaluations for that many full steps.

        The last step of Heun and of the singlestep DPM-Solvers is one of order 1, to σ = 0;
        the latter take another before it.
        """
        if self._singlestep:
            return self.per_step * (steps - 1)
        return self.per_step * steps - (self.per_step - 1)

    def levels(self, steps: int) -> Floats:
        """(steps + 1,) σ where full steps begin and end."""
        driven = self._set(steps)
        return self._sigmas(driven)[[0, *(k + 1 for k in self._full(driven))]]

    def mismatch(self, steps: int) -> float:
        """Largest |σ(t)/σ_k - 1|, σ(t) that of the timestep handed to the model at σ_k."""
        driven = self._set(steps)
        trained = NoiseSchedule.discrete(driven.alphas_cumprod.numpy())
        seen = trained.level(driven.timesteps.numpy().astype(np.float64))
        return float(np.abs(seen / self._sigmas(driven)[: len(seen)] - 1).max())

    def __call__(self, model: Any, x: Floats, sigmas: Floats) -> Floats:
        """States (n + 1, B, D) at `levels(n)`, from a model of x0 in VE coordinates."""
        import torch

        driven = self._set(len(sigmas) - 1)
        levels, full = self._sigmas(driven), set(self._full(driven))
        scale = np.sqrt(1 + levels**2)
        keep = scale if self.kind.variance_preserving else np.ones_like(scale)
        sample, path = torch.from_numpy(x / keep[0]), [x]
        for k, t in enumerate(driven.timesteps):
            seen = driven.scale_model_input(sample, t).numpy() * scale[k]
            noise = (seen - model(seen, levels[k])) / levels[k]
            sample = driven.step(torch.from_numpy(noise), t, sample).prev_sample
            if k in full:
                path.append(sample.numpy().astype(np.float64) * keep[k + 1])
        return np.stack(path)

    @property
    def _singlestep(self) -> bool:
        return self.make.__name__ == "DPMSolverSinglestepScheduler"

    def _set(self, steps: int) -> Any:
        """A fresh scheduler, set to so many full steps."""
        driven = self.make(**self.options)
        driven.set_timesteps(self.nfe(steps) if self._singlestep else steps)
        if hasattr(driven, "set_begin_index"):
            driven.set_begin_index(0)
        if self.double and hasattr(driven, "sigmas"):
            driven.sigmas = driven.sigmas.double()
        return driven

    def _sigmas(self, driven: Any) -> Floats:
        """σ of every evaluation and of the end."""
        if hasattr(driven, "sigmas"):
            return np.asarray(driven.sigmas.numpy().astype(np.float64))
        kept = driven.alphas_cumprod[driven.timesteps]
        final = driven.final_alpha_cumprod
        return np.asarray(ddpm_level(np.append(kept.numpy(), float(final)).astype(np.float64)))

    def _full(self, driven: Any) -> list[int]:
        """Evaluations that complete a step."""
        last = len(driven.timesteps) - 1
        if self._singlestep:
            return [k for k in range(last) if driven.order_list[k + 1] == 1] + [last]
        if self.per_step == 2:
            return [*range(1, last, 2), last]
        return list(range(last + 1))
