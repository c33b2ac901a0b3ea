"""The command line.

    analytic verify [--data NAME|FILE ...] [--claims A1,C*] [--quick] [--seed N] [--out DIR]
                    [--model MODULE:OBJECT|FILE]
    analytic explain CLAIM
    analytic figures [NAMES] [--data NAME|FILE ...] [--model MODULE:OBJECT|FILE] [--out DIR]
    analytic explore [--data NAME|FILE] [--n N] [--out FILE.html]
    analytic audit SOLVER|MODULE:FUNCTION [--data NAME|FILE] [--order K] [--nfe K] [--json FILE]
    analytic warmup [--dims 1,2,3]
    analytic info [--json]

`verify` checks the claims on data sets and writes `report.json`, a
self-contained `report.html`, and PDF and PNG figures. Exit codes: 0 every
theorem holds, 1 one fails, 2 bad input, 130 interrupted. With `--model` claims about learned
and about any denoisers are checked on it, and the report compares it with the optimum.
`explore` writes an interactive page about a data set, one file that opens offline.
`audit` measures a sampler against the exact flow: 0 no promise is broken, 1 one is.
`warmup` compiles every kernel beforehand; `info` tells what the library runs on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from . import (
    __version__,
    _check,
    _info,
    _named,
    _warmup,
    datasets,
    gallery,
    peers,
    plotting,
    solvers,
)
from ._progress import Advance
from ._workers import run
from .audit import audit
from .claims import Subject, explain, registry, select, units, verify
from .denoisers import OptimalDenoiser
from .explore import explore
from .grids import noise_range
from .kernels import threads
from .points import PointSet
from .report import Report, Verdict

__all__ = ["main"]

DEFAULT_DATA = "digits,two_moons,eight_gaussians"
FEW_FIGURES = 5
EXPLORED = 200
"""Points of an interactive page unless told otherwise."""
UNFINISHED = ".unfinished"
"""Folder in the report's in which the verdicts of an interrupted run wait for the next one."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(argv)
    try:
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # whoever reads a pipe has seen enough, as `head` has; the interpreter is to flush nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print(
            "\nanalytic: interrupted; finished files are whole, and verify continues where it was",
            file=sys.stderr,
        )
        return 130
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        print(f"analytic: error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="analytic", description="Exact, closed-form diffusion on finite datasets."
    )
    parser.add_argument("--version", action="version", version=f"analytic {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    check = verbs.add_parser(
        "verify",
        help="check the theory's claims on data sets",
        description="Check the theory's claims on data sets and write a report with figures.",
    )
    check.add_argument(
        "--data",
        action="append",
        metavar="NAME|FILE",
        help=f"a data set ({', '.join(datasets.names())}) or a file or folder of yours (.npy, "
        ".npz, IDX, CIFAR's binary version, images in a folder or an EDM-style .zip); "
        f"repeat it or separate by commas (default: {DEFAULT_DATA})",
    )
    check.add_argument("--n", type=int, help="number of points of every data set")
    check.add_argument(
        "--claims",
        default="all",
        help=f"ids or patterns like C*, separated by commas ({', '.join(registry)}), or all",
    )
    check.add_argument(
        "--jobs",
        type=int,
        default=threads.get_num_threads(),
        help="processes (default: the cores, %(default)s); the report does not depend on it",
    )
    check.add_argument("--quick", action="store_true", help="fewer cases")
    check.add_argument("--seed", type=int, default=0, help="same seed, same report (default: 0)")
    check.add_argument(
        "--model",
        metavar="MODULE:OBJECT|FILE",
        help="a learned denoiser (x, sigma) to check and compare with the optimum; or a function "
        "without arguments, or of the data set, that returns one; or a file that "
        "analytic.learned.load reads",
    )
    check.add_argument("--sigma-max", type=float, help="largest noise level (default: 80 units)")
    check.add_argument("--sigma-min", type=float, help="smallest noise level (default: 0.002)")
    check.add_argument(
        "--out",
        type=Path,
        default=Path("analytic-report"),
        help="output folder (default: %(default)s)",
    )
    check.set_defaults(run=_verify)

    words = verbs.add_parser("explain", help="print a claim: statement, domain, proof idea, source")
    words.add_argument("claim", help=f"one of {', '.join(registry)}")
    words.set_defaults(run=_explain)

    draw = verbs.add_parser(
        "figures",
        help="draw figures, with their numbers beside them",
        description="Draw figures, with their numbers beside them. What has not changed is kept.",
    )
    draw.add_argument("names", nargs="*", help="figures (default: all, see --list)")
    draw.add_argument("--list", action="store_true", help="say what there is, and draw nothing")
    gallery.options(draw)
    draw.add_argument(
        "--gallery",
        action="store_true",
        help="also write README.md and thumbnails of the figures beside their scripts",
    )
    draw.add_argument(
        "--jobs",
        type=int,
        default=threads.get_num_threads(),
        help="processes (default: the cores, %(default)s)",
    )
    draw.set_defaults(run=_figures)

    look = verbs.add_parser(
        "explore",
        help="write an interactive page: drag a start, slide the noise level",
        description="Write an interactive page about a data set: drag a start, slide the noise "
        "level, see exact paths, density, basins and certificate. One file that opens offline.",
    )
    look.add_argument("--data", default="two_moons", help="a data set or a file, as for verify")
    look.add_argument("--n", type=int, help=f"number of points (default: {EXPLORED} at most)")
    look.add_argument("--seed", type=int, default=0, help="that points are drawn with (default: 0)")
    look.add_argument("--sigma-max", type=float, help="level of the start (default: 80 units)")
    look.add_argument("--sigma-min", type=float, help="last level but 0 (default: 0.002)")
    look.add_argument(
        "--levels", type=int, default=65, help="positions of the slider (default: %(default)s)"
    )
    look.add_argument("--grid", type=int, help="starts along each side of the map of basins")
    look.add_argument(
        "--out",
        type=Path,
        default=Path("explore.html"),
        help="the file to write (default: %(default)s)",
    )
    look.set_defaults(run=_explore)

    test = verbs.add_parser(
        "audit",
        help="measure a sampler against the exact flow",
        description="Measure a sampler against the exact flow: order, evaluations, levels, end.",
    )
    test.add_argument(
        "sampler",
        metavar="SOLVER|MODULE:FUNCTION",
        help=f"one of {', '.join(solvers.names())}; or a callable (denoiser, x, sigmas), or a "
        "scheduler class of diffusers, such as diffusers:HeunDiscreteScheduler",
    )
    test.add_argument("--data", help="a data set or a file, as for verify (default: moons, digits)")
    test.add_argument("--n", type=int, help="number of points (default: 100)", default=100)
    test.add_argument("--order", type=int, help="the order it promises, at least")
    test.add_argument("--nfe", type=int, help="the evaluations per step it promises")
    test.add_argument(
        "--parametrization", default="x0", help="what its model returns: x0, eps, v or flow"
    )
    test.add_argument("--starts", type=int, default=16, help="number of starts (default: 16)")
    test.add_argument("--seed", type=int, default=0, help="same seed, same audit (default: 0)")
    test.add_argument("--json", type=Path, help="also write everything to this file")
    test.set_defaults(run=_audit)

    warm = verbs.add_parser(
        "warmup",
        help="compile every kernel beforehand, and say where they are kept",
        description="Compile every kernel for data of some dimensions, so that nothing waits "
        "for it later; a minute for all.",
    )
    warm.add_argument(
        "--dims",
        default=",".join(map(str, _warmup.DIMS)),
        help="dimensions, separated by commas (default: %(default)s; the last serves all above it)",
    )
    warm.set_defaults(run=_warm)

    tell = verbs.add_parser(
        "info",
        help="print versions, processor, threads and cache",
        description="Print what the library runs on: what a report of a problem should say.",
    )
    tell.add_argument("--json", action="store_true", help="as JSON")
    tell.set_defaults(run=_tell)
    return parser


