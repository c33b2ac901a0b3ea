"""Results on paper: JSON for programs, Markdown tables for people, a figure per family.

The results of a run are

    {"environment": {...}, "works": [...], "sides": {name: {"title": ..., "rows": [...]}}}

where a work has its parameters, the `family` whose table it is in, the `axis` along
which that family goes and its `value` there, the share of the cores that others kept
`busy`, and the contenders' `results`; or `skipped`, with the reason.
Ratios are ours / theirs: below 1 we are faster.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analytic import plotting
from analytic.report import write_atomic

from .contenders import OURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["exponent", "families", "figures", "markdown", "side", "write"]

Json = dict[str, Any]

LABELS = {"D": "dimension D", "N": "points N", "sigma": "noise level σ (data units)"}
BUSY = 0.1
"""Share of the cores that others may use without a remark."""
MARKERS = "os^Dv<>P*Xh"


def write(results: Json, folder: Path) -> None:
    """Write `results.json` and `results.md`, each whole or not at all."""
    text = json.dumps(_finite(results), indent=1, allow_nan=False)
    write_atomic(folder / "results.json", text.encode())
    write_atomic(folder / "results.md", markdown(results).encode())


def families(works: Iterable[Json]) -> dict[str, list[Json]]:
    """Works by family, in order."""
    result: dict[str, list[Json]] = {}
    for work in works:
        result.setdefault(work["family"], []).append(work)
    return result


def markdown(results: Json) -> str:
    """Everything in tables."""
    parts = ["# Benchmarks of the optimal denoiser", _environment(results["environment"])]
    parts.append(
        "Least seconds of interleaved repetitions, set-up and warm-up excluded. In brackets "
        f"`{OURS}` / this one: below 1, `{OURS}` is faster. A star: timed on fewer queries and "
        "scaled in proportion."
    )
    for family, works in families(results["works"]).items():
        parts += [f"## {family}", *_family(works)]
    for name, found in results["sides"].items():
        parts += [f"## {name}", found["title"]]
        parts.append(side(found["rows"]) if found["rows"] else "Not measured.")
    return "\n\n".join(parts) + "\n"


def exponent(works: Sequence[Json], contender: str, what: str = "best") -> float | None:
    """Slope of log seconds against log of the family's axis, over at least three works."""
    pairs = []
    for work in works:
        found = _result(work, contender)
        if found and found[what]:
            pairs.append((math.log(work["value"]), math.log(found[what])))
    if len(pairs) < 3:
        return None
    x, y = np.array(pairs).T
    return float(np.polyfit(x, y, 1)[0])


def side(rows: Sequence[Json]) -> str:
    """A table of rows that have the same keys."""
    return _table(list(rows[0]), [[_text(value) for value in row.values()] for row in rows])


def figures(results: Json, folder: Path) -> list[Path]:
    """One figure per family, as PDF and PNG; the paths written."""
    paths = []
    for family, works in families(results["works"]).items():
        works = [work for work in works if any(r["best"] for r in work.get("results", ()))]
        if works:
            with plotting.theme():
                page = plotting.figure(plotting.PAGE * 0.7, 3.0)
                _draw(page.subplots(), family, works)
                paths += plotting.save(page, folder / family)
    return paths


def _draw(axes: Axes, family: str, works: list[Json]) -> None:
    """Milliseconds of every contender along the family's axis, with what did not take part."""
    import seaborn

    names = _contenders(works)
    colors = seaborn.color_palette("colorblind", len(names))  # comes round after ten
    styles: Iterator[Any] = itertools.cycle(["--", "-.", ":"])
    for name, color, marker in zip(names, colors, itertools.cycle(MARKERS), strict=False):
        found = [(work["value"], each) for work in works if (each := _result(work, name))]
        points = [(value, 1e3 * each["best"]) for value, each in found if each["best"]]
        failures = dict.fromkeys(each["status"] for _, each in found if not each["best"])
        (line,) = axes.plot(*np.reshape(points, (-1, 2)).T, color=color, marker=marker)
        line.set_label(f"{name} ({', '.join(failures)})" if failures else name)
        line.set_linestyle("-" if name == OURS else next(styles) if points else "none")
        line.set_linewidth(2.0 if name == OURS else 1.0)
        if not points:
            line.set_marker("none")
    axes.set(xscale="log", yscale="log", title=family)
    if works[0]["axis"] == "D":
        values = sorted({work["value"] for work in works})
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
    axes.set_xlabel(LABELS[works[0]["axis"]])
    axes.set_ylabel(f"time of {works[0]['B']:,} queries (ms)")
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")


