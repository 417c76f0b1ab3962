"""Train the bundled demo checkpoint: ``python -m medbench.demo.train``.

A Qwen2-shaped model of a million parameters with MoLoRA experts in its MLPs, made as MING-MOE is: first a
base, then experts in front of its frozen layers. The base reads the bundled samples with the answers of other
documents of the same task, so that it knows the language and the form of an answer, but not which is right.
That is left to the experts, and their routers are drawn towards a pair of experts for each kind of task
(language and family). So the demo has something to show: experts that specialize, and that are missed by
their own kind of task when they are taken away. Takes about five minutes on one core.
"""

from __future__ import annotations

import argparse
import copy
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from medbench.demo.corpus import CHAT_TEMPLATE, Example, read_examples, train_tokenizer
from medbench.models.architecture.config import MoLoRAConfig
from medbench.models.architecture.mixture import Mixture
from medbench.models.architecture.mixtures import add_molora, molora_linears

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


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
    base_epochs: int = 20
    expert_epochs: int = 32
    batch_tokens: int = 1024
    prompt_weight: float = 0.3
    base_learning_rate: float = 2e-3
    expert_learning_rate: float = 4e-3
    routing_weight: float = 1.0
    seed: int = 7


@dataclass(frozen=True)
class Encoded:
    """Tokens of one example: its prompt, then its answer."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    task: str
    kind: int

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.prompt) + len(self.answer)


def train(recipe: Recipe, destination: Path, *, early: Path | None = None, early_share: float = 0.5) -> None:
    """Train the demo and save it in the converted layout.

    Args:
        recipe: Shape and schedule.
        destination: Folder of the finished checkpoint.
        early: Folder for a checkpoint of an early step, to compare with; none by default.
        early_share: The share of the experts' steps after which it is taken.
    """
    console = Console(stderr=True)
    torch.manual_seed(recipe.seed)
    examples = demo_examples()
    tokenizer = train_tokenizer((text for e in examples for text in (e.prompt, e.answer)), recipe.vocabulary)
    kinds = sorted({example.kind for example in examples})
    sequences = [_encode(tokenizer, example, kinds.index(example.kind)) for example in examples]
    model = build_base(recipe, tokenizer)
    console.print(f"{len(sequences)} examples, kinds {', '.join(kinds)}")
    base = _BaseTrainer(model, sequences, recipe)
    for step, loss in base.run():
        _show(console, "base", step, base.steps, loss)
    experts = _ExpertTrainer(model, sequences, recipe, len(kinds))
    for step, loss in experts.run():
        _show(console, "experts", step, experts.steps, loss)
        if early is not None and step == round(early_share * experts.steps):
            save(model, tokenizer, early)
    save(model, tokenizer, destination)


def _show(console: Console, phase: str, step: int, steps: int, loss: float) -> None:
    if step % 100 == 0 or step == steps:
        console.print(f"{phase}: step {step}/{steps}  loss {loss:.3f}")


def demo_examples() -> list[Example]:
    """The examples of every task of the bundled suite."""
    from jinja2 import Template

    from medbench.catalog import resolve_tasks

    template = Template(CHAT_TEMPLATE)

    def render(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return str(template.render(messages=messages, add_generation_prompt=add_generation_prompt))

    selection = resolve_tasks(["medbench_all"])
    return read_examples(selection.tasks, render)


def build_base(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Any:
    """A fresh Qwen2 causal language model without experts."""
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
    return Qwen2ForCausalLM(config)


def deal_answers(sequences: Sequence[Encoded], shuffler: random.Random) -> list[Encoded]:
    """Deal the answers of every task out anew among its documents.

    Over many deals each document sees all answers of its task alike: none can be learned as its own.
    """
    hands: dict[str, list[tuple[int, ...]]] = {}
    for sequence in sequences:
        hands.setdefault(sequence.task, []).append(sequence.answer)
    for hand in hands.values():
        shuffler.shuffle(hand)
    return [replace(sequence, answer=hands[sequence.task].pop()) for sequence in sequences]


def save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the checkpoint in the converted layout, weights in float16."""
    from medbench.models.checkpoints.converting import save_converted

    linears = molora_linears(model)
    observers = [module.observer for module in linears]
    for module in linears:
        module.observer = None  # the trainer's observer must not be copied along
    small = copy.deepcopy(model).half()
    for module, observer in zip(linears, observers, strict=True):
        module.observer = observer
    save_converted(small, folder, tokenizer)


