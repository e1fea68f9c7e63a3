"""CDNet as a predictor: frames of any size, any context, any horizon."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from vpbench.errors import PredictorError, UsageError, VpbenchWarning
from vpbench.plugin.clip import Context, Prediction
from vpbench.plugin.predictor import PredictorInfo
from vpbench.toolkit.padding import padded, tell_padding
from vpbench_cdnet.network import MOTION, Network
from vpbench_cdnet.options import PRESETS, TRAINING_ONLY, Options

__all__ = ["CDNet"]


class CDNet(nn.Module):
    """The cascaded decoupling network (CDNet, submitted to ICLR 2022): where things move first, then how they look.

    Any horizon. Frames whose sides are not multiples of the autoencoder's stride (8; ``tiny``: 4) are padded by
    repeating their border, and cut again. The weights of the global information are made for contexts of ``context``
    frames: of a longer context it is given the last, of a shorter one the first again. Both are warned of.
    """

    Options = Options
    presets: Final[Mapping[str, Mapping[str, Any]]] = PRESETS
    training_only: Final = TRAINING_ONLY
    info = PredictorInfo(paper="CDNet: A cascaded decoupling architecture for video prediction, submitted to ICLR 2022")

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.network = Network(options)

    def inference_parts(self) -> dict[str, nn.Module]:
        """Return the parts of the network, by name."""
        return dict(self.network.named_children())

    @torch.no_grad()
    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Continue the clips. What is in memory beside the predicted frames does not grow with the horizon.

        Raises:
            PredictorError: frames that are not RGB, or not numbers.
        """
        given = context.frames
        self._check(given, context.clips)
        tell_padding("cdnet", given, self.network.stride)
        height, width = given.shape[-2:]
        last = self.options.iterations
        shown = {"motion": MOTION, "last": last}.get(self.options.emit, self.options.emit)
        stages = [last] if shown == last else [shown, last]
        frames = given.new_empty(len(given), horizon, 3, height, width)
        for k, decoded in enumerate(self.network(padded(given, self.network.stride), horizon, stages)):
            frames[:, k] = decoded[0][:, :, -1, :height, :width].clamp(0.0, 1.0)
        return Prediction(frames=frames)

    def _check(self, frames: Tensor, clips: Sequence[str]) -> None:
        if frames.shape[2] != 3:
            raise PredictorError(
                f"cdnet: frames have {frames.shape[2]} channels, not 3: give grey clips as three equal channels"
            )
        if not frames.isfinite().all():
            bad = next(clip for clip, each in zip(clips, frames, strict=True) if not each.isfinite().all())
            raise PredictorError(f"cdnet: the context of {bad} holds NaN or infinity: look at its frames")
        if self.options.global_information and frames.shape[1] != self.options.context:
            fewer = frames.shape[1] < self.options.context
            of = "them, the first repeated" if fewer else f"the last {self.options.context}"
            warnings.warn(
                f"cdnet: made for {self.options.context} context frames, given {frames.shape[1]}: the global "
                f"information is of {of}",
                VpbenchWarning,
                stacklevel=4,  # beyond torch's wrapper of `predict`
            )

    def training_stages(self, protocol: Any) -> Sequence[Any]:
        """Return the one stage in which it is trained.

        Raises:
            UsageError: the protocol's context is not what the weights of the global information are for; what it would
                be validated by is not its last iteration.
        """
        from vpbench_cdnet.training import Forecasting

        if self.options.emit != "last":
            raise UsageError("cdnet: emit shows a stage of trained weights; train without it")
        given = protocol.sampling.context
        if self.options.global_information and given != self.options.context:
            raise UsageError(
                f"cdnet: made for {self.options.context} context frames, and {protocol.name} has {given}: "
                f"train with -o cdnet.context={given}"
            )
        return [Forecasting(self)]
