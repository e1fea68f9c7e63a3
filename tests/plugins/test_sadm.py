"""SADM as a predictor: label spaces, refusals and warnings, sizes, noise, options and presets."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sadm_models import SMALL, generators

import vpbench_sadm.predictor
from vpbench.errors import PredictorError, VpbenchWarning
from vpbench.plugin.clip import Comparison, Context, Future, LabelSpace
from vpbench.plugin.metric import Undefined
from vpbench.toolkit.labels import CITYSCAPES9, CITYSCAPES19, CITYSCAPES20, FOREGROUND2, VOC21
from vpbench_metrics.semantic import MIoU, MovingMIoU
from vpbench_sadm.labels import exchange, into_model, model_space
from vpbench_sadm.options import PRESETS, TRAINING_ONLY, Options
from vpbench_sadm.predictor import SADM, flow_complaint

H, W = 16, 24


def model(**changes):
    torch.manual_seed(0)
    return SADM(Options(**SMALL | {"classes": 19} | changes)).eval()


def moving(frames=4, size=(H, W), space=CITYSCAPES19, batch=2, speed=1.0):
    """Smooth clips that move right by ``speed`` pixels a frame, with labels of every class and their flow."""
    x, y = torch.linspace(0, 6, size[1] + 40) + torch.arange(batch)[:, None], torch.linspace(0, 4, size[0])
    waves = 0.5 + 0.25 * torch.sin(x)[:, None, None, :] + 0.2 * torch.cos(y)[None, None, :, None]
    wide, offsets = waves.expand(batch, 3, -1, -1), [round(20 - speed * t) for t in range(frames)]
    labels = torch.randint(len(space), (batch, 1, *size), generator=torch.Generator().manual_seed(0))
    flow = torch.zeros(batch, frames - 1, 2, *size)
    flow[:, :, 0] = -speed
    return Context(
        torch.stack([wide[..., offset : offset + size[1]] for offset in offsets], dim=1),
        tuple(f"clip{i}@0" for i in range(batch)),
        labels.repeat(1, frames, 1, 1),
        flow,
        space,
    )


def predict(network, context, horizon=2, seed=0):
    return network.predict(context, horizon, generators(len(context.clips), seed))


@pytest.mark.parametrize("emit", ["inpainted", "warped"])
def test_pieces_of_a_batch_are_as_the_whole(monkeypatch, emit):
    network, context = model(mode="stochastic", emit=emit), moving(batch=5)
    whole = predict(network, context).tensors()
    shapes = []
    monkeypatch.setattr(vpbench_sadm.predictor, "_PIECE", 2 * H * W)
    monkeypatch.setattr(
        network, "rendered", lambda piece, *a: shapes.append(piece.clips) or SADM.rendered(network, piece, *a)
    )
    pieces = predict(network, context).tensors()
    assert shapes == [("clip0@0", "clip1@0"), ("clip2@0", "clip3@0"), ("clip4@0",)]
    assert whole.keys() == pieces.keys()
    for modality, values in whole.items():
        torch.testing.assert_close(pieces[modality], values, atol=1e-5, rtol=1e-5)


class TestLabelSpaces:
    @pytest.mark.parametrize(
        ("preset", "source", "expected"),
        [
            ("paper", CITYSCAPES19, CITYSCAPES9),
            ("paper", CITYSCAPES9, CITYSCAPES9),
            ("c20", CITYSCAPES19, CITYSCAPES20),
            ("tiny", CITYSCAPES19, CITYSCAPES19),
        ],
    )
    def test_of_presets(self, preset, source, expected):
        options = Options(**PRESETS[preset])
        assert model_space(source, options.space, options.classes) is expected

    @pytest.mark.parametrize("space", [VOC21, FOREGROUND2])
    def test_of_the_context_name_the_prediction(self, space):
        prediction = predict(model(classes=len(space)), moving(space=space))
        assert prediction.label_space is space and prediction.semantics.shape[2] == len(space)

    @pytest.mark.parametrize(
        ("changes", "space", "message"),
        [
            ({}, VOC21, "has 19 classes, but.*'voc21', which has 21: train it with the option classes=21"),
            ({}, LabelSpace("cityscapes19", ("a", "b"), ((0, 0, 0), (1, 1, 1))), "has 2"),
            ({"space": "cityscapes9", "classes": 9}, VOC21, "no mapping.* options space=context and classes=21"),
            ({}, None, "no label space"),
        ],
    )
    def test_that_do_not_fit_name_the_option(self, changes, space, message):
        with pytest.raises(PredictorError, match=message) as raised:
            predict(model(**changes), replace(moving(), label_space=space))
        assert "\n" not in str(raised.value)

    def test_labels_are_mapped_and_255_stays(self):
        labels = torch.tensor([[[[0, 10, 11, 13, 18, 255]]]])
        assert into_model(labels, CITYSCAPES19, CITYSCAPES9, ["a"]).flatten().tolist() == [0, 0, 1, 3, 8, 255]
        assert into_model(labels, CITYSCAPES19, CITYSCAPES19, ["a"]) is labels

    @pytest.mark.parametrize("label", [19, -1])
    def test_a_label_outside_the_space_names_the_clip(self, label):
        context = moving()
        context.semantics[1, 2, 3, 4] = label
        with pytest.raises(PredictorError, match=f"label {label} of clip1@0 is not among the 19 of 'cityscapes19'"):
            predict(model(), context)

    def test_of_nine_classes_are_scored_on_the_moving_ones_only(self):
        context = moving()
        truth = Future(
            frames=context.frames[:, :2],
            steps=(1, 2),
            clips=context.clips,
            last=context.frames[:, -1],
            semantics=context.semantics[:, :2],
            label_space=CITYSCAPES19,
        )
        nine = Comparison(predict(model(space="cityscapes9", classes=9), context), truth)
        scores = [score for clip in MIoU("cpu").measure(nine) for score in clip]
        assert all(isinstance(score, Undefined) and "'cityscapes9'" in score.reason for score in scores)
        assert np.array(MovingMIoU("cpu").measure(nine)).shape == (2, 2, 24)
        twenty = Comparison(predict(model(space="cityscapes20", classes=20), context), truth)
        assert not isinstance(MIoU("cpu").measure(twenty)[0][0], Undefined)

    def test_weights_remember_theirs(self):
        """Each class has a network, so another space with as many classes is refused."""
        trained, loaded = model(), model()
        odd = LabelSpace("odd19\u00e9" * 20, CITYSCAPES19.names, CITYSCAPES19.palette)
        predict(trained, moving(space=odd))
        trained.remember(CITYSCAPES19)
        loaded.load_state_dict(trained.state_dict())
        predict(loaded, moving())
        with pytest.raises(PredictorError, match="with labels of 'cityscapes19', but these are of 'odd19\u00e9"):
            predict(loaded, moving(space=odd))
        loaded.remember(CITYSCAPES19)
        long = model()
        long.remember(odd)
        predict(long, moving(space=odd))
        with pytest.raises(PredictorError, match=r"with labels of 'odd19\u00e9.*, but these are of 'cityscapes19'"):
            predict(long, moving())


class TestSwap:
    """Figure 6."""

    def test_runs_each_class_through_the_network_of_the_other(self):
        """The prediction keeps the names of the classes."""
        assert exchange(CITYSCAPES19, ("car", "road")) == [13, *range(1, 13), 0, *range(14, 19)]
        context, table = moving(), torch.tensor(exchange(CITYSCAPES19, ("road", "car")))
        swapped, plain = predict(model(swap_classes="car,road"), context), predict(model(), context)
        by_hand = predict(model(), replace(context, semantics=table[context.semantics]))
        assert torch.equal(swapped.flow, by_hand.flow) and not torch.equal(swapped.flow, plain.flow)
        assert torch.equal(swapped.semantics, by_hand.semantics[:, :, table])
        assert torch.equal(swapped.disocclusion, by_hand.disocclusion)

    def test_of_classes_that_do_not_exist(self):
        with pytest.raises(PredictorError, match="'cityscapes9' has no class 'road'; it has static"):
            predict(model(space="cityscapes9", classes=9, swap_classes="car,road"), moving())


class TestContext:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"flow": None}, "no flow; annotate it, for example flow=dis"),
            ({"semantics": None}, "no semantics; annotate it, for example semantics=deeplabv3"),
        ],
    )
    def test_without_a_modality_says_what_to_add(self, changes, message):
        with pytest.raises(PredictorError, match=message):
            predict(model(), replace(moving(), **changes))

    @pytest.mark.parametrize("modality", ["frames", "flow"])
    def test_that_is_not_finite_names_the_clip(self, modality):
        context = moving()
        getattr(context, modality)[1, 1, 0, 3, 3] = float("nan")
        with pytest.raises(PredictorError, match=f"the {modality} of clip1@0 hold NaN"):
            predict(model(), context)

    def test_has_two_frames_or_more(self):
        for frames in (2, 6):
            assert predict(model(), moving(frames=frames)).frames.shape == (2, 2, 3, H, W)
        with pytest.raises(PredictorError, match="a context of one frame has no flow"):
            predict(model(), moving(frames=1))

    def test_may_lack_classes_and_labels(self):
        context = moving()
        context.semantics[context.semantics > 3] = 255
        assert all(tensor.isfinite().all() for tensor in predict(model(), context).tensors().values())

    @pytest.mark.parametrize(
        ("factor", "message"),
        [
            (-1.0, "it seems to be forward"),
            (10.0, "a factor of 0.1"),
            (2.0, "a factor of 0.5"),
            (0.5, "a factor of 2"),
            (0.1, "a factor of 10"),
        ],
    )
    def test_of_wrong_flow_warns(self, factor, message):
        context = moving(speed=2.0)
        with pytest.warns(VpbenchWarning, match=f"not lead from each frame to the one before: {message}.*; it must be"):
            predict(model(), replace(context, flow=factor * context.flow))

    def test_of_wrong_flow_in_one_of_several_clips_warns(self):
        context = moving(speed=2.0, batch=3)
        context.flow[1] *= -1
        context.frames[2], context.flow[2] = context.frames[2, :1], 0
        assert "seems to be forward" in flow_complaint(context.frames, context.flow)

    @pytest.mark.parametrize("speed", [0.0, 1.0, 3.0])
    def test_of_right_flow_does_not(self, speed):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            predict(model(), moving(speed=speed))


class TestPrediction:
    @pytest.mark.parametrize("size", [(17, 23), (4, 4)])
    @pytest.mark.parametrize("stride", [2, 4])
    @pytest.mark.filterwarnings("ignore:sadm. frames of")
    def test_has_the_contexts_size(self, size, stride):
        prediction = predict(model(latent_stride=stride), moving(size=size), horizon=3)
        assert prediction.frames.shape == (2, 3, 3, *size) and prediction.flow.shape == (2, 3, 2, *size)
        assert prediction.semantics.shape == (2, 3, 19, *size) and prediction.disocclusion.shape == (2, 3, *size)
        assert prediction.frames.min() >= 0 and prediction.frames.max() <= 1
        assert set(prediction.tensors()) == set(SADM.info.outputs)

    @pytest.mark.parametrize(("latent", "widths", "stride"), [(4, (4,), 4), (2, (4,), 2), (2, (4, 4, 4), 8)])
    def test_warns_of_padding_to_the_larger_stride(self, latent, widths, stride):
        changes = {"latent_stride": latent, "inpainter_widths": widths, "inpainter_kernels": (3,) * len(widths)}
        with pytest.warns(VpbenchWarning, match=f"17x24 are padded to .*, multiples of {stride}, and"):
            predict(model(**changes), moving(size=(17, 24)))

    def test_starts_like_one_of_more_steps(self):
        for name, few in predict(model(), moving(), horizon=2).tensors().items():
            assert torch.equal(few, predict(model(), moving(), horizon=4).tensors()[name][:, :2]), name

    @pytest.mark.parametrize("mode", ["deterministic", "stochastic"])
    def test_of_a_clip_does_not_depend_on_its_batch(self, mode):
        context, network = moving(), model(mode=mode)
        clip = Context(context.frames[1:], context.clips[1:], context.semantics[1:], context.flow[1:], CITYSCAPES19)
        single = network.predict(clip, 2, generators()[1:]).tensors()
        for name, batch in predict(network, context).tensors().items():
            torch.testing.assert_close(batch[1:], single[name], atol=1e-5, rtol=1e-5)

    def test_does_not_read_the_future(self):
        context = moving()
        future = Future(context.frames, (1, 2, 3, 4), context.clips, context.frames[:, -1], context.semantics)
        assert torch.equal(predict(model(), context).frames, predict(model(), replace(context, future=future)).frames)

    def test_of_a_stochastic_model_depends_on_the_seed(self):
        network = model(mode="stochastic")
        assert network.info.stochastic and not model().info.stochastic
        first, repeated, second = (predict(network, moving(), seed=seed) for seed in (0, 0, 5))
        assert torch.equal(first.flow, repeated.flow) and not torch.equal(first.flow, second.flow)

    def test_emits_inpainted_or_warped_frames(self):
        inpainted, warped = predict(model(), moving()), predict(model(emit="warped"), moving())
        assert not torch.equal(warped.frames, inpainted.frames)
        assert torch.equal(warped.flow, inpainted.flow) and torch.equal(warped.disocclusion, inpainted.disocclusion)

    def test_of_untrained_tiny_carries_labels_and_flow_along(self):
        """A quarter of the frame is of each of four classes; all drifts by a pixel a step."""
        context = moving()
        y, x = torch.meshgrid(torch.arange(H), torch.arange(W + 8), indexing="ij")
        wide = (y >= H // 2) * 2 + (x >= W // 2).long()
        labels = torch.stack([wide[:, 8 - t : 8 - t + W] for t in range(8)])
        context.semantics[:] = labels[:4]
        with pytest.warns(VpbenchWarning, match="multiples of 16"):
            prediction = predict(SADM(Options(**PRESETS["tiny"])).eval(), context, horizon=3)
        assert torch.equal(prediction.semantics.argmax(dim=2)[0], labels[4:7])
        torch.testing.assert_close(prediction.flow, context.flow[:, :1].expand_as(prediction.flow))
        torch.testing.assert_close(prediction.frames[:, 0, ..., 1:], context.frames[:, -1, ..., :-1])
        assert prediction.disocclusion[:, 0, :, 0].all() and not prediction.disocclusion[:, 0, :, 1:].any()


class TestOptions:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"classes": 20}, "has 9 classes, not 20"),
            ({"space": "cityscapes10"}, "'cityscapes10' is unknown"),
            ({"swap_classes": "car"}, "two names with a comma, such as car,road, not 'car'"),
            ({"swap_classes": "car,car"}, "two classes, not 'car' twice"),
            ({"composite": True, "perceptual": "none", "frame_weight": 0, "video_weight": 0}, "nothing trains"),
            ({"composite": True, "perceptual_weight": 0, "frame_weight": 0, "video_weight": 0}, "nothing trains"),
            ({"inpainter_kernels": (3,)}, "as many values"),
            ({"inpainter_kernels": (4, 3, 3, 3)}, "odd"),
        ],
    )
    def test_that_contradict_each_other(self, changes, message):
        with pytest.raises(ValidationError, match=message):
            Options(**changes)

    def test_of_presets(self):
        paper = Options()
        presets = {name: values for name, values in PRESETS.items() if "weights" not in values}
        changed = {name: {k for k, v in Options(**p) if v != getattr(paper, k)} for name, p in presets.items()}
        assert changed["paper"] == set() and changed["c20"] == {"space", "classes"}
        assert changed["occupancy-only"] == changed["consistency-only"] == {"occlusion"}
        assert changed["tiny-single-class"] == changed["tiny"] | {"single_hidden"}
        assert set(TRAINING_ONLY) <= set(Options.model_fields)

    def test_that_the_paper_states_are_marked(self):
        stated = {name for name, f in Options.model_fields.items() if (f.json_schema_extra or {}).get("paper")}
        assert {"classes", "boundary_weight", "boundary_sigma", "kl_weight", "perceptual_weight"} <= stated
        assert {"hidden", "latent_stride", "rollout", "mask_residual", "flow_residual"}.isdisjoint(stated)


def test_inference_parts_are_the_dynamics_and_the_inpainter():
    with torch.device("meta"):
        assert set(SADM(Options()).inference_parts()) == {"dynamics", "inpainter"}
        assert sum(parameter.numel() for parameter in SADM(Options(**PRESETS["tiny"])).parameters()) == 452_393
