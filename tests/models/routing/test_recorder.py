"""Router counts against a slow count, token by token."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medbench.errors import ModelError
from medbench.models import Engine, MoLoRAConfig, RoutingCounts, load_model, molora_linears
from medbench.models.architecture.mixture import Mixture
from medbench.models.routing import recorder
from medbench.models.routing.routers import RouterOutputs
from tests.models.made_checkpoints import GOLDEN_CASES, expected, golden
from tests.models.made_engines import MIXTURE, VOCABULARY, alone_generate, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

_MODEL = tiny_model()
_STEM = list(range(3, 43))
_PROMPTS = st.builds(
    lambda shared, tail: (_STEM if shared else []) + tail,
    st.booleans(),
    st.lists(st.integers(0, 59), min_size=1, max_size=8),
)
_PROJECTIONS = ("gate", "up", "down")

_Slow = dict[tuple[Any, str, int, str], dict[str, Any]]


def _count_slowly(model: PreTrainedModel, sequences: Sequence[tuple[Any, list[int], int, int]]) -> _Slow:
    """Count one token after another, from the definitions.

    Args:
        model: With mixtures.
        sequences: (label, tokens, tokens of the prompt, first token to count).
    """
    counts: _Slow = defaultdict(
        lambda: {
            "tokens": 0,
            "count": np.zeros(4, int),
            "mass": np.zeros(4),
            "top1": np.zeros(4, int),
            "prob": np.zeros(4),
            "entropy": 0.0,
            "coactive": np.zeros((4, 4), int),
        }
    )
    modules = molora_linears(model)
    for label, tokens, prompt, first in sequences:
        seen: dict[Any, Tensor] = {}

        def observe(
            module: Mixture, logits: Tensor, _: Tensor, __: Tensor, seen: dict[Any, Tensor] = seen
        ) -> None:
            seen[module] = logits

        for module in modules:
            module.observer = observe
        with torch.no_grad():
            model(torch.tensor([tokens]))
        for module in modules:
            module.observer = None
            for place in range(first, len(tokens)):
                logits = seen[module][place].double().tolist()
                ranked = [int(e) for e in np.argsort(-np.array(logits), kind="stable")[:2]]
                total = sum(math.exp(x) for x in logits)
                kept = sum(math.exp(logits[e]) for e in ranked)
                cell = counts[
                    label, "prompt" if place < prompt else "generated", module.layer, module.projection
                ]
                cell["tokens"] += 1
                cell["top1"][ranked[0]] += 1
                for expert in range(4):
                    p = math.exp(logits[expert]) / total
                    cell["prob"][expert] += p
                    cell["entropy"] -= p * math.log(p)
                for expert in ranked:
                    cell["count"][expert] += 1
                    cell["mass"][expert] += math.exp(logits[expert]) / kept
                    for other in ranked:
                        cell["coactive"][expert, other] += 1
    return counts


def _check(found: RoutingCounts, slow: _Slow) -> None:
    assert {(label, phase) for label, phase in found.labels} == {(key[0], key[1]) for key in slow}
    for (label, phase, layer, projection), cell in slow.items():
        s = found.labels.index((label, phase))
        at = (s, found.layers.index(layer), found.projections.index(projection))
        assert found.tokens[s] == cell["tokens"]
        for name in ("count", "top1", "coactive"):
            assert (getattr(found, name)[at] == cell[name]).all(), name
        for name in ("mass", "prob", "entropy"):
            assert getattr(found, name)[at] == pytest.approx(cell[name], rel=1e-4, abs=1e-4), name


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            _PROMPTS, st.lists(st.lists(st.integers(0, 59), min_size=1, max_size=4), min_size=1, max_size=3)
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([1, 40, 8192]),
    st.booleans(),
    st.sampled_from(["tasks", "documents"]),
)
def test_scoring(
    questions: list[tuple[list[int], list[list[int]]]], budget: int, share: bool, level: str
) -> None:
    requests, labels, sequences = [], [], []
    for number, (context, options) in enumerate(questions):
        label = ("exam", number)
        shown = label if level == "documents" else ("exam", -1)
        requests += [(context, option) for option in options]
        labels += [label] * len(options)
        sequences.append((shown, context, len(context), 0))
        sequences += [
            (shown, context + option[:-1], len(context), len(context))
            for option in {tuple(option): option for option in options}.values()
        ]
    engine = Engine(_MODEL, max_batch_tokens=budget, share_prefixes=share, routing=level)
    total = RoutingCounts()

    def on_batch(*_: object) -> None:
        nonlocal total
        total = total + engine.routing()

    engine.score(requests, labels, on_batch)
    assert not engine.routing()
    _check(total, _count_slowly(_MODEL, sequences))


@pytest.mark.parametrize("level", ["tasks", "documents"])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize(
    ("contexts", "options"),
    [
        ([[3, 4, 5], [3, 4, 5]], [[7, 8]]),
        ([[3, 4, 5], [3, 4, 5]], [[7, 8], [9, 10, 11]]),
        ([[3, 4, 5], [3, 4, 5], [3, 4, 5]], [[7, 8], [7, 8]]),
        ([_STEM, _STEM, [6]], [[7, 8, 9]]),
        ([[*_STEM, 1], [*_STEM, 2], [*_STEM, 1]], [[7, 8], [9]]),
    ],
)
def test_a_text_that_several_documents_ask_counts_for_each(
    contexts: list[list[int]], options: list[list[int]], share: bool, level: str
) -> None:
    engine = Engine(_MODEL, share_prefixes=share, routing=level)
    requests = [(context, option) for context in contexts for option in options]
    labels = [("exam", number) for number in range(len(contexts)) for _ in options]
    engine.score(requests, labels)
    sequences = []
    for number, context in enumerate(contexts):
        shown = ("exam", number if level == "documents" else -1)
        sequences.append((shown, context, len(context), 0))
        sequences += [
            (shown, [*context, *option[:-1]], len(context), len(context))
            for option in {tuple(option): option for option in options}.values()
            if len(option) > 1
        ]
    _check(engine.routing(), _count_slowly(_MODEL, sequences))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(_PROMPTS, st.integers(1, 6)), min_size=1, max_size=6),
    st.sampled_from([1, 40, 8192]),
    st.integers(1, 6),
    st.booleans(),
    st.sampled_from(["tasks", "documents"]),
)
def test_generation(
    asked: list[tuple[list[int], int]], budget: int, rows: int, share: bool, level: str
) -> None:
    sequences = []
    for number, (prompt, limit) in enumerate(asked):
        new = alone_generate(_MODEL, prompt, limit)
        # The last token is never fed.
        shown = ("text", number if level == "documents" else -1)
        sequences.append((shown, prompt + new[:-1], len(prompt), 0))
    engine = Engine(_MODEL, max_batch_tokens=budget, max_rows=rows, share_prefixes=share, routing=level)
    engine.generate(
        [prompt for prompt, _ in asked],
        [limit for _, limit in asked],
        labels=[("text", number) for number in range(len(asked))],
    )
    found = engine.routing()
    _check(found, _count_slowly(_MODEL, sequences))
    assert (found.count.sum(-1) == 2 * found.tokens[:, None, None]).all()


def test_tokens_counted_before_are_left_out() -> None:
    engine = Engine(_MODEL)
    prompt = _STEM[:20]
    engine.generate([prompt], 3, labels=["a"], counted=[15])
    tokens = dict(zip(engine.routing().labels, engine.routing().tokens, strict=False))
    assert not tokens  # the second call found nothing left
    engine.generate([prompt], 3, labels=["a"], counted=[15])
    found = engine.routing()
    assert dict(zip(found.labels, found.tokens.tolist(), strict=True)) == {
        (("a", -1), "prompt"): 5,
        (("a", -1), "generated"): 2,
    }


@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_counts_follow_from_golden_router_logits(shared: Path, case: str) -> None:
    """The authors' router logits give the same counts as a batched run over the same tokens."""
    tensors = expected(shared, case)
    model = load_model(*golden(shared, case, "adapter"))
    ids = tensors["prefill.input_ids"].flatten().tolist()
    engine = Engine(model)
    engine.score([(ids, [1]), (ids[:7], [1]), (ids, [2])], labels=[("all", 0), ("part", 0), ("all", 0)])
    found = engine.routing()
    top_k = found.top_k
    for module in molora_linears(model):
        logits = tensors[f"prefill.router_logits.model.layers.{module.layer}.mlp.{module.projection}_proj"]
        logits = logits.reshape(-1, found.num_experts)
        for task, length in (("all", len(ids)), ("part", 7)):
            chosen = logits[:length].topk(top_k + 1, dim=1)
            clear = chosen.values[:, top_k - 1] - chosen.values[:, top_k] > 1e-4
            reference = torch.bincount(chosen.indices[:, :top_k].flatten(), minlength=found.num_experts)
            s = found.labels.index(((task, -1), "prompt"))
            at = (s, found.layers.index(module.layer), found.projections.index(module.projection))
            difference = np.abs(found.count[at] - reference.numpy()).sum()
            assert difference <= 2 * int((~clear).sum())


