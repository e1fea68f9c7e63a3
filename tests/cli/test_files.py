"""The files of ``shared/cases`` and others of their kinds, at the command line: the right number, or one clear line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_video import known_frames, write_picture, write_video

MSE = ("--metric", "mse")


@pytest.fixture(scope="session")
def cases(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, shared / "cases/make_files.py"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def evaluate(vpbench, tmp_path):
    def run(root: Path, *args: str, predictor: str = "repeat"):
        paths = ["--data-root", f"folder={root}", "--out", tmp_path / "out"]
        return vpbench("run", "-p", "folder-4to10", "-m", predictor, *MSE, *paths, *args, "--json")

    return run


def summary(outcome):
    assert outcome.code == 0, outcome.error
    return outcome.json["results"][0]["summary"]


@pytest.mark.parametrize(
    ("name", "clips"), [("A_fragmented.mp4", 7), ("G_edit_list.mp4", 1), ("H_streamed.avi", 3), ("F_timestamps", 1)]
)
def test_every_frame_that_decodes_is_used(evaluate, cases, name, clips):
    assert summary(evaluate(cases / name))["clips"] == clips


@pytest.mark.slow
def test_a_damaged_video_is_refused_by_name_and_can_be_left_out(evaluate, vpbench, cases, tmp_path):
    root = tmp_path / "videos"
    root.mkdir()
    for name in ("C_damaged.avi", "good.avi"):
        shutil.copy(cases / name, root)
    outcome = evaluate(root)
    assert outcome.code == 1
    assert "C_damaged.avi: does not decode" in outcome.error
    assert "allow a partial result" in outcome.error
    intact = summary(evaluate(cases / "good.avi"))
    partial = summary(evaluate(root, "--allow-partial"))
    assert (partial["clips"], partial["partial_reason"]) == (3, "1 unreadable sequences left out")
    assert partial["scores"]["mse"]["per_step"] == intact["scores"]["mse"]["per_step"]
    args = ["data", "prepare", "folder-4to10", "--data-root", root]
    assert "C_damaged.avi: does not decode" in vpbench(*args).error
    assert vpbench(*args, "--allow-partial").code == 0
    assert summary(evaluate(root, "--allow-partial"))["clips"] == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("D_16bit", ("D_16bit/0000.png", "more than 8 bits (16 per channel)")),
        ("E_twice", ("E_twice", "0000.jpg", "0000.png", "a folder of its own")),
        ("E_rawframes", ("v_A", "flow_x_00001.jpg", "flow_y_00001.jpg", "a folder of its own")),
    ],
)
def test_pictures_that_are_no_frames_of_one_video(evaluate, cases, tmp_path, name, words):
    outcome = evaluate(cases / name)
    assert outcome.code == 1
    assert all(word in outcome.error for word in words)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_predict_turns_a_video_upright_and_opens_any_name(vpbench, cases, tmp_path):
    outcome = vpbench("predict", "-m", "repeat", cases / "B_rotated.mp4", "--out", tmp_path / "b", "--json")
    assert outcome.json["size"] == [96, 64]
    outcome = vpbench("predict", "-m", "repeat", cases / "12:30:00.mp4", "--out", tmp_path / "i", "--json")
    assert (outcome.code, outcome.json["size"]) == (0, [64, 96])


@pytest.mark.parametrize("command", [["run", "-p"], ["train"]])
def test_a_byte_order_mark_is_read_over(vpbench, cases, tmp_path, command):
    outcome = vpbench(*command, cases / "M_bom.toml")
    assert outcome.code == 2
    assert "Invalid statement" not in outcome.error
    wide = tmp_path / "wide.toml"
    wide.write_bytes((cases / "M_bom.toml").read_text(encoding="utf-8-sig").encode("utf-16"))
    outcome = vpbench(*command, wide)
    assert outcome.code == 2
    assert "not encoded in UTF-8 (probably in UTF-16); save it as UTF-8" in outcome.error


@pytest.mark.slow
def test_long_names_are_saved_and_read_back(evaluate, cases, tmp_path):
    outcome = evaluate(cases / "N_long", "--save-predictions", "--pictures", "1")
    score = summary(outcome)["scores"]["mse"]["mean"]
    (predictions,) = (tmp_path / "out").rglob("predictions")
    assert len(list(predictions.iterdir())) == 3
    assert len(list((tmp_path / "out").rglob("pictures/*/clip.json"))) == 1
    repeated = summary(evaluate(cases / "N_long", predictor=f"saved:{predictions}"))
    assert repeated["scores"]["mse"]["mean"] == pytest.approx(score, rel=1e-6)


def test_what_is_no_file_is_refused_at_once(vpbench, evaluate, tmp_path):
    write_video(tmp_path / "root/good.avi", known_frames(20))
    write_picture(tmp_path / "root/walk/1.png", known_frames(1)[0])
    os.mkfifo(tmp_path / "root/pipe.avi")
    os.mkfifo(tmp_path / "root/walk/0.png")
    outcome = evaluate(tmp_path / "root")
    assert (outcome.code, "pipe.avi: is a FIFO, not a regular file" in outcome.error) == (1, True)
    assert summary(evaluate(tmp_path / "root", "--allow-partial"))["clips"] == 1
    for path in (tmp_path / "root/pipe.avi", tmp_path / "root/walk/0.png", "/dev/zero"):
        outcome = vpbench("predict", "-m", "repeat", path)
        assert (outcome.code, "not a regular file" in outcome.error) == (1, True)
