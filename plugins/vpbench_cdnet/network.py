"""CDNet itself: windows to features, motion, refinement, and back to frames, one predicted frame after another.

::

    at frame k, with the window X_k of the three frames up to it:
    F^enc = encode(X_k);  H, C, M = motion(F^enc, H, C, M);  F^dyn = H
    from the last context frame on: F^ref,1 .. F^ref,L = refine(F^dyn, F^enc, G, M); window of k+1 = decode(F^ref,L)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vpbench_cdnet.autoencoder import Autoencoder, Statistics
from vpbench_cdnet.cells import Integrator, Kernels, MotionCell, MotionState, RefineCell, RefineState, conv, convolve
from vpbench_cdnet.options import Options

__all__ = ["MOTION", "Network", "windows_of"]

MOTION = 0
"""The stage that shows the motion features; stages 1 to L are the iterations of the refinement."""
_FRAMES = 3  # in a window


class Network(nn.Module):
    """Continues RGB clips whose sides are multiples of ``stride``. See :class:`Options` for what it is made of."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        width = 3 * options.hidden
        self.iterations, self.context, self.window = options.iterations, options.context, options.window
        self.residual = options.residual
        self.autoencoder = Autoencoder(options.blocks, options.norm, recompute=options.recompute)
        features = self.autoencoder.channels
        self.motion = MotionCell(features, width)
        self.motion_start = conv(features, 3 * width)
        self.refine = RefineCell(features, width, options.mask)
        self.refine_start = conv(features, (3 if options.mask else 2) * width, 1)
        self.integrator = (
            Integrator(self.encodings * features, options.integrator, width) if options.global_information else None
        )
        self.to_features = conv(width, features, 1)
        if options.residual:
            nn.init.zeros_(self.to_features.weight)
            nn.init.zeros_(self.to_features.bias)

    @property
    def stride(self) -> int:
        """What height and width must be multiples of."""
        return self.autoencoder.stride

    @property
    def encodings(self) -> int:
        """Number of windows that G is made of."""
        return self.context - (_FRAMES - 1 if self.window == "valid" else 0)

    def forward(
        self,
        context: Float[Tensor, "b t 3 h w"],
        horizon: int,
        stages: Sequence[int],
        truth: Float[Tensor, "b k 3 h w"] | None = None,
        shown: Bool[Tensor, "b k"] | None = None,
    ) -> Iterator[Float[Tensor, "s b 3 3 h w"]]:
        """Yield, for each step, the decoded windows [channel, frame] of some stages; not clamped.

        What is kept between steps does not grow with the horizon.

        Args:
            context: T frames.
            horizon: K, number of steps.
            stages: what to decode, ``MOTION`` or iterations; the last of them must be L, whose frame is read next.
            truth: in training, the true frames of steps 1 to K,
            shown: and whether that of step k is read next, in place of the predicted one, as ``shown[:, k - 1]`` says.
        """
        assert stages[-1] == self.iterations
        encodings, statistics = self._encoded(context)
        encoding = encodings[:, -1]
        clip = self._remembered(encodings)
        state = MotionState(*self.motion_start(encodings[:, 0]).chunk(3, dim=1))
        for earlier in encodings[:, :-1].unbind(dim=1):
            state = self.motion(earlier, state)
        window = windows_of(context[:, -_FRAMES:])[:, -1]
        for k in range(horizon):
            if k > 0:
                encoding, statistics = self.autoencoder.encode(window)
            state = self.motion(encoding, state)
            features = [state.hidden, *self._refined(encoding, state, clip)]
            decoded = self._decoded(torch.stack([features[stage] for stage in stages]), encoding, statistics)
            yield decoded
            newest = decoded[-1][:, :, -1]
            if truth is not None and shown is not None:
                newest = torch.where(shown[:, k, None, None, None], truth[:, k], newest)
            window = torch.cat([window[:, :, 1:], newest[:, :, None]], dim=2)

    def _encoded(self, context: Float[Tensor, "b t 3 h w"]) -> tuple[Float[Tensor, "b n f 3 i j"], Statistics]:
        """Return F^enc of the context's windows, encoded together, and the statistics by which to decode."""
        windows = windows_of(context)
        if self.window == "valid":  # those without a repeated frame; a context under three frames has but its last
            windows = windows[:, min(_FRAMES, context.shape[1]) - 1 :]
        encodings, statistics = self.autoencoder.encode(windows.flatten(0, 1))
        return encodings.unflatten(0, windows.shape[:2]), statistics

    def _remembered(self, encodings: Float[Tensor, "b n f 3 i j"]) -> _Clip:
        """Return what is made of a clip's context once.

        G is made of the last encodings; where there are fewer than its weights take, the first is repeated.
        """
        first, kernels = encodings[:, 0], self.refine.kernels()
        start = self.refine_start(first).chunk(2 if kernels.mask is None else 3, dim=1)
        if self.integrator is None:
            return _Clip(kernels, start, None)
        missing = max(0, self.encodings - encodings.shape[1])
        seen = torch.cat([first[:, None].expand(-1, missing, *first.shape[1:]), encodings], dim=1)[:, -self.encodings :]
        return _Clip(kernels, start, self.refine.recall(self.integrator(seen.flatten(1, 2))))

    def _refined(self, encoding: Tensor, state: MotionState, clip: _Clip) -> Iterator[Float[Tensor, "b d 3 i j"]]:
        """Yield F^ref of each iteration: begun anew at every step, so that nothing but motion crosses time."""
        encoded = convolve(encoding, clip.kernels.encoding, clip.kernels.bias)
        recalled = self.refine.recall(state.hidden) if clip.recalled is None else clip.recalled
        hidden, cell, *mask = clip.start
        refining = RefineState(hidden, cell, state.memory, mask[0] if mask else None)
        for iteration in range(self.iterations):
            refined = None if iteration else state.hidden
            refining = self.refine(clip.kernels, encoded, recalled, refining, refined)
            yield refining.hidden

    def _decoded(
        self, features: Float[Tensor, "s b d 3 i j"], encoding: Float[Tensor, "b f 3 i j"], statistics: Statistics
    ) -> Float[Tensor, "s b 3 3 h w"]:
        """Return the windows of the stages, decoded together: no normalisation lets them see each other."""
        whole = self.to_features(features.flatten(0, 1))
        if self.residual:
            whole = whole + encoding.repeat(len(features), 1, 1, 1, 1)
        return self.autoencoder.decode(whole, statistics).unflatten(0, features.shape[:2])


class _Clip(NamedTuple):
    """What stays over all steps of a clip."""

    kernels: Kernels
    start: Sequence[Tensor]
    """H^0, C^0 and, with the mask, B^0 of the refinement."""
    recalled: Tensor | None
    """What U makes of G."""


def windows_of(frames: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t 3 3 h w"]:
    """Return the window [channel, frame] that ends at each frame; before the first frame, that is repeated."""
    padded = torch.cat([frames[:, :1].expand(-1, _FRAMES - 1, -1, -1, -1), frames], dim=1)
    return padded.unfold(1, _FRAMES, 1).movedim(-1, 3)
