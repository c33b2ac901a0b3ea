"""Every public function, class and method, with one good call each.

A table for tests that go over the whole surface: name -> a callable and arguments by name, as many
of them as can be given something bad. Good calls are tiny, and most denoise in closed form.
"""

from __future__ import annotations

import atexit
import inspect
import shutil
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import analytic as an
from analytic import exact, gallery, peers, plotting
from analytic.kernels import threads
from analytic.report import Evidence

__all__ = ["CALLS", "EXEMPT", "FOLDER", "LEFT_OUT", "ROOMS", "Call", "surface"]


class Call(NamedTuple):
    """A callable and arguments that it takes."""

    function: Callable[..., Any]
    given: Mapping[str, Any]

    def __call__(self, **changed: Any) -> Any:
        """The good call, with some arguments changed."""
        return self.function(**{**self.given, **changed})


ROOMS = (
    an,
    an.claims,
    an.collapse,
    an.datasets,
    an.distill,
    an.geometry,
    an.grids,
    an.latents,
    an.learned,
    an.plotting,
    an.scale,
    an.solvers,
    exact,
    gallery,
    peers,
    threads,
)
"""Modules whose `__all__` is public."""

EXEMPT = {
    **dict.fromkeys(("scale.connect", "scale.sharded"), "needs a cluster: test_scale_dask"),
    **dict.fromkeys(
        (
            "Audit", "Trajectory", "Comparison", "Report", "Verdict", "distill.Ends",
            "distill.Halving",
            "distill.Teacher", "collapse.Certificate", "collapse.Perplexity", "collapse.Scales",
            "geometry.Boomerang", "geometry.Frame", "geometry.Frenet", "geometry.Spectrum",
            "plotting.Row", "plotting.Look", "learned.TorchDenoiser", "learned.TrainedDenoiser",
            "scale.AwayPoints", "scale.Shard", "scale.ShardedPoints", "scale.StoredPoints",
            "scale.Summary",
            "learned.RandomFeatureDenoiser", "learned.TrainedDenoiser.of", "gallery.Made",
        ),
        "a result: the library fills it in, and callers read it",
    ),
    **dict.fromkeys(
        (
            "claims.Case", "claims.Claim", "claims.Subject", "solvers.Solver", "solvers.Node",
            "peers.Scheduler",
        ),
        "a record that only authors of a claim or a solver fill in",
    ),
    **dict.fromkeys(
        (
            "OptimalDenoiser.evaluate", "OptimalDenoiser.motion", "OptimalDenoiser.trap_sums",
            "learned.TorchDenoiser.call", "solvers.euler_step", "solvers.Churn.level",
            "claims.units", "threads.share", "threads.checked", "threads.limited", "PointSet.at",
            "scale.folded", "scale.merged", "scale.elsewhere",
        ),
        "for callers that have checked: it is called in inner loops",
    ),
    "Denoiser": "a protocol",
    "Denoiser.__call__": "a protocol",
    "gallery.Lab": "handed to a figure's script; it reads files that the library keeps",
    "gallery.Script": "a file of a folder that `scripts` has found",
    "gallery.Unfit": "an exception",
    "learned.from_diffusers": "needs diffusers: see test_adapters",
    "gallery.asked": "takes what argparse has parsed",
    "gallery.main": "takes a command line: see the verbs",
    "gallery.options": "takes an ArgumentParser",
    "gallery.page": "takes what `make` returns",
}  # fmt: skip
"""What no table needs to hold, and why; with a class go its methods that are not in the table."""

LEFT_OUT = {
    "solvers.get": {"options"},
    "peers.scheduler": {"options"},
    "learned.as_denoiser": {"argument"},
    "NoiseSchedule.levels": {"argument"},
    "grids.validate": {"argument"},
}
"""Parameters without a row: open options, and what an error is to call its argument."""

