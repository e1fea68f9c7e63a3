"""Keep predictions of each clip next to the rows of a result; ``vpbench.pages`` keeps pictures.

Predictions have the layout that the predictor ``saved`` and other tools read: ``<folder>/<clip id>.npy`` is float32
[K,H,W,3] RGB in [0,1]; next to it, if predicted, ``<clip id>.semantics.npy`` (uint8 [K,H,W] label ids), ``.flow.npy``
(float32 [K,H,W,2]) and ``.disocclusion.npy`` (bool [K,H,W]). Samples of a stochastic predictor after the first carry
``.sample1``, ``.sample2``, ... before the modality. :func:`vpbench.toolkit.file_names.file_stem` cuts very long ids.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vpbench.clips.batch import Batch
from vpbench.files import write_atomic
from vpbench.plugin.clip import Prediction
from vpbench.plugin.modality import BUILT_IN
from vpbench.protocol.units import Unit
from vpbench.toolkit.file_names import file_stem

_FOLDER = "predictions"


class Keeper(Protocol):
    """Keeps something of each prediction in a result's folder; an incomplete unit is predicted again."""

    def complete(self, result: Path, unit: Unit, samples: int) -> bool:
        """Return whether everything to keep of a unit exists."""

    def completes(self, name: str) -> bool:
        """Return whether a file, named by its path in the result, completes a clip: it is written after the others."""

    def keep(self, result: Path, batch: Batch, prediction: Prediction, sample: int) -> None:
        """Keep something of a prediction as the predictor returned it.

        Raises:
            ResultError: a file cannot be written.
        """


class PredictionKeeper:
    """Keeps every prediction in ``predictions/``."""

    def complete(self, result: Path, unit: Unit, samples: int) -> bool:
        """Return whether the predicted frames of every clip of a unit exist."""
        return all(saved_path(result, ref.id, s, "frames").is_file() for ref in unit.clips for s in range(samples))

    def completes(self, name: str) -> bool:
        """Return whether a file holds predicted frames."""
        return name.startswith(f"{_FOLDER}/") and not name.endswith(tuple(f".{m}.npy" for m in BUILT_IN))

    def keep(self, result: Path, batch: Batch, prediction: Prediction, sample: int) -> None:
        """Write the predictions of a batch, each file atomically; a clip's frames last, since they make it complete."""
        tensors = prediction.tensors()
        for modality in sorted(tensors, key=lambda modality: modality == "frames"):
            tensor = tensors[modality]
            for i, ref in enumerate(batch.refs):
                buffer = io.BytesIO()
                np.save(buffer, _array(modality, tensor[i].cpu()))
                write_atomic(saved_path(result, ref.id, sample, modality), buffer.getvalue())


def saved_path(result: Path, clip: str, sample: int, modality: str) -> Path:
    """Return the file of a modality of a clip's saved prediction."""
    suffix = f".sample{sample}" if sample else ""
    suffix += "" if modality == "frames" else f".{modality}"
    return result / _FOLDER / f"{file_stem(clip)}{suffix}.npy"


def _array(modality: str, tensor: Tensor) -> NDArray[Any]:
    match modality:
        case "semantics":
            labels = tensor.float().argmax(dim=1) if tensor.ndim == 4 else tensor
            return labels.numpy().astype(np.uint8)
        case "disocclusion":
            return tensor.numpy()
        case _:
            return tensor.float().permute(0, 2, 3, 1).contiguous().numpy()
