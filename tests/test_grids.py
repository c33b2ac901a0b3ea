"""Grids of noise levels."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analytic as an
from analytic import GaussianDenoiser, NoiseSchedule, OptimalDenoiser, grids

GAUSS = GaussianDenoiser([1.0, -0.5], [[1.0, 0.3], [0.3, 0.4]])


def test_karras_grid() -> None:
    """EDM's 18 levels, from the formula written out."""
    found = grids.polynomial(18)
    for k, sigma in enumerate(found):
        root = 80 ** (1 / 7) + k / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))
        assert sigma == pytest.approx(root**7, rel=1e-13)
    assert found[0] == 80.0
    assert found[-1] == 0.002
    # the first levels as printed by other implementations of EDM
    np.testing.assert_allclose(found[1:3], [57.586, 40.7856], rtol=1e-5)


def test_exponent_one_gives_equal_steps_and_zero_is_allowed() -> None:
    np.testing.assert_allclose(grids.polynomial(5, 8.0, 0.0, rho=1), [8, 6, 4, 2, 0], atol=1e-15)
    assert grids.polynomial(5, 80.0, 0.0)[-1] == 0.0
    np.testing.assert_array_equal(grids.polynomial(2, 3.0, 1.0), [3.0, 1.0])


@given(st.integers(2, 200), st.floats(-4, 4), st.floats(0.1, 8), st.floats(0.5, 20))
def test_grids_decrease_between_exact_ends(n: int, low: float, span: float, rho: float) -> None:
    ends = 10.0 ** (low + span), 10.0**low
    found = grids.polynomial(n, *ends, rho=rho)
    assert found.shape == (n,)
    assert (np.diff(found) < 0).all()
    assert (found[0], found[-1]) == ends