FOLDER = Path(tempfile.mkdtemp(prefix="analytic-calls-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.5, 1.0]])
SET = an.PointSet(POINTS, labels=[0, 0, 1, 1], name="four")
LINE = an.PointSet([[0.0], [2.0]])
D = an.OptimalDenoiser(SET)
G = an.GaussianDenoiser([0.5, -0.25], [[1.0, 0.25], [0.25, 0.5]])
LOW_RANK = an.LowRankGaussianDenoiser([0.0, 0.0], [[1.0], [0.0]], [2.0], 0.5)
MIXTURE = an.GaussianMixtureDenoiser(
    [0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], np.stack([np.eye(2)] * 2)
)
ON_A_LINE = an.GaussianMixtureDenoiser([0.5, 0.5], [[-1.0], [1.0]], np.full((2, 1, 1), 0.25))
SMOOTHED = an.SmoothedDenoiser(SET, 0.2, directions=4)
GUIDED = an.GuidedDenoiser(G, LOW_RANK, 1.5)
SPLICED = an.Spliced(G, LOW_RANK, 1.0)
FEATURES = an.learned.RandomFeatureDenoiser.fit(POINTS, [2.0, 0.5], 4)
X = np.array([[0.25, 0.5], [1.0, -0.5], [2.0, 1.0]])
SIGMAS = np.array([2.0, 1.0, 0.5])
STATES = np.stack([X, 0.75 * X + 0.1 * X**2, 0.5 * X, 0.4 * X, 0.3 * X + 0.01, 0.2 * X**2, 0.1 * X])
SPACE = np.concatenate([STATES, STATES[..., :1]], axis=2)
PATH = an.sample(G, X, SIGMAS)
VP = an.NoiseSchedule.vp()


def _core() -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    flow = {"sigma_max": 2.0, "sigma_min": 0.5, "rtol": 1e-3, "atol": 1e-6, "max_steps": 50}
    more = {"save_at": SIGMAS, "estimate_error": False, "quantities": (), "tangent": None}
    yield (
        "audit",
        an.audit,
        {
            "sampler": "euler", "points": POINTS, "order": 1, "nfe": 1, "starts": 2, "seed": 0,
            "grid": an.grids.polynomial, "parametrization": "x0", "progress": False,
        },
    )  # fmt: skip
    yield "basins", an.basins, {"denoiser": D, "x": X, "sigma": 1.0, "rtol": 1e-3, "atol": 1e-6}
    yield "certificate", an.certificate, {"denoiser": D, "x": X, "sigma": 0.1, "index": [0, 1, 2]}
    yield (
        "compare",
        an.compare,
        {
            "model": G, "optimal": D, "sigmas": SIGMAS, "n": 4, "starts": 2, "seed": 0,
            "solver": "euler", "rtol": 1e-3, "held_out": X, "replace_at": (1.2,), "part": 0.1,
            "keep": False, "name": "a model", "progress": False,
        },
    )  # fmt: skip
    yield (
        "decode",
        an.decode,
        {
            "denoiser": G, "a": X, "b": X[::-1], "shares": 3, "how": "linear", "sigma_max": 2.0,
            "sigma_min": 0.5, "rtol": 1e-3, "atol": 1e-6, "estimate_error": False, "tol": 1e-3,
            "sigmas": SIGMAS, "solver": "euler",
        },
    )  # fmt: skip
    yield (
        "encode",
        an.encode,
        {"denoiser": G, "x": X, **flow, **more, "progress": False, "threads": None},
    )
    yield (
        "integrate",
        an.integrate,
        {
            "denoiser": G,
            "x": X,
            **flow,
            **more,
            "schedule": None,
            "progress": False,
            "threads": None,
        },
    )
    yield (
        "explore",
        an.explore,
        {
            "points": POINTS, "path": FOLDER / "page.html", "sigma_max": 2.0, "sigma_min": 0.5,
            "levels": 3, "grid": 2, "span": 3.0, "seed": 0, "progress": False,
        },
    )  # fmt: skip
    shift = {"denoiser": D, "bandwidth": 0.3, "tol": 1e-3, "max_steps": 50}
    yield "mean_shift", an.mean_shift, {**shift, "x": X}
    yield "modes", an.modes, {**shift, "starts": X, "merge": 1e-3}
    yield "noise", an.noise, {"n": 3, "like": G, "sigma": 2.0, "seed": 0}
    yield (
        "sample",
        an.sample,
        {
            "denoiser": G, "x": X, "sigmas": SIGMAS, "solver": "heun", "churn": 0.5, "seed": 0,
            "schedule": None, "progress": False,
        },
    )  # fmt: skip
    yield (
        "verify",
        an.verify,
        {
            "denoiser": D, "points": SET, "claims": "A9", "seed": 0, "quick": True,
            "sigma_max": 2.0, "sigma_min": 0.5, "progress": False, "resume": None, "model": None,
        },
    )  # fmt: skip
    yield "Trajectory.select", PATH.select, {"rows": [0, 2]}
    yield "claims.explain", an.claims.explain, {"claim": "A1"}
    yield "claims.select", an.claims.select, {"claims": "A1,C*"}
    yield (
        "claims.Claim.check",
        an.claims.registry["A9"].check,
        {
            "denoiser": D, "points": SET, "rng": 0, "quick": True, "sigma_max": 2.0,
            "sigma_min": 0.5,
        },
    )  # fmt: skip
    report = an.verify(D, SET, "A9", quick=True)
    yield "Report.to_json", report.to_json, {"path": FOLDER / "report.json"}
    yield "Report.to_html", report.to_html, {"path": FOLDER / "report.html", "figures": None}
    compared = an.compare(G, D, sigmas=SIGMAS, n=4, starts=2, solver="euler")
    yield "Comparison.parted", compared.parted, {"share": 0.1, "of": "scale"}
    yield "Comparison.table", compared.table, {"rows": 2}
    yield "Comparison.tables", compared.tables, {"rows": 2}
    yield "Comparison.to_csv", compared.to_csv, {"path": FOLDER / "compared.csv"}
    yield "Comparison.to_json", compared.to_json, {"path": FOLDER / "compared.json"}
    empty = an.Audit("none", (), {}, 1.0, 0, {})
    yield "Audit.to_json", empty.to_json, {"path": FOLDER / "audit.json"}
    yield "Basins.shares", an.basins(D, X, 1.0).shares, {"count": 4}


def _denoisers() -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    yield "PointSet", an.PointSet, {
        "points": POINTS, "weights": [1, 2, 3, 4], "labels": [0, 0, 1, 1], "name": "four",
    }  # fmt: skip
    yield "PointSet.given", SET.given, {"label": 1}
    yield "PointSet.members", SET.members, {"label": 1}
    yield "PointSet.known_label", SET.known_label, {"label": 1}
    yield "PointSet.subset", SET.subset, {"rows": [0, 2]}
    yield "PointSet.renamed", SET.renamed, {"name": "4"}
    yield "PointSet.sample", SET.sample, {"count": 2, "rng": np.random.default_rng(0)}
    yield "GaussianDenoiser", an.GaussianDenoiser, {"mean": [0.0, 1.0], "covariance": np.eye(2)}
    yield (
        "LowRankGaussianDenoiser",
        an.LowRankGaussianDenoiser,
        {"mean": [0.0, 1.0], "basis": [[1.0], [0.0]], "variances": [2.0], "residual": 0.5},
    )
    yield (
        "GaussianMixtureDenoiser",
        an.GaussianMixtureDenoiser,
        {"weights": [1.0, 2.0], "means": X[:2], "covariances": np.stack([np.eye(2)] * 2)},
    )
    yield (
        "GuidedDenoiser",
        an.GuidedDenoiser,
        {"conditional": G, "unconditional": LOW_RANK, "weight": 1.5, "interval": (0.1, 2.0)},
    )
    yield "OptimalDenoiser", an.OptimalDenoiser, {
        "points": SET, "method": "auto", "tolerance": 1e-13, "threads": None,
    }  # fmt: skip
    yield "SmoothedDenoiser", an.SmoothedDenoiser, {
        "points": SET, "width": 0.1, "growth": 0.0, "directions": 4, "seed": 0
    }  # fmt: skip
    yield "Spliced", an.Spliced, {"high": G, "low": LOW_RANK, "sigma": 1.0}
    query = {"x": X, "sigma": 0.5}
    fields = ("jacobian", "log_prob", "score", "sigma_derivative", "trace_cov")
    closed = {"Gaussian": G, "LowRankGaussian": LOW_RANK, "GaussianMixture": MIXTURE}
    for kind, denoiser in {**closed, "Guided": GUIDED, "Optimal": D, "Smoothed": SMOOTHED}.items():
        name = f"{kind}Denoiser"
        yield f"{name}.__call__", denoiser, query
        for each in fields:
            if callable(method := getattr(denoiser, each, None)):
                yield f"{name}.{each}", method, query
        yield f"{name}.jvp", denoiser.jvp, {**query, "v": X}
    yield "GaussianMixtureDenoiser.responsibilities", MIXTURE.responsibilities, query
    yield "Spliced.__call__", SPLICED, query
    yield "OptimalDenoiser.class_prob", D.class_prob, {**query, "log": False}
    yield "OptimalDenoiser.given", D.given, {"label": 1}
    yield "OptimalDenoiser.posterior", D.posterior, query
    yield "OptimalDenoiser.truncation", D.truncation, query
    yield "Posterior.top", D.posterior(X, 0.5).top, {"k": 2}
    yield "Posterior.select", D.posterior(X, 0.5).select, {"at": [0, 2]}
    yield "learned.RandomFeatureDenoiser.__call__", FEATURES, query


def _rooms() -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    for make in ("vp", "sub_vp"):
        yield (
            f"NoiseSchedule.{make}",
            getattr(an.NoiseSchedule, make),
            {"beta_min": 0.1, "beta_max": 20.0},
        )
    yield "NoiseSchedule.cosine", an.NoiseSchedule.cosine, {"offset": 0.008}
    yield "NoiseSchedule.discrete", an.NoiseSchedule.discrete, {"alphas_cumprod": [0.9, 0.5, 0.1]}
    yield "NoiseSchedule", an.NoiseSchedule, {
        "name": "mine", "alpha": np.ones_like, "sigma": np.asarray,
        "alpha_derivative": np.zeros_like, "sigma_derivative": np.ones_like, "level": np.asarray,
        "time": np.asarray, "scale": np.ones_like, "t_min": 0.0, "t_max": 80.0,
    }  # fmt: skip
    yield "NoiseSchedule.levels", VP.levels, {"sigma": SIGMAS}
    yield "NoiseSchedule.from_ve", VP.from_ve, {"x_hat": X, "sigma": 0.5}
    yield "NoiseSchedule.to_ve", VP.to_ve, {"x": X, "t": 0.5}
    yield "NoiseSchedule.velocity", VP.velocity, {"x": X, "denoised": 0.5 * X, "t": 0.5}
    cert = an.certificate(D, X, 0.1)
    yield "collapse.Certificate.tail", cert.tail, {"sigma": 0.01}
    yield "collapse.entropy_bound", an.collapse.entropy_bound, {"points": SET, "sigmas": SIGMAS}
    yield (
        "collapse.perplexity",
        an.collapse.perplexity,
        {"denoiser": D, "sigmas": SIGMAS, "count": 4, "seed": 0},
    )
    near = {"points": SET, "starts": 2, "rtol": 0.1}
    yield "collapse.scales", an.collapse.scales, {**near, "count": 4, "seed": 0}
    yield "collapse.speciation", an.collapse.speciation, near
    toy = {"n": 9, "seed": 0}
    for name in ("checkerboard", "digits"):
        yield f"datasets.{name}", getattr(an.datasets, name), toy
    for name in ("eight_gaussians", "swiss_roll", "two_moons"):
        yield f"datasets.{name}", getattr(an.datasets, name), {**toy, "noise": 0.1}
    yield "datasets.random_high_d", an.datasets.random_high_d, {**toy, "dim": 3}
    yield "datasets.patches", an.datasets.patches, {**toy, "size": 4, "channels": 1}
    yield "datasets.two_points", an.datasets.two_points, {"distance": 2.0, "dim": 1}
    yield "datasets.get", an.datasets.get, {**toy, "name": "two_moons"}
    np.save(FOLDER / "points.npy", POINTS)
    file = FOLDER / "points.npy"
    yield "datasets.load", an.datasets.load, {"path": file, "name": "p", "progress": False}
    yield "datasets.resolve", an.datasets.resolve, {
        "name_or_path": "two_moons", **toy, "progress": False
    }  # fmt: skip
    yield (
        "distill.consistency",
        an.distill.consistency,
        {
            "denoiser": G, "x": X, "sigma": 2.0, "sigma_min": 0.5, "rtol": 1e-3, "atol": 1e-6,
            "max_steps": 50, "estimate_error": False,
        },
    )  # fmt: skip
    yield "distill.euler_weights", an.distill.euler_weights, {"sigmas": SIGMAS}
    yield "distill.implied", an.distill.implied, {
        "x": X, "end": 0.5 * X, "sigma": 2.0, "sigma_end": 1.0
    }  # fmt: skip
    steps = {"denoiser": G, "x": X, "sigmas": SIGMAS}
    yield "distill.progressive", an.distill.progressive, {**steps, "steps": 2}
    yield "distill.teacher", an.distill.teacher, {**steps, "solver": "euler"}
    leap = {"x": X, "sigma": 2.0, "sigma_to": 0.5}
    line = {**leap, "x": X[:, :1]}
    yield "exact.gaussian_flow", exact.gaussian_flow, {"data": G, **leap}
    yield "exact.mixture_flow", exact.mixture_flow, {"mixture": ON_A_LINE, **line}
    yield "exact.one_point_flow", exact.one_point_flow, {"point": [0.5, 1.0], **leap}
    yield "exact.product_flow", exact.product_flow, {"lines": [LINE, LINE], **leap}
    yield "exact.quantile_flow", exact.quantile_flow, {"points": LINE, **line}
    yield "exact.quantile_gain", exact.quantile_gain, {"points": LINE, "y": X[:, :1] / 2, **line}
    yield "exact.two_point_flow", exact.two_point_flow, {"points": POINTS[:2], **leap}
    yield "geometry.align", an.geometry.align, {"paths": STATES, "reference": STATES[:, 0]}
    yield "geometry.cosines", an.geometry.cosines, {"a": X, "b": X[::-1]}
    for name in ("boomerang", "chord", "deviation", "magnitudes", "pca_spectrum"):
        yield f"geometry.{name}", getattr(an.geometry, name), {"states": STATES}
    yield "geometry.chord_frame", an.geometry.chord_frame, {"states": STATES, "components": 1}
    yield "geometry.pca", an.geometry.pca, {"states": STATES, "components": 1}
    yield (
        "geometry.curvature_torsion",
        an.geometry.curvature_torsion,
        {"states": STATES, "parameter": np.arange(7.0), "window": 5, "degree": 3},
    )
    yield "geometry.distances", an.geometry.distances, {"states": STATES, "target": X}
    yield (
        "geometry.frenet",
        an.geometry.frenet,
        {"velocity": X, "acceleration": X[::-1], "jerk": X**2},
    )
    yield "geometry.principal", an.geometry.principal, {
        "points": POINTS, "components": 1, "weights": [1, 2, 3, 4]
    }  # fmt: skip
    ends = {"n": 5, "sigma_max": 80.0, "sigma_min": 0.1}
    yield "grids.discrete", an.grids.discrete, {
        "n": 2, "levels": [0.1, 1.0, 2.0], "append_zero": False
    }  # fmt: skip
    yield "grids.exponential", an.grids.exponential, {**ends, "rho": 1.0}
    yield "grids.from_schedule", an.grids.from_schedule, {"schedule": VP, **ends}
    yield "grids.gits", an.grids.gits, {
        "trajectory": PATH, "n": 2, "metric": "distance", "coefficient": 1.0
    }  # fmt: skip
    yield "grids.log_snr", an.grids.log_snr, ends
    yield "grids.polynomial", an.grids.polynomial, {**ends, "rho": 7.0}
    yield "grids.vp_uniform", an.grids.vp_uniform, {**ends, "beta_min": 0.1, "beta_max": 20.0}
    yield "grids.noise_range", an.grids.noise_range, {
        "points": SET, "sigma_max": 2.0, "sigma_min": 0.5
    }  # fmt: skip
    yield "grids.validate", an.grids.validate, {"sigmas": SIGMAS}
    pair = {"a": X, "b": X[::-1] + 1, "share": 0.5}
    for name in ("linear", "spherical", "variance_preserving"):
        yield f"latents.{name}", getattr(an.latents, name), pair
    yield "latents.rowwise", an.latents.rowwise, {
        "how": "linear", **pair, "share": [0.1, 0.5, 0.9]
    }  # fmt: skip
    yield "solvers.get", an.solvers.get, {"name": "ipndm", "order": 2}
    yield "solvers.Solver.nfe", an.solvers.get("heun").nfe, {"steps": 3, "to_zero": False}
    yield "solvers.Churn", an.solvers.Churn, {
        "amount": 0.5, "low": 0.0, "high": 1.0, "inflation": 1.0
    }  # fmt: skip
    yield "gallery.image_shape", gallery.image_shape, {"data": SET}
    yield "gallery.scripts", gallery.scripts, {"names": (), "folder": None}
    yield "gallery.make", gallery.make, {
        "names": [gallery.scripts()[0].name], "data": ["two_moons"], "out": FOLDER / "out",
        "model": None, "formats": ("png",), "n": 3, "jobs": 1, "folder": None,
    }  # fmt: skip
    yield "peers.scheduler", peers.scheduler, {"name": "HeunDiscreteScheduler", "double": False}
    yield "scale.stored", an.scale.stored, {
        "points": POINTS, "weights": [1, 2, 3, 4], "block": 2, "name": "four", "progress": False
    }  # fmt: skip
    yield "threads.set_num_threads", threads.set_num_threads, {"threads": 1}
    yield "set_num_threads", an.set_num_threads, {"threads": 1}


def _drawing() -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    curve = np.array([3.0, 2.0, 1.0])
    found = an.collapse.perplexity(D, SIGMAS, 4)
    compared = an.compare(G, D, sigmas=SIGMAS, n=4, starts=2, solver="euler", held_out=X)
    square = np.arange(6.0).reshape(2, 3)
    extent = (-1.0, 1.0, -1.0, 2.0)
    ax = {"ax": None, "legend": True}
    calls: dict[str, dict[str, Any]] = {
        "basin_map": {"index": square.astype(int), "extent": extent, "ax": None, "points": POINTS},
        "boomerang": {
            "coordinates": SPACE, "ax": None, "shape": SPACE[:, 0],
            "labels": ("x", "y", "z"), "look": plotting.SAMPLING,
        },
        "certificate_scatter": {"nearest": curve, "sigma": curve, **ax},
        "claim_figure": {"verdicts": an.verify(D, SET, "A9", quick=True).verdicts},
        "comparison_figure": {"comparison": compared},
        "curves_by": {
            "positions": curve, "values": {"a": curve}, "xlabel": "x", "ylabel": "y",
            "looks": None, "jumps": False, "marks": 0, **ax,
        },
        "density_contours": {
            "x": [0.0, 1.0, 2.0], "y": [0.0, 1.0], "log_density": square, "ax": None,
            "below": (0.5, 2.0), "label": "density",
        },
        "level_text": {"sigma": 80.0},
        "encode": {"figure": plotting.figure(1.0, 1.0), "format": "png", "truetype": True},
        "evidence": {"evidence": Evidence("x", "y", curve, {"a": curve}), **ax},
        "figure": {"width": 2.0, "height": 1.0},
        "gamma_factors": {"sigmas": curve, "factors": {"heun": curve}, **ax},
        "geometry_curves": {
            "sigmas": SIGMAS, "values": {"x": curve}, "ylabel": "y", "logy": False, "looks": None,
            "middle": "mean", **ax,
        },
        "grid_error": {"steps": [1, 2, 4], "errors": {"a": {"heun": curve}}, **ax},
        "grid_levels": {"grids": {"a": [SIGMAS]}, **ax},
        "image_rows": {
            "rows": {"x": np.zeros((3, 2, 2))}, "sigmas": SIGMAS, "ax": None, "limits": None,
        },
        "jump_curves": {
            "positions": curve[::-1], "distances": {"a": STATES[:3, :, 0]}, "xlabel": "x",
            "ylabel": "y", "looks": None, "marked": True, "bands": True, **ax,
        },
        "likelihood_ball": {
            "x": [0.0, 1.0], "denoised": [0.5, 0.5], "rise": square, "extent": extent,
            "step": [0.1, 0.9], "learned": [0.2, 0.3], "name": "r", "points": POINTS, **ax,
        },
        "looks_of": {"labels": ["a", "b"], "bounds": ()},
        "loss_split": {"comparison": compared, **ax},
        "memorisation": {"comparison": compared, **ax},
        "numbers": {"figure": plotting.figure(1.0, 1.0)},
        "pca_view": {
            "trajectory": PATH, "points": POINTS, "limit": 1.6, "plane": None, **ax,
        },
        "perplexity_curve": {"found": found, "bound": curve, "marks": {"a": 1.0}, **ax},
        "plane_paths": {
            "paths": {"a": STATES}, "points": POINTS, "looks": None, "steps": (), "limit": 1.2,
            **ax,
        },
        "save": {
            "figure": plotting.figure(1.0, 1.0), "stem": FOLDER / "f", "formats": ("png",),
            "truetype": True,
        },
        "score_deviation": {"comparison": compared, "unit": "scale", **ax},
        "shared_legend": {"result": plotting.figure(1.0, 1.0), "width": 1.0},
        "solver_error": {
            "nfe": {"heun": [1, 2, 4]}, "errors": {"heun": curve}, "orders": {"heun": 2.0},
            "guides": (2,), **ax,
        },
        "theorem_fraction": {"comparison": compared, **ax},
        "thin_ticks": {"axes": plotting.figure(1.0, 1.0).subplots()},
        "throughput": {
            "sizes": {"a": [1, 2, 4]}, "rates": {"a": curve}, "ours": "analytic", **ax,
        },
        "to_csv": {"rows": [plotting.Row("p", "s", "line", 0.0, 1.0)]},
        "trajectories_2d": {"trajectory": PATH, "points": POINTS, "limit": 2.0, **ax},
        "variance_spectrum": {"shares": {"a": curve}, "count": 3, "looks": None, **ax},
        "width_curves": {
            "widths": [1, 2, 4], "sigmas": SIGMAS, "values": np.ones((3, 3)), "floors": curve,
            "ylabel": "y", **ax,
        },
    }  # fmt: skip
    for name, given in calls.items():
        drawn = getattr(plotting, name)
        # a generator, which does nothing before it is asked
        yield (
            f"plotting.{name}",
            (lambda **each: list(plotting.numbers(**each))) if name == "numbers" else drawn,
            given,
        )

    def within(manager: Callable[..., Any]) -> Callable[..., None]:
        def enter(**given: Any) -> None:
            with manager(**given):
                pass

        return enter

    yield "plotting.theme", within(plotting.theme), {"context": "paper", "column": "single"}
    yield "plotting.canvas", within(plotting.canvas), {"ax": None, "width": 2.0, "height": 1.0}


def _learned() -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    learned, rng = an.learned, np.random.default_rng(0)
    yield "learned.LogNormal", learned.LogNormal, {"mean": -1.2, "std": 1.2, "sigma_data": 1.0}
    yield "learned.LogUniform", learned.LogUniform, {"low": 1e-3, "high": 160.0}
    for name, make in (
        ("LogNormal", learned.LogNormal(sigma_data=1.0)),
        ("LogUniform", learned.LogUniform()),
    ):
        yield f"learned.{name}.__call__", make, {"rng": rng, "count": 2}
    yield "learned.RandomFeatureDenoiser.fit", learned.RandomFeatureDenoiser.fit, {
        "points": POINTS, "sigmas": SIGMAS, "n_features": 2, "ridge": 1e-8, "seed": 0,
        "frequencies": (0.3, 10.0), "progress": False,
    }  # fmt: skip
    file = FOLDER / "features.npz"
    FEATURES.save(file)
    yield "learned.RandomFeatureDenoiser.load", learned.RandomFeatureDenoiser.load, {"path": file}
    yield "learned.RandomFeatureDenoiser.save", FEATURES.save, {"path": file}
    yield "learned.load", learned.load, {"path": file}


def _torch() -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:

    learned = an.learned
    module = learned.to_torch(G, parameterization="x0", shape=2)
    layout = {"shape": 2, "layout": "hwc"}
    told = {"labels": None, "guidance": 1.0, "null": None, "device": None, "batch": 2}
    yield "learned.to_torch", learned.to_torch, {
        "denoiser": G, "parameterization": "x0", **layout, "schedule": None, "time": None
    }  # fmt: skip
    yield "learned.from_torch", learned.from_torch, {
        "module": module, "parameterization": "x0", "schedule": None, **layout, "time": None,
        **told, "round_sigma": False, "dtype": None,
    }  # fmt: skip
    yield "learned.TorchDenoiser.__call__", learned.from_torch(
        module, parameterization="x0", shape=2
    ), {"x": X, "sigma": 0.5}  # fmt: skip
    yield "learned.as_denoiser", learned.as_denoiser, {
        "thing": G, "schedule": None, "shape": None, "layout": "hwc", **told, "batch": None,
        "dim": 2,
    }  # fmt: skip
    yield "learned.as_edm", learned.as_edm, {
        "denoiser": G, **layout, "sigma_min": 0.1, "sigma_max": 2.0
    }  # fmt: skip
    train = {
        "points": SET, "width": 2, "depth": 1, "steps": 1, "batch": 2, "lr": 1e-3, "warmup": 1,
        "schedule": "cosine", "half_life": 5, "levels": None, "labels": True,
        "label_dropout": 0.1, "seed": 0, "threads": None, "device": "cpu", "checkpoint": None,
        "checkpoint_every": 5, "progress": False,
    }  # fmt: skip
    yield "learned.train_mlp", learned.train_mlp, train
    yield "learned.train_conv", learned.train_conv, {
        **train, "points": np.ones((2, 16)) * np.array([[1.0], [2.0]]), "labels": False,
        "shape": (4, 4, 1),
        "layout": "hwc",
    }  # fmt: skip
    trained = learned.train_mlp(SET, width=2, depth=1, steps=1, batch=2, labels=True, threads=None)
    yield "learned.TrainedDenoiser.__call__", trained, {"x": X, "sigma": 0.5}
    yield "learned.TrainedDenoiser.given", trained.given, {"label": 1}
    yield "learned.TrainedDenoiser.save", trained.save, {"path": FOLDER / "trained.pt"}


def _table() -> dict[str, Call]:
    rows = [*_core(), *_denoisers(), *_rooms(), *_drawing(), *_learned()]
    with suppress(ImportError):
        rows += _torch()
    return {name: Call(function, given) for name, function, given in rows}


CALLS = _table()


def surface() -> Iterator[tuple[str, set[str]]]:
    """Names of everything public that takes arguments, with those."""
    seen: set[int] = set()
    for room in ROOMS:
        prefix = "" if room is an else f"{room.__name__.rpartition('.')[2]}."
        for name in room.__all__:
            thing = getattr(room, name)
            if isinstance(thing, types.ModuleType) or not callable(thing) or id(thing) in seen:
                continue
            seen.add(id(thing))
            yield f"{prefix}{name}", _parameters(thing)
            if inspect.isclass(thing):
                yield from _methods(f"{prefix}{name}", thing)


def _methods(name: str, thing: type) -> Iterator[tuple[str, set[str]]]:
    for key in dir(thing):
        found = inspect.getattr_static(thing, key)
        plain = isinstance(found, types.FunctionType | staticmethod | classmethod)
        if plain and (key == "__call__" or key[0] != "_"):
            bound = 0 if isinstance(found, staticmethod | classmethod) else 1
            given = _parameters(getattr(thing, key), bound)
            if given:
                yield f"{name}.{key}", given


def _parameters(function: Callable[..., Any], bound: int = 0) -> set[str]:
    try:
        return set(list(inspect.signature(function).parameters)[bound:])
    except (TypeError, ValueError):
        return set()
