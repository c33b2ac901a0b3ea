"""Verdicts kept in a folder while a run is under way, so that an interrupted one continues.

A verdict is one JSON file, written whole or not at all, in a folder named after what it
depends on: points and weights, seed, noise levels, size of the run, versions, and the code. Another
denoiser on the same data is not told apart: it wants a folder of its own. Another model is.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._outcome import Status, write_atomic
from ..report import Evidence, Verdict
from ._base import Case
from ._models import fingerprint

__all__ = ["Journal"]


@dataclass(frozen=True)
class Journal:
    """The finished verdicts of one case."""

    folder: Path

    @staticmethod
    def of(folder: str | os.PathLike[str], case: Case, versions: Any) -> Journal:
        """The journal of a case, in a folder that may hold those of others."""
        points = case.points
        settings = (case.seed, case.quick, case.sigma_max, case.sigma_min, points.name, versions)
        key = hashlib.sha256(repr((points.points.shape, settings)).encode())
        key.update(fingerprint(case))
        for part in (points.points, points.weights):
            key.update(np.ascontiguousarray(part).tobytes())
        for source in sorted(Path(__file__).parents[1].rglob("*.py")):
            key.update(source.read_bytes())
        return Journal(Path(folder) / key.hexdigest()[:24])

    def get(self, name: str) -> Verdict | None:
        """The verdict kept under a name; None if nothing can be read."""
        try:
            fields = json.loads((self.folder / f"{name}.json").read_text())
            evidence = fields.pop("evidence")
            if evidence is not None:
                x, curves = evidence.pop("x"), evidence.pop("curves")
                arrays = {name: np.array(values) for name, values in curves.items()}
                evidence = Evidence(x=np.array(x), curves=arrays, **evidence)
            status = Status(fields.pop("status"))
            return Verdict(status=status, evidence=evidence, **fields)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def put(self, name: str, verdict: Verdict) -> None:
        """Keep a verdict."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(verdict), default=_listed)
        write_atomic(self.folder / f"{name}.json", text.encode())


def _listed(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return dict(value)
