"""The contenders: one small file each, and an entry here.

Importing a contender's file imports nothing but NumPy; its library comes when it
prepares, so one that is not installed is shown as such.
"""

from ..harness import Contender
from . import jax_, kde, keops, loop, numpy_, ours, torch_addmm, torch_cdist

__all__ = ["ALL", "OURS"]

OURS = "analytic auto"
"""What ratios are relative to."""

ALL: dict[str, Contender] = {
    each.name: each
    for each in (
        *ours.CONTENDERS,
        *numpy_.CONTENDERS,
        torch_addmm.CONTENDER,
        torch_cdist.CONTENDER,
        keops.CONTENDER,
        jax_.CONTENDER,
        kde.CONTENDER,
        loop.CONTENDER,
    )
}
