"""Names and layouts of OpenSTL's weights of the recurrent family, at commit c74deb5."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from vpbench.toolkit.key_map import KeyRule

_ST_LSTM: Final = {"x": "features", "h": "hidden", "m": "memory", "o": "states"}
"""The inputs of an ST-LSTM's convolutions, by their letter."""
_NORM: Final = ("weight", "bias")
_LAYERS: Final = 16
"""The layers of MIM that have rules."""


def _gates(*order: int) -> Callable[[Tensor], Tensor]:
    """Return what brings the four gates, blocks of the first axis, into another order."""
    return lambda weight: torch.cat([weight.chunk(4)[index] for index in order])


_CONVLSTM_GATES: Final = _gates(0, 1, 3, 2)
"""From OpenSTL's i f g o to i f o g."""
_MIM_GATES: Final = _gates(0, 2, 3, 1)
"""From OpenSTL's i g f o to i f o g."""


def _st_lstm(old: str, new: str) -> list[KeyRule]:
    rules = [KeyRule(rf"{old}conv_last\.weight", rf"{new}merge.weight")]
    for letter, source in _ST_LSTM.items():
        rules += [KeyRule(rf"{old}conv_{letter}\.0\.weight", rf"{new}of_{source}.weight")]
        rules += [KeyRule(rf"{old}conv_{letter}\.1\.{part}", rf"{new}norm_{source}.{part}") for part in _NORM]
    return rules


_HEAD: Final = KeyRule(r"conv_last\.weight", "network.head.weight")

CONVLSTM: Final = (
    _HEAD,
    KeyRule(
        r"cell_list\.(\d+)\.conv_x\.0\.weight",
        r"network.encoder.cells.\1.of_input.weight",
        _CONVLSTM_GATES,
        caution="convlstm: OpenSTL's weights from before December 2023 (its commit 9da43f4) have names and shapes that "
        "fit, but another cell: h = o * g, not o * tanh(c). They predict wrongly here",
    ),
    KeyRule(r"cell_list\.(\d+)\.conv_h\.0\.weight", r"network.encoder.cells.\1.of_hidden.weight", _CONVLSTM_GATES),
    KeyRule(r"cell_list\.\d+\.conv_(o\.\d|last)\..+", ""),
)

PREDRNN: Final = (
    _HEAD,
    KeyRule(r"adapter\.weight", "network.adapter.weight"),
    *_st_lstm(r"cell_list\.(\d+)\.", r"network.cells.\1."),
)


def _memory_cell(old: str, new: str) -> list[KeyRule]:
    """Return the rules of a module of MIM: convolutions of its input and its hidden state, and its peepholes."""
    rules = [
        KeyRule(rf"{old}ct_weight", f"{new}.peepholes", lambda weight: weight.unflatten(0, (2, -1))),
        KeyRule(rf"{old}oc_weight", f"{new}.peepholes", lambda weight: weight[None]),
    ]
    for letter, source in (("x", "input"), ("h", "hidden")):
        rules += [KeyRule(rf"{old}conv_{letter}_concat\.0\.weight", f"{new}.of_{source}.weight", _MIM_GATES)]
        rules += [
            KeyRule(rf"{old}conv_{letter}_concat\.1\.{part}", f"{new}.norm_{source}.{part}", _MIM_GATES)
            for part in _NORM
        ]
    return rules


def _mim_layer(index: int) -> list[KeyRule]:
    """Return the rules of a layer above the first."""
    block, diff, new = rf"stlstm_layer\.{index + 1}\.", rf"stlstm_layer_diff\.{index}\.", f"network.layers.{index}."
    rules = [KeyRule(rf"{block}conv_last\.weight", f"{new}merge.weight"), KeyRule(rf"{diff}conv_last\.weight", "")]
    for letter, source in (("x", "features"), ("t", "hidden"), ("s", "memory")):
        rules += [KeyRule(rf"{block}conv_{letter}_cc\.0\.weight", f"{new}of_{source}.weight")]
        rules += [KeyRule(rf"{block}conv_{letter}_cc\.1\.{part}", f"{new}norm_{source}.{part}") for part in _NORM]
    return rules + _memory_cell(block, f"{new}stationary") + _memory_cell(diff, f"{new}non_stationary")


MIM: Final = (
    _HEAD,
    *_st_lstm(r"stlstm_layer\.0\.", "network.first."),
    *(rule for index in range(_LAYERS) for rule in _mim_layer(index)),
)


_MODULES: Final = {
    "encoder_E": "encoder",
    "encoder_Ep": "encode_physical",
    "encoder_Er": "encode_unknown",
    "decoder_D": "decoder",
    "decoder_Dp": "decode_physical",
    "decoder_Dr": "decode_unknown",
}
_PHYCELL: Final = {"F.conv1": "derivatives", "F.bn1": "norm", "F.conv2": "combine", "convgate": "gate"}
_LSTM: Final = r"encoder\.convcell\.cell_list\.(\d+)\.conv\."


def _input(weight: Tensor) -> Tensor:
    """Return the part of a convolution of [X, H] that reads X. H is as wide as a fourth of the outputs."""
    return weight[:, : -weight.shape[0] // 4]


def _hidden(weight: Tensor) -> Tensor:
    """Return the part that reads H."""
    return weight[:, -weight.shape[0] // 4 :]


PHYDNET: Final = (
    *(
        KeyRule(rf"encoder\.{old}\.(?:up)?c{index + 1}\.(?:main\.)?(.+)", rf"network.{new}.{index}.\1")
        for old, new in _MODULES.items()
        for index in range(3)
    ),
    *(
        KeyRule(rf"encoder\.phycell\.cell_list\.0\.{re.escape(old)}\.(.+)", rf"network.physical.{new}.\1")
        for old, new in _PHYCELL.items()
    ),
    KeyRule(rf"{_LSTM}weight", r"network.unknown.\1.of_input.weight", _input),
    KeyRule(rf"{_LSTM}weight", r"network.unknown.\1.of_hidden.weight", _hidden),
    KeyRule(rf"{_LSTM}bias", r"network.unknown.\1.of_input.bias"),
    KeyRule(r"(phycell|convcell|k2m)\..+", ""),  # the first two are the same tensors again
)
