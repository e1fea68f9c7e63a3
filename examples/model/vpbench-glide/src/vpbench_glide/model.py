# vpbench-glide/src/vpbench_glide/model.py
import torch
from torch import nn


class GlideNet(nn.Module):
    """Predict the next frame from four frames in [-1, 1], whose sides are multiples of 4."""

    def __init__(self, width=32):
        super().__init__()
        self.encoder = nn.Conv2d(4 * 3, width, 4, stride=4)
        self.body = nn.Conv2d(width, width, 3, padding=1)
        self.decoder = nn.ConvTranspose2d(width, 3, 4, stride=4)

    def forward(self, frames):  # [B, 4, 3, H, W] -> [B, 3, H, W]
        features = torch.relu(self.encoder(frames.flatten(1, 2)))
        return frames[:, -1] + self.decoder(torch.relu(self.body(features)))
