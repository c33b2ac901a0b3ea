"""Noise, the sampling loop and its solvers, mean shift, and the flow's field."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analytic as an
from analytic import GaussianDenoiser, OptimalDenoiser, PointSet, field, grids, solvers
from analytic.exact import gaussian_flow, quantile_flow
from analytic.testing.strategies import Case, cases
from analytic.trajectory import Result

GAUSS = GaussianDenoiser([1.0, -0.5], [[1.0, 0.3], [0.3, 0.4]])


# Noise


def test_noise_is_sigma_times_standard_normals() -> None:
    a, b = an.noise(50, 3, 1.0, 7), an.noise(50, 3, 80.0, 7)
    np.testing.assert_array_equal(80.0 * a, b)
    big = an.noise(20_000, 2, 2.0, 8)
    # five standard deviations of the sample mean and variance
    assert np.abs(big.mean(axis=0)).max() < 5 * 2 / np.sqrt(20_000)
    assert np.abs(big.var(axis=0) / 4 - 1).max() < 5 * np.sqrt(2 / 20_000)
    assert (an.noise(4, 2, 0.0, 1) == 0).all()


@given(st.integers(0, 20), st.integers(1, 5), st.integers(0, 2**40))
def test_noise_rows_do_not_depend_on_their_number(n: int, dim: int, seed: int) -> None:
    np.testing.assert_array_equal(an.noise(n, dim, 3.0, seed), an.noise(25, dim, 3.0, seed)[:n])


def test_noise_takes_the_dimension_from_anything() -> None:
    points = PointSet(np.random.default_rng(0).standard_normal((4, 3)))
    expected = an.noise(2, 3, 1.0, 0)
    for like in (points, OptimalDenoiser(points), points.points, np.int64(3)):
        np.testing.assert_array_equal(an.noise(2, like, 1.0, 0), expected)


@pytest.mark.parametrize(
    ("args", "kind", "words"),
    [
        ((-1, 2, 1.0, 0), ValueError, "n: got -1"),
        ((1.0, 2, 1.0, 0), TypeError, "n: got 1.0"),
        ((1, 0, 1.0, 0), ValueError, "like: got 0"),
        ((1, "2", 1.0, 0), TypeError, "like: got '2'"),
        ((1, np.zeros(3), 1.0, 0), TypeError, "like: got an array"),
        ((1, 2, -1.0, 0), ValueError, "sigma: got -1.0"),
        ((1, 2, np.nan, 0), ValueError, "sigma: got nan"),
        ((1, 2, 1.0, -1), ValueError, "seed: got -1"),
        ((1, 2, 1.0, None), TypeError, "seed: got None"),
        ((10**15, 2, 1.0, 0), ValueError, "n: got 1000000000000000 x 2"),
    ],
)
def test_bad_noise(args: tuple, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        an.noise(*args)


# Solvers, written out as in the papers


def literal_euler(denoiser: Any, x: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """DDIM in ε-form: x + (t - s) ε, ε = (x - D)/s."""
    for s, t in itertools.pairwise(sigmas):
        x = x + (t - s) * (x - denoiser(x, s)) / s
    return x


def literal_heun(denoiser: Any, x: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """EDM, algorithm 1."""
    for s, t in itertools.pairwise(sigmas):
        d = (x - denoiser(x, s)) / s
        ahead = x + (t - s) * d
        if t != 0:
            d = 0.5 * d + 0.5 * (ahead - denoiser(ahead, t)) / t
            ahead = x + (t - s) * d
        x = ahead
    return x


LITERAL = {"euler": literal_euler, "heun": literal_heun}


@pytest.mark.parametrize("low", [0.0, 0.4])
@pytest.mark.parametrize("solver", LITERAL)
def test_solvers_match_the_papers(solver: str, low: float) -> None:
    denoiser = OptimalDenoiser(np.random.default_rng(1).standard_normal((9, 3)))
    x, sigmas = an.noise(7, 3, 80.0, 1), grids.polynomial(13, 80.0, low)
    expected = LITERAL[solver](denoiser, x, sigmas)
    found = an.sample(denoiser, x, sigmas, solver)
    np.testing.assert_allclose(found.final, expected, rtol=1e-13, atol=1e-13)
    assert found.ok
    for output, state, sigma in zip(found.denoised, found.states, sigmas, strict=True):
        np.testing.assert_array_equal(output, denoiser(state, sigma) if sigma else state)


DECLARED = [
    solvers.get(name, **options)
    for name, options in [
        ("euler", {}),
        ("heun", {}),
        ("dpm_2", {}),
        ("dpm_2", {"r": 0.8}),
        ("dpmpp_2s", {}),
        ("dpmpp_2s", {"r": 0.3}),
        ("dpmpp_2m", {}),
        ("dpmpp_2m", {"lower_order_final": True}),
        ("dpmpp_3m", {}),
        ("dpmpp_3m", {"lower_order_final": True}),
        ("dpm_2m", {}),
        ("dpm_3m", {}),
        *(("ipndm", {"order": k}) for k in (1, 2)),
        *(("lms", {"order": k}) for k in (1, 2, 3, 4)),
        *(("deis", {"order": k}) for k in (1, 2, 3, 4)),
        *(("unipc", {"order": k, "variant": v}) for k in (1, 2, 3) for v in ("bh1", "bh2")),
        ("unipc", {"lower_order_final": True}),
        ("rk4", {}),
        ("ancestral", {"eta": 0.0}),
    ]
]
LINE = PointSet([[-1.0], [0.2], [1.4]], weights=[0.5, 0.2, 0.3])


def labels(solver: solvers.Solver) -> str:
    return solver.label


def slope(errors: list[float]) -> float:
    """Of log error against log step, where the steps halve."""
    return -np.polyfit(np.arange(len(errors)), np.log2(errors), 1)[0]


@pytest.mark.parametrize("solver", DECLARED, ids=labels)
def test_measured_order(solver: solvers.Solver) -> None:
    """Against closed-form flows, over five halvings. They start where D hardly changes: a
    multistep solver's first step is Euler's, whose error would have order 2 for ever."""
    high, first = 1000.0, {1: 64, 2: 96, 3: 192, 4: 256}[solver.order]
    gauss, line = an.noise(3, 2, high, 1), an.noise(8, 1, high, 2)
    for denoiser, x, low, exact in (
        (GAUSS, gauss, 0.4, gaussian_flow(GAUSS, gauss, high, 0.4)),
        (OptimalDenoiser(LINE), line, 1.2, quantile_flow(LINE, line, high, 1.2)),
    ):
        errors = [
            np.linalg.norm(
                an.sample(denoiser, x, grids.polynomial(n + 1, high, low, rho=20), solver).final
                - exact
            )
            for n in first * 2 ** np.arange(6)
        ]
        assert abs(slope(errors) - solver.order) <= 0.15


SECOND_IN_THE_END = [
    solvers.get("dpmpp_3m", variant="released"),
    solvers.get("dpm_3m", variant="released"),
    solvers.get("ipndm", order=3),
    solvers.get("ipndm", order=4),
]


@pytest.mark.parametrize("solver", SECOND_IN_THE_END, ids=labels)
def test_names_of_higher_order_that_are_of_second(solver: solvers.Solver) -> None:
    """The released third order lacks half of a second difference, iPNDM takes unequal steps for
    equal ones. They say so, and the exact weights are far better."""
    x = an.noise(3, 2, 4.0, 1)
    exact = gaussian_flow(GAUSS, x, 4.0, 0.4)
    errors = [
        np.linalg.norm(an.sample(GAUSS, x, grids.polynomial(n + 1, 4.0, 0.4), solver).final - exact)
        for n in 128 * 2 ** np.arange(6)
    ]
    assert abs(slope(errors) - 2) <= 0.15
    assert solver.order == 2


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_adams_weights_are_exact_for_polynomials(order: int) -> None:
    """With ε a polynomial of σ below the order, lms makes no error from an exact start, and
    iPNDM only on equal steps."""
    rng = np.random.default_rng(order)
    slopes = np.polynomial.Polynomial(rng.standard_normal(order))
    path = slopes.integ()
    levels = np.array([5.0, 4.1, 2.9, 2.2, 1.0])
    equal = np.linspace(5.0, 1.0, 5)
    for name, sigmas in (("lms", levels), ("lms", equal), ("ipndm", equal)):
        nodes = tuple(
            solvers.Node(s, path(s) * np.ones((1, 1)), (path(s) - s * slopes(s)) * np.ones((1, 1)))
            for s in sigmas[4 - order : 4][::-1]
        )
        found = solvers.get(name, order=order).step(lambda x, s: x, nodes, sigmas[4])
        assert found[0, 0] == pytest.approx(path(1.0), abs=1e-12)
    if order > 1:
        nodes = tuple(node._replace(sigma=s) for node, s in zip(nodes, levels[3::-1], strict=False))
        found = solvers.get("ipndm", order=order).step(lambda x, s: x, nodes, 1.0)
        assert abs(found[0, 0] - path(1.0)) > 1e-3


def test_all_solvers_are_exact_for_a_constant_denoiser() -> None:
    """Weights add up: x(t) = c + (t/s)(x - c), on any grid, with σ = 0 and a jump, too."""
    c = np.array([[0.3, -0.7]])
    x = np.array([[30.0, -70.0], [0.1, 5.0]])
    for solver in [*DECLARED, *SECOND_IN_THE_END]:
        for low in (1.5, 0.0):
            sigmas = np.array([80.0, 33.0, 11.0, 8.0, 5.0, 2.0, low])
            found = an.sample(lambda q, s: 0 * q + c, x, sigmas, solver)
            expected = c + sigmas[:, None, None] / 80 * (x - c)
            np.testing.assert_allclose(found.states, expected, rtol=0, atol=2e-13)


@pytest.mark.parametrize("solver", [*DECLARED, *SECOND_IN_THE_END], ids=labels)
def test_evaluations_are_counted(solver: solvers.Solver) -> None:
    """Calls, against what the solver declares; the last `denoised` is not the solver's."""
    for low in (0.01, 0.0):
        seen = []

        def counted(x: np.ndarray, sigma: Any, seen: list = seen) -> np.ndarray:
            seen.append(float(sigma))
            return GAUSS(x, sigma)

        found = an.sample(counted, np.ones((3, 2)), grids.polynomial(13, 80.0, low), solver)
        assert found.nfe.tolist() == [solver.nfe(12, to_zero=low == 0)] * 3
        assert len(seen) == found.nfe[0] + (low > 0)
        assert min(seen) > 0
        assert max(seen) == 80.0


