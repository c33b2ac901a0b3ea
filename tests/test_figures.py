"""The figure scripts: each runs alone, and writes a picture and a page."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FIGURES = Path(__file__).parents[1] / "figures"
SIZES: dict[str, dict[str, int]] = {
    "trajectories_2d": {"n": 40, "count": 2},
    "deviation_distance_magnitude": {"n": 60, "count": 3},
    "pca_digits": {"n": 60, "count": 2},
}

pytest.importorskip("sklearn.datasets", reason="scikit-learn is optional")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a script as if run from its folder, without a trace afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FIGURES))
    monkeypatch.delitem(sys.modules, "_harness", raising=False)
    yield importlib.import_module
    for name in {"_harness", *SIZES} & (set(sys.modules) - before):
        del sys.modules[name]


def test_every_script_is_tested_and_listed() -> None:
    found = {path.stem for path in FIGURES.glob("*.py") if not path.stem.startswith("_")}
    assert found == set(SIZES)
    listed = (FIGURES / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}.py`" in listed for name in found)


@pytest.mark.parametrize("name", SIZES)
def test_script_writes_picture_and_page(
    name: str, scripts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "folder"
    script = scripts(name)
    paths = script.main(["--out", str(folder)], **SIZES[name])
    assert paths == [folder / f"{name}.pdf", folder / f"{name}.png"]
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    pdf, png = (path.read_bytes() for path in paths)
    assert pdf.startswith(b"%PDF-")
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == 1400  # 7 in at 200 dots per inch
    assert min(len(pdf), len(png)) > 10_000
    assert sorted(folder.iterdir()) == sorted(paths)


@pytest.mark.parametrize("name", SIZES)
def test_no_text_is_smaller_than_seven_points(name: str, scripts: Any) -> None:
    from matplotlib.text import Text

    figure = scripts(name).draw(**SIZES[name])
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
    assert min(sizes) >= 7


def test_deviation_figure_shows_the_paths_geometry(scripts: Any) -> None:
    figure = scripts("deviation_distance_magnitude").draw(data="two_moons", n=40, count=2)
    left, middle, right = figure.axes
    for axes in figure.axes:
        assert [line.get_label() for line in axes.lines] == ["sampling x", "denoising D"]
        assert axes.get_xlim() == pytest.approx((80.0, 0.002))
    x, _ = left.lines
    assert x.get_ydata()[0] == 0.0
    assert x.get_ydata().max() < 0.05  # nearly straight: bounded by Δ / chord (C6)
    assert (left.get_yscale(), middle.get_yscale(), right.get_yscale()) == ("linear", "log", "log")
    assert "data units" in middle.get_ylabel()


def test_script_runs_alone_and_its_docstring_is_the_caption() -> None:
    done = subprocess.run(
        [sys.executable, str(FIGURES / "pca_digits.py"), "--help"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Digits being made" in done.stdout
    assert "--out" in done.stdout
