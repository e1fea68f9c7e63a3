"""Predictions read from a folder, to score those of another program."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vpbench.errors import DataError, PredictorError, UsageError
from vpbench.files import read_toml
from vpbench.plugin.clip import Context, Modality, Prediction
from vpbench.plugin.predictor import PredictorInfo
from vpbench.toolkit.arrays import load_array
from vpbench.toolkit.file_names import file_stem
from vpbench.toolkit.folders import hash_files, list_files
from vpbench.toolkit.media import order_pictures, read_image, stack
from vpbench.validation import validation_line


class _Layout(NamedTuple):
    suffix: str
    kinds: str
    """NumPy's kinds of dtype."""
    channels: tuple[int, ...]
    text: str


_LAYOUTS: dict[Modality, _Layout] = {
    "semantics": _Layout(".semantics.npy", "ui", (), "[K,H,W] integer"),
    "flow": _Layout(".flow.npy", "f", (2,), "[K,H,W,2] float"),
    "disocclusion": _Layout(".disocclusion.npy", "b", (), "[K,H,W] bool"),
    "frames": _Layout(".npy", "uf", (3,), "[K,H,W,3] uint8 or float"),  # last: every other suffix ends like it
}
_OUTPUTS: tuple[Modality, ...] = ("frames", "semantics", "flow", "disocclusion")
_EXPECTED = "DIR/<clip id>.npy ([K,H,W,3], uint8 or float in [0,1]) or DIR/<clip id>/ with a PNG per step"
_SAMPLE = re.compile(r"\.sample(\d+)(?=(\.\w+)?\.npy$)", re.IGNORECASE)
_TOLERANCE = 1e-4
_CARD = "card.toml"
_Arrays: TypeAlias = dict[tuple[str, Modality, int], Path]
"""Files by clip, modality and sample."""


