"""Arguments of `from_torch` and `from_diffusers`: what they may be, and their defaults."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ._layout import order
from ._torch import require
from .frames import Frame
from .torch_denoiser import Call, TorchDenoiser, positional

__all__ = ["extent", "shape_of", "wrap"]

BUDGET = 2**29
"""Bytes that the activations of a batch should stay within."""
LAYERS = 256
"""Activations alive per number of input: a guess, on the safe side for U-Nets at inference."""


def wrap(
    module: Any,
    coordinates: Frame,
    *,
    shape: Any,
    layout: Any,
    labels: Any,
    classes: Any,
    one_hot: bool,
    guidance: Any,
    null: Any,
    round_sigma: Any,
    device: Any,
    dtype: Any,
    batch: Any,
    call: Call = positional,
) -> TorchDenoiser:
    """A denoiser of checked arguments; `classes` is how many the module says it has, or None."""
    torch = require("a learned denoiser")
    if not callable(module):
        _check.fail("module", _check.show(module), "a callable", "pass a torch module", TypeError)
    if call is positional:
        _callable_so(torch, module, labels is not None)
    row = extent(shape)
    where, numbers = _place(torch, module, device, dtype, coordinates.parameterization == "edm")
    weight = _check.number(guidance, "guidance")
    if labels is None and (weight != 1 or null is not None):
        _check.fail(
            "guidance" if weight != 1 else "null",
            repr(guidance if weight != 1 else null),
            "labels with it",
            "name a class",
        )
    rounds = coordinates.parameterization == "edm" and hasattr(module, "round_sigma")
    if _check.flag(round_sigma, "round_sigma") and not rounds:
        _check.fail("round_sigma", "True", "an EDM module with that method", "drop it", TypeError)
    size = math.prod(row) * (torch.finfo(numbers).bits // 8) * LAYERS
    rows = min(max(1, BUDGET // size), 65_536)
    return TorchDenoiser(
        module,
        row,
        order(layout),
        coordinates,
        where,
        numbers,
        _label(labels, "labels", classes, one_hot),
        _label(null, "null", classes, one_hot),
        weight,
        bool(round_sigma),
        call,
        [rows if batch is None else _check.integer(batch, "batch", low=1)],
    )


def shape_of(module: Any) -> tuple[int, ...] | None:
    """(C, R, R) of a module with `img_channels` and `img_resolution`, if it has both."""
    channels = getattr(module, "img_channels", None)
    resolution = getattr(module, "img_resolution", None)
    if channels is None or resolution is None:
        return None
    return int(channels), int(resolution), int(resolution)


def extent(shape: Any) -> tuple[int, ...]:
    """The shape of a row, from a tuple or D."""
    if isinstance(shape, (int, np.integer)):
        shape = (shape,)
    if not isinstance(shape, (tuple, list)) or not shape:
        _check.fail(
            "shape",
            _check.show(shape),
            "(C, H, W) or (D,)",
            "pass the shape of one row as the module sees it",
            TypeError,
        )
    return tuple(_check.integer(n, "shape", low=1) for n in shape)


def _callable_so(torch: Any, module: Any, labelled: bool) -> None:
    """Refuse a module that cannot be called as module(x, time), as far as its signature tells."""
    own = isinstance(module, torch.nn.Module)
    inside = own and type(module).__call__ is torch.nn.Module.__call__
    try:
        signature = inspect.signature(module.forward if inside else module)
    except (TypeError, ValueError):
        return
    words = ("x", "time", "label") if labelled else ("x", "time")
    try:
        signature.bind(*words)
    except TypeError as error:
        _check.fail(
            "module",
            f"{getattr(module, '__name__', type(module).__name__)}, called with {signature} "
            f"({error})",
            f"one that is called as module({', '.join(words)})",
            "wrap it in a function that is, and that calls it as it wants",
            TypeError,
        )


def _place(torch: Any, module: Any, device: Any, dtype: Any, edm: bool) -> tuple[Any, Any]:
    """Device and dtype of the inputs."""
    owned: list[Any] = []
    if isinstance(module, torch.nn.Module):
        held = [*module.parameters(), *module.buffers()]
        owned = [each for each in held if each.dtype.is_floating_point]
    home = owned[0].device if owned else torch.device("cpu")
    try:
        where = home if device is None else torch.empty(0, device=device).device
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(
            f"device: got {device!r}, which PyTorch refuses ({str(error).splitlines()[0]}), "
            "expected a device of this machine; see torch.device."
        ) from error
    if owned and where != home:
        _check.fail(
            "device", repr(device), f"{home}, where the module is", f"call module.to({device!r})"
        )
    if dtype is None:
        numbers = owned[0].dtype if owned else torch.float64
        narrow = torch.finfo(numbers).bits < 32
        return where, torch.float32 if edm and narrow else numbers
    numbers = getattr(torch, dtype, dtype) if isinstance(dtype, str) else dtype
    if not isinstance(numbers, torch.dtype) or not numbers.is_floating_point:
        _check.fail(
            "dtype",
            _check.show(dtype),
            "a floating type of PyTorch or its name",
            "pass 'float32', 'float64', 'bfloat16' or 'float16'",
            TypeError,
        )
    return where, numbers


def _label(value: Any, argument: str, classes: Any, one_hot: bool) -> NDArray[Any] | None:
    """A label as () int64 or (L,) float64."""
    if value is None:
        return None
    if classes == 0:
        _check.fail(
            argument, _check.show(value), "None: this module has no classes", "drop the label"
        )
    if isinstance(value, (int, np.integer)):
        high = 2**62 if classes is None else int(classes) - 1
        number = _check.integer(value, argument, low=0, high=high)
        return np.eye(classes)[number] if one_hot and classes else np.array(number)
    vector = _check.array(value, argument).astype(np.float64)
    if vector.ndim != 1 or (classes is not None and len(vector) != classes):
        _check.fail(
            argument,
            f"shape {vector.shape}",
            f"a whole number or shape ({'L' if classes is None else classes},)",
            "give one class for all rows",
        )
    return vector
