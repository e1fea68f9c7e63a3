"""How CDNet is trained; the only module of it that needs Lightning."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from lightning import LightningModule
from torch import Tensor

from vpbench.plugin.training import Recipe, TrainingBatch, cosine_with_warm_up
from vpbench.toolkit.padding import padded
from vpbench_cdnet.losses import area, area_loss, pixel_loss, soft_area
from vpbench_cdnet.network import MOTION, windows_of
from vpbench_cdnet.predictor import CDNet

__all__ = ["Forecasting"]


class Forecasting(LightningModule):
    """All of CDNet at once: ``lambda_area L_area + L_pixel`` (equation 9), scheduled sampling, Adam."""

    recipe: Recipe

    def __init__(self, predictor: CDNet) -> None:
        super().__init__()
        self.predictor = predictor
        self.recipe = predictor.options.recipe

    def training_step(self, batch: TrainingBatch, index: int) -> Tensor:
        """Return the mean loss over clips and steps; log its two terms."""
        pixel, area_ = self.losses(batch)
        if self._trainer is not None:
            self.log_dict({"train/pixel": pixel, "train/area": area_})
        return pixel + self.predictor.options.area_weight * area_

    def losses(self, batch: TrainingBatch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return L_pixel and L_area; the latter is 0, and costs nothing, where it has no weight."""
        options, network = self.predictor.options, self.predictor.network
        past = padded(batch.context.frames, network.stride)
        future = padded(batch.future.frames[:, : options.loss_steps], network.stride)
        every = torch.cat([past, future], dim=1)
        true = windows_of(every)[:, past.shape[1] :]
        supervised = range(1, options.iterations + 1) if options.deep_supervision else [options.iterations]
        stages = [*([MOTION] if options.area_weight else []), *supervised]
        of_pixels = slice(-1, None) if options.loss_frames == "last" else slice(None)
        pixels, areas = [], []
        for k, decoded in enumerate(network(past, future.shape[1], stages, future, self.shown(batch))):
            refined = decoded[-len(supervised) :, ..., of_pixels, :, :]
            pixels.append(pixel_loss(refined, true[:, k, :, of_pixels], options.decay, options.l1, options.l2))
            if options.area_weight:
                before, frame = every[:, past.shape[1] + k - 1], future[:, k]
                moved = soft_area(decoded[0][:, :, -1], before, options.area_threshold)
                areas.append(area_loss(moved, area(frame, before, options.area_threshold)))
        pixel = torch.stack(pixels).mean()
        return pixel, torch.stack(areas).mean() if areas else torch.zeros_like(pixel)

    def shown(self, batch: TrainingBatch) -> Bool[Tensor, "b k"]:
        """Draw, for each clip and step, whether the true frame is read next."""
        shape, probability = batch.future.frames.shape[:2], self.probability(batch.step)
        draws = [torch.rand(shape[1], generator=generator) for generator in batch.generators]
        return (torch.stack(draws) < probability).to(batch.future.frames.device)

    def probability(self, step: int) -> float:
        """Return the probability that a true frame is read next (appendix A): 0.9, and by 0.9 less every five epochs.

        With ``sampling_end`` it falls to 0 by then, too: a model is tested on what it predicted itself.
        """
        options = self.predictor.options
        probability = options.sampling_start * options.sampling_decay ** (self.current_epoch // options.sampling_epochs)
        if options.sampling_end is None:
            return probability
        assert self.recipe.steps is not None  # the harness sets it
        until = options.sampling_end * self.recipe.steps * self.recipe.accumulate
        return probability * max(0.0, 1.0 - step / until)

    def configure_optimizers(self) -> Any:
        """Return Adam (section 4.2) and the schedule of its learning rate."""
        optimiser = torch.optim.Adam(self.predictor.parameters(), lr=self.recipe.learning_rate)
        if self.predictor.options.schedule == "constant":
            return optimiser
        steps = self.recipe.steps
        assert steps is not None  # the harness sets it
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: cosine_with_warm_up(step, steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
