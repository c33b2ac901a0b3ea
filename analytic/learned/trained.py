"""What training gives, and its file.

A model's file is a zip archive of torch's (numbers and plain values only, read with
`weights_only=True`); random features have an `.npz`. `load` tells them apart by what is inside.
Neither is unpickled, and nothing is allocated on the word of a header.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._outcome import where, write_atomic
from ..points import known_label
from . import networks
from ._torch import require
from .adapters import from_torch
from .features import RandomFeatureDenoiser
from .torch_denoiser import TorchDenoiser

__all__ = ["Losses", "TrainedDenoiser", "load", "read_torch", "write_torch"]

Floats = NDArray[np.float64]

_KIND = "analytic-diffusion model"
_VERSION = 1


class Losses(NamedTuple):
    """How training went."""

    step: NDArray[np.int64]
    """(n,) steps done."""
    loss: Floats
    """(n,) moving average of the training loss, per coordinate; 1 is the best linear denoiser of
    isotropic data."""


@dataclass(frozen=True, eq=False, repr=False)
class TrainedDenoiser:
    """A network trained on points, called like any denoiser.

    Made by `train_mlp`, `train_conv` or `load`. x (B, D) or (D,), σ a scalar or (B,), both kept in
    shape; float32 in, float32 out. The network works in float32, the rest in float64.
    """

    denoiser: TorchDenoiser
    """The network at work."""
    losses: Losses
    settings: Mapping[str, Any]
    """What it was trained with: plain values, architecture included."""
    classes: tuple[Any, ...] = ()
    """Labels that `given` takes, for a class-conditional model."""
    label: Any = None
    """The label that outputs are conditioned on; None for none."""

    @classmethod
    def of(
        cls, module: Any, losses: Losses, settings: Mapping[str, Any], classes: tuple[Any, ...]
    ) -> TrainedDenoiser:
        """A module that is trained no further, as the model that `settings` describe."""
        module.zero_grad(set_to_none=True)
        module.requires_grad_(False).eval()
        return cls(_wrapped(module, settings), losses, MappingProxyType(dict(settings)), classes)

    @property
    def module(self) -> Any:
        """What was trained, called as EDM's nets are: x (B, *shape), σ, class_labels=None."""
        return self.denoiser.module

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one x as the network sees it: (D,) or (C, H, W)."""
        return self.denoiser.shape

    @property
    def layout(self) -> str:
        """Of images, how a row runs: "hwc" or "chw"."""
        return self.denoiser.layout

    @property
    def dim(self) -> int:
        """D"""
        return self.denoiser.dim

    def __repr__(self) -> str:
        condition = "" if self.label is None else f", label={self.label!r}"
        kind, steps = self.settings["kind"], self.settings["steps"]
        return f"TrainedDenoiser({kind!r}, D={self.dim}, steps={steps}{condition})"

    def __call__(self, x: Any, sigma: Any) -> NDArray[Any]:
        """r(x; σ), of x's shape and dtype."""
        return self.denoiser(x, sigma)

    def given(self, label: Any) -> TrainedDenoiser:
        """The denoiser of one class; None for all of them.

        Raises
        ------
        ValueError
            for a model that was trained without labels, and for labels that it has not seen.
        """
        if label is None:
            return replace(self, denoiser=_wrapped(self.module, self.settings), label=None)
        if not self.classes:
            _check.fail(
                "label",
                _check.show(label),
                "None, as this model knows no classes",
                "train with labels=True on points with labels",
            )
        known = known_label(label, self.classes, "train on points with this label")
        index = self.classes.index(known)
        return replace(self, denoiser=_wrapped(self.module, self.settings, index), label=known)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file that `load` reads; whole or not at all."""
        target = where(path)
        content = {
            "kind": _KIND,
            "version": _VERSION,
            "settings": dict(self.settings),
            "classes": list(self.classes),
            "label": self.label,
            "step": self.losses.step.tolist(),
            "loss": self.losses.loss.tolist(),
            "state": {k: v.detach().cpu() for k, v in self.module.state_dict().items()},
        }
        write_torch(target, content)


def _wrapped(module: Any, settings: Mapping[str, Any], label: int | None = None) -> TorchDenoiser:
    """In float64 around the network, so that skip terms lose nothing to it."""
    shape, layout = tuple(settings["shape"]), settings["layout"]
    return from_torch(module, shape=shape, layout=layout, dtype="float64", labels=label)


def load(path: str | os.PathLike[str]) -> TrainedDenoiser | RandomFeatureDenoiser:
    """A model from a file that its `save` wrote.

    Raises
    ------
    ValueError
        for anything else: other files, damaged or truncated ones, pickles.
    FileNotFoundError
        where there is none.
    """
    target = where(path)
    if not target.exists():
        shown = repr(str(target))
        _check.fail("path", shown, "an existing file", "check the spelling", FileNotFoundError)
    names = _members(target)
    if any(name.endswith(".npy") for name in names):
        return RandomFeatureDenoiser.load(target)
    content = read_torch(target, _KIND, _VERSION)
    try:
        return _restore(content)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        _refuse(target, f"has contents that do not fit ({error})")


def _restore(content: Mapping[str, Any]) -> TrainedDenoiser:
    torch = require("loading a trained denoiser")
    settings, state = dict(content["settings"]), content["state"]
    module = networks.build(settings, device="meta")
    for name, tensor in module.state_dict().items():
        if state[name].dtype != tensor.dtype or not torch.isfinite(state[name]).all():
            raise ValueError(f"{name} is not finite, or of another type")
    module.load_state_dict(state, strict=True, assign=True)
    losses = Losses(
        np.array(content["step"], dtype=np.int64), np.array(content["loss"], dtype=np.float64)
    )
    model = TrainedDenoiser.of(module, losses, settings, tuple(content["classes"]))
    return model.given(content["label"])


def write_torch(path: Path, content: Mapping[str, Any]) -> None:
    """Tensors and plain values to a file, whole or not at all."""
    buffer = io.BytesIO()
    require("saving a model").save(dict(content), buffer)
    write_atomic(path, buffer.getvalue())


def read_torch(path: Path, kind: str, version: int, argument: str = "path") -> dict[str, Any]:
    """The contents of a file of a kind and version; nothing in it is run."""
    torch = require("reading a model")
    _members(path, argument)
    try:
        content = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a parser throws at bytes of unknown origin
        first = str(error).partition("\n")[0]
        _refuse(path, f"cannot be read ({type(error).__name__}: {first})", argument)
    if not isinstance(content, dict) or content.get("kind") != kind:
        _refuse(path, f"is no {kind}", argument)
    if content.get("version") != version:
        _refuse(path, f"has version {content.get('version')!r}, not {version}", argument)
    return content


def _members(path: Path, argument: str = "path") -> list[str]:
    """Names in an archive, every byte of which has been checked."""
    try:
        with zipfile.ZipFile(path) as archive:
            names, damaged = archive.namelist(), archive.testzip()
    except FileNotFoundError:
        raise
    except Exception as error:  # zlib.error, struct.error, NotImplementedError, ...
        _refuse(path, f"is no whole archive ({error})", argument)
    if damaged is not None:
        _refuse(path, f"is damaged at {damaged!r}", argument)
    return names


def _refuse(path: Path, problem: str, argument: str = "path") -> NoReturn:
    _check.fail(
        argument,
        f"{str(path)!r}, which {problem}",
        "a file that analytic wrote",
        "save it again, or point to another file",
    )
