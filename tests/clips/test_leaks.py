"""Split hygiene: planted leaks by name, by recording and by pixels are found and named, and clean splits are clean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import vpbench
from vpbench.clips import leaks
from vpbench.clips.leaks import find_leaks
from vpbench.errors import DataError
from vpbench.plugin.dataset import Finding

SHAPE = (6, 8, 3)


def picture(key: str, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(list(key.encode())).integers(0, 256, shape, dtype=np.uint8)


class Films:
    """Frames by split and sequence; a frame's picture follows from its name, unless one is planted."""

    def __init__(self, splits=("train", "test"), planted=None, sources=None, broken=None, **info) -> None:
        self.info = vpbench.DatasetInfo(splits=splits, needs_root=False, **info)
        self.planted, self.sources, self.broken = planted or {}, sources or {}, broken or {}
        self.films = {split: [f"{split}/a", f"{split}/b"] for split in splits}
        self.reads: list[int] = []

    def sequences(self, split):
        return [vpbench.SequenceInfo(n, range(20), source=self.sources.get(n, "")) for n in self.films[split]]

    def read(self, sequence, frames, modality):
        self.reads.append(len(frames))
        for frame in frames:
            if (sequence, frame) in self.broken:
                raise self.broken[sequence, frame]
        return np.stack([self.planted.get((sequence, f), picture(f"{sequence} {f}")) for f in frames])


def find(dataset, **options) -> dict[str, Finding]:
    return {finding.name: finding for finding in find_leaks(dataset, lambda count, total: None, **options)}


def test_clean_splits():
    findings = find(Films())
    assert [(f.name, f.found, f.expected, f.holds, f.details) for f in findings.values()] == [
        ("test: frames of train, by name", "0 of 40", "0", True, ()),
        ("test: sequences of a recording in train", "0 of 2", "0", True, ()),
        ("test: frames of train, by pixels", "0 of 40 (train has 40)", "0", True, ()),
        ("train: frames that do not decode", "0", "0", True, ()),
        ("test: frames that do not decode", "0", "0", True, ()),
    ]


def test_a_sequence_in_both_splits_is_found_by_name_and_by_pixels():
    films = Films()
    films.films["test"].append("train/b")
    findings = find(films)
    names, recordings, pixels = list(findings.values())[:3]
    assert (names.found, names.holds, names.details) == ("20 of 60", False, ("train/b, frame 0",))
    assert (recordings.found, recordings.holds) == ("1 of 3", False)
    assert (pixels.found, pixels.holds) == ("20 of 60 (train has 40)", False)


def test_some_frames_of_a_sequence_in_both_splits():
    """Train is shown frames 0 to 19, test 15 to 24 of the same film: five leak."""
    films = Films()
    films.sequences = lambda split: [vpbench.SequenceInfo("film", range(20) if split == "train" else range(15, 25))]
    names, _, pixels = list(find(films).values())[:3]
    assert (names.found, names.details) == ("5 of 10", ("film, frame 15",))
    assert pixels.found == "5 of 10 (train has 20)"


def test_the_same_pixels_under_another_name():
    stolen = {("test/b", 7): picture("train/a 3"), ("test/b", 9): picture("train/a 4")}
    findings = find(Films(planted=stolen))
    names, recordings, pixels = list(findings.values())[:3]
    assert (names.holds, recordings.holds) == (True, True)
    assert (pixels.found, pixels.holds) == ("2 of 40 (train has 40)", False)
    assert pixels.details == (
        "test/b, frame 7 is train/a, frame 3 of train",
        "test/b, frame 9 is train/a, frame 4 of train",
    )


def test_one_other_value_is_another_frame():
    near = picture("train/a 3")
    near[-1, -1, -1] ^= 1
    assert find(Films(planted={("test/a", 0): near}))["test: frames of train, by pixels"].holds


def test_the_same_bytes_at_another_size_are_another_frame():
    long = picture("x", (4, 12, 3))

    class Sizes(Films):
        def read(self, sequence, frames, modality):
            shape = (4, 12, 3) if sequence.startswith("train") else (12, 4, 3)
            return np.stack([long.reshape(shape)] * len(frames))

    assert find(Sizes())["test: frames of train, by pixels"].found == "0 of 40 (train has 40)"


def test_repeats_within_a_split_are_no_leak():
    within = {("train/a", 1): picture("train/b 5"), ("test/a", 1): picture("test/b 5")}
    assert all(finding.holds for finding in find(Films(planted=within)).values())


def test_frames_of_a_single_colour_are_left_out_and_counted():
    black, colour = np.zeros(SHAPE, np.uint8), np.full(SHAPE, (9, 80, 200), np.uint8)
    planted = {(f"{split}/a", i): f for split in ("train", "test") for i, f in enumerate([black, colour])}
    findings = find(Films(planted=planted))["test: frames of train, by pixels"]
    assert (findings.found, findings.holds) == ("0 of 40 (train has 40); 2 of a single colour left out", True)


