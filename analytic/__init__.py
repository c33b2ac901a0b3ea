"""Exact, closed-form diffusion on finite datasets.

On a finite dataset the best possible denoiser is known in closed form, so the
probability-flow ODE, its trajectories and their limits can be computed to the
precision of the machine, and the theory of diffusion sampling checked.

    import analytic as an

    D = an.OptimalDenoiser(an.datasets.two_moons(2000, seed=0))
    exact = an.integrate(D, an.noise(64, like=D, sigma=80.0, seed=1))

Numba, SciPy and plotting load on first use.
"""

from . import (
    claims,
    collapse,
    datasets,
    distill,
    geometry,
    grids,
    latents,
    learned,
    plotting,
    scale,
    solvers,
    testing,
)
from .audit import Audit, audit
from .basins import basins
from .claims import verify
from .collapse import certificate
from .compare import Comparison, compare
from .decode import decode
from .denoisers import (
    Denoiser,
    GaussianDenoiser,
    GaussianMixtureDenoiser,
    GuidedDenoiser,
    LowRankGaussianDenoiser,
    OptimalDenoiser,
    SmoothedDenoiser,
    Spliced,
)
from .explore import explore
from .flow import encode, integrate
from .kernels.threads import get_num_threads, set_num_threads
from .meanshift import mean_shift, modes
from .noise import NoiseSchedule, noise
from .points import PointSet
from .report import Report, Verdict
from .sampling import sample
from .trajectory import Trajectory

__version__ = "0.1.0"

__all__ = [
    "Audit",
    "Comparison",
    "Denoiser",
    "GaussianDenoiser",
    "GaussianMixtureDenoiser",
    "GuidedDenoiser",
    "LowRankGaussianDenoiser",
    "NoiseSchedule",
    "OptimalDenoiser",
    "PointSet",
    "Report",
    "SmoothedDenoiser",
    "Spliced",
    "Trajectory",
    "Verdict",
    "audit",
    "basins",
    "certificate",
    "claims",
    "collapse",
    "compare",
    "datasets",
    "decode",
    "distill",
    "encode",
    "explore",
    "geometry",
    "get_num_threads",
    "grids",
    "integrate",
    "latents",
    "learned",
    "mean_shift",
    "modes",
    "noise",
    "plotting",
    "sample",
    "scale",
    "set_num_threads",
    "solvers",
    "testing",
    "verify",
]
