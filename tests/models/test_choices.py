"""Choices of a batch against those of texts run alone by the model itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medbench.errors import ModelError
from medbench.models import Engine, load_model, molora_linears
from medbench.models.choices import router_choices
from tests.models.checkpoints import GOLDEN_CASES, expected, golden
from tests.models.engines import tiny_model

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
