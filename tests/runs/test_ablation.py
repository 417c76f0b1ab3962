"""The demo with experts taken away: the same scores as a run when intact, and losses where they belong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medbench import ablate, evaluate
from medbench.analysis import load_runs
from medbench.analysis.routing.ablation import (
    ablation_contrasts,
    ablation_effects,
    find_ablations,
    read_ablation,
)
from medbench.analysis.routing.by_kind import regroup, specialization, task_groups
from medbench.errors import AnalysisError, MedbenchError
from medbench.statistics import document_scores

# Pairs of experts that the demo's routers were drawn to, kind by kind (medbench/demo/train.py).
KINDS = (
    "en-exam",
    "en-generation",
    "zh-classification",
    "zh-exam",
    "zh-extraction",
    "zh-generation",
    "zh-matching",
)
PAIRS = {kind: (2 * i % 8, (2 * i + 1) % 8) for i, kind in enumerate(KINDS)}


def test_intact_scores_are_those_of_a_run_and_variants_join(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    tasks = ["ceval_medical_basic_medicine", "promptcblue_chip_sts"]
    first = ablate(tasks=tasks, variants=["top1"], results=tmp_path, quiet=True)
    assert set(first.seconds) == {"intact", "top1"}
    assert not first.failures
    second = ablate(tasks=tasks, variants=["top1", "off@0.gate"], results=tmp_path, quiet=True)
    assert second.path == first.path
    assert set(second.seconds) == {"off@0.gate"}  # the others were there
    frame = read_ablation(second.path)
    assert frame["variant"].unique().tolist() == ["intact", "top1", "off@0.gate"]
    assert set(json.loads((second.path / "ablation.json").read_bytes())["seconds"]) == set(frame["variant"])

    runs = evaluate(tasks=tasks, results=tmp_path, report=False, quiet=True)
    scores = runs.scores().query("main and kind == 'task'").set_index("task")["value"]
    effects = ablation_effects(frame)
    for task, part in effects.groupby("task"):
        assert part["intact"].tolist() == pytest.approx([scores[task]] * 2)
    # The run's own folder is not mistaken for the ablation's, nor the other way round.
    assert [run.run for run in load_runs(tmp_path)] == [run.run for run in runs]
    assert find_ablations(next(iter(runs))) == [second.path]


@pytest.mark.parametrize("variant", ["expert:8", "off@7", "nonsense"])
def test_what_cannot_be_done_is_said_before_anything_is_computed(tmp_path: Path, variant: str) -> None:
    with pytest.raises(MedbenchError):
        ablate(tasks=["ceval_medical_basic_medicine"], variants=[variant], results=tmp_path, quiet=True)
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.slow
@pytest.mark.ci
def test_every_kind_misses_its_own_experts_more_than_others_do(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    knocked = {kind: "expert:" + "+".join(map(str, pair)) for kind, pair in PAIRS.items()}
    outcome = ablate(
        tasks=["medbench_all"],
        variants=[*dict.fromkeys(knocked.values()), "off"],
        results=tmp_path,
        quiet=True,
    )
    frame = read_ablation(outcome.path)
    found = ablation_contrasts(frame).set_index(["variant", "kind"])
    for kind, variant in knocked.items():
        assert found["contrast"].to_dict()[variant, kind] < -0.2, kind
        assert found["high"].to_dict()[variant, kind] < 0, kind
        # The kinds that share the pair lose most of all.
        owners = {other for other, pair in PAIRS.items() if pair == PAIRS[kind]}
        assert set(found.xs(variant, level="variant")["change"].nsmallest(len(owners)).index) == owners
    # The base knows no answer: without experts the exams are guessed.
    exams = frame[frame["family"] == "exam"].groupby("variant")["value"].mean().to_dict()
    assert exams["intact"] > 0.9
    assert exams["off"] < 0.3


@pytest.mark.slow
@pytest.mark.ci
def test_experts_serve_their_own_kind_beyond_chance(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    runs = evaluate(
        tasks=["medbench_all"], limit=4, results=tmp_path, routing="documents", report=False, quiet=True
    )
    found = specialization(regroup(runs.routing(), task_groups(runs)), across_routers=True)
    for kind, part in found.groupby("task"):
        rates = part.set_index("expert")
        assert part["chance"].iloc[0] == 0.25
        for expert in PAIRS[str(kind)]:
            assert rates["low"].to_dict()[expert] > 0.25, f"{kind}, expert {expert}"
        # English generation asks the exams' questions again, and leans on the exams' experts as well.
        if kind != "en-generation":
            assert set(rates["rate"].nlargest(2).index) == set(PAIRS[str(kind)]), kind


def _frame(intact: list[float], changed: list[float], kind: list[str]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "variant": variant,
                "task": [f"task-{name}" for name in kind],
                "document": [str(i) for i in range(len(kind))],
                "cluster": [str(i) for i in range(len(kind))],
                "metric": "acc",
                "aggregation": "mean",
                "higher_is_better": True,
                "language": [name.split("-")[0] for name in kind],
                "family": [name.split("-")[1] for name in kind],
                "value": values,
                "counts": None,
                "labels": None,
            }
        )
        for variant, values in (("intact", intact), ("off", changed))
    ]
    return pd.concat(parts, ignore_index=True)


def test_contrasts_of_known_changes() -> None:
    kind = ["zh-exam"] * 30 + ["en-exam"] * 50
    intact = [1.0] * 80
    changed = [0.0] * 12 + [1.0] * 18 + [0.0] * 5 + [1.0] * 45
    found = ablation_contrasts(_frame(intact, changed, kind)).set_index("kind")
    assert found["change"].to_dict() == pytest.approx({"en-exam": -0.1, "zh-exam": -0.4})
    assert found["others"].to_dict() == pytest.approx({"en-exam": -0.4, "zh-exam": -0.1})
    assert found["contrast"].to_dict() == pytest.approx({"en-exam": 0.3, "zh-exam": -0.3})
    # Standard error by hand: sqrt(0.4 * 0.6 / 30 + 0.1 * 0.9 / 50).
    reach = 1.96 * np.sqrt(0.4 * 0.6 / 30 + 0.1 * 0.9 / 50)
    row = found.loc["zh-exam"]
    assert (row["low"], row["high"]) == pytest.approx((-0.3 - reach, -0.3 + reach), abs=0.03)


@pytest.mark.parametrize(("changed", "contrast"), [([1.0] * 80, 0.0), ([0.0] * 30 + [1.0] * 50, -1.0)])
def test_kinds_that_change_alike_leave_their_contrast_uncertain(
    changed: list[float], contrast: float
) -> None:
    kind = ["zh-exam"] * 30 + ["en-exam"] * 50
    row = ablation_contrasts(_frame([1.0] * 80, changed, kind)).set_index("kind").to_dict("index")["zh-exam"]
    assert row["contrast"] == contrast
    # At most these shares of either kind may change otherwise, each by 1 (unchanged) or 2 (all lost).
    mine, others = (1 - 0.025 ** (1 / n) for n in (30, 50))
    if contrast == 0:
        reach = np.hypot(mine, others)
        assert (row["low"], row["high"]) == pytest.approx((-reach, reach))
    else:
        assert (row["low"], row["high"]) == pytest.approx((-1 - others, -1 + np.hypot(2 * mine, others)))


def test_effects_of_known_changes() -> None:
    kind = ["zh-exam"] * 20
    effects = ablation_effects(_frame([1.0] * 15 + [0.0] * 5, [0.0] * 6 + [1.0] * 14, kind))
    row = effects.to_dict("records")[0]
    assert (row["intact"], row["score"]) == pytest.approx((0.75, 0.7))
    assert row["difference"] == pytest.approx(-0.05)
    assert (row["wins"], row["losses"], row["test"]) == (5, 6, "mcnemar-exact")
    assert row["p_adjusted"] == row["p_value"] == pytest.approx(1)
    nothing = ablation_effects(_frame([1.0] * 20, [1.0] * 20, kind)).to_dict("records")[0]
    assert nothing["difference"] == 0
    assert nothing["low"] < 0 < nothing["high"]


def test_repeated_documents_are_paired_in_their_order() -> None:
    frame = _frame([1.0, 0.0, 1.0], [0.0, 0.0, 1.0], ["zh-exam"] * 3)
    frame["document"] = "same"
    assert ablation_contrasts(frame)["change"].tolist() == pytest.approx([-1 / 3])


def test_other_documents_are_refused() -> None:
    frame = _frame([1.0, 0.0], [0.0, 0.0], ["zh-exam"] * 2)
    frame.loc[frame.index[-1], "document"] = "another"
    with pytest.raises(AnalysisError, match="other documents"):
        ablation_effects(frame)
    with pytest.raises(AnalysisError, match="other documents"):
        ablation_contrasts(frame)
    with pytest.raises(AnalysisError, match="intact"):
        ablation_effects(frame[frame["variant"] == "off"])


def test_a_task_that_failed_in_a_variant_is_left_out_of_contrasts() -> None:
    kind = ["zh-exam"] * 4 + ["en-exam"] * 4
    frame = _frame([1.0] * 8, [0.0] * 8, kind)
    frame = frame[(frame["variant"] == "intact") | (frame["task"] == "task-zh-exam")]
    assert ablation_contrasts(frame)["kind"].tolist() == ["zh-exam"]
    assert ablation_effects(frame)["task"].tolist() == ["task-zh-exam"]
    with pytest.raises(AnalysisError, match="no task"):
        ablation_contrasts(frame[(frame["variant"] == "intact") == (frame["task"] == "task-en-exam")])


@pytest.mark.parametrize("values", [[0.0, 50.0], [-0.5, 0.5], [1.0, 1.5]])
def test_documents_on_another_scale_are_not_pooled_with_shares(values: list[float]) -> None:
    frame = _frame([1, 1, 0, 0], [0, 1, 0, 0], ["en-exam"] * 2 + ["zh-exam"] * 2)
    other = _frame(values, values[::-1], ["en-exam", "zh-exam"]).assign(task="length")
    found = ablation_contrasts(pd.concat([frame, other], ignore_index=True), ["language"])
    pd.testing.assert_frame_equal(found, ablation_contrasts(frame, ["language"]))
    with pytest.raises(AnalysisError, match="between 0 and 1"):
        ablation_contrasts(other, ["language"])


def test_a_damaged_table_is_not_gone_on_with(tmp_path: Path) -> None:
    options = {"tasks": ["ceval_medical_basic_medicine"], "limit": 1, "results": tmp_path, "quiet": True}
    outcome = ablate(variants=["off"], **options)  # type: ignore[arg-type]
    for damage in (b"", outcome.documents.read_bytes()[:-9]):
        outcome.documents.write_bytes(damage)
        with pytest.raises(MedbenchError, match="cannot be read"):
            ablate(variants=["off"], **options)  # type: ignore[arg-type]
    pd.DataFrame({"other": [1]}).to_parquet(outcome.documents)
    with pytest.raises(MedbenchError, match="cannot be read"):
        ablate(variants=["off"], **options)  # type: ignore[arg-type]


def test_no_ablation_is_no_ablation(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="cannot be read"):
        read_ablation(tmp_path)
    pd.DataFrame({"variant": ["off"]}).to_parquet(tmp_path / "documents.parquet")
    with pytest.raises(AnalysisError, match="no ablation"):
        read_ablation(tmp_path)


def test_document_scores() -> None:
    assert document_scores([0.5, 1], "mean").tolist() == [0.5, 1]
    assert document_scores([["a", "a"], ["a", "b"]], "macro_f1").tolist() == [1, 0]
    counts = [[1, 1, 0], [0, 0, 0], [0, 2, 1]]
    assert document_scores(counts, "micro_f1").tolist() == pytest.approx([2 / 3, 1, 0])
