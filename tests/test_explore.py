"""The interactive page without a browser: what its file holds, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import cli

SIZES = {"f8": "<f8", "f4": "<f4", "i4": "<i4", "u4": "<u4", "u2": "<u2", "u1": "<u1"}


def contents(path: Path) -> dict[str, Any]:
    """The data of a page."""
    found = re.search(
        r'<script id="data" type="application/json">(.*?)</script>', path.read_text("utf-8"), re.S
    )
    assert found is not None
    return dict(json.loads(found[1]))


def unpack(packed: dict[str, Any]) -> np.ndarray:
    """An array of a page."""
    raw = base64.b64decode(packed["base64"])
    return np.frombuffer(raw, SIZES[packed["dtype"]]).reshape(packed["shape"])


def path_of(packed: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (T, K, 2) of paths, and how far off they may be, (T, 1, 1)."""
    half = np.array(packed["half"])[:, None, None]
    return (unpack(packed) * (2 / packed["steps"]) - 1) * half, half / packed["steps"]


def close(found: np.ndarray, packed: dict[str, Any]) -> None:
    kept, off = path_of(packed)
    assert kept.shape == found.shape
    assert (np.abs(kept - found) <= off * (1 + 1e-6) + 1e-9).all()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> tuple[an.PointSet, dict[str, Any]]:
    """A page about weighted points in the plane, far from the origin."""
    rng = np.random.default_rng(3)
    points = an.PointSet(
        rng.standard_normal((12, 2)) + np.array([40.0, -7.0]), rng.random(12) + 0.1
    )
    path = tmp_path_factory.mktemp("plane") / "page.html"
    an.explore(points, path, grid=9, levels=20, sigma_max=30.0, sigma_min=0.01)
    return points, contents(path)


@pytest.fixture(scope="module")
def solid(tmp_path_factory: pytest.TempPathFactory) -> tuple[an.PointSet, dict[str, Any]]:
    """A page about points in five dimensions, which do not lie around the origin."""
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((15, 5)) * [0.3, 3.0, 1.0, 2.0, 0.1] + 5.0
    points = an.PointSet(rows, labels=np.arange(15) % 3)
    path = tmp_path_factory.mktemp("solid") / "page.html"
    an.explore(points, path, grid=5, levels=16, span=2.0)
    return points, contents(path)


def starts(knots: list[float]) -> np.ndarray:
    return np.array([[a, b] for b in knots for a in knots])


def test_paths_are_those_of_integrate(plane: tuple[an.PointSet, dict[str, Any]]) -> None:
    points, data = plane
    sigmas = np.array(data["sigmas"])
    np.testing.assert_allclose(sigmas[[0, -2, -1]], [30.0, 0.01, 0.0])
    assert len(sigmas) == 20
    assert data["live"] is True
    assert data["inner"] == data["knots"][::2]
    start = points.mean + 30.0 * starts(data["inner"])
    exact = an.integrate(an.OptimalDenoiser(points), start, 30.0, save_at=sigmas)
    close(exact.states - points.mean, data["paths"]["x"])
    close(exact.denoised - points.mean, data["paths"]["d"])
    assert exact.collapse is not None
    np.testing.assert_array_equal(unpack(data["paths"]["end"]), exact.collapse.index)
    np.testing.assert_array_equal(data["origin"], points.mean)
    np.testing.assert_array_equal(unpack(data["points"]), points.points - points.mean)
    np.testing.assert_array_equal(unpack(data["logs"]), points.log_weights)


def test_map_of_starts_is_that_of_basins(plane: tuple[an.PointSet, dict[str, Any]]) -> None:
    points, data = plane
    found = an.basins(an.OptimalDenoiser(points), points.mean + 30.0 * starts(data["knots"]), 30.0)
    assert found.certified.all()
    np.testing.assert_array_equal(unpack(data["ends"]), found.index)


def test_certificate_is_the_first_level_that_has_one(
    plane: tuple[an.PointSet, dict[str, Any]],
) -> None:
    points, data = plane
    denoiser, sigmas = an.OptimalDenoiser(points), np.array(data["sigmas"])
    start = points.mean + 30.0 * starts(data["inner"])
    exact = an.integrate(denoiser, start, 30.0, save_at=sigmas)
    end, sealed = unpack(data["paths"]["end"]), unpack(data["paths"]["sealed"])
    for k in range(len(start)):
        fires = [
            bool(an.certificate(denoiser, exact.states[t, k], s, end[k : k + 1]).certified[0])
            for t, s in enumerate(sigmas[:-1])
        ]
        assert sealed[k] == sigmas[fires.index(True)]


