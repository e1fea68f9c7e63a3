"""Values of presets that no other test needs, with the source of each."""

from __future__ import annotations

import pytest

from vpbench_recurrent.convlstm import ConvLSTM
from vpbench_recurrent.crevnet import CrevNet
from vpbench_recurrent.mim import MIM
from vpbench_recurrent.motionrnn import MotionRNN
from vpbench_recurrent.phydnet import PhyDNet
from vpbench_recurrent.predrnn import PredRNN, PredRNNV2
from vpbench_simvp.predictor import TAU, SimVP

# What OpenSTL (commit c74deb5) does with all of its recurrent models.
FED_BACK = {"patch": 4, "patch_order": "pixel", "clamp": False, "supervise": "all", "residual": False}


@pytest.mark.parametrize(
    ("model", "preset", "published"),
    [
        # OpenSTL's settings on Moving MNIST: sampling ends after 50,000 of 125,000 steps.
        (ConvLSTM, "openstl-grey", FED_BACK | {"scheduled_sampling": 0.4, "schedule": "cosine"}),
        (PredRNN, "openstl-grey", FED_BACK | {"scheduled_sampling": 0.4, "schedule": "cosine", "layer_norm": False}),
        (MIM, "openstl-grey", FED_BACK | {"scheduled_sampling": 0.4, "schedule": "cosine", "layer_norm": False}),
        # On Human3.6M, it ends after 50,000 of 50 epochs of 73,404 clips.
        (ConvLSTM, "openstl", FED_BACK | {"scheduled_sampling": 0.218, "schedule": "cosine"}),
        (PredRNN, "openstl", FED_BACK | {"scheduled_sampling": 0.218, "schedule": "cosine", "layer_norm": False}),
        (MIM, "openstl", FED_BACK | {"scheduled_sampling": 0.218, "schedule": "cosine", "layer_norm": False}),
        # MotionRNN's script for Human3.6M: the loss on all steps, sampling that ends after 50,000 of 80,000 steps.
        (
            MotionRNN,
            "paper",
            FED_BACK | {"scheduled_sampling": 0.625, "reverse_sampling": False},
        ),
        (PredRNN, "paper", FED_BACK | {"scheduled_sampling": 0.625, "reverse_sampling": False}),
        # PredRNN-V2's official code: reverse scheduled sampling, and the weight of the decoupling loss.
        (PredRNNV2, "paper", FED_BACK | {"reverse_sampling": True, "decoupling": 0.1}),
        (PredRNNV2, "openstl", FED_BACK | {"reverse_sampling": True, "decoupling": 0.1, "scheduled_sampling": 0.218}),
        # PhyDNet's code: the moment loss next to the sum of 7 or 19 losses; true frames with 1 - .003 per epoch. It has
        # whole frames, and reads predictions unclamped.
        (PhyDNet, "paper", FED_BACK | {"patch": 1, "moment": 1 / 7, "scheduled_sampling": 200 / 120}),
        (PhyDNet, "openstl", FED_BACK | {"patch": 1, "moment": 1 / 7, "scheduled_sampling": 200 / 30}),
        (PhyDNet, "openstl-grey", FED_BACK | {"patch": 1, "moment": 1 / 19, "scheduled_sampling": 200 / 120}),
        # CrevNet's official code: the mean error over a window of one new and two known frames, here times 3.
        (CrevNet, "paper", FED_BACK | {"patch": 1, "reconstruction": 2.0, "scheduled_sampling": "always"}),
        # TAU's paper: alpha and tau of the differential divergence regularisation.
        (TAU, "paper", {"divergence": 0.1, "temperature": 0.1}),
        # OpenSTL's settings of SimVP on Human3.6M and Moving MNIST: the drop path, and the squared error alone.
        (SimVP, "openstl", {"divergence": 0.0, "drop_path": 0.1, "l1": 0.0, "l2": 1.0, "ssim": 0.0}),
        (SimVP, "openstl-grey", {"divergence": 0.0, "drop_path": 0.0, "l1": 0.0, "l2": 1.0, "ssim": 0.0}),
    ],
)
def test_presets_have_the_published_settings(model, preset, published):
    options = model.Options(**model.presets[preset]).model_dump()
    assert {name: options[name] for name in published} == published
