"""Annotations: one frame or pair at a time, once each, the same whether prepared or made while a run goes."""

from __future__ import annotations

import hashlib
import signal
from dataclasses import replace

import folders
import numpy as np
import pytest
from toys import Options, Toy, ToyFrames

from vpbench.clips.annotations import find_annotations, prepare_annotations
from vpbench.clips.prepare import prepare
from vpbench.clips.source import ClipSource
from vpbench.errors import DataError
from vpbench.plugin.annotator import AnnotatorInfo
from vpbench.plugin.clip import LabelSpace
from vpbench.protocol.units import build_manifest
from vpbench.select.component import Component

OVERLAPPING = [
    {"kind": "sliding", "context": 3, "horizon": 1, "stride": 1},
    {"kind": "sliding", "context": 4, "horizon": 2, "stride": 1, "frame_step": 2},
    {"kind": "sliding", "context": 3, "horizon": 1, "stride": 1, "pad": "replicate"},
    {"kind": "anchored", "context": 4, "target": 14, "steps": [1, 3, 5]},
    {"kind": "first", "context": 2, "horizon": 3},
]


def draws(clip, window):
    """Numbers that follow from what an annotator is given, all of it."""
    digest = hashlib.sha256(clip.encode())
    for modality, array in sorted(window.items()):
        digest.update(f"{modality} {array.shape}".encode() + array.tobytes())
    return np.random.default_rng(int.from_bytes(digest.digest()[:8], "big"))


class Flow:
    info = AnnotatorInfo(gives="flow", needs=("frames", "semantics"))

    def __init__(self):
        self.clips = []

    def annotate(self, window, clip):
        self.clips.append(clip)
        n, h, w, _ = window["frames"].shape
        assert set(window) == {"frames", "semantics"}
        return draws(clip, window).normal(size=(n - 1, h, w, 2)).astype(np.float32)


class Labels(Flow):
    space = LabelSpace("nine", tuple("abcdefghi"), ((0, 0, 0),) * 9)
    info = AnnotatorInfo(gives="semantics", label_space=space)

    def annotate(self, window, clip):
        self.clips.append(clip)
        assert window["frames"].shape[0] == 1
        return draws(clip, window).integers(0, 9, window["frames"].shape[:3], np.uint8)


DATASET = Toy(None, Options(sequences=3, length=20))


def make_protocol(sampling=OVERLAPPING[0], **changes):
    return folders.make_protocol(1, **({"sampling": sampling, "pixels": [{"op": "resize", "size": [8, 10]}]} | changes))


def chosen(annotator, **changes):
    return replace(Component("somebody", "", annotator, {}, info=annotator.info), **changes)


def progress(count, total):
    pass


def prepared(protocol, manifest, annotator, dataset=DATASET):
    store = prepare(protocol, dataset, manifest, dataset.info.modalities, progress)
    return prepare_annotations(protocol, store, manifest, chosen(annotator), progress)


def source(protocol, annotators, dataset=DATASET, **options):
    context = frozenset({"frames", *annotators})
    return ClipSource(dataset, "toy", protocol.pixels, context, frozenset({"frames"}), annotators, **options)


class OnlyFrames(Toy):
    def read(self, sequence, frames, modality):
        assert modality == "frames", "what the annotator needed is not read again"
        return super().read(sequence, frames, modality)


@pytest.mark.parametrize("sampling", OVERLAPPING, ids=lambda sampling: sampling["kind"])
@pytest.mark.parametrize("annotator", [Flow, Labels])
def test_prepared_annotations_are_those_of_a_run(cache, annotator, sampling):
    protocol = make_protocol(sampling)
    manifest = build_manifest(protocol, DATASET)
    making, running, never = annotator(), annotator(), annotator()
    kind = making.info.gives
    store = prepared(protocol, manifest, making)
    annotations = find_annotations(protocol, DATASET, manifest, chosen(annotator()))
    assert annotations.folder == store.folder
    plain = source(protocol, {kind: running})
    ready = source(protocol, {kind: never}, OnlyFrames(None, DATASET.options), annotated={kind: annotations})
    for ref in manifest.clips:
        fresh, stored = plain.read(ref), ready.read(ref)
        assert fresh.context.keys() == stored.context.keys() == {"frames", kind}
        for modality, array in fresh.context.items():
            assert array.dtype == stored.context[modality].dtype
            assert np.array_equal(array, stored.context[modality]), (ref.id, modality)
    assert never.clips == []
    assert sorted(making.clips) == sorted(set(running.clips)), "what contexts show, once each"


