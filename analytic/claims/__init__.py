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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import metadata
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import _check
from .._named import checked
from .._progress import Advance, bar
from ..compare import Comparison, compare
from ..denoisers import Denoiser, OptimalDenoiser, called
from ..grids import noise_range, polynomial
from ..points import PointSet, as_points
from ..report import Report, Verdict
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
from ._base import Case, Claim, Subject
from ._journal import Journal
from ._models import on_model, told

__all__ = [
    "Case",
    "Claim",
    "Subject",
    "explain",
    "registry",
    "select",
    "units",
    "verify",
]

SPLICES = (1.0, 0.3, 0.1)
"""Levels, in units of the data scale, at which denoisers are replaced in a comparison."""
WORK = 2e11
"""Products that the posteriors of a comparison may cost, unless that left too few samples."""

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
    names: set[str] = set()
    for each in _check.words(claims, "claims"):
        pattern = each.strip()
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
    model: Denoiser | None = None,
) -> Report:
    """Check claims on a denoiser and its data, and on a learned model of them.

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
    model : a learned denoiser of the data, or what `learned.as_denoiser` makes one of. G1 to
        G3 are then tested on it in place of random features; C1, C6 and E1 to E3 on it as well,
        as far as they speak of any denoiser; no other claim is. Its verdicts name data
        and model. `Report.comparisons` then holds its comparison with the optimal denoiser
        (`analytic.compare`).
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
    if model is not None:
        subject = replace(subject, model=model, model_name=called(model))
    if subject.model is not None:
        subject = replace(subject, model=checked(subject.model, data))
    case = Case(subject, _check.seed(seed), _check.flag(quick, "quick"), high, low)
    verdicts = []
    journal = (
        None if resume is None else Journal.of(_check.path(resume, "resume"), case, versions())
    )
    with bar(units(chosen, subject.model), f"verify {data.name}", progress) as advance:
        for name, test in _tests(chosen, case):
            found = None if journal is None else journal.get(name)
            if found is None:
                found = test()
                if journal is not None:
                    journal.put(name, found)
            verdicts.append(found)
            advance(1)
        compared = {} if subject.model is None else {data.name: _compared(case)}
        if compared:
            advance(1)
    settings: dict[str, Any] = {
        "N": len(data), "D": data.dim, "sigma": [high, low], "quick": quick
    }  # fmt: skip
    if compared:
        settings["model"] = subject.model_name
    return Report(tuple(verdicts), case.seed, versions(), {data.name: settings}, compared)


def units(claims: Sequence[Claim], model: object | None) -> int:
    """Moves that the progress bar of `verify` makes: verdicts, and a comparison."""
    if model is None:
        return len(claims)
    return len(claims) + sum(claim.any_denoiser is not None for claim in claims) + 1


def _tests(claims: Sequence[Claim], case: Case) -> Iterator[tuple[str, Callable[[], Verdict]]]:
    """Names and tests, those on the model after the same claim's on the denoiser."""
    other = None
    for claim in claims:
        yield claim.id, partial(claim.test, case, claim)
        if case.subject.model is not None and claim.any_denoiser is not None:
            other = on_model(case) if other is None else other
            yield f"{claim.id}-model", partial(_on_model, claim.any_denoiser, other, claim)


def _on_model(test: Callable[[Case, Claim], Verdict], case: Case, claim: Claim) -> Verdict:
    return told(case, test(case, claim))


def _compared(case: Case) -> Comparison:
    """The subject's model beside the optimal denoiser: fewer samples where points are many."""
    data, most = case.points, 128 if case.quick else 512
    assert case.subject.model is not None
    grid = polynomial(24, case.sigma_max, case.sigma_min)
    work = len(grid) * len(data) * data.dim
    unit = float(np.sqrt(data.total_variance)) or 1.0
    return compare(
        case.subject.model,
        OptimalDenoiser(data),
        sigmas=grid,
        n=int(max(32, min(most, WORK / work))),
        starts=16 if case.quick else 64,
        seed=case.seed,
        replace_at=[share * unit for share in SPLICES],
        keep=False,
        name=case.subject.model_name,
    )


def versions() -> dict[str, str]:
    """Versions of what computed a report."""
    found = {"python": platform.python_version()}
    for name in ("analytic-diffusion", "numpy", "scipy", "numba"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
