"""A result names the pixels that were scored: other pixels under the same names are another result, or another unit."""

from __future__ import annotations

import os
import shutil

import cv2
import numpy as np
import pytest

import vpbench
from vpbench.clips.prepare import prepare
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import build_manifest
from vpbench_folder.dataset import Folder

PROTOCOL = Protocol.parse(
    {"schema": 1, "name": "pixels", "version": 1, "dataset": {"name": "folder"},
     "sampling": {"kind": "first", "context": 1, "horizon": 2}}, "here",
)  # fmt: skip
CLIPS = 40
"""Three units. The first, the last and two between are probed."""


def write(root, clip, seed):
    """Write a clip of random bitmaps: every content has the same size."""
    folder = root / f"clip{clip:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(3):
        picture = np.random.default_rng([seed, clip, i]).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{i}.bmp"), picture)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    root = tmp_path_factory.mktemp("made") / "data"
    for clip in range(CLIPS):
        write(root, clip, seed=1)
    return root


@pytest.fixture
def root(template, tmp_path):
    return shutil.copytree(template, tmp_path / "root")  # times are kept


def run(root, out, predictor="repeat", **settings):
    return vpbench.evaluate(predictor, PROTOCOL, data_root=root, out=out, **({"metrics": ["mse"]} | settings))


def units(result):
    return {path.name: path.read_bytes() for path in sorted((result.path / "units").iterdir())}


def forged_times(root, like):
    for path in sorted(root.rglob("*"), reverse=True):
        stat = (like / path.relative_to(root)).stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.slow
def test_other_pixels_under_the_same_names_sizes_and_times_are_another_result(root, tmp_path):
    first = run(root, tmp_path / "out")
    changed = tmp_path / "other"
    for clip in range(CLIPS):
        write(changed, clip, seed=2)
    forged_times(changed, root)
    second = run(changed, tmp_path / "out")
    fresh = run(changed, tmp_path / "fresh")
    assert second.path != first.path
    assert units(second) == units(fresh) != units(first)
    assert first.run.identity.data != second.run.identity.data
    assert first.summary.scores["mse"].data != second.summary.scores["mse"].data
    assert run(root, tmp_path / "out").path == first.path


@pytest.mark.slow
def test_a_clip_that_was_replaced_is_evaluated_again_and_no_other_unit(root, tmp_path):
    first = run(root, tmp_path / "out")
    before, summary = units(first), first.summary
    write(root, 20, seed=9)
    with pytest.warns(vpbench.errors.VpbenchWarning, match=r"1 of 3 units were of other pixels .*set-aside/"):
        second = run(root, tmp_path / "out")
    assert second.path == first.path
    changed = [name for name, data in units(second).items() if data != before[name]]
    assert changed == ["000001.jsonl"]
    assert units(second) == units(run(root, tmp_path / "fresh"))
    aside = sorted((first.path / "set-aside").iterdir())
    assert [path.name.split("-")[0] for path in aside] == ["000001", "summary"]
    assert aside[0].read_bytes() == before["000001.jsonl"]
    assert second.summary == run(root, tmp_path / "fresh").summary != summary


@pytest.mark.slow
def test_files_that_were_touched_are_read_again_once(root, tmp_path, monkeypatch):
    before = units(run(root, tmp_path / "out"))
    for path in root.rglob("*"):
        os.utime(path)
    reads, read = [], Folder.read
    monkeypatch.setattr(Folder, "read", lambda self, *args: reads.append(args) or read(self, *args))
    counts = []
    for _ in range(2):
        reads.clear()
        result = run(root, tmp_path / "out")
        counts.append(len(reads))
    assert units(result) == before
    assert counts[0] >= CLIPS
    assert counts[1] == 4, "only the probed clips"


def test_another_reader_of_the_same_files_is_noticed(root, tmp_path, monkeypatch):
    before = units(run(root, tmp_path / "out"))

    def darker(self, name, *args, read=Folder.read):
        return read(self, name, *args) // (2 if name == "clip20" else 1)

    monkeypatch.setattr(Folder, "read", darker)
    with pytest.warns(vpbench.errors.VpbenchWarning, match=r"1 of 3 units"):
        after = units(run(root, tmp_path / "out"))
    assert [name for name in after if after[name] != before[name]] == ["000001.jsonl"]


def test_every_process_looks_at_its_own_units_only(root, tmp_path, monkeypatch):
    run(root, tmp_path / "out")
    for path in root.rglob("*"):
        os.utime(path)
    sequences, read = set(), Folder.read
    monkeypatch.setattr(Folder, "read", lambda self, name, *args: sequences.add(name) or read(self, name, *args))
    run(root, tmp_path / "out", shard="1/3")
    assert {f"clip{i:02d}" for i in range(16, 32)} <= sequences
    assert len(sequences) <= 16 + 4


@pytest.mark.slow
def test_rows_of_one_clip_and_metric_carry_one_digest_whoever_predicts(tmp_path):
    def rows(out, *predictors, **settings):
        digests = {}
        for predictor in predictors:
            result = vpbench.evaluate(predictor, toy(), out=tmp_path / out, clips=4, allow_partial=True, **settings)
            for row in result.rows():
                digests.setdefault((row["clip"], row["metric"]), set()).add((row["data"], row.get("context")))
        return digests

    plain = rows("a", "repeat", metrics=["mse", "mse/disoccluded"])
    assert all(len(digests) == 1 for digests in plain.values())
    clip = next(iter(plain))[0]
    assert plain[clip, "mse"] != plain[clip, "mse/disoccluded"], "its truth has masks, too"
    with_flow = rows("b", "flow-extrapolation", metrics=["mse"])
    frames_only = rows("c", FramesOnly(), metrics=["mse"])
    for digests in (with_flow, frames_only):
        assert {data for data, _ in plain[clip, "mse"]} == {data for data, _ in digests[clip, "mse"]}
    assert all(context for digests in with_flow.values() for _, context in digests)
    assert all(context is None for digests in frames_only.values() for _, context in digests)


class FramesOnly:
    info = vpbench.PredictorInfo()

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=context.frames[:, -1:].repeat(1, horizon, 1, 1, 1))


def toy(**options):
    value = {"schema": 1, "name": "t", "version": 1, "dataset": {"name": "scenes", "options": options},
             "sampling": {"kind": "first", "context": 2, "horizon": 2}}  # fmt: skip
    return vpbench.Protocol.parse(value, "here")


@pytest.mark.slow
def test_a_prepared_store_of_other_pixels_is_not_used(root, tmp_path, cache):
    manifest = build_manifest(PROTOCOL, Folder(root))
    changed = tmp_path / "other"
    for clip in range(CLIPS):
        write(changed, clip, seed=2)
    forged_times(changed, root)
    prepare(PROTOCOL, Folder(root), manifest, ["frames"], lambda count, total: None)
    with pytest.warns(vpbench.errors.VpbenchWarning, match=r"was prepared from other data .* remove it and run"):
        result = run(changed, tmp_path / "out")
    shutil.rmtree(cache)
    assert units(result) == units(run(changed, tmp_path / "fresh"))
