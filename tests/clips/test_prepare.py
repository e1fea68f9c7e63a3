"""Prepared stores: the same bytes as reading, resumed after a stop, never used for other data or by other code."""

from __future__ import annotations

import pickle
import shutil
import signal
from dataclasses import replace

import folders
import numpy as np
import pytest
from toys import Options, Toy

from vpbench.clips.prepare import find_prepared, prepare, store_folder, store_key
from vpbench.clips.subset import Subset
from vpbench.errors import DataError
from vpbench.plugin.modality import BUILT_IN
from vpbench.protocol.transforms import transform
from vpbench.protocol.units import build_manifest

TOY = [m for m in BUILT_IN if m in Toy.info.modalities]
SLIDING = {"kind": "sliding", "context": 2, "horizon": 2, "stride": 2, "frame_step": 2}


def make_protocol(**changes):
    pixels = [{"op": "resize", "size": [20, 16]}, {"op": "centre-crop", "size": [10, 12]}]
    return folders.make_protocol(2, **({"sampling": SLIDING, "pixels": pixels} | changes))


class Counting(Toy):
    reads = 0
    fail_at = -1

    def read(self, sequence, frames, modality):
        Counting.reads += 1
        if Counting.reads == Counting.fail_at:
            signal.raise_signal(signal.SIGINT)
        return super().read(sequence, frames, modality)


def counting(**options):
    return Counting(None, Options(**{"sequences": 5, "length": 10} | options))


def make(protocol, dataset, modalities=TOY, progress=lambda count, total: None):
    manifest = build_manifest(protocol, dataset)
    return prepare(protocol, dataset, manifest, modalities, progress), manifest


@pytest.fixture(autouse=True)
def _fresh(cache):
    Counting.reads, Counting.fail_at = 0, -1


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampling",
    [
        SLIDING,
        {"kind": "sliding", "context": 3, "horizon": 2, "stride": 1, "frame_step": 3},
        {"kind": "sliding", "context": 3, "horizon": 1, "stride": 1, "pad": "replicate"},
        {"kind": "anchored", "context": 2, "target": 8, "steps": [1, 4]},
        {"kind": "random", "context": 2, "horizon": 3, "count": 3, "seed": 1},
    ],
)
def test_every_array_is_what_reading_and_transforming_give(sampling):
    protocol, dataset = make_protocol(sampling=sampling), counting(length=60)
    prepared, manifest = make(protocol, dataset)
    prepared = pickle.loads(pickle.dumps(prepared))  # as a process that reads ahead gets it
    for ref in manifest.clips:
        for frames in (ref.frames, ref.frames[: ref.context], ref.frames[-2:], ref.frames[-1:]):
            for modality in TOY:
                expected = transform(dataset.read(ref.sequence, frames, modality), protocol.pixels, BUILT_IN[modality])
                array = prepared.read(ref.sequence, frames, modality)
                assert array.dtype == expected.dtype
                assert np.array_equal(array, expected), (ref.id, modality)
                array[...] = 0  # a copy: writing to it changes nothing


def test_each_frame_and_pair_is_stored_once():
    protocol, dataset = make_protocol(sampling=SLIDING | {"stride": 1}, pixels=[]), counting(length=60)
    prepared, manifest = make(protocol, dataset, ["frames", "flow"])
    assert len(manifest.clips) > 5 * 50
    frame = 16 * 24 * 3
    for name, size in (("frames", 5 * 60 * frame), ("flow", 5 * 58 * 16 * 24 * 2 * 4)):
        blocks = list(prepared.folder.glob(f"*.{name}.*.npy"))
        assert len(blocks) == 5 * 2
        assert sum(np.load(path).nbytes for path in blocks) == size


def test_what_a_process_that_reads_ahead_is_sent_is_small():
    prepared, manifest = make(make_protocol(pixels=[]), counting())
    before = len(pickle.dumps(prepared))
    prepared.read(manifest.clips[0].sequence, manifest.clips[0].frames, "frames")
    assert len(pickle.dumps(prepared)) == before


