"""Runs of the demo: what is asked again, what never is, and what a failing task leaves of the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import medbench.demo
from benchmarks.faults.runs import compare, write_tasks
from medbench.api import Evaluation, evaluate_with_outcome
from medbench.errors import MedbenchError, RunError
from medbench.models.engines.engine import Engine

CHECKPOINT = Path(medbench.demo.__file__).parent / "checkpoint"


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fills up with the number of requests of each call of the engine."""
    calls: list[int] = []
    score = Engine.score

    def counting(self: Engine, requests: Any, *args: Any, **kwargs: Any) -> Any:
        listed = list(requests)
        calls.append(len(listed))
        return score(self, listed, *args, **kwargs)

    monkeypatch.setattr(Engine, "score", counting)
    return calls


def run(results: Path, folder: Path, names: list[str] | None = None, **options: Any) -> Evaluation:
    settings: dict[str, Any] = {"model": "demo", "limit": 2, "report": False, "quiet": True} | options
    return evaluate_with_outcome(
        tasks=names or ["faults_letters"], task_folders=[folder], results=results, **settings
    )


def test_a_finished_run_is_shown_again_and_fresh_repeats_it(
    tmp_path: Path, tasks: Path, asked: list[int]
) -> None:
    first = run(tmp_path, tasks)
    assert sum(asked) > 0
    asked.clear()
    again = run(tmp_path, tasks)
    assert again.reused
    assert again.directory == first.directory
    assert asked == []
    fresh = run(tmp_path, tasks, fresh=True)
    assert not fresh.reused
    assert fresh.directory != first.directory
    assert sum(asked) > 0
    assert not compare(first.directory, fresh.directory).cells


def test_rescoring_asks_nothing_and_scores_the_same(tmp_path: Path, tasks: Path, asked: list[int]) -> None:
    names = ["faults_letters", "faults_two_passes"]
    first = run(tmp_path, tasks, names)
    asked.clear()
    rescored = run(tmp_path, tasks, names, rescore=True)
    assert asked == []
    assert rescored.directory != first.directory
    assert not compare(first.directory, rescored.directory).cells
    manifest = json.loads((rescored.directory / "run.json").read_text(encoding="utf-8"))
    assert manifest["rescored_from"] == first.directory.name


@pytest.mark.parametrize("other", [{"chat_template": False}, {"system_prompt": "?"}, {"seed": 5}])
def test_rescoring_takes_the_answers_to_the_same_form(
    tmp_path: Path, tasks: Path, other: dict[str, Any]
) -> None:
    first = run(tmp_path, tasks)
    for _ in range(2):  # whichever of equal times is the newest by name
        run(tmp_path, tasks, **other, fresh=True)
    rescored = run(tmp_path, tasks, rescore=True)
    manifest = json.loads((rescored.directory / "run.json").read_text(encoding="utf-8"))
    assert manifest["rescored_from"] == first.directory.name


def test_rescoring_takes_up_a_changed_metric(tmp_path: Path, tasks: Path) -> None:
    first = run(tmp_path / "results", tasks)
    edited = tmp_path / "tasks"
    shutil.copytree(tasks, edited)
    path = edited / "faults_letters.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("main_metric: acc", "main_metric: acc_norm")
        + "metric_list:\n  - {metric: acc_norm, aggregation: mean, higher_is_better: true}\n",
        encoding="utf-8",
    )
    rescored = run(tmp_path / "results", edited, rescore=True)
    assert set(first.runs.scores()["metric"]) != set(rescored.runs.scores()["metric"])
    assert set(rescored.runs.scores()["metric"]) == {"acc_norm"}


def test_rescoring_names_what_was_never_answered(tmp_path: Path, tasks: Path) -> None:
    run(tmp_path, tasks)
    outcome = run(tmp_path, tasks, ["faults_letters", "faults_labels"], rescore=True)
    assert list(outcome.failures) == ["faults_labels"]
    assert "have no stored answer" in outcome.failures["faults_labels"]
    assert "faults_labels, document 0" in outcome.failures["faults_labels"]
    with pytest.raises(RunError, match="no task could be evaluated"):
        run(tmp_path, tasks, ["faults_labels"], rescore=True)


def test_rescoring_without_answers_of_this_model(tmp_path: Path, tasks: Path) -> None:
    with pytest.raises(RunError, match="no finished run holds answers of this very demo"):
        run(tmp_path, tasks, rescore=True)
    run(tmp_path, tasks)
    with pytest.raises(RunError, match="in bfloat16"):
        run(tmp_path, tasks, rescore=True, dtype="bfloat16")
    with pytest.raises(RunError, match="both"):
        run(tmp_path, tasks, rescore=True, fresh=True)


