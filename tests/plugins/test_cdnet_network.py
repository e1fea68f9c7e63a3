"""CDNet as a predictor: the rollout, causality, any horizon and size, stages, options, and refused input."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
import weakref
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from vpbench.errors import PredictorError, UsageError, VpbenchWarning
from vpbench.plugin.clip import Context
from vpbench.plugin.training import Recipe
from vpbench.toolkit.padding import padded
from vpbench.toolkit.st_lstm import STState
from vpbench_cdnet.model import MOTION, windows_of
from vpbench_cdnet.options import PRESETS, TRAINING_ONLY, Options
from vpbench_cdnet.predictor import CDNet
from vpbench_cdnet.refinement import RefineState
from vpbench_cdnet.training import stages

SMALL = {"hidden": 2, "blocks": (1, 1), "integrator": (6, 5), "norm": "group", "recompute": False}
FORMS = {
    "as the paper": {"norm": "batch", "recompute": True},
    "without G": {"global_information": False},
    "without mask": {"mask": None},
    "sigmoid mask": {"mask": "sigmoid"},
    "valid windows": {"window": "valid"},
    "motion of a half": {"motion_halves": 1},
    "residual": {"residual": True},
    "iterations 2": {"iterations": 2},
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def small_model(seed=0, **options):
    """A small CDNet. Most decoded values are within [0,1] and differ from stage to stage."""
    torch.manual_seed(seed)
    model = CDNet(Options(**SMALL | options)).eval()
    with torch.no_grad():
        model.network.to_features.weight.normal_(std=0.5)
        model.network.to_features.bias.uniform_(0, 0.5)
    return model


def predict(model, frames, horizon):
    clips = tuple(f"clip{i}@0" for i in range(len(frames)))
    return model.predict(Context(frames=frames, clips=clips), horizon, []).frames


def rollout_of_the_paper(network, context, horizon):
    """Yield all stages, decoded one by one, as section 3 writes the rollout."""
    windows = windows_of(context)[:, 2 if network.window == "valid" else 0 :]
    encodings = [network.autoencoder.encode(window)[0] for window in windows.unbind(1)]
    g = network.integrator and network.integrator(torch.cat(encodings, 1))
    state = STState(*network.motion_start(encodings[0]).chunk(3, 1))
    for encoding in encodings[:-1]:
        state = network.motion(encoding, state)
    start = network.refine_start(encodings[0]).split(state.hidden.shape[1], 1)
    window = windows[:, -1]
    for _ in range(horizon):
        encoding, statistics = network.autoencoder.encode(window)
        state = network.motion(encoding, state)
        features = [state.hidden]
        refining = RefineState(*start[:2], state.memory, start[2] if len(start) == 3 else None)
        for _ in range(network.iterations):
            refining = network.refine(features[-1], encoding, state.hidden if g is None else g, refining)
            features.append(refining.hidden)
        halves = [network.to_features(stage) + (encoding if network.residual else 0) for stage in features]
        decoded = torch.stack([network.autoencoder.decode(stage, statistics) for stage in halves])
        yield decoded
        window = torch.cat([window[:, :, 1:], decoded[-1][:, :, -1:]], dim=2)


class TestRollout:
    def test_windows_end_at_each_frame_and_begin_with_the_first_repeated(self):
        frames = noise(2, 4, 3, 2, 2)
        windows = windows_of(frames)
        for k, numbers in enumerate([(0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 2, 3)]):
            for place, frame in enumerate(numbers):
                assert torch.equal(windows[:, k, :, place], frames[:, frame])

    @every_form
    def test_is_that_of_the_paper(self, form):
        network, frames = small_model(**form).network, noise(2, 4, 3, 8, 12)
        stages = range(network.iterations + 1)
        steps = zip(network(frames, 3, stages), rollout_of_the_paper(network, frames, 3), strict=True)
        for decoded, expected in steps:
            torch.testing.assert_close(decoded, expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("norm", ["batch", "group"])
    def test_stages_decoded_together_do_not_affect_each_other_in_training(self, norm):
        frames, values = noise(2, 4, 3, 8, 8), []
        for numbers in (range(6), [5]):
            network = small_model(norm=norm).network.train()
            values.append(torch.stack([decoded[-1] for decoded in network(frames, 3, numbers)]))
        torch.testing.assert_close(*values)

    @every_form
    def test_every_parameter_gets_a_gradient(self, form):
        network = small_model(**form).network.train()
        steps = network(noise(2, 4, 3, 8, 8), 2, [network.iterations])
        torch.stack([decoded.square().mean() for decoded in steps]).sum().backward()
        assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []

    @every_form
    def test_more_steps_begin_like_fewer(self, form):
        """Figure 8: a model for four frames predicts eight; the first four are the same."""
        model, frames = small_model(**form), noise(2, 4, 3, 8, 12)
        assert torch.equal(predict(model, frames, 8)[:, :4], predict(model, frames, 4))

    def test_no_step_sees_its_own_true_frame_or_a_later_one(self):
        network, truth = small_model().network, noise(1, 3, 3, 8, 8, seed=1).requires_grad_()
        steps = network(noise(1, 4, 3, 8, 8), 3, [MOTION, 5], truth, torch.ones(1, 3, dtype=torch.bool))
        first, *later = [torch.autograd.grad(s.sum(), truth, retain_graph=True, allow_unused=True)[0] for s in steps]
        assert first is None or not first.any()
        for k, gradient in enumerate(later, start=1):
            assert [bool(gradient[:, j].any()) for j in range(3)] == [j < k for j in range(3)]

    def test_nothing_but_motion_crosses_time(self):
        """If true frames are read, the refinement of a step does not affect the motion features of the next."""
        frames, truth, motion, refined = noise(2, 4, 3, 8, 8), noise(2, 3, 3, 8, 8, seed=1), [], []
        for offset in (0.0, 0.5):
            network = small_model().network
            with torch.no_grad():
                for parameter in [*network.refine.parameters(), *network.refine_start.parameters()]:
                    parameter.add_(offset)
            steps = torch.stack(list(network(frames, 3, [MOTION, 5], truth, torch.ones(2, 3, dtype=torch.bool))))
            motion.append(steps[:, 0])
            refined.append(steps[:, 1])
        assert torch.equal(*motion)
        assert not torch.equal(*refined)

    def test_true_frames_are_read_next_for_marked_clips_and_steps(self):
        network, frames, truth = small_model().network, noise(2, 4, 3, 8, 8), noise(2, 3, 3, 8, 8, seed=1)
        use_truth = torch.tensor([[True, False, True], [False, True, True]])
        steps = torch.stack([s[-1][:, :, -1] for s in network(frames, 3, [5], truth, use_truth)], dim=1)
        read = torch.where(use_truth[..., None, None, None], truth, steps)
        always = torch.ones_like(use_truth)
        forced = torch.stack([s[-1][:, :, -1] for s in network(frames, 3, [5], read, always)], dim=1)
        assert torch.equal(forced, steps)
        assert not torch.equal(steps[:, 1:], predict(small_model(), frames, 3)[:, 1:])

    @pytest.mark.slow
    @pytest.mark.parametrize(("form", "backend"), [*((form, "eager") for form in FORMS), ("without G", "inductor")])
    def test_a_step_compiles_whole(self, form, backend):
        """The backend ``eager`` runs the captured graph without a compiler of C++."""
        if backend == "inductor" and not shutil.which("g++"):
            pytest.skip("there is no compiler of C++ (g++)")
        torch.compiler.reset()
        network, frames = small_model(**FORMS[form]).network, noise(2, 4, 3, 8, 8)
        with torch.no_grad():
            expected = list(network(frames, 3, range(network.iterations + 1)))
            network.step = torch.compile(network.step, fullgraph=True, backend=backend)
            for decoded, eager in zip(network(frames, 3, range(network.iterations + 1)), expected, strict=True):
                torch.testing.assert_close(decoded, eager, atol=1e-4, rtol=1e-4)

    def test_a_later_step_teaches_the_frame_that_it_read(self):
        first, second = small_model().network.train()(noise(1, 4, 3, 8, 8), 2, [5])
        (gradient,) = torch.autograd.grad(second.sum(), first)
        assert gradient[-1, :, :, -1].abs().max() > 0, "the newest frame, which joined the next window"
        assert not gradient[-1, :, :, :-1].any()


class TestPredict:
    def test_emit_chooses_the_stage_and_leaves_the_rollout_alone(self):
        frames = noise(2, 4, 3, 8, 8)
        steps = list(small_model().network(frames, 3, range(6)))
        for number, emit in enumerate(["motion", 1, 2, 3, 4, "last"]):
            expected = torch.stack([decoded[number][:, :, -1] for decoded in steps], dim=1).clamp(0, 1)
            torch.testing.assert_close(predict(small_model(emit=emit), frames, 3), expected)

    @pytest.mark.parametrize("options", [SMALL | {"residual": True}, PRESETS["tiny"]], ids=["residual", "tiny"])
    def test_untrained_residual_repeats_the_last_frame(self, options):
        torch.manual_seed(0)
        frames = noise(2, 4, 3, 8, 8)
        predicted = predict(CDNet(Options(**options)).eval(), frames, 3)
        torch.testing.assert_close(predicted, frames[:, -1:].expand_as(predicted), atol=1e-5, rtol=0)

    @pytest.mark.parametrize("size", [(9, 13), (8, 11), (1, 1)])
    def test_other_sizes_are_padded_and_cropped_with_a_warning(self, size):
        model, frames = small_model(), noise(2, 4, 3, *size)
        height, width = size
        with pytest.warns(VpbenchWarning, match=f"cdnet: frames of {height}x{width} are padded"):
            predicted = predict(model, frames, 2)
        assert torch.equal(predicted, predict(model, padded(frames, 4), 2)[..., :height, :width])

    @pytest.mark.parametrize("window", ["replicate", "valid"])
    @pytest.mark.parametrize("length", [1, 2, 3, 6])
    def test_other_contexts_are_predicted_with_a_warning(self, length, window):
        change = "only the last are used" if length > 4 else "the first is repeated"
        message = f"needs 4 context frames, and the clip has {length}: {change}$"
        with pytest.warns(VpbenchWarning, match=message):
            predicted = predict(small_model(window=window), noise(2, length, 3, 8, 8), 2)
        assert predicted.isfinite().all()

    @pytest.mark.parametrize(("length", "windows"), [(6, [2, 3, 4, 5]), (2, [0, 0, 0, 1])])
    def test_g_reads_the_last_windows_and_the_first_again_if_there_are_too_few(self, length, windows):
        network, frames, inputs = small_model().network, noise(1, length, 3, 8, 8), []
        network.integrator.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
        list(network(frames, 3, [5]))
        assert len(inputs) == 1, "once per clip"
        expected = network.autoencoder.encode(windows_of(frames)[0, windows])[0]
        torch.testing.assert_close(inputs[0][0], expected.flatten(0, 1))

    def test_without_g_or_with_its_context_there_is_no_warning(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            predict(small_model(global_information=False), noise(1, 7, 3, 8, 8), 1)
            predict(small_model(), noise(1, 4, 3, 8, 8), 1)

    def test_grey_frames_are_refused(self):
        with pytest.raises(PredictorError, match="1 channels, not 3: give grey clips as three equal channels"):
            predict(small_model(), noise(2, 4, 1, 8, 8), 2)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_values_that_are_not_finite_are_refused_with_the_clips_name(self, bad):
        frames = noise(2, 4, 3, 8, 8)
        frames[1, 2, 0, 3, 3] = bad
        with pytest.raises(PredictorError, match="the context of clip1@0 has NaN"):
            predict(small_model(), frames, 1)

    @every_form
    def test_clips_of_a_batch_do_not_mix(self, form):
        model, frames = small_model(**form), noise(3, 4, 3, 8, 8)
        single = torch.cat([predict(model, clip[None], 2) for clip in frames])
        torch.testing.assert_close(predict(model, frames, 2), single, atol=1e-5, rtol=1e-4)

    def test_frames_are_clamped(self):
        model = small_model()
        with torch.no_grad():
            model.network.to_features.bias.fill_(3.0)
        predicted = predict(model, noise(1, 4, 3, 8, 8), 2)
        assert predicted.min() >= 0 and predicted.max() == 1

    def test_memory_does_not_grow_with_the_horizon(self):
        """At most two motion states are alive at any time."""
        model, states, alive = small_model(), [], []

        def watch(module, args, state):
            states.append(weakref.ref(state.hidden))
            assert not state.hidden.requires_grad
            alive.append(sum(ref() is not None for ref in states))

        model.network.motion.register_forward_hook(watch)
        predict(model, noise(1, 4, 3, 8, 8), 12)
        assert max(alive[4:]) <= 2 and len(alive) == 15


class TestOptions:
    def test_the_defaults_are_the_papers_and_marked(self):
        properties = Options.model_json_schema()["properties"]
        assert {name: field["default"] for name, field in properties.items() if "paper" in field} == {
            "context": 4,
            "hidden": 32,
            "iterations": 5,
            "norm": "batch",
            "global_information": True,
            "mask": "tanh",
            "deep_supervision": True,
            "decay": 0.8,
            "area_weight": 1e-4,
            "area_threshold": 0.05,
            "sampling_start": 0.9,
            "sampling_decay": 0.9,
            "sampling_epochs": 5,
            "recipe": asdict(Recipe(epochs=100, epoch_clips=6400, batch_size=8, learning_rate=5e-4, clip=1.0)),
        }

    @pytest.mark.parametrize("preset", [name for name, values in PRESETS.items() if "weights" not in values])
    def test_every_preset_is_valid(self, preset):
        Options(**PRESETS[preset])

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"emit": 4, "iterations": 3}, "there is no iteration 4; the last is 3"),
            ({"emit": 0}, "must be last, motion, or the number of an iteration from 1 on, not 0"),
            ({"window": "valid", "context": 2}, "no valid window"),
            ({"l1": 0.0, "l2": 0.0}, "one of the pixel loss's weights"),
            ({"blocks": ()}, "at least 1 item"),
            ({"hiden": 3}, "Extra inputs"),
        ],
    )
    def test_wrong_options_are_refused(self, wrong, message):
        with pytest.raises(ValidationError, match=message):
            Options(**wrong)

    def test_training_only_options_leave_the_weights_alone(self):
        shaping = {"context", "hidden", "iterations", "norm", "blocks", "integrator", "window", "residual", "mask"}
        assert set(Options.model_fields) - set(TRAINING_ONLY) == shaping | {"global_information", "motion_halves"}
        assert set(TRAINING_ONLY) < set(Options.model_fields)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, r"long has 10: leave out cdnet\.context, and weights of another context"),
            ({"context": 10, "emit": 5}, "emit decodes a stage of trained weights; train without it"),
        ],
    )
    def test_training_refuses_another_context_and_emit(self, options, message):
        protocol = SimpleNamespace(name="long", sampling=SimpleNamespace(context=10))
        with pytest.raises(UsageError, match=message):
            stages(small_model(**options), protocol)
        for fitting in ({"context": 10}, {"global_information": False}):
            assert len(stages(small_model(**fitting), protocol)) == 1

    @pytest.mark.slow
    def test_predicting_needs_no_lightning(self):
        code = "import sys, vpbench_cdnet.predictor; assert not [m for m in sys.modules if m.startswith('lightning')]"
        subprocess.run([sys.executable, "-c", code], check=True)
