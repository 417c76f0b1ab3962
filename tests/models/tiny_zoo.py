"""Tiny random models of many architectures, and plain answers to hold engines against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
LONGROPE: dict[str, Any] = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [1.0, 4.0, 8.0, 16.0],
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}


def zoo_model(
    model_type: str, dtype: torch.dtype = torch.float32, std: float = 0.2, **changes: Any
) -> PreTrainedModel:
    """A model of an architecture with random weights large enough that its outputs differ."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(model_type, **{**_SIZES, **changes})
    return randomized(cast("Any", AutoModelForCausalLM).from_config(config), dtype, std)


def randomized(model: Any, dtype: torch.dtype = torch.float32, std: float = 0.2) -> PreTrainedModel:
    """The model with random weights, ready to run."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=draw)
            parameter.copy_(noise * std if parameter.dim() > 1 else parameter + 0.05 * noise)
    model.requires_grad_(False)
    model.train(False)
    nn.Module.to(model, dtype)
    made: PreTrainedModel = model
    return made


@torch.no_grad()
def own_score(model: Any, context: Sequence[int], continuation: Sequence[int]) -> float:
    """Log-probability by one forward over all that is fed: everything but the last token."""
    ids = [*context, *continuation]
    logits = model(input_ids=torch.tensor([ids[:-1]]), use_cache=False).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(context) - 1 + place, token]) for place, token in enumerate(continuation))


@torch.no_grad()
def own_tokens(model: Any, prompt: Sequence[int], count: int) -> list[int]:
    """Greedy tokens, every one by a forward over the whole sequence."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def some_tokens(count: int, seed: int, vocabulary: int = 97) -> list[int]:
    """Random tokens, none of them special."""
    draw = torch.Generator().manual_seed(seed)
    return [int(token) for token in torch.randint(3, vocabulary, (count,), generator=draw)]
