"""Two workers on two cores beside one on one core, on a job of written answers."""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil

import medbench.demo
from benchmarks.scaling.warm import WarmPool
from medbench.catalog import resolve_tasks
from medbench.models import load_tokenizer
from medbench.models.harness.answers import Answer, MemoryStore, request_keys
from medbench.models.harness.stored import StoredLM
from medbench.models.source import ModelSource
from medbench.runs.harness import gather_requests, quiet_harness
from medbench.runs.loading import load_tasks
from medbench.runs.settings import RunSettings
from medbench.workers.batches import Batch, cut_batches
from medbench.workers.cluster import WorkerOptions, open_cluster
from medbench.workers.dispatch import Dispatcher
from medbench.workers.ray_pool import RayPool
from medbench.workers.replica import BatchResult, ReplicaSpec

__all__ = ["Round", "race"]

_TASKS = ("medqa_us_cot", "medmcqa_cot", "cmexam_cot", "pubmedqa_cot")


@dataclass(frozen=True)
class Round:
    """One job done twice.

    Attributes:
        requests: Of the job.
        one: Seconds of one worker.
        two: Seconds of two.
        processor_one: Processor seconds of one.
        processor_two: Processor seconds of the busier of two.
        same: Whether the answers are equal, to the last bit.
    """

    requests: int
    one: float
    two: float
    processor_one: float
    processor_two: float
    same: bool

    @property
    def ratio(self) -> float:
        """How many times faster two are."""
        return self.one / self.two

    @property
    def processor_ratio(self) -> float:
        """The same by processor time, which others at work on the machine hardly touch."""
        return self.processor_one / self.processor_two


def race(checkpoint: Path | None, rounds: int, repeats: int) -> list[Round]:
    """Time the job with one worker and with two, in turn.

    Workers have one thread each and are pinned to a core each; they have loaded the model before.

    Args:
        checkpoint: Whose; ``None``: the demo's.
        rounds: How often.
        repeats: How often every document is asked about, as if it were another, to make the job longer.
    """
    path = checkpoint or Path(medbench.demo.__file__).parent / "checkpoint"
    requests, keys = _job(path, repeats)
    spec = ReplicaSpec(ModelSource(str(path)), "", "auto", "tasks", threads=1, per_machine=2)
    with open_cluster(WorkerOptions(2), gpu=False) as placement:
        actors = RayPool(spec, placement)
        with closing(WarmPool(actors)) as pool:
            pids = actors.processes()
            for core, process in zip(sorted(os.sched_getaffinity(0)), pids, strict=False):
                _pin(process, core)
            batches = cut_batches(requests, keys, 2)
            _time(pool, 2, batches, pids)
            found = []
            for _ in range(rounds):
                one, used, first = _time(pool, 1, batches, pids)
                two, used_by_two, second = _time(pool, 2, batches, pids)
                requests_asked = sum(map(len, keys.values()))
                found.append(Round(requests_asked, one, two, max(used), max(used_by_two), first == second))
    return found


def _time(
    pool: WarmPool, workers: int, batches: list[Batch], pids: list[int]
) -> tuple[float, list[float], dict[str, Answer]]:
    """Seconds, processor seconds of each worker, and the answers."""
    answers: dict[str, Answer] = {}

    def commit(batch: Batch, result: BatchResult) -> None:
        del batch
        answers.update(result.answers)

    pool.at_work = workers
    before = [_used(process) for process in pids]
    started = time.perf_counter()
    Dispatcher(pool, commit).run(batches)
    seconds = time.perf_counter() - started
    used = [_used(process) - earlier for process, earlier in zip(pids, before, strict=True)]
    return seconds, used, answers


def _used(process: int) -> float:
    times = psutil.Process(process).cpu_times()
    return float(times.user + times.system)


def _pin(process: int, core: int) -> None:
    """Keep all threads of a process on a core."""
    for thread in Path(f"/proc/{process}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def _job(path: Path, repeats: int) -> tuple[dict[str, list[object]], dict[str, list[str]]]:
    settings = RunSettings(data_source="samples")
    lm = StoredLM(load_tokenizer(path), MemoryStore(), seed=0)
    with quiet_harness():
        tasks, failures = load_tasks(resolve_tasks(_TASKS).tasks, settings)
        if failures:
            raise next(iter(failures.values()))
        requests = gather_requests(lm, tasks, settings, chat_template=True, system="")
    copies = []
    for number in range(repeats):
        for request in requests["generate_until"]:
            place = (f"{request.task_name}{number}", request.doc_id, 1)
            copies.append(
                type(request)(request.request_type, request.doc, request.arguments, request.idx, place)
            )
    return {"generate_until": copies}, {"generate_until": request_keys("generate_until", copies, 0)}
