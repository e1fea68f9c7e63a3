"""Training clips: windows that exist, each slot once an epoch, never a sequence that is validated or scored."""

from __future__ import annotations

import tomllib
from collections import Counter
from types import SimpleNamespace

import folders
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vpbench
from vpbench.training.clips import (
    TrainingClips,
    split_sequences,
    training_manifest,
    training_protocol,
    validation_protocol,
)


def protocol(training="", split="test", **window):
    return folders.make_protocol(
        3, dataset={"name": "toy", "split": split}, training=tomllib.loads(training),
        sampling={"kind": "first", "context": 2, "horizon": 3} | window,
    )  # fmt: skip


def dataset(splits=("train", "val", "test"), count=40, length=12, problem=""):
    def sequences(split):
        return [
            vpbench.SequenceInfo(f"{split}/{i:03d}", range(length), problem if i == 1 else "") for i in range(count)
        ]

    return SimpleNamespace(info=vpbench.DatasetInfo(splits=splits), sequences=sequences)


def clips(sequences, seed=0, training="", **window):
    return TrainingClips.of(protocol(training, **window), sequences, seed)


def test_a_stage_may_train_on_clips_of_another_length():
    sequences = dataset(count=3, length=12).sequences("train")
    window = TrainingClips.of(protocol(frame_step=2), sequences, 0, 6)
    assert (window.context, window.horizon) == (2, 4)
    assert {len(ref.frames) for ref in window.draw(1, 0)} == {6}
    with pytest.raises(vpbench.DataError, match=r"holds 2 \+ 11 frames at frame step 1: train on shorter clips$"):
        TrainingClips.of(protocol(), sequences, 0, 13)
    with pytest.raises(vpbench.UsageError, match="training clips of 2 frames have no future after 2 context frames"):
        TrainingClips.of(protocol(), sequences, 0, 2)


@pytest.mark.parametrize("per_epoch", [2, 8])
def test_a_stage_may_have_an_epoch_of_its_own(per_epoch):
    sequences = dataset(count=4, length=5).sequences("train")
    window = TrainingClips.of(protocol("clips = 3"), sequences, 0, per_epoch=per_epoch)
    assert window.per_epoch == len(window.draw(1, 0)) == per_epoch
    assert window.hash == TrainingClips.of(protocol(), sequences, 0).hash, "the same windows"


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    first=st.integers(0, 1000),
    step=st.integers(1, 4),
    gap=st.integers(0, 50),
)
def test_every_drawn_frame_exists(lengths, first, step, gap):
    frames = {f"s{i}": tuple(f for f in range(first, first + n) if f - first != gap) for i, n in enumerate(lengths)}
    sequences = [vpbench.SequenceInfo(name, numbers) for name, numbers in frames.items()]
    try:
        drawn = clips(sequences, frame_step=step).draw(1, 0)
    except vpbench.DataError:
        longest = max((len(range(start, n, step)) for n in lengths for start in range(step)), default=0)
        assert longest < 5 or any(gap < n for n in lengths)
        return
    for ref in drawn:
        assert set(ref.frames) <= set(frames[ref.sequence])
        assert ref.frames == tuple(range(ref.frames[0], ref.frames[0] + 5 * step, step))


def test_an_epoch_holds_as_many_clips_as_fit_side_by_side():
    sequences = [vpbench.SequenceInfo("a", range(5)), vpbench.SequenceInfo("b", range(23)), *short("c", 4)]
    drawn = clips(sequences).draw(1, 0)
    assert Counter(ref.sequence for ref in drawn) == {"a": 1, "b": 4}
    assert clips(sequences, frame_step=2).per_epoch == 2  # 9 raw frames each


def short(name, length):
    return [vpbench.SequenceInfo(name, range(length))]


def test_the_order_and_the_windows_follow_from_seed_stage_and_epoch_alone():
    sequences = [vpbench.SequenceInfo(f"s{i}", range(30)) for i in range(8)]
    repeats = [clips(sequences, seed=3).draw(1, 5) for _ in range(2)]
    assert repeats[0] == repeats[1]
    variants = [
        clips(sequences, seed=4).draw(1, 5),
        clips(sequences, seed=3).draw(2, 5),
        clips(sequences, 3).draw(1, 6),
    ]
    assert all(variant != repeats[0] for variant in variants)
    starts = Counter(ref.frames[0] for epoch in range(100) for ref in clips(sequences).draw(1, epoch))
    assert set(starts) == set(range(26)), "every window is drawn, the last one too"
    assert max(starts.values()) < 2 * min(starts.values()), "none far more often than another"


