"""From references to tensors: what the reader gave, at the scored steps, and nothing a predictor may not see."""

from __future__ import annotations

import os
from dataclasses import replace

import folders
import numpy as np
import pytest
import torch
import toys

from vpbench.clips.batch import Batch, stack
from vpbench.clips.source import ClipSource, batches
from vpbench.errors import DataError, VpbenchError
from vpbench.plugin.annotator import AnnotatorInfo
from vpbench.plugin.clip import LabelSpace
from vpbench.protocol.sampling import ClipRef

MODALITIES = frozenset({"frames", "semantics", "flow", "disocclusion", "instances"})
CONTEXT = frozenset({"frames", "semantics", "flow"})
REF = ClipRef("test/seq000", (1, 3, 5, 7, 9), 3, (1, 2))


def make_source(dataset=None, context=CONTEXT, future=MODALITIES, annotators=None, pixels=()):
    pixels = folders.make_protocol(2, pixels=pixels).pixels
    return ClipSource(dataset or toys.Toy(None, toys.Options()), "toy", pixels, context, future, annotators or {})


def load(source, *refs):
    return stack([source.read(ref) for ref in refs], "cpu", source)


def test_tensors_are_what_the_dataset_reads():
    source = make_source()
    dataset = source.dataset
    (batch,) = load(source, REF)
    context, future = batch.context, batch.future

    def read(frames, modality):
        return torch.from_numpy(dataset.read(REF.sequence, frames, modality))

    assert torch.equal(context.frames[0], read([1, 3, 5], "frames").permute(0, 3, 1, 2).float() / 255)
    assert torch.equal(future.frames[0], read([7, 9], "frames").permute(0, 3, 1, 2).float() / 255)
    assert torch.equal(future.last, context.frames[:, -1])
    assert torch.equal(context.semantics[0], read([1, 3, 5], "semantics").long())
    assert torch.equal(future.semantics[0], read([7, 9], "semantics").long())
    assert torch.equal(future.instances[0], read([7, 9], "instances").long())
    assert torch.equal(context.flow[0], read([1, 3, 5], "flow").permute(0, 3, 1, 2))
    assert torch.equal(future.flow[0], read([5, 7, 9], "flow").permute(0, 3, 1, 2))
    assert torch.equal(future.disocclusion[0], read([5, 7, 9], "disocclusion"))
    assert (context.clips, future.clips, future.steps, batch.horizon) == (
        ("test/seq000@1",),
        ("test/seq000@1",),
        (1, 2),
        2,
    )
    assert context.label_space == future.label_space == toys.SPACE


@pytest.mark.parametrize("frames", [(1, 2, 3, 4, 5), (1, 3, 5, 7, 9)])
def test_an_anchored_clip_holds_the_truth_of_its_step_alone(frames):
    """Flow and dis-occlusion lead to the sampled frame before the target, which is not scored."""
    source = make_source()
    (batch,) = load(source, ClipRef(REF.sequence, frames, 2, (3,)))
    dataset, step = source.dataset, frames[1] - frames[0]
    assert (batch.horizon, batch.future.steps, batch.context.frames.shape[1]) == (3, (3,), 2)
    (target,) = batch.future.frames[0]
    assert torch.equal(
        target, torch.from_numpy(dataset.read(REF.sequence, frames[-1:], "frames")[0]).permute(2, 0, 1) / 255
    )
    assert batch.future.flow[0, 0, 0].unique().item() == -step
    hidden = dataset.read(REF.sequence, frames[-2:], "disocclusion")
    assert np.array_equal(batch.future.disocclusion[0], hidden)


class Watched(toys.Toy):
    """Remembers what is read of it."""

    def read(self, sequence, frames, modality):
        vars(self).setdefault("reads", []).append((modality, list(frames)))
        return super().read(sequence, frames, modality)


def test_only_what_someone_looks_at_is_read():
    dataset, frames = Watched(None, toys.Options()), frozenset({"frames"})
    (batch,) = load(make_source(dataset, context=frames, future=frames), REF)
    assert [modality for modality, _ in dataset.reads] == ["frames"]
    assert batch.context.flow is batch.context.semantics is batch.future.flow is batch.future.semantics is None


