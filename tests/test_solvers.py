"""Every solver against its paper: the states of `an.sample` and those of `papers`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import papers
import pytest

import analytic as an

DATA = {
    "moons": lambda: an.datasets.two_moons(200, seed=0),
    "digits": lambda: an.datasets.digits(100, seed=0),
}
GRIDS = {
    "edm": an.grids.polynomial(12, 80.0, 0.002),
    "log": np.geomspace(80.0, 0.002, 10),
    "zero": np.append(an.grids.polynomial(12, 80.0, 0.002), 0.0),
}
CASES = [
    pytest.param(name, options, id="-".join([name, *(f"{k}={v}" for k, v in options.items())]))
    for name, (_, choices) in papers.PAPERS.items()
    for choice in choices
    for options in (choice, choice | {"afs": True})
]
TOLERANCE = 1e-12
"""On max |difference| / max |state|."""


@cache
def problem(data: str) -> tuple[an.OptimalDenoiser, np.ndarray]:
    denoiser = an.OptimalDenoiser(DATA[data]())
    return denoiser, an.noise(8, like=denoiser, sigma=80.0, seed=1)


def check(found: np.ndarray, printed: np.ndarray) -> None:
    """Over the path, and at every level by itself, where states shrink from 80 to the data's
    size and the flow magnifies round-off near separatrices."""
    apart, size = np.abs(found - printed).max(axis=(1, 2)), np.abs(printed).max(axis=(1, 2))
    assert apart.max() <= TOLERANCE * size.max()
    assert (apart <= 10 * TOLERANCE * size).all()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(("name", "options"), CASES)
def test_solvers_do_what_their_papers_print(
    name: str, options: dict[str, Any], data: str, grid: str
) -> None:
    denoiser, x = problem(data)
    found = an.sample(denoiser, x, GRIDS[grid], solver=an.solvers.get(name, **options))
    check(found.states, papers.PAPERS[name][0](denoiser, x, GRIDS[grid], **options))


def test_every_solver_is_compared() -> None:
    assert set(an.solvers.names()) <= set(papers.PAPERS) | set(papers.STOCHASTIC)


# Stochastic samplers: adapt `stochastic` when the interface is settled, nothing else.


def stochastic(
    name: str, options: dict[str, Any], denoiser: Any, x: np.ndarray, sigmas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """States of our sampler, and the normals (n, B, D) it drew, in order of the steps."""
    shape = (len(sigmas) - 1, *x.shape)
    normals = np.random.default_rng(3).standard_normal(shape)
    if name == "ancestral":
        solver = an.solvers.get("ancestral", **options)
        return an.sample(denoiser, x, sigmas, solver=solver, seed=3).states, normals
    pytest.skip("churn: its interface is not settled")


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, (_, choices) in papers.STOCHASTIC.items() for options in choices],
)
def test_stochastic_samplers_do_what_their_papers_print(
    name: str, options: dict[str, Any], data: str, grid: str
) -> None:
    denoiser, x = problem(data)
    found, normals = stochastic(name, options, denoiser, x, GRIDS[grid])
    check(found, papers.STOCHASTIC[name][0](denoiser, x, GRIDS[grid], normals, **options))
