"""The last layer of a stack of ST-LSTMs."""

from __future__ import annotations

from torch import Tensor, nn

from vpbench_recurrent.rollout import Hidden, Image


class Head(nn.Conv2d):
    """Predict an image from the top layer's hidden state by a 1x1 convolution.

    Args:
        width: Number of channels of the hidden state.
        channels: Number of channels of an image.
        residual: Add the image that was read. Untrained, the network then repeats that image.
    """

    def __init__(self, width: int, channels: int, *, residual: bool) -> None:
        super().__init__(width, channels, 1, bias=False)
        self.residual = residual
        if residual:
            nn.init.zeros_(self.weight)

    def predict(self, hidden: Hidden, image: Image) -> Image:
        """Return the next image, given the hidden state after reading ``image``."""
        predicted: Tensor = self(hidden)
        return predicted + image if self.residual else predicted
