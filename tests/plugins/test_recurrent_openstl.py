"""Weights of OpenSTL: functions with its names and gates, written from published facts, predict what ours predict."""

from __future__ import annotations

import openstl_stacks as openstl
import pytest
import torch
from openstl_stacks import LAYERS, PATCH, SIZE, WIDTH, conv
from torch import sigmoid, tanh
from torch.nn import functional

from vpbench.plugin.clip import Context
from vpbench_recurrent.convlstm import ConvLSTM
from vpbench_recurrent.mim import MIM
from vpbench_recurrent.phydnet import PhyDNet
from vpbench_recurrent.predrnn import PredRNN, PredRNNV2

CONTEXT, HORIZON = 3, 3
STACK = {"layers": LAYERS, "hidden": WIDTH, "kernel": 3, "patch": PATCH}
NORM = {"layer_norm": True, "size": SIZE}
PREDRNN = openstl.shapes_of_predrnn()
PREDRNN_V2 = PREDRNN | {"adapter.weight": (WIDTH, WIDTH, 1, 1)}


@pytest.mark.parametrize(
    ("model", "reference", "shapes", "options"),
    [
        pytest.param(
            ConvLSTM,
            openstl.convlstm,
            openstl.shapes_of_convlstm(),
            {"hidden": (WIDTH,) * LAYERS, "kernel": 3, "patch": PATCH},
            id="convlstm",
        ),
        pytest.param(PredRNN, openstl.predrnn, PREDRNN, STACK, id="predrnn"),
        pytest.param(PredRNN, openstl.predrnn, openstl.normalised(PREDRNN), STACK | NORM, id="predrnn, layer norm"),
        pytest.param(PredRNNV2, openstl.predrnn, PREDRNN_V2, STACK, id="predrnn-v2"),
        pytest.param(MIM, openstl.mim, openstl.shapes_of_mim(), {**STACK, "size": SIZE}, id="mim"),
        pytest.param(MIM, openstl.mim, openstl.normalised(openstl.shapes_of_mim()), STACK | NORM, id="mim, layer norm"),
    ],
)
def test_stacks_predict_with_openstls_weights_what_openstl_predicts(model, reference, shapes, options):
    """The preset ``openstl`` at a small width, on colour frames of several patches."""
    weights, frames = openstl.draw(shapes), torch.rand(2, CONTEXT, 3, *SIZE, dtype=torch.float64)
    predictor = model(model.Options(**{**model.presets["openstl"], **options})).double().eval()
    predictor.load_state_dict(predictor.adapt_state_dict(weights))
    expected = openstl.predict(reference, weights, frames, HORIZON)
    assert (expected[:, :-1].min() < 0) & (expected[:, :-1].max() > 1)  # predictions that a clamp would change are read
    predicted = predictor.predict(Context(frames=frames, clips=("a@0", "b@0")), HORIZON, []).frames
    torch.testing.assert_close(predicted, expected.clamp(0, 1), atol=1e-9, rtol=0)


