"""Weights that a plugin ships: who gets them, and what they cannot be."""

from __future__ import annotations

import sys

import pytest

import vpbench
from vpbench.plugin.loader import load_plugins
from vpbench.select.component import choose_predictor
from vpbench.select.shipped import default_predictors, shipped_presets, with_shipped_weights
from vpbench.select.trained import save_trained, sequence_keys
from vpbench.select.weights_record import WeightsRecord

PLUGIN = """
import torch
import vpbench
from pathlib import Path
from pydantic import BaseModel

@vpbench.hookimpl
def register_predictors(register):
    register("fixed", "shipping:Fixed", default=True)
    register("learned", "shipping:Learned", default=True, trainer="shipping:stages")
    register("elsewhere", "shipping:Elsewhere", default=True, trainer="shipping:stages")

class Options(BaseModel):
    width: int = 2
    loss: str = "l2"

class Learned(torch.nn.Module):
    Options = Options
    presets = {"base": {}, "toy": {"weights": str(Path(__file__).with_name("toy.safetensors"))}}
    training_only = ("loss",)
    shipped = {"toy": "toy"}
    info = vpbench.PredictorInfo()

    def __init__(self, options):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.full((options.width,), 0.5))

    def predict(self, context, horizon, generators):
        frames = context.frames[:, -1:].repeat(1, horizon, 1, 1, 1)
        return vpbench.Prediction(frames=frames * self.scale[0])

class Elsewhere(Learned):
    shipped = {}

class Fixed:
    info = vpbench.PredictorInfo()

    def predict(self, context, horizon, generators):
        return vpbench.Prediction(frames=context.frames[:, -1:].repeat(1, horizon, 1, 1, 1))

def stages(predictor, protocol):
    return []
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A plugin file with weights of width 3 next to it."""
    monkeypatch.delitem(sys.modules, "shipping", raising=False)
    file = tmp_path / "shipping.py"
    file.write_text(PLUGIN)
    plugins = load_plugins([str(file)])
    chosen = choose_predictor(plugins, "learned", {"learned": {"width": 3}})
    record = WeightsRecord(
        predictor="learned",
        options=dict(chosen.options),
        protocol={"name": "toy"},
        clips={"sequences": tuple(sequence_keys("toy", ["train/a"]))},
    )
    save_trained(tmp_path / "toy.safetensors", chosen.value, record)
    return file


@pytest.fixture
def plugins(plugin):
    return load_plugins([str(plugin)])


@pytest.mark.parametrize(
    ("text", "options", "protocol", "chosen"),
    [
        ("learned", {}, "toy", "learned:toy"),
        ("learned", {"loss": "l1"}, "toy", "learned:toy"),
        ("learned", {"width": 5}, "toy", "learned"),
        ("learned", {"weights": "mine.safetensors"}, "toy", "learned"),
        ("learned:base", {}, "toy", "learned:base"),
        ("learned", {}, "other", "learned"),
        ("elsewhere", {}, "toy", "elsewhere"),
        ("fixed", {}, "toy", "fixed"),
    ],
)
def test_shipped_weights_are_taken_where_nothing_else_is_named(plugins, text, options, protocol, chosen):
    assert with_shipped_weights(plugins, text, {"learned": options}, protocol) == chosen


def test_a_preset_of_weights_takes_their_options(plugins):
    chosen = choose_predictor(plugins, "learned:toy", {"learned": {"loss": "l1"}})
    assert chosen.options == {"width": 3, "loss": "l1"}
    assert chosen.preset == "toy"
    assert chosen.trained is not None
    assert chosen.sources == {"width": "weights", "loss": "user"}
    with pytest.raises(vpbench.UsageError, match="'learned' was trained with width 3, not 4"):
        choose_predictor(plugins, "learned:toy", {"learned": {"width": 4}})


def test_a_preset_of_weights_takes_no_other_weights(plugins, tmp_path):
    options = {"learned": {"weights": str(tmp_path / "toy.safetensors")}}
    with pytest.raises(vpbench.UsageError, match="the preset 'toy' names weights already"):
        choose_predictor(plugins, "learned:toy", options)


def test_fine_tuned_weights_do_not_go_by_the_preset_that_they_started_from(plugins, tmp_path):
    chosen = choose_predictor(plugins, "learned:toy", {})
    record = WeightsRecord(predictor="learned", preset="toy", options=dict(chosen.options), protocol={"name": "toy"})
    save_trained(tmp_path / "tuned.safetensors", chosen.value, record)
    tuned = choose_predictor(plugins, "learned", {"learned": {"weights": str(tmp_path / "tuned.safetensors")}})
    assert tuned.preset == ""


def test_learned_predictors_are_defaults_where_they_ship_weights(plugins):
    chosen = default_predictors(plugins, {"toy": "toy", "file.toml": "mine"})
    names = ("fixed", "learned", "elsewhere")
    toy_names = {name: chosen[name] for name in names if name in chosen}
    assert toy_names == {"fixed": ("toy", "file.toml"), "learned": ("toy",)}


@pytest.mark.parametrize(
    ("shipped", "message"),
    [
        ('{"toy": "toi"}', "`shipped` names no preset 'toi'; did you mean 'toy'"),
        ('{"toy": "base"}', "`shipped` names the preset 'base', which has no weights"),
    ],
)
def test_a_preset_that_cannot_be_shipped_is_an_error(plugin, shipped, message):
    plugin.write_text(PLUGIN.replace('shipped = {"toy": "toy"}', f"shipped = {shipped}"))
    with pytest.raises(vpbench.PluginError, match=message):
        shipped_presets(load_plugins([str(plugin)]), "learned")
