"""The report as one HTML page: plain strings, no scripts, nothing loaded from elsewhere.

Everything a reader needs is in the one file: figures are embedded, details fold
with `<details>`, and the page prints, without what is folded. Every text is escaped.
There is no date in it, so the same report gives the same bytes.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .audit import Table
    from .compare import Comparison
    from .report import Report, Verdict

__all__ = ["page"]

REMARK = "Sampling supports a claim; it does not prove it."

_MARKS = {"HOLDS": "✓", "FAILS": "✗", "INCONCLUSIVE": "?", "NOT_TESTED": "–"}
"""Beside colour and word, so that a verdict can be read by everyone and in grey print."""

_KINDS = {
    "theorem": "Theorem (T): holds on every input in its domain",
    "expectation": "Expectation (E): holds on average",
    "observation": "Observation (O): reported, not judged",
    "folklore": "Folklore (F): false in general, refuted by a counterexample",
}

_COMPARED = (
    "r is the model, D the optimal denoiser, x and x* states of their trajectories; deviation "
    "|r − D| on forward samples x_0 + σz, on the learned path and on the optimal one."
)

_LONGEST = 2000
"""Characters of one value of a worst case; the JSON report has all of them."""

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1a1a1a;
  background: #fff; margin: 2rem auto; max-width: 74rem; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; margin: 0 0 .5rem; } h2 { font-size: 1.25rem; margin: 0 0 .5rem; }
section { border-top: 1px solid #bbb; margin-top: 2rem; padding-top: 1.25rem; }
a { color: #00508a; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-size: .88rem; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { border: 1px solid #bbb; padding: .3rem .55rem; text-align: left; vertical-align: top; }
thead th { background: #f2f2f2; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.verdict { white-space: nowrap; font-weight: 600; display: block; }
.HOLDS { background: #dcf0e3; color: #0b4f23; }
.FAILS { background: #8f1111; color: #fff; }
.INCONCLUSIVE { background: #fdf0c8; color: #5c4300; }
.NOT_TESTED { background: #ececec; color: #3d3d3d; }
span.verdict { padding: 0 .4rem; border-radius: .2rem; }
.overall { font-size: 1.15rem; font-weight: 600; padding: .5rem .8rem; border-radius: .25rem; }
.kind, .source { color: #4a4a4a; margin: .2rem 0; }
.statement { margin: .4rem 0; white-space: pre-line; max-width: 60rem; }
.note { white-space: pre-line; min-width: 12rem; }
.plain { margin: 0; padding: 0; list-style: none; }
.counts { display: flex; flex-wrap: wrap; gap: .3rem 1.25rem; }
.counts li { display: flex; gap: .4rem; }
figure { margin: .75rem 0; } img { max-width: 100%; height: auto; }
figcaption { font-size: .88rem; color: #4a4a4a; }
details { margin: .5rem 0; } summary { cursor: pointer; color: #00508a; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; font-size: .82rem; }
@media print {
  body { font-size: 10pt; margin: 0; max-width: none; padding: 0; }
  .wide { overflow: visible; } table { font-size: 7.5pt; }
  th, td { padding: .15rem .3rem; } .note { min-width: 0; }
  a { color: inherit; text-decoration: none; }
  tr, figure { break-inside: avoid; } h2, caption, .kind, .statement { break-after: avoid; }
  section { margin-top: 1rem; padding-top: .6rem; } figure img { max-height: 6cm; }
  .matrix { line-height: 1.25; } .matrix th, .matrix td { padding: .05rem .3rem; }
  .verdict, .overall, thead th { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  details:not([open]) { display: none; }
}
"""


