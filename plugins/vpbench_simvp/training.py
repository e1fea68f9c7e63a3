"""Training of SimVP and TAU; the only module of the plugin that imports Lightning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from vpbench.plugin.training import Recipe, TrainingBatch
from vpbench.toolkit.channels import to_channels
from vpbench.toolkit.losses import frame_loss
from vpbench.toolkit.padding import padded
from vpbench.toolkit.schedules import adam
from vpbench_simvp.losses import divergence
from vpbench_simvp.predictor import SimVP


def stages(predictor: SimVP, protocol: Any) -> Sequence[LightningModule]:
    """Return the single training stage."""
    return [Forecasting(predictor)]


class Forecasting(LightningModule):
    """Predict the future of each clip and compare it with the truth; all steps weigh the same.

    The optimizer is Adam. Its learning rate rises linearly over a twentieth of the steps, then falls to 0 as a cosine.
    """

    recipe: Recipe

    def __init__(self, predictor: SimVP) -> None:
        super().__init__()
        self.predictor = predictor
        self.recipe = predictor.options.recipe

    def training_step(self, batch: TrainingBatch, index: int) -> Tensor:
        """Return the mean loss over the clips."""
        network, options, clips = self.predictor.network, self.predictor.options, batch.context.clips
        past = to_channels(batch.context.frames, options.channels, self.predictor.name, clips)
        future = to_channels(batch.future.frames, options.channels, self.predictor.name, clips)
        height, width = future.shape[-2:]
        steps = list(network.roll_out(padded(past, network.stride), future.shape[1]))
        predicted = torch.cat(steps, dim=1)[..., :height, :width]
        loss = frame_loss(predicted, future, l1=options.l1, l2=options.l2, ssim_weight=options.ssim)
        if options.divergence:
            loss = loss + options.divergence * divergence(predicted, future, options.temperature)
        return loss

    def configure_optimizers(self) -> Any:
        """Return Adam and the schedule of its learning rate."""
        return adam(self.predictor.parameters(), self.recipe, "cosine")
