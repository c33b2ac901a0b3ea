"""The interactive page in a real headless Chromium: real mouse and keys, judged by the library.

Run by `make test-browser`; skipped where there is no Chromium.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import numpy as np
import pytest

import analytic as an

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium.PROGRAM is None, reason="needs Chromium on the path"),
]

MOONS = an.datasets.two_moons(60, seed=1)
WEIGHTED = an.PointSet(
    MOONS.points * 3 + 50, 1.0 + np.arange(60), MOONS.labels, name="<moons> & co"
)
DIGITS = an.datasets.digits(40, seed=1)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages about a set in the plane and one in 64 dimensions."""
    folder = tmp_path_factory.mktemp("pages")
    return {
        "plane": an.explore(WEIGHTED, folder / "plane.html", grid=41, levels=49),
        "digits": an.explore(DIGITS, folder / "digits.html", grid=13, levels=33),
    }


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    found = chromium.Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


def text(browser: chromium.Browser, name: str) -> str:
    return str(browser.run(f"document.getElementById('{name}').textContent"))


def number(words: str) -> float:
    return float(words.replace("−", "-").split()[0])


def state(browser: chromium.Browser) -> dict[str, Any]:
    browser.settle()
    return dict(browser.run("explorer.state()"))


def drag(browser: chromium.Browser, *stops: tuple[float, float]) -> None:
    """Drag over the map of starts along z, as a hand would."""
    browser.run("document.getElementById('pad').scrollIntoView({block: 'center'})")
    left, top, width, height = browser.run(
        "(() => { const r = document.getElementById('pad').getBoundingClientRect();"
        "return [r.left + 34, r.top + 8, r.width - 42, r.height - 50]; })()"
    )
    places = [(left + width * (0.5 + a / 6), top + height * (0.5 - b / 6)) for a, b in stops]
    browser.mouse("mousePressed", *places[0])
    for place in places[1:]:
        browser.mouse("mouseMoved", *place)
    browser.mouse("mouseReleased", *places[-1], buttons=0)
    # no button, no drag
    browser.mouse("mouseMoved", left, top, buttons=0)
    browser.settle()


def slide(browser: chromium.Browser, level: int) -> None:
    """Move the slider to a position with the keys."""
    browser.run("document.getElementById('level').focus()")
    now = state(browser)["level"]
    for _ in range(abs(level - now)):
        browser.key("ArrowRight" if level > now else "ArrowLeft")


def pixels(browser: chromium.Browser, canvas: str) -> str:
    return str(browser.run(f"document.getElementById('{canvas}').toDataURL()"))


def quiet(browser: chromium.Browser, path: Path) -> None:
    """Nothing complained, and nothing but the file itself was asked for."""
    bad = [
        each
        for each in browser.events
        if each.get("method")
        in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    ]
    assert bad == []
    asked = [
        each["params"]["request"]["url"]
        for each in browser.events
        if each.get("method") == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]


