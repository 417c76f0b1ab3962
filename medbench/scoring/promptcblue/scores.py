"""The official PromptCBLUE scores of one document, as values that add up to the official corpus scores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from medbench.errors import ScoringError
from medbench.scoring.promptcblue.structures import SECTIONS, Record, parse
from medbench.scoring.reasoning import parts
from medbench.scoring.rouge import NO_OVERLAP, Rouge, rouge_zh

__all__ = [
    "MAIN_METRICS",
    "overall",
    "score_chip_cdee",
    "score_chip_cdn",
    "score_chip_ctc",
    "score_chip_mdcfnpc",
    "score_chip_sts",
    "score_cmeee_v2",
    "score_cmeie",
    "score_imcs_v2_dac",
    "score_imcs_v2_mrg",
    "score_imcs_v2_ner",
    "score_imcs_v2_sr",
    "score_kuake_ir",
    "score_kuake_qic",
    "score_kuake_qqr",
    "score_kuake_qtr",
    "score_meddg",
]

Doc: TypeAlias = Mapping[str, Any]
"""An official row: ``input, target, answer_choices, task_type, task_dataset, sample_id``."""

Counts: TypeAlias = dict[str, tuple[int, int, int]]
Labels: TypeAlias = dict[str, tuple[str, str]]
Numbers: TypeAlias = dict[str, float]

# What an empty answer counts as: the first label of the official list.
_FIRST_LABELS = {
    "CHIP-STS": "是的",
    "CHIP-CTC": "非上述类型",
    "IMCS-V2-DAC": "非上述类型",
    "KUAKE-IR": "相关",
    "KUAKE-QIC": "非上述类型",
    "KUAKE-QQR": "完全一致",
    "KUAKE-QTR": "完全不匹配或者没有参考价值",
}

MAIN_METRICS: Mapping[str, str] = {
    "CMeEE-V2": "f1",
    "CMeIE": "f1",
    "CHIP-CDN": "f1",
    "CHIP-CDEE": "f1",
    "CHIP-MDCFNPC": "f1",
    "CHIP-STS": "weighted_f1",
    "CHIP-CTC": "macro_f1",
    "IMCS-V2-NER": "f1",
    "IMCS-V2-SR": "f1",
    "IMCS-V2-DAC": "macro_f1",
    "IMCS-V2-MRG": "rouge_l",
    "KUAKE-IR": "weighted_f1",
    "KUAKE-QIC": "macro_f1",
    "KUAKE-QQR": "weighted_f1",
    "KUAKE-QTR": "weighted_f1",
    "MedDG": "rouge_l",
}
"""The metric of each dataset that enters the overall score."""


def overall(main_scores: Mapping[str, float]) -> float:
    """The official overall score: the plain mean of the sixteen main scores.

    Args:
        main_scores: The main score of each dataset, by its official name.

    Raises:
        ScoringError: A dataset is missing; the mean of fewer is not the official score.
    """
    missing = [dataset for dataset in MAIN_METRICS if dataset not in main_scores]
    if missing:
        raise ScoringError(
            f"the overall score needs all {len(MAIN_METRICS)} datasets; missing: {', '.join(missing)}",
            hint="run the whole group promptcblue",
        )
    return sum(main_scores[dataset] for dataset in MAIN_METRICS) / len(MAIN_METRICS)


def score_cmeee_v2(doc: Doc, results: Sequence[str]) -> Counts:
    """CMeEE-V2, named entities: strict micro-F1 over (entity, type)."""
    return _extraction("CMeEE-V2", doc, results)


def score_cmeie(doc: Doc, results: Sequence[str]) -> Counts:
    """CMeIE, relations: strict micro-F1 over (subject, predicate, object)."""
    return _extraction("CMeIE", doc, results)


def score_chip_cdn(doc: Doc, results: Sequence[str]) -> Counts:
    """CHIP-CDN, normalization of diagnoses: micro-F1 over the candidates chosen."""
    return _extraction("CHIP-CDN", doc, results)


def score_chip_cdee(doc: Doc, results: Sequence[str]) -> Counts:
    """CHIP-CDEE, clinical events: strict micro-F1, lists compared in order."""
    return _extraction("CHIP-CDEE", doc, results)


def score_chip_mdcfnpc(doc: Doc, results: Sequence[str]) -> Counts:
    """CHIP-MDCFNPC, findings in dialogues: micro-F1 over (finding, status)."""
    return _extraction("CHIP-MDCFNPC", doc, results)


def score_imcs_v2_ner(doc: Doc, results: Sequence[str]) -> Counts:
    """IMCS-V2-NER, named entities in dialogues: strict micro-F1 over (entity, type)."""
    return _extraction("IMCS-V2-NER", doc, results)


def score_imcs_v2_sr(doc: Doc, results: Sequence[str]) -> Counts:
    """IMCS-V2-SR, symptoms in dialogues: micro-F1 over (symptom, status)."""
    return _extraction("IMCS-V2-SR", doc, results)


def score_chip_sts(doc: Doc, results: Sequence[str]) -> Labels:
    """CHIP-STS, do two questions mean the same: weighted F1."""
    return {"weighted_f1": _label("CHIP-STS", doc, results)}


def score_kuake_ir(doc: Doc, results: Sequence[str]) -> Labels:
    """KUAKE-IR, does a text answer a query: weighted F1."""
    return {"weighted_f1": _label("KUAKE-IR", doc, results)}


def score_kuake_qqr(doc: Doc, results: Sequence[str]) -> Labels:
    """KUAKE-QQR, how two queries relate: weighted F1."""
    return {"weighted_f1": _label("KUAKE-QQR", doc, results)}


def score_kuake_qtr(doc: Doc, results: Sequence[str]) -> Labels:
    """KUAKE-QTR, how well a title fits a query: weighted F1."""
    return {"weighted_f1": _label("KUAKE-QTR", doc, results)}


def score_chip_ctc(doc: Doc, results: Sequence[str]) -> Labels:
    """CHIP-CTC, type of an eligibility criterion: macro F1."""
    return {"macro_f1": _label("CHIP-CTC", doc, results)}


def score_kuake_qic(doc: Doc, results: Sequence[str]) -> Labels:
    """KUAKE-QIC, intent of a query: macro F1."""
    return {"macro_f1": _label("KUAKE-QIC", doc, results)}


def score_imcs_v2_dac(doc: Doc, results: Sequence[str]) -> Labels:
    """IMCS-V2-DAC, act of an utterance: macro F1."""
    return {"macro_f1": _label("IMCS-V2-DAC", doc, results)}


def score_meddg(doc: Doc, results: Sequence[str]) -> Numbers:
    """MedDG, the doctor's next reply: ROUGE by characters."""
    given = parts(results[0])
    return (NO_OVERLAP if given.lost else rouge_zh(given.answer.strip(), doc["target"].strip()))._asdict()


