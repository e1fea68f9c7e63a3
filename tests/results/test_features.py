"""Features as text in rows: exact, and strict when read."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from vpbench.errors import ResultError
from vpbench.files import canonical
from vpbench.results.features import decode, encode, feature_set
from vpbench.results.rows import read_rows

ROW = {"clip": "a@0", "data": "0" * 16, "metric": "m", "status": "ok", "step": 0, "value": None}
TEXT = encode(np.array([0.5, -1.0], np.float32))


def test_text_holds_every_bit():
    vector = np.random.default_rng(0).standard_normal(7).astype(np.float32)
    assert decode(encode(vector)).tobytes() == vector.tobytes()
    assert encode(vector[::2]) == encode(vector[::2].copy())
    assert TEXT == "AAAAPwAAgL8="


@pytest.mark.parametrize(
    "text", ["", "AAAA", "AAA", "no text!", base64.b64encode(np.float32("nan").tobytes()).decode()]
)
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match="it "):
        decode(text)


def test_clips_are_in_the_order_of_their_ids():
    vectors = {(clip, s): np.array([i + 10 * s], np.float32) for i, clip in enumerate("ab") for s in (1, 0)}
    true = {clip: np.array([i + 100], np.float32) for i, clip in reversed(list(enumerate("ab")))}
    features = feature_set("m", dict(reversed(list(vectors.items()))), true)
    assert features.predicted.tolist() == [[[0], [10]], [[1], [11]]]
    assert features.true.tolist() == [[100], [101]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"features": TEXT, "true_features": "AAAA"}, "true_features"),
        ({"features": "no", "true_features": TEXT}, "features"),
        ({"features": TEXT}, "true_features"),
        ({"features": TEXT, "true_features": TEXT, "sample": 1}, "true_features"),
        ({"features": TEXT, "true_features": TEXT, "value": 1.0}, "value"),
        ({"features": TEXT, "true_features": TEXT, "step": 1}, "features"),
        ({"value": 1.0}, "features"),
        ({}, "value"),
    ],
)
def test_a_row_of_a_set_metric_has_features_and_no_value(tmp_path, change, problem):
    path = tmp_path / "unit.jsonl"
    path.write_text(canonical(ROW | {"features": TEXT, "true_features": TEXT}) + "\n")
    assert read_rows(path, 1)[0]["features"] == TEXT
    path.write_text(canonical(ROW | change) + "\n")
    with pytest.raises(ResultError, match=rf"line 1: not a row \({problem}"):
        read_rows(path, 1)


def test_vectors_of_several_lengths_are_refused():
    short, long = np.ones(2, np.float32), np.ones(3, np.float32)
    for predicted in ({("a", 0): short, ("b", 0): long}, {("a", 0): short, ("b", 0): short}):
        with pytest.raises(ResultError, match="2 features for clip 'a' and another number for clip 'b'"):
            feature_set("m", predicted, {"a": short, "b": long})
