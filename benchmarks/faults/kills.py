"""Runs that are killed at random moments and resumed."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults.runs import (
    TASKS,
    Difference,
    Process,
    compare,
    run_folder,
    stored_answers,
    write_tasks,
)

__all__ = ["Kill", "Subject", "prepare"]


class Kill(NamedTuple):
    """One run that was killed, and what came of it.

    Attributes:
        after: When it was killed, in seconds after its start.
        finished: Whether it had finished before.
        kept: Answers that it left in its store.
        asked: Answers that the resumed run added.
        recomputed: Kept answers that the resumed run computed again.
        lost: Kept answers that are gone or changed.
        difference: Against the run that nobody killed.
        status: Exit status of the resumed run.
        traceback: Whether a traceback was printed by either.
    """

    after: float
    finished: bool
    kept: int
    asked: int
    recomputed: int
    lost: int
    difference: Difference
    status: int
    traceback: bool

    @property
    def survived(self) -> bool:
        """Whether nothing was lost, computed twice or changed."""
        harm = self.recomputed or self.lost or self.difference.cells or self.status or self.traceback
        return not harm


class Subject(NamedTuple):
    """What is run, and what an undisturbed run of it left behind.

    Attributes:
        folder: Where all runs go.
        arguments: Words after ``medbench``, but for the results folder.
        expected: The folder of the undisturbed run.
        seconds: How long that took.
        opened: After how many of these seconds its store was there.
    """

    folder: Path
    arguments: tuple[str, ...]
    expected: Path
    seconds: float
    opened: float

    def start(self, results: Path) -> Process:
        """Start the run."""
        results.mkdir(parents=True, exist_ok=True)
        return Process([*self.arguments, "--results", str(results)], results.with_suffix(".out"))

    def kill(self, name: str, after: float, *, since_opened: bool = False) -> Kill:
        """Kill a run with SIGKILL, resume it and look at the result.

        Args:
            name: Of the results folder.
            after: When to kill it, in seconds.
            since_opened: Whether they count from the moment that its store is there, instead of its start.
        """
        results = self.folder / name
        process = self.start(results)
        if since_opened:
            _await_store(process, results)
            time.sleep(after)
        else:
            process.pause(after)
        process.send(signal.SIGKILL)
        killed = process.wait()
        started = any(results.glob("*/*/responses.sqlite"))
        before = stored_answers(run_folder(results)) if started else {}
        resumed = self.start(results).wait()
        run = run_folder(results)
        now = stored_answers(run)
        return Kill(
            after=after,
            finished=killed.status == 0,
            kept=len(before),
            asked=len(now) - len(before),
            recomputed=sum(key in now and now[key][1] != at for key, (_, at) in before.items()),
            lost=sum(key not in now or now[key][0] != answer for key, (answer, _) in before.items()),
            difference=compare(self.expected, run),
            status=resumed.status,
            traceback=killed.traceback or resumed.traceback,
        )

    def kills(self, count: int, seed: int) -> Iterator[Kill]:
        """Kill ``count`` runs: one in three anywhere, the others while they answer and write.

        Moments are random, one in each of equal parts of the time.
        """
        generator = random.Random(seed)
        anywhere = count // 3
        for part in range(anywhere):
            yield self.kill(f"any-{part}", (part + generator.random()) * self.seconds / anywhere)
        later = count - anywhere
        for part in range(later):
            after = (part + generator.random()) * (self.seconds - self.opened) / later
            yield self.kill(f"late-{part}", after, since_opened=True)


def _await_store(process: Process, results: Path) -> None:
    while process.running and not any(results.glob("*/*/responses.sqlite")):
        time.sleep(0.003)


def prepare(folder: Path, *, limit: int, tasks: tuple[str, ...] = TASKS) -> Subject:
    """Make an undisturbed run, twice: the first warms caches, the second is timed.

    Raises:
        RuntimeError: It fails.
    """
    definitions = write_tasks(folder / "tasks")
    arguments = (
        *("run", "--tasks", ",".join(tasks), "--tasks-dir", str(definitions), "--limit", str(limit)),
        *("--max-batch-tokens", "320", "--no-report"),  # small batches: many moments to die between
    )
    subject = Subject(folder, arguments, folder / "expected", 0.0, 0.0)
    for name in ("warm", "expected"):
        process, started = subject.start(folder / name), time.monotonic()
        _await_store(process, folder / name)
        opened = time.monotonic() - started
        ended = process.wait()
        if ended.status != 0:
            raise RuntimeError(f"the undisturbed run failed:\n{ended.output}")
    return subject._replace(expected=run_folder(folder / "expected"), seconds=ended.seconds, opened=opened)
