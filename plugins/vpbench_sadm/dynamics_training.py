"""The first stage of SADM's training: the dynamics (section 3.1)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from lightning import LightningModule
from torch import Tensor

from vpbench.errors import DataError
from vpbench.plugin.training import Recipe, TrainingBatch
from vpbench.toolkit.schedules import cosine_with_warm_up
from vpbench_sadm.losses import boundary_weights, flow_loss, kl_divergence, label_loss
from vpbench_sadm.options import Options
from vpbench_sadm.posterior import Posterior, prior, reparameterised
from vpbench_sadm.predictor import SADM

__all__ = ["Dynamics", "schedule"]

_DECAY, _EVERY = 0.8, 20
"""Factor of the learning rate, and after how many epochs (section 4)."""

_LOOK_EVERY = 50
"""Batches from one look at the gap between prior and posterior to the next; Lightning logs as often."""


class Dynamics(LightningModule):
    """``L_f + L_m + beta L_kl`` (equation 10); the last term, and the posterior, in the stochastic mode alone."""

    recipe: Recipe

    def __init__(self, predictor: SADM) -> None:
        super().__init__()
        self.predictor = predictor
        self.recipe = predictor.options.dynamics_recipe
        self.posterior = Posterior(predictor.options) if predictor.options.mode == "stochastic" else None

    def setup(self, stage: str) -> None:
        """Learn the dynamics alone; validate by warped frames, since nothing has learned to complete them."""
        self.predictor.dynamics.requires_grad_(True)
        self.predictor.inpainter.requires_grad_(False)
        self.predictor.completes = False

    def training_step(self, batch: TrainingBatch, index: int) -> Tensor:
        """Return the loss; log its terms."""
        if batch.step == 0:
            self._measure(batch)
        terms = self.losses(batch)
        if self._trainer is not None:
            self.log_dict({f"train/{name}": term for name, term in {**terms, **self._gap(batch, terms)}.items()})
        return terms["flow"] + terms["labels"] + self._kl_weight(batch.step) * terms.get("kl", 0.0)

    def losses(self, batch: TrainingBatch, *, from_prior: bool = False) -> dict[str, Float[Tensor, ""]]:
        """Return the terms ``flow`` (L_f), ``labels`` (L_m) and, in the stochastic mode, ``kl``.

        Args:
            batch: clips with labels and flow.
            from_prior: decode with noise from the prior, as after training. How much the other terms rise by it is what
                the posterior tells the decoder of the future.
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
                noise = reparameterised(mean, log_variance, noise)
        log, flow = dynamics.decode(state, past[:, -1], past_flow[:, -1], future.shape[1], noise)
        weights = boundary_weights(future, options.boundary_weight, options.boundary_sigma, options.boundary_norm)
        return {"flow": flow_loss(flow, future_flow), "labels": label_loss(log, future, weights), **terms}

    def _gap(self, batch: TrainingBatch, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return, now and then, by how much the loss is higher without the posterior's knowledge of the future."""
        if self.posterior is None or (batch.step + 1) % _LOOK_EVERY:
            return {}
        with torch.no_grad():
            blind = self.losses(batch, from_prior=True)
        return {"gap": blind["flow"] + blind["labels"] - terms["flow"] - terms["labels"]}

    def _targets(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        future, given = batch.future, batch.context.label_space
        if future.semantics is None or future.flow is None:
            raise DataError("sadm: the training clips' future has no labels or no flow: annotate them (--annotate)")
        steps = slice(self.predictor.options.dynamics_horizon)
        return self.predictor.labels(future.semantics[:, steps], given, future.clips), future.flow[:, steps]

    def _measure(self, batch: TrainingBatch) -> None:
        """Keep with the weights whose labels they are for, and the scale of flow, where nothing says it yet.

        The scale is the first batch's root mean square of a component: a flow of zero is to stay zero.
        """
        self.predictor.remember(batch.context.label_space)
        flow, scale = batch.context.flow, self.predictor.dynamics.flow_scale
        if not scale and flow is not None:
            scale.copy_(flow.square().mean().sqrt().clamp(min=0.1))

    def _kl_weight(self, step: int) -> float:
        options = self.predictor.options
        assert self.recipe.steps is not None  # the harness sets it
        until = options.kl_warm_up * self.recipe.steps * self.recipe.accumulate
        return options.kl_weight * (min(1.0, step / until) if until else 1.0)

    def configure_optimizers(self) -> Any:
        """Return Adam and the schedule of its learning rate."""
        learned = [*self.predictor.dynamics.parameters(), *(self.posterior.parameters() if self.posterior else ())]
        optimiser = torch.optim.Adam(learned, lr=self.recipe.learning_rate)
        return {"optimizer": optimiser, "lr_scheduler": schedule(optimiser, self.predictor.options, self.recipe)}


def schedule(optimiser: torch.optim.Optimizer, options: Options, recipe: Recipe) -> dict[str, Any]:
    """Return Lightning's form of a stage's course of the learning rate: x 0.8 every 20 epochs, or up and down."""
    if options.schedule == "staircase":
        return {"scheduler": torch.optim.lr_scheduler.StepLR(optimiser, _EVERY, _DECAY), "interval": "epoch"}
    steps = recipe.steps
    assert steps is not None  # the harness sets it
    return {
        "scheduler": torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: cosine_with_warm_up(step, steps)),
        "interval": "step",
    }
