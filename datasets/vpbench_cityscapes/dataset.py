"""Reader of Cityscapes as unpacked from ``leftImg8bit_sequence_trainvaltest.zip`` and ``gtFine_trainvaltest.zip``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vpbench.errors import DataError
from vpbench.plugin.clip import IGNORE, Modality
from vpbench.plugin.dataset import DatasetInfo, Finding, SequenceInfo
from vpbench.toolkit.folders import data_file, evenly, list_folder
from vpbench.toolkit.labels import CITYSCAPES19
from vpbench.toolkit.media import file_stamp, read_image, stack
from vpbench_cityscapes.snippets import ANCHOR, LENGTH, cut, find_unclear, mcvd_test

_FRAMES, _LABELS = "leftImg8bit_sequence", "gtFine"
_REMEDY = {
    _FRAMES: "unpack leftImg8bit_sequence_trainvaltest.zip again",
    _LABELS: "unpack gtFine_trainvaltest.zip there",
}
_SNIPPETS = {"train": 2975, "val": 500, "test": 1525}
_NAME = re.compile(r"(?P<city>[a-z-]+)/(?P=city)_(?P<drive>\d{6})_(?P<first>\d{6})")
TRAIN_IDS: Final[dict[int, int]] = dict.fromkeys(range(34), IGNORE) | {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14,
    28: 15, 31: 16, 32: 17, 33: 18,
}  # fmt: skip
"""Train id of each label id in a ``*_labelIds.png`` (cityscapesScripts ``labels.py``). The table's -1, licence plate,
is never drawn into one.
"""
_UNKNOWN: Final = 254
_LOOKUP: Final = np.array([TRAIN_IDS.get(i, _UNKNOWN) for i in range(256)], dtype=np.uint8)

INFO = DatasetInfo(
    modalities=("frames",),
    splits=("train", "val", "test"),
    tree="""\
ROOT/
  leftImg8bit_sequence/
    train/aachen/aachen_000000_000000_leftImg8bit.png     18 cities, 2,975 snippets of 30 frames, 2048x1024
    val/frankfurt/frankfurt_000000_000275_leftImg8bit.png  3 cities, 500 snippets
    test/berlin/berlin_000000_000000_leftImg8bit.png      6 cities, 1,525 snippets
  gtFine/                                                 for the option labels = true
    val/frankfurt/frankfurt_000000_000294_gtFine_labelIds.png     the 20th frame of each snippet
