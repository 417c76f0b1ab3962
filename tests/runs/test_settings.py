from __future__ import annotations

from typing import Any

import pytest

from medbench.errors import RunError
from medbench.runs.rescoring import asked_alike
from medbench.runs.settings import RunSettings, canonical_hash, recorded_settings


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"limit": 0}, "'limit' is 0, expected a positive whole number"),
        ({"limit": -3}, "'limit' is -3[\\s\\S]*--limit"),
        ({"num_fewshot": -1}, "'num_fewshot' is -1, expected a number of examples"),
        ({"routing": "tokenz"}, "'routing' is 'tokenz', expected one of off"),
        ({"max_batch_tokens": 0}, "'max_batch_tokens' is 0"),
        ({"max_batch_tokens": "lots"}, "'max_batch_tokens' is 'lots'"),
        ({"limit": "5"}, "'limit' is '5'"),
        ({"limit": 2.5}, "'limit' is 2.5"),
        ({"limit": True}, "'limit' is True"),
        ({"num_fewshot": "3"}, "'num_fewshot' is '3'"),
        ({"seed": "1"}, "'seed' is '1', expected a whole number"),
        ({"shuffle_options": 1.5}, "'shuffle_options' is 1.5"),
        ({"circular": "no"}, "'circular' is 'no', expected true or false"),
        ({"chat_template": 1}, "'chat_template' is 1, expected true or false"),
        ({"system_prompt": ["x"]}, "'system_prompt' is"),
        ({"data_source": None, "data_dir": 5}, "'data_dir' is 5, expected text"),
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
        {"add_bos_token": True},
        {"routing": "tasks"},
    ):
        assert RunSettings(**fields).identity() != plain, fields


def test_canonical_hash_ignores_order_only() -> None:
    assert canonical_hash({"a": 1, "b": [1, 2]}) == canonical_hash({"b": [1, 2], "a": 1})
    assert canonical_hash({"a": 1, "b": [1, 2]}) != canonical_hash({"a": 1, "b": [2, 1]})


NEW: dict[str, Any] = {
    "tasks": {"a": {}, "b": {}},
    "settings": {
        **RunSettings().identity(),
        "data_source": "auto",
        "chat_template": True,
        "system_prompt": "",
        "dtype": "float32",
        "device": "cpu",
        "max_batch_tokens": "auto",
        "engine": "native",
    },
    "chat_template": True,
    "system_prompt": "",
}
OLD = NEW | {
    "settings": {**RunSettings().identity(), "data_source": "auto", "max_batch_tokens": None},
}


def test_what_earlier_versions_recorded_is_read_as_used() -> None:
    for manifest in (NEW, OLD):
        found = recorded_settings(manifest)
        assert (found["chat_template"], found["system_prompt"], found["limit"]) == (True, "", None)
    assert recorded_settings({"settings": None}) == {}


@pytest.mark.parametrize("earlier", [NEW, OLD])
@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ({}, True),
        ({"device": "cuda"}, True),
        ({"dtype": "bfloat16"}, True),
        ({"max_batch_tokens": 64}, True),
        ({"engine": "another"}, True),
        ({"limit": 2}, False),
        ({"num_fewshot": 1}, False),
        ({"seed": 2}, False),
        ({"shuffle_options": 1}, False),
        ({"circular": True}, False),
        ({"routing": "tokens"}, False),
        ({"data_source": "samples"}, False),
        ({"chat_template": False}, False),
        ({"system_prompt": "Be brief."}, False),
    ],
)
def test_router_counts_are_taken_over_from_the_same_questions_only(
    earlier: dict[str, Any], changes: dict[str, Any], alike: bool
) -> None:
    beside = {name: value for name, value in changes.items() if name in ("chat_template", "system_prompt")}
    now = {**NEW, **beside, "settings": NEW["settings"] | changes}
    assert asked_alike(earlier, now) is alike
    assert not asked_alike(earlier, {**now, "tasks": {"a": {}}})
