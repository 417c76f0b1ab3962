from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from medbench.runs.tables import collect_samples, samples_table, scores_table
from medbench.scoring import aggregation


class _Response(str):
    """What medbench's adapter returns: text that knows its two passes."""

    truncated = True
    first_pass = "思考"
    second_pass = "B"


def _sample(doc_id: int, response: Any, **metrics: Any) -> dict[str, Any]:
    return {
        "doc_id": doc_id,
        "doc": {
            "id": f"d{doc_id}",
            "cluster": "paper",
            "letters": ["A", "B"],
            "options": ["甲", "乙"],
            "question": "？",
        },
        "target": 1,
        "arguments": [("提示", " A"), ("提示", " B")],
        "resps": [[item] for item in response],
        "filtered_resps": response,
        "filter": "none",
        "metrics": list(metrics),
        "doc_hash": "d",
        "prompt_hash": "p",
        "target_hash": "t",
        **metrics,
    }


def _task(output_type: str, **aggregations: Any) -> Any:
    return SimpleNamespace(
        OUTPUT_TYPE=output_type,
        config=SimpleNamespace(task="exam", metadata={}),
        doc_to_choice=lambda doc: doc["letters"],
        aggregation=lambda: aggregations,
    )


def test_choices_keep_their_log_probabilities_and_the_chosen_letter() -> None:
    logged = [
        _sample(0, [(-2.0, False), (-0.5, True)], acc=1.0),
        _sample(1, [(-0.1, True), (-3.0, False)], acc=0.0),
    ]
    samples = collect_samples(_task("multiple_choice"), logged)
    table = samples_table([samples]).to_pydict()
    assert table["response"] == ["B", "A"]
    assert table["target"] == ["B", "B"]
    assert table["choice_logprobs"] == [[-2.0, -0.5], [-0.1, -3.0]]
    assert table["metric.acc"] == table["score"] == [1.0, 0.0]
    assert samples.clusters == ["paper", "paper"]


def test_generated_answers_keep_both_passes_and_what_was_read() -> None:
    samples = collect_samples(_task("generate_until"), [_sample(0, [_Response("思考\n答案为B")], acc=1.0)])
    row = samples_table([samples]).to_pylist()[0]
    assert row["response"] == "思考\n答案为B"
    assert (row["first_pass"], row["second_pass"], row["truncated"]) == ("思考", "B", True)
    assert row["answer"] == "B"


def test_counts_and_labels_get_columns_of_their_own_kind() -> None:
    extraction = collect_samples(
        _task("generate_until", f1=aggregation.micro_f1), [_sample(0, ["x"], f1=(3, 1, 0))]
    )
    labels = collect_samples(
        _task("generate_until", macro_f1=aggregation.macro_f1),
        [_sample(0, ["x"], macro_f1=("是的", "不是"))],
    )
    table = samples_table([extraction, labels]).to_pydict()
    assert table["counts.f1"] == [[3, 1, 0], None]
    assert table["labels.macro_f1"] == [None, ["是的", "不是"]]
    assert table["score"] == [None, None]


@pytest.mark.parametrize(
    ("value", "column", "stored"),
    [
        (3, "metric.odd", 3.0),
        (True, "metric.odd", 1.0),
        (np.float32(0.5), "metric.odd", 0.5),
        (np.bool_(False), "metric.odd", 0.0),
        (np.array(2.0), "metric.odd", 2.0),
        (torch.tensor(0.25), "metric.odd", 0.25),
        (None, "metric.odd", None),
        ({"a": 1}, "items.odd", '{"a": 1}'),
        ((np.int64(1), np.int64(0)), "items.odd", "[1, 0]"),
        ((1, 2, 3), "items.odd", "[1, 2, 3]"),
        (("gold", "text"), "items.odd", '["gold", "text"]'),
        (["gold", "\ud800"], "items.odd", '["gold", "\\ud800"]'),
        ((-1.5, np.array([0.5, 0.5])), "items.odd", "[-1.5, [0.5, 0.5]]"),
        ({3, 1, 2}, "items.odd", "[1, 2, 3]"),
        ("text", "items.odd", '"text"'),
        (b"bytes", "items.odd", "\"b'bytes'\""),
        ({("a", 1): [None]}, "items.odd", "{\"('a', 1)\": [null]}"),
    ],
)
def test_a_metric_may_be_of_any_kind(value: Any, column: str, stored: Any) -> None:
    samples = collect_samples(_task("generate_until"), [_sample(0, ["x"], odd=value)])
    assert samples_table([samples]).to_pydict()[column] == [stored]
    assert samples.metrics["odd"] == [value]


def test_what_holds_itself_is_written_as_a_text() -> None:
    value: list[Any] = []
    value.append(value)
    samples = collect_samples(_task("generate_until"), [_sample(0, ["x"], odd=value)])
    assert samples_table([samples]).to_pydict()["items.odd"] == ['"[[...]]"']


