"""What a comparison holds, and how it is told: columns over σ, tables, sentences, files."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._lazy import cached_property
from .._outcome import plain, write_atomic
from ..audit import Table
from ..trajectory import Trajectory

__all__ = ["FORWARD", "LEARNED", "OPTIMAL", "Comparison", "Ends", "Loss", "Setting"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FORWARD, LEARNED, OPTIMAL = "forward samples", "learned path", "optimal path"
"""The three settings: x = x_0 + σz, states of the model's trajectory, of the optimal one."""

CRITERION = 1 / 3
NORMAL = 1.959963984540054
"""Half-width of a 95 % interval in standard errors."""
ROWS = 12
QUANTILES = (0.1, 0.5, 0.9)


def ratio(nearest: Floats, second: Floats) -> Floats:
    """Nearest over second nearest distance; NaN where there is no second, to be compared with."""
    known = np.isfinite(second)
    return np.where(known, nearest / np.where(known, second, 1.0), np.nan)


@dataclass(frozen=True, eq=False)
class Setting:
    """What was measured at one kind of places x."""

    deviation: Floats
    """(T, m) |r(x) - D(x)|, in data units."""
    pull: Floats
    """(T, m) |D(x) - x|, the length of the optimal denoiser's step."""
    climbs: Bools
    """(T, m) whether (r - x)·(D - x) ≥ (γ/2)|r - x|², γ = 1 - σ_{k+1}/σ_k the grid's Euler step:
    then p_σ does not fall along it (theory A3)."""

    @property
    def near(self) -> Bools:
        """(T, m) whether |r - D| ≤ |D - x|, the hypothesis of Theorem 1."""
        return np.asarray(self.deviation <= self.pull)


@dataclass(frozen=True, eq=False)
class Loss:
    """Squared errors Σ u_i |y - x_i|² given forward samples x, in squared data units; (T, n)."""

    model: Floats
    """of y = r(x)"""
    optimal: Floats
    """of y = D(x): tr C, of mean mmse(σ), on the data themselves."""
    sampled: Floats
    """|r(x) - x_0|² with the x_0 that x was made from: the same mean, more noise."""


