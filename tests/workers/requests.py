"""Requests as lm-eval would make them, and pools that need no other process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import lm_eval.models  # noqa: F401 - before anything is registered
from lm_eval.api.instance import Instance

from medbench.models.harness.answers import Answer, request_keys
from medbench.workers.batches import Batch
from medbench.workers.dispatch import Answered, Died, Ready, Report
from medbench.workers.replica import BatchResult, Loaded, Replica, ReplicaSpec


def choices(task: str, documents: int, options: int = 4, length: int = 400) -> list[Instance]:
    """Requests for the log-likelihoods of the options of some documents."""
    return [
        Instance(
            "loglikelihood",
            {},
            (f"{document} ".ljust(length, "x"), f" {option}"),
            option,
            (task, document, 1),
        )
        for document in range(documents)
        for option in range(options)
    ]


def texts(task: str, documents: int, limit: int = 100, length: int = 400) -> list[Instance]:
    """Requests for generated texts."""
    return [
        Instance(
            "generate_until",
            {},
            (f"{document} ".ljust(length, "x"), {"max_gen_toks": limit}),
            0,
            (task, document, 1),
        )
        for document in range(documents)
    ]


def keys(requests: dict[str, list[Instance]]) -> dict[str, list[str]]:
    return {kind: request_keys(kind, instances, 0) for kind, instances in requests.items()}


def answer_all(batch: Batch, **changes: Any) -> BatchResult:
    return BatchResult(
        {key: Answer(logprob=-1.0, is_greedy=True) for key in batch.keys}, None, 1.0, **changes
    )


Script = Callable[[int, Batch], Report | None]


class ScriptedPool:
    """Workers whose every move is a function's choice: it is given the worker and its batch, once a turn.

    ``None`` means that the worker needs another turn.
    """

    def __init__(self, workers: int, script: Script, failures: Sequence[Loaded] = ()) -> None:
        self.at_work: dict[int, Batch] = {}
        self.handed_out: list[tuple[int, Batch]] = []
        self.restarted: list[int] = []
        self.turns = 0
        self._script = script
        self._loading = [
            Ready(worker, failures[worker] if worker < len(failures) else Loaded({"model": "scripted"}, 0.0))
            for worker in range(workers)
        ]

    def start(self) -> Sequence[int]:
        return [ready.worker for ready in self._loading]

    def submit(self, worker: int, batch: Batch) -> None:
        assert worker not in self.at_work
        self.at_work[worker] = batch
        self.handed_out.append((worker, batch))

    def wait(self, seconds: float) -> Iterable[Report]:
        self.turns += 1
        assert self.turns < 10_000, "the dispatcher waits for nothing"
        reports: list[Report] = list(self._loading)
        self._loading = []
        for worker, batch in list(self.at_work.items()):
            report = self._script(worker, batch)
            if report is not None:
                del self.at_work[worker]
                reports.append(report)
        return reports

    def restart(self, worker: int) -> None:
        self.restarted.append(worker)
        self._loading.append(Ready(worker, Loaded({}, 0.0)))

    def close(self) -> None: ...


def diligent(worker: int, batch: Batch) -> Report:
    return Answered(worker, answer_all(batch))


def mortal(deaths: Iterable[bool]) -> Script:
    """Workers that die when the next entry says so."""
    fates = iter(deaths)
    return lambda worker, batch: Died(worker, "killed") if next(fates, False) else diligent(worker, batch)


class OneProcessPool(ScriptedPool):
    """Workers that take turns with one real model."""

    def __init__(self, spec: ReplicaSpec, workers: int) -> None:
        replica = Replica(spec)
        loaded = replica.load()
        super().__init__(workers, self._answer, [loaded] * workers)
        self._replica = replica

    def _answer(self, worker: int, batch: Batch) -> Report:
        result = self._replica.answer(batch)
        assert result is not None
        return Answered(worker, result)