def phydnet(weights, image, states):
    def block(x, name, stride=1, *, up=False):
        weight, bias = weights[f"encoder.{name}.main.0.weight"], weights[f"encoder.{name}.main.0.bias"]
        if up:
            x = functional.conv_transpose2d(x, weight, bias, stride, 1, stride - 1)
        else:
            x = functional.conv2d(x, weight, bias, stride, 1)
        norm = weights[f"encoder.{name}.main.1.weight"], weights[f"encoder.{name}.main.1.bias"]
        return functional.leaky_relu(functional.group_norm(x, 16, *norm), 0.2)

    e = block(block(block(image, "encoder_E.c1", 2), "encoder_E.c2"), "encoder_E.c3", 2)
    u, x = (block(block(e, f"{name}.c1"), f"{name}.c2") for name in ("encoder_Ep", "encoder_Er"))
    if states is None:
        states = [torch.zeros_like(u), *([torch.zeros(1, n, *u.shape[2:])] * 2 for n in (4, 32))]
    cell = "encoder.phycell.cell_list.0"
    h = states[0]
    norm = weights[f"{cell}.F.bn1.weight"], weights[f"{cell}.F.bn1.bias"]
    moved = h + conv(weights, f"{cell}.F.conv2", functional.group_norm(conv(weights, f"{cell}.F.conv1", h), 7, *norm))
    h = moved + sigmoid(conv(weights, f"{cell}.convgate", torch.cat([u, h], 1))) * (u - moved)
    after = [h]
    for n, (hidden, c) in enumerate(states[1:]):
        i, f, o, g = conv(weights, f"encoder.convcell.cell_list.{n}.conv", torch.cat([x, hidden], 1)).chunk(4, 1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        x = sigmoid(o) * tanh(c)
        after.append([x, c])
    d = sum(
        block(block(z, f"{name}.upc1", up=True), f"{name}.upc2", up=True)
        for z, name in ((h, "decoder_Dp"), (x, "decoder_Dr"))
    )
    d = block(block(d, "decoder_D.upc1", 2, up=True), "decoder_D.upc2", up=True)
    last = weights["encoder.decoder_D.upc3.weight"], weights["encoder.decoder_D.upc3.bias"]
    return sigmoid(functional.conv_transpose2d(d, *last, 2, 1, 1)), after


def weights_of_phydnet():
    """Weights of OpenSTL's PhyDNet with 16 and 32 channels and ConvLSTMs of 4 and 32; some tensors are there twice."""
    shapes = {}
    layers = {"encoder_E": ["c1", "c2", "c3"], "decoder_D": ["upc1", "upc2"]}
    sizes = {"c1": (1, 16), "c2": (16, 16), "c3": (16, 32), "upc1": (32, 16), "upc2": (16, 16)}
    for branch in "pr":
        layers |= {f"encoder_E{branch}": ["c1", "c2"], f"decoder_D{branch}": ["upc1", "upc2"]}
    for module, names in layers.items():
        for name in names:
            n, m = sizes[name] if module in ("encoder_E", "decoder_D") else (32, 32)
            prefix = f"encoder.{module}.{name}.main"
            shapes[f"{prefix}.0.weight"] = (n, m, 3, 3) if name.startswith("u") else (m, n, 3, 3)
            shapes |= {f"{prefix}.{part}": (m,) for part in ("0.bias", "1.weight", "1.bias")}
    shapes |= {"encoder.decoder_D.upc3.weight": (16, 1, 3, 3), "encoder.decoder_D.upc3.bias": (1,)}
    for copy in ("", "encoder."):
        cell = f"{copy}phycell.cell_list.0"
        shapes |= {f"{cell}.F.conv1.weight": (49, 32, 7, 7), f"{cell}.F.conv2.weight": (32, 49, 1, 1)}
        shapes |= {f"{cell}.F.{part}": (49,) for part in ("conv1.bias", "bn1.weight", "bn1.bias")}
        shapes |= {f"{cell}.F.conv2.bias": (32,), f"{cell}.convgate.weight": (32, 64, 3, 3)}
        shapes |= {f"{cell}.convgate.bias": (32,)}
        for n, (inner, width) in enumerate(((32, 4), (4, 32))):
            name = f"{copy}convcell.cell_list.{n}.conv"
            shapes |= {f"{name}.weight": (4 * width, inner + width, 3, 3), f"{name}.bias": (4 * width,)}
    shapes |= {"k2m._M0": (7, 7), "k2m._invM0": (7, 7)}
    return {name: 0.2 * torch.randn(shape) for name, shape in shapes.items()}


def test_phydnet_predicts_with_openstls_weights_what_openstl_predicts():
    torch.manual_seed(0)
    weights = weights_of_phydnet()
    predictor = PhyDNet(PhyDNet.Options(channels=1, base=16, hidden=(4,))).eval()
    predictor.load_state_dict(predictor.adapt_state_dict(weights))
    frames, states, expected = torch.rand(1, CONTEXT, 1, 12, 16), None, []
    for t in range(CONTEXT + HORIZON - 1):
        image, states = phydnet(weights, frames[:, t] if t < CONTEXT else expected[-1], states)
        expected.append(image)
    context = Context(frames=frames.expand(-1, -1, 3, -1, -1), clips=("a@0",))
    predicted = predictor.predict(context, HORIZON, []).frames[:, :, :1]
    torch.testing.assert_close(predicted, torch.stack(expected[-HORIZON:], 1), atol=1e-5, rtol=0)
