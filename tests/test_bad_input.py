"""Bad input, everywhere: the exact error and the argument it names; and odd input that is good.

The tables go over `public_calls.CALLS`, one good call of everything public. In each case one
argument is replaced. An error is one sentence, `argument: got …, expected …; remedy.`, and a
`TypeError` for the wrong kind of thing, a `ValueError` for the right kind with a wrong value.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from public_calls import CALLS, EXEMPT, FOLDER, LEFT_OUT, POINTS, SIGMAS, D, G, X, surface

import analytic as an
from analytic.cli import main

try:
    import torch
except ImportError:  # pragma: no cover - without torch
    torch = None

NAN, INF = float("nan"), float("inf")
FORMAT = r"^{}: got .+, expected .+; .+\.$"
Bad = tuple[Any, type[Exception]]


class Broken:
    """Something that NumPy asks for an array in vain."""

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError("no array")


class Mute:
    """Something that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


# What is refused, by what an argument is --------------------------------------------------------

NO_ARRAY: tuple[Bad, ...] = (
    (None, TypeError),
    ("x", TypeError),
    (b"x", TypeError),
    ([[1.0], [1.0, 2.0]], TypeError),
    ({"a": 1}, TypeError),
    (Broken(), TypeError),
    (np.ones((3, 2), object), TypeError),
    (np.ones((3, 2), complex), TypeError),
    (np.ones((3, 2), bool), TypeError),
    (np.full((3, 2), "a"), TypeError),
    (np.zeros((3, 2), "M8[D]"), TypeError),
)
NO_STATES: tuple[Bad, ...] = (
    *NO_ARRAY,
    (np.ma.masked_array(np.ones((3, 2)), mask=[[0, 1]] * 3), ValueError),
    (np.full((3, 2), NAN), ValueError),
    (np.full((3, 2), -INF), ValueError),
)
NO_QUERIES: tuple[Bad, ...] = (
    *NO_STATES,
    (np.full((3, 2), 1e200), ValueError),
    (np.zeros((2, 2, 2)), ValueError),
    (np.zeros((3, 7)), ValueError),
    (np.zeros((2, 0)), ValueError),
    (1.0, ValueError),
)
NO_NUMBER: tuple[Bad, ...] = (
    (None, TypeError),
    ("1", TypeError),
    (1j, TypeError),
    (True, TypeError),
    ([1.0, 2.0], TypeError),
    ([[1.0], [1.0, 2.0]], TypeError),
    (Broken(), TypeError),
    (NAN, ValueError),
    (INF, ValueError),
    (-1.0, ValueError),
)
NO_LEVEL: tuple[Bad, ...] = (*NO_NUMBER, (1e200, ValueError))
ZERO: tuple[Bad, ...] = ((0.0, ValueError),)
NO_LEVELS: tuple[Bad, ...] = (
    (None, TypeError),
    ("1", TypeError),
    (True, TypeError),
    (1j, TypeError),
    (NAN, ValueError),
    (-1.0, ValueError),
    (1e200, ValueError),
    ([1.0, 2.0], ValueError),
    (np.ones((3, 2)), ValueError),
)
NO_GRID: tuple[Bad, ...] = (
    (None, TypeError),
    ("x", TypeError),
    ([0.5, 1.0, 2.0], ValueError),
    ([2.0, 2.0, 1.0], ValueError),
    ([2.0, -1.0], ValueError),
    ([2.0, NAN], ValueError),
    ([2.0], ValueError),
    ([], ValueError),
    (np.ones((2, 2)), ValueError),
    (1e200, ValueError),
)
NO_COUNT: tuple[Bad, ...] = (
    (None, TypeError),
    ("3", TypeError),
    (1.5, TypeError),
    (3.0, TypeError),
    (True, TypeError),
    (Mute(), TypeError),
    (-1, ValueError),
    (2**70, ValueError),
)
NO_SEED = NO_COUNT
NO_FLAG: tuple[Bad, ...] = ((None, TypeError), (1, TypeError), ("yes", TypeError))
NO_NAME: tuple[Bad, ...] = ((None, TypeError), (3, TypeError), (b"x", TypeError))
NO_OPTION: tuple[Bad, ...] = (*NO_NAME, ("nonsense", ValueError))
NO_PATH: tuple[Bad, ...] = (
    (None, TypeError),
    (3, TypeError),
    (b"x", TypeError),
    ("", ValueError),
    ("a\0b", ValueError),
    ("\ud800", ValueError),
)
NO_FILE: tuple[Bad, ...] = (*NO_PATH, (FOLDER / "none" / "x", ValueError), (FOLDER, ValueError))
NO_POINTS: tuple[Bad, ...] = (
    *NO_STATES,
    (np.zeros((0, 2)), ValueError),
    (np.zeros((2, 0)), ValueError),
    (np.zeros((2, 2, 2)), ValueError),
    (np.full((3, 2), 1e200), ValueError),
)
NO_DENOISER: tuple[Bad, ...] = ((None, TypeError), (3, TypeError), ("x", TypeError))
NO_LABEL: tuple[Bad, ...] = (
    (None, ValueError),
    (7, ValueError),
    ("x", ValueError),
    (True, ValueError),
    ([0], ValueError),
    (Broken(), TypeError),
)
NO_ROWS: tuple[Bad, ...] = (
    ("x", TypeError),
    (None, TypeError),
    (0.5, TypeError),
    ([True], TypeError),
    ([3], ValueError),
    ([-4], ValueError),
    (np.array([2**63], np.uint64), ValueError),
    (Broken(), TypeError),
)
NO_MAP: tuple[Bad, ...] = ((None, TypeError), ([1], TypeError), ({1: [1.0]}, TypeError))
NO_AXES: tuple[Bad, ...] = (("x", TypeError), (3, TypeError))
NO_RECORD: tuple[Bad, ...] = ((None, TypeError), (3, TypeError), ({}, TypeError))
NO_GENERATOR: tuple[Bad, ...] = ((None, TypeError), (0, TypeError), (np.random, TypeError))

