"""What may be asked of a flow beside its states.

Along the path, as quadratures carried through the steps of the integrator in
w = 1/σ, y = x/σ, which interpolates them to the saved levels too:

    density    log p_σ(x) = log p_0(x_0) + D_dim log(w/w_0) - ∫ w tr C dw   (theory C3)
    length     L = ∫ |x - D|/w |dw|
    tangents   δx(σ) = (σ/σ_0) δy,   dδy/dw = (∂D/∂x) δy/w,   δy = δx at the start.

At the saved states by themselves: log p in closed form, the curvature
κ = σ|P⊥D'|/|x - D|² (theory C2), the posterior's statistics. In the span of the data
(`analytic.span`) the part of a state outside is x⊥ = σ a, a constant: the density gains
the factor N(x⊥; 0, σ²I), the speed is (|x - D|²/σ² + |a|²)^½, and tangents outside
scale as σ/σ_0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check
from .denoisers import Denoiser
from .field import curvature, trace_covariance
from .posterior import Posterior, Top
from .span import Reduced
from .trajectory import Trajectory

__all__ = ["NAMES", "Riders", "at_states", "capable", "cast", "lift", "requested"]

Floats = NDArray[np.float64]
Extras = dict[str, Any]
"""Fields of a `Trajectory` by name."""

NAMES = ("arc_length", "curvature", "jacobian", "log_prob", "posterior")

_NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    "log_prob": (("log_prob",), ("trace_cov", "posterior", "jacobian")),
    "jacobian": (("jacobian", "jvp"),),
    "posterior": (("posterior",),),
}
"""Methods of a denoiser, one of each group, that a quantity is made from."""


def requested(denoiser: Denoiser, quantities: Any) -> frozenset[str]:
    """The names asked for, each known and within the denoiser's means."""
    if isinstance(quantities, (str, bytes)) or not isinstance(quantities, Iterable):
        _check.fail(
            "quantities",
            _check.show(quantities),
            "a tuple of names",
            "write quantities=('log_prob',) for one",
            TypeError,
        )
    names = frozenset(_check.choice(name, "quantities", NAMES) for name in quantities)
    for name in sorted(names):
        capable(denoiser, name, f"{name!r}", "quantities")
    return names


def capable(denoiser: Denoiser, name: str, shown: str, argument: str) -> None:
    """Refuse a quantity for which the denoiser lacks a method."""
    for group in _NEEDED.get(name, ()):
        if not any(callable(getattr(denoiser, each, None)) for each in group):
            _check.fail(
                argument,
                f"{shown} for a denoiser ({type(denoiser).__name__}) without {' or '.join(group)}",
                "a denoiser with " + " and ".join(" or ".join(each) for each in _NEEDED[name]),
                "leave it out, or take a denoiser that is known in closed form",
            )


