"""Figures of jumps, mean shift, the likelihood ball, collapse, latents and other processes.

Scripts compute on small sets, with a Gaussian in the place of the learned denoiser; then what
their axes show is read off the artists.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import gallery, plotting

colors = pytest.importorskip("matplotlib.colors")

NAMES = (
    "collapse",
    "latents",
    "likelihood_ball",
    "mean_shift_paths",
    "ode_jump",
    "other_processes",
)
SETS = ("moons", "pictures")


def make_lab(points: an.PointSet, folder: Path) -> gallery.Lab:
    """A lab whose learned denoiser costs nothing: the Gaussian of the data's moments."""
    lab = gallery.Lab(points, gallery._kept.Kept(folder))
    spread = points.covariance + 1e-6 * np.eye(points.dim)
    lab.__dict__["model"] = an.GaussianDenoiser(points.mean, spread)
    return lab


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, gallery.Lab]:
    pixels = np.random.default_rng(0).choice([-1.0, -0.2, 1.0], size=(24, 16))
    sets = {"moons": an.datasets.two_moons(40), "pictures": an.PointSet(pixels)}
    return {name: make_lab(each, tmp_path_factory.mktemp(name)) for name, each in sets.items()}


@pytest.fixture(scope="module")
def found(labs: dict[str, gallery.Lab]) -> Any:
    """What a script computes for a set, once."""
    known: dict[tuple[str, str], dict[str, Any]] = {}

    def compute(name: str, data: str) -> dict[str, Any]:
        if (name, data) not in known:
            script = gallery.scripts([name])[0]
            known[name, data] = gallery._computed(script, labs[data])
        return known[name, data]

    return compute


def drawn(name: str, found: Any, labs: Any, data: str) -> Any:
    return gallery.scripts([name])[0].module.draw(found(name, data), labs[data])


def line(axes: Any, label: str) -> Any:
    (one,) = (each for each in axes.lines if each.get_label() == label)
    return one


@pytest.mark.parametrize("data", SETS)
@pytest.mark.parametrize("name", NAMES)
def test_text_can_be_read_and_numbers_are_known(
    name: str, data: str, found: Any, labs: Any
) -> None:
    from matplotlib.text import Text

    figure = drawn(name, found, labs, data)
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 7
    assert sum(1 for _ in plotting.numbers(figure)) > 100
    assert all(axes.get_xlabel() or name == "mean_shift_paths" for axes in figure.axes)


@pytest.mark.parametrize("data", SETS)
def test_the_ball_has_the_radius_of_the_theorem_and_the_density_rises_in_it(
    data: str, found: Any, labs: Any
) -> None:
    figure = drawn("likelihood_ball", found, labs, data)
    panels = found("likelihood_ball", data)
    denoiser = labs[data].denoiser
    for axes, panel in zip(figure.axes, panels.values(), strict=True):
        x, D = (line(axes, name).get_xydata()[0] for name in ("x", "denoising D"))
        circle = line(axes, "|y − D| = |x − D|").get_xydata()
        radius = np.linalg.norm(x - D)
        np.testing.assert_allclose(np.linalg.norm(circle - D, axis=1), radius, rtol=1e-12)
        left, right, lower, upper = panel["extent"]
        rise = panel["rise"]
        across = np.linspace(left, right, rise.shape[1])
        up = np.linspace(lower, upper, rise.shape[0])
        places = np.stack(np.meshgrid(across, up), axis=-1)
        inside = np.linalg.norm(places - D, axis=2) <= radius
        assert inside.sum() > 100
        assert rise[inside].min() >= -1e-10  # theory A3
        region = axes.collections[0].get_paths()[0]
        clear = np.abs(rise) > 1e-6 * np.abs(rise).max()
        filled = region.contains_points(places[1:-1, 1:-1].reshape(-1, 2))
        rises = (rise > 0)[1:-1, 1:-1].ravel()
        np.testing.assert_array_equal(
            filled[clear[1:-1, 1:-1].ravel()], rises[clear[1:-1, 1:-1].ravel()]
        )
        if data == "moons":
            sigma, cell = panel["sigma"], (7, 90)
            there = denoiser.log_prob(places[cell][None], sigma)[0]
            here = denoiser.log_prob(x[None], sigma)[0]
            assert rise[cell] == pytest.approx(there - here, abs=1e-9)
            np.testing.assert_allclose(denoiser(x[None], sigma)[0], D, atol=1e-9)


def test_a_slice_shows_true_distances(found: Any, labs: Any) -> None:
    lab = labs["pictures"]
    path = lab.exact()
    for panel in found("likelihood_ball", "pictures").values():
        at = int(np.abs(path.sigmas - panel["sigma"]).argmin())
        x, D = path.states[at, 1], path.denoised[at, 1]
        r = lab.model(x[None], panel["sigma"])[0]
        for one, two, pair in ((x, D, "xD"), (r, D, "rD"), (x, r, "xr")):
            shown = np.linalg.norm(panel[pair[0]] - panel[pair[1]])
            assert shown == pytest.approx(np.linalg.norm(one - two), rel=1e-9)


