"""Statistics of the claims, and the claims about noise and latents."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

import analytic as an
from analytic import claims
from analytic.claims import _faults, _statistics, section_b
from analytic.claims._base import Case, Subject
from analytic.report import Status

DELTA = _statistics.LEVEL / _statistics.LIMITS


def verdict(low: float, high: float, **options: float) -> Status:
    points = an.PointSet([[0.0], [1.0]])
    case = Case(Subject.of(an.OptimalDenoiser(points), points), 0)
    found = _statistics.Interval(np.array([low]), np.array([high]))
    claim = claims.registry["B1"]
    return _statistics.estimated(
        claim, case, found, sigma=np.ones(1), meaning="a number", **options
    ).status


def test_intervals_decide_or_say_that_they_do_not() -> None:
    # at most 0
    assert verdict(-2.0, -1.0, most=0.0) == Status.HOLDS
    assert verdict(-1.0, 1.0, most=0.0) == Status.INCONCLUSIVE
    assert verdict(1.0, 2.0, most=0.0) == Status.FAILS
    # equal to 1, to within a tenth
    same = {"least": 1.0, "most": 1.0, "margin": 0.1}
    assert verdict(0.95, 1.05, **same) == Status.HOLDS
    assert verdict(0.8, 1.05, **same) == Status.INCONCLUSIVE
    assert verdict(1.01, 1.05, **same) == Status.FAILS
    assert verdict(0.95, 0.99, **same) == Status.FAILS
    assert verdict(math.nan, math.nan, **same) == Status.FAILS


def test_limits_have_their_level() -> None:
    mp.mp.dps = 30
    low, high = _statistics.share_limits(3, 50)
    for p, hits in ((low, range(3, 51)), (high, range(4))):
        chance = mp.fsum(
            mp.binomial(50, k) * mp.mpf(float(p)) ** k * (1 - mp.mpf(float(p))) ** (50 - k)
            for k in hits
        )
        assert float(chance) == pytest.approx(DELTA, rel=1e-6)
    assert _statistics.share_limits(0, 50).low == 0.0
    assert _statistics.share_limits(50, 50).high == 1.0
    assert float(_statistics.share_limits(0, 50).high) == pytest.approx(1 - DELTA ** (1 / 50))
    # two sides of Dvoretzky, Kiefer and Wolfowitz
    even = (np.arange(1000) + 0.5) / 1000
    low, high = _statistics.distance_limits(even[::-1])
    room = float(high - low) / 2
    assert float(high + low) / 2 == pytest.approx(0.5 / 1000)
    assert 2 * math.exp(-2 * 1000 * room**2) == pytest.approx(DELTA)
    assert float(_statistics.distance_limits(even**2).low) == pytest.approx(0.25 - room, abs=2e-3)
    # Student's t with two degrees of freedom in closed form: P(T > t) = 1/2 - t/2√(2 + t²)
    low, high = _statistics.mean_limits(np.array([-1.0, 0.0, 1.0]))
    t = float(high) * math.sqrt(3)
    assert float(low) == -float(high)
    assert 1 / (math.sqrt(2 + t * t) * (math.sqrt(2 + t * t) + t)) == pytest.approx(DELTA, rel=1e-6)


@pytest.mark.parametrize("dim", [1, 2, 3, 64, 512, 3072])
def test_mean_norms_against_forty_digits(dim: int) -> None:
    mp.mp.dps = 40
    front = mp.sqrt(2) * mp.gamma(mp.mpf(dim + 1) / 2) / mp.gamma(mp.mpf(dim) / 2)
    assert section_b.mean_chi(dim) == pytest.approx(float(front), rel=2e-13)
    for size in (0.0, 0.01, 0.3, 1.0, 3.0, 10.0, 100.0):
        exact = front * mp.hyp1f1(-0.5, mp.mpf(dim) / 2, -(mp.mpf(size) ** 2) / 2)
        assert section_b.poisson_mean_norm(dim, size) == pytest.approx(float(exact), rel=2e-12)
        gain = section_b.norm_gain(dim, size)
        assert gain == pytest.approx(float(exact - size), rel=1e-11, abs=3e-15 * (1 + size))


@pytest.mark.parametrize("draw", [_faults.loud_noise, _faults.round_noise])
@pytest.mark.parametrize("dim", [1, 2, 64])
def test_false_noise_is_found_out(draw: object, dim: int) -> None:
    points = an.PointSet(np.random.default_rng(1).standard_normal((30, dim)), name="some")
    subject = _faults.with_noise(draw)(points)
    status = {
        name: claims.registry[name].check(subject, points, 4).status for name in ("B1", "B2", "B3")
    }
    assert status["B2"] == Status.FAILS
    if draw is _faults.loud_noise:
        assert set(status.values()) == {Status.FAILS}
    else:  # its mean square is right, so that only the law of |z| tells
        assert status["B1"] == Status.HOLDS


def test_no_seed_flips_a_claim_in_the_mean() -> None:
    points = an.datasets.two_moons(200, seed=0)
    subject = an.OptimalDenoiser(points)
    for seed in range(10):
        report = an.verify(subject, points, claims="A4,B1,B2,B3", seed=seed, quick=True)
        assert {v.status for v in report.verdicts} == {Status.HOLDS}
