"""Reader of KITTI raw, synced and rectified: ``ROOT/<date>/<date>_drive_<id>_sync/image_02/data/<frame>.png``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vpbench.errors import DataError
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo, Finding, SequenceInfo
from vpbench.toolkit.folders import data_file, evenly, list_folder
from vpbench.toolkit.media import file_stamp, read_image, stack
from vpbench_kitti.categories import CITY, drives

Camera = Literal["image_02", "image_03"]


TEST = drives("2011_09_26", "0060 0084 0093 0096")
"""The test drives of FVS (``doc/TestSetting.md``) and DMVFN: 78 + 383 + 433 + 475 frames."""
STDIFF_TEST = drives("2011_09_26", "0051 0056 0057 0059")
"""The test drives of STDiff: numbers 10 to 13 of the 28 drives of the category City, sorted by name."""
FVS24 = tuple(drive for drive in CITY if drive not in TEST)
"""The training drives of FVS and DMVFN."""

_TEST_FRAMES = 1369
_DATE = re.compile(r"\d{4}_\d\d_\d\d")
DRIVE_CAMERA = re.compile(r"(?P<date>\d{4}_\d\d_\d\d)/(?P=date)_drive_\d{4}_sync/image_0[23]")
"""The name of a sequence: one camera of a drive."""
_FRAME = re.compile(r"(\d{10})\.png")

INFO = DatasetInfo(
    modalities=("frames",),
    splits=("train", "test"),
    tree="""\
ROOT/
  2011_09_26/
    2011_09_26_drive_0060_sync/           test: drives 0060, 0084, 0093, 0096, 1,369 frames, about 1242x375, 10 Hz
      image_02/data/0000000000.png        left colour camera; image_03 is the right one
      image_02/data/0000000001.png
  2011_09_28/ 2011_09_29/ ...
