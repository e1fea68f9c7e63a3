"""``vpbench data export``: what a run reads, as files; resumed, refused for other settings, the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from toys import Options, Toy

from vpbench.clips.source import ClipSource
from vpbench.errors import DataError
from vpbench.evaluation.export import Export, ExportRecord
from vpbench.evaluation.prediction import generators
from vpbench.protocol.sampling import ClipRef

FIRST = "test/seq000@0"


@pytest.fixture
def export(vpbench, toy, tmp_path):
    def call(*args, out="out", **options):
        plugin, path, _, protocol = toy(sequences=3, **options)
        return vpbench("data", "export", protocol, plugin, path, "--out", tmp_path / out, *args)

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def listed(folder: Path) -> dict:
    return json.loads((folder / "clips.json").read_text())


def test_contexts_are_what_the_dataset_gives(export, tmp_path):
    outcome = export()
    assert outcome.code == 0, outcome.err
    assert "3 clips of toy: flow, frames, instances, semantics" in outcome.out.replace("disocclusion, ", "")
    dataset = Toy(None, Options(sequences=3))
    for modality, suffix in {"frames": "", "semantics": ".semantics", "flow": ".flow"}.items():
        array = np.load(tmp_path / f"out/context/{FIRST}{suffix}.npy")
        expected = dataset.read("test/seq000", range(3), modality)
        assert np.array_equal(array, expected) and array.dtype == expected.dtype
    assert not (tmp_path / "out/truth").exists()


def test_the_document_says_what_was_exported(export, tmp_path):
    document = export("--json").json
    assert (document["out"], document["clips"], document["format"]) == (str(tmp_path / "out"), 3, "npy")


def test_the_list_of_clips_says_what_a_run_uses(export, vpbench, toy, tmp_path):
    export("--seed", "7", "--samples", "2", "--clips", "2")
    record = listed(tmp_path / "out")
    (clip, second) = record["clips"]
    assert (record["complete"], record["partial"]) == (True, "limited to 2 of 3 clips")
    assert (clip["id"], clip["file"], clip["size"], clip["context"], clip["horizon"]) == (FIRST, FIRST, [16, 24], 3, 4)
    assert (clip["steps"], clip["frames"], second["id"]) == ([1, 2, 3, 4], list(range(7)), "test/seq001@0")
    assert clip["seeds"] == [generators([FIRST], 7, sample)[0].initial_seed() for sample in (0, 1)]
    outcome = vpbench(
        "run", *toy(sequences=3), "-m", "last", "--metric", "mse", "--clips", "2", "--json", "--out", tmp_path / "r"
    )
    run = json.loads((Path(outcome.json["results"][0]["path"]) / "run.json").read_text())
    assert (record["protocol_hash"], record["manifest"]) == (run["identity"]["protocol"], run["identity"]["manifest"])


@pytest.mark.parametrize("kind", ["npy", "png"])
def test_the_truth_is_read_back_as_a_perfect_prediction(export, vpbench, toy, tmp_path, kind):
    assert export("--truth", "--format", kind).code == 0
    args = ["-m", f"saved:{tmp_path / 'out/truth'}", "--metric", "mse", "--json", "--out", tmp_path / "r"]
    (document,) = vpbench("run", *toy(sequences=3), *args).json["results"]
    assert document["summary"]["scores"]["mse"]["per_step"] == [0, 0, 0, 0]


def test_pictures_are_the_frames(export, tmp_path):
    export("--format", "png")
    folder = tmp_path / "out/context" / FIRST
    assert sorted(p.name for p in folder.iterdir()) == ["0001.png", "0002.png", "0003.png"]
    expected = Toy(None, Options()).read("test/seq000", [1], "frames")[0]
    assert np.array_equal(cv2.imread(str(folder / "0002.png"))[..., ::-1], expected)
    assert (tmp_path / f"out/context/{FIRST}.flow.npy").is_file()


def test_an_export_is_resumed_and_has_the_same_bytes(export, tmp_path, monkeypatch):
    export("--truth", out="whole")
    read = ClipSource.read

    def fail(self, ref):
        if ref.id == "test/seq001@0" and self.context >= {"flow"} and len(self.future) > 3:
            raise DataError("the disk is gone")
        return read(self, ref)

    monkeypatch.setattr("vpbench.clips.probe.ClipSource", type("Probed", (ClipSource,), {"read": read}))
    monkeypatch.setattr(ClipSource, "read", fail)
    assert "the disk is gone" in export("--truth").error
    record = listed(tmp_path / "out")
    assert (record["complete"], record["clips"]) == (False, [])
    first = tmp_path / f"out/context/{FIRST}.npy"
    stamp = first.stat().st_mtime_ns
    assert not (tmp_path / "out/context/test/seq001@0.npy").exists()
    monkeypatch.setattr(ClipSource, "read", read)
    assert export("--truth").code == 0
    assert first.stat().st_mtime_ns == stamp
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    first.unlink()
    assert export("--truth").code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_folder_that_holds_something_else_is_refused(export, tmp_path):
    assert export().code == 0
    before = contents(tmp_path / "out")
    for change in (["--truth"], ["--clips", "1"], ["--seed", "1"], ["--format", "png"]):
        outcome = export(*change)
        assert outcome.code == 1
        assert "holds an export of toy with other clips, data or settings" in outcome.error
        assert "(--out DIR)" in outcome.error
    assert "other clips, data or settings" in export(size=[16, 32]).error
    assert contents(tmp_path / "out") == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    assert "is no export and not empty" in export(out="full").error
    (tmp_path / "file").write_text("mine")
    assert export(out="file").code == 1
    (tmp_path / "out/clips.json").write_text("[]")
    assert "clips.json has no schema number" in export().error


def test_annotations_are_exported_and_recorded(export, tmp_path):
    assert export("--annotate", "flow=still").code == 0
    assert not np.load(tmp_path / f"out/context/{FIRST}.flow.npy").any()
    assert '"still"' in listed(tmp_path / "out")["annotators"]["flow"]
    assert "add the annotator that they are for" in export("--weights", "x", out="b").error
    assert export("-o", "still.x=1", out="b").code == 2


def test_long_ids_are_cut_as_in_predictions(tmp_path):
    refs = [ClipRef(letter * 300, tuple(range(7)), 3, (1, 2, 3, 4)) for letter in "ab"]
    source = ClipSource(Toy(None, Options()), "toy", (), frozenset({"frames"}), frozenset(), {})
    values = dict.fromkeys(("protocol", "protocol_hash", "manifest", "data", "partial"), "")
    values |= {"format": "npy", "seed": 0, "samples": 1, "context": ["frames"], "truth": [], "annotators": {}}
    record = Export(tmp_path / "out", source, ExportRecord(**values))(refs, lambda count, total: None)
    assert [len(clip.file) < 255 < len(clip.id) for clip in record.clips] == [True, True]
    assert [np.load(tmp_path / f"out/context/{clip.file}.npy").shape for clip in record.clips] == [(3, 16, 24, 3)] * 2
