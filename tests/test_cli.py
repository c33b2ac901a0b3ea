"""The command line: what it writes, its exit codes, and one clear error for every bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analytic import claims, cli
from analytic.claims import _faults


def run(*words: str) -> int:
    """Exit code of the command line."""
    try:
        return cli.main(list(words))
    except SystemExit as stop:  # argparse
        return int(stop.code or 0)


@pytest.fixture
def points_file(tmp_path: Path) -> Path:
    """A small set on disk."""
    path = tmp_path / "mine.npy"
    np.save(path, np.random.default_rng(0).standard_normal((30, 3)))
    return path


def test_verify_writes_the_whole_report(
    tmp_path: Path, points_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "report"
    code = run(
        "verify", "--data", str(points_file), "--data", "two_moons", "--n", "25",
        "--claims", "A1,F1", "--quick", "--seed", "4", "--out", str(out),
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert code == 0
    assert printed.count("HOLDS") >= 4
    assert str(out / "report.html") in printed
    found = json.loads((out / "report.json").read_text())
    assert found["holds"] is True
    assert found["seed"] == 4
    assert [(v["claim"], v["data"]) for v in found["verdicts"]] == [
        ("A1", "mine"),
        ("F1", "mine"),
        ("A1", "two_moons"),
        ("F1", "two_moons"),
    ]
    assert all(v["measured"] <= v["bound"] for v in found["verdicts"])
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    for name in ("A1", "F1"):
        assert (out / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert (out / "figures" / f"{name}.pdf").read_bytes()[:4] == b"%PDF"
    assert sorted(p.name for p in out.iterdir()) == ["figures", "report.html", "report.json"]


def test_same_seed_same_bytes(tmp_path: Path, points_file: Path) -> None:
    for name in ("a", "b"):
        words = ["--data", str(points_file), "--claims", "A2,C4", "--quick"]
        assert run("verify", *words, "--out", str(tmp_path / name)) == 0
    for file in ("report.json", "report.html", "figures/A2.png", "figures/C4.pdf"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_processes_do_not_change_the_report(tmp_path: Path, points_file: Path) -> None:
    for jobs in ("1", "2"):
        words = ["--data", str(points_file), "--data", "two_moons", "--n", "20", "--quick"]
        claims_ = ["--claims", "A1,A2,A3,A5,A7", "--jobs", jobs]
        assert run("verify", *words, *claims_, "--out", str(tmp_path / jobs)) == 0
    for file in ("report.json", "report.html", "figures/A3.png", "figures/A3.pdf"):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()


def test_files_of_the_same_name_stay_apart(tmp_path: Path) -> None:
    for k in (1, 2):
        (tmp_path / str(k)).mkdir()
        np.save(tmp_path / str(k) / "p.npy", np.random.default_rng(k).standard_normal((9, k)))
    data = ",".join(str(tmp_path / str(k) / "p.npy") for k in (1, 2))
    words = ["--data", data, "--claims", "A5", "--quick", "--jobs", "1"]
    assert run("verify", *words, "--out", str(tmp_path / "out")) == 0
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [v["data"] for v in found["verdicts"]] == ["p", "p (2)"]
    assert {name: each["D"] for name, each in found["settings"].items()} == {"p": 1, "p (2)": 2}


def test_a_failing_theorem_exits_with_1_and_keeps_the_counterexample(
    tmp_path: Path, points_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "OptimalDenoiser", _faults.Bandwidth)
    words = ["--data", str(points_file), "--claims", "A1", "--quick"]
    assert run("verify", *words, "--out", str(tmp_path / "out")) == 1
    verdict = json.loads((tmp_path / "out" / "report.json").read_text())["verdicts"][0]
    assert verdict["status"] == "FAILS"
    assert len(verdict["worst"]["x"]) == 3
    assert verdict["worst"]["sigma"] > 0


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", "A3") == 0
    assert capsys.readouterr().out.strip() == claims.explain("A3").strip()


BAD = {
    "unknown data": (["--data", "two_mons"], "two_moons"),
    "missing file": (["--data", "nowhere.npy"], "nowhere.npy"),
    "unknown claim": (["--claims", "A1,Z9"], "Z9"),
    "empty claims": (["--claims", ""], "claims"),
    "negative seed": (["--seed", "-3"], "--seed"),
    "word for a seed": (["--seed", "three"], "--seed"),
    "zero points": (["--n", "0"], "n:"),
    "more points than fit": (["--data", "two_moons", "--n", str(10**15)], "n:"),
    "sigma range": (["--sigma-max", "0.001"], "sigma_max"),
    "sigma NaN": (["--sigma-min", "nan"], "sigma_min"),
    "negative sigma": (["--sigma-min", "-1"], "sigma_min"),
    "no processes": (["--jobs", "0"], "--jobs"),
    "empty data": (["--data", ","], "--data"),
    "unknown option": (["--qick"], "--qick"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_exits_with_2_before_any_work(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("work was started")

    monkeypatch.setattr(cli, "verify", never)
    words, named = BAD[case]
    out = tmp_path / "out"
    assert run("verify", *words, "--out", str(out)) == 2
    error = capsys.readouterr().err
    assert named in error
    assert "Traceback" not in error
    assert not out.exists()


def damaged(kind: str, path: Path) -> Path:
    """A broken input file."""
    if kind == "truncated npy":
        np.save(path / "a.npy", np.ones((50, 2)))
        raw = (path / "a.npy").read_bytes()
        (path / "a.npy").write_bytes(raw[:200])
    elif kind == "nan":
        np.save(path / "a.npy", np.array([[1.0, np.nan]]))
    elif kind == "one-dimensional":
        np.save(path / "a.npy", np.ones(5))
    elif kind == "pickle":
        np.save(path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    elif kind == "empty":
        np.save(path / "a.npy", np.ones((0, 3)))
    elif kind == "negative weights":
        np.savez(path / "a.npz", points=np.eye(3), weights=[-1.0, 1, 1])
        return path / "a.npz"
    elif kind == "weights of sum zero":
        np.savez(path / "a.npz", points=np.eye(3), weights=np.zeros(3))
        return path / "a.npz"
    elif kind == "not a zip":
        (path / "a.zip").write_bytes(b"PK nothing")
        return path / "a.zip"
    return path / "a.npy"


@pytest.mark.parametrize(
    "kind",
    [
        "truncated npy", "nan", "one-dimensional", "pickle", "empty", "negative weights",
        "weights of sum zero", "not a zip",
    ],
)  # fmt: skip
def test_bad_files_exit_with_2(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = damaged(kind, tmp_path)
    assert run("verify", "--data", str(path), "--out", str(tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert error.startswith("analytic: error:")
    assert len(error.strip().splitlines()) == 1
    assert path.name in error or "points" in error or "weights" in error
    assert not (tmp_path / "out" / "report.json").exists()


def test_unwritable_output_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert run("verify", "--out", str(blocked / "report")) == 2
    assert "--out" in capsys.readouterr().err
    assert run("verify", "--out", str(blocked)) == 2
    assert blocked.read_text() == "not a folder"


def test_interrupted_run_leaves_nothing_half_written(
    tmp_path: Path, points_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.plotting, "save", stop)
    words = ["--data", str(points_file), "--claims", "A1", "--quick"]
    out = tmp_path / "out"
    assert run("verify", *words, "--out", str(out)) == 130
    # what is left are whole verdicts, from which the next run continues
    (kept,) = (p for p in out.rglob("*") if p.is_file())
    assert json.loads(kept.read_text())["claim"] == "A1"
    kept.write_text(kept.read_text().replace('"note": ""', '"note": "kept"'))
    monkeypatch.undo()
    assert run("verify", *words, "--out", str(out)) == 0
    (verdict,) = json.loads((out / "report.json").read_text())["verdicts"]
    assert verdict["note"] == "kept"
    assert not (out / cli.UNFINISHED).exists()


def test_module_entry_point_and_installed_script() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    for words in (["-m", "analytic", "--version"], ["-m", "analytic", "explain", "A1"]):
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, env=environment, check=True
        )
        assert "analytic 0." in done.stdout or "Tweedie" in done.stdout


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """`analytic figures --list | head` says nothing on the error stream."""
    child = subprocess.Popen(
        [sys.executable, "-m", "analytic", "figures", "--list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    with child.stderr as stream:
        assert stream.read() == b""
    assert child.wait(60) == 141
