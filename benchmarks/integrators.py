"""Integrators of the exact flow: work against achieved error, σ from 80 to 0.002.

With s = 1/σ and y = x/σ the flow is dy/ds = D, and a point's log-weight is
s y·x_i - s²|x_i|²/2. The candidates:

* `DOP853`: the pair of `analytic.flow`, over s, over log s (state y) and over σ (state x);
* `Gauss`: collocation at six nodes, iterated from the extrapolated last step;
* `Taylor`: every log-weight as a power series, exp by its recurrence: one exp per step;
* `Adams PEC`, `Adams PECE`: multistep methods, with one or two evaluations per step;
* `two-derivative`: a multistep method on D and its total derivative along the flow (theory
  A6), which come from the same pass over the points. The corrector moves the state after
  the evaluation; the exact Jacobian s C then moves both derivatives along, so that one
  evaluation per step is enough and errors of the prediction do not stay in the history.

Work is in evaluations of D: multiplications and additions per point as `_Field` counts them,
over those of one evaluation. The error of a trajectory is the largest |δx|_∞ / (1 + |x|_∞) at
the end of any of its steps, against Taylor series of order 32 in extended precision; starts for
which order 24 at another tolerance disagrees with that by 1e-16 are left out.
Tables and figure: `python -m benchmarks.integrators`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import analytic as an
from analytic import plotting
from analytic._dop853 import E5, A, C

__all__ = ["CANDIDATES", "draw", "measure"]

Array = NDArray[Any]
Path_ = list[tuple[Any, Array]]
"""States (s, y) at the ends of steps."""

FIRST, LAST = 1 / 80, 1 / 0.002
TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14)
SETS = (("two_moons", 1000), ("digits", None))
STARTS = 16
SURE = 1e-16
EXP = 14.0
"""Operations of an exponential."""


class Node(NamedTuple):
    """The denoiser at one state: D, dD/ds along the flow, and a product with s C."""

    slope: Array
    turn: Array
    move: Callable[[Array], Array]


class _Field:
    """D for one trajectory at a time, in any real type, and the work done for it."""

    def __init__(self, points: Array, kind: Any = np.float64) -> None:
        self.points: Array = points.astype(kind)
        self.kind, self.work = kind, 0.0
        dim = points.shape[1]
        self.evaluation = EXP + 2 * dim + 3
        # of turn and move: all second moments at once, or four more passes
        self.second = min(dim + dim * (dim + 1) / 2 + 1, 4 * dim + 2)
        self._centre(0)

    def _centre(self, index: int) -> None:
        """Differences from a point of much weight: nothing cancels near the data."""
        self.index = index
        self.origin = self.points[index]
        self.apart = self.points - self.origin
        self.square = (self.apart * self.apart).sum(axis=1)

    def _weights(self, s: Any, y: Array) -> Array:
        logits = self.apart @ (s * (y - s * self.origin)) - (s * s / 2) * self.square
        best = int(logits.argmax())
        if best != self.index:
            self._centre(best)
            return self._weights(s, y)
        return np.exp(logits)  # that of the reference is zero

    def __call__(self, s: float, y: Array) -> Array:
        self.work += self.evaluation
        w = self._weights(s, y)
        return self.origin + w @ self.apart / w.sum()

    def node(self, s: float, y: Array) -> Node:
        self.work += self.evaluation + self.second
        w = self._weights(s, y)
        w /= w.sum()
        apart, mean = self.apart, w @ self.apart

        def move(v: Array) -> Array:
            return s * ((w * (apart @ v)) @ apart - mean * (mean @ v))

        # derivative of the logits, of which a common part does not matter
        rate = apart @ (y - s * self.origin + s * mean) - s * self.square
        turn = (w * rate) @ apart - mean * (w @ rate)
        return Node(self.origin + mean, turn, move)

    def series(self, s: Any, y: Array, order: int, unit: Any) -> Array:
        """Coefficients (order + 1, D) of y in powers of (t - s)/unit."""
        dim = len(y)
        self.work += EXP + order**2 / 2 + (2 * dim + 3) * order
        h = self.kind(unit)
        weights: Array = np.empty((order, len(self.points)), self.kind)
        logits = np.empty_like(weights)  # times their index
        weights[0] = self._weights(s, y)
        total: Array = np.empty(order, self.kind)
        mean: Array = np.empty((order, dim), self.kind)
        v: Array = np.zeros((order + 1, dim), self.kind)
        v[0] = y - s * self.origin
        for k in range(order):
            if k:
                logits[k] = k * (self.apart @ (s * v[k] + h * v[k - 1]))
                if k < 3:
                    logits[k] -= (s * h if k == 1 else h * h) * self.square
                weights[k] = (logits[1 : k + 1] * weights[k - 1 :: -1][:k]).sum(axis=0) / k
            total[k] = weights[k].sum()
            mean[k] = (weights[k] @ self.apart - total[k:0:-1] @ mean[:k]) / total[0]
            v[k + 1] = h * mean[k] / (k + 1)
        v[0], v[1] = y, v[1] + h * self.origin
        return v


def taylor(
    field: _Field, y: Array, tol: float, order: int = 16, record: list[Any] | None = None
) -> Path_:
    """Power series; the step from its last two coefficients."""
    s, y = field.kind(FIRST), y.astype(field.kind)
    unit = s
    path: Path_ = [(s, y)]
    while s < LAST:
        a = field.series(s, y, order, unit)
        bound = tol * _size(s, y)
        reach = min(_root(abs(a[k]).max() / bound, k) ** -1 for k in (order - 1, order))
        h = reach * unit
        end = s + h if s + 1.001 * h < LAST else field.kind(LAST)
        if record is not None:
            record.append((s, unit, a))
        y = _horner(a, (end - s) / unit)
        s, unit = end, h
        path.append((s, y))
    return path


def dop853(field: _Field, y: Array, tol: float, variable: str = "s") -> Path_:
    """The pair of `analytic.flow` with its step-size control."""
    change: Callable[[Any, Array], tuple[Any, Array]]
    if variable == "s":
        t, end, first = FIRST, LAST, FIRST
        slope, change = field, lambda t, z: (t, z)
    elif variable == "log s":
        t, end, first = np.log(FIRST), np.log(LAST), 0.1
        change = lambda t, z: (np.exp(t), z)  # noqa: E731
        slope = lambda t, z: np.exp(t) * field(np.exp(t), z)  # type: ignore[assignment]  # noqa: E731
    else:  # t = -σ, state x
        t, end, first, y = -1 / FIRST, -1 / LAST, 8.0, y / FIRST
        change = lambda t, x: (-1 / t, x / -t)  # noqa: E731
        slope = lambda t, x: (x - field(-1 / t, x / -t)) / t  # type: ignore[assignment]  # noqa: E731
    path, h, rejected, k = [change(t, y)], first, False, [slope(t, y)]
    while t < end:
        h = min(h, end - t)
        for i in range(1, 12):
            k.append(slope(t + C[i] * h, y + h * _combine(A[i], k)))
        new = y + h * _combine(A[12], k)
        bound = tol * (_size(*change(t, y)) if variable != "σ" else 1 + abs(y).max())
        error = 0.1 * np.sqrt(((h * _combine(E5, k) / bound) ** 2).mean())
        factor = np.clip(0.9 * _root(error, 6) ** -1, 0.2, 8.0)
        if error <= 1:
            t, y = t + h if t + h < end else end, new
            path.append(change(t, y))
            k = [slope(t, y)]
        else:
            k = k[:1]
        h *= min(factor, 1.0) if rejected or error > 1 else factor
        rejected = error > 1
    return path


def gauss(field: _Field, y: Array, tol: float, count: int = 6) -> Path_:
    """Collocation at Gauss nodes; the error is near the square of that of the interpolant."""
    nodes, values, integrals, whole = _legendre(count)
    s, h, path, last = FIRST, 0.3 * FIRST, [(FIRST, y)], None
    while s < LAST:
        h = min(h, LAST - s)
        if last is None:
            slopes = np.repeat(field(s, y)[None], count, axis=0)
        else:
            at = 2 * (1 + nodes * h / last[0]) - 1
            slopes = np.polynomial.legendre.legval(at, last[1]).T
        bound, before = tol * _size(s, y), np.inf
        states = y + h * integrals @ slopes
        for turn in range(15):  # noqa: B007 - how many were needed sets the next step
            slopes = np.array([field(s + c * h, z) for c, z in zip(nodes, states, strict=True)])
            states, old = y + h * integrals @ slopes, states
            moved = abs(states - old).max()
            if moved <= 0.3 * bound or moved > 2 * before:
                break
            before = moved
        terms = values @ slopes
        tail = h * max(abs(terms[-1]).max(), 0.3 * abs(terms[-2]).max()) / _size(s, y)
        error = tail**2 / tol
        if moved > 0.3 * bound or error > 30:
            h *= 0.5
            continue
        last = h, terms
        y = y + h * whole @ slopes
        s = s + h if s + h < LAST else LAST
        path.append((s, y))
        h *= np.clip(0.9 * _root(error, 2 * count) ** -1, 0.3, 2.0 if turn < 6 else 0.8)
    return path


def multistep(
    field: _Field, y: Array, tol: float, nodes: int, derivatives: int, mode: str
) -> Path_:
    """Predict by the Hermite interpolant of D over the last nodes, evaluate, correct.

    The corrector drops the oldest node for the new one. `mode`: "PEC" keeps what was
    evaluated, "PECE" evaluates again, "PECJ" moves it to the corrected state by the Jacobian.
    The correction is the error estimate, a third of it: the corrector is better than that.
    """
    order = nodes * derivatives
    s, path = FIRST, [(FIRST, y)]
    a = field.series(s, y, 10, s)
    h = 0.5 * s * min(_root(abs(a[k]).max() / (tol * _size(s, y)), k) ** -1 for k in (9, 10))
    z = [s] * 10
    c = a[1:] * np.arange(1, 11)[:, None] / s ** np.arange(1, 11)[:, None]
    steps, before = 0, None
    while s < LAST:
        h = min(h, LAST - s)
        end = s + h if s + 1.001 * h < LAST else LAST
        guess = y + _integrals(s, end, z) @ c
        found, move = _evaluate(field, end, guess, derivatives, mode)
        room = order if steps >= nodes else 16
        zs, cs = _append(end, found, z, c, room)
        new = y + _integrals(s, end, zs) @ cs
        gap = new - guess
        error = 0.3 * abs(gap).max() / (tol * _size(end, guess))
        factor = np.clip(0.9 * _root(error, order + 1) ** -1, 0.3, 2.0)
        if not error <= 1.5:
            h *= min(factor, 0.9)
            continue
        if mode == "PECE":
            found, _ = _evaluate(field, end, new, derivatives, mode)
        elif mode == "PECJ":
            found[0] = found[0] + move(gap)
            if before is not None:  # the derivative of the Jacobian, by a difference
                found[1] = found[1] + (move(gap) - before(gap)) / (end - s)
        z, c = _append(end, found, z, c, room)
        s, y, before, steps = end, new, move, steps + 1
        path.append((s, y))
        h *= factor
    return path


def _evaluate(
    field: _Field, s: float, y: Array, derivatives: int, mode: str
) -> tuple[list[Array], Any]:
    if derivatives == 1 and mode != "PECJ":
        return [field(s, y)], None
    node = field.node(s, y)
    return [node.slope, node.turn][:derivatives], node.move


def _append(
    x: float, found: list[Array], z: list[float], c: Array, room: int
) -> tuple[list[float], Array]:
    """Backward differences c[k] = f[z_0 … z_k], newest first, with a new node in front."""
    chains, rest = list(found), []
    for at, below in zip(z, c, strict=True):
        for i, chain in enumerate(chains):
            chains[i] = below = (chain - below) / (x - at)
        rest.append(below)
    return ([x] * len(found) + z)[:room], np.array([*found, *rest][:room])


def _integrals(start: float, end: float, z: list[float]) -> Array:
    """∫ ∏_{i<k} (t - z_i) dt for all k: Gauss's rule is exact."""
    t, product = start + (end - start) * _NODES, (end - start) * _WEIGHTS
    found = []
    for at in z:
        found.append(product.sum())
        product = product * (t - at)
    return np.array(found)


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2


