"""What a command line names: objects, files, and what changes when they change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import analytic as an
from analytic import _named

DATA = an.PointSet([[0.0, 0.0], [1.0, 2.0]])
CODE = "def half(x, sigma):\n    return x / {0}\ndef made(data):\n    return half\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "named_models.py").write_text(CODE.format(2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "named_models", raising=False)
    return tmp_path


def test_objects_files_and_functions_of_the_data(place: Path) -> None:
    x = np.array([[2.0, 4.0]])
    for name in ("half", "made"):
        found = _named.model(f"named_models:{name}", DATA)
        assert found is not None
        np.testing.assert_array_equal(found(x, 1.0), [[1.0, 2.0]])
    assert _named.model("named_models:made", DATA, make=False) is None
    kept = an.learned.RandomFeatureDenoiser.fit(DATA, [1.0], 4)
    kept.save("net.npz")
    found = _named.model("net.npz", DATA)
    assert found is not None
    np.testing.assert_array_equal(found(x, 1.0), kept(x, 1.0))


def test_digests_change_with_the_file_and_the_object(place: Path) -> None:
    first, other = (_named.digest(f"named_models:{name}") for name in ("half", "made"))
    assert first != other
    (place / "named_models.py").write_text(CODE.format(3))
    assert _named.digest("named_models:half") != first
    (place / "net.npz").write_bytes(b"1")
    one = _named.digest("net.npz")
    (place / "net.npz").write_bytes(b"2")
    assert _named.digest("net.npz") != one


def test_the_path_is_as_before(place: Path) -> None:
    import sys

    before = list(sys.path)
    _named.thing("named_models:half", "--model", "object")
    with pytest.raises(ValueError, match="--model: got 'no_such:half'"):
        _named.thing("no_such:half", "--model", "object")
    assert sys.path == before
