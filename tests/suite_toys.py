"""A plugin of learned toys: one whose weights are a file of its own, and one that looks at flow where it is shown."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import BaseModel, Field
from safetensors.torch import load_file

import vpbench
from vpbench.toolkit.weights import sha256


@vpbench.hookimpl
def register_predictors(register):
    register("learned", "suite_toys:Learned")
    register("looks", "suite_toys:Looks")


class Learned(torch.nn.Module):
    """The last frame, brighter or darker."""

    class Options(BaseModel):
        weights: Path | None = Field(default=None, exclude=True)

    info = vpbench.PredictorInfo()

    def __init__(self, options):
        super().__init__()
        self.options, self.gain = options, torch.nn.Parameter(torch.ones(1))
        if options.weights:
            self.load_state_dict(load_file(options.weights))

    def fingerprint(self):
        return sha256(self.options.weights) if self.options.weights else ""

    def predict(self, context, horizon, generators):
        last = context.frames[:, -1:].expand(-1, horizon, -1, -1, -1)
        return vpbench.Prediction(frames=last * self.gain.detach())


class Looks:
    """The last frame, darker where flow is given."""

    info = vpbench.PredictorInfo(uses=("frames", "flow"))

    def predict(self, context, horizon, generators):
        gain = 1.0 if context.flow is None else 0.5
        return vpbench.Prediction(frames=gain * context.frames[:, -1:].expand(-1, horizon, -1, -1, -1))
