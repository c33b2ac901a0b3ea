"""The gallery's harness: what it refuses, keeps, draws again and leaves alone."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import cli, gallery
from analytic.gallery import _lab, _page
from analytic.gallery._kept import Kept, flat, nested

pytest.importorskip("matplotlib")

SCRIPT = '''"""A line.

Of three points.
"""
from analytic import gallery, plotting

NEEDS = "data"
DATA = ("two_moons",)


def compute(lab):
    with open({log!r}, "a") as log:
        log.write("computed\\n")
    return {{"y": [1.0, 2.0, len(lab.data)]}}


def draw(found, lab):
    with open({log!r}, "a") as log:
        log.write("drawn\\n")
    with plotting.theme():
        figure = plotting.figure()
        figure.subplots().plot([0.0, 1.0, 2.0], found["y"], label="rise")
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
'''


class Bench:
    """A folder with one script, and what it did."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.log = folder / "scripts", folder / "out", folder / "log"
        self.folder.mkdir()
        self.write("line", SCRIPT.format(log=str(self.log)))

    def write(self, name: str, text: str) -> None:
        (self.folder / f"{name}.py").write_text(text)

    def edit(self, old: str, new: str, name: str = "line") -> None:
        text = (self.folder / f"{name}.py").read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def make(self, names: Any = (), data: Any = (), **more: Any) -> list[gallery.Made]:
        return gallery.make(names, data, **{"out": self.out, "folder": self.folder, "n": 9} | more)

    def done(self) -> list[str]:
        """What was done since the last time."""
        found = self.log.read_text().split() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return found

    def files(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in self.out.iterdir() if p.is_file()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# --- what is written -----------------------------------------------------------------------------


def test_a_figure_is_a_page_a_picture_and_its_numbers(bench: Bench) -> None:
    (made,) = bench.make()
    names = [f"line-two_moons.{each}" for each in ("pdf", "png", "csv")]
    assert (made.name, made.data, made.outcome) == ("line", "two_moons", "drawn")
    assert [path.name for path in made.paths] == names
    assert sorted(bench.files()) == sorted(names)
    assert made.paths[0].read_bytes().startswith(b"%PDF-")
    assert made.paths[1].read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(made.paths[2].read_text().splitlines()))
    assert [(row["series"], row["kind"], row["x"], row["y"]) for row in rows] == [
        ("rise", "line", "0", "1"),
        ("rise", "line", "1", "2"),
        ("rise", "line", "2", "9"),
    ]


def test_what_has_not_changed_is_neither_computed_nor_drawn(bench: Bench) -> None:
    bench.make()
    before = bench.files()
    assert bench.done() == ["computed", "drawn"]
    (made,) = bench.make()
    assert made.outcome == "unchanged"
    assert len(made.paths) == 3
    assert bench.done() == []
    assert bench.files() == before


def test_changed_drawing_reuses_what_was_computed(bench: Bench) -> None:
    bench.make()
    bench.done()
    bench.edit('label="rise"', 'label="climb"')
    assert bench.make()[0].outcome == "drawn"
    assert bench.done() == ["drawn"]
    assert b"climb" in bench.files()["line-two_moons.csv"]
    bench.edit("Of three points.", "Of some points.")
    bench.make()
    assert bench.done() == ["drawn"]


@pytest.mark.parametrize("change", ["script", "points", "set"])
def test_what_a_figure_is_computed_from_makes_it_anew(bench: Bench, change: str) -> None:
    bench.make()
    bench.done()
    if change == "script":
        bench.edit("[1.0, 2.0", "[1.5, 2.0")
        bench.make()
    elif change == "points":
        bench.make(n=8)
    else:
        bench.make(data=["checkerboard"])
    assert bench.done() == ["computed", "drawn"]


def test_a_file_that_was_lost_or_touched_is_drawn_again(bench: Bench) -> None:
    (made,) = bench.make()
    before = bench.files()
    made.paths[0].unlink()
    made.paths[2].write_text("x")
    bench.done()
    bench.make()
    assert bench.done() == ["drawn"]
    assert bench.files() == before


