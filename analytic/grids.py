"""Decreasing grids of noise levels.

A grid is a float64 array σ_0 > σ_1 > … > σ_{n-1} ≥ 0. With k from 0 to n - 1 and
the share r = k/(n - 1):

    polynomial     σ = ((1 - r) σ_max^{1/ρ} + r σ_min^{1/ρ})^ρ
    log_snr        log σ = (1 - r) log σ_max + r log σ_min
    exponential    log σ = log σ_min + (1 - r)^ρ log(σ_max/σ_min)
    from_schedule  t = (1 - r) t(σ_max) + r t(σ_min), any `NoiseSchedule`
    vp_uniform     the same for VP, σ = (e^B - 1)^½
    discrete       the levels that a model was trained on, uniform in index.
    gits           the cheapest n levels of a fine trajectory, for Euler steps.

`polynomial` is that of Karras et al. (2022), *Elucidating the Design Space of
Diffusion-Based Generative Models*, https://arxiv.org/abs/2206.00364, eq. 5; `log_snr`,
uniform in log(α²/σ²), and `vp_uniform` are those of Lu et al. (2022), *DPM-Solver*,
https://arxiv.org/abs/2206.00927. The schedule that many samplers call exponential is
`log_snr`; `exponential` contains it as ρ = 1. `gits` is that of Chen et al. (2024), *On
the Trajectory Regularity of ODE-based Diffusion Sampling*, https://arxiv.org/abs/2405.11326.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _check
from .noise import NoiseSchedule
from .points import PointSet, as_points

__all__ = [
    "discrete",
    "exponential",
    "from_schedule",
    "gits",
    "log_snr",
    "noise_range",
    "polynomial",
    "validate",
    "vp_uniform",
]

Floats = NDArray[np.float64]


def noise_range(
    points: PointSet | Any, sigma_max: float | None = None, sigma_min: float | None = None
) -> tuple[float, float]:
    """(σ_max, σ_min) for data: EDM's, 80 and 0.002, for data of order one.

    Where the root-mean-square coordinate is not between 0.1 and 10, both are multiplied by its
    power of ten. An end that is given is taken as it is.

    Raises
    ------
    ValueError, TypeError
        for ends that are no levels > 0, or in the wrong order.
    """
    scale = as_points(points).scale or 1.0
    unit = 1.0 if 0.1 <= scale <= 10 else float(10.0 ** np.round(np.log10(scale)))
    low, high = (
        _check.number(value, name, low=0.0, high=_check.SIGMA_LIMIT, open_low=True)
        for value, name in (
            (0.002 * unit if sigma_min is None else sigma_min, "sigma_min"),
            (80.0 * unit if sigma_max is None else sigma_max, "sigma_max"),
        )
    )
    if not high > low:
        _check.fail("sigma_max", repr(high), f"more than sigma_min = {low!r}", "swap the two")
    return high, low


def polynomial(
    n: int, sigma_max: float = 80.0, sigma_min: float = 0.002, *, rho: float = 7.0
) -> Floats:
    """The polynomial grid of EDM.

    Parameters
    ----------
    n : number of levels, at least 2; a solver takes n - 1 steps.
    sigma_max, sigma_min : ends, in the units of the data; σ_min = 0 is allowed.
    rho : exponent ρ > 0; 7 in EDM, 1 gives equal steps in σ.

    Returns
    -------
    (n,) float64, strictly decreasing, both ends exact.
    """
    count, high, low = _span(n, sigma_max, sigma_min)
    power = _check.number(rho, "rho", low=0.0, high=1e3, open_low=True)
    share = np.linspace(0.0, 1.0, count)
    grid = ((1 - share) * high ** (1 / power) + share * low ** (1 / power)) ** power
    return _between(grid, high, low)


def log_snr(n: int, sigma_max: float = 80.0, sigma_min: float = 0.002) -> Floats:
    """Uniform in log σ, that is in the logarithm of the signal-to-noise ratio.

    Parameters
    ----------
    n : number of levels, at least 2.
    sigma_max, sigma_min : ends, in the units of the data; σ_min > 0.

    Returns
    -------
    (n,) float64, strictly decreasing, both ends exact.
    """
    return exponential(n, sigma_max, sigma_min)


def exponential(
    n: int, sigma_max: float = 80.0, sigma_min: float = 0.002, *, rho: float = 1.0
) -> Floats:
    """A power of the share in log σ: ρ = 1 is `log_snr`, larger ρ has more levels near σ_min.

    Parameters
    ----------
    n : number of levels, at least 2.
    sigma_max, sigma_min : ends, in the units of the data; σ_min > 0.
    rho : exponent ρ > 0.

    Returns
    -------
    (n,) float64, strictly decreasing, both ends exact.
    """
    count, high, low = _span(n, sigma_max, sigma_min)
    power = _check.number(rho, "rho", low=0.0, high=1e3, open_low=True)
    if low == 0:
        _check.fail(
            "sigma_min",
            "0",
            "σ_min > 0: log σ does not reach 0",
            "stop at a small level and append 0: [*grid, 0.0]",
        )
    ramp = np.linspace(1.0, 0.0, count) ** power
    return _between(np.exp(ramp * np.log(high) + (1 - ramp) * np.log(low)), high, low)


def vp_uniform(
    n: int,
    sigma_max: float = 80.0,
    sigma_min: float = 0.002,
    beta_min: float = 0.1,
    beta_max: float = 20.0,
) -> Floats:
    """Uniform in the time of VP.

    Parameters
    ----------
    n : number of levels, at least 2.
    sigma_max, sigma_min : ends, in the units of the data; σ_min = 0 is allowed, and
        σ_max up to the level of VP at t = 1, 152.17 for the default β.
    beta_min, beta_max : β at t = 0 and t = 1.

    Returns
    -------
    (n,) float64, strictly decreasing, both ends exact.
    """
    return from_schedule(NoiseSchedule.vp(beta_min, beta_max), n, sigma_max, sigma_min)


def from_schedule(
    schedule: NoiseSchedule, n: int, sigma_max: float = 80.0, sigma_min: float = 0.002
) -> Floats:
    """Uniform in the time of a schedule.

    Parameters
    ----------
    schedule : a `NoiseSchedule`.
    n : number of levels, at least 2.
    sigma_max, sigma_min : ends, VE levels s = σ_t/α_t that the schedule reaches; σ_min = 0
        is allowed where it starts from 0, as all of `NoiseSchedule` do.

    Returns
    -------
    (n,) float64, strictly decreasing, both ends exact.
    """
    if not isinstance(schedule, NoiseSchedule):
        _check.fail(
            "schedule",
            _check.show(schedule),
            "a NoiseSchedule",
            "NoiseSchedule.vp(), for instance",
            TypeError,
        )
    count, high, low = _span(n, sigma_max, sigma_min)
    first = float(schedule.time(schedule.levels(high, "sigma_max")))
    if low == 0 and schedule.level(schedule.t_min) > 0:
        _check.fail(
            "sigma_min",
            "0",
            f"at least {float(schedule.level(schedule.t_min))!r}, where {schedule.name!r} starts",
            "stop there and append 0: [*grid, 0.0]",
        )
    last = float(schedule.time(schedule.levels(low, "sigma_min")))
    share = np.linspace(0.0, 1.0, count)[1:-1]
    inner = schedule.level((1 - share) * first + share * last)
    return _between(np.concatenate([[high], inner, [low]]), high, low)


def discrete(n: int, levels: Any, *, append_zero: bool = False) -> Floats:
    """Levels that a model was trained on, as uniform in index as whole numbers allow.

    Parameters
    ----------
    n : how many of the levels, at least 2 and at most all.
    levels : (L,) training levels, rising or falling.
    append_zero : whether a level 0 follows, as level n + 1.

    Returns
    -------
    (n,) float64, or (n + 1,), strictly decreasing; the largest and the smallest level
    are among them.
    """
    count, zero = _check.integer(n, "n", low=2), _check.flag(append_zero, "append_zero")
    known = _check.array(levels, "levels").astype(np.float64)
    if known.ndim == 1 and known.size and known[0] < known[-1]:
        known = known[::-1]
    known = validate(known, "levels")
    if count > len(known):
        _check.fail("n", repr(n), f"at most the {len(known)} levels given", "ask for fewer")
    if zero and known[-1] == 0:
        _check.fail("append_zero", "True", "levels > 0", "the last level is 0 already")
    # rounded in whole numbers: picks never coincide
    picks = (2 * np.arange(count) * (len(known) - 1) + count - 1) // (2 * (count - 1))
    return np.append(known[picks], [0.0] * zero)


class _Leaps(NamedTuple):
    """Euler leaps from one state of a fine trajectory to J later levels."""

    ends: Floats
    """(J, B, D) where they end."""
    true: Floats
    """(J, B, D) the fine trajectory there."""
    first: Floats
    """(B, D) its first state."""
    last: Floats
    """(B, D) its last state."""


def _deviation(leaps: _Leaps) -> Floats:
    off = leaps.ends - leaps.true
    chord = _unit(leaps.last - leaps.first)
    return _length(off - (off * chord).sum(axis=-1, keepdims=True) * chord)


def _cosine(leaps: _Leaps) -> Floats:
    """1 - cos as half the squared distance of unit vectors, which does not cancel."""
    apart = _unit(leaps.ends - leaps.first) - _unit(leaps.true - leaps.first)
    return 0.5 * (apart * apart).sum(axis=-1)


_METRICS: dict[str, Callable[[_Leaps], Floats]] = {
    "distance": lambda leaps: _length(leaps.ends - leaps.true),
    "l1": lambda leaps: np.abs(leaps.ends - leaps.true).sum(axis=-1),
    "deviation": _deviation,
    "magnitude": lambda leaps: np.abs(_length(leaps.ends) - _length(leaps.true)),
    "cosine": _cosine,
}


def gits(
    trajectory: Any,
    n: int,
    *,
    metric: str | Callable[[Floats, Floats], Any] = "distance",
    coefficient: float = 1.0,
) -> Floats:
    """The n levels of a fine trajectory between which Euler leaps cost least in all.

    The cost c_ij of a leap from level σ_i to σ_j compares (σ_j/σ_i) x_i + (1 - σ_j/σ_i) D_i
    with x_j, in the mean over the batch. Dynamic programming finds the levels, both ends
    among them, that minimise Σ_m γ^m c(leap m), m = 0 for the first leap, from σ_max: γ > 1
    makes the late leaps, at little noise, dear. This weighting is that of the authors' code.

    Parameters
    ----------
    trajectory : anything with `sigmas` (T,), `states` (T, B, D) and `denoised` (T, B, D),
        fine beside the grid asked for (T of 60 to 500): the exact flow with `save_at`, or a
        sampler's run of many steps.
    n : number of levels, 2 ≤ n ≤ T.
    metric : "distance" |x - x_j|; "l1"; "deviation", the part of x - x_j across the chord
        from first to last state (the authors' code takes the signed difference of the two
        deviations from the chord instead); "magnitude" ||x| - |x_j||; "cosine", 1 - cos of
        the angle between x and x_j as seen from the first state (from the last state the
        last leap has none); or a function of x and x_j, (B, D) and (B, D) to (B,).
    coefficient : γ > 0.

    Returns
    -------
    (n,) float64, levels of the trajectory. Of equally cheap grids, one with early leaps short.

    Raises
    ------
    ValueError, TypeError
        for trajectories that are not whole or not in VE coordinates, and bad options.
    """
    sigmas, states, denoised = _fine(trajectory)
    count = _check.integer(
        n, "n", low=2, high=len(sigmas), remedy="a finer trajectory has more levels to choose from"
    )
    factor = _check.number(coefficient, "coefficient", low=0.0, open_low=True)
    costs = _costs(sigmas, states, denoised, metric)
    return sigmas[_cheapest(costs, count - 1, factor)]


def _fine(trajectory: Any) -> tuple[Floats, Floats, Floats]:
    """The three arrays of a trajectory, checked."""
    names = ("sigmas", "states", "denoised")
    missing = [name for name in names if not hasattr(trajectory, name)]
    if missing:
        _check.fail(
            "trajectory",
            f"{type(trajectory).__name__} without {', '.join(missing)}",
            "sigmas, states and denoised",
            "pass what sample or integrate returns",
            TypeError,
        )
    if getattr(trajectory, "times", None) is not None:
        _check.fail(
            "trajectory",
            "states in the coordinates of a schedule",
            "states of the VE flow",
            "sample or integrate without schedule=",
        )
    sigmas = validate(trajectory.sigmas, "trajectory.sigmas")
    states, denoised = (
        _check.array(getattr(trajectory, name), f"trajectory.{name}").astype(np.float64)
        for name in names[1:]
    )
    shape = states.shape
    if len(shape) != 3 or shape[0] != len(sigmas) or not states.size or denoised.shape != shape:
        _check.fail(
            "trajectory",
            f"states {shape} and denoised {denoised.shape} at {len(sigmas)} levels",
            f"({len(sigmas)}, B, D) of both, B ≥ 1",
            "pass whole batches of starts",
        )
    return sigmas, states, denoised


def _costs(sigmas: Floats, states: Floats, denoised: Floats, metric: Any) -> Floats:
    """(T, T) mean costs of leaps, infinite where they do not lead down."""
    if callable(metric):
        measure = _called(metric)
    else:
        measure = _METRICS[_check.choice(metric, "metric", _METRICS)]
    costs = np.full((len(sigmas), len(sigmas)), np.inf)
    for i in range(len(sigmas) - 1):
        share = (sigmas[i + 1 :] / sigmas[i])[:, None, None]
        ends = share * states[i] + (1 - share) * denoised[i]
        leaps = _Leaps(ends, states[i + 1 :], states[0], states[-1])
        costs[i, i + 1 :] = measure(leaps).mean(axis=1)
    return costs


def _called(metric: Callable[[Floats, Floats], Any]) -> Callable[[_Leaps], Floats]:
    """A metric of the user's, one level at a time."""

    def measure(leaps: _Leaps) -> Floats:
        found = [
            _check.array(metric(end, true), "metric")
            for end, true in zip(leaps.ends, leaps.true, strict=True)
        ]
        shape = leaps.first.shape[:1]
        for each in found:
            if each.shape != shape:
                _check.fail(
                    "metric", f"output of shape {each.shape}", f"{shape}", "one cost per row"
                )
        return np.stack(found)

    return measure