ANALYTIC = ("GaussianDenoiser", "LowRankGaussianDenoiser", "GaussianMixtureDenoiser")
FIELDS = ("jacobian", "score", "sigma_derivative", "trace_cov", "log_prob", "jvp", "__call__")
QUERIED = [
    name for name in CALLS if name.endswith("Denoiser.__call__") or name.split(".")[-1] in FIELDS
    or name.split(".")[-1] in ("posterior", "truncation", "class_prob", "responsibilities")
]  # fmt: skip
AT_ZERO = ("__call__", "truncation", "responsibilities")
"""What has a value at σ = 0; `log_prob` and `score` of Gaussians that fill the space, too."""

REFUSED: dict[str, tuple[Bad, ...]] = {}
"""call.argument -> what it refuses."""


def refuse(what: tuple[Bad, ...], *where: str) -> None:
    for each in where:
        REFUSED[each] = REFUSED.get(each, ()) + what


for _name in QUERIED:
    if _name.startswith("learned.Log"):
        continue
    refuse(NO_QUERIES, f"{_name}.x")
    refuse(NO_LEVELS, f"{_name}.sigma")
    if _name.split(".")[-1] in ("jacobian", "sigma_derivative", "trace_cov", "posterior", "jvp"):
        refuse(ZERO, f"{_name}.sigma")
    if _name.endswith("jvp"):
        refuse(NO_QUERIES, f"{_name}.v")