def page(report: Report, figures: Mapping[str, bytes]) -> str:
    """The whole page; `figures` maps claim ids to PNG files' contents."""
    claims: dict[str, list[Verdict]] = {}
    for verdict in report.verdicts:
        claims.setdefault(verdict.claim, []).append(verdict)
    body = [
        _summary(report, claims),
        *(_claim(name, each, figures.get(name)) for name, each in claims.items()),
        *(
            _comparison(name, each, figures.get(f"comparison {name}"))
            for name, each in report.comparisons.items()
        ),
        _footer(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Verification report</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def overall(verdicts: Sequence[Verdict]) -> tuple[str, str]:
    """The outcome of the run in a sentence, and the status it is coloured as."""
    failed = sum(v.status == "FAILS" for v in verdicts)
    theorems = [v.status for v in verdicts if "theorem" in v.kind.split("+")]
    open_ones = sum(status != "HOLDS" for status in theorems)
    if failed:
        return f"{failed} failed", "FAILS"
    if all(v.status == "NOT_TESTED" for v in verdicts):
        return "Nothing was tested", "NOT_TESTED"
    if not theorems:
        return "Nothing failed; no theorem was among the claims", "INCONCLUSIVE"
    if open_ones:
        return f"No theorem fails; {open_ones} undecided or not tested", "INCONCLUSIVE"
    return "Every theorem holds", "HOLDS"


def _summary(report: Report, claims: Mapping[str, Sequence[Verdict]]) -> str:
    sentence, status = overall(report.verdicts)
    counts = "".join(
        f"<li>{_badge(name)} {number}</li>" for name, number in report.counts().items()
    )
    return (
        "<header>\n<h1>Verification report</h1>\n"
        f'<p class="overall {status}">{_MARKS[status]} {escape(sentence)}</p>\n'
        f"<p>{len(report.verdicts)} verdicts on {len(claims)} claims. {REMARK}</p>\n"
        f'<ul class="plain counts">{counts}</ul>\n{_matrix(claims)}\n</header>'
    )


def _matrix(claims: Mapping[str, Sequence[Verdict]]) -> str:
    """Claims by data sets, a verdict in every cell."""
    sets = list(dict.fromkeys(v.data for each in claims.values() for v in each))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ["Claim", *sets])
    rows = []
    for name, verdicts in claims.items():
        link = f'<a href="#{_anchor(name)}">{escape(name)}</a> {escape(verdicts[0].title)}'
        cells = "".join(
            f"<td>{''.join(_badge(v.status) for v in verdicts if v.data == data) or '—'}</td>"
            for data in sets
        )
        rows.append(f'<tr><th scope="row">{link}</th>{cells}</tr>')
    return f'<div class="matrix">{_table("Verdicts by claim and data set", head, rows)}</div>'


def _claim(name: str, verdicts: Sequence[Verdict], picture: bytes | None) -> str:
    first = verdicts[0]
    heading = f"{escape(name)} · {escape(first.title)}"
    parts = [
        f'<section id="{_anchor(name)}" aria-labelledby="{_anchor(name)}-title">',
        f'<h2 id="{_anchor(name)}-title">{heading}</h2>',
        f'<p class="kind">{escape(_kind(first.kind))}</p>',
        f'<p class="statement">{escape(first.statement)}</p>',
        f'<p class="source">Source: {escape(first.source)}</p>',
    ]
    if picture is not None:
        parts.append(_picture(name, first, picture))
    parts += [_measurements(verdicts), _statistics(verdicts)]
    parts += [_worst(v) for v in verdicts if v.worst]
    return "\n".join([*parts, "</section>"])


def _picture(name: str, verdict: Verdict, content: bytes) -> str:
    alt = f"Evidence for claim {name}, {verdict.title}: one panel per data set"
    code = base64.b64encode(content).decode("ascii")
    return (
        f'<figure>\n<img src="data:image/png;base64,{code}" alt="{escape(alt)}">\n'
        f"<figcaption>Measured values; a bound is drawn in dashed grey. "
        f"The table below has the worst of each panel.</figcaption>\n</figure>"
    )


def _comparison(name: str, found: Comparison, picture: bytes | None) -> str:
    """A model beside the optimal denoiser: what was found, the figure, and the numbers."""
    anchor = _anchor(f"comparison-{name}")
    title = f"{escape(found.model)} beside the optimal denoiser of {escape(name)}"
    remarks = "".join(f"<li>{escape(each)}</li>" for each in found.remarks())
    parts = [
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">',
        f'<h2 id="{anchor}-title">{title}</h2>',
        f'<p class="kind">{escape(_COMPARED)} Both follow {escape(found.solver)} from the same '
        f"{found.apart.shape[1]} starts; {found.loss.model.shape[1]} forward samples at each of "
        f"{len(found.sigmas)} levels. Reported, not judged.</p>",
        f'<ul class="statement">{remarks}</ul>',
    ]
    if picture is not None:
        code = base64.b64encode(picture).decode("ascii")
        alt = f"{found.model} beside the optimal denoiser of {name}: deviation, shares, losses"
        parts.append(
            f'<figure>\n<img src="data:image/png;base64,{code}" alt="{escape(alt)}">\n'
            "<figcaption>Means; bands from the 10 % to the 90 % quantile, of losses 95 % "
            "intervals of the mean.</figcaption>\n</figure>"
        )
    captions = {
        "deviation": "Deviation in data units, and shares of states where |r − D| ≤ |D − x| (T1) "
        "and where the grid's Euler step cannot lower p_σ (step)",
        "loss": "The denoising loss and what it is made of, in squared data units",
        "ends": "What was generated (medians; shares)",
        "geometry": "Geometry of the paths",
    }
    tables = found.tables()
    parts += [_numbers(captions[each], tables[each]) for each in captions]
    return "\n".join([*parts, "</section>"])


def _numbers(caption: str, table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in table.columns)
    rows = [
        f'<tr><th scope="row">{_cell(row[0])}</th>'
        + "".join(f'<td class="number">{_cell(each)}</td>' for each in row[1:])
        + "</tr>"
        for row in table.rows
    ]
    return _table(escape(caption), head, rows)


def _cell(value: Any) -> str:
    return escape(value) if isinstance(value, str) else _number(value)


def _measurements(verdicts: Sequence[Verdict]) -> str:
    names = ("Data set", "Verdict", "Measured", "Bound", "Margin", "What was measured", "Cases")
    head = "".join(f'<th scope="col">{each}</th>' for each in (*names, "Note"))
    return _table("Measured beside bound", head, [_measurement(v) for v in verdicts])


def _statistics(verdicts: Sequence[Verdict]) -> str:
    """Statistics by data sets; nothing if there are none."""
    names = dict.fromkeys(name for v in verdicts for name in v.statistics)
    head = "".join(f'<th scope="col">{escape(v.data)}</th>' for v in verdicts)
    rows = []
    for name in names:
        cells = "".join(
            f'<td class="number">{_number(v.statistics.get(name, np.nan))}</td>' for v in verdicts
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return _table("Statistics", f'<th scope="col">Name</th>{head}', rows) if rows else ""


def _measurement(v: Verdict) -> str:
    numbers = "".join(
        f'<td class="number">{_number(each)}</td>' for each in (v.measured, v.bound, v.margin)
    )
    return (
        f'<tr><th scope="row">{escape(v.data)}</th><td>{_badge(v.status)}</td>{numbers}'
        f'<td>{escape(v.meaning)}</td><td class="number">{v.cases}</td>'
        f'<td class="note">{escape(v.note)}</td></tr>'
    )


def _worst(v: Verdict) -> str:
    rows = [
        f'<tr><th scope="row">{escape(str(name))}</th><td><pre>{_value(value)}</pre></td></tr>'
        for name, value in v.worst.items()
    ]
    failed = v.status == "FAILS"
    word = "Counterexample" if failed else "Worst case"
    head = '<th scope="col">Name</th><th scope="col">Value</th>'
    table = _table(f"{word} on {escape(v.data)}", head, rows)
    # what stays folded is left out in print, a counterexample never
    unfolded = " open" if failed else ""
    return (
        f"<details{unfolded}>\n<summary>{word} on {escape(v.data)}</summary>\n{table}\n</details>"
    )


def _footer(report: Report) -> str:
    head = '<th scope="col">Name</th><th scope="col">Value</th>'
    parts = ["<footer>\n<section>\n<h2>How this was computed</h2>"]
    entries = {"Settings": {"seed": report.seed, **report.settings}, "Versions": report.versions}
    for title, entry in entries.items():
        rows = [
            f'<tr><th scope="row">{escape(str(name))}</th><td>{_value(value)}</td></tr>'
            for name, value in entry.items()
        ]
        if rows:
            parts.append(_table(title, head, rows))
    parts.append(f"<p>{REMARK}</p>\n</section>\n</footer>")
    return "\n".join(parts)


def _table(caption: str, head: str, rows: Sequence[str]) -> str:
    """A table; caption, head and rows are HTML already."""
    lines = "\n".join(rows)
    return (
        f'<div class="wide"><table>\n<caption>{caption}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table></div>"
    )


def _badge(status: str) -> str:
    word = escape(str(status)).replace("_", " ")
    return f'<span class="verdict {escape(str(status))}">{_MARKS[status]} {word}</span>'


def _anchor(claim: str) -> str:
    return "claim-" + re.sub(r"[^A-Za-z0-9]+", "-", claim)


def _kind(kind: str) -> str:
    """Kinds joined with "+" in words."""
    return "; ".join(_KINDS.get(each, each.capitalize()) for each in kind.split("+"))


def _number(value: Any) -> str:
    """A number with four digits; what is not a number is a dash."""
    number = float(value)
    if np.isnan(number):
        return "—"
    if np.isinf(number):
        return "∞" if number > 0 else "−∞"
    return f"{number:.4g}".replace("-", "−")


def _value(value: Any) -> str:
    """Any value as text, escaped: numbers in full, long ones cut."""
    # a foreign object's repr may hold a memory address, which would differ between runs
    text = (
        value
        if isinstance(value, str)
        else json.dumps(_jsonable(value), ensure_ascii=False, default=lambda x: type(x).__name__)
    )
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} … ({len(text)} characters; all of them in the JSON report)"
    return escape(text)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(each) for each in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
