"""Read text files that people write: UTF-8, with or without a byte order mark."""

from __future__ import annotations

import codecs
import tomllib
from pathlib import Path
from typing import Any

from vpbench.plugin.folders import regular_file

__all__ = ["read_text", "read_toml"]

_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


def read_text(path: Path | Any) -> str:
    """Read a file (a path, or a file inside a package) that is encoded in UTF-8.

    Raises:
        DataError: it is no regular file.
        OSError: it cannot be read.
        ValueError: it has another encoding.
    """
    data: bytes = (regular_file(path) if isinstance(path, Path) else path).read_bytes()
    if data.startswith(_WIDE_MARKS) or b"\0" in data:
        raise ValueError("it is not encoded in UTF-8 (probably in UTF-16); save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not encoded in UTF-8 (byte {error.start}); save it as UTF-8") from error


def read_toml(path: Path | Any) -> dict[str, Any]:
    """Read a TOML file (raises as :func:`read_text`, and ``ValueError`` where it is not TOML)."""
    try:
        return tomllib.loads(read_text(path))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
