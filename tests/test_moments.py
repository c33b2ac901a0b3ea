"""The fused moments against the dense ones, and what must not matter to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracle import EPS, allowance

from analytic import OptimalDenoiser, PointSet, field
from analytic.kernels import dense, fused, moments, threads
from analytic.kernels.intrinsics import FLOOR, LANES
from analytic.methods import Auto, Blas, Dense, Fused, Sites, Softmax, Tree, exhaustive

KINDS = ("cloud", "clusters", "duplicates", "low rank", "offset", "scales", "weighted")
LEVELS = 10.0 ** np.arange(-3.0, 4.0)


def point_set(kind: str, dim: int, count: int = 700) -> PointSet:
    rng = np.random.default_rng([dim, KINDS.index(kind)])
    rows = rng.standard_normal((count, dim))
    weights = None
    if kind == "clusters":
        rows = 1e-4 * rows + rng.integers(-2, 3, (count, 1))
    elif kind == "duplicates":
        rows = rows[rng.integers(count // 4, size=count)]
        rows[::5] += 1e-9 * rng.standard_normal(rows[::5].shape)
    elif kind == "low rank":
        rows = rows[:, :1] * rng.standard_normal(dim)
    elif kind == "offset":
        rows += 1e7
    elif kind == "scales":
        rows *= 10.0 ** rng.integers(-6, 6, dim)
    elif kind == "weighted":
        weights = np.exp(5 * rng.standard_normal(count))
    return PointSet(rows, weights)


def sites(points: PointSet) -> Sites:
    return Sites.of(points.points, points.log_weights)


def queries(points: PointSet) -> tuple[np.ndarray, np.ndarray]:
    """Noisy points, points themselves, points between and points far away, at every level."""
    rng = np.random.default_rng(5)
    unit = float(np.ptp(points.points, axis=0).max())
    s = unit * np.repeat(LEVELS, 4)
    a, b = points.points[rng.integers(len(points), size=(2, len(s)))]
    x = a + s[:, None] * rng.standard_normal(a.shape)
    x[1::4], x[2::4] = a[1::4], 0.5 * (a + b)[2::4]
    x[3::4] = a[3::4] + 30 * unit * rng.standard_normal(a[3::4].shape)
    return x, s


def slack(points: PointSet, x: np.ndarray, s: float, found: Softmax, k: int) -> tuple:
    """Errors of Σu|y|², Σu log u and Σu|y|³ to first order, twice that of one method.

    As in `test_denoiser_mpmath`, but for the centre, which is the same for both.
    """
    bound, dim = allowance(points, x, s), points.dim
    given = sites(points)
    t = np.empty((1, len(points)))
    part = found.at(np.array([k]))
    dense.log_posterior(*given[:2], x[None], np.array([1 / s]), *part[:2], t)
    log_u = t[0]
    u = np.exp(np.maximum(log_u, -745.0))
    e = points.points - points.points[part.ref[0]]
    y = np.linalg.norm(e - part.shift[0], axis=1)
    off = EPS * (np.linalg.norm(e, axis=1) + y)
    rho = bound.u + EPS * (dim + 140 + len(points) / 128)
    rho[log_u < np.log(2.0) * (FLOOR + 50)] = 1.0  # below the floor a weight is zero
    square = 4 * u @ (y**2 * rho + 2 * y * off + off**2)
    cube = 4 * u @ (y**3 * rho + 3 * y**2 * off + 3 * y * off**2 + off**3)
    return square, 4 * u @ ((1 + np.abs(log_u)) * rho), cube, u @ y**2


@pytest.mark.parametrize("dim", [1, 2, 3, 6, 7, 16, 40, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_dense(kind: str, dim: int) -> None:
    points = point_set(kind, dim)
    given = sites(points)
    x, s = queries(points)
    found = Dense(given).softmax(x, s)
    v = np.random.default_rng(1).standard_normal(x.shape) * s[:, None]
    one, other = (m(given).spread(x, s, found, v, 0.7) for m in (Fused, Dense))
    only = Fused(given).spread(x, s, found)
    wide, true = (m(given).covariance(x, s, found) for m in (Fused, Dense))
    np.testing.assert_array_equal(wide, wide.swapaxes(1, 2))
    np.testing.assert_allclose(only.trace, one.trace, rtol=1e-13)
    np.testing.assert_allclose(only.entropy, one.entropy, rtol=1e-13, atol=1e-13)
    assert (only.pull == 0).all()
    for k in range(len(x)):
        square, entropy, cube, trace = slack(points, x[k], float(s[k]), found, k)
        assert abs(one.trace[k] - other.trace[k]) <= square + 4 * EPS * trace
        assert abs(one.entropy[k] - other.entropy[k]) <= entropy
        size = np.linalg.norm(v[k])
        allowed = 0.7 * cube + size * (square + 8 * EPS * trace)
        assert np.linalg.norm(one.pull[k] - other.pull[k]) <= allowed
        assert np.linalg.norm(wide[k] - true[k]) <= square + 4 * EPS * trace
        np.testing.assert_allclose(np.trace(wide[k]), one.trace[k], rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("dim", [2, 3, 9])
def test_nodes_passed_by_weigh_nothing(dim: int) -> None:
    """Bit for bit what is found with boxes as wide as the world."""
    points = point_set("weighted", dim, 6000)
    given = sites(points)
    x, s = queries(points)
    s *= 10.0 ** np.tile([-2.0, -1.0, 0.0, 0.0], 7)
    method, plain = Fused(given), Fused(given)
    boxed = plain._boxed
    everywhere = np.full_like(boxed.low, np.inf)
    plain.__dict__["_boxed"] = boxed._replace(low=-everywhere, high=everywhere)
    found = method.softmax(x, s)
    v = np.cos(x)
    for a, b in zip(
        method.spread(x, s, found, v, 1.0), plain.spread(x, s, found, v, 1.0), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(method.covariance(x, s, found), plain.covariance(x, s, found))


def test_nodes_are_passed_by() -> None:
    """Points that weigh nothing may even be moved, but for those in the node of the query."""
    given = sites(PointSet(np.random.default_rng(0).standard_normal((5000, 2))))
    method = Fused(given)
    tree = method._tree
    x, fine, coarse = given.points[:1].copy(), np.array([1e-3]), np.array([10.0])
    found = method.softmax(x, fine)
    true, broad = (method.spread(x, s, found).trace for s in (fine, coarse))
    far = np.linalg.norm(given.points[tree.order] - x, axis=1) > 2.0
    assert 100 < far.sum() < 4900
    tree.points[:, :5000][:, far] = x.T / tree.unit
    np.testing.assert_array_equal(method.spread(x, fine, found).trace, true)
    assert method.spread(x, coarse, found).trace != broad


def about(method: Fused, x: np.ndarray, s: np.ndarray, found: Softmax) -> list[np.ndarray]:
    spread = method.spread(x, s, found, np.cos(x), 1.0)
    return [*spread, *method.spread(x, s, found)[:2], method.covariance(x, s, found)]


def same(a: list[np.ndarray], b: list[np.ndarray], part: Any = slice(None)) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other[part], strict=True)


@pytest.fixture(scope="module", params=[2, 9])
def wide(request: Any) -> tuple[Fused, np.ndarray, np.ndarray, Softmax]:
    """Several chunks of points, three tiles of queries with wildly different levels."""
    rng = np.random.default_rng(4)
    dim = request.param
    points = PointSet(rng.standard_normal((9000, dim)), rng.uniform(0.1, 1, 9000))
    x = rng.standard_normal((40, dim)) * 10 ** rng.uniform(-2, 4, (40, 1))
    s, method = 10 ** rng.uniform(-4, 4, 40), Fused(sites(points))
    x[7], s[7] = 1e120, 1e60  # beyond `REACH`, and weights that differ by a little
    return method, x, s, method.softmax(x, s)


def test_batch_mates_do_not_matter(wide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    method, x, s, found = wide
    whole = about(method, x, s, found)
    for k in range(len(x)):
        part = slice(k, k + 1)
        same(about(method, x[part], s[part], found.at(np.array([k]))), whole, part)
    back = np.arange(len(x))[::-1]
    same(about(method, x[back], s[back], found.at(back)), whole, back)
    monkeypatch.setattr(fused, "SLAB", 7 * 3 * 16)
    monkeypatch.setattr(moments, "SLAB", 7 * 4 * 72)
    same(about(method, x, s, found), whole)


def test_threads_do_not_matter(wide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    method, x, s, found = wide
    before, results = threads.get_num_threads(), []
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)
    try:
        for count in (1, 2, 4):
            threads.set_num_threads(count)
            results.append(about(method, x, s, found))
    finally:
        threads.set_num_threads(before)
    same(results[1], results[0])
    same(results[2], results[0])


def test_far_queries_are_dense(wide: Any) -> None:
    method, x, s, found = wide
    spread = Dense(method.sites).spread(
        x[7:8], s[7:8], found.at(np.array([7])), np.cos(x[7:8]), 1.0
    )
    for one, other in zip(method.spread(x, s, found, np.cos(x), 1.0), spread, strict=True):
        np.testing.assert_array_equal(one[7:8], other)
    true = Dense(method.sites).covariance(x[7:8], s[7:8], found.at(np.array([7])))
    np.testing.assert_array_equal(method.covariance(x, s, found)[7:8], true)


@pytest.mark.parametrize("unit", [1e-250, 1e-90, 1e-40, 1e40, 1e90, 1e140])
def test_extreme_scales(unit: float) -> None:
    rows, x = np.array([[0.0, 1.0], [2.0, -1.0], [5.0, 0.0]]), np.array([[1.0, 0.3], [3.0, 0.5]])
    here, there = OptimalDenoiser(rows), OptimalDenoiser(unit * rows)
    for sigma in (0.2, 0.7, 80.0):
        one, other = (here, x, sigma), (there, unit * x, unit * sigma)
        calls: dict[str, tuple[Callable[..., Any], float]] = {
            "jacobian": (lambda D, q, s: D.jacobian(q, s), 1.0),
            "jvp": (lambda D, q, s: D.jvp(q, s, x), 1.0),
            "sigma": (lambda D, q, s: D.sigma_derivative(q, s), 1.0),
            "slope": (lambda D, q, s: D.motion(q, np.full(2, s)).slope, 1.0),
            "entropy": (lambda D, q, s: D.posterior(q, s).entropy, 1.0),
            "deviation": (lambda D, q, s: np.sqrt(D.posterior(q, s).trace_cov), unit),
        }
        for name, (call, factor) in calls.items():
            if name == "deviation" and not 1e-100 < unit < 1e100:
                continue
            np.testing.assert_allclose(
                call(*other), factor * call(*one), rtol=1e-11, atol=1e-15 * factor, err_msg=name
            )


def test_a_posterior_all_but_collapsed_keeps_its_digits() -> None:
    """tr C = u d² for the one other point that matters, however small u is."""
    denoiser = OptimalDenoiser([[0.0, 0.0], [3.0, 4.0]])
    for nats in (1.0, 40.0, 200.0, 600.0):
        s = np.sqrt(12.5 / nats)
        post = denoiser.posterior([0.0, 0.0], s)
        u = np.exp(-nats) / (1 + np.exp(-nats))
        np.testing.assert_allclose(post.trace_cov, 25 * u * (1 - u), rtol=1e-12)
        # log Σ w is u, which is lost beside u log u below one unit of Σ w
        rough = 1.1 / nats if nats > 30 else 1e-13
        np.testing.assert_allclose(post.entropy, nats * u + np.log1p(np.exp(-nats)), rtol=rough)
        jacobian = denoiser.jacobian([0.0, 0.0], s) * s**2
        np.testing.assert_allclose(jacobian, u * (1 - u) * np.outer([3, 4], [3, 4]), rtol=1e-12)


@pytest.mark.parametrize("sigma", [5e-324, 1e-310, 1e-200, 1e-120])
def test_logits_that_overflow_weigh_nothing(sigma: float) -> None:
    denoiser = OptimalDenoiser([[0.0, 1.0], [2.0, 1.0]])
    post = denoiser.posterior([[0.5, 1.0], [2.0, 1.0]], sigma)
    np.testing.assert_array_equal(post.entropy, 0.0)
    np.testing.assert_array_equal(post.trace_cov, 0.0)


@pytest.mark.parametrize("width", [1, 12, 15, 16, 19, 67])
def test_sums_leave_a_vector_to_spare(width: int) -> None:
    """Whole vectors are added from any place on: another query's sums must not be within reach."""
    rooms = []

    def task(first: int, last: int, chunks: int, out: np.ndarray, x: np.ndarray) -> None:
        rooms.append(out.shape[2])
        out[:] = np.arange(out.shape[2])

    total = fused.summed(task, width, 2, 1, (), [np.zeros((3, 1))])
    assert min(rooms) >= width + LANES
    np.testing.assert_array_equal(total, np.tile(2.0 * np.arange(width), (3, 1)))


