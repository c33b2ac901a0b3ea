"""Faults planted by hand in the denoiser, the flow, the solvers, certificates and training.

Each is a mistake that somebody could make in this code or in theirs; `MUTANTS` names them and
says which claims are asked. `python tests/mutants.py` asks all claims and prints who kills whom.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import analytic as an
from analytic import claims, solvers
from analytic.claims import Subject, _faults
from analytic.collapse import certificate
from analytic.report import Status

Floats = NDArray[np.float64]

__all__ = ["MUTANTS", "kills", "points"]


def points() -> an.PointSet:
    """A small weighted set: 60 of two moons, with unequal weights."""
    moons = an.datasets.two_moons(60, seed=0)
    weights = np.random.default_rng(2).uniform(0.2, 1.0, len(moons))
    return an.PointSet(moons.points, weights, name="mutants")


# Denoisers: functions of the data and of a query


def denoiser(function: Callable[[an.PointSet, Floats, Floats], Floats]) -> Any:
    """A subject whose denoiser is function(data, x (B, D), σ (B,))."""

    def build(data: an.PointSet) -> Any:
        def wrong(x: Any, sigma: Any) -> Any:
            batch = np.atleast_2d(np.asarray(x, dtype=float))
            levels = np.broadcast_to(np.asarray(sigma, dtype=float), len(batch))
            return function(data, batch, levels).reshape(np.shape(x))

        return wrong

    return lambda data: Subject(build(data), data, build=build)


def logits(data: an.PointSet, x: Floats, sigma: Floats) -> Floats:
    gaps = x[:, None, :] - data.points
    return data.log_weights - (gaps**2).sum(axis=2) / (2 * sigma[:, None] ** 2)


def mean(data: an.PointSet, found: Floats) -> Floats:
    weights = np.exp(found - found.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)) @ data.points


def plain(change: Callable[..., Floats]) -> Any:
    """The denoiser with its log-weights changed by change(logits, data, x, σ)."""
    return denoiser(lambda data, x, s: mean(data, change(logits(data, x, s), data, x, s)))


def _few(found: Floats, *_: Any) -> Floats:
    """Only the five heaviest points count."""
    cut = np.sort(found, axis=1)[:, -min(5, found.shape[1])][:, None]
    return np.where(found >= cut, found, -np.inf)


def _expanded(found: Floats, data: an.PointSet, x: Floats, s: Floats) -> Floats:
    """|x|² - 2xy + |y|² in float32."""
    q, p = x.astype(np.float32), data.points.astype(np.float32)
    squares = (q * q).sum(axis=1)[:, None] - 2 * q @ p.T + (p * p).sum(axis=1)
    return data.log_weights - squares / (2 * s[:, None] ** 2)


def _shared(data: an.PointSet, x: Floats, s: Floats) -> Floats:
    """One maximum for the whole batch: far queries underflow."""
    found = logits(data, x, s)
    weights = np.exp(found - found.max())
    return weights @ data.points / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)


def _late(data: an.PointSet, x: Floats, s: Floats) -> Floats:
    """Weights of one point, coordinates of the next."""
    shifted = an.PointSet(np.roll(data.points, 1, axis=0))
    return mean(shifted, logits(data, x, s))


def _near(data: an.PointSet, x: Floats, s: Floats) -> Floats:
    return data.points[logits(data, x, s).argmax(axis=1)]


def exact(data: an.PointSet, x: Floats, s: Floats) -> Floats:
    return np.asarray(an.OptimalDenoiser(data)(x, s))


DENOISERS = {
    "bandwidth off by a thousandth": (denoiser(lambda d, x, s: exact(d, x, 1.001 * s)), "A1"),
    "exp(-d²/σ²)": (denoiser(lambda d, x, s: exact(d, x, s / np.sqrt(2))), "A1"),
    "exp(-d²/2σ)": (denoiser(lambda d, x, s: exact(d, x, np.sqrt(s))), "A1"),
    "constant added to σ²": (denoiser(lambda d, x, s: exact(d, x, np.hypot(s, 1e-3))), "A1"),
    "weights ignored": (plain(lambda t, d, x, s: t - d.log_weights), "A1"),
    "weights squared": (plain(lambda t, d, x, s: t + d.log_weights), "A1"),
    "five nearest points only": (plain(_few), "A1,A2"),
    "first point left out": (plain(lambda t, *_: np.where(np.arange(t.shape[1]) > 0, t, -np.inf)),
                             "A1,A2"),
    "distances expanded in float32": (plain(_expanded), "A1,A2"),
    "log-weights in float32": (plain(lambda t, *_: t.astype(np.float32)), "A1,A2"),
    "log-weights cut at -9": (plain(lambda t, *_: np.maximum(t, t.max(axis=1, keepdims=True) - 9)),
                               "A1,A2"),
    "one maximum for the batch": (denoiser(_shared), "A1,A2"),
    "weights of the neighbour": (denoiser(_late), "A1,A2"),
    "nearest point at all σ": (denoiser(_near), "A1,A2"),
    "minibatches averaged": (lambda d: _faults.subject(d, _faults.Minibatch), "A1,A2"),
    "σ of the first row for all": (denoiser(lambda d, x, s: exact(d, x, np.full_like(s, s[0]))),
                                   "A1,A2"),
    "over-relaxed by a hundredth": (denoiser(lambda d, x, s: x + 1.01 * (exact(d, x, s) - x)),
                                    "A1,A2"),
    "pulled to the mean": (lambda d: _faults.subject(d, _faults.Drift), "A1,A2"),
    "a millionth of x leaks": (lambda d: _faults.subject(d, _faults.Leaking), "A1,A2,C5"),
    "outputs clipped to [-1, 1]": (denoiser(lambda d, x, s: np.clip(exact(d, x, s), -1, 1)),
                                   "A1,A2"),
    "outputs in float32": (denoiser(lambda d, x, s: exact(d, x, s).astype(np.float32)), "A2,A7"),
    "scores for outputs": (denoiser(lambda d, x, s: (exact(d, x, s) - x) / s[:, None] ** 2), "A1"),
    "noise for outputs": (denoiser(lambda d, x, s: (x - exact(d, x, s)) / s[:, None]), "A1"),
}  # fmt: skip


# Flows


def flow(change: Callable[[an.Trajectory], an.Trajectory]) -> Any:
    """An exact flow whose result is tampered with."""

    def wrong(D: Any, *args: Any, **options: Any) -> an.Trajectory:
        return change(an.integrate(D, *args, **options))

    return lambda data: replace(_faults.subject(data), flow=wrong)


def asked(change: Callable[[Any, tuple, dict], tuple[Any, tuple, dict]]) -> Any:
    """An exact flow that is asked something else."""

    def wrong(D: Any, *args: Any, **options: Any) -> an.Trajectory:
        D, args, options = change(D, args, options)
        return an.integrate(D, *args, **options)

    return lambda data: replace(_faults.subject(data), flow=wrong)


def _moved(run: an.Trajectory) -> an.Trajectory:
    scale = run.sigmas[:, None, None] / run.sigmas[0]
    return replace(run, states=run.states + 1e-4 * scale * (1 - scale) * run.states[0])


def _swapped(run: an.Trajectory) -> an.Trajectory:
    states = run.states.copy()
    states[len(states) // 2 :] = states[len(states) // 2 :, ::-1]
    return replace(run, states=states)


def _shifted(run: an.Trajectory) -> an.Trajectory:
    states = run.states.copy()
    states[1:-1] = run.states[2:]
    return replace(run, states=states)


def _early(D: Any, x: Any, high: float, low: float = 0.0, **options: Any) -> an.Trajectory:
    kept = options.pop("save_at", None)
    if kept is not None:
        kept = [level for level in np.asarray(kept) if level > 1.001 * low]
    run = an.integrate(D, x, high, 1.001 * low, save_at=kept, **options)
    return replace(run, sigmas=np.append(run.sigmas[:-1], low))


FLOWS = {
    "field a hundredth too strong": (
        lambda d: replace(_faults.subject(d), flow=_faults.overshooting_flow), "C2,C4"),
    "detours": (lambda d: replace(_faults.subject(d), flow=_faults.jittery_flow), "C1,C2,C6"),
    "states pushed aside": (flow(_moved), "C1,C2,C4"),
    "rows change places": (flow(_swapped), "C1,C4,C6"),
    "states of the next level": (flow(_shifted), "C1,C2,C4"),
    "loose tolerance": (asked(lambda D, a, o: (D, a, o | {"rtol": 1e-3, "atol": 1e-3})), "C2,C4"),
    "stops a thousandth early": (lambda d: replace(_faults.subject(d), flow=_early), "C2,C4"),
    "starts a thousandth low": (
        asked(lambda D, a, o: (lambda x, s: D(x, 0.999 * np.asarray(s)), a, o)), "C2,C4"),
}  # fmt: skip


# Solvers


def solver(name: str, step: solvers.Step) -> Any:
    return lambda data: _faults.with_solver(data, name, step)


def tampered(name: str, change: Callable[[Floats], Floats]) -> Any:
    """A solver whose step sees other outputs than the denoiser's."""

    def sampler(D: Any, x: Any, sigmas: Any, solver: Any = "heun", **options: Any) -> Any:
        method = solvers.get(solver)
        if method.name != name:
            return an.sample(D, x, sigmas, method, **options)

        def step(evaluate: Any, path: Any, t: float) -> Floats:
            return change(method.step(evaluate, path, t), path, t)  # type: ignore[call-arg]

        return an.sample(D, x, sigmas, replace(method, step=step), **options)

    return lambda data: replace(_faults.subject(data), sampler=sampler)


