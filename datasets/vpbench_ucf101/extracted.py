"""Clips of UCF101 as folders of extracted frames: every frame of a clip, numbered in its name without gaps."""

from __future__ import annotations

import re
from pathlib import Path

from vpbench.errors import DataError
from vpbench.toolkit.folders import list_folder
from vpbench.toolkit.media import IMAGE_SUFFIXES
from vpbench_ucf101.splits import clip_id

_PICTURE = re.compile(rf"(?:[^.].*?)??(\d+)(?:{'|'.join(map(re.escape, sorted(IMAGE_SUFFIXES)))})", re.IGNORECASE)
_DEPTH = 3


def find_extracted(root: Path) -> dict[str, Path]:
    """Return the folder of each clip's frames, by the clip's name ``<Class>/v_<Class>_gXX_cYY``.

    A folder is known by its own name and may lie in the root or at most two folders below: ``UCF-101/<Class>/``,
    ``<Class>/``, ``jpegs/``. What it holds is not looked at.

    Raises:
        DataError: a folder cannot be listed, or a clip has two.
    """
    folders: dict[str, Path] = {}
    level = [root]
    for _ in range(_DEPTH):
        below = [folder / name for folder in level for name in list_folder(folder, root).folders]
        level = []
        for folder in below:
            name = clip_id(folder.name)
            if name is None:
                level.append(folder)
                continue
            if name in folders:
                raise DataError(f"{folder}: holds frames of a clip that {folders[name]} holds too; remove one")
            folders[name] = folder
    return folders


def frame_files(folder: Path, root: Path) -> list[str]:
    """Return the names of a folder's pictures in the order of their numbers, which stand before the suffix.

    Raises:
        DataError: there is none, a number is missing in between or stands twice, or the folder cannot be listed.
    """
    matches = map(_PICTURE.fullmatch, list_folder(folder, root).files)
    numbered = sorted((int(match[1]), match[0]) for match in matches if match is not None)
    if not numbered:
        raise DataError(f"{folder}: holds no numbered picture; extract every frame of the clip into it")
    for expected, (number, name) in enumerate(numbered, start=numbered[0][0]):
        if number != expected:
            raise DataError(f"{folder}: frame {expected} is missing or stands there twice (found {name})")
    return [name for _, name in numbered]
