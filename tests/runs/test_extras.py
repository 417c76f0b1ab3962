"""Whatever fails beside the scores is a warning, on the terminal and in run.json, and costs no score."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medbench.analysis import load_runs
from medbench.api import Evaluation, evaluate_with_outcome
from medbench.errors import RunError
from medbench.reports import write_report
from medbench.runs import estimates, execution, extras, tables
from tests.runs.lm_eval_tasks.data import write_data
from tests.runs.lm_eval_tasks.definitions import write_tasks

NAMES = ["mc_acc", "write_texts"]


class BrokenError(Exception):
    """What goes wrong here."""


def broken(*_: Any, **__: Any) -> Any:
    raise BrokenError("on purpose")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    (folder / "data").mkdir()
    (folder / "tasks").mkdir()
    write_data(folder / "data")
    write_tasks(folder / "tasks", folder / "data", NAMES)
    (folder / "tasks" / "both.yaml").write_text(f"group: both\ntask: {NAMES}\n", encoding="utf-8")
    return folder / "tasks"


def run(folder: Path, results: Path, **options: Any) -> Evaluation:
    settings: dict[str, Any] = {"report": False, "routing": "off", "limit": 3} | options
    return evaluate_with_outcome(
        model="demo",
        tasks=["both"],
        task_folders=[folder],
        allow_code=True,
        results=results,
        quiet=True,
        **settings,
    )


@pytest.fixture(scope="module")
def sound(tasks: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], float]:
    return values(run(tasks, tmp_path_factory.mktemp("sound")))


def values(outcome: Evaluation) -> dict[tuple[str, str], float]:
    rows = outcome.runs.scores()
    rows = rows[rows["kind"] == "task"]
    return dict(zip(zip(rows["task"], rows["metric"], strict=True), rows["value"], strict=True))


def break_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail on one task's table of documents only."""
    table: Callable[..., Any] = tables._task_table

    def one_fails(samples: Any) -> Any:
        return broken() if samples.rows[0]["task"] == "mc_acc" else table(samples)

    monkeypatch.setattr(tables, "_task_table", one_fails)


@pytest.mark.parametrize(
    ("module", "name", "said", "options"),
    [
        (estimates, "interval_by_sums", "no interval for acc", {}),
        (execution, "group_rows", "the average of groups is left out", {}),
        (execution, "write_harness_files", "what lm-eval itself would write is left out", {}),
        (execution, "stored_routing", "routing is left out", {"routing": "tasks"}),
        (
            execution,
            "traced_vocabulary",
            "the vocabulary of traced tokens is left out",
            {"routing": "tokens"},
        ),
        (tables, "_prompt", "the prompt of some documents cannot be shown", {}),
        (tables, "_task_table", "the table of documents of mc_acc is left out", {}),
    ],
)
def test_a_step_after_scoring_that_fails_costs_no_score(
    tasks: Path,
    sound: dict[tuple[str, str], float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    said: str,
    options: dict[str, Any],
) -> None:
    if name == "_prompt":
        monkeypatch.setattr(tables, "_MAKERS", {**tables._MAKERS, "prompt": broken})
    elif name == "_task_table":
        break_table(monkeypatch)
    else:
        monkeypatch.setattr(module, name, broken)
    outcome = run(tasks, tmp_path, **options)
    assert outcome.failures == {}
    assert values(outcome) == sound
    assert any(said in text and "on purpose" in text for text in outcome.warnings), outcome.warnings
    manifest = json.loads((outcome.directory / "run.json").read_text(encoding="utf-8"))
    assert manifest["warnings"] == list(outcome.warnings)
    assert manifest["status"] == "complete"
    monkeypatch.undo()
    assert write_report(load_runs(tmp_path), tmp_path / "report.html").is_file()


def test_a_report_that_fails_is_a_warning_beside_the_score(
    tasks: Path, sound: dict[tuple[str, str], float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import medbench.reports

    monkeypatch.setattr(medbench.reports, "write_report", broken)
    outcome = run(tasks, tmp_path, report=True)
    assert values(outcome) == sound
    assert outcome.report is None
    assert "the report is left out: BrokenError: on purpose" in outcome.warnings
    manifest = json.loads((outcome.directory / "run.json").read_text(encoding="utf-8"))
    assert manifest["warnings"] == list(outcome.warnings)
    assert manifest["status"] == "complete"
    monkeypatch.undo()
    again = run(tasks, tmp_path, report=True)
    assert again.reused
    assert again.report is not None


@pytest.mark.parametrize(
    "name", ["overview", "differences", "calibration_section", "documents", "provenance"]
)
def test_a_section_that_fails_leaves_the_others(
    tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import medbench.reports.report as module

    monkeypatch.setattr(module, name, broken)
    outcome = run(tasks, tmp_path, report=True)
    assert any("is left out: BrokenError: on purpose" in text for text in outcome.warnings)
    assert outcome.report is not None
    text = outcome.report.read_text(encoding="utf-8")
    assert "is left out: BrokenError: on purpose" in text
    assert ("By task" in text) or name == "bars"
    assert "mc_acc" in text


def test_a_full_disk_still_ends_the_run(tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that looks whole and lacks a table would be worse than one that can be taken up."""

    def full(*_: Any) -> None:
        raise RunError("cannot write results: No space left on device")

    monkeypatch.setattr(execution, "write_harness_files", full)
    with pytest.raises(RunError, match="No space left"):
        run(tasks, tmp_path)
    monkeypatch.undo()
    assert run(tasks, tmp_path).failures == {}


def test_an_extra_passes_on_what_a_person_or_the_disk_says() -> None:
    for error in (KeyboardInterrupt(), OSError(28, "No space left on device"), RunError("cannot write")):
        with pytest.raises(type(error)), extras.extra("a picture"):
            raise error
