"""The registry: claims hold on the optimal denoiser, and each check can fail."""

import json
from pathlib import Path

import numpy as np
import pytest

import analytic as an
from analytic import claims
from analytic.claims import _faults, _oracle
from analytic.claims._statistics import decided, mean_limits
from analytic.report import Status

IDS = [
    "A1",
    "A2",
    "A3",
    "A4",
    "A5",
    "A6",
    "A7",
    "A8",
    "A9",
    "B1",
    "B2",
    "B3",
    "C1",
    "C2",
    "C3",
    "C4",
    "C5",
    "C6",
    "C7",
    "C8",
    "C9",
    "D1",
    "D2",
    "D3",
    "E1",
    "E2",
    "E3",
    "F1",
    "F2",
    "F3",
    "F4",
    "F5",
    "F6",
    "G1",
    "G2",
    "G3",
    "G4",
    "H1",
]


def small(name: str) -> an.PointSet:
    """Small versions of sets with different geometry."""
    rng = np.random.default_rng(5)
    return {
        "moons": lambda: an.datasets.two_moons(300, seed=0),
        "weighted": lambda: an.PointSet(
            rng.standard_normal((40, 3)), rng.uniform(0.01, 1, 40), name="weighted"
        ),
        "flat": lambda: an.PointSet(
            rng.standard_normal((60, 2)) @ rng.standard_normal((2, 10)) + 5.0, name="flat"
        ),
        "digits": lambda: an.datasets.digits(200),
    }[name]()


def test_registry_lists_the_theory_in_order() -> None:
    assert list(claims.registry) == IDS
    for claim in claims.registry.values():
        for text in (claim.title, claim.statement, claim.latex, claim.source, claim.domain):
            assert len(text) > 5
        assert set(claim.kind.split("+")) <= {"theorem", "expectation", "observation", "folklore"}


@pytest.mark.parametrize("name", ["moons", "weighted", "flat", "digits"])
def test_every_claim_holds_on_the_optimal_denoiser(name: str) -> None:
    points = small(name)
    report = an.verify(an.OptimalDenoiser(points), points, seed=3, quick=True)
    assert [v.claim for v in report.verdicts] == IDS
    assert {v.claim: v.status for v in report.verdicts if v.status != Status.HOLDS} == {}
    assert report.holds
    for verdict in report.verdicts:
        assert verdict.measured <= verdict.bound
        assert verdict.cases > 0
        assert verdict.worst["seed"] == 3


@pytest.mark.parametrize("identifier", IDS)
@pytest.mark.parametrize("name", ["moons", "weighted", "digits"])
def test_every_counter_model_is_rejected(identifier: str, name: str) -> None:
    points = small(name)
    claim = claims.registry[identifier]
    verdict = claim.check(claim.counter_model(points), points, 0, quick=True)
    assert verdict.status == Status.FAILS
    assert not verdict.measured <= verdict.bound
    assert "seed" in verdict.worst


def test_same_seed_same_report_and_claims_do_not_disturb_each_other() -> None:
    points = small("weighted")
    D = an.OptimalDenoiser(points)
    whole = an.verify(D, points, seed=11, quick=True)
    again = an.verify(D, points, seed=11, quick=True)
    alone = an.verify(D, points, claims="C4", seed=11, quick=True)
    other = an.verify(D, points, claims="C4", seed=12, quick=True)
    assert json.dumps(whole.as_dict(), default=str) == json.dumps(again.as_dict(), default=str)
    found = next(v for v in whole.verdicts if v.claim == "C4")
    assert alone.verdicts[0].measured == found.measured
    assert other.verdicts[0].measured != found.measured


def test_check_takes_a_generator_and_draws_from_it() -> None:
    points = small("weighted")
    claim = claims.registry["A3"]
    first = claim.check(an.OptimalDenoiser(points), points, np.random.default_rng(1), quick=True)
    second = claim.check(an.OptimalDenoiser(points), points, np.random.default_rng(2), quick=True)
    assert first.status == second.status == Status.HOLDS
    assert first.worst["seed"] != second.worst["seed"]


