"""Every model that ships and can be trained: stopped and resumed, it ends in the same bits."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from safetensors.torch import load_file

import vpbench
from vpbench.plugin.loader import load_plugins
from vpbench.training.callbacks import Watch
from vpbench.training.train import Stopped

TRAINABLE = sorted(e.name for e in load_plugins().of("predictor") if e.trainer and e.plugin == "vpbench")
STEPS, STOP = 3, 1


@pytest.fixture
def protocol(tmp_path, cache):
    """Small scenes, which have every modality that a model may learn from."""
    path = tmp_path / "small.toml"
    path.write_text(
        'schema = 1\nname = "small"\nversion = 1\nmetrics = ["mse"]\n'
        'pixels = [{ op = "resize", size = [32, 48] }]\n[dataset]\nname = "scenes"\n'
        "options = { size = [32, 48], length = 7, train = 4, val = 1, test = 1 }\n[sampling]\n"
        'kind = "first"\ncontext = 4\nhorizon = 3\n[training]\nclips = 4\nvalidation_clips = 1\n'
    )
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINABLE)
def test_a_stopped_training_of_each_model_resumes_to_the_same_bits(name, protocol, tmp_path, monkeypatch):
    settings = {"device": "cpu", "minutes": 0, "keep": "last", "steps": STEPS, "batch_size": 2}

    def train(out):
        return vpbench.train(f"{name}:tiny", protocol, out=tmp_path / out, **settings)

    def stop(self, trainer, module, batch, index):
        start(self, trainer, module, batch, index)
        if batch.step == STOP:
            os.kill(os.getpid(), signal.SIGINT)

    undisturbed = train("undisturbed")
    start = Watch.on_train_batch_start
    with monkeypatch.context() as patch:
        patch.setattr(Watch, "on_train_batch_start", stop)
        with pytest.raises(Stopped):
            train("stopped")
    resumed = train("stopped")
    tensors, expected = load_file(resumed), load_file(undisturbed)
    assert tensors.keys() == expected.keys()
    assert [key for key, tensor in expected.items() if not torch.equal(tensor, tensors[key])] == []
