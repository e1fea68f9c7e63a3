"""Modalities that a plugin declares: carried through crop, resize, preparation, annotation, batches and training."""

from __future__ import annotations

import json

import numpy as np
import pytest
import robots
import torch
from robots import SPECS, Driver, Robots

import vpbench
from vpbench.clips.batch import join, stack
from vpbench.clips.prepare import find_prepared, prepare
from vpbench.clips.source import ClipSource
from vpbench.errors import DataError, PluginError, VpbenchWarning
from vpbench.plugin.loader import load_plugins
from vpbench.plugin.modality import ModalitySpec, merge_declarations
from vpbench.protocol.transforms import transform
from vpbench.protocol.units import build_manifest
from vpbench.training.clips import TrainingClips
from vpbench.training.loader import TrainingLoader

NAMES = frozenset(spec.name for spec in SPECS)
PIXELS = [{"op": "centre-crop", "size": [16, 16]}, {"op": "resize", "size": [8, 12]}]


def make_protocol(dataset="robots", **changes):
    sampling = {"kind": "sliding", "context": 3, "horizon": 2, "stride": 7}
    value = {"schema": 1, "name": "p", "version": 1, "dataset": {"name": dataset}, "sampling": sampling}
    return vpbench.Protocol.parse(value | {"pixels": PIXELS} | changes, "test")


def source(protocol, dataset=None, annotators=None):
    return ClipSource(dataset or Robots(None), "robots", protocol.pixels, NAMES, NAMES, annotators or {})


def batch(protocol, dataset=None, annotators=None):
    reader = source(protocol, dataset, annotators)
    refs = build_manifest(protocol, Robots(None)).clips[1:3]
    return refs, stack([reader.read(ref) for ref in refs], "cpu", reader)[0]


@pytest.fixture
def plugins(request):
    return load_plugins([str(request.path.parent / "robots.py")])


def test_every_modality_is_cropped_resized_and_batched_as_it_declares():
    protocol = make_protocol()
    refs, clips = batch(protocol)
    assert set(clips.context.extras) == set(clips.future.extras) == NAMES
    for i, ref in enumerate(refs):

        def read(name, frames, ref=ref):
            return Robots(None).read(ref.sequence, frames, name)

        context, truth = ref.frames[:3], ref.frames[3:]
        extras, future = clips.context.extras, clips.future.extras
        assert extras["actions"][i].tolist() == [[int(ref.sequence[-1]), frame] for frame in context]
        assert future["actions"][i, :, 1].tolist() == list(truth)
        rows, columns = np.arange(8) * 2, np.arange(12) * 16 // 12 + 4
        assert np.array_equal(extras["depth"][i], read("depth", context)[:, rows][:, :, columns])
        as_frames = np.repeat(read("heat", context)[..., None], 3, axis=-1)
        heat = transform(as_frames, protocol.pixels, vpbench.plugin.modality.BUILT_IN["frames"])[..., 0]
        assert torch.equal(extras["heat"][i], torch.from_numpy(heat).float() / 255)
        assert extras["motion"].shape == (2, 2, 2, 8, 12)
        assert extras["motion"][i, :, 0].unique().tolist() == [0.75], "12 of 16 columns"
        assert extras["motion"][i, :, 1].unique().tolist() == [-0.5]
        assert extras["caption"][i] == tuple(read("caption", context).tolist())
        assert future["caption"][i] == tuple(read("caption", truth).tolist())
        assert extras["contacts"].shape == (2, 2, 2, 3)
        assert future["contacts"][i].tolist() == read("contacts", ref.frames[2:]).tolist()
    assert (extras["contacts"].dtype, extras["depth"].dtype) == (torch.int16, torch.float32)


def test_batches_are_taken_apart_and_joined_with_all_modalities():
    _, clips = batch(make_protocol())
    joined = join([clips.clip(0), clips.clip(1)])
    for name in NAMES:
        for whole, parts in ((clips.context, joined.context), (clips.future, joined.future)):
            equal = whole.extras[name] == parts.extras[name]
            assert equal if isinstance(equal, bool) else equal.all()


def test_a_prepared_store_holds_them(cache):
    protocol, dataset = make_protocol(), Robots(None)
    manifest = build_manifest(protocol, dataset)
    prepare(protocol, dataset, manifest, dataset.info.modalities, lambda count, total: None)
    store = find_prepared(protocol, dataset, manifest, dataset.info.modalities)
    plain, stored = source(protocol), ClipSource(store, "robots", (), NAMES, NAMES, {})
    for ref in manifest.clips:
        a, b = plain.read(ref), stored.read(ref)
        assert a.digests == b.digests
        assert a.context["caption"].tolist() == b.context["caption"].tolist()
    assert len(a.digests) == 2 * (1 + len(SPECS))


