"""saved: predictions are read back unchanged, and an error names the bad file."""

from __future__ import annotations

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from vpbench.errors import PredictorError, UsageError
from vpbench.plugin.clip import Context
from vpbench_baselines.saved import Saved

CLIPS = ("a/b@0", "a/c.avi@12")
K, H, W = 3, 4, 6


def predict(folder, horizon=K, clips=CLIPS):
    context = Context(frames=torch.zeros(len(clips), 2, 3, H, W), clips=clips)
    return Saved(Saved.Options(dir=folder)).predict(context, horizon, [])


@pytest.fixture
def frames():
    return np.random.default_rng(0).random((len(CLIPS), K, H, W, 3), dtype=np.float32)


@pytest.fixture
def folder(tmp_path, frames):
    for clip, array in zip(CLIPS, frames, strict=True):
        save(tmp_path / f"{clip}.npy", array)
    return tmp_path


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def as_tensor(frames):
    return torch.from_numpy(frames).permute(0, 1, 4, 2, 3)


def test_float_frames_come_back_to_the_bit(folder, frames):
    prediction = predict(folder)
    assert torch.equal(prediction.frames, as_tensor(frames))
    assert set(prediction.tensors()) == {"frames"}
    assert Saved(Saved.Options(dir=folder)).info.outputs == ("frames",)


def test_eight_bit_frames_and_pictures_are_divided_by_255_in_float32(tmp_path):
    array = np.random.default_rng(1).integers(0, 256, (12, H, W, 3), dtype=np.uint8)
    save(tmp_path / "one/a@0.npy", array)
    (tmp_path / "two/a@0").mkdir(parents=True)
    for k, picture in enumerate(array):  # 0.png, 1.png, ..., 10.png, 11.png
        cv2.imwrite(str(tmp_path / f"two/a@0/{k}.png"), picture[..., ::-1])
    expected = torch.from_numpy(array).permute(0, 3, 1, 2)[None].float() / 255
    for name in ("one", "two"):
        assert torch.equal(predict(tmp_path / name, 12, ("a@0",)).frames, expected)


def test_every_modality(folder):
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 20, (2, K, H, W)).astype(np.uint8)
    flow = rng.normal(size=(2, K, H, W, 2))
    revealed = rng.random((2, K, H, W)) < 0.5
    for i, clip in enumerate(CLIPS):
        save(folder / f"{clip}.semantics.npy", labels[i])
        save(folder / f"{clip}.flow.npy", flow[i])
        save(folder / f"{clip}.disocclusion.npy", revealed[i])
    prediction = predict(folder)
    assert Saved(Saved.Options(dir=folder)).info.outputs == ("frames", "semantics", "flow", "disocclusion")
    assert torch.equal(prediction.semantics, torch.from_numpy(labels).long())
    assert torch.equal(prediction.flow, torch.from_numpy(flow).float().permute(0, 1, 4, 2, 3))
    assert torch.equal(prediction.disocclusion, torch.from_numpy(revealed))


def test_samples_are_read_by_their_number(folder, frames):
    for i, clip in enumerate(CLIPS):
        save(folder / f"{clip}.sample1.npy", frames[i] * 0.5)
    saved = Saved(Saved.Options(dir=folder))
    assert (saved.samples, saved.info.stochastic) == (2, True)
    context = Context(torch.zeros(len(CLIPS), 2, 3, H, W), tuple(CLIPS), sample=1)
    expected = torch.from_numpy(np.stack(frames) * 0.5).permute(0, 1, 4, 2, 3).float()
    assert torch.equal(saved.predict(context, K, []).frames, expected)
    with pytest.raises(PredictorError, match="holds 2 samples per clip; ask for as many at most"):
        saved.predict(replace(context, sample=2), K, [])


def test_samples_of_unequal_number_are_refused(folder, frames):
    save(folder / f"{CLIPS[0]}.sample1.npy", frames[0])
    with pytest.raises(PredictorError, match=f"clip {CLIPS[1]}: sample 1 of frames is not there"):
        Saved(Saved.Options(dir=folder))


