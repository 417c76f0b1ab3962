"""Verdicts, calibration, protocols, sensitivity, and routing beside the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from medbench.analysis import Runs, load_runs
from medbench.analysis.answers import (
    answer_rates,
    calibration,
    choice_probabilities,
    document_values,
    label_pairs,
)
from medbench.analysis.routing.cells import cells
from medbench.analysis.routing.loads import loads_of
from medbench.analysis.routing.verdicts import (
    _divergence,
    _shuffles,
    loads_by_verdict,
    routing_by_verdict,
)
from medbench.analysis.sensitivity import protocol_agreement, sensitivity
from medbench.errors import AnalysisError
from tests.analysis.factory import ROUTING, FakeTask, router_rows, write_run


def test_document_values() -> None:
    frame = pd.DataFrame(
        {
            "score": [0.5, None, None, None, None],
            "counts.f1": [None, [2, 1, 1], [0, 0, 0], None, None],
            "labels.macro_f1": [None, None, None, ["a", "a"], ["a", "b"]],
        }
    )
    assert document_values(frame).tolist() == pytest.approx([0.5, 2 / 3, 1, 1, 0])


def test_choice_probabilities_and_calibration(runs: Runs) -> None:
    run = next(iter(runs.select(model="strong")))
    rows = choice_probabilities(run, "cmexam")
    assert len(rows) == 90
    assert all(p.sum() == pytest.approx(1) for p in rows["probabilities"])
    frame = calibration(runs)
    assert set(frame["task"]) == {"cmexam", "medqa_us"}
    row = frame.query("model == 'strong' and task == 'cmexam'").to_dict("records")[0]
    scores = runs.scores().query("model == 'strong' and task == 'cmexam'")["value"]
    assert row["accuracy"] == pytest.approx(scores.iloc[0])
    assert row["confidence"] == pytest.approx(rows["confidence"].mean())
    assert 0 <= row["ece"] <= 1


def test_label_pairs_and_rates(runs: Runs) -> None:
    pairs = label_pairs(next(iter(runs)))
    assert set(pairs["task"]) == {"kuake_ir"}
    assert len(pairs) == 45
    rates = answer_rates(runs)
    assert set(rates["task"]) == {"cmeee_v2", "kuake_ir"}
    assert rates["truncated"].tolist() == pytest.approx([0.1, 5 / 45] * 3)
    assert rates["extracted"].isna().all()


def test_sensitivity(tmp_path: Path) -> None:
    for number in range(3):
        write_run(
            tmp_path,
            "m",
            [FakeTask("t", n=50), FakeTask("same", n=20, skill=1.0)],
            run=f"2026010{number + 1}-000000-x",
            seed=number,
            manifest={"settings": {"seed": number, "limit": None}},
        )
    frame = sensitivity(load_runs(tmp_path)).set_index("task").to_dict("index")
    scores = load_runs(tmp_path).scores().query("task == 't'")["value"]
    assert frame["t"]["runs"] == 3
    assert frame["t"]["deviation"] == pytest.approx(scores.std())
    assert (frame["t"]["lowest"], frame["t"]["highest"]) == (scores.min(), scores.max())
    assert 0.2 < frame["t"]["flips"] < 0.8
    assert frame["same"]["flips"] == 0
    assert frame["t"]["varied"] == "seed: 0, 1, 2"


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        (FakeTask("t", n=2), {"limit": 2}),
        (FakeTask("t", n=40, data_source="samples"), {}),
        (FakeTask("t", n=12, data_source="samples"), {}),
        (FakeTask("t", n=30), {}),
        (FakeTask("t", n=40), {"limit": 40}),
    ],
)
def test_runs_of_other_documents_are_no_repetitions(
    tmp_path: Path, task: FakeTask, settings: dict[str, Any]
) -> None:
    for number in range(2):
        write_run(tmp_path, "m", [FakeTask("t", skill=0.9)], run=f"full{number}", seed=number)
    before = sensitivity(load_runs(tmp_path))
    write_run(tmp_path, "m", [task], run="other", manifest={"settings": settings})
    pd.testing.assert_frame_equal(sensitivity(load_runs(tmp_path)), before)
    write_run(tmp_path, "m", [task], run="again", seed=5, manifest={"settings": settings})
    assert sensitivity(load_runs(tmp_path))["runs"].tolist() == [2, 2]


def test_a_single_run_has_no_sensitivity(runs: Runs) -> None:
    assert sensitivity(runs).empty


def test_protocol_agreement(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path,
        "m",
        [
            FakeTask("exam", n=60, extra={"dataset": "exam"}),
            FakeTask("exam_cot", n=60, extra={"dataset": "exam", "protocol": "cot"}),
            FakeTask("other", n=60),
        ],
    )
    path = folder / "samples.parquet"
    frame = pd.read_parquet(path)
    frame["document"] = frame["document"].str.replace("exam_cot", "exam")
    frame.to_parquet(path)
    rows = protocol_agreement(load_runs(tmp_path)).to_dict("records")
    assert [(row["task"], row["other"]) for row in rows] == [("exam", "exam_cot")]
    first, second = (
        frame[frame["task"] == task].sort_values("doc_id")["metric.acc"].to_numpy()
        for task in ("exam", "exam_cot")
    )
    assert rows[0]["agreement"] == pytest.approx((first == second).mean())
    assert rows[0]["kappa"] == pytest.approx(cohen_kappa_score(first, second))


def _routing(right: NDArray[np.bool_], lean: float) -> pa.Table:
    """One router per projection; right documents prefer expert 0 by ``lean``."""
    rng = np.random.default_rng(1)
    rows = []
    for document, ok in enumerate(right):
        for projection in ("gate", "up", "down"):
            logits = rng.normal(size=(30, 4))
            logits[:, 0] += lean if ok else 0.0
            rows += router_rows("t", document, "prompt", 0, projection, logits)
    return pa.Table.from_pylist(rows, schema=ROUTING)


@pytest.mark.parametrize("lean", [0.0, 1.0])
def test_routing_beside_answers(tmp_path: Path, lean: float) -> None:
    folder = write_run(tmp_path, "m", [FakeTask("t", n=80, skill=0.5)])
    frame = pd.read_parquet(folder / "samples.parquet")
    right = frame.sort_values("doc_id")["metric.acc"].to_numpy() == 1
    pq.write_table(_routing(right, lean), folder / "routing.parquet")
    loaded = load_runs(tmp_path)
    row = routing_by_verdict(loaded, permutations=300).to_dict("records")[0]
    loads = loads_by_verdict(loaded, permutations=300)
    assert (row["right"], row["wrong"]) == (right.sum(), (~right).sum())
    assert len(loads) == 3 * 4
    assert loads["difference"].sum() == pytest.approx(0, abs=1e-9)
    found = loads[loads["p_adjusted"] <= 0.05]
    if lean:
        assert row["p_value"] < 0.01
        assert row["divergence"] > 2 * row["chance"]
        assert (found.loc[found["expert"] == 0, "difference"] > 0).all()
        assert set(found["expert"]) >= {0}
    else:
        assert row["divergence"] < 2 * row["chance"]  # the level itself is tested below


def test_permuted_verdicts_are_found_different_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(5)
    right = rng.random(60) < 0.5
    loads = loads_of(cells(_routing(right, 0.0).to_pandas().assign(model="", run="")))
    found = 0
    for seed in range(200):
        shuffled = rng.permutation(right)
        observed = _divergence(loads, shuffled[None])[0]
        drawn = _divergence(loads, _shuffles(shuffled, seed, 99))
        found += (drawn >= observed - 1e-12).sum() + 1 <= 5
    assert 0.01 <= found / 200 <= 0.1


def test_routing_beside_answers_needs_documents(runs: Runs, tmp_path: Path) -> None:
    write_run(tmp_path, "m", [FakeTask("t")])
    with pytest.raises(AnalysisError, match="--routing documents"):
        routing_by_verdict(load_runs(tmp_path))
