"""Tables as Markdown, CSV, LaTeX and HTML; every format disarms its own dangerous characters."""

from __future__ import annotations

import ast
import csv
import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

import medbench
from medbench.analysis import Published, Runs, compare, leaderboard
from medbench.analysis.task_scores import task_scores
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
from medbench.reports.renderers import FORMATS, render_table, terminal
from medbench.reports.score_tables import comparison_table, leaderboard_table, run_table, score_table
from medbench.reports.sentences import samples_note
from medbench.reports.tables import TextTable

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
    assert "suite" in text
    assert "<i>late" not in text if form != "csv" else "<i>late</i>" in text
    frame = compare(runs, "qwen", draws=100)
    assert "better" in render_table(comparison_table(frame), form)
    assert "cmeee" in render_table(score_table(task_scores(runs)), form)


def test_leaderboard_shows_rank_intervals_and_warns_of_samples(runs: Runs) -> None:
    table = leaderboard_table(leaderboard(runs, draws=200))
    assert table.headers[:4] == ["rank", "model", "average", "95% interval"]
    assert [row[1] for row in table.rows] == ["demo", "<i>late</i>", "qwen"]
    assert table.notes[0] == "From bundled samples, no benchmark scores: cmeee_v2."


def test_terminal_table_shows_texts_as_they_are(runs: Runs) -> None:
    console = Console(width=160, file=io.StringIO(), force_terminal=False)
    console.print(terminal(run_table(runs.scores()), 160))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "<i>late</i>" in text
    assert "suite" in text
    assert "samples" in text
    lines = [line for line in text.splitlines() if "suite" in line]
    assert len(lines) == 3
    one = Console(width=160, file=io.StringIO())
    named = runs.select(model="demo").scores().assign(task="[bold]中文[/bold]")
    one.print(terminal(run_table(named), 160))
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
    console.print(terminal(run_table(with_units(rows)), 160))
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
    assert "average (number)" in ranked.headers
    assert 0 <= float(ranked.rows[0][ranked.headers.index("average (number)")]) <= 1


def _read(table: TextTable) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(render_table(table, "csv")))


def test_a_comparison_is_read_as_data(runs: Runs) -> None:
    frame = compare(runs, "qwen", draws=100)
    text = render_table(comparison_table(frame), "csv")
    assert "−" not in text
    read = pd.read_csv(io.StringIO(text), keep_default_na=True)
    assert list(read.columns) == list(frame.columns)
    numbers = ["n", "score", "baseline_score", "difference", "low", "high", "p_value", "p_adjusted", "wins"]
    for name in (*numbers, "losses", "detectable"):
        assert pd.api.types.is_numeric_dtype(read[name]), name
        # Every digit is kept.
        assert read[name].tolist() == pytest.approx(frame[name].tolist(), rel=0, abs=0, nan_ok=True)
    assert (read["difference"] < 0).any() or (frame["difference"] >= 0).all()


def test_a_leaderboard_and_scores_are_read_as_data(runs: Runs) -> None:
    board = leaderboard(runs, draws=100)
    read = _read(leaderboard_table(board))
    assert read["score"].tolist() == board.ranking["value"].tolist()
    assert read[["rank", "rank_low", "rank_high", "n"]].to_numpy().dtype.kind in "iu"
    frame = task_scores(runs)
    scores = _read(score_table(frame))
    assert scores["value"].tolist() == frame["value"].tolist()
    assert scores["best"].dtype == bool


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (-0.125, "-0.125"),
        (1e-9, "1e-09"),
        (0.1 + 0.2, "0.30000000000000004"),
        (float("nan"), ""),
        (float("inf"), ""),
        (None, ""),
        (pd.NA, ""),
        (True, "true"),
        (-3, "-3"),
        (["a", "b"], "a; b"),
        ([], ""),
        ("-1+2", "'-1+2"),
        ("a,b", '"a,b"'),
        (pd.Timestamp("2026-01-02"), "2026-01-02T00:00:00"),
    ],
)
def test_csv_cells_are_values(value: object, cell: str) -> None:
    data = pd.DataFrame({"x": pd.Series([value], dtype=object), "y": [0]})
    assert render_table(TextTable(["x"], [["?"]], [True], data=data), "csv") == f"x,y\n{cell},0\n"


def test_every_table_has_its_values() -> None:
    """A table that is made without data could be read by people alone: all go through what adds the data."""
    calls = [
        (path.name, node)
        for path in (Path(medbench.__file__).parent).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("TextTable", "text_table", "listing")
    ]
    assert len(calls) > 15
    made = [(name, call) for name, call in calls if ast.unparse(call.func) == "TextTable"]
    assert {name for name, _ in made} == {"tables.py"}
    assert all("data" in [keyword.arg for keyword in call.keywords] for _, call in made)


WIDE = TextTable(
    ["task", *(f"model number {i}" for i in range(30))],
    [[f"task_{i}", *(f"{i}.{j:02}" for j in range(30))] for i in range(3)],
    [False, *[True] * 30],
    title="Scores",
    lead=["One sentence & more."],
    styles={(1, 2): "bold", (2, 30): "bold"},
)


