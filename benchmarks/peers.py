"""Schedulers of diffusers, audited: one row for each, in `benchmarks/peers.md`.

    python -m benchmarks.peers [--only TEXT] [--out benchmarks/peers.md]

Each is driven as its pipelines drive it, on the linear DDPM process with 1,000 training steps,
and once more with the same σ given as float64 numbers. Results are kept beside the table, in a
`.json` file, so that `--only` measures some rows anew and leaves the others.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import analytic as an
from analytic import peers
from analytic.audit import Audit, Status
from analytic.report import write_atomic

KARRAS = {"use_karras_sigmas": True}
CASES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("EulerDiscrete", {}),
    ("EulerDiscrete", KARRAS),
    ("HeunDiscrete", {}),
    ("HeunDiscrete", KARRAS),
    ("DPMSolverMultistep", {}),
    ("DPMSolverMultistep", KARRAS),
    ("DPMSolverMultistep", {"solver_order": 3}),
    ("DPMSolverMultistep", {"solver_order": 3, **KARRAS}),
    ("DPMSolverSinglestep", {}),
    ("DPMSolverSinglestep", KARRAS),
    ("DPMSolverSinglestep", {"solver_order": 3, **KARRAS}),
    ("UniPCMultistep", {}),
    ("UniPCMultistep", KARRAS),
    ("UniPCMultistep", {"solver_order": 3, **KARRAS}),
    ("DEISMultistep", {}),
    ("DEISMultistep", KARRAS),
    ("DEISMultistep", {"solver_order": 3, **KARRAS}),
    ("DDIM", {}),
    ("DDIM", {"timestep_spacing": "linspace"}),
    ("DDIM", {"timestep_spacing": "trailing"}),
    ("LMSDiscrete", {}),
    ("LMSDiscrete", KARRAS),
)
STEPS = 20
COLUMNS = (
    "scheduler",
    "order: promised",
    "measured",
    "with σ in float64",
    f"NFE in {STEPS} steps",
    "σ(t)/σ - 1",
    "promises broken",
)


def measure(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """One row."""
    start = time.perf_counter()
    single = peers.scheduler(f"{name}Scheduler", **options)
    double = peers.scheduler(f"{name}Scheduler", double=True, **options)
    found = an.audit(single)
    broken = [f"{f.id}: {f.detail}" for f in found.findings if f.verdict is Status.FAILS]
    return {
        "scheduler": label(name, options),
        "promised": single.order,
        "measured": orders(found),
        "double": orders(an.audit(double)),
        "nfe": single.nfe(STEPS),
        "mismatch": single.mismatch(STEPS),
        "broken": broken,
        "seconds": time.perf_counter() - start,
    }


def label(name: str, options: Mapping[str, Any]) -> str:
    words = [
        "Karras σ" if key == "use_karras_sigmas" else f"{key}={options[key]}" for key in options
    ]
    return ", ".join([name, *words])


def orders(found: Audit) -> dict[str, tuple[float, str]]:
    """Order and verdict by problem."""
    return {
        f.id.partition("/")[2]: (round(f.measured, 3), f.verdict.value)
        for f in found.findings
        if f.id.startswith("order/")
    }


def spread(found: Mapping[str, tuple[float, str]]) -> str:
    """Least and largest order among the problems that decide."""
    decided = [order for order, verdict in found.values() if verdict in ("HOLDS", "FAILS")]
    if not decided:
        return "not readable"
    return f"{min(decided):.2f} to {max(decided):.2f} ({len(decided)} of {len(found)})"


def faults(broken: list[str]) -> str:
    ids = dict.fromkeys(each.partition(":")[0].partition("/")[0] for each in broken)
    return ", ".join(ids) or "none"


def table(rows: list[Mapping[str, Any]]) -> str:
    """The rows as Markdown, and what was broken in words."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        cells = (
            row["scheduler"],
            str(row["promised"]),
            spread(row["measured"]),
            spread(row["double"]),
            str(row["nfe"]),
            f"{row['mismatch']:.1%}" if row["mismatch"] > 1e-3 else "0",
            faults(row["broken"]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def details(rows: list[Mapping[str, Any]]) -> str:
    """What was broken: the first finding of each kind."""
    lines = []
    for row in rows:
        kinds: dict[str, str] = {}
        for each in row["broken"]:
            name, _, words = each.partition(": ")
            kinds.setdefault(name.partition("/")[0], f"`{name}`: {words}")
        if kinds:
            lines.append(f"- {row['scheduler']}: " + "; ".join(kinds.values()) + ".")
    return "\n".join(lines)


TEXT = """# Schedulers of diffusers, audited

{versions}.

{table}

Order: the least and the largest measured over Gaussian data, a mixture on a line, two points, two
moons and digits, of those problems that decide (how many do). "With σ in float64": the same
scheduler, its σ given as float64 numbers; where the two differ, rounding is why. UniPC's
correction adds one to its `solver_order`. "σ(t)/σ - 1": how far the noise level of the rounded
timestep handed to the model is from the σ that the scheduler steps from, at worst; the audit's
own model is evaluated at σ. DDIM steps from t to t - [1000/n], whatever the next timestep is: with
spacings other than "leading" the two differ unless n divides 1000 ("linspace": always).

{details}

`python -m benchmarks.peers` makes this table.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--new", action="store_true", help="only rows not measured yet")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/peers.md"))
    options = parser.parse_args()
    kept_file = options.out.with_suffix(".json")
    kept = json.loads(kept_file.read_text()) if kept_file.exists() else {}
    for name, given in CASES:
        key = label(name, given)
        if options.only not in key or (options.new and key in kept):
            continue
        kept[key] = measure(name, given)
        print(f"{key}: {spread(kept[key]['measured'])}, {kept[key]['seconds']:.0f} s", flush=True)
        write_atomic(kept_file, (json.dumps(kept, indent=1) + "\n").encode())
    rows = [kept[key] for key in (label(*case) for case in CASES) if key in kept]
    versions = ", ".join(f"{each} {metadata.version(each)}" for each in ("diffusers", "torch"))
    words = f"analytic {an.__version__}, {versions}, Python {platform.python_version()}"
    text = TEXT.format(versions=words, table=table(rows), details=details(rows))
    write_atomic(options.out, text.encode())


if __name__ == "__main__":
    main()
