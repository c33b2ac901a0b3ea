"""Points on disk: the same numbers as in memory, bounded memory, and clear words when they fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import scale
from analytic.kernels import threads
from analytic.scale import _sources

LEVELS = (80.0, 3.0, 1.0, 0.3, 0.05, 1e-3)


def weighted(data: an.PointSet) -> tuple[Any, Any]:
    weights = np.random.default_rng(3).uniform(0.1, 1.0, len(data))
    return np.array(data.points), weights


def queries(data: an.PointSet, sigma: float, count: int = 12) -> Any:
    rng = np.random.default_rng(5)
    x = data.sample(count, rng)
    return x + sigma * rng.standard_normal(x.shape)


SETS = {
    "digits": lambda: an.datasets.digits(600),
    "moons": lambda: an.datasets.two_moons(700),
    "patches": lambda: an.datasets.patches(900, 4),
}


@pytest.fixture(params=SETS)
def data(request: Any) -> an.PointSet:
    return SETS[request.param]()


def close(found: Any, expected: Any, tolerance: float = 1e-13) -> None:
    scale_ = 1 + np.abs(expected)
    assert (np.abs(found - expected) <= tolerance * scale_).all()


@pytest.mark.parametrize("sigma", LEVELS)
def test_blocks_give_the_answer_of_points_in_memory(data: an.PointSet, sigma: float) -> None:
    rows, weights = weighted(data)
    near = an.OptimalDenoiser(an.PointSet(rows, weights), method="dense")
    far = an.OptimalDenoiser(scale.stored(rows, weights, block=97))
    x = queries(data, sigma)
    close(far(x, sigma), near(x, sigma))
    close(sigma**2 * far.score(x, sigma), sigma**2 * near.score(x, sigma))
    a, b = far.posterior(x, sigma), near.posterior(x, sigma)
    for name in ("mean", "log_prob", "trace_cov", "entropy"):
        close(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(a.top(3).index, b.top(3).index)
    close(a.top(3).weight, b.top(3).weight)
    v = np.ones_like(x)
    for name, more in (("jacobian", ()), ("jvp", (v,)), ("sigma_derivative", ())):
        found, expected = (
            getattr(d, name)(x[:4], sigma, *(m[:4] for m in more)) for d in (far, near)
        )
        # relative to the largest; far below σ the posterior is one point, and they vanish
        assert np.abs(found - expected).max() <= 1e-13 * max(np.abs(expected).max(), 1e-3), name


def test_the_limit_of_no_noise_averages_ties() -> None:
    rows = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [5.0, 5.0]])
    far = an.OptimalDenoiser(scale.stored(rows, [1, 3, 1, 1], block=1))
    np.testing.assert_array_equal(far(np.array([[1.0, 0.0], [4.0, 4.0]]), 0), [[1.5, 0], [5, 5]])


@pytest.mark.parametrize("piece", [1, 40, _sources.PIECE])
@pytest.mark.parametrize("dtype", ["f8", "f4", "u1", ">f8"])
def test_a_file_a_map_and_an_array_give_the_same_bits(
    tmp_path: Path, dtype: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sources, "PIECE", piece)  # as larger blocks have many
    rows = (np.random.default_rng(0).uniform(0, 200, (500, 7))).astype(dtype)
    path = tmp_path / "rows.npy"
    np.save(path, rows)
    np.save(tmp_path / "columns.npy", np.asfortranarray(rows))
    mapped = np.load(path, mmap_mode="r")
    ways = [
        scale.stored(rows, block=64),
        scale.stored(str(path), block=64),
        scale.stored(path, block=64),
        scale.stored(mapped, block=64),
        scale.stored(np.load(tmp_path / "columns.npy", mmap_mode="r"), block=64),
        scale.stored(tmp_path / "columns.npy", block=64),
    ]
    x = rows[:20].astype(float) + 3.0
    found = [an.OptimalDenoiser(way)(x, 20.0) for way in ways]
    close(found[0], an.OptimalDenoiser(rows.astype(float), "dense")(x, 20.0))
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])
    assert isinstance(ways[3].rows, _sources.FileSource)  # a map is read as the file it is


def test_a_header_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen, real = saved(tmp_path, np.eye(3)), [], _sources._npy

    def counted(path: Path) -> Any:
        seen.append(path)
        return real(path)

    monkeypatch.setattr(_sources, "_npy", counted)
    an.OptimalDenoiser(path)
    assert seen == [path]


def test_a_part_of_a_map_is_that_part(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((60, 3))
    np.save(tmp_path / "rows.npy", rows)
    part = np.load(tmp_path / "rows.npy", mmap_mode="r")[10:40:2, 1:]
    x = rows[:5, 1:]
    expected = an.OptimalDenoiser(rows[10:40:2, 1:], "dense")(x, 0.7)
    close(an.OptimalDenoiser(part)(x, 0.7), expected)


def test_a_map_that_is_not_its_file_is_read_itself(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((60, 3))
    path = saved(tmp_path, rows)
    changed = np.load(path, mmap_mode="c")
    changed += 7.0
    close(an.OptimalDenoiser(changed)(rows[:5], 0.7), an.OptimalDenoiser(rows + 7)(rows[:5], 0.7))
    gone = np.load(path, mmap_mode="r")
    path.unlink()
    close(an.OptimalDenoiser(gone)(rows[:5], 0.7), an.OptimalDenoiser(rows)(rows[:5], 0.7))


def test_images_are_flattened_row_by_row(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((30, 2, 3, 2))
    np.save(tmp_path / "rows.npy", rows)
    far = an.OptimalDenoiser(tmp_path / "rows.npy")
    assert far.dim == 12
    x = rows[:4].reshape(4, -1) + 0.1
    close(far(x, 0.5), an.OptimalDenoiser(rows.reshape(30, -1))(x, 0.5))


def test_zarr_is_read_by_slices(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    rows = np.random.default_rng(0).standard_normal((300, 4)).astype("f4")
    array = zarr.create_array(
        str(tmp_path / "rows.zarr"), shape=rows.shape, chunks=(50, 4), dtype="f4"
    )
    array[:] = rows
    x = rows[:9].astype(float)
    expected = an.OptimalDenoiser(scale.stored(rows, block=128))(x, 0.4)
    found = an.OptimalDenoiser(scale.stored(array, block=128))(x, 0.4)
    np.testing.assert_array_equal(found, expected)
    assert isinstance(an.OptimalDenoiser(array).points, scale.StoredPoints)


def test_chunks_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zarr = pytest.importorskip("zarr")
    da = pytest.importorskip("dask.array")
    monkeypatch.setattr(scale, "NUMBERS", 400)  # 100 rows
    rows = np.random.default_rng(0).standard_normal((300, 4))
    array = zarr.create_array(
        str(tmp_path / "rows.zarr"), shape=rows.shape, chunks=(30, 4), dtype="f8"
    )
    array[:] = rows
    points = scale.stored(array)
    assert points.cuts == [(0, 90), (90, 180), (180, 270), (270, 300)]
    assert scale.stored(rows).block == 100
    assert scale.stored(array, block=64).block == 64
    read: list[tuple[int, int]] = []
    real = _sources.ArraySource.read

    def counted(self: Any, first: int, last: int) -> Any:
        read.append((first, last))
        return real(self, first, last)

    monkeypatch.setattr(_sources.ArraySource, "read", counted)
    index = np.array([299, 3, 5, 3, 31, 95, 29])
    weights = np.linspace(1, 2, 300)
    chunks = ((30, 70, 0, 200), 4)
    for given in (array, da.from_array(rows, chunks=chunks), rows):
        found, logs = scale.stored(given, weights).at(index)
        np.testing.assert_array_equal(found, rows[index])
        close(logs, np.log(weights / weights.sum())[index])
    assert read[:4] == [(3, 30), (31, 32), (95, 96), (299, 300)]
    assert scale.stored(array).at(index[:0])[0].shape == (0, 4)


def test_a_bar_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    from analytic.scale import _points

    bars: list[list[int]] = []

    @contextmanager
    def bar(total: int, *_: Any) -> Any:
        bars.append([total, 0])

        def advance(n: int) -> None:
            bars[-1][1] += n

        yield advance

    monkeypatch.setattr(_points, "bar", bar)
    rows = np.random.default_rng(0).standard_normal((30, 3))
    an.OptimalDenoiser(scale.stored(rows, block=7, progress=True)).posterior(rows[:2], 9.0)
    assert bars == [[5, 5]] * 3  # summaries, softmax and moments


def test_results_depend_on_no_other_query_nor_on_threads(
    data: an.PointSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1)  # so that several share even this
    points = scale.stored(data.points, block=50)
    far, alone = (an.OptimalDenoiser(points, threads=count) for count in (4, 1))
    for sigma in (0.05, 0.4, 30.0):
        x = queries(data, sigma)
        whole = far(x, sigma)
        np.testing.assert_array_equal(alone(x, sigma), whole)
        for k in (0, 5, 11):
            np.testing.assert_array_equal(far(x[k : k + 1], sigma)[0], whole[k])
        np.testing.assert_array_equal(far(x[::-1], sigma)[::-1], whole)


def test_parts_of_a_batch_are_the_batch(data: an.PointSet) -> None:
    points = scale.stored(data.points, block=200)
    x, sigma = queries(data, 0.5), np.geomspace(0.01, 5, 12)
    expected = an.OptimalDenoiser(points)
    small = an.OptimalDenoiser(scale.StoredPoints(points.rows, 200, most=3 * data.dim))
    np.testing.assert_array_equal(small(x, sigma), expected(x, sigma))
    np.testing.assert_array_equal(
        small.posterior(x, sigma).trace_cov, expected.posterior(x, sigma).trace_cov
    )
    best = [each.posterior(x, sigma).top(3) for each in (small, expected)]
    np.testing.assert_array_equal(*(each.index for each in best))
    np.testing.assert_array_equal(*(each.weight for each in best))
    sums = [each.trap_sums(x, sigma, best[0].index[:, 0]) for each in (small, expected)]
    np.testing.assert_array_equal(*sums)


@pytest.mark.parametrize("sigma", [0.0, 1e-300, 1e-3, 0.4, 30.0])
def test_points_of_weight_zero_are_as_if_they_were_not(sigma: float) -> None:
    rng = np.random.default_rng(0)
    rows, weights = rng.standard_normal((50, 3)), rng.uniform(0.1, 1.0, 50)
    weights[:9] = weights[41:] = weights[20] = 0  # whole blocks, and parts of others
    near = an.OptimalDenoiser(an.PointSet(rows, weights), "dense")
    far = an.OptimalDenoiser(scale.stored(rows, weights, block=7))
    x = rows[::5] + 0.01  # some of them nearest to a point that does not count
    close(far(x, sigma), near(x, sigma))
    there = np.flatnonzero(weights)
    if sigma > 0:
        a, b = far.posterior(x, sigma).top(31), near.posterior(x, sigma).top(31)
        close(a.weight, b.weight)
        if sigma > 0.1:
            np.testing.assert_array_equal(a.index, there[b.index])
            levels, best = np.full(len(x), sigma), b.index[:, 0]
            close(far.trap_sums(x, levels, there[best]), near.trap_sums(x, levels, best), 1e-11)
        with pytest.raises(ValueError, match=r"k: got 32, .*\[1, 31\]"):
            far.posterior(x, sigma).top(32)
    np.testing.assert_array_equal(far.points.at(np.arange(50))[0], rows)


@pytest.mark.parametrize("size", [1e308, 5e-324])
def test_sums_of_weights_do_not_overflow(size: float) -> None:
    rows = np.random.default_rng(0).standard_normal((9, 2))
    far = an.OptimalDenoiser(scale.stored(rows, np.full(9, size), block=4))
    close(far(rows, 0.5), an.OptimalDenoiser(rows, "dense")(rows, 0.5))


def test_no_queries_have_no_answers() -> None:
    rows = np.random.default_rng(0).standard_normal((30, 3))
    far, none = an.OptimalDenoiser(scale.stored(rows, block=7)), np.empty((0, 3))
    assert far(none, 1.0).shape == far(none, 0).shape == (0, 3)
    assert far.jacobian(none, 1.0).shape == (0, 3, 3)
    post = far.posterior(none, 1.0)
    assert post.entropy.shape == (0,)
    assert post.top(2).index.shape == (0, 2)
    assert far.trap_sums(none, np.empty(0), np.empty(0, dtype=int)).shape == (0, 5)


def test_what_has_no_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    np.save(tmp_path / "line.npy", np.zeros(5))
    np.save(tmp_path / "points.npy", np.zeros((0, 3)))
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    cases: list[tuple[Any, type[Exception], str]] = [
        (tmp_path / "folder.npy", ValueError, r"points: got '.*folder\.npy', which is no regular"),
        (tmp_path / "line.npy", ValueError, r"points: got shape \(5,\), expected \(N, D\)"),
        (np.load(tmp_path / "line.npy", mmap_mode="r"), ValueError, r"points: got shape \(5,\)"),
        (np.load(tmp_path / "line.npy", mmap_mode="c"), ValueError, r"points: got shape \(5,\)"),
        (tmp_path / "points.npy", ValueError, r"of shape \(0, 3\), expected some points"),
        (tmp_path / "words.npy", TypeError, r"of dtype <U1, expected real numbers"),
    ]
    for given, error, words in cases:
        with pytest.raises(error, match=words):
            an.OptimalDenoiser(given)


def test_an_array_that_gives_fewer_rows_than_it_says_is_cut_short() -> None:
    class Short(_sources.ArraySource):
        @property
        def shape(self) -> tuple[int, int]:
            return 9, 2

    with pytest.raises(ValueError, match="points: got an array cut short at row 6, expected 9"):
        Short(np.zeros((6, 2)), "an array").read(4, 8)


# --- what is left out ----------------------------------------------------------------------------


def clusters() -> Any:
    rng = np.random.default_rng(2)
    centres = rng.uniform(-50, 50, (20, 3))
    return np.concatenate([c + rng.standard_normal((40, 3)) for c in centres])


def test_few_blocks_are_read_where_few_matter() -> None:
    rows = clusters()
    points = scale.stored(rows, block=40)
    far, near = an.OptimalDenoiser(points), an.OptimalDenoiser(rows, "dense")
    x = rows[::40] + 0.1
    for sigma, most in ((0.5, 3), (1e-3, 2), (1e-200, 2), (0.0, 2)):
        found = far._sums.softmax(x, np.full(len(x), sigma))
        assert found.asked.sum(axis=1).max() <= most
        close(far(x, sigma), near(x, sigma))
        assert (far.truncation(x, sigma) <= 1e-13).all()
    assert far._sums.softmax(x, np.full(len(x), 80.0)).asked.all()


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-10])
def test_what_was_left_out_is_bounded(tolerance: float) -> None:
    rows = clusters()
    far = an.OptimalDenoiser(scale.stored(rows, block=40), tolerance=tolerance)
    near = an.OptimalDenoiser(rows, "dense")
    x = rows[::13] + 5 * np.random.default_rng(1).standard_normal((len(rows[::13]), 3))
    spent = []
    for sigma in (2.0, 5.0, 9.0, 14.0):
        bound = far.truncation(x, sigma)
        assert (bound <= tolerance).all()
        gap = np.abs(far.log_prob(x, sigma) - near.log_prob(x, sigma))
        assert (gap <= bound + 1e-12).all()
        spent.append(bound.max())
    assert max(spent) > tolerance / 1e3  # something was


def test_bounds_on_distances_hold() -> None:
    points = scale.stored(clusters(), block=40)
    x = np.random.default_rng(0).uniform(-60, 60, (50, 3))
    near, far = points.summary.reach(x)
    for k, (first, last) in enumerate(points.cuts):
        apart = np.linalg.norm(x[:, None] - points.rows.read(first, last), axis=2)
        assert (near[:, k] <= apart.min(axis=1)).all()
        assert (far[:, k] >= apart.max(axis=1)).all()


def test_far_queries_and_tiny_noise_do_not_overflow() -> None:
    rows = clusters()
    far, near = an.OptimalDenoiser(scale.stored(rows, block=40)), an.OptimalDenoiser(rows, "dense")
    x = np.array([[1e6, 0, 0], [1e140, 1e140, 0], rows[7], rows[7]])
    sigma = np.array([1e6, 1e140, 1e-300, 1e-10])
    close(far(x, sigma), near(x, sigma))


# --- statistics, flows and the rest --------------------------------------------------------------


def test_statistics_are_those_of_the_points(data: an.PointSet) -> None:
    rows, weights = weighted(data)
    near, far = an.PointSet(rows, weights), scale.stored(rows, weights, block=64)
    close(far.mean, near.mean)
    assert far.total_variance == pytest.approx(near.total_variance, rel=1e-12)
    assert far.scale == pytest.approx(near.scale, rel=1e-12)
    assert near.mean_radius <= far.mean_radius
    assert near.radius <= far.radius
    low, high = far.diameter_bounds
    assert low <= near.diameter_bounds[1]
    assert near.diameter_bounds[0] <= high <= 4 * near.diameter_bounds[1]
    drawn = far.sample(2000, np.random.default_rng(0)).mean(axis=0)
    assert np.abs(drawn - near.mean).max() < 5 * np.sqrt(near.covariance.diagonal().max() / 2000)


def test_flows_end_where_they_do_in_memory() -> None:
    data = an.datasets.two_moons(200)
    near = an.OptimalDenoiser(data)
    far = an.OptimalDenoiser(scale.stored(data.points, block=64))
    x = an.noise(5, like=far, sigma=80.0, seed=2)
    a = an.integrate(near, x, rtol=1e-7, atol=1e-9)
    b = an.integrate(far, x, rtol=1e-7, atol=1e-9, quantities=("log_prob",))
    np.testing.assert_array_equal(a.final, b.final)
    np.testing.assert_array_equal(a.collapse.index, b.collapse.index)
    assert b.collapse.certified.all()
    seals = [an.certificate(each, x / 80 * 0.01 + data.points[:5], 0.01) for each in (near, far)]
    np.testing.assert_array_equal(seals[0].certified, seals[1].certified)
    close(seals[1].reach, seals[0].reach)
    grid = an.grids.polynomial(12)
    np.testing.assert_allclose(
        an.sample(far, x, grid).final, an.sample(near, x, grid).final, rtol=1e-12, atol=1e-12
    )


def test_equal_points_count_as_the_candidate_they_equal() -> None:
    rows = np.array([[0.0], [0.0], [1.0], [3.0]])
    merged = an.OptimalDenoiser(rows)
    apart = an.OptimalDenoiser(scale.stored(rows, block=1))
    x = np.array([[0.1]])
    a, b = an.certificate(merged, x, 0.1), an.certificate(apart, x, 0.1)
    assert a.certified.all()
    assert b.certified.all()
    assert b.pull[0] == pytest.approx(2 * a.pull[0])  # half of the weight, on the safe side


@pytest.mark.parametrize(
    "use",
    [
        lambda D: an.verify(D, D.points),
        lambda D: an.compare(an.GaussianDenoiser(np.zeros(2), np.eye(2)), D),
        lambda D: an.learned.RandomFeatureDenoiser.fit(D.points),
    ],
)
def test_what_needs_points_in_memory_says_so(use: Any) -> None:
    far = an.OptimalDenoiser(scale.stored(np.eye(2)))
    with pytest.raises(TypeError, match=r"points: got .*not in memory"):
        use(far)


def test_no_labels() -> None:
    far = an.OptimalDenoiser(scale.stored(np.eye(2)))
    with pytest.raises(TypeError, match=r"points: got .*not in memory"):
        far.given(1)
    with pytest.raises(TypeError, match=r"points: got .*not in memory"):
        far.class_prob(np.zeros(2), 1.0)


# --- files that are not as they should be --------------------------------------------------------


def saved(tmp_path: Path, rows: Any) -> Path:
    path = tmp_path / "rows.npy"
    np.save(path, rows)
    return path


def test_a_file_cut_short_is_named_at_once(tmp_path: Path) -> None:
    path = saved(tmp_path, np.ones((100, 3)))
    os.truncate(path, 900)
    with pytest.raises(ValueError, match=r"points: got .*rows\.npy' cut short: 900 bytes"):
        an.OptimalDenoiser(path)


def test_a_file_cut_short_while_it_is_read_is_named(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((100, 3))
    path = saved(tmp_path, rows)
    far = an.OptimalDenoiser(scale.stored(path, block=10))
    far(rows[:2], 1.0)
    os.truncate(path, 900)
    with pytest.raises(ValueError, match=r"points: got .*rows\.npy' cut short"):
        far(rows[:2], 1.0)
    mapped = an.OptimalDenoiser(np.load(saved(tmp_path, rows), mmap_mode="r"))
    os.truncate(path, 900)
    with pytest.raises(ValueError, match="cut short"):  # and no crash
        mapped(rows[:2], 1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_found_with_its_row(tmp_path: Path, bad: float) -> None:
    rows = np.ones((100, 3))
    rows[57, 1] = bad
    with pytest.raises(ValueError, match=r"points: got a number .*row 57"):
        an.OptimalDenoiser(scale.stored(saved(tmp_path, rows)))(np.zeros((1, 3)), 1.0)


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (np.ones(5), ValueError, r"points: got shape \(5,\)"),
        (np.ones((0, 5)), ValueError, r"points: got .*shape \(0, 5\)"),
        (np.ones((3, 2), complex), TypeError, "points: got .*complex128"),
        (np.array([[True]]), TypeError, "points: got .*bool"),
        (np.array([["a"]]), TypeError, "points: got .*<U1"),
    ],
)
def test_files_of_other_things_are_refused(
    tmp_path: Path, content: Any, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        an.OptimalDenoiser(saved(tmp_path, content))


def test_other_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("text")
    (tmp_path / "pickle.npy").write_bytes(b"\x93NUMPY\x01\x00")
    for path, kind, words in (
        (tmp_path / "none.npy", FileNotFoundError, "points: got .*none.npy"),
        (tmp_path / "text.npy", ValueError, "points: got .*text.npy', which is no .npy file"),
        (tmp_path / "pickle.npy", ValueError, "points: got .*pickle.npy'"),
        (tmp_path, TypeError, "points: got .*a .npy file"),
        ("moons", TypeError, "points: got 'moons'"),
    ):
        with pytest.raises(kind, match=words):
            an.OptimalDenoiser(path)


@pytest.mark.parametrize("shape", [(-1, 3), (3, -1), (-2, -3)])
def test_a_header_of_negative_sizes_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    with (tmp_path / "rows.npy").open("wb") as stream:
        header = {"descr": "<f8", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(bytes(999))
    with pytest.raises(ValueError, match=r"points: got .*rows\.npy' of shape"):
        an.OptimalDenoiser(tmp_path / "rows.npy")


@pytest.mark.parametrize("value", [1e200, -1e308])
def test_too_wide_a_range_is_told(value: float) -> None:
    rows = np.ones((9, 2))
    rows[5, 1] = value
    with pytest.raises(ValueError, match=r"points: got coordinates of a range of 1e\+"):
        an.OptimalDenoiser(scale.stored(rows, block=4))(rows[:1], 1.0)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([[object()]]), allow_pickle=True)
    with pytest.raises(TypeError, match=r"points: got .*rows.npy' of dtype object"):
        an.OptimalDenoiser(tmp_path / "rows.npy")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"block": 0}, "block"),
        ({"weights": [1.0]}, "weights"),
        ({"weights": [1.0, -1.0]}, "weights"),
        ({"weights": [0.0, 0.0]}, "weights"),
        ({"name": 3}, "name"),
        ({"progress": 1}, "progress"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^{words}: got"):
        scale.stored(np.eye(2), **options)


# --- order and memory ----------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(1, 18))
def test_the_tree_pairs_neighbours(count: int) -> None:
    def level(parts: list[str]) -> str:
        while len(parts) > 1:
            pairs = [parts[k : k + 2] for k in range(0, len(parts), 2)]
            parts = ["(" + "".join(pair) + ")" if len(pair) > 1 else pair[0] for pair in pairs]
        return parts[0]

    names = [chr(97 + k) for k in range(count)]
    assert scale.folded(names, lambda a, b: f"({a}{b})") == level(names)


def test_places_without_a_part_change_nothing_for_the_others() -> None:
    parts = ["a", None, "c", "d", None]
    assert scale.folded(parts, lambda a, b: f"({a}{b})") == "(a(cd))"
    assert scale.folded([None, None], lambda a, b: a) is None


MEASURE = """
import resource, sys
import numpy as np
import analytic as an
from analytic import scale
from analytic.kernels import threads

points = scale.stored(sys.argv[1], block=4096)
far = an.OptimalDenoiser(points)
x = np.zeros((8, 64))
small = an.OptimalDenoiser(scale.stored(np.zeros((9000, 64)), block=4096))
small.posterior(x, 1.0).top(3)  # what is compiled and imported
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
far.posterior(x, 1.0).top(3)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes there")
def test_memory_is_that_of_a_few_blocks(tmp_path: Path) -> None:
    # sparse: 512 MB of zeros that take no place on the disk
    path = tmp_path / "zeros.npy"
    np.lib.format.open_memmap(path, "w+", dtype="f8", shape=(1_000_000, 64))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    block = 4096 * 64 * 8 / 1024
    assert int(done.stdout) < 8 * block  # some five, and what the allocator keeps; all are 244
