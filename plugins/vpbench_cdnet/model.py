"""CDNet: a motion LSTM across time, then a refine LSTM within each step (section 3, equations 1 to 6).

At frame k, X_k is the window of the three frames up to it::

    F^enc   = encode(X_k)
    H, C, M = motion(F^enc, H, C, M)          F^dyn = H                                             (1)
    F^ref,l = refine(F^ref,l-1, F^enc, G, M)  F^ref,0 = F^dyn, l = 1 .. L, from the last context frame on    (2)
    window of k+1 = decode(F^ref,L)           its last frame is the prediction

All states have D channels on the autoencoder's grid of time, height and width. Kernels are 3x3x3 unless noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vpbench.toolkit.convolution import Conv
from vpbench.toolkit.reversible import Autoencoder, Statistics
from vpbench.toolkit.st_lstm import STLSTM, STState, lstm
from vpbench_cdnet.options import Options
from vpbench_cdnet.refinement import FusedRefinement, RefineState, State

MOTION = 0
"""The stage that decodes the motion features; stages 1 to L are the iterations of the refinement."""
_WINDOW = 3
Features = Float[Tensor, "b f t h w"]


class MotionCell(STLSTM):
    """Run one step of the motion LSTM (equation 1): PredRNN's ST-LSTM in one layer, with 3x3x3 kernels and biases.

    F^dyn is its hidden state.

    Args:
        features: Number of channels of F^enc that the cell reads, the last ones.
        width: D, number of channels of each state.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__(features, width, 3, convolution=Conv, bias=True)

    def forward(self, encoding: Features, state: STState) -> STState:
        """Return the state after reading the features of a window."""
        return super().forward(encoding[:, -self.of_features.in_channels :], state)


class Integrator(nn.Sequential):
    """Compute the global information G from the features of all context windows (equation 3, figure 7).

    Four convolutions, 1x1x1 and 3x3x3 in turn, each with ReLU, read the features side by side. The weights therefore
    depend on the number of windows.
    """

    def __init__(self, channels: int, widths: tuple[int, int], width: int) -> None:
        first, second = widths
        sizes = ((channels, first, 1), (first, first, 3), (first, second, 1), (second, width, 3))
        super().__init__(
            *(layer for inner, outer, kernel in sizes for layer in (Conv(inner, outer, kernel), nn.ReLU()))
        )