def test_three_of_six_experts_and_near_ties() -> None:
    model = tiny_model(molora=MoLoRAConfig(num_experts=6, top_k=3, rank=2, alpha=4))
    for module in molora_linears(model)[:1]:
        module.molora_in.data[-6:] = 0  # equal logits: every choice is a tie
        assert module.molora_in_bias is not None
        module.molora_in_bias.data.zero_()
    engine = Engine(model)
    engine.score([([1, 2, 3], [4])])
    found = engine.routing()
    assert found.near_ties[0, 0, 0] == 3
    assert (found.coactive.sum(axis=(-1, -2)) == 9 * 3).all()


def test_models_without_routers_and_level_off_record_nothing() -> None:
    plain, off = Engine(tiny_model(molora=None)), Engine(_MODEL, routing="off")
    for engine in (plain, off):
        engine.score([([1, 2], [3])])
        engine.generate([[1, 2]], 2)
        assert not engine.routing()


def test_counts_survive_bytes_and_frames() -> None:
    engine = Engine(_MODEL, routing="documents")
    engine.generate([[1, 2, 3], [4]], 3, labels=[("a", 0), ("题", 1)])
    counts = engine.routing()
    again = RoutingCounts.from_bytes(counts.to_bytes())
    assert again.labels == counts.labels
    pd_frame = counts.to_frame()
    assert pd_frame.equals(again.to_frame())
    assert list(pd_frame.columns) == [
        "task", "document", "phase", "layer", "projection", "expert", "tokens", "count", "mass", "top1",
        "prob", "entropy", "near_ties", "coactive",
    ]  # fmt: skip
    assert len(pd_frame) == len(counts.labels) * 2 * 3 * 4
    row = pd_frame[
        (pd_frame.task == "题")
        & (pd_frame.phase == "generated")
        & (pd_frame.layer == 1)
        & (pd_frame.projection == "up")
        & (pd_frame.expert == 2)
    ].iloc[0]
    at = (counts.labels.index((("题", 1), "generated")), 1, counts.projections.index("up"))
    assert row["count"] == counts.count[at][2]
    assert row["entropy"] == counts.entropy[at]
    assert list(row["coactive"]) == counts.coactive[at][2].tolist()
    assert row["document"] == 1
    doubled = counts + counts
    assert (doubled.coactive == 2 * counts.coactive).all()
    assert doubled.labels == counts.labels