def _legendre(count: int) -> tuple[Array, Array, Array, Array]:
    """Nodes in [0, 1]; from values there: Legendre coefficients, integrals to nodes and to 1."""
    x, weights = np.polynomial.legendre.leggauss(count)
    degree = np.arange(count)
    values = (2 * degree[:, None] + 1) / 2 * np.polynomial.legendre.legvander(x, count - 1).T
    values *= weights
    high = np.polynomial.legendre.legvander(x, count)
    integrals = np.empty((count, count))
    integrals[:, 0] = (x + 1) / 2
    integrals[:, 1:] = (high[:, 2:] - high[:, :-2]) / (2 * (2 * degree[1:] + 1))
    return (x + 1) / 2, values, integrals @ values, weights / 2


def _combine(row: dict[int, float], slopes: list[Array]) -> Array:
    return np.asarray(sum(a * slopes[j] for j, a in row.items()))


def _size(s: Any, y: Array) -> Any:
    """1 + |x|_∞, in units of y."""
    return s + abs(y).max()


def _root(value: Any, degree: int) -> Any:
    return np.maximum(value, type(value)(1e-300)) ** (type(value)(1) / degree)


def _horner(a: Array, t: Any) -> Array:
    value = a[-1]
    for each in a[-2::-1]:
        value = value * t + each
    return value


