"""What trajectories satisfy: nearly straight on their way, on a data point at their end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, geometry
from ..collapse import certificate
from ..denoisers import OptimalDenoiser
from ..points import PointSet, as_points
from ..trajectory import Trajectory
from ._judge import changed, refuse, shown

__all__ = ["assert_collapses", "assert_quasi_linear"]

Floats = NDArray[np.float64]

STRAIGHT = 0.05
"""Deviation over chord of bare states: ten times what is observed in the mean (theory F1)."""
ROOM = 1e-8
"""For the integrator, of the start's norm."""
TAIL = 6.0
"""|z| passes √D + 6 once in 6e7 times."""


def assert_quasi_linear(
    trajectory: Any,
    *,
    bound: float | None = None,
    points: Any = None,
) -> None:
    """Assert that sampling trajectories stay near their chords (theory C6, F1).

    Without a `bound` the theorem is asked: the deviation at σ is at most (1 − σ/σ_0)Δ, for the flow
    and for Euler's steps of any denoiser whose outputs have the diameter Δ. Solvers of higher order
    may weigh outputs negatively, and still keep to it by far in practice. Δ is that of `points`,
    else of the trajectory's own outputs. Of bare states neither is known: there the deviation is at
    most 0.05 of the chord, about ten times the mean observed from σ = 80 down (0.003 to 0.006); a
    start near the mean of low-dimensional data has a short chord, and may need more.

    Parameters
    ----------
    trajectory : `Trajectory`, or states (T, B, D) or (T, D) with T ≥ 3.
    bound : largest deviation over the length of the chord, of every trajectory.
    points : the data, if Δ is to be theirs.

    Raises
    ------
    AssertionError
        with the state that is farthest out, beside its bound.
    ValueError, TypeError
        for bad arguments.
    """
    __tracebackhide__ = True
    share = None if bound is None else _check.number(bound, "bound", low=0.0)
    run = trajectory if isinstance(trajectory, Trajectory) else None
    states = _states(trajectory)
    if len(states) < 3:
        _check.fail("trajectory", f"{len(states)} states", "three or more", "save more levels")
    count = states.shape[1]
    data = None if points is None else as_points(points)
    if data is not None and data.dim != states.shape[2]:
        _check.fail("points", f"D = {data.dim}", f"D = {states.shape[2]}", "pass its own data")
    chord = geometry.chord(np.nan_to_num(states))
    slack = ROOM * np.linalg.norm(states[0], axis=1)
    if share is None and (data is not None or run is not None):
        spread = _diameters(run, count) if data is None else np.full(count, data.diameter_bounds[1])
        down = np.ones(len(states)) if run is None else 1 - run.sigmas / run.sigmas.max()
        limit = down[:, None] * spread + slack
        source = "(1 − σ/σ_0)Δ" if run is not None else "Δ"
        claim = f"deviation from the chord ≤ {source}, Δ = {spread.max():.4g} (C6)"
    else:
        ratio = STRAIGHT if share is None else share
        limit = np.broadcast_to(ratio * chord + slack, states.shape[:2])
        claim = f"deviation from the chord ≤ {ratio:g} of its length"
    finite = np.asarray(np.isfinite(states).all(axis=2))
    away = np.where(finite, geometry.deviation(np.where(finite[..., None], states, 0.0)), np.nan)
    away = np.where(finite.all(axis=0), away, np.nan)
    failed = np.asarray(~(away <= limit))
    if not failed.any():
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.where(np.isnan(away), np.inf, away / limit)
    t, b = np.unravel_index(int(np.where(failed, excess, -np.inf).argmax()), away.shape)
    level = "" if run is None else f", σ = {float(run.sigmas[t])!r}"
    facts = {
        "worst": f"trajectory {b} of {count}, state {t} of {len(states)}{level}, "
        f"x = {shown(states[t, b])}",
        "chord": f"{chord[b]:.6g}, {away[t, b] / (chord[b] or 1.0):.4g} of which is the deviation",
        "failing rows": f"{int(failed.any(axis=0).sum())} of {count} trajectories",
    }
    which = f"trajectory.select([{b}])" if run is not None else "trajectory"
    if run is None and np.ndim(trajectory) == 3:
        which = f"trajectory[:, [{b}]]"
    given = "" if points is None else ", points=points"
    refuse(
        "assert_quasi_linear",
        claim,
        facts,
        float(away[t, b]),
        float(limit[t, b]),
        "distance from the line through the first and the last state",
        [
            "import analytic as an",
            f"an.testing.assert_quasi_linear({which}{changed(bound=(share, None))}{given})",
        ],
    )


