"""Files from strangers: no name leaves its folder, no markup reaches a page, no escape sequence a terminal; no hang."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vpbench.cli.main import _run

TOYS = str(Path(__file__).resolve().parent.parent / "toys.py")
COMMANDS = ("leaderboard", "show", "verify", "compare", "merge")
TOML = """
schema = 1
name = "toy"
version = 1
[dataset]
name = "toy"
[sampling]
kind = "first"
context = 3
horizon = 4
"""
MARKUP = (
    "<script>alert(1)</script> <img src=x onerror=y>\n# forged | `x` [x](javascript:y) \x1b[31mred\x1b[0m \u202egnp"
)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A complete result, made by the command line."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "toy.toml").write_text(TOML)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VPBENCH_CACHE", str(folder / "cache"))
        run = ["run", "--plugin", TOYS, "-p", str(folder / "toy.toml"), "-m", "last", "--metric", "mse"]
        assert _run([*run, "--out", str(folder / "results")]) == 0
    (result,) = (folder / "results" / "toy" / "last").iterdir()
    return result


@pytest.fixture
def result(published, tmp_path):
    """A copy of it to be spoiled."""
    folder = tmp_path / "r" / "toy" / "last" / "0123456789ab"
    shutil.copytree(published, folder)
    return folder


@pytest.fixture
def commands(vpbench, published, result, tmp_path):
    """Run every command that reads a result; return what each did."""

    def call():
        arguments = {"leaderboard": ["--out", tmp_path / "boards"], "compare": [published]}
        return {name: vpbench(name, result, *arguments.get(name, ()), "--plugin", TOYS) for name in COMMANDS}

    return call


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def sign(result):
    """Claim the files as they are now, as one who forges a result does."""
    (attempt,) = (result / "attempts").iterdir()
    record = json.loads(attempt.read_text())
    record["run"] = hashlib.sha256((result / "run.json").read_bytes()).hexdigest()
    for number in record["units"]:
        unit = result / "units" / f"{int(number):06d}.jsonl"
        record["units"][number] = hashlib.sha256(unit.read_bytes()).hexdigest()
    attempt.write_text(json.dumps(record))


def files(folder):
    return {p for p in folder.rglob("*") if not p.is_relative_to(folder / "cache")}


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (["protocol", "name"], "../../x", "protocol: name"),
        (["preset"], "/../../x", "preset: '/../../x' is not a name"),
        (["manifest", 0, 0], "../../x@0", "not a path below a folder"),
        (["protocol", "sampling", "horizon"], 10**12, "horizon"),
        (["metrics", "mse", "decimals"], 10**9, "metrics.mse.decimals"),
    ],
)
def test_a_result_with_such_a_value_is_refused_by_every_command(commands, result, tmp_path, place, value, words):
    def change(run):
        for key in place[:-1]:
            run = run[key]
        run[place[-1]] = value

    edit(result / "run.json", change)
    sign(result)
    before = files(tmp_path)
    for name, outcome in commands().items():
        assert outcome.code == 1, name
        assert words in outcome.error, name
        assert str(result / "run.json") in outcome.error
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["run.json", "units/000000.jsonl", "attempts/x.json", "summary.json"])
@pytest.mark.parametrize("kind", ["a FIFO", "a folder", "larger than"])
def test_what_is_no_file_is_refused_and_not_waited_for(vpbench, result, tmp_path, name, kind):
    path = result / name
    path.unlink(missing_ok=True)
    {
        "a FIFO": os.mkfifo,
        "a folder": Path.mkdir,
        "larger than": lambda p: (p.touch(), os.truncate(p, 2**40)),
    }[kind](path)
    outcome = vpbench("leaderboard", result, "--out", tmp_path / "boards")
    assert outcome.code == 1
    assert str(path) in outcome.error
    assert kind in outcome.error
    outcome = vpbench("verify", result, "--plugin", TOYS)
    assert outcome.code == 1
    assert str(path) in outcome.error


def test_an_unreadable_summary_is_made_again(vpbench, result):
    good = (result / "summary.json").read_bytes()
    for bad in (b"\xff", b"[" * 10_000):
        (result / "summary.json").write_bytes(bad)
        assert vpbench("merge", result, "--plugin", TOYS).code == 0
        assert (result / "summary.json").read_bytes() == good


@pytest.mark.slow
def test_texts_of_files_are_shown_as_they_were_typed_and_never_as_markup(commands, result, tmp_path):
    def change(run):
        run["paper"] = f"https://example.org/{MARKUP}"
        run["skipped"] = {"psnr": MARKUP}
        run["partial"] = run["identity"]["partial"] = MARKUP
        run["protocol"]["summary"] = run["protocol"]["reference"] = MARKUP
        run["metrics"]["mse"]["unit"] = MARKUP
        run["classes"] = [MARKUP]

    def summary(value):
        value["partial_reason"] = MARKUP
        value["skipped"] = {"psnr": MARKUP}
        value["scores"]["mse"]["undefined"] = {MARKUP: 1}

    for partial in (False, True):
        edit(result / "run.json", change)
        edit(result / "summary.json", summary)
        edit(result / "summary.json", lambda value: value.update(partial=partial))  # noqa: B023
        sign(result)
        for outcome in commands().values():
            printed = outcome.out + outcome.err
            assert not [text for text in ("\x1b", "\u202e", "\n# forged") if text in f"\n{printed}"]
            assert len(outcome.err.splitlines()) <= 1
        for page in (tmp_path / "boards").glob("*.md"):
            text = page.read_text().replace("\\]", "")
            assert not [
                markup for markup in ("<script", "<img", "\x1b", "\n# forged", "](javascript") if markup in text
            ]


def test_json_output_holds_no_control_characters_and_any_terminal_takes_it(vpbench, result):
    edit(result / "run.json", lambda run: run.update(paper="é\x9b31m\u202e"))
    outcome = vpbench("show", result, "--json")
    assert outcome.out.isascii()
    assert outcome.json["run"]["paper"] == "é\x9b31m\u202e"


def test_texts_of_reported_tables_are_escaped(vpbench, result, tmp_path):
    (tmp_path / "reported").mkdir()
    text = json.dumps(MARKUP.replace("\n", " "))
    (tmp_path / "reported" / "t.toml").write_text(
        f'schema = 1\nkind = "scores"\nsource = {text}\npaper = {text}\ntable = {text}\nabout = "a"\nnotes = [{text}]\n'
        f'[reasons]\nr = {text}\n[columns.m]\nmetric = {text}\nprotocol = "toy"\nhorizon = "at(1)"\n'
        f'better = "higher"\nunit = {text}\nfactor = 10.0\n'
        f'[rows.{text}]\nm = {{ printed = "1", natural = 0.1, suspect = ["r"] }}\n'
    )
    args = ["--reported", tmp_path / "reported", "--out", tmp_path / "boards"]
    assert vpbench("leaderboard", result, *args).code == 0
    page = (tmp_path / "boards" / "toy.md").read_text()
    assert page.count("alert(1)") >= 7
    for forbidden in ("<script", "<img", "\x1b", "\u202e", " | `", "\n# forged"):
        assert forbidden not in page


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "toy"\nversion', 'name = "../../x"\nversion', "name: "),
        ("horizon = 4", "horizon = 1000000000000", "horizon: "),
        ("version = 1", "version = 1\na" + ".a" * 300_000 + " = 1", "more than 100 parts"),
        ('[dataset]\nname = "toy"', '[dataset]\nname = "toy"\n[dataset.options]\nx = nan', "dataset: "),
    ],
)
def test_a_protocol_with_such_a_value_is_refused(vpbench, tmp_path, old, new, words):
    assert old in TOML
    path = tmp_path / "toy.toml"
    path.write_text(TOML.replace(old, new))
    outcome = vpbench("run", "-p", path, "-m", "last", "--plugin", TOYS, "--out", tmp_path / "r")
    assert outcome.code == 2
    assert str(path) in outcome.error
    assert words in outcome.error
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "../../x"', "name: "),
        ('name = "s"\nsamples = 1000000000000', "samples: "),
        ('name = "s"\nx = ' + "[" * 50_000, "nested more than 32 levels"),
    ],
)
def test_a_suite_with_such_a_value_is_refused(vpbench, tmp_path, text, words):
    path = tmp_path / "suite.toml"
    path.write_text(f'schema = 1\nprotocols = ["toy"]\npredictors = [{{ name = "last" }}]\n{text}\n')
    outcome = vpbench("run", path, "--out", tmp_path / "r")
    assert outcome.code == 2
    assert str(path) in outcome.error
    assert words in outcome.error


PLUGIN = """
import click, os
import toys, vpbench

