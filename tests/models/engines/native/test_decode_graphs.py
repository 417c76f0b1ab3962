"""Decoding by recorded steps gives what plain decoding gives: tokens, router counts, failures."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.errors import ModelError
from medbench.models import Engine
from medbench.models.engines.native.decode_graphs import Capture, Step, _size
from medbench.models.engines.native.packing import KVCache
from tests.models.made_engines import VOCABULARY, tiny_model
from tests.models.tape import capture_on_tape

_MODEL = tiny_model()
_PROMPTS = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=30)


class Counting:
    """Records steps, and counts how often they run."""

    def __init__(self, capture: Capture = capture_on_tape) -> None:
        self.capture = capture
        self.recorded = 0
        self.played = 0

    def __call__(self, step: Callable[[], Step]) -> tuple[Step, Callable[[], None]]:
        outputs, replay = self.capture(step)
        self.recorded += 1

        def counted() -> None:
            self.played += 1
            replay()

        return outputs, counted


def _faultless(step: Callable[[], Step]) -> tuple[Step, Callable[[], None]]:
    """Recording must not fail: it would be made good for without a word."""
    try:
        return capture_on_tape(step)
    except RuntimeError as error:
        raise AssertionError from error


def _engine(capture: Capture | None, **options: Any) -> Engine:
    engine = Engine(_MODEL, **options)
    engine._capture = capture
    return engine


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(_PROMPTS, st.integers(1, 14)), min_size=1, max_size=12),
    st.sampled_from([1, 30, 8192]),
    st.integers(1, 12),
    st.booleans(),
)
def test_answers_and_routing_are_those_of_plain_steps(
    requests: list[tuple[list[int], int]], budget: int, rows: int, share: bool
) -> None:
    answers, counts, tokens = [], [], []
    for capture in (None, _faultless):
        engine = _engine(capture, max_batch_tokens=budget, max_rows=rows, share_prefixes=share)
        before = engine.tokens
        answers.append(
            engine.generate(
                [prompt for prompt, _ in requests],
                max_new_tokens=[limit for _, limit in requests],
                labels=[("task", number) for number in range(len(requests))],
            )
        )
        counts.append(engine.routing())
        tokens.append(engine.tokens - before)
    assert answers[0] == answers[1]
    assert tokens[0] == tokens[1]
    for name in ("tokens", "count", "top1", "coactive"):
        assert getattr(counts[0], name).tolist() == getattr(counts[1], name).tolist()
    assert counts[1].mass == pytest.approx(counts[0].mass, abs=1e-4)
    assert counts[1].entropy == pytest.approx(counts[0].entropy, abs=1e-4)


@pytest.mark.parametrize("routing", ["off", "tokens"])
def test_most_steps_are_played(routing: str) -> None:
    capture = Counting()
    engine = _engine(capture, routing=routing)
    plain = _engine(None, routing=routing)
    prompts = [[1, 2, 3], [4, 5], [6, 7, 8, 9]]
    assert engine.generate(prompts, max_new_tokens=[30, 20, 10]) == plain.generate(
        prompts, max_new_tokens=[30, 20, 10]
    )
    # Three rows and two and one; each size runs plainly once, and once more when it is recorded.
    assert capture.recorded == 3
    assert capture.played == 29 - 3 + 3
    ours, theirs = engine.traces(), plain.traces()
    assert (ours is None) == (theirs is None) == (routing == "off")
    if ours is not None and theirs is not None:
        assert ours.to_bytes() == theirs.to_bytes()


def test_prompts_are_admitted_in_groups_so_that_steps_can_be_played() -> None:
    capture = Counting()
    prompts = [[number % VOCABULARY, 5] for number in range(96)]
    limits = [10 + number for number in range(96)]
    found = _engine(capture, max_rows=32).generate(prompts, max_new_tokens=limits)
    assert found == _engine(None, max_rows=32).generate(prompts, max_new_tokens=limits)
    # In some 190 steps 64 rows take the place of others, hardly two of them at once.
    assert capture.played > 160


def test_a_store_that_grew_is_recorded_anew() -> None:
    capture = Counting()
    engine = _engine(capture)
    # 200 tokens are more than the 128 that the store starts with.
    (found,) = engine.generate([[1, 2, 3]], max_new_tokens=200)
    assert [found] == _engine(None).generate([[1, 2, 3]], max_new_tokens=200)
    assert capture.recorded >= 2


def _synchronizing(step: Callable[[], Step]) -> tuple[Step, Callable[[], None]]:
    def with_a_look() -> Step:
        outputs = step()
        assert len(outputs[0].nonzero())
        return outputs

    return capture_on_tape(with_a_look)


def _forgetful(step: Callable[[], Step]) -> tuple[Step, Callable[[], None]]:
    outputs, replay = capture_on_tape(step)

    def replay_wrongly() -> None:
        replay()
        outputs[0].mul_(1.5)

    return outputs, replay_wrongly


def _hungry(step: Callable[[], Step]) -> tuple[Step, Callable[[], None]]:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_synchronizing, "not permitted while a step is recorded: nonzero"),
        (_forgetful, "differs by [0-9.e-]+, decoding goes on without graphs"),
        (_hungry, "no memory for a graph of 1 rows"),
    ],
)
def test_without_a_right_graph_decoding_goes_on(
    fault: Capture, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    capture = Counting(fault)
    engine = _engine(capture)
    with caplog.at_level(logging.INFO):
        found = engine.generate([[1, 2, 3]], max_new_tokens=12)
    assert found == _engine(None).generate([[1, 2, 3]], max_new_tokens=12)
    assert engine.routing().tokens.tolist() == [3, 11]
    (record,) = [record for record in caplog.records if "graph" in record.message]
    assert re.search(message, record.message)
    assert capture.played <= 1


def test_a_row_without_finite_logits_fails_alone() -> None:
    first = [1, 2]
    others = [[number, 9] for number in range(10, 50)]
    sound, *rest = (generation.token_ids for generation in _engine(None).generate([first, *others], 12))
    # A token that a second continuation comes upon only while it decodes.
    second, poison = next(
        (prompt, token)
        for prompt, found in zip(others, rest, strict=True)
        for place, token in enumerate(found[:-1])
        if place > 3 and token not in [*first, *sound, *prompt, *found[:place]]
    )
    prompts = [first, second]
    model = tiny_model()
    with torch.no_grad():
        model.get_parameter("model.embed_tokens.weight")[poison] = float("nan")
    engine = Engine(model)
    capture = Counting()
    engine._capture = capture
    finished: dict[int, Any] = {}

    def on_batch(indices: Any, results: Any) -> None:
        finished.update(zip(indices, results, strict=True))

    with pytest.raises(ModelError, match="not finite"):
        engine.generate(prompts, 12, on_batch=on_batch)
    assert {index: generation.token_ids for index, generation in finished.items()} == {0: sound}
    assert capture.played > 5


@pytest.mark.parametrize(
    ("rows", "reach", "expected"),
    [(1, 1, (1, 256)), (3, 256, (4, 256)), (9, 257, (16, 512)), (65, 300, (96, 512)), (100, 900, (100, 900))],
)
def test_sizes_are_few_and_within_the_store(rows: int, reach: int, expected: tuple[int, int]) -> None:
    assert _size(rows, reach, KVCache(100, 900)) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("impl", ["stacked", "fused"])
def test_on_a_gpu(impl: Any, caplog: pytest.LogCaptureFixture) -> None:
    from medbench.models import set_impl

    model = tiny_model()
    torch.nn.Module.to(model, "cuda")
    set_impl(model, impl)
    prompts = [[1, 2, 3], [4, 5], [6, 7, 8, 9]]
    found = []
    for graphs in (True, False):
        engine = Engine(model, decode_graphs=graphs)
        found.append((engine.generate(prompts, max_new_tokens=[40, 30, 20]), engine.routing().count.tolist()))
    assert found[0] == found[1]
    assert not [record for record in caplog.records if "graph" in record.message]
