"""`scenes` as a dataset: its contract, its names, its options, its protocols, and what it refuses."""

from __future__ import annotations

from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from vpbench.errors import DataError, UsageError
from vpbench.plugin.dataset import Dataset, check_array
from vpbench.plugin.modality import BUILT_IN
from vpbench.protocol.protocol import Protocol
from vpbench.toolkit.labels import CITYSCAPES19
from vpbench_scenes.camera import drive
from vpbench_scenes.dataset import Options, Scenes
from vpbench_scenes.rng import TURN, Stream, sine

SMALL = (48, 64)


def scenes(**options):
    return Scenes(options=Options(**{"size": SMALL, **options}))


def test_it_is_a_dataset_that_needs_no_root():
    assert isinstance(scenes(), Dataset)
    assert not Scenes.info.needs_root
    assert Scenes(None).options == Options()


@pytest.mark.parametrize("modality", Scenes.info.modalities)
def test_arrays_are_as_the_contract_says(modality):
    array = scenes().read("test-000003", [0, 2, 3, 7], modality)
    check_array(array, BUILT_IN[modality], 4, "scenes")
    assert array.shape[1:3] == SMALL


def test_sequences_are_named_by_split_and_number_and_sorted():
    dataset = scenes(train=3, val=0, length=5)
    assert [s.name for s in dataset.sequences("train")] == ["train-000000", "train-000001", "train-000002"]
    assert list(dataset.sequences("train")[0].frames) == [0, 1, 2, 3, 4]
    assert dataset.sequences("val") == []


def test_a_clip_does_not_depend_on_what_was_read_before():
    used, fresh = scenes(), scenes()
    for k in range(6):
        used.read(f"test-{k:06d}", [0], "frames")
    for modality in Scenes.info.modalities:
        np.testing.assert_array_equal(
            used.read("test-000000", [0, 4], modality), fresh.read("test-000000", [0, 4], modality)
        )


def test_a_longer_clip_begins_with_the_same_frames():
    short, long = (scenes(length=n).read("val-000001", range(5), "frames") for n in (5, 12))
    np.testing.assert_array_equal(short, long)


def test_counts_of_clips_change_no_clip():
    np.testing.assert_array_equal(
        scenes(test=2).read("test-000001", [0], "frames"), scenes(test=900).read("test-000001", [0], "frames")
    )


def test_splits_share_neither_clips_nor_shapes():
    from vpbench_scenes.sprites import sprite

    pictures = [scenes().read(f"{split}-000000", [0], "frames") for split in ("train", "val", "test")]
    assert all((a != b).mean() > 0.5 for a, b in pairwise(pictures))
    trees = {sprite(split, "tree", k).paint.tobytes() for split in ("train", "val", "test") for k in range(12)}
    assert len(trees) == 36


@pytest.mark.slow
def test_labels_are_cityscapes_train_ids_and_objects_carry_instances():
    dataset = scenes(test=64)
    classes = set()
    for k in range(12):
        labels, ids = (dataset.read(f"test-{k:06d}", range(9), m) for m in ("semantics", "instances"))
        assert (ids[labels >= 11] > 0).all()
        assert (ids[labels < 11] == 0).all()
        for number in np.unique(ids[ids > 0]):
            assert len(np.unique(labels[ids == number])) == 1
        classes |= set(np.unique(labels))
    names = {CITYSCAPES19.names[k] for k in classes}
    assert {"road", "sidewalk", "building", "vegetation", "sky", "pole"} <= names
    assert {"person", "rider", "car", "truck", "bus", "bicycle"} <= names
    assert (len(CITYSCAPES19), CITYSCAPES19.palette[13]) == (19, (0, 0, 142))


def test_branches_share_the_context_to_the_byte_and_differ_after_it():
    runs = [scenes(branch=b, branch_at=4) for b in range(4)]
    for name in ("test-000000", "test-000005"):
        clips = [run.read(name, range(9), "frames") for run in runs]
        assert all((clip[:4] == clips[0][:4]).all() for clip in clips)
        for i in range(4):
            for j in range(i):
                assert np.abs(clips[i][8].astype(int) - clips[j][8]).mean() > 1


def test_the_fixed_camera_moves_nothing_but_objects():
    dataset = scenes(variant="static")
    flow, ids = dataset.read("test-000002", [0, 5], "flow")[0], dataset.read("test-000002", [5], "instances")[0]
    assert (flow[ids == 0] == 0).all()
    assert (flow[ids > 0] != 0).any()


def test_same_look_gives_every_class_one_shape():
    from vpbench_scenes.world import make_world

    world = make_world("test", 4, 9, SMALL, "same-look")
    movers = [p for p in world.boards if p.instance]
    assert len({p.name for p in movers}) > 1
    assert {p.look.shape.cells for p in movers} == {(96, 96)}
    # Nor does the place tell the class: on the street only walkers and bicycles come first.
    worlds = [make_world("test", k, 9, SMALL, "same-look") for k in range(16)]
    first = {min((p for p in w.boards if p.instance), key=lambda p: p.depth[3]).name for w in worlds}
    assert first & {"car", "truck", "bus"}


