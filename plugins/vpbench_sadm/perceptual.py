"""The perceptual loss L_per of equation 13.

The paper cites Seg2vid, whose repository has no loss; ``vgg19`` is the loss of vid2vid, on which Seg2vid builds. Only
L_per supervises the newly visible pixels, so ``pixel`` stands in when no network is available.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import VGG19_Weights, vgg19

from vpbench.errors import DataError
from vpbench.toolkit.lpips_network import lpips_network
from vpbench.toolkit.weights import MissingWeightsError, obtain, read

Kind = Literal["pixel", "vgg19", "lpips", "none"]

_SCALES = 3
_RELUS = {1: 1 / 32, 6: 1 / 16, 11: 1 / 8, 20: 1 / 4, 29: 1.0}
"""Positions of relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 in VGG-19, and vid2vid's weight of each."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def perceptual_loss(kind: Kind) -> nn.Module | None:
    """Return a module that maps (predicted, true) frames [N,3,H,W] in [0,1] to their mean loss; None for ``none``.

    Weights are read from disk or downloaded once: see :mod:`vpbench.toolkit.weights`.

    Raises:
        DataError: the weights are not available; says where to put them.
    """
    if kind == "none":
        return None
    return {"pixel": PixelLoss, "vgg19": _vgg_loss, "lpips": LPIPSLoss}[kind]()


class PixelLoss(nn.Module):
    """Mean absolute difference of pixels and of their gradients, at full, half and quarter size."""

    def forward(self, predicted: Float[Tensor, "n 3 h w"], true: Float[Tensor, "n 3 h w"]) -> Float[Tensor, ""]:
        """Return the sum over the sizes."""
        difference = predicted - true
        loss = difference.new_zeros(())
        for scale in range(_SCALES):
            smaller = functional.avg_pool2d(difference, 2**scale) if scale else difference
            loss = loss + smaller.abs().mean() + smaller.diff(dim=-1).abs().mean() + smaller.diff(dim=-2).abs().mean()
        return loss


class VGGLoss(nn.Module):
    """Weighted mean absolute differences of five feature maps of VGG-19 (torchvision's ImageNet weights)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        for layer in network:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # the features before it are compared later
        self.network = network.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, predicted: Float[Tensor, "n 3 h w"], true: Float[Tensor, "n 3 h w"]) -> Float[Tensor, ""]:
        """Return the weighted sum over the layers."""
        loss = predicted.new_zeros(())
        x, y = ((frames - self.mean) / self.deviation for frames in (predicted, true))
        for number, layer in enumerate(self.network):
            x, y = layer(x), layer(y)
            if number in _RELUS:
                loss = loss + _RELUS[number] * functional.l1_loss(x, y)
        return loss


def vgg_features() -> nn.Sequential:
    """Return the layers of VGG-19 up to relu5_1, on the device ``meta``."""
    with torch.device("meta"):
        features: nn.Sequential = vgg19().features[: max(_RELUS) + 1]
    return features


def _vgg_loss() -> VGGLoss:
    """Return the loss with ImageNet weights (raises DataError)."""
    network, tensors = vgg_features(), read(obtain(VGG19_Weights.IMAGENET1K_V1.url))
    features = {name: tensors["features." + name] for name in network.state_dict() if "features." + name in tensors}
    network.load_state_dict(features, assign=True)
    return VGGLoss(network)


class LPIPSLoss(nn.Module):
    """LPIPS v0.1 with AlexNet, identical to the metric.

    Disclose it when you report LPIPS of a model trained with this loss.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            self.network = lpips_network()
        except MissingWeightsError as error:
            raise DataError(f"sadm.perceptual=lpips: {error}") from error

    def forward(self, predicted: Float[Tensor, "n 3 h w"], true: Float[Tensor, "n 3 h w"]) -> Float[Tensor, ""]:
        """Return the mean over the frames."""
        return self.network(predicted, true).mean()
