"""Options and presets of CDNet: values of the paper, choices where it is silent, and a small form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vpbench.plugin.training import Recipe
from vpbench.toolkit.options import stated


class Options(BaseModel):
    """Options of the network, its losses and its training. The defaults are the preset ``paper``.

    Three readings of the paper are not offered as options:

    - Feeding the whole decoded window back, as CrevNet does, would replace true frames by predicted ones. Only the
      newest frame joins the next window.
    - Equation 2 lists F^enc as an input, so it enters every iteration.
    - A straight-through gradient of the area loss would need the slope of :func:`vpbench_cdnet.losses.soft_area`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    context: int = stated("section 4.1", 4, "number of context frames that G reads", ge=1)
    hidden: int = stated("section 4.2", 32, "channels of each state per colour channel", ge=1)
    iterations: int = stated("section 4.2", 5, "L, number of iterations of the refine cell", ge=1)
    norm: Literal["batch", "group"] = stated("section 4.2", "batch", "normalisation in the autoencoder")
    blocks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(4, 4, 4), min_length=1, description="blocks in each stage of the autoencoder; its stride is 2^stages"
    )
    integrator: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(
        default=(384, 192), description="channels of the two inner layers that compute G"
    )
    window: Literal["replicate", "valid"] = Field(
        default="replicate", description="valid: only windows of true frames; replicate: the first frame is repeated"
    )
    motion_halves: Literal[1, 2] = Field(
        default=2, description="halves of F^enc that the motion cell reads; 1: the second half only"
    )
    residual: bool = Field(default=False, description="add the features of the last window before decoding")
    global_information: bool = stated("section 3.1", True, "U reads G; without it, the motion features")
    mask: Literal["tanh", "sigmoid"] | None = stated(
        "equation 5", "tanh", "activation that closes the mask B; None: no mask"
    )

    emit: Literal["last", "motion"] | Annotated[int, Field(ge=1)] = Field(
        default="last", description="stage to predict from: last, motion, or an iteration"
    )

    deep_supervision: bool = stated("equation 7", True, "pixel loss on every iteration; without it, on the last")
    decay: float = stated("section 4.2", 0.8, "alpha: pixel-loss weight of iteration l is alpha^(L-l)", gt=0, le=1)
    l1: float = Field(default=1.0, ge=0, description="weight of the mean absolute error in the pixel loss")
    l2: float = Field(default=1.0, ge=0, description="weight of the mean squared error; the paper gives no weights")
    area_weight: float = stated("section 4.2", 1e-4, "lambda_area, of the area loss summed over 128x128 pixels", ge=0)
    area_threshold: float = stated("section 4.2", 0.05, "theta: a pixel is in the area if it changes by more", gt=0)
    loss_frames: Literal["window", "last"] = Field(
        default="window", description="pixel loss on all three decoded frames, or on the newest"
    )
    loss_steps: int | None = Field(
        default=None, ge=1, description="number of steps predicted in training; None: the protocol's horizon"
    )
    sampling_start: float = stated("appendix A", 0.9, "initial probability that a true frame is read next", ge=0, le=1)
    sampling_decay: float = stated("appendix A", 0.9, "its factor after every sampling_epochs", gt=0, le=1)
    sampling_epochs: int = stated("appendix A", 5, "epochs between two factors", ge=1)
    sampling_end: float | None = Field(
        default=None, gt=0, le=1, description="share of the training by which that probability has fallen linearly to 0"
    )
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="learning rate; cosine: rises over a twentieth of the steps, then falls to 0"
    )
    recompute: bool = Field(
        default=True, description="save memory in training: compute the autoencoder's activations again"
    )
    recipe: Recipe = stated(
        "section 4.2: learning rate",
        Recipe(epochs=100, epoch_clips=6400, batch_size=8, learning_rate=5e-4, clip=1.0),
        "training recipe; the paper gives no epochs, clips per epoch or batch size",
    )

    @field_validator("emit", mode="before")
    @classmethod
    def _a_stage(cls, value: Any) -> Any:
        if value not in ("last", "motion") and not (isinstance(value, int) and value > 0):
            raise ValueError(f"must be last, motion, or the number of an iteration from 1 on, not {value!r}")
        return value

    @model_validator(mode="after")
    def _fit(self) -> Options:
        if isinstance(self.emit, int) and self.emit > self.iterations:
            raise ValueError(f"emit: there is no iteration {self.emit}; the last is {self.iterations}")
        if not self.l1 + self.l2 > 0:
            raise ValueError("one of the pixel loss's weights l1 and l2 must be above 0")
        if self.window == "valid" and self.context < 3:
            raise ValueError("window: a context under 3 frames has no valid window; use replicate")
        return self


TRAINING_ONLY: Final = (
    "emit",
    "deep_supervision",
    "decay",
    "l1",
    "l2",
    "area_weight",
    "area_threshold",
    "loss_frames",
    "loss_steps",
    "sampling_start",
    "sampling_decay",
    "sampling_epochs",
    "sampling_end",
    "schedule",
    "recompute",
    "recipe",
)
"""Options that may differ from those used in training: they affect losses and schedule, or choose a decoded stage."""

_TINY: Final[Mapping[str, Any]] = {
    "hidden": 6,
    "blocks": (2, 2),
    "integrator": (48, 32),
    "norm": "group",
    "recompute": False,
    "residual": True,
    "loss_frames": "last",
    "loss_steps": 4,
    "l1": 0.0,
    "l2": 10.0,
    # With so small a pixel loss, the paper's 1e-4 slows learning down; no area loss at all is a little worse.
    "area_weight": 1e-5,
    "sampling_end": 0.6,
    "schedule": "cosine",
    "recipe": {"steps": 450, "batch_size": 2, "learning_rate": 3e-3, "clip": 1.0},
}

_ROWS: Final[Mapping[str, Mapping[str, Any]]] = {
    "l1-l2": {"deep_supervision": False},
    "without-g": {"global_information": False},
    "without-mask": {"mask": None},
    "without-area-loss": {"area_weight": 0.0},
    "iterations-3": {"iterations": 3},
    "iterations-4": {"iterations": 4},
}

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "paper": {},
    **_ROWS,
    "hidden-16": {"hidden": 16},
    "hidden-64": {"hidden": 64},
    "tiny": _TINY,
    **{f"tiny-{row}": {**_TINY, **change} for row, change in _ROWS.items()},
    "tiny-hidden-3": {**_TINY, "hidden": 3},
    "tiny-hidden-12": {**_TINY, "hidden": 12},
    **{f"emit-{stage}": {"emit": stage} for stage in ("motion", 1, 2, 3, 4, 5)},
    "scenes": {"weights": str(Path(__file__).with_name("weights") / "cdnet-scenes.safetensors")},
}
"""Rows of tables 2 and 4, for ``paper`` and ``tiny``, and stages of figure 5. The stages work with any weights."""
