"""Short images of the points, from which distances are bounded below without the points.

For a centre c, an orthonormal basis W of K directions and z = x - c, the map

    φ(x) = (Wᵀz, |z - WWᵀz|)

never lengthens a distance: |φ(x) - φ(x')| ≤ |x - x'|, since the components in the
basis differ by the same vector and the norms of the rests by no more than the rests
do. Any orthonormal basis serves; the leading principal directions make it tight.

Images are stored in float32, in units of a power of two, and are off by a vector no
longer than

    e = |z| (η + (D + 3)√K ε + 1.01 · 2⁻²⁴) + e_ρ,   η = ‖VᵀV - I‖_F,  ε = 2⁻⁵³,

V being the basis in use and W the exactly orthonormal one next to it, ‖V - W‖ ≤ η.
The rest is the root of |z|² - |Vᵀz|², known to within
h = |z|²(2η + 2(D + 3)√K ε + 2(D + K + 2)ε); so e_ρ = h / max(ρ, √h) + 2⁻²⁴ρ.
With as many directions as dimensions nothing is left out: ρ = 0 and e_ρ = 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._base import Floats, Sites

EPS = 2.0**-53
SINGLE = 1.01 * 2.0**-24

HEAD = 16
"""Coordinates that are compared for every point, eight times as many where D is large."""

DIRECTIONS = 512
"""Most coordinates of an image."""

SAMPLE = 8192
"""Points that the directions are found from."""

SLAB = 4_000_000
"""Numbers of the points that are projected at a time (32 MB)."""

Singles = NDArray[np.float32]


class Images(NamedTuple):
    """Images of all points, cut into blocks of near ones; `kernels.candidates` reads them."""

    order: NDArray[np.int64]
    """(N,) points as they come in the blocks."""
    head: Singles
    """(blocks, k + 1, block) first k coordinates and rest; infinite where there is no point."""
    waist: Singles
    """(blocks, k' - k + 1, block) the coordinates up to the second stage and its rest, likewise;
    no blocks where there is one stage."""
    tail: Singles
    """(N, K - k) further coordinates, in that order."""
    rests: Singles
    """(N, stages) norms left out after each stage."""
    ends: NDArray[np.int64]
    """Coordinates used up to each stage."""
    tops: Floats
    """(blocks,) largest log-weight of each block."""
    gamma: float
    """Relative allowance for the roundings of a square distance of images."""
    unit: float
    """The power of two that the images are in units of."""


class Frame(NamedTuple):
    """Centre, basis and the errors that images have in it."""

    centre: Floats
    basis: Floats
    ends: NDArray[np.int64]
    eta: float
    unit: float

    def image(self, x: Floats) -> tuple[Singles, Singles, Floats]:
        """Coordinates (n, K), rests (n, stages) and errors (n,) of points x."""
        dim, size = self.basis.shape
        z = (x - self.centre) / self.unit
        square = np.einsum("ij,ij->i", z, z)
        y = z @ self.basis
        norm = np.sqrt(square)
        off = self.eta + (dim + 3) * np.sqrt(size) * EPS
        left = np.zeros((len(x), len(self.ends)))
        fuzz = np.zeros(len(x))
        doubt = square * (2 * off + 2 * (dim + size + 2) * EPS)
        used = np.zeros(len(x))
        start = 0
        for e, end in enumerate(self.ends):
            part = y[:, start:end]
            used = used + np.einsum("ij,ij->i", part, part)
            start = end
            if end < dim:
                left[:, e] = np.sqrt(np.maximum(square - used, 0.0))
                root = np.maximum(np.maximum(left[:, e], np.sqrt(doubt)), 1e-300)
                fuzz = np.maximum(fuzz, doubt / root + SINGLE * left[:, e])
        error = 1.001 * (norm * (off + SINGLE) + fuzz) + 1e-37
        return y.astype(np.float32), left.astype(np.float32), error


def build(sites: Sites, block: int) -> tuple[Frame, Images, float]:
    """The frame, the images and the largest error of a point's image."""
    points, logs = sites.points, sites.logs
    frame = _frame(points)
    count, size = len(points), frame.basis.shape[1]
    stages = len(frame.ends)
    y = np.empty((count, size), np.float32)
    rests = np.empty((count, stages), np.float32)
    worst = 0.0
    step = max(1, SLAB // points.shape[1])
    for a in range(0, count, step):
        y[a : a + step], rests[a : a + step], error = frame.image(points[a : a + step])
        worst = max(worst, float(error.max()))
    short = int(frame.ends[0])
    order = blocks_of(y[:, :short], block)
    blocks = -(-count // block)
    head = _blocked(y[order, :short], rests[order, 0], blocks, block)
    waist = np.empty((0, 1, block), np.float32)
    if stages > 1:
        waist = _blocked(y[order, short : int(frame.ends[1])], rests[order, 1], blocks, block)
    tail = np.ascontiguousarray(y[order, short:])
    ranked = np.full(blocks * block, -np.inf)
    ranked[:count] = logs[order]
    tops = ranked.reshape(blocks, block).max(axis=1)
    gamma = 2 * (size + 4) * 2.0**-24
    images = Images(order, head, waist, tail, rests[order], frame.ends, tops, gamma, frame.unit)
    return frame, images, worst


def _blocked(y: Singles, rest: Singles, blocks: int, block: int) -> Singles:
    """Coordinates (N, k) and rests (N,) side by side for the points of each block."""
    count, size = y.shape
    padded = np.full((blocks * block, size + 1), np.inf, np.float32)
    padded[:count, :size] = y
    padded[:count, size] = rest
    return np.ascontiguousarray(padded.reshape(blocks, block, size + 1).transpose(0, 2, 1))


def blocks_of(y: Singles, block: int) -> NDArray[np.int64]:
    """An order in which each run of `block` points lies close together: halved by medians."""
    order = np.arange(len(y))
    todo = [(0, len(y))]
    while todo:
        a, b = todo.pop()
        blocks = -(-(b - a) // block)
        if blocks < 2:
            continue
        rows = order[a:b]
        some = y[rows[:: max(1, len(rows) // 4096)]]
        axis = int(
            np.argmax(some.max(axis=0) - some.min(axis=0) if len(some) < 3 else some.var(axis=0))
        )
        half = (blocks // 2) * block
        order[a:b] = rows[np.argpartition(y[rows, axis], half - 1)]
        todo += [(a, a + half), (a + half, b)]
    return order


def _frame(points: Floats) -> Frame:
    count, dim = points.shape
    centre = points[:: max(1, count // SAMPLE)].mean(axis=0)
    some = points[:: max(1, count // SAMPLE)] - centre
    size = float(max(np.abs(some).max(), np.abs(points[0] - centre).max()))
    unit = float(2.0 ** np.frexp(size)[1]) if size > 0 else 1.0
    basis = _directions(some / unit, min(dim, len(some), int(_ends(dim, dim)[-1])))
    size = basis.shape[1]
    eta = float(np.linalg.norm(basis.T @ basis - np.eye(size))) + (dim + 2) * size * EPS
    return Frame(centre, basis, _ends(dim, size), eta, unit)


def _ends(dim: int, size: int) -> NDArray[np.int64]:
    # reading more of an image from memory costs as much as the point itself where D is small
    few, many = (HEAD,), (8 * HEAD, 20 * HEAD, 26 * HEAD, DIRECTIONS)
    steps = few if dim < 4 * HEAD * HEAD else many
    return np.array(sorted({min(size, step) for step in steps}), dtype=np.int64)


def _directions(some: Floats, size: int) -> Floats:
    """Leading principal directions (D, size), nearly, as columns orthonormal to rounding."""
    dim = some.shape[1]
    if dim <= DIRECTIONS:
        _, vectors = np.linalg.eigh(some.T @ some)
        return np.ascontiguousarray(vectors[:, ::-1][:, :size])
    # block power iteration: its basis need not be converged, only orthonormal
    thin = some.astype(np.float32)
    basis = np.random.default_rng(0).standard_normal((dim, size)).astype(np.float32)
    for _ in range(3):
        basis = _orthonormal(thin.T @ (thin @ basis))
    inner = thin @ basis
    _, turn = np.linalg.eigh((inner.T @ inner).astype(np.float64))
    return np.linalg.qr(basis.astype(np.float64) @ turn[:, ::-1])[0]


def _orthonormal(a: Singles) -> Singles:
    """Columns that span those of `a`, close to orthonormal, by the eigenvectors of their Gram."""
    values, turn = np.linalg.eigh((a.T @ a).astype(np.float64))
    scale = np.sqrt(np.maximum(values, 1e-12 * max(float(values[-1]), 1e-300)))
    return a @ (turn / scale).astype(np.float32)


class Groups(NamedTuple):
    """Points in float32 about the centres of their groups, for matrix products."""

    rows: Singles
    """(N, D) x_i - c_g in the order of the images, in their unit."""
    halves: Floats
    """(N,) half the square of each row, as rounded."""
    logs: Floats
    """(N,) log-weights."""
    centres: Floats
    """(groups, D) c_g in the units of the points."""
    radii: Floats
    """(groups,) largest norm of a row of the group."""
    size: int
    """Points per group."""


def groups(sites: Sites, images: Images, size: int) -> Groups:
    """Groups of `size` consecutive points of the images."""
    points, logs = sites.points, sites.logs
    count, dim = points.shape
    rows = np.empty((count, dim), np.float32)
    halves = np.empty(count)
    starts = range(0, count, size)
    centres, radii = np.empty((len(starts), dim)), np.empty(len(starts))
    for g, a in enumerate(starts):
        some = points[images.order[a : a + size]]
        centres[g] = some.mean(axis=0)
        part = ((some - centres[g]) / images.unit).astype(np.float32)
        square = np.einsum("ij,ij->i", part, part, dtype=np.float64)
        rows[a : a + size], halves[a : a + size] = part, 0.5 * square
        radii[g] = np.sqrt(square.max())
    return Groups(rows, halves, logs[images.order], centres, radii, size)