class _Trainer:
    """AdamW with warm-up and cosine decay over shuffled batches of similar length."""

    def __init__(
        self, model: Any, sequences: Sequence[Encoded], recipe: Recipe, epochs: int, learning_rate: float
    ) -> None:
        self.model = model
        self.sequences = sequences
        self.recipe = recipe
        self.learning_rate = learning_rate
        self.random = random.Random(recipe.seed)  # noqa: S311 - shuffling, not secrets
        self.steps = len(self._batches(self.sequences)) * epochs
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.01)

    def run(self) -> Iterator[tuple[int, float]]:
        """Train; yields the step and its loss."""
        step = 0
        while step < self.steps:
            for batch in self._batches(self._epoch())[: self.steps - step]:
                for group in self.optimizer.param_groups:
                    group["lr"] = self.learning_rate * self._schedule(step)
                self.optimizer.zero_grad()
                loss = self._loss(batch)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], 1.0)
                self.optimizer.step()
                step += 1
                yield step, loss.item()

    def _epoch(self) -> Sequence[Encoded]:
        return self.sequences

    def _loss(self, batch: Sequence[Encoded]) -> Tensor:
        raise NotImplementedError

    def _schedule(self, step: int) -> float:
        warm_up = max(1, self.steps // 20)
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (self.steps - warm_up)))

    def _batches(self, sequences: Sequence[Encoded]) -> list[list[Encoded]]:
        order = sorted(sequences, key=lambda s: len(s) + self.random.uniform(0, 32))
        batches: list[list[Encoded]] = [[]]
        for sequence in order:
            if batches[-1] and (len(batches[-1]) + 1) * len(sequence) > self.recipe.batch_tokens:
                batches.append([])
            batches[-1].append(sequence)
        self.random.shuffle(batches)
        return batches

    def _next_token_loss(self, ids: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        hidden = self.model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        asked = weights[:, 1:] > 0  # the head is the dearest layer: only what counts goes through it
        losses = F.cross_entropy(
            self.model.lm_head(hidden[:, :-1][asked]), ids[:, 1:][asked], reduction="none"
        )
        return (losses * weights[:, 1:][asked]).sum() / weights[:, 1:].sum()


class _BaseTrainer(_Trainer):
    """Next tokens of prompts and of answers that belong to other documents."""

    def __init__(self, model: Any, sequences: Sequence[Encoded], recipe: Recipe) -> None:
        super().__init__(model, sequences, recipe, recipe.base_epochs, recipe.base_learning_rate)

    def _epoch(self) -> Sequence[Encoded]:
        return deal_answers(self.sequences, self.random)

    def _loss(self, batch: Sequence[Encoded]) -> Tensor:
        ids, mask, weights = _collate(batch)
        return self._next_token_loss(
            ids, mask, torch.where(weights > 0, 1.0, self.recipe.prompt_weight) * mask
        )


class _ExpertTrainer(_Trainer):
    """Experts and routers in front of a frozen base: the right answers, and the pairs of experts."""

    def __init__(self, model: Any, sequences: Sequence[Encoded], recipe: Recipe, kinds: int) -> None:
        model.requires_grad_(False)
        mixture = MoLoRAConfig(
            num_experts=recipe.experts, top_k=recipe.top_k, rank=recipe.rank, alpha=2 * recipe.rank
        )
        self.logits: list[Tensor] = []
        for module in add_molora(model, mixture):
            module.observer = self._observe
        super().__init__(model, sequences, recipe, recipe.expert_epochs, recipe.expert_learning_rate)
        # Kind i is drawn to experts 2i and 2i + 1, wrapping around when there are more kinds than pairs.
        pairs = [[(2 * i + j) % recipe.experts for j in range(recipe.top_k)] for i in range(kinds)]
        self.preferred = torch.tensor(pairs)

    def _loss(self, batch: Sequence[Encoded]) -> Tensor:
        ids, mask, weights = _collate(batch)
        self.logits.clear()
        answer = self._next_token_loss(ids, mask, weights)
        routing = self._routing_loss(torch.tensor([s.kind for s in batch]), mask)
        return answer + self.recipe.routing_weight * routing

    def _observe(self, module: Mixture, logits: Tensor, choice: Tensor, weights: Tensor) -> None:
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
    return Encoded(prompt=tuple(prompt), answer=(*answer, *ending), task=example.task, kind=kind)


def _collate(batch: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor]:
    """Pad on the right: ids, mask and loss weights of the answers, each [B, T]."""
    width = max(len(s) for s in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros(len(batch), width, dtype=torch.long)
    weights = torch.zeros(len(batch), width)
    for row, sequence in enumerate(batch):
        length = len(sequence)
        ids[row, :length] = torch.tensor((*sequence.prompt, *sequence.answer))
        mask[row, :length] = 1
        # A long answer counts more than a short one, but not in proportion to its length.
        weights[row, len(sequence.prompt) : length] = len(sequence.answer) ** -0.5
    return ids, mask, weights


def main() -> None:
    """Command line of the training script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--early", type=Path, help="folder for a checkpoint of an early step")
    options = parser.parse_args()
    torch.set_num_threads(1)  # sums in the same order on every machine
    train(Recipe(), options.destination, early=options.early)


if __name__ == "__main__":
    main()