def test_evaluations_of_known_solvers() -> None:
    """Heun takes 2n, and 2n - 1 to σ = 0 (EDM); multistep solvers n; a corrector adds none."""
    counts = {"euler": (12, 12), "heun": (24, 23), "rk4": (48, 45), "unipc": (12, 12)}
    for name, expected in counts.items():
        for low, count in zip((0.01, 0.0), expected, strict=True):
            grid = grids.polynomial(13, 80.0, low)
            assert an.sample(GAUSS, np.ones((1, 2)), grid, name).nfe[0] == count
    grid = grids.polynomial(13, 80.0, 0.01)
    for options, count in (({"afs": True}, 11), ({"jump": True}, 13)):
        solver = solvers.get("euler", **options)
        assert an.sample(GAUSS, np.ones((1, 2)), grid, solver).nfe[0] == count == solver.nfe(12)


def test_the_analytical_first_step_is_that_of_the_paper() -> None:
    x = an.noise(4, 2, 80.0, 1)
    found = an.sample(GAUSS, x, [80.0, 20.0, 3.0], solvers.get("euler", afs=True))
    np.testing.assert_allclose(found.states[1], x - 60 * x / np.sqrt(1 + 80**2), rtol=1e-14)
    np.testing.assert_array_equal(
        found.states[2], an.sample(GAUSS, found.states[1], [20.0, 3.0], "euler").final
    )


