"""The shipped definitions are sound, and the keys written out here are lm-eval's own."""

from __future__ import annotations

from dataclasses import fields

import pytest

from medbench.catalog import build_index
from medbench.catalog.trust import LM_EVAL_METRICS, code_uses
from medbench.checks import check_tasks, keys


def test_shipped_definitions_say_nothing_wrong() -> None:
    report = check_tasks(behave=False)
    assert report.ok, "\n".join(map(str, report.findings))
    index = build_index()
    assert set(report.checked) == {*index.tasks, *index.groups}
    assert not index.faults


def test_shipped_tasks_would_need_no_leave() -> None:
    assert [use for task in build_index().tasks.values() for use in code_uses(task)] == []


@pytest.mark.slow
def test_shipped_tasks_behave() -> None:
    report = check_tasks()
    assert report.ok, "\n".join(map(str, report.findings))
    assert len(report.renderings) == 3 * len(build_index().tasks)


def test_keys_are_those_of_lm_eval() -> None:
    from lm_eval.config.group import GroupConfig
    from lm_eval.config.task import TaskConfig

    theirs = {field.name for field in fields(TaskConfig)}
    assert theirs - keys.TASK_KEYS == set()
    assert keys.TASK_KEYS - theirs == {"class", "include"}
    assert {field.name for field in fields(GroupConfig)} <= keys.GROUP_KEYS


def test_metrics_and_aggregations_are_those_of_lm_eval() -> None:
    import lm_eval.api.metrics  # noqa: F401  registers them
    from lm_eval.api.registry import AGGREGATION_REGISTRY, METRIC_REGISTRY

    assert set(METRIC_REGISTRY) == LM_EVAL_METRICS
    assert set(AGGREGATION_REGISTRY) == keys.AGGREGATIONS
