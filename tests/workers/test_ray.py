"""Runs of the demo with real Ray workers."""

from __future__ import annotations

import builtins
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.runs import TASKS, compare, stored_answers
from medbench.api import Evaluation, evaluate_with_outcome
from medbench.cli.main import main
from medbench.errors import WorkersError
from medbench.workers.batches import Batch
from medbench.workers.cluster import WorkerOptions, open_cluster
from medbench.workers.ray_pool import RayPool


def run(results: Path, folder: Path, **options: Any) -> Evaluation:
    settings: dict[str, Any] = {"limit": 3, "report": False, "quiet": True, "max_batch_tokens": 320} | options
    return evaluate_with_outcome(tasks=TASKS, task_folders=[folder], results=results, **settings)


def attempts(run: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads((run / "run.json").read_text(encoding="utf-8"))["attempts"]
    return listed


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.usefixtures("two_cores")
def test_workers_give_what_one_process_gives_though_one_is_killed(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medbench.workers.batches._LEAST", 256)
    alone = run(tmp_path / "alone", tasks).directory
    undisturbed = run(tmp_path / "undisturbed", tasks, workers=2).directory
    assert not compare(alone, undisturbed).cells
    assert stored_answers(alone).keys() == stored_answers(undisturbed).keys()
    (attempt,) = attempts(undisturbed)
    assert (attempt["workers"]["workers"], attempt["workers"]["nodes"]) == (2, [{"cpus": 2.0, "gpus": 0.0}])
    assert attempt["workers"]["restarts"] == 0

    submit = RayPool.submit
    handed_out: list[int] = []

    def kill_and_submit(self: RayPool, worker: int, batch: Batch) -> None:
        handed_out.append(worker)
        if len(handed_out) == 4:
            os.kill(self.processes()[worker], signal.SIGKILL)
        submit(self, worker, batch)

    monkeypatch.setattr(RayPool, "submit", kill_and_submit)
    monkeypatch.setattr("medbench.workers.dispatch._PATIENCE", 1e6)  # nobody else takes the batch over
    killed = run(tmp_path / "killed", tasks, workers=2).directory
    # To the last bit: batches are the same, whoever answers them and however often they are asked.
    assert compare(undisturbed, killed).largest == 0
    assert not compare(undisturbed, killed).cells
    assert _texts(undisturbed) == _texts(killed)
    assert attempts(killed)[0]["workers"]["restarts"] == 1


def test_without_ray_the_message_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    importing = builtins.__import__

    def without_ray(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "ray":
            raise ImportError(name)
        return importing(name, *arguments, **more)

    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_ray)
    assert (
        main(["run", "--tasks", "medqa_us", "--limit", "1", "--workers", "2", "--results", str(tmp_path)])
        == 2
    )
    assert "pip install 'medbench[ray]'" in capsys.readouterr().err


@pytest.mark.usefixtures("two_cores")
def test_workers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(WorkersError, match="3 workers do not fit"), open_cluster(WorkerOptions(3), gpu=False):
        pass


def _texts(run: Path) -> dict[str, str]:
    return {key: answer for key, (answer, _) in stored_answers(run).items()}


@pytest.mark.slow
@pytest.mark.ci
def test_a_command_starts_clusters_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    models = ["--model", "demo", "--model", "demo-early"]  # a cluster for each, in one process
    command = [*models, "--tasks", "medqa_us", "--limit", "2", "--workers", "1", "--no-report"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ended = subprocess.run(
        [sys.executable, "-m", "medbench", "run", *command, "--results", str(tmp_path)],
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    assert len(list(tmp_path.glob("*/*/scores.parquet"))) == 2
