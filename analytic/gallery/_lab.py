"""What a figure's script works with."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, _named, grids
from .._lazy import cached_property
from .._outcome import plain
from ..denoisers import Denoiser, OptimalDenoiser
from ..flow import integrate
from ..grids import noise_range
from ..learned import RandomFeatureDenoiser
from ..noise import noise
from ..points import PointSet
from ..trajectory import Collapse, Trajectory
from ._kept import Kept

__all__ = ["Lab", "Unfit", "image_shape"]

Floats = NDArray[np.float64]

LARGE = 20_000_000
"""Numbers in a set from which on figures take fewer and coarser paths, and fit no model."""
MIN_SIDE = 4
NOT_COMPUTING = ("plotting", "gallery", "cli.py", "report.py", "_html.py", "claims")


class Unfit(Exception):
    """Raised by a script's `compute` where there is nothing to show; says why in a few words."""


@dataclass(frozen=True)
class Lab:
    """What a script works with: the data, denoisers of it, and paths that figures share."""

    data: PointSet
    kept: Kept
    model_name: str | None = None
    """MODULE:OBJECT or file; None for random features."""
    progress: bool = False
    """Whether long computations show a bar on a terminal."""

    @cached_property
    def denoiser(self) -> OptimalDenoiser:
        """The optimal denoiser."""
        return OptimalDenoiser(self.data)

    @cached_property
    def model(self) -> Denoiser:
        """The learned denoiser: the user's, or random features trained in closed form.

        Raises
        ------
        Unfit
            without a model of the user's, for a set too large to fit one while drawing.
        """
        if self.model_name is not None:
            found = _named.model(self.model_name, self.data)
            assert found is not None
            return found
        if not self.learnable:
            raise Unfit(
                f"it shows a learned denoiser, and {self.data.name} is too large to fit one here; "
                "name yours with --model"
            )
        return self._random_features()

    def _random_features(self) -> RandomFeatureDenoiser:
        """Fitted once for a set, however many processes ask."""
        key = self.key("random features")
        path = self.kept.folder / f"{key}.npz"
        with self.kept.alone(key):
            try:
                return RandomFeatureDenoiser.load(self.kept.used(key))
            except (OSError, ValueError):
                found = RandomFeatureDenoiser.fit(self.data, n_features=512, progress=self.progress)
                found.save(path)
                return found

    @property
    def learnable(self) -> bool:
        """Whether there is a `model`: the user's, or a set small enough to fit one."""
        return self.model_name is not None or not self.large

    @property
    def learned(self) -> str:
        """What the model is, in words for a legend."""
        name = self.model_name
        return "random features" if name is None else Path(name).name

    @property
    def titles(self) -> dict[str, str]:
        """In words whose the `paths` are."""
        return {"optimal": "optimal denoiser", "learned": self.learned}

    @property
    def large(self) -> bool:
        """Whether the set is so large that paths should be few."""
        return self.data.points.size > LARGE

    @cached_property
    def unit(self) -> float:
        """1 for data of order one, else their power of ten (`grids.noise_range`)."""
        return self.high / 80.0

    @property
    def high(self) -> float:
        """The largest noise level: 80 units."""
        return noise_range(self.data)[0]

    @property
    def low(self) -> float:
        """The smallest noise level but 0: 0.002 units."""
        return noise_range(self.data)[1]

    def start(self, count: int, seed: int = 1, sigma: float | None = None) -> Floats:
        """(count, D) starts σ z, by default of the largest noise level."""
        return noise(
            count, like=self.denoiser, sigma=self.high if sigma is None else sigma, seed=seed
        )

    def exact(
        self, count: int = 48, seed: int = 1, *, levels: int = 200, also: Sequence[float] = ()
    ) -> Trajectory:
        """Exact paths from `high` to 0, at `levels` levels down to `low` and those of `also`."""
        return self._paths(_exact, count, seed, levels, also)

    def followed(
        self, count: int = 48, seed: int = 1, *, levels: int = 200, also: Sequence[float] = ()
    ) -> Trajectory:
        """The model's paths from the same starts, at the same levels but for σ = 0."""
        return self._paths(_followed, count, seed, levels, also)

    def _paths(
        self,
        function: Callable[..., Mapping[str, Any]],
        count: int,
        seed: int,
        levels: int,
        also: Sequence[float],
    ) -> Trajectory:
        """Kept paths, fewer and coarser ones of large sets."""
        if self.large:
            count, levels = min(count, 8), min(levels, 60)
        at = tuple(grids.polynomial(levels, self.high, self.low).tolist()) + tuple(also)
        return _trajectory(self.keep(function, count=count, seed=seed, at=at))

    def paths(
        self, count: int = 48, seed: int = 1, *, levels: int = 200, also: Sequence[float] = ()
    ) -> dict[str, Trajectory]:
        """Paths of the "optimal" denoiser (`exact`), and where there is a model those of the
        "learned" one from the same starts (`followed`).
        """
        found = {"optimal": self.exact(count, seed, levels=levels, also=also)}
        if self.learnable:
            found["learned"] = self.followed(count, seed, levels=levels, also=also)
        return found

    @cached_property
    def halfway(self) -> float:
        """σ of the exact paths where D is, in mean, half as far from their end as at the start:
        there they bend.
        """
        path = self.exact()
        distance = np.linalg.norm(path.denoised - path.final, axis=2).mean(axis=1)
        return float(path.sigmas[np.argmax(distance <= distance[0] / 2)])

    def keep(self, function: Callable[..., Mapping[str, Any]], **parameters: Any) -> dict[str, Any]:
        """function(self, **parameters), computed once for the data, the model and the code.

        The function is one of a module of this package: scripts return what they want kept.
        """
        name = f"{function.__module__}.{function.__qualname__}"
        key = self.key(name, json.dumps(plain(parameters), sort_keys=True))
        return self.kept.once(key, lambda: function(self, **parameters))

    def key(self, *parts: str, drawn: bool = False) -> str:
        """A name for what depends on these parts, the data, the model and the package's code:
        all of it for what is drawn, else that which computes.
        """
        code = _package_digest(drawn)
        text = json.dumps([*parts, self._data_digest, self._model_digest, code])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @cached_property
    def _data_digest(self) -> str:
        found = hashlib.sha256(repr((self.data.name, self.data.points.shape)).encode())
        for part in (self.data.points, self.data.weights):
            found.update(np.ascontiguousarray(part).tobytes())
        return found.hexdigest()

    @cached_property
    def _model_digest(self) -> str:
        return "" if self.model_name is None else _named.digest(self.model_name)


