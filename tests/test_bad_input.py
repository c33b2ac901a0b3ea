"""Bad input, everywhere: the exact error and the argument it names; and odd input that is good.

The tables go over `public_calls.CALLS`, one good call of everything public. In each case one
argument is replaced. An error is one sentence, `argument: got …, expected …; remedy.`, and a
`TypeError` for the wrong kind of thing, a `ValueError` for the right kind with a wrong value.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from public_calls import CALLS, EXEMPT, FOLDER, LEFT_OUT, POINTS, SIGMAS, G, X, surface

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
NO_PLACE: tuple[Bad, ...] = (
    *NO_PATH,
    (FOLDER / "none" / "x", FileNotFoundError),
    (FOLDER, IsADirectoryError),
)
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
    *(
        "geometry.pca.components",
        "geometry.principal.components",
        "geometry.chord_frame.components",
    ),
    *("geometry.curvature_torsion.window", "geometry.curvature_torsion.degree"),
    *(f"grids.{name}.n" for name in ("polynomial", "exponential", "log_snr", "vp_uniform", "gits")),
    *("grids.discrete.n", "grids.from_schedule.n", "learned.LogNormal.__call__.count"),
    *("learned.LogUniform.__call__.count", "learned.RandomFeatureDenoiser.fit.n_features"),
    *("plotting.curves_by.marks", "plotting.variance_spectrum.count", "gallery.make.jobs"),
    *("threads.set_num_threads.threads", "solvers.get.order", "set_num_threads.threads"),
    *(f"{name}.threads" for name in ("OptimalDenoiser", "integrate", "encode")),
    "scale.stored.block",
)
for _name in (
    "OptimalDenoiser.threads",
    "integrate.threads",
    "encode.threads",
    "scale.stored.block",
):
    REFUSED[_name] = tuple(bad for bad in NO_COUNT if bad[0] is not None)
refuse(
    NO_SEED,
    *(f"{name}.seed" for name in ("noise", "audit", "compare", "verify", "SmoothedDenoiser")),
    *(
        f"datasets.{name}.seed"
        for name in ("two_moons", "digits", "checkerboard", "get", "resolve")
    ),
    *("collapse.perplexity.seed", "collapse.scales.seed", "claims.Claim.check.rng"),
    *("learned.RandomFeatureDenoiser.fit.seed", "sample.seed"),
)
refuse(
    NO_FLAG,
    *("integrate.estimate_error", "integrate.progress", "encode.estimate_error", "sample.progress"),
    *("audit.progress", "decode.estimate_error", "verify.quick", "verify.progress"),
    *(
        "scale.stored.progress",
        "compare.keep",
        "compare.progress",
        "explore.progress",
        "claims.Claim.check.quick",
    ),
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
    *(
        "scale.stored.name",
        "PointSet.name",
        "PointSet.renamed.name",
        "NoiseSchedule.name",
        "plotting.curves_by.xlabel",
    ),
    *("plotting.width_curves.ylabel", "plotting.likelihood_ball.name", "plotting.throughput.ours"),
)
refuse(
    NO_PLACE,
    *("Report.to_json.path", "Report.to_html.path", "Comparison.to_csv.path", "Audit.to_json.path"),
    "Comparison.to_json.path",
)
refuse(
    NO_FILE,
    *("learned.RandomFeatureDenoiser.save.path", "learned.RandomFeatureDenoiser.load.path"),
    *("explore.path", "learned.load.path"),
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


ALSO = {
    "compare.optimal": "points",
    "solvers.get.name": "solver",
    "peers.scheduler.name": "scheduler",
}
"""What an error may call an argument that goes on to something else."""
for _name in ("plotting.canvas.width", "sample.seed"):
    REFUSED[_name] = tuple(bad for bad in REFUSED[_name] if bad[0] is not None)


def refusal(place: str, function: Any, kind: type[Exception], what: str = "") -> None:
    """Check that a call is refused as the house refuses."""
    argument = place.rpartition(".")[2]
    names = "|".join(map(re.escape, filter(None, (argument, ALSO.get(place)))))
    with pytest.raises((ValueError, TypeError, OSError)) as caught:  # noqa: PT012 - to say what was taken
        function()
        pytest.fail(f"{place} takes {what}")
    assert re.search(FORMAT.format(rf"({names})[^:]*"), str(caught.value), re.DOTALL), caught.value
    assert type(caught.value) is kind, (what, caught.value)


def shown(value: Any) -> str:
    return "a thing without words" if isinstance(value, Mute) else repr(value)


@pytest.mark.parametrize("place", [each for each in REFUSED if each.rpartition(".")[0] in CALLS])
def test_bad_arguments_are_named(place: str) -> None:
    call, _, argument = place.rpartition(".")
    for value, kind in REFUSED[place]:
        refusal(place, lambda v=value: CALLS[call](**{argument: v}), kind, shown(value))


def test_the_table_is_large_and_fits_the_calls() -> None:
    assert sum(map(len, REFUSED.values())) >= 4000
    for place in REFUSED:
        call, _, argument = place.rpartition(".")
        assert call in CALLS or call.startswith("learned."), place
        assert call not in CALLS or argument in CALLS[call].given, place


def test_everything_public_is_in_the_table() -> None:
    """And so is each of its arguments."""
    missing = []
    for name, arguments in surface():
        if name in CALLS:
            rest = arguments - set(CALLS[name].given) - LEFT_OUT.get(name, set())
            missing += [f"{name}.{each}" for each in rest]
        elif arguments and name not in EXEMPT and name.rpartition(".")[0] not in EXEMPT:
            missing.append(name)
    if torch is None:  # pragma: no cover
        missing = [each for each in missing if not each.startswith("learned.")]
    assert not missing
    assert not set(EXEMPT) - set(dict(surface()))


@pytest.mark.parametrize("name", CALLS)
def test_good_calls_are_good(name: str) -> None:
    """Otherwise a refusal might be of something else."""
    if name not in ("audit", "gallery.make", "peers.scheduler", "learned.train_conv"):
        CALLS[name]()


# One of a kind ----------------------------------------------------------------------------------

SPECIAL: tuple[tuple[str, dict[str, Any], type[Exception], str], ...] = (
    ("PointSet", {"weights": [1.0, 2.0]}, ValueError, "weights"),
    ("PointSet", {"weights": [1.0, -2.0, 1.0, 1.0]}, ValueError, "weights"),
    ("PointSet", {"weights": np.zeros(4)}, ValueError, "weights"),
    ("PointSet", {"weights": [NAN, 1, 1, 1]}, ValueError, "weights"),
    ("PointSet", {"labels": [0, 1]}, ValueError, "labels"),
    ("PointSet", {"labels": [0.5, 1.5, 2.5, 3.5]}, ValueError, "labels"),
    ("PointSet", {"labels": [None] * 4}, ValueError, "labels"),
    ("PointSet", {"points": [1.0, 2.0]}, ValueError, "points"),
    ("PointSet.subset", {"rows": [0, 0]}, ValueError, "rows"),
    ("PointSet.subset", {"rows": [9]}, ValueError, "rows"),
    ("PointSet.subset", {"rows": Broken()}, TypeError, "rows"),
    ("PointSet.sample", {"count": 2**61}, ValueError, "count"),
    ("GaussianDenoiser", {"covariance": -np.eye(2)}, ValueError, "covariance"),
    ("GaussianDenoiser", {"covariance": [[1.0, 2.0], [0.0, 1.0]]}, ValueError, "covariance"),
    ("GaussianDenoiser", {"covariance": np.eye(3)}, ValueError, "covariance"),
    ("GaussianDenoiser", {"mean": [[0.0, 1.0]]}, ValueError, "covariance"),
    ("LowRankGaussianDenoiser", {"basis": [[1.0, 0.0]]}, ValueError, "basis"),
    ("LowRankGaussianDenoiser", {"variances": [-1.0]}, ValueError, "variances"),
    ("GaussianMixtureDenoiser", {"weights": [1.0]}, ValueError, "weights"),
    ("GaussianMixtureDenoiser", {"means": X}, ValueError, "covariances"),
    ("GuidedDenoiser", {"weight": NAN}, ValueError, "weight"),
    ("GuidedDenoiser", {"interval": (2.0, 1.0)}, ValueError, "interval"),
    ("GuidedDenoiser", {"interval": 1.0}, TypeError, "interval"),
    ("GuidedDenoiser", {"unconditional": an.GaussianDenoiser([0.0], [[1.0]])}, ValueError, "unc"),
    ("Spliced", {"low": an.GaussianDenoiser([0.0], [[1.0]])}, ValueError, "low"),
    ("GuidedDenoiser.jvp", {"v": X[:2]}, ValueError, "v"),
    ("OptimalDenoiser.jvp", {"v": X[:2]}, ValueError, "v"),
    ("OptimalDenoiser", {"method": "dens"}, ValueError, "method"),
    ("OptimalDenoiser", {"tolerance": 1.5}, ValueError, "tolerance"),
    ("integrate", {"sigma_max": 0.1}, ValueError, "sigma_max"),
    ("integrate", {"sigma_min": 0.0}, ValueError, "sigma_min"),
    ("integrate", {"sigma_min": 1e-320}, ValueError, "sigma_min"),
    ("integrate", {"save_at": [9.0]}, ValueError, "save_at"),
    ("integrate", {"save_at": [NAN]}, ValueError, "save_at"),
    ("integrate", {"save_at": "x"}, TypeError, "save_at"),
    ("integrate", {"quantities": ["log_porb"]}, ValueError, "quantities"),
    ("integrate", {"quantities": 3}, TypeError, "quantities"),
    ("integrate", {"tangent": X[:2]}, ValueError, "tangent"),
    ("integrate", {"schedule": "vp"}, TypeError, "schedule"),
    ("integrate", {"max_steps": 0}, ValueError, "max_steps"),
    ("integrate", {"rtol": 1e-20}, ValueError, "rtol"),
    ("sample", {"churn": -1.0}, ValueError, "churn"),
    ("sample", {"churn": "much"}, TypeError, "churn"),
    ("sample", {"seed": None}, ValueError, "seed"),
    ("sample", {"solver": "huen"}, ValueError, "solver"),
    ("sample", {"schedule": 3}, TypeError, "schedule"),
    ("certificate", {"index": [0, 1]}, ValueError, "index"),
    ("certificate", {"index": [0, 1, 99]}, ValueError, "index"),
    ("certificate", {"index": [0.0, 1.0, 2.0]}, ValueError, "index"),
    ("certificate", {"denoiser": G}, TypeError, "denoiser"),
    ("basins", {"denoiser": G}, TypeError, "denoiser"),
    ("collapse.perplexity", {"denoiser": G}, TypeError, "denoiser"),
    ("noise", {"like": "x"}, TypeError, "like"),
    ("noise", {"like": np.zeros((3, 0))}, TypeError, "like"),
    ("noise", {"like": 2**63}, ValueError, "like"),
    ("noise", {"n": 2**60}, ValueError, "n"),
    ("decode", {"shares": [0.5, 0.5]}, ValueError, "shares"),
    ("decode", {"shares": [2.0]}, ValueError, "shares"),
    ("decode", {"sigmas": [1.0, 0.5]}, ValueError, "sigmas"),
    ("compare", {"replace_at": "x"}, TypeError, "replace_at"),
    ("compare", {"replace_at": [1.0, 1.0]}, ValueError, "replace_at"),
    ("compare", {"held_out": np.ones((3, 5))}, ValueError, "held_out"),
    ("verify", {"claims": "Z9"}, ValueError, "claims"),
    ("verify", {"claims": []}, ValueError, "claims"),
    ("verify", {"claims": None}, TypeError, "claims"),
    ("verify", {"resume": 3}, TypeError, "resume"),
    ("verify", {"resume": "a\0b"}, ValueError, "resume"),
    ("verify", {"sigma_max": 0.1}, ValueError, "sigma_max"),
    ("claims.select", {"claims": "A1,Z*"}, ValueError, "claims"),
    ("audit", {"sampler": "huen"}, ValueError, "sampler|solver"),
    ("audit", {"sampler": None}, TypeError, "sampler"),
    ("audit", {"grid": "edm"}, TypeError, "grid"),
    ("audit", {"order": 0}, ValueError, "order"),
    ("audit", {"nfe": 1.5}, TypeError, "nfe"),
    ("Report.to_html", {"figures": {"A9": b"GIF89a"}}, ValueError, "figures"),
    ("Report.to_html", {"figures": {"Z9": b""}}, ValueError, "figures"),
    ("Report.to_html", {"figures": [b""]}, TypeError, "figures"),
    ("Comparison.parted", {"share": 0.0}, ValueError, "share"),
    ("Basins.shares", {"count": 2**39}, ValueError, "count"),
    ("NoiseSchedule", {"t_max": -1.0}, ValueError, "t_max"),
    ("NoiseSchedule", {"alpha": None}, TypeError, "alpha"),
    ("NoiseSchedule.discrete", {"alphas_cumprod": [0.1, 0.5]}, ValueError, "alphas_cumprod"),
    ("NoiseSchedule.discrete", {"alphas_cumprod": [2.0, 0.5]}, ValueError, "alphas_cumprod"),
    ("NoiseSchedule.discrete", {"alphas_cumprod": [0.5]}, ValueError, "alphas_cumprod"),
    ("NoiseSchedule.discrete", {"alphas_cumprod": [[0.9, 0.5]]}, ValueError, "alphas_cumprod"),
    ("NoiseSchedule.to_ve", {"t": 2.0}, ValueError, "t"),
    ("datasets.get", {"name": "two_mons"}, ValueError, "name"),
    ("datasets.patches", {"channels": 2}, ValueError, "channels"),
    ("distill.progressive", {"steps": 3}, ValueError, "sigmas"),
    ("distill.teacher", {"solver": "euler_ancestral"}, ValueError, "solver"),
    ("distill.implied", {"end": X[:2]}, ValueError, "end"),
    ("distill.implied", {"sigma_end": 2.0}, ValueError, "sigma_end"),
    ("distill.consistency", {"sigma": 0.1}, ValueError, "sigma"),
    ("exact.two_point_flow", {"points": POINTS}, ValueError, "points"),
    ("exact.quantile_flow", {"points": POINTS}, ValueError, "points"),
    ("exact.product_flow", {"lines": "ab"}, TypeError, "lines"),
    ("exact.one_point_flow", {"sigma": 1e-320}, ValueError, "sigma"),
    ("exact.quantile_gain", {"y": [[1.0]]}, ValueError, "y"),
    ("geometry.curvature_torsion", {"parameter": [0, 1, 1, 2, 3, 4, 5]}, ValueError, "parameter"),
    ("geometry.distances", {"target": np.ones((9, 9))}, ValueError, "target"),
    ("geometry.principal", {"weights": [1.0]}, ValueError, "weights"),
    ("grids.discrete", {"n": 9}, ValueError, "n"),
    ("grids.gits", {"metric": "l3"}, ValueError, "metric"),
    ("grids.gits", {"metric": 3}, TypeError, "metric"),
    ("grids.polynomial", {"sigma_max": 0.01}, ValueError, "sigma_max"),
    ("latents.linear", {"share": 1.5}, ValueError, "share"),
    ("latents.linear", {"share": "half"}, TypeError, "share"),
    ("latents.spherical", {"a": np.zeros((3, 2))}, ValueError, "a"),
    ("latents.rowwise", {"share": [0.1]}, ValueError, "share"),
    ("solvers.get", {"order": 9}, ValueError, "order"),
    ("solvers.get", {"ordre": 2}, TypeError, "ordre"),
    ("solvers.get", {"name": "heun", "order": 2}, TypeError, "order"),
    ("solvers.Churn", {"high": -1.0}, ValueError, "high"),
    ("solvers.Churn", {"high": np.ones(3)}, TypeError, "high"),
    ("gallery.make", {"names": "basins"}, TypeError, "names"),
    ("gallery.make", {"names": ["nonsense"]}, ValueError, "names"),
    ("gallery.make", {"data": None}, TypeError, "data"),
    ("gallery.make", {"formats": ["svg"]}, ValueError, "formats"),
    ("gallery.make", {"formats": []}, ValueError, "formats"),
    ("gallery.make", {"n": 0}, ValueError, "n"),
    ("gallery.scripts", {"folder": FOLDER}, ValueError, "folder"),
    ("gallery.image_shape", {"data": None}, TypeError, "data"),
    ("learned.RandomFeatureDenoiser.fit", {"sigmas": np.array(["a"])}, TypeError, "sigmas"),
    ("learned.RandomFeatureDenoiser.fit", {"frequencies": (2.0, 1.0)}, ValueError, "frequencies"),
    ("plotting.basin_map", {"index": -np.ones((2, 3), int)}, ValueError, "index"),
    ("plotting.basin_map", {"points": np.ones((3, 1))}, ValueError, "points"),
    ("plotting.boomerang", {"labels": ("x",)}, ValueError, "labels"),
    ("plotting.boomerang", {"shape": np.ones((3, 2))}, ValueError, "shape"),
    ("plotting.claim_figure", {"verdicts": None}, TypeError, "verdicts"),
    ("plotting.claim_figure", {"verdicts": [3]}, TypeError, "verdicts"),
    ("plotting.curves_by", {"looks": {"b": "red"}}, ValueError, "looks"),
    ("plotting.curves_by", {"looks": {"a": "red"}}, TypeError, "looks"),
    ("plotting.geometry_curves", {"values": {"x": ["a"] * 3}}, TypeError, "values"),
    ("plotting.grid_levels", {"grids": {"a": 3}}, TypeError, "grids"),
    ("plotting.image_rows", {"rows": {}}, ValueError, "rows"),
    ("plotting.image_rows", {"limits": {"x": 3.0}}, ValueError, "limits"),
    ("plotting.pca_view", {"plane": "xy"}, TypeError, "plane"),
    ("plotting.perplexity_curve", {"marks": {"a": NAN}}, ValueError, "marks"),
    ("plotting.perplexity_curve", {"bound": [1.0]}, ValueError, "bound"),
    ("plotting.looks_of", {"labels": 3}, TypeError, "labels"),
    ("plotting.looks_of", {"bounds": "ab"}, TypeError, "bounds"),
    ("plotting.save", {"formats": "png"}, TypeError, "formats"),
    ("plotting.solver_error", {"nfe": {}}, ValueError, "errors"),
    ("plotting.throughput", {"sizes": {}}, ValueError, "sizes"),
    ("plotting.to_csv", {"rows": 3}, TypeError, "rows"),
    ("plotting.to_csv", {"rows": [3]}, TypeError, "rows"),
    ("plotting.width_curves", {"floors": [1.0]}, ValueError, "floors"),
)


@pytest.mark.parametrize(("call", "changed", "kind", "named"), SPECIAL)
def test_bad_values_of_one_call(
    call: str, changed: dict[str, Any], kind: type[Exception], named: str
) -> None:
    with pytest.raises(kind, match=re.compile(FORMAT.format(f"({named})[^:]*"), re.DOTALL)) as got:
        CALLS[call](**changed)
    assert type(got.value) is kind


@pytest.mark.skipif(torch is None, reason="without torch")
@pytest.mark.parametrize("call", ["GaussianDenoiser.__call__", "integrate", "sample", "PointSet"])
def test_tensors_without_numbers_on_the_cpu(call: str) -> None:
    argument = "points" if call == "PointSet" else "x"
    for bad in (torch.zeros(3, 2, device="meta"), torch.zeros(3, 2, requires_grad=True)):
        refusal(f"{call}.{argument}", lambda v=bad: CALLS[call](**{argument: v}), TypeError)


# Denoisers that misbehave -----------------------------------------------------------------------

WITH_DENOISER = (
    "integrate", "encode", "sample", "mean_shift", "decode", "distill.consistency",
    "distill.teacher", "distill.progressive",
)  # fmt: skip


@pytest.mark.parametrize("call", WITH_DENOISER)
@pytest.mark.parametrize(
    ("output", "kind"),
    [
        (lambda x: None, TypeError),
        (lambda x: "x", TypeError),
        (lambda x: x.astype(complex), TypeError),
        (lambda x: x.astype(object), TypeError),
        (lambda x: [[1.0], [1.0, 2.0]], TypeError),
        (lambda x: x[:, :1], ValueError),
        (lambda x: x[:1], ValueError),
        (lambda x: 0.0, ValueError),
    ],
)
def test_outputs_that_are_none(call: str, output: Any, kind: type[Exception]) -> None:
    refusal(f"{call}.denoiser", lambda: CALLS[call](denoiser=lambda x, s: output(x)), kind)


@pytest.mark.parametrize("call", WITH_DENOISER)
def test_errors_of_a_denoiser_pass_through(call: str) -> None:
    error = ZeroDivisionError("mine")

    def raises(x: Any, sigma: Any) -> Any:
        raise error

    with pytest.raises(ZeroDivisionError) as caught:
        CALLS[call](denoiser=raises)
    assert caught.value is error


def test_nan_of_a_denoiser_is_told() -> None:
    def bad(x: Any, sigma: Any) -> Any:
        return np.full_like(x, NAN)

    for call in ("integrate", "encode", "sample"):
        path = CALLS[call](denoiser=bad)
        assert (path.result == an.trajectory.Result.NON_FINITE).all()
        assert "NaN" in path.explain()
    assert not CALLS["mean_shift"](denoiser=bad).converged.any()
    with pytest.raises(ValueError, match="finite"):
        CALLS["compare"](model=bad)


# Odd input that is good -------------------------------------------------------------------------


class Wrapped:
    """An object that has numbers, but is no array."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.x, dtype=dtype)


