# vpbench-glide/src/vpbench_glide/predictor.py
import torch
import vpbench
from vpbench.toolkit.padding import padded
from vpbench_glide.model import GlideNet


class Glide(torch.nn.Module, vpbench.BasePredictor):
    """GlideNet, one step after the other."""

    info = vpbench.PredictorInfo(context=(4, None), licence="MIT")

    def __init__(self):
        super().__init__()
        self.net = GlideNet()

    def forward(self, context, horizon):  # [B, T, 3, H, W] -> [B, K, 3, H, W], both in [0, 1]
        height, width = context.shape[-2:]
        frames = padded(2 * context - 1, 4)
        for _ in range(horizon):
            frames = torch.cat([frames, self.net(frames[:, -4:])[:, None]], dim=1)
        return (frames[:, -horizon:, :, :height, :width] + 1) / 2

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=self(context.frames, horizon).clamp(0, 1))


def stages(predictor, protocol):
    from vpbench_glide.training import Forecasting  # lightning is needed to train only

    return [Forecasting(predictor)]
