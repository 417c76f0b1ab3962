"""Experts that are whole MLPs: the stacked form against the loop, gates, observers, ablations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.errors import ModelError
from medbench.models import Engine, MoLoRAConfig, ablated, add_molora, parse_ablation
from medbench.models.architecture.block import MoLoRABlock
from medbench.models.architecture.mixture import Impl
from medbench.models.architecture.mixtures import mixtures_of, molora_linears, set_impl
from medbench.models.routing.router_finding import routers_of
from tests.models.made_engines import tiny_model

FORMS: tuple[Impl, ...] = ("stacked", "loop")


class _MLP(nn.Module):
    def __init__(self, hidden: int, inner: int, *, bias: bool) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, inner, bias=bias, dtype=torch.float64)
        self.up_proj = nn.Linear(hidden, inner, bias=bias, dtype=torch.float64)
        self.down_proj = nn.Linear(inner, hidden, bias=bias, dtype=torch.float64)
        self.act_fn = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
        return y


def _block(config: MoLoRAConfig, *, bias: bool = False, hidden: int = 6, inner: int = 9) -> MoLoRABlock:
    torch.manual_seed(3)
    block = MoLoRABlock(_MLP(hidden, inner, bias=bias), config, layer=0)
    with torch.no_grad():
        for part in block.parts().values():
            part.normal_()
    return block.requires_grad_(False)


def _config(experts: int, k: int, rank: int, **more: Any) -> MoLoRAConfig:
    if more.get("top_p"):
        k = experts
    return MoLoRAConfig(experts, k, rank, 3.0, router_bias=False, block=True, **more)


shapes = st.tuples(st.integers(2, 5), st.integers(1, 5), st.integers(1, 3))
gates = st.sampled_from(
    [{}, {"top_p": 0.4}, {"top_p": 0.9}, {"top_p": 1.0}, {"top_p": 0.6, "temperature": 0.5}]
)
linears = st.sampled_from([("gate", "up", "down"), ("gate", "down"), ("up",), ("down",), ("gate", "up")])


@given(shapes, gates, linears, st.booleans(), st.sampled_from([0, 1, 5, 64, 65, 130]))
@settings(max_examples=60, deadline=None)
def test_forms_agree(
    shape: tuple[int, int, int], gate: dict[str, Any], where: Any, bias: bool, tokens: int
) -> None:
    experts, k, rank = shape
    block = _block(_config(experts, min(k, experts), rank, projections=where, **gate), bias=bias)
    x = torch.randn(tokens, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(tokens))
    stacked = block(x)
    block.impl = "loop"
    torch.testing.assert_close(block(x), stacked)
    torch.testing.assert_close(block(x.view(1, tokens, 6))[0], stacked)


def test_a_fresh_block_changes_nothing() -> None:
    block = MoLoRABlock(_MLP(6, 9, bias=True), _config(4, 2, 3), layer=0)
    x = torch.randn(8, 6, dtype=torch.float64)
    for block.impl in FORMS:
        torch.testing.assert_close(block(x), block.base(x))


def test_unnormalized_gates_shrink_the_base_as_well() -> None:
    """With half the weights, half of everything: MLP, bias and LoRA."""
    whole = _block(_config(4, 4, 2, top_p=1.0), bias=True)
    double = _block(_config(4, 4, 2, top_p=1.0, temperature=2.0), bias=True)
    x = torch.randn(70, 6, dtype=torch.float64)
    torch.testing.assert_close(double(x), whole(x) / 2)


@pytest.mark.parametrize("impl", FORMS)
def test_observers_see_weights_that_add_up_to_one(impl: Impl) -> None:
    for more in ({}, {"top_p": 0.5}, {"top_p": 0.5, "temperature": 4.0}):
        block = _block(_config(5, 2, 2, **more))
        block.impl = impl
        seen: list[Tensor] = []
        block.observer = lambda _, logits, choice, weights, seen=seen: seen.extend([logits, choice, weights])
        block(torch.randn(9, 6, dtype=torch.float64))
        logits, choice, weights = seen
        assert logits.shape == (9, 5)
        assert choice.shape == weights.shape == (9, 5 if more else 2)
        torch.testing.assert_close(weights.sum(1), torch.ones(9, dtype=torch.float64))
        assert torch.equal(choice[:, 0], logits.argmax(1))


def test_top_p_keeps_the_first_that_exceeds_it() -> None:
    block = _block(_config(4, 4, 2, top_p=0.75))
    logits = torch.log(
        torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.8, 0.1, 0.06, 0.04], [0.25, 0.25, 0.25, 0.25]])
    )
    _, weights = block.route(logits)
    assert (weights > 0).sum(1).tolist() == [2, 1, 4]
    torch.testing.assert_close(weights[0, :2], torch.tensor([0.5, 0.3]))


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("top_p", [0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0])
def test_top_p_follows_the_running_sum_where_it_nearly_meets_the_bound(
    top_p: float, temperature: float
) -> None:
    """Equal or round probabilities: sums that meet ``top_p`` up to rounding, held against a plain loop."""
    generator = torch.Generator().manual_seed(0)
    for experts in (2, 3, 4, 5, 8, 10):
        block = _block(_config(experts, experts, 2, top_p=top_p, temperature=temperature))
        logits = torch.log(torch.randint(1, 5, (200, experts), generator=generator).float())
        logits[0] = 0
        choice, weights = block.nucleus(logits)
        for row, ranked, given_weights in zip(logits, choice, weights, strict=True):
            probabilities = torch.softmax(row, 0) / (temperature or 1)
            best, order = probabilities.sort(descending=True, stable=True)
            sums = best.cumsum(0).tolist()
            bound = torch.tensor(top_p).item()  # compared as float32, as tensors do
            kept = next((place for place, total in enumerate(sums) if total > bound), experts - 1) + 1
            assert torch.equal(ranked, order)
            assert (given_weights > 0).tolist() == [place < kept for place in range(experts)]


def test_blocks_are_put_in_found_and_named() -> None:
    model = tiny_model(molora=None)
    before = model(torch.tensor([[1, 2, 3]])).logits
    added = add_molora(model, MoLoRAConfig(3, 2, 2, 4, router_bias=False, block=True))
    assert added == mixtures_of(model)
    assert molora_linears(model) == []
    assert [type(module) for module in added] == [MoLoRABlock] * len(added)
    assert [router.projection for router in routers_of(model)] == ["mlp"] * len(added)
    torch.testing.assert_close(model(torch.tensor([[1, 2, 3]])).logits, before)
    with pytest.raises(ModelError, match="impl fused"):
        set_impl(model, "fused")


@pytest.mark.parametrize("gate", [{}, {"top_p": 0.6}], ids=str)
@pytest.mark.parametrize("text", ["expert:1", "expert:0+2", "top1", "uniform", "average", "off"])
@torch.no_grad()
def test_ablations_are_what_they_say(text: str, gate: dict[str, Any]) -> None:
    model = tiny_model(molora=None)
    config = _config(4, 2, 2, **gate)
    for block in add_molora(model, config):
        for part in block.parts().values():
            part.normal_()
    (first, *_) = mixtures_of(model)
    x = torch.randn(7, first.parts()["router"].shape[1])
    with ablated(model, parse_ablation(text)):
        changed = first(x)
    assert not torch.allclose(changed, first(x))
    p = F.linear(x, first.parts()["router"]).softmax(1)
    expected = _by_hand(first, x, p, text, gate.get("top_p"))
    torch.testing.assert_close(changed, expected, rtol=1e-4, atol=1e-4)


def _by_hand(block: Any, x: Tensor, p: Tensor, text: str, top_p: float | None) -> Tensor:
    rows = []
    for token, probabilities in zip(x, p, strict=True):
        weights = _weights(probabilities, text, top_p)
        if weights is None:
            rows.append(block.base(token))
            continue
        y = torch.zeros_like(token)
        for expert, weight in enumerate(weights):

            def linear(name: str, value: Tensor, expert: int = expert) -> Tensor:
                rank = block.rank
                a = block.parts()[f"{name}_a"][expert * rank : (expert + 1) * rank]
                b = block.parts()[f"{name}_b"][:, expert * rank : (expert + 1) * rank]
                found: Tensor = block.base.get_submodule(f"{name}_proj")(value) + block.scaling * (
                    b @ (a @ value)
                )
                return found

            inner = block.base.act_fn(linear("gate", token)) * linear("up", token)
            y = y + weight * linear("down", inner)
        rows.append(y)
    return torch.stack(rows)


def _weights(p: Tensor, text: str, top_p: float | None) -> Tensor | None:
    """Weights of all experts under an ablation, by hand."""
    k = len(p) if top_p else 2
    if text == "off":
        return None
    if text == "average":
        return torch.full_like(p, 1 / len(p))
    order = p.argsort(descending=True)
    weights = torch.zeros_like(p)
    if text == "top1":
        weights[order[0]] = 1
    elif text == "uniform":
        weights[order[:k]] = 1 / k
    else:
        p = p.clone()
        p[[int(expert) for expert in text.partition(":")[2].split("+")]] = 0
        p = p / p.sum()
        order, total = p.argsort(descending=True), 0.0
        if top_p is None:
            weights[order[:2]] = p[order[:2]] / p[order[:2]].sum()
        else:
            for expert in order:
                weights[expert] = p[expert]
                total += float(p[expert])
                if total > top_p:
                    break
    return weights


@pytest.mark.parametrize("gate", [{}, {"top_p": 0.6}], ids=str)
@torch.no_grad()
def test_the_engine_counts_what_blocks_choose(gate: dict[str, Any]) -> None:
    model = tiny_model(molora=None)
    for block in add_molora(model, _config(4, 2, 2, **gate)):
        for part in block.parts().values():
            part.normal_(std=0.5)
    context, continuation = [1, 2, 3, 4, 5], [6, 7]
    seen: dict[int, tuple[Tensor, Tensor]] = {}
    for block in mixtures_of(model):
        block.observer = lambda module, _, choice, weights: seen.update({module.layer: (choice, weights)})
    model(torch.tensor([context + continuation[:-1]]))
    for block in mixtures_of(model):
        block.observer = None
    engine = Engine(model, routing="documents")
    assert engine.kind == "packed"
    engine.score([(context, continuation)], labels=[("t", 0)])
    counts = engine.routing().checked()
    assert counts.projections == ("mlp",)
    for layer, (choice, weights) in seen.items():
        dense = torch.zeros(len(choice), 4).scatter_(1, choice, weights.float())
        assert counts.tokens.sum() == len(choice)
        torch.testing.assert_close(torch.tensor(counts.mass[:, layer, 0].sum(0)).float(), dense.sum(0))
        assert (
            counts.count[:, layer, 0].sum(0).tolist()
            == torch.bincount(choice.flatten(), minlength=4).tolist()
        )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"projections": ("q", "gate")}, "no LoRA in attention"),
        ({"shared_experts": 1}, "nothing shared"),
        ({"shared_a": True}, "nothing shared"),
        ({"top_p": 1.2}, "top_p is 1.2"),
        ({"temperature": -1.0}, "temperature -1.0"),
    ],
)
def test_impossible_forms_are_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        _config(4, 2, 2, **more)
    with pytest.raises(ModelError, match="top_p belongs to"):
        MoLoRAConfig(4, 2, 2, 4, top_p=0.5)
