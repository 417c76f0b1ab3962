"""Workers that have loaded their model before anything is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medbench.workers.batches import Batch
from medbench.workers.dispatch import Crew, Ready, Report

__all__ = ["WarmCrew"]


class WarmCrew:
    """A crew of which all or the first few work, as often as asked; they load the model once.

    Args:
        crew: The crew.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._ready: list[Ready] = []
        workers = crew.start()
        while len(self._ready) < len(workers):
            for report in crew.wait(1.0):
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
        self._crew.submit(worker, batch)

    def wait(self, seconds: float) -> Iterable[Report]:
        """That all are ready; then what the crew says."""
        if self._said:
            return self._crew.wait(seconds)
        self._said = True
        return self._ready[: self.at_work]

    def restart(self, worker: int) -> None:
        """Hand on."""
        self._crew.restart(worker)

    def close(self) -> None:
        """Hand on."""
        self._crew.close()
