"""Tiny models and slow, plain ways to answer requests, for the engine's tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medbench.models import MoLoRAConfig, add_molora

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

VOCABULARY = 60
MIXTURE = MoLoRAConfig(num_experts=4, top_k=2, rank=2, alpha=4)


def tiny_model(
    *,
    molora: MoLoRAConfig | None = MIXTURE,
    vocabulary: int = VOCABULARY,
    dtype: torch.dtype = torch.float32,
    **changes: Any,
) -> PreTrainedModel:
    """A Qwen2-shaped model with random weights large enough that its outputs differ from token to token."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    settings: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = Qwen2ForCausalLM(Qwen2Config(**{**settings, **changes}))
        if molora is not None:
            add_molora(model, molora)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.4 if parameter.dim() > 1 else 0.2)
    model.requires_grad_(False)
    model.train(False)
    nn.Module.to(model, dtype)
    return model


def alone_score(
    model: PreTrainedModel, context: Sequence[int], continuation: Sequence[int]
) -> tuple[float, bool]:
    """Log-probability and greediness from one plain forward over the whole sequence."""
    logp = _logits(model, [*context, *continuation]).double().log_softmax(-1)[len(context) - 1 : -1]
    chosen = torch.tensor(list(continuation))
    return float(logp.gather(1, chosen[:, None]).sum()), bool((logp.argmax(1) == chosen).all())


def alone_generate(
    model: PreTrainedModel,
    prompt: Sequence[int],
    limit: int,
    eos: Sequence[int] = (),
    allowed: Sequence[int] | None = None,
) -> list[int]:
    """Greedy tokens, the whole sequence computed anew for each."""
    new: list[int] = []
    while len(new) < limit and not (new and new[-1] in eos):
        logits = _logits(model, [*prompt, *new])[-1]
        if allowed is not None:
            new.append(allowed[int(logits[list(allowed)].argmax())])
        else:
            new.append(int(logits.argmax()))
    return new


def _logits(model: PreTrainedModel, tokens: Sequence[int]) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(torch.tensor([list(tokens)])).logits[0]
    return logits


def tiny_tokenizer(size: int = 320) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with ChatML's special tokens; characters beyond ASCII take several tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Question: which drug? Answer: the answer is A. 答案为A"] * 2, trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return fast


def less_exact(errors: Tensor, others: Tensor) -> bool:
    """Whether errors are larger than others case by case, beyond chance (a sign test at 1 in 1,000).

    Which of two roundings is the larger in one case, and so by a little in their medians, depends on the
    order in which a processor sums.
    """
    from scipy.stats import binomtest

    larger, unequal = int((errors > others).sum()), int((errors != others).sum())
    return unequal > 0 and bool(binomtest(larger, unequal, alternative="greater").pvalue < 1e-3)
