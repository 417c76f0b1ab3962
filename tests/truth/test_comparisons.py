"""Comparisons and rankings of models with and without routers, on tasks of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.truth.comparisons import Difference, check_json, check_ranking, differences, group_shares, ranking
from tests.truth.ledger import rows_shown
from tests.truth.runs import Made, said_json


@pytest.mark.slow
@pytest.mark.ci
def test_differences(evaluated: tuple[Path, list[Made]]) -> None:
    results, (demo, *others) = evaluated
    rows = said_json("compare", results, "--baseline", "demo")
    expected: dict[tuple[str, str], Difference] = {
        (made.model, task): row for made in others for task, row in differences(made, demo).items()
    }
    check_json(rows, rows_shown("compare --json", rows, "model", "task"), expected)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("group", ["ceval_medical", "cmexam"])
def test_ranking_over_a_group(evaluated: tuple[Path, list[Made]], group: str) -> None:
    results, every = evaluated
    rows = said_json("leaderboard", results, "--suite", group)
    expected = ranking(every, group_shares(every[0], group))
    check_ranking(rows, rows_shown("leaderboard --json", rows, "model"), expected)


@pytest.mark.slow
@pytest.mark.ci
def test_ranking_over_tasks(evaluated: tuple[Path, list[Made]]) -> None:
    results, every = evaluated
    tasks = ["promptcblue_chip_ctc", "pubmedqa", "cmexam"]
    rows = said_json("leaderboard", results, *(word for task in tasks for word in ("-t", task)))
    names = ["promptcblue_chip_ctc", "pubmedqa", "cmexam_single", "cmexam_multiple"]
    expected = ranking(every, dict.fromkeys(names, 0.25))
    check_ranking(rows, rows_shown("leaderboard --json", rows, "model"), expected)
