"""A learned denoiser r beside the optimal one, D: where, and how far, it departs.

With x_0 from the data, x = x_0 + σz a forward sample, and x, x* the trajectories of r and D
from the same start (Chen et al. 2023, *A Geometric Perspective on Diffusion Models*,
https://arxiv.org/abs/2305.19947, section 5),

    deviation      |r(x) - D(x)| on forward samples, on the learned path, on the optimal path,
                   |r(x) - D(x*)| on own paths; over σ² it is the error of the score
    separation     |x - x*|, and the level at which it first exceeds a share of the data scale
    loss           E|r - x_0|² = E|r - D|² + mmse(σ)                             (theory G1)
    Theorem 1      |r - D| ≤ |D - x|: no step towards r lowers p_σ               (A3, G3)
    one step       (r - x)·(D - x) ≥ (γ/2)|r - x|²: the grid's own Euler step does not,
                   γ = 1 - σ_{k+1}/σ_k, and 1 from the last level to 0
    memorised      the end is less than 1/3 as far from the nearest data point as from the
                   second nearest (Yoon et al. 2023, *Diffusion Probabilistic Models Generalize
                   when They Fail to Memorize*; Gu et al. 2023, *On Memorization in Diffusion
                   Models*, https://arxiv.org/abs/2310.02664)

Which setting matters: along forward samples deviation peaks at middle levels; on the learned
path it does not vanish as σ → 0 but tends to the distance of what is generated from the data
(theory G2), as D is then the nearest data point. What is generated is the denoised output
at the last level, as of a last Euler step to σ = 0.

Losses are not sampled in x_0: given x its law is the posterior u, and Σ u_i |r - x_i|² is
|r - D|² + tr C. Held-out points are a data set of their own, with D' and C': the loss there is
|r - D'|² + tr C', that of D is |D - D'|² + tr C', and the loss of r there less its loss on
the data is the generalisation gap; at large σ, where both are the variance of their points, it
is the difference of the variances.

`Spliced(D, r, σ)` is optimal above a level and learned below; `replace_at` tells what
it, and the reverse, generate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, grids, solvers
from .._progress import Advance, bar
from ..basins import basins
from ..collapse import certificate
from ..denoisers import Denoiser, OptimalDenoiser, Spliced, called
from ..learned import as_denoiser
from ..noise import noise
from ..points import PointSet, as_points
from ..solvers import Solver
from . import _measure
from ._comparison import FORWARD, LEARNED, OPTIMAL, Comparison, Ends, Loss, Setting
from ._neighbours import between_data, nearest

__all__ = ["FORWARD", "LEARNED", "OPTIMAL", "Comparison", "Ends", "Loss", "Setting", "compare"]

Floats = NDArray[np.float64]

EXACT = "exact"
LEVELS = 24


def compare(
    model: Denoiser,
    optimal: OptimalDenoiser | PointSet | Any,
    *,
    sigmas: Any = None,
    n: int = 512,
    starts: int = 64,
    seed: int = 0,
    solver: str | Solver = "heun",
    rtol: float = 1e-6,
    held_out: Any = None,
    replace_at: Iterable[float] = (),
    part: float = 0.1,
    keep: bool = True,
    name: str | None = None,
    progress: bool | Advance = False,
) -> Comparison:
    """Compare a model with the optimal denoiser of its data.

    Parameters
    ----------
    model : any denoiser of the data's dimension, or what `learned.as_denoiser` makes one of.
    optimal : the `OptimalDenoiser` of the training data, or these: `PointSet` or (N, D).
    sigmas : (T,) decreasing levels > 0, T ≥ 2, in data units; the grid of the trajectories too.
        By default 24 levels of EDM's grid over `grids.noise_range` of the data: 80 to 0.002 for
        data of order one.
    n : forward samples at every level, the same (x_0, z) at all.
    starts : number B of trajectories, from σ_0 z.
    seed : non-negative integer; the same seed gives the same comparison.
    solver : a name of `analytic.solvers.names()` or a `Solver`, without noise, for both
        trajectories; or "exact", both by `analytic.integrate`.
    rtol : tolerance of "exact" per step; float32 models support about 1e-5. Separations below
        some rtol |x| are those of two integrators.
    held_out : `PointSet` or (M, D) points of the same distribution that the model has not seen.
    replace_at : levels σ at which the optimal denoiser takes over, or hands over; apart in six
        digits, by which `ends` names them.
    part : share of the data scale √tr Σ, or of the final separation, at which two
        trajectories count as parted.
    keep : whether to keep both trajectories, 4 T·B·D numbers. If not, starts are taken in
        batches, and no more than some 100 MB are held at a time beside the data.
    name : what to call the model in tables.
    progress : show a bar on a terminal, or a function called with every step done.

    Returns
    -------
    `Comparison`: arrays, `frame`, `table()`, `explain()`, `to_json(path)`, `to_csv(path)`.

    Raises
    ------
    ValueError, TypeError
        for bad input, a model of another dimension, and outputs that are not finite on
        forward samples, or on any trajectory.

    The posterior is summed over all points for each of the n·T samples: with 50,000 points
    in 3,072 dimensions choose n and T accordingly.
    """
    best = _optimal(optimal)
    data, grid = best.held, _grid(sigmas, best.held)
    title = called(model) if name is None else _check.text(name, "name")
    model = _model(model, data.dim)
    count = _check.integer(n, "n", low=2)
    many = _check.integer(starts, "starts", low=1)
    random = _check.seed(seed)
    method = _method(solver, len(grid))
    unit = float(np.sqrt(data.total_variance)) or 1.0
    tolerance = _check.number(rtol, "rtol", low=1e-13, high=1e-2)
    how = _measure.How(method, tolerance, 1e-2 * tolerance * unit)
    judge = None if held_out is None else _held_out(held_out, data.dim)
    cuts = _cuts(replace_at)
    least = _check.number(part, "part", low=0.0, open_low=True)
    whole = _check.flag(keep, "keep")
    if whole:
        _check.size(4 * len(grid) * many, data.dim, "starts")
    batches = [slice(0, many)] if whole else _measure.blocks(many, data.dim * len(grid))
    passes = len(_measure.blocks(count, data.dim)) * (1 + (judge is not None))
    work = len(grid) * (passes + len(batches)) + (2 + 2 * len(cuts)) * len(batches) + 1
    with bar(work, f"comparing {title} on {data.name}", progress) as advance:
        forward, loss = _measure.forward(
            model, best, best, grid, count, _derived(random, 1), advance
        )
        unseen = None
        if judge is not None:
            unseen = _measure.forward(
                model, best, judge, grid, count, _derived(random, 2), advance
            )[1]
        start = noise(many, like=best, sigma=float(grid[0]), seed=random)
        parts: list[dict[str, Any]] = [
            each
            for rows in batches
            if (each := _batch(model, best, start[rows], grid, how, cuts, unit, whole, advance))
        ]
        if not parts:
            _check.fail(
                "model",
                "trajectories of which none stays finite",
                "at least one",
                "compare on levels that the model was trained on, with sigmas=",
            )
        between = between_data(data, np.random.default_rng([random, 3]))
        advance(1)
    found = _joined(parts)
    return Comparison(
        model=title,
        data=data.name,
        solver=EXACT if method is None else method.label,
        seed=random,
        sigmas=grid,
        scale=unit,
        settings={FORWARD: forward, LEARNED: found["learned"], OPTIMAL: found["optimal"]},
        own=found["own"],
        apart=found["apart"],
        loss=loss,
        held_out=unseen,
        ends=found["ends"],
        target=found["target"],
        between=between,
        geometry=found["geometry"],
        lost=many - len(found["target"]),
        part=least,
        paths=parts[0]["paths"],
    )


def _batch(
    model: Denoiser,
    best: OptimalDenoiser,
    start: Floats,
    grid: Floats,
    how: _measure.How,
    cuts: list[float],
    unit: float,
    keep: bool,
    advance: Advance,
) -> dict[str, Any] | None:
    """Everything along the trajectories of some starts; None if none stays finite."""
    learned, optimal = (_measure.follow(each, start, grid, how) for each in (model, best))
    kept = np.flatnonzero(
        np.isfinite(learned.states).all(axis=(0, 2))
        & np.isfinite(learned.denoised).all(axis=(0, 2))
        & np.isfinite(optimal.states).all(axis=(0, 2))
    )
    if not kept.size:
        return None
    if kept.size < len(start):
        learned, optimal, start = learned.select(kept), optimal.select(kept), start[kept]
    on_learned, on_optimal, own, apart = _measure.along(model, best, learned, optimal, advance)
    target = _limits(best, optimal.final, float(grid[-1]))
    places = {"model": learned.denoised[-1], "optimal": optimal.denoised[-1]}
    advance(2)
    for cut in cuts:
        for word, high, low in (("above", best, model), ("below", model, best)):
            spliced = Spliced(high, low, cut)
            places[f"optimal {word} {cut:g}"] = _measure.ends(spliced, start, grid, how)
            advance(1)
    paths = {"model": learned, "optimal": optimal}
    return {
        "learned": on_learned,
        "optimal": on_optimal,
        "own": own,
        "apart": apart,
        "target": target,
        "ends": {name: _ends(best.held, each, target, places) for name, each in places.items()},
        "geometry": {name: _measure.shape(path, unit) for name, path in paths.items()},
        "paths": paths if keep else {},
    }


def _limits(best: OptimalDenoiser, x: Floats, sigma: float) -> NDArray[np.int64]:
    """(B,) data points to which the flow leads; it is followed only where no certificate tells."""
    found = certificate(best, x, sigma)
    index, rest = found.index.copy(), ~found.certified
    if rest.any():
        index[rest] = basins(best, x[rest], sigma).index
    return index


def _ends(
    data: PointSet, place: Floats, target: NDArray[np.int64], places: dict[str, Floats]
) -> Ends:
    index, distance = nearest(data, place)
    off = (np.linalg.norm(place - places[name], axis=1) for name in ("model", "optimal"))
    return Ends(index[:, 0], distance[:, 0], distance[:, 1], index[:, 0] == target, *off)


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Batches side by side: starts are the last axis of every array."""

    def join(each: list[Any]) -> Any:
        first = each[0]
        if isinstance(first, np.ndarray):
            return np.concatenate(each, axis=-1)
        if isinstance(first, dict):
            return {key: join([one[key] for one in each]) for key in first}
        return type(first)(**{key: join([vars(one)[key] for one in each]) for key in vars(first)})

    if len(parts) == 1:
        return parts[0]
    return {key: join([part[key] for part in parts]) for key in parts[0] if key != "paths"}


