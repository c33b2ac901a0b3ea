"""A model beside the optimal denoiser: values that are known, and how they are told."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analytic as an
from analytic import compare as compare_function
from analytic.compare import FORWARD, LEARNED, OPTIMAL, _measure, _neighbours

GRID = an.grids.polynomial(10, 20.0, 0.01)


def cloud(count: int = 40, dim: int = 3, seed: int = 0) -> an.PointSet:
    """A weighted set."""
    rng = np.random.default_rng(seed)
    return an.PointSet(
        rng.standard_normal((count, dim)) + 2.0, rng.uniform(0.2, 1, count), name="cloud"
    )


def shifted(denoiser: Any, c: Any) -> Callable[..., Any]:
    """D + c, another function: no fast way for optimal denoisers applies to it."""
    return lambda x, sigma: np.asarray(denoiser(x, sigma)) + c


def study(model: Any, points: Any, **options: Any) -> an.Comparison:
    """A small comparison."""
    return an.compare(model, points, **{"sigmas": GRID, "n": 40, "starts": 6, **options})


@pytest.mark.parametrize("solver", ["heun", "exact"])
@pytest.mark.parametrize(("count", "dim"), [(7, 1), (40, 3), (12, 200)])
def test_the_optimum_beside_itself(count: int, dim: int, solver: str) -> None:
    # on a line, points at random would lie nearer to each other than the last level is low
    points = cloud(count, dim) if dim > 1 else np.arange(count)[:, None] ** 1.3
    D = an.OptimalDenoiser(points)
    found = study(D, D, solver=solver, replace_at=[0.5])
    assert list(found.settings) == [FORWARD, LEARNED, OPTIMAL]
    for setting in found.settings.values():
        assert setting.deviation.max() == 0
        assert setting.near.all()
        assert setting.climbs.all()
        assert setting.pull.min() > 0
    assert found.apart.max() == found.own.max() == 0
    assert np.isnan(found.parted()).all()
    assert np.array_equal(found.loss.model, found.loss.optimal)
    for ends in found.ends.values():
        assert ends.memorised.all()
        assert ends.arrived.all()
        assert np.array_equal(ends.index, found.target)
    assert found.frame["theorem 1, forward samples"].tolist() == [1.0] * len(GRID)


def test_a_constant_shift_is_found_in_every_setting() -> None:
    points = cloud()
    c = np.array([0.3, -0.4, 1.2])
    found = study(shifted(an.OptimalDenoiser(points), c), points)
    for setting in found.settings.values():
        assert setting.deviation == pytest.approx(1.3, abs=1e-12)
    excess = found.loss.model - found.loss.optimal
    assert excess == pytest.approx(1.69, abs=1e-11)
    frame = found.frame
    assert frame["loss"] - frame["mmse"] == pytest.approx(frame["E|r-D|^2"], abs=1e-11)
    assert frame["score error, learned path"] == pytest.approx(1.3 / GRID**2)
    assert frame["|r-D|, optimal path / sigma"] == pytest.approx(1.3 / GRID)
    variance = float(np.trace(points.covariance))
    assert found.scale == pytest.approx(variance**0.5)
    assert frame["|r-D|, forward samples / scale"] == pytest.approx(1.3 / variance**0.5)
    # the sampled loss has the same mean
    gap = np.abs(frame["loss, sampled"] - frame["loss"])
    assert (gap < 5 * np.hypot(frame["loss, sampled se"], frame["loss se"])).all()


def test_what_is_measured_on_the_paths_is_what_their_states_say() -> None:
    points = cloud(60, 2)
    D = an.OptimalDenoiser(points)
    # so far off that the conditions hold here and there
    model = shifted(an.learned.RandomFeatureDenoiser.fit(points, n_features=24), 0.4)
    found = study(model, D, starts=9, seed=4)
    x, best = found.paths["model"], found.paths["optimal"]
    start = an.noise(9, like=D, sigma=20.0, seed=4)
    assert np.array_equal(x.states, an.sample(model, start, GRID).states)
    assert np.array_equal(best.states, an.sample(D, start, GRID).states)
    assert found.apart == pytest.approx(np.linalg.norm(x.states - best.states, axis=2))
    assert found.own == pytest.approx(np.linalg.norm(x.denoised - best.denoised, axis=2))
    for name, states in ((LEARNED, x.states), (OPTIMAL, best.states)):
        setting = found.settings[name]
        for k, s in enumerate(GRID):
            r, d = model(states[k], s), D(states[k], s)
            gap, pull = np.linalg.norm(r - d, axis=1), np.linalg.norm(d - states[k], axis=1)
            assert setting.deviation[k] == pytest.approx(gap, abs=1e-13)
            assert np.array_equal(setting.near[k], gap <= pull)
            # the Euler step of the grid: it must not lead out of the ball around D
            after = GRID[k + 1] if k + 1 < len(GRID) else 0.0
            y = states[k] + (1 - after / s) * (r - states[k])
            assert np.array_equal(setting.climbs[k], np.linalg.norm(y - d, axis=1) <= pull)
    for name in (LEARNED, OPTIMAL):
        climbs, near = found.settings[name].climbs, found.settings[name].near
        assert (climbs | ~near).all()
        assert near.any()
        assert not climbs.all()
    assert (found.settings[OPTIMAL].climbs & ~found.settings[OPTIMAL].near).any()


def test_losses_of_a_linear_model_are_known() -> None:
    """r = μ + a(x - μ) with a = V/(V + σ²) loses Vσ²/(V + σ²), whatever the data's law."""
    points = an.PointSet(np.random.default_rng(1).gamma(2.0, 1.0, (300, 1)), name="skew")
    model = an.GaussianDenoiser(points.mean, points.covariance)
    found = study(model, points, n=4000, starts=2)
    variance = float(points.covariance[0, 0])
    known = variance * GRID**2 / (variance + GRID**2)
    frame = found.frame
    for name in ("loss", "loss, sampled"):
        assert (np.abs(frame[name] - known) < 5 * frame[f"{name} se"]).all()
    assert (frame["mmse"] <= frame["loss"]).all()
    # given x the mean over x_0 is exact: where x tells little of x_0, that is most of the noise
    assert (frame["loss se"][:3] < 0.2 * frame["loss, sampled se"][:3]).all()
    # standard errors are those of means of n values
    error = found.loss.sampled.std(axis=1, ddof=1) / np.sqrt(4000)
    assert frame["loss, sampled se"] == pytest.approx(error)