def test_dragged_start_has_the_exact_path(
    browser: chromium.Browser, pages: dict[str, Path]
) -> None:
    browser.open(pages["plane"])
    drag(browser, (0.2, 0.2), (-0.7, 1.0), (-1.4, -0.6))
    slide(browser, 24)
    here = state(browser)
    np.testing.assert_allclose(here["z"], [-1.4, -0.6], atol=0.03)
    assert here["level"] == 24
    denoiser = an.OptimalDenoiser(WEIGHTED)
    sigmas = np.array(browser.run("explorer.data.sigmas"))
    sigma = sigmas[24]
    start = WEIGHTED.mean + sigmas[0] * np.array(here["z"])
    exact = an.integrate(denoiser, start, sigmas[0], save_at=sigmas)
    path = np.reshape(here["x"], (-1, 2)) + WEIGHTED.mean
    np.testing.assert_allclose(path, exact.states[:, 0], atol=2e-7)
    np.testing.assert_allclose(
        np.reshape(here["d"], (-1, 2)) + WEIGHTED.mean, exact.denoised[:, 0], atol=2e-6
    )
    assert exact.collapse is not None
    end = int(exact.collapse.index[0])
    assert here["end"] == end
    x, goal = exact.states[24, 0], WEIGHTED.points[end]
    post = denoiser.posterior(x, sigma)
    assert number(text(browser, "r-sigma")) == pytest.approx(sigma, rel=5e-3)
    for name, expected in (
        ("r-distance", np.linalg.norm(x - goal)),
        ("r-denoised", np.linalg.norm(denoiser(x, sigma) - goal)),
        ("r-logp", post.log_prob),
        ("r-effective", post.effective_points),
    ):
        assert number(text(browser, name)) == pytest.approx(float(expected), rel=1e-3), name
    near = int(np.linalg.norm(WEIGHTED.points - x, axis=1).argmin())
    assert text(browser, "r-nearest").startswith(f"no. {near}, class {WEIGHTED.labels[near]}, (")
    assert text(browser, "r-end").startswith(f"no. {end}, class")
    fires = [
        bool(an.certificate(denoiser, exact.states[k, 0], s, np.array([end])).certified[0])
        for k, s in enumerate(sigmas[:-1])
    ]
    first = sigmas[fires.index(True)]
    assert here["sealed"] == pytest.approx(first)
    assert text(browser, "r-certificate").startswith(f"from σ = {first:.3g} on")
    assert text(browser, "r-certificate").endswith("not yet here" if first < sigma else "✓")
    quiet(browser, pages["plane"])


def test_own_paths_are_those_of_integrate_everywhere(
    browser: chromium.Browser, pages: dict[str, Path]
) -> None:
    browser.open(pages["plane"])
    found = browser.run("explorer.compare(explorer.data.inner.length ** 2)")
    assert found["count"] == 36
    assert found["disagree"] == 0
    assert found["worst"] <= found["rounding"] + 1e-7


def test_slider_keys_and_pictures(browser: chromium.Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["plane"])
    views = []
    for level in (30, 36):
        slide(browser, level)
        views.append((pixels(browser, "view"), pixels(browser, "curves"), pixels(browser, "pad")))
    assert views[0][0] != views[1][0]
    assert views[0][1] != views[1][1]
    assert views[0][2] == views[1][2]
    browser.run("document.getElementById('shade').click()")
    browser.settle()
    assert pixels(browser, "view") != views[1][0]
    browser.run("document.getElementById('pad').focus()")
    browser.key("Home")
    assert state(browser)["z"] == [0, 0]
    browser.key("ArrowRight")
    browser.key("ArrowUp")
    browser.key("ArrowUp", modifiers=8)
    np.testing.assert_allclose(state(browser)["z"], [0.05, 0.055])
    assert browser.run("document.getElementById('z2').value") == "0.055"
    assert pixels(browser, "pad") != views[1][2]
    assert browser.run(
        "document.getElementById('level').getAttribute('aria-valuetext')"
    ).startswith("σ = ")
    slide(browser, 48)
    assert text(browser, "r-sigma").startswith("0")
    assert text(browser, "r-logp") == "—"
    assert text(browser, "r-distance") == "0"
    quiet(browser, pages["plane"])


