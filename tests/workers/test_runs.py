"""Whole runs with workers, but in one process: the real driver, dispatcher and replicas, no Ray."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.runs import TASKS, compare, run_folder, stored_answers
from medbench.api import Evaluation, evaluate_with_outcome
from medbench.runs import answering
from medbench.runs.store import ResponseStore
from medbench.runs.traces import run_traces
from tests.workers.requests import OneProcessPool


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small batches, and workers that are none."""

    @contextmanager
    def pool(plan: Any, options: Any, listener: Any) -> Iterator[tuple[OneProcessPool, int, dict[str, Any]]]:
        spec = answering._spec(plan, threads=None, per_machine=1)
        yield OneProcessPool(spec, options.workers), options.workers, {"workers": options.workers}

    monkeypatch.setattr(answering, "_pool", pool)
    monkeypatch.setattr("medbench.workers.batches._LEAST", 256)


def run(results: Path, folder: Path, **options: Any) -> Evaluation:
    settings: dict[str, Any] = {"limit": 3, "report": False, "quiet": True, "max_batch_tokens": 320} | options
    return evaluate_with_outcome(tasks=TASKS, task_folders=[folder], results=results, **settings)


def attempts(run: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads((run / "run.json").read_text(encoding="utf-8"))["attempts"]
    return listed


@pytest.fixture
def alone(tmp_path: Path, tasks: Path) -> Evaluation:
    return run(tmp_path / "alone", tasks)


def test_any_number_of_workers_gives_the_same_to_the_last_bit(
    tmp_path: Path, tasks: Path, alone: Evaluation
) -> None:
    two, five = (run(tmp_path / str(workers), tasks, workers=workers).directory for workers in (2, 5))
    assert not compare(alone.directory, two).cells
    assert compare(two, five) == compare(two, two)
    assert {key: answer for key, (answer, _) in stored_answers(two).items()} == {
        key: answer for key, (answer, _) in stored_answers(five).items()
    }
    assert stored_answers(two).keys() == stored_answers(alone.directory).keys()


@pytest.mark.parametrize("workers", [(None, 2), (2, None)])
def test_a_run_goes_on_with_another_number_of_workers(
    tmp_path: Path,
    tasks: Path,
    alone: Evaluation,
    monkeypatch: pytest.MonkeyPatch,
    workers: tuple[int | None, int | None],
) -> None:
    put = ResponseStore.put
    puts: list[Any] = []

    def stop_after_some(self: Any, *arguments: Any) -> None:
        put(self, *arguments)
        puts.append(arguments)
        if len(puts) == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(ResponseStore, "put", stop_after_some)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tasks, workers=workers[0])
    kept = stored_answers(run_folder(tmp_path))
    assert (
        any(key.endswith("/first") and key.removesuffix("/first") not in kept for key in kept) or workers[0]
    )
    resumed = run(tmp_path, tasks, workers=workers[1]).directory
    assert resumed == run_folder(tmp_path)
    now = stored_answers(resumed)
    assert all(now[key] == answer for key, answer in kept.items()), "answered twice"
    assert now.keys() == stored_answers(alone.directory).keys()
    assert not compare(alone.directory, resumed).cells
    assert ["workers" in attempt for attempt in attempts(resumed)] == [bool(count) for count in workers]


def test_a_task_that_cannot_be_answered_fails_alone_and_says_why(tmp_path: Path, tasks: Path) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    for path in tasks.glob("*.yaml"):
        (folder / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    broken = folder / "faults_multiple.yaml"
    broken.write_text(broken.read_text(encoding="utf-8").replace("do_sample: false", "num_beams: 7"), "utf-8")
    alone, together = (run(tmp_path / str(workers), folder, workers=workers) for workers in (None, 2))
    assert list(alone.failures) == ["faults_multiple"]
    assert together.failures == alone.failures
    assert not compare(alone.directory, together.directory).cells


def test_a_prompt_that_is_cut_is_warned_of_as_in_one_process(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medbench.models.engines.engine.Engine.max_length", 60)
    alone, together = (
        # The two passes of an answer warn in the same words: once in one process, as a sum from workers.
        {
            text
            for text in run(tmp_path / str(workers), tasks, workers=workers).warnings
            if "two_passes" not in text
        }
        for workers in (None, 2)
    )
    assert len(alone) > 1
    assert together == alone


def test_traces_are_the_same_with_workers(tmp_path: Path, tasks: Path) -> None:
    alone = run_traces(run(tmp_path / "alone", tasks, routing="tokens").directory)
    found = run_traces(run(tmp_path / "two", tasks, routing="tokens", workers=2).directory)
    assert found.documents == alone.documents
    assert found.tokens.tolist() == alone.tokens.tolist()
    assert found.choice.tolist() == alone.choice.tolist()
    assert found.texts == alone.texts