def _heun_stale(evaluate: Any, path: Any, t: float) -> Floats:
    now = path[0]
    ahead = solvers.euler_step(now.x, now.denoised, now.sigma, t)
    there = (ahead - evaluate(ahead, now.sigma)) / t
    return now.x + 0.5 * (t - now.sigma) * (now.slope + there)


def _heun_mean(evaluate: Any, path: Any, t: float) -> Floats:
    now = path[0]
    ahead = solvers.euler_step(now.x, now.denoised, now.sigma, t)
    return solvers.euler_step(now.x, 0.5 * (now.denoised + evaluate(ahead, t)), now.sigma, t)


def _log_euler(evaluate: Any, path: Any, t: float) -> Floats:
    now = path[0]
    return now.x + np.log(t / now.sigma) * (now.x - now.denoised) if t else now.denoised


def _inverse_ratio(evaluate: Any, path: Any, t: float) -> Floats:
    now, s = path[0], path[0].sigma
    if len(path) == 1:
        return solvers.euler_step(now.x, now.denoised, s, t)
    r = np.log(s / t) / np.log(path[1].sigma / s)
    bent = now.denoised + (now.denoised - path[1].denoised) / (2 * r)
    return solvers.euler_step(now.x, bent, s, t)


def _equal(evaluate: Any, path: Any, t: float) -> Floats:
    return solvers.get("ipndm").step(evaluate, path, t)


