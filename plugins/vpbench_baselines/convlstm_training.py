"""Training of ConvLSTM; the only module of this plugin that imports Lightning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from lightning import LightningModule
from torch import Tensor
from torch.nn import functional

from vpbench.errors import PredictorError
from vpbench.plugin.training import Recipe, TrainingBatch
from vpbench.toolkit.schedules import cosine_with_warm_up
from vpbench.toolkit.windows import GAUSSIAN, K1, K2
from vpbench_baselines.convlstm import ConvLSTM, from_patches, to_patches


def stages(predictor: ConvLSTM, protocol: Any) -> Sequence[LightningModule]:
    """Return the single training stage."""
    return [Forecasting(predictor)]


class Forecasting(LightningModule):
    """Predict the future of each clip and compare it with the truth; all steps weigh the same.

    The optimizer is Adam. Its learning rate rises linearly over a twentieth of the steps, then falls to 0 as a cosine.
    """

    recipe: Recipe

    def __init__(self, predictor: ConvLSTM) -> None:
        super().__init__()
        self.predictor = predictor
        self.recipe = predictor.options.recipe

    def training_step(self, batch: TrainingBatch, index: int) -> Tensor:
        """Return the mean loss over the clips."""
        side, future = self.predictor.options.patch, batch.future.frames
        size = (future.shape[-2], future.shape[-1])
        images = self.predictor.network(
            to_patches(batch.context.frames, side), future.shape[1], to_patches(future, side), self.draw_truth(batch)
        )
        predicted = torch.stack([from_patches(image, size) for image in images], dim=1)
        return self._loss(predicted, future)

    def draw_truth(self, batch: TrainingBatch) -> Bool[Tensor, "b k"]:
        """Draw the true frames that are read instead of predicted ones, with a probability that falls linearly to 0.

        Bengio, Vinyals, Jaitly, Shazeer: Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks,
        NeurIPS 2015, section 2.4.
        """
        frames = batch.future.frames
        assert self.recipe.steps is not None  # the harness sets it
        end = self.predictor.options.scheduled_sampling * self.recipe.steps * self.recipe.accumulate
        if batch.step >= end:
            return torch.zeros(frames.shape[0], frames.shape[1] - 1, dtype=torch.bool, device=frames.device)
        draws = [torch.rand(frames.shape[1] - 1, generator=generator) for generator in batch.generators]
        return (torch.stack(draws) < 1.0 - batch.step / end).to(frames.device)

    def _loss(self, predicted: Float[Tensor, "b k 3 h w"], true: Float[Tensor, "b k 3 h w"]) -> Tensor:
        options = self.predictor.options
        difference = predicted - true
        loss = options.l1 * difference.abs().mean() + options.l2 * difference.square().mean()
        if options.ssim:
            loss = loss + options.ssim * (1.0 - ssim(predicted, true))
        return loss

    def configure_optimizers(self) -> Any:
        """Return Adam and the schedule of its learning rate."""
        steps = self.recipe.steps
        assert steps is not None  # the harness sets it
        optimizer = torch.optim.Adam(self.predictor.parameters(), lr=self.recipe.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine_with_warm_up(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def ssim(x: Float[Tensor, "b k c h w"], y: Float[Tensor, "b k c h w"]) -> Float[Tensor, ""]:
    """Return the mean SSIM of frames as the metric ``ssim`` defines it, with gradients.

    It is computed in float32: variances vanish in reduced precision.

    Raises:
        PredictorError: Frames are smaller than the window.
    """
    if min(x.shape[-2:]) < len(GAUSSIAN.weights):
        raise PredictorError(
            f"an SSIM loss needs frames of {len(GAUSSIAN.weights)} pixels a side; these are "
            f"{x.shape[-2]}x{x.shape[-1]}: set the option ssim to 0"
        )
    with torch.autocast(x.device.type, enabled=False):
        x, y = x.float().flatten(0, 1), y.float().flatten(0, 1)
        maps = torch.cat([x, y, x * x + y * y, x * y], dim=1)
        window = x.new_tensor(GAUSSIAN.weights).expand(maps.shape[1], 1, -1)
        maps = functional.conv2d(maps, window[..., None], groups=len(window))
        maps = functional.conv2d(maps, window[..., None, :], groups=len(window))
        mean_x, mean_y, squares, product = maps.chunk(4, dim=1)
        means, squared_means = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
        luminance = (2 * means + K1**2) / (squared_means + K1**2)
        contrast = (2 * (product - means) + K2**2) / (squares - squared_means + K2**2)
        return (luminance * contrast).mean()