def _cheapest(costs: Floats, leaps: int, factor: float) -> list[int]:
    """Indices of the path of so many leaps, first to last level, of least Σ γ^m cost."""
    value, nexts = costs[:, -1], []
    for _ in range(leaps - 1):
        # value[j] is what the leaps that remain cost from level j
        with np.errstate(over="ignore"):
            total = costs + factor * value
        nexts.append(total.argmin(axis=1))
        value = total.min(axis=1)
    if not np.isfinite(value[0]):
        _check.fail("coefficient", repr(factor), "γ with γ^n finite", "choose one nearer to 1")
    path = [0]
    for step in reversed(nexts):
        path.append(int(step[path[-1]]))
    return [*path, len(costs) - 1]


def _length(rows: Floats) -> Floats:
    return np.sqrt((rows * rows).sum(axis=-1))


def _unit(rows: Floats) -> Floats:
    """Unit vectors; 0 of 0."""
    length = _length(rows)[..., None]
    return rows / np.where(length > 0, length, 1.0)


def _span(n: Any, sigma_max: Any, sigma_min: Any) -> tuple[int, float, float]:
    """Number of levels and their ends σ_max > σ_min ≥ 0, checked."""
    count = _check.integer(n, "n", low=2)
    low = _check.number(sigma_min, "sigma_min", low=0.0, high=_check.SIGMA_LIMIT)
    high = _check.number(sigma_max, "sigma_max", low=0.0, high=_check.SIGMA_LIMIT)
    if not high > low:
        _check.fail("sigma_max", repr(high), f"more than sigma_min = {low!r}", "swap the two")
    _check.size(count, 1, "n")
    return count, high, low