@pytest.mark.parametrize(
    ("args", "options", "kind", "words"),
    [
        ((1,), {}, ValueError, "n: got 1"),
        ((0,), {}, ValueError, "n: got 0"),
        ((2.0,), {}, TypeError, "n: got 2.0"),
        ((5, 1.0, 1.0), {}, ValueError, "sigma_max: got 1.0, expected more than"),
        ((5, 1.0, 2.0), {}, ValueError, "sigma_max: got 1.0, expected more than"),
        ((5, 1.0, -1.0), {}, ValueError, "sigma_min: got -1.0"),
        ((5, np.inf), {}, ValueError, "sigma_max: got inf"),
        ((5,), {"rho": 0.0}, ValueError, "rho: got 0.0"),
        ((5,), {"rho": -7.0}, ValueError, "rho: got -7.0"),
        ((5,), {"rho": "7"}, TypeError, "rho: got '7'"),
    ],
)
def test_bad_grids(args: Any, options: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        grids.polynomial(*args, **options)


@pytest.mark.parametrize(
    ("sigmas", "words"),
    [
        ([1.0, 1.0], r"1.0.* followed by .*1.0.* at index 0"),
        ([3.0, 2.0, 2.5], r"2.0.* followed by .*2.5.* at index 1"),
        ([1.0], r"shape \(1,\)"),
        (1.0, r"shape \(\)"),
        ([[2.0, 1.0]], r"shape \(1, 2\)"),
        ([2.0, np.nan], "nan"),
        ([2.0, 1.0, -1.0], "levels from"),
        ([1e151, 1.0], "levels from"),
    ],
)
def test_broken_grids_say_where(sigmas: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^sigmas: got .*{words}"):
        an.sample(GAUSS, [[0.0, 0.0]], sigmas)


# The others

MAKERS: dict[str, Callable[..., np.ndarray]] = {
    "log_snr": grids.log_snr,
    "exponential": lambda n, *ends: grids.exponential(n, *ends, rho=2.5),
    "vp_uniform": lambda n, *ends: grids.vp_uniform(n, *ends, 0.1, 100.0),
    **{
        name: lambda n, *ends, schedule=schedule: grids.from_schedule(schedule, n, *ends)
        for name, schedule in {
            "ve": NoiseSchedule.ve(),
            "sub_vp": NoiseSchedule.sub_vp(0.1, 100.0),
            "cosine": NoiseSchedule.cosine(),
            "rectified_flow": NoiseSchedule.rectified_flow(),
        }.items()
    },
}


@pytest.mark.parametrize("name", MAKERS)
@given(st.integers(2, 60), st.floats(-4, 2), st.floats(0.1, 4))
def test_all_decrease_between_exact_ends(name: str, n: int, low: float, span: float) -> None:
    ends = 10.0 ** (low + span), 10.0**low
    found = MAKERS[name](n, *ends)
    assert found.shape == (n,)
    assert (np.diff(found) < 0).all()
    assert (found[0], found[-1]) == ends


def test_uniform_in_log_sigma() -> None:
    """Equal ratios; and levels as formulas with 30 digits give them."""
    found = grids.log_snr(9, 80.0, 0.002)
    np.testing.assert_allclose(found[1:] / found[:-1], (0.002 / 80) ** (1 / 8), rtol=1e-14)
    for k, sigma in enumerate(grids.exponential(9, 80.0, 0.002, rho=3.0)):
        low, high = mpmath.mpf(0.002), mpmath.mpf(80)
        exact = low * (high / low) ** ((1 - mpmath.mpf(k) / 8) ** 3)
        assert sigma == pytest.approx(float(exact), rel=1e-14)
    np.testing.assert_array_equal(grids.exponential(9, 80.0, 0.002), found)
    assert grids.exponential(9, rho=3.0)[4] < found[4] < grids.exponential(9, rho=0.5)[4]


def test_uniform_in_vp_time() -> None:
    """DPM-Solver's grid: equal steps in t with σ² = e^{0.05 t² 199 + 0.1 t} - 1."""
    found = grids.vp_uniform(6, 80.0, 0.002)
    total = np.log1p(found**2)
    t = (-0.1 + np.sqrt(0.01 + 2 * 19.9 * total)) / 19.9
    np.testing.assert_allclose(np.diff(t), np.diff(t)[0], rtol=1e-9)
    # EDM's form of it: t from 1 to 10⁻³
    vp = NoiseSchedule.vp()
    other = grids.vp_uniform(5, vp.level(1.0), vp.level(1e-3))
    written = [np.sqrt(np.exp(9.95 * t * t + 0.1 * t) - 1) for t in np.linspace(1, 1e-3, 5)]
    np.testing.assert_allclose(other, written, rtol=1e-12)
    assert grids.vp_uniform(5, 80.0, 0.0)[-1] == 0.0


def test_uniform_in_other_times() -> None:
    rectified = grids.from_schedule(NoiseSchedule.rectified_flow(), 5, 4.0, 0.0)
    np.testing.assert_allclose(rectified / (1 + rectified), [0.8, 0.6, 0.4, 0.2, 0], rtol=1e-14)
    cosine = grids.from_schedule(NoiseSchedule.cosine(0.0), 4, np.sqrt(3), 0.0)
    np.testing.assert_allclose(np.degrees(np.arctan(cosine)), [60, 40, 20, 0], rtol=1e-14)
    ve = grids.from_schedule(NoiseSchedule.ve(), 5, 8.0, 0.0)
    np.testing.assert_array_equal(ve, grids.polynomial(5, 8.0, 0.0, rho=1))


@given(st.integers(2, 300), st.data())
def test_discrete_picks_are_distinct_and_even(length: int, data: Any) -> None:
    n = data.draw(st.integers(2, length))
    levels = 10.0 + np.arange(length)
    found = grids.discrete(n, levels)
    picks = found - 10
    assert (found[0], found[-1]) == (levels[-1], levels[0])
    assert (np.diff(picks) < 0).all()
    even = np.linspace(length - 1, 0, n)
    assert np.abs(picks - even).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(grids.discrete(n, levels[::-1]), found)


def test_discrete_levels() -> None:
    """Those of DDPM: 1,000 steps of VP; with the zero that follows them."""
    levels = np.sqrt(1 / np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)) - 1)
    found = grids.discrete(4, levels, append_zero=True)
    np.testing.assert_array_equal(found, [*levels[[999, 666, 333, 0]], 0.0])
    np.testing.assert_array_equal(grids.discrete(1000, levels), levels[::-1])
    np.testing.assert_array_equal(grids.discrete(2, [3.0, 1.0, 0.0]), [3.0, 0.0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: grids.log_snr(5, 1.0, 0.0), r"sigma_min: got 0, .* append 0: \[\*grid, 0\.0\]"),
        (lambda: grids.exponential(5, rho=-1.0), r"rho: got -1\.0"),
        (lambda: grids.exponential(1), "n: got 1"),
        (lambda: grids.log_snr(5, 1.0, 2.0), r"sigma_max: got 1\.0, expected more than"),
        (lambda: grids.vp_uniform(5, 200.0), r"sigma_max: got 200\.0, expected levels of 'vp'"),
        (lambda: grids.vp_uniform(5, beta_max=0.01), r"beta_max: got 0\.01"),
        (lambda: grids.log_snr(10**4, 1.0, 1.0 - 1e-13), "sigma_max and sigma_min: got"),
        (lambda: grids.discrete(4, [3.0, 2.0, 1.0]), "n: got 4, expected at most the 3 levels"),
        (lambda: grids.discrete(2, [3.0, 2.0, 2.0]), r"levels: got 2\.0 followed by 2\.0"),
        (lambda: grids.discrete(2, [1.0, 3.0, 2.0]), r"levels: got 2\.0 followed by 3\.0"),
        (lambda: grids.discrete(2, [1.0]), r"levels: got shape \(1,\)"),
        (lambda: grids.discrete(2, []), r"levels: got shape \(0,\)"),
        (lambda: grids.discrete(2, [1.0, 0.0], append_zero=True), "append_zero: got True"),
        (
            lambda: grids.from_schedule(_late(), 5, 1.0, 0.0),
            r"sigma_min: got 0, expected at least 0\.1\d+, where 'late' starts; .*append 0",
        ),
    ],
)
def test_more_bad_grids(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        call()


def _late() -> NoiseSchedule:
    """Rectified flow from t = 0.1 on."""
    return NoiseSchedule(
        "late", lambda t: 1 - t, lambda t: t, lambda t: -1.0, lambda t: 1.0, t_min=0.1
    )


def test_a_schedule_is_asked_for() -> None:
    with pytest.raises(TypeError, match=r"^schedule: got 'vp', expected a NoiseSchedule"):
        grids.from_schedule("vp", 5)


# Grids from a trajectory


def fine(count: int, seed: int = 0) -> SimpleNamespace:
    """A trajectory of noise: nothing that an index mistaken would leave the same."""
    rng = np.random.default_rng(seed)
    sigmas = np.sort(rng.uniform(0.1, 9.0, count))[::-1]
    states, denoised = rng.standard_normal((2, count, 3, 2))
    return SimpleNamespace(sigmas=sigmas, states=states, denoised=denoised)


def angle(u: np.ndarray, v: np.ndarray) -> float:
    return 1 - u @ v / (np.linalg.norm(u) * np.linalg.norm(v))


def leap_cost(run: Any, metric: Any, i: int, j: int) -> float:
    """One leap, row by row, as the docstring has it."""
    total = []
    for b in range(run.states.shape[1]):
        x, target = run.states[i, b], run.states[j, b]
        slope = (x - run.denoised[i, b]) / run.sigmas[i]
        end = x + (run.sigmas[j] - run.sigmas[i]) * slope
        chord = run.states[-1, b] - run.states[0, b]
        off = end - target
        total.append(
            {
                "distance": np.linalg.norm(off),
                "l1": np.abs(off).sum(),
                # in the plane, the part across is a determinant
                "deviation": abs(off[0] * chord[1] - off[1] * chord[0]) / np.linalg.norm(chord),
                "magnitude": abs(np.linalg.norm(end) - np.linalg.norm(target)),
                "cosine": angle(end - run.states[0, b], target - run.states[0, b]),
                "own": (off**4).sum(),
            }[metric]
        )
    return float(np.mean(total))


METRICS = ("distance", "l1", "deviation", "magnitude", "cosine", "own")


@pytest.mark.parametrize("coefficient", [1.0, 0.3, 1.15, 4.0])
@pytest.mark.parametrize("metric", METRICS)
def test_gits_is_the_best_of_all_subsets(metric: str, coefficient: float) -> None:
    """Against every subset, with costs computed leap by leap."""
    for seed, (count, n) in enumerate([(8, 2), (8, 4), (9, 5), (7, 6), (6, 6)]):
        run = fine(count, seed)
        cost = {
            (i, j): leap_cost(run, metric, i, j) for i, j in itertools.combinations(range(count), 2)
        }
        best = min(
            (
                (0, *inner, count - 1)
                for inner in itertools.combinations(range(1, count - 1), n - 2)
            ),
            key=lambda path: sum(
                coefficient**m * cost[leap] for m, leap in enumerate(itertools.pairwise(path))
            ),
        )
        kind: Any = (lambda x, y: ((x - y) ** 4).sum(axis=1)) if metric == "own" else metric
        found = grids.gits(run, n, metric=kind, coefficient=coefficient)
        np.testing.assert_array_equal(found, run.sigmas[list(best)])


def test_gits_takes_trajectories_to_zero() -> None:
    """Of a sampler's run that ends at σ = 0, in float32 too."""
    x = an.noise(5, 2, 80.0, 0)
    run = an.sample(GAUSS, x, [*grids.polynomial(40), 0.0])
    found = grids.gits(run, 6)
    assert (found[0], found[-1]) == (80.0, 0.0)
    narrow = an.sample(GAUSS, x.astype(np.float32), [*grids.polynomial(40), 0.0])
    np.testing.assert_array_equal(grids.gits(narrow, 6), found)


def test_a_larger_coefficient_spares_the_end() -> None:
    """γ > 1 makes late leaps dear, so the levels move down."""
    run = an.sample(GAUSS, an.noise(20, 2, 80.0, 0), grids.polynomial(80))
    early, even, late = (grids.gits(run, 8, coefficient=c) for c in (0.5, 1.0, 2.0))
    assert (late[1:-1] <= even[1:-1]).all() and (even[1:-1] <= early[1:-1]).all()
    assert (late[1:-1] < early[1:-1]).all()


def test_gits_of_an_exact_path_costs_nothing() -> None:
    """A constant denoiser has exact leaps: no angle, no error, no division by zero."""
    run = an.sample(lambda x, s: np.zeros_like(x), [[3.0, 4.0], [0.0, 0.0]], grids.polynomial(9))
    for metric in METRICS[:-1]:
        found = grids.gits(run, 4, metric=metric)
        assert (found[0], found[-1], len(found)) == (80.0, 0.002, 4)


@pytest.mark.parametrize(
    ("change", "options", "kind", "words"),
    [
        ({}, {"n": 1}, ValueError, "n: got 1, expected a whole number in .2, 8.; a finer"),
        ({}, {"n": 9}, ValueError, "n: got 9"),
        ({}, {"metric": "l2"}, ValueError, "metric: got 'l2', expected one of distance, l1"),
        ({}, {"metric": 5}, TypeError, "metric: got 5"),
        ({}, {"metric": lambda x, y: x - y}, ValueError, r"metric: got output of shape \(3, 2\)"),
        ({}, {"metric": lambda x, y: x[:, 0] * np.nan}, ValueError, "metric: got nan"),
        ({}, {"coefficient": 0.0}, ValueError, r"coefficient: got 0\.0"),
        ({}, {"coefficient": 1e200}, ValueError, r"coefficient: got 1e\+200"),
        ({"states": np.full((8, 3, 2), np.nan)}, {}, ValueError, r"trajectory\.states: got nan"),
        ({"states": np.ones((7, 3, 2))}, {}, ValueError, r"trajectory: got states \(7, 3, 2\)"),
        ({"denoised": np.ones((8, 3, 1))}, {}, ValueError, "trajectory: got states"),
        ({"sigmas": np.arange(8.0)}, {}, ValueError, r"trajectory\.sigmas: got 0\.0 followed"),
        ({"times": np.arange(8.0)}, {}, ValueError, "trajectory: got states in the coordinates"),
    ],
)
def test_bad_gits(change: Any, options: Any, kind: type[Exception], words: str) -> None:
    run = SimpleNamespace(**{**vars(fine(8)), **change})
    with pytest.raises(kind, match=f"^{words}"):
        grids.gits(run, **{"n": 5, **options})


def test_gits_wants_a_trajectory() -> None:
    with pytest.raises(TypeError, match=r"^trajectory: got ndarray without sigmas, states"):
        grids.gits(np.ones((8, 3, 2)), 4)


@pytest.mark.parametrize("name", ["digits", "two_moons"])
def test_gits_beats_karras_for_euler(name: str) -> None:
    """Global error of 5 to 10 Euler steps, against the exact flow; made on other starts."""
    points = an.datasets.two_moons(200, seed=0) if name == "two_moons" else an.datasets.digits()
    if name == "digits":
        points = an.PointSet(points.points[::9])
    denoiser, grid = OptimalDenoiser(points), grids.polynomial(80)

    def flow(seed: int) -> an.Trajectory:
        x = an.noise(24, like=denoiser, sigma=80.0, seed=seed)
        return an.integrate(denoiser, x, 80.0, 0.002, save_at=grid, rtol=1e-8, estimate_error=False)

    known, fresh = flow(1), flow(2)

    def error(levels: np.ndarray) -> float:
        found = an.sample(denoiser, fresh.states[0], levels, "euler").final
        return float(np.linalg.norm(found - fresh.final, axis=1).mean())

    for steps in (5, 6, 8, 10):
        karras = error(grids.polynomial(steps + 1))
        for metric, least in LEAST_GAIN[name].items():
            ours = error(grids.gits(known, steps + 1, metric=metric))
            assert ours < least * karras, (steps, metric, ours / karras)


LEAST_GAIN = {
    "two_moons": {
        "distance": 0.65,
        "l1": 0.7,
        "deviation": 0.95,
        "magnitude": 0.65,
        "cosine": 0.95,
    },
    "digits": {"distance": 0.9, "l1": 0.9, "deviation": 0.9, "magnitude": 0.8, "cosine": 0.85},
}
"""Largest quotients of the errors allowed; found: 0.50 to 0.88 and 0.50 to 0.84."""
