"""Attributes computed on first use, without a lock.

Before Python 3.12 `functools.cached_property` holds one lock for all objects of a class while it
computes: threads that ask different objects wait for each other, and a process forked
meanwhile waits for ever. Here two threads may compute the same value twice instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__all__ = ["cached_property"]

if TYPE_CHECKING or sys.version_info >= (3, 12):
    from functools import cached_property
else:

    class cached_property:
        """A method that becomes an attribute of the object when first asked for."""

        def __init__(self, method: Callable[[Any], Any]) -> None:
            self.method, self.__doc__ = method, method.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self.name = name

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            # what another thread has found meanwhile is what all go on with
            return instance.__dict__.setdefault(self.name, self.method(instance))