def test_every_modality_is_transformed():
    crop = {"op": "centre-crop", "size": [8, 12]}
    (batch,) = load(make_source(pixels=[crop, {"op": "resize", "size": [16, 12]}]), REF)
    assert all(getattr(batch.future, m).shape[-2:] == (16, 12) for m in MODALITIES)
    assert batch.future.flow[0, :, 0].unique().item() == -2, "the width stayed, and so did x"
    assert batch.context.flow.shape[-2:] == (16, 12)


class Shout(toys.Still):
    """Gives flow 9 everywhere, and remembers what it saw."""

    info = AnnotatorInfo(gives="flow", needs=("frames", "semantics"))

    def annotate(self, window, clips, device):
        self.call = {m: a.shape for m, a in window.items()}, clips, device
        return super().annotate(window, clips, device) + 9


def test_an_annotator_replaces_what_the_dataset_has_in_the_context_only():
    shout = Shout()
    resize = {"op": "resize", "size": [8, 12]}
    source = make_source(context=frozenset({"flow"}), annotators={"flow": shout}, pixels=[resize])
    (batch,) = load(source, REF)
    assert batch.context.flow.unique().tolist() == [9]
    assert batch.future.flow[0, :, 0].unique().item() == -1, "the truth is the dataset's, half as wide"
    shapes, names = {"frames": (2, 2, 8, 12, 3), "semantics": (2, 2, 8, 12)}, ["test/seq000@1-3", "test/seq000@3-5"]
    assert shout.call == (shapes, names, "cpu"), "both pairs at once"
    assert batch.context.semantics is None, "read for the annotator, not for predictors"


def test_an_annotators_label_space_is_the_contexts():
    space = LabelSpace("two", ("a", "b"), ((0, 0, 0), (1, 1, 1)))

    class Labels:
        info = AnnotatorInfo(gives="semantics", label_space=space)

        def annotate(self, window, clips, device):
            return np.ones((len(clips), *window["frames"].shape[2:4]), np.uint8)

    (batch,) = load(make_source(annotators={"semantics": Labels()}), REF)
    assert (batch.context.label_space, batch.future.label_space) == (space, toys.SPACE)
    assert batch.context.semantics.unique().tolist() == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n, h, w: np.zeros((n, h, w, 2)), r"float32 \[N,H,W,2\] with N = 2; it gave float64"),
        (lambda n, h, w: np.zeros((n + 1, h, w, 2), np.float32), r"N = 2; it gave float32 \[3, 16, 24, 2\]"),
        (lambda n, h, w: np.zeros((n, h, w + 1, 2), np.float32), r"not of the frames' size"),
        (lambda n, h, w: {}["model"], r"clip 'test/seq000@1': KeyError: 'model'"),
    ],
)
def test_an_annotator_that_breaks_its_contract_is_named_with_the_clip(change, message):
    class Wrong(toys.Still):
        def annotate(self, window, clips, device):
            return change(len(clips), *window["frames"].shape[2:4])

    with pytest.raises(DataError, match=message) as caught:
        make_source(annotators={"flow": Wrong()}).read(REF)
    assert "test/seq000@1" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.astype(np.float32), r"must give uint8 \[N,H,W,3\] with N = 5; it gave float32 \[5, 16, 24, 3\]"),
        (lambda a: a[:-1], r"N = 5; it gave uint8 \[4, 16, 24, 3\]"),
        (lambda a: a[..., 0], r"it gave uint8 \[5, 16, 24\]"),
        (lambda a: a[99], r"IndexError"),
    ],
)
def test_a_reader_that_breaks_its_contract_is_named_with_the_clip(change, message):
    class Wrong(toys.Toy):
        def read(self, *args):
            return change(super().read(*args))

    with pytest.raises(DataError, match=rf"dataset 'toy', clip 'test/seq000@1': .*{message}"):
        make_source(Wrong(None, toys.Options())).read(REF)


