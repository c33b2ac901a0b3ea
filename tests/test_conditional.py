"""Classes of points: conditional denoisers, class probabilities, and guidance with them."""

from __future__ import annotations

import warnings
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import analytic as an
from analytic import GuidedDenoiser, OptimalDenoiser, PointSet
from tests.oracle import exact

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 40)
DATA = PointSet(
    RNG.standard_normal((40, 2)) + 1.5 * np.array([[0, 0], [2, 0], [1, 3]])[LABELS],
    RNG.uniform(0.2, 1.0, 40),
    LABELS,
    name="blobs",
)
OPTIMAL = OptimalDenoiser(DATA)


def shared_points() -> PointSet:
    """0 belongs to a and b, 1 to b and c (of which c is the lighter one everywhere), 2 to a."""
    rows = [[0.0], [0.0], [1.0], [1.0], [2.0], [0.0]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PointSet(rows, [3.0, 1.0, 4.0, 2.0, 5.0, 1.0], list("abbcab"), name="shared")


def forward(points: PointSet, sigma: Any, count: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, points.dim))
    return points.sample(count, rng) + np.broadcast_to(sigma, count)[:, None] * noise


# Points


def test_points_of_a_class_with_their_weights() -> None:
    points = PointSet([[0.0], [1.0], [2.0], [3.0]], [1.0, 2.0, 3.0, 4.0], [5, 7, 5, 7], name="p")
    np.testing.assert_array_equal(points.classes, [5, 7])
    np.testing.assert_allclose(points.class_weights, [0.4, 0.6], rtol=1e-15)
    found = points.given(7)
    np.testing.assert_array_equal(found.points, [[1.0], [3.0]])
    np.testing.assert_allclose(found.weights, [1 / 3, 2 / 3], rtol=1e-15)
    np.testing.assert_array_equal(found.labels, [7, 7])
    np.testing.assert_array_equal(points.members(7), [1, 3])
    assert found.name == "p, class 7"
    # of a class, that class is everything
    np.testing.assert_array_equal(found.given(7).points, found.points)
    assert points.shared is None


def test_equal_points_of_several_classes_keep_each_its_part() -> None:
    points = shared_points()
    np.testing.assert_array_equal(points.points[:, 0], [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(points.labels, ["a", "b", "a"])
    np.testing.assert_array_equal(points.classes, ["a", "b", "c"])
    np.testing.assert_allclose(points.class_weights, np.array([8, 6, 2]) / 16, rtol=1e-15)
    expected = {"a": ([0.0, 2.0], [3, 5]), "b": ([0.0, 1.0], [2, 4]), "c": ([1.0], [2])}
    for label, (rows, weights) in expected.items():
        found = points.given(label)
        np.testing.assert_array_equal(found.points[:, 0], rows)
        np.testing.assert_allclose(found.weights, np.array(weights) / sum(weights), rtol=1e-15)
        assert set(found.labels) == {label}
        np.testing.assert_array_equal(points.points[points.members(label)], found.points)
    assert points.shared is not None
    sums = np.bincount(points.shared.point, points.shared.weights, minlength=3)
    np.testing.assert_allclose(sums, [5 / 16, 6 / 16, 0], rtol=1e-15)
    with pytest.raises(ValueError, match="read-only"):
        points.shared.weights[0] = 1.0


def test_subsets_and_new_names_keep_all_labels() -> None:
    points = shared_points()
    for found in (points.subset([1, 0]), points.renamed("x").subset(np.array([1, 0]))):
        np.testing.assert_array_equal(found.points[:, 0], [1.0, 0.0])
        np.testing.assert_array_equal(found.classes, ["a", "b", "c"])
        np.testing.assert_allclose(found.class_weights, np.array([3, 6, 2]) / 11, rtol=1e-15)
        np.testing.assert_array_equal(found.given("b").points[:, 0], [1.0, 0.0])
        np.testing.assert_allclose(found.given("b").weights, [2 / 3, 1 / 3], rtol=1e-15)
    some = points.subset([0, 2])
    np.testing.assert_allclose(some.given("a").weights, [3 / 8, 5 / 8], rtol=1e-15)
    np.testing.assert_allclose(some.class_weights, [8 / 10, 2 / 10], rtol=1e-15)
    lone = points.subset([2])
    assert lone.shared is None and lone.classes.tolist() == ["a"]
    renamed = points.renamed("other")
    assert (renamed.name, points.name) == ("other", "shared") and renamed.points is points.points


@pytest.mark.parametrize("labels", [[True, False], [b"x", b"y"], np.array([3, 9], np.uint8)])
def test_every_kind_of_label(labels: Any) -> None:
    points = PointSet([[0.0], [1.0]], labels=labels)
    for row, label in enumerate(labels):
        assert points.given(label).points.item() == row


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (3, "label: got 3, expected one of the labels 0, 1, 2"),
        (1.0, r"label: got 1\.0"),
        (True, "label: got True"),
        ("1", "label: got '1'"),
        ([1], r"label: got \[1\]"),
        (None, "label: got None"),
    ],
)
def test_unknown_labels_are_refused_with_those_there_are(label: Any, words: str) -> None:
    for refuse in (DATA.given, DATA.members, OPTIMAL.given):
        with pytest.raises(ValueError, match=words):
            refuse(label)


