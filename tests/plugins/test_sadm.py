"""SADM as a predictor: label spaces, what it refuses and warns of, sizes, noise, switches, and how mIoU takes it."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from vpbench.errors import PredictorError, UsageError, VpbenchWarning
from vpbench.plugin.clip import Comparison, Context, Future, LabelSpace
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.metric import Undefined
from vpbench.toolkit.labels import CITYSCAPES9, CITYSCAPES19, CITYSCAPES20, FOREGROUND2, VOC21
from vpbench_metrics.semantic import MIoU, MovingMIoU
from vpbench_sadm.labels import exchange, into_model, model_space
from vpbench_sadm.options import PRESETS, Options
from vpbench_sadm.predictor import SADM, flow_complaint
from vpbench_sadm.training import stages

SMALL = {
    "hidden": 3,
    "embed": (2, 3),
    "context_width": 4,
    "head": (3, 2),
    "fusion": 6,
    "inpainter_widths": (4, 4),
    "inpainter_kernels": (3, 3),
    "discriminator_widths": (4, 4),
    "perceptual": "none",
}
OWN = {"space": "context", "classes": 19}
H, W = 16, 24


def built(seed=0, **options):
    torch.manual_seed(seed)
    return SADM(Options(**SMALL | OWN | options)).eval()


def picture(batch=2, height=H, width=W):
    """Smooth pictures, so that the least motion shows."""
    x = torch.linspace(0, 6, width) + torch.arange(batch)[:, None]
    y = torch.linspace(0, 4, height)
    waves = 0.5 + 0.25 * torch.sin(x)[:, None, None, :] + 0.2 * torch.cos(y)[None, None, :, None]
    return waves.expand(batch, 3, height, width).clone()


def context(frames=4, size=(H, W), space=CITYSCAPES19, batch=2, speed=1.0, seed=0):
    """Clips that move to the right by ``speed`` pixels a frame, with labels of every class, and their flow."""
    generator = torch.Generator().manual_seed(seed)
    wide = picture(batch, size[0], size[1] + 40)
    steps = [round(20 - speed * t) for t in range(frames)]
    labels = torch.randint(len(space), (batch, 1, *size), generator=generator).expand(-1, frames, -1, -1).clone()
    flow = torch.zeros(batch, frames - 1, 2, *size)
    flow[:, :, 0] = -speed
    return Context(
        torch.stack([wide[..., at : at + size[1]] for at in steps], dim=1),
        tuple(f"clip{i}@0" for i in range(batch)),
        labels,
        flow,
        space,
    )


def generators(batch=2, seed=0):
    return [torch.Generator().manual_seed(seed + i) for i in range(batch)]


def predict(model, given, horizon=2, seed=0):
    return model.predict(given, horizon, generators(len(given.clips), seed))


class TestLabelSpaces:
    @pytest.mark.parametrize(
        ("preset", "given", "expected"),
        [
            ("paper", CITYSCAPES19, CITYSCAPES9),
            ("paper", CITYSCAPES20, CITYSCAPES9),
            ("paper", CITYSCAPES9, CITYSCAPES9),
            ("c20", CITYSCAPES19, CITYSCAPES20),
            ("c20", CITYSCAPES20, CITYSCAPES20),
            ("tiny", CITYSCAPES19, CITYSCAPES19),
        ],
    )
    def test_of_presets(self, preset, given, expected):
        options = Options(**PRESETS[preset])
        assert model_space(given, options.space, options.classes) is expected

    @pytest.mark.parametrize("space", [VOC21, FOREGROUND2])
    def test_without_cityscapes_classes(self, space):
        """Human3.6M and UCF101 run with what DeepLabV3 gives."""
        made = predict(built(classes=len(space)), context(space=space))
        assert made.label_space is space and made.semantics.shape[2] == len(space)

    @pytest.mark.parametrize(
        ("options", "space", "message"),
        [
            (OWN, VOC21, "made for 19 classes.*'voc21', which has 21: set -o sadm.classes=21"),
            ({"space": "cityscapes9", "classes": 9}, VOC21, "'voc21', which has no mapping.*-o sadm.classes=21"),
            (OWN, None, "no label space"),
        ],
    )
    def test_that_do_not_fit_name_the_option(self, options, space, message):
        given = replace(context(), label_space=space)
        with pytest.raises(PredictorError, match=message) as raised:
            predict(built(**options), given)
        assert "\n" not in str(raised.value)

    def test_labels_are_mapped_and_255_stays(self):
        labels = torch.tensor([[[[0, 10, 11, 13, 18, 255]]]])
        assert into_model(labels, CITYSCAPES19, CITYSCAPES9, ["a"]).flatten().tolist() == [0, 0, 1, 3, 8, 255]
        assert into_model(labels, CITYSCAPES19, CITYSCAPES19, ["a"]) is labels

    @pytest.mark.parametrize("label", [19, -1, 254])
    def test_a_label_outside_the_table(self, label):
        given = context()
        given.semantics[1, 2, 3, 4] = label
        message = f"label {label} of {given.clips[1]} is not among the 19 of 'cityscapes19'"
        with pytest.raises(PredictorError, match=message):
            predict(built(), given)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"swap_classes": "car"}, "two names with a comma, such as car,road, and not 'car'"),
            ({"swap_classes": "car,road,bus"}, "two names with a comma"),
            ({"swap_classes": "car,car"}, "two classes, not 'car' twice"),
            ({"composite": True, "perceptual": "none", "frame_weight": 0, "video_weight": 0}, "nothing teaches"),
            ({"composite": True, "perceptual_weight": 0, "frame_weight": 0, "video_weight": 0}, "nothing teaches"),
        ],
    )
    def test_options_that_make_no_sense(self, options, message):
        with pytest.raises(ValidationError, match=message):
            Options(**options)

    @pytest.mark.parametrize("options", [{"swap_classes": "car,road"}, {"emit": "warped"}])
    def test_what_shows_trained_weights_is_not_trained_with(self, options):
        with pytest.raises(UsageError, match="only change how trained weights are shown"):
            stages(built(**options), None)

    def test_space_and_classes_must_agree(self):
        with pytest.raises(ValidationError, match="has 9 classes, not 20"):
            Options(classes=20)
        with pytest.raises(ValidationError, match="'cityscapes10' is not known"):
            Options(space="cityscapes10")

    def test_nine_classes_are_not_scored_on_nineteen_but_on_the_moving_ones(self):
        """Which is said in the score's place."""
        given = context()
        made = predict(built(space="cityscapes9", classes=9), given)
        truth = Future(given.frames[:, :2], (1, 2), given.clips, given.frames[:, -1], given.semantics[:, :2])
        truth = replace(truth, label_space=CITYSCAPES19)
        whole = MIoU("cpu").measure(Comparison(made, truth))
        assert all(
            isinstance(each, Undefined) and "'cityscapes9', the true ones of 'cityscapes19'" in each.reason
            for clip in whole
            for each in clip
        )
        moving = MovingMIoU("cpu").measure(Comparison(made, truth))
        assert np.array(moving).shape == (2, 2, 24)
        twenty = predict(built(space="cityscapes20", classes=20), given)
        assert not isinstance(MIoU("cpu").measure(Comparison(twenty, truth))[0][0], Undefined)

    def test_those_of_other_classes_are_not_those_it_was_trained_with(self):
        """As many of them, too: each class has a network of its own."""
        model = built()
        model.remember(CITYSCAPES19)
        again = built()
        again.load_state_dict(model.state_dict())
        other = LabelSpace("odd19\u00e9" * 20, tuple(f"k{i}" for i in range(19)), CITYSCAPES19.palette)
        predict(again, context())
        with pytest.raises(PredictorError, match="with labels of 'cityscapes19', and these are of 'odd19\u00e9"):
            predict(again, context(space=other))
        fresh = built()
        predict(fresh, context(space=other))
        fresh.remember(other)
        predict(fresh, context(space=other))
        with pytest.raises(PredictorError, match=r"with labels of 'odd19\u00e9.*, and these are of 'cityscapes19'"):
            predict(fresh, context())