def test_a_jump_ends_at_the_denoised_output() -> None:
    x, grid = an.noise(4, 2, 80.0, 1), grids.polynomial(7, 80.0, 0.3)
    for name, plain in (("euler_jump", "euler"), ("lms", "lms"), ("unipc", "unipc")):
        solver = solvers.get(name) if plain == "euler" else solvers.get(name, jump=True)
        found, before = (an.sample(GAUSS, x, grid, each) for each in (solver, plain))
        np.testing.assert_array_equal(found.sigmas, [*grid, 0.0])
        if plain != "unipc":
            np.testing.assert_array_equal(found.states[:-1], before.states)
        np.testing.assert_array_equal(found.final, found.denoised[-2])
        assert found.nfe[0] == before.nfe[0] + 1
    # with one more evaluation the last state before the jump is corrected, too
    exact = gaussian_flow(GAUSS, x, 80.0, 0.3)
    assert np.abs(found.states[-2] - exact).max() < 0.6 * np.abs(before.final - exact).max()


def test_lower_order_final_ends_with_low_orders() -> None:
    """The last step is Euler's, the last but one of order 2 at most, the others untouched."""
    x, grid = an.noise(4, 2, 80.0, 1), grids.polynomial(9, 80.0, 0.05)
    low, high = (
        an.sample(GAUSS, x, grid, solvers.get("dpmpp_3m", lower_order_final=flag))
        for flag in (True, False)
    )
    np.testing.assert_array_equal(low.states[:-2], high.states[:-2])
    assert (np.abs(low.states[-2:] - high.states[-2:]).max(axis=(1, 2)) > 1e-6).all()
    share = grid[-1] / grid[-2]
    expected = share * low.states[-2] + (1 - share) * low.denoised[-2]
    np.testing.assert_allclose(low.final, expected, rtol=1e-14)
    nodes = tuple(
        solvers.Node(grid[k], low.states[k], low.denoised[k])
        for k in (len(grid) - 3, len(grid) - 4)
    )
    second = solvers.get("dpmpp_3m").step(GAUSS, nodes, grid[-2])
    np.testing.assert_array_equal(low.states[-2], second)


