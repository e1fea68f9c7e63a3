"""Check a result folder against itself, without any plugin: run.json, names of files, and rows.

Each check raises on the first contradiction. A folder that passes is consistent, which is not the same as true: someone
who computes rows with another predictor and writes every digest accordingly leaves no trace in the folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vpbench.errors import ResultError
from vpbench.files import UNIT, canonical
from vpbench.protocol.protocol import Anchored, Protocol
from vpbench.protocol.units import ManifestEntry, hash_entries
from vpbench.results.reading import read_text
from vpbench.results.records import RunRecord
from vpbench.results.rows import Row
from vpbench.results.store import Store
from vpbench.temporary import is_temporary


def check_run(store: Store) -> None:
    """Check ``run.json`` against itself: hashes, and every field that the identity decides.

    Raises:
        ResultError: names the first contradiction.
    """
    path = store.folder / "run.json"
    if problem := _identity_problem(store.run) or _run_problem(store.run):
        raise ResultError(f"{path} was changed after it was written: {problem}; run again into another folder")


def _identity_problem(run: RunRecord) -> str:
    identity = run.identity
    if identity.hash != run.identity_hash:
        return "identity_hash is not the hash of the identity"
    if hash_entries(run.manifest) != identity.manifest:
        return "the manifest is not the one that the identity names"
    if run.predictor != identity.predictor:
        return f"predictor is {run.predictor!r}, the identity says {identity.predictor!r}"
    if run.partial != identity.partial:
        return f"partial is {run.partial!r}, the identity says {identity.partial!r}"
    revisions = {name: metric.revision for name, metric in run.metrics.items()}
    if revisions != identity.metrics or identity.metric_code.keys() != revisions.keys():
        return "metrics are others than those that the identity names"
    return ""


def _run_problem(run: RunRecord) -> str:
    identity, weights, protocol = run.identity, run.weights, run.protocol
    if protocol.hash != identity.protocol:
        return "the protocol is not the one that the identity names"
    if run.cumulative == isinstance(protocol.sampling, Anchored):
        return f"cumulative is {run.cumulative}, which the protocol's sampling contradicts"
    if protocol.clips not in (None, len(run.manifest)) and not run.partial:
        return f"partial is empty, but the manifest has {len(run.manifest)} of the protocol's {protocol.clips} clips"
    if identity.samples > 1 and not run.stochastic:
        return f"{identity.samples} samples of a predictor that is not stochastic"
    if weights and (weights.clips == "overlap") != bool(weights.seen):
        return f"weights say {weights.clips!r}, but {weights.seen} sequences were trained on"
    if names := run.metrics.keys() & run.skipped.keys():
        return f"{min(names)} is both measured and skipped"
    return _manifest_problem(run.manifest, protocol)


def _manifest_problem(manifest: Sequence[ManifestEntry], protocol: Protocol) -> str:
    if len({entry.clip for entry in manifest}) != len(manifest):
        return "the manifest has one clip twice"
    allowed = {(step,) for step in protocol.steps} if isinstance(protocol.sampling, Anchored) else {protocol.steps}
    wrong = next((entry for entry in manifest if entry.steps not in allowed), None)
    if wrong is not None:
        return f"clip {wrong.clip!r} has the steps {list(wrong.steps)}, which are not the protocol's"
    return ""


def check_files(store: Store) -> None:
    """Check that ``units/``, ``features/`` and ``attempts/`` hold no file of another result.

    Raises:
        ResultError: names the first file that does not belong.
    """
    expected = {store.unit_path(number).name for number in range(store.units)}
    if any(metric.kind == "set" for metric in store.run.metrics.values()):
        expected |= {store.features_path(number).name for number in range(store.units)}
    for path in sorted(path for folder in ("units", "features") for path in (store.folder / folder).glob("*")):
        if path.name not in expected and not is_temporary(path):
            raise ResultError(f"{path} belongs to none of the {store.units} units of this result; remove it")
    for attempt in store.attempts():
        if not attempt.units.keys() <= {str(number) for number in range(store.units)}:
            raise ResultError(
                f"{store.folder / 'attempts'}: a process published other units than this result has; it is a record "
                f"of another result: remove its file"
            )


def audited_rows(store: Store, *, exact: bool) -> Iterator[Row]:
    """Yield every row, after checking its unit: order, samples, and digests that agree clip by clip.

    Args:
        store: the result.
        exact: also check that each line is, byte for byte, what vpbench writes for its row.

    Raises:
        ResultError: names the first line that contradicts the others or ``run.json``.
    """
    has_context: bool | None = None
    for number in store.published():
        path, rows = store.unit_path(number), audit_unit(store, number, has_context=has_context)
        has_context = "context" in rows[0]
        if exact and read_text(path, UNIT) != "".join(canonical(row) + "\n" for row in rows):
            raise ResultError(f"{path} is not written as vpbench writes it; remove the file and run again")
        yield from rows


def audit_unit(store: Store, number: int, *, has_context: bool | None) -> list[Row]:
    """Return the rows of one unit, after checking them.

    Args:
        store: the result.
        number: of the unit.
        has_context: whether the rows of earlier units name a digest of the context; None for the first.

    Raises:
        ResultError: names the first line that contradicts the others or ``run.json``.
    """
    stochastic, metrics = store.run.stochastic, store.run.metrics
    path, rows = store.unit_path(number), store.unit_rows(number)
    frames = _Frames()
    for i, row in enumerate(rows, 1):
        has_context = "context" in row if has_context is None else has_context
        of_all_samples = metrics[row["metric"]].kind == "samples"
        problem = frames.problem(row, of_all_samples=of_all_samples)
        if of_all_samples and ("sample" in row or "clamped" in row):
            problem = f"{row['metric']} scores all samples together, and the row names a single one"
        elif ("sample" in row) != (stochastic and not of_all_samples):
            problem = f"stochastic is {stochastic} in run.json, which the sample of the row contradicts"
        elif ("context" in row) != has_context:
            problem = "only some rows name a digest of the context"
        if problem:
            raise ResultError(f"{path}, line {i}: {problem}; remove the file and run again")
    return rows


class _Frames:
    """Digests and order that the rows of a unit must agree on."""

    def __init__(self) -> None:
        self._last: tuple[Any, ...] = ()
        self._data: dict[tuple[str, str], str] = {}
        self._context: dict[str, str] = {}
        self._clamped: dict[tuple[str, int, int], bool] = {}

    def problem(self, row: Row, *, of_all_samples: bool) -> str:
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
        if not of_all_samples and self._clamped.setdefault(frame, "clamped" in row) != ("clamped" in row):
            return "the frame is clamped for one metric and not for another"
        return ""
