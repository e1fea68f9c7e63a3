"""Extrapolated motion: the last frame, moved along its optical flow at constant velocity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vpbench.errors import DataError, PredictorError
from vpbench.plugin.clip import Context, Prediction
from vpbench.plugin.predictor import PredictorInfo
from vpbench.toolkit.flow import dis_flow
from vpbench.toolkit.warp import grid, sample, sample_nearest
from vpbench_baselines.warp import extrapolate


class FlowExtrapolation:
    """Moves the last context frame, and its labels if there are any, at the velocity of its backward flow.

    The flow is the last one of the context, or DIS flow (medium preset) from the last frame to the one before.
    :func:`vpbench_baselines.warp.extrapolate` moves it from step to step and finds the dis-occluded pixels; both are
    predicted too. The steps' flows are composed, and each predicted frame is *one* bilinear warp of the last real
    frame, because repeated warping blurs. Labels are warped to the nearest pixel. Pixels beyond the border are those of
    the border.

    A context of one frame has no motion. The prediction is then that of ``repeat``, with zero flow.
    """

    info = PredictorInfo(
        outputs=("frames", "semantics", "flow", "disocclusion"),
        uses=("semantics", "flow"),
        paper="Kroeger, Timofte, Dai, Van Gool: Fast Optical Flow using Dense Inverse Search, ECCV 2016 (the flow)",
    )

    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Extrapolate the motion for ``horizon`` steps.

        Raises:
            PredictorError: The context has no flow, and the frames are too small for DIS (about 12 pixels).
        """
        last = context.frames[:, -1]
        labels = None if context.semantics is None else context.semantics[:, -1]
        flow = _last_flow(context)
        pixels = grid(flow)
        displacement = torch.zeros_like(flow)
        frames, semantics, flows, revealed = [], [], [], []
        for _ in range(horizon):
            flow, disoccluded = extrapolate(flow)
            # Pixel p comes from p + flow in the previous step, and from there along that step's displacement.
            displacement = flow + sample(displacement, pixels + flow)
            frames.append(sample(last, pixels + displacement).clamp(0.0, 1.0))
            if labels is not None:
                semantics.append(sample_nearest(labels[:, None], pixels + displacement)[:, 0])
            flows.append(flow)
            revealed.append(disoccluded)
        return Prediction(
            frames=torch.stack(frames, dim=1),
            semantics=torch.stack(semantics, dim=1) if semantics else None,
            flow=torch.stack(flows, dim=1),
            disocclusion=torch.stack(revealed, dim=1),
            label_space=context.label_space,
        )


def _last_flow(context: Context) -> Float[Tensor, "b 2 h w"]:
    frames = context.frames
    if frames.shape[1] == 1:
        return torch.zeros_like(frames[:, 0, :2])
    if context.flow is not None:
        return context.flow[:, -1]
    try:
        return torch.stack([_estimate(clip[-1], clip[-2]) for clip in frames])
    except DataError as error:
        raise PredictorError(f"flow-extrapolation: {error}") from error


def _estimate(frame: Float[Tensor, "3 h w"], previous: Float[Tensor, "3 h w"]) -> Float[Tensor, "2 h w"]:
    flow = torch.from_numpy(dis_flow(_eight_bit(frame), _eight_bit(previous)))
    return flow.permute(2, 0, 1).contiguous().to(frame.device)


def _eight_bit(frame: Float[Tensor, "3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    return (frame * 255.0).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
