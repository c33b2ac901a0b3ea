"""What the optimal denoiser of given points satisfies, and what learned ones may."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ..claims import measures
from ..denoisers import apply
from ..points import PointSet, as_points
from ..trajectory import Trajectory
from ._hull import gap
from ._judge import Part, Words, changed, judge, model, queries, refuse, shown, tolerance

__all__ = [
    "assert_equivariant",
    "assert_in_hull",
    "assert_likelihood_ascends",
    "assert_mean_shift_equivalent",
]

Floats = NDArray[np.float64]

WORK = 2_000_000
"""Rows times D³ up to which hulls are searched exactly, unless asked for."""
PAIRS = 1e-12
"""Distance of the halves of a split point, in diameters."""
TRANSFORMS = ("translation", "rotation", "permutation", "scaling", "duplicates", "split points")


def assert_mean_shift_equivalent(
    denoiser: Any,
    points: Any,
    x: Any = None,
    sigma: Any = None,
    *,
    count: int = 64,
    seed: int = 0,
    rtol: float = 1e-11,
) -> None:
    """Assert that D is one step of Gaussian mean shift: D = Σ u_i x_i (theory A2).

    Compared with a plain NumPy sum over all points that shares no code with the kernels.

    Parameters
    ----------
    denoiser : a callable (x (B, D), σ scalar or (B,)) → (B, D).
    points : `PointSet` or (N, D) array, the data.
    x, sigma : (B, D) queries and their levels, σ > 0, scalar or (B,), in place of drawn ones; or
        σ alone, scalar or (count,).
    count, seed : drawn queries: forward samples, midpoints, near and far ones.
    rtol : of |D − Σ u_i x_i|, relative to (diam + max |μ|)(1 + |log p_σ(x)|): logits are no better
        than ε times their size. One network or sum in float32 needs 1e-6.

    Raises
    ------
    AssertionError
        with the worst query, and code that shows it again.
    ValueError, TypeError
        for bad arguments.
    """
    __tracebackhide__ = True
    data = as_points(points)
    denoise = model(denoiser, data.dim)
    bound = tolerance(rtol, "rtol")
    asked = queries(data, data.dim, x, sigma, count, seed, "A2")

    def measure(x: Floats, sigma: Floats) -> Iterator[Part]:
        output = apply(denoise, x, sigma)
        yield Part(
            "D is the kernel average of the data, one Gaussian mean-shift step (A2)",
            measures.off_kernel_mean(data, x, sigma, output),
            bound,
            "|D − Σ u_i x_i| / (size (1 + |log p|))",
            lambda k: (
                f"D = {shown(output[k])}, Σ u_i x_i = "
                f"{shown(measures.kernel_mean(data, x[[k]], sigma[[k]])[0])}"
            ),
        )

    words = Words("assert_mean_shift_equivalent", "denoiser, points", changed(rtol=(bound, 1e-11)))
    judge(words, asked, measure)


def assert_likelihood_ascends(
    denoiser: Any,
    points: Any,
    x: Any = None,
    sigma: Any = None,
    *,
    at_least: float = 1.0,
    log_prob: Callable[[Floats, Floats], Any] | None = None,
    steps: Sequence[float] = (0.1, 0.5, 1.0),
    count: int = 64,
    seed: int = 0,
    rtol: float = 1e-11,
) -> None:
    """Assert that steps from x towards the output r raise log p_σ, at one and the same σ.

    The theorem (theory A3, G3): with D the optimal output, |r − D| ≤ |D − x| implies
    p_σ(y) ≥ p_σ(x) for every y between x and r, Euler's step among them. It says nothing of queries
    where r lies outside of that ball, nor of log p along the flow, where σ changes (A4: there it
    may fall). So two things are judged: in the ball log p_σ never falls; and the steps do not
    lower it at a share of `at_least` of all queries.

    Parameters
    ----------
    denoiser, points, x, sigma, count, seed : as for `assert_mean_shift_equivalent`.
    at_least : share of queries at which no step may lower log p_σ. The optimal denoiser has 1; a
        learned one leaves the ball where |D − x| is small beside its error, as at small σ.
    log_prob : your own (x (B, D), σ (B,)) → (B,) in place of an independent sum over the points.
    steps : shares of the way to r, in (0, 1].
    rtol : of the fall, relative to 1 + |log p|.

    Raises
    ------
    AssertionError, ValueError, TypeError
        as `assert_mean_shift_equivalent`.
    """
    __tracebackhide__ = True
    data = as_points(points)
    denoise = model(denoiser, data.dim)
    least = _check.number(at_least, "at_least", low=0.0, high=1.0)
    bound = tolerance(rtol, "rtol")
    if not isinstance(steps, Iterable) or not (shares := [_share(each) for each in steps]):
        _check.fail("steps", _check.show(steps), "numbers in (0, 1]", "give one or more")
    if log_prob is not None and not callable(log_prob):
        _check.fail("log_prob", _check.show(log_prob), "a callable", "or leave it out", TypeError)
    asked = queries(data, data.dim, x, sigma, count, seed, "A3")

    def density(x: Floats, sigma: Floats) -> Floats:
        if log_prob is None:
            return measures.log_prob(data, x, sigma)
        found = np.asarray(log_prob(x, sigma), dtype=np.float64)
        if found.shape != (len(x),):
            _check.fail("log_prob", f"shape {found.shape}", f"({len(x)},)", "one per query")
        return found

    def measure(x: Floats, sigma: Floats) -> Iterator[Part]:
        output = apply(denoise, x, sigma)
        best = measures.kernel_mean(data, x, sigma)
        off, radius = (np.linalg.norm(best - each, axis=1) for each in (output, x))
        inside = off <= radius
        falls = np.max([measures.fall(density, x, sigma, output, each) for each in shares], axis=0)
        falls = np.where(np.isfinite(falls), falls, np.inf)
        meaning = "fall of log p_σ on the way to the output, relative to 1 + |log p|"

        def detail(k: int) -> str:
            ball = "in the ball" if inside[k] else "outside the ball"
            return f"|r − D| = {off[k]:.4g}, |D − x| = {radius[k]:.4g}: {ball}"

        yield Part(
            "in the ball |r − D| ≤ |D − x| a step towards r does not lower p_σ (A3, G3)",
            np.where(inside, falls, 0.0),
            bound,
            meaning,
            detail,
        )
        climbing = float((falls <= bound).mean())
        yield Part(
            f"no step lowers p_σ at {least:.0%} of the queries or more",
            falls if climbing < least else np.zeros(len(x)),
            bound,
            f"{meaning}; {climbing:.1%} climb, {inside.mean():.1%} are in the ball",
            detail,
        )

    options = changed(
        at_least=(least, 1.0), steps=(tuple(shares), (0.1, 0.5, 1.0)), rtol=(bound, 1e-11)
    )
    options += "" if log_prob is None else ", log_prob=log_prob"
    judge(Words("assert_likelihood_ascends", "denoiser, points", options), asked, measure)


def _share(value: Any) -> float:
    return _check.number(value, "steps", low=0.0, high=1.0, open_low=True)


def assert_in_hull(
    outputs: Any,
    points: Any,
    *,
    rtol: float = 1e-12,
    exact: bool | None = None,
    directions: int = 64,
    seed: int = 0,
) -> None:
    """Assert that outputs lie in the convex hull of the data, as D does (theory A5).

    Random half-spaces are tried first, then those between an output and the data mean, as claim A5
    does: an output outside of one is outside of the hull. Where that is not too much work (rows
    times D³ at most 2e6), or `exact` is True, the nearest point of the hull is found by Wolfe's
    method, which leaves no direction out. A failure is always proven: its message has a direction v
    with v·y > max v·x_i, as the numbers stand.

    Parameters
    ----------
    outputs : (B, D) or (D,) array; of a `Trajectory` its `denoised`.
    points : `PointSet` or (N, D) array.
    rtol : distance from the hull allowed, relative to max |x_i| (the rounding of coordinates) plus
        the diameter.
    exact : whether to search the hull; None as above.
    directions, seed : random directions tried.

    Raises
    ------
    AssertionError
        with the output that is farthest outside, and what separates it.
    ValueError, TypeError
        for bad arguments.
    """
    __tracebackhide__ = True
    data = as_points(points)
    shared = tolerance(rtol, "rtol")
    tries = _check.integer(directions, "directions", low=0, high=100_000)
    rng = np.random.default_rng(_check.seed(seed))
    search = None if exact is None else _check.flag(exact, "exact")
    given = outputs.denoised if isinstance(outputs, Trajectory) else outputs
    rows = _check.array(given, "outputs", finite=False).astype(np.float64)
    if rows.ndim not in (1, 2, 3) or rows.shape[-1] != data.dim or not rows.size:
        _check.fail("outputs", f"shape {rows.shape}", f"(B, {data.dim})", "give one row or more")
    rows = np.ascontiguousarray(rows.reshape(-1, data.dim))
    bound = shared * (data.radius + data.diameter_bounds[1])
    least, v, kind = _separated(data, rows, rng, tries)
    if search or (search is None and len(rows) * data.dim**3 <= WORK):
        kind = "the hull searched"
        near = np.isfinite(rows).all(axis=1) & (least <= bound)
        for k in np.flatnonzero(near).tolist():
            found = gap(rows[k], data.points)
            if found.least > least[k]:
                least[k], v[k] = found.least, found.direction
    least = np.where(np.isfinite(rows).all(axis=1), least, np.nan)
    failed = np.asarray(~(least <= bound))
    if not failed.any():
        return
    k = int(np.where(failed, np.nan_to_num(least, nan=np.inf), -np.inf).argmax())
    facts = {
        "worst": f"row {k} of {len(rows)}, y = {shown(rows[k])}",
        "separated by": f"v = {shown(v[k])}, v·y = {v[k] @ rows[k]:.6g}, "
        f"max v·x_i = {(data.points @ v[k]).max():.6g} ({kind})",
        "failing rows": f"{int(failed.sum())} of {len(rows)}",
    }
    line = [f"y = {[float(value) for value in rows[k]]!r}", "y, points"]
    if data.dim > 24:
        line = [f"y = np.reshape(outputs, (-1, {data.dim}))[{k}]", "y, points"]
    code = [
        *(["import numpy as np"] if data.dim > 24 else []),
        "import analytic as an",
        line[0].replace("nan", "float('nan')").replace("inf", "float('inf')"),
        f"an.testing.assert_in_hull({line[1]}"
        f"{changed(rtol=(shared, 1e-12), exact=(exact, None), directions=(tries, 64))})",
    ]
    refuse(
        "assert_in_hull",
        "outputs lie in the convex hull of the data (A5)",
        facts,
        float(least[k]),
        bound,
        "distance outside, at least, in data units",
        code,
    )


def _separated(
    data: PointSet, rows: Floats, rng: np.random.Generator, tries: int
) -> tuple[Floats, Floats, str]:
    """(B,) least distances outside and (B, D) directions, of some half-spaces."""
    least, best = np.zeros(len(rows)), np.zeros_like(rows)
    finite = np.asarray(np.isfinite(rows).all(axis=1))
    toward = np.where(finite[:, None], rows, data.mean) - data.mean
    for k in range(tries + 1):
        v = toward if k == 0 else np.broadcast_to(rng.standard_normal(data.dim), rows.shape)
        length = np.linalg.norm(v, axis=1, keepdims=True)
        v = v / np.where(length > 0, length, 1.0)
        over = np.full(len(rows), -np.inf)
        over[finite] = measures.outside(data, rows[finite], [v[finite]])
        better = over > least
        least[better], best[better] = over[better], v[better]
    return least, best, f"{tries + 1} directions tried"


def assert_equivariant(
    build: Callable[[PointSet], Any],
    points: Any,
    x: Any = None,
    sigma: Any = None,
    *,
    count: int = 48,
    seed: int = 0,
    rtol: float | None = None,
    skip: Iterable[str] = (),
) -> None:
    """Assert that what `build` makes moves with the data (theory A7).

    | transform | demands |
    |---|---|
    | `translation`, `rotation` | D(Tx; TX) = T D(x; X) |
    | `scaling` | D(cx; cσ, cX) = c D(x; σ, X) |
    | `permutation` | the order of the data does not matter |
    | `duplicates` | points that are there twice, with half their weight each, count once |
    | `split points` | so do points of which each half is moved by 1e-12 diameters to either side: |
    | | they do not merge, and weights that are ignored, or a fixed top-k, show |

    Parameters
    ----------
    build : makes a denoiser of a `PointSet`, of which it should use `points` and `weights`.
    points, x, sigma, count, seed : as for `assert_mean_shift_equivalent`.
    rtol : of differences, in diameters, relative to how much rounding moved coordinates moves
        logits; 8e-14 √D by default, a hundred times that for split points. In float32: 1e-5.
    skip : transforms to leave out, by their names above.

    Raises
    ------
    AssertionError, ValueError, TypeError
        as `assert_mean_shift_equivalent`; the transform is named.
    """
    __tracebackhide__ = True
    data = as_points(points)
    if not callable(build):
        _check.fail("build", _check.show(build), "a callable", "as OptimalDenoiser is", TypeError)
    out = {skip} if isinstance(skip, str) else set(skip)
    for each in out:
        _check.choice(each, "skip", TRANSFORMS)
    if out == set(TRANSFORMS):
        _check.fail("skip", "all transforms", "some left to test", "leave out fewer")
    usual = 8e-14 * float(np.sqrt(data.dim))
    bound = usual if rtol is None else tolerance(rtol, "rtol")
    asked = queries(data, data.dim, x, sigma, count, seed, "A7")

    def made(of: PointSet) -> Callable[[Floats, Floats], Floats]:
        denoise = model(build(of), of.dim)
        return lambda x, sigma: apply(denoise, x, sigma)

    def measure(x: Floats, sigma: Floats) -> Iterator[Part]:
        rng = np.random.default_rng([asked_seed, 7])
        apart, touchy = measures.equivariance(made, data, x, sigma, rng)
        found = {**apart, "split points": _split(made, data, x, sigma)}
        for name in TRANSFORMS:
            if name not in out:
                loose = bound * 100 if name == "split points" and rtol is None else bound
                yield Part(
                    f"{name}: the denoiser of transformed data is the transformed denoiser (A7)",
                    found[name] / touchy,
                    loose,
                    "|difference| in diameters, relative to the logits' sensitivity",
                    partial(_apart, found[name]),
                )

    asked_seed = _check.seed(seed)
    options = changed(rtol=(rtol, None), skip=(tuple(sorted(out)), ()))
    if x is not None:
        options = changed(seed=(asked_seed, 0)) + options
    judge(Words("assert_equivariant", "build, points", options), asked, measure)


def _apart(gaps: Floats, k: int) -> str:
    return f"{gaps[k]:.4g} diameters apart"


def _split(
    made: Callable[[PointSet], Callable[[Floats, Floats], Floats]],
    data: PointSet,
    x: Floats,
    sigma: Floats,
) -> Floats:
    """(B,) by how much D moves when every second point is split, in diameters."""
    size = data.diameter_bounds[1] or 1.0
    step = max(PAIRS * size, 8 * float(np.spacing(data.radius)))
    half = np.arange(len(data)) % 2 == 0
    sides = [data.points[half] + side * step / np.sqrt(data.dim) for side in (-1, 1)]
    twice = PointSet(
        np.concatenate([data.points[~half], *sides]),
        np.concatenate([data.weights[~half], *(2 * [data.weights[half] / 2])]),
    )
    gap = made(twice)(x, sigma) - made(data)(x, sigma)
    return np.asarray(np.linalg.norm(gap, axis=1) / size)