def run(plugins, tmp_path, name, **settings):
    settings = {"metrics": ["mse", "travel"], "plugins": plugins} | settings
    return vpbench.evaluate("driver", make_protocol(settings.pop("dataset", "robots")), out=tmp_path / name, **settings)


@pytest.mark.slow
def test_a_run_gives_them_to_predictors_and_metrics(plugins, tmp_path, cache):
    result = run(plugins, tmp_path, "a", batch_size=3)
    rows = [row for row in result.rows() if row["metric"] == "travel"]
    for row in rows:
        frame = int(row["clip"].rpartition("@")[2]) + 2 + row["step"]
        assert row["value"] == pytest.approx(frame + (6 + frame) / 1000)
        assert row["context"] and row["data"]
    protocol, dataset = make_protocol(), Robots(None)
    prepare(protocol, dataset, build_manifest(protocol, dataset), dataset.info.modalities, lambda count, total: None)
    prepared = run(plugins, tmp_path, "b", workers=1)
    assert list(prepared.rows()) == list(result.rows()), "no predictor writes into what others see"


@pytest.mark.slow
@pytest.mark.parametrize("prepared", [False, True])
def test_an_annotator_gives_what_a_dataset_lacks(tmp_path, cache, prepared):
    from vpbench.cli.main import _run

    path = tmp_path / "p.toml"
    path.write_text(
        'schema = 1\nname = "p"\nversion = 1\n[dataset]\nname = "blind-robots"\n[sampling]\nkind = "first"\n'
        'context = 3\nhorizon = 2\n[[pixels]]\nop = "resize"\nsize = [8, 12]\n'
    )
    common = ["--plugin", robots.__file__, "--annotate", "depth=guess-depth"]
    if prepared:
        assert _run(["data", "prepare", str(path), *common]) == 0
        assert len(list((cache / "prepared").iterdir())) == 2
    out = tmp_path / "out"
    assert _run(["run", "-p", str(path), "-m", "driver", "--metric", "mse", "--out", str(out), *common]) == 0
    rows = [json.loads(line) for unit in out.rglob("units/*.jsonl") for line in unit.read_text().splitlines()]
    for row in rows:
        sequence, _, first = row["clip"].rpartition("@")
        frames = transform(
            Robots(None).read(sequence, range(int(first), int(first) + 5), "frames"),
            make_protocol(pixels=PIXELS[1:]).pixels,
            vpbench.plugin.modality.BUILT_IN["frames"],
        ) / np.float32(255)
        weight = (int(first) + 2) / 40
        predicted = frames[2] * (1 - weight) + frames[2][..., 2:] * weight
        assert row["value"] == pytest.approx(((predicted - frames[2 + row["step"]]) ** 2).mean(), abs=1e-6)


def test_vpbench_predict_annotates_them(plugins, tmp_path):
    class Depths(Driver):
        info = vpbench.PredictorInfo(requires=("frames", "depth"))

        def predict(self, context, horizon, generators):
            depth = context.extras["depth"]
            return vpbench.Prediction(frames=depth[:, -1:, None].expand(-1, horizon, 3, -1, -1) / 255)

    from PIL import Image

    for i, frame in enumerate(Robots(None).read("test/walk1", range(4), "frames")):
        Image.fromarray(frame).save(tmp_path / f"{i}.png")
    continuation = vpbench.predict_video(Depths(), tmp_path, annotate={"depth": "guess-depth"}, plugins=plugins)
    assert torch.equal(continuation.predictions[0].frames[0, 0, 0], continuation.batch.context.frames[0, -1, 2])


def test_training_batches_hold_them():
    dataset = Robots(None)
    reader = ClipSource(dataset, "robots", (), NAMES, frozenset(), {})
    clips = TrainingClips.of(make_protocol(), dataset.sequences("train"), 0)
    loader = TrainingLoader(reader, clips, batch_size=2, accumulate=1, world=1, workers=0, stage=1)
    for batch in loader:
        context, future = batch.context.extras, batch.future.extras
        for i, clip in enumerate(batch.context.clips):
            first = int(clip.rpartition("@")[2])
            assert context["actions"][i, :, 1].tolist() == [first, first + 1, first + 2]
            assert [len(text) - 6 for text in future["caption"][i]] == [first + 3, first + 4]
            assert future["contacts"][i, :, 0, 0].tolist() == [first + 2, first + 3]