@dataclass(frozen=True, eq=False)
class Riders:
    """Components that B trajectories carry beside y: density, length, tangents, each optional."""

    denoiser: Denoiser
    sigma: float
    """Level σ_0 of the starts."""
    across: Floats
    """(B,) |a|, the size of what lies outside the span, per unit of σ."""
    density: bool
    length: bool
    tangents: Floats
    """(B, D, k) δx at the starts, k ≥ 0."""
    names: tuple[str, ...]
    """What the tangents are: the "jacobian" (D of them), a "tangent" (one)."""

    @classmethod
    def of(
        cls,
        denoiser: Denoiser,
        names: frozenset[str],
        sigma: float,
        start: Floats,
        tangent: Floats | None,
        across: Floats,
    ) -> Riders | None:
        """What the quantities asked for need, None if that is nothing."""
        count, dim = start.shape
        columns = {}
        if "jacobian" in names:
            columns["jacobian"] = np.broadcast_to(np.eye(dim), (count, dim, dim))
        if tangent is not None:
            columns["tangent"] = tangent[:, :, None]
        density, length = "log_prob" in names, "arc_length" in names
        if not (density or length or columns):
            return None
        together = np.concatenate([np.empty((count, dim, 0)), *columns.values()], axis=2)
        return cls(denoiser, sigma, across, density, length, together, tuple(columns))

    @property
    def count(self) -> int:
        """R, how many components there are."""
        _, dim, columns = self.tangents.shape
        return self.density + self.length + dim * columns

    def start(self) -> Floats:
        """(B, R) values at the starts."""
        rows = len(self.across)
        none = np.zeros((rows, self.density + self.length))
        return np.concatenate([none, self.tangents.reshape(rows, self.count - none.shape[1])], 1)

    def groups(self) -> list[slice]:
        """The density, the length and all tangents, as far as they are there."""
        single = self.density + self.length
        found = [slice(k, k + 1) for k in range(single)]
        return [*found, slice(single, None)] if self.names else found

    def rates(
        self, x: Floats, sigma: Floats, mean: Floats, trace: Any, rows: Any, values: Floats
    ) -> Floats:
        """(B, R) derivatives in w of values (B, R) of some rows, at states x with D = mean.

        `trace` is tr C, (B,), where known. NaN where a state is not finite, and for
        tangents that are not.
        """
        result = np.full(values.shape, np.nan)
        good = np.isfinite(np.concatenate([x, mean], axis=1)).all(axis=1)
        if not good.any():
            return result
        x, sigma, mean, values = x[good], sigma[good], mean[good], values[good]
        found = []
        if self.density:
            known = trace is not None
            spread = trace[good] if known else trace_covariance(self.denoiser, x, sigma)
            found.append((spread / sigma)[:, None])
        if self.length:
            speed = np.hypot(_norm(x - mean), self.across[rows[good]] * sigma)
            found.append((speed * sigma)[:, None])
        if self.names:
            v = values[:, self.density + self.length :]
            turned, live = np.full(v.shape, np.nan), np.isfinite(v).all(axis=1)
            if live.any():
                shape = (-1, *self.tangents.shape[1:])
                moved = self._turned(x[live], sigma[live], v[live].reshape(shape))
                turned[live] = moved.reshape(len(moved), -1) * sigma[live, None]
            found.append(turned)
        result[good] = np.concatenate(found, axis=1)
        return result

    def _turned(self, x: Floats, sigma: Floats, v: Floats) -> Floats:
        """(∂D/∂x) v for v (B, D, k)."""
        known: Any = self.denoiser
        if hasattr(known, "jacobian") and (v.shape[2] > 1 or not hasattr(known, "jvp")):
            return np.asarray(known.jacobian(x, sigma) @ v)
        columns = [known.jvp(x, sigma, np.ascontiguousarray(c)) for c in np.moveaxis(v, 2, 0)]
        return np.stack(columns, axis=2)

    def drop(self, values: Floats) -> None:
        """NaN for tangents that grew beyond 1e250: on a separatrix they do so without bound."""
        tangents = values[:, self.density + self.length :]
        tangents[(np.abs(tangents) > 1e250).any(axis=1)] = np.nan

    def allowed(self, before: Floats, after: Floats, rtol: float, atol: float) -> Floats:
        """(B, R) what a step may be off by: rtol of nats, of a length, of a tangent's size."""
        size = np.maximum(np.abs(before), np.abs(after))
        found = rtol * size
        if self.density:
            found[:, 0] = rtol * np.maximum(1.0, size[:, 0])
        if self.length:
            found[:, int(self.density)] += atol
        if self.names:
            single = self.density + self.length
            each = found[:, single:].reshape(-1, *self.tangents.shape[1:])
            largest = np.broadcast_to(each.max(axis=1, keepdims=True), each.shape)
            found[:, single:] = largest.reshape(len(size), -1)
        return found

    def settled(self, odds: Floats, w: Floats, diameter: float, rtol: float) -> Any:
        """(B,) whether what is left of the quadratures down to σ = 0 is below the tolerance.

        The integrands are at most tr C w² ≤ odds (diam w)² per unit of log w, and the
        odds against the data point where the flow ends fall exponentially in w.
        """
        with np.errstate(over="ignore"):
            return odds * (diameter * w) ** 2 <= 0.05 * rtol

    def tail(self, values: Floats, offset: Floats, sigma: float, share: Floats, row: Any) -> Floats:
        """(n, R) values of one row on its straight end x_i + share · offset, from `sigma` on."""
        result = np.repeat(values[None], len(share), axis=0)
        if self.length:
            whole = np.hypot(_norm(offset[None])[0], self.across[row] * sigma)
            result[:, int(self.density)] += whole * (1 - share[:, 0])
        return result

    def finish(self, values: Floats, x: Floats, sigmas: Floats) -> Extras:
        """Fields of a trajectory from starts x (B, D) and values (T, B, R) at the levels."""
        found: Extras = {}
        dim = x.shape[1]
        if self.density:
            known: Any = self.denoiser
            with np.errstate(divide="ignore"):
                volume = np.where(sigmas > 0, np.log(self.sigma / sigmas), np.nan)
            first = known.log_prob(x, self.sigma)
            found["log_prob_flow"] = first + dim * volume[:, None] - values[:, :, 0]
        if self.length:
            # up in σ the integral in w runs backwards
            found["arc_length"] = np.abs(values[:, :, int(self.density)])
        shape = (*values.shape[:2], *self.tangents.shape[1:])
        moved = values[:, :, self.density + self.length :].reshape(shape)
        moved = moved * (sigmas / self.sigma)[:, None, None, None]
        if "jacobian" in self.names:
            found["jacobian"] = moved[..., :dim]
        if "tangent" in self.names:
            found["tangent"] = moved[..., -1]
        return found


