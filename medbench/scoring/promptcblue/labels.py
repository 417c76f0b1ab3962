"""PromptCBLUE's label tasks by log-likelihood: which labels compete, and which one wins.

Generating a label and ranking the labels are two protocols of the same documents. The winner is scored by
the rule for a generated label, so that both give the same metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medbench.errors import ScoringError
from medbench.scoring.promptcblue.scores import (
    score_chip_ctc,
    score_chip_sts,
    score_imcs_v2_dac,
    score_kuake_ir,
    score_kuake_qic,
    score_kuake_qqr,
    score_kuake_qtr,
)

__all__ = ["label_choices", "score_label_likelihoods"]

_SCORERS: Mapping[str, Callable[[Mapping[str, Any], Sequence[str]], dict[str, tuple[str, str]]]] = {
    "CHIP-CTC": score_chip_ctc,
    "CHIP-STS": score_chip_sts,
    "IMCS-V2-DAC": score_imcs_v2_dac,
    "KUAKE-IR": score_kuake_ir,
    "KUAKE-QIC": score_kuake_qic,
    "KUAKE-QQR": score_kuake_qqr,
    "KUAKE-QTR": score_kuake_qtr,
}

_NONE_OF_THESE = "非上述类型"
# The official rows of these have it as gold, although neither the prompt nor answer_choices mentions it.
_WITH_NONE_OF_THESE = frozenset({"CHIP-CTC", "IMCS-V2-DAC", "KUAKE-QIC"})


def label_choices(doc: Mapping[str, Any]) -> list[str]:
    """The labels that compete for a document, each once.

    Official rows of IMCS-V2-DAC list a label twice. 非上述类型 is added where it can be the gold label.

    Args:
        doc: An official row of one of the seven label tasks.

    Raises:
        ScoringError: The row has no labels to choose among.
    """
    if not doc["answer_choices"]:
        raise ScoringError(
            "the document has no answer_choices",
            where=str(doc.get("id", doc.get("sample_id", ""))),
            hint="label tasks need the official row form; use the generating task for other rows",
        )
    added = [_NONE_OF_THESE] if doc["task_dataset"] in _WITH_NONE_OF_THESE else []
    return list(dict.fromkeys([*doc["answer_choices"], *added]))


def score_label_likelihoods(
    doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]
) -> dict[str, tuple[str, str]]:
    """Score the likeliest label as if it had been generated.

    Args:
        doc: An official row of one of the seven label tasks.
        results: The log-likelihood of each of :func:`label_choices` in nats, and whether it is greedy.

    Returns:
        The metric of the task by the sum of log-probabilities, and under its name with ``_norm`` by the mean
        per character. Of equally likely labels the first wins.

    Raises:
        ScoringError: The row belongs to no label task or has no labels.
    """
    scorer = _SCORERS.get(doc["task_dataset"])
    if scorer is None:
        raise ScoringError(
            f"{doc['task_dataset']!r} is not a label task",
            where="task_dataset",
            hint=f"use one of {', '.join(_SCORERS)}",
        )
    choices = label_choices(doc)
    by_sum = [likelihood for likelihood, _ in results]
    by_mean = [likelihood / len(choice) for likelihood, choice in zip(by_sum, choices, strict=True)]
    scores = scorer(doc, [choices[by_sum.index(max(by_sum))]])
    per_character = scorer(doc, [choices[by_mean.index(max(by_mean))]])
    return {**scores, **{f"{metric}_norm": pair for metric, pair in per_character.items()}}