def test_shuffled_dynamics_leave_the_first_look_but_change_the_motion():
    street, shuffled = (scenes(variant=v) for v in ("street", "shuffled"))
    assert (street.read("test-000000", [5], "frames") != shuffled.read("test-000000", [5], "frames")).any()


def test_the_camera_drives_ahead_and_stays_within_its_limits():
    for k in range(20):
        camera = drive(Stream("camera", k), 40, (192, 256), 0, 4)
        assert (np.diff(camera.z) >= 0).all()
        assert np.abs(np.diff(camera.cx)).max() < 4


@pytest.mark.parametrize("index", range(TURN))
def test_the_sine_table_is_a_sine(index):
    import math

    assert abs(sine(index) - math.sin(2 * math.pi * index / TURN)) < 2**-29
    assert sine(index + TURN) == sine(index)


def test_streams_are_pure_and_unrelated():
    assert [Stream("a", 1).uniform() for _ in range(2)] == [Stream("a", 1).uniform()] * 2
    draws = [Stream("a", 1), Stream("a", 2), Stream("b", 1), Stream("a", 1).child("x")]
    assert len({s.uniform() for s in draws}) == 4
    values = [Stream("u", k).integer(10) for k in range(500)]
    assert set(values) == set(range(10))
    # Pinned, for other machines and other numpy versions.
    assert Stream("a", 1).integer(2**32) == PINNED_WORD


PINNED_WORD = 634849610


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": (16, 64)}, "size.0"),
        ({"size": (64, 63)}, "size.1"),
        ({"size": (32, 1024)}, "too long and thin"),
        ({"size": (64,)}, "size"),
        ({"length": 1}, "length"),
        ({"length": 65}, "length"),
        ({"variant": "snow"}, "'same-look'"),
        ({"branch": -1}, "branch"),
        ({"branch": 1, "branch_at": 9}, "9 frames"),
        ({"test": -1}, "test"),
        ({"colour": 1}, "colour"),
    ],
)
def test_options_that_cannot_be_are_refused(options, says):
    with pytest.raises(ValidationError, match=says):
        Options(**options)


@pytest.mark.parametrize(
    ("sequence", "says"),
    [
        ("test-000064", "its split test has 64 clips; raise the option test"),
        ("test--00001", "names are like 'test-000017'"),
        ("test-17", "names are like"),
        ("demo-000000", "names are like"),
        ("test-00001²", "names are like"),
    ],
)
def test_unknown_sequences_are_refused(sequence, says):
    with pytest.raises(DataError, match=says):
        scenes().read(sequence, [0], "frames")


def test_a_test_clip_is_not_to_be_had_for_training():
    """The name says the split; a dataset opened without test clips gives none of them."""
    training = scenes(train=3, val=3, test=0)
    first = training.read("train-000001", [0], "frames")
    assert not np.array_equal(first, scenes().read("test-000001", [0], "frames"))
    with pytest.raises(DataError, match="its split test has 0 clips"):
        training.read("test-000001", [0], "frames")


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([0, 9], r"frames 0 to 8, not 9; raise the option length$"),
        ([-1, 0], r"frames 0 to 8, not -1$"),
        ([3, 3], "ascending"),
        ([4, 2], "ascending"),
    ],
)
def test_frames_that_do_not_exist_or_descend_are_refused(frames, words):
    with pytest.raises(DataError, match=words):
        scenes().read("test-000000", frames, "flow")


def test_unknown_splits_and_modalities_get_a_hint():
    with pytest.raises(UsageError, match="did you mean 'train'"):
        scenes().sequences("trian")
    with pytest.raises(UsageError, match="did you mean 'flow'"):
        scenes().read("test-000000", [0, 1], "flwo")
    with pytest.raises(UsageError, match="at least one frame"):
        scenes().disocclusion_kinds("test-000000", [], 3)


PROTOCOLS = {
    "scenes": ((192, 256), 4, 5, 48, "street"),
    "scenes-1k": ((192, 256), 4, 5, 1000, "street"),
    "scenes-small": ((64, 96), 4, 8, 512, "street"),
    "scenes-static": ((64, 96), 4, 4, 512, "static"),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_say_what_the_design_says(name):
    size, context, horizon, clips, variant = PROTOCOLS[name]
    protocol = Protocol.read(files("vpbench_scenes") / "protocols" / f"{name}.toml")
    assert protocol.name == name
    assert (protocol.size, protocol.sampling.context, protocol.sampling.horizon) == (size, context, horizon)
    options = Options.model_validate(protocol.dataset.options)
    assert (options.size, options.length, options.variant) == (size, context + horizon, variant)
    assert (protocol.clips, options.test, options.train, options.val) == (clips, clips, 4096, 64)
    assert protocol.reference == "repeat"
