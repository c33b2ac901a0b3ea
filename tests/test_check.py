"""Validation: every refusal has the right type and names argument, value, expectation, remedy."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytic import _check

FORMAT = r"^{}: got .+, expected .+; .+\.$"
NAN, INF = float("nan"), float("inf")


def refused(kind: type[Exception], argument: str) -> Any:
    return pytest.raises(kind, match=re.compile(FORMAT.format(argument), re.DOTALL))


def test_fail_has_one_format() -> None:
    with pytest.raises(ValueError, match=r"^n: got 3, expected 4; add one\.$"):
        _check.fail("n", "3", "4", "add one")
    with pytest.raises(TypeError, match=r"^n: got"):
        _check.fail("n", "3", "4", "add one", TypeError)


@given(st.floats(-1e300, 1e300))
def test_number_keeps_the_value(value: float) -> None:
    for form in (value, np.float64(value), np.array(value)):
        found = _check.number(form, "a")
        assert type(found) is float
        assert found == value


def test_number_converts_integers() -> None:
    assert _check.number(7, "a") == 7.0
    assert _check.number(np.int8(-7), "a") == -7.0
    assert _check.number(np.float32(0.5), "a") == 0.5


def test_number_has_closed_and_open_ends() -> None:
    assert _check.number(0.0, "a", low=0.0) == 0.0
    assert _check.number(1.0, "a", high=1.0, low=0.0, open_low=True) == 1.0
    with refused(ValueError, "a"):
        _check.number(0.0, "a", low=0.0, open_low=True)
    with refused(ValueError, "a"):
        _check.number(np.nextafter(1.0, 2.0), "a", high=1.0)


@pytest.mark.parametrize("bad", ["1", b"1", None, 1j, True, [1.0], np.array([1.0]), object()])
def test_number_refuses_other_kinds(bad: Any) -> None:
    with refused(TypeError, "a"):
        _check.number(bad, "a")


@pytest.mark.parametrize("bad", [NAN, INF, -INF, -1.0, 2.5])
def test_number_refuses_values(bad: float) -> None:
    with refused(ValueError, "a"):
        _check.number(bad, "a", low=0.0, high=2.0)


@pytest.mark.parametrize("bad", [1.0, True, np.True_, "1", None, [1], np.float64(1)])
def test_integer_refuses_other_kinds(bad: Any) -> None:
    with refused(TypeError, "n"):
        _check.integer(bad, "n")


def test_integer_range() -> None:
    assert _check.integer(np.uint8(5), "n", low=5, high=5) == 5
    for bad in (4, 6, -5):
        with refused(ValueError, "n"):
            _check.integer(bad, "n", low=5, high=5)
    with refused(ValueError, "seed"):
        _check.seed(-1)
    with refused(TypeError, "seed"):
        _check.seed(None)


def test_flag_and_text() -> None:
    assert _check.flag(np.False_, "f") is False
    assert _check.flag(True, "f") is True
    for bad in (0, 1, None, "True"):
        with refused(TypeError, "f"):
            _check.flag(bad, "f")
    assert _check.text("a", "t") == "a"
    for bad in (0, None, b"a"):
        with refused(TypeError, "t"):
            _check.text(bad, "t")


def test_choice_lists_the_options_and_suggests() -> None:
    assert _check.choice("heun", "solver", ["euler", "heun"]) == "heun"
    with pytest.raises(
        ValueError, match=r"^solver: got 'huen', expected one of euler, heun; did you mean 'heun'\?"
    ):
        _check.choice("huen", "solver", iter(["euler", "heun"]))
    with pytest.raises(ValueError, match="pick one of these"):
        _check.choice("zzz", "solver", ["euler", "heun"])
    with refused(TypeError, "solver"):
        _check.choice(3, "solver", ["euler", "heun"])


def test_size_refuses_before_allocating() -> None:
    _check.size(10, 10, "n")
    with pytest.raises(ValueError, match=r"^n: got 1000000000000000 x 3 .*GiB"):
        _check.size(10**15, 3, "n")


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ([1, 2], np.float64),
        (np.array([1, 2], np.uint8), np.float64),
        (np.array([1.5, 2], np.float16), np.float64),
        (np.array([1.5, 2], np.float32), np.float32),
        (np.array([1.5, 2], ">f4"), np.float32),
        (np.array([1.5, 2], ">f8"), np.float64),
        (np.array([1.5, 2], np.longdouble), np.float64),
    ],
)
def test_array_dtypes(given: Any, dtype: Any) -> None:
    found = _check.array(given, "x")
    assert found.dtype == dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, np.asarray(given).astype(np.float64))


def test_array_does_not_copy_without_need() -> None:
    x = np.arange(3.0)
    assert np.shares_memory(_check.array(x, "x"), x)


@pytest.mark.parametrize(
    "bad",
    [
        "12",
        None,
        [1j],
        [True],
        [[1.0], [1.0, 2.0]],
        [object()],
        {1: 2},
        {1.0},
        np.array(["2020-01-01"], dtype="M8[D]"),
        np.array([1.0], dtype=object),
    ],
)
def test_array_refuses_other_kinds(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"^x: got .+expected"):
        _check.array(bad, "x")


def test_array_says_where_it_is_not_finite() -> None:
    with pytest.raises(ValueError, match=r"^x: got nan at index \(1, 0\), expected finite"):
        _check.array([[0.0, 1.0], [NAN, INF]], "x")
    with pytest.raises(ValueError, match=r"^x: got -inf at index 2, "):
        _check.array([0.0, 1.0, -INF], "x")
    assert np.isnan(_check.array([NAN], "x", finite=False)[0])


def test_array_masks() -> None:
    whole = np.ma.masked_array([1.0, 2.0])
    np.testing.assert_array_equal(_check.array(whole, "x"), [1.0, 2.0])
    with pytest.raises(ValueError, match="masked"):
        _check.array(np.ma.masked_array([1.0, 2.0], mask=[False, True]), "x")


def test_queries() -> None:
    batch, shape, dtype = _check.queries(np.array([1, 2], np.float32), 2)
    np.testing.assert_array_equal(batch, [[1.0, 2.0]])
    assert (shape, dtype, batch.dtype) == ((2,), np.float32, np.float64)
    batch, shape, _ = _check.queries(np.asfortranarray(np.arange(6.0).reshape(3, 2)), 2)
    assert batch.flags.c_contiguous
    np.testing.assert_array_equal(batch, [[0, 1], [2, 3], [4, 5]])
    assert shape == (3, 2)
    with pytest.raises(ValueError, match=r"^v: got shape \(3,\), expected \(B, 2\) or \(2,\)"):
        _check.queries([1.0, 2.0, 3.0], 2, "v")


def test_sigma_broadcasts() -> None:
    np.testing.assert_array_equal(_check.sigma(2, 3), [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(_check.sigma([2], 3), [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(_check.sigma([1, 2, 3], 3), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(_check.sigma(0.0, 1, zero=True), [0.0])
    assert _check.sigma(1e150, 1)[0] == 1e150
    assert _check.sigma(5e-324, 1)[0] == 5e-324


@pytest.mark.parametrize(
    ("bad", "words"), [(0.0, "limit"), (-1.0, "logarithm"), (NAN, "nan"), (2e150, "1e150")]
)
def test_sigma_refuses(bad: float, words: str) -> None:
    with pytest.raises(ValueError, match=f"^sigma: got {re.escape(repr(bad))}.*{words}|{words}"):
        _check.sigma(bad, 1)


def test_long_values_are_shown_short() -> None:
    assert len(_check.show("a" * 1000)) == 80
    assert _check.show([np.zeros((2, 1))]) == "[array([[0.], [0.]])]"
    assert _check.show(np.zeros((3, 2))) == "an array of shape (3, 2) and dtype float64"
