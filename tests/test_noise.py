"""Noise schedules: every map against 60-digit arithmetic, near both ends and in between."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analytic as an
from analytic import NoiseSchedule, grids

EPS = float(np.finfo(float).eps)
mp = mpmath.mp.clone()
mp.dps = 60


def exact_vp(low: float, high: float) -> Any:
    def pair(t: Any) -> tuple[Any, Any]:
        total = mp.mpf(low) * t + (mp.mpf(high) - mp.mpf(low)) * t * t / 2
        return mp.exp(-total / 2), mp.sqrt(1 - mp.exp(-total))

    return pair


def exact_sub_vp(low: float, high: float) -> Any:
    return lambda t: (exact_vp(low, high)(t)[0], exact_vp(low, high)(t)[1] ** 2)


def exact_cosine(offset: float) -> Any:
    def pair(t: Any) -> tuple[Any, Any]:
        o = mp.mpf(offset)
        alpha = mp.cos((t + o) / (1 + o) * mp.pi / 2) / mp.cos(o / (1 + o) * mp.pi / 2)
        return alpha, mp.sqrt(1 - alpha**2)

    return pair


CASES = {
    "ve": (NoiseSchedule.ve(), lambda t: (mp.mpf(1), t)),
    "vp": (NoiseSchedule.vp(), exact_vp(0.1, 20.0)),
    "vp-steep": (NoiseSchedule.vp(0.0, 900.0), exact_vp(0.0, 900.0)),
    "vp-constant": (NoiseSchedule.vp(3.0, 3.0), exact_vp(3.0, 3.0)),
    "sub_vp": (NoiseSchedule.sub_vp(), exact_sub_vp(0.1, 20.0)),
    "cosine": (NoiseSchedule.cosine(), exact_cosine(0.008)),
    "cosine-plain": (NoiseSchedule.cosine(0.0), exact_cosine(0.0)),
    "rectified_flow": (NoiseSchedule.rectified_flow(), lambda t: (1 - t, t)),
}
LOW, HIGH = 10.0 ** -np.arange(1.0, 61.0, 3.0), 2.0 ** -np.arange(2.0, 53.0, 3.0)
TIMES = np.concatenate([LOW, np.linspace(0.03, 0.97, 40), 1 - HIGH])
LEVELS = 10.0 ** np.linspace(-30, 8, 120)


def relative(found: float, exact: Any) -> float:
    return float(abs(mp.mpf(float(found)) - exact) / abs(exact))


def room(name: str) -> float:
    """Allowed relative error: a few units, times the condition of the exponential."""
    return EPS * {"vp": 20, "vp-steep": 700, "vp-constant": 8, "sub_vp": 20}.get(name, 6)


@pytest.mark.parametrize("name", CASES)
def test_values_and_slopes(name: str) -> None:
    """Bugs this is for: 1 - exp(-B), cos(π/2 ...) near 1, √(1 - ᾱ) near 0, a wrong factor."""
    schedule, pair = CASES[name]
    slopes = [
        lambda t, k=k: mp.diff(lambda u: pair(u)[k], t, h=t * mp.mpf(10) ** -25) for k in (0, 1)
    ]
    for t in TIMES:
        with mp.workdps(150):
            u = mp.mpf(float(t))
            alpha, sigma = pair(u)
            pairs = {
                "alpha": alpha,
                "sigma": sigma,
                "level": sigma / alpha,
                "alpha_derivative": slopes[0](u),
                "sigma_derivative": slopes[1](u),
            }
        for key, exact in pairs.items():
            found = getattr(schedule, key)(t)
            if exact == 0:
                assert found == 0, (key, t)
            else:
                assert relative(found, exact) <= room(name), (key, t)


@pytest.mark.parametrize("name", CASES)
def test_level_to_time_is_the_exact_inverse(name: str) -> None:
    """t(s) is within a few units of the root of s(t) = s, found in 60 digits.

    Near t = 1 this holds relative to t; what a float t then says of 1 - t, no more.
    """
    schedule, pair = CASES[name]
    top = schedule.level(min(schedule.t_max, 1 - 1e-12))
    for level in LEVELS[top >= LEVELS]:
        t = mp.mpf(float(schedule.time(level)))
        with mp.workdps(120):
            alpha, sigma = pair(t)
            residual = sigma / alpha / mp.mpf(float(level)) - 1
            # Newton from the float answer: relative change of t that would mend it
            slope = mp.diff(lambda u: mp.log(pair(u)[1] / pair(u)[0]), t, h=t * mp.mpf(10) ** -40)
            change = residual / slope / t
        assert abs(change) <= 8 * EPS, level


@pytest.mark.parametrize("name", CASES)
def test_scale_is_alpha_of_a_level(name: str) -> None:
    """In full accuracy at levels where α at the rounded time has lost digits."""
    schedule, _ = CASES[name]
    top = schedule.level(schedule.t_max) if name.startswith(("vp", "sub")) else 1e8
    for level in LEVELS[top >= LEVELS]:
        s = mp.mpf(float(level))
        exact = {
            "ve": mp.mpf(1),
            "sub_vp": mp.exp(-mp.asinh(s / 2)),
            "rectified_flow": 1 / (1 + s),
        }.get(name, 1 / mp.sqrt(1 + s * s))
        assert relative(schedule.scale(level), exact) <= 4 * EPS, level


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_round_trips(name: str, data: Any) -> None:
    """Times through levels, and states there and back, as arrays and as numbers."""
    schedule, _ = CASES[name]
    exponents = st.lists(st.floats(-30, -0.001), min_size=1, max_size=5)
    t = 10.0 ** np.array(data.draw(exponents))
    level = schedule.level(t)
    np.testing.assert_allclose(schedule.time(level), t, rtol=700 * EPS)
    assert schedule.level(float(t[0])) == level[0]
    x = np.random.default_rng(0).standard_normal((len(t), 3))
    x_hat, sigma = schedule.to_ve(x, t)
    np.testing.assert_array_equal(sigma, level)
    np.testing.assert_allclose(x_hat * schedule.alpha(t)[:, None], x, rtol=4 * EPS)
    back, again = schedule.from_ve(x_hat, sigma)
    np.testing.assert_allclose(back, x, rtol=2e3 * EPS)
    np.testing.assert_array_equal(again, schedule.time(level))


def test_ends() -> None:
    """What is defined at t = 0 and t = 1, and what is refused there."""
    for name, (schedule, _) in CASES.items():
        assert schedule.alpha(0.0) == 1.0, name
        assert schedule.sigma(0.0) == schedule.level(0.0) == schedule.time(0.0) == 0.0, name
        assert schedule.scale(0.0) == 1.0, name
    for name in ("cosine", "cosine-plain", "rectified_flow"):
        schedule = CASES[name][0]
        assert schedule.alpha(1.0) == 0.0
        with pytest.raises(ValueError, match=r"^t: got 1\.0, expected where level of '"):
            schedule.level(1.0)
        with pytest.raises(ValueError, match=r"^t: got 1\.0"):
            schedule.to_ve([1.0], 1.0)
    for name in ("vp", "cosine"):
        with pytest.raises(ValueError, match=r"^t: got 0\.0, expected where sigma_derivative"):
            CASES[name][0].sigma_derivative(0.0)
    assert CASES["vp"][0].level(1.0) == pytest.approx(np.sqrt(np.expm1(10.05)), rel=1e-14)
    assert CASES["vp"][0].time(CASES["vp"][0].level(1.0)) == pytest.approx(1.0, rel=4 * EPS)
    assert NoiseSchedule.ve().time(1e150) == 1e150


@pytest.mark.parametrize("name", CASES)
def test_velocity_moves_along_the_flow(name: str) -> None:
    """d/dt of α_t x̂(s(t)) for a Gaussian, whose flow is known in closed form."""
    schedule, pair = CASES[name]
    spread, t = mp.mpf("0.7"), 0.37

    def path(u: Any) -> Any:
        alpha, sigma = pair(u)
        return alpha * 2 * mp.sqrt(spread + (sigma / alpha) ** 2)

    x = float(path(mp.mpf(t)))
    level = schedule.level(t)
    denoised = 0.7 / (0.7 + level**2) * x / schedule.alpha(t)
    found = schedule.velocity(np.array([[x]]), np.array([[denoised]]), t)
    exact = mp.diff(path, mp.mpf(t), h=mp.mpf(10) ** -20)
    # the two terms of the velocity may nearly cancel, so relative to their size
    size = abs(schedule.alpha_derivative(t) * denoised) + abs(exact)
    assert abs(found[0, 0] - float(exact)) <= 1e3 * EPS * float(size)
    many = schedule.velocity(np.full((2, 1), x), np.full((2, 1), denoised), [t, t])
    np.testing.assert_array_equal(many, found[[0, 0]])


def test_velocity_of_rectified_flow_is_the_difference() -> None:
    """(x - D)/t."""
    rng = np.random.default_rng(1)
    x, denoised = rng.standard_normal((2, 4, 3))
    found = NoiseSchedule.rectified_flow().velocity(x, denoised, 0.8)
    np.testing.assert_allclose(found, (x - denoised) / 0.8, rtol=1e-14)


def test_types() -> None:
    """Numbers give numbers, arrays their shape, float32 states stay so, integers are floats."""
    schedule = NoiseSchedule.vp()
    assert isinstance(schedule.alpha(0.5), float)
    assert schedule.level([[0.1, 0.2]]).shape == (1, 2)
    assert NoiseSchedule.ve().alpha(3) == 1.0
    x = np.ones((2, 3), dtype=np.float32)
    assert schedule.to_ve(x, 0.5)[0].dtype == schedule.from_ve(x, 2.0)[0].dtype == np.float32
    assert schedule.velocity(x, x, 0.5).dtype == np.float32
    assert repr(schedule) == "NoiseSchedule('vp', t in [0, 1])"


@pytest.mark.parametrize("name", CASES)
def test_schedules_survive_pickling_and_replace(name: str) -> None:
    schedule, _ = CASES[name]
    for copy in (pickle.loads(pickle.dumps(schedule)), dataclasses.replace(schedule, name="b")):
        assert copy.level(0.3) == schedule.level(0.3)
        with pytest.raises(ValueError, match=r"^t: got -1\.0, "):
            copy.level(-1.0)


# Schedules of one's own


def quadratic(**changes: Any) -> NoiseSchedule:
    """x_t = (1 - t²) x_0 + t z, level t/(1 - t²)."""
    functions = {
        "alpha": lambda t: 1 - t * t,
        "sigma": lambda t: t,
        "alpha_derivative": lambda t: -2 * t,
        "sigma_derivative": lambda t: 1.0,
    }
    return NoiseSchedule("quadratic", **{**functions, **changes})


def test_what_follows_from_the_rest() -> None:
    """level, time and scale of a schedule that gives none of them."""
    schedule = quadratic()
    s = np.array([1e-200, 1e-30, 1e-3, 0.5, 3.0, 80.0])
    expected = 2 * s / (1 + np.sqrt(1 + 4 * s * s))
    np.testing.assert_allclose(schedule.time(s), expected, rtol=2 * EPS)
    np.testing.assert_allclose(schedule.scale(s), 1 - expected**2, rtol=200 * EPS)
    assert schedule.time(0.0) == 0.0
    np.testing.assert_array_equal(schedule.sigma_derivative([0.1, 0.2]), [1.0, 1.0])


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"alpha": lambda t: t - 0.5}, ValueError, "alpha: got -0.49.* expected α > 0"),
        ({"sigma": lambda t: t - 0.5}, ValueError, "sigma: got -0.49.* expected σ > 0"),
        ({"alpha": lambda t: t, "sigma": lambda t: 1 - t}, ValueError, "level: .* rises with t"),
        ({"alpha_derivative": lambda t: 2 * t}, ValueError, "alpha_derivative: .* the derivative"),
        ({"sigma_derivative": lambda t: 0.0}, ValueError, "sigma_derivative: .* the derivative"),
        ({"level": lambda t: t}, ValueError, "level: .* expected σ/α"),
        ({"time": lambda s: s / (1 + s)}, ValueError, "time: .* the inverse of level"),
        ({"scale": lambda s: 1 / (1 + s)}, ValueError, "scale: .* α at the level of t"),
        ({"alpha": None}, TypeError, "alpha: got None, expected a function"),
        ({"sigma": lambda t: float(t)}, TypeError, "sigma: got a function that fails on an array"),
        ({"alpha": lambda t: np.ones(3)}, TypeError, "alpha: got a function that fails"),
        ({"alpha": lambda t: np.log(t - 2)}, ValueError, "t: got 0.0.* alpha of .* is finite"),
        ({"t_max": 0.0}, ValueError, "t_max: got 0.0, expected more than t_min"),
        ({"t_min": np.nan}, ValueError, "t_min: got nan"),
    ],
)
def test_contradictions_are_refused(
    changes: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        quadratic(**changes)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: NoiseSchedule.vp().level(1.5),
            r"t: got 1\.5, expected times of 'vp', in \[0, 1\]",
        ),
        (lambda: NoiseSchedule.vp().alpha([0.1, -0.1]), r"t: got -0\.1"),
        (lambda: NoiseSchedule.vp().time(200.0), r"level: got 200\.0, .*\[0, 152\.1"),
        (lambda: NoiseSchedule.vp().from_ve([1.0], 200.0), r"sigma: got 200\.0, "),
        (lambda: NoiseSchedule.vp().time(-1.0), r"level: got -1\.0"),
        (lambda: NoiseSchedule.vp().level(np.nan), "t: got nan"),
        (lambda: NoiseSchedule.vp(20.0, 0.1), r"beta_max: got 0\.1, expected at least beta_min"),
        (lambda: NoiseSchedule.vp(0.1, 2000.0), r"beta_max: got 2000\.0"),
        (lambda: NoiseSchedule.sub_vp(-0.1), r"beta_min: got -0\.1"),
        (lambda: NoiseSchedule.cosine(-0.1), r"offset: got -0\.1"),
        (
            lambda: NoiseSchedule.ve().to_ve(np.ones((2, 3)), [1.0, 2.0, 3.0]),
            r"t: got shape \(3,\)",
        ),
        (
            lambda: NoiseSchedule.vp().velocity(np.ones((2, 3)), np.ones((2, 2)), 0.5),
            r"denoised: got shape \(2, 2\)",
        ),
        (lambda: NoiseSchedule.ve().velocity([1.0], [1.0], 0.0), r"t: got 0\.0, .* σ > 0"),
    ],
)
def test_bad_input(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        call()


def test_exported() -> None:
    assert an.NoiseSchedule is NoiseSchedule


# Sampling and integrating in a schedule's coordinates (theory C8)

POINTS = an.PointSet(np.random.default_rng(5).standard_normal((12, 3)))
DENOISER = an.OptimalDenoiser(POINTS)
SCHEDULES = {name: CASES[name][0] for name in ("ve", "vp", "sub_vp", "cosine", "rectified_flow")}
RUNS = {
    "euler": lambda x, **more: an.sample(
        DENOISER, x, [*grids.polynomial(11), 0.0], "euler", **more
    ),
    "heun": lambda x, **more: an.sample(DENOISER, x, grids.log_snr(12), "heun", **more),
    "exact": lambda x, **more: an.integrate(DENOISER, x, 80.0, 0.0, save_at=[9.0, 1.0], **more),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_states_are_those_of_the_flow_times_alpha(name: str, run: str) -> None:
    schedule = SCHEDULES[name]
    x, t = schedule.from_ve(an.noise(6, 3, 80.0, 4), 80.0)
    found = RUNS[run](x, schedule=schedule)
    # from the same x̂ to the last bit, so that the flow takes the same steps
    plain = RUNS[run](x / schedule.scale(80.0))
    assert found.times[0] == t
    assert plain.times is None
    np.testing.assert_array_equal(found.sigmas, plain.sigmas)
    np.testing.assert_allclose(schedule.level(found.times), found.sigmas, rtol=1e-13)
    # α from 60 digits, at the level and not at the rounded time
    alpha = [float(mp_alpha(name, level)) for level in found.sigmas]
    expected = np.array(alpha)[:, None, None] * plain.states
    np.testing.assert_allclose(found.states, expected, rtol=1e-14)
    np.testing.assert_allclose(found.states[0], x, rtol=2 * EPS)
    np.testing.assert_array_equal(found.denoised, plain.denoised)
    np.testing.assert_array_equal(found.nfe, plain.nfe)
    if run == "exact":
        assert found.collapse.certified.all()
        np.testing.assert_array_equal(found.collapse.index, plain.collapse.index)
        np.testing.assert_array_equal(found.collapse.sigma, plain.collapse.sigma)
        np.testing.assert_array_equal(found.final, POINTS.points[found.collapse.index])


def mp_alpha(name: str, level: float) -> Any:
    s = mp.mpf(float(level))
    special = {
        "ve": mp.mpf(1),
        "sub_vp": mp.exp(-mp.asinh(s / 2)),
        "rectified_flow": 1 / (1 + s),
    }
    return special.get(name, 1 / mp.sqrt(1 + s * s))


def test_the_error_is_in_the_schedules_units() -> None:
    schedule, x = NoiseSchedule.rectified_flow(), an.noise(4, 3, 1.0, 6)
    plain = an.integrate(DENOISER, x / schedule.scale(80.0), 80.0, 3.0)
    found = an.integrate(DENOISER, x, 80.0, 3.0, schedule=schedule)
    assert (plain.error > 0).all()
    np.testing.assert_allclose(found.error, plain.error / 4, rtol=4 * EPS)
    some = found.select([2, 0])
    np.testing.assert_array_equal(some.times, found.times)
    np.testing.assert_array_equal(some.states, found.states[:, [2, 0]])


def test_float32_is_rounded_once() -> None:
    schedule, x = NoiseSchedule.vp(), an.noise(4, 3, 1.0, 7).astype(np.float32)
    for run in RUNS.values():
        narrow, wide = run(x, schedule=schedule), run(x.astype(float), schedule=schedule)
        assert narrow.states.dtype == np.float32
        np.testing.assert_array_equal(narrow.states, wide.states.astype(np.float32))


def native_euler(schedule: NoiseSchedule, x: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Euler steps in the schedule's own time, on its own ODE."""
    times = schedule.time(sigmas)
    for t, after in itertools.pairwise(times):
        x_hat, level = schedule.to_ve(x, t)
        x = x + (after - t) * schedule.velocity(x, DENOISER(x_hat, level), t)
    return x


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=9, unique_by=lambda e: round(e, 2)))
def test_euler_on_rectified_flow_is_euler_on_the_flow(exponents: list[float]) -> None:
    """On any grid: the two coordinates differ by a projective map, which keeps lines."""
    sigmas = 10.0 ** np.sort(exponents)[::-1]
    schedule, start = NoiseSchedule.rectified_flow(), an.noise(5, 3, 1.0, 8)
    found = an.sample(DENOISER, start, sigmas, "euler", schedule=schedule)
    native = native_euler(schedule, start, sigmas)
    # rounding of x is read as one of x̂ = x/α
    room = 50 * EPS * (1 + sigmas[0]) * np.abs(start).max() * (1 + 1 / sigmas[-1])
    assert np.abs(found.final - native).max() <= room


