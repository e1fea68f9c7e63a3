"""Annotations: one frame or pair at a time, once each, the same whether prepared or made while a run goes."""

from __future__ import annotations

import hashlib
import json
import signal
from dataclasses import replace

import folders
import numpy as np
import pytest
import torch
from toys import Options, Toy, ToyFrames

from vpbench.clips.annotations import annotate, find_annotations, prepare_annotations
from vpbench.clips.prepare import find_prepared, prepare
from vpbench.clips.source import ClipSource
from vpbench.errors import DataError, VpbenchWarning
from vpbench.plugin.annotator import AnnotatorInfo
from vpbench.plugin.clip import LabelSpace
from vpbench.protocol.units import build_manifest
from vpbench.select.component import Component, choose_annotators

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

    def annotate(self, window, clips, device):
        assert 1 <= len(clips) <= 4
        assert set(window) == set(self.info.needs)
        self.clips += clips
        return np.stack([self.entry(clip, {m: a[i] for m, a in window.items()}) for i, clip in enumerate(clips)])

    def entry(self, clip, window):
        return draws(clip, window).normal(size=(*window["frames"].shape[1:3], 2)).astype(np.float32)


class Labels(Flow):
    space = LabelSpace("nine", tuple("abcdefghi"), ((0, 0, 0),) * 9)
    info = AnnotatorInfo(gives="semantics", label_space=space)

    def entry(self, clip, window):
        assert window["frames"].shape[0] == 1
        return draws(clip, window).integers(0, 9, window["frames"].shape[1:3], np.uint8)


class Fast(Flow):
    """Some pairs have longer flow than int16 holds."""

    def entry(self, clip, window):
        return super().entry(clip, window) * (1000 if clip.endswith("-7") else 1)


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
@pytest.mark.parametrize("annotator", [Flow, Fast, Labels])
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

        def annotate(self, window, clips, device):
            assert set(window) == {"frames"}
            return np.zeros((len(clips), 8, 10, 2), np.float32)

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
        def annotate(self, window, clips, device):
            if len(self.clips) == 30:
                signal.raise_signal(signal.SIGINT)
            return super().annotate(window, clips, device)

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
        def annotate(self, window, clips, device):
            return super().annotate(window, clips, device).astype(np.float64)

    protocol = make_protocol()
    with pytest.raises(DataError, match=r"'test/seq000'.*it gave float64"):
        prepared(protocol, build_manifest(protocol, DATASET), Wrong())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_flow_that_is_not_finite_is_refused_and_names_its_pair(cache, value):
    class Holes(Flow):
        def entry(self, clip, window):
            flow = super().entry(clip, window)
            flow[0, 0, 1] = value if clip == "test/seq000@1-2" else 0
            return flow

    protocol = make_protocol()
    manifest = build_manifest(protocol, DATASET)
    message = r"'test/seq000'.*the flow of 'test/seq000@1-2' has NaN or infinite values"
    with pytest.raises(DataError, match=message):
        prepared(protocol, manifest, Holes())
    with pytest.raises(DataError, match=r"clip 'test/seq000@0': the flow of 'test/seq000@1-2'"):
        source(protocol, {"flow": Holes()}).read(manifest.clips[0])


def test_flow_is_rounded_to_a_64th_of_a_pixel_prepared_or_not(cache):
    protocol = make_protocol()
    manifest = build_manifest(protocol, DATASET)
    store = prepared(protocol, manifest, Flow())
    (ref, *_) = manifest.clips
    pairs = [ref.frames[:2], ref.frames[1:3]]
    windows = [{m: DATASET.read(ref.sequence, pair, m) for m in ("frames", "semantics")} for pair in pairs]
    flow = annotate(annotator := Flow(), windows, ref.sequence, pairs, "here")
    exact = np.stack([annotator.entry(f"{ref.sequence}@{a}-{b}", w) for (a, b), w in zip(pairs, windows, strict=True)])
    assert 0 < np.abs(flow - exact).max() <= 1 / 128
    for array in (flow, store.read(ref.sequence, ref.frames[:3], "flow")):
        assert np.array_equal(array * 64, np.rint(array * 64))
        assert not np.signbit(array[array == 0]).any(), "minus zero has no int16"


def test_the_identity_says_that_flow_is_rounded():
    chosen_annotators = choose_annotators(folders.plugins(), {"flow": "dis"}, {})
    assert '"rounding":"1/64 px"' in chosen_annotators["flow"].describe()


def test_prepared_flow_takes_less_than_half_of_float32_and_few_blocks_stay_in_memory(cache):
    protocol = make_protocol({"kind": "sliding", "context": 18, "horizon": 1, "stride": 1})
    manifest = build_manifest(protocol, DATASET)
    store = prepared(protocol, manifest, Flow())
    (ref, *_) = manifest.clips
    flow = store.read(ref.sequence, ref.frames[:18], "flow")
    stored = sum(path.stat().st_size for path in store.folder.glob("*.z"))
    assert stored < 0.5 * 3 * 18 / 17 * flow.nbytes
    assert not list(store.folder.glob("*.npy"))
    assert len(store._latest["flow"][2]) <= 2


def test_a_batch_that_a_gpu_does_not_hold_is_annotated_one_by_one():
    class Small(Flow):
        def annotate(self, window, clips, device):
            if len(clips) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().annotate(window, clips, device)

    protocol = make_protocol()
    (ref, *_) = build_manifest(protocol, DATASET).clips
    small, large = (source(protocol, {"flow": annotator()}).read(ref) for annotator in (Small, Flow))
    assert np.array_equal(small.context["flow"], large.context["flow"])


@pytest.mark.parametrize("outdated", [lambda index: index.pop("format"), lambda index: index.update(format=4)])
def test_a_store_of_another_version_is_one_line_and_not_used(cache, outdated):
    protocol = make_protocol()
    manifest = build_manifest(protocol, DATASET)
    store = prepare(protocol, DATASET, manifest, DATASET.info.modalities, progress)
    assert find_prepared(protocol, DATASET, manifest, ["frames"]) is not None
    earlier = store.folder.rename(store.folder.with_name(store.folder.name[:-16] + "0123456789abcdef"))
    index = json.loads((earlier / "index.json").read_text())
    outdated(index)
    (earlier / "index.json").write_text(json.dumps(index))
    with pytest.warns(
        VpbenchWarning, match=f"{earlier.name} was prepared by another version of vpbench, and is not use"
    ):
        assert find_prepared(protocol, DATASET, manifest, ["frames"]) is None
    with pytest.warns(VpbenchWarning, match="remove it and what begins"):
        prepare(protocol, DATASET, manifest, DATASET.info.modalities, progress)
