"""Scores of generated exam answers, as ``process_results`` functions.

Documents are exam documents (``letters``, ``options``, ``answer``, ``language``, …); ``results`` holds one
response, a string that may carry ``truncated``.
"""

# Chinese characters are counted as two columns here.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from medbench.scoring import ming
from medbench.scoring.extraction import read
from medbench.scoring.rouge import bleu_1, rouge_en, rouge_zh

__all__ = ["read_answer", "score_direct", "score_generated", "score_rationale", "score_yes_no_maybe"]

Doc: TypeAlias = Mapping[str, Any]
Scores: TypeAlias = dict[str, float]


def read_answer(doc: Doc, text: str) -> str:
    """Return the letters that an answer commits to.

    Args:
        doc: An exam document.
        text: The model's answer.

    Returns:
        The sorted letters, such as ``"B"`` or ``"ACE"``; ``""`` if no answer can be read.
    """
    return read(text, doc["letters"], doc["options"], doc["question"])


def score_generated(doc: Doc, results: Sequence[str]) -> Scores:
    """Score free text: ``acc``, ``acc_ming``, ``extracted``, ``truncated``.

    ``acc`` asks for exactly the gold letters, ``acc_ming`` for the verdict of the authors' rule for
    free text (:func:`medbench.scoring.ming.multiplechoice`).
    """
    verdict = ming.multiplechoice(results[0], doc["answer"], doc["language"])
    return _read_scores(doc, results[0]) | {"acc_ming": float(verdict)}


def score_direct(doc: Doc, results: Sequence[str]) -> Scores:
    """Score an answer that should be only a letter: ``acc``, ``acc_ming``, ``extracted``, ``truncated``.

    ``acc_ming`` is the authors' rule for direct answers (:func:`medbench.scoring.ming.direct`).
    """
    return _read_scores(doc, results[0]) | {"acc_ming": float(ming.direct(results[0], doc["answer"]))}


def score_yes_no_maybe(doc: Doc, results: Sequence[str]) -> Scores:
    """Score a generated yes, no or maybe: ``acc``, ``extracted``, ``truncated``.

    The words are the options of the document, so that they are read like any option named without its letter.
    """
    return _read_scores(doc, results[0])


def score_rationale(doc: Doc, results: Sequence[str]) -> Scores:
    """Compare an explanation with the reference: ``rouge_1``, ``rouge_2``, ``rouge_l``, ``bleu_1``, ``truncated``.

    By characters in Chinese, by words in English. MMedBench (Qiu et al. 2024, arXiv:2402.13963) reports ROUGE-1 and
    BLEU-1, over words cut by jieba in Chinese, and BERTScore, which needs a model and is left out.
    """
    rouge = rouge_zh if doc["language"] == "zh" else rouge_en
    answer, reference = results[0], doc["rationale"]
    return {
        **rouge(answer, reference)._asdict(),
        "bleu_1": bleu_1(answer, reference),
        "truncated": _truncated(answer),
    }


def _read_scores(doc: Doc, text: str) -> Scores:
    answer = read_answer(doc, text)
    right = set(answer) == set(doc["answer"])
    return {"acc": float(right), "extracted": float(bool(answer)), "truncated": _truncated(text)}


def _truncated(text: str) -> float:
    return float(bool(getattr(text, "truncated", False)))