RECORDED = {"train/b": "street", "test/a": "street", "test/b": "house", "train/a": "wood"}


def test_two_sequences_of_one_recording():
    findings = find(Films(sources=RECORDED))["test: sequences of a recording in train"]
    assert (findings.found, findings.expected, findings.holds) == ("1 of 2", "0", False)
    assert findings.details == ("test/a is of one recording with train/b of train",)


def test_what_leaks_by_design_is_told_and_does_not_fail():
    stolen = {("test/b", 7): picture("train/a 3")}
    findings = find(Films(sources=RECORDED, planted=stolen, shared_recordings="drawn at random"))
    recordings, pixels = list(findings.values())[1:3]
    assert (recordings.found, recordings.expected, recordings.holds) == ("1 of 2", "some, by design", None)
    assert recordings.details[0] == "drawn at random"
    assert (pixels.found, pixels.holds) == ("1 of 40 (train has 40)", None)
    assert find(Films(sources=RECORDED, shared_recordings="x"))["test: frames of train, by pixels"].holds is True
    same = Films(shared_recordings="x")
    same.films["test"].append("train/b")
    assert find(same)["test: frames of train, by name"].holds is False, "no design lets one frame be on both sides"


def test_without_training_data_nothing_is_shown():
    films = Films()
    films.films["train"] = []
    findings = find(films)
    assert [finding.holds for finding in list(findings.values())[:3]] == [None, None, None]


def test_missing_sequences_count_by_their_recording():
    """They are known by name: that they share a recording is known before they are there."""
    films = Films()
    missing = vpbench.SequenceInfo("train/c", range(0), "is missing", source="street")
    films.sequences = lambda split: (
        [missing] if split == "train" else [vpbench.SequenceInfo("test/a", range(4), source="street")]
    )
    findings = find(films)
    assert findings["test: sequences of a recording in train"].holds is False
    assert findings["test: frames of train, by pixels"].holds is None


@pytest.mark.parametrize(
    ("error", "problem"),
    [(DataError("a: does not decode"), "a: does not decode"), (ValueError("half"), "train/a: ValueError: half")],
)
def test_what_cannot_be_read_is_named_and_the_rest_compared(error, problem):
    films = Films(broken={("train/a", 11): error}, planted={("test/b", 7): picture("train/b 19")})
    findings = find(films)
    broken = findings["train: frames that do not decode"]
    # Frames 8 to 15 are read together; the film is left there.
    assert (broken.found, broken.holds, broken.details) == ("12", False, (problem,))
    assert findings["test: frames of train, by pixels"].found == "1 of 40 (train has 28)"


def test_every_pair_of_splits_train_first():
    films = Films(splits=("test", "val", "train"), planted={("val/a", 0): picture("test/a 0")})
    findings = find(films)
    compared = [name for name in findings if name.endswith("by pixels")]
    assert compared == [
        "test: frames of train, by pixels",
        "val: frames of train, by pixels",
        "val: frames of test, by pixels",
    ]
    assert [findings[name].holds for name in compared] == [True, True, False]


def test_one_split_against_the_others_and_only_the_frames_that_are_shown():
    stolen = {("test/a", 2): picture("val/a 0"), ("test/a", 3): picture("train/a 0")}
    films = Films(splits=("train", "val", "test"), planted=stolen)
    findings = find(films, split="test", clips={"test/a": [0, 2, 4]})
    assert findings["test: frames of val, by pixels"].found == "1 of 3 (val has 40)"
    assert findings["test: frames of train, by pixels"].found == "0 of 3 (train has 40)"
    assert "val: frames of train, by pixels" not in findings


def test_the_split_asked_for_is_compared_with_those_after_it_too():
    findings = find(Films(splits=("val", "test", "train"), planted={("val/a", 0): picture("test/a 0")}), split="val")
    assert findings["val: frames of test, by pixels"].details == ("val/a, frame 0 is test/a, frame 0 of test",)
    assert "val: frames of train, by pixels" in findings


def test_frames_are_read_a_few_at_a_time_with_progress():
    films, counts = Films(), []
    find_leaks(films, lambda count, total: counts.append((count, total)))
    assert max(films.reads) <= leaks._CHUNK
    assert counts[-1] == (80, 80)
    assert [count for count, _ in counts] == sorted(count for count, _ in counts)


def test_broken_sequences_are_not_read():
    films = Films()
    fine = films.sequences
    films.sequences = lambda split: [replace(fine(split)[0], problem="is missing"), fine(split)[1]]
    assert find(films)["test: frames of train, by pixels"].found == "0 of 20 (train has 20)"
