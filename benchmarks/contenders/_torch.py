"""NumPy in, NumPy out, nothing copied, and as many threads as everyone has."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..harness import Answer, Array

if TYPE_CHECKING:
    import torch

__all__ = ["data_of", "tensor"]


def tensor(array: Array) -> torch.Tensor:
    """A tensor over the array's own memory."""
    import torch

    with warnings.catch_warnings():
        # the array is read-only, and nothing here writes to it
        warnings.filterwarnings("ignore", message=".*not writable")
        return torch.from_numpy(array)


class _Answer:
    def __init__(self, call: Callable[[Any], Any]) -> None:
        self.call = call

    @property
    def note(self) -> str:
        return getattr(self.call, "note", "")

    def __call__(self, x: Array) -> Array:
        import torch

        with torch.inference_mode():
            return self.call(tensor(x)).numpy()


def data_of(call: Callable[[Any], Any]) -> Answer:
    """A function of tensors as one of arrays."""
    import torch

    from analytic.kernels.threads import get_num_threads

    torch.set_num_threads(get_num_threads())
    return _Answer(call)
