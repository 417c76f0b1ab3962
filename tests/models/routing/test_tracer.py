"""Traces of batches against texts run alone, and their sums against the recorder's."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medbench.errors import ModelError
from medbench.models import Engine, MoLoRAConfig, RoutingCounts
from medbench.models.engines.choices import router_choices
from medbench.models.engines.native.forward import PackedModel
from medbench.models.routing.counts import RoutingLabel
from medbench.models.routing.traces import Traces
from tests.models.made_engines import alone_generate, tiny_model

_MODEL = tiny_model()
_STEM = list(range(3, 43))
_PROMPTS = st.builds(
    lambda shared, tail: (_STEM if shared else []) + tail,
    st.booleans(),
    st.lists(st.integers(0, 59), min_size=1, max_size=8),
)

# document, phase, place, tokens, choices
_Piece = tuple[RoutingLabel, int, int, tuple[int, ...], bytes]


def _alone(label: RoutingLabel, phase: int, tokens: list[int], first: int) -> _Piece:
    """A piece as the model by itself gives it: tokens ``first`` onwards of a text."""
    (choices,) = router_choices(_MODEL, [tokens])
    return label, phase, first, tuple(tokens[first:]), choices.choice[:, first:].tobytes()


def _pieces(traces: Traces | None) -> Counter[_Piece]:
    if traces is None:
        return Counter()
    return Counter(
        (label, int(phase), int(start), tuple(traces.tokens[a:b].tolist()), traces.choice[:, a:b].tobytes())
        for label, phase, start, a, b in zip(
            traces.documents,
            traces.phases,
            traces.starts,
            traces.offsets[:-1].tolist(),
            traces.offsets[1:].tolist(),
            strict=True,
        )
    )


def _adds_up(traces: Traces | None, counts: RoutingCounts) -> None:
    """Every count of the recorder is that of the traced tokens."""
    assert (traces is None) == (not counts)
    if traces is None:
        return
    owner = np.repeat(np.arange(len(traces.documents)), np.diff(traces.offsets))
    seen: Counter[tuple[RoutingLabel, str]] = Counter()
    count = np.zeros_like(counts.count)
    mass = np.zeros_like(counts.mass)
    for t, piece in enumerate(owner.tolist()):
        group = (traces.documents[piece], ("prompt", "generated")[traces.phases[piece]])
        seen[group] += 1
        s = counts.labels.index(group)
        for m, (layer, projection) in enumerate(traces.routers):
            at = (s, counts.layers.index(layer), counts.projections.index(projection))
            for expert, gate in zip(traces.choice[m, t], traces.gate[m, t], strict=True):
                count[(*at, expert)] += 1
                mass[(*at, expert)] += gate / 255
    assert [seen[group] for group in counts.labels] == counts.tokens.tolist()
    assert (count == counts.count).all()
    assert np.abs(mass - counts.mass).max() <= 0.002 * max(1, counts.tokens.max())


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
    st.integers(1, 3),
)
def test_scored_texts_are_traced_piece_by_piece(
    questions: list[tuple[list[int], list[list[int]]]], budget: int, share: bool, documents: int
) -> None:
    requests, labels, expected = [], [], set[_Piece]()
    for number, (context, options) in enumerate(questions):
        label = ("exam", number % documents)  # one document may ask about several contexts
        requests += [(context, option) for option in options]
        labels += [label] * len(options)
        expected.add(_alone(label, 0, context, 0))
        expected |= {
            _alone(label, 1, context + option[:-1], len(context)) for option in options if len(option) > 1
        }
    engine = Engine(_MODEL, max_batch_tokens=budget, share_prefixes=share, routing="tokens")
    parts, total = list[Traces](), RoutingCounts()

    def on_batch(*_: object) -> None:
        nonlocal total
        total = total + engine.routing()
        parts.extend(part for part in [engine.traces()] if part is not None)

    engine.score(requests, labels, on_batch)
    assert engine.traces() is None
    traces = Traces.join(parts)
    found = _pieces(traces)
    # Options that are alike but for their last token are fed twice.
    assert set(found) == expected
    assert {piece for piece in found if piece[1] == 0 and found[piece] > 1} == set()
    _adds_up(traces, total)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(_PROMPTS, st.integers(1, 6)), min_size=1, max_size=6),
    st.sampled_from([1, 40, 8192]),
    st.integers(1, 6),
    st.booleans(),
)
def test_generated_texts_are_traced_in_order(
    asked: list[tuple[list[int], int]], budget: int, rows: int, share: bool
) -> None:
    expected: Counter[_Piece] = Counter()
    for number, (prompt, limit) in enumerate(asked):
        fed = prompt + alone_generate(_MODEL, prompt, limit)[:-1]
        expected[_alone(("text", number), 0, prompt, 0)] += 1
        if limit > 1:
            expected[_alone(("text", number), 1, fed, len(prompt))] += 1
    engine = Engine(_MODEL, max_batch_tokens=budget, max_rows=rows, share_prefixes=share, routing="tokens")
    engine.generate(
        [prompt for prompt, _ in asked],
        [limit for _, limit in asked],
        labels=[("text", number) for number in range(len(asked))],
    )
    traces = engine.traces()
    assert _pieces(traces) == expected
    _adds_up(traces, engine.routing())


def test_tokens_counted_before_are_not_traced_again() -> None:
    engine = Engine(_MODEL, routing="tokens")
    prompt = _STEM[:20]
    engine.generate([prompt], 3, labels=["a"], counted=[15])
    traces = engine.traces()
    assert traces is not None
    assert traces.starts.tolist() == [15, 20]
    assert traces.tokens[:5].tolist() == prompt[15:]
    assert traces.prompts().documents == ()  # the rest of a prompt is no prompt


@pytest.mark.parametrize("failing", [1, 2, 5])
def test_memory_that_runs_out_in_the_head_counts_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    prompts = [[*_STEM, i, i + 1] for i in range(6)]
    calm = Engine(_MODEL, routing="tokens")
    texts, counts, traces = calm.generate(prompts, 5), calm.routing(), calm.traces()
    logits, calls = PackedModel.logits, 0

    def breaking(self: PackedModel, *args: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise torch.OutOfMemoryError("fake: out of memory")
        return logits(self, *args)

    engine = Engine(_MODEL, routing="tokens")
    monkeypatch.setattr(PackedModel, "logits", breaking)
    assert engine.generate(prompts, 5) == texts
    assert calls > failing
    again = engine.routing()
    assert again.tokens.tolist() == counts.tokens.tolist()
    assert (again.count == counts.count).all()
    assert _pieces(engine.traces()) == _pieces(traces)


def test_other_levels_and_plain_models_trace_nothing() -> None:
    for engine in (Engine(_MODEL), Engine(_MODEL, routing="documents"), Engine(tiny_model(molora=None))):
        engine.score([([1, 2, 3], [4])])
        assert engine.traces() is None


def test_more_experts_than_a_byte_counts_are_refused() -> None:
    many = tiny_model(molora=MoLoRAConfig(num_experts=257, top_k=2, rank=1, alpha=1))
    with pytest.raises(ModelError, match="256 experts"):
        Engine(many, routing="tokens")


def _example() -> Traces:
    engine = Engine(_MODEL, routing="tokens")
    engine.generate([[1, 2, 3], [4]], 3, labels=[("题", 1), ("a", 0)])
    traces = engine.traces()
    assert traces is not None
    return replace(traces, texts={1: "一", 2: "\n"}, special=frozenset({4}))


def test_traces_survive_bytes_and_sorting() -> None:
    traces = _example()
    again = Traces.from_bytes(traces.to_bytes())
    assert _pieces(again) == _pieces(traces)
    assert (again.texts, again.special, again.routers) == (traces.texts, traces.special, traces.routers)
    ordered = traces.ordered()
    assert _pieces(ordered) == _pieces(traces)
    assert list(ordered.documents) == sorted(traces.documents)
    assert _pieces(Traces.join([traces, traces])) == _pieces(traces) + _pieces(traces)
    assert ordered.select(ordered.phases == 0).phases.tolist() == [0, 0]


def test_what_does_not_fit_together_is_refused() -> None:
    traces = _example()
    for broken in (
        replace(traces, num_experts=1),
        replace(traces, offsets=traces.offsets[:-1]),
        replace(traces, starts=traces.starts[:-1]),
        replace(traces, gate=traces.gate[:, :-1]),
        # A token that chooses an expert twice, none, or is nobody's; a phase that never was.
        replace(traces, choice=np.zeros_like(traces.choice)),
        replace(traces, choice=traces.choice[..., :0], gate=traces.gate[..., :0]),
        replace(traces, offsets=np.concatenate([[1], traces.offsets[1:]])),
        replace(traces, offsets=np.concatenate([traces.offsets[:-1], traces.offsets[-1:] - 1])),
        replace(traces, phases=traces.phases + np.uint8(2)),
    ):
        with pytest.raises(ModelError, match="damaged"):
            Traces.from_bytes(broken.to_bytes())
    with pytest.raises(ModelError, match="damaged"):
        Traces.from_bytes(traces.to_bytes()[:100])
    with pytest.raises(ModelError, match="no traces"):
        Traces.join([])
    with pytest.raises(ModelError, match="different routers"):
        Traces.join([traces, replace(traces, num_experts=9)])
