"""What the library runs on: versions, processor, threads, matrix products and cache.

Everything is looked up and nothing tried, but that the cache's folder is made.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .kernels import threads

__all__ = ["info", "text"]

PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "seaborn", "matplotlib", "tqdm")

EXTRAS = {
    "testing": (("hypothesis", "pytest", "mpmath"), "strategies and assertions for your tests"),
    "data": (("scikit-learn", "pillow"), "digits, image patches, zips of images"),
    "torch": (("torch",), "training, and denoisers of torch modules"),
    "peers": (("diffusers", "torch"), "audits of diffusers' schedulers"),
    "bench": (("pykeops", "jax", "diffrax", "torchdiffeq"), "benchmarks beside other libraries"),
}
"""What each extra installs, and what for."""

_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
_PREFIXES = ("ANALYTIC_", "NUMBA_", "OMP_", "OPENBLAS_", "MKL_")


def info() -> dict[str, Any]:
    """All of it, as values that JSON has."""
    from .kernels import host

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "extras": {
            name: {"gives": what, "packages": {each: _version(each) for each in packages}}
            for name, (packages, what) in EXTRAS.items()
        },
        "processor": host.vectors() | {"cores": os.cpu_count(), "usable_cores": cores},
        "threads": threads.get_num_threads(),
        "blas": _blas(),
        "cache": host.cache(),
        "environment": _environment(),
    }


def text(found: Mapping[str, Any]) -> str:
    """The same in lines."""
    cpu, blas, cache = found["processor"], found["blas"], found["cache"]
    lines = [(name, found[name]) for name in ("analytic", "python", "platform") if name in found]
    lines += [(name, version or "missing") for name, version in found["packages"].items()]
    for name, extra in found["extras"].items():
        missing = [each for each, version in extra["packages"].items() if version is None]
        have = ", ".join(f"{each} {v}" for each, v in extra["packages"].items() if v)
        if missing:
            have = f"missing {', '.join(missing)}: for {extra['gives']}, " + (
                f'pip install "analytic-diffusion[{name}]"'
            )
        lines.append((f"[{name}]", have))
    lines += [
        ("processor", f"{cpu['name']}, {cpu['usable_cores']} of {cpu['cores']} cores"),
        ("kernels", f"{cpu['kernels']}, up to {cpu['bits']} bits wide"),
        ("threads", f"{found['threads']} (ANALYTIC_NUM_THREADS, set_num_threads, threads=)"),
        ("BLAS", f"{blas['library']} {blas['version']}, {blas['threads']} threads"),
    ]
    if cache["folder"] is None:
        lines.append(("cache", f"none: {cache['reason']}"))
    else:
        state = "writable" if cache["writable"] else "not writable"
        size = f"{cache['files']} files, {cache['bytes'] / 1e6:.1f} MB"
        lines.append(("cache", f"{cache['folder']} ({state}, {size})"))
    lines += sorted(found["environment"].items())
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name:{width}}{value}" for name, value in lines)


def _version(package: str) -> str | None:
    """Without importing it; None if it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _blas() -> dict[str, Any]:
    """NumPy's library for matrix products, and its threads as far as one can know."""
    build: Any = np.show_config(mode="dicts")
    library = build.get("Build Dependencies", {}).get("blas", {})
    return {
        "library": library.get("name", "unknown"),
        "version": library.get("version", "unknown"),
        "threads": _blas_threads(),
    }


def _blas_threads() -> int | str:
    """As threadpoolctl counts them, if it is there; otherwise as the environment says."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        given = next((os.environ[each] for each in _BLAS_THREADS if each in os.environ), None)
        return f"{given} (by the environment)" if given else "all cores (its default)"
    found = [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]
    return max(found, default="unknown")


def _environment() -> dict[str, str]:
    """Variables that matter here; of files and folders, whether they are there."""
    found = {}
    for name, value in os.environ.items():
        if name.startswith(_PREFIXES):
            place = name.startswith("ANALYTIC_") and os.sep in value
            lost = " (not there)" if place and not Path(value).exists() else ""
            found[name] = value + lost
    return found
