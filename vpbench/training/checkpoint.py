"""Write and read the checkpoints of a training. They are data only: reading one never runs code from it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from torch.serialization import get_unsafe_globals_in_checkpoint

from vpbench.errors import DataError
from vpbench.files import write_atomic
from vpbench.output import brief


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints whole or not at all. Lightning copies them from the folder of the system's temporary files."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            ResultError: no space, or another error of the file system.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomic(Path(path), buffer.getvalue())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint. Its tensors are memory-mapped: they are read when they are used.

    Raises:
        DataError: the file is damaged, or asks for code to be run.
    """
    remedy = f"Remove {path.parent}, and this stage trains from its beginning"
    try:
        name = foreign_object(path)
        checkpoint = None if name else torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # a damaged archive or pickle may raise anything
        raise DataError(f"{path}: is not a checkpoint that loads ({type(error).__name__}). {remedy}") from error
    if name:
        raise DataError(
            f"{path}: asks for {name} when loaded, and a checkpoint holds data only; nothing of it was run. {remedy}"
        )
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise DataError(f"{path}: is not a checkpoint of a training. {remedy}")
    return checkpoint


def foreign_object(path: Path) -> str | None:
    """Return the name of a function or class in a checkpoint that may run code; None if there is none.

    torch.load alone would take minutes to refuse a name of a megabyte.

    Raises:
        ValueError: it is not a checkpoint. A damaged file raises errors of :mod:`zipfile` and torch.
    """
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type for entry in archive.infolist()):
            raise ValueError("compressed: torch.save never does that, and it could grow without bounds")
    names = get_unsafe_globals_in_checkpoint(path)
    return brief(min(names)) if names else None
