"""Tables of text in Markdown, CSV, LaTeX and HTML, each with its dangerous characters made harmless."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medbench.errors import ReportError

__all__ = ["FORMATS", "TextTable", "render_table"]


@dataclass(frozen=True)
class TextTable:
    """A table of texts.

    Attributes:
        headers: Column headings.
        rows: Cells, as many per row as headings.
        numeric: Which columns are aligned to the right.
        notes: Lines below the table.
        title: Caption.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool]
    notes: Sequence[str] = ()
    title: str = ""


def render_table(table: TextTable, form: str) -> str:
    """Write a table in one of :data:`FORMATS`.

    Raises:
        ReportError: The format is unknown.
    """
    if form not in FORMATS:
        raise ReportError(f"there is no table format {form!r}", hint=f"choose one of {', '.join(FORMATS)}")
    return FORMATS[form](table)


def _markdown(table: TextTable) -> str:
    rule = ["---:" if right else "---" for right in table.numeric]
    lines = [[_markdown_cell(cell) for cell in row] for row in (table.headers, *table.rows)]
    lines.insert(1, rule)
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "".join(f"\n\n{_markdown_cell(note)}" for note in table.notes)
    return f"**{_markdown_cell(table.title)}**\n\n{body}{notes}\n" if table.title else f"{body}{notes}\n"


def _markdown_cell(text: str) -> str:
    # Markdown passes HTML through, and a bar or a line break would end the cell.
    flat = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\|`*_\[\]])", r"\\\1", flat)


def _csv(table: TextTable) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in (table.headers, *table.rows):
        writer.writerow([_csv_cell(cell) for cell in row])
    return out.getvalue()


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def _csv_cell(text: str) -> str:
    # A spreadsheet takes such a cell for a formula (OWASP, "CSV injection"); numbers keep their sign.
    if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not _NUMBER.fullmatch(text):
        text = f"'{text}"
    # The writer quotes cells with line feeds, but would leave a lone carriage return to end the row.
    return text.replace("\r", "\n")


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "−": r"$-$",
    "±": r"$\pm$",
}


def _latex(table: TextTable) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(_latex_text(cell) for cell in cells) + r" \\"

    columns = "".join("r" if right else "l" for right in table.numeric)
    caption = [rf"\caption{{{_latex_text(table.title)}}}"] if table.title else []
    notes = [rf"\par\smallskip\footnotesize {_latex_text(note)}" for note in table.notes]
    return (
        "\n".join(
            [
                "% needs \\usepackage{booktabs}",
                r"\begin{table}",
                r"\centering",
                *caption,
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                line(table.headers),
                r"\midrule",
                *(line(row) for row in table.rows),
                r"\bottomrule",
                r"\end{tabular}",
                *notes,
                r"\end{table}",
            ]
        )
        + "\n"
    )


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(str(text).split()))


def _html(table: TextTable) -> str:
    def cells(row: Sequence[str], name: str) -> str:
        return "".join(
            f"<{name}{' class=number' if right else ''}>{html.escape(cell)}</{name}>"
            for cell, right in zip(row, table.numeric, strict=True)
        )

    caption = f"<caption>{html.escape(table.title)}</caption>" if table.title else ""
    body = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in table.rows)
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in table.notes)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(table.title)}</title><style>{_STYLE}</style></head><body>\n"
        f"<table>{caption}<thead><tr>{cells(table.headers, 'th')}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table>\n"
        f"{notes}</body></html>\n"
    )


_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,'Noto Sans CJK SC',sans-serif;margin:2rem}"
    "table{border-collapse:collapse}caption{text-align:left;font-weight:700;padding-bottom:.5rem}"
    "th,td{padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8886;text-align:left}"
    ".number{text-align:right;font-variant-numeric:tabular-nums}"
)

#: Renderers by name.
FORMATS: dict[str, Callable[[TextTable], str]] = {
    "markdown": _markdown,
    "csv": _csv,
    "latex": _latex,
    "html": _html,
}