refuse(
    NO_QUERIES,
    *(f"{name}.x" for name in ("integrate", "encode", "sample", "mean_shift", "basins")),
    *(f"{name}.x" for name in ("certificate", "distill.consistency", "distill.teacher")),
    *(f"exact.{name}.x" for name in ("gaussian_flow", "one_point_flow", "product_flow")),
    *("decode.a", "decode.b", "modes.starts", "distill.progressive.x", "exact.two_point_flow.x"),
)
REFUSED["modes.starts"] = tuple(bad for bad in NO_QUERIES if bad[0] is not None)
refuse(
    NO_STATES,
    *(f"geometry.{name}.states" for name in ("boomerang", "chord", "deviation", "magnitudes")),
    *(f"geometry.{name}.states" for name in ("pca_spectrum", "chord_frame", "pca", "distances")),
    *("geometry.curvature_torsion.states", "geometry.align.paths", "geometry.cosines.a"),
    *("geometry.cosines.b", "geometry.frenet.velocity", "geometry.frenet.acceleration"),
    *("geometry.frenet.jerk", "NoiseSchedule.to_ve.x", "NoiseSchedule.from_ve.x_hat"),
    *("NoiseSchedule.velocity.x", "NoiseSchedule.velocity.denoised"),
    *(f"latents.{name}.a" for name in ("linear", "spherical", "variance_preserving", "rowwise")),
    *(f"latents.{name}.b" for name in ("linear", "spherical", "variance_preserving", "rowwise")),
    *("plotting.basin_map.extent", "plotting.likelihood_ball.rise", "plotting.likelihood_ball.x"),
    *("plotting.boomerang.coordinates", "plotting.density_contours.log_density"),
    *("plotting.width_curves.sigmas", "plotting.gamma_factors.sigmas", "plotting.grid_error.steps"),
)
refuse(
    NO_POINTS,
    *("PointSet.points", "OptimalDenoiser.points", "SmoothedDenoiser.points", "explore.points"),
    *("compare.optimal", "collapse.entropy_bound.points", "collapse.scales.points"),
    *("collapse.speciation.points", "verify.points", "claims.Claim.check.points"),
    *("grids.noise_range.points", "learned.RandomFeatureDenoiser.fit.points"),
    *("plotting.trajectories_2d.points", "plotting.pca_view.points", "plotting.plane_paths.points"),
)
refuse(
    NO_LEVEL + ZERO,
    *("integrate.sigma_max", "encode.sigma_max", "encode.sigma_min", "decode.sigma_max"),
    *("basins.sigma", "mean_shift.bandwidth", "modes.bandwidth", "Spliced.sigma"),
    *(f"grids.{name}.sigma_max" for name in ("polynomial", "exponential", "log_snr", "vp_uniform")),
    *("grids.exponential.sigma_min", "grids.log_snr.sigma_min", "distill.implied.sigma"),
    *(f"exact.{name}_flow.sigma" for name in ("gaussian", "mixture", "one_point", "product")),
    *("exact.quantile_flow.sigma", "exact.quantile_gain.sigma", "exact.two_point_flow.sigma"),
    *("exact.quantile_gain.sigma_to", "learned.LogUniform.low"),
)
refuse(
    NO_LEVEL,
    *("integrate.sigma_min", "decode.sigma_min", "distill.consistency.sigma_min"),
    *("grids.polynomial.sigma_min", "grids.vp_uniform.sigma_min", "distill.implied.sigma_end"),
    *(f"exact.{name}_flow.sigma_to" for name in ("gaussian", "mixture", "one_point", "product")),
    *("noise.sigma", "SmoothedDenoiser.width"),
)
refuse(
    NO_NUMBER,
    *("integrate.rtol", "integrate.atol", "basins.rtol", "basins.atol", "mean_shift.tol"),
    *("modes.tol", "modes.merge", "decode.rtol", "decode.atol", "decode.tol", "compare.rtol"),
    *("encode.rtol", "encode.atol", "distill.consistency.rtol", "distill.consistency.atol"),
    *("compare.part", "collapse.scales.rtol", "collapse.speciation.rtol", "explore.span"),
    *("SmoothedDenoiser.growth", "LowRankGaussianDenoiser.residual", "OptimalDenoiser.tolerance"),
    *("grids.polynomial.rho", "grids.exponential.rho", "grids.gits.coefficient"),
    *("datasets.two_moons.noise", "datasets.swiss_roll.noise", "datasets.eight_gaussians.noise"),
    *("datasets.two_points.distance", "NoiseSchedule.cosine.offset", "NoiseSchedule.vp.beta_min"),
    *("NoiseSchedule.vp.beta_max", "NoiseSchedule.sub_vp.beta_min", "learned.LogNormal.std"),
    *("learned.RandomFeatureDenoiser.fit.ridge", "solvers.Churn.amount", "solvers.Churn.low"),
    *("solvers.Churn.inflation", "plotting.pca_view.limit", "plotting.plane_paths.limit"),
    *("plotting.canvas.width", "plotting.shared_legend.width"),
)
refuse(
    NO_LEVELS[:-2],
    *("certificate.sigma", "collapse.Certificate.tail.sigma", "distill.consistency.sigma"),
    *("NoiseSchedule.levels.sigma", "NoiseSchedule.to_ve.t", "NoiseSchedule.from_ve.sigma"),
    *("NoiseSchedule.velocity.t",),
)
refuse(
    NO_GRID,
    *("sample.sigmas", "distill.teacher.sigmas", "distill.progressive.sigmas", "compare.sigmas"),
    *("distill.euler_weights.sigmas", "grids.validate.sigmas", "decode.sigmas"),
)
for _name in ("compare.sigmas", "decode.sigmas"):
    REFUSED[_name] = tuple(bad for bad in NO_GRID if bad[0] is not None)
