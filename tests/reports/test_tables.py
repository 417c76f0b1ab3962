"""Tables as Markdown, CSV, LaTeX and HTML; every format disarms its own dangerous characters."""

from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console

from medbench.analysis import Published, Runs, compare, leaderboard
from medbench.errors import ReportError
from medbench.reports.formats import interval_text, p_text, score_text, signed_text
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
    assert score_text(0.6349) == "63.5"
    assert score_text(12.3456) == "12.35"
    assert score_text(None) == score_text(float("nan")) == "–"
    assert signed_text(-0.05) == "−5.0"
    assert signed_text(0.05) == "+5.0"
    assert interval_text(-0.1, 0.2) == "[−10.0, 20.0]"
    assert score_text(1.0000000000000002) == "100.0"
    assert interval_text(0.774, 1.032) == "[77.4, 103.2]"
    assert interval_text(12.5, 31.0) == "[12.5, 31]"
    assert interval_text(float("nan"), 0.2) == "–"
    assert p_text(0.0004) == "< 0.001"
    assert p_text(0.0421) == "0.042"
