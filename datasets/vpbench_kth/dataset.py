"""Reader of KTH's videos, ``person01_boxing_d1_uncomp.avi``, cut into repetitions by ``00sequences.txt``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vpbench.errors import DataError
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo, Finding, SequenceInfo
from vpbench.toolkit.folders import data_file, list_folder, walk_folders
from vpbench.toolkit.media import VideoReader, file_stamp, probe_video
from vpbench_kth.ranges import FILE, Range, read_ranges

SplitRule = Literal["persons-16", "persons-20"]
_LAST_TRAINING_PERSON = {"persons-16": 16, "persons-20": 20}
_VIDEOS, _RANGES = 599, 2391
_NAME = re.compile(r"(?P<video>person(?P<person>\d\d)_[a-z]+_d\d)/(?P<first>\d{4})-(?P<last>\d{4})")
_VIDEO_FILE = re.compile(r"(person\d\d_[a-z]+_d\d)_uncomp\.(?i:avi)")
_ADVICE = "unpack the action's archive again"

INFO = DatasetInfo(
    modalities=("frames",),
    splits=("train", "test"),
    tree="""\
ROOT/
  00sequences.txt                          frame ranges: 2,391 in 599 videos
  boxing/person01_boxing_d1_uncomp.avi     person<01-25>_<action>_d<scenario 1-4>_uncomp.avi, 160x120, 25 Hz,
  walking/person25_walking_d4_uncomp.avi     in any folders; person13_handclapping_d3 does not exist
""",
    obtain="Download boxing.zip, handclapping.zip, handwaving.zip, jogging.zip, running.zip, walking.zip and "
    "00sequences.txt from https://www.csc.kth.se/cvap/actions/, unpack the archives in one folder, put 00sequences.txt "
    "there and pass that folder",
    homepage="https://www.csc.kth.se/cvap/actions/",
    licence="none stated; publicly available for research",
    citation="C. Schuldt, I. Laptev, B. Caputo. Recognizing Human Actions: A Local SVM Approach. ICPR 2004",
)


class KTH:
    """Repetitions of an action, named ``person01_boxing_d1/0001-0095``; frame numbers are the list's, from 1.

    A repetition is one frame range of a video. Walking and running persons leave the picture between two ranges.
    Frames are grey, as three equal channels: videos store colour planes, and these are left out.
    """

    class Options(BaseModel):
        """Options of the dataset, fixed by a protocol."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        split_rule: SplitRule = Field(
            default="persons-16",
            description="persons-16: persons 1-16 train, 17-25 test (OpenSTL). persons-20: persons 1-20 "
            "train, 21-25 test (SVG, SRVP, MCVD).",
        )

    info: ClassVar[DatasetInfo] = INFO

    def __init__(self, root: Path, options: KTH.Options | None = None) -> None:
        self._root = Path(root).resolve()
        self._last_training_person = _LAST_TRAINING_PERSON[(options or self.Options()).split_rule]
        self._reader: VideoReader | None = None

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the repetitions of ``train`` or ``test``, sorted by name.

        A range that ends after its video is cut to it. A video that is missing, lies in two places or does not open is
        one sequence with a ``problem``; so is a range that begins after its video.

        Raises:
            DataError: an unknown split, no video or no ``00sequences.txt`` below the root, or a list that
                does not parse.
        """
        if split not in self.info.splits:
            raise DataError(f"kth has no split {split!r}; it has {' and '.join(self.info.splits)}")
        videos = [video for video in self._ranges if self._is_test(video) == (split == "test")]
        return sorted((s for video in videos for s in self._repetitions(video)), key=lambda s: s.name)

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Read frames as uint8 [N,120,160,3], three equal channels.

        Raises:
            DataError: an unknown repetition, a video that does not decode or is shorter, or another modality than
                frames.
        """
        if modality != "frames":
            raise DataError(f"kth has no {modality}, only frames")
        match = _NAME.fullmatch(sequence)
        if match is None or (int(match["first"]), int(match["last"])) not in self._ranges.get(match["video"], ()):
            raise DataError(f"{sequence!r} is not a repetition of KTH, <video>/<first frame>-<last frame>")
        if outside := [number for number in frames if not int(match["first"]) <= number <= int(match["last"])]:
            raise DataError(f"{sequence}: has no frame {outside[0]}")
        path = self._path(match["video"])
        if self._reader is None or self._reader.path != path:
            self._reader = VideoReader(path)
        return np.stack([_grey(frame) for frame in self._reader.read([number - 1 for number in frames])])

    def check(self) -> Sequence[Finding]:
        """Compare the numbers of videos and ranges with the official ones, and the ranges with the videos' lengths."""
        videos, ranges = len(self._files.keys() & self._ranges.keys()), sum(map(len, self._ranges.values()))
        lengths = {s.name: len(s.frames) for split in INFO.splits for s in self.sequences(split) if not s.problem}
        cut = [name for name, length in lengths.items() if length < _listed_length(name)]
        return [
            Finding("videos", str(videos), str(_VIDEOS), videos == _VIDEOS),
            Finding(f"ranges in {FILE}", str(ranges), str(_RANGES), ranges == _RANGES),
            Finding("ranges that end after their video", str(len(cut)), "not published", None, tuple(cut[:3])),
        ]

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        """The files of each video."""
        files: dict[str, list[Path]] = {}
        for folder, listing in walk_folders(self._root):
            for match in filter(None, map(_VIDEO_FILE.fullmatch, (*listing.files, *listing.links))):
                files.setdefault(match[1], []).append(folder / match[0])
        return files

    @cached_property
    def _ranges(self) -> dict[str, tuple[Range, ...]]:
        if not self._files and FILE not in list_folder(self._root, self._root).files:
            raise DataError(f"{self._root}: holds no video of KTH, person01_boxing_d1_uncomp.avi. {self.info.obtain}")
        return read_ranges(data_file(self._root / FILE, self._root, f"download it from {self.info.homepage}"))

    def _is_test(self, video: str) -> bool:
        return int(video[len("person") :][:2]) > self._last_training_person

    def _path(self, video: str) -> Path:
        files = self._files.get(video, [self._root / f"{video}_uncomp.avi"])
        if len(files) > 1:
            raise DataError(f"{files[0]}: is a video that {files[1]} is, too; remove one")
        return data_file(files[0], self._root, _ADVICE)

    def _repetitions(self, video: str) -> Iterator[SequenceInfo]:
        try:
            path = self._path(video)
            facts, stamp = probe_video(path), file_stamp(path)
        except DataError as error:
            yield SequenceInfo(video, range(0), str(error), source=video)
            return
        for first, last in self._ranges[video]:
            frames = range(first, min(last, facts.frames) + 1)
            problem = "" if frames else f"{path}: has {facts.frames} frames, {FILE} lists {first}-{last}; {_ADVICE}"
            yield SequenceInfo(f"{video}/{first:04d}-{last:04d}", frames, problem, stamp, video, facts.rate)


def _grey(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma of an RGB frame [H,W,3] in three equal channels."""
    return np.repeat(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def _listed_length(name: str) -> int:
    first, last = name.rpartition("/")[2].split("-")
    return int(last) - int(first) + 1
