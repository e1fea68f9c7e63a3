"""The losses that part motion from appearance (section 3.3, equations 7 to 9)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

__all__ = ["area", "area_loss", "pixel_loss", "soft_area", "weights"]

_PIXELS = 128 * 128


def weights(iterations: int, decay: float) -> list[float]:
    """Return alpha^(L-l) for l = 1 to L (equation 7)."""
    return [decay ** (iterations - iteration) for iteration in range(1, iterations + 1)]


def pixel_loss(
    predicted: Float[Tensor, "s b 3 n h w"],
    true: Float[Tensor, "b 3 n h w"],
    decay: float,
    l1: float = 1.0,
    l2: float = 1.0,
) -> Float[Tensor, ""]:
    """Return the weighted L1 and L2 losses of the stages, the last of which is iteration L (equation 7).

    The paper says which norms, not how they are reduced: here the mean absolute and the mean squared error.
    """
    difference = predicted - true
    each = (l1 * difference.abs() + l2 * difference.square()).flatten(1).mean(dim=1)
    return (each * each.new_tensor(weights(len(predicted), decay))).sum()


def area(frame: Float[Tensor, "b 3 h w"], before: Float[Tensor, "b 3 h w"], threshold: float) -> Tensor:
    """Return the motion changing area A [b h w]: 1 where the frame differs from the one before by more, else 0.

    The difference is its absolute value averaged over the colours, of pixels in [0,1].
    """
    return (_change(frame, before) > threshold).to(frame.dtype)


def soft_area(frame: Float[Tensor, "b 3 h w"], before: Float[Tensor, "b 3 h w"], threshold: float) -> Tensor:
    """Return A [b h w] of a predicted frame, between 0 and 1, so that it has a gradient: ``d^4 / (d^4 + threshold^4)``.

    The paper is silent on how a threshold is learned. A steep sigmoid is dead where a network begins: its gradient at a
    picture without change is 1e-10. This one is one half at the threshold, too, and has a gradient around it.
    """
    fourth = (_change(frame, before) / threshold) ** 4
    return fourth / (fourth + 1.0)


def area_loss(predicted: Float[Tensor, "b h w"], true: Float[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Return the squared error of areas, summed over a frame of 128x128 pixels, its mean over clips (equation 8).

    Summed: as a mean, with the paper's weight of 1e-4, it would be next to nothing. Of 128x128: frames of any size
    weigh alike.
    """
    return (predicted - true).square().mean() * _PIXELS


def _change(frame: Tensor, before: Tensor) -> Tensor:
    return (frame - before).abs().mean(dim=1)
