"""What a run says of written answers reaches its tasks, and those of one token stay as they are."""

from __future__ import annotations

from typing import Any

import pytest

from medbench.catalog import resolve_tasks
from medbench.runs.loading import load_tasks
from medbench.runs.settings import RunSettings

TASKS = ["pubmedqa_cot", "pubmedqa_direct", "promptcblue_meddg", "pubmedqa"]


def _kwargs(**settings: Any) -> dict[str, dict[str, Any]]:
    definitions = resolve_tasks(TASKS).tasks
    loaded, failures = load_tasks(definitions, RunSettings(data_source="samples", **settings))
    assert not failures
    return {name: dict(task.config.generation_kwargs or {}) for name, task in loaded.items()}


def test_the_limit_of_new_tokens_is_replaced() -> None:
    plain, longer = _kwargs(), _kwargs(max_gen_toks=4096)
    for name in ("pubmedqa_cot", "promptcblue_meddg"):
        assert plain[name]["max_gen_toks"] != 4096
        assert longer[name] == plain[name] | {"max_gen_toks": 4096}
    assert longer["pubmedqa_cot"]["second_pass"] == plain["pubmedqa_cot"]["second_pass"]
    for name in ("pubmedqa_direct", "pubmedqa"):
        assert longer[name] == plain[name]


@pytest.mark.parametrize("closing", [True, False])
def test_unfinished_reasoning_is_closed_where_answers_are_written(closing: bool) -> None:
    found = _kwargs(close_thinking=closing)
    assert [name for name, kwargs in found.items() if kwargs.get("close_thinking")] == (
        ["pubmedqa_cot", "promptcblue_meddg"] if closing else []
    )
