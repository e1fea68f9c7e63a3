"""Look at the sizes that a video's container states, to notice a file that was cut off; nothing is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from vpbench.errors import DataError

_BOXES = 1 << 16
"""Top-level parts looked at, at most: a fragmented MP4 has two for each second or so."""
_UNKNOWN_RIFF = (0, 0x7FFFFFFF, 0xFFFFFFFF)
"""The length that programs write if they cannot return to the header: live recording, pipes."""


def check_whole(path: Path, size: int) -> None:
    """Check that a video file of ``size`` bytes reaches as far as its container says.

    AVI (RIFF), MP4 and MOV (boxes) and Matroska and WebM (EBML) state sizes; an unknown size is no error. GIF has a
    trailer.

    Raises:
        DataError: bytes are missing at the end.
    """
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] == b"RIFF":
            end = _riff_end(start)
        elif start[:4] == b"\x1a\x45\xdf\xa3":
            end = _matroska_end(file)
        elif start[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"):
            end = _boxes_end(file, size)
        elif start[:3] == b"GIF":
            end = _gif_end(file, size)
        else:
            return
    if end > size:
        raise DataError(f"{path}: is cut off: {size} of {end} bytes; get the file again")


def _riff_end(start: bytes) -> int:
    length = int.from_bytes(start[4:8], "little")
    return 0 if length in _UNKNOWN_RIFF else 8 + length


def _gif_end(file: BinaryIO, size: int) -> int:
    """Return the size of a GIF, or more where its last byte, apart from padding, is not the trailer."""
    file.seek(max(0, size - 512))
    return size if file.read().rstrip(b"\0\r\n ").endswith(b";") else size + 1


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Return where the last top-level box of an MP4 ends."""
    end = 0
    for _ in range(_BOXES):
        file.seek(end)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if len(head) < 8 or length < 8:  # the end of the file; 0: up to the end
            break
        end += length
        if end > size:
            break
    return end


def _matroska_end(file: BinaryIO) -> int:
    """Return where the segment ends, the second element of the file; 0 where its size is unknown."""
    file.seek(4)
    header = _ebml_size(file)
    file.seek(header or 0, 1)
    if header is None or file.read(4) != b"\x18\x53\x80\x67":
        return 0
    length = _ebml_size(file)
    return 0 if length is None else file.tell() + length


def _ebml_size(file: BinaryIO) -> int | None:
    """Read the size of an EBML element (RFC 8794, section 6); None where it is unknown or not one."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + file.read(width - 1), "big")
    return None if value == (1 << 7 * width) - 1 else value
