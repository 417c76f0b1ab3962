"""Requests without a benchmark behind them, and workers without a model."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import lm_eval.models  # noqa: F401 - before anything is registered
from lm_eval.api.instance import Instance

from medbench.models.harness.answers import Answer
from medbench.workers.batches import Batch
from medbench.workers.dispatch import Answered, Ready, Report
from medbench.workers.replica import BatchResult, Loaded

__all__ = ["Clock", "StubPool", "make_requests", "stub_answers"]

_OPTIONS = 4
_TASK = 2_500  # documents


def make_requests(count: int, *, generated: float = 0.0) -> dict[str, list[Instance]]:
    """Requests about exam questions: log-likelihoods of four letters, and a share of written answers."""
    written = int(count * generated)
    requests: dict[str, list[Instance]] = {"loglikelihood": [], "generate_until": []}
    for document in range((count - written) // _OPTIONS):
        prompt = f"Question {document}: ".ljust(700 + document % 400, "x")
        place = (f"exam{document // _TASK}", document % _TASK, 1)
        requests["loglikelihood"] += [
            Instance("loglikelihood", {}, (prompt, f" {letter}"), index, place)
            for index, letter in enumerate("ABCD")
        ]
    for document in range(written):
        prompt = f"Case {document}: ".ljust(900 + document % 600, "x")
        settings = {"until": ["<|im_end|>"], "max_gen_toks": 256}
        place = (f"cases{document // _TASK}", document % _TASK, 1)
        requests["generate_until"].append(Instance("generate_until", {}, (prompt, settings), 0, place))
    return {kind: instances for kind, instances in requests.items() if instances}


def stub_answers(batch: Batch) -> dict[str, Answer]:
    """Answers of the size of real ones."""
    if batch.kind == "generate_until":
        text = "The patient most likely has appendicitis, so the answer is B. " * 4
        return {key: Answer(text=text, first_pass=text) for key in batch.keys}
    return {key: Answer(logprob=-1.2345678901234567, is_greedy=False) for key in batch.keys}


class Clock:
    """Seconds in which the driver's work takes its real time, and waiting takes none.

    Args:
        timer: What its work takes: by the wall clock, or by processor time, which others at work on the
            machine hardly touch, but which leaves out waiting for the disk.

    Attributes:
        skipped: Seconds that the driver would have waited.
    """

    def __init__(self, timer: Callable[[], float] = time.perf_counter) -> None:
        self.skipped = 0.0
        self._timer = timer
        self._started = timer()

    def __call__(self) -> float:
        """The time."""
        return self._timer() - self._started + self.skipped

    def skip(self, until: float) -> None:
        """Pretend to have waited until then."""
        self.skipped += max(0.0, until - self())

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What happens meanwhile takes no time: it is not the driver's work."""
        began = self._timer()
        yield
        self._started += self._timer() - began


class StubPool:
    """Workers that answer after the time that a batch of its cost would take, by a clock that need not run.

    Args:
        workers: How many.
        clock: The time.
        pace: Tokens that each gets through in a second; ``None``: answers come at once.
        delay: Seconds between two batches of a worker, for the ways of the answers and of the next batch.
        spread: How unequal the durations of equal batches are: sigma of their logarithm.
    """

    def __init__(
        self,
        workers: int,
        clock: Clock,
        *,
        pace: float | None = None,
        delay: float = 0.0,
        spread: float = 0.0,
    ) -> None:
        self.busy = 0.0
        self._workers = workers
        self._clock = clock
        self._pace = pace
        self._delay = delay
        self._spread = spread
        self._generator = random.Random(7)
        self._due: list[tuple[float, int, Batch | None, float]] = []

    def start(self) -> Sequence[int]:
        """All are ready at once."""
        self._due = [(0.0, worker, None, 0.0) for worker in range(self._workers)]
        return range(self._workers)

    def submit(self, worker: int, batch: Batch) -> None:
        """Note when the worker will be done."""
        seconds = 0.0
        if self._pace is not None:
            seconds = batch.cost / self._pace * self._generator.lognormvariate(0.0, self._spread)
        self.busy += seconds
        heapq.heappush(self._due, (self._clock() + self._delay + seconds, worker, batch, seconds))

    def wait(self, seconds: float) -> Iterable[Report]:
        """What is due by now, or next."""
        until = self._clock() + seconds
        if not self._due or self._due[0][0] > until:
            self._clock.skip(until)
            return
        self._clock.skip(self._due[0][0])
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            _, worker, batch, taken = heapq.heappop(self._due)
            if batch is None:
                yield Ready(worker, Loaded({}, 0.0))
            else:
                with self._clock.stopped():
                    answers = stub_answers(batch)
                yield Answered(worker, BatchResult(answers, None, taken))

    def restart(self, worker: int) -> None:
        """Stubs do not die."""
        raise AssertionError(worker)

    def close(self) -> None:
        """Nothing is held."""