CANDIDATES: dict[str, Callable[[_Field, Array, float], Path_]] = {
    "two-derivative 8": lambda f, y, tol: multistep(f, y, tol, 4, 2, "PECJ"),
    "two-derivative 10": lambda f, y, tol: multistep(f, y, tol, 5, 2, "PECJ"),
    "DOP853 over s": dop853,
    "DOP853 over log s": lambda f, y, tol: dop853(f, y, tol, "log s"),
    "DOP853 over σ": lambda f, y, tol: dop853(f, y, tol, "σ"),
    "Gauss 6": gauss,
    "Taylor 12": lambda f, y, tol: taylor(f, y, tol, 12),
    "Taylor 20": lambda f, y, tol: taylor(f, y, tol, 20),
    "Adams 8, PECE": lambda f, y, tol: multistep(f, y, tol, 8, 1, "PECE"),
    "Adams 8, PEC": lambda f, y, tol: multistep(f, y, tol, 8, 1, "PEC"),
}


class Truth(NamedTuple):
    """One start and its reference: pieces (s, unit, coefficients), first to last."""

    start: Array
    pieces: list[tuple[Any, Any, Array]]

    def error(self, path: Path_) -> float:
        begins = np.array([float(piece[0]) for piece in self.pieces])
        worst = 0.0
        for s, y in path[1:]:
            begin, unit, a = self.pieces[max(int(np.searchsorted(begins, s, "right")) - 1, 0)]
            exact = _horner(a, (np.longdouble(s) - begin) / unit)
            worst = max(worst, float(abs(y - exact).max() / _size(s, exact)))
        return worst


