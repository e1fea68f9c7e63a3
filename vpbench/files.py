"""Read files strictly and write them atomically.

Readers accept regular files of a limited size only, since someone else may have written them. They raise ``OSError`` or
``ValueError`` with the reason; the caller adds the path and what to do. Writers raise :class:`ResultError`.
"""

from __future__ import annotations

import codecs
import errno
import json
import math
import os
import re
import stat
import struct
import tomllib
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from vpbench.errors import Remedy, ResultError, UsageError
from vpbench.temporary import link, publish, rename, temporary_file

_MIB = 2**20
TOML = 1 * _MIB
"""The largest TOML file: a protocol, a suite, a table of a paper, the configuration."""
RECORD = 16 * _MIB
"""The largest ``summary.json``, ``training.json`` and ``attempts/*.json``."""
RUN = 128 * _MIB
"""The largest ``run.json``, which lists every clip."""
UNIT = 256 * _MIB
"""The largest unit of rows."""
GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03"
"""Header of the gzip files that vpbench writes: neither a name nor a time."""
_DEPTH = 32
"""The deepest nesting of lists and tables."""
_DIGITS = 19
"""The most digits of a whole number: those of 64 bits."""
_PARTS = 100
"""The most parts of a dotted key. The time that tomllib takes grows with their square."""
_KEY = r"""(?:"[^"\n]*"|'[^'\n]*'|(?<![\w-])[\w-]++)"""
_DOTTED = re.compile(rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY}){{{_PARTS},}}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DISK_ERRORS = _FULL | {errno.EIO, errno.EROFS}
"""Numbers of errors that say that a disk is full, broken or read-only."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_bytes(path: Path, limit: int) -> bytes:
    """Read a regular file; a symbolic link is followed.

    Opening never waits: a FIFO without a writer is refused, not opened.

    Raises:
        OSError: it cannot be read. ValueError: it is no regular file, or larger than ``limit`` bytes.
    """
    _check(path.stat(), limit)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _check(os.fstat(file.fileno()), limit)  # the path may name another file by now
        data = file.read(limit + 1) or b""
    if len(data) > limit:
        raise ValueError(_too_large(limit))
    return data


def unzip(data: bytes, limit: int) -> bytes:
    """Return the content of a gzip file.

    Raises:
        ValueError: it is not gzip, is cut off, or holds more than ``limit`` bytes.
    """
    reader = zlib.decompressobj(wbits=31)  # gzip alone, with its checksum
    try:
        content = reader.decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError(f"it is not gzip: {error}") from error
    if len(content) > limit:
        raise ValueError(_too_large(limit))
    if not reader.eof or reader.unused_data:
        raise ValueError("it is not one whole gzip file")
    return content


def zip_bytes(data: bytes) -> bytes:
    """Return a gzip file of some content; its header is the same with every version of Python."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(data) + packer.flush()
    return GZIP_HEADER + packed + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def why_no_file(path: Path) -> str:
    """Return why a path leads to no regular file, such as ``there is no such file``; "" where it does."""
    try:
        kind = kind_of(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return "there is no such file"
    except (OSError, ValueError) as error:  # no right to look, a name that is too long or has a NUL
        return f"it cannot be read: {getattr(error, 'strerror', None) or error}"
    return kind and f"it is {kind}, not a file"


def kind_of(mode: int) -> str:
    """Return what a path leads to, by its mode, where that is no regular file; "" where it is."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no file")


def _check(status: os.stat_result, limit: int) -> None:
    if kind := kind_of(status.st_mode):
        raise ValueError(f"it is {kind}, not a regular file")
    if status.st_size > limit:
        raise ValueError(_too_large(limit))


def _too_large(limit: int) -> str:
    return f"it is larger than the {limit // _MIB} MiB that such a file may have"


def read_text(path: Path | Any, limit: int) -> str:
    """Read a file (a path, or a file inside a package) in UTF-8, with or without a byte order mark.

    Raises:
        OSError, ValueError: as :func:`read_bytes`; it is not UTF-8.
    """
    data: bytes = read_bytes(path, limit) if isinstance(path, Path) else path.read_bytes()
    if data.startswith(_WIDE_MARKS) or b"\0" in data:
        raise ValueError("it is not encoded in UTF-8 (probably in UTF-16); save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not encoded in UTF-8 (byte {error.start}); save it as UTF-8") from error


def read_toml(path: Path | Any, kind: str) -> dict[str, Any]:
    """Read a TOML file that a user wrote (a path, or a file inside a package).

    Raises:
        UsageError: it cannot be read, or is not TOML; the message names it by its ``kind``, such as "suite file".
    """
    try:
        return parse_toml(read_text(path, TOML))
    except FileNotFoundError as error:
        raise UsageError(f"{kind} {path}: there is no such file") from error
    except OSError as error:
        raise UsageError(f"{kind} {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{kind} {path} cannot be read: {error}") from error


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: it is not TOML, nested too deeply, or holds a number that has too many digits.
    """
    if dotted := _DOTTED.search(text):
        line = text.count("\n", 0, dotted.start()) + 1
        raise ValueError(f"line {line}: a key has more than {_PARTS} parts")
    try:
        value = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(_too_deep()) from error
    for numbers in _levels(value):
        for number in numbers:
            if isinstance(number, int) and not -(2**63) <= number < 2**63:
                raise ValueError(f"a whole number has more than {_DIGITS} digits")
    return value


def parse_json(text: str) -> Any:
    """Parse JSON strictly: no NaN, no Infinity, no name twice in an object, no half of a surrogate pair.

    Raises:
        ValueError: it is not JSON, nested too deeply, or holds a number that is not finite or has too many digits.
    """
    try:
        value = _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError(_too_deep()) from error
    for _ in _levels(value):
        pass
    if _SURROGATE.search(text):
        _check_encodes(value)
    return value


def _levels(value: Any) -> Iterable[Iterable[Any]]:
    """Yield the values of each level of nesting, the outermost first.

    Raises:
        ValueError: there are too many levels.
    """
    level = [value]
    for _ in range(_DEPTH):
        yield level
        inner = [item for item in level if isinstance(item, (dict, list))]
        if not inner:
            return
        level = [child for item in inner for child in (item.values() if isinstance(item, dict) else item)]
    raise ValueError(_too_deep())


def _too_deep() -> str:
    return f"it is nested more than {_DEPTH} levels deep"


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > _DIGITS:
        raise ValueError(f"a whole number has more than {_DIGITS} digits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:_DIGITS]} is too large for a number")
    return number


def _constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:100]!r} stands twice in one object")
    return value


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_constant, object_pairs_hook=_object)


def _check_encodes(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text holds half of a surrogate pair") from error


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write a file so that it exists whole or not at all; its folder is made where it does not exist.

    Raises:
        ResultError: no space, no permission, or another error of the file system, named with the path.
    """
    with write_errors(path):
        publish(path, data.encode() if isinstance(data, str) else data, rename)


def write_exclusive(path: Path, text: str) -> bool:
    """Write a file as :func:`write_atomic`, unless it exists; return whether it was written."""
    with write_errors(path):
        try:
            publish(path, text.encode(), link)
        except FileExistsError:
            return False
    return True


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that exists whole after the block, or not at all (raises as :func:`write_atomic`).

    An exception within the block leaves an earlier file as it was.
    """
    with write_errors(path), temporary_file(path, rename) as file:
        yield file


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn an error of the file system within the block into one line.

    Raises:
        ResultError: names ``path``, what went wrong and what to do.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        advice = "free some space" if full else "choose a folder you may write to"
        raise ResultError(
            f"cannot write {path}: {error.strerror}; {advice} and run the same command again: what is published stays",
            None if full else Remedy.OUTPUT_FOLDER,
        ) from error
