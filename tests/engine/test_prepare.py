"""Prepared stores: the same bytes as reading, made atomically, gone on with after a stop, never used for other data."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from toys import Options, Toy

from vpbench.engine.prepare import PreparedDataset, find_prepared, prepare, store_folder
from vpbench.errors import DataError
from vpbench.plugin.clip import MODALITIES
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.transforms import transform
from vpbench.protocol.units import build_manifest

TOY = [m for m in MODALITIES if m in Toy.info.modalities]


def protocol(**changes):
    value = {
        "schema": 1,
        "name": "p",
        "version": 1,
        "dataset": {"name": "toy"},
        "sampling": {"kind": "sliding", "context": 2, "horizon": 2, "stride": 2, "frame_step": 2},
        "pixels": [{"op": "resize", "size": [20, 16]}, {"op": "centre-crop", "size": [10, 12]}],
    }
    return Protocol.parse(value | changes, "test")


class Counting(Toy):
    reads = 0
    fail_at = -1

    def read(self, sequence, frames, modality):
        Counting.reads += 1
        if Counting.reads == Counting.fail_at:
            raise KeyboardInterrupt
        return super().read(sequence, frames, modality)


@pytest.fixture
def make(cache):
    Counting.reads, Counting.fail_at = 0, -1

    def make(dataset=None, one=None, modalities=TOY):
        one = one or protocol()
        dataset = dataset or Counting(None, Options(sequences=5, length=10))
        manifest = build_manifest(one, dataset)
        prepare(one, dataset, manifest, modalities, lambda done, total: None)
        return one, dataset, manifest

    return make


def test_every_array_is_what_reading_and_transforming_give(make):
    one, dataset, manifest = make()
    prepared = find_prepared(one, dataset, manifest, TOY)
    for ref in manifest.clips:
        for frames in (ref.frames, ref.frames[:2], ref.frames[1:], ref.frames[-1:]):
            for modality in TOY:
                expected = transform(dataset.read(ref.sequence, frames, modality), one.pixels, modality)
                array = prepared.read(ref.sequence, frames, modality)
                assert array.dtype == expected.dtype
                assert np.array_equal(array, expected), (ref.id, modality)
                array[...] = 0  # a copy: writing to it changes nothing


def test_it_goes_on_where_it_stopped(make):
    Counting.reads = 0
    make()
    undisturbed = Counting.reads
    shutil.rmtree(store_folder(protocol(), build_manifest(protocol(), Toy(None, Options(sequences=5, length=10)))))
    Counting.reads, Counting.fail_at = 0, undisturbed // 2
    dataset = Counting(None, Options(sequences=5, length=10))
    manifest = build_manifest(protocol(), dataset)
    with pytest.raises(KeyboardInterrupt):
        prepare(protocol(), dataset, manifest, TOY, lambda done, total: None)
    assert find_prepared(protocol(), dataset, manifest, TOY) is None
    Counting.fail_at = -1
    prepare(protocol(), dataset, manifest, TOY, lambda done, total: None)
    assert Counting.reads < undisturbed * 1.25
    assert find_prepared(protocol(), dataset, manifest, TOY) is not None


def test_a_second_time_reads_nothing(make):
    one, dataset, manifest = make()
    before = Counting.reads
    prepare(one, dataset, manifest, TOY, lambda done, total: None)
    assert Counting.reads == before


def test_nothing_but_the_store_is_left(make, cache):
    one, _, manifest = make()
    (folder,) = (cache / "prepared").iterdir()
    assert folder == store_folder(one, manifest)
    assert {p.name for p in folder.iterdir()} == {"index.json", *(f"{m}.bin" for m in TOY)}


def test_a_process_that_finishes_after_another_one_spoils_nothing(make, monkeypatch):
    """Both made all parts; the other one has published and cleaned up."""
    one, dataset, manifest = make()
    with monkeypatch.context() as patch:
        patch.setattr("vpbench.engine.prepare.find_prepared", lambda *a: None)
        prepare(one, dataset, manifest, TOY, lambda done, total: None)
    prepared = find_prepared(one, dataset, manifest, TOY)
    ref = manifest.clips[0]
    expected = transform(dataset.read(ref.sequence, ref.frames, "frames"), one.pixels, "frames")
    assert np.array_equal(prepared.read(ref.sequence, ref.frames, "frames"), expected)


def test_a_store_is_not_used_for_another_protocol_other_data_or_more_modalities(make):
    one, dataset, manifest = make(modalities=["frames"])
    assert find_prepared(one, dataset, manifest, ["frames"]) is not None
    assert find_prepared(one, dataset, manifest, ["frames", "flow"]) is None
    assert find_prepared(protocol(version=2), dataset, manifest, ["frames"]) is None

    class Changed(Toy):
        def sequences(self, split):
            from dataclasses import replace

            return [replace(s, stamp="later") for s in super().sequences(split)]

    changed = Changed(None, Options(sequences=5, length=10))
    assert find_prepared(one, changed, build_manifest(one, changed), ["frames"]) is None


def test_a_few_clips_use_the_store_of_all(make):
    one, dataset, manifest = make()
    few = build_manifest(one, dataset, limit=2)
    assert store_folder(one, few) == store_folder(one, manifest)


def test_a_store_that_was_cut_off_is_said(make):
    one, dataset, manifest = make()
    path = store_folder(one, manifest) / "frames.bin"
    path.write_bytes(path.read_bytes()[:100])
    prepared = PreparedDataset(path.parent, dataset)
    with pytest.raises(DataError, match="is cut off: remove it and prepare again"):
        prepared.read(manifest.clips[-1].sequence, manifest.clips[-1].frames, "frames")


def test_runs_with_and_without_it_are_equal_to_the_byte(cache, tmp_path, monkeypatch):
    from vpbench.cli.main import _run

    path = tmp_path / "p.toml"
    path.write_text(
        'schema = 1\nname = "p"\nversion = 1\n[dataset]\nname = "toy"\n[sampling]\nkind = "first"\ncontext = 3\n'
        'horizon = 4\n[[pixels]]\nop = "resize"\nsize = [32, 40]\n'
    )
    args = ["run", "--plugin", "toys", "-p", str(path), "-m", "needs-flow", "-m", "seer"]
    metrics = ["--metric", "mse", "--metric", "ssim"]
    assert _run([*args, *metrics, "--out", str(tmp_path / "a")]) == 0
    assert _run(["data", "prepare", "--plugin", "toys", str(path)]) == 0
    monkeypatch.setattr("toys.Toy.read", lambda *a: pytest.fail("the original was read"))
    assert (
        _run([*args[:1], *args[3:], *metrics, "--out", str(tmp_path / "b"), "--plugin", "toys", "--workers", "2"]) == 0
    )
    results = [{p.relative_to(r): p.read_bytes() for p in r.rglob("*.json*")} for r in (tmp_path / "a", tmp_path / "b")]
    for result in results:
        for path in [path for path in result if path.parent.name == "attempts"]:
            del result[path]
    assert results[0] == results[1]
    assert json.loads(next((tmp_path / "b").rglob("summary.json")).read_text())["clips"] == 20
