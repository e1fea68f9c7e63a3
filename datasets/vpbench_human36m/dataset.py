"""Reader of Human3.6M in the two forms that people have: extracted images (10 Hz), original videos (50 Hz)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vpbench.errors import DataError
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo, Finding, SequenceInfo
from vpbench.toolkit.folders import data_file, evenly, walk_folders
from vpbench.toolkit.media import VideoReader, file_stamp, probe_video, read_image, stack
from vpbench_human36m.strpm import WINDOWS, listed_frames

RATE = 50
"""Frames per second of the original videos."""

STEP = 5
"""Raw frames from one extracted image to the next: 50 Hz to 10 Hz."""
_VIDEOS_EACH = {"Walking": 8}
"""Videos of a subject in a scenario, two trials by four cameras, where it is known that none is missing."""

_NAME = re.compile(r"(?P<subject>S\d+)_(?P<scenario>[A-Za-z]+)(?:_\d+)?\.\d{8}")
_IMAGE = re.compile(rf"({_NAME.pattern})_(\d{{6}})(\.(?i:jpg))")
_VIDEO = re.compile(r"([A-Za-z]+)(?: (\d+))?\.(\d{8})\.(?i:mp4)")
_SUBJECT = re.compile(r"S\d+")

INFO = DatasetInfo(
    modalities=("frames",),
    splits=("train", "test"),
    tree="""\
ROOT/                                     either form, images in any folders, links to folders are not followed:
  S11_Walking_1.54138969_000471.jpg       extracted images: <subject>_<scenario>[_<trial>].<camera>_<frame>, every 5th
  S9/S9_Walking.54138969_000006.jpg         frame, counted from 1; all of a video in one folder
  S11/Videos/Walking 1.54138969.mp4       original videos: <scenario>[ <trial>].<camera>.mp4, 50 Hz
