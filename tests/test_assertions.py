"""Assertions pass on the truth, and fail on planted faults, with messages that reproduce.

`python tests/test_assertions.py` prints the table of faults: who catches whom.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import mutants
import numpy as np
import pytest

import analytic as an
from analytic import solvers, testing
from analytic.claims import _faults
from analytic.testing import _function
from analytic.testing._hull import gap

Floats = np.ndarray
Build = Callable[[an.PointSet], Any]


# Data


def _weighted(points: np.ndarray, name: str) -> an.PointSet:
    weights = np.random.default_rng(2).uniform(0.2, 1.0, len(points))
    return an.PointSet(points, weights, name=name)


def _moons(count: int = 60) -> np.ndarray:
    return an.datasets.two_moons(count, seed=0).points


DATA: dict[str, Callable[[], an.PointSet]] = {
    "moons": lambda: _weighted(_moons(), "moons"),
    "one point": lambda: an.PointSet([[1.0, 2.0]]),
    "two points": lambda: an.PointSet([[1.0], [-1.0]], [0.3, 0.7]),
    "collinear": lambda: an.PointSet(np.linspace(-1, 1, 7)[:, None] * [1.0, 2.0, -0.5]),
    "32-D": lambda: an.PointSet(np.random.default_rng(0).standard_normal((40, 32))),
    "far away": lambda: an.PointSet(_moons() + 2.0**20),
    "tiny": lambda: _weighted(_moons() * 1e-6, "tiny"),
    "close pairs": lambda: an.PointSet(
        np.repeat(_moons(10), 2, axis=0) + 1e-7 * np.arange(20)[:, None]
    ),
}


@cache
def data(name: str) -> an.PointSet:
    return DATA[name]()


def levels(points: an.PointSet, count: int = 19) -> np.ndarray:
    return an.grids.polynomial(count, *an.grids.noise_range(points))


@cache
def exact(name: str) -> an.Trajectory:
    points = data(name)
    high = levels(points)[0]
    D = an.OptimalDenoiser(points)
    return an.integrate(D, an.noise(12, like=D, sigma=high, seed=1), high)


# The truth


@pytest.mark.parametrize("name", DATA)
def test_the_optimal_denoiser_passes(name: str) -> None:
    points = data(name)
    D = an.OptimalDenoiser(points)
    testing.assert_denoiser_consistent(D)
    testing.assert_mean_shift_equivalent(D, points)
    testing.assert_likelihood_ascends(D, points, log_prob=D.log_prob)
    testing.assert_equivariant(an.OptimalDenoiser, points)
    run = exact(name)
    testing.assert_in_hull(run, points, exact=True)
    testing.assert_in_hull(D(run.states[0], run.sigmas[5]), points, exact=False)


@pytest.mark.parametrize("name", DATA)
def test_the_exact_flow_passes(name: str) -> None:
    points, run = data(name), exact(name)
    testing.assert_quasi_linear(run)
    testing.assert_quasi_linear(run.states, points=points)
    testing.assert_collapses(run, points)
    testing.assert_collapses(run.final, points)
    testing.assert_matches_exact_flow("heun", points)
    euler = an.sample(an.OptimalDenoiser(points), run.states[0], levels(points), solver="euler")
    testing.assert_quasi_linear(euler)
    # at σ = 0.002 states lie between the two of a pair, and of a far mean a 40,000th is left
    if name not in ("close pairs", "far away"):
        testing.assert_collapses(euler, points)


def test_bare_states_of_moons_keep_to_a_twentieth() -> None:
    """σ from 80 down, starts of ordinary length: what the default bound was made for."""
    run = exact("moons")
    long = np.flatnonzero(an.geometry.chord(run.states) > 40)
    assert long.size >= 8
    testing.assert_quasi_linear(run.states[:, long])


CLOSED = {
    "gaussian": an.GaussianDenoiser([0.3, -0.2], [[1.0, 0.3], [0.3, 0.5]]),
    "flat gaussian": an.GaussianDenoiser([0.3, -0.2], [[1.0, 0.0], [0.0, 0.0]]),
    "mixture": an.GaussianMixtureDenoiser(
        [0.3, 0.7], [[-1.0, 0.0], [1.0, 0.5]], np.array([0.2, 0.1])
    ),
    "function": lambda x, sigma: x / (1 + np.reshape(np.square(sigma), (-1, 1))),
}


@pytest.mark.parametrize("name", CLOSED)
def test_other_denoisers_are_consistent(name: str) -> None:
    single = ("single",) if name == "function" else ()
    dtype = ("dtype", "float32") if name == "function" else ()
    testing.assert_denoiser_consistent(CLOSED[name], 2, skip=(*single, *dtype))
    testing.assert_denoiser_consistent(
        CLOSED[name], an.PointSet(_moons()), skip=(*single, *dtype), sigma=0.3
    )


def test_a_guided_denoiser_is_consistent() -> None:
    points = an.PointSet(_moons(), labels=np.arange(60) % 2)
    D = an.OptimalDenoiser(points)
    testing.assert_denoiser_consistent(an.GuidedDenoiser(D.given(1), D, weight=2.0), points)


ORDERS = {
    "euler": 1,
    "heun": 2,
    "dpmpp_2m": 2,
    "rk4": 4,
}


@pytest.mark.parametrize("name", ORDERS)
def test_solvers_have_their_orders(name: str) -> None:
    testing.assert_order(name, ORDERS[name], exactly=True)


def test_more_than_promised_is_no_fault_unless_asked() -> None:
    testing.assert_order("heun", 1)
    with pytest.raises(AssertionError, match="and no faster") as caught:
        testing.assert_order("heun", 1, exactly=True)
    assert "more than promised" in str(caught.value)


def test_a_foreign_sampler_of_trajectories_passes() -> None:
    def mine(denoiser: Any, x: Any, sigmas: Any) -> an.Trajectory:
        return an.sample(denoiser, x, sigmas, solver="heun")

    testing.assert_order(mine, 2)
    testing.assert_matches_exact_flow(mine, data("moons"), all_states=True)
    testing.assert_matches_exact_flow(mine, CLOSED["gaussian"], rtol=2e-3, atol=5e-3)


# Planted faults


POINTS = mutants.points()


def wrapped(change: Callable[..., Any]) -> Build:
    """A build whose denoisers are change(optimal denoiser, x, σ)."""

    def build(points: an.PointSet) -> Any:
        return partial(change, an.OptimalDenoiser(points))

    return build


def method(name: str, change: Callable[..., Any]) -> Build:
    """Optimal denoisers with one wrong method."""

    def wrong(self: Any, x: Any, sigma: Any, *more: Any) -> Any:
        return change(getattr(an.OptimalDenoiser, name)(self, x, sigma, *more), x, sigma)

    return type("Wrong", (an.OptimalDenoiser,), {name: wrong})


def _in_place(D: Any, x: Any, sigma: Any) -> Any:
    x += 0.0 * x
    x[...] = D(x, sigma)
    return x.copy()


class _Buffer:
    """Hands out one buffer again and again."""

    def __init__(self, points: an.PointSet) -> None:
        self.inner, self.kept = an.OptimalDenoiser(points), {}

    def __call__(self, x: Any, sigma: Any) -> Any:
        out = self.inner(x, sigma)
        held = self.kept.setdefault((out.shape, out.dtype.str), np.empty_like(out))
        held[...] = out
        return held


class _Noisy:
    """Draws a little noise at every call."""

    def __init__(self, points: an.PointSet) -> None:
        self.inner, self.rng = an.OptimalDenoiser(points), np.random.default_rng(0)

    def __call__(self, x: Any, sigma: Any) -> Any:
        out = self.inner(x, sigma)
        return (out * (1 + 1e-12 * self.rng.standard_normal(out.shape))).astype(out.dtype)


def _nan(D: Any, x: Any, sigma: Any) -> Any:
    return np.where(np.reshape(sigma, (-1, 1)) < 0.01, np.nan, D(x, sigma))


def _scalars(D: Any, x: Any, sigma: Any) -> Any:
    """Takes the square of a level that is a number."""
    return D(x, np.square(sigma) if np.ndim(sigma) == 0 else sigma)


def _mean_level(D: Any, x: Any, sigma: Any) -> Any:
    return D(x, np.full(len(x), np.mean(sigma)))


def _centred(D: Any, x: Any, sigma: Any) -> Any:
    """Normalises over the batch."""
    return D(x, sigma) + 1e-3 * np.mean(x, axis=0)


def _ordered(D: Any, x: Any, sigma: Any) -> Any:
    """Works on queries in the order of their levels, and leaves them in it."""
    if np.ndim(sigma) == 0 or np.ndim(x) == 1:
        return D(x, sigma)
    order = np.argsort(sigma, kind="stable")
    return D(np.asarray(x)[order], sigma[order])


def _crowded(D: Any, x: Any, sigma: Any) -> Any:
    """Leaves out the remainder of a batch of fours."""
    out = np.array(D(x, sigma))
    if out.ndim == 2 and len(out) % 4 and len(out) > 4:
        out[-(len(out) % 4) :] = 0
    return out


def _single(D: Any, x: Any, sigma: Any) -> Any:
    return D(x, sigma) if np.ndim(x) == 2 else np.asarray(x)


def _half(D: Any, x: Any, sigma: Any) -> Any:
    """float32 queries are worked on in bfloat16."""
    if np.asarray(x).dtype == np.float64:
        return D(x, sigma)
    return D((np.array(x).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32), sigma)


def _mutant(make: Callable[[an.PointSet], Any]) -> Build:
    """One of `mutants`, in x's dtype: that they forget about it is not their fault."""

    def build(points: an.PointSet) -> Any:
        inner = make(points).denoiser

        def kept(x: Any, sigma: Any) -> Any:
            return np.asarray(inner(x, sigma)).astype(np.asarray(x).dtype)

        return kept

    return build