def _between(grid: Floats, high: float, low: float) -> Floats:
    """The grid with its ends exact."""
    grid[0], grid[-1] = high, low
    return validate(grid, "sigma_max and sigma_min")


def validate(sigmas: Any, argument: str = "sigmas") -> Floats:
    """A grid as float64, or the error that says which entry breaks it.

    Raises
    ------
    ValueError
        unless there are two or more finite levels, strictly decreasing, the
        last one ≥ 0.
    """
    grid = _check.array(sigmas, argument).astype(np.float64)
    if grid.ndim != 1 or grid.size < 2:
        _check.fail(argument, f"shape {grid.shape}", "(n,) with n ≥ 2", "give at least both ends")
    steps = np.diff(grid)
    if (steps >= 0).any():
        k = int((steps >= 0).argmax())
        _check.fail(
            argument,
            f"{float(grid[k])!r} followed by {float(grid[k + 1])!r} at index {k}",
            "strictly decreasing noise levels",
            "sort from large to small and drop repeated levels",
        )
    if grid[-1] < 0 or grid[0] > _check.SIGMA_LIMIT:
        _check.fail(
            argument,
            f"levels from {float(grid[0])!r} to {float(grid[-1])!r}",
            "levels in [0, 1e150]",
            "pass noise levels σ themselves",
        )
    return grid
