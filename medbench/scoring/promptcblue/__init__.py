"""PromptCBLUE: the official readings of an answer and the official scores.

Source: github.com/michael-wzhu/PromptCBLUE, ``src/evaluation`` (Zhu et al. 2023, arXiv:2310.14151).
"""

from __future__ import annotations

from medbench.scoring.promptcblue.scores import (
    MAIN_METRICS,
    overall,
    score_chip_cdee,
    score_chip_cdn,
    score_chip_ctc,
    score_chip_mdcfnpc,
    score_chip_sts,
    score_cmeee_v2,
    score_cmeie,
    score_imcs_v2_dac,
    score_imcs_v2_mrg,
    score_imcs_v2_ner,
    score_imcs_v2_sr,
    score_kuake_ir,
    score_kuake_qic,
    score_kuake_qqr,
    score_kuake_qtr,
    score_meddg,
)
from medbench.scoring.promptcblue.structures import DATASETS, parse

__all__ = [
    "DATASETS",
    "MAIN_METRICS",
    "overall",
    "parse",
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
