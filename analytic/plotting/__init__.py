"""Figures: axes-level functions in seaborn's manner, f(data, *, ax=None) -> Axes.

Every function draws on the axes it is given, or makes a figure of its own and
returns its axes (`ax.figure` is the figure). No global state is touched: no
pyplot, and the house style lives in the context manager `theme`.

The same thing looks the same everywhere, in colour and in grey print: the
sampling trajectory x is blue and solid, the denoising trajectory D orange and
dash-dotted, a bound dark grey and dashed, data points light grey. Colours are
those of seaborn's colour-blind palette. σ and all distances are in data units.

Seaborn and Matplotlib are imported here only, and only when something is drawn.
"""

from ._files import encode, save
from ._numbers import Row, numbers, to_csv
from ._style import (
    BOUND,
    COLUMN,
    DATA,
    DENOISING,
    LEARNED,
    NOISE,
    OTHERS,
    PAGE,
    SAMPLING,
    Look,
    canvas,
    figure,
    level_text,
    looks_of,
    shared_legend,
    theme,
    thin_ticks,
)
from .comparisons import (
    comparison_figure,
    loss_split,
    memorisation,
    score_deviation,
    theorem_fraction,
)
from .decisions import certificate_scatter, curves_by, jump_curves, perplexity_curve
from .fields import basin_map, likelihood_ball, plane_paths
from .paths import geometry_curves, pca_view, trajectories_2d
from .pictures import image_rows
from .shapes import boomerang, density_contours, variance_spectrum
from .sizes import throughput, width_curves
from .solvers import gamma_factors, grid_error, grid_levels, solver_error
from .verdicts import claim_figure, evidence

__all__ = [
    "BOUND",
    "COLUMN",
    "DATA",
    "DENOISING",
    "LEARNED",
    "NOISE",
    "OTHERS",
    "PAGE",
    "SAMPLING",
    "Look",
    "Row",
    "basin_map",
    "boomerang",
    "canvas",
    "certificate_scatter",
    "claim_figure",
    "comparison_figure",
    "curves_by",
    "density_contours",
    "encode",
    "evidence",
    "figure",
    "gamma_factors",
    "geometry_curves",
    "grid_error",
    "grid_levels",
    "image_rows",
    "jump_curves",
    "level_text",
    "likelihood_ball",
    "looks_of",
    "loss_split",
    "memorisation",
    "numbers",
    "pca_view",
    "perplexity_curve",
    "plane_paths",
    "save",
    "score_deviation",
    "shared_legend",
    "solver_error",
    "theme",
    "theorem_fraction",
    "thin_ticks",
    "throughput",
    "to_csv",
    "trajectories_2d",
    "variance_spectrum",
    "width_curves",
]
