"""An interactive page: drag a start, slide σ, and see exact paths, density, basins, certificate.

`explore` writes one HTML file that needs neither a server nor a network. A start is
x_T = μ + σ_max (z_1 e_1 + z_2 e_2) (`analytic.explore._paths`), and everything the page shows of
its path is exact:

* Of up to 5,000 points in the plane the page follows the flow itself, wherever the start is
  dragged: dy/dw = D(y/w; 1/w) with w = 1/σ, y = x/σ and the closed-form denoiser, by the
  Runge-Kutta pair of Dormand and Prince (1980, https://doi.org/10.1016/0771-050X(80)90013-3),
  to a relative error of 1e-9 per step. It compares itself with paths of
  `analytic.integrate` on a grid of starts, which the file holds, and says how far they are apart.
* Of all other sets the start moves in steps, from one start of the grid to the next, and the page
  shows the path of `analytic.integrate` from there.

The map of starts is coloured by where the flow takes each of a grid of them. Density is log p_σ on
the plane, in closed form: |x - x_i|² = |q - q_i|² + h_i² for points q of the plane, q_i the
projection of x_i and h_i its distance from the plane.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .. import _check
from .._outcome import write_atomic
from ..claims import noise_range
from ..points import PointSet, as_points
from ._page import LIVE_POINTS, page
from ._paths import find

__all__ = ["explore"]

MOST_POINTS = 20_000
GRIDS = {True: (121, 8), False: (31, 1)}
"""Starts along a side and the stride of whole paths, where the page follows the flow or not."""


def explore(
    points: PointSet | Any,
    path: str | os.PathLike[str],
    *,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
    levels: int = 65,
    grid: int | None = None,
    span: float = 3.0,
    seed: int | None = None,
    progress: bool = False,
) -> Path:
    """Write an interactive page about a data set, and return its path.

    Parameters
    ----------
    points : `PointSet` or (N, D) array with D ≥ 2 and at most 20,000 points; a few hundred
        are best seen.
    path : the file, ending in .html; its folder must exist. It is overwritten.
    sigma_max, sigma_min : levels of the start and of the last positive position of the slider, in
        data units; by default 80 and 0.002, times a power of ten for data that are not of order
        one.
    levels : positions of the slider, from σ_max to σ_min in equal steps of log σ, and 0.
    grid : starts along each side of the grid. Default: 121 of at most 5,000 points in the
        plane, with the whole path of every eighth; else 31, with all paths.
    span : largest |z_1| and |z_2| of a start.
    seed : that the points were drawn with, to be stated on the page; nothing is random here.
    progress : show a progress bar on a terminal.

    The same arguments give the same bytes.

    Raises
    ------
    ValueError, TypeError
        for bad input, before any work; for data whose flow breaks off.
    """
    data = as_points(points)
    if data.dim < 2:
        _check.fail(
            "points",
            f"D = {data.dim}",
            "data in the plane, or in more dimensions",
            "give data on a line a second column of zeros",
        )
    if len(data) > MOST_POINTS:
        _check.fail(
            "points", f"{len(data)} points", f"at most {MOST_POINTS}", "take some: PointSet.subset"
        )
    high, low = noise_range(data, sigma_max, sigma_min)
    many = _check.integer(levels, "levels", low=3, high=400)
    live = data.dim == 2 and len(data) <= LIVE_POINTS
    side, stride = GRIDS[live]
    if grid is not None:
        side = _check.integer(grid, "grid", low=2, high=200)
        # five whole paths along a side at least
        wide = range(min(8, (side - 1) // 4), 1, -1) if live else ()
        stride = next((k for k in wide if (side - 1) % k == 0), 1)
    _small_enough(side, stride, many, live)
    reach = _check.number(span, "span", low=0.0, high=20.0, open_low=True)
    if seed is not None:
        seed = _check.seed(seed)
    target = _target(path)
    found = find(
        data, high, low, levels=many, grid=side, stride=stride, span=reach, progress=progress
    )
    write_atomic(target, page(found, live=live, seed=seed).encode())
    return target


def _small_enough(side: int, stride: int, levels: int, live: bool) -> None:
    """Refuse a page that no browser opens with ease: whole paths take most of it."""
    count = ((side - 1) // stride + 1) ** 2 * levels
    size = count * (8 if live else 28) * 4 / 3
    if size > 12e6:
        _check.fail(
            "grid",
            f"{side} starts along a side and {levels} levels, {size / 1e6:.0f} MB",
            "at most 12 MB of paths",
            "lower grid or levels",
        )


def _target(path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        _check.fail("path", _check.show(path), "a path", "pass a string or a Path", TypeError)
    target = Path(path)
    shown = repr(str(target))
    if target.suffix.lower() not in (".html", ".htm"):
        _check.fail("path", shown, "a file ending in .html", "browsers go by the ending")
    if not target.parent.is_dir():
        _check.fail("path", shown, "a file in a folder that exists", "make the folder first")
    if target.is_dir():
        _check.fail("path", f"{shown}, a folder", "a file", "name a file inside it")
    return target
