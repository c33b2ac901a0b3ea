"""Training: hand-computed values, solvable cases, and runs that stop, break and go on."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import _outcome
from analytic.learned import LogNormal, LogUniform, _run, networks, training
from analytic.learned.trained import read_torch

torch = pytest.importorskip("torch")
train_mlp, train_conv, load = an.learned.train_mlp, an.learned.train_conv, an.learned.load

PAIR = an.PointSet([[-1.0], [1.0]], [0.25, 0.75])
CLOUD = an.PointSet(
    np.random.default_rng(0).normal([5.0, 0.0, -2.0], 1.0, (20, 3)),
    np.random.default_rng(1).uniform(0.1, 1.0, 20),
    np.arange(20) % 3,
)
FLAT = {"shape": [3], "layout": "hwc", "classes": 0, "sigma_data": 1.0}
SMALL = {"width": 8, "depth": 1, "batch": 16, "steps": 12, "warmup": 2}
X = np.random.default_rng(2).standard_normal((6, 3)) * 3


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same(a: Any, b: Any) -> bool:
    """Whether two models are the same, bit for bit."""
    left, right = a.module.state_dict(), b.module.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def entries(data: an.PointSet, labels: Any = None) -> training._Entries:
    """Every point once."""
    return training._Entries(np.arange(len(data)), data.weights, labels)


class Stops:
    """Levels that press Ctrl-C at a call."""

    def __init__(self, at: int) -> None:
        self.calls, self.at = 0, at

    def __call__(self, rng: np.random.Generator, count: int) -> Any:
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return LogUniform(0.1, 10.0)(rng, count)


# --- the network and its preconditioning


def test_preconditioning_by_hand() -> None:
    skip, out, into = networks.preconditioning(3.0, 4.0)
    assert (skip, out, into) == (16 / 25, 12 / 5, 1 / 5)
    skip, out, into = networks.preconditioning(np.array([0.5]), 0.5)
    np.testing.assert_allclose([skip[0], out[0], into[0]], [0.5, 8**-0.5, 2**0.5], rtol=1e-15)


def test_a_module_wraps_its_network_as_edm_does() -> None:
    settings = {"kind": "mlp", "shape": (2,), "width": 4, "depth": 1, "classes": 0, "sigma_data": 4}
    module = networks.build(settings)
    module.mean.copy_(torch.tensor([10.0, 20.0]))
    seen = []

    def stand_in(net: Any, args: Any, output: Any) -> Any:
        seen.append(args)
        return torch.ones_like(output)

    module.net.register_forward_hook(stand_in)
    x = torch.tensor([[15.0, 20.0]], dtype=torch.float64)
    found = module(x, torch.tensor(3.0))
    np.testing.assert_allclose(found, [[10 + 0.64 * 5 + 2.4, 20 + 2.4]], rtol=1e-15)
    np.testing.assert_allclose(seen[0][0], [[1.0, 0.0]], rtol=1e-7)
    np.testing.assert_allclose(seen[0][1], [np.log(3) / 4], rtol=1e-7)
    assert seen[0][2] is None
    assert (module.sigma_min, module.sigma_max) == (0.0, np.inf)
    assert module.round_sigma(1.5) == 1.5


def test_the_embedding_tells_neighbouring_levels_apart() -> None:
    """Two levels 10 % apart differ by more than 0.5 somewhere; frequencies as documented."""
    embedding = networks._modules().Embedding(0)
    f = embedding.frequencies.numpy()
    np.testing.assert_allclose(f / (2 * np.pi), np.geomspace(0.25, 8, 16), rtol=1e-5)
    near = np.log([1.0, 1.1]) / 4
    assert np.abs(np.diff(np.sin(near[:, None] * f), axis=0)).max() > 0.5


def test_a_fresh_network_is_the_best_linear_denoiser() -> None:
    model = train_mlp(CLOUD, **{**SMALL, "steps": 1, "lr": 1e-30})
    scale = CLOUD.scale**2
    for sigma in (0.01, 1.0, 100.0):
        expected = CLOUD.mean + scale / (sigma**2 + scale) * (X - CLOUD.mean)
        np.testing.assert_allclose(model(X, sigma), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 8, 8), (3, 32, 32), (2, 5, 7), (2, 9, 11), (1, 1, 3)]
)
def test_convolutions_take_any_image(shape: tuple[int, int, int]) -> None:
    """Shape, dtype, the order of rows in either layout, and single rows like rows of a batch."""
    rng = np.random.default_rng(0)
    dim = int(np.prod(shape))
    data = an.PointSet(rng.uniform(-1, 1, (4, dim)))
    small = {"width": 4, "depth": 1, "steps": 2, "batch": 2, "lr": 0.1, "warmup": 0}
    model = train_conv(data, shape, **small)
    x = rng.standard_normal((3, dim))
    seen = []
    hook = model.module.register_forward_hook(lambda m, args, out: seen.append(args[0].numpy()))
    found = model(x, np.array([0.1, 1.0, 10.0]))
    hook.remove()
    channels = shape[0]
    for c in range(channels):
        np.testing.assert_array_equal(seen[0][1, c].reshape(-1), x[1][c::channels])
    assert found.shape == x.shape
    assert np.isfinite(found).all()
    assert np.abs(found - data.mean - _linear(data, x, np.array([0.1, 1.0, 10.0]))).max() > 1e-3
    np.testing.assert_allclose(model(x[1], 1.0), found[1], rtol=0, atol=1e-5)
    # the mean of the data is kept as an image, too
    image = model.module.mean.numpy().transpose(1, 2, 0).reshape(-1)
    np.testing.assert_allclose(image, data.mean, rtol=0, atol=1e-15)
    planes = train_conv(data, shape, layout="chw", **small)
    hook = planes.module.register_forward_hook(lambda m, args, out: seen.append(args[0].numpy()))
    planes(x, 1.0)
    hook.remove()
    np.testing.assert_array_equal(seen[-1].reshape(3, dim), x)
    np.testing.assert_allclose(planes.module.mean.numpy().reshape(-1), data.mean, atol=1e-15)


def test_what_a_conv_net_is_trained_on_is_what_it_is_asked() -> None:
    """Red images only: in rows of H, W, C the first of three numbers. Green and blue stay zero."""
    rng = np.random.default_rng(0)
    red = np.zeros((200, 4, 3))
    red[..., 0] = rng.uniform(-1, 1, (200, 1)) + 0.1 * rng.standard_normal((200, 4))
    data = an.PointSet(red.reshape(200, 12))
    model = train_conv(
        data, (3, 2, 2), width=8, depth=1, steps=150, batch=64, lr=5e-3, warmup=10,
        levels=LogUniform(0.5, 1.0),
    )  # fmt: skip
    x = data.points[:50] + 0.7 * rng.standard_normal((50, 12))
    off = (np.abs(model(x, 0.7)).reshape(50, 4, 3) ** 2).mean(axis=(0, 1))
    assert off[1:].max() < 0.1 * off[0]


def _linear(data: an.PointSet, x: Any, sigma: Any) -> Any:
    return networks.preconditioning(sigma[:, None], data.scale)[0] * (x - data.mean)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "unet"}, "kind: got 'unet'"),
        ({"shape": (2, 2)}, "shape: got"),
        ({"width": 2**40}, "width: got"),
        ({"depth": 10**9}, "depth: got"),
        ({"sigma_data": 0.0}, "sigma_data: got"),
    ],
)
def test_bad_architectures(change: dict, words: str) -> None:
    good = {"kind": "mlp", "shape": (2,), "width": 4, "depth": 1, "classes": 0, "sigma_data": 1.0}
    with pytest.raises(ValueError, match=words):
        networks.build({**good, **change})


# --- what is learned from


def recipe(**change: Any) -> _run.Recipe:
    plain = dict(
        steps=10, batch=64, lr=0.01, warmup=2, schedule="cosine", half_life=4.0,
        levels=LogUniform(0.1, 10.0), label_dropout=0.5, seed=3,
    )  # fmt: skip
    return _run.Recipe(**{**plain, **change})


def test_log_uniform_levels() -> None:
    found = np.sort(np.log(LogUniform(0.01, 100.0)(np.random.default_rng(0), 100_000)))
    low, high = np.log([0.01, 100.0])
    expected = low + (high - low) * (np.arange(100_000) + 0.5) / 100_000
    assert np.abs(found - expected).max() < 0.01 * (high - low)


def test_log_normal_levels_are_those_of_edm_scaled_to_the_data() -> None:
    draws = [
        np.log(levels(np.random.default_rng(0), 100_000))
        for levels in (LogNormal(), LogNormal(sigma_data=0.5), LogNormal(-1.2, 1.2, 3.0))
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert draws[0].mean() == pytest.approx(-1.2, abs=0.02)
    assert draws[0].std() == pytest.approx(1.2, abs=0.02)
    np.testing.assert_allclose(draws[2] - draws[0], np.log(6.0), atol=1e-12)
    assert training._levels(LogNormal(1.0), CLOUD) == LogNormal(1.0, 1.2, CLOUD.scale)
    assert training._levels(None, CLOUD) == LogUniform()


def test_a_batch_is_noisy_data_and_its_loss_that_of_edm() -> None:
    """λ|r - x_0|² = |F - f|², with x and x_0 from the batch; levels and labels are in place."""
    here = recipe(batch=200, levels=lambda rng, n: np.repeat([1e-3, 1.0, 50.0, 1e3], n // 4))
    rows = np.arange(20) % 3
    unit = CLOUD.scale
    batch = training._batch(
        CLOUD, entries(CLOUD, rows), {**FLAT, "sigma_data": unit, "classes": 3}, here, 7
    )
    sigma = np.exp(4 * batch.noise)[:, None]
    np.testing.assert_allclose(sigma[:, 0], np.repeat([1e-3, 1.0, 50.0, 1e3], 50), rtol=1e-12)
    skip, out, into = networks.preconditioning(sigma, unit)
    noisy = batch.inputs / into
    clean = skip * noisy + out * batch.targets
    gaps = np.linalg.norm(clean[:, None] - (CLOUD.points - CLOUD.mean), axis=2)
    assert gaps.min(axis=1).max() < 1e-9
    z = (noisy - clean) / sigma
    assert abs(z[50:].mean()) < 0.15
    assert z[50:].std() == pytest.approx(1.0, abs=0.1)
    guess = np.random.default_rng(0).standard_normal(clean.shape)
    weight = (sigma**2 + unit**2) / (sigma * unit) ** 2
    np.testing.assert_allclose(
        weight * (skip * noisy + out * guess - clean) ** 2, (guess - batch.targets) ** 2, rtol=1e-6
    )
    assert batch.labels is not None
    kept = batch.labels.sum(axis=1) == 1
    assert 0.3 < kept.mean() < 0.7
    assert (batch.labels[~kept] == 0).all()
    np.testing.assert_array_equal(batch.labels[kept].argmax(1), rows[gaps.argmin(axis=1)[kept]])


def test_points_are_drawn_by_weight_and_steps_differ() -> None:
    chosen = training._pick(CLOUD.weights, np.random.default_rng(0), 200_000)
    share = np.bincount(chosen, minlength=20) / 200_000
    assert np.abs(share - CLOUD.weights).max() < 5e-3
    batches = [
        training._batch(CLOUD, entries(CLOUD), FLAT, recipe(), step).inputs for step in (1, 2, 1)
    ]
    assert not np.array_equal(batches[0], batches[1])
    np.testing.assert_array_equal(batches[0], batches[2])


def test_learning_rates() -> None:
    rates = [recipe(steps=10, warmup=2).rate(step) for step in range(1, 11)]
    fall = 0.005 * (1 + np.cos(np.pi * np.arange(8) / 8))
    np.testing.assert_allclose(rates, [0.01 / 3, 0.02 / 3, *fall], rtol=1e-12)
    rates = [recipe(schedule="constant").rate(step) for step in (1, 3, 10)]
    np.testing.assert_allclose(rates, [0.01 / 3, 0.01, 0.01], rtol=1e-12)


def test_adam_is_torchs() -> None:
    weights = torch.linspace(-1, 1, 7)
    other = torch.nn.Parameter(weights.clone())
    optimiser = torch.optim.Adam([other], lr=1.0)
    first, second = torch.zeros(7), torch.zeros(7)
    for step, rate in enumerate((0.1, 0.05, 0.3), start=1):
        slope = torch.sin(step * torch.arange(7.0))
        optimiser.param_groups[0]["lr"] = rate
        other.grad = slope.clone()
        optimiser.step()
        _run.adam(weights, slope, first, second, step, rate)
        np.testing.assert_allclose(weights, other.detach(), rtol=0, atol=1e-6)


def test_averaged_weights() -> None:
    assert _run.decay(1, 500) == pytest.approx(2**-20, rel=1e-12)
    assert _run.decay(20, 500) == 0.5
    assert _run.decay(10**6, 500) ** 500 == pytest.approx(0.5, rel=1e-12)
    assert _run.decay(5, 0.0) == 0.0
    here = recipe(half_life=0.2)
    settings = {"kind": "mlp", "shape": (3,), "width": 4, "depth": 1, "classes": 0, "sigma_data": 1}
    run = _run.Run.start(torch, networks.build(settings))
    expected = run.weights.clone().double()
    for step in range(1, 7):
        run.advance(training._batch(CLOUD, entries(CLOUD), FLAT, here, step), here)
        share = 2 ** (-1 / min(0.2, step / 20))
        expected = share * expected + (1 - share) * run.weights
        np.testing.assert_allclose(run.average, expected, rtol=0, atol=1e-6)
    first = next(run.module.parameters())
    assert torch.equal(first.reshape(-1), run.weights[: first.numel()])
    # what a model is given are the averages
    model = train_mlp(CLOUD, **SMALL)
    plain = train_mlp(CLOUD, **SMALL, half_life=0.0)
    assert not same(model, plain)


# --- what is learned


def test_two_points_are_learned() -> None:
    """|r - D| is at most 0.08 of the distance 2 at all levels, and the loss nearly the least."""
    levels = LogUniform(0.1, 10.0)
    model = train_mlp(PAIR, width=32, depth=1, steps=600, batch=256, lr=5e-3, levels=levels)
    D = an.OptimalDenoiser(PAIR)
    rng = np.random.default_rng(0)
    sigma = levels(rng, 20_000)
    clean = PAIR.sample(20_000, rng)
    x = clean + sigma[:, None] * rng.standard_normal((20_000, 1))
    off = np.abs(model(x, sigma) - D(x, sigma))
    assert np.quantile(off, 0.99) < 0.16
    weight = (sigma**2 + PAIR.scale**2) / (sigma * PAIR.scale) ** 2
    least = (weight * D.posterior(x, sigma).trace_cov).mean()
    excess = (weight * (off**2).sum(axis=1)).mean()
    assert excess < 0.03
    assert model.losses.step[-1] == 600
    assert model.losses.loss[-1] == pytest.approx(least, abs=0.08)
    assert model.losses.loss[0] > least + 0.1


def test_the_loss_history_is_an_unbiased_average() -> None:
    """With a rate of zero, nearly, the loss is that of F = 0: one, from the first entry on."""
    normal = an.PointSet(np.random.default_rng(0).standard_normal((2000, 4)))
    model = train_mlp(normal, width=4, depth=1, steps=200, batch=256, lr=1e-30)
    np.testing.assert_array_equal(model.losses.step, np.arange(2, 201, 2))
    np.testing.assert_allclose(model.losses.loss, 1.0, atol=0.1)


def test_a_conditional_model_learns_its_classes() -> None:
    data = an.PointSet([[-1.0], [1.0]], labels=["a", "b"])
    model = train_mlp(
        data, width=16, depth=1, steps=400, batch=128, lr=1e-2, labels=True, label_dropout=0.3,
        levels=LogUniform(0.3, 3.0),
    )  # fmt: skip
    assert model.classes == ("a", "b")
    x = np.linspace(-2, 2, 9)[:, None]
    assert np.abs(model.given("a")(x, 1.0) + 1).max() < 0.3
    assert np.abs(model.given("b")(x, 1.0) - 1).max() < 0.3
    assert np.abs(model(x, 1.0) - np.tanh(x)).max() < 0.3
    np.testing.assert_array_equal(model.given("a").given(None)(x, 1.0), model(x, 1.0))
    with pytest.raises(ValueError, match=r"^label: got 'c', expected one of the labels 'a', 'b'"):
        model.given("c")
    with pytest.raises(ValueError, match="knows no classes"):
        train_mlp(data, **SMALL).given("a")


def test_points_of_several_classes_are_drawn_in_each_by_their_parts() -> None:
    with pytest.warns(UserWarning, match="carried different labels"):
        data = an.PointSet([[0.0], [0.0], [1.0], [2.0]], [1, 3, 2, 4], labels=["z", "b", "a", "b"])
    # "z" is the lighter label of the only point that has it
    names, found = training._entries(data, True)
    assert names.tolist() == ["a", "b", "z"]
    batch = training._batch(data, found, {**FLAT, "shape": (1,), "classes": 3}, recipe(
        batch=40_000, label_dropout=0.0, levels=lambda rng, n: np.full(n, 1e-3)
    ), 1)  # fmt: skip
    assert batch.labels is not None
    into = networks.preconditioning(1e-3, FLAT["sigma_data"])[2]
    place = np.rint(batch.inputs.reshape(-1) / into + data.mean[0]).astype(int)
    share = np.zeros((3, 3))
    np.add.at(share, (place, batch.labels.argmax(axis=1)), 1 / len(place))
    expected = np.array([[0.0, 0.3, 0.1], [0.2, 0.0, 0.0], [0.0, 0.4, 0.0]])
    assert np.abs(share - expected).max() < 0.01
    assert training._digest(data, found) != training._digest(data, found._replace(labels=None))
    model = train_mlp(data, **SMALL, labels=True)
    assert model.given("z").label == "z"


def test_a_single_point_has_a_scale() -> None:
    model = train_mlp([[3.0, 4.0]], **SMALL)
    assert model.settings["sigma_data"] == 1.0
    np.testing.assert_allclose(model([3.0, 4.0], 1e-6), [3, 4], atol=1e-5)


def test_a_model_is_a_denoiser() -> None:
    model = train_mlp(CLOUD, **SMALL, lr=0.1)
    assert model.dim == 3
    assert repr(model) == "TrainedDenoiser('mlp', D=3, steps=12)"
    each = np.array([0.01, 0.1, 1.0, 3.0, 10.0, 80.0])
    rows = np.vstack([model(X[k], each[k]) for k in range(6)])
    np.testing.assert_allclose(model(X, each), rows, rtol=0, atol=1e-4)
    single = model(X[0].astype(np.float32), 1.0)
    assert single.shape == (3,) and single.dtype == np.float32
    run = an.sample(model, an.noise(4, model, 80.0, 0), an.grids.polynomial(5))
    assert np.isfinite(run.final).all()
    assert not any(p.requires_grad or p.grad is not None for p in model.module.parameters())
    with pytest.raises(ValueError, match=r"^sigma: got 0.0"):
        model(X, 0.0)
    with pytest.raises(TypeError):
        model.settings["steps"] = 3


def test_rows_in_blocks() -> None:
    model = train_mlp(CLOUD, **SMALL, lr=0.1)
    whole = model(X, np.arange(1.0, 7.0))
    model.denoiser.limit[0] = 2
    np.testing.assert_allclose(model(X, np.arange(1.0, 7.0)), whole, rtol=0, atol=1e-5)


# --- the same again


def test_same_seed_same_model_and_generators_are_left_alone() -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    before, other = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = train_mlp(CLOUD, **SMALL, seed=1)
    torch.manual_seed(6)
    second = train_mlp(CLOUD, **SMALL, seed=1)
    assert same(first, second)
    assert not same(first, train_mlp(CLOUD, **SMALL, seed=2))
    torch.manual_seed(5)
    train_conv(CLOUD, (1, 1, 3), **SMALL)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], other)  # noqa: NPY002


def test_threads_are_put_back() -> None:
    seen = []

    def levels(rng: np.random.Generator, count: int) -> Any:
        seen.append(torch.get_num_threads())
        return np.ones(count)

    train_mlp(CLOUD, **SMALL, levels=levels, threads=2)
    assert seen[-1] == 2
    assert torch.get_num_threads() == 1


def test_progress_counts_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []
    monkeypatch.setattr(
        training, "bar", lambda total, title, wanted: training_bar(total, wanted, moved)
    )
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_mlp(
            CLOUD, **SMALL, levels=Stops(9), checkpoint=path, checkpoint_every=5, progress=True
        )
    moved.clear()
    train_mlp(CLOUD, **SMALL, levels=Stops(0), checkpoint=path, progress=True)
    assert moved[0] == 5 and sum(moved) == 12


def training_bar(total: int, wanted: bool, moved: list[int]) -> Any:
    from contextlib import nullcontext

    assert total == 12 and wanted
    return nullcontext(moved.append)


# --- checkpoints


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_an_interrupted_run_goes_on_bit_for_bit(kind: str, tmp_path: Path) -> None:
    def train(at: int, **more: Any) -> Any:
        common = {**SMALL, "levels": Stops(at), "lr": 0.02, "labels": True, **more}
        return (
            train_mlp(CLOUD, **common) if kind == "mlp" else train_conv(CLOUD, (3, 1, 1), **common)
        )

    whole = train(0)
    path = tmp_path / "run.ckpt"
    for at in (6, 6):
        with pytest.raises(KeyboardInterrupt):
            train(at, checkpoint=path, checkpoint_every=4)
    assert read_torch(path, _run._KIND, 1)["step"] == 8
    resumed = train(0, checkpoint=path, checkpoint_every=4)
    assert same(whole, resumed)
    np.testing.assert_array_equal(whole.losses.loss, resumed.losses.loss)
    np.testing.assert_array_equal(whole.losses.step, resumed.losses.step)
    assert list(tmp_path.iterdir()) == [path]
    # a finished run is only read: its levels are drawn for the fingerprint, no more
    stops = Stops(2)
    again = train(0, checkpoint=path, levels=stops)
    assert stops.calls == 1 and same(whole, again)


def test_a_checkpoint_stays_whole_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.ckpt"
    whole = train_mlp(CLOUD, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        train_mlp(CLOUD, **SMALL, levels=Interrupted(), checkpoint=path, checkpoint_every=4)
    before = path.read_bytes()
    fdopen = os.fdopen

    def full(handle: int, mode: str) -> Any:
        stream = fdopen(handle, mode)
        write = stream.write

        class Full:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *args: object) -> None:
                stream.close()

            def write(self, content: bytes) -> None:
                write(content[: len(content) // 2])
                raise OSError(28, "No space left on device")

        return Full()

    with monkeypatch.context() as patched:
        patched.setattr(_outcome.os, "fdopen", full)
        with pytest.raises(OSError, match="No space"):
            train_mlp(CLOUD, **SMALL, levels=Same(), checkpoint=path, checkpoint_every=4)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    resumed = train_mlp(CLOUD, **SMALL, levels=Same(), checkpoint=path, checkpoint_every=4)
    assert same(whole, resumed)


class Same:
    """The default levels, as a function of the caller's own."""

    def __call__(self, rng: np.random.Generator, count: int) -> Any:
        return LogUniform()(rng, count)