def at_states(
    denoiser: Denoiser,
    names: frozenset[str],
    states: Floats,
    sigmas: Floats,
    across: Floats,
    done: NDArray[np.bool_],
) -> Extras:
    """Quantities at states (T, B, D) that need no path; NaN where the state is.

    At σ = 0: no density (NaN), and of trajectories that end on a data point the
    limits, 0 of curvature, tr C and entropy.
    """
    shape = states.shape[:2]
    known: Any = denoiser
    finite = np.asarray(np.isfinite(states).all(axis=2))
    limit = np.where(done, 0.0, np.nan)
    found: Extras = {}
    if "log_prob" in names:
        found["log_prob"] = np.full(shape, np.nan)
    if "curvature" in names:
        found["curvature"] = np.full(shape, np.nan)
    if "posterior" in names:
        statistics = {name: np.full(shape, np.nan) for name in ("log_prob", "trace_cov", "entropy")}
        found["posterior"] = Posterior(
            states.copy(), **statistics, _top=_Top(known, states, sigmas), _count=_count(known)
        )
    for k, sigma in enumerate(sigmas):
        rows = np.flatnonzero(finite[k])
        x, level = states[k, rows], np.full(rows.size, sigma)
        if "log_prob" in names and sigma > 0 and rows.size:
            found["log_prob"][k, rows] = known.log_prob(x, level)
        if "curvature" in names:
            found["curvature"][k, rows] = (
                curvature(denoiser, x, level, across[rows]) if sigma > 0 else limit[rows]
            )
        if "posterior" in names:
            here: Posterior = found["posterior"]
            if sigma > 0 and rows.size:
                at = known.posterior(x, level)
                here.mean[k, rows] = at.mean
                for name, value in statistics.items():
                    value[k, rows] = getattr(at, name)
            elif sigma == 0:
                here.trace_cov[k], here.entropy[k] = limit, limit
    return found


@dataclass(frozen=True, eq=False)
class _Top:
    """The heaviest points along a path; index -1 and weight NaN where there is no state."""

    denoiser: Any
    states: Floats
    sigmas: Floats

    def __call__(self, k: int) -> Top:
        shape = (*self.states.shape[:2], k)
        index, weight = np.full(shape, -1), np.full(shape, np.nan)
        for t, sigma in enumerate(self.sigmas):
            rows = np.isfinite(self.states[t]).all(axis=1)
            if sigma > 0 and rows.any():
                top = self.denoiser.posterior(self.states[t, rows], sigma).top(k)
                index[t, rows], weight[t, rows] = top.index, top.weight
        return Top(index, weight)


def _count(denoiser: Any) -> int:
    return len(getattr(denoiser, "points", ())) or 2**62


def lift(found: Trajectory, reduced: Reduced, tangent: Floats | None, rest: Floats) -> Extras:
    """Quantities in the space of the data from those in its span; x⊥ = rest (B, D) at the start."""
    basis, levels = reduced.span.basis, found.sigmas
    rank, dim = basis.shape
    share = (levels / levels[0])[:, None, None]
    with np.errstate(divide="ignore"):
        width = np.where(levels > 0, np.log(levels) + 0.5 * np.log(2 * np.pi), np.nan)
    outside = (rank - dim) * width[:, None] - 0.5 * (_norm(rest) / levels[0]) ** 2
    lifted: Extras = {}
    if found.log_prob is not None:
        lifted["log_prob"] = found.log_prob + outside
    if found.log_prob_flow is not None:
        lifted["log_prob_flow"] = found.log_prob_flow + outside
    if found.jacobian is not None:
        beside = np.eye(dim) - basis.T @ basis
        lifted["jacobian"] = basis.T @ found.jacobian @ basis + share[..., None] * beside
    if found.tangent is not None and tangent is not None:
        beside = tangent - (tangent @ basis.T) @ basis
        lifted["tangent"] = found.tangent @ basis + share * beside
    if found.posterior is not None:
        lifted["posterior"] = replace(
            found.posterior,
            mean=reduced.lift(np.asarray(found.posterior.mean, dtype=np.float64)),
            log_prob=found.posterior.log_prob + outside,
        )
    return lifted


def cast(found: Trajectory, dtype: Any) -> Trajectory:
    """States and quantities in a float dtype."""
    if dtype == np.float64:
        return found
    names = ("states", "denoised", "log_prob", "log_prob_flow", "jacobian", "tangent")
    parts: Extras = {name: getattr(found, name) for name in (*names, "arc_length", "curvature")}
    parts = {name: part.astype(dtype) for name, part in parts.items() if part is not None}
    if (post := found.posterior) is not None:
        statistics = ("mean", "log_prob", "trace_cov", "entropy")
        parts["posterior"] = replace(
            post, **{name: getattr(post, name).astype(dtype) for name in statistics}
        )
    return replace(found, **parts)


def _norm(rows: Floats) -> Floats:
    return np.asarray(np.linalg.norm(rows, axis=1))