def fail(place):
    if os.environ["FAILS"] == place:
        exec(os.environ["HOW"], {"os": os})

@vpbench.hookimpl
def register_commands(cli):
    @cli.command(os.environ.get("COMMAND", "mine"))
    def mine():
        fail("command")
    fail("register_commands")

@vpbench.hookimpl
def register_datasets(register):
    register("fragile", "fragile:Data")

@vpbench.hookimpl
def register_metrics(register):
    register("fragile-metric", "fragile:Metric")

@vpbench.hookimpl
def register_annotators(register):
    register("fragile-flow", "fragile:Flow")

@vpbench.hookimpl
def register_predictors(register):
    register(os.environ.get("NAMED", "fragile-last"), "fragile:Last")

class Data(toys.Toy):
    def __init__(self, root, options):
        fail("dataset")
        super().__init__(root, options)

    def sequences(self, split):
        fail("sequences")
        if os.environ["FAILS"] == "names":
            return [vpbench.SequenceInfo(os.environ["HOW"], range(8))]
        return super().sequences(split)

    def check(self):
        fail("check")
        return []

class Metric(vpbench.ClipMean):
    info = vpbench.MetricInfo(name="fragile-metric", revision=1, better="lower")

    def __init__(self, device):
        fail("metric")

    def why_not(self, setting):
        fail("why_not")
        return ""

    def measure(self, comparison):
        return (comparison.prediction.frames - comparison.future.frames).square().mean((2, 3, 4)).tolist()

