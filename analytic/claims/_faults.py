"""Subtly broken denoisers, flows, samplers, certificates and sources of noise.

Each is a mistake somebody makes: a bandwidth that is slightly off, a softmax
averaged over minibatches, a step that uses the wrong noise level. The claims'
checks must reject them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..collapse import Certificate, certificate
from ..denoisers import Denoiser, OptimalDenoiser
from ..flow import integrate
from ..grids import polynomial
from ..noise import noise
from ..points import PointSet
from ..sampling import sample
from ..solvers import Solver, Step, get
from ..trajectory import Trajectory
from ._base import Subject

__all__ = [
    "Bandwidth",
    "Drift",
    "Floored",
    "Leaking",
    "Leaning",
    "Minibatch",
    "Overrelaxed",
    "SampleCovariance",
    "hasty_certificate",
    "jittery_flow",
    "loud_noise",
    "overshooting_flow",
    "related_noise",
    "round_noise",
    "stale_sampler",
    "stepping_flow",
    "subject",
    "thinned",
    "unscaled_sampler",
    "with_flow",
    "with_noise",
    "with_solver",
]

Floats = NDArray[np.float64]


def subject(points: PointSet, wrap: Any = OptimalDenoiser) -> Subject:
    """A subject whose denoiser, on any data, is made by `wrap`."""
    return Subject(wrap(points), points, build=wrap)


@dataclass(frozen=True)
class Bandwidth:
    """Uses `factor` times the noise level it is given."""

    points: PointSet
    factor: float = 1.001

    def __call__(self, x: Any, sigma: Any) -> Any:
        """Denoise at the wrong level."""
        return OptimalDenoiser(self.points)(x, self.factor * np.asarray(sigma))


@dataclass(frozen=True)
class Minibatch:
    """Averages the softmax means of two halves of the data instead of merging their sums."""

    points: PointSet

    def __call__(self, x: Any, sigma: Any) -> Any:
        """Denoise with each half and average by the halves' weights."""
        half = np.arange(len(self.points)) % 2 == 0
        total: Any = 0.0
        for part in (half, ~half) if len(self.points) > 1 else (half,):
            weight = self.points.weights[part].sum()
            data = PointSet(self.points.points[part], self.points.weights[part])
            total = total + weight * np.asarray(OptimalDenoiser(data)(x, sigma))
        return total


@dataclass(frozen=True)
class Overrelaxed:
    """Moves `factor` times as far towards the mean as it should."""

    inner: Denoiser
    factor: float = 1.01

    def __call__(self, x: Any, sigma: Any) -> Any:
        """x + γ(D - x)."""
        return x + self.factor * (np.asarray(self.inner(x, sigma)) - x)


@dataclass(frozen=True)
class Drift:
    """Pulls every output a little towards the data mean."""

    points: PointSet
    share: float = 1e-3

    def __call__(self, x: Any, sigma: Any) -> Any:
        """(1 - η) D + η μ."""
        exact = np.asarray(OptimalDenoiser(self.points)(x, sigma))
        return (1 - self.share) * exact + self.share * self.points.mean


@dataclass(frozen=True)
class Floored:
    """Adds a fixed constant to σ², as code does that fears a division by zero."""

    points: PointSet
    floor: float = 1e-3

    def __call__(self, x: Any, sigma: Any) -> Any:
        """Denoise at √(σ² + ε²)."""
        return OptimalDenoiser(self.points)(x, np.hypot(sigma, self.floor))


@dataclass(frozen=True)
class Leaking:
    """Lets a millionth of the query through, also out of the data's span."""

    points: PointSet

    def __call__(self, x: Any, sigma: Any) -> Any:
        """D + 1e-6 (x - μ)."""
        exact = np.asarray(OptimalDenoiser(self.points)(x, sigma))
        return exact + 1e-6 * (x - self.points.mean)


class SampleCovariance(OptimalDenoiser):
    """Divides covariances by N - 1 where N belongs, as for a sample whose mean is unknown."""

    def jvp(self, x: Any, sigma: Any, v: Any) -> Any:
        """C v/σ², N/(N - 1) times as large."""
        count = len(self.points)
        return super().jvp(x, sigma, v) * (count / max(count - 1, 1))


def thinned(points: PointSet) -> OptimalDenoiser:
    """The optimal denoiser of every other data point."""
    return OptimalDenoiser(PointSet(points.points[::2], points.weights[::2]))


@dataclass(frozen=True)
class Leaning:
    """Leaves a part of the noise level in the first coordinate."""

    points: PointSet
    share: float = 0.5

    def __call__(self, x: Any, sigma: Any) -> Any:
        """D + ησ e_1."""
        exact = np.array(OptimalDenoiser(self.points)(x, sigma))
        exact[..., 0] += self.share * np.asarray(sigma)
        return exact


