"""The exact flow beside general integrators, at equal or better achieved error.

From σ = 80 to 0.002 at rtol = 1e-10, ends only, without the error estimate. The error of
a start is |δx| at the end against our own flow at rtol = 1e-13, as near as float64 comes.
A peer runs at the largest rtol of 1e-8, …, 1e-13 at which its largest error over the
starts is not above ours, over our w = 1/σ with dy/dw = D, y = x/σ; SciPy over log σ, too,
which is about as fast.
Peers and we take turns; least seconds, compilation and warm-up excluded.

A new peer is one entry in `PEERS`. Alone: `python -m benchmarks.flow --only "moons/scipy*"`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import analytic as an
from analytic.report import write_atomic

from . import environment, report

__all__ = ["PEERS", "Peer", "Problem", "duel", "main", "measure", "problem"]

Floats = NDArray[np.float64]
Solve = Callable[[float], Floats]
"""Relative tolerance to last states (B, D)."""
Row = dict[str, Any]

HIGH, LOW, RTOL, REFERENCE = 80.0, 0.002, 1e-10, 1e-13
TOLERANCES = (1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13)
ROUNDS = 5
STARTS = {"moons": 1000, "digits": 256}
QUICK = 16
"""Starts of a quick run, which takes one round."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Data and starts."""

    name: str
    denoiser: an.OptimalDenoiser
    start: Floats

    @property
    def points(self) -> Floats:
        """(N, D)"""
        return self.denoiser.held.points

    def ours(self, rtol: float) -> Floats:
        """Last states of our flow."""
        flow = an.integrate(
            self.denoiser,
            self.start,
            HIGH,
            LOW,
            rtol=rtol,
            atol=rtol / 100,
            save_at=[],
            estimate_error=False,
        )
        if not flow.ok:
            raise RuntimeError(flow.explain())
        return flow.final

    def part(self, count: int | None) -> Problem:
        """The first starts only."""
        return Problem(self.name, self.denoiser, self.start[:count])


@dataclass(frozen=True)
class Peer:
    """A way to integrate; `make` raises `ImportError` for what is not installed."""

    make: Callable[[Problem], Solve]
    sample: int | None = None
    """starts that it is given at most; its time is scaled in proportion."""


@lru_cache(maxsize=1)
def problem(name: str, starts: int) -> Problem:
    """By name, with that many starts."""
    points = an.datasets.digits() if name == "digits" else an.datasets.two_moons(1000, seed=0)
    D = an.OptimalDenoiser(points)
    return Problem(name, D, np.asarray(an.noise(starts, D, HIGH, 1)))


def scipy_inverse(given: Problem) -> Solve:
    """One big system over w, our kernel on the right."""
    from scipy.integrate import solve_ivp

    D, x = given.denoiser, given.start

    def slope(w: float, y: Floats) -> Any:
        return D(y.reshape(x.shape) / w, 1 / w).ravel()

    def solve(rtol: float) -> Floats:
        options = {"method": "DOP853", "rtol": rtol, "atol": rtol, "t_eval": [1 / LOW]}
        found: Any = solve_ivp(slope, (1 / HIGH, 1 / LOW), x.ravel() / HIGH, **options)
        return np.asarray(found.y[:, -1].reshape(x.shape) * LOW)

    return solve


def scipy_log(given: Problem) -> Solve:
    """One big system over t = -log σ with dx/dt = D - x, our kernel on the right."""
    from scipy.integrate import solve_ivp

    D, x = given.denoiser, given.start
    span = (-np.log(HIGH), -np.log(LOW))

    def slope(t: float, z: Floats) -> Floats:
        z = z.reshape(x.shape)
        return np.asarray(D(z, np.exp(-t)) - z).ravel()

    def solve(rtol: float) -> Floats:
        # atol = rtol would be loose here: the state is x, of order 1 at the end
        options = {"method": "DOP853", "rtol": rtol, "atol": rtol / 100, "t_eval": span[1:]}
        return np.asarray(solve_ivp(slope, span, x.ravel(), **options).y[:, -1]).reshape(x.shape)

    return solve


def scipy_alone(given: Problem) -> Solve:
    """One trajectory at a time, NumPy on the right."""
    from scipy.integrate import solve_ivp

    points = given.points

    def slope(w: float, y: Floats) -> Floats:
        gap = points - y / w
        log = (-0.5 * w * w) * np.einsum("nd,nd->n", gap, gap)
        weights = np.exp(log - log.max())
        return np.asarray(weights @ points / weights.sum())

    def solve(rtol: float) -> Floats:
        options = {"method": "DOP853", "rtol": rtol, "atol": rtol, "t_eval": [1 / LOW]}
        ends = [
            solve_ivp(slope, (1 / HIGH, 1 / LOW), start / HIGH, **options).y[:, -1]
            for start in given.start
        ]
        return np.array(ends) * LOW

    return solve


def diffrax_rows(given: Problem) -> Solve:
    """Each trajectory with steps of its own, the right-hand side as one writes it."""
    import jax

    def slope(w: Any, y: Any, points: Any) -> Any:
        gap = points - y / w
        return jax.nn.softmax(-0.5 * w * w * (gap * gap).sum(1)) @ points

    return _diffrax(given, slope, given.points)


def diffrax_columns(given: Problem) -> Solve:
    """The same with points as columns and sums that XLA fuses: four times as fast."""
    import jax.numpy as jnp

    def slope(w: Any, y: Any, columns: Any) -> Any:
        gap = columns - (y / w)[:, None]
        log = (-0.5 * w * w * gap * gap).sum(0)
        weights = jnp.exp(log - log.max())
        return (columns * weights).sum(1) / weights.sum()

    return _diffrax(given, slope, given.points.T)