class Flow(toys.Still):
    def annotate(self, *args):
        fail("annotate")
        return super().annotate(*args)

class Last(toys.Last):
    pass
"""


@pytest.fixture
def fragile(tmp_path, monkeypatch, vpbench):
    """Run a command with a plugin that fails at one place, in one way."""
    (tmp_path / "fragile.py").write_text(PLUGIN)
    (tmp_path / "toy.toml").write_text(TOML.replace('name = "toy"\n[', 'name = "fragile"\n['))
    for name in ("fragile", "toys"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def call(place, code, *args, **env):
        monkeypatch.setenv("FAILS", place)
        monkeypatch.setenv("HOW", code)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        return vpbench("--plugin", TOYS, "--plugin", tmp_path / "fragile.py", *args)

    return call


RUN = ["-m", "needs-flow", "--annotate", "flow=fragile-flow", "--metric", "fragile-metric"]


@pytest.mark.parametrize(
    ("place", "args"),
    [
        ("command", ["mine"]),
        ("dataset", ["run"]),
        ("sequences", ["run"]),
        ("metric", ["run"]),
        ("why_not", ["run"]),
        ("annotate", ["run"]),
        ("check", ["data", "check", "fragile"]),
        ("metric", ["show", "fragile-metric"]),
    ],
)
def test_an_exception_of_a_plugin_is_no_bug_of_vpbench(fragile, tmp_path, place, args):
    if args == ["run"]:
        args = ["run", "-p", tmp_path / "toy.toml", *RUN, "--out", tmp_path / "r"]
    outcome = fragile(place, "raise ValueError('wrong\\x1b[31m')", *args)
    line = outcome.err.splitlines()[-1]
    assert outcome.code == 1
    assert "ValueError: wrong" in line and "\x1b" not in line
    assert "bug of vpbench" not in line
    assert ("annotator of flow, dataset" if place == "annotate" else "fragile") in line


def test_a_plugin_that_cannot_add_its_commands_is_warned_of_and_the_others_stay(fragile):
    outcome = fragile("register_commands", "raise ValueError('no')", "--help", COMMAND="half-done")
    assert outcome.code == 0
    assert "leaderboard" in outcome.out
    assert "half-done" not in outcome.out
    assert "plugin " in outcome.error
    assert "adds no command: ValueError: no" in outcome.error


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise MemoryError", "memory does not suffice: lower --batch-size"),
        ("raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory')", "memory does not suffice"),
        ("raise OSError(28, 'No space left on device', '/x')", "/x: No space left on device; free some space"),
        ("raise OSError(24, 'Too many open files')", "ulimit -n"),
        ("open('/nowhere/x')", "/nowhere/x: No such file or directory"),
        ("raise BrokenPipeError(32, 'Broken pipe')", "Broken pipe"),
        ("raise UnicodeEncodeError('ascii', 'é', 0, 1, 'no')", "ascii cannot write 'é': set PYTHONIOENCODING"),
        (
            "class E(Exception):\n def __str__(self): raise ValueError\nraise E",
            "E: (its text cannot be read) (this is a bug of that",
        ),
    ],
)
def test_troubles_of_the_system_have_their_own_line(fragile, code, words):
    outcome = fragile("command", code, "mine")
    assert outcome.code == 1
    assert words in outcome.error
    assert "bug of vpbench" not in outcome.error


@pytest.mark.parametrize("name", ["../../x", "\x1b[31m", ""])
def test_a_plugin_registers_names_only(fragile, name):
    outcome = fragile("", "", "list", NAMED=name)
    assert outcome.code == 1
    assert "fragile.py: the predictor " in outcome.error
    assert "is registered by what is not a name" in outcome.error


@pytest.mark.parametrize("name", ["../../x", "a\nb"])
def test_a_sequence_whose_name_leads_elsewhere_is_refused(fragile, tmp_path, name):
    args = ["run", "-p", tmp_path / "toy.toml", "-m", "last", "--metric", "mse", "--save-predictions"]
    outcome = fragile("names", name, *args, "--out", tmp_path / "r")
    assert outcome.code == 1
    assert "cannot name a sequence" in outcome.error
    assert not (tmp_path / "r").exists()


def test_a_bug_of_vpbench_says_so(vpbench, monkeypatch):
    monkeypatch.setattr("vpbench.cli.listing.KINDS", None)
    assert "TypeError: " in vpbench("list").error
    assert "(this is a bug of vpbench; --debug shows where)" in vpbench("list").error


def shell(command, **env):
    command = command.replace("vpbench", f"{sys.executable} -m vpbench")
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, timeout=100, check=False, env={**os.environ, **env}
    )


def test_a_terminal_of_another_encoding_shows_what_it_can():
    for encoding in ("ascii", "latin-1"):
        outcome = shell("vpbench show '日'", PYTHONIOENCODING=encoding, LANG="C")
        assert outcome.returncode == 2
        assert outcome.stderr.startswith(b"vpbench: nothing is named '")
    assert b"'\\u65e5'" in outcome.stderr


def test_an_output_that_nobody_reads_ends_quietly():
    reading, writing = os.pipe()
    os.close(reading)
    outcome = subprocess.run(
        [sys.executable, "-m", "vpbench", "list"], stdout=writing, stderr=subprocess.PIPE, timeout=100, check=False
    )
    os.close(writing)
    assert (outcome.returncode, outcome.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("vpbench list > /dev/full", 1, b"vpbench: No space left on device; free some space"),
        ("mkdir gone && cd gone && rmdir ../gone && vpbench list", 1, b"the current folder does not exist any more"),
        ("vpbench list >&- <&-", 0, b""),
        ("vpbench lst 2>&-", 2, b""),
    ],
)
def test_streams_and_folders_that_are_gone(command, code, words, tmp_path):
    outcome = shell(f"cd {tmp_path}; {command}", PYTHONPATH=str(Path(__file__).parents[2]))
    assert outcome.returncode == code, outcome.stderr
    assert words in outcome.stderr
    assert len(outcome.stderr.splitlines()) <= 1


# --- spoiled at random ---

POOL = [
    None, True, 0, -1, 10**12, 10**30, 2**63, 1e308, -0.5, float("nan"), float("inf"), "", "x", "../../x", "a\nb",
    "\x1b[31mred", "<script>", "|`[x](y)", "\u202eabc", "\ud800", "\0", "x" * 5000, [], {}, [[]], [None], {"\x1b": 1},
    "9" * 50, [10**12], "ok", "undefined",
]  # fmt: skip


def places(value, keys=()):
    """Yield the place of every value within a document: of lists, the first values only."""
    if keys:
        yield keys
    pairs = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*keys, key))


def spoil(value, rng):
    """Return a document with one to three values deleted, renamed, moved or replaced."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 2, 3])):
        *path, last = rng.choice(list(places(value)) or [("x",)])
        inner = value
        for key in path:
            inner = inner[key]
        draw = rng.random()
        if draw < 0.15 and last in inner:
            del inner[last]
        elif draw < 0.25 and isinstance(inner, dict):
            inner[rng.choice(["a/../b", "\x1b[2J", "x" * 300, "mse", ""])] = inner.pop(last, None)
        else:
            inner[last] = rng.choice(POOL)
    return value


