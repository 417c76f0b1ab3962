"""Whether an adapter was trained on the base model that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medbench.errors import ModelError
from medbench.models.architecture.config import architecture
from medbench.models.architecture.skeleton import transformers_config

# The authors compute with the base's weights under the adapter's configuration, which was written from the
# base's. Whatever differs makes another model, except for what is not used in evaluation: training, the
# number format, caching, the tokens that begin and fill texts, and notes.
_MAY_DIFFER = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_experts_implementation",
        "_name_or_path",
        "architectures",
        "attention_dropout",
        "attn_pdrop",
        "bos_token_id",
        "chunk_size_feed_forward",
        "dtype",
        "embd_pdrop",
        "finetuning_task",
        "gradient_checkpointing",
        "hidden_dropout",
        "id2label",
        "initializer_range",
        "label2id",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "pretraining_tp",
        "problem_type",
        "resid_pdrop",
        "return_dict",
        "task_specific_params",
        "tokenizer_class",
        "tokenizer_model_max_length",
        "tokenizer_padding_side",
        "torch_dtype",
        "transformers_version",
        "unsloth_fixed",
        "unsloth_version",
        "use_cache",
    }
)
# What only windowed layers read; the class says layer by layer which ones are.
_OF_WINDOWS = frozenset({"max_window_layers", "sliding_window", "use_sliding_window"})
_NAMED = 6


def check_base(config: Mapping[str, Any], base: Mapping[str, Any], *, where: str, base_where: str) -> None:
    """Demand that an adapter's ``config.json`` describes its base's architecture.

    Both are read by transformers' class first, so that defaults are filled in and old and new forms of a
    setting, such as of rotary embeddings, are one.

    Raises:
        ModelError: A key that decides on the arithmetic differs; the first few are named.
    """
    if config.get("model_type") != base.get("model_type"):
        differing = [f"model_type {config.get('model_type')!r} against {base.get('model_type')!r}"]
    else:
        ours, theirs = _normalized(config, where), _normalized(base, base_where)
        keys = [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
        if not _has_windows(ours) and not _has_windows(theirs):
            keys = [key for key in keys if key not in _OF_WINDOWS]
        keys.sort(key=lambda key: (isinstance(ours.get(key), list | dict), key))
        differing = [f"{key} {ours.get(key)!r} against {theirs.get(key)!r}" for key in keys]
    if differing:
        more = f", … ({len(differing) - _NAMED} more)" if len(differing) > _NAMED else ""
        raise ModelError(
            f"the adapter was not trained on this base model: {', '.join(differing[:_NAMED])}{more}",
            where=f"{where} on {base_where}",
            hint="give the base model that the adapter's description names",
        )


def _normalized(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    values = transformers_config(architecture(config), where=where).to_dict()
    kept = {key: value for key, value in values.items() if key not in _MAY_DIFFER}
    rope = kept.get("rope_parameters")
    if isinstance(rope, Mapping) and "rope_type" in rope:
        kept["rope_parameters"] = {key: value for key, value in rope.items() if key != "type"}
        # The class reads these old forms into rope_parameters.
        kept.pop("rope_scaling", None)
        kept.pop("rope_theta", None)
    return kept


def _has_windows(values: Mapping[str, Any]) -> bool:
    kinds = values.get("layer_types")
    return not isinstance(kinds, list) or any(kind != "full_attention" for kind in kinds)
