"""Weights files: where they are looked for, what their names promise, and every way in which they can be missing."""

from __future__ import annotations

import hashlib
import os
import pickle
import urllib.error
from pathlib import Path
from threading import Event

import pytest
import torch
from safetensors.torch import save_file

from vpbench.errors import DataError
from vpbench.toolkit import package_index, weights

URL = "https://example.org/models/net-12345678.pth"


@pytest.fixture(autouse=True)
def _fresh(cache, monkeypatch):
    monkeypatch.delenv("VPBENCH_WEIGHTS", raising=False)
    weights.reachable.cache_clear()
    yield
    weights.reachable.cache_clear()


@pytest.fixture
def offline(monkeypatch):
    requests = []

    def refuse(request, **kwargs):
        requests.append(request)
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return requests


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("VPBENCH_WEIGHTS", str(folder))
    return folder


def published(folder: Path, tensors: dict) -> Path:
    """A file as torchvision names it: by its own hash."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, folder / "plain")
    digest = hashlib.sha256((folder / "plain").read_bytes()).hexdigest()
    return (folder / "plain").rename(folder / f"net-{digest[:8]}.pth")


def test_the_users_folder_comes_before_the_cache(cache, folder):
    for place in (cache / "weights", folder):
        assert weights.find("a.pth", "b.pth") is None or place == folder
        place.mkdir(parents=True, exist_ok=True)
        (place / "b.pth").touch()
        assert weights.find("a.pth", "b.pth") == place / "b.pth"
    (cache / "weights" / "a.pth").touch()
    assert weights.find("a.pth", "b.pth") == folder / "b.pth"
    (folder / "a.pth").touch()
    assert weights.find("a.pth", "b.pth") == folder / "a.pth"


def test_a_file_that_is_here_is_not_asked_for_elsewhere(folder, offline):
    path = published(folder, {"w": torch.ones(2)})
    assert weights.obtain(f"https://example.org/{path.name}") == path
    assert not offline


def test_a_file_that_is_not_what_its_name_says(folder):
    (folder / "net-12345678.pth").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"weights/net-12345678.pth: its sha256 does not begin with 12345678"):
        weights.obtain(URL)
    (folder / "net.pth").write_bytes(b"its name promises nothing")
    assert weights.obtain("https://example.org/net.pth") == folder / "net.pth"


def test_without_file_and_network_it_says_what_to_put_where(cache, offline):
    for _ in range(2):
        with pytest.raises(weights.MissingWeightsError) as caught:
            weights.obtain(URL)
    assert str(caught.value) == (
        f"the weights net-12345678.pth are not here, and cannot be downloaded from here: get {URL} elsewhere and put "
        f"it into $VPBENCH_WEIGHTS or {cache / 'weights'}"
    )
    assert len(offline) == 1, "asked once per process"
    assert not cache.exists()


def test_a_host_whose_name_is_not_resolved_does_not_block(monkeypatch):
    never = Event()

    def look_up(*args, **kwargs):
        never.wait(60)
        raise urllib.error.URLError("no such host")

    monkeypatch.setattr(weights, "_PROBE_SECONDS", 0.1)
    monkeypatch.setattr("urllib.request.urlopen", look_up)
    assert not weights.reachable(URL)
    never.set()


def test_a_silent_firewall_costs_at_most_six_seconds():
    """Ten seconds are promised, of which loading torch and pip takes some."""
    assert weights._PROBE_SECONDS + package_index._ANSWER_SECONDS <= 6


class TestDownload:
    """From file:// addresses: everything but the wire."""

    def test_it_is_announced_kept_in_the_cache_and_not_repeated(self, cache, tmp_path, capsys):
        source = published(tmp_path / "there", {"w": torch.ones(2)})
        path = weights.obtain(source.as_uri())
        assert path == cache / "weights" / source.name
        assert path.read_bytes() == source.read_bytes()
        assert list((cache / "weights").iterdir()) == [path]
        printed = capsys.readouterr()
        assert printed.err.startswith(f"downloading {source.name} (once) to {cache / 'weights'}")
        assert printed.out == ""
        source.unlink()
        assert weights.obtain(source.as_uri()) == path
        assert capsys.readouterr().err == ""

    def test_a_wrong_hash_leaves_nothing(self, cache, tmp_path):
        source = tmp_path / "net-12345678.pth"
        source.write_bytes(b"not that")
        with pytest.raises(weights.MissingWeightsError, match=r"its download failed \(invalid hash value"):
            weights.obtain(source.as_uri())
        assert list((cache / "weights").iterdir()) == []

    def test_a_cache_that_cannot_be_written(self, cache, tmp_path):
        source = published(tmp_path / "there", {"w": torch.ones(2)})
        cache.write_text("a file, not a folder")
        with pytest.raises(weights.MissingWeightsError, match="its download failed"):
            weights.obtain(source.as_uri())


