"""Figures made by scripts: what they are computed from is kept, and their numbers lie beside them.

A figure is a script whose docstring is its title and caption. It defines

    NEEDS = "data" | "plane" | "images" | "nothing"     the sets it can be drawn for
    DATA = ("two_moons", "digits")                      those it is drawn for by default
    READS = ()                                          files it reads, from its own folder
    compute(lab: Lab) -> dict                           arrays, numbers and texts, nested at will;
                                                        or raises Unfit where there is no figure
    draw(found: dict, lab: Lab) -> Figure               from these alone
    if __name__ == "__main__":
        gallery.main(__file__)

and so runs alone, and beside others through `make` and `analytic figures`. Only `compute` takes
time. Levels of noise run over `Lab.high` to `Lab.low`, 80 to 0.002 for data of order one as
captions say, and times a power of ten for others. What `compute` returns is kept in a folder for
as long as it is asked for, under a key of everything that it depends on: the points,
the model, the script but for `draw`, what it reads, and the code of this package. A figure whose
files were made from the same is not drawn again. Every figure NAME-SET.pdf and .png has its
numbers beside it in NAME-SET.csv: they are read off what was drawn (`plotting.numbers`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .. import _check, _named, datasets, plotting
from .._outcome import write_atomic
from .._progress import Advance
from .._workers import run
from ..points import as_points
from ._kept import Kept
from ._lab import Lab, Unfit, image_shape
from ._page import page
from ._script import Script, scripts

__all__ = [
    "Lab",
    "Made",
    "Script",
    "Unfit",
    "asked",
    "image_shape",
    "main",
    "make",
    "options",
    "page",
    "scripts",
]

KEPT, STAMPS = ".kept", ".made"
"""Folders beside the figures: what was computed, and what their files were made from."""
FEW = 3
"""Figures up to which one process draws them all."""


@dataclass(frozen=True)
class Made:
    """What became of one figure for one set."""

    name: str
    data: str
    paths: tuple[Path, ...] = ()
    outcome: str = "drawn"
    """"drawn", "unchanged", or why there is none."""


def make(
    names: Sequence[str] = (),
    data: Sequence[str] = (),
    *,
    out: str | os.PathLike[str],
    model: str | None = None,
    formats: Sequence[str] = ("pdf", "png"),
    n: int | None = None,
    jobs: int = 1,
    folder: str | os.PathLike[str] | None = None,
) -> list[Made]:
    """Draw figures for data sets into a folder.

    Parameters
    ----------
    names : figures, by default all.
    data : sets or files (`datasets.resolve`), by default each figure's own.
    out : folder of the files, made if need be. What was computed is kept in its `.kept`.
    model : MODULE:OBJECT or a file of `learned.load`; by default random features.
    formats : of "pdf" and "png". The numbers are always written, as CSV.
    n : number of points of every set.
    jobs : processes.
    folder : of the scripts, by default those of this project.

    Raises
    ------
    ValueError
        for unknown figures, sets and formats, and for two sets of one name, before anything is
        computed or written.
    ImportError
        for a set that was named and needs what is not installed; sets that figures have by default
        are left out instead, and the outcome says what to install.
    """
    chosen = scripts(names, folder)
    for script in chosen:
        script.check()
    kinds = tuple(
        dict.fromkeys(
            _check.choice(e, "formats", ("pdf", "png")) for e in _check.words(formats, "formats")
        )
    )
    if not kinds:
        _check.fail("formats", "none", "pdf or png", "name one")
    processes = _check.integer(jobs, "jobs", low=1, high=1024)
    count = None if n is None else _check.integer(n, "n", low=1)
    place = _check.path(out, "out")
    told = None if model is None else _check.text(model, "model")
    wanted = _check.words(data, "data")
    try:
        order = _Order(place, told, kinds, count)
        pairs = [(script, name) for script in chosen for name in _sets(script, wanted)]
        sets = order.resolved(dict.fromkeys(name for _, name in pairs), named=bool(wanted))
        missing = [Made(s.name, name, (), sets[name]) for s, name in pairs if sets.get(name)]
        # figures of one set follow each other, so that a worker has its denoiser at hand
        places = list(sets)
        pairs = [pair for pair in pairs if sets.get(pair[1]) == ""]
        pairs.sort(key=lambda pair: places.index(pair[1]))
        order.out.mkdir(parents=True, exist_ok=True)
        due = [pair for pair in pairs if order.state(*pair) is None]
        items = [(script.path, name) for script, name in pairs]
        few = processes if len(due) > FEW else 1
        made = run(order.fill, items, few, units=len(items), title="drawing figures")
        Kept(order.out / KEPT).forget()
        return made + missing
    finally:
        # sets are large, and a file may change until the next time
        _lab_of.cache_clear()


@dataclass(frozen=True)
class _Order:
    """What `make` was asked for, but for the figures and sets."""

    out: Path
    model: str | None
    formats: tuple[str, ...]
    n: int | None

    def lab(self, name: str) -> Lab:
        """What a set's scripts work with; the same one again in the same process."""
        return _lab_of(name, self.n, self.model, self.out)

    def resolved(self, names: Iterable[str], named: bool) -> dict[str, str]:
        """Every set once, with "" or what it lacks; and the model tried on each of them."""
        found: dict[str, str] = {}
        for name in names:
            try:
                points = self.lab(name).data
            except ImportError as error:
                if named:
                    raise
                found[name] = str(error)
                continue
            same = [each for each in found if each and not found[each]]
            same = [each for each in same if name and self.lab(each).data.name == points.name]
            if not same:
                found[name] = ""
                if name and self.model is not None:
                    _named.model(self.model, points, make=False)
            elif self.lab(same[0]).key() != self.lab(name).key():
                _check.fail(
                    "data",
                    f"{same[0]!r} and {name!r}, both called {points.name}",
                    "sets of different names",
                    "rename one of the files, or draw them into different folders",
                )
        return found

    def stem(self, script: Script, name: str) -> Path:
        """Path of a figure's files without their endings."""
        return self.out / (f"{script.name}-{self.lab(name).data.name}" if name else script.name)

    def state(self, script: Script, name: str) -> Made | None:
        """What there is of a figure already, or why it cannot be; None if it is to be drawn."""
        lab, stem = self.lab(name), self.stem(script, name)
        reason = script.unfit(lab.data) if name else None
        if reason is not None:
            return Made(script.name, name, (), reason)
        files = _files(stem, self.formats)
        known = _stamp(stem)
        if known.get("key") == _stamp_key(script, lab) and all(
            _digest(path) == known.get(path.suffix) for path in files
        ):
            return Made(script.name, name, files, "unchanged")
        return None

    def fill(self, item: tuple[Path, str], advance: Advance) -> Made:
        """Draw one figure for one set, unless it is there."""
        script, name = Script(item[0]), item[1]
        made = self.state(script, name)
        if made is None:
            try:
                made = self._draw(script, name)
            except Unfit as reason:
                made = Made(script.name, name, (), str(reason))
        advance(1)
        return made

    def _draw(self, script: Script, name: str) -> Made:
        lab, stem = self.lab(name), self.stem(script, name)
        found = _computed(script, lab)
        figure = script.module.draw(found, lab)
        plotting.save(figure, stem, self.formats)
        write_atomic(stem.with_name(f"{stem.name}.csv"), plotting.to_csv(plotting.numbers(figure)))
        files = _files(stem, self.formats)
        # last of all, so that an interrupted figure is drawn again
        stamp = {path.suffix: _digest(path) for path in files}
        stamp["key"] = _stamp_key(script, lab)
        (self.out / STAMPS).mkdir(exist_ok=True)
        write_atomic(self.out / STAMPS / f"{stem.name}.json", json.dumps(stamp).encode())
        return Made(script.name, name, files)


