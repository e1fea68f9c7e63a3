"""Frames of models with one channel: the harness holds grey clips as RGB with three equal channels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from vpbench.errors import PredictorError, VpbenchWarning


def to_channels(
    frames: Float[Tensor, "b t 3 h w"], channels: int, name: str, clips: Sequence[str]
) -> Float[Tensor, "b t c h w"]:
    """Return RGB frames as a model with 1 or 3 channels reads them.

    Args:
        frames: RGB frames of B clips.
        channels: 3 returns the frames; 1 returns their only grey value.
        name: The predictor's name, for the message.
        clips: The clips' ids, for the message.

    Warns if the model reads colour and all clips are grey: its predictions may have colour. The text names no clip, so
    that a run prints it once.

    Raises:
        PredictorError: The model reads one channel, and a clip has colour.
    """
    grey = frames[:, :, :1]
    if channels == 3:
        if not frames.is_meta and bool((frames == grey).all()):  # meta tensors have no values
            warnings.warn(
                f"{name}: the model reads colour (channels 3), and clips are grey (three equal channels): its "
                "predictions may have colour; a model with channels 1 reads grey frames",
                VpbenchWarning,
                stacklevel=3,
            )
        return frames
    coloured = (frames != grey).flatten(1).any(dim=1) & ~frames.isnan().flatten(1).any(dim=1)
    if coloured.any():
        clip = clips[int(coloured.int().argmax())]
        raise PredictorError(
            f"{name}: the model reads grey frames (channels 1), and the clip {clip} has colour (channels 3): "
            "use a model for colour, or a protocol with grey frames"
        )
    return grey


def to_rgb(frames: Float[Tensor, "*n c h w"]) -> Float[Tensor, "*n 3 h w"]:
    """Return frames with one channel as RGB with three equal channels; RGB frames stay as they are."""
    return frames.expand(*frames.shape[:-3], 3, *frames.shape[-2:])
