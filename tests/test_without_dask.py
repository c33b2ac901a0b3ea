"""Where Dask and zarr are missing: what works, and what says why not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analytic as an

FEATURES: dict[str, Callable[[], Any]] = {
    "connect": lambda: an.scale.connect("tcp://127.0.0.1:8786"),
    "sharded": lambda: an.scale.sharded(np.eye(2)),
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dask", "distributed", "zarr"):
        for module in [each for each in sys.modules if each.split(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("name", FEATURES)
def test_the_remedy_is_named(name: str) -> None:
    with pytest.raises(ImportError) as caught:
        FEATURES[name]()
    assert 'pip install "analytic-diffusion[dask]"' in str(caught.value)


def test_files_and_maps_need_none_of_it(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((50, 3))
    np.save(tmp_path / "rows.npy", rows)
    expected = an.OptimalDenoiser(rows, "dense")(rows[:4], 0.5)
    for points in (tmp_path / "rows.npy", np.load(tmp_path / "rows.npy", mmap_mode="r")):
        far = an.OptimalDenoiser(points)
        assert isinstance(far.points, an.scale.StoredPoints)
        np.testing.assert_allclose(far(rows[:4], 0.5), expected, rtol=1e-13, atol=1e-13)
    assert an.scale.connect(None) is None
