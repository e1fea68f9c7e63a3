"""Reader of UCF101 as unpacked from ``UCF101.rar``: ``ROOT/UCF-101/<Class>/v_<Class>_gXX_cYY.avi``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vpbench.errors import DataError
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo, SequenceInfo
from vpbench.plugin.media import VideoReader, count_frames, file_stamp
from vpbench_ucf101.splits import CLIP, SplitRule, frnn_test, is_test

__all__ = ["UCF101"]

_FOLDER = "UCF-101"

INFO = DatasetInfo(
    modalities=("frames",),
    splits=("train", "test"),
    tree="""\
ROOT/
  UCF-101/                                101 folders, 13,320 clips, 320x240
    ApplyEyeMakeup/
      v_ApplyEyeMakeup_g01_c01.avi        v_<Class>_g<group 01-25>_c<clip>.avi
      ...
    ...
    YoYo/
""",
    obtain="Download UCF101.rar (6.5 GB) from https://www.crcv.ucf.edu/data/UCF101.php, unpack it with `unrar x "
    "UCF101.rar`, and pass the folder that then holds UCF-101/",
    homepage="https://www.crcv.ucf.edu/data/UCF101.php",
    licence="none stated; the clips come from YouTube",
    citation="K. Soomro, A. R. Zamir, M. Shah. UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild. "
    "CRCV-TR-12-01, 2012",
)


class UCF101:
    """The clips of UCF101, named ``<Class>/v_<Class>_gXX_cYY``; frame numbers count from 0."""

    class Options(BaseModel):
        """Options of the dataset, fixed by a protocol."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        split_rule: SplitRule = Field(
            default="groups-19",
            description="groups-19: groups 1-19 train, 20-25 test. frnn-seed0: of each class a random quarter is test "
            "(FRNN's rule, drawn once with seed 0); clips of one source video lie on both sides.",
        )

    info: ClassVar[DatasetInfo] = INFO

    def __init__(self, root: Path, options: UCF101.Options | None = None) -> None:
        self._root = Path(root).resolve()
        self._rule: SplitRule = (options or self.Options()).split_rule
        self._reader: VideoReader | None = None

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the clips of ``train`` or ``test``, sorted by name, as long as their headers say.

        Files that are not named like clips are passed over. A clip that does not open, is reached by a symbolic link
        out of the data root, or is on the committed test list of ``frnn-seed0`` but not on the disk, has a ``problem``.

        Raises:
            DataError: an unknown split, or no clip below ``ROOT/UCF-101``.
        """
        if split not in self.info.splits:
            raise DataError(f"ucf101 has no split {split!r}; it has {' and '.join(self.info.splits)}")
        present = set(self._names())
        if not present:
            raise DataError(self._nothing_found())
        expected = frnn_test() if (self._rule, split) == ("frnn-seed0", "test") else frozenset[str]()
        names = {name for name in present if is_test(name, self._rule) == (split == "test")}
        return [self._describe(name) for name in sorted(names | expected)]

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Read frames as uint8 RGB [N,240,320,3].

        Raises:
            DataError: an unknown clip, one that does not decode or is shorter, or another modality than frames.
        """
        if modality != "frames":
            raise DataError(f"ucf101 has no {modality}, only frames")
        path = self._path(sequence)
        if self._reader is None or self._reader.path != path:
            self._reader = VideoReader(path)
        return self._reader.read(frames)

    def _names(self) -> Iterator[str]:
        for path in self._root.glob(f"{_FOLDER}/*/*.avi"):
            name = f"{path.parent.name}/{path.stem}"
            if _is_clip(name):
                yield name

    def _path(self, name: str) -> Path:
        """Return a clip's file, which exists within the data root."""
        path = self._root / _FOLDER / f"{name}.avi"
        if not _is_clip(name):
            raise DataError(f"{name!r} is not the name of a clip of UCF101, <Class>/v_<Class>_gXX_cYY")
        if not path.resolve().is_relative_to(self._root):
            raise DataError(f"{path}: is a symbolic link out of the data root; put the file itself there")
        if not path.is_file():
            raise DataError(f"{path}: is missing; unpack UCF101.rar again")
        return path

    def _describe(self, name: str) -> SequenceInfo:
        try:
            path = self._path(name)
            return SequenceInfo(name, range(count_frames(path)), stamp=file_stamp(path))
        except DataError as error:
            return SequenceInfo(name, range(0), problem=str(error))

    def _nothing_found(self) -> str:
        if self._root.name == _FOLDER:
            return f"{self._root}: the data root of ucf101 is the folder that holds {_FOLDER}/: pass its parent"
        return (
            f"{self._root}: holds no clip of UCF101, ROOT/{_FOLDER}/<Class>/v_<Class>_gXX_cYY.avi. {self.info.obtain}"
        )


def _is_clip(name: str) -> bool:
    match = CLIP.fullmatch(name)
    return match is not None and match["folder"].casefold() == match["file"].casefold()
