"""The cost of predicting, as a result of its own: ``costs/<identity>.json`` next to the results of the predictor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from vpbench.errors import ResultError
from vpbench.files import write_atomic
from vpbench.names import below
from vpbench.protocol.protocol import Length, Size
from vpbench.results.reading import read_json
from vpbench.results.records import Digest, HashedRecord, RunRecord, Texts, label
from vpbench.validation import Name, Preset, Record, Text, validation_errors

SCHEMA = 1
FOLDER = "costs"
Seconds = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(ge=0)]


class CostShape(Record):
    """The clips of a protocol, by their shape."""

    context: Length
    """Context frames."""
    horizon: Length
    """Predicted frames."""
    size: Size
    """Height and width."""
    modalities: Texts
    """Modalities of the context that the predictor receives."""


class CostIdentity(HashedRecord, extra="forbid"):
    """Every choice that decides a cost. Costs of two devices, or of other inputs, have two identities."""

    predictor: Name
    """Name of the predictor."""
    options: dict[Text, Any]
    """Every option of the predictor."""
    fingerprint: Text
    """sha256 of the predictor's values (weights, attributes) and code."""
    shape: CostShape
    """Shape of the clips."""
    clips: Literal["real", "random"]
    """``real``: the first clips of the protocol; ``random``: random values of their shape."""
    device: Text
    """Model of the CPU, or name of the GPU."""
    threads: Annotated[int, Field(ge=1)]
    """Threads of torch on the CPU."""
    batch_size: Length
    """Clips that are predicted at once for the throughput."""


class Timing(Record):
    """Repeated predictions of one batch."""

    batch_size: Length
    """Clips that are predicted at once."""
    rounds: Annotated[int, Field(ge=1)]
    """Timed predictions, after those of the warm-up."""
    seconds_per_frame: Seconds
    """Median time of a prediction, divided by its frames: clips times horizon."""
    quartiles: Annotated[tuple[Seconds, Seconds], Field(strict=False)]
    """The lower and the upper quartile of the same."""
    peak_memory_bytes: Bytes
    """Peak memory of one prediction above the memory before it."""

    @property
    def frames_per_second(self) -> float:
        """The throughput at the median."""
        return 1 / self.seconds_per_frame


class CostRecord(Record):
    """``costs/*.json``: what one predictor needs to predict clips of one shape on one device."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    """Version of this format."""
    identity: CostIdentity
    """Every choice that decides the numbers."""
    identity_hash: Digest
    """sha256 of the identity."""
    preset: Preset
    """Name of the predictor's preset; "" for none."""
    protocol: Name
    """Name of the protocol."""
    protocol_hash: Digest
    """sha256 of the protocol."""
    weights: Digest
    """sha256 of the file of weights; "" if there is none."""
    parameters: Annotated[int, Field(ge=0)]
    """Parameters that the prediction uses."""
    operations: Annotated[int, Field(ge=0)] | None
    """Operations of convolutions and products per predicted frame; a multiplication and an addition are two."""
    uncounted: Text
    """Why the operations cannot be counted; "" if they are."""
    latency: Timing
    """Predictions of one clip."""
    throughput: Timing
    """Predictions of ``batch_size`` clips."""
    memory: Literal["allocated", "resident"]
    """``allocated``: by torch on the GPU; ``resident``: growth of the process's resident memory."""
    versions: dict[Text, Text] = Field(default={})
    """Versions of the libraries that decide the times."""
    git: Text = ""
    """Commit of the checkout that vpbench was imported from."""

    @property
    def label(self) -> str:
        """The predictor's name with its preset."""
        return label(self.identity.predictor, self.preset)

    @property
    def device(self) -> str:
        """The device, with the threads of a CPU."""
        identity = self.identity
        threads = f"{identity.threads} thread{'s' * (identity.threads != 1)}"
        return f"{identity.device}, {threads}" if self.memory == "resident" else identity.device

    def belongs_to(self, run: RunRecord) -> bool:
        """Return whether this is the cost of a run's predictor, with these weights, on clips of this protocol."""
        weights = run.weights.sha256 if run.weights else ""
        return (self.protocol_hash, self.identity.predictor, self.weights) == (
            run.identity.protocol,
            run.identity.predictor,
            weights,
        ) and dict(self.identity.options) == dict(run.identity.options)


def write_cost(root: Path, record: CostRecord) -> Path:
    """Write a record below a folder of results, in place of an earlier one of this identity; return its path.

    Raises:
        ResultError: it cannot be written.
    """
    folder = below(root, record.protocol, record.label, FOLDER)
    path = folder / f"{record.identity_hash[:12]}.json"
    write_atomic(path, json.dumps(record.to_json(), indent=1, sort_keys=True, allow_nan=False) + "\n")
    return path


def read_cost(path: Path) -> CostRecord:
    """Read and check a record.

    Raises:
        ResultError: names the file and what is wrong with it.
    """
    value: Mapping[str, Any] = read_json(path, schema=SCHEMA)
    with validation_errors(ResultError, str(path), "remove it and measure again"):
        record = CostRecord.model_validate(value)
    if record.identity.hash != record.identity_hash:
        raise ResultError(f"{path}: identity_hash is not the hash of the identity; remove it and measure again")
    if (record.operations is None) != bool(record.uncounted):
        raise ResultError(f"{path}: operations are missing without a reason, or with one; remove it and measure again")
    return record


def costs_of(result_folder: Path, run: RunRecord) -> list[CostRecord]:
    """Return the costs of a result's predictor that lie next to the result, in the order of their devices.

    Raises:
        ResultError: a record cannot be read.
    """
    folder = result_folder.parent / FOLDER
    records = [read_cost(path) for path in sorted(folder.glob("*.json"))]
    costs = [record for record in records if record.belongs_to(run)]
    return sorted(costs, key=lambda record: (record.device, record.identity_hash))
