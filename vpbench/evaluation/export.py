"""Export the clips of a protocol as files, for models that run in another environment.

``<folder>/context/<clip id>.npy`` holds frames, uint8 RGB [T,H,W,3]; with the format ``png``, the folder of that name
holds a picture per frame. Further modalities of the context are ``<clip id>.<modality>.npy`` in a reader's layout.
``truth/`` has the scored steps, in the layout in which predictions are read back. ``clips.json`` lists the clips.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vpbench import files
from vpbench.clips.source import Arrays, ClipSource
from vpbench.errors import Remedy, ResultError
from vpbench.evaluation.prediction import clip_seed
from vpbench.files import canonical, write_atomic
from vpbench.protocol.sampling import ClipRef
from vpbench.results.reading import read_json
from vpbench.toolkit.file_names import file_stem
from vpbench.toolkit.media import read_image
from vpbench.validation import Record, validation_errors

CLIPS = "clips.json"
Format = Literal["npy", "png"]


class ExportedClip(Record):
    """A clip in ``clips.json``."""

    id: str
    """Identifier: predictions are files of this name."""
    file: str
    """Path of its files below ``context/`` and ``truth/``, without a suffix: the id, unless that is very long."""
    context: int
    """Number of context frames."""
    horizon: int
    """Number of steps to predict."""
    steps: list[int]
    """Scored steps, 1 = the first frame after the context: those in ``truth/``."""
    frames: list[int]
    """Raw frame numbers of the sequence: of the context, then of all steps to predict."""
    size: list[int]
    """Height and width."""
    seeds: list[int]
    """Seed of the noise of each sample."""


class ExportRecord(Record):
    """``clips.json``: what was exported. It is written first, and again with the clips when every file exists."""

    schema_version: int = Field(default=1, alias="schema")
    protocol: str
    """Name of the protocol."""
    protocol_hash: str
    """sha256 of the protocol."""
    manifest: str
    """sha256 of the list of clips."""
    data: str
    """Digest of four clips, after the protocol's transforms."""
    partial: str
    """Why clips of the test set are missing; "" for a complete set."""
    format: Format
    """Format of frames."""
    seed: int
    """Seed of the run that the seeds of the clips belong to."""
    samples: int
    """Number of samples per clip."""
    context: list[str]
    """Modalities in ``context/``."""
    truth: list[str]
    """Modalities in ``truth/``; none without the truth."""
    annotators: dict[str, str]
    """Name, options and fingerprint of each annotator, by the modality that it supplied."""
    complete: bool = False
    """True if every file exists."""
    clips: list[ExportedClip] = Field(default=[])
    """The clips, in the protocol's order; empty until the export is complete."""


@dataclass(frozen=True)
class Export:
    """The clips of a source on their way into a folder."""

    folder: Path
    source: ClipSource
    record: ExportRecord

    def __call__(self, refs: Sequence[ClipRef], progress: Callable[[int, int], None]) -> ExportRecord:
        """Write every file that is missing, then the list of clips; return what ``clips.json`` holds.

        Raises:
            ResultError: the folder holds something else, or cannot be written. DataError: a clip cannot be read.
        """
        self._open()
        clips = []
        for count, ref in enumerate(refs):
            progress(count, len(refs))
            if not all(path.is_file() for path in self._paths(ref)):
                self._write(ref)
            clips.append(self._entry(ref))
        record = self.record.model_copy(update={"complete": True, "clips": clips})
        write_atomic(self.folder / CLIPS, canonical(record.to_json()) + "\n")
        progress(len(refs), len(refs))
        return record

    def _open(self) -> None:
        """Check that the folder is empty, or holds this export.

        Raises:
            ResultError: it does not.
        """
        path = self.folder / CLIPS
        if path.is_file():
            with validation_errors(ResultError, str(path), "choose another folder"):
                present = ExportRecord.model_validate(read_json(path, files.RUN, schema=1))
            if present.model_copy(update={"complete": False, "clips": []}) != self.record:
                raise ResultError(
                    f"{self.folder} holds an export of {present.protocol} with other clips, data or settings; choose "
                    f"another folder, or remove it",
                    Remedy.OUTPUT_FOLDER,
                )
            return
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise ResultError(f"{self.folder} is no export and not empty; choose another folder", Remedy.OUTPUT_FOLDER)
        write_atomic(path, canonical(self.record.to_json()) + "\n")

    def _paths(self, ref: ClipRef) -> list[Path]:
        """Return the files of a clip, its pictures last."""
        stem, paths = file_stem(ref.id), []
        counts = {"context": ref.context, "truth": len(ref.steps)}
        for part, modalities in {"context": self.record.context, "truth": self.record.truth}.items():
            for modality in sorted(modalities, key=lambda modality: modality == "frames"):
                if modality == "frames" and self.record.format == "png":
                    paths += [self.folder / part / stem / f"{i + 1:04d}.png" for i in range(counts[part])]
                else:
                    suffix = "" if modality == "frames" else f".{modality}"
                    paths.append(self.folder / part / f"{stem}{suffix}.npy")
        return paths

    def _write(self, ref: ClipRef) -> None:
        clip = self.source.read(ref)
        arrays = _entries(clip.context, self.record.context, self.record.format)
        arrays += _entries(clip.future, self.record.truth, self.record.format)
        for path, array in zip(self._paths(ref), arrays, strict=True):
            write_atomic(path, _png(array) if path.suffix == ".png" else _npy(array))

    def _entry(self, ref: ClipRef) -> ExportedClip:
        *_, path = (path for path in self._paths(ref) if path.is_relative_to(self.folder / "context"))
        frame = read_image(path) if path.suffix == ".png" else np.load(path, mmap_mode="r")[0]
        return ExportedClip(
            id=ref.id,
            file=file_stem(ref.id),
            context=ref.context,
            horizon=ref.horizon,
            steps=list(ref.steps),
            frames=list(ref.frames),
            size=list(frame.shape[:2]),
            seeds=[clip_seed(ref.id, self.record.seed, sample) for sample in range(self.record.samples)],
        )


def _entries(arrays: Arrays, modalities: Sequence[str], kind: Format) -> list[NDArray[Any]]:
    """Return the content of each file of a part, in the order of ``Export._paths``."""
    ordered = [arrays[modality] for modality in sorted(modalities, key=lambda modality: modality == "frames")]
    if kind == "npy" or not modalities:
        return ordered
    *maps, frames = ordered
    return [*maps, *frames]


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _png(frame: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return data.tobytes()