DENOISERS: dict[str, Build] = {
    **{name: _mutant(make) for name, (make, _) in mutants.DENOISERS.items()},
    "constant of 1e-3 in σ": _faults.Floored,
    "a share of σ stays in e_1": _faults.Leaning,
    "steps the wrong way": lambda p: _faults.Overrelaxed(an.OptimalDenoiser(p), factor=-1.0),
    "steps a hundredth short": lambda p: _faults.Overrelaxed(an.OptimalDenoiser(p), factor=0.99),
    "steps 2.2 times as far": lambda p: _faults.Overrelaxed(an.OptimalDenoiser(p), factor=2.2),
    "every other point": _faults.thinned,
    "a batch axis too many": wrapped(lambda D, x, s: D(x, s)[None]),
    "one row of the batch": wrapped(lambda D, x, s: D(x, s)[:1]),
    "a batch of one loses its axis": wrapped(lambda D, x, s: np.squeeze(D(x, s))),
    "one row for one level": wrapped(lambda D, x, s: D(x, s)[:1] if np.ndim(s) == 0 else D(x, s)),
    "one row for equal levels": wrapped(lambda D, x, s: D(x, s)[: 1 if np.ptp(s) == 0 else None]),
    "x is overwritten": wrapped(_in_place),
    "one buffer for all calls": _Buffer,
    "noise of 1e-12": _Noisy,
    "NaN at small σ": wrapped(_nan),
    "a scalar σ is squared": wrapped(_scalars),
    "mean σ of the batch": wrapped(_mean_level),
    "batch normalisation": wrapped(_centred),
    "rows by level": wrapped(_ordered),
    "remainder of the batch lost": wrapped(_crowded),
    "(D,) is returned as it is": wrapped(_single),
    "always float64": wrapped(lambda D, x, s: np.asarray(D(x, s), dtype=np.float64)),
    "float32 queries halved": wrapped(_half),
    "score's sign": method("score", lambda found, x, s: -found),
    "score of the first row": method("score", lambda found, x, s: found[:1]),
    "score over σ": method("score", lambda found, x, s: found * np.reshape(s, (-1, 1))),
    "log p a hundredth steep": method("log_prob", lambda found, x, s: 1.01 * found),
    "jvp over N - 1": _faults.SampleCovariance,
    "Jacobian without 1/σ²": method(
        "jacobian", lambda found, x, s: found * np.reshape(np.square(s), (-1, 1, 1))
    ),
    "Jacobian's diagonal": method("jacobian", lambda found, x, s: found * np.eye(x.shape[-1])),
    "∂D/∂log σ for ∂D/∂σ": method(
        "sigma_derivative", lambda found, x, s: found * np.reshape(s, (-1, 1))
    ),
    "built on centred data": lambda p: an.OptimalDenoiser(
        an.PointSet(p.points - p.mean, p.weights)
    ),
    "built on data / their largest": lambda p: an.OptimalDenoiser(
        an.PointSet(p.points / np.abs(p.points).max(), p.weights)
    ),
    "σ of unit data": lambda p: wrapped(lambda D, x, s: D(x, np.maximum(s, 0.05)))(p),
    "built without weights": lambda p: an.OptimalDenoiser(p.points),
    "sorted first coordinate": lambda p: an.OptimalDenoiser(
        an.PointSet(np.column_stack([np.sort(p.points[:, 0]), p.points[:, 1:]]), p.weights)
    ),
}


