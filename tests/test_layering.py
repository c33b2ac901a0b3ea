"""The house plan: a room imports only from rooms above it, and heavy guests come late."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import analytic

ROOT = Path(analytic.__file__).parent
ROOMS = (
    "_check",
    "_lazy",
    "_progress",
    "_outcome",
    "_dop853",
    "kernels",
    "_workers",
    "points",
    "scale",
    "noise",
    "targets",
    "latents",
    "grids",
    "_files",
    "datasets",
    "posterior",
    "trajectory",
    "geometry",
    "methods",
    "denoisers",
    "span",
    "meanshift",
    "field",
    "exact",
    "collapse",
    "quantities",
    "stepwise",
    "flow",
    "basins",
    "solvers",
    "differences",
    "sampling",
    "distill",
    "decode",
    "audit",
    "peers",
    "learned",
    "compare",
    "_named",
    "_html",
    "report",
    "claims",
    "plotting",
    "gallery",
    "explore",
    "testing",
    "_info",
    "_warmup",
    "cli",
    "__main__",
)
BELOW_THE_PACKAGE = ("cli", "__main__")
"""These may ask the package itself, for its version say: it does not import them."""
ONLY_IN = {
    "numba": "kernels",
    "hypothesis": "testing",
    "dask": "scale",
    "distributed": "scale",
    "zarr": "scale",
    "seaborn": "plotting",
    "matplotlib": "plotting",
}
NEVER_AT_THE_TOP = ("torch", "dask", "distributed", "zarr", "diffusers")
NOT_LOADED = (
    "numba",
    "matplotlib",
    "seaborn",
    "scipy",
    "hypothesis",
    "torch",
    "sklearn",
    "diffusers",
    "dask",
    "distributed",
    "zarr",
)
FILES = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    """Top-level room of a module file: 'claims' for claims/_base.py, '' for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Absolute dotted names that a file imports when run, and whether at its top level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(function)
    }
    package = ("analytic", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(tree):
        top = id(node) not in inner
        if isinstance(node, ast.Import):
            yield from ((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *((node.module or "").split(".") if node.module else ())))
            yield from (
                (f"{stem}.{alias.name}" if stem else alias.name, top) for alias in node.names
            )


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_module_has_a_room(path: Path) -> None:
    assert room(path) == "" or room(path) in ROOMS, (
        f"{name(path)} is in no known room: add {room(path)!r} to ROOMS of this test, in its place"
    )


@pytest.mark.parametrize("path", FILES, ids=name)
def test_rooms_import_only_from_rooms_above(path: Path) -> None:
    here = room(path)
    if here == "":
        return
    for target, _ in imports(path):
        parts = target.split(".")
        if parts[0] != "analytic":
            continue
        there = parts[1] if len(parts) > 1 else ""
        if there == here or (there not in ROOMS and here in BELOW_THE_PACKAGE):
            continue
        assert there in ROOMS, f"{name(path)} imports {target}, which is in no known room"
        assert ROOMS.index(there) < ROOMS.index(here), f"{name(path)} imports {target} from below"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_guests_stay_in_their_room(path: Path) -> None:
    for target, top in imports(path):
        guest = target.split(".")[0]
        if guest in ONLY_IN:
            assert room(path) == ONLY_IN[guest], f"{name(path)} imports {guest}"
        assert not (guest in NEVER_AT_THE_TOP and top), f"{name(path)} imports {guest} at its top"


def test_no_star_imports() -> None:
    for path in FILES:
        assert not any(target.endswith(".*") for target, _ in imports(path)), name(path)


def test_importing_the_package_stays_light() -> None:
    code = f"import sys, analytic; print([m for m in {NOT_LOADED!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_public_names_exist() -> None:
    assert sorted(analytic.__all__) == analytic.__all__
    for public in analytic.__all__:
        assert getattr(analytic, public) is not None


def test_import_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of imports itself, on every form."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    folder = tmp_path / "claims"
    folder.mkdir()
    path = folder / "one.py"
    path.write_text(
        "import numba as nb\nfrom . import _base\nfrom .. import points\nfrom ..exact import f\n"
        "if TYPE_CHECKING:\n    from .. import cli\n"
        "def g():\n    from ._base import h\n    import torch.nn\n"
    )
    assert set(imports(path)) == {
        ("numba", True),
        ("analytic.claims._base", True),
        ("analytic.points", True),
        ("analytic.exact.f", True),
        ("analytic.claims._base.h", False),
        ("torch.nn", False),
    }
    assert room(path) == "claims"