def test_a_set_file_that_changed_is_read_again(bench: Bench, tmp_path: Path) -> None:
    points = np.random.default_rng(0).standard_normal((6, 3))
    np.save(tmp_path / "mine.npy", points)
    bench.make(data=[str(tmp_path / "mine.npy")], n=None)
    np.save(tmp_path / "mine.npy", points[:5])
    (made,) = bench.make(data=[str(tmp_path / "mine.npy")], n=None)
    assert made.outcome == "drawn"
    assert b",2,5," in bench.files()["line-mine.csv"]


def test_formats_are_those_asked_for_once(bench: Bench) -> None:
    (made,) = bench.make(formats=("png", "png"))
    assert [path.suffix for path in made.paths] == [".png", ".csv"]
    assert bench.make(formats=("png",))[0].outcome == "unchanged"
    assert bench.make(formats=("pdf", "png"))[0].outcome == "drawn"


def test_two_processes_write_the_same_files(bench: Bench, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        bench.write(name, SCRIPT.format(log=str(bench.log)))
    one = [each.name for each in bench.make(jobs=1)]
    alone = bench.files()
    bench.out = tmp_path / "other"
    assert [each.name for each in bench.make(jobs=2)] == one
    assert bench.files() == alone
    assert len(alone) == 12


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"names": ["lin"]}, r"names: got 'lin', expected one of line; did you mean 'line'"),
        ({"data": ["two_mons"]}, r"name: got 'two_mons'.*did you mean 'two_moons'"),
        ({"data": ["no/file.npy"]}, r"path: got 'no/file.npy', expected an existing file"),
        ({"formats": ["svg"]}, r"formats: got 'svg', expected one of pdf, png"),
        ({"formats": []}, r"formats: got none"),
        ({"model": "nothing"}, r"--model: got 'nothing', expected MODULE:OBJECT or a file"),
        ({"n": 0}, r"n: got 0"),
        ({"jobs": 0}, r"jobs: got 0"),
    ],
)
def test_bad_wishes_are_refused_before_anything_is_done(
    bench: Bench, given: dict[str, Any], said: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        bench.make(**given)
    assert bench.done() == []
    assert not bench.out.exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('NEEDS = "data"', 'NEEDS = "picture"', r"NEEDS of line.py: got 'picture'"),
        ('DATA = ("two_moons",)', "DATA = tuple(SETS)", r"DATA of line.py: got an expression"),
        ('DATA = ("two_moons",)', 'DATA = ("two_moons", 3)', r"DATA of line.py: got 3"),
        ("def compute(lab)", "def computes(lab)", r"line.py: got no function compute"),
        ("def draw(found, lab)", "draw = lambda: 0\ndef no(found)", r"no function draw"),
        ("return figure", "return (figure", r"line.py: got .* in line"),
    ],
)
def test_scripts_that_are_no_figures_are_refused(
    bench: Bench, old: str, new: str, said: str
) -> None:
    bench.edit(old, new)
    with pytest.raises((ValueError, TypeError), match=said):
        bench.make(["line"])
    assert bench.done() == []


