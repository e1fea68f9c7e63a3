"""Arguments of ``vpbench.evaluate`` and ``vpbench.predict_video``: a wrong one is named, before any work."""

from __future__ import annotations

import pytest

import vpbench

COMMON = [
    {"options": ["repeat.x=1"]},
    {"annotate": {"flow": 3}},
    {"samples": 0},
    {"samples": 10**6},
    {"seed": 2**63},
    {"device": "gpu"},
    {"plugins": "plugin.py"},
    {"sample": 1},
]
EVALUATE = [
    {"protocol": 3},
    {"data_root": 3},
    {"out": None},
    {"clips": 0},
    {"metrics": "mse"},
    {"batch_size": 2.0},
    {"workers": -1},
    {"shard": 0},
    {"allow_partial": "yes"},
    {"save_predictions": 1},
    {"progress": 3},
]
VIDEO = [
    {"video": 3},
    {"context": 0},
    {"start": -1},
    {"step": 0},
    {"size": (120,)},
    {"size": "120x160"},
    {"horizon": 2.5},
]


@pytest.mark.parametrize("argument", COMMON + EVALUATE, ids=str)
def test_a_wrong_argument_of_evaluate_is_named(tmp_path, argument):
    values = {"protocol": "scenes-small", "out": tmp_path, **argument}
    with pytest.raises(vpbench.UsageError, match=next(iter(argument))):
        vpbench.evaluate("repeat", **values)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("argument", COMMON + VIDEO, ids=str)
def test_a_wrong_argument_of_predict_video_is_named(tmp_path, argument):
    with pytest.raises(vpbench.UsageError, match=next(iter(argument))):
        vpbench.predict_video("repeat", **{"video": tmp_path, **argument})


def test_a_predictor_is_a_name_or_an_object(tmp_path):
    with pytest.raises(vpbench.UsageError, match="int is neither a predictor's name nor an object"):
        vpbench.evaluate(3, "scenes-small", out=tmp_path)


@pytest.mark.parametrize("name", ["sadm", "repaet"])
def test_an_option_that_belongs_to_nobody_is_an_error(tmp_path, name):
    with pytest.raises(vpbench.UsageError, match=rf"option {name}\.x: '{name}' does not take part"):
        vpbench.evaluate("repeat", "scenes-small", out=tmp_path, options={name: {"x": 1}})
