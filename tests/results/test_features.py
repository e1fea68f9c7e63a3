"""Features in files: exact, in the order of clips, and strict when read."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load, save

from vpbench import files
from vpbench.errors import MetricError, ResultError
from vpbench.files import canonical
from vpbench.results.features import UnitFeatures, digest, read_features
from vpbench.results.rows import read_rows

DIGEST = digest(np.array([0.5, -1.0], np.float32))
ROW = {"clip": "a@0", "data": "0" * 16, "metric": "m", "status": "ok", "step": 0, "value": None}
CLIPS, SAMPLES, LENGTH = ("c", "a", "b"), 2, 3
ULP = np.float32(1e-6)


class Unit:
    """Random features of a unit's clips, as the loop adds them: sample by sample, clips in the manifest's order."""

    def __init__(self, clips=CLIPS, length=LENGTH, seed=0):
        self.clips, features, generator = clips, UnitFeatures(), np.random.default_rng(seed)
        self.predicted, self.true, self.vectors = {}, {}, {}
        for sample in range(SAMPLES):
            for clip in clips:
                vector = generator.standard_normal(length).astype(np.float32)
                self.vectors[clip, sample] = vector
                self.predicted[clip, sample] = features.add_predicted("m/x", clip, sample, vector)
                if not sample:
                    self.vectors[clip] = -vector
                    self.true[clip] = features.add_true("m/x", clip, -vector)
        self.data = features.to_bytes()


def read(tmp_path, *units, data=None):
    paths = [tmp_path / f"{number}.safetensors" for number in range(len(units))]
    for path, unit in zip(paths, units, strict=True):
        path.write_bytes(unit.data if data is None else data)
    predicted, true = ({k: v for u in units for k, v in getattr(u, name).items()} for name in ("predicted", "true"))
    return read_features("m/x", [(p, u.clips) for p, u in zip(paths, units, strict=True)], predicted, true)


def test_units_are_joined_in_the_order_of_clips_to_the_last_bit(tmp_path):
    units = Unit(), Unit(("z", "Z"), seed=1)
    features = read(tmp_path, *units)
    vectors = units[0].vectors | units[1].vectors
    clips = sorted([*CLIPS, "z", "Z"])
    assert features.true.tobytes() == np.array([vectors[clip] for clip in clips]).tobytes()
    expected = np.array([[vectors[clip, sample] for sample in range(SAMPLES)] for clip in clips])
    assert features.predicted.shape == (5, SAMPLES, LENGTH)
    assert features.predicted.tobytes() == expected.tobytes()


def test_the_order_of_batches_does_not_change_the_file():
    first, second = UnitFeatures(), UnitFeatures()
    for features, clips in ((first, "ab"), (second, "ba")):
        for clip in clips:
            features.add_predicted("m", clip, 0, np.full(2, ord(clip), np.float32))
            features.add_true("m", clip, np.zeros(2, np.float32))
    assert first.to_bytes() == second.to_bytes()
    assert len(first.to_bytes()) < 2 * 2 * 2 * 4 + 300
    first.clear()
    assert first.to_bytes() == b""


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda arrays: save({k: v + (k[0] == "t") * ULP for k, v in arrays.items()}), "those that its rows name"),
        (lambda arrays: save({k: v + (k[0] == "p") * ULP for k, v in arrays.items()}), "those that its rows name"),
        (lambda arrays: save({k: v[::-1].copy() for k, v in arrays.items()}), "those that its rows name"),
        (lambda arrays: save({k: v for k, v in arrays.items() if k[0] == "t"}), "it has no features of m/x"),
        (lambda arrays: save({k: v[:2].copy() for k, v in arrays.items()}), "another shape or type"),
        (lambda arrays: save({k: v.astype(np.float64) for k, v in arrays.items()}), "another shape or type"),
        *(
            (
                lambda arrays, kind=kind: save(
                    {k: v * np.float32("nan" if k[0] == kind else 1) for k, v in arrays.items()}
                ),
                "NaN or infinite",
            )
            for kind in "pt"
        ),
        (lambda arrays: save(arrays | {"more": np.zeros(1, np.float32)}), ""),
        (lambda arrays: save(arrays, {"by": "x"}), "not written as vpbench writes it"),
        (lambda arrays: save(arrays)[:-1], "not in safetensors format"),
        (lambda arrays: b"", "not in safetensors format"),
    ],
)
def test_a_changed_file_is_refused(tmp_path, change, problem):
    unit = Unit()
    data = change(load(unit.data))
    if not problem:  # further arrays are those of other metrics
        assert read(tmp_path, unit, data=data).true.shape == (3, 3)
        return
    with pytest.raises(ResultError, match=rf"0.safetensors: .*{problem}.*; remove the unit of this number"):
        read(tmp_path, unit, data=data)


def test_a_missing_file_is_named(tmp_path):
    unit = Unit()
    with pytest.raises(ResultError, match=r"000\.safetensors cannot be read"):
        read_features("m/x", [(tmp_path / "000.safetensors", CLIPS)], unit.predicted, unit.true)


def test_vectors_of_several_lengths_are_refused(tmp_path):
    features = UnitFeatures()
    for clip, length in (("a", 2), ("b", 3)):
        features.add_predicted("m", clip, 0, np.ones(length, np.float32))
        features.add_true("m", clip, np.ones(length, np.float32))
    with pytest.raises(MetricError, match="2 features for clip 'a' and another number for clip 'b'"):
        features.to_bytes()
    with pytest.raises(ResultError, match=r"1.safetensors: m/x has another number of features"):
        read(tmp_path, Unit(), Unit(("d",), length=4))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"features": DIGEST, "true_features": "AAAA"}, "true_features"),
        ({"features": "no", "true_features": DIGEST}, "features"),
        ({"features": DIGEST}, "true_features"),
        ({"features": DIGEST, "true_features": DIGEST, "sample": 1}, "true_features"),
        ({"features": DIGEST, "true_features": DIGEST, "value": 1.0}, "value"),
        ({"features": DIGEST, "true_features": DIGEST, "step": 1}, "features"),
        ({"value": 1.0}, "features"),
        ({}, "value"),
    ],
)
def test_a_row_of_a_set_metric_has_features_and_no_value(tmp_path, change, problem):
    path = tmp_path / "unit.jsonl"
    path.write_text(canonical(ROW | {"features": DIGEST, "true_features": DIGEST}) + "\n")
    assert read_rows(path, 1)[0]["features"] == DIGEST
    path.write_text(canonical(ROW | change) + "\n")
    with pytest.raises(ResultError, match=rf"line 1: not a row \({problem}"):
        read_rows(path, 1)


@pytest.mark.slow
def test_ten_thousand_clips_need_little_more_than_their_vectors(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "UNIT", 2**20)  # a reader reserves this much, untouched
    count, length = 10_000, 400
    names = [f"sequence{i:05d}@0" for i in range(count)]
    predicted, true, units = {}, {}, []
    for start in range(0, count, 16):
        features, clips = UnitFeatures(), names[start : start + 16]
        for clip in clips:
            vector = np.full(length, start, np.float32)
            predicted[clip, 0], true[clip] = (
                features.add_predicted("m", clip, 0, vector),
                features.add_true("m", clip, vector),
            )
        path = tmp_path / f"{start}.safetensors"
        path.write_bytes(features.to_bytes())
        units.append((path, clips))
    tracemalloc.start()
    features = read_features("m", units, predicted, true)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < features.predicted.nbytes + features.true.nbytes + 4 * 2**20