def test_what_exists_for_target_frames_only_is_stored_of_those():
    class Anchored(Toy):
        info = replace(Toy.info, truth_only=("semantics",))

        def read(self, sequence, frames, modality):
            assert modality != "semantics" or set(frames) == {8}
            return super().read(sequence, frames, modality)

    sampling = {"kind": "anchored", "context": 2, "target": 8, "steps": [1, 4]}
    prepared, _ = make(make_protocol(sampling=sampling), Anchored(None, Options(sequences=5, length=10)))
    assert len(prepared.read("test/seq001", [8], "semantics")) == 1
    with pytest.raises(DataError, match=r"prepared without semantics of 'test/seq001', frame 3"):
        prepared.read("test/seq001", [3], "semantics")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_it_goes_on_where_it_stopped(share):
    protocol, dataset = make_protocol(), counting()
    prepared, manifest = make(protocol, dataset)
    undisturbed = Counting.reads
    shutil.rmtree(prepared.folder)
    Counting.reads, Counting.fail_at = 0, int(undisturbed * share)
    with pytest.raises(KeyboardInterrupt):
        make(protocol, dataset)
    assert find_prepared(protocol, dataset, manifest, TOY) is None
    Counting.fail_at = -1
    make(protocol, dataset)
    assert undisturbed < Counting.reads <= undisturbed + 10, "one block at most is read again"
    assert find_prepared(protocol, dataset, manifest, TOY) is not None
    reads = Counting.reads
    make(protocol, dataset)
    assert Counting.reads == reads, "a second time reads nothing"


def test_a_stop_within_a_long_sequence_loses_one_block_of_it():
    protocol = make_protocol(sampling={"kind": "sliding", "context": 2, "horizon": 2, "stride": 1})
    dataset = counting(sequences=1, length=64)
    Counting.fail_at = 2
    with pytest.raises(KeyboardInterrupt):
        make(protocol, dataset, ["frames"])
    make(protocol, dataset, ["frames"])
    assert Counting.reads == 1 + 1 + 1


def test_progress_goes_from_nothing_to_all():
    counts = []
    make(make_protocol(), counting(), ["frames", "flow"], lambda count, total: counts.append((count, total)))
    assert {total for _, total in counts} == {5 * (5 + 4)}
    assert [count for count, _ in counts] == [0, 5, 9, 14, 18, 23, 27, 32, 36, 41, 45]


def test_a_store_is_not_used_for_another_protocol_other_data_or_more_modalities():
    protocol, dataset = make_protocol(), counting()
    _, manifest = make(protocol, dataset, ["frames"])
    assert find_prepared(protocol, dataset, manifest, ["frames"]) is not None
    assert find_prepared(protocol, dataset, manifest, ["frames", "flow"]) is None
    assert find_prepared(make_protocol(version=2), dataset, manifest, ["frames"]) is None
    make(protocol, dataset)
    assert find_prepared(protocol, dataset, manifest, TOY) is not None, "replaced by a store of more modalities"

    class Changed(Counting):
        def sequences(self, split):
            return [replace(s, stamp="later") for s in super().sequences(split)]

    changed = Changed(None, dataset.options)
    assert find_prepared(protocol, changed, build_manifest(protocol, changed), ["frames"]) is None


def test_a_reader_whose_code_changed_reads_anew(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "somebodys_reader"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "reader.py").write_text("class Reader: ...\n")
    (package / "helper.py").write_text("")
    from somebodys_reader.reader import Reader

    before = store_key(Reader(), "x")
    assert store_key(Reader(), "x") == before != store_key(Reader(), "y")
    (package / "helper.py").write_text("FIXED = True\n")
    assert store_key(Reader(), "x") != before
    assert store_key(Toy(None, Options()), "x") != before, "a reader in a file that is no package"
    assert store_key(Subset(Reader(), frozenset()), "x") == store_key(Reader(), "x"), "its code is its dataset's"


def test_a_few_clips_use_the_store_of_all():
    protocol, dataset = make_protocol(), counting()
    manifest, few = build_manifest(protocol, dataset), build_manifest(protocol, dataset, limit=2)
    assert store_folder(protocol, dataset, few) == store_folder(protocol, dataset, manifest)


def test_frames_that_no_clip_needs_are_not_there():
    prepared, _ = make(make_protocol(sampling={"kind": "first", "context": 2, "horizon": 1, "start": 4}), counting())
    with pytest.raises(DataError, match=r"prepared without flow of 'test/seq000', frame 1\Z"):
        prepared.read("test/seq000", [0, 1], "flow")


def test_an_exception_of_the_reader_is_one_line_with_the_place():
    class Fails(Toy):
        def read(self, sequence, frames, modality):
            return {}["model"]

    with pytest.raises(DataError, match="sequence 'test/seq000', frames from 0 to 8: KeyError: 'model'"):
        make(make_protocol(), Fails(None, Options(sequences=5, length=10)))


def test_a_sequence_that_changes_its_size_in_any_block_is_an_error():
    class Grows(Toy):
        def read(self, sequence, frames, modality):
            array = super().read(sequence, frames, modality)
            return array if frames[0] < 32 else array[:, :8]

    protocol = make_protocol(pixels=[], sampling={"kind": "sliding", "context": 2, "horizon": 2, "stride": 1})
    with pytest.raises(DataError, match="'test/seq000': the frame size changes within the sequence"):
        make(protocol, Grows(None, Options(sequences=2, length=40)), ["frames"])
