"""The house rules: floors, no plugin known by name, a light front door, short modules, every hook documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import click
import pytest

import vpbench
from vpbench.names import Selector
from vpbench.plugin import hookspecs
from vpbench.plugin.loader import load_plugins
from vpbench.protocol.suite import Suite

ROOT = Path(__file__).parents[1]
HARNESS = sorted((ROOT / "vpbench").rglob("*.py"))
FLOORS = {
    "errors": 0,
    "temporary": 0,
    "allocator": 1,
    "files": 1,
    "names": 1,
    "output": 1,
    "paths": 1,
    "validation": 1,
    "plugin": 2,
    "toolkit": 3,
    "scaffold": 3,
    "protocol": 4,
    "select": 5,
    "results": 6,
    "clips": 7,
    "evaluation": 8,
    "testing": 9,
    "training": 9,
    "pages": 10,
    "submission": 11,
    "report": 11,
    "cli": 12,
    "__main__": 13,
}
SHIPPED = [*HARNESS, *(path for root in ("plugins", "datasets") for path in sorted((ROOT / root).rglob("*.py")))]
FOR_PLUGINS = {"errors", "files", "names", "output", "paths", "plugin", "toolkit", "validation"}
HEAVY = {"torch", "torchvision", "numpy", "cv2", "av", "pydantic", "jaxtyping", "lightning", "skimage", "PIL"}
FUNCTION_WORDS = set(
    re.findall(
        r"\w+",
        """
    again all alike alone any apart asked beside both done each every found given held here how instead its kept known
    less likewise made mine more most none nor one other others otherwise ours own owned rest said seen shown some
    stuff such taken that theirs there these thing things this those together told wanted what when where which who
    whose why yours
    """,
    )
)
NAMED_SO = {
    "vpbench/plugin/dataset.py": {"found"},  # a plugin passes it
    "vpbench/select/weights_record.py": {"kept", "seen"},  # fields of published records
    "plugins/vpbench_metrics/fused.py": {"_ONE"},  # the number
}


@cache
def source_of(path: Path) -> str:
    return path.read_text()


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """Every node of a file; the first is the module."""
    return list(ast.walk(ast.parse(source_of(path))))


@cache
def string_literals(path: Path) -> set[str]:
    """The string constants of a file, but for those of ``__all__``, which are identifiers."""
    tree = ast.parse(source_of(path))
    exports = [n for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"]
    skipped = {id(node) for export in exports for node in ast.walk(export)}
    constants = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in skipped]
    return {node.value for node in constants if isinstance(node.value, str)}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "vpbench" else parts[1:]).removesuffix(".__init__")


def imports_of(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that import statements ask for: ``a`` of ``import a``, ``a.b`` of ``from a import b``."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import: {ast.unparse(node)}"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@cache
def imported_modules(path: Path) -> set[str]:
    """Every module that a file imports, at whatever level."""
    return imports_of(nodes_of(path))


def calls_of(path: Path) -> list[ast.Call]:
    return [node for node in nodes_of(path) if isinstance(node, ast.Call)]


def run_on_import(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported: outside of functions and of ``if TYPE_CHECKING``."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from run_on_import(ast.iter_child_nodes(node))


def upward_imports(path: Path) -> list[str]:
    floor = FLOORS[path.relative_to(ROOT / "vpbench").with_suffix("").parts[0]]
    inside = [name for name in imported_modules(path) if name.split(".")[0] == "vpbench"]
    return [name for name in inside if FLOORS[name.split(".")[1]] > floor]


def test_imports_go_down_the_floors_only():
    rooms_and_modules = [path for path in HARNESS if path != ROOT / "vpbench" / "__init__.py"]
    assert not {relative(path): upward_imports(path) for path in rooms_and_modules if upward_imports(path)}


def foreign_imports(path: Path) -> list[str]:
    """The imports of a plugin from another plugin, or from a floor that is not for plugins."""
    package = module_name(path).split(".")[0]
    names = [name.split(".") for name in imported_modules(path) if name.startswith("vpbench")]
    return [".".join(n) for n in names if n[0] != package and (n[0] != "vpbench" or n[1] not in FOR_PLUGINS)]


def test_a_plugin_imports_only_itself_and_the_floors_for_plugins():
    plugins = [path for path in SHIPPED if path not in HARNESS]
    assert not {relative(path): foreign_imports(path) for path in plugins if foreign_imports(path)}


@pytest.mark.slow
def test_no_modules_import_each_other():
    modules = {module_name(path): path for path in SHIPPED}
    graph = {}
    for module, path in modules.items():
        names = imports_of(run_on_import(nodes_of(path)[0].body))
        targets = names | {name.rpartition(".")[0] for name in names}
        graph[module] = (targets & modules.keys()) - {module}
    assert len(tuple(TopologicalSorter(graph).static_order())) == len(modules)  # raises CycleError


def private_names_of_others(path: Path) -> set[str]:
    source, attributes = source_of(path), [node for node in nodes_of(path) if isinstance(node, ast.Attribute)]
    private = {n.attr for n in attributes if n.attr.startswith("_") and not n.attr.startswith("__")}
    private.discard("_exit")  # os._exit is documented
    imported = {
        name for name in imported_modules(path) if name.startswith("vpbench") and "._" in name.replace("__", "")
    }
    return imported | {name for name in private if f"self.{name}" not in source and f"def {name}(" not in source}


def test_private_names_stay_in_their_module():
    assert not {relative(path): private_names_of_others(path) for path in SHIPPED if private_names_of_others(path)}


def bound_names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield every name that a module binds: variables, attributes, parameters, functions, classes and aliases."""
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.arg(arg=name) | ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name


