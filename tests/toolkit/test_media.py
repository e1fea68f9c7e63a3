"""Pictures and videos become uint8 RGB, the same as other decoders give; broken ones give one clear error."""

from __future__ import annotations

import functools
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow
from tiny_video import known_frames, write_picture, write_video

from vpbench.errors import DataError
from vpbench.toolkit import media
from vpbench.toolkit.media import VideoReader, count_frames, read_image, stack

REAL_COUNTS = {  # what decodes: the header of tree.avi claims 444
    "ucf101/UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi": 164,
    "ucf101/UCF-101/SoccerJuggling/v_SoccerJuggling_g23_c01.avi": 240,
    "ucf101/UCF-101/SoccerJuggling/v_SoccerJuggling_g24_c01.avi": 251,
    "video/bikes.mp4": 250,
    "video/carphone_pristine.mp4": 120,
    "video/tree.avi": 68,
    "video/vtest.avi": 795,
}


def opencv_frames(path: Path, count: int) -> NDArray[Any]:
    capture = cv2.VideoCapture(str(path))
    return np.stack([capture.read()[1][..., ::-1] for _ in range(count)])


@functools.cache
def lossless_clip() -> tuple[NDArray[np.uint8], bytes]:
    import tempfile

    frames = known_frames(30)
    with tempfile.TemporaryDirectory() as folder:
        return frames, write_video(Path(folder) / "clip.avi", frames).read_bytes()


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The videos whose decoding was begun, each time."""
    begun: list[Path] = []
    decode = media._decode

    def counted(path: Path) -> Any:
        begun.append(path)  # a generator: it runs only when the first frame is asked for
        yield from decode(path)

    monkeypatch.setattr(media, "_decode", counted)
    return begun


class TestReadImage:
    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
    def test_gives_red_first(self, tmp_path: Path, suffix: str) -> None:
        frame = known_frames(8)[7]
        image = read_image(write_picture(tmp_path / f"a{suffix}", frame))
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, frame)

    def test_grey_is_repeated_and_transparent_pixels_are_refused(self, tmp_path: Path) -> None:
        grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
        cv2.imwrite(str(tmp_path / "grey.png"), grey)
        np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, axis=2))
        rgba = np.dstack([known_frames(1, 6, 8)[0, ..., ::-1], np.full((6, 8), 255, dtype=np.uint8)])
        cv2.imwrite(str(tmp_path / "alpha.png"), rgba)
        np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), known_frames(1, 6, 8)[0])
        rgba[2, 3, 3] = 254
        cv2.imwrite(str(tmp_path / "alpha.png"), rgba)
        Pillow.new("P", (4, 4)).save(tmp_path / "palette.png", transparency=0)
        for name in ("alpha.png", "palette.png"):
            with pytest.raises(DataError, match=rf"{name}: has transparent pixels; save it without an alpha channel"):
                read_image(tmp_path / name)

    def test_equals_opencv_on_real_pictures(self, shared: Path) -> None:
        paths = sorted((shared / "data").glob("davis/images/judo/*.jpg"))[:3]
        paths += sorted((shared / "data/kitti_raw").rglob("*.png"))[:2]
        assert len(paths) == 5
        for path in paths:
            np.testing.assert_array_equal(read_image(path), cv2.imread(str(path))[..., ::-1])

    @pytest.mark.parametrize("suffix", [".png", ".jpg"])
    @pytest.mark.parametrize("left", [0.0, 0.5, 0.97])
    def test_truncated_is_an_error_that_names_the_file(self, tmp_path: Path, suffix: str, left: float) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        path = write_picture(tmp_path / f"broken{suffix}", noise)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * left)])
        with pytest.raises(DataError, match=r"broken.*is not a picture that decodes \(\d+ bytes\); get the file again"):
            read_image(path)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"gone\.png: cannot be read: No such file"):
            read_image(tmp_path / "gone.png")


def test_stack_refuses_mixed_sizes() -> None:
    with pytest.raises(DataError, match=r"walk: the frame size changes within the sequence \(6x4 and 6x5\)"):
        stack([np.zeros((4, 6, 3)), np.zeros((5, 6, 3))], "walk")


class TestCountFrames:
    @pytest.mark.parametrize("name", REAL_COUNTS)
    def test_real_headers(self, shared: Path, name: str) -> None:
        assert count_frames(shared / "data" / name) == REAL_COUNTS[name]

    @pytest.mark.parametrize("suffix", [".avi", ".mov", ".mkv"])  # a .mkv does not say: its packets are counted
    def test_every_container(self, tmp_path: Path, suffix: str) -> None:
        assert count_frames(write_video(tmp_path / f"a{suffix}", known_frames(7))) == 7

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"gone\.avi: there is no such file"):
            count_frames(tmp_path / "gone.avi")

    def test_sound_only(self, tmp_path: Path) -> None:
        path = tmp_path / "sound.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
            sound.sample_rate = 8000
            container.mux(stream.encode(sound))
            container.mux(stream.encode(None))
        with pytest.raises(DataError, match=r"sound\.mkv: has no video stream"):
            count_frames(path)

    def test_a_title_that_is_not_utf8(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.avi", known_frames(3), title="zzzz")
        data = path.read_bytes()
        assert b"zzzz" in data
        path.write_bytes(data.replace(b"zzzz", b"\xe9\xff\xfe\xe8"))
        assert count_frames(path) == 3


class TestVideoReader:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", REAL_COUNTS)
    def test_equals_opencv_on_real_videos(self, shared: Path, name: str) -> None:
        path = shared / "data" / name
        frames = VideoReader(path).read(range(5, 60))
        assert frames.dtype == np.uint8
        np.testing.assert_array_equal(frames, opencv_frames(path, 60)[5:])

    @given(
        windows=st.lists(st.lists(st.integers(0, 29), min_size=1, max_size=8, unique=True).map(sorted), max_size=6),
        keep=st.sampled_from([0, 3 * 16 * 24 * 3, 256 << 20]),
    )
    def test_any_windows_in_any_order(
        self, tmp_path_factory: pytest.TempPathFactory, windows: list[list[int]], keep: int
    ) -> None:
        frames, data = lossless_clip()
        path = tmp_path_factory.getbasetemp() / "lossless.avi"
        if not path.exists():
            path.write_bytes(data)
        reader = VideoReader(path, keep=keep)
        for window in windows:
            np.testing.assert_array_equal(reader.read(window), frames[window])

    def test_overlapping_windows_in_order_decode_once(self, tmp_path: Path, openings: list[Path]) -> None:
        reader = VideoReader(write_video(tmp_path / "a.avi", known_frames(30)))
        for start in range(16):
            reader.read(range(start, start + 14, 2))
        assert len(openings) == 1
        reader.read([3])
        assert len(openings) == 2

    def test_what_is_kept_is_bounded(self, tmp_path: Path, openings: list[Path]) -> None:
        frames = known_frames(30)
        reader = VideoReader(write_video(tmp_path / "a.avi", frames), keep=5 * frames[0].nbytes)
        reader.read(range(0, 20))
        reader.read(range(15, 25))  # five are at hand
        assert len(openings) == 1
        reader.read(range(19, 29))  # six would have to be
        assert len(openings) == 2

    def test_a_header_that_claims_too_much(self, shared: Path) -> None:
        reader = VideoReader(shared / "data/video/tree.avi")
        for _ in range(2):
            with pytest.raises(DataError, match=r"frame 68 was asked for, but it has 68 frames"):
                reader.read(range(60, 74))
        assert reader.read([67]).shape == (1, 240, 320, 3)

    def test_a_truncated_video_reads_as_far_as_it_goes(self, tmp_path: Path, shared: Path) -> None:
        whole = shared / "data/ucf101/UCF-101/SoccerJuggling/v_SoccerJuggling_g23_c01.avi"
        path = tmp_path / "half.avi"
        path.write_bytes(whole.read_bytes()[:200_000])
        reader = VideoReader(path)
        np.testing.assert_array_equal(reader.read(range(27)), opencv_frames(whole, 27))
        with pytest.raises(DataError, match=r"half\.avi: is cut off: 200000 of 508394 bytes"):
            reader.read(range(200, 227))

    def test_pickles_while_open(self, tmp_path: Path) -> None:
        frames = known_frames(9)
        reader = VideoReader(write_video(tmp_path / "a.avi", frames))
        reader.read([0, 4])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader)).read([3, 8]), frames[[3, 8]])

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_goes_on_in_a_fork_and_in_its_parent(self, shared: Path) -> None:
        # A worker of a DataLoader inherits the open video: without care both lose frames, or the worker never ends.
        path = shared / "data/video/bikes.mp4"
        reader = VideoReader(path)
        reader.read(range(10))
        fork = multiprocessing.get_context("fork")
        queue = fork.SimpleQueue()
        worker = fork.Process(target=lambda: queue.put(int(reader.read(range(10, 60)).sum(dtype=np.int64))))
        worker.start()
        worker.join(timeout=60)
        hangs = worker.is_alive()
        worker.kill()
        assert not hangs
        expected = opencv_frames(path, 60)[10:]
        assert queue.get() == expected.sum(dtype=np.int64)
        np.testing.assert_array_equal(reader.read(range(10, 60)), expected)