class TestSwap:
    def test_exchanges_two_classes_by_name(self):
        assert exchange(CITYSCAPES19, ("car", "road")) == [13, *range(1, 13), 0, *range(14, 19)]

    def test_is_that_of_the_networks(self):
        """Figure 6: each class by the other's encoder and decoder; and what is predicted keeps its name."""
        given = context()
        model, swapping = built(), built(swap_classes="car,road")
        table = torch.tensor(exchange(CITYSCAPES19, ("road", "car")))
        made, by_hand = predict(swapping, given), predict(model, replace(given, semantics=table[given.semantics]))
        assert torch.equal(made.flow, by_hand.flow)
        assert torch.equal(made.semantics, by_hand.semantics[:, :, table])
        assert torch.equal(made.disocclusion, by_hand.disocclusion)
        assert not torch.equal(predict(swapping, given).flow, predict(model, given).flow)

    def test_of_classes_that_are_not_there(self):
        with pytest.raises(PredictorError, match="'cityscapes9' has no class 'road'; it has static"):
            predict(built(space="cityscapes9", classes=9, swap_classes="car,road"), context())


class TestContext:
    def test_of_one_frame(self):
        with pytest.raises(PredictorError, match="a context of one frame has no flow"):
            predict(built(), context(frames=1))

    @pytest.mark.parametrize(("lacking", "annotator"), [("flow", "dis"), ("semantics", "deeplabv3")])
    def test_without_a_modality_says_what_to_add(self, lacking, annotator):
        with pytest.raises(PredictorError, match=f"no {lacking}; add --annotate {lacking}={annotator}"):
            predict(built(), replace(context(), **{lacking: None}))

    @pytest.mark.parametrize("what", ["frames", "flow"])
    def test_that_is_not_a_number_is_named(self, what):
        given = context()
        getattr(given, what)[1, 1, 0, 3, 3] = float("nan")
        with pytest.raises(PredictorError, match=f"the {what} of clip1@0 hold NaN"):
            predict(built(), given)

    @pytest.mark.parametrize("frames", [2, 3, 6])
    def test_of_any_length_from_two(self, frames):
        assert predict(built(), context(frames=frames)).frames.shape == (2, 2, 3, H, W)

    def test_with_a_class_that_never_occurs_and_pixels_without_one(self):
        given = context()
        given.semantics[given.semantics > 3] = 255
        assert all(t.isfinite().all() for t in predict(built(), given).tensors().values())


