"""Reader of KITTI scene flow 2015, multi-view: ``ROOT/{training,testing}/image_2/<scene>_<k>.png``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from vpbench.errors import DataError
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo, Finding, SequenceInfo
from vpbench.toolkit.folders import data_file, evenly, list_folder
from vpbench.toolkit.media import file_stamp, read_image, stack

_FOLDER = {"train": "training", "test": "testing"}
_CAMERA = "image_2"
_SCENES, _LENGTH = 200, 21
_NAME = re.compile(r"(?P<folder>training|testing)/(?P<scene>000[01]\d\d)")
_FRAME = re.compile(r"(000[01]\d\d)_(\d\d)\.png")
_REMEDY = "unpack data_scene_flow_multiview.zip there"

INFO = DatasetInfo(
    modalities=("frames",),
    splits=("train", "test"),
    tree="""\
ROOT/
  training/image_2/000000_00.png          200 scenes 000000 to 000199, of each 21 frames _00 to _20, about 1242x375
  testing/image_2/000000_00.png           200 scenes
""",
    obtain="Register at https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php, download the multi-view extension "
    "data_scene_flow_multiview.zip (14 GB), unpack it and pass the folder that then holds training/ and testing/",
    homepage="https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php",
    licence="CC BY-NC-SA 3.0",
    citation="M. Menze, A. Geiger. Object Scene Flow for Autonomous Vehicles. CVPR 2015",
)


class KittiFlow:
    """Scenes of 21 frames, named ``training/<scene>`` and ``testing/<scene>``; frame numbers count from 0.

    ``data_scene_flow.zip`` alone, with frames 10 and 11 of each scene, is not enough.
    """

    info: ClassVar[DatasetInfo] = INFO

    def __init__(self, root: Path) -> None:
        self._root = Path(root).resolve()

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the 200 scenes of ``train`` or ``test``, sorted by name.

        A scene that is not there, or lacks frames, has a ``problem``.

        Raises:
            DataError: an unknown split, no scene at all below the root, or a folder that cannot be listed.
        """
        if split not in self.info.splits:
            raise DataError(f"kitti-flow has no split {split!r}; it has {' and '.join(self.info.splits)}")
        numbers = self._numbers(split)
        if not numbers and not any(map(self._numbers, self.info.splits)):
            raise DataError(
                f"{self._root}: holds no frame of KITTI scene flow 2015, ROOT/testing/{_CAMERA}/000000_00.png. "
                f"{self.info.obtain}"
            )
        folder = self._root / _FOLDER[split] / _CAMERA
        stamp = file_stamp(folder) if folder.is_dir() else ""
        scenes = [f"{scene:06d}" for scene in range(_SCENES)]
        return [self._describe(split, scene, numbers.get(scene, []), stamp) for scene in scenes]

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Read frames as uint8 RGB [N,H,W,3], 375x1242 or a few pixels less.

        Raises:
            DataError: an unknown scene, a frame that is missing or does not decode, frames of several sizes, or another
                modality than frames.
        """
        if modality != "frames":
            raise DataError(f"kitti-flow has no {modality}, only frames")
        match = _NAME.fullmatch(sequence)
        if match is None:
            raise DataError(f"{sequence!r} is not the name of a scene, testing/000000 to testing/000199")
        paths = [self._path(match["folder"], match["scene"], number) for number in frames]
        return stack([read_image(data_file(path, self._root, _REMEDY)) for path in paths], sequence)

    def check(self) -> Sequence[Finding]:
        """Compare the numbers of scenes and frames of each split with the official ones."""
        findings = []
        for split in self.info.splits:
            numbers = self._numbers(split)
            counts = (len(numbers), sum(map(len, numbers.values())))
            expected = (_SCENES, _SCENES * _LENGTH)
            found_text, expected_text = (f"{scenes} scenes, {frames} frames" for scenes, frames in (counts, expected))
            findings.append(Finding(f"{split}: all there", found_text, expected_text, counts == expected))
        return findings

    def _numbers(self, split: str) -> dict[str, list[int]]:
        """Return the frame numbers of each scene, ascending."""
        numbers: dict[str, list[int]] = {}
        listing = list_folder(self._root / _FOLDER[split] / _CAMERA, self._root)
        for match in map(_FRAME.fullmatch, listing.files):
            if match is not None and int(match[2]) < _LENGTH:
                numbers.setdefault(match[1], []).append(int(match[2]))
        return numbers

    def _path(self, folder: str, scene: str, number: int) -> Path:
        return self._root / folder / _CAMERA / f"{scene}_{number:02d}.png"

    def _describe(self, split: str, scene: str, numbers: list[int], stamp: str) -> SequenceInfo:
        name = f"{_FOLDER[split]}/{scene}"
        missing = [number for number in range(_LENGTH) if number not in numbers]
        if missing:
            path = self._path(_FOLDER[split], scene, missing[0])
            problem = f"{path}: is missing ({len(numbers)} of the scene's {_LENGTH} frames are there); {_REMEDY}"
            return SequenceInfo(name, evenly(numbers), problem)
        return SequenceInfo(name, evenly(numbers), stamp=stamp)
