"""A training run: what one step does, and the checkpoint that a run continues from.

Adam, at rate η in step t, with gradient g:

    m ← β m + (1 - β) g,   v ← γ v + (1 - γ) g²,
    w ← w - η m/(1 - β^t) / (√(v/(1 - γ^t)) + ε),   β = 0.9, γ = 0.999, ε = 1e-8.

(Kingma and Ba 2015, https://arxiv.org/abs/1412.6980). What serves in the end are averages,

    w̄ ← b w̄ + (1 - b) w,   b = 2^{-1/h},   h = min(half_life, t/20) steps,

the half-life of EDM, with its ramp, so that the beginning is soon forgotten. The averaged loss
of the history has a half-life of 100 steps, and no bias from its own beginning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .levels import Levels, LogNormal, LogUniform, draw
from .trained import read_torch, write_torch

__all__ = ["Batch", "Recipe", "Run", "adam", "decay"]

Floats = NDArray[np.float64]

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_RAMP = 0.05
"""Half-life of averaged weights, at most, as a share of the steps so far."""
_LOSS_HALF_LIFE = 100
_KIND = "analytic-diffusion checkpoint"
_VERSION = 1
_ENTRIES = 100
"""Entries in the history of the loss, about."""
SCHEDULES = ("constant", "cosine")
_VECTORS = ("weights", "average", "first", "second")


@dataclass(frozen=True)
class Recipe:
    """What training does, apart from what it trains; checked."""

    steps: int
    batch: int
    lr: float
    warmup: int
    schedule: str
    half_life: float
    levels: Levels
    label_dropout: float
    seed: int

    def __post_init__(self) -> None:
        if isinstance(self.levels, type):
            name = self.levels.__name__
            _check.fail(
                "levels",
                f"the class {name}",
                "a function (rng, n) -> (n,) noise levels",
                f"pass an instance, {name}()",
                TypeError,
            )
        if not callable(self.levels):
            _check.fail(
                "levels",
                _check.show(self.levels),
                "a function (rng, n) -> (n,) noise levels",
                "see LogUniform and LogNormal",
                TypeError,
            )
        checked = {
            "steps": _check.integer(self.steps, "steps", low=1),
            "batch": _check.integer(self.batch, "batch", low=1),
            "lr": _check.number(self.lr, "lr", low=0.0, high=10.0, open_low=True),
            "warmup": _check.integer(self.warmup, "warmup", low=0),
            "schedule": _check.choice(self.schedule, "schedule", SCHEDULES),
            "half_life": _check.number(self.half_life, "half_life", low=0.0),
            "label_dropout": _check.number(self.label_dropout, "label_dropout", low=0.0, high=1.0),
            "seed": _check.seed(self.seed),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def rate(self, step: int) -> float:
        """The learning rate of step 1, 2, …"""
        rise = min(1.0, step / (self.warmup + 1))
        if self.schedule == "constant":
            return self.lr * rise
        done = max(0, step - 1 - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * rise * 0.5 * (1 + math.cos(math.pi * done))

    def plain(self) -> dict[str, Any]:
        """As plain values; levels by what they draw."""
        named = isinstance(self.levels, (LogNormal, LogUniform))
        return {
            **{name: value for name, value in vars(self).items() if name != "levels"},
            "levels": repr(self.levels) if named else "given",
            "level_draws": draw(self.levels, np.random.default_rng(0), 8).tolist(),
        }


class Batch(NamedTuple):
    """What one step learns from: B points of (centred) data, as the network sees them."""

    inputs: Floats
    """(B, *shape) c_in (x_0 + σz)"""
    noise: Floats
    """(B,) c_noise"""
    targets: Floats
    """(B, *shape) f"""
    labels: Floats | None
    """(B, K) one-hot; rows of zeros where the label was dropped."""


@dataclass
class Run:
    """A run's state: all weights in one vector, so that a step is a few operations on vectors."""

    torch: Any
    module: Any
    weights: Any
    """(P,) of which the module's parameters are parts."""
    slope: Any
    """(P,) where gradients gather."""
    average: Any
    first: Any
    """(P,) Adam's mean of the gradient."""
    second: Any
    """(P,) and of its square."""
    step: int
    loss: float
    """Moving average, from 0."""
    history: list[tuple[int, float]]

    @classmethod
    def start(cls, torch: Any, module: Any) -> Run:
        """The state before the first step; the module's parameters become parts of one vector."""
        parameters = list(module.parameters())
        weights = torch.cat([p.detach().reshape(-1) for p in parameters])
        slope = torch.zeros_like(weights)
        place = 0
        for p in parameters:
            part = slice(place, place + p.numel())
            p.data, p.grad = weights[part].view(p.shape), slope[part].view(p.shape)
            place += p.numel()
        first, second = torch.zeros_like(weights), torch.zeros_like(weights)
        return cls(torch, module, weights, slope, weights.clone(), first, second, 0, 0.0, [])

    def advance(self, batch: Batch, recipe: Recipe) -> None:
        """One step of Adam, of the averages, and of the history."""
        torch, net = self.torch, self.module.net
        inputs, noise, targets = (self._tensor(part) for part in batch[:3])
        labels = None if batch.labels is None else self._tensor(batch.labels)
        self.slope.zero_()
        loss = torch.nn.functional.mse_loss(net(inputs, noise, labels), targets)
        loss.backward()
        self.step += 1
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(
                f"training diverged at step {self.step} (loss {value}); lower lr={recipe.lr:g}"
            )
        adam(self.weights, self.slope, self.first, self.second, self.step, recipe.rate(self.step))
        self.average.lerp_(self.weights, 1 - decay(self.step, recipe.half_life))
        keep = 0.5 ** (1 / _LOSS_HALF_LIFE)
        self.loss = keep * self.loss + (1 - keep) * value
        if self.step % max(1, recipe.steps // _ENTRIES) == 0 or self.step == recipe.steps:
            self.history.append((self.step, self.loss / (1 - keep**self.step)))

    def _tensor(self, part: Floats) -> Any:
        return self.torch.from_numpy(part.astype(np.float32)).to(self.weights.device)

    def save(self, path: Path, settings: Mapping[str, Any], digest: str) -> None:
        """Write the state; the file is whole at any time."""
        vectors = {k: getattr(self, k).cpu() for k in _VECTORS}
        write_torch(
            path,
            {
                "kind": _KIND,
                "version": _VERSION,
                "settings": dict(settings),
                "data": digest,
                "step": self.step,
                "loss": self.loss,
                "history": [list(entry) for entry in self.history],
                **vectors,
            },
        )

    def resume(self, path: Path, settings: Mapping[str, Any], digest: str) -> None:
        """Take over a state that was saved, of these settings and these data.

        ValueError for a file of anything else.
        """
        content = read_torch(path, _KIND, _VERSION, "checkpoint")
        try:
            came, data = dict(content["settings"]), content["data"]
            vectors = {name: content[name] for name in _VECTORS}
            fits = [
                v.shape == self.weights.shape and bool(self.torch.isfinite(v).all())
                for v in vectors.values()
            ]
            step, loss = int(content["step"]), float(content["loss"])
            history = [(int(k), float(value)) for k, value in content["history"]]
        except (KeyError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            _refuse(path, f"is not whole ({error})")
        _same(path, came, settings, data == digest)
        if not (all(fits) and 0 < step <= settings["steps"] and math.isfinite(loss)):
            _refuse(path, "has weights of another network, or numbers that cannot be")
        for name, vector in vectors.items():
            getattr(self, name).copy_(vector)
        self.step, self.loss, self.history = step, loss, history


def _same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any], same_data: bool) -> None:
    """Refuse a checkpoint of another run."""
    for name, value in wanted.items():
        if found.get(name) != value:
            came = f"is of a run with {name} = {_check.show(found.get(name))}"
            _refuse(path, came, f"{name} = {_check.show(value)}")
    if not same_data:
        _refuse(path, "is of a run on other points")


def _refuse(path: Path, problem: str, expected: str = "a checkpoint of this very run") -> NoReturn:
    _check.fail(
        "checkpoint",
        f"{str(path)!r}, which {problem}",
        expected,
        "call as it was made, name another file, or delete it to start again",
    )


def decay(step: int, half_life: float) -> float:
    """β of the averages after a step 1, 2, …"""
    span = min(half_life, _RAMP * step)
    return 0.5 ** (1 / span) if span > 0 else 0.0


def adam(weights: Any, slope: Any, first: Any, second: Any, step: int, rate: float) -> None:
    """Adam's step in place, on vectors."""
    beta, gamma = _BETAS
    first.lerp_(slope, 1 - beta)
    second.mul_(gamma).addcmul_(slope, slope, value=1 - gamma)
    size = second.sqrt().div_(math.sqrt(1 - gamma**step)).add_(_EPSILON)
    weights.addcdiv_(first, size, value=-rate / (1 - beta**step))
