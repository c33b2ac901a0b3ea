"""Datasets: the formulas hold point by point, and every broken file gets one clear error."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from analytic import _files, datasets
from analytic.points import PointSet

Image = pytest.importorskip("PIL.Image", reason="Pillow is an optional dependency")
sklearn_datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is optional")

from filekinds import IDX_TYPES, folder, idx, pictures, png, records, tar, zipped  # noqa: E402

SEEDED: dict[str, Callable[..., PointSet]] = {
    "two_moons": datasets.two_moons,
    "eight_gaussians": datasets.eight_gaussians,
    "checkerboard": datasets.checkerboard,
    "swiss_roll": datasets.swiss_roll,
    "random_high_d": datasets.random_high_d,
    "digits": datasets.digits,
    "patches": datasets.patches,
}


def refused(path: Path, words: str = "") -> Any:
    """The one kind of error a bad file may raise: its message names the path."""
    return pytest.raises(ValueError, match=f"(?s){re.escape(repr(str(path)))}.*{words}")


# --- toys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 200])
def test_moons_without_noise_are_the_half_circles(n: int) -> None:
    moons = datasets.two_moons(n, noise=0)
    (x, y), label = moons.points.T, moons.labels
    upper, lower = label == 0, label == 1
    assert upper.sum() == n // 2 and len(moons) == n
    np.testing.assert_allclose(np.hypot(x[upper], y[upper]), 1, atol=1e-15)
    np.testing.assert_allclose(np.hypot(1 - x[lower], 0.5 - y[lower]), 1, atol=1e-15)
    assert (y[upper] >= 0).all() and (y[lower] <= 0.5).all()
    theirs, classes = sklearn_datasets.make_moons(n, shuffle=False, noise=None)
    np.testing.assert_allclose(moons.points, theirs, atol=1e-15)
    np.testing.assert_array_equal(label, classes)


@pytest.mark.parametrize("name", ["two_moons", "eight_gaussians", "swiss_roll"])
def test_noise_is_the_standard_deviation_per_coordinate(name: str) -> None:
    make = SEEDED[name]
    # The difference of two noise levels is free of the shape, which is drawn alike.
    first, second = (make(20_000, noise=s, seed=3).points for s in (0.2, 0.5))
    np.testing.assert_allclose((second - first).std(axis=0), 0.3, rtol=0.03)
    np.testing.assert_allclose((second - first).mean(axis=0), 0, atol=0.01)


def test_gaussians_sit_around_their_centres() -> None:
    data = datasets.eight_gaussians(4001)
    centres = 2 * np.exp(1j * np.pi / 4 * np.arange(8))
    gaps = data.points @ [1, 1j] - centres[:, None]
    np.testing.assert_array_equal(np.abs(gaps).argmin(axis=0), data.labels)
    np.testing.assert_array_equal(data.labels, np.arange(4001) % 8)
    own = np.take_along_axis(gaps, data.labels[None], axis=0)[0]
    np.testing.assert_allclose([own.real.std(), own.imag.std()], 0.1, rtol=0.05)
    assert data.scale == pytest.approx(np.sqrt(2 + 0.1**2), rel=0.01)
    assert len(datasets.eight_gaussians(100, noise=0)) == 8


def test_checkerboard_covers_the_dark_squares_evenly() -> None:
    data = datasets.checkerboard(8000, seed=1)
    assert data.labels is None
    assert np.abs(data.points).max() <= 2
    column, row = np.floor(data.points).astype(int).T + 2
    assert ((column + row) % 2 == 0).all()
    counts = np.bincount(4 * row + column, minlength=16)
    assert (counts > 0).sum() == 8
    assert np.abs(counts[counts > 0] - 1000).max() < 150  # five standard deviations
    inside = data.points - np.floor(data.points)
    np.testing.assert_allclose(inside.mean(axis=0), 0.5, atol=0.02)
    np.testing.assert_allclose(inside.std(axis=0), 12**-0.5, rtol=0.03)


def test_swiss_roll_without_noise_is_the_spiral() -> None:
    data = datasets.swiss_roll(1000, noise=0)
    radius = np.linalg.norm(data.points, axis=1)
    assert radius.min() >= 0.5 and radius.max() <= 1.5
    assert radius.min() < 0.51 and radius.max() > 1.49
    turn = np.exp(3j * np.pi * radius)
    np.testing.assert_allclose(data.points @ [1, 1j], radius * turn, atol=1e-13)
    assert len(data) == 1000 and data.labels is None


def test_two_points() -> None:
    data = datasets.two_points(3.0, dim=4)
    np.testing.assert_array_equal(data.points, [[-1.5, 0, 0, 0], [1.5, 0, 0, 0]])
    np.testing.assert_array_equal(data.labels, [0, 1])
    np.testing.assert_array_equal(datasets.two_points().points, [[-1], [1]])
    assert len(datasets.two_points(np.finfo(float).tiny)) == 2


def test_random_high_d_is_standard_normal() -> None:
    data = datasets.random_high_d(400, 300, seed=5)
    assert data.points.shape == (400, 300)
    squares = (data.points**2).sum(axis=1)
    assert data.points.mean() == pytest.approx(0, abs=0.015)
    assert squares.mean() == pytest.approx(300, rel=0.02)
    assert squares.var() == pytest.approx(600, rel=0.4)
    assert data.points.shape == datasets.random_high_d(400, 300).points.shape


# --- digits and patches -------------------------------------------------------------------------


def test_digits_are_scikit_learns() -> None:
    data, theirs = datasets.digits(), sklearn_datasets.load_digits()
    assert (len(data), data.dim) == (1797, 64)
    np.testing.assert_array_equal(data.points, theirs.data / 8 - 1)
    np.testing.assert_array_equal(data.labels, theirs.target)
    assert data.points.min() == -1 and data.points.max() == 1


def test_some_digits_are_a_subset_in_order() -> None:
    data, some = datasets.digits(), datasets.digits(200, seed=4)
    rows = [int(np.flatnonzero((data.points == p).all(axis=1))[0]) for p in some.points]
    assert len(set(rows)) == 200 and rows == sorted(rows)
    np.testing.assert_array_equal(some.labels, data.labels[rows])
    assert datasets.digits(1797).points.tobytes() == data.points.tobytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_are_windows_of_the_photographs(channels: int) -> None:
    size = 6
    data = datasets.patches(40, size, seed=2, channels=channels)
    assert data.points.shape == (40, size * size * channels)
    photos = sklearn_datasets.load_sample_images().images
    if channels == 1:
        photos = [photo.mean(axis=2, keepdims=True) for photo in photos]
    seen = [0, 0]
    for point in data.points[:12]:
        patch = ((point + 1) * 127.5).reshape(size, size, channels)
        hits = 0
        for k, photo in enumerate(photos):
            # Few positions share the first pixel: compare in full only there.
            head = np.isclose(photo[: 427 - size + 1, : 640 - size + 1], patch[0, 0]).all(axis=2)
            for i, j in np.argwhere(head):
                if np.allclose(photo[i : i + size, j : j + size], patch, atol=1e-9):
                    hits += 1
                    seen[k] += 1
        assert hits >= 1
    assert min(seen) > 0, "both photographs are used"


def test_all_patches_are_each_position_once() -> None:
    total = 2 * 427 * 640
    data = datasets.patches(total, 1, channels=1, seed=9)
    pixels = np.concatenate(
        [p.mean(axis=2).ravel() for p in sklearn_datasets.load_sample_images().images]
    )
    values, counts = np.unique(pixels / 127.5 - 1, return_counts=True)
    order = np.argsort(data.points[:, 0])
    np.testing.assert_array_equal(data.points[order, 0], values)
    np.testing.assert_allclose(data.weights[order] * total, counts, rtol=1e-9)


def test_patch_positions_follow_both_photographs_and_blocks(monkeypatch: Any) -> None:
    whole = datasets.patches(500, 8)
    monkeypatch.setattr(datasets, "_BLOCK", 192 * 7)
    assert datasets.patches(500, 8).points.tobytes() == whole.points.tobytes()
    positions = np.arange(2 * 3 * 4)
    photos = [np.arange(5 * 6 * 3).reshape(5, 6, 3) + 100 * k for k in range(2)]
    views = [sliding_window_view(photo, (3, 3), axis=(0, 1)) for photo in photos]
    cut = datasets._cut(views, positions)
    expected = [p[i : i + 3, j : j + 3].ravel() for p in photos for i in range(3) for j in range(4)]
    np.testing.assert_array_equal(cut, np.array(expected) / 127.5 - 1)


# --- seeds, names, arguments --------------------------------------------------------------------


@pytest.mark.parametrize("name", SEEDED)
def test_the_seed_decides(name: str) -> None:
    first, again, other = (SEEDED[name](50, seed=s) for s in (1, 1, 2))
    assert first.points.tobytes() == again.points.tobytes()
    assert first.points.tobytes() != other.points.tobytes()
    assert first.name == name
    named = datasets.get(name, n=50, seed=1)
    assert named.points.tobytes() == first.points.tobytes()


def test_names_are_the_registry() -> None:
    assert set(datasets.names()) == {*SEEDED, "two_points"}
    assert len(datasets.get("two_points")) == len(datasets.get("two-points", n=2)) == 2
    assert len(datasets.get("digits")) == 1797
    assert datasets.get("moons", n=9).name == "two_moons"
    assert datasets.get("8gaussians", n=9).name == "eight_gaussians"
    assert datasets.get("random-high-d", n=9).points.shape == (9, 512)


@pytest.mark.parametrize("typo", ["two_mons", "two-mons"])
@pytest.mark.parametrize("find", [datasets.get, datasets.resolve])
def test_unknown_names_suggest_the_nearest(find: Callable[..., PointSet], typo: str) -> None:
    with pytest.raises(ValueError, match=r"name: .*checkerboard.*did you mean 'two_moons'"):
        find(typo)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: datasets.two_moons(0), "^n: got 0"),
        (lambda: datasets.two_moons(10**15), "^n: .*memory"),
        (lambda: datasets.two_moons(noise=-1), "^noise: got -1"),
        (lambda: datasets.swiss_roll(noise=np.nan), "^noise: got nan"),
        (lambda: datasets.eight_gaussians(noise=1e200), "^noise: "),
        (lambda: datasets.checkerboard(seed=-1), "^seed: got -1"),
        (lambda: datasets.two_points(0), "^distance: got 0"),
        (lambda: datasets.two_points(-1), "^distance: got -1"),
        (lambda: datasets.two_points(np.inf), "^distance: got inf"),
        (lambda: datasets.two_points(dim=0), "^dim: got 0"),
        (lambda: datasets.two_points(dim=10**15), "^dim: .*memory"),
        (lambda: datasets.random_high_d(10**15), "^n: .*memory"),
        (lambda: datasets.random_high_d(1000, 10**15), "^dim: .*memory"),
        (lambda: datasets.digits(0), "^n: got 0"),
        (lambda: datasets.digits(1798), "^n: got 1798, .*1797"),
        (lambda: datasets.patches(531_721), "^n: got 531721, .*531720 positions"),
        (lambda: datasets.patches(10**15), "^n: "),
        (lambda: datasets.patches(1, 428), "^size: got 428, .*427"),
        (lambda: datasets.patches(1, 0), "^size: got 0"),
        (lambda: datasets.patches(channels=2), "^channels: got 2"),
        (lambda: datasets.patches(channels=4), "^channels: got 4"),
        (lambda: datasets.get("two_points", n=3), "^n: got 3, .*two_points has two"),
        (lambda: datasets.get("digits", n=0), "^n: got 0"),
    ],
)
def test_bad_values_name_the_argument(call: Callable[[], PointSet], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: datasets.two_moons(10.0), "^n: "),
        (lambda: datasets.two_moons(True), "^n: "),
        (lambda: datasets.two_moons(noise="0"), "^noise: "),
        (lambda: datasets.digits(seed=None), "^seed: "),
        (lambda: datasets.get(3), "^name: "),
        (lambda: datasets.resolve(3), "^path: "),
        (lambda: datasets.load(b"x.npy"), "^path: "),
        (lambda: datasets.load("x.npy", progress=1), "^progress: "),
        (lambda: datasets.load("x.npy", name=1), "^name: "),
        (lambda: datasets.two_moons(sigma=1), "sigma"),
    ],
)
def test_wrong_kinds_name_the_argument(call: Callable[[], PointSet], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call()


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("sklearn.datasets", lambda folder: datasets.digits()),
        ("sklearn.datasets", lambda folder: datasets.patches(9)),
        ("PIL.Image", lambda folder: datasets.patches(9)),
        ("PIL.Image", lambda folder: datasets.load(folder / "a.zip")),
    ],
)
def test_missing_extras_name_the_remedy(
    module: str, call: Callable[[Path], PointSet], monkeypatch: Any, tmp_path: Path
) -> None:
    zipped(tmp_path / "a.zip", {"a.png": png(pictures(1)[0])})
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "analytic-diffusion\[data\]"'):
        call(tmp_path)


# --- arrays -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "u1", "i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_round_trip(tmp_path: Path, dtype: str, order: Any) -> None:
    array = pictures(6, (2, 3, 4)).astype(dtype, order=order)
    np.save(tmp_path / "my set.NPY".lower(), array)
    data = datasets.load(tmp_path / "my set.npy")
    np.testing.assert_array_equal(data.points, array.reshape(6, 24).astype(float))
    assert data.name == "my set" and data.labels is None
    assert datasets.load(str(tmp_path / "my set.npy"), name="mine").name == "mine"


def test_later_npy_versions_and_upper_case(tmp_path: Path) -> None:
    with (tmp_path / "a.NPY").open("wb") as stream:
        np.lib.format.write_array(stream, np.eye(3), version=(2, 0))
    np.testing.assert_array_equal(datasets.load(tmp_path / "a.NPY").points, np.eye(3))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("key", ["points", "X", "data", "arr_0", "anything"])
@pytest.mark.parametrize("label_key", ["labels", "y"])
def test_npz_round_trip(tmp_path: Path, save: Any, key: str, label_key: str) -> None:
    points, weights = pictures(4, (2, 2)), np.array([1.0, 2, 3, 2])
    save(tmp_path / "a.npz", **{label_key: list("cabd"), "weights": weights, key: points})
    data = datasets.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(data.points, points.reshape(4, 4))
    np.testing.assert_array_equal(data.weights, weights / 8)
    assert list(data.labels) == list("cabd")


def test_npz_keys_have_an_order(tmp_path: Path) -> None:
    keys = ("points", "X", "data", "arr_0")
    arrays = {key: np.full((1, 1), k) for k, key in enumerate(keys)}
    for k, key in enumerate(keys):
        np.savez(tmp_path / "a.npz", other=np.zeros(3), **arrays)
        assert datasets.load(tmp_path / "a.npz").points.item() == k
        del arrays[key]


def test_npz_without_clear_points(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.eye(2), b=np.eye(2))
    with refused(path, "'a', 'b'.*'points'"):
        datasets.load(path)
    np.savez(path, labels=[1, 2])
    with refused(path, "'labels'.*'points'"):
        datasets.load(path)
    np.savez(path)
    with refused(path, r"\(none\).*'points'"):
        datasets.load(path)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"points": [[1.0, np.nan]]}, r"nan at index \(0, 1\)"),
        ({"points": [[1.0], [np.inf]]}, r"inf at index \(1, 0\)"),
        ({"points": [["a"]]}, "real numbers"),
        ({"points": [[1j]]}, "real numbers"),
        ({"points": [[True]]}, "real numbers"),
        ({"points": np.empty((0, 3))}, r"\(0, 3\)"),
        ({"points": np.empty((3, 0))}, r"\(3, 0\)"),
        ({"points": [1.0, 2]}, r"\(2,\).*array\[:, None\]"),
        ({"points": 1.0}, r"shape \(\)"),
        ({"points": [[1], [None]]}, "pickled"),
        ({"points": [[1], [2]], "labels": np.array([1, None])}, "pickled.*'labels'"),
        ({"points": [[1], [2]], "labels": [1]}, "labels"),
        ({"points": [[1], [2]], "labels": [1.5, 2]}, "labels"),
        ({"points": [[1], [2]], "weights": [1, -1]}, "weights"),
        ({"points": [[1], [2]], "weights": [1, 1, 1]}, "weights"),
        ({"points": [[1], [2]], "weights": ["1", "2"]}, "weights"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, arrays: Any, words: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with refused(tmp_path / "a.npz", words):
        datasets.load(tmp_path / "a.npz")
    if len(arrays) == 1:
        np.save(tmp_path / "a.npy", arrays["points"])
        with refused(tmp_path / "a.npy", words):
            datasets.load(tmp_path / "a.npy")


def header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"shape": shape, "fortran_order": False, "descr": descr}
    )
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "EOF|magic|empty"),
        (b"points", "cannot be read"),
        (header((3, 2)) + bytes(47), "cut short.*47 of 48"),
        (header((3, 2))[:40], "cannot be read"),
        (header((10**15, 3)), "memory"),
        (header((10**15, 3), "|u1"), "memory"),
        (header((10**300, 10**300)), "memory"),
        (header((-1, 2)) + bytes(48), r"\(-1, 2\)"),
        (header((3, 2), "|O") + bytes(48), "pickled"),
        (b"\x93NUMPY\x09\x09" + bytes(99), "cannot be read"),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_damaged_arrays_are_refused(tmp_path: Path, kind: str, data: bytes, words: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        path.write_bytes(data)
    else:
        zipped(path, {"points.npy": data})
    with refused(path, words):
        datasets.load(path)


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, points=pictures(9))
    whole = path.read_bytes()
    for data in (b"", whole[:-1], whole[: len(whole) // 2], whole[:10]):
        for suffix in ("npz", "zip"):
            (tmp_path / f"a.{suffix}").write_bytes(data)
            with refused(tmp_path / f"a.{suffix}", "cannot be read"):
                datasets.load(tmp_path / f"a.{suffix}")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    path.write_bytes(flipped)
    with refused(path, "'points'"):
        datasets.load(path)


# --- image archives -----------------------------------------------------------------------------


def test_images_come_in_order_of_name_with_their_classes(tmp_path: Path) -> None:
    images = pictures(4)
    files = ["00000/b.png", "00000/a.png", "top.PNG", "00001/c.png"]
    rank = np.argsort(files)
    members = {"readme.txt": b"hello", "__MACOSX/00000/._a.png": b"junk"}
    members |= {name: png(image) for name, image in zip(files, images, strict=True)}
    labels = [[name, 10 + k] for k, name in enumerate(files)]
    members["dataset.json"] = json.dumps({"labels": labels[::-1]}).encode()
    data = datasets.load(zipped(tmp_path / "set.zip", members))
    np.testing.assert_array_equal(data.points, images[rank].reshape(4, 45) / 127.5 - 1)
    np.testing.assert_array_equal(data.labels, 10 + rank)
    assert data.name == "set"


def test_a_zipped_parent_folder_works(tmp_path: Path) -> None:
    members = {f"set/{k}.png": png(image) for k, image in enumerate(pictures(2))}
    members["set/dataset.json"] = b'{"labels": [["0.png", 7], ["1.png", 3]]}'
    assert list(datasets.load(zipped(tmp_path / "a.zip", members)).labels) == [7, 3]


@pytest.mark.parametrize("table", [None, {"labels": None}])
def test_images_without_classes(tmp_path: Path, table: Any, capfd: Any) -> None:
    members = {"a.png": png(pictures(1)[0])}
    if table:
        members["dataset.json"] = json.dumps(table).encode()
    path = zipped(tmp_path / "a.zip", members)
    assert datasets.load(path).labels is None
    np.testing.assert_array_equal(
        datasets.load(path, progress=True).points, datasets.load(path).points
    )
    assert capfd.readouterr() == ("", ""), "no bar where there is no terminal"


@pytest.mark.parametrize(
    "labels",
    [
        [["a.png", 1]],
        [["a.png", 1], ["b.png", 1.5]],
        [["a.png", 1], ["b.png", True]],
        [["a.png", 1], ["b.png", [0, 1]]],
        [["a.png", 1], ["b.png", 10**30]],
        [],
    ],
)
def test_labels_that_are_not_all_integers_are_dropped_aloud(tmp_path: Path, labels: Any) -> None:
    members = {"a.png": png(pictures(1)[0]), "b.png": png(pictures(1, seed=1)[0])}
    members["dataset.json"] = json.dumps({"labels": labels}).encode()
    path = zipped(tmp_path / "a.zip", members)
    with pytest.warns(UserWarning, match="without labels.*png") as caught:
        assert datasets.load(path).labels is None
    assert caught[0].filename == __file__


def test_modes(tmp_path: Path) -> None:
    grey, colour = pictures(2, (4, 6)), pictures(2, (4, 6, 3))
    colour = colour // 128 * 255  # eight colours, which a palette holds exactly
    path = zipped(tmp_path / "grey.zip", {f"{k}.png": png(g) for k, g in enumerate(grey)})
    np.testing.assert_array_equal(datasets.load(path).points, grey.reshape(2, 24) / 127.5 - 1)
    palettes = [Image.fromarray(c).quantize(8, dither=Image.Dither.NONE) for c in colour]
    mixed = {"0.png": png(palettes[0]), "1.png": png(colour[1])}
    data = datasets.load(zipped(tmp_path / "palette.zip", mixed))
    np.testing.assert_array_equal(data.points, colour.reshape(2, 72) / 127.5 - 1)
    bits = Image.fromarray((grey[0] > 99).astype(np.uint8) * 255).convert("1")
    data = datasets.load(zipped(tmp_path / "bits.zip", {"0.png": png(bits)}))
    np.testing.assert_array_equal(data.points[0], np.where(grey[0].ravel() > 99, 1.0, -1.0))


def transparent_palette() -> bytes:
    stream = io.BytesIO()
    Image.new("P", (2, 2)).save(stream, format="PNG", transparency=0)
    return stream.getvalue()


def pcx() -> bytes:
    """An image Pillow can read, in a format nobody asked for."""
    stream = io.BytesIO()
    Image.new("L", (2, 2)).save(stream, format="PCX")
    return stream.getvalue()


def with_json(text: str | bytes) -> dict[str, bytes]:
    data = text if isinstance(text, bytes) else text.encode()
    return {"a.png": png(pictures(1)[0]), "dataset.json": data}


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "no images"),
        ({"a.txt": b"", "b.npy": b""}, "no images among its 2"),
        ({"a.png": png(pictures(1)[0])[:-30]}, r"'a\.png'"),
        ({"a.png": png(pictures(1)[0])[:60]}, r"'a\.png'"),
        ({"a.png": b""}, r"'a\.png'"),
        ({"a.png": pcx()}, r"'a\.png'.*UnidentifiedImageError"),
        ({"a.png": png(pictures(1)[0], "RGBA")}, "'RGBA'.*alpha"),
        ({"a.png": png(pictures(1)[0], "LA")}, "'LA'.*alpha"),
        ({"a.png": transparent_palette()}, "transparency"),
        ({"a.png": png(np.zeros((2, 2), np.uint16))}, "mode 'I;16'.*8-bit"),
        (
            {"a.png": png(pictures(1, (3, 5))[0]), "b.png": png(pictures(1, (5, 3))[0])},
            r"'b\.png' is \(5, 3, 1\), 'a\.png' is \(3, 5, 1\)",
        ),
        ({"a.png": png(pictures(1)[0]), "b.png": png(pictures(1)[0], "L")}, r"b\.png.*3, 5, 1"),
        (with_json('{"labels": [["b.png", 1]]}'), r"does not hold.*'b\.png'"),
        (with_json("{"), r"'dataset\.json'.*JSONDecodeError"),
        (with_json(b"\xff\xfe\xff"), r"'dataset\.json'"),
        (with_json("[" * 100_000), r"'dataset\.json'"),
        (with_json("[]"), 'no "labels".*null'),
        (with_json("{}"), 'no "labels".*null'),
        (with_json('{"labels": 3}'), "labels 3"),
        (with_json('{"labels": {"a.png": 3}}'), "'a.png': 3"),
        (with_json('{"labels": [3]}'), "entry 3"),
        (with_json('{"labels": [["a.png", 1, 2]]}'), "entry "),
        (with_json('{"labels": [[1, "a.png"]]}'), "entry "),
        (with_json('{"labels": [["a.png", 1], ["a.png", 2]]}'), r"two entries for 'a\.png'"),
        (with_json('{"labels": null}') | {"b/dataset.json": b"{}"}, "2 files dataset.json"),
    ],
)
def test_bad_image_archives_are_refused(tmp_path: Path, members: Any, words: str) -> None:
    path = zipped(tmp_path / "a.zip", members)
    with refused(path, words):
        datasets.load(path)


@pytest.mark.parametrize("limit", [10, 5])  # Pillow warns up to twice its limit, then raises
def test_absurd_images_are_refused(tmp_path: Path, monkeypatch: Any, limit: int) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": png(pictures(1)[0])})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with refused(path, "DecompressionBomb"):
        datasets.load(path)


def test_absurd_members_are_refused(tmp_path: Path, monkeypatch: Any) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": png(pictures(1)[0])})
    monkeypatch.setattr(_files.images, "MEMBER_LIMIT", 50)
    with refused(path, r"claims .* GiB for its image 'a\.png'"):
        datasets.load(path)


def test_encrypted_archives_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": png(pictures(1)[0])})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag in the local header, and in the table of contents
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with refused(path, "encrypted"):
        datasets.load(path)


# --- IDX ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", IDX_TYPES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_idx_of_every_type(tmp_path: Path, code: int, pack: Callable[[bytes], bytes]) -> None:
    array = pictures(5, (2, 3)).astype(IDX_TYPES[code])
    if code != 0x08:
        array = array - np.array(100, array.dtype) + array.dtype.type(0.25)
    path = tmp_path / "mine-images-idx3-ubyte"
    path.write_bytes(pack(idx(array, code)))
    data = datasets.load(path)
    plain = array.reshape(5, 6).astype(float)
    np.testing.assert_array_equal(data.points, plain / 127.5 - 1 if code == 0x08 else plain)
    assert data.labels is None and data.name == "mine-images-idx3-ubyte"


@pytest.mark.parametrize("images", ["a-images-idx3-ubyte", "a-images.idx3-ubyte.gz", "images.idx"])
@pytest.mark.parametrize("other", [False, True], ids=["same", "other"])
def test_idx_labels_are_found_beside_the_images(tmp_path: Path, images: str, other: bool) -> None:
    labels = images.replace("images", "labels").replace("idx3", "idx1")
    if other:
        labels = labels.removesuffix(".gz") if labels.endswith(".gz") else f"{labels}.gz"
    (tmp_path / images).write_bytes(idx(pictures(3, (2, 2))))
    (tmp_path / labels).write_bytes(gzip.compress(idx([7, 0, 255]), mtime=0))
    assert datasets.load(tmp_path / images).labels.tolist() == [7, 0, 255]


def test_idx_labels_gzipped_like_the_images_come_first(tmp_path: Path) -> None:
    for ending, classes in (("", [1, 2]), (".gz", [3, 4])):
        (tmp_path / f"t-images-idx3-ubyte{ending}").write_bytes(idx(pictures(2, (2, 2))))
        (tmp_path / f"t-labels-idx1-ubyte{ending}").write_bytes(idx(classes))
    for ending, classes in (("", [1, 2]), (".gz", [3, 4])):
        loaded = datasets.load(tmp_path / f"t-images-idx3-ubyte{ending}")
        assert loaded.labels.tolist() == classes


def test_idx_of_several_blocks(tmp_path: Path, monkeypatch: Any, capfd: Any) -> None:
    whole = pictures(9, (4, 5))
    (tmp_path / "a.idx").write_bytes(idx(whole))
    monkeypatch.setattr(_files.idx, "BLOCK", 7)
    data = datasets.load(tmp_path / "a.idx", progress=True)
    np.testing.assert_array_equal(data.points, whole.reshape(9, 20) / 127.5 - 1)
    assert capfd.readouterr() == ("", "")


IDX = idx(pictures(3, (2, 2)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "EOFError"),
        (b"\0\0\x08", "EOFError"),
        (b"\1" + IDX[1:], "01 00 08 03, which is no IDX"),
        (IDX[:2] + b"\x0a" + IDX[3:], "no IDX"),
        (IDX[:11], "EOFError"),
        (IDX[:-1], "cut short.*11 of 12"),
        (IDX + b"x", "goes on after the 12 numbers"),
        (gzip.compress(IDX + b"x", mtime=0), "goes on"),
        (gzip.compress(IDX[:-1], mtime=0), "EOFError"),
        (gzip.compress(IDX, mtime=0)[:-1], "EOFError"),
        (gzip.compress(IDX, mtime=0)[:-8] + b"12345678", "CRC"),
        (struct.pack(">2xBB3I", 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "memory"),
        (struct.pack(">2xBB", 14, 255) + b"\xff" * 1020, "memory"),
        (struct.pack(">2xBB3I", 8, 3, 10**6, 8, 8), "cut short.*0 of 64000000"),
        (
            gzip.compress(struct.pack(">2xBB3I", 8, 3, 10**6, 8, 8), mtime=0),
            "cut short.* of 64000000",
        ),
        (struct.pack(">2xBB2I", 8, 2, 2**32 - 1, 0), "at least one point"),
        (struct.pack(">2xBB2I", 8, 2, 0, 4), "at least one point"),
        (struct.pack(">2xBB4I", 8, 4, 0, *[2**32 - 1] * 3), "at least one point"),  # fuzzed
        (struct.pack(">2xBB", 8, 0) + b"1", r"shape \(\).*images"),
        (idx([1, 2, 3]), r"shape \(3,\).*images"),
        (idx([[np.nan]], 0x0E), "nan"),
    ],
)
def test_bad_idx_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.idx").write_bytes(data)
    with refused(tmp_path / "a.idx", words):
        datasets.load(tmp_path / "a.idx")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (idx([1, 2]), r"3 images, while the labels.*t-labels-idx1-ubyte.*\(2,\)"),
        (idx([[1], [2], [3]]), r"\(3, 1\)"),
        (idx([1, 2, 3], 0x0D), "float32"),
        (b"", "'t-labels-idx1-ubyte'.*EOFError"),
    ],
)
def test_bad_idx_labels_are_refused(tmp_path: Path, labels: bytes, words: str) -> None:
    (tmp_path / "t-images-idx3-ubyte").write_bytes(IDX)
    (tmp_path / "t-labels-idx1-ubyte").write_bytes(labels)
    with refused(tmp_path / "t-images-idx3-ubyte", words):
        datasets.load(tmp_path / "t-images-idx3-ubyte")


# --- CIFAR --------------------------------------------------------------------------------------

PHOTOS = pictures(10, (32, 32, 3))
CLASSES = [0, 9, 3, 3, 8, 1, 2, 7, 5, 4]
TEN = {
    f"data_batch_{k + 1}.bin": records(PHOTOS[2 * k :][:2], CLASSES[2 * k :][:2]) for k in range(5)
}
TEN |= {"test_batch.bin": records(PHOTOS[:1], [6]), "batches.meta.txt": b"airplane\n"}
HUNDRED = {"train.bin": records(PHOTOS, range(10), range(90, 100)), "test.bin": b""}


def test_a_cifar_file_is_its_records(tmp_path: Path, monkeypatch: Any) -> None:
    folder(tmp_path, TEN | HUNDRED)
    expected = PHOTOS.reshape(10, 3072) / 127.5 - 1
    data = datasets.load(tmp_path / "data_batch_2.bin")
    np.testing.assert_array_equal(data.points, expected[2:4])
    assert data.labels.tolist() == [3, 3] and data.name == "data_batch_2"
    monkeypatch.setattr(_files.cifar, "_ROWS", 3)
    data = datasets.load(tmp_path / "train.bin", progress=True)
    np.testing.assert_array_equal(data.points, expected)
    assert data.labels.tolist() == list(range(90, 100)), "the fine classes"
    for name, labels in (("data_batch_1.bin", [0, 9]), ("train.bin", list(range(90, 100)))):
        (tmp_path / "mine.bin").write_bytes((TEN | HUNDRED)[name])
        assert datasets.load(tmp_path / "mine.bin").labels.tolist() == labels


@pytest.mark.parametrize("kind", ["folder", "tar.gz", "tgz", "tar saved as tar.gz", "pax"])
def test_a_cifar_folder_or_archive_is_its_training_images(tmp_path: Path, kind: str) -> None:
    for name, members, labels in (
        ("cifar-10-batches-bin", TEN, CLASSES),
        ("cifar-100-binary", HUNDRED | {"fine_label_names.txt": b"apple\n"}, list(range(90, 100))),
    ):
        path = tmp_path / name
        if kind == "folder":
            folder(path, members)
        else:
            style = tarfile.PAX_FORMAT if kind == "pax" else tarfile.GNU_FORMAT
            inside = {f"{name}/{key}": members[key] for key in reversed(members)}
            if kind == "pax":
                inside = {"x" * 150: b"a name in a header of its own"} | inside
            path = path.with_suffix(".tgz" if kind == "tgz" else ".tar.gz")
            data = tar(inside, style)
            path.write_bytes(data if "saved" in kind else gzip.compress(data, mtime=0))
        data = datasets.load(path)
        np.testing.assert_array_equal(data.points, PHOTOS.reshape(10, 3072) / 127.5 - 1)
        assert data.labels.tolist() == labels and data.name == name


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("mine.bin", b"", "0 bytes.*both"),
        ("mine.bin", bytes(3073 * 3074), "both"),
        ("mine.bin", bytes(3072), "3072 bytes, which is no number"),
        ("data_batch_1.bin", bytes(3074), "3074 bytes in.*3073"),
        ("train.bin", bytes(3073), "3073 bytes in.*3074"),
        ("train.bin", b"", "0 bytes in"),
        ("mine.bin", b"\x0a" + bytes(3072), r"\[10\].*at most \[9\]"),
        ("mine.bin", b"\x13\x64" + bytes(3072), r"\[19, 100\].*at most \[19, 99\]"),
        ("mine.bin", b"\x14\x00" + bytes(3072), r"\[20, 0\]"),
        ("data_batch_1", b"\x80\x04.", "Python version.*binary version"),
        ("batches.meta", b"\x80\x04.", "Python version.*binary version"),
    ],
)
def test_bad_cifar_files_are_refused(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with refused(tmp_path / name, words):
        datasets.load(tmp_path / name)


def test_a_wrong_checksum_in_a_tar_is_noticed(tmp_path: Path) -> None:
    data = bytearray(tar(TEN))
    data[100] ^= 1  # the permissions, of which nothing is read
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(data, mtime=0))
    with refused(tmp_path / "a.tar.gz", "checksum of a header"):
        datasets.load(tmp_path / "a.tar.gz")


@pytest.mark.parametrize("kind", ["folder", "tar.gz"])
@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({k: v for k, v in TEN.items() if k != "data_batch_4.bin"}, r"lacks data_batch_4\.bin;?"),
        (TEN | HUNDRED, "both"),
        ({"test_batch.bin": TEN["test_batch.bin"]}, "no training images.*alone"),
        (TEN | {"data_batch_5.bin": b""}, r"0 bytes in 'data_batch_5\.bin'"),
        (TEN | {"data_batch_3.bin": bytes(99)}, "99 bytes"),
        ({"data_batch_1": b"", "batches.meta": b""}, "Python version"),
        ({"train": b"", "test": b"", "meta": b""}, "Python version"),
    ],
)
def test_bad_cifar_sets_are_refused(tmp_path: Path, kind: str, members: Any, words: str) -> None:
    path = tmp_path / f"set.{kind}"
    if kind == "folder":
        folder(path, members)
    else:
        path.write_bytes(gzip.compress(tar(members), mtime=0))
    with refused(path, words):
        datasets.load(path)


# --- folders of images --------------------------------------------------------------------------


def test_a_folder_of_images_takes_its_classes_from_its_folders(tmp_path: Path) -> None:
    images = pictures(4)
    names = ["cat/b.png", "ant/z.jpg.png", "cat/a/x.PNG", "bee/1.png"]
    members = {name: png(image) for name, image in zip(names, images, strict=True)}
    members |= {"ant/notes.txt": b"", "cat/.b.png": b"junk", ".cache/a.png": b"junk"}
    data = datasets.load(folder(tmp_path / "v1.5", members))
    order = [1, 3, 2, 0]
    np.testing.assert_array_equal(data.points, images[order].reshape(4, 45) / 127.5 - 1)
    assert data.labels.tolist() == ["ant", "bee", "cat", "cat"] and data.name == "v1.5"


def test_a_flat_folder_has_no_classes(tmp_path: Path, monkeypatch: Any) -> None:
    images = pictures(2, (3, 4))
    folder(tmp_path / "set", {f"{k}.png": png(image) for k, image in enumerate(images)})
    monkeypatch.chdir(tmp_path)
    data = datasets.resolve("set")
    np.testing.assert_array_equal(data.points, images.reshape(2, 12) / 127.5 - 1)
    assert data.labels is None
    monkeypatch.chdir(tmp_path / "set")
    assert datasets.load(".").name == "set"


def test_a_folder_named_like_a_dataset_needs_a_separator(tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("two-points", "moons"):
        folder(tmp_path / name, {"a.png": png(pictures(1)[0])})
    monkeypatch.chdir(tmp_path)
    assert datasets.resolve("two-points").dim == 1 and datasets.resolve("moons", n=3).dim == 2
    assert datasets.resolve("./two-points").dim == datasets.resolve("moons/").dim == 45


def test_some_images_outside_folders_drop_the_classes_aloud(tmp_path: Path) -> None:
    members = {"a.png": png(pictures(1)[0]), "b/c.png": png(pictures(1, seed=1)[0])}
    with pytest.warns(UserWarning, match=r"without labels.*'a\.png'") as caught:
        assert datasets.load(folder(tmp_path / "set", members)).labels is None
    assert caught[0].filename == __file__


def test_a_table_outweighs_the_folders(tmp_path: Path) -> None:
    members = {f"{k}/a.png": png(image) for k, image in enumerate(pictures(2))}
    table = b'{"labels": [["0/a.png", 5], ["1/a.png", 6]]}'
    data = datasets.load(folder(tmp_path / "set", members | {"dataset.json": table}))
    assert data.labels.tolist() == [5, 6]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "no images among its 0"),
        ({"a.txt": b""}, "no images among its 1"),
        ({"x/a.png": png(pictures(1)[0])[:-30]}, r"'x/a\.png'"),
        ({"a.png": b""}, r"'a\.png'"),
        ({"a.png": pcx()}, "UnidentifiedImageError"),
        ({"a.png": png(pictures(1)[0], "RGBA")}, "'RGBA'.*alpha"),
        (
            {"a/a.png": png(pictures(1, (3, 5))[0]), "b/b.png": png(pictures(1, (5, 3))[0])},
            r"'b/b\.png' is \(5, 3, 1\), 'a/a\.png' is \(3, 5, 1\)",
        ),
        (with_json("{"), "JSONDecodeError"),
    ],
)
def test_bad_image_folders_are_refused(tmp_path: Path, members: Any, words: str) -> None:
    path = folder(tmp_path / "set", members)
    with refused(path, words):
        datasets.load(path)


# --- paths --------------------------------------------------------------------------------------


def test_paths(tmp_path: Path) -> None:
    for missing in (tmp_path / "a.npy", tmp_path / "a.xyz", tmp_path / "no" / "a.zip"):
        with pytest.raises(FileNotFoundError, match=re.escape(repr(str(missing)))):
            datasets.load(missing)
    with refused(tmp_path, "no images among its 0 files"):
        datasets.load(tmp_path)
    for name in ("a.csv", "npy", "a.npy.gz", "idx", "a-idx3-ubyte.npy.bz2", "train"):
        (tmp_path / name).write_bytes(b"1")
        with refused(tmp_path / name, r"\.npy, \.npz, \.zip"):
            datasets.load(tmp_path / name)
    for name in ("a.csv", "idx", "a.npy.gz", "", "x" * 300):
        with pytest.raises(ValueError, match=r"^name: "):
            datasets.resolve(name)


def test_resolve_takes_names_and_paths(tmp_path: Path, monkeypatch: Any) -> None:
    points, weights = np.arange(20.0).reshape(10, 2), np.arange(1.0, 11)
    np.savez(tmp_path / "set.npz", points=points, weights=weights, labels=np.arange(10))
    monkeypatch.chdir(tmp_path)
    for path in ("set.npz", f".{os.sep}set.npz", tmp_path / "set.npz"):
        assert len(datasets.resolve(path)) == 10
    some = datasets.resolve("set.npz", n=4, seed=3)
    rows = some.labels
    assert len(set(rows)) == 4 and list(rows) == sorted(rows)
    np.testing.assert_array_equal(some.points, points[rows])
    np.testing.assert_allclose(some.weights, weights[rows] / weights[rows].sum(), rtol=1e-15)
    assert some.name == "set"
    drawn = {tuple(datasets.resolve("set.npz", n=4, seed=s).labels) for s in range(9)}
    assert len(drawn) > 5
    with pytest.raises(ValueError, match=r"^n: got 11, .*10 points"):
        datasets.resolve("set.npz", n=11)
    with pytest.raises(ValueError, match=r"^n: got 0"):
        datasets.resolve("missing.npz", n=0)
    with pytest.raises(FileNotFoundError, match="two_moons"):
        datasets.resolve("./two_moons/")
    assert len(datasets.resolve("moons", n=12, seed=1)) == 12


# --- the paper's own scale ----------------------------------------------------------------------


def test_cifar10_loads() -> None:
    path = os.environ.get("ANALYTIC_CIFAR10", "")
    if not path or not Path(path).is_file():
        pytest.skip("ANALYTIC_CIFAR10 does not name the CIFAR-10 zip (50,000 images, about 3 GB)")
    data = datasets.load(path)
    assert data.dim == 3072 and 49_000 < len(data) <= 50_000
    assert data.points.min() == -1 and data.points.max() == 1
    assert data.labels is not None and set(data.labels) == set(range(10))
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        classes = dict(json.loads(archive.read("dataset.json"))["labels"])
        for row in (0, 1, 2):
            pixels = np.asarray(Image.open(archive.open(names[row])))
            np.testing.assert_array_equal(data.points[row], pixels.ravel() / 127.5 - 1)
            assert data.labels[row] == classes[names[row]]