def test_held_out_points_and_the_generalisation_gap() -> None:
    points = an.PointSet(np.array([[-1.0], [1.0]]), name="pair")
    found = study(lambda x, s: 0 * x, points, held_out=np.array([[0.0]]), n=500)
    assert found.held_out is not None
    assert found.gap is not None
    assert found.loss.model == pytest.approx(1.0, abs=1e-12)  # D² + (1 - D²)
    assert found.held_out.model.max() == 0  # the held-out point is what the model returns
    gap, error = found.gap
    assert gap == pytest.approx(-1.0, abs=1e-12)
    assert error == pytest.approx(0.0, abs=1e-12)
    # D = tanh(x/σ²) on x = σz, and its loss about 0
    frame = found.frame
    z = np.linspace(-8, 8, 20001)
    law = np.exp(-0.5 * z * z) / np.exp(-0.5 * z * z).sum()
    for s, mean, values in zip(
        GRID, frame["loss of D, held out"], found.held_out.optimal, strict=True
    ):
        known = float(law @ np.tanh(z / s) ** 2)
        assert abs(mean - known) < 5 * values.std() / np.sqrt(500) + 1e-9
    assert frame["generalisation gap"] == pytest.approx(-1.0)
    assert study(lambda x, s: 0 * x, points).gap is None


