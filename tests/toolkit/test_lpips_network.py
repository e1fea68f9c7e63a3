"""The LPIPS network: every way in which its backbone can be missing or broken, and what a download keeps."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vpbench.errors import DataError
from vpbench.toolkit import lpips_network as module
from vpbench.toolkit.lpips_network import lpips_network
from vpbench.toolkit.weights import MissingWeightsError

CONVOLUTIONS = "lpips_alexnet_features.safetensors"


@pytest.fixture
def folder(cache, tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("VPBENCH_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def tensors(shared) -> dict[str, torch.Tensor]:
    return load_file(shared / "weights" / CONVOLUTIONS)


@pytest.fixture
def whole(tensors, tmp_path, monkeypatch) -> Path:
    """A file like torchvision's, which the module takes for it."""
    path = tmp_path / "whole.pth"
    torch.save(tensors | {"classifier.1.weight": torch.zeros(2, 2)}, path)
    url = f"https://example.org/alexnet-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    monkeypatch.setattr(module, "_URL", url)
    return path


@pytest.mark.slow
def test_a_file_of_another_network_is_an_error(folder, tensors):
    path = folder / CONVOLUTIONS
    save_file({name: tensor for name, tensor in tensors.items() if name != "features.8.bias"}, path)
    with pytest.raises(DataError, match=r"has no tensor 'features.8.bias'"):
        lpips_network()
    save_file(tensors | {"features.0.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(DataError, match=r"'features.0.weight' is \[64, 3, 7, 7\], not \[64, 3, 11, 11\]"):
        lpips_network()
    save_file({name: tensor / 2 for name, tensor in tensors.items()}, path)
    with pytest.raises(DataError, match=r"LPIPS of a known pair is .* not the ImageNet AlexNet"):
        lpips_network()


@pytest.mark.slow
def test_torchvisions_file_is_read_if_its_hash_fits(folder, whole):
    path = folder / Path(module._URL).name
    path.write_bytes(whole.read_bytes() + b" ")
    with pytest.raises(DataError, match=r"its sha256 does not begin with"):
        lpips_network()
    whole.rename(path)
    lpips_network()


@pytest.mark.slow
def test_a_download_keeps_the_convolutions_in_the_cache(cache, whole, tensors, monkeypatch):
    monkeypatch.delenv("VPBENCH_WEIGHTS", raising=False)
    monkeypatch.setattr(module, "reachable", lambda url: True)
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, path, **kwargs: whole.rename(path))
    lpips_network()
    assert [path.name for path in (cache / "weights").iterdir()] == [CONVOLUTIONS]
    cached = load_file(cache / "weights" / CONVOLUTIONS)
    assert cached.keys() == tensors.keys() and all(torch.equal(cached[name], tensors[name]) for name in tensors)
    lpips_network()  # without a second download: its source is gone


@pytest.mark.parametrize("error", [RuntimeError("invalid hash value"), OSError("connection reset")])
def test_a_download_that_fails_says_where_to_put_the_file(cache, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.delenv("VPBENCH_WEIGHTS", raising=False)
    monkeypatch.setattr(module, "reachable", lambda url: True)
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(MissingWeightsError, match=rf"its download failed \({error}\): put {CONVOLUTIONS}"):
        lpips_network()
    assert list((cache / "weights").iterdir()) == []