def main(script: str, argv: Sequence[str] | None = None) -> list[Path]:
    """Draw one script's figures from the command line; the paths written."""
    one = Script(Path(script).resolve())
    parser = argparse.ArgumentParser(
        description=one.caption, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options(parser)
    parser.set_defaults(out=one.path.parent / "out")
    given = parser.parse_args(argv)
    try:
        made = asked(given, names=[one.name], folder=one.path.parent)
    except KeyboardInterrupt:
        sys.exit("interrupted; finished files are whole, and the next run continues")
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        sys.exit(f"{one.path.name}: error: {error}")
    return [path for each in made for path in each.paths]


def options(parser: argparse.ArgumentParser) -> None:
    """What every way to draw figures takes from the command line."""
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help=f"a data set ({', '.join(datasets.names())}) or a file; repeat it or separate by "
        "commas (default: each figure's own)",
    )
    parser.add_argument("--n", type=int, help="number of points of every set")
    parser.add_argument(
        "--model",
        metavar="MODULE:OBJECT|FILE",
        help="the learned denoiser beside the optimal one (default: random features)",
    )
    parser.add_argument("--format", default="pdf,png", help="pdf, png or both (default: both)")
    parser.add_argument("--out", type=Path, default=Path("analytic-figures"), help="folder")


def asked(given: argparse.Namespace, **more: Any) -> list[Made]:
    """`make` as the command line asks, and a line for every figure."""
    made = make(
        data=[each.strip() for name in given.data for each in name.split(",") if each.strip()],
        out=given.out,
        model=given.model,
        formats=[each.strip() for each in given.format.split(",")],
        n=given.n,
        **more,
    )
    for each in made:
        for path in each.paths:
            print(path, "" if each.outcome == "drawn" else f"({each.outcome})")
        if not each.paths:
            print(f"{each.name}: {each.outcome}", file=sys.stderr)
    return made


def _sets(script: Script, data: Sequence[str]) -> tuple[str, ...]:
    """Names of the sets that a script is drawn for; "" for a figure without any."""
    if script.needs == "nothing":
        return ("",)
    return tuple(dict.fromkeys(data)) or script.sets


@cache
def _lab_of(name: str, n: int | None, model: str | None, out: Path) -> Lab:
    # bars of several processes would run into each other
    alone = multiprocessing.parent_process() is None
    if not name:
        return Lab(as_points(np.zeros((1, 1))), Kept(out / KEPT), model, alone)
    points = datasets.resolve(name, n=n, seed=0, progress=alone)
    return Lab(points, Kept(out / KEPT), model, alone)


def _computed(script: Script, lab: Lab) -> dict[str, Any]:
    key = lab.key(script.name, script.computed_by)
    return lab.kept.once(key, lambda: script.module.compute(lab))


def _stamp_key(script: Script, lab: Lab) -> str:
    """Of everything that a figure's files depend on."""
    text = hashlib.sha256(script.path.read_bytes()).hexdigest() + script.read
    return lab.key(script.name, text, drawn=True)


def _stamp(stem: Path) -> dict[str, str]:
    try:
        return dict(json.loads((stem.parent / STAMPS / f"{stem.name}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _files(stem: Path, formats: Sequence[str]) -> tuple[Path, ...]:
    return tuple(stem.with_name(f"{stem.name}.{each}") for each in (*formats, "csv"))


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
