"""How kernels are compiled: one place for the options of Numba.

`strict` leaves every operation as it is written; `sums` may reassociate, so that
reductions become vectors, and `products` may fuse multiplications with additions
as well. `entry` is what Python calls: it runs without the interpreter lock.
`fastmath` is always given, since a function without it takes on that of its first
caller.

The `lean` ones neither allocate nor keep arrays. Numba then leaves out the counting
of references, which costs more than a small function does, and far more where two
threads count the same ones; it is an option without a promise, so that versions
that do not know it do without.
"""

from __future__ import annotations

from typing import Any

import numba as nb

REASSOCIATE = {"reassoc", "nsz"}
FUSE = REASSOCIATE | {"contract"}


def _jit(**options: Any) -> Any:
    """The decorator for options, without those that this Numba does not know."""
    decorate = nb.njit(cache=True, error_model="numpy", **options)
    try:
        decorate(lambda: None)
    except (KeyError, TypeError, ValueError):  # pragma: no cover - another version of Numba
        options.pop("_nrt")
        return _jit(**options)
    return decorate


strict = _jit(fastmath=False)
sums = _jit(fastmath=REASSOCIATE)
products = _jit(fastmath=FUSE)
entry = _jit(fastmath=False, nogil=True)
lean = _jit(fastmath=False, _nrt=False)
lean_fused = _jit(fastmath={"contract"}, _nrt=False)
lean_products = _jit(fastmath=FUSE, _nrt=False)
