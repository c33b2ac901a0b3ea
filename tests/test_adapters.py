"""Torch modules as denoisers and the other way round, against literal evaluations."""

from __future__ import annotations

import itertools
import pickle
import sys
from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import targets
from analytic.denoisers import apply
from analytic.learned import as_denoiser, as_edm, from_diffusers, from_torch, to_torch

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

SCHEDULES = {
    "none": None,
    "ve": an.NoiseSchedule.ve(),
    "vp": an.NoiseSchedule.vp(),
    "sub_vp": an.NoiseSchedule.sub_vp(),
    "cosine": an.NoiseSchedule.cosine(),
    "rectified_flow": an.NoiseSchedule.rectified_flow(),
    "discrete": an.NoiseSchedule.discrete(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))),
}
PAIRS = [*itertools.product(targets.NAMES, SCHEDULES), ("edm", "none")]
MOONS = an.OptimalDenoiser(an.datasets.two_moons(64, seed=0))
NORMAL = an.GaussianDenoiser([0.3, -0.2], [[1.0, 0.3], [0.3, 0.5]])
SIGMA = np.array([0.02, 0.1, 0.5, 2.0, 10.0, 80.0])


def states(sigma: Any, dim: int = 2, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return 0.5 * rng.standard_normal((len(sigma), dim)) + sigma[:, None] * rng.standard_normal(
        (len(sigma), dim)
    )


def room(form: str, x: Any, denoised: Any, sigma: Any, schedule: Any) -> Any:
    """(B, 1) the size of the two terms whose difference D is.

    D = (b x̂ - σ y)/(b - a σ): for ε at σ = 80 that is a difference of numbers around 80, so the
    last bits of D, of size 1, cannot be had from y in any arithmetic: y's own rounding is 80
    times as large there. Relative to these terms, though, nothing may be lost.
    """
    if form in ("x0", "edm"):
        return 1 + np.abs(denoised).max(axis=1, keepdims=True)
    y = targets.output(form, x, denoised, sigma[:, None], schedule)
    a, b = (each[:, None] for each in targets.combination(form, sigma, schedule))
    return ((np.abs(b * x) + sigma[:, None] * np.abs(y)) / np.abs(b - a * sigma[:, None])).max(
        axis=1, keepdims=True
    ) + 1


@pytest.mark.parametrize(("form", "name"), PAIRS)
@pytest.mark.parametrize("denoiser", [MOONS, NORMAL], ids=["moons", "normal"])
def test_round_trip_in_double(denoiser: Any, form: str, name: str) -> None:
    schedule = SCHEDULES[name]
    x = states(SIGMA)
    module = to_torch(denoiser, parameterization=form, schedule=schedule, shape=2)
    back = from_torch(module, parameterization=form, schedule=schedule, shape=2)
    assert back.dtype == torch.float64
    expected = denoiser(x, SIGMA)
    gap = np.abs(back(x, SIGMA) - expected) / room(form, x, expected, SIGMA, schedule)
    assert gap.max() < 1e-12
    one = back(x[2], 0.5)
    assert one.shape == (2,)
    np.testing.assert_allclose(one, expected[2], rtol=1e-11)


@pytest.mark.parametrize(("form", "name"), PAIRS)
def test_round_trip_in_single(form: str, name: str) -> None:
    """Of a normal distribution, which does not amplify the rounding of its input."""
    schedule = SCHEDULES[name]
    x = states(SIGMA)
    module = to_torch(NORMAL, parameterization=form, schedule=schedule, shape=2)
    back = from_torch(module, parameterization=form, schedule=schedule, shape=2, dtype="float32")
    expected = NORMAL(x, SIGMA)
    gap = np.abs(back(x, SIGMA) - expected) / room(form, x, expected, SIGMA, schedule)
    assert gap.max() < 1e-6
    single = back(x.astype(np.float32), SIGMA)
    assert single.dtype == np.float32


class Recorder(torch.nn.Module):
    """Keeps what it is told and returns a function of it."""

    def __init__(self, function: Any = lambda x, time, *label: x) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float32))
        self.function, self.calls, self.modes = function, [], []

    def forward(self, x: Any, time: Any, *label: Any) -> Any:
        self.calls.append((x, time, *label))
        self.modes.append((self.training, torch.is_inference_mode_enabled()))
        return self.function(x, time, *label)


