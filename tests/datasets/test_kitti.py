"""KITTI raw and KITTI scene flow 2015: drives and scenes by name, the counts of the papers, the real frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from twins import KITTI_TEST, kitti_drive, kitti_scenes, picture

from vpbench.errors import DataError
from vpbench.plugin.dataset import Dataset, check_array
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.modality import BUILT_IN
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.transforms import transform
from vpbench.protocol.units import Manifest, build_manifest
from vpbench_kitti.flow import KittiFlow
from vpbench_kitti.raw import FVS24, STDIFF_TEST, TEST, KittiRaw

SIZE = (15, 50)
ALL_DRIVES = KittiRaw.Options(train_drives="all-minus-4")
SIXTY = "2011_09_26/2011_09_26_drive_0060_sync/image_02"


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VPBENCH_PLUGINS", "")
    return load_plugins(["vpbench_kitti"])


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    """Two test drives, two of the 24 training drives, and one of neither."""
    root = tmp_path / "kitti"
    kitti_drive(root, "0060", range(12), SIZE)
    kitti_drive(root, "0084", range(10), SIZE)
    kitti_drive(root, "0060", range(12), camera=3)
    for camera in (2, 3):
        kitti_drive(root, "0001", range(11), camera=camera)
        kitti_drive(root, "0071", range(9), date="2011_09_29", camera=camera)
        kitti_drive(root, "0015", range(9), camera=camera)
    return root


def manifest(plugins, name: str, root: Path, *, partial: bool = False) -> tuple[Protocol, Dataset, Manifest]:
    protocol = Protocol.read(plugins.load("protocol", name))
    kind = plugins.load("dataset", protocol.dataset.name)
    options = {"options": kind.Options(**protocol.dataset.options)} if hasattr(kind, "Options") else {}
    data = kind(root, **options)
    return protocol, data, build_manifest(protocol, data, allow_partial=partial)


def short(sequences) -> list[str]:
    return [s.name.replace("_sync/image", "").partition("drive_")[2] for s in sequences]


class TestRaw:
    def test_the_test_drives(self, drives: Path) -> None:
        sequences = KittiRaw(drives).sequences("test")
        assert [(s.name, s.frames) for s in sequences][:2] == [
            (SIXTY, range(12)),
            (SIXTY.replace("0060", "0084"), range(10)),
        ]
        assert short(sequences) == ["0060_02", "0084_02", "0093_02", "0096_02"]
        for sequence in sequences[2:]:
            assert f"{sequence.name}/data: holds no frame; get this drive's [synced+rect" in sequence.problem

    def test_the_training_drives(self, drives: Path) -> None:
        assert (len(set(FVS24)), len(set(TEST)), set(FVS24) & set(TEST)) == (24, 4, set())
        sequences = KittiRaw(drives).sequences("train")
        assert [s.name.rpartition("/")[0] for s in sequences] == sorted(FVS24)
        assert short(s for s in sequences if not s.problem) == ["0001_02", "0071_02"]
        assert short(KittiRaw(drives, options=ALL_DRIVES).sequences("train")) == ["0001_02", "0015_02", "0071_02"]
        stereo = KittiRaw.Options(train_drives="all-minus-4", train_cameras=("image_03", "image_02"))
        sequences = KittiRaw(drives, options=stereo).sequences("train")
        assert short(sequences) == ["0001_02", "0001_03", "0015_02", "0015_03", "0071_02", "0071_03"]
        assert short(KittiRaw(drives, options=stereo).sequences("test")) == [
            "0060_02",
            "0084_02",
            "0093_02",
            "0096_02",
        ]

    def test_1337_clips(self, tmp_path: Path, plugins) -> None:
        for number, count in KITTI_TEST.items():
            kitti_drive(tmp_path, number, range(count))
        _, data, clips = manifest(plugins, "kitti-raw", tmp_path)
        assert len(clips.clips) == 1337 == sum(count - 8 for count in KITTI_TEST.values())
        assert clips.partial == ""
        assert [f.holds for f in data.check()] == [True]
        assert clips.clips[0].id == f"{SIXTY}@0"
        kitti_drive(tmp_path, "0093", []).joinpath(f"{100:010d}.png").unlink()
        with pytest.raises(DataError, match="has 1337 clips, the data give 1328"):
            manifest(plugins, "kitti-raw", tmp_path)
        assert manifest(plugins, "kitti-raw", tmp_path, partial=True)[2].partial == "1328 of 1337 clips"
        assert [(f.found, f.expected, f.holds) for f in data.check()] == [("1368", "1369", False)]

    def test_frames(self, drives: Path) -> None:
        array = KittiRaw(drives).read(SIXTY, [3, 11], "frames")
        check_array(array, BUILT_IN["frames"], 2, "kitti-raw")
        np.testing.assert_array_equal(array, [picture(f"{n:010d}.png", SIZE) for n in (3, 11)])

    def test_real_frames_equal_opencv(self, shared: Path, plugins) -> None:
        root = shared / "data/kitti_raw"
        with pytest.raises(DataError, match=r"drive_0084_sync.* holds no frame.*2 more.*allow a partial"):
            manifest(plugins, "kitti-raw", root)
        protocol, data, clips = manifest(plugins, "kitti-raw", root, partial=True)
        assert clips.partial == "3 unreadable sequences left out; 12 of 1337 clips"
        assert [clip.frames for clip in clips.clips] == [tuple(range(first, first + 9)) for first in range(12)]
        frames = []
        for number in range(20):
            image = cv2.imread(str(root / SIXTY / "data" / f"{number:010d}.png"))
            assert image.shape == (375, 1242, 3)
            frames.append(cv2.cvtColor(cv2.resize(image, (832, 256)), cv2.COLOR_BGR2RGB))
        for clip in (clips.clips[0], clips.clips[7], clips.clips[11]):
            array = transform(data.read(clip.sequence, clip.frames, "frames"), protocol.pixels, BUILT_IN["frames"])
            np.testing.assert_array_equal(array, np.stack(frames)[list(clip.frames)])

    def test_protocol(self, plugins) -> None:
        protocol = Protocol.read(plugins.load("protocol", "kitti-raw"))
        assert (protocol.sampling.context, protocol.sampling.horizon, protocol.sampling.stride) == (4, 5, 1)
        assert (protocol.size, protocol.quantise, protocol.report) == ((256, 832), True, (1, 3, 5))
        assert protocol.reference == "repeat"

    def test_the_drives_of_stdiff(self, drives: Path) -> None:
        city = sorted(FVS24 + TEST)
        assert (len(city), tuple(city[10:14])) == (28, STDIFF_TEST)
        options = {"test_drives": "stdiff4", "train_drives": "city-minus-4"}
        data = KittiRaw(drives, options=KittiRaw.Options(**options))
        assert [s.name for s in data.sequences("test")] == [f"{drive}/image_02" for drive in STDIFF_TEST]
        train = [s.name for s in data.sequences("train")]
        assert train == [f"{drive}/image_02" for drive in city[:10] + city[14:]]
        assert [(f.found, f.expected, f.holds) for f in data.check()] == [("0", "not published", None)]
        with pytest.raises(ValueError, match="fvs24 has the drives of stdiff4"):
            KittiRaw.Options(test_drives="stdiff4")

    def test_clips_side_by_side_in_the_middle_of_a_drive(self, tmp_path: Path, plugins) -> None:
        for drive, length in zip(("0051", "0056", "0057", "0059"), (9, 17, 18, 23), strict=True):
            kitti_drive(tmp_path, drive, range(length))
        protocol, data, clips = manifest(plugins, "kitti-128-4to5", tmp_path)
        starts = [(clip.sequence.partition("drive_")[2][:4], clip.frames[0]) for clip in clips.clips]
        assert starts == [("0051", 0), ("0056", 4), ("0057", 0), ("0057", 9), ("0059", 2), ("0059", 11)]
        assert all(clip.frames == tuple(range(clip.frames[0], clip.frames[0] + 9)) for clip in clips.clips)
        assert (protocol.size, protocol.clips, clips.clips[0].context) == ((128, 128), None, 4)
        file = kitti_drive(tmp_path, "0051", []) / f"{0:010d}.png"
        cv2.imwrite(str(file), picture("a", (375, 1242))[..., ::-1])
        square = Image.fromarray(picture("a", (375, 1242))[:, 433:808]).resize((128, 128), Image.Resampling.BICUBIC)
        frames = transform(data.read(clips.clips[0].sequence, [0], "frames"), protocol.pixels, BUILT_IN["frames"])
        np.testing.assert_array_equal(frames[0], square)

    def test_other_files_are_passed_over(self, drives: Path) -> None:
        def listing() -> list[tuple[object, ...]]:
            data = KittiRaw(drives, options=ALL_DRIVES)
            return [(s.name, s.frames, s.problem) for split in ("train", "test") for s in data.sequences(split)]

        before = listing()
        for stray in ("0000000012.jpg", "._0000000012.png", "12.png", "0000000012.png.part"):
            (drives / SIXTY / "data" / stray).touch()
        (drives / "2011_09_26/2011_09_28_drive_0001_sync/image_02/data").mkdir(parents=True)
        (drives / "2011_09_26/2011_09_26_drive_0002_extract").mkdir()
        (drives / "devkit").mkdir()
        assert listing() == before


class TestFlow:
    @pytest.fixture
    def scenes(self, tmp_path: Path) -> Path:
        root = tmp_path / "flow"
        kitti_scenes(root, "testing", (0, 7), SIZE)
        kitti_scenes(root, "training", (0,))
        return root

    def test_4000_and_3400_clips(self, tmp_path: Path, plugins) -> None:
        kitti_scenes(tmp_path, "testing", range(200))
        _, data, clips = manifest(plugins, "kitti-flow", tmp_path)
        assert len(clips.clips) == len({c.id for c in clips.clips}) == 4000
        targets = [(c.sequence, c.frames[-1]) for c in clips.clips]
        assert targets == [(f"testing/{scene:06d}", k) for scene in range(200) for k in range(1, 21)]
        assert [c.frames for c in clips.clips[:3]] == [(0, 0, 0, 0, 1), (0, 0, 0, 1, 2), (0, 0, 1, 2, 3)]
        _, _, four = manifest(plugins, "kitti-flow-4ctx", tmp_path)
        assert len(four.clips) == 3400
        assert four.clips == tuple(c for c in clips.clips if c.frames[-1] >= 4)
        assert [(f.found, f.holds) for f in data.check()] == [
            ("0 scenes, 0 frames", False),
            ("200 scenes, 4200 frames", True),
        ]

    def test_scenes(self, scenes: Path) -> None:
        sequences = KittiFlow(scenes).sequences("test")
        assert [s.name for s in sequences] == [f"testing/{scene:06d}" for scene in range(200)]
        complete = [s for s in sequences if not s.problem]
        assert [(s.name, s.frames) for s in complete] == [("testing/000000", range(21)), ("testing/000007", range(21))]
        assert "testing/image_2/000001_00.png: is missing (0 of the scene's 21 frames" in sequences[1].problem
        train = KittiFlow(scenes).sequences("train")
        assert not {s.name for s in train} & {s.name for s in sequences}

    def test_frames_10_and_11_alone_are_not_enough(self, tmp_path: Path) -> None:
        kitti_scenes(tmp_path, "testing", [0])
        for path in (tmp_path / "testing/image_2").glob("*_0[0-9].png"):
            path.unlink()
        for path in (tmp_path / "testing/image_2").glob("*_1[2-9].png"):
            path.unlink()
        problem = KittiFlow(tmp_path).sequences("test")[0].problem
        assert (
            "000000_00.png: is missing (3 of the scene's 21 frames are there); unpack data_scene_flow_mult" in problem
        )

    def test_frames_of_both_protocols(self, scenes: Path, plugins) -> None:
        protocol, data, clips = manifest(plugins, "kitti-flow", scenes, partial=True)
        assert clips.partial == "198 unreadable sequences left out; 40 of 4000 clips"
        expected = []
        for number in range(21):
            path = scenes / "testing/image_2" / f"000007_{number:02d}.png"
            cv2.imwrite(str(path), picture(path.name, (375, 1242)))
            expected.append(cv2.resize(cv2.imread(str(path)), (424, 128))[:, 84:340, ::-1])
        for clip in (clips.clips[21], clips.clips[-1]):
            array = transform(data.read(clip.sequence, clip.frames, "frames"), protocol.pixels, BUILT_IN["frames"])
            assert array.shape[1:] == (128, 256, 3)
            np.testing.assert_array_equal(array, np.stack(expected)[list(clip.frames)])
        four = Protocol.read(plugins.load("protocol", "kitti-flow-4ctx"))
        assert four.pixels == protocol.pixels
        assert (four.sampling.context, four.sampling.horizon, four.sampling.pad) == (4, 1, None)
        assert four.display == protocol.display == {"ssim": 100, "lpips": 100}
