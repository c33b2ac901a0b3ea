"""The README says what is true: its Python runs as written, its commands exist."""

import importlib.util
import re
from pathlib import Path

import pytest

from analytic import claims, cli

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


TORCH = re.compile(r"\bimport torch\b|\btrain_(mlp|conv)\b")
"""In blocks that need the extra."""
DASK = re.compile(r"\bimport dask\b")
"""The same of Dask."""


def sections(language: str) -> dict[str, str]:
    """Code blocks of one language by their heading, a second one under it as "heading 2"."""
    found: dict[str, str] = {}
    for heading, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE):
        for k, code in enumerate(re.findall(rf"```{language}\n(.*?)```", body, flags=re.DOTALL)):
            found[heading if k == 0 else f"{heading} {k + 1}"] = code
    return found


def test_python_blocks_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, as a reader types them; without torch those that do without."""
    monkeypatch.chdir(tmp_path)
    code = sections("python")
    assert list(code.values()) == blocks("python")
    assert {name for name, block in code.items() if TORCH.search(block)} == {
        "Learned models 2",
        "Networks of your own",
        "Property tests of your own 2",
    }
    have = importlib.util.find_spec("torch") is not None
    cluster = importlib.util.find_spec("distributed") is not None
    scope: dict[str, object] = {}
    printed: dict[str, str] = {}
    for name, block in code.items():
        assert len([line for line in block.splitlines() if line.strip()]) <= 15
        if (have or not TORCH.search(block)) and (cluster or not DASK.search(block)):
            exec(compile(block, f"{README}, {name}", "exec"), scope)
            printed[name] = capsys.readouterr().out

    example = printed["An example"]
    assert "True" in example
    assert example.count("HOLDS") == 4
    assert "FAILS" not in example
    density, back, error = map(float, printed["The exact flow"].split())
    assert density < 1e-9
    assert back <= error < 1e-8
    errors = {line.split()[0]: last(line) for line in printed["Samplers"].splitlines()}
    assert errors["unipc"] < errors["dpmpp_2m"] < errors["euler"]
    assert errors["heun"] < errors["euler"]
    assert "certified: 1.0" in printed["More to measure with"]
    assert last(printed["Learned models"]) < 0.015
    assert last(printed["Classes and guidance"]) > 0.999
    certified, apart, switches = printed["What distillation learns"].splitlines()
    assert certified.endswith("True")
    assert 0.05 < last(apart) < 0.15
    assert 4 <= int(switches.split()[3]) < 100
    assert printed["Past one machine's memory"].split() == ["True", "True"]
    if cluster:
        assert printed["Past one machine's memory 2"].startswith("True [")
    if have:
        off, same = printed["Learned models 2"].splitlines()
        assert last(off) < 0.06
        assert same.endswith("True")
        assert last(printed["Networks of your own"]) < 1e-12


def last(line: str) -> float:
    """The number at the end of a line."""
    return float(line.split()[-1])


def test_shell_blocks_name_real_commands() -> None:
    makefile = (README.parent / "Makefile").read_text()
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    assert len(commands) >= 6
    parser = cli._parser()
    for command in commands:
        words = command.split("#")[0].split()
        if words[0] == "make":
            assert f"\n{words[1]}:" in makefile
        else:
            assert words[0] == "analytic"
            parser.parse_args(words[1:])


def test_every_claim_is_in_the_table() -> None:
    for identifier in claims.registry:
        ranges = {"F": "F1–F6", "B": "B1–B3"}
        assert identifier in TEXT or ranges[identifier[0]] in TEXT
