"""Reader of KittiCaltech: KITTI raw to train, the test videos of Caltech Pedestrian to score, both at 10 Hz."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from vpbench.errors import DataError
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo, Finding, SequenceInfo
from vpbench.toolkit.folders import data_file, file_stamp, list_folder
from vpbench_kitti.categories import CITY, RESIDENTIAL, ROAD, drives
from vpbench_kitti.raw import DRIVE_CAMERA, describe_camera, read_camera
from vpbench_kitti.seq import read_index, read_pictures

_CAMERA = "image_03"
VALIDATION = drives("2011_09_26", "0005")
UNUSED = drives("2011_09_26", "0070 0079 0104")
"""PredNet's test drives on KITTI."""
TRAINING = tuple(sorted({*CITY, *RESIDENTIAL, *ROAD} - {*VALIDATION, *UNUSED}))
"""The 57 drives that PredNet trains on."""

STEP = 3
"""Caltech has 30 frames per second. The third of every three is read."""
_TEST_SETS = range(6, 11)
_PICTURES = 121_465
"""Pictures that a public converter makes of the test videos (Nazila-H/Caltech-images-convertor)."""
_VIDEO = re.compile(r"set(?:06|07|08|09|10)/V\d{3}")
_ADVICE = "unpack the archive of its set again"

INFO = DatasetInfo(
    modalities=("frames",),
    splits=("train", "val", "test"),
    tree="""\
ROOT/
  set06/V000.seq                          Caltech Pedestrian, test sets set06 to set10, 640x480, 30 Hz; or below Test/
  set10/V000.seq
  2011_09_26/                             KITTI raw, to train: 57 drives of City, Residential and Road, as for kitti-raw
    2011_09_26_drive_0001_sync/image_03/data/0000000000.png
""",
    obtain="Download data_and_labels.zip of Caltech Pedestrian from https://data.caltech.edu/records/f6rph-90m20, "
    "unpack set06 to set10 and pass the folder that holds them; to train, unpack the drives of KITTI raw there, too",
    homepage="https://data.caltech.edu/records/f6rph-90m20",
    licence="Caltech Pedestrian: not verified, see its page; KITTI: CC BY-NC-SA 3.0",
    citation="P. Dollar, C. Wojek, B. Schiele, P. Perona. Pedestrian Detection: An Evaluation of the State of the Art. "
    "TPAMI 2012",
)


class KittiCaltech:
    """Drives of KITTI, named as in ``kitti-raw``, and videos of Caltech, ``set06/V000``, both at 10 Hz.

    Frame k of a video of Caltech is its picture 3k + 2. Frame numbers of a drive are those of its files.
    """

    info: ClassVar[DatasetInfo] = INFO

    def __init__(self, root: Path) -> None:
        self._root = Path(root).resolve()

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the drives of ``train`` or ``val``, or the videos of ``test``, sorted by name.

        A drive that is not there has a ``problem``; so has a video that is cut off or no ``.seq`` file.

        Raises:
            DataError: an unknown split, neither a video nor a drive below the root, or a folder that cannot be listed.
        """
        if split not in self.info.splits:
            raise DataError(f"kitti-caltech has no split {split!r}; it has {', '.join(self.info.splits)}")
        if not self._videos and not any((self._root / date).is_dir() for date in {d[:10] for d in TRAINING}):
            raise DataError(
                f"{self._root}: holds no video of Caltech Pedestrian, ROOT/set06/V000.seq, and no drive of KITTI raw. "
                f"{self.info.obtain}"
            )
        if split == "test":
            return [self._describe(name) for name in sorted(self._videos)]
        names = TRAINING if split == "train" else VALIDATION
        return [describe_camera(self._root, f"{name}/{_CAMERA}") for name in names]

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Read frames as uint8 RGB [N,480,640,3], or of a drive [N,375,1242,3] or a few pixels less.

        Raises:
            DataError: an unknown sequence, a frame that is missing or does not decode, or another modality than frames.
        """
        if modality != "frames":
            raise DataError(f"kitti-caltech has no {modality}, only frames")
        if DRIVE_CAMERA.fullmatch(sequence):
            return read_camera(self._root, sequence, frames)
        if not _VIDEO.fullmatch(sequence):
            raise DataError(f"{sequence!r} is neither a drive of KITTI nor a test video of Caltech, set06/V000")
        return read_pictures(self._path(sequence), [STEP * number + STEP - 1 for number in frames])

    def check(self) -> Sequence[Finding]:
        """Report the test sets without a video, and compare the number of pictures with that of a public converter."""
        present = {name[:5] for name in self._videos}
        missing = tuple(folder for folder in map("set{:02d}".format, _TEST_SETS) if folder not in present)
        count = len(_TEST_SETS) - len(missing)
        pictures = sum(STEP * len(video.frames) for video in self.sequences("test"))
        return [
            Finding("test: sets with videos", str(count), str(len(_TEST_SETS)), not missing, missing),
            Finding("test: frames of 30 Hz, in threes", str(pictures), f"about {_PICTURES}", None),
        ]

    @cached_property
    def _videos(self) -> Mapping[str, Path]:
        """The file of each test video; those in the root come before those in ``Test/``."""
        videos: dict[str, Path] = {}
        for folder in (self._root, self._root / "Test"):
            for test_set in map("set{:02d}".format, _TEST_SETS):
                listing = list_folder(folder / test_set, self._root)
                for file in (*listing.files, *listing.links):
                    name = f"{test_set}/{file.removesuffix('.seq')}"
                    if file.endswith(".seq") and _VIDEO.fullmatch(name):
                        videos.setdefault(name, folder / test_set / file)
        return videos

    def _path(self, name: str) -> Path:
        return data_file(self._videos.get(name, self._root / f"{name}.seq"), self._root, _ADVICE)

    def _describe(self, name: str) -> SequenceInfo:
        try:
            path = self._path(name)
            index, stamp = read_index(path), file_stamp(path)
        except DataError as error:
            return SequenceInfo(name, range(0), str(error), source=name)
        count = len(index.pictures)
        # Converters report official files whose last frame does not read.
        is_cut = count < index.claimed - 1
        problem = f"{path}: is cut off after {count} of {index.claimed} frames; {_ADVICE}" if is_cut else ""
        return SequenceInfo(name, range(count // STEP), problem, stamp, name)
