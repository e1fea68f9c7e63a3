"""Weights of OpenSTL: functions with its names and gates, written from published facts, predict what ours predict."""

from __future__ import annotations

import pytest
import torch
from torch import sigmoid, tanh
from torch.nn import functional

from vpbench.plugin.clip import Context
from vpbench_recurrent.convlstm import ConvLSTM
from vpbench_recurrent.mim import MIM
from vpbench_recurrent.phydnet import PhyDNet
from vpbench_recurrent.predrnn import PredRNN, PredRNNV2

LAYERS, WIDTH, IMAGE, GRID = 3, 4, 12, (4, 5)
CONTEXT, HORIZON = 3, 3


def conv(weights, name, x, **settings):
    weight = weights[f"{name}.weight"]
    return functional.conv2d(x, weight, weights.get(f"{name}.bias"), padding=weight.shape[-1] // 2, **settings)


def zeros(count=1):
    return [torch.zeros(1, WIDTH, *GRID) for _ in range(count)]


def convlstm(weights, image, states):
    states, x = states or [zeros(2) for _ in range(LAYERS)], image
    for n, (h, c) in enumerate(states):
        i, f, g, o = (conv(weights, f"cell_list.{n}.conv_x.0", x) + conv(weights, f"cell_list.{n}.conv_h.0", h)).chunk(
            4, 1
        )
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        x = sigmoid(o) * tanh(c)
        states[n] = [x, c]
    return conv(weights, "conv_last", x), states


def st_lstm(weights, name, x, h, c, m):
    x = conv(weights, f"{name}.conv_x.0", x).chunk(7, 1)
    h = conv(weights, f"{name}.conv_h.0", h).chunk(4, 1)
    of_m = conv(weights, f"{name}.conv_m.0", m).chunk(3, 1)
    c = sigmoid(x[1] + h[1] + 1) * c + sigmoid(x[0] + h[0]) * tanh(x[2] + h[2])
    m = sigmoid(x[4] + of_m[1] + 1) * m + sigmoid(x[3] + of_m[0]) * tanh(x[5] + of_m[2])
    states = torch.cat([c, m], 1)
    o = sigmoid(x[6] + h[3] + conv(weights, f"{name}.conv_o.0", states))
    return o * tanh(conv(weights, f"{name}.conv_last", states)), c, m


def predrnn(weights, image, states):
    states, x = states or [*(zeros(2) for _ in range(LAYERS)), zeros()], image
    m = states[LAYERS][0]
    for n in range(LAYERS):
        x, c, m = st_lstm(weights, f"cell_list.{n}", x, *states[n], m)
        states[n] = [x, c]
    states[LAYERS] = [m]
    return conv(weights, "conv_last", x), states


def memory_cell(weights, name, x, h, c):
    i, g, f, o = (conv(weights, f"{name}.conv_x_concat.0", x) + conv(weights, f"{name}.conv_h_concat.0", h)).chunk(4, 1)
    of_i, of_f = weights[f"{name}.ct_weight"].chunk(2)
    c = sigmoid(f + of_f * c + 1) * c + sigmoid(i + of_i * c) * tanh(g)
    return sigmoid(o + weights[f"{name}.oc_weight"] * c) * tanh(c), c


def mim(weights, image, states):
    first = states is None
    states = states or {"layers": [zeros(2) for _ in range(LAYERS)], "m": zeros()[0]}
    if first:
        states |= {"diff": [zeros(2) for _ in range(LAYERS - 1)], "s": zeros(LAYERS - 1)}
    before = states["layers"][0][0]
    x, c, m = st_lstm(weights, "stlstm_layer.0", image, *states["layers"][0], states["m"])
    states["layers"][0] = [x, c]
    difference = x - before
    for n in range(1, LAYERS):
        name = f"stlstm_layer.{n}"
        if not first:
            states["diff"][n - 1] = list(
                memory_cell(weights, f"stlstm_layer_diff.{n - 1}", difference, *states["diff"][n - 1])
            )
        difference = states["diff"][n - 1][0]
        h, c = states["layers"][n]
        i_x, g_x, f_x, o_x = conv(weights, f"{name}.conv_x_cc.0", x).chunk(4, 1)
        i_t, g_t, o_t = conv(weights, f"{name}.conv_t_cc.0", h).chunk(3, 1)
        i_s, g_s, f_s, o_s = conv(weights, f"{name}.conv_s_cc.0", m).chunk(4, 1)
        m = sigmoid(f_x + f_s + 1) * m + sigmoid(i_x + i_s) * tanh(g_x + g_s)
        t, states["s"][n - 1] = memory_cell(weights, name, difference, c, states["s"][n - 1])
        c = t + sigmoid(i_x + i_t) * tanh(g_x + g_t)
        x = sigmoid(o_x + o_t + o_s) * tanh(conv(weights, f"{name}.conv_last", torch.cat([c, m], 1)))
        states["layers"][n] = [x, c]
    states["m"] = m
    return conv(weights, "conv_last", x), states


def shapes_of_st_lstm(name, channels):
    sizes = {"conv_x.0": (7, channels, 3), "conv_h.0": (4, WIDTH, 3), "conv_m.0": (3, WIDTH, 3)}
    sizes |= {"conv_o.0": (1, 2 * WIDTH, 3), "conv_last": (1, 2 * WIDTH, 1)}
    return {f"{name}.{part}.weight": (n * WIDTH, c, k, k) for part, (n, c, k) in sizes.items()}


def shapes_of_memory_cell(name):
    kernels = {f"{name}.conv_{part}_concat.0.weight": (4 * WIDTH, WIDTH, 3, 3) for part in "xh"}
    return kernels | {f"{name}.ct_weight": (2 * WIDTH, *GRID), f"{name}.oc_weight": (WIDTH, *GRID)}


HEAD = {"conv_last.weight": (IMAGE, WIDTH, 1, 1)}
INPUTS = [IMAGE, *[WIDTH] * (LAYERS - 1)]


def shapes_of_convlstm():
    shapes = dict(HEAD)
    for n, channels in enumerate(INPUTS):
        shapes |= {f"cell_list.{n}.conv_x.0.weight": (4 * WIDTH, channels, 3, 3)}
        shapes |= {f"cell_list.{n}.conv_h.0.weight": (4 * WIDTH, WIDTH, 3, 3)}
        shapes |= {f"cell_list.{n}.conv_o.0.weight": (WIDTH, 2 * WIDTH, 3, 3)}  # OpenSTL never uses these two
        shapes |= {f"cell_list.{n}.conv_last.weight": (WIDTH, 2 * WIDTH, 1, 1)}
    return shapes


def shapes_of_predrnn():
    return HEAD | {k: v for n, c in enumerate(INPUTS) for k, v in shapes_of_st_lstm(f"cell_list.{n}", c).items()}


def shapes_of_mim():
    shapes = HEAD | shapes_of_st_lstm("stlstm_layer.0", IMAGE)
    for n in range(1, LAYERS):
        for part, gates in (("x", 4), ("t", 3), ("s", 4)):
            shapes[f"stlstm_layer.{n}.conv_{part}_cc.0.weight"] = (gates * WIDTH, WIDTH, 3, 3)
        for name in (f"stlstm_layer.{n}", f"stlstm_layer_diff.{n - 1}"):
            shapes |= shapes_of_memory_cell(name) | {f"{name}.conv_last.weight": (WIDTH, 2 * WIDTH, 1, 1)}
    return shapes


STACK = {"layers": LAYERS, "hidden": WIDTH, "kernel": 3, "patch": 2, "residual": False, "clamp": False}


@pytest.mark.parametrize(
    ("model", "reference", "shapes", "options"),
    [
        (ConvLSTM, convlstm, shapes_of_convlstm(), {**STACK, "hidden": (WIDTH,) * LAYERS, "bias": False}),
        (PredRNN, predrnn, shapes_of_predrnn(), STACK),
        (PredRNNV2, predrnn, shapes_of_predrnn() | {"adapter.weight": (WIDTH, WIDTH, 1, 1)}, STACK),
        (MIM, mim, shapes_of_mim(), {**STACK, "size": (8, 10)}),
    ],
    ids=["convlstm", "predrnn", "predrnn-v2", "mim"],
)
def test_stacks_predict_with_openstls_weights_what_openstl_predicts(model, reference, shapes, options):
    torch.manual_seed(0)
    weights = {name: 0.4 * torch.randn(shape) for name, shape in shapes.items()}
    options = {name: value for name, value in options.items() if name in model.Options.model_fields}
    predictor = model(model.Options(**options)).eval()
    predictor.load_state_dict(predictor.adapt_state_dict(weights))
    context, states, expected = torch.rand(1, CONTEXT, IMAGE, *GRID), None, []
    for t in range(CONTEXT + HORIZON - 1):
        image, states = reference(weights, context[:, t] if t < CONTEXT else expected[-1], states)
        expected.append(image)
    network, state = predictor.network, predictor.network.start(context)
    for t, image in enumerate(expected):
        predicted, state = network.step(context[:, t] if t < CONTEXT else expected[t - 1], state)
        torch.testing.assert_close(predicted, image, atol=1e-5, rtol=0)


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
