"""Lengths of sequences at which a model may begin to compute otherwise, and what trying them takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from medbench.models.architecture.text_config import text_config
from medbench.models.engines.native.rope import LENGTH_KEYS, named_lengths

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["affordable", "names_length", "rope_lengths", "window_lengths"]

# What architectures call how far a token sees, and how many of the tokens before it a token picks.
_WINDOW_KEYS = (
    *("window", "chunk_size", "chunk_length", "block_size", "local_attention"),
    *("index_topk", "indexer_budget"),
)
_NOT_LENGTHS = ("layer", "vocab")
# Multiplications that trying long sequences may take.
_COST = {"cpu": 2e11, "cuda": 1e15}


def window_lengths(model: PreTrainedModel, limit: int | None = None) -> list[int]:
    """Those of windows, chunks and selections of tokens, ascending, below a limit."""
    return _named(model, _WINDOW_KEYS, limit)


def rope_lengths(model: PreTrainedModel, limit: int | None = None) -> list[int]:
    """Those that positions are counted by, ascending, below a limit."""
    return _named(model, LENGTH_KEYS, limit)


def names_length(name: str) -> bool:
    """Whether something of that name is one of those lengths."""
    known = any(part in name for part in (*_WINDOW_KEYS, *LENGTH_KEYS))
    return known and not any(part in name for part in _NOT_LENGTHS)


def _named(model: PreTrainedModel, keys: tuple[str, ...], limit: int | None) -> list[int]:
    config = text_config(model).to_dict()
    known = {key: value for key, value in config.items() if not any(part in key for part in _NOT_LENGTHS)}
    lengths = named_lengths(known, keys)
    return [length for length in lengths if limit is None or length < limit]


def affordable(model: PreTrainedModel, tokens: int, device: torch.device) -> bool:
    """Whether trying sequences of so many tokens is worth its time."""
    return _cost(model, tokens) <= _COST.get(device.type, _COST["cpu"])


def _cost(model: PreTrainedModel, tokens: int) -> float:
    """Multiplications that trying sequences of so many tokens takes."""
    config = text_config(model)
    width = getattr(config, "hidden_size", None) or 0
    layers = getattr(config, "num_hidden_layers", None) or 0
    attention = 2.0 * tokens * width * layers
    weights = sum(parameter.numel() for parameter in model.parameters())
    return float(12 * tokens * (weights + attention))
