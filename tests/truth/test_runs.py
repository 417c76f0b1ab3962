"""What `medbench run` prints and stores, for every kind of task and every way to ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.truth.runs import Made, run, said
from tests.truth.scores import check_printed, check_table

FEW = "pubmedqa,cmexam,promptcblue_chip_ctc"


def check(results: Path, *words: object) -> Made:
    """Run, and compare everything printed and stored."""
    (made,) = run(results, *words)
    check_printed(made)
    check_table(made, said("run", "--results", results, *words))
    return made


def test_a_run_of_a_few_documents(tmp_path: Path) -> None:
    made = check(tmp_path, "--tasks", FEW, "--limit", 2)
    assert {row["n"] for task, row in made.main.items() if row["kind"] == "task"} == {2}


@pytest.mark.parametrize(
    "words",
    [
        ["--circular", "--shuffle-options", 7, "--limit", 2],
        pytest.param(["--circular"], marks=[pytest.mark.slow, pytest.mark.ci]),
        pytest.param(["--shuffle-options", 5], marks=[pytest.mark.slow, pytest.mark.ci]),
    ],
)
def test_other_orders_of_the_options(words: list[object], tmp_path: Path) -> None:
    made = check(tmp_path, "--model", "demo-early", "--tasks", "pubmedqa,cmexam_single", *words)
    if "--circular" in words:
        sizes = {made.rows[task, "acc"]["n"] / made.rows[task, "acc_circular"]["n"] for task in made.main}
        assert sizes == {3, 5}
    else:
        assert not any(metric == "acc_circular" for _, metric in made.rows)


def test_examples_before_the_question(tmp_path: Path) -> None:
    made = check(tmp_path, "--model", "demo-early", "--tasks", "pubmedqa", "--num-fewshot", 1)
    assert made.rows["pubmedqa", "acc"]["num_fewshot"] == 1


def test_a_task_without_metadata(own_tasks: Path, tmp_path: Path) -> None:
    made = check(tmp_path, "--tasks", "own_words", "--tasks-dir", own_tasks)
    assert made.rows["own_words", "acc"]["interval"] == "wilson-clustered"


def test_a_model_without_routers(plain_model: Path, tmp_path: Path) -> None:
    made = check(tmp_path, "--model", plain_model, "--tasks", "pubmedqa,cmexam_single", "--limit", 4)
    assert made.printed["settings"]["chat_template"] is True


@pytest.mark.slow
@pytest.mark.ci
def test_every_kind_of_task(evaluated: tuple[Path, list[Made]]) -> None:
    for made in evaluated[1]:
        check_printed(made)
        assert sum(task.trusted for task in made.tasks.values()) <= 8  # garbled answers of the random model