@pytest.mark.parametrize("damage", [b"", b"PK", b"not counts"])
def test_damaged_bytes_are_refused(damage: bytes) -> None:
    with pytest.raises(ModelError, match="damaged"):
        RoutingCounts.from_bytes(damage)


def test_counts_of_different_routers_do_not_add_up() -> None:
    engines = [Engine(_MODEL), Engine(tiny_model(molora=MoLoRAConfig(6, 2, MIXTURE.rank, MIXTURE.alpha)))]
    for engine in engines:
        engine.score([([1, 2], [3])])
    with pytest.raises(ModelError, match="different models"):
        engines[0].routing() + engines[1].routing()


def test_steps_of_decoding_are_summed_up_together(monkeypatch: pytest.MonkeyPatch) -> None:
    summed: list[int] = []
    features = recorder._features

    def counting(outputs: RouterOutputs, *rest: Any) -> Tensor:
        summed.append(outputs.logits.shape[1])
        return features(outputs, *rest)

    monkeypatch.setattr(recorder, "_features", counting)
    engine = Engine(_MODEL)
    engine.generate([[1, 2, 3], [4, 5]], max_new_tokens=100)
    assert sum(summed) == 5 + 2 * 99
    assert len(summed) == 1
    assert engine.routing().tokens.tolist() == [5, 198]