def _log_prob_without_half(x: Any, sigma: Any) -> Any:
    return an.OptimalDenoiser(POINTS).log_prob(x, sigma / np.sqrt(2))


def _euler(D: Any, x: Any, sigmas: Any) -> Any:
    for s, t in itertools.pairwise(sigmas):
        x = x + (t - s) / s * (x - D(x, s))
    return x


def _of(name: str, key: str) -> Callable[..., Any]:
    """A solver of the mutants' table as a plain sampler."""

    def sampler(D: Any, x: Any, sigmas: Any) -> Any:
        return mutants.SOLVERS[key][0](POINTS).sampler(D, x, sigmas, solver=name)

    return sampler


def _other_level(D: Any, x: Any, sigmas: Any) -> Any:
    """Its last level is left out."""
    return np.concatenate([states := an.sample(D, x, sigmas[:-1]).states, states[-1:]])


def _backwards(D: Any, x: Any, sigmas: Any) -> Any:
    return an.sample(D, x[::-1], sigmas).states


def _noise_kept(D: Any, x: Any, sigmas: Any) -> Any:
    return an.sample(D, x, sigmas).final + sigmas[-1] * np.sign(x)


SAMPLERS: dict[str, tuple[Callable[..., Any], int]] = {
    "asks at the next level": (_of("heun", "asks at the next level"), 2),
    "Heun at the predictor's σ": (_of("heun", "Heun at the predictor's σ"), 2),
    "2M with its history reversed": (_of("dpmpp_2m", "2M with its history reversed"), 2),
    "LMS with equal steps": (_of("lms", "LMS with equal steps"), 4),
    "step a ten-thousandth long": (
        _of("heun", "step a ten-thousandth long"), 2),
    "Euler, called second order": (_euler, 2),
    "third order as released": (
        lambda D, x, s: an.sample(D, x, s, solvers.get("ipndm", order=4)), 4),
    "last level left out": (_other_level, 2),
    "rows change places": (_backwards, 2),
    "noise is added at the end": (_noise_kept, 2),
    "field a hundredth too strong": (
        lambda D, x, s: an.sample(_faults.Overrelaxed(D), x, s).states, 2),
}  # fmt: skip


def _ending(change: Callable[[np.ndarray], np.ndarray]) -> an.Trajectory:
    """The exact flow with other final states."""
    run = exact("moons")
    states = run.states.copy()
    states[-1] = change(states[-1])
    return replace(run, states=states)