""",
    obtain="Register at http://vision.imar.ro/human3.6m, download the videos of the subjects (train: S1, S5, S6, S7, "
    "S8; test: S9, S11), or images extracted from them, and pass the folder that holds them",
    homepage="http://vision.imar.ro/human3.6m",
    licence="Human3.6M licence: academic use, no redistribution",
    known_leaks=(
        Finding(
            "lists of other suites (human36m-256-4to4 only): target frames in train",
            "22983 of 34328 (67.0 %)",
            "some, by design",
            None,
            (
                "73404 training and 8582 test windows, divided by window and not by subject: all 838 test videos are",
                "training videos, and 8483 test windows share a frame with a training window",
                "(STRPM's lists, 256x256, counted in OpenSTL c74deb5, tools/prepare_data/meta/human)",
            ),
        ),
    ),
    citation="C. Ionescu, D. Papava, V. Olaru, C. Sminchisescu. Human3.6M: Large Scale Datasets and Predictive Methods "
    "for 3D Human Sensing in Natural Environments. TPAMI 2014",
)


@dataclass(frozen=True)
class _Source:
    """Where a sequence is read from: a video, or the ``numbers`` of images in a folder."""

    path: Path
    numbers: tuple[int, ...] = ()
    suffix: str = ""
    problem: str = ""


class Human36M:
    """Videos of one subject, scenario, trial and camera, named ``S11_Walking_1.54138969`` in both forms.

    Frame numbers are those of the extracted images: 1, 6, 11, ...; image i is frame i - 1 of the video. Where both
    forms of a video are there, the images are read.
    """

    class Options(BaseModel):
        """Options of the dataset, fixed by a protocol."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        scenarios: tuple[str, ...] = Field(
            default=("Walking",),
            min_length=1,
            description="Scenarios, by their whole names: Walking is neither WalkDog nor WalkTogether.",
        )
        train: tuple[str, ...] = Field(default=("S1", "S5", "S6", "S7", "S8"), description="Subjects to train on.")
        test: tuple[str, ...] = Field(default=("S9", "S11"), min_length=1, description="Subjects to test on.")
        windows: Literal["all", "strpm"] = Field(
            default="all",
            description="strpm: only the frames of STRPM's lists of windows, of all scenarios and seven subjects. The "
            "lists leak: every test video is a training video. The other options do not apply then.",
        )

        @model_validator(mode="after")
        def _check_subjects(self) -> Human36M.Options:
            if shared := set(self.train) & set(self.test):
                raise ValueError(f"subject {min(shared)} stands in train and in test")
            return self

    info: DatasetInfo = INFO

    def __init__(self, root: Path, options: Human36M.Options | None = None) -> None:
        self._root = Path(root).resolve()
        self._options = options or self.Options()
        if self._options.windows == "strpm":
            self.info = replace(
                INFO, shared_recordings="STRPM's lists divide windows, so that both sides have every video"
            )
        self._reader: VideoReader | None = None
        self._stamps: dict[Path, str] = {}

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the videos of the subjects of ``train`` or ``test`` in the chosen scenarios, sorted by name.

        A video that does not open, lies in two folders, or has another frame rate than 50 Hz has a ``problem``. So has,
        under ``<subject>_<scenario>``, a scenario without a video of a subject, or Walking with fewer than eight.

        Raises:
            DataError: an unknown split, nothing of Human3.6M below the root, or a folder that cannot be listed.
        """
        if split not in self.info.splits:
            raise DataError(f"human36m has no split {split!r}; it has {' and '.join(self.info.splits)}")
        if not self._sources:
            raise DataError(
                f"{self._root}: holds nothing of Human3.6M: no S11_Walking_1.54138969_000471.jpg, no "
                f"S11/Videos/Walking 1.54138969.mp4. {self.info.obtain}"
            )
        videos = []
        self._stamps = {}
        if self._options.windows == "strpm":
            return [self._describe_listed(name, frames) for name, frames in sorted(listed_frames(split).items())]
        for subject in self._options.train if split == "train" else self._options.test:
            for scenario in self._options.scenarios:
                names = self._of(subject, scenario)
                videos += [self._describe(name) for name in names]
                expected = _VIDEOS_EACH.get(scenario, 1)
                if len(names) < expected:
                    problem = f"{self._root}: {len(names)} videos of {subject} {scenario}, expected {expected}"
                    videos.append(SequenceInfo(f"{subject}_{scenario}", range(0), f"{problem}; get the others"))
        return sorted(videos, key=lambda sequence: sequence.name)

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Read frames as uint8 RGB [N,H,W,3], 1000x1000 or 1002x1000.

        Raises:
            DataError: an unknown video, a frame that is missing or does not decode, frames of several sizes, or another
                modality than frames.
        """
        if modality != "frames":
            raise DataError(f"human36m has no {modality}, only frames")
        source = self._sources.get(sequence)
        if source is None:
            raise DataError(f"{self._root}: there is no video {sequence!r} of Human3.6M")
        if source.numbers:
            paths = [source.path / f"{sequence}_{number:06d}{source.suffix}" for number in frames]
            return stack([read_image(data_file(path, self._root, "get it again")) for path in paths], sequence)
        if frames[0] < 1:
            raise DataError(f"{source.path}: has no frame {frames[0]}; frames count from 1")
        if self._reader is None or self._reader.path != source.path:
            self._reader = VideoReader(source.path)
        return self._reader.read([number - 1 for number in frames])

    def check(self) -> Sequence[Finding]:
        """Compare the numbers of videos of each split with two trials by four cameras per subject, for Walking."""
        if self._options.windows == "strpm":
            return [self._check_listed(split) for split in WINDOWS]
        findings = []
        for split, subjects in (("train", self._options.train), ("test", self._options.test)):
            for scenario, videos in _VIDEOS_EACH.items():
                if scenario in self._options.scenarios:
                    count, expected = sum(len(self._of(s, scenario)) for s in subjects), videos * len(subjects)
                    name = f"{split}: videos of {scenario}"
                    findings.append(Finding(name, str(count), str(expected), count == expected))
            gaps = sum(isinstance(s.frames, tuple) for s in self.sequences(split))
            findings.append(Finding(f"{split}: videos with images missing in between", str(gaps), "0", gaps == 0))
        return findings

    @cached_property
    def _sources(self) -> dict[str, _Source]:
        """Source of each sequence."""
        images: dict[str, _Source] = {}
        videos: dict[str, _Source] = {}
        for folder, listing in walk_folders(self._root):
            for (name, suffix), numbers in _images(listing.files).items():
                _add(images, name, _Source(folder, tuple(numbers), suffix))
            if folder.name == "Videos" and _SUBJECT.fullmatch(folder.parent.name):
                for match in filter(None, map(_VIDEO.fullmatch, listing.files)):
                    trial = f"_{match[2]}" if match[2] else ""
                    name = f"{folder.parent.name}_{match[1]}{trial}.{match[3]}"
                    _add(videos, name, _Source(folder / match[0]))
        return videos | images

    def _of(self, subject: str, scenario: str) -> list[str]:
        matches = ((name, _NAME.fullmatch(name)) for name in self._sources)
        return [name for name, m in matches if m is not None and (m["subject"], m["scenario"]) == (subject, scenario)]

    def _describe(self, name: str) -> SequenceInfo:
        source, act = self._sources[name], name.rpartition(".")[0]  # which four cameras show
        if source.problem:
            return SequenceInfo(name, range(0), source.problem, source=act)
        if source.numbers:
            return SequenceInfo(name, evenly(source.numbers), stamp=self._stamp(source.path), source=act)
        try:
            facts = probe_video(source.path)
        except DataError as error:
            return SequenceInfo(name, range(0), str(error), source=act)
        if facts.rate is None or abs(facts.rate - RATE) > RATE / 100:
            rate = "an unknown frame rate" if facts.rate is None else f"{float(facts.rate):g} frames per second"
            problem = f"{source.path}: has {rate}, the original videos have {RATE}; get the original video"
            return SequenceInfo(name, range(0), problem, source=act, rate=facts.rate)
        numbers = range(1, facts.frames + 1, STEP)
        return SequenceInfo(name, numbers, stamp=file_stamp(source.path), source=act, rate=facts.rate)

    def _describe_listed(self, name: str, frames: Sequence[int]) -> SequenceInfo:
        """Return a video with the frames of its listed windows, a leak to the other split under its own name."""
        if name not in self._sources:
            return SequenceInfo(name, range(0), f"{self._root}: there is no video {name} of STRPM's lists", source=name)
        video = self._describe(name)
        present = set(video.frames)
        return replace(video, frames=tuple(number for number in frames if number in present), source=name)

    def _check_listed(self, split: str) -> Finding:
        frames = listed_frames(split)
        count = sum(name in self._sources for name in frames)
        return Finding(f"{split}: videos of STRPM's list", str(count), str(len(frames)), count == len(frames))

    def _stamp(self, folder: Path) -> str:
        """Return the stamp of a folder of images, which may hold those of many videos."""
        if folder not in self._stamps:
            self._stamps[folder] = file_stamp(folder)
        return self._stamps[folder]


def _images(files: Sequence[str]) -> dict[tuple[str, str], list[int]]:
    """Return the frame numbers of each sequence and spelling of the suffix among sorted names of files."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for match in map(_IMAGE.fullmatch, files):
        if match is not None:
            numbers.setdefault((match[1], match[5]), []).append(int(match[4]))
    return numbers


def _add(sources: dict[str, _Source], name: str, source: _Source) -> None:
    if name in sources:
        places = f"{sources[name].path} and {source.path}"
        source = replace(source, problem=f"{name} lies in two places, {places}; remove one")
    sources[name] = source
