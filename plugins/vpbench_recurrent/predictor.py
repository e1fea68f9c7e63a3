"""The predictor of the family: frames become patches, the network is rolled out, patches become frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vpbench.errors import PredictorError
from vpbench.plugin.clip import Context, Prediction
from vpbench.plugin.predictor import PredictorInfo
from vpbench.toolkit.channels import to_channels, to_rgb
from vpbench.toolkit.key_map import KeyRule, apply_rules
from vpbench.toolkit.padding import tell_padding
from vpbench_recurrent.options import TRAINING_ONLY, FamilyOptions, Size
from vpbench_recurrent.patches import from_patches, to_patches
from vpbench_recurrent.rollout import Recurrence, roll_out


class RecurrentPredictor(nn.Module):
    """Continue clips with a recurrent network: any context, any horizon, frames of any size.

    Frames are padded by repeating their border until they are whole patches, and predictions are cropped.

    A model derives from it. It sets ``name``, ``Options``, ``presets`` and ``info``. Its ``__init__`` gives the network
    to :meth:`__init__` of this class. The trainer is :func:`vpbench_recurrent.training.stages` for all of them.

    Example::

        class PredRNN(RecurrentPredictor):
            name = "predrnn"
            Options = Options
            presets = {"tiny": {...}}
            info = PredictorInfo(paper="...")

            def __init__(self, options):
                super().__init__(options, Network(self.image_channels(options), ...))
    """

    name: ClassVar[str]
    Options: ClassVar[type[FamilyOptions]]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    training_only: ClassVar[Sequence[str]] = TRAINING_ONLY
    key_rules: ClassVar[Sequence[KeyRule]] = ()
    """The names of OpenSTL's weights."""
    info: PredictorInfo

    def __init__(self, options: FamilyOptions, network: Recurrence, size: Size | None = None) -> None:
        """Set the network.

        Args:
            options: Options of the model.
            network: Network to roll out.
            size: Height and width of the only frames that the network's weights fit. None: any.
        """
        super().__init__()
        self.options = options
        self.network = network
        self.size = size
        if size is not None:
            self.info = replace(self.info, size=size)

    @staticmethod
    def image_channels(options: FamilyOptions) -> int:
        """Return the number of channels of an image: the pixels of a patch."""
        return options.channels * options.patch**2

    def inference_parts(self) -> dict[str, nn.Module]:
        """Return the parts of the network by name."""
        return dict(self.network.named_children())

    def adapt_state_dict(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return OpenSTL's weights under the names of this class."""
        return apply_rules(state_dict, self.key_rules)

    @torch.no_grad()
    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Continue the clips. Memory beyond the predicted frames does not grow with the horizon.

        Raises:
            PredictorError: The weights do not fit the frames' colours or size.
        """
        past = context.frames
        tell_padding(self.name, past, self.options.patch * self.network.stride)
        frames = past.new_empty(past.shape[0], horizon, *past.shape[2:])
        for k, (frame, _) in enumerate(islice(self.roll_out(context, horizon), past.shape[1] - 1, None)):
            frames[:, k] = frame.clamp(0.0, 1.0)
        return Prediction(frames=frames)

    def roll_out(
        self,
        context: Context,
        horizon: int,
        future: Float[Tensor, "b k 3 h w"] | None = None,
        use_truth: Bool[Tensor, "b n"] | None = None,
    ) -> Iterator[tuple[Float[Tensor, "b 3 h w"], Any]]:
        """Yield frames and states as :func:`vpbench_recurrent.rollout.roll_out` yields images and states.

        Raises:
            PredictorError: The weights do not fit the frames' colours or size.
        """
        options, size = self.options, (context.frames.shape[-2], context.frames.shape[-1])
        if self.size is not None and size != self.size:
            raise PredictorError(
                f"{self.name}: the weights fit frames of {self.size[0]}x{self.size[1]}, and these are "
                f"{size[0]}x{size[1]}: choose a protocol of that size, or train with another one"
            )
        past = self._images(context.frames, context.clips)
        true = None if future is None else self._images(future, context.clips)
        for image, state in roll_out(self.network, past, horizon, true, use_truth, clamp=options.clamp):
            yield to_rgb(from_patches(image, size, options.patch, options.patch_order)), state

    def _images(self, frames: Float[Tensor, "b t 3 h w"], clips: Sequence[str]) -> Float[Tensor, "b t c hp wp"]:
        frames = to_channels(frames, self.options.channels, self.name, clips)
        return to_patches(frames, self.options.patch, self.options.patch_order, self.network.stride)
