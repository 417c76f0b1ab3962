from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.workers.batches import cut_batches, document_cost
from tests.workers.requests import choices, keys, texts

TASKS = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 5), st.integers(1, 3000)), min_size=1, max_size=6
)


@given(tasks=TASKS, generated=TASKS, workers=st.integers(1, 600))
@settings(max_examples=60, deadline=None)
def test_every_request_is_in_one_batch_and_documents_stay_together(
    tasks: list[tuple[int, int, int]], generated: list[tuple[int, int, int]], workers: int
) -> None:
    requests = {
        "loglikelihood": [r for n, (a, b, c) in enumerate(tasks) for r in choices(f"task{n}", a, b, c)],
        "generate_until": [
            r for n, (a, _, c) in enumerate(generated) for r in texts(f"text{n}", a, c % 900 + 1)
        ],
    }
    names = keys(requests)
    batches = cut_batches(requests, names, workers)
    assert Counter(key for batch in batches for key in batch.keys) == Counter(
        key for kind in names for key in names[kind]
    )
    homes: dict[tuple[str | None, int | None], set[int]] = {}
    for batch in batches:
        assert {request.request_type for request in batch.requests} == {batch.kind}
        for request in batch.requests:
            homes.setdefault((request.task_name, request.doc_id), set()).add(batch.number)
    assert all(len(numbers) == 1 for numbers in homes.values())
    assert [batch.cost for batch in batches] == sorted((batch.cost for batch in batches), reverse=True)
    assert len({batch.number for batch in batches}) == len(batches)


def test_up_to_eight_workers_get_the_same_batches_and_more_get_smaller_ones() -> None:
    requests = {"generate_until": texts("long", 3000, limit=900, length=4000)}
    names = keys(requests)
    cut = {workers: cut_batches(requests, names, workers) for workers in (1, 2, 8, 9, 64)}
    assert [batch.keys for batch in cut[1]] == [batch.keys for batch in cut[2]] == [b.keys for b in cut[8]]
    assert [batch.keys for batch in cut[9]] == [batch.keys for batch in cut[64]]
    assert len(cut[9]) > 4 * len(cut[8]) > 4 * 100


def test_a_prompt_costs_once_for_all_its_options() -> None:
    (first, *others) = choices("task", 1, 5, 4000)
    assert document_cost("loglikelihood", [first]) == pytest.approx(1000, rel=0.02)
    assert document_cost("loglikelihood", [first, *others]) == pytest.approx(1000, rel=0.02)
    assert document_cost("generate_until", texts("task", 1, limit=64, length=400)) == 164


def test_a_batch_can_be_taken_apart() -> None:
    requests = {"loglikelihood": [*choices("one", 3), *choices("two", 2)]}
    (batch,) = cut_batches(requests, keys(requests), 1)
    assert batch.documents == 5
    one, two = batch.by_task()
    assert ({r.task_name for r in one.requests}, {r.task_name for r in two.requests}) == ({"one"}, {"two"})
    assert one.keys + two.keys == batch.keys
    assert one.cost + two.cost == pytest.approx(batch.cost, abs=1)


def test_half_a_character_costs_as_well() -> None:
    (request, *_) = choices("task", 1)
    request.arguments = (request.args[0], "\ud83d")
    assert document_cost("loglikelihood", [request]) > 0
