"""Conformance: does a plugin keep the contract of its kind?

A registered name comes in. Its object is built and called on synthetic clips with known truth, again and again under
other circumstances. An outcome per check goes out: ok, failed with the reason and what to do, or not applicable.
"""

from vpbench.testing.check import Check as Check
from vpbench.testing.check import Outcome as Outcome
from vpbench.testing.conformance import Request as Request
from vpbench.testing.conformance import check_annotator as check_annotator
from vpbench.testing.conformance import check_dataset as check_dataset
from vpbench.testing.conformance import check_metric as check_metric
from vpbench.testing.conformance import check_plugin as check_plugin
from vpbench.testing.conformance import check_predictor as check_predictor
from vpbench.testing.conformance import conformance as conformance
