"""``vpbench predict``: which files appear, what they show, and that a folder appears whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tiny_video import known_frames, write_picture, write_video

from vpbench.toolkit.media import VideoReader, count_frames, read_image

TOYS = ["--plugin", str(Path(__file__).resolve().parent.parent / "toys.py")]
GREY, ORANGE = [128, 128, 128], [255, 128, 0]


@pytest.fixture
def video(tmp_path) -> Path:
    return write_video(tmp_path / "film.mkv", known_frames(8, 15, 25))


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def at(image: Image.Image, column: int, row: int, columns: int, rows: int) -> tuple[int, ...]:
    """The colour in the middle of a picture (of 15x25, drawn five times as large), counted from the lower right."""
    height, width = 15 * 5 + 2, 25 * 5 + 2
    return image.getpixel((image.width - (columns - column) * width + 62, image.height - (rows - row) * height + 37))


def test_repeat_gives_the_last_frame_to_the_byte(vpbench, video, tmp_path):
    outcome = vpbench("predict", "-m", "repeat", video, "--out", tmp_path / "out", "--horizon", "3")
    assert outcome.code == 0
    assert "repeat: 3 steps after frames 4 to 7 of film.mkv (15x25)" in outcome.out
    frames = [f"frames/000{step}.png" for step in (1, 2, 3)]
    pages = ["prediction.gif", "prediction.json", "prediction.mp4", "strip.png"]
    assert files(tmp_path / "out") == [*frames, *pages]
    for step in (1, 2, 3):
        assert np.array_equal(read_image(tmp_path / f"out/frames/000{step}.png"), known_frames(8, 15, 25)[-1])


def test_the_document_names_every_file_and_what_was_done(vpbench, video, tmp_path):
    out = tmp_path / "out"
    args = ["-m", "noisy", "--samples", "2", "--context", "2", "--step", "3", "--size", "10x12", "--horizon", "2"]
    document = vpbench("predict", *TOYS, *args, video, "--out", out, "--json").json
    assert document["context"] == [4, 7]
    assert (document["size"], document["horizon"], document["samples"]) == ([10, 12], 2, 2)
    assert (document["video"], document["predictor"], document["notes"]) == ("film.mkv", "noisy", [])
    assert sorted(document["files"]) == [str(out / name) for name in files(out)]
    assert "sample1/frames/0002.png" in files(out)
    written = json.loads((out / "prediction.json").read_text())
    assert written["files"] == files(out)
    assert {k: v for k, v in written.items() if k != "files"} == {
        k: v for k, v in document.items() if k not in ("files", "out")
    }


def test_films_show_the_context_in_grey_and_then_the_prediction_in_orange(vpbench, tmp_path):
    video = write_video(tmp_path / "film.mkv", frames := known_frames(8, 15, 25) * 9)
    vpbench("predict", "-m", "repeat", video, "--out", tmp_path / "out", "--horizon", "5")
    film = VideoReader(tmp_path / "out" / "prediction.mp4").read(range(9))
    assert count_frames(tmp_path / "out" / "prediction.mp4") == 4 + 5
    gif = Image.open(tmp_path / "out" / "prediction.gif")
    assert gif.n_frames == 5, "Pillow shows equal frames as one, for longer"
    pictures, lasts = [], []
    for i in range(5):
        gif.seek(i)
        pictures.append(np.array(gif.convert("RGB")))
        lasts.append(gif.info["duration"])
    assert lasts == [200] * 4 + [1000]
    labelled = [*zip(film, [4, 5, 6, 7, *[7] * 5], strict=True), *zip(pictures, [4, 5, 6, 7, 7], strict=True)]
    for i, (frame, number) in enumerate(labelled):
        assert frame.shape == (15 + 8 + 1, 25 + 8 + 1, 3), "both sides even, as H.264 needs them"
        assert np.abs(frame[1, 1].astype(int) - (GREY if i % 9 < 4 else ORANGE)).max() <= 12
        assert np.abs(frame[4:19, 4:29].astype(int) - frames[number]).mean() < 12
    with av.open(str(tmp_path / "out" / "prediction.mp4")) as container:
        assert container.streams.video[0].average_rate == 5


def test_the_strip_shows_context_prediction_and_how_the_video_goes_on(vpbench, video, tmp_path):
    vpbench("predict", "-m", "repeat", video, "--out", tmp_path, "--start", "2", "--context", "3", "--horizon", "4")
    assert not (tmp_path / "strip.png").exists(), "a folder with other files in it is left alone"
    args = ["--start", "2", "--context", "3", "--horizon", "4", "--out", tmp_path / "out"]
    vpbench("predict", "-m", "repeat", video, *args)
    strip = Image.open(tmp_path / "out" / "strip.png")
    middle = (12, 7)  # green is the column, blue the row
    assert [at(strip, c, 0, 7, 3) for c in range(7)] == [(n, *middle) for n in (2, 3, 4, 4, 4, 4, 4)]
    assert [at(strip, c, 1, 7, 3) for c in range(3, 6)] == [(n, *middle) for n in (5, 6, 7)]
    assert [at(strip, c, 2, 7, 3) for c in range(3, 6)] == [(1, 0, 0), (2, 0, 0), (3, 0, 0)]
    edges = [strip.getpixel((strip.width - n * 127, strip.height - 3 * 77 + 37)) for n in range(7, 0, -1)]
    assert [edge == tuple(ORANGE) for edge in edges] == [False] * 3 + [True] * 4
    assert at(strip, 6, 1, 7, 3) == at(strip, 0, 1, 7, 3) == (255, 255, 255), "the video does not go on that far"


@pytest.mark.slow
def test_flow_and_what_it_reveals_are_drawn(vpbench, tmp_path):
    video = write_video(tmp_path / "film.mkv", known_frames(6, 32, 48))
    args = ["-m", "needs-flow", "--annotate", "flow=still", video, "--out", tmp_path / "a", "--horizon", "2"]
    assert vpbench("predict", *TOYS, *args).code == 0
    assert (read_image(tmp_path / "a" / "flow" / "0002.png") >= 254).all(), "no motion is white"
    vpbench("predict", "-m", "flow-extrapolation", video, "--out", tmp_path / "b", "--horizon", "1")
    assert {"flow/0001.png", "disocclusion/0001.png"} < set(files(tmp_path / "b"))
    assert set(np.unique(read_image(tmp_path / "b" / "disocclusion" / "0001.png"))) <= {0, 255}


@pytest.mark.slow
def test_large_pictures_make_a_strip_of_bearable_size(vpbench, tmp_path):
    folder = tmp_path / "large"
    for i in range(4):
        write_picture(folder / f"{i}.png", np.full((300, 1200, 3), 40 * i, np.uint8))
    vpbench("predict", "-m", "repeat", folder, "--out", tmp_path / "out")
    strip = Image.open(tmp_path / "out" / "strip.png")
    assert 3900 < strip.width < 4300
    assert strip.getpixel((strip.width - 150, strip.height - 30)) == (120, 120, 120)
    assert read_image(tmp_path / "out" / "frames" / "0010.png").shape == (300, 1200, 3)


# --- the folder ---


def test_warnings_for_users_are_one_line_each(vpbench, video, tmp_path):
    args = ["predict", "-m", "cdnet:tiny", video, "--context", 3, "--size", "18x30", "--horizon", 1]
    lines = vpbench(*args, "--out", tmp_path / "out").err.splitlines()
    for words in ("frames of 18x30 are padded to 20x32", "the global information needs 4 context frames"):
        assert sum(line.startswith(f"vpbench: warning: cdnet: {words}") for line in lines) == 1
    assert not any("predictor.py" in line or "warn(" in line for line in lines)


def test_an_earlier_prediction_is_replaced_whole(vpbench, video, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    vpbench("predict", "-m", "repeat", video, "--out", out, "--horizon", "9")
    assert vpbench("predict", "-m", "repeat", video, "--out", out, "--horizon", "2").code == 0
    assert [name for name in files(out) if "/" in name] == ["frames/0001.png", "frames/0002.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["film.mkv", "out"], "nothing is left beside it"


def test_a_folder_with_anything_else_in_it_is_left_alone(vpbench, video, tmp_path):
    out = tmp_path / "out"
    vpbench("predict", "-m", "repeat", video, "--out", out)
    (out / "frames" / "mine.png").write_bytes(b"mine")
    before = files(out)
    outcome = vpbench("predict", "-m", "repeat", video, "--out", out, "--horizon", "2")
    assert outcome.code == 1
    assert "holds frames/mine.png, which `vpbench predict` did not write" in outcome.error
    assert files(out) == before


def test_a_file_in_the_way_and_a_folder_that_may_not_be_written(vpbench, video, tmp_path):
    assert "film.mkv is a file" in vpbench("predict", "-m", "repeat", video, "--out", video).error
    assert "film.mkv is a file" in vpbench("predict", "-m", "repeat", video, "--out", video / "out").error
    assert "/proc" in vpbench("predict", "-m", "repeat", video, "--out", "/proc/out").error


def test_an_error_while_writing_leaves_what_was_there(vpbench, video, tmp_path, monkeypatch):
    out = tmp_path / "deep" / "out"
    vpbench("predict", "-m", "repeat", video, "--out", out, "--horizon", "3")
    before = files(tmp_path)

    def full(path, film):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vpbench.pages.continuation._write_mp4", full)
    for folder in (out, tmp_path / "other"):
        outcome = vpbench("predict", "-m", "repeat", video, "--out", folder)
        assert outcome.code == 1
        assert "No space left on device; free some space" in outcome.error
        assert files(tmp_path) == before


def test_an_earlier_prediction_comes_back_if_the_rename_fails(vpbench, video, tmp_path, monkeypatch):
    out = tmp_path / "out"
    vpbench("predict", "-m", "repeat", video, "--out", out, "--horizon", "3")
    before = {name: (out / name).read_bytes() for name in files(out)}
    rename = Path.rename

    def refuses(self, target):
        if self.name.endswith(".new"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuses)
    assert vpbench("predict", "-m", "repeat", video, "--out", out).code == 1
    assert {name: (out / name).read_bytes() for name in files(out)} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["film.mkv", "out"]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["-m", "repeat", "--size", "64"], 2, ["'64' is no size", "HEIGHTxWIDTH"]),
        (["-m", "repeat", "--horizon", "0"], 2, ["--horizon", "range 1<=x<=10000"]),
        (["-m", "repeat", "--weights", "nothing.safetensors"], 1, ["there is no such file"]),
        (["-m", "repeat", "-o", "raft.x=1"], 2, ["raft.x", "'raft' does not take part"]),
        (["-m", "raises"], 1, ["no idea"]),
        (["-m", "sadm:tiny"], 2, ["semantics and flow", "add annotators (semantics=NAME, flow=NAME; `"]),
        (["-m", "short", "--horizon", "2"], 2, ["predicts at most 1 steps, not 2"]),
        ([], 2, ["Missing option '-m'"]),
    ],
)
def test_what_cannot_be_is_one_line(vpbench, video, tmp_path, args, code, words):
    outcome = vpbench("predict", *TOYS, *args, video, "--out", tmp_path / "out")
    assert outcome.code == code
    for word in words:
        assert word in outcome.error
    assert not (tmp_path / "out").exists()


def test_saved_predictions_are_of_clips_that_a_video_is_not(vpbench, video, tmp_path):
    np.save(tmp_path / "other@0.npy", np.zeros((10, 15, 25, 3), np.uint8))
    outcome = vpbench("predict", "-m", f"saved:{tmp_path}", video, "--out", tmp_path / "out")
    assert outcome.code == 1
    assert "clip film.mkv@4: there is no" in outcome.error


@pytest.mark.slow
def test_a_real_folder_of_pictures(vpbench, shared, tmp_path):
    path = next((shared / "data" / "kitti_raw").glob("*/*/image_02/data"))
    outcome = vpbench(
        "predict", "-m", "flow-extrapolation", path, "--out", tmp_path / "out", "--size", "96x128", "--json"
    )
    assert outcome.code == 0
    assert len([name for name in outcome.json["files"] if "/frames/" in name]) == 10
