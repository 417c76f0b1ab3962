from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from medbench.errors import RunError
from medbench.runs.tables import collect_samples, samples_table, scores_table


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
        "filtered_resps": response,
        "filter": "none",
        "metrics": list(metrics),
        "doc_hash": "d",
        "prompt_hash": "p",
        "target_hash": "t",
        **metrics,
    }


def _task(output_type: str) -> Any:
    return SimpleNamespace(
        OUTPUT_TYPE=output_type, config=SimpleNamespace(task="exam"), doc_to_choice=lambda doc: doc["letters"]
    )


def test_choices_keep_their_log_probabilities_and_the_chosen_letter() -> None:
    logged = [
        _sample(0, [(-2.0, False), (-0.5, True)], acc=1.0),
        _sample(1, [(-0.1, True), (-3.0, False)], acc=0.0),
    ]
    samples = collect_samples(_task("multiple_choice"), logged, "acc")
    table = samples_table([samples]).to_pydict()
    assert table["response"] == ["B", "A"]
    assert table["target"] == ["B", "B"]
    assert table["choice_logprobs"] == [[-2.0, -0.5], [-0.1, -3.0]]
    assert table["metric.acc"] == table["score"] == [1.0, 0.0]
    assert samples.clusters == ["paper", "paper"]


def test_generated_answers_keep_both_passes_and_what_was_read() -> None:
    samples = collect_samples(
        _task("generate_until"), [_sample(0, [_Response("思考\n答案为B")], acc=1.0)], "acc"
    )
    row = samples_table([samples]).to_pylist()[0]
    assert row["response"] == "思考\n答案为B"
    assert (row["first_pass"], row["second_pass"], row["truncated"]) == ("思考", "B", True)
    assert row["answer"] == "B"


def test_counts_and_labels_get_columns_of_their_own_kind() -> None:
    extraction = collect_samples(_task("generate_until"), [_sample(0, ["x"], f1=(3, 1, 0))], "f1")
    labels = collect_samples(
        _task("generate_until"), [_sample(0, ["x"], macro_f1=("是的", "不是"))], "macro_f1"
    )
    table = samples_table([extraction, labels]).to_pydict()
    assert table["counts.f1"] == [[3, 1, 0], None]
    assert table["labels.macro_f1"] == [None, ["是的", "不是"]]
    assert table["score"] == [None, None]


def test_a_metric_of_an_unknown_kind_is_refused() -> None:
    samples = collect_samples(_task("generate_until"), [_sample(0, ["x"], odd={"a": 1})], "odd")
    with pytest.raises(RunError, match="metric 'odd'"):
        samples_table([samples])


def test_empty_tables_keep_their_columns() -> None:
    assert {"task", "doc_id", "response", "score"} <= set(samples_table([]).column_names)
    assert {"task", "metric", "value", "interval", "members"} <= set(scores_table([]).column_names)