class TestFlow:
    """Its direction and scale, judged by warping the context."""

    @pytest.mark.parametrize(
        ("factor", "message"),
        [
            (-1.0, "it seems to be forward"),
            (10.0, "it seems to want a factor of 0.1"),
            (2.0, "it seems to want a factor of 0.5"),
            (0.5, "it seems to want a factor of 2"),
            (0.1, "it seems to want a factor of 10"),
        ],
    )
    def test_that_is_wrong_is_warned_of(self, factor, message):
        given = context(speed=2.0)
        with pytest.warns(VpbenchWarning, match=f"not lead from each frame to the one before: {message}; it must be"):
            predict(built(), replace(given, flow=factor * given.flow))

    def test_that_is_wrong_in_one_clip_of_several(self):
        given = context(speed=2.0, batch=3)
        given.flow[1] *= -1
        given.frames[2] = given.frames[2, :1]  # stands still, which any flow of zero explains
        given.flow[2] = 0
        assert "seems to be forward" in flow_complaint(given.frames, given.flow)

    @pytest.mark.parametrize("speed", [0.0, 1.0, 3.0])
    def test_that_is_right_is_not(self, speed):
        given = context(speed=speed)
        assert flow_complaint(given.frames, given.flow) == ""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            predict(built(), given)


class TestPrediction:
    @pytest.mark.parametrize("size", [(H, W), (17, 23), (5, 33), (4, 4)])
    @pytest.mark.parametrize("stride", [2, 4])
    @pytest.mark.filterwarnings("ignore:sadm. frames of")
    def test_is_of_the_contexts_size(self, size, stride):
        made = predict(built(latent_stride=stride), context(size=size), horizon=3)
        assert made.frames.shape == (2, 3, 3, *size) and made.flow.shape == (2, 3, 2, *size)
        assert made.semantics.shape == (2, 3, 19, *size) and made.disocclusion.shape == (2, 3, *size)
        assert made.disocclusion.dtype == torch.bool
        assert made.frames.min() >= 0 and made.frames.max() <= 1
        assert set(made.tensors()) == set(SADM.info.outputs)

    def test_of_a_size_that_is_padded_is_said(self):
        with pytest.warns(VpbenchWarning, match="sadm: frames of 17x24 are padded to 20x24, multiples of 4"):
            predict(built(), context(size=(17, 24)))

    @pytest.mark.parametrize(("latent", "widths", "stride"), [(4, (4,), 4), (2, (4,), 2), (2, (4, 4, 4), 8)])
    def test_is_padded_to_the_larger_stride_of_both_parts(self, latent, widths, stride):
        options = {"latent_stride": latent, "inpainter_widths": widths, "inpainter_kernels": (3,) * len(widths)}
        with pytest.warns(VpbenchWarning, match=f"multiples of {stride}, and"):
            predict(built(**options), context(size=(17, 24)))

    def test_more_steps_begin_like_fewer(self):
        for name, few in predict(built(), context(), horizon=2).tensors().items():
            assert torch.equal(few, predict(built(), context(), horizon=4).tensors()[name][:, :2]), name

    def test_of_a_clip_does_not_depend_on_its_batch(self):
        given, model = context(), built()
        alone = Context(given.frames[1:], given.clips[1:], given.semantics[1:], given.flow[1:], given.label_space)
        for name, both in predict(model, given).tensors().items():
            torch.testing.assert_close(both[1:], predict(model, alone).tensors()[name], atol=1e-5, rtol=1e-5)

    def test_never_sees_the_truth(self):
        given = context()
        future = Future(given.frames, (1, 2, 3, 4), given.clips, given.frames[:, -1], given.semantics, given.flow)
        assert torch.equal(predict(built(), given).frames, predict(built(), replace(given, future=future)).frames)

    def test_emit_chooses_which_frames_and_changes_nothing_else(self):
        inpainted, warped = predict(built(), context()), predict(built(emit="warped"), context())
        with torch.no_grad():
            other = built()
            for parameter in other.inpainter.parameters():
                parameter.copy_(torch.randn_like(parameter))
        assert not torch.equal(predict(other, context()).frames, inpainted.frames)
        assert torch.equal(warped.flow, inpainted.flow) and torch.equal(warped.disocclusion, inpainted.disocclusion)
        still = context(speed=0.0)
        model = built(emit="warped", flow_residual="class_flow", mask_residual="carried")
        torch.testing.assert_close(predict(model, still).frames[:, 1], still.frames[:, -1], atol=1e-5, rtol=0)