def test_points_without_labels_say_so() -> None:
    bare = PointSet([[0.0], [1.0]], name="bare")
    for ask in (
        lambda: bare.given(0),
        lambda: bare.classes,
        lambda: bare.class_weights,
        lambda: OptimalDenoiser(bare).given(0),
        lambda: OptimalDenoiser(bare).class_prob([[0.0]], 1.0),
    ):
        with pytest.raises(ValueError, match=r"points: got PointSet.*N=2, D=1. without lab"):
            ask()


@pytest.mark.parametrize("rows", [[0, 0], [3], [-1], [0.5], 1, [[0]], [True, False, True]])
def test_bad_subsets(rows: Any) -> None:
    with pytest.raises(ValueError, match="rows: got"):
        shared_points().subset(rows)


# Conditional denoisers


def test_given_is_the_denoiser_of_the_class_made_once() -> None:
    denoiser = OptimalDenoiser(DATA, method="dense", tolerance=1e-12)
    rows = DATA.labels == 2
    alone = OptimalDenoiser(PointSet(DATA.points[rows], DATA.weights[rows]), "dense")
    given = denoiser.given(2)
    assert given is denoiser.given(np.int64(2))
    assert (given.method, given.tolerance) == ("dense", 1e-12)
    x = forward(DATA, 0.7, 9)
    np.testing.assert_array_equal(given(x, 0.7), alone(x, 0.7))
    np.testing.assert_array_equal(given(x, 0.0), alone(x, 0.0))