@pytest.mark.parametrize("method", ["auto", "dense", "tree", "blas"])
def test_motion_is_what_the_parts_say(method: str) -> None:
    points = point_set("weighted", 3, 1500)
    denoiser = OptimalDenoiser(points, method=method)
    x, s = queries(points)
    motion, post = denoiser.motion(x, s), denoiser.posterior(x, s)
    for found, true in zip(motion.here, denoiser.evaluate(x, s), strict=True):
        np.testing.assert_array_equal(found, true)
    np.testing.assert_allclose(motion.trace_cov, post.trace_cov, rtol=1e-13)
    along = (x - motion.here.mean) / s[:, None]
    parts = denoiser.sigma_derivative(x, s), denoiser.jvp(x, s, along)
    size = sum(np.abs(part).max(axis=1, keepdims=True) for part in parts)
    assert (np.abs(motion.slope - sum(parts)) <= 1e-9 * size).all()
    np.testing.assert_array_equal(field.denoised_derivative(denoiser, x, s), motion.slope)


def test_every_method_has_one_that_sums_everything() -> None:
    low, high = sites(point_set("cloud", 2)), sites(point_set("cloud", 65, 80))
    for given, kind in ((low, Fused), (high, Dense)):
        for method in (Auto(given), Tree(given), Blas(given)):
            assert isinstance(exhaustive(method, given), kind)
    auto, own = Auto(low), Dense(low)
    assert exhaustive(auto, low) is auto._dense
    assert exhaustive(own, low) is own
