"""What the names of fields do not tell of tiny configurations, by architecture."""

from __future__ import annotations

from typing import Any

# What a configuration cannot be made without.
NEEDED: dict[str, dict[str, Any]] = {
    "gemma4_assistant": {
        "text_config": {
            "model_type": "gemma4_text",
            "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": 0,
        }
    },
}

# Layers of architectures whose kinds of layers follow from a rule instead of a list.
LAYERS: dict[str, int] = {"recurrent_gemma": 3, "jamba": 4}

_DECODER: dict[str, Any] = {"is_decoder": True}
_MAMBA2: dict[str, Any] = {"mamba_n_heads": 8, "mamba_d_head": 8}
_CONV: dict[str, Any] = {"layer_types": ["conv", "full_attention"], "full_attn_idxs": None}
_INDEXED: dict[str, Any] = {
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 16,
    "indexer_compress_ratio": 4,
    "hc_lowrank": 8,
    "ple_embed_dim": 8,
    "ngram_vocab_size_base": 100,
}
_HYBRID = ["linear_attention", "hybrid", "linear_attention", "hybrid"]

CHANGES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        (
            *("bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie"),
            *("megatron-bert", "rembert", "roberta", "roberta-prelayernorm", "roformer"),
            *("xlm-roberta", "xlm-roberta-xl"),
        ),
        _DECODER,
    ),
    "bailing_hybrid": {"num_expert_group": 2, "topk_group": 1, "linear_num_heads": 4},
    "bamba": {**_MAMBA2, "attn_layer_indices": [1]},
    "codegen": {"rotary_dim": 4},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}
    },
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "kv_n_heads": 2, "clip_qkv": 8.0}},
    "deepseek_v2": {"num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "dots3_note": {"text_config": {"head_dim": 16}},
    "dots3_note_text": {"head_dim": 16},
    "dots1": {
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
    },
    "falcon_h1": {**_MAMBA2, "mamba_d_ssm": 64},
    "gemma3n_text": {
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "intermediate_size": [48] * 4,
        "activation_sparsity_pattern": [0.95, 0.0, 0.0, 0.0],
        "num_kv_shared_layers": 2,
    },
    "gemma4_assistant": {
        "text_config": {
            "vocab_size_per_layer_input": 0,
            "hidden_size_per_layer_input": 0,
            "num_kv_shared_layers": 2,
        }
    },
    "gemma4_unified_assistant": {"text_config": {"num_kv_shared_layers": 2}},
    "gptj": {"rotary_dim": 4},
    "granitemoehybrid": {**_MAMBA2, "layer_types": ["linear_attention", "full_attention"]},
    "hrm_text": {"num_layers_per_stack": 1, "num_hidden_layers": 8},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "inkling_text": {
        "swa_head_dim": 8,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "d_rel": 4,
        "rel_extent": 32,
    },
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {**_CONV, "num_hidden_layers": 2, "block_multiple_of": 16},
    "lfm2_moe": {**_CONV, "num_dense_layers": 1},
    "llama4_text": {"intermediate_size_mlp": 48, "moe_layers": [1], "floor_scale": 16},
    "longcat_flash": {"zero_expert_num": 4},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2},
    "nemotron_h": {"mamba_num_heads": 8, "mamba_head_dim": 8, "n_groups": 2},
    "qwen2": {
        "use_sliding_window": True,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "qwen4_exp": {"text_config": _INDEXED},
    "qwen4_exp_text": _INDEXED,
    "reformer": {
        "is_decoder": True,
        "axial_pos_shape": [8, 16],
        "axial_pos_embds_dim": [8, 24],
        "attention_head_size": 8,
        "attn_layers": ["local", "lsh"],
        "local_attn_chunk_length": 16,
        "lsh_attn_chunk_length": 16,
        "num_hidden_layers": 2,
    },
    "roc_bert": {
        "is_decoder": True,
        "pronunciation_embed_dim": 8,
        "pronunciation_vocab_size": 40,
        "shape_embed_dim": 8,
        "shape_vocab_size": 40,
    },
    "xlm": {"causal": True, "is_decoder": True},
    "xlnet": {"d_head": 8},
    "xlstm": {"hidden_size": 128, "embedding_dim": 128},
    "xmod": {"is_decoder": True, "default_language": "en_XX"},
    "zamba": {
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "layers_block_type": _HYBRID,
        "num_hidden_layers": 4,
    },
    "zamba2": {
        "n_mamba_heads": 8,
        "mamba_headdim": 8,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "layers_block_type": _HYBRID,
        "hybrid_layer_ids": [1, 3],
        "num_hidden_layers": 4,
    },
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
}
