"""Checkpoints of a training: what would run code is refused, by one line, and nothing of it is run."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

import vpbench
from vpbench.plugin.loader import load_plugins
from vpbench.training.checkpoint import read_checkpoint
from vpbench.training.train import Stopped

TESTS = Path(__file__).resolve().parents[1]
PLUGINS = [str(TESTS / "toys.py"), str(TESTS / "toy_trainable.py")]
RECIPE = {"epochs": 3, "batch_size": 4, "learning_rate": 3.0}  # diverges: the first epoch's weights stay the best


def training(folder, plugins, **settings):
    """Train in a folder; its checkpoints are kept after every step."""
    path = folder / "toy.toml"
    path.write_text(
        'schema = 1\nname = "toy"\nversion = 1\nmetrics = ["mse"]\n[dataset]\nname = "toy-frames"\n'
        "options = { sequences = 12, length = 10 }\n[sampling]\n"
        'kind = "first"\ncontext = 2\nhorizon = 3\n[training]\nclips = 24\n'
    )
    settings = {"device": "cpu", "minutes": 0, **RECIPE, **settings}
    return vpbench.train("learner", path, plugins=plugins, out=folder / "out", **settings)


@pytest.fixture
def train(tmp_path, cache):
    return partial(training, tmp_path, load_plugins(PLUGINS))


@pytest.fixture(scope="module")
def stopped_training(tmp_path_factory):
    """A training that was stopped after one epoch of three and two batches of the second."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VPBENCH_CACHE", str(folder / "cache"))
        patch.setenv("KILL_SIGNAL", "SIGINT")
        patch.setenv("KILL_AFTER", "8")
        with pytest.raises(Stopped):
            training(folder, load_plugins(PLUGINS))
    return folder / "out"


@pytest.fixture
def stopped(stopped_training, tmp_path):
    """A copy of it, in which :func:`train` resumes."""
    shutil.copytree(stopped_training, tmp_path / "out")


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


class Innocent:
    """An object of a class that is not torch's: to load it, its module would be imported."""


Change = Callable[[Path, object], None]


def bare_pickle(path, value):
    path.write_bytes(pickle.dumps(value))


def added(*keys: str) -> Change:
    def change(path, value):
        content = inner = torch.load(path, weights_only=True)
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        torch.save(content, path)

    return change


CHANGES = {
    "bare pickle": bare_pickle,
    "alone": lambda path, value: torch.save(value, path),
    "old format": lambda path, value: torch.save(value, path, _use_new_zipfile_serialization=False),
    "beside the rest": added("more"),
    "in the weights": added("state_dict", "more"),
    "in the loops": added("loops", "more"),
}
LAST = CHANGES | {"in a callback": added("callbacks", "Saver", "more"), "in an optimiser": added("hyper_parameters")}


def refused(train, path, mark):
    """Resume the training and return the one line of its error, without the path."""
    before = path.read_bytes()
    with pytest.raises(vpbench.DataError) as raised:
        train()
    message = str(raised.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert len(message.replace(str(path.parent), "")) < 250
    assert message.endswith(f". Remove {path.parent}, and this stage trains from its beginning")
    assert not mark.exists(), "it was run"
    assert path.read_bytes() == before
    assert not (path.parent / "weights.safetensors").exists()
    return message


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAST)
@pytest.mark.parametrize("harm", [Hostile, lambda mark: Innocent()], ids=["hostile", "innocent"])
def test_resuming_runs_nothing_of_the_checkpoint(train, stopped, tmp_path, kind, harm):
    (path,), mark = tmp_path.glob("out/**/last.ckpt"), tmp_path / "mark"
    LAST[kind](path, harm(mark))
    message = refused(train, path, mark)
    if kind not in ("bare pickle", "old format"):  # of which nothing is read
        name = "mkdir" if harm is Hostile else "Innocent"
        assert f"{name} when loaded, and a checkpoint holds data only; nothing of it was run" in message


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHANGES)
def test_neither_do_the_best_weights(train, stopped, tmp_path, kind):
    (path,), mark = tmp_path.glob("out/**/best.ckpt"), tmp_path / "mark"
    CHANGES[kind](path, Hostile(mark))
    refused(train, path, mark)


