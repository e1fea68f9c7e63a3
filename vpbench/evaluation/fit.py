"""Check that a predictor can continue the clips of a protocol, before anything is predicted."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from vpbench.clips.annotations import annotators_for
from vpbench.errors import DataError, Remedy, UsageError, did_you_mean
from vpbench.plugin.clip import Modality
from vpbench.plugin.dataset import DatasetInfo
from vpbench.plugin.loader import Plugins
from vpbench.plugin.modality import merge_declarations
from vpbench.plugin.predictor import PredictorInfo
from vpbench.protocol.protocol import Protocol
from vpbench.select.component import Component
from vpbench.select.modalities import check_uses


def check_fit(
    plugins: Plugins,
    protocol: Protocol,
    dataset: DatasetInfo,
    annotators: Mapping[Modality, Component],
    predictor: Component,
) -> None:
    """Check that a predictor can predict the horizon and gets the modalities that it requires.

    Raises:
        UsageError: the context, the horizon or the size does not fit.
        DataError: neither the dataset nor an annotator has a modality that it requires.
    """
    info = predictor.info
    horizon = protocol.sampling.horizon
    if info.horizon != "any" and info.horizon < horizon:
        raise UsageError(
            f"predictor {predictor.name!r} predicts at most {info.horizon} steps; {protocol.name} asks for {horizon}"
        )
    if reason := info.misfit(protocol.sampling.context, protocol.size):
        raise UsageError(
            f"predictor {predictor.name!r} does not fit {protocol.name}: {reason}; choose another protocol, or options "
            f"with which it fits"
        )
    if info.oracle and (lacking := _lacking(info, dataset.modalities)):
        raise DataError(
            f"the oracle {predictor.name!r} needs the true {min(lacking)}; {protocol.dataset.name!r} has none"
        )
    declarations = {f"dataset {protocol.dataset.name!r}": dataset.declares}
    declarations |= {f"annotator {a.name!r}": a.info.declares for a in annotators.values()}
    specs = merge_declarations(declarations | {f"predictor {predictor.name!r}": info.declares})
    check_uses(plugins, predictor.name, info, specs)
    available = {*dataset.context_modalities, *annotators}
    if lacking := _lacking(info, available):
        raise DataError(
            f"predictor {predictor.name!r} requires {' and '.join(lacking)}, which {protocol.dataset.name!r} lacks: "
            f"add {annotators_for(lacking)}{did_you_mean(lacking[0], available)}",
            Remedy.ANNOTATE,
        )


def _lacking(info: PredictorInfo, available: Collection[str]) -> list[Modality]:
    return [modality for modality in info.requires if modality not in available]
