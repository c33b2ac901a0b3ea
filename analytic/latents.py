"""Paths between two latents a, b ~ N(0, s²I), from share λ = 0 at a to λ = 1 at b.

    linear               (1 − λ) a + λ b          has E|·|² = (λ² + (1 − λ)²) D s²
    variance_preserving  √(1 − λ) a + √λ b        is N(0, s²I) for every λ
    spherical            (sin((1 − λ)ψ) a + sin(λψ) b)/sin ψ,  ψ the angle between a and b

Only the second is a latent of the same kind. The first is too short, by √½ in the middle.
Of the third E|·|²/Ds² = 1 + (1 − m²/D)(A_λ − 1), where m = E|z| and A_λ is the mean of
(sin²(λψ) + sin²((1 − λ)ψ))/sin²ψ. In the middle A_½ = (D − 2)/(D − 3): it is infinite up to
D = 3, and tends to 1 as D grows (theory H1). Shoemake (1985), *Animating rotation with
quaternion curves*, https://doi.org/10.1145/325165.325242.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check

__all__ = ["PATHS", "linear", "rowwise", "spherical", "variance_preserving"]

Floats = NDArray[np.float64]


def linear(a: Any, b: Any, share: Any) -> Floats:
    """(1 − λ) a + λ b.

    Parameters
    ----------
    a, b : (B, D) or (D,) latents at one noise level.
    share : λ in [0, 1]: a number, or (K,) of them.

    Returns
    -------
    float64 latents shaped like a; (K, ...) for K shares. The other two functions take
    and return the same.
    """
    return _linear(*_arguments(a, b, share))


def variance_preserving(a: Any, b: Any, share: Any) -> Floats:
    """√(1 − λ) a + √λ b: independent latents give a latent of the same law."""
    return _variance_preserving(*_arguments(a, b, share))


def spherical(a: Any, b: Any, share: Any) -> Floats:
    """(sin((1 − λ)ψ) a + sin(λψ) b)/sin ψ, row by row.

    Raises
    ------
    ValueError
        where a row of a or b is zero, or the two are opposite: no great circle is singled out.
    """
    return _spherical(*_arguments(a, b, share))


def rowwise(how: str, a: Any, b: Any, share: Any) -> Floats:
    """One latent per row: rows of a and b (B, D) at shares (B,), along the path named `how`."""
    path = PATHS[_check.choice(how, "how", PATHS)]
    first, second, part = _arguments(a, b, share)
    if first.ndim != 2 or part.shape != (len(first), 1, 1):
        _check.fail("share", _check.show(share), "one per row of a (B, D)", "see linear")
    return path(first, second, part[:, :, 0])


def _linear(first: Floats, second: Floats, part: Floats) -> Floats:
    return (1 - part) * first + part * second


def _variance_preserving(first: Floats, second: Floats, part: Floats) -> Floats:
    return np.sqrt(1 - part) * first + np.sqrt(part) * second


def _spherical(first: Floats, second: Floats, part: Floats) -> Floats:
    lengths = [np.linalg.norm(each, axis=-1, keepdims=True) for each in (first, second)]
    for name, length in zip("ab", lengths, strict=True):
        if not length.all():
            _check.fail(name, "a zero latent", "a direction", "leave that row out")
    u, v = first / lengths[0], second / lengths[1]
    # accurate for any angle, unlike the arc cosine
    apart, along = (np.linalg.norm(each, axis=-1, keepdims=True) for each in (u - v, u + v))
    if not along.all():
        _check.fail("b", "the opposite of a", "another direction", "leave that row out")
    angle = 2 * np.arctan2(apart, along)
    sine = np.sin(angle)
    # for almost the same direction the limit, linear
    close = angle < 1e-8
    sine = np.where(close, 1.0, sine)
    weights = [np.where(close, p, np.sin(p * angle) / sine) for p in (1 - part, part)]
    return np.asarray(weights[0] * first + weights[1] * second)


PATHS = {
    "linear": _linear,
    "spherical": _spherical,
    "variance_preserving": _variance_preserving,
}
"""By name, for arrays that are checked already."""


def _arguments(a: Any, b: Any, share: Any) -> tuple[Floats, Floats, Floats]:
    """Both latents as float64, and shares that broadcast against them."""
    first, second = (
        _check.array(value, name).astype(np.float64) for value, name in ((a, "a"), (b, "b"))
    )
    if first.ndim not in (1, 2):
        _check.fail("a", f"shape {first.shape}", "(B, D) or (D,)", "give one row per latent")
    if second.shape != first.shape:
        _check.fail("b", f"shape {second.shape}", f"a's shape {first.shape}", "pair the latents")
    part = _check.array(share, "share").astype(np.float64)
    if part.ndim > 1 or (part < 0).any() or (part > 1).any():
        _check.fail("share", _check.show(share), "a number in [0, 1], or (K,) of them", "clip it")
    return first, second, part.reshape(part.shape + (1,) * first.ndim) if part.ndim else part