def test_a_set_by_two_names_is_one_and_two_of_one_name_are_none(
    bench: Bench, tmp_path: Path
) -> None:
    made = bench.make(data=["moons", "two_moons", "moons"])
    assert [each.data for each in made] == ["moons"]
    for name, shift in (("a", 0.0), ("b", 1.0)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", np.arange(6.0).reshape(3, 2) + shift)
    bench.done()
    with pytest.raises(ValueError, match=r"data: got '.*a/x.npy' and '.*b/x.npy', both called x"):
        bench.make(data=[str(tmp_path / name / "x.npy") for name in "ab"], n=None)
    assert bench.done() == []


def test_reasons_why_there_is_no_figure(bench: Bench) -> None:
    bench.write("plane", SCRIPT.format(log=str(bench.log)).replace('"data"', '"plane"'))
    bench.write("images", SCRIPT.format(log=str(bench.log)).replace('"data"', '"images"'))
    bench.edit("    return {", '    raise gallery.Unfit("there is nothing to see")\n    return {')
    made = {(e.name, e.data): e for e in bench.make(data=["random_high_d", "two_moons"], n=5)}
    assert made["plane", "random_high_d"].outcome == (
        "it shows the plane, and random_high_d has D = 512"
    )
    assert "square images in [-1, 1]" in made["images", "two_moons"].outcome
    assert made["line", "two_moons"].outcome == "there is nothing to see"
    drawn = [key for key, each in made.items() if each.outcome == "drawn"]
    assert drawn == [("plane", "two_moons")]
    assert all(bool(each.paths) == (each.outcome == "drawn") for each in made.values())


def test_sets_that_need_an_extra_say_what_to_install(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    bench.edit('DATA = ("two_moons",)', 'DATA = ("two_moons", "digits")')
    drawn, missing = bench.make()
    assert drawn.outcome == "drawn"
    assert (missing.data, missing.paths) == ("digits", ())
    assert 'pip install "analytic-diffusion[data]"' in missing.outcome
    with pytest.raises(ImportError, match=r"analytic-diffusion\[data\]"):
        bench.make(data=["digits"])


def test_a_figure_without_data_is_drawn_once(bench: Bench) -> None:
    bench.edit('NEEDS = "data"', 'NEEDS = "nothing"')
    (made,) = bench.make(data=["two_moons", "checkerboard"])
    assert [path.name for path in made.paths] == ["line.pdf", "line.png", "line.csv"]


# --- interrupts ----------------------------------------------------------------------------------


def test_an_interrupt_leaves_whole_files_and_the_next_run_continues(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write("other", SCRIPT.format(log=str(bench.log)))
    save = gallery.plotting.save
    calls: list[Path] = []

    def stopped(figure: Any, stem: Path, formats: Any) -> Any:
        calls.append(stem)
        paths = save(figure, stem, formats[:1] if len(calls) == 2 else formats)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return paths

    monkeypatch.setattr(gallery.plotting, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        bench.make()
    whole = bench.files()
    assert sorted(whole) == [
        *(f"line-two_moons.{each}" for each in ("csv", "pdf", "png")),
        "other-two_moons.pdf",
    ]
    assert not [path for path in bench.out.rglob(".*.pdf.*")]
    bench.done()
    assert [each.outcome for each in bench.make()] == ["unchanged", "drawn"]
    assert bench.done() == ["drawn"]
    assert whole.items() <= bench.files().items()


def test_an_interrupt_while_computing_keeps_nothing(bench: Bench) -> None:
    bench.edit("    return {", "    raise KeyboardInterrupt\n    return {")
    with pytest.raises(KeyboardInterrupt):
        bench.make()
    assert not list((bench.out / ".kept").glob("*"))
    assert not list((bench.out / ".kept").glob(".*.lock"))


# --- what is kept --------------------------------------------------------------------------------


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept")
    found = {"a": np.arange(3), "b": {"c": 1.5, "d": {"e": "text"}}, "f": [1, 2]}
    kept.put("key", found)
    back = kept.get("key")
    assert back is not None
    np.testing.assert_array_equal(back["a"], [0, 1, 2])
    assert back["b"] == {"c": 1.5, "d": {"e": "text"}}
    assert nested(flat(found))["b"] == found["b"]
    (tmp_path / "kept" / "key.npz").write_bytes(b"PK damaged")
    assert kept.get("key") is None


def test_what_nothing_asks_for_is_forgotten(bench: Bench) -> None:
    bench.make()
    (result,) = (bench.out / ".kept").glob("*.npz")
    other = result.with_name("other.npz")
    other.write_bytes(b"")
    for path in (result, other):
        os.utime(path, (0, 0))
    bench.edit('label="rise"', 'label="fall"')
    bench.make()  # asks for the first one, to draw it anew
    assert result.exists()
    assert not other.exists()
    assert bench.done() == ["computed", "drawn", "drawn"]


@pytest.mark.parametrize(
    ("found", "said"), [({"a": {"b/c": 1}}, r"a/b/c: got a slash"), ({"a": object()}, "a: got")]
)
def test_what_cannot_be_kept_is_refused(found: Any, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        flat(found)


def _slow(folder: str, log: str) -> None:
    def made() -> dict[str, Any]:
        import time

        with open(log, "a") as stream:
            stream.write("made\n")
        time.sleep(0.5)
        return {"a": 1}

    assert Kept(Path(folder)).once("key", made) == {"a": 1}


@pytest.mark.skipif(sys.platform == "win32", reason="no fcntl")
def test_two_processes_do_not_compute_the_same_twice(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    args = (str(tmp_path / "kept"), str(tmp_path / "log"))
    workers = [context.Process(target=_slow, args=args) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert (tmp_path / "log").read_text() == "made\n"


# --- the lab -------------------------------------------------------------------------------------


def lab_of(points: Any, tmp_path: Path, **more: Any) -> gallery.Lab:
    return gallery.Lab(an.points.as_points(points), Kept(tmp_path / "kept"), **more)


def test_paths_of_both_denoisers_start_alike_and_are_kept(tmp_path: Path) -> None:
    lab = lab_of(an.datasets.two_moons(30), tmp_path)
    object.__setattr__(lab, "model", an.GaussianDenoiser(lab.data.mean, lab.data.covariance))
    paths = lab.paths(3, levels=12)
    assert list(paths) == ["optimal", "learned"] == list(lab.titles)
    np.testing.assert_array_equal(paths["optimal"].states[0], paths["learned"].states[0])
    assert paths["optimal"].sigmas[-1] == 0.0
    assert paths["learned"].sigmas[-1] == 0.002
    np.testing.assert_array_equal(paths["optimal"].sigmas[:-1], paths["learned"].sigmas)
    assert paths["optimal"].collapse is not None
    again = lab_of(an.datasets.two_moons(30), tmp_path)
    np.testing.assert_array_equal(again.exact(3, levels=12).states, paths["optimal"].states)
    assert "denoiser" not in vars(again)


def test_noise_follows_the_size_of_the_data(tmp_path: Path) -> None:
    data = an.datasets.two_moons(30)
    large = an.PointSet(100 * data.points, name=data.name)
    plain, scaled = lab_of(data, tmp_path), lab_of(large, tmp_path)
    assert (plain.high, plain.low, plain.unit) == (80.0, 0.002, 1.0)
    assert (scaled.high, scaled.low, scaled.unit) == pytest.approx((8000.0, 0.2, 100.0))
    a, b = plain.exact(3, levels=12), scaled.exact(3, levels=12)
    np.testing.assert_allclose(b.sigmas, 100 * a.sigmas, rtol=1e-14)
    np.testing.assert_allclose(b.states, 100 * a.states, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(b.collapse.index, a.collapse.index)


def test_large_sets_have_few_paths_and_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lab, "LARGE", 50)
    lab = lab_of(an.datasets.two_moons(30), tmp_path)
    assert lab.large
    assert not lab.learnable
    paths = lab.paths()
    assert list(paths) == ["optimal"]
    assert paths["optimal"].states.shape == (61, 8, 2)
    with pytest.raises(gallery.Unfit, match=r"two_moons is too large.*--model"):
        _ = lab.model
    assert lab_of(lab.data, tmp_path, model_name="m:f").learnable


def test_a_model_is_called_by_its_file(tmp_path: Path) -> None:
    lab = lab_of(an.datasets.two_moons(30), tmp_path, model_name="runs/2/net.npz")
    assert lab.learned == lab.titles["learned"] == "net.npz"
    assert lab_of(lab.data, tmp_path).learned == "random features"


@pytest.mark.parametrize(
    ("dim", "size", "shape"),
    [
        (64, 1.0, (8, 8, 1)),
        (192, 1.0, (8, 8, 3)),
        (3072, 1.0, (32, 32, 3)),
        (64, 1.1, None),
        (65, 1.0, None),
        (9, 1.0, None),
        (2, 1.0, None),
        (128, 1.0, None),
    ],
)
def test_pictures_are_square_and_in_range(
    dim: int, size: float, shape: tuple[int, int, int] | None
) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (4, dim))
    values[0, 0], values[1, 0] = size, -size
    assert gallery.image_shape(an.PointSet(values)) == shape
    values[0, 0] = 0.0
    assert gallery.image_shape(an.PointSet(values)) == shape


# --- the command line ----------------------------------------------------------------------------


def test_a_script_runs_alone_and_its_docstring_is_the_caption(bench: Bench) -> None:
    path = bench.folder / "line.py"
    run = [sys.executable, str(path), "--n", "7", "--data", "moons,checkerboard", "--format", "png"]
    done = subprocess.run(run, check=True, capture_output=True, text=True, timeout=120)
    out = bench.folder / "out"
    assert done.stdout.split() == [
        str(out / f"line-{name}.{each}")
        for name in ("two_moons", "checkerboard")
        for each in ("png", "csv")
    ]
    done = subprocess.run([*run[:2], "--help"], check=True, capture_output=True, text=True)
    assert "Of three points." in done.stdout


def test_a_script_says_what_is_wrong_in_one_line(bench: Bench) -> None:
    with pytest.raises(SystemExit) as stopped:
        gallery.main(str(bench.folder / "line.py"), ["--format", "svg"])
    assert str(stopped.value.code).startswith("line.py: error: formats: got 'svg'")


def test_command_line_draws_lists_and_refuses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("analytic.gallery._script._folder", lambda: bench.folder)
    assert cli.main(["figures", "--list"]) == 0
    assert "A line." in capsys.readouterr().out
    run = ["figures", "line", "--n", "7", "--out", str(bench.out), "--jobs", "1"]
    assert cli.main(run) == 0
    assert capsys.readouterr().out.split()[0] == str(bench.out / "line-two_moons.pdf")
    assert cli.main(run) == 0
    assert capsys.readouterr().out.count("(unchanged)") == 3
    assert cli.main([*run, "--data", "digit"]) == 2
    assert "did you mean 'digits'" in capsys.readouterr().err
    assert cli.main([*run, "--gallery"]) == 2
    assert "--gallery: got some figures" in capsys.readouterr().err


def test_the_gallery_shows_every_figure_in_small(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pytest.importorskip("PIL.Image")
    monkeypatch.setattr("analytic.gallery._script._folder", lambda: bench.folder)
    bench.write("other", SCRIPT.format(log=str(bench.log)).replace("A line.", "Another."))
    assert cli.main(["figures", "--gallery", "--n", "7", "--out", str(bench.out)]) == 0
    text = (bench.folder / "README.md").read_text()
    for name, title in (("line", "A line"), ("other", "Another")):
        assert f"## {title}\n" in text
        assert f"](thumbnails/{name}.png)" in text
        with image.open(bench.folder / "thumbnails" / f"{name}.png") as small:
            assert small.width == 400
            assert small.height == round(2.6 / 3.4 * 400)
    assert "Of three points." in text


def test_small_pictures_stay_light(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    noise = np.random.default_rng(0).integers(0, 256, (900, 1400, 3), dtype=np.uint8)
    image.fromarray(noise).save(tmp_path / "noise.png")
    found = _page.thumbnail(tmp_path / "noise.png")
    assert 5_000 < len(found) < 40_000


def test_stamps_belong_to_the_code_that_drew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.make()
    stamp = json.loads((bench.out / ".made" / "line-two_moons.json").read_text())
    assert sorted(stamp) == [".csv", ".pdf", ".png", "key"]
    bench.done()
    digest = _lab._package_digest
    monkeypatch.setattr(_lab, "_package_digest", lambda drawn: digest(drawn) + "x" * drawn)
    assert bench.make()[0].outcome == "drawn"
    assert bench.done() == ["drawn"]
    monkeypatch.setattr(_lab, "_package_digest", lambda drawn: digest(drawn) + "y")
    bench.make()
    assert bench.done() == ["computed", "drawn"]


def test_random_features_are_fitted_once_for_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, kept = an.datasets.two_moons(40), Kept(tmp_path)
    first = gallery.Lab(data, kept).model

    def again(*args: Any, **options: Any) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(an.learned.RandomFeatureDenoiser, "fit", again)
    x = data.points[:3]
    np.testing.assert_array_equal(gallery.Lab(data, kept).model(x, 0.3), first(x, 0.3))
    with pytest.raises(AssertionError, match="fitted again"):
        _ = gallery.Lab(an.datasets.two_moons(41), kept).model
