"""SADM's options and presets: values that the paper states, choices that it leaves open, and smaller models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vpbench.plugin.training import Recipe
from vpbench.toolkit.labels import LABEL_SPACES
from vpbench.toolkit.options import stated

Width = Annotated[int, Field(ge=1)]


class Options(BaseModel):
    """The dynamics, the rendering, and the training of both. The defaults are the preset ``paper``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The classes.
    space: str = stated("section 6.2", "cityscapes9", "label space of the model; context: that of the context's labels")
    classes: int = stated("section 6.2", 9, "C, the number of classes of that space", ge=2, le=255)
    swap_classes: tuple[str, str] | None = Field(
        default=None, description="two classes to exchange in the input of the dynamics (figure 6), such as car,road"
    )

    # The dynamics; widths are per class.
    hidden: int = Field(default=64, ge=1, description="channels of the recurrent units")
    embed: tuple[Width, Width] = Field(default=(32, 64), description="channels of the two layers before the encoder")
    context_width: int = Field(default=296, ge=1, description="hidden channels of the MLP over all classes")
    head: tuple[Width, Width] = Field(
        default=(64, 32), description="hidden channels of the mask head and of the flow head"
    )
    fusion: int = Field(default=64, ge=1, description="hidden channels of the fusion network, for all classes")
    latent_stride: Literal[2, 4] = Field(default=4, description="pixels per latent pixel")
    flow_residual: Literal["none", "class_mean", "nearest_segment"] = Field(
        default="none",
        description="add the decoded flow of a class to nothing, to its mean last flow, or to its last flow, filled "
        "around its mask from its nearest segment",
    )
    mask_residual: Literal["none", "carried"] = Field(
        default="none",
        description="add the decoded masks, and the fused ones, to nothing or to the last masks, carried along their "
        "class's flow",
    )
    flow_scale: float | None = Field(
        default=None, gt=0, description="pixels of flow that equal 1 in the network; none: measured in training"
    )
    first_pair: Literal["drop", "zero_flow"] = Field(
        default="drop", description="the first frame has no flow: ignore its labels, or read them with zero flow"
    )
    single_hidden: int | None = Field(
        default=None,
        ge=2,
        description="channels of one recurrent unit for all classes (figure 7; table 6: 444), with all other widths in "
        "proportion; none: one unit per class",
    )
    dynamics_size: tuple[Width, Width] | None = Field(
        default=None,
        description="height and width at which the dynamics predicts; its flow and probabilities are then resized to "
        "the frames' size. none: at that size",
    )
    mode: Literal["deterministic", "stochastic"] = Field(
        default="deterministic", description="stochastic: decode the future with noise (equations 8 to 10)"
    )
    noise_into: Literal["context", "both"] = Field(
        default="context", description="add noise to the input of the MLP, or also to the first state of the decoder"
    )

    # Training.
    recompute: bool = Field(
        default=True,
        description="save memory in training: compute activations again in the backward pass",
    )

    # Losses of the dynamics.
    boundary_weight: float = stated("equation 7", 5.0, "alpha, the extra weight of pixels near class boundaries", ge=0)
    boundary_sigma: float = stated("equation 7", 3.0, "deviation in pixels of the Gaussian around boundaries", gt=0)
    boundary_norm: Literal["sum", "peak"] = Field(
        default="sum", description="sum: the Gaussian sums to 1; peak: a straight boundary weighs 1 + alpha"
    )
    kl_weight: float = stated("equation 10", 0.1, "beta, the weight of the divergence from the prior", ge=0)
    kl_warm_up: float = Field(
        default=0.2, ge=0, le=1, description="share of the training over which beta rises linearly from 0"
    )
    schedule: Literal["staircase", "cosine"] = stated(
        "section 4", "staircase", "learning rate in both stages: x 0.8 every 20 epochs, or a cosine with warm-up"
    )
    dynamics_horizon: int | None = Field(
        default=None, ge=1, description="future steps of stage 1; none: all steps of the training clips"
    )
    dynamics_recipe: Recipe = stated(
        "section 4: batch size, learning rate, frames of a clip",
        Recipe(epochs=100, batch_size=6, learning_rate=1e-3, clip=1.0, clip_frames=10),
        "recipe of stage 1",
    )

    # The rendering.
    occlusion: Literal["both", "occupancy", "semantic", "none"] = stated(
        "section 3.2", "both", "criteria of dis-occlusion"
    )
    consistency: Literal["warped", "nearest", "literal"] = Field(
        default="warped",
        description="compare a predicted label with all labels that a warp reads at its source (figure 4), with the "
        "nearest of them, or with the label at the same pixel",
    )
    out_of_image: bool = Field(default=True, description="pixels from outside the image are dis-occluded")
    occupancy_tau: float = Field(
        default=0.75, ge=0, description="pixels by which the flows of two claimants of a pixel must differ", le=64
    )
    composite: bool = Field(default=False, description="keep the warped pixels outside the hole")
    rollout: Literal["iterative", "iterative_no_inpaint", "compose"] = Field(
        default="iterative",
        description="warp the last inpainted frame, the last warped frame, or the last real frame along summed flow",
    )
    emit: Literal["inpainted", "warped"] = Field(default="inpainted", description="frames to predict")
    semantic_conditioning: bool = stated(
        "section 3.3", True, "the inpainter and the discriminators read the predicted labels"
    )
    inpainter_widths: tuple[Width, ...] = Field(
        default=(72, 144, 288, 576), min_length=1, description="channels of the encoder's levels, each of stride 2"
    )
    inpainter_kernels: tuple[Width, ...] = Field(
        default=(7, 5, 3, 3), min_length=1, description="sides of their partial convolutions, odd"
    )

    hole_filling: Literal["grey", "push_pull"] = Field(
        default="grey",
        description="value of the hole that the inpainter adds to: grey, or visible pixels nearby (push-pull pyramid)",
    )

    # Losses of the rendering.
    perceptual: Literal["pixel", "vgg19", "lpips", "none"] = Field(
        default="vgg19",
        description="L_per: VGG-19 features, LPIPS, or differences of pixels and gradients, which need no weights",
    )
    perceptual_weight: float = stated("section 6.1", 2.0, "lambda", ge=0)
    frame_weight: float = stated("section 6.1", 2.0, "gamma, the weight of the frame discriminator", ge=0)
    video_weight: float = stated("section 6.1", 1.0, "eta, the weight of the video discriminator", ge=0)
    adversarial_warm_up: float = Field(
        default=0.0, ge=0, le=1, description="share of the training over which gamma and eta rise linearly from 0"
    )
    discriminator_widths: tuple[Width, ...] = Field(
        default=(64, 128, 256, 512), min_length=2, description="channels of both discriminators"
    )
    rendering_recipe: Recipe = stated(
        "section 4: batch size, learning rate, frames of a clip",
        Recipe(epochs=50, batch_size=6, learning_rate=1e-3, clip_frames=10),
        "recipe of stage 2",
    )

    @field_validator("swap_classes", mode="before")
    @classmethod
    def _two_names(cls, value: Any) -> Any:
        """Parse ``car,road``."""
        if not isinstance(value, str):
            return value
        names = tuple(name.strip() for name in value.split(","))
        if len(names) != 2:
            raise ValueError(f"must be two names with a comma, such as car,road, not {value!r}")
        return names

    @model_validator(mode="after")
    def _fit(self) -> Options:
        if self.space != "context" and self.space not in LABEL_SPACES:
            raise ValueError(f"space: {self.space!r} is unknown; choose context, {', '.join(LABEL_SPACES)}")
        if self.space != "context" and len(LABEL_SPACES[self.space]) != self.classes:
            raise ValueError(f"classes: {self.space!r} has {len(LABEL_SPACES[self.space])} classes, not {self.classes}")
        if len(self.inpainter_widths) != len(self.inpainter_kernels):
            raise ValueError("inpainter_kernels: must have as many values as inpainter_widths")
        if self.swap_classes and self.swap_classes[0] == self.swap_classes[1]:
            raise ValueError(f"swap_classes: must be two classes, not {self.swap_classes[0]!r} twice")
        perceptual = self.perceptual_weight if self.perceptual != "none" else 0.0
        if self.composite and not perceptual + self.frame_weight + self.video_weight:
            raise ValueError("composite: needs a perceptual loss or a discriminator, or nothing trains the inpainter")
        if not all(side % 2 for side in self.inpainter_kernels):
            raise ValueError("inpainter_kernels: must be odd")
        return self