def _diffrax(given: Problem, slope: Callable[[Any, Any, Any], Any], points: Floats) -> Solve:
    import diffrax
    import jax

    jax.config.update("jax_enable_x64", True)
    start, data = jax.numpy.asarray(given.start / HIGH), jax.numpy.asarray(points)

    def one(y: Any, data: Any, rtol: Any) -> Any:
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),
            diffrax.Dopri8(),
            1 / HIGH,
            1 / LOW,
            1 / HIGH,
            y,
            data,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol),
            saveat=diffrax.SaveAt(t1=True),
            adjoint=diffrax.ForwardMode(),
            max_steps=None,
        )
        return found.ys[0]

    run = jax.jit(jax.vmap(one, (0, None, None)))
    return lambda rtol: np.asarray(run(start, data, rtol)) * LOW


def torchdiffeq(given: Problem) -> Solve:
    """One big system."""
    import torch
    from torchdiffeq import odeint

    torch.set_num_threads(int(an.kernels.threads.get_num_threads()))
    points, start = torch.tensor(given.points), torch.tensor(given.start / HIGH)
    span = torch.tensor([1 / HIGH, 1 / LOW], dtype=torch.float64)

    def slope(w: Any, y: Any) -> Any:
        gap = torch.cdist(y / w, points, compute_mode="donot_use_mm_for_euclid_dist")
        return torch.softmax(-0.5 * w * w * gap * gap, 1) @ points

    def solve(rtol: float) -> Floats:
        with torch.no_grad():
            # by itself it steps past the end and interpolates, to an error near 1e-9
            options = {"step_t": span[1:]}
            found = odeint(
                slope, start, span, rtol=rtol, atol=rtol, method="dopri8", options=options
            )
        return np.asarray(found[-1]) * LOW

    return solve


PEERS: dict[str, Peer] = {
    "moons/scipy DOP853, one system, 1/σ": Peer(scipy_inverse),
    "moons/scipy DOP853, one system, log σ": Peer(scipy_log),
    "moons/diffrax Dopri8": Peer(diffrax_rows),
    "moons/diffrax Dopri8, columns": Peer(diffrax_columns),
    "moons/torchdiffeq dopri8": Peer(torchdiffeq),
    "moons/scipy DOP853, one by one, NumPy": Peer(scipy_alone, 20),
    "digits/scipy DOP853, one system, 1/σ": Peer(scipy_inverse),
    "digits/scipy DOP853, one system, log σ": Peer(scipy_log),
}


def duel(given: Problem, peer: Peer, rounds: int = ROUNDS) -> Row:
    """What we and a peer take for the same starts, and how far off both are."""
    part = given.part(peer.sample)
    reference = _reference(given)[: len(part.start)]

    def off(states: Floats) -> Floats:
        return np.asarray(np.linalg.norm(states - reference, axis=1))

    mine = off(given.ours(RTOL)[: len(part.start)])
    row: Row = {
        "rtol": None,
        "seconds": None,
        "ours": None,
        "ratio": None,
        "largest error": None,
        "ours, largest": float(mine.max()),
        "median error": None,
        "ours, median": float(np.median(mine)),
        "starts": len(part.start),
        "remark": "",
    }
    try:
        solve = peer.make(part)
    except ImportError as error:
        return {**row, "remark": f"not installed: {error}"}
    for rtol in TOLERANCES:
        gap = off(solve(rtol))
        row |= {"largest error": float(gap.max()), "median error": float(np.median(gap))}
        if gap.max() <= mine.max():
            break
    else:
        return {**row, "rtol": rtol, "remark": "our error is not reached"}
    scale = len(given.start) / len(part.start)
    times: dict[str, list[float]] = {"seconds": [], "ours": []}
    for _ in range(rounds):
        for name, call in (("ours", lambda: given.ours(RTOL)), ("seconds", lambda: solve(rtol))):
            begin = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begin)
    row |= {"rtol": rtol, "seconds": scale * min(times["seconds"]), "ours": min(times["ours"])}
    row["ratio"] = row["seconds"] / row["ours"]
    if scale > 1:
        row["remark"] = f"scaled from {len(part.start)} to {len(given.start)} starts"
    return row


@lru_cache(maxsize=1)
def _reference(given: Problem) -> Floats:
    return given.ours(REFERENCE)


def measure(only: str = "*", quick: bool = False) -> list[Row]:
    """Seconds, tolerances and achieved errors, a row for each peer."""
    rows = []
    for name, peer in PEERS.items():
        if not fnmatchcase(name, only):
            continue
        data, _, label = name.partition("/")
        given = problem(data, QUICK if quick else STARTS[data])
        rows.append({"data": data, "peer": label, **duel(given, peer, 1 if quick else ROUNDS)})
        print(f"  {rows[-1]}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flow", description=__doc__)
    parser.add_argument("--only", default="*", metavar="GLOB", help="peers by name: DATA/PEER")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} starts, one round")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), metavar="DIR")
    options = parser.parse_args()
    environment.limit_threads()
    about, rows = environment.describe(), measure(options.only, options.quick)
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"environment": about, "rows": rows}, indent=1)
    write_atomic(options.out / "flow.json", text.encode())
    write_atomic(options.out / "flow.md", f"{__doc__}\n{report.side(rows)}\n".encode())


if __name__ == "__main__":
    main()