def _shifted(run: an.Trajectory, by: float) -> an.Trajectory:
    states = run.states.copy()
    states[len(states) // 2, 3] += by
    return replace(run, states=states)


def _lost(run: an.Trajectory) -> an.Trajectory:
    states = run.states.copy()
    states[30:, 5] = np.nan
    return replace(run, states=states)


def _early(level: float) -> an.Trajectory:
    points = data("moons")
    D = an.OptimalDenoiser(points)
    return an.integrate(D, exact("moons").states[0], 80.0, level)


def _of_few() -> an.Trajectory:
    """The flow of every other point."""
    D = _faults.thinned(data("moons"))
    points = an.PointSet(D.points.points + 0.01, D.points.weights)
    return an.integrate(an.OptimalDenoiser(points), exact("moons").states[0], 80.0)


def _flow(change: Any) -> an.Trajectory:
    run = change(an.OptimalDenoiser(data("moons")), exact("moons").states[0], 80.0, 0.0)
    assert isinstance(run, an.Trajectory)
    return run


TRAJECTORIES: dict[str, Callable[[], an.Trajectory]] = {
    "detours": lambda: _flow(_faults.jittery_flow),
    "one state a unit of 12 aside": lambda: _shifted(exact("moons"), 12.0),
    "rows change places half-way": lambda: mutants._swapped(exact("moons")),
    "NaN from half-way on": lambda: _lost(exact("moons")),
    "ends a millionth aside": lambda: _ending(lambda x: x + 1e-6),
    "ends between points": lambda: _ending(lambda x: (x + x[::-1]) / 2),
    "ends on other points": lambda: _ending(lambda x: x[::-1]),
    "ends at the mean": lambda: _ending(lambda x: np.broadcast_to(x.mean(axis=0), x.shape)),
    "stops at σ = 1": lambda: _early(1.0),
    "stops at σ = 0.1": lambda: _early(0.1),
    "flow of other points": _of_few,
}

DENOISER_ASSERTIONS: dict[str, Callable[[Build], None]] = {
    "consistent": lambda build: testing.assert_denoiser_consistent(build(POINTS), POINTS),
    "mean_shift": lambda build: testing.assert_mean_shift_equivalent(build(POINTS), POINTS),
    "ascends": lambda build: testing.assert_likelihood_ascends(build(POINTS), POINTS),
    "in_hull": lambda build: testing.assert_in_hull(_outputs(build), POINTS),
    "equivariant": lambda build: testing.assert_equivariant(build, POINTS),
}
SAMPLER_ASSERTIONS: dict[str, Callable[[Any, int], None]] = {
    "order": testing.assert_order,
    "exact_flow": lambda sampler, p: testing.assert_matches_exact_flow(sampler, data("moons")),
}
TRAJECTORY_ASSERTIONS: dict[str, Callable[[an.Trajectory], None]] = {
    "quasi_linear": testing.assert_quasi_linear,
    "collapses": lambda run: testing.assert_collapses(run, data("moons")),
}


def _outputs(build: Build) -> Any:
    rng = np.random.default_rng(0)
    x = POINTS.sample(64, rng) + rng.standard_normal((64, 2))
    return build(POINTS)(x, np.geomspace(0.01, 10, 64))


def catches(test: Callable[..., None], *subject: Any) -> bool | str:
    """Whether an assertion fails on a fault; the kind of error if it stops in another way."""
    try:
        test(*subject)
    except AssertionError as error:
        return "to reproduce" in str(error) or "an error without a message"
    except Exception as error:
        return f"({type(error).__name__})"
    return False


def table() -> list[tuple[str, str, dict[str, bool | str]]]:
    """(kind, fault, assertion → whether it catches it)."""
    rows: list[tuple[str, str, dict[str, bool | str]]] = []
    for name, build in DENOISERS.items():
        found = {key: catches(test, build) for key, test in DENOISER_ASSERTIONS.items()}
        rows.append(("denoiser", name, found))
    for name, (sampler, p) in SAMPLERS.items():
        found = {key: catches(test, sampler, p) for key, test in SAMPLER_ASSERTIONS.items()}
        rows.append(("sampler", name, found))
    for name, make in TRAJECTORIES.items():
        found = {key: catches(test, make()) for key, test in TRAJECTORY_ASSERTIONS.items()}
        rows.append(("trajectory", name, found))
    return rows


@cache
def caught() -> dict[str, dict[str, bool | str]]:
    return {name: found for _, name, found in table()}


CLAIMED = {
    "consistent": """
        one maximum for the batch | σ of the first row for all | a batch axis too many
        one row of the batch | x is overwritten | one buffer for all calls | noise of 1e-12
        NaN at small σ | a scalar σ is squared | mean σ of the batch | batch normalisation
        rows by level | remainder of the batch lost | (D,) is returned as it is | always float64
        float32 queries halved | score's sign | score over σ | log p a hundredth steep
        jvp over N - 1 | Jacobian without 1/σ² | Jacobian's diagonal | ∂D/∂log σ for ∂D/∂σ""",
    "mean_shift": " | ".join(mutants.DENOISERS)
    + """
        constant of 1e-3 in σ | a share of σ stays in e_1 | steps the wrong way
        steps a hundredth short | steps 2.2 times as far | every other point | NaN at small σ
        mean σ of the batch | batch normalisation | rows by level | built on centred data
        built on data / their largest | σ of unit data | built without weights
        sorted first coordinate""",
    "ascends": """
        exp(-d²/2σ) | five nearest points only | first point left out | log-weights cut at -9
        weights of the neighbour | nearest point at all σ | minibatches averaged
        σ of the first row for all | pulled to the mean | a millionth of x leaks
        outputs clipped to [-1, 1] | scores for outputs | noise for outputs
        a share of σ stays in e_1 | steps the wrong way | steps 2.2 times as far
        every other point | NaN at small σ | batch normalisation | rows by level
        built on centred data | built on data / their largest""",
    "in_hull": """
        over-relaxed by a hundredth | a millionth of x leaks | scores for outputs
        noise for outputs | a share of σ stays in e_1 | steps the wrong way
        steps a hundredth short | steps 2.2 times as far | batch normalisation
        built on centred data | sorted first coordinate | outputs in float32""",
    "equivariant": """
        exp(-d²/2σ) | constant added to σ² | weights ignored | weights squared
        five nearest points only | first point left out | distances expanded in float32
        log-weights in float32 | log-weights cut at -9 | one maximum for the batch
        weights of the neighbour | minibatches averaged
        outputs clipped to [-1, 1] | outputs in float32 | scores for outputs | noise for outputs
        constant of 1e-3 in σ | a share of σ stays in e_1 | every other point
        built on centred data | built on data / their largest | σ of unit data
        built without weights | sorted first coordinate""",
    "order": " | ".join(SAMPLERS),
    "exact_flow": """
        asks at the next level | Heun at the predictor's σ | 2M with its history reversed
        last level left out | rows change places | noise is added at the end
        field a hundredth too strong""",
    "quasi_linear": """
        detours | one state a unit of 12 aside | rows change places half-way
        NaN from half-way on | ends on other points | ends between points""",
    "collapses": """
        rows change places half-way | NaN from half-way on | ends a millionth aside
        ends between points | ends on other points | ends at the mean | stops at σ = 1
        stops at σ = 0.1 | flow of other points""",
}
"""Assertion → faults that it must catch; more is no fault."""


@pytest.mark.parametrize("name", CLAIMED)
def test_planted_faults_are_caught(name: str) -> None:
    faults = [each.strip() for line in CLAIMED[name].splitlines() for each in line.split("|")]
    faults = [each for each in faults if each]
    assert len(faults) >= 6
    assert [fault for fault in faults if caught()[fault][name] is not True] == []


def test_no_fault_survives() -> None:
    assert [name for name, found in caught().items() if not any(found.values())] == []


def test_what_looks_wrong_and_is_not() -> None:
    """Heun's average of outputs is a second-order method, too, and so is 2M with 1/r for r."""
    testing.assert_order(_of("heun", "Heun that averages outputs"), 2)
    testing.assert_order(_of("dpmpp_2m", "2M with its ratio upside down"), 2)


# Messages


WRONG = DENOISERS["steps a hundredth short"](POINTS)
MANY = an.PointSet(np.random.default_rng(0).standard_normal((30, 40)))
CASES: dict[str, tuple[Callable[..., None], tuple[Any, ...], dict[str, Any], dict[str, Any]]] = {
    "mean shift": (
        testing.assert_mean_shift_equivalent, (WRONG, POINTS), {"rtol": 1e-9},
        {"denoiser": WRONG, "points": POINTS},
    ),
    "mean shift at given queries": (
        testing.assert_mean_shift_equivalent, (WRONG, POINTS, POINTS.points + 0.1, 0.3), {},
        {"denoiser": WRONG, "points": POINTS},
    ),
    "mean shift in 40 dimensions": (
        testing.assert_mean_shift_equivalent, (_faults.Bandwidth(MANY), MANY), {"seed": 3},
        {"denoiser": _faults.Bandwidth(MANY), "points": MANY},
    ),
    "mean shift in 40 dimensions, given": (
        testing.assert_mean_shift_equivalent,
        (_faults.Drift(MANY), MANY, MANY.points[:4] + 1, 5.0), {},
        {"denoiser": _faults.Drift(MANY), "points": MANY, "x": MANY.points[:4] + 1, "sigma": 5.0},
    ),
    "a batch": (
        testing.assert_denoiser_consistent,
        (DENOISERS["one maximum for the batch"](POINTS), POINTS), {"skip": "dtype"},
        {"denoiser": DENOISERS["one maximum for the batch"](POINTS), "points": POINTS},
    ),
    "a method": (
        testing.assert_denoiser_consistent, (_faults.SampleCovariance(POINTS),), {},
        {"denoiser": _faults.SampleCovariance(POINTS)},
    ),
    "ascent": (
        testing.assert_likelihood_ascends, (_faults.Drift(POINTS), POINTS), {"at_least": 0.99},
        {"denoiser": _faults.Drift(POINTS), "points": POINTS},
    ),
    "ascent of one's own density": (
        testing.assert_likelihood_ascends, (an.OptimalDenoiser(POINTS), POINTS),
        {"log_prob": lambda x, s: -an.OptimalDenoiser(POINTS).log_prob(x, s)},
        {
            "denoiser": an.OptimalDenoiser(POINTS), "points": POINTS,
            "log_prob": lambda x, s: -an.OptimalDenoiser(POINTS).log_prob(x, s),
        },
    ),
    "hull": (
        testing.assert_in_hull, (POINTS.points * 1.001, POINTS), {}, {"points": POINTS},
    ),
    "hull in 40 dimensions": (
        testing.assert_in_hull, (MANY.points * 1.001, MANY), {"exact": True},
        {"points": MANY, "outputs": MANY.points * 1.001},
    ),
    "equivariance": (
        testing.assert_equivariant, (DENOISERS["weights ignored"], POINTS), {},
        {"build": DENOISERS["weights ignored"], "points": POINTS},
    ),
    "order": (
        testing.assert_order, (_euler, 2), {"seed": 3}, {"sampler": _euler},
    ),
    "exact flow": (
        testing.assert_matches_exact_flow, (_noise_kept, POINTS), {"rtol": 1e-3},
        {"sampler": _noise_kept, "points": POINTS},
    ),
    "straightness": (
        testing.assert_quasi_linear, (exact("moons"),), {"bound": 1e-4},
        {"trajectory": exact("moons")},
    ),
    "straightness of states": (
        testing.assert_quasi_linear, (exact("moons").states,), {"bound": 1e-4},
        {"trajectory": exact("moons").states},
    ),
    "collapse": (
        testing.assert_collapses, (_early(1.0), data("moons")), {},
        {"trajectory": _early(1.0), "points": data("moons")},
    ),
    "collapse of final states": (
        testing.assert_collapses, (_early(1.0).final, data("moons")), {"sigma": 1e-3},
        {"points": data("moons")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_messages_say_it_all_and_reproduce(name: str) -> None:
    assertion, args, options, scope = CASES[name]
    with pytest.raises(AssertionError) as caught:
        assertion(*args, **options)
    message = str(caught.value)
    assert message.startswith(f"analytic.testing.{assertion.__name__} fails\n")
    for word in ("claim:", "worst:", "measured:", "bound:", "to reproduce:"):
        assert word in message
    measured, bound = (
        float(re.search(rf"{word}: +([\d.e+-]+|inf|nan)", message)[1])  # type: ignore[index]
        for word in ("measured", "bound")
    )
    if assertion is testing.assert_order:
        assert measured < bound - 0.5
        assert "\n    gaussian" in message
        assert "slope" in message
    elif name != "collapse of final states":
        assert measured > bound
    hidden = [
        frame.frame.raw
        for frame in caught.traceback[1:]
        if "analytic" in str(frame.path) and "testing" in str(frame.path)
    ]
    assert hidden
    assert all(frame.f_locals.get("__tracebackhide__") for frame in hidden)

    code = "\n".join(line[4:] for line in message.split("to reproduce:\n")[1].splitlines())
    with pytest.raises(AssertionError) as again:
        exec(code, dict(scope))
    assert str(again.value).startswith(f"analytic.testing.{assertion.__name__} fails\n")
    claims = [re.search(r"claim: +(\w+)", str(each.value))[1] for each in (caught, again)]  # type: ignore[index]
    assert claims[0] == claims[1]


def test_one_query_is_named_where_one_is_enough() -> None:
    """And the batch where it takes the batch."""
    with pytest.raises(AssertionError) as alone:
        testing.assert_mean_shift_equivalent(WRONG, POINTS)
    assert re.search(r"\n    x = \[\[[^,]+, [^,]+\]\]\n", str(alone.value))
    assert "count=" not in str(alone.value)
    with pytest.raises(AssertionError, match="passes alone") as batch:
        testing.assert_denoiser_consistent(
            DENOISERS["remainder of the batch lost"](POINTS), POINTS, count=20, seed=4
        )
    assert "(denoiser, points, count=20, seed=4)" in str(batch.value)


def test_the_worst_row_is_the_worst() -> None:
    x = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.1]])

    def wrong(x: Any, sigma: Any) -> Any:
        off = np.array([0.0, 1e-3, 1e-5])[: len(x), None]
        return an.OptimalDenoiser(POINTS)(x, sigma) + off

    with pytest.raises(AssertionError) as caught:
        testing.assert_mean_shift_equivalent(wrong, POINTS, x, [1.0, 2.0, 3.0])
    assert "row 1 of 3, σ = 2.0, x = [0.3, 0.4]" in str(caught.value)
    assert "2 of 3" in str(caught.value)


# Single assertions


def test_seeds_are_explicit() -> None:
    """The same seed draws the same queries, another one others."""
    seen: list[np.ndarray] = []

    def watching(x: Any, sigma: Any) -> Any:
        seen.append(np.array(x))
        return an.OptimalDenoiser(POINTS)(x, sigma)

    for seed in (0, 0, 1):
        testing.assert_mean_shift_equivalent(watching, POINTS, seed=seed)
    assert np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0], seen[2])
    testing.assert_mean_shift_equivalent(watching, POINTS, sigma=0.3, count=5)
    assert seen[-1].shape == (5, 2)


