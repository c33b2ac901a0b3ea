"""Small networks that denoise, behind the preconditioning of EDM.

With σ_d the root-mean-square coordinate of the centred data, μ its mean and F the network,

    r(x; σ) = μ + c_skip (x - μ) + c_out F(c_in (x - μ); c_noise),
    c_skip = σ_d²/(σ² + σ_d²),   c_out = σ σ_d/√(σ² + σ_d²),
    c_in = 1/√(σ² + σ_d²),       c_noise = ln σ / 4.

F = 0 is the best linear denoiser of isotropic data; every network here starts there. Beside x,
F sees cos and sin of 2πf c_noise for frequencies f in geometric progression, so that a few
layers can tell neighbouring noise levels apart.

`Edm` is called as the modules of the EDM code base are: module(x, σ, class_labels=None) with
`sigma_min`, `sigma_max` and `round_sigma`, x (B, *shape), class_labels (B, K) one-hot, all zeros
for "no class".

Karras et al. (2022), *Elucidating the Design Space of Diffusion-Based Generative Models*,
https://arxiv.org/abs/2206.00364, table 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

from .. import _check
from ._torch import require

__all__ = ["KINDS", "build", "preconditioning"]

KINDS = ("conv", "mlp")
"""What can be built."""

_EMBEDDING = 64
"""Width of what blocks are told about the noise level and the class."""
_FREQUENCIES = (0.25, 8.0, 16)
"""Least and largest frequency f of the embedding, and how many: σ from 0.002 to 80 is 2.65 units
of c_noise."""
_GROUPS = 8
"""Groups of a normalisation, where the channels divide."""
_SMALLEST = 4
"""The convolutional net halves images while both sides stay at least this."""


def preconditioning(sigma: Any, sigma_data: float) -> tuple[Any, Any, Any]:
    """(c_skip, c_out, c_in) of levels σ, a number, array or tensor, in its shape."""
    total = sigma * sigma + sigma_data * sigma_data
    root = total**0.5
    return sigma_data * sigma_data / total, sigma * sigma_data / root, 1 / root


def build(architecture: Mapping[str, Any], device: str = "cpu") -> Any:
    """An `Edm` module, its weights drawn from torch's global generator.

    Parameters
    ----------
    architecture : "kind" ("mlp" or "conv"), "shape" of one x ((D,) or (C, H, W)), "width",
        "depth", "classes" (K ≥ 0), and "sigma_data".
    device : "meta" for a module without numbers, to be filled with saved ones.

    Raises
    ------
    ValueError, TypeError
        for anything else.
    """
    torch = require("a network")
    kind = _check.choice(architecture["kind"], "kind", KINDS)
    # bounds that no honest net reaches, as a file may say anything
    width = _check.integer(architecture["width"], "width", low=1, high=2**14)
    depth = _check.integer(architecture["depth"], "depth", low=1, high=2**8)
    classes = _check.integer(architecture["classes"], "classes", low=0, high=2**20)
    sigma_data = _check.number(architecture["sigma_data"], "sigma_data", low=0.0, open_low=True)
    shape = tuple(_check.integer(side, "shape", low=1) for side in architecture["shape"])
    if len(shape) != (1 if kind == "mlp" else 3):
        _check.fail(
            "shape", repr(shape), "(D,) for an mlp, (C, H, W) for a conv net", "give one of these"
        )
    room = _modules()
    with torch.device(device):
        net = (room.Mlp if kind == "mlp" else room.Conv)(shape, width, depth, classes)
        return room.Edm(net, shape, sigma_data, classes)


@cache
def _modules() -> SimpleNamespace:
    """The classes, defined when torch is first needed."""
    torch = require("a network")
    nn: Any = torch.nn
    functional = nn.functional
    Module: Any = nn.Module

    def zero(layer: Any) -> Any:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        return layer

    class Embedding(Module):
        """(B,) c_noise and (B, K) classes -> (B, E)."""

        def __init__(self, classes: int) -> None:
            super().__init__()
            low, high, count = _FREQUENCIES
            powers = torch.linspace(0, 1, count)
            self.register_buffer("frequencies", 2 * math.pi * low * (high / low) ** powers)
            self.first = nn.Linear(2 * count + 1, _EMBEDDING)
            self.second = nn.Linear(_EMBEDDING, _EMBEDDING)
            self.classes = nn.Linear(classes, _EMBEDDING, bias=False) if classes else None

        def forward(self, noise: Any, labels: Any) -> Any:
            angles = noise[:, None] * self.frequencies
            h = self.first(torch.cat([angles.cos(), angles.sin(), noise[:, None]], dim=1))
            if self.classes is not None:
                h = h + self.classes(labels)
            return functional.silu(self.second(functional.silu(h)))

    class Dense(Module):
        """A residual block of width W, told (B, E)."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(width, elementwise_affine=False)
            self.told = nn.Linear(_EMBEDDING, 2 * width)
            self.first = nn.Linear(width, width)
            self.second = nn.Linear(width, width)

        def forward(self, h: Any, told: Any) -> Any:
            scale, shift = self.told(told).chunk(2, dim=1)
            inner = functional.silu(self.norm(h) * (1 + scale) + shift)
            return h + self.second(functional.silu(self.first(inner)))

    class Mlp(Module):
        """(B, D) -> (B, D) by `depth` residual blocks."""

        def __init__(self, shape: tuple[int, ...], width: int, depth: int, classes: int) -> None:
            super().__init__()
            self.embedding = Embedding(classes)
            self.enter = nn.Linear(shape[0], width)
            self.blocks = nn.ModuleList(Dense(width) for _ in range(depth))
            self.norm = nn.LayerNorm(width)
            self.leave = zero(nn.Linear(width, shape[0]))

        def forward(self, x: Any, noise: Any, labels: Any) -> Any:
            told = self.embedding(noise, labels)
            h = self.enter(x)
            for block in self.blocks:
                h = block(h, told)
            return self.leave(functional.silu(self.norm(h)))

    def normalisation(channels: int) -> Any:
        return nn.GroupNorm(math.gcd(_GROUPS, channels), channels)

    def local(into: int, out: int) -> Any:
        return nn.Conv2d(into, out, 3, padding=1)

    class Residual(Module):
        """A residual block of two convolutions, told (B, E)."""

        def __init__(self, into: int, out: int) -> None:
            super().__init__()
            self.before, self.between = normalisation(into), normalisation(out)
            self.first, self.second = local(into, out), zero(local(out, out))
            self.told = nn.Linear(_EMBEDDING, 2 * out)
            self.past = nn.Conv2d(into, out, 1) if into != out else nn.Identity()

        def forward(self, h: Any, told: Any) -> Any:
            scale, shift = self.told(told)[:, :, None, None].chunk(2, dim=1)
            inner = self.first(functional.silu(self.before(h)))
            inner = self.between(inner) * (1 + scale) + shift
            return self.past(h) + self.second(functional.silu(inner))

    class Conv(Module):
        """(B, C, H, W) -> the same: `depth` blocks a scale down, one more a scale up.

        A scale has half the side of the one before and, below the first, twice its channels.
        """

        def __init__(self, shape: tuple[int, ...], width: int, depth: int, classes: int) -> None:
            super().__init__()
            scales, side = 1, min(shape[1:])
            while side // 2 >= _SMALLEST:
                scales, side = scales + 1, side // 2
            sizes = [width] + [2 * width] * (scales - 1)
            self.embedding = Embedding(classes)
            self.enter = local(shape[0], width)
            self.down, self.up = nn.ModuleList(), nn.ModuleList()
            last = width
            for size in sizes:
                blocks = [Residual(last if k == 0 else size, size) for k in range(depth)]
                self.down.append(nn.ModuleList(blocks))
                last = size
            self.middle = Residual(last, last)
            for size in reversed(sizes):
                blocks = [Residual(last + size if k == 0 else size, size) for k in range(depth)]
                self.up.append(nn.ModuleList(blocks))
                last = size
            self.norm = normalisation(width)
            self.leave = zero(local(width, shape[0]))

        def forward(self, x: Any, noise: Any, labels: Any) -> Any:
            told = self.embedding(noise, labels)
            h, kept = self.enter(x), []
            for k, blocks in enumerate(self.down):
                if k:
                    h = functional.avg_pool2d(h, 2, ceil_mode=True)
                for block in blocks:
                    h = block(h, told)
                kept.append(h)
            h = self.middle(h, told)
            for blocks in self.up:
                past = kept.pop()
                if h.shape[2:] != past.shape[2:]:
                    h = functional.interpolate(h, size=past.shape[2:], mode="nearest")
                h = torch.cat([h, past], dim=1)
                for block in blocks:
                    h = block(h, told)
            return self.leave(functional.silu(self.norm(h)))

    class Edm(Module):
        """r(x; σ), x (B, *shape): coefficients in float64, the network in its own dtype."""

        sigma_min = 0.0
        sigma_max = math.inf

        def __init__(
            self, net: Any, shape: tuple[int, ...], sigma_data: float, classes: int
        ) -> None:
            super().__init__()
            self.net = net
            self.sigma_data, self.label_dim = sigma_data, classes
            self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))

        def round_sigma(self, sigma: Any) -> Any:
            """Levels as they are: any will do."""
            return torch.as_tensor(sigma)

        def forward(self, x: Any, sigma: Any, class_labels: Any = None) -> Any:
            mean = self.mean.to(x.dtype)
            level = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).reshape(-1)
            level = level.expand(len(x))
            own = self.net.embedding.first.weight.dtype
            labels = None
            if self.label_dim:
                labels = x.new_zeros((len(x), self.label_dim), dtype=own)
                if class_labels is not None:
                    labels = labels + class_labels.to(own).reshape(-1, self.label_dim)
            factors = preconditioning(level, self.sigma_data)
            tall = (-1, *[1] * (x.ndim - 1))
            skip, out, into = (factor.to(x.dtype).reshape(tall) for factor in factors)
            centred = x - mean
            found = self.net((into * centred).to(own), (level.log() / 4).to(own), labels)
            return mean + skip * centred + out * found.to(x.dtype)

    return SimpleNamespace(Edm=Edm, Mlp=Mlp, Conv=Conv, Embedding=Embedding)
