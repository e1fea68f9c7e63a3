"""Training of CDNet; the only module of the plugin that imports Lightning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from lightning import LightningModule
from torch import Tensor

from vpbench.errors import UsageError
from vpbench.plugin.training import Recipe, TrainingBatch
from vpbench.toolkit.padding import padded
from vpbench.toolkit.sampling import ScheduledSampling, draw_truth
from vpbench.toolkit.schedules import adam
from vpbench_cdnet.losses import area, area_loss, pixel_loss, soft_area
from vpbench_cdnet.model import MOTION, windows_of
from vpbench_cdnet.predictor import CDNet


def stages(predictor: CDNet, protocol: Any) -> Sequence[LightningModule]:
    """Return the single training stage.

    Raises:
        UsageError: The protocol's context does not fit the weights of the global information, or ``emit`` is set, so
            that validation would not score the last iteration.
    """
    options, context = predictor.options, protocol.sampling.context
    if options.emit != "last":
        raise UsageError("cdnet: emit decodes a stage of trained weights; train without it")
    if options.global_information and context != options.context:
        raise UsageError(
            f"cdnet: made for {options.context} context frames, but {protocol.name} has {context}: "
            "leave out cdnet.context, and weights of another context"
        )
    return [Forecasting(predictor)]


class Forecasting(LightningModule):
    """Train all of CDNet: ``lambda_area L_area + L_pixel`` (equation 9), scheduled sampling, Adam."""

    recipe: Recipe

    def __init__(self, predictor: CDNet) -> None:
        super().__init__()
        self.predictor = predictor
        self.recipe = predictor.options.recipe

    def training_step(self, batch: TrainingBatch, index: int) -> Tensor:
        """Return the mean loss over clips and steps, and log its two terms."""
        l_pixel, l_area = self.losses(batch)
        if self._trainer is not None:
            self.log_dict({"train/pixel": l_pixel, "train/area": l_area})
        return l_pixel + self.predictor.options.area_weight * l_area

    def losses(self, batch: TrainingBatch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return L_pixel and L_area. L_area is 0 and is not computed if its weight is 0."""
        options, network = self.predictor.options, self.predictor.network
        past = padded(batch.context.frames, network.stride)
        future = padded(batch.future.frames[:, : options.loss_steps], network.stride)
        clip = torch.cat([past, future], dim=1)
        true_windows = windows_of(clip)[:, past.shape[1] :]
        iterations = range(1, options.iterations + 1) if options.deep_supervision else [options.iterations]
        supervised = [*([MOTION] if options.area_weight else []), *iterations]
        frames = slice(-1, None) if options.loss_frames == "last" else slice(None)
        steps = network(past, future.shape[1], supervised, future, self.draw_truth(batch))
        pixels, areas = [], []
        for k, decoded in enumerate(steps):
            refined, true = decoded[-len(iterations) :, ..., frames, :, :], true_windows[:, k, :, frames]
            pixels.append(pixel_loss(refined, true, options.decay, options.l1, options.l2))
            if options.area_weight:
                previous, frame = clip[:, past.shape[1] + k - 1], future[:, k]
                moved = soft_area(decoded[0][:, :, -1], previous, options.area_threshold)
                areas.append(area_loss(moved, area(frame, previous, options.area_threshold)))
        l_pixel = torch.stack(pixels).mean()
        return l_pixel, torch.stack(areas).mean() if areas else torch.zeros_like(l_pixel)

    def draw_truth(self, batch: TrainingBatch) -> Bool[Tensor, "b k"]:
        """Draw, for each clip and step, whether the true frame is read next."""
        frames = batch.future.frames
        return draw_truth(batch.generators, [self.probability(batch.step)] * frames.shape[1]).to(frames.device)

    def probability(self, step: int) -> float:
        """Return the probability that a true frame is read next.

        It starts at 0.9 and is multiplied by 0.9 every five epochs (appendix A). With ``sampling_end``, it also falls
        linearly to 0 by that share of the training, because a model is tested on its own predictions.
        """
        options = self.predictor.options
        assert self.recipe.steps is not None  # the harness sets it
        sampling = ScheduledSampling(
            options.sampling_start, options.sampling_decay, options.sampling_epochs, options.sampling_end
        )
        return sampling.probability(step / (self.recipe.steps * self.recipe.accumulate), self.current_epoch)

    def configure_optimizers(self) -> Any:
        """Return Adam (section 4.2) and the schedule of its learning rate."""
        return adam(self.predictor.parameters(), self.recipe, self.predictor.options.schedule)