def test_a_rounded_model_states_its_tolerance() -> None:
    model = DENOISERS["outputs in float32"](POINTS)
    testing.assert_mean_shift_equivalent(model, POINTS, rtol=1e-6)
    testing.assert_equivariant(DENOISERS["outputs in float32"], POINTS, rtol=1e-5)
    testing.assert_in_hull(_outputs(DENOISERS["outputs in float32"]), POINTS, rtol=1e-6)


def test_names_of_what_is_broken() -> None:
    """Each planted fault is found by the check that is made for it."""
    for fault, check in {
        "a batch axis too many": "shape", "NaN at small σ": "finite", "x is overwritten": "inputs",
        "one buffer for all calls": "buffer", "noise of 1e-12": "deterministic",
        "a scalar σ is squared": "scalar", "mean σ of the batch": "rows",
        "a batch of one loses its axis": "rows", "one row for one level": "scalar",
        "one row for equal levels": "scalar", "score of the first row": "score",
        "rows by level": "rows", "remainder of the batch lost": "rows",
        "(D,) is returned as it is": "single", "always float64": "dtype",
        "float32 queries halved": "float32", "score's sign": "score",
        "log p a hundredth steep": "log_prob", "jvp over N - 1": "jvp",
        "Jacobian's diagonal": "jacobian", "∂D/∂log σ for ∂D/∂σ": "sigma_derivative",
    }.items():  # fmt: skip
        with pytest.raises(AssertionError, match=rf"claim: +{check}"):
            testing.assert_denoiser_consistent(DENOISERS[fault](POINTS), POINTS)
        if check in ("shape", "finite"):  # nothing else makes sense of it
            continue
        # a single query is a row alone, with a scalar σ
        skip = (check, "single") if check in ("scalar", "rows") else check
        testing.assert_denoiser_consistent(DENOISERS[fault](POINTS), POINTS, skip=skip)
    for fault, transform in {
        "built on centred data": "translation",
        "a share of σ stays in e_1": "rotation",
        "first point left out": "permutation",
        "σ of unit data": "scaling",
        "weights ignored": "split points",
    }.items():
        with pytest.raises(AssertionError, match=rf"claim: +{transform}"):
            testing.assert_equivariant(
                DENOISERS[fault], POINTS,
                skip=[] if transform != "scaling" else ["translation", "rotation", "permutation"],
            )  # fmt: skip