class Packed:
    """An object that hands its numbers out by DLPack only."""

    def __init__(self, x: Any) -> None:
        self.x = np.ascontiguousarray(x)

    def __dlpack__(self, **options: Any) -> Any:
        return self.x.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.x.__dlpack_device__()


class Sub(np.ndarray):
    """A subclass."""


def strided(x: Any) -> Any:
    wide = np.full((2 * len(x), *x.shape[1:]), NAN)
    wide[::2] = x
    return wide[::2]


def read_only(x: Any) -> Any:
    found = x.copy()
    found.flags.writeable = False
    return found


FORMS = {
    "list": lambda x: x.tolist(),
    "tuple": lambda x: tuple(map(tuple, x)) if x.ndim > 1 else tuple(x),
    "read-only": read_only,
    "Fortran": np.asfortranarray,
    "strided": strided,
    "backwards": lambda x: x[::-1].copy()[::-1],
    "big-endian": lambda x: x.astype(">f8"),
    "float16": lambda x: x.astype(np.float16),
    "longdouble": lambda x: x.astype(np.longdouble),
    "int8": lambda x: (2 * x).astype(np.int8) if (x % 1).any() else x.astype(np.int8),
    "subclass": lambda x: x.view(Sub),
    "masked, with nothing masked": lambda x: np.ma.masked_array(x, mask=np.zeros(x.shape, bool)),
    "__array__": Wrapped,
    "DLPack": Packed,
    "float32": lambda x: x.astype(np.float32),
}
if torch is not None:
    FORMS["tensor"] = lambda x: torch.from_numpy(x.copy())
    FORMS["tensor float32"] = lambda x: torch.from_numpy(x.astype(np.float32))

