"""The differential divergence regularisation of TAU."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def divergence(
    predicted: Float[Tensor, "b k c h w"], true: Float[Tensor, "b k c h w"], temperature: float
) -> Float[Tensor, ""]:
    """Return the divergence of the predicted changes from the true ones; 0 for a single frame.

    ::

        p = softmax((y'_k+1 - y'_k) / tau)    over all values of a frame
        q = softmax((y_k+1 - y_k) / tau)
        L = mean of p ∘ log(p / q)

    The paper sums over the values of a frame. Like the authors' OpenSTL, this function averages over them, which fits
    the published weight alpha = 0.1. It is computed in float32.
    """
    if predicted.shape[1] < 2:
        return predicted.new_zeros(())
    with torch.autocast(predicted.device.type, enabled=False):
        log_p, log_q = (
            (frames.float().diff(dim=1).flatten(2) / temperature).log_softmax(dim=-1) for frames in (predicted, true)
        )
        return (log_p.exp() * (log_p - log_q)).mean()
