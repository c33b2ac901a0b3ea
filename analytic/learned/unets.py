"""A UNet2DModel of Hugging Face diffusers (https://github.com/huggingface/diffusers) as a denoiser.

It was trained at whole timesteps of a variance-preserving process: at index t with ᾱ_t it sees
x̂/√(1 + σ²), σ² = (1 - ᾱ_t)/ᾱ_t. Between timesteps log σ is linear in t, which is a
`NoiseSchedule.discrete`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _check
from ..noise import NoiseSchedule
from ._wrap import wrap
from .frames import Frame
from .torch_denoiser import TorchDenoiser

__all__ = ["from_diffusers"]

PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
TIMES = ("interpolate", "nearest")
BEYOND = ("error", "clip")


def from_diffusers(
    unet: Any,
    schedule: Any,
    *,
    prediction_type: str | None = None,
    timestep: str = "interpolate",
    beyond: str = "error",
    shape: tuple[int, ...] | None = None,
    layout: str = "hwc",
    labels: Any = None,
    guidance: float = 1.0,
    null: Any = None,
    device: Any = None,
    dtype: Any = None,
    batch: int | None = None,
) -> TorchDenoiser:
    """A UNet2DModel as a denoiser.

    Parameters
    ----------
    unet : UNet2DModel, or a module that is called like one.
    schedule : the process it was trained on: a scheduler with `alphas_cumprod`, the config of
        DDPMScheduler as a mapping, the betas (T,), or a variance-preserving `NoiseSchedule`
        whose t is the timestep.
    prediction_type : "epsilon", "v_prediction" or "sample"; default: what the scheduler's config
        says, else "epsilon".
    timestep : "interpolate" hands over a fractional t with σ(t) = σ, "nearest" rounds it. Input
        and result are those of σ in either case.
    beyond : for σ outside the trained levels. "error" refuses; "clip" hands over the first or
        last timestep, with input and result those of σ.
    shape : (C, H, W); default: from the config's in_channels and sample_size.
    layout : of images, how a row runs: "hwc" (pixel by pixel, as in all data sets of
        `analytic.datasets`) or "chw" (a flattened tensor).
    labels, guidance, null, device, dtype, batch : as for `from_torch`. A label is a whole number;
        a UNet2DModel with classes needs one, so guidance needs `null`.

    Raises
    ------
    ValueError, TypeError
        for schedules without levels, unknown predictions, and networks that divide by σ
        themselves (time_embedding_type "fourier"): these are for `from_torch`.
    """
    process, said = _process(schedule)
    form = PREDICTIONS[
        _check.choice(
            said or "epsilon" if prediction_type is None else prediction_type,
            "prediction_type",
            PREDICTIONS,
        )
    ]
    nearest = _check.choice(timestep, "timestep", TIMES) == "nearest"
    config = getattr(unet, "config", {})
    if config.get("time_embedding_type") == "fourier":
        _check.fail(
            "unet",
            "a network with time_embedding_type='fourier', whose time is σ",
            "one that is told timesteps",
            "use from_torch with a function of (x, σ)",
        )
    return wrap(
        unet,
        Frame(
            form,
            process,
            "index" if nearest else _single,
            clip=_check.choice(beyond, "beyond", BEYOND) == "clip",
        ),
        shape=_extent(config) if shape is None else shape,
        layout=layout,
        labels=labels,
        classes=config.get("num_class_embeds"),
        one_hot=False,
        guidance=guidance,
        null=null,
        round_sigma=False,
        device=device,
        dtype=dtype,
        batch=batch,
        call=_call,
    )


def _call(unet: Any, x: Any, time: Any, label: Any) -> Any:
    return unet(x, time, class_labels=label, return_dict=False)[0]


def _single(t: Any) -> Any:
    """Timesteps in float32 also where the network is narrower: it embeds them in that."""
    return np.asarray(t, dtype=np.float32)


def _process(schedule: Any) -> tuple[NoiseSchedule, str | None]:
    """The schedule, and the prediction type that comes with it."""
    if isinstance(schedule, NoiseSchedule):
        t = np.linspace(schedule.t_min, schedule.t_max, 9)[1:-1]
        if np.abs(np.hypot(schedule.alpha(t), schedule.sigma(t)) - 1).max() > 1e-9:
            _check.fail("schedule", repr(schedule), "one that preserves variance", "use from_torch")
        return schedule, None
    said = None
    if isinstance(schedule, Mapping):
        schedule = _scheduler(schedule)
    kept = getattr(schedule, "alphas_cumprod", None)
    if kept is not None:
        said = getattr(schedule, "config", {}).get("prediction_type")
        kept = _check.array(kept.cpu() if hasattr(kept, "cpu") else kept, "alphas_cumprod")
    else:
        betas = _check.array(schedule, "schedule").astype(np.float64)
        if betas.ndim != 1 or not ((betas > 0) & (betas <= 1)).all():
            _check.fail(
                "schedule", _check.show(betas), "betas (T,) in (0, 1]", "or pass a scheduler"
            )
        kept = np.cumprod(1 - betas)
    return NoiseSchedule.discrete(kept), said


def _scheduler(config: Mapping[str, Any]) -> Any:
    try:
        from diffusers import DDPMScheduler
    except ImportError as error:
        raise ImportError(
            f"the config of a scheduler needs diffusers, which cannot be imported ({error}); "
            'install it with pip install "analytic-diffusion[peers]", or pass the betas'
        ) from error
    return DDPMScheduler.from_config(dict(config))


def _extent(config: Any) -> tuple[int, ...] | None:
    size, channels = config.get("sample_size"), config.get("in_channels")
    if size is None or channels is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return channels, height, width
