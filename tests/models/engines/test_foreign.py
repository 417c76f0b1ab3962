"""Architectures that the engine does not know: refused where packing changes them, right elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from medbench.errors import ModelError
from medbench.models import Engine
from tests.models.made_engines import VOCABULARY, alone_score, tiny_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def _model(name: str, config: str, **settings: Any) -> PreTrainedModel:
    import transformers

    common = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": None}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model: PreTrainedModel = getattr(transformers, name)(
            getattr(transformers, config)(**common, **settings)
        )
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
    model.requires_grad_(False)
    model.train(False)
    return model


_WIDE = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
_PACKED_WRONG: dict[str, Callable[[], Any]] = {
    # Positions as a slope within attention, which packing does not hand on.
    "Bloom": lambda: _model("BloomForCausalLM", "BloomConfig", hidden_size=16, n_layer=2, n_head=2),
    # A cap on the logits, behind the output layer.
    "Gemma2": lambda: _model(
        "Gemma2ForCausalLM",
        "Gemma2Config",
        **_WIDE,
        head_dim=8,
        final_logit_softcapping=0.5,
        attn_logit_softcapping=None,
    ),
}


_REQUESTS = [([3, 1, 4], [1, 5]), ([3, 1, 4], [9]), ([2, 6, 5, 3, 5], [8, 9, 7]), ([9], [3])]


def _answers_by_itself(model: Any) -> None:
    """The model is not packed, and scores what it scores alone."""
    engine = Engine(model)
    assert engine.kind == "reference"
    assert engine.why_reference
    for (context, option), found in zip(_REQUESTS, engine.score(_REQUESTS), strict=True):
        expected, greedy = alone_score(model, context, option)
        assert found.logprob == pytest.approx(expected, abs=1e-4)
        assert found.is_greedy is greedy


@pytest.mark.parametrize("name", _PACKED_WRONG)
def test_what_packing_would_change_is_answered_by_the_model_itself(name: str) -> None:
    _answers_by_itself(_PACKED_WRONG[name]())


def _scaled(factor: float) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(_module: nn.Module, _arguments: Any, output: Any) -> Any:
        output.logits = output.logits * factor
        return output

    return hook


@pytest.mark.parametrize("factor", [0.5, 0.99, 1.5, -1.0])
def test_a_model_that_does_something_to_its_logits_is_not_packed(factor: float) -> None:
    model = tiny_model()
    assert Engine(model).kind == "packed"
    model.register_forward_hook(_scaled(factor))
    _answers_by_itself(model)


def _mixing(_module: nn.Module, _arguments: Any, output: Tensor) -> Tensor:
    return output + output.mean(1, keepdim=True)


def _from_the_first(_module: nn.Module, _arguments: Any, output: Tensor) -> Tensor:
    return output + output[:, :1]


@pytest.mark.parametrize("layer", [0, 1])
def test_tokens_that_see_later_ones_are_refused(layer: int) -> None:
    model = tiny_model()
    model.model.layers[layer].mlp.register_forward_hook(_mixing)
    with pytest.raises(ModelError, match="it is not causal"):
        Engine(model)


@pytest.mark.parametrize("layer", [0, 1])
def test_tokens_that_see_others_than_by_attention_are_not_packed(layer: int) -> None:
    model = tiny_model()
    model.model.layers[layer].mlp.register_forward_hook(_from_the_first)
    engine = Engine(model)
    assert engine.kind == "reference"
    assert "does not compute what it computes by itself" in engine.why_reference


def test_the_check_holds_in_sixteen_bits() -> None:
    assert Engine(tiny_model(dtype=torch.bfloat16)).kind == "packed"
    model = tiny_model(dtype=torch.bfloat16)
    model.register_forward_hook(_scaled(1.5))
    assert Engine(model).kind == "reference"


_RUN_RIGHT: dict[str, Callable[[], Any]] = {
    "GPT2": lambda: _model("GPT2LMHeadModel", "GPT2Config", n_embd=16, n_layer=2, n_head=2, n_positions=64),
    "GPTNeoX": lambda: _model(
        "GPTNeoXForCausalLM",
        "GPTNeoXConfig",
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
    ),
    "Qwen3": lambda: _model("Qwen3ForCausalLM", "Qwen3Config", **_WIDE, head_dim=8),
    "Llama": lambda: _model("LlamaForCausalLM", "LlamaConfig", **_WIDE),
}


@pytest.mark.parametrize("name", _RUN_RIGHT)
def test_what_is_accepted_is_scored_as_it_would_by_itself(name: str) -> None:
    model = _RUN_RIGHT[name]()
    engine = Engine(model)
    assert engine.kind == "packed", engine.why_reference
    for (context, option), found in zip(_REQUESTS, engine.score(_REQUESTS), strict=True):
        expected, greedy = alone_score(model, context, option)
        assert found.logprob == pytest.approx(expected, abs=1e-4)
        assert found.is_greedy is greedy
