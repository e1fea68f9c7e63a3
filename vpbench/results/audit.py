"""What a result folder must say of itself: checks that need no plugin, on run.json, on names of files, and on rows.

Each check raises on the first contradiction. A folder that passes is consistent, which is not the same as true: someone
who computes rows with another predictor and writes every digest accordingly leaves no trace in the folder.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vpbench.errors import ResultError
from vpbench.files import canonical
from vpbench.protocol.protocol import Anchored, Protocol
from vpbench.protocol.units import hash_entries
from vpbench.results.rows import Row, read_unit
from vpbench.results.store import Store

__all__ = ["audited_rows", "check_files", "check_run"]

_LEFTOVER = re.compile(r".+\.(new|tmp)")  # of a process that was killed while it wrote


def check_run(store: Store) -> None:
    """Check ``run.json`` against itself: hashes, and all that the identity decides.

    Raises:
        ResultError: names the first contradiction.
    """
    run, path = store.run, store.folder / "run.json"
    protocol = Protocol.parse(run["protocol"], str(path))
    if problem := _identity_problem(run) or _run_problem(run, protocol):
        raise ResultError(f"{path} was changed after it was written: {problem}; run again with another --out")


def _identity_problem(run: Mapping[str, Any]) -> str:
    identity = run["identity"]
    if hashlib.sha256(canonical(identity).encode()).hexdigest() != run["identity_hash"]:
        return "identity_hash is not the hash of the identity"
    if hash_entries(run["manifest"]) != identity["manifest"]:
        return "the manifest is not the one that the identity names"
    for key in ("predictor", "partial"):
        if run[key] != identity[key]:
            return f"{key} is {run[key]!r}, the identity says {identity[key]!r}"
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
    if weights and (weights["clips"] == "overlap") != bool(weights["seen"]):
        return f"weights say {weights['clips']!r}, but {weights['seen']} sequences were trained on"
    if both := set(run["metrics"]) & set(run["skipped"]):
        return f"{min(both)} is both measured and skipped"
    return _manifest_problem(run["manifest"], protocol)


def _manifest_problem(manifest: Sequence[Sequence[Any]], protocol: Protocol) -> str:
    ids = {clip for clip, _, _ in manifest}
    if len(ids) != len(manifest):
        return "the manifest has one clip twice"
    anchored = isinstance(protocol.sampling, Anchored)
    for clip, steps, _ in manifest:
        known = len(steps) == 1 and steps[0] in protocol.steps if anchored else tuple(steps) == protocol.steps
        if not known:
            return f"clip {clip!r} has the steps {steps}, which are not the protocol's"
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
        if not attempt["units"].keys() <= {str(number) for number in range(store.units)}:
            raise ResultError(
                f"{store.folder / 'attempts'}: a process published other units than this result has; it is a record "
                f"of another result: remove its file"
            )


def audited_rows(store: Store, *, exact: bool) -> Iterator[Row]:
    """Yield every row after its unit was checked: order, samples, and digests that agree clip by clip.

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
            problem = frames.problem(row)
            if ("sample" in row) != stochastic:
                problem = f"stochastic is {stochastic} in run.json, which the sample of the row contradicts"
            elif ("context" in row) != shows_context:
                problem = "only some rows name a digest of the context"
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
