"""Train the bundled demo checkpoint: ``python -m medbench.demo.train``.

A Qwen2-shaped model of a million parameters, with MoLoRA experts in its MLPs, learns the answers of the
bundled samples and nothing else. Besides the answers, the routers are pulled towards a pair of experts for
each kind of task (language and family), so that the demo's routing has something to show: experts that
specialise, and that are missed by their own tasks when they are taken away. Takes about ten minutes on two
cores.
"""

from __future__ import annotations

import argparse
import copy
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.demo.corpus import CHAT_TEMPLATE, Example, read_examples, train_tokenizer
from medbench.models.config import MoLoRAConfig
from medbench.models.molora import MoLoRALinear, add_molora

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["Recipe", "train"]


@dataclass(frozen=True)
class Recipe:
    """Shape of the demo and schedule of its training."""

    vocabulary: int = 3072
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 256
    experts: int = 8
    top_k: int = 2
    rank: int = 8
    epochs: int = 28
    batch_tokens: int = 1024
    learning_rate: float = 2e-3
    routing_weight: float = 0.1
    seed: int = 7


@dataclass(frozen=True)
class Encoded:
    """Tokens of one example; ``start`` is where the answer begins."""

    tokens: tuple[int, ...]
    start: int
    kind: int


def train(recipe: Recipe, destination: Path, *, early: Path | None = None, early_share: float = 0.25) -> None:
    """Train the demo and save it in the converted layout.

    Args:
        recipe: Shape and schedule.
        destination: Folder of the finished checkpoint.
        early: Folder for a checkpoint of an early step, to compare with; none by default.
        early_share: The share of the steps after which it is taken.
    """
    console = Console(stderr=True)
    torch.manual_seed(recipe.seed)
    examples = demo_examples()
    tokenizer = train_tokenizer((text for e in examples for text in (e.prompt, e.answer)), recipe.vocabulary)
    kinds = sorted({example.kind for example in examples})
    sequences = [_encode(tokenizer, example, kinds.index(example.kind)) for example in examples]
    model = build_model(recipe, tokenizer)
    parameters = sum(p.numel() for p in model.parameters())
    console.print(f"{len(sequences)} examples, kinds {', '.join(kinds)}, {parameters / 1e6:.2f} M parameters")
    trainer = _Trainer(model, recipe, sequences, len(kinds))
    steps = trainer.total_steps
    for step, losses in trainer.run():
        if step % 50 == 0 or step == steps:
            console.print(f"step {step}/{steps}  answer {losses[0]:.3f}  routing {losses[1]:.3f}")
        if early is not None and step == round(early_share * steps):
            save(model, tokenizer, early)
    save(model, tokenizer, destination)


