"""Verdicts and reports: what was claimed, what was measured, beside which bound.

A `Verdict` is the outcome of one claim on one denoiser and point set. Its
status is

* HOLDS        the claim's check passed on every case it tried (for an
               observation: its exact part did, and statistics are reported);
* FAILS        a counterexample was found; it is kept in `worst`;
* INCONCLUSIVE the evidence does not decide (a confidence interval straddles
               the bound);
* NOT_TESTED   the domain of the claim was empty here.

Sampling supports a claim, it does not prove it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check, _html
from ._outcome import Status, plain, write_atomic
from .compare import Comparison

__all__ = ["Evidence", "Report", "Status", "Verdict", "write_atomic"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """The numbers behind a verdict's figure: curves over one common axis."""

    xlabel: str
    ylabel: str
    x: NDArray[np.float64]
    """(n,) abscissae."""
    curves: Mapping[str, NDArray[np.float64]]
    """label -> (n,) values, drawn in order."""
    bound: str | None = None
    """label of the curve that is a bound, drawn apart from what was measured."""
    points: bool = False
    """whether cases are separate (markers) rather than a curve."""
    xscale: str = "linear"
    yscale: str = "linear"


@dataclass(frozen=True, eq=False)
class Verdict:
    """Outcome of one claim on one denoiser and point set."""

    claim: str
    kind: str
    title: str
    statement: str
    source: str
    data: str
    status: Status
    measured: float
    """the worst value found, in the units of `bound`; NaN if nothing was tested."""
    bound: float
    """what it had to stay below."""
    meaning: str
    """what `measured` is."""
    cases: int
    """number of cases checked."""
    worst: Mapping[str, Any] = field(default_factory=dict)
    """the case with the largest `measured`: enough to reproduce it."""
    statistics: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    evidence: Evidence | None = None

    @property
    def margin(self) -> float:
        """Bound - measured: positive where the claim holds."""
        return self.bound - self.measured

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready contents, without the figure's numbers."""
        plain = {k: v for k, v in vars(self).items() if k != "evidence"}
        return {**plain, "margin": self.margin}


@dataclass(frozen=True, eq=False)
class Report:
    """Verdicts of one run."""

    verdicts: tuple[Verdict, ...]
    seed: int
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    """data set -> a model beside the optimal denoiser, where a model was given."""

    @property
    def holds(self) -> bool:
        """Whether something was tested and nothing failed."""
        tested = [v for v in self.verdicts if v.status != Status.NOT_TESTED]
        return bool(tested) and all(v.status != Status.FAILS for v in tested)

    def __add__(self, other: Report) -> Report:
        return Report(
            self.verdicts + other.verdicts,
            self.seed,
            self.versions,
            {**self.settings, **other.settings},
            {**self.comparisons, **other.comparisons},
        )

    def counts(self) -> dict[str, int]:
        """Number of verdicts by status."""
        return {s.value: sum(v.status == s for v in self.verdicts) for s in Status}

    def table(self) -> str:
        """A short plain-text table, one line per verdict."""
        rows = [("claim", "data", "verdict", "measured", "bound", "cases")]
        rows += [
            (v.claim, v.data, v.status.value, f"{v.measured:.3g}", f"{v.bound:.3g}", str(v.cases))
            for v in self.verdicts
        ]
        widths = [max(len(row[k]) for row in rows) for k in range(6)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready contents."""
        compared = {name: each.as_dict() for name, each in self.comparisons.items()}
        return {
            "holds": self.holds,
            "counts": self.counts(),
            "seed": self.seed,
            "settings": dict(self.settings),
            "versions": dict(self.versions),
            "remark": "Sampling supports a claim; it does not prove it.",
            "verdicts": [v.as_dict() for v in self.verdicts],
            **({"comparisons": compared} if compared else {}),
        }

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON; the file appears whole or not at all."""
        text = json.dumps(plain(self.as_dict()), indent=1, allow_nan=False)
        write_atomic(path, text.encode())

    def to_html(
        self, path: str | os.PathLike[str], figures: Mapping[str, bytes] | None = None
    ) -> None:
        """Write the report as one page that needs no network; whole or not at all.

        `figures` maps claim ids, and "comparison NAME" for data sets with a comparison, to the
        contents of PNG files, such as `plotting.encode` gives. The same report and figures give
        the same bytes.
        """
        pictures = {} if figures is None else _check.mapping(figures, "figures")
        known = dict.fromkeys(v.claim for v in self.verdicts)
        known |= dict.fromkeys(f"comparison {name}" for name in self.comparisons)
        for name, content in pictures.items():
            _check.choice(name, "figures", known)
            if not isinstance(content, bytes) or not content.startswith(b"\x89PNG\r\n\x1a\n"):
                _check.fail(
                    f"figures[{name!r}]",
                    _check.show(content),
                    "the contents of a PNG file",
                    "see analytic.plotting.encode",
                )
        write_atomic(path, _html.page(self, pictures).encode())
