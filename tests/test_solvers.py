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
THIRD = ("dpmpp_3m", "dpm_3m")
CASES = [
    pytest.param(name, options, id="-".join([name, *(f"{k}={v}" for k, v in options.items())]))
    for name, (_, choices) in papers.PAPERS.items()
    for choice in choices
    for kind in (({"variant": "exact"}, {"variant": "released"}) if name in THIRD else ({},))
    for options in (choice | kind, choice | kind | {"afs": True})
]
TOLERANCE = 1e-12
"""On max |difference| / max |state|."""


def printed(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Our options in the words of the transcription."""
    words = dict(options)
    if name in (*THIRD, "dpmpp_2m", "dpm_2m"):
        words.setdefault("lower_order_final", False)
    if name in THIRD:
        words["second"] = {"exact": 2.0, "released": 1.0}[words.pop("variant")]
    return words


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
    words = printed(name, options)
    check(found.states, papers.PAPERS[name][0](denoiser, x, GRIDS[grid], **words))


def test_every_solver_is_compared() -> None:
    """`euler_jump` is Euler on a grid with 0 behind it, which the judge prints, too."""
    assert set(an.solvers.names()) - {"euler_jump"} <= set(papers.PAPERS) | set(papers.STOCHASTIC)
    denoiser, x = problem("moons")
    found = an.sample(denoiser, x, GRIDS["edm"], solver="euler_jump")
    check(found.states, papers.PAPERS["euler"][0](denoiser, x, GRIDS["zero"]))


def stochastic(
    name: str, options: dict[str, Any], denoiser: Any, x: np.ndarray, sigmas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """States of our sampler, and the normals (n, B, D) it drew, in order of the steps."""
    steps = len(sigmas) - 1
    normals = [np.random.default_rng((3, k)).standard_normal(x.shape) for k in range(steps)]
    if name == "ancestral":
        solver, churn = an.solvers.get("ancestral", **options), None
    else:
        solver = an.solvers.get("heun" if options.get("second", True) else "euler")
        amount, low, high, inflation = (
            options[key] for key in ("s_churn", "s_tmin", "s_tmax", "s_noise")
        )
        churn = an.solvers.Churn(amount, low=low, high=high, inflation=inflation)
    run = an.sample(denoiser, x, sigmas, solver=solver, churn=churn, seed=3)
    return run.states, np.stack(normals)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, options) for name, (_, more) in papers.STOCHASTIC.items() for options in more),
        *(("churn", options | {"second": False}) for options in papers.STOCHASTIC["churn"][1]),
    ],
)
def test_stochastic_samplers_do_what_their_papers_print(
    name: str, options: dict[str, Any], data: str, grid: str
) -> None:
    denoiser, x = problem(data)
    found, normals = stochastic(name, options, denoiser, x, GRIDS[grid])
    check(found, papers.STOCHASTIC[name][0](denoiser, x, GRIDS[grid], normals, **options))