def image_shape(data: PointSet) -> tuple[int, int, int] | None:
    """(H, W, C) of data that are square pictures with values in [-1, 1]; None if not.

    Rows are pixels in row-major order, channels last, as `datasets` makes them. No dimension is a
    square and three times a square, so the channels, one or three, follow from it.
    """
    _check.instance(data, "data", PointSet, "see analytic.datasets")
    for channels in (1, 3):
        side = math.isqrt(data.dim // channels)
        if data.dim == side * side * channels and side >= MIN_SIDE:
            # pictures of low precision may be a little out of range
            low, high = float(data.points.min()), float(data.points.max())
            return (side, side, channels) if -1.01 <= low < high <= 1.01 else None
    return None


@cache
def _package_digest(drawn: bool) -> str:
    """Of the code, and of the versions of what it stands on."""
    found = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        if drawn or path.relative_to(root).parts[0] not in NOT_COMPUTING:
            found.update(path.read_bytes())
    for name in ("numpy", "scipy", "numba", *(("matplotlib",) if drawn else ())):
        found.update(metadata.version(name).encode())
    return found.hexdigest()


def _exact(lab: Lab, count: int, seed: int, at: tuple[float, ...]) -> dict[str, Any]:
    # a millionth is far below the width of a line, and its error estimate would not be shown
    loose = 1e-4 if lab.large else 1e-6
    return _plain(
        integrate(
            lab.denoiser,
            lab.start(count, seed),
            lab.high,
            0.0,
            rtol=loose,
            atol=loose * 1e-3 * lab.unit,
            save_at=at,
            estimate_error=False,
            progress=lab.progress,
        )
    )


def _followed(lab: Lab, count: int, seed: int, at: tuple[float, ...]) -> dict[str, Any]:
    above = [level for level in at if level > 0]
    return _plain(
        integrate(
            lab.model,
            lab.start(count, seed),
            lab.high,
            min(above),
            rtol=1e-4,
            atol=1e-6 * lab.unit,
            save_at=above,
            estimate_error=False,
            progress=lab.progress,
        )
    )


def _plain(path: Trajectory) -> dict[str, Any]:
    found = {
        name: getattr(path, name)
        for name in ("sigmas", "states", "denoised", "nfe", "error", "result")
    }
    if path.collapse is not None:
        found["collapse"] = vars(path.collapse)
    return found


def _trajectory(found: Mapping[str, Any]) -> Trajectory:
    fields = dict(found)
    ends = fields.pop("collapse", None)
    return Trajectory(**fields, collapse=None if ends is None else Collapse(**ends))