class Interrupted(Same):
    calls = 0

    def __call__(self, rng: np.random.Generator, count: int) -> Any:
        self.calls += 1
        if self.calls == 8:
            raise KeyboardInterrupt
        return super().__call__(rng, count)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run.ckpt"
    train_mlp(CLOUD, **SMALL, checkpoint=path)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": 2e-3}, r"a run with lr = 0.001, expected lr = 0.002"),
        ({"steps": 13}, r"a run with steps = 12, expected steps = 13"),
        ({"seed": 1}, "seed = 0, expected seed = 1"),
        ({"width": 9}, "width = 8, expected width = 9"),
        ({"levels": LogUniform(0.01, 1.0)}, "levels = "),
        ({"levels": lambda rng, n: np.ones(n)}, "levels = "),
        ({"half_life": 3}, "half_life = 500.0, expected half_life = 3.0"),
        ({"labels": True}, "classes = 0, expected classes = 3"),
    ],
)
def test_checkpoints_of_other_settings_are_refused(
    finished: Path, change: dict, words: str
) -> None:
    before = finished.read_bytes()
    with pytest.raises(ValueError, match=rf"^checkpoint: got .*{words}"):
        train_mlp(CLOUD, **{**SMALL, **change}, checkpoint=finished)
    assert finished.read_bytes() == before


