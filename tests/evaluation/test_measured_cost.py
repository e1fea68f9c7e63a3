"""``vpbench cost``: counts to the digit, times by their structure, a record of its own for each device."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import folders
import pytest
import torch
from toys import Last, repeat

import vpbench
from vpbench.cli.main import _run
from vpbench.errors import PredictorError, ResultError, UsageError
from vpbench.evaluation.cost import CostSettings, measure_cost
from vpbench.evaluation.operations import UncountableError, count_operations
from vpbench.pages.leaderboard import build_pages, collect
from vpbench.plugin.clip import Context
from vpbench.plugin.loader import load_plugins
from vpbench.protocol.protocol import Protocol
from vpbench.report.site import write_site
from vpbench.results.costs import CostRecord, costs_of, read_cost, write_cost
from vpbench.results.provenance import memory_growth
from vpbench.submission.bundle import archive_results

TOYS = str(Path(__file__).resolve().parents[1] / "toys.py")
TEXT = """
schema = 1
name = "toy"
version = 1
dataset = {name = "toy", options = {sequences = 3, size = [8, 12]}}
sampling = {kind = "first", context = 3, horizon = 4}
PIXELS
"""
SIZE = 'pixels = [{op = "resize", size = [8, 12]}]'


@pytest.fixture(scope="module")
def plugins():
    return load_plugins([TOYS])


@pytest.fixture
def protocol(tmp_path):
    path = tmp_path / "toy.toml"
    path.write_text(TEXT.replace("PIXELS", SIZE))
    return path


def measure(plugins, protocol, predictor="last", **settings):
    values = {"device": "cpu", "batch_size": 2, "rounds": 3} | settings
    return measure_cost(predictor, Protocol.read(protocol), plugins, CostSettings(**values))


def cost(*words):
    return _run(["cost", "--plugin", TOYS, "--device", "cpu", "--rounds", "3", "--batch-size", "2", *map(str, words)])


def changed(record, **identity):
    fixed = record.identity.model_copy(update=identity)
    return record.model_copy(update={"identity": fixed, "identity_hash": fixed.hash})


# --- counts ---


class Convolves(torch.nn.Module):
    """One convolution per step, and an unused part."""

    info = vpbench.PredictorInfo()

    def __init__(self):
        super().__init__()
        self.used, self.unused = torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Linear(5, 5)

    def inference_parts(self):
        return {"used": self.used}

    def predict(self, context, horizon, generators):
        frames = [self.used(context.frames[:, -1]).sigmoid() for _ in range(horizon)]
        return vpbench.Prediction(frames=torch.stack(frames, 1))


def test_operations_are_counted_to_the_digit_and_checks_of_values_are_skipped():
    class Checks(Convolves):
        def predict(self, context, horizon, generators):
            assert context.frames.isfinite().flatten(1).all(dim=1).all()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return super().predict(context, horizon, generators)

    context = Context(torch.rand(1, 3, 3, 8, 12), ("clip",))
    expected = 5 * 2 * 8 * 12 * 9 * 3 * 3
    assert count_operations(Convolves(), context, 5) == expected
    assert count_operations(Checks(), context, 5) == expected
    assert count_operations(Last(), context, 5) == 0


def test_a_model_that_a_plain_class_holds_is_counted_too():
    class Holds:
        info = vpbench.PredictorInfo()

        def __init__(self):
            self.parts = {"net": Convolves()}

        def predict(self, context, horizon, generators):
            return self.parts["net"].predict(context, horizon, generators)

    context = Context(torch.rand(2, 3, 3, 8, 12), ("a", "b"))
    assert count_operations(Holds(), context, 1) == 2 * 2 * 8 * 12 * 9 * 3 * 3


def test_a_prediction_that_depends_on_values_has_no_count():
    class Branches(Last):
        def predict(self, context, horizon, generators):
            return super().predict(context, horizon + int(context.frames.mean() > 9), generators)

    class Leaves(Last):
        def predict(self, context, horizon, generators):
            return vpbench.Prediction(frames=torch.zeros(1, horizon, 3, 8, 12))

    context = Context(torch.rand(1, 3, 3, 8, 12), ("clip",))
    with pytest.raises(UncountableError, match=r"^it depends on values \(RuntimeError: .*meta"):
        count_operations(Branches(), context, 4)
    with pytest.raises(UncountableError, match=r"^its frames are computed outside torch$"):
        count_operations(Leaves(), context, 4)


# --- the record ---


def test_a_record_says_what_was_measured_on_what(plugins, protocol):
    record = measure(plugins, protocol, "with-options:wide")
    identity, shape = record.identity, record.identity.shape
    assert (record.label, record.protocol, record.protocol_hash) == (
        "with-options-wide",
        "toy",
        Protocol.read(protocol).hash,
    )
    assert (shape.context, shape.horizon, shape.size, shape.modalities) == (3, 4, (8, 12), ("frames",))
    assert (identity.clips, identity.batch_size, identity.threads) == ("real", 2, torch.get_num_threads())
    assert identity.options == {"width": 8, "mode": "plain"}
    assert (record.parameters, record.operations, record.uncounted) == (8 * 2 + 2 + 10, 0, "")
    assert record.memory == "resident"
    for timing, clips in ((record.latency, 1), (record.throughput, 2)):
        low, high = timing.quartiles
        assert (timing.batch_size, timing.rounds) == (clips, 3)
        assert 0 < low <= timing.seconds_per_frame <= high
        assert timing.frames_per_second == pytest.approx(1 / timing.seconds_per_frame)
    assert identity.hash == record.identity_hash
    assert "torch" in record.versions


def test_times_are_per_predicted_frame(plugins, protocol, monkeypatch):
    toys = sys.modules["toys"]

    def slow(self, context, horizon, generators):
        time.sleep(0.02)
        return vpbench.Prediction(frames=repeat(context, horizon))

    monkeypatch.setattr(toys.Last, "predict", slow)
    record = measure(plugins, protocol)
    assert 0.005 <= record.latency.seconds_per_frame < 0.05
    assert 0.0025 <= record.throughput.seconds_per_frame < record.latency.seconds_per_frame


@pytest.mark.parametrize("predictor", ["last", "noisy", "needs-flow"])
def test_random_clips_need_no_data_and_are_another_identity(plugins, protocol, predictor):
    real, random = measure(plugins, protocol, predictor), measure(plugins, protocol, predictor, random_clips=True)
    assert (real.identity.clips, random.identity.clips) == ("real", "random")
    assert real.identity.shape == random.identity.shape
    assert real.identity_hash != random.identity_hash
    assert (real.parameters, real.operations) == (random.parameters, random.operations)


def test_memory_is_the_growth_of_the_process():
    with memory_growth() as growth:
        before = growth()
        block = torch.ones(2**24)
        assert growth() - before > 0.9 * block.nbytes
        del block
        assert growth() - before > 0.9 * 2**26, "the peak stays"
    with memory_growth() as growth:
        assert growth() < 2**25, "an earlier peak does not count"


@pytest.mark.parametrize(
    ("predictor", "settings", "message"),
    [
        ("lst", {}, "'lst'"),
        ("seer", {}, "is shown the truth"),
        ("short", {}, "predicts at most 1 steps"),
        ("last", {"device": "cuda"}, "sees no GPU"),
        ("last", {"options": {"lats": {"a": 1}}}, "lats"),
    ],
)
def test_what_cannot_be_measured_is_refused(plugins, protocol, predictor, settings, message):
    if settings.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match=message):
        measure(plugins, protocol, predictor, **settings)


def test_a_predictor_that_fails_or_breaks_its_contract_is_named(plugins, protocol):
    with pytest.raises(PredictorError, match=r"predictor 'raises' failed on clip .*: ValueError: no idea"):
        measure(plugins, protocol, "raises")
    with pytest.raises(PredictorError, match=r"'not-a-number'.* NaN"):
        measure(plugins, protocol, "not-a-number")


def test_a_protocol_without_a_size_is_refused(plugins, tmp_path):
    path = tmp_path / "toy.toml"
    path.write_text(TEXT.replace("PIXELS", ""))
    with pytest.raises(UsageError, match="toy does not fix the size of frames"):
        measure(plugins, path)


# --- files ---


def test_a_record_lies_next_to_the_results_and_is_read_back(plugins, protocol, tmp_path):
    record = measure(plugins, protocol)
    path = write_cost(tmp_path, record)
    assert path == tmp_path / "toy" / "last" / "costs" / f"{record.identity_hash[:12]}.json"
    assert read_cost(path) == record
    faster = write_cost(tmp_path, changed(record, device="Fast GPU"))
    assert faster != path and read_cost(path) == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": -1}, "parameters"),
        ({"schema": 9}, "newer than this vpbench reads"),
        ({"identity_hash": "0" * 64}, "not the hash of the identity"),
        ({"operations": None}, "without a reason"),
        ({"protocol": "../../x"}, "protocol"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(plugins, protocol, tmp_path, change, message):
    path = write_cost(tmp_path, measure(plugins, protocol))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ResultError, match=message) as error:
        read_cost(path)
    assert str(path) in str(error.value)


# --- the command ---


def test_the_command_prints_and_writes_a_record_that_show_prints(protocol, tmp_path, capsys):
    assert cost("-m", "with-options", "-p", protocol, "--out", tmp_path / "r") == 0
    *lines, path = capsys.readouterr().out.splitlines()
    assert lines[0] == "with-options on toy: 4 frames of 8x12 after 3, from frames (real clips)"
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "device",
        "parameters",
        "operations",
        "latency",
        "throughput",
        "peak memory",
    ]
    assert _run(["show", path]) == 0
    assert capsys.readouterr().out.splitlines() == lines
    assert "parameters    20" in lines
    assert _run(["show", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cost"] == json.loads(Path(path).read_text())


def test_the_command_prints_one_document(protocol, tmp_path, capsys):
    assert cost("-m", "needs-flow", "-p", protocol, "--out", tmp_path, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["cost"]["operations"] is None
    assert document["cost"]["uncounted"].startswith("it depends on values (")
    assert CostRecord.model_validate(json.loads(Path(document["path"]).read_text())).label == "needs-flow"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-m", "last", "--device", "tpu"], 2),
        (["-m", "last", "--rounds", "1"], 2),
        (["-m", "last", "--weights", "missing.safetensors"], 1),
        (["-m", "raises"], 1),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(protocol, tmp_path, capsys, words, code):
    assert cost("-p", protocol, "--out", tmp_path / "r", *words) == code
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "r").exists()


# --- pages ---


@pytest.fixture
def add_cost(plugins, protocol, tmp_path):
    base = measure(plugins, protocol)

    def add(folder, seconds=0.25, operations=2_500_000_000, *, root=tmp_path / "results", **identity):
        run = vpbench.load(folder).run
        fixed = {"predictor": run.predictor, "options": run.identity.options} | identity
        record = changed(base, **fixed)
        latency = base.latency.model_copy(update={"seconds_per_frame": seconds})
        count = {"operations": operations, "uncounted": "" if operations is not None else "it branches"}
        fields = {"latency": latency, "protocol_hash": run.identity.protocol, "protocol": run.protocol.name}
        return write_cost(root, record.model_copy(update=fields | count))

    return add


def page(tmp_path):
    return build_pages(collect([tmp_path / "results"], folders.plugins()), folders.plugins())["toy.md"]


def overview(text):
    heads, _, *rows = [
        [cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("|")
    ][:4]
    return {row[0]: dict(zip(heads[1:], row[1:], strict=True)) for row in rows}


def test_the_report_shows_measured_costs_next_to_the_scores(add_cost, tmp_path):
    first = folders.make_result(tmp_path / "results", "first", {"mse": [0.1]})
    second = folders.make_result(tmp_path / "results", "second", {"mse": [0.2]})
    add_cost(first, 0.25, device="Slow <b>", threads=2)
    add_cost(second, 0.5, operations=None, device="Slow <b>", threads=2)
    add_cost(first, 0.125, device="Fast 9", threads=1)
    write_site(collect([tmp_path / "results"], folders.plugins()), folders.plugins(), (), tmp_path / "site")
    text = (tmp_path / "site/toy/index.html").read_text()
    heads = re.findall(r"seconds per frame<small>(.*?)</small>", text)
    assert heads == ["Fast 9, 1 thread", "Slow &lt;b&gt;, 2 threads"]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr data-name.*?</tr>", text, re.DOTALL)]
    assert [row[2:5] for row in cells] == [["2.5", "0.12", "0.25"], ["not countable", "—", "0.5"]]
    assert "measured seconds per predicted frame on Slow &lt;b&gt;, 2 threads" in text
    assert "on Fast 9" not in text, "a chart of one predictor"
    predictor = (tmp_path / "site/toy/predictors/first.html").read_text()
    assert "<h2>Cost</h2>" in predictor and "0.125 s per predicted frame" in predictor
    assert "<dt>seconds per frame</dt>" not in predictor, "times of runs are of other conditions"


def test_an_archive_keeps_the_costs_of_a_result_that_is_copied_again(add_cost, tmp_path):
    result, archive = folders.make_result(tmp_path / "results", "first", {"mse": [0.1]}), tmp_path / "archive"
    old, measured_twice, foreign = (
        add_cost(result, 0.5, root=archive, **identity) for identity in ({}, {"threads": 2}, {"options": {"a": 1}})
    )
    assert (
        add_cost(result, 0.125, device=read_cost(measured_twice).identity.device, threads=2).name == measured_twice.name
    )
    archive_results([tmp_path / "results"], archive)
    assert read_cost(old).latency.seconds_per_frame == 0.5
    assert read_cost(measured_twice).latency.seconds_per_frame == 0.125
    assert not foreign.exists(), "of other options"


def test_each_device_has_a_column_of_its_own(add_cost, tmp_path):
    first = folders.make_result(tmp_path / "results", "first", {"mse": [0.1]})
    second = folders.make_result(tmp_path / "results", "second", {"mse": [0.2]})
    assert "seconds per frame" in overview(page(tmp_path))["first"], "without costs: the time of the run"
    add_cost(first, 0.25, device="Slow | 1", threads=2)
    add_cost(first, 0.125, device="Fast 9", threads=1)
    add_cost(second, 0.5, operations=None, device="Slow | 1", threads=2)
    text = page(tmp_path)
    table = overview(text.replace("Slow \\| 1", "Slow 1"))
    fast, slow = "seconds per frame<br><sub>Fast 9, 1 thread</sub>", "seconds per frame<br><sub>Slow 1, 2 threads</sub>"
    assert [(row[fast], row[slow], row["operations"]) for row in table.values()] == [
        ("0.12", "0.25", "2.5"),
        ("—", "0.5", "not countable"),
    ]
    assert "seconds per frame" not in table["first"]
    assert "the median latency that `vpbench cost` measured" in text
    assert text.index("## Cost") < text.index("## mse")
    assert text.count("| predictor   | parameters   | 10⁹ operations per frame") == 2, "a table per device"
    assert page(tmp_path) == text


def test_a_cost_of_other_options_or_another_protocol_is_not_shown(add_cost, tmp_path):
    first = folders.make_result(tmp_path / "results", "first", {"mse": [0.1]})
    folders.make_result(tmp_path / "results", "second", {"mse": [0.2]})
    path = add_cost(first, options={"depth": 3})
    add_cost(first, predictor="third")
    run = vpbench.load(first).run
    assert costs_of(first, run) == []
    assert "## Cost" not in page(tmp_path)
    path.write_text("{}")
    with pytest.raises(ResultError, match="has no schema number"):
        page(tmp_path)


def test_costs_on_real_clips_come_before_those_on_random_ones(add_cost, tmp_path):
    first = folders.make_result(tmp_path / "results", "first", {"mse": [0.1]})
    folders.make_result(tmp_path / "results", "second", {"mse": [0.2]})
    add_cost(first, 0.5, clips="random", device="d")
    assert "random clips" in page(tmp_path)
    add_cost(first, 0.25, clips="real", device="d")
    assert "random clips" not in page(tmp_path)


# --- the predictors that ship ---


@pytest.mark.slow
@pytest.mark.parametrize("name", ["repeat", "flow-extrapolation", "convlstm", "cdnet", "sadm"])
def test_every_default_predictor_is_measured_on_scenes(name):
    plugins = load_plugins()
    protocol = Protocol.read(plugins.load("protocol", "scenes"))
    record = measure_cost(name, protocol, plugins, CostSettings("cpu", batch_size=1, rounds=3))
    expected = {
        "repeat": (0, 0),
        "flow-extrapolation": (0, 0),
        "convlstm": (556_592, 25_518_145_536 // 5),
        "cdnet": (399_047, 55_145_760_768 // 5),
        "sadm": (452_393, None),
    }
    assert (record.parameters, record.operations) == expected[name]
    assert bool(record.uncounted) == (name == "sadm")
    assert ("semantics" in record.identity.shape.modalities) == (name not in ("convlstm", "cdnet"))
