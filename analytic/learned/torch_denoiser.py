"""A PyTorch module as a denoiser: NumPy arrays in and out, VE coordinates, float64 around it.

At a VE state x̂ and level σ the module is given α x̂ and its time (`frames`), in its own
precision and on its own device. Its output y returns to float64 before D is made of it
(`targets`), so that only what the module does itself is in low precision. A class-conditional
module gives D_c with a label and D_u without; guidance of weight w makes D_u + w (D_c - D_u)
(Ho and Salimans 2022, *Classifier-Free Diffusion Guidance*, https://arxiv.org/abs/2207.12598).

Rows run in batches, and how a row is rounded may depend on its batch, as ever in PyTorch. There
are no gradients inside: a module that differentiates itself, an energy say, cannot run here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ..denoisers import NotFinite
from ..noise import NoiseSchedule
from . import _layout
from ._torch import require
from .frames import Frame

__all__ = ["Call", "TorchDenoiser", "positional"]

Floats = NDArray[np.float64]
Call = Callable[[Any, Any, Any, Any], Any]
"""(module, x, time, label or None) → output."""


def positional(module: Any, x: Any, time: Any, label: Any) -> Any:
    """A module that takes its label, if any, as a third argument."""
    return module(x, time) if label is None else module(x, time, label)


@dataclass(frozen=True, eq=False, repr=False)
class TorchDenoiser:
    """A module as a denoiser; made by `from_torch`, `from_diffusers` and `as_denoiser`.

    Called like any denoiser: x (B, D) or (D,), σ > 0 a scalar or (B,); shape and float dtype
    of the answer are x's. During a call the module is in eval mode, without gradients; the
    training flags of all its parts are put back.
    """

    module: Any
    shape: tuple[int, ...]
    """Of one row as the module sees it."""
    layout: str
    """Of images, how a row runs: "hwc" or "chw"."""
    frame: Frame
    device: Any
    """torch.device of its inputs."""
    dtype: Any
    """torch.dtype of its inputs."""
    label: NDArray[Any] | None = None
    """() whole number or (L,) vector handed to it as a third argument."""
    null: NDArray[Any] | None = None
    """What stands for no class; None: the third argument is left out."""
    guidance: float = 1.0
    """w"""
    round_sigma: bool = False
    call: Call = positional
    limit: list[int] = field(default_factory=list)
    """[rows at once], halved where memory runs out."""

    @property
    def dim(self) -> int:
        """D"""
        return math.prod(self.shape)

    @property
    def parameterization(self) -> str:
        """What the module returns."""
        return self.frame.parameterization

    @property
    def schedule(self) -> NoiseSchedule | None:
        """The process that it was trained on, if it has coordinates of its own."""
        return self.frame.schedule

    @property
    def batch(self) -> int:
        """Rows at once."""
        return self.limit[0]

    def __repr__(self) -> str:
        name, form = type(self.module).__name__, self.parameterization
        return f"TorchDenoiser({name}, {form!r}, shape={self.shape}, {self.dtype}, {self.device})"

    def __call__(self, x: Any, sigma: Any) -> NDArray[Any]:
        """D(x; σ), of x's shape and dtype.

        NaN in rows that the module's dtype cannot hold, or for which it gives no finite output.

        Raises
        ------
        ValueError, TypeError
            for bad input, levels that the schedule does not reach, output of the wrong kind,
            shape or device, and where all rows would be NaN.
        MemoryError
            where one row is too much.
        """
        batch, shape, dtype = _check.queries(x, self.dim)
        level = _check.sigma(sigma, len(batch))
        if not len(batch):
            return np.empty(shape, dtype)
        torch = require("a learned denoiser")
        if self.round_sigma:
            with torch.inference_mode():
                rounded = self.module.round_sigma(torch.from_numpy(level))
                level = rounded.reshape(-1).cpu().double().numpy()
        seen = self.frame.scale(level)[:, None] * batch
        time = _times(self.frame.time(level), level)
        with torch.inference_mode(), _evaluating(self.module):
            if self.label is None or self.guidance == 0:
                result = self._denoised(torch, batch, level, seen, time, self.null)
            else:
                result = self._denoised(torch, batch, level, seen, time, self.label)
                if self.guidance != 1:
                    free = self._denoised(torch, batch, level, seen, time, self.null)
                    result = free + self.guidance * (result - free)
        if np.isnan(result).any(axis=1).all():
            self._lost(torch, seen, level)
        return result.reshape(shape).astype(dtype, copy=False)

    def _denoised(
        self, torch: Any, x: Floats, level: Floats, seen: Floats, time: Any, label: Any
    ) -> Floats:
        """D under one label."""
        outputs, done = np.empty_like(x), 0
        while done < len(x):
            rows = self.limit[0]
            part = slice(done, done + rows)
            answer = self._attempt(torch, seen[part], time[part], label)
            if answer is None:
                self._halve(torch, min(rows, len(x) - done))
                continue
            outputs[part] = answer
            done += rows
        return self.frame.denoised(x, outputs, level)

    def _attempt(self, torch: Any, seen: Floats, time: Any, label: Any) -> Floats | None:
        """(rows, D) output for one batch; None if memory ran out."""
        try:
            x = self._put(torch, _layout.images(seen, self.shape, self.layout))
            held = torch.isfinite(x).flatten(1).all(1)
            # the module is not asked about what it could not tell from infinity
            x[~held] = 0
            classes = None
            if label is not None:
                classes = self._put(torch, np.broadcast_to(label, (len(x), *label.shape)))
            found = self.call(self.module, x, self._put(torch, time), classes)
            self._inspect(torch, found, x)
            answer = _layout.rows(found.cpu().double().numpy(), self.layout)
            good = held.cpu().numpy() & np.isfinite(answer).all(axis=1)
        except (RuntimeError, MemoryError) as error:
            if not _exhausted(torch, error):
                raise
            return None
        return np.where(good[:, None], answer, np.nan)

    def _lost(self, torch: Any, seen: Floats, level: Floats) -> NoReturn:
        """Says why no row has an answer."""
        least = np.abs(seen).max(axis=1).min()
        if least > torch.finfo(self.dtype).max:
            _check.fail(
                "x",
                f"|x| of {least:g} and more in the module's coordinates",
                f"numbers that {self.dtype} can hold",
                "take a lower σ, or a wider dtype",
                NotFinite,
            )
        _check.fail(
            "module",
            f"NaN or infinite output in all rows ({len(seen)}), at sigma = {level[0]:g}",
            "finite numbers",
            "keep σ within what it was trained on, or use a wider dtype",
            NotFinite,
        )

    def _put(self, torch: Any, values: NDArray[Any]) -> Any:
        """An array as a tensor for the module: float64 in its dtype, other kinds as they are."""
        # a copy: a module may work in place, and be called again with the same numbers
        tensor = torch.from_numpy(np.array(values, order="C"))
        return tensor.to(self.dtype if tensor.dtype == torch.float64 else tensor.dtype).to(
            self.device
        )

    def _inspect(self, torch: Any, found: Any, x: Any) -> None:
        remedy = "wrap the module in a function that returns that tensor alone"
        if not torch.is_tensor(found) or not found.dtype.is_floating_point:
            came = str(found.dtype) if torch.is_tensor(found) else f"a {type(found).__name__}"
            _check.fail(
                "module", f"{came} as output", "a tensor of real numbers", remedy, TypeError
            )
        if found.shape != x.shape:
            _check.fail(
                "module",
                f"output of shape {tuple(found.shape)} for input of shape {tuple(x.shape)}",
                "the shape of its input",
                remedy + " (of channels for a learned variance, the mean's), or correct shape",
            )
        if found.device != x.device:
            _check.fail(
                "module",
                f"output on {found.device} for input on {x.device}",
                "output where the input is",
                "keep all of the module on one device",
            )

    def _halve(self, torch: Any, rows: int) -> None:
        if rows == 1:
            _check.fail(
                "module",
                "out of memory with 1 row",
                "memory for one row at least",
                "free memory, or use another device or a narrower dtype",
                MemoryError,
            )
        self.limit[0] = rows // 2
        if torch.cuda.is_initialized():  # pragma: no cover - needs a GPU
            torch.cuda.empty_cache()


def _times(time: Any, level: Floats) -> NDArray[Any]:
    told = np.asarray(time)
    if told.shape not in ((), level.shape) or told.dtype.kind not in "fiu":
        _check.fail(
            "time",
            f"{_check.show(told)} from the callable",
            f"one number for each of {len(level)} levels",
            "write it with NumPy functions",
        )
    return np.array(np.broadcast_to(told, level.shape))


def _exhausted(torch: Any, error: Exception) -> bool:
    known = (MemoryError, torch.cuda.OutOfMemoryError)
    words = str(error).lower()
    return isinstance(error, known) or "out of memory" in words or "allocate memory" in words


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """Eval mode for a module, and each part's own flag again afterwards."""
    parts = [part for part in module.modules() if part.training] if _trainable(module) else []
    for part in parts:
        part.training = False
    try:
        yield
    finally:
        for part in parts:
            part.training = True


def _trainable(module: Any) -> bool:
    return hasattr(module, "modules") and hasattr(module, "training")