TRAINING_ONLY: Final = (
    "swap_classes",
    "dynamics_size",
    "recompute",
    "boundary_weight",
    "boundary_sigma",
    "boundary_norm",
    "kl_weight",
    "kl_warm_up",
    "schedule",
    "dynamics_horizon",
    "dynamics_recipe",
    "occlusion",
    "consistency",
    "out_of_image",
    "occupancy_tau",
    "composite",
    "rollout",
    "emit",
    "perceptual",
    "perceptual_weight",
    "frame_weight",
    "video_weight",
    "adversarial_warm_up",
    "discriminator_widths",
    "rendering_recipe",
)
"""Options that may differ from those used in training: they affect losses, schedule, rendering or size, not weights."""

_TINY: Final[Mapping[str, Any]] = {
    "space": "context",
    "classes": 19,
    "hidden": 8,
    "embed": (6, 8),
    "context_width": 16,
    "head": (8, 6),
    "fusion": 24,
    "latent_stride": 2,
    "flow_residual": "nearest_segment",
    "mask_residual": "carried",
    "boundary_sigma": 1.0,
    "boundary_norm": "peak",
    "recompute": False,
    "schedule": "cosine",
    "dynamics_horizon": 4,
    "dynamics_recipe": {"steps": 300, "batch_size": 4, "learning_rate": 1e-2, "clip": 1.0},
    "rollout": "compose",
    "composite": True,  # inpainting visible pixels costs LPIPS
    "inpainter_widths": (16, 32, 48, 64),
    "inpainter_kernels": (5, 3, 3, 3),
    "hole_filling": "push_pull",
    "perceptual": "pixel",
    # In some hundred steps, discriminators stay at chance and double the time of a step.
    "frame_weight": 0.0,
    "video_weight": 0.0,
    "rendering_recipe": {"steps": 300, "batch_size": 4, "learning_rate": 2e-3},
}

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "paper": {},
    "c20": {"space": "cityscapes20", "classes": 20},
    "single-class": {"single_hidden": 444},
    "stochastic": {"mode": "stochastic"},
    "without-semantic-conditioning": {"semantic_conditioning": False},
    "occupancy-only": {"occlusion": "occupancy"},
    "consistency-only": {"occlusion": "semantic"},
    "emit-warped": {"emit": "warped"},
    "tiny": _TINY,
    "tiny-single-class": {**_TINY, "single_hidden": 38},
    "scenes": {"weights": str(Path(__file__).with_name("weights") / "sadm-scenes.safetensors")},
}
"""The paper's model and its variants by name; the two ``tiny`` ones train on a CPU."""
