from __future__ import annotations

import pytest

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
