"""Scores of labels in resamples, which may lack some of the classes, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics

from medbench.statistics import sufficient

CLASSES = ["年龄", "疾病", "性别", "药物", "rare"]


@pytest.mark.parametrize("average", ["macro", "weighted"])
@pytest.mark.parametrize("score", ["f1", "precision", "recall"])
@pytest.mark.parametrize("seed", range(5))
def test_a_resample_scores_the_classes_that_it_has(average: str, score: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gold = rng.choice(CLASSES, size=12, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    said = np.where(rng.random(12) < 0.6, gold, rng.choice(CLASSES, size=12))
    mine = sufficient(np.column_stack([gold, said]), f"{average}_{score}", CLASSES)
    function = getattr(sklearn.metrics, f"{score}_score")
    fewest = len(CLASSES)
    for _ in range(20):
        drawn = rng.integers(0, 12, size=12)
        fewest = min(fewest, len({*gold[drawn], *said[drawn]}))
        found = float(mine.finish(np.asarray(mine.rows[drawn]).sum(axis=0)))
        assert found == pytest.approx(function(gold[drawn], said[drawn], average=average, zero_division=0))
    assert fewest < len(CLASSES)