def truths(points: Array, count: int) -> Iterator[Truth]:
    """References of those of `count` starts for which two of them agree."""
    for start in an.noise(count, points.shape[1], 80.0, 1) / 80.0:
        field, pieces = _Field(points, np.longdouble), []  # type: tuple[_Field, list[Any]]
        one = taylor(field, start, 1e-19, 32, pieces)[-1][1]
        other = taylor(field, start, 1e-18, 24)[-1][1]
        if abs(one - other).max() / LAST <= SURE:
            yield Truth(start, pieces)


def measure(starts: int = STARTS) -> list[dict[str, Any]]:
    """Rows: data, candidate, tolerance, work in evaluations, steps, median and largest error."""
    rows = []
    for name, size in SETS:
        points = an.datasets.get(name, n=size).points
        kept = list(truths(points, starts))
        for candidate, integrate in CANDIDATES.items():
            for tol in TOLERANCES:
                work, steps, errors = [], [], []
                for truth in kept:
                    field = _Field(points)
                    path = integrate(field, truth.start, tol)
                    work.append(field.work / field.evaluation)
                    steps.append(len(path) - 1)
                    errors.append(truth.error(path))
                rows.append(
                    {
                        "data": name,
                        "candidate": candidate,
                        "tolerance": tol,
                        "work": float(np.mean(work)),
                        "steps": float(np.mean(steps)),
                        "median error": float(np.median(errors)),
                        "largest error": float(np.max(errors)),
                        "starts": len(kept),
                    }
                )
    return rows


