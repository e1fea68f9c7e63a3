"""Semantic maps by DeepLabV3, torchvision's network with its weights or with a user's.

Chen, Papandreou, Schroff, Adam: Rethinking Atrous Convolution for Semantic Image Segmentation, arXiv:1706.05587.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional
from torchvision.models.segmentation import (
    DeepLabV3_ResNet50_Weights,
    DeepLabV3_ResNet101_Weights,
    deeplabv3_resnet50,
    deeplabv3_resnet101,
)

from vpbench.errors import DataError, UsageError, did_you_mean
from vpbench.plugin.annotator import AnnotatorInfo
from vpbench.plugin.clip import LabelSpace
from vpbench.toolkit import weights
from vpbench.toolkit.labels import CITYSCAPES19, LABEL_SPACES, VOC21
from vpbench_annotators.inference import run_network

NETWORKS: Final = {
    "resnet50": (deeplabv3_resnet50, DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.url),
    "resnet101": (deeplabv3_resnet101, DeepLabV3_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1.url),
}
"""Builder of each network, and the address of torchvision's weights (of COCO's images with VOC's classes)."""
_TRAINED_SIDE: Final = 520
"""Pixels of the short side in torchvision's own evaluation of its weights."""
_LAST: Final = "classifier.4.weight"
_ONLY_RESNET101: Final = "backbone.layer3.22.conv1.weight"
_PREPROCESS: Final = DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.transforms
"""Resizes 8-bit pictures and normalises with ImageNet's mean and deviation: the same for both backbones."""


class DeepLabV3:
    """Labels by DeepLabV3: Pascal VOC's 21 classes, or those of a user's checkpoint (19: Cityscapes').

    A checkpoint is a state dict of the same network as torchvision's, trained with ImageNet's normalisation, in
    safetensors (``vpbench weights convert``). Its class count says its label space. The option ``into`` maps labels as
    their space declares: VOC's into ``foreground2``, Cityscapes' into ``cityscapes9`` (SADM's merge) or
    ``cityscapes20``.

    On a CPU, a frame's labels depend on nothing else. On a GPU, a batch is computed at once.
    """

    class Options(BaseModel):
        """Which network, whose weights, and at which size it looks."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        backbone: Literal["resnet50", "resnet101"] = "resnet50"
        weights: Path | None = Field(
            # Where the file lies is no part of a result's identity; its sha256 is the fingerprint.
            default=None,
            exclude=True,
            description="a checkpoint in safetensors; none: torchvision's",
        )
        side: int | None = Field(
            default=None,
            ge=0,
            le=4096,
            description="short side that the network sees, 0: the frames' own; none: 520 for torchvision's weights, "
            "0 for a checkpoint",
        )
        into: Literal["foreground2", "cityscapes9", "cityscapes20"] | None = Field(
            default=None, description="map the labels into that space; none: the network's own classes"
        )

    presets: Final = {**{name: {"backbone": name} for name in NETWORKS}, "foreground2": {"into": "foreground2"}}
    info = AnnotatorInfo(gives="semantics", label_space=VOC21)

    def __init__(self, options: Options) -> None:
        """Look at the checkpoint's names and shapes, where one is given.

        Raises:
            DataError: it is not there, not safetensors, of another network, or of a class count without label space.
            UsageError: its label space has no mapping into the one that is asked for.
        """
        self.options = options
        self.side = options.side if options.side is not None else 0 if options.weights else _TRAINED_SIDE
        self._native = VOC21
        if options.weights is not None:
            self._native = _label_space(_classes(options.weights, options.backbone), options.weights)
        label_space = self._native
        if options.into is not None:
            if options.into not in self._native.into:
                hint = did_you_mean(options.into, self._native.into)
                raise UsageError(f"deeplabv3: {self._native.name!r} has no mapping into {options.into!r}{hint}")
            label_space = LABEL_SPACES[options.into]
        self.info = AnnotatorInfo(gives="semantics", label_space=label_space)

    def fingerprint(self) -> str:
        """Return the sha256 of the weights.

        Raises:
            DataError: they cannot be had, or are not what their name says.
        """
        return weights.sha256(self._file())

    def obtain_weights(self) -> list[Path]:
        """Return the file of weights; torchvision's is downloaded if it is not here.

        Raises:
            DataError: it cannot be downloaded, or is not what its name says.
        """
        return [self._file()]

    def _file(self) -> Path:
        return self.options.weights or weights.obtain(NETWORKS[self.options.backbone][1])

    def annotate(self, window: Mapping[str, NDArray[Any]], clips: Sequence[str], device: str) -> NDArray[np.uint8]:
        """Return label ids, uint8 [B,H,W], of frames uint8 RGB [B,1,H,W,3].

        Raises:
            DataError: the weights cannot be had.
        """
        path = self._file()
        network = _network(self.options.backbone, len(self._native), path, weights.sha256(path), device)
        frames = torch.from_numpy(window["frames"][:, 0]).permute(0, 3, 1, 2)
        labels = run_network(lambda batch: _labels(network, batch, self.side), frames, device=device).numpy()
        if self.options.into is None:
            return labels
        return np.array(self._native.into[self.options.into], dtype=np.uint8)[labels]


def _labels(network: torch.nn.Module, frames: UInt8[Tensor, "b 3 h w"], side: int) -> UInt8[Tensor, "b h w"]:
    """Return the class of the highest score, of scores brought to the frame's size (bilinear)."""
    scores: Float[Tensor, "b c h2 w2"] = network(_PREPROCESS(resize_size=side or None)(frames))["out"]
    if scores.shape[-2:] != frames.shape[-2:]:
        scores = functional.interpolate(scores, size=frames.shape[-2:], mode="bilinear", align_corners=False)
    return scores.argmax(dim=1).to(torch.uint8)


def _classes(path: Path, backbone: str) -> int:
    """Return the class count of a checkpoint; reads its header only."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file of weights")
    if path.suffix != ".safetensors":
        raise DataError(f"{path}: is not a .safetensors file; make it one with `vpbench weights convert {path}`")
    try:
        with safe_open(path, "pt") as file:
            names = set(file.keys())
            shape = file.get_slice(_LAST).get_shape() if _LAST in names else None
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: is not a safetensors file ({error}); replace it") from error
    if shape is None:
        first = min(names, default="none at all")
        raise DataError(
            f"{path}: has no tensor {_LAST!r}, so it is not torchvision's DeepLabV3 (the first it has: {first!r})"
        )
    layout = "resnet101" if _ONLY_RESNET101 in names else "resnet50"
    if layout != backbone:
        raise DataError(f"{path}: holds a {layout}, not a {backbone}: choose it with deeplabv3:{layout}")
    return int(shape[0])


def _label_space(classes: int, path: Path) -> LabelSpace:
    match classes:
        case 21:
            return VOC21
        case 19:
            return CITYSCAPES19
        case _:
            raise DataError(
                f"{path}: has {classes} classes; known are 19 (Cityscapes' train ids) and 21 (Pascal VOC's)"
            )


@lru_cache(maxsize=2)
def _network(backbone: str, classes: int, path: Path, digest: str, device: str) -> torch.nn.Module:
    """Build the network once per process, without its auxiliary head; ``digest`` is of the file at ``path``."""
    with torch.device("meta"):
        network = NETWORKS[backbone][0](weights=None, weights_backbone=None, num_classes=classes, aux_loss=False)
    tensors = {name: value for name, value in weights.read(path).items() if not name.startswith("aux_classifier.")}
    return weights.load_network(network, tensors, path).to(device)