def test_functions_are_told_apart_by_what_they_draw(tmp_path: Path) -> None:
    path = tmp_path / "run"
    train_mlp(CLOUD, **SMALL, levels=lambda rng, n: np.ones(n), checkpoint=path)
    with pytest.raises(ValueError, match=r"level_draws = \[1.0"):
        train_mlp(CLOUD, **SMALL, levels=lambda rng, n: np.full(n, 2.0), checkpoint=path)


def test_checkpoints_of_other_data_are_refused(tmp_path: Path) -> None:
    """Of data with the same scale, and so the same settings."""
    path = tmp_path / "run"
    train_mlp(PAIR, **SMALL, checkpoint=path)
    for other in (
        an.PointSet(PAIR.points, [0.75, 0.25]),
        an.PointSet(PAIR.points[::-1], [0.75, 0.25]),
    ):
        with pytest.raises(ValueError, match=r"^checkpoint: got .* is of a run on other points"):
            train_mlp(other, **SMALL, checkpoint=path)
    even = an.PointSet(CLOUD.points)
    swapped = even.points.copy()
    swapped[[3, 4], 0] = swapped[[4, 3], 0]
    digests = {
        training._digest(data, entries(data, rows))
        for data, rows in (
            (even, None), (an.PointSet(swapped), None), (CLOUD, None), (even, np.arange(20)),
        )
    }  # fmt: skip
    assert len(digests) == 4


