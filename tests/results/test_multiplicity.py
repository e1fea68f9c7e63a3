"""Corrected p-values against a plain implementation, and the step from which a lead lasts."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from vpbench.results.multiplicity import LeadFrom, holm, lead_from, lead_of


def plain_holm(values):
    """Reject step by step: the corrected p-value is the smallest level at which a test is rejected."""
    count = len(values)
    corrected = []
    for value in values:
        smaller = [p for p in values if p <= value]
        steps = [min(1.0, p * (count - sum(q < p for q in values))) for p in smaller]
        corrected.append(max(steps))
    return corrected


def test_holm_of_a_textbook_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_tests_without_a_p_value_do_not_count():
    assert holm([None, 0.01, None, 0.03]) == [None, 0.02, None, 0.03]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_plain_definition(values):
    assert holm(values) == pytest.approx(plain_holm(values))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_no_correction_and_bonferroni(values):
    for raw, corrected in zip(values, holm(values), strict=True):
        assert raw <= corrected <= min(1.0, raw * len(values)) + 1e-15


@pytest.mark.slow
def test_families_without_any_difference_make_a_false_claim_in_one_of_twenty():
    """Simulated: ten independent t-tests of noise, 2000 times."""
    rng = np.random.default_rng(0)
    p = scipy.stats.ttest_1samp(rng.normal(size=(2000, 10, 12)), 0.0, axis=2).pvalue
    claims = sum(min(holm(family)) < 0.05 for family in p.tolist())
    assert scipy.stats.binomtest(claims, 2000, 0.05).pvalue > 0.01
    assert (p.min(axis=1) < 0.05).mean() > 0.3, "what no correction would claim"


@pytest.mark.parametrize(
    ("p", "advantage", "lead"),
    [
        (0.01, (0.1, 0.3), "first"),
        (0.01, (-0.3, -0.1), "second"),
        (0.05, (0.1, 0.3), ""),
        (0.01, (-0.1, 0.3), ""),
        (0.01, (0.0, 0.3), ""),
        (0.01, (-0.3, 0.0), ""),
        (0.01, None, ""),
        (None, (0.1, 0.3), ""),
    ],
)
def test_a_lead_needs_a_small_p_value_and_an_interval_clear_of_zero(p, advantage, lead):
    assert lead_of(p, advantage) == lead


@pytest.mark.parametrize(
    ("leads", "expected"),
    [
        (["first"] * 4, LeadFrom("first", 1)),
        (["", "first", "first", "first"], LeadFrom("first", 3)),
        (["first", "", "first", "first"], LeadFrom("first", 5)),
        (["second", "second", "second", "first"], LeadFrom("first", 7)),
        (["first", "first", "first", ""], None),
        (["", "", "", ""], None),
    ],
)
def test_a_lead_from_a_step_lasts_to_the_end(leads, expected):
    assert lead_from((1, 3, 5, 7), leads) == expected


def test_without_steps_nobody_leads():
    assert lead_from((), ()) is None
