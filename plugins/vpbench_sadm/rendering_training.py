"""The second stage of SADM's training: the inpainter, against two discriminators (section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from lightning import LightningModule
from torch import Tensor, nn

from vpbench.plugin.training import Recipe, TrainingBatch
from vpbench_sadm.discriminators import FrameDiscriminator, VideoDiscriminator
from vpbench_sadm.dynamics_training import schedule
from vpbench_sadm.labels import one_hot
from vpbench_sadm.perceptual import perceptual_loss
from vpbench_sadm.predictor import SADM
from vpbench_sadm.rendering_losses import covisible_loss, discriminator_loss, generator_loss
from vpbench_sadm.rollout import Rendered

__all__ = ["Rendering"]

_BETAS = (0.5, 0.999)
"""Adam's, as usual where networks are trained against each other."""


class Rendering(LightningModule):
    """``covisible + lambda L_per + gamma sum_t G_x + eta G_v`` (equation 15) over the rollout of inference.

    The dynamics stays as stage 1 left it. Both discriminators see real and completed frames under the same condition,
    the predicted labels: by soft probabilities on one side alone they would know each from the other without a look at
    the frames. A discriminator whose loss has no weight is not built.
    """

    recipe: Recipe

    def __init__(self, predictor: SADM) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.predictor = predictor
        options = predictor.options
        self.recipe = options.rendering_recipe
        self.perceptual = perceptual_loss(options.perceptual if options.perceptual_weight else "none")
        self.judges = nn.ModuleDict()
        if options.frame_weight:
            self.judges["frame"] = FrameDiscriminator(options)
        if options.video_weight:
            self.judges["video"] = VideoDiscriminator(options)

    def setup(self, stage: str) -> None:
        """Leave the dynamics as it is."""
        self.predictor.dynamics.requires_grad_(False)
        self.predictor.inpainter.requires_grad_(True)
        self.predictor.completes = True

    def training_step(self, batch: TrainingBatch, index: int) -> Tensor:
        """Take a step with the inpainter, and one with the discriminators; return the inpainter's loss."""
        optimisers = self.optimizers()
        first, *others = optimisers if isinstance(optimisers, list) else [optimisers]
        rendered, condition = self.rendered(batch)
        with _fixed(self.judges):
            terms = self.losses(rendered, batch.future.frames, condition)
            loss = self._total(terms, batch.step)
            self._descend(first, loss, self.predictor.inpainter)
        if others:
            terms["discriminators"] = self.judged(rendered.frames.detach(), batch.future.frames, condition)
            self._descend(others[0], terms["discriminators"], self.judges)
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()})
        if self.predictor.options.schedule == "cosine":
            self._next_rate()
        return loss.detach()

    def on_train_epoch_end(self) -> None:
        """Lower the learning rate by epochs, where it is so."""
        if self.predictor.options.schedule == "staircase":
            self._next_rate()

    def rendered(self, batch: TrainingBatch) -> tuple[Rendered, Float[Tensor, "b k c h w"]]:
        """Return the frames as inference renders them, and the discriminators' condition.

        That is the predicted labels, one-hot; no channels where there is to be none.
        """
        rendered, log, _ = self.predictor.rendered(batch.context, batch.future.frames.shape[1], batch.generators)
        condition = one_hot(log.argmax(dim=2), log.shape[2])
        return rendered, condition if self.predictor.options.semantic_conditioning else condition[:, :, :0]

    def losses(
        self, rendered: Rendered, true: Float[Tensor, "b k 3 h w"], condition: Float[Tensor, "b k c h w"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the inpainter's terms: ``covisible``, and ``perceptual``, ``frame`` and ``video`` where they count."""
        terms = {"covisible": covisible_loss(rendered.frames, rendered.warped, rendered.hole)}
        steps = true.shape[1]
        if self.perceptual is not None:
            terms["perceptual"] = steps * self.perceptual(rendered.frames.flatten(0, 1), true.flatten(0, 1))
        for name, judge in self.judges.items():
            times = steps if name == "frame" else 1
            terms[name] = times * generator_loss(judge(rendered.frames, condition))
        return terms

    def judged(
        self, fake: Float[Tensor, "b k 3 h w"], real: Float[Tensor, "b k 3 h w"], condition: Float[Tensor, "b k c h w"]
    ) -> Float[Tensor, ""]:
        """Return the sum of the discriminators' losses."""
        losses = [discriminator_loss(judge(real, condition), judge(fake, condition)) for judge in self.judges.values()]
        return torch.stack(losses).sum()

    def _total(self, terms: dict[str, Float[Tensor, ""]], step: int) -> Float[Tensor, ""]:
        options = self.predictor.options
        assert self.recipe.steps is not None  # the harness sets it
        until = options.adversarial_warm_up * self.recipe.steps
        risen = min(1.0, step / until) if until else 1.0
        weights = {
            "covisible": 1.0,
            "perceptual": options.perceptual_weight,
            "frame": risen * options.frame_weight,
            "video": risen * options.video_weight,
        }
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def _descend(self, optimiser: Any, loss: Tensor, learned: nn.Module) -> None:
        optimiser.zero_grad()
        self.manual_backward(loss)
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(learned.parameters(), self.recipe.clip)
        optimiser.step()

    def _next_rate(self) -> None:
        schedules: Any = self.lr_schedulers()
        for each in schedules if isinstance(schedules, list) else [schedules]:
            each.step()

    def configure_optimizers(self) -> Any:
        """Return Adam for the inpainter, one for the discriminators, and the course of their learning rates."""
        learned = [self.predictor.inpainter, *([self.judges] if self.judges else [])]
        optimisers = [torch.optim.Adam(each.parameters(), self.recipe.learning_rate, _BETAS) for each in learned]
        return optimisers, [schedule(each, self.predictor.options, self.recipe) for each in optimisers]


@contextmanager
def _fixed(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network, but not to its weights."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