WHOLE = np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 1.0]])
TAKERS = {
    "GaussianDenoiser.__call__": "x", "OptimalDenoiser.__call__": "x",
    "OptimalDenoiser.log_prob": "x", "OptimalDenoiser.score": "x", "integrate": "x",
    "sample": "x", "mean_shift": "x", "decode": "a", "distill.consistency": "x",
    "PointSet": "points", "GaussianMixtureDenoiser": None, "collapse.entropy_bound": "points",
    "latents.spherical": "a", "geometry.cosines": "a", "exact.gaussian_flow": "x",
    "basins": "x", "NoiseSchedule.to_ve": "x",
}  # fmt: skip


def numbers(found: Any) -> list[Any]:
    """Arrays of a result, in a fixed order."""
    if isinstance(found, an.PointSet):
        return [found.points, found.weights]
    if dataclasses.is_dataclass(found):
        return numbers(tuple(getattr(found, each.name) for each in dataclasses.fields(found)))
    if isinstance(found, tuple | list):
        return [one for each in found for one in numbers(each)]
    return [found] if isinstance(found, np.ndarray | np.generic | float) else []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", [each for each in TAKERS if TAKERS[each]])
def test_odd_arrays_give_the_same_numbers(call: str, form: str) -> None:
    """Bit for bit, but for float32, whose results are float32."""
    argument = TAKERS[call]
    changed = {"weights": None, "labels": None} if call == "PointSet" else {}
    plain = numbers(CALLS[call](**{argument: WHOLE}, **changed))
    odd = numbers(CALLS[call](**{argument: FORMS[form](WHOLE)}, **changed))
    assert plain
    assert len(odd) == len(plain)
    for one, other in zip(plain, odd, strict=True):
        if "float32" in form:
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(other, one)
            assert np.asarray(other).dtype == np.asarray(one).dtype