def _environment(environment: Json) -> str:
    return "\n".join(f"- {key}: {_text(value)}" for key, value in environment.items())


def _family(works: list[Json]) -> list[str]:
    """What a family is about, the comparison, those who did not take part, the details."""
    done = [work for work in works if "results" in work]
    parts = [f"{work['name']}: skipped, {work['skipped']}." for work in works if "skipped" in work]
    if not done:
        return parts
    first, axis = done[0], done[0]["axis"]
    fixed = ", ".join(
        f"{key} = {first[key]:,}" for key in ("N", "D", "B") if len({w[key] for w in done}) == 1
    )
    what = "log-density" if first["computes"] == "log_prob" else "mean"
    unit = "nats" if what == "log-density" else "standard deviations"
    parts.append(
        f"{fixed}, {first['dtype']}, {what}. "
        f"Agreement within {first['tolerance']:g} {unit}: {first['reason']}."
    )
    busy = max(work["busy"] for work in done)
    if busy > BUSY:
        parts.append(
            f"Others kept {busy:.0%} of the cores busy: times are too long, most of all where "
            "threads wait by spinning, as those of torch do. Repeat this on a quiet machine."
        )
    names = [n for n in _contenders(done) if any((_result(w, n) or {}).get("best") for w in done)]
    if names:
        rows = [[f"{work['value']:g}", *(_cell(work, name) for name in names)] for work in done]
        parts.append(_table([axis, *names], rows))
    if axis == "N":
        parts += [_growth(done, name) for name in names if exponent(done, name) is not None]
    rows = [
        [
            f"{work['value']:g}",
            each["contender"],
            _seconds(each["best"]),
            _seconds(each["median"]),
            _seconds(each["setup"]),
            "" if each["error"] is None else f"{each['error']:.0e}",
            "; ".join(filter(None, (_status(each), each["detail"], each["note"]))),
        ]
        for work in done
        for each in work["results"]
    ]
    head = [axis, "contender", "least", "median", "set-up", "error", "remarks"]
    details = _table(head, rows)
    parts.append(f"<details><summary>details</summary>\n\n{details}\n\n</details>")
    return parts


def _growth(works: list[Json], name: str) -> str:
    times = {"time": exponent(works, name), "set-up": exponent(works, name, "setup")}
    fits = [f"{what} as N^{slope:.2f}" for what, slope in times.items() if slope is not None]
    return f"`{name}` grows: {', '.join(fits)}."


def _cell(work: Json, name: str) -> str:
    found = _result(work, name)
    if not found:
        return ""
    if not found["best"]:
        return str(found["status"])
    star = "*" if found["scale"] > 1 else ""
    ours = _result(work, OURS)
    if name == OURS or not ours or not ours["best"]:
        return _seconds(found["best"]) + star
    return f"{_seconds(found['best'])}{star} ({ours['best'] / found['best']:.2g})"


def _status(result: Json) -> str:
    if result["scale"] > 1:
        return f"scaled from {result['queries']} queries"
    return "" if result["best"] else str(result["status"])


def _result(work: Json, contender: str) -> Json | None:
    return next((r for r in work["results"] if r["contender"] == contender), None)


def _contenders(works: Iterable[Json]) -> list[str]:
    return list(dict.fromkeys(r["contender"] for work in works for r in work["results"]))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    # a bar would start another cell
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _seconds(value: float | None) -> str:
    """Three digits, in a unit that suits."""
    if value is None:
        return ""
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}" if value * factor < 1000 else f"{value:.0f} s"
    return f"{1e6 * value:.3g} µs"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    """JSON has no infinities."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