def _grid(sigmas: Any, data: PointSet) -> Floats:
    if sigmas is None:
        return grids.polynomial(LEVELS, *grids.noise_range(data))
    levels = grids.validate(sigmas)
    if levels[-1] == 0:
        _check.fail("sigmas", "a level 0", "levels > 0", "leave it out: a model has none there")
    return levels


def _method(solver: Any, levels: int) -> Solver | None:
    if isinstance(solver, str):
        _check.choice(solver, "solver", (EXACT, *solvers.names()))
    if isinstance(solver, str) and solver == EXACT:
        return None
    method = solvers.get(solver)
    if method.eta is not None or method.jump:
        _check.fail(
            "solver",
            method.label,
            "one without noise, that ends at the last level",
            "what is generated is the output there anyway",
        )
    if levels <= method.memory:
        _check.fail("sigmas", f"{levels} levels", f"more than {method.memory}", "add levels")
    return method


def _optimal(given: Any) -> OptimalDenoiser:
    if isinstance(given, OptimalDenoiser):
        return given
    if callable(given):
        _check.fail(
            "optimal",
            _check.show(given),
            "the OptimalDenoiser of the training data, or these",
            "the model comes first, its data second",
            TypeError,
        )
    return OptimalDenoiser(as_points(given, "optimal"))


