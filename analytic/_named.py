"""Things that a command line names: MODULE:OBJECT, and models that are one or a file."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from . import _check, learned
from .denoisers import Denoiser, apply
from .points import PointSet

__all__ = ["checked", "digest", "model", "thing"]


def thing(name: str, argument: str, kind: str) -> Any:
    """What `MODULE:OBJECT` names, a callable; modules of the current folder are found too."""
    module, _, inner = name.partition(":")
    with _here():
        try:
            found = importlib.import_module(module)
        except ImportError as error:
            _check.fail(
                argument,
                f"{name!r} ({error})",
                f"module:{kind} of a module that can be imported",
                "check its name, and that it is on the path",
            )
    options = [each for each in vars(found) if callable(getattr(found, each)) and each[0] != "_"]
    return getattr(found, _check.choice(inner, f"a callable of {module}", options))


def model(
    spec: str, data: PointSet, argument: str = "--model", *, make: bool = True
) -> Denoiser | None:
    """The denoiser that MODULE:OBJECT or a file of `learned.load` is, checked on the data.

    The object may be whatever `learned.as_denoiser` takes, or a function without arguments, or of
    the data set, that returns it. If not to be made, a function of the data set, which may train
    for long, is not called, and the answer None.
    """
    if _is_file(spec, argument):
        return checked(learned.load(spec), data, argument)
    found = thing(spec, argument, "object")
    given = _arguments(found)
    if given == 1 and not make:
        return None
    if given == 0:
        found = found()
    elif given == 1:
        found = found(data)
    return checked(found, data, argument)


def digest(spec: str, argument: str = "--model") -> str:
    """Of the file that a model is, or of that of its module, not of what this imports in turn."""
    if _is_file(spec, argument):
        return hashlib.sha256(Path(spec).read_bytes()).hexdigest()
    with _here():
        found = importlib.util.find_spec(spec.partition(":")[0])
    origin = None if found is None else found.origin
    code = Path(origin).read_bytes() if origin is not None and Path(origin).exists() else b""
    return hashlib.sha256(spec.encode() + code).hexdigest()


def checked(model: Denoiser, points: PointSet, argument: str = "model") -> Denoiser:
    """The model as a denoiser, if it takes and returns states of the data's dimension.

    Raises
    ------
    TypeError, ValueError
        naming the argument, if it is no callable, or fails on two forward samples.
    """
    if not callable(model):
        _check.fail(
            argument, _check.show(model), "a denoiser", "pass a callable (x, sigma)", TypeError
        )
    model = learned.as_denoiser(model, dim=points.dim, argument=argument)
    own = getattr(model, "dim", None)
    if isinstance(own, (int, np.integer)) and own != points.dim:
        _check.fail(
            argument, f"D = {own}", f"D = {points.dim} of {points.name}", "pass its own data"
        )
    x = points.points[[0, -1]] + (points.scale or 1.0)
    try:
        output = apply(model, x, np.full(2, points.scale or 1.0))
    except Exception as error:
        # whatever a foreign model raises, its user wants to know at which input
        raise ValueError(
            f"{argument}: got {type(error).__name__} ({error}) for x of shape {x.shape} and sigma "
            f"of shape (2,), expected a denoised array of that shape; its data must have the "
            f"dimension of {points.name}, {points.dim}."
        ) from error
    if not np.isfinite(output).all():
        _check.fail(argument, "NaN or infinity near the data", "finite outputs", "train it first")
    return model


def _is_file(spec: str, argument: str) -> bool:
    if Path(spec).exists():
        return True
    if ":" not in spec:
        _check.fail(argument, repr(spec), "MODULE:OBJECT or a file that exists", "check it")
    return False


@contextmanager
def _here() -> Iterator[None]:
    """The current folder on the path, as `python -m` has it."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")


def _arguments(found: Any) -> int:
    """Positional arguments that a callable must be given; 2 for what does not tell."""
    try:
        given = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return 2
    if any(each.kind is each.VAR_POSITIONAL for each in given):
        return 2
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in kinds and each.default is each.empty for each in given)
