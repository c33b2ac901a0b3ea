"""Scripts of figures, known without running them."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import _check
from .._lazy import cached_property
from ..points import PointSet
from ._lab import image_shape

__all__ = ["NEEDS", "Script", "scripts"]

NEEDS = ("data", "plane", "images", "nothing")


@dataclass(frozen=True)
class Script:
    """A figure's script."""

    path: Path

    @property
    def name(self) -> str:
        """Its file's name without the ending."""
        return self.path.stem

    @cached_property
    def module(self) -> ModuleType:
        """The script, imported anew."""
        spec = importlib.util.spec_from_file_location(f"analytic_figure_{self.name}", self.path)
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return found

    @cached_property
    def source(self) -> ast.Module:
        """Its syntax, known without running it."""
        try:
            return ast.parse(self.path.read_text(encoding="utf-8"))
        except SyntaxError as error:
            _check.fail(self.path.name, f"{error.msg} in line {error.lineno}", "Python", "mend it")

    @property
    def caption(self) -> str:
        """Its docstring: the title in the first line."""
        return ast.get_docstring(self.source) or self.name

    @property
    def title(self) -> str:
        """First line of the caption."""
        return self.caption.splitlines()[0]

    @property
    def needs(self) -> str:
        """What it can be drawn for."""
        return str(self._constant("NEEDS", "data"))

    @property
    def sets(self) -> tuple[str, ...]:
        """Data sets that it is drawn for by default."""
        found = self._constant("DATA", ("two_moons", "digits"))
        # a text would be a set for every letter
        return (found,) if isinstance(found, str) else tuple(found)

    @property
    def computed_by(self) -> str:
        """The script without its caption and without what draws."""
        parts = [
            ast.dump(node)
            for node in self.source.body
            if not (isinstance(node, ast.FunctionDef) and node.name.lstrip("_").startswith("draw"))
            and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        ]
        return hashlib.sha256("\n".join([*parts, self.read]).encode()).hexdigest()

    @property
    def read(self) -> str:
        """A digest of the files that it reads, those of `READS` that there are."""
        found = hashlib.sha256()
        for name in self._constant("READS", ()):
            path = self.path.parent / name
            found.update(path.read_bytes() if path.is_file() else b"none")
        return found.hexdigest()

    def check(self) -> None:
        """Refuse a script that is no figure, before anything is computed.

        Raises
        ------
        ValueError, TypeError
            naming what is missing or not among the choices.
        """
        _check.choice(self.needs, f"NEEDS of {self.path.name}", NEEDS)
        for name in self.sets:
            _check.text(name, f"DATA of {self.path.name}")
        defined = {node.name for node in self.source.body if isinstance(node, ast.FunctionDef)}
        for name in ("compute", "draw"):
            if name not in defined:
                _check.fail(self.path.name, f"no function {name}", "one", "see analytic.gallery")

    def unfit(self, data: PointSet) -> str | None:
        """Why it cannot be drawn for a set, or None."""
        if self.needs == "plane" and data.dim != 2:
            return f"it shows the plane, and {data.name} has D = {data.dim}"
        if self.needs == "images" and image_shape(data) is None:
            return f"it shows square images in [-1, 1], and {data.name} (D = {data.dim}) has none"
        return None

    def _constant(self, name: str, default: Any) -> Any:
        for node in self.source.body:
            if isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == name for target in node.targets
            ):
                try:
                    return ast.literal_eval(node.value)
                except ValueError:
                    _check.fail(
                        f"{name} of {self.path.name}",
                        "an expression",
                        "constants",
                        "write them out",
                    )
        return default


def scripts(
    names: Sequence[str] = (), folder: str | os.PathLike[str] | None = None
) -> list[Script]:
    """The figures there are, or those named, by the order of their names.

    Raises
    ------
    ValueError
        for a name that none has.
    """
    place = _folder() if folder is None else _check.path(folder, "folder")
    found = {
        path.stem: Script(path) for path in sorted(place.glob("*.py")) if path.stem[0] not in "_."
    }
    if not found:
        _check.fail("folder", repr(str(place)), "a folder with scripts", "see analytic.gallery")
    chosen = [_check.choice(name, "names", found) for name in _check.words(names, "names")] or list(
        found
    )
    return [found[name] for name in dict.fromkeys(chosen)]


def _folder() -> Path:
    """The scripts: in the installed package, or beside it in a checkout."""
    inside = Path(__file__).parents[1] / "_figures"
    return inside if inside.exists() else Path(__file__).parents[2] / "figures"
