"""The work queue: batches to whoever is free, dearest first, and answers to the store as they arrive.

A batch counts when its result is committed, once. Until then it may be asked again: because its worker died,
or because a worker holds it far longer than it should and another has nothing to do.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from medbench.errors import WorkersError
from medbench.workers.batches import Batch
from medbench.workers.replica import BatchResult, Failure, Loaded

__all__ = ["Answered", "Crew", "Died", "Dispatcher", "Ready", "Report"]

_LOOK = 0.25  # seconds between looks at the stop button
_TRIES = 5  # workers that may die over a batch
_DEATHS = 8  # of a worker that had nothing to do, without an answer in between
_IN_A_ROW = 32  # deaths of any workers, without an answer in between
_SLOW, _PATIENCE = 3.0, 5.0  # times the expected duration, seconds: then an idle worker gets a copy


@dataclass(frozen=True)
class Ready:
    """A worker has loaded the model, or failed to."""

    worker: int
    loaded: Loaded


@dataclass(frozen=True)
class Answered:
    """A worker is done with the batch it had."""

    worker: int
    result: BatchResult


@dataclass(frozen=True)
class Died:
    """A worker is gone, and what it was at with it."""

    worker: int
    why: str


Report = Ready | Answered | Died


class Crew(Protocol):
    """Workers, each known by a number."""

    def start(self) -> Sequence[int]:
        """Have the workers load the model; each reports :class:`Ready`."""

    def submit(self, worker: int, batch: Batch) -> None:
        """Hand a batch to a worker that has none; it reports :class:`Answered`."""

    def wait(self, seconds: float) -> Iterable[Report]:
        """What has happened, waiting for it if need be, but not longer than this."""

    def restart(self, worker: int) -> None:
        """Have a worker that died begin anew; it reports :class:`Ready`."""

    def close(self) -> None:
        """Send all workers home, whatever they are at."""


@dataclass(frozen=True)
class _Work:
    batch: Batch
    since: float


class Dispatcher:
    """Has batches answered by a crew.

    Args:
        crew: The workers.
        commit: Stores the result of a batch; called once per batch that has answers.
        check: Called several times a second; may raise ``KeyboardInterrupt`` to stop.
        warn: Told in a sentence when a worker is lost.
        clock: Seconds.

    Attributes:
        loaded: What the first worker to be ready said.
        failures: Why requests have no answer, by key.
        restarts: How often workers were started anew.
    """

    def __init__(
        self,
        crew: Crew,
        commit: Callable[[Batch, BatchResult], None],
        *,
        check: Callable[[], None] = lambda: None,
        warn: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loaded: Loaded | None = None
        self.failures: dict[str, Failure] = {}
        self.restarts = 0
        self._crew = crew
        self._commit = commit
        self._check = check
        self._warn = warn
        self._clock = clock
        self._queue: list[tuple[int, int, Batch]] = []
        self._numbers = 0
        self._idle: set[int] = set()
        self._workers: set[int] = set()
        self._at_work: dict[int, _Work] = {}
        self._open: set[int] = set()  # numbers of batches that are neither committed nor given up
        self._tries: Counter[int] = Counter()
        self._deaths: Counter[int] = Counter()
        self._in_a_row = 0
        self._spent = 0.0
        self._earned = 0

    def run(self, batches: Iterable[Batch]) -> None:
        """Have all batches answered; afterwards :attr:`failures` says what could not be.

        Raises:
            WorkersError: No worker is left.
            ModelError: No worker could load the model.
            KeyboardInterrupt: Passed on from ``check``; what was being answered has been waited for.
        """
        for batch in batches:
            self._add(batch)
        self._workers = set(self._crew.start())
        while self.loaded is None or self._open:
            self._hand_out()
            self._listen(_LOOK)
            try:
                self._check()
            except KeyboardInterrupt:
                while any(work.batch.number in self._open for work in self._at_work.values()):
                    self._listen(_LOOK)  # a second Ctrl-C breaks out of this
                raise

    def _add(self, batch: Batch) -> None:
        self._open.add(batch.number)
        self._numbers = max(self._numbers, batch.number + 1)
        heapq.heappush(self._queue, (-batch.cost, batch.number, batch))

    def _hand_out(self) -> None:
        while self._idle and (batch := self._next()) is not None:
            worker = min(self._idle)
            self._idle.remove(worker)
            self._at_work[worker] = _Work(batch, self._clock())
            self._crew.submit(worker, batch)

    def _next(self) -> Batch | None:
        """The dearest batch that waits; if none does, one that takes suspiciously long."""
        if self._queue:
            return heapq.heappop(self._queue)[2]
        if not self._earned:
            return None
        held = Counter(work.batch.number for work in self._at_work.values())
        now, pace = self._clock(), self._spent / self._earned
        late = [
            (now - work.since, -work.batch.number, work.batch)
            for work in self._at_work.values()
            if held[work.batch.number] == 1
            and work.batch.number in self._open
            and now - work.since > max(_SLOW * pace * work.batch.cost, _PATIENCE)
        ]
        return max(late)[2] if late else None

    def _listen(self, seconds: float) -> None:
        for report in self._crew.wait(seconds):
            if isinstance(report, Ready):
                self._ready(report.worker, report.loaded)
            elif isinstance(report, Answered):
                self._answered(report.worker, report.result)
            else:
                self._died(report.worker, report.why)

    def _ready(self, worker: int, loaded: Loaded) -> None:
        if loaded.failure is None:
            self.loaded = self.loaded or loaded
            self._idle.add(worker)
            return
        self._workers.discard(worker)
        if not self._workers:
            raise loaded.failure.error()
        self._warn(f"a worker cannot load the model: {loaded.failure.what}")

    def _answered(self, worker: int, result: BatchResult) -> None:
        batch = self._at_work.pop(worker).batch
        self._idle.add(worker)
        self._deaths[worker] = self._in_a_row = 0
        self._spent += result.seconds
        self._earned += batch.cost
        if batch.number not in self._open:
            return  # a copy came first
        if result.answers:
            self._commit(batch, result)
        self._open.discard(batch.number)
        missing = {key: None for key in batch.keys if key not in result.answers}
        if missing:
            why = result.failure or Failure("a worker returned no answer and no reason")
            # First passes are committed by now, and counted: whoever is asked again goes on from them.
            first_passes = {key: answer for key, answer in result.answers.items() if key not in batch.keys}
            left = replace(batch.only(missing), kept={**batch.kept, **first_passes})
            self._give_up(left, why)

    def _died(self, worker: int, why: str) -> None:
        work = self._at_work.pop(worker, None)
        self._idle.discard(worker)
        self._in_a_row += 1
        if work is None:
            self._deaths[worker] += 1
        elif work.batch.number in self._open:
            self._take_back(work.batch, why)  # deaths over a batch count against the batch
        if self._deaths[worker] < _DEATHS and self._in_a_row < _IN_A_ROW:
            self.restarts += 1
            self._crew.restart(worker)
            return
        self._workers.discard(worker)
        self._warn(f"a worker died again and again and is not started anew: {why}")
        if not self._workers:
            raise WorkersError(
                f"no worker is left: {why}",
                hint="the same command goes on where it stopped, with fewer workers if memory was short",
            )

    def _take_back(self, batch: Batch, why: str) -> None:
        if any(work.batch.number == batch.number for work in self._at_work.values()):
            return  # a copy is still at work
        self._tries[batch.number] += 1
        if self._tries[batch.number] < _TRIES:
            heapq.heappush(self._queue, (-batch.cost, batch.number, batch))
            return
        self._open.discard(batch.number)
        failure = Failure(f"{_TRIES} workers died over these requests: {why}")
        if len(batch.by_task()) == 1:
            self._give_up_task(batch, failure)
        self._give_up(batch, failure)

    def _give_up_task(self, batch: Batch, why: Failure) -> None:
        """Fail what waits of a task that kills workers: each of its batches would kill as many again."""
        task = batch.requests[0].task_name
        waiting, self._queue = self._queue, []
        for entry in waiting:
            other = entry[2]
            if {request.task_name for request in other.requests} == {task}:
                self._open.discard(other.number)
                self._give_up(other, why)
            else:
                heapq.heappush(self._queue, entry)

    def _give_up(self, batch: Batch, why: Failure) -> None:
        """Fail what is left of a batch; if it is of several tasks, ask again task by task."""
        parts = batch.by_task()
        if len(parts) == 1:
            self.failures |= dict.fromkeys(batch.keys, why)
            return
        for part in parts:
            self._add(replace(part, number=self._numbers))
