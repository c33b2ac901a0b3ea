"""Mistakes planted by hand: every one is rejected by a claim, and the right code by none."""

from __future__ import annotations

import mutants
import pytest

import analytic as an
from analytic.claims import Subject


def test_there_are_enough_of_them() -> None:
    assert len(mutants.MUTANTS) >= 30


def test_the_right_code_is_not_rejected() -> None:
    data = mutants.points()
    assert mutants.kills(lambda d: Subject.of(an.OptimalDenoiser(d), d), "all") == []
    assert len(data) == 60


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_a_fault_is_found(name: str) -> None:
    assert mutants.kills(*mutants.MUTANTS[name])