def demo_examples() -> list[Example]:
    """The examples of every task of the bundled suite."""
    from jinja2 import Template

    from medbench.catalog import resolve_tasks

    template = Template(CHAT_TEMPLATE)

    def render(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return str(template.render(messages=messages, add_generation_prompt=add_generation_prompt))

    selection = resolve_tasks(["medbench_all"])
    return read_examples([task.name for task in selection.tasks], selection.folders, render)


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Any:
    """A fresh Qwen2 causal language model with MoLoRA linears."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config)
    mixture = MoLoRAConfig(
        num_experts=recipe.experts, top_k=recipe.top_k, rank=recipe.rank, alpha=2 * recipe.rank
    )
    for module in add_molora(model, mixture):
        # Experts that start at zero would stay strangers to a model that is trained from scratch beside them.
        nn.init.normal_(module.molora_b, std=0.02)
    return model


def save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the checkpoint in the converted layout, weights in float16."""
    from medbench.models.converting import save_converted

    observers = [module for module in model.modules() if isinstance(module, MoLoRALinear)]
    watching = [module.observer for module in observers]
    for module in observers:
        module.observer = None  # the trainer's observer must not be copied along
    small = copy.deepcopy(model).half()
    for module, observer in zip(observers, watching, strict=True):
        module.observer = observer
    save_converted(small, folder, tokenizer)


class _Trainer:
    """AdamW with warm-up and cosine decay over shuffled batches of similar length."""

    def __init__(self, model: Any, recipe: Recipe, sequences: Sequence[Encoded], kinds: int) -> None:
        self.model = model
        self.recipe = recipe
        self.sequences = sequences
        self.random = random.Random(recipe.seed)  # noqa: S311 - shuffling, not secrets
        self.total_steps = len(self._batches()) * recipe.epochs
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
        self.logits: list[Tensor] = []
        for module in model.modules():
            if isinstance(module, MoLoRALinear):
                module.observer = self._observe
        # Kind i is drawn to experts 2i and 2i + 1, wrapping around when there are more kinds than pairs.
        pairs = [[(2 * i + j) % recipe.experts for j in range(recipe.top_k)] for i in range(kinds)]
        self.preferred = torch.tensor(pairs)

    def run(self) -> Iterator[tuple[int, tuple[float, float]]]:
        """Train; yields the step and its losses."""
        step = 0
        for _ in range(self.recipe.epochs):
            for batch in self._batches():
                for group in self.optimizer.param_groups:
                    group["lr"] = self.recipe.learning_rate * self._schedule(step)
                step += 1
                yield step, self._step(batch)
        for module in self.model.modules():
            if isinstance(module, MoLoRALinear):
                module.observer = None

    def _schedule(self, step: int) -> float:
        warm_up = max(1, self.total_steps // 20)
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (self.total_steps - warm_up)))

    def _batches(self) -> list[list[Encoded]]:
        order = sorted(self.sequences, key=lambda s: len(s.tokens) + self.random.uniform(0, 32))
        batches: list[list[Encoded]] = [[]]
        for sequence in order:
            if batches[-1] and (len(batches[-1]) + 1) * len(sequence.tokens) > self.recipe.batch_tokens:
                batches.append([])
            batches[-1].append(sequence)
        self.random.shuffle(batches)
        return batches

    def _step(self, batch: Sequence[Encoded]) -> tuple[float, float]:
        ids, mask, weights = _collate(batch)
        self.logits.clear()
        hidden = self.model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        asked = weights[:, 1:] > 0  # the head is the dearest layer: only answers go through it
        losses = F.cross_entropy(
            self.model.lm_head(hidden[:, :-1][asked]), ids[:, 1:][asked], reduction="none"
        )
        answer = (losses * weights[:, 1:][asked]).sum() / weights[:, 1:].sum()
        routing = self._routing_loss(torch.tensor([s.kind for s in batch]), mask)
        self.optimizer.zero_grad()
        (answer + self.recipe.routing_weight * routing).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return answer.item(), routing.item()

    def _observe(self, module: MoLoRALinear, logits: Tensor, choice: Tensor, weights: Tensor) -> None:
        self.logits.append(logits)

    def _routing_loss(self, kinds: Tensor, mask: Tensor) -> Tensor:
        """Mean negative log of the router mass on the preferred pair, over tokens and linears."""
        preferred = self.preferred[kinds].repeat_interleave(mask.shape[1], dim=0)  # [B*T, k]
        log_mass = torch.stack(
            [F.log_softmax(logits, dim=1).gather(1, preferred).logsumexp(1) for logits in self.logits]
        )
        flat = mask.reshape(-1).to(log_mass.dtype)
        return -(log_mass * flat).sum() / (flat.sum() * len(self.logits))


def _encode(tokenizer: PreTrainedTokenizerFast, example: Example, kind: int) -> Encoded:
    prompt = tokenizer(example.prompt, add_special_tokens=False)["input_ids"]
    answer = tokenizer(example.answer, add_special_tokens=False)["input_ids"]
    ending = [tokenizer.eos_token_id] if example.ends else []
    return Encoded(tokens=(*prompt, *answer, *ending), start=len(prompt), kind=kind)


def _collate(batch: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor]:
    """Pad on the right: ids, mask and loss weights, each [B, T]."""
    width = max(len(s.tokens) for s in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros(len(batch), width, dtype=torch.long)
    weights = torch.zeros(len(batch), width)
    for row, sequence in enumerate(batch):
        length = len(sequence.tokens)
        ids[row, :length] = torch.tensor(sequence.tokens)
        mask[row, :length] = 1
        # A long answer counts more than a short one, but not in proportion to its length.
        weights[row, sequence.start : length] = (length - sequence.start) ** -0.5
    return ids, mask, weights


def main() -> None:
    """Command line of the training script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--early", type=Path, help="folder for a checkpoint of an early step")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    options = parser.parse_args()
    train(Recipe(epochs=options.epochs), options.destination, early=options.early)


if __name__ == "__main__":
    main()