def test_a_protocol_may_name_the_clips_of_an_epoch():
    sequences = [vpbench.SequenceInfo(f"s{i}", range(5)) for i in range(10)]
    fewer, repeated = (clips(sequences, training=f"clips = {n}").draw(1, 0) for n in (4, 25))
    assert len({ref.sequence for ref in fewer}) == 4
    assert sorted(Counter(ref.sequence for ref in repeated).values()) == [2] * 5 + [3] * 5


def test_training_sequences_that_are_all_too_short():
    with pytest.raises(vpbench.DataError, match=r"none of 1 training sequences holds 2 \+ 3 frames at frame step 1"):
        clips(short("a", 4))


def names(sequences):
    return {s.name for s in sequences}


def test_validation_is_the_val_split_where_there_is_one():
    train, val, _ = split_sequences(protocol(), dataset())
    assert {name[:5] for name in names(train)} == {"train"} and len(train) == 40
    assert {name[:3] for name in names(val)} == {"val"}


@pytest.mark.parametrize("split", ["test", "val"])
def test_without_another_split_a_part_of_train_is_held_out(split):
    splits = ("train", split)
    train, val, _ = split_sequences(protocol("held_out = 0.25", split=split), dataset(splits, count=400))
    assert not names(train) & names(val)
    assert len(train) + len(val) == 400
    assert 70 < len(val) < 130
    assert {name[:5] for name in names(val)} == {"train"}
    fewer = split_sequences(protocol("held_out = 0.25", split=split), dataset(splits, count=300))[1]
    assert names(fewer) <= names(val), "whether one is held out does not depend on the others"
    assert validation_protocol(protocol(split=split), dataset(splits)).dataset.split == "train"


def test_of_a_small_dataset_one_sequence_is_held_out():
    assert len(split_sequences(protocol(), dataset(("train", "test"), count=3))[1]) == 1
    with pytest.raises(vpbench.DataError, match="no sequence here to train on"):
        split_sequences(protocol(), dataset(("train", "test"), count=1))


def test_unreadable_sequences_are_left_out_and_told():
    train, val, unreadable = split_sequences(protocol(), dataset(problem="broken header"))
    assert len(train) == len(val) == 39
    assert [s.problem for s in unreadable] == ["broken header"] * 2


@pytest.mark.parametrize(
    ("text", "splits", "words"),
    [
        ("", ("test",), r"'toy' has no split 'train' to train on \(it has test\); train on another protocol"),
        ("", ("test", "a"), r"no split 'train' to train on \(it has test, a\); name one in the protocol's \[train"),
        ('validation = "vall"', ("train", "val", "test"), "no split 'vall' to validate on; did you mean 'val'"),
    ],
)
def test_splits_that_are_not_there(text, splits, words):
    with pytest.raises(vpbench.UsageError, match=words):
        split_sequences(protocol(text), dataset(splits))


def test_the_scored_split_is_neither_trained_nor_validated_on():
    with pytest.raises(vpbench.UsageError, match=r"\[training\] validation: 'test' is the split that is scored"):
        split_sequences(protocol('validation = "test"'), dataset())
    for scored in (protocol(split="train"), protocol('split = "test"')):
        with pytest.raises(
            vpbench.UsageError, match=f"scores the split '{scored.dataset.split}' and cannot train on it"
        ):
            training_protocol(scored)


def test_the_training_table_changes_no_hash():
    assert protocol('clips = 7\nvalidation = "val"').hash == protocol().hash


def test_a_store_for_training_covers_every_frame_and_every_pair_of_sampled_frames():
    window = {"frame_step": 3}
    manifest = training_manifest(protocol(**window), dataset(count=2, length=20))
    pairs = {(c.sequence, a, b) for c in manifest.clips for a, b in zip(c.frames, c.frames[1:], strict=False)}
    training_clips = TrainingClips.of(protocol(**window), dataset(count=2, length=20).sequences("train"), 0)
    drawn = [ref for epoch in range(200) for ref in training_clips.draw(1, epoch)]
    assert {(r.sequence, a, b) for r in drawn for a, b in zip(r.frames, r.frames[1:], strict=False)} == pairs
    assert {f for c in manifest.clips if c.sequence == "train/000" for f in c.frames} == set(range(20))
