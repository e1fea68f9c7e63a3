"""Functions with the names and gates of OpenSTL's recurrent models, written from published facts, and their weights."""

from __future__ import annotations

import torch
from torch import sigmoid, tanh
from torch.nn import functional

LAYERS, WIDTH, PATCH, GRID = 3, 4, 2, (4, 5)
IMAGE, SIZE = 3 * PATCH**2, (GRID[0] * PATCH, GRID[1] * PATCH)


def conv(weights, name, x):
    """A convolution, and the layer normalisation that follows it in its ``Sequential``, if there is one."""
    weight = weights[f"{name}.weight"]
    y = functional.conv2d(x, weight, weights.get(f"{name}.bias"), padding=weight.shape[-1] // 2)
    norm = f"{name.removesuffix('.0')}.1"
    if not name.endswith(".0") or f"{norm}.weight" not in weights:
        return y
    return functional.layer_norm(y, y.shape[1:], weights[f"{norm}.weight"], weights[f"{norm}.bias"])


def zeros(count=1):
    return [torch.zeros(1, WIDTH, *GRID, dtype=torch.float64) for _ in range(count)]


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


def normalised(shapes):
    """Add a layer normalisation after each convolution that OpenSTL keeps in a ``Sequential``."""
    norms = {
        f"{name.removesuffix('.0.weight')}.1.{part}": (shape[0], *GRID)
        for name, shape in shapes.items()
        if name.endswith(".0.weight")
        for part in ("weight", "bias")
    }
    return shapes | norms


def draw(shapes):
    """Return weights large enough that predictions leave [0,1]."""
    torch.manual_seed(0)
    weights = {name: 0.4 * torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}
    return {**weights, "conv_last.weight": 5 * weights["conv_last.weight"]}


def to_patches(frames):
    """Return OpenSTL's patches: the pixels of a patch row by row, the colours of each next to each other."""
    b, t, c, h, w = frames.shape
    patches = frames.permute(0, 1, 3, 4, 2).reshape(b, t, h // PATCH, PATCH, w // PATCH, PATCH, c)
    return patches.transpose(3, 4).reshape(b, t, h // PATCH, w // PATCH, -1).permute(0, 1, 4, 2, 3)


def from_patches(patches):
    """Return the frames of OpenSTL's patches."""
    b, t, d, h, w = patches.shape
    frames = patches.permute(0, 1, 3, 4, 2).reshape(b, t, h, w, PATCH, PATCH, d // PATCH**2).transpose(3, 4)
    return frames.reshape(b, t, h * PATCH, w * PATCH, -1).permute(0, 1, 4, 2, 3)


def predict(reference, weights, frames, horizon):
    """Return the predictions of the last ``horizon`` steps, which are not clamped when they are read."""
    context, states, predicted = to_patches(frames), None, []
    for t in range(context.shape[1] + horizon - 1):
        image, states = reference(weights, context[:, t] if t < context.shape[1] else predicted[-1], states)
        predicted.append(image)
    return from_patches(torch.stack(predicted[-horizon:], dim=1))
