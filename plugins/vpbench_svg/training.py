"""Training of SVG; the only module of the plugin that imports Lightning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from vpbench.plugin.training import Recipe, TrainingBatch
from vpbench.toolkit.schedules import adam
from vpbench_svg.losses import divergence
from vpbench_svg.predictor import SVG


def stages(predictor: SVG, protocol: Any) -> Sequence[LightningModule]:
    """Return the single training stage."""
    return [Inference(predictor)]


class Inference(LightningModule):
    """Reconstruct each clip from the posterior, and pull the posterior and the prior together. The optimizer is Adam.

    ::

        L = sum over t = 2..N of  mean (x_t - x'_t)^2 + beta KL(q(z_t | x_2..x_t) || p(z_t | x_1..x_t-1))

    The mean is over pixels and channels, the divergence a sum over latent variables. Every step reads a true frame.
    """

    recipe: Recipe

    def __init__(self, predictor: SVG) -> None:
        super().__init__()
        self.predictor = predictor
        self.recipe = predictor.options.recipe

    def training_step(self, batch: TrainingBatch, index: int) -> Tensor:
        """Return the mean loss over the clips."""
        predictor, context = self.predictor, batch.context
        true = torch.cat([context.frames, batch.future.frames], dim=1)
        height, width = true.shape[-2:]
        images = predictor.images(true, context.clips)
        noise = predictor.noise(batch.generators, images.device)
        frames, posterior, prior = predictor.network.reconstruct(images, context.frames.shape[1], noise)
        error = (frames - images[:, 1:])[..., :height, :width].square().mean(dim=(0, 2, 3, 4)).sum()
        if posterior is None or prior is None:
            return error
        return error + predictor.options.beta * divergence(posterior, prior).sum(dim=(1, 2)).mean()

    def configure_optimizers(self) -> Any:
        """Return Adam at a constant learning rate."""
        return adam(self.predictor.parameters(), self.recipe, "constant")
