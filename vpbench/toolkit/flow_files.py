"""Read maps of optical flow: Middlebury's ``.flo``, KITTI's 16-bit ``.png``, and arrays as ``.npy`` or ``.npz``."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from vpbench.errors import DataError
from vpbench.toolkit.arrays import load_array
from vpbench.toolkit.folders import regular_file

FLOW_SUFFIXES: Final = (".flo", ".npy", ".npz", ".png")
_MAGIC: Final = np.float32(202021.25)
_UNKNOWN: Final = 1e9
"""Middlebury's files mark a pixel without flow with a larger number."""
_KITTI_ZERO, _KITTI_STEPS = 2**15, 64
_PNG_START: Final = 8
"""The byte of a PNG file at which its first chunk begins: width and height, 8 bytes later."""
_DEFLATE: Final = 1100
"""A PNG file cannot expand further: deflate compresses 1,032 to 1 at most."""


def read_flow(path: Path) -> NDArray[np.float32]:
    """Return a map of flow, float32 [H,W,2] in pixels, x first.

    A pixel that the file marks as unknown takes the flow of the nearest known one.

    Raises:
        DataError: the file is missing or no such map, no pixel is known, or a value is not finite.
    """
    try:
        regular_file(path)
        flow = _READERS[path.suffix.lower()](path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: is missing") from error
    except (OSError, ValueError, struct.error, cv2.error) as error:
        raise DataError(f"{path}: is no map of flow that loads ({error})") from error
    if not np.isfinite(flow).all():
        raise DataError(f"{path}: has NaN or infinite flow")
    return flow


def _read_flo(path: Path) -> NDArray[np.float32]:
    data = path.read_bytes()
    magic = np.frombuffer(data, "<f4", count=1)[0]
    width, height = (int(side) for side in np.frombuffer(data, "<i4", count=2, offset=4))
    if magic != _MAGIC or width < 1 or height < 1 or len(data) != 12 + 8 * height * width:
        raise DataError(f"{path}: is no .flo file, or was cut off")
    flow = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2).astype(np.float32)
    return _filled(flow, np.asarray(np.abs(flow).max(axis=-1) < _UNKNOWN), path)


def _read_kitti(path: Path) -> NDArray[np.float32]:
    data = path.read_bytes()
    _check_png(data, path)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.dtype != np.uint16 or picture.shape[2:] != (3,):
        raise DataError(f"{path}: is no flow in KITTI's form, a PNG with three channels of 16 bits")
    steps = picture[..., [2, 1]].astype(np.float32)  # OpenCV's order is blue, green, red
    flow = np.asarray((steps - _KITTI_ZERO) / _KITTI_STEPS, np.float32)
    return _filled(flow, picture[..., 0] > 0, path)


def _check_png(data: bytes, path: Path) -> None:
    """Check the sizes that a PNG file claims: OpenCV allocates as much, so a few wrong bytes would fill the memory."""
    width, height = struct.unpack_from(">II", data, _PNG_START + 8)
    end = _PNG_START
    while end < len(data) and data[end + 4 : end + 8] != b"IEND":
        (length,) = struct.unpack_from(">I", data, end)
        end += length + 12
    if end > len(data) or 6 * width * height > _DEFLATE * len(data):
        raise DataError(f"{path}: is a damaged PNG file, or was cut off; get the file again")


def _read_array(path: Path) -> NDArray[np.float32]:
    array = load_array(path, member="flow")
    if array.dtype.kind != "f" or array.ndim != 3 or array.shape[2] != 2:
        raise DataError(f"{path}: is {array.dtype} {list(array.shape)}; flow must be float [H,W,2]")
    return array.astype(np.float32)


_READERS: Final = {".flo": _read_flo, ".png": _read_kitti, ".npy": _read_array, ".npz": _read_array}


def _filled(flow: NDArray[np.float32], valid: NDArray[np.bool_], path: Path) -> NDArray[np.float32]:
    """Return flow with unknown pixels like the nearest known one."""
    if valid.all():
        return flow
    if not valid.any():
        raise DataError(f"{path}: marks every pixel as unknown")
    kind = cv2.DIST_LABEL_PIXEL
    _, nearest = cv2.distanceTransformWithLabels((~valid).astype(np.uint8), cv2.DIST_L2, 5, labelType=kind)
    values = np.zeros((nearest.max() + 1, 2), np.float32)
    values[nearest[valid]] = flow[valid]
    return np.asarray(values[nearest])
