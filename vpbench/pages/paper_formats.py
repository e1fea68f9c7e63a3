"""Write a table for a paper as LaTeX (booktabs), markdown, or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from vpbench.output import markdown
from vpbench.pages.boards import table_text
from vpbench.pages.latex import latex
from vpbench.pages.numbers import number
from vpbench.pages.overview import arrow
from vpbench.pages.paper import TIE, PaperCell, PaperColumn, PaperRow, PaperTable


def latex_table(table: PaperTable) -> str:
    """Return a floating table that needs the package booktabs."""
    groups = _groups(table.columns)
    top = [rf"\multicolumn{{{len(columns)}}}{{c}}{{{latex(_title(columns[0]))}}}" for columns in groups]
    rules, start = [], 2
    for columns in groups:
        rules.append(rf"\cmidrule(lr){{{start}-{start + len(columns) - 1}}}")
        start += len(columns)
    heads = ["predictor", *(column.head for column in table.columns)]
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{' '.join(map(latex, table.caption))}}}",
        rf"  \begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"    \toprule",
        f"    {' & '.join(['', *top])} \\\\",
        f"    {' '.join(rules)}",
        f"    {' & '.join(map(latex, heads))} \\\\",
        r"    \midrule",
        *_latex_rows(table),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_rows(table: PaperTable) -> Iterator[str]:
    for place, row in enumerate(table.rows):
        if row.partial and place and not table.rows[place - 1].partial:
            yield r"    \midrule"
        cells = [_latex_cell(column.cells[place], column.spec.decimals) for column in table.columns]
        yield f"    {' & '.join([latex(_name(row)), *cells])} \\\\"


def _latex_cell(cell: PaperCell, decimals: int) -> str:
    text = latex(number(cell.score.value, decimals)).replace("-", "$-$")
    text = {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}.get(cell.mark, text)
    if cell.score.spread is not None:
        text += rf" {{\scriptsize $\pm$ {number(cell.score.spread, decimals)}}}"
    return rf"{text}\,$\approx$" if cell.tied else text


def markdown_table(table: PaperTable) -> str:
    """Return a table in markdown, with its caption below."""
    heads = ["predictor", *(f"{markdown(_title(c))} {markdown(c.head)}" for c in table.columns)]
    rows = [
        [markdown(_name(row)), *(_markdown_cell(c.cells[place], c.spec.decimals) for c in table.columns)]
        for place, row in enumerate(table.rows)
    ]
    return f"{table_text(heads, rows)}\n\n{' '.join(map(markdown, table.caption))}\n"


def _markdown_cell(cell: PaperCell, decimals: int) -> str:
    text = number(cell.score.value, decimals)
    text = {"best": f"**{text}**", "second": f"<ins>{text}</ins>"}.get(cell.mark, text)
    if cell.score.spread is not None:
        text += f" ± {number(cell.score.spread, decimals)}"
    return f"{text} {TIE}" if cell.tied else text


def csv_table(table: PaperTable) -> str:
    """Return CSV: numbers in full precision; for each score, its spread over seeds and its mark."""
    identity, protocol = table.run.identity, table.run.protocol
    source = {
        "protocol": protocol.name,
        "version": protocol.version,
        "protocol_hash": identity.protocol,
        "clips_hash": identity.manifest,
    }
    heads = [*source, "predictor", "seeds", "remark"]
    for column in table.columns:
        name = f"{column.title} {column.head}"
        heads += [name, f"{name} spread", f"{name} mark"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    for place, row in enumerate(table.rows):
        cells = [column.cells[place] for column in table.columns]
        values = [value for cell in cells for value in (cell.score.value, cell.score.spread, _marks(cell))]
        writer.writerow([*source.values(), row.name, row.seeds, row.remark, *values])
    return text.getvalue()


def _marks(cell: PaperCell) -> str:
    return " ".join(filter(None, [cell.mark, "tie" if cell.tied else ""]))


FORMATS: dict[str, Callable[[PaperTable], str]] = {
    "latex": latex_table,
    "markdown": markdown_table,
    "csv": csv_table,
}
"""The writer of each format."""


def _groups(columns: Sequence[PaperColumn]) -> list[list[PaperColumn]]:
    return [list(group) for _, group in groupby(columns, key=lambda column: column.title)]


def _title(column: PaperColumn) -> str:
    unit = f" ({column.spec.unit})" if column.spec.unit else ""
    return f"{column.title}{unit} {arrow(column.spec.better)}".strip()


def _name(row: PaperRow) -> str:
    return f"{row.label} [{row.remark}]" if row.remark else row.label


def table_document(table: PaperTable) -> dict[str, Any]:
    """Return a table as values that JSON can hold, in full precision."""
    return {
        "protocol": table.run.protocol.name,
        "clips": table.clips,
        "recordings": table.recordings,
        "caption": table.caption,
        "rows": [asdict(row) for row in table.rows],
        "columns": [
            {"title": column.title, "head": column.head, "cells": [asdict(cell) for cell in column.cells]}
            for column in table.columns
        ],
    }
