"""The README says what is true: its Python runs as written, its commands exist."""

import re
from pathlib import Path

import pytest

from analytic import claims, cli

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_python_blocks_run(capsys: pytest.CaptureFixture[str]) -> None:
    """One after the other, as a reader types them."""
    scope: dict[str, object] = {}
    printed = []
    for code in blocks("python"):
        assert len([line for line in code.splitlines() if line.strip()]) <= 15
        exec(compile(code, str(README), "exec"), scope)
        printed.append(capsys.readouterr().out)
    example, flow, samplers, more = printed
    assert "True" in example
    assert example.count("HOLDS") == 4
    assert "FAILS" not in example
    density, back, error = map(float, flow.split())
    assert density < 1e-9
    assert back <= error < 1e-8
    errors = {line.split()[0]: float(line.split()[-1]) for line in samplers.splitlines()}
    assert errors["unipc"] < errors["dpmpp_2m"] < errors["euler"]
    assert errors["heun"] < errors["euler"]
    assert "certified: 1.0" in more
    assert float(more.split()[-1]) < 0.1


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
