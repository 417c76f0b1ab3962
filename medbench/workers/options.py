"""Options of the workers."""

from __future__ import annotations

from dataclasses import dataclass

from medbench.errors import WorkersError

__all__ = ["WorkerOptions"]


@dataclass(frozen=True)
class WorkerOptions:
    """Number and place of the workers.

    Attributes:
        workers: Their number; ``auto``: one per ``gpus_per_worker`` GPUs, else one per two cores.
        address: ``auto`` or ``ray://…``: a running cluster; ``None``: this machine.
        gpus_per_worker: GPUs that one copy of the model is distributed over.
    """

    workers: int | str = "auto"
    address: str | None = None
    gpus_per_worker: int = 1

    def __post_init__(self) -> None:
        count = self.workers
        if count != "auto" and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
            raise WorkersError(
                f"the number of workers cannot be {count!r}", where="--workers", hint="1 or more, or auto"
            )
        if self.gpus_per_worker < 1:
            raise WorkersError(
                f"a worker cannot have {self.gpus_per_worker} GPUs",
                where="--gpus-per-worker",
                hint="1, or more for a model that does not fit on one",
            )
