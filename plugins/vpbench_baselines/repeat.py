"""The repeated last frame: the reference that any model must beat."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vpbench.plugin.clip import Context, Prediction
from vpbench.plugin.predictor import PredictorInfo


class Repeat:
    """Predicts the last context frame and, if the context has labels, its labels at every step."""

    info = PredictorInfo(outputs=("frames", "semantics"), uses=("semantics",))

    def predict(self, context: Context, horizon: int, generators: Sequence[torch.Generator]) -> Prediction:
        """Repeat the last frame ``horizon`` times."""
        frames, labels = context.frames, context.semantics
        return Prediction(
            frames=frames[:, -1:].repeat(1, horizon, 1, 1, 1),
            semantics=None if labels is None else labels[:, -1:].repeat(1, horizon, 1, 1),
            label_space=context.label_space,
        )
