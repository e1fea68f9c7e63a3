"""CDNet's options: what the paper states, what it leaves open, and what makes it small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vpbench.plugin.training import Recipe

__all__ = ["PRESETS", "TRAINING_ONLY", "Options"]


def _stated(where: str, value: Any, description: str, **bounds: Any) -> Any:
    """Return a field whose default the paper states; ``where`` is kept in the JSON schema as ``paper``."""
    return Field(
        default=value, description=f"{description} (paper: {where})", json_schema_extra={"paper": where}, **bounds
    )


class Options(BaseModel):
    """The network, its losses, and how it trains. The defaults are the preset ``paper``.

    Three switches that readings of the paper suggest are not here. The next window is built of the newest frame alone:
    to feed the whole decoded window back, as CrevNet does, would replace true frames by predicted ones. F^enc enters
    every iteration, as equation 2 lists it. The area loss has one gradient, that of its soft threshold: a
    straight-through one would need the same slope, or be dead where the soft one is (:mod:`vpbench_cdnet.losses`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    context: int = _stated("section 4.1", 4, "frames that G is made of", ge=1)
    hidden: int = _stated("section 4.2", 32, "channels of each state per colour channel", ge=1)
    iterations: int = _stated("section 4.2", 5, "L, how often the refine cell is applied", ge=1)
    norm: Literal["batch", "group"] = _stated("section 4.2", "batch", "normalisation in the autoencoder")
    blocks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(4, 4, 4), min_length=1, description="blocks of each stage of the autoencoder; its stride is 2^stages"
    )
    integrator: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(
        default=(384, 192), description="channels within the global information integration"
    )
    window: Literal["replicate", "valid"] = Field(
        default="replicate", description="whether the first frame is repeated so that each frame ends a window of three"
    )
    residual: bool = Field(default=False, description="add the last window's features to those that are decoded")
    global_information: bool = _stated("section 3.1", True, "U sees G; else the motion features")
    mask: Literal["tanh", "sigmoid"] | None = _stated("equation 5", "tanh", "what closes the mask B; None: no mask")

    emit: Literal["last", "motion"] | Annotated[int, Field(ge=1)] = Field(
        default="last", description="the stage whose decoded frames are the prediction: an iteration, or motion"
    )

    deep_supervision: bool = _stated("equation 7", True, "the pixel loss is on every iteration; else on the last")
    decay: float = _stated("section 4.2", 0.8, "alpha: iteration l weighs alpha^(L-l) in the pixel loss", gt=0, le=1)
    l1: float = Field(default=1.0, ge=0, description="weight of the mean absolute error in the pixel loss")
    l2: float = Field(default=1.0, ge=0, description="weight of the squared error; no weights are in the paper")
    area_weight: float = _stated("section 4.2", 1e-4, "lambda_area, of the area loss summed over 128x128 pixels", ge=0)
    area_threshold: float = _stated("section 4.2", 0.05, "theta: a pixel that changes by more is in the area", gt=0)
    loss_frames: Literal["window", "last"] = Field(
        default="window", description="pixel loss on all three decoded frames, or on the new one"
    )
    loss_steps: int | None = Field(
        default=None, ge=1, description="training predicts so many steps of each clip; None: the protocol's horizon"
    )
    sampling_start: float = _stated("appendix A", 0.9, "first probability that a true frame is read next", ge=0, le=1)
    sampling_decay: float = _stated("appendix A", 0.9, "its factor after each sampling_epochs", gt=0, le=1)
    sampling_epochs: int = _stated("appendix A", 5, "epochs between the factors", ge=1)
    sampling_end: float | None = Field(
        default=None, gt=0, le=1, description="part of the training by which that probability falls to 0, linearly"
    )
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="course of the learning rate; cosine: up over a twentieth, then down to 0"
    )
    recompute: bool = Field(
        default=True, description="train with less memory: the autoencoder's activations are computed again"
    )
    recipe: Recipe = _stated(
        "section 4.2: learning rate",
        Recipe(epochs=100, batch_size=8, learning_rate=5e-4, clip=1.0),
        "how it is trained; the paper says nothing of epochs and batches",
    )

    @field_validator("emit", mode="before")
    @classmethod
    def _a_stage(cls, value: Any) -> Any:
        if value not in ("last", "motion") and not (isinstance(value, int) and value > 0):
            raise ValueError(f"last, motion, or the number of an iteration, from 1 on, and not {value!r}")
        return value

    @model_validator(mode="after")
    def _fit(self) -> Options:
        if isinstance(self.emit, int) and self.emit > self.iterations:
            raise ValueError(f"emit: there is no iteration {self.emit}, the last is {self.iterations}")
        if not self.l1 + self.l2 > 0:
            raise ValueError("one of the pixel loss's weights l1 and l2 must be above 0")
        if self.window == "valid" and self.context < 3:
            raise ValueError("window: a context under 3 frames has no window of three; take replicate")
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
"""What may differ from what the weights were trained with. ``emit`` is among them: it chooses what is shown of them."""

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
    # The paper's 1e-4, beside so small a pixel loss, holds learning up; none at all is a little worse.
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
}
"""Tables 2 and 4 row by row, figure 5 stage by stage: each differs from ``paper``, or ``tiny``, by what it says;
with weights, those of figure 5 show a stage of the network that these were trained for, whichever it is."""
