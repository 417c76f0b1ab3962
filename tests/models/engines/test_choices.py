"""Choices of a batch against those of texts run alone by the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medbench.errors import ModelError
from medbench.models import Engine, add_molora, load_model, molora_linears
from medbench.models.engines.choices import router_choices
from medbench.models.engines.native.packing import Pack
from tests.models.made_checkpoints import GOLDEN_CASES, expected, golden
from tests.models.made_engines import MIXTURE, tiny_model
from tests.models.tiny_zoo import LONGROPE, some_tokens, zoo_model

TEXTS = [[3, 4, 5], [6], [7, 8, 9, 10, 11], [3, 4]]


@pytest.mark.parametrize("budget", [1, 6, 100])
def test_choices_do_not_depend_on_the_batch(budget: int) -> None:
    model = tiny_model()
    found = list(router_choices(model, TEXTS, max_batch_tokens=budget))
    for text, traced in zip(TEXTS, found, strict=True):
        seen: list[Any] = []
        for module in molora_linears(model):
            module.observer = lambda _m, _l, choice, weights, to=seen: to.append((choice, weights))
        with torch.no_grad():
            model(torch.tensor([text]))
        for module in molora_linears(model):
            module.observer = None
        assert traced.choice.shape == (len(seen), len(text), 2)
        for i, (choice, weights) in enumerate(seen):
            assert traced.choice[i].tolist() == choice.tolist()
            assert traced.gate[i] / 255 == pytest.approx(weights.numpy(), abs=0.003)
    assert all(module.observer is None for module in molora_linears(model))


_WINDOW: dict[str, Any] = {"sliding_window": 8}
_LAYERS: dict[str, Any] = {**_WINDOW, "layer_types": ["full_attention", "sliding_attention"]}
_SWITCH: dict[str, Any] = {"rope_parameters": LONGROPE, "original_max_position_embeddings": 32}
_DYNAMIC: dict[str, Any] = {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}
_CAPPED: dict[str, Any] = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "head_dim": 8}
# What is packed, what has a window or a rope switch, and what answers by its own forward.
_SHAPES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("packed", "llama", {}),
    "rope switch": ("packed", "llama", _SWITCH),
    "dynamic rope": ("packed", "llama", _DYNAMIC),
    "window": ("packed", "mistral", _WINDOW),
    "window in some layers": ("packed", "olmo3", _LAYERS),
    "two ropes": ("packed", "gemma3_text", {**_LAYERS, "head_dim": 8}),
    "queries normed": ("packed", "qwen3", {"head_dim": 8}),
    "no rope in some layers": ("packed", "smollm3", {"no_rope_layers": [1, 0]}),
    "capped": ("reference", "gemma2", _CAPPED),
    "logits scaled": ("reference", "cohere", {"logit_scale": 0.5}),
    "attention of its own": ("reference", "stablelm", {}),
    "differential": ("reference", "diffllama", {}),
    "a fault of packing": ("reference", "llama", {}),
}


@pytest.mark.parametrize("budget", [30, 4096])
@pytest.mark.parametrize("name", _SHAPES)
def test_choices_are_the_models_own_whatever_its_architecture(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, budget: int
) -> None:
    kind, model_type, changes = _SHAPES[name]
    model = zoo_model(model_type, **changes)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        add_molora(model, MIXTURE)
        for module in molora_linears(model):
            for parameter in module.parameters(recurse=False):
                nn.init.normal_(parameter, std=0.4)
    if name == "a fault of packing":
        monkeypatch.setattr(Pack, "attend", lambda *_: 1 / 0)
    texts = [some_tokens(length, length) for length in (5, 40, 33, 32, 31, 60, 2, 40)]
    found = list(router_choices(model, texts, max_batch_tokens=budget))
    assert any("one row at a time" in record.getMessage() for record in caplog.records) == (
        kind == "reference"
    )
    for text, traced in zip(texts, found, strict=True):
        for place, (choice, weights) in enumerate(_alone(model, text)):
            assert traced.choice[place].tolist() == choice.tolist()
            assert traced.gate[place] / 255 == pytest.approx(weights.numpy(), abs=0.003)


def _alone(model: Any, text: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """What each router chooses in the model's own forward."""
    seen: list[tuple[Tensor, Tensor]] = []
    for module in molora_linears(model):
        module.observer = lambda _m, _l, choice, weights: seen.append((choice, weights))
    with torch.no_grad():
        model(torch.tensor([list(text)]), use_cache=False)
    for module in molora_linears(model):
        module.observer = None
    return seen


@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_golden_choices_traced_in_a_batch_add_up_to_the_recorder(shared: Path, case: str) -> None:
    model = load_model(*golden(shared, case, "adapter"))
    tensors = expected(shared, case)
    ids = [int(token) for token in tensors["prefill.input_ids"].flatten()]
    texts = [ids, ids[: len(ids) // 2], ids]
    traced = list(router_choices(model, texts))
    experts, k = molora_linears(model)[0].num_experts, molora_linears(model)[0].top_k
    engine = Engine(model, routing="tasks")
    engine.score([(text[:-1], text[-1:]) for text in texts], labels=[("t", i) for i in range(3)])
    counts = engine.routing()
    for i, module in enumerate(molora_linears(model)):
        name = f"prefill.router_logits.model.layers.{module.layer}.mlp.{module.projection}_proj"
        logits = tensors[name].reshape(-1, experts)
        ranked = logits.sort(dim=1, descending=True)
        clear = (ranked.values[:, k - 1] - ranked.values[:, k] > 1e-4).numpy()
        for part in (traced[0], traced[2]):
            assert np.array_equal(
                np.sort(part.choice[i], axis=1)[clear], np.sort(ranked.indices[:, :k].numpy(), axis=1)[clear]
            )
        # The engine never feeds the last token of a text.
        summed = np.bincount(
            np.concatenate([part.choice[i, :-1].ravel() for part in traced]), minlength=experts
        )
        layer, projection = counts.layers.index(module.layer), counts.projections.index(module.projection)
        assert counts.count[:, layer, projection].sum(axis=0).tolist() == summed.tolist()


def test_models_without_routers_are_refused() -> None:
    with pytest.raises(ModelError, match="no routers"):
        list(router_choices(tiny_model(molora=None), TEXTS))
