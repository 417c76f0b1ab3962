"""Runs that are killed, interrupted, doubled or out of space, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.faults.kills import Subject
from benchmarks.faults.runs import Process, compare, run_folder, stored_answers
from benchmarks.faults.stores import damaged_stores


def status(run: Path) -> object:
    return json.loads((run / "run.json").read_text(encoding="utf-8"))["status"]


def await_answers(process: Process, results: Path) -> None:
    """Wait for the first committed answers."""
    while process.running:
        if any(path.stat().st_size for path in results.glob("*/*/responses.sqlite-wal")) and stored_answers(
            run_folder(results)
        ):
            return
        time.sleep(0.01)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_killed_run_resumes_to_the_same_result(subject: Subject, share: float) -> None:
    after = share * (subject.seconds - subject.opened)
    kill = subject.kill(f"killed-{share}", after, since_opened=True)
    assert kill.survived, kill
    assert kill.kept + kill.asked == len(stored_answers(subject.expected))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_batch_and_the_command_goes_on(
    subject: Subject, number: signal.Signals
) -> None:
    results = subject.folder / f"signal-{number.value}"
    process = subject.start(results)
    await_answers(process, results)
    process.send(number)
    ended = process.wait()
    assert ended.status == 130
    assert "the same command goes on where it stopped" in ended.output
    assert not ended.traceback
    run = run_folder(results)
    assert status(run) == "interrupted"
    assert 0 < len(stored_answers(run)) < len(stored_answers(subject.expected))
    resumed = subject.start(results).wait()
    assert resumed.status == 0
    assert status(run) == "complete"
    assert not compare(subject.expected, run).cells


def test_a_second_process_on_the_same_run_is_turned_away(subject: Subject) -> None:
    results = subject.folder / "two"
    first = subject.start(results)
    await_answers(first, results)
    first.send(signal.SIGSTOP)  # however slow the second is to start, the first is still at work
    second = Process([*subject.arguments, "--results", str(results)], results / "second.out").wait()
    assert second.status == 2
    assert "another process is working on this very run" in second.output
    first.send(signal.SIGCONT)
    assert first.wait().status == 0
    assert not compare(subject.expected, run_folder(results)).cells


def test_a_damaged_store_is_never_believed(subject: Subject) -> None:
    for store in damaged_stores(subject, 3, seed=5):
        assert store.survived, store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 700 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system of 700 kB cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("free", [24, 120, 200])
def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_room(
    subject: Subject, small_disk: Path, free: int
) -> None:
    ballast = small_disk / "ballast"
    room = os.statvfs(small_disk)
    ballast.write_bytes(bytes(room.f_bavail * room.f_bsize - free * 1024))
    results = small_disk / "results"
    log = ["--log-file", str(small_disk / "log.jsonl")]
    output = subject.folder / f"full-{free}.out"
    full = Process([*subject.arguments, *log, "--results", str(results)], output).wait()
    assert full.status == 2
    assert not full.traceback, full.output
    assert "space" in full.output
    ballast.unlink()
    resumed = Process([*subject.arguments, *log, "--results", str(results)], output).wait()
    assert resumed.status == 0, resumed.output
    assert not compare(subject.expected, run_folder(results)).cells


def test_a_folder_that_cannot_be_written(subject: Subject) -> None:
    ended = Process([*subject.arguments, "--results", "/proc/results"], subject.folder / "proc.out").wait()
    assert ended.status == 2
    assert "--results" in ended.output
    assert not ended.traceback
