"""A user's model under test: which claims, how exactly, and how a verdict says so.

Statements about the optimal denoiser are not tested on a model: they would fail, and say
nothing. Tested on it are G1 to G3, which are about learned denoisers, and what some others
say of any denoiser (`Claim.any_denoiser`). Those are identities, between numbers that were
computed in two ways; a model's own rounding, float32's say, enters both.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..denoisers import Denoiser, apply
from ..report import Verdict
from ._base import Case

__all__ = ["fingerprint", "on_model", "told"]

Floats = NDArray[np.float64]

ROWS = 32
HALF = 2.0**-25
"""A step of x, relatively, that moves half of all float32 numbers."""


def on_model(case: Case) -> Case:
    """The same case, with the model in the denoiser's place."""
    model = case.subject.model
    assert model is not None
    subject = replace(case.subject, denoiser=model, build=None)
    return replace(case, subject=subject, rounding=_rounding(model, case))


def told(case: Case, verdict: Verdict) -> Verdict:
    """The verdict, saying on which model it was found; as it is where no model was given."""
    if case.subject.model is None:
        return verdict
    name = case.subject.model_name
    note = f"Tested on the model {name}. {verdict.note}".strip()
    return replace(verdict, data=f"{verdict.data} · {name}", note=note)


def fingerprint(case: Case) -> bytes:
    """What tells one model from another: outputs at a few queries, and its name."""
    model = case.subject.model
    if model is None:
        return b""
    x, sigma = case.queries(np.random.default_rng([case.seed, 5]), ROWS)
    key = hashlib.sha256(case.subject.model_name.encode())
    key.update(np.ascontiguousarray(apply(model, x, sigma)).tobytes())
    return key.digest()


def _rounding(model: Denoiser, case: Case) -> float:
    """By how much outputs differ for x that agree to rounding, relative to size.

    The larger of: what a step of x by a few units in its last place does, and the second
    difference over steps of float32's rounding, which is zero to rounding if the model
    works in float64 and is smooth.
    """
    rng = np.random.default_rng([case.seed, 6])
    x, sigma = case.queries(rng, ROWS)
    base = apply(model, x, sigma)
    size = np.linalg.norm(x, axis=1) + case.points.radius + case.diameter
    sign = rng.choice([-1.0, 1.0], size=x.shape)
    near = apply(model, x * (1 + 4 * np.finfo(float).eps * sign), sigma)
    step = HALF * sign * x
    bend = apply(model, x + step, sigma) - 2 * base + apply(model, x - step, sigma)
    least = float((np.linalg.norm(near - base, axis=1) / size).max())
    single = float(np.median(np.linalg.norm(bend, axis=1) / size))
    return max(least, 4 * single)
