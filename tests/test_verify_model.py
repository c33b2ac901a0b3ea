"""Claims on a user's model: which are tested on it, that they can fail, and the command line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import claims, cli, learned
from analytic.claims import Subject, _faults, _models
from analytic.claims.section_e import _equal_steps, _factor_one, _other_level
from analytic.report import Report, Status

ON_MODEL = ["C1", "C6", "E1", "E2", "E3"]
LEARNED = ["G1", "G2", "G3"]


def cloud(count: int = 30, dim: int = 2) -> an.PointSet:
    rng = np.random.default_rng(5)
    return an.PointSet(rng.standard_normal((count, dim)), name="cloud")


def bent(x: Any, sigma: Any) -> Any:
    """A model that is no optimum of anything."""
    level = np.asarray(sigma).reshape(-1, 1) if np.ndim(sigma) else sigma
    return np.tanh(x / (1 + level)) + 0.2 * np.cos(3 * x)


def single(x: Any, sigma: Any) -> Any:
    """The same in float32 inside."""
    return bent(np.asarray(x, np.float32), np.asarray(sigma, np.float32)).astype(np.float64)


def verified(model: Any, **options: Any) -> Report:
    points = cloud()
    return an.verify(an.OptimalDenoiser(points), points, quick=True, model=model, **options)


def test_what_is_tested_on_what() -> None:
    report = verified(bent)
    found = [(v.claim, v.data) for v in report.verdicts]
    on_model = [claim for claim, data in found if data == "cloud · bent"]
    assert on_model == ON_MODEL + LEARNED
    assert [claim for claim, data in found if data == "cloud"] == [
        name for name in claims.registry if name not in LEARNED
    ]
    for v in report.verdicts:
        assert ("Tested on the model bent." in v.note) == (v.data == "cloud · bent")
    assert {v.status for v in report.verdicts} == {Status.HOLDS}
    assert report.settings["cloud"]["model"] == "bent"
    compared = report.comparisons["cloud"]
    assert compared.model == "bent"
    assert compared.settings["forward samples"].deviation.max() > 0.1
    # C6: the outputs' own diameter, not that of the data
    (within,) = (v for v in report.verdicts if (v.claim, v.data) == ("C6", "cloud · bent"))
    assert 0.01 < within.measured <= 1.0


def test_claims_about_learned_denoisers_use_the_model_and_g4_does_not() -> None:
    plain = verified(None, claims="G*")
    assert plain.comparisons == {}
    with_model = verified(bent, claims="G*")
    share = "largest share of the loss that is deviation"
    assert with_model.verdicts[0].statistics[share] > 0.99
    near = "share of queries where |r − D| ≤ |D − x|"
    first, other = (r.verdicts[2].statistics[near] for r in (plain, with_model))
    assert first > other
    key = "mean distance of the ends from the data / data scale"
    assert with_model.verdicts[1].statistics[key] != plain.verdicts[1].statistics[key]
    trained = (json.dumps(r.verdicts[3].as_dict(), default=str) for r in (plain, with_model))
    assert next(trained) == next(trained)
    # the optimum itself as a model: always near enough, nothing to lose
    best = verified(an.OptimalDenoiser(cloud()), claims="G1,G3")
    assert best.verdicts[0].statistics[share] == 0.0
    assert best.verdicts[1].statistics[near] == 1.0


def test_float32_models_are_given_their_rounding_and_no_more() -> None:
    report = verified(single, claims="C1,C6,E*,G1,G2,G3")
    found = {v.claim: v for v in report.verdicts if v.data == "cloud · single"}
    assert {name: v.status for name, v in found.items() if name != "E2"} == dict.fromkeys(
        ["C1", "C6", "E1", "E3", *LEARNED], Status.HOLDS
    )
    assert found["E2"].status == Status.NOT_TESTED
    assert 1e-7 < found["E1"].bound < 1e-3
    double = {v.claim: v for v in verified(bent, claims="E*").verdicts if "bent" in v.data}
    assert 1e-12 <= double["E1"].bound < 1e-11
    case = claims.Case(Subject(an.OptimalDenoiser(cloud()), cloud(), model=single), 0, quick=True)
    assert _models.on_model(case).rounding > 1e-9
    smooth = replace(case, subject=replace(case.subject, model=bent))
    assert _models.on_model(smooth).rounding < 1e-14


def detour(evaluate: Any, path: Any, t: float) -> Any:
    """Euler's step, and to the side by more than outputs differ."""
    now = path[0]
    side = np.array([9.0, 0.0]) * np.sin(40 * t)
    return now.x + (t - now.sigma) * now.slope + side


