"""Denoisers as PyTorch modules. Importing this file needs PyTorch: import it inside functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _check
from ..denoisers import Denoiser, apply
from . import _layout
from ._torch import require
from .frames import Frame

__all__ = ["DenoiserModule", "EDMModule"]

torch = require("a denoiser as a torch module")
_Module: Any = torch.nn.Module


class DenoiserModule(_Module):
    """forward(x (B, *shape), time) → what `frame` says, in x's dtype and on x's device.

    The denoiser is called in float64, whatever x is. No gradients pass.
    """

    def __init__(
        self, denoiser: Denoiser, shape: tuple[int, ...], layout: str, frame: Frame
    ) -> None:
        super().__init__()
        self.denoiser, self.shape, self.layout, self.frame = denoiser, shape, layout, frame

    def forward(self, x: Any, time: Any) -> Any:
        """The output at time: one number, or one per row in any shape."""
        if not torch.is_tensor(x) or not x.is_floating_point() or x.shape[1:] != self.shape:
            came = f"{tuple(x.shape)} and {x.dtype}" if torch.is_tensor(x) else _check.show(x)
            _check.fail("x", came, f"a tensor (B, {str(self.shape)[1:]}", "see shape", TypeError)
        told = torch.as_tensor(time).detach().cpu().double().reshape(-1).numpy()
        if len(told) not in (1, len(x)):
            _check.fail(
                "time", f"{len(told)} numbers", f"one, or one for each of {len(x)} rows", "match"
            )
        states = _layout.rows(x.detach().cpu().double().numpy(), self.layout)
        # one level stays one number, which a denoiser may answer faster
        level = np.asarray(self.frame.level(told))
        zero = self.frame.parameterization in ("x0", "edm")
        _check.sigma(level, len(level), zero=zero, argument="level of the time")
        each = np.broadcast_to(level, (len(states),))
        hat = states / self.frame.scale(each)[:, None]
        clean = apply(self.denoiser, hat, float(level[0]) if len(level) == 1 else each)
        answer = _layout.images(self.frame.output(hat, clean, each), self.shape, self.layout)
        return torch.from_numpy(np.ascontiguousarray(answer)).to(x.dtype).to(x.device)


class EDMModule(DenoiserModule):
    """net(x, sigma, class_labels=None) → D, with what samplers written for EDM's nets ask of it."""

    label_dim = 0

    def __init__(
        self,
        denoiser: Denoiser,
        shape: tuple[int, ...],
        layout: str,
        frame: Frame,
        sigma_min: float,
        sigma_max: float,
    ) -> None:
        super().__init__(denoiser, shape, layout, frame)
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        square = len(shape) == 3 and shape[1] == shape[2]
        self.img_channels = shape[0] if square else None
        self.img_resolution = shape[1] if square else None

    def forward(
        self,
        x: Any,
        sigma: Any,
        class_labels: Any = None,
        force_fp32: bool = False,
        augment_labels: Any = None,
    ) -> Any:
        """D(x; σ); `force_fp32` changes nothing, precision is that of x."""
        for name, given in (("class_labels", class_labels), ("augment_labels", augment_labels)):
            if given is not None:
                _check.fail(name, _check.show(given), "None", "label_dim is 0: there are no labels")
        return super().forward(x, sigma)

    def round_sigma(self, sigma: Any) -> Any:
        """σ itself as a tensor: every level is as good as another."""
        return torch.as_tensor(sigma)
