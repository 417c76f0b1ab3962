"""``process_results`` functions of the authors' protocols: their verdicts, and our reading beside them.

A task names the function of its protocol and dataset; a scorer is never combined with the passes of another
repository's generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from medbench.scoring.authors.protocols import rule
from medbench.scoring.exams import Doc, Scores, score_generated
from medbench.scoring.reasoning import parts

__all__ = [
    "ProcessResults",
    "medcare_ceval",
    "medcare_cmb",
    "medcare_cmexam",
    "medcare_cmmlu",
    "medcare_medmcqa",
    "medcare_medqa",
    "medcare_medqa_mainland",
    "medcare_mmedbench_en",
    "medcare_mmedbench_zh",
    "medcare_mmlu",
    "medcare_ple_pharmacy",
    "medcare_ple_tcm",
    "ming_ceval",
    "ming_cmb",
    "ming_cmexam",
    "ming_cmmlu",
    "ming_medmcqa",
    "ming_medqa",
    "ming_mmedbench_en",
    "ming_mmedbench_zh",
    "ming_mmlu",
    "ming_ple_pharmacy",
    "ming_ple_tcm",
]

ProcessResults: TypeAlias = Callable[[Doc, Sequence[str]], Scores]


def _one_pass(dataset: str) -> ProcessResults:
    """May's rule as ``acc_ming`` and April's as ``acc_ming_april``, on the stripped response."""
    may, april = rule("ming", dataset), rule("ming_april", dataset)

    def score(doc: Doc, results: Sequence[str]) -> Scores:
        text = parts(results[0]).answer.strip().removesuffix("<|im_end|>").strip()
        gold = doc["answer"]
        verdicts = {"acc_ming": float(may(text, gold)), "acc_ming_april": float(april(text, gold))}
        return verdicts | score_generated(doc, results)

    return score


def _two_passes(dataset: str) -> ProcessResults:
    """MedCare's rule as ``acc_medcare``, on both passes as they are."""
    judge = rule("medcare", dataset)

    def score(doc: Doc, results: Sequence[str]) -> Scores:
        verdict = judge(parts(results[0]).answer, doc["answer"])
        return {"acc_medcare": float(verdict)} | score_generated(doc, results)

    return score


ming_medqa = _one_pass("MedQA_cot")
ming_medmcqa = _one_pass("MedMCQA_cot")
ming_mmlu = _one_pass("mmlu_cot")
ming_ceval = _one_pass("ceval_cot")
ming_cmmlu = _one_pass("cmmlu_cot")
ming_cmexam = _one_pass("CMExam_cot")
ming_cmb = _one_pass("CMB_cot")
ming_ple_tcm = _one_pass("PLE_TCM_cot")
ming_ple_pharmacy = _one_pass("PLE_Pharmacy_cot")
ming_mmedbench_en = _one_pass("mmedbench_en_cot")
ming_mmedbench_zh = _one_pass("mmedbench_zh_cot")

medcare_medqa = _two_passes("MedQA")
medcare_medqa_mainland = _two_passes("medqa_mainland")
medcare_medmcqa = _two_passes("MedMCQA")
medcare_mmlu = _two_passes("mmlu")
medcare_ceval = _two_passes("ceval")
medcare_cmmlu = _two_passes("cmmlu")
medcare_cmexam = _two_passes("CMExam")
medcare_cmb = _two_passes("CMB")
medcare_ple_tcm = _two_passes("PLE_TCM")
medcare_ple_pharmacy = _two_passes("PLE_Pharmacy")
medcare_mmedbench_en = _two_passes("mmedbench_en")
medcare_mmedbench_zh = _two_passes("mmedbench_zh")
