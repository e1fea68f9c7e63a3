"""KTH: repetitions from the official list of frame ranges, in grey, divided by person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_video import known_frames
from twins import kth_list, kth_video

from vpbench.errors import DataError
from vpbench.plugin.loader import load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.sampling import sample
from vpbench_kth.dataset import KTH
from vpbench_kth.ranges import read_ranges

RANGES = {
    "person01_boxing_d1": "1-6, 7-12",
    "person16_walking_d4": "9-12,  1-4",
    "person17_running_d2": "1-5, 5-14",
    "person20_jogging_d3": "2-4",
    "person21_handwaving_d1": "1-3",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "kth"
    kth_list(root, RANGES)
    for video in RANGES:
        kth_video(root, video, known_frames(12))
    return root


def frames(data: KTH, split: str) -> dict[str, range]:
    return {s.name: s.frames for s in data.sequences(split) if not s.problem}


def problems(data: KTH, split: str = "test") -> dict[str, str]:
    return {s.name: s.problem for s in data.sequences(split) if s.problem}


def test_ranges_are_sequences_and_persons_divide_them(root: Path) -> None:
    train = {
        "person01_boxing_d1/0001-0006": range(1, 7),
        "person01_boxing_d1/0007-0012": range(7, 13),
        "person16_walking_d4/0001-0004": range(1, 5),
        "person16_walking_d4/0009-0012": range(9, 13),
    }
    running = {"person17_running_d2/0001-0005": range(1, 6), "person17_running_d2/0005-0014": range(5, 13)}
    jogging = {"person20_jogging_d3/0002-0004": range(2, 5)}
    waving = {"person21_handwaving_d1/0001-0003": range(1, 4)}
    data = KTH(root)
    assert list(frames(data, "train").items()) == list(train.items())
    assert frames(data, "test") == running | jogging | waving
    data = KTH(root, options=KTH.Options(split_rule="persons-20"))
    assert frames(data, "train") == train | running | jogging
    assert frames(data, "test") == waving
    assert {s.source for s in data.sequences("test")} == {"person21_handwaving_d1"}


def test_frames_count_from_one_and_are_grey(root: Path) -> None:
    array = KTH(root).read("person01_boxing_d1/0007-0012", [7, 9], "frames")
    expected = np.round(known_frames(12)[[6, 8]] @ np.array([0.299, 0.587, 0.114]))
    assert array.shape == (2, 16, 24, 3)
    assert (array == array[..., :1]).all()
    assert np.abs(array[..., 0] - expected).max() <= 1


@pytest.mark.parametrize(
    ("name", "numbers", "error"),
    [
        ("person01_boxing_d1/0007-0012", [6], "has no frame 6"),
        ("person01_boxing_d1/0007-0012", [13], "has no frame 13"),
        ("person01_boxing_d1/0001-0012", [1], "is not a repetition of KTH"),
        ("person02_boxing_d1/0001-0006", [1], "is not a repetition of KTH"),
        ("person17_running_d2/0005-0014", [13], "frame 12 was asked for, but it has 12 frames"),
    ],
)
def test_other_frames_are_refused(root: Path, name: str, numbers: list[int], error: str) -> None:
    with pytest.raises(DataError, match=error):
        KTH(root).read(name, numbers, "frames")


def test_a_video_that_is_missing_or_lies_in_two_places_is_one_problem(root: Path) -> None:
    (root / "running/person17_running_d2_uncomp.avi").unlink()
    kth_video(root / "copy", "person20_jogging_d3", known_frames(4))
    by_name = problems(KTH(root))
    assert set(by_name) == {"person17_running_d2", "person20_jogging_d3"}
    assert (
        "person17_running_d2_uncomp.avi: is missing; unpack the action's archive again"
        in by_name["person17_running_d2"]
    )
    assert "is a video that" in by_name["person20_jogging_d3"]
    with pytest.raises(DataError, match="remove one"):
        KTH(root).read("person20_jogging_d3/0002-0004", [2], "frames")


def test_a_range_after_the_end_of_its_video_is_a_problem(root: Path) -> None:
    kth_list(root, {"person21_handwaving_d1": "1-3, 13-20"})
    assert problems(KTH(root)) == {
        "person21_handwaving_d1/0013-0020": f"{root}/handwaving/person21_handwaving_d1_uncomp.avi: has 12 frames, "
        "00sequences.txt lists 13-20; unpack the action's archive again"
    }


def test_the_check_counts_videos_ranges_and_cut_ranges(root: Path) -> None:
    findings = [(f.name, f.found, f.expected, f.holds, f.details) for f in KTH(root).check()]
    cut = ("person17_running_d2/0005-0014",)
    assert findings == [
        ("videos", "5", "599", False, ()),
        ("ranges in 00sequences.txt", "8", "2391", False, ()),
        ("ranges that end after their video", "1", "not published", None, cut),
    ]


def test_videos_without_their_list_say_where_it_is(root: Path) -> None:
    (root / "00sequences.txt").unlink()
    with pytest.raises(DataError, match=r"00sequences\.txt: is missing; download it from https"):
        KTH(root).sequences("test")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Training: person11, 12\n", "lists no video of KTH"),
        ("\nperson01_boxing_d1 frames 1-95, 96\n", "line 2: 'person01_boxing_d1 frames 1-95, 96' is no list of"),
        ("person01_boxing_d1 frames 9-5\n", "line 1: .* is no list of frame ranges"),
        ("person01_boxing_d1 frames 0-5\n", "line 1: .* is no list of frame ranges"),
        ("person01_boxing_d1 frames 1-5\nperson01_boxing_d1 frames 1-5\n", "line 2: .* is listed twice"),
    ],
)
def test_a_bad_list_is_one_line(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "00sequences.txt").write_text(text)
    with pytest.raises(DataError, match=error) as caught:
        read_ranges(tmp_path / "00sequences.txt")
    assert "\n" not in str(caught.value)


def test_the_missing_video_is_not_expected(root: Path) -> None:
    assert "person13_handclapping_d3" not in read_ranges(root / "00sequences.txt")


@pytest.mark.parametrize("horizon", [20, 30, 40])
def test_a_clip_is_the_first_window_of_a_repetition(root: Path, horizon: int) -> None:
    kth_list(root, {"person17_running_d2": f"1-{9 + horizon}, 61-{70 + horizon}, 121-200"})
    kth_video(root, "person17_running_d2", known_frames(200))
    plugins = load_plugins(["vpbench_kth"])
    protocol = Protocol.read(plugins.load("protocol", f"kth-10to{horizon}"))
    sampled = sample(protocol.sampling, KTH(root).sequences("test"))
    assert [(clip.frames[0], clip.frames[-1]) for clip in sampled.clips] == [(61, 70 + horizon), (121, 130 + horizon)]
    assert len(sampled.dropped) == 1