""",
    obtain="Register at https://www.cityscapes-dataset.com, download leftImg8bit_sequence_trainvaltest.zip (324 GB) "
    "and gtFine_trainvaltest.zip (241 MB), unpack both in one folder and pass that folder",
    homepage="https://www.cityscapes-dataset.com",
    licence="Cityscapes terms: non-commercial research, no redistribution",
    citation="M. Cordts, M. Omran, S. Ramos, T. Rehfeld, M. Enzweiler, R. Benenson, U. Franke, S. Roth, B. Schiele. "
    "The Cityscapes Dataset for Semantic Urban Scene Understanding. CVPR 2016",
)


class Cityscapes:
    """Snippets of 30 frames, named ``<city>/<city>_<drive>_<first frame>``; frame numbers are those of the files.

    Frames are of modality ``frames``; with the option ``labels`` the annotated frame, index 19 of each snippet, has
    ``semantics``: 19 train ids, 255 for all else.
    """

    class Options(BaseModel):
        """Options of the dataset, fixed by a protocol."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        labels: bool = Field(
            default=False,
            description="Give the semantics of the one annotated frame of each snippet; snippets without are missing. "
            "The annotations of test are not public.",
        )
        test_snippets: Literal["all", "mcvd-256"] = Field(
            default="all", description="Snippets of test. mcvd-256: the 256 of 1,525 that MCVD scores."
        )

    info: DatasetInfo = INFO

    def __init__(self, root: Path, options: Cityscapes.Options | None = None) -> None:
        self._root = Path(root).resolve()
        options = options or self.Options()
        self._labels = options.labels
        self._test_list = mcvd_test() if options.test_snippets == "mcvd-256" else None
        if self._labels:
            labels = {"modalities": ("frames", "semantics"), "truth_only": ("semantics",), "label_space": CITYSCAPES19}
            self.info = DatasetInfo(**vars(INFO) | labels | {"splits": ("train", "val")})

    def sequences(self, split: str) -> Sequence[SequenceInfo]:
        """Return the snippets of ``train``, ``val`` or ``test``, sorted by name.

        Snippets are found by the names of frames, and of annotations where ``gtFine`` is there. Files that are not
        named like frames are passed over. A snippet that lacks a frame, or with the option ``labels`` its annotation,
        has a ``problem``.

        Raises:
            DataError: an unknown split, no frame of Cityscapes below the root, or a folder that cannot be listed.
        """
        if split not in self.info.splits:
            raise DataError(f"cityscapes has no split {split!r}; it has {', '.join(self.info.splits)}")
        if not self._split_of:
            raise DataError(self._nothing_found())
        frames, annotated = self._numbers(_FRAMES, split), self._numbers(_LABELS, split)
        snippets = []
        stamps: dict[str, str] = {}
        for drive in frames.keys() | annotated.keys():
            labelled, city = set(annotated.get(drive, ())), drive.rpartition("_")[0]
            if city not in stamps:
                stamps[city] = self._stamp(split, city)
            unclear = find_unclear(frames.get(drive, ()), labelled)
            for first, numbers in cut(frames.get(drive, ()), labelled).items():
                if first in unclear:
                    problem = self._unclear(split, drive, *unclear[first])
                else:
                    problem = self._problem(split, drive, first, numbers, first + ANCHOR in labelled)
                snippets.append(
                    SequenceInfo(f"{city}/{drive}_{first:06d}", evenly(numbers), problem, stamps[city], drive)
                )
        if split == "test" and self._test_list is not None:
            snippets = self._restrict(snippets, self._test_list)
        return sorted(snippets, key=lambda sequence: sequence.name)

    def read(self, sequence: str, frames: Sequence[int], modality: Modality) -> NDArray[Any]:
        """Read frames as uint8 RGB [N,1024,2048,3], or the labels of the annotated frame as uint8 [1,1024,2048].

        Raises:
            DataError: an unknown snippet or frame, a file that is missing or does not decode, frames of several sizes,
                labels of another frame than the annotated one or outside the official table.
        """
        if modality not in self.info.modalities:
            hint = "; its option labels gives those of the annotated frames" if modality == "semantics" else ""
            raise DataError(f"cityscapes has no {modality}, only {' and '.join(self.info.modalities)}{hint}")
        match = _NAME.fullmatch(sequence)
        if match is None or match["city"] not in self._split_of:
            raise DataError(f"{self._root}: there is no snippet {sequence!r}")
        first = int(match["first"])
        if strange := [number for number in frames if not first <= number < first + LENGTH]:
            raise DataError(f"{sequence}: has no frame {strange[0]}, only {first} to {first + LENGTH - 1}")
        split, drive = self._split_of[match["city"]], f"{match['city']}_{match['drive']}"
        if modality == "frames":
            paths = [self._path(_FRAMES, split, drive, number) for number in frames]
            return stack([read_image(data_file(path, self._root, _REMEDY[_FRAMES])) for path in paths], sequence)
        if strange := [number for number in frames if number != first + ANCHOR]:
            raise DataError(
                f"{sequence}: frame {strange[0]} has no labels: only the 20th of each snippet, here {first + ANCHOR}, "
                f"is annotated; for the others add --annotate semantics=NAME"
            )
        paths = [self._path(_LABELS, split, drive, number) for number in frames]
        return stack([_train_ids(data_file(path, self._root, _REMEDY[_LABELS])) for path in paths], sequence)

    def check(self) -> Sequence[Finding]:
        """Compare the numbers of snippets, and with the option ``labels`` of annotations, with the official ones."""
        findings = []
        for split in self.info.splits:
            expected = len(self._test_list) if split == "test" and self._test_list else _SNIPPETS[split]
            complete = sum(not s.problem for s in self.sequences(split))
            findings.append(Finding(f"{split}: complete snippets", str(complete), str(expected), complete == expected))
            if self._labels:
                count = sum(map(len, self._numbers(_LABELS, split).values()))
                findings.append(Finding(f"{split}: annotated frames", str(count), str(expected), count == expected))
        return findings

    def _restrict(self, snippets: Iterable[SequenceInfo], names: Iterable[str]) -> list[SequenceInfo]:
        """Return the snippets of these names, those that are not there with a ``problem``."""
        present = {snippet.name: snippet for snippet in snippets}
        return [present.get(name) or self._missing(name) for name in names]

    def _missing(self, name: str) -> SequenceInfo:
        drive, first = name.partition("/")[2].rsplit("_", 1)
        return SequenceInfo(name, range(0), self._problem("test", drive, int(first), [], labelled=False), source=drive)

    @cached_property
    def _split_of(self) -> dict[str, str]:
        """The split that each city lies in."""
        return {
            city: split
            for folder in (_LABELS, _FRAMES)
            for split in INFO.splits
            for city in list_folder(self._root / folder / split, self._root).folders
        }

    def _numbers(self, folder: str, split: str) -> dict[str, list[int]]:
        """Return the frame numbers of each drive, ``<city>_<drive>``, by the names of files."""
        numbers: dict[str, list[int]] = {}
        for city in list_folder(self._root / folder / split, self._root).folders:
            listing = list_folder(self._root / folder / split / city, self._root)
            for drive, number in _parse(listing.files, city, _suffix(folder)):
                numbers.setdefault(drive, []).append(number)
        return numbers

    def _stamp(self, split: str, city: str) -> str:
        folders = [self._root / folder / split / city for folder in (_FRAMES, _LABELS)]
        return " ".join(file_stamp(folder) for folder in folders if folder.is_dir())

    def _path(self, folder: str, split: str, drive: str, number: int) -> Path:
        return self._root / folder / split / drive.rpartition("_")[0] / f"{drive}_{number:06d}{_suffix(folder)}"

    def _problem(self, split: str, drive: str, first: int, numbers: list[int], labelled: bool) -> str:
        present = set(numbers)
        missing = [number for number in range(first, first + LENGTH) if number not in present]
        if missing:
            path = self._path(_FRAMES, split, drive, missing[0])
            return f"{path}: is missing ({len(numbers)} of the snippet's {LENGTH} frames are there); {_REMEDY[_FRAMES]}"
        if self._labels and not labelled:
            return f"{self._path(_LABELS, split, drive, first + ANCHOR)}: is missing; {_REMEDY[_LABELS]}"
        return ""

    def _unclear(self, split: str, drive: str, before: int, after: int) -> str:
        first, last = (self._path(_FRAMES, split, drive, number) for number in (before, after))
        return (
            f"{first}: is missing, or {last}: is missing, so that where the snippets between them begin is unknown; "
            f"{_REMEDY[_FRAMES]}, or {_REMEDY[_LABELS]}"
        )

    def _nothing_found(self) -> str:
        if self._root.name == _FRAMES:
            return f"{self._root}: the data root of cityscapes is the folder that holds {_FRAMES}/: pass its parent"
        return (
            f"{self._root}: holds no frame of Cityscapes, ROOT/{_FRAMES}/val/<city>/<city>_<6 digits>_<6 digits>"
            f"_leftImg8bit.png; symbolic links to folders are not followed. {self.info.obtain}"
        )


def _suffix(folder: str) -> str:
    return "_leftImg8bit.png" if folder == _FRAMES else "_gtFine_labelIds.png"


def _parse(names: Iterable[str], city: str, suffix: str) -> Iterable[tuple[str, int]]:
    pattern = re.compile(rf"({re.escape(city)}_\d{{6}})_(\d{{6}}){re.escape(suffix)}")
    for match in map(pattern.fullmatch, names):
        if match is not None:
            yield match[1], int(match[2])


def _train_ids(path: Path) -> NDArray[np.uint8]:
    """Read a ``*_labelIds.png`` as train ids [H,W], 255 for what has none."""
    picture = read_image(path)
    ids = picture[..., 0]
    if not (ids[..., None] == picture).all():
        raise DataError(f"{path}: is a coloured picture, not one of label ids; {_REMEDY[_LABELS]}")
    labels = _LOOKUP[ids]
    if (labels == _UNKNOWN).any():
        raise DataError(
            f"{path}: holds the label id {ids[labels == _UNKNOWN].min()}, which Cityscapes does not have (0 to "
            f"{max(TRAIN_IDS)}); {_REMEDY[_LABELS]}"
        )
    return labels