@pytest.mark.parametrize(
    ("form", "formula"),
    [
        ("x0", lambda x, y, a, s: y),
        ("eps", lambda x, y, a, s: (x - s * y) / a),
        ("v", lambda x, y, a, s: (a * x - s * y) / (a**2 + s**2)),
    ],
)
@pytest.mark.parametrize("name", list(SCHEDULES)[1:])
def test_what_the_module_sees_and_what_is_made_of_it(form: str, formula: Any, name: str) -> None:
    schedule, module = SCHEDULES[name], Recorder(lambda x, time: torch.sin(3 * x))
    denoiser = from_torch(
        module, parameterization=form, schedule=schedule, shape=(1, 2, 3), time=999.0
    )
    sigma = np.array([0.1, 3.0])
    x_hat = states(sigma, 6)
    found = denoiser(x_hat, sigma)
    t = schedule.time(sigma)
    alpha, s = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    [(seen, time)] = module.calls
    assert seen.shape == (2, 1, 2, 3)
    assert seen.dtype == time.dtype == torch.float32
    np.testing.assert_allclose(seen.reshape(2, 6).numpy(), alpha * x_hat, rtol=1e-6)
    np.testing.assert_allclose(time.numpy(), 999 * t, rtol=1e-6)
    y = torch.sin(3 * seen).double().numpy().reshape(2, 6)
    np.testing.assert_allclose(found, formula(alpha * x_hat, y, alpha, s), rtol=1e-9, atol=1e-10)


# an image of 2 x 2 pixels, three colours: red 1 to 4, green 10 to 40, blue 100 to 400
PIXELS = np.array([[1.0, 10, 100], [2, 20, 200], [3, 30, 300], [4, 40, 400]]).reshape(1, 12)
PLANES = PIXELS.reshape(4, 3).T.reshape(1, 12)
RED = np.where(np.arange(12) % 3 == 0, 2.0, 1.0)


def redder(x: Any, time: Any, *label: Any) -> Any:
    """Twice the first channel."""
    assert x.shape[1:] == (3, 2, 2)
    return x * torch.tensor([2.0, 1.0, 1.0], dtype=x.dtype).reshape(3, 1, 1)


def test_rows_of_an_image_are_those_of_the_datasets() -> None:
    """H, W, C in all doors; a plain reshape would double red, green and blue of the first pixel."""
    reds = PLANES.copy()
    reds[0, :4] *= 2
    make = lambda **options: from_torch(redder, parameterization="x0", **options)  # noqa: E731
    np.testing.assert_array_equal(make(shape=(3, 2, 2))(PIXELS, 1.0), PIXELS * RED)
    np.testing.assert_array_equal(make(shape=(3, 2, 2))(PIXELS[0], 1.0), PIXELS[0] * RED)
    np.testing.assert_array_equal(make(shape=(3, 2, 2), layout="chw")(PLANES, 1.0), reds)
    assert make(shape=(3, 2, 2)).layout == "hwc"
    with pytest.raises(ValueError, match=r"^layout: got 'HWC'"):
        make(shape=(3, 2, 2), layout="HWC")


def test_modules_of_denoisers_see_images() -> None:
    image = torch.tensor(PLANES.reshape(1, 3, 2, 2))
    double = lambda x, sigma: x * RED  # noqa: E731
    reds = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64).reshape(3, 1, 1) * image
    for make in (
        lambda **options: as_edm(double, (3, 2, 2), **options),
        lambda **options: to_torch(double, parameterization="x0", shape=(3, 2, 2), **options),
        lambda **options: to_torch(double, parameterization="edm", shape=(3, 2, 2), **options),
    ):
        assert torch.equal(make()(image, 1.0), reds)
        planes = image * torch.tensor(RED).reshape(3, 2, 2)
        assert torch.equal(make(layout="chw")(image, 1.0), planes)
        with pytest.raises(ValueError, match=r"^layout: got 'cwh'"):
            make(layout="cwh")