def test_euler_on_other_schedules_is_not() -> None:
    """Native Euler differs by far more than rounding there, rectified flow on the same grid."""
    sigmas, apart = grids.polynomial(12, 80.0, 0.01), {}
    for name, schedule in SCHEDULES.items():
        start = schedule.from_ve(an.noise(5, 3, 80.0, 9), 80.0)[0]
        found = an.sample(DENOISER, start, sigmas, "euler", schedule=schedule).final
        apart[name] = np.abs(native_euler(schedule, start, sigmas) - found).max()
    assert max(apart["ve"], apart["rectified_flow"]) < 1e-12
    assert min(apart["vp"], apart["sub_vp"], apart["cosine"]) > 1e-4, apart


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (
            lambda x, s: an.sample(DENOISER, x, [200.0, 1.0], schedule=s),
            ValueError,
            r"sigmas: got 200",
        ),
        (
            lambda x, s: an.integrate(DENOISER, x, 200.0, schedule=s),
            ValueError,
            r"sigma_max and sigma_min: got 200\.0, expected levels of 'vp'",
        ),
        (
            lambda x, s: an.integrate(DENOISER, x, schedule=s, quantities=("log_prob",)),
            ValueError,
            "quantities: got log_prob together with a schedule.*without schedule=",
        ),
        (
            lambda x, s: an.integrate(DENOISER, x, schedule=s, tangent=x),
            ValueError,
            "tangent: got one together with a schedule",
        ),
        (
            lambda x, s: an.sample(DENOISER, x, [2.0, 1.0], schedule="vp"),
            TypeError,
            "schedule: got 'vp'",
        ),
        (lambda x, s: an.integrate(DENOISER, x, schedule=1), TypeError, "schedule: got 1"),
    ],
)
def test_bad_schedules(call: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        call(np.ones((2, 3)), NoiseSchedule.vp())