def test_the_fingerprint_is_of_names_and_contents_not_of_the_folder(folder, frames, tmp_path_factory):
    def fingerprint(root):
        return Saved(Saved.Options(dir=root)).fingerprint()

    copy, first = tmp_path_factory.mktemp("copy"), fingerprint(folder)
    for clip, array in zip(CLIPS[::-1], frames[::-1], strict=True):
        save(copy / f"{clip}.npy", array)
    (copy / "notes.txt").write_text("no prediction")
    assert fingerprint(copy) == first
    (copy / "a/b@0.npy").rename(copy / "a/b@1.npy")
    assert fingerprint(copy) != first
    (copy / "a/b@1.npy").rename(copy / "a/b@0.npy")
    save(copy / "a/b@0.npy", frames[0] * 0.5)
    assert fingerprint(copy) != first
    save(copy / "a/b@0.npy", frames[0])
    assert fingerprint(copy) == first
    save(copy / "a/c.avi@12.npy", frames[1] * 0.5)
    assert fingerprint(copy) != first


def test_the_folder_is_not_part_of_the_options_identity(folder):
    assert Saved.Options(dir=folder).model_dump() == {}
    assert Saved.argument == "dir"
    with pytest.raises(ValidationError, match="dir"):
        Saved.Options()
    with pytest.raises(ValidationError, match="extra"):
        Saved.Options(dir=folder, folder=1)


def test_no_folder_or_nothing_in_it(tmp_path):
    with pytest.raises(PredictorError, match=r"there is no folder .*nowhere; name one that holds DIR/<clip id>\.npy"):
        predict(tmp_path / "nowhere")
    with pytest.raises(PredictorError, match="holds no predictions; expected DIR/<clip id>"):
        predict(tmp_path)


def test_a_missing_clip_or_modality_is_named(folder):
    save(folder / "a/b@0.flow.npy", np.zeros((K, H, W, 2), np.float32))
    with pytest.raises(PredictorError, match=r"clip a/c\.avi@12: there is no .*a/c\.avi@12\.flow\.npy$"):
        predict(folder)
    (folder / "a/c.avi@12.npy").unlink()
    with pytest.raises(PredictorError, match=r"clip a/c\.avi@12: there is no .*a/c\.avi@12\.npy or .*@12/ with a PNG"):
        predict(folder)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("", np.zeros((K - 1, H, W, 3)), "has 2 steps, the protocol's horizon is 3; keep the predicted steps"),
        ("", np.zeros((K + 1, H, W, 3)), "has 4 steps, the protocol's horizon is 3"),
        ("", np.zeros((K, H, W + 1, 3)), r"is 4x7, the protocol's frames are 4x6"),
        ("", np.zeros((K, 3, H, W)), r"has shape \[3, 3, 4, 6\]; frames must be \[K,H,W,3\]"),
        ("", np.zeros((K, H, W, 3), np.uint16), "has dtype uint16"),
        ("", np.full((K, H, W, 3), np.nan), "has NaN or infinite values"),
        ("", np.full((K, H, W, 3), 200.0), r"float frames must be in \[0,1\]; these run from 200 to 200"),
        ("", np.full((K, H, W, 3), -0.5), "float frames must be .* these run from -0.5"),
        (".semantics", np.zeros((K, H, W)), r"has dtype float64; semantics must be \[K,H,W\] integer"),
        (".flow", np.full((K, H, W, 2), np.inf), "has NaN or infinite values"),
        (".disocclusion", np.zeros((K, H, W), np.uint8), "has dtype uint8; disocclusion must be"),
    ],
)
def test_a_bad_array_is_named(folder, name, array, message):
    save(folder / f"a/b@0{name}.npy", array)
    with pytest.raises(PredictorError, match=rf"a/b@0{name}\.npy: {message}"):
        predict(folder, clips=("a/b@0",))


@pytest.mark.parametrize("value", [1.00005, -0.00005])
def test_values_that_the_harness_clamps_pass(folder, value):
    save(folder / "a/b@0.npy", np.full((K, H, W, 3), value))
    assert predict(folder, clips=("a/b@0",)).frames.unique().item() == pytest.approx(value)


def test_files_that_do_not_load_are_named(folder):
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object))
    for content in (b"", b"not an array", pickled.getvalue()):
        (folder / "a/b@0.npy").write_bytes(content)
        with pytest.raises(PredictorError, match=r"a/b@0\.npy: does not load as an array"):
            predict(folder)


