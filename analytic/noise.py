"""Noise: starting points of the flow, and schedules of other processes.

In the variance-exploding (VE) convention the noise level σ itself is the time, and
a start at level σ is σ·z with z ~ N(0, I). The data mean is never added: its
share, R/σ, is what a start at finite σ_max neglects (theory C7).

A `NoiseSchedule` is another process x_t = α_t x_0 + σ_t z. With s = σ_t/α_t the
state x_t/α_t is that of the VE process at level s, and the denoiser is the same, so
that the two probability-flow ODEs are one up to the choice of coordinates (theory C8):

    D(x_t; t) = D(x_t/α_t; s),    dx_t/dt = α'_t D + σ'_t ε,   ε = (x_t - α_t D)/σ_t.

With B(t) = ∫β = β_min t + (β_max - β_min) t²/2, φ(t) = (π/2)(t + o)/(1 + o), φ_0 = φ(0)
and noise at t = 1, the schedules here are

    name            α            σ                            s
    ve              1            t                            t
    vp              e^{-B/2}     (1 - e^{-B})^½               (e^B - 1)^½
    sub_vp          e^{-B/2}     1 - e^{-B}                   2 sinh(B/2)
    cosine          cosφ/cosφ_0  (1 - α²)^½                   σ/α
    rectified_flow  1 - t        t                            t/(1 - t)
    discrete        (1 + s²)^-½  s α                          in a table, at whole t.

Each map and its inverse is written so that nothing cancels at either end: for the
cosine, cos²φ_0 - cos²φ = sin(φ - φ_0) sin(φ + φ_0).

VP, sub-VP and VE: Song et al. (2021), *Score-Based Generative Modeling through
Stochastic Differential Equations*, https://arxiv.org/abs/2011.13456. Cosine: Nichol and
Dhariwal (2021), *Improved Denoising Diffusion Probabilistic Models*,
https://arxiv.org/abs/2102.09672. Rectified flow: Liu et al. (2023), *Flow Straight and
Fast*, https://arxiv.org/abs/2209.03003, with time reversed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check

__all__ = ["NoiseSchedule", "ddpm_level", "dimension", "linear_time", "noise"]

Floats = NDArray[np.float64]
Map = Callable[[Any], Any]


def noise(n: int, like: Any, sigma: float, seed: int) -> NDArray[np.float64]:
    """Draw `n` starts σ·z, z ~ N(0, I_D).

    Parameters
    ----------
    n : number of starts.
    like : where D comes from: a denoiser or `PointSet` (its `dim`), an (N, D)
        array, or D itself as an integer.
    sigma : noise level σ ≥ 0, in the units of the data.
    seed : non-negative integer; the same seed gives the same array.

    Returns
    -------
    (n, D) float64 array. Row k depends on `seed` and k alone, not on `n`.
    """
    count = _check.integer(n, "n", low=0)
    dim = dimension(like)
    level = _check.number(sigma, "sigma", low=0.0, high=_check.SIGMA_LIMIT)
    _check.size(count, dim, "n")
    rng = np.random.default_rng(_check.seed(seed))
    return level * rng.standard_normal((count, dim))


def dimension(like: Any, argument: str = "like") -> int:
    """The dimension D that `like` lives in: `.dim`, the width of a 2-D array, or an integer."""
    found = getattr(like, "dim", None)
    if isinstance(found, (int, np.integer)) and not isinstance(found, bool):
        return int(found)
    if isinstance(like, (int, np.integer)):
        return _check.integer(like, argument, low=1)
    shape = getattr(like, "shape", ())
    if not isinstance(shape, tuple) or len(shape) != 2 or not shape[1]:
        _check.fail(
            argument,
            _check.show(like),
            "a denoiser or PointSet with .dim, an (N, D) array, or D",
            "pass the dimension itself",
            TypeError,
        )
    return int(shape[1])


def ddpm_level(alphas_cumprod: Any) -> Any:
    """σ = ((1 - ᾱ)/ᾱ)^½ of a discrete variance-preserving process; infinite where ᾱ = 0."""
    kept = _check.array(alphas_cumprod, "alphas_cumprod").astype(np.float64)
    if not ((kept >= 0) & (kept <= 1)).all():
        _check.fail(
            "alphas_cumprod", _check.show(kept), "numbers in [0, 1]", "pass products of 1 - β"
        )
    with np.errstate(divide="ignore"):
        return np.sqrt((1 - kept) / kept)


def _derived(value: Any) -> Any:
    """Stands for a function that is to be derived from the others."""
    raise NotImplementedError


@dataclass(frozen=True, eq=False, repr=False)
class NoiseSchedule:
    """A noising process x_t = α_t x_0 + σ_t z, as data: functions of time and a domain.

    Parameters
    ----------
    name : what errors call it.
    alpha, sigma, alpha_derivative, sigma_derivative : α_t, σ_t and their derivatives,
        functions of a float64 array. Inside the domain α > 0 and σ > 0.
    level : s = σ_t/α_t, strictly increasing in t. Default: the quotient.
    time : t of a level s. Default: by bisection of `level`, to the last bit.
    scale : α of a level s. Default: α of its time, which near t = t_max is less
        accurate than a formula where α tends to 0.
    t_min, t_max : domain. α may be 0 at t_max: there is no level there.

    As attributes the functions take a number or an array, check it, and return the same
    shape in float64. They raise ValueError for times outside the domain and wherever
    their value is not finite (level at α = 0; VP's σ' at t = 0).

    Raises
    ------
    ValueError, TypeError
        if, at 64 times in the domain, the functions contradict these statements or one
        another.
    """

    name: str
    alpha: Map
    sigma: Map
    alpha_derivative: Map
    sigma_derivative: Map
    level: Map = _derived
    time: Map = _derived
    scale: Map = _derived
    t_min: float = 0.0
    t_max: float = 1.0

    def __post_init__(self) -> None:
        low = _check.number(self.t_min, "t_min")
        high = _check.number(self.t_max, "t_max")
        if not high > low:
            _check.fail("t_max", repr(high), f"more than t_min = {low!r}", "swap the two")
        given = {f.name: _bare(getattr(self, f.name)) for f in fields(self) if f.name in _MAPS}
        for name, function in given.items():
            if not callable(function):
                _check.fail(
                    name, _check.show(function), "a function", "pass a function of t", TypeError
                )
        if given["level"] is _derived:
            given["level"] = partial(_quotient, given["alpha"], given["sigma"])
        if given["time"] is _derived:
            given["time"] = partial(_bisect, given["level"], low, high)
        if given["scale"] is _derived:
            given["scale"] = partial(_composed, given["alpha"], given["time"])
        name = _check.text(self.name, "name")
        put = partial(object.__setattr__, self)
        put("t_min", low)
        put("t_max", high)
        for key in ("alpha", "sigma", "alpha_derivative", "sigma_derivative", "level"):
            checked = _Checked(given[key], key, "t", low, high, name)
            ends = checked.values(np.array([low, high])).tolist()
            put(key, checked)
        # no finite level at the end of the domain: α is 0 there
        ends[1] = ends[1] if np.isfinite(ends[1]) else _check.SIGMA_LIMIT
        for key in ("time", "scale"):
            put(key, _Checked(given[key], key, "level", ends[0], ends[1], name))
        _agree(self)

    def __repr__(self) -> str:
        return f"NoiseSchedule({self.name!r}, t in [{self.t_min:g}, {self.t_max:g}])"

    @classmethod
    def ve(cls) -> NoiseSchedule:
        """Variance exploding: x_t = x_0 + t z, t from 0 to 1e150; the level is the time."""
        return cls._of("ve", _VE(), _check.SIGMA_LIMIT)

    @classmethod
    def vp(cls, beta_min: float = 0.1, beta_max: float = 20.0) -> NoiseSchedule:
        """Variance preserving, β from β_min ≥ 0 at t = 0 linearly to β_max ≥ β_min at t = 1."""
        return cls._of("vp", _VP(*_betas(beta_min, beta_max)))

    @classmethod
    def sub_vp(cls, beta_min: float = 0.1, beta_max: float = 20.0) -> NoiseSchedule:
        """Sub-VP: the α of `vp`, with σ the square of its σ."""
        return cls._of("sub_vp", _SubVP(*_betas(beta_min, beta_max)))

    @classmethod
    def cosine(cls, offset: float = 0.008) -> NoiseSchedule:
        """The cosine schedule with offset o ≥ 0, not clipped: no level at t = 1."""
        return cls._of("cosine", _Cosine(_check.number(offset, "offset", low=0.0, high=1.0)))

    @classmethod
    def rectified_flow(cls) -> NoiseSchedule:
        """The straight line x_t = (1 - t) x_0 + t z; no level at t = 1."""
        return cls._of("rectified_flow", _Rectified())

    @classmethod
    def discrete(cls, alphas_cumprod: Any) -> NoiseSchedule:
        """The levels that a discrete process was trained at; t is the index, log σ linear between.

        Parameters
        ----------
        alphas_cumprod : (T,) ᾱ of each step, strictly decreasing in (0, 1). A last ᾱ of 0 has
            no level and is left out.

        Returns
        -------
        A variance-preserving schedule on t from 0 to the last index.
        """
        levels = np.ravel(ddpm_level(alphas_cumprod))
        levels = levels[:-1] if levels.size and np.isinf(levels[-1]) else levels
        rising = levels.size > 1 and (np.diff(levels) > 0).all()
        if np.ndim(alphas_cumprod) != 1 or not rising or levels[0] == 0:
            _check.fail(
                "alphas_cumprod",
                _check.show(alphas_cumprod),
                "two or more numbers that fall strictly, inside (0, 1)",
                "pass the cumulative products of 1 - β, not β",
            )
        return cls._of("discrete", _Table(levels), float(len(levels) - 1))

    @classmethod
    def _of(cls, name: str, family: Any, t_max: float = 1.0) -> NoiseSchedule:
        functions = {key: getattr(family, key) for key in _MAPS}
        return cls(name, **functions, t_max=t_max)

    def levels(self, sigma: Any, argument: str = "sigma") -> Floats:
        """Levels as float64; ValueError naming the argument if the schedule has none such."""
        assert isinstance(self.time, _Checked)
        return self.time.check(sigma, argument)

    def to_ve(self, x: Any, t: Any) -> tuple[Any, Any]:
        """The VE state x/α_t and its level s.

        Parameters
        ----------
        x : (..., D) states, in the schedule's coordinates.
        t : one time, or one per state (...).
        """
        states = _check.array(x, "x")
        level = self.level(t)
        return _cast(states / _column(self.alpha(t), states, "t"), states), level

    def from_ve(self, x_hat: Any, sigma: Any) -> tuple[Any, Any]:
        """The state x_t = α_t x̂ and its time t, for VE states (..., D) at levels σ."""
        states = _check.array(x_hat, "x_hat")
        self.levels(sigma)
        return _cast(states * _column(self.scale(sigma), states, "sigma"), states), self.time(sigma)

    def velocity(self, x: Any, denoised: Any, t: Any) -> Any:
        """dx/dt = α'_t D + σ'_t (x - α_t D)/σ_t, the probability-flow ODE in these coordinates.

        Parameters
        ----------
        x : (..., D) states, in the schedule's coordinates.
        denoised : (..., D) D(x/α_t; σ_t/α_t), in data units.
        t : one time, or one per state (...), where σ_t > 0.

        Returns
        -------
        (..., D) in x's dtype.
        """
        states, outputs = _check.array(x, "x"), _check.array(denoised, "denoised")
        if outputs.shape != states.shape:
            _check.fail(
                "denoised",
                f"shape {outputs.shape}",
                f"x's shape {states.shape}",
                "evaluate the denoiser at x/α_t",
            )
        a, s, a_slope, s_slope = (
            _column(f(t), states, "t")
            for f in (self.alpha, self.sigma, self.alpha_derivative, self.sigma_derivative)
        )
        if (np.asarray(s) == 0).any():
            _check.fail("t", _check.show(t), f"times where σ > 0 in {self.name!r}", "raise t")
        return _cast(a_slope * outputs + s_slope * ((states - a * outputs) / s), states)


_MAPS = ("alpha", "sigma", "alpha_derivative", "sigma_derivative", "level", "time", "scale")


@dataclass(frozen=True, eq=False)
class _Checked:
    """One function of a schedule, behind a check of its argument and of what comes back."""

    function: Map
    key: str
    argument: str
    low: float
    high: float
    schedule: str

    def __call__(self, value: Any) -> Any:
        given = self.check(value, self.argument)
        found = self.values(given)
        wrong = ~np.isfinite(found)
        if wrong.any():
            _check.fail(
                self.argument,
                repr(float(given[wrong][0])),
                f"where {self.key} of {self.schedule!r} is finite, which it is not there",
                "stay off that end of the domain",
            )
        return found[()]

    def check(self, value: Any, argument: str) -> Floats:
        """The argument in float64, within the domain."""
        given = _check.array(value, argument).astype(np.float64)
        outside = ~((given >= self.low) & (given <= self.high))
        if outside.any():
            level = self.argument == "level"
            _check.fail(
                argument,
                repr(float(given[outside][0])),
                f"{'levels' if level else 'times'} of {self.schedule!r}, "
                f"in [{self.low:g}, {self.high:g}]",
                "take levels that the schedule reaches, or another schedule"
                if level
                else "use the schedule's own time, with noise at its upper end",
            )
        return given

    def values(self, given: Floats) -> Floats:
        """One value per entry, finite or not."""
        try:
            with np.errstate(all="ignore"):
                found = np.asarray(self.function(given), dtype=np.float64)
            return np.array(np.broadcast_to(found, given.shape))
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{self.key}: got a function that fails on an array of shape {given.shape} "
                f"({error}), expected one value per entry; write it with NumPy functions."
            ) from error


def _bare(function: Any) -> Any:
    """The function itself, where `dataclasses.replace` hands in one that is checked already."""
    return function.function if isinstance(function, _Checked) else function


def _agree(schedule: NoiseSchedule) -> None:
    """Refuse functions that contradict one another at 64 times inside the domain."""
    low, high = schedule.t_min, schedule.t_max
    t = low + (high - low) * (np.arange(64) + 0.5) / 64

    def refuse(key: str, wrong: Any, expected: str, remedy: str) -> None:
        if wrong.any():
            k = int(wrong.argmax())
            value = float(getattr(schedule, key)(level[k] if key in ("time", "scale") else t[k]))
            _check.fail(key, f"{value!r} at t = {float(t[k])!r}", expected, remedy)

    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    level = np.full(64, np.nan)
    refuse("alpha", alpha <= 0, "α > 0", "shrink the domain")
    refuse("sigma", sigma <= 0, "σ > 0", "shrink the domain")
    level = schedule.level(t)
    refuse("level", np.abs(level * alpha - sigma) > 1e-9 * sigma, "σ/α", "leave it out")
    steps = np.append(True, np.diff(level) > 0)
    refuse("level", ~steps, "a level that rises with t", "let t = t_max be noise")
    off = np.abs(schedule.time(level) - t)
    refuse("time", off > 1e-9 * (high - low), "the inverse of level", "leave it out")
    off = np.abs(schedule.scale(level) - alpha)
    refuse("scale", off > 1e-6 * alpha, "α at the level of t", "leave it out")
    h = 1e-5 * (high - low)
    for key in ("alpha", "sigma"):
        function, slope = getattr(schedule, key), getattr(schedule, key + "_derivative")(t)
        measured = (function(t + h) - function(t - h)) / (2 * h)
        size = np.abs(measured).max() + 1e-9 * np.abs(function(t)).max() / (high - low)
        off = np.abs(slope - measured) / size
        # a kink here or there is no mistake, a wrong formula is wrong nearly everywhere
        if np.median(off) > 1e-3:
            refuse(key + "_derivative", off >= off.max(), f"the derivative of {key}", "correct it")


def _quotient(alpha: Map, sigma: Map, t: Any) -> Any:
    return sigma(t) / alpha(t)


def _composed(alpha: Map, time: Map, level: Any) -> Any:
    return alpha(time(level))


def _bisect(level: Map, low: float, high: float, target: Any) -> Any:
    """The time of a level, until the bracket holds no float in between."""
    shape = np.shape(target)
    below, above = np.full(shape, low), np.full(shape, high)
    while True:
        middle = below + 0.5 * (above - below)
        if ((middle <= below) | (middle >= above)).all():
            near = np.abs(level(below) - target) <= np.abs(level(above) - target)
            return np.where(near, below, above)
        under = level(middle) < target
        below, above = np.where(under, middle, below), np.where(under, above, middle)


def _column(values: Any, states: NDArray[Any], argument: str) -> Any:
    """Values per state, to multiply (..., D) states with."""
    if np.shape(values) == ():
        return values
    if np.shape(values) != states.shape[:-1]:
        _check.fail(
            argument,
            f"shape {np.shape(values)}",
            f"one number or shape {states.shape[:-1]}",
            "give one for all states or one per state",
        )
    return np.asarray(values)[..., None]


def _cast(values: Any, like: NDArray[Any]) -> Any:
    return np.asarray(values).astype(like.dtype, copy=False)


def _betas(beta_min: Any, beta_max: Any) -> tuple[float, float]:
    low = _check.number(beta_min, "beta_min", low=0.0)
    # the level at t = 1 is about exp((β_min + β_max)/4), which may not pass 1e150
    high = _check.number(beta_max, "beta_max", low=0.0, high=1300.0 - low, open_low=True)
    if high < low:
        _check.fail("beta_max", repr(high), f"at least beta_min = {low!r}", "swap the two")
    return low, high


# Families: one method per function of `NoiseSchedule`, on float64 arrays


class _VE:
    def alpha(self, t: Any) -> Any:
        return np.ones_like(t)

    def sigma(self, t: Any) -> Any:
        return t

    def alpha_derivative(self, t: Any) -> Any:
        return np.zeros_like(t)

    def sigma_derivative(self, t: Any) -> Any:
        return np.ones_like(t)

    def level(self, t: Any) -> Any:
        return t

    def time(self, level: Any) -> Any:
        return level

    def scale(self, level: Any) -> Any:
        return np.ones_like(level)


def linear_time(integral: Any, beta_min: float, beta_max: float) -> Any:
    """t of B = ∫β for a linear β: the root of a quadratic, in the form that does not cancel."""
    root = np.sqrt(beta_min**2 + 2 * (beta_max - beta_min) * integral)
    return 2 * integral / np.where(integral > 0, beta_min + root, 1.0)


@dataclass(frozen=True)
class _VP:
    beta_min: float
    beta_max: float

    def beta(self, t: Any) -> Any:
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def integral(self, t: Any) -> Any:
        """B = ∫β from 0 to t."""
        return t * (self.beta_min + (0.5 * (self.beta_max - self.beta_min)) * t)

    def inverse(self, integral: Any) -> Any:
        """t of B, in the domain."""
        return np.minimum(linear_time(integral, self.beta_min, self.beta_max), 1.0)

    def alpha(self, t: Any) -> Any:
        return np.exp(-0.5 * self.integral(t))

    def sigma(self, t: Any) -> Any:
        return np.sqrt(-np.expm1(-self.integral(t)))

    def alpha_derivative(self, t: Any) -> Any:
        return -0.5 * self.beta(t) * self.alpha(t)

    def sigma_derivative(self, t: Any) -> Any:
        return 0.5 * self.beta(t) * np.exp(-self.integral(t)) / self.sigma(t)

    def level(self, t: Any) -> Any:
        return np.sqrt(np.expm1(self.integral(t)))

    def time(self, level: Any) -> Any:
        return self.inverse(np.log1p(level * level))

    def scale(self, level: Any) -> Any:
        return 1 / np.hypot(1.0, level)


class _SubVP(_VP):
    def sigma(self, t: Any) -> Any:
        return -np.expm1(-self.integral(t))

    def sigma_derivative(self, t: Any) -> Any:
        return self.beta(t) * np.exp(-self.integral(t))

    def level(self, t: Any) -> Any:
        return 2 * np.sinh(0.5 * self.integral(t))

    def time(self, level: Any) -> Any:
        return self.inverse(2 * np.arcsinh(0.5 * level))

    def scale(self, level: Any) -> Any:
        return 2 / (level + np.hypot(2.0, level))


@dataclass(frozen=True)
class _Cosine:
    offset: float

    @property
    def rate(self) -> float:
        """φ' = (π/2)/(1 + o)."""
        return 0.5 * np.pi / (1 + self.offset)

    def sine(self, t: Any) -> Any:
        """(cos²φ_0 - cos²φ)^½, as a product of roots that cannot underflow."""
        away, both = np.sin(self.rate * t), np.sin(self.rate * (t + 2 * self.offset))
        return np.sqrt(away) * np.sqrt(both)

    def cosine(self, t: Any) -> Any:
        """cosφ by the angle that is left to π/2: exactly 0 at t = 1."""
        return np.sin(self.rate * (1 - t))

    def alpha(self, t: Any) -> Any:
        return self.cosine(t) / np.sin(self.rate)

    def sigma(self, t: Any) -> Any:
        return self.sine(t) / np.sin(self.rate)

    def alpha_derivative(self, t: Any) -> Any:
        return -self.rate * np.sin(self.rate * (t + self.offset)) / np.sin(self.rate)

    def sigma_derivative(self, t: Any) -> Any:
        angle = self.rate * (t + self.offset)
        # without an offset both are sinφ, 0 at t = 0
        steepness = np.sin(angle) / self.sine(t) if self.offset else 1.0
        return self.rate * self.cosine(t) * steepness / np.sin(self.rate)

    def level(self, t: Any) -> Any:
        return self.sine(t) / self.cosine(t)

    def time(self, level: Any) -> Any:
        # tan(φ - φ_0) from tanφ = hypot(s, sinφ_0)/cosφ_0, the difference rationalised
        sine, cosine = np.sin(self.rate * self.offset), np.sin(self.rate)
        h = np.hypot(level, sine)
        rise = level * (level / np.where(h > 0, h + sine, 1.0)) * cosine
        return np.minimum(np.arctan2(rise, cosine**2 + h * sine) / self.rate, 1.0)

    def scale(self, level: Any) -> Any:
        return 1 / np.hypot(1.0, level)


