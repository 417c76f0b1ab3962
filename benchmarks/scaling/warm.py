"""Workers that have loaded their model before anything is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medbench.workers.batches import Batch
from medbench.workers.dispatch import Ready, Report, WorkerPool

__all__ = ["WarmPool"]


class WarmPool:
    """A pool of which all or the first few work, as often as asked; they load the model once.

    Args:
        pool: The pool.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._ready: list[Ready] = []
        workers = pool.start()
        while len(self._ready) < len(workers):
            for report in pool.wait(1.0):
                assert isinstance(report, Ready), report
                assert report.loaded.failure is None, report
                self._ready.append(report)
        self._ready.sort(key=lambda ready: ready.worker)
        self.at_work = len(workers)
        self._said = False

    def start(self) -> Sequence[int]:
        """The first ``at_work`` workers begin."""
        self._said = False
        return [ready.worker for ready in self._ready[: self.at_work]]

    def submit(self, worker: int, batch: Batch) -> None:
        """Hand a batch on."""
        self._pool.submit(worker, batch)

    def wait(self, seconds: float) -> Iterable[Report]:
        """That all are ready; then what the pool says."""
        if self._said:
            return self._pool.wait(seconds)
        self._said = True
        return self._ready[: self.at_work]

    def restart(self, worker: int) -> None:
        """Hand on."""
        self._pool.restart(worker)

    def close(self) -> None:
        """Hand on."""
        self._pool.close()
