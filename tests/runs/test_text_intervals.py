"""Means of overlaps between texts get resampled intervals: they are skewed, and never below 0 or above 1."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lm_eval.api.metrics import mean

from medbench.api import evaluate_with_outcome
from medbench.catalog.tasks import definitions_folder
from medbench.runs.estimates import estimate

TASK = """include: {include}
task: short_reports
target_delimiter: "\\n"
generation_kwargs: {{until: ["<|im_end|>"], do_sample: false, max_gen_toks: 24}}
metadata: {{version: 1.0, dataset: promptcblue_imcs_v2_mrg, family: generation, main_metric: rouge_l}}
process_results: !function medbench.scoring.promptcblue.score_imcs_v2_mrg
"""
SKEWED = [0.0] * 17 + [0.1, 0.5, 1.0]


@pytest.mark.parametrize("metric", ["rouge_l", "rouge_1", "rouge_2", "bleu_1", "bleu_4"])
def test_overlaps_of_texts_are_resampled(metric: str) -> None:
    clusters = [str(number) for number in range(len(SKEWED))]
    value = float(np.mean(SKEWED))
    found = estimate(metric, value, SKEWED, mean, clusters=clusters, seed=1).interval
    assert found.method.startswith("bootstrap")
    # The formula for means reaches below 0 here.
    wide = 2.09 * float(np.std(SKEWED, ddof=1)) / math.sqrt(len(SKEWED))
    assert value - wide < 0 <= found.low < value < found.high
    plain = estimate("length", value, SKEWED, mean, clusters=clusters, seed=1).interval
    assert not plain.method.startswith("bootstrap")
    assert (plain.low, plain.high) != (found.low, found.high)


def test_a_run_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    include = definitions_folder("tasks") / "promptcblue" / "_generation"
    (folder / "short.yaml").write_text(TASK.format(include=include), encoding="utf-8")
    outcome = evaluate_with_outcome(
        tasks=["short_reports"],
        task_folders=[folder],
        results=tmp_path / "results",
        limit=4,
        report=False,
        quiet=True,
    )
    scores = outcome.runs.scores()
    [row] = scores[scores["metric"] == "rouge_l"].to_dict("records")
    values = pd.read_parquet(outcome.directory / "samples.parquet")["metric.rouge_l"]
    assert row["value"] == pytest.approx(values.mean(), abs=1e-12)
    assert values.nunique() > 1
    assert row["interval"].startswith("bootstrap")
    assert values.min() <= row["low"] <= row["value"] <= row["high"] <= values.max()