@dataclass(frozen=True, eq=False)
class Ends:
    """What B starts ended in, beside the data."""

    index: NDArray[np.int64]
    """(B,) nearest data point; -1 where nothing finite was generated."""
    distance: Floats
    """(B,) distance to it; NaN likewise."""
    second: Floats
    """(B,) distance to the next nearest; infinite where there is one data point only."""
    arrived: Bools
    """(B,) whether that point is where the optimal trajectory from the same start leads."""
    off_model: Floats
    """(B,) distance from the end of the model's own trajectory."""
    off_optimal: Floats
    """(B,) distance from the end of the optimal trajectory."""

    @property
    def ratio(self) -> Floats:
        """(B,) distance to the nearest over distance to the second nearest data point; NaN where
        there is no second.
        """
        return ratio(self.distance, self.second)

    @property
    def memorised(self) -> Bools:
        """(B,) whether that ratio is below 1/3 (Yoon et al. 2023; Gu et al. 2023)."""
        return np.asarray(self.ratio < CRITERION)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A model r beside the optimal denoiser D of its data, made by `analytic.compare`."""

    model: str
    data: str
    solver: str
    seed: int
    sigmas: Floats
    """(T,) decreasing levels > 0, in data units."""
    scale: float
    """√tr Σ, the root-mean-square distance of data from their mean; 1 for one point."""
    settings: Mapping[str, Setting]
    """"forward samples" (T, n), "learned path" and "optimal path" (T, B)."""
    own: Floats
    """(T, B) |r(x) - D(x*)|, each along its own path from the same start."""
    apart: Floats
    """(T, B) |x - x*| between the two paths."""
    loss: Loss
    """on forward samples of the data."""
    held_out: Loss | None
    """on forward samples of held-out points; u_i and x_i theirs, D still that of the data."""
    ends: Mapping[str, Ends]
    """"model", "optimal", and for levels asked for "optimal above σ", "optimal below σ"."""
    target: NDArray[np.int64]
    """(B,) data point to which the optimal trajectory leads."""
    between: Floats
    """(M, 2) distances of data points to their two nearest others, for scale."""
    geometry: Mapping[str, Mapping[str, Floats]]
    """"model" and "optimal" to (B,) numbers each."""
    lost: int
    """Starts left out, as a trajectory of theirs did not stay finite."""
    part: float
    """Share of the data scale, or of the final separation, at which paths count as parted."""
    paths: Mapping[str, Trajectory]
    """"model" and "optimal", if they were to be kept; else empty."""

    def parted(self, share: float | None = None, of: str = "scale") -> Floats:
        """(B,) the level at which |x - x*| first exceeds a share of the data scale.

        Parameters
        ----------
        share : > 0, by default `part`.
        of : "scale", √tr Σ, or "separation", the last |x - x*| of each start.

        NaN where it never does.
        """
        least = (
            self.part if share is None else _check.number(share, "share", low=0.0, open_low=True)
        )
        unit = self.apart[-1] if _check.choice(of, "of", _UNITS) == "separation" else self.scale
        beyond = self.apart > least * unit
        return np.where(beyond.any(axis=0), self.sigmas[beyond.argmax(axis=0)], np.nan)

    @property
    def gap(self) -> Interval | None:
        """(T,) loss on held-out points less loss on the data, and its standard error."""
        if self.held_out is None:
            return None
        mean, error = _mean(self.held_out.model)
        base, other = _mean(self.loss.model)
        return mean - base, np.hypot(error, other)

    @cached_property
    def frame(self) -> dict[str, Floats]:
        """Columns (T,) over σ: means, standard errors ("… se"), quantiles, and shares."""
        columns = {"sigma": self.sigmas}
        for where, setting in self.settings.items():
            name = f"|r-D|, {where}"
            columns |= _statistics(name, setting.deviation)
            mean = columns[name]
            columns[f"{name} / sigma"] = mean / self.sigmas
            columns[f"{name} / scale"] = mean / self.scale
            columns[f"score error, {where}"] = mean / self.sigmas / self.sigmas
            columns[f"theorem 1, {where}"] = setting.near.mean(axis=1)
            columns[f"one step, {where}"] = setting.climbs.mean(axis=1)
        columns |= _statistics("|r(x)-D(x*)|, own paths", self.own)
        columns |= _statistics("|x-x*|", self.apart)
        columns["|x-x*| / scale"] = columns["|x-x*|"] / self.scale
        split = {
            "loss": self.loss.model,
            "E|r-D|^2": self.settings[FORWARD].deviation ** 2,
            "mmse": self.loss.optimal,
            "loss, sampled": self.loss.sampled,
        }
        if self.held_out is not None:
            split["loss, held out"] = self.held_out.model
            split["loss of D, held out"] = self.held_out.optimal
        for name, values in split.items():
            columns[name], columns[f"{name} se"] = _mean(values)
        if (gap := self.gap) is not None:
            columns["generalisation gap"], columns["generalisation gap se"] = gap
        return columns

    def table(self, rows: int = ROWS) -> str:
        """The main columns as text, at `rows` of the levels."""
        return str(self.tables(rows)["deviation"])

    def tables(self, rows: int = ROWS) -> dict[str, Table]:
        """Four tables: "deviation" and "loss" at some levels, "ends" and "geometry"."""
        count = _check.integer(rows, "rows", low=2)
        picks = np.unique(np.linspace(0, len(self.sigmas) - 1, count).round().astype(int))
        found = {
            name: Table(
                tuple(columns.values()),
                tuple(tuple(float(self.frame[each][k]) for each in columns) for k in picks),
            )
            for name, columns in (("deviation", _DEVIATION), ("loss", self._loss_columns()))
        }
        ends = [(name, *_summary(each).values()) for name, each in self.ends.items()]
        found["ends"] = Table(("generated by", *_summary(self.ends["model"])), tuple(ends))
        names = list(self.geometry["model"])
        means = [
            (name, *(_typical(each[name]) for each in self.geometry.values())) for name in names
        ]
        found["geometry"] = Table(("median over paths", *self.geometry), tuple(means))
        return found

    def _loss_columns(self) -> dict[str, str]:
        known = {name: name for name in ("sigma", "loss", "loss se", "E|r-D|^2", "mmse")}
        if self.held_out is not None:
            more = ("loss, held out", "loss of D, held out", "generalisation gap")
            known |= {name: name for name in (*more, "generalisation gap se")}
        return known

    def remarks(self) -> tuple[str, ...]:
        """What was found, a sentence each."""
        frame, near = self.frame, self.settings[FORWARD].near.mean(axis=1)
        top = {where: int(frame[f"|r-D|, {where}"].argmax()) for where in self.settings}
        peaks = "; ".join(
            f"{where} {frame[f'|r-D|, {where}'][k] / self.scale:.3g} at σ = {self.sigmas[k]:.3g}"
            for where, k in top.items()
        )
        last = "; ".join(
            f"{where} {frame[f'|r-D|, {where}'][-1] / self.scale:.3g}" for where in self.settings
        )
        by_scale, by_end = (self.parted(of=of) for of in _UNITS)
        ends, best = self.ends["model"], self.ends["optimal"]
        typical = _typical(self.between[:, 0])
        words = [
            f"Largest mean deviation |r - D| / data scale: {peaks}.",
            f"At the last level, σ = {self.sigmas[-1]:.3g}: {last}.",
            f"|r - D| ≤ |D - x| (Theorem 1) on at least {near.min():.1%} of forward samples, "
            f"{self.settings[LEARNED].near.mean(axis=1).min():.1%} of learned and "
            f"{self.settings[OPTIMAL].near.mean(axis=1).min():.1%} of optimal states of a level.",
            f"{np.isfinite(by_scale).mean():.1%} of the paths part by {self.part:g} of the data "
            f"scale, at σ = {_level(by_scale)} (median of these); {np.isfinite(by_end).mean():.1%} "
            f"by {self.part:g} of their final separation, at σ = {_level(by_end)}.",
            f"{ends.memorised.mean():.1%} of the model's ends are memorised (nearest data point "
            f"less than 1/3 as far as the second nearest), of the optimal ones "
            f"{best.memorised.mean():.1%}, of data points among themselves "
            f"{self.data_memorised:.1%}; {ends.arrived.mean():.1%} are nearest to the data point "
            "that the optimal trajectory reaches.",
            f"Ends are {_typical(ends.distance):.3g} from the nearest data point (median), data "
            f"points {typical:.3g} from each other.",
        ]
        if self.lost:
            words.append(f"{self.lost} starts are left out: their trajectories are not finite.")
        return tuple(words)

    @property
    def data_memorised(self) -> float:
        """The share of data points that the criterion would call memorised by the others."""
        return float(np.mean(ratio(*self.between.T) < CRITERION))

    def explain(self) -> str:
        """Sentences, then all tables."""
        head = (
            f"{self.model} on {self.data}, against the optimal denoiser\n"
            f"{self.solver}, {self.apart.shape[1]} starts, "
            f"{self.loss.model.shape[1]} forward samples, seed {self.seed}"
        )
        tables = [f"{name}\n{table}" for name, table in self.tables().items()]
        return "\n\n".join([head, "\n".join(self.remarks()), *tables])

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready contents: columns and summaries, without paths and single samples."""
        return {
            "model": self.model,
            "data": self.data,
            "solver": self.solver,
            "seed": self.seed,
            "starts": self.apart.shape[1],
            "samples": self.loss.model.shape[1],
            "lost": self.lost,
            "scale": self.scale,
            "part": self.part,
            "remark": "Measured on samples; ± are standard errors, levels share their samples.",
            "columns": self.frame,
            "ends": {name: _summary(each) for name, each in self.ends.items()},
            "data among themselves": {
                "distance to nearest other": _quantiles(self.between[:, 0]),
                "memorised": self.data_memorised,
            },
            "parted at sigma": {of: _quantiles(self.parted(of=of)) for of in _UNITS},
            "geometry": {
                name: {key: _quantiles(values) for key, values in each.items()}
                for name, each in self.geometry.items()
            },
            "remarks": list(self.remarks()),
        }

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write `as_dict` as JSON; the file appears whole or not at all."""
        text = json.dumps(plain(self.as_dict()), indent=1, allow_nan=False)
        write_atomic(path, text.encode())

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `frame`, a row per level; the file appears whole or not at all."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.frame)
        writer.writerows(zip(*(column.tolist() for column in self.frame.values()), strict=True))
        write_atomic(path, stream.getvalue().encode())

    def __repr__(self) -> str:
        rows = f"T={len(self.sigmas)}, n={self.loss.model.shape[1]}, B={self.apart.shape[1]}"
        return f"Comparison({self.model!r} on {self.data!r}, {rows})"


Interval = tuple[Floats, Floats]

_UNITS = ("scale", "separation")
_DEVIATION = {
    "sigma": "sigma",
    **{f"|r-D|, {where}": f"|r-D| {where}" for where in (FORWARD, LEARNED, OPTIMAL)},
    "|r(x)-D(x*)|, own paths": "own paths",
    "|x-x*|": "|x-x*|",
    **{f"theorem 1, {where}": f"T1 {where.split()[0]}" for where in (FORWARD, LEARNED, OPTIMAL)},
    **{f"one step, {where}": f"step {where.split()[0]}" for where in (FORWARD, LEARNED, OPTIMAL)},
}


def _mean(values: Floats) -> Interval:
    """Mean and standard error over the last axis."""
    count = values.shape[-1]
    spread = values.std(axis=-1, ddof=1) if count > 1 else np.full(values.shape[:-1], np.nan)
    return values.mean(axis=-1), np.asarray(spread / np.sqrt(count))


def _statistics(name: str, values: Floats) -> dict[str, Floats]:
    mean, error = _mean(values)
    found = {name: mean, f"{name} se": error}
    for share, row in zip(QUANTILES, np.quantile(values, QUANTILES, axis=1), strict=True):
        found[f"{name} q{100 * share:.0f}"] = row
    return found


def _summary(ends: Ends) -> dict[str, float]:
    """Few numbers of what was generated."""
    return {
        "distance to data": _typical(ends.distance),
        "nearest / second": _typical(ends.ratio),
        "memorised": float(ends.memorised.mean()),
        "optimal's point": float(ends.arrived.mean()),
        "off the model's end": _typical(ends.off_model),
        "off the optimal end": _typical(ends.off_optimal),
    }


def _typical(values: Floats) -> float:
    """The median of what is a number."""
    kept = values[~np.isnan(values)]
    return float(np.median(kept)) if kept.size else float("nan")


def _quantiles(values: Floats) -> dict[str, float]:
    kept = values[np.isfinite(values)]
    if not kept.size:
        return {"count": 0}
    low, middle, high = np.quantile(kept, QUANTILES).tolist()
    return {
        "count": int(kept.size), "mean": float(kept.mean()),
        "q10": low, "median": middle, "q90": high,
    }  # fmt: skip


def _level(values: Floats) -> str:
    middle = _typical(values)
    return "none" if np.isnan(middle) else f"{middle:.3g}"