class TestStochastic:
    def test_samples_differ_by_seed_and_repeat_by_it(self):
        model, given = built(mode="stochastic"), context()
        assert model.info.stochastic and not built().info.stochastic
        first, again, other = (predict(model, given, seed=seed) for seed in (0, 0, 5))
        assert torch.equal(first.flow, again.flow) and not torch.equal(first.flow, other.flow)

    def test_noise_of_a_clip_is_of_its_own_generator(self):
        model, given = built(mode="stochastic"), context()
        a = model.predict(given, 1, generators(seed=0)).flow
        b = model.predict(given, 1, [generators(seed=0)[0], generators(seed=9)[1]]).flow
        assert torch.equal(a[0], b[0]) and not torch.equal(a[1], b[1])


class TestPredictor:
    def test_parts_are_what_inference_uses(self):
        assert set(built().inference_parts()) == {"dynamics", "inpainter"}
        with torch.device("meta"):
            parts = SADM(Options()).inference_parts()
            small = SADM(Options(**PRESETS["tiny"]))
        assert sum(p.numel() for p in parts["inpainter"].parameters()) == pytest.approx(5.18e6, rel=0.011)
        assert sum(p.numel() for p in small.parameters()) < 1e6

    def test_has_two_stages(self):
        model = built()
        first, second = stages(model, None)
        assert [type(stage).__name__ for stage in (first, second)] == ["Dynamics", "Rendering"]
        assert first.predictor is second.predictor is model
        assert first.recipe is model.options.dynamics_recipe and second.recipe is model.options.rendering_recipe

    def test_is_registered(self):
        assert load_plugins().load("predictor", "sadm") is SADM
        with pytest.raises(UsageError):
            load_plugins().load("predictor", "sadn")

    def test_the_presets_say_what_they_change(self):
        paper = Options()
        changed = {name: {k for k, v in Options(**p) if v != getattr(paper, k)} for name, p in PRESETS.items()}
        assert changed["paper"] == set()
        assert changed["c20"] == {"space", "classes"}
        assert changed["single-class"] == {"single_hidden"} and changed["stochastic"] == {"mode"}
        assert changed["occupancy-only"] == changed["consistency-only"] == {"occlusion"}
        assert changed["tiny-single-class"] == changed["tiny"] | {"single_hidden"}

    def test_tiny_is_what_its_page_says(self):
        paper, tiny = Options(), Options(**PRESETS["tiny"])
        changed = {name: value for name, value in tiny if value != getattr(paper, name)}
        recipes = [changed.pop(f"{stage}_recipe") for stage in ("dynamics", "rendering")]
        assert [(r.steps, r.batch_size, r.learning_rate) for r in recipes] == [(300, 4, 1e-2), (300, 4, 2e-3)]
        assert changed == {
            "space": "context",
            "classes": 19,
            "hidden": 8,
            "embed": (6, 8),
            "context_width": 16,
            "head": (8, 6),
            "fusion": 24,
            "latent_stride": 2,
            "flow_residual": "class_flow",
            "mask_residual": "carried",
            "boundary_sigma": 1.0,
            "boundary_norm": "peak",
            "schedule": "cosine",
            "dynamics_horizon": 4,
            "rollout": "compose",
            "occlusion": "semantic",
            "composite": True,
            "inpainter_widths": (16, 32, 48, 64),
            "inpainter_kernels": (5, 3, 3, 3),
            "perceptual": "pixel",
            "frame_weight": 0.0,
            "video_weight": 0.0,
        }

    def test_untrained_tiny_carries_labels_and_flow_along(self):
        """A quarter of the frame is of each of four classes; all drifts by a pixel a step."""
        torch.manual_seed(0)
        given = context()
        y, x = torch.meshgrid(torch.arange(H), torch.arange(W + 8), indexing="ij")
        drawn = (y >= H // 2) * 2 + (x >= W // 2).long()
        labels = [drawn[:, 8 - t : 8 - t + W] for t in range(8)]
        given.semantics[:] = torch.stack(labels[:4])
        with pytest.warns(VpbenchWarning, match="multiples of 16"):
            made = predict(SADM(Options(**PRESETS["tiny"])).eval(), given, horizon=3)
        assert torch.equal(made.semantics.argmax(dim=2)[0], torch.stack(labels[4:7]))
        torch.testing.assert_close(made.flow, given.flow[:, :1].expand_as(made.flow))
        torch.testing.assert_close(made.frames[:, 0, ..., 1:], given.frames[:, -1, ..., :-1])
        assert made.disocclusion[:, 0, :, 0].all() and not made.disocclusion[:, 0, :, 1:].any()

    def test_stated_by_the_paper_are_marked(self):
        stated = {n for n, f in Options.model_fields.items() if (f.json_schema_extra or {}).get("paper")}
        assert {"classes", "boundary_weight", "boundary_sigma", "kl_weight", "perceptual_weight"} <= stated
        assert {"hidden", "latent_stride", "rollout", "mask_residual", "flow_residual"}.isdisjoint(stated)

    def test_package_is_light(self):
        code = "import sys, vpbench_sadm; assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_space_of_that_name_with_other_classes_is_not_taken():
    odd = LabelSpace("cityscapes19", ("a", "b"), ((0, 0, 0), (1, 1, 1)))
    with pytest.raises(PredictorError, match="has 2"):
        predict(built(), replace(context(space=odd), label_space=odd))
