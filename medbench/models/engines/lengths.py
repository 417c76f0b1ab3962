"""Lengths of sequences beyond which a model may compute differently, and how to try them.

Such lengths (windows, chunks, rope switches) are numbers in a model's configuration and modules. Long
sequences are expensive to try; ``shortened`` replaces such a number by a small one for a while, so that short
sequences run through the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from medbench.models.architecture.text_config import text_config
from medbench.models.engines.native.rope import LENGTH_KEYS, named_lengths

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Parts of the names that architectures give to attention windows and to the number of selected tokens.
_WINDOW_KEYS = (
    *("window", "chunk_size", "chunk_length", "block_size", "local_attention"),
    *("index_topk", "indexer_budget"),
)
_NOT_LENGTHS = ("layer", "vocab")
# Multiplications that trying long sequences may cost.
_COST = {"cpu": 2e11, "cuda": 1e15}


def window_lengths(model: PreTrainedModel, limit: int | None = None) -> list[int]:
    """Lengths of windows, chunks and token selections, ascending, below a limit."""
    return _named(model, _WINDOW_KEYS, limit)


def rope_lengths(model: PreTrainedModel, limit: int | None = None) -> list[int]:
    """Lengths that positions depend on, ascending, below a limit."""
    return _named(model, LENGTH_KEYS, limit)


def names_length(name: str) -> bool:
    """Whether a setting of that name is one of these lengths."""
    known = any(part in name for part in (*_WINDOW_KEYS, *LENGTH_KEYS))
    return known and not any(part in name for part in _NOT_LENGTHS)


def _named(model: PreTrainedModel, keys: tuple[str, ...], limit: int | None) -> list[int]:
    config = text_config(model).to_dict()
    known = {key: value for key, value in config.items() if not any(part in key for part in _NOT_LENGTHS)}
    lengths = named_lengths(known, keys)
    return [length for length in lengths if limit is None or length < limit]


def affordable(model: PreTrainedModel, tokens: int, device: torch.device) -> bool:
    """Whether sequences of so many tokens can be tried in reasonable time."""
    return _cost(model, tokens) <= _COST.get(device.type, _COST["cpu"])


def _cost(model: PreTrainedModel, tokens: int) -> float:
    """Multiplications that sequences of so many tokens cost."""
    config = text_config(model)
    width = getattr(config, "hidden_size", None) or 0
    layers = getattr(config, "num_hidden_layers", None) or 0
    attention = 2.0 * tokens * width * layers
    weights = sum(parameter.numel() for parameter in model.parameters())
    return float(12 * tokens * (weights + attention))


@contextmanager
def shortened(model: PreTrainedModel, lengths: Mapping[int, int]) -> Iterator[None]:
    """Replace lengths of a model until the block ends.

    Args:
        model: Any model.
        lengths: Its length -> the length it gets.
    """
    undo: list[Callable[[], None]] = []
    seen: set[int] = set()
    try:
        for holder in (model.config, *model.modules()):
            _shorten(holder, lengths, seen, undo)
        yield
    finally:
        for back in reversed(undo):
            back()


def _shorten(holder: Any, lengths: Mapping[int, int], seen: set[int], undo: list[Callable[[], None]]) -> None:
    """Change the lengths in an object, a configuration, or a mapping within."""
    if id(holder) in seen:
        return
    seen.add(id(holder))
    if isinstance(holder, dict):
        values, put = holder, holder.__setitem__
    else:
        values, put = vars(holder), lambda name, value: object.__setattr__(holder, name, value)
    for name, value in list(values.items()):
        if type(value) is int and value in lengths and names_length(str(name)):
            put(name, lengths[value])
            undo.append(_putting_back(put, name, value))
        elif (isinstance(value, dict) and not str(name).startswith("_")) or hasattr(value, "model_type"):
            _shorten(value, lengths, seen, undo)


def _putting_back(put: Callable[[Any, Any], None], name: Any, value: Any) -> Callable[[], None]:
    return lambda: put(name, value)
