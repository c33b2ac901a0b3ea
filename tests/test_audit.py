"""Audits: honest samplers pass, and every planted fault is found by the check made for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import cli
from analytic.audit import Audit, Status

POINTS = an.PointSet(np.array([[-1.0], [-0.2], [0.5], [1.1]]), [0.2, 0.3, 0.2, 0.3], name="four")
HOLDS, FAILS = Status.HOLDS, Status.FAILS
Sampler = Callable[[Any, Any, Any], Any]


def slope(model: Any, x: Any, s: float) -> Any:
    return (x - model(x, s)) / s


def euler_to(model: Any, x: Any, s: float, t: float) -> Any:
    return x + (t - s) * slope(model, x, s)


def pairs(sigmas: Any) -> Any:
    return zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True)


# Honest samplers


def euler(model: Any, x: Any, sigmas: Any) -> Any:
    path = [x]
    for s, t in pairs(sigmas):
        path.append(euler_to(model, path[-1], s, t))
    return np.stack(path)


def heun(model: Any, x: Any, sigmas: Any) -> Any:
    for s, t in pairs(sigmas):
        first = slope(model, x, s)
        x = x + (t - s) / 2 * (first + slope(model, x + (t - s) * first, t))
    return x


def rk4(model: Any, x: Any, sigmas: Any) -> Any:
    for s, t in pairs(sigmas):
        h, m = t - s, (s + t) / 2
        first = slope(model, x, s)
        second = slope(model, x + h / 2 * first, m)
        third = slope(model, x + h / 2 * second, m)
        x = x + h / 6 * (first + 2 * second + 2 * third + slope(model, x + h * third, t))
    return x


def denoising(model: Any, x: Any, sigmas: Any) -> Any:
    """Heun, and at σ = 0 the denoising output of the last state."""
    if sigmas[-1] > 0:
        return heun(model, x, sigmas)
    return model(heun(model, x, sigmas[:-1]), sigmas[-2])


# Faulty ones


def last_sigma_twice(model: Any, x: Any, sigmas: Any) -> Any:
    return euler(model, x, np.append(sigmas, sigmas[-1]))[-1]


def heun_last_sigma_twice(model: Any, x: Any, sigmas: Any) -> Any:
    return heun(model, x, np.append(sigmas, sigmas[-1]))


def last_step_repeated(model: Any, x: Any, sigmas: Any) -> Any:
    """A grid whose end is overwritten by the level before it."""
    levels = sigmas.copy()
    levels[-1] = levels[-2]
    return euler(model, x, levels)


def one_step_short(model: Any, x: Any, sigmas: Any) -> Any:
    return euler(model, x, sigmas[:-1])[-1]


def one_level_late(model: Any, x: Any, sigmas: Any) -> Any:
    """Takes the start for a state at σ_1."""
    return euler(model, x, sigmas[1:])[-1]


def neighbours_sigma(model: Any, x: Any, sigmas: Any) -> Any:
    """Steps from s to t with the output of σ = t at the state of s."""
    for s, t in pairs(sigmas):
        x = t / s * x + (1 - t / s) * model(x, t)
    return x


def predictors_sigma(model: Any, x: Any, sigmas: Any) -> Any:
    """Heun whose second slope is that of the predicted state at the level before it."""
    for s, t in pairs(sigmas):
        first = slope(model, x, s)
        x = x + (t - s) / 2 * (first + slope(model, x + (t - s) * first, s))
    return x


def fixed_adams(model: Any, x: Any, sigmas: Any) -> Any:
    """Adams-Bashforth of order 3 with the weights of equal steps."""
    weights = {1: [1.0], 2: [1.5, -0.5], 3: [23 / 12, -16 / 12, 5 / 12]}
    known: list[Any] = []
    for s, t in pairs(sigmas):
        known = [slope(model, x, s), *known][:3]
        x = x + (t - s) * sum(w * d for w, d in zip(weights[len(known)], known, strict=True))
    return x


def stale_denoising(model: Any, x: Any, sigmas: Any) -> Any:
    """At σ = 0 the denoising output of the state before the last step."""
    if sigmas[-1] > 0:
        return heun(model, x, sigmas)
    return model(heun(model, x, sigmas[:-2]), sigmas[-3])


def stale_at_the_end(model: Any, x: Any, sigmas: Any) -> Any:
    """The same on any grid: the last output in place of the last state."""
    for s, t in pairs(sigmas):
        out = model(x, s)
        x = t / s * x + (1 - t / s) * out
    return out


def up_again(model: Any, x: Any, sigmas: Any) -> Any:
    for k, (s, t) in enumerate(pairs(sigmas)):
        if k == 5:
            model(x, sigmas[2])
        x = euler_to(model, x, s, t)
    return x


def below_the_grid(model: Any, x: Any, sigmas: Any) -> Any:
    model(x, sigmas[0])
    return euler(model, x, sigmas)[-1] + 0 * model(x, sigmas[-1] / 2)


def two_rows_for_one(model: Any, x: Any, sigmas: Any) -> Any:
    """Euler that evaluates every state twice, in one call."""
    for s, t in pairs(sigmas):
        x = t / s * x + (1 - t / s) * model(np.concatenate([x, x]), s)[: len(x)]
    return x


def off_centre(model: Any, x: Any, sigmas: Any) -> Any:
    """Euler with a slope that is 1 % too small: consistent with another flow."""
    for s, t in pairs(sigmas):
        x = x + 0.99 * (t - s) * slope(model, x, s)
    return x


def verdict(found: Audit, name: str) -> Status:
    return found[name].verdict


def broken(found: Audit) -> set[str]:
    return {f.id.split("/")[0] for f in found.findings if f.verdict is FAILS}


HONEST: dict[str, tuple[Any, int | None, Any]] = {
    "euler": ("euler", None, None),
    "heun": ("heun", None, None),
    "euler callable": (euler, 1, 1),
    "heun callable": (heun, 2, 2),
    "rk4 callable": (rk4, 4, lambda steps: 4 * steps),
    "denoising callable": (denoising, 2, 2),
}


@pytest.mark.parametrize("case", HONEST)
def test_honest_samplers_hold(case: str) -> None:
    sampler, order, nfe = HONEST[case]
    found = an.audit(sampler, POINTS, order=order, nfe=nfe)
    assert found.holds
    assert not broken(found)
    assert all(f.verdict is HOLDS for f in found.findings if f.id.startswith("order/"))
    expected = {"euler": 1, "heun": 2, "rk4": 4, "denoising": 2}[case.split()[0]]
    assert found.order == pytest.approx(expected, abs=0.03)


FAULTS: dict[str, tuple[Sampler, int, Any, set[str], str]] = {
    "last sigma twice": (last_sigma_twice, 1, None, {"repeats"}, "a last σ twice"),
    "last sigma twice, heun": (heun_last_sigma_twice, 2, None, {"repeats"}, "same"),
    "last step repeated": (
        last_step_repeated, 1, 1, {"endpoint"}, "0.98 steps from σ_n",
    ),
    "one step short": (one_step_short, 1, 1, {"endpoint", "nfe"}, "0.98 steps from σ_n"),
    "one level late": (one_level_late, 1, None, {"levels", "state", "endpoint"}, "level 1"),
    "neighbour's sigma": (neighbours_sigma, 1, 1, {"levels", "state"}, "1 steps"),
    "predictor's sigma": (predictors_sigma, 2, 2, {"state", "order"}, "1 steps ahead"),
    "fixed Adams weights": (fixed_adams, 3, 1, {"order"}, "slopes"),
    "stale denoising": (stale_denoising, 2, None, {"zero"}, "an earlier state, at σ = 0.15"),
    "stale at the end": (stale_at_the_end, 1, 1, {"endpoint", "limit"}, "an earlier state"),
    "nfe that lies": (heun, 2, 1, {"nfe"}, "12 in 6 steps"),
    "nfe that lies late": (
        euler, 1, lambda n: n + (n > 20), {"nfe"}, "25 promised in 24",
    ),
    "rows that lie": (two_rows_for_one, 1, 1, {"nfe"}, "12 in 6 steps"),
    "order that lies": (euler, 2, 1, {"order"}, "slopes"),
    "up again": (up_again, 1, None, {"levels"}, "goes back up by 2 steps"),
    "below the grid": (below_the_grid, 1, None, {"levels"}, "outside the grid"),
    "another flow": (off_centre, 1, 1, {"limit"}, "does not tend to zero"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_planted_faults_are_found(case: str) -> None:
    sampler, order, nfe, expected, words = FAULTS[case]
    found = an.audit(sampler, POINTS, order=order, nfe=nfe)
    assert not found.holds
    assert expected <= broken(found), found.explain()
    assert any(words in f.detail for f in found.findings if f.verdict is FAILS), found.explain()


def test_promises_of_a_solver_are_its_own(found: Audit) -> None:
    """Declared order and counts, and what was measured beside them."""
    assert (found["order/four"].promised, found["nfe"].promised) == (2, 48)
    assert found["nfe"].measured == 48
    assert found["nfe"].detail == "12 in 6 steps, 22 in 11 steps, 48 in 24 steps"
    assert repr(found) == "Audit('heun': HOLDS)"
    assert repr(an.audit("heun", POINTS, order=3)).startswith("Audit('heun': FAILS order/")


@pytest.fixture(scope="module")
def found() -> Audit:
    return an.audit("heun", POINTS)


def test_tables(found: Audit) -> None:
    rows = found.tables["order"].rows
    assert [row[1] for row in rows[:7]] == [8, 16, 32, 64, 128, 256, 512]
    assert [row[2] for row in rows[:3]] == [16, 32, 64]
    assert {row[0] for row in rows} == {"gaussian", "line", "two_points", "four"}
    for before, after in pairwise(rows):
        if before[0] == after[0]:
            assert after[4] == pytest.approx(np.log2(before[3] / after[3]))


def test_work_is_compared_with_euler_at_the_same_nfe(found: Audit) -> None:
    """Once more by the public functions alone."""
    data = an.OptimalDenoiser(POINTS)
    x = an.noise(16, like=1, sigma=80.0, seed=0)
    exact = an.integrate(data, x, 80.0, 0.002, rtol=1e-13, atol=1e-15).final

    def error(solver: str, steps: int) -> float:
        run = an.sample(data, x, an.grids.polynomial(steps + 1), solver)
        return float(np.sqrt(np.mean(np.sum((run.final - exact) ** 2, axis=1))))

    for problem, steps, nfe, mine, ratio in found.tables["work"].rows:
        assert problem == "four"
        assert nfe == 2 * steps
        assert mine == pytest.approx(error("heun", steps), rel=1e-6)
        assert ratio == pytest.approx(error("heun", steps) / error("euler", 2 * steps), rel=1e-6)
    assert an.audit("euler", POINTS).tables["work"].rows[2][4] == pytest.approx(1.0)


def test_same_seed_same_audit(tmp_path: Path, found: Audit) -> None:
    found.to_json(tmp_path / "a.json")
    an.audit("heun", POINTS).to_json(tmp_path / "b.json")
    an.audit("heun", POINTS, seed=1).to_json(tmp_path / "c.json")
    texts = [(tmp_path / f"{name}.json").read_text() for name in "abc"]
    assert texts[0] == texts[1]
    content, other = json.loads(texts[0]), json.loads(texts[2])
    assert content["tables"]["order"][0]["error"] != other["tables"]["order"][0]["error"]
    assert content["tables"]["work"][0]["error"] != other["tables"]["work"][0]["error"]
    assert content["holds"] is True
    assert [f["id"] for f in content["findings"]] == [f.id for f in found.findings]
    assert content["findings"][0].keys() == {"id", "verdict", "measured", "promised", "detail"}
    assert content["tables"]["order"][1]["slope"] == pytest.approx(found.tables["order"].rows[1][4])


def test_explain_is_text_with_every_finding(found: Audit) -> None:
    words = found.explain()
    assert words.startswith("heun: HOLDS\n")
    for finding in found.findings:
        assert finding.id in words
        assert finding.detail in words


def test_nothing_promised_is_not_tested() -> None:
    found = an.audit(heun, POINTS)
    assert {f.verdict for f in found.findings if f.id.startswith(("order/", "nfe"))} == {
        Status.NOT_TESTED
    }
    assert found.order == pytest.approx(2, abs=0.02)
    assert found["nfe"].measured == 2
    assert found.holds


def test_the_usual_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two moons and digits; what cannot be made here is not tested, and said to be."""
    found = an.audit("euler", starts=4)
    assert found.settings["problems"].keys() == {
        "gaussian", "line", "two_points", "two_moons", "digits",
    }  # fmt: skip
    assert found["order/digits"].measured == pytest.approx(1, abs=0.05)
    assert {row[0] for row in found.tables["work"].rows} == {"two_moons", "digits"}

    def missing(name: str, **_: object) -> None:
        raise ImportError(f"{name} needs something")

    monkeypatch.setattr(an.datasets, "get", missing)
    found = an.audit("euler", starts=4)
    assert found["order/digits"].verdict is Status.NOT_TESTED
    assert "digits needs something" in found["order/digits"].detail
    assert found.holds