def test_the_basin_map_shows_the_basins_of_the_flow(found: Any, labs: Any) -> None:
    (axes, *_) = drawn("collapse", found, labs, "moons").axes
    (mesh,) = axes.collections
    index = np.asarray(mesh.get_array())
    low, high = axes.get_xlim()
    row, column = 17, 101
    line_ = np.linspace(low, high, index.shape[1])
    starts = 80.0 * np.array([[line_[column], line_[row]], [line_[3], line_[60]]])
    expected = an.basins(labs["moons"].denoiser, starts, 80.0)
    assert index[row, column] == expected.index[0]
    assert index[60, 3] == expected.index[1]
    assert np.unique(index).size > 3
    tint = mesh.to_rgba(index)
    for one, two in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        apart = index[one] != index[two]
        assert (np.abs(tint[one] - tint[two]).sum(axis=-1)[apart] > 0.1).all()


def test_basins_that_touch_at_a_corner_differ_in_colour() -> None:
    index = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 0]])
    ax = plotting.basin_map(index, (0, 1, 0, 1))
    tint = ax.collections[0].to_rgba(index)
    assert (tint[0, 0] == tint[2, 2]).all()
    assert np.unique(tint[:2, :2].reshape(4, 4), axis=0).shape[0] == 4
    with pytest.raises(ValueError, match="extent"):
        plotting.basin_map(index, (1, 0, 0, 1))
    with pytest.raises(ValueError, match="index"):
        plotting.basin_map(index.astype(float), (0, 1, 0, 1))


def test_certificates_stand_over_the_distance_to_the_nearest_neighbour(
    found: Any, labs: Any
) -> None:
    lab = labs["pictures"]
    _, axes, right = drawn("collapse", found, labs, "pictures").axes
    shown = np.asarray(axes.collections[0].get_offsets())
    points = lab.data.points
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(apart, np.inf)
    ends = an.basins(lab.denoiser, lab.start(300, seed=6), 80.0, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(shown[:, 0], apart.min(axis=1)[ends.index], rtol=1e-12)
    np.testing.assert_allclose(shown[:, 1], ends.sigma, rtol=1e-12)
    curve, bound = line(right, "perplexity"), line(right, "Gaussian bound")
    assert curve.get_ydata()[0] == pytest.approx(24, rel=0.1)
    assert curve.get_ydata()[-1] == pytest.approx(1)
    assert (bound.get_ydata() <= 1.3 * curve.get_ydata()).all()
    level = an.collapse.speciation(lab.data)
    assert line(right, "speciation").get_xdata()[0] == pytest.approx(level, rel=0.05)


def test_certificates_that_never_fired_are_left_out() -> None:
    ax = plotting.certificate_scatter([1.0, 2.0, 4.0], [0.5, np.nan, 2.0])
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), [[1, 0.5], [4, 2]])
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[1, 0.5], [4, 2]])


def test_all_processes_lie_on_one_curve_once_mapped(found: Any, labs: Any) -> None:
    figure = drawn("other_processes", found, labs, "moons")
    table = found("other_processes", "moons")
    names = ("vp", "sub_vp", "cosine", "rectified_flow")
    for name in names:
        each = table[name]
        np.testing.assert_allclose(each["mapped"], table["flow"], atol=1e-6, rtol=1e-6)
        schedule = getattr(an.NoiseSchedule, name)()
        np.testing.assert_allclose(schedule.level(each["times"]), table["sigmas"], rtol=1e-9)
    middle = len(table["sigmas"]) // 2
    vp, sub, cosine, straight = (table[name]["states"][middle, 0] for name in names)
    # both keep the variance: they differ in their time alone
    np.testing.assert_allclose(vp, cosine, atol=1e-6)
    assert abs(table["vp"]["times"][middle] - table["cosine"]["times"][middle]) > 0.01
    own = (vp, sub, straight)
    assert min(np.linalg.norm(a - b) for k, a in enumerate(own) for b in own[:k]) > 1e-3
    first, *others = figure.axes[3].lines
    assert len(others) == 4
    for each in others:
        np.testing.assert_allclose(each.get_ydata(), first.get_ydata(), rtol=1e-4, atol=1e-6)
    assert figure.axes[1].get_xlim() == (1.0, 0.0)


