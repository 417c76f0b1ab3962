"""What a model's configuration says of its language model, whatever else the model has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What architectures call the tokens of their longest sequence.
_LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
_TRIED = 64  # different tokens to try a model on


def text_config(model: PreTrainedModel) -> Any:
    """The part of a model's configuration that describes its language model."""
    config: Any = model.config
    return config.get_text_config(decoder=True)


def vocabulary_of(model: PreTrainedModel) -> int:
    """Tokens that a model knows."""
    return int(text_config(model).vocab_size)


def max_length_of(model: PreTrainedModel) -> int | None:
    """Tokens that a model takes at most, ``None`` if its configuration does not say."""
    config = text_config(model)
    limits = [getattr(config, name, None) for name in _LENGTHS]
    return next((int(limit) for limit in limits if isinstance(limit, int) and limit > 0), None)


def usable_tokens(model: PreTrainedModel, vocabulary: int) -> list[int]:
    """Some tokens to try a model on: spread over the vocabulary, none whose embedding is not finite."""
    found = sorted({(7 + place * max(1, vocabulary // _TRIED)) % vocabulary for place in range(_TRIED)})
    weight: Tensor = cast("Any", model).get_input_embeddings().weight
    good = torch.isfinite(weight[torch.tensor(found, device=weight.device)].float()).all(1).tolist()
    return [token for token, finite in zip(found, good, strict=True) if finite] or found