class Trap:
    """A pickle that leaves a mark where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (open, (str(self.mark), "w"))


def damaged(kind: str, path: Path, mark: Path) -> None:
    content = path.read_bytes()
    match kind:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "flipped":
            at = content.index(b"PK\x03\x04", len(content) // 2) - 100
            path.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
        case "empty":
            path.write_bytes(b"")
        case "pickle":
            path.write_bytes(pickle.dumps(Trap(mark)))
        case "torch pickle":
            torch.save({"kind": Trap(mark)}, path)
        case "other":
            torch.save({"kind": "mine", "version": 1}, path)
        case "newer":
            torch.save({**torch.load(path, weights_only=True), "version": 2}, path)


DAMAGES = ["truncated", "flipped", "empty", "pickle", "torch pickle", "other", "newer"]


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_checkpoints_are_refused(kind: str, finished: Path, tmp_path: Path) -> None:
    path, mark = tmp_path / "run", tmp_path / "mark"
    path.write_bytes(finished.read_bytes())
    damaged(kind, path, mark)
    with pytest.raises(ValueError, match=r"^checkpoint: got '.*run', which "):
        train_mlp(CLOUD, **SMALL, checkpoint=path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["weights", "step", "loss", "history", "settings", "data"])
def test_checkpoints_with_wrong_parts_are_refused(
    name: str, finished: Path, tmp_path: Path
) -> None:
    content = torch.load(finished, weights_only=True)
    for value in (None, torch.full((3,), torch.nan)):
        torch.save({**content, name: value}, tmp_path / "run")
        with pytest.raises(ValueError, match=r"^checkpoint: got '.*run', which "):
            train_mlp(CLOUD, **SMALL, checkpoint=tmp_path / "run")
    torch.save({**content, "step": 13}, tmp_path / "run")
    with pytest.raises(ValueError, match="numbers that cannot be"):
        train_mlp(CLOUD, **SMALL, checkpoint=tmp_path / "run")
    broken = content["weights"].clone()
    broken[0] = torch.inf
    torch.save({**content, "weights": broken}, tmp_path / "run")
    with pytest.raises(ValueError, match="numbers that cannot be"):
        train_mlp(CLOUD, **SMALL, checkpoint=tmp_path / "run")


# --- files of models


def test_a_model_is_saved_and_loaded(tmp_path: Path) -> None:
    for name, model in (
        ("mlp.pt", train_mlp(CLOUD, **SMALL, labels=True, lr=0.1).given(2)),
        ("conv.pt", train_conv(CLOUD, (3, 1, 1), layout="chw", **SMALL, lr=0.1)),
    ):
        model.save(tmp_path / name)
        found = load(str(tmp_path / name))
        np.testing.assert_array_equal(found(X, 0.7), model(X, 0.7))
        np.testing.assert_array_equal(found.losses.loss, model.losses.loss)
        assert dict(found.settings) == dict(model.settings)
        assert (found.shape, found.classes, found.label) == (
            model.shape,
            model.classes,
            model.label,
        )
        assert found.layout == model.layout == ("chw" if name == "conv.pt" else "hwc")
        size = sum(v.numel() for v in model.module.state_dict().values())
        assert (tmp_path / name).stat().st_size < 8 * size + 30_000


def test_random_features_are_saved_and_loaded(tmp_path: Path) -> None:
    model = an.learned.RandomFeatureDenoiser.fit(CLOUD, [2.0, 0.5], 16)
    with pytest.raises(ValueError, match=r"^path: got '/no/dir/x', expected a file in an existing"):
        model.save("/no/dir/x")
    path = tmp_path / "features.npz"
    model.save(path)
    found = load(path)
    assert isinstance(found, an.learned.RandomFeatureDenoiser)
    for sigma in (3.0, 1.0, 0.5, 0.1):
        np.testing.assert_array_equal(found(X, sigma), model(X, sigma))
    np.testing.assert_array_equal(found.losses, model.losses)
    with np.load(path) as archive:
        arrays = dict(archive)
    for change in (
        {"kind": np.array("other")},
        {"mean": arrays["mean"][:2]},
        {"phases": arrays["phases"] * np.nan},
        {"readout": arrays["readout"].astype(np.float32)},
        {"sigmas": arrays["sigmas"][::-1]},
    ):
        np.savez(path, **{**arrays, **change})
        with pytest.raises(ValueError, match=r"^path: got '.*features.npz', which cannot be read"):
            load(path)
    np.savez(path, **{k: v for k, v in arrays.items() if k != "losses"})
    with pytest.raises(ValueError, match="losses"):
        load(path)
    np.savez(path, kind=np.array([Trap(tmp_path / "mark")], dtype=object))
    with pytest.raises(ValueError, match="cannot be read"):
        load(path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_models_are_refused(kind: str, tmp_path: Path) -> None:
    path, mark = tmp_path / "model", tmp_path / "mark"
    train_mlp(CLOUD, **SMALL).save(path)
    damaged(kind, path, mark)
    with pytest.raises(ValueError, match=r"^path: got '.*model', which "):
        load(path)
    assert not mark.exists()


def test_models_whose_contents_do_not_fit_are_refused(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "model"
    train_mlp(CLOUD, **SMALL).save(path)
    content = torch.load(path, weights_only=True)
    state, settings = content["state"], content["settings"]
    enter = state["net.enter.weight"]
    for change in (
        {"settings": {**settings, "width": 9}},
        {"settings": {**settings, "width": 2**40}},
        {"settings": {**settings, "layout": "whc"}},
        {"settings": {}},
        {"state": {k: v for k, v in state.items() if k != "mean"}},
        {"state": {**state, "net.enter.weight": enter * torch.nan}},
        {"state": {**state, "net.enter.weight": enter.double()}},
        {"state": {**state, "more": enter}},
        {"classes": 3},
        {"label": 4},
    ):
        torch.save({**content, **change}, path)
        with pytest.raises(ValueError, match=r"^path: got '.*model', which has contents"):
            load(path)
    with pytest.raises(ValueError, match="is no analytic-diffusion model"):
        load(finished)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


# --- what callers do wrong


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"steps": 0}, ValueError, "steps: got 0"),
        ({"batch": 2.0}, TypeError, "batch: got 2.0"),
        ({"lr": 0.0}, ValueError, "lr: got 0.0"),
        ({"lr": np.nan}, ValueError, "lr: got nan"),
        ({"warmup": -1}, ValueError, "warmup: got -1"),
        ({"schedule": "cosin"}, ValueError, "schedule: got 'cosin'.*did you mean 'cosine'"),
        ({"half_life": -1}, ValueError, "half_life: got -1"),
        ({"levels": "edm"}, TypeError, "levels: got 'edm'"),
        ({"levels": LogNormal}, TypeError, r"levels: got the class LogNormal.* LogNormal\(\)"),
        ({"levels": lambda rng, n: np.zeros(n)}, ValueError, "levels: got 0.0"),
        ({"levels": lambda rng, n: np.ones(n - 1)}, ValueError, "levels: got shape"),
        ({"label_dropout": 2}, ValueError, "label_dropout: got 2"),
        ({"labels": 1}, TypeError, "labels: got 1"),
        ({"labels": True}, ValueError, "labels: got True, expected points with labels"),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"threads": 0}, ValueError, "threads: got 0"),
        ({"device": "abacus"}, ValueError, "device: got 'abacus'"),
        ({"width": 0}, ValueError, "width: got 0"),
        ({"depth": 10**6}, ValueError, "depth: got 1000000"),
        ({"checkpoint": 3}, TypeError, "checkpoint: got 3"),
        ({"checkpoint": "/nowhere/at/all"}, ValueError, "checkpoint: got '/nowhere/at/all'"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every: got 0"),
        ({"progress": "yes"}, TypeError, "progress: got 'yes'"),
    ],
)
def test_bad_arguments(options: dict, kind: type[Exception], words: str) -> None:
    for train in (train_mlp, lambda points, **more: train_conv(points, (1, 1, 1), **more)):
        with pytest.raises(kind, match=f"^{words}"):
            train(PAIR, **{**SMALL, **options})


@pytest.mark.parametrize("shape", [(1, 8), (1, 1, 2), 8, (1, 1, 0), (1.0, 1, 1)])
def test_bad_shapes(shape: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"^shape: got"):
        train_conv(PAIR, shape, **SMALL)


def test_bad_layouts() -> None:
    with pytest.raises(ValueError, match=r"^layout: got 'cwh'.*did you mean 'chw'"):
        train_conv(PAIR, (1, 1, 1), layout="cwh", **SMALL)


@pytest.mark.parametrize("make", [lambda: LogUniform(2.0, 1.0), lambda: LogUniform(0.0, 1.0)])
def test_bad_levels(make: Any) -> None:
    with pytest.raises(ValueError, match=r"^(low|high): got"):
        make()


@pytest.mark.parametrize("label", [True, 1.0, "1", np.array([1]), [1]])
def test_labels_of_a_model_are_those_of_points(label: Any) -> None:
    data = an.PointSet([[-1.0], [1.0]], labels=[0, 1])
    model = train_mlp(data, **SMALL, labels=True)
    assert model.given(np.int64(1)).label == 1
    for owner in (model, data):
        with pytest.raises(ValueError, match=r"^label: got .*, expected one of the labels 0, 1;"):
            owner.given(label)


def test_default_levels_are_in_the_units_of_the_data() -> None:
    for unit, low in ((1.0, 0.001), (1e4, 10.0)):
        data = an.PointSet([[-unit], [unit]])
        assert training._levels(None, data) == LogUniform(low, 160_000 * low)


def test_training_that_diverges_says_so() -> None:
    """A loss beyond float32; the weights are those of the step before."""
    settings = {"kind": "mlp", "shape": (3,), "width": 4, "depth": 1, "classes": 0, "sigma_data": 1}
    run = _run.Run.start(torch, networks.build(settings))
    before = run.weights.clone()
    batch = training._batch(CLOUD, entries(CLOUD), FLAT, recipe(), 1)
    with pytest.raises(FloatingPointError, match=r"diverged at step 1 \(loss inf\); lower lr=0.01"):
        run.advance(batch._replace(targets=1e30 * batch.targets), recipe())
    assert torch.equal(run.weights, before)


def test_without_torch_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"needs PyTorch.*analytic-diffusion\[torch\]"):
        train_mlp(PAIR, **SMALL)