def refs(count):
    return [ClipRef(f"test/seq{i:03d}", (0, 1, 2, 3, 4), 3, (1, 2)) for i in range(count)]


@pytest.mark.parametrize("workers", [0, 2])
def test_groups_come_in_order_whoever_reads_them(workers):
    source = make_source()
    groups = [refs(9)[i : i + 2] for i in range(0, 9, 2)]
    read = list(batches(source, groups, workers))
    assert [[clip.ref for clip in group] for group in read] == groups
    for group in read:
        for clip in group:
            expected = source.read(clip.ref)
            for arrays, truth in [(clip.context, expected.context), (clip.future, expected.future)]:
                assert set(arrays) == set(truth)
                assert all(np.array_equal(arrays[m], truth[m]) and arrays[m].dtype == truth[m].dtype for m in arrays)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_is_an_item_and_reading_goes_on(workers):
    source = make_source(toys.Toy(None, toys.Options(broken=1)))
    first, second, third = batches(source, [refs(1), refs(2), refs(1)], workers)
    assert isinstance(second, VpbenchError)
    assert str(second) == "test/seq001: does not decode"
    assert first[0].ref == third[0].ref == refs(1)[0]


def test_there_may_be_nothing_to_read():
    assert list(batches(make_source(), [], 0)) == []


def test_clips_of_another_size_or_horizon_are_batches_of_their_own():
    class Sizes(toys.Toy):
        def read(self, sequence, frames, modality):
            array = super().read(sequence, frames, modality)
            return array[:, :8] if sequence.endswith("1") else array

    source = make_source(Sizes(None, toys.Options()))
    a, small, c = refs(3)
    long = ClipRef("test/seq004", (0, 1, 2, 3, 4, 5), 3, (1, 2, 3))
    loaded: list[Batch] = load(source, a, small, long, c)
    assert sorted(tuple(ref.sequence for ref in batch.refs) for batch in loaded) == [
        ("test/seq000", "test/seq002"),
        ("test/seq001",),
        ("test/seq004",),
    ]
    assert all(len(batch.refs) == len(batch.context.frames) == len(batch.future.clips) for batch in loaded)


@pytest.mark.parametrize(("steps", "pairs"), [((1, 2), [[5, 7, 9]]), ((2,), [[7, 9]])])
def test_flow_is_read_from_the_frame_before_each_scored_one(steps, pairs):
    dataset = Watched(None, toys.Options())
    source = make_source(dataset, frozenset({"frames"}), frozenset({"flow"}))
    source.read(ClipRef("test/seq000", (1, 3, 5, 7, 9), 3, steps))
    assert [frames for modality, frames in dataset.reads if modality == "flow"] == pairs


class Process(toys.Still):
    def annotate(self, window, clips, device):
        return super().annotate(window, clips, device) + os.getpid() % 1000 + 1000 * (device != "cpu")


class Broken(toys.Still):
    def annotate(self, window, clips, device):
        raise ValueError("no such layer")


@pytest.mark.parametrize(
    ("device", "workers", "same_process"), [("cuda:0", 2, True), ("cuda:0", 0, True), ("cpu", 2, False)]
)
def test_on_a_gpu_this_process_annotates_and_others_read(device, workers, same_process):
    """Processes that read ahead leave the GPU to this one. The toy notes where it ran, and on which device."""
    source = replace(make_source(context=frozenset({"flow"}), annotators={"flow": Process()}), device=device)
    ((clip,),) = batches(source, [[REF]], workers)
    code = int(clip.context["flow"][0, 0, 0, 0])
    assert (code % 1000 == os.getpid() % 1000, code // 1000 == 1) == (same_process, device != "cpu")
    assert set(clip.context) == {"frames", "flow"}
    assert "context flow" in clip.digests


def test_an_error_of_an_annotator_on_a_gpu_is_that_of_its_group():
    source = replace(make_source(annotators={"flow": Broken()}), device="cuda:0")
    errors = list(batches(source, [[REF], [REF]], 1))
    assert [str(error) for error in errors] == [
        "annotator of flow, dataset 'toy', clip 'test/seq000@1': ValueError: no such layer"
    ] * 2
