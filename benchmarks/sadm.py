"""SADM: what grouping, fused gates, one convolution of the input and memory format gain, and how fast it predicts.

    python benchmarks/sadm.py [--rounds N] [--large] [--json FILE]

Both sides of a ratio run in turn in one process; the result is the ratio of medians. ``--large`` adds 256x512. With a
GPU, frames per second are measured too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from common import Run, medians
from torch import Tensor, nn
from torch.nn import functional

from vpbench.plugin.clip import Context
from vpbench.toolkit.labels import CITYSCAPES19, likeliest
from vpbench_sadm.dynamics import GroupedConvLSTM, SADMDynamics, State
from vpbench_sadm.labels import one_hot
from vpbench_sadm.options import PRESETS, Options
from vpbench_sadm.predictor import SADM
from vpbench_sadm.rendering import overoccupied, uncovered


def clip(
    batch: int, frames: int, height: int, width: int, classes: int, device: str | torch.device = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return labels in blocks of 8x8 pixels, and flow."""
    blocks = torch.randint(classes, (batch, frames, -(-height // 8), -(-width // 8)), device=device)
    labels = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)[:, :, :height, :width]
    return labels.contiguous(), torch.randn(batch, frames - 1, 2, height, width, device=device)


class OneClass(nn.Module):
    """Encoder, context and decoder of one class, written from section 3.1: the loop's body."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        first, second = options.embed
        hidden, (a, b) = options.hidden, options.head
        self.embed = nn.Sequential(
            nn.Conv2d(3, first, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(first, second, 3, options.latent_stride // 2, 1),
            nn.LeakyReLU(0.2),
        )
        self.encoder, self.decoder = (
            nn.ModuleList(nn.Conv2d(n + hidden, hidden, 3, padding=1) for _ in range(4)) for n in (second, hidden)
        )
        self.context = nn.Sequential(
            nn.Conv2d(options.classes * hidden, options.context_width, 1),
            nn.ReLU(),
            nn.Conv2d(options.context_width, hidden, 1),
        )
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        ups = (up, up, nn.Identity()) if options.latent_stride == 4 else (nn.Identity(), nn.Identity(), up)

        def head(outer: int) -> nn.Sequential:
            c = [nn.Conv2d(n, m, 3, padding=1) for n, m in ((hidden, a), (a, b), (b, outer))]
            return nn.Sequential(c[0], nn.LeakyReLU(0.2), ups[0], c[1], nn.LeakyReLU(0.2), ups[1], c[2], ups[2])

        self.embedding = nn.Sequential(nn.Conv2d(hidden, hidden, 3, padding=1), nn.LeakyReLU(0.2))
        self.mask, self.flow = head(1), head(2)

    @staticmethod
    def step(gates: nn.ModuleList, x: Tensor, state: State) -> State:
        """Convolve input and state once per gate."""
        stacked = torch.cat([x, state.hidden], dim=1)
        i, f, o, g = (gate(stacked) for gate in gates)
        cell = (f + 1).sigmoid() * state.cell + i.sigmoid() * g.tanh()
        return State(o.sigmoid() * cell.tanh(), cell)


def looped(networks: nn.ModuleList, labels: Tensor, flow: Tensor, horizon: int) -> list[Tensor]:
    """Return per-class logits and flows of each step, class after class."""
    masks = one_hot(labels[:, 1:], len(networks))
    states = []
    for c, network in enumerate(networks):
        inputs = torch.cat([masks[:, :, c, None], masks[:, :, c, None] * flow], dim=2)
        state = None
        for frame in inputs.unbind(1):
            x = network.embed(frame)
            if state is None:
                state = State(torch.zeros_like(x), torch.zeros_like(x))
            state = network.step(network.encoder, x, state)
        states.append(state)
    states_of_all = torch.cat([state.hidden for state in states], dim=1)
    outputs = []
    for network, state in zip(networks, states, strict=True):
        x = network.context(states_of_all)
        for _ in range(horizon):
            state = network.step(network.decoder, x, state)
            embedded = network.embedding(state.hidden)
            outputs += [network.mask(embedded), network.flow(embedded)]
    return outputs


def grouping(preset: str, classes: int, batch: int, size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Time encoder, context, decoder and heads, forward and backward, 4 frames to 4: class after class, and grouped."""
    changes = {"space": "context", "classes": classes, "flow_residual": "none", "mask_residual": "none"}
    options = Options(**{**PRESETS[preset], **changes})
    model, networks = SADMDynamics(options), nn.ModuleList(OneClass(options) for _ in range(classes))
    model.fusion = nn.Identity()  # it is the same in both
    labels, flow = clip(batch, 4, *size, classes)

    def loop() -> None:
        torch.stack([output.square().mean() for output in looped(networks, labels, flow, 4)]).sum().backward()
        networks.zero_grad()

    def grouped() -> None:
        log, fused = model(labels, flow, 4)
        (log.square().mean() + fused.square().mean()).backward()
        model.zero_grad()

    return medians({"loop": loop, "grouped": grouped}, rounds)


def cell_forms(classes: int, hidden: int, batch: int, size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Time 4 decoder steps, forward and backward: a convolution per gate, one for all gates, the input read once."""
    cell = GroupedConvLSTM(classes, hidden, hidden)
    x, h, c = (torch.randn(batch, classes * hidden, *size) for _ in range(3))

    def by_gates() -> None:
        state = State(h, c)
        weights = [w.unflatten(0, (classes, 4, hidden)) for w in (cell.of_input.weight, cell.of_hidden.weight)]
        for _ in range(4):
            gates = [
                functional.conv2d(x, weights[0][:, k].flatten(0, 1), padding=1, groups=classes)
                + functional.conv2d(state.hidden, weights[1][:, k].flatten(0, 1), padding=1, groups=classes)
                for k in range(4)
            ]
            new = gates[1].sigmoid() * state.cell + gates[0].sigmoid() * gates[3].tanh()
            state = State(gates[2].sigmoid() * new.tanh(), new)
        finish(state)

    def each_step() -> None:
        state = State(h, c)
        for _ in range(4):
            state = cell(cell.read(x), state)
        finish(state)

    def once() -> None:
        state, read = State(h, c), cell.read(x)
        for _ in range(4):
            state = cell(read, state)
        finish(state)

    def finish(state: State) -> None:
        state.hidden.square().mean().backward()
        cell.zero_grad()

    return medians({"per gate": by_gates, "all gates": each_step, "input once": once}, rounds)


def formats(preset: str, batch: int, size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Time a training step of the dynamics, 4 frames to 4: contiguous, and channels last."""
    options = Options(**PRESETS[preset])
    labels, flow = clip(batch, 4, *size, options.classes)
    runs: dict[str, Run] = {}
    for name, layout in (("contiguous", torch.contiguous_format), ("channels last", torch.channels_last)):
        model = SADMDynamics(options).to(memory_format=layout)

        def run(model: SADMDynamics = model) -> None:
            log, fused = model(labels, flow, 4)
            (log.square().mean() + fused.square().mean()).backward()
            model.zero_grad()

        runs[name] = run
    return medians(runs, rounds)


def sharing(preset: str, size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Time a predicted step, and its occupancy and dis-occlusion separately."""
    options = Options(**{**PRESETS[preset], "occlusion": "both"})
    model = SADM(options).eval()
    labels, flow = clip(1, 4, *size, 19)
    context = Context(torch.rand(1, 4, 3, *size), ("clip@0",), labels, 0.1 * flow, CITYSCAPES19)
    before, after = labels[:, -2], labels[:, -1]
    seconds = medians(
        {
            "4 steps": lambda: model.predict(context, 4, [torch.Generator()]),
            "occupancy": lambda: overoccupied(flow[:, -1], after, before, flow[:, -2], options.occupancy_tau),
            "dis-occlusion": lambda: uncovered(flow[:, -1], after, before, flow[:, -2], options),
        },
        rounds,
    )
    return {"step": seconds.pop("4 steps") / 4, **seconds}


def absent(preset: str, size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Time a prediction's dynamics, 4 frames to 5, and its encoder with 19 classes and with the 13 of a usual clip."""
    runs: dict[str, Run] = {}
    for classes in (19, 13):
        model = SADMDynamics(Options(**{**PRESETS[preset], "space": "context", "classes": classes})).eval()
        labels, flow = clip(1, 4, *size, classes)
        if classes == 19:
            runs["dynamics"] = lambda model=model, labels=labels, flow=flow: model(labels, flow, 5)
        runs[f"encoder, {classes} classes"] = lambda model=model, labels=labels, flow=flow: model.encode(labels, flow)
    with torch.no_grad():
        return medians(runs, rounds)


def labelling(size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Time the labels of 5 frames of scores."""
    scores = torch.rand(1, 5, 19, *size)
    return medians({"argmax": lambda: scores.argmax(dim=2), "likeliest": lambda: likeliest(scores)}, rounds)


def predicting(size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Return predicted frames per second of ``paper`` on the GPU, 4 to 5."""
    model = SADM(Options()).cuda().eval()
    labels, flow = clip(1, 4, *size, 19, "cuda")
    context = Context(torch.rand(1, 4, 3, *size, device="cuda"), ("clip@0",), labels, flow, CITYSCAPES19)
    compiled = torch.compile(model.predict)

    def half() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            model.predict(context, 5, [torch.Generator()])

    runs: dict[str, Run] = {
        "fp32": lambda: model.predict(context, 5, [torch.Generator()]),
        "bf16": half,
        "compiled": lambda: compiled(context, 5, [torch.Generator()]),
    }
    return {name: 5 / seconds for name, seconds in medians(runs, rounds).items()}


def main() -> None:
    """Run all measurements, print them, and write them to ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="also 256x512: minutes on a CPU")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rounds, small = args.rounds, (64, 96)
    results = {
        "class by class or grouped, tiny, 9 classes, 64x96": grouping("tiny", 9, 1, small, rounds),
        "class by class or grouped, paper (h=64), 9 classes, 64x96": grouping("paper", 9, 1, small, rounds),
        "decoder cell, 9 classes of 64 channels, 16x24": cell_forms(9, 64, 1, (16, 24), rounds),
        "decoder cell, 19 classes of 8 channels, 32x48": cell_forms(19, 8, 1, (32, 48), rounds),
        "memory format, tiny, 64x96": formats("tiny", 1, small, rounds),
        "memory format, paper, 64x96": formats("paper", 1, small, rounds),
        "dis-occlusion within a step, tiny, 64x96": sharing("tiny", small, rounds),
        "dis-occlusion within a step, paper, 64x96": sharing("paper", small, rounds),
    }
    results |= {
        "classes, tiny, 64x96": absent("tiny", small, rounds),
        "labels of 19 classes, 192x256": labelling((192, 256), rounds),
    }
    if args.large:
        results["class by class or grouped, paper (h=64), 9 classes, 256x512"] = grouping("paper", 9, 1, (256, 512), 1)
    for name, values in results.items():
        first = next(iter(values.values()))
        print(f"{name}: " + ", ".join(f"{key} {v * 1e3:.1f} ms (x {first / v:.2f})" for key, v in values.items()))
    if torch.cuda.is_available():
        for size in ((256, 512), (512, 1024)):
            results[f"frames/s, paper, {size[0]}x{size[1]}"] = speeds = predicting(size, rounds)
            print(f"frames/s, paper, {size}: " + ", ".join(f"{key} {value:.1f}" for key, value in speeds.items()))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