def test_where_two_paths_part_is_known_for_one_point() -> None:
    """D = x_1 and r = x_1 + c: then x - x* = (1 - σ/σ_0)c at every level, by any solver."""
    points = an.PointSet(np.array([[3.0, 4.0]]), name="one")
    found = study(shifted(an.OptimalDenoiser(points), [0.0, 0.5]), points, part=0.2)
    share = 1 - GRID / GRID[0]
    assert found.apart == pytest.approx(np.repeat(0.5 * share[:, None], 6, axis=1), abs=1e-12)
    assert found.scale == 1.0
    assert found.parted() == pytest.approx(GRID[np.argmax(0.5 * share > 0.2)])
    assert found.parted(0.9, "separation") == pytest.approx(
        GRID[np.argmax(share > 0.9 * share[-1])]
    )
    assert np.isnan(found.parted(0.6)).all()
    # one point has no second nearest
    ends = found.ends["model"]
    assert ends.distance == pytest.approx(0.5)
    assert np.isinf(ends.second).all()
    # nothing tells near from nearest
    assert np.isnan(ends.ratio).all()
    assert not ends.memorised.any()
    assert found.data_memorised == 0.0
    assert "100.0% of the paths part by 0.2 of the data scale" in found.explain()


@pytest.mark.parametrize(("place", "memorised"), [(0.24, True), (0.26, False)])
def test_memorised_is_less_than_a_third_as_far_from_the_nearest(
    place: float, memorised: bool
) -> None:
    points = an.PointSet(np.array([[0.0], [1.0], [5.0]]))
    found = study(lambda x, s: 0 * x + place, points)
    ends = found.ends["model"]
    assert ends.distance == pytest.approx(place)
    assert ends.second == pytest.approx(1 - place)
    assert ends.memorised.all() == memorised
    assert ends.memorised.any() == memorised
    assert ends.index.max() == 0
    assert np.array_equal(ends.arrived, found.target == 0)
    assert len(set(found.target.tolist())) > 1
    # among themselves: 1/5, 1/4, 4/5
    assert found.between == pytest.approx(np.array([[1, 5], [1, 4], [4, 5]]))
    assert found.data_memorised == pytest.approx(2 / 3)
    assert ends.off_optimal == pytest.approx(np.abs(place - points.points[found.target, 0]))


def test_the_target_is_where_the_exact_flow_leads() -> None:
    points = cloud(30, 2)
    D = an.OptimalDenoiser(points)
    found = study(shifted(D, 0.1), points, starts=12, solver="exact", rtol=1e-9, seed=3)
    start = an.noise(12, like=D, sigma=20.0, seed=3)
    assert np.array_equal(found.target, an.basins(D, start, 20.0).index)


