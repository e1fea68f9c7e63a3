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
from vpbench.plugin.media import natural_key, read_image, stack
from vpbench.plugin.predictor import PredictorInfo

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
_SAMPLE = re.compile(r"\.sample\d+(\.\w+)?\.npy$")
_TOLERANCE = 1e-4
_PNG_DEPTH = 24  # the byte of a PNG file that holds its bits per channel


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
    lie beside the first; they are not read.

    Raises:
        PredictorError: the folder does not exist or holds no predictions.
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
        kinds = {_kind(path) for path in self._files}
        outputs = tuple(modality for modality in _TAILS if modality in kinds)
        if not outputs:
            raise PredictorError(f"saved: {self.folder} holds no predictions; expected {_LAYOUT}")
        self.info = PredictorInfo(outputs=outputs)

    @cached_property
    def _files(self) -> list[Path]:
        return [path for path in sorted(self.folder.rglob("*")) if path.suffix in (".npy", ".png") and path.is_file()]

    def fingerprint(self) -> str:
        """Return the sha256 over the files' relative paths and the sha256 of their contents, sorted by path."""
        whole = hashlib.sha256()
        for name, path in sorted((path.relative_to(self.folder).as_posix(), path) for path in self._files):
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
        path = self.folder / f"{clip}{_TAILS[modality]}"
        pictures = self.folder / clip
        if path.is_file():
            array = _load(path)
        elif modality == "frames" and pictures.is_dir():
            path, array = pictures, _load_pictures(pictures)
        else:
            rule = f" or {pictures}/ with a PNG per step" if modality == "frames" else ""
            raise PredictorError(f"saved: clip {clip}: there is no {path}{rule}")
        return _checked(array, modality, horizon, size, path)


def _kind(path: Path) -> Modality | None:
    if path.suffix == ".png":
        return "frames"
    if _SAMPLE.search(path.name):
        return None
    longest_first = sorted(_TAILS, key=lambda modality: -len(_TAILS[modality]))
    return next(modality for modality in longest_first if path.name.endswith(_TAILS[modality]))


def _load(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise PredictorError(f"saved: {path}: is not an array that loads ({error})") from error


def _load_pictures(folder: Path) -> NDArray[np.uint8]:
    paths = sorted(folder.glob("*.png"), key=lambda path: natural_key(path.name))
    if not paths:
        raise PredictorError(f"saved: {folder}: holds no PNG")
    try:
        images = [read_image(path) for path in paths]
        for path in paths:
            if path.read_bytes()[_PNG_DEPTH] == 16:
                raise PredictorError(
                    f"saved: {path}: has 16 bits per channel; save 8-bit pictures, or an .npy of float"
                )
        return stack(images, str(folder))
    except DataError as error:
        raise PredictorError(f"saved: {error}") from error


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