def assert_collapses(
    trajectory: Any,
    points: Any,
    *,
    sigma: float = 0.0,
    atol: float | None = None,
    certified: bool = True,
) -> None:
    """Assert that trajectories end on data points (theory D1).

    At σ = 0 an end is a point, to rounding. Above, what is left of the noise is about σ|z|, and
    √D + 6 times σ the bound. Where a certificate can be computed, it is asked for: that of a
    `Trajectory` of the exact flow, else that of the last state above σ = 0. It proves that the
    exact flow from there ends at that very point, and is refused to a state between points, however
    near.

    Parameters
    ----------
    trajectory : `Trajectory`, or final states (B, D) or (D,), at `sigma`.
    points : `PointSet` or (N, D) array.
    sigma : level of bare final states; a `Trajectory` tells its own.
    atol : distance from the nearest point allowed, in data units; by default
        1e-9 (diam + max |x_i|) + σ(√D + 6).
    certified : whether to ask for certificates.

    Raises
    ------
    AssertionError
        with the end that is farthest from all points, or is not certified.
    ValueError, TypeError
        for bad arguments.
    """
    __tracebackhide__ = True
    data = as_points(points)
    run = trajectory if isinstance(trajectory, Trajectory) else None
    level = _check.number(sigma, "sigma", low=0.0, high=_check.SIGMA_LIMIT)
    if run is not None:
        if level:
            _check.fail("sigma", repr(sigma), "none beside a Trajectory", "drop it")
        if run.times is not None:
            _check.fail(
                "trajectory", "states of a schedule", "states x̂ of the flow", "divide by its scale"
            )
        level = float(run.sigmas[-1])
    asked = _check.flag(certified, "certified")
    ends = run.final if run is not None else _check.array(trajectory, "trajectory", finite=False)
    if ends.ndim not in (1, 2) or ends.shape[-1] != data.dim or not ends.size:
        _check.fail(
            "trajectory",
            f"shape {ends.shape}",
            f"(B, {data.dim}) final states",
            "pass the last ones",
        )
    final = np.atleast_2d(ends).astype(np.float64)
    size = data.diameter_bounds[1] + data.radius
    usual = 1e-9 * size + level * (np.sqrt(data.dim) + TAIL)
    limit = usual if atol is None else _check.number(atol, "atol", low=0.0)
    if final.dtype != ends.dtype and atol is None:
        limit += 8 * float(np.finfo(ends.dtype).eps) * size
    away, nearest = _nearest(data, final)
    kept = changed(sigma=(0.0 if run is not None else level, 0.0), atol=(atol, None))
    kept += changed(certified=(asked, True))
    failed = np.asarray(~(away <= limit))
    if failed.any():
        k = int(np.where(failed, np.nan_to_num(away, nan=np.inf), -np.inf).argmax())
        claim, meaning = "trajectories end on data points", "distance from the nearest data point"
        place = run, k, final, data, nearest
        _refuse_end(place, claim, away[k], limit, meaning, int(failed.sum()), kept, "")
    if not asked:
        return
    proof = _certificates(run, final, level, data)
    if proof is None:
        return
    fine, index, words = proof
    if run is not None and run.sigmas[-1] == 0 and run.collapse is not None:
        wrong = ~(fine & (index == nearest))
    else:
        wrong = ~fine
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        other = "" if not fine[k] else f"certified is point {int(index[k])}"
        claim = f"ends are certified {words} (D1)"
        other = f"{away[k]:.4g} from it, {other or 'without a certificate'}"
        place, count = (run, k, final, data, nearest), int(wrong.sum())
        _refuse_end(place, claim, count, 0.0, "ends without one", count, kept, other)


def _refuse_end(
    place: tuple[Trajectory | None, int, Floats, PointSet, NDArray[np.int64]],
    claim: str,
    measured: float,
    limit: float,
    meaning: str,
    count: int,
    kept: str,
    other: str,
) -> None:
    __tracebackhide__ = True
    run, k, final, data, nearest = place
    at = "" if run is None else f", σ = {float(run.sigmas[-1])!r}"
    facts = {
        "worst": f"row {k} of {len(final)}{at}, x = {shown(final[k])}",
        "nearest": f"point {int(nearest[k])}, {shown(data.points[nearest[k]])}",
        "which is": other,
        "failing rows": f"{count} of {len(final)}",
    }
    which = f"trajectory.select([{k}])" if run is not None else f"trajectory[[{k}]]"
    lines = ["import analytic as an"]
    if run is None and final.shape[1] <= 24 and np.isfinite(final[k]).all():
        lines.append(f"trajectory = [{[float(value) for value in final[k]]!r}]")
        which = "trajectory"
    lines.append(f"an.testing.assert_collapses({which}, points{kept})")
    refuse("assert_collapses", claim, facts, float(measured), float(limit), meaning, lines)


def _certificates(
    run: Trajectory | None, final: Floats, level: float, data: PointSet
) -> tuple[NDArray[np.bool_], NDArray[np.int64], str] | None:
    """(B,) whether the exact flow ends at one point, which, and where that was asked."""
    if run is not None and run.collapse is not None and level == 0:
        return run.collapse.certified, run.collapse.index, "on the way"
    state = final
    if level == 0:
        if run is None:
            return None
        # a jump to σ = 0: what it jumped from
        level, state = float(run.sigmas[-2]), run.states[-2].astype(np.float64)
    found = certificate(OptimalDenoiser(data), state, level)
    return found.certified, found.index, f"at σ = {level:g}"


def _nearest(data: PointSet, rows: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """(B,) distances from the nearest points, NaN for rows that are not finite, and which."""
    away, index = np.empty(len(rows)), np.empty(len(rows), dtype=np.int64)
    for k, row in enumerate(rows):
        gaps = np.linalg.norm(data.points - row, axis=1)
        index[k] = 0 if np.isnan(gaps).any() else gaps.argmin()
        away[k] = gaps[index[k]]
    return away, index


def _diameters(run: Trajectory | None, count: int) -> Floats:
    """(B,) diameter of each trajectory's own outputs."""
    assert run is not None
    outputs = np.moveaxis(run.denoised.astype(np.float64), 1, 0)
    return np.array(
        [max(np.linalg.norm(each - one, axis=1).max() for one in each) for each in outputs]
    ).reshape(count)


def _states(value: Any) -> Floats:
    given = value.states if isinstance(value, Trajectory) else value
    x = _check.array(given, "trajectory", finite=False).astype(np.float64)
    if x.ndim == 2:
        x = x[:, None, :]
    if x.ndim != 3 or not x.size:
        _check.fail(
            "trajectory", f"shape {x.shape}", "(T, B, D) or (T, D)", "pass states or a Trajectory"
        )
    return x