@pytest.mark.slow
def test_lightning_itself_is_told_to_run_nothing(train, stopped, tmp_path, monkeypatch):
    """Were the file exchanged after it was looked at."""
    (path,), mark = tmp_path.glob("out/**/last.ckpt"), tmp_path / "mark"
    added("more")(path, Hostile(mark))
    monkeypatch.setattr("vpbench.training.stage.read_checkpoint", lambda path: {})
    with pytest.raises(vpbench.PredictorError, match="UnpicklingError"):
        train()
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("looked_at", [True, False])
def test_no_pickle_protocol_is_run(tmp_path, monkeypatch, protocol, looked_at):
    """Neither by looking for names in the file, nor by torch, if a name were missed."""
    path, mark = tmp_path / "stage1" / "last.ckpt", tmp_path / "mark"
    path.parent.mkdir()
    torch.save({"state_dict": {}, "more": Hostile(mark)}, path, pickle_protocol=protocol)
    if not looked_at:
        monkeypatch.setattr("vpbench.training.checkpoint.foreign_object", lambda path: None)
    with pytest.raises(vpbench.DataError, match=r"last\.ckpt: (asks for|is not a checkpoint)"):
        read_checkpoint(path)
    assert not mark.exists()


def compressed(path):
    with zipfile.ZipFile(path) as archive:
        content = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        lambda path: path.write_bytes(b""),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save({"epoch": 3}, path),
        compressed,
    ],
    ids=["cut off", "empty", "a list", "no weights", "compressed"],
)
def test_a_damaged_checkpoint_is_named_with_what_to_do(train, stopped, tmp_path, damage):
    (path,) = tmp_path.glob("out/**/last.ckpt")
    damage(path)
    assert "is not a checkpoint" in refused(train, path, tmp_path / "mark")


def test_names_from_the_file_are_escaped_and_cut(tmp_path):
    path = tmp_path / "stage1" / "last.ckpt"
    path.parent.mkdir()
    torch.save({"state_dict": Innocent()}, path)
    name = f"{Innocent.__module__}\nInnocent".encode()
    with zipfile.ZipFile(path) as archive:
        content = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in content.items():
            archive.writestr(entry, data.replace(name, b"\x1b[31mevil\nx" + b"y" * 10**6))
    with pytest.raises(vpbench.DataError, match=r"asks for \\x1b\[31mevil\.xyyy") as raised:
        read_checkpoint(path)
    assert len(str(raised.value).replace(str(path.parent), "")) < 350


@pytest.mark.parametrize("harm", [Innocent, lambda: {"of": [torch.nn.Linear(1, 1)]}], ids=["own class", "module"])
def test_a_stage_that_keeps_objects_is_refused_when_it_is_first_saved(train, tmp_path, monkeypatch, harm):
    """And not when it is resumed, after days."""
    from toy_trainable import Fit

    monkeypatch.setattr(Fit, "on_save_checkpoint", lambda self, checkpoint: checkpoint.update(own=harm()))
    with pytest.raises(
        vpbench.PredictorError, match=r"stage 'Fit' keeps .*(Innocent|Linear) in its checkpoint"
    ) as raised:
        train()
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("out/**/*.ckpt*"))


@pytest.mark.slow
def test_a_stage_may_keep_data(train, tmp_path, monkeypatch):
    from toy_trainable import Fit

    data = {"epoch": 1, "scores": [0.5, None], "names": ("a", {"b"}), "mean": torch.zeros(3), "flag": True}
    values = []
    monkeypatch.setattr(Fit, "on_save_checkpoint", lambda self, checkpoint: checkpoint.update(own=data))
    monkeypatch.setattr(Fit, "on_load_checkpoint", lambda self, checkpoint: values.append(checkpoint["own"]))
    monkeypatch.setenv("KILL_SIGNAL", "SIGINT")
    monkeypatch.setenv("KILL_AFTER", "8")
    with pytest.raises(Stopped):
        train()
    monkeypatch.delenv("KILL_AFTER")
    train()
    assert str(values) == str([data])
