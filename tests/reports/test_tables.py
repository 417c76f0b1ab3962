"""Tables as Markdown, CSV, LaTeX and HTML; every format disarms its own dangerous characters."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from medbench.analysis import Published, Runs, compare, leaderboard
from medbench.analysis.units import with_units
from medbench.errors import ReportError
from medbench.reports.formats import (
    interval_text,
    metric_text,
    number_text,
    p_text,
    percent_text,
    score_text,
    signed_text,
)
from medbench.reports.results import comparison_table, leaderboard_table
from medbench.reports.tables import FORMATS, TextTable, render_table
from medbench.reports.terminal import scores_table

TABLE = TextTable(
    headers=["name", "score"],
    rows=[['=HYPERLINK("x")', "-1.5"], ["a|b & 50% <b>_x_</b> $\\alpha^2~#{}", "–"], ["中文", "+3"]],
    numeric=[False, True],
    notes=["a note, with | and %"],
    title="A & B",
)


def test_csv_cells_are_no_formulas() -> None:
    rows = list(csv.reader(io.StringIO(render_table(TABLE, "csv"))))
    assert rows[0] == ["name", "score"]
    assert rows[1] == ['\'=HYPERLINK("x")', "-1.5"]
    assert rows[3] == ["中文", "+3"]
    for start in ("@cmd", "+cmd|' /C calc'!A0", "-2+3", "\tx", "\rx", "=1"):
        text = render_table(TextTable(["h"], [[start]], [False]), "csv").partition("\n")[2]
        assert next(csv.reader(io.StringIO(text, newline=""))) == ["'" + start.replace("\r", "\n")]


def test_latex_is_escaped_and_uses_booktabs() -> None:
    text = render_table(TABLE, "latex")
    assert r"a|b \& 50\% \textless{}b\textgreater{}\_x\_\textless{}/b\textgreater{}" in text
    assert r"\$\textbackslash{}alpha\textasciicircum{}2\textasciitilde{}\#\{\}" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    assert r"\begin{tabular}{lr}" in text
    assert r"\caption{A \& B}" in text


def test_markdown_cells_end_where_they_end() -> None:
    lines = render_table(TABLE, "markdown").splitlines()
    assert lines[0] == "**A & B**" or lines[0] == "**A &amp; B**"
    assert lines[3] == "| --- | ---: |"
    row = lines[5]
    assert r"a\|b" in row
    assert "<b>" not in row
    assert r"\_x\_" in row


def test_html_is_escaped() -> None:
    text = render_table(TABLE, "html")
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    assert "class=number" in text


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(ReportError, match="markdown"):
        render_table(TABLE, "pdf")


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_results_are_written_in_every_format(runs: Runs, form: str) -> None:
    board = leaderboard(runs, published=[Published("else|where", "a <paper>", {"cmexam": 0.5})], draws=100)
    text = render_table(leaderboard_table(board), form)
    assert "cmexam" in text
    assert "missing" in text
    assert "<i>late" not in text if form != "csv" else "<i>late</i>" in text
    frame = compare(runs, "qwen", draws=100)
    assert "undecided" in render_table(comparison_table(frame), form) or "better" in render_table(
        comparison_table(frame), form
    )


def test_leaderboard_shows_rank_intervals_and_warns_of_samples(runs: Runs) -> None:
    table = leaderboard_table(leaderboard(runs, draws=200))
    assert table.headers[:4] == ["rank", "model", "average", "95% interval"]
    assert [row[1] for row in table.rows] == ["demo", "<i>late</i>", "qwen"]
    assert table.notes[0] == "Bundled samples, not a benchmark score."


def test_terminal_table_shows_texts_as_they_are(runs: Runs) -> None:
    console = Console(width=160, file=io.StringIO(), force_terminal=False)
    console.print(scores_table(runs.scores()))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "<i>late</i>" in text
    assert "suite" in text
    assert "samples" in text
    lines = [line for line in text.splitlines() if "suite" in line]
    assert len(lines) == 3
    one = Console(width=160, file=io.StringIO())
    one.print(scores_table(runs.select(model="demo").scores().assign(task="[bold]中文[/bold]")))
    assert "[bold]中文[/bold]" in one.file.getvalue()  # type: ignore[attr-defined]


def test_numbers() -> None:
    assert score_text(0.6349, "share") == percent_text(0.6349) == "63.5"
    assert score_text(12.3456, "number") == number_text(12.3456) == "12.35"
    assert score_text(None, "share") == score_text(float("nan"), "number") == "–"
    assert signed_text(-0.05, "share") == "−5.0"
    assert signed_text(0.05, "share") == "+5.0"
    assert signed_text(-0.05, "number") == "−0.05"
    assert interval_text(-0.1, 0.2, "share") == "[−10.0, 20.0]"
    assert interval_text(0.774, 1.032, "share") == "[77.4, 103.2]"
    assert interval_text(0.774, 31.0, "number") == "[0.774, 31]"
    assert interval_text(float("nan"), 0.2, "share") == "–"
    assert metric_text("acc", "share") == "acc"
    assert metric_text("perplexity", "number") == "perplexity (number)"
    assert p_text(0.0004) == "< 0.001"
    assert p_text(0.0421) == "0.042"


@pytest.mark.parametrize("value", [-0.4, 0.0, 0.0031, 0.83, 1.0, 1.0000000000000002, 1.7, 2.13, 57.25, 4e4])
def test_the_size_of_a_number_does_not_tell_how_it_is_written(value: float) -> None:
    assert float(score_text(value, "share")) == pytest.approx(100 * value, abs=0.05)
    assert float(score_text(value, "number")) == pytest.approx(value, rel=1e-3)
    low, high = interval_text(value, value + 3, "share").strip("[]").replace("−", "-").split(", ")
    assert float(high) - float(low) == pytest.approx(300, abs=0.11)


def test_tables_write_every_score_in_the_unit_of_its_metric(runs: Runs) -> None:
    scores = runs.select(model="demo").scores()
    one = scores[scores["kind"] == "task"].iloc[[0]]
    named = [("acc", "mean"), ("bits_per_byte", "bits_per_byte"), ("own", "mean"), ("f1", "f1")]
    rows = pd.concat(
        one.assign(task=f"task{i}", metric=metric, aggregation=aggregation, value=0.83, low=0.7, high=1.2)
        for i, (metric, aggregation) in enumerate(named)
    )
    console = Console(width=160, file=io.StringIO())
    console.print(scores_table(with_units(rows)))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line.replace("│", " ").split() for line in text.splitlines() if line.startswith("task")][1:]
    assert lines[0][1:5] == ["acc", "83.0", "[70.0,", "120.0]"]
    assert lines[1][1:6] == ["bits_per_byte", "(number)", "0.83", "[0.7,", "1.2]"]
    assert lines[2][1:6] == ["own", "(number)", "0.83", "[0.7,", "1.2]"]
    assert lines[3][1:3] == ["f1", "83.0"]


def test_comparison_and_ranking_write_differences_in_the_unit_of_the_metric(runs: Runs) -> None:
    frame = (
        compare(runs, "qwen", draws=100)
        .iloc[:2]
        .assign(
            metric=["acc", "own"],
            unit=["share", "number"],
            difference=-0.5,
            low=-1.5,
            high=0.5,
            detectable=2.0,
        )
    )
    table = comparison_table(frame)
    shown = [dict(zip(table.headers, row, strict=True)) for row in table.rows]
    assert [row["difference"] for row in shown] == ["−50.0", "−0.5"]
    assert [row["95% interval"] for row in shown] == ["[−150.0, 50.0]", "[−1.5, 0.5]"]
    assert [row["detectable"] for row in shown] == ["200.0", "2"]
    board = leaderboard(runs, draws=100)
    task = next(iter(board.tasks))
    ranked = leaderboard_table(replace(board, units={**board.units, task: "number"}))
    assert f"{task} (number)" in ranked.headers
    assert "average (number)" in ranked.headers
    best = ranked.rows[0][ranked.headers.index(f"{task} (number)")]
    assert 0 <= float(best) <= 1