def test_clips_that_overlap_share_annotations_in_a_run():
    protocol = make_protocol()
    running = Flow()
    reader = source(protocol, {"flow": running})
    for ref in build_manifest(protocol, DATASET).clips:
        reader.read(ref)
    assert len(running.clips) == len(set(running.clips)) == 3 * 18
    assert running.clips[:3] == ["test/seq000@0-1", "test/seq000@1-2", "test/seq000@2-3"]


def test_annotators_are_shown_the_dataset_and_not_each_other():
    protocol = make_protocol()
    (ref, *_) = build_manifest(protocol, DATASET).clips
    single = source(protocol, {"flow": Flow()}).read(ref)
    pair = source(protocol, {"semantics": Labels(), "flow": Flow()}).read(ref)
    assert np.array_equal(single.context["flow"], pair.context["flow"])


def test_annotators_are_shown_what_they_need_and_no_more():
    class OfFrames(Flow):
        info = AnnotatorInfo(gives="flow")

        def annotate(self, window, clip):
            assert set(window) == {"frames"}
            return np.zeros((1, 8, 10, 2), np.float32)

    protocol = make_protocol()
    (ref, *_) = build_manifest(protocol, DATASET).clips
    reader = replace(source(protocol, {"flow": OfFrames()}), context=frozenset({"frames", "semantics", "flow"}))
    assert set(reader.read(ref).context) == {"frames", "semantics", "flow"}


def test_a_context_of_one_frame_has_no_flow(cache):
    protocol = make_protocol({"kind": "first", "context": 1, "horizon": 2})
    manifest = build_manifest(protocol, DATASET)
    clip = source(protocol, {"flow": Flow()}).read(manifest.clips[0])
    assert clip.context["flow"].shape == (0, 8, 10, 2)
    with pytest.raises(DataError, match="protocol toy: a context of one frame has no flow to prepare"):
        prepared(protocol, manifest, Flow())
    prepared(protocol, manifest, Labels())
    assert (
        len(find_annotations(protocol, DATASET, manifest, chosen(Labels())).read("test/seq001", [0], "semantics")) == 1
    )


def test_what_another_annotator_made_or_was_given_is_not_used(cache):
    protocol = make_protocol()
    manifest = build_manifest(protocol, DATASET)
    prepared(protocol, manifest, Flow())

    def finds(used_protocol=protocol, dataset=DATASET, annotator=None, **changes):
        plan = build_manifest(used_protocol, dataset)
        return find_annotations(used_protocol, dataset, plan, chosen(annotator or Flow(), **changes)) is not None

    assert finds()
    assert not finds(name="somebody-else")
    assert not finds(options={"width": 2})
    assert not finds(fingerprint="of other weights")
    assert not finds(annotator=Labels())
    assert not finds(make_protocol(pixels=[]))
    assert not finds(dataset=Toy(None, Options(sequences=4, length=20)))


def test_it_goes_on_where_it_stopped_and_a_second_time_makes_nothing(cache):
    protocol = make_protocol()
    manifest = build_manifest(protocol, DATASET)

    class Stops(Flow):
        def annotate(self, window, clip):
            if len(self.clips) == 30:
                signal.raise_signal(signal.SIGINT)
            return super().annotate(window, clip)

    first, second, third = Stops(), Flow(), Flow()
    with pytest.raises(KeyboardInterrupt):
        prepared(protocol, manifest, first)
    assert find_annotations(protocol, DATASET, manifest, chosen(Flow())) is None
    prepared(protocol, manifest, second)
    assert 54 <= len(first.clips) + len(second.clips) <= 54 + 4, "a part of four at most is made again"
    prepared(protocol, manifest, third)
    assert third.clips == []


def test_what_a_dataset_lacks_is_said(cache):
    dataset = ToyFrames(None, Options(sequences=3, length=20))
    protocol = make_protocol()
    manifest = build_manifest(protocol, dataset)
    message = "the annotator of flow needs semantics, which dataset 'toy', .* lacks"
    with pytest.raises(DataError, match=message):
        prepared(protocol, manifest, Flow(), dataset)
    with pytest.raises(DataError, match=message):
        source(protocol, {"flow": Flow()}, dataset).read(manifest.clips[0])


def test_an_annotator_that_breaks_its_contract_is_named_with_the_place(cache):
    class Wrong(Flow):
        def annotate(self, window, clip):
            return super().annotate(window, clip).astype(np.float64)

    protocol = make_protocol()
    with pytest.raises(DataError, match=r"'test/seq000'.*it gave float64"):
        prepared(protocol, build_manifest(protocol, DATASET), Wrong())