class TestRead:
    @pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
    def test_both_kinds(self, tmp_path, name):
        tensors = {"w": torch.arange(3.0), "n": torch.tensor(4)}
        (save_file if name.endswith("safetensors") else torch.save)(tensors, tmp_path / name)
        read = weights.read(tmp_path / name)
        assert read.keys() == tensors.keys()
        assert all(torch.equal(read[key], tensors[key]) for key in tensors)

    @pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
    @pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x80\x02garbage", b"PK\x03\x04 half"])
    def test_garbage(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: "):
            weights.read(tmp_path / name)

    @pytest.mark.parametrize(
        "header",
        [
            b"[1]",
            b'{"a":' * 10**5,
            b'{"__metadata__":{"vpbench":{}}}',
            b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}',
            b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}',
            b'{"a":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}}',
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a\x1b[31m":3}',
        ],
    )
    def test_a_strange_header(self, tmp_path, header):
        data = b"" if b"[0,0]" in header else bytes(4)
        (tmp_path / "net.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
        words = "net.safetensors: is not a safetensors file that can be read"
        with pytest.raises(DataError, match=words) as caught:
            weights.read(tmp_path / "net.safetensors")
        assert "\x1b" not in str(caught.value)
        assert len(str(caught.value)) < 300 + len(str(tmp_path))

    def test_more_than_tensors(self, tmp_path):
        torch.save({"state_dict": {"w": torch.ones(1)}}, tmp_path / "net.pth")
        with pytest.raises(DataError, match=r"holds more than tensors: `vpbench weights convert .*net.pth`"):
            weights.read(tmp_path / "net.pth")

    def test_a_pickle_that_runs_code_is_not_run(self, tmp_path):
        class Hostile:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "it ran"),)

        torch.save({"w": Hostile()}, tmp_path / "net.pth")
        with pytest.raises(DataError, match=r"asks for posix.mkdir when loaded, which is not weights; nothing"):
            weights.read(tmp_path / "net.pth")
        (tmp_path / "net.pth").write_bytes(pickle.dumps({"w": Hostile()}))
        with pytest.raises(DataError, match=r"net.pth: is not a file of torch.save that loads"):
            weights.read(tmp_path / "net.pth")
        assert not (tmp_path / "it ran").exists()


class TestLoadNetwork:
    PATH = Path("net.pth")

    def load(self, **changes):
        tensors = {"weight": torch.ones(2, 3, dtype=torch.float16), "bias": torch.zeros(2)} | changes
        with torch.device("meta"):
            network = torch.nn.Linear(3, 2)
        return weights.load_network(network, {k: v for k, v in tensors.items() if v is not None}, self.PATH)

    def test_ready_for_inference_in_float32(self):
        network = self.load()
        assert torch.equal(network(torch.ones(1, 3)), torch.full((1, 2), 3.0))
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"bias": None}, "net.pth: has no tensor 'bias'"),
            ({"bias": torch.zeros(3)}, r"'bias' is \[3\], not \[2\]"),
            ({"scale": torch.zeros(3)}, "a tensor 'scale' too many"),
            ({"bias": torch.zeros(2, dtype=torch.int8)}, "'bias' is int8, not float32: it is of another network"),
            ({"bias": torch.zeros(2, dtype=torch.int64)}, "'bias' is int64, not float32"),
        ],
    )
    def test_of_another_network(self, changes, words):
        with pytest.raises(DataError, match=words):
            self.load(**changes)
