"""How many tokens fit into a batch and into a KV cache."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from medbench.errors import ModelError
from medbench.models.architecture.memory import free_memory
from medbench.models.architecture.text_config import text_config

_LARGEST_BATCH = 8192
_LARGEST_BATCH_ON_CPU = 2048  # larger activations outgrow a processor's cache
_LEAST_BATCH = 256
_SHARE = 0.4  # of the free memory for keys and values; as much again for activations
_KEPT_PER_BATCH = 32  # key-value tokens per token of a batch, where memory allows


class _Sized(Protocol):
    """What the bytes of a token depend on."""

    model: Any

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def dtype(self) -> torch.dtype:
        """Element type of the hidden states."""


def batch_tokens(budget: int | str, model: _Sized | None) -> int:
    """Tokens per forward.

    Args:
        budget: Tokens per forward, or ``auto``: as many as free memory takes, up to 8,192, or
            2,048 on a CPU.
        model: The packed model; ``None`` on the reference path, where ``auto`` is the smallest budget.

    Raises:
        ModelError: The budget is neither ``auto`` nor a positive number.
    """
    if budget == "auto":
        if model is None:
            return _LEAST_BATCH
        fits = int(free_memory(model.device) * _SHARE / _activation_bytes(model))
        largest = _LARGEST_BATCH_ON_CPU if model.device.type == "cpu" else _LARGEST_BATCH
        return max(_LEAST_BATCH, min(largest, fits))
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        raise ModelError(
            f"the token budget of a batch cannot be {budget!r}", hint="a positive number of tokens, or auto"
        )
    return budget


def key_value_tokens(budget: int, model: _Sized) -> int:
    """Tokens that the KV cache of a generation may hold, for a budget of tokens per forward."""
    fits = int(free_memory(model.device) * _SHARE / _key_value_bytes(model))
    return max(budget, min(_KEPT_PER_BATCH * budget, fits))


def _key_value_bytes(model: _Sized) -> int:
    """Bytes of one token's keys and values in all layers."""
    config = text_config(model.model)
    heads = _largest(config, "num_key_value_heads") or config.num_attention_heads
    width = _largest(config, "head_dim") or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * model.dtype.itemsize)


def _activation_bytes(model: _Sized) -> int:
    """Bytes per token at a forward's peak: the MLP's inner states, keys and values."""
    config = text_config(model.model)
    inner = _largest(config, "intermediate_size") or 4 * config.hidden_size
    return int((8 * config.hidden_size + 4 * inner) * model.dtype.itemsize) + _key_value_bytes(model)


def _largest(config: Any, name: str) -> int:
    """A size that a configuration gives once or per layer; 0 if missing."""
    size = getattr(config, name, None) or 0
    return max(size, default=0) if isinstance(size, (list, tuple)) else int(size)
