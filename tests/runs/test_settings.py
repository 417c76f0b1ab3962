from __future__ import annotations

from typing import Any

import pytest

from medbench.errors import RunError
from medbench.runs.settings import RunSettings, canonical_hash


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"limit": 0}, "limit must be at least 1"),
        ({"limit": -3}, "limit must be at least 1"),
        ({"num_fewshot": -1}, "cannot be -1"),
        ({"routing": "tokenz"}, "unknown routing level 'tokenz'"),
        ({"max_batch_tokens": 0}, "token budget"),
        ({"max_batch_tokens": "lots"}, "token budget"),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        RunSettings(**fields)


def test_identity_covers_what_changes_answers_and_nothing_else() -> None:
    plain = RunSettings().identity()
    assert RunSettings(max_batch_tokens=64, data_dir="elsewhere", data_source="folder").identity() == plain
    for fields in (
        {"limit": 3},
        {"num_fewshot": 1},
        {"seed": 2},
        {"shuffle_options": 1},
        {"circular": True},
        {"system_prompt": "x"},
        {"chat_template": False},
        {"routing": "documents"},
    ):
        assert RunSettings(**fields).identity() != plain, fields


def test_canonical_hash_ignores_order_only() -> None:
    assert canonical_hash({"a": 1, "b": [1, 2]}) == canonical_hash({"b": [1, 2], "a": 1})
    assert canonical_hash({"a": 1, "b": [1, 2]}) != canonical_hash({"a": 1, "b": [2, 1]})
