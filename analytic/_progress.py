"""Progress bars: shown on a terminal when asked for, silent otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from . import _check

__all__ = ["Advance", "bar"]

Advance = Callable[[int], object]


@contextmanager
def bar(total: int, title: str, wanted: bool | Advance) -> Iterator[Advance]:
    """A function that moves the bar forward by n; without a terminal it does nothing.

    A function in place of a yes takes the moves itself.
    """
    if callable(wanted):
        yield wanted
        return
    if not (_check.flag(wanted, "progress") and sys.stderr.isatty()):
        yield lambda n: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=title, leave=False) as shown:
        yield shown.update
