"""Checkpoints of OpenSTL: a module with its names, written from published facts, is converted and predicts the same."""

from __future__ import annotations

import shlex

import numpy as np
import openstl_stacks
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from vpbench.plugin.clip import Context
from vpbench_recurrent.predrnn import PredRNN
from vpbench_simvp.predictor import TAU, SimVP

CONTEXT, CHANNELS, SPATIAL, TEMPORAL, BLOCKS = 3, 1, 4, 8, 3
OPTIONS = {"context": CONTEXT, "spatial": SPATIAL, "temporal": TEMPORAL, "temporal_layers": BLOCKS, "mlp_ratio": 2.0}
FLAGS = [flag for name, value in OPTIONS.items() for flag in ("-o", f"simvp.{name}={value}")]


def nested(**modules):
    return nn.ModuleDict(modules)


def layer(channels, down=False, up=False):
    conv = nn.Conv2d(channels, SPATIAL * (4 if up else 1), 3, stride=2 if down else 1, padding=1)
    conv = nn.Sequential(conv, nn.PixelShuffle(2)) if up else conv
    return nested(conv=nested(conv=conv, norm=nn.GroupNorm(2, SPATIAL)))


def unit(width, kind):
    parts = {
        "conv0": nn.Conv2d(width, width, 5, padding=2, groups=width),
        "conv_spatial": nn.Conv2d(width, width, 7, padding=9, dilation=3, groups=width),
        "conv1": nn.Conv2d(width, width if kind == "tau" else 2 * width, 1),
    }
    if kind == "tau":
        narrow = width // max(width // 16, 4)
        down, up = nn.Linear(width, narrow, bias=False), nn.Linear(narrow, width, bias=False)
        parts["fc"] = nn.Sequential(down, nn.ReLU(), up, nn.Sigmoid())
    return nested(**parts)


