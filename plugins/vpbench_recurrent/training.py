"""Training of all models of the family; the only module of this plugin that imports Lightning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool
from lightning import LightningModule
from torch import Tensor

from vpbench.plugin.training import Recipe, TrainingBatch
from vpbench.toolkit.losses import frame_loss
from vpbench.toolkit.sampling import ScheduledSampling, draw_truth, reverse_sampling
from vpbench.toolkit.schedules import adam
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
        options = self.predictor.options
        true = future if options.supervise == "future" else torch.cat([past[:, 1:], future], dim=1)
        predicted = torch.stack(frames[-true.shape[1] :], dim=1)
        loss = frame_loss(predicted, true, l1=options.l1, l2=options.l2, ssim_weight=options.ssim)
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
            assert options.scheduled_sampling != "always"  # the options are checked
            in_context, in_future = reverse_sampling(progress, options.scheduled_sampling)
            probabilities = [in_context] * (batch.context.frames.shape[1] - 1) + [in_future] * steps
        else:
            end = None if options.scheduled_sampling == "always" else options.scheduled_sampling
            sampling = ScheduledSampling(decay=options.sampling_decay, epochs=options.sampling_epochs, end=end)
            probabilities = [sampling.probability(progress, self.current_epoch)] * steps
        return draw_truth(batch.generators, probabilities).to(future.device)

    def configure_optimizers(self) -> Any:
        """Return Adam and the schedule of its learning rate."""
        return adam(self.predictor.parameters(), self.recipe, self.predictor.options.schedule)
