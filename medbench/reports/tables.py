"""Tables for people, with the values behind them for machines; no format obeys what the texts say."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from medbench.errors import ReportError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMATS", "TextTable", "as_records", "render_table", "said_once"]

# Characters that fit side by side on a page of print (in small type) and on the screen; rows that fit on a
# page.
_PRINT_WIDTH = 105
_SCREEN_WIDTH = 125
_PAGE_LINES = 40
# What separates two columns.
_GAP = 3


@dataclass(frozen=True)
class TextTable:
    """A table of texts, and of the values behind them.

    Attributes:
        headers: Column headings.
        rows: Cells, as many per row as headings.
        numeric: Which columns are aligned to the right.
        notes: Lines below the table.
        title: Caption.
        data: The values, a row each and one value a cell, for formats that programs read; ``None`` where
            texts are all there is.
        lead: Lines above the table, which say what it amounts to.
        bold: Row and column of cells that stand out.
        aside: Headings of columns that a page of print has no room for.
        keys: Leading columns that name a row, and are repeated where a table is cut.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool]
    notes: Sequence[str] = ()
    title: str = ""
    data: pd.DataFrame | None = None
    lead: Sequence[str] = ()
    bold: Collection[tuple[int, int]] = ()
    aside: Collection[str] = ()
    keys: int = 1


def render_table(table: TextTable, form: str) -> str:
    """Write a table in one of :data:`FORMATS`.

    Raises:
        ReportError: The format is unknown.
    """
    if form not in FORMATS:
        raise ReportError(f"there is no table format {form!r}", hint=f"choose one of {', '.join(FORMATS)}")
    return FORMATS[form](table)


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a frame as plain values: numbers keep every digit, and what is missing is ``None``."""
    known = frame.astype(object).where(frame.notna(), None)
    rows = known.itertuples(index=False, name=None)
    return [{str(name): _plain(cell) for name, cell in zip(frame.columns, row, strict=True)} for row in rows]


def said_once(table: TextTable) -> TextTable:
    """The table with a model or run that every row repeats told in the title instead."""
    columns = {header: {row[i] for row in table.rows} for i, header in enumerate(table.headers)}
    told = [name for name in ("model", "run") if len(columns.get(name, ())) == 1]
    if len(table.rows) < 2 or not told:
        return table
    names = ", ".join(next(iter(columns[name])) for name in told)
    kept = [i for i, header in enumerate(table.headers) if header not in told]
    return replace(_columns(table, kept), title=f"{table.title} ({names})")


def _columns(table: TextTable, kept: Sequence[int]) -> TextTable:
    """Only some columns of a table."""
    places = {old: new for new, old in enumerate(kept)}
    return replace(
        table,
        headers=[table.headers[i] for i in kept],
        numeric=[table.numeric[i] for i in kept],
        rows=[[row[i] for i in kept] for row in table.rows],
        bold={(row, places[column]) for row, column in table.bold if column in places},
        keys=max(1, sum(i < table.keys for i in kept)),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # of numpy
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.isoformat() if hasattr(value, "isoformat") else value


def _pages(table: TextTable, room: int) -> list[TextTable]:
    """The parts of a table that fit a page: without what is told elsewhere, and cut where it is too wide.

    Args:
        table: The table.
        room: Characters side by side.
    """
    table = said_once(table)
    table = _columns(table, [i for i, name in enumerate(table.headers) if name not in table.aside])
    columns = zip(table.headers, *table.rows, strict=True)
    widths = [max(map(len, column)) + _GAP for column in columns]
    keys = list(range(min(table.keys, len(widths))))
    parts = _cut(widths[len(keys) :], room - sum(widths[: len(keys)]))
    return [_columns(table, [*keys, *(len(keys) + i for i in part)]) for part in parts]


def _cut(widths: Sequence[int], room: int) -> list[list[int]]:
    """Places of columns in as few parts as fit the room, of about the same width."""

    def greedy(most: int) -> list[list[int]]:
        parts: list[list[int]] = [[]]
        for i, width in enumerate(widths):
            if parts[-1] and sum(widths[j] for j in parts[-1]) + width > most:
                parts.append([])
            parts[-1].append(i)
        return parts

    fewest = len(greedy(room))
    narrow = next(most for most in range(room + 1) if len(greedy(most)) == fewest) if room > 0 else room
    return greedy(narrow)


def _markdown(table: TextTable) -> str:
    parts = [_markdown_body(part) for part in _pages(table, _SCREEN_WIDTH)]
    title = said_once(table).title
    head = [f"**{_markdown_cell(title)}**"] if title else []
    notes = [_markdown_cell(note) for note in table.notes]
    return "\n\n".join([*head, *map(_markdown_cell, table.lead), *parts, *notes]) + "\n"


def _markdown_body(table: TextTable) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    body = [
        line([_emphasised(_markdown_cell(cell), (i, j), table, "**{}**") for j, cell in enumerate(row)])
        for i, row in enumerate(table.rows)
    ]
    rule = ["---:" if right else "---" for right in table.numeric]
    return "\n".join([line([_markdown_cell(name) for name in table.headers]), line(rule), *body])


def _emphasised(cell: str, place: tuple[int, int], table: TextTable, form: str) -> str:
    return form.format(cell) if place in table.bold and cell else cell


def _markdown_cell(text: str) -> str:
    # Markdown passes HTML through, and a bar or a line break would end the cell.
    flat = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\|`*_\[\]])", r"\\\1", flat)


def _csv(table: TextTable) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if table.data is None:
        lines: list[Sequence[Any]] = [table.headers, *table.rows]
    else:
        lines = [list(table.data.columns), *(list(row.values()) for row in as_records(table.data))]
    writer.writerows([_csv_cell(cell) for cell in row] for row in lines)
    return out.getvalue()


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def _csv_cell(value: Any) -> str:
    """A value as programs read it: numbers with every digit and a plain sign, nothing for what is missing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
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
    "·": r"$\cdot$",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
}