# Noise between steps


def variance(grid: np.ndarray, step: Any) -> float:
    """Of one coordinate of 1-D data N(0, 1) at the end, by the linear recursion x → a x + b z."""
    total = grid[0] ** 2
    for s, t in itertools.pairwise(grid):
        gain, added = step(s, t)
        total = gain**2 * (total + added[0]) + added[1]
    return total


def test_noise_has_the_size_that_theory_asks_for() -> None:
    """For data N(0, 1), D = x/(1 + σ²): variances follow a recursion, five standard errors."""
    gauss, count = GaussianDenoiser([0.0], [[1.0]]), 40_000
    grid = grids.polynomial(7, 10.0, 0.2)
    x = an.noise(count, 1, 10.0, 1)

    def euler(s: float, t: float) -> float:
        return t / s + (1 - t / s) / (1 + s * s)

    def churned(s: float, t: float) -> Any:
        raised = s * (1 + min(3.0 / 6, np.sqrt(2) - 1)) if 0.5 <= s <= 5.0 else s
        return euler(raised, t), (1.1**2 * (raised**2 - s * s), 0.0)

    def renewed(s: float, t: float) -> Any:
        up = min(t, 0.7 * np.sqrt(t * t * (s * s - t * t) / (s * s)))
        return euler(s, np.sqrt(t * t - up * up)), (0.0, up * up)

    churn = solvers.Churn(3.0, low=0.5, high=5.0, inflation=1.1)
    noisy = solvers.get("ancestral", eta=0.7)
    for expected, found in (
        (variance(grid, churned), an.sample(gauss, x, grid, "euler", churn=churn, seed=3)),
        (variance(grid, renewed), an.sample(gauss, x, grid, noisy, seed=3)),
    ):
        assert abs(found.final.var() / expected - 1) < 5 * np.sqrt(2 / count)


def test_no_noise_is_no_noise() -> None:
    x, grid = an.noise(4, 2, 80.0, 1), grids.polynomial(7, 80.0, 0.0)
    plain = an.sample(GAUSS, x, grid)
    for churn in (0.0, solvers.Churn(40.0, low=100.0)):
        found = an.sample(GAUSS, x, grid, churn=churn, seed=1)
        np.testing.assert_array_equal(found.states, plain.states)
    noisy = solvers.get("ancestral", eta=0.0)
    np.testing.assert_array_equal(
        an.sample(GAUSS, x, grid, noisy).states, an.sample(GAUSS, x, grid, "euler").states
    )


