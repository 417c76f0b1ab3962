"""Tiny models of every causal architecture that the installed transformers knows.

A configuration of an architecture is its default one with small numbers, by the names of its fields: what
an architecture is made of (kinds of layers, windows, experts, caps) stays. What names of fields cannot tell
stands in :mod:`tests.models.zoo_changes`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from tests.models.zoo_changes import CHANGES, LAYERS, NEEDED

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["architectures", "tiny_config", "tiny_model"]

VOCABULARY = 97
WINDOW = 16
LENGTH = 128

# Field -> value, by whole names; the first pattern that fits counts.
_FIELDS: tuple[tuple[str, int], ...] = (
    (r"(decoder_|text_)?vocab_size|vocab_size_per_layer_input", VOCABULARY),
    (r"max_position_embeddings|n_positions|n_ctx|max_seq_len|model_max_length|context_length", LENGTH),
    (r"max_target_positions|max_source_positions", LENGTH),
    (r"original_max_position_embeddings", LENGTH),
    (r"sliding_window(_size)?|attention_window_size|window_size|local_attention", WINDOW),
    (r"(attention_)?chunk_size|mamba_chunk_size|block_size|keep_window_size", WINDOW),
    (
        r"hidden_size(_global)?|d_model|n_embd|emb_dim|embedding_dim|embedding_size|word_embed_proj_dim|adapter_in_dim|adapter_input_size",
        32,
    ),
    (r"(input|output)_embedding_size|lru_width|attention_hidden_size", 32),
    (r"(dense_|shared_)?intermediate_size|ffn_dim|d_inner|dff|dim_ff|n_inner|ffn_hidden_size", 48),
    (r"(encoder|decoder)_ffn_dim|feed_forward_size", 48),
    (r"moe_.*intermediate_size|.*expert.*(intermediate|hidden)_size|moe_.*_size", 16),
    (r"num_attention_heads|n_head|n_heads|num_heads|(encoder|decoder)_attention_heads", 4),
    (r"num_key_value_heads|num_kv_heads|num_global_key_value_heads", 2),
    (r"num_(local_)?experts|n_routed_experts|moe_num_experts", 4),
    (r"num_experts_per_tok|num_experts_per_token|moe_k|top_k_experts|moe_topk", 2),
    (r"n_group|topk_group", 1),
    (r"num_shared_experts|n_shared_experts|moe_num_shared_experts", 1),
    (r"head_dim|v_head_dim|qk_nope_head_dim|qk_rope_head_dim|dim_head|global_head_dim|d_kv", 8),
    (r"attention_head_dim|index_head_dim|linear_(key|value)_head_dim|linear_head_dim", 8),
    (r"linear_num_(key|value)_heads", 2),
    (r"[qkvo]+_lora_rank|.*_rank", 8),
    (r"index_topk", 8),
    (r"index_n_heads|indexer_n_heads", 16),  # that no two tokens get a weight of exactly zero
    (r"hidden_size_per_layer_input", 8),
    (r"(mamba_)?(d_state|state_size|ssm_state_size)", 8),
    (r"pad_token_id", 0),
    (r"bos_token_id|decoder_start_token_id", 1),
    (r"eos_token_id", 2),
)
_LAYER_COUNTS = re.compile(
    r"num_hidden_layers|n_layers?|num_layers|num_blocks|(encoder|decoder)_layers|num_decoder_layers|n_block"
)
_OFF = re.compile(r".*(dropout|drop|_pdrop)$|.*jitter.*|layerdrop")
# What no configuration is made of: names of labels and sizes that follow from others.
_DERIVED = {
    "transformers_version",
    "_name_or_path",
    "dtype",
    "architectures",
    "id2label",
    "label2id",
    "qk_head_dim",
}


def architectures() -> list[str]:
    """All of them, by model type."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def tiny_config(architecture: str, **changes: Any) -> PreTrainedConfig:
    """The configuration of a tiny model."""
    from transformers import CONFIG_MAPPING

    kind: Any = CONFIG_MAPPING[architecture]
    values = _shrunk(kind(**NEEDED.get(architecture, {})).to_dict(), LAYERS.get(architecture))
    values = _merged(_merged(values, CHANGES.get(architecture, {})), changes)
    values.pop("model_type", None)
    config: PreTrainedConfig = kind(**values)
    return config