FAULTS: dict[str, Any] = {
    "C1": lambda p: Subject(an.OptimalDenoiser(p), p, sampler=_faults.stale_sampler),
    "C6": lambda p: _faults.with_solver(p, "euler", detour),
    "E1": _other_level,
    "E2": _factor_one,
    "E3": _equal_steps,
}


@pytest.mark.parametrize("model", [bent, single])
@pytest.mark.parametrize("name", FAULTS)
def test_checks_on_models_can_fail(name: str, model: Any) -> None:
    points = cloud()
    subject = replace(FAULTS[name](points), model=model)
    report = an.verify(subject, points, claims=name, quick=True)
    (verdict,) = (v for v in report.verdicts if "model" in v.data)
    expected = Status.NOT_TESTED if (name, model) == ("E2", single) else Status.FAILS
    assert verdict.status == expected


def test_a_model_that_diverges_is_not_judged_by_its_paths() -> None:
    def wild(x: Any, sigma: Any) -> Any:
        return np.where(np.ndim(sigma) == 0, np.nan, bent(x, sigma))

    points = cloud()
    subject = replace(Subject.of(an.OptimalDenoiser(points), points), model=wild)
    case = claims.Case(subject, 0, quick=True)
    verdict = claims.registry["G2"].test(case, claims.registry["G2"])
    assert verdict.status == Status.NOT_TESTED
    assert "no path of the model stays finite" in verdict.note

    edge = np.sort(case.start[:, 0])[-2]

    def fragile(x: Any, sigma: Any) -> Any:
        farthest = (x[:, :1] > edge) & (np.ndim(sigma) == 0)
        return np.where(farthest, np.nan, bent(x, sigma))

    some = replace(case, subject=replace(subject, model=fragile))
    verdict = claims.registry["G2"].test(some, claims.registry["G2"])
    assert verdict.status == Status.HOLDS
    assert verdict.cases == case.starts - 1


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (an.GaussianDenoiser(np.zeros(3), np.eye(3)), r"model: got D = 3, expected D = 2 of cloud"),
        (lambda x, s: x @ np.ones((5, 5)), r"model: got ValueError .* for x of shape \(2, 2\)"),
        (lambda x, s: x[:, :1], r"model: got ValueError .*output of shape \(2, 1\)"),
        (lambda x: x, "model: got TypeError"),
        (lambda x, s: np.nan * x, "model: got NaN or infinity"),
        ("net", "model: got 'net', expected a denoiser"),
    ],
)
def test_bad_models(model: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        verified(model, claims="A5")


def test_two_functions_in_one_have_no_dimension_to_disagree_with() -> None:
    both = an.Spliced(lambda x, s: 0.5 * x, lambda x, s: 0.9 * x, 1.0)
    report = an.verify(both, np.eye(3), "C1", quick=True, model=both)
    assert [v.status for v in report.verdicts] == [Status.HOLDS] * 2


def test_nets_of_edm_are_models_of_verify() -> None:
    pytest.importorskip("torch")
    points = np.random.default_rng(0).standard_normal((12, 16))
    net = an.learned.as_edm(an.OptimalDenoiser(points), (1, 4, 4))
    report = an.verify(an.OptimalDenoiser(points), points, "G1", quick=True, model=net)
    assert report.verdicts[0].status == Status.HOLDS
    assert "EDMModule" in report.verdicts[0].data


MODULE = """
import numpy as np
import analytic as an

def bent(x, sigma):
    return np.tanh(x) + SHIFT

SHIFT = 0.0

class Net:
    def __call__(self, x, sigma):
        return np.tanh(x)

net = Net()

def make():
    return net

def fit(points):
    return an.GaussianDenoiser(points.mean, points.covariance)

def wrong(points):
    return an.GaussianDenoiser([0.0], [[1.0]])

number = 3
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of models and a data file, to work in."""
    (tmp_path / "user_models.py").write_text(MODULE)
    np.save(tmp_path / "mine.npy", cloud().points)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "user_models", raising=False)
    return tmp_path


def run(*words: str) -> int:
    return cli.main(["verify", "--data", "mine.npy", "--quick", *words])