@pytest.mark.parametrize("case", ["churn", "ancestral"])
def test_noise_depends_on_the_seed_and_the_row_alone(case: str) -> None:
    x, grid = an.noise(6, 2, 80.0, 1), grids.polynomial(7, 80.0, 0.0)
    options: Any = {"churn": 5.0} if case == "churn" else {"solver": "ancestral"}
    first, again, other = (an.sample(GAUSS, x, grid, seed=s, **options).states for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first[1:] != other[1:]).all()
    np.testing.assert_array_equal(
        an.sample(GAUSS, x[:4], grid, seed=1, **options).states, first[:, :4]
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"churn": 1.0}, "seed: got None, expected a seed"),
        ({"solver": "ancestral"}, "seed: got None"),
        ({"seed": 1}, "seed: got 1, expected none: heun without churn"),
        ({"solver": "lms", "churn": 1.0, "seed": 1}, "churn: got 1.0 for lms, expected a solver"),
        ({"solver": "ancestral", "churn": 1.0, "seed": 1}, "churn: got 1.0 for ancestral"),
        ({"churn": -1.0, "seed": 1}, "churn: got -1.0"),
        ({"churn": 1.0, "seed": -1}, "seed: got -1"),
        ({"sigmas": [3.0, 2.0, 1.0, 0.5], "solver": "lms"}, "sigmas: got 4 levels, expected at l"),
        ({"sigmas": [3.0, 1.0, 0.0], "solver": "euler_jump"}, "sigmas: got a last level of 0"),
    ],
)
def test_options_that_do_not_fit(options: Any, words: str) -> None:
    arguments = {"sigmas": [5.0, 4.0, 3.0, 2.0, 1.0], **options}
    with pytest.raises(ValueError, match=f"^{words}"):
        an.sample(GAUSS, [[1.0, 0.0]], **arguments)


