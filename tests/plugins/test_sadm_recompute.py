"""SADM's activation checkpointing: the same losses, gradients and statistics, with less memory."""

from __future__ import annotations

import pytest
import torch
from sadm_models import dynamics, noise, options, rendering, training_batch

from vpbench_sadm.options import PRESETS, Options
from vpbench_sadm.recompute import recomputed

MODES = (
    {},
    {"mode": "stochastic"},
    {"flow_residual": "nearest_segment", "mask_residual": "carried"},
    {"single_hidden": 6},
)


def gradients(stage, losses):
    torch.stack(list(losses.values())).sum().backward()
    return {name: parameter.grad for name, parameter in stage.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("changes", MODES)
def test_the_dynamics_learn_the_same(changes):
    terms, graded = [], []
    for recompute in (False, True):
        stage = dynamics(recompute=recompute, **changes)
        terms.append(stage.losses(training_batch()))
        graded.append(gradients(stage, terms[-1]))
    assert terms[0].keys() == terms[1].keys() and all(torch.equal(terms[0][name], terms[1][name]) for name in terms[0])
    assert graded[0].keys() == graded[1].keys() and graded[0]
    for name, gradient in graded[0].items():
        torch.testing.assert_close(graded[1][name], gradient, msg=name)


@pytest.mark.parametrize("rollout", ["iterative", "compose"])
def test_the_rendering_takes_the_same_steps(rollout):
    """Weights of all networks, and the statistics of batch normalisation, after two steps."""
    after = []
    for recompute in (False, True):
        stage = rendering(recompute=recompute, rollout=rollout)
        for step in range(2):
            stage.training_step(training_batch(step=step), step)
        after.append(stage.state_dict())
    assert int(after[0]["predictor.inpainter.encoder_norms.0.num_batches_tracked"]) == (
        4 if rollout == "iterative" else 2
    )
    for name, tensor in after[0].items():
        torch.testing.assert_close(after[1][name], tensor, msg=name)


def test_autograd_keeps_less():
    sizes = {}
    for recompute in (False, True):
        stage, storages = dynamics(recompute=recompute, latent_stride=4), {}

        def pack(tensor, storages=storages):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            stage.losses(training_batch())
        sizes[recompute] = sum(storages.values())
    assert sizes[True] < sizes[False] / 2


def test_a_part_runs_once_without_gradients_and_again_with_them():
    calls, x = [], noise(3).requires_grad_()

    def square(value):
        calls.append(value.shape)
        return value.square().sin()

    with torch.no_grad():
        recomputed(True, square, x)
    assert len(calls) == 1
    recomputed(False, square, x).sum().backward()
    assert len(calls) == 2
    loss = recomputed(True, square, x).sum()
    assert len(calls) == 3
    for backward in (1, 2):
        loss.backward(retain_graph=True)
        assert len(calls) == 3 + backward


def test_the_papers_size_recomputes_and_the_small_one_does_not():
    assert Options().recompute and not Options(**PRESETS["tiny"]).recompute
    assert options(recompute=False) != options()
