"""Decreasing grids of noise levels.

A grid is a float64 array σ_0 > σ_1 > … > σ_{n-1} ≥ 0. With k from 0 to n - 1 and
the share r = k/(n - 1):

    polynomial     σ = ((1 - r) σ_max^{1/ρ} + r σ_min^{1/ρ})^ρ
    log_snr        log σ = (1 - r) log σ_max + r log σ_min
    exponential    log σ = log σ_min + (1 - r)^ρ log(σ_max/σ_min)
    from_schedule  t = (1 - r) t(σ_max) + r t(σ_min), any `NoiseSchedule`
    vp_uniform     the same for VP, σ = (e^B - 1)^½
    discrete       the levels that a model was trained on, uniform in index.

`polynomial` is that of Karras et al. (2022), *Elucidating the Design Space of
Diffusion-Based Generative Models*, https://arxiv.org/abs/2206.00364, eq. 5; `log_snr`,
uniform in log(α²/σ²), and `vp_uniform` are those of Lu et al. (2022), *DPM-Solver*,
https://arxiv.org/abs/2206.00927. The schedule that many samplers call exponential is
`log_snr`; `exponential` contains it as ρ = 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check
from .noise import NoiseSchedule

__all__ = [
    "discrete",
    "exponential",
    "from_schedule",
    "log_snr",
    "polynomial",
    "validate",
    "vp_uniform",
]

Floats = NDArray[np.float64]


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