def test_more_dimensions_are_lifted_and_projected(
    solid: tuple[an.PointSet, dict[str, Any]],
) -> None:
    points, data = solid
    denoiser, sigmas = an.OptimalDenoiser(points), np.array(data["sigmas"])
    values, vectors = np.linalg.eigh(points.covariance)
    axes = vectors[:, ::-1][:, :2].T
    flat = unpack(data["points"])
    axes *= np.sign((flat * ((points.points - points.mean) @ axes.T)).sum(axis=0))[:, None]
    np.testing.assert_allclose(flat, (points.points - points.mean) @ axes.T, atol=1e-9)
    np.testing.assert_allclose(
        unpack(data["height"]),
        ((points.points - points.mean) ** 2).sum(1) - (flat**2).sum(1),
        rtol=1e-5,
    )
    assert data["live"] is False
    assert data["inner"] == data["knots"] == [-2.0, -1.0, 0.0, 1.0, 2.0]
    start = points.mean + sigmas[0] * starts(data["knots"]) @ axes
    exact = an.integrate(denoiser, start, sigmas[0], save_at=sigmas)
    close((exact.states - points.mean) @ axes.T, data["paths"]["x"])
    close((exact.denoised - points.mean) @ axes.T, data["paths"]["d"])
    shown = {name: unpack(each) for name, each in data["shown"].items()}
    goal = exact.final
    for name, path in (("distance", exact.states), ("denoised", exact.denoised)):
        np.testing.assert_allclose(
            shown[name], np.linalg.norm(path - goal, axis=2), rtol=1e-5, atol=1e-6
        )
    for t, sigma in enumerate(sigmas[:-1]):
        here = denoiser.posterior(exact.states[t], sigma)
        np.testing.assert_allclose(shown["logp"][t], here.log_prob, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(shown["effective"][t], here.effective_points, rtol=1e-5)
        gaps = np.linalg.norm(exact.states[t][:, None] - points.points, axis=2)
        np.testing.assert_array_equal(shown["nearest"][t], gaps.argmin(axis=1))
    assert np.isnan(shown["logp"][-1]).all()
    assert (shown["effective"][-1] == 1).all()
    assert data["axes"][0].startswith(f"PC 1, {values[-1] / values.sum():.0%}")
    assert data["labels"] == [str(k % 3) for k in range(15)]


def test_a_separatrix_is_shown_as_one(tmp_path: Path) -> None:
    path = an.explore(np.array([[-1.0, 0.0], [1.0, 0.0]]), tmp_path / "p.html", grid=3, levels=5)
    data = contents(path)
    assert unpack(data["ends"]).tolist() == [0, -1, 1] * 3
    assert [s > 0 for s in unpack(data["paths"]["sealed"])] == [True, False, True] * 3


@pytest.mark.parametrize(
    "points", [np.zeros((1, 2)), np.array([[1.0, 2.0, 3.0]]), np.arange(8.0).reshape(2, 4)]
)
def test_small_sets(tmp_path: Path, points: np.ndarray) -> None:
    data = contents(an.explore(points, tmp_path / "p.html", grid=2, levels=4))
    assert unpack(data["points"]).shape == (len(points), 2)
    assert np.isfinite(path_of(data["paths"]["x"])[0]).all()


def test_the_page_is_offline_and_escaped(tmp_path: Path) -> None:
    name = '</script><img src=x onerror="alert(1)">&amp; $span'
    points = an.PointSet(np.eye(2), labels=["<b>", "</script>"], name=name)
    text = an.explore(points, tmp_path / "p.html", grid=3, levels=4, seed=11).read_text("utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text.split("<script", 1)[0])
    assert "http:" not in text
    assert "https:" not in text
    assert text.count("</script>") == 2
    assert "<img" not in text
    assert "&lt;/script&gt;&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;amp; $span" in text
    data = contents(tmp_path / "p.html")
    assert data["name"] == name
    assert data["labels"] == ["<b>", "</script>"]
    assert "seed 11" in text
    assert "N = 2 points" in text


def test_the_policy_admits_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    text = an.explore(np.eye(2), tmp_path / "p.html", grid=3, levels=4).read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    for kind, body in (("script", r"<script>(.*?)</script>"), ("style", r"<style>(.*?)</style>")):
        inside = re.search(body, text, re.S)
        assert inside is not None
        digest = base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy[1]


def test_same_arguments_same_bytes(tmp_path: Path) -> None:
    points = an.datasets.two_moons(20)
    one, two = (
        an.explore(points, tmp_path / f"{k}.html", grid=5, levels=6).read_bytes() for k in range(2)
    )
    assert one == two


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (np.arange(3.0)[:, None], {}, "points: got D = 1"),
        (np.eye(2), {"grid": 1}, "grid"),
        (np.eye(2), {"levels": 2}, "levels"),
        (np.eye(2), {"span": 0.0}, "span"),
        (np.eye(2), {"sigma_max": 1.0, "sigma_min": 2.0}, "sigma_max"),
        (np.eye(2), {"seed": -1}, "seed"),
        (np.eye(3), {"grid": 200, "levels": 400}, "grid: got 200 starts along a side"),
        (np.eye(2), {"path": "missing/p.html"}, "path: got"),
        (np.eye(2), {"path": "p.txt"}, "a file ending in .html"),
    ],
)
def test_bad_input(
    tmp_path: Path, points: np.ndarray, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / options.pop("path", "p.html")
    with pytest.raises(ValueError, match=message):
        an.explore(points, path, **options)
    assert not path.exists()


def test_too_many_points(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most 20000"):
        an.explore(np.random.default_rng(0).random((20_001, 2)), tmp_path / "p.html")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "moons.html"
    words = ["explore", "--n", "15", "--grid", "5", "--levels", "6", "--seed", "2"]
    assert cli.main([*words, "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    points = an.datasets.two_moons(15, seed=2)
    found = unpack(contents(out)["points"])
    np.testing.assert_array_equal(found, points.points - points.mean)
    assert "seed 2" in out.read_text("utf-8")
    assert cli.main(["explore", "--data", "nothing", "--out", str(out)]) == 2
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).standard_normal((300, 2)))
    words = ["explore", "--data", str(tmp_path / "mine.npy"), "--grid", "3", "--levels", "4"]
    assert cli.main([*words, "--out", str(out)]) == 0
    assert len(unpack(contents(out)["points"])) == 200
