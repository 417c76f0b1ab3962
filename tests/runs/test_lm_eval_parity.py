"""Ordinary lm-eval tasks run unmodified, and every score is the one that lm-eval itself gives.

The run answers all tasks at once. Then ``lm_eval.simple_evaluate`` is given the very same answers: it fails
if it asks anything else, and must come to the same scores.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medbench.api import Evaluation, evaluate_with_outcome
from tests.runs.lm_eval_tasks.data import write_data
from tests.runs.lm_eval_tasks.definitions import GROUPS, TASKS, write_tasks

#: One of each output type and of what is scored unlike a mean: these run with every test.
FAST = [
    "mc_acc",
    "mc_f1",
    "mc_brier",
    "mc_several_inputs",
    "shots_train",
    "shots_from_test",
    "data_csv",
    "write_texts",
    "write_bypass",
    "filters_two",
    "loglikelihood",
    "rolling",
    "code_results",
]
#: lm-eval draws one task after the other from one generator; alone, a task draws the same in both.
ALONE = "code_chance"
TOGETHER = [name for name in TASKS if name != ALONE]


class Both:
    """A run, and what lm-eval makes of its answers."""

    def __init__(
        self,
        folder: Path,
        names: list[str],
        *,
        chat_template: bool = False,
        allow_code: bool = True,
        **options: Any,
    ) -> None:
        tasks = folder / "tasks"
        data = tasks / "data"
        data.mkdir(parents=True)
        write_data(data)
        write_tasks(tasks, data, names if set(names) <= set(TASKS) else None)
        self.outcome: Evaluation = evaluate_with_outcome(
            model="demo",
            tasks=names,
            task_folders=[tasks],
            allow_code=allow_code,
            results=folder / "results",
            chat_template=chat_template,
            system_prompt="",
            routing="off",
            report=False,
            quiet=True,
            **options,
        )
        self.scores = self.outcome.runs.scores()
        self.tasks = tasks
        self.theirs = _simple_evaluate(
            self.outcome.directory,
            tasks,
            [name for name in names if name in TASKS],
            chat_template=chat_template,
            **options,
        )


def _simple_evaluate(
    run: Path, tasks: Path, names: list[str], *, chat_template: bool = False, **options: Any
) -> dict[str, Any]:
    import json

    import lm_eval.models  # noqa: F401
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    import medbench.demo
    from medbench.models import StoredLM, load_tokenizer
    from medbench.runs.harness import quiet_harness
    from medbench.runs.store import ResponseStore

    checkpoint = Path(medbench.demo.__file__).parent / "checkpoint"
    identity = json.loads((run / "run.json").read_text(encoding="utf-8"))["answer_identity"]
    with quiet_harness(allow_code=True), ResponseStore(run / "responses.sqlite", model=identity) as store:
        found: Any = simple_evaluate(
            model=StoredLM(load_tokenizer(checkpoint), store, seed=1234),
            tasks=list(names),
            task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
            bootstrap_iters=0,
            apply_chat_template=chat_template,
            **options,
        )
    return dict(found)


def compare(both: Both, name: str) -> None:
    """Every metric and pipeline of a task: both know it, and both give it the same value."""
    rows = both.scores[both.scores["task"] == name]
    theirs = {
        key: value
        for key, value in both.theirs["results"][name].items()
        if "," in key and not key.partition(",")[0].endswith("_stderr")
    }
    mine = {f"{row['metric']},{row['filter']}": row for row in rows.to_dict("records")}
    assert mine.keys() == theirs.keys()
    for key, value in theirs.items():
        assert mine[key]["value"] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), key
        direction = both.theirs["higher_is_better"][name].get(key.partition(",")[0], True)
        assert bool(mine[key]["higher_is_better"]) == (direction is not False)
    assert rows["main"].sum() == 1
    assert (rows["num_fewshot"] == both.theirs["n-shot"][name]).all()
    assert rows["n"].max() == both.theirs["n-samples"][name]["effective"]


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return Both(tmp_path_factory.mktemp("fast"), FAST)


@pytest.mark.parametrize("name", FAST)
def test_scores_are_lm_evals_own(fast: Both, name: str) -> None:
    compare(fast, name)


def test_no_task_fails_and_every_score_that_can_has_an_interval(fast: Both) -> None:
    assert fast.outcome.failures == {}
    without = fast.scores[fast.scores["interval"] == "none"]
    said = [text for text in fast.outcome.warnings if "no interval for" in text]
    assert len(without) == len(said)
    # These say the same of any documents, or of all of these.
    assert set(without["task"]) <= {"write_bypass", "code_results", "filters_two", "shots_train"}
    for row in fast.scores[fast.scores["interval"] != "none"].to_dict("records"):
        assert row["low"] <= row["value"] + 1e-9, (row["task"], row["metric"])
        assert row["value"] <= row["high"] + 1e-9, (row["task"], row["metric"])
        assert row["low"] < row["high"], (row["task"], row["metric"])


def _by_metric(both: Both, task: str) -> dict[str, dict[str, Any]]:
    rows = both.scores[both.scores["task"] == task]
    return {
        str(row["metric"]): {str(key): value for key, value in row.items()} for row in rows.to_dict("records")
    }


def test_the_interval_of_a_foreign_function_is_of_that_function(fast: Both) -> None:
    rows = _by_metric(fast, "code_results")
    assert rows["mean"]["aggregation"] == "custom:mean"
    assert rows["spread"]["aggregation"] == "custom:spread"
    assert rows["partial"]["aggregation"] == "custom:partial"
    assert rows["found"]["aggregation"] == "micro_f1"
    assert rows["mean"]["high"] < 1  # a mean of the lengths would be a hundred times that


def test_a_metric_of_some_documents_counts_only_those(fast: Both) -> None:
    rows = _by_metric(fast, "code_results")
    samples = pd.read_parquet(fast.outcome.directory / "samples.parquet")
    samples = samples[samples["task"] == "code_results"]
    assert rows["rare"]["n"] == samples["metric.rare"].notna().sum() < len(samples)
    assert samples["document"].is_unique
    assert samples["cluster"].is_unique


def test_leaking_examples_are_said(fast: Both) -> None:
    said = [text for text in fast.outcome.warnings if "drawn from the documents" in text]
    assert [text.partition(":")[0] for text in said] == ["shots_from_test"]


def test_scores_can_be_recomputed_from_the_documents(fast: Both) -> None:
    import json

    from lm_eval.api.registry import AGGREGATION_REGISTRY

    samples = pd.read_parquet(fast.outcome.directory / "samples.parquet")
    checked = 0
    for row in fast.scores.to_dict("records"):
        aggregation, metric = row["aggregation"], row["metric"]
        if aggregation not in AGGREGATION_REGISTRY or metric == "bypass":
            continue
        suffix = metric if row["filter"] in ("none", "strict") else f"{metric},{row['filter']}"
        mine = samples[samples["task"] == row["task"]]
        numbers, items = (mine.get(f"{kind}.{suffix}") for kind in ("metric", "items"))
        values = (
            numbers.dropna().tolist()
            if numbers is not None and numbers.notna().any()
            else [json.loads(text) for text in items.dropna()]
        )
        if aggregation == "nanmean":
            values = [value for value in values if not math.isnan(value)]
        assert AGGREGATION_REGISTRY[aggregation](values) == pytest.approx(row["value"], rel=1e-9)
        checked += 1
    assert checked >= 20


@pytest.mark.parametrize("shots", [0, 2])
def test_a_number_of_examples_asked_for_is_taken_as_lm_eval_takes_it(tmp_path: Path, shots: int) -> None:
    both = Both(tmp_path, ["shots_dev", "no_shots"], num_fewshot=shots)
    for name in ("shots_dev", "no_shots"):
        compare(both, name)
    assert any("takes no examples" in text for text in both.outcome.warnings) == bool(shots)


def test_a_task_that_draws_at_random_draws_what_lm_eval_draws(tmp_path: Path) -> None:
    compare(Both(tmp_path, [ALONE]), ALONE)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return Both(tmp_path_factory.mktemp("every"), [*GROUPS, *TOGETHER])


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("name", TOGETHER)
def test_scores_of_every_form_are_lm_evals_own(every: Both, name: str) -> None:
    assert every.outcome.failures == {}
    compare(every, name)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("name", GROUPS)
def test_averages_of_groups_are_lm_evals_own(every: Both, name: str) -> None:
    rows = every.scores[(every.scores["task"] == name) & (every.scores["kind"] == "group")]
    theirs = {
        key: value
        for key, value in _simple_evaluate(every.outcome.directory, every.tasks, [name])["groups"][
            name
        ].items()
        if "," in key and not key.partition(",")[0].endswith("_stderr")
    }
    mine = {f"{row['metric']},{row['filter']}": row["value"] for row in rows.to_dict("records")}
    assert theirs
    for key, value in theirs.items():
        assert mine[key] == pytest.approx(value, abs=1e-9), key
    assert rows["main"].sum() == 1


@pytest.mark.slow
@pytest.mark.ci
def test_scores_in_a_chat_are_lm_evals_own(tmp_path: Path) -> None:
    names = ["mc_acc", "mc_prefix", "mc_several_inputs", "shots_dev", "shots_generated", "write_exact"]
    both = Both(tmp_path, names, chat_template=True)
    for name in names:
        compare(both, name)


def test_without_leave_for_code_scores_are_the_same(tmp_path: Path) -> None:
    """Templates are then rendered in the sandbox; lm-eval's own rendering asks for the same answers."""
    names = ["mc_choice_template", "mc_described", "loglikelihood", "filters_two", "shots_otherwise"]
    both = Both(tmp_path, names, allow_code=False)
    for name in names:
        compare(both, name)


@pytest.mark.slow
@pytest.mark.ci
def test_every_form_without_code_runs_without_leave(tmp_path: Path) -> None:
    names = [name for name in TASKS if not name.startswith("code_")]
    both = Both(tmp_path, names, allow_code=False)
    assert both.outcome.failures == {}
    for name in names:
        compare(both, name)


def test_there_are_forms_enough() -> None:
    assert len(TASKS) >= 40
    assert set(FAST) <= set(TASKS)
