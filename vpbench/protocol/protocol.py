"""The protocol: data, not code. A validated TOML value with a name, a version and a hash that every result carries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vpbench.errors import UsageError
from vpbench.files import read_toml
from vpbench.validation import Strict, parse_document

MAX_STEPS = 10_000
"""The most frames of a context and steps of a horizon."""
MAX_SAMPLES = 10_000
"""The most samples of a clip."""
_FRAMES = 10**9
_SIDE = 2**14
_SEED = 2**63 - 1

Length = Annotated[int, Field(ge=1, le=MAX_STEPS)]
"""A number of frames, or of a step."""
Frame = Annotated[int, Field(ge=0, le=_FRAMES)]
Count = Annotated[int, Field(ge=1, le=_FRAMES)]
Seed = Annotated[int, Field(ge=0, le=_SEED)]
"""The largest seed that torch accepts."""
ProtocolName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=100)]
"""Names folders and pages."""


class _Window(Strict):
    context: Length
    """T, the frames a predictor sees."""
    horizon: Length
    """K, the steps it predicts."""
    frame_step: Count = 1
    """Raw frames from one sampled frame to the next."""
    short: Literal["drop", "error"] = "error"
    """Treatment of a sequence that holds no window: dropped and counted, or an error."""


class First(_Window):
    """One window per sequence, at raw frame ``start`` (counted from the sequence's first)."""

    kind: Literal["first"]
    start: Frame = 0


class Sliding(_Window):
    """Every window that begins at ``start``, ``start + stride``, ...; windows with a missing frame are left out."""

    kind: Literal["sliding"]
    start: Frame | Literal["centred", "from-end"] = 0
    """A raw frame counted from the sequence's first. ``"from-end"``: the last window ends with the sequence.
    ``"centred"``: the frames that fill no stride are left out at both ends, the odd one at the end."""
    stride: Count
    pad: Literal["replicate"] | None = None
    """``"replicate"``: windows may begin before the sequence, as long as one frame of their context exists. Copies of
    the first existing frame fill the gap. ``start`` counts from the earliest such window."""


class Random(_Window):
    """``count`` windows per sequence, drawn without replacement from all, by ``seed`` and the sequence's name."""

    kind: Literal["random"]
    count: Count
    seed: Seed


class Anchored(Strict):
    """One window per (sequence, step). The target frame is fixed, the context moves, and only the target is scored.

    A mean over steps 1 to k is undefined.
    """

    kind: Literal["anchored"]
    context: Length
    target: Count
    """The scored raw frame, counted from the sequence's first."""
    steps: tuple[Length, ...] = Field(min_length=1, max_length=MAX_STEPS, strict=False)
    frame_step: Count = 1
    short: Literal["drop", "error"] = "error"

    @model_validator(mode="after")
    def _once(self) -> Anchored:
        if len(set(self.steps)) < len(self.steps):
            raise ValueError("steps: the same step stands there twice")
        return self

    @property
    def horizon(self) -> int:
        """The longest horizon of any window."""
        return max(self.steps)


Sampling = Annotated[First | Sliding | Random | Anchored, Field(discriminator="kind")]
Side = Annotated[int, Field(ge=1, le=_SIDE)]
Size = Annotated[tuple[Side, Side], Field(strict=False)]


class Resize(Strict):
    """Resize in uint8 to ``size`` (height, width), or to ``height`` at the same aspect ratio.

    Labels take the nearest pixel. Flow is resized bilinearly in float32, and its vectors are scaled.
    """

    op: Literal["resize"]
    size: Size | None = None
    height: Side | None = None
    filter: Literal["cv2-linear", "cv2-area", "cv2-cubic", "pil-bilinear", "pil-bicubic", "pil-lanczos"] = "cv2-linear"

    @model_validator(mode="after")
    def _size_or_height(self) -> Resize:
        if (self.size is None) == (self.height is None):
            raise ValueError("resize takes either size or height")
        return self

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (H, W) of a resized frame of ``height`` x ``width``."""
        if self.size is not None:
            return self.size
        assert self.height is not None
        return self.height, max(round(self.height / height * width), 1)


class CentreCrop(Strict):
    """Crop the centre: to ``size`` (height, width), to ``fraction`` of each side, or to the largest ``square``."""

    op: Literal["centre-crop"]
    size: Size | None = None
    fraction: float | None = Field(default=None, gt=0, le=1)
    square: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_size(self) -> CentreCrop:
        if [self.size, self.fraction, self.square].count(None) != 2:
            raise ValueError("centre-crop takes one of size, fraction and square")
        return self

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (H, W) of the crop of a frame of ``height`` x ``width``."""
        if self.size is not None:
            return self.size
        if self.fraction is not None:
            return round(height * self.fraction), round(width * self.fraction)
        return min(height, width), min(height, width)


PixelOp = Annotated[Resize | CentreCrop, Field(discriminator="op")]


class DatasetChoice(Strict):
    """Which dataset, with which of its options, and which of its splits is scored."""

    name: str
    split: str = "test"
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _can_be_hashed(self) -> DatasetChoice:
        json.dumps(self.options, allow_nan=False, default=str)
        return self


class Training(Strict):
    """Data of training and validation, never the scored split. Not hashed: it decides no score of a given model."""

    split: str = "train"
    validation: str = ""
    """Empty: ``val`` where the dataset has it and it is not the scored one, else a held-out part of ``split``."""
    held_out: float = Field(default=0.05, gt=0, lt=1)
    """The part of the training sequences, chosen by a hash of their names, that is validated on where there is no
    split for it. They are not trained on."""
    clips: Count | None = None
    """Clips of an epoch; by default as many as the training sequences hold side by side."""
    validation_clips: Count = 64
    """At most so many clips are validated on, spread evenly over all."""


class Protocol(Strict):
    """Everything that must be equal for two numbers to be comparable.

    ``hash`` covers what decides the numbers; prose, default metrics and display are left out of it.
    """

    schema_: Literal[1] = Field(alias="schema")
    name: ProtocolName
    version: Count
    dataset: DatasetChoice
    sampling: Sampling
    pixels: tuple[PixelOp, ...] = Field(default=(), strict=False)
    """Applied in order, in uint8, to every frame of the clip; empty: as decoded."""
    label_size: Size | None = None
    """(height, width) of the true labels, and of the predicted ones when they are measured, where it is not that of
    ``pixels``. For datasets that label the target frame only."""
    quantise: bool = False
    """Round predictions to 8 bits before measuring."""
    clips: Count | None = None
    """How many clips the complete data give; another count is an error, or a partial result."""

    summary: str = ""
    source: str = ""
    notes: tuple[str, ...] = Field(default=(), strict=False)
    """Points that the source leaves open, and the choices made."""
    metrics: tuple[str, ...] = Field(default=(), strict=False)
    """Measured by default; empty: every metric registered as a default."""
    report: tuple[Length, ...] = Field(default=(), max_length=MAX_STEPS, strict=False)
    """Steps shown on pages; empty: all."""
    reference: str = ""
    """The predictor that skill is relative to."""
    display: dict[str, float] = Field(default_factory=dict)
    """Factor per metric that turns the stored natural value into the one a paper prints."""
    annotate: dict[str, str] = Field(default_factory=dict)
    """Annotators (modality to name) for what the dataset lacks and a predictor requires."""
    training: Training = Field(default_factory=Training)
    """Data that ``vpbench train`` trains and validates on."""

    @model_validator(mode="after")
    def _labels_of_whole_frames(self) -> Protocol:
        if self.label_size is not None and any(isinstance(op, CentreCrop) for op in self.pixels):
            raise ValueError("label_size: the labels are of whole frames, so pixels must not crop")
        return self

    @model_validator(mode="after")
    def _steps_exist(self) -> Protocol:
        scored_steps = self.steps
        if wrong := [k for k in self.report if k not in scored_steps]:
            raise ValueError(f"report: step {wrong[0]} is not among the scored steps {list(scored_steps)}")
        return self

    @property
    def steps(self) -> tuple[int, ...]:
        """The scored steps, ascending (1 = t+1)."""
        if isinstance(self.sampling, Anchored):
            return tuple(sorted(self.sampling.steps))
        return tuple(range(1, self.sampling.horizon + 1))

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) of every frame where the pixel operations fix it, else None."""
        size = None
        for op in self.pixels:
            size = op.size if size is None else op.output_size(*size)
        return size

    def operations(self, modality: str) -> tuple[Resize | CentreCrop, ...]:
        """Return the pixel operations of a modality: ``pixels``, but for labels where they have a size of their own."""
        if modality == "semantics" and self.label_size is not None:
            return (Resize(op="resize", size=self.label_size),)
        return self.pixels

    @property
    def hash(self) -> str:
        """sha256 of the canonical JSON of what decides the numbers."""
        prose = {"summary", "source", "notes", "metrics", "report", "reference", "display", "training"}
        value = self.model_dump(mode="json", by_alias=True, exclude=prose)
        later_fields = [(value["sampling"], "pad"), (value, "label_size")]
        later_fields += [(op, name) for op in value["pixels"] for name in ("height", "square")]
        for table, name in later_fields:
            if table.get(name) is None:  # came after the first hashes: counts only where it is used
                table.pop(name, None)
        return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @classmethod
    def parse(cls, value: Mapping[str, Any], source: str) -> Protocol:
        """Validate a value as read from TOML.

        Raises:
            UsageError: it is not a valid protocol; names the field.
        """
        return parse_document(cls, value, source, UsageError)

    @classmethod
    def read(cls, path: Path | Any) -> Protocol:
        """Read a TOML file (a path, or a file inside a package).

        Raises:
            UsageError: it cannot be read, is not TOML or not a protocol.
        """
        return cls.parse(read_toml(path, "protocol file"), f"protocol file {path}")
