"""Makes result folders without running anything: complete, consistent, with the scores that a test asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from vpbench.files import canonical
from vpbench.plugin.loader import Plugins, load_plugins
from vpbench.plugin.training import Recipe
from vpbench.protocol.protocol import Protocol
from vpbench.protocol.units import UNIT_CLIPS, ManifestEntry, hash_entries
from vpbench.results.costs import CostIdentity, CostRecord, CostShape, Timing, write_cost
from vpbench.results.records import Identity, MetricRecord, RunRecord, TrainingRecord, ValidationRecord
from vpbench.results.result import load
from vpbench.results.store import Attempt, Store
from vpbench.results.summarise import write_summary

SPECS = {
    "mse": {"revision": 1, "better": "lower", "unit": "", "decimals": 4, "released": True},
    "psnr": {"revision": 1, "better": "higher", "unit": "dB", "decimals": 2, "released": True},
}
CODE = "c" * 64


@cache
def plugins() -> Plugins:
    """The installed plugins."""
    return load_plugins()


def digest(text: str) -> str:
    """A digest of 16 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_protocol(steps: int, *, anchored: bool = False, **changes: Any) -> Protocol:
    """A protocol with that many steps."""
    sampling: dict[str, Any] = {"kind": "first", "context": 2, "horizon": steps}
    if anchored:
        sampling = {"kind": "anchored", "context": 2, "target": 9, "steps": list(range(1, steps + 1))}
    value = {"schema": 1, "name": "toy", "version": 1, "summary": "toys", "dataset": {"name": "toy"},
             "sampling": sampling, "reference": "last"}  # fmt: skip
    return Protocol.parse(value | changes, "here")


