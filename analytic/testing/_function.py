"""What every denoiser must satisfy as a function, whatever it was trained on.

Derivatives are compared with central differences of six points, Σ_k w_k (f(x+kh) − f(x−kh)) with
w = 45, −9, 1 sixtieths. With h a fiftieth of min(σ, σ²/diam), on which a softmax over the data
turns by one unit, they err by some 1e-12 of what f does over that length; what is compared is h
times a derivative, so that rounding counts as it does in f itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ..denoisers import width_of
from ..points import PointSet, as_points
from ._judge import Part, Words, changed, judge, model, queries, shown, tolerance

__all__ = ["assert_denoiser_consistent"]

Floats = NDArray[np.float64]
Function = Callable[..., Any]

DTYPES = ("float64", "float32")
CHECKS = (
    "shape", "finite", "inputs", "deterministic", "buffer", "scalar", "rows", "single", "dtype",
    "float32", "score", "log_prob", "jvp", "jacobian", "sigma_derivative",
)  # fmt: skip
MATRIX, MATRICES = 32, 8
"""Dimensions up to which, and rows of which, whole Jacobians are compared."""
EPS = float(np.finfo(np.float64).eps)


def assert_denoiser_consistent(
    denoiser: Any,
    points_or_dim: Any = None,
    x: Any = None,
    sigma: Any = None,
    *,
    count: int = 32,
    seed: int = 0,
    rtol: float = 1e-9,
    float32_rtol: float = 1e-4,
    derivative_rtol: float = 1e-9,
    dtypes: Iterable[str] = DTYPES,
    skip: Iterable[str] = (),
) -> None:
    """Assert that a denoiser is a function (x, σ) → D row by row, and agrees with its own methods.

    | check | demands |
    |---|---|
    | `shape`, `finite` | an output shaped like x (B, D), of finite numbers |
    | `inputs`, `buffer` | arguments are left alone, outputs by later calls |
    | `deterministic` | the same call gives the same bits |
    | `scalar` | one σ for all is the same as (B,) equal ones |
    | `rows` | a row does not depend on its batch-mates, their order or number |
    | `single` | x of shape (D,), if it is answered in that shape, is a batch of one |
    | `dtype`, `float32` | the dtype of x is kept; a float32 x has nearly the float64 answer |
    | `score` | where there is one, x + σ² score is D |
    | `log_prob` | where there is one, its gradient is (D − x)/σ² |
    | `jvp`, `jacobian`, `sigma_derivative` | where there are any, differences of D agree |

    Methods are called as those of `OptimalDenoiser`; one that raises `NotImplementedError` counts
    as missing.

    Parameters
    ----------
    denoiser : a callable (x (B, D), σ scalar or (B,)) → (B, D).
    points_or_dim : `PointSet` or (N, D) array to draw queries around, or D; by default the
        denoiser's own `points` or `dim`.
    x, sigma : (B, D) queries and their levels, σ > 0, scalar or (B,), in place of drawn ones; or
        σ alone, scalar or (count,).
    count, seed : drawn queries.
    rtol : how far equal things may be apart, in diameters of the data, or of the outputs where no
        points are given. A network in float32 needs some 1e-4.
    float32_rtol : the same for float32 queries.
    derivative_rtol : the same for h times a derivative.
    dtypes : of queries, one or both of "float64" and "float32"; all other checks take the first.
    skip : checks to leave out, by their names above.

    Raises
    ------
    AssertionError
        with the check, the worst query, and code that shows it again.
    ValueError, TypeError
        for bad arguments.
    """
    __tracebackhide__ = True
    if points_or_dim is None:
        own = getattr(denoiser, "points", None)
        points_or_dim = own if isinstance(own, PointSet) else width_of(denoiser)
        again = "denoiser"
    else:
        kept = isinstance(points_or_dim, (int, np.integer))
        again = f"denoiser, {int(points_or_dim) if kept else 'points'}"
    if points_or_dim is None:
        _check.fail("points_or_dim", "None", "points, or D", "this denoiser tells neither")
    points = None
    if isinstance(points_or_dim, (int, np.integer)):
        dim = _check.integer(points_or_dim, "points_or_dim", low=1)
    else:
        points = as_points(points_or_dim)
        dim = points.dim
    denoise = model(denoiser, dim)
    names = _names(skip, "skip", CHECKS)
    kinds = _names(dtypes, "dtypes", DTYPES)
    if not kinds or set(names) == set(CHECKS):
        _check.fail("skip" if kinds else "dtypes", "nothing to test", "something", "leave some")
    options = {
        "rtol": tolerance(rtol, "rtol"),
        "float32_rtol": tolerance(float32_rtol, "float32_rtol"),
        "derivative_rtol": tolerance(derivative_rtol, "derivative_rtol"),
    }
    asked = queries(points, dim, x, sigma, count, seed, "consistent")
    words = Words(
        "assert_denoiser_consistent",
        again,
        changed(
            rtol=(rtol, 1e-9),
            float32_rtol=(float32_rtol, 1e-4),
            derivative_rtol=(derivative_rtol, 1e-9),
            dtypes=(kinds, DTYPES),
            skip=(names, ()),
        ),
    )
    unit = None if points is None else points.diameter_bounds[1] or 1.0
    judge(words, asked, partial(_parts, denoise, unit, options, kinds, names))


def _ask(function: Function, x: Any, sigma: Any, *more: Any) -> NDArray[Any]:
    """The answer to copies of the arguments, as one that later calls cannot change."""
    return np.array(function(np.array(x), np.array(sigma) if np.ndim(sigma) else sigma, *more))


def _names(value: Any, argument: str, options: tuple[str, ...]) -> tuple[str, ...]:
    given = (value,) if isinstance(value, str) else value
    if not isinstance(given, Iterable):
        _check.fail(argument, _check.show(value), "names", f"of {', '.join(options)}", TypeError)
    return tuple(_check.choice(each, argument, options) for each in given)


def _parts(
    denoiser: Function,
    unit: float | None,
    tolerances: dict[str, float],
    dtypes: tuple[str, ...],
    skip: tuple[str, ...],
    x: Floats,
    sigma: Floats,
) -> Iterator[Part]:
    """Every check, each a number per row."""
    first = np.dtype(dtypes[0])
    base = x.astype(first)
    given, level = base.copy(), sigma.copy()
    raw = denoiser(given, level)
    found = np.asarray(raw)
    if found.shape != x.shape:
        # nothing else can be told of it; "shape" cannot be left out
        yield _flag("shape", len(x), False, f"an output of shape {found.shape} for x {x.shape}")
        return
    kept, output = found.copy(), found.astype(np.float64)
    size = np.linalg.norm(output, axis=1)
    spread = float(np.ptp(output, axis=0).max(initial=0.0))
    span = unit or (spread if np.isfinite(spread) and spread > 0 else float(size.max())) or 1.0
    # a unit in the last place is no fault, where the data lie far from the origin
    slack = 64 * float(np.finfo(first).eps) * size
    bound = tolerances["rtol"] * span + slack
    near = partial(_near, output, usual=bound)

    finite = np.where(np.isfinite(output).all(axis=1), 0.0, np.nan)
    same = bool((given == base).all() and (level == sigma).all())

    def checks() -> Iterator[tuple[str, Callable[[], Iterable[Part]]]]:
        yield (
            "finite",
            lambda: [
                Part(
                    "finite: outputs are finite",
                    finite,
                    0.0,
                    "NaN for a row that is not",
                    lambda k: f"D = {shown(output[k])}",
                )
            ],
        )
        claim = "inputs: the arguments are left as they were"
        yield "inputs", lambda: [_flag(claim, len(x), same, "x or sigma was changed")]
        again = "deterministic: the same call gives the same bits"
        yield "deterministic", lambda: near(again, _ask(denoiser, base, sigma), 0.0)
        yield "buffer", lambda: _buffer(denoiser, raw, kept, base, sigma)
        yield "scalar", lambda: _scalar(denoiser, tolerances["rtol"] * span, base, sigma)
        yield "rows", lambda: _rows(denoiser, near, base, sigma)
        yield "single", lambda: _single(denoiser, output, bound, base, sigma)
        yield "dtype", lambda: [_dtype(denoiser, np.dtype(kind), x, sigma) for kind in dtypes]
        if len(set(dtypes)) == 2:
            yield "float32", lambda: _float32(denoiser, tolerances["float32_rtol"] * span, x, sigma)
        for name in CHECKS[CHECKS.index("score") :]:
            if hasattr(denoiser, name):
                yield name, partial(_method, name, denoiser, span, tolerances, x, sigma)

    for name, check in checks():
        if name not in skip:
            yield from check()


def _flag(claim: str, count: int, fine: bool, words: str) -> Part:
    """A check that has no size."""
    meaning = "0 if so, 1 if not" if fine else words
    return Part(claim, np.full(count, 0.0 if fine else 1.0), 0.5, meaning)


def _near(
    output: Floats, claim: str, other: Any, bound: Any = None, *, usual: Any = 0.0
) -> Iterator[Part]:
    """Another answer for the same queries."""
    answer = np.asarray(other)
    if answer.shape != output.shape:
        yield _flag(claim, len(output), False, f"an output of shape {answer.shape}")
        return
    answer = answer.astype(np.float64)
    yield Part(
        claim,
        np.linalg.norm(answer - output, axis=1),
        usual if bound is None else bound,
        "|difference|, in data units",
        lambda k: f"{shown(answer[k])} instead of {shown(output[k])}",
    )


def _buffer(denoiser: Function, raw: Any, kept: Floats, x: Floats, sigma: Floats) -> Iterator[Part]:
    denoiser(x[::-1] + sigma[::-1, None].astype(x.dtype), 2 * sigma[::-1])
    same = np.array_equal(np.asarray(raw), kept, equal_nan=True)
    yield _flag(
        "buffer: an output stays as it is when the denoiser is called again",
        len(x),
        same,
        "the first output was overwritten",
    )


def _scalar(denoiser: Function, bound: float, x: Floats, sigma: Floats) -> Iterator[Part]:
    """At the level of some rows, the lot of them."""
    for k in np.unique(np.linspace(0, len(x) - 1, 4).astype(int)):
        level = float(sigma[k])
        claim = f"scalar: D(x, {level!r}) is D(x, [{level!r}, …])"
        many = _ask(denoiser, x, np.full(len(x), level)).astype(np.float64)
        one = _ask(denoiser, x, level)
        if many.shape != x.shape:
            yield _flag(claim, len(x), False, f"an output of shape {many.shape}")
            return
        slack = 64 * float(np.finfo(x.dtype).eps) * np.linalg.norm(many, axis=1)
        yield from _near(many, claim, one, bound + slack)


def _rows(
    denoiser: Function, near: partial[Iterator[Part]], x: Floats, sigma: Floats
) -> Iterator[Part]:
    order = np.random.default_rng(0).permutation(len(x))
    back = np.argsort(order)
    answer = _ask(denoiser, x[order], sigma[order])
    yield from near(
        "rows: they come in the order of the queries",
        answer[back] if answer.shape == x.shape else answer,
    )
    some = range(min(len(x), 12))
    alone = _ask(denoiser, x, sigma).astype(np.float64)
    for k in some:
        one = _ask(denoiser, x[[k]], sigma[[k]])
        if one.shape != (1, x.shape[1]):
            yield _flag("rows: one row will do", len(x), False, f"an output of shape {one.shape}")
            return
        alone[k] = one[0]
    yield from near("rows: one alone, at its level, is as in a batch", alone)
    # beside a batch-mate that is far from everything, whose weights are tiny
    far = x[:1] + (1e3 * np.abs(x).max() + 1).astype(x.dtype)
    crowd = _ask(denoiser, np.concatenate([far, x]), np.append(sigma.min(), sigma))
    lone = _ask(denoiser, far, sigma.min(keepdims=True))
    claim = "rows: they are the same beside a far batch-mate"
    yield from near(claim, crowd[1:] if len(crowd) == len(x) + 1 else crowd)
    gap = np.linalg.norm((crowd[:1] - lone).astype(np.float64), axis=1)
    slack = 64 * float(np.finfo(x.dtype).eps) * np.linalg.norm(lone.astype(np.float64), axis=1)
    yield Part(
        "rows: a far one is the same beside these",
        np.repeat(gap, len(x)),
        near.keywords["usual"] + slack,
        "|difference|, in data units",
        lambda k: f"{shown(crowd[0])} instead of {shown(lone[0])}, at x = {shown(far[0])}",
    )


def _single(
    denoiser: Function, output: Floats, bound: Floats, x: Floats, sigma: Floats
) -> Iterator[Part]:
    """(D,) is not promised: an exception or another shape says that it is not supported."""
    some = np.arange(min(len(x), 4))
    gaps = np.zeros(len(x))
    for k in some:
        try:
            one = _ask(denoiser, x[k], float(sigma[k])).astype(np.float64)
        except Exception:  # whatever it raises, it does not answer
            return
        if one.shape != output[k].shape:
            return
        gaps[k] = np.linalg.norm(one - output[k])
    claim = "single: x of shape (D,) is answered as a batch of one is"
    yield Part(claim, gaps, bound, "|difference|, in data units")


def _dtype(denoiser: Function, kind: np.dtype[Any], x: Floats, sigma: Floats) -> Part:
    answer = _ask(denoiser, x.astype(kind), sigma.astype(kind))
    fine = answer.dtype == kind
    return _flag(f"dtype: {kind} is kept", len(x), fine, f"the output is {answer.dtype}")


def _float32(denoiser: Function, bound: float, x: Floats, sigma: Floats) -> Iterator[Part]:
    narrow, level = x.astype(np.float32), sigma.astype(np.float32)
    short = _ask(denoiser, narrow, level).astype(np.float64)
    long = _ask(denoiser, narrow.astype(np.float64), level.astype(np.float64))
    long = long.astype(np.float64)
    slack = 8 * float(np.finfo(np.float32).eps) * np.linalg.norm(long, axis=1)
    yield from _near(long, "float32: a float32 query has the float64 answer", short, bound + slack)


def _differences(function: Callable[[float], Floats]) -> Floats:
    """h f' from f at kh."""
    return sum(
        weight * (function(k) - function(-k)) / 60.0
        for k, weight in ((1.0, 45.0), (2.0, -9.0), (3.0, 1.0))
    )  # type: ignore[return-value]


