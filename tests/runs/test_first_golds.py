"""Where lm-eval fails to make a task because of its first document's gold, the documents are named."""

from __future__ import annotations

from typing import Any

import pytest

from medbench.runs.askable import refuse_first_golds
from medbench.runs.golds import GoldError
from tests.runs.building import config_of, make

ROW = {"id": "first", "question": "q", "answer": "A", "label": 0, "golds": [0], "choices": ["x", "y"]}
FIRST: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"label": 2, "answer": "B"}, {"doc_to_choice": "choices", "doc_to_target": "label"}, "position 2"),
    ({"label": -3}, {"doc_to_choice": "choices", "doc_to_target": "label"}, "position -3"),
    ({}, {"doc_to_choice": "choices", "doc_to_target": "{{label + 2}}"}, "position 2"),
    ({}, {"doc_to_choice": [False, True], "doc_to_target": 0}, "YAML reads no, yes"),
    ({}, {"doc_to_choice": [1, 2], "doc_to_target": 0}, "its choice 1 is 1"),
    ({}, {"doc_to_choice": ["", "x"], "doc_to_target": 0}, "its choice 1 is ''"),
    ({}, {"doc_to_target": "{{choices[5] | upper}}"}, "UndefinedError"),
]


@pytest.mark.parametrize(("values", "config", "message"), FIRST)
def test_the_first_document_is_named(values: dict[str, Any], config: dict[str, Any], message: str) -> None:
    rows = [{**ROW, **values}, {**ROW, "id": "second"}]
    with pytest.raises(Exception, match=r"^(?!.*first)"):
        make(rows, **config)
    with pytest.raises(GoldError, match="'first'") as caught:
        refuse_first_golds(config_of(rows, **config))
    assert message in caught.value.what


def test_other_failures_speak_for_themselves() -> None:
    refuse_first_golds(config_of([ROW], test_split="nowhere"))
    refuse_first_golds(config_of([ROW], doc_to_text="{{nothing}}"))
    refuse_first_golds(config_of([ROW]))