def test_wide_tables_are_cut_to_the_page() -> None:
    text = render_table(WIDE, "latex")
    heads = [line for line in text.splitlines() if line.startswith("task & ")]
    assert len(heads) > 3
    # None is left with a column or two.
    counts = [line.count("&") for line in heads]
    assert max(counts) - min(counts) <= 1
    assert all(len(line) <= 120 for line in text.splitlines() if " & " in line)
    assert [name for line in heads for name in line.removesuffix(r" \\").split(" & ")[1:]] == WIDE.headers[1:]
    assert text.count(r"\textbf{1.01}") == text.count(r"\textbf{2.29}") == 1
    assert text.count("textbf") == 2
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    lines = render_table(WIDE, "markdown").splitlines()
    assert max(map(len, lines)) <= 130
    assert "One sentence &amp; more." in lines
    assert sum("**2.29**" in line for line in lines) == 1
    assert "<b>2.29</b>" in render_table(WIDE, "html")


def test_long_tables_go_over_pages() -> None:
    rows = [[f"t{i}", "1"] for i in range(60)]
    text = render_table(TextTable(["task", "value"], rows, [False, True], title="T"), "latex")
    assert r"\begin{longtable}{lr}" in text
    assert r"\begin{table}" not in text
    assert "longtable}" in text.splitlines()[0]
    assert r"\caption{T} \\" in text


def test_columns_without_room_are_left_aside_on_paper(runs: Runs) -> None:
    table = comparison_table(compare(runs, "qwen", draws=100))
    for form in ("latex", "markdown"):
        assert "detectable &" not in render_table(table, form)
        assert "| detectable" not in render_table(table, form)
    assert "detectable</th>" in render_table(table, "html")


def test_a_ranking_of_a_whole_suite_fits_a_page(runs: Runs) -> None:
    for form in ("latex", "markdown"):
        text = render_table(leaderboard_table(leaderboard(runs, draws=50)), form)
        mark = " & " if form == "latex" else "| "
        assert max(len(line) for line in text.splitlines() if mark in line) <= 130


def test_the_best_of_what_may_be_compared_is_bold(runs: Runs) -> None:
    frame = task_scores(runs)
    table = score_table(frame)
    assert table.headers[:4] == ["task", "metric", "n", "demo"] or "demo" in table.headers
    for i, row in enumerate(table.rows):
        cells = {j: float(cell) for j, cell in enumerate(row) if j > 2}
        assert {j for j, value in cells.items() if value == max(cells.values())} == {
            j for place, j in table.bold if place == i
        }


def test_a_comparison_says_what_it_amounts_to(runs: Runs) -> None:
    frame = compare(runs, "qwen", draws=300)
    for (_, rows), sentence in zip(
        frame.groupby("model", sort=False), comparison_table(frame).lead, strict=True
    ):
        tasks = rows[rows["kind"] == "task"]
        assert sentence.startswith(f"{rows['model'].iloc[0]} beside qwen, {len(tasks)} tasks: ")
        alone, adjusted, undecided = sentence.partition(": ")[2].split("; ")
        for text, column in ((alone, "unadjusted"), (adjusted, "verdict")):
            for verdict in ("worse", "better"):
                names = tasks.loc[tasks[column] == verdict, "task"]
                assert f"{len(names)} {verdict}" in text
                assert all(name in text for name in names)
        assert undecided == f"{(tasks['verdict'] == 'undecided').sum()} undecided."
        assert (tasks["verdict"] == "better").any()


def test_rows_are_sorted_by_the_size_of_the_difference(runs: Runs) -> None:
    frame = compare(runs, "qwen", draws=100)
    for _, rows in frame.groupby(["model", "kind"], sort=False):
        sizes = rows["difference"].abs().tolist()
        assert sizes == sorted(sizes, reverse=True)


SAMPLED: dict[str, tuple[list[tuple[str, str, str | None]], str]] = {
    "all": ([("a", "t", "samples"), ("b", "t", "samples")], "Bundled samples, not a benchmark score."),
    "none": ([("a", "t", "folder"), ("b", "t", None)], ""),
    "a task": (
        [("a", "t", "samples"), ("a", "u", "folder"), ("b", "t", "samples"), ("b", "u", "folder")],
        "From bundled samples, no benchmark scores: t.",
    ),
    "a model": (
        [("a", "t", "samples"), ("b", "t", "folder")],
        "From bundled samples, no benchmark scores: all of a.",
    ),
    "a task of a model": (
        [("a", "t", "samples"), ("a", "u", "hub"), ("b", "t", "hub")],
        "From bundled samples, no benchmark scores: t of a.",
    ),
    "an unknown source": (
        [("a", "t", "samples"), ("b", "t", None)],
        "From bundled samples, no benchmark scores: all of a.",
    ),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_the_warning_of_samples_is_true_of_every_row(name: str) -> None:
    rows, text = SAMPLED[name]
    assert samples_note(pd.DataFrame(rows, columns=["model", "task", "data_source"])) == text