@pytest.mark.parametrize("name", ["bent", "net", "make", "fit", "Net"])
def test_module_and_object(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--model", f"user_models:{name}", "--claims", "C1,G3", "--out", "out") == 0
    found = json.loads((place / "out" / "report.json").read_text())
    assert [(v["claim"], v["data"]) for v in found["verdicts"]] == [
        ("C1", "mine"),
        ("C1", f"mine · user_models:{name}"),
        ("G3", f"mine · user_models:{name}"),
    ]
    compared = found["comparisons"]["mine"]
    assert compared["model"] == f"user_models:{name}"
    assert len(compared["columns"]["sigma"]) == 24
    assert set(compared["ends"]) == {"model", "optimal"} | {
        f"optimal {word} {cut}"
        for word in ("above", "below")
        for cut in (key.split()[-1] for key in compared["ends"] if key.startswith("optimal a"))
    }
    page = (place / "out" / "report.html").read_text()
    assert f"user_models:{name} beside the optimal denoiser of mine" in page
    assert page.count("data:image/png;base64,") == 3
    assert compared["remarks"][0] in page
    assert (place / "out" / "figures" / "comparison-mine.pdf").read_bytes()[:4] == b"%PDF"
    printed = capsys.readouterr().out
    assert f"mine · user_models:{name}" in printed
    assert "Largest mean deviation" in printed


def test_files_are_read_by_learned_load(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learned.RandomFeatureDenoiser.fit(np.load("mine.npy"), n_features=32).save("net.npz")
    assert run("--model", "net.npz", "--claims", "G1", "--out", "out") == 0
    assert "mine · net.npz" in capsys.readouterr().out


def test_nets_of_edm_are_models(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    (place / "user_nets.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    sigma_min, sigma_max, img_channels, img_resolution = 0.002, 80.0, 2, 1\n"
        "    def round_sigma(self, sigma): return sigma\n"
        "    def forward(self, x, sigma, class_labels=None):\n"
        "        return x / (1 + sigma.reshape(-1, 1, 1, 1) ** 2)\n"
        "net, bare = Net(), torch.nn.Linear(2, 2)\n"
    )
    assert run("--model", "user_nets:net", "--claims", "G1", "--out", "out") == 0
    assert "mine · user_nets:net" in capsys.readouterr().out
    assert run("--model", "user_nets:bare", "--claims", "G1", "--out", "out") == 2
    assert "from_torch" in capsys.readouterr().err


BAD = {
    "missing object": ("user_models:bend", "did you mean 'bent'"),
    "no callable": ("user_models:number", "user_models"),
    "missing module": ("user_model:bent", "--model: got 'user_model:bent'"),
    "missing file": ("net.pt", "--model: got 'net.pt'"),
    "other dimension": ("user_models:wrong", "--model: got D = 1, expected D = 2 of mine"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_models_exit_with_2(case: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, words = BAD[case]
    assert run("--model", spec, "--claims", "A5", "--out", "out") == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1
    assert not (place / "out" / "report.json").exists()


def test_a_failing_theorem_exits_with_1(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "OptimalDenoiser", _faults.Bandwidth)
    words = ["--model", "user_models:bent", "--claims", "A1,G1"]
    assert run(*words, "--out", "out") == 1
    verdicts = json.loads((place / "out" / "report.json").read_text())["verdicts"]
    assert [v["status"] for v in verdicts] == ["FAILS", "FAILS"]


def test_an_interrupted_run_continues_with_the_same_model_only(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import user_models  # type: ignore[import-not-found]

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    words = ["--model", "user_models:bent", "--claims", "C1", "--out", "out"]
    with monkeypatch.context() as patch:
        patch.setattr(cli.plotting, "save", stop)
        assert run(*words) == 130
    kept = {path.name: path for path in Path("out").rglob("*.json")}
    assert set(kept) == {"C1.json", "C1-model.json"}
    for path in kept.values():
        fields = json.loads(path.read_text())
        path.write_text(json.dumps({**fields, "note": "kept"}))
    # the same name, but another model
    user_models.SHIFT = 0.5
    with monkeypatch.context() as patch:
        patch.setattr(cli.plotting, "save", stop)
        assert run(*words) == 130
    assert len(list(Path("out").rglob("C1-model.json"))) == 2
    user_models.SHIFT = 0.0
    assert run(*words) == 0
    verdicts = json.loads((place / "out" / "report.json").read_text())["verdicts"]
    assert [v["note"] for v in verdicts] == ["kept", "kept"]


def test_models_reach_other_processes(place: Path) -> None:
    np.save(place / "more.npy", cloud(20).points + 1.0)
    for jobs in ("1", "2"):
        words = ["--data", "more.npy", "--model", "user_models:fit", "--claims", "C6,G1"]
        assert run(*words, "--jobs", jobs, "--out", jobs) == 0
    one, two = (json.loads((place / jobs / "report.json").read_text()) for jobs in ("1", "2"))
    assert one == two
    assert set(one["comparisons"]) == {"mine", "more"}
