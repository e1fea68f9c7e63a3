"""Write the golden files: ``PYTHONPATH=tests python -m golden.make``.

LPIPS needs its backbones: VPBENCH_WEIGHTS names the folder that holds ``lpips_alexnet_features.safetensors`` and
``lpips_vgg16_features.safetensors``.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from golden.table import METRICS

FOLDER = Path(__file__).parent
PACKAGES = (
    "numpy", "scipy", "scikit-image", "pytorch-msssim", "torchmetrics", "piqa", "lpips", "opencv-python-headless",
    "torch",
)  # fmt: skip


def main() -> None:
    """Compute every source's value of every case."""
    files: dict[str, dict[str, object]] = {}
    for metric, (family, tolerance, cases, sources) in METRICS.items():
        values = {name: {source: make(case) for source, make in sources.items()} for name, case in cases.items()}
        files.setdefault(family, {})[metric] = {"tolerance": tolerance, "values": values}
    for family, metrics in files.items():
        content = {
            "made by": "PYTHONPATH=tests python -m golden.make",
            "with": {package: version(package) for package in PACKAGES},
            "metrics": metrics,
        }
        (FOLDER / f"{family}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
