"""Small checkpoints of architectures that are mixtures of experts themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

_COMMON: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_LATENT: dict[str, Any] = {
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
_GROUPED: dict[str, Any] = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 12,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
    "n_group": 4,
    "topk_group": 2,
}
_QWEN3: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 12,
    "head_dim": 8,
}
# Name -> model_type and what differs from the common configuration.
NATIVE: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "olmoe": ("olmoe", {"num_experts": 4, "num_experts_per_tok": 2}),
    "qwen2_moe": (
        "qwen2_moe",
        {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 12,
            "shared_expert_intermediate_size": 12,
            "decoder_sparse_step": 1,
        },
    ),
    "qwen3_moe": ("qwen3_moe", _QWEN3),
    "qwen3_moe first dense": ("qwen3_moe", {**_QWEN3, "mlp_only_layers": [0]}),
    "deepseek_v2": (
        "deepseek_v2",
        {**_GROUPED, **_LATENT, "topk_method": "group_limited_greedy", "routed_scaling_factor": 2.0},
    ),
    "deepseek_v3": ("deepseek_v3", {**_GROUPED, **_LATENT}),
    "glm4_moe": ("glm4_moe", {**_GROUPED, "head_dim": 8}),
    "gpt_oss": (
        "gpt_oss",
        {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "head_dim": 8,
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": 8,
        },
    ),
}


def write_native(folder: Path, name: str, seed: int = 0) -> Any:
    """Write a checkpoint with random weights; return the model."""
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, changes = NATIVE[name]
    torch.manual_seed(seed)
    auto: Any = AutoModelForCausalLM
    model = auto.from_config(AutoConfig.for_model(kind, **{**_COMMON, **changes})).eval()
    with torch.no_grad():
        for value in model.state_dict().values():  # biases and corrections too
            if value.is_floating_point():
                value.copy_(0.3 * torch.randn(value.shape))
    model.save_pretrained(folder)
    return model
