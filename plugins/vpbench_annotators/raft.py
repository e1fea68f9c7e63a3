"""Optical flow by RAFT, torchvision's networks and weights.

Teed, Deng: RAFT: Recurrent All-Pairs Field Transforms for Optical Flow, ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional
from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights, raft_large, raft_small

from vpbench.errors import DataError
from vpbench.plugin.annotator import AnnotatorInfo
from vpbench.toolkit import weights
from vpbench_annotators.inference import run_network

NETWORKS: Final = {
    "large": (raft_large, Raft_Large_Weights.C_T_SKHT_V2.url),
    "small": (raft_small, Raft_Small_Weights.C_T_V2.url),
}
"""Builder of each network, and the address of its weights: torchvision's defaults."""
_SMALLEST: Final = 128
"""Pixels per side: a pyramid of four levels over features at an eighth needs 16 of them."""
_MOST_ENLARGED: Final = 8


class Raft:
    """Backward flow by RAFT, from each sampled frame to the one before.

    Frames are padded with their border to multiples of 8, as the authors do. Those under 128 pixels on a side, which
    the network cannot take, are enlarged by a whole factor (bilinear) and the flow is brought back to their size.

    On a CPU, a pair's flow depends on nothing else. On a GPU, a batch is computed at once.
    """

    class Options(BaseModel):
        """Which network, and how often it improves its flow."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        network: Literal["large", "small"] = "large"
        updates: int = Field(default=12, ge=1, le=100, description="iterations (torchvision's default: 12)")

    presets: Final = {name: {"network": name} for name in NETWORKS}
    info = AnnotatorInfo(gives="flow")

    def __init__(self, options: Options) -> None:
        self.options = options

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
        return weights.obtain(NETWORKS[self.options.network][1])

    def annotate(self, window: Mapping[str, NDArray[Any]], clips: Sequence[str], device: str) -> NDArray[np.float32]:
        """Return the flow, float32 [B,H,W,2] in pixels, of pairs of frames uint8 RGB [B,2,H,W,3].

        Raises:
            DataError: the weights cannot be had, or the frames have fewer than 16 pixels on a side.
        """
        pairs = torch.from_numpy(window["frames"]).permute(0, 1, 4, 2, 3).float().div(127.5).sub(1.0)
        factor = enlargement(*pairs.shape[-2:])
        network = _network(self.options.network, path := self._file(), weights.sha256(path), device)

        def flow(frame: Tensor, before: Tensor) -> Tensor:
            return _flow(_replica(network), frame, before, factor, self.options.updates)

        return run_network(flow, pairs[:, 1], pairs[:, 0], device=device).permute(0, 2, 3, 1).contiguous().numpy()


def enlargement(height: int, width: int) -> int:
    """Return the whole factor by which frames are enlarged for RAFT, 1 from 121 pixels on (padding does the rest).

    Raises:
        DataError: it would be more than 8.
    """
    side = -(-min(height, width) // 8) * 8
    factor = 1 if side >= _SMALLEST else -(-_SMALLEST // min(height, width))
    if factor > _MOST_ENLARGED:
        raise DataError(
            f"RAFT needs frames of at least {_SMALLEST // _MOST_ENLARGED} pixels per side; these are {height}x{width}: "
            f"use larger frames, or another flow"
        )
    return factor


def _flow(
    network: torch.nn.Module,
    frame: Float[Tensor, "b 3 h w"],
    before: Float[Tensor, "b 3 h w"],
    factor: int,
    updates: int,
) -> Float[Tensor, "b 2 h w"]:
    """Return the backward flow of pairs of frames in [-1,1], in pixels."""
    height, width = frame.shape[-2] * factor, frame.shape[-1] * factor
    down, right = -height % 8, -width % 8
    pad = (right // 2, right - right // 2, down // 2, down - down // 2)
    views = []
    for view in (frame, before):
        if factor > 1:
            view = functional.interpolate(view, scale_factor=factor, mode="bilinear", align_corners=False)
        views.append(functional.pad(view, pad, mode="replicate"))
    flow = network(*views, num_flow_updates=updates)[-1]
    flow = flow[..., pad[2] : pad[2] + height, pad[0] : pad[0] + width]
    return functional.avg_pool2d(flow, factor) / factor


def _replica(network: torch.nn.Module) -> torch.nn.Module:
    """Return a copy with the same tensors, for one thread: torchvision's network keeps a call's correlations."""
    return deepcopy(network, {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())})


@lru_cache(maxsize=2)
def _network(name: str, path: Path, digest: str, device: str) -> torch.nn.Module:
    """Build the network once per process; ``digest`` is of the file at ``path``."""
    with torch.device("meta"):
        network = NETWORKS[name][0](weights=None)
    return weights.load_network(network, weights.read(path), path).to(device)