def test_an_edited_prompt_never_gets_the_old_answer(tmp_path: Path, tasks: Path, asked: list[int]) -> None:
    first = run(tmp_path / "results", tasks)
    edited = tmp_path / "tasks"
    shutil.copytree(tasks, edited)
    path = edited / "faults_letters.yaml"
    path.write_text(path.read_text(encoding="utf-8") + 'description: "Think twice. "\n', encoding="utf-8")
    with pytest.raises(RunError, match="no task could be evaluated") as caught:
        run(tmp_path / "results", edited, rescore=True)
    assert "have no stored answer" in str(caught.value)
    asked.clear()
    second = run(tmp_path / "results", edited, fresh=True)
    assert sum(asked) > 0
    left, right = (pd.read_parquet(each.directory / "samples.parquet") for each in (first, second))
    assert (left["prompt_hash"] != right["prompt_hash"]).all()


@pytest.mark.parametrize("change", ["weights", "chat_template.jinja", "dtype"])
def test_another_model_is_asked_anew(tmp_path: Path, tasks: Path, asked: list[int], change: str) -> None:
    """Same folder name, same prompts, same results folder: only what the model is differs."""
    model = tmp_path / "a" / "model"
    shutil.copytree(CHECKPOINT, model)
    first = run(tmp_path / "results", tasks, model=str(model))
    options: dict[str, Any] = {}
    other = tmp_path / "b" / "model"
    shutil.copytree(CHECKPOINT, other)
    if change == "weights":
        import torch

        from medbench.models import load_model, load_tokenizer, save_converted

        changed: Any = load_model(model)
        with torch.no_grad():
            changed.model.norm.weight.mul_(1.5)
        shutil.rmtree(other)
        save_converted(changed, other, load_tokenizer(model))
    elif change == "dtype":
        options = {"dtype": "bfloat16"}
    else:
        template = other / change
        template.write_text(template.read_text(encoding="utf-8") + "{# another #}", encoding="utf-8")
    asked.clear()
    second = run(tmp_path / "results", tasks, model=str(other), **options)
    # Other weights are another model, which the parent folder tells from the first.
    assert second.directory.parent.name == ("b.model" if change == "weights" else "model")
    assert second.directory != first.directory
    assert sum(asked) > 0
    shutil.copy(first.directory / "responses.sqlite", second.directory / "responses.sqlite")
    manifest = second.directory / "run.json"
    value = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps(value | {"status": "running"}), encoding="utf-8")
    with pytest.raises(MedbenchError, match="another model"):
        run(tmp_path / "results", tasks, model=str(other), **options)


@pytest.mark.parametrize(
    "error", [MemoryError("no memory"), RuntimeError("CUDA error: device-side assert triggered")]
)
def test_a_device_that_fails_in_one_task_leaves_the_others(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    generate = Engine.generate

    def failing(self: Engine, *args: Any, **kwargs: Any) -> Any:
        raise error

    monkeypatch.setattr(Engine, "generate", failing)
    names = ["faults_letters", "faults_multiple"]
    outcome = run(tmp_path, tasks, names)
    assert list(outcome.failures) == ["faults_multiple"]
    assert str(error) in outcome.failures["faults_multiple"]
    assert set(outcome.runs.scores()["task"]) == {"faults_letters"}
    assert json.loads((outcome.directory / "run.json").read_text(encoding="utf-8"))["status"] == "partial"
    monkeypatch.setattr(Engine, "generate", generate)
    resumed = run(tmp_path, tasks, names)
    assert resumed.failures == {}
    assert resumed.directory == outcome.directory
    assert set(resumed.runs.scores()["task"]) == set(names)


def test_no_secret_and_no_place_is_told(tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_verysecretverysecret")
    monkeypatch.setenv("HOME", str(tmp_path))
    model = tmp_path / "models" / "mine"
    shutil.copytree(CHECKPOINT, model)
    log = tmp_path / "log.jsonl"
    outcome = run(tmp_path / "results", tasks, model=str(model), log_file=log)
    texts = [log, *(path for path in outcome.directory.rglob("*.json"))]
    assert len(texts) == 3
    for path in texts:
        text = path.read_text(encoding="utf-8")
        assert "verysecret" not in text
        assert str(tmp_path) not in text, path
