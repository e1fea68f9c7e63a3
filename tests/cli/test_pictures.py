"""Pictures of finished results: the recorded predictor predicts again, and anything else is refused in one line."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import folders
import numpy as np
import pytest
from PIL import Image

from vpbench.errors import DataError


@pytest.fixture
def make(vpbench, toy, tmp_path):
    """Run predictors; return the results folder and the arguments that load the plugin."""

    def call(*predictors, out="r", **options):
        args = toy(**options)
        for predictor in predictors:
            assert (
                vpbench("run", *args, "-m", predictor, "--metric", "mse", "--out", tmp_path / out, *call.flags).code
                == 0
            )
        return tmp_path / out, args[:2]

    call.flags = []
    return call


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def picture(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_pictures_of_a_result_are_those_that_a_run_keeps(vpbench, make, tmp_path):
    folder, plugin = make("needs-flow", sequences=5)
    outcome = vpbench("pictures", folder, "--clips", 2, *plugin)
    assert outcome.code == 0 and "test/seq002@0" in outcome.out and "needs-flow" in outcome.out
    make.flags = ["--pictures", 2]
    run_folder, _ = make("needs-flow", out="run_folder", sequences=5)
    (first,), (second,) = folder.rglob("pictures"), run_folder.rglob("pictures")
    assert files(first) == files(second)
    assert {name.rpartition("/")[2] for name in files(first)} == {
        "clip.json", "context.webp", "truth.webp", "prediction.webp", "error.webp", "labels.webp", "flow.webp",
        "predicted-flow.webp", "disocclusion.webp",
    }  # fmt: skip


def test_results_of_one_protocol_get_pictures_of_the_same_clips(vpbench, make):
    folder, plugin = make("last", "needs-flow", sequences=5)
    outcome = vpbench("pictures", folder, "--clips", "worst", "--clips", "differ", "--json", *plugin)
    clips = {(row["predictor"], row["clip"]) for row in outcome.json["pictures"]}
    assert {name for name, _ in clips} == {"last", "needs-flow"}
    assert {clip for name, clip in clips if name == "last"} == {clip for name, clip in clips if name == "needs-flow"}
    assert all(row["bytes"] > 100 and "prediction" in row["sheets"] for row in outcome.json["pictures"])
    assert [(Path(row["path"]).parts[-2], row["error"]) for row in outcome.json["results"]] == [
        ("last", None), ("needs-flow", None)
    ]  # fmt: skip


def test_verify_and_merge_ignore_pictures(vpbench, make):
    folder, plugin = make("last", sequences=3)
    assert vpbench("pictures", folder, *plugin).code == 0
    assert vpbench("verify", folder, *plugin).code == vpbench("merge", folder, *plugin).code == 0


def test_pictures_may_lie_elsewhere(vpbench, make, tmp_path):
    folder, plugin = make("last", sequences=3)
    before = files(folder)
    assert vpbench("pictures", folder, "--clips", 1, "--out", tmp_path / "p", *plugin).code == 0
    assert files(folder) == before
    assert (tmp_path / "p" / next(folder.rglob("run.json")).parent.relative_to(folder) / "pictures").is_dir()


def test_full_size_pictures_lose_nothing(vpbench, make):
    folder, plugin = make("last", sequences=2, size=[170, 180])
    assert vpbench("pictures", folder, "--clips", 1, *plugin).code == 0
    small = files(next(folder.rglob("pictures")))
    assert vpbench("pictures", folder, "--clips", 1, "--full-size", *plugin).code == 0
    full = files(next(folder.rglob("pictures")))
    last = [picture(pictures["test/seq000@0/context.webp"])[:, 360:] for pictures in (small, full)]
    predicted = [picture(pictures["test/seq000@0/prediction.webp"])[:, :180] for pictures in (small, full)]
    assert np.array_equal(last[1], predicted[1]) and not np.array_equal(predicted[0], predicted[1])
    assert json.loads(full["test/seq000@0/clip.json"])["full_size"] is True


def test_a_saved_prediction_is_drawn_as_it_was_saved(vpbench, make):
    make.flags = ["--save-predictions"]
    folder, plugin = make("last", sequences=2)
    (saved,) = folder.rglob("predictions")
    assert vpbench("pictures", folder, "--clips", "test/seq001@0", *plugin).code == 0
    before = files(next(folder.rglob("pictures")))
    array = np.load(saved / "test/seq001@0.npy")
    np.save(saved / "test/seq001@0.npy", array * 0)
    assert vpbench("pictures", folder, "--clips", "test/seq001@0", *plugin).code == 0
    after = files(next(folder.rglob("pictures")))
    changed = {name.rpartition("/")[2] for name in before if before[name] != after[name]}
    assert changed == {"prediction.webp", "error.webp"}
    assert picture(after["test/seq001@0/prediction.webp"]).max() == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read as an array"),
        (b"\x93NUMPY", "cannot be read as an array"),
        (b"PK\x03\x04", "cannot be read as an array"),
        ((4, 16, 24, 4), "is no saved frames: float32 [4, 16, 24, 4]"),
        ((2, 16, 24, 3), "is no saved frames"),
        ((4, 16, 20, 3), "another size than its truth"),
    ],
)
def test_a_saved_prediction_that_is_none_is_refused(vpbench, make, content, words):
    make.flags = ["--save-predictions"]
    folder, plugin = make("last", sequences=2)
    path = next(folder.rglob("seq000@0.npy"))
    if isinstance(content, tuple):
        np.save(path, np.zeros(content, np.float32))
    else:
        path.write_bytes(content)
    outcome = vpbench("pictures", folder, "--clips", "test/seq000@0", *plugin)
    assert outcome.code == 1 and words in outcome.error
    assert not list(folder.rglob("clip.json"))


def test_a_saved_prediction_without_its_data_is_drawn_alone(vpbench, make, monkeypatch):
    make.flags = ["--save-predictions"]
    folder, plugin = make("needs-flow", sequences=2)

    def fail(*args):
        raise DataError("no data")

    monkeypatch.setattr("vpbench.pages.result_pictures.open_truth", fail)
    assert vpbench("pictures", folder, "--clips", 1, *plugin).code == 0
    assert {path.name for path in folder.rglob("*.webp")} == {"prediction.webp", "predicted-flow.webp"}


def edit_options(folder, **options):
    """Record other options, as one who edits the record does."""
    path = next(folder.rglob("run.json"))
    run = json.loads(path.read_text())
    run["identity"]["options"] |= options
    path.write_text(json.dumps(run))


def test_another_predictor_is_refused(vpbench, make, monkeypatch):
    folder, plugin = make("with-options", sequences=2)
    monkeypatch.setattr(
        "vpbench.evaluation.recorded.choose_predictor", changed("options", {"width": 5, "mode": "plain"})
    )
    outcome = vpbench("pictures", folder, *plugin)
    assert outcome.code == 1 and "the option width of with-options was 4 and is 5 now" in outcome.error
    assert not list(folder.rglob("pictures"))


def test_other_code_draws_a_clip_if_its_scores_are_the_recorded_ones(vpbench, make, monkeypatch):
    folder, plugin = make("noisy", sequences=2)
    command = ["pictures", folder, "--clips", "test/seq001@0", *plugin]
    assert vpbench(*command).code == 0
    (pictures,) = folder.rglob("pictures")
    same_code = files(pictures)
    shutil.rmtree(pictures)
    monkeypatch.setattr("vpbench.evaluation.recorded.choose_predictor", changed("fingerprint", "0" * 64))
    assert vpbench(*command).code == 0
    assert files(pictures) == same_code
    shutil.rmtree(pictures)
    folders.edit_unit(pictures.parent, lambda rows: rows[-1].update(value=rows[-1]["value"] + 2e-6))
    outcome = vpbench(*command)
    assert outcome.code == 1 and not pictures.exists()
    assert "of noisy are not the recorded ones, and mse of clip 'test/seq001@0' differs by 2e-06" in outcome.error
    assert vpbench(*command[:3], "test/seq000@0", *plugin).code == 0


def changed(field, value):
    """Build predictors that differ from the recorded ones in one field."""
    from dataclasses import replace

    from vpbench.select.component import choose_predictor

    return lambda *args: replace(choose_predictor(*args), **{field: value})


def test_recorded_options_are_set_again(vpbench, make):
    folder, plugin = make("with-options:wide", sequences=2)
    assert vpbench("pictures", folder, "--clips", 1, *plugin).code == 0
    edit_options(folder, width=9)
    outcome = vpbench("pictures", folder, "--clips", 1, *plugin)
    assert outcome.code == 1 and "run.json is not what this result was computed with" in outcome.error


def test_other_data_are_refused(vpbench, make):
    folder, plugin = make("last", sequences=2)
    path = next(folder.rglob("000000.jsonl"))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"data": "0" * 16}) + "\n" for row in rows))
    outcome = vpbench("pictures", folder, "--clips", "test/seq001@0", *plugin)
    assert outcome.code == 1 and "the data of clip 'test/seq001@0' are not those that were scored" in outcome.error
    assert not list(folder.rglob("pictures"))


def test_an_annotator_is_built_again(vpbench, make, toy, tmp_path):
    args = toy(dataset="toy-frames", sequences=2)
    run = ["-m", "needs-flow", "--annotate", "flow=still", "--metric", "mse", "--out", tmp_path / "r"]
    assert vpbench("run", *args, *run).code == 0
    assert vpbench("pictures", tmp_path / "r", "--clips", 1, *args[:2]).code == 0
    assert "predicted-flow.webp" in {path.name for path in tmp_path.rglob("*.webp")}


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--clips", "nowhere@0"], 1, "has no clip 'nowhere@0'"),
        (["--clips", "best", "--metric", "psnr"], 2, "no scores of 'psnr' by clip"),
        (["--clips", "differ"], 2, "need several results"),
        (["--weights", "nowhere.safetensors"], 1, "there is no such file"),
        (["--device", "tpu"], 2, "tpu"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(vpbench, make, args, code, words):
    folder, plugin = make("last", sequences=2)
    outcome = vpbench("pictures", folder, *args, *plugin)
    assert outcome.code == code and words in outcome.error
    assert not list(folder.rglob("pictures"))


def test_a_folder_without_results_is_refused(vpbench, tmp_path):
    outcome = vpbench("pictures", tmp_path)
    assert outcome.code == 1 and "there is no result" in outcome.error
