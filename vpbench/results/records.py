"""The records of a result and of a training, as they stand in their JSON files.

Writers build these records, and ``reading`` returns them. Unknown fields are kept, except in an identity and a summary.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from vpbench.files import canonical
from vpbench.plugin.metric import Better
from vpbench.plugin.training import Recipe
from vpbench.protocol.protocol import MAX_SAMPLES, Frame, Protocol, Seed
from vpbench.protocol.units import ManifestEntry
from vpbench.select.weights_record import WeightsUse
from vpbench.validation import MetricName, Name, Preset, Record, Text

SCHEMA = 3
"""The schema of ``run.json``, ``summary.json`` and ``attempts/*.json``."""

Digest = Annotated[str, Field(max_length=64, pattern=r"^\w*$")]
UnitNumber = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
Texts: TypeAlias = Annotated[tuple[Text, ...], Field(strict=False)]


class HashedRecord(Record):
    """A record that its hash names."""

    @property
    def hash(self) -> str:
        """sha256 of the canonical JSON."""
        return hashlib.sha256(canonical(self.to_json()).encode()).hexdigest()


class Identity(HashedRecord, extra="forbid"):
    """Every value that decides a number of a result. Equal identities promise equal numbers.

    Device, batch size, workers, shards, host, time and data root are not part of it: they must not matter.
    """

    protocol: Digest
    """sha256 of the protocol."""
    manifest: Digest
    """sha256 of the list of clips, their scored steps, and the recording that each was cut from."""
    data: Digest
    """Digest of four clips, spread evenly: other pixels under the same names are another result."""
    predictor: Name
    """Name of the predictor."""
    options: dict[Text, Any]
    """Every option of the predictor."""
    fingerprint: Text
    """sha256 of the predictor's values (weights, attributes), its code, and the globals that the code names."""
    annotators: dict[Name, Text]
    """By modality, the annotator (name, options, fingerprint) whose maps the predictor reads."""
    metrics: dict[MetricName, Frame]
    """Revision of each metric that is measured."""
    metric_code: dict[MetricName, Text]
    """Fingerprint of each metric."""
    seed: Seed
    """Seed of all noise."""
    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)]
    """Samples per clip of a stochastic predictor."""
    partial: Text
    """Why the clips are not the whole test set; "" if they are. Decides no number, but what may be ranked."""
    unproven: Digest
    """A random word if something cannot be fingerprinted, so that the result is never reused; else ""."""


class MetricRecord(Record):
    """A metric as it was measured."""

    revision: Frame
    """Revision of the definition: scores of two revisions are not comparable."""
    better: Better
    """``higher``, ``lower``, or the value that scores should be close to."""
    unit: Text
    """Unit, such as dB; "" if there is none."""
    decimals: Annotated[int, Field(ge=0, le=15)]
    """Decimals on pages."""
    kind: Literal["frame", "samples", "set"] = "frame"
    """``frame``: a row per sample and step. ``samples``: a row per step, of all samples of a clip. ``set``: a row of
    features per sample, and one score of all clips."""
    released: bool
    """Whether the revision vouches for the code, because the plugin is released."""


class RunRecord(Record):
    """``run.json``: what a result is a result of. Written first, and never changed."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    """Version of this format."""
    identity: Identity
    """Every value that decides a number."""
    identity_hash: Digest
    """sha256 of the identity."""
    predictor: Name
    """Name of the predictor."""
    preset: Preset
    """Name of its preset; "" for none."""
    sees_truth: bool
    """Whether the predictor is an oracle, which is never ranked."""
    stochastic: bool
    """Whether the predictor draws samples."""
    paper: Text
    """Address of the predictor's paper; "" if unknown."""
    parameters: Annotated[int, Field(ge=0)] = 0
    """Parameters that the prediction uses; 0 if there are none, or none can be counted."""
    weights: WeightsUse | None
    """Which weights were used, and whether they were trained on these clips; null for a predictor that never learns."""
    protocol: Protocol
    """The whole protocol."""
    cumulative: bool
    """Whether a mean over steps 1 to k is defined."""
    partial: Text
    """Why the clips are not the whole test set; "" if they are."""
    dropped: Texts
    """Sequences that are too short for the protocol."""
    metrics: dict[MetricName, MetricRecord]
    """The metrics that were measured."""
    skipped: dict[MetricName, Text]
    """Why other metrics cannot apply."""
    classes: Texts
    """Names of the true labels, by id."""
    manifest: Annotated[tuple[ManifestEntry, ...], Field(min_length=1, strict=False)]
    """Each clip with its scored steps and its recording, in order."""

    @property
    def label(self) -> str:
        """The predictor's name with its preset."""
        return label(self.predictor, self.preset)

    @property
    def recordings(self) -> dict[str, str]:
        """The recording that each clip was cut from."""
        return {entry.clip: entry.recording for entry in self.manifest}

    def __repr__(self) -> str:
        return f"RunRecord({self.label} on {self.protocol.name}, {len(self.manifest)} clips)"


class AttemptRecord(Record):
    """``attempts/*.json``: one process that worked on a result, and the units that it published."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    """Version of this format."""
    run: Digest
    """sha256 of the ``run.json`` that the process worked with."""
    units: dict[UnitNumber, Digest] = Field(default={})
    """sha256 of each unit that it published, by number."""
    stamps: dict[UnitNumber, Text] = Field(default={})
    """Stamp of the data files of each unit that it published or checked."""
    engine: Text
    """The libraries that computed the metrics."""
    device: Text
    """``cpu``, or the name of the GPU."""
    shard: Annotated[tuple[Frame, Frame], Field(strict=False)] = (0, 1)
    """I and N: the process computed every N-th unit, from unit I on."""
    host: Text = ""
    """Name of the machine."""
    pid: int = 0
    """Number of the process."""
    platform: Text = ""
    """Operating system."""
    cpu: Text = ""
    """Model of the CPU."""
    python: Text = ""
    """Version of Python."""
    versions: dict[Text, Text] = Field(default={})
    """Versions of the libraries that decide numbers."""
    git: Text = ""
    """Commit of the checkout that vpbench was imported from."""
    command: Texts = ()
    """The command line."""
    seconds: dict[Text, float] = Field(default={})
    """Seconds per kind of work; empty until the process ends."""
    predicted_frames: Annotated[int, Field(ge=0)] = 0
    """Frames predicted in the seconds of ``predict``, over all clips and samples; 0 until the process ends."""
    peak_memory_bytes: int = 0
    """Peak resident memory; 0 until the process ends."""


def _recipe(value: object) -> object:
    try:
        return Recipe(**value) if isinstance(value, dict) else value
    except TypeError as error:
        raise ValueError(str(error)) from error


class ValidationRecord(Record):
    """Validation data of a training."""

    manifest: Digest
    """sha256 of the list of clips."""
    metrics: Annotated[tuple[MetricName, ...], Field(strict=False)]
    """Metrics that are measured."""


class TrainingRecord(HashedRecord):
    """``training.json``: every value that decides the weights of a training. Its hash names the folder."""

    schema_version: int = Field(default=1, alias="schema")
    """Version of this format."""
    protocol: Digest
    """sha256 of the protocol."""
    training: dict[Text, Any]
    """The protocol's ``[training]`` table."""
    clips: Digest
    """sha256 of the training clips."""
    validation: ValidationRecord
    """Clips and metrics of the validation."""
    predictor: Name
    """Name of the predictor."""
    options: dict[Text, Any]
    """Every option of the predictor."""
    start: Text
    """Hash of the weights that the training starts from."""
    code: Text
    """Fingerprint of the predictor."""
    annotators: dict[Name, Text]
    """Annotators by modality."""
    stages: Annotated[tuple[Annotated[Recipe, BeforeValidator(_recipe)], ...], Field(strict=False)]
    """The recipe of each stage."""
    world: Annotated[int, Field(ge=1)]
    """Number of processes."""
    seed: Seed
    """Seed of all noise."""
    keep: Text
    """Metric that chooses the weights, or ``last``."""

    def same_weights(self, training: TrainingRecord) -> bool:
        """Return whether two trainings differ at most in devices, in code, and in how they validate."""
        free = {"world", "validation", "keep", "code"}
        return self.model_dump(exclude=free) == training.model_dump(exclude=free)


def label(predictor: str, preset: str) -> str:
    """Return ``predictor`` or ``predictor-preset``: the name of a result's folder and of a leaderboard's row."""
    return f"{predictor}-{preset}" if preset else predictor
