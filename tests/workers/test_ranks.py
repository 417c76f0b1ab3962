"""Two processes of torch's own launcher share a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults.runs import TASKS, compare, run_folder
from medbench.cli.main import main


@pytest.mark.slow
@pytest.mark.ci
def test_two_ranks_give_what_one_process_gives(tmp_path: Path, tasks: Path) -> None:
    arguments = ["run", "--tasks", ",".join(TASKS), "--tasks-dir", str(tasks), "--limit", "3", "--no-report"]
    assert main([*arguments, "--results", str(tmp_path / "alone")]) == 0
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

    def launch() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*launcher, "-m", "medbench", *arguments, "--results", str(tmp_path / "ranks")],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    ended = launch()
    assert ended.returncode == 0, ended.stderr
    run = run_folder(tmp_path / "ranks")
    assert not compare(run_folder(tmp_path / "alone"), run).cells
    (attempt,) = json.loads((run / "run.json").read_text(encoding="utf-8"))["attempts"]
    assert attempt["workers"]["workers"] == 2
    assert ended.stdout.count("results") == 1, "one rank speaks"
    again = launch()
    assert again.returncode == 0, again.stderr
    assert "complete already" in again.stdout, "nobody is asked, and yet all ranks end"


def test_workers_are_not_asked_for_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(["run", "--workers", "2", "--results", str(tmp_path)]) == 2
    assert "the launcher has started the workers already" in capsys.readouterr().err
