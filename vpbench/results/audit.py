"""What a result folder must say of itself: checks that need no plugin, on run.json, on names of files, and on rows.

Each check raises on the first contradiction. A folder that passes is consistent, which is not the same as true: someone
who computes rows with another predictor and writes every digest accordingly leaves no trace in the folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vpbench.errors import ResultError, VpbenchError
from vpbench.protocol.protocol import Anchored, Protocol
from vpbench.protocol.units import hash_entries
from vpbench.results.identity import Identity, canonical
from vpbench.results.record import read_unit
from vpbench.results.store import Row, Store

__all__ = ["audited_rows", "check_files", "check_run"]

_LEFTOVER = re.compile(r".+\.(new|tmp)")  # of a process that was killed while it wrote
_DIGEST = re.compile(r"[0-9a-f]{16}")
_OPTIONAL = frozenset({"sample", "reason", "note", "clamped", "context"})
_REQUIRED = frozenset({"clip", "step", "metric", "value", "status", "data"})


def check_run(store: Store) -> Protocol:
    """Check ``run.json`` against itself: hashes, and all that the identity decides; return its protocol.

    Raises:
        ResultError: names the first contradiction.
    """
    run, path = store.run, store.folder / "run.json"
    try:
        problem = _identity_problem(run) or _run_problem(run, protocol := Protocol.parse(run["protocol"], str(path)))
    except VpbenchError as error:
        raise ResultError(f"{error}; run again with another --out") from error
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise ResultError(f"{path} is not as vpbench writes it ({type(error).__name__}: {error})") from error
    if problem:
        raise ResultError(f"{path} was changed after it was written: {problem}; run again with another --out")
    return protocol


def _identity_problem(run: Mapping[str, Any]) -> str:
    identity = run["identity"]
    if set(identity) != {field.name for field in dataclasses.fields(Identity)}:
        return "the identity has other fields than vpbench writes"
    if hashlib.sha256(canonical(identity).encode()).hexdigest() != run["identity_hash"]:
        return "identity_hash is not the hash of the identity"
    if hash_entries(run["manifest"]) != identity["manifest"]:
        return "the manifest is not the one that the identity names"
    for key in ("predictor", "partial"):
        if run[key] != identity[key]:
            return f"{key} is {run[key]!r}, the identity says {identity[key]!r}"
    if not (_is_count(identity["samples"]) and identity["samples"] >= 1 and _is_count(identity["seed"])):
        return "samples and seed must be whole numbers"
    revisions = {name: spec["revision"] for name, spec in run["metrics"].items()}
    if revisions != identity["metrics"] or set(identity["metric_code"]) != set(revisions):
        return "metrics are others than those that the identity names"
    return ""


def _run_problem(run: Mapping[str, Any], protocol: Protocol) -> str:
    identity, weights = run["identity"], run["weights"]
    if protocol.hash != identity["protocol"]:
        return "the protocol is not the one that the identity names"
    if run["cumulative"] == isinstance(protocol.sampling, Anchored):
        return f"cumulative is {run['cumulative']}, which the protocol's sampling contradicts"
    if protocol.clips not in (None, len(run["manifest"])) and not run["partial"]:
        return f"partial is empty, but the manifest has {len(run['manifest'])} of the protocol's {protocol.clips} clips"
    if identity["samples"] > 1 and not run["stochastic"]:
        return f"{identity['samples']} samples of a predictor that is not stochastic"
    if weights and (weights["clips"] == "overlap") != bool(weights.get("seen", 0)):
        return f"weights say {weights['clips']!r}, but {weights.get('seen', 0)} sequences were trained on"
    if both := set(run["metrics"]) & set(run["skipped"]):
        return f"{min(both)} is both measured and skipped"
    if type(run["sees_truth"]) is not bool or type(run["stochastic"]) is not bool:
        return "sees_truth and stochastic must be true or false"
    return _manifest_problem(run["manifest"], protocol)


def _manifest_problem(manifest: Sequence[Sequence[Any]], protocol: Protocol) -> str:
    ids = {clip for clip, _, _ in manifest}
    if len(ids) != len(manifest) or not manifest:
        return "the manifest has no clips, or one of them twice"
    anchored = isinstance(protocol.sampling, Anchored)
    for clip, steps, recording in manifest:
        known = len(steps) == 1 and steps[0] in protocol.steps if anchored else tuple(steps) == protocol.steps
        if not known:
            return f"clip {clip!r} has the steps {steps}, which are not the protocol's"
        if not (isinstance(clip, str) and isinstance(recording, str) and recording):
            return f"clip {clip!r} names no recording"
    return ""


def check_files(store: Store) -> None:
    """Check that ``units/`` and ``attempts/`` hold nothing but what vpbench writes there for this manifest.

    Raises:
        ResultError: names the first file that does not belong.
    """
    expected = {store.unit_path(number).name for number in range(store.units)}
    for path in sorted((store.folder / "units").glob("*")):
        if path.name not in expected and not _LEFTOVER.fullmatch(path.name):
            raise ResultError(f"{path} belongs to none of the {store.units} units of this result; remove it")
    for attempt in store.attempts():
        units = attempt.get("units")
        numbers = {str(number) for number in range(store.units)}
        if not isinstance(units, dict) or not units.keys() <= numbers:
            raise ResultError(
                f"{store.folder / 'attempts'}: a process published other units than this result has; it is a record "
                f"of another result: remove its file"
            )


def audited_rows(store: Store, *, exact: bool) -> Iterator[Row]:
    """Yield every row after its unit was checked: order, fields, types, and digests that agree clip by clip.

    Args:
        store: the result.
        exact: also check that each line is, byte for byte, what vpbench writes for its row.

    Raises:
        ResultError: names the first line that is not as it should be.
    """
    stochastic: bool = store.run["stochastic"]
    shows_context: bool | None = None
    for number in store.published():
        path, rows = store.unit_path(number), store.unit_rows(number)
        frames = _Frames()
        for i, row in enumerate(rows, 1):
            shows_context = "context" in row if shows_context is None else shows_context
            problem = _row_problem(row, stochastic=stochastic, shows_context=shows_context) or frames.problem(row)
            if problem:
                raise ResultError(f"{path}, line {i}: {problem}; remove the file and run again")
        if exact and read_unit(path) != "".join(canonical(row) + "\n" for row in rows):
            raise ResultError(f"{path} is not written as vpbench writes it; remove the file and run again")
        yield from rows


class _Frames:
    """What the rows of a unit must agree on."""

    def __init__(self) -> None:
        self._last: tuple[Any, ...] = ()
        self._data: dict[tuple[str, str], str] = {}
        self._context: dict[str, str] = {}
        self._clamped: dict[tuple[str, int, int], bool] = {}

    def problem(self, row: Row) -> str:
        """Return what contradicts the rows before this one; "" if nothing does."""
        clip = row["clip"]
        frame = clip, row.get("sample", 0), row["step"]
        last, self._last = self._last, (*frame, row["metric"])
        if last >= self._last:
            return "the row is out of order (clip, sample, step, metric)"
        if self._data.setdefault((clip, row["metric"]), row["data"]) != row["data"]:
            return f"another digest of the data of clip {clip!r} than in the row before"
        if self._context.setdefault(clip, row.get("context", "")) != row.get("context", ""):
            return f"another digest of the context of clip {clip!r} than in the row before"
        if self._clamped.setdefault(frame, "clamped" in row) != ("clamped" in row):
            return "the frame is clamped for one metric and not for another"
        return ""


def _row_problem(row: Row, *, stochastic: bool, shows_context: bool) -> str:
    if not _REQUIRED <= row.keys() <= _REQUIRED | _OPTIONAL:
        return f"the fields are not those of a row: {', '.join(sorted(row))}"
    if type(row["step"]) is not int or type(row.get("sample", 0)) is not int:
        return "step and sample must be whole numbers"
    if ("sample" in row) != stochastic:
        return (
            f"a predictor that is {'' if stochastic else 'not '}stochastic has rows with{'out' * stochastic} a sample"
        )
    if ("context" in row) != shows_context:
        return "only some rows name a digest of the context"
    if not all(isinstance(row[key], str) and _DIGEST.fullmatch(row[key]) for key in ("data", "context") if key in row):
        return "data and context must be digests of 16 hex digits"
    if row.get("clamped", True) is not True or not _is_text(row.get("note", "note")):
        return "clamped must be true, and note a text"
    if row["status"] == "undefined":
        plain = row["value"] is None and _is_text(row.get("reason")) and "note" not in row
        return "" if plain else "an undefined row has a reason, no note and no value"
    if row["status"] != "ok" or "reason" in row:
        return "status must be ok without a reason, or undefined with one"
    values = row["value"] if isinstance(row["value"], list) else [row["value"]]
    return "" if values and all(map(_is_number, values)) else "the value must be a finite number, or a list of them"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
