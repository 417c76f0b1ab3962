"""The work queue: expensive batches first, each to an idle worker, answers to the store as they arrive.

The result of a batch is committed once. Until then the batch may be sent again: because its worker died, or
because it takes far longer than expected and another worker is idle.
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

_LOOK = 0.25  # seconds between checks for a request to stop
_TRIES = 5  # workers that may die on a batch before it is given up
_DEATHS = 8  # of an idle worker, without an answer in between
_IN_A_ROW = 32  # deaths of any workers, without an answer in between
_SLOW, _PATIENCE = (
    3.0,
    5.0,
)  # multiple of the expected duration, and seconds, before an idle worker gets a copy


@dataclass(frozen=True)
class Ready:
    """A worker has loaded the model, or failed to."""

    worker: int
    loaded: Loaded


@dataclass(frozen=True)
class Answered:
    """A worker has finished its batch."""

    worker: int
    result: BatchResult


@dataclass(frozen=True)
class Died:
    """A worker died, and its batch is lost."""

    worker: int
    why: str


Report = Ready | Answered | Died


class WorkerPool(Protocol):
    """A group of workers, each with a number."""

    def start(self) -> Sequence[int]:
        """Let the workers load the model; each reports :class:`Ready`."""

    def submit(self, worker: int, batch: Batch) -> None:
        """Send a batch to an idle worker; it reports :class:`Answered`."""

    def wait(self, seconds: float) -> Iterable[Report]:
        """Collect reports, waiting for the first no longer than this."""

    def restart(self, worker: int) -> None:
        """Restart a worker that died; it reports :class:`Ready`."""

    def close(self) -> None:
        """Stop all workers immediately."""


@dataclass(frozen=True)
class _Work:
    batch: Batch
    since: float


class Dispatcher:
    """Distributes batches over a pool of workers.

    Args:
        pool: The workers.
        commit: Stores the result of a batch; called once per batch that has answers.
        check: Cancellation check, called several times a second; may raise ``KeyboardInterrupt``.
        warn: Warning callback.
        ready: Called with what each worker says once it has loaded the model.
        clock: Time in seconds.

    Attributes:
        loaded: Report of the first worker that was ready.
        failures: Reasons for missing answers, by key.
        restarts: Number of restarts of workers.
    """

    def __init__(
        self,
        pool: WorkerPool,
        commit: Callable[[Batch, BatchResult], None],
        *,
        check: Callable[[], None] = lambda: None,
        warn: Callable[[str], None] = lambda text: None,
        ready: Callable[[Loaded], None] = lambda loaded: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loaded: Loaded | None = None
        self.failures: dict[str, Failure] = {}
        self.restarts = 0
        self._pool = pool
        self._commit = commit
        self._check = check
        self._warn = warn
        self._tell_ready = ready
        self._clock = clock
        self._queue: list[tuple[int, int, Batch]] = []
        self._numbers = 0
        self._idle: set[int] = set()
        self._workers: set[int] = set()
        self._at_work: dict[int, _Work] = {}
        self._open: set[int] = set()  # numbers of batches neither committed nor given up
        self._tries: Counter[int] = Counter()
        self._deaths: Counter[int] = Counter()
        self._in_a_row = 0
        self._spent = 0.0
        self._earned = 0

    def run(self, batches: Iterable[Batch]) -> None:
        """Process all batches; afterwards :attr:`failures` has the reasons for missing answers.

        Raises:
            WorkersError: No worker is left.
            ModelError: No worker could load the model.
            KeyboardInterrupt: Passed on from ``check``, after the current batches have finished.
        """
        for batch in batches:
            self._add(batch)
        self._workers = set(self._pool.start())
        while self.loaded is None or self._open:
            self._hand_out()
            self._listen(_LOOK)
            try:
                self._check()
            except KeyboardInterrupt:
                while any(work.batch.number in self._open for work in self._at_work.values()):
                    self._listen(_LOOK)  # a second Ctrl-C interrupts this
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
            self._pool.submit(worker, batch)

    def _next(self) -> Batch | None:
        """The most expensive waiting batch; if none waits, one that takes unexpectedly long."""
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
        for report in self._pool.wait(seconds):
            if isinstance(report, Ready):
                self._ready(report.worker, report.loaded)
            elif isinstance(report, Answered):
                self._answered(report.worker, report.result)
            else:
                self._died(report.worker, report.why)

    def _ready(self, worker: int, loaded: Loaded) -> None:
        if loaded.failure is None:
            self.loaded = self.loaded or loaded
            self._tell_ready(loaded)
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
            return  # a copy finished first
        if result.answers:
            self._commit(batch, result)
        self._open.discard(batch.number)
        missing = {key: None for key in batch.keys if key not in result.answers}
        if missing:
            why = result.failure or Failure("a worker returned no answer and no reason")
            # First passes are committed and counted by now: a retry continues from them.
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
            self._take_back(work.batch, why)  # a death during a batch counts against the batch
        if self._deaths[worker] < _DEATHS and self._in_a_row < _IN_A_ROW:
            self.restarts += 1
            self._pool.restart(worker)
            return
        self._workers.discard(worker)
        self._warn(f"a worker died repeatedly and is not restarted: {why}")
        if not self._workers:
            raise WorkersError(
                f"no worker is left: {why}",
                hint="the same command resumes where it stopped; use fewer workers if memory ran out",
            )

    def _take_back(self, batch: Batch, why: str) -> None:
        if any(work.batch.number == batch.number for work in self._at_work.values()):
            return  # a copy is still running
        self._tries[batch.number] += 1
        if self._tries[batch.number] < _TRIES:
            heapq.heappush(self._queue, (-batch.cost, batch.number, batch))
            return
        self._open.discard(batch.number)
        failure = Failure(f"{_TRIES} workers died on these requests: {why}")
        if len(batch.by_task()) == 1:
            self._give_up_task(batch, failure)
        self._give_up(batch, failure)

    def _give_up_task(self, batch: Batch, why: Failure) -> None:
        """Fail the waiting batches of a task that kills workers: each would kill as many again."""
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
        """Fail a batch; if it has several tasks, retry it task by task."""
        parts = batch.by_task()
        if len(parts) == 1:
            self.failures |= dict.fromkeys(batch.keys, why)
            return
        for part in parts:
            self._add(replace(part, number=self._numbers))
