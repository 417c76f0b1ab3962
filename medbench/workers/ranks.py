"""Workers as the ranks of ``torchrun`` or ``accelerate launch``, for clusters that have only that.

Rank 0 is the driver and, in a thread, a worker; every other rank is a worker and nothing else. They talk
through the key-value store that the launcher has set up, each rank with a mailbox in it. The launcher ends
all ranks when one dies; the same command then goes on where it stopped.
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

__all__ = ["RankCrew", "describe_ranks", "help_rank_zero", "is_helper", "launched", "take_the_lead"]

_PART = 2**22  # bytes; the store takes values of up to twice as many
# Seconds; asking without waiting, because a waiting call would keep other threads from the store.
_POLL = 0.01
_END = "end"
_LAST_WORDS = 30.0  # seconds that rank 0's own worker has for a batch that nobody waits for any more


def launched() -> bool:
    """Whether this process is one of several that a launcher started together."""
    return "MASTER_ADDR" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_helper() -> bool:
    """Whether another process of the launch is the driver."""
    return launched() and os.environ.get("RANK", "0") != "0"


@dataclass(frozen=True)
class _Post:
    """Letters between ranks: numbered, each read once.

    Attributes:
        store: The launcher's key-value store.
        world: Number of ranks.
    """

    store: Any
    world: int

    def send(self, box: str, number: int, content: Any) -> None:
        data = pickle.dumps(content)
        parts = [data[start : start + _PART] for start in range(0, len(data), _PART)]
        for place, part in enumerate(parts):
            self.store.set(f"{box}/{number}/{place}", part)
        self.store.set(f"{box}/{number}", str(len(parts)))

    def arrived(self, box: str, number: int) -> bool:
        return bool(self.store.check([f"{box}/{number}"]))

    def take(self, box: str, number: int) -> Any:
        names = [f"{box}/{number}/{place}" for place in range(int(self.store.get(f"{box}/{number}")))]
        # From the other ranks of one's own launch, which run one's own code. The launcher's store asks nobody
        # for a password: docs/scaling.md says that its network must be trusted.
        content = pickle.loads(b"".join(self.store.get(name) for name in names))  # noqa: S301
        for name in (f"{box}/{number}", *names):
            self.store.delete_key(name)
        return content


def take_the_lead() -> None:
    """Rank 0 says so before anything else: whatever becomes of it, the other ranks then hear of its end."""
    _post()


@lru_cache(maxsize=1)
def _post() -> _Post:
    from torch.distributed.rendezvous import rendezvous

    store, rank, world = next(iter(rendezvous("env://")))
    if rank == 0:
        atexit.register(_end, store, world)
    return _Post(store, world)


def _end(store: Any, world: int) -> None:
    for rank in range(world):
        store.set(f"{_END}/{rank}", b"1")
    # A thread that is within the store's code when the interpreter goes down takes the process with it.
    for thread in _OWN_WORKER:
        thread.join(_LAST_WORDS)


def describe_ranks(threads: int | None) -> dict[str, Any]:
    """The launch, for the manifest."""
    return {"kind": "torch.distributed", "workers": int(os.environ["WORLD_SIZE"]), "threads": threads}


class RankCrew:
    """A crew of the launch's ranks.

    Args:
        spec: What each loads.
    """

    def __init__(self, spec: ReplicaSpec) -> None:
        self._spec = spec
        self._post = _post()
        self._waiting: dict[int, int] = {}  # rank -> number of the letter that is to be answered

    def start(self) -> Sequence[int]:
        """Have all ranks load the model, this one in a thread."""
        _start_own_worker()
        for rank in range(self._post.world):
            self._write(rank, self._spec)
        return range(self._post.world)

    def submit(self, worker: int, batch: Batch) -> None:
        """Hand a batch to a rank."""
        self._write(worker, batch)

    def wait(self, seconds: float) -> Iterable[Report]:
        """What has come back."""
        until = time.monotonic() + seconds
        while True:
            found = [
                self._report(rank, number)
                for rank, number in list(self._waiting.items())
                if self._post.arrived(f"from/{rank}", number)
            ]
            if found or time.monotonic() > until:
                return found
            time.sleep(_POLL)

    def restart(self, worker: int) -> None:
        """Never asked for: the launcher ends all ranks when one dies."""
        raise AssertionError(f"rank {worker} cannot be restarted")

    def close(self) -> None:
        """Leave the ranks waiting for the next model, or the end of this process."""
        self._waiting = {}

    def _write(self, rank: int, content: ReplicaSpec | Batch) -> None:
        number = _NUMBERS[rank] = _NUMBERS.get(rank, -1) + 1
        self._post.send(f"to/{rank}", number, content)
        self._waiting[rank] = number

    def _report(self, rank: int, number: int) -> Report:
        del self._waiting[rank]
        value = self._post.take(f"from/{rank}", number)
        return Answered(rank, value) if isinstance(value, BatchResult) else Ready(rank, value)


# The last letter to each rank; letters go on being numbered from one crew to the next.
_NUMBERS: dict[int, int] = {}
_OWN_WORKER: list[threading.Thread] = []


def help_rank_zero() -> None:
    """Answer what rank 0 asks until it ends, or a signal asks to stop: then the batch at hand is the last."""
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
    post = _post()
    replica: Replica | None = None
    number = 0
    while True:
        while not post.arrived(f"to/{rank}", number):
            if stopped() or post.store.check([f"{_END}/{rank}"]):
                return
            time.sleep(_POLL)
        letter = post.take(f"to/{rank}", number)
        if isinstance(letter, ReplicaSpec):
            replica = None  # the memory of the model before
            replica = Replica(_here(letter), collect_warnings=own_process)
            post.send(f"from/{rank}", number, replica.load())
        elif replica is not None:
            post.send(f"from/{rank}", number, replica.answer(letter))
        number += 1


def _here(spec: ReplicaSpec) -> ReplicaSpec:
    """The specification with this rank's own device."""
    local = os.environ.get("LOCAL_RANK", "0")
    if not spec.source.device.startswith("cuda"):
        return spec
    return replace(spec, source=replace(spec.source, device=f"cuda:{local}"))
