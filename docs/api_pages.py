"""Write the pages of the API reference: every public name of ``vpbench``, and the modules of ``vpbench.toolkit``."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from pathlib import PurePosixPath

import vpbench
import vpbench.toolkit

GROUPS = {
    "evaluate": (
        "Evaluate, train and read results",
        ("evaluate", "train", "load", "compare", "predict_video", "Result", "Protocol"),
    ),
    "predictors": (
        "Write a predictor",
        ("hookimpl", "BasePredictor", "PredictorInfo", "Context", "Future", "Prediction", "Recipe", "TrainingBatch"),
    ),
    "datasets": (
        "Write a dataset or an annotator",
        (
            *("BaseDataset", "DatasetInfo", "SequenceInfo", "ModalitySpec", "LabelSpace"),
            *("BaseAnnotator", "AnnotatorInfo"),
        ),
    ),
    "metrics": (
        "Write a metric",
        (
            *("BaseMetric", "MetricInfo", "Comparison", "ClipMean", "PooledCounts", "Undefined"),
            *("SampleComparison", "SampleMean", "SampleCounts", "SetMetric", "FeatureSet"),
        ),
    ),
    "errors": (
        "Errors",
        (
            *("VpbenchError", "UsageError", "DataError", "PluginError"),
            *("PredictorError", "MetricError", "ResultError"),
        ),
    ),
}
FOLDER = PurePosixPath("reference")


def pages() -> dict[PurePosixPath, str]:
    """Return the text of each page by its path.

    Raises:
        ValueError: A public name of vpbench has no group.
    """
    grouped = {name for _, names in GROUPS.values() for name in names}
    public = set(vpbench.__all__) - {"__version__"}
    if grouped != public:
        raise ValueError(f"docs/api_pages.py: in GROUPS or public, but not both: {sorted(grouped ^ public)}")
    texts = {FOLDER / f"{key}.md": _page(title, map(_path, names)) for key, (title, names) in GROUPS.items()}
    modules = [f"vpbench.toolkit.{module.name}" for module in pkgutil.iter_modules(vpbench.toolkit.__path__)]
    texts[FOLDER / "toolkit.md"] = _page(
        "Toolkit for plugins", [name for name in modules if not name.endswith("_data")]
    )
    return texts


def _path(name: str) -> str:
    return f"{vpbench._HOME[name]}.{name}"


def _page(title: str, paths: Iterable[str]) -> str:
    return f"# {title}\n\n" + "\n\n".join(f"::: {path}" for path in paths) + "\n"
