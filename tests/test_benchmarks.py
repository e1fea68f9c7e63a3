"""Scripts that measure models at the paper's size also run at a small one."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vpbench.plugin.loader import load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.select.component import choose_predictor
from vpbench.select.trained import save_trained
from vpbench.select.weights_record import KeptRecord, StageRecord, TrainedProtocol, WeightsRecord

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
    words = ("cdnet:iterations-3", "--size", "32", "32", "--batch-size", "2")
    columns = ("options", "parameters", "predict", "train", "state", "kept", "peak", "sum")
    lines = [output("costs.py", *words, "-o", f"cdnet.recompute={mode}").splitlines()[-1] for mode in ("true", "false")]
    on, off = (dict(zip(columns, line.split()[5:], strict=True)) for line in lines)
    assert (on["options"], on["parameters"], on["predict"]) == ("recompute=True", "23,131,188", off["predict"])
    predict, train, recomputed = float(on["predict"]), float(off["train"]), float(on["train"])
    assert 2.9 * predict < train < recomputed, "a backward pass costs two forward passes"
    assert 0 < float(on["kept"]) < float(off["kept"]) and float(on["kept"]) < float(on["peak"])


@pytest.mark.slow
def test_the_costs_of_trained_weights_are_saved(tmp_path):
    options = {"convlstm": {"hidden": [4]}}
    plugins = load_plugins()
    model = choose_predictor(plugins, "convlstm:tiny", options)
    protocol = Protocol.read(plugins.load("protocol", "scenes-static")).model_dump(mode="json", by_alias=True)
    recipe = {"steps": 2, "batch_size": 3}
    stage = StageRecord(name="Forecasting", recipe=recipe, steps=2, kept=KeptRecord(by="last", epoch=1, scores={}))
    record = WeightsRecord(
        predictor="convlstm",
        preset="tiny",
        options=model.options,
        protocol=TrainedProtocol.model_validate(protocol),
        stages=(stage,),
        seed=5,
    )
    weights = tmp_path / "weights.safetensors"
    save_trained(weights, model.value, record)
    output("costs.py", "--weights", weights, "--budget", "time", "--rounds", "1", "--save", tmp_path / "costs.json")
    ((digest, costs),) = json.loads((tmp_path / "costs.json").read_text()).items()
    assert digest == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (costs["predictor"], costs["seed"], costs["steps"], costs["clips"]) == ("convlstm:tiny", 5, 2, 6)
    convolutions = 7 * (9 * 48 * 16 + 48 * 4) + 6 * 9 * 4 * 16  # of the input and the head; the first state is zero
    assert costs["operations"] == 2 * 16 * 24 * convolutions // 4
    assert costs["budgets"] == ["time"]
    (tmp_path / "costs.json").write_text(json.dumps({digest: costs | {"clips": 60_000, "minutes": 0.0}}))
    output("costs.py", "--rounds", "1", "--save", tmp_path / "costs.json")
    assert json.loads((tmp_path / "costs.json").read_text())[digest]["minutes"] > 0


@pytest.mark.slow
def test_the_recurrent_cells_are_measured_next_to_their_textbook_forms():
    figures = json.loads(output("recurrent.py", "--rounds", "1", "--clips", "1", "--json"))
    assert {name for ratios in figures["cells"].values() for name in ratios} == {
        "ConvLSTM",
        "ST-LSTM",
        "MIM",
        "PhyCell",
        "MotionGRU",
        "CrevNet",
    }
    assert all(ratio > 0.8 for ratios in figures["cells"].values() for ratio in ratios.values())
    models = {name: figure for name, figure in figures["models"].items() if name.endswith(":tiny")}
    names = "convlstm", "predrnn", "predrnn-v2", "mim", "motionrnn", "phydnet", "crevnet", "simvp", "tau"
    assert [*models] == [f"{name}:tiny" for name in names]
    assert all(figure["share"] > 0 for figure in models.values())


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--points"], ["--over", "repeat"]], ids=["lines", "points", "quotients"])
def test_curves_are_drawn_of_committed_results(tmp_path, flags):
    results = BENCHMARKS.parent / "leaderboards" / "results" / "scenes"
    labels = [f"{name}={results / name}" for name in ("repeat", "flow-extrapolation")]
    output("curves.py", tmp_path / "out.png", *labels, "--metric", "mse", *flags)
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_queue_of_units_beats_shares_where_workers_are_slow_or_die():
    lines = output("scaling.py", "simulate", "--clips", "16000", "--workers", "20").splitlines()
    assert len(lines) == 3
    for line in lines:
        shares, queue = (float(word) for word in re.findall(r"([\d.]+) times", line))
        assert 0.9 < queue <= shares
    starts = [int(word) for line in lines for word in re.findall(r"(\d+) starts", line)]
    assert starts[:2] == [1, 1] and starts[2] > 1, "units of the dead are missing until the next start"
