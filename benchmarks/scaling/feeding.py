"""What the driver can feed: real cutting, dispatching and storing, workers without a model."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
from lm_eval.api.instance import Instance

from benchmarks.scaling.stubs import Clock, StubPool, stub_answers
from benchmarks.scaling.warm import WarmPool
from medbench.models.harness.answers import request_keys
from medbench.models.source import ModelSource
from medbench.runs.store import ResponseStore
from medbench.workers.batches import Batch, cut_batches
from medbench.workers.cluster import WorkerOptions, open_cluster
from medbench.workers.dispatch import Dispatcher
from medbench.workers.ray_pool import RayPool
from medbench.workers.replica import BatchResult, Loaded, ReplicaSpec

__all__ = ["Feed", "feed", "feed_through_ray", "simulate"]


@dataclass(frozen=True)
class Feed:
    """How a pool was fed.

    Attributes:
        workers: How many.
        requests: Asked.
        batches: Cut.
        planning: Seconds for keys and batches.
        seconds: From the first batch to the last commit; simulated ones included.
        driving: Seconds of these in which the driver worked.
        busy: Mean share of the time in which a worker worked.
        grown: MiB by which the process grew between the first tenth of the answers and the last.
    """

    workers: int
    requests: int
    batches: int
    planning: float
    seconds: float
    driving: float
    busy: float
    grown: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def limit(self) -> float:
        """Requests a second that the driver could feed if it never waited."""
        return self.requests / self.driving


class _Committer:
    """Stores results, and looks at the memory as it goes."""

    def __init__(self, store: ResponseStore, requests: int) -> None:
        self._store = store
        self._requests = requests
        self.done = 0
        self.sizes: list[float] = []

    def __call__(self, batch: Batch, result: BatchResult) -> None:
        self._store.put(result.answers, result.routing)
        self.done += len(result.answers)
        if self.done * 10 >= self._requests * (len(self.sizes) + 1):
            self.sizes.append(psutil.Process().memory_info().rss / 2**20)

    @property
    def grown(self) -> float:
        return self.sizes[-1] - self.sizes[0] if self.sizes else 0.0


def feed(requests: Mapping[str, Sequence[Instance]], workers: int) -> Feed:
    """Workers that answer at once: how fast the driver is."""
    clock = Clock()
    return _feed(requests, StubPool(workers, clock), workers, clock)


def simulate(
    requests: Mapping[str, Sequence[Instance]], workers: int, *, pace: float, delay: float, spread: float
) -> Feed:
    """Workers of a stated pace, by a clock that skips their time but not the driver's (of the processor)."""
    clock = Clock(time.process_time)
    pool = StubPool(workers, clock, pace=pace, delay=delay, spread=spread)
    return _feed(requests, pool, workers, clock)


def _feed(requests: Mapping[str, Sequence[Instance]], pool: StubPool, workers: int, clock: Clock) -> Feed:
    started = time.perf_counter()
    keys = {kind: request_keys(kind, instances, 0) for kind, instances in requests.items()}
    batches = cut_batches(requests, keys, workers)
    planning = time.perf_counter() - started
    total = sum(map(len, keys.values()))
    count = len(batches)
    del keys
    with (
        tempfile.TemporaryDirectory() as folder,
        ResponseStore(Path(folder) / "responses.sqlite", model="stub") as store,
    ):
        commit = _Committer(store, total)
        began = clock()
        Dispatcher(pool, commit, clock=clock).run(batches)
        seconds = clock() - began
        assert len(store) == total
    return Feed(
        workers,
        total,
        count,
        planning,
        seconds,
        seconds - clock.skipped,
        pool.busy / (workers * seconds),
        commit.grown,
    )


class StubReplica:
    """A worker without a model, in a process of its own."""

    def __init__(self, spec: ReplicaSpec) -> None:
        del spec

    def load(self) -> Loaded:
        """Be ready."""
        return Loaded({}, 0.0)

    def answer(self, batch: Batch) -> BatchResult:
        """Answer at once."""
        return BatchResult(stub_answers(batch), None, 0.0)


def feed_through_ray(requests: Mapping[str, Sequence[Instance]], actors: int) -> Feed:
    """The same through Ray's actors, which answer at once: what carrying batches and answers costs."""
    started = time.perf_counter()
    keys = {kind: request_keys(kind, instances, 0) for kind, instances in requests.items()}
    batches = cut_batches(requests, keys, 64)
    planning = time.perf_counter() - started
    total = sum(map(len, keys.values()))
    spec = ReplicaSpec(ModelSource(""), "", "auto", "off")
    with (
        tempfile.TemporaryDirectory() as folder,
        ResponseStore(Path(folder) / "responses.sqlite", model="stub") as store,
        open_cluster(WorkerOptions(actors), gpu=False) as placement,
        closing(WarmPool(RayPool(spec, placement, StubReplica))) as pool,
    ):
        commit = _Committer(store, total)
        used, began = time.process_time(), time.perf_counter()
        Dispatcher(pool, commit).run(batches)
        seconds, driving = time.perf_counter() - began, time.process_time() - used
    return Feed(actors, total, len(batches), planning, seconds, driving, 0.0, commit.grown)
