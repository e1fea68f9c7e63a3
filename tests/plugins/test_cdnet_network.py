"""CDNet as a predictor: causality, what crosses time, any horizon and size, stages, presets, and what it refuses."""

from __future__ import annotations

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
from vpbench.plugin.clip import Context, Future
from vpbench.plugin.training import Recipe
from vpbench.toolkit.padding import padded
from vpbench_cdnet.network import MOTION, windows_of
from vpbench_cdnet.options import PRESETS, TRAINING_ONLY, Options
from vpbench_cdnet.predictor import CDNet

SMALL = {"hidden": 2, "blocks": (1, 1), "integrator": (6, 5), "norm": "group", "recompute": False}
FORMS = {
    "as the paper": {"norm": "batch", "recompute": True},
    "group norm": {},
    "without G": {"global_information": False},
    "without mask": {"mask": None},
    "sigmoid mask": {"mask": "sigmoid"},
    "valid windows": {"window": "valid"},
    "residual": {"residual": True},
    "iterations 2": {"iterations": 2},
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def built(seed=0, **options):
    """A small CDNet whose decoded frames are within [0,1] for the most part, and differ from stage to stage."""
    torch.manual_seed(seed)
    model = CDNet(Options(**SMALL | options)).eval()
    with torch.no_grad():
        model.network.to_features.weight.normal_(std=0.5)
        model.network.to_features.bias.uniform_(0, 0.5)
    return model


def context(frames, future=None):
    return Context(frames=frames, clips=tuple(f"clip{i}@0" for i in range(len(frames))), future=future)


def predict(model, frames, horizon):
    return model.predict(context(frames), horizon, []).frames


class TestWindows:
    def test_end_at_each_frame_and_begin_with_the_first_repeated(self):
        frames = noise(2, 4, 3, 2, 2)
        windows = windows_of(frames)
        for k, named in enumerate([(0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 2, 3)]):
            for place, frame in enumerate(named):
                assert torch.equal(windows[:, k, :, place], frames[:, frame])

    @pytest.mark.parametrize(
        ("window", "names"), [("replicate", ["000", "001", "012", "123"]), ("valid", ["012", "123"])]
    )
    def test_that_are_encoded(self, window, names):
        model = built(window=window)
        frames = torch.stack([torch.full((3, 8, 8), k / 10) for k in range(4)])[None]
        seen = record(model.network.autoencoder, "encode", lambda: predict(model, frames, 1))
        assert [(w[0, :, 0, 0] * 10).round().int().tolist() for w in seen[0]] == [[int(c) for c in n] for n in names]


def record(thing, method, run):
    """Return what a method of an object was given, call by call, while ``run`` ran."""
    seen, original = [], getattr(thing, method)

    def recording(*args, **kwargs):
        seen.append(args[0].detach().clone())
        return original(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thing, method, recording)
        run()
    return seen


class TestTime:
    @every_form
    def test_more_steps_begin_like_fewer(self, form):
        """Figure 8: eight frames of a model for four; the first four are the same."""
        model, frames = built(**form), noise(2, 4, 3, 8, 12)
        assert torch.equal(predict(model, frames, 8)[:, :4], predict(model, frames, 4))

    @every_form
    def test_no_step_sees_a_true_frame_of_its_own_or_later(self, form):
        network = built(**form).network
        frames, truth = noise(1, 4, 3, 8, 8), noise(1, 3, 3, 8, 8, seed=1).requires_grad_()
        steps = network(frames, 3, [MOTION, network.iterations], truth, torch.ones(1, 3, dtype=torch.bool))
        for k, decoded in enumerate(steps):
            if k == 0:
                assert not torch.autograd.grad(decoded.sum(), truth, allow_unused=True, retain_graph=True)[0]
                continue
            (gradient,) = torch.autograd.grad(decoded.sum(), truth, retain_graph=True)
            assert [bool(gradient[:, j].any()) for j in range(3)] == [j < k for j in range(3)]

    def test_every_context_frame_counts(self):
        network, frames = built().network, noise(1, 4, 3, 8, 8).requires_grad_()
        decoded = next(network(frames, 1, [network.iterations]))
        (gradient,) = torch.autograd.grad(decoded[-1][:, :, -1].sum(), frames)
        assert gradient.flatten(2).any(dim=2).all()

    def test_global_information_is_of_the_context_alone(self):
        network = built().network
        calls = record(network.integrator, "forward", lambda: list(network(noise(1, 4, 3, 8, 8), 5, [5])))
        assert len(calls) == 1
        encodings, _ = network.autoencoder.encode(windows_of(noise(1, 4, 3, 8, 8))[0])
        torch.testing.assert_close(calls[0][0], encodings.flatten(0, 1))

    def test_without_global_information_the_updater_sees_the_motion_features(self):
        network, motion = built(global_information=False).network, []
        network.motion.register_forward_hook(lambda module, args, state: motion.append(state))
        seen = record(network.refine, "recall", lambda: list(network(noise(1, 4, 3, 8, 8), 2, [5])))
        assert len(seen) == 2, "once a step"
        assert all(torch.equal(a, state.hidden) for a, state in zip(seen, motion[3:], strict=True))

    def test_states_start_from_the_first_frame_alone(self):
        network, frames = built().network, noise(1, 4, 3, 8, 8)
        other = torch.cat([frames[:, :1], noise(1, 3, 3, 8, 8, seed=5)], dim=1)
        for name in ("motion_start", "refine_start"):
            part = getattr(network, name)
            a = record(part, "forward", lambda: list(network(frames, 1, [5])))
            b = record(part, "forward", lambda: list(network(other, 1, [5])))
            assert len(a) == 1 and torch.equal(a[0], b[0])

    def test_nothing_but_motion_crosses_time(self):
        """With true frames read, what the refinement does at one step leaves the next step's motion state alone."""
        frames, truth = noise(2, 4, 3, 8, 8), noise(2, 3, 3, 8, 8, seed=1)
        states = []
        for change in (False, True):
            network = built().network
            if change:
                with torch.no_grad():
                    for parameter in [*network.refine.parameters(), *network.refine_start.parameters()]:
                        parameter.add_(0.5)
            hook = network.motion.register_forward_hook(lambda module, args, state: states.append(state))
            decoded = list(network(frames, 3, [5], truth, torch.ones(2, 3, dtype=torch.bool)))
            hook.remove()
            states.append(decoded)
        for before, after in zip(states[:6], states[7:13], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        assert not torch.equal(states[6][0], states[13][0]), "the change is to be seen"

    def test_the_refinement_begins_anew_with_the_motion_memory(self):
        network = built().network
        motion, refine = [], []
        network.motion.register_forward_hook(lambda module, args, state: motion.append(state))
        network.refine.register_forward_hook(lambda module, args, state: refine.append((args, state)))
        list(network(noise(1, 4, 3, 8, 8), 2, [5]))
        assert (len(motion), len(refine)) == (5, 10)
        for step in range(2):
            for iteration in range(5):
                _, _, _, state, refined = refine[5 * step + iteration][0]
                of_motion = motion[3 + step]
                if iteration == 0:
                    assert state.memory is of_motion.memory and refined is of_motion.hidden
                    assert torch.equal(state.hidden, refine[0][0][3].hidden)
                else:
                    assert refined is None and state is refine[5 * step + iteration - 1][1]
        assert all(args[1] is not None for args, _ in refine)

    def test_true_frames_are_read_where_shown_says(self):
        network, frames, truth = built().network, noise(2, 4, 3, 8, 8), noise(2, 3, 3, 8, 8, seed=1)
        shown = torch.tensor([[True, False, True], [False, True, True]])
        made = []
        seen = record(network.autoencoder, "encode", lambda: made.extend(network(frames, 3, [5], truth, shown)))
        assert len(seen) == 3, "what follows the last step is not encoded"
        for k in (0, 1):
            for clip in (0, 1):
                newest = truth[clip, k] if shown[clip, k] else made[k][-1][clip, :, -1]
                assert torch.equal(seen[k + 1][clip, :, -1], newest)
            assert torch.equal(seen[k + 1][:, :, :2], seen[k][:2, :, 1:] if k else windows_of(frames)[:, -1, :, 1:])

    @every_form
    def test_without_true_frames_it_is_predict(self, form):
        model, frames = built(**form), noise(2, 4, 3, 8, 8)
        shown = torch.zeros(2, 3, dtype=torch.bool)
        steps = model.network(frames, 3, [model.options.iterations], noise(2, 3, 3, 8, 8), shown)
        rolled = torch.stack([decoded[-1][:, :, -1] for decoded in steps], dim=1)
        assert torch.equal(rolled.clamp(0, 1), predict(model, frames, 3))

    def test_predict_is_never_told_the_truth(self):
        model, frames = built(), noise(1, 4, 3, 8, 8)
        future = Future(noise(1, 2, 3, 8, 8, seed=3), (1, 2), ("clip0@0",), frames[:, -1])
        assert torch.equal(model.predict(context(frames, future), 2, []).frames, predict(model, frames, 2))


class TestStages:
    @pytest.mark.parametrize("norm", ["batch", "group"])
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("residual", [True, False])
    def test_are_decoded_in_one_batch_which_changes_nothing(self, norm, training, residual):
        network = built(norm=norm, residual=residual).network.train(training)
        encoding, statistics = network.autoencoder.encode(noise(2, 3, 3, 8, 8))
        features, made = noise(3, 2, 6, 3, 2, 2), []
        seen = record(
            network.autoencoder, "decode", lambda: made.append(network._decoded(features, encoding, statistics))
        )
        assert len(seen) == 1
        one_by_one = torch.cat([network._decoded(one[None], encoding, statistics) for one in features])
        torch.testing.assert_close(made[0], one_by_one)

    def test_are_decoded_by_the_statistics_of_their_steps_encoding(self, monkeypatch):
        network = built(norm="batch").network.train()
        made, used, coder = [], [], network.autoencoder
        encode, decode = coder.encode, coder.decode
        monkeypatch.setattr(coder, "encode", lambda frames: made.append(encode(frames)) or made[-1])
        monkeypatch.setattr(coder, "decode", lambda features, by: used.append(by) or decode(features, by))
        list(network(noise(2, 4, 3, 8, 8), 3, [5]))
        assert len(made) == len(used) == 3
        assert all(given is by for (_, given), by in zip(made, used, strict=True))

    def test_a_later_step_teaches_the_frame_that_it_read(self):
        first, second = built().network.train()(noise(1, 4, 3, 8, 8), 2, [5])
        (gradient,) = torch.autograd.grad(second.sum(), first)
        assert gradient[-1, :, :, -1].abs().max() > 0, "the newest frame, which joined the next window"
        assert not gradient[-1, :, :, :-1].any()

    @pytest.mark.parametrize("recompute", [True, False])
    def test_the_option_recompute_is_the_autoencoders(self, recompute):
        assert CDNet(Options(**SMALL | {"recompute": recompute})).network.autoencoder.recompute is recompute

    def test_emit_chooses_the_stage_and_leaves_the_rollout_alone(self):
        frames = noise(2, 4, 3, 8, 8)
        network = built().network
        steps = list(network(frames, 3, range(6)))
        made = {}
        for number, emit in enumerate(["motion", 1, 2, 3, 4, 5]):
            made[emit] = predict(built(emit=emit), frames, 3)
            expected = torch.stack([decoded[number][:, :, -1] for decoded in steps], dim=1)
            torch.testing.assert_close(made[emit], expected.clamp(0, 1))
        assert torch.equal(made[5], predict(built(), frames, 3))
        assert len({round(float(each.mean()), 6) for each in made.values()}) == 6

    @pytest.mark.parametrize("options", [SMALL | {"residual": True}, PRESETS["tiny"]], ids=["residual", "tiny"])
    def test_untrained_residual_repeats_the_last_frame(self, options):
        torch.manual_seed(0)
        frames = noise(2, 4, 3, 8, 8)
        predicted = predict(CDNet(Options(**options)).eval(), frames, 3)
        torch.testing.assert_close(predicted, frames[:, -1:].expand_as(predicted), atol=1e-5, rtol=0)


class TestInput:
    @pytest.mark.parametrize("size", [(9, 13), (8, 11), (3, 30), (1, 1)])
    def test_other_sizes_are_padded_with_their_border_and_cut_and_it_is_said(self, size):
        model, frames = built(), noise(2, 4, 3, *size)
        height, width = size
        with pytest.warns(VpbenchWarning, match=f"cdnet: frames of {height}x{width} are padded"):
            predicted = predict(model, frames, 2)
        assert torch.equal(predicted, predict(model, padded(frames, 4), 2)[..., :height, :width])

    @pytest.mark.parametrize("window", ["replicate", "valid"])
    @pytest.mark.parametrize("length", [1, 2, 3, 6])
    def test_other_contexts_are_said_and_predicted(self, length, window):
        model, frames = built(window=window), noise(2, length, 3, 8, 8)
        seen = "the last 4" if length > 4 else "them, the first repeated"
        message = f"made for 4 context frames, given {length}: the global information is of {seen}$"
        with pytest.warns(VpbenchWarning, match=message):
            predicted = predict(model, frames, 2)
        assert predicted.isfinite().all()

    def test_a_longer_context_gives_g_its_last_windows(self):
        network, frames = built().network, noise(1, 6, 3, 8, 8)
        (seen,) = record(network.integrator, "forward", lambda: list(network(frames, 1, [5])))
        torch.testing.assert_close(seen[0], network.autoencoder.encode(windows_of(frames)[0, 2:])[0].flatten(0, 1))

    def test_a_shorter_context_gives_g_its_first_window_again(self):
        network, frames = built().network, noise(1, 2, 3, 8, 8)
        (seen,) = record(network.integrator, "forward", lambda: list(network(frames, 1, [5])))
        first, second = network.autoencoder.encode(windows_of(frames)[0])[0]
        torch.testing.assert_close(seen[0], torch.cat([first, first, first, second]))

    def test_without_g_any_context_will_do(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            predict(built(global_information=False), noise(1, 7, 3, 8, 8), 1)
            predict(built(), noise(1, 4, 3, 8, 8), 1)

    def test_gray_clips_come_as_three_channels(self):
        gray = noise(2, 4, 1, 8, 8)
        predicted = predict(built(), gray.expand(-1, -1, 3, -1, -1), 2)
        assert predicted.shape == (2, 2, 3, 8, 8) and predicted.isfinite().all()
        with pytest.raises(PredictorError, match="1 channels, not 3: give grey clips as three equal channels"):
            predict(built(), gray, 2)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_what_is_no_number_is_refused_by_the_clips_name(self, bad):
        frames = noise(2, 4, 3, 8, 8)
        frames[1, 2, 0, 3, 3] = bad
        with pytest.raises(PredictorError, match="the context of clip1@0 holds NaN"):
            predict(built(), frames, 1)

    @every_form
    def test_clips_of_a_batch_do_not_mix(self, form):
        model, frames = built(**form), noise(3, 4, 3, 8, 8)
        alone = torch.cat([predict(model, one[None], 2) for one in frames])
        torch.testing.assert_close(predict(model, frames, 2), alone, atol=1e-5, rtol=1e-4)

    def test_frames_are_clamped(self):
        model = built()
        with torch.no_grad():
            model.network.to_features.bias.fill_(3.0)
        predicted = predict(model, noise(1, 4, 3, 8, 8), 2)
        assert predicted.min() >= 0 and predicted.max() == 1

    def test_half_precision_leaves_the_autoencoder_alone(self):
        model, frames = built(), noise(1, 4, 3, 8, 8)
        with torch.autocast("cpu", torch.bfloat16):
            windows = windows_of(frames)[0]
            features, statistics = model.network.autoencoder.encode(windows)
            assert features.dtype == torch.float32
            decoded = model.network.autoencoder.decode(features, statistics)
            torch.testing.assert_close(decoded, windows, atol=1e-5, rtol=0)
            assert predict(model, frames, 2).isfinite().all()

    def test_no_state_is_kept_beyond_a_step(self):
        """Memory does not grow with the horizon: of what the cells returned, at most two steps are alive."""
        model, alive, most = built(), [], []

        def watch(module, args, state):
            alive.append(weakref.ref(state.hidden))
            assert not state.hidden.requires_grad
            most.append(sum(one() is not None for one in alive))

        model.network.motion.register_forward_hook(watch)
        predict(model, noise(1, 4, 3, 8, 8), 12)
        assert max(most[4:]) <= 2 and len(most) == 15


class TestOptions:
    def test_the_default_is_the_paper_and_says_which_values_are_stated(self):
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
            "recipe": {**asdict(Recipe(epochs=100, batch_size=8, clip=1.0)), "learning_rate": 5e-4},
        }
        assert "learning rate" in properties["recipe"]["paper"], "of the recipe that alone"
        assert Options().recipe.learning_rate == 5e-4
        assert PRESETS["paper"] == {}

    def test_presets_are_the_rows_of_tables_2_and_4_and_figure_5(self):
        rows = {
            "l1-l2": {"deep_supervision": False},
            "without-g": {"global_information": False},
            "without-mask": {"mask": None},
            "without-area-loss": {"area_weight": 0.0},
            "iterations-3": {"iterations": 3},
            "iterations-4": {"iterations": 4},
        }
        tiny = PRESETS["tiny"]
        assert {name: dict(values) for name, values in PRESETS.items()} == {
            "paper": {},
            **rows,
            "tiny": tiny,
            **{f"tiny-{name}": {**tiny, **row} for name, row in rows.items()},
            **{f"tiny-hidden-{n}": {**tiny, "hidden": n} for n in (3, 12)},
            "hidden-16": {"hidden": 16},
            "hidden-64": {"hidden": 64},
            "emit-motion": {"emit": "motion"},
            **{f"emit-{n}": {"emit": n} for n in (1, 2, 3, 4, 5)},
        }

    @pytest.mark.parametrize("preset", PRESETS)
    def test_every_preset_is_valid(self, preset):
        Options(**PRESETS[preset])

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"emit": 6}, "there is no iteration 6, the last is 5"),
            ({"emit": 4, "iterations": 3}, "there is no iteration 4"),
            ({"emit": 0}, "last, motion, or the number of an iteration, from 1 on, and not 0"),
            ({"emit": "first"}, "and not 'first'"),
            ({"window": "valid", "context": 2}, "no window of three"),
            ({"l1": 0.0, "l2": 0.0}, "one of the pixel loss's weights"),
            ({"hidden": 0}, "greater than or equal to 1"),
            ({"blocks": ()}, "at least 1 item"),
            ({"mask": "relu"}, "'tanh' or 'sigmoid'"),
            ({"sampling_start": 1.1}, "less than or equal to 1"),
            ({"hiden": 3}, "Extra inputs"),
        ],
    )
    def test_wrong_options_are_refused(self, wrong, message):
        with pytest.raises(ValidationError, match=message):
            Options(**wrong)

    def test_training_only_options_exist_and_leave_the_weights_alone(self):
        assert set(TRAINING_ONLY) < set(Options.model_fields)
        shaping = {"context", "hidden", "iterations", "norm", "blocks", "integrator", "window", "residual", "mask"}
        assert set(Options.model_fields) - set(TRAINING_ONLY) == shaping | {"global_information"}

    def test_a_protocol_of_another_context_is_not_trained_on(self):
        protocol = SimpleNamespace(name="long", sampling=SimpleNamespace(context=10))
        with pytest.raises(UsageError, match=r"long has 10: train with -o cdnet\.context=10"):
            built().training_stages(protocol)
        assert len(built(context=10).training_stages(protocol)) == 1
        assert len(built(global_information=False).training_stages(protocol)) == 1

    @pytest.mark.parametrize("emit", ["motion", 1, 5])
    def test_a_stage_is_shown_not_trained(self, emit):
        protocol = SimpleNamespace(name="p", sampling=SimpleNamespace(context=4))
        with pytest.raises(UsageError, match="emit shows a stage of trained weights; train without it"):
            built(emit=emit).training_stages(protocol)

    def test_predicting_needs_no_lightning(self):
        code = "import sys, vpbench_cdnet.predictor; assert not [m for m in sys.modules if m.startswith('lightning')]"
        subprocess.run([sys.executable, "-c", code], check=True)


@every_form
def test_every_parameter_gets_a_gradient(form):
    torch.manual_seed(0)
    network = built(**form).network.train()
    steps = network(noise(2, 4, 3, 8, 8), 2, [network.iterations])
    torch.stack([decoded.square().mean() for decoded in steps]).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
