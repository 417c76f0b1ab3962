from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from medbench.catalog.groups import Aggregate
from medbench.runs.scores import Group, group_rows
from medbench.runs.tables import ScoreRow
from medbench.statistics import interval


def _row(task: str, hits: int, n: int, source: str = "folder") -> ScoreRow:
    estimate = interval([1.0] * hits + [0.0] * (n - hits))
    return ScoreRow(
        task,
        "task",
        "acc",
        True,
        hits / n,
        estimate,
        n,
        "mean",
        True,
        "none",
        {"language": "zh", "data_source": source},
    )


def test_nested_groups_average_their_members_main_scores() -> None:
    rows = [_row("anatomy", 2, 4), _row("virology", 9, 12), _row("pubmedqa", 5, 10, "samples")]
    groups = [
        Group("suite", ("mmlu", "pubmedqa"), macro=True),
        Group("mmlu", ("anatomy", "virology"), macro=False),
    ]
    found = {(row.task, row.metric): row for row in group_rows(groups, rows)}
    assert found["mmlu", "weighted_average"].value == pytest.approx(11 / 16)
    assert found["mmlu", "macro_average"].value == pytest.approx((0.5 + 0.75) / 2)
    assert found["mmlu", "weighted_average"].main
    assert found["suite", "macro_average"].main
    assert found["suite", "macro_average"].value == pytest.approx((11 / 16 + 0.5) / 2)
    assert found["suite", "weighted_average"].value == pytest.approx((11 + 5) / 26)
    assert found["suite", "macro_average"].n == 26
    assert found["suite", "macro_average"].details["language"] == "zh"
    assert found["mmlu", "weighted_average"].details["data_source"] == "folder"
    assert found["suite", "macro_average"].details["data_source"] == "mixed"
    estimate = found["suite", "macro_average"].interval
    assert estimate is not None
    assert estimate.low < estimate.value < estimate.high


def test_a_group_with_a_member_missing_has_no_value() -> None:
    groups = [Group("suite", ("anatomy", "lost"), macro=True), Group("all", ("suite", "anatomy"), macro=True)]
    rows = group_rows(groups, [_row("anatomy", 2, 4)])
    assert {row.task for row in rows} == {"suite", "all"}
    assert all(row.value is None and row.interval is None for row in rows)


def _scored(task: str, metric: str, value: float, n: int, **fields: Any) -> ScoreRow:
    details = {"sample_len": n, "data_source": "task"}
    estimate = interval([1.0] * round(value * n) + [0.0] * (n - round(value * n)))._replace(value=value)
    settings: dict[str, Any] = {"main": False, "filter": "none", "higher_is_better": True} | fields
    return ScoreRow(
        task,
        "task",
        metric,
        settings["main"],
        value,
        estimate,
        n,
        "mean",
        settings["higher_is_better"],
        settings["filter"],
        details,
    )


TWO = [
    _scored("one", "acc", 0.5, 4, main=True),
    _scored("one", "acc_norm", 0.25, 4),
    _scored("two", "acc", 1.0, 12, main=True),
    _scored("two", "acc_norm", 0.5, 12),
]


@pytest.mark.parametrize(
    ("aggregate", "expected", "stands"),
    [
        (Aggregate("acc", None, True), {"none": (0.5 * 4 + 1.0 * 12) / 16}, True),
        (Aggregate("acc", ("none",), False), {"none": 0.75}, True),
        (Aggregate("acc_norm", None, True), {"none": (0.25 * 4 + 0.5 * 12) / 16}, False),
        (Aggregate("acc", ("strict",), True), {}, False),
        (Aggregate("f1", None, True), {}, False),
    ],
)
def test_lm_evals_average_of_a_metric(aggregate: Aggregate, expected: dict[str, float], stands: bool) -> None:
    rows = group_rows([Group("both", ("one", "two"), macro=False, aggregates=(aggregate,))], TWO)
    listed = {row.filter: row.value for row in rows if row.metric == aggregate.metric}
    assert listed == pytest.approx(expected)
    (main,) = (row for row in rows if row.main)
    assert (main.metric == aggregate.metric) == stands
    assert main.value is not None


def test_lm_evals_average_is_over_all_tasks_within_and_says_what_lacks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    groups = [
        Group("outer", ("inner", "two"), macro=True, aggregates=(Aggregate("acc", None, False),)),
        Group("inner", ("one", "three"), macro=True),
    ]
    scored = [*TWO, _scored("three", "f1", 0.9, 5, main=True)]
    with caplog.at_level("WARNING", "medbench"):
        rows = group_rows(groups, scored)
    (row,) = (row for row in rows if (row.task, row.metric) == ("outer", "acc"))
    assert row.value == pytest.approx(0.75)
    assert not row.main
    assert row.details["members"] == ["one", "two"]
    assert any("averaged without three" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (_scored("two", "perplexity", 1.0, 3, main=True, higher_is_better=False), "lower is better in some"),
        (replace(_scored("two", "bleu", 1.0, 3, main=True), value=37.0), "different units"),
    ],
)
def test_scores_that_have_no_average_get_none(
    other: ScoreRow, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "medbench"):
        rows = group_rows([Group("both", ("one", "two"), macro=True)], [TWO[0], other])
    assert all(row.value is None for row in rows)
    assert any(why in record.getMessage() for record in caplog.records)
