"""The official PromptCBLUE structures and scores are met."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.errors import ScoringError
from medbench.scoring import aggregation, promptcblue

SHARED = Path(os.environ.get("MEDBENCH_SHARED", Path(__file__).parents[3] / "shared"))
GOLDEN = SHARED / "golden" / "scores"
TOY = SHARED / "data" / "promptcblue" / "toy_examples"

needs_shared = pytest.mark.skipif(
    not (GOLDEN.is_dir() and TOY.is_dir()), reason=f"needs the reference scores in {SHARED}"
)


def _score(dataset: str, doc: dict[str, Any], text: str) -> dict[str, Any]:
    function = getattr(promptcblue, "score_" + dataset.lower().replace("-", "_"))
    scores = function(doc, [text])
    assert isinstance(scores, dict)
    return scores


def _rows(dataset: str) -> list[dict[str, Any]]:
    lines = (TOY / "dev.json").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["task_dataset"] == dataset]


def _golden(number: int, kind: str) -> Any:
    path = GOLDEN / f"promptcblue_dev_{number}_{kind}"
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


@needs_shared
@pytest.mark.parametrize("dataset", promptcblue.DATASETS)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_structures_are_the_official_ones(number: int, dataset: str) -> None:
    predictions = {row["sample_id"]: row["prediction"] for row in _golden(number, "predictions.jsonl")}
    expected = {row["sample_id"]: row["answer"] for row in _golden(number, "structured.json")[dataset]}
    rows = _rows(dataset)
    assert rows
    for row in rows:
        read = promptcblue.parse(dataset, predictions[row["sample_id"]], row["answer_choices"])
        assert read == expected[row["sample_id"]]


@needs_shared
@pytest.mark.parametrize("dataset", promptcblue.DATASETS)
def test_targets_read_as_the_official_gold(dataset: str) -> None:
    gold = json.loads((TOY / "dev_structured.json").read_text(encoding="utf-8"))[dataset]
    expected = {row["sample_id"]: row["answer"] for row in gold}
    for row in _rows(dataset):
        read: Any = promptcblue.parse(dataset, row["target"], row["answer_choices"])
        want = expected[row["sample_id"]]
        if dataset == "CHIP-CDN":  # the official reader passes through a set, so that its order is arbitrary
            read = sorted(read, key=str)
            want = sorted(want, key=str)
        assert read == want


@needs_shared
@pytest.mark.parametrize("dataset", promptcblue.DATASETS)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_scores_are_the_official_ones(number: int, dataset: str) -> None:
    predictions = {row["sample_id"]: row["prediction"] for row in _golden(number, "predictions.jsonl")}
    expected = _golden(number, "scores.json")[dataset]
    values = [_score(dataset, row, predictions[row["sample_id"]]) for row in _rows(dataset)]
    main = promptcblue.MAIN_METRICS[dataset]
    got: dict[str, float]
    if main == "rouge_l":
        got = {
            official: aggregation.mean([value[ours] for value in values])
            for official, ours in (("rouge1", "rouge_1"), ("rouge2", "rouge_2"), ("rougeL", "rouge_l"))
        }
    else:
        kind = {"f1": "micro"}.get(main, main.partition("_")[0])
        assert expected.get("average", "micro") == kind
        got = {
            name: getattr(aggregation, f"{kind}_{name}")([value[main] for value in values])
            for name in ("precision", "recall", "f1")
        }
    for name, value in got.items():
        assert value == pytest.approx(expected[name], abs=1e-9), name


@needs_shared
@pytest.mark.parametrize("dataset", promptcblue.DATASETS)
def test_gold_scores_the_maximum_and_nothing_does_not_crash(dataset: str) -> None:
    rows = _rows(dataset)
    main = promptcblue.MAIN_METRICS[dataset]
    combine = {"f1": "micro_f1", "rouge_l": "mean"}.get(main, main)
    best = getattr(aggregation, combine)([_score(dataset, row, row["target"])[main] for row in rows])
    nothing = getattr(aggregation, combine)([_score(dataset, row, "")[main] for row in rows])
    assert best == pytest.approx(1.0, abs=1e-7)
    # The toy files of two datasets have only the label that an empty answer stands for.
    lucky = {row["target"] for row in rows} == {"非上述类型"}
    assert nothing == 1.0 if lucky else 0.0 <= nothing < 1.0


def test_an_unknown_dataset_is_named() -> None:
    with pytest.raises(ScoringError, match="CMeEE"):
        promptcblue.parse("CMeEE", "x", [])


def test_overall_is_the_plain_mean_of_sixteen() -> None:
    scores = {dataset: index / 16 for index, dataset in enumerate(promptcblue.MAIN_METRICS)}
    assert promptcblue.overall(scores) == pytest.approx(sum(range(16)) / 16 / 16)
    del scores["MedDG"]
    with pytest.raises(ScoringError, match="MedDG"):
        promptcblue.overall(scores)


def test_repeated_records_count_once_and_lists_keep_their_order() -> None:
    doc: dict[str, Any] = {
        "target": "好\n主体词：痛；发生状态：；描述词：甲，乙；解剖部位：腹",
        "answer_choices": None,
    }
    same = doc["target"] + "\n主体词：痛；发生状态：；描述词：甲，乙；解剖部位：腹"
    swapped = doc["target"].replace("甲，乙", "乙，甲")
    assert promptcblue.score_chip_cdee(doc, [str(same)])["f1"] == (1, 0, 0)
    assert promptcblue.score_chip_cdee(doc, [swapped])["f1"] == (0, 1, 1)


def test_an_empty_label_is_the_first_label() -> None:
    doc = {"target": "不是", "answer_choices": ["是的", "不是"]}
    assert promptcblue.score_chip_sts(doc, [" \n"])["weighted_f1"] == ("不是", "是的")
    assert promptcblue.score_chip_sts(doc, ["不同"])["weighted_f1"] == ("不是", "不是")


_TEXT = st.text(alphabet="甲乙实体：，。；\n头尾为具有关系的主体词描述建议诊断是的 ab:", max_size=80)


@settings(max_examples=60, deadline=None)
@given(answer=_TEXT, target=_TEXT, choices=st.lists(_TEXT, max_size=3))
def test_no_text_breaks_a_score(answer: str, target: str, choices: list[str]) -> None:
    doc = {"target": target, "answer_choices": choices}
    for dataset in promptcblue.DATASETS:
        for value in _score(dataset, doc, answer).values():
            assert isinstance(value, (float, tuple))