def test_what_a_denoiser_does_not_promise_is_not_asked() -> None:
    """Single queries, methods that say so, large Jacobians, and a type that nobody asks for."""

    class Modest(an.OptimalDenoiser):
        def __call__(self, x: Any, sigma: Any) -> Any:
            return super().__call__(np.atleast_2d(x), sigma)  # (1, D) for (D,)

        def jvp(self, x: Any, sigma: Any, v: Any) -> Any:
            raise NotImplementedError

    testing.assert_denoiser_consistent(Modest(POINTS), POINTS)
    widest = an.PointSet(np.random.default_rng(0).standard_normal((3, _function.MATRIX + 1)))

    class Wide(an.OptimalDenoiser):
        def jacobian(self, x: Any, sigma: Any) -> Any:
            raise AssertionError("asked for a large matrix")

    testing.assert_denoiser_consistent(Wide(widest), widest)
    # only where nobody asks for float32 may it be refused
    with pytest.raises(AssertionError, match=r"claim: +dtype"):
        testing.assert_denoiser_consistent(DENOISERS["always float64"](POINTS), POINTS)
    testing.assert_denoiser_consistent(
        DENOISERS["always float64"](POINTS), POINTS, dtypes=["float64"]
    )
    with pytest.raises(TypeError, match="skip: got 3, expected names"):
        testing.assert_denoiser_consistent(Modest(POINTS), POINTS, skip=3)


