"""The LSTMs of SVG: one predicts features, two infer the distribution of latent variables."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

Features = Float[Tensor, "b g"]
States = tuple[tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]], ...]
"""The hidden state and the memory of each layer."""


class Normal(NamedTuple):
    """A diagonal normal distribution of the latent variables."""

    mean: Float[Tensor, "*b z"]
    log_variance: Float[Tensor, "*b z"]

    def sample(self, noise: Float[Tensor, "*b z"]) -> Float[Tensor, "*b z"]:
        """Return mean + sigma * noise: the reparameterisation of a sample."""
        return self.mean + (0.5 * self.log_variance).exp() * noise


class LSTM(nn.Module):
    """Embed a vector and pass it through stacked LSTM cells.

    ::

        x          = W_e x + b_e
        i, f, g, o = W x + U h + b           sigmoid, sigmoid, tanh, sigmoid
        c          = f ∘ c + i ∘ g
        h          = o ∘ tanh(c)             the next layer's x
    """

    def __init__(self, inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.embed = nn.Linear(inputs, hidden)
        self.cells = nn.ModuleList(nn.LSTMCell(hidden, hidden) for _ in range(layers))

    def start(self, batch: Tensor) -> States:
        """Return states of zeros, one per entry of the batch."""
        zeros = batch.new_zeros(len(batch), self.hidden)
        return ((zeros, zeros),) * len(self.cells)

    def advance(self, x: Float[Tensor, "b n"], states: States) -> tuple[Float[Tensor, "b d"], States]:
        """Return the top layer's hidden state and the states after reading ``x``."""
        x, following = self.embed(x), []
        for cell, state in zip(self.cells, states, strict=True):
            x, memory = cell(x, state)
            following.append((x, memory))
        return x, tuple(following)


class FramePredictor(LSTM):
    """Predict the features of the next frame: LSTM_theta of the paper.

    ::

        g_t = tanh(W LSTM(h_t-1, z_t) + b)
    """

    def __init__(self, inputs: int, features: int, hidden: int, layers: int) -> None:
        super().__init__(inputs, hidden, layers)
        self.output = nn.Linear(hidden, features)

    def forward(self, x: Float[Tensor, "b n"], states: States) -> tuple[Features, States]:
        """Return the features and the states."""
        hidden, states = self.advance(x, states)
        return self.output(hidden).tanh(), states


class GaussianLSTM(LSTM):
    """Infer the distribution of the latent variables: LSTM_phi and LSTM_psi of the paper, with one layer each.

    ::

        mu_phi(t), sigma_phi(t) = LSTM_phi(h_t)         posterior: reads the frame to predict
        mu_psi(t), sigma_psi(t) = LSTM_psi(h_t-1)       learned prior: reads the frame before it
    """

    def __init__(self, features: int, latent: int, hidden: int) -> None:
        super().__init__(features, hidden, layers=1)
        self.mean = nn.Linear(hidden, latent)
        self.log_variance = nn.Linear(hidden, latent)

    def forward(self, h: Features, states: States) -> tuple[Normal, States]:
        """Return the distribution and the states."""
        hidden, states = self.advance(h, states)
        return Normal(self.mean(hidden), self.log_variance(hidden)), states