LEVELS = {
    "int": 2,
    "int8": np.int8(2),
    "uint64": np.uint64(2),
    "float16": np.float16(2),
    "float32": np.float32(2),
    "0-d": np.array(2.0),
    "big-endian": np.array(2.0, ">f8"),
    "__array__": Wrapped(2.0),
    "read-only": read_only(np.array(2.0)),
}


@pytest.mark.parametrize("form", LEVELS)
def test_odd_numbers_give_the_same_numbers(form: str) -> None:
    level = LEVELS[form]
    for call, argument in (
        ("GaussianDenoiser.__call__", "sigma"),
        ("OptimalDenoiser.__call__", "sigma"),
        ("integrate", "sigma_max"),
        ("noise", "sigma"),
        ("exact.one_point_flow", "sigma"),
        ("mean_shift", "bandwidth"),
        ("grids.polynomial", "sigma_max"),
        ("collapse.entropy_bound", "sigmas"),
    ):
        plain, odd = (numbers(CALLS[call](**{argument: each})) for each in (2.0, level))
        for one, other in zip(plain, odd, strict=True):
            np.testing.assert_array_equal(other, one)


@pytest.mark.parametrize("form", [each for each in FORMS if "int" not in each])
def test_odd_grids_give_the_same_numbers(form: str) -> None:
    grid = FORMS[form](SIGMAS)
    for call, argument in (
        ("sample", "sigmas"),
        ("grids.validate", "sigmas"),
        ("distill.euler_weights", "sigmas"),
        ("integrate", "save_at"),
    ):
        plain, odd = (numbers(CALLS[call](**{argument: each})) for each in (SIGMAS, grid))
        for one, other in zip(plain, odd, strict=True):
            np.testing.assert_array_equal(other, one)


