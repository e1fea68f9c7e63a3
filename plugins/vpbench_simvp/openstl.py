"""Names of OpenSTL's weights of SimVP and TAU."""

from __future__ import annotations

from typing import Final

from vpbench.toolkit.key_map import KeyRule

_BLOCK: Final = r"hid\.enc\.(\d+)\.block\."
_ATTENTION: Final = rf"{_BLOCK}attn\.spatial_gating_unit\."
RULES: Final = (
    KeyRule(r"enc\.enc\.(\d+)\.conv\.(conv|norm)\.(weight|bias)", r"network.encoder.\1.\2.\3"),
    KeyRule(r"dec\.dec\.(\d+)\.conv\.(conv|norm)\.(?:0\.)?(weight|bias)", r"network.decoder.\1.\2.\3"),
    KeyRule(r"dec\.readout\.(weight|bias)", r"network.readout.\1"),
    KeyRule(rf"{_BLOCK}(norm[12]\..+)", r"network.translator.\1.\2"),
    KeyRule(rf"{_BLOCK}attn\.proj_1\.(.+)", r"network.translator.\1.inward.\2"),
    KeyRule(rf"{_ATTENTION}conv0\.(.+)", r"network.translator.\1.attention.local.\2"),
    KeyRule(rf"{_ATTENTION}conv_spatial\.(.+)", r"network.translator.\1.attention.dilated.\2"),
    KeyRule(rf"{_ATTENTION}conv1\.(.+)", r"network.translator.\1.attention.mix.\2"),
    KeyRule(rf"{_ATTENTION}fc\.0\.weight", r"network.translator.\1.attention.squeeze.weight"),
    KeyRule(rf"{_ATTENTION}fc\.2\.weight", r"network.translator.\1.attention.excite.weight"),
    KeyRule(rf"{_BLOCK}attn\.proj_2\.(.+)", r"network.translator.\1.outward.\2"),
    KeyRule(rf"{_BLOCK}mlp\.fc1\.(.+)", r"network.translator.\1.widen.\2"),
    KeyRule(rf"{_BLOCK}mlp\.dwconv\.dwconv\.(.+)", r"network.translator.\1.blend.\2"),
    KeyRule(rf"{_BLOCK}mlp\.fc2\.(.+)", r"network.translator.\1.narrow.\2"),
    KeyRule(rf"{_BLOCK}layer_scale_([12])", r"network.translator.\1.scale\2", lambda scale: scale[:, None, None]),
    KeyRule(r"hid\.enc\.(\d+)\.reduction\.(.+)", r"network.translator.\1.reduction.\2"),
)
"""Commit c74deb5 of OpenSTL, ``model_type`` gSTA and tau."""
