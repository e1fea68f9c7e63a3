"""Load ``.npy`` and ``.npz`` files that may be damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vpbench.errors import text_of


def load_array(file: Path | BinaryIO, *, member: str = "", mapped: bool = False) -> NDArray[Any]:
    """Return the array of a ``.npy`` file.

    numpy parses a header as a Python expression, and zip files have errors of their own: a damaged file may raise
    anything there, in several lines.

    Args:
        file: its path, or its bytes.
        member: the array to take if it is an ``.npz`` file of several; "" refuses such files.
        mapped: map it into memory.

    Raises:
        OSError: it cannot be opened. ValueError: it is no such file, is damaged, or holds Python objects.
    """
    try:
        loaded = np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            return np.asarray(loaded)
        with loaded:
            names = list(loaded)
            if not member or (member not in names and len(names) != 1):
                raise ValueError(f"it holds {len(names)} named arrays" + f"; name one of them {member}" * bool(member))
            return np.asarray(loaded[member if member in names else names[0]])
    except OSError:
        raise
    except Exception as error:
        raise ValueError(text_of(error) or "it is damaged") from error