def test_values_of_mixed_kinds_share_a_column() -> None:
    logged = [_sample(0, ["x"], odd=1.0), _sample(1, ["x"], odd=(1, 2)), _sample(2, ["x"], odd=None)]
    table = samples_table([collect_samples(_task("generate_until"), logged)]).to_pydict()
    assert table["items.odd"] == ["1.0", "[1, 2]", None]


def test_a_metric_that_some_documents_lack_is_null_there() -> None:
    logged = [_sample(0, ["x"], acc=1.0), _sample(1, ["x"], late=0.5), _sample(2, ["x"], acc=0.0, late=1.0)]
    samples = collect_samples(_task("generate_until"), logged)
    table = samples_table([samples]).to_pydict()
    assert table["metric.acc"] == [1.0, None, 0.0]
    assert table["metric.late"] == [None, 0.5, 1.0]
    assert table["score"] == [1.0, None, 0.0]


def test_further_filter_pipelines_have_columns_of_their_own() -> None:
    first, second = ([_sample(0, [text], exact_match=value)] for text, value in (("7", 1.0), ("8", 0.0)))
    samples = collect_samples(_task("generate_until"), first, {"flexible": second})
    table = samples_table([samples]).to_pydict()
    assert table["metric.exact_match"] == [1.0]
    assert table["metric.exact_match,flexible"] == [0.0]


def test_the_answer_is_what_the_filter_made_of_the_response() -> None:
    sample = _sample(0, ["42"], exact_match=1.0) | {"resps": [["It is 42."]], "doc": {"word": "x"}}
    row = samples_table([collect_samples(_task("generate_until"), [sample])]).to_pylist()[0]
    assert (row["response"], row["answer"], row["document"]) == ("It is 42.", "42", "0")


@pytest.mark.parametrize(
    "doc",
    [
        {"letters": "AB", "options": None},
        {"letters": 3},
        {"id": 7, "cluster": None},
        {"id": ["a"], "letters": None, "options": 3},
        "no mapping",
        None,
    ],
)
def test_documents_of_any_form_keep_their_scores(doc: Any) -> None:
    logged = [_sample(i, ["x"], acc=1.0) | {"doc": doc} for i in range(3)]
    samples = collect_samples(_task("generate_until"), logged)
    table = samples_table([samples]).to_pydict()
    assert table["metric.acc"] == [1.0, 1.0, 1.0]
    assert len(set(table["document"])) == 3
    assert len(set(table["cluster"])) == 3


def test_columns_that_cannot_be_made_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    logged = [_sample(i, [None], acc=1.0) | {"arguments": []} for i in range(3)]
    task = _task("multiple_choice")
    with caplog.at_level("WARNING", "medbench"):
        samples = collect_samples(task, logged)
    assert samples_table([samples]).to_pydict()["prompt"] == [None, None, None]
    assert [record.getMessage().split(" of ")[0] for record in caplog.records] == [
        "exam: the prompt",
        "exam: the answer",
    ]


def test_empty_tables_keep_their_columns() -> None:
    assert {"task", "doc_id", "response", "score"} <= set(samples_table([]).column_names)
    assert {"task", "metric", "value", "interval", "members"} <= set(scores_table([]).column_names)


def test_reasoning_is_kept_and_counted_but_not_scored() -> None:
    from medbench.models import Response

    thought = Response("<think>A?</think>\nThe answer is B.", truncated=False)
    thought.thinking_tokens = 3
    first = "<think>A"
    asked = Response(
        f"{first}\n</think>\n\nThe answer is B", first_pass=first, second_pass="B", closing="\n</think>\n\n"
    )
    responses = [thought, Response("<think>A, perhaps"), asked, "<think>A", "B", ""]
    logged = [_sample(number, [response], acc=0.0) for number, response in enumerate(responses)]
    table = samples_table([collect_samples(_task("generate_until"), logged)]).to_pydict()
    assert table["response"] == [getattr(response, "raw", response) for response in responses]
    assert table["answer"] == ["B", "", "B", "", "B", ""]
    assert table["answered"] == [True, False, True, False, True, False]
    assert table["thinking_closed"] == [False, False, True, None, None, None]
    assert table["thinking_tokens"][0] == 3


def test_what_a_file_says_of_its_questions_is_kept() -> None:
    logged = [_sample(number, [(-2.0, False), (-0.5, True)], acc=1.0) for number in range(4)]
    logged[0]["doc"] |= {"subject": "内科", "annotations": {"question_type": "A1", "difficulty": ""}}
    logged[1]["doc"] |= {"subject": "", "annotations": {"question_type": None, "difficulty": "3"}}
    logged[2]["doc"] |= {"subject": 7, "annotations": ["A1"]}
    other = collect_samples(_task("multiple_choice"), [_sample(0, [(-2.0, False), (-0.5, True)], acc=1.0)])
    table = samples_table([collect_samples(_task("multiple_choice"), logged), other]).to_pydict()
    assert table["subject"] == ["内科", None, None, None, None]
    assert table["annotation.question_type"] == ["A1", None, None, None, None]
    assert table["annotation.difficulty"] == [None, "3", None, None, None]
