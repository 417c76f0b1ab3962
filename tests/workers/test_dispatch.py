"""The work queue with scripted workers: nothing lost, nothing counted twice, whatever happens to whom."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from medbench.errors import ModelError, WorkersError
from medbench.models.harness.answers import Answer, first_pass_key
from medbench.workers.batches import Batch, cut_batches
from medbench.workers.dispatch import Answered, Died, Dispatcher, Report
from medbench.workers.replica import BatchResult, Failure, Loaded
from tests.workers.requests import ScriptedPool, answer_all, choices, diligent, keys, mortal, texts


def some_batches(tasks: int = 4, documents: int = 100) -> list[Batch]:
    requests = {
        "loglikelihood": [r for n in range(tasks) for r in choices(f"task{n}", documents, length=2000)]
    }
    return cut_batches(requests, keys(requests), 1)


class Record:
    """Counts what is committed."""

    def __init__(self) -> None:
        self.keys: Counter[str] = Counter()
        self.batches: Counter[int] = Counter()

    def __call__(self, batch: Batch, result: BatchResult) -> None:
        self.keys.update(list(result.answers))
        self.batches[batch.number] += 1


def run(
    pool: ScriptedPool, batches: list[Batch], check: Callable[[], None] = lambda: None
) -> tuple[Dispatcher, Record]:
    record = Record()
    dispatcher = Dispatcher(pool, record, check=check, clock=lambda: float(pool.turns))
    dispatcher.run(batches)
    return dispatcher, record


def everything(batches: list[Batch]) -> Counter[str]:
    return Counter(key for batch in batches for key in batch.keys)


@pytest.mark.parametrize("workers", [1, 2, 64])
def test_each_worker_is_heard_that_has_loaded_the_model(workers: int) -> None:
    pool = ScriptedPool(workers, diligent)
    heard: list[str] = []
    dispatcher = Dispatcher(pool, Record(), ready=lambda loaded: heard.append(loaded.info["model"]))
    dispatcher.run(some_batches())
    assert heard == ["scripted"] * workers


@pytest.mark.parametrize("workers", [1, 2, 64])
def test_all_is_answered_once_dearest_first(workers: int) -> None:
    batches = some_batches()
    pool = ScriptedPool(workers, diligent)
    dispatcher, record = run(pool, batches)
    assert record.keys == everything(batches)
    assert [batch.number for _, batch in pool.handed_out] == [batch.number for batch in batches]
    assert not dispatcher.failures
    assert dispatcher.loaded is not None
    assert dispatcher.loaded.info == {"model": "scripted"}


@pytest.mark.parametrize("seed", range(5))
def test_workers_that_die_at_random_lose_nothing(seed: int) -> None:
    generator = random.Random(seed)
    batches = some_batches()
    pool = ScriptedPool(3, mortal(generator.random() < 0.3 for _ in range(10**6)))
    dispatcher, record = run(pool, batches)
    assert record.keys == everything(batches)
    assert dispatcher.restarts == len(pool.restarted) > 0


def test_a_batch_that_kills_every_worker_fails_its_task_alone() -> None:
    batches = some_batches(documents=5)  # small tasks: one batch for all
    assert len(batches) < 4

    def script(worker: int, batch: Batch) -> Report:
        poisoned = any(request.task_name == "task2" for request in batch.requests)
        return Died(worker, "out of memory") if poisoned else diligent(worker, batch)

    dispatcher, record = run(ScriptedPool(4, script), batches)
    lost = {key for b in batches for key, r in zip(b.keys, b.requests, strict=True) if r.task_name == "task2"}
    assert set(dispatcher.failures) == lost
    assert record.keys == Counter({key: n for key, n in everything(batches).items() if key not in lost})
    assert "out of memory" in dispatcher.failures[min(lost)].what


def test_a_request_that_cannot_be_answered_is_named_and_the_others_are_kept() -> None:
    batches = some_batches(documents=5)
    bad = batches[0].keys[3]

    def script(worker: int, batch: Batch) -> Report:
        result = answer_all(batch.only({key: None for key in batch.keys if key != bad}))
        if bad in batch.keys:
            return Answered(
                worker, BatchResult(result.answers, None, 1.0, Failure("not finite", "document 0"))
            )
        return Answered(worker, result)

    dispatcher, record = run(ScriptedPool(2, script), batches)
    assert dispatcher.failures == {bad: Failure("not finite", "document 0")}
    assert set(record.keys) == set(everything(batches)) - {bad}
    assert str(dispatcher.failures[bad].error()) == "not finite\n  in: document 0"


def test_a_worker_that_hangs_delays_nobody() -> None:
    batches = some_batches()

    def script(worker: int, batch: Batch) -> Report | None:
        return None if worker == 0 else diligent(worker, batch)

    pool = ScriptedPool(3, script)
    _, record = run(pool, batches)
    assert record.keys == everything(batches)
    assert set(record.batches.values()) == {1}
    assert Counter(number for number in (b.number for _, b in pool.handed_out)).most_common(1)[0][1] == 2


def test_an_answer_that_comes_twice_counts_once() -> None:
    slow, quick, last = some_batches()[:3]

    def script(worker: int, batch: Batch) -> Report | None:
        # The first worker is late with its batch; the second has a copy by then; a third keeps all waiting.
        done = {slow.number: pool.turns > 90, quick.number: True, last.number: pool.turns > 100}
        return diligent(worker, batch) if done[batch.number] else None

    pool = ScriptedPool(3, script)
    _, record = run(pool, [slow, quick, last])
    assert Counter(batch.number for _, batch in pool.handed_out)[slow.number] == 2
    assert record.keys == everything([slow, quick, last])
    assert set(record.batches.values()) == {1}


def test_workers_that_always_die_end_the_run_with_the_reason() -> None:
    with pytest.raises(WorkersError, match="no worker is left: killed"):
        run(ScriptedPool(2, lambda worker, batch: Died(worker, "killed")), some_batches(20, 200))


@pytest.mark.parametrize("workers", [1, 4])
def test_a_task_of_many_batches_that_kills_workers_fails_alone(workers: int) -> None:
    batches = some_batches(3, 1000)

    def deadly(batch: Batch) -> bool:
        return any(request.task_name == "task1" for request in batch.requests)

    assert sum(map(deadly, batches)) > 8
    pool = ScriptedPool(
        workers, lambda worker, batch: Died(worker, "killed") if deadly(batch) else diligent(worker, batch)
    )
    dispatcher, record = run(pool, batches)
    lost = {key for b in batches for key, r in zip(b.keys, b.requests, strict=True) if r.task_name == "task1"}
    assert set(dispatcher.failures) == lost
    assert set(record.keys) == set(everything(batches)) - lost
    assert dispatcher.restarts <= 5 * (1 + workers)


def test_who_is_asked_again_is_given_the_first_passes_that_were_committed() -> None:
    requests = {"generate_until": [*texts("a", 2), *texts("b", 2)]}
    (batch,) = cut_batches(requests, keys(requests), 1)
    first = {first_pass_key(key): Answer(text="first") for key in batch.keys}

    def script(worker: int, batch: Batch) -> Report:
        if len(batch.by_task()) == 2:
            return Answered(worker, BatchResult(first, None, 1.0, Failure("the second pass of b failed")))
        return diligent(worker, batch)

    pool = ScriptedPool(1, script)
    _, record = run(pool, [batch])
    assert set(record.keys) == {*first, *batch.keys}
    assert set(record.keys.values()) == {1}
    assert [dict(part.kept) for _, part in pool.handed_out] == [{}, first, first]


def test_a_worker_without_the_checkpoint_is_left_out_and_with_none_left_the_reason_is_given() -> None:
    broken = Loaded({}, 0.0, Failure("no such checkpoint", "/models/x"))
    batches = some_batches()
    pool = ScriptedPool(2, diligent, [broken])
    _, record = run(pool, batches)
    assert record.keys == everything(batches)
    assert {worker for worker, _ in pool.handed_out} == {1}
    with pytest.raises(ModelError, match="no such checkpoint"):
        run(ScriptedPool(2, diligent, [broken, broken]), batches)


def test_a_stop_waits_for_what_is_at_work_and_hands_out_nothing_more() -> None:
    batches = some_batches()
    pool = ScriptedPool(2, lambda worker, batch: None if pool.turns < 9 else diligent(worker, batch))
    record = Record()

    def check() -> None:
        if pool.turns > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Dispatcher(pool, record, check=check).run(batches)
    assert sum(record.batches.values()) == len(pool.handed_out) == 2
