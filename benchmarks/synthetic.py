"""Checkpoints with random weights of a stated shape, and Qwen's tokenizer."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from medbench.models import MoLoRAConfig, add_molora
from medbench.models.architecture.mixtures import mixtures_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

QWEN_VOCABULARY = 151_936
E8_R16 = MoLoRAConfig(num_experts=8, top_k=2, rank=16, alpha=32)
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Shape:
    """What a synthetic checkpoint looks like."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    vocabulary: int = QWEN_VOCABULARY


SMALL = Shape(512, 1376, 6, 8)
# Layers of the 1.8B width; a small vocabulary, since only the layers are compared.
WIDE = Shape(2048, 5504, 2, 16, vocabulary=1024)
SHAPES = {"small": SMALL, "1.8B": Shape(2048, 5504, 24, 16), "7B": Shape(4096, 11008, 32, 32)}


def build_model(shape: Shape, molora: MoLoRAConfig | None, seed: int = 0) -> PreTrainedModel:
    """A Qwen2-shaped model with random weights in float32, with or without experts; the base is the same."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
    )
    model = Qwen2ForCausalLM(config)
    if molora is not None:
        add_molora(model, molora)
        for module in mixtures_of(model):
            for name, part in module.named_parameters():
                if name.startswith("molora_"):
                    torch.nn.init.normal_(part, std=0.02 if name.startswith("molora_b") else 0.05)
    model.requires_grad_(False)
    model.train(False)
    # Random weights end no text: both sides generate to the limit.
    model.generation_config.eos_token_id = None
    return model


def qwen_tokenizer(path: Path | None) -> PreTrainedTokenizerFast:
    """Qwen's tokenizer from its ``qwen.tiktoken``.

    Args:
        path: The file; ``None``: the one in the ``dashscope`` package (``pip install --no-deps dashscope``).
    """
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    if path is None:
        spec = importlib.util.find_spec("dashscope")
        if spec is None or spec.origin is None:
            raise SystemExit("give --tokenizer qwen.tiktoken, or: pip install --no-deps dashscope")
        path = Path(spec.origin).parent / "resources" / "qwen.tiktoken"
    converted = TikTokenConverter(vocab_file=str(path), pattern=_PATTERN).converted()  # type: ignore[no-untyped-call]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=converted)  # type: ignore[no-untyped-call]
    tokenizer.add_special_tokens(
        {
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "additional_special_tokens": ["<|im_start|>"],
        }
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return tokenizer
