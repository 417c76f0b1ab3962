"""Which documents are asked: none with several right answers where one letter is given, and no leak."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from medbench.runs.askable import settle_documents
from medbench.runs.golds import GoldError, asks_for_one_letter
from medbench.runs.settings import RunSettings
from tests.runs.building import EXAM, exam, make, settle

GENERATE = {"output_type": "generate_until", "doc_to_choice": None}
ONE_LETTER = [
    EXAM,
    GENERATE | {"generation_kwargs": {"until": [], "constrain": "letters"}},
    GENERATE | {"generation_kwargs": {"until": [], "second_pass": {"suffix": "x", "letters": "letters"}}},
]


@pytest.mark.parametrize("config", ONE_LETTER)
def test_questions_with_several_answers_are_set_aside_and_counted(
    config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [exam(n, answer) for n, answer in enumerate(["A", "AB", "C", "ABCD", "BD", "D"])]
    task = make(rows, **config)
    with caplog.at_level(logging.INFO, logger="medbench.runs"):
        assert [doc["answer"] for doc in settle(task)] == ["A", "C", "D"]
    (record,) = [record for record in caplog.records if record.name.startswith("medbench")]
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("own: 3 of 6 documents set aside: they have several right answers")


def test_those_that_the_task_itself_leaves_to_a_sibling_are_mentioned_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from medbench.data.filters import single_answer

    ward: dict[str, Any] = {"metadata": {"dataset": "ward"}, "process_docs": single_answer}
    task = make([exam(0, "A"), exam(1, "AB")], **ward, **EXAM)
    with caplog.at_level(logging.INFO, logger="medbench.runs"):
        settle_documents(task, RunSettings(), {"ward": "ward_several"})
    (record,) = [record for record in caplog.records if record.name.startswith("medbench")]
    assert record.levelname == "INFO"
    assert "1 of 2 documents set aside" in record.getMessage()
    assert record.getMessage().endswith("; ward_several asks them")


@pytest.mark.parametrize(
    "config",
    [
        GENERATE | {"generation_kwargs": {"until": []}},
        GENERATE | {"generation_kwargs": {"until": [], "second_pass": {"letters_of": "prompt"}}},
    ],
)
def test_where_several_letters_can_be_given_or_the_prompt_says_which_all_are_asked(
    config: dict[str, Any],
) -> None:
    task = make([exam(0, "A"), exam(1, "AB")], **config)
    assert not asks_for_one_letter(task)
    assert len(settle(task)) == 2


def test_a_task_left_without_documents_is_refused() -> None:
    with pytest.raises(GoldError, match="all 2 documents have several right answers"):
        settle(make([exam(0, "AB"), exam(1, "CD")], **EXAM))


def test_a_limit_counts_the_documents_that_are_asked() -> None:
    rows = [exam(n, answer) for n, answer in enumerate(["AB", "A", "CD", "B", "AC", "C"])]
    assert [doc["answer"] for doc in settle(make(rows, **EXAM), limit=2)][:2] == ["A", "B"]


def test_examples_must_have_golds_as_well() -> None:
    dev = [{**exam(9, "B"), "answer": "b"}]
    task = make([exam(0, "A")], dev, **EXAM)
    assert len(settle(task)) == 1  # Without examples nobody reads them.
    task.set_config("num_fewshot", 1)
    with pytest.raises(GoldError, match="the gold of 1 of 1 examples cannot be scored"):
        settle(task)


def test_examples_with_several_answers_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    task = make([exam(0, "A")], [exam(7, "AB"), exam(8, "C"), exam(9, "D")], **EXAM)
    task.set_config("num_fewshot", 2)
    settle(task)
    assert "1 examples with several right answers left out" in caplog.text
    task.set_fewshot_seed(1)
    assert sorted(doc["answer"] for doc in task.sampler.sample(2)) == ["C", "D"]
    task.set_config("num_fewshot", 3)
    with pytest.raises(GoldError, match="3 examples were asked for, but 2 have one right answer"):
        settle(make_again(task))


def make_again(task: Any) -> Any:
    again = make([exam(0, "A")], [exam(7, "AB"), exam(8, "C"), exam(9, "D")], **EXAM)
    again.set_config("num_fewshot", task.config.num_fewshot)
    return again


def test_an_example_that_is_tested_is_told(caplog: pytest.LogCaptureFixture) -> None:
    row = {**exam(3, "B"), "context": ""}
    dev = {**row, "id": "dev-1", "question": " Q3 ", "options": row["options"][::-1], "answer": "C"}
    task = make([{**exam(0, "A"), "context": ""}, row], [dev], **EXAM)
    settle(task)
    assert "among its examples" not in caplog.text
    task.set_config("num_fewshot", 1)
    settle(task)
    assert (
        "1 of the documents asked are among its examples, which show their answers: 'dev-1' is 'd3'"
        in caplog.text
    )
