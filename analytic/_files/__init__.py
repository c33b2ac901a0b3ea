"""Readers of users' files: raw numbers, images, and every way they can be broken.

Each reader takes a path and returns its `Contents`: points (N, D), and weights (N,)
and labels (N,) where they are there. What a reader does not understand it refuses
with one `ValueError` that names the path; nothing is unpickled, and nothing is
allocated on the word of a header before the size has been checked against the memory
here and against the bytes the file really holds or can unpack to.

arrays    ``.npy``, ``.npz``: numbers as they are
images    ``.zip`` or a folder of images
idx       IDX, MNIST's format, plain or gzipped
cifar     CIFAR's binary version: ``.bin``, its folder, its ``.tar.gz``

A new format is one module and one entry in `FORMATS`.
"""

from __future__ import annotations

import re
from pathlib import Path

from . import arrays, cifar, idx, images
from ._base import Contents, Reader, extra

__all__ = ["FORMATS", "Contents", "Reader", "by_name", "extra", "reader"]

FORMATS: dict[str, tuple[str, Reader]] = {
    ".npy": (r".*\.npy", arrays.read_npy),
    ".npz": (r".*\.npz", arrays.read_npz),
    ".zip": (r".*\.zip", images.read_zip),
    "-idx3-ubyte or .idx (also .gz)": (idx.NAME, idx.read_idx),
    ".bin": (r".*\.bin", cifar.read_bin),
    ".tar.gz": (r".*\.(?:tar\.gz|tgz)", cifar.read_tar),
}
"""Endings in words, to the pattern of such names in lower case, and the reader."""


def reader(path: Path) -> Reader | None:
    """The reader for a folder, or for a file of that name; None for an unknown ending."""
    if path.is_dir():
        return cifar.read_folder if cifar.is_cifar(path) else images.read_folder
    if cifar.is_pickled({path.name}):
        return cifar.refuse_pickled
    return by_name(path.name)


def by_name(name: str) -> Reader | None:
    """The reader for a file of that name, whether or not there is one."""
    found = (read for pattern, read in FORMATS.values() if re.fullmatch(pattern, name.lower()))
    return next(found, None)
