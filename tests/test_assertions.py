"""Assertions pass on the truth, and fail on planted faults, with messages that reproduce.

`python tests/test_assertions.py` prints the table of faults: who catches whom.
"""

from __future__ import annotations

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
    "unipc": 3,
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
    testing.assert_matches_exact_flow(mine, CLOSED["gaussian"], rtol=1e-3, atol=2e-3)


# Planted faults


POINTS = mutants.points()


def wrapped(change: Callable[..., Any]) -> Build:
    """A build whose denoisers are change(optimal denoiser, x, σ)."""

    def build(points: an.PointSet) -> Any:
        return partial(change, an.OptimalDenoiser(points))

    return build


class _Method(an.OptimalDenoiser):
    """An optimal denoiser with one wrong method."""


def method(name: str, change: Callable[..., Any]) -> Build:
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
        return self.inner(x, sigma) + 1e-12 * self.rng.standard_normal(np.shape(x))


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
    """float32 queries are expanded: |x|² - 2xy + |y|² loses all digits at small σ."""
    if np.asarray(x).dtype == np.float64:
        return D(x, sigma)
    q, p = np.asarray(x), D.points.points.astype(np.float32)
    s = np.reshape(sigma, (-1, 1)).astype(np.float32)
    logits = -((q * q).sum(axis=-1)[:, None] - 2 * q @ p.T + (p * p).sum(axis=1)) / (2 * s * s)
    logits = logits + D.points.log_weights.astype(np.float32)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)) @ p


DENOISERS: dict[str, Build] = {
    **{
        name: lambda points, make=make: make(points).denoiser
        for name, (make, _) in mutants.DENOISERS.items()
    },
    "constant of 1e-3 in σ": _faults.Floored,
    "a share of σ stays in e_1": _faults.Leaning,
    "steps the wrong way": lambda p: _faults.Overrelaxed(an.OptimalDenoiser(p), factor=-1.0),
    "steps a hundredth short": lambda p: _faults.Overrelaxed(an.OptimalDenoiser(p), factor=0.99),
    "steps 2.2 times as far": lambda p: _faults.Overrelaxed(an.OptimalDenoiser(p), factor=2.2),
    "every other point": _faults.thinned,
    "a batch axis too many": wrapped(lambda D, x, s: D(x, s)[None]),
    "one row of the batch": wrapped(lambda D, x, s: D(x, s)[:1]),
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
    "float32 queries expanded": wrapped(_half),
    "score's sign": method("score", lambda found, x, s: -found),
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
    for s, t in zip(sigmas[:-1], sigmas[1:], strict=True):
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
    "Heun that averages outputs": (_of("heun", "Heun that averages outputs"), 2),
    "2M with its ratio upside down": (_of("dpmpp_2m", "2M with its ratio upside down"), 2),
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
    "flow a hundredth too strong": (
        lambda D, x, s: _faults.overshooting_flow(D, x, s[0], s[-1], save_at=s), 4),
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


if __name__ == "__main__":
    for kind, fault, found in table():
        words = [key if hit is True else f"{key}{hit}" for key, hit in found.items() if hit]
        print(f"{kind:11} {fault:32} {' '.join(words) or 'SURVIVES'}", flush=True)
