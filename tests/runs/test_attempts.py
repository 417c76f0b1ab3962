"""What a run says after several attempts is true of its final result; what happened before is history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import medbench.reports as reports
import medbench.runs.execution as execution
from benchmarks.faults.runs import write_tasks
from medbench.api import Evaluation, evaluate_with_outcome
from medbench.catalog.models import find_model
from medbench.errors import RunError
from medbench.models.engines.engine import Engine
from medbench.models.harness.adapter import MedbenchLM
from medbench.runs.execution import RunOutcome, execute
from medbench.runs.harness import TaskResult
from medbench.runs.plan import make_plan
from medbench.runs.progress import ConsoleProgress, SilentProgress
from medbench.runs.scores import score_task
from medbench.runs.settings import RunSettings


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


class Heard(SilentProgress):
    """Keeps the stages that a run goes through."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int, int]] = []

    def stage(self, name: str, documents: int, answered: int = 0) -> None:
        self.stages.append((name, documents, answered))


def run(results: Path, folder: Path, *names: str, **options: Any) -> RunOutcome:
    plan = make_plan(
        find_model("demo"), names, task_folders=[folder], settings=RunSettings(limit=3, routing="off")
    )
    return execute(plan, results, **options)


def manifest(outcome: RunOutcome) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(outcome.directory.manifest.read_text(encoding="utf-8"))
    return content


def breaking(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the scoring of tasks raise."""

    def score(result: TaskResult, **options: Any) -> Any:
        if result.name in names:
            raise ValueError("no such column")
        return score_task(result, **options)

    monkeypatch.setattr(execution, "score_task", score)


def test_a_task_that_failed_and_was_mended_is_no_warning(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("faults_letters", "faults_two_passes")
    with monkeypatch.context() as patched:
        breaking(patched, "faults_two_passes")
        first = run(tmp_path, tasks, *names)
        assert manifest(first)["status"] == "partial"
    assert any("faults_two_passes failed" in text for text in first.warnings)
    assert set(first.failures) == {"faults_two_passes"}
    second = run(tmp_path, tasks, *names)
    content = manifest(second)
    assert second.directory == first.directory
    assert (content["status"], content["failures"], content["warnings"]) == ("complete", {}, [])
    assert second.warnings == ()
    assert run(tmp_path, tasks, *names).warnings == ()
    assert [attempt["status"] for attempt in content["attempts"]] == ["partial", "complete"]
    assert any("faults_two_passes failed" in text for text in content["attempts"][0]["warnings"])
    assert content["attempts"][1]["warnings"] == []


def test_an_attempt_that_could_not_begin_is_no_warning(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        breaking(patched, "faults_letters")
        with pytest.raises(RunError, match="no task could be evaluated"):
            run(tmp_path, tasks, "faults_letters")
    content = manifest(run(tmp_path, tasks, "faults_letters"))
    assert (content["status"], content["warnings"], content.get("error")) == ("complete", [], None)
    assert [attempt["status"] for attempt in content["attempts"]] == ["failed", "complete"]


def test_a_failure_that_stays_is_said_once(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("faults_letters", "faults_two_passes")
    breaking(monkeypatch, "faults_two_passes")
    first, second = (run(tmp_path, tasks, *names) for _ in range(2))
    assert first.warnings == second.warnings
    assert len([text for text in second.warnings if "faults_two_passes" in text]) == 1


def test_prompts_that_lost_their_beginning_stay_so(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their answers are in the store, so that a later attempt has nothing to say of them by itself."""
    known = MedbenchLM.__init__

    def short(self: MedbenchLM, *arguments: Any, **options: Any) -> None:
        known(self, *arguments, **options, max_length=40)

    monkeypatch.setattr(MedbenchLM, "__init__", short)
    with monkeypatch.context() as patched:
        breaking(patched, "faults_two_passes")
        first = run(tmp_path, tasks, "faults_letters", "faults_two_passes")
    second = run(tmp_path, tasks, "faults_letters", "faults_two_passes")
    about = list(second.warnings)
    assert any("lost their beginning" in text for text in about)
    assert about == [text for text in first.warnings if "failed" not in text]
    rescored = run(tmp_path, tasks, "faults_letters", "faults_two_passes", rescore=True)
    assert list(rescored.warnings) == about


def test_a_damaged_store_is_said_of_all_that_follows(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        breaking(patched, "faults_two_passes")
        first = run(tmp_path, tasks, "faults_letters", "faults_two_passes")
        first.directory.responses.write_bytes(b"no database, this, " * 100)
        run(tmp_path, tasks, "faults_letters", "faults_two_passes")
    outcome = run(tmp_path, tasks, "faults_letters", "faults_two_passes")
    assert ["were damaged" in text for text in outcome.warnings] == [True]
    assert run(tmp_path, tasks, "faults_letters", "faults_two_passes").warnings == outcome.warnings


def test_stages_say_how_many_documents_were_answered_before(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("faults_letters", "faults_multiple")
    fresh, again, partly = Heard(), Heard(), Heard()
    with monkeypatch.context() as patched:
        breaking(patched, "faults_letters")
        run(tmp_path, tasks, *names, progress=fresh)
    run(tmp_path, tasks, *names, progress=again)
    assert [stage[2] for stage in fresh.stages] == [0, 0, 0]
    kinds = {name: documents for name, documents, _ in fresh.stages}
    assert kinds["choosing among options"] > 0
    assert kinds["writing answers"] > 0
    assert again.stages == [(name, documents, documents) for name, documents in kinds.items()]
    monkeypatch.setattr(Engine, "generate", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("gone")))
    run(tmp_path / "other", tasks, *names)
    monkeypatch.undo()
    run(tmp_path / "other", tasks, *names, progress=partly)
    assert partly.stages == [
        (name, documents, documents if name != "writing answers" else 0) for name, documents in kinds.items()
    ]


def test_a_pipe_reads_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    with ConsoleProgress(Console(width=200)) as progress:
        progress.begin(65)
        progress.stage("writing answers", 65, 65)
        progress.stage("choosing among options", 65)
        progress.stage("scoring", 0)
    assert capsys.readouterr().out.splitlines() == [
        "writing answers: 65 documents, 65 of them answered in an earlier attempt",
        "choosing among options: 65 documents",
        "scoring",
    ]


def test_a_report_that_failed_is_warned_of_until_one_is_made(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> Evaluation:
        return evaluate_with_outcome(
            tasks=["faults_letters"], task_folders=[tasks], results=tmp_path, limit=2, quiet=True
        )

    def fail(*_: Any) -> None:
        raise ValueError("no ink")

    with monkeypatch.context() as patched:
        patched.setattr(reports, "write_report", fail)
        first, second = ask(), ask()
    assert [sum("no ink" in text for text in outcome.warnings) for outcome in (first, second)] == [1, 1]
    content = json.loads((first.directory / "run.json").read_text(encoding="utf-8"))
    assert [text for text in content["warnings"] if "no ink" in text]
    third = ask()
    assert (third.warnings, third.reused) == ((), True)
    assert json.loads((first.directory / "run.json").read_text(encoding="utf-8"))["warnings"] == []
