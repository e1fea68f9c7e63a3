"""CDNet as a predictor: frames of any size, any context, any horizon."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from vpbench.errors import PredictorError, VpbenchWarning
from vpbench.plugin.clip import Context, Prediction
from vpbench.plugin.predictor import PredictorInfo
from vpbench.toolkit.padding import padded, tell_padding
from vpbench_cdnet.model import MOTION, Network
from vpbench_cdnet.options import PRESETS, TRAINING_ONLY, Options


class CDNet(nn.Module):
    """The cascaded decoupling network (CDNet, submitted to ICLR 2022): first motion, then appearance.

    Any horizon. Frames with sides that are not multiples of the autoencoder's stride (8; ``tiny``: 4) are padded by
    repeating their border, and predictions are cropped. The weights of the global information fit contexts of
    ``context`` frames. A longer context is cut to its last frames; in a shorter one the first window is repeated.
    Padding and other contexts emit a warning.
    """

    Options = Options
    presets: Final[Mapping[str, Mapping[str, Any]]] = PRESETS
    training_only: Final = TRAINING_ONLY
    shipped: Final = {"scenes": "scenes", "scenes-1k": "scenes"}
    info = PredictorInfo(paper="CDNet: A cascaded decoupling architecture for video prediction, submitted to ICLR 2022")

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.network = Network(options)

    @classmethod
    def protocol_options(cls, protocol: Any) -> dict[str, int]:
        """Return the number of context frames, which decides the shape of the global information's weights."""
        return {"context": protocol.sampling.context}

    def inference_parts(self) -> dict[str, nn.Module]:
        """Return the parts of the network by name."""
        return dict(self.network.named_children())

    @torch.no_grad()
    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Continue the clips. Memory beyond the predicted frames does not grow with the horizon.

        Raises:
            PredictorError: Frames are not RGB, or not finite.
        """
        past = context.frames
        self._check(past, context.clips)
        tell_padding("cdnet", past, self.network.stride)
        height, width = past.shape[-2:]
        last = self.options.iterations
        stage = {"motion": MOTION, "last": last}.get(self.options.emit, self.options.emit)
        stages = [last] if stage == last else [stage, last]
        frames = past.new_empty(len(past), horizon, 3, height, width)
        for k, decoded in enumerate(self.network(padded(past, self.network.stride), horizon, stages)):
            frames[:, k] = decoded[0][:, :, -1, :height, :width].clamp(0.0, 1.0)
        return Prediction(frames=frames)

    def _check(self, frames: Tensor, clips: Sequence[str]) -> None:
        if frames.shape[2] != 3:
            raise PredictorError(
                f"cdnet: frames have {frames.shape[2]} channels, not 3: give grey clips as three equal channels"
            )
        if not frames.isfinite().all():
            bad = next(clip for clip, context in zip(clips, frames, strict=True) if not context.isfinite().all())
            raise PredictorError(f"cdnet: the context of {bad} has NaN or infinite values: look at its frames")
        if self.options.global_information and frames.shape[1] != self.options.context:
            change = "the first is repeated" if frames.shape[1] < self.options.context else "only the last are used"
            warnings.warn(
                f"cdnet: the global information needs {self.options.context} context frames, and the clip has "
                f"{frames.shape[1]}: {change}",
                VpbenchWarning,
                stacklevel=4,  # beyond torch's wrapper of `predict`
            )
