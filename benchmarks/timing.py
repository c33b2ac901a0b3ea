"""Time of a denoiser call and of the exact flow, beside a plain NumPy denoiser in the same run.

Least of several interleaved repetitions, compilation excluded, agreement checked first.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np

import analytic as an


def plain(points: an.PointSet) -> Callable[[np.ndarray, float], np.ndarray]:
    """The obvious NumPy denoiser: all differences at once, one softmax."""

    def denoise(x: np.ndarray, sigma: float) -> np.ndarray:
        result = np.empty_like(x)
        step = max(1, 2_000_000 // points.points.size)
        for k in range(0, len(x), step):
            gaps = x[k : k + step, None] - points.points
            logits = -(gaps**2).sum(axis=2) / (2 * sigma**2)
            weights = np.exp(logits - logits.max(axis=1, keepdims=True))
            result[k : k + step] = weights @ points.points / weights.sum(axis=1, keepdims=True)
        return result

    return denoise


def least(contenders: dict[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Least seconds of each contender, run in turn."""
    best = dict.fromkeys(contenders, np.inf)
    for _ in range(repeats):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    for points in (an.datasets.two_moons(2000), an.datasets.digits()):
        D, numpy = an.OptimalDenoiser(points), plain(points)
        for sigma in (0.05, 1.0, 20.0):
            x = an.noise(256, D, sigma, 0) + points.points[:256]
            np.testing.assert_allclose(D(x, sigma), numpy(x, sigma), atol=1e-9)
            contenders = {"kernel": partial(D, x, sigma), "numpy": partial(numpy, x, sigma)}
            ours, theirs = least(contenders).values()
            print(
                f"{points.name:10} sigma {sigma:5}: "
                f"{1e9 * ours / (len(x) * len(points)):6.1f} ns per pair, "
                f"{theirs / ours:5.1f} x NumPy"
            )
        x = an.noise(64, D, 80.0, 1)
        flow = partial(an.integrate, D, x, estimate_error=False)
        seconds = least({"flow": flow}, 2)["flow"]
        print(f"{points.name:10} flow, 64 starts: {seconds:.2f} s, {flow().nfe.mean():.0f} nfe")


if __name__ == "__main__":
    main()
