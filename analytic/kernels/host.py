"""What kernels run on, and where they are kept: for people, and of no influence on results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from . import _jit, intrinsics

__all__ = ["cache", "compiled", "vectors"]

_WIDTHS = (("avx512f", 512), ("avx", 256))


def vectors() -> dict[str, Any]:
    """The processor as LLVM knows it, bits of the widest vectors, and how kernels are written."""
    features = llvm.get_host_cpu_features()
    bits = next((bits for name, bits in _WIDTHS if features.get(name)), 128)
    kind = "Python" if _jit.PYTHON else "plain loops" if intrinsics.PLAIN else "vectors"
    return {"name": llvm.get_host_cpu_name(), "bits": bits, "kernels": kind}


def cache() -> dict[str, Any]:
    """Folder of the kept kernels, None without one; kernels there and their bytes; or the reason.

    The folder is made by asking, as the first kernel would make it.
    """
    if _jit.PYTHON:
        return {"folder": None, "reason": "NUMBA_DISABLE_JIT is set: nothing is compiled"}
    if not _jit.caching():
        return {"folder": None, "reason": "ANALYTIC_CACHE is off"}
    folder = _jit.folder()
    if folder is None:
        return {
            "folder": None,
            "reason": "neither the package's folder nor the user's cache can be written; "
            "set NUMBA_CACHE_DIR to a writable folder",
        }
    sizes = [each.stat().st_size for each in Path(folder).glob("*.nbc")]
    writable = os.access(folder, os.W_OK)
    return {"folder": folder, "writable": writable, "files": len(sizes), "bytes": sum(sizes)}


def compiled() -> tuple[int, int]:
    """Kernels compiled by this process, and kernels it found in the cache, for types of each."""
    stats = [each.stats for each in _jit.KERNELS]
    found = sum(sum(each.cache_hits.values()) for each in stats)
    return sum(len(each.signatures) for each in _jit.KERNELS) - found, found
