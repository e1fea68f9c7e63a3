"""Descriptions of plugins, of their options, and of files of weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import BaseModel, Field
from safetensors.torch import save_file

from vpbench.errors import DataError
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.training import Recipe
from vpbench.protocol.protocol import Protocol
from vpbench.select.description import describe_entry, describe_weights
from vpbench.select.option_types import describe_options


class Options(BaseModel):
    folder: str = Field(description="the folder")
    rate: float = Field(default=0.5, gt=0, lt=1)
    sides: tuple[Annotated[int, Field(ge=1, multiple_of=2)], int] = (2, 3)
    widths: tuple[int, ...] = (4,)
    mode: Literal["fast", "exact"] = "fast"
    limit: Annotated[int, Field(le=9)] | None = None
    clamp: bool = True
    value: Any = None
    recipe: Recipe = Recipe(steps=3, batch_size=2, learning_rate=0.1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("folder", "text"),
        ("rate", "number, above 0, below 1"),
        ("sides", "[integer, at least 1, a multiple of 2; integer]"),
        ("widths", "list of (integer)"),
        ("mode", "fast or exact"),
        ("limit", "integer, at most 9 or none"),
        ("clamp", "true or false"),
        ("value", "any"),
        ("recipe", "table"),
    ],
)
def test_the_type_of_an_option_is_said_in_words(name, text):
    assert describe_options(Options)[name]["type"] == text


def test_an_option_has_its_default_and_its_description():
    described = describe_options(Options)
    assert described["rate"]["default"] == 0.5
    assert not described["rate"]["required"]
    assert described["folder"] == {"default": None, "required": True, "type": "text", "description": "the folder"}


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


def test_options_of_a_predictor_have_type_value_and_source(plugins):
    described = describe_entry(plugins, plugins.entry("predictor", "cdnet"), "without-mask")["options"]
    assert described["mask"]["value"] is None
    assert described["mask"]["source"] == "preset without-mask"
    assert described["mask"]["type"] == "tanh or sigmoid or none"
    assert described["hidden"]["type"] == "integer, at least 1"


def test_options_follow_a_protocol(plugins):
    protocol = Protocol.parse(
        {
            **{"schema": 1, "name": "toy", "version": 1, "summary": "", "dataset": {"name": "none"}},
            **{"sampling": {"kind": "first", "context": 7, "horizon": 2}, "reference": "repeat"},
        },
        "toy",
    )
    described = describe_entry(plugins, plugins.entry("predictor", "cdnet"), "tiny", protocol)["options"]
    assert (described["context"]["value"], described["context"]["source"]) == (7, "protocol")


def test_what_is_built_from_an_argument_shows_its_options(plugins):
    described = describe_entry(plugins, plugins.entry("predictor", "saved"))
    assert described["argument"] == "dir"
    assert described["options"]["dir"]["required"]


@pytest.mark.parametrize("kind", ["dataset", "metric", "protocol", "annotator", "network"])
def test_every_kind_is_described(plugins, kind):
    for entry in plugins.of(kind):
        assert describe_entry(plugins, entry)["kind"] == kind


def test_shipped_weights_say_how_they_were_trained(plugins):
    from importlib.resources import files

    described = describe_weights(files("vpbench_cdnet") / "weights" / "cdnet-scenes.safetensors")
    assert described["trained_by"] == "vpbench train"
    assert (described["predictor"], described["protocol"], described["parameters"]) == ("cdnet", "scenes", 399_047)
    assert [stage["steps"] for stage in described["stages"]] == [220]


def test_foreign_weights_list_their_tensors(tmp_path):
    save_file({"b.weight": torch.zeros(2, 3), "a.bias": torch.zeros(5)}, tmp_path / "x.safetensors")
    described = describe_weights(tmp_path / "x.safetensors")
    assert described["trained_by"] == "another program"
    assert described["tensors"] == {"a.bias": [5], "b.weight": [2, 3]}
    assert described["parameters"] == 11


def test_a_file_that_is_no_safetensors_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="is not a safetensors file"):
        describe_weights(path)
