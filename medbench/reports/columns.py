"""Columns of tables: a heading, and how a row fills its cell; each kind of number is written in one way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from medbench.reports.formats import (
    figure_text,
    interval_text,
    known,
    metric_text,
    p_text,
    percent_text,
    score_text,
    signed_text,
)

Row = Mapping[Any, Any]
#: How a cell stands out: a score in bold, a warning, or something bad.
Style = Literal["", "bold", "warn", "bad"]


@dataclass(frozen=True)
class Column:
    """A column of a table for people; programs read the values of the rows instead.

    Attributes:
        header: Heading.
        write: The text of a cell.
        numeric: Whether it is aligned to the right, and never folded.
        aside: Whether a page of print has no room for it.
        style: How the cell of a row stands out; not at all by default.
    """

    header: str
    write: Callable[[Row], str]
    numeric: bool = True
    aside: bool = False
    style: Callable[[Row], Style] | None = None


def text(key: str, header: str = "") -> Column:
    """Names and other texts, as they are.

    Args:
        key: Key of the value in a row.
        header: Heading; the key by default.
    """
    return Column(header or key, lambda row: str(row[key]), numeric=False)


def texts(*keys: str) -> list[Column]:
    """A column of texts for each key."""
    return [text(key) for key in keys]


def count(key: str, header: str = "") -> Column:
    """Whole numbers, with a comma between thousands."""
    return Column(header or key, lambda row: f"{row[key]:,}" if known(row[key]) else "–")


def percent(key: str, header: str = "") -> Column:
    """Shares, in percent."""
    return Column(header or key, lambda row: percent_text(row[key]))


def points(key: str, header: str = "") -> Column:
    """Differences of shares, in points with their sign."""
    return Column(header or key, lambda row: signed_text(row[key], "share"))


def figure(key: str, header: str = "") -> Column:
    """Figures of routing, with three significant digits."""
    return Column(header or key, lambda row: figure_text(row[key]))


def p_value(key: str, header: str = "") -> Column:
    """p-values."""
    return Column(header or key, lambda row: p_text(row[key]))


def metric() -> Column:
    """Names of metrics, marked where scores are not in percent."""
    return Column(
        "metric", lambda row: metric_text(str(row["metric"]), row["unit"]), numeric=False, aside=True
    )


def score(key: str, header: str, *, aside: bool = False) -> Column:
    """Scores in the unit of their row."""
    return Column(header, lambda row: score_text(row[key], row["unit"]), aside=aside)


def score_interval() -> Column:
    """Intervals of scores, or of differences, in the unit of their row."""
    return Column("95% interval", lambda row: interval_text(row["low"], row["high"], row["unit"]))


def figure_interval(low: str = "low", high: str = "high") -> Column:
    """Intervals of figures of routing."""

    def write(row: Row) -> str:
        return f"[{figure_text(row[low])}, {figure_text(row[high])}]" if known(row[low]) else "–"

    return Column("95% interval", write)


def percent_interval(low: str = "low", high: str = "high") -> Column:
    """Intervals of shares, in percent."""
    return Column("95% interval", lambda row: interval_text(row[low], row[high], "share"))
