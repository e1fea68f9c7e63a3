"""Find what a pull request changes in the archive of results: nothing of it is followed, and only new bundles pass."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vpbench.output import brief
from vpbench.submission.files import BundleFile, list_files

MAX_ARCHIVE_FILES = 1_000_000
"""Files and folders of a whole archive."""
MAX_ARCHIVE_BYTES = 16 * 2**30
_DEPTH = 3
"""Folders above the files of a bundle: protocol, predictor, identity."""


@dataclass(frozen=True)
class Changes:
    """The differences of two archives."""

    added: tuple[Path, ...]
    """Folders of new bundles."""
    faults: tuple[str, ...]
    """One line per change that is no new bundle."""


def find_changes(accepted: Path, pulled: Path) -> Changes:
    """Compare the archive of a pull request with the accepted one.

    Raises:
        ResultError: an archive holds a link or a special file, or is too large.
        OSError: a file cannot be read.
    """
    before, after = (_bundles(list_files(root, MAX_ARCHIVE_FILES, MAX_ARCHIVE_BYTES)) for root in (accepted, pulled))
    stray = [file.name for file in after.pop("", []) if not _same_file(accepted, pulled, file)]
    faults = [f"{brief(name)}: a file outside of bundles; remove it" for name in sorted(stray)]
    before.pop("", None)
    faults += [f"{brief(name)}: an accepted result is missing" for name in sorted(before.keys() - after.keys())]
    faults += [
        f"{brief(name)}: an accepted result was changed; a submission only adds bundles"
        for name in sorted(before.keys() & after.keys())
        if before[name] != after[name] or not all(_same_file(accepted, pulled, file) for file in after[name])
    ]
    return Changes(tuple(pulled / name for name in sorted(after.keys() - before.keys())), tuple(faults))


def _bundles(archive_files: Iterable[BundleFile]) -> dict[str, list[BundleFile]]:
    """Return the files of an archive by bundle, and those outside of bundles under ""."""
    bundles: dict[str, list[BundleFile]] = defaultdict(list)
    for file in archive_files:
        parts = PurePosixPath(file.name).parts
        bundles["/".join(parts[:_DEPTH]) if len(parts) > _DEPTH else ""].append(file)
    return bundles


def _same_file(accepted: Path, pulled: Path, file: BundleFile) -> bool:
    path = accepted / file.name
    return path.is_file() and filecmp.cmp(path, pulled / file.name, shallow=False)