def _latex(table: TextTable) -> str:
    parts = _pages(table, _PRINT_WIDTH)
    title = said_once(table).title
    caption = rf"\caption{{{_latex_text(title)}}}" if title else ""
    lead = [rf"\par\smallskip {_latex_text(text)}" for text in table.lead]
    notes = [rf"\par\smallskip\footnotesize {_latex_text(note)}" for note in table.notes]
    if len(table.rows) > _PAGE_LINES:
        # A float cannot go over several pages.
        long = [line for part in parts for line in _longtable(part, caption)]
        return "\n".join([r"% needs \usepackage{booktabs,longtable}", *lead, *long, *notes]) + "\n"
    body = [line for part in parts for line in (*_tabular(part), r"\par\medskip")][:-1]
    opening = [r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering\footnotesize"]
    return "\n".join([*opening, *([caption] if caption else []), *lead, *body, *notes, r"\end{table}"]) + "\n"


def _tabular(table: TextTable) -> list[str]:
    head, body = _latex_lines(table)
    return [
        rf"\begin{{tabular}}{{{_latex_columns(table)}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _longtable(table: TextTable, caption: str) -> list[str]:
    head, body = _latex_lines(table)
    return [
        rf"\begin{{longtable}}{{{_latex_columns(table)}}}",
        *([rf"{caption} \\"] if caption else []),
        r"\toprule",
        head,
        r"\midrule",
        r"\endfirsthead",
        r"\toprule",
        head,
        r"\midrule",
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *body,
        r"\end{longtable}",
    ]


def _latex_columns(table: TextTable) -> str:
    return "".join("r" if right else "l" for right in table.numeric)


def _latex_lines(table: TextTable) -> tuple[str, list[str]]:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    body = [
        line([_emphasised(_latex_text(cell), (i, j), table, r"\textbf{{{}}}") for j, cell in enumerate(row)])
        for i, row in enumerate(table.rows)
    ]
    return line([_latex_text(name) for name in table.headers]), body


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(str(text).split()))


def _html(table: TextTable) -> str:
    table = said_once(table)

    def cells(row: Sequence[str], name: str, number: int = -1) -> str:
        texts = [
            _emphasised(html.escape(cell), (number, j), table, "<b>{}</b>") for j, cell in enumerate(row)
        ]
        return "".join(
            f"<{name}{' class=number' if right else ''}>{text}</{name}>"
            for text, right in zip(texts, table.numeric, strict=True)
        )

    caption = f"<caption>{html.escape(table.title)}</caption>" if table.title else ""
    body = "\n".join(f"<tr>{cells(row, 'td', number)}</tr>" for number, row in enumerate(table.rows))
    lead, notes = (
        "".join(f"<p>{html.escape(text)}</p>" for text in texts) for texts in (table.lead, table.notes)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(table.title)}</title><style>{_STYLE}</style></head><body>\n{lead}"
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
