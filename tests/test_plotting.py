"""Figures: what is drawn, with which values, on which scales. Artists are read, not pixels."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from public_calls import CALLS

import analytic as an
from analytic import plotting
from analytic.report import Evidence, Status, Verdict

matplotlib = pytest.importorskip("matplotlib")
colors = pytest.importorskip("matplotlib.colors")


def make_evidence(**changes: Any) -> Evidence:
    x = np.array([4.0, 1.0, 2.0])
    plain = Evidence(
        "σ (data units)",
        "gap",
        x,
        {"measured": x / 10, "allowed": x},
        bound="allowed",
    )
    return replace(plain, **changes)


def make_verdict(data: str = "two_moons", claim: str = "A1", **changes: Any) -> Verdict:
    plain = Verdict(
        claim,
        "theorem",
        "Tweedie",
        "D = x + s² score",
        "somewhere",
        data,
        Status.HOLDS,
        0.25,
        1.0,
        "largest gap",
        7,
        evidence=make_evidence(),
    )
    return replace(plain, **changes)


@pytest.fixture(scope="module")
def moons() -> tuple[an.PointSet, an.Trajectory]:
    points = an.datasets.two_moons(40)
    denoiser = an.OptimalDenoiser(points)
    start = an.noise(3, like=denoiser, sigma=80.0, seed=1)
    return points, an.integrate(denoiser, start, rtol=1e-5, estimate_error=False)


def lines(ax: Any, label: str) -> list[Any]:
    return [line for line in ax.lines if line.get_label() == label]


def same_color(artist: Any, look: plotting.Look) -> bool:
    return colors.same_color(artist.get_color(), look.color)


# --- no traces -------------------------------------------------------------------------------


def test_importing_the_package_loads_no_plotting_library() -> None:
    code = (
        "import sys, analytic\n"
        "assert not {'matplotlib', 'seaborn', 'pandas'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_global_settings_and_figures_stay_as_they_were(moons: Any, tmp_path: Path) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before, open_figures = dict(matplotlib.rcParams), pyplot.get_fignums()
    ax = plotting.trajectories_2d(moons[1], moons[0])
    plotting.save(ax.figure, tmp_path / "f")
    plotting.claim_figure([make_verdict()])
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == open_figures


def test_theme_is_undone_even_after_an_error() -> None:
    before = dict(matplotlib.rcParams)

    def fail_inside() -> None:
        with plotting.theme():
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert dict(matplotlib.rcParams) == before


def test_palette_is_seaborns_colour_blind_one() -> None:
    seaborn = pytest.importorskip("seaborn")
    known = set(seaborn.color_palette("colorblind").as_hex())
    looks = (plotting.SAMPLING, plotting.DENOISING, *plotting.OTHERS)
    assert {look.color for look in looks} <= known
    assert len({look.color for look in looks}) == len(looks)
    assert len({(str(look.linestyle), look.marker) for look in looks}) == len(looks)


# --- evidence --------------------------------------------------------------------------------


def test_evidence_draws_curves_and_a_dashed_grey_bound() -> None:
    given = make_evidence()
    ax = plotting.evidence(given)
    (measured,), (bound,) = lines(ax, "measured"), lines(ax, "allowed")
    np.testing.assert_array_equal(measured.get_xdata(), given.x)
    np.testing.assert_array_equal(measured.get_ydata(), given.x / 10)
    np.testing.assert_array_equal(bound.get_ydata(), given.x)
    assert same_color(bound, plotting.BOUND)
    assert bound.is_dashed()
    assert not measured.is_dashed()
    assert not same_color(measured, plotting.BOUND)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("σ (data units)", "gap")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["measured", "allowed"]


def test_evidence_of_separate_cases_has_markers_and_a_sorted_bound() -> None:
    ax = plotting.evidence(make_evidence(points=True))
    (measured,), (bound,) = lines(ax, "measured"), lines(ax, "allowed")
    assert measured.get_linestyle() == "None"
    assert measured.get_marker() not in ("None", "none", "")
    np.testing.assert_array_equal(bound.get_xdata(), [1.0, 2.0, 4.0])
    np.testing.assert_array_equal(bound.get_ydata(), [1.0, 2.0, 4.0])
    assert bound.is_dashed()


@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if "legend" in call.given])
def test_no_legend_where_none_is_wanted(name: str) -> None:
    drawn = CALLS[name](legend=False)
    figure = getattr(drawn, "figure", drawn)
    assert not figure.legends
    assert all(ax.get_legend() is None for ax in figure.axes)


@pytest.mark.parametrize("legend", [True, False])
def test_one_curve_or_no_wish_no_legend(legend: bool) -> None:
    curves = {"measured": np.ones(3)} if legend else {"a": np.ones(3), "b": np.zeros(3)}
    ax = plotting.evidence(make_evidence(curves=curves, bound=None), legend=legend)
    assert ax.get_legend() is None


def test_values_that_a_log_axis_cannot_show_leave_a_gap() -> None:
    x = np.array([-1.0, 0.0, 1e-3, 1.0, 10.0, 100.0])
    y = np.array([1.0, 2.0, 3.0, 0.0, np.inf, 5e4])
    ax = plotting.evidence(
        make_evidence(x=x, curves={"a": y, "none": -y}, bound=None, xscale="log", yscale="log")
    )
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    (line,) = lines(ax, "a")
    np.testing.assert_array_equal(line.get_xdata(), [np.nan, np.nan, *x[2:]])
    np.testing.assert_array_equal(line.get_ydata(), [1.0, 2.0, 3.0, np.nan, np.nan, 5e4])
    assert np.isnan(lines(ax, "none")[0].get_ydata()[2:]).all()
    assert ax.get_ylim()[0] > 0
    plotting.encode(ax.figure)  # warnings are errors here


def test_a_log_axis_ends_and_says_what_is_below() -> None:
    x = np.arange(1.0, 6.0)
    curves = {"a": np.array([1e-3, 1e-150, 0.0, -1.0, 1e-19]), "allowed": np.full(5, 1e-2)}
    ax = plotting.evidence(make_evidence(x=x, curves=curves, yscale="log"))
    assert ax.get_ylim() == pytest.approx((1e-20, 3e-2), rel=1e-9, abs=0)
    assert [text.get_text() for text in ax.texts] == ["3 of 5 lie below"]
    near = plotting.evidence(make_evidence(yscale="log"))
    assert not near.texts
    assert near.get_ylim()[0] > 0.01


def test_nothing_to_show_still_draws() -> None:
    ax = plotting.evidence(
        make_evidence(x=np.zeros(3), curves={"a": -np.ones(3)}, xscale="log", yscale="log")
    )
    plotting.encode(ax.figure)
    ax = plotting.evidence(make_evidence(x=np.empty(0), curves={"a": np.empty(0)}))
    plotting.encode(ax.figure)


def test_a_single_value_is_visible() -> None:
    ax = plotting.evidence(make_evidence(curves={"a": np.array([np.nan, 2.0, np.nan])}))
    assert ax.lines[0].get_marker() not in ("None", "none", "")


def test_x_and_D_keep_their_colours_whatever_the_order() -> None:
    curves = {"other": np.ones(3), "denoising D": np.ones(3), "x": np.ones(3), "xyz": np.ones(3)}
    ax = plotting.evidence(make_evidence(curves=curves, bound=None))
    assert same_color(lines(ax, "x")[0], plotting.SAMPLING)
    assert same_color(lines(ax, "denoising D")[0], plotting.DENOISING)
    assert len({line.get_color() for line in ax.lines}) == 4
    assert sum(not line.is_dashed() for line in ax.lines) == 1  # told apart in grey print too


def test_a_curve_of_the_wrong_length_is_named() -> None:
    with pytest.raises(ValueError, match=r"curve 'a' of shape \(2,\)"):
        plotting.evidence(make_evidence(curves={"a": np.ones(2)}))


def test_functions_draw_on_the_axes_they_get(moons: Any) -> None:
    points, exact = moons
    for draw in (
        lambda ax: plotting.evidence(make_evidence(), ax=ax),
        lambda ax: plotting.trajectories_2d(exact, points, ax=ax),
        lambda ax: plotting.pca_view(exact, points, ax=ax),
        lambda ax: plotting.geometry_curves([2.0, 1.0], {"x": [3, 4]}, ax=ax, ylabel="y"),
        lambda ax: plotting.image_rows({"x": np.zeros((1, 2, 2))}, [1.0], ax=ax),
    ):
        ax = plotting.figure().subplots()
        assert draw(ax) is ax
        assert ax.has_data()


# --- trajectories ----------------------------------------------------------------------------


def test_trajectories_2d_draws_every_path_and_zooms_to_the_data(moons: Any) -> None:
    points, exact = moons
    ax = plotting.trajectories_2d(exact, points, limit=2.0)
    blue = [line for line in ax.lines if same_color(line, plotting.SAMPLING)]
    orange = [line for line in ax.lines if same_color(line, plotting.DENOISING)]
    assert len(blue) == len(orange) == 3
    for k in range(3):
        np.testing.assert_array_equal(blue[k].get_xydata(), exact.states[:, k])
        np.testing.assert_array_equal(orange[k].get_xydata(), exact.denoised[:, k])
    assert not blue[0].is_dashed()
    assert orange[0].is_dashed()  # told apart in grey print too
    data, ends = ax.collections
    np.testing.assert_array_equal(data.get_offsets(), points.points)
    np.testing.assert_array_equal(ends.get_offsets(), exact.final)
    assert colors.same_color(data.get_facecolor()[0], plotting.DATA.color)

    low, high = points.points.min(axis=0), points.points.max(axis=0)
    reach = 2.0 * (high - low).max() / 2
    centre = (low + high) / 2
    np.testing.assert_allclose(ax.get_xlim(), [centre[0] - reach, centre[0] + reach])
    np.testing.assert_allclose(ax.get_ylim(), [centre[1] - reach, centre[1] + reach])
    assert ax.get_aspect() == 1.0
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["data", "sampling x", "denoising D", "end of x"]
    assert "data units" in ax.get_xlabel()


def test_trajectories_2d_refuses_other_dimensions(moons: Any) -> None:
    with pytest.raises(ValueError, match="pca_view"):
        plotting.trajectories_2d(moons[1], np.zeros((1, 3)))
    with pytest.raises(ValueError, match="limit"):
        plotting.trajectories_2d(moons[1], moons[0], limit=0.0)


def test_pca_view_projects_on_the_leading_directions() -> None:
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    cloud = rng.standard_normal((400, 5)) * [1, 9, 1, 3, 1] @ turn + 7.0
    points = an.PointSet(cloud, weights=rng.random(400) + 0.1)
    paths = rng.standard_normal((4, 2, 5)) + 7.0
    trajectory = an.Trajectory(
        np.array([3.0, 2.0, 1.0, 0.0]), paths, paths + 1, *np.zeros((3, 2), dtype=np.int64)
    )
    ax = plotting.pca_view(trajectory, points)
    data = np.asarray(ax.collections[0].get_offsets())
    covariance = np.cov(data.T, aweights=points.weights, ddof=0)
    np.testing.assert_allclose(
        covariance, np.diag(np.linalg.eigvalsh(points.covariance)[:-3:-1]), atol=1e-9
    )
    np.testing.assert_allclose(points.weights @ data, 0.0, atol=1e-12)
    # the projection is the same linear map for the data and both kinds of path
    basis = np.linalg.lstsq(points.points - points.mean, data, rcond=None)[0]
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-10)
    blue = [line for line in ax.lines if same_color(line, plotting.SAMPLING)]
    orange = [line for line in ax.lines if same_color(line, plotting.DENOISING)]
    for k in range(2):
        np.testing.assert_allclose(blue[k].get_xydata(), (paths[:, k] - points.mean) @ basis)
        np.testing.assert_allclose(orange[k].get_xydata(), (paths[:, k] + 1 - points.mean) @ basis)
    share = points.spectrum / points.total_variance
    assert ax.get_xlabel().startswith(f"PC 1, {share[0]:.0%}")
    assert ax.get_ylabel().startswith(f"PC 2, {share[1]:.0%}")


def test_pca_view_refuses_a_line_and_foreign_points(moons: Any) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        plotting.pca_view(moons[1], np.zeros((1, 1)))
    with pytest.raises(ValueError, match="same dimension"):
        plotting.pca_view(moons[1], np.zeros((1, 3)))


# --- curves ----------------------------------------------------------------------------------


def test_geometry_curves_show_mean_and_quantiles_over_an_inverted_axis() -> None:
    sigmas = np.array([80.0, 2.0, 0.01, 0.0])
    values = np.random.default_rng(0).random((4, 50))
    ax = plotting.geometry_curves(sigmas, {"x": values, "D": 2 * values}, ylabel="distance")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    assert ax.get_xlim() == (80.0, 0.01)  # large σ at the left, σ = 0 dropped
    (line,) = lines(ax, "x")
    np.testing.assert_array_equal(line.get_xdata(), sigmas[:3])
    np.testing.assert_allclose(line.get_ydata(), values[:3].mean(axis=1))
    assert same_color(line, plotting.SAMPLING)
    assert same_color(lines(ax, "D")[0], plotting.DENOISING)
    corners = ax.collections[0].get_paths()[0].vertices
    at = corners[np.isclose(corners[:, 0], 2.0), 1]
    np.testing.assert_allclose([at.min(), at.max()], np.quantile(values[1], [0.1, 0.9]), rtol=1e-12)
    assert ax.get_ylabel() == "distance"
    assert len(ax.get_legend().get_texts()) == 2


def test_geometry_curves_on_a_log_axis_hide_zeros() -> None:
    ax = plotting.geometry_curves(
        [4.0, 2.0, 1.0],
        {"x": np.array([[3.0, 5.0], [1.0, 0.0], [0.0, 0.0]])},
        ylabel="y",
        logy=True,
    )
    assert ax.get_yscale() == "log"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [4.0, 0.5, np.nan])
    assert ax.get_legend() is None
    plotting.encode(ax.figure)


def test_geometry_curves_leave_failed_trajectories_out() -> None:
    values = np.array([[1.0, 5.0], [3.0, np.nan]])
    ax = plotting.geometry_curves([2.0, 1.0], {"x": values}, ylabel="y")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [1.0, 3.0])
    with pytest.raises(ValueError, match="no trajectory without NaN"):
        plotting.geometry_curves([2.0, 1.0], {"x": [1.0, np.nan]}, ylabel="y")
    with pytest.raises(ValueError, match=r"values\['x'\]"):
        plotting.geometry_curves([2.0, 1.0], {"x": [1.0]}, ylabel="y")


# --- pictures --------------------------------------------------------------------------------


def test_image_rows_place_scale_and_label_every_picture() -> None:
    ramp = np.linspace(-3, 3, 24).reshape(2, 3, 4)
    ax = plotting.image_rows({"x": ramp, "D": ramp + 1}, [80.0, 0.25], limits={"D": (-1.0, 1.0)})
    assert len(ax.images) == 4
    np.testing.assert_array_equal(ax.images[1].get_array(), ramp[1])
    assert ax.images[1].get_clim() == (ramp[1].min(), ramp[1].max())  # stretched, each by itself
    np.testing.assert_array_equal(ax.images[2].get_array(), ramp[0] + 1)
    assert ax.images[2].get_clim() == (-1.0, 1.0)
    left, right, bottom, top = ax.images[3].get_extent()  # second column, second row
    assert 1 < left < right < 2
    assert 1 < top < bottom < 2
    assert ax.yaxis_inverted()
    assert [text.get_text() for text in ax.get_xticklabels()] == ["80", "0.25"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["x", "D"]
    assert ax.xaxis.get_label_position() == "top"
    assert "σ" in ax.get_xlabel()
    assert ax.images[0].get_interpolation() == "nearest"


def test_image_rows_refuse_misfits() -> None:
    with pytest.raises(ValueError, match="limits: got 'y'"):
        plotting.image_rows({"x": np.zeros((1, 2, 2))}, [1.0], limits={"y": (0, 1)})
    with pytest.raises(ValueError, match="K = 2"):
        plotting.image_rows({"x": np.zeros((1, 2, 2))}, [2.0, 1.0])


# --- claims ----------------------------------------------------------------------------------


def test_claim_figure_has_a_panel_per_data_set_with_evidence() -> None:
    names = ["two_moons", "digits", "a$b", "patches"]
    verdicts = [make_verdict(name) for name in names] + [make_verdict("empty", evidence=None)]
    figure = plotting.claim_figure(verdicts)
    assert figure is not None
    assert [ax.get_title() for ax in figure.axes] == ["two_moons", "digits", r"a\$b", "patches"]
    assert figure.get_suptitle() == "A1 · Tweedie"
    first, second = figure.axes[0].get_subplotspec(), figure.axes[3].get_subplotspec()
    assert (first.rowspan.start, second.rowspan.start, second.colspan.start) == (0, 1, 0)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["measured", "allowed"]
    assert all(ax.get_legend() is None for ax in figure.axes)
    assert all(same_color(lines(ax, "allowed")[0], plotting.BOUND) for ax in figure.axes)
    plotting.encode(figure)


def test_one_label_looks_the_same_in_every_panel() -> None:
    swapped = make_evidence(curves={"new": np.ones(3), "measured": np.ones(3)}, bound=None)
    figure = plotting.claim_figure([make_verdict(), make_verdict("digits", evidence=swapped)])
    assert figure is not None
    one, two = (lines(ax, "measured")[0] for ax in figure.axes)
    assert one.get_color() == two.get_color()
    assert lines(figure.axes[1], "new")[0].get_color() != one.get_color()


def test_claim_figure_without_evidence_is_none_and_mixed_claims_are_refused() -> None:
    assert plotting.claim_figure([make_verdict(evidence=None)]) is None
    assert plotting.claim_figure([]) is None
    with pytest.raises(ValueError, match="A1, B1"):
        plotting.claim_figure([make_verdict(), make_verdict(claim="B1")])


def test_no_text_is_cut_off_or_overlaps_another_panel() -> None:
    long = make_evidence(
        ylabel="perpendicular deviation from the chord over its bound, in percent",
        curves={"a rather long description of what was measured": np.ones(3), "bound": np.ones(3)},
    )
    for count in (1, 2, 3, 5):
        verdicts = [
            make_verdict(f"data set {k}", evidence=long, title="A title " * 12)
            for k in range(count)
        ]
        figure = plotting.claim_figure(verdicts)
        assert figure is not None
        figure.draw_without_rendering()
        page = figure.bbox
        texts = [figure.legends[0], *figure.texts]
        for artist in [*texts, *figure.axes]:
            box = artist.get_tightbbox()
            assert box.x0 >= page.x0 - 1, (count, artist)
            assert box.x1 <= page.x1 + 1, (count, artist)
            assert box.y0 >= page.y0 - 1, (count, artist)
            assert box.y1 <= page.y1 + 1, (count, artist)
        boxes = [ax.get_tightbbox() for ax in figure.axes]
        assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_log_axes_have_minor_ticks_only_where_these_carry_the_numbers() -> None:
    x = np.array([1.0, 5.0])
    for span, wanted in ((1e6, False), (1.5, True)):
        curves = {"a": np.array([1.0, span]) * 2}
        ax = plotting.evidence(make_evidence(x=x, curves=curves, yscale="log"))
        assert bool(len(ax.yaxis.get_minorticklocs())) == wanted
        ax.figure.draw_without_rendering()
        shown = [*ax.get_yticklabels(which="both")]
        low, high = ax.get_ylim()
        inside = [t for t in shown if t.get_text() and low <= t.get_position()[1] <= high]
        assert len(inside) >= 2


# --- files -----------------------------------------------------------------------------------


def test_save_writes_both_formats_with_the_same_bytes_every_time(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        ax = plotting.evidence(make_evidence())
        paths = plotting.save(ax.figure, tmp_path / f"{name}.fig")
        assert paths == [tmp_path / f"{name}.fig.pdf", tmp_path / f"{name}.fig.png"]
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    pdf, png = contents[0]
    assert pdf.startswith(b"%PDF-")
    assert b"CreationDate" not in pdf
    assert b"/FontType 3" not in pdf
    assert b"/Type3" not in pdf
    assert png.startswith(b"\x89PNG")
    width = int.from_bytes(png[16:20], "big")
    assert width == round(plotting.COLUMN * 200)


def test_save_leaves_nothing_behind_where_it_cannot_write(tmp_path: Path) -> None:
    ax = plotting.evidence(make_evidence())
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="file"):
        plotting.save(ax.figure, tmp_path / "file" / "figure", formats=("png",))
    with pytest.raises(ValueError, match="formats"):
        plotting.save(ax.figure, tmp_path / "figure", formats=("png", "svg"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("sigma", "text"),
    [(80.0, "80"), (0.0125, "0.013"), (99.4, "99"), (99.6, "100"), (203.0, "203"), (4e6, "4e+06")],
)
def test_levels_are_written_shortly_and_without_exponents_where_they_can(
    sigma: float, text: str
) -> None:
    assert plotting.level_text(sigma) == text
