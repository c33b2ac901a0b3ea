"""What lies between two latents, once decoded.

A path of latents x_λ from a to b (`analytic.latents`), each taken to its end by the exact flow
or by a sampler. For an optimal denoiser almost every latent ends on a data point, and all
of a neighbourhood ends on the same one: decoded, the path stands still and jumps. Where it
jumps x_λ crosses a separatrix; bisection of λ finds the places.

|x_λ|/(σ√D), near 1 for a latent of the law N(0, σ²I), tells whether the flow can know x_λ
from noise at all: in the middle of a straight line it is near √½ (theory H1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check, latents
from .denoisers import Denoiser, dimension_of
from .distill import Ends, consistency
from .flow import RTOL_FLOOR
from .sampling import sample
from .solvers import Solver

__all__ = ["Decoded", "Switches", "decode"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Switches:
    """M places on paths at which the decoded data point changes, path by path, λ ascending."""

    row: NDArray[np.intp]
    """(M,) the path."""
    low: Floats
    """(M,) share just before the change,"""
    high: Floats
    """(M,) and just after, at most the tolerance away."""
    before: NDArray[np.int64]
    """(M,) data point at `low`,"""
    after: NDArray[np.int64]
    """(M,) and at `high`."""

    @property
    def share(self) -> Floats:
        """(M,) the middle of each bracket."""
        return 0.5 * (self.low + self.high)

    def __len__(self) -> int:
        return int(self.row.size)


@dataclass(frozen=True, eq=False)
class Decoded:
    """B paths of latents at K shares, and where they end."""

    shares: Floats
    """(K,) λ."""
    latents: NDArray[Any]
    """(K, B, D) x_λ."""
    ends: NDArray[Any]
    """(K, B, D) decoded; NaN where the flow did not arrive."""
    norms: Floats
    """(K, B) |x_λ|/(σ√D)."""
    result: NDArray[np.int64]
    """(K, B) codes of `analytic.trajectory.Result`."""
    error: Floats
    """(K, B) estimated global error of the ends, in data units; NaN where not estimated."""
    index: NDArray[np.int64] | None
    """(K, B) data point that each latent ends on, the nearest where not certified. This and what
    follows for the exact flow of an `OptimalDenoiser`, else None."""
    certified: NDArray[np.bool_] | None
    """(K, B) whether a trap certificate proves it of the computed trajectory (theory D1)."""
    switches: Switches | None
    """Where the data point changes. What changes and changes back between two neighbouring
    shares is not seen."""


def decode(
    denoiser: Denoiser,
    a: Any,
    b: Any,
    shares: Any = 17,
    *,
    how: str = "spherical",
    sigma_max: float = 80.0,
    sigma_min: float = 0.0,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    estimate_error: bool = False,
    tol: float = 1e-6,
    sigmas: Any = None,
    solver: str | Solver = "heun",
) -> Decoded:
    """Decode the path between latents a and b.

    Parameters
    ----------
    denoiser : any denoiser; the flow down to σ_min = 0 needs an `OptimalDenoiser`.
    a, b : (B, D) or (D,) latents at σ_max, of standard deviation σ_max, in data units.
    shares : (K,) ascending λ in [0, 1], or how many, at equal distances.
    how : "spherical", "linear" or "variance_preserving", see `analytic.latents`.
    sigma_max, sigma_min, rtol, atol, estimate_error : those of `analytic.integrate`.
    tol : width in λ to which changes of the data point are bisected, ≥ 1e-12; 1 keeps the brackets
        that `shares` give. Closer to a separatrix than some rtol the flow cannot tell its sides.
    sigmas, solver : levels and solver of `analytic.sample`, to decode by a sampler instead;
        then `sigmas` starts at σ_max, and `index`, `certified` and `switches` are None.

    Raises
    ------
    ValueError, TypeError
        for bad shares and latents, a grid that does not start at σ_max, and as `integrate`,
        `sample` and the paths do.
    """
    dim = dimension_of(denoiser, a)
    first, _, dtype = _check.queries(a, dim, "a")
    second, _, _ = _check.queries(b, dim, "b")
    parts = _shares(shares)
    width = _check.number(tol, "tol", low=1e-12, high=1.0)
    level = _check.number(sigma_max, "sigma_max", low=1e-300, high=_check.SIGMA_LIMIT)
    least = _check.number(sigma_min, "sigma_min", low=0.0, high=_check.SIGMA_LIMIT)
    if not level > least:
        _check.fail("sigma_max", repr(level), f"more than sigma_min = {least!r}", "swap the two")
    _check.choice(how, "how", latents.PATHS)
    # those of the flow, too, where a sampler does not use them
    _check.number(rtol, "rtol", low=RTOL_FLOOR, high=1.0)
    _check.number(atol, "atol", low=0.0)
    estimated = _check.flag(estimate_error, "estimate_error")
    path = getattr(latents, how)(first, second, parts)
    flat = path.reshape(-1, dim)

    def flow(x: Floats, estimate: bool = False) -> Ends:
        return consistency(denoiser, x, level, least, rtol=rtol, atol=atol, estimate_error=estimate)

    if sigmas is not None:
        ends = _sampled(denoiser, flat, level, sigmas, solver)
    else:
        ends = flow(flat, estimated)
    shape = path.shape[:2]
    norms = np.linalg.norm(path / level, axis=2) / np.sqrt(dim)
    index = certified = switches = None
    if ends.collapse is not None:
        index = ends.collapse.index.reshape(shape)
        certified = ends.collapse.certified.reshape(shape)

        def ends_at(rows: NDArray[np.intp], at: Floats) -> NDArray[np.int64]:
            found = flow(latents.rowwise(how, first[rows], second[rows], at)).collapse
            assert found is not None
            return found.index

        switches = _switches(parts, index, ends_at, width)
    return Decoded(
        parts,
        path.astype(dtype, copy=False),
        ends.points.reshape(path.shape).astype(dtype, copy=False),
        norms,
        ends.result.reshape(shape),
        ends.error.reshape(shape),
        index,
        certified,
        switches,
    )


def _sampled(denoiser: Denoiser, x: Floats, level: float, sigmas: Any, solver: Any) -> Ends:
    path = sample(denoiser, x, sigmas, solver)
    if path.sigmas[0] != level:
        _check.fail(
            "sigmas",
            f"a first level of {float(path.sigmas[0])!r}",
            f"sigma_max = {level!r}, where the latents are",
            "pass the same level twice",
        )
    return Ends(path.final, path.error, path.result, None)


def _shares(value: Any) -> Floats:
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return np.linspace(0.0, 1.0, _check.integer(value, "shares", low=2))
    found = _check.array(value, "shares").astype(np.float64)
    if found.ndim != 1 or not found.size or found.min() < 0 or found.max() > 1:
        _check.fail("shares", _check.show(value), "(K,) numbers in [0, 1]", "or pass how many")
    if (np.diff(found) <= 0).any():
        _check.fail("shares", _check.show(value), "ascending shares", "sort them")
    return found


def _switches(
    shares: Floats,
    index: NDArray[np.int64],
    ends_at: Callable[[NDArray[np.intp], Floats], NDArray[np.int64]],
    tol: float,
) -> Switches:
    """Bisect every bracket of two neighbouring shares with different ends, all side by side.

    A third data point in the middle makes two brackets of one.
    """
    k, row = np.nonzero(index[1:] != index[:-1])
    low, high = shares[k], shares[k + 1]
    before, after = index[k, row], index[k + 1, row]
    while (wide := np.flatnonzero(high - low > tol)).size:
        middle = 0.5 * (low[wide] + high[wide])
        found = ends_at(row[wide], middle)
        left, right = found != before[wide], found != after[wide]
        # brackets that stay as they are, and the halves across which the end changes
        done = np.setdiff1d(np.arange(row.size), wide)
        one, two = wide[left], wide[right]
        row = np.concatenate([row[done], row[one], row[two]])
        before, after = (
            np.concatenate([before[done], before[one], found[right]]),
            np.concatenate([after[done], found[left], after[two]]),
        )
        low, high = (
            np.concatenate([low[done], low[one], middle[right]]),
            np.concatenate([high[done], middle[left], high[two]]),
        )
    order = np.lexsort((low, row))
    return Switches(row[order], low[order], high[order], before[order], after[order])
