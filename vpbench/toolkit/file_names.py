"""Names of files for clips."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from vpbench.errors import DataError

_LONGEST = 200
"""Bytes of a file name that a clip may take; 255 fit, with suffixes and the marks of a temporary file."""
_LENGTH = 180


def file_stem(clip: str) -> str:
    """Return the path, below some folder and without a suffix, of what is kept for a clip: mostly the clip's id.

    The last part of a long id is cut, and ends in a hash of the whole id, so that suffixes fit and names stay unique.

    Raises:
        DataError: the id would lead out of the folder.

    Example:
        >>> file_stem("drive/a.mp4@14")
        'drive/a.mp4@14'
    """
    components = PurePosixPath(clip).parts
    if not components or clip.startswith("/") or ".." in components or "\0" in clip:
        raise DataError(f"clip {clip!r}: is no path below a folder; rename its sequence in the dataset")
    folder, _, name = clip.rpartition("/")
    if len(name.encode()) <= _LONGEST:
        return clip
    cut = name.encode()[:_LENGTH].decode(errors="ignore")
    short = f"{cut}~{hashlib.sha256(clip.encode()).hexdigest()[:16]}"
    return f"{folder}/{short}" if folder else short