class RefineCell(nn.Module):
    """Run one iteration of the refine LSTM (equations 2 and 4 to 6); all iterations share one cell.

    ::

        x^l-1 = [F^ref,l-1, F^enc]
        g,  i,  f  = tanh, sigma, sigma (W  * [x, H] + b)       C^l = f  ∘ U([C, G]) + i  ∘ g       (4)
        g', i', f' = tanh, sigma, sigma (W' * [x, M] + b')      M^l = f' ∘ M         + i' ∘ g'
        H^  = sigma(Wo * [x, H, C^l, M^l] + bo) ∘ tanh(W1x1 * [C^l, M^l])                           (5)
        B^l = sigma(Wk * [x, B, C^l, M^l] + bk) ∘ tanh(W1x1' * [C^l, M^l])
        H^l = H^ ∘ B^l + H ∘ (1 - B^l)                          F^ref,l = H^l                       (6)

    The paper prints some weights twice (Wg, Wi, Wf in 4, W1x1 in 5); here they are separate. Equation 2 lists F^enc as
    an input, but 4 and 5 do not show where it enters; here it is part of x. Without the mask, H^l is H^ (table 2).

    Args:
        features: Number of channels of F^enc.
        width: D, number of channels of each state.
        mask: Activation that closes B. ``"tanh"`` is equation 5, with B between -1 and 1. ``"sigmoid"`` makes (6) a
            blend. None: no mask.
    """

    def __init__(self, features: int, width: int, mask: Literal["tanh", "sigmoid"] | None) -> None:
        super().__init__()
        x = width + features
        self.width, self.activation = width, mask
        self.appearance = Conv(x + width, 3 * width)  # i f g
        self.remember = Conv(x + width, 3 * width)  # i' f' g'
        self.output = Conv(x + 3 * width, width)
        self.merge = Conv(2 * width, width, 1)
        if mask is not None:
            self.preserve = Conv(x + 3 * width, width)
            self.merge_mask = Conv(2 * width, width, 1)
        self.updater = nn.ModuleList([Conv(2 * width, width), Conv(width, width)])

    def forward(self, refined: State, encoding: Features, reference: State, state: RefineState) -> RefineState:
        """Return the state after one iteration.

        Args:
            refined: F^ref of the previous iteration; F^dyn in the first.
            encoding: F^enc.
            reference: G or, in the ablation without G (table 2), F^dyn.
            state: State after the previous iteration.
        """
        hidden, cell, memory, mask = state
        x = torch.cat([refined, encoding], dim=1)
        update = self.updater[0](torch.cat([cell, reference], dim=1)).relu()
        update = self.updater[1](update).relu()
        cell = lstm(update, self.appearance(torch.cat([x, hidden], dim=1)))
        memory = lstm(memory, self.remember(torch.cat([x, memory], dim=1)))
        states = torch.cat([cell, memory], dim=1)
        candidate = self.output(torch.cat([x, hidden, states], dim=1)).sigmoid() * self.merge(states).tanh()
        if mask is None:
            return RefineState(candidate, cell, memory, None)
        mask = self.preserve(torch.cat([x, mask, states], dim=1)).sigmoid() * self.close(self.merge_mask(states))
        return RefineState(candidate * mask + hidden * (1 - mask), cell, memory, mask)

    def close(self, x: Tensor) -> Tensor:
        """Apply the mask's activation."""
        return x.tanh() if self.activation == "tanh" else x.sigmoid()