def _warm(options: argparse.Namespace) -> int:
    words = [word.strip() for word in options.dims.split(",") if word.strip()]
    if bad := [word for word in words if not (word.isascii() and word.isdigit())]:
        _check.fail("--dims", _check.show(bad[0]), "whole numbers", "write them as 2,3,64")
    print(_warmup.warmup([int(word) for word in words], progress=True).explain())
    return 0


def _tell(options: argparse.Namespace) -> int:
    found = {"analytic": __version__, **_info.info()}
    print(json.dumps(found, indent=2) if options.json else _info.text(found))
    return 0


def _explain(options: argparse.Namespace) -> int:
    print(explain(options.claim))
    return 0


def _figures(options: argparse.Namespace) -> int:
    if options.list:
        for script in gallery.scripts(options.names):
            print(f"{script.name:24} {script.title}\n{'':24} {script.path}")
        return 0
    _writable(options.out)
    if options.gallery and (options.names or "png" not in options.format):
        _check.fail("--gallery", "some figures or no png", "all, as png", "leave NAMES out")
    made = gallery.asked(options, names=options.names, jobs=options.jobs)
    if options.gallery:
        first = {each.name: each.paths for each in reversed(made) if each.paths}
        found = [each for each in gallery.scripts() if each.name in first]
        pictures = [
            (each, next(path for path in first[each.name] if path.suffix == ".png"))
            for each in found
        ]
        print(gallery.page(pictures, found[0].path.parent)[0])
    return 0


