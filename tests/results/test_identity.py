"""The identity: every value that decides a number is in its hash, in one canonical text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpbench.files import canonical
from vpbench.results.records import Identity

TOYS = Path(__file__).parents[1] / "toys.py"

IDENTITY = Identity(
    protocol="p", manifest="m", data="d", predictor="last", options={"width": 4}, fingerprint="f",
    annotators={"flow": "dis"}, metrics={"mse": 1}, metric_code={"mse": "c"}, seed=0, samples=1, partial="",
    unproven="",
)  # fmt: skip
CHANGES = {
    "protocol": "q",
    "manifest": "n",
    "data": "e",
    "predictor": "first",
    "options": {"width": 5},
    "fingerprint": "g",
    "annotators": {},
    "metrics": {"mse": 2},
    "metric_code": {"mse": "b"},
    "seed": 1,
    "samples": 2,
    "partial": "2 of 3 clips",
    "unproven": "r",
}


def test_every_field_is_in_the_hash():
    assert set(CHANGES) == set(Identity.model_fields)
    hashes = {IDENTITY.model_copy(update={name: value}).hash for name, value in CHANGES.items()}
    assert len(hashes | {IDENTITY.hash}) == len(CHANGES) + 1


def test_the_hash_does_not_move_between_releases():
    text = (
        '{"annotators":{"flow":"dis"},"data":"d","fingerprint":"f","manifest":"m","metric_code":{"mse":"c"},'
        '"metrics":{"mse":1},"options":{"width":4},"partial":"","predictor":"last","protocol":"p","samples":1,"seed":0,'
        '"unproven":""}'
    )
    assert canonical(IDENTITY.to_json()) == text
    assert IDENTITY.hash == hashlib.sha256(text.encode()).hexdigest()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.dictionaries(st.text(), json_values, max_size=4), st.randoms(use_true_random=False))
def test_the_text_is_lossless_and_does_not_know_the_order_of_keys(value, random):
    shuffled = dict(random.sample(list(value.items()), len(value)))
    assert canonical(shuffled) == canonical(value)
    assert json.loads(canonical(value)) == value


def test_the_text_is_short_and_readable():
    assert canonical({"b": 0.1, "a": "é"}) == '{"a":"é","b":0.1}'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_holds_no_nan(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": value})
