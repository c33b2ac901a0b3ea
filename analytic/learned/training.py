"""Training of networks on points: the loss of EDM, Adam, averaged weights, and checkpoints.

With x = x_0 + σz, x_0 drawn by the weights of the points and centred, and the preconditioning of
`networks`, the loss of EDM per coordinate is

    E λ(σ)|r(x; σ) - x_0|²/D,   λ = (σ² + σ_d²)/(σ σ_d)² = 1/c_out²,
    = E|F(c_in x; c_noise) - f|²/D,   f = (x_0 - c_skip x)/c_out
                                        = (σ x_0/σ_d - σ_d z)/√(σ² + σ_d²),

and is computed in the last form, in which nothing cancels. F = 0 gives 1. The least loss there
is, E λ mmse(σ)/D, is that of the optimal denoiser (theory G1).

Steps t = 1, 2, … are Adam's, at a rate that rises linearly over `warmup` steps and then stays or
falls to 0 as a half cosine; the weights in use are running averages (see `_run`).

Every draw of step t comes from a generator of its own, seeded with (seed, t). So a run that
continues from a checkpoint is, bit for bit, the run that was not interrupted.

Karras et al. (2022), *Elucidating the Design Space of Diffusion-Based Generative Models*,
https://arxiv.org/abs/2206.00364.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check, grids
from .._outcome import where
from .._progress import bar
from ..points import PointSet, as_points
from . import _layout, networks
from ._run import Batch, Recipe, Run
from ._torch import require
from .levels import Levels, LogNormal, LogUniform, draw
from .trained import Losses, TrainedDenoiser

__all__ = ["train_conv", "train_mlp"]

Floats = NDArray[np.float64]


def train_mlp(
    points: PointSet | Any,
    *,
    width: int = 256,
    depth: int = 3,
    steps: int = 3000,
    batch: int = 512,
    lr: float = 1e-3,
    warmup: int = 100,
    schedule: str = "cosine",
    half_life: float = 500,
    levels: Levels | None = None,
    labels: bool = False,
    label_dropout: float = 0.1,
    seed: int = 0,
    threads: int | None = 1,
    device: str = "cpu",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 500,
    progress: bool = False,
) -> TrainedDenoiser:
    """Train a residual MLP to denoise points.

    Parameters
    ----------
    points : `PointSet` or (N, D) array; points are drawn by their weights.
    width, depth : of the network: `depth` residual blocks of `width` units.
    steps, batch : how many steps, and noisy points in each.
    lr, warmup, schedule : largest learning rate, steps in which it rises, and what it does then:
        "cosine" (falls to 0) or "constant".
    half_life : steps in which averaged weights forget half; at most a 20th of the steps so far.
        0 for no averages.
    levels : where noise levels come from: `LogUniform` (default, twice beyond `grids.noise_range`
        of the data at both ends: from 0.001 to 160 for data of order one), `LogNormal` (EDM's,
        scaled to the data), or a function (rng, n) -> (n,).
    labels : train a class-conditional model on the labels of the points, `given(label)`.
    label_dropout : probability with which a label is hidden, so that the same model serves
        without one.
    seed : non-negative integer. Same seed, same model: bit for bit with one thread.
    threads : of torch, while it trains; None leaves torch's own setting. Networks as small as
        the default gain little from more, and lose much where cores are busy.
    device : where torch works.
    checkpoint : a file that is written every `checkpoint_every` steps, and continued from where
        it is there. A run that was interrupted and called again gives the same model.
    progress : show a progress bar on a terminal.

    Returns
    -------
    `TrainedDenoiser`, with averaged weights.

    Raises
    ------
    ValueError, TypeError
        for bad arguments, and for a checkpoint of other settings, of other data, or damaged.
    FloatingPointError
        where training diverges.
    """
    data = as_points(points)
    recipe = Recipe(
        steps, batch, lr, warmup, schedule, half_life, _levels(levels, data), label_dropout, seed
    )
    room = _Room(threads, device, checkpoint, checkpoint_every, progress)
    size = {"kind": "mlp", "layout": "hwc", **_size(width, depth)}
    return _train(data, (data.dim,), size, recipe, labels, room)


def train_conv(
    points: PointSet | Any,
    shape: tuple[int, int, int],
    *,
    layout: str = "hwc",
    width: int = 32,
    depth: int = 2,
    steps: int = 1500,
    batch: int = 128,
    lr: float = 1e-3,
    warmup: int = 100,
    schedule: str = "cosine",
    half_life: float = 500,
    levels: Levels | None = None,
    labels: bool = False,
    label_dropout: float = 0.1,
    seed: int = 0,
    threads: int | None = 1,
    device: str = "cpu",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
    progress: bool = False,
) -> TrainedDenoiser:
    """Train a small convolutional U-Net to denoise images.

    Parameters
    ----------
    points : `PointSet` or (N, D) array of images, one a row.
    shape : (C, H, W), channels first, whatever the layout: (1, 8, 8) for the digits, (3, 8, 8)
        for patches.
    layout : how a row runs: "hwc" (pixel by pixel, as in all data sets of `analytic.datasets`) or
        "chw" (a flattened tensor).
    width : channels, twice as many where images are halved.
    depth : residual blocks per scale and direction.

    All else is as in `train_mlp`.
    """
    data = as_points(points)
    recipe = Recipe(
        steps, batch, lr, warmup, schedule, half_life, _levels(levels, data), label_dropout, seed
    )
    room = _Room(threads, device, checkpoint, checkpoint_every, progress)
    size = {"kind": "conv", "layout": _layout.order(layout), **_size(width, depth)}
    return _train(data, _sides(shape, data.dim), size, recipe, labels, room)


def _levels(levels: Any, data: PointSet) -> Levels:
    """The distribution asked for, scaled to the data where it is EDM's."""
    if levels is None:
        high, low = grids.noise_range(data)
        return LogUniform(low / 2, 2 * high)
    if isinstance(levels, LogNormal) and levels.sigma_data is None:
        return replace(levels, sigma_data=data.scale or 1.0)
    return levels