class Card(BaseModel):
    """``card.toml``: the model that made the predictions of a folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = ""
    """Name of the model: it labels the result."""
    paper: str = ""
    """Address or citation of the paper."""
    licence: str = ""
    """Licence of the predictions."""
    trained_on: list[str] = []
    """Names of the data that the model was trained on."""


class Saved:
    """Predicts the contents of a folder, in the layout that ``vpbench run --save-predictions`` writes.

    For the clip ``a/b@0``, steps 1 to K (the protocol's horizon), at the protocol's size:

    =========================== ======================================================================================
    ``a/b@0.npy``               frames [K,H,W,3], RGB, uint8 0 to 255 or float in [0,1]
    ``a/b@0/*.png``             or these instead: K 8-bit pictures, in natural order (``2.png`` before ``10.png``)
    ``a/b@0.semantics.npy``     label ids [K,H,W], integers in the dataset's label space; 255 is no label
    ``a/b@0.flow.npy``          backward flow [K,H,W,2], float, pixels, x first; step 1 leads to the last context frame
    ``a/b@0.disocclusion.npy``  bool [K,H,W]
    =========================== ======================================================================================

    All clips must have the same modalities and the same number of samples. ``a/b@0.sample1.npy`` (or
    ``a/b@0.sample1.flow.npy``) is the second sample, and so on. Hidden files are ignored. Suffixes may have any case.
    A very long id is cut as in saved predictions (:func:`vpbench.toolkit.file_names.file_stem`).

    ``card.toml`` in the folder may name the model, its ``paper``, its ``licence``, and what it was ``trained_on``. The
    option ``name`` overrides the card's ``name``. Neither is part of a result's identity.

    Raises:
        PredictorError: The folder does not exist, holds no predictions, holds two files for one clip and modality, or
            other samples for one clip than for another. UsageError: The card cannot be read or has a wrong field.
    """

    class Options(BaseModel):
        """The folder. Its name is not part of a result's identity; the hash of its contents is."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        dir: Path = Field(exclude=True, description="the folder of predictions")
        name: str = Field(default="", exclude=True, description="name of the result (default: the card's)")

    argument = "dir"

    def __init__(self, options: Options) -> None:
        self.folder = options.dir.expanduser()
        if not self.folder.is_dir():
            raise PredictorError(f"saved: there is no folder {self.folder}; name one that holds {_EXPECTED}")
        self.card, self._name = _read_card(self.folder / _CARD), options.name
        self._files = list_files(self.folder, (".npy", ".png"))
        self._arrays, self._pictures = _group(self._files)
        self.samples = _count_samples(self._arrays, self._pictures)
        modalities = {modality for _, modality, _ in self._arrays} | ({"frames"} if self._pictures else set())
        if not modalities:
            raise PredictorError(f"saved: {self.folder} holds no predictions; expected {_EXPECTED}")
        outputs = tuple(modality for modality in _OUTPUTS if modality in modalities)
        self.info = PredictorInfo(
            outputs=outputs,
            stochastic=self.samples > 1,
            paper=self.card.paper,
            licence=self.card.licence,
            trained_on=tuple(self.card.trained_on),
        )

    def fingerprint(self) -> str:
        """Return the sha256 of the files' relative paths and the sha256 of their contents, sorted by path."""
        return hash_files(self._files)

    def result_name(self) -> str:
        """Return the name of results: the option's, else the card's."""
        return self._name or self.card.name

    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Read all steps of each clip.

        Raises:
            PredictorError: A file is missing or unreadable, has another dtype, size or number of steps, or has NaN or
                frames outside [0,1]. Names the file.
        """
        height, width = context.frames.shape[-2:]

        def read(modality: Modality) -> torch.Tensor | None:
            if modality not in self.info.outputs:
                return None
            clips = [self._read(clip, context.sample, modality, horizon, (height, width)) for clip in context.clips]
            return torch.from_numpy(np.stack(clips)).to(context.frames.device)

        frames, flow = read("frames"), read("flow")
        return Prediction(
            frames=None if frames is None else frames.permute(0, 1, 4, 2, 3).contiguous(),
            semantics=read("semantics"),
            flow=None if flow is None else flow.permute(0, 1, 4, 2, 3).contiguous(),
            disocclusion=read("disocclusion"),
            label_space=context.label_space,
        )

    def _read(self, clip: str, sample: int, modality: Modality, horizon: int, size: tuple[int, int]) -> NDArray[Any]:
        if sample >= self.samples:
            raise PredictorError(f"saved: {self.folder} holds {self.samples} samples per clip; ask for as many at most")
        stem = file_stem(clip)
        path = self._arrays.get((stem, modality, sample))
        pictures = [name for name in (clip, stem) if name in self._pictures and modality == "frames" and not sample]
        if path is not None:
            array = _load(path)
        elif pictures:
            path = self.folder / pictures[0]
            array = _load_pictures(path, self._pictures[pictures[0]])
        else:
            choice = f" or {self.folder / stem}/ with a PNG per step" if modality == "frames" else ""
            number = f".sample{sample}" if sample else ""
            path = self.folder / f"{stem}{number}{_LAYOUTS[modality].suffix}"
            raise PredictorError(f"saved: clip {clip}: there is no {path}{choice}")
        return _checked(array, modality, horizon, size, path)


def _read_card(path: Path) -> Card:
    """Return the card of a folder; an empty one if there is none.

    Raises:
        UsageError: it cannot be read, or has a wrong field.
    """
    if not path.exists():
        return Card()
    try:
        return Card.model_validate(read_toml(path, "card"))
    except ValidationError as error:
        fields = ", ".join(Card.model_fields)
        raise UsageError(f"card {path}: {validation_line(error)}; known: {fields}") from error


def _group(files: dict[str, Path]) -> tuple[_Arrays, dict[str, list[str]]]:
    """Return the array of each stem, modality and sample, and the names of the pictures in each folder."""
    arrays: _Arrays = {}
    pictures: dict[str, list[str]] = {}
    for name, path in files.items():
        if path.suffix.lower() == ".png":
            pictures.setdefault(name.rpartition("/")[0], []).append(path.name)
        else:
            match = _SAMPLE.search(name)
            sample, name = (int(match[1]), _SAMPLE.sub("", name)) if match else (0, name)
            modality = next(m for m, layout in _LAYOUTS.items() if name.lower().endswith(layout.suffix))
            key = name[: -len(_LAYOUTS[modality].suffix)], modality, sample
            if key in arrays:
                raise PredictorError(f"saved: {arrays[key]} and {path} are for one clip; remove one")
            arrays[key] = path
    return arrays, pictures


def _count_samples(arrays: _Arrays, pictures: dict[str, list[str]]) -> int:
    """Return the number of samples per clip.

    Raises:
        PredictorError: another number for one clip or modality than for another; names both.
    """
    samples: dict[tuple[str, Modality], set[int]] = {(stem, "frames"): {0} for stem in pictures}
    for stem, modality, sample in arrays:
        samples.setdefault((stem, modality), set()).add(sample)
    counts = {key: len(numbers) for key, numbers in samples.items()}
    for (stem, modality), numbers in sorted(samples.items()):
        if gaps := set(range(max(counts.values()))) - numbers:
            fullest = max(counts, key=lambda key: counts[key])
            raise PredictorError(
                f"saved: clip {stem}: sample {min(gaps)} of {modality} is not there, and {fullest[0]} has "
                f"{counts[fullest]} samples of {fullest[1]}; every clip needs the same samples, from 0"
            )
    return max(counts.values(), default=1)


def _load(path: Path) -> NDArray[Any]:
    try:
        return load_array(path, mapped=True)
    except (OSError, ValueError) as error:
        raise PredictorError(f"saved: {path}: does not load as an array ({error})") from error


def _load_pictures(folder: Path, names: Sequence[str]) -> NDArray[np.uint8]:
    try:
        ordered = order_pictures(names, str(folder))
        return stack([read_image(folder / name) for name in ordered], str(folder))
    except DataError as error:
        raise PredictorError(f"saved: {error} (or save float frames as .npy)") from error


def _checked(
    array: NDArray[Any], modality: Modality, horizon: int, size: tuple[int, int], path: Path
) -> NDArray[np.float32] | NDArray[np.int64] | NDArray[np.bool_]:
    layout, is_eight_bit = _LAYOUTS[modality], array.dtype == np.uint8
    if array.dtype.kind not in layout.kinds or (modality == "frames" and array.dtype.kind == "u" and not is_eight_bit):
        raise PredictorError(f"saved: {path}: has dtype {array.dtype}; {modality} must be {layout.text}")
    if array.ndim != 3 + len(layout.channels) or array.shape[3:] != layout.channels:
        raise PredictorError(f"saved: {path}: has shape {list(array.shape)}; {modality} must be {layout.text}")
    if array.shape[1:3] != size:
        actual, expected = "x".join(map(str, array.shape[1:3])), "x".join(map(str, size))
        raise PredictorError(f"saved: {path}: is {actual}, the protocol's frames are {expected} (height x width)")
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
        raise PredictorError(f"saved: {path}: has NaN or infinite values")
    if modality == "flow":
        return values
    if is_eight_bit:
        return values / np.float32(255)
    if values.min() < -_TOLERANCE or values.max() > 1 + _TOLERANCE:
        raise PredictorError(
            f"saved: {path}: float frames must be in [0,1]; these run from {values.min():g} to {values.max():g}"
        )
    return values
