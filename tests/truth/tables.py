"""Tables for people and for scripts, held to values that were computed again before."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.truth.ledger import Shown, exactly, text_rows
from tests.truth.runs import said


class Column(NamedTuple):
    """How a table for people writes some values of a row.

    Attributes:
        fields: Names of the values.
        scale: Factor, 100 for percent; for scores it follows from the row's unit.
        digits: Significant digits, where trailing zeros are left out.
    """

    fields: tuple[str, ...]
    scale: float = 1
    digits: int | None = None


def score(*fields: str) -> Callable[[Mapping[str, Any]], Column]:
    """A column of scores: in percent if the row's unit says so."""

    def column(row: Mapping[str, Any]) -> Column:
        return Column(fields, 100) if row["unit"] == "share" else Column(fields, 1, 4)

    return column


Columns = Mapping[str, Column | Callable[[Mapping[str, Any]], Column]]

COMPARISON: Columns = {
    "n": Column(("n",)),
    "demo": score("baseline_score"),
    "score": score("score"),
    "difference": score("difference"),
    "95% interval": score("low", "high"),
    "p": Column(("p_value",)),
    "p adjusted": Column(("p_adjusted",)),
    "flips": Column(("wins", "losses")),
    "detectable": score("detectable"),
}
RUN: Columns = {"score": score("value"), "95% interval": score("low", "high"), "n": Column(("n",))}
RANKING: Columns = {
    "average": Column(("score",), 100),
    "95% interval": Column(("low", "high"), 100),
    "n": Column(("n",)),
}
FIGURES: Columns = {
    "value": Column(("value",), 1, 3),
    "95% interval": Column(("low", "high"), 1, 3),
    "chance": Column(("chance",), 1, 3),
    "tokens": Column(("tokens",)),
}
SIMILARITY: Columns = {
    "similarity": Column(("similarity",), 1, 3),
    "95% interval": Column(("low", "high"), 1, 3),
    "split half": Column(("split_half",), 1, 3),
}
KINDS: Columns = {
    "expert": Column(("expert",)),
    "rate": Column(("rate",), 100),
    "95% interval": Column(("low", "high"), 100),
    "other kinds": Column(("elsewhere",), 100),
    "chance": Column(("chance",), 100),
}
CHANGES: Columns = {
    "layer": Column(("layer",)),
    "expert": Column(("expert",)),
    "load": Column(("load",), 100),
    "other": Column(("load_other",), 100),
    "difference": Column(("difference",), 100),
    "chance": Column(("load_chance",), 100),
}
AGREEMENT: Columns = {
    "layer": Column(("layer",)),
    "observed": Column(("observed",), 1, 3),
    "chance": Column(("chance",), 1, 3),
    "kappa": Column(("kappa",), 1, 3),
    "95% interval": Column(("low", "high"), 1, 3),
    "top1": Column(("top1",), 1, 3),
    "chance of top1": Column(("top1_chance",), 1, 3),
}


def check_text(text: str, rows: Sequence[Mapping[str, Any]], columns: Columns, *names: str) -> int:
    """Compare every number of a table in the terminal with the values of its rows, in their order.

    Args:
        text: What was printed.
        rows: The values.
        columns: What each heading stands for.
        names: Headings of texts, whose digits are no numbers.
    """
    printed = text_rows(text)
    assert len(printed) == len(rows)
    shown = Shown("text", {(i, name): cell for i, row in enumerate(printed) for name, cell in row.items()})
    for i, row in enumerate(rows):
        for heading, found in columns.items():
            column = found(row) if callable(found) and not isinstance(found, Column) else found
            assert isinstance(column, Column)
            values = [row[name] for name in column.fields]
            if heading in ("p", "p adjusted") and values[0] is not None and values[0] < 0.001:
                shown.text((i, heading), "< 0.001")
                shown.numbers += 1
                continue
            if heading == "flips":
                values[1] = -values[1]
            truths = [exactly(float("nan") if value is None else value * column.scale) for value in values]
            shown.several((i, heading), *truths, digits=column.digits)
    return shown.closed(*names)


def check_rest(
    words: Sequence[object], rows: Sequence[Mapping[str, Any]], columns: Columns, *names: str
) -> None:
    """Compare what a command prints as a table and as CSV with the rows of its JSON, checked before.

    Args:
        words: The command.
        rows: The rows.
        columns: What each heading of the table stands for.
        names: Headings of texts.
    """
    check_csv(said(*words, "-f", "csv"), rows)
    check_text(said(*words), rows, columns, *names)


def check_csv(text: str, rows: Sequence[Mapping[str, Any]]) -> int:
    """Compare every cell of a CSV with the values of its rows: a value a cell, numbers as numbers."""
    table = list(csv.DictReader(io.StringIO(text)))
    assert len(table) == len(rows)
    compared = 0
    for cells, row in zip(table, rows, strict=True):
        for name, cell in cells.items():
            value = row[name]
            if isinstance(value, (bool, str)):
                assert cell == (str(value).lower() if isinstance(value, bool) else value), name
            elif value is None:
                assert cell == "", name
            elif isinstance(value, (int, float)):
                assert float(cell) == value, name
                compared += 1
    assert compared
    return compared