# Parametrizations


def from_eps(model: Any, x: Any, sigmas: Any) -> Any:
    return heun(lambda x, s: x - s * model(x, s), x, sigmas)


def from_v(model: Any, x: Any, sigmas: Any) -> Any:
    return heun(lambda x, s: (x - s * np.sqrt(1 + s * s) * model(x, s)) / (1 + s * s), x, sigmas)


def from_flow(model: Any, x: Any, sigmas: Any) -> Any:
    return heun(lambda x, s: (x - s * model(x, s)) / (1 + s), x, sigmas)


def test_parametrizations_agree() -> None:
    forms = {"x0": heun, "eps": from_eps, "v": from_v, "flow": from_flow}
    found = an.audit(heun, POINTS, order=2, nfe=2, parametrization=forms)
    assert all(verdict(found, f"parametrization/{name}") is HOLDS for name in forms)
    assert found["parametrization/x0"].measured == 0


def test_a_wrong_parametrization_is_found() -> None:
    """v read as if data and noise had changed places."""
    found = an.audit(heun, POINTS, parametrization={"eps": from_eps, "v": from_flow})
    assert verdict(found, "parametrization/eps") is HOLDS
    assert verdict(found, "parametrization/v") is FAILS
    assert not found.holds


def test_a_sampler_of_a_noise_model() -> None:
    assert an.audit(from_eps, POINTS, order=2, nfe=2, parametrization="eps").holds
    assert not an.audit(heun, POINTS, order=2, nfe=2, parametrization="eps").holds


