"""Doors between denoisers and PyTorch.

| from | to | by |
|---|---|---|
| torch module | denoiser | `from_torch` |
| UNet2DModel of diffusers | denoiser | `from_diffusers` |
| anything of the kind | denoiser | `as_denoiser` |
| denoiser | torch module, in any parametrization | `to_torch` |
| denoiser | EDM's net(x, σ) (Karras et al. 2022, https://arxiv.org/abs/2206.00364) | `as_edm` |

`to_torch` and `from_torch` with the same arguments are inverse to each other. Modules see images
(C, H, W), denoisers see rows: by default those of `analytic.datasets`, H, W, C (`layout`).
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from .. import _check
from ..denoisers import Denoiser
from ..noise import NoiseSchedule
from ._layout import order
from ._torch import require
from ._wrap import extent, shape_of, wrap
from .frames import frame
from .torch_denoiser import TorchDenoiser
from .unets import from_diffusers

__all__ = ["TorchDenoiser", "as_denoiser", "as_edm", "from_diffusers", "from_torch", "to_torch"]

_NEUTRAL: dict[str, Any] = {"layout": "hwc", "guidance": 1.0}
"""Options that ask for nothing."""


def from_torch(
    module: Any,
    *,
    parameterization: str = "edm",
    schedule: NoiseSchedule | None = None,
    shape: tuple[int, ...] | int | None = None,
    layout: str = "hwc",
    time: Any = None,
    labels: Any = None,
    guidance: float = 1.0,
    null: Any = None,
    round_sigma: bool = False,
    device: Any = None,
    dtype: Any = None,
    batch: int | None = None,
) -> TorchDenoiser:
    """A PyTorch module as a denoiser.

    Parameters
    ----------
    module : a module, or any callable of tensors (x (B, *shape), time (B,)) → (B, *shape), with
        labels as a third argument if there are any.
    parameterization : what it returns: "x0" D, "eps" ε, "v", "flow" (`analytic.targets` has the
        formulas), or "edm": D of a preconditioned net(x, σ) in VE coordinates. EDM's net takes
        any σ: its `sigma_min` and `sigma_max` bound the grid of a sampler, and nothing here.
    schedule : the process whose states x_t = α_t x̂ it sees. Without one it sees x̂ and σ.
    shape : of one row, (C, H, W) or (D,) or D. For "edm" from the module's `img_channels` and
        `img_resolution` unless given.
    layout : of images, how the denoiser's rows run: "hwc" (pixel by pixel, as in all data sets of
        `analytic.datasets`) or "chw" (a flattened tensor). Other shapes are taken as they are.
    time : what it is told: "t" (default with a schedule), "sigma" (default without), "log_sigma",
        "index", a number c for c t, or a callable of t (of σ without a schedule). What a
        callable returns in another dtype than float64 is handed on in that dtype.
    labels : one class for all rows, for class-conditional modules: a whole number, made one-hot
        if the module has a `label_dim`, or a vector (L,).
    guidance : w of D_u + w (D_c - D_u), which takes two evaluations unless w is 0 or 1.
    null : label that stands for no class in D_u; by default the argument is left out.
    round_sigma : evaluate at `module.round_sigma(σ)`. EDM's own sampler rounds its grid with
        that, once; to follow it, round the grid and leave this off.
    device, dtype : of the inputs; default: those of the module's first parameter (float64 on the
        CPU without any), for "edm" at least float32. Time is in that dtype, too.
    batch : rows at once; default: from D, within about half a GiB. Halved where memory runs out.

    Raises
    ------
    ValueError, TypeError
        for arguments that contradict one another or the module.
    ImportError
        without PyTorch.
    """
    return wrap(
        module,
        frame(parameterization, schedule, time),
        shape=shape_of(module) if shape is None and parameterization == "edm" else shape,
        layout=layout,
        labels=labels,
        classes=getattr(module, "label_dim", None),
        one_hot=True,
        guidance=guidance,
        null=null,
        round_sigma=round_sigma,
        device=device,
        dtype=dtype,
        batch=batch,
    )


def to_torch(
    denoiser: Denoiser,
    *,
    parameterization: str,
    shape: tuple[int, ...] | int,
    layout: str = "hwc",
    schedule: NoiseSchedule | None = None,
    time: Any = None,
) -> Any:
    """A denoiser as a torch module: the inverse of `from_torch` with the same arguments.

    Parameters
    ----------
    denoiser : any denoiser. It is called in float64.
    parameterization, schedule, time : as for `from_torch`; no callable for `time`.
    shape : of one row as the module shall see it, (C, H, W) or (D,) or D.
    layout : of images, how the denoiser's rows run: "hwc" (pixel by pixel, as in all data sets of
        `analytic.datasets`) or "chw" (a flattened tensor). Other shapes are taken as they are.

    Returns
    -------
    torch.nn.Module without parameters: forward(x (B, *shape), time), with one time or one per
    row, gives the output in x's dtype on x's device. No gradients pass. For "edm" it is that of
    `as_edm`, at EDM's range of σ.

    Raises
    ------
    ValueError, TypeError
        for bad arguments; `forward`, for tensors of another shape and times without a level.
    ImportError
        without PyTorch.
    """
    require("to_torch")
    from ._modules import DenoiserModule

    coordinates = frame(parameterization, schedule, time)
    if coordinates.parameterization == "edm":
        return as_edm(denoiser, shape, layout=layout)
    if callable(coordinates.clock):
        coordinates.level(np.ones(1))
    return DenoiserModule(denoiser, _row(denoiser, shape), order(layout), coordinates)


def as_edm(
    denoiser: Denoiser,
    shape: tuple[int, ...] | int,
    *,
    layout: str = "hwc",
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
) -> Any:
    """A denoiser as a net that samplers written for EDM's nets can call.

    Parameters
    ----------
    denoiser : any denoiser. It is called in float64.
    shape : (C, R, R) of an image, or any other shape of a row for samplers that do not ask for
        `img_channels` and `img_resolution`, which are None then.
    layout : as for `to_torch`.
    sigma_min, sigma_max : 0 ≤ σ_min < σ_max that samplers ask for. Nothing is refused outside.

    Returns
    -------
    torch.nn.Module: net(x (B, *shape), sigma, class_labels=None), with σ one number or one per
    row in any shape, gives D(x; σ) in x's dtype on x's device. It has `sigma_min`, `sigma_max`,
    `round_sigma` (σ itself), `img_channels`, `img_resolution` and `label_dim` (0).

    Raises
    ------
    ValueError, TypeError
        for bad arguments.
    ImportError
        without PyTorch.
    """
    require("as_edm")
    from ._modules import EDMModule

    low = _check.number(sigma_min, "sigma_min", low=0.0)
    high = _check.number(sigma_max, "sigma_max", low=low, open_low=True)
    row, coordinates = _row(denoiser, shape), frame("edm", None, None)
    return EDMModule(denoiser, row, order(layout), coordinates, low, high)


def as_denoiser(
    thing: Any,
    *,
    schedule: Any = None,
    shape: tuple[int, ...] | int | None = None,
    layout: str = "hwc",
    labels: Any = None,
    guidance: float = 1.0,
    null: Any = None,
    device: Any = None,
    batch: int | None = None,
    dim: int | None = None,
    argument: str = "thing",
) -> Denoiser:
    """Whatever a user may have for a denoiser, as one.

    Parameters
    ----------
    thing : a denoiser, which is returned as it is; a net with `sigma_min`, `sigma_max` and
        `round_sigma`, taken for one of EDM's; a pipeline of diffusers with `unet` and
        `scheduler`; a UNet2DModel, with `schedule`.
    schedule : for a UNet2DModel, as for `from_diffusers`.
    shape, layout, labels, guidance, null, device, batch : as for `from_torch`; for a thing that is
        a denoiser already they have no meaning and are refused.
    dim : D of rows (D,), for a net like EDM's that does not tell their shape; else without effect.
    argument : what errors call the thing.

    Raises
    ------
    TypeError
        for a torch module that does not tell what it returns: use `from_torch`.
    ValueError, TypeError
        for bad arguments.
    """
    options: dict[str, Any] = {
        "shape": shape,
        "layout": layout,
        "labels": labels,
        "guidance": guidance,
        "null": null,
        "device": device,
        "batch": batch,
    }
    unet, process = thing, schedule
    if hasattr(thing, "unet") and hasattr(thing, "scheduler"):
        unet, process = thing.unet, thing.scheduler if schedule is None else schedule
    if _is_unet(unet):
        if process is None:
            _check.fail(
                argument,
                f"the {type(unet).__name__} of diffusers without a schedule",
                "the process that it was trained on with it",
                "use analytic.learned.from_diffusers, or pass the pipeline",
            )
        return from_diffusers(unet, process, **options)
    if schedule is None and _is_edm(thing):
        if shape is None and shape_of(thing) is None:
            if dim is None:
                _check.fail(
                    argument,
                    f"{type(thing).__name__} without img_channels and img_resolution",
                    "a net that tells the shape of a row, or shape with it",
                    "use analytic.learned.from_torch with shape=(C, H, W) or D",
                )
            options["shape"] = dim
        return from_torch(thing, **options)
    if _is_module(thing):
        _check.fail(
            argument,
            f"the torch module {type(thing).__name__}, which does not tell what it returns",
            "a denoiser, or a module like EDM's",
            "use analytic.learned.from_torch with parameterization='x0', 'eps', 'v' or 'flow'",
            TypeError,
        )
    if not callable(thing):
        remedy = "pass OptimalDenoiser(points), a learned model, or a function of (x, σ)"
        _check.fail(argument, _check.show(thing), "a callable (x, σ)", remedy, TypeError)
    for name, value in (options | {"schedule": schedule}).items():
        if value is not None and not (name in _NEUTRAL and value == _NEUTRAL[name]):
            _check.fail(
                name,
                _check.show(value),
                f"nothing: {type(thing).__name__} is a denoiser already",
                "drop it, or use from_torch",
            )
    return thing


def _is_module(thing: Any) -> bool:
    # without torch in memory there are no modules
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(thing, torch.nn.Module)


def _is_edm(thing: Any) -> bool:
    named = all(hasattr(thing, name) for name in ("sigma_min", "sigma_max", "round_sigma"))
    return named and callable(thing)


def _is_unet(thing: Any) -> bool:
    return any(base.__name__ == "UNet2DModel" for base in type(thing).__mro__)


def _row(denoiser: Any, shape: Any) -> tuple[int, ...]:
    """The shape of a row, which has as many numbers as the denoiser's rows."""
    if not callable(denoiser):
        _check.fail("denoiser", _check.show(denoiser), "a callable", "pass a denoiser", TypeError)
    row = extent(shape)
    dim = getattr(denoiser, "dim", None)
    if isinstance(dim, (int, np.integer)) and math.prod(row) != dim:
        _check.fail("shape", repr(row), f"{dim} numbers in all, as the denoiser has", "correct it")
    return row
