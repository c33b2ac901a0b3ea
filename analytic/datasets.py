"""Datasets: toys with a formula, digits, natural image patches, and users' own files.

Every function returns a `PointSet`. Every random choice comes from `seed`; u is
uniform on [0, 1), z standard normal, s the argument `noise`, one draw per point and
coordinate.

two_moons        (cos t, sin t) + s z,  label 0,   and
                 (1 - cos t, 1/2 - sin t) + s z,  label 1;
                 t evenly spaced on [0, π] (scikit-learn's `make_moons`)
eight_gaussians  2 (cos kπ/4, sin kπ/4) + s z,  label k = 0..7 in turn
checkerboard     uniform on the squares [c, c+1) x [r, r+1) of [-2, 2]² with c + r even
swiss_roll       t/(3π) (cos t, sin t) + s z,  t = 3π (u + 1/2): one turn and a half,
                 radius from 1/2 to 3/2
two_points       -d/2 e_1, label 0,  and  +d/2 e_1, label 1
random_high_d    z in R^D
digits           1,797 8 x 8 handwritten digits, v/8 - 1 for v in 0..16, label = digit
                 (scikit-learn's copy of the UCI test set,
                 https://archive.ics.uci.edu/dataset/80)
patches          squares cut from scikit-learn's photographs china.jpg and flower.jpg,
                 v/127.5 - 1 for v in 0..255

Equal points are one point of a larger weight (see `PointSet`), so a set can come out
smaller than `n`: without noise, or for patches of one flat colour.

A new dataset is one function and one entry in `_MAKERS`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from . import _check, _files
from .points import PointSet

__all__ = [
    "checkerboard",
    "digits",
    "eight_gaussians",
    "get",
    "load",
    "names",
    "patches",
    "random_high_d",
    "resolve",
    "swiss_roll",
    "two_moons",
    "two_points",
]

Floats = NDArray[np.float64]

_NOISE_LIMIT = 1e100
"""Largest noise: 50 orders of magnitude below the largest coordinate a `PointSet` takes."""

_BLOCK = 1 << 20
"""Numbers gathered at a time, so that temporaries stay small next to the result."""


def two_moons(n: int = 2000, *, noise: float = 0.05, seed: int = 0) -> PointSet:
    """Two interleaving half-circles of unit radius: (n, 2), labels 0 (upper) and 1 (lower).

    The first n//2 points are the upper moon. Without noise the set is the same for every
    seed. `noise` is the standard deviation per coordinate, in units of the radius.

    Raises `TypeError` or `ValueError` for a bad `n`, `noise` or `seed`.

    Source: scikit-learn, `sklearn.datasets.make_moons`.
    """
    n, noise, rng = _count(n, 2), _noise(noise), _rng(seed)
    outer, inner = np.linspace(0, np.pi, n // 2), np.linspace(0, np.pi, n - n // 2)
    upper = np.stack([np.cos(outer), np.sin(outer)], axis=1)
    lower = np.stack([1 - np.cos(inner), 0.5 - np.sin(inner)], axis=1)
    points = np.concatenate([upper, lower]) + noise * rng.standard_normal((n, 2))
    return PointSet(points, labels=np.repeat([0, 1], [n // 2, n - n // 2]), name="two_moons")


def eight_gaussians(n: int = 2000, *, noise: float = 0.1, seed: int = 0) -> PointSet:
    """Eight isotropic Gaussians around a circle of radius 2: (n, 2), label = centre 0..7.

    Points take the centres in turn, so the clusters differ by at most one point; the
    root-mean-square coordinate is √(2 + noise²). Without noise, equal points merge and
    at most the 8 centres are left.

    Raises `TypeError` or `ValueError` for a bad `n`, `noise` or `seed`.
    """
    n, noise, rng = _count(n, 2), _noise(noise), _rng(seed)
    label = np.arange(n) % 8
    angle = label * np.pi / 4
    centre = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = centre + noise * rng.standard_normal((n, 2))
    return PointSet(points, labels=label, name="eight_gaussians")


def checkerboard(n: int = 2000, *, seed: int = 0) -> PointSet:
    """Uniform draws from the 8 dark squares of a 4 x 4 board on [-2, 2]²: (n, 2), no labels.

    The lower left square [-2, -1)² is dark.

    Raises `TypeError` or `ValueError` for a bad `n` or `seed`.
    """
    n, rng = _count(n, 2), _rng(seed)
    square = rng.integers(8, size=n)
    column = square // 2
    row = 2 * (square % 2) + column % 2
    points = np.stack([column, row], axis=1) - 2 + rng.random((n, 2))
    return PointSet(points, name="checkerboard")


def swiss_roll(n: int = 2000, *, noise: float = 0.03, seed: int = 0) -> PointSet:
    """A plane spiral of one turn and a half, radius 1/2 to 3/2: (n, 2), no labels.

    Uniform in angle, hence denser inside. `noise` is the standard deviation per
    coordinate, in the same units as the radius.

    Raises `TypeError` or `ValueError` for a bad `n`, `noise` or `seed`.

    Source: cross-section of scikit-learn's `make_swiss_roll`, divided by 3π.
    """
    n, noise, rng = _count(n, 2), _noise(noise), _rng(seed)
    t = 3 * np.pi * (rng.random(n) + 0.5)
    curve = (t / (3 * np.pi))[:, None] * np.stack([np.cos(t), np.sin(t)], axis=1)
    return PointSet(curve + noise * rng.standard_normal((n, 2)), name="swiss_roll")


def two_points(distance: float = 2.0, dim: int = 1) -> PointSet:
    """The points -distance/2 and +distance/2 on the first axis: (2, dim), labels 0 and 1.

    Raises `TypeError` or `ValueError` for a `distance` that is not positive and finite, or
    a bad `dim`.
    """
    distance = _check.number(
        distance,
        "distance",
        low=float(np.finfo(float).tiny),
        high=_check.SIGMA_LIMIT,
        remedy="pass the positive distance between the two points",
    )
    points = np.zeros((2, _dim(2, dim)))
    points[:, 0] = -distance / 2, distance / 2
    return PointSet(points, labels=np.arange(2), name="two_points")


def random_high_d(n: int = 1000, dim: int = 512, *, seed: int = 0) -> PointSet:
    """Independent standard normal points: (n, dim), no labels.

    Raises `TypeError` or `ValueError` for a bad `n`, `dim` or `seed`, also when the array
    would not fit into memory.
    """
    n, rng = _count(n, 1), _rng(seed)
    return PointSet(rng.standard_normal((n, _dim(n, dim))), name="random_high_d")


def digits(n: int | None = None, *, seed: int = 0) -> PointSet:
    """Handwritten digits in [-1, 1]: (1797, 64) or (n, 64), row-major 8 x 8, label = digit.

    With `n`, that many of them drawn without replacement, in the original order.

    Raises `TypeError` or `ValueError` for a bad `n` (1 to 1797) or `seed`; `ImportError`
    without scikit-learn.
    """
    rng = _rng(seed)
    bunch = _files.extra("sklearn.datasets").load_digits()
    keep = _pick(len(bunch.data), n, rng)
    return PointSet(bunch.data[keep] / 8 - 1, labels=bunch.target[keep], name="digits")


def patches(n: int = 20_000, size: int = 8, *, seed: int = 0, channels: int = 3) -> PointSet:
    """Natural image patches in [-1, 1]: (n, size·size·channels), row-major H, W, C.

    Cut at `n` distinct positions, uniformly over all positions of both photographs
    (427 x 640 pixels each; 531,720 positions at size 8), in random order. `channels` is 3
    for RGB or 1 for the mean of the three. No labels.

    Raises `TypeError` or `ValueError` for a bad argument, also when `n` exceeds the number
    of positions or `size` the photographs; `ImportError` without scikit-learn or Pillow.
    """
    n, size, rng = _count(n, 1), _check.integer(size, "size", low=1), _rng(seed)
    channels = _check.integer(channels, "channels", low=1, high=3)
    if channels == 2:
        _check.fail("channels", "2", "1 or 3", "pass 3 for RGB or 1 for grey")
    photos = _photos(channels)
    largest = min(min(photo.shape[:2]) for photo in photos)
    if size > largest:
        _check.fail(
            "size",
            str(size),
            f"a whole number in [1, {largest}], the height of the photographs",
            "ask for smaller patches",
        )
    windows = [sliding_window_view(photo, (size, size), axis=(0, 1)) for photo in photos]
    totals = [view.shape[0] * view.shape[1] for view in windows]
    if n > sum(totals):
        _check.fail(
            "n",
            str(n),
            f"at most the {sum(totals)} positions of a {size} x {size} patch",
            "ask for fewer or smaller patches",
        )
    _check.size(n, size * size * channels, "n")
    position = rng.choice(sum(totals), size=n, replace=False)
    return PointSet(_cut(windows, position), name="patches")


def load(
    path: str | os.PathLike[str], *, name: str | None = None, progress: bool = False
) -> PointSet:
    """A user's own file or folder as a `PointSet`, called `name` or by the stem of the path.

    ``.npy``
        An array (N, ...) of real numbers, flattened to (N, D). The numbers stay as they
        are: images saved as uint8 keep 0..255, scale them before saving.
    ``.npz``
        The same array as ``points``, ``X``, ``data`` or ``arr_0`` (the first of these
        found) or as the only array; optionally ``weights`` (N,), and ``labels`` or ``y``
        (N,). Other arrays are ignored.
    ``.zip``
        Images of equal size in any folder, read in the order of their names: v/127.5 - 1
        for v in 0..255, row-major H, W, C. Grey images have one channel, palettes become
        RGB, of an animation the first frame counts. Alpha is refused, since the colour
        behind it is nobody's choice but yours. With ``dataset.json`` holding
        ``{"labels": [[file, class], ...]}``, the classes become labels if every image has
        one and all are whole numbers, and are dropped with a warning otherwise. Files
        that are not images, and hidden ones, are ignored.
    a folder of images
        By the same rules. Without a ``dataset.json`` the label of an image is the name of
        the outermost folder it is in, a string; there are no labels if all images lie
        right in `path`, nor, with a warning, if only some do. Links to folders are refused.
    IDX: ``train-images-idx3-ubyte``, ``.idx``, plain or ``.gz``
        MNIST's format, an array (N, ...) of any of its six types. Unsigned bytes are
        pixels, v/127.5 - 1; other numbers stay as they are. Labels come from the file
        beside it with "labels" for "images" and ``idx1`` in its name
        (``train-labels-idx1-ubyte``), if there is one.
    CIFAR, the binary version: ``.bin``, ``cifar-10-batches-bin``, ``cifar-100-binary.tar.gz``
        v/127.5 - 1, row-major H, W, C. A folder or ``.tar.gz`` stands for all its training
        images, a ``.bin`` for itself. Of CIFAR-100 the labels are the fine ones, 0..99.
        The Python version, a pickle, is refused.

    `progress` draws a bar on a terminal where reading takes a while.

    Raises
    ------
    FileNotFoundError
        if there is no such file; another `OSError` if it may not be read.
    ValueError
        naming the path: neither a file nor a folder, an unknown ending, a damaged,
        truncated or encrypted file, pickled objects, fewer than two dimensions, non-finite
        numbers, images of differing sizes or none, an image too large to be true, a
        malformed ``dataset.json`` or one that lists missing files, labels that do not
        match, more than the memory here.
    TypeError, ImportError
        for an argument of the wrong kind; for images without Pillow.
    """
    if not isinstance(path, (str, os.PathLike)):
        _check.fail("path", _check.show(path), "a path", "pass a string or a Path", TypeError)
    _check.flag(progress, "progress")
    path = Path(path)
    name = _stem(path) if name is None else _check.text(name, "name")
    shown = repr(str(path))
    if not path.exists():
        _check.fail("path", shown, "an existing file", "check the spelling", FileNotFoundError)
    if not (path.is_file() or path.is_dir()):
        problem = f"{shown}, which is no regular file"
        _check.fail("path", problem, "a file or a folder", "write it to a file first")
    read = _files.reader(path)
    if read is None:
        kinds = ", ".join(_files.FORMATS)
        remedy = "convert it, e.g. with np.save"
        _check.fail("path", shown, f"a folder, or a file ending in {kinds}", remedy)
    try:
        return _as_points(read(path, progress), name, shown)
    except MemoryError as error:
        _check.fail(
            "path",
            f"{shown}, which does not fit into the memory that is free ({error})",
            "fewer or smaller points",
            "keep a part of it",
        )


def _as_points(contents: _files.Contents, name: str, shown: str) -> PointSet:
    try:
        # numbers beyond float64 are refused as the infinities they become, without a warning
        with np.errstate(over="ignore", invalid="ignore"):
            return PointSet(contents.points, contents.weights, contents.labels, name=name)
    except (TypeError, ValueError) as error:
        raise ValueError(f"path: got {shown}, which makes no dataset. {error}") from error


class _Maker(Protocol):
    """What the registry asks of a dataset: its own default size, and a seed."""

    def __call__(self, n: int = ..., *, seed: int = ...) -> PointSet: ...


def _pair(n: int = 2, *, seed: int = 0) -> PointSet:
    _check.integer(n, "n", low=2, high=2, remedy="two_points has two points")
    _check.seed(seed)
    return two_points()


_MAKERS: dict[str, _Maker] = {
    "two_moons": two_moons,
    "eight_gaussians": eight_gaussians,
    "two_points": _pair,
    "checkerboard": checkerboard,
    "swiss_roll": swiss_roll,
    "random_high_d": random_high_d,
    "digits": digits,
    "patches": patches,
}

_ALIASES = {"moons": "two_moons", "8gaussians": "eight_gaussians"}


def names() -> tuple[str, ...]:
    """Names that `get` knows."""
    return tuple(_MAKERS)


def get(name: str, *, n: int | None = None, seed: int = 0) -> PointSet:
    """A dataset by name, with its own default size unless `n` is given.

    Hyphens count as underscores; ``moons`` and ``8gaussians`` are understood too.

    Raises `ValueError` for an unknown name, listing the known ones and the nearest, and
    whatever the dataset itself raises.
    """
    key = _check.text(name, "name").replace("-", "_")
    make = _MAKERS[_check.choice(_ALIASES.get(key, key), "name", names())]
    return make(seed=seed) if n is None else make(n, seed=seed)


def resolve(
    name_or_path: str | os.PathLike[str],
    *,
    n: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> PointSet:
    """A dataset by name (see `get`) or, if it looks like a path, a file (see `load`).

    A path has a separator in it, ends like a known kind of file, or is no dataset's name but
    that of a folder here. `n` keeps that many points of a file, drawn uniformly without
    replacement in their original order and with their relative weights.

    Raises what `get` and `load` raise, and `ValueError` if `n` exceeds the file's points.
    """
    if isinstance(name_or_path, str) and not _looks_like_path(name_or_path):
        return get(name_or_path, n=n, seed=seed)
    rng = _rng(seed)
    # Before the file is read, which can take a while.
    n = None if n is None else _check.integer(n, "n", low=1)
    return _subset(load(name_or_path, progress=progress), n, rng)


def _looks_like_path(name: str) -> bool:
    separators = {"/", os.sep, os.altsep or os.sep}
    if any(mark in name for mark in separators) or _files.by_name(name):
        return True
    known = name.replace("-", "_") in (*_MAKERS, *_ALIASES)
    return not known and os.path.isdir(name)  # False for what cannot be a path


def _stem(path: Path) -> str:
    """The name without what tells the kind: "a" of a.npy and of a.tar.gz, all of a folder's."""
    if path.is_dir():
        return path.resolve().name
    return Path(re.sub(r"(?i)\.gz$", "", path.name)).stem


