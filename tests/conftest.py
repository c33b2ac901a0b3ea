"""Hypothesis profiles, and kernels compiled before the first example."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("dev", max_examples=25, deadline=None)
settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
_DEFAULT = "ci" if os.environ.get("CI", "").lower() in ("1", "true") else "dev"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _DEFAULT))


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels() -> None:
    """Every kernel, once, so that no example pays for compilation."""
    import analytic as an

    denoiser = an.OptimalDenoiser(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]))
    x = np.array([[0.3, 0.1], [0.9, 1.0]])
    denoiser(x, 0.5)
    denoiser.log_prob(x, 0.5)
    denoiser.score(x, 0.5)
    denoiser.jacobian(x, 0.5)
    denoiser.jvp(x, 0.5, x)
    denoiser.sigma_derivative(x, 0.5)
    denoiser.posterior(x, 0.5).top(1)
    an.certificate(denoiser, x, 0.1)
