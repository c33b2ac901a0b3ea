"""The registry of claims, and `verify`, which checks them on a denoiser and its data.

    registry["A3"].check(denoiser, points, rng)   one verdict
    verify(denoiser, points)                      a report over all of them

Theorems must hold on every case, to round-off or a stated bound; expectations
within confidence intervals; of observations the statistics are reported and
their exact part is judged; folklore is refuted by its counterexample. Sampling
supports a claim, it does not prove it.
"""

from __future__ import annotations

import fnmatch
import os
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import _check
from .._progress import Advance, bar
from ..denoisers import Denoiser
from ..points import PointSet, as_points
from ..report import Report
from . import (
    section_a,
    section_a_derivatives,
    section_a_limits,
    section_b,
    section_c,
    section_c_likelihood,
    section_c_maps,
    section_d,
    section_d_scales,
    section_e,
    section_f,
    section_f_shape,
    section_g,
    section_h,
)
from ._base import Case, Claim, Subject, noise_range
from ._journal import Journal

__all__ = ["Case", "Claim", "Subject", "explain", "registry", "select", "verify"]

_SECTIONS = (
    section_a,
    section_a_derivatives,
    section_a_limits,
    section_b,
    section_c,
    section_c_likelihood,
    section_c_maps,
    section_d,
    section_d_scales,
    section_e,
    section_f,
    section_f_shape,
    section_g,
    section_h,
)

registry: Mapping[str, Claim] = MappingProxyType(
    {
        claim.id: claim
        for claim in sorted(
            (claim for section in _SECTIONS for claim in section.CLAIMS),
            key=lambda claim: (claim.id[0], int(claim.id[1:])),
        )
    }
)
"""id -> `Claim`, in the order of the theory."""


def select(claims: str | Iterable[str]) -> tuple[Claim, ...]:
    """Claims by id or pattern: "all", "A*,D1", or an iterable of ids and patterns (`fnmatch`)."""
    if isinstance(claims, str):
        claims = list(registry) if claims == "all" else claims.split(",")
    if not isinstance(claims, Iterable):
        _check.fail("claims", _check.show(claims), "ids or 'all'", "name claims", TypeError)
    names: set[str] = set()
    for each in claims:
        pattern = str(each).strip()
        found = fnmatch.filter(registry, pattern)
        names.update(found or [_check.choice(pattern, "claims", registry)])
    if not names:
        _check.fail("claims", "an empty selection", "ids or 'all'", "name at least one claim")
    return tuple(registry[name] for name in registry if name in names)


def explain(claim: str) -> str:
    """Statement, domain, source and idea of the proof of one claim, as text."""
    found = registry[_check.choice(claim, "claim", registry)]
    return (
        f"{found.id}  {found.title}  ({found.kind})\n\n{found.statement}\n\n    {found.latex}\n\n"
        f"Domain: {found.domain}.\nWhy: {found.proof}\nSource: {found.source}."
    )


def verify(
    denoiser: Denoiser | Subject,
    points: Any,
    claims: str | Iterable[str] = "all",
    seed: int = 0,
    *,
    quick: bool = False,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
    progress: bool | Advance = False,
    resume: str | os.PathLike[str] | None = None,
) -> Report:
    """Check claims on a denoiser and its data.

    Parameters
    ----------
    denoiser : a denoiser, or a `Subject` that also replaces flow, sampler,
        certificate or noise.
    points : the data, a `PointSet` or (N, D) array.
    claims : "all", "A1,C*", or an iterable of ids and patterns.
    seed : the same seed gives the same report.
    quick : fewer cases.
    sigma_max, sigma_min : range of noise levels, in data units; by default 80
        and 0.002, times a power of ten where the data are not of order one.
    progress : show a progress bar on a terminal, or a function that is called
        with 1 after every claim.
    resume : folder in which finished verdicts are kept: a run that was interrupted continues
        from them, if denoiser, data and settings are the same. The report does not depend on
        it. Remove the folder when done.
    """
    chosen = select(claims)
    data = as_points(points)
    high, low = noise_range(data, sigma_max, sigma_min)
    if not callable(denoiser) and not isinstance(denoiser, Subject):
        _check.fail(
            "denoiser", _check.show(denoiser), "a callable", "see OptimalDenoiser", TypeError
        )
    dim = getattr(denoiser, "dim", data.dim)
    if dim != data.dim:
        _check.fail("points", f"D = {data.dim}", f"the denoiser's D = {dim}", "pass its own data")
    subject = denoiser if isinstance(denoiser, Subject) else Subject.of(denoiser, data)
    own = getattr(subject.denoiser, "points", data)
    if isinstance(own, PointSet) and not (
        own is data
        or (np.array_equal(own.points, data.points) and np.array_equal(own.weights, data.weights))
    ):
        _check.fail("points", repr(data), f"the denoiser's own {own!r}", "pass the same points")
    case = Case(subject, _check.seed(seed), _check.flag(quick, "quick"), high, low)
    verdicts = []
    journal = None if resume is None else Journal.of(resume, case, versions())
    with bar(len(chosen), f"verify {data.name}", progress) as advance:
        for claim in chosen:
            found = None if journal is None else journal.get(claim.id)
            if found is None:
                found = claim.test(case, claim)
                if journal is not None:
                    journal.put(found)
            verdicts.append(found)
            advance(1)
    settings = {data.name: {"N": len(data), "D": data.dim, "sigma": [high, low], "quick": quick}}
    return Report(tuple(verdicts), case.seed, versions(), settings)


def versions() -> dict[str, str]:
    """Versions of what computed a report."""
    found = {"python": platform.python_version()}
    for name in ("analytic-diffusion", "numpy", "scipy", "numba"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
