"""Classifier-free guidance: two denoisers, extrapolated.

From a conditional and an unconditional denoiser (Ho & Salimans 2022,
https://arxiv.org/abs/2207.12598),

    D_w = D_u + w (D_c - D_u) = (1 - w) D_u + w D_c,

so that w = 0 is unconditional, w = 1 conditional, and w > 1 goes beyond; where guidance is
written (1 + ω) D_c - ω D_u, w = 1 + ω. With scores s = (D - x)/σ² all is linear: D_w - x =
σ² s_w, and s_w is the gradient of

    log p_w = (1 - w) log p_u + w log p_c,

a density up to a factor, where it has an integral. For optimal denoisers, p_c = p_u(·|y),
that is p_u p(y|·; σ)^w.

What is not true: that the flow of D_w carries p_w at one level to p_w at another. Noised
data have ∂s/∂σ = σ ∇(div s + |s|²), the heat equation; s_w misses it by

    ∂s_w/∂σ - σ ∇(div s_w + |s_w|²) = σ w(1 - w) ∇|s_c - s_u|²,

which is zero for w = 0 and 1, and where s_c - s_u is the same everywhere (Gaussians of one
covariance: there D_w is the denoiser of a third). So D_w is in general the denoiser of no
data at all (Bradley & Nakkiran 2024, https://arxiv.org/abs/2408.09000). Its outputs lie in
the hull of those of both for w in [0, 1], and may leave it for any other w.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ._base import Denoiser, Floats, Query, Reals, apply, dimension_of, width_of

__all__ = ["GuidedDenoiser"]

Method = Callable[..., Reals]


@dataclass(frozen=True, eq=False)
class GuidedDenoiser:
    """Classifier-free guidance, D_w = D_u + w (D_c - D_u).

    Parameters
    ----------
    conditional, unconditional : D_c and D_u, any two denoisers, of one dimension.
    weight : w, any finite number: 1 is conditional, 0 unconditional (where weights are
        written 1 + ω: w = 1 + ω).
    interval : (low, high), 0 ≤ low < high: guide for low < σ ≤ high only; elsewhere D_w is D_c
        (Kynkäänniemi et al. 2024, https://arxiv.org/abs/2404.07724). D_w jumps at both ends,
        which costs `integrate` many short steps there.

    Raises
    ------
    ValueError, TypeError
        if one is not callable, their dimensions differ, or a number is out of range.

    It is called as both are: x (B, D) or (D,), σ a scalar or (B,), kept in shape and float
    dtype. `log_prob`, `score`, `jacobian`, `jvp`, `sigma_derivative` and `trace_cov` are there
    where both denoisers have them, and combine as D does: an `AttributeError` names the one that
    lacks it. A denoiser whose weight is 0 is not called.
    """

    conditional: Denoiser
    unconditional: Denoiser
    weight: float
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("conditional", "unconditional"):
            if not callable(getattr(self, name)):
                _check.fail(
                    name,
                    _check.show(getattr(self, name)),
                    "a callable",
                    "see OptimalDenoiser.given",
                    TypeError,
                )
        widths = [width_of(self.conditional), width_of(self.unconditional)]
        if None not in widths and widths[0] != widths[1]:
            _check.fail(
                "unconditional",
                f"D = {widths[1]}",
                f"conditional's D = {widths[0]}",
                "pass two denoisers of the same space",
            )
        object.__setattr__(self, "weight", _check.number(self.weight, "weight"))
        object.__setattr__(self, "interval", _interval(self.interval))

    @property
    def dim(self) -> int:
        """Dimension D, where one of the denoisers tells its own."""
        found = width_of(self.conditional) or width_of(self.unconditional)
        if found is None:
            raise AttributeError("neither denoiser has a dim")
        return found

    def __call__(self, x: Any, sigma: Any) -> Reals:
        """D_w(x; σ), shaped like x; σ = 0 where both denoisers have a limit there."""
        query = Query.of(x, sigma, dimension_of(self, x), zero=True)
        return query.answer(self._blend(query, apply))

    @property
    def log_prob(self) -> Method:
        """(x, σ) → (1 - w) log p_u + w log p_c in nats, (B,): no normalised density, and not
        what the flow of D_w carries along.
        """
        return self._method("log_prob")

    @property
    def score(self) -> Method:
        """(x, σ) → (D_w - x)/σ², shaped like x, without cancellation where the parts have none."""
        return self._method("score")

    @property
    def jacobian(self) -> Method:
        """(x, σ) → ∂D_w/∂x: (B, D, D); symmetric where both are, but not always positive."""
        return self._method("jacobian")

    @property
    def jvp(self) -> Method:
        """(x, σ, v) → (∂D_w/∂x) v, shaped like x."""
        return self._method("jvp")

    @property
    def sigma_derivative(self) -> Method:
        """(x, σ) → ∂D_w/∂σ at fixed x, shaped like x, between the ends of an interval."""
        return self._method("sigma_derivative")

    @property
    def trace_cov(self) -> Method:
        """(x, σ) → σ² div D_w: (B,), which may be negative."""
        return self._method("trace_cov")

    def _method(self, name: str) -> Method:
        for denoiser in (self.conditional, self.unconditional):
            if _capability(denoiser, name) is None:
                raise AttributeError(
                    f"no {name} for guidance with a {type(denoiser).__name__}, which has none"
                )

        def combined(x: Any, sigma: Any, v: Any = None) -> Reals:
            query = Query.of(x, sigma, dimension_of(self, x))
            directions = [query.direction(v)] if name == "jvp" or v is not None else []

            def part(denoiser: Any, rows: Floats, levels: Floats, *more: Floats) -> Floats:
                method = _capability(denoiser, name)
                assert method is not None
                return np.asarray(method(rows, levels, *more), dtype=np.float64)

            return query.answer(self._blend(query, part, *directions))

        return combined

    def _blend(self, query: Query, part: Callable[..., Floats], *more: Floats) -> Floats:
        """(1 - w) of the unconditional part and w of the conditional, each for its own rows."""
        weights = self._weights(query.sigma)
        result: Any = None
        for denoiser, shares in ((self.unconditional, 1 - weights), (self.conditional, weights)):
            rows = np.flatnonzero(shares)
            if not rows.size and len(shares):
                continue
            found = part(denoiser, query.x[rows], query.sigma[rows], *(v[rows] for v in more))
            if result is None:
                result = np.zeros((len(shares), *found.shape[1:]))
            result[rows] += shares[rows].reshape(-1, *[1] * (found.ndim - 1)) * found
        return np.asarray(result)

    def _weights(self, sigma: Floats) -> Floats:
        """(B,) w at each level."""
        if self.interval is None:
            return np.full(len(sigma), self.weight)
        low, high = self.interval
        return np.where((low < sigma) & (sigma <= high), self.weight, 1.0)


def _interval(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        low, high = value
    except (TypeError, ValueError):
        _check.fail("interval", _check.show(value), "(low, high)", "two noise levels", TypeError)
    least = _check.number(low, "interval", low=0.0, high=_check.SIGMA_LIMIT)
    most = _check.number(high, "interval", low=0.0, high=_check.SIGMA_LIMIT)
    if not most > least:
        _check.fail("interval", f"({least}, {most})", "low < high", "swap the two")
    return least, most


def _capability(denoiser: Any, name: str) -> Callable[..., NDArray[Any]] | None:
    """A denoiser's method; its posterior's tr C where it has no `trace_cov` of its own."""
    found = getattr(denoiser, name, None)
    if callable(found):
        return found
    if name == "trace_cov" and callable(posterior := getattr(denoiser, "posterior", None)):
        return lambda x, sigma: posterior(x, sigma).trace_cov
    return None
