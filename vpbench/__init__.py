"""vpbench: how good is this video-prediction model, at each step into the future, and can I trust the number?

The public names are listed in ``__all__`` and imported when first used, so that ``import vpbench`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vpbench.errors import DataError as DataError
    from vpbench.errors import MetricError as MetricError
    from vpbench.errors import PluginError as PluginError
    from vpbench.errors import PredictorError as PredictorError
    from vpbench.errors import ResultError as ResultError
    from vpbench.errors import UsageError as UsageError
    from vpbench.errors import VpbenchError as VpbenchError
    from vpbench.evaluation.continuation import predict_video as predict_video
    from vpbench.evaluation.evaluate import evaluate as evaluate
    from vpbench.plugin.annotator import AnnotatorInfo as AnnotatorInfo
    from vpbench.plugin.annotator import BaseAnnotator as BaseAnnotator
    from vpbench.plugin.clip import Comparison as Comparison
    from vpbench.plugin.clip import Context as Context
    from vpbench.plugin.clip import Future as Future
    from vpbench.plugin.clip import LabelSpace as LabelSpace
    from vpbench.plugin.clip import Prediction as Prediction
    from vpbench.plugin.dataset import BaseDataset as BaseDataset
    from vpbench.plugin.dataset import DatasetInfo as DatasetInfo
    from vpbench.plugin.dataset import SequenceInfo as SequenceInfo
    from vpbench.plugin.hookspecs import hookimpl as hookimpl
    from vpbench.plugin.metric import BaseMetric as BaseMetric
    from vpbench.plugin.metric import ClipMean as ClipMean
    from vpbench.plugin.metric import MetricInfo as MetricInfo
    from vpbench.plugin.metric import PooledCounts as PooledCounts
    from vpbench.plugin.metric import Undefined as Undefined
    from vpbench.plugin.modality import ModalitySpec as ModalitySpec
    from vpbench.plugin.predictor import BasePredictor as BasePredictor
    from vpbench.plugin.predictor import PredictorInfo as PredictorInfo
    from vpbench.plugin.sample_metric import SampleComparison as SampleComparison
    from vpbench.plugin.sample_metric import SampleCounts as SampleCounts
    from vpbench.plugin.sample_metric import SampleMean as SampleMean
    from vpbench.plugin.set_metric import FeatureSet as FeatureSet
    from vpbench.plugin.set_metric import SetMetric as SetMetric
    from vpbench.plugin.training import Recipe as Recipe
    from vpbench.plugin.training import TrainingBatch as TrainingBatch
    from vpbench.protocol.protocol import Protocol as Protocol
    from vpbench.results.comparison import compare as compare
    from vpbench.results.result import Result as Result
    from vpbench.results.result import load as load
    from vpbench.training.train import train as train

_HOME = {
    "BasePredictor": "vpbench.plugin.predictor",
    "BaseMetric": "vpbench.plugin.metric",
    "BaseDataset": "vpbench.plugin.dataset",
    "BaseAnnotator": "vpbench.plugin.annotator",
    "AnnotatorInfo": "vpbench.plugin.annotator",
    "ClipMean": "vpbench.plugin.metric",
    "Comparison": "vpbench.plugin.clip",
    "Context": "vpbench.plugin.clip",
    "DataError": "vpbench.errors",
    "DatasetInfo": "vpbench.plugin.dataset",
    "FeatureSet": "vpbench.plugin.set_metric",
    "Future": "vpbench.plugin.clip",
    "LabelSpace": "vpbench.plugin.clip",
    "MetricInfo": "vpbench.plugin.metric",
    "ModalitySpec": "vpbench.plugin.modality",
    "PooledCounts": "vpbench.plugin.metric",
    "Prediction": "vpbench.plugin.clip",
    "PredictorInfo": "vpbench.plugin.predictor",
    "Protocol": "vpbench.protocol.protocol",
    "Recipe": "vpbench.plugin.training",
    "Result": "vpbench.results.result",
    "SampleComparison": "vpbench.plugin.sample_metric",
    "SampleCounts": "vpbench.plugin.sample_metric",
    "SampleMean": "vpbench.plugin.sample_metric",
    "SequenceInfo": "vpbench.plugin.dataset",
    "SetMetric": "vpbench.plugin.set_metric",
    "TrainingBatch": "vpbench.plugin.training",
    "Undefined": "vpbench.plugin.metric",
    "MetricError": "vpbench.errors",
    "PluginError": "vpbench.errors",
    "PredictorError": "vpbench.errors",
    "ResultError": "vpbench.errors",
    "UsageError": "vpbench.errors",
    "VpbenchError": "vpbench.errors",
    "compare": "vpbench.results.comparison",
    "evaluate": "vpbench.evaluation.evaluate",
    "hookimpl": "vpbench.plugin.hookspecs",
    "load": "vpbench.results.result",
    "predict_video": "vpbench.evaluation.continuation",
    "train": "vpbench.training.train",
}

__all__ = sorted([*_HOME, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("vpbench")
    if name not in _HOME:
        raise AttributeError(f"module 'vpbench' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
