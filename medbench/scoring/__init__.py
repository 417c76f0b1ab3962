"""How an answer becomes a score: pure functions that task definitions name with ``!function``.

A ``process_results`` function takes ``(doc, results)`` and returns values; the type of a value decides which
aggregation fits it (numbers: ``mean``; ``(tp, fp, fn)``: ``micro_*``; ``(gold, predicted)``: ``macro_*`` and
``weighted_*``). docs/scoring.md has the rule and the source of each.

Aggregations
    ``medbench.scoring.aggregation``: ``mean``, ``micro_f1``, ``micro_precision``, ``micro_recall``,
    ``macro_f1``, ``macro_precision``, ``macro_recall``, ``weighted_f1``, ``weighted_precision``,
    ``weighted_recall``

Exams, ``medbench.scoring.exams``
    - ``score_generated``: ``acc``, ``extracted``, ``truncated``
    - ``score_yes_no_maybe``: ``acc``, ``extracted``, ``truncated``
    - ``score_rationale``: ``rouge_1``, ``rouge_2``, ``rouge_l``, ``bleu_1``, ``truncated``
    - ``read_answer(doc, text)``: the letters that a generated answer commits to

The authors' protocols, ``medbench.scoring.authors``
    - ``exams.ming_*``: ``acc_ming``, ``acc_ming_april`` beside those; ``exams.medcare_*``: ``acc_medcare``
    - ``verdict(repository, dataset, language, text, gold)``: what a repository's scorer says

PromptCBLUE, ``medbench.scoring.promptcblue``
    - ``f1``, ``precision``, ``recall`` (counts): ``score_cmeee_v2``, ``score_cmeie``, ``score_chip_cdn``,
      ``score_chip_cdee``, ``score_chip_mdcfnpc``, ``score_imcs_v2_ner``, ``score_imcs_v2_sr``
    - ``macro_f1`` (labels): ``score_chip_ctc``, ``score_kuake_qic``, ``score_imcs_v2_dac``
    - ``weighted_f1`` (labels): ``score_chip_sts``, ``score_kuake_ir``, ``score_kuake_qqr``,
      ``score_kuake_qtr``
    - ``rouge_1``, ``rouge_2``, ``rouge_l`` (numbers): ``score_imcs_v2_mrg``, ``score_meddg``
    - ``parse(task_dataset, text, answer_choices)``, ``MAIN_METRICS``, ``overall(main_scores)``
    - ``labels.label_choices``, ``labels.score_label_likelihoods``: the label tasks by log-likelihood; their
      metric by the sum, and with ``_norm`` by the mean per character

Nothing heavy is imported here: scikit-learn, rouge-score and nltk load when first needed.
"""

from __future__ import annotations

__all__: list[str] = []
