"""Annotations read from a folder: the flow or the labels that another program computed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from vpbench.errors import DataError
from vpbench.plugin.annotator import AnnotatorInfo
from vpbench.plugin.clip import IGNORE, LabelSpace
from vpbench.toolkit.flow_files import FLOW_SUFFIXES, read_flow
from vpbench.toolkit.folders import hash_files, list_files
from vpbench.toolkit.labels import LABEL_SPACES

_EXPECTED: Final = (
    "DIR/<sequence>/<frame number> with .flo, .npy, .npz or a 16-bit .png for flow, an 8-bit .png for labels"
)
_PNG_DEPTH: Final = 24
"""The byte of a PNG file that holds its bits per channel."""
_EXPLAINED: Final = 0.75
"""Share of the difference between two frames that must remain, at most, where a map explains it."""


class Saved:
    """Gives the maps of a folder, at the protocol's size: ``DIR/<sequence>/<frame number>.<suffix>``.

    ====================== ===========================================================================================
    ``12.flo``             flow in Middlebury's form
    ``12.png``, 16 bits    flow in KITTI's form: steps of 1/64 pixel, and a channel that marks known pixels
    ``12.npy``, ``12.npz`` flow as a float array [H,W,2] in pixels, x first; ``flow`` in a file of several arrays
    ``12.png``, 8 bits     labels: one channel, or a palette, of ids in the label space; 255 is no label
    ====================== ===========================================================================================

    Flow is backward, from the frame to the sampled frame before it. A folder holds flow or labels. Zeros before the
    number do not matter, and hidden files are ignored.

    Raises:
        DataError: The folder does not exist, holds no maps, or holds two files for one frame.
    """

    class Options(BaseModel):
        """The folder, which the hash of its maps represents in a result's identity, and the label space."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        dir: Path = Field(exclude=True, description="the folder of maps")
        space: Literal["cityscapes9", "cityscapes19", "cityscapes20", "foreground2", "voc21"] | None = Field(
            default=None, description="label space of the labels; none: the dataset's"
        )

    argument = "dir"

    def __init__(self, options: Options) -> None:
        self.folder = options.dir.expanduser()
        if not self.folder.is_dir():
            raise DataError(f"saved: there is no folder {self.folder}; name one that holds {_EXPECTED}")
        self._files = list_files(self.folder, FLOW_SUFFIXES)
        self._maps = _by_frame(self._files)
        if not self._maps:
            raise DataError(f"saved: {self.folder} holds no maps; expected {_EXPECTED}")
        self.space: LabelSpace | None = LABEL_SPACES[options.space] if options.space else None
        self._labels = _are_labels(list(self._maps.values()))
        self.info = (
            AnnotatorInfo(gives="semantics", label_space=self.space) if self._labels else AnnotatorInfo(gives="flow")
        )

    def fingerprint(self) -> str:
        """Return the sha256 of the files' paths below the folder and of their contents."""
        return hash_files(self._files)

    def annotate(self, window: Mapping[str, NDArray[Any]], clips: Sequence[str], device: str) -> NDArray[Any]:
        """Return the maps of B frames, or pairs of frames: labels uint8 [B,H,W] or flow float32 [B,H,W,2].

        Raises:
            DataError: A map is missing or unreadable, has another size, ids beyond the label space, or flow to the
                next frame. Names the file.
        """
        read = self._read_labels if self._labels else self._read_flow
        return np.stack([read(clip, frames) for clip, frames in zip(clips, window["frames"], strict=True)])

    def _read_labels(self, clip: str, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        path = self._path(clip)
        try:
            data = path.read_bytes()
            with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
                plain = picture.mode == "P" or (picture.mode == "L" and _depth(data) == 8)  # Pillow stretches 4 bits
                labels = np.array(picture) if plain else None
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"saved: {path}: is no PNG that decodes") from error
        if labels is None:
            raise DataError(f"saved: {path}: is not a map of labels: save one channel, or a palette, of 8 bits")
        _check_size(labels, frames, path)
        if self.space is not None and (wrong := labels[(labels >= len(self.space)) & (labels != IGNORE)]).size:
            raise DataError(
                f"saved: {path}: has the id {wrong[0]}; {self.space.name} has {len(self.space)} classes, and {IGNORE}"
            )
        return labels

    def _read_flow(self, clip: str, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        before, number = clip.rpartition("@")[2].split("-")
        if before == number:  # a protocol pads a context by repeating its first frame
            return np.zeros((*frames.shape[1:3], 2), np.float32)
        flow = read_flow(path := self._path(clip))
        _check_size(flow, frames, path)
        if _leads_forward(flow, *frames):
            raise DataError(
                f"saved: {path}: leads the wrong way: minus this map explains frame {number} by frame {before}, and "
                f"the map does not; save backward flow, from each frame to the one before"
            )
        return flow

    def _path(self, clip: str) -> Path:
        sequence, _, key = clip.rpartition("@")
        number = int(key.rpartition("-")[2])
        if (sequence, number) not in self._maps:
            raise DataError(
                f"saved: sequence {sequence!r}, frame {number}: there is no map "
                f"{self.folder / sequence / str(number)}{'.png' if self._labels else '.flo (or .npy, .npz, .png)'}"
            )
        return self._maps[sequence, number]


def _by_frame(files: Mapping[str, Path]) -> dict[tuple[str, int], Path]:
    """Return the files that are named by a number, by sequence and frame."""
    maps: dict[tuple[str, int], Path] = {}
    for name, path in files.items():
        sequence, _, _ = name.rpartition("/")
        if not (path.stem.isascii() and path.stem.isdigit()):
            continue
        if (first := maps.setdefault((sequence, int(path.stem)), path)) is not path:
            raise DataError(f"saved: {first} and {path} are for one frame; remove one")
    return maps


def _are_labels(paths: Sequence[Path]) -> bool:
    """Return whether maps are labels: pictures of 8 bits.

    Raises:
        DataError: some are, and others are flow.
    """
    picture = next((path for path in paths if path.suffix.lower() == ".png"), None)
    array = next((path for path in paths if path.suffix.lower() != ".png"), None)
    labels = picture is not None and _depth(picture.read_bytes()) <= 8
    if labels and array is not None:
        raise DataError(f"saved: {picture} holds labels and {array} flow; put them in two folders")
    return labels


def _depth(png: bytes) -> int:
    """Return the bits per channel of a PNG file, from its header; 0 if it is too short."""
    return int.from_bytes(png[_PNG_DEPTH : _PNG_DEPTH + 1], "big")


def _check_size(array: NDArray[Any], frames: NDArray[np.uint8], path: Path) -> None:
    if array.shape[:2] != frames.shape[1:3]:
        actual, expected = ("x".join(map(str, shape)) for shape in (array.shape[:2], frames.shape[1:3]))
        raise DataError(f"saved: {path}: is {actual}, the protocol's frames are {expected} (height x width)")


def _leads_forward(flow: NDArray[np.float32], before: NDArray[np.uint8], frame: NDArray[np.uint8]) -> bool:
    """Return whether minus the flow explains a frame, and the flow explains it worse than no motion at all."""
    rows, columns = np.indices(flow.shape[:2], dtype=np.float32)

    def difference(vectors: NDArray[np.float32]) -> float:
        warped = cv2.remap(
            before, columns + vectors[..., 0], rows + vectors[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return float(cv2.absdiff(warped, frame).mean())

    still = difference(np.zeros_like(flow))
    return difference(flow) > still and difference(-flow) < _EXPLAINED * still
