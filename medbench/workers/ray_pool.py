"""Workers as Ray actors: Ray places and restarts them, and transports batches and answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from medbench.errors import WorkersError
from medbench.workers.batches import Batch
from medbench.workers.cluster import Placement
from medbench.workers.dispatch import Answered, Died, Ready, Report
from medbench.workers.replica import BatchResult, Replica, ReplicaSpec


class RayPool:
    """A pool of Ray actors, each a :class:`~medbench.workers.replica.Replica`.

    Args:
        spec: What each worker loads.
        placement: Their number, and the resources of each.
        replica: The actors' class, for measurements without a model.
    """

    def __init__(self, spec: ReplicaSpec, placement: Placement, replica: type = Replica) -> None:
        import ray

        self._ray = ray
        self._spec = spec
        self._placement = placement
        self._replica = replica
        self._actors: list[Any] = []
        self._calls: dict[Any, int] = {}  # pending call -> worker

    def start(self) -> Sequence[int]:
        """Create the actors and have them load the model."""
        # A restarted actor is a new process, which is told to load again so that the driver knows when it is
        # ready. Its batch is repeated by the dispatcher.
        options: dict[str, Any] = {
            "num_cpus": self._placement.cpus,
            "num_gpus": self._placement.gpus,
            "max_restarts": -1,
            "max_task_retries": 0,
            "scheduling_strategy": "SPREAD",
        }
        actor: Any = self._ray.remote(**options)(self._replica)
        self._actors = [actor.remote(self._spec) for _ in range(self._placement.workers)]
        for worker in range(len(self._actors)):
            self.restart(worker)
        return range(len(self._actors))

    def submit(self, worker: int, batch: Batch) -> None:
        """Send a batch to an actor."""
        self._calls[self._actors[worker].answer.remote(batch)] = worker

    def wait(self, seconds: float) -> Iterable[Report]:
        """Collect results."""
        done, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=seconds)
        if done and len(self._calls) > 1:
            done, _ = self._ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        return [self._report(call) for call in done]

    def restart(self, worker: int) -> None:
        """Let an actor load the model, after Ray has restarted it if it died."""
        self._calls[self._actors[worker].load.remote()] = worker

    def processes(self) -> list[int]:
        """Process ids of the actors that are alive, for tests that kill them."""
        return [self._ray.get(actor.process.remote()) for actor in self._actors]

    def close(self) -> None:
        """Kill the actors."""
        for actor in self._actors:
            self._ray.kill(actor, no_restart=True)
        self._actors, self._calls = [], {}

    def _report(self, call: Any) -> Report:
        from ray.exceptions import RayError, RayTaskError

        worker = self._calls.pop(call)
        try:
            value = self._ray.get(call)
        except RayTaskError as error:
            # A replica reports errors as data; what it raises nevertheless is a fault of the installation.
            raise WorkersError(
                f"a worker broke down: {error.cause}",
                hint="install the same medbench, with the same versions, on every machine",
            ) from error
        except RayError as error:
            return Died(worker, _first_line(error))
        if value is None:  # the batch reached a process that replaced one that died unnoticed
            return Died(worker, "its process ended between two batches")
        return Answered(worker, value) if isinstance(value, BatchResult) else Ready(worker, value)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
