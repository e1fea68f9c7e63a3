"""Write a page per registered name for the project's site: what it is, its options and presets, and its results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from vpbench.pages.boards import table_text
from vpbench.pages.numbers import number
from vpbench.plugin.loader import Entry, Plugins
from vpbench.results.result import Result
from vpbench.select.description import describe_entry

KINDS = {
    "predictor": "Predictors",
    "dataset": "Datasets",
    "metric": "Metrics",
    "protocol": "Protocols",
    "annotator": "Annotators",
}


def pages(plugins: Plugins, results: Sequence[Result]) -> dict[PurePosixPath, str]:
    """Return the text of each page by its path, with an index per kind."""
    texts = {}
    for kind, title in KINDS.items():
        entries = plugins.of(kind)
        folder = PurePosixPath("plugins") / f"{kind}s"
        rows = [[f"[{entry.name}]({entry.name}.md)", _cell(entry.summary), entry.plugin] for entry in entries]
        texts[folder / "index.md"] = f"# {title}\n\n{table_text(['name', 'what it is', 'package'], rows)}\n"
        texts |= {folder / f"{entry.name}.md": page(plugins, entry, results) for entry in entries}
    return texts


def page(plugins: Plugins, entry: Entry, results: Sequence[Result]) -> str:
    """Return the page of one registered name."""
    value = describe_entry(plugins, entry)
    sections = [f"# {entry.name}", _sentence(entry.summary), _command(entry)]
    sections += _documented(value)
    sections += _section("Options", _options(value.get("options", {})))
    sections += _section("Presets", _presets(value.get("presets", {})))
    sections += _section("Facts", _facts(value))
    sections += _section("Results", _results(entry, results))
    return "\n\n".join(sections) + "\n"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _command(entry: Entry) -> str:
    flags = {"predictor": "-m", "protocol": "-p", "metric": "--metric"}
    lines = [f"vpbench show {entry.kind}/{entry.name}"]
    if entry.kind in flags:
        lines.append(f"vpbench run {flags[entry.kind]} {entry.name}")
    if entry.trainer:
        lines.append(f"vpbench train -m {entry.name}")
    if entry.kind == "dataset":
        lines.append(f"vpbench data check {entry.name}")
    return "```sh\n" + "\n".join(lines) + "\n```"


def _documented(value: Mapping[str, Any]) -> Iterator[str]:
    if value.get("doc"):
        yield _fenced_examples(value["doc"])


def _fenced_examples(doc: str) -> str:
    """Return a docstring as markdown: its indented parts stay as they are, in a fence."""
    blocks: list[str] = []
    for block in doc.split("\n\n"):
        indented = block.startswith(("    ", ">>>")) or "\n    " in block
        blocks.append(f"```text\n{block}\n```" if indented else block)
    return "\n\n".join(blocks)


def _section(title: str, text: str) -> Iterator[str]:
    if text:
        yield f"## {title}\n\n{text}"


def _options(options: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [f"`{name}`", _default(option), _cell(option["type"]), _cell(option["description"])]
        for name, option in options.items()
    ]
    return table_text(["option", "default", "values", "meaning"], rows) if rows else ""


def _default(option: Mapping[str, Any]) -> str:
    if option["required"]:
        return "required"
    default = option["default"]
    if isinstance(default, Mapping):
        return "<br>".join(_code(f"{key}={value}") for key, value in default.items() if value is not None)
    return _code(str(default))


def _code(text: str) -> str:
    """Return a text as code in a cell; every character that markdown or HTML may read is written as its number."""
    safe = "".join(c if c.isalnum() or c in " .,=:/-" else f"&#{ord(c)};" for c in " ".join(text.split()))
    return f"<code>{safe}</code>"


def _presets(presets: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [_code(name), ", ".join(_code(f"{option}={value}") for option, value in values.items()) or "the defaults"]
        for name, values in presets.items()
    ]
    return table_text(["preset", "options that it sets"], rows) if rows else ""


def _facts(value: Mapping[str, Any]) -> str:
    facts = dict(value.get("info", {})) | {"package": value["plugin"]}
    if value.get("parameters"):
        facts["parameters"] = f"{value['parameters']:,}"
    facts |= {key: value[key] for key in ("engines", "label_space", "hash") if value.get(key)}
    facts |= value.get("protocol", {})
    rows = [
        [key.replace("_", " "), _cell(_text(fact))] for key, fact in facts.items() if fact not in ("", None, (), [], {})
    ]
    return table_text(["", ""], rows)


def _text(fact: Any) -> str:
    if isinstance(fact, Mapping):
        return "; ".join(f"{key}: {_text(value)}" for key, value in fact.items() if value not in ("", None))
    if isinstance(fact, (list, tuple)):
        return ", ".join(map(_text, fact))
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    return "any" if fact is None else str(fact)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _results(entry: Entry, results: Sequence[Result]) -> str:
    """Return the mean scores of a predictor's committed results, or links to the boards of a protocol or metric."""
    match entry.kind:
        case "predictor":
            return _scores([result for result in results if result.run.predictor == entry.name])
        case "protocol":
            return _boards(result for result in results if result.run.protocol.name == entry.name)
        case "dataset":
            return _boards(result for result in results if result.run.protocol.dataset.name == entry.name)
        case "metric":
            return _boards(result for result in results if entry.name in result.run.metrics)
        case _:
            return ""


def _boards(results: Iterable[Result]) -> str:
    names = sorted({result.run.protocol.name for result in results})
    return ", ".join(f"[{name}](../../leaderboards/{name}.md)" for name in names)


def _scores(results: Sequence[Result]) -> str:
    metrics = list(dict.fromkeys(metric for result in results for metric in result.summary.scores))
    rows = [
        [f"[{name}](../../leaderboards/{name}.md)", result.label, *(_mean(result, metric) for metric in metrics)]
        for result in results
        for name in [result.run.protocol.name]
    ]
    return table_text(["protocol", "row", *metrics], rows) + "\n\nMeans over the steps." if rows else ""


def _mean(result: Result, metric: str) -> str:
    score = result.summary.scores.get(metric)
    return number(score.mean, result.run.metrics[metric].decimals) if score else "—"