def test_likelihood_is_asked_where_theory_speaks() -> None:
    """Out of the ball only a share is asked for; inside it a fall is never excused."""
    wrong = DENOISERS["steps 2.2 times as far"](POINTS)
    with pytest.raises(AssertionError, match="outside the ball"):
        testing.assert_likelihood_ascends(wrong, POINTS)
    testing.assert_likelihood_ascends(wrong, POINTS, steps=[0.3])
    testing.assert_likelihood_ascends(wrong, POINTS, at_least=0.0)
    # twice as far is on the ball's edge, where theory still speaks
    edge = _faults.Overrelaxed(an.OptimalDenoiser(POINTS), factor=2 - 1e-9)
    testing.assert_likelihood_ascends(edge, POINTS)
    with pytest.raises(AssertionError, match="in the ball"):
        testing.assert_likelihood_ascends(
            an.OptimalDenoiser(POINTS),
            POINTS,
            at_least=0.0,
            log_prob=lambda x, s: -an.OptimalDenoiser(POINTS).log_prob(x, s),
        )


def test_data_of_which_nearly_all_weight_is_on_one_point() -> None:
    """Their spread by weight, which sets the usual levels, is far below their diameter."""
    lopsided = an.PointSet([[0.0, 0.0], [1.0, 0.0]], [1.0, 3e-5])
    testing.assert_matches_exact_flow("heun", lopsided)


def test_folklore_is_not_asserted() -> None:
    """log p falls along the flow at ±1, x = 0.01, σ = 0.5 (A4); at one σ the step climbs."""
    pair = an.PointSet([[1.0], [-1.0]])
    testing.assert_likelihood_ascends(an.OptimalDenoiser(pair), pair, [[0.01]], 0.5)


def test_distances_from_hulls() -> None:
    """Against distances known by construction, and linear programming."""
    from scipy.optimize import linprog

    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.5, 0.5]])
    for y, distance in (
        ([0.3, 0.7], 0.0), ([2.0, 0.5], 1.0), ([2.0, 2.0], np.sqrt(2)), ([0.5, -1e-9], 1e-9),
        ([1.0, 1.0], 0.0), ([0.5, 0.0], 0.0),
    ):  # fmt: skip
        found = gap(np.array(y), square)
        assert found.least == pytest.approx(distance, rel=1e-6, abs=1e-15)
        assert found.most == pytest.approx(distance, rel=1e-6, abs=1e-14)
    rng = np.random.default_rng(0)
    inside = 0
    for dim, count in ((1, 4), (2, 6), (3, 8), (6, 30)):
        rows = rng.standard_normal((count, dim))
        for _ in range(20):
            y = 0.6 * rng.standard_normal(dim)
            found = gap(y, rows)
            equal = np.vstack([rows.T, np.ones(count)])
            program = linprog(np.zeros(count), A_eq=equal, b_eq=np.append(y, 1.0))
            assert (found.least > 0) == (program.status == 2)
            assert found.most - found.least <= 1e-12 * np.abs(rows).max()
            inside += found.least == 0
    assert 20 <= inside <= 60


def test_a_hull_needs_the_exact_search() -> None:
    """Just outside of a face of a simplex, where random half-spaces and that of the mean miss."""
    dim = 12
    points = an.PointSet(np.eye(dim))
    y = np.full(dim, 1 / dim)
    y[0], y[1] = -1e-4, y[1] + 1 / dim + 1e-4
    testing.assert_in_hull(y, points, exact=False)
    with pytest.raises(AssertionError, match="the hull searched"):
        testing.assert_in_hull(y, points)


def test_rows_that_are_not_finite_fail() -> None:
    with pytest.raises(AssertionError, match="row 1 of 2"):
        testing.assert_in_hull([[0.0, 0.0], [np.nan, 0.0]], POINTS, rtol=10.0)
    with pytest.raises(AssertionError, match="row 1 of 2"):
        testing.assert_collapses([POINTS.points[0], [np.nan, 0.0]], POINTS)