def tiny_model(architecture: str, **changes: Any) -> PreTrainedModel:
    """A tiny model with random weights, buffers of the checkpoint included."""
    from transformers import AutoModelForCausalLM

    model = cast("Any", AutoModelForCausalLM).from_config(tiny_config(architecture, **changes))
    draw = torch.Generator().manual_seed(3)
    weights = {id(value) for value in model.parameters()}
    with torch.no_grad():
        for value in {
            value.data_ptr(): value for value in model.state_dict(keep_vars=True).values()
        }.values():
            if not value.is_floating_point() or not (id(value) in weights or _is_constant(value)):
                continue  # masks and rates that the architecture computes
            noise = torch.randn(value.shape, generator=draw)
            value.copy_(noise * 0.2 if value.dim() > 1 else torch.nan_to_num(value) + 0.1 * noise)
    model.requires_grad_(False)
    model.train(False)
    made: PreTrainedModel = model
    return made


def _is_constant(value: torch.Tensor) -> bool:
    return bool((value == value.flatten()[:1]).all())


def _shrunk(values: Mapping[str, Any], layers: int | None) -> dict[str, Any]:
    """Default values with small numbers, those of parts of the configuration included."""
    count = next((value for name, value in values.items() if _is_count(name, value)), None)
    lists = {
        name: value
        for name, value in values.items()
        if isinstance(value, list) and count and len(value) == count and count > 1
    }
    places = _places(lists, layers)
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name in _DERIVED:
            continue
        if name == "per_layer_config" and isinstance(value, Mapping):
            own = {int(key): inner for key, inner in value.items()}
            found[name] = {
                f"{new:02d}": _shrunk(own[old], None) for new, old in enumerate(places) if old in own
            }
        elif isinstance(value, Mapping):
            found[name] = dict(value) if name.startswith("rope_") else _shrunk(value, layers)
        elif name == "num_key_value_heads" and value == values.get("num_attention_heads"):
            found[name] = 4
        elif name in lists:
            found[name] = [_small(name.removesuffix("s"), value[place]) for place in places]
        elif _is_count(name, value):
            found[name] = len(places)
        else:
            found[name] = _small(name, value)
    return found


def _is_count(name: str, value: Any) -> bool:
    return _LAYER_COUNTS.fullmatch(name) is not None and type(value) is int


def _places(lists: Mapping[str, list[Any]], layers: int | None) -> list[int]:
    """Which layers are kept: two at least, and every kind of layer that the lists tell apart."""
    kinds: dict[str, int] = {}
    rows = list(zip(*lists.values(), strict=True))
    for place, row in enumerate(rows):
        kinds.setdefault(repr(row), place)
    wanted = max(2, layers or 0)
    places = sorted(kinds.values())
    more = (place for place in range(max(len(rows), wanted)) if place not in places)
    while len(places) < wanted:
        places.append(next(more))
    return sorted(places)


def _small(name: str, value: Any) -> Any:
    if _OFF.fullmatch(name) and isinstance(value, float):
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    for pattern, size in _FIELDS:
        if re.fullmatch(pattern, name):
            return size
    if name.endswith(("token_id", "token_index")) and value >= VOCABULARY:
        return VOCABULARY - 1 - sum(map(ord, name)) % 30
    return value


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for name, value in changes.items():
        inner = merged.get(name)
        if isinstance(value, Mapping) and isinstance(inner, Mapping) and name != "rope_parameters":
            merged[name] = _merged(inner, value)
        else:
            merged[name] = value
    return merged


def parameters(model: nn.Module) -> int:
    """Elements of a model's parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