@pytest.mark.parametrize("scale", [2.0**-1060, 2.0**-500, 2.0**400])
def test_any_scale_gives_the_same_numbers(scale: float) -> None:
    """Of subnormal data too, to the digits that these have."""
    scaled = an.OptimalDenoiser(POINTS * scale)
    plain = an.OptimalDenoiser(POINTS)
    np.testing.assert_allclose(
        scaled(X * scale, 0.5 * scale) / scale,
        plain(X, 0.5),
        rtol=1e-2 if scale < 1e-310 else 1e-14,
    )


def test_no_states_give_none() -> None:
    """Zero rows are a batch, of which nothing is known and nothing wrong."""
    none = np.zeros((0, 2))
    for call in (
        "GaussianDenoiser.__call__",
        "OptimalDenoiser.__call__",
        "GuidedDenoiser.__call__",
    ):
        assert CALLS[call](x=none).shape == (0, 2)
    assert CALLS["integrate"](x=none).states.shape[1:] == (0, 2)
    assert CALLS["sample"](x=none).states.shape == (3, 0, 2)


# The command line -------------------------------------------------------------------------------

VERBS: tuple[tuple[str, str], ...] = (
    ("", "VERB"),
    ("vrify", "VERB"),
    ("--nonsense", "VERB|nonsense"),
    ("verify --data nonsense", "nonsense"),
    ("verify --data two_mons", "two_moons"),
    ("verify --data ,", "--data"),
    ("verify --data /nonsense.npy", "nonsense.npy"),
    ("verify --claims Z9", "claims"),
    ("verify --claims ,", "claims"),
    ("verify --seed -1", "--seed"),
    ("verify --seed 1.5", "--seed"),
    ("verify --jobs 0", "--jobs"),
    ("verify --n x", "--n"),
    ("verify --data two_moons --n 0", "n"),
    ("verify --data two_moons --n 9 --sigma-max -1", "sigma_max"),
    ("verify --data two_moons --n 9 --sigma-max nan", "sigma_max"),
    ("verify --data two_moons --n 9 --sigma-max 1 --sigma-min 2", "sigma_max"),
    ("verify --data two_moons --n 9 --model nonsense:thing", "--model"),
    ("verify --data two_moons --n 9 --model nonsense.pt", "--model"),
    ("verify --out /dev/null/x", "--out"),
    ("verify --dta two_moons", "--dta"),
    ("explain", "claim"),
    ("explain Z9", "claim"),
    ("figures nonsense", "names"),
    ("figures --format svg", "formats"),
    ("figures --jobs 0", "jobs"),
    ("figures --out /dev/null/x", "--out"),
    ("figures --gallery basins", "--gallery|names"),
    ("figures --list nonsense", "names"),
    ("figures --n 0", "n"),
    ("explore --data nonsense", "nonsense"),
    ("explore --levels 1", "levels"),
    ("explore --grid 0", "grid"),
    ("explore --n 0", "n"),
    ("explore --n -3", "n"),
    ("explore --seed -1", "--seed"),
    ("explore --sigma-max 0", "sigma_max"),
    ("explore --out /dev/null/x/y.html", "--out"),
    ("audit", "SOLVER"),
    ("audit huen", "solver"),
    ("audit nonsense:thing", "sampler"),
    ("audit math:nonsense", "callable"),
    ("audit diffusers:Nonsense", "scheduler"),
    ("audit heun --data nonsense", "nonsense"),
    ("audit heun --order 0", "order"),
    ("audit heun --nfe 0", "nfe"),
    ("audit heun --starts 1", "starts"),
    ("audit heun --seed -1", "--seed"),
    ("audit heun --parametrization z", "parametrization"),
    ("audit heun --json /dev/null/x/y", "--json"),
)


