"""The suite as a value: what a file may say, what it comes to, and a clear line where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpbench.errors import UsageError
from vpbench.names import Selector
from vpbench.protocol.suite import Suite

ROOT = Path(__file__).parents[2]


def suite(text: str = "", *entries: str, head: str = 'schema = 1\nname = "table"\n') -> str:
    text = text or 'protocols = ["a", "b"]'
    return head + text + "".join(f"\n[[predictors]]\n{entry}\n" for entry in entries or ('name = "x"',))


def read(tmp_path: Path, text: str) -> Suite:
    path = tmp_path / "table.toml"
    path.write_text(text)
    return Suite.read(path)


def jobs_of(suite: Suite, **draws: int) -> list[tuple[str, str, int, int]]:
    return [(job.protocol, job.entry.name, job.seed, job.samples) for job in suite.jobs(**draws)]


def test_each_predictor_is_evaluated_on_each_protocol_with_each_seed(tmp_path):
    text = suite(
        'protocols = ["a", "b"]\nseeds = [3]\nsamples = 2',
        'name = "x"',
        'name = "y:preset"\nseeds = [0, 1]\nsamples = 5\nprotocols = ["b"]',
    )
    assert jobs_of(read(tmp_path, text)) == [
        ("a", "x", 3, 2),
        ("b", "x", 3, 2),
        ("b", "y:preset", 0, 5),
        ("b", "y:preset", 1, 5),
    ]
    assert jobs_of(read(tmp_path, text), seed=0, samples=1) == [
        ("a", "x", 0, 1),
        ("b", "x", 0, 1),
        ("b", "y:preset", 0, 1),
    ]
    assert jobs_of(read(tmp_path, suite())) == [("a", "x", 0, 1), ("b", "x", 0, 1)]


names = st.sampled_from(["a", "b", "c"])
entries = st.fixed_dictionaries(
    {"name": st.sampled_from(["x", "x:big", "y"])},
    optional={
        "protocols": st.lists(names, min_size=1, unique=True),
        "seeds": st.lists(st.integers(0, 3), min_size=1, unique=True),
    },
)


@given(st.lists(entries, min_size=1, max_size=4), st.sets(names), st.sets(st.sampled_from(["x", "x:big", "y"])))
def test_a_narrowed_suite_has_just_those_jobs_that_are_named(predictors, protocols, selection):
    whole = Suite.model_validate({"schema": 1, "name": "table", "protocols": ["a", "b", "c"], "predictors": predictors})
    forms = {form for entry in predictors for form in (entry["name"], Selector.parse(entry["name"]).name)}
    named = selection & forms
    expected = [
        job
        for job in jobs_of(whole)
        if (not protocols or job[0] in protocols) and (not named or {job[1], Selector.parse(job[1]).name} & named)
    ]
    if expected:
        assert jobs_of(whole.narrowed(sorted(protocols), sorted(named))) == expected
    else:
        with pytest.raises(UsageError, match="none of these"):
            whole.narrowed(sorted(protocols), sorted(named))


def test_a_name_that_narrows_to_nothing_is_a_typing_error(tmp_path):
    table = read(tmp_path, suite('protocols = ["one", "two"]', 'name = "alpha:small"'))
    with pytest.raises(UsageError, match=r"suite table: no protocol 'tow'; did you mean 'two'\?"):
        table.narrowed(["tow"], [])
    with pytest.raises(UsageError, match=r"suite table: no predictor 'alpa'; did you mean 'alpha'\?"):
        table.narrowed([], ["alpa"])


def test_a_protocols_file_lies_beside_the_suite_and_is_named_from_where_the_user_is(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    table = read(tmp_path / "deep", suite('protocols = ["my.toml", "a"]'))
    assert [job.protocol for job in table.jobs()] == [str(tmp_path / "deep" / "my.toml"), "a"]
    monkeypatch.chdir(tmp_path)
    assert len(table.narrowed(["deep/my.toml"], []).jobs()) == 1
    with pytest.raises(UsageError, match=r"no protocol 'my\.toml'"):
        table.narrowed(["my.toml"], [])


def test_a_label_tells_entries_apart(tmp_path):
    text = suite(
        'protocols = ["a"]',
        'name = "x"\nseeds = [0, 1]',
        'name = "x"\noptions = { width = 3 }\nannotate = { flow = "dis" }',
        'name = "x"\nweights = "w.safetensors"\nsamples = 2',
    )
    labels = [job.label for job in read(tmp_path, text).jobs()]
    assert labels == ["x", "x seed 1", "x width=3 flow=dis", "x weights=w.safetensors samples=2"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "schema: Field required"),
        ("schema = 2", "schema 2 is newer than this vpbench reads"),
        ("schema = ", "cannot be read"),
        (suite("protocols = []"), "protocols: "),
        ('schema = 1\nname = "t"\nprotocols = ["a"]\n', "predictors: Field required"),
        (suite("", 'nmae = "x"'), "predictors.0.name: Field required"),
        (suite("", 'name = "x"\nseed = 1'), "predictors.0.seed: is unknown"),
        (suite("", 'name = "x"\nseeds = [-1]'), "predictors.0.seeds.0: "),
        (suite("", 'name = "x"\nseeds = ["0"]'), "predictors.0.seeds.0: "),
        (suite("", 'name = "x"\nsamples = 0'), "predictors.0.samples: "),
        (suite("", 'name = "x"\nprotocols = ["bb"]'), "'bb' is not among the suite's protocols; did you mean 'b'?"),
        (suite("", 'name = "x"\nweights = "w"\ntrain = true'), "not from both weights and train"),
        (suite("", 'name = "x"\nweights = "w"\noptions = { weights = "v" }'), "not from both weights and options"),
        (suite("", 'name = "x"\ntrain = { setps = 3 }'), "a recipe has no 'setps'; did you mean 'steps'?"),
        (suite("", 'name = "x"\ntrain = { steps = "3" }'), "predictors.0: "),
        (suite("", 'name = "x"\ntrain = { steps = 3, epochs = 1 }'), "either epochs or steps"),
        (suite("", 'name = "x"\ntrain = { precision = "64" }'), "predictors.0: "),
        (suite("", 'name = "x"\ntrain = { epochs = 0 }'), "epochs must be 1 or more, not 0"),
        (suite("", 'name = "x"\ntrain = { learning_rate = nan }'), "learning_rate must be a number above 0, not nan"),
        (suite("", 'name = "x"\ntrain = { clip = inf }'), "clip must be a number above 0, not inf"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_says_where(tmp_path, text, words):
    with pytest.raises(UsageError) as raised:
        read(tmp_path, text)
    assert words in str(raised.value)
    assert "table.toml" in str(raised.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"suite file .*none.toml: there is no such file"):
        Suite.read(tmp_path / "none.toml")


def test_a_recipe_may_be_changed(tmp_path):
    text = suite("", 'name = "x"\ntrain = { steps = 30, learning_rate = 1e-4, precision = "bf16-mixed" }')
    (entry,) = read(tmp_path, text).predictors
    assert entry.train == {"steps": 30, "learning_rate": 1e-4, "precision": "bf16-mixed"}


@pytest.mark.parametrize("path", sorted((ROOT / "suites").glob("*.toml")), ids=lambda path: path.stem)
def test_every_suite_that_ships_is_one(path):
    assert Suite.read(path).name == path.stem
