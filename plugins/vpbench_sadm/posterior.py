"""The stochastic mode: noise from the true future while training, from the prior afterwards (equations 8 to 10)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vpbench_sadm.dynamics import Encoder, Widths
from vpbench_sadm.options import Options
from vpbench_sadm.recurrent import State

__all__ = ["Posterior", "prior", "reparameterised"]


class Posterior(nn.Module):
    """The encoders theta of the true future, one per class; used in training alone (equation 8).

    Their hidden state is z = [u, log v], of each class in this order; it begins as [h, 0], which is unit variance.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.groups, self.width = Widths.of(options).groups, Widths.of(options).hidden
        self.encoder = Encoder(options, hidden=2 * self.width)

    def forward(
        self, labels: Int64[Tensor, "b k h w"], flow: Float[Tensor, "b k 2 h w"], hidden: Float[Tensor, "b d i j"]
    ) -> tuple[Float[Tensor, "b d i j"], Float[Tensor, "b d i j"]]:
        """Return the mean u and the log-variance at the last step.

        Args:
            labels: of steps 1 to K.
            flow: of these steps, in units of the flow's scale.
            hidden: the context's state.
        """
        first = hidden.unflatten(1, (self.groups, self.width))
        start = torch.cat([first, torch.zeros_like(first)], dim=2).flatten(1, 2)
        z = self.encoder(labels, flow, State(start, torch.zeros_like(start))).hidden
        mean, log_variance = z.unflatten(1, (self.groups, 2, self.width)).unbind(2)
        return mean.flatten(1, 2), log_variance.flatten(1, 2)


def prior(shape: tuple[int, int, int], generators: Sequence[torch.Generator]) -> Float[Tensor, "b d i j"]:
    """Draw from N(0, I), each clip's from its own generator."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def reparameterised(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Return a sample of N(mean, variance) made of one of N(0, I), so that gradients reach both."""
    return mean + torch.exp(0.5 * log_variance) * noise
