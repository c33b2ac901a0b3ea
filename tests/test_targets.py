"""What models return: against the definitions. And that nothing here needs torch to be loaded."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import targets
from analytic.learned import from_torch
from analytic.learned.frames import Frame, frame
from analytic.noise import ddpm_level

KEPT = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
SCHEDULES = {
    "ve": an.NoiseSchedule.ve(),
    "vp": an.NoiseSchedule.vp(),
    "sub_vp": an.NoiseSchedule.sub_vp(),
    "cosine": an.NoiseSchedule.cosine(),
    "rectified_flow": an.NoiseSchedule.rectified_flow(),
    "discrete": an.NoiseSchedule.discrete(KEPT),
}
SIGMA = np.array([0.02, 0.3, 1.0, 7.0, 80.0])
CLEAN = np.random.default_rng(0).standard_normal((5, 3))
NOISE = np.random.default_rng(1).standard_normal((5, 3))
X = CLEAN + SIGMA[:, None] * NOISE


@pytest.mark.parametrize("name", SCHEDULES)
def test_outputs_are_those_of_the_definitions(name: str) -> None:
    """Bugs this is for: a sign, α and s exchanged, v divided by √(α² + s²), flow without slopes."""
    schedule = SCHEDULES[name]
    t = schedule.time(SIGMA)
    alpha, s = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    expected = {
        "x0": CLEAN,
        "eps": NOISE,
        "v": alpha * NOISE - s * CLEAN,
        "flow": schedule.velocity(alpha * X, CLEAN, t),
    }
    for form, y in expected.items():
        found = targets.output(form, X, CLEAN, SIGMA[:, None], schedule)
        np.testing.assert_allclose(found, y, rtol=1e-11, atol=1e-11 * np.abs(y).max(), err_msg=form)
        # an error of y is one of σ/|b - aσ| times that in D
        back = targets.denoised(form, X, y, SIGMA[:, None], schedule)
        a, b = targets.combination(form, SIGMA, schedule)
        room = 1e-11 * (np.abs(X).max(axis=1) * np.abs(b) + SIGMA * np.abs(y).max(axis=1))
        assert (np.abs(back - CLEAN).max(axis=1) <= room / np.abs(b - a * SIGMA)).all(), form


def test_without_a_schedule_v_is_of_vp_and_flow_of_the_straight_line() -> None:
    s = SIGMA[:, None]
    expected = {
        "x0": CLEAN,
        "eps": NOISE,
        "v": (NOISE - s * CLEAN) / np.sqrt(1 + s * s),
        "flow": NOISE - CLEAN,
    }
    for form, y in expected.items():
        found = targets.output(form, X, CLEAN, s)
        np.testing.assert_allclose(found, y, rtol=1e-13, atol=1e-13, err_msg=form)
        back = targets.denoised(form, X, y, s)
        np.testing.assert_allclose(back, CLEAN, rtol=0, atol=1e-14 * 80, err_msg=form)


def test_discrete_schedule_is_its_table_and_log_linear_between() -> None:
    schedule = SCHEDULES["discrete"]
    levels = np.sqrt((1 - KEPT) / KEPT)
    index = np.arange(1000.0)
    np.testing.assert_array_equal(schedule.level(index), levels)
    np.testing.assert_array_equal(schedule.time(levels), index)
    np.testing.assert_allclose(schedule.alpha(index), np.sqrt(KEPT), rtol=1e-13)
    np.testing.assert_allclose(schedule.sigma(index), np.sqrt(1 - KEPT), rtol=1e-12)
    between = np.array([0.25, 500.5, 998.75])
    weights = between - np.floor(between)
    k = between.astype(int)
    expected = levels[k] ** (1 - weights) * levels[k + 1] ** weights
    np.testing.assert_allclose(schedule.level(between), expected, rtol=1e-13)
    np.testing.assert_allclose(schedule.time(expected), between, rtol=1e-12)
    h = 1e-4
    for key in ("alpha", "sigma"):
        function = getattr(schedule, key)
        slope = (function(between + h) - function(between - h)) / (2 * h)
        measured = getattr(schedule, key + "_derivative")(between)
        np.testing.assert_allclose(measured, slope, rtol=1e-5)
    with pytest.raises(ValueError, match="levels of 'discrete'"):
        schedule.time(levels[-1] * 1.01)


def test_discrete_schedule_without_signal_at_its_end() -> None:
    """Zero terminal signal: no level there, and so no time."""
    schedule = an.NoiseSchedule.discrete([0.9, 0.5, 0.1, 0.0])
    assert schedule.t_max == 2
    assert schedule.level(2.0) == pytest.approx(3.0)
    assert ddpm_level([0.5, 0.0]).tolist() == [1.0, np.inf]


@pytest.mark.parametrize(
    "kept", [[0.9], [0.5, 0.9], [0.9, 0.9, 0.5], [1.0, 0.5], [1.1, 0.5], [[0.9, 0.5]], [0.9, 0.0]]
)
def test_bad_tables(kept: Any) -> None:
    with pytest.raises(ValueError, match=r"^alphas_cumprod: got"):
        an.NoiseSchedule.discrete(kept)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("clock", ["t", 999.0, "sigma", "log_sigma"])
def test_times_and_back(name: str, clock: Any) -> None:
    seen = frame("eps", SCHEDULES[name], clock)
    t = SCHEDULES[name].time(SIGMA)
    expected = {"t": t, 999.0: 999 * t, "sigma": SIGMA, "log_sigma": np.log(SIGMA)}[clock]
    np.testing.assert_allclose(seen.time(SIGMA), expected, rtol=1e-15)
    np.testing.assert_allclose(seen.level(seen.time(SIGMA)), SIGMA, rtol=1e-11)


def test_other_clocks() -> None:
    table = SCHEDULES["discrete"]
    index = frame("eps", table, "index").time(np.array([0.5, 80.0]))
    assert index.dtype == np.int64
    np.testing.assert_array_equal(index, np.rint(table.time([0.5, 80.0])))
    np.testing.assert_array_equal(frame("eps", None, None).time(SIGMA), SIGMA)
    squared = frame("eps", SCHEDULES["vp"], lambda t: t**2)
    np.testing.assert_array_equal(squared.time(SIGMA), SCHEDULES["vp"].time(SIGMA) ** 2)
    with pytest.raises(ValueError, match=r"^time: got a callable"):
        squared.level(SIGMA)


def test_beyond_the_table_time_is_clipped_and_nothing_else() -> None:
    table = SCHEDULES["discrete"]
    sigma = np.array([1e-3, 1.0, 1e3])
    seen = Frame("v", table, "t", clip=True)
    np.testing.assert_allclose(seen.time(sigma), [0.0, table.time(1.0), 999.0], rtol=1e-15)
    np.testing.assert_allclose(seen.scale(sigma), 1 / np.sqrt(1 + sigma**2), rtol=1e-15)
    y = seen.output(X[:3], CLEAN[:3], sigma)
    np.testing.assert_allclose(seen.denoised(X[:3], y, sigma), CLEAN[:3], rtol=0, atol=1e-9)
    inside = np.full(3, 1.0)
    plain = Frame("v", table, "t")
    np.testing.assert_allclose(
        seen.denoised(X[:3], y, inside), plain.denoised(X[:3], y, inside), rtol=1e-13
    )
    with pytest.raises(ValueError, match=r"^sigma: got 0.001, expected levels of 'discrete'"):
        plain.time(sigma)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (
            ("epsilon", None, None),
            ValueError,
            "parameterization: got 'epsilon'.*did you mean 'eps'",
        ),
        (("eps", "vp", None), TypeError, "schedule: got 'vp'"),
        (("edm", SCHEDULES["vp"], None), ValueError, "schedule: got NoiseSchedule.*drop it"),
        (("edm", None, "t"), ValueError, "time: got 't'.*drop it"),
        (("eps", None, "index"), ValueError, "time: got 'index'"),
        (("eps", None, "timestep"), ValueError, "time: got 'timestep'"),
        (("eps", None, True), TypeError, "time: got True"),
        (("eps", None, -1.0), ValueError, "time: got -1.0"),
        (("eps", None, [1.0]), TypeError, r"time: got \[1.0\]"),
    ],
)
def test_bad_frames(arguments: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        frame(*arguments)


def test_without_torch_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    D = an.GaussianDenoiser([0.0], [[1.0]])
    for ask in (
        lambda: from_torch(D, shape=1),
        lambda: an.learned.as_edm(D, 1),
        lambda: an.learned.to_torch(D, parameterization="eps", shape=1),
        lambda: an.learned.from_diffusers(D, [0.1, 0.2], shape=(1, 1, 1)),
    ):
        with pytest.raises(ImportError, match=r"needs PyTorch.*analytic-diffusion\[torch\]"):
            ask()
    # what is a denoiser already needs nothing
    assert an.learned.as_denoiser(D) is D


def test_base_features_leave_torch_unloaded() -> None:
    code = (
        "import sys, analytic as an; sys.modules['torch'] = None; "
        "D = an.learned.as_denoiser(an.GaussianDenoiser([0.0], [[1.0]])); "
        "print(float(an.sample(D, [[3.0]], [1.0, 0.5], 'euler').final[0, 0]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(3 - 0.5 * (3 - 1.5))
