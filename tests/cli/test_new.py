"""`vpbench new`: every template works as written, no file is replaced, packages install and pass their test."""

from __future__ import annotations

import ast
import json
import os
import runpy
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

from vpbench.errors import UsageError
from vpbench.plugin.loader import load_plugins
from vpbench.scaffold.plugin import KINDS
from vpbench.testing.conformance import Request, check_plugin

VARIANTS = [(kind, ()) for kind in KINDS] + [("predictor", ("--trainable",))]
CODE = [variant for variant in VARIANTS if variant[0] != "protocol"]


def label(variant: object) -> str:
    kind, flags = variant
    return "-".join([kind, *(flag.strip("-") for flag in flags)])


@pytest.fixture
def new(vpbench, tmp_path, monkeypatch):
    """Start a plugin in an empty folder; a file's module is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield lambda *args: vpbench("new", *args)
    sys.modules.pop("my_own", None)


@pytest.mark.parametrize("variant", CODE, ids=label)
def test_a_file_works_and_keeps_its_contract(new, vpbench, variant):
    kind, flags = variant
    outcome = new(kind, "my-own", *flags)
    assert (outcome.code, outcome.out) == (0, f"my_own.py: next, vpbench check {kind}/my-own --plugin my_own.py\n")
    assert len(Path("my_own.py").read_text().splitlines()) <= 50
    outcomes = list(check_plugin(Request(load_plugins(["my_own.py"]), kind, "my-own", extra=["my_own.py"])))
    assert [o.detail for o in outcomes if o.status == "failed"] == []
    listed = vpbench("list", f"{kind}s", "--plugin", "my_own.py", "--json").json["entries"]
    assert [entry["name"] for entry in listed if entry["plugin"] == "my_own.py"] == ["my-own"]


def test_a_protocol_runs(new, vpbench):
    outcome = new("protocol", "my-own")
    assert outcome.out == "my-own.toml: next, vpbench data check my-own.toml\n"
    assert vpbench("data", "check", "my-own.toml").code == 0
    run = vpbench("run", "-p", "my-own.toml", "-m", "repeat", "--metric", "mse", "--clips", "2", "--json")
    assert run.json["results"][0]["protocol"] == "my-own"


def test_the_name_of_a_protocol_in_this_folder_is_no_registered_one(new, vpbench):
    new("protocol", "my-own")
    outcome = vpbench("run", "-p", "my-own", "-m", "repeat")
    assert outcome.code == 2
    assert "no protocol is registered as 'my-own'; for the file in this folder, write my-own.toml" in outcome.error


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # lightning's advice about data loaders
def test_a_trainable_predictor_trains(new, vpbench):
    new("predictor", "my-own", "--trainable")
    new("protocol", "small")
    with Path("small.toml").open("a") as file:
        file.write("\n[training]\nclips = 8\nvalidation_clips = 2\n")
    args = ["-p", "small.toml", "-m", "my-own", "--plugin", "my_own.py", "--device", "cpu"]
    outcome = vpbench("train", *args, "--max-steps", "2", "--out", "t")
    assert outcome.code == 0, outcome.err
    assert list(Path("t").rglob("*.safetensors"))


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_a_package_is_complete(new, variant):
    kind, flags = variant
    outcome = new(kind, "my-own", *flags, "--package", "--out", "here/below")
    root = Path("here/below/vpbench-my-own")
    assert outcome.out == f"{root}: next, pip install -e {root} && pytest {root}\n"
    main = "my-own.toml" if kind == "protocol" else f"{kind}.py"
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == [
        ".github/workflows/test.yml",
        "README.md",
        "pyproject.toml",
        "src/vpbench_my_own/__init__.py",
        f"src/vpbench_my_own/{main}",
        "tests/test_my_own.py",
    ]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["vpbench"] == {"my-own": "vpbench_my_own"}
    for path in root.rglob("*.py"):
        ast.parse(path.read_text())
    assert len((root / "src/vpbench_my_own" / main).read_text().splitlines()) < 40
    assert not [path for path in root.rglob("*") if path.is_file() and "$" in path.read_text()]
    assert [path.name for path in Path("here/below").iterdir()] == ["vpbench-my-own"]


def test_the_test_of_a_protocol_fails_unless_it_is_registered(new):
    new("protocol", "my-own", "--package")
    test = runpy.run_path("vpbench-my-own/tests/test_my_own.py")["test_my_own"]
    with pytest.raises(UsageError, match="'my-own'"):
        test()


@pytest.mark.parametrize("args", [(), ("--package",)], ids=["file", "package"])
def test_what_exists_is_never_replaced(new, args, monkeypatch):
    assert new("metric", "my-own", *args, "--out", "out").code == 0
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    outcome = new("dataset", "my-own", *args, "--out", "out")
    assert outcome.code == 2
    assert "exists already: choose another name or folder" in outcome.error
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("predictor", "repeat"), "vpbench brings a predictor of this name"),
        (("predictor", "repeat", "--package"), "vpbench brings a predictor of this name"),
        (("metric", "scenes", "--package"), "a plugin of this name is installed"),
        (("metric", "torch"), "a module 'torch' exists already"),
        (("metric", "metrics", "--package"), "a plugin of this name is installed"),
        (("metric", "class"), "no keyword of Python"),
        (("metric", "My-Own"), "write lower-case words"),
        (("metric", "../mine"), "write lower-case words"),
        (("metric", "1st"), "write lower-case words"),
        (("metric", "a--b"), "write lower-case words"),
        (("metric", "a" * 61), "at most 60 characters"),
        (("metric", "my-own", "--trainable"), "a metric is not trained, only predictors are"),
        (("modle", "my-own"), "'modle' is not one of"),
    ],
)
def test_a_name_that_does_not_do_is_a_usage_error(new, args, words):
    outcome = new(*args)
    assert outcome.code == 2
    assert words in outcome.error
    assert list(Path().iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(new):
    Path("file").touch()
    for args in ((), ("--package",)):
        outcome = new("metric", "my-own", *args, "--out", "file/below")
        assert outcome.code == 1
        assert "file/below" in outcome.error


@pytest.fixture(scope="module")
def layered(tmp_path_factory):
    """The python of an environment that borrows every package of this one, vpbench too."""
    home = tmp_path_factory.mktemp("layered")
    venv.create(home, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    folders = [path for path in sys.path if path.endswith("site-packages") or Path(path, "vpbench").is_dir()]
    root = Path(__file__).parents[2]
    lines = [*folders, str(root), str(root / "plugins"), str(root / "datasets")]
    (site / "borrowed.pth").write_text("\n".join(dict.fromkeys(lines)) + "\n")
    return home / "bin" / "python"


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_a_package_installs_and_passes_its_own_test(new, layered, variant, tmp_path):
    kind, flags = variant
    name = label(variant)
    assert new(kind, f"own-{name}", *flags, "--package").code == 0
    root = tmp_path / f"vpbench-own-{name}"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("VPBENCH_PLUGINS", "PYTHON"))}

    def call(*command: object) -> str:
        process = subprocess.run(
            [str(part) for part in command], cwd=root, env=clean, capture_output=True, text=True, check=False
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    pip = [sys.executable, "-m", "pip", "--python", layered]
    call(*pip, "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", root)
    listed = json.loads(call(layered, "-m", "vpbench", "list", "--json"))["entries"]
    brought = [(e["kind"], e["name"]) for e in listed if e["plugin"] == f"vpbench-own-{name}"]
    assert brought == [(kind, f"own-{name}")]
    assert " passed" in call(layered, "-m", "pytest", "-p", "no:cacheprovider", "-v", "tests")
