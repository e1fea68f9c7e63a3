"""The two stages of SADM's training (section 4): the dynamics, then the inpainter against two discriminators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from lightning import LightningModule
from torch import Tensor, nn

from vpbench.errors import DataError, UsageError
from vpbench.plugin.training import Recipe, TrainingBatch
from vpbench.toolkit.labels import likeliest
from vpbench.toolkit.schedules import cosine_with_warm_up
from vpbench_sadm.dynamics import Posterior, prior
from vpbench_sadm.labels import one_hot
from vpbench_sadm.losses import (
    FrameDiscriminator,
    VideoDiscriminator,
    boundary_weights,
    covisible_loss,
    discriminator_loss,
    flow_loss,
    generator_loss,
    kl_divergence,
    label_loss,
)
from vpbench_sadm.options import Options
from vpbench_sadm.perceptual import perceptual_loss
from vpbench_sadm.predictor import SADM
from vpbench_sadm.recompute import recomputed
from vpbench_sadm.rendering import Rendered
from vpbench_sadm.sizes import Size

_DECAY, _EPOCHS = 0.8, 20
"""The learning rate is multiplied by this factor after every so many epochs (section 4)."""
_BETAS = (0.5, 0.999)
"""Adam's betas in adversarial training, as in CycleGAN."""
_GAP_EVERY = 50
"""Batches between two measurements of the gap between posterior and prior; Lightning logs as often."""


def stages(predictor: SADM, protocol: Any) -> Sequence[LightningModule]:
    """Return both stages, of which the second keeps the dynamics of the first.

    Raises:
        UsageError: an option that only changes how trained weights are shown.
    """
    if predictor.options.swap_classes or predictor.options.emit != "inpainted":
        raise UsageError("sadm: swap_classes and emit only change how trained weights are shown; train without them")
    return [Dynamics(predictor, protocol), Rendering(predictor)]


