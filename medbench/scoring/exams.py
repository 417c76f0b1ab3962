"""Scores of generated exam answers, as ``process_results`` functions.

Documents are exam documents (``letters``, ``options``, ``answer``, ``language``, …); ``results`` holds one
response, a string that may carry ``truncated`` and more. Reasoning in it is never scored.
"""

# Chinese characters are counted as two columns here.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from medbench.scoring.extraction import read
from medbench.scoring.reasoning import parts
from medbench.scoring.rouge import NO_OVERLAP, bleu_1, rouge_en, rouge_zh

__all__ = [
    "Doc",
    "Scores",
    "commits",
    "read_answer",
    "score_generated",
    "score_rationale",
    "score_yes_no_maybe",
]

Doc: TypeAlias = Mapping[str, Any]
Scores: TypeAlias = dict[str, float]


def read_answer(doc: Doc, text: str) -> str:
    """Return the letters that a response commits to.

    Args:
        doc: An exam document; ``letters`` must be there. One with a single gold letter has a single answer.
        text: The response. Of a :class:`medbench.models.Response` the second pass decides where it says
            something; a letter decoded there is the answer, and is not read from text. One that the question
            does not have, which some protocols allow, is none.

    Returns:
        The sorted letters, such as ``"B"`` or ``"ACE"``; ``""`` if no answer can be read.
    """
    second = str(getattr(text, "second_pass", None) or "").strip()
    if len(second) == 1 and second.isascii() and second.isupper():
        return second if second in doc["letters"] else ""
    # The answer phrase stood before the second pass, whose first words are the answer.
    return (second and _reading(doc, f"answer: {second}")) or _reading(doc, text)


def commits(doc: Doc, text: str) -> bool:
    """Say whether a response gives its answer openly, so that it need not be asked for again.

    Words such as "The answer is" do not say so: they may stand in a supposition, a denial or the repeated
    instruction.

    Args:
        doc: An exam document.
        text: The response.
    """
    return bool(_reading(doc, text, openly=True))


def score_generated(doc: Doc, results: Sequence[str]) -> Scores:
    """Score free text, or one letter: ``acc``, ``extracted``, ``truncated``.

    ``acc`` asks for exactly the gold letters.
    """
    answer = read_answer(doc, results[0])
    right = set(answer) == set(doc["answer"])
    return {"acc": float(right), "extracted": float(bool(answer)), "truncated": _truncated(results[0])}


def score_yes_no_maybe(doc: Doc, results: Sequence[str]) -> Scores:
    """Score a generated yes, no or maybe: ``acc``, ``extracted``, ``truncated``.

    The words are the options of the document, so that they are read like any option named without its letter.
    """
    return score_generated(doc, results)


def score_rationale(doc: Doc, results: Sequence[str]) -> Scores:
    """Compare an explanation with the reference: ``rouge_1``, ``rouge_2``, ``rouge_l``, ``bleu_1``, ``truncated``.

    By characters in Chinese, by words in English. MMedBench (Qiu et al. 2024, arXiv:2402.13963) reports ROUGE-1 and
    BLEU-1, over words cut by jieba in Chinese, and BERTScore, which needs a model and is left out.
    """
    rouge = rouge_zh if doc["language"] == "zh" else rouge_en
    given, reference = parts(results[0]), doc["rationale"]
    overlap = NO_OVERLAP if given.lost else rouge(given.answer, reference)
    return {
        **overlap._asdict(),
        "bleu_1": 0.0 if given.lost else bleu_1(given.answer, reference),
        "truncated": _truncated(results[0]),
    }


def _reading(doc: Doc, text: str, *, openly: bool = False) -> str:
    return read(
        text,
        doc["letters"],
        doc.get("options", ()),
        str(doc.get("question", "")),
        single=len(str(doc.get("answer", ""))) == 1,
        openly=openly,
    )


def _truncated(text: str) -> float:
    return float(bool(getattr(text, "truncated", False)))