def _size(width: Any, depth: Any) -> dict[str, int]:
    return {
        "width": _check.integer(width, "width", low=1, high=2**14),
        "depth": _check.integer(depth, "depth", low=1, high=2**8),
    }


def _sides(shape: Any, dim: int) -> tuple[int, ...]:
    sides = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    if len(sides) != 3:
        _check.fail("shape", _check.show(shape), "(C, H, W)", "(1, 8, 8) for the digits", TypeError)
    sides = tuple(_check.integer(side, "shape", low=1) for side in sides)
    if math.prod(sides) != dim:
        _check.fail(
            "shape", repr(sides), f"C H W = {dim}, the width of the points", "order is C, H, W"
        )
    return sides


class _Room:
    """Where training runs, and what it tells and writes meanwhile."""

    def __init__(
        self, threads: Any, device: Any, checkpoint: Any, checkpoint_every: Any, progress: Any
    ) -> None:
        self.threads = None if threads is None else _check.integer(threads, "threads", low=1)
        self.device = _check.text(device, "device")
        self.checkpoint = None if checkpoint is None else where(checkpoint, "checkpoint")
        self.every = _check.integer(checkpoint_every, "checkpoint_every", low=1)
        self.progress = _check.flag(progress, "progress")

    @contextmanager
    def torch(self) -> Iterator[Any]:
        """Torch with these threads, and an error for a device that it does not have."""
        torch = require("training")
        before = torch.get_num_threads()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            try:
                torch.empty(1, device=self.device)
            except (RuntimeError, AssertionError) as error:
                first = str(error).partition("\n")[0]
                _check.fail("device", repr(self.device), "one that torch has", first.rstrip("."))
            yield torch
        finally:
            torch.set_num_threads(before)