@pytest.mark.parametrize("folder", ["vpbench", "plugins", "datasets", "tests", "benchmarks"])
def test_names_are_no_function_words(folder):
    """A reader who lands in the middle of a function knows from its name what a variable holds."""
    names = {
        f"{relative(path)}: {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in set(bound_names(nodes_of(path))) - NAMED_SO.get(relative(path), set())
        if not name.startswith("__") and name.strip("_").lower() in FUNCTION_WORDS
    }
    assert not names


@pytest.mark.parametrize(
    "source",
    [
        "other = 1",
        "a.other: int = 1",
        "for a, *other in b: pass",
        "[1 for other in a]",
        "import a as other",
        "def other(): pass",
        "async def other(): pass",
        "class other: pass",
        "def a(*, other): pass",
        "lambda *other: 1",
        "def a(**other): pass",
        "try: pass\nexcept A as other: pass",
        "match a:\n    case [1, other]: pass",
        "match a:\n    case [1, *other]: pass",
        "match a:\n    case {1: 2, **other}: pass",
    ],
)
def test_every_kind_of_binding_is_looked_at(source):
    assert "other" in set(bound_names(ast.walk(ast.parse(source))))


@pytest.mark.parametrize("folder", ["vpbench", "plugins", "datasets", "tests", "benchmarks"])
def test_docstrings_begin_with_their_subject(folder):
    sentences = {
        f"{relative(path)}: {node.value.value.strip()[:60]}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in nodes_of(path)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    assert len(sentences) > 50
    assert not [text for text in sentences if re.search(r": (What|Of|That|Nor)\b", text)]


@pytest.mark.slow
def test_every_dependency_is_imported():
    """Shipped code imports each run-time dependency of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=\[ ]", text)[0] for text in project["dependencies"]}
    packages = {name.split(".")[0] for path in SHIPPED for name in imported_modules(path)}
    providers = packages_distributions()
    distributions = {distribution for package in packages for distribution in providers.get(package, [])}
    assert not names - distributions


def rooms() -> list[Path]:
    return sorted(path.parent for path in HARNESS if path.name == "__init__.py" and path.parent.parent != ROOT)


@pytest.mark.parametrize("room", rooms(), ids=relative)
def test_a_room_says_what_happens_in_it(room):
    doc = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    assert len(re.findall(r"\.(?=\s|$)", doc)) >= 3


def test_no_room_holds_more_than_a_quarter_of_the_harness():
    lines = {path: len(path.read_text().splitlines()) for path in HARNESS}
    for room in rooms():
        assert sum(n for path, n in lines.items() if path.is_relative_to(room)) <= sum(lines.values()) / 4, room.name


def test_the_harness_knows_no_plugin():
    registered = {name for _, name in load_plugins().entries}
    assert len(registered) > 10, "first-party plugins are not installed"
    for path in HARNESS:
        assert not [name for name in imported_modules(path) if name.startswith("vpbench_")], relative(path)
        assert not registered & string_literals(path), relative(path)


def command_line_flags() -> set[str]:
    group = importlib.import_module("vpbench.cli.main").cli
    context = click.Context(group)
    commands = [group.get_command(context, name) for name in group.list_commands(context)]
    commands += [command for entry in commands for command in getattr(entry, "commands", {}).values()]
    return {flag for entry in commands for param in entry.params for flag in param.opts if flag.startswith("--")}


def test_only_the_command_line_names_its_flags():
    flags = command_line_flags()
    assert {"--allow-partial", "--take", "--out"} <= flags
    for path in [path for path in HARNESS if path.parent.name != "cli"]:
        words = {word.strip("`'\".,:;()") for text in string_literals(path) for word in text.split()}
        assert not words & flags, relative(path)


def test_modules_are_short():
    assert not [relative(path) for path in SHIPPED if len(source_of(path).splitlines()) > 350]


@pytest.mark.parametrize("name", vpbench.__all__)
def test_public_names_import(name):
    assert getattr(vpbench, name) is not None
    assert name in dir(vpbench)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        vpbench.evalute  # noqa: B018


def first_party_packages() -> list[str]:
    return sorted(
        p.parent.name for root in ("plugins", "datasets") for p in (ROOT / root).glob("vpbench_*/__init__.py")
    )


def command(*args: str) -> str:
    return f"from vpbench.cli.main import _run; assert _run({list(args)!r}) == 0"


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [
        "import vpbench",
        *(f"import {name}" for name in first_party_packages()),
        command("--help"),
        command("list"),
        command("list", "--json"),
        command("plugins"),
    ],
)
def test_the_front_door_is_light(statement):
    """Looks at a fresh interpreter: nothing heavy is loaded by listing, helping or registering."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    path = os.pathsep.join(map(str, [ROOT, ROOT / "plugins", ROOT / "datasets"]))
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.returncode == 0, process.stderr
    assert not HEAVY & set(json.loads(process.stderr.splitlines()[-1]))


def hooks() -> list[str]:
    return sorted(name for name, value in vars(hookspecs).items() if hasattr(value, "vpbench_spec"))


def test_there_are_seven_hooks():
    kinds = ["annotators", "commands", "datasets", "metrics", "networks", "predictors", "protocols"]
    assert hooks() == [f"register_{kind}" for kind in kinds]


@pytest.mark.parametrize("name", hooks())
def test_every_hook_is_documented_with_its_exact_signature(name):
    source = inspect.getsource(getattr(hookspecs, name))
    definition = next(line for line in source.splitlines() if line.startswith("def ")).rstrip(":")
    assert definition.endswith(" -> None")
    assert definition in (ROOT / "docs" / "plugins.md").read_text()


def test_all_lists_what_exists():
    for module in map(importlib.import_module, map(module_name, HARNESS)):
        assert not [name for name in getattr(module, "__all__", []) if not hasattr(module, name)], module.__name__


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "suites").glob("*.toml")), ids=relative)
def test_every_suite_asks_for_what_there_is(path):
    plugins, suite = load_plugins(), Suite.read(path)
    assert suite.name == path.stem
    for job in suite.jobs():
        plugins.load("protocol", job.protocol)
        name, preset = job.entry.selector.name, job.entry.selector.argument
        target = plugins.load("predictor", name)
        assert not preset or preset in target.presets, job.entry.name
        if job.entry.options:
            target.Options(**{**(target.presets[preset] if preset else {}), **job.entry.options})
        for annotator in {**suite.annotate, **job.entry.annotate}.values():
            plugins.load("annotator", annotator)


