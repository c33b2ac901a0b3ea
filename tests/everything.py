"""Every kernel on one small problem, as arrays by name: what must not depend on where it runs.

`python everything.py FILE` writes them to a .npz file. With thousands of points and of
queries threads share the work.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import analytic as an

METHODS = ("dense", "tree", "blas", "auto")


def everything(count: int = 12, queries: int = 3, levels: int = 4, **options: Any) -> dict:
    """Results of every method in few and many dimensions, with weights and without."""
    found: dict[str, np.ndarray] = {}
    for dim in (2, 3, 20, 80):
        rng = np.random.default_rng(dim)
        rows = rng.standard_normal((count, dim))
        rows[:, 3:] *= 0.3
        weights = rng.uniform(0.5, 1.0, count) if dim != 3 else None
        x = rows[rng.integers(count, size=queries)] + 0.4 * rng.standard_normal((queries, dim))
        points = an.PointSet(rows, weights, labels=np.arange(count) % 2)
        for method in METHODS:
            D = an.OptimalDenoiser(points, method=method, **options)
            for name, value in _of(D, x).items():
                found[f"{method} {dim} {name}"] = np.asarray(value)
        start = an.noise(queries, like=D, sigma=20.0, seed=1)
        grid = an.grids.polynomial(levels, sigma_max=20.0, sigma_min=0.01)
        exact = an.integrate(D, start, 20.0, 0.0, rtol=1e-6, save_at=grid[1:3])
        found[f"{dim} integrate"], found[f"{dim} integrate nfe"] = exact.states, exact.nfe
        found[f"{dim} collapse"] = exact.collapse.index
        found[f"{dim} sample"] = an.sample(D, start, grid, solver="heun").states
        found[f"{dim} mean_shift"] = an.mean_shift(D, x, 0.7, max_steps=4).points
    return found


def _of(D: an.OptimalDenoiser, x: np.ndarray) -> dict[str, Any]:
    """What one denoiser answers, at the limit and at levels where few and all points count."""
    sigma = np.resize([0.05, 0.4, 30.0], len(x))
    post = D.posterior(x, sigma)
    top = post.top(2)
    return {
        "limit": D(x, 0.0),
        "mean": D(x, sigma),
        "single": D(x.astype(np.float32), sigma),
        "log_prob": D.log_prob(x, sigma),
        "score": D.score(x, sigma),
        "jacobian": D.jacobian(x, sigma),
        "jvp": D.jvp(x, sigma, np.ones_like(x)),
        "sigma_derivative": D.sigma_derivative(x, sigma),
        "trace": post.trace_cov,
        "entropy": post.entropy,
        "top": top.index,
        "class_prob": D.class_prob(x, sigma),
        "certificate": an.certificate(D, x, 0.05).gap,
    }


if __name__ == "__main__":
    np.savez(sys.argv[1], **everything())