def make_result(
    root: Path,
    predictor: str,
    scores: Mapping[str, Sequence[float | None]],
    *,
    protocol: Mapping[str, Any] | None = None,
    clips: int = 20,
    recordings: Callable[[int], str] = "r{:03d}".format,
    sequences: Callable[[int], str] = "s{:03d}".format,
    spread: float = 0.01,
    cumulative: bool = True,
    partial: str = "",
    seed: int = 0,
    samples: int = 1,
    data: str = "pixels",
    context: str = "",
    metrics: Mapping[str, Mapping[str, Any]] | None = None,
    metric_code: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    fingerprint: str = "",
    units: Sequence[int] | None = None,
    clamped: bool = False,
    reason: str = "empty",
    **run: Any,
) -> Path:
    """Write a result whose score at each step is the asked one (None: undefined in every clip), and return its folder.

    Half of the clips lie ``spread`` below the score, half above.
    """
    steps = len(next(iter(scores.values())))
    parsed = make_protocol(steps, anchored=not cumulative, **(protocol or {}))
    windows = [(k,) for k in parsed.steps] if not cumulative else [parsed.steps]
    manifest = tuple(
        ManifestEntry(f"{sequences(i)}@{j}", ks, recordings(i)) for i in range(clips) for j, ks in enumerate(windows)
    )
    specs = {name: SPECS[name] | dict((metrics or {}).get(name, {})) for name in scores}
    identity = Identity(
        protocol=parsed.hash, manifest=hash_entries(manifest), data=digest(data), predictor=predictor,
        options=dict(options or {}), fingerprint=fingerprint, annotators={},
        metrics={name: spec["revision"] for name, spec in specs.items()},
        metric_code=dict.fromkeys(scores, CODE) | dict(metric_code or {}), seed=seed, samples=samples,
        partial=partial, unproven="",
    )  # fmt: skip
    fields = {
        "identity": identity, "identity_hash": identity.hash, "predictor": predictor, "preset": "", "sees_truth": False,
        "stochastic": samples > 1, "paper": "", "weights": None, "protocol": parsed, "cumulative": cumulative,
        "partial": partial, "dropped": [], "metrics": {name: MetricRecord(**spec) for name, spec in specs.items()},
        "skipped": {}, "classes": [], "manifest": manifest,
    }  # fmt: skip
    record = RunRecord(**fields | run)
    store = Store.create(root / parsed.name / predictor / identity.hash[:12], record)
    attempt = Attempt(store, {"host": "here", "pid": 1, "engine": "plain", "device": "cpu"})
    for number in range(store.units) if units is None else units:
        rows = []
        for i in range(number * UNIT_CLIPS, min((number + 1) * UNIT_CLIPS, len(manifest))):
            clip, clip_steps, _ = manifest[i]
            for step in clip_steps:
                for metric, values in scores.items():
                    value = values[step - 1]
                    offset = spread * (-1 if (i // len(windows)) % 2 else 1)
                    row = {"clip": clip, "step": step, "metric": metric, "data": digest(f"{data} {clip}")}
                    if value is None:
                        row |= {"status": "undefined", "value": None, "reason": reason}
                    else:
                        row |= {"status": "ok", "value": value + offset}
                    row |= {"context": digest(f"{context} {clip}")} if context else {}
                    row |= {"clamped": True} if clamped else {}
                    stochastic = record.stochastic
                    rows += [row | {"sample": s} for s in range(samples)] if stochastic else [row]
        store.publish(number, rows, attempt, "stamp")
    measures = {name: plugins().load("metric", name)("cpu") for name in scores}
    assert write_summary(store, measures, allow_partial=True)
    return store.folder


def make_cost(result: Path) -> Path:
    """Write the measured cost of a result's predictor next to the result, and return its path."""
    run = load(result).run
    shape = CostShape(context=2, horizon=2, size=(8, 12), modalities=("frames",))
    identity = CostIdentity(
        predictor=run.predictor, options=run.identity.options, fingerprint=CODE, shape=shape, clips="real",
        device="a CPU", threads=2, batch_size=8,
    )  # fmt: skip
    times = [
        Timing(batch_size=clips, rounds=3, seconds_per_frame=0.25, quartiles=(0.2, 0.3), peak_memory_bytes=10**6)
        for clips in (1, 8)
    ]
    record = CostRecord(
        identity=identity, identity_hash=identity.hash, preset="", protocol=run.protocol.name,
        protocol_hash=run.protocol.hash, weights="", parameters=1_000, operations=2_500_000_000, uncounted="",
        latency=times[0], throughput=times[1], memory="resident",
    )  # fmt: skip
    return write_cost(result.parents[2], record)


def make_training(path: Path) -> Path:
    """Write the record of a training of two stages, and return its path."""
    validation = ValidationRecord(manifest=CODE, metrics=("mse",))
    record = TrainingRecord(
        protocol=CODE, training={"split": "train", "held_out": 0.05, "clips": None}, clips=CODE, validation=validation,
        predictor="net", options={"hidden": [8, 8], "clamp": True}, start=CODE, code=CODE, annotators={"flow": "dis"},
        stages=(Recipe(epochs=2, batch_size=4), Recipe(steps=10, crop=(16, 24))), world=1, seed=0, keep="mse",
    )  # fmt: skip
    path.write_text(json.dumps(record.to_json(), indent=1))
    return path


def edit_run(folder: Path, change: Callable[[dict[str, Any]], object], *, rehash: bool = False) -> None:
    """Edit ``run.json``; with ``rehash``, update every digest of it that a forger can compute."""
    path = folder / "run.json"
    run = json.loads(path.read_text())
    change(run)
    if rehash:
        run["identity_hash"] = hashlib.sha256(canonical(run["identity"]).encode()).hexdigest()
    path.write_text(json.dumps(run))
    if not rehash:
        return
    edited = hashlib.sha256(path.read_bytes()).hexdigest()
    for attempt in (folder / "attempts").glob("*.json"):
        attempt.write_text(json.dumps(json.loads(attempt.read_text()) | {"run": edited}))
    summary = folder / "summary.json"
    if summary.is_file():
        edit_summary(folder, lambda value: value.update(identity=run["identity_hash"]))


def edit_summary(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit ``summary.json``, written as vpbench writes it."""
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    change(summary)
    path.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")


def edit_unit(folder: Path, change: Callable[[list[dict[str, Any]]], object], number: int = 0) -> None:
    """Edit a unit's rows, and the digest that its process recorded."""
    path = folder / "units" / f"{number:06d}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows)
    text = "".join(json.dumps(row, sort_keys=True, separators=(",", ":")) + "\n" for row in rows)  # NaN, too
    path.write_text(text)
    for attempt in (folder / "attempts").glob("*.json"):
        record = json.loads(attempt.read_text())
        record["units"][str(number)] = hashlib.sha256(text.encode()).hexdigest()
        attempt.write_text(json.dumps(record))