# Round-off


def single(model: Any, x: Any, sigmas: Any) -> Any:
    """Heun in single precision throughout."""
    x = x.astype(np.float32)
    for s, t in pairs(sigmas):
        h, s, t = np.float32(t - s), np.float32(s), np.float32(t)
        first = (x - model(x, s)) / s
        ahead = x + h * first
        x = x + h / 2 * (first + (ahead - model(ahead, t)) / t)
        assert x.dtype == np.float32
    return x


def test_single_precision_is_read_above_its_noise() -> None:
    found = an.audit(single, POINTS, order=2, nfe=2)
    assert found.holds, found.explain()
    assert found["order/gaussian"].verdict is HOLDS
    assert found["order/gaussian"].measured == pytest.approx(2, abs=0.15)


def test_an_exact_sampler_has_no_order() -> None:
    """Nothing but round-off: no slope is read into it."""
    found = an.audit("euler", np.array([[0.25], [0.25]]))
    assert np.isnan(found["order/points"].measured)
    assert found["order/points"].verdict is Status.INCONCLUSIVE
    assert found["order/points"].detail.startswith("only 0 slopes above rounding")


# Grids of the sampler's own


class Own:
    """Heun or Euler on levels of its own, of which the last is 0."""

    name, order, nfe, eps = "own", 1, 1, 0.0

    def __init__(self, last: float = 0.0, stale: bool = False, states: bool = True) -> None:
        self.last, self.stale, self.states = last, stale, states

    def levels(self, n: int) -> Any:
        return np.append(an.grids.polynomial(n, 150.0, 0.01), self.last)

    def __call__(self, model: Any, x: Any, sigmas: Any) -> Any:
        path = [x]
        for k, (s, t) in enumerate(pairs(sigmas)):
            if self.stale and k == len(sigmas) - 2:
                path.append(out)  # noqa: F821 - of the step before
                model(path[-2], s)
                break
            out = model(path[-1], s)
            path.append(t / s * path[-1] + (1 - t / s) * out)
        return np.stack(path) if self.states else path[-1]


