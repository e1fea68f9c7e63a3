"""The protocol: validated with the field's name, versioned, and hashed by what decides the numbers."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from vpbench.errors import UsageError
from vpbench.protocol.protocol import Protocol

SLIDING = {"kind": "sliding", "context": 4, "horizon": 10, "stride": 5}
ANCHORED = {"kind": "anchored", "context": 4, "target": 19, "steps": [3, 1, 9]}
RANDOM = {"kind": "random", "context": 4, "horizon": 10, "count": 3, "seed": 0}
BASE = {
    "schema": 1,
    "name": "toy",
    "version": 1,
    "dataset": {"name": "toys"},
    "sampling": {"kind": "first", "context": 4, "horizon": 10},
}


def parse(value=BASE, **changes):
    """BASE with ``changes``, whose keys may be paths: ``sampling__context``."""
    value = copy.deepcopy(value)
    for path, new in changes.items():
        *parents, last = path.split("__")
        table = value
        for parent in parents:
            table = table[parent]
        table[last] = new
    return Protocol.parse(value, "here")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "Toy"}, "name"),
        ({"version": 0}, "version"),
        ({"dataset": "toys"}, "dataset"),
        ({"dataset__splt": "test"}, "dataset.splt"),
        ({"sampling": {"kind": "all"}}, "sampling"),
        ({"sampling__context": 0}, "sampling.first.context"),
        ({"sampling__start": -1}, "sampling.first.start"),
        ({"sampling__stride": 1}, "sampling.first.stride"),
        ({"sampling__short": "keep"}, "sampling.first.short"),
        ({"sampling": {**SLIDING, "stride": 0}}, "sampling.sliding.stride"),
        ({"sampling": {**ANCHORED, "steps": []}}, "sampling.anchored.steps"),
        ({"sampling": {**ANCHORED, "steps": [0]}}, "sampling.anchored.steps.0"),
        ({"sampling": {**ANCHORED, "steps": [3, 3]}}, "sampling.anchored.*twice"),
        ({"pixels": [{"op": "blur"}]}, "pixels.0"),
        ({"pixels": [{"op": "resize", "size": [120, 0]}]}, "pixels.0.resize.size.1"),
        ({"pixels": [{"op": "resize", "size": [120, 160], "filter": "lanczos"}]}, "pixels.0.resize.filter"),
        ({"pixels": [{"op": "centre-crop"}]}, "pixels.0.centre-crop: .*one of size, fraction and square"),
        ({"pixels": [{"op": "centre-crop", "size": [1, 1], "fraction": 0.5}]}, "one of size, fraction and square"),
        ({"pixels": [{"op": "centre-crop", "square": False}]}, "pixels.0.centre-crop.square"),
        ({"pixels": [{"op": "resize"}]}, "pixels.0.resize: .*either size or height"),
        ({"pixels": [{"op": "resize", "size": [1, 1], "height": 1}]}, "either size or height"),
        ({"pixels": [{"op": "centre-crop", "fraction": 1.5}]}, "pixels.0.centre-crop.fraction"),
        ({"label_size": [64]}, "label_size"),
        ({"label_size": [8, 8], "pixels": [{"op": "centre-crop", "size": [1, 1]}]}, "label_size: .*must not crop"),
        ({"quantise": 1}, "quantise"),
        ({"clips": 0}, "clips"),
        ({"report": [1, 11]}, "report: step 11 is not among the scored steps"),
        ({"display": {"mse": "10"}}, "display.mse"),
        ({"colour": "bgr"}, "colour"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_field(changes, field):
    with pytest.raises(UsageError, match=rf"^here: .*{field}") as caught:
        parse(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["schema", "name", "version", "dataset", "sampling"])
def test_these_fields_must_be_there(field):
    with pytest.raises(UsageError, match=f"{field}: Field required"):
        Protocol.parse({k: v for k, v in BASE.items() if k != field}, "here")


def test_a_newer_schema_is_refused_before_anything_else():
    with pytest.raises(UsageError, match=r"schema 2 is newer than this vpbench reads .*upgrade"):
        parse(schema=2, novelty=True)


DECIDES = {
    "name": "other",
    "version": 2,
    "dataset__name": "others",
    "dataset__split": "train",
    "dataset__options": {"n": 1},
    "sampling": SLIDING,
    "sampling__context": 5,
    "sampling__horizon": 9,
    "sampling__frame_step": 2,
    "sampling__start": 1,
    "sampling__short": "drop",
    "pixels": [{"op": "resize", "size": [120, 160]}],
    "label_size": [64, 128],
    "quantise": True,
    "clips": 7,
    "annotate": {"flow": "dis"},
}
PROSE = {
    "summary": "words",
    "source": "a paper",
    "notes": ["a choice"],
    "metrics": ["mse"],
    "report": [1, 5],
    "reference": "last",
    "display": {"mse": 5760.0},
    "training": {"split": "other", "clips": 100},
}


@pytest.mark.parametrize("field", DECIDES)
def test_the_hash_changes_with_what_decides_the_numbers(field):
    assert parse(**{field: DECIDES[field]}).hash != parse().hash


@pytest.mark.parametrize("field", PROSE)
def test_the_hash_is_of_no_prose(field):
    assert parse(**{field: PROSE[field]}).hash == parse().hash


def test_every_field_is_of_one_of_the_two():
    top = {path.split("__")[0] for path in DECIDES} | set(PROSE)
    assert top | {"schema_"} == set(Protocol.model_fields)


@pytest.mark.parametrize(
    ("sampling", "changes"),
    [
        (SLIDING, {"stride": 4, "start": "centred", "pad": "replicate"}),
        (RANDOM, {"count": 4, "seed": 1}),
        (ANCHORED, {"target": 20, "steps": [1, 3], "context": 3, "frame_step": 3}),
    ],
)
def test_the_hash_is_of_each_kind_of_sampling(sampling, changes):
    hashes = {parse(sampling=sampling | {key: value}).hash for key, value in changes.items()}
    assert len(hashes | {parse(sampling=sampling).hash}) == len(changes) + 1


def test_the_hash_is_of_the_order_and_the_kind_of_pixel_operations():
    ops = [{"op": "resize", "size": [64, 88]}, {"op": "centre-crop", "fraction": 0.5}]
    variants = [ops, ops[::-1], ops[:1], [ops[0] | {"filter": "cv2-area"}], [ops[0] | {"size": [88, 64]}], ops[1:]]
    variants += [[{"op": "resize", "height": 64}], [{"op": "centre-crop", "square": True}]]
    assert len({parse(pixels=value).hash for value in variants}) == len(variants)


def test_the_hash_does_not_move_between_releases():
    """Old results must stay comparable: a change of the format needs a new schema, not another hash."""
    assert parse().hash == "263d7d06ce7110192db8f34c71a7fdb8ef1d8b4a236e06a242b6e91f30bdd53b"


def test_a_field_that_came_later_counts_only_where_it_is_used():
    """Hashes from before ``pad``, and from before ``height`` and ``square``."""
    assert parse(sampling=SLIDING).hash == "ca99fe440e60876908a512d074e95316b13be3060572941f064b41a875de9579"
    assert parse(pixels=[RESIZE, HALF]).hash == "32aa17a89a5972977ba92945a550c984c260381e3a55e80811153a18639dbee5"


def test_what_a_result_stores_gives_the_same_protocol():
    protocol = parse(sampling=ANCHORED, pixels=DECIDES["pixels"], annotate={"flow": "dis"}, report=[3])
    stored = json.loads(json.dumps(protocol.model_dump(mode="json", by_alias=True)))
    assert Protocol.parse(stored, "run.json") == protocol
    assert Protocol.parse(stored, "run.json").hash == protocol.hash


def test_the_scored_steps():
    assert parse().steps == tuple(range(1, 11))
    assert parse(sampling=ANCHORED).steps == (1, 3, 9)
    assert parse(sampling=ANCHORED).sampling.horizon == 9
    with pytest.raises(UsageError, match=r"step 2 is not among the scored steps \[1, 3, 9\]"):
        parse(sampling=ANCHORED, report=[2])


RESIZE, CROP = {"op": "resize", "size": [128, 424]}, {"op": "centre-crop", "size": [128, 256]}
HALF, SQUARE = {"op": "centre-crop", "fraction": 0.5}, {"op": "centre-crop", "square": True}
HEIGHT = {"op": "resize", "height": 64}


@pytest.mark.parametrize(
    ("pixels", "size"),
    [([], None), ([RESIZE], (128, 424)), ([RESIZE, CROP], (128, 256)), ([HALF], None), ([HALF, RESIZE], (128, 424)),
     ([RESIZE, HALF], (64, 212)), ([CROP, RESIZE, HALF], (64, 212)), ([SQUARE], None), ([RESIZE, SQUARE], (128, 128)),
     ([HEIGHT], None), ([RESIZE, HEIGHT], (64, 212)), ([HEIGHT, CROP], (128, 256))],
)  # fmt: skip
def test_the_size_that_the_pixel_operations_fix(pixels, size):
    assert parse(pixels=pixels).size == size


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(UsageError, match=r"protocol file .*gone.toml: there is no such file"):
        Protocol.read(tmp_path / "gone.toml")
    for name, data in {"syntax.toml": b"name = ", "bytes.toml": b"\xff\xfe"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UsageError, match=f"protocol file .*{name} cannot be read"):
            Protocol.read(tmp_path / name)
    (tmp_path / "field.toml").write_text("schema = 1\nname = 'Toy'\n")
    with pytest.raises(UsageError, match=r"field.toml: name: "):
        Protocol.read(tmp_path / "field.toml")
