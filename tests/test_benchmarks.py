"""Scripts that measure models at the paper's size also run at a small one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def output(script, *words):
    process = subprocess.run([sys.executable, BENCHMARKS / script, *words], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.slow
def test_models_are_measured_on_a_cpu_at_a_small_size():
    text = output("gpu.py", "--small", "--rounds", "1", "--form", "fp32", "--form", "bf16")
    figures = json.loads(text)["figures"]
    measured = {(figure["predictor"], figure["form"]) for figure in figures}
    assert measured == {(name, form) for name in ("sadm:tiny", "cdnet:tiny") for form in ("fp32", "bf16")}
    assert all(figure["frames_per_second"] > 0 for figure in figures)


@pytest.mark.slow
def test_the_costs_of_cdnet_are_counted_with_and_without_recomputation():
    words = ("--preset", "iterations-3", "--size", "32", "32", "--batch-size", "2")
    columns = ("recompute", "parameters", "predict", "train", "state", "kept", "peak", "sum")
    lines = output("cdnet_costs.py", *words).splitlines()[-2:]
    on, off = (dict(zip(columns, line.split()[5:], strict=True)) for line in lines)
    assert (on["recompute"], on["parameters"], on["predict"]) == ("on", "23,131,188", off["predict"])
    predict, train, recomputed = float(on["predict"]), float(off["train"]), float(on["train"])
    assert 2.9 * predict < train < recomputed, "a backward pass costs two forward passes"
    assert 0 < float(on["kept"]) < float(off["kept"]) and float(on["kept"]) < float(on["peak"])


@pytest.mark.slow
def test_the_recurrent_cells_are_measured_next_to_their_textbook_forms():
    figures = json.loads(output("recurrent.py", "--rounds", "1", "--clips", "1", "--json"))
    assert {name for ratios in figures["cells"].values() for name in ratios} == {"ConvLSTM", "ST-LSTM", "MIM"}
    assert all(ratio > 0.8 for ratios in figures["cells"].values() for ratio in ratios.values())
    assert all(figure["share"] > 0 for name, figure in figures["models"].items() if name.endswith(":tiny"))


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--points"], ["--over", "repeat"]], ids=["lines", "points", "quotients"])
def test_curves_are_drawn_of_committed_results(tmp_path, flags):
    results = BENCHMARKS.parent / "leaderboards" / "results" / "scenes"
    labels = [f"{name}={results / name}" for name in ("repeat", "flow-extrapolation")]
    output("curves.py", tmp_path / "out.png", *labels, "--metric", "mse", *flags)
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