def test_spliced_takes_each_where_it_should() -> None:
    high, low = (lambda x, s: 0 * x + 1.0), (lambda x, s: 0 * x - 1.0)
    both = an.Spliced(high, low, 0.5)
    x = np.zeros((4, 2))
    assert both(x, np.array([0.4999, 0.5, 2.0, 0.1]))[:, 0].tolist() == [-1, 1, 1, -1]
    assert both(x, 0.5).tolist() == np.ones((4, 2)).tolist()
    assert both(np.zeros(2, np.float32), 0.1).dtype == np.float32
    assert both(np.zeros(2), 0.1).tolist() == [-1, -1]
    D = an.OptimalDenoiser(cloud())
    assert an.Spliced(high, D, 1.0).dim == an.Spliced(D, high, 1.0).dim == 3
    assert not hasattr(an.Spliced(high, low, 1.0), "dim")
    start = an.noise(5, like=D, sigma=20.0, seed=0)
    for cut, alone in ((0.01, high), (20.1, D)):
        run = an.sample(an.Spliced(high, D, cut), start, GRID)
        assert np.array_equal(run.states, an.sample(alone, start, GRID).states)
    with pytest.raises(ValueError, match=r"low: got D = 3, expected the D = 2 of high"):
        an.Spliced(an.OptimalDenoiser(cloud(dim=2)), D, 1.0)
    with pytest.raises(ValueError, match="sigma"):
        an.Spliced(high, low, 0.0)
    with pytest.raises(TypeError, match="low"):
        an.Spliced(high, None, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("solver", ["heun", "exact"])
def test_replaced_denoisers(solver: str) -> None:
    points = cloud(30, 2)
    D = an.OptimalDenoiser(points)
    model = shifted(D, np.array([0.0, 0.7]))
    found = study(model, D, solver=solver, replace_at=(30.0, 1.0, 0.005), rtol=1e-8)
    ends = found.ends
    assert list(ends) == ["model", "optimal"] + [
        f"optimal {word} {cut}" for cut in ("30", "1", "0.005") for word in ("above", "below")
    ]
    for name in ("optimal above 30", "optimal below 0.005"):
        assert ends[name].off_model.max() == 0
        assert ends[name].off_optimal.min() > 0.1
    for name in ("optimal below 30", "optimal above 0.005"):
        assert ends[name].off_optimal.max() < 1e-6
    # below, it ends on data; above, the model's shift is what is left
    assert ends["optimal below 1"].memorised.all()
    assert ends["optimal below 1"].distance.max() < 1e-6
    assert ends["optimal above 1"].off_model.max() > 0
    start = an.noise(6, like=D, sigma=20.0, seed=0)
    if solver == "heun":
        end = an.sample(an.Spliced(D, model, 1.0), start, GRID).denoised[-1]
    else:
        middle = an.integrate(D, start, 20.0, 1.0, rtol=1e-10).final
        end = an.integrate(model, middle, 1.0, 0.01, rtol=1e-10).denoised[-1]
    gaps = np.linalg.norm(end[:, None] - points.points, axis=2)
    assert ends["optimal above 1"].distance == pytest.approx(gaps.min(axis=1), abs=1e-5)


@pytest.mark.parametrize("dim", [2, 40])
def test_nearest_points_against_all_distances(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_neighbours, "BLOCK", 4000)  # several blocks both ways
    rng = np.random.default_rng(0)
    points = an.PointSet(rng.standard_normal((300, dim)) + 1e4)
    near = points.points[:50] + 1e-6 * rng.standard_normal((50, dim))
    far = points.points[50:99] + rng.standard_normal((49, dim))
    x = np.vstack([near, far, np.full((1, dim), np.nan)])
    index, distance = _neighbours.nearest(points, x)
    gaps = np.linalg.norm(x[:-1, None] - points.points, axis=2)
    order = np.argsort(gaps, axis=1)[:, :2]
    assert np.array_equal(index[:-1], order)
    # differences, not |x|² - 2xy + |y|²: 1e-6 beside coordinates of 1e4 keeps its digits
    assert distance[:-1] == pytest.approx(np.take_along_axis(gaps, order, axis=1), rel=1e-9)
    assert index[-1].tolist() == [-1, -1]
    assert np.isnan(distance[-1]).all()
    between = _neighbours.between_data(points, rng)
    own = np.linalg.norm(points.points[:, None] - points.points, axis=2)
    assert between == pytest.approx(np.sort(own, axis=1)[:, 1:3], rel=1e-9)
    few = an.PointSet(points.points[:1])
    index, distance = _neighbours.nearest(few, few.points)
    assert index.tolist() == [[0, -1]]
    assert distance.tolist() == [[0.0, np.inf]]


def test_many_data_points_are_sampled_for_their_distances(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_neighbours, "SAMPLE", 256)
    points = an.PointSet(np.arange(1000.0)[:, None] ** 1.5)
    first, again = (_neighbours.between_data(points, np.random.default_rng(3)) for _ in range(2))
    assert first.shape == (256, 2)
    assert np.array_equal(first, again)
    assert 0.9 < np.median(first[:, 0]) / np.median(np.diff(points.points[:, 0])) < 1.1


def test_same_seed_same_comparison(tmp_path: Path) -> None:
    points = cloud()
    model = an.learned.RandomFeatureDenoiser.fit(points, n_features=16)
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        study(model, points, seed=seed, replace_at=[1.0]).to_json(tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_starts_in_batches_and_no_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    points = cloud(dim=2)
    model = an.learned.RandomFeatureDenoiser.fit(points, n_features=16)
    whole = study(model, points, n=2, starts=7, replace_at=[1.0])
    monkeypatch.setattr(_measure, "BLOCK", 2 * len(GRID) * 2)  # two starts a batch
    parts = study(model, points, n=2, starts=7, replace_at=[1.0], keep=False)
    assert parts.paths == {}
    assert list(whole.paths) == ["model", "optimal"]
    assert parts.apart == pytest.approx(whole.apart, abs=1e-12)
    assert np.array_equal(parts.target, whole.target)
    for name, ends in whole.ends.items():
        assert parts.ends[name].distance == pytest.approx(ends.distance, abs=1e-10)
    for name, each in whole.geometry["model"].items():
        assert parts.geometry["model"][name] == pytest.approx(each, rel=1e-6, abs=1e-9)
    assert parts.frame["theorem 1, learned path"] == pytest.approx(
        whole.frame["theorem 1, learned path"]
    )


def test_geometry_is_that_of_the_paths() -> None:
    points = cloud(60, 4)
    found = study(an.learned.RandomFeatureDenoiser.fit(points, n_features=24), points)
    for name, path in found.paths.items():
        shape = found.geometry[name]
        bend = an.geometry.deviation(path.states).max(axis=0) / an.geometry.chord(path.states)
        assert shape["deviation of x / chord"] == pytest.approx(bend)
        first = an.geometry.pca_spectrum(path.denoised)[:, 0]
        assert shape["variance of D off its first component"] == pytest.approx(1 - first)
        angles = an.geometry.cosines(
            path.states[:-1] - path.denoised[:-1], path.states[:-1] - path.states[-1]
        )
        assert shape["least cosine of x - D and x - x_end"] == pytest.approx(angles.min(axis=0))
        kappa = an.geometry.curvature_torsion(path.states, np.log(GRID)).curvature.max(axis=0)
        assert shape["largest curvature x data scale"] == pytest.approx(kappa * found.scale)


def test_starts_whose_paths_do_not_stay_finite_are_left_out_and_counted() -> None:
    points = cloud(20, 2)
    D = an.OptimalDenoiser(points)
    start = an.noise(16, like=D, sigma=20.0, seed=0)[:, 0]
    edge = np.sort(start)[-3]

    def fragile(x: Any, sigma: Any) -> Any:
        broken = (x[:, :1] > edge) & (np.ndim(sigma) == 0) & (len(x) == 16)
        return np.where(broken, np.nan, D(x, sigma))

    found = study(fragile, D, starts=16, n=4)
    assert found.lost == 2
    assert found.apart.shape[1] == len(found.target) == len(found.ends["model"].index) == 14
    assert found.paths["model"].states.shape[1] == 14
    assert "2 starts are left out" in found.explain()
    with pytest.raises(
        ValueError, match=r"model: got NaN or infinity on forward samples at σ = 20"
    ):
        study(lambda x, s: np.nan * x, D)
    with pytest.raises(ValueError, match="none stays finite"):
        study(lambda x, s: D(x, s) if len(x) == 40 else np.nan * x, D)


@pytest.mark.parametrize("solver", ["heun", "exact"])
def test_torch_modules_that_diverge_somewhere_lose_these_starts(solver: str) -> None:
    torch = pytest.importorskip("torch")
    points = cloud(20, 2)
    D = an.OptimalDenoiser(points)
    edge = float(np.sort(an.noise(4, like=D, sigma=20.0, seed=0)[:, 0])[-1])

    def fragile(x: Any, sigma: Any) -> Any:
        broken = (x[:, :1] > edge - 1) & (sigma[:, None] > 10)
        return torch.where(broken, torch.nan, 0.1 * x)

    model = an.learned.from_torch(fragile, shape=2)
    options: dict[str, Any] = {"starts": 4, "n": 2, "solver": solver, "rtol": 1e-4, "seed": 0}
    found = study(model, D, replace_at=[15.0], **options)
    assert found.lost == 1
    assert found.apart.shape[1] == 3


def test_files_tell_what_the_arrays_say(tmp_path: Path) -> None:
    points = cloud()
    model = an.learned.RandomFeatureDenoiser.fit(points, n_features=16)
    found = study(model, points, held_out=cloud(30, 3, seed=9), replace_at=[1.0], name="mine")
    found.to_json(tmp_path / "a.json")
    read = json.loads((tmp_path / "a.json").read_text())
    assert read["model"] == "mine"
    assert read["data"] == "cloud"
    assert (read["starts"], read["samples"], read["seed"]) == (6, 40, 0)
    assert list(read["columns"]) == list(found.frame)
    for name, column in found.frame.items():
        assert read["columns"][name] == column.tolist()
    assert read["ends"]["model"]["memorised"] == found.ends["model"].memorised.mean()
    assert read["ends"]["optimal above 1"]["distance to data"] == np.median(
        found.ends["optimal above 1"].distance
    )
    middle = np.median(found.geometry["optimal"]["deviation of x / chord"])
    assert read["geometry"]["optimal"]["deviation of x / chord"]["median"] == middle
    found.to_csv(tmp_path / "a.csv")
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["sigma"]) for row in rows] == GRID.tolist()
    assert [float(row["generalisation gap"]) for row in rows] == found.frame[
        "generalisation gap"
    ].tolist()
    table = found.table(4).splitlines()
    assert len(table) == 5
    assert float(table[1].split()[0]) == 20.0
    assert float(table[-1].split()[1]) == pytest.approx(
        found.settings[FORWARD].deviation[-1].mean(), rel=0.01
    )
    words = found.explain()
    assert "memorised" in words
    assert repr(found) == "Comparison('mine' on 'cloud', T=10, n=40, B=6)"


