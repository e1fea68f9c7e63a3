"""Frames per second and peak memory of SADM and CDNet on a GPU, in fp32, in bf16 and compiled. Prints JSON.

    PYTHONPATH=plugins:datasets python benchmarks/gpu.py [--small] [--rounds N] [--form NAME ...]

Without a GPU it runs on the CPU, with small models on small frames, to show that the script works. Compilation needs a
compiler of C++ there. fp32 has no TF32; bf16 is autocast; compiled is fp32, CDNet step by step. Where a form fails, its
entry has the error instead of the figures, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from common import medians
from torch import nn

from vpbench.errors import describe
from vpbench.plugin.clip import Context
from vpbench.plugin.predictor import Predictor
from vpbench.toolkit.labels import CITYSCAPES19
from vpbench_cdnet.options import PRESETS as CDNET
from vpbench_cdnet.options import Options as CDNetOptions
from vpbench_cdnet.predictor import CDNet
from vpbench_sadm.options import PRESETS as SADM_PRESETS
from vpbench_sadm.options import Options as SADMOptions
from vpbench_sadm.predictor import SADM

PAPER = {"sadm": "19 frames/s on a GTX 1080"}
CONTEXT = 4


@dataclass(frozen=True)
class Case:
    """A predictor and its clips."""

    predictor: str
    preset: str
    size: tuple[int, int]
    clips: int
    horizon: int


FULL = [
    Case("sadm", "paper", (256, 512), 1, 5),
    Case("sadm", "paper", (512, 1024), 1, 5),
    Case("cdnet", "paper", (128, 128), 1, 4),
    Case("cdnet", "paper", (128, 128), 16, 4),
]
SMALL = [Case("sadm", "tiny", (32, 64), 1, 2), Case("cdnet", "tiny", (16, 16), 2, 2)]


def sadm(case: Case, *, compiled: bool) -> nn.Module:
    """Return SADM."""
    model = SADM(SADMOptions(**SADM_PRESETS[case.preset]))
    if compiled:
        model.predict = torch.compile(model.predict)
    return model


def cdnet(case: Case, *, compiled: bool) -> nn.Module:
    """Return CDNet."""
    model = CDNet(CDNetOptions(**CDNET[case.preset]))
    if compiled:
        coder = model.network.autoencoder
        coder.encode = torch.compile(coder.encode)
        model.network.step = torch.compile(model.network.step, fullgraph=True)
    return model


BUILD: dict[str, Callable[..., nn.Module]] = {"sadm": sadm, "cdnet": cdnet}


def clips(case: Case, device: str) -> Context:
    """Return noise with labels in blocks of 8x8 pixels and flow of a pixel or so."""
    n, (height, width) = case.clips, case.size
    blocks = torch.randint(len(CITYSCAPES19.names), (n, CONTEXT, height // 8, width // 8), device=device)
    return Context(
        torch.rand(n, CONTEXT, 3, height, width, device=device),
        tuple(f"clip{i}@0" for i in range(n)),
        blocks.repeat_interleave(8, 2).repeat_interleave(8, 3),
        torch.randn(n, CONTEXT - 1, 2, height, width, device=device),
        CITYSCAPES19,
    )


def measure(case: Case, form: str, device: str, rounds: int) -> dict[str, object]:
    """Return frames per second and, on a GPU, the peak of allocated memory."""
    torch.manual_seed(0)
    model: Predictor = BUILD[case.predictor](case, compiled=form == "compiled").to(device).eval()
    context, generators = clips(case, device), [torch.Generator().manual_seed(i) for i in range(case.clips)]

    def run() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=form == "bf16"):
            model.predict(context, case.horizon, generators)

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = medians({form: run}, rounds)[form]
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
    return {"frames_per_second": case.clips * case.horizon / seconds, "peak_bytes": peak}


def main() -> None:
    """Measure every form of every case, print one JSON document, and exit with 1 if one failed."""
    forms = ["fp32", "bf16", "compiled"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="small models and frames; the default without a GPU")
    parser.add_argument("--rounds", type=int, default=5, help="timed predictions, after one of warm-up")
    parser.add_argument("--form", action="append", choices=forms, help="forms to measure (default: all)")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cases = SMALL if args.small or device == "cpu" else FULL
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    figures, failed = [], False
    for case in cases:
        for form in args.form or forms:
            torch.compiler.reset()
            figure: dict[str, object] = {
                "predictor": f"{case.predictor}:{case.preset}",
                "size": case.size,
                "clips": case.clips,
                "context": CONTEXT,
                "horizon": case.horizon,
                "form": form,
                "paper": PAPER.get(case.predictor),
            }
            try:
                figure |= measure(case, form, device, args.rounds)
            except Exception as error:  # such as memory that does not suffice: the other forms are still measured
                figure["error"], failed = describe(error), True
            figures.append(figure)
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    document = {"device": name, "torch": torch.__version__, "threads": torch.get_num_threads(), "figures": figures}
    print(json.dumps(document, indent=1))
    sys.exit(failed)


if __name__ == "__main__":
    main()