def _method(
    name: str,
    denoiser: Any,
    span: float,
    tolerances: dict[str, float],
    x: Floats,
    sigma: Floats,
) -> Iterator[Part]:
    """One of the denoiser's own methods against its outputs."""
    output = _ask(denoiser, x, sigma).astype(np.float64)
    v = np.random.default_rng(1).standard_normal(x.shape)
    v[::2] = (output - x)[::2]
    norm = np.linalg.norm(v, axis=1, keepdims=True)
    v = np.where(norm > 0, v / np.where(norm > 0, norm, 1.0), np.eye(x.shape[1])[0])
    length = np.minimum(sigma, sigma / span * sigma)
    h = (length / 50)[:, None]
    size = np.linalg.norm(x, axis=1) + np.linalg.norm(output, axis=1)
    # x + kh is rounded to ε|x|, and D turns by up to a diameter over the length
    blur = 64 * EPS * (size + span * size / length)
    bound = tolerances["derivative_rtol"] * span + blur
    method = getattr(denoiser, name)

    def call(*more: Any) -> Any:
        try:
            return _ask(method, x, sigma, *more).astype(np.float64)
        except NotImplementedError:
            return None

    def along(function: Function) -> Floats:
        return _differences(lambda k: _ask(function, x + k * h * v, sigma).astype(np.float64))

    shape: dict[str, tuple[int, ...]] = {"log_prob": (len(x),), "jacobian": (*x.shape, x.shape[1])}
    found = None
    if name == "jacobian" and x.shape[1] > MATRIX:
        return
    if name == "jacobian" and len(x) > MATRICES:
        part = slice(0, MATRICES)
        yield from _method(name, denoiser, span, tolerances, x[part], sigma[part])
        return
    found = call(v) if name == "jvp" else call()
    if found is None:
        return
    if found.shape != shape.get(name, x.shape):
        yield _flag(f"{name}: its shape", len(x), False, f"the result has shape {found.shape}")
        return
    if name == "score":
        moved = np.linalg.norm(x + (sigma[:, None] * found) * sigma[:, None] - output, axis=1)
        limit = tolerances["rtol"] * span + 64 * EPS * size
        yield Part("score: D = x + σ² score", moved, limit, "|x + σ² score − D|")
        return
    if name == "log_prob":
        score = (output - x) / sigma[:, None] / sigma[:, None]
        gap = np.abs(along(method) - h[:, 0] * np.einsum("bd,bd->b", score, v))
        steep = np.linalg.norm(score, axis=1) * size
        limit = tolerances["derivative_rtol"] * (1 + np.abs(found)) + 64 * EPS * steep
        yield Part(
            "log_prob: its gradient is (D − x)/σ²", gap, limit, "h |v·∇log p − v·(D − x)/σ²|"
        )
        return
    if name == "sigma_derivative":
        # over a share of log σ on which no logit |x − x_i|²/2σ² moves by much
        reach = np.linalg.norm(x - output, axis=1) + span
        share = np.minimum(0.1, sigma / span * sigma / (2 * reach)) / 50
        gap = _differences(
            lambda k: _ask(denoiser, x, sigma * np.exp(k * share)).astype(np.float64)
        )
        gap = gap - (share * sigma)[:, None] * found
        claim, meaning = "sigma_derivative: differences of D agree", "h |∂D/∂σ − difference|"
    else:
        own = found if name == "jvp" else np.einsum("bij,bj->bi", found, v)
        gap = along(denoiser) - h * own
        claim, meaning = f"{name}: differences of D agree", "h |∂D/∂x v − difference|"
    yield Part(claim, np.linalg.norm(gap, axis=1), bound, meaning)