@pytest.mark.parametrize("failing", range(1, 6))
@pytest.mark.parametrize("level", ["tasks", "documents", "tokens"])
@pytest.mark.parametrize("budget", [100, 400])
def test_memory_that_runs_out_while_tokens_are_counted_changes_no_count(
    budget: int, level: str, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stem = [5 * i % VOCABULARY for i in range(90)]
    requests = [([*stem[: 40 + 10 * (i % 5)], i], [i % 3, 7][: 1 + i % 2]) for i in range(30)]
    prompts = [[*stem, i] for i in range(6)] + [[i, *stem] for i in range(6)]
    # Of nothing in common: a step of them is counted at once, not queued.
    prompts += [[(i * j + i) % VOCABULARY for j in range(100)] for i in (7, 11, 13, 17, 19, 23)]
    labels = [("exam", i // 2) for i in range(len(requests))]
    model = tiny_model()
    features, calls = recorder._features, 0

    def breaking(*args: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise torch.OutOfMemoryError("fake: out of memory")
        return features(*args)

    calm = Engine(model, max_batch_tokens=budget, routing=level)
    broken = Engine(model, max_batch_tokens=budget, routing=level)
    expected = calm.score(requests, labels), calm.routing(), calm.traces()
    written = calm.generate(prompts, 2), calm.routing(), calm.traces()
    monkeypatch.setattr(recorder, "_features", breaking)
    scores = broken.score(requests, labels)
    reached = calls
    assert [score.logprob for score in scores] == pytest.approx([s.logprob for s in expected[0]], abs=1e-5)
    _assert_same_records((broken.routing(), broken.traces()), expected[1:])
    calls = 0
    assert broken.generate(prompts, 2) == written[0]
    assert max(reached, calls) > failing
    _assert_same_records((broken.routing(), broken.traces()), written[1:])


def _assert_same_records(found: Sequence[Any], expected: Sequence[Any]) -> None:
    """The same counts by label, and the same traces, in any order."""
    order = [found[0].labels.index(label) for label in expected[0].labels]
    assert len(found[0].labels) == len(order)
    assert found[0].tokens[order].tolist() == expected[0].tokens.tolist()
    assert (found[0].count[order] == expected[0].count).all()
    assert found[0].mass[order] == pytest.approx(expected[0].mass, rel=1e-6, abs=1e-4)
    texts = [None if traces is None else _texts(traces) for traces in (found[1], expected[1])]
    assert texts[0] == texts[1]


def _texts(traces: Any) -> list[tuple[Any, ...]]:
    bounds = zip(traces.documents, traces.phases, traces.starts, pairwise(traces.offsets), strict=True)
    return sorted(
        (label, int(phase), int(start), traces.tokens[slice(*part)].tobytes())
        for label, phase, start, part in bounds
    )