@pytest.mark.parametrize(
    ("name", "options", "kind", "words"),
    [
        ("heun", {"order": 3}, TypeError, "order: got an option that 'heun' does not have"),
        ("lms", {"ordre": 3}, TypeError, "ordre: got an option.*expected one of order, afs, jump"),
        ("lms", {"order": 5}, ValueError, "order: got 5"),
        ("lms", {"order": 0}, ValueError, "order: got 0"),
        ("lms", {"order": 2.0}, TypeError, "order: got 2.0"),
        ("unipc", {"order": 4}, ValueError, "order: got 4"),
        ("unipc", {"variant": "bh3"}, ValueError, "variant: got 'bh3'.*did you mean"),
        ("dpm_2", {"r": 0.0}, ValueError, "r: got 0.0"),
        ("dpm_2", {"r": 1.5}, ValueError, "r: got 1.5"),
        ("ancestral", {"eta": 1.1}, ValueError, "eta: got 1.1"),
        ("euler", {"afs": 1}, TypeError, "afs: got 1"),
        ("dpmpp_2m", {"lower_order_final": "no"}, TypeError, "lower_order_final: got 'no'"),
        (solvers.get("lms"), {"order": 2}, TypeError, "order: got an option beside a Solver"),
    ],
)
def test_bad_solver_options(name: Any, options: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        solvers.get(name, **options)


@pytest.mark.parametrize(
    "options", [{"amount": -1.0}, {"low": -1.0}, {"low": 2.0, "high": 1.0}, {"inflation": 0.0}]
)
def test_bad_churn(options: Any) -> None:
    with pytest.raises(ValueError, match=f"^{list(options)[-1]}: got"):
        solvers.Churn(**{"amount": 1.0, **options})


@pytest.mark.parametrize("solver", LITERAL)
def test_ending_at_zero_is_a_jump_to_the_denoised(solver: str) -> None:
    denoiser = OptimalDenoiser(np.random.default_rng(2).standard_normal((9, 2)))
    found = an.sample(denoiser, an.noise(5, 2, 80.0, 2), [80.0, 10.0, 1.0, 0.0], solver)
    np.testing.assert_array_equal(found.final, denoiser(found.states[-2], 1.0))
    np.testing.assert_array_equal(found.denoised[-1], found.final)
    for k in range(3):
        np.testing.assert_array_equal(found.denoised[k], denoiser(found.states[k], found.sigmas[k]))
    assert np.isnan(found.error).all()
    assert found.collapse is None


def test_euler_is_a_convex_combination() -> None:
    """C1: telescoped, x(s) = (s/s_0) x_0 + (1 - s/s_0) D̄ with weights ∝ 1/s_{k+1} - 1/s_k."""
    denoiser = OptimalDenoiser(np.random.default_rng(3).standard_normal((9, 2)))
    found = an.sample(denoiser, an.noise(5, 2, 80.0, 3), grids.polynomial(9, 80.0, 0.5), "euler")
    share = np.diff(1 / found.sigmas)
    mean = np.tensordot(share / share.sum(), found.denoised[:-1], 1)
    ratio = 0.5 / 80
    np.testing.assert_allclose(
        found.final, ratio * found.states[0] + (1 - ratio) * mean, rtol=1e-12
    )


def test_sampling_approaches_the_exact_flow() -> None:
    points = PointSet(np.random.default_rng(4).standard_normal((6, 2)))
    denoiser, x = OptimalDenoiser(points), an.noise(6, 2, 80.0, 4)
    exact = an.integrate(denoiser, x, 80.0, 0.3, estimate_error=False)
    found = an.sample(denoiser, x, grids.polynomial(400, 80.0, 0.3))
    assert np.abs(found.final - exact.final).max() <= 1e-3


def test_float32_states() -> None:
    """In and out in float32, stepped in float64."""
    denoiser = OptimalDenoiser(np.random.default_rng(5).standard_normal((9, 2)))
    x = an.noise(5, 2, 80.0, 5).astype(np.float32)
    narrow, wide = (an.sample(denoiser, q, grids.polynomial(12)) for q in (x, x.astype(float)))
    assert narrow.states.dtype == narrow.denoised.dtype == np.float32
    np.testing.assert_array_equal(narrow.states, wide.states.astype(np.float32))


def test_batch_mates_do_not_matter() -> None:
    denoiser = OptimalDenoiser(np.random.default_rng(6).standard_normal((9, 2)))
    x = an.noise(20, 2, 80.0, 6)
    whole = an.sample(denoiser, x, grids.polynomial(9))
    for k in range(20):
        np.testing.assert_array_equal(
            an.sample(denoiser, x[k], grids.polynomial(9)).states[:, 0], whole.states[:, k]
        )
    none = an.sample(denoiser, np.empty((0, 2)), grids.polynomial(9))
    assert none.states.shape == (9, 0, 2)


def test_a_denoiser_that_breaks_stops_only_its_rows() -> None:
    denoiser = OptimalDenoiser([[-1.0, 0.0], [1.0, 0.5]])

    def broken(x: np.ndarray, sigma: Any) -> np.ndarray:
        assert np.isfinite(x).all()
        return np.where((x[:, :1] > 0) & (sigma < 1.0), np.nan, denoiser(x, sigma))

    x = np.array([[50.0, 1.0], [-50.0, 1.0]])
    found, good = (an.sample(d, x, [80.0, 3.0, 0.5, 0.1, 0.0]) for d in (broken, denoiser))
    assert found.result.tolist() == [Result.NON_FINITE, Result.DONE]
    np.testing.assert_array_equal(found.final[1], good.final[1])
    assert np.isnan(found.final[0]).all()


def test_unknown_solvers_are_refused_with_the_list() -> None:
    with pytest.raises(
        ValueError, match=r"^solver: got 'huen', expected one of .*euler.*; did you mean 'heun'\?"
    ):
        an.sample(GAUSS, [[0.0, 0.0]], [1.0, 0.5], "huen")
    with pytest.raises(TypeError, match=r"^solver: got None"):
        an.sample(GAUSS, [[0.0, 0.0]], [1.0, 0.5], None)
    with pytest.raises(TypeError):
        an.sample(GAUSS, [[0.0, 0.0]], [1.0, 0.5], "heun", chrun=1.0)


def test_solvers_are_data() -> None:
    assert {"euler", "heun"} <= set(solvers.names())
    for name in solvers.names():
        solver = solvers.get(name)
        assert solver.name == name
        assert solvers.get(solver) is solver
        assert solver.order >= 1
        assert solver.nfe_per_step >= 1
        assert "http" in solver.source


@pytest.mark.parametrize("wrong", [lambda q, s: q[:, :1], lambda q, s: q[0], lambda q, s: 1.0])
def test_wrong_output_shape(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^denoiser: got output of shape"):
        an.sample(wrong, np.ones((3, 2)), [1.0, 0.5])


@pytest.mark.parametrize("bad", [[[np.nan, 0.0]], [[1.0, 2.0, 3.0]], np.zeros((2, 2, 2))])
def test_bad_starts(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^x: got"):
        an.sample(GAUSS, bad, [1.0, 0.5])


# Mean shift


def test_mean_shift_finds_the_modes_of_two_points() -> None:
    """±m with m = tanh(m/h²), from the symmetric pair ±1; 0 is a fixed point that is no mode."""
    h = 0.8
    denoiser = OptimalDenoiser([[-1.0], [1.0]])
    found = an.mean_shift(denoiser, [[0.3], [-2.0], [0.0]], h, tol=1e-14)
    m = found.points[0, 0]
    assert m == pytest.approx(np.tanh(m / h**2), abs=1e-13)
    assert m > 0.5
    assert found.points[1, 0] == pytest.approx(-m, abs=1e-12)
    assert found.points[2, 0] == 0.0
    assert found.steps[2] == 1
    assert found.converged.all()


@given(cases(low=0.1, high=2.0, far=3.0))
def test_mean_shift_is_the_denoiser_iterated(case: Case) -> None:
    denoiser, h = OptimalDenoiser(case.points), case.sigma
    x, before = case.x, denoiser.log_prob(case.x, h)
    for steps in range(1, 6):
        now = denoiser(x, h)
        found = an.mean_shift(denoiser, case.x, h, tol=0.0, max_steps=steps)
        # a row that no longer moves stops, at a fixed point
        np.testing.assert_array_equal(found.points, now)
        after = denoiser.log_prob(now, h)
        blur = 1e-11 + 1e-14 * (np.abs(case.points.points).max() + h) / h**2
        assert (after - before >= -blur * (1 + np.abs(before))).all()
        x, before = now, after


def test_mean_shift_stops() -> None:
    denoiser = OptimalDenoiser(np.random.default_rng(7).standard_normal((20, 2)))
    x = np.random.default_rng(8).standard_normal((6, 2))
    found = an.mean_shift(denoiser, x, 0.5, tol=1e-9)
    assert found.converged.all()
    assert np.linalg.norm(denoiser(found.points, 0.5) - found.points, axis=1).max() <= 0.5e-9
    assert len(np.unique(found.steps)) > 1
    short = an.mean_shift(denoiser, x, 0.5, tol=1e-9, max_steps=int(found.steps.min()))
    np.testing.assert_array_equal(short.converged, found.steps <= found.steps.min())
    np.testing.assert_array_equal(short.points[short.converged], found.points[short.converged])
    for k in range(6):
        np.testing.assert_array_equal(
            an.mean_shift(denoiser, x[k], 0.5, tol=1e-9).points[0], found.points[k]
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bandwidth": 0.0}, "bandwidth: got 0.0"),
        ({"bandwidth": np.nan}, "bandwidth: got nan"),
        ({"tol": -1.0}, "tol: got -1.0"),
        ({"max_steps": 0}, "max_steps: got 0"),
        ({"x": [[np.inf, 0.0]]}, "x: got inf"),
    ],
)
def test_bad_mean_shift(options: dict[str, Any], words: str) -> None:
    arguments = {"x": [[0.0, 0.0]], "bandwidth": 1.0, **options}
    with pytest.raises(ValueError, match=f"^{words}"):
        an.mean_shift(OptimalDenoiser([[0.0, 1.0], [1.0, 0.0]]), **arguments)


# The field


@pytest.fixture(scope="module")
def setting() -> tuple[OptimalDenoiser, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(9)
    denoiser = OptimalDenoiser(PointSet(rng.standard_normal((8, 3)), rng.uniform(0.2, 1, 8)))
    return denoiser, rng.standard_normal((5, 3)), rng.uniform(0.5, 2.0, 5)


def test_velocity_is_minus_sigma_score(setting: Any) -> None:
    denoiser, x, sigma = setting
    found = field.velocity(denoiser, x, sigma)
    np.testing.assert_allclose(found, -sigma[:, None] * denoiser.score(x, sigma), rtol=1e-12)
    np.testing.assert_array_equal(field.velocity(denoiser, x, 1.0), x - denoiser(x, 1.0))


def test_denoised_derivative_follows_the_flow(setting: Any) -> None:
    """dD/dσ along the exact flow, by differences between integrated neighbours."""
    denoiser, x, sigma = setting
    found = field.denoised_derivative(denoiser, x, sigma)
    generic = field.denoised_derivative(lambda q, s: denoiser(q, s), x, sigma)
    np.testing.assert_allclose(generic, found, rtol=1e-7, atol=1e-8)
    for k in range(len(x)):
        h = 2e-3 * sigma[k]
        top = sigma[k] + 2 * h
        # up to σ + 2h by small steps of the field, then down by the integrator
        up = x[k : k + 1]
        for level in sigma[k] + h * np.arange(0, 2, 0.25):
            half = up + 0.125 * h * field.velocity(denoiser, up, level)
            up = up + 0.25 * h * field.velocity(denoiser, half, level + 0.125 * h)
        levels = sigma[k] + h * np.arange(2, -3, -1)
        run = an.integrate(
            denoiser, up, top, levels[-1], save_at=levels, rtol=1e-12, estimate_error=False
        )
        D = run.denoised[:, 0]
        slope = (8 * (D[1] - D[3]) - (D[0] - D[4])) / (12 * h)
        np.testing.assert_allclose(found[k], slope, rtol=1e-5, atol=1e-6)


def test_curvature_is_that_of_the_path(setting: Any) -> None:
    """κ = |x'' - (x''·t)t|/|x'|² with x'' = -D'/σ, by differences of the path itself."""
    denoiser, x, sigma = setting
    found = field.curvature(denoiser, x, sigma)
    for k in range(len(x)):
        h = 1e-2 * sigma[k]
        levels = sigma[k] + h * np.array([0.0, -1.0, -2.0, -3.0, -4.0])
        run = an.integrate(
            denoiser,
            x[k],
            levels[0],
            levels[-1],
            save_at=levels,
            rtol=1e-13,
            atol=1e-15,
            estimate_error=False,
        )
        y, mid = run.states[:, 0], run.states[2:3, 0]
        first = (8 * (y[1] - y[3]) - (y[0] - y[4])) / (12 * h)
        second = (16 * (y[1] + y[3]) - (y[0] + y[4]) - 30 * y[2]) / (12 * h**2)
        unit = first / np.linalg.norm(first)
        bend = np.linalg.norm(second - second @ unit * unit) / (first @ first)
        assert field.curvature(denoiser, mid, levels[2])[0] == pytest.approx(bend, rel=1e-4)
    np.testing.assert_allclose(
        field.curvature(lambda q, s: denoiser(q, s), x, sigma), found, rtol=1e-6
    )


def test_trace_covariance(setting: Any) -> None:
    denoiser, x, sigma = setting
    found = field.trace_covariance(denoiser, x, sigma)
    expected = sigma**2 * np.trace(denoiser.jacobian(x, sigma), axis1=1, axis2=2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    generic = field.trace_covariance(lambda q, s: denoiser(q, s), x, sigma)
    np.testing.assert_allclose(generic, expected, rtol=1e-8)
    # tr Σ(Σ + σ²)⁻¹ σ² for Gaussian data
    values = np.linalg.eigvalsh(GAUSS.covariance)
    gauss = field.trace_covariance(GAUSS, np.ones((1, 2)), 0.7)
    np.testing.assert_allclose(gauss, [(0.49 * values / (values + 0.49)).sum()], rtol=1e-9)


@pytest.mark.parametrize(
    "call",
    [
        lambda: an.sample(5, [[1.0]], [2.0, 1.0]),
        lambda: an.mean_shift(5, [[1.0]], 1.0),
        lambda: an.integrate(5, [[1.0]], 2.0, 1.0),
    ],
)
def test_what_is_no_denoiser_is_named(call: Any) -> None:
    with pytest.raises(TypeError, match=r"^denoiser: got 5"):
        call()


def test_a_mean_shift_step_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^denoiser: got output of shape \(2,\)"):
        an.mean_shift(lambda x, s: np.zeros(2), np.ones((3, 2)), 1.0)


def test_states_of_three_axes_and_absurd_sizes() -> None:
    with pytest.raises(ValueError, match=r"^x: got shape \(2, 2, 2\)"):
        an.sample(lambda x, s: x, np.ones((2, 2, 2)), [2.0, 1.0])
    for n in (2**45, 2**62):
        with pytest.raises(ValueError, match=r"^n: "):
            an.grids.polynomial(n)
    with pytest.raises(ValueError, match=r"^sigma_max"):
        an.integrate(lambda x, s: x, [[1.0]], 1e-310, 1e-311)


def test_a_flat_gaussian_at_tiny_noise() -> None:
    flat = an.GaussianDenoiser([1.0, 2.0], [[1.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(flat([[3.0, 5.0]], 1e-200), [[3.0, 2.0]])
    np.testing.assert_allclose(
        flat.log_prob([[1.0, 2.0]], 1e-200), -np.log(2 * np.pi) + 200 * np.log(10), rtol=1e-14
    )
