"""Hypothesis profiles, a count of the examples they ran, and kernels compiled beforehand."""

from __future__ import annotations

import functools
import os
from collections.abc import Generator
from typing import Any

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
settings.register_profile(
    "thorough",
    max_examples=400,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
_DEFAULT = "ci" if os.environ.get("CI", "").lower() in ("1", "true") else "dev"
_PROFILE = os.environ.get("HYPOTHESIS_PROFILE", _DEFAULT)
settings.load_profile(_PROFILE)

EXAMPLES = "hypothesis examples"
"""Name under which a test's report tells how many examples it ran to their end."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Count calls of the innermost test that return: examples, in which nothing failed."""
    handle = getattr(getattr(item, "obj", None), "hypothesis", None)
    if handle is None:
        return (yield)
    inner, ran = handle.inner_test, 0

    @functools.wraps(inner)
    def counted(*args: Any, **options: Any) -> Any:
        nonlocal ran
        found = inner(*args, **options)
        ran += 1
        return found

    handle.inner_test = counted
    try:
        return (yield)
    finally:
        handle.inner_test = inner
        item.user_properties.append((EXAMPLES, ran))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many examples the property tests ran, from the reports of all workers."""
    ran = [
        count
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, count in report.user_properties
        if name == EXAMPLES
    ]
    if ran:
        terminalreporter.write_line(
            f"{sum(ran):,} Hypothesis examples in {len(ran)} property tests (profile {_PROFILE!r})"
        )


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