""",
    obtain="Register at https://www.cvlibs.net/datasets/kitti/raw_data.php, download the [synced+rectified data] of "
    "each drive that `vpbench data check kitti-raw` names, unpack all in one folder and pass that folder",
    homepage="https://www.cvlibs.net/datasets/kitti/raw_data.php",
    licence="CC BY-NC-SA 3.0",
    citation="A. Geiger, P. Lenz, C. Stiller, R. Urtasun. Vision meets Robotics: The KITTI Dataset. IJRR 2013",
)


class KittiRaw:
    """Drives of KITTI raw, named ``<date>/<date>_drive_<id>_sync/<camera>``; frame numbers are those of the files."""

    class Options(BaseModel):
        """Options of the dataset, fixed by a protocol."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        test_drives: Literal["fvs4", "stdiff4"] = Field(
            default="fvs4",
            description="Test drives. fvs4: 0060, 0084, 0093, 0096 (FVS). stdiff4: 0051, 0056, 0057, 0059 (STDiff).",
        )
        train_drives: Literal["fvs24", "city-minus-4", "all-minus-4"] = Field(
            default="fvs24",
            description="fvs24: the 24 drives that FVS and DMVFN train on. city-minus-4: category City but the four "
            "of test. all-minus-4: every drive that is there but the four of test (SADM: 152 drives).",
        )
        train_cameras: tuple[Camera, ...] = Field(
            default=("image_02",), min_length=1, description="Cameras to train on; test is image_02 always."
        )

        @model_validator(mode="after")
        def _check_drives(self) -> KittiRaw.Options:
            if (self.test_drives, self.train_drives) == ("stdiff4", "fvs24"):
                raise ValueError("fvs24 has the drives of stdiff4; set train_drives to city-minus-4 or all-minus-4")
            return self

    info: ClassVar[DatasetInfo] = INFO

    def __init__(self, root: Path, options: KittiRaw.Options | None = None) -> None:
        self._root = Path(root).resolve()
        self._options = options or self.Options()
        self._test = TEST if self._options.test_drives == "fvs4" else STDIFF_TEST

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the drives of ``train`` or ``test``, sorted by name.

        A drive of a list that is not there, or is without frames, has a ``problem``.

        Raises:
            DataError: an unknown split, no drive at all below the root, or a folder that cannot be listed.
        """
        if split not in self.info.splits:
            raise DataError(f"kitti-raw has no split {split!r}; it has {' and '.join(self.info.splits)}")
        present = self._present()
        if not present:
            raise DataError(self._nothing_found())
        if split == "test":
            drives, cameras = self._test, ["image_02"]
        else:
            candidates = {"fvs24": FVS24, "city-minus-4": CITY, "all-minus-4": tuple(present)}
            drives = tuple(d for d in candidates[self._options.train_drives] if d not in self._test)
            cameras = sorted(set(self._options.train_cameras))
        return [describe_camera(self._root, f"{drive}/{camera}") for drive in sorted(drives) for camera in cameras]

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Read frames as uint8 RGB [N,H,W,3], 375x1242 or a few pixels less.

        Raises:
            DataError: an unknown drive, a frame that is missing or does not decode, frames of several sizes, or another
                modality than frames.
        """
        if modality != "frames":
            raise DataError(f"kitti-raw has no {modality}, only frames")
        if not DRIVE_CAMERA.fullmatch(sequence):
            raise DataError(f"{sequence!r} is not the name of a drive's camera, <date>/<date>_drive_<id>_sync/image_02")
        return read_camera(self._root, sequence, frames)

    def check(self) -> Sequence[Finding]:
        """Compare the frames of FVS's four test drives with their number. That of STDiff's drives is not published."""
        count = sum(len(s.frames) for s in self.sequences("test"))
        name = "test: frames of the 4 drives"
        if self._test == STDIFF_TEST:
            return [Finding(name, str(count), "not published", None)]
        return [Finding(name, str(count), str(_TEST_FRAMES), count == _TEST_FRAMES)]

    def _present(self) -> list[str]:
        dates = [name for name in list_folder(self._root, self._root).folders if _DATE.fullmatch(name)]
        return [f"{date}/{name}" for date in dates for name in self._in_date(date)]

    def _in_date(self, date: str) -> Iterable[str]:
        drive = re.compile(rf"{date}_drive_\d{{4}}_sync")
        return filter(drive.fullmatch, list_folder(self._root / date, self._root).folders)

    def _nothing_found(self) -> str:
        if _DATE.fullmatch(self._root.name):
            return (
                f"{self._root}: the data root of kitti-raw is the folder that holds {self._root.name}/: pass its parent"
            )
        return (
            f"{self._root}: holds no drive of KITTI raw, ROOT/<date>/<date>_drive_<id>_sync/; symbolic links to "
            f"folders are not followed. {self.info.obtain}"
        )


def read_camera(root: Path, sequence: str, frames: Sequence[int]) -> NDArray[Any]:
    """Read frames of one camera of a drive below ``root``, uint8 RGB [N,H,W,3].

    Raises:
        DataError: a frame that is missing or does not decode, or frames of several sizes.
    """
    paths = [root / sequence / "data" / f"{number:010d}.png" for number in frames]
    advice = "get the drive's [synced+rectified data] again"
    return stack([read_image(data_file(path, root, advice)) for path in paths], sequence)


def describe_camera(root: Path, name: str) -> SequenceInfo:
    """Return the frames of one camera of a drive below ``root``, with a ``problem`` if there is none."""
    folder, drive = root / name / "data", name.rpartition("/")[0]
    try:
        matches = map(_FRAME.fullmatch, list_folder(folder, root).files)
    except DataError as error:
        return SequenceInfo(name, range(0), str(error), source=drive)
    numbers = [int(match[1]) for match in matches if match is not None]
    if not numbers:
        problem = f"{folder}: holds no frame; get this drive's [synced+rectified data] from {INFO.homepage}"
        return SequenceInfo(name, range(0), problem, source=drive)
    return SequenceInfo(name, evenly(numbers), stamp=file_stamp(folder), source=drive)
