"""The identity: every value that decides a number is in its hash, in one canonical text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpbench.errors import ResultError
from vpbench.evaluation.evaluate import evaluate
from vpbench.files import canonical
from vpbench.plugin.loader import load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.results.records import Identity
from vpbench.results.store import Store
from vpbench.results.verify import verify

TOYS = Path(__file__).parents[1] / "toys.py"

IDENTITY = Identity(
    protocol="p", manifest="m", data="d", predictor="last", options={"width": 4}, fingerprint="f",
    annotators={"flow": "dis"}, metrics={"mse": 1}, metric_code={"mse": "c"}, seed=0, samples=1, partial="",
    unproven="",
)  # fmt: skip
OTHERS = {
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
    assert set(OTHERS) == set(Identity.model_fields)
    hashes = {IDENTITY.model_copy(update={name: value}).hash for name, value in OTHERS.items()}
    assert len(hashes | {IDENTITY.hash}) == len(OTHERS) + 1


def test_the_hash_does_not_move_between_releases():
    text = (
        '{"annotators":{"flow":"dis"},"data":"d","fingerprint":"f","manifest":"m","metric_code":{"mse":"c"},'
        '"metrics":{"mse":1},"options":{"width":4},"partial":"","predictor":"last","protocol":"p","samples":1,"seed":0,'
        '"unproven":""}'
    )
    assert canonical(IDENTITY.to_json()) == text
    assert IDENTITY.hash == hashlib.sha256(text.encode()).hexdigest()


def test_a_stored_identity_gives_the_same_identity():
    assert Identity(**json.loads(json.dumps(IDENTITY.to_json()))).hash == IDENTITY.hash


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


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


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run["identity"].update(seed=1),
        lambda run: run["identity"]["options"].update(width=9),
        lambda run: run["protocol"].update(quantise=True),
        lambda run: run["protocol"]["sampling"].update(horizon=1),
        lambda run: run.update(identity_hash="0" * 64),
    ],
)
def test_a_run_that_was_edited_is_found(tmp_path, change):
    plugins = load_plugins([str(TOYS)])
    sampling = {"kind": "first", "context": 2, "horizon": 2}
    dataset = {"name": "toy", "options": {"sequences": 2}}
    protocol = Protocol.parse(
        {"schema": 1, "name": "p", "version": 1, "dataset": dataset, "sampling": sampling, "metrics": ["mse"]}, "here"
    )
    path = evaluate("last", protocol, plugins=plugins, out=tmp_path, device="cpu").path
    assert verify(Store.open(path), plugins) == "1 of 1 units, each as published; the summary follows from them"
    run = json.loads((path / "run.json").read_text())
    change(run)
    (path / "run.json").write_text(json.dumps(run))
    with pytest.raises(ResultError, match=r"run\.json was changed after it was written"):
        verify(Store.open(path), plugins)