refuse(
    NO_COUNT,
    *("noise.n", "integrate.max_steps", "encode.max_steps", "mean_shift.max_steps"),
    *("modes.max_steps", "audit.starts", "compare.n", "compare.starts", "explore.levels"),
    *("Comparison.table.rows", "Comparison.tables.rows", "Basins.shares.count", "Posterior.top.k"),
    *("PointSet.sample.count", "SmoothedDenoiser.directions", "collapse.perplexity.count"),
    *("collapse.scales.count", "collapse.scales.starts", "collapse.speciation.starts"),
    *(f"datasets.{name}.n" for name in ("two_moons", "swiss_roll", "checkerboard", "patches")),
    *("datasets.eight_gaussians.n", "datasets.random_high_d.n", "datasets.random_high_d.dim"),
    *("datasets.patches.size", "datasets.patches.channels", "datasets.two_points.dim"),
    *("distill.progressive.steps", "distill.consistency.max_steps", "solvers.Solver.nfe.steps"),
    *("geometry.pca.components", "geometry.principal.components", "geometry.chord_frame.components"),
    *("geometry.curvature_torsion.window", "geometry.curvature_torsion.degree"),
    *(f"grids.{name}.n" for name in ("polynomial", "exponential", "log_snr", "vp_uniform", "gits")),
    *("grids.discrete.n", "grids.from_schedule.n", "learned.LogNormal.__call__.count"),
    *("learned.LogUniform.__call__.count", "learned.RandomFeatureDenoiser.fit.n_features"),
    *("plotting.curves_by.marks", "plotting.variance_spectrum.count", "gallery.make.jobs"),
    *("threads.set_num_threads.threads", "solvers.get.order"),
)
refuse(
    NO_SEED,
    *(f"{name}.seed" for name in ("noise", "audit", "compare", "verify", "SmoothedDenoiser")),
    *(f"datasets.{name}.seed" for name in ("two_moons", "digits", "checkerboard", "get", "resolve")),
    *("collapse.perplexity.seed", "collapse.scales.seed", "claims.Claim.check.rng"),
    *("learned.RandomFeatureDenoiser.fit.seed", "sample.seed"),
)
refuse(
    NO_FLAG,
    *("integrate.estimate_error", "integrate.progress", "encode.estimate_error", "sample.progress"),
    *("audit.progress", "decode.estimate_error", "verify.quick", "verify.progress"),
    *("compare.keep", "compare.progress", "explore.progress", "claims.Claim.check.quick"),
    *("OptimalDenoiser.class_prob.log", "grids.discrete.append_zero", "solvers.Solver.nfe.to_zero"),
    *("distill.consistency.estimate_error", "datasets.load.progress", "plotting.encode.truetype"),
    *(f"plotting.{name}.legend" for name in ("evidence", "curves_by", "pca_view", "solver_error")),
)
refuse(
    NO_OPTION,
    *("decode.how", "latents.rowwise.how", "sample.solver", "distill.teacher.solver"),
    *("compare.solver", "solvers.get.name", "claims.explain.claim", "audit.parametrization"),
    *("OptimalDenoiser.method", "Comparison.parted.of", "peers.scheduler.name"),
    *("plotting.theme.context", "plotting.theme.column", "plotting.encode.format"),
    *("plotting.geometry_curves.middle", "plotting.score_deviation.unit", "datasets.get.name"),
)
refuse(
    NO_NAME,
    *("PointSet.name", "PointSet.renamed.name", "NoiseSchedule.name", "plotting.curves_by.xlabel"),
    *("plotting.width_curves.ylabel", "plotting.likelihood_ball.name", "plotting.throughput.ours"),
)
refuse(
    NO_FILE,
    *("Report.to_json.path", "Report.to_html.path", "Comparison.to_csv.path", "Audit.to_json.path"),
    *("Comparison.to_json.path", "learned.RandomFeatureDenoiser.save.path", "explore.path"),
    *("learned.RandomFeatureDenoiser.load.path", "learned.load.path"),
)
refuse(NO_PATH, "gallery.make.out", "plotting.save.stem")
refuse(
    NO_DENOISER,
    *(f"{name}.denoiser" for name in ("integrate", "encode", "sample", "mean_shift", "modes")),
    *(f"{name}.denoiser" for name in ("decode", "verify", "claims.Claim.check", "basins")),
    *(f"distill.{name}.denoiser" for name in ("consistency", "teacher", "progressive")),
    *("certificate.denoiser", "collapse.perplexity.denoiser", "compare.model", "Spliced.high"),
    *("Spliced.low", "GuidedDenoiser.conditional", "GuidedDenoiser.unconditional"),
    *("exact.gaussian_flow.data", "exact.mixture_flow.mixture"),
)
refuse(
    NO_LABEL, "PointSet.given.label", "PointSet.members.label", "OptimalDenoiser.given.label",
    "PointSet.known_label.label",
)  # fmt: skip
refuse(NO_ROWS, "Trajectory.select.rows", "Posterior.select.at")
refuse(
    NO_MAP,
    *("plotting.curves_by.values", "plotting.jump_curves.distances", "plotting.plane_paths.paths"),
    *("plotting.geometry_curves.values", "plotting.image_rows.rows", "plotting.grid_levels.grids"),
    *("plotting.gamma_factors.factors", "plotting.variance_spectrum.shares"),
    *("plotting.grid_error.errors", "plotting.throughput.rates", "plotting.solver_error.errors"),
)
refuse(
    NO_AXES, *(f"{name}.ax" for name in CALLS if "ax" in CALLS[name].given),
    "plotting.thin_ticks.axes",
)  # fmt: skip
refuse(
    NO_RECORD,
    *(f"plotting.{name}.comparison" for name in ("score_deviation", "theorem_fraction")),
    *(f"plotting.{name}.comparison" for name in ("loss_split", "memorisation")),
    *("plotting.comparison_figure.comparison", "plotting.evidence.evidence"),
    *("plotting.encode.figure", "plotting.save.figure", "plotting.numbers.figure"),
    *("plotting.shared_legend.result", "plotting.pca_view.trajectory"),
    *("plotting.trajectories_2d.trajectory", "plotting.perplexity_curve.found"),
    *("grids.gits.trajectory", "grids.from_schedule.schedule", "plotting.boomerang.look"),
)
refuse(
    NO_GENERATOR,
    "PointSet.sample.rng", "learned.LogNormal.__call__.rng", "learned.LogUniform.__call__.rng",
)  # fmt: skip


class Row(NamedTuple):
    """A call with one argument changed, and how it is refused."""

    call: str
    changed: dict[str, Any]
    kind: type[Exception]
    named: str


OTHER_NAMES = {"decode.denoiser": ("denoiser", "x")}


def _rows() -> Iterator[Row]:
    for place, cases in REFUSED.items():
        call, _, argument = place.rpartition(".")
        for value, kind in cases:
            yield Row(call, {argument: value}, kind, argument)


ROWS = list(_rows())
