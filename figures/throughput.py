"""Queries of the optimal denoiser a second, against the number of data points.

Each method answers the same 1,000 queries x₀ + 0.3z on standard normal data in two dimensions and
in 64, in float64, and agrees with the rest to 1e-7. Solid: ours, "auto" being the default, which
chooses between the others; broken: plain NumPy, PyTorch, KeOps, JAX, and one query at a time.
Least time of interleaved repetitions, set-up excluded; where a line ends its method was too slow.
The numbers are read from benchmarks/results, if there, else from the file that lies beside this
script, which tells the machine. `python -m benchmarks.run --group full --only "throughput*"`
measures them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analytic import gallery, plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEEDS = "nothing"
READS = ("../benchmarks/results/results.json", "data/throughput.json")
FAMILY = "throughput-"
BUSY = 0.1


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """Sizes and queries per second of every method, by dimension; and the machine."""
    for name in READS:
        path = Path(__file__).parent / name
        results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        works = [each for each in results.get("works", []) if each["family"].startswith(FAMILY)]
        if works:
            break
    found: dict[str, dict[str, Any]] = {}
    for work in works:
        for each in work.get("results", ()):
            if each["best"]:
                panel = found.setdefault(f"D = {work['D']}", {})
                rates = panel.setdefault(each["contender"], {"sizes": [], "rates": []})
                rates["sizes"].append(work["N"])
                rates["rates"].append(work["B"] / each["best"])
    about = results["environment"]
    machine = f"{about['cpu']}, {about['threads']} threads"
    busy = max(work["busy"] for work in works)
    if busy > BUSY:
        machine += f" (others kept up to {busy:.0%} of the cores busy: times are too long)"
    return {"panels": found, "machine": machine}


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """A panel per dimension."""
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 3.4)
        grid = np.atleast_1d(figure.subplots(1, len(found["panels"]), sharey=True))
        for axes, (title, methods) in zip(grid, found["panels"].items(), strict=True):
            plotting.throughput(
                {name: each["sizes"] for name, each in methods.items()},
                {name: each["rates"] for name, each in methods.items()},
                ax=axes,
                legend=False,
            )
            axes.set_title(title)
        for axes in grid[1:]:
            axes.set_ylabel("")
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
        figure.suptitle(found["machine"])
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
