"""`scenes` gives the same bytes on every machine: pinned hashes, also with the vector units switched off."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vpbench_scenes.dataset import Options, Scenes

CLIPS = {
    "test-000000": {"size": (64, 96), "length": 6},
    "test-000001": {"size": (48, 64)},
    "test-000017": {"size": (64, 64), "branch": 3},
    "train-000002": {"size": (48, 64), "variant": "static"},
    "train-004095": {"size": (40, 72), "length": 12},
    "val-000005": {"size": (48, 64), "variant": "same-look"},
    "val-000063": {"size": (64, 48), "variant": "shuffled"},
    "test-000063": {"size": (192, 256), "length": 2},
}
PINNED = {
    "test-000000": "3df2d4c5d79d5833",
    "test-000001": "5b6bd69ac4445008",
    "test-000017": "7d093504a6b6fe5c",
    "train-000002": "cd8f079fdf193c44",
    "train-004095": "f6bbb8d4e1868807",
    "val-000005": "49b3628f07a30463",
    "val-000063": "430f3ec52d75c040",
    "test-000063": "674f7f1352beca27",
}


def hashes() -> dict[str, str]:
    """One hash per clip: frames, labels, instances, flow and dis-occlusion, in this order, of all frames."""
    out = {}
    for name, options in CLIPS.items():
        dataset, total = Scenes(options=Options(**options)), hashlib.sha256()
        for modality in ("frames", "semantics", "instances", "flow", "disocclusion"):
            array = dataset.read(name, range(dataset.options.length), modality)
            total.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        out[name] = total.hexdigest()[:16]
    return out


def test_eight_clips_have_the_pinned_hashes():
    assert hashes() == PINNED


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_vector_units():
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    on = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    code = (
        "from numpy._core._multiarray_umath import __cpu_features__ as on\n"
        "from test_scenes_bytes import hashes\n"
        f"print([n for n in {on!r} if on[n]], hashes())"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(on), "PYTHONPATH": path}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == f"[] {PINNED}"
