"""Copy finished results into ``leaderboards/results``: ``python leaderboards/archive.py RESULTS``.

The rows are compressed, and the names of the machine and its folders are left out. A copied result replaces earlier
results of the same predictor and preset on the same protocol. ``make leaderboards RESULTS=DIR`` also updates the pages.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path

from vpbench.errors import ResultError, VpbenchError
from vpbench.files import UNIT, write_atomic
from vpbench.results.reading import read_text
from vpbench.results.result import Result, find_results, load

ARCHIVE = Path(__file__).with_name("results")


def archive_results(roots: list[Path], archive: Path = ARCHIVE) -> list[Path]:
    """Archive every result below some folders; return the new folders.

    Raises:
        ResultError: there is none, or one is not complete.
    """
    results = [load(folder) for root in roots for folder in find_results(root)]
    if not results:
        raise ResultError("no result lies below these folders: name a folder that `vpbench run` wrote")
    for result in results:
        if result.summary.partial:
            raise ResultError(f"{result.path} is partial ({result.summary.partial_reason}): run it on all clips")
        result.store.check_claims()
    for folder in {archive / result.run.protocol.name / result.label for result in results}:
        shutil.rmtree(folder, ignore_errors=True)
    return [copy_result(result, archive) for result in results]


def copy_result(result: Result, archive: Path) -> Path:
    """Copy one result; the same result gives the same bytes."""
    store = result.store
    folder = archive / result.run.protocol.name / result.label / result.run.identity_hash[:12]
    for name in ("run.json", "summary.json"):
        write_atomic(folder / name, read_text(result.path / name, UNIT))
    for number in store.published():
        rows = read_text(store.unit_path(number), UNIT).encode()
        write_atomic(folder / "units" / f"{number:06d}.jsonl.gz", gzip.compress(rows, mtime=0))
    attempts = [attempt for attempt in store.attempts() if attempt.units]
    for number, attempt in enumerate(attempts):
        public = attempt.model_copy(update={"host": "", "pid": 0, "command": ()})
        text = json.dumps(public.to_json(), indent=1, sort_keys=True) + "\n"
        write_atomic(folder / "attempts" / f"{number:02d}.json", text)
    return folder


if __name__ == "__main__":
    try:
        for copied in archive_results([Path(argument) for argument in sys.argv[1:]]):
            sys.stdout.write(f"{copied}\n")
    except VpbenchError as error:
        sys.exit(f"archive: {error}")
