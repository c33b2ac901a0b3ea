"""Bounds of strategies: plain values, checked when a strategy is made, or strategies of values.

A strategy in the place of a value is drawn from for every example, and what it gives is
checked then, with the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hypothesis import strategies as st

from ... import _check

__all__ = ["Bound", "Range", "names", "pick"]

T = TypeVar("T")
U = TypeVar("U", int, float)
Check = Callable[[Any, str], T]


@dataclass(frozen=True)
class Bound(Generic[T]):
    """One argument: a value that passed its check, or a strategy whose values will have to."""

    value: Any
    argument: str
    check: Check[T]

    def __post_init__(self) -> None:
        if not self.open:
            object.__setattr__(self, "value", self.check(self.value, self.argument))

    @property
    def open(self) -> bool:
        """Whether the value is known only when drawn."""
        return isinstance(self.value, st.SearchStrategy)

    def draw(self, draw: st.DrawFn) -> T:
        """The value of this example."""
        found: T = self.check(draw(self.value), self.argument) if self.open else self.value
        return found


@dataclass(frozen=True)
class Range(Generic[U]):
    """Two bounds, the lower at most the upper, checked as early as both are known."""

    low: Bound[U]
    high: Bound[U]

    def __post_init__(self) -> None:
        if not (self.low.open or self.high.open):
            self._ordered(self.low.value, self.high.value)

    @classmethod
    def of(cls, low: Any, high: Any, arguments: tuple[str, str], check: Check[U]) -> Range[U]:
        """A range from two arguments that have one check."""
        return cls(Bound(low, arguments[0], check), Bound(high, arguments[1], check))

    def draw(self, draw: st.DrawFn) -> tuple[U, U]:
        """Both bounds of this example."""
        low, high = self.low.draw(draw), self.high.draw(draw)
        self._ordered(low, high)
        return low, high

    @property
    def ends(self) -> tuple[U | None, U | None]:
        """Both bounds, None for what is not known yet."""
        return tuple(None if each.open else each.value for each in (self.low, self.high))  # type: ignore[return-value]

    def _ordered(self, low: U, high: U) -> None:
        if low > high:
            _check.fail(
                self.low.argument,
                repr(low),
                f"at most {self.high.argument} = {high!r}",
                "swap the two or widen the range",
            )


def names(value: Any, argument: str, options: Iterable[str]) -> tuple[str, ...]:
    """One or more of the named options, in the given order; the first is what examples shrink to.

    A single name may stand for itself.
    """
    given = (value,) if isinstance(value, str) else value
    if not isinstance(given, (tuple, list)) or not given:
        _check.fail(
            argument, _check.show(value), "one name or more", "pass a tuple of names", TypeError
        )
    known = tuple(options)
    return tuple(_check.choice(each, argument, known) for each in given)


def pick(options: Iterable[str]) -> Callable[[Any, str], tuple[str, ...]]:
    """`names` of these options, as the check of a bound."""
    known = tuple(options)
    return lambda value, argument: names(value, argument, known)
