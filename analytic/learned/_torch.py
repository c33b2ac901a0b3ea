"""The one place from which PyTorch is imported, on first use."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["require"]


def require(what: str) -> Any:
    """The module torch, for a feature named in the error that is raised without it."""
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise ImportError(
            f"{what} needs PyTorch, which cannot be imported ({error}); install it with "
            'pip install "analytic-diffusion[torch]"'
        ) from error
