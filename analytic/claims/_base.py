"""What a claim is, what it is checked on, and how its outcome is put together.

A `Claim` carries its statement and source, and one function that tests it on a
`Case`. A case is a subject (a denoiser with its data, the flow, sampler,
certificate and training that act on it, and the noise), a seed, and what claims share so that it is
computed once: the exact trajectories. Each claim draws from its own random
stream, derived from the seed and its id, so its verdict does not depend on
which other claims are run.

Every claim also carries a counter-model: a subject with one subtle fault, which
the claim's check must reject. A check that cannot fail tests nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, grids
from .._lazy import cached_property
from ..collapse import certificate
from ..denoisers import Denoiser, OptimalDenoiser, apply
from ..flow import integrate
from ..grids import noise_range
from ..learned import RandomFeatureDenoiser
from ..noise import noise
from ..points import PointSet, as_points
from ..report import Evidence, Status, Verdict
from ..sampling import sample
from ..trajectory import Trajectory
from . import _oracle
from .measures import TOLERANCE

__all__ = ["TOLERANCE", "Case", "Claim", "Subject", "lost", "outcome", "untested"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Subject:
    """What is under test: a denoiser on its data, and the machinery that acts on it."""

    denoiser: Denoiser
    points: PointSet
    build: Callable[[PointSet], Denoiser] | None = None
    """makes the same kind of denoiser for other data; None if it cannot be rebuilt."""
    flow: Callable[..., Trajectory] = integrate
    sampler: Callable[..., Trajectory] = sample
    certify: Callable[..., Any] = certificate
    learn: Callable[..., RandomFeatureDenoiser] = RandomFeatureDenoiser.fit
    draw: Callable[..., Floats] = noise
    model: Denoiser | None = None
    """a learned denoiser of the data, on which claims about learned and about any denoisers
    are tested; None for random features, where a claim needs one."""
    model_name: str = "model"

    @staticmethod
    def of(denoiser: Denoiser, points: PointSet) -> Subject:
        """The subject a user means by a denoiser and its data."""
        build = OptimalDenoiser if isinstance(denoiser, OptimalDenoiser) else None
        return Subject(denoiser, points, build)


@dataclass(frozen=True)
class Case:
    """A subject with a seed and the sizes of a run."""

    subject: Subject
    seed: int
    quick: bool = False
    sigma_max: float = 80.0
    sigma_min: float = 0.002
    rounding: float = 0.0
    """What rounding inside the denoiser under test does to its outputs, relative to size:
    float32 models repeat identities to no more than that."""

    @property
    def points(self) -> PointSet:
        """The data."""
        return self.subject.points

    @property
    def starts(self) -> int:
        """Number of shared trajectories."""
        return 8 if self.quick else 24

    @property
    def size(self) -> int:
        """Number of random queries of a claim."""
        return 64 if self.quick else 256

    @property
    def diameter(self) -> float:
        """An upper bound on the data diameter; 1 for a single point, to have a scale."""
        return self.points.diameter_bounds[1] or 1.0

    def rng(self, name: str) -> np.random.Generator:
        """The random stream of a claim."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def denoise(self, x: Floats, sigma: Floats) -> Floats:
        """The denoiser under test, as float64."""
        return apply(self.subject.denoiser, x, sigma)

    def log_prob(self, x: Floats, sigma: Floats) -> Floats:
        """log p_σ by the independent judge."""
        return _oracle.log_prob(self.points, x, sigma)

    def levels(self, rng: np.random.Generator, count: int) -> Floats:
        """Log-uniform noise levels in [σ_min, σ_max]."""
        return np.exp(rng.uniform(np.log(self.sigma_min), np.log(self.sigma_max), count))

    def queries(
        self, rng: np.random.Generator, count: int | None = None, sigma: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Queries and levels, those given or drawn: forward samples, midpoints, near and far ones.

        Three fifths are draws of x_0 + σz; the rest sit where softmax is
        touchy: between two points, beside one, and several radii away.
        """
        n = self.size if count is None else count
        sigma = self.levels(rng, n) if sigma is None else sigma
        x = self.points.sample(n, rng)
        other = self.points.sample(n, rng)
        z = rng.standard_normal(x.shape)
        kind = rng.choice(4, size=n, p=[0.6, 0.2, 0.1, 0.1])[:, None]
        far = self.points.mean + 3 * self.points.mean_radius * z / np.sqrt(self.points.dim)
        x = np.select(
            [kind == 0, kind == 1, kind == 2],
            [x + sigma[:, None] * z, (x + other) / 2 + 0.01 * sigma[:, None] * z, x + 1e-6 * z],
            far,
        )
        return x, sigma

    @cached_property
    def start(self) -> Floats:
        """Starts σ_max z of the shared trajectories."""
        seed = int(np.random.default_rng([self.seed, 0]).integers(2**32))
        return self.subject.draw(self.starts, self.points, self.sigma_max, seed)

    @cached_property
    def trajectory(self) -> Trajectory:
        """The shared exact trajectories from σ_max to σ_min, on a polynomial grid of 64 levels."""
        return self.subject.flow(
            self.subject.denoiser,
            self.start,
            self.sigma_max,
            self.sigma_min,
            rtol=1e-9,
            atol=1e-11 * self.diameter,
            save_at=grids.polynomial(64, self.sigma_max, self.sigma_min),
            estimate_error=False,
        )

    @property
    def learned(self) -> Denoiser:
        """A learned denoiser of the data: the subject's model, or random features."""
        return self.trained if self.subject.model is None else self.subject.model

    @cached_property
    def trained(self) -> RandomFeatureDenoiser:
        """The denoiser of 128 random features at 10 levels of the range."""
        levels = np.geomspace(self.sigma_max, self.sigma_min, 10)
        return self.subject.learn(self.points, levels, 128, seed=self.seed)

    def noise(self, rng: np.random.Generator, dim: int, sigma: float = 1.0) -> Floats:
        """(n, dim) draws of the subject's noise: some 130,000 numbers, 65,000 if quick.

        At least 1,024 rows, but no more than 4 million numbers.
        """
        rows = max(1024, (65_536 if self.quick else 131_072) // dim)
        rows = max(2, min(rows, 4_194_304 // dim))
        drawn = self.subject.draw(rows, dim, sigma, int(rng.integers(2**32)))
        return np.asarray(drawn, dtype=np.float64)

    def subset(self, rng: np.random.Generator, most: int) -> PointSet:
        """At most `most` of the data, for checks that transform the data."""
        if len(self.points) <= most:
            return self.points
        rows = rng.choice(len(self.points), size=most, replace=False)
        return PointSet(self.points.points[rows], self.points.weights[rows], name=self.points.name)


@dataclass(frozen=True)
class Claim:
    """One entry of the registry."""

    id: str
    title: str
    kind: str
    """theorem, expectation, observation or folklore, joined by "+"."""
    statement: str
    latex: str
    source: str
    domain: str
    """where it is claimed to hold."""
    proof: str
    """the idea of the proof, or where the statistics come from."""
    test: Callable[[Case, Claim], Verdict] = field(repr=False)
    counter_model: Callable[[PointSet], Subject] = field(repr=False)
    """a subject with one subtle fault that the check must reject."""
    any_denoiser: Callable[[Case, Claim], Verdict] | None = field(default=None, repr=False)
    """tests what the claim says of every denoiser, on a case whose denoiser is a user's model;
    None if it speaks of the optimal one alone."""

    def check(
        self,
        denoiser: Denoiser | Subject,
        points: Any,
        rng: np.random.Generator | int = 0,
        *,
        quick: bool = False,
        sigma_max: float | None = None,
        sigma_min: float | None = None,
    ) -> Verdict:
        """Test the claim on a denoiser and its data.

        Parameters
        ----------
        denoiser : a denoiser, or a `Subject` that also replaces the flow,
            sampler, certificate or noise.
        points : `PointSet` or (N, D) array.
        rng : a seed, or a generator that one is drawn from.
        quick : fewer cases.
        sigma_max, sigma_min : range of noise levels, in data units; by default
            `grids.noise_range` of the data.
        """
        data = as_points(points)
        high, low = noise_range(data, sigma_max, sigma_min)
        seed = (
            int(rng.integers(2**32))
            if isinstance(rng, np.random.Generator)
            else _check.seed(rng, "rng")
        )
        if not callable(denoiser) and not isinstance(denoiser, Subject):
            _check.fail(
                "denoiser", _check.show(denoiser), "a callable", "see OptimalDenoiser", TypeError
            )
        subject = denoiser if isinstance(denoiser, Subject) else Subject.of(denoiser, data)
        return self.test(Case(subject, seed, _check.flag(quick, "quick"), high, low), self)


def outcome(
    claim: Claim,
    case: Case,
    *,
    sigma: Floats,
    measured: Floats,
    bound: float,
    meaning: str,
    worst: Callable[[int], Mapping[str, Any]] | None = None,
    statistics: Mapping[str, float] | None = None,
    evidence: Evidence | None = None,
    note: str = "",
) -> Verdict:
    """A verdict from one measured number per case, each of which must be ≤ `bound`.

    NaN counts as a failure. `worst(k)` describes case k for the report.
    """
    values = np.asarray(measured, dtype=float).reshape(-1)
    levels = np.broadcast_to(sigma, np.shape(measured)).reshape(-1)
    if not values.size:
        return untested(claim, case, note or "no case lay in the claim's domain")
    ranked = np.where(np.isnan(values), np.inf, values)
    k = int(ranked.argmax())
    if evidence is None:
        limit = np.full(values.shape, bound)
        evidence = Evidence(
            "noise level σ",
            meaning,
            levels,
            {"measured": values, "bound": limit},
            bound="bound",
            points=True,
            xscale="log",
            yscale="log",
        )
    example = {"sigma": float(levels[k]), **(worst(k) if worst else {}), "seed": case.seed}
    return Verdict(
        claim=claim.id,
        kind=claim.kind,
        title=claim.title,
        statement=claim.statement,
        source=claim.source,
        data=case.points.name,
        status=Status.HOLDS if ranked[k] <= bound else Status.FAILS,
        measured=float(values[k]),
        bound=float(bound),
        meaning=meaning,
        cases=int(values.size),
        worst=example,
        statistics=dict(statistics or {}),
        note=note,
        evidence=evidence,
    )


def lost(claim: Claim, case: Case) -> Verdict | None:
    """The failure of a claim whose shared trajectories did not arrive; None if they did."""
    path = case.trajectory
    if path.ok and np.isfinite(path.states).all() and np.isfinite(path.denoised).all():
        return None
    bad = ~np.isfinite(path.states).all(axis=(0, 2)) | ~np.isfinite(path.denoised).all(axis=(0, 2))
    return outcome(
        claim,
        case,
        sigma=np.full(case.starts, case.sigma_max),
        measured=np.where(bad | (path.result != 0), np.nan, 0.0),
        bound=0.0,
        meaning="NaN where the trajectory did not reach σ_min",
        worst=lambda k: {"row": k, "start": case.start[k]},
        note=path.explain(),
    )


def untested(claim: Claim, case: Case, note: str) -> Verdict:
    """The verdict on an empty domain."""
    return Verdict(
        claim.id, claim.kind, claim.title, claim.statement, claim.source, case.points.name,
        Status.NOT_TESTED, float("nan"), float("nan"), "nothing", 0, note=note,
    )  # fmt: skip