def test_progress_and_names() -> None:
    points = cloud(10, 2)
    moves: list[int] = []
    found = study(
        an.OptimalDenoiser(points), points, n=4, starts=2, progress=moves.append,
        replace_at=[1.0, 2.0],
    )  # fmt: skip
    assert sum(moves) == 2 * len(GRID) + 2 + 4 + 1
    assert found.model == "OptimalDenoiser"
    assert study(np.add, points, n=2, starts=1, sigmas=[1.0, 0.5]).model == "add"
    assert compare_function is an.compare


def torch_module() -> Any:
    """One that does not tell what it returns."""
    return pytest.importorskip("torch").nn.Identity()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no denoiser": ({"model": 3}, r"model: got 3, expected a denoiser"),
    "dimension": ({"model": an.GaussianDenoiser([0.0], [[1.0]])}, r"model: got D = 1.*D = 2"),
    "level zero": ({"sigmas": [1.0, 0.0]}, r"sigmas: got a level 0"),
    "levels": ({"sigmas": [1.0, 2.0]}, "sigmas"),
    "too few levels": ({"sigmas": [1.0, 0.5], "solver": "dpmpp_3m"}, "sigmas: got 2 levels"),
    "solver": ({"solver": "hoin"}, "heun"),
    "noisy solver": ({"solver": "ancestral"}, "without noise"),
    "samples": ({"n": 1}, "n: got 1"),
    "starts": ({"starts": 0}, "starts"),
    "seed": ({"seed": -1}, "seed"),
    "held out": ({"held_out": np.ones((3, 5))}, r"held_out: got D = 5"),
    "cut": ({"replace_at": [0.0]}, "replace_at"),
    "cut in words": ({"replace_at": "1"}, "replace_at: got '1', expected one real number"),
    "cuts alike": ({"replace_at": [2.0, 1.0, 1.0000001]}, "replace_at: got 1 twice"),
    "module": ({"model": torch_module}, "^model: got the torch module.* use analytic.learned.from"),
    "part": ({"part": 0.0}, "part"),
    "keep": ({"keep": 1}, "keep"),
    "name": ({"name": 1}, "name"),
    "tolerance": ({"rtol": 1.0}, "rtol"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    changed, words = BAD[case]
    options = {"model": np.add, **changed}
    model = options.pop("model")
    model = model() if model is torch_module else model
    with pytest.raises((ValueError, TypeError), match=words):
        study(model, cloud(5, 2), **options)
    with pytest.raises(ValueError, match="of: got"):
        study(np.add, cloud(5, 2), n=2, starts=1).parted(of="size")
    with pytest.raises(ValueError, match="share: got 0"):
        study(np.add, cloud(5, 2), n=2, starts=1).parted(0.0)


@pytest.mark.parametrize(
    "data", [np.add, an.GaussianDenoiser([0.0, 0.0], np.eye(2))], ids=["swapped", "not optimal"]
)
def test_data_that_are_a_denoiser(data: Any) -> None:
    with pytest.raises(TypeError, match=r"^optimal: got .* the model comes first"):
        study(cloud(5, 2) if data is np.add else np.add, data)


def test_levels_are_in_the_units_of_the_data() -> None:
    for unit, high in ((1.0, 80.0), (1e4, 8e5), (1e-3, 0.08)):
        points = unit * (cloud(6, 2).points - 2)
        found = an.compare(an.OptimalDenoiser(points), points, n=2, starts=1)
        assert (found.sigmas[0], found.sigmas[-1]) == pytest.approx((high, high / 4e4))
        fitted = an.learned.RandomFeatureDenoiser.fit(points, n_features=2)
        np.testing.assert_array_equal(fitted.sigmas, found.sigmas)


def test_two_data_points_are_not_memorised_by_each_other() -> None:
    points = an.PointSet([[0.0], [1.0]])
    found = study(lambda x, s: 0 * x + 0.1, points, n=2)
    assert found.ends["model"].ratio == pytest.approx(1 / 9)
    assert found.data_memorised == 0.0


def test_nets_of_edm_that_tell_no_shape_have_rows_as_wide_as_the_data() -> None:
    pytest.importorskip("torch")
    points = cloud(12, 2)
    found = study(an.learned.as_edm(shifted(an.OptimalDenoiser(points), 0.25), 2), points, n=2)
    deviation = found.settings[FORWARD].deviation
    assert deviation == pytest.approx(np.full_like(deviation, 0.25 * np.sqrt(2)), rel=1e-9)


def test_nets_of_edm_are_compared_as_they_are() -> None:
    pytest.importorskip("torch")
    points = cloud(12, 16)
    D = an.OptimalDenoiser(points)
    net = an.learned.as_edm(shifted(D, 0.25), (1, 4, 4))
    found = study(net, points, n=8, starts=2)
    assert found.model == "EDMModule"
    assert found.settings[FORWARD].deviation == pytest.approx(1.0)


def test_figures_show_the_numbers() -> None:
    from analytic import plotting

    points = cloud()
    model = an.learned.RandomFeatureDenoiser.fit(points, n_features=16)
    found = study(model, points, held_out=cloud(30, 3, seed=9))
    axes = plotting.score_deviation(found)
    assert [line.get_label() for line in axes.lines] == [FORWARD, LEARNED, OPTIMAL]
    for line, setting in zip(axes.lines, found.settings.values(), strict=True):
        assert line.get_ydata() == pytest.approx(setting.deviation.mean(axis=1) / found.scale)
    score = plotting.score_deviation(found, unit="score")
    assert score.lines[1].get_ydata() == pytest.approx(found.frame["score error, learned path"])
    assert "1 / data unit" in score.get_ylabel()
    with pytest.raises(ValueError, match="unit"):
        plotting.score_deviation(found, unit="parsec")
    axes = plotting.theorem_fraction(found)
    for k, name in enumerate(found.settings):
        thick, thin = axes.lines[2 * k : 2 * k + 2]
        assert thick.get_ydata() == pytest.approx(found.frame[f"theorem 1, {name}"])
        assert thin.get_ydata() == pytest.approx(found.frame[f"one step, {name}"])
        assert thick.get_color() == thin.get_color()
    axes = plotting.loss_split(found)
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert drawn["loss of r"] == pytest.approx(found.frame["loss"])
    assert drawn["deviation |r − D|²"] == pytest.approx(found.frame["E|r-D|^2"])
    assert drawn["mmse, loss of D"] == pytest.approx(found.frame["mmse"], abs=1e-280)
    assert drawn["loss of D, held out"] == pytest.approx(found.frame["loss of D, held out"])
    axes = plotting.memorisation(found)
    line = axes.lines[0]
    x, y = line.get_xdata(), line.get_ydata()
    below = y[np.searchsorted(x, 1 / 3, side="left") - 1]
    assert below == pytest.approx(found.ends["model"].memorised.mean())
    page = plotting.comparison_figure(found)
    assert len(page.axes) == 6
    assert "beside the optimal denoiser of cloud" in page.get_suptitle()
    # nothing to draw on a logarithmic axis: the optimum beside itself
    nothing = plotting.comparison_figure(study(an.OptimalDenoiser(points), points, n=4, starts=2))
    assert plotting.encode(nothing).startswith(b"\x89PNG")