def overshooting_flow(denoiser: Denoiser, *args: Any, **options: Any) -> Trajectory:
    """A flow whose field is one per cent too strong."""
    return integrate(Overrelaxed(denoiser), *args, **options)


def jittery_flow(denoiser: Denoiser, *args: Any, **options: Any) -> Trajectory:
    """A flow that takes a random detour of about the data's size on its way, and comes back."""
    exact = integrate(denoiser, *args, **options)
    states = exact.states.copy()
    kick = np.random.default_rng(0).standard_normal(states.shape[1:])
    size = 3 * np.abs(exact.denoised).max() * np.sqrt(states.shape[2])
    kick *= size / np.linalg.norm(kick, axis=1, keepdims=True)
    wave = np.sin(np.linspace(0, 4 * np.pi, len(states))) ** 2
    return replace(exact, states=states + wave[:, None, None] * kick)


def stale_sampler(
    denoiser: Denoiser, x: Any, sigmas: Any, solver: str = "heun", *, progress: bool = False
) -> Trajectory:
    """A sampler that asks the denoiser at the level it is going to, not where it is."""
    grid = np.asarray(sigmas, dtype=float)

    def late(state: Any, sigma: Any) -> Any:
        k = int(np.abs(grid - np.max(sigma)).argmin())
        level = grid[k + 1] if k + 1 < len(grid) and grid[k + 1] > 0 else sigma
        return denoiser(state, level)

    wrong = sample(late, x, sigmas, solver, progress=progress)
    outputs = [
        wrong.states[k] if s == 0 else np.asarray(denoiser(wrong.states[k], float(s)))
        for k, s in enumerate(grid)
    ]
    return replace(wrong, denoised=np.stack(outputs))


def unscaled_sampler(
    denoiser: Denoiser, x: Any, sigmas: Any, solver: str = "heun", *, schedule: Any = None
) -> Trajectory:
    """A sampler that takes states of another process for those of VE: it forgets α."""
    found = sample(denoiser, x, sigmas, solver)
    return found if schedule is None else replace(found, times=schedule.time(found.sigmas))


def stepping_flow(
    denoiser: Denoiser, x: Any, sigma_max: float, sigma_min: float, *, save_at: Any = (), **_: Any
) -> Trajectory:
    """A flow that always takes 96 Heun steps: where they fall depends on where it starts."""
    fine = polynomial(97, sigma_max, sigma_min)
    levels = np.unique(np.concatenate([np.atleast_1d(save_at), fine]))[::-1]
    found = sample(denoiser, x, levels)
    keep = np.isin(levels, np.concatenate([np.atleast_1d(save_at), fine[[0, -1]]]))
    return replace(
        found, sigmas=levels[keep], states=found.states[keep], denoised=found.denoised[keep]
    )


def hasty_certificate(
    denoiser: OptimalDenoiser, x: Any, sigma: Any, index: Any = None
) -> Certificate:
    """A certificate with exp(-g/σ²) where exp(-g/2σ²) belongs."""
    level = np.asarray(sigma, dtype=float)
    found = certificate(denoiser, x, level / np.sqrt(2), index)
    return replace(found, sigma=np.broadcast_to(level, found.sigma.shape), gap=found.gap / 2)


def with_flow(flow: Any) -> Callable[[PointSet], Subject]:
    """Makes subjects of an optimal denoiser that follow another flow."""
    return lambda points: replace(subject(points), flow=flow)


def with_solver(points: PointSet, name: str, step: Step) -> Subject:
    """An optimal denoiser whose sampler takes other steps where a solver of that name is asked."""

    def sampler(
        denoiser: Denoiser, x: Any, sigmas: Any, solver: str | Solver = "heun", **options: Any
    ) -> Trajectory:
        method = get(solver)
        return sample(
            denoiser,
            x,
            sigmas,
            replace(method, step=step) if method.name == name else method,
            **options,
        )

    return replace(subject(points), sampler=sampler)


def with_noise(draw: Any) -> Callable[[PointSet], Subject]:
    """What makes an optimal denoiser whose noise comes from elsewhere."""
    return lambda points: replace(subject(points), draw=draw)


def loud_noise(n: int, like: Any, sigma: float, seed: int) -> Floats:
    """Noise that is five per cent too loud."""
    return noise(n, like, 1.05 * sigma, seed)


def round_noise(n: int, like: Any, sigma: float, seed: int) -> Floats:
    """Noise of uniform direction on the sphere |z| = √D, as one often pictures it."""
    z = noise(n, like, 1.0, seed)
    return np.asarray(sigma * np.sqrt(z.shape[1]) * z / np.linalg.norm(z, axis=1, keepdims=True))


def related_noise(n: int, like: Any, sigma: float, seed: int) -> Floats:
    """Noise that is right for every seed, but half of which all seeds share."""
    shared = np.random.default_rng(0).standard_normal(noise(n, like, 1.0, seed).shape)
    return np.asarray(sigma * (shared + noise(n, like, 1.0, seed)) / np.sqrt(2))
