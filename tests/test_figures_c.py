"""Figures of solvers, grids, learned models and speed: what their artists show."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import gallery, plotting
from analytic.differences import DIFFERENCES
from analytic.gallery._kept import Kept, flat, nested

pytest.importorskip("matplotlib")
pytest.importorskip("seaborn")
BUNDLED = Path(__file__).parents[1] / "figures" / "data" / "throughput.json"


@pytest.fixture
def lab(tmp_path: Path) -> gallery.Lab:
    return gallery.Lab(an.datasets.two_moons(60, seed=0), Kept(tmp_path))


def script(name: str) -> Any:
    return gallery.scripts([name])[0].module


def drawn(name: str, lab: Any) -> tuple[Any, dict[str, Any]]:
    """The figure, from what was computed as it would come back from its file."""
    found = nested(flat(script(name).compute(lab)))
    return script(name).draw(found, lab), found


def curves(axes: Any) -> dict[str, Any]:
    return {str(line.get_label()): line for line in axes.lines}


def texts(figure: Any) -> None:
    from matplotlib.text import Text

    sizes = [each.get_fontsize() for each in figure.findobj(Text) if each.get_text()]
    assert min(sizes) >= 7


def test_score_deviation_shows_what_compare_measures(lab: gallery.Lab) -> None:
    figure, _ = drawn("score_deviation", lab)
    found = an.compare(lab.model, lab.denoiser, n=512, starts=64, seed=1, keep=False)
    left, right = figure.axes
    for where in ("forward samples", "learned path", "optimal path"):
        line = curves(left)[where]
        np.testing.assert_array_equal(line.get_xdata(), found.sigmas)
        np.testing.assert_allclose(line.get_ydata(), found.frame[f"|r-D|, {where} / scale"])
        share = curves(right)[where].get_ydata()
        np.testing.assert_allclose(share, found.frame[f"theorem 1, {where}"])
    assert curves(left)["learned path"].get_color() == plotting._style.LEARNED.color
    texts(figure)


def test_solver_error_has_every_deterministic_solver_at_its_order(lab: gallery.Lab) -> None:
    figure, found = drawn("solver_error", lab)
    names = {name for name in an.solvers.names() if an.solvers.get(name).eta is None}
    assert set(found) == names
    shown = [label.split(",")[0] for axes in figure.axes for label in curves(axes)]
    assert names <= set(shown)
    assert found["euler"]["observed"] == pytest.approx(1, abs=0.15)
    assert found["heun"]["observed"] == pytest.approx(2, abs=0.15)
    for name in names:  # what is promised is seen
        assert found[name]["observed"] > found[name]["promised"] - 0.6, name
    middle = curves(figure.axes[1])
    line = middle[f"heun, {found['heun']['observed']:.2f}"]
    slope = np.polyfit(*np.log(line.get_xydata()[-2:]).T, 1)[0]
    assert slope == pytest.approx(-2, abs=0.15)
    assert line.get_xdata().tolist() == [8, 16, 32, 64, 128, 256]
    guide = np.log(middle["order 2"].get_xydata())
    assert np.polyfit(*guide.T, 1)[0] == pytest.approx(-2)
    # a jump takes an evaluation more, and ends where the exact path jumps to
    assert found["euler_jump"]["nfe"].tolist() == [9, 17, 33, 65, 129, 257]
    assert found["euler_jump"]["observed"] == pytest.approx(1, abs=0.15)
    texts(figure)


def test_gamma_factors_are_those_of_the_theory() -> None:
    figure, _ = drawn("gamma_factors", None)
    grid = an.grids.polynomial(13)
    p, s, t = grid[:-2], grid[1:-1], grid[2:]

    def mean(a: Any, b: Any) -> Any:
        return (a - b) / np.log(a / b)

    left, right = (curves(axes) for axes in figure.axes)
    heun = left["heun"]
    np.testing.assert_array_equal(heun.get_xdata(), grid[:-1])
    np.testing.assert_allclose(heun.get_ydata(), grid[:-1] / grid[1:])
    halves = left["dpm_2 r=0.5"].get_ydata()
    np.testing.assert_allclose(halves, 2 * grid[:-1] / (grid[1:] + np.sqrt(grid[:-1] * grid[1:])))
    two_m = right["dpmpp_2m = dpm_2m = unipc UniP-2 bh2"].get_ydata()
    assert math.isnan(two_m[0])
    np.testing.assert_allclose(two_m[1:], mean(p, s) / mean(s, t))
    np.testing.assert_allclose(right["ipndm"].get_ydata()[1:], ((s - p) / (t - s)), equal_nan=True)
    one = right["lms = unipc UniC-1 bh2"].get_ydata()
    assert np.nanmax(np.abs(one - 1)) == 0
    for axes in figure.axes:
        assert axes.get_yscale() == "log"
        assert set(curves(axes)["γ = 1"].get_ydata()) == {1.0}
    labels = " ".join((*left, *right))
    assert all(each.solver.name in labels for each in DIFFERENCES)
    texts(figure)


def test_factors_tend_to_one_on_fine_grids() -> None:
    p, s, t = 1.0 + 2e-4, 1.0 + 1e-4, 1.0
    for each in DIFFERENCES:
        assert each.gamma(p, s, t) == pytest.approx(1, abs=1e-3), each.solver.label


def test_gits_beats_the_fixed_grid_under_euler(lab: gallery.Lab) -> None:
    figure, found = drawn("gits_grid", lab)
    left, right = figure.axes
    lines = curves(right)
    gits, fixed = (lines[f"{name}, euler"].get_ydata() for name in ("GITS", "EDM (Karras)"))
    assert np.all(gits[:6] < fixed[:6])
    rows = [line for line in left.lines if len(line.get_xdata()) == 5]
    assert len(rows) == 2
    np.testing.assert_array_equal(rows[1].get_xdata(), an.grids.polynomial(5))
    np.testing.assert_array_equal(rows[0].get_xdata(), found["grids"]["GITS"]["4"])
    assert rows[0].get_ydata()[0] > rows[1].get_ydata()[0]
    start, end = lab.start(64, seed=2), found["errors"]["GITS"]["euler"][0]
    exact = an.integrate(lab.denoiser, start, 80.0, 0.002, rtol=1e-8, atol=1e-10)
    run = an.sample(lab.denoiser, start, found["grids"]["GITS"]["4"], "euler")
    apart = np.linalg.norm(run.states[-1] - exact.states[-1], axis=1).mean()
    assert end == pytest.approx(apart, rel=1e-3)
    texts(figure)


def test_losses_fall_with_width_and_stay_above_the_optimum(lab: gallery.Lab) -> None:
    figure, found = drawn("random_features", lab)
    losses, least = found["losses"], found["mmse"]
    assert np.all(np.diff(losses, axis=1) <= 1e-6 * losses[:, 1:])
    assert np.all(losses[:, 0] > least)
    assert np.all(losses >= least[:, None] * (1 - 1e-4))
    # loss = mmse + |r - D|² (theory G1), with 1,024 samples in the last part
    np.testing.assert_allclose(losses[:, 0] - least, found["deviations"][:, 0], rtol=0.25)
    lines = curves(figure.axes[0])
    unit = lab.data.total_variance
    np.testing.assert_allclose(lines["σ = 0.5"].get_ydata(), losses[2] / unit)
    np.testing.assert_allclose(lines["mmse, σ = 0.5"].get_ydata(), [least[2] / unit] * 2)
    right = curves(figure.axes[1])["σ = 0.5"].get_ydata()
    np.testing.assert_allclose(right, np.sqrt(found["deviations"][2] / unit))
    texts(figure)


def test_floors_out_of_reach_are_left_out() -> None:
    axes = plotting.width_curves(
        [8, 16], [1.0, 0.1], [[2.0, 1.0], [0.5, 0.4]], floors=[0.9, 1e-40], ylabel="loss"
    )
    assert list(curves(axes)) == ["σ = 1", "mmse, σ = 1", "σ = 0.1"]
    with pytest.raises(ValueError, match="a row for each of sigmas"):
        plotting.width_curves([8, 16], [1.0], np.ones((2, 2)), ylabel="loss")


def test_throughput_is_queries_over_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("throughput")
    monkeypatch.setattr(module, "READS", ("data/throughput.json",))
    found = nested(flat(module.compute(None)))
    figure = module.draw(found, SimpleNamespace())
    works = json.loads(BUNDLED.read_text(encoding="utf-8"))["works"]
    shown = {axes.get_title(): curves(axes) for axes in figure.axes}
    seen = 0
    for work in works:
        for each in work["results"]:
            if each["best"]:
                line = shown[f"D = {work['D']}"][each["contender"]]
                at = line.get_xdata().tolist().index(work["N"])
                assert line.get_ydata()[at] == pytest.approx(work["B"] / each["best"])
                seen += 1
    assert seen > 20
    own = shown["D = 2"]["analytic auto"]
    assert own.get_linestyle() == "-" and shown["D = 2"]["numpy product"].get_linestyle() != "-"
    texts(figure)


def test_a_figure_is_made_anew_when_what_it_reads_changes(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text('"""One."""\nREADS = ("in/some.json",)\n')
    one = gallery.Script(path)
    none = one.computed_by
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "some.json").write_text("{}")
    some = one.computed_by
    (tmp_path / "in" / "some.json").write_text("[]")
    assert len({none, some, one.computed_by}) == 3


def test_errors_and_counts_must_agree() -> None:
    with pytest.raises(ValueError, match="one \\(K,\\)"):
        plotting.solver_error({"heun": [2, 4]}, {"heun": [0.1]})
    with pytest.raises(ValueError, match="one for each of steps"):
        plotting.grid_error([2, 4], {"EDM": {"heun": [0.1]}})
