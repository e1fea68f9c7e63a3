"""`vpbench weights convert`: tensors come out as they went in, wrapped or not, and nothing in the pickle is run."""

from __future__ import annotations

import argparse
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file

TENSORS = {
    "conv.weight": torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)),
    "conv.bias": torch.arange(4, dtype=torch.float16),
    "bn.num_batches_tracked": torch.tensor(7),
}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in TENSORS.items()}


@pytest.fixture
def convert(vpbench, tmp_path):
    def call(content, *args):
        torch.save(content, tmp_path / "net.pth")
        return vpbench("weights", "convert", tmp_path / "net.pth", *args)

    return call


@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        {"state_dict": TENSORS, "epoch": 3, "best": 0.5},
        {"model": TENSORS, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}},
        {"model_state_dict": TENSORS},
        {"model": {"state_dict": TENSORS}},
        prefixed("module."),
        {"state_dict": prefixed("module._orig_mod.")},
        {
            name: torch.nn.Parameter(tensor) if tensor.is_floating_point() else tensor
            for name, tensor in TENSORS.items()
        },
    ],
)
def test_the_state_dict_is_found_and_comes_out_as_it_was(convert, tmp_path, content):
    done = convert(content)
    assert (done.code, done.err) == (0, "")
    out = tmp_path / "net.safetensors"
    assert done.out.startswith(f"{out}: 3 tensors, 0.0 MiB, sha256 ")
    tensors = load_file(out)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor, TENSORS[name])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pth", "net.safetensors"]


def test_a_prefix_that_only_some_names_have_stays(convert, tmp_path):
    assert convert({"module.a": torch.ones(1), "b": torch.ones(1)}).code == 0
    assert load_file(tmp_path / "net.safetensors").keys() == {"module.a", "b"}


def test_shared_tensors_and_views_are_written_each_by_itself(convert, tmp_path):
    whole = torch.arange(1000.0).view(10, 100)
    assert convert({"a": whole, "tied": whole, "part": whole[0], "turned": whole.T}).code == 0
    tensors = load_file(tmp_path / "net.safetensors")
    assert torch.equal(tensors["a"], tensors["tied"])
    assert torch.equal(tensors["part"], whole[0])
    assert torch.equal(tensors["turned"], whole.T)
    assert convert({"part": whole[0]}, "--out", tmp_path / "part.safetensors").code == 0
    assert (tmp_path / "part.safetensors").stat().st_size < 1000


def test_nothing_is_overwritten(convert, tmp_path):
    out = tmp_path / "net.safetensors"
    out.write_bytes(b"precious")
    done = convert(TENSORS)
    assert done.code == 2
    assert f"{out}: is there already" in done.error
    assert out.read_bytes() == b"precious"
    assert convert(TENSORS, "--out", tmp_path / "new" / "other.safetensors").code == 0
    assert load_file(tmp_path / "new" / "other.safetensors").keys() == TENSORS.keys()


class Hostile:
    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("how", ["zip", "legacy", "bare pickle", "nested"])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(vpbench, tmp_path, how):
    file, trace = tmp_path / "net.pth", tmp_path / "it ran"
    content = {"state_dict": {"w": Hostile(trace)}} if how == "nested" else Hostile(trace)
    if how == "bare pickle":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=how != "legacy")
    done = vpbench("weights", "convert", file)
    assert done.code == 1
    assert "asks for posix.system when loaded, which is not weights; nothing of it was run" in done.error
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]
    torch.load(file, weights_only=False) if how != "bare pickle" else pickle.loads(file.read_bytes())
    assert trace.exists(), "the test's pickle does not run anything"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": TENSORS, "args": argparse.Namespace(lr=1)}, "asks for argparse.Namespace when loaded"),
        (torch.nn.Linear(2, 2), "asks for torch.nn.modules.linear.Linear when loaded"),
        ({**TENSORS, "epoch": 3}, "'epoch' is a int, not a tensor: torch.save(model.state_dict(), FILE)"),
        ({"net": TENSORS}, "'net' is a dict, not a tensor"),
        ({1: torch.ones(1)}, "1 is a Tensor, not a tensor"),
        ({"model": TENSORS, "state_dict": TENSORS}, "holds both 'state_dict' and 'model'"),
        ([torch.ones(1)], "holds a list, not a state dict"),
        (torch.ones(3), "holds a Tensor, not a state dict"),
        ({}, "holds nothing, not a state dict"),
        ({"state_dict": {}}, "holds nothing, not a state dict"),
        ({"w": torch.eye(3).to_sparse()}, "holds a tensor that safetensors cannot"),
    ],
)
def test_what_is_no_state_dict_is_named(convert, tmp_path, content, words):
    done = convert(content)
    assert done.code == 1
    assert f"{tmp_path / 'net.pth'}: " in done.error
    assert words in done.error
    assert not (tmp_path / "net.safetensors").exists()


@pytest.mark.parametrize("damage", ["none", "empty", "text", "cut", "folder"])
def test_files_that_are_not_there_or_broken(vpbench, tmp_path, damage):
    file = tmp_path / "net.pth"
    if damage == "folder":
        file.mkdir()
    elif damage != "none":
        torch.save(TENSORS, file)
        file.write_bytes({"empty": b"", "text": b"weights, really", "cut": file.read_bytes()[:300]}[damage])
    done = vpbench("weights", "convert", file)
    assert done.code == 1
    assert str(file) in done.error
    assert not (tmp_path / "net.safetensors").exists()


def test_safetensors_need_no_conversion(vpbench, tmp_path):
    (tmp_path / "net.safetensors").touch()
    done = vpbench("weights", "convert", tmp_path / "net.safetensors")
    assert done.code == 2
    assert "is safetensors already" in done.error
