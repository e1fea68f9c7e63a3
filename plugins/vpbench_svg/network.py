"""The network of SVG: an encoder, an LSTM that predicts, a prior and a posterior over latent variables, a decoder.

Denton, Fergus: Stochastic Video Generation with a Learned Prior, ICML 2018, arXiv:1802.07687. Where the paper leaves a
detail open, the network follows the authors' code, commit 3f19f0b.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vpbench_svg.autoencoder import Backbone, Decoder, Encoder, stage_count, stage_widths
from vpbench_svg.lstm import Features, FramePredictor, GaussianLSTM, Normal, States

Frame = Float[Tensor, "b c h w"]
Prior = Literal["learned", "fixed", "none"]
Noise = Callable[[], Float[Tensor, "b z"]]
"""Draw standard normal noise, once per step."""


class State(NamedTuple):
    """The states of the LSTMs. Those of a missing LSTM are empty."""

    predictor: States
    posterior: States
    prior: States


class Step(NamedTuple):
    """The features of the next frame, and the distributions of its latent variables."""

    features: Features
    posterior: Normal | None
    """None if the next frame is unknown."""
    prior: Normal | None
    """None without latent variables."""
    state: State


class Reconstruction(NamedTuple):
    """Frames 2 to N of clips, each decoded from the posterior, with both distributions at each of these steps."""

    frames: Float[Tensor, "b s c h w"]
    posterior: Normal | None
    """None without latent variables, as is the prior."""
    prior: Normal | None


class Network(nn.Module):
    """Predict each frame from the one before it, the states and latent variables.

    ::

        h_t-1, s = Encoder(x_t-1)
        z_t      ~ q(z_t | x_2..x_t)        for frames of the context, and in training
        z_t      ~ p(z_t | x_1..x_t-1)      for frames to predict
        g_t      = LSTM_theta(h_t-1, z_t)
        x_t      = Decoder(g_t, s)          s of the last context frame

    Args:
        backbone: ``dcgan`` or ``vgg``.
        size: Height and width of frames; multiples of the stride.
        channels: Channels of a frame.
        width: Channels of the encoder's first stage.
        features: Length of h and g.
        latent: Length of z.
        hidden: Width of the LSTMs.
        layers: Layers of LSTM_theta.
        prior: ``learned``: SVG-LP. ``fixed``: N(0, I), SVG-FP. ``none``: no latent variables.
        last_frame_skip: Take s from x_t-1 also after the context.
        initial_std: Standard deviation of the first weights of convolutions and linear layers.
    """

    def __init__(
        self,
        backbone: Backbone,
        size: tuple[int, int],
        channels: int,
        *,
        width: int,
        features: int,
        latent: int,
        hidden: int,
        layers: int,
        prior: Prior,
        last_frame_skip: bool,
        initial_std: float = 0.02,
    ) -> None:
        super().__init__()
        stages = stage_count(size)
        self.stride = 2**stages
        grid = (-(-size[0] // self.stride), -(-size[1] // self.stride))
        widths = stage_widths(width, stages)
        self.last_frame_skip = last_frame_skip
        self.encoder = Encoder(backbone, channels, widths, features, grid)
        self.decoder = Decoder(backbone, channels, widths, features, grid)
        self.latent = latent if prior != "none" else 0
        self.predictor = FramePredictor(features + self.latent, features, hidden, layers)
        self.posterior = GaussianLSTM(features, latent, hidden) if self.latent else None
        self.prior = GaussianLSTM(features, latent, hidden) if prior == "learned" else None
        for module in self.modules():
            _initialise(module, initial_std)

    def start(self, batch: Tensor) -> State:
        """Return states of zeros."""
        lstms = (self.predictor, self.posterior, self.prior)
        return State(*(() if lstm is None else lstm.start(batch) for lstm in lstms))

    def step(self, h: Features, target: Features | None, state: State, noise: Noise) -> Step:
        """Return the prediction of the next frame's features.

        Args:
            h: Features of a frame.
            target: Features of the next frame for the posterior; None: draw from the prior.
            state: States of the LSTMs.
            noise: Noise of the sample.
        """
        _, posterior_states, prior_states = state
        posterior, prior, x = None, None, h
        if self.posterior is not None:
            prior = Normal(*2 * (h.new_zeros(len(h), self.latent),))
            if self.prior is not None:
                prior, prior_states = self.prior(h, state.prior)
            if target is not None:
                posterior, posterior_states = self.posterior(target, state.posterior)
            x = torch.cat([h, (posterior or prior).sample(noise())], dim=1)
        features, states = self.predictor(x, state.predictor)
        return Step(features, posterior, prior, State(states, posterior_states, prior_states))

    def roll_out(self, context: Float[Tensor, "b t c h w"], horizon: int, noise: Noise) -> Iterator[Frame]:
        """Yield ``horizon`` frames in [0,1]. Each is read to predict the next one."""
        state = self.start(context)
        h, pyramid = self.encoder(context[:, 0])
        for t in range(1, context.shape[1]):
            target, features = self.encoder(context[:, t])
            state = self.step(h, target, state, noise).state
            h, pyramid = target, features
        for k in range(1, horizon + 1):
            step = self.step(h, None, state, noise)
            state, frame = step.state, self.decoder(step.features, pyramid)
            yield frame
            if k < horizon:
                h, features = self.encoder(frame)
                pyramid = features if self.last_frame_skip else pyramid

    def reconstruct(self, frames: Float[Tensor, "b n c h w"], context: int, noise: Noise) -> Reconstruction:
        """Return frames 2 to N of true clips, each from the true frame before it and the posterior: for training.

        Args:
            frames: N frames of B clips.
            context: Number of context frames, the last of which has the skip connections of all later frames.
            noise: Noise to draw from the posterior.
        """
        clips, steps = frames.shape[0], frames.shape[1] - 1
        h, pyramid = self.encoder(frames.flatten(0, 1))
        h, state, sequence = h.unflatten(0, (clips, -1)), self.start(frames), []
        for t in range(steps):
            step = self.step(h[:, t], h[:, t + 1], state, noise)
            state = step.state
            sequence.append(step)
        source = torch.arange(steps, device=frames.device)
        if not self.last_frame_skip:
            source = source.clamp(max=context - 1)
        skips = [level.unflatten(0, (clips, -1))[:, source].flatten(0, 1) for level in pyramid]
        vectors = torch.stack([step.features for step in sequence], dim=1).flatten(0, 1)
        decoded = self.decoder(vectors, skips).unflatten(0, (clips, -1))
        return Reconstruction(
            decoded,
            _stacked([step.posterior for step in sequence]),
            _stacked([step.prior for step in sequence]),
        )


def _stacked(distributions: Sequence[Normal | None]) -> Normal | None:
    """Return the distributions of all steps as one, or None if there are none."""
    normals = [normal for normal in distributions if normal is not None]
    return Normal(*(torch.stack(values, dim=1) for values in zip(*normals, strict=True))) if normals else None


def _initialise(module: nn.Module, std: float) -> None:
    """Draw weights as the authors' code does, with its ``std`` of 0.02. The weights of LSTM cells are torch's."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, std)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
