"""Toys that can be trained: one convolution, in one stage or two, with all that a resume could get wrong."""

from __future__ import annotations

import os
import signal

import torch
from lightning.pytorch import LightningModule
from pydantic import BaseModel

import vpbench


@vpbench.hookimpl
def register_predictors(register):
    for name, predictor, trainer in (
        ("learner", "Learner", "fit"),
        ("adapts", "Adapts", "fit"),
        ("other", "SetByProtocol", "fit"),
        ("breaks", "Learner", "fit_to_nan"),
        ("fails", "Learner", "fail"),
        ("follows-flow", "FollowsFlow", "fit_flow"),
        ("out-of-memory", "Learner", "fit_without_memory"),
        ("two-stages", "Learner", "fit_twice"),
    ):
        register(name, f"toy_trainable:{predictor}", trainer=f"toy_trainable:{trainer}")


class Options(BaseModel):
    hidden: int = 4
    loss: str = "l2"


class Learner(torch.nn.Module):
    """Adds a residual that is learned to the last frame; its weights are float64, so that sums in any order agree."""

    Options = Options
    presets = {"wide": {"hidden": 8}, "plain": {}, "by-l1": {"loss": "l1"}}
    training_only = ("loss",)
    info = vpbench.PredictorInfo()

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(3, options.hidden, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(options.hidden, 3, 3, padding=1),
        ).double()

    def forward(self, frames):
        return frames.double() + self.net(frames.double())

    def predict(self, context, horizon, generators):
        out, last = [], context.frames[:, -1]
        for _ in range(horizon):
            last = self(last)
            out.append(last)
        return vpbench.Prediction(frames=torch.stack(out, 1).clamp(0, 1).float())


def fit(predictor, protocol):
    return [Fit(predictor)]


def fail(predictor, protocol):
    raise RuntimeError(f"no stages on {protocol.name}")


class SetByProtocol(Learner):
    @classmethod
    def protocol_options(cls, protocol):
        return {"hidden": protocol.sampling.context}


class Adapts(Learner):
    """Published weights are called ``layer0/weight`` and lie with their output channels last."""

    @staticmethod
    def adapt_state_dict(state_dict):
        if returned := next((name for name in state_dict if name.startswith("return/")), ""):
            return {"None": None, "list": [], "numbers": {"net.0.bias": 1.0}}[returned[7:]]
        adapted = {}
        for name, tensor in state_dict.items():
            layer, _, kind = name.removeprefix("layer").partition("/")
            adapted[f"net.{int(layer)}.{kind}"] = tensor.movedim(-1, 0)
        return adapted


class Fit(LightningModule):
    """Draws noise for each clip from its generator, drops out by torch's, and counts the steps as schedules do."""

    def __init__(self, model: Learner, recipe: vpbench.Recipe | None = None) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe or vpbench.Recipe(epochs=3, batch_size=4, learning_rate=1e-2)

    def training_step(self, batch, index):
        assert self.model.training, "validation leaves it as it was"
        after = int(os.environ.get("KILL_AFTER", "-1"))
        if batch.step == after and type(self).__name__ == os.environ.get("KILL_IN", "Fit"):
            os.kill(os.getpid(), getattr(signal, os.environ.get("KILL_SIGNAL", "SIGKILL")))
        frames = batch.context.frames[:, -1]
        noise = torch.stack([torch.randn(frames.shape[1:], generator=g) for g in batch.generators])
        frames = frames + 0.01 * noise / (1 + batch.step)
        if os.environ.get("DROPOUT", "1") == "1":
            frames = torch.nn.functional.dropout(frames, 0.1)
        error = self.model(frames) - batch.future.frames[:, 0]
        return error.abs().mean() if self.model.options.loss == "l1" else error.square().mean()

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), self.recipe.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.recipe.steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def fit_to_nan(predictor, protocol):
    return [Breaking(predictor)]


class Breaking(Fit):
    def training_step(self, batch, index):
        loss = super().training_step(batch, index)
        breaks = self.trainer.global_rank == int(os.environ.get("NAN_RANK", "0"))
        return loss * float("nan") if breaks and batch.step == int(os.environ["NAN_AT"]) else loss


class FollowsFlow(torch.nn.Module):
    """The last frame, made darker by what the flow's channels weigh."""

    info = vpbench.PredictorInfo(requires=("frames", "flow"))

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))

    def predict(self, context, horizon, generators):
        shade = (context.flow[:, -1] * self.weight[:, None, None]).sum(1, keepdim=True)
        frames = (context.frames[:, -1] - shade).clamp(0, 1)
        return vpbench.Prediction(frames=frames[:, None].repeat(1, horizon, 1, 1, 1))


def fit_flow(predictor, protocol):
    return [Following(predictor)]


class Following(LightningModule):
    """Learns from the flow of the context; that of the future, which an annotator makes too, must be there."""

    def __init__(self, model: FollowsFlow) -> None:
        super().__init__()
        self.model = model
        self.recipe = vpbench.Recipe(epochs=1, batch_size=4)

    def training_step(self, batch, index):
        flow = torch.cat([batch.context.flow, batch.future.flow], dim=1)
        return (flow.mean(dim=(0, 1, 3, 4)) * self.model.weight).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.recipe.learning_rate)


def fit_without_memory(predictor, protocol):
    return [NoMemory(predictor)]


class NoMemory(Fit):
    def training_step(self, batch, index):
        raise torch.OutOfMemoryError("CUDA out of memory")


def fit_twice(predictor, protocol):
    """The second stage uses manual optimization."""
    return [Fit(predictor, vpbench.Recipe(epochs=1, batch_size=4)), ByHand(predictor)]


class ByHand(Fit):
    """A second network that is trained against, and left behind; both by hand."""

    def __init__(self, model: Learner) -> None:
        super().__init__(model, vpbench.Recipe(steps=4, batch_size=4, learning_rate=1e-2))
        self.automatic_optimization = False
        self.second = torch.nn.Conv2d(3, 1, 1).double()

    def training_step(self, batch, index):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            loss = super().training_step(batch, index) + self.second(batch.future.frames[:, 0].double()).square().mean()
            self.manual_backward(loss)
            optimizer.step()
        return loss

    def configure_optimizers(self):
        rate = self.recipe.learning_rate
        return [torch.optim.SGD(self.model.parameters(), rate), torch.optim.SGD(self.second.parameters(), rate)]
