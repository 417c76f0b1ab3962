"""Comparisons and rankings of models with and without routers, on tasks of every kind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.truth import tables
from tests.truth.comparisons import Difference, check_json, check_ranking, differences, group_shares, ranking
from tests.truth.ledger import Shown, rows_shown, text_rows
from tests.truth.runs import Made, said, said_json
from tests.truth.scores import expected_scores


def flat(text: str) -> list[str]:
    """Sentences that a terminal breaks into lines, as lines again."""
    return re.sub(r" *\n(?=[a-z0-9(])(?!\S+ beside )", " ", text).splitlines()


def check_leaderboard(results: Path, rows: list[dict[str, Any]], *words: object) -> None:
    """Compare the ranking as a table and as CSV with its JSON."""
    columns = dict(tables.RANKING)
    for name in rows[0]:
        if name.startswith(("language.", "family.")):
            columns[name.partition(".")[2]] = tables.Column((name,), 100)
    tables.check_rest(["leaderboard", results, *words], rows, columns, "model", "rank")
    for row, printed in zip(rows, text_rows(said("leaderboard", results, *words)), strict=True):
        ends = (row["rank_low"], row["rank_high"])
        brackets = "" if ends[0] == ends[1] else f" ({ends[0]}–{ends[1]})"
        assert printed["rank"] == f"{row['rank']}{brackets}"


@pytest.mark.slow
@pytest.mark.ci
def test_differences(evaluated: tuple[Path, list[Made]]) -> None:
    results, (demo, *others) = evaluated
    rows = said_json("compare", results, "--baseline", "demo")
    expected: dict[tuple[str, str], Difference] = {
        (made.model, task): row for made in others for task, row in differences(made, demo).items()
    }
    check_json(rows, rows_shown("compare --json", rows, "model", "task"), expected)
    words = ["compare", results, "--baseline", "demo"]
    tables.check_rest(words, rows, tables.COMPARISON, "model", "task", "metric")
    for made in others:
        summary = next(line for line in flat(said(*words)) if line.startswith(f"{made.model} beside demo"))
        mine = [row for row in rows if row["model"] == made.model and row["kind"] == "task"]
        found = [(column, word) for column in ("unadjusted", "verdict") for word in ("worse", "better")]
        counts = [sum(row[column] == word for row in mine) for column, word in found]
        numbers = [int(n) for n in re.findall(r"\d+(?= (?:tasks|worse|better|tests|undecided))", summary)]
        assert numbers == [len(mine), *counts, len(mine), len(mine) - sum(counts[2:])]


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("group", ["ceval_medical", "cmexam"])
def test_ranking_over_a_group(evaluated: tuple[Path, list[Made]], group: str) -> None:
    results, every = evaluated
    rows = said_json("leaderboard", results, "--suite", group)
    expected = ranking(every, group_shares(every[0], group))
    check_ranking(rows, rows_shown("leaderboard --json", rows, "model"), expected)
    check_leaderboard(results, rows, "--suite", group)


@pytest.mark.slow
@pytest.mark.ci
def test_ranking_over_tasks(evaluated: tuple[Path, list[Made]]) -> None:
    results, every = evaluated
    asked = ["promptcblue_chip_ctc", "pubmedqa", "cmexam"]
    words = [word for task in asked for word in ("-t", task)]
    rows = said_json("leaderboard", results, *words)
    names = ["promptcblue_chip_ctc", "pubmedqa", "cmexam_single", "cmexam_multiple"]
    expected = ranking(every, dict.fromkeys(names, 0.25))
    check_ranking(rows, rows_shown("leaderboard --json", rows, "model"), expected)
    check_leaderboard(results, rows, *words)


@pytest.mark.slow
@pytest.mark.ci
def test_tasks_by_models(evaluated: tuple[Path, list[Made]]) -> None:
    results, every = evaluated
    rows = said_json("scores", results)
    shown = rows_shown("scores --json", rows, "model", "task")
    for made in every:
        expected = expected_scores(made)
        for task, row in made.main.items():
            value, low, high, n, _ = expected[task, row["metric"]]
            for name, truth in (("value", value), ("low", low), ("high", high), ("n", n)):
                shown.number((made.model, task, name), truth)
    shown.closed("num_fewshot", "version")
    tables.check_csv(said("scores", results, "-f", "csv"), rows)
    for printed in text_rows(said("scores", results)):
        mine = {row["model"]: row for row in rows if row["task"] == printed["task"]}
        table = Shown("scores", {(name,): cell for name, cell in printed.items()})
        table.number(("n",), max(row["n"] for row in mine.values()))
        for made in every:
            if made.model in mine:
                table.number((made.model,), 100 * mine[made.model]["value"])
        table.closed("task", "metric")
