"""A pass prepares the model once, leaves it as it was, and takes other passes within it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from medbench.errors import ModelError
from medbench.models import Engine, Sampling
from medbench.models.engines.native.attention import packed_attention
from medbench.models.engines.native.forward import PackedModel
from medbench.models.engines.native.prepacking import PrepackedWeights
from medbench.models.routing.recorder import Recorder
from tests.models.made_engines import tiny_model
from tests.models.tiny_zoo import zoo_model

_STEM = [7 * i % 60 for i in range(40)]
_REQUESTS = [([*_STEM[: 20 + 3 * (i % 5)], i], [i % 3, 4, 5][: 1 + i % 3]) for i in range(24)]
_PROMPTS = [[*_STEM[: 20 + i], i] for i in range(8)]

Ask = Callable[..., Any]


def _score(engine: Engine, **how: Any) -> list[float]:
    labels = [(f"exam {i % 3}", i // 3) for i in range(len(_REQUESTS))]
    return [score.logprob for score in engine.score(_REQUESTS, labels, **how)]


def _generate(engine: Engine, **how: Any) -> list[list[int]]:
    labels = [("writing", i) for i in range(len(_PROMPTS))]
    limits = [2 + 3 * i for i in range(len(_PROMPTS))]
    return [answer.token_ids for answer in engine.generate(_PROMPTS, limits, labels=labels, **how)]


ASKS: dict[str, Ask] = {"score": _score, "generate": _generate}


def _plain() -> PreTrainedModel:
    return tiny_model(molora=None)


def _native() -> PreTrainedModel:
    return zoo_model("mixtral", vocab_size=60)


MODELS = {"experts": tiny_model, "plain": _plain, "mixtral": _native}


def _state(model: Any) -> list[Any]:
    """What a session changes: how the model attends, what its layers run, who observes its routers."""
    return [
        model.config._attn_implementation,
        [vars(module).get("forward") for module in model.modules()],
        [getattr(module, "observer", None) for module in model.modules()],
    ]


@pytest.mark.parametrize("budget", [16, 64, 2048])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_a_pass_prepares_the_model_once(
    ask: Ask, make: Callable[[], PreTrainedModel], budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make()
    engine = Engine(model, max_batch_tokens=budget)
    assert engine.kind == "packed"
    calls: Counter[str] = Counter()

    def counting(name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def outer(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return inner(*args, **kwargs)

        return outer

    attention = counting("attention", packed_attention)
    monkeypatch.setattr("medbench.models.engines.native.forward.packed_attention", attention)
    monkeypatch.setattr(PrepackedWeights, "installed", counting("weights", PrepackedWeights.installed))
    monkeypatch.setattr(PackedModel, "hidden", counting("forwards", PackedModel.hidden))
    kinds = {type(router) for router in engine._recorder._routers}
    for kind in kinds:
        monkeypatch.setattr(kind, "observed", counting("routers", kind.observed))
    ask(engine)
    assert calls.pop("forwards") > (8 if budget == 16 or ask is _generate else 0)
    assert calls == Counter(attention=1, weights=1, routers=len(engine._recorder._routers))


class _Stopped(BaseException):
    """Such as an interrupt: no ordinary exception."""


@pytest.mark.parametrize("where", ["forward", "head", "callback"])
@pytest.mark.parametrize("error", [ValueError, RuntimeError, _Stopped], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_the_model_is_as_it_was_when_a_pass_fails(
    make: Callable[[], PreTrainedModel],
    ask: Ask,
    error: type[BaseException],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make()
    engine = Engine(model, max_batch_tokens=64)
    calm = ask(engine)
    counts = engine.routing()
    before = _state(model)
    calls = 0

    def broken(*_: Any, **__: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            assert _state(model) != before
            raise error("planted")

    def breaking(inner: Callable[..., Any]) -> Callable[..., Any]:
        def outer(*args: Any, **kwargs: Any) -> Any:
            broken()
            return inner(*args, **kwargs)

        return outer

    with monkeypatch.context() as patch:
        if where != "callback":
            name = "hidden" if where == "forward" else "logits"
            patch.setattr(PackedModel, name, breaking(getattr(PackedModel, name)))
        with pytest.raises(error, match="planted"):
            ask(engine, on_batch=broken if where == "callback" else None)
    assert _state(model) == before
    engine.routing()
    # Nothing of what failed is left in the counts of what follows.
    assert ask(engine) == calm
    again = engine.routing()
    assert again.tokens.tolist() == counts.tokens.tolist()
    assert (again.count == counts.count).all()


def _same_engine(engine: Engine) -> Engine:
    return engine


def _another(engine: Engine) -> Engine:
    return Engine(engine.model)


@pytest.mark.parametrize("other", [_same_engine, _another])
@pytest.mark.parametrize("inner", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("outer", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_pass_within_a_pass(
    make: Callable[[], PreTrainedModel], outer: Ask, inner: Ask, other: Callable[[Engine], Engine]
) -> None:
    model = make()
    engine = Engine(model, max_batch_tokens=64)
    second = other(engine)
    before = _state(model)
    expected = {ask: (ask(engine), engine.routing()) for ask in (outer, inner)}
    times = 0

    def on_batch(*_: Any) -> None:
        nonlocal times
        found.append(engine.routing())
        if times < 2:
            times += 1
            assert_same_answers(inner(second), expected[inner][0])
            assert_same_counts(second.routing(), expected[inner][1])

    found: list[Any] = []
    assert outer(engine, on_batch=on_batch) == expected[outer][0]
    assert times == 2
    assert_same_counts(sum(found[1:], found[0]), expected[outer][1])
    assert _state(model) == before


def assert_same_answers(found: list[Any], expected: list[Any]) -> None:
    """The same tokens, or the same scores: an engine with another budget rounds otherwise."""
    assert found == (pytest.approx(expected, abs=1e-5) if isinstance(expected[0], float) else expected)


def assert_same_counts(found: Any, expected: Any) -> None:
    """The same groups with the same tokens and choices, in any order."""
    assert sorted(found.labels) == sorted(expected.labels)
    order = [found.labels.index(label) for label in expected.labels]
    assert found.tokens[order].tolist() == expected.tokens.tolist()
    assert (found.count[order] == expected.count).all()


def test_a_model_in_a_session_refuses_its_own_forward() -> None:
    model = _plain()
    with PackedModel(model).session(), pytest.raises(ModelError, match="not told of the pack"):
        model(torch.tensor([[1, 2, 3]]))
    assert model(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 60)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_sessions_of_several_packed_models_lie_within_each_other(
    make: Callable[[], PreTrainedModel], depth: int
) -> None:
    model = make()
    before = _state(model)
    # All are made beforehand: within a session a layer is not a plain one.
    packed = [PackedModel(model) for _ in range(depth)]

    def within(rest: Sequence[PackedModel], states: list[Any]) -> None:
        if not rest:
            raise KeyError("planted")
        with rest[0].session(Recorder(model)):
            state = _state(model)
            assert state not in [before]
            try:
                within(rest[1:], [*states, state])
            finally:
                assert _state(model) == state

    with pytest.raises(KeyError, match="planted"):
        within(packed, [])
    assert _state(model) == before


@pytest.mark.parametrize("failing", range(1, 7))
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_draw_is_not_lost_when_memory_runs_out(
    make: Callable[[], PreTrainedModel], failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(make())
    sampling = [Sampling(temperature=1.5, seed=i) for i in range(len(_PROMPTS))]
    monkeypatch.setattr(PackedModel, "head_rows", property(lambda _: 2))
    calm = _generate(engine, sampling=sampling)
    logits, calls = PackedModel.logits, 0

    def breaking(self: PackedModel, *args: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise torch.OutOfMemoryError("fake: out of memory")
        return logits(self, *args)

    monkeypatch.setattr(PackedModel, "logits", breaking)
    assert _generate(engine, sampling=sampling) == calm
    assert calls > failing