@pytest.mark.parametrize(("line", "named"), VERBS)
def test_bad_command_lines(
    line: str,
    named: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 2, one message on stderr, nothing on stdout, and no file written."""
    monkeypatch.chdir(tmp_path)
    try:
        code = main(line.split())
    except SystemExit as stop:  # of argparse
        code = stop.code
    told = capsys.readouterr()
    assert code == 2
    assert not told.out
    assert "Traceback" not in told.err
    assert re.search(f"error: .*({named})", told.err), told.err
    assert not list(tmp_path.rglob("*"))


# Anything at all --------------------------------------------------------------------------------

ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | hnp.arrays(
        hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    )
    | st.sampled_from([object(), np.zeros(3, object), np.zeros(2, [("a", "f8")]), Broken(), int]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)
MAIN = {
    name: next(iter(call.given))
    for name, call in CALLS.items()
    # minutes of work for what may be good, and denoisers, whose own errors pass through
    if not name.startswith(("audit", "gallery.make", "learned.train", "explore", "verify"))
    and next(iter(call.given), "") not in ("denoiser", "model", "")
}
SENTENCE = re.compile(FORMAT.format("[^:]+"), re.DOTALL)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(MAIN)), ODD)
def test_anything_is_taken_or_refused_in_one_sentence(name: str, thing: Any) -> None:
    try:
        with contextlib.chdir(FOLDER):  # some take it for the name of a file to write
            CALLS[name](**{MAIN[name]: thing})
    except (ValueError, TypeError, FileNotFoundError) as error:
        assert SENTENCE.match(str(error)), (name, error)
