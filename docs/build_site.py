"""Build the project's site: these pages, a page per plugin, the API reference and the report of the leaderboards.

    python docs/build_site.py --out site

``make site`` runs it. The pages are copied next to each other as they lie in the repository, so that every link stays
true; MkDocs then turns them into HTML. A warning, such as a link that leads nowhere, ends the build.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import api_pages
import plugin_pages
import yaml

from vpbench.files import write_atomic
from vpbench.plugin.loader import load_plugins
from vpbench.results.result import find_results, load

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)")
TOP = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
SETTINGS: Mapping[str, Any] = {
    "site_name": "vpbench",
    "site_description": "How good is a video-prediction model, at each step into the future?",
    "use_directory_urls": False,  # pages open from a folder; the search needs a server
    "theme": {
        "name": "material",
        "font": False,  # no request to another host
        "features": [
            "navigation.tabs",
            "navigation.indexes",
            "navigation.top",
            "content.code.copy",
            "search.highlight",
        ],
        "palette": [
            {
                "media": f"(prefers-color-scheme: {scheme})",
                "scheme": name,
                "primary": "blue grey",
                "toggle": {"icon": f"material/{icon}", "name": f"Switch to {other} mode"},
            }
            for scheme, name, icon, other in (
                ("light", "default", "weather-night", "dark"),
                ("dark", "slate", "weather-sunny", "light"),
            )
        ],
    },
    "markdown_extensions": ["admonition", "attr_list", "tables", "pymdownx.highlight", "pymdownx.superfences"],
    "plugins": [
        "search",
        {
            "mkdocstrings": {
                "handlers": {
                    "python": {
                        "options": {
                            "docstring_style": "google",
                            "show_root_heading": True,
                            "show_root_full_path": False,
                            "show_source": False,
                            "members_order": "source",
                            "separate_signature": True,
                            "show_signature_annotations": True,
                            "heading_level": 2,
                            "filters": ["!^_"],
                            "extensions": [str(ROOT / "docs" / "docstrings.py")],
                        }
                    }
                }
            }
        },
    ],
    "validation": {
        "nav": {"omitted_files": "ignore", "not_found": "warn", "absolute_links": "warn"},
        "links": {"not_found": "warn", "absolute_links": "warn", "unrecognized_links": "warn", "anchors": "warn"},
    },
}


def main() -> None:
    """Build the site into a folder, which is replaced whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "site")
    out = parser.parse_args().out.resolve()
    if out.exists() and not (out / "sitemap.xml").is_file():
        sys.exit(f"{out} exists and is no site of this command: name another folder with --out")
    with tempfile.TemporaryDirectory() as folder:
        staged = stage(Path(folder))
        built = Path(folder) / "site"
        build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(staged), "-d", str(built)]
        subprocess.run(build, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(built, out)


def stage(folder: Path) -> Path:
    """Write everything that MkDocs reads into a folder; return its configuration."""
    pages = folder / "pages"
    sources = [ROOT / "README.md", *(ROOT / name for name in TOP)]
    sources += sorted((ROOT / "docs").rglob("*.md")) + sorted((ROOT / "leaderboards").glob("*.md"))
    for source in sources:
        place = PurePosixPath("index.md") if source.name == "README.md" and source.parent == ROOT else _place(source)
        write_atomic(pages / place, _linked(source).encode())
        for target in _targets(source):
            if target.is_file() and target not in sources and not (pages / _place(target)).exists():
                write_atomic(pages / _place(target), target.read_bytes())
    plugins = load_plugins()
    results = [load(path) for path in find_results(ROOT / "leaderboards" / "results")]
    for path, text in (plugin_pages.pages(plugins, results) | api_pages.pages()).items():
        write_atomic(pages / path, text.encode())
    boards = ROOT / "leaderboards"
    report = ["report", str(boards / "results"), "--pictures", str(boards / "pictures"), "--out", str(pages / "report")]
    subprocess.run([sys.executable, "-m", "vpbench", *report], check=True, stdout=subprocess.DEVNULL)
    settings = {**SETTINGS, "docs_dir": str(pages), "nav": navigation(pages)}
    write_atomic(folder / "mkdocs.yml", yaml.safe_dump(settings, sort_keys=False).encode())
    return folder / "mkdocs.yml"


def _place(source: Path) -> PurePosixPath:
    return PurePosixPath(source.relative_to(ROOT).as_posix())


def _linked(source: Path) -> str:
    """Return the text of a page; links to the README lead to the site's first page."""
    text = source.read_text()
    return (
        re.sub(r"\]\(((?:\.\./)+)README\.md", r"](\1index.md", text) if source.parent != ROOT / "leaderboards" else text
    )


def _targets(source: Path) -> Iterator[Path]:
    for target in LINK.findall(source.read_text()):
        yield (source.parent / target).resolve()


def navigation(pages: Path) -> list[dict[str, Any]]:
    """Return the tabs of the site."""
    kinds = [{title: _titled(pages, f"plugins/{kind}s", ("index.md",))} for kind, title in plugin_pages.KINDS.items()]
    return [
        {"Start": "index.md"},
        {"Tutorials": _titled(pages, "docs/tutorials", ("model.md",))},
        {"Guides": _titled(pages, "docs")},
        {"Models": _titled(pages, "docs/models", ("comparison.md",))},
        {"Report": "report/index.html"},
        {"Leaderboards": _titled(pages, "leaderboards", ("README.md",))},
        {"Plugins": kinds},
        {"API": _titled(pages, "reference", tuple(f"{key}.md" for key in api_pages.GROUPS))},
        {"Project": [{name.removesuffix(".md").capitalize(): name} for name in TOP]},
    ]


def _titled(pages: Path, folder: str, first: Sequence[str] = ()) -> list[str | dict[str, str]]:
    """Return the pages of a folder under their titles; an index has none, since it is that of its section."""
    names = sorted(path.name for path in (pages / folder).glob("*.md"))
    paths = [f"{folder}/{name}" for name in [*first, *(name for name in names if name not in first)]]
    return [path if path.endswith("/index.md") else {_title(pages / path): path} for path in paths]


def _title(page: Path) -> str:
    heading = re.search(r"^# (.+)$", page.read_text(), re.MULTILINE)
    return heading[1] if heading else page.stem


if __name__ == "__main__":
    main()