def test_density_is_darkest_where_it_is_largest(
    browser: chromium.Browser, pages: dict[str, Path]
) -> None:
    """The shade under a place falls by one band for every nat below the maximum."""
    browser.open(pages["plane"])
    slide(browser, 20)
    sigma = state(browser)["sigma"]
    denoiser = an.OptimalDenoiser(WEIGHTED)
    width = browser.run("document.getElementById('view').clientWidth")
    side, flat = width - 54, WEIGHTED.points - WEIGHTED.mean
    low, high = flat.min(axis=0), flat.max(axis=0)
    middle, half = (low + high) / 2, 1.18 * (high - low).max() / 2 + 3 * sigma
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 401)] * 2), axis=-1).reshape(-1, 2)
    top = denoiser.log_prob(WEIGHTED.mean + middle + half * grid, sigma).max()
    seen, expected = [], []
    for a, b in np.random.default_rng(5).uniform(-0.9, 0.9, (40, 2)):
        down = top - float(
            denoiser.log_prob(WEIGHTED.mean + middle + half * np.array([a, b]), sigma)
        )
        if abs(down - round(down)) < 0.12:
            continue  # too near to an edge of a band for one pixel
        pixel = browser.run(
            f"Array.from(document.getElementById('view').getContext('2d').getImageData("
            f"{46 + (1 + a) / 2 * side}, {8 + (1 - b) / 2 * side}, 1, 1).data)"
        )
        share = 0.06 + 0.36 * (7 - int(down)) / 7 if down < 8 else 0.0
        seen.append(pixel[:3])
        expected.append([round(255 + (c - 255) * share) for c in (2, 158, 115)])
    assert len(seen) > 20
    alike = (np.abs(np.array(seen) - expected) <= 1).all(axis=1)
    # some places lie under a path, a point or a mark
    assert alike.mean() > 0.8


def test_digits_show_the_nearest_integrated_path(
    browser: chromium.Browser, pages: dict[str, Path]
) -> None:
    browser.open(pages["digits"])
    drag(browser, (-2.0, 0.3), (0.6, -1.6))
    slide(browser, 14)
    here = state(browser)
    assert here["z"] == [0.5, -1.5]
    _, vectors = np.linalg.eigh(DIGITS.covariance)
    axes = vectors[:, ::-1][:, :2].T
    axes *= np.sign(axes[[0, 1], np.abs(axes).argmax(axis=1)])[:, None]
    sigmas = np.array(browser.run("explorer.data.sigmas"))
    denoiser = an.OptimalDenoiser(DIGITS)
    exact = an.integrate(
        denoiser, DIGITS.mean + sigmas[0] * np.array([0.5, -1.5]) @ axes, sigmas[0], save_at=sigmas
    )
    flat = (exact.states[:, 0] - DIGITS.mean) @ axes.T
    step = np.array(browser.run("explorer.data.paths.x.half"))[:, None] / 65535
    assert (np.abs(np.reshape(here["x"], (-1, 2)) - flat) <= 1.001 * step + 1e-9).all()
    x, sigma = exact.states[14, 0], sigmas[14]
    assert number(text(browser, "r-distance")) == pytest.approx(
        float(np.linalg.norm(x - exact.final[0])), rel=1e-3
    )
    post = denoiser.posterior(x, sigma)
    assert number(text(browser, "r-logp")) == pytest.approx(float(post.log_prob), rel=1e-3)
    assert number(text(browser, "r-effective")) == pytest.approx(
        float(post.effective_points), rel=1e-3
    )
    browser.run("document.getElementById('pad').focus()")
    browser.key("ArrowLeft")
    assert state(browser)["z"] == [0.0, -1.5]
    quiet(browser, pages["digits"])


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_window(
    browser: chromium.Browser, pages: dict[str, Path], width: int
) -> None:
    browser.open(pages["digits"], width, 800)
    assert browser.run("document.documentElement.scrollWidth") <= width
    for name in ("view", "pad", "curves"):
        size = browser.run(f"document.getElementById('{name}').clientWidth")
        assert 0.3 * width <= size <= width or width > 400
    assert text(browser, "view-title").startswith("Paths and density at σ = ")


def test_the_policy_holds(browser: chromium.Browser, pages: dict[str, Path]) -> None:
    """The page cannot fetch, even if told to: this is what the policy is for."""
    browser.open(pages["plane"])
    assert (
        browser.run("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    )
    told = [
        e["params"]["entry"]["text"] for e in browser.events if e.get("method") == "Log.entryAdded"
    ]
    assert any("Content Security Policy" in each for each in told)
