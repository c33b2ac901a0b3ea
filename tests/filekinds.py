"""Small valid files of every kind that `datasets.load` reads, as bytes and on disk."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def png(pixels: Any, mode: str | None = None) -> bytes:
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(stream, format="PNG")
    return stream.getvalue()


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def pictures(count: int, shape: tuple[int, ...] = (3, 5, 3), seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def npy(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def idx(array: Any, code: int = 0x08) -> bytes:
    """An array in IDX: type `code`, lengths and numbers big-endian."""
    array = np.asarray(array)
    head = struct.pack(f">2xBB{array.ndim}I", code, array.ndim, *array.shape)
    return head + array.astype(IDX_TYPES[code]).tobytes()


def records(images: Any, *labels: Any) -> bytes:
    """(N, 32, 32, 3) images as CIFAR's records, each after its label bytes."""
    heads = np.stack([np.asarray(each, np.uint8) for each in labels], axis=1)
    planes = np.moveaxis(images, 3, 1).reshape(len(images), -1)
    return np.concatenate([heads, planes], axis=1).tobytes()


def tar(members: dict[str, bytes | tarfile.TarInfo], style: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar archive, not compressed; a `TarInfo` goes in as it is, without contents."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=style) as archive:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                archive.addfile(data)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def folder(path: Path, members: dict[str, bytes]) -> Path:
    for name, data in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    path.mkdir(exist_ok=True)
    return path
