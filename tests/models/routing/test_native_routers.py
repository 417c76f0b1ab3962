"""Routers of mixtures of experts: what is recorded against what the experts themselves received."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medbench.errors import ModelError
from medbench.models import Engine, load_model
from medbench.models.engines.choices import router_choices
from medbench.models.routing.native_routers import native_routers
from medbench.models.routing.router_finding import (
    describe_routers,
    has_routers,
    need_routers,
    routers_of,
    why_unread,
)
from tests.models.made_engines import tiny_model
from tests.models.routed_zoo import (
    DENSE,
    ROUTED,
    SHARED,
    SIGMOID,
    Slow,
    assert_counts,
    count_slowly,
    routed_model,
    watch,
)

_STEM = list(range(3, 21))
# Questions: prompt and options, of which some have one token, and some are equal.
_QUESTIONS = [
    ([*_STEM, 30], [[5, 6, 7], [8], [5, 6, 7]]),
    ([*_STEM, 31, 32], [[9, 1]]),
    ([7], [[1, 2], [1, 3, 2]]),
    ([11, 12, 13], [[4]]),
]
_PROMPTS = [[*_STEM, 2], [5, 4, 3], [9], [*_STEM, 8, 8]]


def _options(name: str, model: Any) -> Slow:
    sequences = []
    for number, (prompt, options) in enumerate(_QUESTIONS):
        label = ("task", number)
        sequences.append((label, prompt, len(prompt), 0))
        for fed in {tuple(option[:-1]) for option in options} - {()}:
            sequences.append((label, [*prompt, *fed], len(prompt), len(prompt)))
    return count_slowly(name, model, sequences)


@pytest.mark.parametrize("budget", [16, 8192])
@pytest.mark.parametrize("name", ROUTED)
def test_scoring(name: str, budget: int) -> None:
    model = routed_model(name)
    engine = Engine(model, max_batch_tokens=budget, routing="documents")
    asked = [(prompt, option) for prompt, options in _QUESTIONS for option in options]
    labels = [("task", number) for number, (_, options) in enumerate(_QUESTIONS) for _ in options]
    order = list(range(len(asked)))
    random.Random(budget).shuffle(order)
    engine.score([asked[i] for i in order], labels=[labels[i] for i in order])
    assert_counts(engine.routing().checked(), _options(name, model))


@pytest.mark.parametrize("budget", [16, 8192])
@pytest.mark.parametrize("name", ROUTED)
def test_generation(name: str, budget: int) -> None:
    model = routed_model(name)
    engine = Engine(model, max_batch_tokens=budget, max_rows=2, routing="documents")
    labels = [("task", number) for number in range(len(_PROMPTS))]
    found = engine.generate(_PROMPTS, max_new_tokens=[9, 4, 1, 6], labels=labels)
    sequences = [
        (label, [*prompt, *answer.token_ids[:-1]], len(prompt), 0)
        for label, prompt, answer in zip(labels, _PROMPTS, found, strict=True)
    ]
    assert_counts(engine.routing().checked(), count_slowly(name, model, sequences))


@pytest.mark.parametrize("name", ROUTED)
def test_single_tokens(name: str) -> None:
    model = routed_model(name)
    for text, choices in zip(_PROMPTS, router_choices(model, _PROMPTS, max_batch_tokens=30), strict=True):
        seen = watch(model, text)
        assert len(choices.choice) == len(seen)
        for chosen, gate, (_, index, weights) in zip(*choices, seen.values(), strict=True):
            share = weights / weights.sum(1, keepdim=True)
            ordered, order = share.sort(dim=1, descending=True, stable=True)
            assert chosen.tolist() == index.gather(1, order).tolist()
            assert np.abs(gate - 255 * ordered.numpy()).max() <= 1
    assert all("forward" not in vars(module) for module in model.modules())


@pytest.mark.parametrize("name", ROUTED)
def test_what_a_model_has(name: str) -> None:
    model = routed_model(name)
    layers = model.config.num_hidden_layers
    routers = native_routers(model).routers
    assert [router.layer for router in routers] == sorted(set(range(layers)) - DENSE.get(name, set()))
    assert {router.always_on for router in routers} == {SHARED.get(name, 0)}
    assert {router.scores for router in routers} == {"sigmoid" if name in SIGMOID else "softmax"}
    said = describe_routers(routers_of(model))
    assert said["shared_experts"] == SHARED.get(name, 0)
    assert said["router_projections"] == ["mlp"]
    assert has_routers(model)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ROUTED)
def test_what_routers_make_of_logits_is_told_in_16_bit(name: str, dtype: torch.dtype) -> None:
    wide = dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16)
    model = routed_model(name, **wide, shared_intermediate_size=16)
    exact = [(router.layer, router.scores, router.by_logits) for router in native_routers(model).routers]
    narrow = routed_model(name, **wide, shared_intermediate_size=16).to(dtype)
    found = native_routers(narrow).routers
    assert [(router.layer, router.scores, router.by_logits) for router in found] == exact
    assert exact


def test_a_model_that_could_not_be_tried_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = routed_model("mixtral")
    monkeypatch.setattr(model, "forward", lambda **_: 1 / 0)
    assert "cannot be tried" in native_routers(model).why
    monkeypatch.undo()
    assert len(native_routers(model).routers) == 2


def _sigmoid_margins(model: Any, tokens: list[int]) -> list[float]:
    """How far the last expert chosen lies above the next, in DeepSeek-V3, written out."""
    router = model.model.layers[1].mlp.gate
    margins = []
    for row in watch(model, tokens)[1].logits.double():
        scores = (row.sigmoid() + router.e_score_correction_bias.double()).view(router.num_group, -1)
        best = scores.topk(2, dim=1).values.sum(1).topk(router.topk_group).indices.tolist()
        left = sorted((float(s) for group in best for s in scores[group]), reverse=True)
        margins.append(left[router.top_k - 1] - left[router.top_k])
    return margins


def _logit_margins(model: Any, tokens: list[int]) -> list[float]:
    ordered = watch(model, tokens)[1].logits.double().sort(1, descending=True).values
    k = model.config.num_experts_per_tok
    return (ordered[:, k - 1] - ordered[:, k]).tolist()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "margins"),
    [
        ("deepseek_v3", _sigmoid_margins),
        ("deepseek_v3 of one group", _sigmoid_margins),
        ("glm4_moe", _sigmoid_margins),
        ("dots1", _sigmoid_margins),
        ("mixtral", _logit_margins),
        ("gpt_oss", _logit_margins),
        ("phimoe", _logit_margins),
        ("deepseek_v2 greedy", _logit_margins),
        ("granitemoe", _logit_margins),
        ("qwen2_moe", _logit_margins),
    ],
)
def test_near_ties_are_those_of_what_the_router_ranks_by(name: str, margins: Any, seed: int) -> None:
    model = routed_model(name, seed)
    engine = Engine(model)
    tokens = [(7 * place + seed) % 40 for place in range(60)]
    expected = np.sort(margins(model, tokens))
    bound = float(expected[19] + expected[20]) / 2
    engine._recorder.near_tie = bound
    engine.score([(tokens, [1])])
    counts = engine.routing()
    assert counts.near_ties[0, counts.layers.index(1), 0] == 20


def test_many_experts_are_counted_in_parts_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    from medbench.models.routing import recorder

    model = routed_model("deepseek_v3")
    whole = Engine(model)
    whole.score([(list(range(30)), [1])])
    monkeypatch.setattr(recorder, "_CHUNK_ELEMENTS", 8 * 8 * 7)
    parts = Engine(model)
    parts.score([(list(range(30)), [1])])
    one, other = whole.routing(), parts.routing()
    for name in ("tokens", "count", "top1", "near_ties", "coactive"):
        assert (getattr(one, name) == getattr(other, name)).all(), name
    for name in ("mass", "prob", "entropy"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-5)


def _odd(monkeypatch: pytest.MonkeyPatch, change: Any) -> Any:
    model = routed_model("mixtral")
    gate = type(model.model.layers[0].mlp.gate)
    forward = gate.forward
    monkeypatch.setattr(gate, "forward", lambda self, hidden: change(*forward(self, hidden)))
    return model


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda logits, weights, choice: (logits, weights.double(), choice.double()),
            "does not return logits",
        ),
        (lambda logits, weights, choice: (logits[:, :3], weights, choice), "no logits for|other things"),
        (lambda logits, weights, choice: (logits, weights, choice[:, :1].expand(-1, 2)), "twice"),
        (lambda logits, weights, choice: (logits, -weights, choice), "no shares"),
        (lambda logits, weights, choice: (logits[1:], weights, choice), "every token"),
        (lambda logits, weights, choice: (logits.repeat(1, 2), weights, choice), "other things than experts"),
    ],
)
def test_routers_that_cannot_be_told_are_said_and_not_recorded(
    monkeypatch: pytest.MonkeyPatch, change: Any, why: str
) -> None:
    model = _odd(monkeypatch, change)
    found = native_routers(model)
    assert not found.routers
    assert re.search(f"{why}|cannot be tried", found.why)
    assert why_unread(model) == found.why
    with pytest.raises(ModelError, match="cannot be read"):
        need_routers(model)


def test_an_engine_says_that_routers_are_not_recorded(caplog: pytest.LogCaptureFixture) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "llama4_text",
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        intermediate_size_mlp=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=1,
        max_position_embeddings=64,
        pad_token_id=None,
    )
    model = cast("Any", AutoModelForCausalLM).from_config(config).eval()
    engine = Engine(model)
    assert "routers are not recorded: a router does not return" in caplog.text
    engine.score([([1, 2], [3])])
    assert not engine.routing()


def test_a_plain_model_has_none_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model(molora=None)
    assert native_routers(model) == ((), "")
    assert not has_routers(model)
    Engine(model)
    assert "routers" not in caplog.text
    with pytest.raises(ModelError, match="no routers"):
        need_routers(model)


def test_more_experts_than_a_trace_has_numbers_for_are_refused() -> None:
    model = routed_model("mixtral", num_local_experts=257)
    with pytest.raises(ModelError, match="256 experts at most"):
        need_routers(model, traced=True)
    with pytest.raises(ModelError, match="256 experts at most"):
        Engine(model, routing="tokens")


_GOLDEN = ["native-qwen2-moe", "native-deepseek-v2", "native-deepseek-v3"]


@pytest.mark.parametrize("budget", [64, 8192])
@pytest.mark.parametrize("case", _GOLDEN)
def test_counts_are_those_of_recorded_router_logits(shared: Path, case: str, budget: int) -> None:
    folder = shared / "golden" / "experts" / case
    tensors = load_file(folder / "expected.safetensors")
    engine = Engine(load_model(folder / "model"), max_batch_tokens=budget)
    engine.score([(tensors["prefill.input_ids"][0].tolist(), [1])])
    counts = engine.routing().checked()
    names = [key.removeprefix("prefill.router_choice.") for key in tensors if "router_choice" in key]
    assert len(counts.layers) == len(names)
    for name in names:
        layer = counts.layers.index(int(name.split(".")[2]))
        choice = tensors[f"prefill.router_choice.{name}"]
        weights = tensors[f"prefill.router_weights.{name}"].double()
        logits = tensors[f"prefill.router_logits.{name}"].double()
        score = logits.sigmoid() if "v3" in case else logits.softmax(1)
        prob = score / score.sum(1, keepdim=True)
        experts = logits.shape[1]
        one = torch.zeros_like(logits).scatter(1, choice, 1)
        share = weights / weights.sum(1, keepdim=True)
        expected: dict[str, Any] = {
            "count": choice.flatten().bincount(minlength=experts),
            "top1": weights.argmax(1).bincount(minlength=experts),
            "coactive": one.T @ one,
            "mass": share.sum(0),
            "prob": prob.sum(0),
            "entropy": -(prob * prob.log()).sum(),
        }
        for field, value in expected.items():
            found = getattr(counts, field)[0, layer, 0]
            np.testing.assert_allclose(found, value.numpy(), rtol=1e-4, atol=1e-4, err_msg=field)


@pytest.mark.parametrize("budget", [64, 8192])
@pytest.mark.parametrize("case", _GOLDEN)
def test_greedy_generations_are_routed_as_alone(shared: Path, case: str, budget: int) -> None:
    folder = shared / "golden" / "experts" / case
    said = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["generations"]
    model = load_model(folder / "model")
    prompts = [each["prompt_ids"] for each in said]
    labels = [("task", number) for number in range(len(said))]
    engine = Engine(model, max_batch_tokens=budget, routing="documents")
    found = engine.generate(prompts, max_new_tokens=[len(each["new_ids"]) for each in said], labels=labels)
    assert [answer.token_ids for answer in found] == [each["new_ids"] for each in said]
    sequences = [
        (label, [*each["prompt_ids"], *each["new_ids"][:-1]], len(each["prompt_ids"]), 0)
        for label, each in zip(labels, said, strict=True)
    ]
    slow = count_slowly("deepseek_v3" if "v3" in case else "", model, sequences)
    assert_counts(engine.routing().checked(), slow)
