"""The records of weights: the metadata of a file, and what a run says of the weights that it used."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from pydantic import Field

from vpbench.files import canonical
from vpbench.protocol.protocol import Frame
from vpbench.validation import Record, Text

SCHEMA = 1
"""The schema of the metadata."""

_OptionName = Annotated[str, Field(pattern=r"^\w[\w.+=@-]*$", max_length=100)]
_SequenceKey = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
_Scores = Annotated[tuple[float | None, ...], Field(strict=False)]


class TrainingUse(Record):
    """The training that made the weights of a run."""

    configuration: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """sha256 of the settings of the training, without its seed: trainings with equal ones differ by chance alone."""
    seed: int
    """Seed of the training."""
    steps: Frame
    """Optimiser steps, over all stages."""


class WeightsUse(Record):
    """The weights of a run, and whether they were trained on its clips."""

    sha256: Text = ""
    """sha256 of the file of weights; "" if there is none."""
    protocol: Text = ""
    """Name of the protocol that they were trained on; "" if unknown."""
    clips: Literal["unknown", "disjoint", "overlap", "none"]
    """Whether training saw clips of this run; ``none``: the predictor was never trained."""
    seen: Frame
    """How many of this run's sequences the training saw."""
    training: TrainingUse | None = None
    """The training that made them; null if vpbench did not train them, or before it recorded this."""


class EpochRecord(Record):
    """One validation of a training."""

    epoch: Frame
    """From 0."""
    batches: Frame
    """Batches that the stage had trained on."""
    scores: dict[Text, _Scores]
    """By metric, the score of each step; null where it is undefined."""


class KeptRecord(Record):
    """The weights that a stage kept."""

    by: Text
    """Metric that chose them, or ``last``."""
    epoch: Frame
    """Their epoch, from 1."""
    scores: dict[Text, _Scores]
    """Their validation scores."""


class StageRecord(Record):
    """One stage of a training."""

    name: Text
    """Name of its class."""
    recipe: dict[Text, Any]
    """How it was trained."""
    steps: Frame
    """Optimiser steps."""
    kept: KeptRecord
    """The weights that it kept."""
    history: Annotated[tuple[EpochRecord, ...], Field(strict=False)] = ()
    """Every validation; only in the weights file of the stage itself."""


class TrainedProtocol(Record):
    """The protocol that weights were trained on: the whole protocol, of which the name is needed."""

    name: _OptionName = ""


class TrainedClips(Record):
    """The clips that weights were trained on."""

    hash: Text = ""
    """sha256 of the list of clips."""
    per_epoch: Frame = 0
    """Clips per epoch."""
    sequences: Annotated[tuple[_SequenceKey, ...], Field(strict=False)] | None = None
    """Keys of all sequences that training and validation saw, of these weights and those they started from; null if
    unknown."""


class WeightsRecord(Record):
    """The metadata ``vpbench`` of a weights file: what was trained, how, and on which sequences."""

    schema_version: int = Field(default=SCHEMA, alias="schema", ge=1)
    """Version of this format."""
    predictor: _OptionName
    """Name of the predictor."""
    preset: Annotated[str, Field(pattern=r"^(\w[\w.+=@-]*)?$", max_length=100)] = ""
    """Name of its preset; "" for none."""
    options: dict[_OptionName, Any] = Field(default={})
    """Every option of the predictor."""
    protocol: TrainedProtocol | None = None
    """The whole protocol that the weights were trained on."""
    protocol_hash: Text = ""
    """sha256 of the protocol."""
    clips: TrainedClips = TrainedClips()
    """The clips that the weights were trained on."""
    annotators: dict[Text, Text] = Field(default={})
    """Annotators by modality."""
    stages: Annotated[tuple[StageRecord, ...], Field(strict=False)] = ()
    """The stages of the training."""
    seed: int = 0
    """Seed of all noise."""
    world: int = 1
    """Number of processes."""
    compiled: bool = False
    """Whether torch compiled the training step."""
    started_from: Text | None = None
    """sha256 of the weights that the training started from; null for a fresh start."""
    versions: dict[Text, Text] = Field(default={})
    """Versions of the libraries that decide numbers."""
    git: Text = ""
    """Commit of the checkout that vpbench was imported from."""

    def training_use(self) -> TrainingUse:
        """Return the training's settings, as a hash, its seed and its length."""
        fields = self.model_dump(mode="json", include={"predictor", "options", "protocol_hash", "annotators"})
        stages = [[stage.name, stage.recipe, stage.steps, stage.kept.by] for stage in self.stages]
        settings = [fields, self.clips.hash, self.clips.per_epoch, stages, self.started_from]
        return TrainingUse(
            configuration=hashlib.sha256(canonical(settings).encode()).hexdigest(),
            seed=self.seed,
            steps=sum(stage.steps for stage in self.stages),
        )