class _Rectified:
    def alpha(self, t: Any) -> Any:
        return 1 - t

    def sigma(self, t: Any) -> Any:
        return t

    def alpha_derivative(self, t: Any) -> Any:
        return -np.ones_like(t)

    def sigma_derivative(self, t: Any) -> Any:
        return np.ones_like(t)

    def level(self, t: Any) -> Any:
        return t / (1 - t)

    def time(self, level: Any) -> Any:
        return level / (1 + level)

    def scale(self, level: Any) -> Any:
        return 1 / (1 + level)


@dataclass(frozen=True, eq=False)
class _Table:
    """A variance-preserving process with σ = σ_k (σ_{k+1}/σ_k)^{t-k} between the indices."""

    levels: Floats

    @property
    def rates(self) -> Floats:
        """(T,) dlog σ/dt from each index on; at the last one as before it."""
        steps = np.diff(np.log(self.levels))
        return np.append(steps, steps[-1])

    def alpha(self, t: Any) -> Any:
        return self.scale(self.level(t))

    def sigma(self, t: Any) -> Any:
        level = self.level(t)
        return level * self.scale(level)

    def alpha_derivative(self, t: Any) -> Any:
        return -self.level(t) * self.sigma_derivative(t)

    def sigma_derivative(self, t: Any) -> Any:
        level = self.level(t)
        return self.rates[np.asarray(t, dtype=int)] * level * self.scale(level) ** 3

    def level(self, t: Any) -> Any:
        k = np.asarray(t, dtype=int)
        return self.levels[k] * np.exp(self.rates[k] * (t - k))

    def time(self, level: Any) -> Any:
        # from the index below, so that the table's own levels give whole numbers
        k = np.clip(np.searchsorted(self.levels, level, side="right") - 1, 0, None)
        here = k + np.log(level / self.levels[k]) / self.rates[k]
        return np.minimum(here, len(self.levels) - 1.0)

    def scale(self, level: Any) -> Any:
        return 1 / np.hypot(1.0, level)
