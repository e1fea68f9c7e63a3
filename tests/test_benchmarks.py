"""The script that measures models on a GPU also runs on a CPU, at a small size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.mark.slow
def test_models_are_measured_on_a_cpu_at_a_small_size():
    command = [sys.executable, SCRIPT, "--small", "--rounds", "1", "--form", "fp32", "--form", "bf16"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    figures = json.loads(process.stdout)["figures"]
    measured = {(figure["predictor"], figure["form"]) for figure in figures}
    assert measured == {(name, form) for name in ("sadm:tiny", "cdnet:tiny") for form in ("fp32", "bf16")}
    assert all(figure["frames_per_second"] > 0 for figure in figures)
