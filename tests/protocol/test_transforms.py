"""The pixel rule: what the named library does, on uint8, and no more."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from vpbench.errors import DataError
from vpbench.plugin.modality import BUILT_IN
from vpbench.protocol.protocol import CentreCrop, Resize
from vpbench.protocol.transforms import transform

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (3, 24, 32, 3), dtype=np.uint8)


def resize(height, width, filter="cv2-linear"):
    return Resize(op="resize", size=(height, width), filter=filter)


def crop(**fields):
    return CentreCrop(op="centre-crop", **fields)


@pytest.mark.parametrize("size", [(12, 16), (13, 31), (48, 64), (1, 1)])
@pytest.mark.parametrize("name", ["linear", "area", "cubic"])
def test_frames_are_resized_as_by_opencv(name, size):
    out = transform(FRAMES, [resize(*size, f"cv2-{name}")], BUILT_IN["frames"])
    flag = getattr(cv2, f"INTER_{name.upper()}")
    assert out.dtype == np.uint8
    assert np.array_equal(out, [cv2.resize(frame, size[::-1], interpolation=flag) for frame in FRAMES])


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "lanczos"])
def test_frames_are_resized_as_by_pillow(name):
    out = transform(FRAMES, [resize(13, 31, f"pil-{name}")], BUILT_IN["frames"])
    flag = getattr(Image.Resampling, name.upper())
    assert np.array_equal(out, [np.asarray(Image.fromarray(frame).resize((31, 13), flag)) for frame in FRAMES])


@pytest.mark.parametrize("name", ["cv2-linear", "cv2-area", "cv2-cubic", "pil-bilinear", "pil-bicubic", "pil-lanczos"])
def test_the_same_size_changes_nothing(name):
    assert np.array_equal(transform(FRAMES, [resize(24, 32, name)], BUILT_IN["frames"]), FRAMES)
    assert np.array_equal(transform(FRAMES, [], BUILT_IN["frames"]), FRAMES)


@pytest.mark.parametrize(("height", "width"), [(12, 16), (11, 15), (1, 1), (48, 64)])
def test_a_height_keeps_the_aspect_ratio(height, width):
    """A width of 32 * 11 / 24 = 14.67 is rounded to 15."""
    frames = transform(FRAMES, [Resize(op="resize", height=height)], BUILT_IN["frames"])
    assert np.array_equal(frames, transform(FRAMES, [resize(height, width)], BUILT_IN["frames"]))


def test_the_square_crop_is_as_wide_as_the_shorter_side():
    assert np.array_equal(transform(FRAMES, [crop(square=True)], BUILT_IN["frames"]), FRAMES[:, :, 4:28])
    upright = FRAMES.transpose(0, 2, 1, 3)
    assert np.array_equal(transform(upright, [crop(square=True)], BUILT_IN["frames"]), upright[:, 4:28])


def test_flow_is_resized_in_float32_and_its_vectors_scaled():
    flow = np.tile(np.array([6, -2], np.float32), (2, 24, 32, 1))
    out = transform(flow, [resize(12, 48)], BUILT_IN["flow"])
    assert out.dtype == np.float32
    assert out.shape == (2, 12, 48, 2)
    assert np.allclose(out, [6 * 48 / 32, -2 * 12 / 24])


def test_flow_is_interpolated_bilinearly():
    flow = RNG.normal(size=(1, 24, 32, 2)).astype(np.float32)
    expected = np.stack([cv2.resize(flow[0, ..., i], (16, 12)) * 0.5 for i in range(2)], -1)
    assert np.allclose(transform(flow, [resize(12, 16)], BUILT_IN["flow"])[0], expected, atol=1e-6)


def test_cropping_does_not_scale_flow():
    flow = RNG.normal(size=(1, 24, 32, 2)).astype(np.float32)
    assert np.array_equal(transform(flow, [crop(size=(12, 16))], BUILT_IN["flow"]), flow[:, 6:18, 8:24])


@pytest.mark.parametrize(
    ("modality", "ids"),
    [("semantics", np.array([0, 7, 255], np.uint8)), ("instances", np.array([0, 70_000, -1], np.int32)),
     ("disocclusion", np.array([False, True]))],
)  # fmt: skip
@pytest.mark.parametrize("size", [(12, 16), (31, 45)])
def test_ids_are_never_mixed(modality, ids, size):
    array = RNG.choice(ids, (2, 24, 32))
    out = transform(array, [resize(*size)], BUILT_IN[modality])
    assert out.dtype == array.dtype
    assert out.shape == (2, *size)
    assert set(np.unique(out)) == set(ids.tolist())
    plain = array.astype(np.int32)
    expected = [cv2.resize(a, size[::-1], interpolation=cv2.INTER_NEAREST) for a in plain]
    assert np.array_equal(out, np.array(expected).astype(array.dtype))


def test_one_context_frame_has_no_flow_and_that_is_resized_too():
    assert transform(np.zeros((0, 24, 32, 2), np.float32), [resize(12, 16)], BUILT_IN["flow"]).shape == (0, 12, 16, 2)


def columns(height, width):
    return np.broadcast_to(np.arange(width, dtype=np.int32), (1, height, width))


def test_kitti_flow_keeps_columns_84_to_339():
    """424 -> 256 columns around the centre (SADM Table 3, after DPG)."""
    out = transform(columns(128, 424), [crop(size=(128, 256))], BUILT_IN["instances"])
    assert out.shape == (1, 128, 256)
    assert (out[0, 0, 0], out[0, 0, -1]) == (84, 339)


def test_human36m_keeps_the_central_half():
    out = transform(columns(1000, 1000), [crop(fraction=0.5)], BUILT_IN["instances"])
    assert out.shape == (1, 500, 500)
    assert (out[0, 0, 0], out[0, 0, -1]) == (250, 749)
    rows = transform(columns(1000, 1000).swapaxes(1, 2), [crop(fraction=0.5)], BUILT_IN["instances"])
    assert (rows[0, 0, 0], rows[0, -1, 0]) == (250, 749)


def test_operations_are_applied_in_order():
    cropped_first = transform(FRAMES, [crop(size=(12, 16)), resize(24, 32)], BUILT_IN["frames"])
    assert np.array_equal(cropped_first, [cv2.resize(f[6:18, 8:24], (32, 24)) for f in FRAMES])
    resized_first = transform(FRAMES, [resize(12, 16), crop(size=(6, 8), fraction=None)], BUILT_IN["frames"])
    assert np.array_equal(resized_first, [cv2.resize(f, (16, 12))[3:9, 4:12] for f in FRAMES])
    assert resized_first.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("size", [(25, 32), (24, 33)])
def test_a_crop_larger_than_the_picture_is_an_error(size):
    with pytest.raises(DataError, match=rf"crop of {size[0]}x{size[1]} \(HxW\) does not fit frames of 24x32"):
        transform(FRAMES, [crop(size=size)], BUILT_IN["frames"])


def test_a_crop_to_nothing_is_an_error():
    with pytest.raises(DataError, match="crop of 0x"):
        transform(FRAMES, [crop(fraction=0.01)], BUILT_IN["frames"])


def test_an_odd_margin_is_larger_on_the_right_and_below():
    out = transform(columns(24, 33), [crop(size=(24, 16))], BUILT_IN["instances"])
    assert (out[0, 0, 0], out[0, 0, -1]) == (8, 23)
