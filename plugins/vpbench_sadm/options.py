"""SADM's options: what the paper states, what it leaves open, and what makes it small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vpbench.plugin.training import Recipe
from vpbench.toolkit.labels import LABEL_SPACES

__all__ = ["PRESETS", "TRAINING_ONLY", "Options"]

Width = Annotated[int, Field(ge=1)]


def _stated(where: str, value: Any, description: str, **bounds: Any) -> Any:
    """Return a field whose default the paper states; ``where`` is kept in the JSON schema as ``paper``."""
    return Field(
        default=value, description=f"{description} (paper: {where})", json_schema_extra={"paper": where}, **bounds
    )


class Options(BaseModel):
    """The dynamics, the rendering, their losses, and how both train. The defaults are the preset ``paper``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The classes.
    space: str = _stated(
        "section 6.2", "cityscapes9", "label space that the context's labels are mapped into; context: their own"
    )
    classes: int = _stated("section 6.2", 9, "C, the classes of that space", ge=2, le=255)
    swap_classes: tuple[str, str] | None = Field(
        default=None, description="two classes that change places in what the dynamics reads (figure 6), as car,road"
    )

    # The dynamics: widths are of one class.
    hidden: int = Field(default=64, ge=1, description="channels of the recurrent units")
    embed: tuple[Width, Width] = Field(default=(32, 64), description="channels of the two layers before the encoder")
    context_width: int = Field(default=296, ge=1, description="hidden channels of the MLP over all classes")
    head: tuple[Width, Width] = Field(default=(64, 32), description="hidden channels of the mask and of the flow head")
    fusion: int = Field(default=64, ge=1, description="hidden channels of the fusion network, in all")
    latent_stride: Literal[2, 4] = Field(default=4, description="pixels per latent pixel")
    flow_residual: Literal["none", "class_mean", "class_flow"] = Field(
        default="none",
        description="what the decoded flow of a class is added to: nothing; its mean last flow; its last flow where it "
        "was, and the mean elsewhere",
    )
    mask_residual: Literal["none", "carried"] = Field(
        default="none",
        description="what the decoded masks, and again the fused ones, are added to: nothing; the last masks, each "
        "carried along its class's flow",
    )
    flow_scale: float | None = Field(
        default=None, gt=0, description="pixels of flow that are 1 to the network; none: the training flow's deviation"
    )
    first_pair: Literal["drop", "zero_flow"] = Field(
        default="drop", description="the first frame has no flow: its labels are not read, or read with a flow of zero"
    )
    single_hidden: int | None = Field(
        default=None,
        ge=2,
        description="one recurrent unit of that many channels for all classes together (figure 7, table 6: 444), the "
        "other widths in proportion; none: a unit for each class",
    )
    mode: Literal["deterministic", "stochastic"] = Field(
        default="deterministic", description="stochastic: the future is decoded with noise, equations 8 to 10"
    )
    noise_into: Literal["context", "both"] = Field(
        default="context", description="noise is added to what the MLP reads, or to the decoder's first state too"
    )

    # Losses of the dynamics.
    boundary_weight: float = _stated("equation 7", 5.0, "alpha: extra weight of pixels near class boundaries", ge=0)
    boundary_sigma: float = _stated("equation 7", 3.0, "deviation of the boundaries' Gaussian, in pixels", gt=0)
    boundary_norm: Literal["sum", "peak"] = Field(
        default="sum", description="whether the Gaussian sums to 1, or a straight boundary gets a weight of 1 + alpha"
    )
    kl_weight: float = _stated("equation 10", 0.1, "beta, of the divergence from the prior", ge=0)
    kl_warm_up: float = Field(
        default=0.2, ge=0, le=1, description="part of the training over which that weight rises linearly from 0"
    )
    schedule: Literal["staircase", "cosine"] = _stated(
        "section 4", "staircase", "course of the learning rate in both stages: x 0.8 every 20 epochs; else up and down"
    )
    dynamics_horizon: int | None = Field(
        default=None, ge=1, description="future steps that the first stage trains on; none: all of the protocol's"
    )
    dynamics_recipe: Recipe = _stated(
        "section 4: batch size, learning rate",
        Recipe(epochs=100, batch_size=6, learning_rate=1e-3, clip=1.0),
        "how the first stage is trained",
    )

    # The rendering.
    occlusion: Literal["both", "occupancy", "semantic", "none"] = _stated(
        "section 3.2", "both", "what tells that a pixel is newly visible"
    )
    consistency: Literal["warped", "nearest", "literal"] = Field(
        default="warped",
        description="a predicted label is compared with all that a warp reads where the flow leads (figure 4), with "
        "the nearest of them, or with the one at the same pixel",
    )
    out_of_image: bool = Field(default=True, description="what the flow draws from outside the image is newly visible")
    occupancy_tau: float = Field(
        default=0.75, ge=0, description="pixels by which the flows of two claimants of a pixel must differ", le=64
    )
    composite: bool = Field(default=False, description="keep the warped pixels outside the dis-occlusion as they are")
    rollout: Literal["iterative", "iterative_no_inpaint", "compose"] = Field(
        default="iterative",
        description="what is warped: the last inpainted frame, the last warped one, or the context along summed flow",
    )
    emit: Literal["inpainted", "warped"] = Field(default="inpainted", description="which frames are the prediction")
    semantic_conditioning: bool = _stated(
        "section 3.3", True, "the inpainter and the discriminators see the predicted labels"
    )
    inpainter_widths: tuple[Width, ...] = Field(
        default=(72, 144, 288, 576), min_length=1, description="channels of the encoder's levels, each of stride 2"
    )
    inpainter_kernels: tuple[Width, ...] = Field(
        default=(7, 5, 3, 3), min_length=1, description="their partial convolutions' sides, odd"
    )

    # Losses of the rendering.
    perceptual: Literal["pixel", "vgg19", "lpips", "none"] = Field(
        default="vgg19",
        description="L_per: features of VGG-19, LPIPS, or, without weights, differences of pixels and gradients at "
        "several scales",
    )
    perceptual_weight: float = _stated("section 6.1", 2.0, "lambda", ge=0)
    frame_weight: float = _stated("section 6.1", 2.0, "gamma, of the frame discriminator's loss", ge=0)
    video_weight: float = _stated("section 6.1", 1.0, "eta, of the video discriminator's loss", ge=0)
    adversarial_warm_up: float = Field(
        default=0.0, ge=0, le=1, description="part of the training over which these two weights rise linearly from 0"
    )
    discriminator_widths: tuple[Width, ...] = Field(
        default=(64, 128, 256, 512), min_length=2, description="channels of both; all layers but the last have stride 2"
    )
    rendering_recipe: Recipe = _stated(
        "section 4: batch size, learning rate",
        Recipe(epochs=50, batch_size=6, learning_rate=1e-3),
        "how the second stage is trained",
    )

    @field_validator("swap_classes", mode="before")
    @classmethod
    def _two_names(cls, value: Any) -> Any:
        """Read ``car,road``."""
        if not isinstance(value, str):
            return value
        names = tuple(name.strip() for name in value.split(","))
        if len(names) != 2:
            raise ValueError(f"two names with a comma, such as car,road, and not {value!r}")
        return names

    @model_validator(mode="after")
    def _fit(self) -> Options:
        if self.space != "context" and self.space not in LABEL_SPACES:
            raise ValueError(f"space: {self.space!r} is not known; known: context, {', '.join(LABEL_SPACES)}")
        if self.space != "context" and len(LABEL_SPACES[self.space]) != self.classes:
            raise ValueError(f"classes: {self.space!r} has {len(LABEL_SPACES[self.space])} classes, not {self.classes}")
        if len(self.inpainter_widths) != len(self.inpainter_kernels):
            raise ValueError("inpainter_kernels: there must be as many as inpainter_widths")
        if self.swap_classes and self.swap_classes[0] == self.swap_classes[1]:
            raise ValueError(f"swap_classes: two classes, not {self.swap_classes[0]!r} twice")
        perceptual = self.perceptual_weight if self.perceptual != "none" else 0.0
        if self.composite and not perceptual + self.frame_weight + self.video_weight:
            raise ValueError("composite: without a perceptual loss or a discriminator nothing teaches the inpainter")
        if not all(side % 2 for side in self.inpainter_kernels):
            raise ValueError("inpainter_kernels: must be odd")
        return self


TRAINING_ONLY: Final = (
    "swap_classes",
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
"""What may differ from what the weights were trained with: how they were trained, and what has no weights."""

_TINY: Final[Mapping[str, Any]] = {
    "space": "context",
    "classes": 19,
    "hidden": 8,
    "embed": (6, 8),
    "context_width": 16,
    "head": (8, 6),
    "fusion": 24,
    "latent_stride": 2,
    "flow_residual": "class_flow",
    "mask_residual": "carried",
    "boundary_sigma": 1.0,
    "boundary_norm": "peak",
    "schedule": "cosine",
    "dynamics_horizon": 4,
    "dynamics_recipe": {"steps": 300, "batch_size": 4, "learning_rate": 1e-2, "clip": 1.0},
    "rollout": "compose",
    # What occupancy adds is better repainted in MSE, and worse in LPIPS.
    "occlusion": "semantic",
    "composite": True,  # repainting what was visible costs more LPIPS than it gains
    "inpainter_widths": (16, 32, 48, 64),
    "inpainter_kernels": (5, 3, 3, 3),
    "perceptual": "pixel",
    # In some hundred steps discriminators stay at chance, and cost as much as the rest.
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
}
"""Each differs from the paper's model by what it says; the two small ones train on a CPU."""