class Block(nn.Module):
    def __init__(self, width, kind) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        proj_1, proj_2 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.attn = nested(proj_1=proj_1, spatial_gating_unit=unit(width, kind), proj_2=proj_2)
        inner = 2 * width
        dwconv = nested(dwconv=nn.Conv2d(inner, inner, 3, padding=1, groups=inner))
        self.mlp = nested(fc1=nn.Conv2d(width, inner, 1), dwconv=dwconv, fc2=nn.Conv2d(inner, width, 1))
        self.layer_scale_1, self.layer_scale_2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.kind = kind

    def gate(self, z):
        parts = self.attn["spatial_gating_unit"]
        a = parts["conv1"](parts["conv_spatial"](parts["conv0"](z)))
        if self.kind == "tau":
            return parts["fc"](z.mean((2, 3)))[..., None, None] * a * z
        return torch.sigmoid(a[:, a.shape[1] // 2 :]) * a[:, : a.shape[1] // 2]

    def forward(self, z):
        x = self.norm1(z)
        x = x + self.attn["proj_2"](self.gate(nn.functional.gelu(self.attn["proj_1"](x))))
        z = z + self.layer_scale_1[:, None, None] * x
        x = self.mlp["dwconv"]["dwconv"](self.mlp["fc1"](self.norm2(z)))
        return z + self.layer_scale_2[:, None, None] * self.mlp["fc2"](nn.functional.gelu(x))


class OpenSTL(nn.Module):
    """The names of OpenSTL's SimVP_Model."""

    def __init__(self, kind) -> None:
        super().__init__()
        changes = [False, True, False, True]
        self.enc = nested(
            enc=nn.Sequential(*(layer(SPATIAL if i else CHANNELS, down=c) for i, c in enumerate(changes)))
        )
        readout = nn.Conv2d(SPATIAL, CHANNELS, 1)
        self.dec = nested(dec=nn.Sequential(*(layer(SPATIAL, up=c) for c in reversed(changes))), readout=readout)
        widths = [CONTEXT * SPATIAL, TEMPORAL, TEMPORAL, CONTEXT * SPATIAL]
        blocks = []
        for i in range(BLOCKS):
            parts = {"block": Block(widths[i], kind)}
            if widths[i] != widths[i + 1]:
                parts["reduction"] = nn.Conv2d(widths[i], widths[i + 1], 1)
            blocks.append(nested(**parts))
        self.hid = nested(enc=nn.Sequential(*blocks))

    def forward(self, frames):
        def run(layer, x):
            return nn.functional.silu(layer["conv"]["norm"](layer["conv"]["conv"](x)))

        x = skip = run(self.enc["enc"][0], frames.flatten(0, 1))
        for part in self.enc["enc"][1:]:
            x = run(part, x)
        x = x.reshape(len(frames), -1, *x.shape[2:])
        for part in self.hid["enc"]:
            x = part["block"](x)
            x = part["reduction"](x) if "reduction" in part else x
        x = x.reshape(-1, SPATIAL, *x.shape[2:])
        for part in self.dec["dec"][:3]:
            x = run(part, x)
        return self.dec["readout"](run(self.dec["dec"][3], x + skip)).reshape(frames.shape)


def openstl(kind):
    torch.manual_seed(0)
    model = OpenSTL(kind)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer += torch.rand_like(buffer)
    return model.eval()


def checkpoint(file, model):
    """A checkpoint as OpenSTL's LightningModule saves it."""
    save(file, model.state_dict())


def save(file, tensors):
    state_dict = {f"model.{name}": tensor for name, tensor in tensors.items()}
    content = {
        "state_dict": state_dict,
        "pytorch-lightning_version": "2.0",
        "epoch": 3,
        "hyper_parameters": {"hid_S": 4, "mean": np.float64(0.5)},
        # torch before 2.4 saves the function of a one-cycle schedule, as OpenSTL has on Moving MNIST
        "lr_schedulers": [{"anneal_func": OneCycleLR._annealing_cos, "total_steps": 125000}],
    }
    torch.save(content, file)


@pytest.mark.parametrize(("predictor_class", "kind"), [(SimVP, "gsta"), (TAU, "tau")])
def test_a_converted_checkpoint_predicts_what_openstl_predicts(vpbench, tmp_path, predictor_class, kind):
    reference, name = openstl(kind), predictor_class.name
    checkpoint(tmp_path / "best.ckpt", reference)
    flags = [flag.replace("simvp.", f"{name}.") for flag in FLAGS]
    outcome = vpbench("weights", "convert", tmp_path / "best.ckpt", "--for", f"{name}:openstl-grey", *flags)
    assert (outcome.code, outcome.err) == (0, "")
    words = ["-m", f"{name}:openstl-grey", *flags, "--weights", str(tmp_path / "best.safetensors")]
    assert f"all tensors fit {name}:openstl-grey; use them with {shlex.join(words)}\n" in outcome.out
    predictor = predictor_class(predictor_class.Options(channels=1, **OPTIONS)).eval()
    predictor.load_state_dict(load_file(tmp_path / "best.safetensors"))
    frames = torch.rand(2, CONTEXT, 1, 8, 12)
    with torch.no_grad():
        first = reference(frames)
        expected = torch.cat([first, reference(first)], dim=1)[:, :5].clamp(0, 1)
    predicted = predictor.predict(Context(frames.expand(-1, -1, 3, -1, -1), ("a", "b")), 5, []).frames
    torch.testing.assert_close(predicted[:, :, :1], expected, atol=1e-5, rtol=0)


STACK = {"layers": 3, "hidden": 4, "kernel": 3, "patch": 2}


def stack_flags(name, **options):
    return [flag for option, value in options.items() for flag in ("-o", f"{name}.{option}={value}")]


def draw(shapes):
    return {name: tensor.float() for name, tensor in openstl_stacks.draw(shapes).items()}


def test_a_converted_checkpoint_of_predrnn_predicts_what_openstl_predicts(vpbench, tmp_path):
    weights = draw(openstl_stacks.shapes_of_predrnn())
    save(tmp_path / "best.pth", weights)
    flags = stack_flags("predrnn", **STACK)
    outcome = vpbench("weights", "convert", tmp_path / "best.pth", "--for", "predrnn:openstl", *flags)
    assert (outcome.code, outcome.err) == (0, "")
    converted = load_file(tmp_path / "best.safetensors")
    listed = [line.split()[0] for line in outcome.out.splitlines() if line.startswith("  ")]
    assert set(listed) == set(converted) and "never used" not in outcome.out
    predictor = PredRNN(PredRNN.Options(**{**PredRNN.presets["openstl"], **STACK})).eval()
    predictor.load_state_dict(converted)
    frames = torch.rand(1, 2, 3, *openstl_stacks.SIZE, dtype=torch.float64)
    weights = {name: tensor.double() for name, tensor in weights.items()}
    expected = openstl_stacks.predict(openstl_stacks.predrnn, weights, frames, 3).clamp(0, 1)
    predicted = predictor.double().predict(Context(frames, ("a@0",)), 3, []).frames
    torch.testing.assert_close(predicted, expected, atol=1e-9, rtol=0)


def test_tensors_that_openstl_never_uses_are_named(vpbench, tmp_path):
    save(tmp_path / "best.pth", draw(openstl_stacks.shapes_of_convlstm()))
    flags = stack_flags("convlstm", hidden="[4,4,4]", kernel=3, patch=2)
    outcome = vpbench("weights", "convert", tmp_path / "best.pth", "--for", "convlstm:openstl", *flags)
    assert outcome.code == 0
    assert len(outcome.err.splitlines()) == 1, "a warning for all layers"
    assert outcome.err.startswith("vpbench: warning: convlstm: OpenSTL's weights from before December 2023 ")
    names = ", ".join(f"cell_list.{n}.{part}.weight" for n in range(3) for part in ("conv_o.0", "conv_last"))
    assert f"never used: {names}\n" in outcome.out


def test_a_prefix_of_the_other_programs_names_is_named(vpbench, tmp_path):
    weights = {f"module.model.{name}": tensor for name, tensor in draw(openstl_stacks.shapes_of_predrnn()).items()}
    torch.save(weights, tmp_path / "best.pth")
    command = [
        "weights",
        "convert",
        tmp_path / "best.pth",
        "--for",
        "predrnn:openstl",
        *stack_flags("predrnn", **STACK),
    ]
    outcome = vpbench(*command)
    assert outcome.code == 1
    assert outcome.error.endswith("; the names differ by a prefix only: add --strip model.")
    assert vpbench(*command, "--strip", "model.").code == 0


def test_a_tensor_whose_layout_cannot_be_changed_is_named(vpbench, tmp_path):
    weights = draw(openstl_stacks.shapes_of_mim())
    save(tmp_path / "best.pth", weights | {"stlstm_layer.1.ct_weight": torch.zeros(7, 4, 5)})
    flags = stack_flags("mim", **STACK, size="[8,10]")
    outcome = vpbench("weights", "convert", tmp_path / "best.pth", "--for", "mim:openstl", *flags)
    assert outcome.code == 1
    assert outcome.error.endswith(
        f"{tmp_path / 'best.pth'}: does not fit predictor 'mim' with these options: stlstm_layer.1.ct_weight is "
        "[7, 4, 5] and stlstm_layer.1.oc_weight is [4, 4, 5], which cannot become network.layers.0.stationary.peepholes"
    )
    assert not (tmp_path / "best.safetensors").exists()


def test_a_checkpoint_of_another_width_is_refused_with_both_sides(vpbench, tmp_path):
    checkpoint(tmp_path / "best.ckpt", openstl("gsta"))
    outcome = vpbench("weights", "convert", tmp_path / "best.ckpt", "--for", "simvp:tiny", *FLAGS[:2])
    assert outcome.code == 1
    assert "does not fit predictor 'simvp:tiny' with these options: " in outcome.error
    assert "network.decoder.0.conv.bias is [16], not [96]" in outcome.error
    lines = outcome.out.splitlines()
    assert "  network.readout.weight is [1, 4, 1, 1], not [3, 24, 1, 1]" in lines
    document = vpbench("weights", "convert", tmp_path / "best.ckpt", "--for", "simvp:tiny", *FLAGS[:2], "--json")
    differences = document.json["differences"]
    assert document.code == 1 and f"  and {len(differences) - 40} more; --json lists all" in lines
    assert [f"  {text}" for text in differences[:40]] == lines[:40]
    assert not (tmp_path / "best.safetensors").exists()


def test_names_that_do_not_fit_are_listed(vpbench, tmp_path):
    model = openstl("tau")
    model.strange = nn.Linear(2, 2, bias=False)
    checkpoint(tmp_path / "best.ckpt", model)
    outcome = vpbench("weights", "convert", tmp_path / "best.ckpt", "--for", "simvp:openstl-grey", *FLAGS)
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    assert "  strange.weight is one too many" in lines
    assert "  network.translator.0.attention.excite.weight is one too many" in lines
    assert "  network.translator.0.attention.mix.weight is [12, 12, 1, 1], not [24, 12, 1, 1]" in lines