def test_nets_of_edm_take_images_as_they_are_read(tmp_path: Any) -> None:
    """From a file of pixels to what the net sees: colours stay colours."""
    import zipfile

    from PIL import Image

    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive, archive.open("0.png", "w") as f:
        Image.fromarray(pixels).save(f, "png")
    points = an.datasets.load(tmp_path / "images.zip")
    net = Recorder(lambda x, time, *label: redder(x, time))
    net.sigma_min, net.sigma_max, net.img_channels, net.img_resolution = 0.0, 80.0, 3, 2
    net.round_sigma = torch.as_tensor
    found = as_denoiser(net)(points.points, 1.0)
    seen = net.calls[0][0][0].numpy()
    np.testing.assert_allclose(seen, pixels.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(found, points.points * RED, atol=1e-6)
    planes = as_denoiser(net, layout="chw")(points.points, 1.0)
    assert np.abs(planes - points.points * RED).max() > 0.1


def test_other_shapes_are_taken_as_they_are() -> None:
    x = np.arange(6.0)[None]
    for shape in (6, (2, 3), (1, 2, 3), (1, 1, 2, 3)):
        for layout in ("hwc", "chw"):
            net = Recorder()
            from_torch(net, parameterization="x0", shape=shape, layout=layout)(x, 1.0)
            np.testing.assert_array_equal(net.calls[0][0].reshape(-1), x[0])


def test_flow_models_of_the_straight_line() -> None:
    module = Recorder(lambda x, time: torch.cos(x))
    denoiser = from_torch(
        module, parameterization="flow", schedule=SCHEDULES["rectified_flow"], shape=2
    )
    sigma = np.array([0.25, 4.0])
    t = np.array([0.2, 0.8])[:, None]
    x_t = states(sigma) * (1 - t)
    found = denoiser(x_t / (1 - t), sigma)
    velocity = np.cos(module.calls[0][0].double().numpy())
    np.testing.assert_allclose(found, x_t - t * velocity, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_narrow_modules_in_a_wide_flow(dtype: str) -> None:
    """Only what the module does is narrow: x - σ ε is taken in float64."""
    torch.manual_seed(0)
    module = torch.nn.Linear(2, 2).to(getattr(torch, dtype))
    denoiser = from_torch(lambda x, time: module(x), parameterization="eps", shape=2, dtype=dtype)
    x = states(SIGMA)
    with torch.no_grad():
        eps = module(torch.from_numpy(x).to(denoiser.dtype)).double().numpy()
    found = denoiser(x, SIGMA)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, x - SIGMA[:, None] * eps)
    narrow = Recorder().to(getattr(torch, dtype))
    assert from_torch(narrow, parameterization="eps", shape=2).dtype == denoiser.dtype
    # EDM's nets take single precision at least, and cast themselves
    assert from_torch(narrow, shape=2).dtype == torch.float32


def test_a_callable_clock_keeps_its_dtype() -> None:
    module = Recorder().to(torch.bfloat16)
    for function, expected in (
        (lambda s: s.astype(np.float32), torch.float32),
        (lambda s: np.rint(s).astype(np.int64), torch.int64),
        (lambda s: s, torch.bfloat16),
    ):
        from_torch(module, parameterization="x0", shape=2, time=function)([1.0, 2.0], 3.0)
        assert module.calls[-1][1].dtype == expected
        assert module.calls[-1][1].tolist() == [3]


def test_modules_run_in_eval_mode_and_flags_come_back() -> None:
    inner = torch.nn.Dropout(0.5)
    module = Recorder(lambda x, time: inner(x))
    module.inner, module.frozen = inner, torch.nn.BatchNorm1d(2).eval()
    denoiser = from_torch(module, parameterization="x0", shape=2)
    x = states(SIGMA)
    np.testing.assert_allclose(denoiser(x, SIGMA), x, rtol=1e-6)
    assert module.modes == [(False, True)]
    assert (module.training, inner.training, module.frozen.training) == (True, True, False)
    module.function = lambda x, time: 1 / 0
    with pytest.raises(ZeroDivisionError):
        denoiser(x, SIGMA)
    assert module.training


def test_batches() -> None:
    module = Recorder(lambda x, time: x / time[:, None])
    denoiser = from_torch(module, parameterization="x0", shape=2, batch=4)
    x = states(SIGMA)
    np.testing.assert_allclose(denoiser(x, SIGMA), x / SIGMA[:, None], rtol=1e-6)
    assert [len(call[0]) for call in module.calls] == [4, 2]
    assert denoiser(np.empty((0, 2)), 1.0).shape == (0, 2)
    assert len(module.calls) == 2
    small, large = (
        from_torch(Recorder(), parameterization="x0", shape=shape).batch
        for shape in (2, (3, 256, 256))
    )
    assert small == 65_536
    assert large == 2


@pytest.mark.parametrize(
    "error",
    [torch.cuda.OutOfMemoryError("x"), RuntimeError("can't allocate memory"), MemoryError()],
)
def test_out_of_memory_halves_the_batch_for_good(error: Exception) -> None:
    def limited(x: Any, time: Any) -> Any:
        if len(x) > 2:
            raise error
        return 2 * x

    module = Recorder(limited)
    denoiser = from_torch(module, parameterization="x0", shape=2, batch=1000)
    x = states(SIGMA)
    np.testing.assert_allclose(denoiser(x, SIGMA), 2 * x, rtol=1e-6)
    assert [len(call[0]) for call in module.calls] == [6, 3, 1, 1, 1, 1, 1, 1]
    module.calls.clear()
    denoiser(x, SIGMA)
    assert len(module.calls) == 6
    module.function = lambda x, time: limited(torch.cat([x] * 3), time)
    with pytest.raises(MemoryError, match=r"^module: got out of memory with 1 row"):
        denoiser(x, SIGMA)


def test_other_errors_of_a_module_are_its_own() -> None:
    module = torch.nn.Linear(3, 3)
    denoiser = from_torch(
        lambda x, time: module(x), parameterization="x0", shape=2, dtype="float32"
    )
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        denoiser([1.0, 2.0], 1.0)


class Conditional(Recorder):
    """Of classes: D = label's row, or 7 without one."""

    label_dim = 3

    def __init__(self) -> None:
        super().__init__(self.answer)

    def answer(self, x: Any, time: Any, label: Any = None) -> Any:
        if label is None:
            return torch.full_like(x, 7.0)
        return label.float().reshape(len(x), -1)[:, :1].expand(-1, 2) * torch.ones_like(x)


def test_labels_and_guidance() -> None:
    module, x = Conditional(), states(SIGMA)
    make = lambda **options: from_torch(module, parameterization="x0", shape=2, **options)  # noqa: E731
    assert (make(labels=0)(x, SIGMA) == 1).all()
    assert module.calls[-1][2].tolist() == [[1.0, 0.0, 0.0]] * 6
    assert (make(labels=2)(x, SIGMA) == 0).all()
    assert (make(labels=[0.5, 0.5, 0.0])(x, SIGMA) == 0.5).all()
    assert (make()(x, SIGMA) == 7).all()
    assert len(module.calls) == 4
    # D_u + w (D_c - D_u) = 7 + w (1 - 7)
    assert (make(labels=0, guidance=3.0)(x, SIGMA) == -11).all()
    assert len(module.calls) == 6
    assert (make(labels=0, guidance=0.0)(x, SIGMA) == 7).all()
    assert len(module.calls) == 7
    assert (make(labels=0, guidance=2.0, null=[0.25, 0.0, 0.0])(x, SIGMA) == 1.75).all()
    module.label_dim = None
    assert (make(labels=5)(x, SIGMA) == 5).all()
    assert module.calls[-1][2].dtype == torch.int64


def test_guidance_is_of_denoised_points_in_any_form() -> None:
    """Linear in y, so that guiding ε is guiding D; not so where only one is scaled."""
    module = Conditional()
    x, sigma = states(SIGMA), SIGMA[:, None]
    denoiser = from_torch(
        module, parameterization="eps", shape=2, labels=0, guidance=3.0, schedule=SCHEDULES["vp"]
    )
    np.testing.assert_allclose(denoiser(x, SIGMA), x - sigma * (-11), rtol=1e-12)


def heun(net: Any, latents: Any, levels: Any) -> Any:
    """A sampler written for EDM's nets: levels as tensors, the state in float64, no step 2 at 0."""
    levels = torch.cat([net.round_sigma(levels), torch.zeros_like(levels[:1])])
    x = latents.to(torch.float64) * levels[0]
    for now, after in itertools.pairwise(levels):
        slope = (x - net(x, now, None).to(torch.float64)) / now
        ahead = x + (after - now) * slope
        if after > 0:
            again = (ahead - net(ahead, after, None).to(torch.float64)) / after
            ahead = x + (after - now) * (0.5 * slope + 0.5 * again)
        x = ahead
    return x


def test_as_edm_in_a_sampler_for_edm() -> None:
    points = an.PointSet(np.random.default_rng(0).standard_normal((40, 12)))
    D = an.OptimalDenoiser(points)
    net = as_edm(D, (3, 2, 2), sigma_min=0.01, sigma_max=50.0)
    assert (net.img_channels, net.img_resolution, net.label_dim) == (3, 2, 0)
    assert (net.sigma_min, net.sigma_max) == (0.01, 50.0)
    grid = an.grids.polynomial(12, sigma_max=net.sigma_max, sigma_min=net.sigma_min)
    latents = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    final = heun(net, latents, torch.from_numpy(grid)).permute(0, 2, 3, 1).reshape(5, 12).numpy()
    start = latents.double().permute(0, 2, 3, 1).reshape(5, 12).numpy() * grid[0]
    mine = an.sample(D, start, np.append(grid, 0.0), solver="heun").final
    np.testing.assert_allclose(final, mine, rtol=0, atol=1e-12)


def test_as_edm_takes_levels_of_any_shape_and_keeps_dtype() -> None:
    net = as_edm(NORMAL, (2, 1, 1))
    x = torch.from_numpy(states(SIGMA)).reshape(6, 2, 1, 1)
    each = torch.from_numpy(SIGMA)
    expected = NORMAL(x.reshape(6, 2).numpy(), SIGMA)
    for sigma in (each, each.reshape(6, 1, 1, 1)):
        np.testing.assert_array_equal(net(x, sigma).reshape(6, 2).numpy(), expected)
    one = net(x, torch.tensor(0.5), force_fp32=True)
    np.testing.assert_array_equal(one.reshape(6, 2).numpy(), NORMAL(x.reshape(6, 2).numpy(), 0.5))
    for dtype, bound in ((torch.float32, 1e-6), (torch.bfloat16, 2e-2)):
        found = net(x.to(dtype), each)
        assert found.dtype == dtype
        close = np.abs(found.double().reshape(6, 2).numpy() - expected).max(axis=1)
        assert (close < bound * (1 + SIGMA)).all()
    assert as_edm(NORMAL, 2).img_resolution is None
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again(x, each).numpy(), net(x, each).numpy())
    with pytest.raises(ValueError, match=r"^class_labels: got tensor"):
        net(x, each, torch.zeros(6, 3))
    with pytest.raises(TypeError, match=r"^x: got \(6, 2\) and torch.float64.*\(B, 2, 1, 1\)"):
        net(x.reshape(6, 2), each)
    with pytest.raises(ValueError, match=r"^time: got 2 numbers"):
        net(x, each[:2])


