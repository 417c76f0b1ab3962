"""ROUGE by characters for Chinese and by words for English, and BLEU-1.

The counting and the F-measure are those of the rouge-chinese and rouge-score packages (Lin 2004). Only the
length of the longest common subsequence is computed here: theirs fills a table of |answer| x |reference|
cells in Python, which a long answer turns into minutes and gigabytes; ours is the same number from
bit-parallel rows (Hyyro 2004, "Bit-parallel LCS-length computation revisited").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from medbench.scoring.text import basic_tokens

__all__ = ["NO_OVERLAP", "Rouge", "bleu_1", "lcs_length", "rouge_en", "rouge_zh"]

# PromptCBLUE puts this in the place of an empty answer or reference.
_NOTHING = ["无", "。"]


class Rouge(NamedTuple):
    """F-measures between 0 and 1."""

    rouge_1: float
    rouge_2: float
    rouge_l: float


NO_OVERLAP = Rouge(0.0, 0.0, 0.0)
"""Of a response that gave no answer. An empty one may overlap with a reference, see ``_NOTHING``."""


def rouge_zh(answer: str, reference: str) -> Rouge:
    """Score by characters, as PromptCBLUE's scorer does.

    The distinct n-grams are compared (rouge-chinese's default); identical texts score 1 - 5e-9, since the
    package adds 1e-8 to the denominator. A single character has no bigram: its ROUGE-2 is 0.
    """
    from rouge_chinese import rouge_score

    hypothesis = basic_tokens(answer) or _NOTHING
    target = basic_tokens(reference) or _NOTHING
    sentences = [" ".join(hypothesis)], [" ".join(target)]
    overlap = lcs_length(hypothesis, target)
    return Rouge(
        rouge_1=rouge_score.rouge_n(*sentences, n=1)["f"],
        rouge_2=rouge_score.rouge_n(*sentences, n=2)["f"],
        rouge_l=rouge_score.f_r_p_rouge_n(len(hypothesis), len(target), overlap)["f"],
    )


def rouge_en(answer: str, reference: str) -> Rouge:
    """Score by lower-case words without stemming, as the rouge-score package does by default."""
    from rouge_score import rouge_scorer, scoring, tokenize

    hypothesis = tokenize.tokenize(answer, None)
    target = tokenize.tokenize(reference, None)
    scores = rouge_scorer.RougeScorer(["rouge1", "rouge2"]).score(reference, answer)
    overlap = lcs_length(hypothesis, target)
    precision = overlap / len(hypothesis) if hypothesis else 0.0
    recall = overlap / len(target) if target else 0.0
    return Rouge(
        rouge_1=float(scores["rouge1"].fmeasure),
        rouge_2=float(scores["rouge2"].fmeasure),
        rouge_l=float(scoring.fmeasure(precision, recall)),
    )


def bleu_1(answer: str, reference: str) -> float:
    """BLEU of single tokens with brevity penalty (Papineni et al. 2002, nltk), between 0 and 1.

    Tokens are those of the basic tokenizer: characters in Chinese, words in English.
    """
    from nltk.translate.bleu_score import sentence_bleu

    hypothesis, target = basic_tokens(answer), basic_tokens(reference)
    if not hypothesis or not target:
        return float(hypothesis == target)
    return float(sentence_bleu([target], hypothesis, weights=(1.0,)))


def lcs_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, in |first| steps on integers of |second| bits."""
    positions: dict[str, int] = {}
    for index, token in enumerate(second):
        positions[token] = positions.get(token, 0) | 1 << index
    full = (1 << len(second)) - 1
    row = full
    for token in first:
        matches = row & positions.get(token, 0)
        row = (row + matches | row - matches) & full
    return len(second) - row.bit_count()