def test_a_grid_of_its_own() -> None:
    found = an.audit(Own(), POINTS)
    assert found.holds, found.explain()
    assert found.sampler == "own"
    assert found["order/four"].measured == pytest.approx(1, abs=0.05)
    assert found["endpoint"].measured == pytest.approx(0.01)
    assert found.settings["grid"] == "its own"


def test_faults_on_a_grid_of_its_own() -> None:
    twice = an.audit(Own(last=0.01), POINTS)
    assert verdict(twice, "grid") is FAILS
    assert "the last σ twice" in twice["grid"].detail
    stale = an.audit(Own(stale=True), POINTS)
    assert verdict(stale, "endpoint") is FAILS
    assert "an earlier state" in stale["endpoint"].detail


# Bad input


def wrong_shape(model: Any, x: Any, sigmas: Any) -> Any:
    return euler(model, x, sigmas)[1:]


def gives_nan(model: Any, x: Any, sigmas: Any) -> Any:
    return euler(model, x, np.append(sigmas, sigmas[-1]))[-1] * np.array(np.nan)


def never_calls(model: Any, x: Any, sigmas: Any) -> Any:
    return x


def negative_sigma(model: Any, x: Any, sigmas: Any) -> Any:
    return model(x, -1.0)


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "unknown solver": (lambda: an.audit("huen"), ValueError, "did you mean 'heun'"),
    "no sampler": (lambda: an.audit(3), TypeError, "sampler: got 3"),
    "noisy solver": (lambda: an.audit("ancestral"), ValueError, "draws noise"),
    "wrong shape": (lambda: an.audit(wrong_shape), ValueError, r"shape \(6, 16, 3\)"),
    "NaN": (lambda: an.audit(gives_nan), ValueError, "NaN or infinity"),
    "no calls": (lambda: an.audit(never_calls), ValueError, "no call of the denoiser"),
    "negative level": (lambda: an.audit(negative_sigma), ValueError, "handed to the denoiser"),
    "text": (lambda: an.audit(lambda *_: "x"), TypeError, "sampler: got an array"),
    "order": (lambda: an.audit(euler, order=0), ValueError, "order: got 0"),
    "order of ours": (lambda: an.audit("euler", order=1.5), TypeError, "order"),
    "nfe": (lambda: an.audit(euler, nfe=0), ValueError, "nfe: got 0"),
    "starts": (lambda: an.audit("euler", starts=1), ValueError, "starts: got 1"),
    "seed": (lambda: an.audit("euler", seed=-1), ValueError, "seed"),
    "grid": (lambda: an.audit("euler", grid=[3, 2, 1]), TypeError, "grid"),
    "bad grid": (lambda: an.audit("euler", grid=lambda n, a, b: [b, a]), ValueError, "grid: got"),
    "parametrization": (
        lambda: an.audit(euler, parametrization="epsilon"), ValueError, "parametrization",
    ),
    "parametrization key": (
        lambda: an.audit(euler, parametrization={"w": euler}), ValueError, "parametrization",
    ),
    "parametrization value": (
        lambda: an.audit(euler, parametrization={"v": 3}), TypeError, "parametrization\\['v'\\]",
    ),
    "parametrization of ours": (
        lambda: an.audit("euler", parametrization="eps"), ValueError, "our own solvers",
    ),
    "own grid, no states": (lambda: an.audit(Own(states=False)), ValueError, "all states"),
    "finding": (lambda: an.audit("euler", POINTS)["ordre"], ValueError, "finding: got 'ordre'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    call, kind, words = BAD[case]
    with pytest.raises(kind, match=words):
        call()


# The command line


def run(*words: str) -> int:
    """Exit code of the command line."""
    try:
        return cli.main(["audit", *words])
    except SystemExit as stop:  # argparse
        return int(stop.code or 0)


def test_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "def step(model, x, sigmas):\n"
        "    for s, t in zip(sigmas[:-1], sigmas[1:]):\n"
        "        x = t / s * x + (1 - t / s) * model(x, s)\n"
        "    return x\n"
    )
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "four.npy", POINTS.points)
    report = tmp_path / "out.json"
    data = ["--data", "four.npy", "--n", "4", "--json", str(report)]
    assert run("mine:step", "--order", "1", "--nfe", "1", *data) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("step: HOLDS\n")
    content = json.loads(report.read_text())
    assert content["sampler"] == "step"
    assert content["settings"]["problems"].keys() == {"gaussian", "line", "two_points", "four"}
    assert run("mine:step", "--order", "2", *data) == 1
    assert "order/gaussian    FAILS" in capsys.readouterr().out
    assert sys.path[0] != ""


WORDS: dict[str, tuple[list[str], str]] = {
    "unknown solver": (["huen"], "did you mean 'heun'"),
    "unknown module": (["nowhere:f"], "nowhere"),
    "unknown function": (["math:sqroot"], "did you mean 'sqrt'"),
    "unknown scheduler": (["diffusers:HeunScheduler"], "HeunDiscreteScheduler"),
    "unknown data": (["heun", "--data", "two_mons"], "two_moons"),
    "order": (["heun", "--order", "0"], "order"),
    "seed": (["heun", "--seed", "-1"], "--seed"),
    "parametrization": (["heun", "--parametrization", "w"], "parametrization"),
    "no place": (["heun", "--json", "/dev/null/out.json"], "--json"),
    "nothing": ([], "SOLVER"),
}


@pytest.mark.parametrize("case", WORDS)
def test_bad_words_exit_with_2(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, named = WORDS[case]
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert named in error
    assert "Traceback" not in error
