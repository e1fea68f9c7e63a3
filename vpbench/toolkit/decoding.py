"""Decode video files with FFmpeg: opened as files only, damage is an error, frames are turned upright."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from numpy.typing import NDArray

from vpbench.errors import DataError, Remedy
from vpbench.toolkit.containers import check_whole
from vpbench.toolkit.folders import regular_file

_DEMUXERS = (
    "avi,mov,matroska,mpeg,mpegts,mpegvideo,gif,flv,asf,ogg,ivf,nut,dv,mxf,yuv4mpegpipe,h264,hevc,m4v,mjpeg,apng"
)
"""Formats that hold their frames themselves. Playlists are left out: they would open other files and addresses."""
_ERROR_DETECTION = {"err_detect": "crccheck+bitstream+buffer+explode"}
"""Let decoders report damage that they conceal by default."""
_METADATA: dict[str, Any] = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}
"""Let a title that is not UTF-8 pass. PyAV 19 always does, and dropped the argument."""


def decode(path: Path) -> Iterator[Any]:
    """Yield the frames that a decoder shows; raise at the first sign of damage."""
    with open_video(path) as container:
        stream = video_stream(container, path)
        stream.codec_context.options = _ERROR_DETECTION
        stream.thread_count = 1  # processes are what runs in parallel
        count = 0
        try:
            for packet in container.demux(stream):
                check_intact(packet, count, path)
                for frame in _frames(packet, stream.codec_context.name, count, path):
                    check_intact(frame, count, path)
                    if not count:
                        check_depth(frame.format, path)
                    count += 1
                    yield frame
        except (av.error.FFmpegError, ValueError) as error:
            raise damaged(path, count, error) from error


def _frames(packet: Any, codec: str, count: int, path: Path) -> list[Any]:
    """Return the frames that a packet completes. The decoder of FFV1 only logs that a checksum does not match."""
    if codec != "ffv1":
        return list(packet.decode())
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=True) as logs:
            frames = list(packet.decode())
    finally:
        av.logging.set_level(level)
    if any("CRC mismatch" in text for _, _, text in logs):
        raise damaged(path, count, "a checksum does not match")
    return frames


def check_intact(item: Any, count: int, path: Path) -> None:
    """Check a packet or frame that FFmpeg may have marked as corrupt: it conceals the damage by default."""
    if item.is_corrupt:
        raise damaged(path, count, "FFmpeg reports damage")


def damaged(path: Path, count: int, error: object) -> DataError:
    """Return the error for a stream that is damaged after ``count`` frames."""
    check_whole(path, path.stat().st_size)  # the more telling error, where bytes are missing
    reason = getattr(error, "strerror", None) or error
    return DataError(
        f"{path}: does not decode ({reason}, after {count} frames); get the file again, or allow a partial "
        f"result, which leaves it out",
        Remedy.ALLOW_PARTIAL,
    )


def check_depth(pixels: Any, path: Path) -> None:
    """Check that frames of a pixel format have at most 8 bits per channel."""
    bits = max((component.bits for component in pixels.components), default=8)
    if bits > 8:
        raise DataError(f"{path}: has {bits} bits per channel ({pixels.name}); convert it to 8 bits")


def upright(image: NDArray[Any], frame: Any, path: Path) -> NDArray[np.uint8]:
    """Turn and flip a frame [H,W,3] as its display matrix says, in steps of 90 degrees.

    The matrix maps the point (x, y) to (a*x + c*y, b*x + d*y), up to a shift (ISO/IEC 14496-12, 6.2.2).
    """
    entry = frame.side_data.get(SideData.DISPLAYMATRIX)
    if entry is None:
        return np.asarray(image, dtype=np.uint8)
    a, b, _, c, d = np.sign(np.frombuffer(entry, np.int32)[:5]).tolist()
    if (a and (b or c)) or (d and (b or c)):
        raise DataError(
            f"{path}: is to be shown at an angle of {frame.rotation} degrees; only turns by 90, 180 and 270 degrees "
            f"and flips are applied: encode it upright"
        )
    if b or c:
        image = image.swapaxes(0, 1)
    return np.ascontiguousarray(image[:: -1 if b + d < 0 else 1, :: -1 if a + c < 0 else 1])


def open_video(path: Path) -> Any:
    """Open a video file; never another file or an address, whatever its name and content say.

    Raises:
        DataError: missing, no regular file, or not a video.
    """
    try:
        regular_file(path)
        # An absolute path names no protocol: a name like "12:30.mp4", "http:x" or "concat:a" stays the name of a file.
        return av.open(str(path.absolute()), options={"format_whitelist": _DEMUXERS}, **_METADATA)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        size = path.stat().st_size
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: is not a video that opens ({size} bytes; {reason}); get the file again") from error


def video_stream(container: Any, path: Path) -> Any:
    """Return the first video stream.

    Raises:
        DataError: there is none, or its codec is unknown.
    """
    if not container.streams.video:
        raise DataError(f"{path}: has no video stream; get the file again")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise DataError(f"{path}: has a codec that FFmpeg does not know; get the file again, or convert it")
    return stream