def test_outputs_that_are_not_defined_at_zero() -> None:
    x = torch.zeros(1, 2, dtype=torch.float64)
    module = to_torch(NORMAL, parameterization="eps", shape=2, schedule=SCHEDULES["vp"])
    with pytest.raises(ValueError, match=r"^level of the time: got 0.0"):
        module(x, 0.0)
    np.testing.assert_allclose(as_edm(NORMAL, 2)(x, 0.0).numpy(), NORMAL(x.numpy(), 0.0))


class Rounding(torch.nn.Module):
    """A net that knows whole levels only."""

    sigma_min, sigma_max, img_channels, img_resolution, label_dim = 1.0, 9.0, 2, 3, 4

    def forward(self, x: Any, sigma: Any, class_labels: Any = None) -> Any:
        return x * sigma.reshape(-1, 1, 1, 1)

    def round_sigma(self, sigma: Any) -> Any:
        return torch.as_tensor(sigma).round()


def test_levels_are_rounded_only_when_asked() -> None:
    x = states(SIGMA[3:], 18)
    plain, asked = from_torch(Rounding()), from_torch(Rounding(), round_sigma=True)
    assert plain.shape == (2, 3, 3)
    sigma = np.array([1.4, 2.6, 7.0])
    np.testing.assert_allclose(plain(x, sigma), x * sigma[:, None], rtol=1e-14)
    np.testing.assert_allclose(asked(x, sigma), x * [[1.0], [3.0], [7.0]], rtol=1e-14)


