"""The command line.

    analytic verify [--data NAME|FILE ...] [--claims A1,C4] [--quick] [--seed N] [--out DIR]
    analytic explain CLAIM

`verify` checks the claims on data sets and writes `report.json`, a
self-contained `report.html`, and PDF and PNG figures. Exit codes: 0 every
theorem holds, 1 one fails, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import __version__, _check, datasets, plotting
from .claims import explain, noise_range, registry, select, verify
from .denoisers import OptimalDenoiser
from .points import PointSet
from .report import Report

__all__ = ["main"]

DEFAULT_DATA = "digits,two_moons,eight_gaussians"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(argv)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("\nanalytic: interrupted; finished files are whole", file=sys.stderr)
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
        help=f"a data set ({', '.join(datasets.names())}) or a .npy, .npz or EDM-style .zip file; "
        f"repeat it or separate by commas (default: {DEFAULT_DATA})",
    )
    check.add_argument("--n", type=int, help="number of points of every data set")
    check.add_argument(
        "--claims", default="all", help=f"ids separated by commas ({', '.join(registry)}) or all"
    )
    check.add_argument("--quick", action="store_true", help="fewer cases")
    check.add_argument("--seed", type=int, default=0, help="same seed, same report (default: 0)")
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
    return parser


def _explain(options: argparse.Namespace) -> int:
    print(explain(options.claim))
    return 0


def _verify(options: argparse.Namespace) -> int:
    # everything that can be wrong with the input is found before the first long step
    chosen = select(options.claims)
    seed = _check.seed(options.seed, "--seed")
    given = ",".join(options.data or [DEFAULT_DATA]).split(",")
    names = list(dict.fromkeys(name.strip() for name in given if name.strip()))
    if not names:
        _check.fail("--data", "no name", "a data set or a file", "leave it out for the default")
    _writable(options.out)
    sets = [datasets.resolve(name, n=options.n, seed=seed, progress=True) for name in names]
    for data in sets:
        noise_range(data, options.sigma_max, options.sigma_min)
    reports = [_run(data, options, seed, [claim.id for claim in chosen]) for data in sets]
    report = reports[0]
    for other in reports[1:]:
        report = report + other
    _write(report, options.out)
    print(report.table())
    counts = ", ".join(f"{k} {status}" for status, k in report.counts().items() if k)
    print(f"\n{counts}\nreport: {options.out / 'report.html'}")
    return 0 if report.holds else 1


def _run(data: PointSet, options: argparse.Namespace, seed: int, claims: list[str]) -> Report:
    return verify(
        OptimalDenoiser(data),
        data,
        claims,
        seed,
        quick=options.quick,
        sigma_max=options.sigma_max,
        sigma_min=options.sigma_min,
        progress=True,
    )


def _writable(folder: Path) -> None:
    """Make the output folder and make sure that a file can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "figures").mkdir(exist_ok=True)
        for place in (folder, folder / "figures"):
            with tempfile.TemporaryFile(dir=place):
                pass
    except OSError as error:
        _check.fail(
            "--out", f"{str(folder)!r} ({error.strerror})", "a writable folder", "name another one"
        )


def _write(report: Report, folder: Path) -> None:
    pictures = {}
    for claim in dict.fromkeys(verdict.claim for verdict in report.verdicts):
        figure = plotting.claim_figure([v for v in report.verdicts if v.claim == claim])
        if figure is not None:
            files = plotting.save(figure, folder / "figures" / claim, truetype=False)
            pictures[claim] = next(f for f in files if f.suffix == ".png").read_bytes()
    report.to_json(folder / "report.json")
    report.to_html(folder / "report.html", pictures)


if __name__ == "__main__":  # pragma: no cover
    sys.exit(main())
