"""Tables written for the terminal, for pages, papers and programs; no form obeys what the texts say."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup, escape
from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from medbench.common.terminal import printable
from medbench.errors import ReportError
from medbench.reports.tables import TextTable, as_records, said_once, with_columns

# Characters that fit side by side on a page of print (in small type) and on the screen; rows that fit on a
# page.
_PRINT_WIDTH = 105
_SCREEN_WIDTH = 125
_PAGE_LINES = 40
# What separates two columns.
_GAP = 3


def render_table(table: TextTable, form: str) -> str:
    """Write a table in one of :data:`FORMATS`.

    Args:
        table: The table.
        form: Name of the format.

    Raises:
        ReportError: The format is unknown.
    """
    if form not in FORMATS:
        raise ReportError(f"there is no table format {form!r}", hint=f"choose one of {', '.join(FORMATS)}")
    return FORMATS[form](table)


def terminal(table: TextTable, width: int) -> Group:
    """A table for the terminal, with what stands above and below it.

    Args:
        table: The table.
        width: Characters side by side.
    """
    table = said_once(table)
    shown = Table(
        title=Text(printable(table.title), style="bold") if table.title else None,
        header_style="bold",
        show_edge=False,
        pad_edge=False,
    )
    widths = _fixed_widths(table, width)
    for i, (header, right, fixed) in enumerate(zip(table.headers, table.numeric, widths, strict=True)):
        shown.add_column(
            # Text, not markup: names come from files.
            Text(printable(header)),
            justify="right" if right else "left",
            overflow="fold",
            width=fixed,
            no_wrap=table.whole and i == 0,
        )
    for i, row in enumerate(table.rows):
        styles = [_TERMINAL_STYLES[table.styles.get((i, j), "")] for j in range(len(row))]
        shown.add_row(*(Text(printable(cell), style=style) for cell, style in zip(row, styles, strict=True)))
    lead = [Text(printable(line)) for line in table.lead]
    return Group(*lead, shown, *(Text(printable(note), style="dim") for note in table.notes))


_TERMINAL_STYLES = {"": "", "bold": "bold", "warn": "yellow", "bad": "red"}


def _fixed_widths(table: TextTable, room: int) -> list[int | None]:
    """Widths of the columns of numbers where a table must be folded: names and headings give way to them.

    All ``None`` (let every column give way) if there is room for all, or too little for that.
    """
    room -= 3 * (len(table.headers) - 1)
    full, whole = [], []
    for header, *cells in zip(table.headers, *table.rows, strict=True):
        widest = max(map(cell_len, map(printable, cells)), default=0)
        full.append(max(widest, cell_len(printable(header))))
        whole.append(max(widest, *map(cell_len, printable(header).split())))
    # A name can still be read in pieces of ten characters.
    least = [
        number if right else min(name, 10)
        for number, name, right in zip(whole, full, table.numeric, strict=True)
    ]
    folded = sum(least) <= room < sum(full)
    return [width if folded and right else None for width, right in zip(whole, table.numeric, strict=True)]


def page_table(table: TextTable, *, sortable: bool = True) -> Markup:
    """A table as an element of a page, with its title as the caption.

    Args:
        table: The table.
        sortable: Whether the page's script lets readers sort it.
    """
    head = "".join(
        f"<th scope=col{_html_class(right, '')}>{escape(name)}</th>"
        for name, right in zip(table.headers, table.numeric, strict=True)
    )
    body = "\n".join(
        "<tr>" + "".join(_html_cell(table, i, j, cell) for j, cell in enumerate(row)) + "</tr>"
        for i, row in enumerate(table.rows)
    )
    caption = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    return Markup(  # noqa: S704 - all texts in it were escaped
        f"<table{' class=sortable' * sortable}>{caption}<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table>"
    )


def _html_cell(table: TextTable, i: int, j: int, cell: str) -> str:
    style = table.styles.get((i, j), "")
    named = _html_class(table.numeric[j], "" if style == "bold" else style)
    content = f"<b>{escape(cell)}</b>" if style == "bold" and cell else escape(cell)
    return f"<th scope=row{named}>{content}</th>" if j == 0 else f"<td{named}>{content}</td>"


def _html_class(right: bool, style: str) -> str:
    names = ["number"] * right + [style] * bool(style)
    return f' class="{" ".join(names)}"' if len(names) > 1 else f" class={names[0]}" if names else ""


def _pages(table: TextTable, room: int) -> list[TextTable]:
    """The parts of a table that fit a page: without columns set aside, and cut where it is too wide.

    Args:
        table: The table.
        room: Characters side by side.
    """
    table = said_once(table)
    table = with_columns(table, [i for i, name in enumerate(table.headers) if name not in table.aside])
    columns = zip(table.headers, *table.rows, strict=True)
    widths = [max(map(len, column)) + _GAP for column in columns]
    keys = list(range(min(table.keys, len(widths))))
    parts = _cut(widths[len(keys) :], room - sum(widths[: len(keys)]))
    return [with_columns(table, [*keys, *(len(keys) + i for i in part)]) for part in parts]


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
        line([_emphasized(_markdown_cell(cell), (i, j), table, "**{}**") for j, cell in enumerate(row)])
        for i, row in enumerate(table.rows)
    ]
    rule = ["---:" if right else "---" for right in table.numeric]
    return "\n".join([line([_markdown_cell(name) for name in table.headers]), line(rule), *body])


def _emphasized(cell: str, place: tuple[int, int], table: TextTable, form: str) -> str:
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
        records = as_records(table.data)
        names = list(records[0]) if records else list(getattr(table.data, "columns", table.headers))
        lines = [names, *(list(row.values()) for row in records)]
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
    title = said_once(table).title
    caption = [rf"\caption{{{_latex_text(title)}}}"] if title else []
    lead = [rf"\par\smallskip {_latex_text(text)}" for text in table.lead]
    notes = [rf"\par\smallskip\footnotesize {_latex_text(note)}" for note in table.notes]
    parts = _pages(table, _PRINT_WIDTH)
    if len(table.rows) > _PAGE_LINES:
        # A float cannot go over several pages.
        opening, closing, needs = [], [], "booktabs,longtable"
        body = [line for part in parts for line in _latex_part(part, [f"{line} \\\\" for line in caption])]
    else:
        opening, closing, needs = (
            [r"\begin{table}", r"\centering\footnotesize", *caption],
            [r"\end{table}"],
            "booktabs",
        )
        body = [line for part in parts for line in (*_latex_part(part, None), r"\par\medskip")][:-1]
    lines = [rf"% needs \usepackage{{{needs}}}", *opening, *lead, *body, *notes, *closing]
    return "\n".join(lines) + "\n"


def _latex_part(table: TextTable, caption: list[str] | None) -> list[str]:
    """A table that fits a page: a ``tabular``, or with a caption of its own a ``longtable``."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    kind = "tabular" if caption is None else "longtable"
    columns = "".join("r" if right else "l" for right in table.numeric)
    head = [r"\toprule", line([_latex_text(name) for name in table.headers]), r"\midrule"]
    body = [
        line([_emphasized(_latex_text(cell), (i, j), table, r"\textbf{{{}}}") for j, cell in enumerate(row)])
        for i, row in enumerate(table.rows)
    ]
    repeated = [r"\endfirsthead", *head, r"\endhead", r"\bottomrule", r"\endfoot"]
    return [
        rf"\begin{{{kind}}}{{{columns}}}",
        *(caption or []),
        *head,
        *(body if caption is None else repeated),
        *([r"\bottomrule"] if caption is None else body),
        rf"\end{{{kind}}}",
    ]


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(str(text).split()))


def _html(table: TextTable) -> str:
    table = said_once(table)
    lead, notes = ("".join(f"<p>{escape(text)}</p>" for text in texts) for texts in (table.lead, table.notes))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(table.title)}</title><style>{_STYLE}</style></head><body>\n{lead}"
        f"{page_table(table, sortable=False)}\n{notes}</body></html>\n"
    )


_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,'Noto Sans CJK SC',sans-serif;margin:2rem}"
    "table{border-collapse:collapse}caption{text-align:left;font-weight:700;padding-bottom:.5rem}"
    "th,td{padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8886;text-align:left}"
    "tbody th{font-weight:400}.number{text-align:right;font-variant-numeric:tabular-nums}"
)

#: Renderers by name.
FORMATS: dict[str, Callable[[TextTable], str]] = {
    "markdown": _markdown,
    "csv": _csv,
    "latex": _latex,
    "html": _html,
}
