"""Run the benchmarks: `python -m benchmarks.run --group short`.

Works are measured one after the other in a process of their own, so that the one
that the system kills for its memory takes nothing along. Results are written after
every work: what is done stays if the run is interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import signal
import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from . import environment, report, works
from .contenders import ALL
from .harness import compare

__all__ = ["main", "measure", "side"]

SIDES = {
    "short": ("startup",),
    "full": ("startup", "accuracy", "moments", "flow", "growth", "certificates", "memory"),
}
"""Modules with a `measure()` that returns rows of a table."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(argv)
    entries = works.select(options.group, options.only)
    sides = [name for name in SIDES[options.group] if fnmatchcase(name, options.only)]
    if not entries and not sides:
        print(f"nothing is called {options.only!r}; names are", *works.WORKS, sep="\n  ")
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    environment.limit_threads()
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"environment": environment.describe(), "works": [], "sides": {}}
    try:
        for entry in entries:
            print(entry.name, flush=True)
            before = environment.busy()
            about = isolated(measure, entry.name, options.repeats, options.limit)
            if isinstance(about, str):
                print(f"  skipped: {about}", flush=True)
                about = {"name": entry.name, "skipped": about}
            axis, value = entry.axis
            where = {"family": entry.family, "axis": axis, "value": value}
            busy = max(each or 0.0 for each in (before, environment.busy()))
            results["works"].append({**where, **about, "busy": busy})
            report.write(results, options.out)
        for name in sides:
            print(name, flush=True)
            found = isolated(side, name)
            if isinstance(found, str):
                found = {"title": found, "rows": []}
            results["sides"][name] = found
            report.write(results, options.out)
    except KeyboardInterrupt:
        print(f"\ninterrupted; what is done is in {options.out}", file=sys.stderr)
        return 130
    report.figures(results, options.out)
    print(f"tables: {options.out / 'results.md'}")
    return 0


def measure(name: str, repeats: int, limit: float) -> dict[str, Any] | str:
    """One work by name, JSON-ready, or why it is skipped."""
    entry = works.WORKS[name]
    try:
        work = entry.make(name)
    except (works.Skipped, ImportError) as error:
        return str(error)
    contenders = [each for n in entry.contenders if work.computes in (each := ALL[n]).computes]
    found = compare(work, contenders, repeats=repeats, limit=limit, say=_say)
    return {**work.about(), "results": [each.as_dict() for each in found]}


def side(name: str) -> dict[str, Any] | str:
    """A measurement that is no contest: its title and rows, or why there are none."""
    module = importlib.import_module(f"benchmarks.{name}")
    title = str(module.__doc__).splitlines()[0]
    try:
        rows = module.measure()
    except (ImportError, OSError) as error:
        return f"{title} Not measured: {error}."
    for row in rows:
        _say(f"  {row}")
    return {"title": title, "rows": rows}


def isolated(call: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call in a process of its own, or a sentence on why there is none."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(there, call, arguments), daemon=True)
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        return "the process was killed, most likely for its memory"
    finally:
        process.kill()  # if we are interrupted it would work on, and disturb what comes next
        process.join()


def _send(pipe: Connection, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who waits for us takes care of it
    try:
        pipe.send(call(*arguments))
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--group", choices=tuple(SIDES), default="short")
    parser.add_argument("--only", default="*", metavar="GLOB", help="works by name")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), metavar="DIR")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--limit",
        type=float,
        default=10.0,
        help="seconds an answer may take before fewer queries are timed (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