def test_integrate_a_wrapped_denoiser() -> None:
    """The whole way: numbers of a flow through a float64 module are those of the flow itself."""
    net = from_torch(
        to_torch(NORMAL, parameterization="v", schedule=SCHEDULES["cosine"], shape=2),
        parameterization="v",
        schedule=SCHEDULES["cosine"],
        shape=2,
    )
    x = an.noise(4, like=net, sigma=80.0, seed=0)
    mine = an.integrate(NORMAL, x, 80.0, 0.1, rtol=1e-8).final
    np.testing.assert_allclose(an.integrate(net, x, 80.0, 0.1, rtol=1e-8).final, mine, atol=1e-7)


def test_as_denoiser() -> None:
    assert as_denoiser(NORMAL) is NORMAL
    wrapped = from_torch(Recorder(), parameterization="x0", shape=2)
    assert as_denoiser(wrapped) is wrapped
    net = as_denoiser(Rounding(), labels=1, batch=3)
    assert (net.parameterization, net.shape, net.batch) == ("edm", (2, 3, 3), 3)
    assert net.label.tolist() == [0.0, 1.0, 0.0, 0.0]
    x = states(SIGMA)
    toy = as_denoiser(as_edm(NORMAL, 2), shape=2)
    np.testing.assert_allclose(toy(x, SIGMA), NORMAL(x, SIGMA), rtol=1e-14)
    with pytest.raises(TypeError, match=r"^thing: got the torch module Linear.*from_torch"):
        as_denoiser(torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"^thing: got 3"):
        as_denoiser(3)
    with pytest.raises(TypeError, match=r"^--model: got 3"):
        as_denoiser(3, argument="--model")
    toy = as_denoiser(as_edm(NORMAL, 2), dim=2)
    np.testing.assert_allclose(toy(x, SIGMA), NORMAL(x, SIGMA), rtol=1e-14)
    assert as_denoiser(Rounding(), dim=2).shape == (2, 3, 3)
    with pytest.raises(
        ValueError, match=r"^model: got EDMModule without img_.*from_torch with sha"
    ):
        as_denoiser(as_edm(NORMAL, 2), argument="model")
    with pytest.raises(ValueError, match=r"^labels: got 0, expected nothing"):
        as_denoiser(NORMAL, labels=0)
    with pytest.raises(ValueError, match=r"^schedule: got"):
        as_denoiser(NORMAL, schedule=SCHEDULES["vp"])


