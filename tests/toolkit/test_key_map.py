"""Rules that rename another program's weights."""

from __future__ import annotations

import warnings

import pytest
import torch

from vpbench.errors import DataError, VpbenchWarning
from vpbench.toolkit.key_map import KeyRule, apply_rules


def test_a_rule_matches_whole_names_and_leaves_others():
    tensors = {name: torch.tensor([float(i)]) for i, name in enumerate(("a.0.w", "b.a.0.w", "a.0.w.x"))}
    renamed = apply_rules(tensors, [KeyRule(r"a\.(\d)\.w", r"new.\1")])
    assert {name: tensor.item() for name, tensor in renamed.items()} == {"new.0": 0, "b.a.0.w": 1, "a.0.w.x": 2}


def test_two_rules_split_a_tensor_and_an_empty_name_drops_one():
    rules = [KeyRule("w", "x", lambda w: w[:1]), KeyRule("w", "h", lambda w: w[1:]), KeyRule("unused", "")]
    renamed = apply_rules({"w": torch.tensor([1.0, 2.0, 3.0]), "unused": torch.zeros(1)}, rules)
    assert {name: tensor.tolist() for name, tensor in renamed.items()} == {"x": [1.0], "h": [2.0, 3.0]}


def test_parts_are_joined_in_the_order_of_the_rules():
    rules = [KeyRule("first", "both"), KeyRule("second", "both")]
    joined = apply_rules({"second": torch.ones(1), "first": torch.zeros(2)}, rules)
    assert joined["both"].tolist() == [0, 0, 1]


def test_a_rule_that_applies_warns_with_its_caution_once():
    rules = [
        KeyRule(r"a\.(\d)", r"new.\1", caution="another cell"),
        KeyRule("b", "same", caution="another norm"),
        KeyRule("unused", ""),
    ]
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        apply_rules({"a.0": torch.zeros(1), "a.1": torch.zeros(1), "unused": torch.zeros(1)}, rules)
    assert [(str(w.message), w.category) for w in issued] == [("another cell", VpbenchWarning)]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"w": (7, 2)}, "w is [7, 2], which cannot become new.w"),
        ({"a": (2, 3), "b": (2, 4)}, "a is [2, 3] and b is [2, 4], which cannot become both"),
    ],
)
def test_shapes_that_rules_do_not_fit_are_named(shapes, message):
    rules = [KeyRule("w", "new.w", lambda w: w.unflatten(0, (2, -1))), KeyRule("a", "both"), KeyRule("b", "both")]
    with pytest.raises(DataError) as caught:
        apply_rules({name: torch.zeros(shape) for name, shape in shapes.items()}, rules)
    assert str(caught.value) == message
