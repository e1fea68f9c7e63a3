"""The losses that separate motion from appearance (section 3.3, equations 7 to 9)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

_PIXELS = 128 * 128


def pixel_loss(
    predicted: Float[Tensor, "s b 3 n h w"],
    true: Float[Tensor, "b 3 n h w"],
    decay: float,
    l1: float = 1.0,
    l2: float = 1.0,
) -> Float[Tensor, ""]:
    """Return the L1 and L2 losses of the stages, weighted by ``decay^(L-l)`` (equation 7). The last stage is L.

    The paper names the norms but not their reduction: here the mean absolute and the mean squared error.
    """
    difference = predicted - true
    losses = (l1 * difference.abs() + l2 * difference.square()).flatten(1).mean(dim=1)
    return (losses * losses.new_tensor([decay**later for later in reversed(range(len(losses)))])).sum()


def area(frame: Float[Tensor, "b 3 h w"], previous: Float[Tensor, "b 3 h w"], threshold: float) -> Tensor:
    """Return the motion changing area A [b h w]: 1 if a pixel changes by more than the threshold, else 0.

    The change of a pixel is the mean absolute difference over its colours, in [0,1].
    """
    return (_change(frame, previous) > threshold).to(frame.dtype)


def soft_area(frame: Float[Tensor, "b 3 h w"], previous: Float[Tensor, "b 3 h w"], threshold: float) -> Tensor:
    """Return A [b h w] of a predicted frame with a gradient: ``d^4 / (d^4 + threshold^4)``, between 0 and 1.

    The paper does not say how a threshold is learned. A steep sigmoid has a gradient of 1e-10 at a picture without
    change, where a network begins. This function is also one half at the threshold, and has a gradient around it.
    """
    fourth = (_change(frame, previous) / threshold) ** 4
    return fourth / (fourth + 1.0)


def area_loss(predicted: Float[Tensor, "b h w"], true: Float[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Return the squared error of areas, summed over a frame of 128x128 pixels, as the mean over clips (equation 8).

    As a mean over pixels, it would vanish under the paper's weight of 1e-4. Frames of other sizes are scaled to 128x128
    pixels, so that all sizes weigh the same.
    """
    return (predicted - true).square().mean() * _PIXELS


def _change(frame: Tensor, previous: Tensor) -> Tensor:
    return (frame - previous).abs().mean(dim=1)