def test_a_plain_callable_is_judged_and_what_needs_rebuilding_is_not_tested() -> None:
    points = small("weighted")
    exact = an.OptimalDenoiser(points)
    report = an.verify(lambda x, s: exact(x, s), points, claims="A1,A7,C4,C5,D1", quick=True)
    assert report.verdicts[0].status == Status.HOLDS
    assert {v.status for v in report.verdicts[1:]} == {Status.NOT_TESTED}
    assert report.holds
    nothing = an.verify(lambda x, s: exact(x, s), points, claims="A7", quick=True)
    assert not nothing.holds  # an empty domain never passes
    constant = an.verify(lambda x, s: 0 * x + 7.0, points, quick=True)
    judged = {v.claim: v.status for v in constant.verdicts}
    assert {judged[k] for k in ("A1", "A2", "A3", "A5", "A6", "A8", "A9")} == {Status.FAILS}


def test_convex_combinations_hold_for_any_denoiser() -> None:
    points = small("moons")
    gauss = an.GaussianDenoiser(points.mean, points.covariance)
    assert an.verify(gauss, points, claims="C1", quick=True).holds


@pytest.mark.parametrize("level", [0.1, 1e-2])
def test_nan_on_the_way_fails_and_says_where(level: float) -> None:
    points = small("weighted")
    exact = an.OptimalDenoiser(points)

    def broken(x: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        return np.where((np.asarray(sigma) < level)[..., None], np.nan, exact(x, sigma))

    report = an.verify(broken, points, claims="C1,C2,C3,C6,C7,C8,C9,F1,F2,F3,F4,F5,F6", quick=True)
    assert {v.status for v in report.verdicts} == {Status.FAILS}
    assert all("NON_FINITE" in v.note and len(v.worst["start"]) == 3 for v in report.verdicts)


@pytest.mark.parametrize("offset", [1e4, 1e6])
@pytest.mark.parametrize("scale", [1.0, 1e-120, 1e120])
def test_offset_and_scale_do_not_flip_verdicts(offset: float, scale: float) -> None:
    points = small("moons")
    moved = an.PointSet((points.points + offset) * scale, name="moved")
    chosen = "A1,A2,A3,A5,A6,A8,A9,C1,C6,D1" if scale == 1 else "A3"
    report = an.verify(an.OptimalDenoiser(moved), moved, claims=chosen, quick=True)
    assert {v.claim: v.status for v in report.verdicts if v.status != Status.HOLDS} == {}


def test_narrow_ranges_and_lopsided_weights() -> None:
    points = small("moons")
    D = an.OptimalDenoiser(points)
    assert an.verify(D, points, "C4,D1", quick=True, sigma_max=0.03, sigma_min=0.002).holds
    odd = an.PointSet([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], weights=[1, 1e-12, 1e-300])
    assert an.verify(an.OptimalDenoiser(odd), odd, "D1", quick=True).verdicts


def test_nan_fails() -> None:
    points = small("weighted")
    report = an.verify(lambda x, s: np.full_like(x, np.nan), points, claims="A1", quick=True)
    assert report.verdicts[0].status == Status.FAILS


def test_scaled_data_get_scaled_noise_levels() -> None:
    points = small("weighted")
    far = an.PointSet(points.points * 1e4, points.weights)
    assert an.grids.noise_range(points) == (80.0, 0.002)
    assert an.grids.noise_range(far) == (80.0 * 1e4, 0.002 * 1e4)
    assert an.verify(an.OptimalDenoiser(far), far, claims="A1,C6,D1", quick=True).holds


def test_oracle_against_a_loop() -> None:
    points = small("weighted")
    x, sigma = np.array([[0.3, -0.2, 1.0]]), np.array([0.7])
    terms = [
        w * np.exp(-np.sum((x[0] - p) ** 2) / (2 * 0.7**2))
        for p, w in zip(points.points, points.weights, strict=True)
    ]
    density = sum(terms) / (2 * np.pi * 0.7**2) ** 1.5
    assert _oracle.log_prob(points, x, sigma)[0] == pytest.approx(np.log(density), rel=1e-13)
    mean = sum(t * p for t, p in zip(terms, points.points, strict=True)) / sum(terms)
    np.testing.assert_allclose(_oracle.kernel_mean(points, x, sigma)[0], mean, rtol=1e-12)
    u = np.array(terms) / sum(terms)
    spread = sum(w * np.sum((p - mean) ** 2) for w, p in zip(u, points.points, strict=True))
    assert _oracle.trace(points, x, sigma)[0] == pytest.approx(spread, rel=1e-12)
    assert _oracle.entropy(points, x, sigma)[0] == pytest.approx(-(u @ np.log(u)), rel=1e-12)
    far = _oracle.entropy(points, x, np.array([1e-3]))
    assert 0 <= far[0] < 1e-12
    low, high = _oracle.ranges(points, x)
    assert (low[0], high[0]) == ((points.points @ x[0]).min(), (points.points @ x[0]).max())


def test_counterexamples_of_the_folklore_are_refuted() -> None:
    pair = an.PointSet(np.array([[1.0], [-1.0]]))
    D = an.OptimalDenoiser(pair)
    # A4: log p falls as sigma falls, there
    x = np.array([[0.01]])
    path = an.integrate(D, x, 0.5, 0.45, save_at=[0.5, 0.45])
    before, after = D.log_prob(x, 0.5)[0], D.log_prob(path.final, 0.45)[0]
    assert after < before - 0.1
    # A2: a fixed point that is a minimum of p
    assert D(np.zeros((1, 1)), 0.5)[0, 0] == 0.0
    assert D.log_prob([[0.0]], 0.5)[0] < D.log_prob([[0.1]], 0.5)[0]
    # F3: the denoising output is farther from the end, at the 55 % quantile
    path = an.integrate(D, np.array([[80.0 * 0.12566]]), 80.0, 0.0)
    far, near = (np.abs(s - path.final)[:-1, 0, 0] for s in (path.denoised, path.states))
    assert (far - near).max() > 0.01


def test_faults_are_subtle() -> None:
    """Each broken denoiser is so close to the right one that a coarse check passes it."""
    points = small("digits")
    x = points.points[:20] + 0.5 * np.random.default_rng(0).standard_normal((20, 64))
    exact = an.OptimalDenoiser(points)(x, 0.5)
    for fault in (
        _faults.Bandwidth(points),
        _faults.Drift(points),
        _faults.Floored(points),
        _faults.Leaking(points),
    ):
        assert 0 < np.abs(fault(x, 0.5) - exact).max() < 0.02


def test_intervals_cover_their_means() -> None:
    """At 1e-5 for the family none of 400 families misses; at a hundredth of the width most do."""
    rng = np.random.default_rng(0)
    missed = narrow = 0
    for _ in range(400):
        found = mean_limits(rng.exponential(1.0, (300, 5)) - 1.0)
        missed += bool((found.low > 0).any() or (found.high < 0).any())
        narrow += bool((np.abs(found.middle) > 0.005 * (found.high - found.low)).any())
        assert found.refuted == bool((found.low > 0).any())
    assert missed == 0
    assert narrow > 390
    assert mean_limits(rng.standard_normal((300, 2)) + np.array([0.0, 1.0])).refuted
    assert mean_limits(np.full((5, 1), np.nan)).refuted


def test_wide_intervals_do_not_decide() -> None:
    """Few draws of a mean near its bound: neither holds nor fails; a mean above it fails."""
    points = small("weighted")
    verdict = claims.registry["A5"].check(claims.registry["A5"].counter_model(points), points)
    assert verdict.status == Status.FAILS
    rng = np.random.default_rng(2)
    wide, above = (mean_limits(rng.standard_normal((20, 1)) + shift) for shift in (0.0, 5.0))
    fine = np.zeros(1)
    assert decided(verdict, wide, fine).status == Status.INCONCLUSIVE
    assert decided(verdict, above, fine).status == Status.FAILS
    assert decided(verdict, wide, np.array([np.nan])).status == Status.FAILS
    held = claims.registry["A5"].check(an.OptimalDenoiser(points), points)
    assert decided(held, wide, fine) is held


def test_the_counterexample_of_falling_outputs_is_exact() -> None:
    """F4: |D| along −3, 0, 3 at the 60 % quantile, on the flow in closed form."""
    line = an.PointSet([[-3.0], [0.0], [3.0]])
    D = an.OptimalDenoiser(line)
    start = np.array([[80.0 * 0.2533471031357997]])
    size = [
        abs(float(D(an.exact.quantile_flow(line, start, 80.0, s), s)[0, 0])) if s < 80 else 0.019
        for s in np.geomspace(80, 0.05, 200)
    ]
    assert abs(D(start, 80.0)[0, 0]) == pytest.approx(0.019, abs=1e-3)
    assert max(size) == pytest.approx(0.84, abs=0.005)
    assert size[-1] < 1e-6


def test_claims_that_need_room_say_so() -> None:
    points = small("weighted")
    D = an.OptimalDenoiser(points)
    narrow = an.verify(D, points, "C8,F6", quick=True, sigma_max=0.003, sigma_min=0.002)
    assert {v.status for v in narrow.verdicts} == {Status.NOT_TESTED}


@pytest.mark.parametrize("scale", [1e-120, 1e4, 1e120])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_units_and_origin_do_not_flip_the_flow_claims(scale: float, offset: float) -> None:
    points = small("moons")
    moved = an.PointSet((points.points + offset) * scale, name="moved")
    chosen = "C3,C7,C9,D2,D3,F4,F5,F6"
    report = an.verify(an.OptimalDenoiser(moved), moved, claims=chosen, quick=True)
    assert {v.claim: v.status for v in report.verdicts if v.status != Status.HOLDS} == {}


def test_what_is_not_finite_fails_without_noise() -> None:
    points = small("weighted")
    report = an.verify(
        lambda x, s: np.full_like(x, np.inf), points, "C3,C7,C8,C9,D2,D3,F4,F5,F6", quick=True
    )
    assert {v.status for v in report.verdicts} == {Status.FAILS}


def test_explain_and_errors() -> None:
    text = claims.explain("D1")
    assert "Trap certificate" in text
    assert "Source" in text
    points = small("weighted")
    D = an.OptimalDenoiser(points)
    with pytest.raises(ValueError, match=r"claims: got 'Z9'.*A1"):
        an.verify(D, points, claims="A1,Z9")
    with pytest.raises(ValueError, match="claims"):
        an.verify(D, points, claims=[])
    with pytest.raises(TypeError, match="denoiser"):
        an.verify(3, points)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="claims"):
        an.verify(D, points, claims=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"points: got .* the denoiser's own"):
        an.verify(D, an.PointSet(points.points[:20]), claims="A1")
    with pytest.raises(ValueError, match=r"points: got D = 2"):
        an.verify(D, an.datasets.two_moons(10), claims="A1")
    with pytest.raises(ValueError, match="sigma_max"):
        an.verify(D, points, sigma_max=1e-3)
    with pytest.raises(ValueError, match="seed"):
        an.verify(D, points, seed=-1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("C1,A1", ["A1", "C1"]),
        ("A?,A1", [name for name in IDS if name.startswith("A")]),
        (["E*", " D1 "], [name for name in IDS if name.startswith("E") or name == "D1"]),
        ("*", IDS),
        ("all", IDS),
    ],
)
def test_claims_are_selected_by_pattern_in_the_order_of_the_theory(
    given: object, expected: list[str]
) -> None:
    assert [claim.id for claim in claims.select(given)] == expected


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ("A1,Z*", ValueError, "claims: got 'Z\\*', expected one of A1"),
        ("", ValueError, "claims: got ''"),
        ([], ValueError, "claims: got an empty selection"),
        (3, TypeError, "claims: got 3"),
    ],
)
def test_claims_that_do_not_exist(given: object, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        claims.select(given)


def test_a_run_continues_where_it_was(tmp_path: Path) -> None:
    """Kept verdicts are read, give the same report to the byte, and serve nothing else."""
    points = small("moons")
    D, chosen = an.OptimalDenoiser(points), "A1,A4,D1,F1"
    options = {"claims": chosen, "seed": 3, "quick": True}
    alone = an.verify(D, points, **options)
    for _ in range(2):
        report = an.verify(D, points, **options, resume=tmp_path)
        report.to_json(tmp_path / "report.json")
        alone.to_json(tmp_path / "alone.json")
        assert (tmp_path / "report.json").read_bytes() == (tmp_path / "alone.json").read_bytes()
        report.to_html(tmp_path / "report.html")
        alone.to_html(tmp_path / "alone.html")
        assert (tmp_path / "report.html").read_bytes() == (tmp_path / "alone.html").read_bytes()
    (folder,) = (p for p in tmp_path.iterdir() if p.is_dir())
    kept = folder / "A1.json"
    kept.write_text(kept.read_text().replace('"note": ""', '"note": "kept"'))
    (folder / "D1.json").write_text("{")
    (folder / "F1.json").write_text("{}")
    again = an.verify(D, points, **options, resume=tmp_path)
    assert [verdict.note == "kept" for verdict in again.verdicts] == [True, False, False, False]
    assert [v.measured for v in again.verdicts] == [v.measured for v in alone.verdicts]
    for other in ({"seed": 4}, {"quick": False}, {"sigma_min": 0.01}):
        report = an.verify(D, points, **{**options, "claims": "A1", **other}, resume=tmp_path)
        assert report.verdicts[0].note != "kept"


def test_derivatives_are_judged_by_outputs_alone_and_by_what_the_denoiser_says() -> None:
    points = small("weighted")
    exact = an.OptimalDenoiser(points)
    derivatives = claims.registry["A6"]
    plain = derivatives.check(lambda x, s: exact(x, s), points, 2, quick=True)
    assert plain.status == Status.HOLDS
    assert "rebuilt" in plain.note
    for fault in (_faults.Bandwidth, _faults.Drift, _faults.Floored, _faults.Leaking):
        found = derivatives.check(fault(points), points, 2, quick=True)
        assert found.status == Status.FAILS

    # an asymmetric Jacobian, and one that is right but for the level it is taken at
    class Lopsided(an.OptimalDenoiser):
        def jacobian(self, x, sigma):  # type: ignore[no-untyped-def]
            return np.tril(super().jacobian(x, sigma))

    class Late(an.OptimalDenoiser):
        def sigma_derivative(self, x, sigma):  # type: ignore[no-untyped-def]
            return super().sigma_derivative(x, np.asarray(sigma) * (1 + 1e-6))

    for wrong in (Lopsided(points), Late(points)):
        assert derivatives.check(wrong, points, 2, quick=True).status == Status.FAILS


def test_oracle_derivatives_against_a_loop() -> None:
    points = small("weighted")
    x, s, v = np.array([0.3, -0.2, 1.0]), 0.7, np.array([0.5, 1.0, -2.0])
    u = points.weights * np.exp(-((x - points.points) ** 2).sum(axis=1) / (2 * s * s))
    u /= u.sum()
    y = points.points - u @ points.points
    C = sum(w * np.outer(each, each) for w, each in zip(u, y, strict=True))
    third = sum(w * each * (each @ each) for w, each in zip(u, y, strict=True))
    along, turn = _oracle.motions(points, x[None], np.array([s]), v[None])
    np.testing.assert_allclose(along[0], C @ v / s**2, rtol=1e-12)
    expected = (third - 2 * C @ (x - u @ points.points)) / s**2
    np.testing.assert_allclose(turn[0], expected, rtol=1e-11)


def test_expansions_at_both_ends() -> None:
    points = small("weighted")
    found = claims.registry["A8"].check(an.OptimalDenoiser(points), points, 1).statistics
    assert found["observed order in 1/σ at fixed w (3)"] == pytest.approx(3, abs=0.02)
    assert found["observed order in 1/σ at fixed x (4)"] == pytest.approx(4, abs=0.05)
    # data 0, 0, 0, 1 at x = μ: σ²(D − μ) tends to −m3/2, where the folklore has 0
    refuted = found["σ² times the error without m3 (data 0, 0, 0, 1, x = μ)"]
    m3 = 0.75 * (-0.25) ** 3 + 0.25 * 0.75**3
    assert refuted == pytest.approx(m3 / 2, rel=0.01)
    # two points 1 apart, x at a quarter: r = exp(-(9 - 1)/32 s²), |D - x_i| = r/(1 + r)
    pair = an.PointSet([[0.0], [1.0]])
    near, bound = _oracle.small_noise_bound(pair, np.array([0.25]), 0.2)
    ratio = np.exp(-0.5 / (2 * 0.2**2))
    assert near == 0
    assert bound == pytest.approx(ratio / (1 + ratio), rel=1e-14)
    assert an.OptimalDenoiser(pair)([[0.25]], 0.2)[0, 0] == pytest.approx(bound, rel=1e-13)
