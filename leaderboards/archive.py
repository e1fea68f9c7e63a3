"""Copy finished results into ``leaderboards/results``: ``python leaderboards/archive.py [--add] RESULTS``.

The rows are compressed, and the names of the machine and its folders are left out. A copied result replaces earlier
results of the same predictor and preset on the same protocol. With ``--add``, it stands next to them, as for another
seed or budget of a training. ``make leaderboards RESULTS=DIR`` also updates the pages.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import sys
import tempfile
from pathlib import Path

from vpbench.errors import ResultError, VpbenchError
from vpbench.files import UNIT, write_atomic
from vpbench.results.reading import read_bytes, read_text
from vpbench.results.result import Result, find_results, load

ARCHIVE = Path(__file__).with_name("results")


def archive_results(roots: list[Path], archive: Path = ARCHIVE, *, add: bool = False) -> list[Path]:
    """Archive every result below some folders; return the new folders.

    Args:
        roots: folders of results.
        archive: where they are copied to.
        add: keep earlier results of the same predictor and preset.

    Raises:
        ResultError: there is none, one is not complete, or a folder shares results with the archive.
    """
    if shared := [root for root in roots if _share(root.resolve(), archive.resolve())]:
        raise ResultError(f"{shared[0]} and the archive {archive} contain one another: name another folder of results")
    results = [load(folder) for root in roots for folder in find_results(root)]
    if not results:
        raise ResultError("no result lies below these folders: name a folder that `vpbench run` wrote")
    for result in results:
        if result.summary.partial:
            raise ResultError(f"{result.path} is partial ({result.summary.partial_reason}): run it on all clips")
        result.store.check_claims()
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=f".{archive.name}-") as new:
        copies = [copy_result(result, Path(new)).relative_to(new) for result in results]
        for folder in {copied if add else copied.parent for copied in copies}:
            shutil.rmtree(archive / folder, ignore_errors=True)
            (archive / folder).parent.mkdir(parents=True, exist_ok=True)
            (Path(new) / folder).rename(archive / folder)
    return [archive / copied for copied in copies]


def _share(root: Path, archive: Path) -> bool:
    return root.is_relative_to(archive) or archive.is_relative_to(root)


def copy_result(result: Result, archive: Path) -> Path:
    """Copy one result; the same result gives the same bytes."""
    store = result.store
    folder = archive / result.run.protocol.name / result.label / result.run.identity_hash[:12]
    for name in ("run.json", "summary.json"):
        write_atomic(folder / name, read_text(result.path / name, UNIT))
    for number in store.published():
        rows = read_text(store.unit_path(number), UNIT).encode()
        write_atomic(folder / "units" / f"{number:06d}.jsonl.gz", gzip.compress(rows, mtime=0))
        if (features := store.features_path(number)).exists():
            write_atomic(folder / "features" / features.name, read_bytes(features, UNIT))
    attempts = [attempt for attempt in store.attempts() if attempt.units]
    for number, attempt in enumerate(attempts):
        public = attempt.model_copy(update={"host": "", "pid": 0, "command": ()})
        text = json.dumps(public.to_json(), indent=1, sort_keys=True) + "\n"
        write_atomic(folder / "attempts" / f"{number:02d}.json", text)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", action="store_true", help="keep earlier results of the same predictor and preset")
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULTS")
    args = parser.parse_args()
    try:
        for copied in archive_results(args.results, add=args.add):
            sys.stdout.write(f"{copied}\n")
    except VpbenchError as error:
        sys.exit(f"archive: {error}")