def _model(model: Any, dim: int) -> Denoiser:
    if not callable(model):
        _check.fail("model", _check.show(model), "a denoiser", "pass a callable (x, σ)", TypeError)
    model = as_denoiser(model, dim=dim, argument="model")
    own = getattr(model, "dim", None)
    if isinstance(own, (int, np.integer)) and own != dim:
        _check.fail("model", f"D = {own}", f"the data's D = {dim}", "compare on its own data")
    return model


def _held_out(points: Any, dim: int) -> OptimalDenoiser:
    data = as_points(points, "held_out")
    if data.dim != dim:
        _check.fail("held_out", f"D = {data.dim}", f"the data's D = {dim}", "pass alike points")
    return OptimalDenoiser(data)


def _cuts(levels: Any) -> list[float]:
    try:
        given = [levels] if isinstance(levels, (str, bytes)) else list(levels)
    except TypeError:
        given = [levels]
    found = [_check.number(each, "replace_at", low=0.0, open_low=True) for each in given]
    # by these words ends are told apart
    words = [f"{each:g}" for each in found]
    if len(set(words)) < len(words):
        again = next(word for k, word in enumerate(words) if word in words[:k])
        _check.fail("replace_at", f"{again} twice", "levels that differ in six digits", "drop one")
    return found


def _derived(seed: int, number: int) -> int:
    return int(np.random.default_rng([seed, number]).integers(2**32))
