"""Exam scores: what they return, and that gold and nothing come out as they must."""

from __future__ import annotations

from typing import Any

import pytest

from medbench.scoring import exams

DOC: dict[str, Any] = {
    "question": "首选药物是",
    "letters": ["A", "B", "C", "D", "E"],
    "options": ["阿莫西林", "头孢曲松", "甲硝唑", "万古霉素", "利奈唑胺"],
    "answer": "BD",
    "language": "zh",
    "rationale": "头孢曲松可透过血脑屏障。",
}
YES = DOC | {"letters": ["A", "B", "C"], "options": ["yes", "no", "maybe"], "answer": "C", "language": "en"}


class Cut(str):
    """A response that ran into the token limit."""

    truncated = True


def test_generated_answers_need_exactly_the_gold_letters() -> None:
    right = exams.score_generated(DOC, ["答案为B、D"])
    assert right == {"acc": 1.0, "extracted": 1.0, "truncated": 0.0}
    assert exams.score_generated(DOC, ["答案为B"])["acc"] == 0.0
    assert exams.score_generated(DOC, ["答案为BCD"])["acc"] == 0.0
    assert exams.score_generated(DOC, ["正确答案是BD"]) == right


def test_nothing_scores_nothing() -> None:
    assert exams.score_generated(DOC, [""]) == {"acc": 0.0, "extracted": 0.0, "truncated": 0.0}


def test_truncation_is_told() -> None:
    assert exams.score_generated(DOC, [Cut("首先分析")])["truncated"] == 1.0
    assert exams.score_rationale(DOC, [Cut("头孢")])["truncated"] == 1.0


@pytest.mark.parametrize("text", ["maybe", "Maybe.", "The answer is maybe", "C", "**Answer:** maybe"])
def test_yes_no_maybe(text: str) -> None:
    assert exams.score_yes_no_maybe(YES, [text])["acc"] == 1.0


def test_rationale_of_gold_is_the_maximum() -> None:
    for language in ("zh", "en"):
        doc = DOC | {
            "language": language,
            "rationale": "ceftriaxone crosses the barrier" if language == "en" else DOC["rationale"],
        }
        scores = exams.score_rationale(doc, [doc["rationale"]])
        assert [scores[name] for name in ("rouge_1", "rouge_2", "rouge_l", "bleu_1")] == pytest.approx(
            [1] * 4, abs=1e-7
        )
        empty = exams.score_rationale(doc, [""])
        assert max(empty[name] for name in ("rouge_1", "rouge_2", "rouge_l", "bleu_1")) < 0.5


def test_the_letters_are_available_by_themselves() -> None:
    assert exams.read_answer(DOC, "故选D和B。") == "BD"
