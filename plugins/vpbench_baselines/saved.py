"""Predictions read from a folder: to score what another program predicted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vpbench.errors import DataError, PredictorError
from vpbench.plugin.clip import Context, Modality, Prediction
from vpbench.plugin.predictor import PredictorInfo
from vpbench.toolkit.file_names import file_stem
from vpbench.toolkit.folders import is_hidden
from vpbench.toolkit.media import order_pictures, read_image, stack

__all__ = ["Saved"]

_TAILS: dict[Modality, str] = {
    "frames": ".npy",
    "semantics": ".semantics.npy",
    "flow": ".flow.npy",
    "disocclusion": ".disocclusion.npy",
}
_LAYOUTS: dict[Modality, tuple[str, str, tuple[int, ...]]] = {
    "frames": ("uf", "[K,H,W,3] uint8 or float", (3,)),
    "semantics": ("ui", "[K,H,W] integer", ()),
    "flow": ("f", "[K,H,W,2] float", (2,)),
    "disocclusion": ("b", "[K,H,W] bool", ()),
}
_LAYOUT = "DIR/<clip id>.npy ([K,H,W,3], uint8 or float in [0,1]) or DIR/<clip id>/ with a PNG per step"
_SAMPLE = re.compile(r"\.sample\d+(\.\w+)?\.npy$", re.IGNORECASE)
_TOLERANCE = 1e-4


class Saved:
    """Predicts what a folder holds, in the layout that ``--save-predictions`` writes too.

    For the clip ``a/b@0``, steps 1 to K (the protocol's horizon), at the protocol's size:

    =========================== ======================================================================================
    ``a/b@0.npy``               frames [K,H,W,3], RGB, uint8 0 to 255 or float in [0,1]
    ``a/b@0/*.png``             or these instead: K 8-bit pictures, in natural order (``2.png`` before ``10.png``)
    ``a/b@0.semantics.npy``     label ids [K,H,W], integers in the dataset's label space; 255 is no label
    ``a/b@0.flow.npy``          backward flow [K,H,W,2], float, pixels, x first; step 1 leads to the last context frame
    ``a/b@0.disocclusion.npy``  bool [K,H,W]
    =========================== ======================================================================================

    What one clip has, all must have. Further samples of a stochastic predictor (``a/b@0.sample1.npy``, and so on) may
    lie next to the first; they are not read. Suffixes may have any case; hidden files are ignored. A very long id
    is cut as ``--save-predictions`` cuts it (:func:`vpbench.toolkit.file_names.file_stem`).

    Raises:
        PredictorError: the folder does not exist, holds no predictions, or holds two files for one clip and modality.
    """

    class Options(BaseModel):
        """Where the predictions are. The folder's name is no part of a result's identity: its content's hash is."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        dir: Path = Field(exclude=True, description="the folder of predictions")

    argument = "dir"

    def __init__(self, options: Options) -> None:
        self.folder = options.dir
        if not self.folder.is_dir():
            raise PredictorError(f"saved: there is no folder {self.folder}; name one that holds {_LAYOUT}")
        self._arrays = self._find_arrays()
        kinds = {modality for _, modality in self._arrays}
        if self._pictures:
            kinds.add("frames")
        outputs = tuple(modality for modality in _TAILS if modality in kinds)
        if not outputs:
            raise PredictorError(f"saved: {self.folder} holds no predictions; expected {_LAYOUT}")
        self.info = PredictorInfo(outputs=outputs)

    @cached_property
    def _files(self) -> dict[str, Path]:
        """All files that may be read, by their path below the folder, sorted by it."""
        paths = {path.relative_to(self.folder): path for path in self.folder.rglob("*")}
        return {
            name.as_posix(): path
            for name, path in sorted(paths.items())
            if name.suffix.lower() in (".npy", ".png") and not any(map(is_hidden, name.parts)) and path.is_file()
        }

    @cached_property
    def _pictures(self) -> dict[str, list[str]]:
        """The names of the pictures in each folder, by its path with a slash at the end."""
        pictures: dict[str, list[str]] = {}
        for name in self._files:
            folder, slash, file = name.rpartition("/")
            if file.lower().endswith(".png"):
                pictures.setdefault(folder + slash, []).append(file)
        return pictures

    def _find_arrays(self) -> dict[tuple[str, Modality], Path]:
        """Return the array of each stem and modality."""
        arrays: dict[tuple[str, Modality], Path] = {}
        for name, path in self._files.items():
            if (modality := _kind(name)) is None:
                continue
            key = name[: -len(_TAILS[modality])], modality
            if key in arrays:
                raise PredictorError(f"saved: {arrays[key]} and {path} are for one clip; remove one")
            arrays[key] = path
        return arrays

    def fingerprint(self) -> str:
        """Return the sha256 over the files' relative paths and the sha256 of their contents, sorted by path."""
        whole = hashlib.sha256()
        for name, path in sorted(self._files.items()):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{name}\0{content}\n".encode())
        return whole.hexdigest()

    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Read the first ``horizon`` steps of each clip.

        Raises:
            PredictorError: a file is missing, unreadable, of another dtype or size, too short, or has NaN or frames
                outside [0,1]; names the file.
        """
        height, width = context.frames.shape[-2:]

        def read(modality: Modality) -> torch.Tensor | None:
            if modality not in self.info.outputs:
                return None
            clips = [self._read(clip, modality, horizon, (height, width)) for clip in context.clips]
            return torch.from_numpy(np.stack(clips)).to(context.frames.device)

        frames, flow = read("frames"), read("flow")
        return Prediction(
            frames=None if frames is None else frames.permute(0, 1, 4, 2, 3).contiguous(),
            semantics=read("semantics"),
            flow=None if flow is None else flow.permute(0, 1, 4, 2, 3).contiguous(),
            disocclusion=read("disocclusion"),
            label_space=context.label_space,
        )

    def _read(self, clip: str, modality: Modality, horizon: int, size: tuple[int, int]) -> NDArray[Any]:
        stem = file_stem(clip)
        path = self._arrays.get((stem, modality))
        pictures = [name for name in (f"{clip}/", f"{stem}/") if name in self._pictures and modality == "frames"]
        if path is not None:
            array = _load(path)
        elif pictures:
            path = self.folder / pictures[0]
            array = _load_pictures(path, self._pictures[pictures[0]])
        else:
            rule = f" or {self.folder / stem}/ with a PNG per step" if modality == "frames" else ""
            raise PredictorError(f"saved: clip {clip}: there is no {self.folder / f'{stem}{_TAILS[modality]}'}{rule}")
        return _checked(array, modality, horizon, size, path)


def _kind(name: str) -> Modality | None:
    """Return the modality of an array's file; None for pictures and further samples."""
    if _SAMPLE.search(name):
        return None
    longest_first = sorted(_TAILS, key=lambda modality: -len(_TAILS[modality]))
    return next((modality for modality in longest_first if name.lower().endswith(_TAILS[modality])), None)


def _load(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise PredictorError(f"saved: {path}: is not an array that loads ({error})") from error


def _load_pictures(folder: Path, names: Sequence[str]) -> NDArray[np.uint8]:
    try:
        ordered = order_pictures(names, str(folder))
        return stack([read_image(folder / name) for name in ordered], str(folder))
    except DataError as error:
        raise PredictorError(f"saved: {error} (or save float frames as .npy)") from error


def _checked(
    array: NDArray[Any], modality: Modality, horizon: int, size: tuple[int, int], path: Path
) -> NDArray[np.float32] | NDArray[np.int64] | NDArray[np.bool_]:
    kinds, layout, tail = _LAYOUTS[modality]
    is_eight_bit = array.dtype == np.uint8
    if array.dtype.kind not in kinds or (modality == "frames" and array.dtype.kind == "u" and not is_eight_bit):
        raise PredictorError(f"saved: {path}: has dtype {array.dtype}; {modality} must be {layout}")
    if array.ndim != 3 + len(tail) or array.shape[3:] != tail:
        raise PredictorError(f"saved: {path}: has shape {list(array.shape)}; {modality} must be {layout}")
    if array.shape[1:3] != size:
        have, want = "x".join(map(str, array.shape[1:3])), "x".join(map(str, size))
        raise PredictorError(f"saved: {path}: is {have}, the protocol's frames are {want} (height x width)")
    if len(array) != horizon:
        raise PredictorError(
            f"saved: {path}: has {len(array)} steps, the protocol's horizon is {horizon}; keep the predicted steps only"
        )
    if modality == "semantics":
        return array.astype(np.int64)
    if modality == "disocclusion":
        return array.astype(np.bool_)
    values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise PredictorError(f"saved: {path}: has NaN or infinite values ")
    if modality == "flow":
        return values
    if is_eight_bit:
        return values / np.float32(255)
    if values.min() < -_TOLERANCE or values.max() > 1 + _TOLERANCE:
        raise PredictorError(
            f"saved: {path}: float frames must be in [0,1]; these run from {values.min():g} to {values.max():g}"
        )
    return values
