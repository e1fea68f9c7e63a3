"""Mutated media files in a reading process: read, or an error of vpbench; a crash is survived, nothing hangs or grows.

``FUZZ_MEDIA`` is the number of files (`make fuzz`: 500). A failure names the seed of its file.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from pathlib import Path
from random import Random

import av
import cv2
import numpy as np
import pytest
from mutations import mutated_bytes
from tiny_video import known_frames, write_picture, write_video
from twins import bair_example, bair_file, caltech_video, mnist_digits, moving_mnist_test, picture

from vpbench.clips.blocks import encode_block
from vpbench.errors import VpbenchError
from vpbench.toolkit.processes import Child, ChildEndedError, TooLargeError, TooSlowError
from vpbench_bair.records import crc32c

pytestmark = pytest.mark.slow

FILES = int(os.environ.get("FUZZ_MEDIA", "60"))
SECONDS, GIB = 60, 2
READERS = {
    "x.png": "picture",
    "x.jpg": "picture",
    "x.webp": "picture",
    "x.tif": "picture",
    "png.avi": "video",
    "x.mkv": "video",
    "mpeg4.mp4": "video",
    "mjpeg.avi": "video",
    "x.gif": "video",
    "x.flo": "flow",
    "flow.npy": "flow",
    "flow.npz": "flow",
    "flow.png": "flow",
    "saved.npy": "saved",
    "block.npy": "block",
    "block.z": "block",
    "x.seq": "seq",
    "clips.npy": "moving_digits",
    "x.idx": "idx",
    "x.idx.gz": "idx",
    "softmotion30_44k/test/traj_0_to_255.tfrecords": "records",
}
FRAMES = known_frames(12, 48, 64)
RNG = np.random.default_rng(0)
ACTIONS = RNG.normal(size=(30, 4)).astype(np.float32)
CLIP = np.broadcast_to(picture("clip", (64, 64)), (30, 64, 64, 3))


def encode(path: Path, codec: str, pixels: str) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *FRAMES.shape[1:3], pixels
        for frame in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an intact file of every kind."""
    folder = tmp_path_factory.mktemp("intact")
    for name in ("x.png", "x.jpg", "x.webp", "x.tif"):
        write_picture(folder / name, picture(name, (40, 56)))
    write_video(folder / "png.avi", FRAMES)
    write_video(folder / "x.mkv", FRAMES)
    encode(folder / "mpeg4.mp4", "mpeg4", "yuv420p")
    encode(folder / "mjpeg.avi", "mjpeg", "yuvj420p")
    encode(folder / "x.gif", "gif", "rgb8")
    flow = RNG.normal(size=(20, 30, 2)).astype(np.float32)
    (folder / "x.flo").write_bytes(struct.pack("<fii", 202021.25, 30, 20) + flow.tobytes())
    np.save(folder / "flow.npy", flow)
    np.save(folder / "saved.npy", flow)
    for name in ("block.npy", "block.z"):
        (folder / name).write_bytes(
            encode_block(np.rint(flow)[None].repeat(2, axis=0), (folder / name).suffix, flow=True)
        )
    np.savez_compressed(folder / "flow.npz", flow=flow)
    cv2.imwrite(str(folder / "flow.png"), RNG.integers(1, 2**16, (20, 30, 3)).astype(np.uint16))
    caltech_video(folder / "x.seq", FRAMES)
    moving_mnist_test(folder, 2)
    (folder / "mnist_test_seq.npy").rename(folder / "clips.npy")
    for name in ("x.idx", "x.idx.gz"):
        mnist_digits(folder / name, RNG.integers(0, 256, (5, 28, 28), dtype=np.uint8))
    bair_file(folder, "test", "traj_0_to_255", CLIP[None], ACTIONS[None])
    return folder


def mutated(name: str, data: bytes, random: Random) -> bytes:
    """Change a file; half of the records of BAIR get the checksums of their new content."""
    if not name.endswith("tfrecords") or random.random() < 0.5:
        return mutated_bytes(data, random)
    content = mutated_bytes(bair_example(CLIP, ACTIONS), random)
    length = struct.pack("<Q", len(content))
    return length + checksum(length) + content + checksum(content)


def checksum(data: bytes) -> bytes:
    state = crc32c(data)
    return struct.pack("<I", ((state >> 15 | state << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def test_mutated_media(intact: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    outcomes: Counter[str] = Counter()
    faults = []
    child = Child("media_readers:serve", READERS)

    def read(name: str, path: Path) -> str:
        nonlocal child
        if not child.runs:
            child = Child("media_readers:serve", READERS)
        child.send((name, path))
        try:
            child.receive(SECONDS, GIB)
        except VpbenchError as error:
            return "refused" if str(error).strip() and "\n" not in str(error) else f"not one line: {error!r}"
        except ChildEndedError:
            return "crashed"
        except (TooSlowError, TooLargeError) as error:
            return type(error).__name__
        except RuntimeError as error:
            return str(error)
        return "read"

    for name in READERS:
        assert read(name, intact / name) == "read", name
    for seed in range(FILES):
        name = list(READERS)[seed % len(READERS)]
        random = Random(f"media {seed}")
        path = tmp_path / str(seed) / name
        path.parent.mkdir(parents=True)
        path.write_bytes(mutated(name, (intact / name).read_bytes(), random))
        outcome = read(name, path)
        outcomes[outcome if outcome in ("read", "refused", "crashed") else "faulty"] += 1
        if outcome not in ("read", "refused", "crashed"):
            faults.append(f"seed {seed}, {name}: {outcome}"[:300])
        path.unlink()
    child.close()
    capfd.readouterr()
    print(f"{FILES} files: {dict(sorted(outcomes.items()))}")
    assert not faults, "\n".join(faults[:20])
