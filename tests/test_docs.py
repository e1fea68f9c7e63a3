"""The documentation is true: its code runs, its commands parse, its tables agree with the code.

A block after the comment ``<!-- not run: REASON -->`` is only parsed.
"""

from __future__ import annotations

import doctest
import importlib.util
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy
import pytest

import vpbench
from vpbench.cli.main import State, cli
from vpbench.plugin.loader import load_plugins

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^(?:<!-- not run: (?P<reason>.+) -->\n+)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
FLAG = re.compile(r"(?<!\S)(--[a-z][a-z-]*|-[a-z])(?![\w-])")
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(#[^)\s]+)?\)")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    reason: str


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page, line, match["language"], match["text"], match["reason"] or "")


def relative(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands_of(block: Block) -> list[list[str]]:
    """The arguments of each ``vpbench`` command of a shell block; none of a block of output."""
    lines = block.text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if "vpbench " in line.split("#")[0]]
    starts = [(line, line.index("vpbench")) for line in words if "vpbench" in line]
    arguments = [line[start + 1 :] for line, start in starts]
    ends = [next((i for i, word in enumerate(line) if word in ("|", "&&", ">", ";")), len(line)) for line in arguments]
    return [[word for word in line[:end] if word != "..."] for line, end in zip(arguments, ends, strict=True)]


def parse(arguments: list[str]) -> None:
    """Parse options as the command line does, without looking at files or running anything."""
    command: click.Command = cli
    context = click.Context(cli, info_name="vpbench", obj=State())
    while isinstance(command, click.Group):
        name, *arguments = arguments
        subcommand = command.get_command(context, name)
        assert subcommand is not None, f"there is no command {name}"
        command, context = subcommand, click.Context(subcommand, parent=context, info_name=name)
    command.make_parser(context).parse_args(list(arguments))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_commands_parse(page):
    for block in blocks_of(page):
        if block.language in ("", "sh", "console"):
            for arguments in commands_of(block):
                try:
                    parse(arguments)
                except click.ClickException as error:
                    pytest.fail(f"{relative(page)}:{block.line}: vpbench {shlex.join(arguments)}: {error}")


# The files of a tutorial run one by one: tests/test_tutorials.py.
PYTHON_PAGES = [p for p in PAGES if p.parent.name != "tutorials" and any(b.language == "python" for b in blocks_of(p))]


@pytest.mark.slow
@pytest.mark.parametrize("page", PYTHON_PAGES, ids=relative)
def test_python_runs(page, tmp_path, monkeypatch, cache):
    """The blocks of a page run one after another in one namespace; ``# NAME.py`` as first line also makes that file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    namespace: dict[str, object] = {"__name__": "__docs__", "__file__": str(tmp_path / "docs.py")}
    for block in blocks_of(page):
        if block.language != "python":
            continue
        code = compile(block.text, f"{relative(page)}:{block.line}", "exec")
        if name := re.match(r"# (\w+)\.py\n", block.text):
            (tmp_path / f"{name[1]}.py").write_text(block.text)
            monkeypatch.delitem(sys.modules, name[1], raising=False)
        if not block.reason:
            exec(code, namespace)


@pytest.mark.parametrize("page", [p for p in (ROOT / "vpbench").rglob("*.py") if ">>> " in p.read_text()], ids=relative)
def test_examples_in_docstrings_run(page):
    module = importlib.import_module(".".join(page.relative_to(ROOT).with_suffix("").parts))
    failed, _ = doctest.testmod(module, extraglobs={"vpbench": vpbench, "np": numpy}, verbose=False)
    assert not failed


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_data_blocks_parse(page):
    parsers = {"toml": tomllib.loads, "json": json.loads}
    for block in blocks_of(page):
        if block.language in parsers:
            parsers[block.language](block.text)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_resolve(page):
    for target, anchor in LINK.findall(page.read_text()):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{relative(page)}: {target}"
        if anchor and path.suffix == ".md":
            titles = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor[1:] in slugs, f"{relative(page)}: {target}{anchor}"


@pytest.fixture
def generator(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_commands_is_generated(generator):
    assert (ROOT / "docs" / "commands.md").read_text() == generator.page(), "run `python docs/generate.py`"


def test_the_readme_shows_the_committed_leaderboard(generator):
    assert (ROOT / "README.md").read_text() == generator.readme(), "run `make readme`"


def test_the_comparison_shows_the_committed_results(generator):
    page = generator.comparison.page()
    assert generator.comparison.PAGE.read_text() == page, "run `python docs/generate.py`"


def test_the_pages_of_the_models_show_the_committed_results(generator):
    pages = generator.model_results.pages()
    assert {path.stem for path in pages} >= {"convlstm", "predrnn", "mim", "phydnet", "simvp", "tau", "cdnet"}
    stale = [path.name for path, text in pages.items() if path.read_text() != text]
    assert not stale, f"run `python docs/generate.py`: {stale}"


def test_every_environment_variable_is_documented(generator):
    sources = [p for root in ("vpbench", "plugins", "datasets") for p in (ROOT / root).rglob("*.py")]
    read = {name for path in sources for name in re.findall(r'"(VPBENCH_[A-Z]+)"', path.read_text())}
    assert generator.ENVIRONMENT.keys() == read


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_flags_exist(page, generator):
    """Every flag in backquotes is an option of some command, or of a script that the page names."""
    text = FENCE.sub("", page.read_text())
    root = click.Context(cli, info_name="vpbench", obj=State())
    parameters = [p for _, command in generator.commands_of(root) for p in command.params]
    flags = {flag for p in parameters for flag in [*p.opts, *p.secondary_opts]} | {"--version", "--help", "-h"}
    for script in re.findall(r"python ((?:benchmarks|docs)/\w+\.py)", page.read_text()):
        flags |= set(re.findall(r'"(--[a-z-]+)"', (ROOT / script).read_text()))
    for code in re.findall(r"`([^`\n]+)`", text):
        if not code.startswith(("python -", "pip", "make", "pytest", "ray ", "rsync ")):  # flags of others
            assert set(FLAG.findall(code)) <= flags, f"{relative(page)}: {code}"


def test_options_of_scenes_are_documented():
    from vpbench_scenes.dataset import Options

    names, defaults = [], []
    for first, second in re.findall(r"^\| (`.+?) \| (.+?) \|", (ROOT / "docs/datasets/scenes.md").read_text(), re.M):
        names += re.findall(r"`([a-z_]+)`", first)
        defaults += re.findall(r"`?(\[.+?\]|\w+)`?", second)
    documented = dict(zip(names, defaults, strict=False))
    fields = Options.model_fields
    assert fields.keys() <= documented.keys()
    for name, field in fields.items():
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        assert documented[name] == str(default), name


def test_the_tables_of_metrics_are_the_registered_metrics():
    """The tables before "Computation" name every registered metric, regions as METRIC and /REGION."""
    tables, _, _ = (ROOT / "docs" / "metrics.md").read_text().partition("## Computation")
    cells = re.findall(r"^\| (`[^|]+) \|", tables, re.MULTILINE)
    names = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell) if "..." not in name}
    regions = {name for name in names if name.startswith("/")}
    documented = names - regions | {f"{m}{region}" for m in ("mse", "mae", "psnr", "lpips") for region in regions}
    assert documented == {entry.name for entry in load_plugins([]).of("metric")}
