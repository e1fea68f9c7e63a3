"""Reader of UCF101 as unpacked from ``UCF101.rar``, ``ROOT/UCF-101/<Class>/v_<Class>_gXX_cYY.avi``, or as frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vpbench.errors import DataError
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo, Finding, SequenceInfo
from vpbench.toolkit.folders import data_file, list_folder
from vpbench.toolkit.media import VideoReader, count_frames, file_stamp, read_image, stack
from vpbench_ucf101.extracted import find_extracted, frame_files
from vpbench_ucf101.splits import CLIPS, SplitRule, clip_id, committed_test, side_of, source_video

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
or, where there is no video of a clip, every frame of it, at 320x240:
  UCF-101/YoYo/v_YoYo_g01_c01/000001.jpg  in UCF-101/<Class>/, <Class>/, another folder, or the root itself;
  v_YoYo_g01_c02/frame000001.png          the number before the suffix counts, from any first one on, without gaps
""",
    obtain="Download UCF101.rar (6.5 GB) from https://www.crcv.ucf.edu/data/UCF101.php, unpack it with `unrar x "
    "UCF101.rar`, and pass the folder that then holds UCF-101/",
    homepage="https://www.crcv.ucf.edu/data/UCF101.php",
    licence="none stated; the clips come from YouTube",
    known_leaks=(
        Finding(
            "random split frnn-seed0, complete data: clips of a video in train",
            "3345 of 3363",
            "some, by design",
            None,
            ("FRNN's rule, of ucf101-64x88-10to10; groups-19, of ucf101-120x160-4to10, has none",),
        ),
    ),
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
            "(FRNN's rule, drawn once with seed 0); clips of one source video lie on both sides. list3-mcvd: official "
            "list 3 trains; of its test side, groups 15-21, MCVD's 256 clips are test and the others are not used.",
        )

    info: DatasetInfo = INFO

    def __init__(self, root: Path, options: UCF101.Options | None = None) -> None:
        self._root = Path(root).resolve()
        self._rule: SplitRule = (options or self.Options()).split_rule
        if self._rule == "frnn-seed0":
            reason = "FRNN divides clips at random, so that those of one source video lie on both sides"
            self.info = replace(INFO, shared_recordings=reason)
        self._reader: VideoReader | None = None

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the clips of ``train`` or ``test``, sorted by name, as long as their headers say.

        Files that are not named like a clip of their folder's class are passed over. Names and folders may be spelled
        in any case: a clip has one id, as in the official lists. A clip has a ``problem`` if it does not open, is
        reached by a symbolic link out of the data root, or is only on the rule's committed test list.

        Raises:
            DataError: an unknown split, no clip below the root, two files of one clip, or two folders of its frames.
        """
        if split not in self.info.splits:
            raise DataError(f"ucf101 has no split {split!r}; it has {' and '.join(self.info.splits)}")
        present = {*self._videos, *self._extracted}
        if not present:
            raise DataError(self._nothing_found())
        expected = committed_test(self._rule) if split == "test" else frozenset[str]()
        names = {name for name in present if side_of(name, self._rule) == split}
        return [self._describe(name) for name in sorted(names | expected)]

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Read frames as uint8 RGB [N,240,320,3].

        Raises:
            DataError: an unknown clip, one that does not decode or is shorter, or another modality than frames.
        """
        if modality != "frames":
            raise DataError(f"ucf101 has no {modality}, only frames")
        path = self._path(sequence)
        if path.is_dir():
            return self._read_pictures(path, frames)
        if self._reader is None or self._reader.path != path:
            self._reader = VideoReader(path)
        return self._reader.read(frames)

    def check(self) -> Sequence[Finding]:
        """Compare the numbers of clips of each split with the official ones."""
        findings = []
        for split, expected in CLIPS[self._rule].items():
            count = sum(not s.problem for s in self.sequences(split))
            findings.append(Finding(f"{split}: clips", str(count), str(expected), count == expected))
        return findings

    def _read_pictures(self, folder: Path, frames: Sequence[int]) -> NDArray[Any]:
        files = frame_files(folder, self._root)
        if frames[-1] >= len(files):
            raise DataError(f"{folder}: frame {frames[-1]} was asked for, but it has {len(files)} pictures")
        paths = [data_file(folder / files[number], self._root, "extract the clip again") for number in frames]
        return stack([read_image(path) for path in paths], str(folder))

    @cached_property
    def _extracted(self) -> dict[str, Path]:
        return find_extracted(self._root)

    @cached_property
    def _videos(self) -> dict[str, Path]:
        """The file of each clip, by its id."""
        videos: dict[str, Path] = {}
        for label in list_folder(self._root / _FOLDER, self._root).folders:
            listing = list_folder(self._root / _FOLDER / label, self._root)
            for path in (self._root / _FOLDER / label / file for file in (*listing.files, *listing.links)):
                name = clip_id(path.stem) if path.suffix.lower() == ".avi" else None
                if name is None or label.casefold() != name.partition("/")[0].casefold():
                    continue
                if name in videos:
                    raise DataError(f"{path}: is a clip that {videos[name]} is, too; remove one")
                videos[name] = path
        return videos

    def _path(self, name: str) -> Path:
        """Return a clip's video, or else its folder of frames, which exists within the data root."""
        if name in self._extracted and name not in self._videos:
            return self._extracted[name]
        if clip_id(name.rpartition("/")[2]) != name:
            raise DataError(f"{name!r} is not the name of a clip of UCF101, <Class>/v_<Class>_gXX_cYY")
        path = self._videos.get(name, self._root / _FOLDER / f"{name}.avi")
        return data_file(path, self._root, "unpack UCF101.rar again")

    def _describe(self, name: str) -> SequenceInfo:
        try:
            path = self._path(name)
            count = len(frame_files(path, self._root)) if path.is_dir() else count_frames(path)
            return SequenceInfo(name, range(count), stamp=file_stamp(path), source=source_video(name))
        except DataError as error:
            return SequenceInfo(name, range(0), str(error), source=source_video(name))

    def _nothing_found(self) -> str:
        if self._root.name == _FOLDER:
            return f"{self._root}: the data root of ucf101 is the folder that holds {_FOLDER}/: pass its parent"
        return (
            f"{self._root}: holds no clip of UCF101, ROOT/{_FOLDER}/<Class>/v_<Class>_gXX_cYY.avi. {self.info.obtain}"
        )
