"""Every metric against golden values of two or more independent sources, and what sources say today against them."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import table
from golden.cases import SPACE, frame_metrics

from vpbench.plugin.loader import load_plugins
from vpbench.plugin.metric import Undefined, Value
from vpbench_metrics import engines

FILES = sorted(Path(table.__file__).parent.glob("*.json"))
GOLDEN = {metric: entry for path in FILES for metric, entry in json.loads(path.read_text())["metrics"].items()}
VALUES = [(metric, case) for metric, entry in GOLDEN.items() for case in entry["values"]]
OF_PASS = ("mse", "mae", "psnr", "psnr@pooled", "copy-index", "ssim", "ms-ssim", "ms-ssim@fvs")
UNIFORM = ("ssim@uniform7", "ssim@openstl", "ssim@uint8")
NUMBA = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
THROUGH = [pytest.param(n, c, "numba", marks=NUMBA) for n, c in VALUES if n in OF_PASS]
THROUGH += [(n, c, word) for word in ("opencv", "torch") for n, c in VALUES if n in (*OF_PASS, *UNIFORM)]


@pytest.fixture
def metric_of(request, monkeypatch):
    """Build a metric by name; LPIPS needs its backbone."""

    def build(name, device="cpu"):
        if name.startswith("lpips"):
            monkeypatch.setenv("VPBENCH_WEIGHTS", request.getfixturevalue("lpips_weights")(name))
        return load_plugins([]).load("metric", name)(device)

    return build


def score(metric, comparison):
    rows = [value for clip in metric.measure(comparison) for value in clip]
    values = [row.value if isinstance(row, Value) else row for row in rows if not isinstance(row, Undefined)]
    scores = metric.finalise(values)
    return scores["score"] if isinstance(scores, dict) else scores


def check(name, case, value):
    sources = GOLDEN[name]["values"][case]
    assert sources == {source: pytest.approx(value, abs=GOLDEN[name]["tolerance"], rel=0) for source in sources}


def test_every_metric_has_golden_values_of_two_sources():
    """Metrics of samples and of sets have theirs in test_probabilistic, test_diversity, test_fvd and test_distances."""
    assert sorted(GOLDEN) == sorted(table.METRICS) == sorted(frame_metrics())
    for name, (_, tolerance, cases, sources) in table.METRICS.items():
        assert GOLDEN[name]["tolerance"] == tolerance <= 1e-5
        assert {(case, source) for case, values in GOLDEN[name]["values"].items() for source in values} == {
            (case, source) for case in cases for source in sources
        }
        assert len(sources) >= 2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), VALUES)
def test_values_are_those_of_every_source(metric_of, name, case):
    check(name, case, score(metric_of(name), table.METRICS[name][2][case].comparison()))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case", "word"), THROUGH)
def test_values_of_each_engine(monkeypatch, metric_of, name, case, word):
    monkeypatch.setattr(engines, "library", lambda device: word)
    check(name, case, score(metric_of(name), table.METRICS[name][2][case].comparison()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("family", sorted({family for family, *_ in table.METRICS.values()}))
def test_values_on_a_gpu(metric_of, family):
    """With TF32 allowed, as training leaves it."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    try:
        for name, case in VALUES:
            if table.METRICS[name][0] == family:
                check(name, case, score(metric_of(name, "cuda"), table.METRICS[name][2][case].comparison("cuda")))
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


QUICK = [
    (name, case, source)
    for name, entry in GOLDEN.items()
    for case, sources in entry["values"].items()
    for source in sources
    if "512x1024" not in case and not (name.startswith("ms-ssim") and source == "scipy")
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case", "source"), QUICK)
def test_sources_still_say_so(request, monkeypatch, name, case, source):
    if name.startswith("lpips"):
        monkeypatch.setenv("VPBENCH_WEIGHTS", request.getfixturevalue("lpips_weights")(name))
    if (package := source.split(",")[0]) in ("torchmetrics", "piqa"):
        pytest.importorskip(package)
    _, _, cases, sources = table.METRICS[name]
    assert sources[source](cases[case]) == pytest.approx(GOLDEN[name]["values"][case][source], rel=1e-6, abs=1e-9)


def test_the_cases_are_what_float32_is_bad_at_and_what_metrics_have_rules_for():
    world = table.WORLD["world"]
    assert np.isnan(world.flow).any() and (world.labels == 255).any()
    assert SPACE.names.index("bus") in world.guess and SPACE.names.index("bus") not in world.labels
    assert {case.true.shape[-2:] for case in table.MULTISCALE.values()} == {(161, 161), (176, 184), (512, 1024)}
