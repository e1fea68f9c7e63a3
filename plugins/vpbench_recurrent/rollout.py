"""Roll a recurrent network out: it reads the context, then its own predictions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Image = Float[Tensor, "b c h w"]
Hidden = Float[Tensor, "b d h w"]


class Recurrence(nn.Module):
    """A network that reads an image and predicts the next one.

    A model of the family derives from it and writes :meth:`start` and :meth:`step`. Images are patches: their channels
    are the pixels of a patch. A state is whatever the model needs, such as a named tuple of tensors. It is never
    changed in place. ``torch.compile(network.step, fullgraph=True)`` compiles a step whole; assign the result to
    ``step``.

    Example:
        >>> class Fade(Recurrence):
        ...     def start(self, context):
        ...         return context.new_ones(())
        ...
        ...     def step(self, image, state):
        ...         return 0.9 * image, 0.9 * state
        >>> [float(image) for image, _ in roll_out(Fade(), torch.ones(1, 1, 1, 1, 1), 2)]
        [0.8999999761581421, 0.809999942779541]
    """

    stride = 1
    """The sides of images must be multiples of it, in patches."""

    def start(self, context: Float[Tensor, "b t c h w"]) -> Any:
        """Return the state before the first image of the context is read."""
        raise NotImplementedError

    def step(self, image: Image, state: Any) -> tuple[Image, Any]:
        """Return the prediction of the next image, not clamped, and the state after reading ``image``."""
        raise NotImplementedError

    def penalty(self, state: Any) -> Tensor | None:
        """Return a scalar to add to the loss, given the state after the last step; None: none.

        Values that a penalty collects during the steps are part of the state.
        """
        return None


def roll_out(
    network: Recurrence,
    context: Float[Tensor, "b t c h w"],
    horizon: int,
    future: Float[Tensor, "b k c h w"] | None = None,
    use_truth: Bool[Tensor, "b n"] | None = None,
    *,
    clamp: bool = True,
) -> Iterator[tuple[Image, Any]]:
    """Yield the prediction of every image after the first, and the state: T-1 of the context, then K of the future.

    Predictions are not clamped. Between the steps, only the last prediction and the state are kept.

    Args:
        network: Network to roll out.
        context: T images.
        horizon: K, number of images to predict after the context.
        future: In training, the K true images.
        use_truth: In training, whether the true image is read instead of its prediction. The columns are the last
            images that are read: K-1 for the future alone, T+K-2 for the context after its first image, too.
        clamp: Limit predictions to [0,1] before they are read.
    """
    true = context if future is None else torch.cat([context, future], dim=1)
    length = context.shape[1]
    reads = length + horizon - 1
    first = reads if use_truth is None else reads - use_truth.shape[1]
    image, state = context[:, 0], network.start(context)
    for t in range(reads):
        if t < min(first, length):
            image = context[:, t]
        else:
            image = image.clamp(0.0, 1.0) if clamp else image
            if use_truth is not None:
                image = torch.where(use_truth[:, t - first, None, None, None], true[:, t], image)
        image, state = network.step(image, state)
        yield image, state