def at_error(rows: list[dict[str, Any]], data: str, candidate: str, error: float) -> float:
    """Work for a largest error, between the tolerances that were measured; NaN outside of them."""
    mine = [row for row in rows if (row["data"], row["candidate"]) == (data, candidate)]
    pairs = sorted((np.log(row["largest error"]), np.log(row["work"])) for row in mine)
    x, work = np.array(pairs).T
    return float(np.exp(np.interp(np.log(error), x, work, left=np.nan, right=np.nan)))


def draw(rows: list[dict[str, Any]], stem: Path) -> list[Path]:
    """The work–precision diagram as PDF and PNG; the paths written."""
    import seaborn

    names = list(CANDIDATES)
    colors = seaborn.color_palette("colorblind", len(names))
    with plotting.theme():
        page = plotting.figure(plotting.PAGE, 3.4)
        axes = page.subplots(1, len(SETS), sharey=True)
        for ax, (data, _) in zip(axes, SETS, strict=True):
            for k, name in enumerate(names):
                mine = [row for row in rows if (row["data"], row["candidate"]) == (data, name)]
                xy = [(row["largest error"], row["work"]) for row in mine]
                ours = name.startswith("two-derivative")
                ax.plot(
                    *np.array(xy).T,
                    color=colors[k],
                    marker="os^Dv<>P*X"[k],
                    linestyle="-" if ours else ("--", "-.", ":")[k % 3],
                    linewidth=1.8 if ours else 0.9,
                    markersize=4,
                    label=name,
                )
            ax.set(xscale="log", yscale="log", title=data.replace("_", " "))
            ax.set_xlabel("largest error |δx| / (1 + |x|)")
            ax.set_xlim(1e-3, 1e-16)
            ax.set_xticks([1e-4, 1e-7, 1e-10, 1e-13, 1e-16])
            ticks = (50, 100, 200, 500, 1000, 2000)
            ax.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
            ax.minorticks_off()
        axes[0].set_ylabel("work (evaluations of D)")
        page.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
        return plotting.save(page, stem)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.integrators", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), metavar="DIR")
    parser.add_argument("--starts", type=int, default=STARTS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = measure(options.starts)
    for data, _ in SETS:
        print(f"{data}: evaluations for a largest error of 1e-6, 1e-10, 1e-13")
        for name in CANDIDATES:
            found = [at_error(rows, data, name, error) for error in (1e-6, 1e-10, 1e-13)]
            print(f"  {name:20s}" + "".join(f"{each:8.0f}" for each in found))
    print(*draw(rows, options.out / "integrators"), sep="\n")


if __name__ == "__main__":
    main()
