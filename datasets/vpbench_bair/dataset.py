"""Reader of BAIR robot pushing: ``ROOT/softmotion30_44k/<split>/traj_<first>_to_<last>.tfrecords``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import DataError
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo, Finding, SequenceInfo
from vpbench.plugin.modality import ModalitySpec
from vpbench.toolkit.folders import data_file, file_stamp, list_folder
from vpbench_bair.examples import Feature, parse_example
from vpbench_bair.records import Place, find_records, read_record

_FOLDER = "softmotion30_44k"
_FRAMES, _SIDE, _ACTION = 30, 64, 4
_CLIPS = {"train": 43_264, "test": 256}
_FILE = re.compile(r"(traj_\d+_to_\d+)\.tfrecords")
_NAME = re.compile(r"(?P<split>train|test)/(?P<file>traj_\d+_to_\d+)/(?P<record>\d{3,})")
_ADVICE = "unpack bair_robot_pushing_dataset_v0.tar again"

INFO = DatasetInfo(
    modalities=("frames", "actions"),
    declares=(ModalitySpec("actions", "float32", (_ACTION,)),),
    splits=("train", "test"),
    tree="""\
ROOT/
  softmotion30_44k/
    train/traj_10174_to_10429.tfrecords    169 files, 43,264 clips of 30 frames, 64x64
    test/traj_0_to_255.tfrecords           256 clips
""",
    obtain="Download http://rail.eecs.berkeley.edu/datasets/bair_robot_pushing_dataset_v0.tar (30 GB), unpack it and "
    f"pass the folder that then holds {_FOLDER}/",
    homepage="https://sites.google.com/view/sna-visual-mpc/",
    licence="CC BY 4.0",
    citation="F. Ebert, C. Finn, A. Lee, S. Levine. Self-Supervised Visual Planning with Temporal Skip Connections. "
    "CoRL 2017",
)


class BAIR:
    """Clips of 30 frames, named ``test/traj_0_to_255/017`` after file and record; frame numbers count from 0.

    Frames are of the camera ``image_aux1``, which all published work uses. The modality ``actions`` has the robot's
    command at each frame, four numbers as they are stored.
    """

    info: ClassVar[DatasetInfo] = INFO

    def __init__(self, root: Path) -> None:
        self._root = Path(root).resolve()
        self._places: dict[tuple[Path, str], list[Place]] = {}
        self._last: tuple[tuple[str, str], dict[str, Feature]] | None = None

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the clips of ``train`` or ``test``, sorted by name.

        A file that does not read is one sequence with a ``problem``.

        Raises:
            DataError: an unknown split, no file of BAIR below the root, or a folder that cannot be listed.
        """
        if split not in self.info.splits:
            raise DataError(f"bair has no split {split!r}; it has {' and '.join(self.info.splits)}")
        names = {name: self._names(name) for name in self.info.splits}
        if not any(names.values()):
            raise DataError(self._nothing_found())
        return [clip for name in names[split] for clip in self._clips(split, name)]

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Read frames as uint8 RGB [N,64,64,3], or actions as float32 [N,4].

        Raises:
            DataError: an unknown clip or frame, a file that is cut off or damaged, or another modality.
        """
        if modality not in self.info.modalities:
            raise DataError(f"bair has no {modality}, only {' and '.join(self.info.modalities)}")
        if outside := [number for number in frames if not 0 <= number < _FRAMES]:
            raise DataError(f"{sequence}: has no frame {outside[0]}, only 0 to {_FRAMES - 1}")
        features = self._features(sequence)
        entry = self._picture if modality == "frames" else self._action
        return np.stack([entry(features, number, sequence) for number in frames])

    def check(self) -> Sequence[Finding]:
        """Compare the numbers of clips of each split with the official ones."""
        findings = []
        for split, expected in _CLIPS.items():
            count = sum(not s.problem for s in self.sequences(split))
            findings.append(Finding(f"{split}: clips", str(count), str(expected), count == expected))
        return findings

    def _names(self, split: str) -> list[str]:
        listing = list_folder(self._root / _FOLDER / split, self._root)
        matches = map(_FILE.fullmatch, sorted((*listing.files, *listing.links)))
        return [match[1] for match in matches if match is not None]

    def _path(self, split: str, name: str) -> Path:
        return data_file(self._root / _FOLDER / split / f"{name}.tfrecords", self._root, _ADVICE)

    def _clips(self, split: str, name: str) -> Iterator[SequenceInfo]:
        try:
            path = self._path(split, name)
            stamp = file_stamp(path)
            for record in range(len(self._find(path, stamp))):
                yield SequenceInfo(f"{split}/{name}/{record:03d}", range(_FRAMES), stamp=stamp)
        except DataError as error:
            yield SequenceInfo(f"{split}/{name}", range(0), str(error))

    def _find(self, path: Path, stamp: str) -> list[Place]:
        if (path, stamp) not in self._places:
            self._places[path, stamp] = find_records(path)
        return self._places[path, stamp]

    def _features(self, sequence: str) -> dict[str, Feature]:
        match = _NAME.fullmatch(sequence)
        if match is None:
            raise DataError(f"{sequence!r} is not the name of a clip of BAIR, <split>/traj_<first>_to_<last>/<record>")
        path = self._path(match["split"], match["file"])
        key = (sequence, file_stamp(path))
        if self._last is None or self._last[0] != key:
            places = self._find(path, key[1])
            if int(match["record"]) >= len(places):
                raise DataError(f"{path}: has no record {int(match['record'])}, only 0 to {len(places) - 1}")
            try:
                self._last = (key, parse_example(read_record(path, places[int(match["record"])])))
            except ValueError as error:
                raise DataError(f"{path}: record {int(match['record'])} is no Example ({error}); {_ADVICE}") from error
        return self._last[1]

    def _picture(self, features: dict[str, Feature], number: int, sequence: str) -> NDArray[np.uint8]:
        data = features.get(f"{number}/image_aux1/encoded")
        if not isinstance(data, bytes) or len(data) != _SIDE * _SIDE * 3:
            raise DataError(f"{sequence}: frame {number} has no raw picture of 64x64, image_aux1; {_ADVICE}")
        return np.frombuffer(data, np.uint8).reshape(_SIDE, _SIDE, 3)

    def _action(self, features: dict[str, Feature], number: int, sequence: str) -> NDArray[np.float32]:
        values = features.get(f"{number}/action")
        if not isinstance(values, np.ndarray) or values.shape != (_ACTION,):
            raise DataError(f"{sequence}: frame {number} has no action of four numbers; {_ADVICE}")
        return values

    def _nothing_found(self) -> str:
        if self._root.name == _FOLDER:
            return f"{self._root}: the data root of bair is the folder that holds {_FOLDER}/: pass its parent"
        return f"{self._root}: holds no file of BAIR, ROOT/{_FOLDER}/test/traj_0_to_255.tfrecords. {self.info.obtain}"
