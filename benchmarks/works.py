"""The works: data, queries x = a data point + σz, and who takes part, by name.

Names are FAMILY/parameters; a family is one table and one figure. A new work is one
entry in `WORKS`. Nothing is computed before `Entry.make`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache, partial

import numpy as np

import analytic as an

from .contenders import ALL
from .harness import Array, Work

__all__ = ["CIFAR10", "WORKS", "Entry", "Skipped", "select"]

CIFAR10 = "ANALYTIC_CIFAR10"
"""Environment variable that names a .zip of the 50,000 training images."""

EVERYONE = tuple(ALL)
METHODS = ("analytic auto", "analytic dense", "analytic tree")

TOLERANCES = {
    ("mean", "float64"): (1e-7, "the product form loses ε|x|²/σ² of a log-weight"),
    ("mean", "float32"): (3e-3, "the product form in float32; beyond it an image changes visibly"),
    ("log_prob", "float64"): (1e-6, "a tree may leave out rtol = 1e-8 of the density"),
}
"""What agreement means: the largest error, and why."""


class Skipped(Exception):
    """The data are not there."""


@dataclass(frozen=True)
class Entry:
    """A work to be made."""

    name: str
    make: Callable[[str], Work]
    short: bool = False
    """whether the short table has it."""
    contenders: tuple[str, ...] = EVERYONE

    @property
    def family(self) -> str:
        """The table that it belongs to."""
        return self.name.partition("/")[0]

    @property
    def axis(self) -> tuple[str, float]:
        """What differs within the family, and its value here."""
        axis, _, value = self.name.partition("/")[2].partition("=")
        return axis, float(value)


def work(
    name: str,
    *,
    points: Callable[[], Array],
    count: int,
    sigma: float,
    dtype: str = "float64",
    computes: str = "mean",
    seed: int = 1,
) -> Work:
    """A work with `count` queries around the points."""
    data, rng = points(), np.random.default_rng(seed)
    x = data[rng.integers(len(data), size=count)]
    x = x + sigma * rng.standard_normal(x.shape)
    tolerance, reason = TOLERANCES[computes, dtype]
    sites = np.array(data, dtype, order="C")
    return Work(name, sites, x.astype(dtype), sigma, tolerance, reason, computes)


def normal(count: int, dim: int) -> Array:
    """Standard normal points."""
    return np.random.default_rng(0).standard_normal((count, dim))


@lru_cache(maxsize=1)
def patches(count: int) -> Array:
    """Distinct natural image patches, 8 x 8 RGB."""
    return an.datasets.patches(count).points


@lru_cache(maxsize=1)
def cifar10() -> Array:
    """CIFAR-10 in [-1, 1], from the file that the environment names."""
    path = os.environ.get(CIFAR10, "")
    if not path:
        raise Skipped(f"set {CIFAR10} to a .zip of the images")
    try:
        return an.datasets.load(path).points
    except (OSError, ValueError) as error:
        raise Skipped(str(error)) from error


def few(points: Callable[[], Array], count: int) -> Array:
    return points()[:count]


def named(name: str) -> Array:
    return an.datasets.get(name).points


def _works() -> Iterator[Entry]:
    for dtype in ("float64", "float32"):
        for dim in (1, 2, 3, 8):
            make = partial(
                work, points=partial(normal, 10_000, dim), count=10_000, sigma=0.3, dtype=dtype
            )
            yield Entry(f"low-dimension-{dtype}/D={dim}", make, short=dim in (2, 8))
    plane = partial(normal, 10_000, 2)
    for sigma in (1e-3, 1e-2, 0.1, 1.0, 10.0, 80.0):
        make = partial(work, points=plane, count=10_000, sigma=sigma)
        yield Entry(f"noise-level/sigma={sigma:g}", make, short=sigma in (0.01, 1.0))
    for name in ("two_moons", "digits"):
        for sigma in (0.05, 1.0, 20.0):
            make = partial(work, points=partial(named, name), count=256, sigma=sigma)
            yield Entry(f"{name}/sigma={sigma:g}", make, short=sigma == 1)
    for dim in (2, 8):
        make = partial(
            work, points=partial(normal, 10_000, dim), count=10_000, sigma=0.3, computes="log_prob"
        )
        yield Entry(f"log-density/D={dim}", make, short=dim == 2)
    for sigma in (1.0, 0.1, 0.03):
        images = partial(patches, 200_000)
        make = partial(work, points=images, count=1000, sigma=sigma, dtype="float32")
        yield Entry(f"patches/sigma={sigma:g}", make)
    for sigma in (20.0, 5.0, 1.0, 0.3):
        make = partial(work, points=cifar10, count=128, sigma=sigma, dtype="float32")
        yield Entry(f"cifar10/sigma={sigma:g}", make)
    for sigma in (20.0, 5.0, 1.0, 0.3):
        make = partial(work, points=partial(few, cifar10, 500), count=128, sigma=sigma)
        yield Entry(f"cifar10-500/sigma={sigma:g}", partial(make, dtype="float32"))
    for sigma in (1e-3, 1e-2, 0.1, 1.0, 10.0):
        make = partial(work, points=partial(normal, 1_000_000, 2), count=10_000, sigma=sigma)
        yield Entry(f"million/sigma={sigma:g}", make, contenders=METHODS)
    for sigma in (0.01, 1.0):
        for count in (10_000, 100_000, 1_000_000, 10_000_000):
            make = partial(work, points=partial(normal, count, 2), count=10_000, sigma=sigma)
            name = f"growth-sigma-{sigma:g}/N={count}"
            yield Entry(name, make, contenders=("analytic tree",))
    for dim in (2, 64):
        for count in (100, 1000, 10_000, 100_000):
            make = partial(work, points=partial(normal, count, dim), count=1000, sigma=0.3)
            yield Entry(f"throughput-D-{dim}/N={count}", make)


WORKS: dict[str, Entry] = {each.name: each for each in _works()}


def select(group: str = "full", only: str = "*") -> list[Entry]:
    """Works of a group, "short" or "full", whose names match a pattern."""
    entries = (each for each in WORKS.values() if each.short or group == "full")
    return [each for each in entries if fnmatchcase(each.name, only)]
