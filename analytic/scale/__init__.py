"""Points that live elsewhere: on disk, in chunked files, on the machines of a cluster.

The softmax over all points is made of partial ones. With logits t_i relative to a point x_r,
a block of points is known by

    r,   log Σ e^{t_i},   Σ u_i x_i - x_r,

and two blocks by those of both: with t the logit of the second's point relative to the first's,

    log Σ = log(e^{log Σ_1} + e^{t + log Σ_2}),   u_2 = e^{t + log Σ_2 - log Σ},
    shift = (1 - u_2) shift_1 + u_2 (shift_2 + x_{r_2} - x_{r_1}),

exactly, whatever the blocks (Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867).
Blocks merge in pairs of neighbours, pairs of pairs and so on. That order depends on their number
alone: the same blocks give the same bits, on one disk or on any number of machines.

A block's box and ball bound its distances from a query; where these show that it weighs less
than the denoiser's tolerance, it is not asked.
"""

from __future__ import annotations

from typing import Any

from .. import _check
from ._dask import ShardedPoints, connect, connected, sharded
from ._points import NUMBERS, AwayPoints, Shard, StoredPoints, Summary, relative_weights
from ._sources import Source, of, sliced, source
from ._tree import folded, merged

__all__ = [
    "AwayPoints",
    "Shard",
    "ShardedPoints",
    "StoredPoints",
    "Summary",
    "connect",
    "elsewhere",
    "folded",
    "merged",
    "sharded",
    "stored",
]


def stored(
    points: Any,
    weights: Any = None,
    *,
    block: int | None = None,
    name: str = "points",
    progress: bool = False,
) -> StoredPoints:
    """Points that are read block by block, as `OptimalDenoiser` takes them.

    A block is read anew in each pass, and all of it summed in float64, whatever `method` says:
    a tree of points that are not kept would cost more than it saves.

    Parameters
    ----------
    points : path of a .npy file, a memory map, or an (N, ...) array of NumPy, zarr, h5py or
        Dask; of more axes than two, each point is flattened. Real numbers of any type.
    weights : (N,) non-negative, not all zero; optional (default: equal).
    block : points in a block, by default so many that a block has some 4 million numbers
        (32 MB) in whole chunks of zarr and h5py, if they are not larger, and for Dask the chunks,
        so that each is read or made once a pass. Memory in use is some five blocks, and 24 D
        bytes for each block of what is known of it; results depend on the size in their last
        digits.
    name : what the set is called in reports.
    progress : show a bar on a terminal for each pass over the blocks.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        for a file that is missing, damaged or cut short, and for anything but real numbers. That
        numbers are finite is seen in the first pass over them.
    """
    return _in_blocks(sliced(points), weights, block, name, progress)


def elsewhere(points: Any) -> AwayPoints | None:
    """What belongs on disk or on other machines, as `stored` and `sharded` have it; else None.

    A Dask array is sharded where a cluster is connected, and else read chunk by chunk.
    """
    if isinstance(points, AwayPoints):
        return points
    if of(points, "dask") and connected() is not None:
        return sharded(points)
    rows = source(points)
    return None if rows is None else _in_blocks(rows, None, None, "points", False)


def _in_blocks(
    rows: Source, weights: Any, block: int | None, name: str, progress: bool
) -> StoredPoints:
    count, dim = rows.shape
    ends = None
    if block is not None:
        size = _check.integer(block, "block", low=1)
    elif rows.ends is not None:
        ends, size = rows.ends, rows.chunk
    else:
        size = max(1, NUMBERS // dim)
        # a chunk is read whole, so that one in two blocks is read twice
        size -= size % rows.chunk if rows.chunk < size else 0
    return StoredPoints(
        rows,
        min(size, count),
        relative_weights(weights, count),
        _check.text(name, "name"),
        _check.flag(progress, "progress"),
        ends=ends,
    )