class Network(nn.Module):
    """Continue RGB clips with sides that are multiples of ``stride``. The options name its parts."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        width = 3 * options.hidden
        self.iterations, self.context, self.window = options.iterations, options.context, options.window
        self.residual = options.residual
        self.autoencoder = Autoencoder(options.blocks, options.norm, recompute=options.recompute)
        self.stride, features = self.autoencoder.stride, self.autoencoder.channels
        self.motion = MotionCell(features * options.motion_halves // 2, width)
        self.motion_start = Conv(features, 3 * width)
        self.refine = RefineCell(features, width, options.mask)
        self.refine_start = Conv(features, (3 if options.mask else 2) * width, 1)
        self.encodings = options.context - (_WINDOW - 1 if options.window == "valid" else 0)
        self.integrator = (
            Integrator(self.encodings * features, options.integrator, width) if options.global_information else None
        )
        self.to_features = Conv(width, features, 1)
        if options.residual:
            nn.init.zeros_(self.to_features.weight)
            nn.init.zeros_(self.to_features.bias)

    def forward(
        self,
        context: Float[Tensor, "b t 3 h w"],
        horizon: int,
        stages: Sequence[int],
        truth: Float[Tensor, "b k 3 h w"] | None = None,
        use_truth: Bool[Tensor, "b k"] | None = None,
    ) -> Iterator[Float[Tensor, "s b 3 3 h w"]]:
        """Yield the decoded windows [channel, frame] of some stages for each step; not clamped.

        Memory between steps does not grow with the horizon.

        Args:
            context: T frames.
            horizon: K, number of steps.
            stages: Stages to decode: ``MOTION`` or iterations. The last must be L; its frame is read next.
            truth: In training, the true frames of steps 1 to K.
            use_truth: In training, the clips and steps whose true frame is read next instead of the predicted one.
        """
        assert stages[-1] == self.iterations
        encodings, statistics = self._encode(context)
        first, encoding = encodings[:, 0], encodings[:, -1]
        refine = FusedRefinement(self.refine, self._integrate(encodings))
        start = self.refine_start(first).chunk(2 if self.refine.activation is None else 3, dim=1)
        state = STState(*self.motion_start(first).chunk(3, dim=1))
        for earlier in encodings[:, :-1].unbind(dim=1):
            state = self.motion(earlier, state)
        window = windows_of(context[:, -_WINDOW:])[:, -1]
        for k in range(horizon):
            if k > 0:
                encoding, statistics = self.autoencoder.encode(window)
            decoded, state = self.step(encoding, statistics, state, refine, start, stages)
            yield decoded
            newest = decoded[-1][:, :, -1]
            if truth is not None and use_truth is not None:
                newest = torch.where(use_truth[:, k, None, None, None], truth[:, k], newest)
            window = torch.cat([window[:, :, 1:], newest[:, :, None]], dim=2)

    def step(
        self,
        encoding: Features,
        statistics: Statistics,
        state: STState,
        refine: FusedRefinement,
        start: Sequence[State],
        stages: Sequence[int],
    ) -> tuple[Float[Tensor, "s b 3 3 h w"], STState]:
        """Return the decoded windows of the stages and the motion state after one step.

        ``torch.compile(network.step, fullgraph=True)`` compiles it whole. Assign the result to ``network.step``.

        Args:
            encoding: F^enc of the newest window.
            statistics: Statistics of that encoding, by which to decode.
            state: Motion state after the window before.
            refine: Refinement of these clips, with their G.
            start: H, C and, with the mask, B, from which the refinement starts.
            stages: Stages to decode.
        """
        state = self.motion(encoding, state)
        # The refinement starts afresh at every step: only the motion state crosses time.
        hidden, cell, *mask = start
        refining = RefineState(hidden, cell, state.memory, mask[0] if mask else None)
        refined = [after.hidden for after in refine(state.hidden, encoding, refining, self.iterations)]
        features = [state.hidden, *refined]
        return self._decode(torch.stack([features[stage] for stage in stages]), encoding, statistics), state

    def _encode(self, context: Float[Tensor, "b t 3 h w"]) -> tuple[Float[Tensor, "b n f 3 i j"], Statistics]:
        """Return F^enc of the context's windows, encoded together, and the statistics by which to decode."""
        windows = windows_of(context)
        if self.window == "valid":  # only windows of true frames; a context under three frames keeps its last window
            windows = windows[:, min(_WINDOW, context.shape[1]) - 1 :]
        encodings, statistics = self.autoencoder.encode(windows.flatten(0, 1))
        return encodings.unflatten(0, windows.shape[:2]), statistics

    def _integrate(self, encodings: Float[Tensor, "b n f 3 i j"]) -> State | None:
        """Return G of the last encodings; if there are too few, the first is repeated. None in the ablation without."""
        if self.integrator is None:
            return None
        first = encodings[:, :1].expand(-1, max(0, self.encodings - encodings.shape[1]), *encodings.shape[2:])
        return self.integrator(torch.cat([first, encodings], dim=1)[:, -self.encodings :].flatten(1, 2))

    def _decode(
        self, features: Float[Tensor, "s b d 3 i j"], encoding: Float[Tensor, "b f 3 i j"], statistics: Statistics
    ) -> Float[Tensor, "s b 3 3 h w"]:
        """Return the windows of the stages, decoded in one batch: no normalisation mixes them."""
        halves = self.to_features(features.flatten(0, 1))
        if self.residual:
            halves = halves + encoding.repeat(len(features), 1, 1, 1, 1)
        return self.autoencoder.decode(halves, statistics).unflatten(0, features.shape[:2])


def windows_of(frames: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t 3 3 h w"]:
    """Return the window [channel, frame] that ends at each frame; the first frame is repeated to the left."""
    padded = torch.cat([frames[:, :1].expand(-1, _WINDOW - 1, -1, -1, -1), frames], dim=1)
    return padded.unfold(1, _WINDOW, 1).movedim(-1, 3)
