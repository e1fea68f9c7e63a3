"""The two stages of SADM's training (section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning import LightningModule

from vpbench.errors import UsageError
from vpbench_sadm.dynamics_training import Dynamics
from vpbench_sadm.predictor import SADM
from vpbench_sadm.rendering_training import Rendering

__all__ = ["stages"]


def stages(predictor: SADM, protocol: Any) -> Sequence[LightningModule]:
    """Return both stages, of which the second keeps the dynamics of the first.

    Raises:
        UsageError: an option that only changes how trained weights are shown.
    """
    if predictor.options.swap_classes or predictor.options.emit != "inpainted":
        raise UsageError("sadm: swap_classes and emit only change how trained weights are shown; train without them")
    return [Dynamics(predictor), Rendering(predictor)]