def test_two_declarations_of_one_name_are_refused_before_the_run(plugins, tmp_path):
    with pytest.raises(PluginError) as caught:
        run(plugins, tmp_path, "a", annotate={"depth": "flat-depth"})
    assert str(caught.value) == (
        "annotator 'flat-depth' declares the modality 'depth' as float32 [N] per frame, dataset 'robots' as "
        "float32 [N,H,W] per frame, resized as 'nearest': rename it in one of them"
    )
    with pytest.raises(PluginError, match="vpbench as uint8"):
        merge_declarations({"somebody": [ModalitySpec("frames", "float32")]})
    assert not (tmp_path / "a").exists()


def test_a_name_that_nobody_gives_is_refused_before_the_run(tmp_path, plugins):
    class Lost(Driver):
        info = vpbench.PredictorInfo(requires=("frames", "actoins"))

    message = r"requires actoins, which 'robots' lacks: add annotators \(actoins=NAME; .*; did you mean 'actions'\?"
    with pytest.raises(DataError, match=message):
        vpbench.evaluate(Lost(), make_protocol(), out=tmp_path / "a", plugins=plugins)
    for make in (
        lambda: vpbench.DatasetInfo(modalities=("frames", "actions")),
        lambda: vpbench.AnnotatorInfo(gives="actions"),
    ):
        with pytest.raises(PluginError, match=r"does not declare .* 'actions': add a ModalitySpec"):
            make()


@pytest.mark.slow
def test_a_used_name_that_nobody_declares_is_warned_of(tmp_path, plugins, recwarn):
    class Driver2(Driver):
        info = vpbench.PredictorInfo(requires=("frames", "actions", "depth"), uses=("capton", "caption"))

    words = "predictor 'driver2' uses 'capton', which no dataset or annotator declares: it predicts without; did you "
    with pytest.warns(VpbenchWarning) as caught:
        vpbench.evaluate(Driver2(), make_protocol(), out=tmp_path, metrics=["mse"], plugins=plugins)
    assert [str(warning.message) for warning in caught] == [words + "mean 'caption'?"]

    class Captions(Driver):
        info = vpbench.PredictorInfo(uses=("caption", "depth"))

        def predict(self, context, horizon, generators):
            assert not context.extras
            return vpbench.Prediction(frames=context.frames[:, -1:].expand(-1, horizon, -1, -1, -1))

    vpbench.evaluate(Captions(), make_protocol("blind-robots"), out=tmp_path, metrics=["mse"], plugins=plugins)
    assert not recwarn, "another dataset and an annotator declare what this one lacks"


def test_an_output_that_no_prediction_holds_is_refused():
    with pytest.raises(PluginError, match="outputs: a prediction holds no 'semantic'; did you mean 'semantics'"):
        vpbench.PredictorInfo(outputs=("frames", "semantic"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n: np.zeros((n, 3), np.float32), r"must give float32 \[N,2\] with N = 3; it gave float32 \[3, 3\]"),
        (lambda n: np.zeros((n, 2)), "it gave float64"),
        (lambda n: [[0.0, 1.0]] * n, "it gave list, which is no numpy array"),
        (lambda n: np.array([[1.0]] * n + [[1.0, 2.0]], object), "it gave object .*; pad entries of several shapes"),
    ],
)
def test_entries_of_another_layout_and_ragged_ones_are_refused(make, message):
    class Ragged(Robots):
        def read(self, sequence, frames, modality):
            return make(len(frames)) if modality == "actions" else super().read(sequence, frames, modality)

    with pytest.raises(DataError, match=message):
        batch(make_protocol(), Ragged(None))


@pytest.mark.parametrize(
    "values",
    [
        {"name": "last", "dtype": "float32"},
        {"name": "Actions!", "dtype": "float32"},
        {"name": "a", "dtype": "complex64"},
        {"name": "a", "dtype": "text", "pixels": "nearest"},
        {"name": "a", "dtype": "int32", "pixels": "frames"},
        {"name": "a", "dtype": "float32", "shape": (3,), "pixels": "flow"},
        {"name": "a", "dtype": "float32", "shape": (0,)},
    ],
)
def test_declarations_that_cannot_be_carried_are_refused(values):
    with pytest.raises(PluginError, match="modality"):
        ModalitySpec(**values)
