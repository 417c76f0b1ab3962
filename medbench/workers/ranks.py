"""Workers as the ranks of ``torchrun`` or ``accelerate launch``, for clusters that have only that.

Rank 0 is the driver and, in a thread, a worker; every other rank is a worker and nothing else. They exchange
messages through the key-value store that the launcher has set up. The launcher ends all ranks when one dies;
the same command then resumes where it stopped.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from medbench.workers.batches import Batch
from medbench.workers.dispatch import Answered, Ready, Report
from medbench.workers.replica import BatchResult, Replica, ReplicaSpec

_PART = 2**22  # bytes; the store takes values of up to twice as many
# Seconds between polls; a blocking call would keep other threads from the store.
_POLL = 0.01
_END = "end"
_JOIN_TIMEOUT = 30.0  # seconds for rank 0's own worker to finish a batch that is no longer needed


def launched() -> bool:
    """Whether this process is one of several that a launcher started together."""
    return "MASTER_ADDR" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_worker_rank() -> bool:
    """Whether another process of the launch is the driver."""
    return launched() and os.environ.get("RANK", "0") != "0"


@dataclass(frozen=True)
class _Messages:
    """Numbered messages between ranks, each read once.

    Attributes:
        store: The launcher's key-value store.
        world: Number of ranks.
    """

    store: Any
    world: int

    def send(self, channel: str, number: int, content: Any) -> None:
        data = pickle.dumps(content)
        parts = [data[start : start + _PART] for start in range(0, len(data), _PART)]
        for place, part in enumerate(parts):
            self.store.set(f"{channel}/{number}/{place}", part)
        self.store.set(f"{channel}/{number}", str(len(parts)))

    def arrived(self, channel: str, number: int) -> bool:
        return bool(self.store.check([f"{channel}/{number}"]))

    def take(self, channel: str, number: int) -> Any:
        names = [f"{channel}/{number}/{place}" for place in range(int(self.store.get(f"{channel}/{number}")))]
        # Sent by the other ranks of the same launch. The launcher's store has no authentication:
        # docs/scaling.md says that its network must be trusted.
        content = pickle.loads(b"".join(self.store.get(name) for name in names))  # noqa: S301
        for name in (f"{channel}/{number}", *names):
            self.store.delete_key(name)
        return content


def init_rendezvous() -> None:
    """Join the launcher's store before anything else, so that the other ranks are told when rank 0 ends."""
    _messages()


@lru_cache(maxsize=1)
def _messages() -> _Messages:
    from torch.distributed.rendezvous import rendezvous

    store, rank, world = next(iter(rendezvous("env://")))
    if rank == 0:
        atexit.register(_end, store, world)
    return _Messages(store, world)


def _end(store: Any, world: int) -> None:
    for rank in range(world):
        store.set(f"{_END}/{rank}", b"1")
    # Join the thread: a call of the store during interpreter shutdown crashes the process.
    for thread in _OWN_WORKER:
        thread.join(_JOIN_TIMEOUT)


def describe_ranks(threads: int | None) -> dict[str, Any]:
    """The launch, for the manifest."""
    return {"kind": "torch.distributed", "workers": int(os.environ["WORLD_SIZE"]), "threads": threads}


class RankPool:
    """A pool of the ranks of a launch.

    Args:
        spec: What each worker loads.
    """

    def __init__(self, spec: ReplicaSpec) -> None:
        self._spec = spec
        self._messages = _messages()
        self._waiting: dict[int, int] = {}  # rank -> number of the message that awaits an answer

    def start(self) -> Sequence[int]:
        """Have all ranks load the model, this one in a thread."""
        _start_own_worker()
        for rank in range(self._messages.world):
            self._write(rank, self._spec)
        return range(self._messages.world)

    def submit(self, worker: int, batch: Batch) -> None:
        """Hand a batch to a rank."""
        self._write(worker, batch)

    def wait(self, seconds: float) -> Iterable[Report]:
        """Collect results."""
        until = time.monotonic() + seconds
        while True:
            found = [
                self._report(rank, number)
                for rank, number in list(self._waiting.items())
                if self._messages.arrived(f"from/{rank}", number)
            ]
            if found or time.monotonic() > until:
                return found
            time.sleep(_POLL)

    def restart(self, worker: int) -> None:
        """Never called: the launcher ends all ranks when one dies."""
        raise AssertionError(f"rank {worker} cannot be restarted")

    def close(self) -> None:
        """Leave the ranks waiting for the next model or the end of this process."""
        self._waiting = {}

    def _write(self, rank: int, content: ReplicaSpec | Batch) -> None:
        number = _NUMBERS[rank] = _NUMBERS.get(rank, -1) + 1
        self._messages.send(f"to/{rank}", number, content)
        self._waiting[rank] = number

    def _report(self, rank: int, number: int) -> Report:
        del self._waiting[rank]
        value = self._messages.take(f"from/{rank}", number)
        return Answered(rank, value) if isinstance(value, BatchResult) else Ready(rank, value)


# Number of the last message to each rank; numbering continues from one pool to the next.
_NUMBERS: dict[int, int] = {}
_OWN_WORKER: list[threading.Thread] = []


def serve_rank_zero() -> None:
    """Answer batches of rank 0 until it ends; after a signal the current batch is the last."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    _serve(int(os.environ["RANK"]), stopped.is_set, own_process=True)


def _start_own_worker() -> None:
    if not _OWN_WORKER:
        _OWN_WORKER.append(
            threading.Thread(
                target=_serve, args=(0, lambda: False), kwargs={"own_process": False}, daemon=True
            )
        )
        _OWN_WORKER[0].start()


def _serve(rank: int, stopped: Callable[[], bool], *, own_process: bool) -> None:
    messages = _messages()
    replica: Replica | None = None
    number = 0
    while True:
        while not messages.arrived(f"to/{rank}", number):
            if stopped() or messages.store.check([f"{_END}/{rank}"]):
                return
            time.sleep(_POLL)
        message = messages.take(f"to/{rank}", number)
        if isinstance(message, ReplicaSpec):
            replica = None  # the memory of the model before
            replica = Replica(_here(message), collect_warnings=own_process)
            messages.send(f"from/{rank}", number, replica.load())
        elif replica is not None:
            messages.send(f"from/{rank}", number, replica.answer(message))
        number += 1


def _here(spec: ReplicaSpec) -> ReplicaSpec:
    """The specification with this rank's own device."""
    local = os.environ.get("LOCAL_RANK", "0")
    if not spec.source.device.startswith("cuda"):
        return spec
    return replace(spec, source=replace(spec.source, device=f"cuda:{local}"))