def test_what_it_says_of_itself() -> None:
    found = from_torch(Recorder(), parameterization="v", shape=2, schedule=SCHEDULES["vp"])
    assert repr(found) == "TorchDenoiser(Recorder, 'v', shape=(2,), torch.float32, cpu)"
    assert found.schedule is SCHEDULES["vp"]
    assert found.dim == 2


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"module": 3}, TypeError, "module: got 3"),
        (
            {"module": torch.nn.Linear(2, 2)},
            TypeError,
            r"module: got Linear, called with \(input.* is called as module\(x, time\)",
        ),
        (
            {"module": lambda x, time: x, "labels": 1},
            TypeError,
            r"module: got <lambda>, .* called as module\(x, time, label\)",
        ),
        (
            {"module": lambda x, time, y: x},
            TypeError,
            r"module: got <lambda>, called with \(x, time, y\) \(missing a required argument: 'y'",
        ),
        ({"shape": None}, TypeError, r"shape: got None, expected \(C, H, W\)"),
        ({"shape": (2, 0)}, ValueError, "shape: got 0"),
        ({"device": "warp"}, ValueError, "device: got 'warp', which PyTorch refuses"),
        ({"device": "meta"}, ValueError, "device: got 'meta', expected cpu"),
        ({"dtype": "int64"}, TypeError, "dtype: got 'int64'"),
        ({"dtype": 8}, TypeError, "dtype: got 8"),
        ({"batch": 0}, ValueError, "batch: got 0"),
        ({"guidance": 2.0}, ValueError, "guidance: got 2.0, expected labels"),
        ({"null": 0}, ValueError, "null: got 0, expected labels"),
        ({"labels": True}, TypeError, "labels: got True"),
        ({"labels": -1}, ValueError, "labels: got -1"),
        ({"labels": [[1.0]]}, ValueError, r"labels: got shape \(1, 1\)"),
        ({"module": Conditional(), "labels": 3}, ValueError, r"labels: got 3, .*\[0, 2\]"),
        ({"module": Conditional(), "labels": [1.0]}, ValueError, r"labels: got shape \(1,\)"),
        ({"module": as_edm(NORMAL, 2), "labels": 0}, ValueError, "labels: got 0, expected None"),
        ({"round_sigma": True}, TypeError, "round_sigma: got True"),
        ({"parameterization": "e"}, ValueError, "parameterization: got 'e'"),
    ],
)
def test_bad_arguments(options: dict, kind: type[Exception], words: str) -> None:
    given = {"module": Recorder(), "parameterization": "x0", "shape": 2, **options}
    with pytest.raises(kind, match=f"^{words}"):
        from_torch(given.pop("module"), **given)


@pytest.mark.parametrize(
    ("function", "x", "kind", "words"),
    [
        (lambda x, t: x[:, :1], 1.0, ValueError, r"module: got output of shape \(2, 1\) for input"),
        (lambda x, t: (x,), 1.0, TypeError, "module: got a tuple as output"),
        (lambda x, t: x.long(), 1.0, TypeError, "module: got torch.int64 as output"),
        (lambda x, t: x.to("meta"), 1.0, ValueError, "module: got output on meta for input on cpu"),
        (
            lambda x, t: x / 0,
            1.0,
            ValueError,
            r"module: got NaN or infinite output in all rows \(2\)",
        ),
        (
            lambda x, t: x,
            1e40,
            ValueError,
            r"x: got \|x\| of 1e\+40 and more.*torch.float32 can hold",
        ),
    ],
)
def test_bad_outputs(function: Any, x: float, kind: type[Exception], words: str) -> None:
    denoiser = from_torch(Recorder(function), parameterization="x0", shape=2)
    with pytest.raises(kind, match=f"^{words}"):
        denoiser([[x, x], [-x, 2 * x]], 1.0)


def test_rows_without_an_answer_are_nan_beside_others() -> None:
    def fragile(x: Any, time: Any, *label: Any) -> Any:
        assert torch.isfinite(x).all()
        return torch.where(x[:, :1] > 3, x / 0, torch.clamp(2 * x, -100, 100))

    x = np.array([[1.0, 2.0], [4.0, 1.0], [1e39, 0.0], [-1.0, 0.0]])
    wanted = np.where([[True], [False], [False], [True]], 2 * x, np.nan)
    for batch in (None, 1):
        module = Recorder(fragile)
        plain = from_torch(module, parameterization="x0", shape=2, batch=batch)
        np.testing.assert_array_equal(plain(x, 1.0), wanted)
        guided = from_torch(
            module, parameterization="x0", shape=2, batch=batch, labels=1, guidance=3.0
        )
        np.testing.assert_array_equal(guided(x, 1.0), wanted)
    # what cannot be told on a path is told where the path is followed
    assert np.isnan(apply(plain, x[1:3], 1.0)).all()
    with pytest.raises(ValueError, match=r"^module: got NaN or infinite output in all rows"):
        plain(x[1:3], 1.0)


