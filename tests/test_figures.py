"""The figures' scripts: each computes and draws what its caption says, in print size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import datasets, gallery, geometry, plotting
from analytic.gallery._kept import Kept, flat, nested

colors = pytest.importorskip("matplotlib.colors")
pytest.importorskip("sklearn.datasets", reason="scikit-learn is optional")

SCRIPTS = {script.name: script for script in gallery.scripts()}
OURS = (
    "boomerang",
    "cosines",
    "denoising_first",
    "deviation",
    "magnitudes",
    "pca_plane",
    "trajectories_2d",
)


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, gallery.Lab]:
    """Labs of 60 points with a Gaussian beside them, a model that costs nothing."""
    found = {}
    for name in ("two_moons", "digits"):
        kept = Kept(tmp_path_factory.mktemp("kept"))
        lab = gallery.Lab(datasets.get(name, n=60), kept)
        model = an.GaussianDenoiser(lab.data.mean, lab.data.covariance)
        object.__setattr__(lab, "model", model)
        found[name] = lab
    return found


@pytest.fixture(scope="module")
def drawn(labs: Mapping[str, gallery.Lab]) -> Any:
    """Figures by script and set, each made once."""
    made: dict[tuple[str, str], Any] = {}

    def draw(name: str, data: str) -> Any:
        if (name, data) not in made:
            module, lab = SCRIPTS[name].module, labs[data]
            made[name, data] = module.draw(nested(flat(module.compute(lab))), lab)
        return made[name, data]

    return draw


def of(axes: Any, label: str) -> Any:
    (found,) = (line for line in axes.lines if line.get_label() == label)
    return found


def is_look(line: Any, look: plotting.Look) -> bool:
    return colors.same_color(line.get_color(), look.color)


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_is_a_figure_with_a_title_and_known_sets(name: str) -> None:
    script = SCRIPTS[name]
    script.check()
    assert script.title.endswith(".")
    assert len(script.caption.splitlines()) > 2
    assert set(script.sets) <= set(datasets.names())
    if script.needs == "plane":
        assert not {"digits", "patches", "random_high_d"} & set(script.sets)


def test_the_page_shows_every_script() -> None:
    folder = next(iter(SCRIPTS.values())).path.parent
    text = (folder / "README.md").read_text(encoding="utf-8")
    for name, script in SCRIPTS.items():
        assert f"]({script.path.name})" in text, "run: analytic figures --gallery"
        assert (folder / "thumbnails" / f"{name}.png").stat().st_size < 40_000


@pytest.mark.parametrize("data", ["two_moons", "digits"])
@pytest.mark.parametrize("name", OURS)
def test_size_text_and_numbers(name: str, data: str, drawn: Any, labs: Any) -> None:
    from matplotlib.text import Text

    if SCRIPTS[name].unfit(labs[data].data) or (name, data) == ("boomerang", "two_moons"):
        pytest.skip("not for this set")
    figure = drawn(name, data)
    assert figure.get_figwidth() in (plotting.COLUMN, plotting.PAGE)
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
    assert min(sizes) >= 7
    rows = list(plotting.numbers(figure))
    shown = sum(len(line.get_xdata()) for axes in figure.axes for line in axes.lines)
    assert sum(row.kind == "line" for row in rows) == shown > 0
    picked = [row for row in rows if row.kind == "line" and np.isfinite(row.y)]
    assert all(np.isfinite(row.x) for row in picked)


# --- each of them --------------------------------------------------------------------------------


def test_trajectories_end_at_each_panels_level_over_its_density(drawn: Any, labs: Any) -> None:
    figure, lab = drawn("trajectories_2d", "two_moons"), labs["two_moons"]
    panels = np.reshape(figure.axes, (2, 4))
    for path, row in zip(lab.paths().values(), panels, strict=True):
        for k, axes in enumerate(row):
            x = [line for line in axes.lines if is_look(line, plotting.SAMPLING)]
            d = [line for line in axes.lines if is_look(line, plotting.DENOISING)]
            assert len(x) == len(d) == 12
            if k < 3:
                title = panels[0, k].get_title()
                sigma = path.sigmas[np.abs(path.sigmas - float(title[4:])).argmin()]
                assert sigma == pytest.approx((1.2, 0.5, 0.2)[k] * lab.data.scale, rel=0.05)
            else:
                sigma = path.sigmas[-1]
            at = path.states[path.sigmas == sigma][0]
            for line, end in zip(x, at, strict=False):
                np.testing.assert_array_equal(line.get_xydata()[-1], end)
    levels = [row.value for row in plotting.numbers(figure) if row.kind == "level"]
    assert set(levels) == {-4.5, -2.0, -0.5}
    last = [row for row in plotting.numbers(figure) if row.panel.startswith("4 ")]
    assert not [row for row in last if row.kind == "level"]


def test_contours_are_those_of_the_density(drawn: Any, labs: Any) -> None:
    figure, lab = drawn("trajectories_2d", "two_moons"), labs["two_moons"]
    sigma = float(lab.exact().sigmas[np.abs(lab.exact().sigmas - 0.5 * lab.data.scale).argmin()])
    ring = [
        row
        for row in plotting.numbers(figure)
        if row.panel.startswith("2 ") and row.kind == "level" and row.value == -2.0
    ]
    found = lab.denoiser.log_prob(np.array([(row.x, row.y) for row in ring]), sigma)
    grid = lab.denoiser.log_prob(lab.data.points, sigma).max()
    np.testing.assert_allclose(found, grid - 2, atol=0.15)


def test_deviation_and_distance_are_the_paths_geometry(drawn: Any, labs: Any) -> None:
    figure, lab = drawn("deviation", "digits"), labs["digits"]
    panels = np.reshape(figure.axes, (2, 2))
    for k, path in enumerate(lab.paths().values()):
        live = path.sigmas > 0
        for row, x, d in (
            (0, geometry.deviation(path.states), geometry.deviation(path.denoised)),
            (1, geometry.distances(path.states), geometry.distances(path.denoised, path.final)),
        ):
            for label, each, look in (
                ("sampling x", x, plotting.SAMPLING),
                ("denoising D", d, plotting.DENOISING),
            ):
                line = of(panels[row, k], label)
                assert is_look(line, look)
                values, mean = line.get_ydata(), each[live].mean(axis=1)
                good = np.isfinite(values)
                np.testing.assert_allclose(values[good], mean[good])
                assert (mean[~good] <= 0).all()
            assert panels[row, k].get_xlim() == pytest.approx((80.0, 0.002))
            assert panels[row, k].get_yscale() == ("linear", "log")[row]
        chord = geometry.chord(path.states).mean()
        assert f"chord of x {chord:.3g}," in panels[0, k].get_title()
    assert panels[0, 0].get_title().startswith("optimal denoiser")
    assert panels[0, 1].get_title().startswith("random features")


def test_magnitudes_lie_beside_what_they_tend_to(drawn: Any, labs: Any) -> None:
    figure, lab = drawn("magnitudes", "digits"), labs["digits"]
    x, d, eps = figure.axes
    path = lab.exact()
    for axes, look in ((x, plotting.SAMPLING), (d, plotting.DENOISING), (eps, plotting.NOISE)):
        assert is_look(of(axes, "optimal denoiser"), look)
        assert is_look(of(axes, "random features"), plotting.LEARNED)
    first = of(eps, "optimal denoiser").get_ydata()[0]
    noise = (path.states[0] - path.denoised[0]) / 80.0
    assert first == pytest.approx(np.linalg.norm(noise, axis=1).mean())
    assert set(of(eps, "√dim").get_ydata()) == {8.0}
    assert set(of(d, "largest $|x_0|$").get_ydata()) == {lab.data.radius}
    assert (of(d, "optimal denoiser").get_ydata() <= lab.data.radius).all()
    rms = of(x, "rms over $p_σ$").get_ydata()
    square = lab.data.weights @ (lab.data.points**2).sum(axis=1)
    assert rms[0] == pytest.approx(np.sqrt(80.0**2 * 64 + square))
    assert rms[-1] == pytest.approx(np.sqrt(square + 0.002**2 * 64))


def test_cosines_and_sines_are_of_one_angle_below_the_bound(drawn: Any, labs: Any) -> None:
    figure, lab = drawn("cosines", "two_moons"), labs["two_moons"]
    left, right = figure.axes
    path = lab.exact()
    cosine = geometry.cosines(path.states - path.denoised, path.states - path.final)[:-1]
    np.testing.assert_allclose(of(left, "optimal denoiser").get_ydata(), cosine.mean(axis=1))
    sine = of(right, "optimal denoiser").get_ydata()
    np.testing.assert_allclose(sine, np.sqrt(1 - cosine**2).mean(axis=1), atol=1e-6)
    bound = of(right, "diam / |x − $x_0$|")
    assert is_look(bound, plotting.BOUND)
    assert (sine <= bound.get_ydata()).all()
    assert is_look(of(left, "random features"), plotting.LEARNED)


def test_boomerang_shows_spectrum_frames_and_bends(drawn: Any, labs: Any) -> None:
    figure, lab = drawn("boomerang", "digits"), labs["digits"]
    spectrum, curvature, torsion, raw, aligned, learned = figure.axes
    path = lab.exact().select(slice(24))
    shares = np.median(geometry.pca_spectrum(path.states), axis=0)[:8]
    np.testing.assert_allclose(of(spectrum, "sampling x").get_ydata(), shares)
    late = path.sigmas <= 8 * lab.halfway
    frame = geometry.chord_frame(path.states[late]).coordinates
    first = np.transpose(raw.lines[0].get_data_3d())
    np.testing.assert_allclose(first, frame[:, 0], atol=1e-12)
    mean = np.transpose(of(aligned, "mean").get_data_3d())
    np.testing.assert_allclose(mean, geometry.boomerang(path.states[late]).shape, atol=1e-9)
    assert f"agreement {np.nanmean(geometry.boomerang(path.states[late]).agreement):.2f}" in (
        aligned.get_title()
    )
    assert is_look(learned.lines[0], plotting.LEARNED)
    live = path.sigmas > 0
    bends = geometry.curvature_torsion(path.states[live], np.log(path.sigmas[live]))
    line = of(curvature, "optimal denoiser")
    rows = np.isin(path.sigmas[live], line.get_xdata())
    spread = np.sqrt(lab.data.total_variance)
    expected = np.median(bends.curvature[rows], axis=1) * spread
    np.testing.assert_allclose(line.get_ydata(), expected)
    assert torsion.get_ylabel().startswith("torsion")
    heights = [row.value for row in plotting.numbers(figure) if row.panel.startswith("4 ")]
    assert np.isfinite(heights).all()


def test_boomerang_is_not_for_the_plane(labs: Any) -> None:
    with pytest.raises(gallery.Unfit, match=r"it shows space, and two_moons has D = 2"):
        SCRIPTS["boomerang"].module.compute(labs["two_moons"])


def test_without_a_model_the_optimal_one_is_alone(labs: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(gallery.Lab, "learnable", False)
    lab = labs["digits"]
    panels = {}
    for name in ("boomerang", "cosines", "denoising_first", "deviation", "magnitudes", "pca_plane"):
        module = SCRIPTS[name].module
        figure = module.draw(nested(flat(module.compute(lab))), lab)
        panels[name] = figure
        assert not [
            line
            for axes in figure.axes
            for line in axes.lines
            if is_look(line, plotting.LEARNED) or "random" in str(line.get_label())
        ]
    assert len(panels["deviation"].axes) == 2
    assert len(panels["pca_plane"].axes) == 1
    assert is_look(panels["boomerang"].axes[-1].lines[0], plotting.DENOISING)


def test_pictures_of_x_and_d_are_those_of_the_first_path(drawn: Any, labs: Any) -> None:
    figure, lab = drawn("denoising_first", "digits"), labs["digits"]
    pictures, left, _ = figure.axes
    labels = [text.get_text() for text in pictures.get_yticklabels()]
    assert labels == ["x optimal", "D optimal", "x random features", "D random features"]
    assert len(pictures.images) == 4 * 11
    path = lab.exact()
    np.testing.assert_array_equal(pictures.images[10].get_array(), path.final[0].reshape(8, 8))
    np.testing.assert_array_equal(
        pictures.images[11].get_array(), path.denoised[0, 0].reshape(8, 8)
    )
    assert pictures.images[11].get_clim() == (-1.0, 1.0)
    shown = [text.get_text() for text in pictures.get_xticklabels()]
    assert (shown[0], shown[-1]) == ("80", "0")
    x = of(left, "sampling x").get_ydata()
    assert x[0] == pytest.approx(geometry.chord(path.states).mean() / 8)
    d = of(left, "denoising D").get_ydata()
    seen = np.isfinite(d)
    assert (d[seen] <= x[seen]).all()


def test_colour_pictures_are_drawn_in_colour(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (6, 48))
    lab = gallery.Lab(an.PointSet(values, name="mine"), Kept(tmp_path))
    object.__setattr__(lab, "model", an.GaussianDenoiser(lab.data.mean, lab.data.covariance))
    module = SCRIPTS["denoising_first"].module
    figure = module.draw(nested(flat(module.compute(lab))), lab)
    picture = np.asarray(figure.axes[0].images[10 + 11].get_array())
    assert picture.shape == (4, 4, 3)
    final = lab.exact().final[0].reshape(4, 4, 3)
    np.testing.assert_allclose(picture, (final + 1) / 2, atol=1e-12)


def test_the_plane_is_that_of_the_data(drawn: Any, labs: Any) -> None:
    figure, lab = drawn("pca_plane", "digits"), labs["digits"]
    values, vectors = np.linalg.eigh(lab.data.covariance)
    left, right = figure.axes
    share = values[-1] / values.sum()
    assert f"PC 1, {share:.0%}" in right.get_xlabel()
    ends = left.collections[-1].get_offsets()
    expected = (lab.exact().final[:16] - lab.data.mean) @ vectors[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(ends), np.abs(expected), atol=1e-9)
    assert left.get_title() == "optimal denoiser"
    assert right.get_title() == "random features"


# --- what they are made of -----------------------------------------------------------------------


def test_principal_directions_of_large_sets_are_those_of_small_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((90, 12)) * np.linspace(3, 1, 12) + 5.0
    weights = rng.random(90)
    weights /= weights.sum()
    basis, share = geometry.principal(points, 2, weights)
    monkeypatch.setattr(geometry, "DENSE", 4)
    iterated, other = geometry.principal(points, 2, weights)
    np.testing.assert_allclose(iterated, basis, atol=1e-6)
    np.testing.assert_allclose(other, share, rtol=1e-10)
    values, vectors = np.linalg.eigh(np.cov(points.T, aweights=weights, ddof=0))
    np.testing.assert_allclose(share, values[::-1][:2] / values.sum())
    np.testing.assert_allclose(np.abs(basis @ vectors[:, ::-1][:, :2]), np.eye(2), atol=1e-9)
    assert (basis[[0, 1], np.abs(basis).argmax(axis=1)] > 0).all()


def test_principal_refuses_what_is_no_point_set() -> None:
    with pytest.raises(ValueError, match="points: got shape"):
        geometry.principal(np.zeros(3), 1)
    with pytest.raises(ValueError, match="weights: got shape"):
        geometry.principal(np.zeros((3, 2)), 1, np.ones(2))
    with pytest.raises(ValueError, match="components: got 3"):
        geometry.principal(np.zeros((3, 2)), 3)


def test_curves_may_have_a_look_and_a_median() -> None:
    values = np.array([[1.0, 2.0, 9.0], [2.0, 3.0, 10.0]])
    ax = plotting.geometry_curves(
        [4.0, 1.0],
        {"mine": values},
        ylabel="y",
        looks={"mine": plotting.LEARNED},
        middle="median",
    )
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_ydata(), [2.0, 3.0])
    assert is_look(line, plotting.LEARNED)
    # of a short axis Matplotlib would label every minor tick
    ax.figure.draw_without_rendering()
    ticks = zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
    assert [text.get_text() for at, text in ticks if 1 <= at <= 4] == ["1", "2"]
    assert not any(text.get_text() for text in ax.get_xticklabels(minor=True))
    with pytest.raises(ValueError, match="looks: got 'other'"):
        plotting.geometry_curves(
            [4.0, 1.0], {"mine": values}, ylabel="y", looks={"other": plotting.LEARNED}
        )
    with pytest.raises(ValueError, match="middle: got 'mode'"):
        plotting.geometry_curves([4.0, 1.0], {"mine": values}, ylabel="y", middle="mode")


def test_numbers_of_a_line_in_space_have_three_coordinates() -> None:
    paths = np.arange(12.0).reshape(4, 1, 3)
    axes = plotting.boomerang(paths)
    rows = [row for row in plotting.numbers(axes.figure) if row.series == "trajectories"]
    np.testing.assert_array_equal([(r.x, r.y, r.value) for r in rows], paths[:, 0])
    with pytest.raises(ValueError, match="coordinates: got shape"):
        plotting.boomerang(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="ax: got axes in the plane"):
        plotting.boomerang(paths, ax=plotting.figure().subplots())


def test_density_contours_refuse_a_grid_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"log_density: got shape \(3, 2\), expected \(2, 3\)"):
        plotting.density_contours(np.arange(3.0), np.arange(2.0), np.zeros((3, 2)))
