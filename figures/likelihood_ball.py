"""The likelihood ball: no point nearer to D than x is has a smaller density (theory A3).

One exact trajectory at four noise levels, in units of the data. At a state x (blue) the ball
|y − D| ≤ |x − D| (dashed) lies inside the region where p_σ(y) ≥ p_σ(x) (green), so every step
towards D (thick, to half of σ) climbs at that σ, and so does one towards a learned output r in
the ball. For data in the plane the picture is the plane itself; else it is the slice through x,
D and r, which cuts the ball in a disc of the same radius.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analytic import gallery, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = (2.5, 0.8, 0.3, 0.12)
"""In data scales, √λ of the leading component."""
WIDE, CELLS = 1.8, 101
"""Half-width of a panel in |x − D|, and grid points across it."""


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """The state, both outputs and the rise of log p_σ around them, in the panel's coordinates."""
    path, scale = lab.exact(), float(np.sqrt(lab.data.spectrum[0]))
    cells = CELLS if lab.data.dim == 2 else CELLS // 2 + 1
    found: dict[str, Any] = {}
    for k, level in enumerate(LEVELS):
        at = int(np.abs(path.sigmas - level * scale).argmin())
        sigma, x, D = float(path.sigmas[at]), path.states[at, START], path.denoised[at, START]
        r = np.asarray(lab.model(x[None], sigma))[0]
        origin, basis = _plane(x, D, r)
        middle, half = basis @ (D - origin), WIDE * float(np.linalg.norm(x - D))
        line = np.linspace(-half, half, cells)
        places = middle + np.stack(np.meshgrid(line, line), axis=-1)
        y = origin + places.reshape(-1, 2) @ basis
        rise = lab.denoiser.log_prob(y, sigma) - lab.denoiser.log_prob(x[None], sigma)
        found[f"{k}"] = {
            "sigma": sigma,
            "rise": rise.reshape(cells, cells),
            "extent": np.stack([middle - half, middle + half], axis=1).ravel(),
        } | {name: basis @ (each - origin) for name, each in (("x", x), ("D", D), ("r", r))}
    return found


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """A panel for each level."""
    flat = lab.data.dim == 2
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 2.75)
        for axes, each in zip(figure.subplots(1, len(found)), found.values(), strict=True):
            plotting.likelihood_ball(
                each["x"],
                each["D"],
                each["rise"],
                each["extent"],
                ax=axes,
                step=0.5 * (each["x"] + each["D"]),
                learned=each["r"],
                name=f"r, {lab.learned}",
                points=lab.data.points if flat else None,
                legend=False,
            )
            axes.set_title(f"σ = {plotting.level_text(each['sigma'])}")
        plotting.shared_legend(figure, plotting.PAGE)
        for axes in figure.axes:
            axes.set_xlabel("$x_1$ (data units)" if flat else "along x − D (data units)")
        figure.axes[0].set_ylabel("$x_2$ (data units)" if flat else "across (data units)")
    return figure


START = 1
"""Which of the trajectories."""


def _plane(x: Any, D: Any, r: Any) -> tuple[Any, Any]:
    """Origin (D,) and rows (2, D) that span the panel: the plane of the data, or x, D and r's."""
    if x.size == 2:
        return np.zeros(2), np.eye(2)
    along = (x - D) / np.linalg.norm(x - D)
    away = (r - D) - ((r - D) @ along) * along
    return D, np.stack([along, away / np.linalg.norm(away)])


if __name__ == "__main__":
    gallery.main(__file__)
