"""A video continued: the right frames are seen, whatever they lie in, and what cannot be is one clear line."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import folders
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_video import known_frames, write_picture, write_video

import vpbench
from vpbench.plugin.loader import load_plugins
from vpbench.select.component import choose_predictor
from vpbench.select.trained import open_trained, save_trained
from vpbench.select.weights_record import WeightsRecord

predict_video = vpbench.predict_video

TOYS = str(Path(__file__).resolve().parent.parent / "toys.py")


@pytest.fixture(scope="module")
def plugins():
    return load_plugins([TOYS])


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Twelve frames; red is the frame's number."""
    return write_video(tmp_path_factory.mktemp("video") / "a.mkv", known_frames(12))


def eight_bit(frames: torch.Tensor) -> np.ndarray:
    return (frames * 255).round().byte().permute(0, 2, 3, 1).numpy()


def numbers(frames: torch.Tensor) -> list[int]:
    """The frame numbers that the red of known frames says."""
    return eight_bit(frames)[:, 0, 0, 0].tolist()


def test_the_context_is_the_last_frames_and_repeat_shows_the_very_last(video):
    out = predict_video("repeat", video)
    assert out.frames == (8, 9, 10, 11)
    assert np.array_equal(eight_bit(out.batch.context.frames[0]), known_frames(12)[8:])
    assert np.array_equal(eight_bit(out.predictions[0].frames[0]), np.repeat(known_frames(12)[-1:], 10, axis=0))
    assert out.batch.future.steps == (), "nothing is known of what comes"
    assert out.notes == ()


def test_start_and_step_say_which_frames_are_seen_and_what_goes_on_is_kept(video):
    out = predict_video("repeat", video, start=1, step=3, context=2, horizon=4)
    assert out.frames == (1, 4)
    assert numbers(out.batch.context.frames[0]) == [1, 4]
    assert numbers(out.predictions[0].frames[0]) == [4] * 4
    assert out.batch.future.steps == (1, 2)
    assert numbers(out.batch.future.frames[0]) == [7, 10]


@pytest.mark.parametrize(
    ("settings", "frames"),
    [
        ({"step": 3, "context": 3}, (5, 8, 11)),
        ({"context": 12}, tuple(range(12))),
        ({"context": 1, "start": 11}, (11,)),
    ],
)
def test_the_last_frames_are_seen_at_any_step_and_a_whole_video_may_be(video, settings, frames):
    assert predict_video("repeat", video, **settings).frames == frames


@pytest.mark.slow
def test_a_folder_of_pictures_is_the_video_that_they_make(video, tmp_path):
    for i, frame in enumerate(known_frames(12)):
        write_picture(tmp_path / f"frame{i}.png", frame)  # frame10 comes after frame9
    (tmp_path / "times.txt").write_text("other files are passed over")
    (tmp_path / ".hidden.png").write_bytes(b"")
    for settings in ({"size": (32, 48)}, {"start": 2, "step": 2, "context": 3}):
        a, b = (predict_video("flow-extrapolation", source, **settings) for source in (video, tmp_path))
        assert a.frames == b.frames
        assert torch.equal(a.batch.context.frames, b.batch.context.frames)
        assert torch.equal(a.batch.future.frames, b.batch.future.frames)
        for modality, tensor in a.predictions[0].tensors().items():
            assert torch.equal(tensor, b.predictions[0].tensors()[modality])


def test_one_picture_is_a_video_of_one_frame(tmp_path):
    picture = write_picture(tmp_path / "a.png", known_frames(4)[3])
    write_picture(tmp_path / "b.png", known_frames(4)[1])
    assert numbers(predict_video("repeat", picture, context=1).predictions[0].frames[0]) == [3] * 10


