"""The divergence of the posterior from the prior."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vpbench_svg.lstm import Normal


def divergence(q: Normal, p: Normal) -> Float[Tensor, "*b z"]:
    """Return KL(q || p) of each latent variable, in float32.

    ::

        log(sigma_p / sigma_q) + (sigma_q^2 + (mu_q - mu_p)^2) / (2 sigma_p^2) - 1/2
    """
    with torch.autocast(q.mean.device.type, enabled=False):
        (mean_q, log_q), (mean_p, log_p) = ((n.mean.float(), n.log_variance.float()) for n in (q, p))
        return 0.5 * (log_p - log_q + (log_q - log_p).exp() + (mean_q - mean_p).square() / log_p.exp() - 1.0)
