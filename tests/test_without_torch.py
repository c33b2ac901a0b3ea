"""Where PyTorch is missing, as under `make test-unpinned`: what works, and what says why not.

Elsewhere there is nothing to see here: `test_targets` makes torch impossible to import instead.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

import analytic as an
from analytic import learned

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is not None, reason="torch is installed"
)

POINTS = an.PointSet([[-1.0, 0.0], [1.0, 0.5], [0.3, -2.0]], labels=[0, 0, 1])
D = an.OptimalDenoiser(POINTS)


class Net:
    """Looks like one of EDM's."""

    sigma_min, sigma_max, label_dim = 0.0, 80.0, 0

    def __call__(self, x: Any, sigma: Any) -> Any:
        return x

    def round_sigma(self, sigma: Any) -> Any:
        return sigma


class UNet2DModel:
    """Looks like that of diffusers."""

    config: ClassVar[dict[str, Any]] = {}

    def __call__(self, x: Any, t: Any) -> Any:
        return x


FEATURES: dict[str, Callable[[], Any]] = {
    "from_torch": lambda: learned.from_torch(Net(), shape=2),
    "from_diffusers": lambda: learned.from_diffusers(UNet2DModel(), [0.1, 0.2], shape=(2, 1, 1)),
    "as_denoiser": lambda: learned.as_denoiser(Net(), shape=2),
    "as_denoiser, diffusers": lambda: learned.as_denoiser(
        SimpleNamespace(unet=UNet2DModel(), scheduler=[0.1, 0.2]), shape=(2, 1, 1)
    ),
    "to_torch": lambda: learned.to_torch(D, parameterization="eps", shape=2),
    "as_edm": lambda: learned.as_edm(D, (2, 1, 1)),
    "train_mlp": lambda: learned.train_mlp(POINTS, steps=1),
    "train_conv": lambda: learned.train_conv(POINTS, (2, 1, 1), steps=1),
}


@pytest.mark.parametrize("name", FEATURES)
def test_the_remedy_is_named(name: str) -> None:
    with pytest.raises(ImportError) as caught:
        FEATURES[name]()
    assert 'pip install "analytic-diffusion[torch]"' in str(caught.value)


def test_models_of_torch_are_not_loaded(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"")
    with pytest.raises(ImportError) as caught:
        learned.load(tmp_path / "model.pt")
    assert 'pip install "analytic-diffusion[torch]"' in str(caught.value)


def test_random_features_need_none_of_it(tmp_path: Path) -> None:
    model = learned.RandomFeatureDenoiser.fit(POINTS, [2.0, 0.5], 16)
    model.save(tmp_path / "model.npz")
    again = learned.as_denoiser(learned.load(tmp_path / "model.npz"))
    x = an.noise(5, like=D, sigma=1.0, seed=0)
    np.testing.assert_array_equal(again(x, 1.0), model(x, 1.0))
    assert an.integrate(again, x, 2.0, 0.5, rtol=1e-6).ok
    guided = an.GuidedDenoiser(D.given(1), D, weight=2.0)
    np.testing.assert_allclose(guided(x, 1.0), 2 * D.given(1)(x, 1.0) - D(x, 1.0), atol=1e-12)