def test_frames_are_resized_as_a_protocol_resizes_them(video):
    out = predict_video("repeat", video, size=(12, 30), context=1)
    expected = cv2.resize(known_frames(12)[11], (30, 12), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(eight_bit(out.predictions[0].frames[0])[0], expected)


def moving(count: int, speed: int) -> np.ndarray:
    """A smooth picture that moves to the right."""
    noise = np.random.default_rng(0).random((64, 96 + speed * count, 3)).astype(np.float32)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return np.stack([smooth[:, speed * (count - t) : speed * (count - t) + 96] for t in range(count)])


def test_a_moving_picture_moves_on(tmp_path):
    video = write_video(tmp_path / "a.mkv", moving(10, speed=2))
    context, horizon = 4, 4
    moved = predict_video("flow-extrapolation", video, start=0, context=context, horizon=horizon)
    stood = predict_video("repeat", video, start=0, context=context, horizon=horizon)

    def error(out):
        difference = (out.predictions[0].frames - out.batch.future.frames).abs()
        return difference[..., 16:-16, 24:-24].mean(dim=(0, 2, 3, 4)).numpy()

    assert np.all(error(moved) < error(stood) / 10)
    flow = moved.predictions[0].flow[0, :, :, 16:-16, 24:-24]
    assert flow.mean(dim=(0, 2, 3)).tolist() == pytest.approx([-2, 0], abs=0.05)


def test_annotators_supply_what_the_predictor_looks_at(video, plugins):
    out = predict_video("needs-flow", video, annotate={"flow": "still"}, plugins=plugins)
    assert out.batch.context.flow.shape == (1, 3, 2, 16, 24)
    assert torch.equal(out.predictions[0].flow, torch.zeros(1, 10, 2, 16, 24))


@pytest.mark.slow
def test_samples_differ_and_follow_from_the_seed_alone(video, plugins):
    a, b, reseeded = (predict_video("noisy", video, samples=2, seed=s, plugins=plugins).predictions for s in (0, 0, 1))
    assert len(a) == 2
    assert not torch.equal(a[0].frames, a[1].frames)
    assert all(torch.equal(x.frames, y.frames) for x, y in zip(a, b, strict=True))
    assert not torch.equal(a[0].frames, reseeded[0].frames)


def test_what_is_not_stochastic_has_one_sample_and_says_so(video):
    out = predict_video("repeat", video, samples=3)
    assert len(out.predictions) == 1
    assert out.notes == ("repeat is not stochastic: one sample of 3 is made",)


@pytest.mark.slow
def test_a_fixed_horizon_bounds_the_default_and_refuses_more(video, plugins):
    assert predict_video("short", video, plugins=plugins).batch.horizon == 1
    with pytest.raises(vpbench.UsageError, match="'short' predicts at most 1 steps, not 2"):
        predict_video("short", video, horizon=2, plugins=plugins)


def test_values_slightly_out_of_range_are_clamped_and_said(video, plugins):
    out = predict_video("slightly-bright", video, plugins=plugins)
    assert out.predictions[0].frames.max() == 1
    assert "clamped" in out.notes[0]


@pytest.mark.slow
def test_an_object_predicts_too_and_a_longer_horizon_leaves_the_default(video, plugins):
    class Black:
        info = vpbench.PredictorInfo(horizon=20)

        def predict(self, context, horizon, generators):
            return vpbench.Prediction(frames=torch.zeros(1, horizon, *context.frames.shape[2:]))

    out = predict_video(Black(), str(video), horizon=3)
    assert (out.predictor.name, out.predictions[0].frames.sum()) == ("black", 0)
    assert predict_video(Black(), video).batch.horizon == 10


# --- weights ---


@pytest.fixture(scope="module")
def trainable(tmp_path_factory):
    """Plugins with a trainable predictor that adds 1 to the last frame, and its weights.

    Their record tells of a training on 2 to 3 frames of 8x12, every second one.
    """
    path = tmp_path_factory.mktemp("trainable") / "w.safetensors"
    loaded = load_plugins([TOYS.replace("toys.py", "toy_trainable.py")])
    module = choose_predictor(loaded, "learner", {}).value
    module.net[2].weight.data.zero_()
    module.net[2].bias.data.fill_(1)
    sampling = {"kind": "first", "context": 2, "horizon": 3, "frame_step": 2}
    protocol = folders.make_protocol(3, name="small", sampling=sampling, pixels=[{"op": "resize", "size": [8, 12]}])
    record = {"predictor": "learner", "options": {"hidden": 4, "loss": "l2"}}
    record["protocol"] = protocol.model_dump(mode="json", by_alias=True)
    save_trained(path, module, WeightsRecord.model_validate(record))
    return loaded, {"learner": {"weights": str(path)}}


def test_weights_say_how_the_video_is_to_be_seen(trainable, video):
    plugins, options = trainable
    out = predict_video("learner", video, options=options, plugins=plugins)
    assert out.frames == (9, 11)
    assert out.batch.context.frames.shape == (1, 2, 3, 8, 12)
    assert out.predictions[0].frames.min() == 1, "the weights are those of the file"
    assert out.notes == ("learner was trained to predict 3 steps (small); this run predicts 10",)
    assert predict_video("learner", video, options=options, plugins=plugins, horizon=3).notes == ()


def test_what_the_user_says_goes_before_what_weights_say(trainable, video):
    plugins, options = trainable
    out = predict_video("learner", video, options=options, plugins=plugins, context=3, step=1, size=(10, 10))
    assert out.frames == (9, 10, 11)
    assert out.batch.context.frames.shape == (1, 3, 3, 10, 10)


@pytest.mark.slow
def test_a_video_smaller_than_the_crop_of_the_training_says_what_to_do(trainable, video, tmp_path):
    plugins, options = trainable
    record = open_trained(Path(options["learner"]["weights"])).record
    pixels = {"pixels": [{"op": "centre-crop", "size": [30, 40]}]}
    cropped = record.model_copy(update={"protocol": record.protocol.model_copy(update=pixels)})
    save_trained(tmp_path / "w.safetensors", choose_predictor(plugins, "learner", {}).value, cropped)
    options = {"learner": {"weights": str(tmp_path / "w.safetensors")}}
    line = error_of("learner", video, options=options, plugins=plugins)
    assert f"{video}: a centre crop of 30x40 (HxW) does not fit frames of 16x24; the weights were" in line
    assert "set a size" in line
    out = predict_video("learner", video, options=options, plugins=plugins, size=(8, 8))
    assert out.batch.context.frames.shape[-2:] == (8, 8)


def test_weights_that_say_nothing_leave_the_video_as_it_is(trainable, video, tmp_path):
    plugins, _ = trainable
    save_file(choose_predictor(plugins, "learner", {}).value.state_dict(), tmp_path / "plain.safetensors")
    options = {"learner": {"weights": str(tmp_path / "plain.safetensors")}}
    out = predict_video("learner", video, options=options, plugins=plugins)
    assert out.batch.context.frames.shape == (1, 4, 3, 16, 24)
    assert out.notes == ()


@pytest.mark.slow
def test_an_untrained_predictor_says_so(trainable, video):
    assert "given no weights" in predict_video("learner", video, plugins=trainable[0]).notes[0]


# --- what cannot be ---


def error_of(*args: object, kind: type[vpbench.VpbenchError] = vpbench.DataError, **settings: object) -> str:
    with pytest.raises(kind) as caught:
        predict_video(*args, **settings)
    return str(caught.value)


def test_a_video_shorter_than_the_context_says_how_short(video):
    assert "12 frames found, 13 needed for 13 context frames; take fewer context frames" in error_of(
        "repeat", video, context=13
    )
    assert "12 frames found, 13 needed for 4 context frames at step 4" in error_of("repeat", video, step=4)
    assert error_of("repeat", video, step=4).endswith("; take fewer context frames or a smaller step")
    line = error_of("repeat", video, start=9)
    assert "12 frames found, 13 needed for 4 context frames from frame 9" in line
    assert line.endswith("; take fewer context frames or an earlier start")
    assert error_of("repeat", video, start=12).endswith("; take an earlier start")


@pytest.mark.parametrize(
    ("limits", "settings", "advice"),
    [
        (13, {"context": 13}, "a longer video"),
        (12, {"context": 12, "start": 1}, "an earlier start"),
        (4, {"step": 4}, "a smaller step"),
        ((3, 20), {"context": 13}, "fewer context frames"),
        ((12, None), {"context": 13}, "fewer context frames"),
        ((13, None), {"context": 14}, "a longer video"),
    ],
)
def test_the_advice_for_a_short_video_fits_the_contexts_that_a_predictor_takes(video, limits, settings, advice):
    class Fixed:
        info = vpbench.PredictorInfo(context=limits)

        def predict(self, context, horizon, generators):
            raise AssertionError

    assert error_of(Fixed(), video, **settings).endswith(f"; take {advice}")


def test_pictures_of_several_sizes_are_named(tmp_path):
    write_picture(tmp_path / "1.png", known_frames(1)[0])
    write_picture(tmp_path / "2.png", known_frames(1, 8, 8)[0])
    line = error_of("repeat", tmp_path, context=2)
    assert "2.png is 8x8, 1.png is 16x24 (HxW)" in line


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.mp4", b"no video at all", "is not a video that opens (15 bytes"),
        ("a.txt", b"words", "is not a video that opens"),
        ("a.avi", b"", "is not a video that opens (0 bytes"),
        ("a.png", b"no picture", "is not a picture that decodes"),
    ],
)
def test_a_file_that_is_no_video(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    assert words in error_of("repeat", tmp_path / name, context=1)


def test_a_folder_without_pictures_and_a_path_to_nothing(tmp_path):
    assert "no picture" in error_of("repeat", tmp_path)
    assert "it is empty" in error_of("repeat", tmp_path)
    (tmp_path / "data").mkdir()
    assert "it holds data: name a video, or the folder that holds the pictures" in error_of("repeat", tmp_path)
    assert "there is no such video or folder" in error_of("repeat", tmp_path / "nothing.mp4")


def test_a_header_that_claims_more_than_decodes_is_said_and_what_decodes_is_used(tmp_path):
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 32, "yuv420p"
        for frame in known_frames(8, 16, 32):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    at = data.index(b"strh") + 8 + 32  # dwLength of the stream's header
    assert int.from_bytes(data[at : at + 4], "little") == 8
    data[at : at + 4] = (50).to_bytes(4, "little")
    path.write_bytes(data)
    out = predict_video("repeat", path)
    assert out.frames == (4, 5, 6, 7)
    assert out.notes == ("the header claims 50 frames; 8 decode",)


def test_predictors_that_do_not_fit_a_video(video, plugins):
    usage = {"kind": vpbench.UsageError, "plugins": plugins}
    assert "'repeat' does not look at flow" in error_of("repeat", video, annotate={"flow": "still"}, **usage)
    assert "it needs the true flow, which a video lacks" in error_of(
        "needs-flow", video, annotate={"flow": "flow-noise"}, **usage
    )


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["GPU", "numpy", "CPU"],
)
def test_no_memory_says_what_to_lower(video, error):
    class Large:
        info = vpbench.PredictorInfo()

        def predict(self, context, horizon, generators):
            raise error

    line = error_of(Large(), video, kind=vpbench.PredictorError)
    assert line == "predictor 'large' ran out of memory on 1 clip of 16x24: lower the size or the horizon"