class Dynamics(LightningModule):
    """Stage 1 minimises ``L_f + L_m + beta L_kl`` (equation 10); the last term belongs to the stochastic mode."""

    recipe: Recipe

    def __init__(self, predictor: SADM, protocol: Any = None) -> None:
        super().__init__()
        self.predictor, self._protocol = predictor, protocol
        self.recipe = predictor.options.dynamics_recipe
        self.posterior = Posterior(predictor.options) if predictor.options.mode == "stochastic" else None

    def setup(self, stage: str) -> None:
        """Train the dynamics only, and validate with warped frames: the inpainter is untrained.

        Raises:
            UsageError: the clips have another size than ``dynamics_size``, at which validation predicts.
        """
        if size := self.predictor.options.dynamics_size:
            _check_size(size, self.recipe.size or self._protocol.size)
        self.predictor.dynamics.requires_grad_(True)
        self.predictor.inpainter.requires_grad_(False)
        self.predictor.completes = False

    def training_step(self, batch: TrainingBatch, index: int) -> Tensor:
        """Return the loss and log its terms."""
        if batch.step == 0:
            self._measure(batch)
        terms = self.losses(batch)
        if self._trainer is not None:
            self.log_dict({f"train/{name}": term for name, term in {**terms, **self._gap(batch, terms)}.items()})
        return terms["flow"] + terms["labels"] + self._beta(batch.step) * terms.get("kl", 0.0)

    def losses(self, batch: TrainingBatch, *, from_prior: bool = False) -> dict[str, Float[Tensor, ""]]:
        """Return ``flow`` (L_f), ``labels`` (L_m) and, in the stochastic mode, ``kl`` (L_kl).

        Args:
            batch: clips with labels and flow.
            from_prior: decode with noise from the prior, as after training. The other terms rise by the amount that the
                posterior tells the decoder about the future.
        """
        options, dynamics = self.predictor.options, self.predictor.dynamics
        past, past_flow = self.predictor.inputs(batch.context)
        future, future_flow = self._targets(batch)
        state, noise, terms = dynamics.encode(past, past_flow), None, {}
        if self.posterior is not None:
            noise = prior((*state.hidden.shape[1:],), batch.generators).to(state.hidden)
            mean, log_variance = self.posterior(future, future_flow / dynamics.unit, state.hidden)
            terms["kl"] = kl_divergence(mean, log_variance)
            if not from_prior:
                noise = mean + torch.exp(0.5 * log_variance) * noise
        log, flow = dynamics.decode(state, past[:, -1], past_flow[:, -1], future.shape[1], noise)
        weights = boundary_weights(future, options.boundary_weight, options.boundary_sigma, options.boundary_norm)
        return {"flow": flow_loss(flow, future_flow), "labels": label_loss(log, future, weights), **terms}

    def _gap(self, batch: TrainingBatch, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return, every 50 batches, how much higher the loss is with noise from the prior."""
        if self.posterior is None or (batch.step + 1) % _GAP_EVERY:
            return {}
        with torch.no_grad():
            blind = self.losses(batch, from_prior=True)
        return {"gap": blind["flow"] + blind["labels"] - terms["flow"] - terms["labels"]}

    def _targets(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        future, space = batch.future, batch.context.label_space
        if future.semantics is None or future.flow is None:
            raise DataError("sadm: the future of the training clips has no labels or no flow; annotate them")
        steps = slice(self.predictor.options.dynamics_horizon)
        return self.predictor.labels(future.semantics[:, steps], space, future.clips), future.flow[:, steps]

    def _measure(self, batch: TrainingBatch) -> None:
        """Keep the label space and the flow scale with the weights, unless they have one.

        The scale is the root mean square of a flow component. It is no deviation: a flow of zero must stay zero.
        """
        self.predictor.remember(batch.context.label_space)
        flow, scale = batch.context.flow, self.predictor.dynamics.flow_scale
        if not scale and flow is not None:
            scale.copy_(flow.square().mean().sqrt().clamp(min=0.1))

    def _beta(self, step: int) -> float:
        options = self.predictor.options
        assert self.recipe.steps is not None  # the harness sets it
        warm_up = options.kl_warm_up * self.recipe.steps * self.recipe.accumulate
        return options.kl_weight * _ramp(step, warm_up)

    def configure_optimizers(self) -> Any:
        """Return Adam and the schedule of its learning rate."""
        posterior = self.posterior.parameters() if self.posterior else ()
        optimiser = torch.optim.Adam([*self.predictor.dynamics.parameters(), *posterior], lr=self.recipe.learning_rate)
        return {"optimizer": optimiser, "lr_scheduler": _schedule(optimiser, self.predictor.options, self.recipe)}


class Rendering(LightningModule):
    """Stage 2 minimises ``covisible + lambda L_per + gamma sum_t G_x + eta G_v`` (equations 13 and 15).

    It renders as inference does and keeps the dynamics. Both discriminators read the same condition for real and for
    inpainted frames: the predicted labels, one-hot. Otherwise the condition alone would give the inpainted ones away.
    """

    recipe: Recipe
    accumulates = True

    def __init__(self, predictor: SADM) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.predictor = predictor
        options = predictor.options
        self.recipe, self.recompute = options.rendering_recipe, options.recompute
        self.perceptual = perceptual_loss(options.perceptual if options.perceptual_weight else "none")
        self.judges = nn.ModuleDict()
        if options.frame_weight:
            self.judges["frame"] = FrameDiscriminator(options)
        if options.video_weight:
            self.judges["video"] = VideoDiscriminator(options)

    def setup(self, stage: str) -> None:
        """Train the inpainter only."""
        self.predictor.dynamics.requires_grad_(False)
        self.predictor.inpainter.requires_grad_(True)
        self.predictor.completes = True

    def training_step(self, batch: TrainingBatch, index: int) -> Tensor:
        """Take a step with the inpainter and one with the discriminators; return the inpainter's loss.

        With ``recipe.accumulate``, only the last of so many batches takes the steps, with the mean of their gradients.
        """
        optimisers = self.optimizers()
        inpainter_optimiser, *judge_optimisers = optimisers if isinstance(optimisers, list) else [optimisers]
        rendered, condition = self.rendered(batch)
        with _frozen(self.judges):
            terms = self.losses(rendered, batch.future.frames, condition)
            loss = self.total(terms, batch.step)
            self._descend(inpainter_optimiser, loss, self.predictor.inpainter, batch.step)
        for optimiser in judge_optimisers:
            terms["discriminators"] = self.judged(rendered.frames.detach(), batch.future.frames, condition)
            self._descend(optimiser, terms["discriminators"], self.judges, batch.step)
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()})
        if self.predictor.options.schedule == "cosine" and (batch.step + 1) % self.recipe.accumulate == 0:
            self._next_rate()
        return loss.detach()

    def on_train_epoch_end(self) -> None:
        """Step the schedule if it counts epochs."""
        if self.predictor.options.schedule == "staircase":
            self._next_rate()

    def rendered(self, batch: TrainingBatch) -> tuple[Rendered, Float[Tensor, "b k c h w"]]:
        """Return the rendered frames and the discriminators' condition, which may have no channels."""
        rendered, log, _ = self.predictor.rendered(batch.context, batch.future.frames.shape[1], batch.generators)
        condition = one_hot(likeliest(log), log.shape[2])
        return rendered, condition if self.predictor.options.semantic_conditioning else condition[:, :, :0]

    def losses(
        self, rendered: Rendered, true: Float[Tensor, "b k 3 h w"], condition: Float[Tensor, "b k c h w"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the inpainter's terms: ``covisible``, and ``perceptual``, ``frame`` and ``video`` if they count."""
        terms = {"covisible": covisible_loss(rendered.frames, rendered.warped, rendered.hole)}
        steps = true.shape[1]
        if self.perceptual is not None:
            pairs = zip(rendered.frames.unbind(1), true.unbind(1), strict=True)
            losses = [recomputed(self.recompute, self.perceptual, *pair) for pair in pairs]
            terms["perceptual"] = torch.stack(losses).sum()
        for name, judge in self.judges.items():
            times = steps if name == "frame" else 1
            terms[name] = times * generator_loss(recomputed(self.recompute, judge, rendered.frames, condition))
        return terms

    def judged(
        self, fake: Float[Tensor, "b k 3 h w"], real: Float[Tensor, "b k 3 h w"], condition: Float[Tensor, "b k c h w"]
    ) -> Float[Tensor, ""]:
        """Return the sum of the discriminators' losses."""
        losses = [
            discriminator_loss(*(recomputed(self.recompute, judge, frames, condition) for frames in (real, fake)))
            for judge in self.judges.values()
        ]
        return torch.stack(losses).sum()

    def total(self, terms: dict[str, Float[Tensor, ""]], step: int) -> Float[Tensor, ""]:
        """Return the weighted sum of the inpainter's terms (equation 15)."""
        options = self.predictor.options
        assert self.recipe.steps is not None  # the harness sets it
        share = _ramp(step, options.adversarial_warm_up * self.recipe.steps * self.recipe.accumulate)
        weights = {
            "covisible": 1.0,
            "perceptual": options.perceptual_weight,
            "frame": share * options.frame_weight,
            "video": share * options.video_weight,
        }
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def _descend(self, optimiser: Any, loss: Tensor, network: nn.Module, batch: int) -> None:
        first, last = batch % self.recipe.accumulate == 0, (batch + 1) % self.recipe.accumulate == 0
        if first:
            optimiser.zero_grad()
        self.manual_backward(loss / self.recipe.accumulate)
        if not last:
            return
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), self.recipe.clip)
        optimiser.step()

    def _next_rate(self) -> None:
        schedules: Any = self.lr_schedulers()
        for schedule in schedules if isinstance(schedules, list) else [schedules]:
            schedule.step()

    def configure_optimizers(self) -> Any:
        """Return Adam for the inpainter, Adam for the discriminators, and their schedules."""
        networks = [self.predictor.inpainter, *([self.judges] if self.judges else [])]
        rate = self.recipe.learning_rate
        optimisers = [torch.optim.Adam(network.parameters(), rate, _BETAS) for network in networks]
        return optimisers, [_schedule(optimiser, self.predictor.options, self.recipe) for optimiser in optimisers]


def _check_size(dynamics: Size, clips: Size | None) -> None:
    if clips != dynamics:
        target, sides = f"{dynamics[0]}x{dynamics[1]}", f"{clips[0]}x{clips[1]}" if clips else "their files' size"
        raise UsageError(
            f"sadm: dynamics_size is {target}, but the dynamics would train on frames of {sides}: resize the training "
            f"clips to {target}, or set dynamics_size only to run the trained weights"
        )


def _ramp(step: int, warm_up: float) -> float:
    return min(1.0, step / warm_up) if warm_up else 1.0


def _schedule(optimiser: torch.optim.Optimizer, options: Options, recipe: Recipe) -> dict[str, Any]:
    """Return a Lightning schedule of the learning rate: x 0.8 every 20 epochs, or a cosine over all steps."""
    if options.schedule == "staircase":
        return {"scheduler": torch.optim.lr_scheduler.StepLR(optimiser, _EPOCHS, _DECAY), "interval": "epoch"}
    steps = recipe.steps
    assert steps is not None  # the harness sets it
    return {
        "scheduler": torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: cosine_with_warm_up(step, steps)),
        "interval": "step",
    }


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network but not reach its weights."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
