"""Human3.6M on synthetic twins: both forms that people have, exactly one scenario, and MIM's windows."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_video import known_frames, write_video
from twins import human36m_images, human36m_video, walking

from vpbench.errors import DataError
from vpbench.plugin.dataset import SequenceInfo, check_array
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.modality import BUILT_IN
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.sampling import sample
from vpbench.protocol.transforms import transform
from vpbench.protocol.units import build_manifest
from vpbench_human36m.dataset import Human36M
from vpbench_human36m.strpm import WINDOWS, listed_frames

TRAIN, TEST = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11")
NAME = "S11_Walking_1.54138969"
S11_ONLY = Human36M.Options(train=(), test=("S11",))


@pytest.fixture(scope="module")
def plugins():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VPBENCH_PLUGINS", "")
        yield load_plugins(["vpbench_human36m"])


@pytest.fixture(scope="module")
def protocol(plugins) -> Protocol:
    return Protocol.read(plugins.load("protocol", "human36m"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """All 56 videos of Walking as extracted images, in one folder, beside scenarios that only begin so."""
    root = tmp_path / "images"
    for name in walking((*TRAIN, *TEST)):
        human36m_images(root, name, range(1, 92, 5))
    for scenario in ("WalkDog_1", "WalkTogether", "WalkingDog", "WalkingTogether_1", "Walk", "Directions"):
        human36m_images(root, f"S9_{scenario}.54138969", range(1, 92, 5))
    return root


def mim_starts(files: list[str], advance: int) -> list[tuple[str, int]]:
    """The windows of MIM and MotionRNN (``human.py``) over the sorted images of one video: video, first frame."""
    starts, index, interval, length, step = [], 0, 2, 8, 5
    while index + interval * (length - 1) < len(files):
        first, last = files[index], files[index + interval * (length - 1)]
        numbers = [int(name.removesuffix(".jpg").split("_")[-1]) for name in (first, last)]
        if first[:-11] == last[:-11] and numbers[1] - numbers[0] == step * interval * (length - 1):
            starts.append((first[:-11], numbers[0]))
        index += advance
    return starts


class TestSequences:
    def test_exactly_walking(self, images: Path) -> None:
        data = Human36M(images)
        assert [s.name for s in data.sequences("test")] == sorted(walking(TEST))
        assert [s.name for s in data.sequences("train")] == sorted(walking(TRAIN))
        assert {s.frames for split in ("train", "test") for s in data.sequences(split)} == {range(1, 92, 5)}
        assert all(f.holds for f in data.check())
        sequences = Human36M(images, options=Human36M.Options(scenarios=("WalkDog",))).sequences("test")
        assert [(s.name, bool(s.problem)) for s in sequences] == [
            ("S11_WalkDog", True),
            ("S9_WalkDog_1.54138969", False),
        ]

    def test_no_subject_is_on_both_sides(self, images: Path) -> None:
        data = Human36M(images)
        sides = [{s.name.split("_")[0] for s in data.sequences(split)} for split in ("train", "test")]
        assert sides == [set(TRAIN), set(TEST)]
        with pytest.raises(ValidationError, match="subject S9 stands in train and in test"):
            Human36M.Options(train=("S1", "S9"))

    def test_missing_videos_are_told(self, images: Path) -> None:
        for path in images.glob("S9_Walking_1.*"):
            path.unlink()
        data = Human36M(images)
        problems = {s.name: s.problem for s in data.sequences("test")}
        assert len(problems) == 13
        assert "4 videos of S9 Walking, expected 8; get the others" in problems.pop("S9_Walking")
        assert not any(problems.values())
        assert [(f.found, f.expected, f.holds) for f in data.check()][2:] == [("12", "16", False), ("0", "0", True)]

    def test_both_forms_give_the_same_sequences(self, tmp_path: Path) -> None:
        forms = {"images": tmp_path / "images", "videos": tmp_path / "videos"}
        for stem in ("Walking 1.54138969", "Walking.54138969", "WalkDog.54138969", "WalkTogether 1.54138969"):
            name = f"S11_{stem.replace(' ', '_')}"
            human36m_images(forms["images"], name, range(1, 24, 5))
            human36m_video(forms["videos"], "S11", stem, known_frames(23))
        human36m_video(forms["videos"], "S11", "_ALL.54138969", known_frames(2))
        sequences = [Human36M(root, options=S11_ONLY).sequences("test") for root in forms.values()]
        assert [(s.name, s.frames) for s in sequences[0] if not s.problem] == [
            ("S11_Walking.54138969", range(1, 22, 5)),
            (NAME, range(1, 22, 5)),
        ]
        assert [(s.name, list(s.frames)) for s in sequences[0]] == [(s.name, list(s.frames)) for s in sequences[1]]

    @pytest.mark.parametrize("folder", [".", "S11", "deep/er/S11", "S11/Images/Walking"])
    def test_images_in_any_folder(self, tmp_path: Path, folder: str) -> None:
        human36m_images(tmp_path / folder, NAME, (1, 6, 11), (8, 8))
        data = Human36M(tmp_path, options=S11_ONLY)
        assert data.sequences("test")[1].frames == range(1, 12, 5)
        assert data.read(NAME, [6], "frames").shape == (1, 8, 8, 3)

    def test_a_video_in_two_folders(self, tmp_path: Path) -> None:
        human36m_images(tmp_path / "a", NAME, (1, 6))
        human36m_images(tmp_path / "b", NAME, (11, 16))
        human36m_images(tmp_path / "b", "S11_Walking.54138969", (11, 16))
        problems = {s.name: s.problem for s in Human36M(tmp_path, options=S11_ONLY).sequences("test")}
        assert f"{NAME} lies in two places, " in problems[NAME]
        assert not problems["S11_Walking.54138969"]

    def test_images_come_before_videos(self, tmp_path: Path) -> None:
        human36m_video(tmp_path, "S11", "Walking 1.54138969", known_frames(11))
        human36m_images(tmp_path / "S11", NAME, (1, 6), (8, 8))
        data = Human36M(tmp_path, options=S11_ONLY)
        assert data.sequences("test")[1].frames == range(1, 7, 5)
        np.testing.assert_array_equal(
            data.read(NAME, [6], "frames")[0], cv2.imread(str(tmp_path / f"S11/{NAME}_000006.jpg"))[..., ::-1]
        )

    def test_gaps_are_told(self, images: Path) -> None:
        (images / f"{NAME}_000046.jpg").unlink()
        data = Human36M(images)
        assert len(next(s for s in data.sequences("test") if s.name == NAME).frames) == 18
        assert [f.holds for f in data.check()] == [True, True, True, False]

    def test_links_out_of_the_root_are_not_followed(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        human36m_images(root, NAME, (1, 6), (8, 8))
        human36m_images(tmp_path / "outside", "S11_Walking.54138969", (1, 6), (8, 8))
        (root / "more").symlink_to(tmp_path / "outside")
        (root / "loop").symlink_to(root)
        path = root / f"{NAME}_000006.jpg"
        path.rename(tmp_path / "outside/6.jpg")
        path.symlink_to(tmp_path / "outside/6.jpg")
        sequences = [s for s in Human36M(root, options=S11_ONLY).sequences("test") if not s.problem]
        assert [(s.name, list(s.frames)) for s in sequences] == [(NAME, [1])]
        with pytest.raises(DataError, match=r"000006\.jpg: is a symbolic link out of the data root"):
            Human36M(root, options=S11_ONLY).read(NAME, [6], "frames")

    def test_a_broken_video(self, tmp_path: Path) -> None:
        path = human36m_video(tmp_path, "S11", "Walking 1.54138969", known_frames(3))
        path.write_bytes(b"")
        problem = Human36M(tmp_path, options=S11_ONLY).sequences("test")[1].problem
        assert "Walking 1.54138969.mp4: is not a video that opens (0 bytes" in problem


class TestRead:
    def test_an_image_is_the_videos_frame_one_before_its_number(self, tmp_path: Path) -> None:
        human36m_video(tmp_path, "S11", "Walking 1.54138969", known_frames(23))
        array = Human36M(tmp_path, options=S11_ONLY).read(NAME, [1, 11, 21], "frames")
        check_array(array, BUILT_IN["frames"], 3, "human36m")
        np.testing.assert_array_equal(array, known_frames(23)[[0, 10, 20]])
        with pytest.raises(DataError, match="has no frame 0; frames count from 1"):
            Human36M(tmp_path, options=S11_ONLY).read(NAME, [0], "frames")
        with pytest.raises(DataError, match=r"Walking 1\.54138969\.mp4: frame 25 was asked for, but it has 23"):
            Human36M(tmp_path, options=S11_ONLY).read(NAME, [21, 26], "frames")

    @pytest.mark.parametrize("size", [(1000, 1000), (1002, 1000)])
    def test_pixels_as_in_the_code_of_mim(self, tmp_path: Path, protocol: Protocol, size: tuple[int, int]) -> None:
        human36m_images(tmp_path, NAME, (1, 11), size)
        frames = Human36M(tmp_path, options=S11_ONLY).read(NAME, [1, 11], "frames")
        pixels = transform(frames, protocol.pixels, BUILT_IN["frames"])
        for number, frame in zip((1, 11), pixels, strict=True):
            image = cv2.imread(str(tmp_path / f"{NAME}_{number:06d}.jpg"))
            assert image.shape == (*size, 3)
            h, w = image.shape[:2]
            image = cv2.resize(image[h // 4 : -h // 4, w // 4 : -w // 4], (128, 128))
            np.testing.assert_array_equal(frame, image[..., ::-1])


class TestProtocol:
    def test_figure_8_predicts_twice_as_many_frames_and_is_otherwise_the_same(self, plugins, protocol) -> None:
        longer = Protocol.read(plugins.load("protocol", "human36m-4to8"))
        prose = {"name": longer.name, "summary": longer.summary, "source": longer.source, "notes": longer.notes}
        sampling = protocol.sampling.model_copy(update={"horizon": 8})
        assert longer == protocol.model_copy(update={**prose, "sampling": sampling})

    def test_its_choices(self, plugins, protocol: Protocol) -> None:
        assert plugins.load("dataset", protocol.dataset.name) is Human36M
        assert Human36M.Options(**protocol.dataset.options) == Human36M.Options()
        assert (protocol.sampling.context, protocol.sampling.horizon) == (4, 4)
        assert (protocol.size, protocol.reference) == ((128, 128), "repeat")
        # MSE* and MAE* of CDNet: a frame's sum over H*W*C, divided by 10 and by 100.
        assert protocol.display == {"mse": pytest.approx(4915.2), "mae": pytest.approx(491.52), "lpips": 1000}

    @given(st.integers(0, 120), st.integers(1, 50))
    def test_windows_of_one_video_are_those_of_mim(self, protocol: Protocol, count: int, first: int) -> None:
        numbers = range(first, first + 5 * count, 5)
        expected = mim_starts([f"{NAME}_{number:06d}.jpg" for number in numbers], advance=5)
        clips = sample(protocol.sampling, [SequenceInfo(NAME, numbers)]).clips
        assert [(clip.sequence, clip.frames[0]) for clip in clips] == expected
        assert all(b - a == 10 for clip in clips for a, b in zip(clip.frames, clip.frames[1:], strict=False))

    def test_kept_and_dropped_windows(self, images: Path, protocol: Protocol) -> None:
        """A window takes 15 images; one begins at every 5th: images 1 to 91 (19 of them) give 1, up to 96 give 2."""
        data = Human36M(images)
        assert len(build_manifest(protocol, data).clips) == 16
        human36m_images(images, NAME, (96,))
        (images / "S11_Walking.55011271_000041.jpg").unlink()  # in its window, sampled
        (images / "S11_Walking.58860488_000046.jpg").unlink()  # between two sampled ones
        manifest = build_manifest(protocol, Human36M(images))
        assert [c.frames[0] for c in manifest.clips if c.sequence == NAME] == [1, 26]
        assert manifest.dropped == ("S11_Walking.55011271",)
        assert len(manifest.clips) == 16
        assert manifest.clips[0].frames == tuple(range(1, 72, 10))

    def test_an_incomplete_set_is_partial(self, tmp_path: Path, protocol: Protocol) -> None:
        human36m_images(tmp_path, NAME, range(1, 92, 5))
        with pytest.raises(DataError, match=r"1 videos of S11 Walking, expected 8; get the others .and 1 more"):
            build_manifest(protocol, Human36M(tmp_path))
        assert build_manifest(protocol, Human36M(tmp_path), allow_partial=True).partial


class TestFrameRate:
    @pytest.mark.parametrize(("rate", "words"), [(25, "has 25 frames"), (60, "has 60 frames"), (50, "")])
    def test_videos_of_another_frame_rate_are_refused(self, tmp_path: Path, rate: int, words: str) -> None:
        path = human36m_video(tmp_path, "S11", "Walking 1.54138969", known_frames(80, 2, 2))
        write_video(path, known_frames(80, 2, 2), rate=rate)
        (sequence,) = [s for s in Human36M(tmp_path, options=S11_ONLY).sequences("test") if s.name == NAME]
        assert sequence.rate == rate
        assert words in sequence.problem
        assert bool(sequence.problem) is (rate != 50) is (not len(sequence.frames))

    def test_suffixes_in_capitals(self, tmp_path: Path) -> None:
        video = human36m_video(tmp_path / "v", "S11", "Walking 1.54138969", known_frames(80, 2, 2))
        video.rename(video.with_suffix(".MP4"))
        human36m_images(tmp_path / "i", NAME, range(1, 81, 5), (16, 24))
        for path in (tmp_path / "i").iterdir():
            path.rename(path.with_suffix(".JPG"))
        for form in "iv":
            data = Human36M(tmp_path / form, options=S11_ONLY)
            (sequence,) = [s for s in data.sequences("test") if not s.problem]
            assert sequence.frames == range(1, 80, 5)
            assert len(data.read(NAME, [1, 11], "frames")) == 2


@pytest.fixture(scope="module")
def windows(plugins) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """The windows of both lists, as the protocol cuts them from the covered frames."""
    sampling = Protocol.read(plugins.load("protocol", "human36m-256-4to4")).sampling
    videos = {split: [SequenceInfo(n, tuple(f)) for n, f in listed_frames(split).items()] for split in WINDOWS}
    return {split: [(c.sequence, c.frames) for c in sample(sampling, videos[split]).clips] for split in WINDOWS}


class TestListedWindows:
    """STRPM's lists, which OpenSTL ships. Its test list begins with the windows at 26, 176 and 1276 of this video."""

    VIDEO = "S1_Directions.54138969"

    @pytest.mark.slow
    def test_the_published_counts(self, windows) -> None:
        assert {split: len(clips) for split, clips in windows.items()} == WINDOWS == {"train": 73404, "test": 8582}
        starts = [frames[0] for video, frames in windows["test"] if video == self.VIDEO]
        assert {26, 176, 1276} <= set(starts)
        assert (self.VIDEO, tuple(range(1276, 1316, 5))) in windows["test"]
        trained = {frames[0] for video, frames in windows["train"] if video == self.VIDEO}
        assert {226, 501, 826} <= trained
        assert not trained & set(starts)

    @pytest.mark.slow
    def test_the_published_leak(self, windows) -> None:
        """Counted in the lists themselves: 838 of 838 videos, and 22,983 of 34,328 frames to predict."""
        train, test = listed_frames("train"), listed_frames("test")
        assert len(test) == len(train.keys() & test.keys()) == 838
        covered = {video: set(frames) for video, frames in train.items()}
        targets = [(video, frame) for video, frames in windows["test"] for frame in frames[4:]]
        assert (len(targets), sum(frame in covered[video] for video, frame in targets)) == (34328, 22983)

    def test_a_line_of_the_file_is_a_first_frame_and_a_mask_for_each_side(self) -> None:
        """``S11_Directions_1.55011271 21 7fb9f7fbfefffff 4608040100000``: bits 20 and 30 are the first of test."""
        video = "S11_Directions_1.55011271"
        assert listed_frames("train")[video][:3] == [21, 26, 31]
        assert listed_frames("test")[video][:9] == [*range(521, 561, 5), 771]

    def test_sequences(self, plugins, tmp_path: Path) -> None:
        protocol = Protocol.read(plugins.load("protocol", "human36m-256-4to4"))
        human36m_images(tmp_path, self.VIDEO, range(1, 231, 5), (8, 8))
        data = Human36M(tmp_path, options=Human36M.Options(**protocol.dataset.options))
        videos = data.sequences("test")
        assert len(videos) == 838
        assert f"{tmp_path}: there is no video S11_Directions.55011271 of STRPM's lists" == videos[0].problem
        (video,) = [v for v in videos if not v.problem]
        assert (video.name, video.source) == (self.VIDEO, self.VIDEO)
        assert {26, 61, 176, 211} <= set(video.frames) <= set(range(1, 231, 5))
        manifest = build_manifest(protocol, data, allow_partial=True)
        assert manifest.partial.endswith(f"; {len(manifest.clips)} of 8582 clips")
        assert {"@26", "@176"} <= {clip.id.removeprefix(self.VIDEO) for clip in manifest.clips}
        assert data.read(self.VIDEO, [26], "frames").shape == (1, 8, 8, 3)
        assert protocol.size == (256, 256)
        findings = [(f.name.partition(":")[0], f.found, f.expected, f.holds) for f in data.check()]
        assert findings == [("train", "1", "838", False), ("test", "1", "838", False)]