def spoil_result(folder, rng):
    kind = rng.choice(["run.json", "summary.json", "units/000000.jsonl", "attempts"])
    path = next((folder / kind).iterdir()) if kind == "attempts" else folder / kind
    if kind.startswith("units"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        i = rng.randrange(len(rows))
        rows[i] = spoil(rows[i], rng)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(spoil(json.loads(path.read_text()), rng)))
    if kind != "attempts" and rng.random() < 0.7:
        sign(folder)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_result_spoiled_at_random_is_read_or_refused_in_one_line(commands, result, tmp_path, seed):
    spoil_result(result, random.Random(seed))
    for name, outcome in commands().items():
        assert outcome.code in (0, 1), name
        assert "bug of vpbench" not in outcome.err, name
        assert len(outcome.err.splitlines()) <= 1, outcome.err
        assert all(c.isprintable() or c == "\n" for c in outcome.out + outcome.err), name
        assert len(outcome.out + outcome.err) < 100_000
    assert {path.name for path in tmp_path.iterdir()} <= {"r", "boards", "cache"}


TABLE = {
    "schema": 1, "kind": "scores", "source": "ABC", "paper": "p", "table": "1", "about": "a", "notes": ["n"],
    "columns": {"m": {"metric": "mse", "protocol": "toy", "horizon": "at(1)", "better": "higher", "unit": "",
                      "factor": 1.0}},
    "rows": {"Ours": {"m": {"printed": "1", "natural": 1.0}}},
}  # fmt: skip
SUITE = {
    "schema": 1, "name": "s", "protocols": ["toy"], "seeds": [0], "samples": 1,
    "predictors": [{"name": "last", "options": {"a": 1}, "train": {"epochs": 1}, "seeds": [1], "annotate": {"a": "b"}}],
}  # fmt: skip
PROTOCOL = {
    "schema": 1, "name": "toy", "version": 1, "dataset": {"name": "toy", "options": {"length": 8}}, "clips": 20,
    "sampling": {"kind": "first", "context": 3, "horizon": 4}, "pixels": [{"op": "resize", "size": [8, 8]}],
    "report": [1], "display": {"mse": 10.0}, "annotate": {"flow": "still"}, "training": {"held_out": 0.5},
}  # fmt: skip


def toml(value):
    """Write a value as TOML on one line, as far as TOML can hold it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {toml(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value if item is not None) + "]"
    return {float("inf"): "inf"}.get(value, repr(value)) if isinstance(value, float) else json.dumps(value)


@pytest.mark.parametrize("seed", range(30))
def test_toml_spoiled_at_random_is_read_or_refused_in_one_line(vpbench, tmp_path, seed):
    rng = random.Random(seed)
    document, command = rng.choice(
        [(TABLE, ["leaderboard", "--reported"]), (SUITE, ["train"]), (PROTOCOL, ["data", "check"])]
    )
    path = tmp_path / "reported" / "x.toml"
    path.parent.mkdir()
    path.write_text("".join(f"{json.dumps(k)} = {toml(v)}\n" for k, v in spoil(document, rng).items() if v is not None))
    locations = [path.parent, tmp_path / "none"] if document is TABLE else [path]
    outcome = vpbench(*command, *locations, "--plugin", TOYS)
    assert outcome.code in (0, 1, 2)
    assert "bug of" not in outcome.err
    assert all(c.isprintable() or c == "\n" for c in outcome.out + outcome.err)
    assert len(outcome.err.splitlines()) <= 1
