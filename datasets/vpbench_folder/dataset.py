"""Reader of a user's own data: a video, or a folder with videos and pictures in it at any depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vpbench.errors import DataError
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo, SequenceInfo
from vpbench.toolkit.folders import check_regular, walk_folders
from vpbench.toolkit.media import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    VideoReader,
    check_picture,
    file_stamp,
    order_pictures,
    probe_video,
    read_image,
    stack,
)
from vpbench_folder.splits import split_by_fraction, split_by_patterns

INFO = DatasetInfo(
    modalities=("frames",),
    splits=("test",),
    tree="""\
ROOT                    one video file, or a folder:
  a.mp4                 each video is a sequence, at any depth: a.mp4, trip/b.avi
  trip/b.avi
  drive/frame1.png      each folder with pictures is a sequence, in the order of the numbers in their names: drive
  drive/frame2.png
  drive/frame10.png
""",
    obtain="It is your own: pass a video, or a folder with videos or pictures in it",
)


@dataclass(frozen=True)
class _Pictures:
    """The pictures of one folder, in their order; none if their names give no order."""

    folder: Path
    names: tuple[str, ...]
    problem: str = ""


class Folder:
    """Read videos and folders of pictures as sequences; frame numbers count from 0.

    All sequences are of the split ``test``, unless options name some for ``train`` and ``val``.
    A sequence is named by its path below the root, a video's with its suffix; a root that is itself a video, or holds
    pictures itself, gives one by its own name. Hidden files and folders are passed over, as are symbolic links to
    folders and to files out of the root.
    """

    class Options(BaseModel):
        """Options of the dataset, fixed by a protocol: patterns of names for each split, or a fraction to score.

        In a pattern, ``*`` stands for any text. ``@FILE`` stands for the names in a text file below the root, a name
        per line.
        """

        model_config = ConfigDict(frozen=True, extra="forbid")

        train: tuple[str, ...] = Field(default=(), description="Sequences to train on.")
        val: tuple[str, ...] = Field(default=(), description="Sequences to validate a training on.")
        test: tuple[str, ...] = Field(default=("*",), description="Sequences to score, except those of train and val.")
        test_fraction: float | None = Field(
            default=None,
            gt=0,
            lt=1,
            description="Fraction to score, by the hash of the name; train on the others.",
        )

        @model_validator(mode="after")
        def _splits_one_way(self) -> Folder.Options:
            if self.test_fraction is not None and self.model_fields_set & {"train", "val", "test"}:
                raise ValueError("test_fraction splits all sequences: leave out train, val and test")
            return self

    info: DatasetInfo = INFO

    def __init__(self, root: Path, options: Folder.Options | None = None) -> None:
        self._root = Path(root).resolve()
        options = options or self.Options()
        patterns = {"train": options.train, "val": options.val, "test": options.test}
        self._patterns = {split: names for split, names in patterns.items() if names}
        self._test_fraction = options.test_fraction
        self.info = replace(INFO, splits=tuple(self._patterns) if self._test_fraction is None else ("train", "test"))
        self._reader: VideoReader | None = None

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the sequences of a split, sorted by name.

        A video that does not open has a ``problem``; so does a folder whose pictures are of several series, or whose
        first picture cannot be read.

        Raises:
            DataError: an unknown split, nothing found, two sequences of one name, a pattern that matches none, a
                sequence of two splits, or too few sequences for a fraction.
        """
        if split not in self.info.splits:
            raise DataError(f"the dataset folder has no split {split!r} here, only {', '.join(self.info.splits)}")
        return [self._describe(name) for name in sorted(self._sources) if self._splits.get(name) == split]

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Read frames as uint8 RGB [N,H,W,3].

        Raises:
            DataError: an unknown sequence or frame, a file that does not decode, pictures of several sizes, or another
                modality than frames.
        """
        if modality != "frames":
            raise DataError(f"the dataset folder has no {modality}, only frames")
        source = self._sources.get(sequence)
        if source is None:
            raise DataError(f"{self._root}: there is no sequence {sequence!r}")
        if isinstance(source, _Pictures) and source.problem:
            raise DataError(source.problem)
        if isinstance(source, Path):
            if self._reader is None or self._reader.path != source:
                self._reader = VideoReader(source)
            return self._reader.read(frames)
        if frames[-1] >= len(source.names):
            raise DataError(f"{sequence}: frame {frames[-1]} was asked for, but it has {len(source.names)} pictures")
        return stack([read_image(source.folder / source.names[number]) for number in frames], sequence)

    @cached_property
    def _splits(self) -> dict[str, str]:
        """The split of each sequence that has one."""
        if self._test_fraction is not None:
            return split_by_fraction(self._root, self._sources, self._test_fraction)
        return split_by_patterns(self._root, self._patterns, self._sources)

    @cached_property
    def _sources(self) -> dict[str, Path | _Pictures]:
        """Source of each sequence: a video, or pictures in their order."""
        sources: dict[str, Path | _Pictures] = {}
        if self._root.is_file() and _suffix(self._root.name) in VIDEO_SUFFIXES:
            sources[self._root.name] = self._root
        for folder, listing in walk_folders(self._root) if self._root.is_dir() else ():
            files = [(name, _suffix(name)) for name in listing.files]
            for video in (folder / name for name, suffix in files if suffix in VIDEO_SUFFIXES):
                _add(sources, video.relative_to(self._root).as_posix(), video)
            if pictures := [name for name, suffix in files if suffix in IMAGE_SUFFIXES]:
                name = self._root.name if folder == self._root else folder.relative_to(self._root).as_posix()
                _add(sources, name, _ordered(folder, pictures))
        if not sources:
            raise DataError(
                f"{self._root}: no video ({' '.join(sorted(VIDEO_SUFFIXES))}) and no folder of pictures "
                f"({' '.join(sorted(IMAGE_SUFFIXES))}) found there; hidden files and links out of it are passed over"
            )
        return sources

    def _describe(self, name: str) -> SequenceInfo:
        source = self._sources[name]
        try:
            if isinstance(source, Path):
                facts = probe_video(source)
                if facts.frames == 1 and _suffix(source.name) == ".gif":
                    raise DataError(
                        f"{source}: is a GIF of one picture, no video; save the pictures of a sequence as PNG"
                    )
                return SequenceInfo(name, range(facts.frames), stamp=file_stamp(source), rate=facts.rate)
            if source.problem:
                return SequenceInfo(name, range(0), problem=source.problem)
            check_picture(source.folder / source.names[0])
            return SequenceInfo(name, range(len(source.names)), stamp=file_stamp(source.folder))
        except DataError as error:
            return SequenceInfo(name, range(0), problem=str(error))


def _ordered(folder: Path, names: Sequence[str]) -> _Pictures:
    try:
        check_regular(folder, names)
        return _Pictures(folder, order_pictures(names, str(folder)))
    except DataError as error:
        return _Pictures(folder, (), str(error))


def _suffix(name: str) -> str:
    return f".{name.rpartition('.')[2].lower()}"


def _add(sources: dict[str, Path | _Pictures], name: str, source: Path | _Pictures) -> None:
    if name in sources:
        path = source if isinstance(source, Path) else source.folder
        raise DataError(f"{path}: a second sequence named {name!r}; pass the folder above the data root instead")
    sources[name] = source