@pytest.mark.parametrize("points", [DATA, shared_points()], ids=["blobs", "shared"])
@pytest.mark.parametrize("method", ["dense", "auto", "tree", "blas"])
def test_total_expectation_and_total_probability(points: PointSet, method: str) -> None:
    """D = Σ p(y|x) D_y and p(x) = Σ π(y) p(x|y), from the tails of the data to within them."""
    denoiser = OptimalDenoiser(points, method)
    sigma = np.geomspace(0.02, 50, 60)
    x = forward(points, sigma, 60)
    x[::7] *= 4
    p = denoiser.class_prob(x, sigma)
    assert p.shape == (60, len(points.classes))
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-14)
    parts = np.stack([denoiser.given(label)(x, sigma) for label in points.classes], axis=1)
    mixed = np.einsum("bc,bcd->bd", p, parts)
    np.testing.assert_allclose(mixed, denoiser(x, sigma), rtol=0, atol=1e-13 * points.radius)
    logs = np.stack([denoiser.given(y).log_prob(x, sigma) for y in points.classes], axis=1)
    total = np.logaddexp.reduce(logs + np.log(points.class_weights), axis=1)
    np.testing.assert_allclose(total, denoiser.log_prob(x, sigma), rtol=1e-13, atol=1e-12)
    joint = logs + np.log(points.class_weights) - total[:, None]
    found = denoiser.class_prob(x, sigma, log=True)
    np.testing.assert_allclose(found, joint, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(np.exp(found), p, rtol=1e-13, atol=0)


def test_gradient_of_the_class_probability() -> None:
    """∇log p(y|x) = (D_y - D)/σ²"""
    sigma, step = 0.8, 1e-5
    x = forward(DATA, sigma, 12)
    for k, label in enumerate(DATA.classes):
        slope = (OPTIMAL.given(label)(x, sigma) - OPTIMAL(x, sigma)) / sigma**2
        for d in range(2):
            move = step * np.eye(2)[d]
            up = OPTIMAL.class_prob(x + move, sigma, log=True)[:, k]
            down = OPTIMAL.class_prob(x - move, sigma, log=True)[:, k]
            np.testing.assert_allclose((up - down) / (2 * step), slope[:, d], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("query", "sigma"),
    [([0.4, 0.6], 0.3), ([1e4, -3e3], 1.0), ([0.1, 0.2], 1e-4), ([2e3, 2e3], 0.05)],
)
@pytest.mark.parametrize("method", ["dense", "tree"])
def test_class_probabilities_against_the_judge(
    query: list[float], sigma: float, method: str
) -> None:
    """Logarithms to rounding of the log-odds' spread, also where |x|²/2σ² has lost all digits."""
    x = np.array(query)
    truth = exact(DATA, x, sigma)
    found = OptimalDenoiser(DATA, method).class_prob(x, sigma, log=True)
    spread = max(abs(float(t)) for t in truth.log_u)
    with mp.workdps(50):
        for k, label in enumerate(DATA.classes):
            rows = np.flatnonzero(DATA.labels == label)
            total = mp.log(mp.fsum(truth.u[i] for i in rows))
            assert abs(float(mp.mpf(float(found[k])) - total)) <= 4e-15 * (1 + spread)
    assert np.isfinite(found).all()


def test_class_probabilities_of_shared_points_against_the_judge() -> None:
    points, x = shared_points(), np.array([0.3])
    u = [float(v) for v in exact(points, x, 0.5).u]
    expected = [u[0] * 3 / 5 + u[2], u[0] * 2 / 5 + u[1] * 4 / 6, u[1] * 2 / 6]
    np.testing.assert_allclose(OptimalDenoiser(points).class_prob(x, 0.5), expected, rtol=1e-14)


def test_a_class_far_away_does_not_blur_the_others() -> None:
    points = PointSet([[1e6], [0.0], [1.0], [3.0]], labels=[0, 1, 2, 2])
    found = OptimalDenoiser(points).class_prob([0.3], 1.0, log=True)
    logits = -0.5 * np.array([0.3, 0.7, 2.7]) ** 2
    near = np.logaddexp(logits[1], logits[2])
    total = np.logaddexp(logits[0], near)
    np.testing.assert_allclose(found[1:], np.array([logits[0], near]) - total, rtol=1e-14)
    assert found[0] == pytest.approx(-0.5 * (1e6 - 0.3) ** 2 - total, rel=1e-15)


@pytest.mark.parametrize("scale", [1e-120, 1e-60, 1.0, 1e60, 1e120])
def test_class_probabilities_have_no_unit(scale: float) -> None:
    x = forward(DATA, 0.5, 5)
    scaled = OptimalDenoiser(PointSet(scale * DATA.points, DATA.weights, DATA.labels))
    found = scaled.class_prob(scale * x, 0.5 * scale)
    np.testing.assert_allclose(found, OPTIMAL.class_prob(x, 0.5), rtol=1e-12)


def test_class_probabilities_keep_shape_and_dtype() -> None:
    x = forward(DATA, 0.5, 4)
    whole = OPTIMAL.class_prob(x, 0.5)
    single = OPTIMAL.class_prob(x[2], 0.5)
    assert single.shape == (3,)
    np.testing.assert_array_equal(single, whole[2])
    coarse = OPTIMAL.class_prob(x.astype(np.float32), 0.5)
    assert coarse.dtype == np.float32
    np.testing.assert_allclose(coarse, whole, rtol=1e-5)
    assert OPTIMAL.class_prob(np.empty((0, 2)), 0.5).shape == (0, 3)
    for bad in ({"sigma": 0.0}, {"sigma": -1.0}, {"sigma": [1.0, 2.0]}):
        with pytest.raises(ValueError, match="sigma"):
            OPTIMAL.class_prob(x, **bad)
    with pytest.raises(TypeError, match="log"):
        OPTIMAL.class_prob(x, 0.5, log=1)


# Guidance

NARROW = an.GaussianDenoiser([1.0, -0.5], [[0.3, 0.1], [0.1, 0.2]])
WIDE = an.GaussianDenoiser([0.2, 0.1], [[1.1, -0.2], [-0.2, 0.9]])
QUERIES = np.random.default_rng(5).standard_normal((7, 2)) * 2
LEVELS = np.geomspace(0.1, 10, 7)


def guided_gaussian(w: float, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Precision P and P m of p_u^{1-w} p_c^w at a level."""
    noise = sigma**2 * np.eye(2)
    c, u = np.linalg.inv(NARROW.covariance + noise), np.linalg.inv(WIDE.covariance + noise)
    return (1 - w) * u + w * c, (1 - w) * u @ WIDE.mean + w * c @ NARROW.mean


@pytest.mark.parametrize("w", [-0.5, 0.0, 0.3, 1.0, 1.7, 4.0])
def test_guided_gaussians_are_gaussian(w: float) -> None:
    guided = GuidedDenoiser(NARROW, WIDE, w)
    v = np.roll(QUERIES, 1, axis=0)
    found = {name: getattr(guided, name)(QUERIES, LEVELS) for name in ("score", "jacobian")}
    for k, (x, s) in enumerate(zip(QUERIES, LEVELS, strict=True)):
        precision, pull = guided_gaussian(w, s)
        score = pull - precision @ x
        np.testing.assert_allclose(found["score"][k], score, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(guided(x, s), x + s**2 * score, rtol=1e-11, atol=1e-12)
        turn = np.eye(2) - s**2 * precision
        np.testing.assert_allclose(found["jacobian"][k], turn, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(guided.jvp(x, s, v[k]), turn @ v[k], rtol=1e-11, atol=1e-12)
        trace = s**2 * np.trace(turn)
        assert guided.trace_cov(x, s) == pytest.approx(trace, rel=1e-11, abs=1e-11 * s * s)
        # log p is quadratic with that score: differences are exact by the midpoint rule
        gap = guided.log_prob(x, s) - guided.log_prob(v[k], s)
        middle = pull - precision @ (0.5 * (x + v[k]))
        assert gap == pytest.approx(middle @ (x - v[k]), rel=1e-11, abs=1e-11)
    h = 1e-5 * LEVELS
    rise = (guided(QUERIES, LEVELS + h) - guided(QUERIES, LEVELS - h)) / (2 * h[:, None])
    slope = guided.sigma_derivative(QUERIES, LEVELS)
    np.testing.assert_allclose(slope, rise, rtol=1e-7, atol=1e-8)


def test_guided_gaussians_of_one_covariance_are_the_denoiser_of_a_third() -> None:
    away = np.array([2.0, 1.0])
    other = an.GaussianDenoiser(WIDE.mean + away, WIDE.covariance)
    third = an.GaussianDenoiser(WIDE.mean + 3 * away, WIDE.covariance)
    guided = GuidedDenoiser(other, WIDE, 3.0)
    np.testing.assert_allclose(guided(QUERIES, LEVELS), third(QUERIES, LEVELS), rtol=1e-13)
    path = an.integrate(guided, QUERIES, 10.0, 0.01, save_at=())
    truth = an.integrate(third, QUERIES, 10.0, 0.01, save_at=())
    np.testing.assert_allclose(path.final, truth.final, rtol=0, atol=1e-9)


@pytest.mark.parametrize("w", [0.4, 2.5])
def test_flow_of_guided_gaussians_in_closed_form(w: float) -> None:
    """Of one mean: every eigendirection by Π (l + σ²)^{w/2}, w of the one, 1 - w of the other."""
    mean, c, u = np.array([0.3, -1.0]), np.array([0.5, 0.01]), np.array([2.0, 0.3])
    guided = GuidedDenoiser(
        an.GaussianDenoiser(mean, np.diag(c)), an.GaussianDenoiser(mean, np.diag(u)), w
    )
    high, low = 20.0, 0.05
    start = QUERIES * 10
    factor = ((c + low**2) / (c + high**2)) ** (w / 2)
    factor *= ((u + low**2) / (u + high**2)) ** ((1 - w) / 2)
    truth = mean + factor * (start - mean)
    path = an.integrate(guided, start, high, low, quantities=("jacobian",), save_at=())
    assert path.ok and path.jacobian is not None
    assert (np.linalg.norm(path.final - truth, axis=1) <= np.maximum(path.error, 1e-11)).all()
    np.testing.assert_allclose(path.final, truth, rtol=0, atol=1e-8)
    matrix = np.broadcast_to(np.diag(factor), path.jacobian[-1].shape)
    np.testing.assert_allclose(path.jacobian[-1], matrix, atol=1e-8)
    errors = []
    for n in (64, 128):
        fast = an.sample(guided, start, an.grids.log_snr(n, high, low), "heun")
        errors.append(np.abs(fast.final - truth).max())
    assert 3.4 < errors[0] / errors[1] < 4.8


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0, 3.0])
def test_guidance_misses_the_heat_equation_by_what_is_stated(w: float) -> None:
    """∂s/∂σ - σ ∇(div s + |s|²) = σ w(1-w) ∇|s_c - s_u|²: no data unless that is 0."""
    guided = GuidedDenoiser(OPTIMAL.given(1), OPTIMAL, w)
    x, sigma = forward(DATA, 1.0, 6), 1.0
    h = 1e-3

    def parts(y: np.ndarray) -> np.ndarray:
        score = guided.score(y, sigma)
        trace = np.einsum("bii->b", guided.jacobian(y, sigma))
        return (trace - 2) / sigma**2 + (score**2).sum(axis=1)

    def apart(y: np.ndarray) -> np.ndarray:
        gap = OPTIMAL.given(1).score(y, sigma) - OPTIMAL.score(y, sigma)
        return (gap**2).sum(axis=1)

    def gradient(f: Any) -> np.ndarray:
        eye = h * np.eye(2)
        columns = [
            (8 * (f(x + e) - f(x - e)) - (f(x + 2 * e) - f(x - 2 * e))) / (12 * h) for e in eye
        ]
        return np.stack(columns, axis=1)

    # s = (D - x)/σ², so ∂s/∂σ = ∂D/∂σ/σ² - 2 s/σ
    rate = guided.sigma_derivative(x, sigma) / sigma**2 - 2 * guided.score(x, sigma) / sigma
    missed = rate - sigma * gradient(parts)
    expected = sigma * w * (1 - w) * gradient(apart)
    np.testing.assert_allclose(missed, expected, atol=1e-8)
    assert (w in (0, 1)) == (np.abs(expected).max() < 1e-8)


def test_guidance_weighs_the_classifier() -> None:
    """log p_w = log p + w log(p(y|x)/π(y)), and its gradient is the score."""
    guided = GuidedDenoiser(OPTIMAL.given(2), OPTIMAL, 2.5)
    x, sigma = forward(DATA, LEVELS, 7), LEVELS
    lift = OPTIMAL.class_prob(x, sigma, log=True)[:, 2] - np.log(DATA.class_weights[2])
    truth = OPTIMAL.log_prob(x, sigma) + 2.5 * lift
    np.testing.assert_allclose(guided.log_prob(x, sigma), truth, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        guided(x, sigma), x + sigma[:, None] ** 2 * guided.score(x, sigma), rtol=1e-11
    )


def test_hull_is_kept_between_and_left_beyond() -> None:
    pair = OptimalDenoiser(PointSet([[-1.0], [1.0]], labels=[0, 1]))
    for w in (0.0, 0.25, 1.0, 2.0, -1.0):
        # D_u(0) = 0 and D_c = 1, exactly
        assert GuidedDenoiser(pair.given(1), pair, w)([[0.0]], 0.5).item() == w
    x = forward(DATA, 0.6, 200)
    between = GuidedDenoiser(OPTIMAL.given(0), OPTIMAL, 0.7)(x, 0.6)
    turns = np.linspace(0, np.pi, 50)
    directions = np.stack([np.cos(turns), np.sin(turns)])
    for sign in (1, -1):
        high = (sign * DATA.points @ directions).max(axis=0)
        assert (sign * between @ directions <= high + 1e-14).all()
        beyond = GuidedDenoiser(OPTIMAL.given(0), OPTIMAL, 4.0)(x, 0.6)
        assert (sign * beyond @ directions > high + 0.1).any()


def test_ends_of_the_weight_are_the_parts_and_call_no_other() -> None:
    def forbidden(x: Any, sigma: Any) -> Any:
        raise AssertionError("called")

    x = forward(DATA, 0.5, 5)
    given = OPTIMAL.given(1)
    np.testing.assert_array_equal(GuidedDenoiser(given, forbidden, 1)(x, 0.5), given(x, 0.5))
    np.testing.assert_array_equal(GuidedDenoiser(forbidden, given, 0)(x, 0.5), given(x, 0.5))


def test_interval() -> None:
    """Guided for low < σ ≤ high, each row by its own level; conditional elsewhere."""
    plain = GuidedDenoiser(OPTIMAL.given(1), OPTIMAL, 3.0)
    part = GuidedDenoiser(OPTIMAL.given(1), OPTIMAL, 3.0, interval=(0.3, 2.0))
    sigma = np.array([0.1, 0.3, 0.300001, 1.0, 2.0, 2.000001, 50.0])
    inside = np.array([False, False, True, True, True, False, False])
    x = forward(DATA, sigma, 7)
    for name in ("__call__", "score", "jacobian", "sigma_derivative", "log_prob", "trace_cov"):
        found = getattr(part, name)(x, sigma)
        if name == "trace_cov":
            outer = OPTIMAL.given(1).posterior(x, sigma).trace_cov
        else:
            outer = getattr(OPTIMAL.given(1), name)(x, sigma)
        within = getattr(plain, name)(x, sigma)
        np.testing.assert_array_equal(found[inside], within[inside])
        np.testing.assert_array_equal(found[~inside], outer[~inside])
    # the flow passes the jumps: as in three pieces
    start = an.noise(4, like=DATA, sigma=20.0, seed=3)
    whole = an.integrate(part, start, 20.0, 0.01, save_at=())
    state = start
    for high, low, field in ((20.0, 2.0, part.conditional), (2.0, 0.3, plain)):
        state = an.integrate(field, state, high, low, save_at=()).final
    pieces = an.integrate(part.conditional, state, 0.3, 0.01, save_at=()).final
    assert whole.ok
    np.testing.assert_allclose(whole.final, pieces, atol=1e-7)


def test_any_denoisers_and_only_the_methods_that_both_have() -> None:
    def learned(x: np.ndarray, sigma: Any) -> np.ndarray:
        return x / (1 + np.square(np.reshape(sigma, (-1, 1))))

    mixed = GuidedDenoiser(OPTIMAL.given(0), learned, 1.5)
    assert mixed.dim == 2
    x = forward(DATA, LEVELS, 7)
    expected = 1.5 * OPTIMAL.given(0)(x, LEVELS) - 0.5 * learned(x, LEVELS)
    np.testing.assert_allclose(mixed(x, LEVELS), expected, rtol=1e-14)
    for name in ("log_prob", "score", "jacobian", "jvp", "sigma_derivative", "trace_cov"):
        assert not hasattr(mixed, name)
    with pytest.raises(AttributeError, match="no score for guidance with a function"):
        mixed.score(x, 1.0)
    path = an.integrate(mixed, 10 * x, 10.0, 0.1)
    assert path.ok
    free = GuidedDenoiser(learned, learned, 0.5)
    assert not hasattr(free, "dim")
    np.testing.assert_allclose(free([1.0, 2.0, 3.0], 1.0), [0.5, 1.0, 1.5], rtol=1e-15)
    # guidance of guidance is a denoiser too
    twice = GuidedDenoiser(GuidedDenoiser(WIDE, NARROW, 2.0), NARROW, 0.5)
    np.testing.assert_allclose(twice(QUERIES, 1.0), WIDE(QUERIES, 1.0), rtol=1e-13)


def test_guidance_in_flows_samplers_and_claims() -> None:
    guided = GuidedDenoiser(OPTIMAL.given(1), OPTIMAL, 2.0)
    start = an.noise(6, like=DATA, sigma=40.0, seed=0)
    truth = an.integrate(
        guided, start, 40.0, 0.05, quantities=("arc_length", "curvature", "log_prob")
    )
    assert truth.ok and truth.collapse is None
    errors = []
    for n in (200, 400):
        fast = an.sample(guided, start, an.grids.log_snr(n, 40.0, 0.05), "heun")
        errors.append(np.linalg.norm(fast.final - truth.final, axis=1).max())
    assert errors[1] < 0.35 * errors[0] < 0.01
    with pytest.raises(ValueError, match="sigma_min"):
        an.integrate(guided, start, 40.0, 0.0)
    report = an.verify(guided, DATA, "A1,C1", quick=True)
    verdicts = {v.claim: v.status.name for v in report.verdicts}
    assert verdicts == {"A1": "FAILS", "C1": "HOLDS"}


def test_guided_shapes_and_dtypes() -> None:
    guided = GuidedDenoiser(OPTIMAL.given(1), OPTIMAL, 2.0)
    x = forward(DATA, 0.5, 3)
    assert guided(x.astype(np.float32), 0.5).dtype == np.float32
    np.testing.assert_array_equal(guided(x[1], 0.5), guided(x, 0.5)[1])
    assert guided.log_prob(x[1], 0.5).shape == ()
    assert guided.jacobian(x[1], 0.5).shape == (2, 2)
    assert guided(np.empty((0, 2)), 0.5).shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ((3, OPTIMAL, 1.0), TypeError, "conditional: got 3"),
        ((OPTIMAL, None, 1.0), TypeError, "unconditional: got None"),
        (
            (OPTIMAL, an.OptimalDenoiser([[0.0], [1.0]]), 1.0),
            ValueError,
            "unconditional: got D = 1",
        ),
        ((OPTIMAL, OPTIMAL, np.inf), ValueError, "weight"),
        ((OPTIMAL, OPTIMAL, "2"), TypeError, "weight"),
        ((OPTIMAL, OPTIMAL, [1.0, 2.0]), TypeError, "weight"),
        ((OPTIMAL, OPTIMAL, 1.0, 3.0), TypeError, "interval: got 3.0"),
        ((OPTIMAL, OPTIMAL, 1.0, (2.0, 1.0)), ValueError, "interval"),
        ((OPTIMAL, OPTIMAL, 1.0, (-1.0, 1.0)), ValueError, "interval"),
    ],
)
def test_bad_guidance(arguments: tuple[Any, ...], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        GuidedDenoiser(*arguments)