def test_modules_that_work_in_place_see_the_same_twice() -> None:
    def doubling(x: Any, time: Any, *label: Any) -> Any:
        return x.mul_(2)

    x = states(SIGMA)
    for dtype in ("float64", "float32"):
        found = from_torch(
            doubling, parameterization="x0", shape=2, labels=1, guidance=2.0, dtype=dtype
        )
        np.testing.assert_allclose(found(x, SIGMA), 2 * x, rtol=1e-6)


def test_bad_calls() -> None:
    denoiser = from_torch(Recorder(), parameterization="eps", shape=2, schedule=SCHEDULES["vp"])
    with pytest.raises(ValueError, match=r"^x: got shape \(3,\)"):
        denoiser([1.0, 2.0, 3.0], 1.0)
    with pytest.raises(ValueError, match=r"^sigma: got 0.0"):
        denoiser([1.0, 2.0], 0.0)
    with pytest.raises(ValueError, match=r"^sigma: got 1000.0, expected levels of 'vp'"):
        denoiser([1.0, 2.0], 1000.0)
    wrong = from_torch(Recorder(), parameterization="x0", shape=2, time=lambda s: np.ones(7))
    with pytest.raises(
        ValueError, match=r"^time: got an array of shape \(7,\).* from the callable"
    ):
        wrong([1.0, 2.0], 1.0)
    with pytest.raises(ValueError, match=r"^shape: got \(3,\), expected 2 numbers"):
        to_torch(NORMAL, parameterization="x0", shape=3)
    with pytest.raises(ValueError, match=r"^time: got a callable"):
        to_torch(NORMAL, parameterization="x0", shape=2, time=lambda s: s)
    with pytest.raises(ValueError, match=r"^sigma_max: got 0.001"):
        as_edm(NORMAL, 2, sigma_max=0.001)