def score_imcs_v2_mrg(doc: Doc, results: Sequence[str]) -> Numbers:
    """IMCS-V2-MRG, a report of six sections: the mean of the sections' ROUGE by characters.

    The official score pools the sections of all documents. Official targets have all six, so that the mean
    over documents is the pooled mean. A missing section is an empty answer.
    """
    if parts(results[0]).lost:
        return NO_OVERLAP._asdict()
    gold = parse("IMCS-V2-MRG", doc["target"])
    predicted = parse("IMCS-V2-MRG", results[0])
    assert isinstance(gold, dict)
    assert isinstance(predicted, dict)
    # A target without a readable section still asks for the six.
    sections = list(gold) or list(SECTIONS)
    pairs = [rouge_zh(predicted.get(section, ""), gold.get(section, "")) for section in sections]
    return {name: sum(getattr(pair, name) for pair in pairs) / len(pairs) for name in Rouge._fields}


def _extraction(dataset: str, doc: Doc, results: Sequence[str]) -> Counts:
    """Count the records that gold and prediction share; repeated records count once."""
    choices = doc.get("answer_choices")
    gold = _distinct(parse(dataset, doc["target"], choices))
    predicted = _distinct(parse(dataset, results[0], choices))
    counts = len(gold & predicted), len(predicted - gold), len(gold - predicted)
    return {"f1": counts, "precision": counts, "recall": counts}


def _distinct(records: Any) -> set[tuple[str, ...]]:
    """Make records comparable: their values as JSON, in the order of the sorted keys."""
    return {_as_key(record) for record in records}


def _as_key(record: Record) -> tuple[str, ...]:
    return tuple(json.dumps(record[key], ensure_ascii=False) for key in sorted(record))


def _label(dataset: str, doc: Doc, results: Sequence[str]) -> tuple[str, str]:
    """Pair the gold label with the predicted one; an empty answer is the dataset's first label.

    A response that is reasoning and nothing else is no empty answer: it has no label at all.
    """
    gold = str(parse(dataset, doc["target"], doc.get("answer_choices")))
    if parts(results[0]).lost:
        return gold, ""
    predicted = str(parse(dataset, results[0], doc.get("answer_choices")))
    return gold, predicted or _FIRST_LABELS[dataset]
