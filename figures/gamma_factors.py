"""By how much second-order solvers bend: the factor γ along EDM's grid of 12 steps.

A step of every second-order solver is Euler's plus −(h²/2)(γ/s)Q, with Q a difference quotient of
denoising outputs and γ a factor of the levels p > s > t alone. On EDM's grid from σ = 80 to 0.002
(levels in data units) it is far from 1, to which it tends with finer levels, and grows where levels
fall steeply. Left: solvers of two evaluations a step; right: of one, multistep ones of order 2.
UniP is UniPC's predictor, UniC its corrector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import analytic as an
from analytic import gallery, plotting
from analytic.differences import DIFFERENCES, Difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEEDS = "nothing"
STEPS = 12


def compute(lab: gallery.Lab) -> dict[str, Any]:
    """(12,) γ of each solver; solvers of the same factors under one name."""
    grid = an.grids.polynomial(STEPS + 1)
    last = np.concatenate([[np.nan], grid[:-2]])
    found: dict[str, dict[str, Any]] = {"two": {}, "one": {}}
    for each in DIFFERENCES:
        values = np.full(STEPS, np.nan)
        # a step with fewer nodes than it uses is another one
        first = 1 if each.before else 0
        for k in range(first, STEPS):
            values[k] = each.gamma(last[k], grid[k], grid[k + 1])
        panel = found["two" if each.solver.nfe_per_step > 1 else "one"]
        same = [name for name, other in panel.items() if _close(values, other)]
        name = _name(each)
        if same:
            known = panel.pop(same[0])
            panel[f"{same[0]} = {name}"] = known
        else:
            panel[name] = values
    return {"sigmas": grid[:-1], **found}


def _close(a: Any, b: Any) -> bool:
    """Whether the same wherever both are factors."""
    both = np.isfinite(a) & np.isfinite(b)
    return bool(np.allclose(a[both], b[both], rtol=1e-12))


def _name(each: Difference) -> str:
    """A short name: dpm_2 r=0.8, ipndm, unipc UniC-1 bh1."""
    options = dict(each.solver.options)
    name = each.solver.name
    if name == "unipc":
        part = "UniC" if each.after else "UniP"
        return f"unipc {part}-{options['order']} {options.get('variant', '')}".strip()
    if "r" in options:
        return f"{name} r={options['r']}"
    return name


def draw(found: dict[str, Any], lab: gallery.Lab) -> Figure:
    """A panel each for two evaluations and for one."""
    with plotting.theme():
        figure = plotting.figure(plotting.PAGE, 3.9)
        left, right = figure.subplots(1, 2, sharey=True)
        plotting.gamma_factors(found["sigmas"], found["two"], ax=left)
        plotting.gamma_factors(found["sigmas"], found["one"], ax=right)
        left.set_title("two evaluations a step")
        right.set_title("one evaluation a step")
        right.set_ylabel("")
    return figure


if __name__ == "__main__":
    gallery.main(__file__)