class TestDiffusers:
    """On a tiny UNet2DModel with random weights."""

    @pytest.fixture
    def diffusers(self) -> Any:
        return pytest.importorskip("diffusers")

    @pytest.fixture
    def unet(self, diffusers: Any) -> Any:
        return self.build(diffusers)

    @staticmethod
    def build(diffusers: Any, **options: Any) -> Any:
        torch.manual_seed(0)
        return diffusers.UNet2DModel(
            sample_size=8,
            in_channels=2,
            out_channels=2,
            block_out_channels=(8, 8),
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=4,
            **options,
        )

    @staticmethod
    def literal(unet: Any, x: Any, sigma: float, t: float, kind: str, label: Any = None) -> Any:
        """One row at a time, as a sampler in the coordinates of DDPM would."""
        kept = 1 / (1 + sigma**2)
        x_t = np.sqrt(kept) * x.reshape(8, 8, 2).transpose(2, 0, 1)[None]
        with torch.no_grad():
            y = unet.eval()(
                torch.tensor(x_t, dtype=torch.float32),
                torch.tensor(t),
                class_labels=None if label is None else torch.tensor([label]),
            ).sample
        y = y.double().numpy()
        clean = {
            "epsilon": (x_t - np.sqrt(1 - kept) * y) / np.sqrt(kept),
            "v_prediction": np.sqrt(kept) * x_t - np.sqrt(1 - kept) * y,
            "sample": y,
        }[kind]
        return clean[0].transpose(1, 2, 0).reshape(-1)

    def check(self, denoiser: Any, unet: Any, sigma: Any, times: Any, kind: str) -> None:
        x = states(np.asarray(sigma), 128)
        found = denoiser(x, sigma)
        for row, s, t, answer in zip(x, sigma, times, found, strict=True):
            expected = self.literal(unet, row, s, t, kind)
            np.testing.assert_allclose(answer, expected, rtol=0, atol=3e-6 * (1 + s))

    @pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
    def test_at_trained_levels(self, diffusers: Any, unet: Any, kind: str) -> None:
        scheduler = diffusers.DDPMScheduler(prediction_type=kind)
        kept = scheduler.alphas_cumprod.double().numpy()
        times = [0, 10, 500, 999]
        sigma = np.sqrt((1 - kept) / kept)[times]
        config = dict(scheduler.config)
        for schedule in (scheduler, config):
            denoiser = from_diffusers(unet, schedule)
            assert denoiser.shape == (2, 8, 8)
            self.check(denoiser, unet, sigma, np.float32(times), kind)

    def test_between_them(self, unet: Any) -> None:
        betas = np.linspace(1e-4, 0.02, 1000)
        kept = np.cumprod(1 - betas)
        logs = 0.5 * np.log((1 - kept) / kept)
        sigma = np.exp([0.3 * logs[4] + 0.7 * logs[5], 0.6 * logs[700] + 0.4 * logs[701]])
        self.check(from_diffusers(unet, betas), unet, sigma, np.float32([4.7, 700.4]), "epsilon")
        nearest = from_diffusers(unet, betas, timestep="nearest")
        self.check(nearest, unet, sigma, [5, 700], "epsilon")
        vp = from_diffusers(unet, an.NoiseSchedule.discrete(kept))
        self.check(vp, unet, sigma, np.float32([4.7, 700.4]), "epsilon")

    def test_beyond_them(self, unet: Any) -> None:
        betas = np.linspace(1e-4, 0.02, 1000)
        with pytest.raises(ValueError, match=r"^sigma: got 0.001, expected levels of 'discrete'"):
            from_diffusers(unet, betas)(np.zeros(128), 0.001)
        denoiser = from_diffusers(unet, betas, beyond="clip")
        self.check(denoiser, unet, [0.001, 500.0], np.float32([0, 999]), "epsilon")

    def test_classes(self, diffusers: Any) -> None:
        unet = self.build(diffusers, num_class_embeds=4)
        x = states(np.array([1.0]), 128)
        t = float(SCHEDULES["discrete"].time(1.0))
        denoiser = from_diffusers(unet, SCHEDULES["discrete"], labels=2, guidance=2.5, null=3)
        with_label, without = (
            self.literal(unet, x[0], 1.0, np.float32(t), "epsilon", label) for label in (2, 3)
        )
        expected = without + 2.5 * (with_label - without)
        assert np.abs(with_label - without).max() > 1e-3
        np.testing.assert_allclose(denoiser(x, 1.0)[0], expected, rtol=0, atol=2e-5)
        with pytest.raises(ValueError, match=r"^labels: got 4.*\[0, 3\]"):
            from_diffusers(unet, SCHEDULES["discrete"], labels=4)

    def test_in_half_precision_timesteps_stay_whole(self, diffusers: Any) -> None:
        unet = self.build(diffusers).to(torch.bfloat16)
        seen = []
        unet.register_forward_pre_hook(lambda module, args: seen.append(args))
        denoiser = from_diffusers(unet, SCHEDULES["discrete"])
        x = states(np.array([100.0]), 128)
        assert np.isfinite(denoiser(x, 100.0)).all()
        assert [each.dtype for each in seen[0]] == [torch.bfloat16, torch.float32]
        t = float(SCHEDULES["discrete"].time(100.0))
        assert float(seen[0][1][0]) == pytest.approx(t, rel=1e-6)

    def test_as_denoiser_finds_its_process(self, diffusers: Any, unet: Any) -> None:
        scheduler = diffusers.DDPMScheduler()
        pipeline = diffusers.DDPMPipeline(unet, scheduler)
        x = states(np.array([1.0]), 128)
        expected = from_diffusers(unet, scheduler)(x, 1.0)
        np.testing.assert_array_equal(as_denoiser(pipeline)(x, 1.0), expected)
        np.testing.assert_array_equal(as_denoiser(unet, schedule=scheduler)(x, 1.0), expected)
        with pytest.raises(
            ValueError, match=r"^thing: got the .* without a schedule.*from_diffusers"
        ):
            as_denoiser(unet)

    def test_errors(self, diffusers: Any, unet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        table = SCHEDULES["discrete"]
        for options, words in (
            ({"prediction_type": "eps"}, "prediction_type: got 'eps'"),
            ({"timestep": "next"}, "timestep: got 'next'"),
            ({"beyond": "extend"}, "beyond: got 'extend'"),
        ):
            with pytest.raises(ValueError, match=f"^{words}"):
                from_diffusers(unet, table, **options)
        with pytest.raises(ValueError, match=r"^schedule: got.*one that preserves variance"):
            from_diffusers(unet, SCHEDULES["rectified_flow"])
        with pytest.raises(ValueError, match=r"^schedule: got.*betas"):
            from_diffusers(unet, [0.5, 2.0])
        fourier = self.build(diffusers, time_embedding_type="fourier")
        with pytest.raises(ValueError, match=r"^unet: got a network with time_embedding_type"):
            from_diffusers(fourier, table)
        monkeypatch.setitem(sys.modules, "diffusers", None)
        with pytest.raises(ImportError, match=r"analytic-diffusion\[peers\]"):
            from_diffusers(unet, {"beta_schedule": "linear"})
