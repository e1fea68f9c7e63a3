"""The protocols in examples/: valid, on clips that training does not use."""

from __future__ import annotations

from pathlib import Path

import folders
import pytest

from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import build_manifest
from vpbench.select.data import open_protocol_dataset
from vpbench.training.clips import TrainingClips, split_sequences

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_example_is_named_like_its_file(path):
    assert Protocol.read(path).name == path.stem


def test_the_real_clips_are_divided_into_training_validation_and_scored_ones(shared):
    protocol = Protocol.read(EXAMPLES / "real-clips.toml")
    dataset = open_protocol_dataset(folders.plugins(), protocol, {"folder": shared / "data"})
    scored = build_manifest(protocol, dataset)
    train, val, unreadable = split_sequences(protocol, dataset)
    names = [{clip.sequence for clip in scored.clips}, {s.name for s in train}, {s.name for s in val}]
    assert [len(part) for part in names] == [4, 3, 1]
    assert sum(map(len, names)) == len(set().union(*names))
    assert (len(scored.clips), unreadable) == (41, [])
    assert TrainingClips.of(protocol, train, 0).per_epoch == 800


def test_the_digits_have_one_context_frame():
    """A single context frame shows no motion."""
    protocol = Protocol.read(EXAMPLES / "digits-1to8.toml")
    clips = build_manifest(protocol, open_protocol_dataset(folders.plugins(), protocol, {})).clips
    assert {(clip.context, len(clip.frames)) for clip in clips} == {(1, 9)}
    assert (len(clips), protocol.size, protocol.quantise) == (256, (32, 32), True)
