"""Predictors of a run share the fingerprints of its metrics."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import toys

from vpbench.clips.probe import Probe
from vpbench.errors import UsageError
from vpbench.evaluation import plan
from vpbench.evaluation.cell import plan_cell
from vpbench.evaluation.plan import Settings, open_run
from vpbench.plugin.loader import load_plugins
from vpbench.select.component import choose_predictor, wrap_predictor
from vpbench.select.data import open_protocol, open_protocol_dataset
from vpbench.select.metrics import fingerprint_metric


def test_the_predictors_of_a_run_share_the_fingerprints_of_its_metrics(tmp_path, monkeypatch):
    plugins = load_plugins()
    protocol = open_protocol(plugins, "scenes-small")
    settings = Settings(out=tmp_path, clips=1, metrics=["mse", "mae"])
    computed = []

    def count(plugins, name, engine):
        computed.append(name)
        return fingerprint_metric(plugins, name, engine)

    monkeypatch.setattr(plan, "fingerprint_metric", count)
    run = open_run(protocol, plugins, settings, Probe(protocol, open_protocol_dataset(plugins, protocol, {})))
    cells = [plan_cell(run, choose_predictor(plugins, name, {}, protocol)) for name in ("repeat", "flow-extrapolation")]
    assert sorted(computed) == ["mae", "mse"]
    assert cells[0].identity.metric_code["mse"] == fingerprint_metric(plugins, "mse").sha256


def test_shards_of_what_cannot_be_fingerprinted_are_refused(tmp_path):
    """Each of them would begin a result of its own."""

    class Holder(toys.Last):
        def __init__(self) -> None:
            self.file = Path(os.devnull).open()  # noqa: SIM115

    plugins = load_plugins([toys.__file__])
    protocol = open_protocol(plugins, "scenes-small")
    settings = Settings(out=tmp_path, clips=2, metrics=["mean-colour"], shard="0/2")
    run = open_run(protocol, plugins, settings, Probe(protocol, open_protocol_dataset(plugins, protocol, {})))
    holder = Holder()
    with pytest.raises(UsageError, match=r"^holder: several processes cannot make one result of it, since predictor"):
        plan_cell(run, wrap_predictor(holder))
    holder.file.close()