def _explore(options: argparse.Namespace) -> int:
    seed = _check.seed(options.seed, "--seed")
    _writable(options.out.parent)
    data = datasets.resolve(options.data, n=options.n, seed=seed, progress=True)
    if options.n is None and len(data) > EXPLORED:
        # toys of their own size, of a file as many of its points
        data = datasets.resolve(options.data, n=EXPLORED, seed=seed, progress=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    written = explore(
        data,
        options.out,
        sigma_max=options.sigma_max,
        sigma_min=options.sigma_min,
        levels=options.levels,
        grid=options.grid,
        seed=seed,
        progress=True,
    )
    size = written.stat().st_size / 1e6
    print(f"{data.name}, {len(data)} points: {written} ({size:.1f} MB); open it in a browser")
    return 0


def _audit(options: argparse.Namespace) -> int:
    sampler = _sampler(options.sampler)
    if options.json is not None:
        _writable(options.json.parent, "--json")
    seed = _check.seed(options.seed, "--seed")
    points = None
    if options.data is not None:
        points = datasets.resolve(options.data, n=options.n, seed=seed, progress=True)
    found = audit(
        sampler,
        points,
        order=options.order,
        nfe=options.nfe,
        parametrization=options.parametrization,
        starts=options.starts,
        seed=seed,
        progress=True,
    )
    print(found.explain())
    if options.json is not None:
        found.to_json(options.json)
    return 0 if found.holds else 1


def _sampler(name: str) -> Any:
    """A solver's name as it is, or what a module holds."""
    module, colon, inner = name.partition(":")
    if not colon:
        return solvers.get(name)
    if module == "diffusers":
        return peers.scheduler(inner)
    return _named.thing(name, "sampler", "function")


def _verify(options: argparse.Namespace) -> int:
    # everything that can be wrong with the input is found before the first long step
    chosen = select(options.claims)
    seed = _check.seed(options.seed, "--seed")
    jobs = _check.integer(options.jobs, "--jobs", low=1, high=1024)
    given = ",".join(options.data or [DEFAULT_DATA]).split(",")
    names = list(dict.fromkeys(name.strip() for name in given if name.strip()))
    if not names:
        _check.fail("--data", "no name", "a data set or a file", "leave it out for the default")
    _writable(options.out)
    sets = [datasets.resolve(name, n=options.n, seed=seed, progress=True) for name in names]
    sets = _distinct(sets)
    for data in sets:
        noise_range(data, options.sigma_max, options.sigma_min)
        if options.model is not None:
            _named.model(options.model, data, make=False)
    ids = [claim.id for claim in chosen]
    check = partial(_run, options=options, seed=seed, claims=ids)
    moves = units(chosen, options.model) * len(sets)
    reports = run(check, sets, jobs, units=moves, title="checking claims")
    report = reports[0]
    for other in reports[1:]:
        report = report + other
    _write(report, options.out, jobs)
    shutil.rmtree(options.out / UNFINISHED, ignore_errors=True)
    print(report.table())
    for found in report.comparisons.values():
        print(f"\n{found.model} on {found.data}", found.table(), *found.remarks(), sep="\n")
    counts = ", ".join(f"{k} {status}" for status, k in report.counts().items() if k)
    print(f"\n{counts}\nreport: {options.out / 'report.html'}")
    return 0 if report.holds else 1


def _run(
    data: PointSet, advance: Advance, *, options: argparse.Namespace, seed: int, claims: list[str]
) -> Report:
    subject = Subject.of(OptimalDenoiser(data), data)
    if options.model is not None:
        # by its name: a model itself need not survive the way to another process
        model = _named.model(options.model, data)
        subject = replace(subject, model=model, model_name=options.model)
    return verify(
        subject,
        data,
        claims,
        seed,
        quick=options.quick,
        sigma_max=options.sigma_max,
        sigma_min=options.sigma_min,
        progress=advance,
        resume=options.out / UNFINISHED,
    )


def _writable(folder: Path, argument: str = "--out") -> None:
    """Make sure that files can be written in the folder, or that it can be made; make nothing."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        _check.fail(
            argument, f"{str(folder)!r} ({error.strerror})", "a writable folder", "name another one"
        )


def _distinct(sets: list[PointSet]) -> list[PointSet]:
    """The same sets, with names that tell them apart."""
    seen: dict[str, int] = {}
    result = []
    for data in sets:
        seen[data.name] = seen.get(data.name, 0) + 1
        name = data.name if seen[data.name] == 1 else f"{data.name} ({seen[data.name]})"
        result.append(data if name == data.name else data.renamed(name))
    return result


def _write(report: Report, folder: Path, jobs: int) -> None:
    ids = list(dict.fromkeys(verdict.claim for verdict in report.verdicts))
    groups = [[v for v in report.verdicts if v.claim == claim] for claim in ids]
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    draw = partial(_draw, folder=folder / "figures")
    # below a handful of figures a second process only costs its start
    processes = jobs if len(groups) >= FEW_FIGURES else 1
    drawn = run(draw, groups, processes, units=len(groups), title="drawing figures")
    pictures = {claim: png for claim, png in zip(ids, drawn, strict=True) if png is not None}
    for name, found in report.comparisons.items():
        figure = plotting.comparison_figure(found)
        stem = folder / "figures" / f"comparison-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}"
        _, png = plotting.save(figure, stem, truetype=False)
        pictures[f"comparison {name}"] = png.read_bytes()
    report.to_json(folder / "report.json")
    report.to_html(folder / "report.html", pictures)


def _draw(verdicts: list[Verdict], advance: Advance, *, folder: Path) -> bytes | None:
    """Save one claim's figure and return its PNG."""
    figure = plotting.claim_figure(verdicts)
    advance(1)
    if figure is None:
        return None
    _, png = plotting.save(figure, folder / verdicts[0].claim, truetype=False)
    return png.read_bytes()


if __name__ == "__main__":  # pragma: no cover
    sys.exit(main())
