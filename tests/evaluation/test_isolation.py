"""The request that a predictor in a process of its own receives, and the start of its process."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from vpbench.evaluation import isolation
from vpbench.evaluation.isolation import IsolatedCaller, Limits, isolate_predictor, serve_predictor
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.predictor import PredictorInfo
from vpbench.protocol.sampling import ClipRef
from vpbench.select.component import Component
from vpbench.testing.material import Shape, draw_batch


class SentError(Exception):
    """Ends a call once its request is there."""


class Receiver:
    def predict(self, request):
        self.request = request
        raise SentError


@pytest.mark.parametrize("is_oracle", [False, True])
def test_truth_and_unneeded_modalities_stay_in_the_parent(is_oracle):
    info = PredictorInfo(uses=("flow",), oracle=is_oracle)
    batch = draw_batch(Shape(), {"frames", "flow", "semantics"}, {"frames", "semantics"})
    receiver = Receiver()
    with pytest.raises(SentError):
        IsolatedCaller("p", receiver, info, ("frames",), 0).predict(batch, 0)
    assert set(receiver.request.context) == {"frames", "flow"}
    assert bool(receiver.request.future) == is_oracle
    assert receiver.request.label_shape == tuple(batch.future.semantics.shape)


class Process:
    """A child that answers at once; the class notes the argument and the limits of every one."""

    started: list = []
    limits: list = []

    def __init__(self, target, argument):
        self.runs = True
        self.started.append((self, argument))

    def send(self, request):
        pass

    def receive(self, seconds, memory):
        self.limits.append((seconds, memory))
        return SimpleNamespace(component=Component("p", "", None, {}))


@pytest.fixture
def processes(monkeypatch):
    monkeypatch.setattr(isolation, "Child", Process)
    for notes in (Process.started, Process.limits):
        notes.clear()
    return Process


def test_a_process_that_ended_is_started_again_and_memory_is_limited_from_the_start(processes):
    predictor = isolate_predictor(load_plugins([]), "p", {}, None, Limits(seconds=5, memory=2)).value
    assert processes.limits == [(None, None), (None, 2)], "imports, then building"
    request = SimpleNamespace(label="p", refs=[ClipRef("a", (0, 1), 1, (1,))])
    predictor.predict(request)
    assert (len(processes.started), processes.limits[-1]) == (1, (5, 2))
    processes.started[0][0].runs = False
    for _ in range(2):
        predictor.predict(request)
    assert len(processes.started) == 2


def test_the_process_of_a_predictor_has_the_threads_of_this_one(processes, monkeypatch):
    threads = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(isolation, "keep_memory", lambda: None)
    isolate_predictor(load_plugins([]), "p", {}, None, Limits())
    serve_predictor(processes.started[0][1])
    assert threads == [7]