def test_the_matrix_forgets_no_plugin():
    """Every first-party predictor that runs without an argument, on every protocol; only ceilings lack some."""
    plugins = load_plugins()
    suite = tomllib.loads((ROOT / "suites" / "matrix.toml").read_text())
    entries = {kind: [e for e in plugins.of(kind) if e.plugin == "vpbench"] for kind in ("protocol", "predictor")}
    targets = {entry.name: entry.load() for entry in entries["predictor"]}
    runnable = {name for name, target in targets.items() if not getattr(target, "argument", "")}
    listed = [(Selector.parse(entry["name"]).name, entry) for entry in suite["predictors"]]
    assert sorted(suite["protocols"]) == [entry.name for entry in entries["protocol"]]
    assert {name for name, _ in listed} == runnable
    for name in runnable:
        if not targets[name].info.oracle:
            covered = [
                p
                for predictor, entry in listed
                if predictor == name
                for p in entry.get("protocols", suite["protocols"])
            ]
            assert sorted(covered) == sorted(suite["protocols"]), name


def test_all_that_is_printed_is_escaped():
    """Text of files and plugins reaches a terminal through ``vpbench.output`` only."""
    writers = {"print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write"}
    for path in [path for path in HARNESS if path.name != "output.py"]:
        assert not writers & {ast.unparse(call.func) for call in calls_of(path)}, relative(path)


def test_files_of_other_people_are_parsed_by_one_module():
    """Values that this process wrote itself are read back with ``json.loads``; files and TOML are not."""
    for path in [path for path in HARNESS if path.name != "files.py"]:
        for call in calls_of(path):
            function = ast.unparse(call.func)
            assert function != "json.load" and not function.startswith("tomllib."), relative(path)
            assert function != "json.loads" or "read_text" not in ast.unparse(call), relative(path)