def test_bad_pictures(tmp_path):
    (tmp_path / "a@0").mkdir()
    for k in range(K):
        cv2.imwrite(str(tmp_path / f"a@0/{k}.png"), np.zeros((H, W, 3), np.uint8))
    with pytest.raises(PredictorError, match=r"a@0: has 3 steps, the protocol's horizon is 4"):
        predict(tmp_path, 4, ("a@0",))
    cv2.imwrite(str(tmp_path / "a@0/1.png"), np.zeros((H, W, 3), np.uint16))
    with pytest.raises(PredictorError, match=r"a@0/1\.png: has pixels of more than 8 bits \(16 per channel\)"):
        predict(tmp_path, K, ("a@0",))
    cv2.imwrite(str(tmp_path / "a@0/1.png"), np.zeros((H, W + 1, 3), np.uint8))
    with pytest.raises(PredictorError, match="frame size changes"):
        predict(tmp_path, K, ("a@0",))
    (tmp_path / "a@0/1.png").write_bytes(b"no picture")
    with pytest.raises(PredictorError, match=r"a@0/1\.png: is not a picture"):
        predict(tmp_path, K, ("a@0",))


def test_suffixes_in_capitals_and_hidden_files(folder, frames):
    before = Saved(Saved.Options(dir=folder)).fingerprint()
    for name in ("._b@0.npy", ".b@1.npy", ".hidden/c@0.npy", "b@9/._0.png", "Thumbs.db"):
        (folder / "a" / name).parent.mkdir(exist_ok=True)
        (folder / "a" / name).write_bytes(b"\0\5\x16\7")
    assert Saved(Saved.Options(dir=folder)).fingerprint() == before
    (folder / "a/b@0.npy").rename(folder / "a/b@0.NPY")
    assert torch.equal(predict(folder).frames, as_tensor(frames))
    (folder / "one/a@0").mkdir(parents=True)
    for k in range(12):
        cv2.imwrite(str(folder / f"one/a@0/{k}.png"), np.full((H, W, 3), k, np.uint8))
        (folder / f"one/a@0/{k}.png").rename(folder / f"one/a@0/{k}.PNG")
        (folder / f"one/a@0/._{k}.png").write_bytes(b"\0\5\x16\7")
    assert (predict(folder / "one", 12, ("a@0",)).frames[0, :, 0, 0, 0] * 255).round().tolist() == list(range(12))


def test_two_files_for_one_clip(folder):
    (folder / "a/b@0.NPY").write_bytes((folder / "a/b@0.npy").read_bytes())
    with pytest.raises(PredictorError, match=r"b@0\.NPY and .*b@0\.npy are for one clip; remove one"):
        predict(folder)


def test_pictures_of_two_series(tmp_path):
    (tmp_path / "a@0").mkdir()
    for name in ("pred_0", "pred_1", "pred_2", "true_0", "true_1", "true_2"):
        cv2.imwrite(str(tmp_path / f"a@0/{name}.png"), np.zeros((H, W, 3), np.uint8))
    with pytest.raises(PredictorError, match=r"pred_0\.png and true_0\.png are not of one series"):
        predict(tmp_path, K, ("a@0",))


def test_a_card_names_and_describes_the_model(folder):
    (folder / "card.toml").write_text('name = "mine"\npaper = "p"\nlicence = "MIT"\ntrained_on = ["kth"]\n')
    saved = Saved(Saved.Options(dir=folder))
    assert (saved.info.paper, saved.info.licence, saved.info.trained_on) == ("p", "MIT", ("kth",))
    assert saved.result_name() == "mine"
    assert Saved(Saved.Options(dir=folder, name="other")).result_name() == "other"
    fingerprint = saved.fingerprint()
    (folder / "card.toml").unlink()
    plain = Saved(Saved.Options(dir=folder))
    assert (plain.result_name(), plain.info.trained_on, plain.fingerprint()) == ("", (), fingerprint)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ('authors = "x"', r"card .*card\.toml: authors: is unknown; known: name, paper"),
        ('nmae = "x"\ntrained_on = "kth"', r"nmae: is unknown; trained_on: must be a list, such as .*; known:"),
        ("name = 3", r"card .*card\.toml: name: Input should be a valid string"),
        ("name =", r"card .*card\.toml cannot be read"),
    ],
)
def test_a_wrong_card_is_refused(folder, card, message):
    (folder / "card.toml").write_text(card)
    with pytest.raises(UsageError, match=message):
        Saved(Saved.Options(dir=folder))
