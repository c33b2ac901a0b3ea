"""The page's text: template, style and script as they lie beside this file, and the data.

Arrays travel as base64 of little-endian numbers. Coordinates of paths are rounded to 16 bits:
at level σ_k to one of 65,536 values evenly spaced between -h_k and h_k, the largest coordinate
there, so they are off by half a step, h_k/65,535, at most. All else is float32 or exact.

A content security policy admits this style and this script by their hashes and nothing else: the
page cannot load or send anything. Every text is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib import resources
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..claims import versions
from ..plotting import BOUND, DATA, DENOISING, SAMPLING
from ..points import PointSet
from ._paths import Found

__all__ = ["LIVE_POINTS", "page"]

Floats = NDArray[np.float64]

LIVE_POINTS = 5_000
"""Points in the plane up to which a page follows the flow faster than the eye."""
TINTS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494",
         "#ece133", "#56b4e9")  # fmt: skip
"""Of classes, mixed with white: seaborn's colour-blind palette."""
STEPS = 65_535


def page(found: Found, *, live: bool, seed: int | None) -> str:
    """The whole page; `live` tells whether it follows the flow by itself."""
    data = found.data
    style = f"{_colours()}\n{_part('page.css')}"
    script = _part("page.js")
    policy = (
        "default-src 'none'; "
        f"script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    made = {"seed": "none stated" if seed is None else str(seed), **versions()}
    text = {
        "policy": policy,
        "style": style,
        "script": script,
        "name": escape(data.name),
        "set": escape(_described(data)),
        "plane": escape(_plane(found)),
        "method": escape(_method(found, live)),
        "versions": escape(", ".join(f"{name} {value}" for name, value in made.items())),
        "span": repr(float(found.layout.knots[-1])),
        "step": "any" if live else repr(float(np.diff(found.layout.inner)[0])),
        "last": str(len(found.layout.sigmas) - 1),
        "data": _embedded(_contents(found, live)),
    }
    return Template(_part("page.html")).substitute(text)


def _contents(found: Found, live: bool) -> dict[str, Any]:
    """What the script reads."""
    data, layout, paths = found.data, found.layout, found.paths
    flat = found.plane.project(data.points)
    gaps = data.points - data.mean
    height = np.maximum(np.einsum("ij,ij->i", gaps, gaps) - np.einsum("ij,ij->i", flat, flat), 0.0)
    plain = data.dim == 2
    result: dict[str, Any] = {
        "name": data.name,
        "live": live,
        "dim": data.dim,
        "origin": (data.mean if plain else np.zeros(2)).tolist(),
        "axes": _axes(found),
        "points": _packed(flat, "<f8"),
        "height": None if plain else _packed(height, "<f4"),
        "logs": _packed(data.log_weights, "<f8"),
        "classes": _packed(_classes(data), "<u1"),
        "labels": None if data.labels is None else [str(each) for each in data.labels],
        "tints": list(TINTS),
        "sigmas": layout.sigmas.tolist(),
        "knots": layout.knots.tolist(),
        "inner": layout.inner.tolist(),
        "ends": _packed(np.where(found.ends.certified, found.ends.point, -1), "<i4"),
        "paths": {
            "x": _rounded(paths.states),
            "d": _rounded(paths.denoised),
            "end": _packed(paths.ends.point, "<i4"),
            "sealed": _packed(paths.sealed, "<f8"),
        },
    }
    if not live:
        result["shown"] = {
            "distance": _packed(paths.distance, "<f4"),
            "denoised": _packed(paths.denoised_distance, "<f4"),
            "logp": _packed(paths.log_prob, "<f4"),
            "effective": _packed(paths.effective, "<f4"),
            "nearest": _packed(paths.nearest, "<u2" if len(data) < 2**16 else "<u4"),
        }
    return result


def _rounded(path: Floats) -> dict[str, Any]:
    """Coordinates (T, K, 2), level by level as multiples of its own step."""
    half = np.abs(path).max(axis=(1, 2))
    half[half == 0] = 1.0
    steps = np.rint((path / half[:, None, None] + 1) * (STEPS / 2))
    return {**_packed(steps, "<u2"), "half": half.tolist(), "steps": STEPS}


def _packed(values: Any, dtype: str) -> dict[str, Any]:
    raw = np.ascontiguousarray(values).astype(dtype)
    return {
        "dtype": dtype[1:],
        "shape": list(raw.shape),
        "base64": base64.b64encode(raw.tobytes()).decode("ascii"),
    }


def _classes(data: PointSet) -> NDArray[np.int64]:
    """(N,) the tint of each point: its class's if there are few, else 255."""
    if data.labels is None:
        return np.full(len(data), 255)
    names, index = np.unique(data.labels, return_inverse=True)
    return np.where(len(names) <= len(TINTS), index.reshape(-1), 255)


def _axes(found: Found) -> list[str]:
    if found.data.dim == 2:
        return ["x₁ (data units)", "x₂ (data units)"]
    return [
        f"PC {k + 1}, {share:.0%} of the variance (data units)"
        for k, share in enumerate(found.plane.share)
    ]


def _described(data: PointSet) -> str:
    weights = "equal weights" if np.ptp(data.weights) == 0 else "weights"
    return f"N = {len(data)} points with {weights} in D = {data.dim} dimensions"


def _plane(found: Found) -> str:
    if found.data.dim == 2:
        return "All lengths are in data units."
    return (
        f"Starts lie in the plane through the mean along the two leading principal directions, "
        f"which hold {found.plane.share.sum():.0%} of the variance. Paths run in all "
        f"{found.data.dim} dimensions and are projected onto that plane to be drawn; distances, "
        "densities and certificates in the readout are those in all dimensions, in data units. "
        "Shaded is the density on the plane itself."
    )


def _method(found: Found, live: bool) -> str:
    layout, count = found.layout, len(found.paths.sealed)
    if live:
        error = found.paths.error
        return (
            "The page follows the flow from the start you choose with the closed-form denoiser "
            "(Dormand-Prince, relative error 1e-9 per step), and compares itself with "
            f"{count} paths of analytic.integrate (estimated error at most {error:.1e} data units)."
        )
    return (
        f"Every path shown is one of {count} paths of analytic.integrate (relative error 1e-10 "
        f"per step): the start moves in steps of {np.diff(layout.inner)[0]:.2g} in z, to the "
        "nearest start that was integrated."
    )


def _embedded(contents: dict[str, Any]) -> str:
    """JSON that can stand inside a script element."""
    text = json.dumps(contents, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _colours() -> str:
    looks = {"sampling": SAMPLING, "denoising": DENOISING, "bound": BOUND, "data": DATA}
    return ":root {" + "".join(f" --{name}: {look.color};" for name, look in looks.items()) + " }"


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