def _subset(data: PointSet, n: int | None, rng: np.random.Generator) -> PointSet:
    return data if n is None else data.subset(_pick(len(data), n, rng))


def _pick(count: int, n: int | None, rng: np.random.Generator) -> NDArray[Any]:
    """Rows of `n` distinct points out of `count`, ascending; all of them for None."""
    if n is None:
        return np.arange(count)
    n = _check.integer(n, "n", low=1, high=count, remedy=f"the dataset has {count} points")
    return np.sort(rng.choice(count, size=n, replace=False))


def _count(n: int, dim: int) -> int:
    n = _check.integer(n, "n", low=1)
    _check.size(n, dim, "n")
    return n


def _dim(n: int, dim: int) -> int:
    dim = _check.integer(dim, "dim", low=1)
    _check.size(n, dim, "dim")
    return dim


def _noise(noise: float) -> float:
    return _check.number(noise, "noise", low=0, high=_NOISE_LIMIT)


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(_check.seed(seed))


def _photos(channels: int) -> list[NDArray[Any]]:
    """The sample photographs as (H, W, channels) arrays with values in [0, 255]."""
    _files.extra("PIL.Image")  # scikit-learn's own message does not name our extra
    images = _files.extra("sklearn.datasets").load_sample_images().images
    if channels == 3:
        return [np.asarray(image) for image in images]
    return [np.asarray(image).mean(axis=2, keepdims=True) for image in images]


def _cut(windows: list[NDArray[Any]], position: NDArray[np.int64]) -> Floats:
    """(n, size·size·C) patches in [-1, 1] at positions counted over (H', W', C, size, size) views.

    One photograph's positions are row-major and follow the previous photograph's.
    """
    dim = int(np.prod(windows[0].shape[2:]))
    points = np.empty((len(position), dim))
    step = max(1, _BLOCK // dim)
    start = 0
    for view in windows:
        end = start + view.shape[0] * view.shape[1]
        rows = np.flatnonzero((start <= position) & (position < end))
        for block in (rows[k : k + step] for k in range(0, len(rows), step)):
            top, left = np.divmod(position[block] - start, view.shape[1])
            patch = np.moveaxis(view[top, left], 1, -1)
            points[block] = patch.reshape(len(block), dim) / 127.5 - 1
        start = end
    return points
