"""What flows carry beside their states, and the flow up in noise, against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import OptimalDenoiser, PointSet, encode, flow, integrate
from analytic.exact import gaussian_flow, quantile_flow, quantile_gain, two_point_flow
from analytic.field import rounding_noise
from analytic.quantities import NAMES
from analytic.trajectory import Result

TIGHT: dict[str, Any] = {"rtol": 1e-11, "atol": 1e-13}
GAUSSIAN = an.GaussianDenoiser([0.5, -1.0, 0.0], np.diag([4.0, 1.0, 0.01]))


def random_points(seed: int, count: int, dim: int) -> PointSet:
    rng = np.random.default_rng([21, seed])
    return PointSet(rng.standard_normal((count, dim)), rng.dirichlet(np.ones(count)) + 1e-9)


def example(name: str) -> tuple[OptimalDenoiser, float]:
    """A data set, and a level where its flow has all but ended."""
    if name == "digits":
        pytest.importorskip("sklearn", reason="scikit-learn is optional")
        return OptimalDenoiser(an.datasets.digits(200)), 0.2
    made = {"moons": an.datasets.two_moons, "eight": an.datasets.eight_gaussians}
    return OptimalDenoiser(made[name](200, seed=0)), 0.02


EXAMPLES = ("moons", "eight", "digits")


# Densities


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_change_of_variables_is_the_density(name: str) -> None:
    """Theory C3: log p at the start and the divergence alone give log p at every level."""
    denoiser, low = example(name)
    x = an.noise(8, denoiser, 80.0, 1)
    run = integrate(denoiser, x, 80.0, low, quantities=("log_prob",), **TIGHT)
    assert run.ok
    assert run.log_prob.shape == run.log_prob_flow.shape == (64, 8)
    for k, sigma in enumerate(run.sigmas):
        np.testing.assert_array_equal(run.log_prob[k], denoiser.log_prob(run.states[k], sigma))
    assert np.ptp(run.log_prob, axis=0).min() > 5
    assert np.abs(run.log_prob - run.log_prob_flow).max() <= 1e-9


@pytest.mark.parametrize("name", EXAMPLES)
def test_densities_up_in_noise(name: str) -> None:
    denoiser, low = example(name)
    x = denoiser.points.points[:6] + an.noise(6, denoiser, low, 2)
    run = encode(denoiser, x, low, 80.0, quantities=("log_prob",), **TIGHT)
    assert run.ok
    assert np.abs(run.log_prob - run.log_prob_flow).max() <= 1e-9


@pytest.mark.parametrize(
    "denoiser",
    [
        GAUSSIAN,
        an.LowRankGaussianDenoiser([0.0, 1.0, 2.0], [[1.0], [1.0], [0.0]], [2.0], 0.1),
        an.GaussianMixtureDenoiser([1, 2], [[1.0, 0, 0], [-1.0, 0, 2]], [0.3, 0.01]),
    ],
    ids=lambda d: type(d).__name__,
)
def test_densities_of_other_denoisers(denoiser: Any) -> None:
    x = an.noise(5, 3, 80.0, 3)
    run = integrate(denoiser, x, 80.0, 0.01, quantities=("log_prob",), **TIGHT)
    assert run.ok
    assert np.abs(run.log_prob - run.log_prob_flow).max() <= 1e-9


def test_no_density_without_noise() -> None:
    denoiser, _ = example("moons")
    run = integrate(denoiser, an.noise(5, denoiser, 80.0, 4), quantities=("log_prob",), **TIGHT)
    assert run.ok
    for found in (run.log_prob, run.log_prob_flow):
        assert np.isnan(found[-1]).all()
        assert np.isfinite(found[:-1]).all()
    # the closed end leaves nothing of the integral behind
    assert np.abs(run.log_prob - run.log_prob_flow)[:-1].max() <= 1e-9


# Jacobians


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("up", [False, True])
def test_the_jacobian_on_a_line_is_a_ratio_of_densities(seed: int, up: bool) -> None:
    """Theory C4: dx_s/dx_T = p_T/p_s."""
    points = random_points(seed, 9, 1)
    first, last = (0.1, 80.0) if up else (80.0, 0.1)
    x = first * np.random.default_rng(seed).standard_normal((6, 1))
    ends = (0.1, 80.0) if up else (80.0, 0.1)
    run = (encode if up else integrate)(
        OptimalDenoiser(points), x, *ends, quantities=("jacobian",), tangent=3 * x, **TIGHT
    )
    assert run.ok
    assert run.sigmas[[0, -1]].tolist() == [first, last]
    for k, sigma in enumerate(run.sigmas):
        gain = quantile_gain(points, x, first, run.states[k], float(sigma))
        # the ratio amplifies the error of the state by the score
        np.testing.assert_allclose(run.jacobian[k, :, 0, 0], gain, rtol=1e-8)
        np.testing.assert_allclose(run.tangent[k], gain[:, None] * 3 * x, rtol=1e-8)


def test_the_jacobian_of_gaussian_data() -> None:
    x = an.noise(4, 3, 80.0, 5)
    run = integrate(GAUSSIAN, x, 80.0, 0.01, quantities=("jacobian",), **TIGHT)
    width = np.sqrt(np.diag(GAUSSIAN.covariance))
    for k, sigma in enumerate(run.sigmas):
        gain = np.hypot(width, sigma) / np.hypot(width, 80.0)
        np.testing.assert_allclose(
            run.jacobian[k], np.broadcast_to(np.diag(gain), (4, 3, 3)), rtol=1e-10, atol=1e-14
        )


@pytest.mark.parametrize("name", ["moons", "digits"])
def test_the_tangent_is_the_difference_of_neighbours(name: str) -> None:
    denoiser, low = example(name)
    x = an.noise(4, denoiser, 80.0, 6)
    v = np.random.default_rng(6).standard_normal(x.shape)
    low = max(low, 0.3)
    run = integrate(denoiser, x, 80.0, low, tangent=v, quantities=("jacobian",), **TIGHT)
    np.testing.assert_allclose(
        run.tangent, np.einsum("tbij,bj->tbi", run.jacobian, v), rtol=1e-9, atol=1e-11
    )
    h, total = 1e-2, np.zeros_like(run.states)
    for k, weight in ((1, 45.0), (2, -9.0), (3, 1.0)):
        for sign in (1, -1):
            near = integrate(denoiser, x + sign * k * h * v, 80.0, low, rtol=1e-13, atol=1e-15)
            total += sign * weight * near.states / (60 * h)
    np.testing.assert_allclose(run.tangent, total, rtol=1e-7, atol=1e-9)


def test_the_determinant_is_the_change_of_density() -> None:
    denoiser, low = example("eight")
    x = an.noise(6, denoiser, 80.0, 7)
    run = integrate(denoiser, x, 80.0, low, quantities=("log_prob", "jacobian"), **TIGHT)
    sign, log_volume = np.linalg.slogdet(run.jacobian)
    assert (sign == 1).all()
    np.testing.assert_allclose(log_volume, run.log_prob[0] - run.log_prob, atol=1e-8)


def test_jacobian_by_either_method() -> None:
    whole = an.GaussianMixtureDenoiser(None, [[1.0, 0.0], [-1.0, 1.0]], [0.1, 0.3])

    class One:
        def __init__(self, name: str) -> None:
            setattr(self, name, getattr(whole, name))

        def __call__(self, x: Any, sigma: Any) -> Any:
            return whole(x, sigma)

    x = an.noise(3, 2, 10.0, 8)
    runs = [
        integrate(each, x, 10.0, 0.1, quantities=("jacobian",), tangent=x)
        for each in (whole, One("jacobian"), One("jvp"))
    ]
    for run in runs[1:]:
        np.testing.assert_allclose(run.jacobian, runs[0].jacobian, rtol=1e-9)
        np.testing.assert_allclose(run.tangent, runs[0].tangent, rtol=1e-9)


def test_maps_to_data_points_are_flat() -> None:
    denoiser, _ = example("moons")
    x = an.noise(5, denoiser, 80.0, 9)
    run = integrate(denoiser, x, quantities=("jacobian",), tangent=x)
    assert run.ok
    assert not run.jacobian[-1].any()
    assert not run.tangent[-1].any()
    assert (np.abs(run.jacobian[:-1]).max(axis=(2, 3)) > 0).all()


# Lengths and curvatures


def test_the_length_of_a_straight_line() -> None:
    x = np.array([[3.0, -40.0], [100.0, 2.0]])
    denoiser = OptimalDenoiser([[1.0, -2.0]])
    far = np.linalg.norm(x - [1.0, -2.0], axis=1)
    run = integrate(denoiser, x, 80.0, 0.0, quantities=("arc_length", "curvature"))
    np.testing.assert_allclose(
        run.arc_length, far * (1 - run.sigmas[:, None] / 80), rtol=1e-12, atol=1e-12
    )
    assert not run.curvature.any()
    stepped = integrate(
        lambda q, s: denoiser(q, s), x, 80.0, 1.0, quantities=("arc_length",), **TIGHT
    )
    np.testing.assert_allclose(stepped.arc_length[-1], far * (1 - 1 / 80), rtol=1e-12)
    back = encode(denoiser, run.states[-2], run.sigmas[-2], 80.0, quantities=("arc_length",))
    np.testing.assert_allclose(back.arc_length[-1], run.arc_length[-2], rtol=1e-10)


@pytest.mark.parametrize("low", [0.0, 0.1])
def test_the_length_is_that_of_a_fine_polygon(low: float) -> None:
    denoiser, _ = example("moons")
    x = an.noise(4, denoiser, 10.0, 10)
    levels = np.concatenate([np.geomspace(10.0, 1e-5, 4000), [0.0]])
    levels = levels[levels >= low]
    run = integrate(
        denoiser, x, 10.0, low, save_at=levels, quantities=("arc_length",), estimate_error=False
    )
    chords = np.linalg.norm(np.diff(run.states, axis=0), axis=2).cumsum(axis=0)
    assert (run.arc_length[1:] >= chords * (1 - 1e-9)).all()
    np.testing.assert_allclose(run.arc_length[1:], chords, rtol=1e-5)
    direct = integrate(denoiser, x, 10.0, low, save_at=[], quantities=("arc_length",), **TIGHT)
    np.testing.assert_allclose(direct.arc_length[-1], run.arc_length[-1], rtol=1e-9)


@pytest.mark.parametrize("kind", ["points", "mixture", "function"])
def test_curvature_is_that_of_the_path(kind: str) -> None:
    """κ = |x' ∧ x''|/|x'|³ by differences of a tightly integrated path."""
    points = random_points(3, 7, 3)
    mixture = an.GaussianMixtureDenoiser(None, points.points, np.full(7, 0.01))
    denoiser: Any = {
        "points": OptimalDenoiser(points),
        "mixture": mixture,
        "function": lambda q, s: mixture(q, s),
    }[kind]
    x = an.noise(5, 3, 20.0, 11)
    for level in (8.0, 2.0, 1.0):
        h = 2e-3 * level
        levels = level + h * np.arange(3, -4, -1)
        run = integrate(
            denoiser, x, 20.0, levels[-1], save_at=levels, quantities=("curvature",), rtol=1e-13
        )
        y = run.states[1:]
        first = (-y[6] + 9 * y[5] - 45 * y[4] + 45 * y[2] - 9 * y[1] + y[0]) / (60 * h)
        second = (
            2 * (y[6] + y[0]) - 27 * (y[5] + y[1]) + 270 * (y[4] + y[2]) - 490 * y[3]
        ) / (180 * h * h)  # fmt: skip
        along = (first * second).sum(axis=1, keepdims=True) / (first**2).sum(axis=1, keepdims=True)
        bend = np.linalg.norm(second - along * first, axis=1)
        np.testing.assert_allclose(run.curvature[4], bend / (first**2).sum(axis=1), rtol=1e-4)


# The posterior


def test_the_posterior_along_the_path() -> None:
    denoiser, _ = example("moons")
    run = integrate(denoiser, an.noise(5, denoiser, 80.0, 12), quantities=("posterior",))
    post, top = run.posterior, run.posterior.top(3)
    assert post.mean.shape == (64, 5, 2)
    assert top.index.shape == top.weight.shape == (64, 5, 3)
    for k in (0, 20, 40, 62):
        here = denoiser.posterior(run.states[k], run.sigmas[k])
        for name in ("mean", "log_prob", "trace_cov", "entropy", "effective_points"):
            np.testing.assert_array_equal(getattr(post, name)[k], getattr(here, name))
        np.testing.assert_array_equal(top.index[k], here.top(3).index)
        np.testing.assert_array_equal(top.weight[k], here.top(3).weight)
    np.testing.assert_array_equal(post.mean[-1], run.final)
    assert np.isnan(post.log_prob[-1]).all()
    assert not post.trace_cov[-1].any()
    assert (post.effective_points[-1] == 1).all()
    assert (top.index[-1] == -1).all()


# Data that span few dimensions


def embedded(count: int, rank: int, dim: int) -> np.ndarray:
    rng = np.random.default_rng(13)
    turn = np.linalg.qr(rng.standard_normal((dim, rank)))[0].T
    return rng.standard_normal((count, rank)) @ turn + rng.standard_normal(dim)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("data", [embedded(40, 3, 20), embedded(5, 5, 20)], ids=["flat", "few"])
def test_quantities_in_the_span(data: np.ndarray, up: bool, monkeypatch: Any) -> None:
    denoiser = OptimalDenoiser(data)
    low = 0.3
    x = an.noise(4, denoiser, low if up else 80.0, 14) + denoiser.points.mean
    v = np.random.default_rng(14).standard_normal(x.shape)
    ends = (low, 80.0) if up else (80.0, low)
    solve: Any = encode if up else integrate
    assert flow.in_span(denoiser) is not None
    short = solve(denoiser, x, *ends, quantities=NAMES, tangent=v, **TIGHT)
    monkeypatch.setattr(flow, "in_span", lambda _: None)
    long = solve(denoiser, x, *ends, quantities=NAMES, tangent=v, **TIGHT)
    assert short.ok
    assert long.ok
    for name in ("log_prob", "log_prob_flow", "jacobian", "tangent", "arc_length", "curvature"):
        there = getattr(long, name)
        scale = np.abs(there).max()
        np.testing.assert_allclose(
            getattr(short, name), there, rtol=1e-7, atol=1e-9 * scale, err_msg=name
        )
    for name in ("mean", "log_prob", "trace_cov", "entropy"):
        np.testing.assert_allclose(
            getattr(short.posterior, name), getattr(long.posterior, name), rtol=1e-8, atol=1e-8
        )
    np.testing.assert_array_equal(short.posterior.top(2).index, long.posterior.top(2).index)
    for k, sigma in enumerate(short.sigmas):
        np.testing.assert_allclose(
            short.log_prob[k], denoiser.log_prob(short.states[k], sigma), atol=1e-9
        )
    np.testing.assert_allclose(short.log_prob, short.log_prob_flow, atol=1e-9)


def test_the_whole_length_in_the_span() -> None:
    """To σ = 0 the end is closed: the part outside the span counts there too."""
    denoiser = OptimalDenoiser(embedded(5, 5, 20))
    x = an.noise(4, denoiser, 5.0, 15)
    levels = np.concatenate([np.geomspace(5.0, 1e-5, 3000), [0.0]])
    run = integrate(denoiser, x, 5.0, save_at=levels, quantities=("arc_length",))
    chords = np.linalg.norm(np.diff(run.states, axis=0), axis=2).sum(axis=0)
    np.testing.assert_allclose(run.arc_length[-1], chords, rtol=1e-5)


# The form of the answers


def test_what_is_not_asked_for_is_none() -> None:
    denoiser, low = example("moons")
    x = an.noise(3, denoiser, 80.0, 16)
    fields = ("log_prob", "log_prob_flow", "jacobian", "tangent", "arc_length", "curvature")
    fields = (*fields, "posterior")
    plain = integrate(denoiser, x, 80.0, low)
    assert all(getattr(plain, name) is None for name in fields)
    made = {name: {name} for name in NAMES} | {"log_prob": {"log_prob", "log_prob_flow"}}
    for name in NAMES:
        run = integrate(denoiser, x, 80.0, low, quantities=[name])
        assert {each for each in fields if getattr(run, each) is not None} == made[name]
        assert np.linalg.norm(run.final - plain.final, axis=1).max() <= 1e-8
    # what needs no path leaves the states as they are
    same = integrate(denoiser, x, 80.0, low, quantities=("curvature", "posterior"))
    np.testing.assert_array_equal(same.states, plain.states)


@pytest.mark.parametrize("low", [0.0, 0.05])
def test_rows_with_quantities_do_not_feel_their_batch_mates(low: float) -> None:
    points = an.datasets.two_moons(24, seed=1)
    denoiser = OptimalDenoiser(points)
    x = an.noise(6, points, 80.0, 2) * 10 ** np.linspace(-2, 1, 6)[:, None]
    whole = integrate(denoiser, x, 80.0, low, quantities=NAMES, tangent=x)
    for k in range(6):
        alone = integrate(denoiser, x[k : k + 1], 80.0, low, quantities=NAMES, tangent=x[k : k + 1])
        part = whole.select([k])
        for name in ("states", "nfe", "log_prob", "log_prob_flow", "jacobian", "tangent"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(part, name))
        for name in ("arc_length", "curvature"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(part, name))
        np.testing.assert_array_equal(alone.posterior.entropy, part.posterior.entropy)
        np.testing.assert_array_equal(alone.posterior.top(2).index, part.posterior.top(2).index)


def test_trajectories_that_fail_keep_what_they_have() -> None:
    denoiser, _ = example("moons")
    x = an.noise(3, denoiser, 80.0, 17)
    run = integrate(denoiser, x, 80.0, 0.01, max_steps=6, quantities=NAMES, tangent=x)
    assert (run.result == Result.MAX_STEPS).all()
    gone = np.isnan(run.states).any(axis=2)
    assert gone[-1].all()
    assert not gone[:2].any()
    posterior = run.posterior
    for found in (
        run.log_prob,
        run.log_prob_flow,
        run.jacobian,
        run.tangent,
        run.arc_length,
        run.curvature,
        posterior.log_prob,
        posterior.entropy,
        posterior.mean,
        posterior.top(1).weight,
    ):
        np.testing.assert_array_equal(np.isnan(found).reshape(64, 3, -1).any(axis=2), gone)
        np.testing.assert_array_equal(np.isnan(found).reshape(64, 3, -1).all(axis=2), gone)


def test_a_separatrix_has_no_limits() -> None:
    run = integrate(
        OptimalDenoiser([[-1.0], [1.0]]),
        [[0.0], [30.0]],
        rtol=1e-5,
        quantities=NAMES,
        tangent=[[1.0], [1.0]],
    )
    assert run.result.tolist() == [Result.UNDECIDED, Result.DONE]
    for found in (run.arc_length, run.curvature, run.tangent[..., 0], run.posterior.entropy):
        np.testing.assert_array_equal(np.isnan(found[-1]), [True, False])


def test_float32_starts() -> None:
    denoiser, low = example("moons")
    x = an.noise(2, denoiser, 80.0, 18).astype(np.float32)
    run, wide = (
        integrate(denoiser, q, 80.0, low, quantities=NAMES, tangent=q)
        for q in (x, x.astype(np.float64))
    )
    for name in ("log_prob", "log_prob_flow", "jacobian", "tangent", "arc_length", "curvature"):
        assert getattr(run, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(run, name), getattr(wide, name).astype(np.float32))
    assert run.posterior.entropy.dtype == run.posterior.mean.dtype == np.float32


@pytest.mark.parametrize("low", [0.0, 0.1])
def test_no_starts(low: float) -> None:
    denoiser, _ = example("moons")
    none = np.empty((0, 2))
    run = integrate(denoiser, none, 80.0, low, quantities=NAMES, tangent=none)
    assert run.jacobian.shape == (64, 0, 2, 2)
    assert run.tangent.shape == (64, 0, 2)
    assert run.log_prob.shape == run.log_prob_flow.shape == run.arc_length.shape == (64, 0)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"quantities": ("log_prop",)}, ValueError, "quantities: got 'log_prop'.*'log_prob'"),
        ({"quantities": "log_prob"}, TypeError, "quantities: got 'log_prob', expected a tuple"),
        ({"quantities": 3}, TypeError, "quantities: got 3"),
        ({"quantities": (1,)}, TypeError, "quantities: got 1"),
        ({"tangent": [[1.0, 2.0], [1.0, 2.0]]}, ValueError, r"tangent: got shape \(2, 2\)"),
        ({"tangent": [[np.nan, 0.0]]}, ValueError, "tangent: got nan"),
    ],
)
@pytest.mark.parametrize("solve", [integrate, encode])
def test_bad_requests(solve: Any, options: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        solve(OptimalDenoiser([[0.0, 1.0], [2.0, 3.0]]), [[1.0, 2.0]], **options)


@pytest.mark.parametrize(
    ("denoiser", "options", "words"),
    [
        (lambda q, s: q, {"quantities": ("log_prob",)}, "quantities.*log_prob and trace_cov or"),
        (lambda q, s: q, {"quantities": ("jacobian",)}, "quantities.*jacobian or jvp"),
        (lambda q, s: q, {"quantities": ("posterior",)}, "quantities.*without posterior"),
        (lambda q, s: q, {"tangent": [[1.0, 2.0]]}, "tangent.*jacobian or jvp"),
        (
            an.SmoothedDenoiser([[0.0, 1.0], [2.0, 3.0]], 0.1),
            {"quantities": ("log_prob",)},
            r"quantities: got 'log_prob' for a denoiser \(SmoothedDenoiser\) without log_prob",
        ),
    ],
)
def test_quantities_beyond_the_denoiser(denoiser: Any, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        integrate(denoiser, [[1.0, 2.0]], 80.0, 0.1, **options)


# Up in noise


def test_encoding_gaussian_data() -> None:
    x = GAUSSIAN.mean + np.random.default_rng(20).standard_normal((6, 3)) * [2.0, 1.0, 0.1]
    run = encode(GAUSSIAN, x, 0.002, 80.0)
    assert run.ok
    assert (np.diff(run.sigmas) > 0).all()
    assert run.sigmas[[0, -1]].tolist() == [0.002, 80.0]
    assert run.collapse is None
    for state, sigma in zip(run.states, run.sigmas, strict=True):
        exact = gaussian_flow(GAUSSIAN, x, 0.002, float(sigma))
        assert np.abs(state - exact).max() <= 1e-9 * (1 + np.abs(exact).max())
    off = np.linalg.norm(run.final - gaussian_flow(GAUSSIAN, x, 0.002, 80.0), axis=1)
    assert (off <= run.error).all()


@pytest.mark.parametrize("seed", range(10))
def test_encoding_is_the_quantile_map(seed: int) -> None:
    points = random_points(seed, 8, 1)
    low = 0.05
    x = points.points[:6] + low * np.random.default_rng(seed).standard_normal((6, 1))
    levels = np.geomspace(low, 80.0, 17)
    run = encode(OptimalDenoiser(points), x, low, 80.0, save_at=levels)
    assert run.ok
    np.testing.assert_allclose(run.sigmas, levels, rtol=1e-15)
    for state, sigma in zip(run.states, run.sigmas, strict=True):
        exact = quantile_flow(points, x, low, float(sigma))
        assert np.abs(state - exact).max() <= 1e-9 * (1 + np.abs(exact).max())


def test_the_error_of_encoding_is_covered() -> None:
    off, estimate = [], []
    for seed in range(30):
        points = random_points(seed, 8, 1)
        x = points.points[:6] + 0.05 * np.random.default_rng(seed).standard_normal((6, 1))
        run = encode(OptimalDenoiser(points), x, 0.05, 80.0, save_at=[])
        off.append(np.abs(run.final - quantile_flow(points, x, 0.05, 80.0))[:, 0])
        estimate.append(run.error)
    # the quantile map is good to some rounding of its own
    assert (np.concatenate(off) <= np.concatenate(estimate) + 1e-12).mean() >= 0.99
    assert np.median(estimate) <= 3e-9


def test_encoding_two_points() -> None:
    pair = PointSet([[-1.0, 0.0, 2.0], [1.0, 1.0, 0.0]], [0.3, 0.7])
    x = pair.points[[0, 1, 1]] + 0.1 * np.random.default_rng(21).standard_normal((3, 3))
    run = encode(OptimalDenoiser(pair), x, 0.1, 80.0)
    for state, sigma in zip(run.states, run.sigmas, strict=True):
        exact = two_point_flow(pair, x, 0.1, float(sigma))
        assert np.abs(state - exact).max() <= 1e-9 * (1 + np.abs(exact).max())


@pytest.mark.parametrize("name", EXAMPLES)
def test_there_and_back(name: str) -> None:
    denoiser, low = example(name)
    x = denoiser.points.points[:10] + an.noise(10, denoiser, low, 22)
    there = encode(denoiser, x, low, 80.0)
    assert there.ok
    back = integrate(denoiser, there.final, 80.0, low, quantities=("jacobian",))
    assert back.ok
    # an error of the encoding comes back through the map's derivative
    gain = np.linalg.norm(back.jacobian[-1], ord=2, axis=(1, 2))
    apart = np.linalg.norm(back.final - x, axis=1)
    assert (apart <= back.error + gain * there.error).all()
    assert (apart <= back.error + there.error).all()
    assert apart.max() <= 1e-8
    # and levels on the way agree
    middle = encode(denoiser, x, low, 80.0, save_at=[1.0, 10.0])
    same = integrate(denoiser, there.final, 80.0, low, save_at=[1.0, 10.0])
    np.testing.assert_allclose(middle.states[::-1], same.states, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sigma_min": 0.0}, "sigma_min: got 0.0"),
        ({"sigma_min": -1.0}, "sigma_min: got -1.0"),
        ({"sigma_min": 90.0}, "sigma_max: got 80.0, expected more than sigma_min = 90.0"),
        ({"sigma_max": np.inf}, "sigma_max: got inf"),
        ({"save_at": [0.001]}, "save_at: got levels 0.001"),
        ({"rtol": 1e-14}, "rtol: got 1e-14.*1e-13 is what float64 can give"),
        ({"atol": -1.0}, "atol: got -1.0"),
        ({"x": [[np.nan, 0.0]]}, "x: got nan"),
    ],
)
def test_bad_encodings(options: dict[str, Any], words: str) -> None:
    x = options.pop("x", [[1.0, 2.0]])
    with pytest.raises(ValueError, match=f"^{words}"):
        encode(OptimalDenoiser([[0.0, 1.0], [2.0, 3.0]]), x, **options)


# Denoisers with noise of their own


def test_noise_is_found_and_reported() -> None:
    points = np.random.default_rng(10).standard_normal((8, 2))
    denoiser, calls = OptimalDenoiser(points), []

    def coarse(q: np.ndarray, s: Any) -> np.ndarray:
        calls.append(len(q))
        return denoiser(q.astype(np.float32), s)

    run = integrate(coarse, an.noise(4, 2, 80.0, 10), 80.0, 0.05, rtol=1e-12, estimate_error=False)
    assert (run.result == Result.STALLED).all()
    # float32 rounds to 6e-8 of a number of order one
    assert ((run.noise > 3e-9) & (run.noise < 3e-6)).all()
    assert run.explain().startswith("4 x STALLED (rows 0, 1, 2, 3; last state at sigma ")
    assert f"rounding noise there is up to {run.noise.max():.1e}" in run.explain()
    # far from max_steps, and what was reached is kept
    assert sum(calls) < 4 * 20_000
    assert np.isfinite(run.states[0]).all()
    assert np.isnan(run.final).all()
    up = encode(coarse, points[:2] + 0.01, 0.05, 80.0, rtol=1e-13, estimate_error=False)
    assert set(up.result.tolist()) <= {Result.STALLED, Result.DONE}


def test_noise_of_known_size_is_measured() -> None:
    rng = np.random.default_rng(23)
    x = an.noise(200, 3, 10.0, 23)
    for size in (1e-8, 1e-4):
        found = rounding_noise(
            lambda q, s, size=size: np.tanh(q) + size * rng.standard_normal(q.shape), x, 5.0
        )
        # the largest of three coordinates, the least of three places
        assert 0.5 * size < np.median(found) < 2 * size


def test_kinks_are_not_noise() -> None:
    def bent(q: np.ndarray, s: Any) -> np.ndarray:
        return np.tanh(np.abs(q) - 0.3) + 0.3 * np.maximum(q, 0.5)

    run = integrate(bent, an.noise(6, 2, 80.0, 24), 80.0, 0.05, rtol=1e-11)
    assert run.ok
    assert run.noise is None


def test_where_steps_ran_out() -> None:
    denoiser, _ = example("moons")
    run = integrate(
        denoiser, an.noise(2, denoiser, 80.0, 25), 80.0, 0.01, max_steps=1, save_at=[79.0]
    )
    words = run.explain()
    assert words.startswith("2 x MAX_STEPS (rows 0, 1; last state at sigma ")
    assert "raise max_steps" in words