def test_a_jump_to_zero_is_certified_where_it_jumps_from() -> None:
    points = data("moons")
    D = an.OptimalDenoiser(points)
    late, early = ([*an.grids.polynomial(18, 80.0, low), 0.0] for low in (0.002, 0.5))
    x = exact("moons").states[0]
    testing.assert_collapses(an.sample(D, x, late, solver="heun"), points)
    with pytest.raises(AssertionError):
        testing.assert_collapses(an.sample(D, x, early, solver="heun"), points)
    # between two points, yet near enough to one for a loose bound
    pair = an.PointSet([[1.0], [-1.0]])
    testing.assert_collapses([[0.0]], pair, sigma=0.5, certified=False)
    with pytest.raises(AssertionError, match=r"certified at σ = 0\.5"):
        testing.assert_collapses([[0.0]], pair, sigma=0.5)


def test_the_quasi_linear_bound_is_the_theorem() -> None:
    """A path of two steps through outputs a diameter apart comes within a factor of two of it."""
    outputs = np.array([[[0.0, 1.0]], [[0.0, -1.0]], [[0.0, -1.0]]])
    sigmas, x = np.array([100.0, 50.0, 0.0]), [np.array([[100.0, 0.0]])]
    for k in range(2):
        share = sigmas[k + 1] / sigmas[k]
        x.append(share * x[-1] + (1 - share) * outputs[k])
    zeros = np.zeros(1, dtype=np.int64)
    run = an.Trajectory(sigmas, np.stack(x), outputs, zeros, np.zeros(1), zeros)
    testing.assert_quasi_linear(run)
    with pytest.raises(AssertionError, match="σ = 50"):
        testing.assert_quasi_linear(replace(run, denoised=outputs / 2.5))


# short names for the table
mean_shift = testing.assert_mean_shift_equivalent
ascends = testing.assert_likelihood_ascends
consistent = testing.assert_denoiser_consistent
exact_flow = testing.assert_matches_exact_flow
in_hull = testing.assert_in_hull
equivariant = testing.assert_equivariant
quasi_linear = testing.assert_quasi_linear
collapses = testing.assert_collapses
order = testing.assert_order


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mean_shift(3, POINTS), TypeError, "denoiser: got 3"),
        (lambda: mean_shift(WRONG, "x"), TypeError, "points"),
        (lambda: mean_shift(WRONG, POINTS, [[1.0]], 1.0), ValueError, "x"),
        (lambda: mean_shift(WRONG, POINTS, [[1.0, 2]]), ValueError, "sigma"),
        (lambda: mean_shift(WRONG, POINTS, sigma=-1.0), ValueError, "sigma"),
        (lambda: mean_shift(WRONG, POINTS, np.ones((0, 2)), 1), ValueError, "x"),
        (lambda: mean_shift(WRONG, POINTS, count=0), ValueError, "count"),
        (lambda: mean_shift(WRONG, POINTS, rtol="a"), TypeError, "rtol"),
        (lambda: mean_shift(WRONG, POINTS, seed=-1), ValueError, "seed"),
        (lambda: consistent(np.sin), ValueError, "points_or_dim"),
        (lambda: consistent(WRONG, 2, skip="score,jvp"), ValueError, "skip"),
        (lambda: consistent(WRONG, 2, dtypes=()), ValueError, "dtypes"),
        (lambda: ascends(WRONG, POINTS, at_least=2), ValueError, "at_least"),
        (lambda: ascends(WRONG, POINTS, steps=[]), ValueError, "steps"),
        (lambda: ascends(WRONG, POINTS, log_prob=3), TypeError, "log_prob"),
        (lambda: in_hull([[1.0]], POINTS), ValueError, "outputs"),
        (lambda: in_hull([1.0, 2.0], POINTS, exact=1), TypeError, "exact"),
        (lambda: equivariant(3, POINTS), TypeError, "build"),
        (lambda: equivariant(an.OptimalDenoiser, POINTS, skip="turn"), ValueError, "skip"),
        (lambda: quasi_linear(np.ones((2, 1, 2))), ValueError, "trajectory"),
        (lambda: quasi_linear([1.0, 2.0]), ValueError, "trajectory"),
        (lambda: quasi_linear(exact("moons"), bound=-1), ValueError, "bound"),
        (lambda: quasi_linear(exact("moons"), points=[[1.0]]), ValueError, "points"),
        (lambda: collapses(exact("moons"), POINTS, sigma=0.1), ValueError, "sigma"),
        (lambda: collapses([[1.0]], POINTS), ValueError, "trajectory"),
        (lambda: order("heun", 0), ValueError, "p"),
        (lambda: order("hun", 2), ValueError, "solver"),
        (lambda: order("heun", 2, sizes=[4, 8]), ValueError, "sizes"),
        (lambda: order("heun", 2, exactly=1), TypeError, "exactly"),
        (lambda: exact_flow("heun", np.sin), ValueError, "x"),
        (lambda: exact_flow("heun", POINTS, sigmas=[1, 2]), ValueError, "sigmas"),
        (lambda: exact_flow("heun", POINTS, atol=-1), ValueError, "atol"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(
    call: Callable[[], None], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=rf"^{words}"):
        call()


def test_reach_of_the_package() -> None:
    assert an.testing is testing
    for name in testing.__all__:
        assert getattr(an.testing, name).__doc__.startswith("Assert that")


if __name__ == "__main__":
    for kind, fault, found in table():
        words = [key if hit is True else f"{key}{hit}" for key, hit in found.items() if hit]
        print(f"{kind:11} {fault:32} {' '.join(words) or 'SURVIVES'}", flush=True)
