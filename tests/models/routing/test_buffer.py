"""The buffer of router outputs: where they stand, how it grows, that nobody goes on observing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medbench.errors import ModelError
from medbench.models import Engine
from medbench.models.architecture.mixtures import molora_linears
from medbench.models.routing.buffer import RouterBuffer
from medbench.models.routing.router_finding import routers_of
from medbench.models.routing.routers import RouterOutputs
from tests.models.made_engines import tiny_model


def _outputs(tokens: int, value: float, modules: int = 6) -> RouterOutputs:
    return RouterOutputs(
        torch.full((modules, tokens, 4), value),
        torch.full((modules, tokens, 2), int(value)),
        torch.full((modules, tokens, 2), value),
    )


def test_forwards_stand_behind_each_other() -> None:
    model = tiny_model()
    routers = routers_of(model)
    buffer, alone = RouterBuffer(routers), RouterBuffer(routers)
    with torch.no_grad():
        with buffer.filled(0, 3):
            model(torch.tensor([[1, 2, 3]]))
        with buffer.filled(3, 5):
            model(torch.tensor([[4, 5]]))
        with alone.filled(0, 2):
            model(torch.tensor([[4, 5]]))
    assert buffer.outputs is not None
    assert alone.outputs is not None
    assert buffer.outputs.logits.shape == (6, 5, 4)
    for whole, part in zip(buffer.outputs, alone.outputs, strict=True):
        if whole is not None and part is not None:
            assert torch.equal(whole[:, 3:5], part)
    assert buffer.outputs.margin is None


def test_appended_outputs_follow_those_before_and_cover_those_behind() -> None:
    buffer = RouterBuffer(routers_of(tiny_model()))
    buffer.append(0, _outputs(4, 1))
    buffer.append(2, _outputs(5, 2))
    assert buffer.outputs is not None
    assert buffer.outputs.first(7).choice[0, :, 0].tolist() == [1, 1, 2, 2, 2, 2, 2]
    buffer.append(0, _outputs(1, 3))
    assert buffer.outputs.first(2).logits[5, :, 3].tolist() == [3, 1]


def test_nobody_observes_when_a_forward_failed() -> None:
    model = tiny_model()
    modules = molora_linears(model)
    with pytest.raises(IndexError), RouterBuffer(routers_of(model)).filled(0, 1):
        model(torch.tensor([[10**6]]))
    assert all(module.observer is None for module in modules)


def _bypassed(model: Any, layer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.model.layers[layer].mlp, "forward", lambda x: x)


@pytest.mark.parametrize("layers", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("tokens", [3, 300])
@pytest.mark.parametrize("generates", [False, True])
def test_routers_that_a_forward_passes_over_are_no_counts(
    layers: tuple[int, ...], tokens: int, generates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(max_position_embeddings=1024)
    engine = Engine(model)
    for layer in layers:
        _bypassed(model, layer, monkeypatch)
    prompt = [token % 60 for token in range(tokens)]
    with pytest.raises(ModelError, match=r"(?s)put out nothing.*routing"):
        engine.generate([prompt], 4) if generates else engine.score([(prompt, [1])])
    assert not engine.routing()
    assert len(Engine(model, routing="off").score([(prompt, [1])])) == 1


@pytest.mark.parametrize("tokens", [2, 3, 256, 257, 300])
@pytest.mark.parametrize("shown", [-1, 1])
def test_routers_that_show_other_tokens_than_a_forward_has_are_no_counts(shown: int, tokens: int) -> None:
    model = tiny_model(max_position_embeddings=1024)
    buffer = RouterBuffer(routers_of(model))
    with pytest.raises(ModelError, match="layer 0, gate"), buffer.filled(0, tokens):
        model(torch.tensor([[7] * (tokens + shown)]))
    assert all(module.observer is None for module in molora_linears(model))