def _train(
    data: PointSet,
    shape: tuple[int, ...],
    size: Mapping[str, Any],
    recipe: Recipe,
    labels: Any,
    room: _Room,
) -> TrainedDenoiser:
    """The one loop."""
    classes, entries = _entries(data, _check.flag(labels, "labels"))
    settings = {
        **size,
        "shape": list(shape),
        "classes": len(classes),
        # of a single point any unit will do
        "sigma_data": data.scale or 1.0,
        **recipe.plain(),
    }
    with room.torch() as torch:
        module = _initial(torch, settings, data, recipe.seed).to(room.device)
        run = Run.start(torch, module)
        digest = _digest(data, entries)
        if room.checkpoint is not None and room.checkpoint.exists():
            run.resume(room.checkpoint, settings, digest)
        with bar(recipe.steps, f"training ({size['kind']})", room.progress) as advance:
            advance(run.step)
            while run.step < recipe.steps:
                run.advance(_batch(data, entries, settings, recipe, run.step + 1), recipe)
                done = run.step == recipe.steps
                if room.checkpoint is not None and (done or run.step % room.every == 0):
                    run.save(room.checkpoint, settings, digest)
                advance(1)
        run.weights.copy_(run.average)
        step, loss = (np.array(part) for part in zip(*run.history, strict=True))
        return TrainedDenoiser.of(module, Losses(step, loss), settings, tuple(classes.tolist()))


class _Entries(NamedTuple):
    """What batches are drawn from: the points, those of several classes once for each."""

    point: NDArray[np.intp]
    """(M,) which point"""
    weights: Floats
    """(M,) of sum 1"""
    labels: NDArray[np.intp] | None
    """(M,) which class; None without labels"""


def _entries(data: PointSet, wanted: bool) -> tuple[NDArray[Any], _Entries]:
    """(K,) labels in order, and the entries."""
    point, weights = np.arange(len(data)), data.weights
    if not wanted:
        return np.empty(0), _Entries(point, weights, None)
    if data.labels is None:
        _check.fail("labels", "True", "points with labels", "pass PointSet(points, labels=...)")
    labels = data.labels
    if data.shared is not None:
        alone = np.setdiff1d(point, data.shared.point)
        point = np.concatenate([alone, data.shared.point])
        weights = np.concatenate([weights[alone], data.shared.weights])
        labels = np.concatenate([labels[alone], data.shared.labels])
    return data.classes, _Entries(point, weights, np.searchsorted(data.classes, labels))


def _digest(data: PointSet, entries: _Entries) -> str:
    found = hashlib.sha256(repr(data.points.shape).encode())
    for part in (data.points, *entries):
        found.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
    return found.hexdigest()


def _initial(torch: Any, settings: Mapping[str, Any], data: PointSet, seed: int) -> Any:
    """A module with random weights, drawn on the CPU; torch's global generator is left alone."""
    before = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)
        module = networks.build(settings)
    finally:
        torch.set_rng_state(before)
    module.mean.copy_(torch.tensor(_seen(data.mean[None], settings)[0]))
    return module


def _batch(
    data: PointSet,
    entries: _Entries,
    settings: Mapping[str, Any],
    recipe: Recipe,
    step: int,
) -> Batch:
    """The batch of a step."""
    rng, count = np.random.default_rng((recipe.seed, step)), recipe.batch
    chosen = _pick(entries.weights, rng, count)
    sigma = draw(recipe.levels, rng, count)[:, None]
    z = rng.standard_normal((count, data.dim))
    clean = data.points[entries.point[chosen]] - data.mean
    sigma_data = settings["sigma_data"]
    inward = networks.preconditioning(sigma, sigma_data)[2]
    labels = None
    if entries.labels is not None:
        labels = np.eye(settings["classes"])[entries.labels[chosen]]
        labels[rng.random(count) < recipe.label_dropout] = 0
    return Batch(
        _seen(inward * (clean + sigma * z), settings),
        np.log(sigma[:, 0]) / 4,
        _seen(inward * (sigma / sigma_data * clean - sigma_data * z), settings),
        labels,
    )


def _seen(rows: Floats, settings: Mapping[str, Any]) -> Floats:
    """(B, *shape) of rows (B, D), as the network sees them."""
    found = _layout.images(rows, tuple(settings["shape"]), settings["layout"])
    return np.ascontiguousarray(found)


def _pick(weights: Floats, rng: np.random.Generator, count: int) -> NDArray[np.intp]:
    """(count,) rows, by weight."""
    edges = np.cumsum(weights)
    return np.minimum(
        np.searchsorted(edges, edges[-1] * rng.random(count), side="right"), len(weights) - 1
    )
