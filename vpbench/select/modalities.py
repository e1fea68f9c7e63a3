"""Modalities that the registered plugins declare: they tell a misspelled name from one that the data lack."""

from __future__ import annotations

import warnings
from collections.abc import Collection

from vpbench.errors import VpbenchError, VpbenchWarning, did_you_mean
from vpbench.plugin.annotator import AnnotatorInfo
from vpbench.plugin.dataset import DatasetInfo
from vpbench.plugin.loader import Plugins
from vpbench.plugin.predictor import PredictorInfo


def check_uses(plugins: Plugins, name: str, info: PredictorInfo, declared: Collection[str]) -> None:
    """Warn of a modality that a predictor uses and nobody declares: it would never receive it.

    Args:
        plugins: their datasets and annotators are imported, if a name is in doubt.
        name: of the predictor.
        info: of the predictor.
        declared: the modalities that the run's dataset, annotators and predictor declare, and those built in.
    """
    if doubtful := [modality for modality in info.uses if modality not in declared]:
        names = {*declared, *_registered(plugins)}
        for modality in doubtful:
            if modality not in names:
                warnings.warn(
                    f"predictor {name!r} uses {modality!r}, which no dataset or annotator declares: it predicts "
                    f"without{did_you_mean(modality, names)}",
                    VpbenchWarning,
                    stacklevel=2,
                )


def _registered(plugins: Plugins) -> set[str]:
    """Return the names of the modalities that registered datasets and annotators declare; broken ones are skipped."""
    names: set[str] = set()
    for entry in (*plugins.of("dataset"), *plugins.of("annotator")):
        try:
            info = getattr(entry.load(), "info", None)
        except VpbenchError:
            continue
        if isinstance(info, DatasetInfo | AnnotatorInfo):
            names |= {spec.name for spec in info.declares}
    return names