def test_mean_shift_iterates_the_denoiser(found: Any, labs: Any) -> None:
    lab, table = labs["moons"], found("mean_shift_paths", "moons")
    D, fixed, annealed = lab.denoiser, table["fixed"], table["annealed"]
    start = fixed[0]
    for name in ("annealed", "flow", "learned"):
        np.testing.assert_allclose(table[name][0], start, rtol=1e-12)
    np.testing.assert_allclose(fixed[3], D(fixed[2], table["bandwidth"]), atol=1e-12)
    heights = np.array([D.log_prob(x, table["bandwidth"]) for x in fixed])
    assert (np.diff(heights, axis=0) >= -1e-11).all()  # theory A2
    high = 1.5 * np.sqrt(lab.data.spectrum[0])
    np.testing.assert_allclose(annealed[1], D(start, float(high)), atol=1e-12)
    for name in ("annealed", "flow"):
        apart = np.linalg.norm(table[name][-1][:, None] - lab.data.points, axis=2)
        assert apart.min(axis=1).max() < 0.02
    figure = drawn("mean_shift_paths", found, labs, "moons")
    left = figure.axes[0]
    np.testing.assert_array_equal(left.lines[4].get_xydata(), fixed[:, 4])
    assert colors.same_color(figure.axes[2].lines[0].get_color(), plotting.SAMPLING.color)


def test_paths_of_other_sets_are_seen_in_the_principal_plane() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(30, 2)) * [4.0, 2.0] @ np.eye(2, 5) + 7.0
    path = points[None, :3] + np.arange(4)[:, None, None]
    ax = plotting.plane_paths({"sampling x": path}, points)
    first, second = (each.get_xydata() for each in ax.lines[:2])
    shown = np.linalg.norm(first[0] - second[0])
    assert shown == pytest.approx(np.linalg.norm(points[0] - points[1]), rel=1e-9)
    with pytest.raises(ValueError, match="paths"):
        plotting.plane_paths({"x": path[..., :2]}, points)


def test_a_jump_from_the_last_level_is_full_sampling(found: Any, labs: Any) -> None:
    lab, table = labs["moons"], found("ode_jump", "moons")
    path = lab.exact()
    for name, each in table.items():
        assert each["jump"].shape == (40, 48)
        np.testing.assert_allclose(each["jump"][-1], each["full"][-1], atol=1e-12, err_msg=name)
        np.testing.assert_allclose(each["jump"][0], each["full"][0], atol=1e-12, err_msg=name)
    first = np.linalg.norm(path.denoised[0] - path.final, axis=1)
    np.testing.assert_allclose(table["optimal"]["jump"][0], first, rtol=1e-9)
    left, right = drawn("ode_jump", found, labs, "moons").axes
    full = line(right, "full sampling")
    np.testing.assert_array_equal(full.get_xdata(), [1, 2, 3, 5, 8, 12, 20, 40])
    np.testing.assert_allclose(full.get_ydata(), np.mean(table["optimal"]["full"], axis=1))
    assert left.get_xlim() == (80.0, 0.002)
    x, jump = line(left, "sampling x"), line(left, "jump")
    assert colors.same_color(x.get_color(), plotting.SAMPLING.color)
    assert colors.same_color(jump.get_color(), plotting.DENOISING.color)
    expected = np.linalg.norm(path.states[0] - path.final, axis=1).mean()
    assert x.get_ydata()[0] == pytest.approx(expected)


def test_pictures_of_jumps_are_the_denoised_outputs(found: Any, labs: Any) -> None:
    table = found("ode_jump", "pictures")
    *_, axes = drawn("ode_jump", found, labs, "pictures").axes
    assert len(axes.images) == 30
    np.testing.assert_array_equal(
        axes.images[10].get_array(), table["optimal"]["D"][0].reshape(4, 4)
    )
    assert axes.get_xticklabels()[0].get_text() == "80\n1"


@pytest.mark.parametrize("data", SETS)
def test_latents_start_and_end_alike_and_end_on_data(data: str, found: Any, labs: Any) -> None:
    table, points = found("latents", data), labs[data].data.points
    ways = ("linear", "variance_preserving", "spherical")
    for way in ways:
        ends = table[way]["ends"]
        np.testing.assert_array_equal(ends[[0, -1]], table["linear"]["ends"][[0, -1]])
        assert np.linalg.norm(ends[:, None] - points, axis=2).min(axis=1).max() < 1e-6
    middle = {way: table[way]["norms"][50] for way in ways}
    assert middle["linear"] / middle["variance_preserving"] == pytest.approx(np.sqrt(0.5))
    figure = drawn("latents", found, labs, data)
    left, first = figure.axes[:2]
    np.testing.assert_array_equal(line(left, "spherical").get_ydata(), table["spherical"]["norms"])
    if data == "moons":
        np.testing.assert_array_equal(
            line(first, "linear").get_ydata(), table["linear"]["ends"][:, 0]
        )
    else:
        assert len(figure.axes[3].images) == 44
        np.testing.assert_array_equal(
            figure.axes[3].images[11].get_array(),
            table["variance_preserving"]["ends"][0].reshape(4, 4),
        )


def test_curves_that_coincide_have_marks_in_different_places() -> None:
    x = np.arange(40.0)
    ax = plotting.curves_by(x, {"a": x, "b": x}, xlabel="x", ylabel="y", marks=4)
    assert [each.get_markevery() for each in ax.lines] == [(0, 10), (5, 10)]
    with pytest.raises(ValueError, match="values"):
        plotting.curves_by(x, {"a": x[1:]}, xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="distances"):
        plotting.jump_curves(x, {"a": x})
