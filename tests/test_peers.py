"""Schedulers of diffusers in VE coordinates, and what an audit finds in them."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import peers
from analytic.audit import SIZES, Status
from benchmarks import peers as bench

POINTS = an.PointSet(np.array([[-1.0], [-0.2], [0.5], [1.1]]), [0.2, 0.3, 0.2, 0.3], name="four")
ROW = {
    "scheduler": "DDIM, timestep_spacing=trailing",
    "promised": 1,
    "measured": {
        "gaussian": (-1.22, "FAILS"),
        "line": (-0.9, "FAILS"),
        "moons": (3.0, "NOT_TESTED"),
    },
    "double": {"gaussian": (0.5, "INCONCLUSIVE")},
    "nfe": 20,
    "mismatch": 0.0454,
    "broken": ["limit: too much", "order/gaussian: less: far", "order/line: less"],
}
KARRAS = {"use_karras_sigmas": True}


def coarse(name: str, **options: Any) -> Any:
    """A scheduler to be audited with at most 200 steps, which is enough for these findings."""
    theirs = peers.scheduler(name, **options)
    return replace(theirs, sizes=tuple(n for n in theirs.sizes or SIZES if n <= 200))


def test_without_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"analytic-diffusion\[peers\]"):
        peers.scheduler("EulerDiscreteScheduler")


def test_table_of_the_benchmark() -> None:
    line = bench.table([ROW]).splitlines()[-1]
    assert line == (
        "| DDIM, timestep_spacing=trailing | 1 | -1.22 to -0.90 (2 of 3) | not readable "
        "| 20 | 4.5% | limit, order |"
    )
    assert bench.details([ROW, {**ROW, "broken": []}]) == (
        "- DDIM, timestep_spacing=trailing: `limit`: too much; `order/gaussian`: less: far."
    )
    assert bench.label(*bench.CASES[7]) == "DPMSolverMultistep, solver_order=3, Karras σ"
    assert len({bench.label(*case) for case in bench.CASES}) == len(bench.CASES)


def test_unknown_scheduler() -> None:
    with pytest.raises(ValueError, match="did you mean 'HeunDiscreteScheduler'"):
        peers.scheduler("HeunScheduler")


@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
@pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="extra peers")
class TestDiffusers:
    def test_unknown_option(self) -> None:
        with pytest.raises(TypeError, match="use_karas_sigmas: got an option"):
            peers.scheduler("EulerDiscreteScheduler", use_karas_sigmas=True)

    @pytest.mark.parametrize(
        ("name", "solver"),
        [
            ("EulerDiscreteScheduler", "euler"),
            ("DDIMScheduler", "euler"),
            ("HeunDiscreteScheduler", "heun"),
            ("DPMSolverMultistepScheduler", "dpmpp_2m"),
            ("DPMSolverSinglestepScheduler", "dpmpp_2s"),
            ("LMSDiscreteScheduler", "lms"),
        ],
    )
    def test_states_are_those_of_our_solver_on_the_same_levels(
        self, name: str, solver: str
    ) -> None:
        """Coordinates, scaling and levels all have to be right for that."""
        theirs = peers.scheduler(name)
        sigmas = theirs.levels(20)
        normal = an.GaussianDenoiser([0.3, -0.2], [[1.0, 0.3], [0.3, 0.5]])
        x = an.noise(5, like=2, sigma=sigmas[0], seed=0)
        states = theirs(normal, x, sigmas)
        mine = an.sample(normal, x, sigmas, solver).states
        assert states.shape == mine.shape == (21, 5, 2)
        gap = np.abs(states - mine).max(axis=(1, 2)) / np.sqrt(1 + sigmas**2)
        # the singlestep solver takes the middle of a step from its own levels, and ends with Euler
        assert gap.max() < (2e-5 if solver != "dpmpp_2s" else 0.05)

    def test_levels(self) -> None:
        alphas = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
        sigma = np.sqrt((1 - alphas) / alphas)
        ddim = peers.scheduler("DDIMScheduler").levels(4)
        np.testing.assert_allclose(ddim, [*sigma[[750, 500, 250, 0]], 0.0], rtol=1e-4)
        heun = peers.scheduler("HeunDiscreteScheduler").levels(4)
        np.testing.assert_allclose(heun, [*sigma[[999, 666, 333, 0]], 0.0], rtol=1e-4)
        karras = peers.scheduler("HeunDiscreteScheduler", **KARRAS).levels(5)
        np.testing.assert_allclose(
            karras[:-1], an.grids.polynomial(5, sigma[-1], sigma[0]), rtol=1e-3
        )
        single = peers.scheduler("DPMSolverSinglestepScheduler", **KARRAS)
        fine = peers.scheduler("DPMSolverMultistepScheduler", **KARRAS).levels(8)
        np.testing.assert_allclose(single.levels(5), fine[[0, 2, 4, 6, 7, 8]][:6], rtol=1e-6)

    def test_timesteps_are_rounded_only_where_they_are(self) -> None:
        assert peers.scheduler("DPMSolverMultistepScheduler").mismatch(20) < 1e-6
        found = peers.scheduler("DPMSolverMultistepScheduler", **KARRAS).mismatch(20)
        assert found == pytest.approx(0.0454, abs=0.001)

    def test_heun_holds(self) -> None:
        found = an.audit(coarse("HeunDiscreteScheduler", **KARRAS), POINTS)
        assert found.holds, found.explain()
        assert found["order/gaussian"].verdict is Status.HOLDS
        assert found["order/gaussian"].measured == pytest.approx(2, abs=0.05)
        assert found["nfe"].promised == 47

    def test_a_last_sigma_twice_is_found(self) -> None:
        found = an.audit(coarse("DEISMultistepScheduler", **KARRAS), POINTS)
        broken = {f.id for f in found.findings if f.verdict is Status.FAILS}
        assert broken == {"grid", "repeats"}
        assert "the last σ twice" in found["grid"].detail

    def test_third_order_that_is_second_is_found(self) -> None:
        theirs = peers.scheduler("DPMSolverMultistepScheduler", solver_order=3, **KARRAS)
        found = an.audit(theirs, POINTS)
        assert found["order/gaussian"].verdict is Status.FAILS
        assert found["order/gaussian"].measured == pytest.approx(2, abs=0.15)

    def test_rounding_of_coefficients_is_told_from_order(self) -> None:
        order: dict[bool, Any] = {
            double: an.audit(peers.scheduler("DEISMultistepScheduler", double=double), POINTS)[
                "order/gaussian"
            ]
            for double in (False, True)
        }
        assert all(each.verdict is Status.HOLDS for each in order.values())
        assert "rounding of coefficients" in order[False].detail
        assert "rounding of coefficients" not in order[True].detail

    def test_steps_that_miss_their_levels_are_found(self) -> None:
        theirs = coarse("DDIMScheduler", timestep_spacing="trailing")
        found = an.audit(theirs, POINTS)
        assert found["limit"].verdict is Status.FAILS
        assert an.audit(coarse("DDIMScheduler"), POINTS).holds