def _reversed(name: str, **options: Any) -> solvers.Step:
    """A multistep solver with its history the wrong way round."""

    def step(evaluate: Any, path: Any, t: float) -> Floats:
        past = [node.denoised for node in path][::-1]
        mixed = tuple(node._replace(denoised=d) for node, d in zip(path, past, strict=True))
        return solvers.get(name, **options).step(evaluate, mixed, t)

    return step


SOLVERS = {
    "asks at the next level": (
        lambda d: replace(_faults.subject(d), sampler=_faults.stale_sampler), "C1"),
    "Heun at the predictor's σ": (solver("heun", _heun_stale), "E1,E2"),
    "Heun that averages outputs": (solver("heun", _heun_mean), "E1,E2"),
    "Euler in log σ": (solver("euler", _log_euler), "C1"),
    "2M with its ratio upside down": (solver("dpmpp_2m", _inverse_ratio), "E1"),
    "2M with its history reversed": (solver("dpmpp_2m", _reversed("dpmpp_2m")), "E1"),
    "DPM-Solver-2 at another midpoint": (
        solver("dpm_2", solvers.get("dpm_2", r=0.4).step), "E1"),
    "2S at another midpoint": (solver("dpmpp_2s", solvers.get("dpmpp_2s", r=0.6).step), "E1"),
    "LMS with equal steps": (solver("lms", _equal), "E1,E3"),
    "LMS with its history reversed": (solver("lms", _reversed("lms")), "E1,E3"),
    "DEIS in σ": (solver("deis", solvers.get("lms").step), "E1"),
    "UniPC without its corrector": (
        lambda d: replace(_faults.subject(d), sampler=_uncorrected), "E1"),
    "step a ten-thousandth long": (tampered("heun", lambda y, p, t: y + 1e-4 * (y - p[0].x)), "E1"),
}  # fmt: skip


def _uncorrected(D: Any, x: Any, sigmas: Any, solver: Any = "heun", **options: Any) -> Any:
    return an.sample(D, x, sigmas, replace(solvers.get(solver), correct=None), **options)


# Certificates and training


def certify(change: Callable[[Any, Any, Any, Any], Any]) -> Any:
    return lambda data: replace(_faults.subject(data), certify=change)


def _all_certified(D: Any, x: Any, sigma: Any, index: Any = None) -> Any:
    found = certificate(D, x, sigma, index)
    return replace(found, certified=np.ones_like(found.certified))


OTHERS = {
    "certificate at σ/√2": (
        lambda d: replace(_faults.subject(d), certify=_faults.hasty_certificate), "D1"),
    "certificate for everything": (certify(_all_certified), "D1"),
    "training at σ/√2": (claims.registry["G4"].counter_model, "G4"),
}  # fmt: skip

MUTANTS: dict[str, tuple[Callable[[an.PointSet], Subject], str]] = {
    **DENOISERS,
    **FLOWS,
    **SOLVERS,
    **OTHERS,
}


def kills(mutant: Callable[[an.PointSet], Subject], asked: str) -> list[str]:
    """Ids of the claims that reject a mutant."""
    data = points()
    subject = mutant(data)
    found = []
    for claim in claims.select(asked):
        if claim.check(subject, data, 1, quick=True).status is Status.FAILS:
            found.append(claim.id)
    return found


if __name__ == "__main__":
    for name, (mutant, _) in MUTANTS.items():
        found = []
        for claim in claims.registry:
            try:
                found += kills(mutant, claim)
            except (ValueError, TypeError, FloatingPointError):
                found.append(f"({claim} stops)")
        print(f"{name:36}", " ".join(found) or "SURVIVES", flush=True)
