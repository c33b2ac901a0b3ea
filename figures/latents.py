"""Between two latents: three ways to interpolate, and what the exact flow makes of them.

Latents x_λ from a to b at σ = 80. Left: their size in that of noise, |x_λ|/(σ√D); linear
interpolation is too short in the middle, by √½ for independent latents of high dimension (theory
H1). Then: where the exact flow takes them, as coordinates of the end in data units (the two
leading components where data have more than two): constant in pieces, since ends are data points;
dotted, a learned denoiser on the spherical path, which moves on between them. For images, below:
the decoded ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import analytic as an
from analytic import gallery, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WAYS = ("linear", "variance_preserving", "spherical")
SHARES, SHOWN = 101, 11


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Decoded paths in each way."""
    # of few dimensions two latents may be almost opposite, and the spherical path very long
    a, b = lab.start(2, seed=4) if lab.data.dim > 3 else _apart(lab.start(16, seed=4))
    shares = SHOWN if lab.large else SHARES
    found: dict[str, Any] = {}
    for way in WAYS:
        path = an.decode(
            lab.denoiser,
            a,
            b,
            shares,
            how=way,
            rtol=1e-6,
            atol=1e-9 * lab.unit,
            sigma_max=lab.high,
            tol=1.0,
        )
        found[way] = {"norms": path.norms[:, 0], "ends": path.ends[:, 0]}
    path = an.decode(
        lab.model,
        a,
        b,
        shares,
        how="spherical",
        sigma_max=lab.high,
        sigma_min=lab.low,
        rtol=1e-4,
        atol=1e-6 * lab.unit,
        tol=1.0,
    )
    return found | {"shares": path.shares, "learned": {"ends": path.ends[:, 0]}}


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """Sizes and ends against λ; pictures if the data are some."""
    shape, flat = gallery.image_shape(lab.data), lab.data.dim == 2
    basis = np.eye(2) if flat else np.linalg.eigh(lab.data.covariance)[1][:, :-3:-1].T
    names = {way: way.replace("_", " ") for way in WAYS}
    learned = f"{lab.learned}, spherical"
    brown, green, red = (plotting.OTHERS[k] for k in (2, 0, 4))
    looks = dict(zip(names.values(), (brown, green, red), strict=True))
    ends = {name: found[way]["ends"] @ basis.T for way, name in names.items()}
    ends[learned] = found["learned"]["ends"] @ basis.T
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 2.5 if shape is None else 4.9)
        top, below = (figure, None) if shape is None else figure.subfigures(2, height_ratios=[5, 5])
        left, *others = top.subplots(1, 3)
        plotting.curves_by(
            found["shares"],
            {name: found[way]["norms"] for way, name in names.items()},
            ax=left,
            xlabel="share λ",
            ylabel=r"$|x_λ| / σ\sqrt{D}$",
            looks=looks,
            legend=False,
        )
        coordinates = ("$x_1$", "$x_2$") if flat else ("PC 1", "PC 2")
        for k, (axes, coordinate) in enumerate(zip(others, coordinates, strict=True)):
            plotting.curves_by(
                found["shares"],
                {name: each[:, k] for name, each in ends.items()},
                ax=axes,
                xlabel="share λ",
                ylabel=f"{coordinate} of the end (data units)",
                looks=looks | {learned: plotting.LEARNED},
                jumps=True,
                legend=False,
            )
        plotting.shared_legend(top, plotting.PAGE)
        if below is not None:
            _draw_pictures(below.subplots(), found, shape, names | {"learned": learned})
    return figure


def _apart(latents: Any) -> Any:
    """Two latents at nearly a right angle, as any two are in high dimensions."""
    unit = latents / np.linalg.norm(latents, axis=1, keepdims=True)
    along = np.abs(unit @ unit.T)
    return latents[list(np.unravel_index(along.argmin(), along.shape))]


def _draw_pictures(axes: Any, found: dict[str, Any], shape: Any, names: dict[str, str]) -> None:
    shares = found["shares"]
    at = np.linspace(0, len(shares) - 1, SHOWN).astype(int)
    shape = shape if shape[2] > 1 else shape[:2]
    rows = {name: found[way]["ends"][at].reshape(-1, *shape) for way, name in names.items()}
    plotting.image_rows(rows, shares[at], ax=axes, limits=dict.fromkeys(rows, (-1.0, 1.0)))
    axes.set_xlabel("share λ")


if __name__ == "__main__":
    gallery.main(__file__)
