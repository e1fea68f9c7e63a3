"""Training of all models of the family; the only module of this plugin that imports Lightning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from lightning import LightningModule
from torch import Tensor

from vpbench.plugin.training import Recipe, TrainingBatch
from vpbench.toolkit.sampling import ScheduledSampling, draw_truth, reverse_sampling
from vpbench.toolkit.schedules import adam
from vpbench.toolkit.ssim import ssim
from vpbench_recurrent.predictor import RecurrentPredictor


def stages(predictor: RecurrentPredictor, protocol: Any) -> Sequence[LightningModule]:
    """Return the single training stage."""
    return [Forecasting(predictor)]


class Forecasting(LightningModule):
    """Predict each clip and compare it with the truth; all supervised steps weigh the same. The optimizer is Adam."""

    recipe: Recipe

    def __init__(self, predictor: RecurrentPredictor) -> None:
        super().__init__()
        self.predictor = predictor
        self.recipe = predictor.options.recipe

    def training_step(self, batch: TrainingBatch, index: int) -> Tensor:
        """Return the mean loss over the clips, plus the network's penalty."""
        past, future = batch.context.frames, batch.future.frames
        use_truth = self.draw_truth(batch)
        frames, states = zip(*self.predictor.roll_out(batch.context, future.shape[1], future, use_truth), strict=True)
        true = future if self.predictor.options.supervise == "future" else torch.cat([past[:, 1:], future], dim=1)
        loss = self._loss(torch.stack(frames[-true.shape[1] :], dim=1), true)
        penalty = self.predictor.network.penalty(states[-1])
        return loss if penalty is None else loss + penalty

    def draw_truth(self, batch: TrainingBatch) -> Bool[Tensor, "b n"]:
        """Draw the true frames that are read instead of predicted ones: of the future, in reverse also of the context.

        The columns are those of ``use_truth`` in :func:`vpbench_recurrent.rollout.roll_out`.
        """
        options, future = self.predictor.options, batch.future.frames
        assert self.recipe.steps is not None  # the harness sets it
        progress = batch.step / (self.recipe.steps * self.recipe.accumulate)
        steps = future.shape[1] - 1
        if options.reverse_sampling:
            in_context, in_future = reverse_sampling(progress, options.scheduled_sampling)
            probabilities = [in_context] * (batch.context.frames.shape[1] - 1) + [in_future] * steps
        else:
            sampling = ScheduledSampling(
                decay=options.sampling_decay, epochs=options.sampling_epochs, end=options.scheduled_sampling
            )
            probabilities = [sampling.probability(progress, self.current_epoch)] * steps
        return draw_truth(batch.generators, probabilities).to(future.device)

    def _loss(self, predicted: Float[Tensor, "b k 3 h w"], true: Float[Tensor, "b k 3 h w"]) -> Tensor:
        options = self.predictor.options
        difference = predicted - true
        loss = options.l1 * difference.abs().mean() + options.l2 * difference.square().mean()
        if options.ssim:
            loss = loss + options.ssim * (1.0 - ssim(predicted, true))
        return loss

    def configure_optimizers(self) -> Any:
        """Return Adam and the schedule of its learning rate."""
        return adam(self.predictor.parameters(), self.recipe, self.predictor.options.schedule)
