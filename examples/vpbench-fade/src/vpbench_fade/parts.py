"""A predictor with an option, a dataset without files and a metric, through vpbench's public names only."""

import numpy as np
import torch
from pydantic import BaseModel, Field

import vpbench


class Fade:
    """Mixes the last frame with grey, more at each step."""

    class Options(BaseModel):
        rate: float = Field(default=0.1, ge=0, le=1)

    presets = {"fast": {"rate": 0.5}}
    info = vpbench.PredictorInfo(licence="MIT")

    def __init__(self, options):
        self.options = options

    def predict(self, context, horizon, generators):
        weights = torch.tensor([(1 - self.options.rate) ** k for k in range(1, horizon + 1)])
        weights = weights.to(context.frames).view(1, -1, 1, 1, 1)
        return vpbench.Prediction(frames=weights * context.frames[:, -1:] + (1 - weights) * 0.5)


class Bars:
    info = vpbench.DatasetInfo(needs_root=False)

    def __init__(self, root):
        pass

    def sequences(self, split):
        return [vpbench.SequenceInfo(f"bar{i:02d}", range(8)) for i in range(20)]

    def read(self, sequence, frames, modality):
        pictures = np.zeros((len(frames), 24, 32, 3), np.uint8)
        for picture, frame in zip(pictures, frames, strict=True):
            picture[:, (int(sequence[3:]) + 2 * frame) % 32] = 255
        return pictures


class Brightness(vpbench.ClipMean):
    info = vpbench.MetricInfo("brightness", revision=1, better="lower")

    def measure(self, comparison):
        predicted, true = comparison.frames
        return (predicted.mean(dim=(2, 3, 4)) - true.mean(dim=(2, 3, 4))).abs().tolist()
